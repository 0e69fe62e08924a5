//! Hosts, as far as their own configuration can be fetched from them.

use crate::thumbprint::Thumbprint;
use crate::wire::{MoRef, Node, ObjectContent};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// The reference to use in calls.
    pub moref: MoRef,
    /// Its name: how the server reaches it.
    pub name: String,
    /// `hardware.systemInfo.uuid`: stays when the host is added to another server.
    pub uuid: Option<String>,
    /// `runtime.connectionState` is `connected`.
    pub connected: bool,
    /// Where its configuration is asked for.
    pub firmware: Option<MoRef>,
    /// Of the certificate that the host shows, as the server knows it.
    pub thumbprint: Option<Thumbprint>,
}

/// What [`decode_host`] reads.
pub(crate) const HOST_CONFIGURATION: &[&str] = &[
    "name",
    "hardware.systemInfo.uuid",
    "runtime.connectionState",
    "configManager.firmwareSystem",
    "config.certificate",
];

pub(crate) fn decode_host(object: &ObjectContent<'_>) -> Host {
    Host {
        name: object.text("name").unwrap_or(object.object.value()).to_owned(),
        uuid: object.text("hardware.systemInfo.uuid").map(str::to_owned),
        connected: object.text("runtime.connectionState") == Some("connected"),
        firmware: object.get("configManager.firmwareSystem").and_then(|node| node.moref().ok()),
        thumbprint: object.get("config.certificate").and_then(certificate),
        moref: object.object.clone(),
    }
}

/// An array of signed bytes: a certificate in PEM.
fn certificate(bytes: Node<'_>) -> Option<Thumbprint> {
    let byte = |node: Node<'_>| node.text().trim_ascii().parse::<i16>().ok();
    let bytes: Option<Vec<u8>> =
        bytes.children().map(|node| Some(byte(node)?.to_le_bytes()[0])).collect();
    let text = String::from_utf8(bytes?).ok()?;
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let body: String = body.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(body).ok().map(|der| Thumbprint::of(&der))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_fragment;

    #[test]
    fn a_certificate_comes_byte_by_byte() {
        let array = |text: &str| {
            let byte = |byte: u8| format!("<byte>{}</byte>", i8::from_le_bytes([byte]));
            format!("<val>{}</val>", text.bytes().map(byte).collect::<String>())
        };
        let pem = "-----BEGIN CERTIFICATE-----\nAQID\n-----END CERTIFICATE-----\n";
        let found = certificate(parse_fragment(&array(pem)).root());
        assert_eq!(found, Some(Thumbprint::of(&[1, 2, 3])));
        for wrong in ["", "AQID", "\u{e4}", "-----BEGIN CERTIFICATE-----?"] {
            assert_eq!(certificate(parse_fragment(&array(wrong)).root()), None, "{wrong}");
        }
        assert_eq!(certificate(parse_fragment("<val><byte>x</byte></val>").root()), None);
    }
}
