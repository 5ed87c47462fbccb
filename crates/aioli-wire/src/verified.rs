//! Signed structures: a type says whether the signature has been checked.
//!
//! ```text
//! bytes ─ decode ─► Unverified<T> ─ verify() ─► Verified<T> ◄─ create(.., key)
//! ```

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use thiserror::Error;

/// A structure that carries a signature over its own received bytes.
pub trait Signed {
    /// Checks every signature in it.
    fn check(&self) -> Result<(), VerifyError>;
}

/// A signature in a structure does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The structure's own signature is wrong.
    #[error("bad signature")]
    Signature,
    /// The long-term key did not sign the transient key.
    #[error("bad signature of the transient key")]
    TransientKey,
    /// The transient key had expired when the structure was published.
    #[error("published after the transient key expired")]
    TransientExpired,
}

/// Decoded, but anybody may have made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unverified<T>(T);

impl<T> Unverified<T> {
    /// Marks a decoded structure.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// A look at the claims.
    pub const fn claims(&self) -> &T {
        &self.0
    }

    /// The structure without a promise.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T: Signed> Unverified<T> {
    /// Checks the signatures.
    pub fn verify(self) -> Result<Verified<T>, VerifyError> {
        self.0.check()?;
        Ok(Verified(self.0))
    }
}

/// Made by the holder of the key that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Verified<T> {
    /// For structures that were signed in this process a moment ago.
    pub(crate) const fn by_creation(value: T) -> Self {
        Self(value)
    }

    /// The structure without its proof.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// The exact bytes of a structure, shared by its copies.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Raw(Arc<[u8]>);

impl Raw {
    /// Shares them further.
    pub(crate) fn share(&self) -> Arc<[u8]> {
        Arc::clone(&self.0)
    }

    /// What is signed, and the signature of this many bytes at the end.
    pub(crate) fn split_signature(&self, len: usize) -> (&[u8], &[u8]) {
        self.0.split_at(self.0.len().saturating_sub(len))
    }
}

impl From<&[u8]> for Raw {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }
}

impl Deref for Raw {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}
