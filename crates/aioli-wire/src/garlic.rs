//! The payload inside a garlic message: blocks of ECIES-X25519-AEAD-Ratchet
//! ("Payload" in ecies), which router garlic ("Noise_N") shares.
//!
//! ```text
//! payload  = block*            block = type(1) size(2) data(size)
//! clove    = flag(1) [hash(32)] [tunnel(4)] | type(1) id(4) expires(4, s) | I2NP body
//! ```
//!
//! The decoder is tolerant as the specification demands: unknown blocks are
//! skipped, a malformed clove is skipped and counted, and only a block that
//! overruns the payload is an error. The encoder appends blocks one by one to
//! a byte vector, so that a sender copies each message body once.

use std::num::NonZeroU32;

use aioli_core::Date;

use crate::codec::{DecodeError, Reader, Writer};

/// Types of payload blocks.
pub mod block {
    /// Seconds since 1970.
    pub const DATE_TIME: u8 = 0;
    /// The session ends.
    pub const TERMINATION: u8 = 4;
    /// Parameters of the session, which nobody uses.
    pub const OPTIONS: u8 = 5;
    /// Length of the previous tag set.
    pub const MESSAGE_NUMBERS: u8 = 6;
    /// A key of the DH ratchet.
    pub const NEXT_KEY: u8 = 7;
    /// Confirms messages.
    pub const ACK: u8 = 8;
    /// Asks for a confirmation of this message.
    pub const ACK_REQUEST: u8 = 9;
    /// An I2NP message and where it goes.
    pub const GARLIC_CLOVE: u8 = 11;
    /// Nothing.
    pub const PADDING: u8 = 254;
}

/// Bytes of a block before its data.
pub const BLOCK_HEADER: usize = 3;
/// Most bytes of blocks that one AEAD frame can hold.
pub const MAX_PAYLOAD: usize = 65_519;
/// Bytes of the short I2NP header inside a clove.
pub const SHORT_HEADER: usize = 9;
/// Most blocks that one payload may have before the rest is ignored.
pub const MAX_BLOCKS: usize = 256;

const SPEC: &str = "ecies#payload";
const CLOVE_SPEC: &str = "ecies#garlic-clove";

/// Where a clove goes. These numbers differ from those of tunnel messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloveDelivery {
    /// To whoever opened the garlic.
    Local,
    /// To a local destination of the router that opened it.
    Destination([u8; 32]),
    /// To a router, by its hash.
    Router([u8; 32]),
    /// Into a tunnel: its gateway's hash and its id there.
    Tunnel([u8; 32], NonZeroU32),
}

impl CloveDelivery {
    /// Bytes on the wire.
    pub const fn encoded_len(&self) -> usize {
        match self {
            Self::Local => 1,
            Self::Destination(_) | Self::Router(_) => 33,
            Self::Tunnel(..) => 37,
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let flag = r.u8()?;
        if flag & 0x80 != 0 {
            return Err(r.invalid("encrypted flag"));
        }
        let delivery = match (flag >> 5) & 3 {
            0 => Self::Local,
            1 => Self::Destination(r.array()?),
            2 => Self::Router(r.array()?),
            _ => {
                let gateway = r.array()?;
                let tunnel = NonZeroU32::new(r.u32()?).ok_or_else(|| r.invalid("tunnel id"))?;
                Self::Tunnel(gateway, tunnel)
            }
        };
        if flag & 0x10 != 0 {
            r.u32()?; // a delay, which nobody honours
        }
        Ok(delivery)
    }

    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Local => w.u8(0),
            Self::Destination(hash) => {
                w.u8(1 << 5);
                w.bytes(hash);
            }
            Self::Router(hash) => {
                w.u8(2 << 5);
                w.bytes(hash);
            }
            Self::Tunnel(gateway, tunnel) => {
                w.u8(3 << 5);
                w.bytes(gateway);
                w.u32(tunnel.get());
            }
        }
    }
}

/// An I2NP message with its short header, and where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clove<'a> {
    /// Where it goes.
    pub delivery: CloveDelivery,
    /// The I2NP type.
    pub kind: u8,
    /// The I2NP message id.
    pub id: u32,
    /// When it is void, to the second.
    pub expires: Date,
    /// The I2NP body.
    pub body: &'a [u8],
}

