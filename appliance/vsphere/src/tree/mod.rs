//! The inventory as a tree that is kept up to date by changes, pure.
//!
//! What this is: the objects of the inventory with the few facts by which VMs are found and shown,
//! and `apply`. What it is not: the truth about one VM: whoever acts on a VM reads the VM itself.
//!
//! ```text
//! Update ─> Replica: a listing that begins anew is gathered aside, and takes the place of the
//!                    old one when it is whole; changes go into the one that is shown
//! ```

mod update;
mod value;

pub(crate) use update::decode_update_set;
pub use update::{Change, ChangeKind, Update};
pub use value::Value;
pub(crate) use value::{KINDS, decode_properties, paths_of};

use crate::inventory::SnapshotNode;
use crate::wire::{MoRef, WireError, unescaped};
use std::collections::BTreeMap;

/// Objects of one inventory; a vCenter supports 40,000 registered VMs and a few thousand others.
const OBJECTS_MAX: usize = 200_000;
/// Bytes of their texts and references together.
const BYTES_MAX: usize = 256 << 20;

/// The properties of one object, by path.
pub type Properties = BTreeMap<&'static str, Value>;

/// An object of the inventory: what the server said of it last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    properties: Properties,
}

impl Object {
    /// Its name as people read it.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.text("name").map(unescaped)
    }

    /// What it stands in: a vApp keeps its VMs without a folder.
    #[must_use]
    pub fn parent(&self) -> Option<&MoRef> {
        self.reference("parent").or_else(|| self.reference("parentVApp"))
    }

    /// A property that is text.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.properties.get(path)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A property that is true or false.
    #[must_use]
    pub fn flag(&self, path: &str) -> Option<bool> {
        match self.properties.get(path)? {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        }
    }

    /// A property that is a reference.
    #[must_use]
    pub fn reference(&self, path: &str) -> Option<&MoRef> {
        match self.properties.get(path)? {
            Value::Reference(one) => Some(one),
            _ => None,
        }
    }

    /// The roots of a VM's snapshot tree; none of what has no snapshots.
    #[must_use]
    pub fn snapshots(&self) -> &[SnapshotNode] {
        match self.properties.get("snapshot") {
            Some(Value::Snapshots(roots)) => roots,
            _ => &[],
        }
    }

    /// What the server said and nobody understood, by path.
    pub fn unreadable(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.properties.iter().filter_map(|(path, value)| match value {
            Value::Unreadable(why) => Some((*path, why.as_str())),
            _ => None,
        })
    }

    fn size(&self) -> usize {
        self.properties.values().map(Value::size).sum()
    }
}

/// The inventory at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    objects: BTreeMap<MoRef, Object>,
    /// Bytes of all objects.
    bytes: usize,
}

impl Tree {
    /// Takes changes over, in their order.
    ///
    /// # Errors
    /// The inventory grew beyond what is held in memory; the tree is of no use then.
    pub fn apply(&mut self, changes: impl IntoIterator<Item = Change>) -> Result<(), WireError> {
        for change in changes {
            self.apply_one(change);
            let too_much = |what, limit| Err(WireError::TooMuch { what, limit });
            if self.objects.len() > OBJECTS_MAX {
                return too_much("objects in the inventory", OBJECTS_MAX);
            }
            if self.bytes > BYTES_MAX {
                return too_much("bytes of the inventory", BYTES_MAX);
            }
        }
        Ok(())
    }

    fn apply_one(&mut self, change: Change) {
        let Change { object, kind, set } = change;
        let known = self.objects.remove(&object);
        self.bytes -= known.as_ref().map_or(0, Object::size);
        let mut now = match kind {
            ChangeKind::Leave => return,
            ChangeKind::Enter => Object::default(),
            ChangeKind::Modify => known.unwrap_or_default(),
        };
        for (path, value) in set {
            match value {
                Some(value) => now.properties.insert(path, value),
                None => now.properties.remove(path),
            };
        }
        self.bytes += now.size();
        self.objects.insert(object, now);
    }

    /// One object.
    #[must_use]
    pub fn get(&self, object: &MoRef) -> Option<&Object> {
        self.objects.get(object)
    }

    /// All objects, by reference.
    pub fn iter(&self) -> impl Iterator<Item = (&MoRef, &Object)> {
        self.objects.iter()
    }

    /// The VMs, templates included.
    pub fn vms(&self) -> impl Iterator<Item = (&MoRef, &Object)> {
        self.iter().filter(|(object, _)| object.kind() == "VirtualMachine")
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// True for the inventory that nothing was said of.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }
}

/// A tree that follows a server.
#[derive(Clone, Debug, Default)]
pub struct Replica {
    /// The last whole one.
    shown: Tree,
    /// One that begins anew and is not whole yet.
    coming: Option<Tree>,
    whole: bool,
}

impl Replica {
    /// Takes one answer of the server over. `true`: what is shown is as the server said it now.
    ///
    /// # Errors
    /// As [`Tree::apply`]. The replica is empty then.
    pub fn take(&mut self, update: Update) -> Result<bool, WireError> {
        if update.fresh {
            self.coming = Some(Tree::default());
        }
        let tree = self.coming.as_mut().unwrap_or(&mut self.shown);
        if let Err(error) = tree.apply(update.changes) {
            *self = Self::default();
            return Err(error);
        }
        if !update.truncated
            && let Some(whole) = self.coming.take()
        {
            self.shown = whole;
            self.whole = true;
        }
        Ok(!update.truncated && self.whole)
    }

    /// The last whole tree; `None` before there was one.
    #[must_use]
    pub fn tree(&self) -> Option<&Tree> {
        self.whole.then_some(&self.shown)
    }
}

#[cfg(test)]
mod tests;
