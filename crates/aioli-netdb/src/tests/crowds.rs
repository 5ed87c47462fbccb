//! Crowds of invented routers, senders of rubbish, hostile floodfills: what is
//! kept, what is looked at, and whether lookups still succeed.

use std::collections::VecDeque;

use super::rules::Bench;
use super::*;
use crate::{Rejected, Stored, config};

const GOOD: [(&str, &str); 3] = [("caps", "XR"), ("netId", "99"), ("router.version", "0.9.67")];

fn peer(n: u16) -> RouterHash {
    let [a, b] = n.to_be_bytes();
    let mut bytes = [0xee; 32];
    (bytes[0], bytes[1]) = (a, b);
    RouterHash::new(bytes)
}

fn store_of(keys: &Keys, caps: &str, at: Date) -> DatabaseStore {
    DatabaseStore::router_info(&keys.info(caps, at), None)
}

/// So many routers, stored as what somebody passed on.
fn fill(bench: &mut Bench, n: usize, rng: &mut Rng) -> Vec<RouterHash> {
    let keys: Vec<Keys> = (0..n).map(|_| Keys::new(rng)).collect();
    for keys in &keys {
        let _ = bench.store(&keys.info("XR", bench.wall()));
    }
    keys.iter().map(Keys::hash).collect()
}

fn kept(bench: &Bench, routers: &[RouterHash]) -> usize {
    routers.iter().filter(|h| bench.db.router(h).is_some()).count()
}

#[test]
fn a_crowd_pushes_out_nobody_of_use_and_cannot_exchange_newcomers_at_will() {
    let mut bench = Bench::new(|config| config.limits.routers = 200);
    let mut rng = rng(70);
    let proven = fill(&mut bench, 60, &mut rng);
    for hash in &proven {
        bench.call(|db, cx, _| db.note_alive(hash, cx));
    }
    let newcomers = fill(&mut bench, 140, &mut rng);
    // Fifteen inventions for each real router, within five minutes.
    for _ in 0..300 {
        bench.at += 1;
        fill(&mut bench, 10, &mut rng);
    }
    assert_eq!(bench.db.router_count(), 200);
    assert_eq!((kept(&bench, &proven), kept(&bench, &newcomers)), (60, 140));
    assert_eq!(bench.db.stats().routers_crowded, 3_000);
    // Those that have had their time give way, the proven do not.
    bench.at += 600;
    fill(&mut bench, 3_000, &mut rng);
    assert_eq!((kept(&bench, &proven), kept(&bench, &newcomers)), (60, 0));
    assert_eq!((bench.db.router_count(), bench.db.stats().routers_proven), (200, 60));
}

#[test]
fn who_still_publishes_after_a_while_goes_after_the_crowd() {
    let mut bench = Bench::new(|config| config.limits.routers = 40);
    let mut rng = rng(87);
    let keys: Vec<Keys> = (0..20).map(|_| Keys::new(&mut rng)).collect();
    for keys in &keys {
        bench.store(&keys.info("XR", bench.wall())).unwrap();
    }
    bench.at += 41 * 60;
    for keys in &keys[..10] {
        assert_eq!(bench.store(&keys.info("XR", bench.wall())), Ok(Stored::Newer));
    }
    for _ in 0..5 {
        bench.at += 601;
        fill(&mut bench, 100, &mut rng);
    }
    let hashes: Vec<RouterHash> = keys.iter().map(Keys::hash).collect();
    assert_eq!((kept(&bench, &hashes[..10]), kept(&bench, &hashes[10..])), (10, 0));
    assert_eq!(bench.db.router_count(), 40);
}