impl<'a> Clove<'a> {
    /// Reads the data of a clove block.
    pub fn decode(data: &'a [u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(CLOVE_SPEC, data);
        let delivery = CloveDelivery::decode(&mut r)?;
        let (kind, id, expires) = (r.u8()?, r.u32()?, r.date_secs()?);
        Ok(Self { delivery, kind, id, expires, body: r.rest() })
    }

    /// Bytes of the whole block on the wire.
    pub const fn encoded_len(&self) -> usize {
        BLOCK_HEADER + self.delivery.encoded_len() + SHORT_HEADER + self.body.len()
    }
}

/// A key of the DH ratchet, or a reference to one that was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextKey {
    /// The number of the key, 0 to [`NextKey::MAX_ID`].
    pub id: u16,
    /// The key of the receiver of the tag set, not of its sender.
    pub reverse: bool,
    /// The sender of the tag set wants a new key from its receiver.
    pub request_reverse: bool,
    /// The X25519 key, unless the old one stays.
    pub key: Option<[u8; 32]>,
}

impl NextKey {
    /// The highest number that a key may have.
    pub const MAX_ID: u16 = 32_767;

    const KEY_PRESENT: u8 = 1;
    const REVERSE: u8 = 2;
    const REQUEST_REVERSE: u8 = 4;

    fn decode(data: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new("ecies#next-dh-ratchet-public-key", data);
        let (flags, id) = (r.u8()?, r.u16()?);
        if id > Self::MAX_ID {
            return Err(r.invalid("key id"));
        }
        let key = if flags & Self::KEY_PRESENT != 0 { Some(r.array()?) } else { None };
        let reverse = flags & Self::REVERSE != 0;
        Ok(Self { id, reverse, request_reverse: !reverse && flags & Self::REQUEST_REVERSE != 0, key })
    }

    /// Bytes of the whole block on the wire.
    pub const fn encoded_len(&self) -> usize {
        BLOCK_HEADER + if self.key.is_some() { 35 } else { 3 }
    }
}

/// Names one message of an existing session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MessageNumber {
    /// The tag set.
    pub tag_set: u16,
    /// The place in it.
    pub n: u16,
}

/// One block of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// The sender's clock, to the second.
    DateTime(Date),
    /// The session ends, with a reason.
    Termination(u8),
    /// How many messages the previous tag set had, minus one.
    MessageNumbers(u16),
    /// The DH ratchet.
    NextKey(NextKey),
    /// Messages that arrived.
    Ack(Acks<'a>),
    /// The sender wants an acknowledgement of this message.
    AckRequest,
    /// A message.
    Clove(Clove<'a>),
    /// That many bytes of nothing.
    Padding(usize),
    /// A type that this version does not know, or options, which nobody uses.
    Unknown(u8),
    /// A block of a known type whose data make no sense. It is skipped.
    Malformed(DecodeError),
}

/// The messages that an Ack block names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acks<'a>(&'a [u8]);

impl Acks<'_> {
    /// Each message.
    pub fn iter(&self) -> impl Iterator<Item = MessageNumber> + '_ {
        self.0.as_chunks::<4>().0.iter().map(|&[a, b, c, d]| MessageNumber {
            tag_set: u16::from_be_bytes([a, b]),
            n: u16::from_be_bytes([c, d]),
        })
    }
}

/// Reads the blocks of a payload one after the other.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    r: Reader<'a>,
    left: usize,
}

/// The blocks of a decrypted payload.
pub const fn blocks(payload: &[u8]) -> Blocks<'_> {
    Blocks { r: Reader::new(SPEC, payload), left: MAX_BLOCKS }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, DecodeError>;

    /// The next block; an error, once, when one overruns the payload.
    fn next(&mut self) -> Option<Self::Item> {
        if self.r.is_empty() || self.left == 0 {
            return None;
        }
        self.left -= 1;
        let next = self.split();
        if next.is_err() {
            self.left = 0;
        }
        Some(next.map(|(kind, data)| decode_block(kind, data)))
    }
}

