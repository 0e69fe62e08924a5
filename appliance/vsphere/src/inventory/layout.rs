//! Which files a VM consists of, and how large they are (`layoutEx`).

use crate::wire::{MoRef, Node, WireError};
use std::collections::{BTreeMap, BTreeSet};

/// What [`decode_layout`] reads.
pub(crate) const LAYOUT_PROPERTIES: &[&str] = &["layoutEx"];

/// A VM's files. The server brings it up to date now and then, and when files come or go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// Bytes by the file's key.
    sizes: BTreeMap<u64, u64>,
    /// Keys of the files of the disks as they are now.
    now: BTreeSet<u64>,
    /// Keys of the files of the disks at each snapshot, by the snapshot's reference.
    at: BTreeMap<String, BTreeSet<u64>>,
}

impl Layout {
    /// Bytes of the files that the VM's disks consist of now and did not at the snapshot: what the
    /// guest has written since, about. `None`: the server does not know the snapshot.
    #[must_use]
    pub fn bytes_since(&self, snapshot: &MoRef) -> Option<u64> {
        let before = self.at.get(snapshot.value())?;
        let sizes = self.now.difference(before).filter_map(|key| self.sizes.get(key));
        Some(sizes.fold(0, |sum, size| sum.saturating_add(*size)))
    }
}

/// Reads the property `layoutEx`.
pub(crate) fn decode_layout(layout: Node<'_>) -> Result<Layout, WireError> {
    let mut decoded = Layout { now: chains(layout)?, ..Layout::default() };
    for file in layout.all("file") {
        decoded.sizes.insert(file.need_u64("key")?, file.get_u64("size")?.unwrap_or(0));
    }
    for snapshot in layout.all("snapshot") {
        let key = snapshot.need("key")?.moref()?.value().to_owned();
        decoded.at.insert(key, chains(snapshot)?);
    }
    Ok(decoded)
}

fn chains(of: Node<'_>) -> Result<BTreeSet<u64>, WireError> {
    let units = of.all("disk").flat_map(|disk| disk.all("chain"));
    units.flat_map(|unit| unit.all("fileKey")).map(|key| key.own_u64()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_fragment;

    const LAYOUT: &str = "<layoutEx><file><key>1</key><size>1000</size></file>\
        <file><key>2</key><size>70</size></file><file><key>3</key><size>5</size></file>\
        <disk><key>2000</key><chain><fileKey>1</fileKey></chain>\
        <chain><fileKey>2</fileKey><fileKey>3</fileKey></chain></disk>\
        <snapshot><key type=\"VirtualMachineSnapshot\">s-1</key><dataKey>9</dataKey>\
        <disk><key>2000</key><chain><fileKey>1</fileKey></chain></disk></snapshot></layoutEx>";

    #[test]
    fn what_came_after_a_snapshot_is_its_delta() {
        let layout = decode_layout(parse_fragment(LAYOUT).root()).unwrap();
        let snapshot = |value| MoRef::new("VirtualMachineSnapshot", value);
        assert_eq!(layout.bytes_since(&snapshot("s-1")), Some(75));
        assert_eq!(layout.bytes_since(&snapshot("s-2")), None);
        let huge = LAYOUT.replace("70", &u64::MAX.to_string());
        let layout = decode_layout(parse_fragment(&huge).root()).unwrap();
        assert_eq!(layout.bytes_since(&snapshot("s-1")), Some(u64::MAX));
        let odd = LAYOUT.replace("<size>70", "<size>seven");
        assert!(decode_layout(parse_fragment(&odd).root()).is_err());
    }
}
