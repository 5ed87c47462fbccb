//! NTCP2's own formats: the options of its handshake messages and the blocks
//! inside its encrypted frames (`ntcp2`).
//!
//! ```text
//! frame   ChaCha20-Poly1305 of: block, block, ..., [Termination], [Padding]
//! block   kind(1) size(2) data(size)
//! ```

use aioli_core::Date;

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
pub use crate::termination::TerminationReason;

/// The protocol version in a SessionRequest.
pub const VERSION: u8 = 2;
/// Bytes of a handshake message's options before encryption.
pub const OPTIONS_LEN: usize = 16;
/// Bytes of the authentication tag behind everything encrypted.
pub const TAG_LEN: usize = 16;
/// The largest encrypted frame with its tag.
pub const MAX_FRAME: usize = 65_535;
/// Kind and size in front of a block's data.
pub const BLOCK_HEADER: usize = 3;
/// The largest data of one block that is alone in its frame.
pub const MAX_BLOCK: usize = MAX_FRAME - TAG_LEN - BLOCK_HEADER;

const DATE_TIME: u8 = 0;
const OPTIONS: u8 = 1;
const ROUTER_INFO: u8 = 2;
const I2NP: u8 = 3;
const TERMINATION: u8 = 4;
const PADDING: u8 = 254;

const FLOOD: u8 = 1;

/// What Alice says in message 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestOptions {
    /// The network; 2 is the public one.
    pub net_id: u8,
    /// [`VERSION`].
    pub version: u8,
    /// Bytes of padding behind the message.
    pub padding: u16,
    /// Bytes of the second part of message 3, with its tag.
    pub message3_part2: u16,
    /// Her clock.
    pub timestamp: Date,
}

impl<'a> Wire<'a> for RequestOptions {
    const SPEC: &'static str = "ntcp2#1-sessionrequest";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (net_id, version, padding, message3_part2) = (r.u8()?, r.u8()?, r.u16()?, r.u16()?);
        r.take(2)?;
        let timestamp = r.date_secs()?;
        r.take(4)?;
        Ok(Self { net_id, version, padding, message3_part2, timestamp })
    }

    fn encode(&self, w: &mut Writer) {
        w.u8(self.net_id);
        w.u8(self.version);
        w.u16(self.padding);
        w.u16(self.message3_part2);
        w.u16(0);
        w.u32(self.timestamp.as_wire_secs());
        w.u32(0);
    }
}

/// What Bob says in message 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedOptions {
    /// Bytes of padding behind the message.
    pub padding: u16,
    /// His clock.
    pub timestamp: Date,
}

impl<'a> Wire<'a> for CreatedOptions {
    const SPEC: &'static str = "ntcp2#2-sessioncreated";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        r.take(2)?;
        let padding = r.u16()?;
        r.take(4)?;
        let timestamp = r.date_secs()?;
        r.take(4)?;
        Ok(Self { padding, timestamp })
    }

    fn encode(&self, w: &mut Writer) {
        w.u16(0);
        w.u16(self.padding);
        w.u32(0);
        w.u32(self.timestamp.as_wire_secs());
        w.u32(0);
    }
}

/// A wish about padding, in sixteenths of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct PaddingOptions {
    /// The sender's own least and most.
    pub transmit: (u8, u8),
    /// What it wants to receive at least and at most.
    pub receive: (u8, u8),
    /// Dummy traffic it would send and wants, bytes per second.
    pub dummy: (u16, u16),
    /// Delays it would insert and wants, milliseconds.
    pub delay: (u16, u16),
}

/// One block of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// The sender's clock.
    DateTime(Date),
    /// Wishes about padding.
    Options(PaddingOptions),
    /// A RouterInfo, not compressed.
    RouterInfo {
        /// Whether a floodfill is asked to pass it on.
        flood: bool,
        /// Its bytes.
        bytes: &'a [u8],
    },
    /// An I2NP message with the short header.
    I2np(&'a [u8]),
    /// The sender closes.
    Termination {
        /// Frames that it had received.
        received: u64,
        /// Why.
        reason: TerminationReason,
    },
    /// Nothing, this many bytes.
    Padding(usize),
    /// A kind that we do not know.
    Unknown(u8),
}

