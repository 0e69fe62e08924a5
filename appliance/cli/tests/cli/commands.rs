//! The commands against the console with a scripted engine: output, exit status, refusals.

use crate::engine::points::{FREE, LOCKED};
use crate::tool::Tool;
use crate::wire::Server;
use serde_json::json;

fn start() -> (Server, Tool) {
    let server = Server::with(console::Limits::default(), 30);
    let tool = Tool::new(server.address);
    (server, tool)
}

#[test]
fn lists_are_the_api_s_own_types() {
    let (_server, tool) = start();
    let (status, vms) = tool.json(&["vm", "list"]);
    assert_eq!((status, vms["items"].as_array().unwrap().len()), (0, 3));
    let vms: api::Page<api::VmSummary> = serde_json::from_value(vms).unwrap();
    assert_eq!(vms.items[2], crate::engine::vms::all()[0], "sorted by name");
    let (_, points) = tool.json(&["point", "list"]);
    assert_eq!(points["items"].as_array().unwrap().len(), 33);
    let (_, points) = tool.json(&["point", "list", "--vm", "web01"]);
    assert_eq!(points["items"][0]["id"], FREE.to_string());
    let (_, status) = tool.json(&["status"]);
    assert_eq!(status["state"], "degraded");
    let (_, detail) = tool.json(&["point", "show", &FREE.to_string()]);
    assert_eq!(detail["disks"].as_array().unwrap().len(), crate::engine::disks::DISKS.len());
}

#[test]
fn the_inventory_is_a_tree_and_snapshots_say_whose_they_seem_to_be() {
    let (_server, tool) = start();
    let tree = tool.run(&["inventory"]).out;
    let wanted = [
        "Datacenters (folder)",
        "  north (datacenter)",
        "    vm (folder)",
        "      web01 (vm, on, snapshots: 1, consolidation needed)",
        "    blue (cluster)",
        "      esx01 (host)",
        "      Resources (resource pool)",
    ];
    assert_eq!(tree.lines().collect::<Vec<_>>(), wanted);
    let (_, json) = tool.json(&["inventory"]);
    let page: api::Page<api::InventoryObject> = serde_json::from_value(json).unwrap();
    assert_eq!(page.items.len(), 7);

    let text = tool.run(&["snapshots"]).out;
    let line = |what: &str| text.lines().find(|line| line.contains(what)).unwrap().to_owned();
    assert!(line("before the update").contains("unknown"), "{text}");
    assert!(line("VEEAM").contains("Veeam") && line("VEEAM").contains("2 d"), "{text}");
    let status = tool.run(&["status"]).out;
    assert!(status.contains("live since 2026-06-01T08:00:00Z, 6 objects"), "{status}");
}

#[test]
fn text_shows_the_lock_in_words() {
    let (_server, tool) = start();
    let list = tool.run(&["point", "list", "--vm", "db01"]);
    assert!(
        list.out.contains("governance, protected at least until 2031-05-01T12:00:00Z"),
        "{}",
        list.out
    );
    let vms = tool.run(&["vm", "list"]);
    assert!(vms.out.contains("network (the datastore lies on NFS, not on a LUN)"), "{}", vms.out);
    for command in [&["status"] as &[&str], &["run", "list"], &["point", "show", "a1"]] {
        let ran = tool.run(command);
        assert_eq!((ran.status, ran.err.as_str()), (0, ""), "{command:?}");
        assert!(!ran.out.is_empty());
    }
}

#[test]
fn a_backup_waits_for_all_its_runs() {
    let (_server, tool) = start();
    let (status, done) = tool.json(&["backup", "run", "web01", "db01"]);
    let states: Vec<_> = done["runs"].as_array().unwrap().iter().map(|run| &run["state"]).collect();
    assert_eq!((status, states), (0, vec![&json!("succeeded"), &json!("warning")]));
    assert_eq!(done["runs"][0]["result"]["kind"], "backup");
}

#[test]
fn one_failed_run_fails_the_command_and_hides_no_other() {
    let (_server, tool) = start();
    let ran = tool.run(&["backup", "run", "legacy", "web01"]);
    assert_eq!(ran.status, 1);
    assert!(
        ran.out.contains("legacy: backup failed") && ran.out.contains("web01: backup succeeded")
    );
    assert!(ran.out.contains("Exclude the disk"), "{}", ran.out);
    assert!(ran.err.contains("legacy: reading from the SAN"), "{}", ran.err);
    assert!(!ran.err.contains('\u{1b}'), "no terminal, no control characters");
}

