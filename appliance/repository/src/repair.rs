//! Repair: a damaged segment is made anew from its parity, and the warden exchanges the file
//! (FORMAT.md 7). What is beyond the parity goes into quarantine, with the points concerned.
//!
//! Nothing is believed of a repair but what the warden proves again: the seal and the hash of the
//! data. Until it has exchanged the file the damaged one stays where it is.

use crate::core::{Core, locked};
use crate::scan::{File, Held, read_footers};
use crate::whole::{Health, Recorded, Whole, examine};
use crate::{Repository, StoreError, VerifyReport};
use format::parity::{self, RepairError};
use ledger::Runs;
use model::RecoveryPointId;
use std::collections::BTreeSet;
use std::io;
use warden::layout;
use warden::storage::{Append, remove_if_there};
use warden::wire::{Evidence, Outcome, Request};

/// What became of a segment that somebody had a doubt about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Repair {
    /// Every byte is right, and it is trusted.
    Whole,
    /// It was made anew and is trusted again.
    Repaired {
        /// Blocks of 4096 bytes that were wrong.
        blocks: u64,
    },
    /// It is damaged beyond its parity, or gone. It stays as it is: what can be read of it is
    /// read. Its chunks are stored anew by the next full backup that brings them.
    Quarantined(Quarantine),
}

/// A segment that cannot be repaired.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantine {
    /// Its serial.
    pub serial: u32,
    /// The points that need it, oldest first: parts of them cannot be restored.
    pub points: Vec<RecoveryPointId>,
    /// Why it could not be repaired.
    pub why: String,
}

impl Repository {
    /// Segments that are damaged beyond repair, up to `limit`, with the points that need them,
    /// oldest first.
    #[must_use]
    pub fn quarantined(&self, limit: usize) -> Vec<(u32, Vec<RecoveryPointId>)> {
        let catalog = locked(&self.inner.core.catalog);
        let lost = catalog.state.segments().filter(|(_, segment)| segment.quarantined);
        let concerned = |(serial, _)| {
            let one: Runs = [serial].into_iter().collect();
            (serial, catalog.state.reaching(&one).map(|(id, _)| id).collect())
        };
        lost.take(limit).map(concerned).collect()
    }

    /// Segments with damage that is not repaired and on which a repair has not given up.
    #[must_use]
    pub fn to_repair(&self) -> Vec<u32> {
        let catalog = locked(&self.inner.core.catalog);
        let open = catalog.state.segments();
        open.filter(|(_, segment)| segment.distrusted && !segment.quarantined)
            .map(|(serial, _)| serial)
            .collect()
    }

    /// Segments that a point needs and in which there is damage that is not repaired; `true`:
    /// beyond the parity, so that parts of the point cannot be restored.
    #[must_use]
    pub fn damage_below(&self, point: RecoveryPointId) -> Vec<(u32, bool)> {
        let catalog = locked(&self.inner.core.catalog);
        let Some(known) = catalog.state.point(point) else { return Vec::new() };
        let damaged = catalog.state.segments().filter(|(_, segment)| segment.distrusted);
        damaged
            .filter(|(serial, _)| known.reach.contains(*serial))
            .map(|(serial, segment)| (serial, segment.quarantined))
            .collect()
    }

    /// Examines a segment and repairs it where that is needed. A segment that is not on record
    /// (any more) is whole: nothing needs it.
    pub fn repair(&self, serial: u32) -> Result<Repair, StoreError> {
        let core = &self.inner.core;
        let _alone = locked(&core.maintenance);
        match Recorded::find(core, serial) {
            Some(segment) => repair(core, &segment),
            None => Ok(Repair::Whole),
        }
    }

    /// Examines and repairs every segment that a verification found damage in.
    pub fn heal(&self, report: &VerifyReport) -> Result<Vec<(u32, Repair)>, StoreError> {
        report.segments.iter().map(|serial| Ok((*serial, self.repair(*serial)?))).collect()
    }
}

/// The maintenance lock is held: nobody removes the segment meanwhile.
pub(crate) fn repair(core: &Core, segment: &Recorded) -> Result<Repair, StoreError> {
    let health = examine(core, segment, |_| Ok::<_, StoreError>(()))?;
    if health == Health::Whole && !segment.distrusted {
        return Ok(Repair::Whole);
    }
    // One that is whole and not trusted is copied: the warden sees for itself, and says so.
    let why = match health {
        Health::Missing => "its file is missing".to_owned(),
        Health::Whole | Health::Damaged { .. } => match rebuild(core, segment) {
            Ok(()) => return exchange(core, segment),
            Err(RepairError::Io(error)) => return Err(error.0),
            Err(error) => model::chain(&error),
        },
    };
    quarantine(core, segment, why).map(Repair::Quarantined)
}

/// An error of the store as a repair hands it through.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
struct Failed(StoreError);

