//! Host names that are hashes: 52 letters of lower-case RFC 4648 Base32
//! without padding, then `.b32.i2p` (`naming#base-32-names`).

use data_encoding::{BASE32_NOPAD, BASE32_NOPAD_NOCASE};

use crate::ids::DestinationHash;

/// What every such host name ends with.
pub const SUFFIX: &str = ".b32.i2p";

/// Lower-case Base32 without padding.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = BASE32_NOPAD.encode(bytes);
    text.make_ascii_lowercase();
    text
}

/// The bytes behind Base32 text of either case; none unless every character is right.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    BASE32_NOPAD_NOCASE.decode(text.as_bytes()).ok()
}

/// The host name of a destination.
pub fn host_name(hash: &DestinationHash) -> String {
    let mut name = encode(hash.as_bytes());
    name.push_str(SUFFIX);
    name
}

/// The destination that a plain (52-letter) host name stands for. Names of
/// encrypted LeaseSets are longer and are [`crate::b33::BlindedName`]s.
pub fn parse_host_name(name: &str) -> Option<DestinationHash> {
    decode(strip_suffix(name)?)?.try_into().ok().map(DestinationHash::new)
}

/// What stands before `.b32.i2p`.
pub(crate) fn strip_suffix(name: &str) -> Option<&str> {
    let split = name.len().checked_sub(SUFFIX.len())?;
    let (label, suffix) = name.split_at_checked(split)?;
    suffix.eq_ignore_ascii_case(SUFFIX).then_some(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// zzz.i2p, from Java I2P's ConvertToHashTest.
    const ZZZ: &str = "lhbd7ojcaiofbfku7ixh47qj537g572zmhdc4oilvugzxdpdghua.b32.i2p";

    #[test]
    fn known_host_name() {
        let hash = DestinationHash::from_base64("WcI~uSICHFCVVPoufn4J7v5u~1lhxi45C60Nm43jMeg=").unwrap();
        assert_eq!(host_name(&hash), ZZZ);
        assert_eq!(parse_host_name(ZZZ), Some(hash));
        assert_eq!(parse_host_name(&ZZZ.to_ascii_uppercase()), Some(hash));
    }

    #[test]
    fn other_names_are_refused() {
        for name in
            ["", "b32.i2p", ".b32.i2p", "zzz.i2p", "lhbd.b32.i2p", ZZZ.trim_start_matches('l'), "é.b32.i2p"]
        {
            assert_eq!(parse_host_name(name), None, "{name}");
        }
    }
}
