//! The one codec. Integers are big-endian unless a method says otherwise.

use thiserror::Error;

/// A structure with a byte format.
pub trait Wire<'a>: Sized {
    /// The section that defines it, as `document#section`.
    const SPEC: &'static str;

    /// Reads one from the front of `r`.
    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError>;

    /// Appends it to `w`. Cannot fail: the types hold the limits.
    fn encode(&self, w: &mut Writer);

    /// Reads one that fills `bytes` exactly.
    fn from_bytes(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(Self::SPEC, bytes);
        let value = Self::decode(&mut r)?;
        r.finish()?;
        Ok(value)
    }

    /// Its bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.encode(&mut w);
        w.into_vec()
    }
}

/// The bytes are wrong: which structure, where, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{spec}: {kind} at byte {at}")]
pub struct DecodeError {
    /// The section of the structure that was read.
    pub spec: &'static str,
    /// Offset in the input.
    pub at: usize,
    /// What is wrong.
    pub kind: DecodeErrorKind,
}

/// What is wrong with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeErrorKind {
    /// The input ends too early.
    #[error("{0} bytes short")]
    Short(usize),
    /// Bytes are left over.
    #[error("{0} bytes too many")]
    Trailing(usize),
    /// A field has a value that its section does not allow.
    #[error("bad {0}")]
    Invalid(&'static str),
    /// A field exceeds its named limit.
    #[error("{0} over its limit")]
    Limit(&'static str),
}

/// Reads a byte slice from front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    spec: &'static str,
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`, for the structure that `spec` names.
    pub const fn new(spec: &'static str, bytes: &'a [u8]) -> Self {
        Self { spec, all: bytes, at: 0 }
    }

    /// Bytes not read yet.
    pub const fn remaining(&self) -> usize {
        self.all.len() - self.at
    }

    /// Whether all has been read.
    pub const fn is_empty(&self) -> bool {
        self.remaining() == 0
    }

    /// Offset of the next byte; a mark for [`Reader::since`].
    pub const fn at(&self) -> usize {
        self.at
    }

    /// The exact bytes from `mark` to here: what a signature covers.
    pub fn since(&self, mark: usize) -> &'a [u8] {
        self.all.get(mark..self.at).unwrap_or(&[])
    }

    /// An error of this kind, here.
    pub const fn error(&self, kind: DecodeErrorKind) -> DecodeError {
        DecodeError { spec: self.spec, at: self.at, kind }
    }

    /// "Bad `field`", here.
    pub const fn invalid(&self, field: &'static str) -> DecodeError {
        self.error(DecodeErrorKind::Invalid(field))
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let short = || self.error(DecodeErrorKind::Short(n - self.remaining().min(n)));
        let end = self.at.checked_add(n).ok_or_else(short)?;
        let out = self.all.get(self.at..end).ok_or_else(short)?;
        self.at = end;
        Ok(out)
    }

    /// All bytes that are left.
    pub fn rest(&mut self) -> &'a [u8] {
        let out = self.all.get(self.at..).unwrap_or(&[]);
        self.at = self.all.len();
        out
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    /// The next byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[b]| b)
    }

    /// A 2-byte integer.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    /// A 4-byte integer.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    /// An 8-byte integer.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_be_bytes)
    }

    /// The specification's `Date`, 8 bytes of milliseconds.
    pub fn date(&mut self) -> Result<aioli_core::Date, DecodeError> {
        self.u64().map(aioli_core::Date::from_millis)
    }

    /// A 4-byte date of seconds.
    pub fn date_secs(&mut self) -> Result<aioli_core::Date, DecodeError> {
        self.u32().map(|s| aioli_core::Date::from_secs(u64::from(s)))
    }

    /// A reader over the next `n` bytes, for a nested structure.
    pub fn sub(&mut self, spec: &'static str, n: usize) -> Result<Self, DecodeError> {
        self.take(n).map(|bytes| Self::new(spec, bytes))
    }

    /// Another structure from here on.
    pub fn read<T: Wire<'a>>(&mut self) -> Result<T, DecodeError> {
        let outer = std::mem::replace(&mut self.spec, T::SPEC);
        let value = T::decode(self);
        self.spec = outer;
        value
    }

    /// Fails if bytes are left.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(self.error(DecodeErrorKind::Trailing(self.remaining()))) }
    }
}

/// Appends to a byte vector.
#[derive(Clone, Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Empty.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Empty, with room for `n` bytes.
    pub fn with_capacity(n: usize) -> Self {
        Self(Vec::with_capacity(n))
    }

    /// Appends to what `vec` holds; take it back with [`Writer::into_vec`].
    pub const fn append_to(vec: Vec<u8>) -> Self {
        Self(vec)
    }

    /// Appends bytes.
    pub fn bytes(&mut self, b: &[u8]) {
        self.0.extend_from_slice(b);
    }

    /// Appends a byte.
    pub fn u8(&mut self, n: u8) {
        self.0.push(n);
    }

    /// Appends a 2-byte integer.
    pub fn u16(&mut self, n: u16) {
        self.bytes(&n.to_be_bytes());
    }

    /// Appends a 4-byte integer.
    pub fn u32(&mut self, n: u32) {
        self.bytes(&n.to_be_bytes());
    }

    /// Appends an 8-byte integer.
    pub fn u64(&mut self, n: u64) {
        self.bytes(&n.to_be_bytes());
    }

    /// Appends a `Date`, 8 bytes of milliseconds.
    pub fn date(&mut self, d: aioli_core::Date) {
        self.u64(d.as_millis());
    }

    /// Appends another structure.
    pub fn write<'a, T: Wire<'a>>(&mut self, value: &T) {
        value.encode(self);
    }

    /// Overwrites a 2-byte integer that was appended at `at` as a placeholder.
    pub fn patch_u16(&mut self, at: usize, n: u16) {
        if let Some(slot) = self.0.get_mut(at..at + 2) {
            slot.copy_from_slice(&n.to_be_bytes());
        }
    }

    /// Length so far.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was appended.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes so far.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_say_where_and_how_much() {
        let mut r = Reader::new("i2np#header", &[1, 2, 3]);
        assert_eq!(r.u8(), Ok(1));
        let e = r.u32().unwrap_err();
        assert_eq!(e.to_string(), "i2np#header: 2 bytes short at byte 1");
        assert_eq!(r.finish().unwrap_err().kind, DecodeErrorKind::Trailing(2));
        assert_eq!(r.take(usize::MAX).unwrap_err().at, 1);
    }
}
