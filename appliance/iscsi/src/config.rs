//! What a connection needs to know before it begins. Randomness comes in here.

use crate::{ChapAlgorithm, Secret, Time};
use std::time::Duration;

/// One connection to one target (or to a portal, for discovery).
#[derive(Clone, Debug)]
pub struct Config {
    /// Our iSCSI name, such as `iqn.2026-01.example:appliance`.
    pub initiator: String,
    /// The target's name; `None` makes a discovery session.
    pub target: Option<String>,
    /// Initiator session id, one per path; the same again reinstates the session (RFC 7143,
    /// 6.3.5). [`Config::random_isid`] makes one.
    pub isid: [u8; 6],
    /// CmdSN of the login; commands count on from it, round the end of 32 bits.
    pub first_cmd_sn: u32,
    /// Authentication; `None` offers none.
    pub chap: Option<ChapConfig>,
    /// Prefer header digests; the target decides.
    pub header_digest: bool,
    /// Prefer data digests; the target decides.
    pub data_digest: bool,
    /// MaxRecvDataSegmentLength that we declare: bytes, 512 to 16 MiB - 1 (RFC 7143, 13.12).
    pub max_recv_data: u32,
    /// Commands in flight at most, 1 to 1024; the target's window may allow fewer.
    pub max_outstanding: u16,
    /// How long to wait for what.
    pub timers: Timers,
}

impl Config {
    /// An ISID of the 'random' type (RFC 7143, 11.12.5) from six random bytes.
    #[must_use]
    pub fn random_isid(random: [u8; 6]) -> [u8; 6] {
        let [_, b, c, d, e, f] = random;
        [0x80, b, c, d, e, f]
    }

    /// `Ok` when a login can be tried with it.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_name("initiator", &self.initiator)?;
        if let Some(target) = &self.target {
            check_name("target", target)?;
        }
        if !(512..1 << 24).contains(&self.max_recv_data) {
            return Err(ConfigError::Range { key: "max_recv_data", min: 512, max: (1 << 24) - 1 });
        }
        if !(1..=1024).contains(&self.max_outstanding) {
            return Err(ConfigError::Range { key: "max_outstanding", min: 1, max: 1024 });
        }
        self.chap.as_ref().map_or(Ok(()), ChapConfig::check)
    }
}

/// RFC 7143, 4.2.7.1: at most 223 bytes; anything that could break a key=value list is out.
fn check_name(which: &'static str, name: &str) -> Result<(), ConfigError> {
    let shape = name.starts_with("iqn.") || name.starts_with("eui.") || name.starts_with("naa.");
    let clean = name.chars().all(|c| !c.is_control() && !c.is_whitespace());
    if shape && clean && name.len() <= 223 {
        Ok(())
    } else {
        Err(ConfigError::Name { which, name: name.into() })
    }
}

/// CHAP (RFC 7143, 12.1.3).
#[derive(Clone, Debug)]
pub struct ChapConfig {
    /// CHAP_N: the user that the target knows us by.
    pub user: String,
    /// Our secret.
    pub secret: Secret,
    /// With mutual CHAP the target's name and secret.
    pub mutual: Option<(String, Secret)>,
    /// What is offered, the best first; see [`ChapAlgorithm`] for a trap with old targets.
    pub algorithms: Vec<ChapAlgorithm>,
    /// Random, new for every login: our challenge to the target.
    pub challenge: [u8; 32],
    /// Random, new for every login: CHAP_I of our challenge.
    pub identifier: u8,
    /// Challenges that earlier logins answered ([`crate::Connection::challenge`]). None of them
    /// is answered again.
    pub answered: Vec<Vec<u8>>,
}

/// Shorter secrets can be guessed from one recorded login (RFC 7143, 9.2.1: 96 bits).
const SECRET_MIN: usize = 12;

impl ChapConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let clean = |name: &str| !name.is_empty() && name.len() <= 255 && !name.contains('\0');
        if !clean(&self.user) {
            return Err(ConfigError::ChapUser);
        }
        if self.secret.len() < SECRET_MIN {
            return Err(ConfigError::ShortSecret { whose: "our", min: SECRET_MIN });
        }
        if self.algorithms.is_empty() {
            return Err(ConfigError::NoAlgorithm);
        }
        let Some((user, secret)) = &self.mutual else { return Ok(()) };
        if !clean(user) {
            return Err(ConfigError::ChapUser);
        }
        if secret.len() < SECRET_MIN {
            return Err(ConfigError::ShortSecret { whose: "the target's", min: SECRET_MIN });
        }
        if *secret == self.secret {
            return Err(ConfigError::SameSecret);
        }
        Ok(())
    }
}

/// How long to wait for what. The defaults are those of open-iscsi where it has one.
#[derive(Clone, Copy, Debug)]
pub struct Timers {
    /// For the whole login phase: 15 s.
    pub login: Time,
    /// Silence after which we ask 'are you there' (NOP-Out): 5 s.
    pub ping_interval: Time,
    /// For the answer to that: 5 s.
    pub ping_answer: Time,
    /// For the answer to ABORT TASK, before the session is given up: 15 s.
    pub abort: Time,
    /// For the answer to a logout or a text request: 5 s.
    pub farewell: Time,
}

impl Default for Timers {
    fn default() -> Self {
        Self {
            login: Duration::from_secs(15),
            ping_interval: Duration::from_secs(5),
            ping_answer: Duration::from_secs(5),
            abort: Duration::from_secs(15),
            farewell: Duration::from_secs(5),
        }
    }
}

/// A configuration that no login can be tried with. It never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Not an iSCSI name.
    #[error("'{name}' is not an iSCSI {which} name (iqn., eui. or naa., at most 223 bytes)")]
    Name {
        /// Whose name.
        which: &'static str,
        /// As configured.
        name: String,
    },
    /// A number out of its range.
    #[error("{key} must be {min} to {max}")]
    Range {
        /// Which number.
        key: &'static str,
        /// Smallest value.
        min: u32,
        /// Largest value.
        max: u32,
    },
    /// A CHAP user name that cannot be sent.
    #[error("a CHAP user name must have 1 to 255 bytes")]
    ChapUser,
    /// A secret that could be guessed.
    #[error("{whose} CHAP secret is shorter than {min} bytes")]
    ShortSecret {
        /// Whose secret.
        whose: &'static str,
        /// Bytes needed.
        min: usize,
    },
    /// Both directions share a secret, so that an answer could be reflected (RFC 7143, 9.2.1).
    #[error("mutual CHAP needs two different secrets")]
    SameSecret,
    /// Nothing to offer.
    #[error("the list of CHAP algorithms is empty")]
    NoAlgorithm,
}
