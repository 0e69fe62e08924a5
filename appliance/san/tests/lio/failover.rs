//! Two paths to one LUN, and everything that happens to one of them while it is being read.

use crate::Test;
use crate::array::{Array, Disk, assert_equal, only_lun, run};
use crate::reading::Reading;
use iscsi::Timers;
use lab::machine::lio::{AluaState, Client};
use san::{AccessState, Lun, PathInfo, PathState, PortalConfig, San};
use std::time::{Duration, Instant};

/// The trial that cuts everybody off.
pub const PULLING: &str = "a_cable_pulled_under_a_read_loses_nothing";

pub const TRIALS: &[(&str, Test)] = &[
    ("both_controllers_lead_to_one_lun", both_controllers_lead_to_one_lun),
    ("a_state_that_changes_under_a_read_moves_it", a_state_that_changes_under_a_read_moves_it),
    (PULLING, a_cable_pulled_under_a_read_loses_nothing),
    ("an_unavailable_path_logs_in_beside_another", an_unavailable_path_logs_in_beside_another),
    ("a_write_protected_mapping_is_seen", a_write_protected_mapping_is_seen),
];

/// How long anything may take that the array or our own clocks have to notice.
const SOON: Duration = Duration::from_secs(15);

async fn both(array: &Array, disk: &Disk) -> (San, Lun) {
    let timers = Timers {
        ping_interval: Duration::from_millis(500),
        ping_answer: Duration::from_millis(500),
        ..Timers::default()
    };
    let way = |controller| PortalConfig {
        timers,
        failover_after: Duration::from_secs(5),
        ..array.way(disk, controller)
    };
    let san = San::login(vec![way(0), way(1)]).await.unwrap();
    let lun = only_lun(&san);
    assert_eq!(lun.paths().len(), 2, "{:?}", san.skipped());
    (san, lun)
}

/// The path by a controller.
fn path(array: &Array, lun: &Lun, controller: usize) -> PathInfo {
    let portal = array.lio.portals()[controller].to_string();
    lun.paths().into_iter().find(|path| path.portal == portal).unwrap()
}

/// Waits until a path is in a state.
async fn until(array: &Array, lun: &Lun, controller: usize, state: PathState) {
    until_one_of(array, lun, controller, &[state]).await;
}

/// Waits until a path is in one of several states.
async fn until_one_of(array: &Array, lun: &Lun, controller: usize, states: &[PathState]) {
    let limit = Instant::now() + SOON;
    while !states.contains(&path(array, lun, controller).state) {
        assert!(Instant::now() < limit, "not {states:?} in {SOON:?}: {:?}", lun.paths());
        tokio::time::sleep(Duration::from_millis(20)).await; // polls the path's state
    }
}

fn both_controllers_lead_to_one_lun(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    run(async {
        let (san, lun) = both(array, &disk).await;
        assert_eq!(lun.info().names[0].as_str(), disk.target.naa());
        let groups = [0, 1].map(|controller| path(array, &lun, controller).group);
        assert_eq!(groups, [Some(1), Some(2)]);
        assert_equal(&lun, &disk.content).await;
        let bytes = [0, 1].map(|controller| path(array, &lun, controller).counters.bytes_read);
        assert!(bytes.iter().all(|&bytes| bytes > 0), "equal paths share the work: {bytes:?}");
        san.logout().await;
    });
}

fn a_state_that_changes_under_a_read_moves_it(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    run(async {
        let (san, lun) = both(array, &disk).await;
        let reading = Reading::start(&lun, &disk.content);
        for (state, access) in [
            (AluaState::NonOptimized, AccessState::ActiveNonOptimized),
            (AluaState::Standby, AccessState::Standby),
            (AluaState::Unavailable, AccessState::Unavailable),
        ] {
            for away in [0, 1] {
                // The good path may be known as bad until somebody asks again.
                array.lio.alua(&disk.target, 1 - away, AluaState::Optimized).unwrap();
                array.lio.alua(&disk.target, away, state).unwrap();
                // A read that was in the array when the state changed may count as a loss first.
                let passive = [PathState::Passive, PathState::Lost];
                let rests = if access.reads() { &[PathState::Ready][..] } else { &passive };
                until_one_of(array, &lun, away, rests).await;
                until(array, &lun, 1 - away, PathState::Active).await;
                assert_eq!(path(array, &lun, away).access, Some(access));
                // What was on its way may still arrive.
                reading.goes_on().await;
                let before = path(array, &lun, away).counters.bytes_read;
                reading.goes_on().await;
                let after = path(array, &lun, away).counters.bytes_read;
                assert_eq!(after, before, "nothing by the worse path");
            }
        }
        reading.end().await;
        san.logout().await;
    });
    let sent = array.lio.arrived(&disk.initiator).unwrap();
    assert!(sent.iter().all(|(code, _)| *code != 0xa4), "states are never set: {sent:02x?}");
    let asked = sent.iter().filter(|command| **command == (0xa3, 0x0a)).count();
    assert!(asked < 200, "an array that is failing over is not asked all the time: {asked}");
}

fn a_cable_pulled_under_a_read_loses_nothing(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    run(async {
        let (san, lun) = both(array, &disk).await;
        let reading = Reading::start(&lun, &disk.content);
        for pulled in [0, 1] {
            reading.goes_on().await;
            array.lio.link(pulled, false).unwrap();
            until(array, &lun, pulled, PathState::Lost).await;
            reading.goes_on().await;
            array.lio.link(pulled, true).unwrap();
            until(array, &lun, pulled, PathState::Active).await;
        }
        reading.end().await;
        san.logout().await;
    });
}

fn an_unavailable_path_logs_in_beside_another(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    array.lio.alua(&disk.target, 0, AluaState::Unavailable).unwrap();
    run(async {
        let (san, lun) = both(array, &disk).await;
        assert_eq!(path(array, &lun, 0).state, PathState::Passive);
        assert_equal(&lun, &disk.content).await;
        assert_eq!(path(array, &lun, 0).counters.bytes_read, 0);
        // It is compared with the other one before it counts.
        array.lio.alua(&disk.target, 0, AluaState::Optimized).unwrap();
        until(array, &lun, 0, PathState::Active).await;
        array.lio.alua(&disk.target, 1, AluaState::Unavailable).unwrap();
        assert_equal(&lun, &disk.content).await;
        san.logout().await;
    });
}

fn a_write_protected_mapping_is_seen(array: &Array, name: &str) {
    let disk = array.disk(name, |target, initiator| {
        let name = initiator.to_owned();
        let (account, mutual) = (None, None);
        target.client = Some(Client { name, lun: 0, write_protected: true, account, mutual });
    });
    let free = array.disk(&format!("{name}_not"), |_, _| {});
    run(async {
        for (disk, protected) in [(&disk, true), (&free, false)] {
            let san = San::login(vec![array.way(disk, 0)]).await.unwrap();
            assert_eq!(only_lun(&san).write_protected(), Some(protected));
            san.logout().await;
        }
    });
}
