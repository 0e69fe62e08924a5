//! Names of places turned into references; pure. What is not there is refused by its name, with
//! the option that names another.

use api::{Portrait, RestoreRequest};
use jobs::ports::PortError;
use model::ErrorKind;
use vsphere::{CardNetwork, ImportPlace, MoRef, Named, Places};

/// Where a VM is to stand.
#[derive(Debug)]
pub(super) struct Spot {
    pub(super) place: ImportPlace,
    /// Inventory path of the datacenter, as `/folder` wants it.
    pub(super) datacenter: String,
    /// For people.
    pub(super) text: String,
}

/// The wishes first, then what the point says.
pub(super) fn find(
    places: &Places,
    request: &RestoreRequest,
    portrait: &Portrait,
) -> Result<Spot, PortError> {
    let datacenter =
        datacenter(places, request.datacenter.as_ref().or(portrait.datacenter.as_ref()))?;
    let vm_folder = datacenter.inner.as_ref().ok_or_else(|| {
        refused(format!("the datacenter '{}' shows no folder of VMs", datacenter.name))
    })?;
    let folders = segments(request.folder.as_deref(), &portrait.folder);
    let folder = walk(&places.folders, vm_folder, &folders, "folder", "--folder")?;

    let wanted = request.cluster.as_ref().or(portrait.compute.as_ref());
    let compute = pick(&places.computes, wanted, "cluster", "--cluster", |found| {
        is_within(places, found, &datacenter.object)
    })?;
    let root = compute
        .inner
        .as_ref()
        .ok_or_else(|| refused(format!("'{}' shows no resource pool", compute.name)))?;
    let pools = segments(request.pool.as_deref(), &portrait.resource_pool);
    let pool = walk(&places.pools, root, &pools, "resource pool", "--pool")?;
    let host = match &request.host {
        None => None,
        Some(name) => {
            let within = |host: &Named| host.parent.as_ref() == Some(&compute.object);
            Some(pick(&places.hosts, Some(name), "host", "--host", within)?.object.clone())
        }
    };
    let mut text = datacenter.name.clone();
    for name in &folders {
        text = format!("{text} / {name}");
    }
    let place = ImportPlace { pool, folder: Some(folder), host };
    Ok(Spot { place, datacenter: path_of(places, datacenter), text })
}

/// The network for a card: by wish, or the one that it had.
pub(super) fn network(places: &Places, name: &str) -> Result<CardNetwork, PortError> {
    let fits = |network: &&Named| network.name == name || network.key.as_deref() == Some(name);
    let found = places.networks.iter().find(fits).ok_or_else(|| {
        refused(format!("there is no network '{name}'; name another one (--network)"))
    })?;
    let Some(portgroup) = found.key.clone() else {
        return Ok(CardNetwork::Standard(found.name.clone()));
    };
    let switch = places.switches.iter().find(|switch| Some(&switch.object) == found.inner.as_ref());
    let switch = switch.and_then(|switch| switch.key.clone()).ok_or_else(|| {
        refused(format!("the distributed switch of network '{name}' cannot be read"))
    })?;
    Ok(CardNetwork::Distributed { switch, portgroup })
}

fn datacenter<'a>(places: &'a Places, name: Option<&String>) -> Result<&'a Named, PortError> {
    pick(&places.datacenters, name, "datacenter", "--datacenter", |_| true)
}

/// The one of this name; without a name, the only one.
fn pick<'a>(
    all: &'a [Named],
    name: Option<&String>,
    noun: &str,
    option: &str,
    within: impl Fn(&Named) -> bool,
) -> Result<&'a Named, PortError> {
    let fits = |found: &&Named| name.is_none_or(|name| *name == found.name) && within(found);
    let mut found = all.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (None, _) => {
            let name = name.map_or_else(String::new, |name| format!(" '{name}'"));
            Err(refused(format!("there is no {noun}{name}; name another one ({option})")))
        }
        (Some(_), Some(_)) => {
            Err(refused(format!("there are several of the {noun} wanted; name one ({option})")))
        }
    }
}

