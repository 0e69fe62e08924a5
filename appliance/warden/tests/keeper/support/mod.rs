//! A world for the warden alone: a simulated disk, clocks, officers, small sealed segments made by
//! hand, and a model of what was promised.
#![allow(dead_code)] // each test file uses a part of it

use fakes::disk::Sim;
use format::footer::{Entry, Footer};
use format::header::{RepositoryHeader, RepositoryId};
use format::keys::{DataKey, EpochFile, MasterKey, Secret};
use format::parity::ParityWriter;
use format::record::{Encoding, Kind};
use format::segment::{Class, SegmentHeader};
use format::{BLOCK, Place};
use ledger::event::{LockBounds, ManifestRef, ReachChange, Right};
use ledger::{NoteSigner, Runs};
use model::{
    ChunkId, Consistency, LockMode, RecoveryPointId, RetentionTime, RunId, VmIdentity, VmUuid,
    WallTime,
};
use retention::{Reading, Refusal};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use warden::storage::{self, Storage};
use warden::wire::{
    CommitRequest, LockRequest, OfficerAction, OfficerRequest, Outcome, Reply, Request,
};
use warden::{
    Caller, Config, Creation, FirstOfficer, Keeper, LedgerReader, State, WardenError, Witness,
    layout, officer_text,
};

pub(crate) const ID: [u8; 16] = [0xab; 16];
pub(crate) const SIGNER: [u8; 32] = [7; 32];
pub(crate) const START: i64 = 1_700_000_000;

/// The last head, outside of the disk.
#[derive(Clone, Default)]
pub(crate) struct MemoryWitness(pub(crate) Arc<Mutex<Option<Vec<u8>>>>);

impl Witness for MemoryWitness {
    fn load(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().clone())
    }

    fn store(&self, head: &[u8]) -> io::Result<()> {
        *self.0.lock().unwrap() = Some(head.to_vec());
        Ok(())
    }
}

impl MemoryWitness {
    pub(crate) fn copy(&self) -> Self {
        Self(Arc::new(Mutex::new(self.0.lock().unwrap().clone())))
    }
}

pub(crate) fn point(number: u8) -> RecoveryPointId {
    RecoveryPointId([number; 16])
}

/// Of all that can be.
pub(crate) fn reclaim() -> Request {
    let mut orphans = Runs::new();
    orphans.push(1, u32::MAX);
    Request::Reclaim { keep: Runs::new(), orphans }
}

pub(crate) fn runs(serials: &[u32]) -> Runs {
    serials.iter().copied().collect()
}

pub(crate) fn officer(name: &str) -> NoteSigner {
    let mut secret = [1; 32];
    secret[..name.len()].copy_from_slice(name.as_bytes());
    NoteSigner::new(name, &secret).unwrap()
}

/// The bytes of a small sealed segment with one record.
pub(crate) fn segment(serial: u32, class: Class, epoch: u32) -> Vec<u8> {
    segment_of(ID, serial, class, epoch, u8::try_from(serial % 250).unwrap())
}

pub(crate) fn segment_of(id: [u8; 16], serial: u32, class: Class, epoch: u32, fill: u8) -> Vec<u8> {
    let repository = RepositoryId(id);
    let header = SegmentHeader { repository, serial, class, cohort: 3, epoch };
    let mut data = header.encode();
    data.resize(2 * BLOCK, fill);
    let kind = if class == Class::Data { Kind::Chunk } else { Kind::Manifest };
    let entry = Entry {
        id: ChunkId([fill; 32]),
        block: 1,
        stored_length: 100,
        plain_length: 100,
        number: 0,
        kind,
        encoding: Encoding::Raw,
        encrypted: epoch != 0,
        stored_crc: 0,
    };
    let mut footer = Footer {
        repository,
        serial,
        class,
        cohort: 3,
        epoch,
        data_length: data.len() as u64,
        data_hash: *blake3::hash(&data).as_bytes(),
        plain_bytes: 100,
        entries: vec![entry],
    };
    let encoded = footer.encode();
    data.extend_from_slice(&encoded.bytes);
    let mut parity = ParityWriter::new();
    parity.write(&data);
    let protection = parity.finish().unwrap();
    data.extend(footer.trailer(&encoded, &protection).tail(&protection));
    data
}