#[test]
fn whom_we_seek_finds_room_in_a_crowd() {
    let mut bench = Bench::new(|config| config.limits.routers = 50);
    let mut rng = rng(71);
    fill(&mut bench, 50, &mut rng);
    let sought = Keys::new(&mut rng);
    let info = sought.info("XR", bench.wall());
    assert_eq!(bench.store(&info), Err(Rejected::Crowded));
    bench.call(|db, cx, _| db.find_router(&sought.hash(), cx));
    bench.outputs();
    let reply = DatabaseStore::router_info(&info, None);
    let outputs = bench.receive(Source::Tunnel(View::Router), MessageType::DatabaseStore, &reply);
    assert!(matches!(&outputs[..], [Output::RouterFound(found)] if found.hash() == sought.hash()));
    // Who presents itself over a session has room as well.
    let other = Keys::new(&mut rng);
    let info = other.info("XR", bench.wall());
    let stored = bench.call(|db, cx, _| db.store(received(&info), Source::Peer(other.hash()), cx));
    assert_eq!(stored, Ok(Stored::New));
    assert_eq!(bench.db.router_count(), 50);
}

#[test]
fn proven_routers_leave_a_part_to_newcomers() {
    let mut bench = Bench::new(|config| config.limits.routers = 40);
    let mut rng = rng(72);
    let mut last = Vec::new();
    for _ in 0..100 {
        bench.at += 1;
        last = fill(&mut bench, 1, &mut rng);
        bench.call(|db, cx, _| db.note_alive(&last[0], cx));
    }
    assert_eq!(bench.db.router_count(), 40);
    assert_eq!(kept(&bench, &last), 1);
    let newcomers = fill(&mut bench, 100, &mut rng);
    assert_eq!(kept(&bench, &newcomers), 40 / config::NEWCOMERS_PART);
    // Among the proven, those that fail and those of little use go first.
    let stats = bench.db.stats();
    assert_eq!(stats.routers_proven as usize, 40 - 40 / config::NEWCOMERS_PART);
}

#[test]
fn those_that_failed_and_those_of_little_use_go_first() {
    let mut bench = Bench::new(|config| config.limits.routers = 4);
    let mut rng = rng(73);
    let routers = fill(&mut bench, 4, &mut rng);
    for (i, hash) in routers.iter().enumerate() {
        for _ in 0..=i * 4 {
            bench.call(|db, cx, _| db.note_alive(hash, cx));
        }
    }
    let next = fill(&mut bench, 1, &mut rng);
    assert_eq!((kept(&bench, &routers[..1]), kept(&bench, &next)), (0, 1), "of the least use");
    for _ in 0..config::MAX_FAILURES_PROVEN {
        bench.call(|db, cx, _| db.note_unreachable(&routers[3], cx));
    }
    let next = fill(&mut bench, 1, &mut rng);
    assert_eq!((kept(&bench, &routers[3..]), kept(&bench, &next)), (0, 1), "failed again and again");
    assert_eq!(kept(&bench, &routers[1..3]), 2);
}

#[test]
fn use_fades_from_day_to_day() {
    let mut bench = Bench::new(|_| {});
    let mut rng = rng(74);
    let routers = fill(&mut bench, 1, &mut rng);
    for _ in 0..3 {
        bench.call(|db, cx, _| db.note_alive(&routers[0], cx));
    }
    for day in 0..3 {
        assert_eq!(bench.db.is_proven(&routers[0]), day < 2, "day {day}");
        bench.at += 86_400;
        bench.wait(31);
    }
}

#[test]
fn one_sender_cannot_keep_us_busy_nor_can_all() {
    let mut bench = Bench::new(|config| {
        config.private_network = false;
        config.limits.checks_per_second = 5;
        config.limits.stores_per_sender = 10;
    });
    let mut rng = rng(75);
    let mut stores = |n: usize, at| -> Vec<DatabaseStore> {
        (0..n).map(|_| store_of(&Keys::new(&mut rng), "XR", at)).collect()
    };
    let wall = bench.wall();
    for store in stores(40, wall) {
        bench.receive(Source::Peer(peer(1)), MessageType::DatabaseStore, &store);
    }
    assert_eq!(bench.db.router_count(), 10);
    assert_eq!(bench.db.stats().stores_throttled, 30);
    // From ever new senders, all at once: what was saved up, and then five a second.
    bench.at += 120;
    let saved = 5 * config::CHECKS_SAVED as usize;
    for (n, store) in stores(200, bench.wall()).iter().enumerate() {
        bench.receive(Source::Peer(peer(100 + n as u16)), MessageType::DatabaseStore, store);
    }
    assert_eq!(bench.db.router_count(), 10 + saved);
    bench.at += 1;
    for (n, store) in stores(200, bench.wall()).iter().enumerate() {
        bench.receive(Source::Peer(peer(400 + n as u16)), MessageType::DatabaseStore, store);
    }
    assert_eq!(bench.db.router_count(), 10 + saved + 5);
}

