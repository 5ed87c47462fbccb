//! Blinded keys of encrypted lease sets and the RedDSA signatures they make
//! (CS=encryptedleaseset, PROTOCOL 19 "Blinding").
//!
//! ```text
//! alpha = HKDF(H("I2PGenerateAlpha" | A | types), date | secret) mod L   one per UTC day
//! a' = a + alpha     A' = A + alpha B      whoever knows A (and the secret) can find A'
//! ```
//!
//! Signatures are plain Ed25519 over SHA-512 with a random nonce; the domain
//! prefix of CS=red25519 is not what the network uses (PROTOCOL 0.1, 3).

use std::fmt;

use curve25519_dalek::edwards::CompressedEdwardsY;
use curve25519_dalek::{EdwardsPoint, Scalar};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::ed25519::SigningKey;
use super::hash::{hkdf, sha256_parts, sha512, sha512_parts};
use super::secret::Secret;
use super::sign::SigType;
use crate::Rng;

/// The public key is no point on the curve, or its type cannot be blinded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("key cannot be blinded")]
pub struct CannotBlind;

/// The blinding factor of one destination for one day.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct Alpha(Scalar);

impl Alpha {
    /// The factor for the destination that signs with `public`, on `utc_day`
    /// ([`crate::Date::utc_day`]), for those who know `secret` (empty if none).
    ///
    /// # Errors
    /// [`CannotBlind`] unless the key is an Ed25519 or RedDSA key.
    pub fn derive(
        kind: SigType,
        public: &[u8; 32],
        utc_day: [u8; 8],
        secret: &[u8],
    ) -> Result<Self, CannotBlind> {
        if !matches!(kind, SigType::Ed25519 | SigType::RedDsa) {
            return Err(CannotBlind);
        }
        let salt = sha256_parts(&[b"I2PGenerateAlpha", public, &types(kind)]);
        let mut input = utc_day.to_vec();
        input.extend_from_slice(secret);
        let seed: Secret<64> = hkdf(&salt, &input, b"i2pblinding1");
        input.zeroize();
        Ok(Self(Scalar::from_bytes_mod_order_wide(seed.as_bytes())))
    }

    /// The blinded public key of `public`.
    ///
    /// # Errors
    /// [`CannotBlind`] if `public` is no point on the curve.
    pub fn blind_public(&self, public: &[u8; 32]) -> Result<[u8; 32], CannotBlind> {
        let point = CompressedEdwardsY(*public).decompress().ok_or(CannotBlind)?;
        Ok((point + EdwardsPoint::mul_base(&self.0)).compress().0)
    }
}

impl fmt::Debug for Alpha {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alpha(..)")
    }
}

/// A RedDSA (type 11) private key: a scalar rather than a seed, so that it can
/// be blinded.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct RedDsaKey {
    scalar: Scalar,
    #[zeroize(skip)]
    public: [u8; 32],
}

impl RedDsaKey {
    /// A new key from `rng`.
    pub fn generate(rng: &mut Rng) -> Self {
        let wide = Secret::new(rng.bytes());
        Self::from_reduced(Scalar::from_bytes_mod_order_wide(wide.as_bytes()))
    }

    /// The key with these private bytes, as key files hold them.
    pub fn from_scalar(scalar: &Secret<32>) -> Self {
        Self::from_reduced(Scalar::from_bytes_mod_order(*scalar.as_bytes()))
    }

    /// The scalar that an Ed25519 key signs with.
    pub fn from_ed25519(key: &SigningKey) -> Self {
        let (mut scalar, _) = Secret::new(sha512(key.seed().as_bytes())).halves();
        let bytes = scalar.as_mut_bytes();
        bytes[0] &= 0xf8;
        bytes[31] = bytes[31] & 0x7f | 0x40;
        Self::from_scalar(&scalar)
    }

    fn from_reduced(scalar: Scalar) -> Self {
        let public = EdwardsPoint::mul_base(&scalar).compress().0;
        Self { scalar, public }
    }

    /// The key blinded by `alpha`, which signs that day's lease sets.
    #[must_use]
    pub fn blind(&self, alpha: &Alpha) -> Self {
        Self::from_reduced(self.scalar + alpha.0)
    }

    /// The private bytes, below the group order.
    pub fn to_scalar(&self) -> Secret<32> {
        Secret::new(self.scalar.to_bytes())
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// A signature over `message`: different each time, verified as any Ed25519
    /// signature is.
    pub fn sign(&self, message: &[u8], rng: &mut Rng) -> [u8; 64] {
        let random = Secret::new(rng.bytes::<80>());
        let nonce = Secret::new(sha512_parts(&[random.as_bytes(), &self.public, message]));
        let mut nonce = Scalar::from_bytes_mod_order_wide(nonce.as_bytes());
        let point = EdwardsPoint::mul_base(&nonce).compress().0;
        let challenge = sha512_parts(&[&point, &self.public, message]);
        let s = nonce + Scalar::from_bytes_mod_order_wide(&challenge) * self.scalar;
        nonce.zeroize();
        let mut out = [0; 64];
        out[..32].copy_from_slice(&point);
        out[32..].copy_from_slice(s.as_bytes());
        out
    }
}

impl fmt::Debug for RedDsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.public;
        write!(f, "RedDsaKey(of {a:02x}{b:02x}{c:02x}{d:02x})")
    }
}

/// Under which key the network database holds the lease set of a blinded key.
pub fn store_key(blinded: &[u8; 32]) -> [u8; 32] {
    sha256_parts(&[&SigType::RedDsa.code().to_be_bytes(), blinded])
}

/// What proves that one knows the destination behind a blinded key: mixed into
/// the keys of its encrypted lease set.
pub fn subcredential(kind: SigType, public: &[u8; 32], blinded: &[u8; 32]) -> [u8; 32] {
    let credential = sha256_parts(&[b"credential", public, &types(kind)]);
    sha256_parts(&[b"subcredential", &credential, blinded])
}

/// The type of the destination's key, then of the blinded one.
fn types(kind: SigType) -> [u8; 4] {
    let ([a, b], [c, d]) = (kind.code().to_be_bytes(), SigType::RedDsa.code().to_be_bytes());
    [a, b, c, d]
}

#[cfg(test)]
mod tests;
