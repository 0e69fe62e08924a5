//! What was sent and read, counted where the bytes leave.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers since the login. Only ever grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that were read: of a LUN those that were handed out, of a path whole blocks.
    pub bytes_read: u64,
    /// Commands sent, by operation code.
    pub commands: BTreeMap<u8, u64>,
    /// Commands that had to be sent again, for whatever reason.
    pub retries: u64,
}

impl Counters {
    /// Adds another path's numbers.
    pub(crate) fn add(&mut self, other: &Self) {
        self.bytes_read += other.bytes_read;
        self.retries += other.retries;
        for (&opcode, count) in &other.commands {
            *self.commands.entry(opcode).or_default() += count;
        }
    }
}

/// The living numbers. They are statistics: no order between them is promised.
#[derive(Debug)]
pub(crate) struct Cells {
    bytes_read: AtomicU64,
    retries: AtomicU64,
    attentions: AtomicU64,
    commands: [AtomicU64; 256],
}

impl Cells {
    pub(crate) fn new() -> Self {
        Self {
            bytes_read: AtomicU64::new(0),
            retries: AtomicU64::new(0),
            attentions: AtomicU64::new(0),
            commands: [const { AtomicU64::new(0) }; 256],
        }
    }

    pub(crate) fn sent(&self, opcode: u8) {
        self.commands[usize::from(opcode)].fetch_add(1, Relaxed);
    }

    pub(crate) fn repeated(&self) {
        self.retries.fetch_add(1, Relaxed);
    }

    /// The LUN said that something happened to it.
    pub(crate) fn attention(&self) {
        self.attentions.fetch_add(1, Relaxed);
    }

    /// How often it said so.
    pub(crate) fn attentions(&self) -> u64 {
        self.attentions.load(Relaxed)
    }

    pub(crate) fn read(&self, bytes: u32) {
        self.bytes_read.fetch_add(bytes.into(), Relaxed);
    }

    pub(crate) fn now(&self) -> Counters {
        let commands =
            (0u8..=255).zip(&self.commands).map(|(code, cell)| (code, cell.load(Relaxed)));
        Counters {
            bytes_read: self.bytes_read.load(Relaxed),
            retries: self.retries.load(Relaxed),
            commands: commands.filter(|&(_, count)| count > 0).collect(),
        }
    }
}
