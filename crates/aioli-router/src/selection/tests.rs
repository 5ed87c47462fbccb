//! Which routers become hops, and which never do.

use std::net::SocketAddr;

use aioli_core::{Cx, Date, Duration, Instant, Now};
use aioli_netdb::Source;
use aioli_wire::RouterInfo;

use super::*;
use crate::ways::Reach;
use crate::{Config, Identity, Router, create_router_info};

const NOW: Now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_780_000_000) };

/// A router that knows those at these public addresses, in this order.
fn router(addresses: &[&str]) -> (Router, Vec<RouterHash>) {
    let mut rng = Rng::from_seed([1; 32]);
    let mut router = Router::new(Config::default(), Identity::generate(&mut rng), rng.bytes(), NOW);
    let hashes = addresses.iter().map(|address| {
        let published = vec![address.parse::<SocketAddr>().unwrap()];
        let config = Config { published, ..Config::default() };
        let info = create_router_info(&config, &Identity::generate(&mut rng), NOW);
        router.load_router_info(info.bytes(), NOW).unwrap()
    });
    let hashes = hashes.collect();
    (router, hashes)
}

fn request(length: u8) -> HopRequest {
    HopRequest {
        kind: PoolKind::Client,
        inbound: true,
        length,
        exclude: Vec::new(),
        apart: Vec::new(),
        spent: Vec::new(),
        building: Vec::new(),
        builds: 0,
        order_key: KEY,
    }
}

const KEY: [u8; 32] = [5; 32];

fn choose(
    router: &Router,
    profiles: &Profiles,
    in_use: &BTreeMap<RouterHash, u32>,
    request: &HopRequest,
    seed: u8,
) -> Option<Vec<RouterHash>> {
    let mut roster = Roster::new(router.hash, false);
    for info in router.netdb.routers() {
        roster.introduce(info, NOW.mono);
    }
    roster.follow(&router.netdb, profiles, NOW.mono);
    let selector = Selector {
        netdb: &router.netdb,
        profiles,
        roster: &roster,
        guards: &router.guards,
        explicit: &router.config.explicit_peers,
        sessions: None,
        ours: Reach::ours(&router.config),
        in_use,
        tunnels: in_use.values().sum(),
        now: NOW,
    };
    let hops = selector.choose_hops(request, &mut Rng::from_seed([seed; 32]))?;
    Some(hops.into_iter().map(|hop| hop.hash).collect())
}

/// As [`choose`], with what the router itself has learned.
fn choose_of(router: &mut Router, request: &HopRequest, now: Now) -> Option<Vec<RouterHash>> {
    router.roster.follow(&router.netdb, &router.profiles, now.mono);
    let selector = Selector {
        netdb: &router.netdb,
        profiles: &router.profiles,
        roster: &router.roster,
        guards: &router.guards,
        explicit: &router.config.explicit_peers,
        sessions: None,
        ours: Reach::ours(&router.config),
        in_use: &router.in_use,
        tunnels: router.own_tunnels,
        now,
    };
    let hops = selector.choose_hops(request, &mut router.rng)?;
    Some(hops.into_iter().map(|hop| hop.hash).collect())
}

fn prove(profiles: &mut Profiles, peer: &RouterHash) {
    profiles.agreed(peer, Duration::from_millis(80), NOW.mono);
    profiles.proved(peer, NOW.mono);
}

/// `n` public addresses, each in a /16 of its own.
fn far(n: u8) -> Vec<String> {
    (0..n).map(|i| format!("5.{i}.0.1:9")).collect()
}

fn large(n: u8) -> (Router, Vec<RouterHash>) {
    let addresses = far(n);
    router(&addresses.iter().map(String::as_str).collect::<Vec<_>>())
}

const FAR: [&str; 5] = ["5.1.0.1:9", "5.2.0.1:9", "5.3.0.1:9", "5.4.0.1:9", "5.5.0.1:9"];

