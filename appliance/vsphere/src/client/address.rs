//! `https://HOST[:PORT]/sdk` taken apart.

use crate::error::VsphereError;
use hyper::Uri;
use rustls::pki_types::ServerName;

/// Where the server is.
#[derive(Clone, Debug)]
pub(super) struct Address {
    /// For connecting; an IPv6 address without its brackets.
    pub(super) host: String,
    /// TCP port.
    pub(super) port: u16,
    /// For the Host header and for people: `host[:port]`.
    pub(super) authority: String,
    /// Path of the SOAP endpoint.
    pub(super) path: String,
    /// For TLS (SNI).
    pub(super) server_name: ServerName<'static>,
}

impl Address {
    pub(super) fn parse(url: &str) -> Result<Self, VsphereError> {
        let wrong = |why| VsphereError::Address { url: without_user(url), why };
        let uri: Uri = url.trim().parse().map_err(|_| wrong("it is not a URL"))?;
        if uri.scheme_str() != Some("https") {
            return Err(wrong("it does not begin with https://"));
        }
        let authority = uri.authority().ok_or_else(|| wrong("it names no host"))?;
        if authority.as_str().contains('@') {
            return Err(wrong("user and password have settings of their own"));
        }
        if uri.query().is_some() {
            return Err(wrong("it has a query"));
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name =
            ServerName::try_from(host.clone()).map_err(|_| wrong("its host is not a name"))?;
        let path = match uri.path() {
            "" | "/" => "/sdk".to_owned(),
            path => path.trim_end_matches('/').to_owned(),
        };
        let port = authority.port_u16().unwrap_or(443);
        Ok(Self { host, port, authority: authority.as_str().to_owned(), path, server_name })
    }
}

/// The URL without what may be a password.
fn without_user(url: &str) -> String {
    match url.rsplit_once('@') {
        Some((_, rest)) => format!("https://…@{rest}"),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_an_address() {
        let address = Address::parse("https://vc.example:8443/sdk/").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("vc.example", 8443));
        assert_eq!(address.path, "/sdk");
        let address = Address::parse("https://[::1]").unwrap();
        assert_eq!((address.host.as_str(), address.port), ("::1", 443));
        assert_eq!((address.authority.as_str(), address.path.as_str()), ("[::1]", "/sdk"));
    }

    #[test]
    fn what_is_no_address_is_refused_without_showing_a_password() {
        for wrong in
            ["", "vc.example", "http://vc/sdk", "https:///sdk", "https://a b/", "https://vc?x"]
        {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
        for with_user in ["https://root:geheim@vc/sdk", "http://root:geheim@vc", "root:geheim@vc x"]
        {
            let text = Address::parse(with_user).unwrap_err().to_string();
            assert!(!text.contains("geheim"), "{text}");
        }
    }
}
