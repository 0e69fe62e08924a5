//! Ledgers written by hand, without the store: what the store writes only when it is very large
//! (`reach` leaves), many points, and what nobody should write.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use format::header::{RepositoryHeader, RepositoryId};
use format::keys::Secret;
use ledger::tree::leaf_hash;
use ledger::{NoteSigner, Tree, origin};
use model::WallTime;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const ID: [u8; 16] = [0xcd; 16];

/// Frames in the order in which they are pushed.
pub(crate) struct Leaves {
    bytes: Vec<u8>,
    tree: Tree,
    clock: u64,
}

impl Leaves {
    /// With `created`.
    pub(crate) fn new() -> Self {
        let mut leaves = Self { bytes: Vec::new(), tree: Tree::default(), clock: 1000 };
        let signer = signer().vkey().to_string();
        let bounds = json!({"min_seconds": 0, "max_seconds": 1_000_000});
        let id = hex::encode(ID);
        leaves.push(&json!({"type": "created", "repository": id, "chunk_size": 65536,
                            "bounds": bounds, "signer": signer}));
        leaves
    }

    pub(crate) fn pass(&mut self, seconds: i64) {
        self.clock = self.clock.saturating_add_signed(seconds);
    }

    /// A leaf with this event.
    pub(crate) fn push(&mut self, event: &Value) {
        let leaf = json!({"v": 2, "clock": self.clock, "wall": 5, "event": event});
        self.data(&serde_json::to_vec(&leaf).unwrap());
    }

    /// A frame with this data, whatever it is.
    pub(crate) fn data(&mut self, data: &[u8]) {
        let number = self.tree.size();
        self.tree.push(leaf_hash(data));
        let body = [data, &self.tree.root()[..]].concat();
        let mut head = [0; 48];
        head[..4].copy_from_slice(b"HFLF");
        head[4] = 1;
        head[8..16].copy_from_slice(&number.to_le_bytes());
        head[16..32].copy_from_slice(&ID);
        head[32..36].copy_from_slice(&u32::try_from(data.len()).unwrap().to_le_bytes());
        head[36..40].copy_from_slice(&crc32fast::hash(&body).to_le_bytes());
        let crc = crc32fast::hash(&head[..44]).to_le_bytes();
        head[44..].copy_from_slice(&crc);
        self.bytes.extend_from_slice(&head);
        self.bytes.extend_from_slice(&body);
    }

    pub(crate) fn segment(&mut self, serial: u32) {
        self.push(&json!({"type": "segment", "serial": serial, "volume": 0, "class": "data",
            "cohort": 0, "bytes": 49152, "seal": hex::encode([7; 32]), "epoch": 0}));
    }

    pub(crate) fn reach(&mut self, point: u32, add: &Value, drop: &Value) {
        self.push(&json!({"type": "reach", "point": id(point), "add": add, "drop": drop}));
    }

    pub(crate) fn commit(&mut self, point: u32, reach: &Value, until: u64) {
        let id = id(point);
        let vm = json!({"uuid": "u", "name": "vm", "server_uuid": "s"});
        self.push(&json!({"type": "commit", "point": id, "run": id, "vm": vm, "started": 1,
            "finished": 2, "consistency": "crash", "disks": 1, "capacity": 65536, "data_bytes": 0,
            "new_bytes": 0, "chunk_size": 65536, "reach": reach,
            "manifest": {"id": hex::encode([9; 32]), "place": (1u64 << 32) | (1 << 12) | 1},
            "lock": {"mode": "governance", "until": until}}));
    }

    /// A repository with this ledger and no segment. The head names `size` leaves.
    pub(crate) fn write(&self, dir: &Path, size: Option<u64>) {
        fs::create_dir_all(dir.join("ledger")).unwrap();
        fs::create_dir_all(dir.join("segments")).unwrap();
        let header = RepositoryHeader {
            id: RepositoryId(ID),
            secret: Some(Secret::new(&[3; 32])),
            chunk_size: 65536,
            created: WallTime(1),
        };
        fs::write(dir.join("repository"), header.encode()).unwrap();
        fs::write(dir.join("ledger/leaves"), &self.bytes).unwrap();
        let size = size.unwrap_or(self.tree.size());
        let root = STANDARD.encode(self.tree.root());
        let body = format!("{}\n{size}\n{root}\n", origin(&ID));
        fs::write(dir.join("ledger/head"), signer().sign(&body)).unwrap();
    }
}

fn signer() -> NoteSigner {
    NoteSigner::new(&origin(&ID), &[8; 32]).unwrap()
}

pub(crate) fn id(point: u32) -> String {
    format!("{point:032x}")
}
