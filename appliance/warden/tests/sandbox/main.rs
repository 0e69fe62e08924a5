//! What a confined process can still do, tried by one.
//!
//! Each trial starts this program again as a *probe*: it gives up its rights like the warden or
//! the daemon does, makes one attack, and says how it went. Nothing here asks the sandbox what it
//! thinks it enforces, but one trial that compares.

mod probe;
mod trials;

use std::process::ExitCode;

fn main() -> ExitCode {
    match probe::asked() {
        Some(probe) => probe.run(),
        None => {
            libtest_mimic::run(&libtest_mimic::Arguments::from_args(), trials::all()).exit_code()
        }
    }
}
