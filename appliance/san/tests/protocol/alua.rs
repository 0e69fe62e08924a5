//! An array with two controllers, each of which changes its state by the script, in the middle of
//! reads: with a word (a unit attention) or without one.

use super::reading::Reading;
use super::{assert_harmless, assert_reads, config, spec, start, until};
use fakes::target::{Disk, FakeTarget, Rule, Spec, Then, When, sense};
use san::{Lun, PathInfo, PathState, PortalConfig, San};
use scsi::AccessState;
use std::time::Duration;

const READ: When = When::Command(0x88);
/// Of SPC-4, as the script has them.
const OPTIMIZED: u8 = 0;
const NON_OPTIMIZED: u8 = 1;
const STANDBY: u8 = 2;
const UNAVAILABLE: u8 = 3;
const OFFLINE: u8 = 0xe;
const TRANSITIONING: u8 = 0xf;

/// Path 0 leads to group 1, path 1 to group 2.
struct Array {
    controllers: [FakeTarget; 2],
    disk: Disk,
}

impl Array {
    async fn start(states: [u8; 2]) -> Self {
        let (plain, disk) = spec();
        let (one, two) = ((1, states[0]), (2, states[1]));
        let with = |groups| start(Spec { groups, ..plain.clone() });
        let controllers = [with(vec![one, two]).await, with(vec![two, one]).await];
        Self { controllers, disk }
    }

    async fn login(&self) -> (San, Lun) {
        let way = |controller: &FakeTarget| PortalConfig {
            busy_patience: Duration::from_secs(10),
            ..config(controller.address())
        };
        let san = San::login(self.controllers.iter().map(way).collect()).await.unwrap();
        let luns = san.luns();
        assert_eq!((luns.len(), luns[0].paths().len()), (1, 2), "{:?}", san.skipped());
        (san, luns[0].clone())
    }

    /// Both controllers tell it of both.
    fn set(&self, controller: usize, state: u8) {
        let group = if controller == 0 { 1 } else { 2 };
        self.controllers.iter().for_each(|one| one.set_state(group, state));
    }

    /// The next read by a controller is answered with a unit attention.
    fn announce(&self, controller: usize, ascq: u8) {
        let attention = Then::Status(2, sense(6, 0x2a, ascq));
        self.controllers[controller].rule(Rule::once(READ, attention));
    }

    /// The path to a controller; which one was found first says nothing.
    fn path(&self, lun: &Lun, controller: usize) -> PathInfo {
        let portal = self.controllers[controller].address().to_string();
        lun.paths().into_iter().find(|path| path.portal == portal).unwrap()
    }

    fn asked_for_states(&self) -> usize {
        self.controllers.iter().map(|one| one.count(0xa3)).sum()
    }

    fn assert_harmless(&self) {
        self.controllers.iter().for_each(assert_harmless);
    }
}

/// Waits for the state of one path while the other one serves, and then for reads by that alone.
async fn moves_over(array: &Array, lun: &Lun, reading: &Reading, from: usize, access: AccessState) {
    let path = |lun, at| array.path(lun, at);
    until(&format!("path {from} is {access}"), || {
        let [away, here] = [from, 1 - from].map(|at| path(lun, at));
        let rests = if access.reads() { PathState::Ready } else { PathState::Passive };
        away.access == Some(access) && away.state == rests && here.state == PathState::Active
    })
    .await;
    // What was on its way may still arrive.
    reading.goes_on().await;
    let before = path(lun, from).counters.bytes_read;
    reading.goes_on().await;
    assert_eq!(path(lun, from).counters.bytes_read, before, "nothing by the worse path");
}

/// A path that still serves, but worse, says so with 06/2A/06 only.
#[tokio::test]
async fn states_that_are_announced_are_asked_for_and_followed() {
    let array = Array::start([OPTIMIZED, NON_OPTIMIZED]).await;
    let (san, lun) = array.login().await;
    assert_eq!([0, 1].map(|at| array.path(&lun, at).state), [PathState::Active, PathState::Ready]);
    let reading = Reading::start(&lun, &array.disk.content);
    reading.goes_on().await;
    let asked = array.asked_for_states();
    for from in [0, 1, 0] {
        array.set(1 - from, OPTIMIZED);
        array.set(from, NON_OPTIMIZED);
        array.announce(from, 0x06);
        moves_over(&array, &lun, &reading, from, AccessState::ActiveNonOptimized).await;
    }
    let asked = array.asked_for_states() - asked;
    assert!((3..20).contains(&asked), "asked when told, not all the time: {asked}");
    reading.end().await;
    san.logout().await;
    array.assert_harmless();
}

