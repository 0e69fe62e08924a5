//! The login phase (RFC 7143, 6.3): security, then operational negotiation, then full feature.
//!
//! ```text
//!        no CHAP:  AuthMethod=None ------------------------+
//!  SECURITY                                                v
//!        CHAP:     AuthMethod=CHAP -> CHAP_A -> CHAP_N/R -> OPERATIONAL -> FULL FEATURE
//! ```
//!
//! What is offered for authentication is exactly what was configured: a target that wants less
//! is refused, and a failed login is never repeated with less.

mod authenticate;
mod negotiate;

pub use negotiate::Agreed;

use crate::keys::{self, Pairs};
use crate::pdu::{Header, LoginStage};
use crate::{Config, IscsiError, LoginStatus, TargetAddress};
use authenticate::{Authentication, Step};
use negotiate::Negotiation;

/// A login that takes more request-response pairs than this is a loop.
const EXCHANGES_MAX: u32 = 32;
/// Who we are, for people who look at a target's list of sessions.
const ALIAS: &str = "Holdfast";
/// Text of one response, gathered over several PDUs (C bit).
const TEXT_MAX: usize = 64 * 1024;

/// The next thing to do.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send a request.
    Send(Request),
    /// The full feature phase has begun.
    Done(Box<Agreed>),
}

/// What a login request carries beyond the connection's own numbers.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) stage: LoginStage,
    pub(crate) text: Vec<u8>,
}

/// Where the login stands.
#[derive(Debug)]
pub(crate) struct Login {
    config: Config,
    authentication: Authentication,
    negotiation: Negotiation,
    sent: LoginStage,
    agreed: Agreed,
    gathered: Vec<u8>,
    exchanges: u32,
}

impl Login {
    /// The state and the first request.
    pub(crate) fn start(config: Config) -> (Self, Request) {
        let mut text = Vec::new();
        keys::push(&mut text, "InitiatorName", &config.initiator);
        keys::push(&mut text, "InitiatorAlias", ALIAS);
        match &config.target {
            Some(target) => {
                keys::push(&mut text, "SessionType", "Normal");
                keys::push(&mut text, "TargetName", target);
            }
            None => keys::push(&mut text, "SessionType", "Discovery"),
        }
        let authentication = Authentication::new(config.chap.clone());
        keys::push(&mut text, "AuthMethod", authentication.offer());
        let next = authentication.is_done().then_some(LoginStage::OPERATIONAL);
        let sent = LoginStage { current: LoginStage::SECURITY, next };
        let login = Self {
            agreed: Agreed::before(),
            negotiation: Negotiation::new(&config),
            config,
            authentication,
            sent,
            gathered: Vec::new(),
            exchanges: 1,
        };
        (login, Request { stage: sent, text })
    }

    /// The challenge of the target's that was answered, while the target's own proof is awaited.
    pub(crate) fn challenge(&self) -> Option<&[u8]> {
        self.authentication.challenge()
    }

    /// What a login response leads to.
    pub(crate) fn answer(&mut self, header: &Header, text: &[u8]) -> Result<Next, IscsiError> {
        self.exchanges += 1;
        if self.exchanges > EXCHANGES_MAX {
            return Err(IscsiError::misbehaved("the login never ends"));
        }
        if self.gathered.len() + text.len() > TEXT_MAX {
            return Err(IscsiError::misbehaved("the login text never ends"));
        }
        self.gathered.extend_from_slice(text);
        check_status(header, &self.gathered)?;
        if header.flags() & 0x40 != 0 {
            if header.flags() & 0x80 != 0 {
                return Err(IscsiError::misbehaved("a login answer that both ends and goes on"));
            }
            // More of this answer follows: an empty request asks for it (6.2).
            let stage = LoginStage { current: self.sent.current, next: None };
            return Ok(Next::Send(Request { stage, text: Vec::new() }));
        }
        let pairs = Pairs::parse(&std::mem::take(&mut self.gathered))?;
        let stage = LoginStage::of(header.flags());
        self.check_stage(stage)?;
        self.agreed.session_handle = header.session_handle();
        match stage.current {
            LoginStage::SECURITY => self.security(stage, &pairs),
            _ => self.operational(stage, &pairs),
        }
    }

    /// The target answers in our stage and moves only where we were ready to go (11.13.3).
    fn check_stage(&self, stage: LoginStage) -> Result<(), IscsiError> {
        if stage.current != self.sent.current
            || (stage.next.is_some() && stage.next != self.sent.next)
        {
            return Err(IscsiError::misbehaved("the login moved to a stage that nobody asked for"));
        }
        Ok(())
    }

    fn security(&mut self, stage: LoginStage, pairs: &Pairs) -> Result<Next, IscsiError> {
        self.agreed.note_target(pairs)?;
        match self.authentication.answer(pairs)? {
            Step::Say(text, ready) => {
                let next = ready.then_some(LoginStage::OPERATIONAL);
                Ok(self.send(LoginStage::SECURITY, next, text))
            }
            Step::Done if stage.next.is_some() => Ok(self.offer()),
            // Authenticated, but the target wants to stay: ask again to move on.
            Step::Done => {
                Ok(self.send(LoginStage::SECURITY, Some(LoginStage::OPERATIONAL), Vec::new()))
            }
        }
    }

    fn offer(&mut self) -> Next {
        let text = negotiate::offer(&self.config);
        self.send(LoginStage::OPERATIONAL, Some(LoginStage::FULL), text)
    }

    fn operational(&mut self, stage: LoginStage, pairs: &Pairs) -> Result<Next, IscsiError> {
        self.agreed.note_target(pairs)?;
        let reply = self.negotiation.take(&mut self.agreed, pairs)?;
        if stage.next == Some(LoginStage::FULL) {
            if !reply.is_empty() {
                return Err(IscsiError::misbehaved("the login ended with an open question"));
            }
            return Ok(Next::Done(Box::new(self.agreed.clone())));
        }
        Ok(self.send(LoginStage::OPERATIONAL, Some(LoginStage::FULL), reply))
    }

    fn send(&mut self, current: u8, next: Option<u8>, text: Vec<u8>) -> Next {
        self.sent = LoginStage { current, next };
        Next::Send(Request { stage: self.sent, text })
    }
}

/// RFC 7143, 11.13.5.
fn check_status(header: &Header, text: &[u8]) -> Result<(), IscsiError> {
    match header.detail() {
        (0, _) => Ok(()),
        (1, detail) => {
            // Several may be named; they stand for one portal group, so the first will do.
            let pairs = Pairs::parse(text)?;
            let address = pairs.iter().find(|(key, _)| *key == "TargetAddress");
            let (_, address) = address.ok_or_else(|| {
                IscsiError::misbehaved("a redirection that does not say where to")
            })?;
            let address = TargetAddress::parse(address);
            Err(IscsiError::Redirected { address, permanent: detail == 2 })
        }
        (class, detail) => Err(IscsiError::LoginRefused(LoginStatus { class, detail })),
    }
}
