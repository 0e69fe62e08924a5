//! What a lease says about its disks, pure.

use crate::thumbprint::{Pin, Thumbprint};
use crate::wire::{Node, WireError};
use base64::Engine as _;
use std::time::Duration;

/// When a server does not say how long a lease lives (the default of the vSphere API).
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(300);

/// `HttpNfcLeaseInfo`: what is to be transferred, from or to where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseInfo {
    /// Disks and other files (NVRAM), as the server orders them.
    pub devices: Vec<DeviceUrl>,
    /// All disks together, bytes.
    pub total_capacity: u64,
    /// The lease ends when it hears nothing for so long. [`super::Lease`] sees to that.
    pub timeout: Duration,
}

/// `HttpNfcLeaseDeviceUrl`: one disk or file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceUrl {
    /// `/VM/CONTROLLER:UNIT`, such as `/vm-55/ParaVirtualSCSIController0:1`.
    pub key: String,
    /// The name of the device in the import specification; leases for export have none.
    pub import_key: Option<String>,
    /// `https://HOST[:PORT]/…`; a `*` as host is replaced by the server we are connected to.
    pub url: String,
    /// The certificate that the url's host must show; `None`: the server names none.
    pub pin: Option<Pin>,
    /// Its content is a disk, in streamOptimized format. `None`: the server does not say.
    pub disk: Option<bool>,
    /// Such as `disk-0.vmdk`.
    pub target_id: Option<String>,
    /// Bytes; of files that are no disks.
    pub file_size: Option<u64>,
}

/// What the server says it sent or received: `HttpNfcLeaseManifestEntry`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestEntry {
    /// That of the [`DeviceUrl`].
    pub key: String,
    /// SHA-1 of the bytes that went over the wire, where the server says so.
    pub sha1: Option<[u8; 20]>,
    /// Bytes that went over the wire.
    pub size: u64,
}

/// Reads an `HttpNfcLeaseInfo`. `connected` is the authority that we are connected to.
pub(super) fn decode_info(info: Node<'_>, connected: &str) -> Result<LeaseInfo, String> {
    let devices = info.all("deviceUrl").map(|node| decode_device(node, connected));
    let kib = number(info.get_u64("totalDiskCapacityInKB"))?.unwrap_or(0);
    let seconds = number(info.get_u64("leaseTimeout"))?.filter(|seconds| *seconds > 0);
    Ok(LeaseInfo {
        devices: devices.collect::<Result<_, _>>()?,
        total_capacity: kib.saturating_mul(1024),
        timeout: seconds.map_or(TIMEOUT_DEFAULT, Duration::from_secs),
    })
}

fn decode_device(device: Node<'_>, connected: &str) -> Result<DeviceUrl, String> {
    let text = |name| device.get(name).map(str::to_owned);
    let key = device.need_text("key").map_err(|error| error.to_string())?;
    let url = device.need_text("url").map_err(|error| error.to_string())?;
    Ok(DeviceUrl {
        key: key.to_owned(),
        import_key: text("importKey"),
        url: with_host(url, connected)?,
        pin: pin(device).map_err(|why| format!("the certificate of '{key}': {why}"))?,
        disk: device.get_bool("disk"),
        target_id: text("targetId"),
        file_size: number(device.get_u64("fileSize"))?,
    })
}

/// Reads an `HttpNfcLeaseManifestEntry`.
pub(super) fn decode_entry(entry: Node<'_>) -> Result<ManifestEntry, WireError> {
    let mut bytes = [0; 20];
    let sha1 = entry.get("sha1").filter(|text| hex::decode_to_slice(text, &mut bytes).is_ok());
    let sha1 = sha1.map(|_| bytes);
    Ok(ManifestEntry {
        key: entry.need_text("key")?.to_owned(),
        sha1,
        size: entry.need_u64("size")?,
    })
}

fn number(read: Result<Option<u64>, WireError>) -> Result<Option<u64>, String> {
    read.map_err(|error| error.to_string())
}

/// A host of `*` means the server that the client is connected to.
fn with_host(url: &str, connected: &str) -> Result<String, String> {
    let rest = url.strip_prefix("https://").ok_or_else(|| {
        let start: String = url.chars().take(12).collect();
        format!("its url begins with '{start}', not with https://")
    })?;
    match rest.strip_prefix('*') {
        Some(own_port) if own_port.starts_with(':') => {
            Ok(format!("https://{}{own_port}", without_port(connected)))
        }
        Some(path) => Ok(format!("https://{connected}{path}")),
        None => Ok(url.to_owned()),
    }
}

