//! Typed cryptography: PROTOCOL sections 2, 4, 7, 8 and 9.
//!
//! Everything that needs randomness takes it as an argument; nothing here
//! draws from the system. Secrets are wiped when dropped and never printed.
//!
//! ```text
//! hash, secret            SHA-2, HMAC, HKDF; the container of every secret
//! x25519, ed25519, sign   key agreement, signing, verifying any I2P signature
//! aead, chacha20, aes     frames and garlic; record layers; tunnel layers
//! mlkem768                the post-quantum half of hybrid handshakes
//! siphash, elligator2     NTCP2 length mask; keys that look random
//! noise, noise_n          handshakes; one message to a router
//! ssu2                    what an SSU2 handshake's chaining key gives
//! blinding                keys of encrypted lease sets
//! build_keys              what a tunnel build record's chaining key gives
//! one_time, ratchet       replies under a tag; sessions between destinations
//! ```

pub mod aead;
pub mod aes;
pub mod blinding;
pub mod build_keys;
pub mod chacha20;
pub mod ed25519;
pub mod elligator2;
pub mod hash;
pub mod mlkem768;
pub mod noise;
pub mod noise_n;
pub mod one_time;
pub mod ratchet;
pub mod rsa;
pub mod secret;
pub mod sign;
pub mod siphash;
pub mod ssu2;
pub mod x25519;

pub use aead::AeadError;
pub use secret::Secret;
