//! What a short build record's chaining key gives: the keys of one hop
//! (PROTOCOL 7, CS=tunnel-creation-ecies "KDF for reply and layer keys").
//!
//! ```text
//! ck --SMTunnelReplyKey--> reply     each step: HKDF(ck, "", label, 64)
//!  | --SMTunnelLayerKey--> layer                = next ck | key
//!  | (any other hop: iv = this ck)
//!  | --TunnelLayerIVKey--> iv        endpoint of an outbound tunnel only
//!  | --RGarlicKeyAndTag--> key, and the tag = first 8 bytes of this ck
//! ```

use super::Secret;
use super::hash::hkdf;

/// The keys one hop of a tunnel shares with its creator.
#[derive(Clone, Debug)]
pub struct HopKeys {
    /// Seals the hop's reply and encrypts the other records.
    pub reply: Secret<32>,
    /// Encrypts tunnel data.
    pub layer: Secret<32>,
    /// Encrypts the IV of tunnel data.
    pub iv: Secret<32>,
    /// An outbound endpoint wraps the build reply in garlic with this.
    pub garlic: Option<(Secret<32>, [u8; 8])>,
}

/// The keys that follow from a record's chaining key, the record being for an
/// outbound endpoint or any other hop.
pub fn derive(ck: &Secret<32>, is_outbound_endpoint: bool) -> HopKeys {
    let (ck, reply) = step(ck, b"SMTunnelReplyKey");
    let (ck, layer) = step(&ck, b"SMTunnelLayerKey");
    if !is_outbound_endpoint {
        return HopKeys { reply, layer, iv: ck, garlic: None };
    }
    let (ck, iv) = step(&ck, b"TunnelLayerIVKey");
    let (ck, key) = step(&ck, b"RGarlicKeyAndTag");
    let [tag @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] = *ck.as_bytes();
    HopKeys { reply, layer, iv, garlic: Some((key, tag)) }
}

fn step(ck: &Secret<32>, label: &[u8]) -> (Secret<32>, Secret<32>) {
    hkdf::<64>(ck.as_bytes(), b"", label).halves()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Calculated independently (PROTOCOL 19, "Short build").
    #[test]
    fn the_chain_gives_the_known_keys() {
        let ck = Secret::new(std::array::from_fn(|i| i as u8));
        let hop = derive(&ck, false);
        let check = |key: &Secret<32>, want: &str| assert_eq!(hex::encode(key.as_bytes()), want);
        check(&hop.reply, "02c5ab6b425be6543d4ad2769a933007484a69a1d3aff93721f940a834cf731a");
        check(&hop.layer, "0b9c0c33c02a368344d12dfa05c215878c2450dcfd7064330ce15ca655164bad");
        check(&hop.iv, "5486af09b27f24ef47f553826210b7e8ae2de36c3b0b85894e830680a8421a67");
        assert!(hop.garlic.is_none());

        let end = derive(&ck, true);
        assert_eq!((&end.reply, &end.layer), (&hop.reply, &hop.layer));
        check(&end.iv, "5e66290b6198c6996f96e6bb52335509796544685cedb4b57e79c439f1820799");
        let (key, tag) = end.garlic.unwrap();
        check(&key, "c7f0cf338e457ff633b81592f34bad3915bd502caac27da7ce81336172c8c548");
        assert_eq!(hex::encode(tag), "a1d9901b58edc7ad");
    }
}
