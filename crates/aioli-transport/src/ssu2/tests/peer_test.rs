//! Peer tests between three routers: each kind of NAT gets its verdict, and nobody is made to test, or to
//! believe, what a stranger says.

use std::net::SocketAddr;

use aioli_core::Duration;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_wire::Wire;
use aioli_wire::ssu2::{Block, ConnectionId, LongHeader, PacketType, PeerTest};
use proptest::prelude::*;

use super::super::introduce::sign_peer_test;
use super::super::{Output, TestOutcome};
use super::link::{Link, World};
use super::nat::{Kind, public};

const ALICE: usize = 0;
const BOB: usize = 1;
const CHARLIE: usize = 2;

/// Alice has a session with Bob, and Bob with all the others.
fn world(seed: u8, count: u16, alice: Option<Kind>) -> World {
    let mut world = World::new(seed, count, Link::default());
    world.settle(&alice.map(|kind| (ALICE, kind)).into_iter().collect::<Vec<_>>());
    world.connect(ALICE, BOB);
    for n in CHARLIE..usize::from(count) {
        world.connect(BOB, n);
    }
    world.run(Duration::from_secs(5));
    world
}

fn outcomes(world: &World) -> Vec<TestOutcome> {
    let outcome = |o: &Output| if let Output::PeerTested { outcome, .. } = o { Some(*outcome) } else { None };
    world.nodes[ALICE].told.iter().filter_map(outcome).collect()
}

fn test(world: &mut World) -> TestOutcome {
    test_address(world, public(ALICE))
}

fn test_address(world: &mut World, address: SocketAddr) -> TestOutcome {
    let bob = world.nodes[BOB].hash;
    world.on(ALICE, |e, cx| e.test_reachability(&bob, address, cx)).unwrap();
    world.run(Duration::from_secs(40));
    let outcomes = outcomes(world);
    assert_eq!(outcomes.len(), 1, "{outcomes:?}");
    outcomes[0]
}

/// Bob says this to Charlie, or another to another.
fn say(world: &mut World, from: usize, to: usize, block: &Block<'_>) {
    let (to, block) = (world.nodes[to].hash, block.to_bytes());
    world.on(from, |e, _| {
        let block = Block::from_bytes(&block).unwrap();
        assert!(e.notify(&to, &block));
    });
}

#[test]
fn each_kind_of_nat_gets_its_verdict() {
    for (seed, kind, expected) in [
        (1, None, TestOutcome::Reachable { seen: Some(public(ALICE)) }),
        (2, Some(Kind::FullCone), TestOutcome::Reachable { seen: Some(public(ALICE)) }),
        (3, Some(Kind::PortRestricted), TestOutcome::Firewalled),
        (4, Some(Kind::Firewall), TestOutcome::Firewalled),
    ] {
        assert_eq!(test(&mut world(seed, 3, kind)), expected, "{kind:?}");
    }
    let outcome = test(&mut world(5, 3, Some(Kind::Symmetric)));
    let TestOutcome::AddressDiffers { seen } = outcome else { panic!("{outcome:?}") };
    assert_eq!(seen.ip(), public(ALICE).ip());
    assert_ne!(seen.port(), public(ALICE).port());
}

#[test]
fn a_way_that_we_open_during_the_test_proves_nothing() {
    let mut world = world(9, 3, Some(Kind::PortRestricted));
    let bob = world.nodes[BOB].hash;
    world.on(ALICE, |e, cx| e.test_reachability(&bob, public(ALICE), cx)).unwrap();
    world.run(Duration::from_millis(600));
    // She dials Charlie, who sends his packet again: that one comes in.
    world.connect(ALICE, CHARLIE);
    world.run(Duration::from_secs(40));
    assert_eq!(outcomes(&world), [TestOutcome::Unproven]);
}

#[test]
fn the_verdict_does_not_depend_on_luck_with_packets() {
    for seed in 10..20 {
        for (kind, expected) in [
            (None, TestOutcome::Reachable { seen: Some(public(ALICE)) }),
            (Some(Kind::PortRestricted), TestOutcome::Firewalled),
        ] {
            let mut world = world(seed, 3, kind);
            world.link = Link { loss: 1_000, repeat: 2_000, late: 2_000, ..Link::default() };
            let outcome = test(&mut world);
            // Three copies may all be lost: then nothing is concluded, never the wrong thing.
            let fair = outcome == expected
                || matches!((outcome, expected), (TestOutcome::NoAnswer, _))
                || matches!(
                    (outcome, expected),
                    (TestOutcome::Reachable { seen: None }, TestOutcome::Reachable { .. })
                );
            assert!(fair, "{seed} {kind:?}: {outcome:?}");
        }
    }
}

