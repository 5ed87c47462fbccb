//! Receiving: which key opens a message, and what its blocks do.

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::x25519::PublicKey;
use aioli_core::{Cx, Duration};
use aioli_wire::MessageId;
use aioli_wire::SessionTag;
use aioli_wire::garlic::{Block, Clove, MessageNumber, NextKey, blocks};
use aioli_wire::i2np::{Message, MessageType};

use super::handshake::{MIN_NS, ephemeral_of, open_new_session};
use super::peer::Answered;
use super::session::Session;
use super::tag_set::{InboundSets, Owner, Part, SetId};
use super::{
    Limits, Misbehaved, OpenError, Opened, OwnedClove, RESPONSE_DELAY, Sessions, Stats, session_owner,
};
use crate::replay::is_recent;

impl Sessions {
    /// Whether the body of a Garlic message begins with a tag of ours.
    pub fn knows_tag(&self, body: &[u8]) -> bool {
        let tag = body.get(4..).and_then(|b| b.first_chunk::<8>());
        tag.is_some_and(|tag| self.sets.find(&SessionTag(*tag)).is_some())
    }

    /// Opens the body of a Garlic message in place.
    pub fn open(&mut self, body: &mut [u8], cx: &mut Cx<'_>) -> Result<Opened, OpenError> {
        let Some((len, rest)) = body.split_first_chunk_mut::<4>() else { return self.not_opened() };
        let Some(message) = rest.get_mut(..u32::from_be_bytes(*len) as usize) else {
            return self.not_opened();
        };
        let Some(tag) = message.first_chunk::<8>().map(|tag| SessionTag(*tag)) else {
            return self.not_opened();
        };
        match self.sets.find(&tag) {
            Some((set, n)) => self.open_tagged(set, n, message, cx),
            None => self.open_new(message, cx),
        }
    }

    fn not_opened<T>(&mut self) -> Result<T, OpenError> {
        self.stats.not_opened += 1;
        Err(OpenError::Unknown)
    }

    fn open_tagged(
        &mut self,
        set: SetId,
        n: u16,
        message: &mut [u8],
        cx: &mut Cx<'_>,
    ) -> Result<Opened, OpenError> {
        let Some(state) = self.sets.get(set) else { return self.not_opened() };
        let (owner, number) = (state.owner, state.number);
        match owner.part {
            Part::Replies(id) => self.open_reply(set, n, owner.peer, id, message, cx),
            Part::Session(id) => {
                let Some(key) = self.sets.key(set, n) else { return self.not_opened() };
                let Some((tag, sealed)) = message.split_first_chunk_mut::<8>() else {
                    return self.not_opened();
                };
                let opened = ChaChaKey::new(key.as_bytes()).open_in_place(u64::from(n), tag, sealed);
                let Some(payload) = opened.ok().and_then(|len| sealed.get(..len)) else {
                    return self.not_opened();
                };
                self.sets.spend(set, n);
                self.stats.existing_received += 1;
                let number = MessageNumber { tag_set: number, n };
                let cloves = self.on_existing(owner.peer, id, number, payload, cx);
                Ok(Opened { from: Some(owner.peer), cloves })
            }
        }
    }

    /// A message of an established session, or the first that makes it so.
    fn on_existing(
        &mut self,
        key: PublicKey,
        id: u64,
        number: MessageNumber,
        payload: &[u8],
        cx: &mut Cx<'_>,
    ) -> Vec<OwnedClove> {
        let now = cx.now.mono;
        let Some(peer) = self.peers.get_mut(&key) else { return Vec::new() };
        if !peer.sessions.iter().any(|s| s.id == id) {
            peer.promote(id, &mut self.sets, &self.limits, now);
            self.stats.established += 1;
            self.timers.set_earlier(key, now + self.limits.receiver_expiry);
        }
        let Some(session) = peer.sessions.iter_mut().find(|s| s.id == id) else { return Vec::new() };
        session.on_heard(number.tag_set, now);
        let mut cloves = Vec::new();
        let mut respond = false;
        for block in blocks(payload) {
            match block {
                Ok(Block::Clove(clove)) => cloves.push(owned_clove(&clove)),
                Ok(Block::NextKey(next)) => {
                    respond |= !next.reverse;
                    let (sets, limits) = (&mut self.sets, &self.limits);
                    on_next_key(session, &next, session_owner(key, id), sets, limits, &mut self.stats, cx);
                }
                Ok(Block::Ack(acks)) => acks.iter().for_each(|message| peer.shared.on_ack(id, message)),
                Ok(Block::AckRequest) => {
                    respond = true;
                    session.on_ack_request(number);
                }
                Ok(Block::Termination(_)) => session.on_termination(),
                Ok(Block::Malformed(_)) | Err(_) => self.stats.malformed += 1,
                Ok(Block::DateTime(_) | Block::MessageNumbers(_) | Block::Padding(_) | Block::Unknown(_)) => {
                }
            }
        }
        if respond {
            let at = now + RESPONSE_DELAY;
            session.respond_by.get_or_insert(at);
            let over = session.expire_sets(&mut self.sets, now);
            self.timers.set_earlier(key, over.map_or(at, |over| over.min(at)));
        }
        cloves
    }

