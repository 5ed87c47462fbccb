//! Which routers become hops, and which never do.

use std::net::SocketAddr;

use aioli_core::{Date, Duration, Now};

use super::*;
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
        order_key: [5; 32],
    }
}

fn choose(
    router: &Router,
    profiles: &Profiles,
    in_use: &BTreeMap<RouterHash, u32>,
    request: &HopRequest,
    seed: u8,
) -> Option<Vec<RouterHash>> {
    let selector = Selector {
        netdb: &router.netdb,
        profiles,
        our_hash: router.hash,
        private_network: false,
        in_use,
        tunnels: in_use.values().sum(),
        now: NOW.mono,
    };
    let hops = selector.choose_hops(request, &mut Rng::from_seed([seed; 32]))?;
    Some(hops.into_iter().map(|hop| hop.hash).collect())
}

const FAR: [&str; 5] = ["5.1.0.1:9", "5.2.0.1:9", "5.3.0.1:9", "5.4.0.1:9", "5.5.0.1:9"];

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
fn proven_peers_carry_most_of_the_clients_tunnels() {
    let (router, all) = router(&FAR);
    let (mut profiles, none) = (Profiles::new(9), BTreeMap::new());
    profiles.agreed(&all[0], Duration::from_millis(80), NOW.mono);
    let count = |kind| {
        let request = HopRequest { kind, ..request(1) };
        (0..200)
            .filter(|seed| choose(&router, &profiles, &none, &request, *seed) == Some(vec![all[0]]))
            .count()
    };
    // Weights of 12 against four times 2; no difference where peers are got to know.
    assert!((90..150).contains(&count(PoolKind::Client)), "{}", count(PoolKind::Client));
    assert!((20..65).contains(&count(PoolKind::Exploratory)), "{}", count(PoolKind::Exploratory));
}

#[test]
fn the_order_of_hops_is_kept_by_the_key_that_outlives_a_restart() {
    let key = |seed| aioli_core::crypto::ed25519::SigningKey::from_seed([seed; 32].into());
    let of = |seed| crate::router::order_key(&key(seed));
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    assert_ne!(of(1), [1; 32], "it does not show the key");
}
