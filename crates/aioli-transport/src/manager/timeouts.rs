//! What happens when time has passed.

use aioli_core::{Cx, Instant};
use aioli_wire::ntcp2::TerminationReason;

use super::Transport;
use super::conn::State;
use crate::{ConnId, DialError, Why};

impl Transport {
    /// Time has come to the deadline of [`Self::next_timeout`].
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        self.handle_udp_timeout(cx);
        while let Some(peer) = self.head_starts.pop_expired(cx.now.mono) {
            self.head_start_over(peer, cx);
        }
        while let Some((why, conn)) = self.timers.pop_expired(cx.now.mono) {
            match why {
                Why::Connect => self.unreachable(conn, Some(true), cx),
                Why::Handshake => self.handshake_timed_out(conn, cx),
                Why::Probe | Why::Flush => self.drop_conn(conn, Some(true)),
                Why::Idle => self.maybe_idle(conn, cx),
                Why::Refresh => {
                    if let Some(State::Established(session)) = self.conns.get_mut(&conn).map(|c| &mut c.state)
                    {
                        session.refresh = true;
                        self.refresh_again(conn, cx);
                        self.wake(conn);
                    }
                }
                Why::Superseded => self.terminate(conn, TerminationReason::Normal, cx),
                Why::Sweep => self.sweep(cx.now.mono),
                Why::Send => self.next_senders(cx.now.mono),
                Why::Receive => self.next_readers(cx.now.mono),
                Why::Pace => self.dial_next(cx),
                Why::HeadStart | Why::Ssu2 => {}
            }
        }
    }

    fn handshake_timed_out(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let peer = self.conns.get(&conn).filter(|c| !c.inbound).and_then(|c| c.peer);
        self.stats.handshakes_timed_out += 1;
        self.drop_conn(conn, Some(true));
        if let Some(peer) = peer {
            self.end_dial(peer, conn, DialError::Timeout, cx);
        }
    }

    /// The deadline is not moved at every frame; so it may have come too early.
    fn maybe_idle(&mut self, conn: ConnId, cx: &mut Cx<'_>) {
        let Some(State::Established(session)) = self.conns.get(&conn).map(|c| &c.state) else { return };
        let at = session.last_activity + session.idle_timeout;
        if at <= cx.now.mono {
            self.terminate(conn, TerminationReason::IdleTimeout, cx);
        } else {
            self.timers.set((Why::Idle, conn), at);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.back_off.expire(now);
        let mut empty = self.back_off.is_empty();
        if let Some(udp) = &mut self.udp {
            udp.back_off.expire(now);
            empty &= udp.back_off.is_empty();
        }
        self.replay.expire(now);
        self.banned.retain(|_, until| now < *until);
        if !empty || !self.banned.is_empty() || !self.replay.is_empty() {
            self.sweep_soon(now);
        }
    }
}
