//! The symmetric half of the Noise framework (its section 5.2): the running
//! hash `h`, the chaining key `ck` and the cipher with its counter. Patterns
//! (NTCP2's XK, the ratchet's IK, N) are written out where they are spoken.
//!
//! ```text
//! new(name)            h = name, padded or hashed; ck = h; mix_hash("")
//! mix_hash(data)       h = SHA256(h || data)
//! mix_key(dh)          ck, k = HKDF(ck, dh); n = 0
//! encrypt_and_hash     AEAD(k, n++, ad = h), then mix_hash(ciphertext)
//! split()              HKDF(ck, "") = two keys for the data phase
//! ```

use super::Secret;
use super::aead::{AeadError, ChaChaKey, TAG_LEN};
use super::hash::{hkdf, sha256, sha256_parts};
use super::siphash::LengthMask;

/// NTCP2.
pub const NTCP2: &[u8] = b"Noise_XKaesobfse+hs2+hs3_25519_ChaChaPoly_SHA256";
/// SSU2.
pub const SSU2: &[u8] = b"Noise_XKchaobfse+hs1+hs2+hs3_25519_ChaChaPoly_SHA256";
/// Sessions between destinations.
pub const IK_RATCHET: &[u8] = b"Noise_IKelg2+hs2_25519_ChaChaPoly_SHA256";
/// One message to a router: build records and garlic.
pub const N: &[u8] = b"Noise_N_25519_ChaChaPoly_SHA256";
/// NTCP2 with ML-KEM-768.
pub const NTCP2_MLKEM768: &[u8] = b"Noise_XKhfsaesobfse+hs2+hs3_25519+MLKEM768_ChaChaPoly_SHA256";
/// Sessions between destinations with ML-KEM-768.
pub const IK_RATCHET_MLKEM768: &[u8] = b"Noise_IKhfselg2_25519+MLKEM768_ChaChaPoly_SHA256";

/// Where a handshake stands.
#[derive(Clone)]
pub struct SymmetricState {
    h: [u8; 32],
    ck: Secret<32>,
    key: Option<Secret<32>>,
    n: u64,
}

impl SymmetricState {
    /// The state of protocol `name` with I2P's empty prologue mixed in.
    pub fn new(name: &[u8]) -> Self {
        Self::with_prologue(name, b"")
    }

    fn with_prologue(name: &[u8], prologue: &[u8]) -> Self {
        let mut h = [0; 32];
        match h.get_mut(..name.len()) {
            Some(start) => start.copy_from_slice(name),
            None => h = sha256(name),
        }
        Self { h: sha256_parts(&[&h, prologue]), ck: Secret::new(h), key: None, n: 0 }
    }

    #[cfg(test)]
    pub(crate) fn with_chaining_key(ck: [u8; 32]) -> Self {
        Self { ck: Secret::new(ck), ..Self::new(b"") }
    }

    /// Binds `data` into everything sealed from here on.
    pub fn mix_hash(&mut self, data: &[u8]) {
        self.h = sha256_parts(&[&self.h, data]);
    }

    /// Takes in a shared secret: new chaining key, new cipher key, counter 0.
    pub fn mix_key(&mut self, secret: &Secret<32>) {
        self.mix_key_bytes(secret.as_bytes());
    }

    /// [`Self::mix_key`] for what is not 32 bytes long.
    pub fn mix_key_bytes(&mut self, secret: &[u8]) {
        let (ck, key) = hkdf::<64>(self.ck.as_bytes(), secret, b"").halves();
        self.ck = ck;
        self.key = Some(key);
        self.n = 0;
    }

    /// Seals `buf`, appends the tag and mixes in the ciphertext.
    pub fn encrypt_and_hash(&mut self, buf: &mut Vec<u8>) {
        let tag = self.encrypt_and_hash_slice(buf);
        buf.extend_from_slice(&tag);
    }

    /// Seals `buf`, mixes in the ciphertext and returns the tag.
    pub fn encrypt_and_hash_slice(&mut self, buf: &mut [u8]) -> [u8; TAG_LEN] {
        let Some(key) = &self.key else {
            // No pattern of I2P seals before its first DH. Send nothing readable.
            crate::bug!("Noise message sealed before any key was mixed in");
            buf.fill(0);
            return [0; TAG_LEN];
        };
        let tag = ChaChaKey::new(key.as_bytes()).seal_slice(self.n, &self.h, buf);
        self.n += 1;
        self.h = sha256_parts(&[&self.h, buf, &tag]);
        tag
    }

    /// Opens `buf` (ciphertext and tag) in place and mixes in the ciphertext.
    /// The plaintext is its first bytes, as many as the number returned.
    ///
    /// # Errors
    /// [`AeadError`] if it does not open. The state is then as it was before,
    /// but `buf` is not.
    pub fn decrypt_and_hash(&mut self, buf: &mut [u8]) -> Result<usize, AeadError> {
        let Some(key) = &self.key else {
            crate::bug!("Noise message opened before any key was mixed in");
            return Err(AeadError);
        };
        let h = sha256_parts(&[&self.h, buf]);
        let len = ChaChaKey::new(key.as_bytes()).open_in_place(self.n, &self.h, buf)?;
        self.n += 1;
        self.h = h;
        Ok(len)
    }

    /// The running hash.
    pub fn h(&self) -> [u8; 32] {
        self.h
    }

    /// The chaining key.
    pub fn ck(&self) -> &Secret<32> {
        &self.ck
    }

    /// The data phase keys: initiator to responder, then responder to initiator.
    pub fn split(&self) -> (Secret<32>, Secret<32>) {
        hkdf::<64>(self.ck.as_bytes(), b"", b"").halves()
    }
}

impl std::fmt::Debug for SymmetricState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SymmetricState").field("n", &self.n).finish_non_exhaustive()
    }
}

/// What both directions of an NTCP2 session use after its handshake.
#[derive(Clone, Debug)]
pub struct DataPhase {
    /// Seals frames from Alice, who dialled, to Bob.
    pub key_ab: Secret<32>,
    /// Seals frames from Bob to Alice.
    pub key_ba: Secret<32>,
    /// Hides their lengths from Alice to Bob.
    pub mask_ab: LengthMask,
    /// Hides their lengths from Bob to Alice.
    pub mask_ba: LengthMask,
}

/// The NTCP2 data phase that follows from a finished handshake.
pub fn data_phase(state: &SymmetricState) -> DataPhase {
    let (key_ab, key_ba) = state.split();
    let (sip_ab, sip_ba) = sip_keys(&state.ck, &state.h);
    DataPhase {
        key_ab,
        key_ba,
        mask_ab: LengthMask::from_half(&sip_ab),
        mask_ba: LengthMask::from_half(&sip_ba),
    }
}

fn sip_keys(ck: &Secret<32>, h: &[u8; 32]) -> (Secret<32>, Secret<32>) {
    let ask: Secret<32> = hkdf(ck.as_bytes(), b"", b"ask");
    let mut input = [0; 32 + 7];
    input[..32].copy_from_slice(h);
    input[32..].copy_from_slice(b"siphash");
    let sip: Secret<32> = hkdf(ask.as_bytes(), &input, b"");
    hkdf::<64>(sip.as_bytes(), b"", b"").halves()
}

#[cfg(test)]
mod tests;