/// Writes the segment as it was to `open/<serial>`, synced; the reserve is there for this too.
/// After an error there is no such file.
fn rebuild(core: &Core, segment: &Recorded) -> Result<(), RepairError<Failed>> {
    let open = layout::open(segment.volume, segment.serial);
    let io = |operation| {
        let open = open.clone();
        move |source| Failed(StoreError::io(operation, open)(source))
    };
    let missing =
        || RepairError::NotProven { problem: "no trailer of it can be read or made anew" };
    let whole = Whole::open(core, segment).map_err(Failed)?.ok_or_else(missing)?;
    let trailer = whole.trailer(core, segment).or_else(|| whole.trailer_anew(core, segment));
    let Some(trailer) = trailer else { return Err(missing()) };
    core.try_discard(segment.volume, segment.serial).map_err(Failed)?;
    let file = core.storage.create(&open, segment.bytes).map_err(io("creating"))?;
    let outcome =
        write(file, &open, &whole, |read, sink| parity::repair(&trailer, read, sink).map(drop));
    outcome.or_else(|error| {
        remove_if_there(&*core.storage, &open).map_err(io("removing"))?;
        // A device that went away says nothing about the segment.
        whole.still_there(core, segment.volume).map_err(Failed)?;
        Err(error)
    })
}

fn write(
    mut file: Box<dyn Append>,
    open: &str,
    whole: &Whole,
    make: impl FnOnce(
        &mut dyn FnMut(u64, &mut [u8]) -> Result<(), Failed>,
        &mut dyn FnMut(&[u8]) -> Result<(), Failed>,
    ) -> Result<(), RepairError<Failed>>,
) -> Result<(), RepairError<Failed>> {
    let failed = |operation| {
        move |error: io::Error| Failed(StoreError::io(operation, open.to_owned())(error))
    };
    let mut length = 0;
    make(
        &mut |offset, buffer| {
            whole.read(offset, buffer);
            Ok(())
        },
        &mut |bytes| {
            length += bytes.len() as u64;
            file.append(bytes).map_err(failed("writing"))
        },
    )?;
    file.cut(length).map_err(failed("cutting"))?;
    file.sync().map_err(failed("syncing"))?;
    Ok(())
}

/// Reads the new file back and lets the warden put it in the place of the damaged one.
fn exchange(core: &Core, segment: &Recorded) -> Result<Repair, StoreError> {
    let &Recorded { serial, volume, .. } = segment;
    let open = layout::open(volume, serial);
    let outcome =
        read_back(core, segment, &open).and_then(|()| core.ask(Request::Repair { volume, serial }));
    core.forget_files(|file| file == serial);
    let blocks = match outcome {
        Ok(reply) => match reply.outcome {
            Outcome::Repaired { blocks } => blocks,
            other => return Err(StoreError::misuse(format!("the warden answered {other:?}"))),
        },
        Err(error) => {
            core.discard(volume, serial);
            return Err(error);
        }
    };
    learn(core, segment);
    tracing::info!(segment = serial, blocks, "repaired");
    Ok(Repair::Repaired { blocks })
}

/// What was written must be what was sealed, on the medium: each byte behind the data follows from
/// the data, and that from the seal.
fn read_back(core: &Core, segment: &Recorded, open: &str) -> Result<(), StoreError> {
    let file = core.storage.open_uncached(open).map_err(StoreError::io("opening", open))?;
    let (read, length) = (StoreError::io("reading", open), segment.bytes);
    let wrong = || StoreError::ReadBack { segment: segment.serial };
    let (trailer, _) = format::trailer::Trailer::read(length, |at, b: &mut [u8]| file.read(at, b))
        .map_err(|_| wrong())?;
    let found =
        parity::check(&trailer, |offset, buffer| file.read(offset, buffer)).map_err(read)?;
    if found.is_whole() && trailer.seal == segment.seal { Ok(()) } else { Err(wrong()) }
}

/// The index finds the chunks of a repaired segment again.
fn learn(core: &Core, segment: &Recorded) {
    let &Recorded { serial, volume, bytes: length, seal, .. } = segment;
    let file = File { volume, serial, length, recorded: Some((seal, length)) };
    let found = read_footers(&*core.storage, core.id, &[file], &core.learn());
    let held = match found.into_iter().next() {
        Some(Ok((held, _))) => held,
        Some(Err(error)) => {
            tracing::error!(segment = serial, error = model::chain(&error), "right a moment ago");
            Held::unreadable(&file)
        }
        None => return,
    };
    locked(&core.catalog).files.insert(serial, held);
}

/// Puts on record that a segment cannot be repaired; no new chunk refers to it from now on.
fn quarantine(core: &Core, segment: &Recorded, why: String) -> Result<Quarantine, StoreError> {
    let serial = segment.serial;
    locked(&core.index).forget(&BTreeSet::from([serial]));
    if !segment.quarantined {
        core.ask(Request::Note(Evidence::Quarantined { serial }))?;
        let detail = format!("{}: {why}", segment.path());
        core.ask(Request::Note(Evidence::Alarm { what: "segment lost".into(), detail }))?;
    }
    let catalog = locked(&core.catalog);
    let one: Runs = [serial].into_iter().collect();
    let points = catalog.state.reaching(&one).map(|(id, _)| id).collect();
    Ok(Quarantine { serial, points, why })
}
