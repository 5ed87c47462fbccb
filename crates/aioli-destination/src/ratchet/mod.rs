//! ECIES-X25519-AEAD-Ratchet (ecies, proposal 144): encrypted sessions with
//! the owners of other static keys, from one destination's point of view.
//!
//! ```text
//! seal(to, cloves) ─► [established?] ─ yes ─► Existing Session    tag | AEAD
//!                          │ no
//!                          ├─ the peer started ─► New Session Reply
//!                          └─ otherwise ────────► New Session, with our LeaseSet
//!
//! open(body) ─► [tag known?] ─ yes ─► its tag set: session, or replies to our New Session
//!                    └─ no ─► New Session, not seen before and recent
//! ```
//!
//! The peer who gets no answer loses nothing but time: every message before the
//! first answer is complete in itself. What must be answered without traffic
//! from above comes out as [`Output::Respond`].

mod handshake;
mod open;
mod peer;
mod seal;
mod session;
mod tag_set;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::map::{Table, table};
use aioli_core::{Cx, Duration, Instant, Rng, Timers};
use aioli_wire::garlic::CloveDelivery;
use aioli_wire::i2np::Message;
use thiserror::Error;

pub use self::open::owned_clove;
use self::peer::Peer;
pub use self::seal::MAX_CLOVES;
use self::tag_set::{InboundSets, Owner, Part, Window};
use crate::replay::ReplayCache;

/// How soon we answer what wants an answer, when nothing else is sent.
const RESPONSE_DELAY: Duration = Duration::from_secs(1);

/// The bounds of everything that peers can fill, and the times that the
/// specification recommends.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Peers with any state.
    pub peers: usize,
    /// Tags that would be recognised, of all sessions together.
    pub tags: usize,
    /// Sessions with one peer.
    pub sessions_per_peer: usize,
    /// Unanswered New Session messages to one peer.
    pub initiated_per_peer: usize,
    /// New Session messages of one peer that it has not followed up.
    pub answered_per_peer: usize,
    /// Replies to one New Session message.
    pub replies_per_new_session: usize,
    /// Tags for replies to one New Session message.
    pub reply_tags: u32,
    /// Tags ahead at the start of a session.
    pub tag_window_min: u32,
    /// Tags ahead at most: as many as a stream may have packets in flight.
    pub tag_window_max: u32,
    /// Older inbound tag sets that a session keeps.
    pub previous_tag_sets: usize,
    /// New Session messages that are tried per second; the rest is dropped.
    pub new_sessions_per_second: u32,
    /// New Session messages remembered against replay.
    pub replay_entries: usize,
    /// The message number from which a tag set is replaced.
    pub ratchet_at: u32,
    /// After this without sending we start a new session.
    pub sender_expiry: Duration,
    /// After this without receiving we forget a session.
    pub receiver_expiry: Duration,
    /// How long a handshake may stay half open.
    pub half_open_expiry: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 10_000,
            tags: 500_000,
            sessions_per_peer: 4,
            initiated_per_peer: 16,
            answered_per_peer: 8,
            replies_per_new_session: 12,
            reply_tags: 12,
            tag_window_min: 24,
            tag_window_max: 4096,
            previous_tag_sets: 2,
            new_sessions_per_second: 500,
            replay_entries: 50_000,
            ratchet_at: 4096,
            sender_expiry: Duration::from_secs(8 * 60),
            receiver_expiry: Duration::from_secs(10 * 60),
            half_open_expiry: Duration::from_secs(3 * 60),
        }
    }
}

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Peers with any state.
    pub peers: u64,
    /// Inbound tags waiting.
    pub tags: u64,
    /// New Session messages sent.
    pub new_sessions_sent: u64,
    /// New Session messages opened.
    pub new_sessions_received: u64,
    /// New Session Replies sent.
    pub replies_sent: u64,
    /// New Session Replies opened.
    pub replies_received: u64,
    /// Messages sent on established sessions.
    pub existing_sent: u64,
    /// Messages opened on established sessions.
    pub existing_received: u64,
    /// Sessions that stood at some time.
    pub established: u64,
    /// DH ratchets of tag sets that we send on.
    pub ratchets_sent: u64,
    /// DH ratchets of tag sets that we receive on.
    pub ratchets_received: u64,
    /// Messages that opened with no key of ours.
    pub not_opened: u64,
    /// New Session messages that had come before.
    pub replayed: u64,
    /// New Session messages with a date too old or too far ahead, or none.
    pub bad_date: u64,
    /// Blocks and messages against the rules.
    pub misbehaved: u64,
    /// Blocks that made no sense.
    pub malformed: u64,
    /// New Session messages dropped because too many came.
    pub rate_limited: u64,
    /// Half-open peers forgotten early, or messages refused, at the limit of peers.
    pub peers_refused: u64,
    /// Windows cut short at the limit of tags.
    pub tags_refused: u64,
    /// Replay entries forgotten early.
    pub replay_overflows: u64,
}

/// Why a message cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SealError {
    /// It exceeds what one garlic message can carry.
    #[error("the message exceeds the size of a garlic message")]
    TooLong,
    /// The limit of peers.
    #[error("too many encrypted sessions")]
    TooManyPeers,
    /// The peer's key is of no use.
    #[error("the peer's static key is weak")]
    WeakKey,
}

/// Why a message does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No tag or key of ours opens it.
    #[error("no session and no key opens this message")]
    Unknown,
    /// It came before.
    #[error("a replayed New Session message")]
    Replayed,
    /// Its date is missing, too old or too far ahead.
    #[error("a New Session message with a bad date")]
    Date,
    /// Too many of its kind came, or a table is full.
    #[error("over a limit")]
    Limit,
}

