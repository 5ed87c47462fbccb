//! The first LeaseSet (`common-structures#leaseset`): read for old
//! destinations, never made.

use crate::codec::{DecodeError, DecodeErrorKind, Reader, Wire, Writer};
use crate::destination::Destination;
use crate::ids::{RouterHash, TunnelId};
use crate::lease_set::{Lease, MAX_LEASES};
use crate::verified::{Raw, Signed, VerifyError};

const ELGAMAL_KEY: usize = 256;

/// The first LeaseSet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSet1 {
    /// Whose it is.
    pub destination: Destination,
    /// Its inbound tunnels.
    pub leases: Vec<Lease>,
    raw: Raw,
}

impl LeaseSet1 {
    /// The exact bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.raw
    }
}

impl Signed for LeaseSet1 {
    fn check(&self) -> Result<(), VerifyError> {
        let signature = self.destination.sig_type().signature_len();
        let (signed, signature) = self.raw.split_signature(signature);
        self.destination.verify(signed, signature).map_err(|_| VerifyError::Signature)
    }
}

impl<'a> Wire<'a> for LeaseSet1 {
    const SPEC: &'static str = "common-structures#leaseset";

    fn decode(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = r.at();
        let destination = r.read::<Destination>()?;
        r.take(ELGAMAL_KEY)?;
        // The revocation key, of the destination's signing type: never used.
        r.take(destination.sig_type().public_len())?;
        let count = usize::from(r.u8()?);
        if count > MAX_LEASES {
            return Err(r.error(DecodeErrorKind::Limit("leases")));
        }
        let mut leases = Vec::with_capacity(count);
        for _ in 0..count {
            let gateway = r.read::<RouterHash>()?;
            let tunnel = r.read::<TunnelId>()?;
            leases.push(Lease { gateway, tunnel, end: r.date()? });
        }
        r.take(destination.sig_type().signature_len())?;
        Ok(Self { destination, leases, raw: r.since(start).into() })
    }

    fn encode(&self, w: &mut Writer) {
        w.bytes(&self.raw);
    }
}
