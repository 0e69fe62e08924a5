//! L1: what may be deleted, and when. The only code that can say yes.
//!
//! What this is: the state of every lock, hold and officer ([`Retention`]), fed with events in the
//! order of the ledger, and the clock that locks end by ([`ComplianceClock`]). What it is not:
//! files, a ledger, a clock of its own, signatures, or a wish (`policy` wishes; only this crate
//! allows).
//!
//! A request goes through [`Retention::check`] with whoever signed it and the clock's view, is put
//! on record, and then through [`Retention::apply`]; a replay of the record goes through `apply`
//! alone. A deletion needs a [`Release`] first.
//!
//! # One recovery point
//!
//! | state | `Extend` | `Tighten` | `Hold` | `Unhold` | `Override` | `Deleted` |
//! |---|---|---|---|---|---|---|
//! | none | - | - | - | - | - | - |
//! | governance, locked | later end | compliance | held | - | ended now | - |
//! | compliance, locked | later end | same | held | - | - | - |
//! | ended | locked again | compliance | held | - | as before | none |
//! | held, whatever its lock | later end | compliance | one more matter | one matter less | - | - |
//!
//! `-` is a refusal that changes nothing. `Commit` leads from none to locked, and nowhere else.
//! Time leads from locked to ended, by the compliance clock, and only when that is not in doubt.
//!
//! # Who is needed
//!
//! | event | who |
//! |---|---|
//! | `Commit`, `Extend`, `Tighten`, `Hold` | anybody the caller lets through: they only add |
//! | `Unhold` | an officer with [`Right::ReleaseHold`] |
//! | `Override` | a pair with [`Right::Override`] each; never after `ForbidOverrides` |
//! | `ForbidOverrides` | an officer with [`Right::Override`]; for ever |
//! | `Enrol`, `Dismiss`, `SetBounds` | a pair; while there is none, the local command |
//!
//! The local command is the box's own, run from its console ([`Authority::local`]); it counts only
//! while there is no pair. The first officers are put on record by whoever makes the repository,
//! without a request: from then on nobody is trusted for having come early.
//! A pair is two different officers in office, neither of whom enrolled the other (W8).
//!
//! # Rules that no sequence of calls gets around
//! - a lock's end is never moved to an earlier time (but by an override in governance mode), its
//!   mode never from compliance to governance;
//! - a hold stands above every lock and has no end;
//! - the clock never runs faster than monotonic time, and not at all while nobody runs it;
//! - a [`Release`] exists only for a point whose verdict was [`Verdict::Expire`], at a time that
//!   was not in doubt.

mod clock;
mod engine;
#[cfg(test)]
mod together;

pub use clock::{ClockEvent, ClockState, ClockView, ComplianceClock, Doubt, Reading, Settable};
pub use engine::{Authority, Bounds, Event, Refusal, Release, Retention, Right, Verdict};
