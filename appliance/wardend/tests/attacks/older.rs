//! Older, forged and exchanged states of the repository.

use crate::daemon::{Daemon, as_daemon, id};
use crate::stage::Stage;
use ledger::NoteSigner;
use model::LockMode;
use std::path::Path;
use std::process::Command;

fn locked(daemon: &Daemon, number: u32, serial: u32) {
    as_daemon(|| daemon.back_up(number, serial, (LockMode::Compliance, 1000)).unwrap());
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(done.success());
}

#[test]
fn an_older_ledger_with_its_own_head_is_refused_by_the_witness() {
    let Some(mut stage) = Stage::new("older ledger") else { return };
    let daemon = Daemon::of(&stage);
    locked(&daemon, 1, 1);
    let (ledger, older) = (stage.repository().join("ledger"), stage.place.path().join("older"));
    copy(&ledger, &older);
    locked(&daemon, 2, 3);
    stage.kill();
    let newer = stage.place.path().join("newer");
    std::fs::rename(&ledger, &newer).unwrap();
    copy(&older, &ledger);
    let told = stage.start_fails();
    assert!(told.contains("set back to an older state"), "{told}");
    // Nothing was changed; with the newer one it goes on.
    std::fs::remove_dir_all(&ledger).unwrap();
    std::fs::rename(&newer, &ledger).unwrap();
    stage.start();
    locked(&daemon, 3, 5);
}

#[test]
fn a_head_that_another_key_signed_is_refused() {
    let Some(mut stage) = Stage::new("forged head") else { return };
    locked(&Daemon::of(&stage), 1, 1);
    stage.kill();
    let head = stage.repository().join("ledger/head");
    let right = std::fs::read_to_string(&head).unwrap();
    let body = right.split_once("\n\n").unwrap().0;
    let origin = ledger::origin(&id(&stage.repository()).0);
    let forger = NoteSigner::new(&origin, &[0xee; 32]).unwrap();
    std::fs::write(&head, forger.sign(&format!("{body}\n"))).unwrap();
    stage.start_fails();
    std::fs::write(&head, &right).unwrap();
    stage.start();
}

#[test]
fn a_changed_leaf_is_refused_and_never_cut_away() {
    let Some(mut stage) = Stage::new("changed leaf") else { return };
    locked(&Daemon::of(&stage), 1, 1);
    stage.kill();
    let leaves = stage.repository().join("ledger/leaves");
    let right = std::fs::read(&leaves).unwrap();
    let text = String::from_utf8_lossy(&right).into_owned();
    let at = text
        .find("compliance")
        .map(|_| right.windows(10).position(|window| window == b"compliance").unwrap());
    let mut wrong = right.clone();
    wrong[at.unwrap()] ^= 1;
    std::fs::write(&leaves, &wrong).unwrap();
    stage.start_fails();
    assert_eq!(std::fs::read(&leaves).unwrap(), wrong, "the evidence was changed");
    std::fs::write(&leaves, &right[..right.len() - 1]).unwrap();
    stage.start_fails();
    std::fs::write(&leaves, &right).unwrap();
    stage.start();
}

#[test]
fn a_lost_signing_key_goes_on_under_another_one_on_record() {
    let Some(mut stage) = Stage::new("another signer") else { return };
    let daemon = Daemon::of(&stage);
    locked(&daemon, 1, 1);
    let before = String::from_utf8(stage.status().stdout).unwrap();
    stage.kill();
    std::fs::remove_file(stage.state().join("signer")).unwrap();
    stage.start();
    let after = String::from_utf8(stage.status().stdout).unwrap();
    assert!(after.contains("\"signer_changed\":true"), "{after}");
    let signer = |status: &str| status.split("\"signer\":\"").nth(1).map(str::to_owned);
    assert_ne!(signer(&before), signer(&after));
    locked(&daemon, 2, 3);
}

#[test]
fn a_second_warden_on_the_same_repository_is_refused() {
    let Some(mut stage) = Stage::new("second warden") else { return };
    let told = stage.start_fails();
    assert!(told.contains("another warden answers"), "{told}");
    let mut elsewhere = stage.command("serve");
    let socket = stage.place.path().join("run/other");
    let done = elsewhere.arg("--socket").arg(socket).output().unwrap();
    let told = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(!done.status.success(), "{told}");
    assert!(stage.alive());
}
