//! One message to a router's static key: garlic and build records (PROTOCOL 7
//! and 9). Noise pattern N.
//!
//! ```text
//! ephemeral 32 | ciphertext | tag 16      key = HKDF(ck, DH(ephemeral, static))
//! ```

use super::aead::{AeadError, TAG_LEN};
use super::noise::{self, SymmetricState};
use super::secret::Secret;
use super::x25519::{PrivateKey, PublicKey, WeakKey};
use crate::Rng;

/// Bytes that sealing adds: the ephemeral key in front and the tag behind.
pub const OVERHEAD: usize = 32 + TAG_LEN;

/// What both ends hold after the message: the keys of a build record's layers
/// come from `ck`, its reply is bound to `h`.
#[derive(Clone, Debug)]
pub struct State {
    /// The chaining key.
    pub ck: Secret<32>,
    /// The hash over all up to and including the ciphertext.
    pub h: [u8; 32],
}

/// The message is not for this key, or was altered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a message to this key")]
pub struct OpenError;

impl From<AeadError> for OpenError {
    fn from(_: AeadError) -> Self {
        Self
    }
}

impl From<WeakKey> for OpenError {
    fn from(_: WeakKey) -> Self {
        Self
    }
}

/// Seals `plain` to the owner of `to` with a new ephemeral key from `rng`.
///
/// # Errors
/// [`WeakKey`] if `to` is no key anyone can own.
pub fn seal(to: &PublicKey, plain: &[u8], rng: &mut Rng) -> Result<(Vec<u8>, State), WeakKey> {
    seal_with(to, plain, &PrivateKey::generate(rng))
}

/// [`seal`] with this ephemeral key, which must be used for nothing else.
///
/// # Errors
/// [`WeakKey`] if `to` is no key anyone can own.
pub fn seal_with(to: &PublicKey, plain: &[u8], ephemeral: &PrivateKey) -> Result<(Vec<u8>, State), WeakKey> {
    let shared = ephemeral.diffie_hellman(to)?;
    let mut state = begin(to, &ephemeral.public(), &shared);
    let mut out = Vec::with_capacity(plain.len() + OVERHEAD);
    out.extend_from_slice(&ephemeral.public().0);
    out.extend_from_slice(plain);
    let tag = state.encrypt_and_hash_slice(&mut out[32..]);
    out.extend_from_slice(&tag);
    Ok((out, finish(&state)))
}

/// Opens `message` in place with our static key; the plaintext lies within it.
/// Its first 32 bytes, the ephemeral key, are what to check for replays.
///
/// # Errors
/// [`OpenError`] if it does not open; `message` is then overwritten.
pub fn open<'a>(key: &PrivateKey, message: &'a mut [u8]) -> Result<(&'a [u8], State), OpenError> {
    let Some((ephemeral, sealed)) = message.split_first_chunk_mut::<32>() else { return Err(OpenError) };
    let ephemeral = PublicKey(*ephemeral);
    let shared = key.diffie_hellman(&ephemeral)?;
    let mut state = begin(&key.public(), &ephemeral, &shared);
    let len = state.decrypt_and_hash(sealed)?;
    Ok((&sealed[..len], finish(&state)))
}

fn begin(to: &PublicKey, ephemeral: &PublicKey, shared: &Secret<32>) -> SymmetricState {
    let mut state = SymmetricState::new(noise::N);
    state.mix_hash(&to.0);
    state.mix_hash(&ephemeral.0);
    state.mix_key(shared);
    state
}

fn finish(state: &SymmetricState) -> State {
    State { ck: state.ck().clone(), h: state.h() }
}

#[cfg(test)]
mod tests;
