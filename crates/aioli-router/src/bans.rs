//! Whom we have nothing to do with: the user's blocklist, and bans for what a
//! peer itself did (PROTOCOL of bans).
//!
//! | what | who | how long |
//! |---|---|---|
//! | a handshake for another network | the address | 1 h |
//! | a clock that differs from ours, but no other's does | the router | 1 h |
//! | a handshake with another key than that of the RouterInfo, or with a RouterInfo that is not signed | the address | 21 to 39 min |
//! | the owner of this router asks for it | the router | until we stop |
//! | [`MAX_BAD_HANDSHAKES`] handshakes in ten minutes that fail | the address | 8 to 15 min |
//!
//! What somebody relays is never a reason: who hands us a message may be the
//! end of somebody else's tunnel. Of IPv6 addresses the first 64 bits count.
//! Bans end with the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use aioli_core::{Duration, Instant, Rng};
use aioli_transport::PeerMisbehaved;
use aioli_wire::{RouterHash, RouterInfo};

use crate::blocklist::Blocklist;

/// Failed handshakes of one address in [`HANDSHAKE_WINDOW`] after which it is banned.
const MAX_BAD_HANDSHAKES: u16 = 16;
const HANDSHAKE_WINDOW: Duration = Duration::from_secs(10 * 60);
/// Longer than any process lives.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 86_400);

/// Who is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A router.
    Router(RouterHash),
    /// An address.
    Ip(IpAddr),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router(hash) => write!(f, "router {}", hash.to_base64()),
            Self::Ip(ip) => write!(f, "address {ip}"),
        }
    }
}

/// Why somebody is banned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BanReason {
    /// It wants to talk to another network.
    OtherNetwork,
    /// Its clock differs from ours, with which others agree.
    ClockSkew,
    /// It used another key than its RouterInfo names.
    StaticKey,
    /// It gave a RouterInfo that is not signed.
    Signature,
    /// Its handshakes fail again and again.
    Handshakes,
    /// The owner of this router wants it so.
    Asked,
}

impl BanReason {
    fn time(self, rng: &mut Rng) -> Duration {
        let minutes = |from: u64, to: u64| (Duration::from_secs(from * 60), Duration::from_secs(to * 60));
        let (least, most) = match self {
            Self::Asked => return FOREVER,
            Self::OtherNetwork | Self::ClockSkew => return Duration::from_secs(3_600),
            Self::StaticKey | Self::Signature => minutes(21, 39),
            Self::Handshakes => minutes(8, 15),
        };
        rng.duration(least, most)
    }
}

impl fmt::Display for BanReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherNetwork => "it belongs to another network",
            Self::ClockSkew => "its clock is wrong",
            Self::StaticKey => "it uses another key than it publishes",
            Self::Signature => "its RouterInfo is not signed",
            Self::Handshakes => "its handshakes fail again and again",
            Self::Asked => "it was asked for",
        })
    }
}

