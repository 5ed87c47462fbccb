//! What is let in, what is kept, what is forgotten, and where the bounds bite.

use aioli_core::Rng;
use proptest::prelude::{Just, any, prop, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::{Rejected, Stored};

/// One database, called by hand.
pub(super) struct Bench {
    pub(super) db: NetDb,
    pub(super) paths: Paths,
    pub(super) at: u64,
    /// Its wall clock is ahead by so many seconds.
    ahead: i64,
    rng: Rng,
}

impl Bench {
    pub(super) fn new(change: impl FnOnce(&mut Config)) -> Self {
        let mut rng = rng(40);
        let keys = Keys::new(&mut rng);
        let mut config = config(&keys);
        change(&mut config);
        let paths = Paths { hash: keys.hash(), connected: true, tunnels: true };
        Self { db: NetDb::new(config, rng.fork()), paths, at: 0, ahead: 0, rng }
    }

    pub(super) fn floodfill() -> Self {
        Self::new(|config| config.floodfill = true)
    }

    pub(super) fn wall(&self) -> Date {
        self.now().wall
    }

    fn now(&self) -> Now {
        let now = now_at(self.at);
        Now { wall: now.wall.shifted(self.ahead * 1_000), ..now }
    }

    pub(super) fn call<T>(&mut self, f: impl FnOnce(&mut NetDb, &mut Cx<'_>, &Paths) -> T) -> T {
        let now = self.now();
        f(&mut self.db, &mut Cx { now, rng: &mut self.rng }, &self.paths)
    }

    pub(super) fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.db.poll_output()).collect()
    }

    pub(super) fn receive<'a>(
        &mut self,
        from: Source,
        kind: MessageType,
        body: &impl Wire<'a>,
    ) -> Vec<Output> {
        let message = message(kind, body);
        self.call(|db, cx, paths| db.handle_message(from, &message, cx, paths));
        self.outputs()
    }

    pub(super) fn wait(&mut self, s: u64) -> Vec<Output> {
        for _ in 0..s {
            self.at += 1;
            self.call(|db, cx, paths| db.handle_timeout(cx, paths));
        }
        self.outputs()
    }

    pub(super) fn store(&mut self, info: &RouterInfo) -> Result<Stored, Rejected> {
        self.call(|db, cx, _| db.store(received(info), Source::Garlic, cx))
    }
}

const GOOD: [(&str, &str); 3] = [("caps", "XR"), ("netId", "99"), ("router.version", "0.9.67")];

#[test]
fn poisoned_router_infos_stay_out() {
    let mut bench = Bench::new(|config| config.private_network = false);
    let mut rng = rng(41);
    let keys = Keys::new(&mut rng);
    let now = bench.wall();
    let with = |i: usize, value: &'static str| {
        let mut options = GOOD;
        options[i].1 = value;
        keys.info_with(&options, now)
    };
    let refused = [
        (with(1, "2"), Rejected::OtherNetwork),
        (keys.info_with(&[GOOD[0], GOOD[2]], now), Rejected::NoNetworkId),
        (with(2, "0.9.57"), Rejected::OldVersion),
        (with(2, "hello"), Rejected::NoVersion),
        (keys.info("XR", now + secs(121)), Rejected::Future),
        (keys.info("XR", now - secs(73 * 3600)), Rejected::Stale),
    ];
    for (info, why) in refused {
        assert_eq!(bench.store(&info), Err(why));
    }
    let good = keys.info("XR", now);
    let mut bytes = good.bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let forged = RouterInfo::decode_unverified(&bytes).unwrap();
    let result = bench.call(|db, cx, _| db.store(forged, Source::Garlic, cx));
    assert!(matches!(result, Err(Rejected::Signature(_))));
    assert_eq!(bench.db.router_count(), 0);
    assert_eq!(bench.store(&good), Ok(Stored::New));
    assert_eq!(bench.store(&good), Ok(Stored::Known));
    assert_eq!(bench.store(&keys.info("XR", now - secs(1))), Ok(Stored::Known));
    assert_eq!(bench.store(&keys.info("XR", now + secs(1))), Ok(Stored::Newer));
    let stats = bench.db.stats();
    assert_eq!((stats.routers_refused, stats.bad_signatures, stats.routers_stored), (6, 1, 2));
}

