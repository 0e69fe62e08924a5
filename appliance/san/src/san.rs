//! The SAN as one run sees it: portals logged in to, LUNs found.

use crate::inventory::{self, Found};
use crate::session::Session;
use crate::transport::Transport;
use crate::{Counters, Lun, LunInfo, PortalConfig, SanError, Skipped};
use model::NaaName;
use tokio::runtime::Handle;

/// A session, as it was agreed on at its first login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// `host:port`.
    pub portal: String,
    /// iSCSI name.
    pub target: String,
    /// Headers carry a CRC32C.
    pub header_digest: bool,
    /// Data carries a CRC32C.
    pub data_digest: bool,
}

/// Sessions and the LUNs behind them.
#[derive(Debug)]
pub struct San {
    sessions: Vec<Session>,
    luns: Vec<Lun>,
    skipped: Vec<Skipped>,
}

impl San {
    /// Logs in to every portal and takes the inventory of its LUNs.
    ///
    /// A portal that fails is noted in [`Self::skipped`] as long as another one works; when none
    /// does, the error is that of the first.
    pub async fn login(portals: Vec<PortalConfig>) -> Result<Self, SanError> {
        let mut san = Self { sessions: Vec::new(), luns: Vec::new(), skipped: Vec::new() };
        for config in portals {
            let (portal, target) = (config.portal.clone(), config.target.clone());
            if let Err(error) = san.add(config).await {
                tracing::warn!(%portal, %target, "portal left out: {error}");
                san.skipped.push(Skipped { portal, target, lun: None, error });
            }
        }
        if san.sessions.is_empty() {
            let first = san.skipped.into_iter().next();
            return Err(first.map_or(SanError::NoPortal, |skipped| skipped.error));
        }
        Ok(san)
    }

    async fn add(&mut self, config: PortalConfig) -> Result<(), SanError> {
        let session = Session::login(config).await?;
        let transport = Transport::Iscsi(session.clone());
        let (found, mut skipped) = match inventory::take(&transport).await {
            Ok(inventory) => inventory,
            Err(error) => {
                session.logout().await;
                return Err(error);
            }
        };
        let luns = found.into_iter().map(|found: Found| Lun::new(found, Handle::current()));
        self.luns.extend(luns);
        self.skipped.append(&mut skipped);
        self.sessions.push(session);
        Ok(())
    }

    /// The sessions, in the order of their portals.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let info = |session: &Session| SessionInfo {
            portal: session.place().portal.clone(),
            target: session.place().target.clone(),
            header_digest: session.agreed().header_digest,
            data_digest: session.agreed().data_digest,
        };
        self.sessions.iter().map(info).collect()
    }

    /// Every disk that was found; the same one once per portal.
    #[must_use]
    pub fn luns(&self) -> &[Lun] {
        &self.luns
    }

    /// What could not be looked at, and why.
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The LUN of that name, by the first portal that shows it. Refused when two LUNs that are
    /// not the same claim the name.
    pub fn find(&self, name: &NaaName) -> Result<Lun, SanError> {
        let mut claims = self.luns.iter().filter(|lun| lun.info().names.contains(name));
        let Some(first) = claims.next() else {
            return Err(SanError::NotFound { name: name.clone(), seen: self.seen() });
        };
        if claims.any(|other| !same_device(first.info(), other.info())) {
            let claims = self.luns.iter().filter(|lun| lun.info().names.contains(name));
            let seen = claims.map(|lun| lun.info().line()).collect();
            return Err(SanError::Ambiguous { name: name.clone(), seen });
        }
        Ok(first.clone())
    }

    fn seen(&self) -> Vec<String> {
        let luns = self.luns.iter().map(|lun| lun.info().line());
        let skipped = self.skipped.iter().map(|skipped| match skipped.lun {
            Some(lun) => format!("LUN {lun} of {} (unusable)", skipped.target),
            None => format!("nothing at portal {} (login failed)", skipped.portal),
        });
        luns.chain(skipped).collect()
    }

    /// What was sent and read, over all LUNs.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.luns.iter().fold(Counters::default(), |mut sum, lun| {
            sum.add(&lun.counters());
            sum
        })
    }

    /// Ends all sessions after the commands in flight. Reads begun later fail.
    pub async fn logout(self) {
        for session in self.sessions {
            Transport::Iscsi(session).logout().await;
        }
    }
}

fn same_device(a: &LunInfo, b: &LunInfo) -> bool {
    (a.capacity, a.block_size, &a.vendor, &a.product, &a.serial)
        == (b.capacity, b.block_size, &b.vendor, &b.product, &b.serial)
}