#[test]
fn the_far_end_speaks_every_transport_where_some_speak_one_alone() {
    let mut rng = Rng::from_seed([1; 32]);
    let mut router = Router::new(Config::default(), Identity::generate(&mut rng), rng.bytes(), NOW);
    let mut narrow = BTreeSet::new();
    for i in 0..16 {
        let published = vec![format!("5.{i}.0.1:9").parse::<SocketAddr>().unwrap()];
        // Half speak both, a quarter each one alone.
        let config = Config { published, ntcp2: i % 4 != 3, ssu2: i % 4 != 2, ..Config::default() };
        let info = create_router_info(&config, &Identity::generate(&mut rng), NOW);
        let hash = router.load_router_info(info.bytes(), NOW).unwrap();
        if i % 4 > 1 {
            narrow.insert(hash);
        }
    }
    let none = BTreeMap::new();
    let mut inside = false;
    for seed in 0..200 {
        for inbound in [true, false] {
            let request = HopRequest { inbound, order_key: [seed; 32], ..request(3) };
            let hops = choose(&router, &Profiles::new(9), &none, &request, seed).unwrap();
            let (far, others) = if inbound { (hops[0], &hops[1..]) } else { (hops[2], &hops[..2]) };
            assert!(!narrow.contains(&far), "{seed}: {hops:?}");
            inside |= others.iter().any(|hop| narrow.contains(hop));
        }
    }
    assert!(inside, "those who speak one transport are hops all the same");
}

#[test]
fn hops_differ_and_keep_their_order_in_a_pool() {
    let (router, all) = router(&FAR);
    let none = BTreeMap::new();
    let mut place = BTreeMap::new();
    for seed in 0..50 {
        let hops = choose(&router, &Profiles::new(9), &none, &request(3), seed).unwrap();
        assert_eq!(hops.iter().collect::<BTreeSet<_>>().len(), 3);
        assert!(hops.iter().all(|hop| all.contains(hop)));
        for pair in hops.windows(2) {
            place.insert((pair[0], pair[1]), ());
            assert!(!place.contains_key(&(pair[1], pair[0])), "two peers have changed places");
        }
    }
    assert_eq!(choose(&router, &Profiles::new(9), &none, &request(6), 0), None);
    let exclude = all[1..].to_vec();
    let request = HopRequest { exclude, ..request(1) };
    assert_eq!(choose(&router, &Profiles::new(9), &none, &request, 0), Some(vec![all[0]]));
}

#[test]
fn tunnels_of_a_pool_share_hops_only_where_there_are_too_few() {
    let (router, all) = router(&FAR);
    let (profiles, none) = (Profiles::new(9), BTreeMap::new());
    let apart = all[..2].to_vec();
    for seed in 0..50 {
        let few = HopRequest { apart: apart.clone(), ..request(3) };
        let hops = choose(&router, &profiles, &none, &few, seed).unwrap();
        assert!(hops.iter().all(|hop| !apart.contains(hop)));
        let more = HopRequest { apart: apart.clone(), ..request(4) };
        assert_eq!(choose(&router, &profiles, &none, &more, seed).unwrap().len(), 4);
    }
}

#[test]
fn no_two_hops_are_neighbours() {
    let (router, all) = router(&["5.1.0.1:9", "5.1.9.9:9", "5.2.0.1:9"]);
    let none = BTreeMap::new();
    for seed in 0..50 {
        let hops = choose(&router, &Profiles::new(9), &none, &request(2), seed).unwrap();
        assert!(hops.contains(&all[2]) && hops.len() == 2);
    }
    assert_eq!(choose(&router, &Profiles::new(9), &none, &request(3), 0), None);
}

#[test]
fn peers_that_refuse_or_are_in_use_a_lot_are_the_last_resort() {
    let (router, all) = router(&FAR);
    let mut profiles = Profiles::new(9);
    profiles.declined(&all[0], NOW.mono);
    let in_use = BTreeMap::from([(all[1], 5), (all[2], 2), (all[3], 1)]);
    for seed in 0..50 {
        let hops = choose(&router, &profiles, &in_use, &request(3), seed).unwrap();
        assert!(!hops.contains(&all[0]) && !hops.contains(&all[1]));
        // Rather a crowded peer than one that refuses, rather that than no tunnel.
        assert!(!choose(&router, &profiles, &in_use, &request(4), seed).unwrap().contains(&all[0]));
        assert_eq!(choose(&router, &profiles, &in_use, &request(5), seed).unwrap().len(), 5);
    }
}

