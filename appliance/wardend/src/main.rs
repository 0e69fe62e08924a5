//! L4: `holdfast-warden`, the process that alone seals, commits and deletes, and what officers
//! need at a command line.
//!
//! What this is: reading the command line, giving up rights in the right order, and wiring
//! crate `warden`. What it is not: a place where anything about a lock is decided.
//!
//! | module | content |
//! |---|---|
//! | `args` | the command line as types |
//! | `create`, `encryption`, `serve` | a new repository, its keys; the process itself |
//! | `show` | status and signed head of a running warden |
//! | `officer` | keys, signatures and requests of officers |
//!
//! Exit status: 0 done, 1 it failed, 2 the command line was wrong, 3 the warden refused.

mod args;
mod create;
mod encryption;
mod key_file;
mod officer;
mod serve;
mod show;

use args::{Args, Command};
use clap::Parser as _;
use std::io::Write as _;
use std::process::ExitCode;
use warden::WardenError;

fn main() -> ExitCode {
    let done = match Args::parse().command {
        Command::Create(create) => create::run(&create),
        Command::Serve(serve) => serve::run(&serve),
        Command::Status(status) => show::status(&status),
        Command::Head(head) => show::head(&head),
        Command::Officer { command } => officer::run(command),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    // Standard error is all that is left; if it is closed the exit status has to say it.
    let _ = writeln!(std::io::stderr(), "holdfast-warden: {}", model::chain(error.as_ref()));
    match error.downcast_ref::<WardenError>().map(WardenError::kind) {
        Some(model::ErrorKind::Refused) => ExitCode::from(3),
        _ => ExitCode::FAILURE,
    }
}

/// One line for whoever called.
fn say(line: impl std::fmt::Display) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}
