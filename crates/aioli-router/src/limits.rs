//! The bounds of a router, for three sizes of machine.
//!
//! A [`Profile`] sets all of them; each subsystem gets its part. The reasoning
//! behind the numbers is in `docs/small-machines.md`.

use std::fmt;
use std::str::FromStr;

use aioli_destination::{local, ratchet, router_garlic, streaming};

/// The kind of machine and of connection that a router runs on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// Little memory: an access point, a single-board computer, the smallest virtual server.
    Tiny,
    /// A computer behind a home router.
    #[default]
    Home,
    /// A machine with an address of its own and memory to spare.
    Server,
}

impl Profile {
    /// Its bounds.
    pub const fn limits(self) -> Limits {
        match self {
            Self::Tiny => Limits::tiny(),
            Self::Home => Limits::home(),
            Self::Server => Limits::server(),
        }
    }
}

impl FromStr for Profile {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "tiny" => Ok(Self::Tiny),
            "home" => Ok(Self::Home),
            "server" => Ok(Self::Server),
            _ => Err(()),
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tiny => "tiny",
            Self::Home => "home",
            Self::Server => "server",
        })
    }
}

/// The bounds of everything that others can fill. Each bound has a counter
/// where it bites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Local destinations.
    pub sessions: usize,
    /// Connections of applications to SAM; for whoever sets up SAM.
    pub sam_connections: usize,
    /// Streams of one destination.
    pub streams: usize,
    /// Packets of one stream in flight, whatever its application asks for.
    pub stream_window: u32,
    /// Bytes that one stream holds for sending.
    pub stream_send_bytes: usize,
    /// Bytes that one stream holds until its application reads them.
    pub stream_receive_bytes: usize,
    /// The same for all streams of one destination together.
    pub streams_receive_bytes: usize,
    /// Transit tunnels accepted at most.
    pub transit_tunnels: usize,
    /// Bytes of others' fragments that wait for the rest, in all.
    pub reassembly_bytes: usize,
    /// Connections over NTCP2 and sessions over SSU2 together at most.
    pub connections: usize,
    /// Connections that we open in a minute at most; a quarter of them at once.
    pub dials_per_minute: u32,
    /// Connections that we accept in a minute at most; a quarter of them at once.
    pub accepts_per_minute: u32,
    /// Handshakes at a time: so many of ours and so many of others.
    pub handshakes: usize,
    /// Bytes queued for all peers.
    pub queue_bytes: usize,
    /// Bytes queued for one peer.
    pub queue_bytes_per_peer: usize,
    /// What the kernel may hold of one connection in each direction; none for its own choice. For the driver.
    pub socket_buffer: Option<usize>,
    /// RouterInfos known at most.
    pub routers: usize,
    /// LeaseSets held for others, as a floodfill.
    pub lease_sets: usize,
    /// Messages kept for peers whose RouterInfo is being looked up.
    pub awaiting_router_info: usize,
    /// One-time reply keys outstanding.
    pub reply_keys: usize,
    /// Peers with a profile.
    pub profiles: usize,
    /// Tunnel pools whose guards are remembered.
    pub guarded_pools: usize,
    /// Bans at a time, besides the blocklist.
    pub bans: usize,
    /// Sizes the tables against replays, duplicates and abuse: build records remembered, and the others in
    /// fixed proportion.
    pub remembered: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self::home()
    }
}

impl Limits {
    /// For [`Profile::Tiny`].
    pub const fn tiny() -> Self {
        Self {
            sessions: 4,
            sam_connections: 64,
            streams: 64,
            stream_window: 256,
            stream_send_bytes: 256 << 10,
            stream_receive_bytes: 256 << 10,
            streams_receive_bytes: 1 << 20,
            transit_tunnels: 100,
            reassembly_bytes: 1 << 20,
            connections: 100,
            dials_per_minute: 60,
            accepts_per_minute: 60,
            handshakes: 16,
            queue_bytes: 1 << 20,
            queue_bytes_per_peer: 256 << 10,
            socket_buffer: Some(64 << 10),
            routers: 1_200,
            lease_sets: 500,
            awaiting_router_info: 50,
            reply_keys: 200,
            profiles: 400,
            guarded_pools: 32,
            bans: 500,
            remembered: 4_096,
        }
    }

    /// For [`Profile::Home`].
    pub const fn home() -> Self {
        Self {
            sessions: 50,
            sam_connections: 1_024,
            streams: 1_024,
            stream_window: 4_096,
            stream_send_bytes: 16 << 20,
            stream_receive_bytes: 4 << 20,
            streams_receive_bytes: 64 << 20,
            transit_tunnels: 2_500,
            reassembly_bytes: 16 << 20,
            connections: 500,
            dials_per_minute: 240,
            accepts_per_minute: 240,
            handshakes: 64,
            queue_bytes: 64 << 20,
            queue_bytes_per_peer: 2 << 20,
            socket_buffer: None,
            routers: 6_000,
            lease_sets: 10_000,
            awaiting_router_info: 500,
            reply_keys: 2_000,
            profiles: 2_000,
            guarded_pools: 128,
            bans: 4_000,
            remembered: 32_768,
        }
    }

