//! Messages under a key and tag agreed on beforehand, used once: replies to
//! lookups and to tunnel builds (PROTOCOL 9).
//!
//! ```text
//! tag 8 | AEAD(key, n = 0, ad = tag)
//! ```

use super::aead::{AeadError, ChaChaKey, TAG_LEN};

/// Seals `plain` under `key`, findable by `tag`.
pub fn seal(key: &[u8; 32], tag: [u8; 8], plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(tag.len() + plain.len() + TAG_LEN);
    out.extend_from_slice(&tag);
    out.extend_from_slice(plain);
    let mac = ChaChaKey::new(key).seal_slice(0, &tag, &mut out[tag.len()..]);
    out.extend_from_slice(&mac);
    out
}

/// Opens `message`, tag included, under the key its tag was found to name.
///
/// # Errors
/// [`AeadError`] if it does not open.
pub fn open(key: &[u8; 32], message: &[u8]) -> Result<Vec<u8>, AeadError> {
    let Some((tag, sealed)) = message.split_first_chunk::<8>() else { return Err(AeadError) };
    let mut out = sealed.to_vec();
    let len = ChaChaKey::new(key).open_in_place(0, tag, &mut out)?;
    out.truncate(len);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_under_its_own_key_and_tag_only() {
        let sealed = seal(&[1; 32], [2; 8], b"reply");
        assert_eq!(sealed.len(), 8 + 5 + TAG_LEN);
        assert_eq!(open(&[1; 32], &sealed).unwrap(), b"reply");
        assert_eq!(open(&[3; 32], &sealed), Err(AeadError));
        let mut other_tag = sealed.clone();
        other_tag[0] ^= 1;
        assert_eq!(open(&[1; 32], &other_tag), Err(AeadError));
        for len in 0..sealed.len() {
            assert_eq!(open(&[1; 32], &sealed[..len]), Err(AeadError));
        }
    }
}
