//! What introductions and peer tests share: who peers are, what we are ourselves,
//! who may ask how often, and whose RouterInfo is still missing.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aioli_core::bucket::Bucket;
use aioli_core::{Cx, Duration, Instant};
use aioli_wire::i2np::{DatabaseStore, Message, MessageType};
use aioli_wire::ip::is_public;
use aioli_wire::router_info::RouterInfo;
use aioli_wire::ssu2::{Block, RouterInfoBlock, Ssu2Address};
use aioli_wire::verified::{Unverified, Verified};
use aioli_wire::{RouterHash, Wire, gzip};

use super::super::notices::MAX_NOTICE;
use super::super::peer_test::{AliceTest, BobTest, CharlieTest};
use super::super::relay::{Held, Punch, Relayed, Seek, Tag};
use super::super::session::{Aside, Said};
use super::super::{Family, IntroKey, Output};
use super::dial::Waiting;
use super::{Endpoint, Key};
use crate::Lane;

/// An introduction or peer test waits so long for a RouterInfo.
pub const AWAIT: Duration = Duration::from_secs(3);
/// What one IP address costs us is counted over this.
const PER_IP: Duration = Duration::from_secs(600);
/// A NAT may let in who we sent something to within this.
const WARM: Duration = Duration::from_secs(300);
/// Visitors are told of no more often than this.
const VISITORS: Duration = Duration::from_secs(1);
/// One peer may have this part of what waits for RouterInfos.
const PEERS_SHARE: usize = 8;
/// A peer's blocks of introductions and tests: half a one a second.
const ASIDES_PER_SECOND: u64 = 2;
/// Ports below belong to services, which must not be sent peer tests or hole punches.
const LEAST_PORT: u16 = 1_024;
/// A RouterInfo sent as a message lives so long.
const STORE_LIFE: Duration = Duration::from_secs(30);

/// What we offer in the addresses that we publish.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Offers {
    tests: [bool; 2],
    introduces: [bool; 2],
}

impl Offers {
    /// What a RouterInfo says.
    pub(super) fn of(info: &RouterInfo) -> Self {
        let addresses = info.ssu2().collect::<Vec<_>>();
        let any = |what: fn(&Ssu2Address) -> bool| {
            Family::ALL.map(|f| addresses.iter().any(|a| what(a) && speaks(a, f)))
        };
        Self { tests: any(|a| a.peer_test), introduces: any(|a| a.introduces) }
    }
}

/// Whether an address is of this family.
pub(super) const fn speaks(address: &Ssu2Address, family: Family) -> bool {
    match family {
        Family::V4 => address.ipv4,
        Family::V6 => address.ipv6,
    }
}

/// Where a router listens in this family, if it takes part in peer tests.
pub(super) fn tester(info: &RouterInfo, family: Family) -> Option<(SocketAddr, IntroKey)> {
    info.ssu2().filter(|a| a.peer_test).find_map(|a| {
        let host = a.host.filter(|h| Family::of(&h.ip()) == family)?;
        Some((host, IntroKey(a.intro_key)))
    })
}

/// What hides packets to a router, in this family if it says so.
pub(super) fn intro_key(info: &RouterInfo, family: Family) -> Option<IntroKey> {
    let addresses = info.ssu2().collect::<Vec<_>>();
    let best = addresses.iter().find(|a| speaks(a, family)).or_else(|| addresses.first());
    best.map(|a| IntroKey(a.intro_key))
}

/// A block that waits for a RouterInfo.
#[derive(Debug)]
struct Awaiting {
    router: RouterHash,
    from: RouterHash,
    remote: SocketAddr,
    block: Vec<u8>,
    until: Instant,
}

/// How often one IP address was sent something of a peer test or an introduction.
#[derive(Debug, Default)]
struct PerIp {
    counts: BTreeMap<IpAddr, u32>,
    since: Instant,
}

