//! Where a destination can be reached (`common-structures#leaseset` and
//! following): the four kinds that a DatabaseStore may carry.
//!
//! The signature of the old kind covers its bytes; those of the newer three
//! cover the store type in front of them, too.

mod encrypted;
mod ls1;
mod ls2;
mod meta;
#[cfg(test)]
mod tests;

use aioli_core::Date;
use aioli_core::crypto::sign::{self, SigType};

pub use encrypted::EncryptedLeaseSet;
pub use ls1::LeaseSet1;
pub use ls2::{LeaseSet2, LeaseSet2Parts};
pub use meta::{MetaLease, MetaLeaseSet};

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Writer};
use crate::destination::Destination;
use crate::ids::{DestinationHash, RouterHash, TunnelId};
use crate::offline::{OfflineSignature, wire_secs};
use crate::verified::{Raw, Signed, Unverified, VerifyError};

/// The largest LeaseSet that is read, encrypted ones apart.
pub const MAX_LEASE_SET_SIZE: usize = 4096;
/// The largest encrypted LeaseSet that is read: it grows with its list of clients.
pub const MAX_ENCRYPTED_LEASE_SET_SIZE: usize = 16 * 1024;
/// The most leases in a LeaseSet.
pub const MAX_LEASES: usize = 16;
/// The most encryption keys in a LeaseSet2.
pub const MAX_ENCRYPTION_KEYS: usize = 8;

/// An inbound tunnel of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lease {
    /// The router at its start.
    pub gateway: RouterHash,
    /// Its id there.
    pub tunnel: TunnelId,
    /// When it ends.
    pub end: Date,
}

/// The kinds of LeaseSet, by their DatabaseStore type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LeaseSetType {
    /// The first one.
    V1 = 1,
    /// The usual one.
    V2 = 3,
    /// One that only those who know the destination can read.
    Encrypted = 5,
    /// A list of further LeaseSets.
    Meta = 7,
}

impl LeaseSetType {
    /// The DatabaseStore type.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind with this DatabaseStore type.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::V1,
            3 => Self::V2,
            5 => Self::Encrypted,
            7 => Self::Meta,
            _ => return None,
        })
    }
}

/// The flags of the newer kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseSetFlags(pub u16);

impl LeaseSetFlags {
    /// Signed by a transient key.
    pub const OFFLINE: Self = Self(1);
    /// Given to correspondents only: not to be flooded.
    pub const UNPUBLISHED: Self = Self(2);
    /// Published in encrypted form.
    pub const BLINDED: Self = Self(4);

    /// Whether all of `other` are set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// These but `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Where a destination can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseSet {
    /// The first kind.
    V1(LeaseSet1),
    /// The usual kind.
    V2(LeaseSet2),
    /// One that only those who know the destination can read.
    Encrypted(EncryptedLeaseSet),
    /// A list of further LeaseSets.
    Meta(MetaLeaseSet),
}

impl LeaseSet {
    /// Decodes one that fills `bytes`.
    pub fn decode(kind: LeaseSetType, bytes: &[u8]) -> Result<Unverified<Self>, DecodeError> {
        let cap = match kind {
            LeaseSetType::Encrypted => MAX_ENCRYPTED_LEASE_SET_SIZE,
            LeaseSetType::V1 | LeaseSetType::V2 | LeaseSetType::Meta => MAX_LEASE_SET_SIZE,
        };
        let mut r = Reader::new("common-structures#leaseset", bytes);
        if bytes.len() > cap {
            return Err(r.error(DecodeErrorKind::Limit("LeaseSet size")));
        }
        let out = match kind {
            LeaseSetType::V1 => Self::V1(r.read()?),
            LeaseSetType::V2 => Self::V2(r.read()?),
            LeaseSetType::Encrypted => Self::Encrypted(r.read()?),
            LeaseSetType::Meta => Self::Meta(r.read()?),
        };
        r.finish()?;
        Ok(Unverified::new(out))
    }

    /// Its kind.
    pub const fn kind(&self) -> LeaseSetType {
        match self {
            Self::V1(_) => LeaseSetType::V1,
            Self::V2(_) => LeaseSetType::V2,
            Self::Encrypted(_) => LeaseSetType::Encrypted,
            Self::Meta(_) => LeaseSetType::Meta,
        }
    }

    /// What it is stored under.
    pub fn key(&self) -> DestinationHash {
        match self {
            Self::V1(ls) => ls.destination.hash(),
            Self::V2(ls) => ls.header.destination.hash(),
            Self::Encrypted(ls) => ls.key(),
            Self::Meta(ls) => ls.header.destination.hash(),
        }
    }

