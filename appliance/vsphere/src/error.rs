//! What can go wrong between the appliance and a vSphere server, and what the caller can do.

use crate::areas::AreasError;
use crate::thumbprint::{Pin, Thumbprint};
use crate::wire::{Fault, MoRef, WireError};
use model::{ChangeId, ErrorKind};
use std::io;
use std::time::Duration;

/// An operation on the vSphere server failed. Display names the operation and its object, the
/// source says why.
#[derive(Debug, thiserror::Error)]
pub enum VsphereError {
    /// The configured address is not one.
    #[error("'{url}' is not the address of a vSphere server ({why}); give https://HOST[:PORT]/sdk")]
    Address {
        /// As configured.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// No connection.
    #[error("no connection to the vSphere server at {address}")]
    Connect {
        /// Host and port.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The server shows another certificate than the pinned one.
    #[error(
        "{address} shows the certificate {seen}, but {wanted} is pinned; if the certificate was \
         renewed, compare this thumbprint on the server itself and put it into the configuration"
    )]
    Certificate {
        /// Host and port.
        address: String,
        /// SHA-256 thumbprint of the certificate that came.
        seen: Thumbprint,
        /// The pinned one.
        wanted: Thumbprint,
    },
    /// The host that a lease names shows another certificate than it should.
    #[error(
        "{address}, where the vSphere server has disks transferred, shows the certificate {seen}, \
         but {wanted} is expected of it; look whether the host's certificate was renewed without \
         the vCenter's knowledge (reconnect the host), or who answers at that address"
    )]
    OtherHost {
        /// Host and port.
        address: String,
        /// The certificate that came.
        seen: Pin,
        /// The one that the server names for the host; where it names none, the server's own.
        wanted: Pin,
    },
    /// The TLS handshake failed for another reason.
    #[error("the TLS handshake with {address} failed")]
    Tls {
        /// Host and port.
        address: String,
        /// The reason.
        source: rustls::Error,
    },
    /// The connection broke during a call.
    #[error(
        "the connection to the vSphere server broke during {method}; whether it was carried out \
         is not known"
    )]
    Broken {
        /// The method.
        method: &'static str,
        /// What broke.
        source: hyper::Error,
    },
    /// Wrong user or password.
    #[error(
        "the vSphere server refuses the login of '{user}'; check user and password in the \
         configuration"
    )]
    Login {
        /// The user. The password is in no error.
        user: String,
        /// The server's reason.
        source: Box<Fault>,
    },
    /// No answer in time.
    #[error("the vSphere server did not answer {method} within {} s", after.as_secs_f32())]
    Timeout {
        /// The method.
        method: &'static str,
        /// The limit.
        after: Duration,
    },
    /// An HTTP status without a SOAP answer.
    #[error("the vSphere server answered {method} with HTTP status {status} and no SOAP message")]
    Status {
        /// The method.
        method: &'static str,
        /// HTTP status code.
        status: u16,
    },
    /// The answer is not one, or the request cannot be written.
    #[error("{method} cannot be understood")]
    Wire {
        /// The method.
        method: &'static str,
        /// What is wrong with the bytes.
        source: WireError,
    },
    /// The server refused a call.
    #[error("{method} on {object} was refused")]
    Fault {
        /// The method.
        method: &'static str,
        /// The object it was called on.
        object: MoRef,
        /// The server's reason.
        source: Box<Fault>,
    },
    /// A task ended in error.
    #[error("{method} on {object} failed")]
    TaskFailed {
        /// The method that started the task.
        method: &'static str,
        /// The object it was called on.
        object: MoRef,
        /// The server's reason.
        source: Box<Fault>,
    },
    /// A task did not end in time. It goes on in the server: do not start it again, look first.
    #[error(
        "{method} on {object} still runs after {} s as {task}; wait for it in the vSphere client",
        after.as_secs_f32()
    )]
    TaskTimeout {
        /// The method that started the task.
        method: &'static str,
        /// The object it was called on.
        object: MoRef,
        /// The task.
        task: MoRef,
        /// The limit.
        after: Duration,
    },
    /// The server no longer knows a task that it had started, as after a restart.
    #[error(
        "the vSphere server no longer knows {task}; whether {method} on {object} was carried out \
         is not known"
    )]
    TaskLost {
        /// The method that started the task.
        method: &'static str,
        /// The object it was called on.
        object: MoRef,
        /// The task.
        task: MoRef,
        /// How that showed.
        source: Box<VsphereError>,
    },
    /// A lease for the transfer of disks went into its error state.
    #[error("the transfer that {method} on {object} began was broken off by the vSphere server")]
    LeaseFailed {
        /// The method that asked for the lease.
        method: &'static str,
        /// The object it was called on.
        object: MoRef,
        /// The server's reason.
        source: Box<Fault>,
    },
    /// A lease cannot be used.
    #[error("the lease of {method} on {object} cannot be used: {why}")]
    Lease {
        /// The method that asked for the lease.
        method: &'static str,
        /// The object it was called on.
        object: MoRef,
        /// What is wrong with it.
        why: String,
    },
    /// A lease did not become ready in time. It was given back.
    #[error(
        "{method} on {object} was not ready for the transfer within {} s; see the tasks in the \
         vSphere client",
        after.as_secs_f32()
    )]
    LeaseTimeout {
        /// The method that asked for the lease.
        method: &'static str,
        /// The object it was called on.
        object: MoRef,
        /// The limit.
        after: Duration,
    },
    /// A host refuses to send or to take the bytes of a disk.
    #[error("{address} answered the transfer of a disk with HTTP status {status}")]
    Transfer {
        /// Host and port.
        address: String,
        /// HTTP status code.
        status: u16,
    },
    /// An object is no longer there.
    #[error("{object} no longer exists on the vSphere server")]
    Gone {
        /// The object.
        object: MoRef,
    },
    /// The server withholds what is needed.
    #[error("the vSphere server does not give '{property}' of {object}")]
    Withheld {
        /// Path of the property.
        property: String,
        /// The object.
        object: MoRef,
        /// The server's reason, if it gave one.
        source: Option<Box<Fault>>,
    },
    /// A disk of a snapshot is described in a way that cannot be read safely.
    #[error("{object} holds something that cannot be read: {problem}")]
    Unreadable {
        /// The object.
        object: MoRef,
        /// What it is.
        problem: String,
    },
    /// A rule of ours forbids switching change tracking on.
    #[error("change tracking is not switched on for {vm}: {why}")]
    TrackingRefused {
        /// The VM.
        vm: MoRef,
        /// The rule.
        why: &'static str,
    },
    /// The server says that its tracking data for a disk cannot be used: read the disk in full.
    #[error(
        "change tracking cannot be used for disk {disk_key} of {vm} since {since}; it has to be \
         read in full"
    )]
    TrackingUnusable {
        /// The VM.
        vm: MoRef,
        /// Key of the disk.
        disk_key: i32,
        /// The cursor that was given.
        since: ChangeId,
        /// The server's reason.
        source: Box<Fault>,
    },
    /// The list of changed areas contradicts itself: do not use it, read the disk in full.
    #[error(
        "the changed areas of disk {disk_key} of {vm} cannot be right; it has to be read in full"
    )]
    TrackingWrong {
        /// The VM.
        vm: MoRef,
        /// Key of the disk.
        disk_key: i32,
        /// The contradiction.
        source: AreasError,
    },
    /// The server is older than what this client speaks.
    #[error("the vSphere server speaks API version {version}; 6.5 or newer is needed")]
    Unsupported {
        /// Its version.
        version: String,
    },
}

