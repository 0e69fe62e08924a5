//! Against LIO, the Linux kernel's target, in a guest with two controllers: what tgtd does not
//! have. CHAP with every hash, digests that are insisted on, mappings of one initiator, portals
//! behind address translation, states of paths that change, a cable that is pulled.
//!
//! One guest serves all trials; each makes a target of its own in it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says where")]
#![allow(clippy::print_stdout, reason = "a skipped test says so loudly")]
#![allow(unreachable_pub, reason = "a test has no outside")]

mod array;
mod failover;
mod login;
mod paths;
#[path = "../common/reading.rs"]
mod reading;
#[path = "../common/short.rs"]
mod short;

use array::{Array, Missing, Site};
use libtest_mimic::{Arguments, Trial};
use std::process::ExitCode;
use std::sync::Arc;

type Test = fn(&Array, &str);

fn main() -> ExitCode {
    let site = Arc::new(Site::default());
    let trials = [login::TRIALS, paths::TRIALS, failover::TRIALS].concat().into_iter().map(
        |(name, test)| {
            let site = Arc::clone(&site);
            Trial::test(name, move || {
                match site.array() {
                    Ok(array) if failover::PULLING == name => {
                        let _cables = array.alone();
                        test(array, name);
                    }
                    Ok(array) => {
                        let _cables = array.connected();
                        test(array, name);
                    }
                    Err(Missing::Impossible(why)) => println!("SKIPPED: {name}: {why}"),
                    Err(Missing::Failed(why)) => return Err(why.into()),
                }
                Ok(())
            })
        },
    );
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}
