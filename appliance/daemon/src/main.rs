//! L4: holdfastd, the daemon. Reads the configuration, builds the parts, wires them; every
//! decision is somewhere below.

mod acknowledged;
mod clock;
mod config;
mod confine;
mod engine;
mod keep;
mod maintenance;
mod restorer;
mod secret_file;
mod secrets;
mod start;
mod watch;
mod wire;
mod worker;

use anyhow::Context;
use clap::Parser;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// How long work on blocking threads may take to end after everything else has.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// The Holdfast backup appliance.
#[derive(Parser)]
#[command(name = "holdfastd", version)]
struct Arguments {
    /// The configuration file.
    #[arg(long, value_name = "FILE", default_value = "/etc/holdfast/holdfastd.toml")]
    config: PathBuf,
    /// Check the configuration and end.
    #[arg(long)]
    check: bool,
    /// Print a documented example of the configuration and end.
    #[arg(long)]
    example: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // `{:#}` prints the whole chain in one line, each cause once.
            let _ = writeln!(std::io::stderr(), "holdfastd: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if arguments.example {
        return std::io::stdout()
            .write_all(config::EXAMPLE.as_bytes())
            .context("printing the example");
    }
    let config = config::Config::load(&arguments.config)?;
    if arguments.check {
        config.password()?;
        config.file_backup_password()?;
        config.chap()?;
        return Ok(());
    }
    let filter = EnvFilter::try_from_env("HOLDFAST_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // Secrets first, then the rights are given up, then threads, and only then anything that
    // somebody else may have written.
    let secrets = secrets::Secrets::read(&config)?;
    let not_enforced = confine::confine(&config)?;
    let runtime = tokio::runtime::Runtime::new().context("starting the runtime")?;
    let ended = runtime.block_on(start::run(config, secrets, not_enforced));
    // A verification may take hours; what it read so far needs no ending of its own.
    runtime.shutdown_timeout(SHUTDOWN);
    ended
}
