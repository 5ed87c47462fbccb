//! The chain of SipHash-2-4 values that hides NTCP2 frame lengths (PROTOCOL 4).

use std::hash::Hasher;

use siphasher::sip::SipHasher24;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// One direction's sequence of length masks: `iv = SipHash(key, iv)` per frame.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct LengthMask {
    key: [u8; 16],
    iv: [u8; 8],
}

impl LengthMask {
    /// The sequence from both SipHash keys (k1, k2) and the first IV, as the key
    /// derivation gives them.
    pub fn new(key: [u8; 16], iv: [u8; 8]) -> Self {
        Self { key, iv }
    }

    /// The sequence from one 32-byte half of the key derivation: k1, k2, IV and
    /// eight bytes that are not used.
    pub fn from_half(half: &super::Secret<32>) -> Self {
        let mut out = Self { key: [0; 16], iv: [0; 8] };
        out.key.copy_from_slice(&half.as_bytes()[..16]);
        out.iv.copy_from_slice(&half.as_bytes()[16..24]);
        out
    }

    /// The mask of the next frame: XOR it with the length, a number already
    /// read from its two big-endian bytes.
    #[expect(clippy::should_implement_trait, reason = "a sequence without an end is no iterator here")]
    pub fn next(&mut self) -> u16 {
        let mut hasher = SipHasher24::new_with_key(&self.key);
        hasher.write(&self.iv);
        let iv = hasher.finish();
        self.iv = iv.to_le_bytes();
        iv as u16
    }
}

impl std::fmt::Debug for LengthMask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LengthMask(..)")
    }
}

/// SipHash-2-4 of `data`.
pub fn siphash24(key: &[u8; 16], data: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(data);
    hasher.finish()
}

#[cfg(test)]
mod tests;
