//! What a transport is told once, and every limit it holds.

use std::fmt;

use aioli_core::Duration;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519;

use crate::ssu2;

/// What a transport is told once.
pub struct Config {
    /// The network; 2 is the public one.
    pub net_id: u8,
    /// Whether NTCP2 is spoken.
    pub ntcp2: bool,
    /// The keys of SSU2, if it is spoken.
    pub ssu2: Option<Ssu2Keys>,
    /// The private half of `s` in our NTCP2 addresses.
    pub ntcp2_static: x25519::PrivateKey,
    /// `i` in our NTCP2 addresses.
    pub ntcp2_iv: [u8; 16],
    /// What bounds peers' use of our memory and time.
    pub limits: Limits,
    /// From the first byte to the data phase.
    pub handshake_timeout: Duration,
    /// A session in which nothing moves for this long is closed.
    pub idle_timeout: Duration,
    /// Whether peers may have addresses that are not of the public Internet.
    pub private_network: bool,
    /// How much may be sent and received.
    pub bandwidth: Bandwidth,
}

/// What SSU2 needs to be told.
#[derive(Clone)]
pub struct Ssu2Keys {
    /// The private half of `s` in our SSU2 addresses.
    pub static_key: x25519::PrivateKey,
    /// Signs introductions and peer tests; without it there are none.
    pub signing: Option<SigningKey>,
    /// `i` in our SSU2 addresses.
    pub intro_key: ssu2::IntroKey,
    /// The largest IP packet that our network takes, 1280 to 1500.
    pub mtu: u16,
    /// Whether others may begin sessions with us.
    pub listens: bool,
}

impl fmt::Debug for Ssu2Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ssu2Keys(mtu {})", self.mtu)
    }
}

/// How much may be sent and received: payload of TCP and UDP, in bytes a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth {
    /// Received at most; none for no limit.
    pub inbound: Option<u64>,
    /// Sent at most; none for no limit.
    pub outbound: Option<u64>,
    /// Of either, others' tunnels get at most this share, in percent.
    pub transit_percent: u8,
}

impl Bandwidth {
    /// The least limit, in KB/s: with less, a tunnel message waits longer than its sender does.
    pub const LEAST_KBPS: u64 = 16;
    /// The largest limit, in KB/s.
    pub const MOST_KBPS: u64 = 100_000_000;

    /// What others' tunnels may use of a limit.
    pub const fn transit(&self, limit: u64) -> u64 {
        limit / 100 * self.transit_percent as u64 + limit % 100 * self.transit_percent as u64 / 100
    }
}

impl Default for Bandwidth {
    fn default() -> Self {
        Self { inbound: None, outbound: None, transit_percent: 80 }
    }
}

impl Config {
    /// The public network with the limits of production.
    pub fn new(ntcp2_static: x25519::PrivateKey, ntcp2_iv: [u8; 16]) -> Self {
        Self {
            net_id: 2,
            ntcp2: true,
            ssu2: None,
            ntcp2_static,
            ntcp2_iv,
            limits: Limits::default(),
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(120),
            private_network: false,
            bandwidth: Bandwidth::default(),
        }
    }