/// Nobody announces it: a read is refused (02/04/0A, 0B or 0C), and goes by the other path.
#[tokio::test]
async fn states_that_are_not_announced_cost_no_read() {
    let array = Array::start([OPTIMIZED, NON_OPTIMIZED]).await;
    let (san, lun) = array.login().await;
    let reading = Reading::start(&lun, &array.disk.content);
    for (state, access) in [
        (STANDBY, AccessState::Standby),
        (UNAVAILABLE, AccessState::Unavailable),
        (OFFLINE, AccessState::Offline),
        (TRANSITIONING, AccessState::Transitioning),
    ] {
        array.set(1, OPTIMIZED);
        array.set(0, state);
        moves_over(&array, &lun, &reading, 0, access).await;
        array.set(0, OPTIMIZED);
        array.set(1, NON_OPTIMIZED);
        array.announce(1, 0x06);
        moves_over(&array, &lun, &reading, 1, AccessState::ActiveNonOptimized).await;
    }
    reading.end().await;
    san.logout().await;
    array.assert_harmless();
}

/// 06/2A/07: an implicit transition failed. The states are asked for, whatever they are now.
#[tokio::test]
async fn a_transition_that_failed_is_looked_into() {
    let array = Array::start([OPTIMIZED, NON_OPTIMIZED]).await;
    let (san, lun) = array.login().await;
    let asked = array.asked_for_states();
    array.announce(0, 0x07);
    assert_reads(&lun, &array.controllers[0], &array.disk).await;
    until("the states are asked for", || array.asked_for_states() > asked).await;
    assert_eq!(array.path(&lun, 0).state, PathState::Active, "nothing has changed");
    // It failed half-way: the first controller serves nothing, the second one is no better.
    array.set(0, UNAVAILABLE);
    array.announce(0, 0x07);
    assert_reads(&lun, &array.controllers[1], &array.disk).await;
    until("the path is not used", || array.path(&lun, 0).state == PathState::Passive).await;
    assert_eq!(array.path(&lun, 1).state, PathState::Active);
    san.logout().await;
    array.assert_harmless();
}

/// An array that moves a LUN: for a while nobody serves it, then the other controller does.
#[tokio::test]
async fn a_read_waits_until_a_transition_of_all_paths_has_ended() {
    let array = Array::start([OPTIMIZED, STANDBY]).await;
    let (san, lun) = array.login().await;
    array.set(0, TRANSITIONING);
    array.set(1, TRANSITIONING);
    let reading = tokio::spawn({
        let lun = lun.clone();
        async move { lun.read(0, 1 << 20).await }
    });
    let is = |at, access| array.path(&lun, at).access == Some(access);
    until("it is noticed", || is(0, AccessState::Transitioning)).await;
    assert!(!reading.is_finished());
    array.set(0, STANDBY);
    array.set(1, OPTIMIZED);
    let bytes = reading.await.unwrap().unwrap();
    assert!(bytes[..] == array.disk.content[..], "the bytes differ");
    assert_eq!(array.path(&lun, 1).state, PathState::Active);
    assert_eq!(array.path(&lun, 0).state, PathState::Passive);
    san.logout().await;
    array.assert_harmless();
}

/// A standby path answers TEST UNIT READY with NOT READY, as everything that needs the medium: it
/// is neither asked for that nor read, and yet it is there.
#[tokio::test]
async fn a_standby_path_logs_in_without_test_unit_ready() {
    let array = Array::start([STANDBY, OPTIMIZED]).await;
    let standby = &array.controllers[0];
    let (san, lun) = array.login().await;
    assert_eq!((array.path(&lun, 0).state, san.sessions().len()), (PathState::Passive, 2));
    assert_reads(&lun, &array.controllers[1], &array.disk).await;
    assert_eq!((standby.count(0x00), standby.count(0x88)), (0, 0));
    // Before it counts it is compared with the other one, and proves to be the same.
    array.set(0, OPTIMIZED);
    array.announce(1, 0x06);
    assert_reads(&lun, &array.controllers[1], &array.disk).await;
    until("it is used", || array.path(&lun, 0).state == PathState::Active).await;
    array.set(1, STANDBY);
    assert_reads(&lun, standby, &array.disk).await;
    assert_eq!(standby.count(0xa4), 0, "states are never set");
    san.logout().await;
    array.assert_harmless();
}
