//! I2P's Base64: RFC 4648 with `-` and `~` in place of `+` and `/`, padded with `=`.
//!
//! `common-structures#string` and every text interface (SAM, hosts.txt,
//! RouterAddress options) use this alphabet.

use std::sync::LazyLock;

use data_encoding::{Encoding, Specification};

fn alphabet(trailing_bits: bool, padding: Option<char>) -> Encoding {
    let mut spec = Specification::new();
    spec.symbols.push_str("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-~");
    spec.padding = padding;
    spec.check_trailing_bits = trailing_bits;
    spec.encoding().expect("64 distinct ASCII symbols and a padding that is none of them")
}

static STRICT: LazyLock<Encoding> = LazyLock::new(|| alphabet(true, Some('=')));
static UNPADDED: LazyLock<Encoding> = LazyLock::new(|| alphabet(true, None));

/// The text for these bytes, padded.
pub fn encode(bytes: &[u8]) -> String {
    STRICT.encode(bytes)
}

/// The bytes behind this text; none unless every character is right.
/// Padding may be left out, as some clients do.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=');
    if bare.len() == text.len() {
        UNPADDED.decode(bare.as_bytes()).ok()
    } else {
        STRICT.decode(text.as_bytes()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_odd_letters_and_padding() {
        assert_eq!(encode(&[0xff, 0xef, 0xbe]), "~---");
        assert_eq!(encode(&[0xfb, 0xff]), "-~8=");
        for text in ["-~8=", "-~8"] {
            assert_eq!(decode(text).as_deref(), Some(&[0xfb, 0xff][..]));
        }
        for text in ["+/8=", "-~9=", "-~8==", "-~8=a", "a", "-~ 8"] {
            assert_eq!(decode(text), None, "{text}");
        }
        assert_eq!(decode("").as_deref(), Some(&[][..]));
    }
}
