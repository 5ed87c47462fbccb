//! Handshakes over good, bad and narrow links, and why they fail.

use std::net::SocketAddr;

use aioli_core::{Date, Duration, Rng};
use aioli_wire::Mapping;
use aioli_wire::ssu2::TerminationReason;

use super::super::{ConnectError, DisconnectReason, Output};
use super::link::{Flow, Link, World};
use super::message;
use crate::Lane;

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

#[test]
fn a_token_then_a_session_then_messages_both_ways() {
    let mut world = World::new(1, 2, Link::default());
    world.connect(0, 1);
    let (a, b) = (world.nodes[0].hash, world.nodes[1].hash);
    let now = world.clock(0).wall;
    world.on(0, |e, _| e.send(&b, Lane::Own, message(0, 500, now))).unwrap();
    world.run(Duration::from_millis(150));
    assert_eq!(world.nodes[1].messages.len(), 1, "with the fifth packet, not later");
    world.on(1, |e, _| e.send(&a, Lane::Own, message(7, 20_000, now))).unwrap();
    world.run(seconds(2));
    assert_eq!(world.nodes[0].messages[0].1.body, message(7, 20_000, now).body);

    let observed = |n: usize| {
        let address = |o: &Output| {
            if let Output::ObservedAddress { address, .. } = o { Some(*address) } else { None }
        };
        world.nodes[n].told.iter().find_map(address)
    };
    assert_eq!(observed(0), Some(world.nodes[0].addr));
    let Some(Output::Established { peer, inbound: true, router_info: Some(ri), .. }) =
        world.nodes[1].told.iter().find(|o| matches!(o, Output::Established { .. }))
    else {
        panic!("not established")
    };
    assert_eq!((*peer, ri.claims().hash()), (a, a));
    let stats = world.nodes[1].endpoint.stats();
    assert_eq!((stats.retries_sent, stats.established_inbound, stats.pending), (1, 1, 0));
    assert_eq!(stats.handshake_resends + world.nodes[0].endpoint.stats().handshake_resends, 0);
}

#[test]
fn a_token_from_the_last_session_saves_a_round_trip() {
    let mut world = World::connected(2, 2, Link::default());
    let b = world.nodes[1].hash;
    world.on(0, |e, cx| e.disconnect(&b, TerminationReason::Normal, cx));
    world.run(seconds(1));
    let told = world.nodes[1].told.last();
    let expected = DisconnectReason::Theirs(TerminationReason::Normal);
    assert!(matches!(told, Some(Output::Disconnected { reason, .. }) if *reason == expected), "{told:?}");
    let retries = world.nodes[1].endpoint.stats().retries_sent;
    world.connect(0, 1);
    world.run(Duration::from_millis(70));
    assert!(world.nodes[1].endpoint.is_connected(&world.nodes[0].hash));
    assert_eq!(world.nodes[1].endpoint.stats().retries_sent, retries);
}

#[test]
fn any_one_handshake_packet_may_be_lost() {
    for lost in 0..6 {
        let mut world = World::new(3, 2, Link::default());
        world.filter = Box::new(move |n, _, _| n == lost);
        world.connect(0, 1);
        let (a, b) = (world.nodes[0].hash, world.nodes[1].hash);
        let now = world.clock(0).wall;
        world.on(0, |e, _| e.send(&b, Lane::Own, message(0, 3_000, now))).unwrap();
        world.run(seconds(8));
        assert!(world.nodes[0].endpoint.is_connected(&b), "packet {lost}");
        assert!(world.nodes[1].endpoint.is_connected(&a), "packet {lost}");
        world.assert_exactly_once(1, 1, 3_000);
    }
}

#[test]
fn half_of_all_packets_may_be_lost() {
    let mut up = 0;
    for seed in 0..20 {
        let link = Link { loss: 3_000, repeat: 2_000, late: 3_000, ..Link::default() };
        let mut world = World::new(seed, 2, link);
        world.connect(0, 1);
        world.run(seconds(25));
        let (a, b) = (world.nodes[0].hash, world.nodes[1].hash);
        let (ab, ba) = (world.nodes[0].endpoint.is_connected(&b), world.nodes[1].endpoint.is_connected(&a));
        assert_eq!(ab, ba, "seed {seed}");
        up += u32::from(ab);
    }
    assert!(up >= 17, "{up} of 20");
}

