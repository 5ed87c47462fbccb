//! Ed25519 signing (RFC 8032). Verifying is [`super::sign::verify`].

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

use super::Secret;
use crate::Rng;

/// A key that signs.
#[derive(Clone)]
pub struct SigningKey {
    seed: Secret<32>,
    public: [u8; 32],
    pair: Arc<Ed25519KeyPair>,
}

impl SigningKey {
    /// A new key from `rng`.
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_seed(Secret::new(rng.bytes()))
    }

    /// The key that this seed (RFC 8032's private key) defines.
    pub fn from_seed(seed: Secret<32>) -> Self {
        let pair =
            Ed25519KeyPair::from_seed_unchecked(seed.as_bytes()).expect("any 32 bytes are an Ed25519 seed");
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Self { seed, public, pair: Arc::new(pair) }
    }

    /// The seed, to be written to a key file.
    pub fn seed(&self) -> &Secret<32> {
        &self.seed
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// The signature over `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut out = [0; 64];
        out.copy_from_slice(self.pair.sign(message).as_ref());
        out
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.public;
        write!(f, "SigningKey(of {a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

#[cfg(test)]
mod tests;
