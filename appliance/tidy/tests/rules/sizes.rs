//! The ten longest files and functions, to look at when reviewing. A report, not a rule: some
//! functions want to be long, and splitting one to satisfy a number is worse than leaving it.

use tidy::{Tree, source};

const SHOWN: usize = 10;

#[test]
fn the_longest_files_and_functions_are_listed() {
    let tree = Tree::open().unwrap();
    let mut files = Vec::new();
    let mut functions = Vec::new();
    for path in tree.below("", "rs") {
        let text = tree.text(path).unwrap().unwrap_or_default();
        files.push((text.lines().count(), path.to_owned()));
        functions.extend(functions_of(path, &source::code(&text)));
    }
    for (kind, mut list) in [("file", files), ("function", functions)] {
        list.sort_by(|a, b| b.cmp(a));
        for (lines, place) in list.iter().take(SHOWN) {
            println!("longest {kind:<8} {lines:>5} lines  {place}");
        }
        assert!(!list.is_empty());
    }
}

/// Length and place of every function, told by the indentation that rustfmt gives: it ends at the
/// first line that closes a brace at the column where it began.
fn functions_of(path: &str, code: &str) -> Vec<(usize, String)> {
    let lines: Vec<&str> = code.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let Some(name) = function_name(line) else { continue };
        let column = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(column));
        let end = lines[start..].iter().position(|line| line.trim_end() == close);
        found.extend(end.map(|length| (length + 1, format!("{path}:{} {name}", start + 1))));
    }
    found
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifiers = before.split_whitespace().all(|word| {
        word.starts_with("pub") || ["const", "async", "unsafe", "extern", "in"].contains(&word)
    });
    let name = after.split(['(', '<']).next()?;
    (qualifiers && !name.is_empty() && !line.trim_end().ends_with(';')).then_some(name)
}

#[test]
fn functions_are_measured() {
    let code =
        "impl A {\n    pub(crate) async fn long<T>(\n        a: T,\n    ) {\n        x\n    }\n}\n";
    assert_eq!(functions_of("a.rs", code), [(5, "a.rs:2 long".to_owned())]);
}