/// `host:port` and `[::1]:port` without the port.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The certificate itself where the server gives it (since 9.0), otherwise its thumbprint. What
/// cannot be read is an error: it must not turn into "no certificate is named".
fn pin(device: Node<'_>) -> Result<Option<Pin>, String> {
    if let Some(pem) = device.get("sslCertificate") {
        let der = der_of(pem).ok_or("it is not a certificate in PEM")?;
        return Ok(Some(Pin::Sha256(Thumbprint::of(&der))));
    }
    match device.get("sslThumbprint") {
        Some(text) => Pin::of_server(text).map(Some).map_err(|error| error.to_string()),
        None => Ok(None),
    }
}

/// The first certificate of a PEM text.
fn der_of(pem: &str) -> Option<Vec<u8>> {
    let (_, rest) = pem.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    let packed: String = body.split_ascii_whitespace().collect();
    base64::engine::general_purpose::STANDARD.decode(packed).ok().filter(|der| !der.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::parse_fragment;

    fn info(device: &str) -> Result<LeaseInfo, String> {
        let text = format!(
            "<info><deviceUrl>{device}</deviceUrl>\
             <totalDiskCapacityInKB>8</totalDiskCapacityInKB><leaseTimeout>60</leaseTimeout></info>"
        );
        decode_info(parse_fragment(&text).root(), "vc.example:8443")
    }

    #[test]
    fn a_device_of_a_host_with_its_own_certificate() {
        let sha1 = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D";
        let read = info(&format!(
            "<key>/vm-5/VirtualLsiLogicController0:0</key><importKey></importKey>\
             <url>https://esx1.example/nfc/52ab/disk-0.vmdk</url>\
             <sslThumbprint>{sha1}</sslThumbprint><disk>true</disk>\
             <targetId>disk-0.vmdk</targetId>"
        ));
        let read = read.unwrap();
        assert_eq!((read.total_capacity, read.timeout), (8192, Duration::from_secs(60)));
        let device = &read.devices[0];
        assert_eq!(device.key, "/vm-5/VirtualLsiLogicController0:0");
        assert_eq!(device.url, "https://esx1.example/nfc/52ab/disk-0.vmdk");
        assert_eq!(device.pin.unwrap().to_string(), sha1);
        assert_eq!((device.import_key.as_ref(), device.disk), (None, Some(true)));
        assert_eq!((device.target_id.as_deref(), device.file_size), (Some("disk-0.vmdk"), None));
    }

    #[test]
    fn a_star_is_the_server_we_are_connected_to() {
        let url = |url: &str| {
            let read = info(&format!("<key>k</key><url>{url}</url>"));
            read.map(|info| info.devices[0].url.clone())
        };
        assert_eq!(url("https://*/nfc/x").unwrap(), "https://vc.example:8443/nfc/x");
        assert_eq!(url("https://*:902/nfc/x").unwrap(), "https://vc.example:902/nfc/x");
        assert_eq!(url("https://[::1]:44/x").unwrap(), "https://[::1]:44/x");
        assert!(url("http://esx1/nfc/x").is_err());
        assert_eq!(without_port("[::1]:443"), "[::1]");
        assert_eq!(without_port("[fe80::1]"), "[fe80::1]");
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_an_error() {
        let with = |more: &str| info(&format!("<key>k</key><url>https://h/</url>{more}"));
        assert_eq!(with("<sslThumbprint></sslThumbprint>").unwrap().devices[0].pin, None);
        assert!(with("<sslThumbprint>abc</sslThumbprint>").is_err());
        assert!(with("<sslCertificate>abc</sslCertificate>").is_err());
        let pem = "<sslCertificate>-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\
                   </sslCertificate><sslThumbprint>abc</sslThumbprint>";
        let pin = with(pem).unwrap().devices[0].pin;
        assert_eq!(pin, Some(Pin::Sha256(Thumbprint::of(b"abc"))));
    }

    #[test]
    fn a_manifest_tells_what_went_over_the_wire() {
        let sha1 = "a9993e364706816aba3e25717850c26c9cd0d89d";
        let text = format!("<e><key>/k</key><sha1>{sha1}</sha1><size>3</size></e>");
        let entry = decode_entry(parse_fragment(&text).root()).unwrap();
        assert_eq!((entry.key.as_str(), entry.size), ("/k", 3));
        assert_eq!(hex::encode(entry.sha1.unwrap()), sha1);
        let odd = parse_fragment("<e><key>/k</key><sha1>none</sha1><size>3</size></e>");
        assert_eq!(decode_entry(odd.root()).unwrap().sha1, None);
    }
}
