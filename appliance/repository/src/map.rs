//! DiskMaps: looking cells up, and building a new map that shares what did not change.

use crate::StoreError;
use crate::core::locked;
use crate::core::{Core, Scratch, wanted};
use crate::reach;
use format::manifest::RecordRef;
use format::map::{Below, FAN_OUT, Node, Shape};
use format::reach::Reach;
use format::record::Kind;
use format::{FormatError, Place};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// Nodes kept per map that is being read: a path to a few places at once (13 KiB each).
const CACHED_NODES: usize = 64;

/// Reads one map.
pub(crate) struct MapReader {
    core: Arc<Core>,
    shape: Shape,
    root: Option<RecordRef>,
    cache: Mutex<Cache>,
}

struct Cache {
    scratch: Scratch,
    nodes: BTreeMap<(u8, u64), Arc<Node>>,
}

impl MapReader {
    pub(crate) fn new(
        core: Arc<Core>,
        shape: Shape,
        root: Option<RecordRef>,
    ) -> Result<Self, StoreError> {
        let scratch = Scratch::new(&core)?;
        Ok(Self::with(core, shape, root, scratch))
    }

    /// The same, reading with `scratch`.
    pub(crate) fn with(
        core: Arc<Core>,
        shape: Shape,
        root: Option<RecordRef>,
        scratch: Scratch,
    ) -> Self {
        let cache = Mutex::new(Cache { scratch, nodes: BTreeMap::new() });
        Self { core, shape, root, cache }
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// What the whole map is below.
    pub(crate) fn root(&self) -> Below {
        self.root.map_or(Below::Zero, |RecordRef { id, place }| Below::Node { id, place })
    }

    /// The content of a cell.
    pub(crate) fn cell(&self, cell: u64) -> Result<Below, StoreError> {
        Ok(match self.node(0, cell / FAN_OUT)? {
            Some(leaf) => entry(&leaf, cell % FAN_OUT),
            None => Below::Zero,
        })
    }

    /// Node `index` of `level`; `None`: zeros only.
    pub(crate) fn node(&self, level: u8, index: u64) -> Result<Option<Arc<Node>>, StoreError> {
        let mut cache = locked(&self.cache);
        let (mut at, mut below) = (self.shape.root_level(), self.root());
        loop {
            let number = index / Shape::span(at - level);
            let Below::Node { id, place } = below else { return Ok(None) };
            let node = match cache.nodes.get(&(at, number)) {
                Some(node) => Arc::clone(node),
                None => {
                    let node =
                        self.load(&mut cache.scratch, RecordRef { id, place }, (at, number))?;
                    if cache.nodes.len() >= CACHED_NODES {
                        cache.nodes.retain(|&(level, _), _| level > 0);
                    }
                    if cache.nodes.len() >= CACHED_NODES {
                        cache.nodes.clear();
                    }
                    let node = Arc::new(node);
                    cache.nodes.insert((at, number), Arc::clone(&node));
                    node
                }
            };
            if at == level {
                return Ok(Some(node));
            }
            below = entry(&node, index / Shape::span(at - 1 - level) % FAN_OUT);
            at -= 1;
        }
    }

    /// Where the highest node lies that cannot be read on the way to a leaf.
    pub(crate) fn first_unreadable(&self, leaf: u64) -> Option<Place> {
        let mut below = self.root();
        for level in (0..=self.shape.root_level()).rev() {
            let Ok(node) = self.node(level, leaf / Shape::span(level)) else {
                return place_of(below);
            };
            let under = leaf / Shape::span(level.checked_sub(1)?) % FAN_OUT;
            below = entry(&*node?, under);
        }
        None
    }

    fn load(
        &self,
        scratch: &mut Scratch,
        node: RecordRef,
        position: (u8, u64),
    ) -> Result<Node, StoreError> {
        load(&self.core, scratch, node, self.shape, position)
    }
}

fn entry(node: &Node, index: u64) -> Below {
    let index = usize::try_from(index).unwrap_or(usize::MAX);
    node.entries.get(index).copied().unwrap_or(Below::Zero)
}

/// Where the record of an entry lies; nothing is stored of zeros.
pub(crate) fn place_of(below: Below) -> Option<Place> {
    match below {
        Below::Zero => None,
        Below::Chunk { place, .. } | Below::Node { place, .. } => Some(place),
    }
}

/// A node, read and checked.
pub(crate) fn load(
    core: &Core,
    scratch: &mut Scratch,
    RecordRef { id, place }: RecordRef,
    shape: Shape,
    position: (u8, u64),
) -> Result<Node, StoreError> {
    core.read_record(&wanted(Kind::Node, id, place), scratch)?;
    Node::decode(&scratch.plain, &core.keys, id, shape, position).map_err(|source: FormatError| {
        let what = format!("node {} of level {} of a disk map", position.1, position.0);
        StoreError::Damaged { what, source }
    })
}

/// Stores a node and says where it lies.
pub(crate) trait NodeSink {
    fn store(&mut self, node: &Node) -> Result<RecordRef, StoreError>;
}

/// Cells that a run wrote, by leaf.
pub(crate) type Written = BTreeMap<u64, Vec<Option<Below>>>;

/// Builds the map of `written` over `parent` (over zeros without one), bottom-up. Nodes that
/// come out as the parent has them are not stored again.
pub(crate) struct Build<'a, S> {
    pub(crate) shape: Shape,
    pub(crate) parent: Option<&'a MapReader>,
    pub(crate) written: &'a Written,
    pub(crate) sink: &'a mut S,
    /// The parent's; it is counted along.
    pub(crate) reach: Reach,
}