#[test]
fn who_brings_wrong_stores_is_not_listened_to_for_a_while() {
    let mut bench = Bench::new(|_| {});
    let mut rng = rng(76);
    let keys = Keys::new(&mut rng);
    let wall = bench.wall();
    let mut forged = store_of(&keys, "XR", wall);
    forged.key = [5; 32].into();
    let foreign =
        DatabaseStore::router_info(&keys.info_with(&[GOOD[0], ("netId", "2"), GOOD[2]], wall), None);
    let old = store_of(&keys, "XR", wall - secs(80 * 3_600));
    let bring = |bench: &mut Bench, from: u16, store: &DatabaseStore| {
        bench.receive(Source::Peer(peer(from)), MessageType::DatabaseStore, store);
    };
    for _ in 0..40 {
        bring(&mut bench, 1, &old); // no offence: it may have been young when it was sent
    }
    assert_eq!(bench.db.stats().senders_muted, 0);
    for n in 0..config::MAX_OFFENCES {
        bring(&mut bench, 1, if n % 2 == 0 { &forged } else { &foreign });
    }
    assert_eq!(bench.db.stats().senders_muted, 0, "all may err");
    bring(&mut bench, 1, &forged);
    assert_eq!(bench.db.stats().senders_muted, 1);
    let good = store_of(&Keys::new(&mut rng), "XR", wall);
    bring(&mut bench, 1, &good);
    assert_eq!(bench.db.router_count(), 0);
    bring(&mut bench, 2, &good);
    assert_eq!(bench.db.router_count(), 1, "others are listened to");
    // What we ask for counts from anybody.
    let sought = Keys::new(&mut rng);
    bench.call(|db, cx, _| db.find_router(&sought.hash(), cx));
    bring(&mut bench, 1, &store_of(&sought, "XR", wall));
    assert_eq!(bench.db.router_count(), 2);
    bench.at += 15 * 60 + 1;
    bring(&mut bench, 1, &store_of(&Keys::new(&mut rng), "XR", wall));
    assert_eq!(bench.db.router_count(), 3, "it is over");
}

#[test]
fn the_barred_stay_out() {
    struct Barred(Paths);
    impl ReplyPaths for Barred {
        fn inbound(&self, view: View) -> Option<Lease> {
            self.0.inbound(view)
        }
        fn is_connected(&self, router: &RouterHash) -> bool {
            self.0.is_connected(router)
        }
        fn is_barred(&self, router: &RouterInfo) -> bool {
            router.caps().unreachable
        }
    }
    let mut bench = Bench::floodfill();
    let mut rng = rng(77);
    let paths = Barred(Paths { hash: bench.paths.hash, connected: true, tunnels: true });
    for (caps, known) in [("LU", 0), ("XR", 1)] {
        let keys = Keys::new(&mut rng);
        let message = message(MessageType::DatabaseStore, &store_of(&keys, caps, bench.wall()));
        bench.call(|db, cx, _| db.handle_message(Source::Garlic, &message, cx, &paths));
        assert_eq!(bench.db.router_count(), known);
        bench.call(|db, _, _| db.forget_router(&keys.hash()));
        assert_eq!(bench.db.router_count(), 0);
    }
}

