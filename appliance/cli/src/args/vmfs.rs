//! `holdfast vmfs` as types.

use clap::{Args, Subcommand};
use model::NaaName;
use std::path::PathBuf;

const INFO_JSON: &str = "JSON: uuid, label, version, local, created, config, block_bytes, \
    size_bytes, lvm_uuid, lvm_generation; devices: [{name, partition_offset, partition_bytes, \
    uuid, lvm_version, generation, host_device}]";
const LS_JSON: &str = "JSON: path; entries: [{name, type, length, modified, descriptor, \
    generation, target, error}]. type: directory, file, symlink, rdm, system, volume. Times are \
    RFC 3339. target: of a symbolic link. error: why the descriptor of this name cannot be read; \
    then the exit status is 1.";
const STAT_JSON: &str = "JSON: path, type, length, modified, descriptor, descriptor_offset, \
    generation, addressing, block_bytes, blocks, blocks_to_be_zeroed, blocks_copy_on_write, \
    target; raw_device: {id_type, id_hex, id_text} of a raw device mapping";
const MAP_JSON: &str = "JSON: path, length, devices: [name]; parts: [{offset, length, kind, \
    device, at, reason}]; lun_bytes, hole_bytes, zero_bytes, resident_bytes, unknown_bytes; \
    error: null, or why the list ends early; then the exit status is 1. kind: lun (with device, \
    an index into devices, and at, the byte on it), hole, zero (a block that was never written), \
    resident (in the descriptor), unknown (with reason).";
const CAT_JSON: &str = "JSON: path, length, sha256: everything is read, nothing of it is written";
const CHECK_JSON: &str = "JSON: uuid, label, directories, files, others, blocks, pointer_blocks, \
    unknown_blocks; problems: [{path, error}]";

#[derive(Debug, Subcommand)]
pub(crate) enum Vmfs {
    /// What the volume is and what it lies on
    #[command(after_long_help = INFO_JSON)]
    Info {
        #[command(flatten)]
        volume: OnWhat,
    },
    /// List a folder
    #[command(after_long_help = LS_JSON)]
    Ls {
        #[command(flatten)]
        volume: OnWhat,
        /// The folder
        #[arg(value_name = "PATH", default_value = "/")]
        path: String,
    },
    /// What the descriptor of a file says; links and raw device mappings are shown, not followed
    #[command(after_long_help = STAT_JSON)]
    Stat {
        #[command(flatten)]
        volume: OnWhat,
        /// The file or folder
        #[arg(value_name = "PATH")]
        path: String,
    },
    /// Where the bytes of a file lie
    #[command(after_long_help = MAP_JSON)]
    Map {
        #[command(flatten)]
        volume: OnWhat,
        /// The file
        #[arg(value_name = "FILE")]
        path: String,
    },
    /// Write the content of a file to standard output
    ///
    /// The map of the file is checked before the first byte, and read again after the last one. A
    /// file with a part that is not understood is refused. After an error, what was written is not
    /// the file.
    #[command(after_long_help = CAT_JSON)]
    Cat {
        #[command(flatten)]
        volume: OnWhat,
        /// The file
        #[arg(value_name = "FILE")]
        path: String,
    },
    /// Check every structure of the volume and list all that does not hold
    ///
    /// Exit status 1 when anything does not. On a volume that hosts write to, a change that is half
    /// done looks like damage: check again, and believe what stays.
    #[command(after_long_help = CHECK_JSON)]
    Check {
        #[command(flatten)]
        volume: OnWhat,
    },
}

/// What the volume lies on: all of its extents, in any order, and nothing else.
#[derive(Debug, Args)]
#[group(id = "extents", required = true, multiple = true)]
pub(crate) struct OnWhat {
    /// Image of a LUN or of its partition; repeat it for a volume of several extents
    #[arg(long = "image", value_name = "FILE", conflicts_with = "luns", group = "extents")]
    pub(crate) images: Vec<PathBuf>,
    /// NAA name of a LUN, as 'san luns' lists it, read through the appliance; repeat it for a
    /// volume of several extents
    #[arg(long = "lun", value_name = "NAA", group = "extents")]
    pub(crate) luns: Vec<NaaName>,
    /// The image is a file system without a logical volume (of a host's own disk)
    #[arg(long, requires = "images")]
    pub(crate) bare: bool,
}
