//! L1: an iSCSI initiator (RFC 7143) as a state machine. No socket, no clock, no randomness.
//!
//! What this is: one connection that is also one session (error recovery level 0, no MC/S):
//! login with CHAP, many commands in flight, data placed straight into each command's own
//! buffer, digests, keep-alive, time-outs, SendTargets, logout. What it is not: a driver, a
//! retry loop, or anything that knows SCSI; command bytes travel opaquely.
//!
//! The contract, after quinn-proto's: the driver owns the socket and the clock and calls
//!
//! ```text
//!   receive_buffers -> read(2) -> received(n, now)     bytes in
//!   transmit        -> write(2) -> transmitted(n)      bytes out
//!   poll_timeout    -> timer    -> handle_timeout(now) time in
//!   submit / logout / ...                              wishes in
//!   poll_event                                         what happened
//! ```
//!
//! until nothing is left to do. `now` is a [`Time`]: any clock that never goes back.
//!
//! ```text
//!  socket bytes --> receive (frames, digests) --> dispatch (meaning) --> events
//!                       |                            |
//!                       +--> tasks: command buffers  +--> window (CmdSN), out (PDUs to send)
//! ```
//!
//! | module | content | RFC 7143 |
//! |---|---|---|
//! | `pdu` | header layouts, in and out | 11 |
//! | `login`, `chap`, `keys` | phases, negotiation, authentication | 6, 12, 13 |
//! | `connection` | the state machine | 4.2, 7, 11 |
//! | `tasks`, `window`, `serial` | what is in flight | 4.2.2 |
//! | `sending` | data that goes out, which no source disk's does | 4.2.5, 11.7, 11.8 |
//! | `discovery` | SendTargets | Appendix C |
//! | `reject` | the words of a Reject | 11.17 |
//!
//! Which requirement is proven by which test: `CONFORMANCE.md` beside this crate.

mod chap;
mod config;
mod connection;
mod digest;
mod discovery;
mod error;
mod fuzz;
mod keys;
mod login;
mod pdu;
mod reject;
mod secret;
mod sending;
mod serial;
mod tasks;
mod window;

pub use chap::ChapAlgorithm;
pub use config::{ChapConfig, Config, ConfigError, Timers};
pub use connection::{Connection, Event};
pub use discovery::{DiscoveredTarget, TargetAddress};
pub use error::{IscsiError, LoginStatus};
pub use fuzz::fuzz;
pub use login::Agreed;
pub use secret::Secret;
pub use sending::Bursts;
pub use tasks::{Command, Completion, Finished, Outcome, Residual};

/// A moment on a clock that never goes back, as the time since the driver's own origin.
pub type Time = std::time::Duration;
