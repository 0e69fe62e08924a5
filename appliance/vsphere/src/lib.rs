//! L2: the client of a vSphere server (vCenter or a single ESXi host).
//!
//! What this is: SOAP vim25 over HTTPS, hand-written and narrow - about thirty methods, the ones
//! that a backup needs; and REST for tags, which SOAP lacks. What it is not: a general vSphere
//! library, a scheduler, or the place that decides when a snapshot is taken. It keeps no journal:
//! the caller writes down that a snapshot has to be removed before it asks for one.
//!
//! ```text
//! Client  ->  requests  ->  wire::Writer  ->  session  ->  transport (TLS, pinned)  ->  server
//!    ^                                                                                     |
//!    +-- inventory, areas (pure decoders)  <-  wire::open (bounded tree, faults)  <---------+
//! ```
//!
//! Everything that looks at bytes is pure (`wire`, `inventory`, `areas`, `requests`); only `client`
//! touches sockets and clocks. Why SOAP: it is the one protocol that vSphere 6.7 to 9 serves with
//! and without a vCenter.

mod areas;
mod blueprint;
mod client;
mod error;
mod inventory;
mod requests;
mod restore_requests;
mod secret;
mod thumbprint;
mod tree;
mod wire;

pub use areas::AreasError;
pub use blueprint::{
    Blueprint, BlueprintDisk, Card, CardNetwork, Controller, Identity, ImportPlace, ImportSpec,
    NewCard, NewDisk,
};
pub use client::{
    About, ChangedSince, Client, Config, DatastoreFile, DeviceUrl, Download, FileBackup, Lease,
    LeaseInfo, ManifestEntry, Named, Places, ServerPart, Slot, Tag, Watcher,
};
pub use error::VsphereError;
pub use inventory::{
    BackingKind, Configuration, Datastore, Disk, DiskMode, Extent, FaultTolerance, Host, Layout,
    Nic, Placement, PowerState, ScsiLun, SnapshotNode, Vm, VmfsInfo,
};
pub use secret::Secret;
pub use thumbprint::{ParseThumbprintError, Pin, Thumbprint};
pub use tree::{Change, ChangeKind, Object, Properties, Replica, Tree, Update, Value};
pub use wire::{Fault, MoRef, WireError};
