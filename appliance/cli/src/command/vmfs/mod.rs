//! `holdfast vmfs`: what lies on a VMFS volume, for support and forensics.
//!
//! Reads images by itself, and LUNs through the appliance, which holds their sessions and their
//! identities. Nothing here can write to either.

mod cat;
mod check;
mod list;
mod map;
mod volume;

use crate::args::{Args, Vmfs};
use crate::error::Error;
use crate::output::{Outcome, Show};
use volume::Opened;

/// Does what the arguments say. Only a LUN needs the appliance, and its token.
pub(crate) fn run(args: &Args, show: Show, command: &Vmfs) -> Result<Outcome, Error> {
    let open = |on| Opened::open(args, on);
    match command {
        Vmfs::Info { volume } => Ok(list::info(&open(volume)?)),
        Vmfs::Ls { volume, path } => list::folder(&open(volume)?, path),
        Vmfs::Stat { volume, path } => list::stat(&open(volume)?, path),
        Vmfs::Map { volume, path } => map::map(&open(volume)?, show, path),
        Vmfs::Cat { volume, path } => cat::cat(&open(volume)?, show, path),
        Vmfs::Check { volume } => Ok(check::check(&open(volume)?)),
    }
}