impl<'a> Wire<'a> for Block<'a> {
    const SPEC: &'static str = "ntcp2#unencrypted-data";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = r.u8()?;
        let size = usize::from(r.u16()?);
        let mut data = r.sub(Self::SPEC, size)?;
        Ok(match kind {
            DATE_TIME => Self::DateTime(data.date_secs()?),
            OPTIONS => Self::Options(PaddingOptions {
                transmit: (data.u8()?, data.u8()?),
                receive: (data.u8()?, data.u8()?),
                dummy: (data.u16()?, data.u16()?),
                delay: (data.u16()?, data.u16()?),
            }),
            ROUTER_INFO => {
                let flood = data.u8()? & FLOOD != 0;
                Self::RouterInfo { flood, bytes: data.rest() }
            }
            I2NP => Self::I2np(data.rest()),
            TERMINATION => {
                let received = data.u64()?;
                Self::Termination { received, reason: TerminationReason::from_code(data.u8()?) }
            }
            PADDING => Self::Padding(size),
            kind => Self::Unknown(kind),
        })
    }

    /// An unknown kind is written without data.
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::DateTime(date) => {
                header(w, DATE_TIME, 4);
                w.u32(date.as_wire_secs());
            }
            Self::Options(o) => {
                header(w, OPTIONS, 12);
                w.bytes(&[o.transmit.0, o.transmit.1, o.receive.0, o.receive.1]);
                for n in [o.dummy.0, o.dummy.1, o.delay.0, o.delay.1] {
                    w.u16(n);
                }
            }
            Self::RouterInfo { flood, bytes } => {
                header(w, ROUTER_INFO, bytes.len() + 1);
                w.u8(u8::from(*flood) * FLOOD);
                w.bytes(bytes);
            }
            Self::I2np(bytes) => {
                header(w, I2NP, bytes.len());
                w.bytes(bytes);
            }
            Self::Termination { received, reason } => {
                header(w, TERMINATION, 9);
                w.u64(*received);
                w.u8(reason.code());
            }
            Self::Padding(n) => {
                header(w, PADDING, *n);
                let end = w.len() + *n;
                let mut out = std::mem::take(w).into_vec();
                out.resize(end, 0);
                *w = Writer::append_to(out);
            }
            Self::Unknown(kind) => header(w, *kind, 0),
        }
    }
}

/// Appends the header of an I2NP block whose data the caller appends.
pub fn i2np_header(out: &mut Vec<u8>, size: u16) {
    let [a, b] = size.to_be_bytes();
    out.extend_from_slice(&[I2NP, a, b]);
}

fn header(w: &mut Writer, kind: u8, size: usize) {
    debug_assert!(size <= MAX_BLOCK, "blocks are built from bounded parts");
    w.u8(kind);
    w.u16(size as u16);
}

/// The blocks of a frame, front to back.
///
/// Enforces that Padding comes last and Termination last but for Padding.
/// Stops at the first error.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    reader: Reader<'a>,
    terminated: bool,
    padded: bool,
}

impl<'a> Blocks<'a> {
    /// The blocks of this decrypted frame.
    pub const fn new(frame: &'a [u8]) -> Self {
        Self { reader: Reader::new(Block::SPEC, frame), terminated: false, padded: false }
    }

    fn read(&mut self) -> Result<Block<'a>, DecodeError> {
        let start = self.reader.clone();
        let block = self.reader.read::<Block<'a>>()?;
        let is_padding = matches!(block, Block::Padding(_));
        if self.padded || (self.terminated && !is_padding) {
            return Err(start.invalid("block order"));
        }
        self.padded = is_padding;
        self.terminated |= matches!(block, Block::Termination { .. });
        Ok(block)
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        let block = self.read();
        if block.is_err() {
            let _ = self.reader.rest();
        }
        Some(block)
    }
}

/// The second part of message 3: RouterInfo, then at most Options, then at most Padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfirmedPayload<'a> {
    /// Whether Alice asks to flood her RouterInfo.
    pub flood: bool,
    /// Her RouterInfo.
    pub router_info: &'a [u8],
    /// Her wishes about padding.
    pub options: Option<PaddingOptions>,
}

