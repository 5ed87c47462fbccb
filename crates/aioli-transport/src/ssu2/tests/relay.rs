//! Introductions between three routers: two that nobody reaches meet through a third, and nobody is made
//! to send, or to believe, what a stranger says.

use std::net::SocketAddr;

use aioli_core::Duration;
use aioli_wire::ssu2::{Block, Introducer, RelayIntro, RelayRequest, TerminationReason};

use super::super::introduce::sign_relay_request;
use super::super::{ConnectError, Family, Output};
use super::link::{Link, World};
use super::message;
use super::nat::{Kind, public};
use crate::Lane;

const ALICE: usize = 0;
const BOB: usize = 1;
const CHARLIE: usize = 2;

/// Alice and Charlie have sessions with Bob, who introduces others to Charlie.
fn world(seed: u8, alice: Option<Kind>, charlie: Kind) -> World {
    let mut world = World::new(seed, 4, Link::default());
    let behind = alice.map(|kind| (ALICE, kind)).into_iter().chain([(CHARLIE, charlie)]);
    world.settle(&behind.collect::<Vec<_>>());
    world.nodes[ALICE].endpoint.set_external(Some(public(ALICE)), None);
    world.nodes[CHARLIE].endpoint.want_tags(true, false);
    world.connect(ALICE, BOB);
    world.connect(CHARLIE, BOB);
    world.run(Duration::from_secs(3));
    let introducers = introducers(&world);
    assert_eq!(introducers.len(), 1);
    world.hide(CHARLIE, &introducers);
    world
}

fn introducers(world: &World) -> Vec<Introducer> {
    let told = |o: &Output| {
        if let Output::RelayTag { by, tag, .. } = o {
            Some(Introducer { router: *by, tag: *tag, expires: None })
        } else {
            None
        }
    };
    world.nodes[CHARLIE].told.iter().filter_map(told).collect()
}

/// Alice wants to meet Charlie.
fn seek(world: &mut World) -> Result<(), ConnectError> {
    let charlie = &world.nodes[CHARLIE];
    let mut remote = charlie.keys.remote(charlie.hash);
    remote.address = SocketAddr::from(([0, 0, 0, 0], 0));
    let (info, introducers) = (charlie.info.clone(), introducers(world));
    world.on(ALICE, |e, cx| e.connect_through(remote, info, Family::V4, &introducers, cx))
}

fn have_met(world: &World) -> bool {
    let (alice, charlie) = (world.nodes[ALICE].hash, world.nodes[CHARLIE].hash);
    world.nodes[ALICE].endpoint.is_connected(&charlie) && world.nodes[CHARLIE].endpoint.is_connected(&alice)
}

#[test]
fn two_firewalled_routers_meet() {
    for (seed, alice, charlie) in [
        (1, None, Kind::PortRestricted),
        (2, Some(Kind::PortRestricted), Kind::PortRestricted),
        (3, Some(Kind::PortRestricted), Kind::Firewall),
        (4, Some(Kind::Firewall), Kind::FullCone),
        (5, None, Kind::Symmetric),
        (6, Some(Kind::FullCone), Kind::Symmetric),
    ] {
        let mut world = world(seed, alice, charlie);
        seek(&mut world).unwrap();
        let (peer, now) = (world.nodes[CHARLIE].hash, world.clock(ALICE).wall);
        for id in 0..20 {
            world.on(ALICE, |e, _| e.send(&peer, Lane::Own, message(id, 1_000, now))).unwrap();
        }
        world.run(Duration::from_secs(6));
        assert!(have_met(&world), "{alice:?} {charlie:?}");
        world.assert_exactly_once(CHARLIE, 20, 1_000);
    }
}

#[test]
fn without_the_introduction_they_do_not() {
    let mut world = world(7, Some(Kind::PortRestricted), Kind::PortRestricted);
    let charlie = &world.nodes[CHARLIE];
    let mut remote = charlie.keys.remote(charlie.hash);
    remote.address = public(CHARLIE);
    world.on(ALICE, |e, cx| e.connect(remote, cx)).unwrap();
    world.run(Duration::from_secs(30));
    assert!(!have_met(&world), "the NAT of the tests filters");
}

#[test]
fn they_meet_on_a_bad_path() {
    let met = (30..40).filter(|seed| {
        let mut world = world(*seed, Some(Kind::PortRestricted), Kind::PortRestricted);
        world.link = Link { loss: 1_000, repeat: 2_000, late: 2_000, ..Link::default() };
        seek(&mut world).unwrap();
        world.run(Duration::from_secs(20));
        have_met(&world)
    });
    assert_eq!(met.count(), 10);
}

