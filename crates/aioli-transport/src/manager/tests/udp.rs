//! Two transports side by side: which is used, what happens when it fails, and what both share.

use std::sync::Arc;

use aioli_core::Duration;
use aioli_wire::ssu2::Ssu2Address;

use super::super::udp::Way;
use super::{Keys, Net, START, addr};
use crate::ssu2::{IntroKey, Remote};
use crate::{Bandwidth, Config, DialError, Lane, Output, PeerMisbehaved, Ssu2Keys};

const SECOND: Duration = Duration::from_secs(1);

fn both(config: &mut Config) {
    let (static_key, intro_key) =
        (config.ntcp2_static.clone(), IntroKey(config.ntcp2_iv.repeat(2).try_into().unwrap()));
    config.ssu2 = Some(Ssu2Keys { static_key, intro_key, mtu: 1500, listens: true, signing: None });
}

fn ssu2_only(config: &mut Config) {
    both(config);
    config.ntcp2 = false;
}

/// How the others dial a router over SSU2.
fn remote(net: &Net, n: usize) -> Remote {
    let address = Ssu2Address::parse(&net.nodes[n].ri.addresses[1]).unwrap();
    let (hash, intro_key) = (net.nodes[n].hash(), IntroKey(address.intro_key));
    Remote { hash, static_key: address.static_key, intro_key, address: addr(n as u8 + 1), mtu: 1500 }
}

fn established(net: &Net, n: usize) -> usize {
    net.count(n, |o| matches!(o, Output::Established { .. }))
}

fn over_ssu2(net: &Net, n: usize) -> usize {
    net.nodes[n].t.ssu2_sessions()
}

#[test]
fn ssu2_alone_carries_messages_both_ways() {
    let mut net = Net::new(1, 2, ssu2_only);
    for id in 0..100 {
        net.send(0, 1, id, 1_028);
    }
    net.advance(SECOND);
    assert_eq!((established(&net, 0), established(&net, 1)), (1, 1));
    assert_eq!(net.received(1), (0..100).collect::<Vec<_>>());
    for id in 0..10 {
        net.send(1, 0, id, 30_000);
    }
    net.advance(SECOND);
    let mut received = net.received(0);
    received.sort_unstable();
    assert_eq!(received, (0..10).collect::<Vec<_>>());
    assert!(net.largest_batch >= 8, "{} datagrams at most in one batch", net.largest_batch);
    let stats = net.nodes[1].t.stats();
    assert_eq!((stats.sessions, stats.queued_bytes, stats.connections), (1, 0, 0));
    assert!(stats.bytes_received > 100_000 && stats.messages_received == 100, "{stats:?}");
    let clock = |o: &Output| matches!(o, Output::PeerClock { ahead_ms, .. } if ahead_ms.abs() <= 1_000);
    assert_eq!(net.count(0, clock), 1, "whom we dialled tells the time");
    assert!(
        net.count(0, |o| matches!(o, Output::ObservedAddress { address, .. } if *address == addr(1))) >= 1
    );
}

#[test]
fn a_router_of_one_transport_meets_one_of_both() {
    let mut net = Net::new(2, 2, |_| {});
    net.send(0, 1, 1, 100);
    net.run();
    assert_eq!((net.received(1), over_ssu2(&net, 0)), (vec![1], 0));
    let first = std::cell::Cell::new(true);
    let mut net = Net::new(2, 2, |c| if first.replace(false) { both(c) } else { ssu2_only(c) });
    net.send(0, 1, 1, 100);
    net.send(1, 0, 2, 100);
    net.advance(SECOND);
    assert_eq!((net.received(1), net.received(0), over_ssu2(&net, 0)), (vec![1], vec![2], 1));
}