pub(crate) fn key_file(epoch: u32) -> Vec<u8> {
    let (master, key) = (MasterKey::new(&[1; 32]), DataKey::new(&[2; 32]));
    EpochFile::seal(RepositoryId(ID), epoch, &master, &key, [3; 24]).encode()
}

pub(crate) fn creation() -> Creation {
    let header = RepositoryHeader {
        id: RepositoryId(ID),
        secret: Some(Secret::new(&[9; 32])),
        chunk_size: 1 << 20,
        created: WallTime(START),
    };
    let first = |name: &str| FirstOfficer {
        name: name.into(),
        key: officer(name).vkey().key(),
        rights: vec![Right::ReleaseHold, Right::Override],
    };
    Creation {
        header: header.encode(),
        master_key: None,
        chunk_size: 1 << 20,
        bounds: LockBounds { min_seconds: 0, max_seconds: 1_000_000 },
        officers: vec![first("ann"), first("bob")],
    }
}

pub(crate) fn config(witness: &MemoryWitness) -> Config {
    let mut count = 0u8;
    Config {
        signer: SIGNER,
        witness: Some(Box::new(witness.clone())),
        random: Box::new(move || {
            count = count.wrapping_add(1);
            Ok([count; 32])
        }),
    }
}

/// What was promised about one point.
#[derive(Clone, Debug)]
pub(crate) struct Promise {
    pub(crate) reach: BTreeSet<u32>,
    pub(crate) until: i64,
    pub(crate) mode: LockMode,
    pub(crate) holds: BTreeSet<String>,
}

/// What was acknowledged, and what was asked for and may have happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct Promises {
    pub(crate) points: BTreeMap<RecoveryPointId, Promise>,
    pub(crate) asked: BTreeSet<RecoveryPointId>,
    pub(crate) may_be_gone: BTreeSet<RecoveryPointId>,
    pub(crate) gone: BTreeSet<RecoveryPointId>,
    pub(crate) may_be_overridden: BTreeSet<RecoveryPointId>,
    pub(crate) may_be_released: BTreeSet<(RecoveryPointId, String)>,
    pub(crate) may_be_moved: BTreeSet<u32>,
    pub(crate) written: BTreeMap<u32, Vec<u8>>,
}

pub(crate) struct World {
    pub(crate) disk: Sim,
    pub(crate) witness: MemoryWitness,
    pub(crate) keeper: Option<Keeper>,
    pub(crate) state: State,
    pub(crate) reader: LedgerReader,
    pub(crate) monotonic: u64,
    pub(crate) wall: i64,
    pub(crate) promises: Promises,
}

