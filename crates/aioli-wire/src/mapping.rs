//! The Mapping of `common-structures#mapping`: `key=value;` pairs behind a
//! 2-byte size.
//!
//! A decoded mapping keeps the order it came in and writes that order again; a
//! mapping that we build stays sorted, because a signed mapping must be.

use std::cmp::Ordering;
use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use thiserror::Error;

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};

/// Pairs of text with distinct keys.
///
/// Kept as they are sent: thousands of RouterInfos with a dozen pairs each are
/// in memory, and two allocations a pair would be most of their size.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Mapping {
    /// `key=value;` pairs as encoded, all of them well-formed.
    bytes: Bytes,
}

/// The bytes of a mapping: its own, or part of those of what it came in.
#[derive(Clone)]
enum Bytes {
    Own(Vec<u8>),
    Part { whole: Arc<[u8]>, at: u16, len: u16 },
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Part { whole, at, len } => {
                let at = usize::from(*at);
                whole.get(at..at + usize::from(*len)).unwrap_or_default()
            }
        }
    }
}

impl Default for Bytes {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl PartialEq for Bytes {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Bytes {}

/// A key or value has more than 255 bytes, or all together more than 65,535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("does not fit into a mapping")]
pub struct MappingFull;

impl Mapping {
    /// No pairs.
    pub const fn new() -> Self {
        Self { bytes: Bytes::Own(Vec::new()) }
    }

    /// These pairs, sorted. A later pair replaces an earlier one with the same key.
    pub fn from_pairs<K: AsRef<str>, V: AsRef<str>>(
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, MappingFull> {
        let mut out = Self::new();
        for (key, value) in pairs {
            out.set(key.as_ref(), value.as_ref())?;
        }
        Ok(out)
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.pairs().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    /// Sets `key` to `value`, at its sorted place.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), MappingFull> {
        let old_size = self.get(key).map_or(0, |old| pair_size(key, old));
        let size = self.bytes.len() - old_size + pair_size(key, value);
        if key.len() > 255 || value.len() > 255 || size > usize::from(u16::MAX) {
            return Err(MappingFull);
        }
        let mut pairs: Vec<(&str, &str)> = self.pairs().filter(|(k, _)| *k != key).collect();
        let place = pairs.partition_point(|(k, _)| java_order(k, key) == Ordering::Less);
        pairs.insert(place, (key, value));
        self.bytes = Bytes::Own(encoded(&pairs, size));
        Ok(())
    }

    /// Removes `key`.
    pub fn remove(&mut self, key: &str) {
        let pairs: Vec<(&str, &str)> = self.pairs().filter(|(k, _)| *k != key).collect();
        self.bytes = Bytes::Own(encoded(&pairs, self.bytes.len()));
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.pairs().collect::<Vec<_>>().into_iter()
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Whether the keys ascend, as those of a signed mapping must.
    pub fn is_sorted(&self) -> bool {
        self.pairs().is_sorted_by(|a, b| java_order(a.0, b.0) == Ordering::Less)
    }

    /// Keeps the bytes of what it came in, in which it ends at `end`, instead of a copy of its own.
    pub(crate) fn share(&mut self, whole: &Arc<[u8]>, end: usize) {
        let len = self.bytes.len();
        let at = end.saturating_sub(len);
        if whole.get(at..end) == Some(&*self.bytes)
            && let (Ok(at), Ok(len)) = (u16::try_from(at), u16::try_from(len))
        {
            self.bytes = Bytes::Part { whole: Arc::clone(whole), at, len };
        }
    }

    fn pairs(&self) -> Pairs<'_> {
        Pairs(&self.bytes)
    }
}

impl fmt::Debug for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.pairs()).finish()
    }
}

/// The pairs in the bytes of a [`Mapping`].
struct Pairs<'a>(&'a [u8]);

impl<'a> Pairs<'a> {
    /// A string and the separator behind it.
    fn string(&mut self) -> Option<&'a str> {
        let (len, rest) = self.0.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(*len))?;
        self.0 = rest.get(1..)?;
        std::str::from_utf8(text).ok()
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        Some((self.string()?, self.string()?))
    }
}

fn encoded(pairs: &[(&str, &str)], size: usize) -> Vec<u8> {
    let mut w = Writer::with_capacity(size);
    for (key, value) in pairs {
        write_string(&mut w, key);
        w.u8(b'=');
        write_string(&mut w, value);
        w.u8(b';');
    }
    w.as_slice().to_vec()
}