#[test]
fn ntcp2_is_tried_first_unless_a_token_is_held() {
    let mut net = Net::new(3, 2, both);
    net.send(0, 1, 1, 100);
    net.run();
    assert_eq!((net.received(1), over_ssu2(&net, 0)), (vec![1], 0));
    // Without TCP the other is used, and leaves a token.
    let peer = net.nodes[1].hash();
    net.with(0, |t, cx| t.close(&peer, aioli_wire::ntcp2::TerminationReason::Normal, cx));
    net.silent.push(addr(2));
    net.send(0, 1, 2, 100);
    net.advance(3 * SECOND);
    assert_eq!(over_ssu2(&net, 0), 1);
    net.with(0, |t, cx| t.close(&peer, aioli_wire::ntcp2::TerminationReason::Normal, cx));
    net.silent.clear();
    let dials = net.nodes[0].t.stats().dials_both;
    net.send(0, 1, 3, 100);
    net.advance(SECOND);
    assert_eq!((net.received(1), over_ssu2(&net, 0)), (vec![1, 2, 3], 1));
    assert_eq!(net.nodes[0].t.stats().dials_both, dials, "nothing else was tried");
}

#[test]
fn what_waits_moves_at_once_when_tcp_is_refused() {
    let mut net = Net::new(4, 2, both);
    let closed = addr(9);
    let keys: &Keys = &net.nodes[1].keys;
    let address =
        aioli_wire::RouterAddress::ntcp2(10, &keys.static_key.public(), Some((closed, keys.iv))).unwrap();
    let second = net.nodes[1].ri.addresses[1].clone();
    net.nodes[1].ri = keys.router_info(START, |parts| parts.addresses = vec![address, second]);
    for id in 0..40 {
        net.send(0, 1, id, 1_000);
    }
    net.advance(SECOND / 2);
    assert_eq!(net.received(1), (0..40).collect::<Vec<_>>());
    let stats = net.nodes[0].t.stats();
    assert_eq!((stats.dials_moved, stats.dials_unreachable, stats.dropped_disconnected), (1, 1, 0));
    assert_eq!(net.count(0, |o| matches!(o, Output::DialFailed { .. })), 0);
}

#[test]
fn what_waits_moves_when_tcp_is_silent_and_the_attempt_is_given_up() {
    let mut net = Net::new(5, 2, both);
    net.silent.push(addr(2));
    for id in 0..40 {
        net.send(0, 1, id, 1_000);
    }
    net.advance(super::super::dial::HEAD_START - SECOND / 10);
    assert!(!net.connected(0, 1));
    net.advance(SECOND);
    assert_eq!(net.received(1), (0..40).collect::<Vec<_>>());
    assert_eq!((net.nodes[0].t.stats().dials_both, net.nodes[0].closes.len()), (1, 1));
    net.advance(30 * SECOND);
    assert_eq!(net.count(0, |o| matches!(o, Output::DialFailed { .. })), 0);
    assert_eq!((established(&net, 0), net.nodes[0].t.stats().connections), (1, 0));
}

#[test]
fn what_waits_moves_to_tcp_when_datagrams_vanish() {
    let mut net = Net::new(6, 2, both);
    let peer = net.nodes[1].hash();
    net.nodes[0].t.remember_way(peer, true);
    net.silent_udp.push(addr(2));
    for id in 0..40 {
        net.send(0, 1, id, 1_000);
    }
    net.advance(super::super::dial::HEAD_START - SECOND / 10);
    assert!(!net.connected(0, 1));
    net.advance(SECOND);
    assert_eq!((net.received(1), over_ssu2(&net, 0)), ((0..40).collect::<Vec<_>>(), 0));
    net.advance(30 * SECOND);
    assert_eq!(net.count(0, |o| matches!(o, Output::DialFailed { .. })), 0);
}

#[test]
fn a_dial_that_nothing_answers_gives_everything_back() {
    let mut net = Net::new(7, 2, both);
    net.silent.push(addr(2));
    net.silent_udp.push(addr(2));
    for id in 0..5 {
        net.send(0, 1, id, 1_000);
    }
    net.advance(20 * SECOND);
    let dropped = net.nodes[0].told.iter().find_map(|o| {
        let Output::DialFailed { dropped, reason, .. } = o else { return None };
        Some((dropped.len(), *reason))
    });
    assert_eq!(dropped, Some((5, DialError::Unreachable)));
    let (peer, now) = (net.nodes[1].hash(), net.now);
    assert!(net.nodes[0].t.is_backed_off(&peer, now));
    assert_eq!(net.nodes[0].t.stats().queued_bytes, 0);
}

