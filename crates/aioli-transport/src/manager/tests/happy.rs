//! Sessions between routers that mean well.

use std::sync::Arc;

use aioli_core::{Cx, Duration};
use aioli_wire::ntcp2::TerminationReason;
use proptest::prelude::*;

use super::{Cut, Net};
use crate::{Config, DisconnectReason, Lane, Output, Transport, Why};

#[test]
fn messages_cross_a_new_session_in_order() {
    for cut in [Cut::Whole, Cut::Bytes, Cut::Random] {
        let mut net = Net::new(1, 2, |_| {});
        net.cut = cut;
        for id in 0..40 {
            net.send(0, 1, id, 1028);
        }
        net.run();
        assert_eq!(net.received(1), (0..40).collect::<Vec<_>>(), "{cut:?}");
        for id in 0..40 {
            net.send(1, 0, id, 200);
        }
        net.run();
        assert_eq!(net.received(0), (0..40).collect::<Vec<_>>(), "{cut:?}");
        assert!(net.connected(0, 1) && net.connected(1, 0));
        let (a, b) = (net.nodes[0].t.stats(), net.nodes[1].t.stats());
        assert_eq!((a.established_outbound, b.established_inbound), (1, 1));
        assert_eq!((a.dials, b.dials, a.queued_bytes), (1, 0, 0));
        let Some(Output::Established { inbound: true, router_info: Some(ri), .. }) =
            net.nodes[1].told.first()
        else {
            panic!("Bob is told who came");
        };
        assert_eq!(ri.claims().bytes(), net.nodes[0].ri.bytes());
    }
}

#[test]
fn a_batch_is_one_frame_and_one_output() {
    let mut net = Net::new(2, 2, |_| {});
    net.send(0, 1, 0, 1028);
    net.run();
    let before = net.nodes[0].t.stats().frames_sent;
    for id in 1..=15 {
        net.send(0, 1, id, 1028);
    }
    net.run();
    assert_eq!(net.nodes[0].t.stats().frames_sent - before, 1);
    let last = net.nodes[1].told.last();
    assert!(matches!(last, Some(Output::Messages { messages, .. }) if messages.len() == 15), "{last:?}");
}

#[test]
fn messages_of_every_size_cross() {
    let mut net = Net::new(3, 2, |_| {});
    net.cut = Cut::Random;
    let sizes = [0, 1, 16_000, 16_384, 30_000, 62_708, 5, 62_708];
    for (id, size) in sizes.iter().enumerate() {
        net.send(0, 1, id as u32, *size);
        net.run();
    }
    assert_eq!(net.received(1), (0..sizes.len() as u32).collect::<Vec<_>>());
    net.send(0, 1, 99, 62_709);
    net.run();
    assert_eq!(net.nodes[0].t.stats().dropped_too_large, 1);
}

#[test]
fn an_idle_session_says_so_and_ends() {
    let mut net = Net::new(4, 2, |_| {});
    net.send(0, 1, 1, 100);
    net.advance(Duration::from_secs(100));
    assert!(net.connected(0, 1));
    net.send(0, 1, 2, 100);
    net.advance(Duration::from_secs(100));
    assert!(net.connected(0, 1), "traffic keeps it");
    net.advance(Duration::from_secs(60));
    assert!(!net.connected(0, 1) && !net.connected(1, 0));
    let ends = |n: usize| {
        net.nodes[n]
            .told
            .iter()
            .find_map(|o| if let Output::Disconnected { reason, .. } = o { Some(*reason) } else { None })
    };
    let idle = TerminationReason::IdleTimeout;
    let both = [ends(0), ends(1)];
    assert!(both.contains(&Some(DisconnectReason::Ours(idle))), "{both:?}");
    assert!(both.contains(&Some(DisconnectReason::Theirs(idle))), "{both:?}");
    for node in &net.nodes {
        let stats = node.t.stats();
        assert_eq!((stats.connections, stats.sessions, stats.queued_bytes), (0, 0, 0));
        assert!(node.t.next_timeout().is_none_or(|(_, why)| why == Why::Sweep));
        assert_eq!(node.closes, [false]);
    }
}

