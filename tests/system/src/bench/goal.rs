//! What a figure should be, and the two sides of a ratio.

use serde::{Serialize, Serializer};
use std::fmt;

/// A bound that a value should keep.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

impl Goal {
    /// Does the value keep it? What is no number does not.
    #[must_use]
    pub fn met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(bound) => value >= bound,
            Self::AtMost(bound) => value <= bound,
        }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(bound) => write!(out, ">= {bound}"),
            Self::AtMost(bound) => write!(out, "<= {bound}"),
        }
    }
}

impl Serialize for Goal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a ratio was made of.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sides {
    /// Our own figure.
    pub ours: f64,
    /// The peer's, or what ours is compared with.
    pub theirs: f64,
    /// Of both.
    #[serde(rename = "sides_unit")]
    pub unit: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_itself_is_enough_and_no_number_never_is() {
        assert!(Goal::AtLeast(2.0).met(2.0) && !Goal::AtLeast(2.0).met(1.99));
        assert!(Goal::AtMost(1.02).met(1.02) && !Goal::AtMost(1.02).met(1.03));
        assert!(!Goal::AtLeast(2.0).met(f64::NAN) && !Goal::AtMost(2.0).met(f64::NAN));
        assert_eq!(Goal::AtMost(0.03).to_string(), "<= 0.03");
    }
}
