//! KeysAndCert and its certificate, and the identity of a router
//! (`common-structures#struct-keysandcert`).
//!
//! ```text
//! 0                    256                        384
//! | encryption key ... padding ... | padding ... signing key | certificate |
//! ```
//!
//! The exact received bytes are kept: hashes and signatures cover them, and
//! old identities have padding of any kind.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aioli_core::crypto::hash::sha256;
use aioli_core::crypto::sign::SigType;
use aioli_core::crypto::x25519;

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::ids::{Hash, RouterHash};

/// Encryption type 0: ElGamal, 256 bytes. Only parsed.
pub const ELGAMAL: u16 = 0;
/// Encryption type 4: X25519, 32 bytes.
pub const X25519: u16 = 4;
/// Encryption type 5: ML-KEM-512 with X25519.
pub const MLKEM512_X25519: u16 = 5;
/// Encryption type 6: ML-KEM-768 with X25519.
pub const MLKEM768_X25519: u16 = 6;
/// Encryption type 7: ML-KEM-1024 with X25519.
pub const MLKEM1024_X25519: u16 = 7;

const CRYPTO_FIELD: usize = 256;
const SIGNING_FIELD: usize = 128;
const KEYS: usize = CRYPTO_FIELD + SIGNING_FIELD;

/// The most bytes that a certificate may carry inside an identity. The largest
/// in use has 8 (a P-521 key certificate) or 72 (a signed one, long ago).
pub const MAX_CERTIFICATE_PAYLOAD: usize = 1024;

/// A certificate: a type and what belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// Type 0: DSA-SHA1 and ElGamal keys.
    Null,
    /// Type 5: says which keys the identity has.
    Key {
        /// Signature type code.
        signing: u16,
        /// Encryption type code.
        crypto: u16,
        /// What did not fit into the key fields: signing key first.
        excess: Vec<u8>,
    },
    /// Types 1 to 4 (hashcash, hidden, signed, multiple): nobody makes them any more.
    Other {
        /// Its type.
        kind: u8,
        /// Its content.
        payload: Vec<u8>,
    },
}

impl<'a> Wire<'a> for Certificate {
    const SPEC: &'static str = "common-structures#certificate";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = r.u8()?;
        let len = usize::from(r.u16()?);
        match kind {
            0 if len == 0 => Ok(Self::Null),
            1..=4 if len <= MAX_CERTIFICATE_PAYLOAD => {
                Ok(Self::Other { kind, payload: r.take(len)?.to_vec() })
            }
            5 if len <= MAX_CERTIFICATE_PAYLOAD => {
                let mut r = r.sub(Self::SPEC, len)?;
                Ok(Self::Key { signing: r.u16()?, crypto: r.u16()?, excess: r.rest().to_vec() })
            }
            1..=5 => Err(r.error(DecodeErrorKind::Limit("certificate"))),
            _ => Err(r.invalid("certificate type")),
        }
    }

    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Null => w.bytes(&[0, 0, 0]),
            Self::Key { signing, crypto, excess } => {
                w.u8(5);
                w.u16(4 + excess.len() as u16);
                w.u16(*signing);
                w.u16(*crypto);
                w.bytes(excess);
            }
            Self::Other { kind, payload } => {
                w.u8(*kind);
                w.u16(payload.len() as u16);
                w.bytes(payload);
            }
        }
    }
}

/// Two public keys and a certificate, as received.
#[derive(Clone)]
pub struct KeysAndCert {
    /// Begins with them: what it came in may follow.
    shared: Arc<[u8]>,
    len: u16,
    hash: [u8; 32],
    signing: SigType,
    crypto: u16,
}

impl KeysAndCert {
    /// Builds the bytes: `crypto_key` at the front, `signing_key` at the end of
    /// the key area, `seed` repeated between them (proposal 161) or, if it is long enough, as it is.
    pub(crate) fn build(crypto: u16, crypto_key: &[u8], signing_key: &[u8; 32], seed: &[u8]) -> Self {
        let signing = SigType::Ed25519;
        let mut bytes = Vec::with_capacity(KEYS + 7);
        bytes.extend_from_slice(crypto_key);
        bytes.extend(seed.iter().cycle().take(KEYS - 32 - crypto_key.len()));
        bytes.extend_from_slice(signing_key);
        let cert = Certificate::Key { signing: signing.code(), crypto, excess: Vec::new() };
        bytes.extend_from_slice(&cert.to_bytes());
        Self { hash: sha256(&bytes), len: bytes.len() as u16, shared: bytes.into(), signing, crypto }
    }

    /// Keeps the bytes of the structure that begins with it instead of a copy of its own: of thousands of
    /// RouterInfos that is a third.
    pub(crate) fn share(&mut self, whole: Arc<[u8]>) {
        if whole.starts_with(self.bytes()) {
            self.shared = whole;
        }
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        self.shared.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// SHA-256 of the bytes.
    pub const fn hash(&self) -> &[u8; 32] {
        &self.hash
    }

    /// The kind of signing key.
    pub const fn sig_type(&self) -> SigType {
        self.signing
    }

    /// The code of the kind of encryption key.
    pub const fn crypto_type(&self) -> u16 {
        self.crypto
    }

    /// The signing public key, in one piece even if it is larger than its field.
    pub fn signing_key(&self) -> Cow<'_, [u8]> {
        let len = self.signing.public_len();
        let in_field = len.min(SIGNING_FIELD);
        let field = self.bytes().get(KEYS - in_field..KEYS).unwrap_or(&[]);
        if len <= SIGNING_FIELD {
            return Cow::Borrowed(field);
        }
        // Certificate: type 1, length 2, two codes of 2, then the excess.
        let excess = self.bytes().get(KEYS + 7..KEYS + 7 + len - SIGNING_FIELD).unwrap_or(&[]);
        Cow::Owned([field, excess].concat())
    }

