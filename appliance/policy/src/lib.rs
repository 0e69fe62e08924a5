//! L1: what we would like to keep, and where it should lie so that space comes back.
//!
//! What this is: pure functions from what is there (recovery points, places of chunks) and a time
//! to wishes. What it is not: permission. `policy` says Keep or Expire; only `retention` says what
//! may be deleted, and a lock or a hold always stands above a wish.
//!
//! | module | question |
//! |---|---|
//! | [`calendar`] | which hour, day, week, month, year is this |
//! | [`gfs`] | which recovery points of one VM do the rules want, how long is a new one locked |
//! | [`placement`] | with which others should a chunk lie, is it worth storing it again |

pub mod calendar;
pub mod gfs;
pub mod placement;
