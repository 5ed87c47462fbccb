//! DatabaseStore (`i2np#databasestore`).
//!
//! ```text
//! key 32 | type 1 | token 4 | [tunnel 4 | gateway 32] | LeaseSet, or length 2 and gzip of a RouterInfo
//! ```

use std::num::NonZeroU32;

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::gzip;
use crate::i2np::MAX_BODY_SIZE;
use crate::ids::{Hash, RouterHash, TunnelId};
use crate::lease_set::{LeaseSet, LeaseSetType};
use crate::router_info::{MAX_ROUTER_INFO_SIZE, RouterInfo};
use crate::verified::{Unverified, Verified};

/// A RouterInfo or LeaseSet on its way to or from the network database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseStore {
    /// What it is stored under. Must be compared with what the data says.
    pub key: Hash,
    /// Who wants to know that it has arrived.
    pub reply: Option<StoreReply>,
    /// What is stored.
    pub data: StoreData,
}

/// Who wants to know that a DatabaseStore has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreReply {
    /// Comes back as the number in a DeliveryStatus.
    pub token: NonZeroU32,
    /// The tunnel to send it through; straight to `gateway` without one.
    pub tunnel: Option<TunnelId>,
    /// The start of the tunnel.
    pub gateway: RouterHash,
}

/// What a DatabaseStore carries, undecoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreData {
    /// A RouterInfo in gzip.
    RouterInfo {
        /// The gzip member.
        compressed: Vec<u8>,
    },
    /// A LeaseSet of some kind.
    LeaseSet {
        /// Which.
        kind: LeaseSetType,
        /// Its bytes.
        bytes: Vec<u8>,
    },
}

impl DatabaseStore {
    /// Carries a RouterInfo.
    pub fn router_info(info: &Verified<RouterInfo>, reply: Option<StoreReply>) -> Self {
        let data = StoreData::RouterInfo { compressed: gzip::compress(info.bytes()) };
        Self { key: info.hash().into(), reply, data }
    }

    /// Carries a LeaseSet.
    pub fn lease_set(set: &Verified<LeaseSet>, reply: Option<StoreReply>) -> Self {
        let data = StoreData::LeaseSet { kind: set.kind(), bytes: set.bytes().to_vec() };
        Self { key: set.key().into(), reply, data }
    }
}

impl StoreData {
    /// The RouterInfo, if it is one. Inflates at most [`MAX_ROUTER_INFO_SIZE`] bytes.
    pub fn decode_router_info(&self) -> Option<Result<Unverified<RouterInfo>, DecodeError>> {
        match self {
            Self::RouterInfo { compressed } => Some(
                gzip::inflate(compressed, MAX_ROUTER_INFO_SIZE)
                    .and_then(|bytes| RouterInfo::decode_unverified(&bytes)),
            ),
            Self::LeaseSet { .. } => None,
        }
    }

    /// The LeaseSet, if it is one.
    pub fn decode_lease_set(&self) -> Option<Result<Unverified<LeaseSet>, DecodeError>> {
        match self {
            Self::LeaseSet { kind, bytes } => Some(LeaseSet::decode(*kind, bytes)),
            Self::RouterInfo { .. } => None,
        }
    }
}

impl<'a> Wire<'a> for DatabaseStore {
    const SPEC: &'static str = "i2np#databasestore";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let key = r.read()?;
        let kind = r.u8()?;
        let reply = match NonZeroU32::new(r.u32()?) {
            None => None,
            Some(token) => Some(StoreReply { token, tunnel: TunnelId::new(r.u32()?), gateway: r.read()? }),
        };
        let data = if kind == 0 {
            let len = usize::from(r.u16()?);
            StoreData::RouterInfo { compressed: r.take(len)?.to_vec() }
        } else {
            let kind = LeaseSetType::from_code(kind).ok_or_else(|| r.invalid("store type"))?;
            StoreData::LeaseSet { kind, bytes: r.rest().to_vec() }
        };
        Ok(Self { key, reply, data })
    }

    fn encode(&self, w: &mut Writer) {
        w.write(&self.key);
        w.u8(match &self.data {
            StoreData::RouterInfo { .. } => 0,
            StoreData::LeaseSet { kind, .. } => kind.code(),
        });
        w.u32(self.reply.map_or(0, |reply| reply.token.get()));
        if let Some(reply) = &self.reply {
            w.u32(reply.tunnel.map_or(0, TunnelId::get));
            w.write(&reply.gateway);
        }
        match &self.data {
            StoreData::RouterInfo { compressed } => {
                // What was decoded or compressed here is far below the limit.
                let bytes = compressed.get(..MAX_BODY_SIZE).unwrap_or(compressed);
                w.u16(bytes.len() as u16);
                w.bytes(bytes);
            }
            StoreData::LeaseSet { bytes, .. } => w.bytes(bytes),
        }
    }
}
