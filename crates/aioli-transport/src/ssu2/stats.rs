//! What an endpoint counts.

/// Counters since the start, and gauges where the text says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions now.
    pub sessions: u64,
    /// Handshakes now, in either role.
    pub pending: u64,
    /// Sessions that came to us.
    pub established_inbound: u64,
    /// Sessions that we dialled.
    pub established_outbound: u64,
    /// Sessions that replaced another with the same peer.
    pub duplicate_sessions: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials whose handshake failed or got no answer.
    pub dials_failed: u64,
    /// Handshakes of others that broke a rule.
    pub handshakes_failed: u64,
    /// Handshakes of others that did not end in time.
    pub handshakes_timed_out: u64,
    /// Handshake packets sent again.
    pub handshake_resends: u64,
    /// Retry packets sent, with a token.
    pub retries_sent: u64,
    /// Retry packets sent, with a refusal.
    pub refusals_sent: u64,
    /// Requests that got no Retry: `limits.retries_per_second`.
    pub retries_limited: u64,
    /// SessionRequests with a good token that were not read: `limits.requests_per_second`.
    pub requests_limited: u64,
    /// SessionRequests with a token that is not good, or used.
    pub bad_tokens: u64,
    /// Tokens forgotten early: `limits.used_tokens`, `issued_tokens` or `held_tokens`.
    pub tokens_full: u64,
    /// Handshakes not accepted: `limits.sessions` or `pending_inbound`.
    pub refused_limit: u64,
    /// Handshakes not accepted: `limits.pending_per_ip`.
    pub refused_per_ip: u64,
    /// Packets not accepted: from an address that is not public.
    pub refused_not_public: u64,
    /// Ephemeral keys that were seen before.
    pub replays: u64,
    /// Periods of the replay cache cut short by `limits.replay_entries`.
    pub replay_cache_full: u64,
    /// Handshakes with a clock too far from ours.
    pub clock_skews: u64,
    /// Datagrams shorter than any packet.
    pub bad_length: u64,
    /// Packets that belong to nothing: garbage, reflections, late ones.
    pub unknown_packets: u64,
    /// Packets of a session that were not authentic.
    pub not_authentic: u64,
    /// Packets that had come before, or are too old to tell.
    pub duplicate_packets: u64,
    /// Blocks that were malformed, or where none may be.
    pub bad_blocks: u64,
    /// Acknowledgements of what was never sent.
    pub bad_acks: u64,
    /// Blocks that nothing is done about.
    pub ignored_blocks: u64,
    /// Messages inside good packets that could not be read.
    pub bad_messages: u64,
    /// Messages and pieces that had come before.
    pub duplicate_messages: u64,
    /// Messages received too late or dated too far ahead.
    pub expired_received: u64,
    /// Incomplete messages given up: `limits.reassembly_*`.
    pub reassembly_dropped: u64,
    /// Data packets that came before SessionConfirmed and found no room: `limits.early_packets`.
    pub early_dropped: u64,
    /// Messages sent whole, each piece at least once.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets received, of any kind.
    pub packets_received: u64,
    /// Bytes sent, all of UDP's payload.
    pub bytes_sent: u64,
    /// Bytes received, all of UDP's payload.
    pub bytes_received: u64,
    /// Packets taken for lost.
    pub packets_lost: u64,
    /// Packets taken for lost that had only been late.
    pub packets_late: u64,
    /// Pieces of messages sent again.
    pub retransmissions: u64,
    /// Probes sent because nothing was acknowledged.
    pub timeouts: u64,
    /// Messages dropped because they expired before all was sent.
    pub dropped_expired: u64,
    /// Messages dropped: `limits.queue_bytes_per_peer` or `_dialling`.
    pub dropped_full: u64,
    /// Messages dropped because packets became smaller while they were under way.
    pub dropped_unfit: u64,
    /// Messages dropped because the session ended.
    pub dropped_disconnected: u64,
    /// Path validations begun.
    pub paths_challenged: u64,
    /// Path validations that proved the new address.
    pub paths_moved: u64,
    /// Our RouterInfo was said again inside a session.
    pub refreshes: u64,
    /// Packets of no session dropped because the socket took none: `limits.waiting_packets`.
    pub waiting_full: u64,
    /// Sessions forgotten early after their end: `limits.closing`.
    pub closing_full: u64,
    /// Peer tests that we asked for.
    pub peer_tests_asked: u64,
    /// Peer tests of others that we passed on, as Bob.
    pub peer_tests_passed_on: u64,
    /// Peer tests of others that we agreed to, as Charlie.
    pub peer_tests_agreed: u64,
    /// Peer tests of others that we refused, as Bob or Charlie.
    pub peer_tests_refused: u64,
    /// Messages of peer tests that belong to none, come from elsewhere or are not signed by who should have.
    pub bad_peer_tests: u64,
    /// Introductions that we asked for, as Alice.
    pub introductions_asked: u64,
    /// Introductions that we asked for and that led to an address.
    pub introductions_made: u64,
    /// Introductions of others that we passed on, as Bob.
    pub relays_passed_on: u64,
    /// Introductions of others that we refused, as Bob or Charlie.
    pub relays_refused: u64,
    /// Messages of introductions that belong to none, or are not signed by who should have.
    pub bad_relays: u64,
    /// Hole punches sent, as Charlie.
    pub hole_punches_sent: u64,
    /// Hole punches that led to an address, as Alice.
    pub hole_punches_received: u64,
    /// Routers that we introduce others to.
    pub relay_tags: u64,
    /// Tags not given: `limits.relay_tags`, or one held not kept: `limits.introducers`.
    pub relay_tags_full: u64,
    /// Introductions and peer tests not taken: `limits.asides_per_peer`, `peer_tests`, `introductions_per_ip`,
    /// `introduction_ips`, `relays`, `hole_punches` or `awaiting`.
    pub introductions_limited: u64,
    /// Blocks of introductions and peer tests dropped: `limits.notices_per_peer`.
    pub notices_full: u64,
}
