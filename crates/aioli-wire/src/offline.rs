//! A transient signing key, vouched for by a key that is kept offline
//! (`common-structures#offlinesignature`).

use aioli_core::Date;
use aioli_core::crypto::sign::{self, SigType};

use crate::codec::{DecodeError, Reader, Writer};
use crate::destination::Destination;
use crate::verified::VerifyError;

/// A transient signing key and the long-term key's signature over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OfflineSignature {
    /// The transient key may not sign after this.
    pub expires: Date,
    /// The kind of the transient key.
    pub transient_type: SigType,
    /// The transient public key.
    pub transient_key: Vec<u8>,
    /// By the long-term key, over the three fields before.
    pub signature: Vec<u8>,
}

impl OfflineSignature {
    /// What `common-structures` calls it.
    pub const SPEC: &'static str = "common-structures#offlinesignature";

    /// Reads one whose long-term key is of type `signer`.
    pub fn decode(r: &mut Reader<'_>, signer: SigType) -> Result<Self, DecodeError> {
        let expires = r.date_secs()?;
        let transient_type = SigType::from_code(r.u16()?)
            .filter(|t| {
                matches!(
                    t,
                    SigType::DsaSha1
                        | SigType::EcdsaP256
                        | SigType::EcdsaP384
                        | SigType::EcdsaP521
                        | SigType::Ed25519
                        | SigType::RedDsa
                )
            })
            .ok_or_else(|| r.invalid("transient key type"))?;
        let transient_key = r.take(transient_type.public_len())?.to_vec();
        let signature = r.take(signer.signature_len())?.to_vec();
        Ok(Self { expires, transient_type, transient_key, signature })
    }

    /// Appends it.
    pub fn encode(&self, w: &mut Writer) {
        self.encode_signed(w);
        w.bytes(&self.signature);
    }

    /// What the long-term key signs: expiration, type and transient key.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.encode_signed(&mut w);
        w.into_vec()
    }

    fn encode_signed(&self, w: &mut Writer) {
        w.u32(wire_secs(self.expires));
        w.u16(self.transient_type.code());
        w.bytes(&self.transient_key);
    }

    /// Whether the long-term key, of this type, vouches for the transient key.
    /// Whether it has expired is the caller's to compare with the clock.
    pub fn verify(&self, signer: SigType, key: &[u8]) -> Result<(), VerifyError> {
        sign::verify(signer, key, &self.signed_bytes(), &self.signature)
            .map_err(|_| VerifyError::TransientKey)
    }

    /// [`OfflineSignature::verify`] with the long-term key of a destination.
    pub fn verify_for(&self, destination: &Destination) -> Result<(), VerifyError> {
        self.verify(destination.sig_type(), &destination.keys_and_cert().signing_key())
    }
}

/// Whole seconds for a 4-byte field, rounded down so that nothing seems newer than it is.
pub(crate) fn wire_secs(date: Date) -> u32 {
    u32::try_from(date.as_secs()).unwrap_or(u32::MAX)
}
