//! The keys that SSU2 takes from a handshake's chaining key: for the headers of
//! its next packets, and for both directions of the data phase.
//!
//! ```text
//! SessionCreated     k_header_2 = HKDF(ck, "", "SessCreateHeader")    after DH es
//! SessionConfirmed   k_header_2 = HKDF(ck, "", "SessionConfirmed")    after DH ee
//! Data               k_data, k_header_2 = HKDF(k_ab or k_ba, "", "HKDFSSU2DataKeys")
//! ```

use super::Secret;
use super::hash::hkdf;
use super::noise::SymmetricState;

/// Keys of one direction of the data phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKeys {
    /// Seals payloads.
    pub data: Secret<32>,
    /// Hides packet numbers and types, bytes 8 to 15 of the header.
    pub header: Secret<32>,
}

/// What hides bytes 8 and up of SessionCreated, once SessionRequest's key is mixed in.
pub fn created_header_key(state: &SymmetricState) -> Secret<32> {
    hkdf(state.ck().as_bytes(), b"", b"SessCreateHeader")
}

/// What hides bytes 8 to 15 of SessionConfirmed, once SessionCreated's key is mixed in.
pub fn confirmed_header_key(state: &SymmetricState) -> Secret<32> {
    hkdf(state.ck().as_bytes(), b"", b"SessionConfirmed")
}

/// Both directions of the data phase that follows a finished handshake: Alice
/// to Bob, then Bob to Alice.
pub fn data_keys(state: &SymmetricState) -> (DataKeys, DataKeys) {
    let (ab, ba) = state.split();
    (direction(&ab), direction(&ba))
}

fn direction(key: &Secret<32>) -> DataKeys {
    let (data, header) = hkdf::<64>(key.as_bytes(), b"", b"HKDFSSU2DataKeys").halves();
    DataKeys { data, header }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL section 19, calculated from the formulas with another implementation.
    #[test]
    fn keys_follow_from_the_chaining_key() {
        let ck: [u8; 32] = std::array::from_fn(|i| i as u8);
        let state = SymmetricState::with_chaining_key(ck);
        let hex = |key: &Secret<32>| hex::encode(key.as_bytes());
        assert_eq!(
            hex(&created_header_key(&state)),
            "ed8cb976c5687e4ce1c491d4672828bb153a3aa438c8f3250603432e66188a82"
        );
        assert_eq!(
            hex(&confirmed_header_key(&state)),
            "c2ee78475a23207694621e951f16497e263c532746b0b464baa1c58db843a56b"
        );
        let (ab, ba) = data_keys(&state);
        assert_eq!(hex(&ab.data), "3e1013507ca792670848de323a5fa0aca7d3879e95cdab2f05826965490e4189");
        assert_eq!(hex(&ab.header), "1a7a498c71e01fd5ea965c349dbff42b8bf0ff2c1caa1ea5dd61f07df5dc2075");
        assert_eq!(hex(&ba.data), "8f64e3f0e16758dae77e65e77664f06871bc6d8b29a67dc3f8a8b0d0f356353c");
        assert_eq!(hex(&ba.header), "92e578c49b907e61c2ea5f3c2c60b93ede0fde0b7eb4b25638c1b141f79ab6fb");
    }
}
