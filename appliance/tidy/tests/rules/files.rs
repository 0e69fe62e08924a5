//! Shape of the files: width, ends, and that something uses each of them.

use std::collections::BTreeSet;
use std::path::PathBuf;
use tidy::{Tree, modules, source};

/// Columns of a line of code.
const WIDTH_MAX: usize = 100;
/// What has lines of code. Go goes by gofmt, tables in documents and data may be wider.
const CODE: &[&str] = &["rs", "py", "sh", "js", "ts", "tsx", "css", "html"];

#[test]
fn lines_of_code_are_at_most_100_columns_wide() {
    let tree = Tree::open().unwrap();
    let mut found = Vec::new();
    for path in CODE.iter().flat_map(|extension| tree.below("", extension)) {
        let text = tree.text(path).unwrap().unwrap_or_default();
        let wide = text.lines().enumerate().filter(|(_, line)| line.chars().count() > WIDTH_MAX);
        found.extend(wide.map(|(number, _)| format!("{path}:{}", number + 1)));
    }
    crate::report("lines of code fit into 100 columns", &found);
}

#[test]
fn text_files_end_in_one_newline_and_have_no_trailing_blanks() {
    let tree = Tree::open().unwrap();
    let mut found = Vec::new();
    for path in tree.files() {
        let Some(text) = tree.text(path).unwrap() else { continue };
        if !text.is_empty() && (!text.ends_with('\n') || text.ends_with("\n\n")) {
            found.push(format!("{path}: must end in exactly one newline"));
        }
        let blank =
            |line: &str| line.ends_with(' ') || line.ends_with('\t') || line.ends_with('\r');
        // In Rust only a text can still have one behind rustfmt, and then it means it.
        let free = path.ends_with(".rs");
        let lines = text.lines().enumerate().filter(|(_, line)| !free && blank(line));
        found.extend(lines.map(|(number, _)| format!("{path}:{}: trailing blanks", number + 1)));
    }
    crate::report("text files end in one newline, lines in none but that", &found);
}

#[test]
fn every_rust_file_is_compiled() {
    let tree = Tree::open().unwrap();
    let mut reached: BTreeSet<PathBuf> = BTreeSet::new();
    for package in tree.members().unwrap() {
        for target in &package.targets {
            reached.extend(modules::reachable(target.src_path.as_std_path()));
        }
    }
    let found: Vec<String> = tree
        .below("", "rs")
        .filter(|path| !reached.contains(&tree.root().join(path)))
        .map(|path| format!("{path}: no `mod` names it"))
        .collect();
    crate::report("every Rust file belongs to a crate", &found);
}

#[test]
fn every_crate_has_content() {
    let tree = Tree::open().unwrap();
    let mut found = Vec::new();
    for package in tree.members().unwrap() {
        for target in &package.targets {
            let text = std::fs::read_to_string(&target.src_path).unwrap();
            let code = source::without_texts(&text);
            if !["mod", "fn", "struct", "enum"].iter().any(|word| has(&code, word)) {
                found.push(format!("{}: the {} target has no content", package.name, target.name));
            }
            if !text.trim_start().starts_with("//!") && !target.is_custom_build() {
                found.push(format!("{}: says nothing about itself", target.src_path));
            }
        }
    }
    crate::report("a crate exists when it has content, and says what it is", &found);
}

fn has(code: &str, word: &str) -> bool {
    !source::lines_with(code, word).is_empty()
}