/// All of introductions and peer tests.
#[derive(Debug, Default)]
pub(super) struct Introductions {
    pub(super) offers: Offers,
    /// Where others reach us: IPv4, IPv6.
    external: [Option<SocketAddr>; 2],
    /// Who our peers are.
    known: BTreeMap<RouterHash, Arc<Verified<RouterInfo>>>,
    /// RouterInfos that came for an introduction or test, checked when needed.
    introduced: VecDeque<Unverified<RouterInfo>>,
    /// Those that were.
    vouched: VecDeque<Arc<Verified<RouterInfo>>>,
    awaiting: VecDeque<Awaiting>,
    buckets: BTreeMap<RouterHash, Bucket>,
    per_ip: PerIp,
    /// Where we sent something lately.
    contacted: VecDeque<(Instant, IpAddr)>,
    /// When a visitor was told of.
    visited: Option<Instant>,
    pub(super) alice_tests: BTreeMap<u32, AliceTest>,
    pub(super) bob_tests: BTreeMap<u32, BobTest>,
    pub(super) charlie_tests: BTreeMap<u32, CharlieTest>,
    /// Whether dials ask for a tag: IPv4, IPv6.
    pub(super) wants_tags: [bool; 2],
    /// Routers to which we want to be introduced, and what is queued for them.
    pub(super) seeking: BTreeMap<RouterHash, (Seek, Waiting)>,
    /// Tags that we gave.
    pub(super) tags: BTreeMap<u32, Tag>,
    /// By Charlie and nonce.
    pub(super) relayed: BTreeMap<(RouterHash, u32), Relayed>,
    /// Tags that we were given.
    pub(super) introducers: BTreeMap<RouterHash, Held>,
    pub(super) punches: BTreeMap<u32, Punch>,
}

impl Endpoint {
    /// Where our packets seem to come from by IPv4 and IPv6, as far as it is known: what introductions tell others.
    pub const fn set_external(&mut self, ipv4: Option<SocketAddr>, ipv6: Option<SocketAddr>) {
        self.intro.external = [ipv4, ipv6];
    }

    /// Tells who a router is: a peer that was dialled, or one that [`Output::WantRouterInfo`] asked for.
    pub fn learn(&mut self, info: Arc<Verified<RouterInfo>>, cx: &mut Cx<'_>) {
        let hash = info.hash();
        if self.is_connected(&hash) || self.is_dialling(&hash) {
            self.intro.known.insert(hash, info);
        } else if self.intro.awaiting.iter().any(|a| a.router == hash) {
            self.vouch(info);
        }
        self.resume(&hash, cx);
    }

    /// A router is a peer now, and has said who it is.
    pub(super) fn know(&mut self, info: &Verified<RouterInfo>) {
        self.intro.known.insert(info.hash(), Arc::new(info.clone()));
    }

    fn vouch(&mut self, info: Arc<Verified<RouterInfo>>) {
        self.intro.vouched.push_back(info);
        while self.intro.vouched.len() > self.common.limits.introduced {
            self.intro.vouched.pop_front();
        }
    }

    /// Who a router is, if that is known.
    pub(super) fn info_of(&mut self, router: &RouterHash) -> Option<Arc<Verified<RouterInfo>>> {
        if let Some(info) = self.intro.known.get(router) {
            return Some(info.clone());
        }
        if let Some(info) = self.intro.vouched.iter().find(|i| i.hash() == *router) {
            return Some(info.clone());
        }
        let at = self.intro.introduced.iter().position(|i| i.claims().hash() == *router)?;
        let info = Arc::new(self.intro.introduced.remove(at)?.verify().ok()?);
        if info.net_id() != Some(self.config.net_id) {
            return None;
        }
        self.vouch(info.clone());
        Some(info)
    }

