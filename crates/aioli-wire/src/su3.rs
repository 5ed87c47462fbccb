//! SU3: signed files for reseeding, updates and the like (`updates#su3-file-specification`).
//!
//! ```text
//! "I2Psu3" | 0 | format 0 | signature type 2 | signature length 2 | 0 | version length |
//! 0 | signer length | content length 8 | 0 | file type | 0 | content type | 12 zeros |
//! version, padded with zeros | signer | content | signature over all before
//! ```

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Writer};

const SPEC: &str = "updates#su3-file-specification";
const MAGIC: &[u8; 6] = b"I2Psu3";
/// The version field is this long at least.
const MIN_VERSION: usize = 16;
/// The signature type of reseed files: RSA 4096 with SHA-512.
pub const RSA_SHA512_4096: u16 = 6;
/// The file type of a zip archive.
pub const FILE_ZIP: u8 = 0;
/// The content type of reseed data.
pub const CONTENT_RESEED: u8 = 3;

/// A signed file, taken apart and not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Su3<'a> {
    /// How it is signed; [`RSA_SHA512_4096`] is usual.
    pub signature_type: u16,
    /// What the content is packed as.
    pub file_type: u8,
    /// What the content is.
    pub content_type: u8,
    /// ASCII; of reseed data, seconds since 1970.
    pub version: &'a str,
    /// Who signed it, as an e-mail address.
    pub signer: &'a str,
    /// The content.
    pub content: &'a [u8],
    /// What the signature covers: everything before it.
    pub signed: &'a [u8],
    /// The signature.
    pub signature: &'a [u8],
}

impl<'a> Su3<'a> {
    /// Takes a file apart.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(SPEC, bytes);
        if r.array::<6>()? != *MAGIC {
            return Err(r.invalid("magic"));
        }
        r.u8()?;
        if r.u8()? != 0 {
            return Err(r.invalid("format version"));
        }
        let signature_type = r.u16()?;
        let signature_length = usize::from(r.u16()?);
        r.u8()?;
        let version_length = usize::from(r.u8()?);
        if version_length < MIN_VERSION {
            return Err(r.invalid("version length"));
        }
        r.u8()?;
        let signer_length = usize::from(r.u8()?);
        let content_length = usize::try_from(r.u64()?).map_err(|_| r.invalid("content length"))?;
        r.u8()?;
        let file_type = r.u8()?;
        r.u8()?;
        let content_type = r.u8()?;
        r.take(12)?;
        let version = text(&mut r, version_length, "version")?.trim_end_matches('\0');
        let signer = text(&mut r, signer_length, "signer")?;
        let content = r.take(content_length)?;
        let signed = r.since(0);
        let signature = r.take(signature_length)?;
        r.finish()?;
        Ok(Self { signature_type, file_type, content_type, version, signer, content, signed, signature })
    }

    /// The date that the version of reseed data tells, in seconds since 1970.
    pub fn date(&self) -> Option<u64> {
        self.version.parse().ok()
    }
}

fn text<'a>(r: &mut Reader<'a>, length: usize, name: &'static str) -> Result<&'a str, DecodeError> {
    let bytes = r.take(length)?;
    match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text),
        Ok(_) | Err(_) => Err(r.error(DecodeErrorKind::Invalid(name))),
    }
}

/// All of a file but its signature of `signature_length` bytes.
pub fn encode_unsigned(signature_length: u16, version: &str, signer: &str, content: &[u8]) -> Vec<u8> {
    let version_length = version.len().max(MIN_VERSION);
    let mut w = Writer::new();
    w.bytes(MAGIC);
    w.u16(0);
    w.u16(RSA_SHA512_4096);
    w.u16(signature_length);
    w.u16(version_length as u16);
    w.u16(signer.len() as u16);
    w.u64(content.len() as u64);
    w.u16(u16::from(FILE_ZIP));
    w.u16(u16::from(CONTENT_RESEED));
    w.bytes(&[0; 12]);
    w.bytes(version.as_bytes());
    w.bytes(&vec![0; version_length - version.len()]);
    w.bytes(signer.as_bytes());
    w.bytes(content);
    w.into_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file() -> Vec<u8> {
        let mut bytes = encode_unsigned(4, "1700000000", "test@mail.i2p", b"content");
        bytes.extend_from_slice(b"sign");
        bytes
    }

    #[test]
    fn a_file_comes_apart_as_it_was_put_together() {
        let bytes = file();
        let su3 = Su3::decode(&bytes).unwrap();
        assert_eq!((su3.signature_type, su3.file_type, su3.content_type), (6, 0, 3));
        assert_eq!((su3.version, su3.signer, su3.content), ("1700000000", "test@mail.i2p", &b"content"[..]));
        assert_eq!((su3.signature, su3.date()), (&b"sign"[..], Some(1_700_000_000)));
        assert_eq!(su3.signed.len(), bytes.len() - 4);
    }

    #[test]
    fn any_cut_and_any_rest_is_refused() {
        let bytes = file();
        for end in 0..bytes.len() {
            assert!(Su3::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert!(Su3::decode(&[&bytes[..], b"!"].concat()).is_err());
    }

    proptest! {
        #[test]
        fn no_input_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), real in any::<bool>()) {
            if real {
                bytes.splice(..bytes.len().min(6), *MAGIC);
            }
            let _ = Su3::decode(&bytes);
        }
    }
}
