//! The SAN as this box sees it: ways to targets, and the LUNs behind them.

use crate::kernel::Kernel;
use crate::own::OwnDisk;
use crate::scan::{self, Refused};
use crate::transport::Transport;
use crate::{Counters, Lun, PathState, PortalConfig, SanError, Skipped};
use model::NaaName;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// What belongs to the SAN, and what does not.
#[derive(Clone, Debug, Default)]
pub struct SanConfig {
    /// iSCSI portals to log in to.
    pub portals: Vec<PortalConfig>,
    /// Disks that this box itself lives on: a LUN that is one of them is refused.
    pub own: Vec<OwnDisk>,
    /// Also take what the kernel sees behind Fibre Channel, SAS and its own iSCSI.
    pub kernel: Option<Kernel>,
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionInfo {
    /// `host:port`.
    pub portal: String,
    /// iSCSI name.
    pub target: String,
    /// Headers carry a CRC32C, as agreed on at its first login.
    pub header_digest: bool,
    /// Data carries a CRC32C, as agreed on at its first login.
    pub data_digest: bool,
    /// LUNs that it is a path to.
    pub luns: usize,
    /// It was lost, as far as its LUNs know. It is reinstated by the next command.
    pub lost: bool,
}

/// Sessions and the LUNs behind them. Cloning gives another handle of the same.
#[derive(Clone, Debug)]
pub struct San(Arc<Shared>);

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: SanConfig,
    pub(crate) state: Mutex<State>,
    /// Held while the inventory is taken.
    pub(crate) scanning: tokio::sync::Mutex<()>,
    /// The inventory is to be taken again.
    pub(crate) rescan: Arc<Notify>,
}

/// What is there now.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) transports: Vec<Transport>,
    /// Portals without a session, an entry for each session that is missing.
    pub(crate) missing: Vec<PortalConfig>,
    pub(crate) luns: Vec<Lun>,
    pub(crate) skipped: Vec<Skipped>,
    pub(crate) refused: Vec<Refused>,
    pub(crate) closed: bool,
}

impl San {
    /// Logs in to every portal and takes the inventory of its LUNs.
    ///
    /// A portal that fails is noted in [`Self::skipped`] as long as another one works, and tried
    /// again from time to time; when none does, the error is that of the first.
    pub async fn login(portals: Vec<PortalConfig>) -> Result<Self, SanError> {
        Self::open(SanConfig { portals, ..SanConfig::default() }).await
    }

    /// As [`Self::login`], with all that there is to know.
    pub async fn open(config: SanConfig) -> Result<Self, SanError> {
        let sessions = |portal: &PortalConfig| {
            let count = usize::from(portal.sessions.clamp(1, 8));
            std::iter::repeat_n(portal.clone(), count)
        };
        let missing = config.portals.iter().flat_map(sessions).collect();
        let state = Mutex::new(State { missing, ..State::default() });
        let rescan = Arc::new(Notify::new());
        let (scanning, again) = (tokio::sync::Mutex::default(), Arc::clone(&rescan));
        let shared = Arc::new(Shared { config, state, scanning, rescan });
        scan::scan(&shared).await;
        let san = Self(shared);
        let mut state = san.state();
        if state.transports.is_empty() && san.0.config.kernel.is_none() {
            let first = std::mem::take(&mut state.skipped).into_iter().next();
            return Err(first.map_or(SanError::NoPortal, |skipped| skipped.error));
        }
        drop(state);
        if let Some(kernel) = &san.0.config.kernel {
            tokio::spawn(scan::follow(kernel.clone(), Arc::downgrade(&san.0)));
        }
        tokio::spawn(scan::keep(Arc::downgrade(&san.0), again));
        Ok(san)
    }

    /// Takes the inventory again: logs in to portals without a session, finds new LUNs and new
    /// paths, forgets LUNs that no target shows any more. What is being read is not disturbed.
    pub async fn rescan(&self) {
        scan::scan(&self.0).await;
    }

    /// The iSCSI sessions, in the order in which they were made.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let (transports, luns) = {
            let state = self.state();
            (state.transports.clone(), state.luns.clone())
        };
        let info = |transport: &Transport| {
            let Transport::Iscsi(session) = transport else { return None };
            let by = luns.iter().map(|lun| lun.states_by(transport));
            let states: Vec<PathState> = by.flatten().collect();
            Some(SessionInfo {
                portal: session.place().portal.clone(),
                target: session.place().target.clone(),
                header_digest: session.agreed().header_digest,
                data_digest: session.agreed().data_digest,
                luns: states.len(),
                lost: !states.is_empty() && states.iter().all(|state| *state == PathState::Lost),
            })
        };
        transports.iter().filter_map(info).collect()
    }

    /// Every disk that was found, once, whatever the number of its paths.
    #[must_use]
    pub fn luns(&self) -> Vec<Lun> {
        self.state().luns.clone()
    }

    /// What could not be looked at or must not be used, and why.
    #[must_use]
    pub fn skipped(&self) -> Vec<Skipped> {
        self.state().skipped.clone()
    }

    /// The LUN of that name. Refused when several that are not the same claim the name, and when
    /// it is a disk of this box itself.
    pub fn find(&self, name: &NaaName) -> Result<Lun, SanError> {
        let state = self.state();
        if let Some(refused) = state.refused.iter().find(|refused| refused.names.contains(name)) {
            return Err(refused.error.clone());
        }
        let found = state.luns.iter().find(|lun| lun.info().names.contains(name));
        found.cloned().ok_or_else(|| SanError::NotFound { name: name.clone(), seen: state.seen() })
    }

    /// What was sent and read, over all LUNs.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.luns().iter().fold(Counters::default(), |mut sum, lun| {
            sum.add(&lun.counters());
            sum
        })
    }

    /// Ends all sessions after the commands in flight. Reads begun later fail.
    pub async fn logout(&self) {
        let transports = {
            let mut state = self.state();
            state.closed = true;
            std::mem::take(&mut state.transports)
        };
        for transport in &transports {
            transport.logout().await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state()
    }
}

impl Shared {
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every statement, so a panic elsewhere spoils nothing.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    /// The keeper goes too.
    fn drop(&mut self) {
        self.rescan.notify_one();
    }
}

impl State {
    fn seen(&self) -> Vec<String> {
        let luns = self.luns.iter().map(|lun| lun.info().line());
        let skipped = self.skipped.iter().map(|skipped| match skipped.lun {
            Some(lun) => format!("LUN {lun} of {} (unusable)", skipped.target),
            None => format!("nothing at portal {} (login failed)", skipped.portal),
        });
        luns.chain(skipped).collect()
    }
}
