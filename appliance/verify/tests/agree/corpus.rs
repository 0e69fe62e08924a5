//! A real repository: segments by `format`, sealed, committed, held and deleted by the warden.

use format::codec::Sealer;
use format::footer::{Entry, Footer};
use format::header::{Keys, RepositoryHeader, RepositoryId};
use format::keys::{DataKey, EpochFile, KeyEncryptionKey, KeyRing, MasterFile, MasterKey, Secret};
use format::manifest::{DiskEntry, FileEntry, Manifest, RecordRef};
use format::map::{Below, Node, Shape};
use format::parity::ParityWriter;
use format::reach::Reach;
use format::record::{Kind, RecordHeader};
use format::segment::{Class, SegmentHeader};
use format::{BLOCK, Place};
use ledger::Runs;
use ledger::event::{LockBounds, ManifestRef, ReachChange};
use model::{
    ChunkId, Consistency, DiskIdentity, LockMode, ReadMode, RecoveryPointId, RunId, Transport,
    VmIdentity, VmUuid, WallTime,
};
use retention::Reading;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use warden::storage::Directory;
use warden::wire::{CommitRequest, LockRequest, Request};
use warden::{Config, Creation, Keeper};

pub(crate) const CHUNK: u32 = 64 << 10;
pub(crate) const CELLS: u64 = 300;
const ID: RepositoryId = RepositoryId([0xab; 16]);
const START: i64 = 1_700_000_000;
pub(crate) const KEY: [u8; 32] = [5; 32];

/// Number of each cell's content; 0: zeros.
pub(crate) type Image = BTreeMap<u64, u8>;

pub(crate) struct Corpus {
    pub(crate) dir: PathBuf,
    pub(crate) images: Vec<(RecoveryPointId, Image)>,
    keeper: Keeper,
    keys: Keys,
    ring: KeyRing,
    epoch: u32,
    serial: u32,
    monotonic: u64,
    chunks: BTreeMap<u8, Place>,
    nonces: u8,
}

pub(crate) fn content(number: u8) -> Vec<u8> {
    let mut bytes = vec![number; CHUNK as usize];
    blake3::Hasher::new().update(&[number]).finalize_xof().fill(&mut bytes[..40_000]);
    bytes
}

impl Corpus {
    /// Three points of a VM (the second two incremental), the third one held, a fourth deleted.
    pub(crate) fn build(dir: &Path, encrypted: bool) -> Self {
        let _alone = crate::tool::sealing();
        let mut corpus = Self::create(dir, encrypted);
        let full: Image = (0..12).map(|n| (n * 25, u8::try_from(n + 1).unwrap())).collect();
        let mut second = full.clone();
        second.extend([(3, 50), (275, 51), (25, 0)]);
        let mut third = second.clone();
        third.extend([(299, 60), (100, 1)]);
        corpus.point(1, &full, (LockMode::Compliance, 1000));
        corpus.point(2, &second, (LockMode::Governance, 500));
        corpus.point(4, &Image::from([(7, 90)]), (LockMode::Governance, 1));
        corpus.point(3, &third, (LockMode::Governance, 10));
        let id = |n| RecoveryPointId([n; 16]);
        corpus.ask(Request::Hold { point: id(3), matter: "case 7".into() });
        corpus.monotonic += 60;
        corpus.ask(Request::Delete { points: vec![id(4)], keep: Runs::new() });
        corpus.images.retain(|(point, _)| *point != id(4));
        corpus
    }

    fn create(dir: &Path, encrypted: bool) -> Self {
        let (secret, master) = (Secret::new(&[9; 32]), MasterKey::new(&[8; 32]));
        let keys = Keys::derive(&secret);
        let mut file = MasterFile::new(ID);
        assert!(file.add(&KeyEncryptionKey::new(&KEY), [3; 24], (&master, &secret)));
        let created = WallTime(START);
        let plain = (!encrypted).then(|| secret.clone());
        let header = RepositoryHeader { id: ID, secret: plain, chunk_size: CHUNK, created };
        let creation = Creation {
            header: header.encode(),
            master_key: encrypted.then(|| file.encode()),
            chunk_size: CHUNK,
            bounds: LockBounds { min_seconds: 0, max_seconds: 1_000_000 },
            officers: Vec::new(),
        };
        let config = Config { signer: [7; 32], witness: None, random: Box::new(|| Ok([1; 32])) };
        let storage = Arc::new(Directory::new(dir.to_owned(), false));
        let (keeper, _) = Keeper::create(storage, &creation, config, reading(1)).unwrap();
        let mut corpus = Self {
            dir: dir.into(),
            images: Vec::new(),
            keeper,
            keys,
            ring: KeyRing::new(),
            epoch: 0,
            serial: 0,
            monotonic: 1,
            chunks: BTreeMap::new(),
            nonces: 0,
        };
        if encrypted {
            let data = DataKey::new(&[4; 32]);
            let file = EpochFile::seal(ID, 1, &master, &data, [2; 24]).encode();
            corpus.ask(Request::AddKey { epoch: 1, file });
            corpus.ring.insert(1, &data);
            corpus.epoch = 1;
        }
        corpus
    }

