//! Bandwidth limits: held, shared, and nobody starves.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use aioli_core::Duration;

use super::Net;
use crate::{Bandwidth, Lane, Output};

const LIMIT: u64 = 256 * 1024;
const STEP: Duration = Duration::from_millis(10);
/// What each kind wants, ten times in a step: 10 MB/s.
const SIZE: usize = 10 * 1024;
/// Transit messages have ids from here on.
const TRANSIT: u32 = 1 << 30;

/// What happened in one second.
#[derive(Clone, Copy, Debug, Default)]
struct Second {
    sent: u64,
    own: u64,
    transit: u64,
}

fn outbound() -> Bandwidth {
    Bandwidth { outbound: Some(LIMIT), ..Bandwidth::default() }
}

/// A network whose first router has sessions with the others and a limit.
fn connected(nodes: usize, bandwidth: Bandwidth) -> Net {
    let first = Cell::new(true);
    let mut net = Net::new(1, nodes, |config| {
        if first.replace(false) {
            config.bandwidth = bandwidth;
        }
    });
    for to in 1..nodes {
        net.send(0, to, 0, 100);
    }
    net.advance(Duration::from_secs(1));
    for to in 1..nodes {
        assert!(net.connected(0, to));
    }
    net
}

/// Asks the first router to send as much as `wants` of both kinds for this long.
fn demand(net: &mut Net, seconds: usize, wants: impl Fn(usize) -> [bool; 2]) -> Vec<Second> {
    let mut seen = [net.nodes[1].told.len(), net.nodes[2].told.len()];
    let mut table = Vec::new();
    for second in 0..seconds {
        let before = net.nodes[0].t.stats().bytes_sent;
        for step in 0..100 {
            let ri = [1, 2].map(|n: usize| Arc::clone(&net.nodes[n].ri));
            for message in 0..10 {
                let id = (second * 1_000 + step * 10 + message) as u32;
                for (lane, wanted) in [Lane::Own, Lane::Transit].into_iter().zip(wants(second)) {
                    // Both kinds to both peers.
                    let to = &ri[message % 2];
                    let id = if lane == Lane::Own { id } else { TRANSIT + id };
                    if wanted {
                        let message = net.message(id, SIZE);
                        net.with(0, |t, cx| t.send(to, lane, message, cx));
                    }
                }
            }
            net.advance(STEP);
        }
        let mut row = Second { sent: net.nodes[0].t.stats().bytes_sent - before, ..Second::default() };
        for (at, node) in seen.iter_mut().zip(&net.nodes[1..]) {
            for output in &node.told[*at..] {
                let Output::Messages { messages, .. } = output else { continue };
                for message in messages {
                    let kind = if message.id.0 >= TRANSIT { &mut row.transit } else { &mut row.own };
                    *kind += message.body.len() as u64;
                }
            }
            *at = node.told.len();
        }
        table.push(row);
    }
    table
}

fn mean(table: &[Second], of: impl Fn(&Second) -> u64) -> u64 {
    table.iter().map(of).sum::<u64>() / table.len() as u64
}

fn percent(rate: u64) -> u64 {
    rate * 100 / LIMIT
}

#[test]
fn a_limit_on_sending_holds_and_ours_goes_first_without_starving_others() {
    let mut net = connected(3, outbound());
    let table = demand(&mut net, 20, |_| [true, true]);
    for row in &table {
        assert!(row.sent <= LIMIT * 5 / 4, "{row:?}");
    }
    for ten in table.windows(10) {
        let sent = mean(ten, |row| row.sent);
        assert!(sent.abs_diff(LIMIT) * 100 <= LIMIT * 5, "{sent}: {table:?}");
    }
    let (own, transit) = (mean(&table[2..], |row| row.own), mean(&table[2..], |row| row.transit));
    assert!((65..=92).contains(&percent(own)), "{own}, {transit}");
    assert!((8..=30).contains(&percent(transit)), "{own}, {transit}");
}

#[test]
fn others_get_their_share_and_the_rest_stays_free_for_us() {
    let mut net = connected(3, outbound());
    let table = demand(&mut net, 30, |second| [(10..20).contains(&second), second < 25]);
    let alone = mean(&table[2..10], |row| row.transit);
    assert!((74..=81).contains(&percent(alone)), "{table:?}");
    let own = mean(&table[11..20], |row| row.own);
    assert!(percent(own) >= 65, "{table:?}");
    let after = mean(&table[22..25], |row| row.transit);
    assert!((74..=81).contains(&percent(after)), "{table:?}");
    assert!(mean(&table[27..], |row| row.sent) < 100, "all that waited has gone: {table:?}");
    let stats = net.nodes[0].t.stats();
    assert!(stats.dropped_early > 0 && stats.queued_bytes == 0, "{stats:?}");
}

