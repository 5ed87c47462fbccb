//! Limits, failed dials and bans.

use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::Duration;
use aioli_wire::RouterAddress;
use aioli_wire::ntcp2::TerminationReason;

use super::{Net, START, addr};
use crate::{ConnId, DialError, DisconnectReason, Output, Why};

fn dial_errors(net: &Net, n: usize) -> Vec<DialError> {
    net.nodes[n]
        .told
        .iter()
        .filter_map(|o| if let Output::DialFailed { reason, .. } = o { Some(*reason) } else { None })
        .collect()
}

#[test]
fn connections_are_accepted_up_to_their_limits() {
    let public = |n: u8| SocketAddr::from(([8, 8, 4, n], 4_000));
    let mut net = Net::new(1, 1, |c| {
        c.limits.connections_per_ip = 3;
        c.limits.pending_inbound = 5;
        c.limits.connections = 7;
    });
    let accept = |net: &mut Net, from| net.with(0, |t, cx| t.handle_accepted(from, cx));
    let conns: Vec<_> = (0..3).map(|_| accept(&mut net, public(1)).unwrap()).collect();
    assert_eq!(accept(&mut net, public(1)), None);
    assert!(accept(&mut net, public(2)).is_some());
    assert!(accept(&mut net, public(3)).is_some());
    assert_eq!(accept(&mut net, public(4)), None);
    let stats = net.nodes[0].t.stats();
    assert_eq!((stats.refused_per_ip, stats.refused_pending, stats.connections), (1, 1, 5));
    // Places are given back.
    net.with(0, |t, cx| t.handle_closed(conns[0], cx));
    assert!(accept(&mut net, public(1)).is_some());
    net.nodes[0].t.config.limits.pending_inbound = 100;
    assert!(accept(&mut net, public(5)).is_some());
    assert!(accept(&mut net, public(6)).is_some());
    assert_eq!(accept(&mut net, public(7)), None);
    assert_eq!(net.nodes[0].t.stats().refused_connections, 1);
    net.nodes[0].t.config.limits.connections = 100;
    net.nodes[0].t.config.limits.inbound_connections = 8;
    assert!(accept(&mut net, public(8)).is_some());
    assert_eq!(accept(&mut net, public(9)), None);
    net.advance(Duration::from_secs(13));
    let t = &net.nodes[0].t;
    assert_eq!((t.stats().connections, t.pending_inbound, t.inbound), (0, 0, 0));
    assert!(t.per_ip.is_empty());
}

#[test]
fn the_internet_has_no_private_addresses() {
    let mut net = Net::new(2, 2, |c| c.private_network = false);
    assert_eq!(net.with(0, |t, cx| t.handle_accepted(addr(9), cx)), None);
    assert_eq!(net.nodes[0].t.stats().refused_not_public, 1);
    net.send(0, 1, 1, 100);
    net.run();
    let (static_key, iv) = (net.nodes[1].keys.static_key.public(), net.nodes[1].keys.iv);
    for (at, dials) in [("8.8.4.4:443", 0), ("8.8.4.4:4430", 1)] {
        let address = RouterAddress::ntcp2(3, &static_key, Some((at.parse().unwrap(), iv))).unwrap();
        net.nodes[1].ri = net.nodes[1].keys.router_info(START, |p| p.addresses = vec![address]);
        net.send(0, 1, 1, 100);
        net.run();
        assert_eq!(net.nodes[0].t.stats().dials, dials, "{at}");
    }
    assert_eq!(dial_errors(&net, 0), [DialError::NoAddress, DialError::NoAddress, DialError::Unreachable]);
}

