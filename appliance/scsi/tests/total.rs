//! Every decoder is total: arbitrary bytes give a value or an error, and values keep their
//! promises ([`scsi::fuzz`] checks them).

#![allow(clippy::unwrap_used)] // helpers of tests

use proptest::prelude::*;
use scsi::{Designators, PortGroups, Sense, SerialNumber, SupportedPages};

/// Replies of real devices and of the standard's own layout: `name hex` a line.
fn corpus() -> Vec<(String, Vec<u8>)> {
    include_str!("corpus.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, bytes) = line.split_once(' ').unwrap();
            (name.to_owned(), hex::decode(bytes.replace(' ', "")).unwrap())
        })
        .collect()
}

#[test]
fn the_corpus_is_decoded() {
    let corpus = corpus();
    assert!(corpus.len() >= 29);
    for (_, bytes) in &corpus {
        scsi::fuzz(bytes);
        for length in 0..bytes.len() {
            scsi::fuzz(&bytes[..length]);
        }
    }
}

/// Each byte of each reply takes values that break fields: lengths, types, counts.
#[test]
fn each_byte_of_the_corpus_may_be_wrong() {
    for (_, bytes) in corpus() {
        for at in 0..bytes.len().min(96) {
            for value in [0, 1, 2, 4, 0x7f, 0x80, 0xfe, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                scsi::fuzz(&bytes);
            }
        }
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        scsi::fuzz(&bytes);
    }

    /// Several bytes of a real reply changed, its end cut off or more of it.
    #[test]
    fn damaged_replies_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        length in 0usize..300,
    ) {
        let corpus = corpus();
        let mut bytes = which.get(&corpus).1.clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        bytes.resize(length.min(bytes.len() + 40), 0);
        scsi::fuzz(&bytes);
    }

    /// Pages with a right header reach the parts behind it.
    #[test]
    fn arbitrary_page_bodies_never_panic(
        page in prop::sample::select(vec![0x00u8, 0x80, 0x83, 0xb0, 0xb2]),
        length in 0u16..300,
        body in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let mut bytes = vec![0, page];
        bytes.extend(length.to_be_bytes());
        bytes.extend(&body);
        let fits = usize::from(length) <= body.len();
        prop_assert_eq!(SupportedPages::decode(&bytes).is_ok(), page == 0x00 && fits);
        prop_assert_eq!(SerialNumber::decode(&bytes).is_ok(), page == 0x80 && fits);
        if Designators::decode(&bytes).is_ok() {
            prop_assert!(page == 0x83 && fits);
        }
        scsi::fuzz(&bytes);
    }

    #[test]
    fn sense_with_a_known_response_code_never_panics(
        code in 0x70u8..=0x73,
        rest in prop::collection::vec(any::<u8>(), 0..252),
    ) {
        let mut bytes = vec![code];
        bytes.extend(&rest);
        let needed = if code < 0x72 { 2 } else { 3 };
        prop_assert_eq!(Sense::decode(&bytes).is_ok(), rest.len() >= needed);
    }

    /// Whatever groups there are: they come out as they went in.
    #[test]
    fn port_groups_survive(groups in prop::collection::vec(
        (any::<u16>(), 0u8..16, any::<bool>(), prop::collection::vec(any::<u16>(), 0..5)), 0..5,
    )) {
        let mut body = Vec::new();
        for (id, state, preferred, ports) in &groups {
            body.extend([state | if *preferred { 0x80 } else { 0 }, 0x0f]);
            body.extend(id.to_be_bytes());
            body.extend([0, 0, 0, u8::try_from(ports.len()).unwrap()]);
            for port in ports {
                body.extend([0, 0]);
                body.extend(port.to_be_bytes());
            }
        }
        let mut bytes = u32::try_from(body.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(body);
        let list = PortGroups::decode(&bytes).unwrap();
        prop_assert_eq!(list.groups.len(), groups.len());
        for (got, (id, state, preferred, ports)) in list.groups.iter().zip(groups) {
            prop_assert_eq!((got.id, got.preferred), (id, preferred));
            prop_assert_eq!(got.state, state.into());
            prop_assert_eq!(&got.ports, &ports);
        }
    }
}
