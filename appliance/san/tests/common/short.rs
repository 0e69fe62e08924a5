//! Short times, so that faults show soon.

use san::{PortalConfig, Reconnect};
use std::time::Duration;

/// A way to a target, without digests.
pub(crate) fn times(portal: String, target: &str, initiator: &str) -> PortalConfig {
    PortalConfig {
        portal,
        target: target.into(),
        initiator: initiator.into(),
        data_digest: false,
        reconnect: Reconnect {
            attempts: 3,
            delay: Duration::from_millis(50),
            patience: Duration::from_secs(10),
        },
        ..PortalConfig::default()
    }
}