#[test]
fn a_failed_dial_gives_the_messages_back_and_is_not_repeated_at_once() {
    let mut net = Net::new(3, 3, |_| {});
    net.nodes[1].keys.addr = addr(200);
    net.send(0, 1, 1, 100);
    net.send(0, 1, 2, 100);
    net.run();
    let Some(Output::DialFailed { peer, reason: DialError::Unreachable, dropped }) = net.nodes[0].told.pop()
    else {
        panic!("the dial failed")
    };
    assert_eq!((peer, dropped.len()), (net.nodes[1].hash(), 2));
    assert_eq!(net.nodes[0].t.stats().queued_bytes, 0);
    net.send(0, 1, 3, 100);
    net.run();
    assert_eq!(dial_errors(&net, 0), [DialError::BackOff]);
    assert_eq!(net.nodes[0].t.stats().dials, 1);
    // Later it is reachable.
    net.nodes[1].keys.addr = addr(2);
    net.advance(Duration::from_secs(30));
    net.send(0, 1, 4, 100);
    net.run();
    assert_eq!(net.received(1), [4]);
    // An inbound session clears the record as well.
    net.advance(Duration::from_secs(4_000));
    assert_eq!(net.nodes[0].t.next_timeout(), None);
}

#[test]
fn every_address_is_tried_cheapest_first() {
    let mut net = Net::new(4, 2, |_| {});
    let keys = &net.nodes[1].keys;
    let address =
        |cost, at| RouterAddress::ntcp2(cost, &keys.static_key.public(), Some((at, keys.iv))).unwrap();
    let v6: SocketAddr = "[fd00::1]:9000".parse().unwrap();
    let addresses = vec![address(20, keys.addr), address(3, addr(100)), address(5, v6)];
    net.nodes[1].ri = keys.router_info(START, |p| p.addresses = addresses);
    net.silent.push(addr(100));
    net.send(0, 1, 1, 100);
    net.run();
    assert_eq!(net.nodes[0].t.next_timeout().map(|t| t.1), Some(Why::Connect));
    net.advance(Duration::from_secs(6));
    assert_eq!(net.received(1), [1]);
    assert_eq!(net.nodes[0].t.stats().dials_unreachable, 2);
    assert_eq!(net.nodes[0].closes, [true], "the one that never answered");
}

#[test]
fn families_that_we_lack_are_not_dialled() {
    let mut net = Net::new(4, 2, |_| {});
    net.nodes[0].t.set_families(false, true);
    net.send(0, 1, 1, 100);
    net.run();
    assert_eq!(dial_errors(&net, 0), [DialError::NoAddress]);
}

#[test]
fn a_mute_bob_times_out() {
    let mut net = Net::new(5, 2, |_| {});
    let target = net.nodes[1].keys.addr;
    net.silent.push(target);
    net.send(0, 1, 1, 100);
    net.run();
    net.with(0, |t, cx| t.handle_connected(ConnId(0), cx));
    net.advance(Duration::from_secs(9));
    assert!(dial_errors(&net, 0).is_empty());
    net.advance(Duration::from_secs(4));
    assert_eq!(dial_errors(&net, 0), [DialError::Timeout]);
    let (peer, now) = (net.nodes[1].hash(), net.now);
    assert!(net.nodes[0].t.is_backed_off(&peer, now));
}

#[test]
fn queues_are_bounded_by_bytes() {
    let mut net = Net::new(6, 3, |c| {
        c.limits.queue_bytes_dialling = 10_000;
        c.limits.queue_bytes_per_peer = 20_000;
        c.limits.queue_bytes_total = 25_000;
    });
    let targets = [net.nodes[1].keys.addr, net.nodes[2].keys.addr];
    net.silent.extend(targets);
    for id in 0..30 {
        net.send(0, 1, id, 988);
    }
    let peer = net.nodes[1].hash();
    assert_eq!(net.nodes[0].t.queued(&peer), 10_000);
    assert_eq!(net.nodes[0].t.stats().dropped_full, 20);
    net.nodes[0].t.config.limits.queue_bytes_dialling = 20_000;
    for id in 0..30 {
        net.send(0, 1, id, 988);
        net.send(0, 2, id, 988);
    }
    assert_eq!(net.nodes[0].t.stats().queued_bytes, 25_000);
    net.advance(Duration::from_secs(20));
    let stats = net.nodes[0].t.stats();
    assert_eq!((stats.queued_bytes, stats.dropped_disconnected, stats.connections), (0, 25, 0));
}

