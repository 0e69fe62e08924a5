//! The machine's clocks, read in one place.

use model::WallTime;
use retention::Reading;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

/// Where the monotonic readings count from.
static START: OnceLock<Instant> = OnceLock::new();

/// Now, by the wall clock. A clock before 1970 counts as 1970.
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// What the retention clock goes by. The hardware clock is not read here: a repository that has
/// seen one expects it for ever.
pub(crate) fn reading() -> Reading {
    let monotonic = START.get_or_init(Instant::now).elapsed();
    Reading { monotonic, wall: wall(), rtc: None, network: None }
}
