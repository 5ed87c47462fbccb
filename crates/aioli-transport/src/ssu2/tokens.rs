//! Tokens: proof that Alice receives at the address that she sends from (`ssu2#tokens`).
//!
//! A Retry's token is a keyed hash of her address, so that nothing is kept for
//! an address that may be forged. It is good for the rest of its period and the
//! next, once. Tokens given inside a session are remembered.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};

use aioli_core::crypto::siphash::siphash24;
use aioli_core::{Date, Duration, Instant, Now, Rng};
use aioli_wire::ssu2::NewToken;

/// How long one hash key serves.
const PERIOD: Duration = Duration::from_secs(10);
/// How long a token given inside a session is good.
const ISSUED: Duration = Duration::from_secs(3600);
/// A token of others is not used when it expires this soon.
const MARGIN: Duration = Duration::from_secs(30);
/// SessionRequests that are decrypted for one token: the true one may come after
/// damaged copies, but each costs us a key agreement.
const ATTEMPTS: u8 = 8;
/// Of a token with which there was a session.
const SPENT: u8 = u8::MAX;

/// Tokens that we give.
#[derive(Debug)]
pub(super) struct Tokens {
    keys: [Option<[u8; 16]>; 2],
    since: Instant,
    /// How often each was tried.
    used: [BTreeMap<u64, u8>; 2],
    used_limit: usize,
    issued: BTreeMap<SocketAddr, NewToken>,
    order: VecDeque<(SocketAddr, u64)>,
    issued_limit: usize,
    /// How often one was forgotten early.
    pub(super) full: u64,
}

impl Tokens {
    pub(super) const fn new(used_limit: usize, issued_limit: usize) -> Self {
        Self {
            keys: [None; 2],
            since: Instant::ZERO,
            used: [BTreeMap::new(), BTreeMap::new()],
            used_limit,
            issued: BTreeMap::new(),
            order: VecDeque::new(),
            issued_limit,
            full: 0,
        }
    }

    /// A token for a Retry to this address.
    pub(super) fn for_retry(&mut self, to: SocketAddr, now: Now, rng: &mut Rng) -> u64 {
        self.rotate(now.mono);
        let key = *self.keys[0].get_or_insert_with(|| rng.bytes());
        let nonce = rng.bytes();
        token(&key, to, nonce)
    }

    /// Whether the token is good for one more attempt.
    pub(super) fn attempt(&mut self, from: SocketAddr, token: u64, now: Now) -> bool {
        self.rotate(now.mono);
        if token == 0 || !self.is_ours(from, token, now.wall) {
            return false;
        }
        let before = self.used.iter().filter_map(|used| used.get(&token)).max().copied().unwrap_or(0);
        if before >= ATTEMPTS {
            return false;
        }
        self.note(token, before + 1)
    }

    /// There was a session request with this token: it is not good any more.
    pub(super) fn spend(&mut self, from: SocketAddr, token: u64) {
        self.note(token, SPENT);
        self.issued.remove(&from);
    }

    fn is_ours(&self, from: SocketAddr, token: u64, now: Date) -> bool {
        if let Some(issued) = self.issued.get(&from)
            && issued.token == token
        {
            return now < issued.expires;
        }
        let [a, b, ..] = token.to_be_bytes();
        let made = |key: &Option<[u8; 16]>| key.is_some_and(|key| self::token(&key, from, [a, b]) == token);
        self.keys.iter().any(made)
    }

    /// False if there is no room to remember it: then it must not be used, or it could pass again.
    fn note(&mut self, token: u64, attempts: u8) -> bool {
        if self.used[0].len() >= self.used_limit && !self.used[0].contains_key(&token) {
            self.full += 1;
            return false;
        }
        self.used[0].insert(token, attempts);
        true
    }

    /// A token for a later session from this address.
    pub(super) fn issue(&mut self, to: SocketAddr, now: Date, rng: &mut Rng) -> NewToken {
        let token = loop {
            let token = rng.u64();
            if token != 0 {
                break token;
            }
        };
        // As it travels: whole seconds.
        let expires = Date::from_secs((now + ISSUED).as_secs());
        let new = NewToken { expires, token };
        self.issued.insert(to, new);
        self.order.push_back((to, token));
        while self.order.len() > self.issued_limit {
            if let Some((to, token)) = self.order.pop_front()
                && self.issued.get(&to).is_some_and(|t| t.token == token)
            {
                self.issued.remove(&to);
                self.full += 1;
            }
        }
        new
    }

    /// Entries of its tables.
    #[cfg(test)]
    pub(super) fn entries(&self) -> usize {
        self.used.iter().map(BTreeMap::len).sum::<usize>() + self.order.len()
    }

    /// Forgets everything: our address has changed, or the peer's.
    pub(super) fn clear(&mut self) {
        self.issued.clear();
        self.order.clear();
        self.keys = [None; 2];
    }

    /// Forgets the token of one address.
    pub(super) fn forget(&mut self, address: &SocketAddr) {
        self.issued.remove(address);
    }

    fn rotate(&mut self, now: Instant) {
        let age = now.since(self.since);
        if age < PERIOD {
            return;
        }
        self.keys = [None, if age < PERIOD * 2 { self.keys[0] } else { None }];
        self.used = [BTreeMap::new(), std::mem::take(&mut self.used[0])];
        self.since = now;
    }
}