#[test]
fn few_hops_are_tried_once_there_are_proven_peers() {
    let (mut router, all) = large(60);
    let (proven, others) = all.split_at(30);
    for peer in proven {
        prove(&mut router.profiles, peer);
    }
    let mut count = |kind| {
        let request = HopRequest { kind, ..request(3) };
        let tried = (0..300).filter(|_| {
            let hops = choose_of(&mut router, &request, NOW).unwrap();
            let unproven = hops.iter().filter(|hop| others.contains(hop)).count();
            assert!(unproven <= 1, "if it fails, it must be clear who it was");
            unproven == 1
        });
        tried.count()
    };
    // One hop in twenty, and one in four.
    assert!((25..65).contains(&count(PoolKind::Client)), "{}", count(PoolKind::Client));
    assert!((140..210).contains(&count(PoolKind::Exploratory)), "{}", count(PoolKind::Exploratory));
}

#[test]
fn few_proven_peers_are_not_all_that_is_used() {
    let (router, all) = router(&FAR);
    let (mut profiles, none) = (Profiles::new(9), BTreeMap::new());
    prove(&mut profiles, &all[0]);
    let used = (0..200)
        .filter(|seed| choose(&router, &profiles, &none, &request(1), *seed) == Some(vec![all[0]]))
        .count();
    assert!((5..60).contains(&used), "{used}");
}

#[test]
fn builds_under_way_count_for_the_cap() {
    let (router, all) = router(&FAR);
    let (profiles, none) = (Profiles::new(9), BTreeMap::new());
    let building = [vec![all[0]; 3], vec![all[1]; 2], vec![all[2]]].concat();
    let request = HopRequest { building, builds: 6, ..request(3) };
    for seed in 0..50 {
        let hops = choose(&router, &profiles, &none, &request, seed).unwrap();
        assert!(!hops.contains(&all[0]) && !hops.contains(&all[1]), "one more would be over a third");
    }
}

/// A router with 40 proven peers of 60 that it knows, and a flood of `n` others.
fn flooded(n: usize) -> (Router, Vec<RouterHash>, Now) {
    let (mut router, all) = large(60);
    for peer in &all[..40] {
        prove(&mut router.profiles, peer);
    }
    let now = Now { mono: NOW.mono + Duration::from_secs(60), ..NOW };
    let mut rng = Rng::from_seed([8; 32]);
    for i in 0..n {
        let address = SocketAddr::from(([6, (i >> 8) as u8, i as u8, 1], 9));
        let config = Config { published: vec![address], ..Config::default() };
        let info = create_router_info(&config, &Identity::generate(&mut rng), NOW);
        let info = RouterInfo::decode_unverified(info.bytes()).unwrap();
        router.netdb.store(info, Source::Garlic, &mut Cx { now, rng: &mut rng }).unwrap();
    }
    (router, all, now)
}

#[test]
fn a_flood_of_fifteen_to_one_gets_few_hops() {
    let (mut router, honest, now) = flooded(900);
    let mut with_fakes = |kind| {
        let request = HopRequest { kind, ..request(3) };
        let fakes = (0..500).filter(|_| {
            choose_of(&mut router, &request, now).unwrap().iter().any(|hop| !honest.contains(hop))
        });
        fakes.count()
    };
    let (client, exploratory) = (with_fakes(PoolKind::Client), with_fakes(PoolKind::Exploratory));
    assert!(client <= 15 && (1..=45).contains(&exploratory), "{client}, {exploratory} of 500");
    // Even if every proven peer is lost at once.
    router.profiles = Profiles::new(100);
    let request = request(3);
    let fakes = (0..500)
        .filter(|_| choose_of(&mut router, &request, now).unwrap().iter().any(|hop| !honest.contains(hop)));
    let fakes = fakes.count();
    assert!(fakes <= 150, "{fakes} of 500");
}