impl<'a> Blocks<'a> {
    fn split(&mut self) -> Result<(u8, &'a [u8]), DecodeError> {
        let kind = self.r.u8()?;
        let size = usize::from(self.r.u16()?);
        Ok((kind, self.r.take(size)?))
    }
}

fn decode_block(kind: u8, data: &[u8]) -> Block<'_> {
    let mut r = Reader::new(SPEC, data);
    let result = match kind {
        block::DATE_TIME => r.date_secs().map(Block::DateTime),
        block::TERMINATION => r.u8().map(Block::Termination),
        block::MESSAGE_NUMBERS => r.u16().map(Block::MessageNumbers),
        block::NEXT_KEY => NextKey::decode(data).map(Block::NextKey),
        block::ACK => Ok(Block::Ack(Acks(data))),
        block::ACK_REQUEST => Ok(Block::AckRequest),
        block::GARLIC_CLOVE => Clove::decode(data).map(Block::Clove),
        block::PADDING => Ok(Block::Padding(data.len())),
        other => Ok(Block::Unknown(other)),
    };
    result.unwrap_or_else(Block::Malformed)
}

/// Appends blocks to a payload, in the order that the specification wants
/// them: DateTime first, Termination and Padding last.
#[derive(Clone, Debug, Default)]
pub struct PayloadWriter(Writer);

impl PayloadWriter {
    /// An empty payload.
    pub const fn new() -> Self {
        Self(Writer::new())
    }

    /// Appends to what `vec` holds: headroom for keys and tags, usually.
    pub const fn append_to(vec: Vec<u8>) -> Self {
        Self(Writer::append_to(vec))
    }

