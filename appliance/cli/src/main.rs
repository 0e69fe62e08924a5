//! L4: `holdfast`, the command line over the appliance's API.
//!
//! What this is: it reads arguments, calls the API, and shows the answer to a person or, with
//! `--json`, to a program. What it is not: a second way to do anything; it decides nothing. Only
//! `holdfast vmfs` works by itself, on images of LUNs, for who has no appliance at hand.
//!
//! Standard output carries the result: text, or with `--json` exactly one JSON document, which
//! is the API's own type or, after an error, its problem (RFC 9457). Standard error carries
//! progress and, without `--json`, errors. Exit status: 0 everything succeeded, 1 something
//! failed, 2 the command line was wrong, 3 the appliance refused (a lock).
//!
//! | module | content |
//! |---|---|
//! | `args` | the command line as types |
//! | `client` | typed calls over HTTP |
//! | `command` | one file for each noun |
//! | `restore` | a disk image into a sparse file |
//! | `export` | a disk as a VMDK into a file |
//! | `part` | a file that appears when it is whole |
//! | `watch`, `progress` | runs until they end, bars and lines |
//! | `output`, `error` | what the user sees |

mod args;
mod client;
mod command;
mod error;
mod export;
mod output;
mod part;
mod progress;
mod restore;
mod watch;

use args::Args;
use clap::Parser;
use output::Show;
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = Args::parse();
    let show = Show { json: args.json };
    match command::execute(&args, show) {
        Ok(outcome) => show.outcome(&outcome),
        Err(error) => show.error(&error),
    }
}
