//! Keys, signatures and requests of officers.

use crate::args::{Action, Ask, Officer, RightArg};
use crate::key_file::KeyFile;
use crate::say;
use crate::show::client;
use anyhow::{Context as _, bail};
use ledger::event::{LockBounds, PointText, Right};
use std::io::Write as _;
use warden::Warden as _;
use warden::wire::{OfficerAction, OfficerRequest, Outcome, Request};

/// `officer ...`.
pub(crate) fn run(command: Officer) -> anyhow::Result<()> {
    match command {
        Officer::New { key, name } => {
            let made = KeyFile::make(&key, &name)?;
            say(format_args!("{}={}", made.name, made.public()))
        }
        Officer::Challenge(ask) => challenge(&ask),
        Officer::Sign { key, origin, challenge, action } => {
            let key = KeyFile::read(&key)?;
            let text = warden::officer_text(&repository(&origin)?, &challenge, &act(action)?);
            // Whoever signs sees what he signs.
            write!(std::io::stderr(), "{text}")?;
            say(format_args!("{}={}", key.name, key.sign(&text)))
        }
        Officer::Submit { socket, challenge, signatures, action } => {
            let action = act(action)?;
            let request = OfficerRequest { action, challenge, signatures };
            let reply = client(&socket).call(Request::Officer(Box::new(request)))?;
            say(format_args!("done; the ledger has {} leaves", reply.size))
        }
    }
}

fn challenge(ask: &Ask) -> anyhow::Result<()> {
    let warden = client(&ask.socket);
    let Outcome::Status(status) = warden.call(Request::Status)?.outcome else {
        bail!("the warden answered something else than its status");
    };
    let origin = status.head.lines().next().context("the warden's head has no origin")?.to_owned();
    let Outcome::Challenge(challenge) = warden.call(Request::Challenge)?.outcome else {
        bail!("the warden answered something else than a challenge");
    };
    if ask.json {
        return say(serde_json::json!({ "origin": origin, "challenge": challenge }));
    }
    say(format_args!("--origin {origin} --challenge {challenge}"))
}

/// The repository that an origin names: `holdfast/<id in hex>`.
fn repository(origin: &str) -> anyhow::Result<[u8; 16]> {
    let mut id = [0; 16];
    let hex = origin.strip_prefix("holdfast/").context("an origin begins with holdfast/")?;
    hex::decode_to_slice(hex, &mut id).with_context(|| format!("{origin:?} is no origin"))?;
    Ok(id)
}

/// The rights as the ledger has them.
pub(crate) fn rights(rights: &[RightArg]) -> Vec<Right> {
    rights
        .iter()
        .map(|right| match right {
            RightArg::ReleaseHold => Right::ReleaseHold,
            RightArg::Override => Right::Override,
        })
        .collect()
}

fn act(action: Action) -> anyhow::Result<OfficerAction> {
    let point = |text: String| match text.parse() {
        Ok(point) => Ok(PointText(point)),
        Err(_) => bail!("{text:?} is no recovery point"),
    };
    Ok(match action {
        Action::ReleaseHold { point: id, matter } => {
            OfficerAction::ReleaseHold { point: point(id)?, matter }
        }
        Action::Override { point: id, reason } => {
            OfficerAction::Override { point: point(id)?, reason }
        }
        Action::OverridesOff => OfficerAction::OverridesOff {},
        Action::Enrol { name, public_key, rights: given } => {
            OfficerAction::Enrol { name, key: public_key, rights: rights(&given) }
        }
        Action::Dismiss { name } => OfficerAction::Dismiss { name },
        Action::SetBounds { min_lock, max_lock } => OfficerAction::SetBounds {
            bounds: LockBounds { min_seconds: min_lock, max_seconds: max_lock },
        },
    })
}
