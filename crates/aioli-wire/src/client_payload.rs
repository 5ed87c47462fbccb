//! What a Data message carries for a client: a gzip member whose header holds
//! ports and protocol (`i2cp#payload-format`).
//!
//! ```text
//! 1f 8b 08 | flags 0 | source port 2 | destination port 2 | 2 | protocol 1
//! | deflate blocks | CRC-32, little-endian 4 | length, little-endian 4
//! ```
//!
//! Payloads here are compressed or encrypted already more often than not, so
//! the encoder writes stored blocks: the cost is one copy and one CRC. The
//! decoder copies stored blocks out directly and inflates everything else.

use flate2::Crc;

use crate::{DecodeError, DecodeErrorKind, gzip};

/// The largest payload that is sent or accepted.
pub const MAX_PAYLOAD: usize = 64 * 1024;
/// Bytes that the encoding adds to a payload that fits one stored block.
pub const OVERHEAD: usize = HEADER + 5 + TRAILER;

const SPEC: &str = "i2cp#payload-format";
const HEADER: usize = 10;
const TRAILER: usize = 8;
const STORED_MAX: usize = 65_535;

/// Protocol numbers.
pub mod protocol {
    /// Streaming.
    pub const STREAMING: u8 = 6;
    /// Repliable datagrams.
    pub const DATAGRAM: u8 = 17;
    /// Raw datagrams.
    pub const RAW: u8 = 18;
    /// Repliable datagrams that name their target.
    pub const DATAGRAM2: u8 = 19;
    /// Datagrams with a hash and no signature.
    pub const DATAGRAM3: u8 = 20;
}

/// Ports and protocol of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ports {
    /// The sender's port; 0 for none.
    pub source: u16,
    /// The receiver's port; 0 for none.
    pub destination: u16,
}

impl Ports {
    /// The ports of an answer.
    #[must_use]
    pub const fn reversed(self) -> Self {
        Self { source: self.destination, destination: self.source }
    }
}

/// A decoded payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPayload {
    /// Its ports.
    pub ports: Ports,
    /// Its protocol; see [`protocol`].
    pub protocol: u8,
    /// The bytes.
    pub data: Vec<u8>,
}

/// Appends `data` as a client payload to `out`. At most [`MAX_PAYLOAD`] bytes
/// make sense: receivers refuse more.
pub fn encode(ports: Ports, protocol: u8, data: &[u8], out: &mut Vec<u8>) {
    out.reserve(data.len() + OVERHEAD + 5 * (data.len() / STORED_MAX));
    let [s0, s1] = ports.source.to_be_bytes();
    let [d0, d1] = ports.destination.to_be_bytes();
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, s0, s1, d0, d1, 2, protocol]);
    if data.is_empty() {
        stored_block(true, &[], out);
    }
    let mut left = data;
    while !left.is_empty() {
        let (block, rest) = left.split_at(left.len().min(STORED_MAX));
        stored_block(rest.is_empty(), block, out);
        left = rest;
    }
    out.extend_from_slice(&trailer_of(data));
}

/// CRC-32 and length of `data`.
fn trailer_of(data: &[u8]) -> [u8; TRAILER] {
    let mut crc = Crc::new();
    crc.update(data);
    let mut out = [0; TRAILER];
    let (sum, len) = out.split_at_mut(4);
    sum.copy_from_slice(&crc.sum().to_le_bytes());
    len.copy_from_slice(&crc.amount().to_le_bytes());
    out
}

fn stored_block(last: bool, block: &[u8], out: &mut Vec<u8>) {
    let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
    out.push(u8::from(last));
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&(!len).to_le_bytes());
    out.extend_from_slice(block);
}

