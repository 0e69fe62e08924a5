//! Every kind of damage that a copy of a repository can have.

use crate::history::History;
use crate::tool::{change, forge, replace, segment};
use format::BLOCK;
use format::footer::{Entry, Footer};
use format::parity::Geometry;
use format::record::Kind;
use format::trailer::Trailer;
use std::fs;
use std::path::{Path, PathBuf};

/// One kind.
pub(crate) struct Damage {
    pub(crate) name: String,
    /// It is damage, and not only something worth a word.
    pub(crate) found: bool,
    /// It changes what can be extracted, or nearly does.
    pub(crate) reads: bool,
    pub(crate) how: Box<dyn Fn(&Path) + Send + Sync>,
}

/// A segment of which damages are made, and where its parts lie.
struct Target {
    serial: u32,
    geometry: Geometry,
    trailer: Trailer,
    /// In the order in which the records lie.
    entries: Vec<Entry>,
}

impl Target {
    fn read(dir: &Path, serial: u32) -> Self {
        let bytes = fs::read(segment(dir, serial)).unwrap();
        let trailer = Trailer::decode(&bytes[bytes.len() - BLOCK..], bytes.len() as u64).unwrap();
        let at = usize::try_from(trailer.footer_offset).unwrap();
        let length = usize::try_from(trailer.footer_length).unwrap();
        let mut entries = Footer::decode(&bytes[at..at + length], &trailer).unwrap().entries;
        entries.sort_unstable_by_key(|entry| entry.block);
        Self { serial, geometry: trailer.geometry, trailer, entries }
    }

    /// The first segment that has a record of this kind.
    fn with(history: &History, kind: Kind) -> Self {
        let targets = history.serials().into_iter().map(|s| Self::read(&history.dir, s));
        targets.into_iter().find(|t| t.entries.iter().any(|e| e.kind == kind)).unwrap()
    }

    fn record(&self, kind: Kind) -> u64 {
        let entry = self.entries.iter().find(|entry| entry.kind == kind).unwrap();
        u64::from(entry.block) * BLOCK as u64
    }
}

struct List(Vec<Damage>);

impl List {
    fn add(&mut self, name: impl Into<String>, how: impl Fn(&Path) + Send + Sync + 'static) {
        let name = name.into();
        let spared = ["tables", "header, ", "copy", "footer", "open", "keys", "head's", "grown"];
        let reads = !spared.iter().any(|word| name.contains(word));
        self.0.push(Damage { name, found: true, reads, how: Box::new(how) });
    }

    fn harmless(&mut self, name: &str, how: impl Fn(&Path) + Send + Sync + 'static) {
        self.0.push(Damage { name: name.into(), found: false, reads: false, how: Box::new(how) });
    }

    fn file(&mut self, name: &str, path: &'static str, how: fn(&mut Vec<u8>)) {
        self.add(name, move |dir| change(&dir.join(path), how));
    }

    /// One bit at each of these bytes of a segment.
    fn bits(&mut self, name: impl Into<String>, serial: u32, at: Vec<u64>) {
        self.add(name, move |dir| {
            change(&segment(dir, serial), |bytes| {
                at.iter().for_each(|&at| bytes[usize::try_from(at).unwrap()] ^= 4);
            });
        });
    }
}

pub(crate) fn all(history: &History) -> Vec<Damage> {
    let mut list = List(Vec::new());
    list.harmless("nothing", |_| ());
    let data = Target::with(history, Kind::Chunk);
    let metadata = Target::with(history, Kind::Manifest);
    records(&mut list, &data, &metadata);
    if history.dir.join("keys/master").exists() {
        keys(&mut list); // of the rest, no byte is encrypted
        return list.0;
    }
    for (class, target) in [("data", &data), ("metadata", &metadata)] {
        parts(&mut list, class, target);
    }
    wrong_parity(&mut list, &data);
    files(&mut list, &data, &metadata);
    repository(&mut list);
    volumes(&mut list);
    ledger(&mut list);
    list.0
}

