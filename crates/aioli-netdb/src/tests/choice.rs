//! Which floodfills are asked, stored at and named when many are inventions, and what that costs others.

use aioli_wire::Hash;
use aioli_wire::i2np::{DatabaseLookup, StoreReply};

use super::rules::Bench;
use super::*;
use crate::{RoutingKey, config};

/// So many floodfills that we were told of.
fn told(bench: &mut Bench, n: usize, rng: &mut Rng) -> Vec<RouterHash> {
    let keys: Vec<Keys> = (0..n).map(|_| Keys::new(rng)).collect();
    for keys in &keys {
        bench.store(&keys.info("XfR", bench.wall())).unwrap();
    }
    keys.iter().map(Keys::hash).collect()
}

/// The same, and we had to do with them.
fn met(bench: &mut Bench, n: usize, rng: &mut Rng) -> Vec<RouterHash> {
    let hashes = told(bench, n, rng);
    for hash in &hashes {
        bench.call(|db, cx, _| db.note_alive(hash, cx));
    }
    hashes
}

fn by_distance(bench: &Bench, key: Hash, mut routers: Vec<RouterHash>) -> Vec<RouterHash> {
    let near = RoutingKey::of(&key, bench.wall());
    routers.sort_by_key(|router| near.distance(router));
    routers
}

/// Who is asked for `key` in these seconds, in order; each answers that it knows nobody but `names`.
fn asked(bench: &mut Bench, key: Hash, seconds: u64, deny: bool, names: &[RouterHash]) -> Vec<RouterHash> {
    let mut asked = Vec::new();
    for _ in 0..seconds {
        let mut outputs = bench.wait(1);
        while !outputs.is_empty() {
            let mut next = Vec::new();
            for output in outputs {
                let Output::Send { to, message, via, .. } = output else { continue };
                if !DatabaseLookup::from_bytes(&message.body).is_ok_and(|lookup| lookup.key == key) {
                    continue;
                }
                asked.push(to);
                if deny {
                    let source = match via {
                        Via::Direct => Source::Peer(to),
                        Via::Tunnel(view) => Source::Tunnel(view),
                    };
                    let reply = DatabaseSearchReply { key, peers: names.to_vec(), from: to };
                    next.extend(bench.receive(source, MessageType::DatabaseSearchReply, &reply));
                }
            }
            outputs = next;
        }
    }
    asked
}

#[test]
fn a_lease_set_is_sought_at_the_closest_that_we_have_met() {
    let mut rng = rng(90);
    let mut bench = Bench::new(|_| {});
    let met = met(&mut bench, 12, &mut rng);
    told(&mut bench, 200, &mut rng);
    let key = DestinationHash::new([3; 32]);
    bench.call(|db, cx, _| db.find_lease_set(View::Client(1), key, cx));
    let asked = asked(&mut bench, key.into(), 20, true, &[]);
    assert_eq!(asked.len(), usize::from(config::MAX_QUERIES));
    let strangers: Vec<usize> = (0..asked.len()).filter(|i| !met.contains(&asked[*i])).collect();
    assert_eq!(strangers, [3, 7], "one in four is a closer one that nobody has tried");
    let sought: Vec<_> = asked.into_iter().filter(|h| met.contains(h)).collect();
    assert_eq!(sought, by_distance(&bench, key.into(), met)[..6]);
}

#[test]
fn a_router_that_several_deny_is_sought_at_no_stranger() {
    let mut rng = rng(91);
    let mut bench = Bench::new(|_| {});
    let met = met(&mut bench, 6, &mut rng);
    told(&mut bench, 200, &mut rng);
    let wanted = RouterHash::new([4; 32]);
    bench.call(|db, cx, _| db.find_router(&wanted, cx));
    let asked = asked(&mut bench, wanted.into(), 20, true, &[]);
    assert_eq!(asked, by_distance(&bench, wanted.into(), met));
    assert_eq!(bench.db.stats().searches, 0, "it has ended");
}

