//! Who gets in, and what everybody gets: the token, the headers, the page, the unknown.

use crate::engine::{Pace, Scripted, TOKEN};
use crate::wire::Server;
use console::{Secret, ServeError, serve};
use std::sync::Arc;
use tokio::net::TcpListener;

#[tokio::test]
async fn only_loopback_is_listened_on() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let Ok(listener) = TcpListener::bind(address).await else {
            println!("SKIPPED: only_loopback_is_listened_on: no {address} on this machine");
            continue;
        };
        let engine = Arc::new(Scripted::new(Pace::Looks, Vec::new()));
        let forever = std::future::pending::<()>();
        let refused = serve(listener, Secret::new(TOKEN).unwrap(), engine, forever).await;
        let error = refused.unwrap_err();
        assert!(matches!(error, ServeError::NotLoopback { .. }), "{error}");
        assert!(error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[test]
fn below_api_nothing_is_answered_without_the_token() {
    let server = Server::start();
    let almost = format!("Authorization: Bearer {}", &TOKEN[..TOKEN.len() - 1]);
    let more = format!("Authorization: Bearer {TOKEN}x");
    let basic = format!("Authorization: Basic {TOKEN}");
    for path in ["/api/v1/status", "/api/v1/nothing", "/api", "/api/", "/api/v1/points/x"] {
        for headers in [&[] as &[&str], &[&almost], &[&more], &[&basic], &["Authorization: "]] {
            for method in ["GET", "POST", "DELETE", "PUT"] {
                let answer = server.ask_openly(method, path, headers, b"");
                assert_eq!(answer.status, 401, "{method} {path} {headers:?}");
                assert_eq!(answer.problem().code, "not-authorised");
                assert!(answer.header("www-authenticate").is_some_and(|v| v.starts_with("Bearer")));
            }
        }
    }
    assert_eq!(server.get("/api/v1/status").status, 200);
}

#[test]
fn every_answer_carries_the_security_headers() {
    let server = Server::start();
    let point = crate::engine::points::FREE;
    let paths = [
        "/".to_owned(),
        "/app.js".to_owned(),
        "/nothing".to_owned(),
        "/api/v1/status".to_owned(),
        "/api/v1/points/zz".to_owned(),
        format!("/api/v1/points/{point}/disks/0"),
    ];
    for path in paths {
        for answer in [server.get(&path), server.ask_openly("GET", &path, &[], b"")] {
            let header = |name| answer.header(name).unwrap_or_default();
            assert!(header("content-security-policy").starts_with("default-src 'self'"), "{path}");
            assert_eq!(header("x-content-type-options"), "nosniff", "{path}");
            assert_eq!(header("cache-control"), "no-store", "{path}");
            assert_eq!(header("referrer-policy"), "no-referrer", "{path}");
            assert_eq!(answer.header("access-control-allow-origin"), None, "{path}");
        }
    }
}

#[test]
fn what_is_not_there_is_a_problem_that_names_its_path() {
    let server = Server::start();
    for path in ["/nothing", "/api/v1/nothing", "/api/v1/points/", "/index.html/../app.js"] {
        let answer = server.get(path);
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.problem().instance.as_deref(), Some(path));
    }
    let answer = server.ask("PUT", "/api/v1/runs", &[], b"");
    assert_eq!((answer.status, answer.problem().code.as_str()), (405, "method-not-allowed"));
    let allow = answer.header("allow").unwrap();
    assert!(allow.contains("GET") && allow.contains("POST"), "{allow}");
    assert_eq!(server.ask("DELETE", "/", &[], b"").status, 405);
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let server = Server::start();
    let page = server.ask_openly("GET", "/", &[], b"");
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let html = String::from_utf8(page.body).unwrap();
    for forbidden in ["style=", "<style", "onclick", "onload", "javascript:", "http://", "https://"]
    {
        assert!(!html.contains(forbidden), "the page holds '{forbidden}'");
    }
    let references = html.split(['"', '\'']).filter(|text| {
        text.starts_with('/') && ["js", "css", "svg"].iter().any(|end| text.ends_with(end))
    });
    let mut count = 0;
    for path in references {
        let answer = server.ask_openly("GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert!(!answer.body.is_empty(), "{path}");
        count += 1;
    }
    assert_eq!(count, 3, "style, script and icon");
    // Every script is a file: the policy allows no other.
    assert_eq!(html.matches("<script").count(), html.matches("<script src=").count());
}