#[test]
fn a_way_to_an_introducer_stays_open() {
    // The NAT forgets after a minute; without keeping alive nobody could be introduced later.
    let mut world = world(8, Some(Kind::PortRestricted), Kind::PortRestricted);
    world.run(Duration::from_secs(600));
    assert!(!world.nodes[ALICE].endpoint.is_connected(&world.nodes[BOB].hash), "idle sessions end");
    world.connect(ALICE, BOB);
    world.run(Duration::from_secs(1));
    seek(&mut world).unwrap_or_else(|e| panic!("{e}"));
    world.run(Duration::from_secs(6));
    assert!(have_met(&world));
}

#[test]
fn who_lost_his_introducer_is_not_found_by_the_old_tag() {
    let mut world = world(9, None, Kind::PortRestricted);
    let bob = world.nodes[BOB].hash;
    world.on(CHARLIE, |e, cx| e.disconnect(&bob, TerminationReason::Normal, cx));
    world.run(Duration::from_secs(1));
    assert_eq!(world.nodes[BOB].endpoint.stats().relay_tags, 0);
    seek(&mut world).unwrap();
    let (peer, now) = (world.nodes[CHARLIE].hash, world.clock(ALICE).wall);
    world.on(ALICE, |e, _| e.send(&peer, Lane::Own, message(1, 100, now))).unwrap();
    world.run(Duration::from_secs(1));
    let failed = |o: &Output| matches!(o, Output::ConnectFailed { reason: ConnectError::NotIntroduced, dropped, .. } if dropped.len() == 1);
    assert!(world.nodes[ALICE].told.iter().any(failed), "{:?}", world.nodes[ALICE].told);
    // And without a session with any introducer there is nobody to ask.
    world.on(ALICE, |e, cx| e.disconnect(&bob, TerminationReason::Normal, cx));
    assert_eq!(seek(&mut world), Err(ConnectError::NotIntroduced));
}

#[test]
fn a_silent_introducer_is_not_waited_for() {
    let mut world = world(10, None, Kind::PortRestricted);
    // Another introducer, who is there but knows no such tag: Bob is asked when he refuses.
    world.connect(ALICE, 3);
    world.run(Duration::from_secs(3));
    let charlie = &world.nodes[CHARLIE];
    let remote = charlie.keys.remote(charlie.hash);
    let info = charlie.info.clone();
    let mut both = vec![Introducer { router: world.nodes[3].hash, tag: 5, expires: None }];
    both.extend(introducers(&world));
    // And one that is expired is not asked at all.
    both.insert(0, Introducer { expires: Some(super::START), ..both[1] });
    world.on(ALICE, |e, cx| e.connect_through(remote, info, Family::V4, &both, cx)).unwrap();
    world.run(Duration::from_secs(3));
    assert!(have_met(&world));
    assert_eq!(world.nodes[3].endpoint.stats().relays_refused, 1);
}

#[test]
fn charlie_punches_only_where_alice_signed_and_not_for_ever() {
    let mut world = world(11, None, Kind::FullCone);
    let victim = "9.9.9.9:9000".parse::<SocketAddr>().unwrap();
    let (alice, bob, charlie) = (world.nodes[ALICE].hash, world.nodes[BOB].hash, world.nodes[CHARLIE].hash);
    let tag = introducers(&world)[0].tag;
    let info = world.nodes[ALICE].info.clone();
    let hers = world.nodes[ALICE].keys.signing.clone();
    let other = world.nodes[3].keys.signing.clone();
    world.wire = Some(Vec::new());
    let introduce = |world: &mut World, nonce: u32, tag: u32, to: SocketAddr, key, age: u64| {
        let timestamp = world.clock(BOB).wall - Duration::from_secs(age);
        let plain = RelayRequest { nonce, tag, timestamp, alice: to, signature: &[] };
        let signature = sign_relay_request(&plain, &bob, &charlie, key);
        let request = RelayRequest { signature: &signature, ..plain };
        world.on(BOB, |e, cx| {
            e.tell(&charlie, &info, cx);
            e.notify(&charlie, &Block::RelayIntro(RelayIntro { alice, request }))
        });
        world.run(Duration::from_secs(4));
    };
    introduce(&mut world, 1, tag, victim, &other, 0);
    introduce(&mut world, 2, tag ^ 1, public(ALICE), &hers, 0);
    introduce(&mut world, 3, tag, public(ALICE), &hers, 300);
    introduce(&mut world, 5, tag, "9.9.9.9:53".parse().unwrap(), &hers, 0);
    let stats = world.nodes[CHARLIE].endpoint.stats();
    assert_eq!((stats.relays_refused, stats.hole_punches_sent, stats.bad_relays), (4, 0, 2));
    for nonce in 10..40 {
        introduce(&mut world, nonce, tag, victim, &hers, 0);
    }
    let limit = u64::from(super::super::Limits::default().introductions_per_ip);
    let stats = world.nodes[CHARLIE].endpoint.stats();
    assert!(stats.hole_punches_sent <= 3 * limit, "{}", stats.hole_punches_sent);
    assert_eq!(stats.introductions_limited, 30 - limit);
}

