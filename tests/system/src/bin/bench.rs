//! `bench`: the measurements, one JSON object per line; see `make bench`.
//!
//! They are kept in `target/bench/results.jsonl`, newest last.

use anyhow::Result;
use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    /// Only the measurements whose names begin so; several with commas between
    #[arg(long, default_value = "", value_name = "PREFIXES")]
    only: String,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let results = lab::place::target().join("bench").join("results.jsonl");
    system::bench::run(&arguments.only, &results)
}
