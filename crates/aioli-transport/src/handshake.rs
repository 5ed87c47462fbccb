//! What the handshakes of NTCP2 and SSU2 have in common: the rules that a peer can
//! break, its clock, and the RouterInfo with which Alice introduces herself.

use aioli_core::crypto::aead::AeadError;
use aioli_core::crypto::x25519::WeakKey;
use aioli_core::{Date, Duration};
use aioli_wire::router_info::RouterInfo;
use aioli_wire::termination::TerminationReason;
use aioli_wire::{DecodeError, RouterHash};
use thiserror::Error;

/// The rules of a transport that a peer can break.
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
    /// A handshake message was seen before.
    #[error("replayed handshake")]
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
    /// Connection ids that are equal, or not those of this handshake.
    #[error("connection ids")]
    ConnectionIds,
    /// A message or packet that its state does not allow.
    #[error("out of turn")]
    OutOfTurn,
    /// A message or packet too short or too long.
    #[error("length")]
    Length,
    /// A frame shorter than its tag.
    #[error("frame length")]
    FrameLength,
    /// A block that must be there is missing.
    #[error("missing block")]
    MissingBlock,
    /// Its clock is too far from ours.
    #[error("clock differs by {0} s")]
    ClockSkew(i64),
    /// A structure could not be read.
    #[error("malformed: {0}")]
    Malformed(DecodeError),
    /// The pieces of a SessionConfirmed do not fit together.
    #[error("pieces of SessionConfirmed")]
    Fragments,
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
    /// It acknowledged what was never sent.
    #[error("acknowledged a packet that was never sent")]
    AckOfUnsent,
    /// It refused, and said why.
    #[error("refused: {0:?}")]
    Refused(TerminationReason),
}

impl PeerMisbehaved {
    /// What to say to the peer, where anything is said.
    pub(crate) const fn reason(&self) -> TerminationReason {
        match self {
            Self::Aead => TerminationReason::AeadFailure,
            Self::FrameLength => TerminationReason::Framing,
            Self::ClockSkew(_) => TerminationReason::ClockSkew,
            Self::Padding => TerminationReason::PaddingViolation,
            Self::Malformed(_) | Self::AckOfUnsent => TerminationReason::PayloadFormat,
            Self::RouterInfoSignature => TerminationReason::RouterInfoSignature,
            Self::StaticKeyMismatch => TerminationReason::StaticKeyMismatch,
            Self::Banned => TerminationReason::Banned,
            Self::Refused(_) => TerminationReason::TerminationReceived,
            Self::WeakKey
            | Self::KeyTopBit
            | Self::Replay
            | Self::NetId
            | Self::Version
            | Self::ConnectionIds
            | Self::OutOfTurn
            | Self::Length
            | Self::MissingBlock
            | Self::Fragments
            | Self::Incompatible
            | Self::RouterInfoAge => TerminationReason::SessionConfirmed,
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

/// Whose RouterInfo is taken in a handshake.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Admission {
    /// Who we are: nobody else may claim it.
    pub(crate) own: RouterHash,
    pub(crate) net_id: u8,
    pub(crate) min_version: (u8, u8, u8),
    pub(crate) max_age: Duration,
    /// How far ahead it may be dated.
    pub(crate) max_future: Duration,
}

impl Admission {
    /// Whether what a RouterInfo claims is admissible, before its signature is checked.
    pub(crate) fn check(&self, claims: &RouterInfo, now: Date) -> Result<(), PeerMisbehaved> {
        if claims.hash() == self.own {
            return Err(PeerMisbehaved::Banned);
        }
        if claims.net_id() != Some(self.net_id) || claims.version().is_some_and(|v| v < self.min_version) {
            return Err(PeerMisbehaved::Incompatible);
        }
        let published = claims.published;
        if published + self.max_age < now || now + self.max_future < published {
            return Err(PeerMisbehaved::RouterInfoAge);
        }
        Ok(())
    }
}

/// Their clock minus ours in milliseconds, when `theirs` was written `travel` ago.
pub(crate) fn skew_millis(theirs: Date, travel: Duration, ours: Date) -> i64 {
    let theirs = theirs + travel;
    let distance = i64::try_from(theirs.abs_diff(ours).as_millis()).unwrap_or(i64::MAX);
    if theirs >= ours { distance } else { -distance }
}

/// The same in seconds, to the nearest.
pub(crate) fn skew(theirs: Date, travel: Duration, ours: Date) -> i64 {
    let millis = skew_millis(theirs, travel, ours);
    let distance = i64::try_from(millis.unsigned_abs().saturating_add(500) / 1000).unwrap_or(i64::MAX);
    if millis >= 0 { distance } else { -distance }
}

/// An error if the clocks differ by more than `limit` seconds.
pub(crate) fn check_skew(seconds: i64, limit: u32) -> Result<(), PeerMisbehaved> {
    if seconds.unsigned_abs() > u64::from(limit) { Err(PeerMisbehaved::ClockSkew(seconds)) } else { Ok(()) }
}