impl World {
    pub(crate) fn new(disk: Sim) -> Self {
        let reader = LedgerReader::open(Arc::new(disk.clone()), ID);
        Self {
            disk,
            witness: MemoryWitness::default(),
            keeper: None,
            state: State::new(),
            reader,
            monotonic: 1,
            wall: START,
            promises: Promises::default(),
        }
    }

    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        Arc::new(self.disk.clone())
    }

    pub(crate) fn reading(&self) -> Reading {
        Reading {
            monotonic: Duration::from_secs(self.monotonic),
            wall: WallTime(self.wall),
            rtc: Some(WallTime(self.wall)),
            network: None,
        }
    }

    pub(crate) fn create(&mut self) -> Result<(), WardenError> {
        let reading = self.reading();
        let (keeper, _) =
            Keeper::create(self.storage(), &creation(), config(&self.witness), reading)?;
        self.keeper = Some(keeper);
        self.compare()
    }

    /// A new process on the same disk.
    pub(crate) fn restart(&mut self) -> Result<warden::found::Found, WardenError> {
        self.keeper = None;
        self.wall += 5;
        self.monotonic = 1;
        let (keeper, found) = Keeper::open(self.storage(), config(&self.witness), self.reading())?;
        self.keeper = Some(keeper);
        self.compare()?;
        Ok(found)
    }

    /// Time passes, with all clocks in agreement.
    pub(crate) fn wait(&mut self, seconds: u64) {
        self.monotonic += seconds;
        self.wall += i64::try_from(seconds).unwrap();
    }

    /// The daemon's replay is the warden's.
    pub(crate) fn compare(&mut self) -> Result<(), WardenError> {
        let keeper = self.keeper.as_ref().unwrap();
        self.reader.advance_to(keeper.state().size(), &mut self.state)?;
        assert!(self.state == *keeper.state(), "the daemon's state is another one");
        Ok(())
    }

    pub(crate) fn ask(&mut self, request: Request) -> Result<Reply, WardenError> {
        self.ask_as(Caller::Daemon, request)
    }

    pub(crate) fn ask_as(
        &mut self,
        caller: Caller,
        request: Request,
    ) -> Result<Reply, WardenError> {
        self.wait(1);
        let reading = self.reading();
        let keeper = self.keeper.as_mut().unwrap();
        let reply = keeper.handle_from(caller, request, reading);
        if let Ok(reply) = &reply {
            assert_eq!(reply.size, keeper.state().size());
            self.compare()?;
        }
        reply
    }

    /// Writes `open/<serial>` as a daemon does.
    pub(crate) fn write(
        &mut self,
        volume: u8,
        serial: u32,
        bytes: &[u8],
    ) -> Result<(), WardenError> {
        let path = layout::open(volume, serial);
        let io = |source| WardenError::Io { operation: "writing", path: path.clone(), source };
        let disk = self.storage();
        storage::remove_if_there(&*disk, &path).map_err(io)?;
        let mut file = disk.create(&path, bytes.len() as u64).map_err(io)?;
        file.append(bytes).map_err(io)?;
        file.sync().map_err(io)
    }

    pub(crate) fn seal(
        &mut self,
        volume: u8,
        serial: u32,
        class: Class,
        epoch: u32,
    ) -> Result<(), WardenError> {
        let bytes = segment(serial, class, epoch);
        self.write(volume, serial, &bytes)?;
        self.promises.written.insert(serial, bytes);
        self.ask(Request::Seal { volume, serial })?;
        Ok(())
    }

    pub(crate) fn commit_request(
        &self,
        number: u8,
        manifest: u32,
        reach: ReachChange,
        lock: (LockMode, u64),
    ) -> CommitRequest {
        CommitRequest {
            point: point(number),
            run: RunId([number; 16]),
            vm: VmIdentity {
                uuid: VmUuid("vm".into()),
                name: "vm".into(),
                server_uuid: "server".into(),
            },
            started: WallTime(1),
            finished: WallTime(2),
            consistency: Consistency::Crash,
            disks: 1,
            capacity: 1,
            data_bytes: 1,
            new_bytes: 1,
            chunk_size: 1 << 20,
            manifest: ManifestRef {
                id: hex::encode([number; 32]),
                place: Place::new(manifest, 1, 1).unwrap().to_bits(),
            },
            reach,
            lock: LockRequest { mode: lock.0, seconds: lock.1 },
        }
    }

    pub(crate) fn commit(
        &mut self,
        number: u8,
        manifest: u32,
        reach: ReachChange,
        lock: (LockMode, u64),
    ) -> Result<(), WardenError> {
        let request = self.commit_request(number, manifest, reach, lock);
        let id = point(number);
        self.promises.asked.insert(id);
        let reply = self.ask(Request::Commit(Box::new(request)))?;
        let Outcome::Committed { lock } = reply.outcome else { panic!("{reply:?}") };
        let reach = self.state.point(id).unwrap().reach.serials().collect();
        let (until, holds) = (lock.until.0, BTreeSet::new());
        self.promises.points.insert(id, Promise { reach, until, mode: lock.mode, holds });
        Ok(())
    }

    pub(crate) fn extend(&mut self, number: u8, more: i64) -> Result<(), WardenError> {
        let id = point(number);
        let until = RetentionTime(self.state.retention().lock(id).unwrap().until.0 + more);
        self.ask(Request::Extend { point: id, until })?;
        self.promises.points.get_mut(&id).unwrap().until = until.0;
        Ok(())
    }

    pub(crate) fn hold(&mut self, number: u8, matter: &str) -> Result<(), WardenError> {
        let id = point(number);
        self.ask(Request::Hold { point: id, matter: matter.into() })?;
        self.promises.points.get_mut(&id).unwrap().holds.insert(matter.into());
        Ok(())
    }

    pub(crate) fn challenge(&mut self) -> Result<String, WardenError> {
        let reply = self.ask(Request::Challenge)?;
        let Outcome::Challenge(text) = reply.outcome else { panic!("{reply:?}") };
        Ok(text)
    }

    pub(crate) fn signed(
        &mut self,
        action: OfficerAction,
        names: &[&str],
    ) -> Result<Request, WardenError> {
        let challenge = self.challenge()?;
        let text = officer_text(&ID, &challenge, &action);
        let sign = |name: &&str| {
            ((*name).to_owned(), hex::encode(officer(name).sign_bytes(text.as_bytes())))
        };
        let signatures = names.iter().map(sign).collect();
        Ok(Request::Officer(Box::new(OfficerRequest { action, challenge, signatures })))
    }

    pub(crate) fn delete(&mut self, numbers: &[u8]) -> Result<(), WardenError> {
        let points: Vec<_> = numbers.iter().map(|number| point(*number)).collect();
        self.promises.may_be_gone.extend(&points);
        self.ask(Request::Delete { points: points.clone(), keep: Runs::new() })?;
        self.promises.gone.extend(points);
        Ok(())
    }

    /// Everything that was promised holds in what a new start found.
    pub(crate) fn check(&self) {
        let (state, promises) = (self.keeper.as_ref().unwrap().state(), &self.promises);
        for (id, promise) in &promises.points {
            let Some(found) = state.point(*id) else {
                assert!(promises.may_be_gone.contains(id), "{id} is lost");
                continue;
            };
            assert!(!promises.gone.contains(id), "{id} is back");
            let lock = state.retention().lock(*id).unwrap();
            if !promises.may_be_overridden.contains(id) {
                assert!(lock.until.0 >= promise.until, "the lock of {id} is shorter");
            }
            assert!(lock.mode == LockMode::Compliance || promise.mode == LockMode::Governance);
            for matter in &promise.holds {
                let released = promises.may_be_released.contains(&(*id, matter.clone()));
                assert!(released || state.retention().matters(*id).any(|m| m == matter));
            }
            let reach: BTreeSet<u32> = found.reach.serials().collect();
            let lost: Vec<_> = promise
                .reach
                .difference(&reach)
                .filter(|serial| !promises.may_be_moved.contains(serial))
                .collect();
            assert!(lost.is_empty(), "{id} lost {lost:?} of its reach");
        }
        for (id, found) in state.points() {
            assert!(promises.asked.contains(&id), "{id} was never asked for");
            for serial in found.reach.serials() {
                let known = state.segment(serial).unwrap();
                let path = layout::sealed(known.volume, serial);
                let bytes = storage::read_all(&self.disk, &path, 1 << 20);
                let bytes = bytes.unwrap_or_else(|error| panic!("{path} of {id}: {error}"));
                assert_eq!(bytes, promises.written[&serial], "{path} is not what was sealed");
            }
        }
        for path in self.disk.paths() {
            let name = path.rsplit('/').next().unwrap();
            if let Some(serial) = layout::parse_sealed(name) {
                assert!(!state.deleted().contains(serial), "{path} was deleted");
            }
            if let (true, Some(epoch)) = (path.contains("keys/"), layout::parse_key(name)) {
                assert!(!state.destroyed_keys().contains(&epoch), "{path} was destroyed");
            }
        }
        for (epoch, key) in state.keys() {
            let bytes = storage::read_all(&self.disk, &layout::key(*epoch), 1 << 13).unwrap();
            assert_eq!(*blake3::hash(&bytes).as_bytes(), key.hash, "the key of epoch {epoch}");
        }
        assert!(state.removal().is_none(), "a deletion was not completed");
    }
}

