//! Follows `mod name;` from a crate's roots, to find the files that nothing compiles.

use crate::source::{code, without_texts};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// All files that belong to the target with this root, the root included.
#[must_use]
pub fn reachable(root: &Path) -> BTreeSet<PathBuf> {
    follow(root, without_texts)
}

/// Those of them that are compiled outside of tests too.
#[must_use]
pub fn shipped(root: &Path) -> BTreeSet<PathBuf> {
    follow(root, code)
}

/// Follows the declarations that `seen` leaves of each file.
fn follow(root: &Path, seen: fn(&str) -> String) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    let mut open = vec![(root.to_owned(), true)];
    while let Some((file, is_root)) = open.pop() {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        let children = children(&file, is_root, &text, &seen(&text));
        if found.insert(file) {
            open.extend(children.into_iter().map(|child| (child, false)));
        }
    }
    found
}

/// The files that `file` declares as modules in `code`; `text` is all of it.
fn children(file: &Path, is_root: bool, text: &str, code: &str) -> Vec<PathBuf> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let owns_folder = is_root || file.file_name().is_some_and(|name| name == "mod.rs");
    let home = match file.file_stem() {
        Some(stem) if !owns_folder => folder.join(stem),
        _ => folder.to_owned(),
    };
    let plain = code
        .lines()
        .filter_map(declared)
        .flat_map(|name| [home.join(format!("{name}.rs")), home.join(name).join("mod.rs")]);
    let paths = text.lines().filter_map(|line| {
        let path = line.trim().strip_prefix("#[path = \"")?.strip_suffix("\"]")?;
        Some(folder.join(path))
    });
    plain.chain(paths).filter(|path| path.is_file()).collect()
}

/// The name in `mod name;`, whatever its visibility.
fn declared(line: &str) -> Option<&str> {
    let body = line.trim().strip_suffix(';')?;
    let (before, name) = body.rsplit_once("mod ").map(|(a, b)| (a.trim(), b.trim()))?;
    let visible = before.is_empty() || before.starts_with("pub");
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (visible && plain && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_of_tests_are_not_shipped() {
        let folder = std::env::temp_dir().join(format!("tidy-modules-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        write("lib.rs", "mod a;\n#[cfg(test)]\nmod tests;\n");
        write("a.rs", "");
        write("tests.rs", "");
        write("dead.rs", "");
        let names = |files: BTreeSet<PathBuf>| -> Vec<String> {
            let name = |path: PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
            files.into_iter().map(name).collect()
        };
        let root = folder.join("lib.rs");
        let found = (names(reachable(&root)), names(shipped(&root)));
        std::fs::remove_dir_all(&folder).unwrap();
        assert_eq!(found.0, ["a.rs", "lib.rs", "tests.rs"]);
        assert_eq!(found.1, ["a.rs", "lib.rs"]);
    }

    #[test]
    fn declarations_are_told_from_inline_modules() {
        assert_eq!(declared("    pub(crate) mod wire;"), Some("wire"));
        assert_eq!(declared("mod plan;"), Some("plan"));
        assert_eq!(declared("mod tests {"), None);
        assert_eq!(declared("let model = 3;"), None);
    }
}
