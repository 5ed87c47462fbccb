//! The outer layer of an encrypted LeaseSet (`encryptedleaseset#format`): what
//! a floodfill sees of it. The layers inside need keys and are not a format.

use aioli_core::Date;
use aioli_core::crypto::hash::sha256_parts;
use aioli_core::crypto::sign::SigType;

use crate::codec::{DecodeError, Reader, Wire, Writer};
use crate::ids::DestinationHash;
use crate::lease_set::{LeaseSetFlags, LeaseSetType, check_typed, decode_offline, decode_times};
use crate::offline::OfflineSignature;
use crate::verified::{Raw, Signed, VerifyError};

/// The shortest ciphertext that can hold the layers inside.
const MIN_CIPHERTEXT: usize = 32 + 1 + 32 + 1;

/// The outer layer of an encrypted LeaseSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncryptedLeaseSet {
    /// The destination's key, blinded with the date.
    pub blinded_key: [u8; 32],
    /// When it was published, in whole seconds.
    pub published: Date,
    /// When it ends.
    pub expires: Date,
    /// What to do with it.
    pub flags: LeaseSetFlags,
    /// The transient key, if the blinded one is kept offline.
    pub offline: Option<OfflineSignature>,
    /// Everything else.
    pub ciphertext: Vec<u8>,
    raw: Raw,
}

impl EncryptedLeaseSet {
    /// What it is stored under: SHA-256 of the blinded key and its type.
    pub fn key(&self) -> DestinationHash {
        Self::store_key(&self.blinded_key)
    }

    /// What the one with this blinded key is stored under.
    pub fn store_key(blinded_key: &[u8; 32]) -> DestinationHash {
        DestinationHash::new(sha256_parts(&[&SigType::RedDsa.code().to_be_bytes(), blinded_key]))
    }

    /// The exact bytes, without the store type.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }
}

impl Signed for EncryptedLeaseSet {
    fn check(&self) -> Result<(), VerifyError> {
        check_typed(
            LeaseSetType::Encrypted,
            &self.raw,
            SigType::RedDsa,
            &self.blinded_key,
            self.offline.as_ref(),
            self.published,
        )
    }
}

impl<'a> Wire<'a> for EncryptedLeaseSet {
    const SPEC: &'static str = "encryptedleaseset#format";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = r.at();
        if SigType::from_code(r.u16()?) != Some(SigType::RedDsa) {
            return Err(r.invalid("blinded key type"));
        }
        let blinded_key = r.array()?;
        let (published, expires, flags) = decode_times(r)?;
        let offline = decode_offline(r, flags, SigType::RedDsa)?;
        let len = usize::from(r.u16()?);
        if len < MIN_CIPHERTEXT {
            return Err(r.invalid("ciphertext length"));
        }
        let ciphertext = r.take(len)?.to_vec();
        r.take(offline.as_ref().map_or(SigType::RedDsa, |o| o.transient_type).signature_len())?;
        Ok(Self { blinded_key, published, expires, flags, offline, ciphertext, raw: r.since(start).into() })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.raw);
    }
}