/// Two bytes that make it differ from the last, and six that prove who made it.
fn token(key: &[u8; 16], to: SocketAddr, nonce: [u8; 2]) -> u64 {
    let mut data = [0; 20];
    data[..2].copy_from_slice(&nonce);
    data[2..4].copy_from_slice(&to.port().to_be_bytes());
    match to.ip() {
        IpAddr::V4(ip) => data[4..8].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => data[4..20].copy_from_slice(&ip.octets()),
    }
    let mut out = siphash24(key, &data).to_be_bytes();
    out[..2].copy_from_slice(&nonce);
    // Zero means none.
    u64::from_be_bytes(out).max(1)
}

/// Tokens that others gave us, by where they are good.
#[derive(Debug)]
pub(super) struct HeldTokens {
    tokens: BTreeMap<SocketAddr, NewToken>,
    order: VecDeque<SocketAddr>,
    limit: usize,
    /// How often one was forgotten early.
    pub(super) full: u64,
}

impl HeldTokens {
    pub(super) const fn new(limit: usize) -> Self {
        Self { tokens: BTreeMap::new(), order: VecDeque::new(), limit, full: 0 }
    }

    /// Keeps the newest token for this address.
    pub(super) fn insert(&mut self, at: SocketAddr, token: NewToken) {
        if token.token == 0 {
            return;
        }
        if self.tokens.insert(at, token).is_none() {
            self.order.push_back(at);
        }
        while self.order.len() > self.limit {
            if let Some(oldest) = self.order.pop_front()
                && self.tokens.remove(&oldest).is_some()
            {
                self.full += 1;
            }
        }
    }

    /// Whether there is a token for this address.
    pub(super) fn has(&self, at: &SocketAddr, now: Date) -> bool {
        self.tokens.get(at).is_some_and(|t| now + MARGIN < t.expires)
    }

    /// Takes the token for this address, which can be used once.
    pub(super) fn take(&mut self, at: &SocketAddr, now: Date) -> Option<u64> {
        let token = self.tokens.remove(at)?;
        self.order.retain(|a| a != at);
        (now + MARGIN < token.expires).then_some(token.token)
    }

    /// Forgets everything: our address has changed.
    pub(super) fn clear(&mut self) {
        self.tokens.clear();
        self.order.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Now {
        Now { mono: Instant::ZERO + Duration::from_secs(secs), wall: Date::from_secs(1_000_000 + secs) }
    }

    fn take(tokens: &mut Tokens, from: SocketAddr, token: u64, now: Now) -> bool {
        let good = tokens.attempt(from, token, now);
        if good {
            tokens.spend(from, token);
        }
        good
    }

    #[test]
    fn a_token_is_good_once_for_its_address_and_not_for_long() {
        let (mut rng, mut tokens) = (Rng::from_seed([1; 32]), Tokens::new(100, 100));
        let (here, there) = ("192.0.2.1:7".parse().unwrap(), "192.0.2.1:8".parse().unwrap());
        let token = tokens.for_retry(here, at(100), &mut rng);
        assert!(!take(&mut tokens, there, token, at(101)));
        assert!(!take(&mut tokens, here, token ^ 1, at(101)));
        assert!(take(&mut tokens, here, token, at(101)));
        assert!(!take(&mut tokens, here, token, at(101)), "used");
        assert!(!take(&mut tokens, here, token, at(111)), "used in the last period");
        let late = tokens.for_retry(here, at(112), &mut rng);
        assert_ne!(late, token);
        assert!(!take(&mut tokens, here, late, at(140)), "too old");
        let issued = tokens.issue(here, at(140).wall, &mut rng);
        assert!(!take(&mut tokens, there, issued.token, at(150)));
        assert!(take(&mut tokens, here, issued.token, at(150)));
        assert!(!take(&mut tokens, here, issued.token, at(150)));
        let expiring = tokens.issue(here, at(150).wall, &mut rng);
        assert!(!take(&mut tokens, here, expiring.token, at(150 + 3601)));
        let tried = tokens.for_retry(here, at(200), &mut rng);
        let good = (0..20).filter(|_| tokens.attempt(here, tried, at(200))).count();
        assert_eq!(good, usize::from(ATTEMPTS));
    }

    #[test]
    fn tables_are_bounded() {
        let (mut rng, mut tokens) = (Rng::from_seed([1; 32]), Tokens::new(2, 3));
        let address = |port: u16| SocketAddr::from(([192, 0, 2, 1], port));
        let made = (0..3).map(|p| tokens.for_retry(address(p), at(0), &mut rng)).collect::<Vec<_>>();
        let taken = made.iter().enumerate().map(|(p, t)| take(&mut tokens, address(p as u16), *t, at(1)));
        assert_eq!(taken.collect::<Vec<_>>(), [true, true, false]);
        for port in 0..9 {
            tokens.issue(address(port), at(1).wall, &mut rng);
        }
        assert_eq!((tokens.issued.len(), tokens.order.len(), tokens.full), (3, 3, 7));
        let mut held = HeldTokens::new(2);
        for port in 0..4 {
            held.insert(address(port), NewToken { expires: Date::from_secs(2_000_000), token: 5 });
        }
        assert_eq!((held.tokens.len(), held.full), (2, 2));
        assert_eq!(held.take(&address(3), at(0).wall), Some(5));
        assert_eq!(held.take(&address(3), at(0).wall), None);
    }
}
