//! What a transport counts.

/// Counters since the start, and gauges where the text says "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sessions now.
    pub sessions: u64,
    /// Connections now, in any state.
    pub connections: u64,
    /// Bytes queued now.
    pub queued_bytes: u64,
    /// Sessions that came to us.
    pub established_inbound: u64,
    /// Sessions that we dialled.
    pub established_outbound: u64,
    /// Sessions that replaced or were replaced by another with the same peer.
    pub duplicate_sessions: u64,
    /// Dials begun.
    pub dials: u64,
    /// Dials that gave no TCP connection.
    pub dials_unreachable: u64,
    /// Dials whose handshake failed.
    pub dials_failed: u64,
    /// Dials refused because the peer failed a short while ago.
    pub dials_backed_off: u64,
    /// Dials refused by a limit on connections: how many, or how many a minute.
    pub dials_limited: u64,
    /// Dials that waited for their turn: `limits.dials_per_minute`.
    pub dials_paced: u64,
    /// Idle sessions closed to make room for a dial: `limits.connections`.
    pub closed_for_room: u64,
    /// Peers that nothing could be dialled at.
    pub dials_no_address: u64,
    /// Connections not accepted: `limits.connections` or `inbound_connections`.
    pub refused_connections: u64,
    /// Connections not accepted: `limits.connections_per_ip`.
    pub refused_per_ip: u64,
    /// Connections not accepted: `limits.pending_inbound`.
    pub refused_pending: u64,
    /// Connections not accepted: `limits.accepts_per_minute`.
    pub refused_paced: u64,
    /// Connections not accepted: from an address that is not public.
    pub refused_not_public: u64,
    /// Connections not accepted: we have no RouterInfo yet.
    pub refused_not_ready: u64,
    /// Handshakes of others that broke a rule.
    pub handshakes_failed: u64,
    /// Handshakes that did not end in time, either role.
    pub handshakes_timed_out: u64,
    /// Ephemeral keys that were seen before.
    pub replays: u64,
    /// Periods of the replay cache cut short by `limits.replay_entries`.
    pub replay_cache_full: u64,
    /// Handshakes with a clock too far from ours.
    pub clock_skews: u64,
    /// Peers turned away because they are banned.
    pub banned: u64,
    /// Bans forgotten early: `limits.banned_entries`.
    pub banned_full: u64,
    /// Unreachable peers forgotten early: `limits.back_off_entries`.
    pub back_off_full: u64,
    /// Frames that were not authentic or malformed.
    pub bad_frames: u64,
    /// Messages inside good frames that could not be read.
    pub bad_messages: u64,
    /// RouterInfos in sessions that were malformed or of somebody else.
    pub bad_router_infos: u64,
    /// Messages received too late or dated too far ahead.
    pub expired_received: u64,
    /// Messages sent.
    pub messages_sent: u64,
    /// Messages received.
    pub messages_received: u64,
    /// Frames sent.
    pub frames_sent: u64,
    /// Frames received.
    pub frames_received: u64,
    /// Bytes sent, all of TCP's payload.
    pub bytes_sent: u64,
    /// Bytes received, all of TCP's payload.
    pub bytes_received: u64,
    /// Messages dropped because they expired in a queue.
    pub dropped_expired: u64,
    /// Messages dropped: `limits.queue_bytes_per_peer`, `_dialling` or `_total`.
    pub dropped_full: u64,
    /// Bytes of relayed messages sent, part of `bytes_sent`.
    pub transit_bytes_sent: u64,
    /// Relayed messages dropped early, before their room within the bandwidth limit was full.
    pub dropped_early: u64,
    /// Messages dropped because they fit in no frame.
    pub dropped_too_large: u64,
    /// Messages dropped because the session ended.
    pub dropped_disconnected: u64,
}
