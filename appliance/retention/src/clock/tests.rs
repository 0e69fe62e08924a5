use super::machine::{DAY, HOUR, Machine, START};
use super::*;

#[test]
fn fractions_of_seconds_are_not_lost() {
    let mut machine = Machine::new();
    let begin = machine.monotonic;
    for tick in 1..=10_000u64 {
        machine.monotonic = begin + Duration::from_millis(tick * 700);
        machine.wall = START + i64::try_from(tick * 700 / 1000).unwrap();
        machine.rtc = Some(machine.wall);
        machine.read();
    }
    assert_eq!(machine.clock.value(), RetentionTime(START + 7000));
}

#[test]
fn a_lock_is_counted_from_where_the_value_may_catch_up_to() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    assert_eq!(machine.clock.view().lock_from(), machine.clock.value());
    let rtc = machine.rtc.take();
    machine.run(HOUR);
    assert_eq!(machine.clock.value(), RetentionTime(START + HOUR as i64), "stands still");
    let from = machine.clock.view().lock_from();
    assert_eq!(from, RetentionTime(START + 2 * HOUR as i64));
    machine.rtc = rtc.map(|rtc| rtc + HOUR as i64);
    machine.read();
    assert_eq!(machine.clock.value(), from, "caught up");
    machine.monotonic += Duration::from_millis(1);
    machine.read();
    assert_eq!(machine.clock.view().lock_from().0, from.0 + 1, "rounded up");
}

#[test]
fn time_that_a_slow_clock_lost_makes_no_lock_longer_for_ever() {
    let mut machine = Machine::new();
    for _ in 0..200 {
        machine.run(HOUR);
        machine.rtc = machine.rtc.map(|rtc| rtc - 1);
        let view = machine.clock.view();
        assert!(view.lock_from().0 - view.value().0 <= 60);
    }
    assert!((180..=205).contains(&machine.late()), "{}", machine.late());
    assert_eq!(machine.news(), []);
}

#[test]
fn a_late_reading_changes_nothing() {
    let mut machine = Machine::new();
    machine.run(HOUR);
    let early = machine.reading();
    machine.run(HOUR);
    let state = machine.clock.state().clone();
    let wrong = Reading { wall: WallTime(0), rtc: None, network: Some(WallTime(0)), ..early };
    assert_eq!(machine.clock.advance(wrong), []);
    assert_eq!(machine.clock.state(), &state);
    machine.run(HOUR);
    assert_eq!((machine.late(), machine.news()), (0, vec![]));
}

#[test]
fn a_box_without_a_hardware_clock_runs_and_one_that_gets_it_goes_on() {
    let mut machine = Machine::new();
    machine.rtc = None;
    machine.resume(ClockState::begin(RetentionTime(START)));
    machine.run(HOUR);
    assert_eq!((machine.late(), machine.news()), (0, vec![]));
    assert!(!machine.clock.state().rtc_seen());
    machine.rtc = Some(5);
    let events = machine.clock.advance(machine.reading());
    assert_eq!(events, [ClockEvent::RtcFound { rtc: WallTime(5) }]);
    assert!(machine.clock.state().rtc_seen());
    assert_eq!(machine.clock.release_time(), Ok(machine.clock.value()));
}

#[test]
fn a_small_step_forward_is_no_credit_for_later() {
    let mut machine = Machine::new();
    machine.rtc = None;
    machine.resume(ClockState::begin(RetentionTime(START)));
    machine.wall += 100;
    machine.read();
    for _ in 0..500 {
        machine.wall += 1;
        machine.monotonic += Duration::from_millis(1100);
        machine.read();
    }
    assert_eq!(machine.clock.value(), RetentionTime(START + 500), "the system time is slower");
    assert_eq!(machine.news(), [], "within the tolerance");
}

#[test]
fn disturbances_of_one_kind_fill_no_ledger_and_doubt_covers_the_last_one() {
    let mut machine = Machine::new();
    let mut last = 0;
    for _ in 0..60 {
        machine.wall += 1000;
        machine.read();
        last = machine.clock.value().0;
        machine.run(60);
    }
    assert_eq!(machine.news().len(), 4, "one in a quarter of an hour");
    assert!(machine.doubt().until.0 >= last + DAY as i64);
}

#[test]
fn a_doubt_is_readable_and_survives_text() {
    let mut machine = Machine::new();
    machine.wall -= 7200;
    machine.run(60);
    let doubt = machine.doubt();
    assert_eq!(
        doubt.to_string(),
        format!(
            "the clocks are in doubt (the system time jumped back by 7200 s); nothing is \
             released before {} of the compliance clock, which it reaches when they have agreed \
             for a day of running time",
            START + DAY as i64 + 900
        )
    );
    let json = serde_json::to_string(machine.clock.state()).unwrap();
    assert_eq!(&serde_json::from_str::<ClockState>(&json).unwrap(), machine.clock.state());
}

#[test]
fn every_event_survives_text() {
    let (wall, rtc) = (WallTime(i64::MIN), Some(WallTime(i64::MAX)));
    let events = [
        ClockEvent::Resumed { wall, rtc, off_by_wall: None, off_by_rtc: Some(-1) },
        ClockEvent::Mark { wall, rtc: None },
        ClockEvent::RtcFound { rtc: wall },
        ClockEvent::Jumped { clock: Settable::Rtc, by: i64::MIN },
        ClockEvent::Drifted { clock: Settable::Wall, by: -1, steps: 2, within: u64::MAX },
        ClockEvent::RtcMissing { seconds: 120 },
        ClockEvent::RtcBack { seconds: 121 },
        ClockEvent::NetworkBehind { by: 601 },
        ClockEvent::Agreed,
    ];
    for event in events {
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<ClockEvent>(&json).unwrap(), event, "{json}");
        assert!(!event.to_string().is_empty());
    }
}
