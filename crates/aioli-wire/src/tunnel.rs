//! What travels inside tunnels (`tunnel-message`): fixed messages of 1,028
//! bytes that carry fragments of I2NP messages.
//!
//! ```text
//! tunnel id 4 | IV 16 | checksum 4 | non-zero padding | 0 | fragment, fragment, ...
//!                       └────────────── 1,008, encrypted by every hop ────────────┘
//!
//! first:     flag 1 | [tunnel 4] [hash 32] | [message id 4] | size 2 | data
//! follow-on: flag 1 | message id 4 | size 2 | data
//! ```
//!
//! The checksum is over all behind the zero byte and the IV, in that order.

use aioli_core::Rng;
use aioli_core::crypto::hash::sha256_parts;

use crate::codec::{DecodeError, Reader, Writer};
use crate::ids::{RouterHash, TunnelId};

const SPEC: &str = "tunnel-message#tunnel-message-format";
const FRAGMENT_SPEC: &str = "tunnel-message#delivery-instructions";

/// Body of a TunnelData message.
pub const TUNNEL_DATA_SIZE: usize = 1028;
/// What the layers encrypt besides the IV.
pub const ENCRYPTED_SIZE: usize = 1008;
/// Fragments with their instructions in one message.
pub const MAX_FRAGMENTS_SIZE: usize = ENCRYPTED_SIZE - CHECKSUM - 1;
/// Follow-on fragments of a message at most.
pub const MAX_FOLLOW_ON: u8 = 63;

const CHECKSUM: usize = 4;
/// Where the encrypted part starts.
const PAYLOAD_AT: usize = 20;
/// flag, message id, size.
const FOLLOW_ON_HEADER: usize = 7;

const FOLLOW_ON_FLAG: u8 = 0x80;
const FRAGMENTED_FLAG: u8 = 0x08;
const EXTENDED_FLAG: u8 = 0x04;

/// Where a message goes behind the endpoint. These numbers differ from those of cloves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelDelivery {
    /// To the endpoint itself.
    Local,
    /// Into another tunnel.
    Tunnel(RouterHash, TunnelId),
    /// To a router.
    Router(RouterHash),
}

impl TunnelDelivery {
    const fn encoded_len(&self) -> usize {
        match self {
            Self::Local => 0,
            Self::Tunnel(..) => 36,
            Self::Router(_) => 32,
        }
    }
}

/// One fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment<'a> {
    /// A whole message, or its start.
    First {
        /// Where it goes.
        delivery: TunnelDelivery,
        /// Names the message if more follows.
        id: Option<u32>,
        /// A standard-header message, or its start.
        data: &'a [u8],
    },
    /// A later part.
    FollowOn {
        /// Which message.
        id: u32,
        /// 1 to 63.
        number: u8,
        /// Whether it ends the message.
        last: bool,
        /// The part.
        data: &'a [u8],
    },
}

/// Bytes that a first fragment needs besides its data.
pub const fn first_header(delivery: &TunnelDelivery, fragmented: bool) -> usize {
    1 + delivery.encoded_len() + if fragmented { 4 } else { 0 } + 2
}

/// Bytes that a follow-on fragment needs besides its data.
pub const fn follow_on_header() -> usize {
    FOLLOW_ON_HEADER
}

impl<'a> Fragment<'a> {
    /// Reads the next fragment.
    pub fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let flag = r.u8()?;
        if flag & FOLLOW_ON_FLAG != 0 {
            let number = (flag >> 1) & 0x3f;
            if number == 0 {
                return Err(r.invalid("fragment number"));
            }
            let id = r.u32()?;
            let size = usize::from(r.u16()?);
            return Ok(Self::FollowOn { id, number, last: flag & 1 != 0, data: r.take(size)? });
        }
        let delivery = match (flag >> 5) & 3 {
            0 => TunnelDelivery::Local,
            1 => {
                let tunnel = r.read()?;
                TunnelDelivery::Tunnel(RouterHash::new(r.array()?), tunnel)
            }
            2 => TunnelDelivery::Router(RouterHash::new(r.array()?)),
            _ => return Err(r.invalid("delivery type")),
        };
        if flag & 0x10 != 0 {
            r.u8()?; // a delay, never implemented
        }
        let id = if flag & FRAGMENTED_FLAG != 0 { Some(r.u32()?) } else { None };
        if flag & EXTENDED_FLAG != 0 {
            let size = usize::from(r.u8()?);
            r.take(size)?;
        }
        let size = usize::from(r.u16()?);
        Ok(Self::First { delivery, id, data: r.take(size)? })
    }

    /// Appends the fragment.
    pub fn encode(&self, w: &mut Writer) {
        match self {
            Self::First { delivery, id, data } => {
                let kind = match delivery {
                    TunnelDelivery::Local => 0,
                    TunnelDelivery::Tunnel(..) => 1,
                    TunnelDelivery::Router(_) => 2,
                };
                w.u8(kind << 5 | if id.is_some() { FRAGMENTED_FLAG } else { 0 });
                match delivery {
                    TunnelDelivery::Local => {}
                    TunnelDelivery::Tunnel(hash, tunnel) => {
                        w.write(tunnel);
                        w.bytes(hash.as_bytes());
                    }
                    TunnelDelivery::Router(hash) => w.bytes(hash.as_bytes()),
                }
                if let Some(id) = id {
                    w.u32(*id);
                }
                write_data(w, data);
            }
            Self::FollowOn { id, number, last, data } => {
                w.u8(FOLLOW_ON_FLAG | (number & 0x3f) << 1 | u8::from(*last));
                w.u32(*id);
                write_data(w, data);
            }
        }
    }
}