#[test]
fn of_two_sessions_the_older_is_used_and_the_other_takes_over() {
    let mut net = Net::new(8, 2, both);
    net.send(0, 1, 1, 100);
    net.run();
    // The peer had begun to dial over the other.
    let remote = remote(&net, 0);
    net.with(1, |t, cx| {
        let conn = t.next_conn_id();
        t.line_up_udp(conn, Way::Direct(remote));
        t.connect_udp(conn, cx);
    });
    net.send(1, 0, 2, 100);
    net.advance(SECOND);
    assert_eq!((established(&net, 0), established(&net, 1)), (1, 1));
    assert_eq!((net.received(1), net.received(0)), (vec![1], vec![2]));
    for n in 0..2 {
        let stats = net.nodes[n].t.stats();
        assert_eq!((stats.sessions, stats.connections, over_ssu2(&net, n)), (1, 1, 1), "{n}");
    }
    // The TCP connection breaks.
    let conn = net.conns(0)[0];
    net.with(0, |t, cx| t.handle_closed(conn, cx));
    let conn = net.conns(1)[0];
    net.with(1, |t, cx| t.handle_closed(conn, cx));
    net.send(0, 1, 3, 100);
    net.send(1, 0, 4, 100);
    net.advance(SECOND);
    assert_eq!((net.received(1), net.received(0)), (vec![1, 3], vec![2, 4]));
    assert_eq!(net.count(0, |o| matches!(o, Output::Disconnected { .. })), 0);
    assert_eq!(net.nodes[0].t.stats().dials, 1);
}

#[test]
fn the_banned_are_turned_away() {
    let mut net = Net::new(10, 2, ssu2_only);
    let (peer, until) = (net.nodes[0].hash(), net.now + 600 * SECOND);
    net.send(0, 1, 1, 100);
    net.advance(SECOND);
    net.with(1, |t, cx| t.ban(peer, until, cx));
    net.advance(SECOND);
    assert!(!net.connected(0, 1) && !net.connected(1, 0));
    net.send(0, 1, 2, 100);
    net.advance(SECOND);
    assert_eq!((net.received(1), established(&net, 1)), (vec![1], 1));
    assert!(net.nodes[1].t.stats().banned >= 1);
    net.send(1, 0, 3, 100);
    net.run();
    assert_eq!(net.count(1, |o| matches!(o, Output::DialFailed { reason: DialError::Refused, .. })), 1);
}

#[test]
fn a_session_that_is_refused_ends_the_dial_it_crossed() {
    let mut net = Net::new(13, 2, ssu2_only);
    let first = net.nodes[0].hash();
    // The answer to our own dial is on its way when the peer's is complete.
    net.silent_udp.push(addr(1));
    net.send(1, 0, 1, 100);
    net.run();
    net.silent_udp.clear();
    while net.nodes[1].t.pace.accept(net.now) {}
    net.send(0, 1, 2, 100);
    net.run();
    assert_eq!((established(&net, 1), net.nodes[1].t.stats().queued_bytes), (0, 0));
    let failed = |o: &Output| matches!(o, Output::DialFailed { peer, reason: DialError::Limit, dropped } if *peer == first && dropped.len() == 1);
    assert_eq!(net.count(1, failed), 1);
}

#[test]
fn clocks_that_differ_over_ssu2_are_told_and_counted_once() {
    let mut net = Net::new(14, 2, ssu2_only);
    net.nodes[1].skew = 600;
    net.send(0, 1, 1, 100);
    net.advance(SECOND);
    let skew = Some(DialError::Handshake(PeerMisbehaved::ClockSkew(600)));
    let failed = net.nodes[0].told.iter().find_map(|o| {
        let Output::DialFailed { reason, .. } = o else { return None };
        Some(*reason)
    });
    assert_eq!(failed, skew);
    let stats = net.nodes[0].t.stats();
    assert_eq!((stats.dials, stats.dials_failed, stats.clock_skews), (1, 1, 1));
    assert_eq!(net.count(0, |o| matches!(o, Output::ClockSkew { .. })), 1);
}

