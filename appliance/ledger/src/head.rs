//! The ledger's head: how many leaves were acknowledged and their root. Its text is the body of a
//! C2SP tlog-checkpoint, to which signatures can be added.

use crate::{Hash, LedgerError, Tree};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

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
        let origin = hex::encode(self.repository);
        format!("holdfast/{origin}\n{}\n{}\n", self.size, STANDARD.encode(self.root))
    }

    /// The head of the ledger of `repository`. Other text is an error, down to the last byte.
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_has_exactly_one_form() {
        let mut tree = Tree::default();
        tree.push([9; 32]);
        let head = Head::new([1; 16], &tree);
        let text = head.encode();
        assert_eq!(Head::decode([1; 16], text.as_bytes()), Ok(head));
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
}
