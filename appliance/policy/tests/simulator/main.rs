//! Three years of backups of fifty VMs: what do locks cost in space?
//!
//! Scale: chunks of 1 MiB, segments of 256 chunks, disks of 8 to 48 GiB. A run has segments of its
//! own and its last one is short. A segment exists as a whole until no point reaches any chunk in
//! it. Left out: maps, manifests and parity (the same with and without locks), compression (chunks
//! count alike), deduplication between VMs, and compaction of what is not locked (which could only
//! make the locked side smaller; in a schedule that runs every day there is nearly nothing).
//!
//! The churn is a model (module `churn`), not a trace.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test that shows its figures")]

mod chance;
mod check;
mod churn;
mod replay;
mod report;
mod site;
mod store;
mod timeline;
mod variants;

use policy::gfs::KeepRules;
use report::Report;
use site::Site;
use variants::{CHOSEN, OTHERS, WITHOUT_LOCKS};

/// Chunks in a segment.
pub(crate) const SEGMENT: usize = 256;
const YEAR: u16 = 365;
const RULES: KeepRules =
    KeepRules { last: 0, hourly: 0, daily: 14, weekly: 8, monthly: 12, yearly: 3 };

/// The goal: footprint with locks against that of the same points without.
const GOAL: f64 = 1.25;

fn compare(site: &Site) -> Vec<Report> {
    let usages = site.run();
    println!("\nseed {}, {} days, {:?}\n{}", site.seed, site.days, site.rules, Report::HEAD);
    let pairs = site.variants.iter().zip(&usages);
    let reports: Vec<Report> =
        pairs.map(|(variant, usage)| Report::new(variant.name, usage, &usages[0])).collect();
    reports.iter().for_each(|report| println!("{report}"));
    reports
}

#[test]
fn locks_cost_at_most_a_quarter() {
    for seed in 1..=3 {
        let variants = &[WITHOUT_LOCKS, CHOSEN];
        let reports = compare(&Site { seed, rules: RULES, days: 3 * YEAR, variants, every: 1 });
        let chosen = &reports[1];
        assert!(chosen.all <= GOAL && chosen.end <= GOAL && chosen.peak <= GOAL, "{chosen}");
        assert!(chosen.by_profile.iter().all(|&ratio| ratio <= GOAL), "{chosen}");
    }
}

/// Not the goal's schedule: here only the average must stay near it, so that a change of the rule
/// that is good for one schedule cannot ruin another. One tier of equal locks is the hardest.
#[test]
fn other_schedules_stay_near() {
    let schedules = [
        (KeepRules { daily: 30, weekly: 12, monthly: 24, ..RULES }, 3, 1.15),
        (KeepRules { daily: 7, weekly: 0, monthly: 12, yearly: 7, ..RULES }, 3, 1.2),
        (KeepRules { daily: 7, weekly: 4, monthly: 6, yearly: 1, ..RULES }, 3, 1.3),
        (KeepRules { daily: 30, weekly: 0, monthly: 0, yearly: 0, ..RULES }, 3, 1.4),
        (RULES, 6, 1.25),
    ];
    for (rules, years, bound) in schedules {
        let variants = &[WITHOUT_LOCKS, CHOSEN];
        let site = Site { seed: 4, rules, days: years * YEAR, variants, every: 6 };
        let reports = compare(&site);
        assert!(reports[1].all <= bound, "{}", reports[1]);
    }
}

/// The comparison that decided; it also shows that the model can tell good from bad.
#[test]
fn doing_nothing_costs_much_more() {
    let mut variants = vec![WITHOUT_LOCKS, CHOSEN];
    variants.extend(OTHERS);
    let site = Site { seed: 1, rules: RULES, days: 3 * YEAR, variants: &variants, every: 6 };
    let reports = compare(&site);
    let nothing = reports.iter().find(|report| report.name == "locks, nothing done").unwrap();
    assert!(nothing.all > 2.0, "{nothing}");
    let rivals = variants.iter().zip(&reports).filter(|(v, _)| v.locks && v.budget == 100);
    let best = rivals.map(|(_, report)| report.all).fold(f64::MAX, f64::min);
    assert!(reports[1].all <= best + 0.005, "another variant of the table is better by far");
}