    /// Forgets what belongs to a session that has ended.
    pub(super) fn forget_peer(&mut self, peer: &RouterHash, at: IpAddr, now: Instant) {
        self.contact(at, now);
        self.intro.known.remove(peer);
        self.intro.buckets.remove(peer);
        self.intro.introducers.remove(peer);
        self.intro.tags.retain(|_, given| given.charlie != *peer);
    }

    /// Forgets who a router is of which nothing came.
    pub(super) fn forget_unless_connected(&mut self, peer: &RouterHash) {
        if !self.is_connected(peer) {
            self.intro.known.remove(peer);
        }
    }

    /// Something was sent there: NATs on our side may let it answer.
    pub(super) fn contact(&mut self, ip: IpAddr, now: Instant) {
        if self.intro.contacted.back().is_some_and(|(_, last)| *last == ip) {
            self.intro.contacted.pop_back();
        }
        self.intro.contacted.push_back((now, ip));
        while self.intro.contacted.len() > self.common.limits.contacted {
            self.intro.contacted.pop_front();
        }
    }

    /// Whether our own packets may have opened a way for packets from there.
    pub(super) fn is_warm(&self, ip: IpAddr, now: Instant) -> bool {
        let recent = |(at, other): &(Instant, IpAddr)| *other == ip && now.since(*at) < WARM;
        let session = |id| self.sessions.get(id).is_some_and(|s| s.remote.ip() == ip);
        self.intro.contacted.iter().any(recent)
            || self.by_peer.values().any(session)
            || self.dials.keys().any(|at| at.ip() == ip)
    }

    /// Tells if a session comes by itself: nothing of ours opened the way.
    pub(super) fn note_visitor(&mut self, peer: &RouterHash, from: SocketAddr, cx: &Cx<'_>) {
        let now = cx.now.mono;
        let lately = self.intro.visited.is_some_and(|at| now.since(at) < VISITORS);
        if !lately && !self.is_connected(peer) && !self.is_warm(from.ip(), now) {
            self.intro.visited = Some(now);
            self.common.outputs.push_back(Output::Visitor { from });
        }
    }

    /// Our address of a family: what was said, else what this peer sees.
    pub(super) fn own_address(&self, family: Family, peer: &RouterHash) -> Option<SocketAddr> {
        let seen = || {
            let session = self.by_peer.get(peer).and_then(|id| self.sessions.get(id))?;
            session.observed.filter(|a| Family::of(&a.ip()) == family && self.is_allowed(*a))
        };
        self.intro.external[family as usize].or_else(seen)
    }

    /// Whether we say that we take part in peer tests of this family.
    pub(super) fn tests(&self, family: Family) -> bool {
        self.config.signing.is_some() && self.intro.offers.tests[family as usize]
    }

    /// Whether we say that we introduce others in this family.
    pub(super) fn introduces(&self, family: Family) -> bool {
        self.config.signing.is_some() && self.intro.offers.introduces[family as usize]
    }

    /// Whether something may be sent to an address that only a signature vouches for.
    pub(super) fn may_probe(&self, address: SocketAddr) -> bool {
        self.is_allowed(address) && address.port() >= LEAST_PORT
    }

    /// Counts that an IP address is sent something. False if that is too often.
    pub(super) fn count_ip(&mut self, ip: IpAddr, now: Instant) -> bool {
        if self.config.private_network && !is_public(ip) {
            return true;
        }
        let (per_ip, limits) = (&mut self.intro.per_ip, &self.common.limits);
        if now.since(per_ip.since) >= PER_IP {
            *per_ip = PerIp { counts: BTreeMap::new(), since: now };
        }
        if per_ip.counts.len() >= limits.introduction_ips && !per_ip.counts.contains_key(&ip) {
            return false;
        }
        let count = per_ip.counts.entry(ip).or_default();
        *count += 1;
        *count <= limits.introductions_per_ip
    }

