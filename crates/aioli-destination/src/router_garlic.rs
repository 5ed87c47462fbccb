//! Garlic without sessions (ecies-routers, proposal 156): one message to a
//! router, and the answer to one lookup.
//!
//! ```text
//! to a router     ephemeral 32 | AEAD(DateTime, cloves, padding) +16     Noise_N
//! answer          tag 8        | AEAD(cloves, padding) +16               key and tag came with the lookup
//! ```
//!
//! A router never keeps a session with another router. What opens once does
//! not open again: ephemeral keys are remembered for as long as their date is
//! accepted, a reply key is gone after its first use.

use std::collections::BTreeSet;

use aioli_core::crypto::x25519::{PrivateKey, PublicKey};
use aioli_core::crypto::{Secret, noise_n, one_time};
use aioli_core::map::{Table, table};
use aioli_core::{Cx, Instant, Rng};
use aioli_wire::SessionTag;
use aioli_wire::garlic::{Block, Clove, PayloadWriter, blocks};

use crate::ratchet::{MAX_CLOVES, OpenError, OwnedClove, SealError, owned_clove};
use crate::replay::{ReplayCache, is_recent};

/// The bounds of what others can fill.
#[derive(Clone, Debug)]
pub struct Limits {
    /// One-time reply keys outstanding.
    pub reply_keys: usize,
    /// Messages remembered against replay.
    pub replay_entries: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { reply_keys: 4_000, replay_entries: 100_000 }
    }
}

/// What happened, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages to us that opened.
    pub opened: u64,
    /// Answers that opened.
    pub replies_opened: u64,
    /// Messages that no key of ours opens.
    pub not_opened: u64,
    /// Messages that had come before.
    pub replayed: u64,
    /// Messages with a date too old or too far ahead, or none.
    pub bad_date: u64,
    /// Blocks that made no sense.
    pub malformed: u64,
    /// Reply keys waiting.
    pub reply_keys: u64,
    /// Reply keys that were never used.
    pub reply_keys_expired: u64,
    /// Reply keys forgotten early at their limit.
    pub reply_keys_evicted: u64,
    /// Replay entries forgotten early at their limit.
    pub replay_overflows: u64,
}

/// A garlic message to a router, opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// What was inside.
    pub cloves: Vec<OwnedClove>,
    /// The tag, if it was the answer to a lookup or a build reply.
    pub reply_to: Option<SessionTag>,
}

/// The garlic of a router's own identity.
#[derive(Debug)]
pub struct RouterGarlic {
    key: PrivateKey,
    replay: ReplayCache,
    replies: ReplyKeys,
    stats: Stats,
}

impl RouterGarlic {
    /// With the encryption key of the RouterIdentity.
    pub fn new(key: PrivateKey, limits: &Limits, rng: &mut Rng) -> Self {
        Self {
            key,
            replay: ReplayCache::new(limits.replay_entries, rng),
            replies: ReplyKeys::new(limits.reply_keys, rng),
            stats: Stats::default(),
        }
    }

    /// Registers what will open one answer, before the question is sent.
    pub fn expect_reply(&mut self, tag: SessionTag, key: Secret<32>, until: Instant) {
        self.replies.expect(tag, key, until);
    }

    /// Opens the body of a Garlic message in place.
    pub fn open(&mut self, body: &mut [u8], cx: &mut Cx<'_>) -> Result<Opened, OpenError> {
        if let Some(opened) = self.replies.open(body, cx.now.mono) {
            self.stats.malformed += opened.malformed;
            self.stats.replies_opened += 1;
            return Ok(Opened { cloves: opened.cloves, reply_to: Some(opened.tag) });
        }
        let Some(message) = content(body) else { return self.not_opened() };
        let Some(ephemeral) = message.first_chunk::<32>().copied() else { return self.not_opened() };
        if self.replay.contains(&ephemeral) {
            self.stats.replayed += 1;
            return Err(OpenError::Replayed);
        }
        let Ok((payload, _)) = noise_n::open(&self.key, message) else { return self.not_opened() };
        let recent = match blocks(payload).next() {
            Some(Ok(Block::DateTime(date))) => is_recent(date, cx.now.wall),
            _ => false,
        };
        if !recent {
            self.stats.bad_date += 1;
            return Err(OpenError::Date);
        }
        self.replay.insert(ephemeral, cx.now.mono);
        self.stats.opened += 1;
        Ok(Opened { cloves: cloves(payload, &mut self.stats.malformed), reply_to: None })
    }

