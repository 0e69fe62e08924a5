//! SendTargets: what a portal says it has.

use crate::link::{Link, session_error};
use crate::session::{fresh_isid, login_config};
use crate::{Chap, PortalConfig, SanError};
use iscsi::{DiscoveredTarget, Event, IscsiError};

/// Asks a portal for its targets. Some targets name only the portal that was asked, so every
/// portal has to be; some name addresses that are not reachable from here.
pub async fn discover(
    portal: &str,
    initiator: &str,
    chap: Option<&Chap>,
) -> Result<Vec<DiscoveredTarget>, SanError> {
    let portal = PortalConfig {
        portal: portal.to_owned(),
        target: "(discovery)".into(),
        initiator: initiator.to_owned(),
        chap: chap.cloned(),
        ..PortalConfig::default()
    };
    let mut config = login_config(&portal, fresh_isid()?)?;
    config.target = None;
    let (mut link, _agreed) = Link::<()>::login(&portal, config).await?;
    link.connection.send_targets(link.now());
    let mut targets = None;
    loop {
        match link.next_event().await {
            Event::Targets(list) => {
                targets = Some(list);
                link.connection.logout(link.now());
            }
            Event::LoggedOut => return targets.ok_or_else(|| lost(&portal)),
            // The answer is there; how the target takes its leave does not matter.
            Event::Closed(_) if targets.is_some() => return targets.ok_or_else(|| lost(&portal)),
            Event::Closed(error) => return Err(session_error("discovery", &portal, error)),
            Event::LoggedIn(_) | Event::Finished(_) => {}
        }
    }
}

fn lost(portal: &PortalConfig) -> SanError {
    session_error("discovery", portal, IscsiError::Disconnected)
}
