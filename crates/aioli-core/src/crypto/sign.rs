//! The signature types of I2P and the verification of those still met:
//! Ed25519 and RedDSA everywhere, ECDSA and DSA for old destinations.

use aws_lc_rs::signature::{self, UnparsedPublicKey};

mod dsa_sha1;

/// A signature type, as certificates number them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u16)]
pub enum SigType {
    /// DSA with SHA-1 over I2P's fixed 1024-bit group.
    DsaSha1 = 0,
    /// ECDSA on P-256 with SHA-256.
    EcdsaP256 = 1,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384 = 2,
    /// ECDSA on P-521 with SHA-512.
    EcdsaP521 = 3,
    /// RSA 2048 with SHA-256: sizes only.
    Rsa2048 = 4,
    /// RSA 3072 with SHA-384: sizes only.
    Rsa3072 = 5,
    /// RSA 4096 with SHA-512: sizes only.
    Rsa4096 = 6,
    /// Ed25519.
    Ed25519 = 7,
    /// Ed25519ph: sizes only.
    Ed25519ph = 8,
    /// RedDSA: verified as Ed25519, signed with keys that can be blinded.
    RedDsa = 11,
}

/// The signature does not verify, or its type or sizes are not supported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad signature")]
pub struct BadSignature;

impl SigType {
    /// The number in certificates.
    pub const fn code(self) -> u16 {
        self as u16
    }

    /// The type with this number.
    pub const fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::DsaSha1,
            1 => Self::EcdsaP256,
            2 => Self::EcdsaP384,
            3 => Self::EcdsaP521,
            4 => Self::Rsa2048,
            5 => Self::Rsa3072,
            6 => Self::Rsa4096,
            7 => Self::Ed25519,
            8 => Self::Ed25519ph,
            11 => Self::RedDsa,
            _ => return None,
        })
    }

    /// Bytes of a public key.
    pub const fn public_len(self) -> usize {
        self.lengths().0
    }

    /// Bytes of a signature.
    pub const fn signature_len(self) -> usize {
        self.lengths().1
    }

    /// Bytes of a private key in a key file.
    pub const fn private_len(self) -> usize {
        self.lengths().2
    }

    const fn lengths(self) -> (usize, usize, usize) {
        match self {
            Self::DsaSha1 => (128, 40, 20),
            Self::EcdsaP256 => (64, 64, 32),
            Self::EcdsaP384 => (96, 96, 48),
            Self::EcdsaP521 => (132, 132, 66),
            Self::Rsa2048 => (256, 256, 512),
            Self::Rsa3072 => (384, 384, 768),
            Self::Rsa4096 => (512, 512, 1024),
            Self::Ed25519 | Self::Ed25519ph | Self::RedDsa => (32, 64, 32),
        }
    }
}

/// Verifies `signature` over `message` by `public`, raw bytes as I2P stores them.
///
/// # Errors
/// [`BadSignature`] if it does not verify, a size is wrong, or the type is one
/// of RSA and Ed25519ph, which no identity on the network uses.
pub fn verify(kind: SigType, public: &[u8], message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    if public.len() != kind.public_len() || signature.len() != kind.signature_len() {
        return Err(BadSignature);
    }
    match kind {
        SigType::DsaSha1 => dsa_sha1::verify(public, message, signature),
        SigType::EcdsaP256 => ecdsa(&signature::ECDSA_P256_SHA256_FIXED, public, message, signature),
        SigType::EcdsaP384 => ecdsa(&signature::ECDSA_P384_SHA384_FIXED, public, message, signature),
        SigType::EcdsaP521 => ecdsa(&signature::ECDSA_P521_SHA512_FIXED, public, message, signature),
        // aws-lc refuses S >= L and compares without the cofactor, as Java and i2pd do.
        SigType::Ed25519 | SigType::RedDsa => UnparsedPublicKey::new(&signature::ED25519, public)
            .verify(message, signature)
            .map_err(|_| BadSignature),
        SigType::Rsa2048 | SigType::Rsa3072 | SigType::Rsa4096 | SigType::Ed25519ph => Err(BadSignature),
    }
}

fn ecdsa(
    algorithm: &'static signature::EcdsaVerificationAlgorithm,
    public: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    // I2P leaves out the byte that says "uncompressed point".
    let mut point = [4; 1 + 132];
    let point = &mut point[..=public.len()];
    point[1..].copy_from_slice(public);
    UnparsedPublicKey::new(algorithm, &*point).verify(message, signature).map_err(|_| BadSignature)
}

#[cfg(test)]
mod tests;