#[test]
fn own_router_info_is_sent_again_within_the_session() {
    let mut net = Net::new(5, 2, |c| c.idle_timeout = Duration::from_secs(100_000));
    net.send(0, 1, 1, 100);
    net.run();
    let fresh = net.nodes[0].keys.router_info(net.clock(0).wall + Duration::from_secs(60), |_| {});
    net.nodes[0].t.set_local(Arc::clone(&fresh));
    net.advance(Duration::from_secs(51 * 60));
    let seen = net.count(
        1,
        |o| matches!(o, Output::RouterInfo { ri, flood: false, .. } if ri.claims().bytes() == fresh.bytes()),
    );
    assert!((1..=2).contains(&seen), "{seen}");
    assert!(net.connected(0, 1));
}

#[test]
fn routers_that_dial_each_other_agree_on_one_session() {
    for seed in 0..8 {
        let mut net = Net::new(seed, 2, |_| {});
        net.send(0, 1, 1, 1000);
        net.send(1, 0, 2, 1000);
        net.frozen = true;
        net.run();
        net.frozen = false;
        net.run();
        for round in 0..20 {
            net.send(0, 1, 10 + round, 500);
            net.send(1, 0, 10 + round, 500);
            net.advance(Duration::from_secs(1));
        }
        for n in 0..2 {
            let stats = net.nodes[n].t.stats();
            assert_eq!((stats.connections, stats.sessions), (1, 1), "seed {seed}");
            assert_eq!(net.received(n).len(), 21, "seed {seed}");
            assert_eq!(net.count(n, |o| matches!(o, Output::Established { .. })), 1);
            assert_eq!(net.count(n, |o| matches!(o, Output::Disconnected { .. })), 0);
        }
    }
}

/// Node 2 becomes what node 0 is after a restart that lost its sockets, and
/// both have a session with node 1.
fn restarted(seed: u8) -> Net {
    let mut net = Net::new(seed, 3, |_| {});
    net.send(0, 1, 1, 100);
    net.advance(Duration::from_secs(20));
    let keys = &net.nodes[0].keys;
    let mut config = Config::new(keys.static_key.clone(), keys.iv);
    (config.net_id, config.private_network) = (99, true);
    let mut again = Transport::new(config, net.nodes[2].rng.fork());
    again.set_local(Arc::clone(&net.nodes[0].ri));
    net.nodes[2].t = again;
    net.send(2, 1, 2, 100);
    net.run();
    assert_eq!(net.received(1), [1, 2]);
    assert_eq!(net.nodes[1].t.stats().duplicate_sessions, 1);
    assert_eq!((net.nodes[1].t.sessions(), net.nodes[1].t.peers().count()), (1, 1));
    net
}

#[test]
fn a_peer_that_comes_again_replaces_its_session() {
    let mut net = restarted(6);
    let to = net.nodes[0].hash();
    let message = net.message(3, 50);
    net.with(1, |t, cx| t.send_to(&to, Lane::Own, message, cx)).unwrap();
    net.run();
    assert_eq!((net.received(0).len(), net.received(2)), (0, vec![3]));
    net.advance(Duration::from_secs(10));
    assert_eq!(net.nodes[1].t.stats().connections, 1);
    assert!(!net.connected(0, 1), "the older one was ended");
}

#[test]
fn the_replaced_session_serves_again_if_the_newer_is_lost() {
    let mut net = restarted(7);
    let newer = *net.conns(1).last().unwrap();
    net.with(1, |t, cx| t.handle_closed(newer, cx));
    let to = net.nodes[0].hash();
    let message = net.message(3, 50);
    net.with(1, |t, cx| t.send_to(&to, Lane::Own, message, cx)).unwrap();
    net.advance(Duration::from_secs(10));
    assert_eq!(net.received(0), [3]);
    assert!(net.connected(0, 1) && net.connected(1, 0));
    assert_eq!(net.count(1, |o| matches!(o, Output::Disconnected { .. })), 0);
}