#[test]
fn a_store_under_another_key_is_refused() {
    let mut bench = Bench::floodfill();
    let mut rng = rng(42);
    let info = Keys::new(&mut rng).info("XR", bench.wall());
    let mut store = DatabaseStore::router_info(&info, None);
    store.key = [5; 32].into();
    bench.receive(Source::Garlic, MessageType::DatabaseStore, &store);
    let mut store = DatabaseStore::lease_set(&Dest::new(&mut rng).lease_set(bench.wall(), secs(600)), None);
    store.key = [5; 32].into();
    bench.receive(Source::Garlic, MessageType::DatabaseStore, &store);
    assert_eq!(bench.db.stats().wrong_keys, 2);
    assert_eq!((bench.db.router_count(), bench.db.stats().lease_sets), (0, 0));
}

#[test]
fn poisoned_lease_sets_stay_out() {
    let mut bench = Bench::floodfill();
    let dest = Dest::new(&mut rng(43));
    let now = bench.wall();
    for (at, life) in [(now + secs(130), 600), (now - secs(700), 600), (now, 2_000)] {
        let store = DatabaseStore::lease_set(&dest.lease_set(at, secs(life)), None);
        bench.receive(Source::Garlic, MessageType::DatabaseStore, &store);
    }
    assert_eq!(bench.db.stats().lease_sets_refused, 3);
    let good = dest.lease_set(now, secs(600));
    let mut bytes = good.bytes().to_vec();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let forged = LeaseSet::decode(good.kind(), &bytes).unwrap();
    assert!(bench.call(|db, cx, _| db.store_lease_set(View::Client(1), forged, cx)).is_err());
    assert_eq!(bench.db.lease_set(View::Client(1), &dest.hash()), None);
    assert_eq!(bench.db.stats().bad_signatures, 1);
}

#[test]
fn public_networks_want_public_addresses() {
    let mut bench = Bench::new(|config| config.private_network = false);
    let keys = Keys::new(&mut rng(44));
    let info = |hosts: &[&str]| {
        let key = x25519::PublicKey([1; 32]);
        let address = |h: &&str| {
            aioli_wire::RouterAddress::ntcp2(3, &key, Some((h.parse().unwrap(), [2; 16]))).unwrap()
        };
        let parts = RouterInfoParts {
            identity: keys.identity.clone(),
            published: now_at(0).wall,
            addresses: hosts.iter().map(address).collect(),
            options: Mapping::from_pairs(GOOD).unwrap(),
        };
        RouterInfo::create(parts, &keys.signing)
    };
    assert_eq!(bench.store(&info(&["192.168.1.1:99"])), Err(Rejected::NotPublic));
    assert_eq!(bench.store(&info(&["192.168.1.1:99", "9.9.9.9:99"])), Ok(Stored::New));
}

#[test]
fn a_full_store_keeps_floodfills_and_those_it_met() {
    const LATER: u64 = 601;
    let mut bench = Bench::new(|config| config.limits.routers = 20);
    let mut rng = rng(45);
    let met = Keys::new(&mut rng);
    let info = met.info("XR", bench.wall());
    bench.call(|db, cx, _| db.store(received(&info), Source::Peer(met.hash()), cx)).unwrap();
    let floodfill = Keys::new(&mut rng);
    bench.store(&floodfill.info("XfR", bench.wall())).unwrap();
    let mut last = met.hash();
    for _ in 0..60 {
        bench.at += LATER;
        let keys = Keys::new(&mut rng);
        last = keys.hash();
        bench.store(&keys.info("XR", bench.wall())).unwrap();
    }
    assert_eq!(bench.db.router_count(), 20);
    assert!(bench.db.router(&met.hash()).is_some() && bench.db.router(&floodfill.hash()).is_some());
    assert!(bench.db.router(&last).is_some());
    assert_eq!(bench.db.stats().routers_evicted, 42);
    // A crowd of would-be floodfills takes no more than half and a little.
    for _ in 0..60 {
        bench.at += LATER;
        bench.store(&Keys::new(&mut rng).info("XfR", bench.wall())).unwrap();
    }
    assert_eq!(bench.db.router_count(), 20);
    assert!(bench.db.floodfill_count() <= 11 && bench.db.router(&met.hash()).is_some());
}

