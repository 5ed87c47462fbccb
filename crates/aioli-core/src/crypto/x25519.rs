//! X25519 key agreement (RFC 7748), by aws-lc.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement;

use super::Secret;
use crate::Rng;

/// A private key and the public key that belongs to it.
#[derive(Clone)]
pub struct PrivateKey {
    secret: Secret<32>,
    public: PublicKey,
    key: Arc<agreement::PrivateKey>,
}

/// The peer's key has small order: the shared secret would be known to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("X25519 public key of small order")]
pub struct WeakKey;

impl PrivateKey {
    /// A new key from `rng`.
    pub fn generate(rng: &mut Rng) -> Self {
        Self::from_bytes(rng.bytes())
    }

    /// The key with these private bytes, clamped when used as RFC 7748 says.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let secret = Secret::new(bytes);
        let key = agreement::PrivateKey::from_private_key(&agreement::X25519, secret.as_bytes())
            .expect("any 32 bytes are an X25519 private key");
        let mut public = PublicKey([0; 32]);
        let computed = key.compute_public_key().expect("every X25519 private key has a public key");
        public.0.copy_from_slice(computed.as_ref());
        Self { secret, public, key: Arc::new(key) }
    }

    /// The private bytes, to be written to a key file.
    pub fn to_secret(&self) -> Secret<32> {
        self.secret.clone()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// The secret shared with the owner of `peer`. The top bit of `peer` is
    /// ignored.
    ///
    /// # Errors
    /// [`WeakKey`] if the secret would be all zero.
    pub fn diffie_hellman(&self, peer: &PublicKey) -> Result<Secret<32>, WeakKey> {
        let peer = agreement::UnparsedPublicKey::new(&agreement::X25519, &peer.0);
        agreement::agree(&self.key, peer, WeakKey, |shared| {
            let mut out = Secret::new([0; 32]);
            out.as_mut_bytes().copy_from_slice(shared);
            // aws-lc refuses these as well; the rule is ours, so we hold it.
            if out.ct_eq(&Secret::new([0; 32])) { Err(WeakKey) } else { Ok(out) }
        })
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {:?})", self.public)
    }
}

/// A public key as it travels: 32 bytes, little-endian.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl From<[u8; 32]> for PublicKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "X25519({a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

#[cfg(test)]
mod tests;
