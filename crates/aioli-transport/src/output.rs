//! What a transport asks for and tells.

use std::net::{IpAddr, SocketAddr};

use aioli_wire::RouterHash;
use aioli_wire::i2np::Message;
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::verified::Unverified;
use thiserror::Error;

use crate::{PeerMisbehaved, ssu2};

/// One TCP connection, dialled or accepted. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// Datagrams to send, all to one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Where to.
    pub to: SocketAddr,
    /// Bytes of each but the last, which may be smaller.
    pub segment: usize,
}

/// What a transport asks for and tells.
#[derive(Debug)]
pub enum Output {
    /// Connect by TCP, then `handle_connected` or `handle_connect_failed`.
    Dial {
        /// The new connection.
        conn: ConnId,
        /// Where to.
        to: SocketAddr,
    },
    /// `poll_transmit` has bytes. Said once until it returned false.
    Transmit(ConnId),
    /// `poll_datagrams` has something for the UDP sockets. Said once until it gave nothing.
    Datagrams,
    /// A connection for which [`crate::Transport::read_room`] gave nothing may ask again.
    ReadMore(ConnId),
    /// Forget the connection: write what was pulled, then close; with `reset`, abort at once (RST).
    Close {
        /// Which.
        conn: ConnId,
        /// Whether to abort.
        reset: bool,
    },
    /// There is a session with the peer where there was none.
    Established {
        /// Who.
        peer: RouterHash,
        /// Whether it came to us.
        inbound: bool,
        /// What it said about itself, if it came to us. The signature has been
        /// checked here; the type leaves the promise to the receiver.
        router_info: Option<Unverified<RouterInfo>>,
    },
    /// The last session with the peer ended.
    Disconnected {
        /// Who.
        peer: RouterHash,
        /// Why.
        reason: DisconnectReason,
    },
    /// A router there may believe that it has a session over SSU2 with us, from before our start. Anyone can forge this.
    Stray {
        /// Where it is.
        from: SocketAddr,
    },
    /// A session over NTCP2 ended without a word: the peer may not know, and go on sending into it.
    Lost {
        /// Who.
        peer: RouterHash,
    },
    /// A router with which there is a session over NTCP2 does not answer over SSU2.
    Silent {
        /// Where it was tried.
        at: IpAddr,
    },
    /// The handshake of somebody who came to us failed; nobody knows yet who it was.
    HandshakeFailed {
        /// Where from.
        from: IpAddr,
        /// How.
        why: PeerMisbehaved,
    },
    /// There will be no session with the peer for now.
    DialFailed {
        /// Who.
        peer: RouterHash,
        /// Why.
        reason: DialError,
        /// What had been queued for it.
        dropped: Vec<Message>,
    },
    /// Messages, one output for all that one `handle_bytes` gave.
    Messages {
        /// The peer.
        from: RouterHash,
        /// In the order they came.
        messages: Vec<Message>,
    },
    /// The peer sent its RouterInfo anew.
    RouterInfo {
        /// The peer, which is also whom it describes.
        from: RouterHash,
        /// What it says.
        ri: Unverified<RouterInfo>,
        /// Whether a floodfill is asked to pass it on.
        flood: bool,
    },
    /// A router that we dialled has said what its clock shows. Its message was sealed with the static key of its
    /// RouterInfo, so it is its own word; the handshake may fail all the same, for this very difference.
    PeerClock {
        /// Who.
        peer: RouterHash,
        /// Where we reached it.
        at: SocketAddr,
        /// Theirs minus ours in milliseconds, half of the round trip taken off. Right to a second or two: it was
        /// sent in whole seconds.
        ahead_ms: i64,
    },
    /// A peer that we dialled over SSU2 sees our packets come from here.
    ObservedAddress {
        /// Who says so.
        by: RouterHash,
        /// Where it is.
        at: SocketAddr,
        /// Our address as it sees it.
        address: SocketAddr,
    },
    /// A router came to us by itself: over NTCP2, or over SSU2 without that anything of ours could have opened the way.
    Visitor {
        /// Where from.
        from: IpAddr,
    },
    /// A peer test that [`crate::Transport::test_reachability`] asked for is over.
    PeerTested {
        /// Where he is who tested us, if there was one.
        by: Option<IpAddr>,
        /// What was tested.
        address: SocketAddr,
        /// What came of it.
        outcome: ssu2::TestOutcome,
    },
    /// A peer introduces others to us from now on, or still.
    RelayTag {
        /// Who.
        by: RouterHash,
        /// Where it is.
        at: SocketAddr,
        /// Our name there.
        tag: u32,
    },
    /// A RouterInfo is needed for an introduction or peer test: for [`crate::Transport::learn`], within
    /// [`ssu2::AWAIT`].
    WantRouterInfo {
        /// Whose.
        router: RouterHash,
    },
    /// A session with one of these over SSU2 is wanted, for [`crate::Transport::connect_ssu2`]: they can introduce
    /// us to somebody.
    WantIntroducers {
        /// Who.
        routers: Vec<RouterHash>,
    },
    /// A peer's clock and ours differ by more than the limit.
    ClockSkew {
        /// Theirs minus ours.
        seconds: i64,
    },
}

/// Why a dial gave no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DialError {
    /// The RouterInfo has no address that we can dial.
    #[error("no address to dial")]
    NoAddress,
    /// No TCP connection came about.
    #[error("cannot connect")]
    Unreachable,
    /// The handshake did not end in time.
    #[error("handshake timed out")]
    Timeout,
    /// The peer closed during the handshake.
    #[error("closed during the handshake")]
    Closed,
    /// The handshake failed.
    #[error("handshake failed: {0}")]
    Handshake(PeerMisbehaved),
    /// It failed a short while ago and has not been tried again.
    #[error("failed a short while ago")]
    BackOff,
    /// The peer is banned, is of another network, or is ourselves.
    #[error("refused")]
    Refused,
    /// Too many connections.
    #[error("too many connections")]
    Limit,
    /// It can be reached through introducers only, and none brought us together.
    #[error("not introduced")]
    NotIntroduced,
}

impl DialError {
    /// Whether it says something about the peer, not about us.
    pub const fn blames_peer(self) -> bool {
        match self {
            Self::Handshake(PeerMisbehaved::ClockSkew(_)) => false,
            Self::NotIntroduced | Self::Unreachable | Self::Timeout | Self::Closed | Self::Handshake(_) => {
                true
            }
            Self::NoAddress | Self::BackOff | Self::Refused | Self::Limit => false,
        }
    }
}

/// Why the last session with a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// The peer said why.
    Theirs(TerminationReason),
    /// We said why.
    Ours(TerminationReason),
    /// The TCP connection ended without a word. Not with SSU2, which has none.
    Lost,
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// A TCP connection must stand.
    Connect,
    /// A handshake must end.
    Handshake,
    /// A prober is let go.
    Probe,
    /// A session may be idle.
    Idle,
    /// Our RouterInfo is due in a session.
    Refresh,
    /// A session that was replaced ends.
    Superseded,
    /// A termination must have been written.
    Flush,
    /// Old entries go from the tables.
    Sweep,
    /// There is room to send within the bandwidth limit.
    Send,
    /// There is room to receive within the bandwidth limit.
    Receive,
    /// The next dial in line may begin.
    Pace,
    /// Another way to a router is tried beside the first.
    HeadStart,
    /// Something of SSU2.
    Ssu2,
}