#[test]
fn no_wait_returns_with_the_runs() {
    let (_server, tool) = start();
    let (status, started) = tool.json(&["backup", "run", "legacy", "--full", "--no-wait"]);
    assert_eq!((status, &started["runs"][0]["state"]), (0, &json!("queued")));
    let id = started["runs"][0]["id"].as_str().unwrap();
    let (_, run) = tool.json(&["run", "show", &id[..6]]);
    assert_eq!(run["id"], id);
}

#[test]
fn an_unknown_vm_starts_nothing() {
    let (_server, tool) = start();
    let (status, problem) = tool.json(&["backup", "run", "web01", "nobody"]);
    assert_eq!((status, &problem["code"]), (1, &json!("vm-unknown")));
    assert!(problem["detail"].as_str().unwrap().contains("nobody"));
    let (_, runs) = tool.json(&["run", "list"]);
    assert_eq!(runs["items"], json!([]));
}

#[test]
fn damage_fails_the_verification() {
    let (_server, tool) = start();
    let (status, run) = tool.json(&["point", "verify", &FREE.to_string()]);
    assert_eq!(
        (status, &run["state"], &run["result"]["damage"]),
        (0, &json!("succeeded"), &json!([]))
    );
    let ran = tool.run(&["point", "verify", &LOCKED.to_string()]);
    assert_eq!(ran.status, 1);
    assert!(ran.out.contains("damaged: disk 0, byte 5242880 to 6291456"), "{}", ran.out);
}

#[test]
fn a_lock_is_a_refusal_with_a_status_of_its_own() {
    let (_server, tool) = start();
    let (status, problem) = tool.json(&["point", "delete", &LOCKED.to_string()]);
    assert_eq!((status, &problem["code"]), (3, &json!("point-locked")));
    assert_eq!(problem["lock"]["until"], "2031-05-01T12:00:00Z");
    let ran = tool.run(&["point", "delete", "a2a2"]);
    assert_eq!((ran.status, ran.out.as_str()), (3, ""));
    assert!(
        ran.err.contains("governance mode: protected at least until 2031-05-01T12:00:00Z by the")
    );
    let (status, _) = tool.json(&["point", "show", &LOCKED.to_string()]);
    assert_eq!(status, 0, "it is still there");
}

#[test]
fn a_free_point_is_deleted() {
    let (_server, tool) = start();
    let (status, deleted) = tool.json(&["point", "delete", "a1"]);
    assert_eq!((status, &deleted["deleted"]), (0, &json!(FREE.to_string())));
    assert_eq!(tool.run(&["point", "show", "a1"]).status, 1);
}

#[test]
fn ids_may_be_abbreviated_when_they_stay_unique() {
    let (_server, tool) = start();
    let (_, point) = tool.json(&["point", "show", "A2A"]);
    assert_eq!(point["id"], LOCKED.to_string());
    // Thirty points have ids that begin with two digits of their number, from 00 to 1d.
    let (status, problem) = tool.json(&["point", "show", "0"]);
    assert_eq!((status, &problem["code"]), (1, &json!("ambiguous-id")));
    for unknown in ["ff", "", "a1/../a2", "xyz"] {
        let (status, problem) = tool.json(&["point", "delete", unknown]);
        assert_eq!((status, &problem["code"]), (1, &json!("unknown-id")), "{unknown:?}");
    }
}