    fn ask(&mut self, request: Request) {
        self.monotonic += 1;
        self.keeper.handle(request, reading(self.monotonic)).unwrap();
    }

    /// A sealed segment with these records.
    fn segment(&mut self, class: Class, records: &[(Kind, ChunkId, Vec<u8>)]) -> Vec<RecordRef> {
        self.serial += 1;
        let (serial, epoch) = (self.serial, self.epoch);
        let mut data = SegmentHeader { repository: ID, serial, class, cohort: 0, epoch }.encode();
        let mut sealer = Sealer::new(ID, 1).unwrap();
        self.nonces += 1;
        let mut nonce = [self.nonces; 24];
        if epoch != 0 {
            let next = move || {
                nonce[0] = nonce[0].wrapping_add(1);
                Ok(nonce)
            };
            sealer.encrypt(&self.ring, epoch, Box::new(next)).unwrap();
        }
        let (mut entries, mut refs) = (Vec::new(), Vec::new());
        for (number, (kind, id, plain)) in (0..).zip(records) {
            let sealed = sealer.seal(*kind, *id, plain).unwrap();
            let header = RecordHeader { segment: serial, number, ..sealed.header };
            let block = u32::try_from(data.len() / BLOCK).unwrap();
            data.extend_from_slice(&header.encode());
            data.extend_from_slice(sealed.stored);
            data.resize(data.len().next_multiple_of(BLOCK), 0);
            let entry = Entry {
                id: *id,
                block,
                stored_length: header.stored_length,
                plain_length: header.plain_length,
                number,
                kind: *kind,
                encoding: header.encoding,
                encrypted: epoch != 0,
                stored_crc: header.stored_crc,
            };
            refs.push(RecordRef { id: *id, place: entry.place(serial).unwrap() });
            entries.push(entry);
        }
        self.write(class, data, entries);
        refs
    }

    fn write(&mut self, class: Class, mut data: Vec<u8>, entries: Vec<Entry>) {
        let mut footer = Footer {
            repository: ID,
            serial: self.serial,
            class,
            cohort: 0,
            epoch: self.epoch,
            data_length: data.len() as u64,
            data_hash: *blake3::hash(&data).as_bytes(),
            plain_bytes: entries.iter().map(|entry| u64::from(entry.plain_length)).sum(),
            entries,
        };
        let encoded = footer.encode();
        data.extend_from_slice(&encoded.bytes);
        let mut parity = ParityWriter::new();
        parity.write(&data);
        let protection = parity.finish().unwrap();
        data.extend(footer.trailer(&encoded, &protection).tail(&protection));
        std::fs::write(self.dir.join(format!("open/{:08x}", self.serial)), data).unwrap();
        self.ask(Request::Seal { volume: 0, serial: self.serial });
    }

