//! X25519 public keys as 32 bytes that look random (RFC 9380's map, Elligator 2).
//!
//! About every second key has such a representative, so keys are drawn until
//! one does. The key itself is an ordinary X25519 key, always in the subgroup of
//! prime order. Uniform strings would seldom decode into that subgroup, but
//! Java's and i2pd's keys always do: adding a point of low order would hide from
//! nobody and set us apart.

use super::x25519::{PrivateKey, PublicKey};
use crate::Rng;

/// An ephemeral key and what is sent for its public half.
#[derive(Clone, Debug)]
pub struct EncodableKey {
    /// The key.
    pub private: PrivateKey,
    /// Decodes to the public key; both top bits are random.
    pub representative: [u8; 32],
}

impl EncodableKey {
    /// A new key from `rng`: on average the second one tried.
    pub fn generate(rng: &mut Rng) -> Self {
        loop {
            let private = PrivateKey::generate(rng);
            // Which of both preimages, and the top bits, are free choices.
            let [tweak] = rng.bytes();
            if let Some(representative) = encode(&private.public(), tweak) {
                return Self { private, representative };
            }
        }
    }
}

/// The representative of `key`, if it has one. Bit 0 of `tweak` chooses which
/// of two; bits 6 and 7 become its top bits.
pub fn encode(key: &PublicKey, tweak: u8) -> Option<[u8; 32]> {
    elligator2::to_representative(&key.0, tweak)
}

/// The public key that `representative` stands for; any 32 bytes stand for one.
pub fn decode(representative: &[u8; 32]) -> PublicKey {
    PublicKey(elligator2::from_representative(representative))
}

#[cfg(test)]
mod tests;
