//! RSA as SU3 files use it (`updates#su3-file-specification`): PKCS#1 v1.5
//! padding around the bare hash, without the `DigestInfo` that TLS puts there.
//! Verification only.

use aws_lc_rs::digest::{SHA512, digest};
use rsa::{BigUint, Pkcs1v15Sign, RsaPublicKey};

use super::sign::BadSignature;

/// Bytes of a modulus and of a signature.
pub const RSA_4096_LEN: usize = 512;
/// The exponent of every key that is in use.
const EXPONENT: u32 = 65_537;

/// The key of one who signs SU3 files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rsa4096(RsaPublicKey);

impl Rsa4096 {
    /// The key with this modulus, big-endian, and the exponent 65,537.
    ///
    /// # Errors
    /// If it is not the modulus of a 4096-bit key.
    pub fn from_modulus(modulus: &[u8; RSA_4096_LEN]) -> Result<Self, BadSignature> {
        if modulus.first().is_none_or(|first| *first < 0x80) {
            return Err(BadSignature);
        }
        let key = RsaPublicKey::new(BigUint::from_bytes_be(modulus), BigUint::from(EXPONENT));
        key.map(Self).map_err(|_| BadSignature)
    }

    /// Verifies a signature of 512 bytes over the SHA-512 of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let hash = digest(&SHA512, message);
        self.0.verify(Pkcs1v15Sign::new_unprefixed(), hash.as_ref(), signature).map_err(|_| BadSignature)
    }
}
