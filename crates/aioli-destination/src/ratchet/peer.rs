//! What we keep per remote static key: handshakes both ways, sessions, and
//! which of our LeaseSets the peer has.

use std::collections::VecDeque;

use aioli_core::crypto::Secret;
use aioli_core::crypto::ratchet::TagSet;
use aioli_core::{Duration, Instant};
use aioli_wire::garlic::MessageNumber;

use super::Limits;
use super::handshake::{Asked, Heard};
use super::session::Session;
use super::tag_set::{InboundSets, SetId};

/// How long we wait before we send a LeaseSet again that was not acknowledged.
const LEASE_SET_CONFIRMATION: Duration = Duration::from_secs(4);

/// A New Session message that we sent.
#[derive(Clone, Debug)]
pub(super) struct Initiated {
    pub(super) id: u64,
    pub(super) at: Instant,
    pub(super) state: Asked,
    pub(super) replies: SetId,
    /// The version of our LeaseSet inside.
    pub(super) lease_set: u64,
}

/// A New Session message that we received.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) at: Instant,
    pub(super) state: Heard,
    pub(super) replies: Vec<Reply>,
    /// By when we reply even without traffic.
    pub(super) respond_by: Option<Instant>,
}

/// A New Session Reply that we sent: a session, once the peer uses it.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) session: u64,
    pub(super) inbound: SetId,
    pub(super) out: (Secret<32>, TagSet),
}

/// Which of our LeaseSets a peer has.
#[derive(Clone, Debug, Default)]
pub(super) struct Shared {
    confirmed: u64,
    flight: Option<Flight>,
}

#[derive(Clone, Debug)]
struct Flight {
    version: u64,
    at: Instant,
    session: u64,
    message: MessageNumber,
}

impl Shared {
    /// Whether the next message should carry it.
    pub(super) fn due(&self, version: u64, now: Instant) -> bool {
        version > self.confirmed
            && self
                .flight
                .as_ref()
                .is_none_or(|f| f.version < version || now.since(f.at) >= LEASE_SET_CONFIRMATION)
    }

    pub(super) fn on_sent(&mut self, version: u64, session: u64, message: MessageNumber, at: Instant) {
        self.flight = Some(Flight { version, at, session, message });
    }

    pub(super) fn on_ack(&mut self, session: u64, message: MessageNumber) {
        if let Some(f) = self.flight.take_if(|f| f.session == session && f.message == message) {
            self.on_confirmed(f.version);
        }
    }

    pub(super) fn on_confirmed(&mut self, version: u64) {
        self.confirmed = self.confirmed.max(version);
    }
}

/// All that we keep of one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    pub(super) initiated: VecDeque<Initiated>,
    pub(super) answered: VecDeque<Answered>,
    pub(super) sessions: Vec<Session>,
    pub(super) shared: Shared,
}

/// Where the next message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// On the session at this index.
    Existing(usize),
    /// As a reply to the New Session message at this index.
    Reply(usize),
    /// As a New Session message.
    New,
}

impl Peer {
    /// Where the next message goes: a reply if the peer started anew after it
    /// last used a session, a session if there is one that it still uses.
    pub(super) fn plan(&self, limits: &Limits, now: Instant) -> Plan {
        let usable = |s: &&Session| s.usable(limits, now);
        let heard = self.sessions.iter().filter(usable).map(|s| s.heard).max();
        let open = |a: &Answered| a.replies.len() < limits.replies_per_new_session;
        if let Some(i) = self.answered.iter().rposition(open)
            && self.answered.get(i).is_some_and(|a| heard.is_none_or(|at| a.at > at))
        {
            return Plan::Reply(i);
        }
        let best = |(_, s): &(usize, &Session)| (s.owes(), s.established, s.id);
        let usable = self.sessions.iter().enumerate().filter(|(_, s)| s.usable(limits, now));
        usable.max_by_key(best).map_or(Plan::New, |(i, _)| Plan::Existing(i))
    }

    /// Whether no session stands.
    pub(super) fn is_half_open(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Adds an established session; the one silent for longest goes when there
    /// are too many.
    pub(super) fn add_session(&mut self, session: Session, sets: &mut InboundSets, limits: &Limits) {
        self.sessions.push(session);
        if self.sessions.len() > limits.sessions_per_peer
            && let Some(i) = (0..self.sessions.len()).min_by_key(|i| self.sessions[*i].heard)
        {
            self.sessions.remove(i).remove_sets(sets);
        }
    }

    /// The peer used this reply: the session stands, the other half-open ones go.
    pub(super) fn promote(&mut self, session: u64, sets: &mut InboundSets, limits: &Limits, now: Instant) {
        let mut found = None;
        for reply in self.answered.drain(..).flat_map(|a| a.replies) {
            if reply.session == session {
                found = Some(reply);
            } else {
                sets.remove(reply.inbound);
            }
        }
        if let Some(Reply { session, inbound, out }) = found {
            self.add_session(Session::new(session, out, inbound, now), sets, limits);
        }
    }

    /// Forgets what has expired; says when to look again.
    pub(super) fn expire(
        &mut self,
        sets: &mut InboundSets,
        limits: &Limits,
        now: Instant,
    ) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut at = |t: Instant| next = Some(next.map_or(t, |n: Instant| n.min(t)));
        self.initiated.retain(|i| {
            let end = i.at + limits.half_open_expiry;
            if end <= now {
                sets.remove(i.replies);
                return false;
            }
            at(end);
            true
        });
        self.answered.retain(|a| {
            let end = a.at + limits.half_open_expiry;
            if end <= now {
                a.replies.iter().for_each(|r| sets.remove(r.inbound));
                return false;
            }
            at(a.respond_by.map_or(end, |t| t.min(end)));
            true
        });
        self.sessions.retain_mut(|s| {
            let end = s.expires(limits);
            if end <= now {
                s.remove_sets(sets);
                return false;
            }
            at(s.respond_by.map_or(end, |t| t.min(end)));
            if let Some(t) = s.expire_sets(sets, now) {
                at(t);
            }
            true
        });
        next
    }

    /// Whether a response is due; each is asked for once.
    pub(super) fn take_due_response(&mut self, now: Instant) -> bool {
        let due = |t: &mut Instant| *t <= now;
        let mut any = false;
        for session in &mut self.sessions {
            any |= session.respond_by.take_if(due).is_some();
        }
        for answered in &mut self.answered {
            any |= answered.respond_by.take_if(due).is_some();
        }
        any
    }

    /// Forgets all tag sets.
    pub(super) fn remove_sets(&self, sets: &mut InboundSets) {
        self.initiated.iter().for_each(|i| sets.remove(i.replies));
        self.answered.iter().flat_map(|a| &a.replies).for_each(|r| sets.remove(r.inbound));
        self.sessions.iter().for_each(|s| s.remove_sets(sets));
    }
}
