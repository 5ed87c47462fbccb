//! Who sent a packet: signatures, transient keys, and what peers do wrong.

use aioli_core::Date;
use aioli_core::crypto::sign::{self, SigType};
use aioli_wire::streaming::{Header, Packet, flags, signed_bytes};
use aioli_wire::{Destination, DestinationHash};
use thiserror::Error;

use super::config::Identity;

/// A rule that a peer broke. The packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// SYN, CLOSE, RESET or ping without a signature.
    #[error("unsigned packet")]
    Unsigned,
    /// The signature does not verify.
    #[error("bad signature")]
    BadSignature,
    /// The offline section does not verify.
    #[error("bad offline signature")]
    BadOfflineSignature,
    /// The transient key has expired.
    #[error("expired transient key")]
    ExpiredTransientKey,
    /// A SYN that names another receiver: a replay.
    #[error("packet for another destination")]
    WrongReceiver,
    /// The packet names another sender than the stream or session belongs to.
    #[error("packet from another destination")]
    WrongSender,
    /// A SYN without FROM.
    #[error("no sender")]
    NoSender,
    /// An acknowledgement of packets that were never sent.
    #[error("acknowledges what was not sent")]
    AckOfUnsent,
    /// A stream id that does not belong to the stream.
    #[error("wrong stream id")]
    WrongId,
}

/// A peer's transient key, once verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transient {
    sig_type: SigType,
    key: Vec<u8>,
    expires: Date,
}

/// Checks that `sender` signed `packet`, whose bytes are `raw`. A transient key
/// found in it is kept in `transient` for later packets.
pub(super) fn verify(
    packet: &Packet<'_>,
    raw: &[u8],
    sender: &Destination,
    transient: &mut Option<Transient>,
    now: Date,
) -> Result<(), PeerMisbehaved> {
    if !packet.has(flags::SIGNATURE_INCLUDED) {
        return Err(PeerMisbehaved::Unsigned);
    }
    let known = transient.as_ref().map(|t| t.sig_type);
    let signer = packet.signer(sender.sig_type(), known).map_err(|_| PeerMisbehaved::BadSignature)?;
    let fresh = match &signer.offline {
        Some(offline) => {
            offline.verify_for(sender).map_err(|_| PeerMisbehaved::BadOfflineSignature)?;
            let (sig_type, key) = (offline.transient_type, offline.transient_key.clone());
            Some(Transient { sig_type, key, expires: offline.expires })
        }
        None => None,
    };
    let message = signed_bytes(raw, &signer);
    let verified = match fresh.as_ref().or(transient.as_ref()) {
        Some(t) if t.expires < now => return Err(PeerMisbehaved::ExpiredTransientKey),
        Some(t) => sign::verify(t.sig_type, &t.key, &message, signer.signature),
        None => sender.verify(&message, signer.signature),
    };
    verified.map_err(|_| PeerMisbehaved::BadSignature)?;
    if fresh.is_some() {
        *transient = fresh;
    }
    Ok(())
}

/// A signed packet of ours.
pub(super) fn signed(
    identity: &Identity,
    header: &Header<'_>,
    receiver: Option<&DestinationHash>,
    payload: &[u8],
) -> Vec<u8> {
    let receiver = receiver.map(DestinationHash::as_bytes);
    let (mut bytes, place) = header.unsigned(receiver, identity.offline.as_ref(), 64, payload);
    let signature = identity.key.sign(&bytes);
    if let Some(field) = bytes.get_mut(place) {
        field.copy_from_slice(&signature);
    }
    bytes
}
