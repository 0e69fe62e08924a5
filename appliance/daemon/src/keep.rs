//! `[keep]`: what expires by itself. Without it, nothing does.

use policy::calendar::Calendar;
use policy::gfs::KeepRules;
use serde::Deserialize;

/// Farthest time zone from UTC, in minutes.
const OFFSET_MAX: i32 = 14 * 60;

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Keep {
    pub(crate) last: u32,
    pub(crate) hourly: u32,
    pub(crate) daily: u32,
    pub(crate) weekly: u32,
    pub(crate) monthly: u32,
    pub(crate) yearly: u32,
    pub(crate) utc_offset_minutes: i32,
}

impl Keep {
    /// Key, value and reason of what cannot be meant.
    pub(crate) fn wrong(&self) -> Option<(&'static str, i32, &'static str)> {
        if self.rules() == KeepRules::default() {
            return Some((
                "keep",
                0,
                "it has no number for any tier: give one, or leave [keep] out",
            ));
        }
        let offset = self.utc_offset_minutes;
        let outside = offset.abs() > OFFSET_MAX;
        outside.then_some(("keep.utc_offset_minutes", offset, "must lie between -840 and 840"))
    }

    pub(crate) fn rules(&self) -> KeepRules {
        let &Self { last, hourly, daily, weekly, monthly, yearly, .. } = self;
        KeepRules { last, hourly, daily, weekly, monthly, yearly }
    }

    pub(crate) fn calendar(&self) -> Calendar {
        let seconds = self.utc_offset_minutes.saturating_mul(60);
        Calendar::east_of_utc(seconds).unwrap_or_default()
    }
}
