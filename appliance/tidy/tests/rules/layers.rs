//! Who may depend on whom.

use cargo_metadata::{Dependency, DependencyKind, Package};
use std::collections::BTreeMap;
use tidy::Tree;

/// The layers of ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    /// Words of the domain.
    Words,
    /// Pure: bytes, time and randomness are arguments.
    Pure,
    /// Sockets, disks, peers.
    Driver,
    /// What is to be done.
    Work,
    /// Binaries.
    Binary,
    /// Never in the image.
    Development,
}

/// Every member of the workspace. A new crate gets its row here first.
pub(crate) const LAYERS: &[(&str, Layer)] = &[
    ("model", Layer::Words),
    ("block", Layer::Pure),
    ("scsi", Layer::Pure),
    ("iscsi", Layer::Pure),
    ("vmfs", Layer::Pure),
    ("vmdk", Layer::Pure),
    ("guest", Layer::Pure),
    ("policy", Layer::Pure),
    ("retention", Layer::Pure),
    ("ledger", Layer::Pure),
    ("format", Layer::Pure),
    ("api", Layer::Pure),
    ("san", Layer::Driver),
    ("vsphere", Layer::Driver),
    ("warden", Layer::Driver),
    ("repository", Layer::Driver),
    ("jobs", Layer::Work),
    ("console", Layer::Work),
    ("daemon", Layer::Binary),
    ("wardend", Layer::Binary),
    ("cli", Layer::Binary),
    ("verify", Layer::Binary),
    ("fakes", Layer::Development),
    ("tidy", Layer::Development),
    ("lab", Layer::Development),
    ("system", Layer::Development),
];

/// What the pure layers may not even have at hand: runtimes, sockets, the kernel, chance.
const IMPURE: &[&str] = &[
    "axum",
    "crossbeam-channel",
    "getrandom",
    "hyper",
    "hyper-util",
    "io-uring",
    "nix",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "rustls",
    "tempfile",
    "tokio",
    "tokio-rustls",
    "ureq",
];

/// Drivers that stand on another driver. Every seal, commit and deletion of the repository is the
/// warden's, by the warden's storage and state: a trait between the two would have one
/// implementation and hide which process does what.
const STANDS_ON: &[(&str, &str)] = &[("repository", "warden")];

/// The command line knows the API and nothing behind it; signatures and proofs of the record it
/// checks itself, because it need not believe the appliance, and images of VMFS volumes it reads
/// itself, because whoever examines one may have no appliance.
const COMMAND_LINE_KNOWS: &[&str] = &["api", "block", "ledger", "model", "vmfs"];

fn layer_of(name: &str) -> Option<Layer> {
    LAYERS.iter().find(|(member, _)| *member == name).map(|&(_, layer)| layer)
}

/// Whether a crate of `from` may use one of `to` that is called `name`.
fn allowed(from: Layer, to: Layer, name: &str) -> bool {
    match from {
        Layer::Words => false,
        Layer::Pure => to == Layer::Words || name == "block",
        Layer::Driver | Layer::Work => to <= Layer::Pure,
        Layer::Binary => to != Layer::Development && to != Layer::Binary,
        Layer::Development => true,
    }
}

#[test]
fn every_member_has_a_layer_and_every_layer_its_members() {
    let members = Tree::open().unwrap().members().unwrap();
    let mut found: Vec<String> = members
        .iter()
        .filter(|package| layer_of(&package.name).is_none())
        .map(|package| format!("{} has no row in LAYERS", package.name))
        .collect();
    let known = |name: &str| members.iter().any(|package| *package.name == name);
    let gone = LAYERS.iter().filter(|(name, _)| !known(name));
    found.extend(gone.map(|(name, _)| format!("{name} is in LAYERS but not in the workspace")));
    crate::report("every crate is in exactly one layer", &found);
}

#[test]
fn dependencies_point_downwards() {
    let members = Tree::open().unwrap().members().unwrap();
    let found: Vec<String> = members
        .iter()
        .flat_map(|package| package.dependencies.iter().filter_map(|on| wrong(package, on)))
        .collect();
    crate::report("a crate depends on lower layers only", &found);
}

/// Why this dependency may not be; `None`: it may.
fn wrong(package: &Package, on: &Dependency) -> Option<String> {
    let from = layer_of(&package.name)?;
    let told = |why: &str| Some(format!("{} -> {}: {why}", package.name, on.name));
    if on.kind == DependencyKind::Development {
        // A test may use any fake; what it proves is the crate.
        return None;
    }
    if on.path.is_none() {
        let pure = matches!(from, Layer::Words | Layer::Pure);
        return if pure && IMPURE.contains(&on.name.as_str()) {
            told("a pure crate has no use for it")
        } else {
            None
        };
    }
    let to = layer_of(&on.name)?;
    if *package.name == "cli" && !COMMAND_LINE_KNOWS.contains(&on.name.as_str()) {
        return told("the command line speaks to the API");
    }
    let stands_on = STANDS_ON.contains(&(package.name.as_str(), on.name.as_str()));
    if stands_on || allowed(from, to, &on.name) {
        None
    } else {
        told(&format!("{from:?} on {to:?}"))
    }
}

#[test]
fn members_share_lints_and_versions() {
    let tree = Tree::open().unwrap();
    let mut found = Vec::new();
    for path in tree.files().filter(|path| path.ends_with("/Cargo.toml")) {
        let text = tree.text(path).unwrap().unwrap_or_default();
        let manifest: toml::Table = text.parse().unwrap();
        let shared = manifest.get("lints").and_then(|lints| lints.get("workspace"));
        if shared.and_then(toml::Value::as_bool) != Some(true) {
            found.push(format!("{path}: [lints] workspace = true is missing"));
        }
        found.extend(own_versions(&manifest).map(|name| {
            format!("{path}: {name} has a version of its own; it belongs into the root Cargo.toml")
        }));
    }
    crate::report("versions and lints are stated once", &found);
}

fn own_versions(manifest: &toml::Table) -> impl Iterator<Item = String> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|kind| manifest.get(kind)?.as_table())
        .flatten()
        .filter(|(_, on)| on.get("workspace").and_then(toml::Value::as_bool) != Some(true))
        .map(|(name, _)| name.clone())
        .collect::<Vec<_>>()
        .into_iter()
}

#[test]
fn the_table_says_what_the_architecture_says() {
    let examples: BTreeMap<(&str, &str), bool> = BTreeMap::from([
        (("model", "block"), false),
        (("vmdk", "block"), true),
        (("format", "ledger"), false),
        (("san", "iscsi"), true),
        (("repository", "san"), false),
        (("jobs", "repository"), false),
        (("jobs", "console"), false),
        (("daemon", "repository"), true),
        (("daemon", "cli"), false),
        (("daemon", "fakes"), false),
        (("fakes", "san"), true),
    ]);
    for ((from, to), expected) in examples {
        let layers = (layer_of(from).unwrap(), layer_of(to).unwrap());
        assert_eq!(allowed(layers.0, layers.1, to), expected, "{from} -> {to}");
    }
}
