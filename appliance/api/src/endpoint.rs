//! The one table of endpoints. The server's routes, the client's calls and the API's document
//! are made from it.
//!
//! Each endpoint is a type, so that a handler or a call with the wrong request or response does
//! not compile; [`ENDPOINTS`] lists them all for whoever walks the table.

use crate::inventory::{InventoryObject, SnapshotView};
use crate::ledger::{ConsistencyQuery, InclusionQuery, Leaves, LeavesQuery, LedgerHead, Proof};
use crate::maintenance::{
    ExpiryPreview, Forecast, ForecastQuery, MaintenanceRequest, MaintenanceRun,
};
use crate::page::{Page, PageQuery};
use crate::point::{
    DataRanges, DataRangesQuery, DeletionPreview, HoldRequest, LockExtension, LockTightening,
    PointDetail, PointQuery, PointSummary, Protection,
};
use crate::restore::RestoreRequest;
use crate::run::{Run, RunRequest, RunsStarted};
use crate::san::{
    AcknowledgementRequest, Discovered, DiscoveryRequest, FcPorts, LunBytesQuery, LunTest,
    LunTestRequest, SanLun, SanLuns, SanPaths, SanSessions,
};
use crate::status::Status;
use crate::vm::VmSummary;
use crate::volume::{KeyEpoch, VolumeRequest, Volumes};
use serde::{Deserialize, Serialize};

/// HTTP methods in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// Reads; changes nothing.
    Get,
    /// Starts something.
    Post,
    /// Removes.
    Delete,
}

