//! What the programs above a router ask of it, and what it tells them.
//!
//! A session is one local destination with its own tunnels, ratchet state and
//! view of the NetDB. Streams belong to a session. Bulk data does not travel
//! in events: `Readable` and `Writable` say that `stream_recv` or
//! `stream_send` will make progress, so a slow reader slows its own sender
//! and nobody else.

use std::fmt;
use std::sync::Arc;

pub use aioli_destination::streaming::Options as StreamConfig;
use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::{Destination, DestinationHash};
use thiserror::Error;

pub use aioli_destination::streaming::StreamId;

/// A local destination of this router.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u32);

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session {}", self.0)
    }
}

/// A pending lookup that a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientLookup(pub u64);

/// One direction of a session's tunnel pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelOptions {
    /// Hops, 0 to 8. Zero hops give no anonymity.
    pub length: u8,
    /// Random change of the length: `n` adds up to n, `-n` adds or removes up to n.
    pub variance: i8,
    /// Tunnels kept ready, 1 to 16.
    pub quantity: u8,
    /// Tunnels kept besides, 0 to 16.
    pub backup: u8,
    /// What each tunnel is to carry, in KB/s: hops are asked whether they have it (proposal 168), and a gateway
    /// to drop what is more than four times that. 0: nothing is asked, as hardly anybody does; whoever asks
    /// stands out.
    pub kbps: u32,
}

impl TunnelOptions {
    /// These with what I2CP's options of a side (`inbound` or `outbound`) set.
    ///
    /// # Errors
    /// Which option is wrong, and what is possible.
    pub fn with<'a>(self, side: &str, option: impl Fn(&str) -> Option<&'a str>) -> Result<Self, String> {
        let number = |name: &str, default: i64, min: i64, max: i64| {
            let key = format!("{side}.{name}");
            match option(&key).map(str::parse::<i64>) {
                None => Ok(default),
                Some(Ok(n)) if (min..=max).contains(&n) => Ok(n),
                Some(_) => Err(format!("{key} must be {min} to {max}")),
            }
        };
        let small = |n: i64| u8::try_from(n).unwrap_or_default();
        Ok(Self {
            length: small(number("length", self.length.into(), 0, 8)?),
            variance: i8::try_from(number("lengthVariance", self.variance.into(), -7, 7)?)
                .unwrap_or_default(),
            quantity: small(number("quantity", self.quantity.into(), 1, 16)?),
            backup: small(number("backupQuantity", self.backup.into(), 0, 16)?),
            kbps: u32::try_from(number("bandwidth", self.kbps.into(), 0, 1_000_000)?).unwrap_or_default(),
        })
    }
}

/// What a session is made of.
#[derive(Clone, Debug)]
pub struct SessionOptions {
    /// Its keys; a transient destination is made when there are none.
    pub keys: Option<DestinationKeys>,
    /// Tunnels towards us.
    pub inbound: TunnelOptions,
    /// Tunnels away from us.
    pub outbound: TunnelOptions,
    /// Whether others may find it: its LeaseSet is published.
    pub publish: bool,
    /// How its streams behave.
    pub streaming: StreamConfig,
}

/// Whom to connect to.
#[derive(Clone, Debug)]
pub enum Target {
    /// A full destination.
    Destination(Box<Destination>),
    /// What a b32 name says.
    Hash(DestinationHash),
}

impl Target {
    /// The hash of the destination.
    pub fn hash(&self) -> DestinationHash {
        match self {
            Self::Destination(d) => d.hash(),
            Self::Hash(h) => *h,
        }
    }
}

/// What happened to a client's session, stream or lookup.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// Tunnels stand both ways and the LeaseSet is made: the session can be used.
    SessionReady(SessionId),
    /// The stream is open.
    StreamConnected {
        /// Its session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
    },
    /// A peer opened a stream to a listening session.
    StreamIncoming {
        /// Its session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
        /// The peer, authenticated by the signature of its first packet.
        from: Arc<Destination>,
        /// The peer's port, 0 if it named none.
        from_port: u16,
        /// Our port, 0 if it named none.
        to_port: u16,
    },
    /// `stream_recv` has bytes, or the end of the stream.
    StreamReadable {
        /// Its session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
    },
    /// `stream_send` has room again.
    StreamWritable {
        /// Its session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
    },
    /// The stream is gone; unread bytes may still be received.
    StreamClosed {
        /// Its session.
        session: SessionId,
        /// The stream.
        stream: StreamId,
        /// Why.
        reason: StreamEnd,
    },
    /// The answer to `lookup`.
    LookupDone {
        /// Which one.
        lookup: ClientLookup,
        /// The destination, if the NetDB has it.
        destination: Option<Arc<Destination>>,
    },
}

/// Why a stream ended or did not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum StreamEnd {
    /// Both sides closed it.
    #[error("closed")]
    Closed,
    /// The peer reset it, or refused it.
    #[error("the peer reset the stream")]
    Reset,
    /// The peer did not answer in time.
    #[error("the peer did not answer in time")]
    Timeout,
    /// The peer's LeaseSet was not found.
    #[error("the peer's LeaseSet was not found: it is offline or does not exist")]
    NotFound,
    /// The peer's LeaseSet has no encryption key that we support.
    #[error("the peer offers no encryption that this router supports (ECIES-X25519 is needed)")]
    Encryption,
    /// A limit of ours.
    #[error("too many streams: raise the limit or close some")]
    Limit,
    /// Its session was destroyed.
    #[error("the session was closed")]
    SessionClosed,
}

/// Why a session cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A destination of this router already has these keys.
    #[error("this destination is already in use by another session of this router")]
    DuplicateDestination,
    /// The limit of sessions.
    #[error("too many sessions: close one first")]
    Limit,
    /// A tunnel option is out of its range.
    #[error("tunnel options out of range: lengths are 0 to 8, quantities 1 to 16")]
    Options,
    /// The keys cannot sign for the destination.
    #[error("only Ed25519 destinations can be used: make a new one")]
    Keys,
    /// The router is shutting down.
    #[error("the router is shutting down")]
    ShuttingDown,
}