/// Each part of a segment that is no record.
fn parts(list: &mut List, class: &str, target: &Target) {
    let serial = target.serial;
    let [first, last] = target.geometry.trailers();
    let [table, again] = target.geometry.tables();
    let (footer, parity) = (target.trailer.footer_offset, target.geometry.parity_offset());
    let padding = footer + target.trailer.footer_length;
    let mut bits =
        |name: &str, at: &[u64]| list.bits(format!("{class}: {name}"), serial, at.to_vec());
    bits("segment header", &[9]);
    bits("zeros of the segment header", &[3000]);
    bits("footer's head", &[footer + 50]);
    bits("footer's entry", &[footer + 100]);
    bits("first trailer", &[first + 50]);
    bits("last trailer", &[last + 50]);
    bits("zeros of a trailer", &[last + 500]);
    bits("both trailers", &[first + 50, last + 60]);
    bits("both trailers and the footer", &[first + 50, last + 60, footer + 50]);
    bits("first table", &[table]);
    bits("last table", &[again]);
    bits("both tables", &[table, again + 4]);
    bits("behind a table", &[again + target.geometry.table_length()]);
    bits("trailers and a table", &[first + 50, last + 60, again + 5]);
    bits("parity", &[parity + 5000]);
    if padding < target.geometry.protected_length() {
        bits("behind the footer", &[padding]);
    }
}

/// Parity that is wrong although every checksum above it says that it is right.
fn wrong_parity(list: &mut List, target: &Target) {
    let (serial, trailer) = (target.serial, target.trailer);
    list.add("parity, with right checksums", move |dir| {
        change(&segment(dir, serial), |bytes| {
            let geometry = trailer.geometry;
            let whole = |at: u64| usize::try_from(at).unwrap();
            let parity = whole(geometry.parity_offset());
            bytes[parity + 9] ^= 1;
            let crc = crc32fast::hash(&bytes[parity..parity + BLOCK]).to_le_bytes();
            let number = geometry.entry(parity as u64).unwrap();
            let length = whole(geometry.table_length());
            let mut right = trailer;
            for table in geometry.tables().map(whole) {
                bytes[table + 4 * number..][..4].copy_from_slice(&crc);
                right.table_hash = *blake3::hash(&bytes[table..table + length]).as_bytes();
            }
            for at in geometry.trailers().map(whole) {
                bytes[at..at + BLOCK].copy_from_slice(&right.encode());
            }
        });
    });
}

fn records(list: &mut List, data: &Target, metadata: &Target) {
    let column = data.geometry.zones().next().unwrap().column() as u64;
    for (target, kind) in [
        (data, Kind::Chunk),
        (metadata, Kind::Node),
        (metadata, Kind::Manifest),
        (metadata, Kind::Reach),
        (metadata, Kind::File),
    ] {
        let at = target.record(kind);
        list.bits(format!("{kind:?}: magic"), target.serial, vec![at]);
        list.bits(format!("{kind:?}: header"), target.serial, vec![at + 50]);
        list.bits(format!("{kind:?}: body"), target.serial, vec![at + 130]);
    }
    let entry = data.entries[0];
    let padding = data.record(Kind::Chunk) + 128 + u64::from(entry.stored_length);
    list.bits("padding of a record", data.serial, vec![padding]);
    let row = (1..4).map(|n| n * column + 17).collect();
    list.bits("more than the parity holds", data.serial, row);
}

