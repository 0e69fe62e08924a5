//! Disk images and files: whole, in ranges, and broken off.

use crate::engine::disks::{self, DISKS};
use crate::engine::points::{FREE, VMX};
use crate::wire::{Answer, Server};
use model::DiskRange;

fn disk(server: &Server, disk: u32, headers: &[&str]) -> Answer {
    server.ask("GET", &format!("/api/v1/points/{FREE}/disks/{disk}"), headers, b"")
}

#[test]
fn a_disk_comes_whole_and_exact() {
    let server = Server::start();
    for index in [0, 4, 6] {
        let answer = disk(&server, index, &[]);
        assert_eq!((answer.status, answer.length()), (200, DISKS[index as usize].capacity));
        assert_eq!(answer.header("content-type"), Some("application/octet-stream"));
        assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        assert!(answer.body == disks::image(index), "disk {index} differs");
    }
}

#[test]
fn a_range_is_the_same_range_of_the_image() {
    let server = Server::start();
    let image = disks::image(0);
    let length = image.len();
    let cases = [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=65000-1100000".to_owned(), 65000, 1_035_001),
        (format!("bytes={}-", length - 600), length - 600, 600),
        ("bytes=-512".to_owned(), length - 512, 512),
        (format!("bytes=1-{}", u64::MAX), 1, length - 1),
    ];
    for (range, offset, wanted) in cases {
        let answer = disk(&server, 0, &[&format!("Range: {range}")]);
        assert_eq!((answer.status, answer.length()), (206, wanted as u64), "{range}");
        let shown = format!("bytes {offset}-{}/{length}", offset + wanted - 1);
        assert_eq!(answer.header("content-range"), Some(&*shown));
        assert!(answer.body == image[offset..offset + wanted], "{range}");
    }
}

#[test]
fn a_range_behind_the_end_is_unsatisfiable() {
    let server = Server::start();
    let answer = disk(&server, 0, &[&format!("Range: bytes={}-", DISKS[0].capacity)]);
    assert_eq!((answer.status, answer.problem().code.as_str()), (416, "range-outside"));
    assert_eq!(answer.header("content-range"), Some(&*format!("bytes */{}", DISKS[0].capacity)));
    assert_eq!(disk(&server, 6, &["Range: bytes=0-"]).status, 416);
}

#[test]
fn a_range_is_served_only_of_the_image_that_the_client_knows() {
    let server = Server::start();
    let tag = disk(&server, 4, &["Range: bytes=0-0"]).header("etag").unwrap().to_owned();
    let range = "Range: bytes=0-9";
    assert_eq!(disk(&server, 4, &[range, &format!("If-Range: {tag}")]).status, 206);
    assert_eq!(disk(&server, 4, &[range, "If-Range: \"other\""]).status, 200);
    assert_eq!(disk(&server, 4, &["Range: bytes=0-1,5-6"]).status, 200);
}

#[test]
fn head_tells_the_length_and_reads_nothing() {
    let server = Server::start();
    // Disk 1 would break; disk 5 would take for ever.
    for index in [1, 5] {
        let path = format!("/api/v1/points/{FREE}/disks/{index}");
        let answer = server.ask("HEAD", &path, &[], b"");
        assert_eq!((answer.status, answer.length()), (200, DISKS[index as usize].capacity));
    }
}

#[test]
fn a_source_that_fails_or_ends_early_breaks_the_body_off() {
    let server = Server::start();
    for index in [1, 2] {
        for headers in [&[] as &[&str], &["Range: bytes=1000000-"]] {
            let answer = disk(&server, index, headers);
            let brought = answer.body.len() as u64;
            assert!(answer.status == 200 || answer.status == 206);
            assert!(brought > 0 && brought < answer.length(), "{brought} of {}", answer.length());
        }
        // What lies before the damage can be had.
        let answer = disk(&server, index, &["Range: bytes=0-99999"]);
        assert!(answer.body == disks::image(0)[..100_000]);
    }
    assert_eq!(server.get("/api/v1/status").status, 200);
}

