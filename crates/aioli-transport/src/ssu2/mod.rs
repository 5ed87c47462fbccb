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
mod endpoint;
pub mod introduce;
mod mtu;
mod notices;
mod outbox;
mod output;
mod packet;
mod path;
mod peer_test;
mod reassembly;
mod received;
mod recovery;
mod relay;
mod repeats;
mod session;
mod stats;
#[cfg(test)]
mod tests;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::x25519;
use aioli_core::{Duration, Instant};
use aioli_wire::RouterHash;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Verified;

use crate::handshake::Admission;
pub use config::{Config, Limits};
pub use endpoint::{AWAIT, Endpoint};
pub use output::{ConnectError, Output, SendError, TestOutcome, Why};
pub use stats::Stats;

pub use crate::DisconnectReason;
pub use crate::handshake::PeerMisbehaved;

/// Who we are in a handshake.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) hash: RouterHash,
    pub(crate) static_key: x25519::PrivateKey,
    pub(crate) intro_key: IntroKey,
    pub(crate) net_id: u8,
    pub(crate) router_info: Arc<Verified<RouterInfo>>,
}

impl Local {
    /// Whose RouterInfo we take.
    const fn admission(&self, limits: &Limits) -> Admission {
        Admission {
            own: self.hash,
            net_id: self.net_id,
            min_version: limits.min_version,
            max_age: limits.router_info_max_age,
            max_future: limits.router_info_max_future,
        }
    }
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

/// How a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionView {
    /// Where the peer is.
    pub remote: SocketAddr,
    /// Since when.
    pub established: Instant,
    /// Bytes of datagrams received.
    pub received: u64,
    /// Bytes of datagrams sent.
    pub sent: u64,
    /// The round trip, smoothed.
    pub round_trip: Option<Duration>,
}

/// Whether two addresses are of one family, which a session keeps.
fn same_family(a: SocketAddr, b: SocketAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}