#[test]
fn while_nobody_is_met_strangers_are_asked() {
    let mut rng = rng(92);
    let mut bench = Bench::new(|_| {});
    let told = told(&mut bench, 3, &mut rng);
    let key = DestinationHash::new([5; 32]);
    bench.call(|db, cx, _| db.find_lease_set(View::Client(1), key, cx));
    let asked = asked(&mut bench, key.into(), 20, true, &[]);
    assert_eq!(asked, by_distance(&bench, key.into(), told));
}

#[test]
fn whom_a_reply_names_is_asked_next() {
    let mut rng = rng(93);
    let mut bench = Bench::new(|_| {});
    met(&mut bench, 12, &mut rng);
    let told = told(&mut bench, 200, &mut rng);
    let key = DestinationHash::new([6; 32]);
    let closest = by_distance(&bench, key.into(), told)[0];
    bench.call(|db, cx, _| db.find_lease_set(View::Client(1), key, cx));
    let asked = asked(&mut bench, key.into(), 20, true, &[closest]);
    assert_eq!(asked[1], closest);
}

#[test]
fn explorations_dial_strangers_and_leave_tunnels_alone() {
    let mut rng = rng(94);
    let mut bench = Bench::new(|_| {});
    bench.paths.connected = false;
    let met = met(&mut bench, 4, &mut rng);
    told(&mut bench, 20, &mut rng);
    let mut ways = BTreeSet::new();
    for output in bench.wait(300) {
        let Output::Send { to, via, message, .. } = output else { continue };
        if message.kind == MessageType::DatabaseLookup {
            ways.insert((met.contains(&to), via));
        }
    }
    assert_eq!(ways, BTreeSet::from([(false, Via::Direct), (true, Via::Tunnel(View::Router))]));
}

#[test]
fn dead_tunnels_are_not_blamed_on_floodfills_that_answered_before() {
    let mut rng = rng(95);
    let mut bench = Bench::new(|_| {});
    bench.paths.connected = false;
    let met = met(&mut bench, 6, &mut rng);
    let told = told(&mut bench, 6, &mut rng);
    for n in 0..6 {
        let key = DestinationHash::new([n; 32]);
        bench.call(|db, cx, _| db.find_lease_set(View::Client(1), key, cx));
        asked(&mut bench, key.into(), 20, false, &[]);
    }
    let now = Instant::ZERO + secs(bench.at);
    let healthy = |of: &[RouterHash]| of.iter().filter(|h| bench.db.routers.healthy(h, now)).count();
    assert!(bench.db.stats().query_timeouts >= 30);
    assert!(healthy(&met) >= 4, "only the first silences can have been theirs");
    assert!(healthy(&told) < 6, "who has shown nothing is not asked twice");
}

#[test]
fn a_store_is_flooded_to_three_that_we_have_met_and_one_to_be_tried() {
    let mut rng = rng(96);
    let mut bench = Bench::floodfill();
    let met = met(&mut bench, 12, &mut rng);
    let told = told(&mut bench, 200, &mut rng);
    let dest = Dest::new(&mut rng);
    let gateway = RouterHash::new([7; 32]);
    let reply = StoreReply { token: rng.nonzero_u32(), tunnel: TunnelId::new(5), gateway };
    let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), Some(reply));
    let outputs = bench.receive(Source::Garlic, MessageType::DatabaseStore, &store);
    let floods: Vec<_> = outputs
        .iter()
        .filter_map(|o| if let Output::Send { to, .. } = o { Some(*to) } else { None })
        .collect();
    let key = dest.hash().into();
    let mut expected = by_distance(&bench, key, met)[..3].to_vec();
    expected.push(by_distance(&bench, key, told)[0]);
    assert_eq!(floods, expected);
}

