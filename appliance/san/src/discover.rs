//! SendTargets: what portals say they have.

use crate::link::{Link, Memory, session_error};
use crate::session::fresh_isid;
use crate::{Chap, PortalConfig, SanError};
use iscsi::{DiscoveredTarget, Event, IscsiError};
use tokio::task::JoinSet;

/// Which addresses of a discovered target count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// Those that the target names. A target that names none is where it was asked.
    #[default]
    AsTold,
    /// The portal that was asked: for targets behind address translation, which name addresses
    /// that cannot be reached from here.
    AsAsked,
}

/// A target at a portal: where a session can go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetPortal {
    /// iSCSI name.
    pub target: String,
    /// `host:port`; an IPv6 host stands in brackets.
    pub portal: String,
    /// Portal group tag, where the target names one.
    pub group: Option<u16>,
}

/// What all portals together know.
#[derive(Debug, Default)]
pub struct Discovery {
    /// Every place once, in the order of the portals that named it.
    pub portals: Vec<TargetPortal>,
    /// Portals that could not be asked, and why.
    pub failed: Vec<(String, SanError)>,
}

/// Asks every portal for its targets, all at a time. Some targets name only the portal that was
/// asked, so each one has to be.
pub async fn discover_all(
    portals: &[String],
    initiator: &str,
    chap: Option<&Chap>,
    addresses: Addresses,
) -> Discovery {
    let mut asking = JoinSet::new();
    for (number, portal) in portals.iter().cloned().enumerate() {
        let (initiator, chap) = (initiator.to_owned(), chap.cloned());
        asking.spawn(async move {
            let answer = discover(&portal, &initiator, chap.as_ref()).await;
            (number, portal, answer)
        });
    }
    let mut answers = asking.join_all().await;
    answers.sort_by_key(|(number, ..)| *number);
    let mut discovery = Discovery::default();
    for (_, portal, answer) in answers {
        match answer {
            Ok(targets) => {
                for place in
                    targets.into_iter().flat_map(|target| portals_of(target, &portal, addresses))
                {
                    if !discovery.portals.contains(&place) {
                        discovery.portals.push(place);
                    }
                }
            }
            Err(error) => discovery.failed.push((portal, error)),
        }
    }
    discovery
}

fn portals_of(target: DiscoveredTarget, asked: &str, addresses: Addresses) -> Vec<TargetPortal> {
    let DiscoveredTarget { name, addresses: told } = target;
    let place = |portal: String, group| TargetPortal { target: name.clone(), portal, group };
    if told.is_empty() || addresses == Addresses::AsAsked {
        return vec![place(asked.to_owned(), None)];
    }
    told.into_iter().map(|address| place(address.portal, address.group)).collect()
}

/// Asks one portal for its targets, and gives its answer as it is.
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
    let mut memory = Memory::for_discovery(fresh_isid()?);
    let (mut link, _agreed) = Link::<()>::login(&portal, &mut memory).await?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use iscsi::TargetAddress;

    #[test]
    fn addresses_that_cannot_be_reached_are_replaced_by_the_one_that_was_asked() {
        let address = |portal: &str, group| TargetAddress { portal: portal.into(), group };
        let told = vec![address("10.0.2.15:3260", Some(1)), address("[fd00::1]:3260", Some(2))];
        let target = |addresses| DiscoveredTarget { name: "iqn.a".into(), addresses };
        let portals = |addresses, choice| -> Vec<_> {
            portals_of(target(addresses), "127.0.0.1:13260", choice)
                .into_iter()
                .map(|place| (place.portal, place.group))
                .collect()
        };
        assert_eq!(
            portals(told.clone(), Addresses::AsTold),
            [("10.0.2.15:3260".to_owned(), Some(1)), ("[fd00::1]:3260".to_owned(), Some(2))]
        );
        let asked = [("127.0.0.1:13260".to_owned(), None)];
        assert_eq!(portals(told, Addresses::AsAsked), asked);
        assert_eq!(portals(Vec::new(), Addresses::AsTold), asked);
    }
}
