//! The ledger's head: how many leaves were acknowledged and their root. Its text is the body of a
//! C2SP tlog-checkpoint; signed, it is the file `ledger/head` (FORMAT.md 8).

use crate::{Hash, LedgerError, NoteSigner, Tree, Vkey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// The name under which the ledger of `repository` signs.
#[must_use]
pub fn origin(repository: &[u8; 16]) -> String {
    format!("holdfast/{}", hex::encode(repository))
}

/// Size and root of a ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    repository: [u8; 16],
    /// Number of leaves.
    pub size: u64,
    /// Root over them.
    pub root: Hash,
}

impl Head {
    /// The head of `tree`.
    #[must_use]
    pub fn new(repository: [u8; 16], tree: &Tree) -> Self {
        Self { repository, size: tree.size(), root: tree.root() }
    }

    /// Three lines: origin, size, root.
    #[must_use]
    pub fn encode(&self) -> String {
        format!("{}\n{}\n{}\n", origin(&self.repository), self.size, STANDARD.encode(self.root))
    }

    /// The head of the ledger of `repository` from the three lines alone. Other text is an error,
    /// down to the last byte.
    pub fn decode(repository: [u8; 16], text: &[u8]) -> Result<Self, LedgerError> {
        let wrong = |problem: &str| LedgerError::Head { problem: problem.into() };
        let text = std::str::from_utf8(text).map_err(|_| wrong("it is not text"))?;
        let lines: Vec<&str> = text.split('\n').collect();
        let [_, size, root, ""] = lines[..] else { return Err(wrong("it is not three lines")) };
        let size = size.parse().map_err(|_| wrong("its size is not a number"))?;
        let root = STANDARD.decode(root).ok().and_then(|root| root.try_into().ok());
        let head =
            Self { repository, size, root: root.ok_or_else(|| wrong("its root is no hash"))? };
        if head.encode() == text {
            Ok(head)
        } else {
            Err(wrong("it belongs to another repository or is not in its one form"))
        }
    }

    /// The file `ledger/head`: the three lines, signed.
    #[must_use]
    pub fn sign(&self, signer: &NoteSigner) -> String {
        signer.sign(&self.encode())
    }

    /// The head in a signed note, before it is known which key must have signed it: the leaves
    /// within its size tell. Nothing is believed of it until [`Head::open`] has agreed.
    pub fn peek(repository: [u8; 16], note: &[u8]) -> Result<Self, LedgerError> {
        let wrong = || LedgerError::Head { problem: "it has no signature".into() };
        let at = note.windows(2).position(|two| two == b"\n\n").ok_or_else(wrong)?;
        Self::decode(repository, &note[..=at])
    }

    /// The head in a note that `vkey` signed.
    pub fn open(repository: [u8; 16], note: &[u8], vkey: &Vkey) -> Result<Self, LedgerError> {
        if vkey.name() != origin(&repository) {
            let problem = "the key that should have signed it is another repository's".into();
            return Err(LedgerError::Head { problem });
        }
        Self::decode(repository, vkey.open(note)?.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let mut tree = Tree::default();
        tree.push([9; 32]);
        Head::new([1; 16], &tree)
    }

    #[test]
    fn a_head_has_exactly_one_form() {
        let text = head().encode();
        assert_eq!(Head::decode([1; 16], text.as_bytes()), Ok(head()));
        assert!(Head::decode([2; 16], text.as_bytes()).is_err());
        for wrong in [
            text.replace("\n1\n", "\n01\n"),
            text.replace("\n1\n", "\n+1\n"),
            text.trim_end().to_owned(),
            format!("{text}\n"),
            String::new(),
        ] {
            assert!(Head::decode([1; 16], wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn only_the_right_key_under_the_right_name_signs() {
        let signer = NoteSigner::new(&origin(&[1; 16]), &[3; 32]).unwrap();
        let note = head().sign(&signer);
        assert_eq!(Head::open([1; 16], note.as_bytes(), &signer.vkey()), Ok(head()));
        assert_eq!(Head::peek([1; 16], note.as_bytes()), Ok(head()));
        let other = NoteSigner::new(&origin(&[1; 16]), &[4; 32]).unwrap();
        assert!(Head::open([1; 16], head().sign(&other).as_bytes(), &signer.vkey()).is_err());
        let elsewhere = NoteSigner::new(&origin(&[2; 16]), &[3; 32]).unwrap();
        let foreign = head().sign(&elsewhere);
        assert!(Head::open([1; 16], foreign.as_bytes(), &elsewhere.vkey()).is_err());
        for bit in 0..note.len() * 8 {
            let mut damaged = note.clone().into_bytes();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::open([1; 16], &damaged, &signer.vkey()).is_err(), "bit {bit}");
        }
    }
}
