//! Both verifiers on a repository with a past, made by the real store, and on damaged copies of it.

use crate::damage::{self, Damage};
use crate::history::{History, KEY};
use crate::tool::{self, Tool, copy, essence, key_file, ours, sealing, second};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use tempfile::TempDir;

/// A repository of each kind, never changed; tests damage copies.
struct Corpus {
    temp: TempDir,
    history: History,
    /// The same after a segment was damaged beyond its parity and a scrub found it.
    quarantined: PathBuf,
    spare: u32,
    key: Option<PathBuf>,
}

static CORPORA: LazyLock<[Corpus; 2]> = LazyLock::new(|| [false, true].map(Corpus::build));

impl Corpus {
    fn build(encrypted: bool) -> Self {
        let _alone = sealing();
        let temp = tempfile::tempdir().unwrap();
        let mut history = History::build(temp.path(), encrypted);
        let whole = temp.path().join("whole");
        copy(&history.dir, &whole);
        // The ledger is appended to: the copy must have one of its own.
        for name in ["ledger/leaves", "volumes/1/ledger/leaves"] {
            tool::change(&whole.join(name), |_| ());
        }
        let spare = history.quarantine();
        let quarantined = std::mem::replace(&mut history.dir, whole);
        let key = encrypted.then(|| key_file(temp.path(), &KEY));
        Self { temp, history, quarantined, spare, key }
    }

    fn key(&self) -> Option<&Path> {
        self.key.as_deref()
    }
}

fn both(dir: &Path, key: Option<&Path>, second: &Tool) -> [(i32, Value); 2] {
    [ours().check(dir, key), second.check(dir, key)]
}

#[test]
fn both_agree_on_a_repository_with_a_past() {
    let corpora = &*CORPORA;
    let Some(second) = second("both_agree_on_a_repository_with_a_past") else { return };
    for corpus in corpora {
        let [one, other] = both(&corpus.history.dir, corpus.key(), &second);
        assert_eq!((one.0, &one.1["findings"]), (0, &json!([])), "{:#}", one.1);
        assert_eq!(essence(&one), essence(&other));
        let points = one.1["points"].as_array().unwrap();
        assert_eq!(points.len(), corpus.history.points.len());
        assert_eq!(points[0]["holds"], json!(["case 3", "case 7"]));
        let full = [&ours(), &second]
            .map(|tool| essence(&tool.check_with(&corpus.history.dir, corpus.key(), &["--full"])));
        assert_eq!(full, [essence(&one), essence(&one)]);
    }
}

#[test]
fn both_extract_what_the_disks_held() {
    let corpora = &*CORPORA;
    let tools = [Some(ours()), second("both_extract_what_the_disks_held")];
    for corpus in corpora {
        let (temp, history) = (tempfile::tempdir().unwrap(), &corpus.history);
        let out = temp.path().join("image");
        for tool in tools.iter().flatten() {
            for point in &history.points {
                for disk in 0..point.disks() {
                    let id = point.id.to_string();
                    let said = tool.extract(&history.dir, (&id, disk), &out, (corpus.key(), false));
                    assert_eq!(said.code, 0, "{said:?}");
                    assert!(fs::read(&out).unwrap() == point.image(disk), "{id}, disk {disk}");
                    fs::remove_file(&out).unwrap();
                }
            }
        }
    }
}

#[test]
fn both_agree_on_a_quarantine() {
    let corpora = &*CORPORA;
    let Some(second) = second("both_agree_on_a_quarantine") else { return };
    for corpus in corpora {
        let [one, other] = both(&corpus.quarantined, corpus.key(), &second);
        assert_eq!((one.0, &one.1["segments"]["damaged"]), (1, &json!([corpus.spare])));
        assert_eq!(essence(&one), essence(&other));
        let last = corpus.history.points.last().unwrap().id.to_string();
        for point in one.1["points"].as_array().unwrap() {
            assert_eq!(point["complete"] == true, point["id"] != *last);
        }
    }
}