    fn point(&mut self, number: u8, image: &Image, (mode, seconds): (LockMode, u64)) {
        let new: Vec<u8> = image.values().copied().filter(|n| *n != 0).collect();
        let new: Vec<u8> = new.into_iter().filter(|n| !self.chunks.contains_key(n)).collect();
        let records: Vec<_> = new
            .iter()
            .map(|n| (Kind::Chunk, self.keys.chunk_id(&content(*n)), content(*n)))
            .collect();
        let refs = self.segment(Class::Data, &records);
        self.chunks.extend(new.iter().copied().zip(refs.iter().map(|r| r.place)));
        let mut reach = Reach::default();
        let leaves: Vec<Node> = (0..2).map(|index| self.leaf(index, image, &mut reach)).collect();
        let encode = |node: &Node| node.encode();
        let id = |bytes: &[u8]| Node::hash(&self.keys, bytes);
        let nodes: Vec<_> = leaves
            .iter()
            .filter(|node| !node.is_zero())
            .map(|node| (Kind::Node, id(&encode(node)), encode(node)))
            .collect();
        let file = b"config.version".to_vec();
        let file_id = self.keys.content_id(&file);
        let mut below: Vec<_> = nodes.clone();
        below.push((Kind::File, file_id, file.clone()));
        let mut refs = self.segment(Class::Metadata, &below);
        let file_ref = refs.pop().unwrap();
        let mut refs = refs.into_iter();
        let entries = leaves
            .iter()
            .map(|node| match node.is_zero() {
                true => Below::Zero,
                false => {
                    let RecordRef { id, place } = refs.next().unwrap();
                    reach.add(place.segment());
                    Below::Node { id, place }
                }
            })
            .collect();
        let root = Node { level: 1, index: 0, entries }.encode();
        let root_ref =
            self.segment(Class::Metadata, &[(Kind::Node, Node::hash(&self.keys, &root), root)])[0];
        reach.add(root_ref.place.segment());
        let mut needed: Vec<u32> = reach.iter().map(|(serial, _)| serial).collect();
        needed.push(file_ref.place.segment());
        let bytes = reach.encode().unwrap();
        let reach_ref =
            self.segment(Class::Metadata, &[(Kind::Reach, self.keys.content_id(&bytes), bytes)])[0];
        let some = image.values().filter(|n| **n != 0).count() as u64;
        let manifest = Manifest {
            point: RecoveryPointId([number; 16]),
            run: RunId([number; 16]),
            vm: vm(),
            consistency: Consistency::Crash,
            started: WallTime(1),
            finished: WallTime(2),
            chunk_size: CHUNK,
            disks: vec![DiskEntry {
                identity: DiskIdentity {
                    key: 2000,
                    uuid: "disk".into(),
                    path: "[ds] vm/vm.vmdk".into(),
                    capacity: CELLS * u64::from(CHUNK),
                    change_id: None,
                },
                read: ReadMode::Incremental,
                transport: Transport::San,
                map: Some(root_ref),
                reach: Some(reach_ref),
                data_bytes: some * u64::from(CHUNK),
                excluded: Vec::new(),
            }],
            files: vec![FileEntry {
                name: "vm.vmx".into(),
                length: file.len() as u64,
                content: Some(file_ref),
            }],
        };
        let bytes = manifest.encode();
        let manifest_ref = self
            .segment(Class::Metadata, &[(Kind::Manifest, self.keys.content_id(&bytes), bytes)])[0];
        needed.extend([reach_ref.place.segment(), manifest_ref.place.segment()]);
        let add: Runs = needed.into_iter().collect();
        self.ask(Request::Commit(Box::new(CommitRequest {
            point: manifest.point,
            run: manifest.run,
            vm: vm(),
            started: WallTime(1),
            finished: WallTime(2),
            consistency: Consistency::Crash,
            disks: 1,
            capacity: CELLS * u64::from(CHUNK),
            data_bytes: some * u64::from(CHUNK),
            new_bytes: 1,
            chunk_size: CHUNK,
            manifest: ManifestRef {
                id: manifest_ref.id.to_string(),
                place: manifest_ref.place.to_bits(),
            },
            reach: ReachChange { base: None, add, drop: Runs::new() },
            lock: LockRequest { mode, seconds },
        })));
        self.images.push((manifest.point, image.clone()));
    }

    fn leaf(&self, index: u64, image: &Image, reach: &mut Reach) -> Node {
        let count = Shape::new(CELLS).entries(0, index);
        let cell = |cell: u64| match image.get(&cell).filter(|n| **n != 0) {
            None => Below::Zero,
            Some(n) => {
                let place = self.chunks[n];
                Below::Chunk { length: CHUNK, id: self.keys.chunk_id(&content(*n)), place }
            }
        };
        let entries: Vec<Below> = (index * 256..index * 256 + count).map(cell).collect();
        for entry in &entries {
            if let Below::Chunk { place, .. } = entry {
                reach.add(place.segment());
            }
        }
        Node { level: 0, index, entries }
    }
}

fn vm() -> VmIdentity {
    VmIdentity { uuid: VmUuid("vm".into()), name: "vm one".into(), server_uuid: "vc".into() }
}

fn reading(seconds: u64) -> Reading {
    Reading {
        monotonic: Duration::from_secs(seconds),
        wall: WallTime(START + i64::try_from(seconds).unwrap()),
        rtc: None,
        network: None,
    }
}