/// Whom an address stands for: an IPv6 host draws the last 64 bits as it likes.
fn household(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => std::net::Ipv6Addr::from(u128::from(ip) >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A ban that began now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ban {
    pub(crate) subject: Subject,
    pub(crate) reason: BanReason,
    pub(crate) until: Instant,
}

/// The blocklist and the bans of the moment.
#[derive(Debug)]
pub(crate) struct Bans {
    blocklist: Arc<Blocklist>,
    routers: BTreeMap<RouterHash, (Instant, BanReason)>,
    ips: BTreeMap<IpAddr, (Instant, BanReason)>,
    ends: BTreeSet<(Instant, Subject)>,
    /// Failed handshakes since `failing_since`.
    failing: BTreeMap<IpAddr, u16>,
    failing_since: Instant,
    limit: usize,
    pub(crate) begun: u64,
    /// Bans that ended early because of the limit.
    pub(crate) pushed_out: u64,
    /// Connections, dials and RouterInfos refused.
    pub(crate) refused: u64,
}

impl Bans {
    /// At most `limit` bans at a time, besides the blocklist.
    pub(crate) const fn new(blocklist: Arc<Blocklist>, limit: usize) -> Self {
        Self {
            blocklist,
            routers: BTreeMap::new(),
            ips: BTreeMap::new(),
            ends: BTreeSet::new(),
            failing: BTreeMap::new(),
            failing_since: Instant::ZERO,
            limit,
            begun: 0,
            pushed_out: 0,
            refused: 0,
        }
    }

    /// Bans of the moment.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn bars_ip(&self, ip: IpAddr, now: Instant) -> bool {
        self.blocklist.has_ip(ip) || self.ips.get(&household(ip)).is_some_and(|(until, _)| now < *until)
    }

    pub(crate) fn bars_router(&self, router: &RouterHash, now: Instant) -> bool {
        self.blocklist.has_router(router) || self.routers.get(router).is_some_and(|(until, _)| now < *until)
    }

    /// Whether the router is barred, or any of its addresses.
    pub(crate) fn bars(&self, info: &RouterInfo, now: Instant) -> bool {
        if self.blocklist.is_empty() && self.ends.is_empty() {
            return false;
        }
        let addresses = || info.addresses.iter().filter_map(|a| a.endpoint());
        self.bars_router(&info.hash(), now)
            || ((!self.ips.is_empty() || !self.blocklist.is_empty())
                && addresses().any(|a| self.bars_ip(a.ip(), now)))
    }

    /// Bans somebody, or longer than before.
    pub(crate) fn ban(&mut self, subject: Subject, reason: BanReason, now: Instant, rng: &mut Rng) -> Ban {
        let mut ban = Ban { subject, reason, until: now + reason.time(rng) };
        if let Some((until, reason)) = self.forget(&subject) {
            if until > ban.until {
                (ban.until, ban.reason) = (until, reason);
            }
        } else if self.len() >= self.limit {
            // What would end first ends now.
            if let Some((_, first)) = self.ends.first().copied() {
                self.pushed_out += 1;
                self.forget(&first);
            }
        }
        self.begun += 1;
        self.ends.insert((ban.until, subject));
        match subject {
            Subject::Router(hash) => self.routers.insert(hash, (ban.until, ban.reason)),
            Subject::Ip(ip) => self.ips.insert(household(ip), (ban.until, ban.reason)),
        };
        ban
    }

    /// A handshake from this address failed. Gives the ban that follows, if one does.
    #[expect(clippy::wildcard_enum_match_arm, reason = "however else it fails, it counts the same")]
    pub(crate) fn note_handshake(
        &mut self,
        ip: IpAddr,
        why: PeerMisbehaved,
        now: Instant,
        rng: &mut Rng,
    ) -> Option<Ban> {
        let ip = household(ip);
        let reason = match why {
            PeerMisbehaved::NetId => BanReason::OtherNetwork,
            PeerMisbehaved::StaticKeyMismatch => BanReason::StaticKey,
            PeerMisbehaved::RouterInfoSignature => BanReason::Signature,
            _ if self.fails_once_too_often(ip, now) => BanReason::Handshakes,
            _ => return None,
        };
        Some(self.ban(Subject::Ip(ip), reason, now, rng))
    }

    fn fails_once_too_often(&mut self, ip: IpAddr, now: Instant) -> bool {
        if now.since(self.failing_since) >= HANDSHAKE_WINDOW {
            self.failing.clear();
            self.failing_since = now;
        }
        if self.failing.len() >= self.limit && !self.failing.contains_key(&ip) {
            return false;
        }
        let count = self.failing.entry(ip).or_default();
        *count = count.saturating_add(1);
        *count >= MAX_BAD_HANDSHAKES
    }

    /// Ends the bans whose time is over.
    pub(crate) fn expire(&mut self, now: Instant) {
        while let Some((until, subject)) = self.ends.first().copied()
            && until <= now
        {
            self.forget(&subject);
        }
    }

    fn forget(&mut self, subject: &Subject) -> Option<(Instant, BanReason)> {
        let was = match subject {
            Subject::Router(hash) => self.routers.remove(hash),
            Subject::Ip(ip) => self.ips.remove(&household(*ip)),
        };
        if let Some((until, _)) = was {
            self.ends.remove(&(until, *subject));
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minutes: u64) -> Instant {
        Instant::ZERO + Duration::from_secs(minutes * 60)
    }

    fn bans(limit: usize) -> (Bans, Rng) {
        (Bans::new(Arc::default(), limit), Rng::from_seed([3; 32]))
    }

    #[test]
    fn bans_end_by_their_reason() {
        let (mut bans, mut rng) = bans(10);
        let peer = RouterHash::new([1; 32]);
        bans.ban(Subject::Router(peer), BanReason::ClockSkew, at(0), &mut rng);
        assert!(bans.bars_router(&peer, at(59)) && !bans.bars_router(&peer, at(60)));
        bans.ban(Subject::Router(peer), BanReason::Asked, at(61), &mut rng);
        bans.ban(Subject::Router(peer), BanReason::ClockSkew, at(62), &mut rng);
        bans.expire(at(1_000_000));
        assert!(bans.bars_router(&peer, at(1_000_000)), "the longer one stays");
        assert_eq!(bans.len(), 1);
        let ip: IpAddr = "9.9.9.9".parse().unwrap();
        let ban = bans.note_handshake(ip, PeerMisbehaved::StaticKeyMismatch, at(0), &mut rng).unwrap();
        assert!(at(21) <= ban.until && ban.until <= at(39));
        assert!(bans.bars_ip("::ffff:9.9.9.9".parse().unwrap(), at(20)), "the same address in other clothes");
        let host = |last: u16| IpAddr::from([0x2a00, 1, 2, 3, 0, 0, 0, last]);
        bans.note_handshake(host(1), PeerMisbehaved::RouterInfoSignature, at(0), &mut rng);
        assert!(bans.bars_ip(host(2), at(20)) && !bans.bars_ip("2a00:1:2:4::1".parse().unwrap(), at(20)));
        bans.expire(at(40));
        assert_eq!((bans.len(), bans.bars_ip(ip, at(40))), (1, false));
    }

    #[test]
    fn one_failed_handshake_is_forgiven_and_many_are_not() {
        let (mut bans, mut rng) = bans(10);
        let ip: IpAddr = "9.9.9.9".parse().unwrap();
        let mut fail = |minute| bans.note_handshake(ip, PeerMisbehaved::Aead, at(minute), &mut rng);
        for _ in 1..MAX_BAD_HANDSHAKES {
            assert_eq!(fail(10), None);
        }
        let ban = fail(11).expect("once too often");
        assert!(at(11 + 8) <= ban.until && ban.until <= at(11 + 15));
        assert_eq!(fail(25), None, "a new window");
    }

    #[test]
    fn the_table_is_bounded_and_the_shortest_ban_goes() {
        let (mut bans, mut rng) = bans(3);
        for n in 0..3 {
            bans.ban(Subject::Router(RouterHash::new([n; 32])), BanReason::Asked, at(0), &mut rng);
        }
        for n in 0..100 {
            let ip = IpAddr::from([9, 9, 9, n]);
            bans.note_handshake(ip, PeerMisbehaved::RouterInfoSignature, at(0), &mut rng);
            bans.note_handshake(ip, PeerMisbehaved::Aead, at(0), &mut rng);
        }
        assert_eq!((bans.len(), bans.pushed_out), (3, 100));
        assert!(bans.failing.len() <= 3);
        let lasting = (0..3).filter(|n| bans.bars_router(&RouterHash::new([*n; 32]), at(1))).count();
        assert_eq!(lasting, 2);
    }
}
