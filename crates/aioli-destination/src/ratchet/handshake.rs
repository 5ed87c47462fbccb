//! The handshake: New Session (bound and unbound) and New Session Reply
//! (ecies 1b to 1g, with the corrections of proposal 144).
//!
//! ```text
//! Alice                                                        Bob
//!   NS   representative 32 | static 32+16 | payload +16         ──►
//!   ◄──  NSR  tag 8 | representative 32 | MAC 16 | payload +16
//! ```
//!
//! Frames are built in one vector: the caller leaves [`NS_HEAD`] or
//! [`NSR_HEAD`] bytes in front of the payload, sealing fills them in place.

use aioli_core::Rng;
use aioli_core::crypto::aead::{ChaChaKey, TAG_LEN};
use aioli_core::crypto::elligator2::{self, EncodableKey};
use aioli_core::crypto::noise::{self, SymmetricState};
use aioli_core::crypto::ratchet::{Split, TagSet, reply_tag_set, split};
use aioli_core::crypto::x25519::{PrivateKey, PublicKey, WeakKey};
use aioli_wire::SessionTag;

/// Bytes before the payload of a New Session message.
pub(super) const NS_HEAD: usize = 32 + 32 + TAG_LEN;
/// Bytes before the payload of a New Session Reply.
pub(super) const NSR_HEAD: usize = 8 + 32 + TAG_LEN;
/// The shortest New Session message: its payload has a DateTime at least.
pub(super) const MIN_NS: usize = NS_HEAD + 7 + TAG_LEN;
/// The shortest New Session Reply.
pub(super) const MIN_NSR: usize = NSR_HEAD + TAG_LEN;

/// It does not open: not for us, altered, or not even a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOpened;

impl From<aioli_core::crypto::AeadError> for NotOpened {
    fn from(_: aioli_core::crypto::AeadError) -> Self {
        Self
    }
}

impl From<WeakKey> for NotOpened {
    fn from(_: WeakKey) -> Self {
        Self
    }
}

/// What Alice keeps of a New Session message until it is answered.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    noise: SymmetricState,
    ephemeral: PrivateKey,
}

/// What Bob keeps of one until Alice uses the session.
#[derive(Clone, Debug)]
pub(super) struct Heard {
    noise: SymmetricState,
    ephemeral: PublicKey,
    remote: PublicKey,
    tags: TagSet,
}

/// A New Session message, opened.
pub(super) struct NewSession<'a> {
    /// Its ephemeral key, for the replay cache.
    pub(super) ephemeral: PublicKey,
    /// Present if the sender says who it is and wants replies.
    pub(super) bound: Option<(PublicKey, Heard)>,
    /// The blocks.
    pub(super) payload: &'a [u8],
}

fn begin(bob: &PublicKey, alice_ephemeral: &PublicKey) -> SymmetricState {
    let mut noise = SymmetricState::new(noise::IK_RATCHET);
    noise.mix_hash(&bob.0);
    noise.mix_hash(&alice_ephemeral.0);
    noise
}

/// Seals `frame[at..]`, where [`NS_HEAD`] bytes of room precede the payload.
/// Without `own` the message is unbound: nobody can reply.
pub(super) fn seal_new_session(
    to: &PublicKey,
    own: Option<&PrivateKey>,
    frame: &mut Vec<u8>,
    at: usize,
    rng: &mut Rng,
) -> Result<Asked, WeakKey> {
    let EncodableKey { private: ephemeral, representative } = EncodableKey::generate(rng);
    let mut noise = begin(to, &ephemeral.public());
    noise.mix_key(&ephemeral.diffie_hellman(to)?);
    let mut section = own.map_or([0; 32], |key| key.public().0);
    let mac = noise.encrypt_and_hash_slice(&mut section);
    if let Some(key) = own {
        noise.mix_key(&key.diffie_hellman(to)?);
    }
    let Some((head, payload)) = frame.get_mut(at..).and_then(|f| f.split_first_chunk_mut::<NS_HEAD>()) else {
        aioli_core::bug!("no room for the head of a New Session message");
        return Err(WeakKey);
    };
    head[..32].copy_from_slice(&representative);
    head[32..64].copy_from_slice(&section);
    head[64..].copy_from_slice(&mac);
    let mac = noise.encrypt_and_hash_slice(payload);
    frame.extend_from_slice(&mac);
    Ok(Asked { noise, ephemeral })
}