/// Down from `from`, by names.
fn walk(
    all: &[Named],
    from: &MoRef,
    names: &[String],
    noun: &str,
    option: &str,
) -> Result<MoRef, PortError> {
    let mut at = from.clone();
    for name in names {
        let below = |found: &&Named| found.parent.as_ref() == Some(&at) && found.name == *name;
        let found = all.iter().find(below).ok_or_else(|| {
            refused(format!("there is no {noun} '{name}' there; name another one ({option})"))
        })?;
        at = found.object.clone();
    }
    Ok(at)
}

fn segments(wish: Option<&str>, had: &[String]) -> Vec<String> {
    match wish {
        None => had.to_vec(),
        Some(path) => path.split('/').filter(|name| !name.is_empty()).map(Into::into).collect(),
    }
}

/// The chain of parents reaches the datacenter.
fn is_within(places: &Places, found: &Named, datacenter: &MoRef) -> bool {
    above(places, found).any(|parent| parent == *datacenter)
}

fn above<'a>(places: &'a Places, found: &Named) -> impl Iterator<Item = MoRef> + 'a {
    let next = move |at: &MoRef| {
        let named = places.folders.iter().chain(&places.datacenters);
        named.into_iter().find(|named| named.object == *at)?.parent.clone()
    };
    // Inventories are not that deep; a ring in them shall not hang us.
    std::iter::successors(found.parent.clone(), next).take(64)
}

/// `outer/DC0`: folders above the datacenter, without the root.
fn path_of(places: &Places, datacenter: &Named) -> String {
    let named = |at: &MoRef| places.folders.iter().find(|folder| folder.object == *at);
    let above = above(places, datacenter).filter_map(|at| named(&at));
    let mut names: Vec<&str> =
        above.filter(|folder| folder.parent.is_some()).map(|folder| folder.name.as_str()).collect();
    names.reverse();
    names.push(&datacenter.name);
    names.join("/")
}

pub(super) fn refused(why: String) -> PortError {
    let operation = "finding the place for the VM".into();
    PortError { kind: ErrorKind::Refused, operation, source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(object: &str, name: &str, parent: Option<&str>, inner: Option<&str>) -> Named {
        let moref = |value: &str| MoRef::new("X", value);
        Named {
            object: moref(object),
            name: name.into(),
            parent: parent.map(moref),
            inner: inner.map(moref),
            key: None,
        }
    }

    fn places() -> Places {
        Places {
            datacenters: vec![named("dc", "DC0", Some("east"), Some("vm"))],
            folders: vec![
                named("root", "Datacenters", None, None),
                named("east", "East", Some("root"), None),
                named("vm", "vm", Some("dc"), None),
                named("hosts", "host", Some("dc"), None),
                named("shop", "Shop", Some("vm"), None),
            ],
            computes: vec![named("c0", "C0", Some("hosts"), Some("pool"))],
            pools: vec![named("gold", "gold", Some("pool"), None)],
            hosts: vec![named("h0", "esx0", Some("c0"), None)],
            networks: vec![named("net", "VM Network", None, None)],
            switches: Vec::new(),
        }
    }

    #[test]
    fn names_become_references_and_what_is_missing_is_named() {
        let portrait = Portrait {
            datacenter: Some("DC0".into()),
            folder: vec!["Shop".into()],
            compute: Some("C0".into()),
            ..Portrait::default()
        };
        let spot = find(&places(), &RestoreRequest::default(), &portrait).unwrap();
        assert_eq!((spot.datacenter.as_str(), spot.text.as_str()), ("East/DC0", "DC0 / Shop"));
        assert_eq!(spot.place.folder.unwrap().value(), "shop");
        assert_eq!((spot.place.pool.value(), spot.place.host), ("pool", None));

        let elsewhere = RestoreRequest {
            folder: Some(String::new()),
            pool: Some("gold".into()),
            host: Some("esx0".into()),
            ..RestoreRequest::default()
        };
        let spot = find(&places(), &elsewhere, &portrait).unwrap();
        assert_eq!(spot.place.folder.unwrap().value(), "vm");
        assert_eq!(spot.place.pool.value(), "gold");

        let nowhere = RestoreRequest { folder: Some("Ship".into()), ..RestoreRequest::default() };
        let error = find(&places(), &nowhere, &portrait).unwrap_err();
        assert!(model::chain(&error).contains("'Ship'"), "{}", model::chain(&error));
        assert!(model::chain(&error).contains("--folder"), "{}", model::chain(&error));
        assert!(network(&places(), "Ship").is_err());
    }
}
