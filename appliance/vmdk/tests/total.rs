//! Every parser is total: arbitrary bytes give a value or an error, and values keep their
//! promises ([`vmdk::fuzz`] checks them). The corpus is made here: small files of every kind.
#![allow(clippy::unwrap_used)] // a test ends where something is not as it must be

mod common;

use common::{DeltaSpec, Made};
use fakes::vmdk::{SparseSpec, descriptor, hosted};
use proptest::prelude::*;
use std::sync::LazyLock;
use vmdk::{StreamSpec, StreamWriter};

static CORPUS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut corpus = Vec::new();
    for (made, grain) in [(Made::Cowd, 1), (Made::Cowd, 8), (Made::SeSparse, 8), (Made::Hosted, 8)]
    {
        let spec = DeltaSpec::new(made, grain, 400, 3).write(&mut vec![0; 40 * 512]);
        corpus.push(made.image(&spec).to_vec());
    }
    let line = ["RW 64 SPARSE \"a.vmdk\"".to_owned()];
    let text = descriptor("monolithicSparse", 1, None, &line);
    let spec = DeltaSpec::new(Made::Hosted, 8, 400, 4).write(&mut vec![0; 64 * 512]);
    corpus.push(hosted(&SparseSpec { align_sectors: 8, ..spec }, Some(&text)).to_vec());
    let child = descriptor("seSparse", 2, Some((1, "b.vmdk")), &["RW 64 SESPARSE \"a\"".into()]);
    corpus.extend([text.into_bytes(), child.into_bytes()]);
    let spec = StreamSpec {
        capacity: 200_704,
        name: "a.vmdk".into(),
        cid: 1,
        adapter_type: "lsilogic".into(),
        level: 1,
    };
    let mut writer = StreamWriter::new(Vec::new(), spec).unwrap();
    writer.grain(1, &vec![5; 64 << 10]).unwrap();
    corpus.push(writer.finish().unwrap());
    corpus
});

#[test]
fn the_corpus_and_its_beginnings() {
    for bytes in &*CORPUS {
        vmdk::fuzz(bytes);
        for length in (0..bytes.len()).step_by(if bytes.len() > 3000 { 509 } else { 7 }) {
            vmdk::fuzz(&bytes[..length]);
        }
    }
}

/// Each byte of each header, footer and directory takes values that break fields.
#[test]
fn each_byte_of_the_corpus_may_be_wrong() {
    for bytes in &*CORPUS {
        let end = bytes.len().saturating_sub(2048);
        for at in (0..bytes.len().min(2560)).chain(end..bytes.len()) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                vmdk::fuzz(&bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        vmdk::fuzz(&bytes);
    }

    /// A right signature reaches the fields behind it.
    #[test]
    fn arbitrary_fields_never_panic(
        magic in prop::sample::select(vec![*b"KDMV\x01\0\0\0", *b"COWD\x01\0\0\0"]),
        fields in prop::collection::vec(any::<u8>(), 0..5000),
    ) {
        vmdk::fuzz(&[&magic[..], &fields].concat());
    }

    /// Several bytes or words changed, the end cut off.
    #[test]
    fn damaged_files_never_panic(
        which in 0..8_usize,
        bytes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        words in prop::collection::vec((0..160_usize, any::<u32>(), any::<bool>()), 0..4),
        cut in any::<prop::sample::Index>(),
        cuts in any::<bool>(),
    ) {
        let mut file = CORPUS[which].clone();
        for (at, value) in bytes {
            let at = at.index(file.len());
            file[at] = value;
        }
        for (word, value, small) in words {
            let value = if small { value % 64 } else { value };
            if let Some(room) = file.get_mut(word * 4..word * 4 + 4) {
                room.copy_from_slice(&value.to_le_bytes());
            }
        }
        if cuts {
            let length = cut.index(file.len());
            file.truncate(length);
        }
        vmdk::fuzz(&file);
    }
}