#[test]
fn dials_are_bounded() {
    let mut net = Net::new(7, 4, |c| c.limits.pending_outbound = 2);
    let targets: Vec<_> = net.nodes.iter().map(|n| n.keys.addr).collect();
    net.silent.extend(targets);
    for to in 1..4 {
        net.send(0, to, 1, 100);
    }
    net.run();
    assert_eq!(dial_errors(&net, 0), [DialError::Limit]);
    assert_eq!(net.nodes[0].t.stats().dials_limited, 1);
}

#[test]
fn the_banned_are_turned_away_both_ways() {
    let mut net = Net::new(8, 2, |_| {});
    net.send(0, 1, 1, 100);
    net.run();
    let (peer, until) = (net.nodes[0].hash(), net.now + Duration::from_secs(600));
    net.with(1, |t, cx| t.ban(peer, until, cx));
    net.run();
    assert!(!net.connected(0, 1) && !net.connected(1, 0));
    net.send(1, 0, 2, 100);
    net.run();
    assert_eq!(dial_errors(&net, 1), [DialError::Refused]);
    net.send(0, 1, 3, 100);
    net.run();
    let banned = DisconnectReason::Theirs(TerminationReason::Banned);
    assert_eq!(net.count(0, |o| matches!(o, Output::Disconnected { reason, .. } if *reason == banned)), 2);
    assert_eq!(net.received(1), [1]);
    net.advance(Duration::from_secs(700));
    net.send(0, 1, 4, 100);
    net.run();
    assert_eq!(net.received(1), [1, 4]);
}

#[test]
fn we_do_not_dial_ourselves_or_other_networks() {
    let mut net = Net::new(9, 2, |_| {});
    net.send(0, 0, 1, 100);
    net.nodes[1].ri = net.nodes[1].keys.router_info(START, |p| p.options.set("netId", "2").unwrap());
    net.send(0, 1, 1, 100);
    let ri = Arc::clone(&net.nodes[1].ri);
    net.with(0, |t, cx| t.connect(&ri, cx));
    net.run();
    assert_eq!(dial_errors(&net, 0), [DialError::Refused; 3]);
}

#[test]
fn closing_a_dial_tells_about_it() {
    let mut net = Net::new(10, 2, |_| {});
    let target = net.nodes[1].keys.addr;
    net.silent.push(target);
    net.send(0, 1, 1, 100);
    net.run();
    let peer = net.nodes[1].hash();
    net.with(0, |t, cx| t.close(&peer, TerminationReason::Normal, cx));
    net.run();
    assert_eq!(dial_errors(&net, 0), [DialError::Refused]);
    assert_eq!(net.nodes[0].closes, [true]);
    let stats = net.nodes[0].t.stats();
    assert_eq!((stats.connections, stats.queued_bytes), (0, 0));
}

#[test]
fn dials_beyond_the_rate_wait_their_turn_or_fail_softly() {
    // 60 a minute: 15 at once, then one a second; ten may wait.
    let mut net = Net::new(11, 30, |c| c.limits.dials_per_minute = 60);
    for to in 1..30 {
        net.send(0, to, to as u32, 100);
    }
    net.run();
    let begun = |net: &Net| (1..30).filter(|n| net.connected(0, *n)).count();
    assert_eq!(begun(&net), 15);
    let stats = net.nodes[0].t.stats();
    assert_eq!((stats.dials, stats.dials_paced, stats.dials_limited), (25, 10, 4));
    assert_eq!(dial_errors(&net, 0), [DialError::Limit; 4], "soon is not soon enough for these");
    let (peer, now) = (net.nodes[29].hash(), net.now);
    assert!(!net.nodes[0].t.is_backed_off(&peer, now), "it is not the peer's fault");
    assert_eq!(net.nodes[0].t.next_timeout().map(|t| t.1), Some(Why::Pace));
    for second in 1..=10 {
        net.advance(Duration::from_secs(1));
        assert_eq!(begun(&net), 15 + second);
    }
    assert_eq!(net.received(25), [25], "what waited with the dial was sent");
    // A session that stands is used however many dials wait.
    net.send(0, 1, 99, 100);
    net.run();
    assert_eq!(net.received(1), [1, 99]);
}