#[test]
fn a_charlie_who_knows_alice_is_not_asked_in_vain() {
    let mut world = world(6, 5, Some(Kind::PortRestricted));
    // Two of the three can not: she is connected to them.
    world.connect(ALICE, 2);
    world.connect(ALICE, 3);
    world.run(Duration::from_secs(5));
    assert_eq!(test(&mut world), TestOutcome::Firewalled);
    let told = &world.nodes[ALICE].told;
    let charlie = told.iter().find_map(|o| {
        if let Output::PeerTested { charlie, .. } = o { charlie.map(|(hash, _)| hash) } else { None }
    });
    assert_eq!(charlie, Some(world.nodes[4].hash));
}

#[test]
fn without_a_charlie_bob_says_so() {
    assert_eq!(test(&mut world(7, 2, None)), TestOutcome::Refused { code: 2 });
    // Bob is connected to one who says that he does not test.
    let mut world = World::new(8, 3, Link::default());
    world.settle(&[(CHARLIE, Kind::FullCone)]);
    world.connect(ALICE, BOB);
    world.connect(CHARLIE, BOB);
    world.run(Duration::from_secs(5));
    assert_eq!(test(&mut world), TestOutcome::Refused { code: 2 });
}

#[test]
fn bob_has_nothing_tested_but_alices_own_address() {
    for (address, code) in [
        ("9.9.9.9:9000".parse::<SocketAddr>().unwrap(), 5),
        (SocketAddr::new(public(ALICE).ip(), 53), 5),
        ("[2a00::1]:9000".parse().unwrap(), 5),
    ] {
        let mut world = world(9, 3, None);
        world.wire = Some(Vec::new());
        let outcome = if address.is_ipv4() {
            test_address(&mut world, address)
        } else {
            // A session of one family has no address of the other: it has to be forged.
            say_test_1(&mut world, address);
            TestOutcome::Refused { code: 5 }
        };
        assert_eq!(outcome, TestOutcome::Refused { code });
        assert_eq!(world.nodes[BOB].endpoint.stats().peer_tests_refused, 1);
        assert_eq!(world.nodes[CHARLIE].endpoint.stats().peer_tests_agreed, 0);
        assert!(!world.destinations(public(CHARLIE)).contains(&address));
    }
}

fn say_test_1(world: &mut World, address: SocketAddr) {
    let plain = request(world, address, 77);
    let signature = sign_peer_test(&plain, &world.nodes[BOB].hash, None, &world.nodes[ALICE].keys.signing);
    say(world, ALICE, BOB, &Block::PeerTest(PeerTest { signature: &signature, ..plain }));
    world.run(Duration::from_secs(5));
}

fn request(world: &World, alice: SocketAddr, nonce: u32) -> PeerTest<'static> {
    let timestamp = world.clock(ALICE).wall;
    PeerTest { message: 1, code: 0, router: None, nonce, timestamp, alice, signature: &[] }
}

#[test]
fn charlie_sends_nothing_without_alices_signature() {
    let mut world = world(20, 3, None);
    let victim = "9.9.9.9:9000".parse::<SocketAddr>().unwrap();
    let (alice, bob) = (world.nodes[ALICE].hash, world.nodes[BOB].hash);
    let forger = SigningKey::generate(&mut world.rng);
    let stale = world.clock(ALICE).wall - Duration::from_secs(300);
    let info = world.nodes[ALICE].info.clone();
    world.wire = Some(Vec::new());
    let hers = world.nodes[ALICE].keys.signing.clone();
    for (n, (plain, key)) in [
        (request(&world, victim, 1), &forger),
        (PeerTest { timestamp: stale, ..request(&world, public(ALICE), 2) }, &hers),
        (request(&world, "127.0.0.1:53".parse().unwrap(), 3), &hers),
    ]
    .into_iter()
    .enumerate()
    {
        let signature = sign_peer_test(&plain, &bob, None, key);
        let test = PeerTest { message: 2, router: Some(alice), signature: &signature, ..plain };
        let charlie = world.nodes[CHARLIE].hash;
        world.on(BOB, |e, cx| {
            e.tell(&charlie, &info, cx);
            e.notify(&charlie, &Block::PeerTest(test))
        });
        world.run(Duration::from_secs(5));
        let stats = world.nodes[CHARLIE].endpoint.stats();
        assert_eq!((stats.peer_tests_refused, stats.peer_tests_agreed), (n as u64 + 1, 0));
    }
    assert_eq!(world.destinations(public(CHARLIE)), [public(BOB)].into());
    // Who is introduced with no RouterInfo at all is asked for, and refused in time.
    let nobody = aioli_wire::RouterHash::new([9; 32]);
    let test = PeerTest { message: 2, router: Some(nobody), ..request(&world, public(ALICE), 4) };
    say(&mut world, BOB, CHARLIE, &Block::PeerTest(test));
    world.run(Duration::from_secs(5));
    let asked = |o: &Output| matches!(o, Output::WantRouterInfo { router } if *router == nobody);
    assert!(world.nodes[CHARLIE].told.iter().any(asked));
    assert_eq!(world.nodes[CHARLIE].endpoint.stats().peer_tests_refused, 4);
}

