//! The daemon as an enemy: a thread that has become its user, and what an honest one would write.

use crate::stage::{DAEMON, PATIENCE, Stage};
use format::footer::{Entry, Footer};
use format::header::{HEADER_BYTES, RepositoryHeader, RepositoryId};
use format::parity::ParityWriter;
use format::record::{Encoding, Kind};
use format::segment::{Class, SegmentHeader};
use format::{BLOCK, Place};
use ledger::event::{ManifestRef, ReachChange};
use ledger::{NoteSigner, Runs};
use model::{
    ChunkId, Consistency, ErrorKind, LockMode, RecoveryPointId, RunId, VmIdentity, VmUuid, WallTime,
};
use rustix::thread::{Gid, Uid};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use warden::client::Client;
use warden::frames::Role;
use warden::storage::Directory;
use warden::wire::{CommitRequest, LockRequest, Outcome, Reply, Request};
use warden::{LedgerReader, State, Warden as _, WardenError};

/// How long, and how often, a file that somebody has open is asked for again.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Runs `what` in a thread that is of `user` and no other for as long as it lives: Linux keeps
/// users by thread, and the system calls are made for this one alone.
pub(crate) fn as_user<T: Send>(user: u32, what: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(user), Gid::from_raw(user));
            rustix::thread::set_thread_groups(&[]).unwrap();
            rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
            rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
            what()
        });
        match thread.join() {
            Ok(value) => value,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

pub(crate) fn as_daemon<T: Send>(what: impl FnOnce() -> T + Send) -> T {
    as_user(DAEMON, what)
}

pub(crate) fn point(number: u32) -> RecoveryPointId {
    let mut id = [7; 16];
    id[..4].copy_from_slice(&number.to_le_bytes());
    RecoveryPointId(id)
}

pub(crate) fn runs(serials: &[u32]) -> Runs {
    serials.iter().copied().collect()
}

/// What the daemon knows: where things are. To be used as the daemon's user.
pub(crate) struct Daemon {
    pub(crate) repository: PathBuf,
    client: Client,
}

impl Daemon {
    pub(crate) fn of(stage: &Stage) -> Self {
        let client = Client::new(&stage.socket(), Role::Daemon, PATIENCE);
        Self { repository: stage.repository(), client }
    }

    pub(crate) fn ask(&self, request: Request) -> Result<Reply, WardenError> {
        self.client.call(request)
    }

    pub(crate) fn id(&self) -> RepositoryId {
        id(&self.repository)
    }

    pub(crate) fn open(&self, serial: u32) -> PathBuf {
        self.repository.join(format!("open/{serial:08x}"))
    }

    pub(crate) fn sealed(&self, serial: u32) -> PathBuf {
        self.repository.join(format!("segments/{serial:08x}.segment"))
    }

    /// Writes a small segment and has it sealed. A program that another test starts at the same
    /// moment has our open files until it has begun: like the product, we ask again.
    pub(crate) fn seal(&self, serial: u32, class: Class) -> Result<Reply, WardenError> {
        std::fs::write(self.open(serial), segment(self.id(), serial, class)).unwrap();
        let until = Instant::now() + BUSY_PATIENCE;
        loop {
            match self.ask(Request::Seal { volume: 0, serial }) {
                Err(error) if error.kind() == ErrorKind::Busy && Instant::now() < until => {
                    std::thread::sleep(BUSY_PAUSE);
                }
                reply => return reply,
            }
        }
    }

    /// A point with two segments of its own, `serial` and the one after it.
    pub(crate) fn back_up(
        &self,
        number: u32,
        serial: u32,
        lock: (LockMode, u64),
    ) -> Result<Reply, WardenError> {
        self.seal(serial, Class::Data)?;
        self.seal(serial + 1, Class::Metadata)?;
        self.ask(Request::Commit(Box::new(commit(number, serial, lock))))
    }
}

/// The repository's id, from its header.
pub(crate) fn id(repository: &Path) -> RepositoryId {
    let header = std::fs::read(repository.join("repository")).unwrap();
    assert_eq!(header.len(), HEADER_BYTES);
    RepositoryHeader::decode(&header).unwrap().0.id
}

pub(crate) fn commit(number: u32, serial: u32, (mode, seconds): (LockMode, u64)) -> CommitRequest {
    CommitRequest {
        point: point(number),
        run: RunId([1; 16]),
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
            id: hex::encode([9; 32]),
            place: Place::new(serial + 1, 1, 1).unwrap().to_bits(),
        },
        reach: ReachChange { base: None, add: runs(&[serial, serial + 1]), drop: Runs::new() },
        lock: LockRequest { mode, seconds },
    }
}

/// A complete segment with one record.
pub(crate) fn segment(repository: RepositoryId, serial: u32, class: Class) -> Vec<u8> {
    let header = SegmentHeader { repository, serial, class, cohort: 0, epoch: 0 };
    let mut data = header.encode();
    data.resize(2 * BLOCK, 5);
    let kind = if class == Class::Data { Kind::Chunk } else { Kind::Manifest };
    let entry = Entry {
        id: ChunkId([5; 32]),
        block: 1,
        stored_length: 100,
        plain_length: 100,
        number: 0,
        kind,
        encoding: Encoding::Raw,
        encrypted: false,
        stored_crc: 0,
    };
    let mut footer = Footer {
        repository,
        serial,
        class,
        cohort: 0,
        epoch: 0,
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

/// The replay of the ledger as it is on the disk.
pub(crate) fn replay(repository: &Path, size: u64) -> State {
    let storage = Arc::new(Directory::new(repository.to_owned(), false));
    let mut state = State::new();
    LedgerReader::open(storage, id(repository).0).advance_to(size, &mut state).unwrap();
    state
}

/// A request as two officers sign it.
pub(crate) fn signed(
    daemon: &Daemon,
    action: warden::wire::OfficerAction,
    officers: &[(&str, [u8; 32])],
) -> Request {
    let Outcome::Challenge(challenge) = daemon.ask(Request::Challenge).unwrap().outcome else {
        panic!("no challenge")
    };
    let text = warden::officer_text(&daemon.id().0, &challenge, &action);
    let sign = |(name, seed): &(&str, [u8; 32])| {
        let signer = NoteSigner::new(name, seed).unwrap();
        ((*name).to_owned(), hex::encode(signer.sign_bytes(text.as_bytes())))
    };
    let signatures = officers.iter().map(sign).collect();
    Request::Officer(Box::new(warden::wire::OfficerRequest { action, challenge, signatures }))
}
