//! The identity of a service or client (`common-structures#destination`).

use aioli_core::crypto::sign::{self, BadSignature, SigType};

use crate::base64;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::identity::{ELGAMAL, KeysAndCert, X25519};
use crate::ids::DestinationHash;

/// The identity of a service or client: a signing key. Its encryption key field
/// means nothing any more; LeaseSets carry the encryption keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination(KeysAndCert);

impl Destination {
    /// A new Ed25519 destination of encryption type 4, as i2pd and Java make
    /// them now: 352 of its 391 bytes are `seed`, repeated (proposal 161).
    pub fn create(signing: &[u8; 32], seed: &[u8; 32]) -> Self {
        Self(KeysAndCert::build(X25519, seed, signing, seed))
    }

    /// A new Ed25519 destination of encryption type 0, for clients that expect it.
    pub fn create_with_elgamal_filler(signing: &[u8; 32], seed: &[u8; 32]) -> Self {
        Self(KeysAndCert::build(ELGAMAL, &[], signing, seed))
    }

    /// Its name: SHA-256 of its bytes.
    pub const fn hash(&self) -> DestinationHash {
        DestinationHash::new(*self.0.hash())
    }

    /// The kind of its signing key.
    pub const fn sig_type(&self) -> SigType {
        self.0.sig_type()
    }

    /// Whether its signing key made `signature` over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        sign::verify(self.0.sig_type(), &self.0.signing_key(), message, signature)
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// I2P Base64 of the bytes, as clients exchange destinations.
    pub fn to_base64(&self) -> String {
        base64::encode(self.bytes())
    }

    /// From I2P Base64.
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_bytes(&base64::decode(text)?).ok()
    }

    /// The general structure.
    pub const fn keys_and_cert(&self) -> &KeysAndCert {
        &self.0
    }
}

impl<'a> Wire<'a> for Destination {
    const SPEC: &'static str = "common-structures#destination";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.read().map(Self)
    }

    fn encode(&self, w: &mut Writer) {
        self.0.encode(w);
    }
}