impl<S: NodeSink> Build<'_, S> {
    /// The root of the new map and what it reaches; no root: zeros only.
    pub(crate) fn run(mut self) -> Result<(Option<RecordRef>, Reach), StoreError> {
        let old = self.parent.map_or(Below::Zero, MapReader::root);
        let new = self.node(self.shape.root_level(), 0, old)?;
        reach::replace(&mut self.reach, old, new)?;
        let root = match new {
            Below::Node { id, place } => Some(RecordRef { id, place }),
            Below::Zero | Below::Chunk { .. } => None,
        };
        Ok((root, self.reach))
    }

    fn node(&mut self, level: u8, index: u64, old: Below) -> Result<Below, StoreError> {
        let first = index.saturating_mul(Shape::span(level));
        let end = first.saturating_add(Shape::span(level)); // in leaves
        if self.written.range(first..end).next().is_none() {
            return Ok(old);
        }
        let old_node = match (self.parent, old) {
            (Some(parent), Below::Node { .. }) => parent.node(level, index)?,
            _ => None,
        };
        let old_entry = |number| old_node.as_ref().map_or(Below::Zero, |node| entry(node, number));
        let count = self.shape.entries(level, index);
        let mut entries = Vec::with_capacity(usize::try_from(count).unwrap_or(0));
        for number in 0..count {
            let old = old_entry(number);
            entries.push(if level == 0 {
                self.leaf_entry(index, number).unwrap_or(old)
            } else {
                self.node(level - 1, index * FAN_OUT + number, old)?
            });
        }
        if old_node.as_ref().is_some_and(|node| node.entries == entries) {
            return Ok(old);
        }
        for (number, &new) in (0..).zip(&entries) {
            reach::replace(&mut self.reach, old_entry(number), new)?;
        }
        let node = Node { level, index, entries };
        if node.is_zero() {
            return Ok(Below::Zero);
        }
        self.sink.store(&node).map(|RecordRef { id, place }| Below::Node { id, place })
    }

    fn leaf_entry(&self, leaf: u64, number: u64) -> Option<Below> {
        let number = usize::try_from(number).ok()?;
        *self.written.get(&leaf)?.get(number)?
    }
}
