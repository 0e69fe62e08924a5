//! Officers as people meet them: `holdfast-warden officer` as one process after another.

use crate::daemon::{Daemon, as_daemon, point, runs};
use crate::stage::Stage;
use model::{ErrorKind, LockMode};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use warden::wire::Request;

const DAY: u64 = 86_400;

fn officer(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_holdfast-warden"))
        .arg("officer")
        .args(arguments)
        .output()
        .unwrap()
}

fn right(arguments: &[&str]) -> String {
    let output = officer(arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn wrong(arguments: &[&str]) -> String {
    let output = officer(arguments);
    assert!(!output.status.success(), "{arguments:?} was accepted");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A repository whose officers have made their keys themselves.
struct Office {
    stage: Stage,
    socket: String,
    carla: PathBuf,
    dora: PathBuf,
}

impl Office {
    fn new(test: &str) -> Option<Self> {
        let key = |place: &Path, name: &str| place.join(format!("{name}.key"));
        let stage = Stage::prepared(test, |place| {
            let make = |name| right(&["new", "--key", &text(&key(place, name)), "--name", name]);
            vec![make("carla"), make("dora")]
        })?;
        let place = stage.place.path();
        let (carla, dora) = (key(place, "carla"), key(place, "dora"));
        let socket = text(&stage.socket());
        Some(Self { stage, socket, carla, dora })
    }

    /// Origin and challenge.
    fn challenge(&self) -> (String, String) {
        let told = right(&["challenge", "--socket", &self.socket]);
        let words: Vec<&str> = told.split_whitespace().collect();
        let [_, origin, _, challenge] = *words else { panic!("{told}") };
        (origin.to_owned(), challenge.to_owned())
    }

    fn sign(&self, key: &Path, (origin, challenge): &(String, String), number: u32) -> String {
        let id = point(number).to_string();
        let start = ["sign", "--key", &text(key), "--origin", origin, "--challenge", challenge];
        let action = ["override", "--point", &id, "--reason", "a test"];
        right(&[&start[..], &action].concat())
    }

    fn submit(&self, challenge: &str, signatures: &[&str], number: u32) -> Vec<String> {
        let mut words = vec!["submit", "--socket", &self.socket, "--challenge", challenge];
        signatures.iter().for_each(|signature| words.extend(["--signature", *signature]));
        let id = point(number).to_string();
        words.extend(["override", "--point", &id, "--reason", "a test"]);
        words.into_iter().map(str::to_owned).collect()
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn words(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn deleted(daemon: &Daemon, number: u32) -> bool {
    let delete = Request::Delete { points: vec![point(number)], keep: runs(&[]) };
    match as_daemon(|| daemon.ask(delete)) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
            false
        }
    }
}

#[test]
fn two_officers_end_a_governance_lock_and_nobody_else() {
    let Some(office) = Office::new("two officers") else { return };
    let daemon = Daemon::of(&office.stage);
    as_daemon(|| {
        daemon.back_up(1, 1, (LockMode::Governance, DAY)).unwrap();
        daemon.back_up(2, 3, (LockMode::Governance, DAY)).unwrap();
        daemon.back_up(3, 5, (LockMode::Compliance, DAY)).unwrap();
    });
    assert!(!deleted(&daemon, 1));

    // One signature; the same officer twice; one for another point; one over another challenge.
    let asked = office.challenge();
    let carla = office.sign(&office.carla, &asked, 1);
    let told = wrong(&words(&office.submit(&asked.1, &[&carla], 1)));
    println!("one signature: {told}");
    let asked = office.challenge();
    let carla = office.sign(&office.carla, &asked, 1);
    println!("twice the same: {}", wrong(&words(&office.submit(&asked.1, &[&carla, &carla], 1))));
    let asked = office.challenge();
    let (carla, dora) =
        (office.sign(&office.carla, &asked, 1), office.sign(&office.dora, &asked, 2));
    let told = wrong(&words(&office.submit(&asked.1, &[&carla, &dora], 1)));
    assert!(told.contains("signature is wrong"), "{told}");
    let (old, asked) = (office.challenge(), office.challenge());
    let (carla, dora) = (office.sign(&office.carla, &old, 1), office.sign(&office.dora, &asked, 1));
    let told = wrong(&words(&office.submit(&asked.1, &[&carla, &dora], 1)));
    assert!(told.contains("signature is wrong"), "{told}");
    for number in 1..4 {
        assert!(!deleted(&daemon, number));
    }

    // Two for a compliance lock: never.
    let asked = office.challenge();
    let (carla, dora) =
        (office.sign(&office.carla, &asked, 3), office.sign(&office.dora, &asked, 3));
    println!("compliance: {}", wrong(&words(&office.submit(&asked.1, &[&carla, &dora], 3))));
    assert!(!deleted(&daemon, 3));

    // Two over the same: it ends, for this point, once.
    let asked = office.challenge();
    let (carla, dora) =
        (office.sign(&office.carla, &asked, 1), office.sign(&office.dora, &asked, 1));
    let submit = office.submit(&asked.1, &[&carla, &dora], 1);
    assert!(right(&words(&submit)).contains("done"));
    let told = wrong(&words(&submit));
    assert!(told.contains("challenge"), "a replay: {told}");
    assert!(deleted(&daemon, 1) && !deleted(&daemon, 2) && !deleted(&daemon, 3));
}
