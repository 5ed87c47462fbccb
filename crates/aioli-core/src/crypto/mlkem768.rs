//! ML-KEM-768 (FIPS 203): the hybrid half of handshakes that announce it.
//!
//! Not aws-lc's, which draws its own randomness: keys and encapsulations here
//! come from the router's generator like everything else.

use std::fmt;

use ml_kem::kem::{Decapsulate, KeyExport};
use ml_kem::{DecapsulationKey768, EncapsulationKey768};

use super::Secret;
use crate::Rng;

/// Bytes of an encapsulation key.
pub const PUBLIC_LEN: usize = 1184;
/// Bytes of a ciphertext.
pub const CIPHERTEXT_LEN: usize = 1088;

/// The encapsulation key fails FIPS 203's modulus check, or has a wrong length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an ML-KEM-768 encapsulation key")]
pub struct BadKey;

/// A decapsulation key, used for one handshake.
pub struct PrivateKey(Box<DecapsulationKey768>);

impl PrivateKey {
    /// A new key from `rng`.
    pub fn generate(rng: &mut Rng) -> Self {
        let seed = Secret::new(rng.bytes::<64>());
        Self(Box::new(DecapsulationKey768::from_seed((*seed.as_bytes()).into())))
    }

    /// The encapsulation key, as it travels.
    pub fn public(&self) -> [u8; PUBLIC_LEN] {
        let mut out = [0; PUBLIC_LEN];
        out.copy_from_slice(&self.0.encapsulation_key().to_bytes());
        out
    }

    /// The secret within `ciphertext`. A ciphertext made for another key gives a
    /// secret nobody else has: the handshake's next AEAD then fails.
    pub fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret<32> {
        Secret::new(self.0.decapsulate(&(*ciphertext).into()).into())
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ML-KEM-768 PrivateKey(..)")
    }
}

/// A new secret for the owner of `public`, and the ciphertext that carries it.
///
/// # Errors
/// [`BadKey`] if `public` is no encapsulation key.
pub fn encapsulate(public: &[u8], rng: &mut Rng) -> Result<([u8; CIPHERTEXT_LEN], Secret<32>), BadKey> {
    let key = public.try_into().map_err(|_| BadKey)?;
    let key = EncapsulationKey768::new(key).map_err(|_| BadKey)?;
    let message = Secret::new(rng.bytes::<32>());
    let (ciphertext, shared) = key.encapsulate_deterministic(&(*message.as_bytes()).into());
    Ok((ciphertext.into(), Secret::new(shared.into())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};

    #[test]
    fn agrees_with_aws_lc_both_ways() {
        let mut rng = Rng::from_seed([1; 32]);
        let ours = PrivateKey::generate(&mut rng);
        let (ciphertext, shared) =
            EncapsulationKey::new(&ML_KEM_768, &ours.public()).unwrap().encapsulate().unwrap();
        let got = ours.decapsulate(ciphertext.as_ref().try_into().unwrap());
        assert_eq!(got.as_ref(), shared.as_ref());

        let theirs = DecapsulationKey::generate(&ML_KEM_768).unwrap();
        let public = theirs.encapsulation_key().unwrap().key_bytes().unwrap();
        let (ciphertext, shared) = encapsulate(public.as_ref(), &mut rng).unwrap();
        let got = theirs.decapsulate(Ciphertext::from(&ciphertext[..])).unwrap();
        assert_eq!(got.as_ref(), shared.as_ref());
    }

    #[test]
    fn an_altered_ciphertext_gives_another_secret() {
        let mut rng = Rng::from_seed([2; 32]);
        let key = PrivateKey::generate(&mut rng);
        let (mut ciphertext, shared) = encapsulate(&key.public(), &mut rng).unwrap();
        assert_eq!(key.decapsulate(&ciphertext), shared);
        ciphertext[7] ^= 1;
        let other = key.decapsulate(&ciphertext);
        assert_ne!(other, shared);
        assert_eq!(key.decapsulate(&ciphertext), other);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let mut rng = Rng::from_seed([3; 32]);
        let mut public = PrivateKey::generate(&mut rng).public();
        assert_eq!(encapsulate(&public[1..], &mut rng), Err(BadKey));
        // A coefficient of 4095 is not below q = 3329.
        public[0] = 0xff;
        public[1] |= 0x0f;
        assert_eq!(encapsulate(&public, &mut rng), Err(BadKey));
    }
}
