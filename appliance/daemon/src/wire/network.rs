//! The network path to the bytes of disks, as the jobs see it: a lease of the public vSphere API,
//! a streamOptimized disk over HTTPS, read once and in order.

use super::hypervisor::Vcenter;
use jobs::ports::{BoxError, BoxFuture, Network, NetworkDisk, NetworkPath, PortError, VmView};
use model::{DiskIdentity, DiskRange, ErrorKind};
use std::collections::VecDeque;
use std::sync::Arc;
use vmdk::{StreamGrain, StreamReader, VmdkError};
use vsphere::{DeviceUrl, Download, Lease, MoRef, VsphereError};

/// Disks through leases.
pub(crate) struct Leases(pub(crate) Arc<Vcenter>);

impl NetworkPath for Leases {
    fn open<'a>(
        &'a self,
        _vm: &'a VmView,
        snapshot: &'a str,
        disk: &'a DiskIdentity,
    ) -> BoxFuture<'a, Result<Network, PortError>> {
        Box::pin(self.begin(snapshot, disk))
    }
}

impl Leases {
    async fn begin(&self, snapshot: &str, disk: &DiskIdentity) -> Result<Network, PortError> {
        let snapshot = MoRef::new("VirtualMachineSnapshot", snapshot);
        let client = self.0.client().await?;
        let none = |error: VsphereError| Ok(Network::None(model::chain(&error)));
        let slots = match client.disk_slots(&snapshot).await {
            Ok(slots) => slots,
            Err(error) => return none(error),
        };
        let lease = match client.export_snapshot(&snapshot).await {
            Ok(lease) => lease,
            Err(error) => return none(error),
        };
        let slot = slots.iter().find(|slot| slot.key == disk.key);
        let Some(device) = slot.and_then(|slot| lease.info().disk_at(&slot.place)).cloned() else {
            let reason = "the lease of vCenter does not say which of its urls is this disk's";
            return Ok(Network::None(reason.into()));
        };
        let download = match lease.download(&device).await {
            Ok(download) => download,
            Err(error) => return none(error),
        };
        let reader = StreamReader::new(&disk.path, disk.capacity);
        let stream = Stream {
            path: disk.path.clone(),
            capacity: disk.capacity,
            lease,
            device,
            download,
            reader: Some(reader),
            grains: VecDeque::new(),
            known: 0,
        };
        Ok(Network::Open(Box::new(stream)))
    }
}

/// A disk that is coming.
struct Stream {
    path: String,
    capacity: u64,
    lease: Lease,
    device: DeviceUrl,
    download: Download,
    /// `None`: the stream has ended, and was whole.
    reader: Option<StreamReader>,
    /// Grains that reach beyond what was asked for so far.
    grains: VecDeque<StreamGrain>,
    /// Up to here everything has come; what is in no grain is zeros.
    known: u64,
}

impl NetworkDisk for Stream {
    fn read(&mut self, range: DiskRange) -> BoxFuture<'_, Result<Vec<u8>, PortError>> {
        Box::pin(async move {
            while self.known < range.end() {
                self.advance(range.offset).await?;
            }
            let mut bytes = vec![0; usize::try_from(range.length).expect("64-bit machine")];
            for grain in &self.grains {
                copy(grain, range, &mut bytes);
            }
            self.grains.retain(|grain| end_of(grain) > range.end());
            Ok(bytes)
        })
    }

    fn finish(mut self: Box<Self>) -> BoxFuture<'static, Result<(), PortError>> {
        Box::pin(async move {
            while self.reader.is_some() {
                self.advance(self.capacity).await?;
                self.grains.clear();
            }
            let verified = self.lease.verify(&self.device, &self.download).await;
            verified.map_err(failed(&self.path, VsphereError::kind))?;
            self.lease.complete().await.map_err(failed(&self.path, VsphereError::kind))
        })
    }
}

impl Stream {
    /// Takes the next grain, or the next bytes. Grains before `from` are not kept.
    async fn advance(&mut self, from: u64) -> Result<(), PortError> {
        let Some(reader) = &mut self.reader else {
            self.known = self.capacity;
            return Ok(());
        };
        let damaged = failed(&self.path, VmdkError::kind);
        if let Some(grain) = reader.grain().map_err(&damaged)? {
            self.known = end_of(&grain);
            let percent = self.known * 100 / self.capacity.max(1);
            self.lease.progress(u8::try_from(percent).unwrap_or(100));
            if self.known > from {
                self.grains.push_back(grain);
            }
            return Ok(());
        }
        match self.download.next().await {
            Ok(Some(bytes)) => reader.feed(&bytes),
            Ok(None) => {
                let reader = self.reader.take().expect("it is there");
                reader.finish().map_err(&damaged)?;
                self.known = self.capacity;
            }
            Err(error) => {
                // The server's own reason says more than a connection that broke with it.
                let error = self.lease.check().await.err().unwrap_or(error);
                return Err(failed(&self.path, VsphereError::kind)(error));
            }
        }
        Ok(())
    }
}

fn end_of(grain: &StreamGrain) -> u64 {
    grain.offset + grain.bytes.len() as u64
}

/// What of the grain lies in the range.
fn copy(grain: &StreamGrain, range: DiskRange, bytes: &mut [u8]) {
    let (from, to) = (grain.offset.max(range.offset), end_of(grain).min(range.end()));
    if from < to {
        let at = |place: u64, base: u64| usize::try_from(place - base).expect("64-bit machine");
        let part = &grain.bytes[at(from, grain.offset)..at(to, grain.offset)];
        bytes[at(from, range.offset)..at(to, range.offset)].copy_from_slice(part);
    }
}

fn failed<E: Into<BoxError>>(
    path: &str,
    kind: impl Fn(&E) -> ErrorKind,
) -> impl Fn(E) -> PortError {
    let operation = format!("reading '{path}' over the network");
    move |error| PortError {
        kind: kind(&error),
        operation: operation.clone(),
        source: error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_takes_its_part_of_each_grain() {
        let grain = StreamGrain { offset: 100, bytes: (0..50).collect() };
        let part = |offset, length: u64| {
            let mut bytes = vec![255; usize::try_from(length).unwrap()];
            copy(&grain, DiskRange { offset, length }, &mut bytes);
            bytes
        };
        assert_eq!(part(98, 4), [255, 255, 0, 1]);
        assert_eq!(part(148, 4), [48, 49, 255, 255]);
        assert_eq!(part(120, 2), [20, 21]);
        assert_eq!(part(150, 1), [255]);
    }
}
