//! What the clock has to say for the record.

use model::WallTime;
use serde::{Deserialize, Serialize};
use std::fmt;

/// One of the machine's clocks that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Settable {
    /// The system time.
    Wall,
    /// The hardware clock.
    Rtc,
}

impl fmt::Display for Settable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Wall => "the system time",
            Self::Rtc => "the hardware clock",
        })
    }
}

/// Goes into the ledger, with the value of the clock after the reading that brought it up.
///
/// Information: `Resumed`, `Mark`, `RtcFound`. Disturbances, each of which begins a doubt or makes
/// it last longer: `Jumped`, `Drifted`, `RtcMissing`, `RtcBack`, `NetworkBehind`.
/// `Agreed` ends a doubt.
/// All numbers are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClockEvent {
    /// The clock goes on after it had not been running. No credit was given for that time.
    Resumed {
        /// System time now.
        wall: WallTime,
        /// Hardware clock now.
        rtc: Option<WallTime>,
        /// How long it was off by the system time, since that was last on record.
        off_by_wall: Option<i64>,
        /// How long it was off by the hardware clock.
        off_by_rtc: Option<i64>,
    },
    /// Nothing but the readings, so that the next start can say how long it was off.
    Mark {
        /// System time now.
        wall: WallTime,
        /// Hardware clock now.
        rtc: Option<WallTime>,
    },
    /// A hardware clock answers for the first time in this repository's life.
    RtcFound {
        /// What it says.
        rtc: WallTime,
    },
    /// A clock went another way than monotonic time between two readings.
    Jumped {
        /// Which.
        clock: Settable,
        /// How far, beyond the time that really passed; negative: back.
        by: i64,
    },
    /// A clock runs at another rate than monotonic time, or was moved in many small steps.
    Drifted {
        /// Which.
        clock: Settable,
        /// Net distance; small when it was moved to and fro.
        by: i64,
        /// Sum of the distances of all steps.
        steps: u64,
        /// Running time in which that came together.
        within: u64,
    },
    /// The hardware clock, which was there before, does not answer.
    RtcMissing {
        /// For how long.
        seconds: u64,
    },
    /// It answers again. What it was not there for is counted as far as all clocks agree on it,
    /// and the day of agreement begins.
    RtcBack {
        /// After how long.
        seconds: u64,
    },
    /// Authenticated network time is behind the compliance clock.
    NetworkBehind {
        /// How far.
        by: u64,
    },
    /// The clocks have agreed for long enough: the doubt is over.
    Agreed,
}

impl ClockEvent {
    /// True for what begins a doubt or makes it last longer.
    #[must_use]
    pub fn is_disturbance(&self) -> bool {
        self.kind().is_some()
    }

    /// Which disturbance; those of one kind are put on record together.
    pub(super) fn kind(&self) -> Option<Kind> {
        match *self {
            Self::Jumped { clock, .. } => Some(Kind::Jumped(clock)),
            Self::Drifted { clock, .. } => Some(Kind::Drifted(clock)),
            Self::RtcMissing { .. } | Self::RtcBack { .. } => Some(Kind::RtcMissing),
            Self::NetworkBehind { .. } => Some(Kind::NetworkBehind),
            Self::Resumed { .. } | Self::Mark { .. } | Self::RtcFound { .. } | Self::Agreed => None,
        }
    }
}

/// The kinds of disturbance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Jumped(Settable),
    Drifted(Settable),
    RtcMissing,
    NetworkBehind,
}

impl fmt::Display for ClockEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resumed { off_by_wall, off_by_rtc, .. } => {
                f.write_str("the clock goes on; it was off for ")?;
                write_seconds(f, *off_by_wall, "by the system time, ")?;
                write_seconds(f, *off_by_rtc, "by the hardware clock, none of it counted")
            }
            Self::Mark { .. } => f.write_str("the clocks were put on record"),
            Self::RtcFound { .. } => f.write_str("a hardware clock was found"),
            Self::Jumped { clock, by } => {
                let way = if *by < 0 { "back" } else { "forward" };
                write!(f, "{clock} jumped {way} by {} s", by.unsigned_abs())
            }
            Self::Drifted { clock, by, steps, within } => write!(
                f,
                "{clock} moved {by} s (in steps of {steps} s together) against {within} s of \
                 running time"
            ),
            Self::RtcMissing { seconds } => write!(
                f,
                "the hardware clock has not answered for {seconds} s; the compliance clock stands \
                 still until it does"
            ),
            Self::RtcBack { seconds } => {
                write!(f, "the hardware clock answers again, after {seconds} s")
            }
            Self::NetworkBehind { by } => {
                write!(f, "authenticated network time is {by} s behind the compliance clock")
            }
            Self::Agreed => f.write_str("the clocks agree again"),
        }
    }
}

fn write_seconds(f: &mut fmt::Formatter<'_>, seconds: Option<i64>, by: &str) -> fmt::Result {
    match seconds {
        Some(seconds) => write!(f, "{seconds} s {by}"),
        None => write!(f, "an unknown time {by}"),
    }
}
