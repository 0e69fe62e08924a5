//! `point restore`: equal, sparse, all or nothing; and servers that are not what they seem.

use crate::engine::disks::{self, DISKS};
use crate::engine::points::FREE;
use crate::tool::{Canned, Tool, ok, text};
use crate::wire::Server;
use serde_json::json;
use std::fs;
use std::os::unix::fs::MetadataExt;

fn start() -> (Server, Tool) {
    let server = Server::start();
    let tool = Tool::new(server.address);
    (server, tool)
}

fn restore(tool: &Tool, disk: &str, more: &[&str]) -> (i32, serde_json::Value) {
    let (output, id) = (tool.path("disk.img"), FREE.to_string());
    let args = ["point", "restore", &id, "--disk", disk, "--output", text(&output)];
    tool.json(&args.iter().chain(more).copied().collect::<Vec<_>>())
}

#[test]
fn the_image_is_equal_and_nothing_else_is_left() {
    for disk in [0, 4, 6] {
        let (_server, tool) = start();
        let (status, done) = restore(&tool, &disk.to_string(), &[]);
        assert_eq!((status, &done["capacity_bytes"]), (0, &json!(DISKS[disk as usize].capacity)));
        assert!(fs::read(tool.path("disk.img")).unwrap() == disks::image(disk), "disk {disk}");
        assert_eq!(tool.files(), ["disk.img"]);
    }
}

#[test]
fn only_data_is_fetched_and_only_blocks_that_are_not_zero_are_written() {
    let (_server, tool) = start();
    let (_, done) = restore(&tool, "0", &[]);
    let data: u64 = DISKS[0].data.iter().map(|&(_, length)| length).sum();
    assert_eq!(done["fetched_bytes"], data);
    let written = done["written_bytes"].as_u64().unwrap();
    assert!(written < data, "the third of the blocks that is zero is not written");
    let taken = fs::metadata(tool.path("disk.img")).unwrap().blocks() * 512;
    assert!(taken < DISKS[0].capacity / 2, "{taken} bytes taken of {}", DISKS[0].capacity);
}

#[test]
fn a_terabyte_of_nothing_takes_no_time_and_no_space() {
    let (_server, tool) = start();
    let (status, done) = restore(&tool, "5", &[]);
    assert_eq!((status, &done["fetched_bytes"]), (0, &json!(8192)));
    let metadata = fs::metadata(tool.path("disk.img")).unwrap();
    assert_eq!(metadata.len(), 1 << 40);
    assert!(metadata.blocks() * 512 < 1 << 20);
}

#[test]
fn a_stream_that_breaks_leaves_no_file() {
    // The first says what it cannot read when it is asked for just that.
    for (disk, code, told) in [("1", "chunk-damaged", "1148576"), ("2", "broken-off", "3146240")] {
        let (_server, tool) = start();
        let (status, problem) = restore(&tool, disk, &[]);
        assert_eq!((status, &problem["code"]), (1, &json!(code)));
        assert!(problem["detail"].as_str().unwrap().contains(told), "{problem}");
        assert_eq!(tool.files(), Vec::<String>::new());
    }
}

#[test]
fn a_stream_that_breaks_leaves_the_old_file_as_it_was() {
    let (_server, tool) = start();
    fs::write(tool.path("disk.img"), "old").unwrap();
    assert_eq!(restore(&tool, "1", &["--force"]).0, 1);
    assert_eq!(fs::read(tool.path("disk.img")).unwrap(), b"old");
    assert_eq!(tool.files(), ["disk.img"]);
}

#[test]
fn an_export_is_written_as_it_comes() {
    let (_server, tool) = start();
    let (status, done) = restore(&tool, "0", &["--format", "vmdk"]);
    let (capacity, image) = (DISKS[0].capacity, disks::image(0));
    assert_eq!((status, &done["capacity_bytes"]), (0, &json!(capacity)));
    assert_eq!(done["file_bytes"], image.len());
    assert!(fs::read(tool.path("disk.img")).unwrap() == image);
    assert_eq!(tool.files(), ["disk.img"]);
}

#[test]
fn an_export_that_breaks_leaves_no_file() {
    for disk in ["1", "2"] {
        let (_server, tool) = start();
        let (status, problem) = restore(&tool, disk, &["--format", "vmdk"]);
        assert_eq!((status, &problem["code"]), (1, &json!("broken-off")), "disk {disk}");
        assert_eq!(tool.files(), Vec::<String>::new());
    }
}

