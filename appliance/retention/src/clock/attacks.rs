//! The matrix of attacks (W5), one test a line. In each of them the clock is never early:
//! `late()` is the time it lost, and must not be negative.

use super::machine::{DAY, HOUR, Machine, START};
use super::{ClockEvent, ClockState, Settable};
use model::RetentionTime;
use std::time::Duration;

const YEAR: i64 = 365 * 86_400;

fn jumped(clock: Settable, by: i64) -> ClockEvent {
    ClockEvent::Jumped { clock, by }
}

/// An hour of peace, then the attack, then an hour in which it must have had no effect but doubt.
fn attack(attack: impl FnOnce(&mut Machine)) -> Machine {
    let mut machine = Machine::new();
    machine.run(HOUR);
    assert_eq!((machine.news(), machine.late()), (vec![], 0));
    attack(&mut machine);
    machine.read();
    assert_eq!(machine.late(), 0, "the attack itself moves nothing");
    machine.run(HOUR);
    assert_eq!(machine.late(), 0, "locks go on being counted");
    machine
}

#[test]
fn the_hardware_clock_is_set_forward() {
    let mut machine = attack(|machine| machine.rtc = machine.rtc.map(|rtc| rtc + YEAR));
    assert_eq!(machine.news(), [jumped(Settable::Rtc, YEAR)]);
    machine.must_recover();
}

#[test]
fn the_hardware_clock_is_set_back() {
    let mut machine = attack(|machine| machine.rtc = machine.rtc.map(|rtc| rtc - YEAR));
    assert_eq!(machine.news(), [jumped(Settable::Rtc, -YEAR)]);
    machine.must_recover();
}

#[test]
fn the_system_time_is_set_forward() {
    let mut machine = attack(|machine| machine.wall += YEAR);
    assert_eq!(machine.news(), [jumped(Settable::Wall, YEAR)]);
    machine.must_recover();
}

#[test]
fn the_system_time_is_set_back() {
    let mut machine = attack(|machine| machine.wall -= YEAR);
    assert_eq!(machine.news(), [jumped(Settable::Wall, -YEAR)]);
    machine.must_recover();
}

#[test]
fn both_clocks_are_set_forward() {
    let mut machine = attack(|machine| {
        machine.wall += YEAR;
        machine.rtc = machine.rtc.map(|rtc| rtc + YEAR);
    });
    assert_eq!(machine.news(), [jumped(Settable::Wall, YEAR), jumped(Settable::Rtc, YEAR)]);
    machine.must_recover();
}

#[test]
fn both_clocks_are_set_back() {
    let mut machine = attack(|machine| {
        machine.wall -= YEAR;
        machine.rtc = machine.rtc.map(|rtc| rtc - YEAR);
    });
    assert_eq!(machine.news(), [jumped(Settable::Wall, -YEAR), jumped(Settable::Rtc, -YEAR)]);
    machine.must_recover();
}

#[test]
fn a_time_step_forward_is_no_credit_for_a_step_back_of_the_other_clock() {
    let mut machine = attack(|machine| machine.wall += YEAR);
    machine.rtc = machine.rtc.map(|rtc| rtc + YEAR);
    machine.run(HOUR);
    machine.wall -= YEAR;
    machine.run(HOUR);
    assert!(machine.late() >= 0);
    machine.doubt();
}

#[test]
fn an_unauthenticated_time_server_lies() {
    // Its answers reach the system time through the time service, and nothing else.
    let mut machine = attack(|machine| machine.wall += 10 * YEAR);
    assert_eq!(machine.news(), [jumped(Settable::Wall, 10 * YEAR)]);
    machine.must_recover();
}

#[test]
fn an_unauthenticated_time_server_lies_in_small_steps() {
    let mut machine = Machine::new();
    for _ in 0..12 {
        machine.wall += 60;
        machine.run(HOUR / 2);
    }
    let news = machine.news();
    assert!(
        matches!(news[..], [ClockEvent::Drifted { clock: Settable::Wall, by: 601.., .. }]),
        "{news:?}"
    );
    assert_eq!(machine.late(), 0);
}

#[test]
fn the_system_time_goes_to_and_fro() {
    let mut machine = Machine::new();
    for _ in 0..6 {
        machine.wall += 60;
        machine.run(HOUR);
        machine.wall -= 60;
        machine.run(HOUR);
    }
    let news = machine.news();
    assert!(matches!(news[..], [ClockEvent::Drifted { steps: 601.., .. }]), "{news:?}");
    assert!((0..=360).contains(&machine.late()), "{}", machine.late());
}

#[test]
fn authenticated_network_time_is_wrong_and_later() {
    let mut machine = attack(|machine| machine.network = Some(START + 10 * YEAR));
    assert_eq!(machine.news(), [], "it never advances anything, so it does not matter");
    assert_eq!(machine.clock.release_time(), Ok(machine.clock.value()));
}

