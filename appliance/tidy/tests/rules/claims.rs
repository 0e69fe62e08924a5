//! A page that says what proves a claim names tests that exist.

use std::collections::BTreeSet;
use tidy::Tree;

/// Pages whose rows name tests.
const PAGES: &[&str] = &["WORM.md", "ATTACKS.md", "CONFORMANCE.md"];
/// Shorter words with an underscore are more likely something else.
const SHORTEST: usize = 15;

/// Names of all functions.
fn functions(tree: &Tree) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for path in tree.files().filter(|path| path.ends_with(".rs")) {
        let Some(text) = tree.text(path).unwrap() else { continue };
        for rest in text.split("fn ").skip(1) {
            names.insert(rest.chars().take_while(|&c| c == '_' || c.is_alphanumeric()).collect());
        }
    }
    names
}

/// The test that a piece of code in a page names; a `*` at its end stands for several.
fn named(code: &str) -> Option<&str> {
    let name = code.rsplit([':', ' ']).next()?;
    let word = |c: char| c == '_' || c == '*' || c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_test = name.len() >= SHORTEST && name.contains('_') && name.chars().all(word);
    is_test.then_some(name)
}

fn missing(text: &str, functions: &BTreeSet<String>) -> Vec<String> {
    let exists = |name: &&str| match name.strip_suffix('*') {
        None => functions.contains(*name),
        Some(start) => functions.iter().any(|function| function.starts_with(start)),
    };
    // Every second piece stands between two backquotes.
    let names = text.lines().flat_map(|line| line.split('`').skip(1).step_by(2)).filter_map(named);
    names.filter(|name| !exists(name)).map(str::to_owned).collect()
}

#[test]
fn tests_that_pages_name_exist() {
    let tree = Tree::open().unwrap();
    let functions = functions(&tree);
    let mut found = Vec::new();
    for path in tree.files().filter(|path| PAGES.iter().any(|page| path.ends_with(page))) {
        let text = tree.text(path).unwrap().unwrap_or_default();
        found.extend(missing(&text, &functions).into_iter().map(|name| format!("{path}: {name}")));
    }
    crate::report("a page names only tests that exist", &found);
}

#[test]
fn a_name_without_a_test_is_found() {
    let functions = BTreeSet::from(["what_is_there_is_there".to_owned()]);
    let page = "| `a::what_is_there_is_there` | `x what_is_there_*` | `y::what_is_not_there` |";
    assert_eq!(missing(page, &functions), ["what_is_not_there"]);
}
