//! The blocks of a payload (`ssu2#noise-payload`).

use std::net::SocketAddr;

use aioli_core::Date;

use super::TerminationReason;
use super::ack::Ack;
use super::introduce::{Endpoint, PeerTest, RelayIntro, RelayRequest, RelayResponse};
use super::{BLOCK_HEADER, MAX_BLOCK};
use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::ntcp2::PaddingOptions;

const DATE_TIME: u8 = 0;
const OPTIONS: u8 = 1;
const ROUTER_INFO: u8 = 2;
const I2NP: u8 = 3;
const FIRST_FRAGMENT: u8 = 4;
const FOLLOW_ON: u8 = 5;
const TERMINATION: u8 = 6;
const RELAY_REQUEST: u8 = 7;
const RELAY_RESPONSE: u8 = 8;
const RELAY_INTRO: u8 = 9;
const PEER_TEST: u8 = 10;
const ACK: u8 = 12;
const ADDRESS: u8 = 13;
const RELAY_TAG_REQUEST: u8 = 15;
const RELAY_TAG: u8 = 16;
const NEW_TOKEN: u8 = 17;
const PATH_CHALLENGE: u8 = 18;
const PATH_RESPONSE: u8 = 19;
const FIRST_PACKET_NUMBER: u8 = 20;
const CONGESTION: u8 = 21;
const PADDING: u8 = 254;

const FLOOD: u8 = 1;
const GZIP: u8 = 2;
/// Fragment 0 of 1: the only value left of an abandoned idea.
const ONE_PIECE: u8 = 1;
const LAST: u8 = 1;
/// The least data of a first or follow-on fragment after its own header.
const FIRST_HEADER: usize = crate::i2np::SHORT_HEADER;
const FOLLOW_ON_HEADER: usize = 5;

/// Bytes of block, kind and fragment headers in front of a follow-on fragment's data.
pub const TAIL_RESERVE: usize = BLOCK_HEADER + FOLLOW_ON_HEADER;

/// A RouterInfo as it travels in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouterInfoBlock<'a> {
    /// Whether a floodfill is asked to pass it on.
    pub flood: bool,
    /// Whether `bytes` are compressed with gzip.
    pub gzip: bool,
    /// Its bytes.
    pub bytes: &'a [u8],
}

/// A piece of an I2NP message other than the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FollowOn<'a> {
    /// From 1 to 127.
    pub number: u8,
    /// Whether no piece has a higher number.
    pub last: bool,
    /// Of the whole message.
    pub message: u32,
    /// Never empty.
    pub bytes: &'a [u8],
}

/// A token for a later session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// It must be used before.
    pub expires: Date,
    /// Not zero.
    pub token: u64,
}

