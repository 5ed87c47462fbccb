//! SHA-256, SHA-512, SHA-1, HMAC-SHA256 and the HKDF that I2P builds on it.

use aws_lc_rs::{digest, hmac};

use super::Secret;

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    fixed(&digest::digest(&digest::SHA256, data))
}

/// SHA-256 of the parts, one after another.
pub fn sha256_parts(parts: &[&[u8]]) -> [u8; 32] {
    let mut ctx = Sha256::new();
    for part in parts {
        ctx.update(part);
    }
    ctx.finish()
}

/// SHA-512 of `data`.
pub fn sha512(data: &[u8]) -> [u8; 64] {
    fixed(&digest::digest(&digest::SHA512, data))
}

/// SHA-512 of the parts, one after another.
pub fn sha512_parts(parts: &[&[u8]]) -> [u8; 64] {
    let mut ctx = digest::Context::new(&digest::SHA512);
    for part in parts {
        ctx.update(part);
    }
    fixed(&ctx.finish())
}

/// SHA-1 of `data`: only for DSA signatures of old destinations.
pub fn sha1(data: &[u8]) -> [u8; 20] {
    fixed(&digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, data))
}

/// HMAC-SHA256 of the parts, one after another.
pub fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut ctx = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        ctx.update(part);
    }
    tag(&ctx.sign())
}

/// I2P's HKDF (RFC 5869 with SHA-256): extracts from `ikm` under `salt`, then
/// expands `info` to `N` bytes. An empty `ikm` is still extracted from.
pub fn hkdf<const N: usize>(salt: &[u8], ikm: &[u8], info: &[u8]) -> Secret<N> {
    const { assert!(N > 0 && N <= 255 * 32) };
    let prk = Secret::new(hmac_sha256(salt, &[ikm]));
    let prk = hmac::Key::new(hmac::HMAC_SHA256, prk.as_bytes());
    let mut out = Secret::new([0; N]);
    let mut block = Secret::new([0; 32]);
    for (i, chunk) in out.as_mut_bytes().chunks_mut(32).enumerate() {
        let mut ctx = hmac::Context::with_key(&prk);
        if i > 0 {
            ctx.update(block.as_bytes());
        }
        ctx.update(info);
        ctx.update(&[i as u8 + 1]);
        *block.as_mut_bytes() = tag(&ctx.sign());
        chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
    }
    out
}

/// SHA-256 of what is not at hand all at once.
#[derive(Clone)]
pub struct Sha256(digest::Context);

impl Sha256 {
    /// Nothing hashed yet.
    pub fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }

    /// Hashes `data` too.
    pub fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// The hash of all that came.
    pub fn finish(self) -> [u8; 32] {
        fixed(&self.0.finish())
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256(..)")
    }
}

fn fixed<const N: usize>(digest: &digest::Digest) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(digest.as_ref());
    out
}

fn tag(tag: &hmac::Tag) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(tag.as_ref());
    out
}

#[cfg(test)]
mod tests;