impl<'a> Wire<'a> for Mapping {
    const SPEC: &'static str = "common-structures#mapping";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let size = usize::from(r.u16()?);
        let mut r = r.sub(Self::SPEC, size)?;
        let start = r.at();
        let mut keys = Vec::new();
        while !r.is_empty() {
            keys.push(string(&mut r)?);
            expect(&mut r, b'=')?;
            string(&mut r)?;
            expect(&mut r, b';')?;
        }
        keys.sort_unstable();
        if keys.windows(2).any(|w| w.first() == w.last()) {
            return Err(r.invalid("repeated key"));
        }
        Ok(Self { bytes: Bytes::Own(r.since(start).to_vec()) })
    }

    fn encode(&self, w: &mut Writer) {
        // `set` and `decode` keep the size within 16 bits.
        w.u16(u16::try_from(self.bytes.len()).unwrap_or(u16::MAX));
        w.bytes(&self.bytes);
    }
}

/// Reads a String: one length byte and UTF-8.
pub(crate) fn string<'a>(r: &mut Reader<'a>) -> Result<&'a str, DecodeError> {
    let len = usize::from(r.u8()?);
    std::str::from_utf8(r.take(len)?).map_err(|_| r.error(DecodeErrorKind::Invalid("UTF-8")))
}

/// Writes a String of at most 255 bytes; the caller's type holds the limit.
pub(crate) fn write_string(w: &mut Writer, text: &str) {
    let bytes = text.as_bytes();
    let bytes = bytes.get(..255).unwrap_or(bytes);
    w.u8(bytes.len() as u8);
    w.bytes(bytes);
}

fn expect(r: &mut Reader<'_>, wanted: u8) -> Result<(), DecodeError> {
    if r.u8()? == wanted { Ok(()) } else { Err(r.invalid("mapping separator")) }
}

fn pair_size(key: &str, value: &str) -> usize {
    key.len() + value.len() + 4
}

/// Java's `String.compareTo`, which signers sort by: UTF-16 code units.
fn java_order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bytes_of_a_small_mapping() {
        let m = Mapping::from_pairs([("b", "2"), ("a", "")]).unwrap();
        assert_eq!(m.to_bytes(), b"\x00\x0b\x01a=\x00;\x01b=\x012;");
        assert_eq!(m.get("b"), Some("2"));
        assert_eq!(m.get("c"), None);
        assert_eq!(Mapping::new().to_bytes(), [0, 0]);
    }

    #[test]
    fn limits_and_replacement() {
        let mut m = Mapping::new();
        assert_eq!(m.set(&"k".repeat(256), ""), Err(MappingFull));
        for i in 0..128 {
            m.set(&format!("{i:03}{}", "k".repeat(252)), &"v".repeat(252)).unwrap();
        }
        assert_eq!(m.set("x", &"v".repeat(255)), Err(MappingFull));
        assert_eq!(m.to_bytes().len(), 2 + 128 * 511);
        m.set(&format!("000{}", "k".repeat(252)), "").unwrap();
        m.set("x", "y").unwrap();
        m.remove("x");
        assert_eq!(m.to_bytes().len(), 2 + 128 * 511 - 252);
    }

    #[test]
    fn keys_sort_by_utf16_units() {
        let m = Mapping::from_pairs([("\u{ff5e}", ""), ("\u{1f600}", ""), ("Z", ""), ("a", "")]).unwrap();
        let keys: Vec<_> = m.iter().map(|(k, _)| k).collect();
        assert_eq!(keys, ["Z", "a", "\u{1f600}", "\u{ff5e}"]);
        assert!(m.is_sorted());
    }

    #[test]
    fn malformed() {
        for bytes in [
            &b"\x00"[..],
            b"\x00\x01",
            b"\x00\x05\x01a=\x00.",
            b"\x00\x05\x01a:\x00;",
            b"\x00\x05\x01\xff=\x00;",
            b"\x00\x0a\x01a=\x00;\x01a=\x00;",
        ] {
            assert!(Mapping::from_bytes(bytes).is_err(), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn round_trip(pairs in prop::collection::vec((".{0,20}", ".{0,20}"), 0..20)) {
            let m = Mapping::from_pairs(pairs).unwrap();
            prop_assert!(m.is_sorted());
            prop_assert_eq!(Mapping::from_bytes(&m.to_bytes()).unwrap(), m);
        }

        #[test]
        fn decoded_order_is_kept(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(m) = Mapping::from_bytes(&bytes) {
                prop_assert_eq!(m.to_bytes(), bytes);
            }
        }
    }
}
