//! Streaming: reliable byte streams between destinations (`specs/streaming`,
//! `api/streaming`). A pure sub-module: it knows packets and their signatures,
//! but neither sessions nor tunnels.
//!
//! ```text
//!  application ──connect, send, recv, close──►┌─────────┐──Output::Packet──► session, tunnel
//!              ◄──Connected, Readable, …──────│ Streams │
//!                                             └─────────┘◄──handle_packet─── session, tunnel
//! ```
//!
//! | file | holds |
//! |---|---|
//! | `streams` | all streams of a destination: accepting, limits, pings, timers |
//! | `stream` | one stream: states, choking, timeouts |
//! | `transmit` | what a stream puts on the wire, and when |
//! | `leftover` | what is still read of a stream that broke off |
//! | `send`, `receive` | the halves: buffers, loss detection, gaps |
//! | `aioli_core::flow` | how much and how fast; see `docs/streaming.md` |
//! | `gate` | who may connect how often |
//! | `auth`, `config` | signatures; settings |

use aioli_wire::client_payload::Ports;
use aioli_wire::{Destination, DestinationHash};

mod auth;
mod config;
mod gate;
mod leftover;
mod receive;
mod send;
mod stream;
mod streams;
#[cfg(test)]
mod tests;
mod transmit;

pub use auth::PeerMisbehaved;
pub use config::{
    Access, Config, Identity, InactivityAction, LimitAction, Limits, MIN_MTU, MTU, OLD_MTU, Options,
};
pub use streams::{Status, Streams, Why};

/// Names a stream: our stream id on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Why a stream is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// Both sides closed it and everything arrived.
    Finished,
    /// One side reset it.
    Reset,
    /// The peer did not answer.
    TimedOut,
    /// There is no way to the peer.
    Unreachable,
}

/// What streams want done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send this to the destination.
    Packet {
        /// To whom.
        to: DestinationHash,
        /// For which stream; 0 for none.
        id: StreamId,
        /// The streaming packet.
        bytes: Vec<u8>,
        /// The ports of its client payload; source is ours.
        ports: Ports,
        /// It was sent before.
        retransmit: bool,
    },
    /// The peer answered our connection.
    Connected(StreamId),
    /// A peer opened a stream.
    Incoming {
        /// Its name.
        id: StreamId,
        /// Who.
        from: Destination,
        /// Source is ours: the port that the peer connected to.
        ports: Ports,
    },
    /// There are bytes to read.
    Readable(StreamId),
    /// There is room again, after a `send` that took less than it was given.
    Writable(StreamId),
    /// The peer sends no more; what came before may still be unread.
    PeerClosed(StreamId),
    /// The stream is gone.
    Closed {
        /// Which.
        id: StreamId,
        /// Why.
        reason: CloseReason,
    },
    /// Packets or acknowledgements of this stream get lost in a row: try
    /// another lease or tunnel.
    PathSuspect {
        /// Which stream.
        id: StreamId,
        /// To whom.
        to: DestinationHash,
    },
    /// A ping was answered.
    Pong {
        /// What `ping` returned.
        id: u32,
        /// What the ping carried.
        payload: Vec<u8>,
    },
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Numbered packets sent for the first time.
    pub packets_sent: u64,
    /// Their payload.
    pub bytes_sent: u64,
    /// Packets sent again.
    pub retransmitted: u64,
    /// Acknowledgements without data sent.
    pub acks_sent: u64,
    /// New numbered packets received.
    pub packets_received: u64,
    /// Their payload.
    pub bytes_received: u64,
    /// Packets received twice.
    pub duplicates: u64,
    /// Packets beyond a receive limit.
    pub refused: u64,
    /// Packets taken for lost.
    pub lost: u64,
    /// Of those, packets that had arrived after all.
    pub spurious: u64,
    /// Retransmission timeouts.
    pub timeouts: u64,
    /// Times a path was suspected.
    pub paths_suspected: u64,
    /// Acknowledgements that told the peer to stop.
    pub chokes_sent: u64,
    /// Packets by which a peer told us to stop.
    pub chokes_received: u64,
    /// RESETs sent.
    pub resets_sent: u64,
    /// Streams opened by us.
    pub connected: u64,
    /// Streams opened by peers.
    pub accepted: u64,
    /// Connections refused for a limit or by the access list.
    pub rejected: u64,
    /// SYNs seen before.
    pub replayed: u64,
    /// Packets for no stream.
    pub stray: u64,
    /// Early packets and remembered things that found no room.
    pub overflowed: u64,
    /// Packets that did not decode.
    pub malformed: u64,
    /// Packets that broke a rule; see [`PeerMisbehaved`].
    pub misbehaved: u64,
    /// Of those, bad or missing signatures.
    pub bad_signatures: u64,
    /// Pings answered.
    pub pings_answered: u64,
    /// Pings not answered for their number.
    pub pings_dropped: u64,
}

impl Stats {
    fn count(&mut self, wrong: PeerMisbehaved) {
        self.misbehaved += 1;
        let signature = matches!(
            wrong,
            PeerMisbehaved::Unsigned | PeerMisbehaved::BadSignature | PeerMisbehaved::BadOfflineSignature
        );
        self.bad_signatures += u64::from(signature);
        tracing::debug!(%wrong, "streaming packet dropped");
    }
}
