//! Reading what it takes to build a VM anew: configuration, placement, attributes.

use super::Client;
use super::properties::withheld;
use crate::error::VsphereError;
use crate::inventory::{
    Configuration, Placement, ROOT_PROPERTIES, Root, decode_configuration, decode_root,
};
use crate::wire::MoRef;

/// Folders, or resource pools, within one another that are followed.
const DEPTH_MAX: usize = 64;

/// An object's own name, and what it stands in.
struct Named {
    object: MoRef,
    name: String,
    parent: Option<MoRef>,
}

impl Client {
    /// The VM's whole configuration at the snapshot.
    pub async fn snapshot_configuration(
        &self,
        snapshot: &MoRef,
    ) -> Result<Configuration, VsphereError> {
        let read = || {
            self.read_one(snapshot, &["config"], |content| {
                let config = content.get("config").ok_or_else(|| withheld(content, "config"))?;
                Ok(decode_configuration(config))
            })
        };
        self.shared.session.keep(read).await
    }

    /// Where the VM stands now, by names. A call for each object on the way up; they are few.
    pub async fn placement(&self, vm: &MoRef) -> Result<Placement, VsphereError> {
        self.shared.session.keep(|| self.read_placement(vm)).await
    }

    async fn read_placement(&self, vm: &MoRef) -> Result<Placement, VsphereError> {
        let read = self.read_one(vm, ROOT_PROPERTIES, |content| Ok(decode_root(content))).await?;
        let Root { folder, pool, host, datastores, networks, custom_attributes } = read;
        let mut placement = Placement { custom_attributes, ..Placement::default() };

        let above = self.way_up(folder, "Datacenter").await?;
        let (folders, top) = split_top(above, "Datacenter");
        placement.datacenter = top;
        placement.folder = without_first(folders);

        let above = self.way_up(pool, "ComputeResource").await?;
        let (pools, top) = split_top(above, "ComputeResource");
        placement.compute = top;
        placement.resource_pool = without_first(pools);

        if let Some(host) = host {
            placement.host = Some(self.named(host).await?.name);
        }
        for datastore in datastores {
            placement.datastores.push(self.named(datastore).await?.name);
        }
        for network in networks {
            placement.networks.push(self.named(network).await?.name);
        }
        Ok(placement)
    }

    /// The objects from `from` up to the first whose kind ends in `last`, innermost first.
    async fn way_up(&self, from: Option<MoRef>, last: &str) -> Result<Vec<Named>, VsphereError> {
        let mut way = Vec::new();
        let mut next = from;
        while let Some(object) = next.take().filter(|_| way.len() < DEPTH_MAX) {
            let named = self.named(object).await?;
            if !named.object.kind().ends_with(last) {
                next.clone_from(&named.parent);
            }
            way.push(named);
        }
        Ok(way)
    }

    async fn named(&self, object: MoRef) -> Result<Named, VsphereError> {
        let read = |content: &crate::wire::ObjectContent<'_>| {
            let name = content.text("name").ok_or_else(|| withheld(content, "name"))?;
            let parent = content.get("parent").and_then(|node| node.moref().ok());
            Ok((unescaped(name), parent))
        };
        let (name, parent) = self.read_one(&object, &["name", "parent"], read).await?;
        Ok(Named { object, name, parent })
    }
}

/// The names below the top, outermost first, and the name of the top where it was reached.
fn split_top(mut way: Vec<Named>, last: &str) -> (Vec<String>, Option<String>) {
    let reached = way.last().is_some_and(|top| top.object.kind().ends_with(last));
    let top = if reached { way.pop() } else { None };
    (way.into_iter().rev().map(|named| named.name).collect(), top.map(|named| named.name))
}

/// Without the folder `vm` of the datacenter, or the pool `Resources` of the cluster: each has
/// exactly one, and nobody chooses it.
fn without_first(mut names: Vec<String>) -> Vec<String> {
    if !names.is_empty() {
        names.remove(0);
    }
    names
}

/// vSphere writes the three characters that separate paths as `%2f`, `%5c` and `%25` in names.
pub(super) fn unescaped(name: &str) -> String {
    let mut text = name.to_owned();
    for (code, character) in [("%2f", "/"), ("%2F", "/"), ("%5c", "\\"), ("%5C", "\\")] {
        text = text.replace(code, character);
    }
    text.replace("%25", "%")
}
