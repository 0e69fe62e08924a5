//! `holdfast-verify` on a real repository and on damaged copies of it; and the second
//! implementation, `tests/verify.py`, on all the same.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // a test stops at what it did not expect

mod corpus;
mod damage;
mod history;
mod hostile;
mod ledgers;
mod past;
#[allow(dead_code)] // the other tests need the rest
mod tool;

use corpus::{CELLS, CHUNK, Corpus, KEY, content};
use std::fs;
use std::path::Path;
use tool::{Tool, change, copy, essence, forge, key_file, ours, replace, second, segment};

const BLOCK: usize = 4096;

type Damage = (&'static str, Box<dyn Fn(&Path)>);

/// One bit of segment `serial`, at a place counted from its beginning, or its end if negative.
fn bit(name: &'static str, serial: u32, at: i64) -> Damage {
    (
        name,
        Box::new(move |dir| {
            change(&segment(dir, serial), |bytes| {
                let at = if at < 0 {
                    bytes.len() - usize::try_from(-at).unwrap()
                } else {
                    usize::try_from(at).unwrap()
                };
                bytes[at] ^= 4;
            })
        }),
    )
}

fn file(name: &'static str, path: &'static str, how: fn(&mut Vec<u8>)) -> Damage {
    (name, Box::new(move |dir| change(&dir.join(path), how)))
}

fn damages() -> Vec<Damage> {
    let gone = |path: &'static str| -> Box<dyn Fn(&Path)> {
        Box::new(move |dir| drop(fs::remove_file(dir.join(path))))
    };
    vec![
        bit("segment header", 1, 9),
        bit("unused part of a segment header", 1, 3000),
        bit("record header", 1, 4096 + 50),
        bit("chunk", 1, 4096 + 500),
        bit("padding of a record", 2, 3 * 4096 - 1),
        bit("map node", 2, 4096 + 200),
        bit("root", 3, 4096 + 200),
        bit("reach", 4, 4096 + 130),
        bit("manifest", 5, 4096 + 130),
        bit("last trailer", 1, -4000),
        bit("second table", 1, -2 * 4096),
        bit("padding of the second table", 1, -4097),
        bit("parity", 1, -3 * 4096),
        bit("footer of metadata", 3, 2 * 4096 + 60),
        bit("header of a shared data segment", 6, 4096 + 10),
        ("segment missing", gone("segments/00000001.segment")),
        ("metadata missing", gone("segments/00000005.segment")),
        (
            "segment exchanged",
            Box::new(|dir| {
                replace(&segment(dir, 1), &fs::read(segment(dir, 6)).unwrap());
            }),
        ),
        (
            "segment cut",
            Box::new(|dir| change(&segment(dir, 1), |bytes| bytes.truncate(5 * BLOCK))),
        ),
        (
            "both trailers",
            Box::new(|dir| {
                change(&segment(dir, 3), |bytes| {
                    let end = bytes.len() - BLOCK;
                    bytes[end + 20] ^= 1;
                    bytes[3 * BLOCK + 20] ^= 1;
                })
            }),
        ),
        (
            "three blocks of a row",
            Box::new(|dir| {
                change(&segment(dir, 1), |bytes| {
                    for block in 2..5 {
                        bytes[block * BLOCK + 77] ^= 8;
                    }
                })
            }),
        ),
        file("header, first copy", "repository", |bytes| bytes[40] ^= 1),
        file("header, second copy", "repository", |bytes| bytes[BLOCK + 40] ^= 1),
        file("both headers", "repository", |bytes| {
            bytes[40] ^= 1;
            bytes[BLOCK + 40] ^= 1;
        }),
        file("ledger below the head", "ledger/leaves", |bytes| bytes[900] ^= 1),
        file("ledger cut", "ledger/leaves", |bytes| bytes.truncate(bytes.len() - 40)),
        file("torn leaf behind the head", "ledger/leaves", |bytes| bytes.extend(b"HFLF torn")),
        file("head's root", "ledger/head", |bytes| bytes[60] ^= 1),
        file("head's signature", "ledger/head", |bytes| {
            let at = bytes.len() - 20;
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        }),
        ("head missing", gone("ledger/head")),
        ("head by another key", Box::new(forge)),
        ("foreign file", Box::new(|dir| fs::write(dir.join("notes.txt"), "x").unwrap())),
    ]
}

