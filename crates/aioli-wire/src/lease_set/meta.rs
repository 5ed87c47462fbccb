//! A list of further LeaseSets (`common-structures#metaleaseset`): stored and
//! flooded, not followed.

use std::ops::Deref;

use aioli_core::Date;

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::ids::Hash;
use crate::lease_set::{LeaseSetHeader, LeaseSetType};
use crate::mapping::Mapping;
use crate::verified::{Raw, Signed, VerifyError};

/// The most entries, and the most revocations, of a MetaLeaseSet that is read.
pub(crate) const MAX_META_ENTRIES: usize = 64;

/// A list of further LeaseSets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetaLeaseSet {
    /// Whose, when, and how to treat it.
    pub header: LeaseSetHeader,
    /// Options.
    pub properties: Mapping,
    /// The LeaseSets.
    pub entries: Vec<MetaLease>,
    /// LeaseSets that no longer count.
    pub revocations: Vec<Hash>,
    raw: Raw,
}

/// A further LeaseSet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MetaLease {
    /// What it is stored under.
    pub hash: Hash,
    /// 0 unknown, 1 the first kind, 3 the usual one, 5 another of these.
    pub kind: u8,
    /// Lower is better.
    pub cost: u8,
    /// When the entry ends.
    pub end: Date,
}

impl MetaLeaseSet {
    /// The exact bytes, without the store type.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }
}

impl Deref for MetaLeaseSet {
    type Target = LeaseSetHeader;

    fn deref(&self) -> &LeaseSetHeader {
        &self.header
    }
}

impl Signed for MetaLeaseSet {
    fn check(&self) -> Result<(), VerifyError> {
        self.header.check(LeaseSetType::Meta, &self.raw)
    }
}

impl<'a> Wire<'a> for MetaLeaseSet {
    const SPEC: &'static str = "common-structures#metaleaseset";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = r.at();
        let header = LeaseSetHeader::decode(r)?;
        let properties = r.read()?;
        let count = bounded_count(r, "entries")?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let hash = r.read()?;
            let [_, _, flags] = r.array()?;
            entries.push(MetaLease { hash, kind: flags & 0x0f, cost: r.u8()?, end: r.date_secs()? });
        }
        let count = bounded_count(r, "revocations")?;
        let revocations = (0..count).map(|_| r.read()).collect::<Result<_, _>>()?;
        r.take(header.signer_type().signature_len())?;
        Ok(Self { header, properties, entries, revocations, raw: r.since(start).into() })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.raw);
    }
}

fn bounded_count(r: &mut Reader<'_>, what: &'static str) -> Result<usize, DecodeError> {
    let count = usize::from(r.u8()?);
    if count <= MAX_META_ENTRIES { Ok(count) } else { Err(r.error(DecodeErrorKind::Limit(what))) }
}
