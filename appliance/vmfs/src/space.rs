//! The logical volume: its bytes, assembled from the extents of its devices.

use crate::bytes::index;
use crate::error::{At, VmfsError};
use crate::lvm::{self, Device};
use crate::partition::{Partition, find_partition};
use block::{ReadAt, Slice};
use model::LunExtent;
use std::sync::Arc;

/// A run of the logical volume on one LUN. Invariant: runs are sorted by `logical`, leave no
/// gap, and end at the volume's size.
#[derive(Clone, Copy, Debug)]
struct Run {
    logical: u64,
    device: usize,
    /// On the LUN, the partition's start included.
    offset: u64,
    length: u64,
}

/// The logical volume.
pub(crate) struct Space {
    luns: Vec<Arc<dyn ReadAt>>,
    runs: Vec<Run>,
    size: u64,
}

/// A device of the volume, in the order in which the caller gave them.
pub(crate) struct Assembled {
    pub(crate) partition: Partition,
    pub(crate) device: Device,
}

impl Space {
    /// Assembles the one volume that `luns` make up. Their order does not matter.
    pub(crate) fn assemble(
        luns: Vec<Arc<dyn ReadAt>>,
    ) -> Result<(Self, Vec<Assembled>), VmfsError> {
        let devices = luns.iter().map(read_device).collect::<Result<Vec<_>, _>>()?;
        check_members(&devices)?;
        let mut runs: Vec<Run> = devices
            .iter()
            .enumerate()
            .flat_map(|(number, member)| {
                member.device.extents.iter().map(move |extent| Run {
                    logical: extent.logical,
                    device: number,
                    offset: member.partition.offset + extent.physical,
                    length: extent.length,
                })
            })
            .collect();
        runs.sort_unstable_by_key(|run| run.logical);
        let size = devices[0].device.volume.size;
        check_runs(&runs, size)?;
        Ok((Self { luns, runs, size }, devices))
    }

    /// A file system that fills a device without any LVM.
    pub(crate) fn bare(device: Arc<dyn ReadAt>) -> Self {
        let size = device.size();
        let runs = vec![Run { logical: 0, device: 0, offset: 0, length: size }];
        Self { luns: vec![device], runs, size }
    }

    /// The LUNs, in the order in which they were given.
    pub(crate) fn devices(&self) -> Vec<Arc<dyn ReadAt>> {
        self.luns.clone()
    }

    /// Bytes of the volume.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The partition of a member, to read its LVM structures again.
    pub(crate) fn partition(
        &self,
        device: usize,
        partition: Partition,
    ) -> Result<Slice<Arc<dyn ReadAt>>, VmfsError> {
        slice(&self.luns[device], partition)
    }

    /// Reads a structure.
    pub(crate) fn read(&self, at: At, length: u64) -> Result<Vec<u8>, VmfsError> {
        let mut bytes = vec![0; index(length)];
        let mut done = 0;
        for extent in self.translate(at, length)? {
            let part = &mut bytes[done..done + index(extent.length)];
            done += part.len();
            self.read_lun(at, extent, part)?;
        }
        Ok(bytes)
    }

    /// Reads an extent of a LUN into a buffer of its length.
    pub(crate) fn read_lun(
        &self,
        at: At,
        extent: LunExtent,
        buffer: &mut [u8],
    ) -> Result<(), VmfsError> {
        let lun = &self.luns[extent.device];
        lun.read_at(extent.offset, buffer).map_err(|source| at.unreadable(source))
    }

    /// Where `length` bytes of the volume from `at.offset` on lie on the LUNs.
    pub(crate) fn translate(&self, at: At, length: u64) -> Result<Vec<LunExtent>, VmfsError> {
        let end = at.offset.checked_add(length).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| {
            at.damaged("place", format_args!("{:#x}", at.offset), "within the volume")
        })?;
        let first = self.runs.partition_point(|run| run.logical + run.length <= at.offset);
        let mut extents = Vec::with_capacity(1);
        let mut position = at.offset;
        for run in &self.runs[first..] {
            if position == end {
                break;
            }
            let into = position - run.logical;
            let length = (run.length - into).min(end - position);
            extents.push(LunExtent { device: run.device, offset: run.offset + into, length });
            position += length;
        }
        Ok(extents)
    }
}

fn read_device(lun: &Arc<dyn ReadAt>) -> Result<Assembled, VmfsError> {
    let partition = find_partition(lun.as_ref())?;
    Ok(Assembled { partition, device: lvm::read(&slice(lun, partition)?)? })
}

fn slice(lun: &Arc<dyn ReadAt>, partition: Partition) -> Result<Slice<Arc<dyn ReadAt>>, VmfsError> {
    let at = At { structure: "partition", offset: partition.offset };
    Slice::new(Arc::clone(lun), partition.offset, partition.length)
        .map_err(|source| at.unreadable(source))
}

/// All devices must be members of one volume, each unit must be there, none twice.
fn check_members(devices: &[Assembled]) -> Result<(), VmfsError> {
    let incomplete = |problem: String| Err(VmfsError::Incomplete { problem });
    let Some(first) = devices.first().map(|member| &member.device.volume) else {
        return incomplete("none was given".into());
    };
    let mut members: Vec<_> = devices.iter().map(|member| &member.device.volume).collect();
    let same = members.iter().all(|member| {
        (member.uuid, member.snap_id, member.size, member.devices)
            == (first.uuid, first.snap_id, first.size, first.devices)
    });
    if !same {
        return incomplete(
            "they belong to different volumes, or to different states of one".into(),
        );
    }
    if members.len() as u64 != u64::from(first.devices) {
        let (wanted, given) = (first.devices, members.len());
        return incomplete(format!("the volume has {wanted} of them, {given} given"));
    }
    members.sort_unstable_by_key(|member| member.first_unit);
    let mut next = 0;
    for member in members {
        if member.first_unit != next {
            return incomplete(format!("unit {next} of the volume is on none or on two of them"));
        }
        next = member.last_unit.saturating_add(1);
    }
    Ok(())
}

fn check_runs(runs: &[Run], size: u64) -> Result<(), VmfsError> {
    let mut end = 0;
    for run in runs {
        if run.logical != end {
            let problem = format!("bytes from {end:#x} on are on no extent or on two");
            return Err(VmfsError::Incomplete { problem });
        }
        end = run.logical + run.length;
    }
    if end == size {
        return Ok(());
    }
    Err(VmfsError::Incomplete {
        problem: format!("extents end at {end:#x}, the volume at {size:#x}"),
    })
}