/// The key that identifies a New Session message: what its representative
/// stands for, since two bits of that are free.
pub(super) fn ephemeral_of(message: &[u8]) -> Option<PublicKey> {
    message.first_chunk::<32>().map(elligator2::decode)
}

/// Opens a New Session message in place.
pub(super) fn open_new_session<'a>(
    own: &PrivateKey,
    ephemeral: PublicKey,
    message: &'a mut [u8],
) -> Result<NewSession<'a>, NotOpened> {
    if message.len() < MIN_NS {
        return Err(NotOpened);
    }
    let Some((head, sealed)) = message.split_first_chunk_mut::<NS_HEAD>() else { return Err(NotOpened) };
    let mut noise = begin(&own.public(), &ephemeral);
    noise.mix_key(&own.diffie_hellman(&ephemeral)?);
    noise.decrypt_and_hash(&mut head[32..])?;
    let mut remote = [0; 32];
    remote.copy_from_slice(&head[32..64]);
    if remote == [0; 32] {
        let len = noise.decrypt_and_hash(sealed)?;
        return Ok(NewSession { ephemeral, bound: None, payload: &sealed[..len] });
    }
    let remote = PublicKey(remote);
    noise.mix_key(&own.diffie_hellman(&remote)?);
    let len = noise.decrypt_and_hash(sealed)?;
    let tags = reply_tag_set(noise.ck());
    let heard = Heard { noise, ephemeral, remote, tags };
    Ok(NewSession { ephemeral, bound: Some((remote, heard)), payload: &sealed[..len] })
}

impl Asked {
    /// The tags that replies will have.
    pub(super) fn reply_tags(&self) -> TagSet {
        reply_tag_set(self.noise.ck())
    }

    /// Opens a reply in place: the session's keys and the payload.
    pub(super) fn open_reply<'a>(
        &self,
        own: &PrivateKey,
        message: &'a mut [u8],
    ) -> Result<(Split, &'a [u8]), NotOpened> {
        if message.len() < MIN_NSR {
            return Err(NotOpened);
        }
        let Some((head, sealed)) = message.split_first_chunk_mut::<NSR_HEAD>() else {
            return Err(NotOpened);
        };
        let (tag, rest) = head.split_at_mut(8);
        let (representative, mac) = rest.split_at_mut(32);
        let Some(remote) = ephemeral_of(representative) else { return Err(NotOpened) };
        let mut noise = self.noise.clone();
        noise.mix_hash(tag);
        noise.mix_hash(&remote.0);
        noise.mix_key(&self.ephemeral.diffie_hellman(&remote)?);
        noise.mix_key(&own.diffie_hellman(&remote)?);
        noise.decrypt_and_hash(mac)?;
        let keys = split(noise.ck());
        let len = ChaChaKey::new(keys.attach_key.as_bytes()).open_in_place(0, &noise.h(), sealed)?;
        Ok((keys, &sealed[..len]))
    }
}

