//! Servers of our own that break what a server must keep: a certificate without its key, answers
//! without end, pages instead of SOAP.

use crate::site::{PASSWORD, USER, told};
use model::ErrorKind;
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::CertifiedKey;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use vsphere::{Client, Config, Thumbprint, VsphereError};

/// What the impostor sends to whoever gets through the handshake.
#[derive(Clone)]
pub(crate) enum Answer {
    /// These bytes, then the end.
    Bytes(Vec<u8>),
    /// A head, then a body without end.
    Endless,
    /// Nothing.
    Silence,
    /// SOAP, request by request.
    Soap(Script),
}

/// From a whole HTTP request to status and body.
pub(crate) type Script = Arc<dyn Fn(&str) -> (u16, String) + Send + Sync>;

#[derive(Debug)]
struct Shows(Arc<CertifiedKey>);

impl ResolvesServerCert for Shows {
    fn resolve(&self, _hello: rustls::server::ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

/// Starts a server with this certificate and this key, and a configuration that trusts the
/// certificate. The server ends with the test's runtime.
pub(crate) async fn serve(
    certificate: &rcgen::Certificate,
    key: &rcgen::KeyPair,
    tls13: bool,
    answer: Answer,
) -> Config {
    let der: CertificateDer<'static> = certificate.der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    // Not `with_single_cert`: that would check that key and certificate belong together.
    let shown = CertifiedKey::new(vec![der.clone()], any_supported_type(&key).unwrap());
    let version = if tls13 { &rustls::version::TLS13 } else { &rustls::version::TLS12 };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[version])
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(Shows(Arc::new(shown))));
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                talk(stream, answer).await;
            });
        }
    });
    Config {
        url: format!("https://{address}/sdk"),
        user: USER.into(),
        password: PASSWORD.into(),
        thumbprint: Thumbprint::of(&der),
        call_timeout: Duration::from_secs(20),
        task_timeout: Duration::from_secs(20),
    }
}

type Stream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;

async fn talk(mut stream: Stream, answer: Answer) {
    if let Answer::Soap(script) = &answer {
        while let Some(request) = whole_request(&mut stream).await {
            let (status, body) = script(&request);
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
                return;
            }
        }
        return;
    }
    let mut request = [0; 4096];
    if !matches!(stream.read(&mut request).await, Ok(1..)) {
        return;
    }
    match answer {
        Answer::Bytes(bytes) => {
            let _ = stream.write_all(&bytes).await; // the client may have gone away
            let _ = stream.shutdown().await;
        }
        Answer::Endless => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
            while stream.write_all(&[b'<'; 4096]).await.is_ok() {}
        }
        Answer::Silence | Answer::Soap(_) => {
            let _ = stream.read(&mut request).await;
        }
    }
}

/// Head and body of the next request; `None` at the end of the connection.
async fn whole_request(stream: &mut Stream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .to_lowercase()
                .split_once("content-length: ")
                .map_or(0, |(_, rest)| rest.lines().next().unwrap().trim().parse().unwrap());
            if body.len() >= length {
                return Some(text);
            }
        }
        let mut part = [0; 4096];
        match stream.read(&mut part).await {
            Ok(n @ 1..) => text.push_str(std::str::from_utf8(&part[..n]).unwrap()),
            _ => return None,
        }
    }
}

pub(crate) fn certificate() -> (rcgen::Certificate, rcgen::KeyPair) {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate =
        rcgen::CertificateParams::new(vec!["vcenter".into()]).unwrap().self_signed(&key).unwrap();
    (certificate, key)
}

async fn refused(answer: Answer) -> VsphereError {
    let (certificate, key) = certificate();
    let config = serve(&certificate, &key, true, answer).await;
    Client::connect(config).await.unwrap_err()
}

fn http(status: &str, body: &str) -> Answer {
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    Answer::Bytes(format!("{head}{body}").into_bytes())
}

#[tokio::test]
async fn the_certificate_alone_is_not_enough_its_key_must_sign() {
    let (certificate, own_key) = certificate();
    let stolen = rcgen::KeyPair::generate().unwrap();
    for tls13 in [true, false] {
        let config = serve(&certificate, &stolen, tls13, Answer::Silence).await;
        let error = Client::connect(config).await.unwrap_err();
        assert!(matches!(error, VsphereError::Tls { .. }), "{}", told(&error));
        assert_eq!(error.kind(), ErrorKind::Misbehaved);
        // With the right key the handshake works: it is the signature that made the difference.
        let config = serve(&certificate, &own_key, tls13, http("503 Starting", "")).await;
        let error = Client::connect(config).await.unwrap_err();
        assert!(matches!(error, VsphereError::Status { status: 503, .. }), "{}", told(&error));
        assert_eq!(error.kind(), ErrorKind::Retryable);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_cut_off() {
    let error = refused(Answer::Endless).await;
    assert!(told(&error).contains("limit"), "{}", told(&error));
    assert_eq!(error.kind(), ErrorKind::Misbehaved);
}

#[tokio::test]
async fn what_is_not_soap_is_an_error() {
    let page = "<html><body>log in here</body></html>";
    assert_eq!(refused(http("200 OK", page)).await.kind(), ErrorKind::Misbehaved);
    assert_eq!(refused(http("200 OK", "")).await.kind(), ErrorKind::Misbehaved);
    assert_eq!(refused(http("302 Found", page)).await.kind(), ErrorKind::Misbehaved);
    assert_eq!(refused(http("403 Forbidden", page)).await.kind(), ErrorKind::Refused);
    let cut = Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<namespaces>".to_vec());
    assert_eq!(refused(cut).await.kind(), ErrorKind::Retryable);
    let garbage = Answer::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec());
    let error = refused(garbage).await;
    assert!(matches!(error, VsphereError::Broken { .. }), "{}", told(&error));
}

#[tokio::test]
async fn a_server_without_tls_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
    });
    let (certificate, key) = certificate();
    let config = serve(&certificate, &key, true, Answer::Silence).await;
    let error = Client::connect(Config { url: format!("https://{address}"), ..config }).await;
    let error = error.unwrap_err();
    assert!(matches!(error, VsphereError::Tls { .. }), "{}", told(&error));
}
