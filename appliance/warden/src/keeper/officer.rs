//! Requests that officers sign: a challenge that is good once, a text that says what is done to
//! which repository, and signatures that are checked with the keys in the ledger.

use super::{Caller, Keeper};
use crate::WardenError;
use crate::state::{lock_event, officer_key};
use crate::wire::{OfficerAction, OfficerRequest, Outcome};
use ledger::event::PointText;
use ledger::{Event, Vkey, origin};
use model::RecoveryPointId;
use retention::{Authority, Reading};
use std::collections::BTreeSet;
use std::time::Duration;

/// How long a challenge is good.
const CHALLENGE_FOR: Duration = Duration::from_secs(600);
/// Challenges at a time, of the daemon and of the console each; the oldest one goes first. Had they
/// one place only, a daemon that was taken over could drive out those that people asked for.
const CHALLENGES: usize = 32;
/// Signatures in one request.
const SIGNATURES: usize = 16;

/// Something to sign that was given out and not used yet.
pub(super) struct Challenge {
    caller: Caller,
    text: String,
    until: Duration,
}

/// What officers sign for `action` on `repository` with `challenge` (hex).
#[must_use]
pub fn officer_text(repository: &[u8; 16], challenge: &str, action: &OfficerAction) -> String {
    let json = serde_json::to_string(action).expect("names and numbers: always JSON");
    format!("holdfast officer request 1\n{}\n{challenge}\n{json}\n", origin(repository))
}

impl Keeper {
    pub(super) fn challenge(
        &mut self,
        caller: Caller,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let bytes = (self.random)().map_err(WardenError::io("taking randomness for", "ledger"))?;
        let text = hex::encode(bytes);
        let of = |challenge: &&Challenge| challenge.caller == caller;
        if self.challenges.iter().filter(of).count() >= CHALLENGES
            && let Some(oldest) = self.challenges.iter().position(|one| of(&one))
        {
            self.challenges.remove(oldest);
        }
        let until = reading.monotonic + CHALLENGE_FOR;
        self.challenges.push(Challenge { caller, text: text.clone(), until });
        Ok(Outcome::Challenge(text))
    }

    pub(super) fn officer(
        &mut self,
        caller: Caller,
        request: OfficerRequest,
        reading: Reading,
    ) -> Result<Outcome, WardenError> {
        let OfficerRequest { action, challenge, signatures } = request;
        let (point, name) = subject(&action);
        let names = match self.signed_by(&action, &challenge, &signatures, reading) {
            Ok(names) => names,
            Err(problem) => return Err(self.deny(point, name, problem, reading)),
        };
        let who = match caller {
            Caller::Console if names.is_empty() => Authority::local(),
            _ => Authority::of(names.iter().cloned()),
        };
        let event = event(action, names.into_iter().collect());
        if let Event::Officer { key, .. } = &event
            && let Err(problem) = self.new_key(key)
        {
            return Err(self.deny(point, name, problem, reading));
        }
        let view = self.clock.view();
        let Some(engine) = lock_event(&event, view.value()) else {
            return Err(WardenError::denied("this needs no officer"));
        };
        if let Err(refusal) = self.state.retention().check(&engine, &who, &view) {
            return Err(self.refuse(point, name, refusal, reading));
        }
        self.record(vec![event], reading)?;
        Ok(Outcome::Done)
    }

    /// A key that nobody in office has: two names with one key are one person, and no pair.
    fn new_key(&self, text: &str) -> Result<(), String> {
        let key = officer_key(text)?;
        match self.state.officers().iter().find(|(_, officer)| officer.key == key) {
            Some((name, _)) => Err(format!("it is the key of {name}; each officer has his own")),
            None => Ok(()),
        }
    }

    /// Names of those whose signatures are right; all of them must be. The challenge is used up.
    fn signed_by(
        &mut self,
        action: &OfficerAction,
        challenge: &str,
        signatures: &[(String, String)],
        reading: Reading,
    ) -> Result<BTreeSet<String>, String> {
        self.challenges.retain(|known| reading.monotonic < known.until);
        let at = self.challenges.iter().position(|known| known.text == challenge);
        let at = at.ok_or("the challenge is not one of ours, was used, or is too old")?;
        self.challenges.remove(at);
        if signatures.len() > SIGNATURES {
            return Err(format!("there are more than {SIGNATURES} signatures"));
        }
        let text = officer_text(&self.repository, challenge, action);
        let mut names = BTreeSet::new();
        for (name, signature) in signatures {
            let officer = self.state.officers().get(name);
            let officer = officer.ok_or("somebody signed who is not an officer")?;
            let mut bytes = [0; 64];
            hex::decode_to_slice(signature, &mut bytes)
                .map_err(|_| "a signature is not 128 hex digits")?;
            let key = Vkey::new("officer", &officer.key).map_err(|error| error.to_string())?;
            if !key.verifies(text.as_bytes(), &bytes) {
                return Err("a signature is wrong".into());
            }
            names.insert(name.clone());
        }
        Ok(names)
    }
}

/// The point concerned, and the name of the action on record.
fn subject(action: &OfficerAction) -> (Option<RecoveryPointId>, &'static str) {
    match action {
        OfficerAction::ReleaseHold { point, .. } => (Some(point.0), "release-hold"),
        OfficerAction::Override { point, .. } => (Some(point.0), "override"),
        OfficerAction::OverridesOff {} => (None, "overrides-off"),
        OfficerAction::Enrol { .. } => (None, "enrol"),
        OfficerAction::Dismiss { .. } => (None, "dismiss"),
        OfficerAction::SetBounds { .. } => (None, "set-bounds"),
    }
}

fn event(action: OfficerAction, by: Vec<String>) -> Event {
    match action {
        OfficerAction::ReleaseHold { point: PointText(point), matter } => {
            Event::Unhold { point, matter, by }
        }
        OfficerAction::Override { point: PointText(point), reason } => {
            Event::Override { point, reason: super::shortened(&reason), by }
        }
        OfficerAction::OverridesOff {} => Event::OverridesOff {},
        OfficerAction::Enrol { name, key, rights } => Event::Officer { name, key, rights, by },
        OfficerAction::Dismiss { name } => Event::Dismiss { name, by },
        OfficerAction::SetBounds { bounds } => Event::Bounds { bounds, by },
    }
}
