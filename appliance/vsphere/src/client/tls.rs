//! TLS with a pinned certificate.
//!
//! vSphere certificates are self-signed or from the server's own authority, so the operator pins
//! the SHA-256 thumbprint of the certificate itself. The handshake's signature is still verified:
//! a thumbprint alone would accept whoever replays the certificate without having its key.

use crate::thumbprint::Thumbprint;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, SignatureScheme,
};
use std::fmt;
use std::sync::Arc;

/// A configuration that accepts one certificate. The server may ask for a client certificate and
/// gets none.
pub(super) fn pinned(thumbprint: Thumbprint) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Pin { thumbprint, algorithms }))
        .with_no_client_auth())
}

/// The thumbprint of the certificate that was refused, if that is what the error says.
pub(super) fn refused_certificate(error: &Error) -> Option<Thumbprint> {
    match error {
        Error::InvalidCertificate(CertificateError::Other(OtherError(inner))) => {
            inner.downcast_ref::<OtherCertificate>().map(|other| other.0)
        }
        _ => None,
    }
}

#[derive(Debug)]
struct Pin {
    thumbprint: Thumbprint,
    algorithms: WebPkiSupportedAlgorithms,
}

/// Travels through rustls as the reason of a failed handshake.
#[derive(Debug)]
struct OtherCertificate(Thumbprint);

impl fmt::Display for OtherCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate is {}", self.0)
    }
}

impl std::error::Error for OtherCertificate {}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let seen = Thumbprint::of(end_entity);
        if seen == self.thumbprint {
            return Ok(ServerCertVerified::assertion());
        }
        let other = OtherError(Arc::new(OtherCertificate(seen)));
        Err(Error::InvalidCertificate(CertificateError::Other(other)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