#[test]
fn answers_from_elsewhere_are_not_believed() {
    let mut world = world(21, 3, Some(Kind::FullCone));
    world.wire = Some(Vec::new());
    let (alice, charlie) = (public(ALICE), public(CHARLIE));
    let bob = world.nodes[BOB].hash;
    world.on(ALICE, |e, cx| e.test_reachability(&bob, public(ALICE), cx)).unwrap();
    world.run(Duration::from_secs(1));
    let wire = world.wire.take().unwrap();
    let fives = wire.iter().filter(|(f, t, _)| *f == charlie && *t == alice).collect::<Vec<_>>();
    assert!(!fives.is_empty());
    assert_eq!(outcomes(&world), [TestOutcome::Reachable { seen: Some(alice) }]);
    // Replayed from anywhere, after the test: it belongs to nothing.
    let before = world.nodes[ALICE].endpoint.stats().bad_peer_tests;
    for (_, to, bytes) in &fives {
        world.send(public(3), *to, bytes.clone());
        world.send(charlie, *to, bytes.clone());
    }
    world.run(Duration::from_secs(1));
    let stats = world.nodes[ALICE].endpoint.stats();
    assert_eq!(stats.bad_peer_tests - before, 2 * fives.len() as u64);
    assert_eq!(outcomes(&world).len(), 1);
}

#[test]
fn message_6_is_answered_to_alice_only_and_not_for_ever() {
    let mut world = world(22, 3, None);
    let (alice, charlie) = (public(ALICE), public(CHARLIE));
    world.wire = Some(Vec::new());
    let bob = world.nodes[BOB].hash;
    world.on(ALICE, |e, cx| e.test_reachability(&bob, public(ALICE), cx)).unwrap();
    world.run(Duration::from_secs(2));
    let wire = world.wire.replace(Vec::new()).unwrap();
    let six = wire.iter().find(|(f, t, _)| *f == alice && *t == charlie).unwrap().2.clone();
    let victim = "9.9.9.9:9000".parse().unwrap();
    for _ in 0..50 {
        world.send(victim, charlie, six.clone());
        world.send(alice, charlie, six.clone());
    }
    world.run(Duration::from_secs(2));
    let wire = world.wire.take().unwrap();
    let to = |at: SocketAddr| wire.iter().filter(|(f, t, _)| *f == charlie && *t == at).count();
    assert_eq!((to(victim), to(alice)), (0, 2), "three in all");
    assert!(world.nodes[CHARLIE].endpoint.stats().bad_peer_tests >= 98);
}

#[test]
fn a_flood_of_tests_is_refused() {
    let mut world = world(23, 3, None);
    for nonce in 0..40 {
        let plain = request(&world, public(ALICE), nonce);
        let signature =
            sign_peer_test(&plain, &world.nodes[BOB].hash, None, &world.nodes[ALICE].keys.signing);
        say(&mut world, ALICE, BOB, &Block::PeerTest(PeerTest { signature: &signature, ..plain }));
        world.run(Duration::from_millis(500));
    }
    let limit = u64::from(super::super::Limits::default().introductions_per_ip);
    let (bob, charlie) = (world.nodes[BOB].endpoint.stats(), world.nodes[CHARLIE].endpoint.stats());
    assert_eq!(bob.peer_tests_passed_on, limit);
    assert!(charlie.peer_tests_agreed <= limit);
    assert_eq!((bob.peer_tests_refused, bob.introductions_limited), (40 - limit, 40 - limit));
}