#[test]
fn whoever_lost_a_young_session_begins_the_one_that_counts() {
    for (loses, dialled) in [(0, 1), (1, 0)] {
        let mut net = Net::new(9, 2, |_| {});
        net.send(dialled, loses, 1, 100);
        net.advance(Duration::from_secs(1));
        let lost = net.conns(loses)[0];
        net.with(loses, |t, cx| t.handle_closed(lost, cx));
        net.send(loses, dialled, 2, 100);
        net.run();
        let to = net.nodes[loses].hash();
        let message = net.message(3, 100);
        net.with(dialled, |t, cx| t.send_to(&to, Lane::Own, message, cx)).unwrap();
        net.run();
        assert_eq!((net.received(loses), net.received(dialled)), (vec![1, 3], vec![2]));
    }
}

#[test]
fn expired_messages_are_not_sent() {
    let mut net = Net::new(7, 2, |_| {});
    let target = net.nodes[1].keys.addr;
    net.silent.push(target);
    net.send(0, 1, 1, 100);
    let to = net.nodes[1].hash();
    // One by a clock that is slow, one that has been over for long.
    for (id, late) in [(2, 50), (3, 61)] {
        let mut old = net.message(id, 100);
        old.expires = net.clock(0).wall - Duration::from_secs(late);
        net.with(0, |t, cx| t.send_to(&to, Lane::Own, old, cx)).unwrap();
    }
    let conn = loop {
        match net.nodes[0].t.poll_output() {
            Some(Output::Dial { conn, .. }) => break conn,
            Some(_) => {}
            None => panic!("no dial"),
        }
    };
    net.advance(Duration::from_secs(3));
    let from = net.nodes[0].keys.addr;
    let end = net.with(1, |t, cx| t.handle_accepted(from, cx)).unwrap();
    net.links.insert((0, conn), (1, end));
    net.links.insert((1, end), (0, conn));
    net.with(0, |t, cx| t.handle_connected(conn, cx));
    net.run();
    assert_eq!(net.received(1), [1, 2]);
    assert_eq!(net.nodes[0].t.stats().dropped_expired, 1);
}

#[test]
fn shutting_down_says_so_and_refuses() {
    let mut net = Net::new(8, 3, |_| {});
    net.send(0, 1, 1, 100);
    net.run();
    net.send(0, 2, 1, 100);
    net.with(0, |t, cx| t.shut_down(cx));
    net.run();
    assert_eq!(net.nodes[0].t.stats().connections, 0);
    assert_eq!(net.nodes[0].t.stats().queued_bytes, 0);
    let shutdown = DisconnectReason::Theirs(TerminationReason::RouterShutdown);
    assert_eq!(net.count(1, |o| matches!(o, Output::Disconnected { reason, .. } if *reason == shutdown)), 1);
    net.send(1, 0, 2, 100);
    net.run();
    assert_eq!(net.nodes[0].t.stats().refused_not_ready, 1);
    assert_eq!(net.count(1, |o| matches!(o, Output::DialFailed { .. })), 1);
}

#[test]
fn small_pulls_lose_nothing() {
    let mut net = Net::new(9, 2, |_| {});
    net.send(0, 1, 0, 10);
    net.run();
    for id in 1..100 {
        net.send(0, 1, id, 700);
    }
    let Some(Output::Transmit(conn)) = net.nodes[0].t.poll_output() else { panic!("one Transmit") };
    assert!(net.nodes[0].t.poll_output().is_none(), "said once");
    let now = net.clock(0);
    let node = &mut net.nodes[0];
    let mut bytes = Vec::new();
    while node.t.poll_transmit(conn, &mut bytes, 900, &mut Cx { now, rng: &mut node.rng }) {}
    let end = net.conns(1)[0];
    net.inject(1, end, &bytes);
    net.run();
    assert_eq!(net.received(1), (0..100).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn any_sizes_any_cuts(seed in any::<u8>(), sizes in proptest::collection::vec(0usize..9_000, 1..60)) {
        let mut net = Net::new(seed, 2, |_| {});
        net.cut = Cut::Random;
        for (id, size) in sizes.iter().enumerate() {
            let (from, to) = if id % 3 == 0 { (1, 0) } else { (0, 1) };
            net.send(from, to, id as u32, *size);
            if id % 5 == 4 {
                net.run();
            }
        }
        net.run();
        let mut all = [net.received(0), net.received(1)].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..sizes.len() as u32).collect::<Vec<_>>());
        for node in &net.nodes {
            prop_assert_eq!(node.t.stats().queued_bytes, 0);
        }
    }
}
