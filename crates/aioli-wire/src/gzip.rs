//! gzip with a bounded inflater and one fixed header.
//!
//! RouterInfos in DatabaseStore and client payloads travel as gzip (RFC 1952).
//! Everybody sends the same ten header bytes (`i2np#databasestore`), so that
//! the implementation that made a message cannot be told from it.

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use crate::codec::{DecodeError, DecodeErrorKind, Reader};

const SPEC: &str = "i2np#databasestore";

/// FLG 0, MTIME 0, XFL 2, OS 255.
pub const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff];

const FHCRC: u8 = 2;
const FEXTRA: u8 = 4;
const FNAME: u8 = 8;
const FCOMMENT: u8 = 16;
const RESERVED: u8 = 0xe0;

/// Compresses behind the usual header.
pub fn compress(data: &[u8]) -> Vec<u8> {
    compress_with_header(HEADER, data)
}

/// Compresses behind this header, which must have FLG 0; client payloads carry
/// their ports in it.
pub fn compress_with_header(header: [u8; 10], data: &[u8]) -> Vec<u8> {
    let mut out = header.to_vec();
    let mut deflate = Compress::new(Compression::new(9), false);
    loop {
        out.reserve(data.len() / 2 + 64);
        let rest = data.get(consumed(deflate.total_in())..).unwrap_or(&[]);
        match deflate.compress_vec(rest, &mut out, FlushCompress::Finish) {
            Ok(Status::StreamEnd) => break,
            Ok(Status::Ok | Status::BufError) => {}
            Err(_) => unreachable!("deflate fails only when it is called in the wrong order"),
        }
    }
    let mut crc = Crc::new();
    crc.update(data);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out
}

/// The content of one gzip member that fills `bytes`. Refuses to produce more
/// than `cap` bytes, whatever the trailer says.
pub fn inflate(bytes: &[u8], cap: usize) -> Result<Vec<u8>, DecodeError> {
    let mut r = Reader::new(SPEC, bytes);
    skip_header(&mut r)?;
    let body = r.at();
    let mut inflate = Decompress::new(false);
    let mut out = Vec::with_capacity(cap.min(bytes.len().saturating_mul(4)).min(64 * 1024));
    loop {
        let input = bytes.get(body + consumed(inflate.total_in())..).unwrap_or(&[]);
        if out.len() == out.capacity() {
            out.reserve(out.len().max(64).min((cap + 1).saturating_sub(out.len()).max(1)));
        }
        let before = (inflate.total_in(), inflate.total_out());
        let status = inflate.decompress_vec(input, &mut out, FlushDecompress::None);
        if out.len() > cap {
            return Err(r.error(DecodeErrorKind::Limit("inflated size")));
        }
        match status {
            Ok(Status::StreamEnd) => break,
            Ok(Status::Ok | Status::BufError) => {
                let stuck = before == (inflate.total_in(), inflate.total_out());
                if stuck && out.len() < out.capacity() {
                    return Err(r.invalid("deflate stream"));
                }
            }
            Err(_) => return Err(r.invalid("deflate stream")),
        }
    }
    r.take(consumed(inflate.total_in()))?;
    let mut crc = Crc::new();
    crc.update(&out);
    if r.array()? != crc.sum().to_le_bytes() {
        return Err(r.invalid("gzip checksum"));
    }
    if r.array()? != (out.len() as u32).to_le_bytes() {
        return Err(r.invalid("gzip length"));
    }
    r.finish()?;
    Ok(out)
}

fn consumed(total: u64) -> usize {
    // Never more than the length of a slice that was passed in.
    usize::try_from(total).unwrap_or(usize::MAX)
}

fn skip_header(r: &mut Reader<'_>) -> Result<(), DecodeError> {
    let [magic1, magic2, method, flags, ..] = r.array::<10>()?;
    if [magic1, magic2, method] != [0x1f, 0x8b, 8] || flags & RESERVED != 0 {
        return Err(r.invalid("gzip header"));
    }
    if flags & FEXTRA != 0 {
        let [low, high] = r.array()?;
        r.take(usize::from(u16::from_le_bytes([low, high])))?;
    }
    for flag in [FNAME, FCOMMENT] {
        while flags & flag != 0 && r.u8()? != 0 {}
    }
    if flags & FHCRC != 0 {
        r.take(2)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn header_is_the_common_one() {
        assert!(compress(b"x").starts_with(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 0xff]));
        assert_eq!(inflate(&compress(b""), 0).unwrap(), b"");
    }

    #[test]
    fn a_bomb_stops_at_the_cap() {
        let bomb = compress(&vec![0; 10 << 20]);
        assert!(bomb.len() < 20_000);
        assert_eq!(inflate(&bomb, 4096).unwrap_err().kind, DecodeErrorKind::Limit("inflated size"));
        let exact = compress(&[7; 4096]);
        assert_eq!(inflate(&exact, 4096).unwrap().len(), 4096);
        assert!(inflate(&exact, 4095).is_err());
    }

    #[test]
    fn optional_header_fields_are_skipped() {
        let plain = compress(b"abc");
        let mut named = plain[..10].to_vec();
        named[3] = FEXTRA | FNAME | FCOMMENT | FHCRC;
        named.extend_from_slice(&[2, 0, 9, 9]);
        named.extend_from_slice(b"name\0note\0");
        named.extend_from_slice(&[1, 1]);
        named.extend_from_slice(&plain[10..]);
        assert_eq!(inflate(&named, 10).unwrap(), b"abc");
    }

    proptest! {
        #[test]
        fn round_trip(data in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert_eq!(inflate(&compress(&data), data.len()).unwrap(), data);
        }

        #[test]
        fn mutations_never_panic_or_pass(data in prop::collection::vec(any::<u8>(), 1..300), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut bytes = compress(&data);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(out) = inflate(&bytes, 1 << 16) {
                prop_assert_eq!(out, data); // header fields without meaning
            }
        }

        #[test]
        fn random_bytes_never_panic(mut data in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = inflate(&data, 4096);
            data.splice(0..0, HEADER);
            let _ = inflate(&data, 4096);
        }
    }
}
