//! Which of several paths a command takes, and what becomes of it when the path fails. Pure:
//! time comes in as a number, and nothing here sends, waits or counts bytes.
//!
//! ```text
//!             report: standby, unavailable, in transition
//!        +---------------------------------------------------+
//!        v                                                   |
//!   not usable -- fresh report, TEST UNIT READY, identity --> usable -- taken by commands
//!        ^                                                   |
//!        +------- lost, silent, too much trouble ------------+
//!
//!   from anywhere -- it shows another LUN --> refused, until the next login
//! ```
//!
//! - Optimized paths share the work by what they are expected to need; non-optimized ones only
//!   when no optimized one is left; all others never (SPC-4, 5.15.2).
//! - Nothing is ever sent to change a state.
//! - Without ALUA one target port is used until it is lost; paths to the same port are equals
//!   (SAM-5, 4.6).
//! - A path is used when its LUN is proven to be the one that it joined, and after a loss again.
//!
//! [`Paths`] knows the paths of one LUN, [`Course`] is the patience of one command.

mod course;
mod paths;
#[cfg(test)]
mod simulation;

pub(crate) use course::{Course, Patience, Step, Why};
pub(crate) use paths::{Fault, Link, Load, Paths, View};

/// Since the LUN was found.
pub(crate) type Time = std::time::Duration;
