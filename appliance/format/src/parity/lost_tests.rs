//! Both trailers lost: made anew from the ledger's seal, or nothing.

use super::tests::{reader, repaired, segment};
use super::{COLUMN, Sealed, ZONE, recover_trailer};
use crate::BLOCK;
use crate::trailer::Trailer;
use proptest::prelude::*;

fn recovered(file: &[u8], trailer: &Trailer) -> Option<Trailer> {
    let sealed = Sealed {
        repository: trailer.repository,
        serial: trailer.serial,
        seal: trailer.seal,
        length: file.len() as u64,
    };
    let mut read = reader(file);
    recover_trailer(&sealed, |offset, buffer| read(offset, buffer).unwrap())
}

fn spoil(file: &mut [u8], at: u64) {
    let at = usize::try_from(at).unwrap();
    file[at..at + BLOCK].iter_mut().for_each(|byte| *byte = !*byte);
}

/// The file without trailers and with other damage, which the repair must take away.
fn heals(data: usize, damage: &[u64]) {
    let (file, trailer) = segment(data);
    let mut damaged = file.clone();
    for at in trailer.geometry.trailers().iter().chain(damage) {
        spoil(&mut damaged, *at);
    }
    let made = recovered(&damaged, &trailer).unwrap_or_else(|| panic!("{data} {damage:?}"));
    assert_eq!(made, trailer);
    assert!(repaired(&damaged, &made).unwrap().0 == file, "{data} {damage:?}");
}

#[test]
fn it_is_the_one_that_was_lost() {
    for data in [BLOCK, 70 * BLOCK, ZONE - BLOCK, ZONE, ZONE + 5 * BLOCK] {
        let (_, trailer) = segment(data);
        let (footer, tables) = (trailer.footer_offset, trailer.geometry.tables());
        heals(data, &[]);
        heals(data, &[footer]);
        heals(data, &[0, tables[0]]);
        heals(data, &[footer, tables[1]]);
        // The data is whole: the table follows from it.
        heals(data, &tables);
        heals(data, &[tables[0], tables[1], trailer.geometry.parity_offset()]);
    }
}

#[test]
fn what_is_beyond_gives_nothing() {
    let (file, trailer) = segment(ZONE);
    let lost = |damage: &[u64]| {
        let mut damaged = file.clone();
        for at in trailer.geometry.trailers().iter().chain(damage) {
            spoil(&mut damaged, *at);
        }
        recovered(&damaged, &trailer).is_none_or(|made| repaired(&damaged, &made).is_err())
    };
    let [one, other] = trailer.geometry.tables();
    assert!(lost(&[0, one, other]), "wrong data and no table");
    assert!(lost(&[0, COLUMN as u64, 2 * COLUMN as u64]), "three blocks of a row");
    assert!(lost(&[trailer.footer_offset, one, other]), "no footer and no table");
    let sealed = Sealed {
        repository: trailer.repository,
        serial: 2,
        seal: [0; 32],
        length: file.len() as u64,
    };
    let mut read = reader(&file);
    let other = recover_trailer(&sealed, |offset, buffer| read(offset, buffer).unwrap());
    assert_eq!(other, None, "another seal");
}

proptest! {
    #[test]
    fn any_two_blocks_besides_the_trailers(one in 0usize..200, other in 0usize..200) {
        let (file, trailer) = segment(150 * BLOCK);
        let mut damaged = file.clone();
        let number = file.len() / BLOCK;
        for at in trailer.geometry.trailers() {
            spoil(&mut damaged, at);
        }
        for block in [one % number, other % number] {
            damaged[block * BLOCK + 9] ^= 4;
        }
        // Never something else than what was sealed.
        if let Some(made) = recovered(&damaged, &trailer)
            && let Ok((bytes, _)) = repaired(&damaged, &made)
        {
            prop_assert!(bytes == file);
        } else {
            let first = usize::try_from(trailer.geometry.protected_length()).unwrap() / BLOCK;
            prop_assert!(one % number >= first || other % number >= first, "{one} {other}");
        }
    }
}