    /// All bytes so far, with those that were there before.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing was written.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.0.into_vec()
    }

    /// The sender's clock.
    pub fn date_time(&mut self, now: Date) {
        self.header(block::DATE_TIME, 4);
        self.0.u32(now.as_wire_secs());
    }

    /// The end of the session.
    pub fn termination(&mut self, reason: u8) {
        self.header(block::TERMINATION, 1);
        self.0.u8(reason);
    }

    /// How many messages the previous tag set had, minus one.
    pub fn message_numbers(&mut self, previous: u16) {
        self.header(block::MESSAGE_NUMBERS, 2);
        self.0.u16(previous);
    }

    /// A key of the DH ratchet.
    pub fn next_key(&mut self, next: &NextKey) {
        self.header(block::NEXT_KEY, next.encoded_len() - BLOCK_HEADER);
        let flag = |on, bit| if on { bit } else { 0 };
        self.0.u8(flag(next.key.is_some(), NextKey::KEY_PRESENT)
            | flag(next.reverse, NextKey::REVERSE)
            | flag(next.request_reverse && !next.reverse, NextKey::REQUEST_REVERSE));
        self.0.u16(next.id);
        if let Some(key) = &next.key {
            self.0.bytes(key);
        }
    }

    /// Messages that arrived; at most 16,379 of them.
    pub fn ack(&mut self, acks: &[MessageNumber]) {
        let acks = acks.get(..16_379).unwrap_or(acks);
        self.header(block::ACK, 4 * acks.len());
        for ack in acks {
            self.0.u16(ack.tag_set);
            self.0.u16(ack.n);
        }
    }

    /// Asks for an acknowledgement of this message.
    pub fn ack_request(&mut self) {
        self.header(block::ACK_REQUEST, 1);
        self.0.u8(0);
    }

    /// A message. The body must leave room for the other blocks below [`MAX_PAYLOAD`].
    pub fn clove(&mut self, clove: &Clove<'_>) {
        self.header(block::GARLIC_CLOVE, clove.encoded_len() - BLOCK_HEADER);
        clove.delivery.encode(&mut self.0);
        self.0.u8(clove.kind);
        self.0.u32(clove.id);
        self.0.u32(clove.expires.as_wire_secs());
        self.0.bytes(clove.body);
    }

    /// `n` bytes of padding and the block's header.
    pub fn padding(&mut self, n: u8) {
        self.header(block::PADDING, usize::from(n));
        self.0.bytes(&[0; 255][..usize::from(n)]);
    }

    fn header(&mut self, kind: u8, size: usize) {
        self.0.u8(kind);
        self.0.u16(u16::try_from(size).unwrap_or(u16::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunnel() -> CloveDelivery {
        CloveDelivery::Tunnel([9; 32], NonZeroU32::new(7).unwrap())
    }

    #[test]
    fn all_blocks_survive_a_round_trip() {
        let key = NextKey { id: 3, reverse: false, request_reverse: true, key: Some([5; 32]) };
        let old = NextKey { id: 2, reverse: true, request_reverse: false, key: None };
        let clove =
            |delivery| Clove { delivery, kind: 20, id: 77, expires: Date::from_secs(99), body: b"hello" };
        let number = MessageNumber { tag_set: 1, n: 513 };
        let mut w = PayloadWriter::new();
        w.date_time(Date::from_secs(1_700_000_000));
        for d in [
            CloveDelivery::Local,
            CloveDelivery::Destination([1; 32]),
            CloveDelivery::Router([2; 32]),
            tunnel(),
        ] {
            let before = w.len();
            w.clove(&clove(d));
            assert_eq!(w.len() - before, clove(d).encoded_len());
        }
        w.ack(&[number, number]);
        w.ack_request();
        w.next_key(&key);
        w.next_key(&old);
        w.message_numbers(40);
        w.termination(1);
        w.padding(15);
        let bytes = w.into_vec();
        let all: Vec<_> = blocks(&bytes).map(Result::unwrap).collect();
        assert_eq!(all[0], Block::DateTime(Date::from_secs(1_700_000_000)));
        assert_eq!(all[1], Block::Clove(clove(CloveDelivery::Local)));
        assert_eq!(all[4], Block::Clove(clove(tunnel())));
        let Block::Ack(acks) = all[5] else { panic!() };
        assert_eq!(acks.iter().collect::<Vec<_>>(), [number, number]);
        assert_eq!(
            all[6..],
            [
                Block::AckRequest,
                Block::NextKey(key),
                Block::NextKey(old),
                Block::MessageNumbers(40),
                Block::Termination(1),
                Block::Padding(15)
            ]
        );
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        let mut w = PayloadWriter::new();
        w.clove(&Clove {
            delivery: CloveDelivery::Local,
            kind: 10,
            id: 1,
            expires: Date::from_secs(2),
            body: &[3],
        });
        assert_eq!(w.into_vec(), [11, 0, 11, 0, 10, 0, 0, 0, 1, 0, 0, 0, 2, 3]);
        let mut w = PayloadWriter::new();
        w.next_key(&NextKey { id: 258, reverse: true, request_reverse: true, key: None });
        assert_eq!(w.into_vec(), [7, 0, 3, 2, 1, 2]);
    }

    #[test]
    fn unknown_and_malformed_blocks_are_skipped_but_an_overrun_ends() {
        let payload = [99, 0, 1, 0, 11, 0, 2, 0, 0, 7, 0, 3, 1, 0, 0, 9, 0, 0, 254, 0, 9, 0];
        let all: Vec<_> = blocks(&payload).collect();
        assert_eq!(all[0], Ok(Block::Unknown(99)));
        assert!(matches!(all[1], Ok(Block::Malformed(_))));
        assert!(matches!(all[2], Ok(Block::Malformed(_))));
        assert_eq!(all[3], Ok(Block::AckRequest));
        assert!(all[4].is_err() && all.len() == 5);
    }

    #[test]
    fn a_payload_of_empty_blocks_is_bounded() {
        let payload = [254, 0, 0].repeat(20_000);
        assert_eq!(blocks(&payload).count(), MAX_BLOCKS);
    }

    proptest::proptest! {
        #[test]
        fn no_payload_panics(bytes: Vec<u8>) {
            for block in blocks(&bytes).flatten() {
                if let Block::Ack(acks) = block {
                    proptest::prop_assert!(acks.iter().count() <= bytes.len() / 4);
                }
            }
            let _ = Clove::decode(&bytes);
        }
    }
}
