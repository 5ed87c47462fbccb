//! ChaCha20-Poly1305 (RFC 8439) with I2P's nonces: four zero bytes and a
//! little-endian counter. The hot path of everything that is relayed.

use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Bytes that sealing adds.
pub const TAG_LEN: usize = 16;

/// A key, expanded once and used for many messages.
pub struct ChaChaKey(LessSafeKey);

/// What came was not sealed under this key, nonce and associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("AEAD authentication failed")]
pub struct AeadError;

impl ChaChaKey {
    /// Expands `key`.
    pub fn new(key: &[u8; 32]) -> Self {
        let key = UnboundKey::new(&CHACHA20_POLY1305, key).expect("ChaCha20-Poly1305 takes any 32 bytes");
        Self(LessSafeKey::new(key))
    }

    /// Encrypts all of `buf` and appends the tag.
    pub fn seal_in_place(&self, nonce: u64, ad: &[u8], buf: &mut Vec<u8>) {
        let tag = self.seal_slice(nonce, ad, buf);
        buf.extend_from_slice(&tag);
    }

    /// Encrypts `buf` and returns the tag, for the caller to put where it belongs.
    pub fn seal_slice(&self, nonce: u64, ad: &[u8], buf: &mut [u8]) -> [u8; TAG_LEN] {
        let tag = self
            .0
            .seal_in_place_separate_tag(self::nonce(nonce), Aad::from(ad), buf)
            .expect("sealing fails only above 256 GB");
        let mut out = [0; TAG_LEN];
        out.copy_from_slice(tag.as_ref());
        out
    }

    /// Decrypts `buf` (ciphertext and tag) in place; the plaintext is its first
    /// bytes, as many as the number returned.
    ///
    /// # Errors
    /// [`AeadError`] if it was altered, or shorter than a tag. What `buf` then
    /// holds is not specified and must not be used.
    pub fn open_in_place(&self, nonce: u64, ad: &[u8], buf: &mut [u8]) -> Result<usize, AeadError> {
        match self.0.open_in_place(self::nonce(nonce), Aad::from(ad), buf) {
            Ok(plain) => Ok(plain.len()),
            Err(_) => Err(AeadError),
        }
    }
}

impl fmt::Debug for ChaChaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ChaChaKey(..)")
    }
}

fn nonce(n: u64) -> Nonce {
    let mut out = [0; 12];
    out[4..].copy_from_slice(&n.to_le_bytes());
    Nonce::assume_unique_for_key(out)
}

#[cfg(test)]
mod tests;