#[test]
fn a_dial_that_is_given_up_in_line_costs_nothing() {
    let mut net = Net::new(12, 6, |c| c.limits.dials_per_minute = 8);
    for to in 1..4 {
        net.send(0, to, 1, 100);
    }
    net.run();
    assert!(net.connected(0, 2) && !net.connected(0, 3), "two at once, one waits");
    let peer = net.nodes[3].hash();
    net.with(0, |t, cx| t.close(&peer, TerminationReason::Normal, cx));
    net.send(0, 4, 1, 100);
    net.advance(Duration::from_millis(7_600));
    assert!(net.connected(0, 4), "the turn of the one that was given up");
    assert!(!net.connected(0, 3));
    assert_eq!(net.nodes[0].t.pending_outbound, 0);
}

#[test]
fn a_peer_that_comes_by_itself_needs_no_turn() {
    let mut net = Net::new(13, 4, |c| c.limits.dials_per_minute = 8);
    for to in 1..4 {
        net.send(0, to, 1, 100);
    }
    net.run();
    assert!(!net.connected(0, 3));
    net.send(3, 0, 2, 100);
    net.run();
    assert!(net.connected(0, 3));
    assert_eq!(net.received(3), [1], "what waited goes with the session that came");
    assert_eq!(net.nodes[0].t.pending_outbound, 0);
}

#[test]
fn connections_are_accepted_at_a_rate() {
    let mut net = Net::new(14, 1, |c| {
        c.limits.accepts_per_minute = 60;
        c.limits.connections_per_ip = 2;
    });
    let from = |n: u8| SocketAddr::from(([8, 8, 4, n], 4_000));
    let accept = |net: &mut Net, from| net.with(0, |t, cx| t.handle_accepted(from, cx)).is_some();
    assert!((1..=15).all(|n| accept(&mut net, from(n))));
    assert!(!accept(&mut net, from(16)));
    assert_eq!(net.nodes[0].t.stats().refused_paced, 1);
    net.advance(Duration::from_secs(1));
    assert!(accept(&mut net, from(1)) && !accept(&mut net, from(1)));
    net.advance(Duration::from_secs(1));
    // What another limit refuses is not counted here.
    assert!(!accept(&mut net, from(1)) && accept(&mut net, from(17)));
    assert_eq!((net.nodes[0].t.stats().refused_per_ip, net.nodes[0].t.stats().refused_paced), (2, 1));
}

#[test]
fn the_longest_idle_session_makes_room_for_a_dial_but_not_for_a_stranger() {
    let mut net = Net::new(15, 6, |c| c.limits.connections = 3);
    for to in 1..4 {
        net.send(0, to, 1, 100);
        net.run();
        net.advance(Duration::from_secs(1));
    }
    net.send(0, 4, 1, 100);
    net.run();
    assert_eq!(dial_errors(&net, 0), [DialError::Limit], "all are in use");
    net.advance(Duration::from_secs(20));
    net.send(0, 1, 2, 100);
    net.send(5, 0, 1, 100);
    net.run();
    assert!(!net.connected(5, 0), "a stranger is refused");
    net.send(0, 4, 2, 100);
    net.run();
    assert!(net.connected(0, 4) && net.connected(0, 1) && net.connected(0, 3));
    assert!(!net.connected(0, 2), "it was idle longest");
    let stats = net.nodes[0].t.stats();
    assert_eq!((stats.closed_for_room, stats.connections), (1, 3));
    let ours = DisconnectReason::Ours(TerminationReason::Normal);
    assert_eq!(net.count(0, |o| matches!(o, Output::Disconnected { reason, .. } if *reason == ours)), 1);
}
