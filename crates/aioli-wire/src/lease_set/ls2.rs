//! The usual LeaseSet (`common-structures#leaseset2`).

use std::ops::Deref;

use aioli_core::Date;
use aioli_core::crypto::ed25519::SigningKey;

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::destination::Destination;
use crate::ids::{RouterHash, TunnelId};
use crate::lease_set::{
    Lease, LeaseSet, LeaseSetFlags, LeaseSetHeader, LeaseSetType, MAX_ENCRYPTION_KEYS, MAX_LEASES,
};
use crate::mapping::Mapping;
use crate::offline::{OfflineSignature, wire_secs};
use crate::verified::{Raw, Signed, Verified, VerifyError};

/// The usual LeaseSet. The fields of its [`LeaseSetHeader`] can be read as its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSet2 {
    /// Whose, when, and how to treat it.
    pub header: LeaseSetHeader,
    /// Service records and others.
    pub properties: Mapping,
    /// Encryption type codes and keys, the owner's favourite first.
    pub keys: Vec<(u16, Vec<u8>)>,
    /// Its inbound tunnels.
    pub leases: Vec<Lease>,
    raw: Raw,
}

/// What goes into a LeaseSet2 of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSet2Parts {
    /// Whose it is.
    pub destination: Destination,
    /// Now. Each version must be a second newer than the one before.
    pub published: Date,
    /// When its last lease ends; at most 18.2 hours after `published`.
    pub expires: Date,
    /// What to do with it; the offline bit follows `offline`.
    pub flags: LeaseSetFlags,
    /// The transient key, if `key` is one.
    pub offline: Option<OfflineSignature>,
    /// Service records and others.
    pub properties: Mapping,
    /// Encryption type codes and keys, the favourite first; at most [`MAX_ENCRYPTION_KEYS`] are used.
    pub keys: Vec<(u16, Vec<u8>)>,
    /// The inbound tunnels; at most [`MAX_LEASES`] are used.
    pub leases: Vec<Lease>,
}

impl LeaseSet2 {
    /// Signs one with the destination's key, or with the transient key.
    pub fn create(parts: LeaseSet2Parts, key: &SigningKey) -> Verified<LeaseSet> {
        let LeaseSet2Parts { destination, published, expires, flags, offline, properties, keys, leases } =
            parts;
        let published = whole_secs(published);
        let offset = whole_secs(expires).since(published).as_secs().min(u64::from(u16::MAX));
        let flags = flags.without(LeaseSetFlags::OFFLINE);
        let header = LeaseSetHeader {
            destination,
            published,
            expires: Date::from_secs(published.as_secs() + offset),
            flags: if offline.is_some() { flags.with(LeaseSetFlags::OFFLINE) } else { flags },
            offline,
        };
        let cut = |key: Vec<u8>| key.into_iter().take(usize::from(u16::MAX)).collect();
        let keys = keys.into_iter().take(MAX_ENCRYPTION_KEYS).map(|(t, k)| (t, cut(k))).collect();
        let leases =
            leases.into_iter().take(MAX_LEASES).map(|l| Lease { end: whole_secs(l.end), ..l }).collect();
        let mut out = Self { header, properties, keys, leases, raw: Raw::from(&[][..]) };
        let mut w = Writer::with_capacity(1024);
        w.u8(LeaseSetType::V2.code());
        out.encode_signed(&mut w);
        let signature = key.sign(w.as_slice());
        w.bytes(&signature);
        out.raw = w.as_slice().get(1..).unwrap_or(&[]).into();
        Verified::by_creation(LeaseSet::V2(out))
    }

    /// The exact bytes, without the store type.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }

    fn encode_signed(&self, w: &mut Writer) {
        self.header.encode(w);
        w.write(&self.properties);
        w.u8(self.keys.len() as u8);
        for (kind, key) in &self.keys {
            w.u16(*kind);
            w.u16(key.len() as u16);
            w.bytes(key);
        }
        w.u8(self.leases.len() as u8);
        for lease in &self.leases {
            w.write(&lease.gateway);
            w.write(&lease.tunnel);
            w.u32(wire_secs(lease.end));
        }
    }
}

/// What a 4-byte date keeps.
fn whole_secs(date: Date) -> Date {
    Date::from_secs(u64::from(wire_secs(date)))
}

impl Deref for LeaseSet2 {
    type Target = LeaseSetHeader;

    fn deref(&self) -> &LeaseSetHeader {
        &self.header
    }
}

impl Signed for LeaseSet2 {
    fn check(&self) -> Result<(), VerifyError> {
        self.header.check(LeaseSetType::V2, &self.raw)
    }
}

impl<'a> Wire<'a> for LeaseSet2 {
    const SPEC: &'static str = "common-structures#leaseset2";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = r.at();
        let header = LeaseSetHeader::decode(r)?;
        let properties = r.read()?;
        let count = usize::from(r.u8()?);
        if count == 0 {
            return Err(r.invalid("number of encryption keys"));
        }
        if count > MAX_ENCRYPTION_KEYS {
            return Err(r.error(DecodeErrorKind::Limit("encryption keys")));
        }
        let mut keys = Vec::with_capacity(count);
        for _ in 0..count {
            let kind = r.u16()?;
            let len = usize::from(r.u16()?);
            keys.push((kind, r.take(len)?.to_vec()));
        }
        let count = usize::from(r.u8()?);
        if count > MAX_LEASES {
            return Err(r.error(DecodeErrorKind::Limit("leases")));
        }
        let mut leases = Vec::with_capacity(count);
        for _ in 0..count {
            let gateway = r.read::<RouterHash>()?;
            let tunnel = r.read::<TunnelId>()?;
            leases.push(Lease { gateway, tunnel, end: r.date_secs()? });
        }
        r.take(header.signer_type().signature_len())?;
        Ok(Self { header, properties, keys, leases, raw: r.since(start).into() })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.raw);
    }
}
