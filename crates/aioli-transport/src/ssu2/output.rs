//! What an endpoint asks for and tells.

use std::net::SocketAddr;

use aioli_wire::RouterHash;
use aioli_wire::i2np::Message;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Unverified;
use thiserror::Error;

use super::{DisconnectReason, PeerMisbehaved};
use crate::Lane;

/// What an endpoint asks for and tells.
#[derive(Debug)]
pub enum Output {
    /// Send this by UDP.
    Datagram {
        /// Where to.
        to: SocketAddr,
        /// The payload of UDP.
        bytes: Vec<u8>,
    },
    /// There is a session with the peer where there was none.
    Established {
        /// Who.
        peer: RouterHash,
        /// Where.
        address: SocketAddr,
        /// Whether it came to us.
        inbound: bool,
        /// What it said about itself, if it came to us. The signature has been
        /// checked here; the type leaves the promise to the receiver.
        router_info: Option<Unverified<RouterInfo>>,
    },
    /// The session with the peer ended.
    Disconnected {
        /// Who.
        peer: RouterHash,
        /// Why.
        reason: DisconnectReason,
        /// Messages that the peer has not acknowledged; some may have arrived.
        left: Vec<(Lane, Message)>,
    },
    /// There will be no session with the peer for now.
    ConnectFailed {
        /// Who.
        peer: RouterHash,
        /// Where it was dialled, if its address was known.
        at: Option<SocketAddr>,
        /// Why.
        reason: ConnectError,
        /// What had been queued for it.
        dropped: Vec<Message>,
    },
    /// Messages, together what came together.
    Messages {
        /// The peer.
        from: RouterHash,
        /// In the order they were completed.
        messages: Vec<Message>,
    },
    /// A RouterInfo that came inside a session. Not checked at all.
    RouterInfo {
        /// Who sent it.
        from: RouterHash,
        /// What it says.
        ri: Unverified<RouterInfo>,
        /// Whether a floodfill is asked to pass it on.
        flood: bool,
    },
    /// A peer that we dialled sees our packets come from here. A Retry does not count: whoever sees our packet
    /// could have written it.
    ObservedAddress {
        /// Who says so.
        by: RouterHash,
        /// Where it is.
        at: SocketAddr,
        /// Our address as it sees it.
        address: SocketAddr,
        /// Whether it has seen us at another IP address before, in this session.
        moved: bool,
    },
    /// A session came from where nothing that we sent could have opened a way.
    Visitor {
        /// Where from.
        from: SocketAddr,
    },
    /// A packet of no session that we know came, soon after our start: perhaps of one that ended with the router that
    /// ran here before. Anyone can forge it.
    Stray {
        /// Where from.
        from: SocketAddr,
    },
    /// Somebody whose address is proven made a handshake that fails with its last packet.
    Refused {
        /// Where from.
        from: SocketAddr,
        /// Why.
        why: PeerMisbehaved,
    },
    /// A peer has moved and the new address is proven.
    Moved {
        /// Who.
        peer: RouterHash,
        /// Where it was.
        from: SocketAddr,
        /// Where to.
        to: SocketAddr,
    },
    /// A router that we dialled has said in SessionCreated what its clock shows. A Retry does not count: whoever
    /// sees our packet could have written it.
    PeerClock {
        /// Who.
        peer: RouterHash,
        /// Where we reached it.
        at: SocketAddr,
        /// Theirs minus ours in milliseconds, half of the round trip taken off; sent in whole seconds.
        ahead_ms: i64,
    },
    /// A peer test that we asked for is over.
    PeerTested {
        /// Who found somebody to test us.
        bob: RouterHash,
        /// Who tested us, and where that router says it is.
        charlie: Option<(RouterHash, SocketAddr)>,
        /// The address that was tested.
        address: SocketAddr,
        /// What came of it.
        outcome: TestOutcome,
    },
    /// A router's RouterInfo is needed for an introduction or peer test: to be given to
    /// [`super::Endpoint::learn`] if it is known, now or within [`super::AWAIT`].
    WantRouterInfo {
        /// Whose.
        router: RouterHash,
    },
    /// A peer introduces others to us from now on.
    RelayTag {
        /// Who.
        by: RouterHash,
        /// Where it is: of the family in which it introduces.
        at: SocketAddr,
        /// Our name there.
        tag: u32,
    },
    /// A peer's clock and ours differ by more than the limit.
    ClockSkew {
        /// Theirs minus ours.
        seconds: i64,
    },
}

/// What came of a peer test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestOutcome {
    /// A packet from a stranger came in.
    Reachable {
        /// Where he sees us, if he said so.
        seen: Option<SocketAddr>,
    },
    /// It did not, and what we sent to him came from the tested address.
    Firewalled,
    /// It did not, and what we sent to him came from another address.
    AddressDiffers {
        /// Which.
        seen: SocketAddr,
    },
    /// It came, but from where our own packets may have opened the way.
    Unproven,
    /// Bob (codes below 64) or Charlie would not.
    Refused {
        /// Why (`ssu2#peertest`).
        code: u8,
    },
    /// Not enough was answered in time.
    NoAnswer,
}

/// Why no session came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// Nothing was answered in time.
    #[error("no answer")]
    Timeout,
    /// The handshake failed.
    #[error("handshake failed: {0}")]
    Handshake(PeerMisbehaved),
    /// We have no RouterInfo to introduce ourselves with.
    #[error("we have no RouterInfo yet")]
    NotReady,
    /// The address is not of the public Internet, or the peer is ourselves.
    #[error("refused")]
    Refused,
    /// Too many sessions or handshakes.
    #[error("too many sessions")]
    Limit,
    /// No introducer is left to ask, and none brought us together.
    #[error("not introduced")]
    NotIntroduced,
}

/// Why a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SendError {
    /// There is no session and none is coming; here is the message back.
    #[error("no session")]
    NoSession(Message),
    /// The peer's queue is full.
    #[error("the queue is full")]
    Full,
    /// No fragmentation makes it fit.
    #[error("too large")]
    TooLarge,
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A handshake packet is sent again, or given up.
    Handshake,
    /// A session acknowledges, repeats, paces, probes or ends.
    Session,
    /// An introduction or peer test goes on, or is given up.
    Introduction,
    /// A session that ended is forgotten.
    Closing,
    /// Old entries go from the tables.
    Sweep,
}
