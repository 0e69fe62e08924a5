//! L1: VMDK, from a virtual disk to the files that hold it.
//!
//! What this is: the parser of disk descriptors and the resolution of ranges of a disk to ranges
//! of its extent files. What it is not: a reader of files (the caller brings the descriptor's
//! bytes and the files' lengths) and no data path. Flat disks are resolved; every other kind is
//! refused by its name, so that it goes over the network and is never misread.
//!
//! ```text
//! web01.vmdk --parse--> Disk --resolve(DiskRange)--> [FileExtent { file, offset, length }]
//! ```
//!
//! | module | what it knows |
//! |---|---|
//! | `descriptor` | the text: header keys, extent lines, the disk data base |
//! | `disk` | what the text means; the rules between its parts; ranges |

mod descriptor;
mod disk;
mod error;

pub use disk::{Disk, Extent};
pub use error::VmdkError;
