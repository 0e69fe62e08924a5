//! What has to be configured for a portal; everything else has a documented default.

use crate::transport::Limits;
use iscsi::{ChapAlgorithm, ChapConfig, Secret, Timers};
use std::time::Duration;

/// One target behind one portal: one session.
#[derive(Clone, Debug)]
pub struct PortalConfig {
    /// `host:port`; an IPv6 host stands in brackets.
    pub portal: String,
    /// The target's iSCSI name.
    pub target: String,
    /// Our iSCSI name.
    pub initiator: String,
    /// Authentication; default none.
    pub chap: Option<Chap>,
    /// Prefer CRC32C over headers; the target decides. Default off.
    pub header_digest: bool,
    /// Prefer CRC32C over data; the target decides. Default on: it finds what TCP's sum misses.
    pub data_digest: bool,
    /// Commands in flight in the session, at most 1024. Default 32, as open-iscsi.
    pub queue_depth: u16,
    /// Commands in flight on one LUN by one path. Default 8: ESXi hosts use the same LUN. It is
    /// lowered while the LUN says BUSY or TASK SET FULL.
    pub lun_depth: u16,
    /// Bytes of one READ(16). Default 128 KiB: a larger read goes as several commands, which tgtd
    /// serves 1.5 times as fast as one of 256 KiB. At least a block, at most 4 MiB.
    pub transfer: u32,
    /// Bytes that the target may send in one PDU (MaxRecvDataSegmentLength), 512 to 16 MiB - 1.
    /// Default 256 KiB.
    pub segment: u32,
    /// To connect. Default 5 s.
    pub connect_timeout: Duration,
    /// For one command, after which it is aborted. Default 30 s.
    pub command_timeout: Duration,
    /// How long a LUN that is busy, reserved or in transition is waited for. Default 30 s.
    pub busy_patience: Duration,
    /// How long a command may go unanswered while the LUN has another path that is usable; then
    /// it is sent by that one. Default 15 s.
    pub failover_after: Duration,
    /// Sessions to this portal, each a path of its own: 1 to 8. Default 1; 2 where one connection
    /// does not fill the network.
    pub sessions: u16,
    /// What to do about a lost connection.
    pub reconnect: Reconnect,
    /// Login, keep-alive and abort times; defaults of [`Timers`].
    pub timers: Timers,
}

impl Default for PortalConfig {
    fn default() -> Self {
        Self {
            portal: String::new(),
            target: String::new(),
            initiator: String::new(),
            chap: None,
            header_digest: false,
            data_digest: true,
            queue_depth: 32,
            lun_depth: 8,
            transfer: 128 * 1024,
            segment: 256 * 1024,
            connect_timeout: Duration::from_secs(5),
            command_timeout: Duration::from_secs(30),
            busy_patience: Duration::from_secs(30),
            failover_after: Duration::from_secs(15),
            sessions: 1,
            reconnect: Reconnect::default(),
            timers: Timers::default(),
        }
    }
}

impl PortalConfig {
    /// What concerns commands, whatever carries them.
    pub(crate) fn limits(&self) -> Limits {
        Limits {
            lun_depth: self.lun_depth,
            transfer: self.transfer,
            command_timeout: self.command_timeout,
            busy_patience: self.busy_patience,
            reconnect: self.reconnect,
            failover_after: self.failover_after,
        }
    }
}

/// CHAP credentials. `Debug` does not show the secrets.
#[derive(Clone, Debug)]
pub struct Chap {
    /// The user that the target knows us by.
    pub user: String,
    /// Our secret, at least 12 bytes.
    pub secret: Secret,
    /// The target's own name and secret, which then has to prove itself too.
    pub mutual: Option<(String, Secret)>,
    /// What is offered, the best first. tgtd takes only `[Md5]`; see [`ChapAlgorithm`].
    pub algorithms: Vec<ChapAlgorithm>,
}

impl Chap {
    /// One-way CHAP that offers all algorithms, the strongest first.
    #[must_use]
    pub fn new(user: impl Into<String>, secret: Secret) -> Self {
        let algorithms = ChapAlgorithm::STRONGEST_FIRST.to_vec();
        Self { user: user.into(), secret, mutual: None, algorithms }
    }

    /// For one login; `challenge` and `identifier` are random.
    pub(crate) fn for_login(&self, challenge: [u8; 32], identifier: u8) -> ChapConfig {
        ChapConfig {
            user: self.user.clone(),
            secret: self.secret.clone(),
            mutual: self.mutual.clone(),
            algorithms: self.algorithms.clone(),
            challenge,
            identifier,
            answered: Vec::new(),
        }
    }
}

/// How often and how long a lost session is logged in again before its reads fail. While another
/// path to the LUN is usable nobody waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Reconnect {
    /// Attempts in a row; also how often one read is repeated after losses of one path. Default 8.
    pub attempts: u32,
    /// Before the second attempt; doubled for each further one, with some jitter. Before the
    /// first one it is the time that the target asked for (DefaultTime2Wait). Default 1 s.
    pub delay: Duration,
    /// All attempts and delays together. Default 120 s: shorter failovers of an array are waited
    /// for when there is no other path.
    pub patience: Duration,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self { attempts: 8, delay: Duration::from_secs(1), patience: Duration::from_secs(120) }
    }
}