    /// Bytes of the encryption private key in a key file.
    pub const fn crypto_private_len(&self) -> usize {
        crypto_private_len(self.crypto)
    }

    /// The encryption public key; the whole field if its kind is unknown.
    pub fn crypto_key(&self) -> &[u8] {
        self.bytes().get(..crypto_len(self.crypto)).unwrap_or(&[])
    }
}

/// Bytes of the encryption private key in a key file.
const fn crypto_private_len(code: u16) -> usize {
    match code {
        1 | X25519..=MLKEM1024_X25519 => 32,
        2 => 48,
        3 => 66,
        _ => CRYPTO_FIELD,
    }
}

/// Bytes of the encryption key field that a kind of key fills.
const fn crypto_len(code: u16) -> usize {
    match code {
        1 => 64,
        2 => 96,
        3 => 132,
        X25519..=MLKEM1024_X25519 => 32,
        _ => CRYPTO_FIELD,
    }
}

impl PartialEq for KeysAndCert {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for KeysAndCert {}

impl fmt::Debug for KeysAndCert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeysAndCert")
            .field("hash", &Hash::new(self.hash))
            .field("signing", &self.signing.code())
            .field("crypto", &self.crypto)
            .finish_non_exhaustive()
    }
}

impl<'a> Wire<'a> for KeysAndCert {
    const SPEC: &'static str = "common-structures#struct-keysandcert";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = r.at();
        r.take(KEYS)?;
        let cert = r.read::<Certificate>()?;
        let (code, crypto, excess) = match &cert {
            Certificate::Null | Certificate::Other { .. } => (SigType::DsaSha1.code(), ELGAMAL, 0),
            Certificate::Key { signing, crypto, excess } => (*signing, *crypto, excess.len()),
        };
        let signing = SigType::from_code(code)
            .filter(|t| identifies(*t))
            .ok_or_else(|| r.invalid("signature type of an identity"))?;
        if excess != signing.public_len().saturating_sub(SIGNING_FIELD) {
            return Err(r.invalid("key certificate length"));
        }
        let bytes = r.since(start);
        Ok(Self { hash: sha256(bytes), len: bytes.len() as u16, shared: bytes.into(), signing, crypto })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(self.bytes());
    }
}

/// RSA and the pre-hashed Ed25519 sign files, never identities.
const fn identifies(kind: SigType) -> bool {
    matches!(
        kind,
        SigType::DsaSha1
            | SigType::EcdsaP256
            | SigType::EcdsaP384
            | SigType::EcdsaP521
            | SigType::Ed25519
            | SigType::RedDsa
    )
}

/// The identity of a router: an X25519 and an Ed25519 key, nothing else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterIdentity(KeysAndCert);

impl RouterIdentity {
    /// A new identity of 391 bytes. `padding` is 32 random bytes, kept with the keys.
    pub fn create(encryption: &x25519::PublicKey, signing: &[u8; 32], padding: &[u8; 32]) -> Self {
        Self(KeysAndCert::build(X25519, &encryption.0, signing, padding))
    }

    /// An identity made elsewhere. `padding` is repeated as often as it takes: 32 bytes, or all 320 of an
    /// identity from before proposal 161.
    pub fn with_padding(encryption: &x25519::PublicKey, signing: &[u8; 32], padding: &[u8]) -> Self {
        Self(KeysAndCert::build(X25519, &encryption.0, signing, padding))
    }

    pub(crate) fn share(&mut self, whole: Arc<[u8]>) {
        self.0.share(whole);
    }

    /// The 320 bytes between the keys.
    pub fn padding(&self) -> &[u8] {
        self.bytes().get(32..KEYS - 32).unwrap_or_default()
    }

    /// How the router is named.
    pub const fn hash(&self) -> RouterHash {
        RouterHash::new(self.0.hash)
    }

    /// What build records and one-shot garlic to the router are encrypted to.
    pub fn encryption_key(&self) -> x25519::PublicKey {
        x25519::PublicKey(fixed(self.0.crypto_key()))
    }

    /// Its Ed25519 public key.
    pub fn signing_key(&self) -> [u8; 32] {
        fixed(&self.0.signing_key())
    }

    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    /// The general structure.
    pub const fn keys_and_cert(&self) -> &KeysAndCert {
        &self.0
    }
}

/// A key whose length the type code has already fixed.
fn fixed(key: &[u8]) -> [u8; 32] {
    key.try_into().expect("keys of types 4 and 7 have 32 bytes, and no others were admitted")
}

impl<'a> Wire<'a> for RouterIdentity {
    const SPEC: &'static str = "common-structures#routeridentity";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let keys = r.read::<KeysAndCert>()?;
        if keys.sig_type() != SigType::Ed25519 {
            return Err(r.invalid("router signing key type"));
        }
        if keys.crypto_type() != X25519 {
            return Err(r.invalid("router encryption key type"));
        }
        Ok(Self(keys))
    }

    fn encode(&self, w: &mut Writer) {
        self.0.encode(w);
    }
}

#[cfg(test)]
mod tests;
