//! Garbage, damage, replays, reflections and floods: counted, dropped, and
//! nothing is kept of them.

use std::net::SocketAddr;

use aioli_core::{Cx, Duration, Rng};
use proptest::prelude::*;

use super::super::Local;
use super::super::alice::{Ids, session_request, token_request};
use super::Keys;
use super::link::{Flow, Link, World};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A world with a session, messages, and all datagrams that this took.
fn recorded(seed: u8) -> (World, Vec<(SocketAddr, SocketAddr, Vec<u8>)>) {
    let mut world = World::new(seed, 2, Link::default());
    world.wire = Some(Vec::new());
    world.connect(0, 1);
    world.run(seconds(1));
    world.flows.push(Flow { from: 0, to: 1, size: 1_028, next: 0, last: 50 });
    world.flows.push(Flow { from: 1, to: 0, size: 1_028, next: 0, last: 50 });
    world.run(seconds(2));
    let wire = world.wire.take().unwrap();
    (world, wire)
}

#[test]
fn everything_replayed_changes_nothing() {
    let (mut world, wire) = recorded(1);
    let before = [world.nodes[0].endpoint.stats(), world.nodes[1].endpoint.stats()];
    let told = [world.nodes[0].told.len(), world.nodes[1].told.len()];
    for (from, to, bytes) in wire {
        world.send(from, to, bytes);
    }
    world.run(seconds(5));
    for n in 0..2 {
        let stats = world.nodes[n].endpoint.stats();
        assert!(stats.duplicate_packets > before[n].duplicate_packets);
        assert_eq!((stats.sessions, stats.pending), (1, 0));
        assert_eq!(stats.messages_received, before[n].messages_received);
        assert_eq!(world.nodes[n].told.len(), told[n]);
    }
    world.flows[0].last = 60;
    world.run(seconds(2));
    world.assert_exactly_once(1, 60, 1_028);
}

#[test]
fn a_replayed_handshake_gives_no_second_session() {
    let mut world = World::new(2, 2, Link::default());
    world.wire = Some(Vec::new());
    world.connect(0, 1);
    world.run(seconds(1));
    let wire = world.wire.take().unwrap();
    let (a, b) = (world.nodes[0].hash, world.nodes[0].addr);
    world.on(1, |e, cx| e.disconnect(&a, aioli_wire::ssu2::TerminationReason::Normal, cx));
    world.run(seconds(60));
    let sent = world.nodes[1].endpoint.stats().packets_sent;
    for (from, to, bytes) in wire.into_iter().filter(|(from, _, _)| *from == b) {
        world.send(from, to, bytes);
    }
    world.run(seconds(20));
    let stats = world.nodes[1].endpoint.stats();
    assert_eq!((stats.sessions, stats.pending, stats.established_inbound), (0, 0, 1));
    assert!(stats.packets_sent - sent <= 2, "at most a Retry for each request");
}

#[test]
fn reflected_packets_are_nothing() {
    let (mut world, wire) = recorded(3);
    let before = [world.nodes[0].endpoint.stats(), world.nodes[1].endpoint.stats()];
    let count = wire.len() as u64;
    for (from, to, bytes) in wire {
        world.send(to, from, bytes);
    }
    world.run(seconds(5));
    let mut unknown = 0;
    for (node, before) in world.nodes.iter().zip(before) {
        let stats = node.endpoint.stats();
        unknown += stats.unknown_packets - before.unknown_packets;
        assert_eq!((stats.packets_sent, stats.sessions, stats.pending), (before.packets_sent, 1, 0));
    }
    assert_eq!(unknown, count);
}

