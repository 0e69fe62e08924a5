//! The security stage: nothing, or CHAP (RFC 7143, 12.1.3).

use crate::chap::same;
use crate::config::ChapConfig;
use crate::keys::{self, Pairs};
use crate::{ChapAlgorithm, IscsiError};

/// RFC 7143, 12.1.3: a challenge is 1 to 1024 bytes.
const CHALLENGE_MAX: usize = 1024;

/// What the security stage does next.
#[derive(Debug)]
pub(super) enum Step {
    /// Send these keys; the flag says that we are ready to leave the stage.
    Say(Vec<u8>, bool),
    /// Nothing left to prove.
    Done,
}

/// Invariant: moves only downwards in this list, so that a target can neither skip a proof nor
/// have a second challenge answered.
#[derive(Debug)]
pub(super) enum Authentication {
    /// `AuthMethod=CHAP` was offered.
    Offered(ChapConfig),
    /// The algorithms were offered; a challenge is awaited.
    Choosing(ChapConfig),
    /// Our answer is out; with mutual CHAP the target's is awaited.
    Answered(ChapConfig, ChapAlgorithm, Vec<u8>),
    /// Done, or never needed.
    Done,
}

impl Authentication {
    pub(super) fn new(chap: Option<ChapConfig>) -> Self {
        chap.map_or(Self::Done, Self::Offered)
    }

    /// The value of AuthMethod: exactly what was configured.
    pub(super) fn offer(&self) -> &'static str {
        if self.is_done() { "None" } else { "CHAP" }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self, Self::Done)
    }

    /// The challenge that was answered last, for who keeps it from being answered again.
    pub(super) fn challenge(&self) -> Option<&[u8]> {
        match self {
            Self::Answered(_, _, challenge) => Some(challenge),
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, pairs: &Pairs) -> Result<Step, IscsiError> {
        match std::mem::replace(self, Self::Done) {
            Self::Offered(chap) => {
                expect_method(pairs, "CHAP")?;
                let mut text = Vec::new();
                let offer: Vec<_> = chap.algorithms.iter().map(|a| a.number()).collect();
                keys::push(&mut text, "CHAP_A", &offer.join(","));
                *self = Self::Choosing(chap);
                Ok(Step::Say(text, false))
            }
            Self::Choosing(chap) => {
                let Response { algorithm, challenge, text } = respond(&chap, pairs)?;
                *self = Self::Answered(chap, algorithm, challenge);
                Ok(Step::Say(text, true))
            }
            Self::Answered(chap, algorithm, _) => {
                check_target(&chap, algorithm, pairs)?;
                Ok(Step::Done)
            }
            Self::Done => {
                if pairs.get("AuthMethod")?.is_some() {
                    expect_method(pairs, "None")?;
                }
                Ok(Step::Done)
            }
        }
    }
}

fn expect_method(pairs: &Pairs, wanted: &str) -> Result<(), IscsiError> {
    match pairs.need("AuthMethod")? {
        method if method == wanted => Ok(()),
        other => Err(IscsiError::misbehaved(format!(
            "AuthMethod={wanted} was offered, the target chose '{other}'"
        ))),
    }
}

/// Our answer, and what it answers.
struct Response {
    algorithm: ChapAlgorithm,
    challenge: Vec<u8>,
    text: Vec<u8>,
}

/// Our answer to the target's challenge and, with mutual CHAP, our own challenge.
fn respond(chap: &ChapConfig, pairs: &Pairs) -> Result<Response, IscsiError> {
    let chosen = pairs.need("CHAP_A")?;
    let algorithm = *chap
        .algorithms
        .iter()
        .find(|algorithm| algorithm.number() == chosen)
        .ok_or_else(|| IscsiError::NoCommonAlgorithm { chosen: chosen.to_owned() })?;
    let identifier = identifier(pairs.need("CHAP_I")?)?;
    let challenge = keys::binary("CHAP_C", pairs.need("CHAP_C")?, CHALLENGE_MAX)?;
    let ours = &chap.challenge[..algorithm.length()];
    if challenge == ours {
        return Err(IscsiError::misbehaved("the target's challenge is our own"));
    }
    if chap.answered.contains(&challenge) {
        return Err(IscsiError::ChallengeRepeated);
    }
    let response = algorithm.response(identifier, &chap.secret, &challenge);
    let mut text = Vec::new();
    keys::push(&mut text, "CHAP_N", &chap.user);
    keys::push(&mut text, "CHAP_R", &keys::to_hex(&response));
    if chap.mutual.is_some() {
        keys::push(&mut text, "CHAP_I", &chap.identifier.to_string());
        keys::push(&mut text, "CHAP_C", &keys::to_hex(ours));
    }
    Ok(Response { algorithm, challenge, text })
}

fn identifier(value: &str) -> Result<u8, IscsiError> {
    let number = keys::number("CHAP_I", value, 0, 255)?;
    Ok(u8::try_from(number).expect("at most 255, checked above"))
}

fn check_target(
    chap: &ChapConfig,
    algorithm: ChapAlgorithm,
    pairs: &Pairs,
) -> Result<(), IscsiError> {
    let Some((name, secret)) = &chap.mutual else { return Ok(()) };
    let (Some(claimed), Some(response)) = (pairs.get("CHAP_N")?, pairs.get("CHAP_R")?) else {
        return Err(IscsiError::TargetNotAuthentic);
    };
    let response = keys::binary("CHAP_R", response, algorithm.length())?;
    let ours = &chap.challenge[..algorithm.length()];
    let wanted = algorithm.response(chap.identifier, secret, ours);
    if claimed == name && same(&response, &wanted) {
        Ok(())
    } else {
        Err(IscsiError::TargetNotAuthentic)
    }
}
