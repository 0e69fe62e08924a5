//! Fibre Channel ports: our own host adapters' and those that they see.

use super::tree::{Tree, names, number, text};
use super::wwn::Wwn;

/// A port of one of our host adapters (class `fc_host`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FcPort {
    /// Name of its SCSI host, such as `host1`.
    pub host: String,
    /// Its WWPN: what the storage administrator zones and masks by. `None` before the adapter
    /// knows it.
    pub port_name: Option<Wwn>,
    /// Its WWNN.
    pub node_name: Option<Wwn>,
    /// The kernel's word: `Online`, `Linkdown`, `Offline`, `Blocked`, ...
    pub state: Option<String>,
    /// How it is connected, such as `NPort (fabric via point-to-point)`.
    pub port_type: Option<String>,
    /// Speed of the link now, such as `16 Gbit`; `None` when there is no link.
    pub speed: Option<String>,
    /// What the adapter can do.
    pub supported_speeds: Option<String>,
    /// What the adapter calls itself: model and firmware.
    pub symbolic_name: Option<String>,
    /// The ports that it sees.
    pub remote_ports: Vec<RemotePort>,
}

/// A port of the fabric that one of ours sees (class `fc_remote_ports`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemotePort {
    /// The kernel's name for it, such as `rport-1:0-0`.
    pub name: String,
    /// Its WWPN.
    pub port_name: Option<Wwn>,
    /// Its WWNN.
    pub node_name: Option<Wwn>,
    /// What it offers, such as `FCP Target`.
    pub roles: Option<String>,
    /// The kernel's word: `Online`, `Blocked`, `Not Present`, ...
    pub state: Option<String>,
    /// Seconds after which a lost port's devices vanish.
    pub dev_loss_tmo: Option<u32>,
    /// Seconds after which commands on a lost port fail; `None`: only with `dev_loss_tmo`.
    pub fast_io_fail_tmo: Option<u32>,
}

impl FcPort {
    /// True when there is a link.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.state.as_deref() == Some("Online")
    }
}

impl RemotePort {
    /// True when it can have LUNs.
    #[must_use]
    pub fn is_target(&self) -> bool {
        self.roles.as_deref().is_some_and(|roles| roles.contains("FCP Target"))
    }

    /// True when commands reach it.
    #[must_use]
    pub fn is_online(&self) -> bool {
        self.state.as_deref() == Some("Online")
    }
}

/// All ports of all adapters, by the numbers of their hosts.
pub(super) fn ports(tree: &Tree) -> Vec<FcPort> {
    let class = tree.class("fc_host");
    names(&class).into_iter().map(|host| port(tree, host)).collect()
}

fn port(tree: &Tree, host: String) -> FcPort {
    let folder = tree.class("fc_host").join(&host);
    let known = |attribute| text(&folder, attribute).filter(|text| !is_unknown(text));
    FcPort {
        port_name: port_name(tree, &host),
        node_name: wwn(text(&folder, "node_name")),
        state: text(&folder, "port_state"),
        port_type: known("port_type"),
        speed: known("speed"),
        supported_speeds: known("supported_speeds"),
        symbolic_name: text(&folder, "symbolic_name"),
        remote_ports: remote_ports(tree, &host),
        host,
    }
}

/// The WWPN of one of our ports.
pub(super) fn port_name(tree: &Tree, host: &str) -> Option<Wwn> {
    wwn(text(&tree.class("fc_host").join(host), "port_name"))
}

/// The WWPN of a remote port.
pub(super) fn remote_port_name(tree: &Tree, name: &str) -> Option<Wwn> {
    wwn(text(&tree.class("fc_remote_ports").join(name), "port_name"))
}

/// Those of `host`: they are called `rport-HOST:CHANNEL-NUMBER`.
fn remote_ports(tree: &Tree, host: &str) -> Vec<RemotePort> {
    let Some(number) = host.strip_prefix("host") else { return Vec::new() };
    let begin = format!("rport-{number}:");
    let class = tree.class("fc_remote_ports");
    let mine = names(&class).into_iter().filter(|name| name.starts_with(&begin));
    mine.map(|name| remote_port(tree, name)).collect()
}

fn remote_port(tree: &Tree, name: String) -> RemotePort {
    let folder = tree.class("fc_remote_ports").join(&name);
    RemotePort {
        port_name: wwn(text(&folder, "port_name")),
        node_name: wwn(text(&folder, "node_name")),
        roles: text(&folder, "roles"),
        state: text(&folder, "port_state"),
        dev_loss_tmo: number(&folder, "dev_loss_tmo"),
        fast_io_fail_tmo: number(&folder, "fast_io_fail_tmo"),
        name,
    }
}

fn wwn(text: Option<String>) -> Option<Wwn> {
    text?.parse().ok()
}

fn is_unknown(text: &str) -> bool {
    text.eq_ignore_ascii_case("unknown") || text.starts_with("Not Negotiated")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::fixture::Fixture;

    #[test]
    fn ports_and_what_they_see() {
        let fixture = Fixture::new();
        fixture.fc_port(1, "0x200052540000000b", "Online");
        fixture.rport("rport-1:0-0", "0x200052540000000a", "Online");
        fixture.rport("rport-1:0-1", "0x200052540000010a", "Not Present");
        fixture.fc_port(11, "0x200052540000001b", "Linkdown");
        fixture.rport("rport-11:0-0", "0x200052540000001a", "Blocked");
        fixture.set("class/fc_remote_ports/rport-11:0-0/fast_io_fail_tmo", "off");
        fixture.set("class/fc_host/host11/speed", "unknown");
        let ports = ports(&fixture.tree());
        assert_eq!(
            ports.iter().map(|port| port.host.as_str()).collect::<Vec<_>>(),
            ["host1", "host11"]
        );
        let first = &ports[0];
        assert!(first.is_online());
        assert_eq!(first.port_name.unwrap().to_string(), "20:00:52:54:00:00:00:0b");
        assert_eq!(first.speed.as_deref(), Some("16 Gbit"));
        let states: Vec<_> =
            first.remote_ports.iter().map(|port| (port.is_online(), port.is_target())).collect();
        assert_eq!(states, [(true, true), (false, true)]);
        assert_eq!(first.remote_ports[0].fast_io_fail_tmo, Some(3));
        assert_eq!(first.remote_ports[0].dev_loss_tmo, Some(60));
        assert_eq!((ports[1].is_online(), &ports[1].speed), (false, &None));
        assert_eq!(ports[1].remote_ports[0].fast_io_fail_tmo, None);
    }

    #[test]
    fn a_box_without_adapters_has_no_ports() {
        assert_eq!(ports(&Fixture::new().tree()), []);
    }

    #[test]
    fn an_adapter_that_tells_nothing_is_still_listed() {
        let fixture = Fixture::new();
        fixture.folder("class/fc_host/host3");
        fixture.set("class/fc_host/host4/port_name", "0xffffffffffffffff");
        let ports = ports(&fixture.tree());
        assert_eq!(ports.len(), 2);
        assert!(ports.iter().all(|port| port.port_name.is_none() && !port.is_online()));
    }
}