impl<'a> ConfirmedPayload<'a> {
    /// Reads the decrypted payload.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let wrong = |what| DecodeError {
            spec: "ntcp2#3-sessionconfirmed",
            at: 0,
            kind: DecodeErrorKind::Invalid(what),
        };
        let mut blocks = Blocks::new(payload);
        let Some(Block::RouterInfo { flood, bytes }) = blocks.next().transpose()? else {
            return Err(wrong("first block"));
        };
        let mut out = Self { flood, router_info: bytes, options: None };
        for block in blocks {
            match block? {
                Block::Options(options) if out.options.is_none() => out.options = Some(options),
                Block::Padding(_) => {}
                Block::DateTime(_)
                | Block::Options(_)
                | Block::RouterInfo { .. }
                | Block::I2np(_)
                | Block::Termination { .. }
                | Block::Unknown(_) => return Err(wrong("block in SessionConfirmed")),
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(frame: &[u8]) -> Result<Vec<Block<'_>>, DecodeError> {
        Blocks::new(frame).collect()
    }

    #[test]
    fn a_frame_of_another_implementation() {
        // i2pr tests/fixtures/ntcp2/crypto/data-phase-blocks.hex and -malformed.hex
        let frame = hex::decode("00000400000009fe00025566").unwrap();
        assert_eq!(all(&frame).unwrap(), [Block::DateTime(Date::from_secs(9)), Block::Padding(2)]);
        assert!(all(&hex::decode("fe0000fe0000").unwrap()).is_err());
    }

    #[test]
    fn options_fields_are_where_the_spec_puts_them() {
        let options = RequestOptions {
            net_id: 2,
            version: 2,
            padding: 0x1234,
            message3_part2: 0x5678,
            timestamp: Date::from_millis(0x0102_0304 * 1000 + 499),
        };
        let bytes = hex::decode("02021234567800000102030400000000").unwrap();
        assert_eq!(options.to_bytes(), bytes);
        assert_eq!(RequestOptions::from_bytes(&bytes).unwrap().timestamp, Date::from_secs(0x0102_0304));
        let created = CreatedOptions { padding: 7, timestamp: Date::from_secs(9) };
        assert_eq!(created.to_bytes(), hex::decode("00000007000000000000000900000000").unwrap());
        assert_eq!(CreatedOptions::from_bytes(&created.to_bytes()), Ok(created));
    }

    #[test]
    fn every_block_round_trips_and_order_is_enforced() {
        let blocks = [
            Block::DateTime(Date::from_secs(5)),
            Block::Options(PaddingOptions {
                transmit: (1, 2),
                receive: (3, 4),
                dummy: (5, 6),
                delay: (7, 8),
            }),
            Block::RouterInfo { flood: true, bytes: b"ri" },
            Block::I2np(b"message"),
            Block::Unknown(200),
            Block::Termination { received: 9, reason: TerminationReason::ClockSkew },
            Block::Padding(3),
        ];
        let bytes = |order: &[usize]| {
            let mut w = Writer::new();
            order.iter().for_each(|i| w.write(&blocks[*i]));
            w.into_vec()
        };
        assert_eq!(all(&bytes(&[0, 1, 2, 3, 4, 5, 6])).unwrap(), blocks);
        assert!(all(&bytes(&[6, 0])).is_err());
        assert!(all(&bytes(&[5, 3])).is_err());
        let whole = bytes(&[0, 1, 2, 3, 5, 6]);
        for cut in 1..whole.len() {
            let _ = all(&whole[..cut]);
        }
    }

    #[test]
    fn a_confirmed_payload_holds_nothing_else() {
        let bytes = |blocks: &[Block<'_>]| {
            let mut w = Writer::new();
            blocks.iter().for_each(|b| w.write(b));
            w.into_vec()
        };
        let info = Block::RouterInfo { flood: false, bytes: b"ri" };
        let options = Block::Options(PaddingOptions::default());
        let good = bytes(&[info, options, Block::Padding(9)]);
        assert_eq!(ConfirmedPayload::decode(&good).unwrap().router_info, b"ri");
        for bad in [
            vec![],
            vec![options, info],
            vec![info, info],
            vec![info, Block::I2np(b"x")],
            vec![info, Block::Unknown(224)],
            vec![info, options, options],
        ] {
            assert!(ConfirmedPayload::decode(&bytes(&bad)).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = all(&bytes);
            let _ = ConfirmedPayload::decode(&bytes);
        }
    }
}
