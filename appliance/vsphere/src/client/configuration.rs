//! The configuration of hosts and of the server itself.

use super::Client;
use super::address::Address;
use super::caller::odd;
use super::properties::withheld;
use super::transport::{Exchange, Transport};
use crate::error::VsphereError;
use crate::inventory::{HOST_CONFIGURATION, Host, decode_host};
use crate::requests;
use crate::thumbprint::Pin;
use crate::wire::{MoRef, WireError};
use http_body_util::Full;
use hyper::header::HOST as HOST_HEADER;
use hyper::{Request, Uri};

/// Bytes of one file; a recovery point takes no larger one. A host's has some hundred KiB.
const FILE_MAX: usize = 8 << 20;
const DOWNLOAD: &str = "downloading a host's configuration";

/// A part of the server's configuration, as it gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPart {
    /// Such as `roles`.
    pub name: &'static str,
    /// An XML document.
    pub xml: String,
}

impl Client {
    /// All hosts.
    pub async fn hosts(&self) -> Result<Vec<Host>, VsphereError> {
        let read = || self.read_all("HostSystem", HOST_CONFIGURATION, decode_host);
        self.shared.session.keep(read).await
    }

    /// Lets a host pack its configuration, and fetches the file. It comes from the host itself,
    /// which must show the certificate that the server knows of it.
    pub async fn host_configuration(&self, host: &Host) -> Result<Vec<u8>, VsphereError> {
        let unreadable = |problem: &str| VsphereError::Unreadable {
            object: host.moref.clone(),
            problem: problem.to_owned(),
        };
        let firmware =
            host.firmware.as_ref().ok_or_else(|| unreadable("it has no configuration to fetch"))?;
        let request = requests::backup_firmware(firmware);
        let response = self.shared.session.keep(|| self.call(firmware, &request)).await?;
        let url = response.need_value().map_err(odd(request.method))?.text().to_owned();
        let known = host.thumbprint.map(Pin::Sha256);
        let own = self.shared.session.transport();
        let place = Place::of(&url).ok_or_else(|| unreadable("its answer is no address"))?;
        let alone = self.shared.about.api_type != "VirtualCenter";
        // `*` is the host itself: the peer of this connection, or the one that vCenter manages.
        let (authority, pin) = match (place.authority.as_str(), alone) {
            ("*", true) => (own.address().authority.clone(), Some(own.pin())),
            ("*", false) => (host.name.clone(), known),
            (named, true) => (named.to_owned(), Some(own.pin())),
            (named, false) => (named.to_owned(), known),
        };
        let pin = pin.ok_or_else(|| unreadable("the server does not state its certificate"))?;
        self.download(&authority, &place.path, pin).await
    }

    async fn download(
        &self,
        authority: &str,
        path: &str,
        pin: Pin,
    ) -> Result<Vec<u8>, VsphereError> {
        let transport = Transport::new(Address::parse(&format!("https://{authority}"))?, pin)?;
        let request = Request::get(path)
            .header(HOST_HEADER, &transport.address().authority)
            .body(Full::default())
            .map_err(|_| odd(DOWNLOAD)(no_address()))?;
        let exchange = Exchange { method: DOWNLOAD, request, repeatable: false };
        let reply = transport.exchange(exchange, self.shared.session.call_timeout()).await?;
        if reply.status != 200 {
            return Err(VsphereError::Status { method: DOWNLOAD, status: reply.status });
        }
        if reply.body.is_empty() || reply.body.len() > FILE_MAX {
            let source = WireError::TooMuch { what: "bytes (or none)", limit: FILE_MAX };
            return Err(VsphereError::Wire { method: DOWNLOAD, source });
        }
        Ok(reply.body.to_vec())
    }

    /// Roles, permissions and settings, each as far as the server gives it to this account.
    pub async fn server_configuration(
        &self,
    ) -> Vec<(&'static str, Result<ServerPart, VsphereError>)> {
        let managers =
            (self.shared.authorization_manager.as_ref(), self.shared.option_manager.as_ref());
        let mut parts = Vec::new();
        if let Some(manager) = managers.0 {
            parts.push(("roles", self.property(manager, "roles", "roleList").await));
            parts.push(("permissions", self.permissions(manager).await));
        }
        if let Some(manager) = managers.1 {
            parts.push(("settings", self.property(manager, "settings", "setting").await));
        }
        parts
    }

    async fn property(
        &self,
        object: &MoRef,
        name: &'static str,
        path: &'static str,
    ) -> Result<ServerPart, VsphereError> {
        let paths = [path];
        let read = || {
            self.read_one(object, &paths, |content| {
                let value = content.get(path).ok_or_else(|| withheld(content, path))?;
                Ok(ServerPart { name, xml: value.to_xml(name) })
            })
        };
        self.shared.session.keep(read).await
    }

    async fn permissions(&self, manager: &MoRef) -> Result<ServerPart, VsphereError> {
        let request = requests::retrieve_all_permissions(manager);
        let response = self.shared.session.keep(|| self.call(manager, &request)).await?;
        Ok(ServerPart { name: "permissions", xml: response.node().to_xml("permissions") })
    }
}

/// A URL that a server made: `http` or `https`, where the host may be `*`.
struct Place {
    authority: String,
    path: String,
}

impl Place {
    fn of(url: &str) -> Option<Self> {
        // `*` is no host of a URL.
        let (authority, path) = url.split_once("://")?.1.split_once('/')?;
        let path: Uri = format!("/{path}").parse().ok()?;
        (!authority.is_empty() && !authority.contains('@'))
            .then(|| Self { authority: authority.to_owned(), path: path.to_string() })
    }
}

fn no_address() -> WireError {
    WireError::Value { element: "returnval".into(), text: "a text".into(), wanted: "a path" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_download_is_taken_apart() {
        let place = Place::of("http://*/downloads/52a1/configBundle-esx01.tgz").unwrap();
        assert_eq!(place.authority, "*");
        assert_eq!(place.path, "/downloads/52a1/configBundle-esx01.tgz");
        let place = Place::of("https://esx01.example:8443/d?x=1").unwrap();
        assert_eq!(
            (place.authority.as_str(), place.path.as_str()),
            ("esx01.example:8443", "/d?x=1")
        );
        for wrong in ["", "downloads/x", "https://host", "https://a@b/x", "https:///x", "h://h/a b"]
        {
            assert!(Place::of(wrong).is_none(), "{wrong}");
        }
    }
}