    /// A New Session Reply. The first one to a message begins a session, unless
    /// one has begun since that message was sent.
    fn open_reply(
        &mut self,
        set: SetId,
        n: u16,
        key: PublicKey,
        id: u64,
        message: &mut [u8],
        cx: &Cx<'_>,
    ) -> Result<Opened, OpenError> {
        let now = cx.now.mono;
        let session = self.fresh_id();
        let window = self.first_window();
        let Some(peer) = self.peers.get_mut(&key) else { return self.not_opened() };
        let Some(initiated) = peer.initiated.iter().find(|i| i.id == id) else {
            return self.not_opened();
        };
        let Ok((keys, payload)) = initiated.state.open_reply(&self.key, message) else {
            return self.not_opened();
        };
        self.sets.spend(set, n);
        self.stats.replies_received += 1;
        let (sent, lease_set) = (initiated.at, initiated.lease_set);
        peer.shared.on_confirmed(lease_set);
        if !peer.sessions.iter().any(|s| s.established >= sent && s.usable(&self.limits, now)) {
            let owner = session_owner(key, session);
            let far = aioli_core::Instant::FAR_FUTURE;
            let inbound = self.sets.insert(owner, 0, (keys.root_ba, keys.ba), window, far);
            let mut established = Session::new(session, (keys.root_ab, keys.ab), inbound, now);
            established.respond_by = Some(now + RESPONSE_DELAY);
            peer.add_session(established, &mut self.sets, &self.limits);
            self.stats.established += 1;
            self.timers.set_earlier(key, now + RESPONSE_DELAY);
        }
        let cloves = self.handshake_cloves(payload);
        Ok(Opened { from: Some(key), cloves })
    }

    fn open_new(&mut self, message: &mut [u8], cx: &Cx<'_>) -> Result<Opened, OpenError> {
        let now = cx.now.mono;
        if message.len() < MIN_NS {
            return self.not_opened();
        }
        if now.since(self.tried.0) >= Duration::from_secs(1) {
            self.tried = (now, 0);
        }
        if self.tried.1 >= self.limits.new_sessions_per_second {
            self.stats.rate_limited += 1;
            return Err(OpenError::Limit);
        }
        self.tried.1 += 1;
        let Some(ephemeral) = ephemeral_of(message) else { return self.not_opened() };
        if self.replay.contains(&ephemeral.0) {
            self.stats.replayed += 1;
            return Err(OpenError::Replayed);
        }
        let Ok(opened) = open_new_session(&self.key, ephemeral, message) else {
            return self.not_opened();
        };
        let date = match blocks(opened.payload).next() {
            Some(Ok(Block::DateTime(date))) => Some(date),
            _ => None,
        };
        if !date.is_some_and(|date| is_recent(date, cx.now.wall)) {
            self.stats.bad_date += 1;
            return Err(OpenError::Date);
        }
        self.replay.insert(opened.ephemeral.0, now);
        self.stats.new_sessions_received += 1;
        let from = opened.bound.as_ref().map(|(key, _)| *key);
        if let Some((key, state)) = opened.bound {
            if !self.admit(&key) {
                return Err(OpenError::Limit);
            }
            let respond_by = now + RESPONSE_DELAY;
            if let Some(peer) = self.peers.get_mut(&key) {
                let replies = Vec::new();
                peer.answered.push_back(Answered { at: now, state, replies, respond_by: Some(respond_by) });
                if peer.answered.len() > self.limits.answered_per_peer
                    && let Some(oldest) = peer.answered.pop_front()
                {
                    oldest.replies.iter().for_each(|r| self.sets.remove(r.inbound));
                }
            }
            self.timers.set_earlier(key, respond_by);
        }
        let cloves = self.handshake_cloves(opened.payload);
        Ok(Opened { from, cloves })
    }

    /// The cloves of a handshake message; other blocks may not do anything there.
    fn handshake_cloves(&mut self, payload: &[u8]) -> Vec<OwnedClove> {
        let mut cloves = Vec::new();
        for block in blocks(payload) {
            match block {
                Ok(Block::Clove(clove)) => cloves.push(owned_clove(&clove)),
                Ok(Block::Malformed(_)) | Err(_) => self.stats.malformed += 1,
                Ok(Block::DateTime(_) | Block::Padding(_) | Block::Unknown(_)) => {}
                Ok(
                    Block::Termination(_)
                    | Block::MessageNumbers(_)
                    | Block::NextKey(_)
                    | Block::Ack(_)
                    | Block::AckRequest,
                ) => {
                    tracing::debug!(rule = %Misbehaved::BlockInHandshake, "block ignored");
                    self.stats.misbehaved += 1;
                }
            }
        }
        cloves
    }
}

/// A block of the DH ratchet, of either direction.
fn on_next_key(
    session: &mut Session,
    next: &NextKey,
    owner: Owner,
    sets: &mut InboundSets,
    limits: &Limits,
    stats: &mut Stats,
    cx: &mut Cx<'_>,
) {
    let (done, counter) = if next.reverse {
        (session.on_reverse_key(next), &mut stats.ratchets_sent)
    } else {
        (session.on_forward_key(next, owner, sets, limits, cx), &mut stats.ratchets_received)
    };
    match done {
        Ok(advanced) => *counter += u64::from(advanced),
        Err(rule) => {
            tracing::debug!(%rule, "ratchet block ignored");
            stats.misbehaved += 1;
        }
    }
}

/// A clove that outlives the garlic around it.
pub fn owned_clove(clove: &Clove<'_>) -> OwnedClove {
    OwnedClove {
        delivery: clove.delivery,
        message: Message {
            kind: MessageType::from_code(clove.kind),
            id: MessageId(clove.id),
            expires: clove.expires,
            body: clove.body.to_vec(),
        },
    }
}