#[test]
fn old_floodfills_are_not_asked() {
    let mut bench = Bench::new(|config| config.private_network = false);
    let keys = Keys::new(&mut rng(46));
    bench
        .store(&keys.info_with(&[("caps", "XfR"), GOOD[1], ("router.version", "0.9.61")], now_at(0).wall))
        .unwrap();
    assert_eq!((bench.db.router_count(), bench.db.floodfill_count()), (1, 0));
}

#[test]
fn searches_and_waiters_are_bounded() {
    let mut bench = Bench::new(|config| {
        config.limits.searches = 3;
        config.limits.waiters = 2;
    });
    let not_found =
        |outputs: Vec<Output>| outputs.iter().filter(|o| matches!(o, Output::NotFound { .. })).count();
    for i in 0..5 {
        bench.call(|db, cx, _| db.find_lease_set(View::Client(1), [i; 32].into(), cx));
    }
    assert_eq!(not_found(bench.outputs()), 2);
    for _ in 0..3 {
        bench.call(|db, cx, _| db.find_lease_set(View::Client(1), [0; 32].into(), cx));
    }
    assert_eq!(not_found(bench.outputs()), 2);
    assert_eq!(bench.db.stats().searches_refused, 2);
    // Nobody to ask: all end in time.
    assert_eq!(not_found(bench.wait(13)), 4);
    assert_eq!(bench.db.stats().searches, 0);
}

#[test]
fn what_is_denied_again_and_again_is_asked_for_less_and_less() {
    let mut world = World::new(6, 2, 2, NOON, 47);
    world.run(secs(20));
    let absent = DestinationHash::new([8; 32]);
    for _ in 0..7 {
        assert_eq!(world.find(4, 0, absent), None);
    }
    assert_eq!(world.nodes[4].db.stats().negative_cache_hits, 0);
    let queries = world.nodes[4].db.stats().queries;
    let from = world.now;
    world.call(4, |db, cx, _| db.find_lease_set(View::Client(0), absent, cx));
    assert!(matches!(world.seen.last(), Some((at, 4, Seen::NotFound(_))) if *at == from));
    assert_eq!(world.nodes[4].db.stats().negative_cache_hits, 1);
    assert!(world.nodes[4].db.stats().queries <= queries + 1, "at most an exploration");
    world.run(secs(130));
    world.publish(3, 0, &Dest::new(&mut rng(48)));
    assert_eq!(world.find(4, 0, absent), None);
    assert_eq!(world.nodes[4].db.stats().negative_cache_hits, 1);
}

