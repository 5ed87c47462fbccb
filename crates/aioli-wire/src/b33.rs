//! Host names of encrypted LeaseSets (`b32encrypted#design`): the key itself
//! instead of a hash, in 56 or more letters.
//!
//! ```text
//! flags 1 | key type 1 or 2 | blinded key type 1 or 2 | key       ── Base32 ──► label of .b32.i2p
//! the first three bytes are XORed with the low 24 bits of the CRC-32 of the rest
//! ```

use aioli_core::crypto::sign::SigType;
use flate2::Crc;

use crate::base32;

const TWO_BYTE_TYPES: u8 = 1;
const SECRET: u8 = 2;
const PER_CLIENT: u8 = 4;
const RESERVED: u8 = 0xf8;

/// What the host name of an encrypted LeaseSet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlindedName {
    /// The destination's public key, unblinded.
    pub key: [u8; 32],
    /// Its type: Ed25519 or RedDSA. The blinded key is always RedDSA.
    pub key_type: SigType,
    /// A lookup secret is needed besides.
    pub needs_secret: bool,
    /// Each client needs a key of its own.
    pub per_client: bool,
}

impl BlindedName {
    /// From a host name that ends with `.b32.i2p`.
    pub fn parse(name: &str) -> Option<Self> {
        let label = base32::strip_suffix(name)?;
        let mut bytes = base32::decode(label)?;
        mask(&mut bytes)?;
        let (&flags, rest) = bytes.split_first()?;
        if flags & RESERVED != 0 {
            return None;
        }
        let (types, key) = rest.split_at_checked(if flags & TWO_BYTE_TYPES != 0 { 4 } else { 2 })?;
        let (key_type, blinded_type) = match *types {
            [key, blinded] => (u16::from(key), u16::from(blinded)),
            [a, b, c, d] => (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])),
            _ => return None,
        };
        let key_type =
            SigType::from_code(key_type).filter(|t| matches!(t, SigType::Ed25519 | SigType::RedDsa))?;
        if SigType::from_code(blinded_type) != Some(SigType::RedDsa) {
            return None;
        }
        Some(Self {
            key: key.try_into().ok()?,
            key_type,
            needs_secret: flags & SECRET != 0,
            per_client: flags & PER_CLIENT != 0,
        })
    }

    /// The host name.
    pub fn host_name(&self) -> String {
        let flags = if self.needs_secret { SECRET } else { 0 } | if self.per_client { PER_CLIENT } else { 0 };
        // Both types fit one byte.
        let mut bytes = vec![flags, self.key_type.code() as u8, SigType::RedDsa.code() as u8];
        bytes.extend_from_slice(&self.key);
        mask(&mut bytes).expect("there are 35 bytes");
        let mut name = base32::encode(&bytes);
        name.push_str(base32::SUFFIX);
        name
    }
}

/// XORs the checksum of the rest into the first three bytes, or out of them.
fn mask(bytes: &mut [u8]) -> Option<()> {
    let (first, rest) = bytes.split_at_mut_checked(3)?;
    let mut crc = Crc::new();
    crc.update(rest);
    for (byte, sum) in first.iter_mut().zip(crc.sum().to_le_bytes()) {
        *byte ^= sum;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use aioli_core::crypto::Secret;
    use aioli_core::crypto::ed25519::SigningKey;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn name_that_i2pd_makes() {
        // For the Ed25519 seed 01*32.
        let key = SigningKey::from_seed(Secret::new([1; 32])).public();
        let expected =
            BlindedName { key, key_type: SigType::Ed25519, needs_secret: false, per_client: false };
        let name = "6bab3cui4poxicprsx6vfwznhs5f24wkm4e36hmucin7g5eiag2a6324.b32.i2p";
        assert_eq!(expected.host_name(), name);
        assert_eq!(BlindedName::parse(name), Some(expected));
        assert_eq!(base32::parse_host_name(name), None);
        let plain = "lhbd7ojcaiofbfku7ixh47qj537g572zmhdc4oilvugzxdpdghua.b32.i2p";
        for name in [plain, "6bab.b32.i2p", ".b32.i2p", "6bab3cui", &name.replace("6ba", "7ba")] {
            assert_eq!(BlindedName::parse(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(key: [u8; 32], red: bool, needs_secret: bool, per_client: bool) {
            let key_type = if red { SigType::RedDsa } else { SigType::Ed25519 };
            let name = BlindedName { key, key_type, needs_secret, per_client };
            prop_assert_eq!(BlindedName::parse(&name.host_name()), Some(name));
        }
    }
}