impl VsphereError {
    /// What the caller can do.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Connect { .. }
            | Self::Broken { .. }
            | Self::Timeout { .. }
            | Self::LeaseTimeout { .. }
            | Self::TaskLost { .. } => ErrorKind::Retryable,
            Self::Status { status, .. } | Self::Transfer { status, .. } => status_kind(*status),
            Self::Address { .. }
            | Self::Certificate { .. }
            | Self::OtherHost { .. }
            | Self::Login { .. }
            | Self::TrackingRefused { .. } => ErrorKind::Refused,
            Self::Wire { source: WireError::Unwritable { .. }, .. } => ErrorKind::Refused,
            Self::Tls { .. }
            | Self::Wire { .. }
            | Self::Lease { .. }
            | Self::TrackingWrong { .. } => ErrorKind::Misbehaved,
            // The lease is not what was called on: it may be gone, that object is not.
            Self::LeaseFailed { source, .. } if source.is_gone() => ErrorKind::Retryable,
            Self::LeaseFailed { source, .. } => fault_kind(source),
            Self::Fault { object, source, .. } | Self::TaskFailed { object, source, .. } => {
                match source.object.as_ref() {
                    // Only the object that was called on is `Gone`: callers rely on it.
                    Some(other) if source.is_gone() && other != object => ErrorKind::NotFound,
                    _ => fault_kind(source),
                }
            }
            Self::Withheld { source, .. } => {
                source.as_ref().map_or(ErrorKind::Misbehaved, |fault| fault_kind(fault))
            }
            Self::TaskTimeout { .. } => ErrorKind::Busy,
            Self::Gone { .. } => ErrorKind::Gone,
            Self::Unreadable { .. } | Self::TrackingUnusable { .. } | Self::Unsupported { .. } => {
                ErrorKind::Unsupported
            }
        }
    }

    /// True when only the list of changed areas is of no use: the caller reads the disk in full,
    /// says why, and the run stays good.
    #[must_use]
    pub fn means_full_read(&self) -> bool {
        matches!(self, Self::TrackingUnusable { .. } | Self::TrackingWrong { .. })
    }

    /// True when a snapshot failed because the guest could not be brought to rest. It was rolled
    /// back; without `quiesce` it may succeed.
    #[must_use]
    pub fn means_not_quiesced(&self) -> bool {
        let names = ["ApplicationQuiesceFault", "FilesystemQuiesceFault", "ToolsUnavailable"];
        self.fault().is_some_and(|fault| names.contains(&fault.type_name.as_str()))
    }

    /// The server's fault, when one is behind this error.
    #[must_use]
    pub fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Fault { source, .. }
            | Self::Login { source, .. }
            | Self::TaskFailed { source, .. }
            | Self::LeaseFailed { source, .. }
            | Self::TrackingUnusable { source, .. } => Some(source),
            Self::Withheld { source, .. } => source.as_deref(),
            _ => None,
        }
    }
}