    /// Takes what sessions have heard of introductions and peer tests.
    pub(super) fn on_asides(&mut self, cx: &mut Cx<'_>) {
        while let Some(Aside { from, remote, said }) = self.common.asides.pop_front() {
            match said {
                Said::RouterInfo(info) => {
                    let hash = info.claims().hash();
                    self.intro.introduced.push_back(info);
                    while self.intro.introduced.len() > self.common.limits.introduced {
                        self.intro.introduced.pop_front();
                    }
                    self.resume(&hash, cx);
                }
                // Its session may have ended with the same packet.
                Said::Block(_) if !self.is_connected(&from) => self.common.stats.ignored_blocks += 1,
                Said::Block(block) => {
                    let burst = u64::from(self.common.limits.asides_per_peer);
                    let now = cx.now.mono;
                    let bucket = self.intro.buckets.entry(from);
                    let bucket = bucket.or_insert_with(|| Bucket::new(ASIDES_PER_SECOND, burst, now));
                    if bucket.try_take(1, now) {
                        self.on_aside(from, remote, &block, false, cx);
                    } else {
                        self.common.stats.introductions_limited += 1;
                    }
                }
            }
        }
    }

    /// Takes a block. `is_last`: it will not be tried again when a RouterInfo is missing.
    fn on_aside(
        &mut self,
        from: RouterHash,
        remote: SocketAddr,
        bytes: &[u8],
        is_last: bool,
        cx: &mut Cx<'_>,
    ) {
        let Ok(block) = Block::from_bytes(bytes) else { return };
        if self.config.signing.is_none() || !self.is_connected(&from) {
            self.common.stats.ignored_blocks += 1;
            return;
        }
        let missing = if let Block::PeerTest(test) = &block {
            match test.message {
                1 => self.on_test_1(from, remote, test, is_last, cx),
                2 => self.on_test_2(from, test, is_last, cx),
                3 => self.on_test_3(from, test, cx),
                4 => self.on_test_4(from, remote, test, is_last, cx),
                _ => {
                    self.common.stats.bad_peer_tests += 1;
                    None
                }
            }
        } else if let Block::RelayRequest(request) = &block {
            self.on_relay_request(from, remote, request, is_last, cx)
        } else if let Block::RelayIntro(intro) = &block {
            self.on_relay_intro(from, intro, is_last, cx)
        } else if let Block::RelayResponse(response) = &block {
            self.on_relay_response(from, response, cx);
            None
        } else if let Block::RelayTag(tag) = &block {
            self.on_tag(from, remote, *tag, cx);
            None
        } else {
            self.on_tag_request(from, remote, cx);
            None
        };
        if let Some(router) = missing {
            self.await_info(Awaiting {
                router,
                from,
                remote,
                block: bytes.to_vec(),
                until: cx.now.mono + AWAIT,
            });
        }
    }

    fn await_info(&mut self, awaiting: Awaiting) {
        let limit = self.common.limits.awaiting;
        let of_peer = self.intro.awaiting.iter().filter(|a| a.from == awaiting.from).count();
        if self.intro.awaiting.len() >= limit || of_peer >= limit.div_ceil(PEERS_SHARE) {
            self.common.stats.introductions_limited += 1;
            return;
        }
        self.timers.set_earlier(Key::Awaiting, awaiting.until);
        self.common.outputs.push_back(Output::WantRouterInfo { router: awaiting.router });
        self.intro.awaiting.push_back(awaiting);
    }

    /// A RouterInfo has come: what waited for it goes on.
    fn resume(&mut self, router: &RouterHash, cx: &mut Cx<'_>) {
        while let Some(at) = self.intro.awaiting.iter().position(|a| a.router == *router) {
            let Some(a) = self.intro.awaiting.remove(at) else { return };
            self.on_aside(a.from, a.remote, &a.block, true, cx);
        }
    }