fn files(list: &mut List, data: &Target, metadata: &Target) {
    for (class, serial, other) in
        [("data", data.serial, metadata.serial), ("metadata", metadata.serial, data.serial)]
    {
        let whole = move |dir: &Path| segment(dir, serial);
        for (name, keep) in [("one byte", 1), ("a block", BLOCK), ("half", 24 * BLOCK)] {
            list.add(format!("{class}: cut by {name}"), move |dir| {
                change(&whole(dir), |bytes| bytes.truncate(bytes.len().saturating_sub(keep)));
            });
            list.add(format!("{class}: grown by {name}"), move |dir| {
                change(&whole(dir), |bytes| bytes.resize(bytes.len() + keep, 7));
            });
        }
        list.add(format!("{class}: empty"), move |dir| replace(&whole(dir), b""));
        list.add(format!("{class}: cut to a block"), move |dir| {
            change(&whole(dir), |bytes| bytes.truncate(BLOCK));
        });
        list.add(format!("{class}: missing"), move |dir| fs::remove_file(whole(dir)).unwrap());
        list.add(format!("{class}: another segment"), move |dir| {
            replace(&whole(dir), &fs::read(segment(dir, other)).unwrap());
        });
        list.add(format!("{class}: a directory"), move |dir| {
            fs::remove_file(whole(dir)).unwrap();
            fs::create_dir(whole(dir)).unwrap();
        });
        list.add(format!("{class}: on two volumes"), move |dir| {
            let name = format!("volumes/1/segments/{serial:08x}.segment");
            fs::copy(whole(dir), dir.join(name)).unwrap();
        });
    }
    list.harmless("orphan", |dir| replace(&segment(dir, 0xfff), b"whatever"));
    list.harmless("open segments", |dir| {
        replace(&dir.join("open/00000fff"), b"left");
        replace(&dir.join("volumes/1/open/00000ffe"), b"left");
    });
    list.harmless("foreign files", |dir| {
        replace(&dir.join("notes.txt"), b"x");
        replace(&dir.join("segments/00000001.segment.bak"), b"x");
        replace(&dir.join("segments/0000000G.segment"), b"x");
    });
}

