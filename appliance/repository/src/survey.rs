//! What lies on the volumes at a start, held against the ledger.

use crate::StoreError;
use crate::index::{Builder, Index};
use crate::open::{DamagedSegment, MissingVolume, Recovery};
use crate::scan::{File, Held, Usable, read_footers};
use crate::volumes::Volumes;
use format::header::RepositoryId;
use std::collections::{BTreeMap, BTreeSet};
use warden::layout;
use warden::state::State;
use warden::storage::Storage;

/// Serials left out while a volume is away: more than a run that did not end can have used there.
const UNSEEN: u32 = 1 << 16;

/// What lies on the volumes, compared with the ledger.
pub(crate) struct Survey {
    pub(crate) files: BTreeMap<u32, Held>,
    pub(crate) index: Index,
    /// Serials that lie on two volumes.
    twice: BTreeSet<u32>,
}

impl Survey {
    pub(crate) fn run(
        storage: &dyn Storage,
        id: RepositoryId,
        volumes: &Volumes,
        state: &State,
        recovery: &mut Recovery,
    ) -> Result<Self, StoreError> {
        let mut found = Vec::new();
        for &volume in &volumes.present {
            list_sealed(storage, volume, state, recovery, &mut found)?;
        }
        found.sort_unstable_by_key(|file: &File| (file.volume, file.serial));
        let index = Builder::new(volumes.present.iter().copied());
        let take = |volume, chunks: &[_]| index.add(volume, chunks);
        let footers = read_footers(storage, id, &found, &take);
        let (files, twice) = <(BTreeMap<_, _>, BTreeSet<_>)>::default();
        let mut scan = Self { files, index: index.build(), twice };
        // Those whose footers are right come first, so that nothing else takes their place.
        let mut all: Vec<(&File, Result<Usable, StoreError>)> = found.iter().zip(footers).collect();
        all.sort_by_key(|(_, footer)| footer.is_err());
        for (file, footer) in all {
            scan.take(file, footer, recovery);
        }
        let distrusted = state.segments().filter(|(_, segment)| segment.distrusted);
        let distrusted = distrusted.map(|(serial, _)| serial);
        let twice = scan.twice.iter().copied();
        scan.index.forget(&distrusted.chain(twice).collect());
        scan.missing(volumes, state, recovery);
        Ok(scan)
    }

    /// A segment whose footer is damaged keeps its place: its records can still be read. Without
    /// a leaf nothing needs it, but it is not removed either: only what is understood is removed.
    fn take(&mut self, file: &File, footer: Result<Usable, StoreError>, recovery: &mut Recovery) {
        let serial = file.serial;
        let understood = footer.is_ok();
        let (held, wrong) = match footer {
            Ok((held, warning)) => (held, warning.map(str::to_owned)),
            Err(error) => (Held::unreadable(file), Some(model::chain(&error))),
        };
        recovery.damaged.extend(wrong.map(|what| DamagedSegment { serial, what }));
        if let Some(first) = self.files.get(&serial) {
            let (first, second) = (first.volume, file.volume);
            let what = format!("it lies on volumes {first} and {second}; volume {first}'s is used");
            recovery.damaged.push(DamagedSegment { serial, what });
            self.twice.insert(serial);
            return;
        }
        if understood && file.recorded.is_none() {
            recovery.orphans.push(serial);
        }
        self.files.insert(serial, held);
    }

    /// The first serial for new segments. Orphans on a volume that is away are not seen, and a
    /// serial is given once.
    pub(crate) fn next_serial(&self, volumes: &Volumes, state: &State) -> u32 {
        let last = self.files.keys().last().copied().unwrap_or(0).max(state.last_serial());
        let unseen = if volumes.missing.is_empty() { 0 } else { UNSEEN };
        last.saturating_add(1).saturating_add(unseen)
    }

    fn missing(&self, volumes: &Volumes, state: &State, recovery: &mut Recovery) {
        let mut lost: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for (serial, segment) in state.segments() {
            if self.files.contains_key(&serial) {
                continue;
            }
            if volumes.missing.contains(&segment.volume) {
                lost.entry(segment.volume).or_default().push(serial);
            } else {
                let what = "the segment is missing".to_owned();
                recovery.damaged.push(DamagedSegment { serial, what });
            }
        }
        for &number in &volumes.missing {
            let segments = lost.remove(&number).unwrap_or_default().into_iter().collect();
            let points = state.reaching(&segments).map(|(id, _)| id).collect();
            recovery.missing_volumes.push(MissingVolume { number, points });
        }
    }
}

fn list_sealed(
    storage: &dyn Storage,
    volume: u8,
    state: &State,
    recovery: &mut Recovery,
    found: &mut Vec<File>,
) -> Result<(), StoreError> {
    let directory = layout::segments_dir(volume);
    let files = storage.list(&directory).map_err(StoreError::io("listing", &*directory))?;
    for (name, length) in files {
        let Some(serial) = layout::parse_sealed(&name) else {
            recovery.foreign.push(format!("{directory}/{name}"));
            continue;
        };
        if state.deleted().contains(serial) {
            continue; // the warden is about to remove it
        }
        let recorded = state.segment(serial).map(|segment| (segment.seal, segment.bytes));
        found.push(File { volume, serial, length, recorded });
    }
    Ok(())
}