    /// What has waited long enough goes on without.
    pub(super) fn on_awaiting_timeout(&mut self, cx: &mut Cx<'_>) {
        while self.intro.awaiting.front().is_some_and(|a| a.until <= cx.now.mono) {
            let Some(a) = self.intro.awaiting.pop_front() else { return };
            self.on_aside(a.from, a.remote, &a.block, true, cx);
        }
        if let Some(next) = self.intro.awaiting.front() {
            self.timers.set(Key::Awaiting, next.until);
        }
    }

    /// Says something to a peer, for as long as it has not acknowledged it.
    pub(in super::super) fn notify(&mut self, peer: &RouterHash, block: &Block<'_>) -> bool {
        self.notify_bytes(peer, block.to_bytes())
    }

    /// Says something that may be no block at all.
    #[cfg(test)]
    pub(in super::super) fn notify_raw(&mut self, peer: &RouterHash, bytes: Vec<u8>) -> bool {
        self.notify_bytes(peer, bytes)
    }

    /// What is kept of introductions and tests that are under way.
    #[cfg(test)]
    pub(in super::super) fn introductions_kept(&self) -> usize {
        let intro = &self.intro;
        intro.alice_tests.len()
            + intro.bob_tests.len()
            + intro.charlie_tests.len()
            + intro.awaiting.len()
            + intro.seeking.len()
            + intro.relayed.len()
            + intro.punches.len()
    }

    fn notify_bytes(&mut self, peer: &RouterHash, block: Vec<u8>) -> bool {
        let Some(id) = self.by_peer.get(peer).copied() else { return false };
        let limit = self.common.limits.notices_per_peer;
        let taken = self.sessions.get_mut(&id).is_some_and(|s| s.notify(block, limit));
        self.common.stats.notices_full += u64::from(!taken);
        self.enqueue(id);
        taken
    }

    /// Tells a peer who a router is: in a block if it fits, else in a message.
    pub(in super::super) fn tell(&mut self, peer: &RouterHash, info: &Verified<RouterInfo>, cx: &mut Cx<'_>) {
        let packed = gzip::compress(info.bytes());
        let gzip = packed.len() < info.bytes().len();
        let bytes = if gzip { packed.as_slice() } else { info.bytes() };
        let block = Block::RouterInfo(RouterInfoBlock { flood: false, gzip, bytes }).to_bytes();
        if block.len() <= MAX_NOTICE {
            self.notify_bytes(peer, block);
            return;
        }
        let message = Message {
            kind: MessageType::DatabaseStore,
            id: cx.rng.u32().into(),
            expires: cx.now.wall + STORE_LIFE,
            body: DatabaseStore::router_info(info, None).to_bytes(),
        };
        // A full queue drops it: then the test or introduction fails, and is asked for again.
        let _ = self.send(peer, Lane::Own, message);
    }
}

#[cfg(test)]
mod tests {
    use aioli_core::{Now, Rng};

    use super::super::super::tests::{Keys, START};
    use super::*;

    #[test]
    fn who_left_with_the_packet_that_asks_leaves_nothing_behind() {
        let mut rng = Rng::from_seed([1; 32]);
        let keys = Keys::new(1, &mut rng);
        let mut endpoint = Endpoint::new(keys.config(), &mut rng);
        endpoint.set_router_info(keys.router_info(|_| {}));
        let (from, remote) = (RouterHash::new([9; 32]), SocketAddr::from(([5, 6, 7, 8], 9_000)));
        let mut cx = Cx { now: Now { mono: Instant::ZERO, wall: START }, rng: &mut rng };
        let said = Said::Block(Block::RelayTagRequest.to_bytes());
        endpoint.common.asides.push_back(Aside { from, remote, said });
        endpoint.on_asides(&mut cx);
        // The same in SessionRequest.
        endpoint.on_tag_request(from, remote, &mut cx);
        assert!(endpoint.intro.buckets.is_empty() && endpoint.intro.tags.is_empty());
        assert_eq!(endpoint.stats().ignored_blocks, 1);
    }
}
