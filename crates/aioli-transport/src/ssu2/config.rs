//! What an endpoint is told once, and every limit it holds.

use std::fmt;

use aioli_core::Duration;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519;

use super::IntroKey;

/// What an endpoint is told once.
pub struct Config {
    /// The network; 2 is the public one.
    pub net_id: u8,
    /// The private half of `s` in our SSU2 addresses.
    pub static_key: x25519::PrivateKey,
    /// `i` in our SSU2 addresses.
    pub intro_key: IntroKey,
    /// What signs introductions and peer tests. Without it there are none.
    pub signing: Option<SigningKey>,
    /// The largest IP packet that our network takes, 1280 to 1500.
    pub mtu: u16,
    /// What bounds peers' use of our memory and time.
    pub limits: Limits,
    /// A session from which nothing comes for this long is closed.
    pub idle_timeout: Duration,
    /// Whether others may begin sessions with us. If not, their handshakes get no answer of any kind.
    pub listens: bool,
    /// Whether peers may have addresses that are not of the public Internet.
    pub private_network: bool,
}

impl Config {
    /// The public network with the limits of production.
    pub fn new(static_key: x25519::PrivateKey, intro_key: IntroKey) -> Self {
        Self {
            net_id: 2,
            static_key,
            intro_key,
            signing: None,
            mtu: 1500,
            limits: Limits::default(),
            idle_timeout: Duration::from_secs(165),
            listens: true,
            private_network: false,
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("net_id", &self.net_id)
            .field("mtu", &self.mtu)
            .field("limits", &self.limits)
            .field("idle_timeout", &self.idle_timeout)
            .field("private_network", &self.private_network)
            .finish_non_exhaustive()
    }
}

/// Every limit of an endpoint. Each has a counter in [`super::Stats`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Sessions.
    pub sessions: usize,
    /// Handshakes of others that are not sessions yet.
    pub pending_inbound: usize,
    /// The same from one IP address. Addresses that are not public share no
    /// limit in a private network.
    pub pending_per_ip: usize,
    /// Retry packets a second, tokens and refusals: what forged requests can make us send.
    pub retries_per_second: u64,
    /// SessionRequests a second that are decrypted: each costs a key agreement, a good one more.
    pub requests_per_second: u64,
    /// Handshakes of ours that are not sessions yet.
    pub pending_outbound: usize,
    /// Sessions that have ended and may have to say so again.
    pub closing: usize,
    /// Bytes of messages queued for one peer.
    pub queue_bytes_per_peer: usize,
    /// Bytes of messages queued for one peer while it is being dialled.
    pub queue_bytes_dialling: usize,
    /// Seconds that the clocks of two peers may differ.
    pub clock_skew_secs: u32,
    /// Age of a RouterInfo with which a peer may introduce itself.
    pub router_info_max_age: Duration,
    /// How far ahead of our clock a peer's RouterInfo may be published.
    pub router_info_max_future: Duration,
    /// The oldest router version with which a peer may introduce itself. A
    /// private network admits any.
    pub min_version: (u8, u8, u8),
    /// Bytes of a whole SessionConfirmed.
    pub confirmed_bytes: usize,
    /// Data packets kept until a SessionConfirmed has come.
    pub early_packets: usize,
    /// Ephemeral keys remembered against replays, per period.
    pub replay_entries: usize,
    /// Tokens from Retry packets remembered as used, per period.
    pub used_tokens: usize,
    /// Tokens that peers hold for later sessions.
    pub issued_tokens: usize,
    /// Tokens of others that we hold for later sessions.
    pub held_tokens: usize,
    /// Bytes of incomplete messages from one peer.
    pub reassembly_bytes_per_peer: usize,
    /// Incomplete messages from one peer.
    pub reassembly_messages_per_peer: usize,
    /// Bytes of incomplete messages from all peers.
    pub reassembly_bytes_total: usize,
    /// An incomplete message is given up after this.
    pub reassembly_timeout: Duration,
    /// Message ids of one peer remembered against repetition, per period.
    pub recent_messages: usize,
    /// Bytes in flight to one peer.
    pub window: u32,
    /// Packets of no session that wait for the socket.
    pub waiting_packets: usize,
    /// Blocks of introductions and peer tests that one peer has not acknowledged.
    pub notices_per_peer: usize,
    /// Such blocks that one peer may send at once; it gains one every half second.
    pub asides_per_peer: u32,
    /// RouterInfos that peers sent for an introduction or peer test.
    pub introduced: usize,
    /// Introductions and peer tests that wait for a RouterInfo.
    pub awaiting: usize,
    /// Peer tests of others that we take part in, in either role.
    pub peer_tests: usize,
    /// Peer tests and hole punches for one IP address within ten minutes.
    pub introductions_per_ip: u32,
    /// IP addresses for which that is counted.
    pub introduction_ips: usize,
    /// Routers that we introduce others to.
    pub relay_tags: usize,
    /// Introductions of others that are on their way.
    pub relays: usize,
    /// Routers that may introduce others to us.
    pub introducers: usize,
    /// Hole punches for others that introduce themselves.
    pub hole_punches: usize,
    /// IP addresses remembered because our router opened a way for them.
    pub contacted: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 4_000,
            pending_inbound: 512,
            pending_per_ip: 8,
            retries_per_second: 2_000,
            requests_per_second: 1_000,
            pending_outbound: 256,
            closing: 512,
            queue_bytes_per_peer: 2 << 20,
            queue_bytes_dialling: 256 << 10,
            clock_skew_secs: 60,
            router_info_max_age: Duration::from_secs(27 * 3600),
            router_info_max_future: Duration::from_secs(120),
            min_version: (0, 9, 58),
            confirmed_bytes: 6_000,
            early_packets: 8,
            replay_entries: 32_768,
            used_tokens: 32_768,
            issued_tokens: 8_192,
            held_tokens: 8_192,
            reassembly_bytes_per_peer: 512 << 10,
            reassembly_messages_per_peer: 256,
            reassembly_bytes_total: 64 << 20,
            reassembly_timeout: Duration::from_secs(15),
            recent_messages: 8_192,
            window: 8 << 20,
            waiting_packets: 4_096,
            notices_per_peer: 32,
            asides_per_peer: 60,
            introduced: 64,
            awaiting: 64,
            peer_tests: 32,
            introductions_per_ip: 12,
            introduction_ips: 4_096,
            relay_tags: 256,
            relays: 512,
            introducers: 12,
            hole_punches: 64,
            contacted: 1_024,
        }
    }
}