#[test]
fn the_disk_holds_what_the_memory_holds() {
    let mut bench = Bench::new(|config| {
        config.limits.routers = 120;
        config.limits.records_at_once = 25;
    });
    let mut rng = rng(78);
    let mut disk = BTreeSet::new();
    for _ in 0..30 {
        let keys = Keys::new(&mut rng);
        disk.insert(keys.hash());
        let info = keys.info("XR", bench.wall() - secs(rng.up_to(20 * 3_600)));
        bench.call(|db, cx, _| db.load(info.bytes(), cx)).unwrap();
    }
    let (mut written, mut most) = (0, 0);
    for round in 0..200 {
        let new = fill(&mut bench, 3, &mut rng);
        match round % 4 {
            0 => bench.call(|db, cx, _| db.note_alive(&new[0], cx)),
            1 => bench.call(|db, cx, _| db.note_unreachable(&new[1], cx)),
            2 => bench.call(|db, _, _| db.forget_router(&new[2])),
            _ => bench.at += 400,
        }
        let mut at_once = 0;
        if round == 199 {
            bench.call(|db, cx, _| db.flush_records(cx.now));
        }
        for output in bench.wait(if round == 199 { 0 } else { 10 }) {
            let Output::Record(record) = output else { continue };
            match record {
                Record::StoreRouter(hash, _) => {
                    (written, at_once) = (written + 1, at_once + 1);
                    disk.insert(hash);
                }
                Record::RemoveRouter(hash) => {
                    assert!(disk.remove(&hash), "nothing is removed that was not written");
                }
            }
        }
        most = most.max(if round == 199 { 0 } else { at_once });
    }
    let known: BTreeSet<RouterHash> = bench.db.routers().map(|info| info.hash()).collect();
    assert_eq!(disk, known);
    assert!(most <= 25 && written > 100, "{written} written, {most} at once");
}

/// How the router of this number behaves for the worse.
fn is_hostile(world: &World, i: usize) -> bool {
    world.nodes[i].manner != Manner::Honest
}

#[test]
fn a_tenth_of_hostile_floodfills_costs_no_lookup_in_a_hundred() {
    let mut world = World::new(60, 40, 40, NOON, 80);
    for i in [3, 9, 15, 21] {
        world.nodes[i].manner = if i % 2 == 0 { Manner::Dead } else { Manner::Liar };
    }
    world.nodes[15].manner = Manner::Dead;
    world.run(secs(60));
    let mut rng = rng(81);
    let dests: Vec<Dest> = (0..20).map(|_| Dest::new(&mut rng)).collect();
    let (mut missed, mut slow) = (0, 0);
    for round in 0..10 {
        for (i, dest) in dests.iter().enumerate() {
            world.publish(40 + i, 0, dest);
        }
        // The hostile flood as well.
        for i in (0..40).filter(|i| is_hostile(&world, *i)).collect::<Vec<_>>() {
            for to in 40..60 {
                let invented = Keys::new(&mut rng);
                let store = store_of(&invented, "XfR", world.clocks().wall);
                let (to, from) = (world.nodes[to].keys.hash(), world.nodes[i].keys.hash());
                let manner = std::mem::replace(&mut world.nodes[i].manner, Manner::Honest);
                world.post(i, to, Source::Peer(from), message(MessageType::DatabaseStore, &store));
                world.nodes[i].manner = manner;
            }
        }
        world.run(secs(30));
        for (i, dest) in dests.iter().enumerate() {
            let asker = 40 + (i + 1 + round) % 20;
            match world.find(asker, 1 + round as u32, dest.hash()) {
                Some(took) => slow += usize::from(took > secs(5)),
                None => missed += 1,
            }
        }
    }
    assert!(missed <= 2 && slow <= 10, "of 200 lookups {missed} failed, {slow} took longer than 5 s");
}

