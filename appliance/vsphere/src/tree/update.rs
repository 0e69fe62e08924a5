//! What WaitForUpdatesEx says, as changes.

use super::value::{Named, Value, decode, named};
use crate::wire::{Fault, MoRef, Node, WireError, read_objects};
use std::collections::BTreeSet;

/// One answer of the server.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// It begins a listing of everything: what was known before does not count.
    pub fresh: bool,
    /// More of it comes with the next answer.
    pub truncated: bool,
    /// In the order of the server.
    pub changes: Vec<Change>,
}

/// What became of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub object: MoRef,
    /// Whether it came, went, or is another now.
    pub kind: ChangeKind,
    /// New values by path; `None`: it has none now.
    pub set: Vec<(&'static str, Option<Value>)>,
}

/// `ObjectUpdateKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// The object is new: nothing known of it counts.
    Enter,
    /// These properties changed.
    Modify,
    /// It is gone.
    Leave,
}

/// An `UpdateSet` taken apart.
pub(crate) struct Decoded {
    /// Ask with this the next time.
    pub(crate) version: String,
    pub(crate) truncated: bool,
    pub(crate) changes: Vec<Change>,
    /// Objects of which a part of a property changed: they have to be read again.
    pub(crate) again: BTreeSet<MoRef>,
}

/// Takes an `UpdateSet` apart. The outer error is ours, the inner one the server's.
pub(crate) fn decode_update_set(set: Node<'_>) -> Result<Result<Decoded, Fault>, WireError> {
    let mut decoded = Decoded {
        version: set.need_text("version")?.to_owned(),
        truncated: set.get_bool("truncated").unwrap_or(false),
        changes: Vec::new(),
        again: BTreeSet::new(),
    };
    for filter in set.all("filterSet") {
        let contents = match read_objects(filter, "objectSet")? {
            Ok(contents) => contents,
            Err(fault) => return Ok(Err(fault)),
        };
        for (content, node) in contents.iter().zip(filter.all("objectSet")) {
            let gone = content.is_gone();
            decoded.object(content.object.clone(), node, gone);
        }
    }
    Ok(Ok(decoded))
}

impl Decoded {
    fn object(&mut self, object: MoRef, node: Node<'_>, gone: bool) {
        let kind = match node.get("kind") {
            _ if gone => ChangeKind::Leave,
            Some("leave") => ChangeKind::Leave,
            Some("enter") => ChangeKind::Enter,
            _ => ChangeKind::Modify,
        };
        let mut set = Vec::new();
        if kind == ChangeKind::Leave {
            self.again.remove(&object);
        } else {
            for change in node.all("changeSet") {
                match named(change.get("name").unwrap_or_default()) {
                    Named::Ours(path) => set.push((path, value(path, change))),
                    Named::Overlaps => {
                        self.again.insert(object.clone());
                    }
                    Named::Other => {}
                }
            }
            let missing = node.all("missingSet").filter_map(|entry| entry.get("path"));
            set.extend(missing.filter_map(|path| match named(path) {
                Named::Ours(path) => Some((path, None)),
                _ => None,
            }));
        }
        self.changes.push(Change { object, kind, set });
    }
}

/// The new value; `None` for a property that is not set any more.
fn value(path: &'static str, change: Node<'_>) -> Option<Value> {
    match change.get("op") {
        Some("remove" | "indirectRemove") => None,
        _ => decode(path, change.child("val")?),
    }
}