fn write_data(w: &mut Writer, data: &[u8]) {
    let data = data.get(..ENCRYPTED_SIZE).unwrap_or(data);
    w.u16(data.len() as u16);
    w.bytes(data);
}

/// Makes the body of a TunnelData message, in the clear, from encoded
/// fragments of at most [`MAX_FRAGMENTS_SIZE`] bytes.
pub fn assemble(tunnel: TunnelId, fragments: &[u8], rng: &mut Rng) -> Vec<u8> {
    let fragments = fragments.get(..MAX_FRAGMENTS_SIZE).unwrap_or(fragments);
    let iv: [u8; 16] = rng.bytes();
    let checksum = checksum(fragments, &iv);
    let mut w = Writer::with_capacity(TUNNEL_DATA_SIZE);
    w.write(&tunnel);
    w.bytes(&iv);
    w.bytes(&checksum);
    let mut body = w.into_vec();
    let padding = MAX_FRAGMENTS_SIZE - fragments.len();
    let start = body.len();
    body.resize(start + padding, 0);
    fill_nonzero(body.get_mut(start..).unwrap_or_default(), rng);
    body.push(0);
    body.extend_from_slice(fragments);
    body
}

/// Random bytes without a zero.
fn fill_nonzero(padding: &mut [u8], rng: &mut Rng) {
    rng.fill(padding);
    for byte in padding {
        while *byte == 0 {
            *byte = rng.bytes::<1>()[0];
        }
    }
}

/// The fragments of a decrypted TunnelData body, once its checksum was found right.
pub fn fragments(body: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let mut r = Reader::new(SPEC, body);
    if body.len() != TUNNEL_DATA_SIZE {
        return Err(r.invalid("size"));
    }
    r.take(4)?;
    let iv: [u8; 16] = r.array()?;
    let expected: [u8; CHECKSUM] = r.array()?;
    let padded = r.rest();
    let zero = padded.iter().position(|b| *b == 0).ok_or_else(|| r.invalid("padding"))?;
    let fragments = padded.get(zero + 1..).unwrap_or_default();
    if checksum(fragments, &iv) != expected {
        return Err(Reader::new(SPEC, body.get(PAYLOAD_AT..).unwrap_or_default()).invalid("checksum"));
    }
    Ok(Reader::new(FRAGMENT_SPEC, fragments))
}

fn checksum(fragments: &[u8], iv: &[u8; 16]) -> [u8; CHECKSUM] {
    let [a, b, c, d, ..] = sha256_parts(&[fragments, iv]);
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

    use super::*;

    fn delivery() -> impl Strategy<Value = TunnelDelivery> {
        prop_oneof![
            Just(TunnelDelivery::Local),
            any::<[u8; 32]>().prop_map(|h| TunnelDelivery::Router(RouterHash::new(h))),
            (any::<[u8; 32]>(), 1_u32..).prop_map(|(h, id)| {
                TunnelDelivery::Tunnel(RouterHash::new(h), TunnelId::new(id).unwrap())
            }),
        ]
    }

    proptest! {
        #[test]
        fn fragments_survive_the_round_trip(
            delivery in delivery(), id in any::<Option<u32>>(), number in 1_u8..64, last: bool,
            data in proptest::collection::vec(any::<u8>(), 0..450), seed: [u8; 32],
        ) {
            let first = Fragment::First { delivery, id, data: &data };
            let follow = Fragment::FollowOn { id: 7, number, last, data: &data };
            let mut w = Writer::new();
            first.encode(&mut w);
            prop_assert_eq!(w.len(), first_header(&delivery, id.is_some()) + data.len());
            follow.encode(&mut w);
            let tunnel = TunnelId::new(9).unwrap();
            let body = assemble(tunnel, w.as_slice(), &mut Rng::from_seed(seed));
            prop_assert_eq!(body.len(), TUNNEL_DATA_SIZE);
            let mut r = fragments(&body).unwrap();
            prop_assert_eq!(Fragment::decode(&mut r).unwrap(), first);
            prop_assert_eq!(Fragment::decode(&mut r).unwrap(), follow);
            prop_assert!(r.is_empty());
        }

        #[test]
        fn a_changed_byte_behind_the_padding_is_found(at in 0_usize..1_000, seed: [u8; 32]) {
            let mut body = assemble(TunnelId::new(9).unwrap(), &[5; 1_000], &mut Rng::from_seed(seed));
            body[28 + at] ^= 1;
            prop_assert!(fragments(&body).is_err());
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1_100)) {
            let _ = fragments(&bytes);
            let mut r = Reader::new("test", &bytes);
            while !r.is_empty() && Fragment::decode(&mut r).is_ok() {}
        }
    }
}