#[test]
fn fifteen_invented_floodfills_for_each_real_one_hide_little() {
    let mut world = World::new(40, 20, 20, NOON, 82);
    world.run(secs(1_200));
    let mut rng = rng(83);
    for _ in 0..300 {
        let info = Keys::new(&mut rng).info("XfR", world.clocks().wall);
        for i in 0..40 {
            let _ = world.call(i, |db, cx, _| db.store(received(&info), Source::Garlic, cx));
        }
    }
    assert!(world.nodes[30].db.floodfill_count() > 300);
    let dests: Vec<Dest> = (0..20).map(|_| Dest::new(&mut rng)).collect();
    for (i, dest) in dests.iter().enumerate() {
        world.publish(20 + i, 0, dest);
    }
    world.run(secs(60));
    let found =
        |world: &mut World, dest: &Dest, i: usize| world.find(20 + (i + 7) % 20, 1, dest.hash()).is_some();
    let found = dests.iter().enumerate().filter(|(i, dest)| found(&mut world, dest, *i)).count();
    assert!(found >= 18, "{found} of 20 found");
}

#[test]
fn who_names_phantoms_is_asked_last() {
    let mut bench = Bench::new(|_| {});
    let mut rng = rng(84);
    let floodfills: Vec<Keys> = (0..2).map(|_| Keys::new(&mut rng)).collect();
    for keys in &floodfills {
        bench.store(&keys.info("XfR", bench.wall())).unwrap();
    }
    let mut first = BTreeMap::new();
    for round in 0..40_u8 {
        let key = RouterHash::new([round; 32]);
        bench.call(|db, cx, _| db.find_router(&key, cx));
        let mut asked = Vec::new();
        for _ in 0..12 {
            let mut outputs = VecDeque::from(bench.wait(1));
            while let Some(output) = outputs.pop_front() {
                let Output::Send { to, message, .. } = output else { continue };
                if message.kind != MessageType::DatabaseLookup {
                    continue;
                }
                let lookup = aioli_wire::i2np::DatabaseLookup::from_bytes(&message.body).unwrap();
                if lookup.key == key.into() {
                    asked.push(to);
                }
                // The first floodfill always knows somebody who knows.
                let peers =
                    if to == floodfills[0].hash() { vec![RouterHash::new(rng.bytes())] } else { vec![] };
                let reply = DatabaseSearchReply { key: lookup.key, peers, from: to };
                outputs.extend(bench.receive(Source::Peer(to), MessageType::DatabaseSearchReply, &reply));
            }
        }
        *first.entry(asked[0]).or_insert(0) += 1;
    }
    let (liar, honest) = (floodfills[0].hash(), floodfills[1].hash());
    assert!(first[&honest] > 30, "{:?}", (first.get(&liar), first.get(&honest)));
}

#[test]
fn publication_times_do_not_depend_on_what_clients_do() {
    let mut world = World::new(8, 3, 3, NOON, 85);
    let mut rng = rng(86);
    for _ in 0..120 {
        let dest = Dest::new(&mut rng);
        world.publish(5, 0, &dest);
        world.run(secs(30));
        world.find(5, 0, dest.hash());
        world.call(5, |db, _, _| db.remove_view(View::Client(0)));
        world.run(secs(40));
    }
    let own = |(at, i, seen): &(Instant, usize, Seen)| {
        (*i == 5 && matches!(seen, Seen::Published(Published::Router, ..))).then_some(*at)
    };
    let times: Vec<Instant> = world.seen.iter().filter_map(own).collect();
    // Each version goes to two floodfills, the second a little later.
    let pairs = times.chunks_exact(2).map(|pair| pair[1].since(pair[0]));
    assert!(pairs.into_iter().all(|gap| (config::COPY_MIN..config::COPY_MAX + secs(10)).contains(&gap)));
    let times: Vec<Instant> = times.into_iter().step_by(2).collect();
    let gaps: Vec<u64> = times.windows(2).map(|pair| pair[1].since(pair[0]).as_secs()).collect();
    assert!(
        gaps.len() >= 3 && gaps.iter().all(|gap| (39 * 60 - 10..=43 * 60 + 10).contains(gap)),
        "{gaps:?}"
    );
}
