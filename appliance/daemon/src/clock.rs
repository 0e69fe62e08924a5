//! The machine's clocks, read in one place.

use model::WallTime;
use repository::Now;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

/// Where the monotonic readings count from.
static START: OnceLock<Instant> = OnceLock::new();

/// Now, by the wall clock. A clock before 1970 counts as 1970.
pub(crate) fn wall() -> WallTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// Both clocks, for whoever must not trust the wall clock alone.
pub(crate) fn now() -> Now {
    Now { monotonic: START.get_or_init(Instant::now).elapsed(), wall: wall() }
}