/// Alice's RouterInfo with options that do not compress.
fn make_large(world: &mut World, bytes: usize) {
    let ri = world.nodes[0].keys.router_info(|parts| {
        let mut options = Mapping::from_pairs([("netId", "99"), ("router.version", "0.9.67")]).unwrap();
        let mut rng = Rng::from_seed([7; 32]);
        for i in 0..bytes / 200 {
            let value = aioli_wire::base64::encode(&rng.bytes::<150>());
            options.set(&format!("x{i}"), value.trim_end_matches('=')).unwrap();
        }
        parts.options = options;
    });
    world.nodes[0].endpoint.set_router_info(ri);
}

#[test]
fn a_large_router_info_is_cut_into_pieces() {
    for (bytes, mtu) in [(1_200, 1_280), (2_600, 1_500)] {
        for lost in [None, Some(4), Some(5)] {
            let mut world = World::new(4, 2, Link { mtu, ..Link::default() });
            make_large(&mut world, bytes);
            world.filter = Box::new(move |n, _, _| Some(n) == lost);
            world.connect(0, 1);
            world.run(seconds(6));
            let a = world.nodes[0].hash;
            assert!(world.nodes[1].endpoint.is_connected(&a), "{bytes} {lost:?}");
            let ri = world.nodes[1].told.iter().find_map(|o| {
                if let Output::Established { router_info, .. } = o { router_info.as_ref() } else { None }
            });
            assert!(ri.unwrap().claims().bytes().len() > bytes);
        }
    }
}

#[test]
fn impossible_sizes_in_addresses_are_not_believed() {
    for (theirs, ours) in [(0, 1_500), (9_000, 1_500), (1_500, 100), (1_500, 60_000)] {
        let mut world = World::with(15, 2, Link::default(), |c| c.mtu = ours);
        make_large(&mut world, 2_600);
        let mut remote = world.nodes[1].keys.remote(world.nodes[1].hash);
        remote.mtu = theirs;
        world.on(0, |e, cx| e.connect(remote, cx)).unwrap();
        world.run(seconds(2));
        assert!(world.nodes[1].endpoint.is_connected(&world.nodes[0].hash), "{theirs} {ours}");
    }
}

#[test]
fn nobody_there_is_noticed_in_time_with_what_was_queued() {
    let mut world = World::new(5, 2, Link { loss: 10_000, ..Link::default() });
    world.connect(0, 1);
    let b = world.nodes[1].hash;
    world.on(0, |e, _| e.send(&b, Lane::Own, message(0, 10, Date::NULL))).unwrap();
    world.run(seconds(16));
    let Some(Output::ConnectFailed { reason: ConnectError::Timeout, dropped, .. }) =
        world.nodes[0].told.last()
    else {
        panic!("{:?}", world.nodes[0].told)
    };
    assert_eq!(dropped.len(), 1);
    let stats = world.nodes[0].endpoint.stats();
    assert_eq!((stats.pending, stats.packets_sent), (0, 3));
}

#[test]
fn clocks_too_far_apart_are_told_to_both() {
    for skew in [-100, 100] {
        let mut world = World::new(6, 2, Link::default());
        world.nodes[0].skew = skew;
        world.connect(0, 1);
        world.run(seconds(3));
        let told = world.nodes[0].told.last();
        assert!(
            matches!(told, Some(Output::ConnectFailed { reason: ConnectError::Handshake(_), .. })),
            "{told:?}"
        );
        let theirs = world.nodes[1]
            .told
            .iter()
            .find_map(|o| if let Output::ClockSkew { seconds } = o { Some(*seconds) } else { None });
        assert!((theirs.unwrap() - skew).abs() <= 1);
        assert_eq!(world.nodes[1].endpoint.stats().refusals_sent, 1);
    }
}

#[test]
fn who_is_not_acceptable_gets_no_session() {
    type Change = fn(&mut aioli_wire::RouterInfoParts);
    let cases: [Change; 5] = [
        |p| p.options.set("netId", "3").unwrap(),
        |p| p.options.set("router.version", "0.9.40").unwrap(),
        |p| p.published = p.published - Duration::from_secs(40 * 3_600),
        |p| p.published = p.published + Duration::from_secs(3_600),
        |p| p.addresses.clear(),
    ];
    for (i, change) in cases.into_iter().enumerate() {
        let mut world = World::with(7, 2, Link::default(), |c| c.private_network = false);
        world.readdress(|n| SocketAddr::from(([9, 9, 9, n as u8], 9_000)));
        let ri = world.nodes[0].keys.router_info(change);
        world.nodes[0].endpoint.set_router_info(ri);
        world.connect(0, 1);
        world.run(seconds(30));
        let (a, b) = (world.nodes[0].hash, world.nodes[1].hash);
        assert!(!world.nodes[1].endpoint.is_connected(&a), "case {i}");
        assert!(!world.nodes[0].endpoint.is_connected(&b), "case {i}");
        let stats = world.nodes[1].endpoint.stats();
        assert_eq!((stats.handshakes_failed, stats.pending, stats.sessions), (1, 0, 0), "case {i}");
    }
}