#[test]
fn a_visitor_is_one_to_whom_nothing_of_ours_opened_a_way() {
    let mut world = World::new(25, 4, Link::default());
    world.settle(&[]);
    let visits = |w: &World, n: usize| {
        let from = |o: &Output| if let Output::Visitor { from } = o { Some(*from) } else { None };
        w.nodes[n].told.iter().filter_map(from).collect::<Vec<_>>()
    };
    world.connect(1, 0);
    world.run(Duration::from_secs(3));
    assert_eq!((visits(&world, 0), visits(&world, 1)), (vec![public(1)], vec![]));
    // We dialled it before, in vain or not: our NAT knows it.
    world.connect(0, 2);
    world.run(Duration::from_secs(3));
    let hash = world.nodes[0].hash;
    world.on(2, |e, cx| e.disconnect(&hash, aioli_wire::ssu2::TerminationReason::Normal, cx));
    world.run(Duration::from_secs(3));
    world.connect(2, 0);
    world.run(Duration::from_secs(3));
    assert!(world.nodes[0].endpoint.is_connected(&world.nodes[2].hash));
    assert_eq!(visits(&world, 0), [public(1)]);
}

#[test]
fn a_routerinfo_that_fills_no_block_goes_as_a_message() {
    let mut world = World::new(26, 3, Link::default());
    world.settle(&[]);
    // Alice's is too large for one block, whatever it compresses to.
    let node = &mut world.nodes[ALICE];
    let noise = (0..6).map(|n| (format!("x{n}"), node_noise(n))).collect::<Vec<_>>();
    node.info = node.keys.router_info(|ri| {
        for (key, value) in &noise {
            ri.options.set(key, value).unwrap();
        }
    });
    assert!(node.info.bytes().len() > 2_000);
    node.endpoint.set_router_info(node.info.clone());
    world.connect(ALICE, BOB);
    world.connect(BOB, CHARLIE);
    world.run(Duration::from_secs(3));
    let bob = world.nodes[BOB].hash;
    world.on(ALICE, |e, cx| e.test_reachability(&bob, public(ALICE), cx)).unwrap();
    world.run(Duration::from_secs(1));
    // Charlie's router above has got it as a message, and says so when it is asked.
    let (from, store) = world.nodes[CHARLIE].messages[0].clone();
    assert_eq!((from, store.kind), (bob, aioli_wire::i2np::MessageType::DatabaseStore));
    let alice = world.nodes[ALICE].hash;
    let wanted = |o: &Output| matches!(o, Output::WantRouterInfo { router } if *router == alice);
    assert!(world.nodes[CHARLIE].told.iter().any(wanted));
    let info = world.nodes[ALICE].info.clone();
    world.on(CHARLIE, |e, cx| e.learn(info, cx));
    world.run(Duration::from_secs(20));
    assert_eq!(outcomes(&world), [TestOutcome::Reachable { seen: Some(public(ALICE)) }]);
}

/// Bytes that no compression makes shorter.
fn node_noise(n: u8) -> String {
    let mut rng = aioli_core::Rng::from_seed([n; 32]);
    aioli_wire::base64::encode(&rng.bytes::<180>())
}

proptest! {
    /// Whatever a peer says of tests and introductions, and whatever comes from strangers: nothing breaks, and
    /// what is kept stays within its limits.
    #[test]
    fn garbage_is_counted_and_dropped(
        said in proptest::collection::vec((any::<u8>(), any::<[u8; 8]>(), proptest::collection::vec(any::<u8>(), 0..220)), 1..60)
    ) {
        let mut world = world(24, 3, None);
        let (alice, bob) = (world.nodes[ALICE].hash, world.nodes[BOB].hash);
        let key = world.nodes[ALICE].keys.intro_key;
        for (kind, head, bytes) in said {
            let mut block = vec![[7, 8, 9, 10, 15, 16][usize::from(kind) % 6]];
            let mut data = head.to_vec();
            data[0] %= 9;
            data.extend_from_slice(&bytes);
            block.extend_from_slice(&(data.len() as u16).to_be_bytes());
            block.extend_from_slice(&data);
            world.on(BOB, |e, _| e.notify_raw(&alice, block.clone()));
            // The same from nowhere, in a packet that is authentic.
            let nonce = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let id = ConnectionId::from_nonce(nonce);
            let kind = if kind & 1 == 0 { PacketType::PeerTest } else { PacketType::HolePunch };
            let header =
                LongHeader { destination: id, packet_number: 1, kind, net_id: 99, source: id.inverse(), token: 0 };
            let packet = super::super::packet::seal_raw(&header, &key, &block);
            world.send(public(9), public(ALICE), packet);
            world.run(Duration::from_millis(100));
        }
        world.run(Duration::from_secs(60));
        let endpoint = &world.nodes[ALICE].endpoint;
        prop_assert!(endpoint.is_connected(&bob));
        prop_assert_eq!(endpoint.introductions_kept(), 0);
    }
}