#[test]
fn a_file_is_replaced_only_by_force() {
    let (_server, tool) = start();
    fs::write(tool.path("disk.img"), "old").unwrap();
    let (status, problem) = restore(&tool, "0", &[]);
    assert_eq!((status, &problem["code"]), (1, &json!("file-exists")));
    assert_eq!(fs::read(tool.path("disk.img")).unwrap(), b"old");
    assert_eq!(restore(&tool, "0", &["--force"]).0, 0);
    assert!(fs::read(tool.path("disk.img")).unwrap() == disks::image(0));
}

#[test]
fn a_restore_under_way_is_not_disturbed() {
    let (_server, tool) = start();
    fs::write(tool.path("disk.img.part"), "of another").unwrap();
    let (status, problem) = restore(&tool, "0", &[]);
    assert_eq!((status, &problem["code"]), (1, &json!("file-exists")));
    assert_eq!(fs::read(tool.path("disk.img.part")).unwrap(), b"of another");
}

#[test]
fn a_disk_or_folder_that_is_not_there_is_said_so() {
    let (_server, tool) = start();
    assert_eq!(restore(&tool, "99", &[]).1["code"], "disk-unknown");
    let args = ["point", "restore", "a1", "--disk", "0", "--output", "/nowhere/disk.img"];
    let (status, problem) = tool.json(&args);
    assert_eq!((status, &problem["code"]), (1, &json!("file")));
    assert!(problem["detail"].as_str().unwrap().contains("/nowhere/disk.img.part"));
}

/// The detail of a point whose disk 0 has `capacity` bytes.
fn detail(capacity: u64) -> String {
    let mut point = crate::engine::points::all(0).remove(0);
    point.disks.truncate(1);
    point.disks[0].capacity_bytes = capacity;
    serde_json::to_string(&point).expect("a point is JSON")
}

#[test]
fn a_map_that_makes_no_sense_is_not_followed() {
    let maps = [
        r#"{"capacity_bytes": 8192, "ranges": [{"offset": 4096, "length": 8192}], "next": null}"#,
        r#"{"capacity_bytes": 8192, "ranges": [{"offset": 0, "length": 0}], "next": null}"#,
        r#"{"capacity_bytes": 8192, "ranges": [], "next": 0}"#,
        concat!(
            r#"{"capacity_bytes": 8192, "next": null, "#,
            r#""ranges": [{"offset": 18446744073709551615, "length": 9}]}"#
        ),
    ];
    for map in maps {
        let canned = Canned::start(move |path| match path {
            path if path.contains("/map") => ok(map),
            _ => ok(&detail(8192)),
        });
        let tool = Tool::new(canned.address);
        let (status, problem) = restore(&tool, "0", &[]);
        assert_eq!((status, &problem["code"]), (1, &json!("bad-answer")), "{map}");
        assert_eq!(tool.files(), Vec::<String>::new());
    }
}

#[test]
fn bytes_of_another_range_are_not_taken() {
    let canned = Canned::start(|path| match path {
        path if path.contains("/map") => ok(concat!(
            r#"{"capacity_bytes": 8192, "next": null, "#,
            r#""ranges": [{"offset": 4096, "length": 4096}]}"#
        )),
        // The whole image, or the wrong half of it, in the place of the range.
        path if path.contains("/disks/") => ok(&"x".repeat(4096)),
        _ => ok(&detail(8192)),
    });
    let tool = Tool::new(canned.address);
    let (status, problem) = restore(&tool, "0", &[]);
    assert_eq!((status, &problem["code"]), (1, &json!("bad-answer")));
    assert_eq!(tool.files(), Vec::<String>::new());
}

#[test]
fn a_server_that_is_no_appliance_is_found_out() {
    let answers: [&[u8]; 5] = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 6\r\n\r\n<html>",
        b"HTTP/1.1 500 Oh\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\n{",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ];
    for answer in answers {
        let canned = Canned::start(move |_| answer.to_vec());
        let (status, problem) = Tool::new(canned.address).json(&["status"]);
        assert_eq!(status, 1, "{problem}");
        let code = problem["code"].as_str().unwrap();
        assert!(["bad-answer", "no-answer"].contains(&code), "{problem}");
    }
}

#[test]
fn the_token_does_not_follow_a_redirect() {
    let other = Canned::start(|_| ok("{}"));
    let to = other.address;
    let canned = Canned::start(move |_| {
        let head = "HTTP/1.1 302 Found\r\nContent-Length: 0\r\nConnection: close";
        format!("{head}\r\nLocation: http://{to}/\r\n\r\n").into_bytes()
    });
    let (status, problem) = Tool::new(canned.address).json(&["status"]);
    assert_eq!((status, &problem["code"]), (1, &json!("bad-answer")));
    assert_eq!(canned.asked.lock().unwrap().len(), 1);
    assert!(other.asked.lock().unwrap().is_empty());
}
