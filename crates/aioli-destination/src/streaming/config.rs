//! What can be set: options per stream, limits per destination, who may connect.

use std::collections::{BTreeMap, BTreeSet};

use aioli_core::Duration;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::flow::INITIAL_WINDOW;
use aioli_wire::{Destination, DestinationHash, OfflineSignature};

/// Payload that fits two tunnel messages together with all headers
/// (proposal 155).
pub const MTU: u16 = 1812;
/// The payload size to assume of a peer that names none.
pub const OLD_MTU: u16 = 1730;
/// No payload limit below this is honoured.
pub const MIN_MTU: u16 = 512;

/// Who we are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Our destination.
    pub destination: Destination,
    /// What signs for it: its own key or the transient one.
    pub key: SigningKey,
    /// What vouches for a transient key.
    pub offline: Option<OfflineSignature>,
}

impl Identity {
    /// A destination that signs with its own key.
    pub const fn new(destination: Destination, key: SigningKey) -> Self {
        Self { destination, key, offline: None }
    }
}

/// Settings of one destination's streams.
#[derive(Clone, Debug)]
pub struct Config {
    /// Who we are.
    pub identity: Identity,
    /// Defaults for every stream.
    pub options: Options,
    /// What peers may use up.
    pub limits: Limits,
    /// Who may connect.
    pub access: Access,
}

impl Config {
    /// Defaults for this identity.
    pub fn new(identity: Identity) -> Self {
        Self { identity, options: Options::default(), limits: Limits::default(), access: Access::Everyone }
    }
}

/// Who may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Access {
    /// Anyone.
    #[default]
    Everyone,
    /// Only these.
    Only(BTreeSet<DestinationHash>),
    /// All but these.
    Except(BTreeSet<DestinationHash>),
}

impl Access {
    pub(super) fn admits(&self, peer: &DestinationHash) -> bool {
        match self {
            Self::Everyone => true,
            Self::Only(list) => list.contains(peer),
            Self::Except(list) => !list.contains(peer),
        }
    }
}

/// What happens at the end of an idle time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InactivityAction {
    /// Nothing.
    Nothing,
    /// The stream is closed.
    Disconnect,
    /// An acknowledgement is repeated and one asked for.
    Send,
}

/// What a connection over a limit gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimitAction {
    /// A RESET.
    Reset,
    /// Nothing.
    Drop,
    /// These bytes and a CLOSE.
    Respond(Vec<u8>),
}

/// Settings of a stream: `api/streaming#options`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// `i2p.streaming.maxWindowSize`: packets in flight; what the peer is
    /// known to take applies besides.
    pub max_window: u32,
    /// `i2p.streaming.initialWindowSize`.
    pub initial_window: u32,
    /// `i2p.streaming.maxMessageSize`.
    pub mtu: u16,
    /// `i2p.streaming.connectDelay`: how long the first packet waits for data.
    pub connect_delay: Duration,
    /// `i2p.streaming.connectTimeout`.
    pub connect_timeout: Duration,
    /// `i2p.streaming.inactivityTimeout`.
    pub inactivity_timeout: Duration,
    /// `i2p.streaming.inactivityAction`.
    pub inactivity_action: InactivityAction,
    /// `i2p.streaming.initialAckDelay`: the longest delay of an acknowledgement.
    pub ack_delay: Duration,
    /// `i2p.streaming.maxResends`: timeouts in a row that end a stream.
    pub max_resends: u32,
    /// `i2p.streaming.answerPings`.
    pub answer_pings: bool,
    /// How long a closed stream waits for the peer's CLOSE.
    pub linger: Duration,
    /// Received bytes that may wait for the application before the peer is told to stop.
    pub receive_buffer: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_window: 4096,
            initial_window: INITIAL_WINDOW,
            mtu: MTU,
            // Whoever opens a stream through SAM writes only when it is open.
            connect_delay: Duration::ZERO,
            connect_timeout: Duration::from_secs(60),
            inactivity_timeout: Duration::from_secs(90),
            inactivity_action: InactivityAction::Send,
            ack_delay: Duration::from_millis(100),
            max_resends: 9,
            answer_pings: true,
            linger: Duration::from_secs(60),
            receive_buffer: 4 << 20,
        }
    }
}

