//! L2: the only holder of the right to seal, commit and delete.
//!
//! What this is: the ledger's file, its replay, and the keeper that decides from them what may be
//! done to a repository; the few file operations that both sides use; the types of requests and
//! replies. What it is not: ingest, restore, an index (`repository`), or the rules of locks and of
//! the clock (`retention`). The order of writes is defined in `format/FORMAT.md`, sections 7 to 9.
//!
//! Why it is a process of its own: the daemon talks to the network and parses what strangers send.
//! If it is taken over it can ask for anything here, and gets what the ledger allows.
//!
//! | module | what |
//! |---|---|
//! | [`storage`], [`layout`] | file operations, file names |
//! | [`state`] | leaves in, what the repository is out |
//! | [`wire`], [`found`] | requests, replies, findings |
//! | [`Keeper`] | one request after another |
//! | [`LedgerReader`] | the daemon's side of the ledger; proofs |
//! | [`Warden`], [`Local`] | how the keeper is called |
//! | [`client`], [`line`], [`frames`], [`server`], [`service`] | the same over a Unix socket |
//! | [`sandbox`], [`rights`], [`home`], [`clocks`] | what its process keeps and gives up |

pub mod client;
pub mod clocks;
mod error;
pub mod found;
pub mod frames;
pub mod home;
mod inspect;
mod keeper;
pub mod layout;
mod ledger_file;
pub mod line;
mod local;
mod mirror;
mod reader;
pub mod rights;
pub mod sandbox;
pub mod server;
pub mod service;
pub mod state;
pub mod storage;
pub mod wire;
mod witness;

pub use error::{WardenError, WireError};
pub use keeper::{
    Caller, Config, Creation, FirstOfficer, Keeper, Random, UNITS_PER_DAY, officer_text,
};
pub use local::{Local, Warden};
pub use reader::{LedgerReader, prove_consistency, prove_inclusion, read_leaves};
pub use state::State;
pub use witness::{FileWitness, Witness};
