//! Three years of one VM: when it was backed up, what had changed, how long each point is locked
//! and when the keep rules let go of it. Placement has no part in this.

use crate::chance::Chance;
use crate::churn::{Machine, Profile};
use model::{RecoveryPointId, RetentionTime};
use policy::calendar::Calendar;
use policy::gfs::{Candidate, KeepRules, Verdict, lock_duration, wishes};

/// 5 March 2024, 22:00 UTC: not the first of anything.
const START: i64 = 1_709_676_000;
const DAY: i64 = 24 * 3600;

/// One nightly run that succeeded.
pub(crate) struct Run {
    pub(crate) day: u16,
    pub(crate) at: RetentionTime,
    /// Lock end of its point.
    pub(crate) lock: RetentionTime,
    /// Cells that changed since the run before, ascending.
    pub(crate) changed: Vec<u32>,
    /// Days of the points that the rules no longer want after this run.
    pub(crate) unwanted: Vec<u16>,
    /// Days of those among all unwanted ones whose lock has ended as well.
    pub(crate) unlocked: Vec<u16>,
}

pub(crate) struct Timeline {
    pub(crate) cells: u32,
    pub(crate) runs: Vec<Run>,
}

struct Point {
    candidate: Candidate,
    lock: RetentionTime,
    day: u16,
    wanted: bool,
}

impl Timeline {
    /// The VM of this seed. Four fifths of the VMs exist from the first two months on, the others
    /// come later; one run in a hundred fails, and the next one finds the changes of both days.
    pub(crate) fn new(profile: Profile, seed: u64, rules: &KeepRules, days: u16) -> Self {
        let mut machine = Machine::new(profile, seed);
        let mut chance = Chance::new(seed ^ 0x7a11);
        let first = if chance.below(5) == 0 { chance.below(500) } else { chance.below(60) };
        let evening = i64::from(chance.below(4 * 3600));
        let mut points: Vec<Point> = Vec::new();
        let mut runs = Vec::new();
        let mut changed = machine.full();
        for day in u16::try_from(first).unwrap()..days {
            if u32::from(day) > first {
                changed.extend(machine.day(u32::from(day)));
            }
            if chance.below(100) == 0 {
                continue;
            }
            changed.sort_unstable();
            changed.dedup();
            let late = i64::from(chance.below(1800));
            let at = RetentionTime(START + i64::from(day) * DAY + evening + late);
            let lock = commit(&mut points, rules, day, at);
            let (unwanted, unlocked) = expire(&mut points, rules, at);
            runs.push(Run {
                day,
                at,
                lock,
                changed: std::mem::take(&mut changed),
                unwanted,
                unlocked,
            });
        }
        Self { cells: machine.cells(), runs }
    }
}

fn candidates(points: &[Point]) -> Vec<Candidate> {
    points.iter().map(|point| point.candidate).collect()
}

fn commit(
    points: &mut Vec<Point>,
    rules: &KeepRules,
    day: u16,
    at: RetentionTime,
) -> RetentionTime {
    let seconds = lock_duration(rules, at, &candidates(points), Calendar::default());
    let lock = RetentionTime(at.0 + i64::try_from(seconds).unwrap());
    let mut id = [0; 16];
    id[..2].copy_from_slice(&day.to_be_bytes());
    let candidate = Candidate { id: RecoveryPointId(id), at, sound: true };
    points.push(Point { candidate, lock, day, wanted: true });
    lock
}

fn expire(points: &mut Vec<Point>, rules: &KeepRules, now: RetentionTime) -> (Vec<u16>, Vec<u16>) {
    let mut unwanted = Vec::new();
    let mut unlocked = Vec::new();
    let wishes = wishes(rules, &candidates(points), now, Calendar::default());
    for (point, wish) in points.iter_mut().zip(wishes) {
        assert_eq!(point.candidate.id, wish.id);
        let wanted = wish.verdict != Verdict::Expire;
        assert!(point.wanted || !wanted, "what expired once is not wanted again");
        if point.wanted && !wanted {
            unwanted.push(point.day);
        }
        point.wanted = wanted;
        if !wanted && point.lock <= now {
            unlocked.push(point.day);
        }
    }
    points.retain(|point| point.wanted || point.lock > now);
    (unwanted, unlocked)
}
