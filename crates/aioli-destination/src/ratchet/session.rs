//! One established session: both directions of the DH ratchet, what must be
//! acknowledged, and whether the peer still answers (ecies 4a, 5).
//!
//! ```text
//! tag set   sender's key   receiver's key      forward block      reverse block
//!    1         0 new           0 new           key, request       key
//!    2         1 new           0               key                id only
//!    3         1               1 new           id, request        key
//!    4         2 new           1               key                id only
//! ```

use aioli_core::crypto::Secret;
use aioli_core::crypto::ratchet::{TagSet, next_dh};
use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::{Cx, Duration, Instant};
use aioli_wire::SessionTag;
use aioli_wire::garlic::{MessageNumber, NextKey, PayloadWriter};

use super::tag_set::{InboundSets, OutboundSet, Owner, SetId};
use super::{Limits, Misbehaved};

/// How often an unanswered ratchet block is repeated.
const REPEAT_NEXT_KEY: Duration = Duration::from_millis(200);
/// Silence after which we ask whether messages arrive.
const ASK_AFTER_SILENCE: Duration = Duration::from_secs(5);
/// Pause between such questions.
const ASK_AGAIN: Duration = Duration::from_secs(4);
/// Unanswered questions, and their age, after which the peer has lost the session.
const LOST_AFTER_ASKS: u32 = 3;
const LOST_AFTER: Duration = Duration::from_secs(15);
/// How long the previous inbound tag set stays open.
const PREVIOUS_SET: Duration = Duration::from_secs(180);
/// Messages that one tag set can number.
const MAX_MESSAGES: u32 = 65_535;
/// Acknowledgements in one block; more than a burst between two of our messages asks for.
const MAX_ACKS: usize = 64;

/// Both keys of one direction's DH ratchet.
#[derive(Clone, Debug, Default)]
struct RatchetKeys {
    own: Option<PrivateKey>,
    remote: Option<PublicKey>,
}

/// A ratchet block that we repeat until it shows effect.
#[derive(Clone, Debug)]
struct Repeated {
    block: NextKey,
    last: Option<Instant>,
}

impl Repeated {
    fn due(&self, now: Instant) -> bool {
        self.last.is_none_or(|at| now.since(at) >= REPEAT_NEXT_KEY)
    }

    fn write(&mut self, w: &mut PayloadWriter, now: Instant) {
        if self.due(now) {
            w.next_key(&self.block);
            self.last = Some(now);
        }
    }
}

/// An established session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) established: Instant,
    /// When the peer last sent on it.
    pub(super) heard: Instant,
    /// When we last sent on it.
    pub(super) sent: Instant,
    /// By when we answer even without traffic.
    pub(super) respond_by: Option<Instant>,
    out: OutboundSet,
    out_keys: RatchetKeys,
    forward: Option<Repeated>,
    inbound: SetId,
    inbound_number: u16,
    in_keys: RatchetKeys,
    reverse: Option<Repeated>,
    previous: Vec<SetId>,
    acks: Vec<MessageNumber>,
    asks: u32,
    first_ask: Option<Instant>,
    last_ask: Option<Instant>,
    terminated: bool,
}

impl Session {
    pub(super) fn new(id: u64, (root, tags): (Secret<32>, TagSet), inbound: SetId, now: Instant) -> Self {
        Self {
            id,
            established: now,
            heard: now,
            sent: now,
            respond_by: None,
            out: OutboundSet::new(0, root, tags),
            out_keys: RatchetKeys::default(),
            forward: None,
            inbound,
            inbound_number: 0,
            in_keys: RatchetKeys::default(),
            reverse: None,
            previous: Vec::new(),
            acks: Vec::new(),
            asks: 0,
            first_ask: None,
            last_ask: None,
            terminated: false,
        }
    }

    /// Whether we may send on it.
    pub(super) fn usable(&self, limits: &Limits, now: Instant) -> bool {
        !self.terminated
            && now.since(self.sent) < limits.sender_expiry
            && self.out.position() < MAX_MESSAGES
            && !self.lost(now)
    }

    /// Whether the peer seems to have forgotten it: we asked, and heard nothing.
    fn lost(&self, now: Instant) -> bool {
        self.asks >= LOST_AFTER_ASKS && self.first_ask.is_some_and(|at| now.since(at) >= LOST_AFTER)
    }

    /// Whether it holds something that the peer waits for.
    pub(super) fn owes(&self) -> bool {
        self.reverse.as_ref().is_some_and(|r| r.last.is_none()) || !self.acks.is_empty()
    }

    /// When nothing of it is left to keep.
    pub(super) fn expires(&self, limits: &Limits) -> Instant {
        self.heard + limits.receiver_expiry
    }

    /// Tag, key and number of the next message.
    pub(super) fn next_message(&mut self) -> Option<(u16, SessionTag, Secret<32>)> {
        self.out.next()
    }

    /// The number of the tag set and of the message that comes next.
    pub(super) fn next_number(&self) -> MessageNumber {
        let n = u16::try_from(self.out.position()).unwrap_or(u16::MAX);
        MessageNumber { tag_set: self.out.number, n }
    }

    /// Whether the next message should ask for an acknowledgement.
    pub(super) fn should_ask(&self, now: Instant) -> bool {
        now.since(self.heard) >= ASK_AFTER_SILENCE
            && self.last_ask.is_none_or(|at| now.since(at) >= ASK_AGAIN)
    }