impl Options {
    /// These options with what `pairs` sets. Unknown keys and values that make
    /// no sense are passed over, as other routers do.
    #[must_use]
    pub fn with<'a>(mut self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let map: BTreeMap<&str, &str> = pairs
            .into_iter()
            .filter_map(|(k, v)| Some((k.strip_prefix("i2p.streaming.")?, v.trim())))
            .collect();
        let number = |key: &str| map.get(key).and_then(|v| v.parse::<i64>().ok());
        let positive = |key: &str| number(key).filter(|n| *n > 0).and_then(|n| u32::try_from(n).ok());
        let millis = |key: &str| positive(key).map(|n| Duration::from_millis(u64::from(n)));
        set(&mut self.max_window, positive("maxWindowSize").map(|n| n.min(65_536)));
        set(&mut self.initial_window, positive("initialWindowSize").map(|n| n.min(64)));
        set(&mut self.mtu, positive("maxMessageSize").map(|n| n.clamp(u32::from(MIN_MTU), 8192) as u16));
        if let Some(n) = number("connectDelay") {
            self.connect_delay = Duration::from_millis(u64::try_from(n).unwrap_or(0).min(10_000));
        }
        set(&mut self.connect_timeout, millis("connectTimeout"));
        set(&mut self.inactivity_timeout, millis("inactivityTimeout"));
        set(&mut self.ack_delay, millis("initialAckDelay").map(|d| d.min(Duration::from_secs(2))));
        set(&mut self.max_resends, positive("maxResends").map(|n| n.min(64)));
        set(
            &mut self.inactivity_action,
            number("inactivityAction").and_then(|n| match n {
                0 => Some(InactivityAction::Nothing),
                1 => Some(InactivityAction::Disconnect),
                2 => Some(InactivityAction::Send),
                _ => None,
            }),
        );
        set(&mut self.answer_pings, map.get("answerPings").and_then(|v| v.parse().ok()));
        self
    }
}

fn set<T>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// What peers may use up. 0 connections means no limit, as in the options of
/// the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// `i2p.streaming.maxConcurrentStreams`.
    pub streams: usize,
    /// Incoming streams that the application has not touched yet.
    pub backlog: usize,
    /// Received bytes of all streams together.
    pub receive_total: usize,
    /// Bytes one stream may hold for sending.
    pub send_buffer: usize,
    /// `i2p.streaming.maxConnsPerMinute`, per hour, per day: of one peer.
    pub per_peer: [u32; 3],
    /// `i2p.streaming.maxTotalConnsPerMinute`, per hour, per day: of all peers.
    pub total: [u32; 3],
    /// What a connection over a limit gets.
    pub action: LimitAction,
    /// Pings answered per second.
    pub pings: u32,
    /// Streams whose first packets came before their SYN.
    pub early_streams: usize,
    /// Packets kept for each of them.
    pub early_packets: usize,
    /// SYNs remembered against replay.
    pub remembered_syns: usize,
    /// Peers whose round trips are remembered.
    pub remembered_peers: usize,
    /// Closed streams that still answer.
    pub time_wait: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            streams: 4096,
            backlog: 128,
            receive_total: 256 << 20,
            send_buffer: 16 << 20,
            per_peer: [0; 3],
            total: [0; 3],
            action: LimitAction::Reset,
            pings: 10,
            early_streams: 64,
            early_packets: 32,
            remembered_syns: 8192,
            remembered_peers: 1024,
            time_wait: 4096,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_nonsense_is_passed_over() {
        let o = Options::default().with([
            ("i2p.streaming.maxWindowSize", "512"),
            ("i2p.streaming.connectDelay", "-1"),
            ("i2p.streaming.inactivityAction", "1"),
            ("i2p.streaming.maxMessageSize", "12"),
            ("i2p.streaming.initialWindowSize", "many"),
            ("i2p.streaming.answerPings", "false"),
            ("inbound.length", "3"),
        ]);
        assert_eq!((o.max_window, o.mtu, o.answer_pings), (512, MIN_MTU, false));
        assert_eq!((o.connect_delay, o.inactivity_action), (Duration::ZERO, InactivityAction::Disconnect));
        assert_eq!(o.initial_window, Options::default().initial_window);
    }
}
