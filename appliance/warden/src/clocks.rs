//! The machine's clocks, read.
//!
//! The hardware clock is read through sysfs, which needs no right at all; it is opened once,
//! before the process gives up the paths outside of the repository. Authenticated network time is
//! not there yet: [`Reading::network`] is always `None`, so that it bounds nothing. What the
//! readings mean is decided in crate `retention`.

use model::WallTime;
use retention::Reading;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

/// Seconds since 1970 by the first hardware clock, as text.
const HARDWARE_CLOCK: &str = "/sys/class/rtc/rtc0/since_epoch";

/// Where clocks are read.
#[derive(Debug)]
pub struct Clocks {
    hardware: Option<File>,
}

impl Clocks {
    /// Opens the hardware clock, if the machine has one.
    #[must_use]
    pub fn open() -> Self {
        Self { hardware: File::open(Path::new(HARDWARE_CLOCK)).ok() }
    }

    /// What is not there, in words; `None`: everything is.
    #[must_use]
    pub fn lacks(&self) -> Option<&'static str> {
        self.hardware.is_none().then_some(
            "the hardware clock: this machine has none, so the system time is not compared with it",
        )
    }

    /// All clocks, now.
    #[must_use]
    pub fn read(&self) -> Reading {
        let monotonic = clock_gettime(ClockId::MonotonicRaw);
        let wall = clock_gettime(ClockId::Realtime);
        Reading {
            monotonic: Duration::new(
                u64::try_from(monotonic.tv_sec).unwrap_or(0),
                u32::try_from(monotonic.tv_nsec).unwrap_or(0),
            ),
            wall: WallTime(wall.tv_sec),
            rtc: self.hardware.as_ref().and_then(seconds),
            network: None,
        }
    }
}

/// sysfs makes the text anew for every read from its beginning.
fn seconds(file: &File) -> Option<WallTime> {
    let mut text = [0; 32];
    let length = file.read_at(&mut text, 0).ok()?;
    let text = std::str::from_utf8(&text[..length]).ok()?;
    text.trim().parse().ok().map(WallTime)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn monotonic_time_goes_on_and_the_wall_clock_is_the_systems() {
        let clocks = Clocks::open();
        let (one, other) = (clocks.read(), clocks.read());
        assert!(one.monotonic <= other.monotonic);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        assert!(other.wall.0.abs_diff(now.as_secs().cast_signed()) <= 2);
        assert_eq!(one.rtc.is_none(), clocks.lacks().is_some());
        assert_eq!(one.network, None);
    }

    #[test]
    fn a_hardware_clock_that_says_nonsense_did_not_answer() {
        for (text, expected) in
            [("1700000000\n", Some(WallTime(1_700_000_000))), ("", None), ("soon", None)]
        {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            assert_eq!(seconds(&file), expected, "{text:?}");
        }
    }
}
