//! NTCP2 without a connection: its handshake in both roles and its data phase.
//!
//! ```text
//! Alice (initiator)                                    Bob (responder)
//!   SessionRequest  X | options | padding  ──────────►   AwaitSessionRequest
//!   AwaitSessionCreated                                  AwaitRequestPadding
//!                   ◄──────────  Y | options | padding   SessionCreated
//!   AwaitCreatedPadding                                  AwaitSessionConfirmed
//!   SessionConfirmed  static key | RouterInfo ─────────►
//!   DataPhase  ◄──────────── frames of blocks ─────────► DataPhase
//! ```
//!
//! Each state is consumed by its one message and gives the next.

pub(crate) mod data_phase;
pub(crate) mod initiator;
pub(crate) mod responder;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use aioli_core::crypto::aead::AeadError;
use aioli_core::crypto::aes::CbcKey;
use aioli_core::crypto::x25519::{self, WeakKey};
use aioli_core::{Date, Duration};
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;
use aioli_wire::{DecodeError, RouterHash};
use thiserror::Error;

/// Bytes of message 1 and of message 2 before their padding.
pub(crate) const MESSAGE_LEN: usize = 64;
/// Bytes of the first part of message 3.
pub(crate) const PART1_LEN: usize = 48;
/// Most bytes of padding that we append to a handshake message.
const MAX_OWN_PADDING: u64 = 64;

/// The rules of NTCP2 that a peer can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PeerMisbehaved {
    /// An ephemeral or static key of small order.
    #[error("public key of small order")]
    WeakKey,
    /// An ephemeral key with the bit set that announces a post-quantum handshake.
    #[error("ephemeral key with the top bit set")]
    KeyTopBit,
    /// Something did not decrypt.
    #[error("not authentic")]
    Aead,
    /// Message 1 was seen before.
    #[error("replayed message 1")]
    Replay,
    /// Another network.
    #[error("another network")]
    NetId,
    /// Another protocol version.
    #[error("protocol version")]
    Version,
    /// More padding than allowed.
    #[error("too much padding")]
    Padding,
    /// An impossible length of message 3.
    #[error("length of message 3")]
    Message3Length,
    /// Bytes before it was the peer's turn.
    #[error("bytes out of turn")]
    OutOfTurn,
    /// Its clock is too far from ours.
    #[error("clock differs by {0} s")]
    ClockSkew(i64),
    /// A structure could not be read.
    #[error("malformed: {0}")]
    Malformed(DecodeError),
    /// The RouterInfo's signature does not hold.
    #[error("signature of the RouterInfo")]
    RouterInfoSignature,
    /// The RouterInfo is of another network or too old a version.
    #[error("incompatible RouterInfo")]
    Incompatible,
    /// The RouterInfo is too old or from the future.
    #[error("age of the RouterInfo")]
    RouterInfoAge,
    /// The RouterInfo does not name the static key of the handshake.
    #[error("static key is not that of the RouterInfo")]
    StaticKeyMismatch,
    /// The peer is banned, or claims to be us.
    #[error("not welcome")]
    Banned,
    /// A frame shorter than its tag.
    #[error("frame length")]
    FrameLength,
}

impl PeerMisbehaved {
    /// What to say to the peer, where anything is said.
    pub(crate) const fn reason(&self) -> TerminationReason {
        match self {
            Self::Aead => TerminationReason::AeadFailure,
            Self::FrameLength => TerminationReason::Framing,
            Self::ClockSkew(_) => TerminationReason::ClockSkew,
            Self::Padding => TerminationReason::PaddingViolation,
            Self::Malformed(_) => TerminationReason::PayloadFormat,
            Self::RouterInfoSignature => TerminationReason::RouterInfoSignature,
            Self::StaticKeyMismatch => TerminationReason::StaticKeyMismatch,
            Self::Banned => TerminationReason::Banned,
            Self::WeakKey
            | Self::KeyTopBit
            | Self::Replay
            | Self::NetId
            | Self::Version
            | Self::Message3Length
            | Self::OutOfTurn
            | Self::Incompatible
            | Self::RouterInfoAge => TerminationReason::Message3,
        }
    }
}

impl From<AeadError> for PeerMisbehaved {
    fn from(_: AeadError) -> Self {
        Self::Aead
    }
}

impl From<WeakKey> for PeerMisbehaved {
    fn from(_: WeakKey) -> Self {
        Self::WeakKey
    }
}

impl From<DecodeError> for PeerMisbehaved {
    fn from(e: DecodeError) -> Self {
        Self::Malformed(e)
    }
}

/// Who we are in a handshake.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) hash: RouterHash,
    pub(crate) static_key: x25519::PrivateKey,
    pub(crate) iv: [u8; 16],
    pub(crate) net_id: u8,
    pub(crate) router_info: Arc<Verified<RouterInfo>>,
}

/// AES-CBC over both ephemeral keys, keyed with public data: only there to
/// leave no pattern on the wire.
#[derive(Debug)]
struct Obfuscation {
    key: CbcKey,
    iv: [u8; 16],
}

impl Obfuscation {
    fn new(bob: &RouterHash, iv: [u8; 16]) -> Self {
        Self { key: CbcKey::new(bob.as_bytes()), iv }
    }

    fn hide(&mut self, key: &x25519::PublicKey) -> [u8; 32] {
        let mut out = key.0;
        self.iv = self.key.encrypt(&self.iv, &mut out);
        out
    }

    fn reveal(&mut self, hidden: &[u8]) -> Result<x25519::PublicKey, PeerMisbehaved> {
        let mut out = [0; 32];
        out.copy_from_slice(hidden);
        self.iv = self.key.decrypt(&self.iv, &mut out);
        if out[31] & 0x80 != 0 {
            return Err(PeerMisbehaved::KeyTopBit);
        }
        Ok(x25519::PublicKey(out))
    }
}

/// Their clock minus ours in milliseconds, when `theirs` was written `travel` ago.
fn skew_millis(theirs: Date, travel: Duration, ours: Date) -> i64 {
    let theirs = theirs + travel;
    let distance = i64::try_from(theirs.abs_diff(ours).as_millis()).unwrap_or(i64::MAX);
    if theirs >= ours { distance } else { -distance }
}

/// The same in seconds, to the nearest.
fn skew(theirs: Date, travel: Duration, ours: Date) -> i64 {
    let millis = skew_millis(theirs, travel, ours);
    let distance = i64::try_from((millis.unsigned_abs() + 500) / 1000).unwrap_or(i64::MAX);
    if millis >= 0 { distance } else { -distance }
}

/// An error if the clocks differ by more than `limit` seconds.
fn check_skew(seconds: i64, limit: u32) -> Result<(), PeerMisbehaved> {
    if seconds.unsigned_abs() > u64::from(limit) { Err(PeerMisbehaved::ClockSkew(seconds)) } else { Ok(()) }
}
