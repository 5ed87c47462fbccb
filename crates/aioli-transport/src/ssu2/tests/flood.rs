//! Floods of forged first packets: sessions go on, nothing is kept, and little is answered.

use std::net::SocketAddr;

use aioli_core::{Cx, Duration, Rng};

use super::super::alice::{Ids, session_request, token_request};
use super::super::{Local, Stats};
use super::Keys;
use super::hostile::recorded;
use super::link::{Flow, World};

/// Packets as a forger makes them who knows what the victim publishes, and has heard one of its sessions.
fn forged(world: &World, heard: &[(SocketAddr, SocketAddr, Vec<u8>)]) -> Vec<Vec<u8>> {
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
    let mut request = |token| session_request(&local, &remote, ids, token, false, &mut cx).unwrap().packet;
    let mut packets = vec![request(0), request(12_345)];
    packets.push(token_request(&local, &remote, ids, &mut cx).packet);
    let mut damaged = packets[2].clone();
    if let Some(last) = damaged.last_mut() {
        *last ^= 1;
    }
    packets.push(damaged);
    for size in [1, 39, 40, 56, 87, 88, 200, 1_472] {
        let mut garbage = vec![0; size];
        rng.fill(&mut garbage);
        packets.push(garbage);
    }
    let to = world.nodes[1].addr;
    packets.extend(
        heard.iter().filter(|(_, t, b)| *t == to && b.len() > 1_000).map(|(_, _, b)| b.clone()).take(2),
    );
    packets
}

/// An address that the forger does not have.
fn spoofed(i: u32) -> SocketAddr {
    let [_, b, c, d] = i.to_be_bytes();
    SocketAddr::from(([100 + b, c, d, 7], 1_024 + (i % 60_000) as u16))
}

/// Packets that node 1 must have counted as something that is not worth an answer.
const fn dropped(s: &Stats) -> u64 {
    s.bad_length
        + s.unknown_packets
        + s.duplicate_packets
        + s.not_authentic
        + s.handshakes_failed
        + s.retries_limited
}

/// Issue 4: 100,000 forged packets a second for 10 s.
#[test]
fn a_flood_of_forged_packets_leaves_sessions_working() {
    let (mut world, heard) = recorded(4);
    let packets = forged(&world, &heard);
    let before = world.nodes[1].endpoint.stats();
    let entries = world.nodes[1].endpoint.entries();
    world.flows[0] = Flow { next: 1_000, last: 6_000, ..world.flows[0] };
    world.flows[1] = Flow { next: 1_000, last: 6_000, ..world.flows[1] };
    let (mut count, mut bytes_in, mut most) = (0_u32, 0, 0);
    for _ in 0..10_000 {
        for _ in 0..100 {
            let mut packet = packets[count as usize % packets.len()].clone();
            bytes_in += packet.len() as u64;
            world.on(1, |e, cx| e.handle_datagram(spoofed(count), &mut packet, cx));
            count += 1;
        }
        world.run(Duration::from_millis(1));
        most = most.max(world.nodes[1].endpoint.entries());
    }
    world.run(Duration::from_secs(1));
    let stats = world.nodes[1].endpoint.stats();
    assert_eq!((stats.sessions, stats.pending), (1, 0));
    for n in 0..2 {
        let came = world.nodes[n].messages.iter().filter(|(_, m)| m.id.get() >= 1_000).count();
        assert_eq!(came, 5_000, "all messages to {n} arrive");
    }
    assert!(most <= entries + 4, "{most} entries in tables, before {entries}");
    let limit = world.nodes[1].keys.config().limits.retries_per_second;
    let retries = stats.retries_sent - before.retries_sent;
    assert!((9 * limit..=12 * limit).contains(&retries), "{retries}");
    assert_eq!(stats.refusals_sent, before.refusals_sent);
    // A Retry has 120 bytes at most: far less than three times what came.
    assert!(retries * 120 <= bytes_in * 3);
    assert_eq!(dropped(&stats) - dropped(&before) + retries, u64::from(count));
    assert_eq!(stats.established_inbound, before.established_inbound);
    assert_eq!(stats.paths_challenged, before.paths_challenged, "replays move no session");
}

/// Each answer is at most three times what it answers.
#[test]
fn no_packet_is_answered_with_three_times_its_size() {
    let (mut world, heard) = recorded(4);
    for (i, packet) in forged(&world, &heard).into_iter().enumerate() {
        for n in 0..200 {
            let before = world.nodes[1].endpoint.stats().bytes_sent;
            world.on(1, |e, cx| e.handle_datagram(spoofed(n), &mut packet.clone(), cx));
            let answer = world.nodes[1].endpoint.stats().bytes_sent - before;
            assert!(answer <= packet.len() as u64 * 3, "packet {i}: {answer} for {}", packet.len());
        }
        world.run(Duration::from_secs(1));
    }
}

/// Who has a token from a session before is not kept out by a flood.
#[test]
fn a_known_peer_comes_back_during_a_flood() {
    let (mut world, heard) = recorded(4);
    let packets = forged(&world, &heard);
    let (a, b) = (world.nodes[0].hash, world.nodes[1].hash);
    world.on(0, |e, cx| e.disconnect(&b, aioli_wire::termination::TerminationReason::Normal, cx));
    world.run(Duration::from_secs(1));
    assert!(!world.nodes[1].endpoint.is_connected(&a));
    world.connect(0, 1);
    for count in 0..30_000 {
        let mut packet = packets[count as usize % 3].clone();
        world.on(1, |e, cx| e.handle_datagram(spoofed(count), &mut packet, cx));
        if count % 100 == 0 {
            world.run(Duration::from_millis(1));
        }
    }
    assert!(world.nodes[1].endpoint.stats().retries_limited > 20_000);
    assert!(world.nodes[1].endpoint.is_connected(&a) && world.nodes[0].endpoint.is_connected(&b));
}

/// Key agreements are bounded even for those who have tokens.
#[test]
fn session_requests_are_read_no_faster_than_the_limit() {
    let limits = |c: &mut super::super::Config| {
        c.limits.pending_inbound = 1_000;
        c.limits.requests_per_second = 20;
    };
    let mut world = World::with(7, 101, super::link::Link::default(), limits);
    for n in 1..=100 {
        world.connect(n, 0);
    }
    world.run(Duration::from_millis(900));
    let stats = world.nodes[0].endpoint.stats();
    assert!(stats.sessions <= 38 && stats.requests_limited >= 60, "{stats:?}");
    world.run(Duration::from_secs(20));
    assert!(world.nodes[0].endpoint.stats().sessions > 60, "who asks again gets in");
}