/// The rules that a peer with a session can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Misbehaved {
    /// A ratchet block that needs a key has none.
    #[error("NextKey block without a key")]
    NextKeyWithoutKey,
    /// A ratchet block that skips a tag set.
    #[error("NextKey block out of sequence")]
    NextKeyOutOfSequence,
    /// A key of small order.
    #[error("weak ratchet key")]
    WeakKey,
    /// A block in a New Session message or its reply that may not be there.
    #[error("block not allowed in a handshake")]
    BlockInHandshake,
}

/// A message with its delivery instructions, out of a garlic message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedClove {
    /// Where it goes.
    pub delivery: CloveDelivery,
    /// The message.
    pub message: Message,
}

/// An opened garlic message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The sender's static key; none if it does not say.
    pub from: Option<PublicKey>,
    /// What was inside.
    pub cloves: Vec<OwnedClove>,
}

/// What the ratchet wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// This peer waits for a sign of life: send it [`Sessions::seal_response`].
    Respond(PublicKey),
}

/// Our LeaseSet as peers shall get it.
#[derive(Clone, Debug)]
struct OwnLeaseSet {
    version: u64,
    store: Arc<[u8]>,
}

/// All encrypted sessions of one static key of ours.
#[derive(Debug)]
pub struct Sessions {
    key: PrivateKey,
    limits: Limits,
    lease_set: Option<OwnLeaseSet>,
    peers: Table<PublicKey, Peer>,
    /// Peers that were half open when they were added, oldest first.
    half_open: VecDeque<PublicKey>,
    sets: InboundSets,
    replay: ReplayCache,
    timers: Timers<PublicKey>,
    out: VecDeque<Output>,
    stats: Stats,
    next_id: u64,
    /// New Session messages tried in the second that began then.
    tried: (Instant, u32),
}

impl Sessions {
    /// No sessions yet.
    pub fn new(key: PrivateKey, limits: Limits, rng: &mut Rng) -> Self {
        Self {
            key,
            lease_set: None,
            peers: table(rng),
            half_open: VecDeque::new(),
            sets: InboundSets::new(limits.tags, rng),
            replay: ReplayCache::new(limits.replay_entries, rng),
            timers: Timers::new(),
            out: VecDeque::new(),
            stats: Stats::default(),
            next_id: 1,
            tried: (Instant::ZERO, 0),
            limits,
        }
    }

    /// The key that LeaseSets name.
    pub fn public_key(&self) -> PublicKey {
        self.key.public()
    }

    /// What peers shall know of us: the body of a DatabaseStore with our
    /// LeaseSet. It goes with every New Session message and, when it changed,
    /// with messages of established sessions until it is acknowledged.
    pub fn set_lease_set(&mut self, store: Option<Arc<[u8]>>) {
        let version = self.fresh_id();
        self.lease_set = store.map(|store| OwnLeaseSet { version, store });
    }

    /// Whether a session with this peer stands, so that it knows us.
    pub fn is_established(&self, peer: &PublicKey, now: Instant) -> bool {
        self.peers.get(peer).is_some_and(|p| p.sessions.iter().any(|s| s.usable(&self.limits, now)))
    }

    /// Forgets a peer.
    pub fn remove(&mut self, peer: &PublicKey) {
        if let Some(state) = self.peers.remove(peer) {
            state.remove_sets(&mut self.sets);
            self.timers.stop(peer);
        }
    }

    /// Expires what is due, asks for responses that are due.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        while let Some(key) = self.timers.pop_expired(now) {
            let Some(peer) = self.peers.get_mut(&key) else { continue };
            if peer.take_due_response(now) {
                self.out.push_back(Output::Respond(key));
            }
            match peer.expire(&mut self.sets, &self.limits, now) {
                Some(next) => self.timers.set(key, next.max(now + Duration::from_millis(1))),
                None => drop(self.peers.remove(&key)),
            }
        }
        while self.half_open.front().is_some_and(|k| self.peers.get(k).is_none_or(|p| !p.is_half_open())) {
            self.half_open.pop_front();
        }
    }

    /// What is to be done, until none is left.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Sessions::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.timers.next().map(|(at, _)| at)
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            peers: self.peers.len() as u64,
            tags: self.sets.tags() as u64,
            tags_refused: self.sets.tags_refused,
            replay_overflows: self.replay.overflows,
            ..self.stats
        }
    }

    fn fresh_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    /// Makes room for one more peer; half-open ones go first, oldest first.
    fn admit(&mut self, key: &PublicKey) -> bool {
        if self.peers.contains_key(key) {
            return true;
        }
        while self.peers.len() >= self.limits.peers {
            self.stats.peers_refused += 1;
            let Some(oldest) = self.half_open.pop_front() else { return false };
            if self.peers.get(&oldest).is_some_and(Peer::is_half_open) {
                self.remove(&oldest);
            }
        }
        if self.half_open.len() >= 2 * self.limits.peers {
            self.half_open.retain(|k| self.peers.get(k).is_some_and(Peer::is_half_open));
        }
        self.half_open.push_back(*key);
        self.peers.insert(*key, Peer::default());
        true
    }

    const fn first_window(&self) -> Window {
        Window { min: self.limits.tag_window_min, max: self.limits.tag_window_max }
    }
}

const fn session_owner(peer: PublicKey, session: u64) -> Owner {
    Owner { peer, part: Part::Session(session) }
}