#[test]
fn what_has_ended_goes_and_disk_is_told() {
    let mut bench = Bench::new(|_| {});
    let mut rng = rng(49);
    let dest = Dest::new(&mut rng);
    let set = dest.lease_set(bench.wall(), secs(100));
    let set = LeaseSet::decode(set.kind(), set.bytes()).unwrap();
    bench.call(|db, cx, _| db.store_lease_set(View::Client(1), set, cx)).unwrap();
    assert!(bench.db.lease_set(View::Client(1), &dest.hash()).is_some());
    let routers: Vec<Keys> = (0..95).map(|_| Keys::new(&mut rng)).collect();
    for keys in &routers {
        bench.store(&keys.info("XR", now_at(0).wall)).unwrap();
    }
    let writes = bench.wait(15);
    assert_eq!(writes.iter().filter(|o| matches!(o, Output::Record(Record::StoreRouter(..)))).count(), 95);
    bench.wait(100);
    assert_eq!(bench.db.lease_set(View::Client(1), &dest.hash()), None);
    bench.at += 28 * 3600;
    bench.wait(40);
    assert_eq!(bench.db.router_count(), 0);
    assert_eq!(bench.db.stats().routers_expired, 95);
    // A file that is refused is removed.
    let old = routers[0].info("XR", now_at(0).wall - secs(1));
    let other = Keys::new(&mut rng).info_with(&[GOOD[0], ("netId", "2"), GOOD[2]], bench.wall());
    bench.outputs();
    assert!(bench.call(|db, cx, _| db.load(old.bytes(), cx)).is_ok(), "few are known: old ones are welcome");
    assert_eq!(bench.call(|db, cx, _| db.load(other.bytes(), cx)), Err(Rejected::OtherNetwork));
    let outputs = bench.wait(15);
    let removed = |o: &Output| matches!(o, Output::Record(Record::RemoveRouter(h)) if *h == other.hash());
    assert!(outputs.iter().any(removed));
    assert!(
        !outputs.iter().any(|o| matches!(o, Output::Record(Record::StoreRouter(..)))),
        "it came from there"
    );
}

/// What the bench's own router publishes with these capabilities after some seconds.
fn published_after(caps: &str, wait: u64) -> usize {
    let mut rng = rng(51);
    let keys = Keys::new(&mut rng);
    let mut bench = Bench::new(|config| config.our_hash = keys.hash());
    bench.store(&Keys::new(&mut rng).info("XfR", now_at(0).wall)).unwrap();
    let info = keys.info(caps, now_at(0).wall);
    bench.call(|db, cx, _| db.set_local(info, cx));
    assert!(bench.db.router(&keys.hash()).is_some(), "we know ourselves");
    let store = |o: &Output| matches!(o, Output::Send { message, via: Via::Direct, .. } if message.kind == MessageType::DatabaseStore);
    bench.call(|db, cx, paths| db.handle_timeout(cx, paths));
    let mut outputs = bench.outputs();
    outputs.extend(bench.wait(wait));
    outputs.iter().filter(|o| store(o)).count()
}

#[test]
fn we_publish_ourselves_when_we_know_whether_we_are_reachable() {
    assert_eq!(published_after("XR", 0), 1);
    assert_eq!(published_after("LU", 0), 1);
    assert_eq!(published_after("L", 9), 0);
    assert_eq!(published_after("L", 11), 1);
    assert_eq!(published_after("XHR", 60), 0, "hidden");
    assert_eq!(published_after("XR", 12), 2, "silence: stored again");
}

#[test]
fn an_unreachable_floodfill_is_skipped_at_once() {
    let mut bench = Bench::new(|_| {});
    bench.paths.connected = false;
    bench.paths.tunnels = false;
    let mut rng = rng(52);
    for _ in 0..2 {
        bench.store(&Keys::new(&mut rng).info("XfR", now_at(0).wall)).unwrap();
    }
    let wanted = RouterHash::new([1; 32]);
    bench.call(|db, cx, _| db.find_router(&wanted, cx));
    let mut asked = Vec::new();
    for _ in 0..2 {
        bench.call(|db, cx, paths| db.handle_timeout(cx, paths));
        for output in bench.outputs() {
            if let Output::Send { to, via, .. } = output {
                assert_eq!(via, Via::Direct, "without tunnels there is no other way");
                asked.push(to);
                bench.call(|db, cx, _| db.note_unreachable(&to, cx));
            }
        }
    }
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[0], asked[1]);
}

