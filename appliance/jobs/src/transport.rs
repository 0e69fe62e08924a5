//! By which way a disk is read: straight from its LUN, or over the network through the
//! hypervisor's public interface, which is slower, knows whole disks only, and needs no SAN.
//!
//! The way is decided by the disk's datastore, before the VM is touched; and again when the SAN's
//! own metadata is not understood. What contradicts the hypervisor about who a LUN is never turns
//! into a way by network: that is an alarm, not an obstacle.

use crate::backup::DiskReport;
use crate::compare::Compared;
use crate::error::RunError;
use crate::locate::{Located, blocking};
use crate::ports::{
    DiskDraft, DiskSink, DiskView, Fabric, Hypervisor, Network, NetworkDisk, PointSink, Store,
};
use crate::read::{Target, put_all};
use crate::session::Session;
use api::TransportPolicy;
use model::{ErrorKind, ReadMode, Transport};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

/// Cells that wait for the store.
const READY: usize = 8;

/// How the disks of a datastore are read.
#[derive(Clone)]
pub(crate) enum Way {
    /// From its LUNs.
    San(Located),
    /// Over the network; the reason is for people.
    Network(String),
}

impl Way {
    pub(crate) fn located(&self) -> Option<&Located> {
        match self {
            Self::San(located) => Some(located),
            Self::Network(_) => None,
        }
    }
}

/// The way for a datastore that was looked for on the SAN with this outcome.
pub(crate) fn decide(
    policy: TransportPolicy,
    looked: Result<Located, RunError>,
) -> Result<Way, RunError> {
    match looked {
        Ok(located) => Ok(Way::San(located)),
        Err(error) if policy == TransportPolicy::PreferSan && is_out_of_reach(&error) => {
            Ok(Way::Network(model::chain(&error)))
        }
        Err(error) => Err(error),
    }
}

/// True when the SAN does not have the datastore, or holds what this program does not read.
fn is_out_of_reach(error: &RunError) -> bool {
    match error {
        RunError::NoSanPath { .. } => true,
        RunError::Port(error) => error.kind == ErrorKind::NotFound,
        RunError::Datastore { source, .. } => source.kind() == ErrorKind::Unsupported,
        _ => false,
    }
}

/// True when the map of a disk is not understood, or does not agree with the hypervisor, after
/// all looks: over the network the disk can be read all the same.
pub(crate) fn is_not_understood(error: &RunError) -> bool {
    match error {
        RunError::UnknownRange { .. } | RunError::Disagreement { .. } => true,
        RunError::Datastore { source, .. } => source.kind() == ErrorKind::Unsupported,
        RunError::Descriptor { source, .. } => source.kind() == ErrorKind::Unsupported,
        _ => false,
    }
}

impl<H: Hypervisor, F: Fabric, S: Store> Session<'_, H, F, S> {
    /// Reads the whole disk over the network. What the store has already is stored by reference
    /// only, so that an unchanged disk costs its transfer and nothing more.
    pub(crate) async fn by_network(
        &self,
        disk: &DiskView,
        why: &str,
        mut point: S::Point,
    ) -> Result<(DiskReport, S::Point), RunError> {
        self.progress.step(format!("read {} over the network", disk.label));
        self.progress.detail(why.to_owned());
        let opened = self.backup.network.open(self.vm, self.snapshot, &disk.identity).await?;
        let network = match opened {
            Network::Open(network) => network,
            Network::None(reason) => {
                let reason = format!("{why}; and it cannot be read over the network: {reason}");
                return Err(RunError::NoSanPath { disk: disk.identity.path.clone(), reason });
            }
        };
        let mode = ReadMode::Full { reason: format!("read over the network: {why}") };
        let draft = DiskDraft {
            identity: disk.identity.clone(),
            mode: mode.clone(),
            transport: Transport::Network,
            parent: None,
            excluded: Vec::new(),
        };
        let sink = point.disk(draft)?;
        let (ready, taken) = mpsc::channel(READY);
        let target = Target { sink, differing: Vec::new() };
        let putter = tokio::spawn(blocking("the writer", move || put_all(taken, &[], target)));
        let read = self.receive(disk, network, ready).await;
        // The putter's error comes first: see `read::transfer`.
        let put = putter
            .await
            .map_err(|source| RunError::Thread { what: "the writer", source: source.into() })??;
        let target = put?;
        read?;
        let counts = blocking("the store", move || target.sink.finish()).await??;
        self.progress.add_stored(counts.bytes_stored);
        let report = DiskReport {
            identity: disk.identity.clone(),
            label: disk.label.clone(),
            mode,
            transport: Transport::Network,
            changed_areas: 0,
            changed_bytes: 0,
            bytes_read: disk.identity.capacity,
            bytes_compared: 0,
            counts,
            excluded: Vec::new(),
            passed_over: Vec::new(),
            compared: Compared::Not {
                classes: BTreeSet::new(),
                reason: "it was read over the network itself".into(),
            },
        };
        Ok((report, point))
    }

    /// All cells of the disk, in order; zeros need no word in a full.
    async fn receive(
        &self,
        disk: &DiskView,
        mut network: Box<dyn NetworkDisk>,
        ready: mpsc::Sender<(u64, Option<Vec<u8>>)>,
    ) -> Result<(), RunError> {
        let grid = self.grid(disk.identity.capacity);
        self.progress.add_total(disk.identity.capacity);
        for cell in 0..grid.cells() {
            if self.progress.is_cancelled() {
                return Err(RunError::Cancelled);
            }
            let range = grid.range(cell).expect("a cell of this grid");
            let bytes = network.read(range).await?;
            let length = bytes.len() as u64;
            let zeros = bytes.iter().all(|byte| *byte == 0);
            if !zeros && ready.send((cell, Some(bytes))).await.is_err() {
                return Ok(()); // the putter ended with the error that matters
            }
            self.progress.add_done(length, length);
        }
        Ok(network.finish().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::PortError;

    fn port(kind: ErrorKind) -> RunError {
        RunError::Port(PortError { kind, operation: "x".into(), source: "y".into() })
    }

    #[test]
    fn only_what_is_out_of_reach_goes_by_network_and_only_when_it_may() {
        let (prefer, only) = (TransportPolicy::PreferSan, TransportPolicy::SanOnly);
        let absent = || Err(port(ErrorKind::NotFound));
        assert!(matches!(decide(prefer, absent()), Ok(Way::Network(why)) if why.contains("y")));
        assert!(decide(only, absent()).is_err());
        for kind in [ErrorKind::Retryable, ErrorKind::Corrupt, ErrorKind::Refused] {
            assert!(decide(prefer, Err(port(kind))).is_err(), "{kind:?}");
        }
        let (lun, datastore) = ("naa.1".to_owned(), "san01".to_owned());
        let copy = RunError::Identity { lun, datastore, difference: "a copy".into() };
        assert!(decide(prefer, Err(copy)).is_err(), "an alarm is no obstacle to go around");
    }
}