fn repository(list: &mut List) {
    list.file("header, first copy", "repository", |bytes| bytes[40] ^= 1);
    list.file("header, second copy", "repository", |bytes| bytes[BLOCK + 40] ^= 1);
    list.file("header, zeros", "repository", |bytes| bytes[2000] ^= 1);
    list.file("header cut to one copy", "repository", |bytes| bytes.truncate(BLOCK));
    list.file("header longer", "repository", |bytes| bytes.push(0));
    list.file("both headers", "repository", |bytes| {
        bytes[40] ^= 1;
        bytes[BLOCK + 40] ^= 1;
    });
    list.file("an unknown feature", "repository", |bytes| {
        bytes[17] |= 1;
        let crc = crc32fast::hash(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
    });
    list.add("all headers", |dir| {
        for path in ["repository", "volumes/1/repository"] {
            replace(&dir.join(path), b"");
        }
    });
}

fn volumes(list: &mut List) {
    let remove = |path: &'static str| move |dir: &Path| fs::remove_file(dir.join(path)).unwrap();
    list.file("volume header", "volumes/1/volume", |bytes| bytes[30] ^= 1);
    list.add("volume header missing", remove("volumes/1/volume"));
    list.file("volume header of another number", "volumes/1/volume", |bytes| {
        bytes[24] = 2;
        let crc = crc32fast::hash(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
    });
    list.file("volume header of another repository", "volumes/1/volume", |bytes| {
        bytes[8] ^= 1;
        let crc = crc32fast::hash(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
    });
    list.add("volume missing", |dir| fs::remove_dir_all(dir.join("volumes/1")).unwrap());
    list.add("volume empty", |dir| {
        fs::remove_dir_all(dir.join("volumes/1")).unwrap();
        fs::create_dir(dir.join("volumes/1")).unwrap();
    });
    list.add("volume under another number", |dir| {
        fs::rename(dir.join("volumes/1"), dir.join("volumes/2")).unwrap();
    });
    list.add("the second volume alone", |dir| {
        let aside: PathBuf = dir.with_extension("aside");
        fs::rename(dir.join("volumes/1"), &aside).unwrap();
        fs::remove_dir_all(dir).unwrap();
        fs::rename(aside, dir).unwrap();
    });
    list.file("copy of the header", "volumes/1/repository", |bytes| bytes[40] ^= 1);
    list.file("copy of the leaves", "volumes/1/ledger/leaves", |bytes| bytes[700] ^= 1);
    list.file("copy of the leaves cut", "volumes/1/ledger/leaves", |bytes| bytes.truncate(999));
    list.file("copy of the head", "volumes/1/ledger/head", |bytes| bytes[60] ^= 1);
    list.add("copy of the head missing", remove("volumes/1/ledger/head"));
    list.add("copy of the leaves missing", remove("volumes/1/ledger/leaves"));
}

fn ledger(list: &mut List) {
    let remove = |path: &'static str| move |dir: &Path| fs::remove_file(dir.join(path)).unwrap();
    list.file("a leaf's data", "ledger/leaves", |bytes| bytes[900] ^= 1);
    list.file("a leaf's head", "ledger/leaves", |bytes| bytes[5] ^= 1);
    list.file("the last leaf", "ledger/leaves", |bytes| *bytes.last_mut().unwrap() ^= 1);
    list.file("ledger cut", "ledger/leaves", |bytes| bytes.truncate(bytes.len() - 40));
    list.file("ledger cut to half", "ledger/leaves", |bytes| bytes.truncate(bytes.len() / 2));
    list.file("ledger empty", "ledger/leaves", Vec::clear);
    list.file("torn leaf", "ledger/leaves", |bytes| bytes.extend(b"HFLF torn"));
    list.add("ledger missing", remove("ledger/leaves"));
    list.file("head's size", "ledger/head", |bytes| bytes[43] ^= 1);
    list.file("head's root", "ledger/head", |bytes| bytes[60] ^= 1);
    list.file("head's signature", "ledger/head", |bytes| {
        let at = bytes.len() - 20;
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    });
    list.file("head with another line", "ledger/head", |bytes| bytes.extend(b"witness\n"));
    list.file("head cut", "ledger/head", |bytes| bytes.truncate(bytes.len() - 1));
    list.file("head empty", "ledger/head", Vec::clear);
    list.add("head missing", remove("ledger/head"));
    list.add("head of another key", forge);
}

fn keys(list: &mut List) {
    for epoch in ["keys/00000001", "keys/00000002"] {
        list.file(&format!("{epoch}: a bit"), epoch, |bytes| bytes[60] ^= 1);
        list.file(&format!("{epoch}: cut"), epoch, |bytes| bytes.truncate(100));
        list.add(format!("{epoch}: missing"), move |dir| fs::remove_file(dir.join(epoch)).unwrap());
    }
    list.add("keys exchanged", |dir| {
        let [one, two] = ["keys/00000001", "keys/00000002"].map(|name| dir.join(name));
        let bytes = fs::read(&one).unwrap();
        replace(&one, &fs::read(&two).unwrap());
        replace(&two, &bytes);
    });
    list.file("master key", "keys/master", |bytes| bytes[90] ^= 1);
    list.file("master key, right checksum", "keys/master", |bytes| {
        bytes[90] ^= 1;
        let crc = crc32fast::hash(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
    });
    list.file("zeros of the master key", "keys/master", |bytes| {
        bytes[4000] ^= 1;
        let crc = crc32fast::hash(&bytes[..4092]).to_le_bytes();
        bytes[4092..4096].copy_from_slice(&crc);
    });
    list.add("master key missing", |dir| fs::remove_file(dir.join("keys/master")).unwrap());
    list.harmless("a key of no leaf", |dir| {
        for folder in ["keys", "volumes/1/keys"] {
            replace(&dir.join(folder).join("00000009"), b"x");
        }
    });
    list.add("copy of a key", |dir| replace(&dir.join("volumes/1/keys/00000001"), b"x"));
}
