//! One LUN by both controllers: states that change under whoever reads, a cable that is pulled.

use crate::Test;
use crate::array::{Array, Disk, assert_equal, only_lun, run};
use lab::machine::lio::{AluaState, Client};
use san::{AccessState, Lun, PathState, PortalConfig, San};
use scsi::Role;
use std::time::{Duration, Instant};

pub const TRIALS: &[(&str, Test)] = &[
    ("both_controllers_are_paths_to_one_lun", both_controllers_are_paths_to_one_lun),
    ("states_are_followed_while_reading", states_are_followed_while_reading),
    ("a_pulled_cable_costs_no_read", a_pulled_cable_costs_no_read),
    ("a_mapping_without_writes_is_shown", a_mapping_without_writes_is_shown),
];

/// Ways by both controllers, with times short enough for a test.
async fn both(array: &Array, disk: &Disk) -> (San, Lun) {
    let way = |controller| {
        let mut way = PortalConfig {
            failover_after: Duration::from_secs(1),
            command_timeout: Duration::from_secs(5),
            ..array.way(disk, controller)
        };
        way.timers.ping_interval = Duration::from_secs(1);
        way.timers.ping_answer = Duration::from_secs(1);
        way
    };
    let san = San::login(vec![way(0), way(1)]).await.unwrap();
    let lun = only_lun(&san);
    (san, lun)
}

fn states(lun: &Lun) -> [PathState; 2] {
    let paths = lun.paths();
    [paths[0].state, paths[1].state]
}

/// Reads until the paths are as they should be: each change is noticed by its next command, or by
/// a look every few seconds.
async fn read_until(lun: &Lun, content: &[u8], wanted: [PathState; 2]) {
    let late = Instant::now() + Duration::from_secs(20);
    // A path on standby that another trial's pulled cable has hit stays lost until it is active.
    let fits = |(state, wanted): (&PathState, &PathState)| {
        state == wanted || (*wanted, *state) == (PathState::Passive, PathState::Lost)
    };
    while !states(lun).iter().zip(&wanted).all(fits) {
        assert!(Instant::now() < late, "{wanted:?}: {:?}", lun.paths());
        assert_equal(lun, content).await;
    }
    assert_equal(lun, content).await;
}

fn both_controllers_are_paths_to_one_lun(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    run(async {
        let (san, lun) = both(array, &disk).await;
        assert_eq!(lun.info().names[0].as_str(), disk.target.naa());
        assert_eq!(states(&lun), [PathState::Active; 2], "{:?}", lun.paths());
        let optimized = Some(AccessState::ActiveOptimized);
        assert!(lun.paths().iter().all(|path| path.access == optimized), "{:?}", lun.paths());
        assert_eq!(lun.write_protected(), Some(false));
        for _ in 0..4 {
            assert_equal(&lun, &disk.content).await;
        }
        assert!(lun.paths().iter().all(|path| path.counters.bytes_read > 2 << 20));
        lun.verify().await.unwrap();
        san.logout().await;
    });
}

fn states_are_followed_while_reading(array: &Array, name: &str) {
    use AluaState::{NonOptimized, Optimized, Standby, Unavailable};
    use PathState::{Active, Passive, Ready};
    let disk = array.disk(name, |_, _| {});
    run(async {
        let (san, lun) = both(array, &disk).await;
        for (first, second, wanted) in [
            (NonOptimized, Optimized, [Ready, Active]),
            (Optimized, NonOptimized, [Active, Ready]),
            (Standby, NonOptimized, [Passive, Active]),
            (Optimized, Unavailable, [Active, Passive]),
            (Optimized, Optimized, [Active, Active]),
        ] {
            // The better one first: there is always a path.
            let mut order = [(0, first), (1, second)];
            order.sort_by_key(|(_, state)| *state as u8);
            for (controller, state) in order {
                array.lio.alua(&disk.target, controller, state).unwrap();
            }
            read_until(&lun, &disk.content, wanted).await;
        }
        lun.verify().await.unwrap();
        san.logout().await;
    });
    let sent = array.lio.arrived(&disk.initiator).unwrap();
    let listed = |code: u8| Role::SourceDisk.opcodes().any(|listed| listed == code);
    assert!(sent.iter().all(|(code, _)| listed(*code)), "{sent:02x?}");
    assert!(sent.iter().any(|(code, action)| *code == 0xa3 && action & 0x1f == 0x0a));
}

fn a_pulled_cable_costs_no_read(array: &Array, name: &str) {
    let disk = array.disk(name, |_, _| {});
    run(async {
        let (san, lun) = both(array, &disk).await;
        assert_equal(&lun, &disk.content).await;
        array.lio.link(0, false).unwrap();
        read_until(&lun, &disk.content, [PathState::Lost, PathState::Active]).await;
        array.lio.link(0, true).unwrap();
        read_until(&lun, &disk.content, [PathState::Active; 2]).await;
        san.logout().await;
    });
}

fn a_mapping_without_writes_is_shown(array: &Array, name: &str) {
    let disk = array.disk(name, |target, initiator| {
        target.client = Some(Client {
            name: initiator.into(),
            lun: 5,
            write_protected: true,
            account: None,
            mutual: None,
        });
    });
    run(async {
        let (san, lun) = both(array, &disk).await;
        assert_eq!(lun.write_protected(), Some(true));
        assert_equal(&lun, &disk.content).await;
        san.logout().await;
    });
}
