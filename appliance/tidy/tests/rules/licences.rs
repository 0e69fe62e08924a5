//! What may be linked into the appliance: the list in `deny.toml`, held against every package
//! that is built for Linux. `cargo deny` reads the same list where it is installed.

use std::collections::BTreeSet;
use tidy::Tree;

/// The licences that `deny.toml` allows, by their SPDX ids.
fn allowed(tree: &Tree) -> BTreeSet<String> {
    let text = tree.text("deny.toml").unwrap().expect("deny.toml is text");
    let table: toml::Table = text.parse().unwrap();
    let list = table["licenses"]["allow"].as_array().expect("licenses.allow is a list");
    list.iter().map(|id| id.as_str().expect("an SPDX id").to_owned()).collect()
}

/// Whether an SPDX expression can be satisfied with the allowed licences. Without `AND` inside of
/// `OR` and the reverse there is no need for more than one level of brackets.
fn satisfied(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let tokens = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut tokens = tokens.split_whitespace().peekable();
    either(&mut tokens, allowed)
}

type Tokens<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut holds = both(tokens, allowed);
    while tokens.next_if_eq(&"OR").is_some() {
        holds |= both(tokens, allowed);
    }
    holds
}

fn both(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> bool {
    let mut holds = single(tokens, allowed);
    while tokens.next_if_eq(&"AND").is_some() {
        holds &= single(tokens, allowed);
    }
    holds
}

fn single(tokens: &mut Tokens<'_>, allowed: &BTreeSet<String>) -> bool {
    if tokens.next_if_eq(&"(").is_some() {
        let holds = either(tokens, allowed);
        return holds && tokens.next() == Some(")");
    }
    let mut id = tokens.next().unwrap_or_default().to_owned();
    if tokens.next_if_eq(&"WITH").is_some() {
        id = format!("{id} WITH {}", tokens.next().unwrap_or_default());
    }
    allowed.contains(&id)
}

#[test]
fn every_package_has_a_licence_that_is_allowed() {
    let tree = Tree::open().unwrap();
    let allowed = allowed(&tree);
    let metadata = tree.packages().unwrap();
    let built: BTreeSet<_> = metadata
        .resolve
        .as_ref()
        .expect("asked with dependencies")
        .nodes
        .iter()
        .map(|node| &node.id)
        .collect();
    let packages: Vec<_> = metadata.packages.iter().filter(|one| built.contains(&one.id)).collect();
    assert!(packages.len() > 50, "only {} packages were seen", packages.len());
    let found: Vec<String> = packages
        .iter()
        .filter(|package| !satisfied(package.license.as_deref().unwrap_or("none"), &allowed))
        .map(|package| format!("{} {}: {:?}", package.name, package.version, package.license))
        .collect();
    crate::report("every package has an allowed licence", &found);
}

#[test]
fn expressions_are_understood() {
    let allowed = BTreeSet::from(["MIT".to_owned(), "Apache-2.0 WITH LLVM-exception".to_owned()]);
    for good in [
        "MIT",
        "GPL-3.0 OR MIT",
        "GPL-3.0/MIT",
        "MIT AND (X11 OR Apache-2.0 WITH LLVM-exception)",
        "(MIT OR Zlib) AND MIT",
    ] {
        assert!(satisfied(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "Apache-2.0", "none", "(GPL-3.0"] {
        assert!(!satisfied(bad, &allowed), "{bad}");
    }
}
