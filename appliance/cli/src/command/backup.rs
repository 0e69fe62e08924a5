//! `holdfast backup`.

use super::run;
use crate::client::Client;
use crate::error::Error;
use crate::output::{Outcome, Show};
use crate::watch::until_done;
use api::endpoint::StartRuns;
use api::{RunRequest, RunsStarted};

/// `backup run`: one run for each VM; waits for all of them.
pub(crate) fn start(
    client: &Client,
    show: Show,
    request: &RunRequest,
    no_wait: bool,
) -> Result<Outcome, Error> {
    let started = client.call(StartRuns, &[], &[], request)?;
    if no_wait {
        return Ok(Outcome::new(run::table(&started.runs), &started));
    }
    let runs = until_done(client, show, started.runs)?;
    let succeeded = runs.iter().all(run::succeeded);
    let text = runs.iter().map(run::text).collect::<Vec<_>>().join("\n");
    Ok(Outcome::new(text, &RunsStarted { runs }).succeeded(succeeded))
}