/// One block of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// The sender's clock.
    DateTime(Date),
    /// Wishes about padding.
    Options(PaddingOptions),
    /// Who the sender is, or another router.
    RouterInfo(RouterInfoBlock<'a>),
    /// An I2NP message with the short header.
    I2np(&'a [u8]),
    /// The start of one, with the short header and at least one byte behind it.
    FirstFragment(&'a [u8]),
    /// A later piece of one.
    FollowOn(FollowOn<'a>),
    /// The sender closes.
    Termination {
        /// Data packets that it had received.
        received: u64,
        /// Why.
        reason: TerminationReason,
    },
    /// Alice asks Bob for an introduction to Charlie.
    RelayRequest(RelayRequest<'a>),
    /// The answer, to Bob and on to Alice.
    RelayResponse(RelayResponse<'a>),
    /// Bob introduces Alice to Charlie.
    RelayIntro(RelayIntro<'a>),
    /// A step of a peer test.
    PeerTest(PeerTest<'a>),
    /// Which packets have come.
    Ack(Ack<'a>),
    /// Where the receiver's packets seem to come from.
    Address(SocketAddr),
    /// Alice wants to be introduced by Bob.
    RelayTagRequest,
    /// Bob will introduce others to Alice under this tag.
    RelayTag(u32),
    /// A token for a later session.
    NewToken(NewToken),
    /// To be sent back.
    PathChallenge(&'a [u8]),
    /// What a challenge held.
    PathResponse(&'a [u8]),
    /// The first packet number of the data phase; not in use.
    FirstPacketNumber(u32),
    /// Flags about congestion.
    Congestion {
        /// An acknowledgement should come at once.
        immediate_ack: bool,
        /// A packet arrived marked.
        ecn: bool,
    },
    /// Nothing, this many bytes.
    Padding(usize),
    /// A kind that we do not know.
    Unknown(u8),
}

impl Block<'_> {
    /// Whether it makes the receiver acknowledge the packet (`ssu2#generating-acks`).
    pub const fn elicits_ack(&self) -> bool {
        !matches!(
            self,
            Self::Ack(_)
                | Self::Address(_)
                | Self::DateTime(_)
                | Self::Padding(_)
                | Self::Termination { .. }
                | Self::Congestion { .. }
        )
    }
}

impl<'a> Wire<'a> for Block<'a> {
    const SPEC: &'static str = "ssu2#block-specifications";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let kind = r.u8()?;
        let size = usize::from(r.u16()?);
        let mut data = r.sub(Self::SPEC, size)?;
        Ok(match kind {
            DATE_TIME => Self::DateTime(data.date_secs()?),
            OPTIONS => Self::Options(options(&mut data)?),
            ROUTER_INFO => Self::RouterInfo(router_info(&mut data)?),
            I2NP => Self::I2np(at_least(&mut data, FIRST_HEADER)?),
            FIRST_FRAGMENT => Self::FirstFragment(at_least(&mut data, FIRST_HEADER + 1)?),
            FOLLOW_ON => Self::FollowOn(follow_on(&mut data)?),
            TERMINATION => {
                let received = data.u64()?;
                Self::Termination { received, reason: TerminationReason::from_code(data.u8()?) }
            }
            RELAY_REQUEST => Self::RelayRequest(data.read()?),
            RELAY_RESPONSE => Self::RelayResponse(data.read()?),
            RELAY_INTRO => Self::RelayIntro(data.read()?),
            PEER_TEST => Self::PeerTest(data.read()?),
            ACK => Self::Ack(data.read()?),
            ADDRESS => Self::Address(Endpoint::decode_sized(&mut data, size)?.0),
            RELAY_TAG_REQUEST => Self::RelayTagRequest,
            RELAY_TAG => Self::RelayTag(data.u32()?),
            NEW_TOKEN => Self::NewToken(NewToken { expires: data.date_secs()?, token: data.u64()? }),
            PATH_CHALLENGE => Self::PathChallenge(data.rest()),
            PATH_RESPONSE => Self::PathResponse(data.rest()),
            FIRST_PACKET_NUMBER => Self::FirstPacketNumber(data.u32()?),
            CONGESTION => {
                let flags = data.u8()?;
                Self::Congestion { immediate_ack: flags & 1 != 0, ecn: flags & 2 != 0 }
            }
            PADDING => Self::Padding(size),
            kind => Self::Unknown(kind),
        })
    }

    /// An unknown kind is written without data, padding as zeros.
    fn encode(&self, w: &mut Writer) {
        match self {
            Self::DateTime(date) => sized(w, DATE_TIME, |w| w.u32(date.as_wire_secs())),
            Self::Options(o) => sized(w, OPTIONS, |w| {
                w.bytes(&[o.transmit.0, o.transmit.1, o.receive.0, o.receive.1]);
                for n in [o.dummy.0, o.dummy.1, o.delay.0, o.delay.1] {
                    w.u16(n);
                }
            }),
            Self::RouterInfo(info) => sized(w, ROUTER_INFO, |w| {
                w.u8((u8::from(info.flood) * FLOOD) | (u8::from(info.gzip) * GZIP));
                w.u8(ONE_PIECE);
                w.bytes(info.bytes);
            }),
            Self::I2np(bytes) => sized(w, I2NP, |w| w.bytes(bytes)),
            Self::FirstFragment(bytes) => sized(w, FIRST_FRAGMENT, |w| w.bytes(bytes)),
            Self::FollowOn(f) => sized(w, FOLLOW_ON, |w| {
                w.u8((f.number << 1) | (u8::from(f.last) * LAST));
                w.u32(f.message);
                w.bytes(f.bytes);
            }),
            Self::Termination { received, reason } => sized(w, TERMINATION, |w| {
                w.u64(*received);
                w.u8(reason.code());
            }),
            Self::RelayRequest(request) => sized(w, RELAY_REQUEST, |w| w.write(request)),
            Self::RelayResponse(response) => sized(w, RELAY_RESPONSE, |w| w.write(response)),
            Self::RelayIntro(intro) => sized(w, RELAY_INTRO, |w| w.write(intro)),
            Self::PeerTest(test) => sized(w, PEER_TEST, |w| w.write(test)),
            Self::Ack(ack) => sized(w, ACK, |w| w.write(ack)),
            Self::Address(address) => sized(w, ADDRESS, |w| Endpoint(*address).encode_bare(w)),
            Self::RelayTagRequest => sized(w, RELAY_TAG_REQUEST, |_| {}),
            Self::RelayTag(tag) => sized(w, RELAY_TAG, |w| w.u32(*tag)),
            Self::NewToken(t) => sized(w, NEW_TOKEN, |w| {
                w.u32(t.expires.as_wire_secs());
                w.u64(t.token);
            }),
            Self::PathChallenge(data) => sized(w, PATH_CHALLENGE, |w| w.bytes(data)),
            Self::PathResponse(data) => sized(w, PATH_RESPONSE, |w| w.bytes(data)),
            Self::FirstPacketNumber(n) => sized(w, FIRST_PACKET_NUMBER, |w| w.u32(*n)),
            Self::Congestion { immediate_ack, ecn } => sized(w, CONGESTION, |w| {
                w.u8(u8::from(*immediate_ack) | (u8::from(*ecn) << 1));
            }),
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

impl Ack<'_> {
    /// Appends a whole block of at most `room` bytes; see [`Ack::encode_runs`]. Nothing if there is no run.
    pub fn append_block(
        runs: impl IntoIterator<Item = std::ops::RangeInclusive<u32>>,
        room: usize,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let mut w = Writer::append_to(std::mem::take(out));
        w.bytes(&[ACK, 0, 0]);
        let size = Self::encode_runs(runs, room.saturating_sub(BLOCK_HEADER), &mut w);
        w.patch_u16(start + 1, size as u16);
        *out = w.into_vec();
        if size == 0 {
            out.truncate(start);
        }
    }
}

/// Appends the header of an I2NP block, or with `first` of a first fragment,
/// whose data of `size` bytes the caller appends.
pub fn i2np_header(out: &mut Vec<u8>, first: bool, size: u16) {
    let [a, b] = size.to_be_bytes();
    out.extend_from_slice(&[if first { FIRST_FRAGMENT } else { I2NP }, a, b]);
}

/// Appends the headers of a follow-on fragment, whose `size` bytes the caller appends.
pub fn follow_on_header(out: &mut Vec<u8>, number: u8, last: bool, message: u32, size: u16) {
    let [a, b] = (size + FOLLOW_ON_HEADER as u16).to_be_bytes();
    out.extend_from_slice(&[FOLLOW_ON, a, b, (number << 1) | (u8::from(last) * LAST)]);
    out.extend_from_slice(&message.to_be_bytes());
}

fn header(w: &mut Writer, kind: u8, size: usize) {
    debug_assert!(size <= MAX_BLOCK, "blocks are built from bounded parts");
    w.u8(kind);
    w.u16(size as u16);
}

/// A block whose size is known when its data is written.
fn sized(w: &mut Writer, kind: u8, data: impl FnOnce(&mut Writer)) {
    header(w, kind, 0);
    let start = w.len();
    data(w);
    let size = w.len() - start;
    debug_assert!(size <= MAX_BLOCK, "blocks are built from bounded parts");
    w.patch_u16(start - 2, size as u16);
}

fn options(r: &mut Reader<'_>) -> Result<PaddingOptions, DecodeError> {
    Ok(PaddingOptions {
        transmit: (r.u8()?, r.u8()?),
        receive: (r.u8()?, r.u8()?),
        dummy: (r.u16()?, r.u16()?),
        delay: (r.u16()?, r.u16()?),
    })
}

fn router_info<'a>(r: &mut Reader<'a>) -> Result<RouterInfoBlock<'a>, DecodeError> {
    let flags = r.u8()?;
    r.u8()?; // one piece, always
    Ok(RouterInfoBlock { flood: flags & FLOOD != 0, gzip: flags & GZIP != 0, bytes: r.rest() })
}

fn follow_on<'a>(r: &mut Reader<'a>) -> Result<FollowOn<'a>, DecodeError> {
    let info = r.u8()?;
    let number = info >> 1;
    if number == 0 {
        return Err(r.invalid("fragment number"));
    }
    let message = r.u32()?;
    Ok(FollowOn { number, last: info & LAST != 0, message, bytes: at_least(r, 1)? })
}

/// All that is left, if it is enough.
fn at_least<'a>(r: &mut Reader<'a>, n: usize) -> Result<&'a [u8], DecodeError> {
    if r.remaining() < n {
        r.take(n)?;
    }
    Ok(r.rest())
}

/// The blocks of a payload, front to back.
///
/// A block whose data makes no sense is an error, and the next one follows. It
/// ends with the error of a block that reaches beyond the payload, or stands
/// behind Padding, or behind Termination without being Padding.
#[derive(Clone, Debug)]
pub struct Blocks<'a> {
    reader: Reader<'a>,
    terminated: bool,
    padded: bool,
    broken: bool,
}

impl<'a> Blocks<'a> {
    /// The blocks of this decrypted payload.
    pub const fn new(payload: &'a [u8]) -> Self {
        let reader = Reader::new(Block::SPEC, payload);
        Self { reader, terminated: false, padded: false, broken: false }
    }

    /// What is not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.reader.clone().rest()
    }

    /// Whether the last error was in the sequence of blocks, not inside one.
    pub const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Looks at the next block's header: whether it may stand here and fits.
    fn check(&mut self) -> Result<(), DecodeError> {
        let mut ahead = self.reader.clone();
        let kind = ahead.u8()?;
        let size = usize::from(ahead.u16()?);
        ahead.take(size)?;
        if self.padded || (self.terminated && kind != PADDING) {
            return Err(self.reader.invalid("block order"));
        }
        self.padded = kind == PADDING;
        self.terminated |= kind == TERMINATION;
        Ok(())
    }
}

impl<'a> Iterator for Blocks<'a> {
    type Item = Result<Block<'a>, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.reader.is_empty() {
            return None;
        }
        if let Err(e) = self.check() {
            self.broken = true;
            let _ = self.reader.rest();
            return Some(Err(e));
        }
        Some(self.reader.read::<Block<'a>>())
    }
}