    /// Writes what the ratchet has to say besides the cloves.
    pub(super) fn write_control(
        &mut self,
        w: &mut PayloadWriter,
        ask: bool,
        limits: &Limits,
        cx: &mut Cx<'_>,
    ) {
        let now = cx.now.mono;
        if ask {
            w.ack_request();
            self.asks += 1;
            self.first_ask.get_or_insert(now);
            self.last_ask = Some(now);
        }
        if !self.acks.is_empty() {
            w.ack(&self.acks);
            self.acks.clear();
        }
        if self.forward.is_none() && self.out.position() >= limits.ratchet_at {
            self.start_ratchet(cx);
        }
        if let Some(block) = &mut self.reverse {
            block.write(w, now);
        }
        if let Some(block) = &mut self.forward {
            block.write(w, now);
        }
        self.sent = now;
        self.respond_by = None;
    }

    /// We send the tags, so we start the next set of them.
    fn start_ratchet(&mut self, cx: &mut Cx<'_>) {
        let Some(new) = self.out.number.checked_add(1) else { return };
        let fresh = new == 1 || new % 2 == 0;
        if fresh {
            self.out_keys.own = Some(PrivateKey::generate(cx.rng));
        }
        let key = self.out_keys.own.as_ref().filter(|_| fresh).map(|k| k.public().0);
        let block = NextKey { id: new / 2, reverse: false, request_reverse: new % 2 == 1, key };
        self.forward = Some(Repeated { block, last: None });
    }

    /// The peer answered our ratchet: the next outbound set begins. False for a
    /// repetition.
    pub(super) fn on_reverse_key(&mut self, next: &NextKey) -> Result<bool, Misbehaved> {
        let Some(new) = self.out.number.checked_add(1).filter(|_| self.forward.is_some()) else {
            return Ok(false);
        };
        if next.id != (new - 1) / 2 {
            return Ok(false); // for the set before
        }
        if new % 2 == 1 {
            self.out_keys.remote = Some(PublicKey(next.key.ok_or(Misbehaved::NextKeyWithoutKey)?));
        }
        let (Some(own), Some(remote)) = (&self.out_keys.own, &self.out_keys.remote) else {
            return Err(Misbehaved::NextKeyWithoutKey);
        };
        let shared = own.diffie_hellman(remote).map_err(|_| Misbehaved::WeakKey)?;
        let (root, tags) = next_dh(&self.out.next_root, &shared);
        self.out = OutboundSet::new(new, root, tags);
        self.forward = None;
        Ok(true)
    }

    /// The peer, who sends the tags, starts the next set of them. False for a
    /// repetition.
    pub(super) fn on_forward_key(
        &mut self,
        next: &NextKey,
        owner: Owner,
        sets: &mut InboundSets,
        limits: &Limits,
        cx: &mut Cx<'_>,
    ) -> Result<bool, Misbehaved> {
        let new = if next.request_reverse { 2 * next.id + 1 } else { 2 * next.id };
        if new == self.inbound_number {
            // Our answer was lost, or is under way: it is repeated anyway.
            return Ok(false);
        }
        if Some(new) != self.inbound_number.checked_add(1) {
            return Err(Misbehaved::NextKeyOutOfSequence);
        }
        let mut keys = self.in_keys.clone();
        if new == 1 || new % 2 == 0 {
            keys.remote = Some(PublicKey(next.key.ok_or(Misbehaved::NextKeyWithoutKey)?));
        }
        if new % 2 == 1 {
            keys.own = Some(PrivateKey::generate(cx.rng));
        }
        let (Some(own), Some(remote)) = (&keys.own, &keys.remote) else {
            return Err(Misbehaved::NextKeyWithoutKey);
        };
        let shared = own.diffie_hellman(remote).map_err(|_| Misbehaved::WeakKey)?;
        let Some(current) = sets.get_mut(self.inbound) else { return Ok(false) };
        current.expires = cx.now.mono + PREVIOUS_SET;
        let window = current.next_window();
        let chains = next_dh(&current.next_root, &shared);
        let key = (new % 2 == 1).then(|| own.public().0);
        self.previous.push(self.inbound);
        if self.previous.len() > limits.previous_tag_sets {
            sets.remove(self.previous.remove(0));
        }
        self.inbound = sets.insert(owner, new, chains, window, Instant::FAR_FUTURE);
        self.inbound_number = new;
        self.in_keys = keys;
        let block = NextKey { id: (new - 1) / 2, reverse: true, request_reverse: false, key };
        self.reverse = Some(Repeated { block, last: None });
        Ok(true)
    }

    /// A message opened on the tag set with this number.
    pub(super) fn on_heard(&mut self, tag_set: u16, now: Instant) {
        self.heard = now;
        self.asks = 0;
        self.first_ask = None;
        if tag_set == self.inbound_number {
            self.reverse = None;
        }
    }

    /// The peer wants this message acknowledged.
    pub(super) fn on_ack_request(&mut self, message: MessageNumber) {
        if self.acks.len() < MAX_ACKS && !self.acks.contains(&message) {
            self.acks.push(message);
        }
    }

    /// The peer will send no more and understand no more.
    pub(super) fn on_termination(&mut self) {
        self.terminated = true;
    }

    /// Forgets previous tag sets whose time has come; says when to look again.
    pub(super) fn expire_sets(&mut self, sets: &mut InboundSets, now: Instant) -> Option<Instant> {
        self.previous.retain(|id| {
            let keep = sets.get(*id).is_some_and(|s| s.expires > now);
            if !keep {
                sets.remove(*id);
            }
            keep
        });
        self.previous.iter().filter_map(|id| sets.get(*id)).map(|s| s.expires).min()
    }

    /// Forgets all of its tag sets.
    pub(super) fn remove_sets(&self, sets: &mut InboundSets) {
        sets.remove(self.inbound);
        for id in &self.previous {
            sets.remove(*id);
        }
    }
}