#[test]
fn damaged_and_cut_packets_change_nothing() {
    let mut rng = Rng::from_seed([9; 32]);
    for seed in 0..6 {
        let mut world = World::new(seed, 2, Link::default());
        world.wire = Some(Vec::new());
        world.connect(0, 1);
        let mut seen = 0;
        for _ in 0..60 {
            world.run(Duration::from_millis(7));
            let wire = world.wire.take().unwrap();
            world.wire = Some(Vec::new());
            for (from, to, bytes) in wire {
                seen += 1;
                for _ in 0..4 {
                    let mut bad = bytes.clone();
                    if rng.chance(1, 3) {
                        bad.truncate(rng.up_to(bytes.len() as u64 - 1) as usize);
                    } else {
                        let at = rng.up_to(bad.len() as u64 - 1) as usize;
                        bad[at] ^= 1 << rng.up_to(7);
                    }
                    let n = world.nodes.iter().position(|n| n.addr == to).unwrap();
                    world.on(n, |e, cx| e.handle_datagram(from, &mut bad, cx));
                }
            }
        }
        assert!(seen > 4);
        world.wire = None;
        let (a, b) = (world.nodes[0].hash, world.nodes[1].hash);
        assert!(world.nodes[0].endpoint.is_connected(&b) && world.nodes[1].endpoint.is_connected(&a));
        world.flows.push(Flow { from: 0, to: 1, size: 3_000, next: 0, last: 20 });
        world.run(seconds(3));
        world.assert_exactly_once(1, 20, 3_000);
    }
}

/// Issue 4: forged first packets keep nothing and are answered within three times their size.
#[test]
fn forged_first_packets_leave_no_state() {
    let (mut world, _) = recorded(4);
    // A TokenRequest and a SessionRequest, as true as a forger can make them.
    let (now, remote) = (world.clock(1), world.nodes[1].keys.remote(world.nodes[1].hash));
    let mut rng = Rng::from_seed([4; 32]);
    let mut cx = Cx { now, rng: &mut rng };
    let keys = Keys::new(9, &mut Rng::from_seed([5; 32]));
    let router_info = keys.router_info(|_| {});
    let local = Local {
        hash: router_info.hash(),
        static_key: keys.static_key.clone(),
        intro_key: keys.intro_key,
        net_id: 99,
        router_info,
    };
    let ids = Ids::draw(&mut cx);
    let requests = [
        token_request(&local, &remote, ids, &mut cx).packet,
        session_request(&local, &remote, ids, 12_345, false, &mut cx).unwrap().packet,
    ];
    let before = world.nodes[1].endpoint.stats();
    let mut sent = 0;
    for i in 0..5_000_u32 {
        let [_, b, c, d] = i.to_be_bytes();
        let from = SocketAddr::from(([198, 19 ^ b, c, d], 1_024 + (i % 60_000) as u16));
        let mut bytes = requests[i as usize % 2].clone();
        sent += bytes.len() as u64;
        world.on(1, |e, cx| e.handle_datagram(from, &mut bytes, cx));
    }
    let stats = world.nodes[1].endpoint.stats();
    assert_eq!((stats.pending, stats.sessions), (0, 1));
    let answered = stats.bytes_sent - before.bytes_sent;
    assert!(answered <= 3 * sent, "{answered} for {sent}");
    assert_eq!(stats.retries_sent - before.retries_sent, 5_000);
    assert_eq!(stats.established_inbound, before.established_inbound);
    world.flows[0].last = 80;
    world.run(seconds(2));
    assert!(world.nodes[1].messages.len() >= 80, "the session goes on");
}

#[test]
fn pending_handshakes_are_bounded() {
    let mut world = World::with(5, 12, Link::default(), |c| c.limits.pending_inbound = 3);
    // Nobody confirms: SessionCreated is lost for all.
    world.filter = Box::new(|_, from, bytes| from == super::addr(0) && bytes.len() > 100);
    for n in 1..12 {
        world.connect(n, 0);
    }
    world.run(seconds(2));
    let stats = world.nodes[0].endpoint.stats();
    assert!(stats.pending <= 3, "{stats:?}");
    world.run(seconds(60));
    assert_eq!(world.nodes[0].endpoint.stats().pending, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn garbage_never_panics_and_is_counted(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..20)) {
        let mut world = World::connected(6, 2, Link::default());
        let from = world.nodes[0].addr;
        let before = world.nodes[1].endpoint.stats();
        for bytes in &packets {
            let mut bytes = bytes.clone();
            world.on(1, |e, cx| e.handle_datagram(from, &mut bytes, cx));
        }
        let stats = world.nodes[1].endpoint.stats();
        let counted = stats.bad_length + stats.unknown_packets - before.bad_length - before.unknown_packets;
        prop_assert_eq!(counted, packets.len() as u64);
        prop_assert_eq!(stats.packets_sent, before.packets_sent);
    }
}