#[test]
fn the_san_is_shown_with_what_is_wrong() {
    let (_server, tool) = start();
    let found = tool.run(&["san", "discover", "127.0.0.1:13260", "--as-asked"]);
    assert_eq!(found.status, 0, "{}", found.err);
    assert!(found.out.contains("[[san.portal]]\nportal = \"127.0.0.1:13260\""), "{}", found.out);
    let found = tool.run(&["san", "discover", "127.0.0.1:13260"]);
    assert!(found.out.contains("portal = \"192.168.7.7:3260\""), "{}", found.out);
    let login = tool.run(&["san", "login"]);
    assert_eq!(login.status, 1, "a session is lost and a portal does not answer");
    assert!(login.out.contains("LOST") && login.out.contains("NOT USED"), "{}", login.out);
    assert_eq!(tool.run(&["san", "login", "--show"]).status, 0);
    let luns = tool.run(&["san", "luns"]);
    assert!(luns.out.contains("WRITABLE") && luns.out.contains("read-only"), "{}", luns.out);
    assert!(luns.out.contains("presented read-only to it all the same"), "{}", luns.out);
    assert!(!luns.out.contains('\u{1b}'), "a device's name reaches the terminal");
    let [writable, protected] = crate::engine::san::NAMES;
    let accepted = tool.run(&["san", "acknowledge", writable, "--by", "J. Doe", "--note", "lab"]);
    let line = "accepted by J. Doe at 2026-06-01T12:00:00Z: lab";
    assert!(accepted.status == 0 && accepted.out.contains(line), "{}", accepted.out);
    assert_eq!(tool.run(&["san", "acknowledge", protected, "--by", "J. Doe"]).status, 3);
    assert_eq!(tool.run(&["san", "acknowledge", writable]).status, 2, "nobody accepts it");
    let paths = tool.run(&["san", "paths"]);
    assert!(paths.out.contains("10.0.1.1:3260: LOST: connection reset"), "{}", paths.out);
    let fc = tool.run(&["san", "fc"]);
    assert!(fc.out.contains("21:00:00:24:ff:00:00:01") && fc.out.contains("Blocked"), "{}", fc.out);
    assert!(fc.out.contains("san.kernel"), "{}", fc.out);
    let (status, paths) = tool.json(&["san", "paths"]);
    assert_eq!((status, &paths["paths"][1]["state"]), (0, &json!("lost")));
}

#[test]
fn a_lun_is_tested_by_its_name() {
    let (_server, tool) = start();
    let (status, tested) =
        tool.json(&["san", "test", crate::engine::san::NAMES[1], "--seconds", "3"]);
    assert_eq!((status, &tested["latency_reads"]), (0, &json!(3000)));
    let shown = tool.run(&["san", "test", crate::engine::san::NAMES[0]]);
    assert!(shown.out.contains("400 µs median, 2300 µs in 99 of 100"), "{}", shown.out);
    let (status, problem) = tool.json(&["san", "test", "naa.5000000000000001"]);
    assert_eq!((status, &problem["code"]), (1, &json!("lun-unknown")));
    let (status, problem) = tool.json(&["san", "test", "sda"]);
    assert_eq!((status, &problem["code"]), (1, &json!("bad-parameter")));
    assert_eq!(
        tool.run(&["san", "test", crate::engine::san::NAMES[0], "--seconds", "99"]).status,
        2
    );
}

#[test]
fn usage_errors_have_a_status_of_their_own() {
    let (_server, tool) = start();
    for args in [
        &[] as &[&str],
        &["backup", "run"],
        &["point", "restore", "a1"],
        &["vm", "burn"],
        &["status", "--token", "secret"],
    ] {
        assert_eq!(tool.run(args).status, 2, "{args:?}");
    }
    let no_token = tool.command(&["status", "--json"]).env_remove("HOLDFAST_TOKEN_FILE").output();
    let no_token = crate::tool::Ran::from(no_token.unwrap());
    assert_eq!(no_token.status, 2);
    assert!(no_token.out.contains("no-token-file") && no_token.out.contains("--token-file"));
}

#[test]
fn a_wrong_token_is_a_failure_and_not_shown() {
    let (_server, tool) = start();
    let wrong = tool.path("wrong");
    std::fs::write(&wrong, "this-is-a-token-that-nobody-expects").unwrap();
    let (status, problem) = tool.json(&["status", "--token-file", crate::tool::text(&wrong)]);
    assert_eq!((status, &problem["status"]), (1, &json!(401)));
    assert!(!problem.to_string().contains("nobody-expects"));
    for content in ["", "two tokens", "a\nb"] {
        std::fs::write(&wrong, content).unwrap();
        let (status, problem) = tool.json(&["status", "--token-file", crate::tool::text(&wrong)]);
        assert_eq!((status, &problem["code"]), (1, &json!("token-file")), "{content:?}");
    }
}

#[test]
fn an_appliance_that_is_not_there_is_said_so() {
    let (mut server, tool) = start();
    server.stop();
    let (status, problem) = tool.json(&["status"]);
    assert_eq!((status, &problem["code"]), (1, &json!("no-answer")));
    assert!(problem["detail"].as_str().unwrap().contains("/api/v1/status"));
    assert!(problem["next_step"].as_str().unwrap().contains("holdfastd"));
}

