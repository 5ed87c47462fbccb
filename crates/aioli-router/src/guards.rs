//! Who stands next to us in a pool's tunnels: few peers, kept for long.
//!
//! The first hop of an outbound tunnel and the last of an inbound one know our
//! address. Whoever runs many routers and sees tunnels of one destination end
//! at it time and again waits until one of its routers is that hop; with ever
//! new hops that is a matter of days (predecessor attack). So a pool takes the
//! hop next to us from its first [`GUARDS`] guards that work, both ways. A peer
//! becomes one by a tunnel that came about with it in that place, and remains
//! one for weeks, over restarts too. While guards are not to be had others
//! stand in, at the end of the list, and give way when they are back.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use aioli_core::crypto::hash::sha256_parts;
use aioli_core::{Date, Duration, Rng};
use aioli_wire::RouterHash;

/// So many of a pool's guards are in use at a time.
pub(crate) const GUARDS: usize = 4;
/// With fewer candidates than this there is nothing to choose from: the fixed order alone decides.
pub(crate) const GUARDS_FROM: usize = 24;
/// A pool has so many at most, of which the first that work are used.
const MAX_GUARDS: usize = 12;
/// A guard is replaced after a time between this
const LIFE_MIN: Duration = Duration::from_secs(20 * 24 * 3_600);
/// and this, so that not all change at once.
const LIFE_MAX: Duration = Duration::from_secs(40 * 24 * 3_600);
/// That a guard works is stored again after so long.
const STORE_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// The longest text that is read.
const MAX_TEXT: usize = 1 << 20;
const HEADER: &str = "aioli guards 1";

/// Names a pool without showing whose it is.
type PoolName = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Guard {
    hash: RouterHash,
    until: Date,
    /// When a tunnel last came about with it.
    worked: Date,
}

/// The guards of every pool.
#[derive(Clone, Debug)]
pub(crate) struct Guards {
    pools: BTreeMap<PoolName, Vec<Guard>>,
    limit: usize,
    changed: bool,
}

impl Guards {
    /// None yet, of at most `limit` pools.
    pub(crate) const fn new(limit: usize) -> Self {
        Self { pools: BTreeMap::new(), limit, changed: false }
    }

    /// The guards of the pool with this key, the first first.
    pub(crate) fn of(&self, order_key: &[u8; 32]) -> Vec<RouterHash> {
        self.pools.get(&name(order_key)).map(|g| g.iter().map(|g| g.hash).collect()).unwrap_or_default()
    }

    /// Whether the pool with this key has any.
    pub(crate) fn has(&self, order_key: &[u8; 32]) -> bool {
        self.pools.contains_key(&name(order_key))
    }

    /// A tunnel came about in which this peer is next to us.
    pub(crate) fn confirm(&mut self, order_key: &[u8; 32], hash: RouterHash, now: Date, rng: &mut Rng) {
        let name = name(order_key);
        if self.pools.len() >= self.limit && !self.pools.contains_key(&name) {
            // The pool that was not in use for longest.
            let used = |guards: &Vec<Guard>| guards.iter().map(|g| g.worked).max();
            let oldest = self.pools.iter().min_by_key(|(_, guards)| used(guards)).map(|(name, _)| *name);
            if let Some(oldest) = oldest {
                self.pools.remove(&oldest);
            }
        }
        let guards = self.pools.entry(name).or_default();
        if let Some(guard) = guards.iter_mut().find(|g| g.hash == hash) {
            self.changed |= now.since(guard.worked) > STORE_AFTER;
            guard.worked = now;
            return;
        }
        if guards.len() >= MAX_GUARDS {
            // One of those that stand in: the first ones are what we come back to.
            let oldest = guards.iter().enumerate().skip(GUARDS).min_by_key(|(_, g)| g.worked);
            if let Some((i, _)) = oldest {
                guards.remove(i);
            }
        }
        guards.push(Guard { hash, until: now + rng.duration(LIFE_MIN, LIFE_MAX), worked: now });
        self.changed = true;
    }

    /// Ends guards whose time is over, and those that have not worked for as long.
    pub(crate) fn maintain(&mut self, now: Date) {
        for guards in self.pools.values_mut() {
            let before = guards.len();
            guards.retain(|g| g.until > now && now.since(g.worked) < LIFE_MIN);
            self.changed |= guards.len() != before;
        }
        self.pools.retain(|_, guards| !guards.is_empty());
    }

    /// The text to store, if anything has changed since it was asked for last.
    pub(crate) fn take_changed(&mut self) -> Option<String> {
        if !std::mem::take(&mut self.changed) {
            return None;
        }
        let mut text = format!("{HEADER}\n");
        for (name, guards) in &self.pools {
            for guard in guards {
                // Writing to a String cannot fail.
                let _ = writeln!(
                    text,
                    "{} {} {} {}",
                    aioli_wire::base64::encode(name),
                    guard.hash.to_base64(),
                    guard.until.as_secs(),
                    guard.worked.as_secs()
                );
            }
        }
        Some(text)
    }

    /// Takes what was stored; whose time is over ends when the clock is known to be right. False: it is none
    /// of ours, or damaged; the lines that can be read are kept.
    pub(crate) fn load(&mut self, text: &str) -> bool {
        let mut lines = text.lines();
        if text.len() > MAX_TEXT || lines.next() != Some(HEADER) {
            return false;
        }
        let mut good = true;
        for line in lines {
            let Some((name, guard)) = parse(line) else {
                good = false;
                continue;
            };
            let is_new_pool = !self.pools.contains_key(&name);
            if is_new_pool && self.pools.len() >= self.limit {
                continue;
            }
            let guards = self.pools.entry(name).or_default();
            if guards.len() < MAX_GUARDS && guards.iter().all(|g| g.hash != guard.hash) {
                guards.push(guard);
            }
        }
        good
    }
}

fn parse(line: &str) -> Option<(PoolName, Guard)> {
    let mut words = line.split(' ');
    let name = aioli_wire::base64::decode(words.next()?)?.try_into().ok()?;
    let hash = RouterHash::from_base64(words.next()?)?;
    let mut date = || words.next()?.parse().ok().filter(|s| *s < u64::MAX / 1_000).map(Date::from_secs);
    let (until, worked) = (date()?, date()?);
    words.next().is_none().then_some((name, Guard { hash, until, worked }))
}

fn name(order_key: &[u8; 32]) -> PoolName {
    let hash = sha256_parts(&[b"aioli guards", order_key]);
    hash.first_chunk().copied().unwrap_or_default()
}

/// Whom a pool would rather have as a guard: the smaller the more.
pub(crate) fn rank(order_key: &[u8; 32], peer: &RouterHash) -> [u8; 32] {
    sha256_parts(&[b"aioli guard", order_key, peer.as_bytes()])
}

#[cfg(test)]
mod tests;