#[test]
fn a_whole_repository_is_complete() {
    for encrypted in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("r");
        let _corpus = Corpus::build(&dir, encrypted);
        let key = key_file(temp.path(), &KEY);
        let (code, value) = ours().check(&dir, Some(&key).filter(|_| encrypted).map(|v| &**v));
        assert_eq!((code, &value["findings"]), (0, &serde_json::json!([])), "{value:#}");
        assert_eq!(value["points"].as_array().unwrap().len(), 3);
        assert_eq!(value["points"][2]["holds"], serde_json::json!(["case 7"]));
    }
}

#[test]
fn every_damage_is_found() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("r");
    let _corpus = Corpus::build(&dir, false);
    for (name, damage) in damages() {
        let damaged = temp.path().join("damaged");
        copy(&dir, &damaged);
        damage(&damaged);
        let (code, value) = ours().check(&damaged, None);
        assert_eq!(code != 0, name != "foreign file", "{name}: {value:#}");
        fs::remove_dir_all(damaged).unwrap();
    }
}

#[test]
fn a_damaged_segment_is_repaired_up_to_the_strength_of_the_parity() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("r");
    let _corpus = Corpus::build(&dir, false);
    let whole = fs::read(segment(&dir, 1)).unwrap();
    let out = temp.path().join("repaired");
    for (wrong, repairable) in [(0..0, true), (2..3, true), (2..4, true), (2..5, false)] {
        let mut bytes = whole.clone();
        for block in wrong.clone() {
            bytes[block * BLOCK + 9] ^= 1;
        }
        replace(&segment(&dir, 1), &bytes);
        let said = ours().run(&[&"repair", &dir, &"1", &out]);
        assert_eq!(said.code == 0, repairable, "{wrong:?}: {said:?}");
        assert_eq!(out.exists(), repairable);
        if repairable {
            assert!(fs::read(&out).unwrap() == whole);
            fs::remove_file(&out).unwrap();
        }
        assert!(fs::read(segment(&dir, 1)).unwrap() == bytes, "the damaged file is not touched");
    }
    let said = ours().run(&[&"repair", &dir, &"1", &dir.join("x")]);
    assert!(said.code == 2 && said.err.contains("lies in the repository"), "{said:?}");
}

#[test]
fn both_verifiers_agree() {
    let Some(second) = second("both_verifiers_agree") else { return };
    for encrypted in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        let dir = temp.path().join("r");
        let corpus = Corpus::build(&dir, encrypted);
        let key = key_file(temp.path(), &KEY);
        let keys: &[Option<&Path>] = if encrypted { &[Some(&key), None] } else { &[None] };
        images_agree(&corpus, &second, temp.path(), keys[0]);
        let nothing: Damage = ("nothing", Box::new(|_| {}));
        let mut all: Vec<Damage> = damages();
        all.push(nothing);
        if encrypted {
            all.push((
                "key missing",
                Box::new(|d| fs::remove_file(d.join("keys/00000001")).unwrap()),
            ));
            all.push(file("key", "keys/00000001", |bytes| bytes[60] ^= 1));
            all.push(file("master key", "keys/master", |bytes| bytes[90] ^= 1));
        }
        let mut different = Vec::new();
        for (name, damage) in all {
            let damaged = temp.path().join("damaged");
            copy(&dir, &damaged);
            damage(&damaged);
            for key in keys {
                let (one, other) = (ours().check(&damaged, *key), second.check(&damaged, *key));
                if essence(&one) != essence(&other) {
                    different.push(format!(
                        "{name}, key {}: {:#}\n{:#}",
                        key.is_some(),
                        one.1,
                        other.1
                    ));
                }
            }
            fs::remove_dir_all(damaged).unwrap();
        }
        assert!(different.is_empty(), "{} differ: {}", different.len(), different.join("\n"));
    }
}

fn images_agree(corpus: &Corpus, second: &Tool, temp: &Path, key: Option<&Path>) {
    for (point, image) in &corpus.images {
        let mut expected = vec![0; usize::try_from(CELLS * u64::from(CHUNK)).unwrap()];
        for (cell, number) in image.iter().filter(|(_, number)| **number != 0) {
            let at = usize::try_from(cell * u64::from(CHUNK)).unwrap();
            expected[at..at + CHUNK as usize].copy_from_slice(&content(*number));
        }
        for (name, tool) in [("ours", &ours()), ("second", second)] {
            let out = temp.join(name);
            let said = tool.extract(&corpus.dir, (&point.to_string(), 0), &out, (key, false));
            assert_eq!(said.code, 0, "{name}: {said:?}");
            assert!(fs::read(&out).unwrap() == expected, "{name}: another image");
            fs::remove_file(out).unwrap();
        }
    }
}
