//! SSU2 without a socket: handshakes in both roles, and sessions over datagrams
//! that may be lost, repeated, delayed and reordered (`ssu2`).
//!
//! ```text
//! Alice                                                       Bob
//!   TokenRequest  ──────────────────────────────────────►   (no state: the token is a keyed hash)
//!   AwaitRetry    ◄──────────────────────────────  Retry with a token
//!   SessionRequest   token | X | DateTime  ─────────────►   AwaitSessionConfirmed
//!   AwaitSessionCreated  ◄─── SessionCreated   Y | DateTime | Address
//!   SessionConfirmed, in 1 to 15 pieces   s | RouterInfo ►
//!   Session  ◄──────────────── Data packets ────────────►   Session
//! ```
//!
//! [`Endpoint`] is all of one UDP socket: the driver gives it datagrams and
//! timeouts and drains its outputs after every call.
//!
//! ```text
//!  packet ─► header masks ─► known id? ─► Session ─► blocks ─► Received, Recovery, Reassembly ─► Messages
//!                              │ no
//!                              ├─► TokenRequest, SessionRequest: Tokens, bob
//!                              └─► from where we dialled: alice
//!  Message ─► Outbox ─► (Controller, Pacer, Recovery) ─► packet ─► Datagram
//! ```

mod acks;
mod alice;
mod bob;
mod config;
mod confirmed;
mod congestion;
mod endpoint;
pub mod introduce;
mod mtu;
mod notices;
mod outbox;
mod output;
mod pacer;
mod packet;
mod path;
mod peer_test;
mod reassembly;
mod received;
mod recovery;
mod relay;
mod rtt;
mod session;
mod stats;
#[cfg(test)]
mod tests;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::aead::AeadError;
use aioli_core::crypto::x25519::{self, WeakKey};
use aioli_core::{Date, Duration};
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::TerminationReason;
use aioli_wire::verified::Verified;
use aioli_wire::{DecodeError, RouterHash};
use thiserror::Error;

pub use config::{Config, Limits};
pub use endpoint::{AWAIT, Endpoint};
pub use output::{ConnectError, DisconnectReason, Output, SendError, TestOutcome, Why};
pub use stats::Stats;

/// The rules of SSU2 that a peer can break.
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
    /// A SessionRequest or SessionCreated was seen before.
    #[error("replayed handshake")]
    Replay,
    /// Another network.
    #[error("another network")]
    NetId,
    /// Connection ids that are equal, or not those of this handshake.
    #[error("connection ids")]
    ConnectionIds,
    /// A packet that its state does not allow.
    #[error("packet out of turn")]
    OutOfTurn,
    /// A packet too short or too long.
    #[error("packet length")]
    Length,
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
    /// The peer claims to be us.
    #[error("not welcome")]
    Banned,
    /// It acknowledged what was never sent.
    #[error("acknowledged a packet that was never sent")]
    AckOfUnsent,
    /// It refused, and said why.
    #[error("refused: {0:?}")]
    Refused(TerminationReason),
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
    pub(crate) intro_key: IntroKey,
    pub(crate) net_id: u8,
    pub(crate) router_info: Arc<Verified<RouterInfo>>,
}

/// `i` of an SSU2 address: hides headers from all who do not know it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IntroKey(pub [u8; 32]);

impl std::fmt::Debug for IntroKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IntroKey(..)")
    }
}

/// Whom to dial, and where.
#[derive(Clone, Debug)]
pub struct Remote {
    /// Who.
    pub hash: RouterHash,
    /// `s` of the address.
    pub static_key: x25519::PublicKey,
    /// `i` of the address.
    pub intro_key: IntroKey,
    /// Where it listens.
    pub address: SocketAddr,
    /// The largest IP packet that it takes.
    pub mtu: u16,
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

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// That of an address.
    pub const fn of(ip: &std::net::IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

impl std::fmt::Display for Family {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// Whether two addresses are of one family, which a session keeps.
fn same_family(a: SocketAddr, b: SocketAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}
