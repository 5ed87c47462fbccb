//! The router's counters, summed over its parts.

/// Counters since the start, and the sizes of tables at the moment.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Routers with which there is a session.
    pub sessions: u64,
    /// Sessions over SSU2.
    pub ssu2_sessions: u64,
    /// RouterInfos known.
    pub known_routers: u64,
    /// Of these, floodfills.
    pub floodfills: u64,
    /// LeaseSets held for others.
    pub lease_sets: u64,
    /// Inbound tunnels of ours, of all pools.
    pub tunnels_in: u64,
    /// Outbound tunnels of ours, of all pools.
    pub tunnels_out: u64,
    /// Tunnels of others through us.
    pub transit_tunnels: u64,
    /// Messages relayed for others.
    pub transit_messages: u64,
    /// Bytes relayed for others.
    pub transit_bytes: u64,
    /// Bytes sent to other routers that were relayed.
    pub transit_bytes_sent: u64,
    /// Others' tunnels that we accepted.
    pub transit_accepted: u64,
    /// Others' tunnels that we refused.
    pub transit_refused: u64,
    /// Tunnels that we asked for.
    pub builds_started: u64,
    /// Tunnels that came about.
    pub builds_succeeded: u64,
    /// Tunnels that a hop refused.
    pub builds_refused: u64,
    /// Tunnels whose request nobody answered in time.
    pub builds_timed_out: u64,
    /// Tunnels whose answer was damaged on its way.
    pub builds_failed: u64,
    /// Tests of our tunnels that came back.
    pub tests_passed: u64,
    /// Tests of our tunnels that did not.
    pub tests_failed: u64,
    /// Searches in the NetDB.
    pub searches_started: u64,
    /// Searches that found what they sought.
    pub searches_found: u64,
    /// Searches that did not.
    pub searches_failed: u64,
    /// Bytes received from other routers.
    pub bytes_in: u64,
    /// Bytes sent to other routers.
    pub bytes_out: u64,
    /// Dials that waited for their turn: `limits.dials_per_minute`.
    pub dials_paced: u64,
    /// Dials that a limit on connections did not allow.
    pub dials_limited: u64,
    /// Dials for which the second transport was tried while the first was under way.
    pub dials_both: u64,
    /// Dials that went on another way when one had failed.
    pub dials_moved: u64,
    /// Datagrams dropped because more came in than the bandwidth limit allows.
    pub dropped_inbound: u64,
    /// Idle sessions closed to make room for a dial: `limits.connections`.
    pub closed_for_room: u64,
    /// Connections of others that were not accepted, for any limit.
    pub refused_connections: u64,
    /// Handshakes of others that were malformed or broke a rule.
    pub handshakes_failed: u64,
    /// Handshakes that did not end in time.
    pub handshakes_timed_out: u64,
    /// Handshakes that were a replay.
    pub replays: u64,
    /// Frames that were not authentic or malformed.
    pub bad_frames: u64,
    /// Messages in good frames that could not be read.
    pub bad_messages: u64,
    /// Local destinations.
    pub client_sessions: u64,
    /// Open streams.
    pub streams: u64,
    /// Messages dropped because they were malformed, unwanted or late.
    pub dropped: u64,
    /// Messages to us that no key opened.
    pub undecryptable: u64,
    /// Bugs of ours that were met. More than zero is worth a report.
    pub bugs: u64,
    /// One-time keys outstanding.
    pub reply_keys: u64,
    /// Messages that wait for a RouterInfo.
    pub awaiting: u64,
    /// Peers with a profile.
    pub profiles: u64,
    /// RouterInfos known of routers that were of use to us.
    pub proven_routers: u64,
    /// RouterInfos refused because too many were new.
    pub crowded_routers: u64,
    /// Stores of others that were not looked at: too many.
    pub stores_throttled: u64,
    /// Times that a peer which brought wrong stores was no longer listened to.
    pub senders_muted: u64,
    /// Structures for the NetDB whose signature did not hold.
    pub bad_signatures: u64,
    /// Bans of the moment.
    pub bans: u64,
    /// Connections, dials and RouterInfos refused because of bans or the blocklist.
    pub barred: u64,
    /// Message ids remembered against replays.
    pub seen_messages: u64,
    /// Peers that are known to be good hops.
    pub proven_peers: u64,
    /// Routers that could be hops and are too new to be trusted.
    pub newcomers: u64,
    /// Others' build requests over a neighbour's or a subnet's budget.
    pub builds_throttled: u64,
    /// Others' tunnels refused because they asked for more bandwidth than there is.
    pub builds_refused_bandwidth: u64,
    /// Messages dropped at gateways whose creators wanted no more.
    pub gateway_limited: u64,
    /// Peers whose clocks are remembered.
    pub clock_voices: u64,
    /// Times that the clock was corrected.
    pub clock_steps: u64,
    /// Sessions over SSU2 whose peer went on at another address.
    pub paths_moved: u64,
    /// Introductions of others that we passed on.
    pub relays_passed_on: u64,
    /// Packets that opened our NAT for somebody who was introduced to us.
    pub hole_punches_sent: u64,
    /// Introductions that we asked for and that led to an address.
    pub introductions_made: u64,
}

