//! Sending: which kind of message carries the cloves, and how it is built.
//!
//! Every message is built and sealed in one vector: length, head, blocks, MAC.

use aioli_core::crypto::aead::{ChaChaKey, TAG_LEN};
use aioli_core::crypto::x25519::PublicKey;
use aioli_core::{Cx, Date, Duration, Instant};
use aioli_wire::garlic::{Clove, CloveDelivery, PayloadWriter};
use aioli_wire::i2np::{MAX_BODY_SIZE, MessageType};

use super::handshake::{NS_HEAD, NSR_HEAD, seal_new_session};
use super::peer::{Initiated, Plan, Reply};
use super::tag_set::{Owner, Part, Window};
use super::{OwnLeaseSet, SealError, Sessions, session_owner};

/// The length before the ciphertext of a garlic message.
const LENGTH: usize = 4;
/// Room for all blocks but cloves and the LeaseSet.
const CONTROL_ROOM: usize = 512;
/// The most bytes of clove blocks in one message.
pub const MAX_CLOVES: usize = MAX_BODY_SIZE - LENGTH - NS_HEAD - TAG_LEN - CONTROL_ROOM;
/// How long a bundled LeaseSet stays valid as a message.
const STORE_LIFE: Duration = Duration::from_secs(60);

impl Sessions {
    /// Seals `cloves` to the owner of `to`: the body of a Garlic message.
    pub fn seal(
        &mut self,
        to: &PublicKey,
        cloves: &[Clove<'_>],
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, SealError> {
        let len = cloves_len(cloves)?;
        if !self.admit(to) {
            return Err(SealError::TooManyPeers);
        }
        match self.plan(to, cx.now.mono) {
            Plan::Existing(i) => self.seal_existing(to, i, cloves, len, cx),
            Plan::Reply(i) => self.seal_reply(to, i, cloves, len, cx),
            Plan::New => self.seal_new(to, cloves, len, cx),
        }
    }

    /// Seals what [`super::Output::Respond`] asks for; nothing if there is no
    /// session that could carry it.
    pub fn seal_response(&mut self, to: &PublicKey, cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        match self.plan(to, cx.now.mono) {
            Plan::Existing(i) => self.seal_existing(to, i, &[], 0, cx).ok(),
            Plan::Reply(i) => self.seal_reply(to, i, &[], 0, cx).ok(),
            Plan::New => None,
        }
    }

    /// Seals `cloves` without saying who sends them: nobody can reply, no
    /// session begins.
    pub fn seal_unbound(to: &PublicKey, cloves: &[Clove<'_>], cx: &mut Cx<'_>) -> Result<Vec<u8>, SealError> {
        let len = cloves_len(cloves)?;
        let mut w = frame(NS_HEAD, len);
        w.date_time(cx.now.wall);
        cloves.iter().for_each(|c| w.clove(c));
        w.padding(padding(cx));
        let mut body = w.into_vec();
        seal_new_session(to, None, &mut body, LENGTH, cx.rng).map_err(|_| SealError::WeakKey)?;
        Ok(finish(body))
    }

    fn plan(&self, to: &PublicKey, now: Instant) -> Plan {
        self.peers.get(to).map_or(Plan::New, |p| p.plan(&self.limits, now))
    }

    fn seal_existing(
        &mut self,
        to: &PublicKey,
        index: usize,
        cloves: &[Clove<'_>],
        len: usize,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, SealError> {
        let now = cx.now.mono;
        let Some(peer) = self.peers.get_mut(to) else { return Err(SealError::TooManyPeers) };
        let Some(session) = peer.sessions.get_mut(index) else { return Err(SealError::TooManyPeers) };
        let bundle = self
            .lease_set
            .as_ref()
            .filter(|ls| peer.shared.due(ls.version, now) && len + ls.store.len() <= MAX_CLOVES);
        let mut w = frame(8, len + bundle.map_or(0, |ls| ls.store.len() + 16));
        if let Some(ls) = bundle {
            write_store(ls, &mut w, cx);
            peer.shared.on_sent(ls.version, session.id, session.next_number(), now);
        }
        cloves.iter().for_each(|c| w.clove(c));
        let ask = bundle.is_some() || session.should_ask(now);
        let before = session.next_number().tag_set;
        session.write_control(&mut w, ask, &self.limits, cx);
        w.padding(padding(cx));
        let Some((n, tag, key)) = session.next_message() else {
            // `usable` has seen a number left.
            aioli_core::bug!("an outbound tag set of number {before} ran out unseen");
            return Err(SealError::TooManyPeers);
        };
        let mut body = w.into_vec();
        if let Some((head, payload)) = body.get_mut(LENGTH..).and_then(|b| b.split_first_chunk_mut::<8>()) {
            *head = tag.0;
            let mac = ChaChaKey::new(key.as_bytes()).seal_slice(u64::from(n), &tag.0, payload);
            body.extend_from_slice(&mac);
        }
        self.stats.existing_sent += 1;
        Ok(finish(body))
    }

    fn seal_reply(
        &mut self,
        to: &PublicKey,
        index: usize,
        cloves: &[Clove<'_>],
        len: usize,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, SealError> {
        let id = self.fresh_id();
        let window = self.first_window();
        let Some(answered) = self.peers.get_mut(to).and_then(|p| p.answered.get_mut(index)) else {
            return Err(SealError::TooManyPeers);
        };
        let mut w = frame(NSR_HEAD, len);
        cloves.iter().for_each(|c| w.clove(c));
        w.padding(padding(cx));
        let mut body = w.into_vec();
        let keys = answered.state.seal_reply(&mut body, LENGTH, cx.rng).map_err(|_| SealError::WeakKey)?;
        let inbound =
            self.sets.insert(session_owner(*to, id), 0, (keys.root_ab, keys.ab), window, Instant::FAR_FUTURE);
        answered.replies.push(Reply { session: id, inbound, out: (keys.root_ba, keys.ba) });
        answered.respond_by = None;
        self.stats.replies_sent += 1;
        Ok(finish(body))
    }

    fn seal_new(
        &mut self,
        to: &PublicKey,
        cloves: &[Clove<'_>],
        len: usize,
        cx: &mut Cx<'_>,
    ) -> Result<Vec<u8>, SealError> {
        let (id, now) = (self.fresh_id(), cx.now.mono);
        let bundle = self.lease_set.as_ref().filter(|ls| len + ls.store.len() <= MAX_CLOVES);
        let mut w = frame(NS_HEAD, len + bundle.map_or(0, |ls| ls.store.len() + 16));
        w.date_time(cx.now.wall);
        if let Some(ls) = bundle {
            write_store(ls, &mut w, cx);
        }
        cloves.iter().for_each(|c| w.clove(c));
        w.padding(padding(cx));
        let lease_set = bundle.map_or(0, |ls| ls.version);
        let mut body = w.into_vec();
        let state = seal_new_session(to, Some(&self.key), &mut body, LENGTH, cx.rng)
            .map_err(|_| SealError::WeakKey)?;
        let tags = state.reply_tags();
        let window = Window { min: self.limits.reply_tags, max: self.limits.reply_tags };
        let owner = Owner { peer: *to, part: Part::Replies(id) };
        // The root of a reply tag set leads nowhere: it never ratchets.
        let unused = aioli_core::crypto::Secret::new([0; 32]);
        let replies = self.sets.insert(owner, 0, (unused, tags), window, now + self.limits.half_open_expiry);
        let Some(peer) = self.peers.get_mut(to) else { return Err(SealError::TooManyPeers) };
        peer.initiated.push_back(Initiated { id, at: now, state, replies, lease_set });
        if peer.initiated.len() > self.limits.initiated_per_peer
            && let Some(oldest) = peer.initiated.pop_front()
        {
            self.sets.remove(oldest.replies);
        }
        self.timers.set_earlier(*to, now + self.limits.half_open_expiry);
        self.stats.new_sessions_sent += 1;
        Ok(finish(body))
    }
}

fn cloves_len(cloves: &[Clove<'_>]) -> Result<usize, SealError> {
    let len = cloves.iter().map(Clove::encoded_len).sum();
    if len > MAX_CLOVES { Err(SealError::TooLong) } else { Ok(len) }
}

/// A frame with room in front for the length and `head` bytes.
fn frame(head: usize, cloves: usize) -> PayloadWriter {
    let mut body = Vec::with_capacity(LENGTH + head + cloves + 96 + TAG_LEN);
    body.resize(LENGTH + head, 0);
    PayloadWriter::append_to(body)
}

/// Writes the length in front of a sealed frame.
fn finish(mut body: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(body.len() - LENGTH).unwrap_or(u32::MAX);
    if let Some(slot) = body.first_chunk_mut::<LENGTH>() {
        *slot = len.to_be_bytes();
    }
    body
}

/// 0 to 15 bytes.
fn padding(cx: &mut Cx<'_>) -> u8 {
    cx.rng.bytes::<1>()[0] & 15
}

fn write_store(ls: &OwnLeaseSet, w: &mut PayloadWriter, cx: &mut Cx<'_>) {
    let expires: Date = cx.now.wall + STORE_LIFE;
    w.clove(&Clove {
        delivery: CloveDelivery::Local,
        kind: MessageType::DatabaseStore.code(),
        id: cx.rng.u32(),
        expires,
        body: &ls.store,
    });
}