#[test]
fn our_router_info_is_stored_at_two_one_after_the_other() {
    let mut rng = rng(97);
    let keys = Keys::new(&mut rng);
    let mut bench = Bench::new(|config| config.our_hash = keys.hash());
    let met = met(&mut bench, 5, &mut rng);
    let info = keys.info("XR", bench.wall());
    bench.call(|db, cx, _| db.set_local(info, cx));
    let mut stored: Vec<(RouterHash, u64)> = Vec::new();
    for _ in 0..300 {
        for output in bench.wait(1) {
            let Output::Send { to, message, .. } = output else { continue };
            let Ok(store) = DatabaseStore::from_bytes(&message.body) else { continue };
            let Some(reply) = store.reply.filter(|_| message.kind == MessageType::DatabaseStore) else {
                continue;
            };
            stored.push((to, bench.at));
            let status =
                aioli_wire::i2np::DeliveryStatus { id: reply.token.get().into(), time: bench.wall() };
            bench.receive(Source::Peer(to), MessageType::DeliveryStatus, &status);
        }
    }
    let to: Vec<_> = stored.iter().map(|(to, _)| *to).collect();
    assert_eq!(to, by_distance(&bench, keys.hash().into(), met)[..2]);
    assert!(stored[1].1 - stored[0].1 >= config::COPY_MIN.as_secs());
}

#[test]
fn a_floodfill_keeps_the_proven_longer_but_serves_no_old_one() {
    let mut rng = rng(98);
    let mut bench = Bench::floodfill();
    let met = met(&mut bench, 2, &mut rng);
    let told = told(&mut bench, 100, &mut rng);
    bench.wait(60);
    let answers = |bench: &mut Bench, hash: RouterHash| {
        let lookup = DatabaseLookup {
            key: hash.into(),
            from: met[1],
            reply_tunnel: None,
            kind: aioli_wire::i2np::LookupType::RouterInfo,
            excluded: Vec::new(),
            reply: aioli_wire::i2np::ReplyEncryption::None,
        };
        let outputs = bench.receive(Source::Peer(met[1]), MessageType::DatabaseLookup, &lookup);
        outputs
            .iter()
            .any(|o| matches!(o, Output::Send { message, .. } if message.kind == MessageType::DatabaseStore))
    };
    assert!(answers(&mut bench, met[0]));
    bench.at += 2 * 3600;
    // Others have come since, so that age limits still hold.
    self::told(&mut bench, 100, &mut rng);
    bench.wait(60);
    assert!(bench.db.is_proven(&met[0]) && bench.db.router(&told[0]).is_none());
    assert!(!answers(&mut bench, met[0]));
    bench.at += 3600;
    self::told(&mut bench, 100, &mut rng);
    bench.wait(60);
    assert!(bench.db.router(&met[0]).is_none());
}

#[test]
fn among_many_newcomers_nobody_named_is_fetched() {
    let fetched = |newcomers: usize| {
        let mut rng = rng(99);
        let mut bench = Bench::new(|config| config.limits.routers = 400);
        let met = met(&mut bench, 10, &mut rng);
        told(&mut bench, newcomers, &mut rng);
        for _ in 0..3_600 {
            for output in bench.wait(1) {
                let Output::Send { to, message, via: Via::Direct, .. } = output else { continue };
                let Ok(lookup) = DatabaseLookup::from_bytes(&message.body) else { continue };
                if !met.contains(&to) {
                    continue;
                }
                // There is always news.
                let peers = vec![RouterHash::new(rng.bytes())];
                let reply = DatabaseSearchReply { key: lookup.key, peers, from: to };
                bench.receive(Source::Peer(to), MessageType::DatabaseSearchReply, &reply);
            }
        }
        let stats = bench.db.stats();
        assert!(stats.explorations >= 40, "{}: strangers are met all the same", stats.explorations);
        stats.searches_started - stats.explorations
    };
    assert_eq!((fetched(20) >= 10, fetched(200)), (true, 0));
}
