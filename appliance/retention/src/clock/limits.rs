//! The tolerances, and why they are what they are. None of them can be configured.

use std::time::Duration;

/// A clock that moves this much against monotonic time between two readings was stepped; less is
/// rounding (both are read in whole seconds) and slewing. Seconds.
pub(super) const STEP: u64 = 2;

/// A single step beyond this is a disturbance. Time servers correct a hardware clock that was off
/// for weeks by less (50 ppm for four weeks are 121 s), leap seconds by one. Seconds.
pub(super) const JUMP: u64 = 120;

/// So much drift, or so many steps, in a day of running time is a disturbance: 0.7 %. Crystals
/// keep to 0.01 %, a time service slews by 0.05 %. Seconds.
pub(super) const DRIFT: u64 = 600;

/// A clock that is slower than monotonic time by so much since the anchor has lost that time: five
/// weeks of a crystal that is 20 ppm slow. Seconds.
pub(super) const LAG: u64 = 60;

/// Running time over which drift is counted.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A hardware clock may fail to answer for this long: its driver can be busy. Nothing is counted
/// meanwhile.
pub(super) const RTC_GRACE: Duration = Duration::from_secs(120);

/// The compliance clock may be ahead of authenticated network time by this much: the error of a
/// clock that a person set at installation. Seconds.
pub(super) const NETWORK_TOLERANCE: u64 = 600;

/// Disturbances of one kind are on record once in this time, so that whoever plays with a clock
/// cannot fill the ledger.
pub(super) const MERGE: Duration = Duration::from_secs(900);

/// A day of agreement, and [`MERGE`], as disturbances that were not put on record can have come
/// that much later than the one that was. Seconds.
pub(super) const DOUBT_SECONDS: i64 = 86_400 + 900;