pub(crate) fn only(add: &[u32]) -> ReachChange {
    ReachChange { base: None, add: runs(add), drop: Runs::new() }
}

/// One locked point over segments 1 and 2.
pub(crate) fn locked(seconds: u64) -> World {
    let mut world = World::new(Sim::default());
    world.create().unwrap();
    world.seal(0, 1, Class::Data, 0).unwrap();
    world.seal(0, 2, Class::Metadata, 0).unwrap();
    world.commit(1, 2, only(&[1, 2]), (LockMode::Governance, seconds)).unwrap();
    world
}

pub(crate) fn size(world: &World) -> u64 {
    world.keeper.as_ref().unwrap().state().size()
}

pub(crate) fn tick(world: &mut World) -> Vec<String> {
    match world.ask(Request::Tick).unwrap().outcome {
        Outcome::Ticked { alarms } => alarms,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn refusal(outcome: Result<warden::wire::Reply, WardenError>) -> Refusal {
    match outcome {
        Err(WardenError::Refused { refusal, .. }) => *refusal,
        other => panic!("{other:?}"),
    }
}

/// Steps that between them make every kind of leaf and of write.
pub(crate) fn workload(world: &mut World) -> Result<(), WardenError> {
    use LockMode::{Compliance, Governance};
    let only = |add: &[u32]| ReachChange { base: None, add: runs(add), drop: Runs::new() };
    world.create()?;
    world.seal(0, 1, Class::Data, 0)?;
    world.seal(0, 2, Class::Metadata, 0)?;
    world.commit(1, 2, only(&[1, 2]), (Governance, 100))?;
    world.ask(Request::Tick)?;
    world.seal(0, 3, Class::Data, 0)?;
    world.seal(0, 4, Class::Metadata, 0)?;
    let reach = ReachChange { base: Some(point(1)), add: runs(&[3, 4]), drop: runs(&[2]) };
    world.commit(2, 4, reach, (Compliance, 50))?;
    world.extend(1, 50)?;
    world.hold(1, "matter")?;
    world.promises.may_be_released.insert((point(1), "matter".into()));
    let action = OfficerAction::ReleaseHold {
        point: ledger::event::PointText(point(1)),
        matter: "matter".into(),
    };
    let request = world.signed(action, &["ann"])?;
    world.ask(request)?;
    world.ask(Request::AddKey { epoch: 1, file: key_file(1) })?;
    world.seal(0, 5, Class::Data, 1)?;
    world.seal(0, 6, Class::Metadata, 1)?;
    world.commit(3, 6, only(&[5, 6]), (Governance, 100_000))?;
    world.ask(Request::AddKey { epoch: 2, file: key_file(2) })?;
    world.ask(Request::AddVolume { number: 1 })?;
    world.seal(1, 7, Class::Data, 2)?;
    world.seal(1, 8, Class::Metadata, 2)?;
    world.commit(4, 8, only(&[7, 8]), (Governance, 60))?;
    world.ask(Request::Tighten { point: point(4) })?;
    world.promises.points.get_mut(&point(4)).unwrap().mode = Compliance;
    world.promises.may_be_overridden.insert(point(3));
    let action = OfficerAction::Override {
        point: ledger::event::PointText(point(3)),
        reason: "wrong machine".into(),
    };
    let request = world.signed(action, &["ann", "bob"])?;
    world.ask(request)?;
    world.restart()?;
    world.wait(100);
    world.delete(&[2])?;
    world.delete(&[3])?;
    world.seal(0, 9, Class::Data, 0)?;
    world.ask(reclaim())?;
    world.wait(4000);
    world.ask(Request::Tick)?;
    world.seal(0, 10, Class::Data, 0)?;
    world.promises.may_be_moved.insert(1);
    world.ask(Request::Compact { from: runs(&[1]), to: runs(&[10]) })?;
    world.ask(reclaim())?;
    evidence(world)?;
    let bytes = world.promises.written[&10].clone();
    world.write(0, 10, &bytes)?;
    world.ask(Request::Repair { volume: 0, serial: 10 })?;
    let many: Vec<u32> = (20..24).collect();
    for serial in &many {
        world.seal(0, *serial, Class::Metadata, 0)?;
    }
    world.commit(5, 20, only(&many), (Governance, 10))?;
    world.restart()?;
    world.wait(20);
    world.delete(&[4, 5])?;
    world.ask(Request::Tick)?;
    Ok(())
}

fn evidence(world: &mut World) -> Result<(), WardenError> {
    use warden::wire::Evidence;
    let text = || "text".to_owned();
    for evidence in [
        Evidence::Verified { point: point(1), chunks: 1, bytes: 2, damage: 1, segments: vec![10] },
        Evidence::Scrubbed { segments: runs(&[7, 8, 10]), bytes: 9, damaged: vec![10] },
        Evidence::Quarantined { serial: 10 },
        Evidence::Exported { point: point(1), medium: text(), detail: text() },
        Evidence::Alarm { what: text(), detail: text() },
        Evidence::Refused { point: None, action: text(), reason: text() },
    ] {
        world.ask(Request::Note(evidence))?;
    }
    Ok(())
}
