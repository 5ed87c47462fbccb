//! The private key of a destination, as SAM's PRIV, i2pd's `.dat` and Java's
//! `eepPriv.dat` hold it (`common-structures#destination`, `samv3#dest-generate`).
//!
//! ```text
//! destination | encryption private key | signing private key
//!   and if the signing key is all zero, because it is kept offline:
//! expires 4 | type 2 | transient public | signature | transient private
//! ```
//!
//! The encryption key means nothing any more: it is kept so that the file stays
//! what it was.

use std::fmt;

use aioli_core::Date;
use aioli_core::crypto::Secret;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::sign::SigType;
use zeroize::Zeroizing;

use crate::base64;
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::destination::Destination;
use crate::offline::OfflineSignature;

/// Secret bytes of some length: wiped when dropped, never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateBytes(Zeroizing<Vec<u8>>);

impl PrivateBytes {
    fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes themselves.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PrivateBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateBytes({} bytes)", self.0.len())
    }
}

/// A destination and what signs for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DestinationKeys {
    /// The public part.
    pub destination: Destination,
    /// Without meaning; 256 or 32 bytes.
    pub encryption: PrivateBytes,
    /// Of the destination's type; all zero if it is kept offline.
    pub signing: PrivateBytes,
    /// The transient key that signs in its place.
    pub offline: Option<OfflineKeys>,
}

/// A transient key, with what vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineKeys {
    /// The public part.
    pub signature: OfflineSignature,
    /// Of the transient type.
    pub private: PrivateBytes,
}

impl DestinationKeys {
    /// A new Ed25519 destination; `padding` is 32 random bytes.
    pub fn create(key: &SigningKey, padding: &[u8; 32]) -> Self {
        Self {
            destination: Destination::create(&key.public(), padding),
            encryption: PrivateBytes::new(&[0; 32]),
            signing: PrivateBytes::new(key.seed().as_bytes()),
            offline: None,
        }
    }

    /// A new Ed25519 destination of encryption type 0, for clients that expect it.
    pub fn create_with_elgamal_filler(key: &SigningKey, padding: &[u8; 32]) -> Self {
        Self {
            destination: Destination::create_with_elgamal_filler(&key.public(), padding),
            encryption: PrivateBytes::new(&[0; 256]),
            signing: PrivateBytes::new(key.seed().as_bytes()),
            offline: None,
        }
    }

    /// The key to sign with: the transient one if there is one. None if it is
    /// of a type that we only verify, or does not belong to its public key.
    pub fn signing_key(&self) -> Option<SigningKey> {
        let (kind, public, private) = match &self.offline {
            None => (
                self.destination.sig_type(),
                self.destination.keys_and_cert().signing_key(),
                self.signing.as_bytes(),
            ),
            Some(OfflineKeys { signature, private }) => {
                (signature.transient_type, signature.transient_key.as_slice().into(), private.as_bytes())
            }
        };
        if kind != SigType::Ed25519 {
            return None;
        }
        let key = SigningKey::from_seed(Secret::new(private.try_into().ok()?));
        (key.public().as_slice() == &*public).then_some(key)
    }

    /// When the transient key expires, if there is one.
    pub fn expires(&self) -> Option<Date> {
        self.offline.as_ref().map(|o| o.signature.expires)
    }

    /// I2P Base64 of the bytes.
    pub fn to_base64(&self) -> Zeroizing<String> {
        Zeroizing::new(base64::encode(&Zeroizing::new(self.to_bytes())))
    }

    /// From I2P Base64.
    pub fn from_base64(text: &str) -> Option<Self> {
        Self::from_bytes(&Zeroizing::new(base64::decode(text)?)).ok()
    }
}

impl<'a> Wire<'a> for DestinationKeys {
    const SPEC: &'static str = "samv3#dest-generate";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let destination = r.read::<Destination>()?;
        let keys = destination.keys_and_cert();
        let encryption = PrivateBytes::new(r.take(keys.crypto_private_len())?);
        let signing = PrivateBytes::new(r.take(keys.sig_type().private_len())?);
        let offline = if signing.as_bytes().iter().all(|b| *b == 0) {
            let signature = OfflineSignature::decode(r, keys.sig_type())?;
            let private = PrivateBytes::new(r.take(signature.transient_type.private_len())?);
            Some(OfflineKeys { signature, private })
        } else {
            None
        };
        Ok(Self { destination, encryption, signing, offline })
    }

    fn encode(&self, w: &mut Writer) {
        w.write(&self.destination);
        w.bytes(self.encryption.as_bytes());
        w.bytes(self.signing.as_bytes());
        if let Some(offline) = &self.offline {
            offline.signature.encode(w);
            w.bytes(offline.private.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::crypto::sign::SigType;

    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(Secret::new([seed; 32]))
    }

    #[test]
    fn lengths_of_both_forms() {
        for (keys, len) in [
            (DestinationKeys::create(&key(1), &[2; 32]), 391 + 32 + 32),
            (DestinationKeys::create_with_elgamal_filler(&key(1), &[2; 32]), 391 + 256 + 32),
        ] {
            let bytes = keys.to_bytes();
            assert_eq!(bytes.len(), len);
            let again = DestinationKeys::from_base64(&keys.to_base64()).unwrap();
            assert_eq!(again, keys);
            let signature = again.signing_key().unwrap().sign(b"x");
            assert_eq!(again.destination.verify(b"x", &signature), Ok(()));
            assert!(DestinationKeys::from_bytes(&bytes[..len - 1]).is_err());
            assert!(!format!("{keys:?}").contains("1, 1, 1"));
        }
    }

    #[test]
    fn offline_block() {
        let (long_term, transient) = (key(1), key(3));
        let mut keys = DestinationKeys::create(&long_term, &[2; 32]);
        let mut signature = OfflineSignature {
            expires: Date::from_secs(2_000_000_000),
            transient_type: SigType::Ed25519,
            transient_key: transient.public().to_vec(),
            signature: Vec::new(),
        };
        signature.signature = long_term.sign(&signature.signed_bytes()).to_vec();
        keys.signing = PrivateBytes::new(&[0; 32]);
        let private = PrivateBytes::new(transient.seed().as_bytes());
        keys.offline = Some(OfflineKeys { signature, private });
        let again = DestinationKeys::from_bytes(&keys.to_bytes()).unwrap();
        assert_eq!(again, keys);
        assert_eq!(again.signing_key().unwrap().public(), transient.public());
        let offline = &again.offline.as_ref().unwrap().signature;
        assert_eq!(offline.verify_for(&again.destination), Ok(()));
    }

    #[test]
    fn a_key_that_does_not_fit_signs_nothing() {
        let mut keys = DestinationKeys::create(&key(1), &[2; 32]);
        keys.signing = PrivateBytes::new(&[9; 32]);
        assert!(keys.signing_key().is_none());
    }
}