#[test]
fn a_build_looks_at_few_however_many_are_known() {
    let (mut router, _, now) = flooded(3_000);
    router.roster.follow(&router.netdb, &router.profiles, now.mono);
    assert!(router.netdb.router_count() > 3_000);
    let none = BTreeSet::new();
    let selector = Selector {
        netdb: &router.netdb,
        profiles: &router.profiles,
        roster: &router.roster,
        guards: &router.guards,
        explicit: &none,
        sessions: None,
        ours: Reach::ours(&router.config),
        in_use: &router.in_use,
        tunnels: 0,
        now,
    };
    let looked_at = selector.candidates(&request(3), &mut router.rng).len();
    assert!(looked_at <= 40 + SETTLED_SAMPLE + NEWCOMER_SAMPLE, "{looked_at}");
}

#[test]
fn four_peers_are_next_to_us_for_as_long_as_they_work() {
    let (mut router, all) = large(60);
    for peer in &all[..40] {
        prove(&mut router.profiles, peer);
    }
    let mut next_to_us: BTreeMap<RouterHash, u32> = BTreeMap::new();
    for round in 0..400 {
        let request = HopRequest { inbound: round % 2 == 0, ..request(3) };
        let hops = choose_of(&mut router, &request, NOW).unwrap();
        let (next, others) = if request.inbound { (hops[2], &hops[..2]) } else { (hops[0], &hops[1..]) };
        *next_to_us.entry(next).or_default() += 1;
        router.guards.confirm(&KEY, next, NOW.wall, &mut Rng::from_seed([3; 32]));
        let guards = router.guards.of(&KEY);
        assert!(round < 100 || others.iter().all(|hop| !guards.contains(hop)), "a guard stays in its place");
    }
    assert_eq!(next_to_us.len(), guards::GUARDS, "{next_to_us:?}");
    assert!(next_to_us.values().all(|n| *n > 60), "{next_to_us:?}");

    // One is away: others stand in, and it is taken back.
    let first = router.guards.of(&KEY)[0];
    router.profiles.unreachable(&first, NOW.mono);
    let later = Now { mono: NOW.mono + Duration::from_secs(600), ..NOW };
    let mut guard_of =
        |now| choose_of(&mut router, &HopRequest { inbound: false, ..request(3) }, now).unwrap()[0];
    assert!((0..50).all(|_| guard_of(NOW) != first));
    assert!((0..50).any(|_| guard_of(later) == first));

    // Those that had their fill of builds are spared, unless there is nobody else.
    let spent = router.guards.of(&KEY);
    let request = HopRequest { inbound: false, spent: spent.clone(), ..request(3) };
    for _ in 0..50 {
        assert!(!spent.contains(&choose_of(&mut router, &request, later).unwrap()[0]));
    }
    let request = HopRequest { spent: all, ..request };
    assert!(choose_of(&mut router, &request, later).is_some());
}

#[test]
fn a_stranger_rarely_gets_next_to_us() {
    // Of 60 proven peers a third are one attacker's. Without guards every pool would meet
    // one of them next to it within a few builds.
    let (mut router, all) = large(60);
    for peer in &all {
        prove(&mut router.profiles, peer);
    }
    let hostile = &all[..20];
    let mut met = 0;
    for pool in 0..100 {
        let request = HopRequest { order_key: [pool; 32], inbound: false, ..request(3) };
        let near = (0..40).any(|_| hostile.contains(&choose_of(&mut router, &request, NOW).unwrap()[0]));
        met += u32::from(near);
    }
    // 1 - (2/3)^4 = 0.80; with a new first hop for each of the 40 builds it is all of them.
    assert!((68..=92).contains(&met), "{met} of 100 pools");
}

#[test]
fn who_had_its_fill_of_builds_is_spared_next_to_us_without_guards_too() {
    let (mut router, all) = large(60);
    let kind = PoolKind::Exploratory;
    for inbound in [true, false] {
        let spent = all[..20].to_vec();
        let request = HopRequest { kind, inbound, spent: spent.clone(), ..request(3) };
        let near = (0..200).filter(|_| {
            let hops = choose_of(&mut router, &request, NOW).unwrap();
            spent.contains(&hops[if inbound { 2 } else { 0 }])
        });
        // A third to the fourth power: 1 in 81.
        assert!(near.count() <= 12);
    }
    let request = HopRequest { kind, spent: all, ..request(3) };
    assert!(choose_of(&mut router, &request, NOW).is_some(), "but rather that than no tunnel");
}