    /// The exact bytes, without the store type.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::V1(ls) => ls.bytes(),
            Self::V2(ls) => ls.bytes(),
            Self::Encrypted(ls) => ls.bytes(),
            Self::Meta(ls) => ls.bytes(),
        }
    }

    /// The destination, unless it is hidden.
    pub const fn destination(&self) -> Option<&Destination> {
        match self {
            Self::V1(ls) => Some(&ls.destination),
            Self::V2(ls) => Some(&ls.header.destination),
            Self::Meta(ls) => Some(&ls.header.destination),
            Self::Encrypted(_) => None,
        }
    }

    /// The leases; none in the kinds that have none in the open.
    pub fn leases(&self) -> &[Lease] {
        match self {
            Self::V1(ls) => &ls.leases,
            Self::V2(ls) => &ls.leases,
            Self::Encrypted(_) | Self::Meta(_) => &[],
        }
    }

    /// What orders versions of one LeaseSet: when it was published, or for the
    /// first kind, which does not say, when its first lease ends.
    pub fn version(&self) -> Date {
        match self {
            Self::V1(ls) => ls.leases.iter().map(|l| l.end).min().unwrap_or(Date::NULL),
            Self::V2(ls) => ls.header.published,
            Self::Encrypted(ls) => ls.published,
            Self::Meta(ls) => ls.header.published,
        }
    }

    /// When it is of no use any more.
    pub fn expires(&self) -> Date {
        match self {
            Self::V1(ls) => ls.leases.iter().map(|l| l.end).max().unwrap_or(Date::NULL),
            Self::V2(ls) => ls.header.expires,
            Self::Encrypted(ls) => ls.expires,
            Self::Meta(ls) => ls.header.expires,
        }
    }

    /// Its flags; none are set in the first kind.
    pub const fn flags(&self) -> LeaseSetFlags {
        match self {
            Self::V1(_) => LeaseSetFlags(0),
            Self::V2(ls) => ls.header.flags,
            Self::Encrypted(ls) => ls.flags,
            Self::Meta(ls) => ls.header.flags,
        }
    }

    /// The transient key, if the long-term one is kept offline.
    pub const fn offline(&self) -> Option<&OfflineSignature> {
        match self {
            Self::V1(_) => None,
            Self::V2(ls) => ls.header.offline.as_ref(),
            Self::Encrypted(ls) => ls.offline.as_ref(),
            Self::Meta(ls) => ls.header.offline.as_ref(),
        }
    }

    /// As the usual kind.
    pub const fn as_v2(&self) -> Option<&LeaseSet2> {
        match self {
            Self::V2(ls) => Some(ls),
            Self::V1(_) | Self::Encrypted(_) | Self::Meta(_) => None,
        }
    }
}

impl Signed for LeaseSet {
    fn check(&self) -> Result<(), VerifyError> {
        match self {
            Self::V1(ls) => ls.check(),
            Self::V2(ls) => ls.check(),
            Self::Encrypted(ls) => ls.check(),
            Self::Meta(ls) => ls.check(),
        }
    }
}

/// What LeaseSet2 and MetaLeaseSet begin with (`common-structures#leaseset2header`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSetHeader {
    /// Whose it is.
    pub destination: Destination,
    /// When it was published, in whole seconds.
    pub published: Date,
    /// When it ends.
    pub expires: Date,
    /// What to do with it.
    pub flags: LeaseSetFlags,
    /// The transient key, if the long-term one is kept offline.
    pub offline: Option<OfflineSignature>,
}

impl LeaseSetHeader {
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let destination = r.read::<Destination>()?;
        let (published, expires, flags) = decode_times(r)?;
        let offline = decode_offline(r, flags, destination.sig_type())?;
        Ok(Self { destination, published, expires, flags, offline })
    }

    fn encode(&self, w: &mut Writer) {
        w.write(&self.destination);
        let published = wire_secs(self.published);
        w.u32(published);
        w.u16(u16::try_from(wire_secs(self.expires).saturating_sub(published)).unwrap_or(u16::MAX));
        w.u16(self.flags.0);
        if let Some(offline) = &self.offline {
            offline.encode(w);
        }
    }

    /// The type of the key that signs.
    fn signer_type(&self) -> SigType {
        self.offline.as_ref().map_or_else(|| self.destination.sig_type(), |o| o.transient_type)
    }

    /// Checks the signature at the end of `raw`.
    fn check(&self, kind: LeaseSetType, raw: &Raw) -> Result<(), VerifyError> {
        let keys = self.destination.keys_and_cert();
        check_typed(kind, raw, keys.sig_type(), &keys.signing_key(), self.offline.as_ref(), self.published)
    }
}

fn decode_times(r: &mut Reader<'_>) -> Result<(Date, Date, LeaseSetFlags), DecodeError> {
    let published = u64::from(r.u32()?);
    let offset = u64::from(r.u16()?);
    let flags = LeaseSetFlags(r.u16()?);
    Ok((Date::from_secs(published), Date::from_secs(published + offset), flags))
}

fn decode_offline(
    r: &mut Reader<'_>,
    flags: LeaseSetFlags,
    signer: SigType,
) -> Result<Option<OfflineSignature>, DecodeError> {
    flags.contains(LeaseSetFlags::OFFLINE).then(|| OfflineSignature::decode(r, signer)).transpose()
}

/// Checks the signature at the end of `raw`, by `key` or by the transient key
/// that it vouches for, over the store type and everything before.
fn check_typed(
    kind: LeaseSetType,
    raw: &Raw,
    key_type: SigType,
    key: &[u8],
    offline: Option<&OfflineSignature>,
    published: Date,
) -> Result<(), VerifyError> {
    let (signer, signer_key) = match offline {
        None => (key_type, key),
        Some(offline) => {
            offline.verify(key_type, key)?;
            if offline.expires < published {
                return Err(VerifyError::TransientExpired);
            }
            (offline.transient_type, offline.transient_key.as_slice())
        }
    };
    let (signed, signature) = raw.split_signature(signer.signature_len());
    let message = [&[kind.code()], signed].concat();
    sign::verify(signer, signer_key, &message, signature).map_err(|_| VerifyError::Signature)
}