/// Reads a client payload.
pub fn decode(bytes: &[u8]) -> Result<ClientPayload, DecodeError> {
    let short = DecodeErrorKind::Short((HEADER + TRAILER).saturating_sub(bytes.len()));
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else { return Err(error(0, short)) };
    let Some((body, trailer)) = rest.split_last_chunk::<TRAILER>() else { return Err(error(HEADER, short)) };
    let [0x1f, 0x8b, 8, flags, s0, s1, d0, d1, _, protocol] = *header else {
        return Err(error(0, DecodeErrorKind::Invalid("gzip magic")));
    };
    if flags != 0 {
        return Err(error(3, DecodeErrorKind::Invalid("gzip flags")));
    }
    let data = match stored(body) {
        Some(data) if trailer_of(data) != *trailer => {
            return Err(error(bytes.len() - TRAILER, DecodeErrorKind::Invalid("checksum")));
        }
        Some(data) => data.to_vec(),
        None => gzip::inflate(bytes, MAX_PAYLOAD)?,
    };
    let ports = Ports { source: u16::from_be_bytes([s0, s1]), destination: u16::from_be_bytes([d0, d1]) };
    Ok(ClientPayload { ports, protocol, data })
}

/// The content of a body that is a single stored block.
fn stored(body: &[u8]) -> Option<&[u8]> {
    let ([1, l0, l1, n0, n1], data) = body.split_first_chunk::<5>()? else { return None };
    let len = u16::from_le_bytes([*l0, *l1]);
    (len == !u16::from_le_bytes([*n0, *n1]) && usize::from(len) == data.len()).then_some(data)
}

const fn error(at: usize, kind: DecodeErrorKind) -> DecodeError {
    DecodeError { spec: SPEC, at, kind }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use proptest::prelude::*;

    use super::*;

    fn round_trip(data: &[u8]) {
        let ports = Ports { source: 0x1234, destination: 0xfedc };
        let mut out = Vec::new();
        encode(ports, protocol::STREAMING, data, &mut out);
        let expected = ClientPayload { ports, protocol: protocol::STREAMING, data: data.to_vec() };
        assert_eq!(decode(&out), Ok(expected));
    }

    fn compressed(data: &[u8]) -> Vec<u8> {
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gz.write_all(data).unwrap();
        gz.finish().unwrap()
    }

    #[test]
    fn payloads_of_every_block_count_round_trip() {
        for len in [0, 1, 65, 1812, STORED_MAX, STORED_MAX + 1, MAX_PAYLOAD] {
            round_trip(&vec![0xa5; len]);
        }
    }

    #[test]
    fn the_header_carries_ports_and_protocol() {
        let mut out = Vec::new();
        encode(Ports { source: 0x0102, destination: 0x0304 }, 17, b"x", &mut out);
        assert_eq!(
            hex::encode(&out),
            "1f8b080001020304021101 0100feff 78 8316dc8c 01000000".replace(' ', "")
        );
    }

    #[test]
    fn compressed_payloads_are_inflated_up_to_the_limit() {
        let data: Vec<u8> = (0..60_000u32).map(|n| (n / 7) as u8).collect();
        assert_eq!(decode(&compressed(&data)).unwrap().data, data);
        assert_eq!(decode(&compressed(&vec![0; MAX_PAYLOAD])).unwrap().data.len(), MAX_PAYLOAD);
        let e = decode(&compressed(&vec![0; MAX_PAYLOAD + 1])).unwrap_err();
        assert_eq!(e.kind, DecodeErrorKind::Limit("inflated size"));
    }

    #[test]
    fn damage_is_found() {
        let mut out = Vec::new();
        encode(Ports::default(), 6, b"some payload", &mut out);
        for at in [0, 3, 12, 20, out.len() - 1] {
            let mut bad = out.clone();
            bad[at] ^= 0x41;
            assert!(decode(&bad).is_err(), "byte {at}");
        }
        assert!(decode(&out[..17]).is_err());
        assert!(decode(&compressed(&[1; 500])[..30]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(head in any::<bool>(), body in any::<Vec<u8>>()) {
            let mut bytes = if head { vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 6] } else { Vec::new() };
            bytes.extend(body);
            let _ = decode(&bytes);
        }
    }
}