#[test]
fn authenticated_network_time_is_earlier() {
    let mut machine = attack(|machine| machine.network = Some(START - YEAR));
    let news = machine.news();
    let hour = YEAR as u64 + HOUR;
    assert_eq!(news[0], ClockEvent::NetworkBehind { by: hour });
    assert_eq!(news.len(), 5, "on record every quarter of an hour: {news:?}");
    machine.run(2 * DAY);
    machine.doubt();
    machine.network = None;
    machine.must_recover();
}

#[test]
fn hardware_clock_and_network_time_lie_together() {
    let mut machine = attack(|machine| {
        machine.rtc = machine.rtc.map(|rtc| rtc + YEAR);
        machine.network = Some(START + YEAR);
    });
    assert_eq!(machine.news(), [jumped(Settable::Rtc, YEAR)]);
    machine.must_recover();
}

#[test]
fn every_clock_of_the_box_runs_fast_and_only_network_time_knows() {
    let mut machine = Machine::new();
    machine.network = Some(START);
    for _ in 0..5 * 60 {
        machine.run_at_rate(60, 1100);
        machine.rtc = machine.rtc.map(|rtc| rtc + 6);
    }
    let news = machine.news();
    assert!(matches!(news[0], ClockEvent::NetworkBehind { by: 601..620 }), "{news:?}");
    machine.doubt();
}

#[test]
fn the_virtual_machine_goes_back_to_an_older_snapshot_of_its_memory() {
    // Monotonic time and the whole process are as they were; the host's clocks are not.
    let mut machine = Machine::new();
    machine.run(HOUR);
    let (clock, monotonic) = (machine.clock.clone(), machine.monotonic);
    let ledger = machine.replayed.clone();
    machine.run(7 * DAY);
    (machine.clock, machine.monotonic, machine.replayed) = (clock, monotonic, ledger);
    machine.read();
    let week = 7 * DAY as i64;
    assert_eq!(machine.late(), week, "only late");
    assert_eq!(machine.news(), [jumped(Settable::Wall, week), jumped(Settable::Rtc, week)]);
    machine.must_recover();
}

#[test]
fn the_machine_is_suspended() {
    let mut machine = attack(|machine| {
        machine.wall += YEAR;
        machine.rtc = machine.rtc.map(|rtc| rtc + YEAR);
    });
    assert_eq!(machine.news().len(), 2, "cannot be told from two clocks that were set");
    machine.must_recover();
}

#[test]
fn the_machine_is_off_for_thirty_days() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    machine.clock.mark();
    let state = machine.clock.state().clone();
    machine.wall += 30 * DAY as i64;
    machine.rtc = machine.rtc.map(|rtc| rtc + 30 * DAY as i64);
    let events = machine.resume(state);
    let off = Some(30 * DAY as i64);
    assert!(
        matches!(events[..], [ClockEvent::Resumed { off_by_wall, off_by_rtc, .. }]
            if off_by_wall == off && off_by_rtc == off),
        "{events:?}"
    );
    machine.run(DAY);
    assert_eq!(machine.late(), 0, "no second of it counts, none since is lost");
    assert_eq!(machine.clock.lag_seconds(), 30 * DAY as i64, "and that is shown");
    assert_eq!(machine.clock.release_time(), Ok(machine.clock.value()), "information, not doubt");
}

#[test]
fn monotonic_time_runs_ten_percent_fast() {
    let mut machine = Machine::new();
    machine.run_at_rate(DAY, 1100);
    assert!((0..DAY as i64 / 100).contains(&machine.late()), "{}", machine.late());
    let news = machine.news();
    assert!(matches!(news[0], ClockEvent::Drifted { clock: Settable::Rtc, .. }), "{news:?}");
    machine.doubt();
}

#[test]
fn monotonic_time_runs_ten_percent_slow() {
    let mut machine = Machine::new();
    machine.run_at_rate(DAY, 900);
    assert!(machine.late() >= DAY as i64 / 10, "{}", machine.late());
    machine.doubt();
}

#[test]
fn monotonic_time_runs_fast_while_the_hardware_clock_is_gone() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    let rtc = machine.rtc.take();
    machine.run_at_rate(DAY, 1100);
    assert_eq!(machine.late(), DAY as i64, "it stood still");
    machine.rtc = rtc.map(|rtc| rtc + DAY as i64);
    machine.read();
    assert_eq!(machine.late(), 0, "and knows now how long that was");
    machine.doubt();
}

#[test]
fn the_hardware_clock_is_gone_and_comes_back_as_it_was() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    let rtc = machine.rtc.take();
    machine.run(HOUR);
    assert_eq!(machine.late(), HOUR as i64);
    assert_eq!(machine.news(), [ClockEvent::RtcMissing { seconds: 120 }]);
    machine.restart(0);
    machine.run(3 * DAY);
    machine.doubt();
    assert_eq!(machine.news(), [ClockEvent::RtcMissing { seconds: 120 }], "of the new process");
    machine.rtc = rtc.map(|rtc| rtc + HOUR as i64 + 3 * DAY as i64);
    machine.read();
    machine.must_recover();
}