#[test]
fn completions_need_no_server() {
    let (mut server, tool) = start();
    server.stop();
    for shell in ["bash", "zsh", "fish"] {
        let ran = tool.run(&["completions", shell]);
        assert_eq!(ran.status, 0);
        assert!(ran.out.contains("holdfast") && ran.out.contains("restore"), "{shell}");
    }
}

#[test]
fn a_lock_is_extended_and_tightened_and_never_shortened() {
    let (_server, tool) = start();
    let id = LOCKED.to_string();
    let (status, _) =
        tool.json(&["point", "lock", "extend", &id, "--until", "2030-01-01T00:00:00Z"]);
    assert_eq!(status, 3, "it would end earlier");
    let extend = ["point", "lock", "extend", &id, "--until", "2032-05-01T00:00:00Z"];
    let (status, kept) = tool.json(&extend);
    assert_eq!((status, &kept["lock"]["until"]), (0, &json!("2032-05-01T00:00:00Z")));
    let ran = tool.run(&["point", "lock", "tighten", &id, "--until", "2032-05-01T00:00:00Z"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains("compliance, protected at least until 2032-05-01"), "{}", ran.out);
    assert_eq!(tool.run(&["point", "lock", "tighten", &id]).status, 2, "the end is to be repeated");
    assert_eq!(tool.run(&["point", "lock", "extend", &id]).status, 2, "until when is to be said");
}

#[test]
fn days_count_from_the_appliance_s_own_clock() {
    let (_server, tool) = start();
    let (status, kept) = tool.json(&["point", "lock", "extend", "a2a2", "--days", "3650"]);
    assert_eq!((status, &kept["lock"]["until"]), (0, &json!("2036-05-29T11:59:30Z")));
}

#[test]
fn a_hold_is_shown_with_the_point() {
    let (_server, tool) = start();
    let (status, kept) = tool.json(&["point", "hold", "a2a2", "--matter", "case 7"]);
    assert_eq!((status, &kept["holds"]), (0, &json!(["case 7"])));
    let shown = tool.run(&["point", "show", "a2a2"]);
    assert!(shown.out.contains("held for     case 7"), "{}", shown.out);
    assert!(shown.out.contains("by the appliance's own clock"), "{}", shown.out);
}

#[test]
fn a_preview_deletes_nothing() {
    let (_server, tool) = start();
    let (status, preview) = tool.json(&["point", "delete", "--preview", "a1"]);
    assert_eq!(
        (status, &preview["allowed"], &preview["bytes"]),
        (0, &json!(true), &json!(1 << 30))
    );
    let ran = tool.run(&["point", "delete", "--preview", "a2a2"]);
    assert_eq!(ran.status, 0);
    assert!(ran.out.contains("is kept: It is protected at least until"), "{}", ran.out);
    assert_eq!(tool.run(&["point", "show", "a1"]).status, 0, "it is still there");
}

#[test]
fn the_ledger_is_checked_on_this_side() {
    let (_server, tool) = start();
    let head = tool.path("head");
    let ran = tool.run(&["ledger", "head", "--output", crate::tool::text(&head)]);
    assert!(ran.out.starts_with("holdfast/5a5a") && ran.out.contains("key: "), "{}", ran.out);
    let (_, list) = tool.json(&["ledger", "list", "--from", "2"]);
    assert_eq!(list["leaves"].as_array().unwrap().len(), 3);
    for leaf in ["0", "2", "4"] {
        let (status, proof) = tool.json(&["ledger", "proof", "--leaf", leaf]);
        assert_eq!((status, &proof["proven"]), (0, &json!(true)), "{leaf}");
    }
    let (status, problem) = tool.json(&["ledger", "proof", "--leaf", "5"]);
    assert_eq!((status, &problem["code"]), (1, &json!("not-proven")));

    let older = crate::engine::record::head(3);
    std::fs::write(&head, &older.note).unwrap();
    let since = ["ledger", "proof", "--since", crate::tool::text(&head)];
    let (status, proof) = tool.json(&since);
    assert_eq!((status, &proof["old"], &proof["new"]), (0, &json!(3), &json!(5)));
    let (status, _) = tool.json(&[&since[..], &["--key", &older.signer]].concat());
    assert_eq!(status, 0);

    // One letter of the head is another one: the signature is wrong.
    std::fs::write(&head, older.note.replacen("\n3\n", "\n4\n", 1)).unwrap();
    let (status, problem) = tool.json(&since);
    assert_eq!((status, &problem["code"]), (1, &json!("not-proven")));
}

#[test]
fn a_scrub_is_waited_for_and_what_is_lost_fails_it() {
    let (_server, tool) = start();
    let ran = tool.run(&["repository", "scrub"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains("1.0 GiB in 2 segments read, 0 damaged"), "{}", ran.out);
    let ran = tool.run(&["repository", "scrub", "--all"]);
    assert_eq!(ran.status, 1);
    assert!(ran.out.contains("segment 7: repaired, 3 blocks had been wrong"), "{}", ran.out);
    let lost = format!(
        "segment 9: DAMAGED BEYOND REPAIR (2 blocks more than the parity has); concerned: {}",
        crate::engine::points::SLOW_DELETE
    );
    assert!(ran.out.contains(&lost), "{}", ran.out);
    let (status, run) = tool.json(&["repository", "scrub", "--all"]);
    assert_eq!((status, &run["result"]["quarantined"][0]["segment"]), (1, &json!(9)));
}

#[test]
fn what_is_lost_is_said_with_the_point_and_in_the_status() {
    let (_server, tool) = start();
    let shown = tool.run(&["point", "show", "b3"]);
    assert!(shown.out.contains("segments 9, which are damaged beyond repair"), "{}", shown.out);
    assert!(tool.run(&["point", "list"]).out.contains("LOST IN PART"));
    assert!(!tool.run(&["point", "show", "a1"]).out.contains("damaged"));
    let status = tool.run(&["status"]).out;
    for part in [
        "99 % read within 30 days, oldest 2026-04-30T00:00:00Z, BEHIND",
        "segment 9: DAMAGED BEYOND REPAIR; concerned: b3b3",
        "scrub at 2026-06-01T12:00:00Z (retention clock 2026-06-01T11:59:30Z): 1.0 GiB",
        "by the keep rules",
        "full in 77 days",
    ] {
        assert!(status.contains(part), "'{part}' is not in:\n{status}");
    }
}

#[test]
fn an_expiry_is_previewed_and_done() {
    let (_server, tool) = start();
    let ran = tool.run(&["repository", "expire", "--preview"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains("goes") && ran.out.contains("stays: It is locked"), "{}", ran.out);
    assert!(ran.out.contains("1 recovery points would go and give back 3.0 GiB"), "{}", ran.out);
    let (status, preview) = tool.json(&["repository", "expire", "--preview"]);
    assert_eq!((status, &preview["kept"][0]["id"]), (0, &json!(LOCKED.to_string())));
    let (status, run) = tool.json(&["repository", "expire"]);
    assert_eq!((status, &run["result"]["deleted"]), (0, &json!([FREE.to_string()])));
}

#[test]
fn volumes_say_what_their_loss_would_take_and_when_they_are_used() {
    let (_server, tool) = start();
    let ran = tool.run(&["repository", "volume", "list"]);
    assert_eq!(ran.status, 0, "{}", ran.err);
    assert!(ran.out.contains("MISSING") && ran.out.contains("5.0 TiB"), "{}", ran.out);
    let (status, added) = tool.json(&["repository", "volume", "add", "2"]);
    assert_eq!((status, &added["volumes"][2]["state"]), (0, &json!("added")));
    assert_eq!(tool.run(&["repository", "volume", "add", "0"]).status, 2);
    let ran = tool.run(&["repository", "rotate-key"]);
    assert!(ran.status == 0 && ran.out.contains("data key 2"), "{}", ran.out);
}

#[test]
fn a_compaction_and_a_forecast_say_what_they_mean() {
    let (_server, tool) = start();
    let ran = tool.run(&["repository", "compact"]);
    assert!(ran.out.contains("4 segments with 4.0 GiB became 1 with 1.0 GiB"), "{}", ran.out);
    let ran = tool.run(&["repository", "forecast", "--days", "7", "--lock-days", "90"]);
    assert!(ran.out.contains("locked for 90 days"), "{}", ran.out);
    assert!(ran.out.contains("within 7 days"), "{}", ran.out);
    let (status, forecast) = tool.json(&["repository", "forecast"]);
    assert_eq!((status, &forecast["full_in_days"]), (0, &json!(77)));
    assert_eq!(tool.run(&["repository", "forecast", "--days", "0"]).status, 2);
}
