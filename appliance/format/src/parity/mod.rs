//! Parity and block checksums of a sealed segment (FORMAT.md 4.3): what finds every wrong block
//! of a segment without a key, and computes up to two wrong blocks of a row from the others.
//!
//! ```text
//! zone:  column 0 | column 1 | ... | column n-1 | parity 0 | parity 1
//! row r: block r of every column; two of its blocks may be lost
//! ```
//! What this is: geometry, the writer ([`ParityWriter`]), [`check()`] and [`repair()`], all of them
//! streams of bounded memory. What it is not: files, or a proof of authenticity - that is the seal.
//!
//! | module | what |
//! |---|---|
//! | [`geometry`] | where everything lies, computed from one number |
//! | `code` | the Reed-Solomon code, one zone or one row |
//! | [`writer`] | protected bytes in, parity and table out |
//! | [`mod@check`] | the wrong blocks of a file |
//! | [`mod@repair`] | the right bytes of a damaged file |
//! | [`trailer`] | the trailer of a file that has lost both |

pub mod check;
mod code;
pub mod geometry;
pub mod repair;
pub mod trailer;
pub mod writer;

pub use check::{Checked, check, check_frame};
pub use geometry::{Geometry, Zone};
pub use repair::{RepairError, Repaired, repair};
pub use trailer::{Sealed, recover_trailer};
pub use writer::{ParityWriter, Protection};

/// Bytes of a column of a whole zone.
pub const COLUMN: usize = 64 << 10;

/// Data columns of a whole zone.
pub const COLUMNS: usize = 240;

/// Parity columns of a zone: as many wrong blocks of a row can be computed.
pub const PARITY_COLUMNS: usize = 2;

/// Bytes of a whole zone.
pub const ZONE: usize = COLUMN * COLUMNS;

#[cfg(test)]
mod lost_tests;
#[cfg(test)]
mod tests;
