//! The structures of format 2, as files that were written once and stay as they are: whatever the
//! code becomes, it must read them and find in them what the texts beside them say.
//!
//! `HOLDFAST_MAKE_FIXTURES=1 cargo test -p format --test fixtures` writes those that are missing;
//! it replaces none.

#![allow(clippy::unwrap_used)] // tests: a panic is their failure

#[path = "fixtures/make.rs"]
mod make;

use format::codec::{Opener, Wanted};
use format::footer::Footer;
use format::header::{Keys, RepositoryHeader};
use format::keys::{EpochFile, KeyEncryptionKey, KeyRing, MasterFile, Secret};
use format::manifest::Manifest;
use format::map::{Node, Shape};
use format::parity::check;
use format::reach::Reach;
use format::record::{Kind, RecordHeader};
use format::segment::SegmentHeader;
use format::trailer::Trailer;
use format::volume::VolumeHeader;
use model::ChunkId;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// The bytes of a fixture, and the check of what `describe` says of them against its text.
fn fixture(name: &str, make: impl FnOnce() -> Vec<u8>, describe: impl FnOnce(&[u8]) -> String) {
    let (binary, text) = (path(&format!("{name}.bin")), path(&format!("{name}.txt")));
    let making = std::env::var_os("HOLDFAST_MAKE_FIXTURES").is_some();
    if making && !binary.exists() {
        std::fs::write(&binary, make()).unwrap();
    }
    let found = describe(&std::fs::read(&binary).unwrap());
    if making && !text.exists() {
        std::fs::write(&text, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&text).unwrap(), "{name}");
}

fn keys() -> Keys {
    Keys::derive(&Secret::new(&make::SECRET))
}

fn ring() -> KeyRing {
    let mut ring = KeyRing::new();
    ring.insert(make::EPOCH, &make::data_key());
    ring
}

fn repository_header(bytes: &[u8]) -> String {
    let (header, copies) = RepositoryHeader::decode(bytes).unwrap();
    let same_secret = header.secret.as_ref().map(|secret| *secret == Secret::new(&make::SECRET));
    format!("{header:#?}\n{copies:?}\nthe secret is right: {same_secret:?}\n")
}

#[test]
fn repository_headers() {
    fixture("repository", || make::header(false), repository_header);
    fixture("repository-encrypted", || make::header(true), repository_header);
}

#[test]
fn volume_header() {
    let describe = |bytes: &[u8]| format!("{:#?}\n", VolumeHeader::decode(bytes).unwrap());
    fixture("volume", make::volume, describe);
}

#[test]
fn key_files() {
    // What the keys open is proven by the ids that the secret gives, and by the encrypted segment.
    fixture("keys-master", make::master, |bytes| {
        let file = MasterFile::decode(bytes).unwrap();
        let mut text = format!("repository {}\n", file.repository());
        for key in [make::KEK, make::RECOVERY] {
            let kek = KeyEncryptionKey::new(&key);
            let (_, secret) = file.open(&kek).unwrap();
            let id = Keys::derive(&secret).chunk_id(b"a chunk");
            writeln!(text, "key {}: chunk id of 'a chunk' {id}", hex::encode(kek.id())).unwrap();
        }
        text
    });
    fixture("keys-epoch", make::epoch, |bytes| {
        let file = EpochFile::decode(bytes).unwrap();
        let opened = file.open(&make::master_key()).is_ok();
        format!("repository {}\nepoch {}\nopened {opened}\n", file.repository(), file.epoch())
    });
}

#[test]
fn segments() {
    fixture("segment-data", || make::data_segment(false), segment);
    fixture("segment-encrypted", || make::data_segment(true), segment);
    fixture("segment-metadata", make::metadata_segment, segment);
}

fn segment(file: &[u8]) -> String {
    let read = |offset: u64, buffer: &mut [u8]| {
        let at = usize::try_from(offset).unwrap();
        buffer.copy_from_slice(&file[at..at + buffer.len()]);
        Ok::<(), Infallible>(())
    };
    let (trailer, copies) = Trailer::read(file.len() as u64, read).unwrap();
    assert!(copies.last);
    assert!(check(&trailer, read).unwrap().is_whole());
    let from = usize::try_from(trailer.footer_offset).unwrap();
    let length = usize::try_from(trailer.footer_length).unwrap();
    let footer = Footer::decode(&file[from..from + length], &trailer).unwrap();
    let mut text = format!("{:#?}\n{trailer:#?}\n", SegmentHeader::decode(file).unwrap());
    let mut opener = Opener::new(make::REPOSITORY, keys(), ring()).unwrap();
    for entry in &footer.entries {
        let place = entry.place(trailer.serial).unwrap();
        let at = usize::try_from(place.offset()).unwrap();
        let record = &file[at..at + place.length()];
        let mut plain = Vec::new();
        let wanted = Wanted { place, kind: entry.kind, id: entry.id };
        opener.open(record, &wanted, &mut plain).unwrap();
        let header = RecordHeader::decode(record).unwrap();
        writeln!(text, "{header:#?}\n{}", content(entry.kind, entry.id, &plain)).unwrap();
    }
    text
}

fn content(kind: Kind, id: ChunkId, plain: &[u8]) -> String {
    match kind {
        Kind::Chunk | Kind::File => {
            format!("{} bytes, BLAKE3 {}", plain.len(), blake3::hash(plain))
        }
        Kind::Node => {
            format!("{:#?}", Node::decode(plain, &keys(), id, Shape::new(3), (0, 0)).unwrap())
        }
        Kind::Manifest => format!("{:#?}", Manifest::decode(plain).unwrap()),
        Kind::Reach => format!("{:#?}", Reach::decode(plain).unwrap()),
    }
}