#[test]
fn a_stray_hole_punch_opens_nothing() {
    let mut world = world(12, None, Kind::FullCone);
    world.wire = Some(Vec::new());
    seek(&mut world).unwrap();
    world.run(Duration::from_secs(5));
    assert!(have_met(&world));
    let wire = world.wire.take().unwrap();
    let dials = world.nodes[ALICE].endpoint.stats().dials;
    for (_, to, bytes) in
        wire.iter().filter(|(f, t, _)| f.ip() == public(CHARLIE).ip() && *t == public(ALICE))
    {
        world.send("9.9.9.9:9000".parse().unwrap(), *to, bytes.clone());
    }
    world.run(Duration::from_secs(2));
    assert_eq!(world.nodes[ALICE].endpoint.stats().dials, dials);
}

#[test]
fn tags_are_given_by_those_who_say_so_and_as_many_as_they_can() {
    let mut world = World::with(13, 4, Link::default(), |c| c.limits.relay_tags = 1);
    world.settle(&[(1, Kind::PortRestricted), (2, Kind::PortRestricted), (3, Kind::PortRestricted)]);
    for n in 1..4 {
        world.nodes[n].endpoint.want_tags(true, false);
    }
    world.connect(1, 0);
    world.run(Duration::from_secs(2));
    world.connect(2, 0);
    world.run(Duration::from_secs(2));
    let bob = world.nodes[0].hash;
    let tag = |w: &World, n: usize| w.nodes[n].endpoint.tag_at(&bob);
    assert!(tag(&world, 1).is_some() && tag(&world, 2).is_none());
    assert_eq!(world.nodes[0].endpoint.stats().relay_tags_full, 1);
    // Asked again he gives the same: it is renewed.
    let before = tag(&world, 1);
    world.on(1, |e, _| e.request_tag(&bob));
    world.run(Duration::from_secs(2));
    assert_eq!(tag(&world, 1), before, "{:?}", world.nodes[1].told);
    // When the first goes, the next may come.
    world.on(1, |e, cx| e.disconnect(&bob, TerminationReason::Normal, cx));
    world.run(Duration::from_secs(1));
    world.on(2, |e, _| e.request_tag(&bob));
    world.run(Duration::from_secs(2));
    assert!(tag(&world, 2).is_some());
    // Who does not say that he introduces gives none.
    world.hide(0, &[]);
    world.connect(3, 0);
    world.run(Duration::from_secs(2));
    assert!(tag(&world, 3).is_none());
}

#[test]
fn introducers_that_nobody_needs_are_let_go() {
    let mut world = world(14, None, Kind::PortRestricted);
    let bob = world.nodes[BOB].hash;
    assert!(world.nodes[CHARLIE].endpoint.tag_at(&bob).is_some());
    world.nodes[CHARLIE].endpoint.want_tags(false, true);
    assert_eq!(world.nodes[CHARLIE].endpoint.tag_at(&bob), None);
    world.run(Duration::from_secs(400));
    assert!(!world.nodes[CHARLIE].endpoint.is_connected(&bob), "the session is kept alive for nothing");
}

#[test]
fn who_has_introducers_enough_asks_for_no_more() {
    let mut world = World::with(15, 4, Link::default(), |c| c.limits.introducers = 2);
    world.settle(&[(3, Kind::PortRestricted)]);
    world.nodes[3].endpoint.want_tags(true, false);
    for bob in 0..3 {
        world.connect(3, bob);
        world.run(Duration::from_secs(2));
    }
    let asked = (0..3).filter(|bob| world.nodes[*bob].endpoint.stats().relay_tags > 0).count();
    assert_eq!((asked, world.nodes[3].endpoint.stats().relay_tags_full), (2, 0));
}