impl Method {
    /// As in the request line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// No query, no request body, or no response body. Refuses every field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// A response body of plain bytes (`application/octet-stream`), with a `Content-Length` where it
/// is known before the first byte; else chunked, and broken off when it does not come to its end.
#[derive(Clone, Copy, Debug)]
pub struct Raw;

/// One call: how it is named, what it takes, what it gives.
pub trait Endpoint {
    /// Parameters behind the `?`.
    type Query;
    /// JSON body of the request.
    type Request;
    /// JSON body of the response, or [`Raw`], or [`Nothing`].
    type Response;
    /// The row of the table.
    const INFO: EndpointInfo;
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointInfo {
    /// Name of the endpoint's type; the operation id of the API's document.
    pub name: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path with `{parameters}`.
    pub path: &'static str,
    /// Name of the query's type.
    pub query: &'static str,
    /// Name of the request's type.
    pub request: &'static str,
    /// Name of the response's type.
    pub response: &'static str,
    /// HTTP status of success.
    pub success: u16,
    /// One sentence.
    pub summary: &'static str,
}

impl EndpointInfo {
    /// The path with its parameters filled in, in order; what does not belong into a path
    /// segment is percent-encoded (RFC 3986, section 3.3). `None`: wrong number of parameters.
    #[must_use]
    pub fn path_with(&self, parameters: &[&str]) -> Option<String> {
        let mut parameters = parameters.iter();
        let mut path = String::with_capacity(self.path.len() + 64);
        for segment in self.path.split('/').skip(1) {
            path.push('/');
            if segment.starts_with('{') {
                path.push_str(&percent_encoded(parameters.next()?));
            } else {
                path.push_str(segment);
            }
        }
        parameters.next().is_none().then_some(path)
    }
}

/// `text` as it may stand in one segment of a path or in one value of a query: everything but
/// letters, digits, `-`, `_` and `~` is percent-encoded. The dot too, so that no text can become
/// a dot segment.
#[must_use]
pub fn percent_encoded(text: &str) -> String {
    const HEX: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
    }
    encoded
}

macro_rules! endpoints {
    ($($(#[doc = $summary:literal])+
       $name:ident: $method:ident $path:literal,
           $query:ty, $request:ty => $success:literal $response:ty;
    )+) => {
        $(
            $(#[doc = $summary])+
            #[derive(Clone, Copy, Debug)]
            pub struct $name;

            impl Endpoint for $name {
                type Query = $query;
                type Request = $request;
                type Response = $response;
                const INFO: EndpointInfo = EndpointInfo {
                    name: stringify!($name),
                    method: Method::$method,
                    path: concat!("/api/v1", $path),
                    query: stringify!($query),
                    request: stringify!($request),
                    response: stringify!($response),
                    success: $success,
                    summary: concat!($($summary),+),
                };
            }
        )+

        /// Every endpoint there is.
        pub const ENDPOINTS: &[EndpointInfo] = &[$($name::INFO),+];
    };
}

endpoints! {
    // name: method path, query, request => status response
    /// How the appliance fares.
    GetStatus: Get "/status", Nothing, Nothing => 200 Status;
    /// The VMs of the inventory, by name.
    ListVms: Get "/vms", PageQuery, Nothing => 200 Page<VmSummary>;
    /// The whole inventory, by reference; parents name the tree.
    ListInventory: Get "/inventory", PageQuery, Nothing => 200 Page<InventoryObject>;
    /// The snapshots of all VMs: whose they seem to be, how old, how large.
    ListSnapshots: Get "/snapshots", PageQuery, Nothing => 200 Page<SnapshotView>;
    /// Starts a backup run for each of the VMs.
    StartRuns: Post "/runs", Nothing, RunRequest => 202 RunsStarted;
    /// The runs, newest first.
    ListRuns: Get "/runs", PageQuery, Nothing => 200 Page<Run>;
    /// One run.
    GetRun: Get "/runs/{run}", Nothing, Nothing => 200 Run;
    /// Asks a run to stop and to clean up after itself.
    CancelRun: Post "/runs/{run}/cancel", Nothing, Nothing => 202 Run;
    /// The recovery points, newest first.
    ListPoints: Get "/points", PointQuery, Nothing => 200 Page<PointSummary>;
    /// Everything about one recovery point.
    GetPoint: Get "/points/{point}", Nothing, Nothing => 200 PointDetail;
    /// Starts a verify run on a recovery point.
    VerifyPoint: Post "/points/{point}/verify", Nothing, Nothing => 202 Run;
    /// Starts a run that makes a VM of a recovery point.
    RestorePoint: Post "/points/{point}/restore", Nothing, RestoreRequest => 202 Run;
    /// Deletes a recovery point, unless a lock says no.
    DeletePoint: Delete "/points/{point}", Nothing, Nothing => 204 Nothing;
    /// What deleting a recovery point would give back now.
    PreviewDeletion: Get "/points/{point}/deletion", Nothing, Nothing => 200 DeletionPreview;
    /// Lets the lock of a recovery point end later.
    ExtendLock: Post "/points/{point}/lock/extend",
        Nothing, LockExtension => 200 Protection;
    /// Turns a governance lock into a compliance lock.
    TightenLock: Post "/points/{point}/lock/tighten",
        Nothing, LockTightening => 200 Protection;
    /// Holds a recovery point for a matter.
    HoldPoint: Post "/points/{point}/holds", Nothing, HoldRequest => 200 Protection;
    /// Asks for a task of maintenance.
    StartMaintenance: Post "/repository/maintenance",
        Nothing, MaintenanceRequest => 202 MaintenanceRun;
    /// One task of maintenance.
    GetMaintenance: Get "/repository/maintenance/{number}",
        Nothing, Nothing => 200 MaintenanceRun;
    /// What an expiry by the configured rules would do now.
    PreviewExpiry: Get "/repository/expiry", Nothing, Nothing => 200 ExpiryPreview;
    /// When the repository is full.
    GetForecast: Get "/repository/forecast", ForecastQuery, Nothing => 200 Forecast;
    /// The disks and arrays of the repository.
    ListVolumes: Get "/repository/volumes", Nothing, Nothing => 200 Volumes;
    /// Takes a disk into the repository.
    AddVolume: Post "/repository/volumes", Nothing, VolumeRequest => 200 Volumes;
    /// Makes the next data key of an encrypted repository.
    RotateKey: Post "/repository/keys", Nothing, Nothing => 200 KeyEpoch;
    /// The sessions with the SAN.
    ListSanSessions: Get "/san/sessions", Nothing, Nothing => 200 SanSessions;
    /// Logs in where there is no session, and takes the inventory again.
    LoginSan: Post "/san/login", Nothing, Nothing => 200 SanSessions;
    /// Asks a portal for its targets.
    DiscoverPortal: Post "/san/discovery", Nothing, DiscoveryRequest => 200 Discovered;
    /// The LUNs within reach.
    ListSanLuns: Get "/san/luns", Nothing, Nothing => 200 SanLuns;
    /// Puts on record who accepts that a LUN is presented writable.
    AcknowledgeLun: Post "/san/luns/{naa}/acknowledgement",
        Nothing, AcknowledgementRequest => 200 SanLun;
    /// The paths of all LUNs.
    ListSanPaths: Get "/san/paths", Nothing, Nothing => 200 SanPaths;
    /// The Fibre Channel ports of the appliance.
    ListFcPorts: Get "/san/fc", Nothing, Nothing => 200 FcPorts;
    /// Measures how a LUN reads.
    TestLun: Post "/san/luns/{naa}/test", Nothing, LunTestRequest => 200 LunTest;
    /// Bytes of a LUN, for whoever looks at what lies on it.
    ReadLun: Get "/san/luns/{naa}/bytes", LunBytesQuery, Nothing => 200 Raw;
    /// The signed head of the ledger.
    GetLedgerHead: Get "/ledger/head", Nothing, Nothing => 200 LedgerHead;
    /// Leaves of the ledger, in order.
    ListLeaves: Get "/ledger/leaves", LeavesQuery, Nothing => 200 Leaves;
    /// The proof that a leaf is in the ledger.
    ProveInclusion: Get "/ledger/proof/inclusion", InclusionQuery, Nothing => 200 Proof;
    /// The proof that the ledger goes on from an older state of itself.
    ProveConsistency: Get "/ledger/proof/consistency", ConsistencyQuery, Nothing => 200 Proof;
    /// The raw image of a disk, or a range of it.
    GetDisk: Get "/points/{point}/disks/{disk}", Nothing, Nothing => 200 Raw;
    /// A disk as a streamOptimized VMDK; it is made while it is sent.
    ExportDisk: Get "/points/{point}/disks/{disk}/vmdk", Nothing, Nothing => 200 Raw;
    /// Where a disk has data; the rest is zero.
    GetDataRanges: Get "/points/{point}/disks/{disk}/map",
        DataRangesQuery, Nothing => 200 DataRanges;
    /// A small file of the VM, such as its `.vmx`.
    GetFile: Get "/points/{point}/files/{file}", Nothing, Nothing => 200 Raw;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn no_two_rows_share_a_name_or_a_route() {
        let names: HashSet<_> = ENDPOINTS.iter().map(|row| row.name).collect();
        let routes: HashSet<_> = ENDPOINTS.iter().map(|row| (row.method, row.path)).collect();
        assert_eq!((names.len(), routes.len()), (ENDPOINTS.len(), ENDPOINTS.len()));
        assert!(ENDPOINTS.iter().all(|row| row.path.starts_with("/api/v1/")));
        assert!(ENDPOINTS.iter().all(|row| row.summary.trim().ends_with('.')));
    }

    #[test]
    fn parameters_stay_in_their_segment() {
        let path = GetFile::INFO.path_with(&["ab12", "../a b/ü.vmx"]);
        assert_eq!(
            path.as_deref(),
            Some("/api/v1/points/ab12/files/%2E%2E%2Fa%20b%2F%C3%BC%2Evmx")
        );
        assert_eq!(GetFile::INFO.path_with(&["ab12"]), None);
        assert_eq!(GetStatus::INFO.path_with(&["ab12"]), None);
        assert_eq!(GetStatus::INFO.path_with(&[]).as_deref(), Some("/api/v1/status"));
    }
}
