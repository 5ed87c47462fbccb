//! I2NP messages (`i2np`): the unit that moves between routers and between
//! the parts of one.
//!
//! ```text
//! standard, in tunnels:            type 1 | id 4 | expiration 8 (ms) | size 2 | checksum 1 | body
//! short, in sessions and cloves:   type 1 | id 4 | expiration 4 (s)  | body
//! ```

mod containers;
mod lookup;
mod search_reply;
mod store;
#[cfg(test)]
mod tests;

use aioli_core::crypto::hash::sha256;
use aioli_core::{Date, bug};

pub use containers::{Data, DeliveryStatus, Garlic, TunnelGateway};
pub use lookup::{DatabaseLookup, LookupType, MAX_EXCLUDED, ReplyEncryption};
pub use search_reply::{DatabaseSearchReply, MAX_SEARCH_REPLY_PEERS};
pub use store::{DatabaseStore, StoreData, StoreReply};

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Writer};
use crate::ids::MessageId;

const SPEC: &str = "i2np#common-i2np-header";

/// The largest body of a message.
pub const MAX_BODY_SIZE: usize = 62_708;
/// Bytes of the standard header.
pub const STANDARD_HEADER: usize = 16;
/// Bytes of the short header.
pub const SHORT_HEADER: usize = 9;

/// A message: header and undecoded body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What the body is.
    pub kind: MessageType,
    /// Its number.
    pub id: MessageId,
    /// After this it must be dropped. The short header carries whole seconds.
    pub expires: Date,
    /// At most [`MAX_BODY_SIZE`] bytes.
    pub body: Vec<u8>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageType {
    /// 1: a RouterInfo or LeaseSet.
    DatabaseStore,
    /// 2: asks for one.
    DatabaseLookup,
    /// 3: names routers that may know better.
    DatabaseSearchReply,
    /// 10: something has arrived.
    DeliveryStatus,
    /// 11: encrypted to its receiver.
    Garlic,
    /// 18: a step on the way through a tunnel.
    TunnelData,
    /// 19: to enter a tunnel.
    TunnelGateway,
    /// 20: from one destination to another.
    Data,
    /// 23: builds a tunnel, long records.
    VariableTunnelBuild,
    /// 24: its reply.
    VariableTunnelBuildReply,
    /// 25: builds a tunnel, short records.
    ShortTunnelBuild,
    /// 26: its reply for an outbound tunnel.
    OutboundTunnelBuildReply,
    /// Any other: dropped without a word.
    Unknown(u8),
}

impl MessageType {
    /// Its code.
    pub const fn code(self) -> u8 {
        match self {
            Self::DatabaseStore => 1,
            Self::DatabaseLookup => 2,
            Self::DatabaseSearchReply => 3,
            Self::DeliveryStatus => 10,
            Self::Garlic => 11,
            Self::TunnelData => 18,
            Self::TunnelGateway => 19,
            Self::Data => 20,
            Self::VariableTunnelBuild => 23,
            Self::VariableTunnelBuildReply => 24,
            Self::ShortTunnelBuild => 25,
            Self::OutboundTunnelBuildReply => 26,
            Self::Unknown(code) => code,
        }
    }

    /// The type with this code.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::DatabaseStore,
            2 => Self::DatabaseLookup,
            3 => Self::DatabaseSearchReply,
            10 => Self::DeliveryStatus,
            11 => Self::Garlic,
            18 => Self::TunnelData,
            19 => Self::TunnelGateway,
            20 => Self::Data,
            23 => Self::VariableTunnelBuild,
            24 => Self::VariableTunnelBuildReply,
            25 => Self::ShortTunnelBuild,
            26 => Self::OutboundTunnelBuildReply,
            _ => Self::Unknown(code),
        }
    }
}

impl Message {
    /// With the standard header.
    pub fn encode_standard(&self) -> Vec<u8> {
        let body = self.bounded_body();
        let mut w = Writer::with_capacity(STANDARD_HEADER + body.len());
        w.u8(self.kind.code());
        w.u32(self.id.0);
        w.date(self.expires);
        w.u16(body.len() as u16);
        w.u8(checksum(body));
        w.bytes(body);
        w.into_vec()
    }

    /// One with the standard header that fills `bytes`.
    pub fn decode_standard(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut r = Reader::new(SPEC, bytes);
        let kind = MessageType::from_code(r.u8()?);
        let id = MessageId(r.u32()?);
        let expires = r.date()?;
        let size = usize::from(r.u16()?);
        let sum = r.u8()?;
        if size > MAX_BODY_SIZE {
            return Err(r.error(DecodeErrorKind::Limit("message size")));
        }
        let body = r.take(size)?;
        if checksum(body) != sum {
            return Err(r.invalid("message checksum"));
        }
        r.finish()?;
        Ok(Self { kind, id, expires, body: body.to_vec() })
    }

    /// Appends it with the short header; what carries it must tell its length.
    pub fn encode_short(&self, out: &mut Vec<u8>) {
        let body = self.bounded_body();
        out.reserve(SHORT_HEADER + body.len());
        out.push(self.kind.code());
        out.extend_from_slice(&self.id.0.to_be_bytes());
        out.extend_from_slice(&self.expires.as_wire_secs().to_be_bytes());
        out.extend_from_slice(body);
    }

    /// Bytes that [`Message::encode_short`] appends.
    pub const fn short_len(&self) -> usize {
        SHORT_HEADER + self.body.len()
    }

    /// One with the short header that fills `bytes`.
    pub fn decode_short(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode_short_with_room(bytes, 0)
    }

    /// The same with room for so many bytes more in its body.
    pub fn decode_short_with_room(bytes: &[u8], more: usize) -> Result<Self, DecodeError> {
        let mut r = Reader::new(SPEC, bytes);
        let kind = MessageType::from_code(r.u8()?);
        let id = MessageId(r.u32()?);
        let expires = r.date_secs()?;
        let body = r.rest();
        if body.len() > MAX_BODY_SIZE {
            return Err(r.error(DecodeErrorKind::Limit("message size")));
        }
        let mut owned = Vec::with_capacity(body.len() + more);
        owned.extend_from_slice(body);
        Ok(Self { kind, id, expires, body: owned })
    }

    fn bounded_body(&self) -> &[u8] {
        if let Some(cut) = self.body.get(..MAX_BODY_SIZE)
            && self.body.len() > MAX_BODY_SIZE
        {
            bug!("a {:?} body of {} bytes was made", self.kind, self.body.len());
            return cut;
        }
        &self.body
    }
}

/// The first byte of the body's SHA-256.
fn checksum(body: &[u8]) -> u8 {
    let [first, ..] = sha256(body);
    first
}
