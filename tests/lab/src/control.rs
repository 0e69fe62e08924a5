//! Client of the lab vCenter's control port: plain HTTP on loopback, one call per connection.
//!
//! HTTP/1.0 on purpose: the server then sends the body in one piece and closes, so that a client
//! of a page is enough and the lab needs no library for it.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A guest write through the VMFS map of a large file may take a while.
const ANSWER_WAIT: Duration = Duration::from_secs(300);
/// Far above any answer of the control port.
const ANSWER_MAX: u64 = 64 << 20;

/// The control port's address.
#[derive(Clone, Copy, Debug)]
pub struct Control {
    address: SocketAddr,
}

impl Control {
    /// `address` as the ready line says it: `127.0.0.1:PORT`, with or without `http://`.
    ///
    /// # Errors
    /// When it is not an address.
    pub fn new(address: &str) -> Result<Self> {
        let bare = address.trim_start_matches("http://").trim_end_matches('/');
        let address = bare.parse().with_context(|| format!("control port {address:?}"))?;
        Ok(Self { address })
    }

    /// `POST path?query` with `body`; the answer's body.
    ///
    /// # Errors
    /// When it cannot be reached or answers with another status than 2xx.
    pub fn post(&self, path: &str, query: &[(&str, &str)], body: &[u8]) -> Result<Vec<u8>> {
        self.call("POST", path, query, body)
    }

    /// `GET path`; the answer's body.
    ///
    /// # Errors
    /// As [`Control::post`].
    pub fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.call("GET", path, &[], &[])
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        query: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Vec<u8>> {
        let target = target(path, query);
        let exchange = || -> Result<Vec<u8>> {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_read_timeout(Some(ANSWER_WAIT))?;
            let head = format!(
                "{method} {target} HTTP/1.0\r\nHost: {}\r\nContent-Length: {}\r\n\r\n",
                self.address,
                body.len()
            );
            stream.write_all(head.as_bytes())?;
            stream.write_all(body)?;
            let mut answer = Vec::new();
            stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
            body_of(&answer)
        };
        exchange().with_context(|| format!("control port: {method} {target}"))
    }
}

/// The body of a complete answer of status 2xx.
fn body_of(answer: &[u8]) -> Result<Vec<u8>> {
    let end = answer
        .windows(4)
        .position(|bytes| bytes == b"\r\n\r\n")
        .context("the answer has no end of its head")?;
    let head = std::str::from_utf8(&answer[..end]).context("the answer's head is not text")?;
    let body = &answer[end + 4..];
    let status = head.split(' ').nth(1).context("the answer has no status")?;
    if !status.starts_with('2') {
        bail!("status {status}: {}", String::from_utf8_lossy(body).trim());
    }
    let announced = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    ensure!(announced.is_none_or(|length| length == body.len()), "the answer was cut short");
    Ok(body.to_vec())
}

fn target(path: &str, query: &[(&str, &str)]) -> String {
    let mut target = path.to_owned();
    for (number, (name, value)) in query.iter().enumerate() {
        target.push(if number == 0 { '?' } else { '&' });
        target.push_str(name);
        target.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
                target.push(char::from(byte));
            } else {
                target.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_encoded() {
        let query = [("vm", "db 01/ä"), ("offset", "0")];
        assert_eq!(target("/write", &query), "/write?vm=db%2001%2F%C3%A4&offset=0");
    }

    #[test]
    fn only_complete_good_answers_pass() {
        let good = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi";
        assert_eq!(body_of(good).unwrap(), b"hi");
        assert!(body_of(b"HTTP/1.0 200 OK\r\nContent-Length: 9\r\n\r\nhi").is_err());
        let refused = body_of(b"HTTP/1.0 404 Not Found\r\n\r\nno such VM").unwrap_err();
        assert!(refused.to_string().contains("no such VM"));
        assert!(body_of(b"HTTP/1.0 200 OK\r\n").is_err());
    }
}
