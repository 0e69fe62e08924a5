//! L3: backup, verification and clean-up: what is to be done, in which order, and what must be
//! undone.
//!
//! What this is: the straight line from a VM to a committed recovery point, written against
//! traits of its own ([`ports`]), with every decision in a pure function ([`plan`]). What it is
//! not: a driver. It knows no socket, no SOAP, no file format; `daemon` hands it the real parts.
//!
//! ```text
//! preflight -> journal -> snapshot -> [per disk: locate -> map -> compare with the API -> read]
//!           -> recheck -> commit (ledger leaf) -> snapshot removed -> journal closed
//! ```
//!
//! Why the journal comes first: a snapshot that nobody remembers grows until its datastore is
//! full. Whatever must be undone is written down, synced, before it is done ([`journal`]).

pub mod backup;
mod chain;
pub mod compare;
pub mod configuration;
pub mod crosscheck;
pub mod error;
mod exclude;
pub mod journal;
pub mod locate;
pub mod plan;
pub mod ports;
mod preflight;
pub mod progress;
mod read;
mod reading;
pub mod record;
pub mod registry;
pub mod restore;
mod session;
mod settle;
mod snapshot;
pub mod suspicion;
pub mod sweep;
mod transport;
pub mod verdicts;
pub mod watch;
mod window;

pub use backup::{Backup, BackupReport, DiskReport, Settings};
pub use compare::Compared;
pub use crosscheck::Rotation;
pub use error::RunError;
pub use journal::{Intent, Journal, JournalLog};
pub use progress::{Progress, ProgressView, StepState, StepView};
pub use record::{DiskRecord, RunRecord};
pub use registry::{Entry, Registry};
pub use restore::{Restore, RestoreError, RestoreIntent, sweep_restores};
pub use suspicion::{Standing, Suspicion};
pub use sweep::{Swept, Undone, sweep};
pub use verdicts::{Verdict, Verdicts};
pub use watch::SnapshotLimits;
