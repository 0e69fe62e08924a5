//! Why a command did not do it; for people a sentence and what to do, for programs a problem.

use api::Problem;
use model::{ErrorKind, NaaName, chain};
use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{}: {}", .0.title, .0.detail)]
    Refused(Box<Problem>),
    #[error("no token file is named")]
    NoTokenFile,
    #[error("'{server}' is not the address of an appliance: {why}")]
    Server { server: String, why: &'static str },
    #[error("reading the token file {}", path.display())]
    TokenFile { path: PathBuf, source: io::Error },
    #[error("calling {method} {url}")]
    Call { method: &'static str, url: String, source: Box<ureq::Error> },
    #[error("the answer to {method} {url} is not one of a Holdfast appliance: {why}")]
    Misbehaved { method: &'static str, url: String, why: String },
    #[error("the image broke off at byte {offset} of {length}")]
    BrokenOff { offset: u64, length: u64, source: io::Error },
    #[error("the VMDK breaks off after {offset} bytes")]
    ExportBrokenOff { offset: u64, source: io::Error },
    #[error("no {noun} begins with '{id}'")]
    Unknown { noun: &'static str, id: String },
    #[error("several {noun}s begin with '{id}': {}", candidates.join(", "))]
    Ambiguous { noun: &'static str, id: String, candidates: Vec<String> },
    #[error("recovery point {point} has no disk {disk}")]
    NoDisk { point: String, disk: u32 },
    #[error("{what}")]
    Unproven { what: String },
    #[error("{} exists", path.display())]
    Exists { path: PathBuf },
    #[error("{what}")]
    Vmfs { what: String, kind: ErrorKind, source: Box<dyn std::error::Error + Send + Sync> },
    #[error("{} is not a regular file", path.display())]
    NoImage { path: PathBuf },
    #[error("the appliance reaches no LUN {name}")]
    NoLun { name: NaaName },
    #[error("writing the result")]
    Output { source: io::Error },
    #[error("{operation} {}", path.display())]
    File { operation: &'static str, path: PathBuf, source: io::Error },
}

impl Error {
    /// For `map_err` on file operations.
    pub(crate) fn file(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { operation, path, source }
    }

    /// For `map_err` on what was read of a volume.
    pub(crate) fn vmfs<E: Into<Wrong>>(what: String) -> impl FnOnce(E) -> Self {
        move |error| {
            let Wrong { kind, source } = error.into();
            Self::Vmfs { what, kind, source }
        }
    }

    /// For `map_err` on standard output.
    pub(crate) fn output(source: io::Error) -> Self {
        Self::Output { source }
    }

    /// What the caller can do; `None` when the request was at fault.
    pub(crate) fn kind(&self) -> Option<ErrorKind> {
        match self {
            Self::Refused(problem) => problem.kind,
            Self::NoTokenFile | Self::Server { .. } => None,
            Self::TokenFile { .. }
            | Self::Call { .. }
            | Self::BrokenOff { .. }
            | Self::ExportBrokenOff { .. } => Some(ErrorKind::Retryable),
            Self::Misbehaved { .. } | Self::Unproven { .. } => Some(ErrorKind::Misbehaved),
            Self::Vmfs { kind, .. } => Some(*kind),
            Self::NoImage { .. } => None,
            Self::Output { .. } => Some(ErrorKind::Retryable),
            Self::Unknown { .. } | Self::NoDisk { .. } | Self::NoLun { .. } => {
                Some(ErrorKind::NotFound)
            }
            Self::Ambiguous { .. } => None,
            Self::Exists { .. } => Some(ErrorKind::Busy),
            Self::File { source, .. } if source.kind() == io::ErrorKind::StorageFull => {
                Some(ErrorKind::Full)
            }
            Self::File { .. } => Some(ErrorKind::Retryable),
        }
    }

    /// 3: the appliance understood and said no; 2: the command line was wrong; 1: the rest.
    pub(crate) fn exit_status(&self) -> u8 {
        match self {
            Self::Refused(problem) if problem.is_refusal() => 3,
            Self::NoTokenFile | Self::Server { .. } | Self::NoImage { .. } => 2,
            _ => 1,
        }
    }

    /// As the API would say it.
    pub(crate) fn problem(&self) -> Problem {
        if let Self::Refused(problem) = self {
            return (**problem).clone();
        }
        let (code, title) = self.code();
        let problem =
            Problem::of_request(0, code, title).detail(chain(self)).next_step(self.next_step());
        Problem { kind: self.kind(), ..problem }
    }

    fn code(&self) -> (&'static str, &'static str) {
        match self {
            Self::Refused(_) => ("refused", "The appliance refused"),
            Self::NoTokenFile => ("no-token-file", "No token file is named"),
            Self::Server { .. } => ("bad-server", "The server's address is not usable"),
            Self::TokenFile { .. } => ("token-file", "The token file cannot be read"),
            Self::Call { .. } => ("no-answer", "The appliance does not answer"),
            Self::Misbehaved { .. } => ("bad-answer", "The answer makes no sense"),
            Self::BrokenOff { .. } | Self::ExportBrokenOff { .. } => {
                ("broken-off", "The restore broke off")
            }
            Self::Unknown { .. } => ("unknown-id", "There is nothing with this id"),
            Self::Ambiguous { .. } => ("ambiguous-id", "The id is not unique"),
            Self::NoDisk { .. } => ("disk-unknown", "The recovery point has no such disk"),
            Self::Unproven { .. } => ("not-proven", "The ledger is not proven"),
            Self::Vmfs { .. } => ("vmfs", "The volume cannot be read as asked"),
            Self::NoImage { .. } => ("no-image", "That is no image"),
            Self::NoLun { .. } => ("lun-unknown", "There is no such LUN"),
            Self::Output { .. } => ("output", "The result could not be written"),
            Self::Exists { .. } => ("file-exists", "The file exists"),
            Self::File { .. } => ("file", "A file could not be written"),
        }
    }

    fn next_step(&self) -> String {
        match self {
            Self::Refused(problem) => problem.next_step.clone(),
            Self::NoTokenFile | Self::TokenFile { .. } => {
                "Name the daemon's token file with --token-file or HOLDFAST_TOKEN_FILE.".into()
            }
            Self::Server { .. } => {
                "Give an address such as http://127.0.0.1:8080 with --server or HOLDFAST_SERVER; \
                 reach a distant appliance through a tunnel (ssh -L)."
                    .into()
            }
            Self::Call { .. } => "Check that holdfastd runs and listens there.".into(),
            Self::Misbehaved { .. } => "Check that the address is the appliance's.".into(),
            Self::BrokenOff { .. } | Self::ExportBrokenOff { .. } => {
                "No image was left behind. Look at the appliance's log, verify the recovery \
                 point, and try again."
                    .into()
            }
            Self::Unknown { noun, .. } => format!("List the {noun}s and take an id from there."),
            Self::Ambiguous { .. } => "Give more digits of the id.".into(),
            Self::NoDisk { .. } => "Take the index from 'holdfast point show'.".into(),
            Self::Unproven { .. } => {
                "Ask again; if it stays so, keep this head and the older one, and have the disks \
                 checked with the offline verifier."
                    .into()
            }
            Self::Vmfs { kind, .. } => match kind {
                ErrorKind::NotFound => "Look with 'holdfast vmfs ls' what there is.",
                ErrorKind::Retryable | ErrorKind::Busy => "Try again.",
                ErrorKind::Refused => "Check the path, and that all extents of it are named.",
                ErrorKind::Unsupported => "Read it over the network, with the hosts' own tools.",
                _ => {
                    "See what else is wrong with 'holdfast vmfs check'; if hosts write to the \
                     volume, try again."
                }
            }
            .into(),
            Self::NoImage { .. } => {
                "Name an image; a LUN is read through the appliance, with --lun.".into()
            }
            Self::NoLun { .. } => "Take a name from 'holdfast san luns'.".into(),
            Self::Output { .. } => "Check where standard output leads to.".into(),
            Self::Exists { .. } => "Choose another name, or give --force to replace it.".into(),
            Self::File { .. } => "Check the path, its permissions and the free space.".into(),
        }
    }
}

/// An error of a parser or of what it reads, with what can be done about it.
pub(crate) struct Wrong {
    kind: ErrorKind,
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl From<vmfs::VmfsError> for Wrong {
    fn from(error: vmfs::VmfsError) -> Self {
        Self { kind: error.kind(), source: error.into() }
    }
}

impl From<block::ReadError> for Wrong {
    fn from(error: block::ReadError) -> Self {
        Self { kind: error.kind(), source: error.into() }
    }
}
