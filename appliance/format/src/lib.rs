//! L1: the repository's bytes. `FORMAT.md` beside this crate is their definition; each module
//! here is one of its sections, from bytes to structs and back.
//!
//! What this is: total decoders (any bytes give a value or a [`FormatError`]), encoders, ids and
//! compression and encryption of one record, parity. What it is not: files, order of writes, or a
//! decision.
//!
//! | module | section of FORMAT.md |
//! |---|---|
//! | [`header`] | 3, repository header and keys |
//! | [`record`] | 4.1, record header |
//! | [`segment`], [`footer`] | 4, segment header; 4.2, footer |
//! | [`place`] | 5, where a record lies |
//! | [`parity`], [`trailer`] | 4.3, parity and checksums; 4.4, trailer |
//! | [`keys`], [`volume`] | 3.2, wrapped keys; 3.1, volumes |
//! | [`map`], [`reach`] | 5, nodes of a DiskMap; 5.1, the segments it refers to |
//! | [`manifest`] | 6 |
//! | [`codec`], [`cipher`] | 4.1, zstd or raw, encrypted or not, checks on the way back |

pub mod cipher;
pub mod codec;
mod error;
mod fields;
pub mod footer;
pub mod header;
pub mod keys;
pub mod manifest;
pub mod map;
pub mod parity;
pub mod place;
pub mod reach;
pub mod record;
pub mod segment;
pub mod trailer;
pub mod volume;

pub use error::FormatError;
pub use place::Place;

/// Records, footers and trailers are laid out in blocks of this many bytes.
pub const BLOCK: usize = 4096;

/// Largest plain or stored length of a record, in bytes.
pub const RECORD_MAX: usize = 8 << 20;

/// Largest size of a segment, in bytes.
pub const SEGMENT_MAX: u64 = 4 << 30;
