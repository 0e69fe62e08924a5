//! L1: VMDK, from a range of a virtual disk to the files that hold it.
//!
//! What this is: descriptors, the sparse formats, and chains of disks, resolved grain by grain.
//! Parsers translate addresses; only deflated grains are read as data, because nothing else can.
//! Also a writer of streamOptimized disks. What it is not: a reader of file systems (files come
//! as [`block::ReadAt`]) and no guess: other kinds are refused by their name, a place that cannot
//! be is an error, and neither is ever zeros.
//!
//! ```text
//! web01-000001.vmdk --Disk::parse--> Disk + files --Layer::open--> Layer
//! [Layer, Layer, .. base] --Chain::new (CIDs)--> Chain --resolve(DiskRange)--> [Mapped]
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | `descriptor` | the text: header keys, extent lines, the disk data base |
//! | `disk` | what the text means; the rules between its parts |
//! | `sparse` | COWD, `SEsparse`, hosted: headers, directories, tables; one file |
//! | `pages` | metadata read lazily, in bounded memory, and compared again |
//! | `layer` | one disk: this file, zeros, or the parent |
//! | `chain` | a disk and its ancestors |
//! | `stream` | the writer |
//! | `sequential` | the reader of streams that come once and in order |
//!
//! The bytes of each format stand in the module that reads it; what is proven by which sample in
//! `CONFORMANCE.md` beside this crate.

mod bytes;
mod chain;
mod descriptor;
mod disk;
mod error;
mod fuzz;
mod layer;
mod pages;
mod sequential;
mod sparse;
mod stream;

pub use chain::{Chain, Mapped, Target};
pub use disk::{Disk, Extent, ExtentKind};
pub use error::VmdkError;
pub use fuzz::fuzz;
pub use layer::{Layer, PackedGrain, Part, Place};
pub use sequential::{StreamGrain, StreamReader};
pub use stream::{StreamSpec, StreamWriter};
