//! L4: `holdfast-verify`, the offline verifier: a disk taken out of the box, a copy, or one volume
//! alone, held against its ledger; and the disk images in it, extracted.
//!
//! What this is: everything that `format/FORMAT.md` demands, checked from the bytes alone, with a
//! replay of the ledger of its own. It only reads. What it is not: the repository or the warden
//! (it shares the decoders of `format` and `ledger` with them and nothing else), a repair in
//! place, or a judge of what was in the guest. A second implementation, in another language and
//! from the text alone, is `tests/verify.py`; a test holds the two against each other.
//!
//! Hostile input gives findings: no length is believed before it was compared with the file.
//! Memory: one zone and the parity of each of two segments that are checked at the same time, and
//! bounded caches of footers and map nodes.
//!
//! | module | what |
//! |---|---|
//! | [`check`] | the command that checks everything |
//! | `repository`, `keys`, `volumes` | header, volumes, key files |
//! | `ledger`, `state` | frames, head, signature; the leaves replayed |
//! | `segment` | one sealed segment |
//! | `store`, `map`, `point` | records by place; DiskMaps; recovery points |
//! | [`mod@extract`], [`mod@repair`], [`proof`] | the other commands |
//! | `report`, `json`, `files`, `error` | what is found; strict JSON; reading |

pub mod check;
mod error;
pub mod extract;
mod files;
mod json;
mod keys;
mod ledger;
mod map;
mod point;
pub mod proof;
pub mod repair;
mod report;
mod repository;
mod segment;
mod state;
mod store;
mod volumes;

pub use error::VerifyError;
pub use files::create_outside;
pub use report::{Damage, Finding, Findings, LedgerReport, PointReport, Report, SegmentsReport};
