//! `demo`: the main job on a site that the lab stands up; see `make demo`.
//!
//! Writes `target/demo/summary.json`. The exit status is 0 only if every verdict is right. On a
//! terminal it then stays up and shows where the console is, until Ctrl-C.

use anyhow::{Context as _, Result};
use std::io::{IsTerminal as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;
use system::demo::Demo;
use system::demo::report::Summary;

fn main() -> Result<ExitCode> {
    let place = lab::place::target().join("demo").join("summary.json");
    // A summary of an earlier demo must not pass for this one's.
    if place.exists() {
        std::fs::remove_file(&place)?;
    }
    let began = Instant::now();
    let mut say = |text: &str| {
        tell(&format!("\n[{:5.1} s] {text}\n", began.elapsed().as_secs_f64()));
    };
    let mut demo = Demo::start(&mut say)?;
    demo.play(&mut say);
    keep(demo.summary(), &place)?;
    if std::io::stdout().is_terminal() {
        tell(&format!("\n{}\nconsole: {}\n", demo.summary().text(), demo.console()?));
        tell("Ctrl-C ends the demo.\n");
        wait_for_ctrl_c()?;
    }
    say("stopping");
    let summary = demo.stop()?;
    keep(&summary, &place)?;
    tell(&format!("\n{}\nthe same for programs: {}\n", summary.text(), place.display()));
    Ok(if summary.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn keep(summary: &Summary, place: &Path) -> Result<()> {
    if let Some(folder) = place.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(place, serde_json::to_vec_pretty(summary)?)
        .with_context(|| format!("writing {}", place.display()))
}

fn wait_for_ctrl_c() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("waiting for Ctrl-C")
}

/// A terminal that has gone away is no reason to leave the site running or the summary unwritten.
fn tell(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