#[test]
fn the_internet_has_no_private_addresses() {
    let mut world = World::with(14, 2, Link::default(), |c| c.private_network = false);
    let remote = world.nodes[1].keys.remote(world.nodes[1].hash);
    assert_eq!(world.on(0, |e, cx| e.connect(remote, cx)), Err(ConnectError::Refused));
    let from = world.nodes[0].addr;
    world.on(1, |e, cx| e.handle_datagram(from, &mut [7; 100], cx));
    let stats = world.nodes[1].endpoint.stats();
    assert_eq!((stats.refused_not_public, stats.packets_sent), (1, 0));
}

#[test]
fn two_that_dial_each_other_end_with_one_session() {
    for (seed, later) in [(8, 0), (9, 0), (10, 15), (11, 30), (12, 45)] {
        let mut world = World::new(seed, 2, Link::default());
        world.connect(0, 1);
        world.run(Duration::from_millis(later));
        world.connect(1, 0);
        let b = world.nodes[1].hash;
        let now = world.clock(0).wall;
        world.on(0, |e, _| e.send(&b, Lane::Own, message(0, 4_000, now))).unwrap();
        world.run(seconds(40));
        let (a, b) = (world.nodes[0].hash, world.nodes[1].hash);
        for (n, peer) in [(0, b), (1, a)] {
            assert!(world.nodes[n].endpoint.is_connected(&peer), "seed {seed}");
            assert_eq!(world.nodes[n].endpoint.stats().sessions, 1, "seed {seed}");
        }
        assert!(world.nodes[1].messages.iter().any(|(_, m)| m.body.len() == 4_000));
        let now = world.clock(1).wall;
        world.on(1, |e, _| e.send(&a, Lane::Own, message(9, 100, now))).unwrap();
        world.run(seconds(1));
        assert_eq!(world.nodes[0].messages.len(), 1);
    }
}

#[test]
fn the_wrong_key_in_an_address_gives_no_session() {
    let mut world = World::new(13, 3, Link::default());
    let mut remote = world.nodes[1].keys.remote(world.nodes[1].hash);
    remote.static_key = world.nodes[2].keys.static_key.public();
    world.on(0, |e, cx| e.connect(remote, cx)).unwrap();
    world.run(seconds(25));
    let told = world.nodes[0].told.last();
    assert!(matches!(told, Some(Output::ConnectFailed { reason: ConnectError::Timeout, .. })), "{told:?}");
    assert_eq!(world.nodes[1].endpoint.stats().handshakes_failed, 4, "once, and three times again");
    let ours = world.nodes[0].keys.remote(world.nodes[0].hash);
    assert_eq!(world.on(0, |e, cx| e.connect(ours, cx)), Err(ConnectError::Refused));
}

#[test]
fn who_starts_again_hears_of_its_old_sessions_and_takes_their_place() {
    // Soon after the old session began, as if both had dialled each other, and later.
    for (seed, age) in [(61, 1), (62, 1), (63, 2), (64, 60)] {
        let mut world = World::new(seed, 2, Link::default());
        world.connect(0, 1);
        world.run(Duration::from_secs(age));
        world.restart(1);
        let there = world.nodes[0].addr;
        world.flows.push(Flow { from: 0, to: 1, size: 500, next: 0, last: 1_000 });
        let heard = |world: &World| {
            let strays =
                world.nodes[1].told.iter().filter(|o| matches!(o, Output::Stray { from } if *from == there));
            strays.count()
        };
        let mut answered = 0;
        for _ in 0..20 {
            world.run(Duration::from_millis(500));
            if heard(&world) > answered {
                answered = heard(&world);
                world.connect(1, 0);
            }
        }
        assert!(answered >= 1, "seed {seed}: it was told");
        assert_eq!(world.nodes[1].messages.last().map(|(_, m)| m.id), Some(999.into()), "seed {seed}");
        assert_eq!(world.nodes[0].endpoint.stats().sessions, 1);
    }
}
