//! L1: what may be deleted, and when. The only code that can say yes.
//!
//! What this is: the state of every lock and hold ([`Retention`]), fed with events in the order of
//! the ledger, and the clock that locks end by ([`RetentionClock`]). What it is not: files, a
//! ledger, a clock of its own, or a wish (`policy` wishes; only this crate allows).
//!
//! Rules that no sequence of calls gets around
//! - a lock's end is never moved forward in time, its mode never from compliance to governance;
//! - a hold stands above every lock and has no end;
//! - the clock never runs faster than monotonic time, and not at all while nobody runs it;
//! - a [`Release`] exists only for a point whose verdict was [`Verdict::Expire`].

mod clock;
mod engine;

pub use clock::{Now, RetentionClock};
pub use engine::{Event, Refusal, Release, Retention, Verdict};
