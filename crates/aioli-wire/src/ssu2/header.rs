//! The two headers (`ssu2#packet-header`).

use std::fmt;

use super::VERSION;
use crate::codec::{DecodeError, Reader, Wire, Writer};

/// Bytes of a long header.
pub const LONG_HEADER: usize = 32;
/// Bytes of a short header.
pub const SHORT_HEADER: usize = 16;

/// Names a session at the router that receives the packet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

impl ConnectionId {
    /// The destination id of hole punches and of peer test messages to Alice; theirs
    /// to Charlie is its [`Self::inverse`].
    pub const fn from_nonce(nonce: u32) -> Self {
        Self(((nonce as u64) << 32) | nonce as u64)
    }

    /// All bits the other way.
    #[must_use]
    pub const fn inverse(self) -> Self {
        Self(!self.0)
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConnectionId({:016x})", self.0)
    }
}

/// What a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketType {
    /// 0: Alice's first packet with a token.
    SessionRequest,
    /// 1: Bob's answer.
    SessionCreated,
    /// 2: Alice says who she is.
    SessionConfirmed,
    /// 6: the session itself.
    Data,
    /// 7: between Alice and Charlie, who have no session.
    PeerTest,
    /// 9: a token from Bob, or his refusal.
    Retry,
    /// 10: Alice asks for a token.
    TokenRequest,
    /// 11: from Charlie, who opens his way for Alice.
    HolePunch,
}

impl PacketType {
    /// Its number.
    pub const fn code(self) -> u8 {
        match self {
            Self::SessionRequest => 0,
            Self::SessionCreated => 1,
            Self::SessionConfirmed => 2,
            Self::Data => 6,
            Self::PeerTest => 7,
            Self::Retry => 9,
            Self::TokenRequest => 10,
            Self::HolePunch => 11,
        }
    }

    /// The type with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::SessionRequest,
            1 => Self::SessionCreated,
            2 => Self::SessionConfirmed,
            6 => Self::Data,
            7 => Self::PeerTest,
            9 => Self::Retry,
            10 => Self::TokenRequest,
            11 => Self::HolePunch,
            _ => return None,
        })
    }

    /// Whether its header is the long one.
    pub const fn is_long(self) -> bool {
        !matches!(self, Self::SessionConfirmed | Self::Data)
    }
}

/// The header of everything outside of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongHeader {
    /// The receiver's.
    pub destination: ConnectionId,
    /// Random; the nonce of what is sealed with an introduction key.
    pub packet_number: u32,
    /// One with a long header.
    pub kind: PacketType,
    /// The network; 2 is the public one.
    pub net_id: u8,
    /// The sender's.
    pub source: ConnectionId,
    /// What the receiver gave out earlier, or gives out now; 0 for none.
    pub token: u64,
}

impl<'a> Wire<'a> for LongHeader {
    const SPEC: &'static str = "ssu2#long-header";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let destination = ConnectionId(r.u64()?);
        let packet_number = r.u32()?;
        let kind = PacketType::from_code(r.u8()?).filter(|kind| kind.is_long());
        let kind = kind.ok_or_else(|| r.invalid("packet type"))?;
        if r.u8()? != VERSION {
            return Err(r.invalid("version"));
        }
        let net_id = r.u8()?;
        r.u8()?; // flags, none known
        let (source, token) = (ConnectionId(r.u64()?), r.u64()?);
        Ok(Self { destination, packet_number, kind, net_id, source, token })
    }

    fn encode(&self, w: &mut Writer) {
        w.u64(self.destination.0);
        w.u32(self.packet_number);
        w.bytes(&[self.kind.code(), VERSION, self.net_id, 0]);
        w.u64(self.source.0);
        w.u64(self.token);
    }
}

/// Which piece of a SessionConfirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// From 0; below `total`.
    pub number: u8,
    /// From 1 to 15.
    pub total: u8,
}

/// The header of SessionConfirmed and Data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShortHeader {
    /// Its packet number is 0.
    Confirmed {
        /// Bob's.
        destination: ConnectionId,
        /// Which piece.
        fragment: Fragment,
    },
    /// Of a session.
    Data {
        /// The receiver's.
        destination: ConnectionId,
        /// The nonce of its payload.
        packet_number: u32,
        /// Whether an acknowledgement should come at once.
        immediate_ack: bool,
    },
}

const IMMEDIATE_ACK: u8 = 1;

impl<'a> Wire<'a> for ShortHeader {
    const SPEC: &'static str = "ssu2#short-header";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let destination = ConnectionId(r.u64()?);
        let packet_number = r.u32()?;
        let kind = PacketType::from_code(r.u8()?);
        let [detail, _, _] = r.array()?;
        match kind {
            Some(PacketType::SessionConfirmed) => {
                let fragment = Fragment { number: detail >> 4, total: detail & 15 };
                if packet_number != 0 || fragment.number >= fragment.total {
                    return Err(r.invalid("SessionConfirmed header"));
                }
                Ok(Self::Confirmed { destination, fragment })
            }
            Some(PacketType::Data) => {
                Ok(Self::Data { destination, packet_number, immediate_ack: detail & IMMEDIATE_ACK != 0 })
            }
            Some(
                PacketType::SessionRequest
                | PacketType::SessionCreated
                | PacketType::PeerTest
                | PacketType::Retry
                | PacketType::TokenRequest
                | PacketType::HolePunch,
            )
            | None => Err(r.invalid("packet type")),
        }
    }

    fn encode(&self, w: &mut Writer) {
        match self {
            Self::Confirmed { destination, fragment } => {
                w.u64(destination.0);
                w.u32(0);
                let detail = (fragment.number << 4) | (fragment.total & 15);
                w.bytes(&[PacketType::SessionConfirmed.code(), detail, 0, 0]);
            }
            Self::Data { destination, packet_number, immediate_ack } => {
                w.u64(destination.0);
                w.u32(*packet_number);
                w.bytes(&[PacketType::Data.code(), u8::from(*immediate_ack) * IMMEDIATE_ACK, 0, 0]);
            }
        }
    }
}
