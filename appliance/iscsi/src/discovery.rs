//! SendTargets (RFC 7143, Appendix C).

use crate::IscsiError;
use crate::keys::Pairs;

/// A target and where a portal says it can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoveredTarget {
    /// Its iSCSI name.
    pub name: String,
    /// Its addresses; empty means: where it was asked.
    pub addresses: Vec<TargetAddress>,
}

/// `host:port,group`. Behind address translation it may not be reachable by us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetAddress {
    /// Host and port; an IPv6 host stands in brackets.
    pub portal: String,
    /// Portal group tag.
    pub group: Option<u16>,
}

impl TargetAddress {
    /// As a value of the key TargetAddress writes it (RFC 7143, 13.8): `host[:port][,group]`.
    pub(crate) fn parse(value: &str) -> Self {
        let (portal, group) = match value.rsplit_once(',') {
            Some((portal, group)) => (portal, group.parse().ok()),
            None => (value, None),
        };
        let after_host = portal.rsplit_once(']').map_or(portal, |(_, rest)| rest);
        let portal =
            if after_host.contains(':') { portal.into() } else { format!("{portal}:3260") };
        Self { portal, group }
    }
}

/// The targets in an answer to SendTargets.
pub(crate) fn targets(text: &[u8]) -> Result<Vec<DiscoveredTarget>, IscsiError> {
    let mut targets: Vec<DiscoveredTarget> = Vec::new();
    for (key, value) in Pairs::parse(text)?.iter() {
        match key {
            "TargetName" => {
                targets.push(DiscoveredTarget { name: value.to_owned(), addresses: Vec::new() });
            }
            "TargetAddress" => match targets.last_mut() {
                Some(target) => target.addresses.push(TargetAddress::parse(value)),
                None => return Err(IscsiError::misbehaved("an address without a target")),
            },
            _ => {}
        }
    }
    Ok(targets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_with_and_without_port_and_group() {
        let text = b"TargetName=iqn.a:1\0TargetAddress=10.0.0.1:3261,2\0\
            TargetAddress=[fd00::1],1\0TargetName=iqn.a:2\0TargetAddress=array.example\0";
        let targets = targets(text).unwrap();
        let portals: Vec<_> = targets
            .iter()
            .flat_map(|t| t.addresses.iter().map(|a| (a.portal.as_str(), a.group)))
            .collect();
        let wanted =
            [("10.0.0.1:3261", Some(2)), ("[fd00::1]:3260", Some(1)), ("array.example:3260", None)];
        assert_eq!(portals, wanted);
        assert_eq!(targets[1].name, "iqn.a:2");
        assert!(super::targets(b"TargetAddress=10.0.0.1\0").is_err());
    }
}
