//! CHAP responses (RFC 1994, 4.1; RFC 7143, 12.1.3; algorithm numbers of the IANA list).

use crate::Secret;
use md5::Md5;
use sha1::Sha1;
use sha2::Sha256;
use sha3::Digest;
use sha3::Sha3_256;

/// A hash that CHAP can use.
///
/// A trap: Linux tgtd takes number 7 for SHA-1 instead of SHA-256 and picks the first number it
/// knows, so against it only `[Md5]` works. A failed login is never answered by offering less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChapAlgorithm {
    /// 5, which every target must know.
    Md5,
    /// 6.
    Sha1,
    /// 7.
    Sha256,
    /// 8.
    Sha3_256,
}

impl ChapAlgorithm {
    /// All of them, the strongest first: the offer when nothing else is configured.
    pub const STRONGEST_FIRST: [Self; 4] = [Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];

    pub(crate) fn number(self) -> &'static str {
        match self {
            Self::Md5 => "5",
            Self::Sha1 => "6",
            Self::Sha256 => "7",
            Self::Sha3_256 => "8",
        }
    }

    /// Bytes of a response; our challenges have the same length.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }

    /// The answer to `challenge`: H(identifier, secret, challenge).
    pub(crate) fn response(self, identifier: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
        match self {
            Self::Md5 => hash::<Md5>(identifier, secret, challenge),
            Self::Sha1 => hash::<Sha1>(identifier, secret, challenge),
            Self::Sha256 => hash::<Sha256>(identifier, secret, challenge),
            Self::Sha3_256 => hash::<Sha3_256>(identifier, secret, challenge),
        }
    }
}

fn hash<H: Digest>(identifier: u8, secret: &Secret, challenge: &[u8]) -> Vec<u8> {
    let mut hash = H::new();
    hash.update([identifier]);
    hash.update(secret.expose());
    hash.update(challenge);
    hash.finalize().to_vec()
}

/// Compares without telling by its duration where the first difference is.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |seen, (x, y)| seen | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with Python's hashlib over b"\x27" + b"insecretinsecret" + bytes(range(16)).
    #[test]
    fn responses_as_another_implementation_makes_them() {
        let challenge: Vec<u8> = (0..16).collect();
        for (algorithm, wanted) in [
            (ChapAlgorithm::Md5, "0e7fbece187ecd9b690e1ab8c1fa0706"),
            (ChapAlgorithm::Sha1, "41e3d1c707da8a580552537f49fd7d97c7c30cc3"),
            (
                ChapAlgorithm::Sha256,
                "d494000f6df91665978e73017e1a2d5a715d4ec7b0f530cbebec7f4aa2dcd115",
            ),
            (
                ChapAlgorithm::Sha3_256,
                "a866a59d10b4ea4ac4fa7d3a0fa180070969d5c01354a9b03e5a22ce53c47654",
            ),
        ] {
            let response = algorithm.response(0x27, &Secret::new("insecretinsecret"), &challenge);
            assert_eq!(hex::encode(&response), wanted);
            assert_eq!(response.len(), algorithm.length());
        }
    }

    #[test]
    fn comparison_needs_every_byte() {
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd") && !same(b"abc", b"ab") && !same(b"bbc", b"abc"));
    }
}
