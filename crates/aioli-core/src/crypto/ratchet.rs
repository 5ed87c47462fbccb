//! The ratchets of a session between destinations (PROTOCOL 8).
//!
//! ```text
//! DH_INITIALIZE(root, k)    HKDF(root, k, "KDFDHRatchetStep")  = next root | c
//!                           HKDF(c, "", "TagAndKeyGenKeys")    = tag ck | key ck
//! tags   HKDF(ck, "", "STInitialization") = ck | constant
//!        HKDF(ck, constant, "SessionTagKeyGen") = ck | tag n    for n = 0, 1, ..
//! keys   HKDF(ck, "", "SymmetricRatchet") = ck | key n          for n = 0, 1, ..
//! ```
//!
//! Tags and keys of one [`TagSet`] advance on their own. A receiver takes as
//! many tags ahead as its window allows and derives a key when its tag is seen;
//! keys skipped on the way are kept until their own message comes or they are
//! forgotten. Every tag and key is derived once, whatever the order of arrival.

use std::collections::BTreeMap;

use super::Secret;
use super::hash::hkdf;

/// The last tag number a set may use: numbers travel in two bytes.
pub const LAST: u16 = u16::MAX;

/// Starts a ratchet from `root` and `k`; also gives the root of the next one.
pub fn dh_initialize(root: &Secret<32>, k: &Secret<32>) -> (Secret<32>, TagSet) {
    let (next_root, c) = hkdf::<64>(root.as_bytes(), k.as_bytes(), b"KDFDHRatchetStep").halves();
    let (tag_ck, key_ck) = hkdf::<64>(c.as_bytes(), b"", b"TagAndKeyGenKeys").halves();
    let (tag_ck, constant) = hkdf::<64>(tag_ck.as_bytes(), b"", b"STInitialization").halves();
    let tags = Chain { ck: tag_ck, next: Some(0) };
    let keys = Chain { ck: key_ck, next: Some(0) };
    (next_root, TagSet { tags, constant, keys, skipped: BTreeMap::new() })
}

/// The tags for replies to a first message, from its chaining key.
pub fn reply_tag_set(ck: &Secret<32>) -> TagSet {
    let k: Secret<32> = hkdf(ck.as_bytes(), b"", b"SessionReplyTags");
    dh_initialize(ck, &k).1
}

/// What a finished handshake's chaining key gives.
#[derive(Clone, Debug)]
pub struct Split {
    /// Tags and keys from Alice, who began, to Bob.
    pub ab: TagSet,
    /// Tags and keys from Bob to Alice.
    pub ba: TagSet,
    /// The root of the next ratchet from Alice to Bob.
    pub root_ab: Secret<32>,
    /// The root of the next ratchet from Bob to Alice.
    pub root_ba: Secret<32>,
    /// Seals the payload of the reply, counter 0, bound to `h`.
    pub attach_key: Secret<32>,
}

/// Splits the chaining key after the reply's last DH into both directions.
pub fn split(ck: &Secret<32>) -> Split {
    let (k_ab, k_ba) = hkdf::<64>(ck.as_bytes(), b"", b"").halves();
    let (root_ab, ab) = dh_initialize(ck, &k_ab);
    let (root_ba, ba) = dh_initialize(ck, &k_ba);
    let attach_key = hkdf(k_ba.as_bytes(), b"", b"AttachPayloadKDF");
    Split { ab, ba, root_ab, root_ba, attach_key }
}

/// The next set of one direction after new keys were exchanged: `root` is that
/// direction's, `shared` the DH of the new keys.
pub fn next_dh(root: &Secret<32>, shared: &Secret<32>) -> (Secret<32>, TagSet) {
    let k: Secret<32> = hkdf(shared.as_bytes(), b"", b"XDHRatchetTagSet");
    dh_initialize(root, &k)
}

/// The tags and keys of one direction until the next DH ratchet.
#[derive(Clone)]
pub struct TagSet {
    tags: Chain,
    constant: Secret<32>,
    keys: Chain,
    skipped: BTreeMap<u16, Secret<32>>,
}

#[derive(Clone)]
struct Chain {
    ck: Secret<32>,
    next: Option<u16>,
}

impl Chain {
    fn step(&mut self, ikm: &[u8], label: &[u8]) -> Option<(u16, Secret<32>)> {
        let n = self.next?;
        let (ck, out) = hkdf::<64>(self.ck.as_bytes(), ikm, label).halves();
        self.ck = ck;
        self.next = n.checked_add(1);
        Some((n, out))
    }
}

impl TagSet {
    /// The next tag and its number; none after number 65,535.
    #[expect(clippy::should_implement_trait, reason = "tags and keys are two sequences of one set")]
    pub fn next(&mut self) -> Option<(u16, [u8; 8])> {
        let (n, out) = self.tags.step(self.constant.as_bytes(), b"SessionTagKeyGen")?;
        let mut tag = [0; 8];
        tag.copy_from_slice(&out.as_bytes()[..8]);
        Some((n, tag))
    }

    /// For a sender: the next tag, its number and its key.
    pub fn next_sending(&mut self) -> Option<(u16, [u8; 8], Secret<32>)> {
        let (n, tag) = self.next()?;
        Some((n, tag, self.key(n)?))
    }

    /// The message key of number `n`, once. None if it was taken or forgotten,
    /// or if its tag has not been generated yet: how far a receiver derives
    /// ahead is bounded by the tags it gave out.
    pub fn key(&mut self, n: u16) -> Option<Secret<32>> {
        if self.tags.next.is_some_and(|ahead| n >= ahead) {
            return None;
        }
        while self.keys.next.is_some_and(|next| next <= n) {
            let (number, key) = self.keys.step(b"", b"SymmetricRatchet")?;
            if number == n {
                return Some(key);
            }
            self.skipped.insert(number, key);
        }
        self.skipped.remove(&n)
    }

    /// The number of the next tag: how many have been generated. 65,536 at the end.
    pub fn generated(&self) -> u32 {
        self.tags.next.map_or(1 << 16, u32::from)
    }

    /// Drops the keys skipped below number `n`. Their messages can no longer be opened.
    pub fn forget_below(&mut self, n: u16) {
        self.skipped = self.skipped.split_off(&n);
    }

    /// How many skipped keys are held.
    pub fn skipped(&self) -> usize {
        self.skipped.len()
    }
}

impl std::fmt::Debug for TagSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TagSet").field("generated", &self.generated()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
