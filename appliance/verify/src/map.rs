//! A walk through the DiskMap of a disk. FORMAT.md, section 5.
//!
//! Points share most of their nodes: what lies below a node is remembered, so that a node is read
//! once and not once for each point.

use crate::report::Damage;
use crate::store::{Record, Store};
use format::header::Keys;
use format::manifest::RecordRef;
use format::map::{Below, FAN_OUT, Node, Shape};
use format::record::Kind;
use format::{FormatError, Place};
use model::ChunkId;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

/// Holes of one map that are told one by one.
const HOLES: usize = 8;
/// Numbers in memory about nodes that were walked.
const KEPT: usize = 2_000_000;

/// The grid of a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Grid {
    pub(crate) capacity: u64,
    pub(crate) chunk_size: u32,
}

impl Grid {
    pub(crate) fn cells(self) -> u64 {
        self.capacity.div_ceil(u64::from(self.chunk_size))
    }

    /// Bytes of a cell.
    fn length(self, cell: u64) -> u64 {
        let begin = cell.saturating_mul(u64::from(self.chunk_size));
        self.capacity.saturating_sub(begin).min(u64::from(self.chunk_size))
    }
}

/// Cells that cannot be read, and why.
#[derive(Clone, Debug)]
pub(crate) struct HoleFound {
    pub(crate) first: u64,
    pub(crate) count: u64,
    pub(crate) why: String,
}

/// What lies below a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Walked {
    /// How often places name each segment.
    pub(crate) references: BTreeMap<u32, u64>,
    /// Plain bytes of all chunk entries.
    pub(crate) bytes: u64,
    /// Cells that cannot be read.
    pub(crate) lost: u64,
    /// The first of them.
    pub(crate) holes: Vec<HoleFound>,
}

impl Walked {
    fn add(&mut self, other: &Self) {
        for (serial, count) in &other.references {
            *self.references.entry(*serial).or_default() += count;
        }
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.lost = self.lost.saturating_add(other.lost);
        let room = HOLES.saturating_sub(self.holes.len());
        self.holes.extend(other.holes.iter().take(room).cloned());
    }
}

/// What is to be done with chunks, and with cells that cannot be read.
pub(crate) trait Visit {
    /// A chunk of the map. Damage: its cell cannot be read.
    fn chunk(&mut self, store: &mut Store<'_>, cell: u64, record: &Record) -> Result<(), Damage>;

    /// Cells that cannot be read; `false` ends the walk.
    fn hole(&mut self, hole: &HoleFound) -> bool;
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Position {
    id: ChunkId,
    place: u64,
    level: u8,
    index: u64,
    grid: Grid,
}

/// Walks maps.
pub(crate) struct Walker {
    remember: bool,
    memory: HashMap<Position, Rc<Walked>>,
    weight: usize,
    stopped: bool,
}

struct Walk<'w, 's, 'a> {
    store: &'s mut Store<'a>,
    visit: &'w mut dyn Visit,
    keys: &'w Keys,
    grid: Grid,
    shape: Shape,
}

impl Walker {
    /// With `remember`, chunks below a node that was walked before are not visited again.
    pub(crate) fn new(remember: bool) -> Self {
        Self { remember, memory: HashMap::new(), weight: 0, stopped: false }
    }

    /// Walks the map of a disk.
    pub(crate) fn disk(
        &mut self,
        store: &mut Store<'_>,
        keys: &Keys,
        grid: Grid,
        map: Option<RecordRef>,
        visit: &mut dyn Visit,
    ) -> Walked {
        let mut walked = Walked::default();
        let Some(root) = map else { return walked };
        self.stopped = false;
        let shape = Shape::new(grid.cells());
        let mut walk = Walk { store, visit, keys, grid, shape };
        walked.references.insert(root.place.segment(), 1);
        let below = self.node(&mut walk, (root.id, root.place), (shape.root_level(), 0));
        walked.add(&below);
        walked
    }

    fn node(
        &mut self,
        walk: &mut Walk<'_, '_, '_>,
        (id, place): (ChunkId, Place),
        (level, index): (u8, u64),
    ) -> Rc<Walked> {
        let position = Position { id, place: place.to_bits(), level, index, grid: walk.grid };
        if let Some(walked) = self.memory.get(&position) {
            return Rc::clone(walked);
        }
        let mut walked = Walked::default();
        match walk.read(id, place, (level, index)) {
            Ok(node) => {
                for (number, below) in (index.saturating_mul(FAN_OUT)..).zip(node.entries) {
                    if self.stopped {
                        break;
                    }
                    self.entry(walk, &mut walked, (level, number), below);
                }
            }
            Err(damage) => {
                let span = Shape::span(level + 1);
                self.hole(walk, &mut walked, (index.saturating_mul(span), span), damage);
            }
        }
        let walked = Rc::new(walked);
        if self.remember {
            self.weight += 16 + walked.references.len();
            if self.weight > KEPT {
                self.memory.clear();
                self.weight = 0;
            }
            self.memory.insert(position, Rc::clone(&walked));
        }
        walked
    }

    fn entry(
        &mut self,
        walk: &mut Walk<'_, '_, '_>,
        walked: &mut Walked,
        (level, number): (u8, u64),
        below: Below,
    ) {
        match below {
            Below::Zero => {}
            Below::Node { id, place } => {
                *walked.references.entry(place.segment()).or_default() += 1;
                let below = self.node(walk, (id, place), (level - 1, number));
                walked.add(&below);
            }
            Below::Chunk { length, id, place } => {
                *walked.references.entry(place.segment()).or_default() += 1;
                walked.bytes = walked.bytes.saturating_add(u64::from(length));
                let record = Record { kind: Kind::Chunk, id, place, length: Some(length) };
                if let Err(damage) = walk.visit.chunk(walk.store, number, &record) {
                    self.hole(walk, walked, (number, 1), damage);
                }
            }
        }
    }

    fn hole(
        &mut self,
        walk: &mut Walk<'_, '_, '_>,
        walked: &mut Walked,
        (first, count): (u64, u64),
        damage: Damage,
    ) {
        let count = count.min(walk.grid.cells().saturating_sub(first));
        let hole = HoleFound { first, count, why: damage.0 };
        self.stopped |= !walk.visit.hole(&hole);
        walked.lost = walked.lost.saturating_add(count);
        if walked.holes.len() < HOLES {
            walked.holes.push(hole);
        }
    }
}

impl Walk<'_, '_, '_> {
    fn read(&mut self, id: ChunkId, place: Place, at: (u8, u64)) -> Result<Node, Damage> {
        let bytes = self.store.read(&Record { kind: Kind::Node, id, place, length: None })?;
        let node = Node::decode(&bytes, self.keys, id, self.shape, at)?;
        Damage::unless(!node.is_zero(), "a map node that maps only zeros is stored")?;
        let first = at.1.saturating_mul(FAN_OUT);
        let fits = (first..).zip(&node.entries).all(|(cell, below)| match below {
            Below::Chunk { length, .. } => u64::from(*length) == self.grid.length(cell),
            Below::Zero | Below::Node { .. } => true,
        });
        let wrong = || FormatError::Corrupt {
            what: "map node",
            problem: "a chunk is not as long as its cell".into(),
        };
        if fits { Ok(node) } else { Err(wrong().into()) }
    }
}
