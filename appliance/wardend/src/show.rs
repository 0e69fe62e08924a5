//! How a running warden is, and its signed head.

use crate::args::Ask;
use crate::say;
use anyhow::bail;
use std::time::Duration;
use warden::Warden as _;
use warden::client::Client;
use warden::frames::Role;
use warden::wire::{Outcome, Reply, Request, Status};

/// People do not wait for long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A connection as an officer.
pub(crate) fn client(socket: &std::path::Path) -> Client {
    Client::new(socket, Role::Officer, PATIENCE)
}

fn ask(ask: &Ask) -> anyhow::Result<(Reply, Box<Status>)> {
    let reply = client(&ask.socket).call(Request::Status)?;
    match reply.outcome.clone() {
        Outcome::Status(status) => Ok((reply, status)),
        _ => bail!("the warden answered something else than its status"),
    }
}

/// `status`.
pub(crate) fn status(args: &Ask) -> anyhow::Result<()> {
    let (reply, status) = ask(args)?;
    if args.json {
        return say(serde_json::to_string(&reply)?);
    }
    say(format_args!("ledger: {} leaves", reply.size))?;
    say(format_args!("retention clock: {}", reply.clock.value.0))?;
    if let Some(doubt) = &reply.clock.doubt {
        say(format_args!("NOTHING IS RELEASED: {doubt}"))?;
    }
    if let Some(stopped) = &status.stopped {
        say(format_args!("STOPPED: {stopped}"))?;
    }
    for what in &status.not_enforced {
        say(format_args!("NOT enforced: {what}"))?;
    }
    for damaged in &status.found.damaged {
        say(format_args!("damaged: {}: {}", damaged.path, damaged.what))?;
    }
    for foreign in &status.found.foreign {
        say(format_args!("not the repository's: {foreign}"))?;
    }
    for volume in &status.found.volumes_missing {
        say(format_args!("missing: volume {volume}"))?;
    }
    Ok(())
}

/// `head`.
pub(crate) fn head(args: &Ask) -> anyhow::Result<()> {
    let (_, status) = ask(args)?;
    if args.json {
        let json = serde_json::json!({ "head": status.head, "signer": status.signer });
        return say(json);
    }
    say(&status.head)?;
    say(format_args!("key: {}", status.signer))
}