/// Every kind of damage: the same verdict, the same segments and points.
#[test]
fn both_agree_on_damaged_copies() {
    let corpora = &*CORPORA;
    let Some(second) = second("both_agree_on_damaged_copies") else { return };
    for corpus in corpora {
        let damages = damage::all(&corpus.history);
        let next = AtomicUsize::new(0);
        let work = || {
            let mut different = Vec::new();
            while let Some(damage) = damages.get(next.fetch_add(1, Ordering::Relaxed)) {
                different.extend(differences(corpus, damage, &second));
            }
            different
        };
        let different: Vec<String> = thread::scope(|scope| {
            let threads = [scope.spawn(work), scope.spawn(work)];
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert!(different.is_empty(), "{} differ:\n{}", different.len(), different.join("\n"));
    }
}

/// What both say otherwise about one damaged copy, with the key and without.
fn differences(corpus: &Corpus, damage: &Damage, second: &Tool) -> Vec<String> {
    let temp = tempfile::tempdir_in(corpus.temp.path()).unwrap();
    let dir = temp.path().join("damaged");
    copy(&corpus.history.dir, &dir);
    (damage.how)(&dir);
    let mut keys = vec![corpus.key()];
    keys.extend(corpus.key().map(|_| None));
    let mut different = Vec::new();
    for key in keys {
        let [one, other] = both(&dir, key, second);
        let told = |what: &str| format!("{}, key {}: {what}", damage.name, key.is_some());
        if (one.0 != 0) != damage.found {
            different.push(told(&format!("exit status {}: {:#}", one.0, one.1)));
        }
        if essence(&one) != essence(&other) {
            let [one, other] = [(&one, &one.1), (&other, &other.1)]
                .map(|(all, value)| format!("{} {}", essence(all), value["findings"]));
            different.push(told(&format!("\n  {one}\n  {other}")));
        }
    }
    different
}

/// With `--holes` both give the same bytes and name the same ones as lost; without, both refuse
/// when something is lost, or give what the disk held.
#[test]
fn both_extract_the_same_from_damaged_copies() {
    let corpus = &CORPORA[0];
    let Some(second) = second("both_extract_the_same_from_damaged_copies") else { return };
    let point = &corpus.history.points[0];
    let (id, truth) = (point.id.to_string(), point.image(0));
    let (mut holes, mut whole) = (0, 0);
    for damage in damage::all(&corpus.history).iter().filter(|damage| damage.reads) {
        let temp = tempfile::tempdir_in(corpus.temp.path()).unwrap();
        let dir = temp.path().join("damaged");
        copy(&corpus.history.dir, &dir);
        (damage.how)(&dir);
        let [one, other] = [(ours(), "one"), (second.clone(), "other")].map(|(tool, name)| {
            let out = temp.path().join(name);
            let said = tool.extract(&dir, (&id, 0), &out, (None, true));
            let strict = tool.extract(&dir, (&id, 0), &out.with_extension("x"), (None, false));
            assert_eq!(strict.code == 0, out.with_extension("x").exists(), "{strict:?}");
            (said.code, lost(&said.out), fs::read(&out).ok(), strict.code)
        });
        assert!(one == other, "{}: {:?} {:?}", damage.name, (one.0, one.1), (other.0, other.1));
        let (_, lost, bytes, strict) = one;
        if lost.is_empty() && strict == 0 {
            whole += 1;
            assert!(bytes.as_ref() == Some(&truth), "{}", damage.name);
        } else if let Some(bytes) = bytes {
            holes += 1;
            let wrong = bytes.iter().zip(&truth).filter(|(a, b)| a != b).all(|(a, _)| *a == 0);
            assert!(wrong && bytes.len() == truth.len(), "{}: not the truth", damage.name);
        }
    }
    assert!(holes > 5 && whole > 5, "{holes} with holes, {whole} whole");
}

/// What was left as zeros, by the lines that say so.
fn lost(out: &str) -> Vec<String> {
    let told = out.lines().filter(|line| line.starts_with("bytes ["));
    told.map(|line| line.split_inclusive(')').next().unwrap().to_owned()).collect()
}

#[test]
fn both_prove_the_same_by_the_ledger() {
    let corpus = &CORPORA[0];
    let Some(second) = second("both_prove_the_same_by_the_ledger") else { return };
    let (temp, dir, later) =
        (tempfile::tempdir().unwrap(), &corpus.history.dir, &corpus.quarantined);
    let tools = [ours(), second];
    for index in ["0", "1", "17", "40", "999999"] {
        let [one, other] = tools.each_ref().map(|tool| tool.run(&[&"proof", dir, &index]));
        assert_eq!((one.code, other.code), if index == "999999" { (2, 2) } else { (0, 0) });
        assert!(one.code != 0 || one.out == other.out, "{index}: {one:?} {other:?}");
    }
    let said = tools[0].run(&[&"head", dir]);
    assert_eq!(said.out, fs::read_to_string(dir.join("ledger/head")).unwrap());
    let head = temp.path().join("head");
    let wrong = said.out.replacen('=', "A", 1);
    for (text, on, code) in [(&said.out, later, 0), (&said.out, dir, 0), (&wrong, dir, 2)] {
        fs::write(&head, text).unwrap();
        let codes = tools.each_ref().map(|tool| tool.run(&[&"consistency", on, &head]).code);
        assert_eq!(codes, [code, code], "{text}");
    }
    // A head that knows more than the ledger: it was cut back.
    fs::copy(later.join("ledger/head"), &head).unwrap();
    let codes = tools.each_ref().map(|tool| tool.run(&[&"consistency", dir, &head]).code);
    assert_eq!(codes, [1, 1]);
}