    /// What SSU2 is told, if it is spoken: limits that both transports share are the same.
    pub(crate) fn ssu2_config(&self) -> Option<ssu2::Config> {
        let keys = self.ssu2.as_ref()?;
        let mut config = ssu2::Config::new(keys.static_key.clone(), keys.intro_key);
        config.net_id = self.net_id;
        config.mtu = keys.mtu;
        config.listens = keys.listens;
        config.signing.clone_from(&keys.signing);
        config.private_network = self.private_network;
        config.idle_timeout = config.idle_timeout.min(self.idle_timeout);
        let (limits, ours) = (&mut config.limits, &self.limits);
        limits.sessions = ours.connections;
        limits.pending_inbound = ours.pending_inbound;
        limits.pending_outbound = ours.pending_outbound;
        limits.closing = ours.pending_inbound;
        limits.clock_skew_secs = ours.clock_skew_secs;
        limits.router_info_max_age = ours.router_info_max_age;
        limits.router_info_max_future = ours.router_info_max_future;
        limits.min_version = ours.min_version;
        limits.replay_entries = ours.replay_entries;
        limits.used_tokens = ours.replay_entries;
        limits.issued_tokens = ours.connections.saturating_mul(2);
        limits.held_tokens = ours.connections.saturating_mul(2);
        limits.reassembly_bytes_total = ours.queue_bytes_total / 4;
        limits.reassembly_bytes_per_peer =
            limits.reassembly_bytes_per_peer.min(ours.queue_bytes_per_peer / 4);
        Some(config)
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("net_id", &self.net_id)
            .field("ntcp2", &self.ntcp2)
            .field("ssu2", &self.ssu2.is_some())
            .field("limits", &self.limits)
            .field("handshake_timeout", &self.handshake_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("private_network", &self.private_network)
            .field("bandwidth", &self.bandwidth)
            .finish_non_exhaustive()
    }
}

/// Every limit of a transport. Each has a counter in [`crate::Stats`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections of any kind and state.
    pub connections: usize,
    /// Accepted ones among them, so that peers cannot keep us from dialling.
    pub inbound_connections: usize,
    /// Connections accepted from one IPv4 address or one IPv6 /64 network.
    /// Addresses that are not public share no limit in a private network.
    pub connections_per_ip: usize,
    /// Accepted connections that are not sessions yet.
    pub pending_inbound: usize,
    /// Dials that are not sessions yet.
    pub pending_outbound: usize,
    /// Connections dialled in a minute; a quarter of them at once. More wait
    /// for their turn, and what would wait for more than ten seconds is refused.
    pub dials_per_minute: u32,
    /// Connections accepted in a minute; a quarter of them at once.
    pub accepts_per_minute: u32,
    /// A TCP connection must stand within this time.
    pub connect_timeout: Duration,
    /// Bytes queued for one peer.
    pub queue_bytes_per_peer: usize,
    /// Bytes queued for one peer while it is being dialled.
    pub queue_bytes_dialling: usize,
    /// Bytes queued for all peers.
    pub queue_bytes_total: usize,
    /// Seconds that the clocks of two peers may differ.
    pub clock_skew_secs: u32,
    /// Age of a RouterInfo with which a peer may introduce itself.
    pub router_info_max_age: Duration,
    /// How far ahead of our clock a peer's RouterInfo may be published.
    pub router_info_max_future: Duration,
    /// The oldest router version with which a peer may introduce itself. A
    /// private network admits any.
    pub min_version: (u8, u8, u8),
    /// Padding that a peer may append to message 1 or 2.
    pub handshake_padding: u16,
    /// The second part of message 3 that we read.
    pub message3_part2: u16,
    /// Ephemeral keys remembered against replays, per period.
    pub replay_entries: usize,
    /// Peers remembered as unreachable.
    pub back_off_entries: usize,
    /// Peers banned by [`crate::Transport::ban`].
    pub banned_entries: usize,
    /// Payload of a frame that we fill with several messages.
    pub frame_payload: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4_000,
            inbound_connections: 3_500,
            connections_per_ip: 8,
            pending_inbound: 256,
            pending_outbound: 256,
            dials_per_minute: 6_000,
            accepts_per_minute: 600_000,
            connect_timeout: Duration::from_secs(5),
            queue_bytes_per_peer: 2 << 20,
            queue_bytes_dialling: 256 << 10,
            queue_bytes_total: 256 << 20,
            clock_skew_secs: 60,
            router_info_max_age: Duration::from_secs(27 * 3600),
            router_info_max_future: Duration::from_secs(120),
            min_version: (0, 9, 58),
            handshake_padding: 880,
            message3_part2: 6_000,
            replay_entries: 32_768,
            back_off_entries: 4_096,
            banned_entries: 4_096,
            frame_payload: 16_384 - 18,
        }
    }
}