impl Heard {
    /// Seals `frame[at..]`, where [`NSR_HEAD`] bytes of room precede the
    /// payload, with a new ephemeral key. Gives the keys of the session that
    /// begins if Alice uses this reply.
    pub(super) fn seal_reply(
        &mut self,
        frame: &mut Vec<u8>,
        at: usize,
        rng: &mut Rng,
    ) -> Result<Split, WeakKey> {
        let EncodableKey { private: ephemeral, representative } = EncodableKey::generate(rng);
        let tag = self.tags.next().map(|(_, tag)| SessionTag(tag)).ok_or(WeakKey)?;
        let mut noise = self.noise.clone();
        noise.mix_hash(&tag.0);
        noise.mix_hash(&ephemeral.public().0);
        noise.mix_key(&ephemeral.diffie_hellman(&self.ephemeral)?);
        noise.mix_key(&ephemeral.diffie_hellman(&self.remote)?);
        let mac = noise.encrypt_and_hash_slice(&mut []);
        let keys = split(noise.ck());
        let Some((head, payload)) = frame.get_mut(at..).and_then(|f| f.split_first_chunk_mut::<NSR_HEAD>())
        else {
            aioli_core::bug!("no room for the head of a New Session Reply");
            return Err(WeakKey);
        };
        head[..8].copy_from_slice(&tag.0);
        head[8..40].copy_from_slice(&representative);
        head[40..].copy_from_slice(&mac);
        let mac = ChaChaKey::new(keys.attach_key.as_bytes()).seal_slice(0, &noise.h(), payload);
        frame.extend_from_slice(&mac);
        Ok(keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> (PrivateKey, Rng) {
        let mut rng = Rng::from_seed([seed; 32]);
        (PrivateKey::generate(&mut rng), rng)
    }

    fn frame(head: usize, payload: &[u8]) -> Vec<u8> {
        [&vec![0; head][..], payload].concat()
    }

    #[test]
    fn both_ends_derive_the_same_session() {
        let ((alice, mut ra), (bob, mut rb)) = (key(1), key(2));
        let mut ns = frame(NS_HEAD, b"hello from alice");
        let asked = seal_new_session(&bob.public(), Some(&alice), &mut ns, 0, &mut ra).unwrap();
        assert_eq!(ns.len(), 96 + 16);
        let e = ephemeral_of(&ns).unwrap();
        let opened = open_new_session(&bob, e, &mut ns).unwrap();
        assert_eq!(opened.payload, b"hello from alice");
        let (from, mut heard) = opened.bound.unwrap();
        assert_eq!(from, alice.public());
        let mut tags = asked.reply_tags();
        for reply in [b"first", b"again"] {
            let mut nsr = frame(NSR_HEAD, reply);
            let mut at_bob = heard.seal_reply(&mut nsr, 0, &mut rb).unwrap();
            assert_eq!(nsr.len(), 72 + 5);
            assert_eq!(tags.next().unwrap().1, nsr[..8]);
            let (mut at_alice, payload) = asked.open_reply(&alice, &mut nsr).unwrap();
            assert_eq!(payload, reply);
            assert_eq!(at_alice.ab.next_sending(), at_bob.ab.next_sending());
            assert_eq!(at_alice.ba.next_sending(), at_bob.ba.next_sending());
            assert_eq!(at_alice.root_ba, at_bob.root_ba);
        }
    }

    #[test]
    fn an_unbound_message_names_nobody() {
        let ((bob, _), (_, mut rng)) = (key(2), key(3));
        let mut ns = frame(NS_HEAD, b"anonymous");
        seal_new_session(&bob.public(), None, &mut ns, 0, &mut rng).unwrap();
        let e = ephemeral_of(&ns).unwrap();
        let opened = open_new_session(&bob, e, &mut ns).unwrap();
        assert!(opened.bound.is_none());
        assert_eq!(opened.payload, b"anonymous");
    }

    #[test]
    fn no_altered_byte_and_no_short_message_opens() {
        let ((alice, mut rng), (bob, mut rb)) = (key(1), key(2));
        let mut ns = frame(NS_HEAD, b"payload");
        let asked = seal_new_session(&bob.public(), Some(&alice), &mut ns, 0, &mut rng).unwrap();
        for i in 0..ns.len() {
            let mut bad = ns.clone();
            bad[i] ^= 1;
            let e = ephemeral_of(&bad).unwrap();
            assert!(open_new_session(&bob, e, &mut bad).is_err(), "byte {i}");
            let e = ephemeral_of(&ns).unwrap();
            assert!(open_new_session(&bob, e, &mut ns[..i].to_vec()).is_err());
        }
        let e = ephemeral_of(&ns).unwrap();
        let (_, mut heard) = open_new_session(&bob, e, &mut ns).unwrap().bound.unwrap();
        let mut nsr = frame(NSR_HEAD, b"reply");
        heard.seal_reply(&mut nsr, 0, &mut rb).unwrap();
        for i in 0..nsr.len() {
            let mut bad = nsr.clone();
            bad[i] ^= 1;
            assert!(asked.open_reply(&alice, &mut bad).is_err(), "byte {i}");
        }
    }
}