    /// Forgets reply keys whose time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.replies.expire(now);
    }

    /// When [`RouterGarlic::handle_timeout`] has something to do.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.replies.next_timeout()
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        Stats {
            reply_keys: self.replies.len() as u64,
            reply_keys_expired: self.replies.expired,
            reply_keys_evicted: self.replies.evicted,
            replay_overflows: self.replay.overflows,
            ..self.stats
        }
    }

    fn not_opened<T>(&mut self) -> Result<T, OpenError> {
        self.stats.not_opened += 1;
        Err(OpenError::Unknown)
    }
}

/// Seals `cloves` to a router's encryption key: the body of a Garlic message.
pub fn seal_to_router(to: &PublicKey, cloves: &[Clove<'_>], cx: &mut Cx<'_>) -> Result<Vec<u8>, SealError> {
    let mut w = payload(cloves)?;
    w.date_time(cx.now.wall);
    let payload = finish_payload(w, cloves, cx);
    let (sealed, _) = noise_n::seal(to, &payload, cx.rng).map_err(|_| SealError::WeakKey)?;
    Ok(with_length(&sealed))
}

/// Seals `cloves` as the answer to a lookup that named `key` and `tag`: the
/// body of a Garlic message.
pub fn seal_reply(
    key: &Secret<32>,
    tag: SessionTag,
    cloves: &[Clove<'_>],
    cx: &mut Cx<'_>,
) -> Result<Vec<u8>, SealError> {
    let payload = finish_payload(payload(cloves)?, cloves, cx);
    Ok(with_length(&one_time::seal(key.as_bytes(), tag.0, &payload)))
}

/// Keys that open one answer each.
#[derive(Clone, Debug)]
pub(crate) struct ReplyKeys {
    keys: Table<SessionTag, (Secret<32>, Instant)>,
    ends: BTreeSet<(Instant, SessionTag)>,
    limit: usize,
    pub(crate) expired: u64,
    pub(crate) evicted: u64,
}

/// An answer, opened.
pub(crate) struct OpenedReply {
    pub(crate) tag: SessionTag,
    pub(crate) cloves: Vec<OwnedClove>,
    pub(crate) malformed: u64,
}

impl ReplyKeys {
    pub(crate) fn new(limit: usize, rng: &mut Rng) -> Self {
        Self { keys: table(rng), ends: BTreeSet::new(), limit, expired: 0, evicted: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(crate) fn expect(&mut self, tag: SessionTag, key: Secret<32>, until: Instant) {
        if let Some((_, old)) = self.keys.insert(tag, (key, until)) {
            self.ends.remove(&(old, tag));
        }
        self.ends.insert((until, tag));
        if self.keys.len() > self.limit
            && let Some((_, soonest)) = self.ends.pop_first()
        {
            self.keys.remove(&soonest);
            self.evicted += 1;
        }
    }

    /// The answer, if the tag is known and the key opens it.
    pub(crate) fn open(&mut self, body: &mut [u8], now: Instant) -> Option<OpenedReply> {
        let message = content(body)?;
        let tag = SessionTag(*message.first_chunk::<8>()?);
        let (key, until) = self.keys.get(&tag)?;
        if *until < now {
            return None;
        }
        let payload = one_time::open(key.as_bytes(), message).ok()?;
        self.ends.remove(&(*until, tag));
        self.keys.remove(&tag);
        let mut malformed = 0;
        let cloves = cloves(&payload, &mut malformed);
        Some(OpenedReply { tag, cloves, malformed })
    }

    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((until, tag)) = self.ends.first().copied().filter(|(until, _)| *until < now) {
            self.ends.remove(&(until, tag));
            self.keys.remove(&tag);
            self.expired += 1;
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.ends.first().map(|(until, _)| *until + aioli_core::Duration::from_millis(1))
    }
}

/// What follows the length in the body of a Garlic message.
fn content(body: &mut [u8]) -> Option<&mut [u8]> {
    let (len, rest) = body.split_first_chunk_mut::<4>()?;
    rest.get_mut(..u32::from_be_bytes(*len) as usize)
}

fn payload(cloves: &[Clove<'_>]) -> Result<PayloadWriter, SealError> {
    let len: usize = cloves.iter().map(Clove::encoded_len).sum();
    if len > MAX_CLOVES {
        return Err(SealError::TooLong);
    }
    Ok(PayloadWriter::append_to(Vec::with_capacity(len + 32)))
}

fn finish_payload(mut w: PayloadWriter, cloves: &[Clove<'_>], cx: &mut Cx<'_>) -> Vec<u8> {
    cloves.iter().for_each(|c| w.clove(c));
    w.padding(cx.rng.bytes::<1>()[0] & 15);
    w.into_vec()
}

fn with_length(sealed: &[u8]) -> Vec<u8> {
    let len = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
    [&len.to_be_bytes(), sealed].concat()
}

fn cloves(payload: &[u8], malformed: &mut u64) -> Vec<OwnedClove> {
    let mut out = Vec::new();
    for block in blocks(payload) {
        match block {
            Ok(Block::Clove(clove)) => out.push(owned_clove(&clove)),
            Ok(Block::Malformed(_)) | Err(_) => *malformed += 1,
            Ok(
                Block::DateTime(_)
                | Block::Termination(_)
                | Block::MessageNumbers(_)
                | Block::NextKey(_)
                | Block::Ack(_)
                | Block::AckRequest
                | Block::Padding(_)
                | Block::Unknown(_),
            ) => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use aioli_core::{Date, Duration, Now};
    use aioli_wire::garlic::CloveDelivery;

    use super::*;

    const NOW: Now = Now { mono: Instant::from_micros(5_000_000), wall: Date::from_secs(1_800_000_000) };

    fn router(limits: &Limits) -> (RouterGarlic, Rng) {
        let mut rng = Rng::from_seed([4; 32]);
        let key = PrivateKey::generate(&mut rng);
        (RouterGarlic::new(key, limits, &mut rng), rng)
    }

    fn clove(body: &[u8]) -> Clove<'_> {
        Clove { delivery: CloveDelivery::Local, kind: 2, id: 9, expires: NOW.wall, body }
    }

    #[test]
    fn a_message_to_a_router_opens_once_and_only_in_time() {
        let (mut router, mut rng) = router(&Limits::default());
        let to = router.key.public();
        let mut cx = Cx { now: NOW, rng: &mut rng };
        let body = seal_to_router(&to, &[clove(b"lookup"), clove(b"more")], &mut cx).unwrap();
        let opened = router.open(&mut body.clone(), &mut cx).unwrap();
        assert_eq!(opened.reply_to, None);
        assert_eq!(opened.cloves.len(), 2);
        assert_eq!(opened.cloves[0].message.body, b"lookup");
        assert_eq!(router.open(&mut body.clone(), &mut cx), Err(OpenError::Replayed));
        let body = seal_to_router(&to, &[clove(b"x")], &mut cx).unwrap();
        for i in 4..body.len() {
            let mut bad = body.clone();
            bad[i] ^= 1;
            assert_eq!(router.open(&mut bad, &mut cx), Err(OpenError::Unknown));
            assert!(router.open(&mut body[..i].to_vec(), &mut cx).is_err());
        }
        cx.now.wall = cx.now.wall + Duration::from_secs(301);
        assert_eq!(router.open(&mut body.clone(), &mut cx), Err(OpenError::Date));
    }

    #[test]
    fn a_reply_key_opens_one_answer_and_expires() {
        let (mut router, mut rng) = router(&Limits { reply_keys: 3, ..Limits::default() });
        let mut cx = Cx { now: NOW, rng: &mut rng };
        let (tag, key) = (SessionTag([7; 8]), Secret::new([8; 32]));
        let until = NOW.mono + Duration::from_secs(30);
        router.expect_reply(tag, key.clone(), until);
        let body = seal_reply(&key, tag, &[clove(b"answer")], &mut cx).unwrap();
        let mut bad = body.clone();
        bad[20] ^= 1;
        assert!(router.open(&mut bad, &mut cx).is_err(), "an altered answer must not spend the key");
        let opened = router.open(&mut body.clone(), &mut cx).unwrap();
        assert_eq!((opened.reply_to, &opened.cloves[0].message.body[..]), (Some(tag), &b"answer"[..]));
        assert!(router.open(&mut body.clone(), &mut cx).is_err());
        for i in 0..10 {
            router.expect_reply(SessionTag([i; 8]), key.clone(), until);
        }
        assert_eq!((router.stats().reply_keys, router.stats().reply_keys_evicted), (3, 7));
        router.handle_timeout(until + Duration::from_secs(1));
        assert_eq!((router.stats().reply_keys, router.next_timeout()), (0, None));
    }

    proptest::proptest! {
        #[test]
        fn no_message_panics(mut bytes: Vec<u8>) {
            let (mut router, mut rng) = router(&Limits::default());
            let _ = router.open(&mut bytes, &mut Cx { now: NOW, rng: &mut rng });
        }
    }
}
