//! Calls with JSON: right ones, wrong ones, and an engine that refuses, fails or panics.

use crate::engine::points::{FREE, LOCKED, PANIC, SLOW_DELETE};
use crate::wire::{Answer, Server};
use console::Limits;
use model::ErrorKind;
use serde_json::json;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[test]
fn runs_are_started_and_seen_to_their_end() {
    let server = Server::start();
    let started = server.post_json("/api/v1/runs", r#"{"vms": ["web01", "legacy"]}"#);
    assert_eq!(started.status, 202);
    let runs = started.json()["runs"].as_array().unwrap().clone();
    assert_eq!((runs.len(), &runs[0]["state"]), (2, &json!("queued")));
    let path = format!("/api/v1/runs/{}", runs[0]["id"].as_str().unwrap());
    let states: Vec<_> = (0..8).map(|_| server.get(&path).json()["state"].clone()).collect();
    assert_eq!(states[0], "running");
    assert_eq!(states[7], "succeeded");
    let run: api::Run = serde_json::from_slice(&server.get(&path).body).unwrap();
    assert!(matches!(run.result, Some(api::RunResult::Backup(_))));
    assert_eq!(server.get("/api/v1/runs").json()["items"].as_array().unwrap().len(), 2);
}

#[test]
fn a_verify_run_needs_no_body() {
    let server = Server::start();
    let path = format!("/api/v1/points/{FREE}/verify");
    let answer = server.ask("POST", &path, &[], b"");
    assert_eq!((answer.status, &answer.json()["kind"]), (202, &json!("verify")));
    assert_eq!(server.post_json(&path, "{}").status, 202);
    assert_eq!(
        server.post_json(&path, r#"{"fast": true}"#).problem().field.as_deref(),
        Some("fast")
    );
}

#[test]
fn a_wrong_body_is_refused_with_the_field_named() {
    let server = Server::start();
    let cases = [
        (r#"{"vms": ["web01"], "ful": true}"#, Some("ful"), "unknown field `ful`"),
        (r#"{"vms": ["web01", 7]}"#, Some("vms[1]"), "expected a string"),
        (r#"{"vms": "web01"}"#, Some("vms"), "expected a sequence"),
        (r#"{"vms": [], "full": false}"#, Some("vms"), "empty"),
        (r#"{"vms": ["web01"], "full": 1}"#, Some("full"), "expected a boolean"),
        (r#"{"full": true}"#, None, "missing field `vms`"),
        ("", None, "missing field `vms`"),
        (r#"[["web01"], true]"#, None, "object"),
        (r#"{"vms": ["web01"]"#, None, "EOF"),
        (r#"{"vms": ["web01"]} x"#, None, "trailing"),
        ("\u{0}\u{1}", None, "object"),
        (" \n{", None, "EOF"),
    ];
    for (body, field, detail) in cases {
        let answer = server.post_json("/api/v1/runs", body);
        assert_eq!(answer.status, 400, "{body}");
        let problem = answer.problem();
        assert_eq!(problem.code, "bad-body", "{body}");
        assert!(problem.detail.contains(detail), "{body}: {}", problem.detail);
        if field.is_some() {
            assert_eq!(problem.field.as_deref(), field, "{body}");
        }
    }
    assert_eq!(server.get("/api/v1/runs").json()["items"], json!([]));
}

#[test]
fn a_body_must_be_json_and_small() {
    let server = Server::start();
    let text = server.ask("POST", "/api/v1/runs", &["Content-Type: text/plain"], b"{}");
    assert_eq!((text.status, text.problem().code.as_str()), (415, "not-json"));
    let large = format!(r#"{{"vms": ["{}"]}}"#, "a".repeat(Limits::default().body_bytes));
    let answer = server.post_json("/api/v1/runs", &large);
    assert_eq!((answer.status, answer.problem().code.as_str()), (413, "body-too-large"));
}

#[test]
fn a_large_body_of_unknown_length_is_refused_too() {
    let server = Server::start();
    let mut stream = server.connect();
    let head = format!(
        "POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
         Authorization: Bearer {}\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n",
        crate::engine::TOKEN
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
    for _ in 0..17 {
        // The server may close as soon as it has seen too much.
        if stream.write_all(chunk.as_bytes()).is_err() {
            break;
        }
    }
    assert_eq!(Answer::read(&mut stream, false).status, 413);
}

#[test]
fn a_wrong_address_or_query_is_refused() {
    let server = Server::start();
    let long = format!("/api/v1/points/{}", "a".repeat(33));
    let parameters = [
        ("/api/v1/runs/zz", "run"),
        ("/api/v1/points/a1", "point"),
        (long.as_str(), "point"),
        ("/api/v1/points/%2e%2e", "point"),
        (&format!("/api/v1/points/{FREE}/disks/-1"), "disk"),
        (&format!("/api/v1/points/{FREE}/disks/4294967296"), "disk"),
    ];
    for (path, field) in parameters {
        let problem = server.get(path).problem();
        assert_eq!((problem.status, problem.field.as_deref()), (400, Some(field)), "{path}");
    }
    assert_eq!(server.get("/api/v1/points/%ff").status, 400);
    let queries = ["limit=-1", "limit=x", "lim=1", "limit=1&limit=2", "vm=a&x=1"];
    for query in queries {
        let answer = server.get(&format!("/api/v1/points?{query}"));
        assert_eq!(answer.status, 400, "{query}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(answer.problem().code, "bad-query");
    }
    assert!(server.get("/api/v1/status?x=1").problem().detail.contains('x'));
}

#[test]
fn pages_put_together_are_the_list() {
    let server = Server::with(Limits::default(), 25);
    let (mut ids, mut next, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let after = next.map(|next| format!("&after={next}")).unwrap_or_default();
        let page = server.get(&format!("/api/v1/points?limit=10{after}")).json();
        let items = page["items"].as_array().unwrap();
        ids.extend(items.iter().map(|item| item["id"].as_str().unwrap().to_owned()));
        pages += 1;
        next = page["next"].as_str().map(Into::into);
        if next.is_none() {
            break;
        }
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((count, ids.len(), pages), (28, 28, 3));
    let of_one = server.get("/api/v1/points?vm=web01").json();
    assert_eq!(of_one["items"].as_array().unwrap().len(), 1);
}

#[test]
fn a_locked_point_is_not_deleted_and_says_until_when() {
    let server = Server::start();
    let path = format!("/api/v1/points/{LOCKED}");
    let answer = server.ask("DELETE", &path, &[], b"");
    assert_eq!(answer.status, 409);
    let problem = answer.problem();
    assert_eq!((problem.code.as_str(), problem.kind), ("point-locked", Some(ErrorKind::Refused)));
    assert!(problem.is_refusal());
    assert_eq!(problem.lock, Some(crate::engine::points::lock()));
    assert!(
        problem.detail.contains("governance mode: protected at least until 2031-05-01T12:00:00Z")
    );
    assert_eq!(server.get(&path).status, 200);
}

#[test]
fn a_free_point_is_deleted_once() {
    let server = Server::start();
    let path = format!("/api/v1/points/{FREE}");
    let deleted = server.ask("DELETE", &path, &[], b"");
    assert_eq!((deleted.status, deleted.body.len()), (204, 0));
    let again = server.ask("DELETE", &path, &[], b"");
    assert_eq!((again.status, again.problem().code.as_str()), (404, "point-unknown"));
}

#[test]
fn a_delete_goes_on_when_the_client_leaves() {
    let server = Server::start();
    let mut stream = server.connect();
    let request = format!(
        "DELETE /api/v1/points/{SLOW_DELETE} HTTP/1.1\r\nHost: x\r\n\
         Authorization: Bearer {}\r\n\r\n",
        crate::engine::TOKEN
    );
    stream.write_all(request.as_bytes()).unwrap();
    wait_for(&server.engine.slow_delete_begun);
    drop(stream);
    wait_for(&server.engine.slow_delete_done);
}

fn wait_for(flag: &AtomicBool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !flag.load(Ordering::SeqCst) {
        assert!(Instant::now() < deadline, "it did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_defect_of_the_engine_is_an_answer_and_not_the_end() {
    let server = Server::start();
    let answer = server.get(&format!("/api/v1/points/{PANIC}"));
    assert_eq!((answer.status, answer.problem().code.as_str()), (500, "internal"));
    assert!(!String::from_utf8_lossy(&answer.body).contains("told to panic"));
    assert_eq!(server.get("/api/v1/status").status, 200);
}

#[test]
fn care_of_the_repository_is_asked_for_and_seen() {
    let server = Server::start();
    let asked = server.post_json("/api/v1/repository/maintenance", r#"{"task": "scrub-all"}"#);
    assert_eq!((asked.status, &asked.json()["state"]), (202, &json!("queued")));
    let path = format!("/api/v1/repository/maintenance/{}", asked.json()["number"]);
    let run: api::MaintenanceRun = serde_json::from_slice(&server.get(&path).body).unwrap();
    assert_eq!(run, crate::engine::care::ended(1).unwrap());
    for (body, field) in [(r#"{"task": "burn"}"#, "task"), (r#"{"tasks": 1}"#, "tasks")] {
        let problem = server.post_json("/api/v1/repository/maintenance", body).problem();
        assert_eq!((problem.status, problem.field.as_deref()), (400, Some(field)));
    }
    assert_eq!(server.get("/api/v1/repository/maintenance/99").status, 404);
    assert_eq!(server.get("/api/v1/repository/maintenance/x").status, 400);
    let preview: api::ExpiryPreview =
        serde_json::from_slice(&server.get("/api/v1/repository/expiry").body).unwrap();
    assert_eq!(preview, crate::engine::care::preview());
    let forecast = server.get("/api/v1/repository/forecast?window_days=7&lock_days=30").json();
    assert_eq!(forecast["seen_seconds"], 7 * 24 * 3600);
    assert_eq!(server.get("/api/v1/repository/forecast?days=7").status, 400);
}

#[test]
fn every_type_survives_the_way() {
    let server = Server::start();
    let detail: api::PointDetail =
        serde_json::from_slice(&server.get(&format!("/api/v1/points/{LOCKED}")).body).unwrap();
    assert_eq!(detail, crate::engine::points::all(0)[1]);
    let status: api::Status = serde_json::from_slice(&server.get("/api/v1/status").body).unwrap();
    assert_eq!(status, crate::engine::vms::status(3));
    let vms: api::Page<api::VmSummary> =
        serde_json::from_slice(&server.get("/api/v1/vms").body).unwrap();
    assert_eq!(vms.items.len(), crate::engine::vms::all().len());
}