impl Stats {
    /// All counters by name, for a file or a metrics page.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let mut all = self.tables();
        all.extend([
            ("ssu2_sessions", self.ssu2_sessions),
            ("dials_both", self.dials_both),
            ("dials_moved", self.dials_moved),
            ("dropped_inbound", self.dropped_inbound),
            ("tunnels_in", self.tunnels_in),
            ("tunnels_out", self.tunnels_out),
            ("transit_messages", self.transit_messages),
            ("transit_bytes", self.transit_bytes),
            ("builds_started", self.builds_started),
            ("builds_succeeded", self.builds_succeeded),
            ("builds_refused", self.builds_refused),
            ("builds_timed_out", self.builds_timed_out),
            ("builds_failed", self.builds_failed),
            ("tests_passed", self.tests_passed),
            ("tests_failed", self.tests_failed),
            ("searches_started", self.searches_started),
            ("searches_found", self.searches_found),
            ("searches_failed", self.searches_failed),
            ("transit_bytes_sent", self.transit_bytes_sent),
            ("transit_accepted", self.transit_accepted),
            ("transit_refused", self.transit_refused),
            ("proven_peers", self.proven_peers),
            ("newcomers", self.newcomers),
            ("builds_throttled", self.builds_throttled),
            ("builds_refused_bandwidth", self.builds_refused_bandwidth),
            ("gateway_limited", self.gateway_limited),
            ("bytes_in", self.bytes_in),
            ("bytes_out", self.bytes_out),
            ("dials_paced", self.dials_paced),
            ("dials_limited", self.dials_limited),
            ("closed_for_room", self.closed_for_room),
            ("refused_connections", self.refused_connections),
            ("handshakes_failed", self.handshakes_failed),
            ("handshakes_timed_out", self.handshakes_timed_out),
            ("replays", self.replays),
            ("bad_frames", self.bad_frames),
            ("bad_messages", self.bad_messages),
            ("crowded_routers", self.crowded_routers),
            ("stores_throttled", self.stores_throttled),
            ("senders_muted", self.senders_muted),
            ("bad_signatures", self.bad_signatures),
            ("barred", self.barred),
            ("dropped", self.dropped),
            ("undecryptable", self.undecryptable),
            ("bugs", self.bugs),
            ("clock_steps", self.clock_steps),
            ("paths_moved", self.paths_moved),
            ("relays_passed_on", self.relays_passed_on),
            ("hole_punches_sent", self.hole_punches_sent),
            ("introductions_made", self.introductions_made),
        ]);
        all
    }

    /// The sizes of all tables that others can fill, by name.
    pub fn tables(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("sessions", self.sessions),
            ("known_routers", self.known_routers),
            ("proven_routers", self.proven_routers),
            ("floodfills", self.floodfills),
            ("lease_sets", self.lease_sets),
            ("transit_tunnels", self.transit_tunnels),
            ("client_sessions", self.client_sessions),
            ("streams", self.streams),
            ("reply_keys", self.reply_keys),
            ("awaiting", self.awaiting),
            ("profiles", self.profiles),
            ("bans", self.bans),
            ("seen_messages", self.seen_messages),
            ("clock_voices", self.clock_voices),
        ]
    }
}