#[test]
fn a_known_router_can_be_asked_for_again() {
    let mut bench = Bench::new(|_| {});
    let mut rng = rng(53);
    bench.store(&Keys::new(&mut rng).info("XfR", now_at(0).wall)).unwrap();
    let keys = Keys::new(&mut rng);
    let (hash, old, new) = (keys.hash(), now_at(0).wall - secs(60), now_at(0).wall);
    bench.store(&keys.info("XR", old)).unwrap();
    bench.call(|db, cx, _| db.find_router(&hash, cx));
    assert!(matches!(bench.outputs()[..], [Output::RouterFound(_)]));
    bench.call(|db, cx, _| db.refresh_router(&hash, cx));
    assert!(bench.outputs().is_empty());
    let reply = DatabaseStore::router_info(&keys.info("XR", new), None);
    let outputs = bench.receive(Source::Peer([2; 32].into()), MessageType::DatabaseStore, &reply);
    assert!(matches!(&outputs[..], [Output::RouterFound(info)] if info.published == new));
}

proptest! {
    #[test]
    fn no_message_makes_it_panic(
        kind in prop_oneof![Just(1u8), Just(2), Just(3), Just(10), any::<u8>()],
        body in proptest::collection::vec(any::<u8>(), 0..300),
        tunnel in any::<bool>(),
    ) {
        let mut bench = Bench::floodfill();
        let message = Message { kind: MessageType::from_code(kind), id: 1.into(), expires: bench.wall(), body };
        let from = if tunnel { Source::Tunnel(View::Client(3)) } else { Source::Peer([3; 32].into()) };
        bench.call(|db, cx, paths| db.handle_message(from, &message, cx, paths));
        prop_assert_eq!(bench.db.router_count(), 0);
    }

    #[test]
    fn no_damaged_store_gets_in(at in any::<prop::sample::Index>(), bit in 0u8..8, cut in any::<bool>()) {
        let mut bench = Bench::floodfill();
        let dest = Dest::new(&mut rng(50));
        let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), None);
        let mut message = message(MessageType::DatabaseStore, &store);
        let at = at.index(message.body.len());
        if cut { message.body.truncate(at) } else { message.body[at] ^= 1 << bit }
        bench.call(|db, cx, paths| db.handle_message(Source::Garlic, &message, cx, paths));
        let stats = bench.db.stats();
        // Even damage to the token shifts the LeaseSet.
        prop_assert_eq!(stats.lease_sets, 0, "{:?} at {}", stats, at);
    }
}

#[test]
fn nothing_is_thrown_away_because_our_clock_is_wrong() {
    let mut rng = rng(60);
    let routers: Vec<_> = (0..100).map(|_| Keys::new(&mut rng)).collect();
    let day = 24 * 3600;
    let right = now_at(0).wall;
    for (ahead, stepped) in [(-500 * day, false), (500 * day, false), (-500 * day, true), (500 * day, true)] {
        let mut bench = Bench::new(|_| {});
        bench.ahead = ahead;
        bench.call(|db, cx, _| db.set_clock_known(false, cx.now));
        let loaded = routers
            .iter()
            .filter(|keys| bench.call(|db, cx, _| db.load(keys.info("XR", right).bytes(), cx)).is_ok())
            .count();
        // With a clock that is ahead, enough to go on with; with one that is behind, all.
        assert_eq!(loaded, if ahead < 0 { 100 } else { 90 });
        bench.at += 7_200;
        let removed = |outputs: &[Output]| {
            outputs.iter().filter(|o| matches!(o, Output::Record(Record::RemoveRouter(_)))).count()
        };
        assert_eq!(removed(&bench.wait(100)), 0, "the clock is not known");
        assert_eq!(bench.db.router_count(), loaded);
        if stepped {
            bench.ahead = 0;
            bench.call(|db, _, _| db.handle_clock_step());
        }
        bench.call(|db, cx, _| db.set_clock_known(true, cx.now));
        let gone = if stepped { 0 } else { 100 };
        assert_eq!(removed(&bench.wait(100)), gone, "{ahead} {stepped}");
        assert_eq!(bench.db.router_count(), if stepped { loaded } else { 0 });
    }
}