#[test]
fn who_does_not_listen_answers_nobody_and_dials_all_the_same() {
    let second = std::cell::Cell::new(false);
    let mut net = Net::new(12, 2, |c| {
        ssu2_only(c);
        if second.replace(true) {
            c.ssu2.as_mut().unwrap().listens = false;
        }
    });
    net.send(0, 1, 1, 100);
    net.advance(20 * SECOND);
    let timed_out = |o: &Output| matches!(o, Output::DialFailed { reason: DialError::Timeout, .. });
    assert_eq!((net.count(0, timed_out), net.received(1)), (1, vec![]));
    assert_eq!(net.nodes[1].t.stats().bytes_sent, 0);
    net.send(1, 0, 2, 100);
    net.advance(SECOND);
    assert_eq!(net.received(0), [2]);
}

#[test]
fn bandwidth_limits_hold() {
    const LIMIT: u64 = 256 << 10;
    let limited = |outbound: bool| {
        let first = std::cell::Cell::new(true);
        let mut net = Net::new(11, 2, |c| {
            ssu2_only(c);
            if first.replace(false) == outbound {
                let limit = Some(LIMIT);
                let (inbound, outbound) = if outbound { (None, limit) } else { (limit, None) };
                c.bandwidth = Bandwidth { inbound, outbound, ..Bandwidth::default() };
            }
        });
        let ri = Arc::clone(&net.nodes[1].ri);
        for step in 0..1_000 {
            // 2 MB a second, half of it others'.
            for i in 0..2 {
                let message = net.message(step * 2 + i, 10_000);
                let lane = if i == 0 { Lane::Own } else { Lane::Transit };
                net.with(0, |t, cx| t.send(&ri, lane, message, cx));
            }
            net.advance(Duration::from_millis(10));
        }
        net
    };
    let net = limited(true);
    let sent = net.nodes[0].t.stats().bytes_sent;
    assert!((LIMIT * 9..LIMIT * 11).contains(&sent), "{sent} in ten seconds");
    let arrived = net.received(1).len() as u64 * 10_000;
    assert!(arrived > LIMIT * 8, "{arrived}");
    assert!(net.received(1).iter().any(|id| id % 2 == 1), "others' are not starved");
    let net = limited(false);
    let stats = net.nodes[1].t.stats();
    let arrived = net.received(1).len() as u64 * 10_000;
    assert!(
        (LIMIT * 6..LIMIT * 11).contains(&arrived),
        "{arrived} in ten seconds, {} dropped",
        stats.dropped_inbound
    );
}

#[test]
fn one_peer_makes_us_write_to_everybody_once_in_ten_minutes() {
    let mut net = Net::new(14, 3, ssu2_only);
    let [one, other] = [1, 2].map(|n| net.nodes[n].hash());
    let mut is_heard = |after: u64, by| {
        net.now += Duration::from_secs(after);
        net.with(0, |t, cx| {
            t.doubt_address(by, cx.now.mono);
            t.udp.as_ref().unwrap().doubted == Some(cx.now.mono)
        })
    };
    assert!(is_heard(1, one));
    assert!(!is_heard(1, other), "everybody has just been told");
    assert!(!is_heard(60, one));
    assert!(is_heard(60, other));
    assert!(!is_heard(60, other));
    assert!(is_heard(600, one));
}

#[test]
fn a_lost_connection_is_begun_anew_beside_a_dial_that_nobody_answers() {
    let mut net = Net::new(15, 2, both);
    net.send(0, 1, 1, 100);
    net.advance(SECOND);
    let (lost, to) = (net.conns(0)[0], Arc::clone(&net.nodes[1].ri));
    net.silent_udp.push(addr(2));
    net.with(0, |t, cx| t.connect_ssu2(&to, cx));
    net.run();
    net.with(0, |t, cx| {
        t.handle_closed(lost, cx);
        assert!(!t.is_connected(&to.hash()));
        t.reconnect_ntcp2(&to, cx);
    });
    net.run();
    assert!(net.connected(0, 1), "at once");
}
