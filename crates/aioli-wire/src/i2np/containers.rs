//! Bodies that are little more than an envelope.

use aioli_core::Date;

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::i2np::{MAX_BODY_SIZE, Message};
use crate::ids::{MessageId, TunnelId};

/// Something has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryStatus {
    /// The number of the message, or the token of a DatabaseStore.
    pub id: MessageId,
    /// When it arrived.
    pub time: Date,
}

impl<'a> Wire<'a> for DeliveryStatus {
    const SPEC: &'static str = "i2np#deliverystatus";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { id: r.read()?, time: r.date()? })
    }

    fn encode(&self, w: &mut Writer) {
        w.write(&self.id);
        w.date(self.time);
    }
}

/// Something encrypted to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garlic<'a> {
    /// The ciphertext, at most [`MAX_BODY_SIZE`] less 4 bytes.
    pub bytes: &'a [u8],
}

impl<'a> Wire<'a> for Garlic<'a> {
    const SPEC: &'static str = "i2np#garlic";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { bytes: long_bytes(r)? })
    }

    fn encode(&self, w: &mut Writer) {
        w.u32(self.bytes.len() as u32);
        w.bytes(self.bytes);
    }
}

/// From one destination to another, inside garlic only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// A client payload, at most [`MAX_BODY_SIZE`] less 4 bytes.
    pub payload: &'a [u8],
}

impl<'a> Wire<'a> for Data<'a> {
    const SPEC: &'static str = "i2np#data";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { payload: long_bytes(r)? })
    }

    fn encode(&self, w: &mut Writer) {
        w.u32(self.payload.len() as u32);
        w.bytes(self.payload);
    }
}

fn long_bytes<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], DecodeError> {
    let len = r.u32()? as usize;
    if len > MAX_BODY_SIZE {
        return Err(r.error(DecodeErrorKind::Limit("message size")));
    }
    r.take(len)
}

/// A message that enters a tunnel at the router that receives this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelGateway<'a> {
    /// The tunnel.
    pub tunnel: TunnelId,
    /// The message, with the standard header; at most 65,535 bytes.
    pub message: &'a [u8],
}

impl TunnelGateway<'_> {
    /// The message inside.
    pub fn decode_message(&self) -> Result<Message, DecodeError> {
        Message::decode_standard(self.message)
    }
}

impl<'a> Wire<'a> for TunnelGateway<'a> {
    const SPEC: &'static str = "i2np#tunnelgateway";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let tunnel = r.read()?;
        let len = usize::from(r.u16()?);
        Ok(Self { tunnel, message: r.take(len)? })
    }

    fn encode(&self, w: &mut Writer) {
        let message = self.message.get(..usize::from(u16::MAX)).unwrap_or(self.message);
        w.write(&self.tunnel);
        w.u16(message.len() as u16);
        w.bytes(message);
    }
}