#[test]
fn a_source_that_brings_too_much_brings_no_more_than_was_promised() {
    let server = Server::start();
    let answer = disk(&server, 3, &["Range: bytes=0-9"]);
    assert!(answer.body.len() as u64 <= answer.length());
    assert_eq!(server.get("/api/v1/status").status, 200);
}

/// The scripted engine sends the image itself as the export: what counts here is how it ends.
fn exported(server: &Server, disk: u32) -> Answer {
    server.get(&format!("/api/v1/points/{FREE}/disks/{disk}/vmdk"))
}

#[test]
fn an_export_comes_whole_without_a_length() {
    let server = Server::start();
    let answer = exported(&server, 0);
    assert_eq!((answer.status, answer.header("content-length")), (200, None));
    assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    let name = answer.header("content-disposition").unwrap();
    assert_eq!(name, format!("attachment; filename=\"{FREE}-disk-0.vmdk\""));
    let mut body = Vec::new();
    assert!(dechunked(&answer.body, &mut body), "the last chunk has come");
    assert!(body == disks::image(0));
    assert_eq!(exported(&server, 99).status, 404);
}

#[test]
fn an_export_that_fails_or_just_ends_lacks_its_last_chunk() {
    let server = Server::start();
    for index in [1, 2] {
        let answer = exported(&server, index);
        let mut body = Vec::new();
        assert!(!dechunked(&answer.body, &mut body), "disk {index}");
        assert!(!body.is_empty() && disks::image(0).starts_with(&body), "disk {index}");
    }
    assert_eq!(server.get("/api/v1/status").status, 200);
}

/// The bytes of a chunked body (RFC 9112, section 7.1); false when its last chunk is missing.
fn dechunked(mut body: &[u8], into: &mut Vec<u8>) -> bool {
    while let Some(end) = body.windows(2).position(|pair| pair == b"\r\n") {
        let size = std::str::from_utf8(&body[..end]).expect("hex digits");
        let size = usize::from_str_radix(size, 16).expect("hex digits");
        body = &body[end + 2..];
        if size == 0 {
            return true;
        }
        into.extend_from_slice(&body[..size.min(body.len())]);
        body = body.get(size + 2..).unwrap_or_default();
    }
    false
}

#[test]
fn the_map_and_the_image_agree() {
    let server = Server::start();
    let mut rebuilt = vec![0; usize::try_from(DISKS[0].capacity).unwrap()];
    let (mut from, mut pages) = (0, 0);
    loop {
        let path = format!("/api/v1/points/{FREE}/disks/0/map?from={from}&limit=2");
        let map: api::DataRanges = serde_json::from_slice(&server.get(&path).body).unwrap();
        assert_eq!(map.capacity_bytes, DISKS[0].capacity);
        for DiskRange { offset, length } in map.ranges {
            let (start, end) =
                (usize::try_from(offset).unwrap(), usize::try_from(offset + length).unwrap());
            let range = format!("Range: bytes={start}-{}", end - 1);
            rebuilt[start..end].copy_from_slice(&disk(&server, 0, &[&range]).body);
        }
        pages += 1;
        match map.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(pages, 2);
    assert!(rebuilt == disks::image(0));
}

#[test]
fn a_file_comes_by_its_name() {
    let server = Server::start();
    let answer = server.get(&format!("/api/v1/points/{FREE}/files/web%2001.vmx"));
    assert_eq!((answer.status, answer.body.as_slice()), (200, VMX));
    let other = server.get(&format!("/api/v1/points/{FREE}/files/..%2F..%2Fetc%2Fpasswd"));
    assert_eq!((other.status, other.problem().code.as_str()), (404, "file-unknown"));
    assert_eq!(server.get(&format!("/api/v1/points/{FREE}/disks/99")).status, 404);
}
