//! Both verifiers on ledgers that no warden writes, and on arbitrary bytes: never a crash, always
//! one of the three exit statuses, and the same one.

use crate::corpus::Corpus;
use crate::ledgers::{Leaves, id};
use crate::tool::{change, copy, essence, ours, second};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

type Step = (&'static str, Box<dyn Fn(&mut Leaves)>);

fn base(base: Value, add: Value, drop: Value) -> Value {
    json!({"base": base, "add": add, "drop": drop})
}

fn event(name: &'static str, event: Value) -> Step {
    (name, Box::new(move |leaves| leaves.push(&event)))
}

/// A point with 1000 segments, of which every second one stands in `reach` leaves.
fn long_reach(leaves: &mut Leaves) {
    (1..=40).for_each(|serial| leaves.segment(serial));
    let odd: Vec<[u32; 2]> = (0..20).map(|n| [2 * n + 1, 2 * n + 1]).collect();
    leaves.reach(1, &json!(odd[..10]), &json!([]));
    leaves.reach(1, &json!(odd[10..]), &json!([]));
    leaves.commit(1, &base(Value::Null, json!([]), json!([])), 2000);
    leaves.reach(2, &json!([]), &json!([[1, 9]]));
    leaves.reach(2, &json!([[2, 2], [40, 40]]), &json!([]));
    leaves.commit(2, &base(json!(id(1)), json!([[4, 4]]), json!([[11, 11]])), 1500);
}

fn steps() -> Vec<Step> {
    let all = json!([[1, u32::MAX]]);
    let point = id(1);
    vec![
        ("nothing", Box::new(|_| ())),
        ("reach without commit", Box::new(|l| l.reach(7, &json!([[1, 1]]), &json!([])))),
        ("all serials", {
            let all = all.clone();
            Box::new(move |l| l.commit(3, &base(Value::Null, all.clone(), json!([])), 1))
        }),
        (
            "a base that is not there",
            Box::new(|l| {
                l.commit(3, &base(json!(id(9)), json!([]), json!([])), 1);
            }),
        ),
        ("a point twice", Box::new(|l| l.commit(1, &base(Value::Null, json!([]), json!([])), 1))),
        event("compaction", json!({"type": "compact", "from": [[1, 9]], "to": [[38, 40]]})),
        event(
            "compaction in a circle",
            json!({"type": "compact", "from": [[1, 9]], "to": [[1, 9]]}),
        ),
        event("compaction of all", json!({"type": "compact", "from": all, "to": [[1, 1]]})),
        event(
            "all segments deleted",
            json!({"type": "delete", "points": [], "segments": all,
            "keys": []}),
        ),
        event(
            "a locked point deleted",
            json!({"type": "delete", "points": [point], "segments": [],
            "keys": []}),
        ),
        event(
            "a point of nobody deleted",
            json!({"type": "delete", "points": [id(8)],
            "segments": [], "keys": []}),
        ),
        (
            "deleted after its time",
            Box::new(|l| {
                l.pass(5000);
                l.push(
                    &json!({"type": "delete", "points": [id(1)], "segments": [[1, 3]], "keys": []}),
                );
                l.segment(2);
            }),
        ),
        event("runs that fall", json!({"type": "compact", "from": [[3, 1]], "to": [[1, 1]]})),
        event("a run from zero", json!({"type": "compact", "from": [[0, 1]], "to": [[1, 1]]})),
        event("unknown event", json!({"type": "amnesty", "point": point})),
        event("no type", json!({"point": point})),
        event("override", json!({"type": "override", "point": point, "reason": "x", "by": ["a"]})),
        event("unhold", json!({"type": "unhold", "point": point, "matter": "x", "by": []})),
        event("shorter lock", json!({"type": "extend", "point": point, "until": 3})),
        event("volume 0", json!({"type": "volume", "number": 0})),
        event("volume 9", json!({"type": "volume", "number": 9})),
        event(
            "segment of 2^40 bytes",
            json!({"type": "segment", "serial": 60, "volume": 0,
            "class": "data", "cohort": 0, "bytes": 1u64 << 40, "seal": hex::encode([7; 32]),
            "epoch": 0}),
        ),
        event(
            "segment 0",
            json!({"type": "segment", "serial": 0, "volume": 0, "class": "data",
            "cohort": 0, "bytes": 8192, "seal": hex::encode([7; 32]), "epoch": 0}),
        ),
        (
            "the clock goes back",
            Box::new(|l| {
                l.pass(-10);
                l.push(&json!({"type": "overrides-off"}));
            }),
        ),
        ("not UTF-8", Box::new(|l| l.data(b"\xff\xfe"))),
        ("not JSON", Box::new(|l| l.data(b"{"))),
        ("a list", Box::new(|l| l.data(b"[1]"))),
        ("deep JSON", Box::new(|l| l.data("[".repeat(60_000).as_bytes()))),
        (
            "a name twice",
            Box::new(|l| {
                l.data(br#"{"v":2,"v":2,"clock":1000,"wall":5,"event":{"type":"alarm"}}"#);
            }),
        ),
        (
            "another version",
            Box::new(|l| {
                l.data(br#"{"v":3,"clock":1000,"wall":5,"event":{"type":"overrides-off"}}"#);
            }),
        ),
    ]
}

#[test]
fn both_agree_on_ledgers_that_no_warden_writes() {
    let Some(second) = second("both_agree_on_ledgers_that_no_warden_writes") else { return };
    let mut different = Vec::new();
    for (name, step) in steps() {
        let temp = tempfile::tempdir().unwrap();
        let mut leaves = Leaves::new();
        long_reach(&mut leaves);
        step(&mut leaves);
        leaves.write(temp.path(), None);
        let [one, other] = [ours(), second.clone()].map(|tool| tool.check(temp.path(), None));
        if name == "nothing" {
            assert_eq!(one.1["points"][1]["locked_until"], 1500, "{:#}", one.1);
            assert_eq!(one.1["ledger"]["consistent"], true, "{:#}", one.1);
        }
        if essence(&one) != essence(&other) {
            let [one, other] =
                [one, other].map(|all| format!("{} {}", essence(&all), all.1["findings"]));
            different.push(format!("{name}:\n  {one}\n  {other}"));
        }
    }
    assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
}

/// The time is what would be exceeded many times over if it grew with the square of the points.
#[test]
fn twenty_thousand_points_are_replayed_in_a_moment() {
    let temp = tempfile::tempdir().unwrap();
    let mut leaves = Leaves::new();
    for point in 1..=20_000 {
        leaves.segment(point);
        let before = if point > 1 { json!(id(point - 1)) } else { Value::Null };
        let drop = if point > 50 { json!([[point - 50, point - 50]]) } else { json!([]) };
        leaves.commit(point, &base(before, json!([[point, point]]), drop), 1);
        if point > 10_000 {
            let (old, gone) = (id(point - 10_000), point - 10_000);
            leaves.push(&json!({"type": "delete", "points": [old], "segments": [[gone, gone]],
                "keys": []}));
        }
    }
    leaves.write(temp.path(), None);
    let begun = Instant::now();
    let said = ours().run(&[&"head", &temp.path()]);
    let took = begun.elapsed();
    println!("20,000 points, 50,000 leaves: {took:?}");
    assert_eq!(said.code, 0, "{said:?}");
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn a_head_that_claims_far_too_much_is_told() {
    for size in [5, 1 << 60, u64::MAX] {
        let temp = tempfile::tempdir().unwrap();
        Leaves::new().write(temp.path(), Some(size));
        let (code, value) = ours().check(temp.path(), None);
        assert!(code == 1 && value["ledger"]["consistent"] == false, "{size}: {value:#}");
        let said = ours().run(&[&"proof", &temp.path(), &"4"]);
        assert_eq!(said.code, 1, "{said:?}");
    }
}

/// Files of a repository that can be changed.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found.retain(|path| fs::metadata(path).unwrap().len() > 0);
    found.sort();
    found
}

/// Bytes changed anywhere, with the checksum of their block set right or not.
#[test]
fn whatever_stands_in_the_files_there_is_a_verdict() {
    let temp = tempfile::tempdir().unwrap();
    let whole = temp.path().join("whole");
    let _corpus = Corpus::build(&whole, false);
    let paths: Vec<_> =
        files(&whole).iter().map(|p| p.strip_prefix(&whole).unwrap().to_owned()).collect();
    let change_of = (
        any::<prop::sample::Index>(),
        any::<u16>(),
        any::<prop::sample::Index>(),
        prop::collection::vec(any::<u8>(), 1..9),
        any::<bool>(),
    );
    let changes = prop::collection::vec(change_of, 1..6);
    let config =
        ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(changes in changes)| {
        let dir = temp.path().join("changed");
        copy(&whole, &dir);
        for (file, near, block, bytes, right) in &changes {
            change(&dir.join(&paths[file.index(paths.len())]), |all| {
                let blocks = all.len().div_ceil(4096);
                let begin = block.index(blocks) * 4096;
                let end = (begin + 4096).min(all.len());
                let at = begin + usize::from(*near) % if near % 2 == 0 { 160 } else { 4096 };
                for (target, byte) in all[..end].iter_mut().skip(at).zip(bytes) {
                    *target = *byte;
                }
                if *right && end == begin + 4096 {
                    for (last, length) in [(4092, 4092), (124, 124)] {
                        let crc = crc32fast::hash(&all[begin..begin + length]).to_le_bytes();
                        all[begin + last..begin + last + 4].copy_from_slice(&crc);
                    }
                }
            });
        }
        let begun = Instant::now();
        for words in [&["check"][..], &["check", "--full"], &["head"]] {
            let mut arguments: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&words[0], &dir];
            arguments.extend(words[1..].iter().map(|word| word as &dyn AsRef<std::ffi::OsStr>));
            let said = ours().run(&arguments);
            let verdict = (0..=2).contains(&said.code) && !said.err.contains("panicked");
            prop_assert!(verdict, "{:?}", said);
        }
        prop_assert!(begun.elapsed() < Duration::from_secs(60));
        fs::remove_dir_all(&dir).unwrap();
    });
}
