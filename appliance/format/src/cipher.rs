//! XChaCha20-Poly1305 with a detached tag, as keys and records use it.

use chacha20poly1305::aead::AeadInOut as _;
use chacha20poly1305::aead::inout::InOutBuf;
use chacha20poly1305::{KeyInit as _, XChaCha20Poly1305};

/// Bytes of a nonce: so many that random ones never meet.
pub const NONCE: usize = 24;
/// Bytes of a tag.
pub const TAG: usize = 16;

/// A key, ready for use; its memory is zeroed when it is dropped.
pub(crate) struct Cipher(XChaCha20Poly1305);

impl Cipher {
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(XChaCha20Poly1305::new(key.into()))
    }

    /// Encrypts `plain` into `sealed`, which is as long, and gives the tag.
    pub(crate) fn seal(
        &self,
        nonce: &[u8; NONCE],
        context: &[u8],
        plain: &[u8],
        sealed: &mut [u8],
    ) -> [u8; TAG] {
        let buffer = InOutBuf::new(plain, sealed).expect("the caller gives equal lengths");
        let tag = self.0.encrypt_inout_detached(nonce.into(), context, buffer);
        tag.expect("records are far shorter than the cipher's limit of 256 GiB").into()
    }

    /// Encrypts in place and gives the tag.
    pub(crate) fn seal_in_place(
        &self,
        nonce: &[u8; NONCE],
        context: &[u8],
        bytes: &mut [u8],
    ) -> [u8; TAG] {
        let tag = self.0.encrypt_inout_detached(nonce.into(), context, bytes.into());
        tag.expect("records are far shorter than the cipher's limit of 256 GiB").into()
    }

    /// Decrypts `sealed` into `plain`, which is as long; `false`: not sealed with this key, nonce
    /// and context.
    pub(crate) fn open(
        &self,
        nonce: &[u8; NONCE],
        context: &[u8],
        sealed: &[u8],
        tag: &[u8; TAG],
        plain: &mut [u8],
    ) -> bool {
        InOutBuf::new(sealed, plain).is_ok_and(|buffer| {
            self.0.decrypt_inout_detached(nonce.into(), context, buffer, tag.into()).is_ok()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of draft-irtf-cfrg-xchacha-03, appendix A.3.1.
    #[test]
    fn the_published_example_comes_out() {
        let plain = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
                      for the future, sunscreen would be it.";
        let context = hex::decode("50515253c0c1c2c3c4c5c6c7").unwrap();
        let key: [u8; 32] = std::array::from_fn(|n| 0x80 + u8::try_from(n).unwrap());
        let nonce: [u8; 24] = std::array::from_fn(|n| 0x40 + u8::try_from(n).unwrap());
        let cipher = Cipher::new(&key);
        let mut sealed = vec![0; plain.len()];
        let tag = cipher.seal(&nonce, &context, plain, &mut sealed);
        assert_eq!(hex::encode(&sealed[..16]), "bd6d179d3e83d43b9576579493c0e939");
        assert_eq!(hex::encode(tag), "c0875924c1c7987947deafd8780acf49");
        let mut opened = vec![0; plain.len()];
        assert!(cipher.open(&nonce, &context, &sealed, &tag, &mut opened));
        assert_eq!(opened, plain);
        assert!(!cipher.open(&nonce, b"other", &sealed, &tag, &mut opened));
        assert!(!cipher.open(&nonce, &context, &sealed[1..], &tag, &mut opened[1..]));
        let mut in_place = plain.to_vec();
        assert_eq!(cipher.seal_in_place(&nonce, &context, &mut in_place), tag);
        assert_eq!(in_place, sealed);
    }
}
