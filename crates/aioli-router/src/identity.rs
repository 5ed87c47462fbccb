//! Who this router is: the keys that must outlive every upgrade.

use aioli_core::Rng;
use aioli_core::crypto::hash::sha256_parts;
use aioli_core::crypto::{ed25519, x25519};
use aioli_wire::{RouterHash, RouterIdentity};

/// The router's long-term secrets.
#[derive(Clone)]
pub struct Identity {
    /// Signs the RouterInfo.
    pub signing: ed25519::SigningKey,
    /// Opens build records and router garlic.
    pub encryption: x25519::PrivateKey,
    /// The static key of NTCP2 handshakes.
    pub ntcp2_static: x25519::PrivateKey,
    /// The published obfuscation IV of NTCP2.
    pub ntcp2_iv: [u8; 16],
    /// Repeated through the padding of the identity (proposal 161): 32 bytes, or all 320 of an identity that
    /// another router made without repetition.
    pub padding: Vec<u8>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({:?})", self.hash())
    }
}

impl Identity {
    /// A new router.
    pub fn generate(rng: &mut Rng) -> Self {
        Self {
            signing: ed25519::SigningKey::generate(rng),
            encryption: x25519::PrivateKey::generate(rng),
            ntcp2_static: x25519::PrivateKey::generate(rng),
            ntcp2_iv: rng.bytes(),
            padding: rng.bytes::<32>().to_vec(),
        }
    }

    /// The public part: 391 bytes.
    pub fn router_identity(&self) -> RouterIdentity {
        RouterIdentity::with_padding(&self.encryption.public(), &self.signing.public(), &self.padding)
    }

    /// The static key of SSU2 handshakes. It follows from the signing key, so that an identity which was made when
    /// there was no SSU2 has one too, and always the same.
    pub fn ssu2_static(&self) -> x25519::PrivateKey {
        x25519::PrivateKey::from_bytes(self.derive(b"aioli SSU2 static key"))
    }

    /// The introduction key of SSU2, which is published: nothing of the signing key can be seen from it.
    pub fn ssu2_intro_key(&self) -> [u8; 32] {
        self.derive(b"aioli SSU2 introduction key")
    }

    fn derive(&self, purpose: &[u8]) -> [u8; 32] {
        sha256_parts(&[purpose, self.signing.seed().as_bytes()])
    }

    /// SHA-256 of the public part.
    pub fn hash(&self) -> RouterHash {
        self.router_identity().hash()
    }
}
