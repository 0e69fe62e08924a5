//! One file for each noun of the command line; each command is a function from arguments to an
//! [`Outcome`].

mod backup;
mod inventory;
mod ledger;
mod lock;
mod point;
mod repository;
mod run;
mod san;
mod status;
mod vm;
mod vmfs;
mod volume;

use crate::args::{
    Args, Backup, Command, Exclude, Format, Ledger, Lock, Point, Quiesce, Repository, Run, San,
    Transport, Vm, Volume,
};
use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Show};
use api::MaintenanceTask;
use clap::CommandFactory;
use clap_complete::Shell;

/// Does what the arguments say.
pub(crate) fn execute(args: &Args, show: Show) -> Result<Outcome, Error> {
    if let Command::Completions { shell } = args.command {
        return Ok(completions(shell));
    }
    if let Command::Vmfs(command) = &args.command {
        return vmfs::run(args, show, command);
    }
    let client = &Client::new(args)?;
    match &args.command {
        Command::Completions { shell } => Ok(completions(*shell)),
        Command::Vmfs(command) => vmfs::run(args, show, command),
        Command::Status => status::show(client),
        Command::Inventory => inventory::show(client),
        Command::Snapshots => inventory::snapshots(client),
        Command::Vm(Vm::List) => vm::list(client),
        Command::Vm(Vm::Restore(wanted)) => vm::restore(client, show, wanted),
        Command::Backup(Backup::Run {
            vms,
            full,
            cross_check,
            quiesce,
            transport,
            exclude,
            no_wait,
        }) => {
            let (vms, cross_check_percent) = (vms.clone(), *cross_check);
            let quiesce = quiesce.map(|policy| match policy {
                Quiesce::Never => api::Quiesce::Never,
                Quiesce::OrCrash => api::Quiesce::OrCrash,
                Quiesce::Must => api::Quiesce::Must,
            });
            let transport = transport.map(|policy| match policy {
                Transport::SanOnly => api::TransportPolicy::SanOnly,
                Transport::PreferSan => api::TransportPolicy::PreferSan,
                Transport::Network => api::TransportPolicy::Network,
            });
            let exclude = exclude.map(|what| api::Exclude { swap: what == Exclude::Swap });
            let request = api::RunRequest {
                vms,
                configuration: false,
                full: *full,
                cross_check_percent,
                quiesce,
                transport,
                exclude,
            };
            backup::start(client, show, &request, *no_wait)
        }
        Command::Backup(Backup::Configuration { no_wait }) => {
            let request = api::RunRequest { configuration: true, ..api::RunRequest::default() };
            backup::start(client, show, &request, *no_wait)
        }
        Command::Run(Run::List) => run::list(client),
        Command::Run(Run::Show { id }) => run::show(client, id),
        Command::Run(Run::Cancel { id }) => run::cancel(client, id),
        Command::Point(Point::List { vm }) => point::list(client, vm.as_deref()),
        Command::Point(Point::Show(point)) => point::show(client, &point.id),
        Command::Point(Point::Verify { point, no_wait }) => {
            point::verify(client, show, &point.id, *no_wait)
        }
        Command::Point(Point::Restore { point, disk, output, format: Format::Raw, force }) => {
            point::restore(client, show, &point.id, *disk, output, *force)
        }
        Command::Point(Point::Restore { point, disk, output, format: Format::Vmdk, force }) => {
            point::export(client, show, &point.id, *disk, output, *force)
        }
        Command::Point(Point::File { point, name, output, force }) => {
            point::file(client, &point.id, name, output, *force)
        }
        Command::Point(Point::Hold { point, matter }) => lock::hold(client, &point.id, matter),
        Command::Point(Point::Lock(Lock::Extend { point, until, days })) => {
            lock::extend(client, &point.id, *until, *days)
        }
        Command::Point(Point::Lock(Lock::Tighten { point, until })) => {
            lock::tighten(client, &point.id, *until)
        }
        Command::Point(Point::Delete { point, preview: true }) => lock::preview(client, &point.id),
        Command::Point(Point::Delete { point, .. }) => point::delete(client, &point.id),
        Command::Repository(command) => repository_command(client, show, command),
        Command::San(San::Discover { portal, as_asked }) => {
            san::discover(client, portal, *as_asked)
        }
        Command::San(San::Login { show }) => san::login(client, *show),
        Command::San(San::Luns) => san::luns(client),
        Command::San(San::Acknowledge { lun, by, note }) => san::acknowledge(client, lun, by, note),
        Command::San(San::Paths) => san::paths(client),
        Command::San(San::Fc) => san::fc(client),
        Command::San(San::Test { lun, seconds }) => san::test(client, lun, *seconds),
        Command::Ledger(Ledger::Head { output }) => ledger::head(client, output.as_deref()),
        Command::Ledger(Ledger::List { from }) => ledger::list(client, *from),
        Command::Ledger(Ledger::Proof { leaf, since, key }) => {
            ledger::proof(client, *leaf, since.as_deref(), key.as_deref())
        }
    }
}

fn repository_command(client: &Client, show: Show, command: &Repository) -> Result<Outcome, Error> {
    let task = match command {
        Repository::Forecast { days, lock_days } => {
            return repository::forecast(client, *days, *lock_days);
        }
        Repository::Expire { preview: true } => return repository::preview(client),
        Repository::Expire { .. } => MaintenanceTask::Expire,
        Repository::Scrub { all: true } => MaintenanceTask::ScrubAll,
        Repository::Scrub { .. } => MaintenanceTask::Scrub,
        Repository::Compact => MaintenanceTask::Compact,
        Repository::Volume(Volume::List) => return volume::list(client),
        Repository::Volume(Volume::Add { number }) => return volume::add(client, *number),
        Repository::RotateKey => return volume::rotate_key(client),
    };
    repository::run(client, show, task)
}

fn completions(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "holdfast", &mut script);
    let text = String::from_utf8_lossy(&script).into_owned();
    let json = serde_json::json!({ "shell": shell.to_string(), "script": text });
    Outcome::new(text, &json)
}

/// Ids have 32 hex digits.
const ID_DIGITS: usize = 32;
/// How many candidates an ambiguous id names.
const CANDIDATES_MAX: usize = 5;

/// The whole id that begins with `id`. Asks for `all` ids only when it is not whole already.
fn resolve(
    noun: &'static str,
    id: &str,
    all: impl FnOnce() -> Result<Vec<String>, Error>,
) -> Result<String, Error> {
    let id = id.to_ascii_lowercase();
    if id.len() == ID_DIGITS {
        return Ok(id);
    }
    let is_part = !id.is_empty() && id.bytes().all(|b| b.is_ascii_hexdigit());
    let mut found = if is_part { all()? } else { Vec::new() };
    found.retain(|whole| whole.starts_with(&id));
    match found.as_slice() {
        [] => Err(Error::Unknown { noun, id }),
        [one] => Ok(one.clone()),
        _ => {
            found.truncate(CANDIDATES_MAX);
            Err(Error::Ambiguous { noun, id, candidates: found })
        }
    }
}