#[test]
fn to_catch_up_is_not_to_agree() {
    let mut machine = Machine::new();
    let rtc = machine.rtc.take();
    machine.run(3 * DAY);
    machine.rtc = rtc.map(|rtc| rtc + 3 * DAY as i64);
    machine.read();
    let missing =
        [ClockEvent::RtcMissing { seconds: 120 }, ClockEvent::RtcBack { seconds: 3 * DAY - 60 }];
    assert_eq!((machine.late(), machine.news()), (0, missing.into()));
    machine.must_recover();
}

#[test]
fn a_hardware_clock_that_does_not_answer_for_a_minute_costs_nothing() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    let rtc = machine.rtc.take();
    machine.run(60);
    machine.rtc = rtc.map(|rtc| rtc + 60);
    machine.read();
    assert_eq!((machine.late(), machine.news()), (0, vec![]));
}

#[test]
fn an_older_state_is_resumed() {
    // That the ledger was rolled back is found by whoever kept a later signed head of it.
    let mut machine = Machine::new();
    machine.run(HOUR);
    let older = machine.replayed.clone();
    machine.run(30 * DAY);
    machine.resume(older);
    machine.run(HOUR);
    assert_eq!(machine.late(), 30 * DAY as i64, "only late");
}

#[test]
fn the_disks_go_to_a_box_with_a_later_clock() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    (machine.wall, machine.rtc) = (START + 20 * YEAR, Some(START + 20 * YEAR));
    machine.restart(0);
    machine.run(HOUR);
    assert_eq!(machine.late(), 0, "the repository's own clock goes on");
}

#[test]
fn the_disks_go_to_a_box_with_an_earlier_clock() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    (machine.wall, machine.rtc) = (0, Some(0));
    machine.restart(0);
    machine.run(HOUR);
    assert_eq!(machine.late(), 0);
}

#[test]
fn restarts_in_quick_succession_give_nothing() {
    let mut machine = Machine::new();
    for _ in 0..1000 {
        machine.run(7);
        machine.restart(60);
    }
    assert_eq!(machine.late(), 0);
    assert_eq!(machine.news(), []);
}

#[test]
fn a_doubt_does_not_end_by_restarting_with_an_older_state() {
    let mut machine = attack(|machine| machine.wall += YEAR);
    let until = machine.doubt().until;
    machine.run(DAY - 2 * HOUR);
    machine.restart(40 * DAY);
    assert_eq!(machine.doubt().until, until, "time off is not agreement");
}

#[test]
fn a_leap_second_is_inserted_and_one_is_left_out() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    machine.wall -= 1;
    machine.run(DAY);
    assert_eq!((machine.late(), machine.news()), (1, vec![]), "a second late, for ever");
    machine.wall += 1;
    machine.run(DAY);
    machine.wall += 1;
    machine.run(DAY);
    assert!((0..=1).contains(&machine.late()));
    assert_eq!(machine.news(), []);
}

#[test]
fn a_time_service_corrects_the_clock_after_boot() {
    for step in [-119, -30, 30, 119] {
        let mut machine = Machine::new();
        machine.run(60);
        machine.wall += step;
        machine.run(DAY);
        assert_eq!(machine.news(), [], "{step} s");
        assert!((0..=60).contains(&machine.late()), "{step} s: {} s late", machine.late());
    }
}

/// Runs over `second` and expects nothing to happen.
fn run_over(second: i64) {
    let mut machine = Machine::at(second - HOUR as i64);
    machine.run(2 * HOUR);
    assert_eq!(machine.clock.value(), RetentionTime(second + HOUR as i64));
    machine.restart(DAY);
    machine.run(HOUR);
    assert_eq!(machine.clock.value(), RetentionTime(second + 2 * HOUR as i64));
    assert_eq!(machine.news(), []);
}

#[test]
fn the_year_2038_when_31_bits_end() {
    run_over(1 << 31);
}

#[test]
fn the_year_2106_when_32_bits_end() {
    run_over(1 << 32);
}

#[test]
fn the_ends_of_64_bits_do_not_wrap() {
    let mut machine = Machine::at(i64::MAX - 100);
    machine.run(DAY);
    assert_eq!(machine.clock.value(), RetentionTime(i64::MAX));
    let mut machine = Machine::new();
    for (wall, rtc) in [(i64::MIN, i64::MAX), (i64::MAX, i64::MIN), (i64::MIN, i64::MIN), (0, 0)] {
        (machine.wall, machine.rtc, machine.network) = (wall, Some(rtc), Some(wall));
        machine.read();
        assert_eq!(machine.late(), 0);
    }
    machine.monotonic = Duration::MAX;
    machine.read();
    machine.resume(ClockState::begin(RetentionTime(i64::MIN)));
    machine.read();
    assert_eq!(machine.clock.value(), RetentionTime(i64::MIN));
}