#[test]
fn ours_may_use_all_when_nobody_else_wants_it() {
    let mut net = connected(3, outbound());
    let table = demand(&mut net, 12, |_| [true, false]);
    assert!((90..=101).contains(&percent(mean(&table[2..], |row| row.own))), "{table:?}");
}

#[test]
fn what_waits_under_a_limit_is_bounded() {
    let mut net = connected(3, outbound());
    demand(&mut net, 3, |_| [true, true]);
    let queued = net.nodes[0].t.stats().queued_bytes;
    // A second of ours for each peer, and half a second of others'.
    assert!(queued <= LIMIT * 3, "{queued}");
}

/// Three peers send to the first router, which limits what it receives, as much as `wants` in a second each. What
/// came in each second, and messages by peer.
fn press(net: &mut Net, seconds: u32, wants: [usize; 3]) -> (Vec<u64>, [u64; 3]) {
    let mut received = Vec::new();
    let told = net.nodes[0].told.len();
    for second in 0..seconds {
        let before = net.nodes[0].t.stats().bytes_received;
        for step in 0..10 {
            for (from, bytes) in (1..).zip(wants) {
                net.send(from, 0, second * 100 + step, bytes / 10);
            }
            net.advance(STEP * 10);
        }
        received.push(net.nodes[0].t.stats().bytes_received - before);
    }
    let mut from = [0; 3];
    for output in &net.nodes[0].told[told..] {
        if let Output::Messages { from: peer, messages } = output {
            let at = (1..4).find(|n| net.nodes[*n].hash() == *peer).unwrap() - 1;
            from[at] += messages.len() as u64;
        }
    }
    (received, from)
}

fn assert_held(received: &[u64]) {
    assert!(received.iter().all(|bytes| *bytes <= LIMIT * 5 / 4), "{received:?}");
    for ten in received.windows(10) {
        let rate = ten.iter().sum::<u64>() / 10;
        assert!(rate.abs_diff(LIMIT) * 100 <= LIMIT * 5, "{received:?}");
    }
}

#[test]
fn a_limit_on_receiving_holds_and_all_peers_get_their_turn() {
    let mut net = connected(4, Bandwidth { inbound: Some(LIMIT), ..Bandwidth::default() });
    let (received, from) = press(&mut net, 15, [30 * SIZE; 3]);
    assert_held(&received);
    let (least, most) = (from.iter().min().unwrap(), from.iter().max().unwrap());
    assert!(least * 5 >= most * 4, "{from:?}");
}

#[test]
fn who_brings_what_is_for_us_is_read_first_and_others_keep_an_eighth() {
    let mut net = connected(4, Bandwidth { inbound: Some(LIMIT), ..Bandwidth::default() });
    let first = BTreeSet::from([net.nodes[1].hash()]);
    net.with(0, |t, _| t.read_first(first));
    // 200 KB/s for us, and others that want more than all.
    let (received, from) = press(&mut net, 15, [20 * SIZE, 30 * SIZE, 30 * SIZE]);
    assert_held(&received);
    assert!(from[0] >= 145, "of 150: {from:?}");
    assert!(from[1] >= 10 && from[2] >= 10, "{from:?}");
    // More for us than there is.
    let (received, from) = press(&mut net, 30, [60 * SIZE, 30 * SIZE, 30 * SIZE]);
    assert_held(&received);
    let others = (from[1] + from[2]) * 3 * SIZE as u64 / 30;
    assert!((8..=16).contains(&percent(others)), "{others}, {from:?}");
}

#[test]
fn limits_can_be_set_and_lifted_while_messages_wait() {
    let mut net = connected(3, Bandwidth::default());
    net.with(0, |t, cx| t.set_bandwidth(outbound(), cx.now.mono));
    let limited = demand(&mut net, 12, |_| [true, true]);
    let rate = mean(&limited[2..], |row| row.sent);
    assert!((90..=110).contains(&percent(rate)), "{limited:?}");
    assert!(net.nodes[0].t.stats().queued_bytes > 0, "something waits");
    net.with(0, |t, cx| t.set_bandwidth(Bandwidth::default(), cx.now.mono));
    net.advance(Duration::from_secs(1));
    assert_eq!(net.nodes[0].t.stats().queued_bytes, 0, "all that waited has gone");
    let free = demand(&mut net, 3, |_| [true, false]);
    assert!(percent(mean(&free[1..], |row| row.sent)) > 1_000, "{free:?}");
}
