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
    /// Dials for which the second transport was tried while the first was under way.
    pub dials_both: u64,
    /// Dials that went on another way when one had failed.
    pub dials_moved: u64,
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
    /// Bytes sent, all of the payload of TCP and UDP.
    pub bytes_sent: u64,
    /// Bytes received, all of the payload of TCP and UDP.
    pub bytes_received: u64,
    /// Messages dropped because they expired in a queue.
    pub dropped_expired: u64,
    /// Messages dropped: `limits.queue_bytes_per_peer`, `_dialling` or `_total`.
    pub dropped_full: u64,
    /// Bytes of relayed messages sent, part of `bytes_sent`.
    pub transit_bytes_sent: u64,
    /// Datagrams dropped because more came in than the bandwidth limit allows.
    pub dropped_inbound: u64,
    /// Relayed messages dropped early, before their room within the bandwidth limit was full.
    pub dropped_early: u64,
    /// Messages dropped because they fit in no frame.
    pub dropped_too_large: u64,
    /// Messages dropped because the session ended.
    pub dropped_disconnected: u64,
}

impl Stats {
    /// With what SSU2 counted. Its sessions are among the sessions already.
    pub(crate) const fn with_ssu2(self, ssu2: &crate::ssu2::Stats, back_off_full: u64) -> Self {
        Self {
            established_inbound: self.established_inbound + ssu2.established_inbound,
            established_outbound: self.established_outbound + ssu2.established_outbound,
            duplicate_sessions: self.duplicate_sessions + ssu2.duplicate_sessions,
            dials_failed: self.dials_failed + ssu2.dials_failed,
            refused_connections: self.refused_connections + ssu2.refused_limit,
            refused_per_ip: self.refused_per_ip + ssu2.refused_per_ip,
            refused_not_public: self.refused_not_public + ssu2.refused_not_public,
            handshakes_failed: self.handshakes_failed + ssu2.handshakes_failed,
            handshakes_timed_out: self.handshakes_timed_out + ssu2.handshakes_timed_out,
            replays: self.replays + ssu2.replays,
            replay_cache_full: self.replay_cache_full + ssu2.replay_cache_full,
            clock_skews: self.clock_skews + ssu2.clock_skews,
            back_off_full: self.back_off_full + back_off_full,
            bad_frames: self.bad_frames + ssu2.not_authentic + ssu2.bad_blocks + ssu2.bad_acks,
            bad_messages: self.bad_messages + ssu2.bad_messages,
            expired_received: self.expired_received + ssu2.expired_received,
            messages_sent: self.messages_sent + ssu2.messages_sent,
            messages_received: self.messages_received + ssu2.messages_received,
            bytes_sent: self.bytes_sent + ssu2.bytes_sent,
            bytes_received: self.bytes_received + ssu2.bytes_received,
            dropped_expired: self.dropped_expired + ssu2.dropped_expired,
            dropped_disconnected: self.dropped_disconnected + ssu2.dropped_disconnected,
            ..self
        }
    }
}
