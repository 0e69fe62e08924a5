//! Looks at runs until they have ended. The appliance goes on without us: whoever leaves with
//! Ctrl-C finds the runs again with `holdfast run list`.

use crate::client::Client;
use crate::error::Error;
use crate::output::Show;
use crate::progress::{Meter, state_word};
use api::endpoint::{GetMaintenance, GetRun};
use api::{MaintenanceRun, Run, RunState};
use std::thread::sleep;
use std::time::Duration;

const INTERVAL: Duration = Duration::from_millis(500);
/// Calls in a row that may go unanswered: a restart of the daemon takes a moment.
const MISSES_MAX: u32 = 10;

/// Returns the runs in their final states, in the order given.
pub(crate) fn until_done(
    client: &Client,
    show: Show,
    mut runs: Vec<Run>,
) -> Result<Vec<Run>, Error> {
    let names: Vec<String> = runs.iter().map(|run| run.vm.name.clone()).collect();
    let mut meter = Meter::new(show, &names);
    let mut misses = 0;
    loop {
        for (place, run) in runs.iter_mut().enumerate() {
            if !run.state.is_final() {
                match client.ask(GetRun, &[&run.id.to_string()]) {
                    Ok(now) => (*run, misses) = (now, 0),
                    Err(Error::Call { .. }) if misses < MISSES_MAX => misses += 1,
                    Err(error) => return Err(error),
                }
            }
            meter.run(place, run);
        }
        if runs.iter().all(|run| run.state.is_final()) {
            return Ok(runs);
        }
        sleep(INTERVAL);
    }
}

/// Returns a task of maintenance in its final state. The appliance goes on without us: 'holdfast
/// status' has what became of it.
pub(crate) fn until_maintained(
    client: &Client,
    show: Show,
    name: &str,
    mut run: MaintenanceRun,
) -> Result<MaintenanceRun, Error> {
    let mut meter = Meter::new(show, &[name.to_owned()]);
    let mut misses = 0;
    while !run.state.is_final() {
        let step = if run.waits { "waits for a backup to end" } else { state_word(run.state) };
        meter.advance(0, run.done_bytes, run.total_bytes, step, "");
        sleep(INTERVAL);
        match client.ask(GetMaintenance, &[&run.number.to_string()]) {
            Ok(now) => (run, misses) = (now, 0),
            Err(Error::Call { .. }) if misses < MISSES_MAX => misses += 1,
            Err(error) => return Err(error),
        }
    }
    meter.done(0, run.state == RunState::Succeeded, state_word(run.state));
    Ok(run)
}
