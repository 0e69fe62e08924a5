//! What the measuring tools ask the machine.

use model::WallTime;
use repository::Clocks;
use retention::Reading;
use std::time::Instant;

/// Clocks that agree and begin now.
pub(crate) fn clocks() -> Clocks {
    let begun = Instant::now();
    Box::new(move || {
        let monotonic = begun.elapsed();
        let wall = WallTime(i64::try_from(monotonic.as_secs()).unwrap());
        Reading { monotonic, wall, rtc: None, network: None }
    })
}

/// `VmHWM` of this process; 0 where the system does not say.
pub(crate) fn peak_rss_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0)
        / 1024
}