    /// For [`Profile::Server`].
    pub const fn server() -> Self {
        Self {
            sessions: 200,
            sam_connections: 4_096,
            streams: 4_096,
            stream_window: 4_096,
            stream_send_bytes: 16 << 20,
            stream_receive_bytes: 4 << 20,
            streams_receive_bytes: 256 << 20,
            transit_tunnels: 10_000,
            reassembly_bytes: 64 << 20,
            connections: 4_000,
            dials_per_minute: 6_000,
            accepts_per_minute: 600_000,
            handshakes: 256,
            queue_bytes: 256 << 20,
            queue_bytes_per_peer: 2 << 20,
            socket_buffer: None,
            routers: 10_000,
            lease_sets: 20_000,
            awaiting_router_info: 1_000,
            reply_keys: 4_000,
            profiles: 3_000,
            guarded_pools: 256,
            bans: 20_000,
            remembered: 65_536,
        }
    }

    /// Peers' connections get seven eighths of them, so that peers cannot keep us from dialling.
    const fn inbound_connections(&self) -> usize {
        self.connections - self.connections / 8
    }

    pub(crate) fn transport(&self) -> aioli_transport::Limits {
        aioli_transport::Limits {
            connections: self.connections,
            inbound_connections: self.inbound_connections(),
            pending_inbound: self.handshakes,
            pending_outbound: self.handshakes,
            dials_per_minute: self.dials_per_minute,
            accepts_per_minute: self.accepts_per_minute,
            queue_bytes_per_peer: self.queue_bytes_per_peer,
            queue_bytes_dialling: self.queue_bytes_per_peer / 8,
            queue_bytes_total: self.queue_bytes,
            replay_entries: self.remembered / 2,
            back_off_entries: self.remembered / 16,
            banned_entries: self.remembered / 16,
            ..aioli_transport::Limits::default()
        }
    }

    pub(crate) fn netdb(&self) -> aioli_netdb::Limits {
        aioli_netdb::Limits {
            routers: self.routers,
            lease_sets: self.lease_sets,
            client_lease_sets: (self.lease_sets / 20).clamp(64, 512),
            failures: self.remembered / 32,
            throttled_peers: self.remembered / 8,
            throttled_keys: self.remembered / 4,
            ..aioli_netdb::Limits::default()
        }
    }

    pub(crate) fn tunnel(&self) -> aioli_tunnel::Limits {
        aioli_tunnel::Limits {
            transit_tunnels: self.transit_tunnels,
            duplicates: self.remembered * 16,
            seen_builds: self.remembered,
            reassembly_bytes: self.reassembly_bytes,
            reassembly_tunnel_bytes: (self.reassembly_bytes / 4).min(4 << 20),
            throttled_peers: self.remembered / 8,
            gateway_bytes: (self.reassembly_bytes / 4).min(4 << 20),
            ..aioli_tunnel::Limits::default()
        }
    }

    pub(crate) const fn router_garlic(&self) -> router_garlic::Limits {
        router_garlic::Limits { reply_keys: self.reply_keys, replay_entries: self.remembered }
    }

    pub(crate) fn ratchet(&self) -> ratchet::Limits {
        ratchet::Limits {
            peers: self.remembered / 8,
            tags: self.remembered * 8,
            replay_entries: self.remembered,
            ..ratchet::Limits::default()
        }
    }

    pub(crate) fn local(&self) -> local::Limits {
        local::Limits {
            remotes: self.remembered / 8,
            waiting: self.remembered / 8,
            pending: self.streams,
            ..local::Limits::default()
        }
    }

    /// Bounds a destination's streams, and what its application asks for them.
    pub(crate) fn streaming(&self, config: &mut streaming::Config) {
        let options = &mut config.options;
        options.max_window = options.max_window.min(self.stream_window);
        options.receive_buffer = options.receive_buffer.min(self.stream_receive_bytes);
        config.limits = streaming::Limits {
            streams: self.streams,
            receive_total: self.streams_receive_bytes,
            send_buffer: self.stream_send_bytes,
            remembered_syns: self.remembered / 8,
            remembered_peers: self.remembered / 32,
            time_wait: self.streams,
            ..streaming::Limits::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_profile_is_smaller_than_the_next() {
        let [tiny, home, server] = [Profile::Tiny, Profile::Home, Profile::Server].map(Profile::limits);
        for (less, more) in [(&tiny, &home), (&home, &server)] {
            assert!(less.connections < more.connections && less.routers < more.routers);
            assert!(less.dials_per_minute < more.dials_per_minute);
            assert!(less.accepts_per_minute < more.accepts_per_minute);
            assert!(less.transit_tunnels < more.transit_tunnels && less.remembered < more.remembered);
            assert!(less.queue_bytes < more.queue_bytes && less.reassembly_bytes < more.reassembly_bytes);
        }
        assert_eq!(Limits::default(), home, "what is tested by default is what runs by default");
    }

    #[test]
    fn no_part_of_any_profile_is_useless() {
        for profile in [Profile::Tiny, Profile::Home, Profile::Server] {
            assert_eq!(profile.to_string().parse(), Ok(profile));
            let limits = profile.limits();
            let (transport, tunnel, netdb) = (limits.transport(), limits.tunnel(), limits.netdb());
            assert!(transport.inbound_connections < transport.connections);
            // One message of the largest size must fit everywhere.
            assert!(transport.queue_bytes_dialling >= 32 << 10);
            assert!(tunnel.reassembly_tunnel_bytes >= 128 << 10 && tunnel.gateway_bytes >= 128 << 10);
            assert!(netdb.throttled_peers >= 256 && netdb.failures >= 64);
            assert!(limits.ratchet().peers >= 256 && limits.local().remotes >= 256);
            // A window of packets must find their tags.
            assert!(limits.ratchet().tags >= 4 * limits.stream_window as usize);
        }
        assert!("huge".parse::<Profile>().is_err());
    }
}
