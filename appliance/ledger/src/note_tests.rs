use super::*;
use proptest::prelude::*;

/// The published example of signed notes (golang.org/x/mod/sumdb/note and C2SP signed-note).
const VKEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const TEXT: &str = "If you think cryptography is the answer to your problem,\n\
                    then you don't know what your problem is.\n";
const LINE: &str = "\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFY\
                    C2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn peter() -> NoteSigner {
    let secret = STANDARD.decode(SECRET).unwrap();
    NoteSigner::new("PeterNeumann", secret[1..].try_into().unwrap()).unwrap()
}

fn note() -> String {
    format!("{TEXT}\n{LINE}")
}

#[test]
fn the_published_note_is_signed_and_opened() {
    assert_eq!(peter().vkey().to_string(), VKEY);
    assert_eq!(VKEY.parse::<Vkey>().unwrap(), peter().vkey());
    assert_eq!(peter().sign(TEXT), note(), "Ed25519 is deterministic");
    assert_eq!(peter().vkey().open(note().as_bytes()).unwrap(), TEXT);
}

#[test]
fn every_flipped_bit_of_a_note_is_found() {
    let vkey = peter().vkey();
    for bit in 0..note().len() * 8 {
        let mut damaged = note().into_bytes();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(vkey.open(&damaged).is_err(), "bit {bit}");
    }
    for cut in 0..note().len() {
        assert!(vkey.open(&note().as_bytes()[..cut]).is_err(), "cut at {cut}");
    }
}

#[test]
fn mangled_vkeys_are_refused() {
    for from in 0..VKEY.len() {
        for to in from + 1..=VKEY.len() {
            let whole = from == 0 && to == VKEY.len();
            assert_eq!(VKEY[from..to].parse::<Vkey>().is_ok(), whole, "{from}..{to}");
        }
    }
    // A key of another length and another algorithm, with hashes that fit them.
    for other in [
        "PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==",
        "PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ] {
        assert!(other.parse::<Vkey>().is_err(), "{other}");
    }
    assert!(
        Vkey::new("weak", &{
            let mut one = [0; 32];
            one[0] = 1;
            one
        })
        .is_err()
    );
}

#[test]
fn lines_of_others_are_left_alone_and_a_forged_own_one_is_not() {
    let witness = NoteSigner::new("witness.example", &[7; 32]).unwrap();
    let line = witness.sign(TEXT)[TEXT.len() + 1..].to_owned();
    let both = format!("{}{line}", note());
    assert_eq!(peter().vkey().open(both.as_bytes()).unwrap(), TEXT);
    assert_eq!(witness.vkey().open(both.as_bytes()).unwrap(), TEXT);
    assert!(peter().vkey().open(format!("{TEXT}\n{line}").as_bytes()).is_err());
    let mut forged = STANDARD.decode(LINE[17..].trim_end()).unwrap();
    *forged.last_mut().unwrap() ^= 1;
    let forged = format!("{}{DASH}PeterNeumann {}\n", note(), STANDARD.encode(forged));
    assert!(peter().vkey().open(forged.as_bytes()).is_err());
}

#[test]
fn the_secret_is_not_shown() {
    let shown = format!("{:?}", peter());
    assert!(shown.contains("PeterNeumann") && !shown.contains("YEKFALVFGyN"), "{shown}");
}

proptest! {
    #[test]
    fn any_note_gives_a_text_or_an_error(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = peter().vkey().open(&bytes);
        bytes.extend_from_slice(format!("\n\n{DASH}").as_bytes());
        let _ = peter().vkey().open(&bytes);
        let _ = String::from_utf8_lossy(&bytes).parse::<Vkey>();
    }
}