/// Those that there is a session with.
#[derive(Debug)]
struct Connected(BTreeSet<RouterHash>);

impl Sessions for Connected {
    fn is_connected(&self, router: &RouterHash) -> bool {
        self.0.contains(router)
    }

    fn connected(&self, n: usize) -> Vec<RouterHash> {
        self.0.iter().take(n).copied().collect()
    }
}

#[test]
fn who_cannot_be_dialled_takes_its_last_hops_from_those_connected() {
    let (mut router, all) = large(60);
    for peer in &all[20..] {
        prove(&mut router.profiles, peer);
    }
    router.roster.follow(&router.netdb, &router.profiles, NOW.mono);
    let connected = Connected(all[7..10].iter().copied().collect());
    let nobody = Connected(BTreeSet::new());
    let choose = |sessions: &Connected, kind, inbound| {
        let selector = Selector {
            netdb: &router.netdb,
            profiles: &router.profiles,
            roster: &router.roster,
            guards: &router.guards,
            explicit: &router.config.explicit_peers,
            sessions: Some(sessions),
            ours: Reach::ours(&router.config),
            in_use: &router.in_use,
            tunnels: 0,
            now: NOW,
        };
        let request = HopRequest { kind, inbound, ..request(3) };
        let mut lasts = BTreeSet::new();
        for seed in 0..60 {
            let hops = selector.choose_hops(&request, &mut Rng::from_seed([seed; 32])).unwrap();
            lasts.insert(hops[2].hash);
        }
        lasts
    };
    let exploratory = PoolKind::Exploratory;
    assert_eq!(choose(&connected, exploratory, true), connected.0);
    assert!(choose(&connected, exploratory, false).len() > 10, "outbound tunnels are not concerned");
    assert!(choose(&nobody, exploratory, true).len() > 3, "nobody: whoever it is is dialled");
    // A guard that is connected, if there is one.
    let guards = choose(&nobody, PoolKind::Client, true);
    assert_eq!(guards.len(), guards::GUARDS);
    let one = Connected(guards.iter().take(1).copied().collect());
    assert_eq!(choose(&one, PoolKind::Client, true), one.0);
}

#[test]
fn explicit_peers_are_the_only_ones_next_to_us() {
    let (mut router, all) = large(40);
    router.config.explicit_peers = all[3..5].iter().copied().collect();
    for kind in [PoolKind::Client, PoolKind::Exploratory] {
        for inbound in [true, false] {
            for _ in 0..30 {
                let hops = choose_of(&mut router, &HopRequest { kind, inbound, ..request(3) }, NOW).unwrap();
                let next = if inbound { hops[2] } else { hops[0] };
                assert!(all[3..5].contains(&next));
            }
        }
    }
    router.config.explicit_peers = [RouterHash::new([9; 32])].into();
    assert_eq!(choose_of(&mut router, &request(3), NOW), None, "rather no tunnel than others");
}

#[test]
fn congested_routers_are_used_less_and_full_ones_never() {
    let (mut router, all) = router(&FAR);
    let used = |router: &mut Router| {
        let hit = |router: &mut Router| {
            choose_of(router, &HopRequest { kind: PoolKind::Exploratory, ..request(1) }, NOW)
        };
        (0..200).filter(|_| hit(router) == Some(vec![all[0]])).count()
    };
    let before = used(&mut router);
    let mut says = |congestion| {
        router.roster.set_congestion(&all[0], congestion);
        used(&mut router)
    };
    let (medium, high) = (says(Congestion::Medium), says(Congestion::High));
    assert!(before > 25 && (8..before).contains(&medium) && high == 0, "{before} {medium} {high}");
}

#[test]
fn the_order_of_hops_is_kept_by_the_key_that_outlives_a_restart() {
    let key = |seed| aioli_core::crypto::ed25519::SigningKey::from_seed([seed; 32].into());
    let of = |seed| crate::router::order_key(&key(seed));
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    assert_ne!(of(1), [1; 32], "it does not show the key");
}