fn status_kind(status: u16) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::Refused,
        404 => ErrorKind::NotFound,
        408 | 429 | 500..=599 => ErrorKind::Retryable,
        _ => ErrorKind::Misbehaved,
    }
}

/// Faults by what they mean for the caller (vSphere Web Services API, fault types).
fn fault_kind(fault: &Fault) -> ErrorKind {
    match fault.type_name.as_str() {
        "ManagedObjectNotFound" => ErrorKind::Gone,
        "NotFound" | "FileNotFound" => ErrorKind::NotFound,
        "TaskInProgress" | "ResourceInUse" | "ConcurrentAccess" | "FileLocked"
        | "VmConfigFileLocked" | "InvalidState" | "InvalidPowerState" => ErrorKind::Busy,
        "NoDiskSpace" => ErrorKind::Full,
        "RequestCanceled" => ErrorKind::Cancelled,
        "Timedout" | "SystemError" | "HostCommunication" | "HostNotConnected"
        | "HostNotReachable" | "CannotAccessFile" => ErrorKind::Retryable,
        "NotSupported" | "NotImplemented" | "MethodNotFound" | "InvalidRequest" | "InvalidType"
        | "InvalidProperty" => ErrorKind::Unsupported,
        _ => ErrorKind::Refused,
    }
}
