//! `vmfs check`: everything that does not hold.

use super::list::lines;
use super::volume::Opened;
use crate::output::{Outcome, clean};
use serde_json::json;
use std::fmt::Write as _;
use vmfs::{CheckReport, Problem};

/// `vmfs check`: succeeds when everything holds.
pub(super) fn check(opened: &Opened) -> Outcome {
    let mut problems = Vec::new();
    let report = opened.volume.check_all(|problem| problems.push(problem));
    if let Err(error) = opened.volume.check_unchanged() {
        problems.push(Problem { path: String::new(), error });
    }
    let found: Vec<_> = problems
        .iter()
        .map(|problem| json!({ "path": problem.path, "error": model::chain(&problem.error) }))
        .collect();
    let info = opened.volume.info();
    let json = json!({
        "uuid": info.uuid,
        "label": info.label,
        "directories": report.directories,
        "files": report.files,
        "others": report.others,
        "blocks": report.leaves,
        "pointer_blocks": report.pointer_blocks,
        "unknown_blocks": report.unknown,
        "problems": found,
    });
    let text = text(opened, &report, &problems);
    Outcome::new(text, &json).succeeded(problems.is_empty())
}

fn text(opened: &Opened, report: &CheckReport, problems: &[Problem]) -> String {
    let info = opened.volume.info();
    let CheckReport { directories, files, others, leaves, pointer_blocks, unknown } = *report;
    let mut text = lines(&[
        ("volume", format!("{} ({})", info.label, info.uuid)),
        ("looked at", format!("{directories} folders, {files} files, {others} links and RDMs")),
        ("blocks", format!("{leaves}, and {pointer_blocks} of pointers")),
        ("unknown", format!("{unknown} blocks whose place is not understood")),
    ]);
    for Problem { path, error } in problems {
        let path = if path.is_empty() { "/" } else { path };
        let _ = writeln!(text, "PROBLEM: {}", clean(&format!("{path}: {}", model::chain(error))));
    }
    let verdict = match problems.len() {
        0 => "Everything holds.",
        _ if opened.live => {
            "Not everything holds. If hosts write to this volume, check again: what stays is \
             damage."
        }
        _ => "Not everything holds.",
    };
    text + verdict + "\n"
}
