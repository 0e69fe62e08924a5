//! The nodes of one device, opened: the generic one always, the block one where the kernel's disk
//! driver holds the device.

use super::candidate::{InUse, judge};
use super::device::{Address, Route, ScsiDevice, devices};
use super::direct::Direct;
use super::error::KernelError;
use super::generic::Generic;
use super::settings;
use super::tree::{Tree, text};
use scsi::LunId;
use std::os::fd::OwnedFd;
use std::path::Path;

/// The way to a LUN, whatever the kernel calls it at the moment.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) route: Route,
    pub(super) lun: LunId,
}

/// A device's open nodes.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) address: Address,
    pub(super) generic: Generic,
    pub(super) direct: Option<Direct>,
}

impl Node {
    /// Finds the device at the end of `way` and opens it, if it may be read and is running.
    /// Blocks.
    pub(super) fn find(tree: &Tree, way: &Way) -> Result<Self, KernelError> {
        let found = judge(devices(tree), &InUse::look(tree)?);
        let mut here = found
            .into_iter()
            .filter(|(one, _)| one.lun == way.lun && one.route.is_same(&way.route));
        let Some((device, refusal)) = here.next() else { return Err(KernelError::Gone) };
        match refusal {
            Some(refusal) => {
                let device = device.address.to_string();
                Err(KernelError::NotCandidate { device, refusal })
            }
            None => Self::open(tree, &device),
        }
    }

    /// Opens a device that may be read.
    pub(super) fn open(tree: &Tree, device: &ScsiDevice) -> Result<Self, KernelError> {
        let address = device.address;
        if let Some(state) = device.state.clone().filter(|state| state != "running") {
            return Err(KernelError::State { device: address.to_string(), state });
        }
        let name = device.generic.as_deref().ok_or(KernelError::Gone)?;
        settings::prepare(tree, &[device]);
        let generic = Generic::open(tree, &device.folder, name)?;
        let block = device.block.as_deref();
        let direct = block.map(|name| Direct::open(tree, &device.folder, name)).transpose()?;
        Ok(Self { address, generic, direct })
    }
}

/// Whether the opened node has the device number that sysfs tells for it.
pub(super) fn check_number(node: &OwnedFd, folder: &Path, name: &str) -> Result<(), KernelError> {
    let failed = |error: rustix::io::Errno| KernelError::node("looking at", name, error);
    let number = rustix::fs::fstat(node).map_err(failed)?.st_rdev;
    let is = format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number));
    if text(folder, "dev").is_some_and(|should| should == is) {
        Ok(())
    } else {
        Err(KernelError::WrongNode { node: name.to_owned() })
    }
}
