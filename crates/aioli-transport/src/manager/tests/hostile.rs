//! Peers and wires that mean harm, or are merely broken.

use std::sync::Arc;

use aioli_core::{Cx, Date, Duration};
use aioli_wire::ntcp2::{Block, TerminationReason};
use aioli_wire::{Mapping, RouterAddress, RouterHash, Writer};
use proptest::prelude::*;

use super::{Cut, Net, START};
use crate::PeerMisbehaved;
use crate::ntcp2::Local;
use crate::ntcp2::data_phase::{DataPhase, LENGTH};
use crate::ntcp2::initiator::{Remote, session_request};
use crate::{ConnId, DialError, DisconnectReason, Output};

/// Bytes that Alice and Bob send in the handshake of this seed.
fn lengths(seed: u8) -> (usize, usize) {
    let mut net = Net::new(seed, 2, |_| {});
    let ri = Arc::clone(&net.nodes[1].ri);
    net.with(0, |t, cx| t.connect(&ri, cx));
    net.run();
    assert!(net.connected(1, 0));
    (net.sent[0].len(), net.sent[1].len())
}

#[test]
fn every_altered_byte_of_the_handshake_ends_it() {
    let (alice, bob) = lengths(1);
    let cases = (0..alice).map(|at| (0, at)).chain((0..bob).map(|at| (1, at)));
    for tamper in cases {
        let mut net = Net::new(1, 2, |_| {});
        net.tamper = Some(tamper);
        net.send(0, 1, 1, 300);
        net.run();
        assert!(!net.connected(1, 0), "{tamper:?}");
        net.advance(Duration::from_secs(15));
        assert!(!net.connected(0, 1) && !net.connected(1, 0), "{tamper:?}");
        assert!(net.received(1).is_empty(), "{tamper:?}");
        assert_eq!(net.count(1, |o| matches!(o, Output::Established { .. })), 0, "{tamper:?}");
        for node in &net.nodes {
            let stats = node.t.stats();
            assert_eq!((stats.connections, stats.queued_bytes, stats.sessions), (0, 0, 0), "{tamper:?}");
        }
    }
}

#[test]
fn an_altered_frame_ends_the_session() {
    let (start, _) = lengths(2);
    for at in [0, 1, 2, 9, 200, 330] {
        let mut net = Net::new(2, 2, |_| {});
        net.tamper = Some((0, start + at));
        let ri = Arc::clone(&net.nodes[1].ri);
        net.with(0, |t, cx| t.connect(&ri, cx));
        net.run();
        net.send(0, 1, 7, 300);
        net.run();
        net.advance(Duration::from_secs(300));
        assert!(net.received(1).is_empty());
        assert!(!net.connected(0, 1) && !net.connected(1, 0), "{at}");
    }
}

#[test]
fn a_replayed_message_1_gets_no_answer() {
    let mut net = Net::new(3, 2, |_| {});
    net.send(0, 1, 1, 300);
    net.run();
    let recorded = net.sent[0].clone();
    let answered = net.sent[1].len();
    let from = super::addr(77);
    let conn = net.with(1, |t, cx| t.handle_accepted(from, cx)).unwrap();
    net.inject(1, conn, &recorded[..64]);
    net.run();
    assert_eq!(net.nodes[1].t.stats().replays, 1);
    net.advance(Duration::from_secs(13));
    assert_eq!(net.sent[1].len(), answered, "not a byte");
    assert_eq!(net.nodes[1].closes, [true]);
}

#[test]
fn probers_are_read_for_a_while_and_reset_without_a_byte() {
    let mut times = Vec::new();
    for seed in 0..10 {
        let mut net = Net::new(seed, 1, |_| {});
        let from = super::addr(77);
        let conn = net.with(0, |t, cx| t.handle_accepted(from, cx)).unwrap();
        let noise = net.nodes[0].rng.bytes::<64>();
        net.inject(0, conn, &noise);
        net.run();
        assert!(net.nodes[0].closes.is_empty(), "not at once");
        let (at, why) = net.nodes[0].t.next_timeout().unwrap();
        assert_eq!(why, crate::Why::Probe);
        times.push(at.since(net.now));
        if seed % 2 == 0 {
            net.inject(0, conn, &[0; 1024]);
            net.run();
        } else {
            net.advance(Duration::from_secs(10));
        }
        assert_eq!(net.nodes[0].closes, [true]);
        assert!(net.sent[0].is_empty());
        assert_eq!(net.nodes[0].t.stats().connections, 0);
    }
    times.sort();
    times.dedup();
    assert!(times.len() > 5, "no fixed time gives us away");
}

#[test]
fn silence_and_half_messages_time_out() {
    for n in [0, 1, 63] {
        let mut net = Net::new(4, 1, |_| {});
        let from = super::addr(77);
        let conn = net.with(0, |t, cx| t.handle_accepted(from, cx)).unwrap();
        net.inject(0, conn, &vec![1; n]);
        net.advance(Duration::from_secs(9));
        assert!(net.nodes[0].closes.is_empty());
        net.advance(Duration::from_secs(4));
        assert_eq!(net.nodes[0].closes, [true]);
        assert_eq!(net.nodes[0].t.stats().handshakes_timed_out, 1);
    }
}

#[test]
fn bytes_out_of_turn_are_not_answered() {
    let mut net = Net::new(5, 2, |_| {});
    net.frozen = true;
    net.send(0, 1, 1, 300);
    net.run();
    let conn = net.conns(1)[0];
    let mut message = net.sent[0].clone();
    message.push(0);
    net.inject(1, conn, &message);
    net.run();
    assert!(net.sent[1].is_empty());
    assert_eq!(net.nodes[1].t.stats().handshakes_failed, 1);
}

fn dial_error(net: &Net, n: usize) -> Option<DialError> {
    net.nodes[n]
        .told
        .iter()
        .find_map(|o| if let Output::DialFailed { reason, .. } = o { Some(*reason) } else { None })
}

fn end(net: &Net, n: usize) -> Option<DisconnectReason> {
    net.nodes[n]
        .told
        .iter()
        .find_map(|o| if let Output::Disconnected { reason, .. } = o { Some(*reason) } else { None })
}

fn observed_skew(net: &Net, n: usize) -> Option<i64> {
    net.nodes[n]
        .told
        .iter()
        .find_map(|o| if let Output::ClockSkew { seconds } = o { Some(*seconds) } else { None })
}

/// What the clocks of dialled peers showed, in milliseconds ahead of ours.
fn observed_clocks(net: &Net, n: usize) -> Vec<(RouterHash, i64)> {
    let clock = |o: &Output| {
        if let Output::PeerClock { peer, ahead_ms, .. } = o { Some((*peer, *ahead_ms)) } else { None }
    };
    net.nodes[n].told.iter().filter_map(clock).collect()
}

#[test]
fn alice_learns_of_a_wrong_clock_from_message_2() {
    for (skew, fine) in [(59, true), (-59, true), (120, false), (-7_200, false)] {
        let mut net = Net::new(6, 2, |_| {});
        net.nodes[0].skew = skew;
        // Her RouterInfo must not be what fails.
        let ri = net.nodes[0].keys.router_info(START - Duration::from_secs(600), |_| {});
        net.nodes[0].t.set_local(ri);
        net.send(0, 1, 1, 300);
        net.run();
        assert_eq!(net.connected(0, 1), fine, "{skew}");
        // Whether or not the handshake comes to its end, she knows what his clock shows; he does not know hers so.
        let [(peer, ahead)] = observed_clocks(&net, 0)[..] else { panic!("{:?}", net.nodes[0].told) };
        assert_eq!(peer, net.nodes[1].hash());
        assert!((ahead + skew * 1_000).abs() <= 1_000, "{ahead} for {skew}");
        assert!(observed_clocks(&net, 1).is_empty());
        if !fine {
            assert_eq!(dial_error(&net, 0), Some(DialError::Handshake(PeerMisbehaved::ClockSkew(-skew))));
            assert_eq!(observed_skew(&net, 0), Some(-skew));
            assert_eq!(net.nodes[1].t.stats().clock_skews, 1);
            let (peer, now) = (net.nodes[1].hash(), net.now);
            assert!(!net.nodes[0].t.is_backed_off(&peer, now), "not the peer's fault");
        }
    }
}

#[test]
fn an_alice_who_does_not_mind_is_told_why() {
    let mut net = Net::new(7, 2, |_| {});
    net.nodes[0].t.config.limits.clock_skew_secs = 100_000;
    net.nodes[0].skew = 200;
    net.send(0, 1, 1, 300);
    net.run();
    assert_eq!(end(&net, 0), Some(DisconnectReason::Theirs(TerminationReason::ClockSkew)));
    assert_eq!(observed_skew(&net, 1), Some(200));
    assert!(net.received(1).is_empty());
}

#[test]
fn bob_checks_the_router_info() {
    use TerminationReason as R;
    let hour = Duration::from_secs(3600);
    let check = |want: R, make: &dyn Fn(&Net) -> Arc<_>| {
        let mut net = Net::new(8, 3, |_| {});
        let ri = make(&net);
        net.nodes[0].t.set_local(ri);
        net.nodes[1].t.config.limits.min_version = (0, 9, 58);
        net.send(0, 1, 1, 300);
        net.run();
        assert_eq!(end(&net, 0), Some(DisconnectReason::Theirs(want)));
        assert!(net.received(1).is_empty());
        assert_eq!(net.nodes[1].t.stats().handshakes_failed, 1);
        assert_eq!(net.count(1, |o| matches!(o, Output::Established { .. })), 0);
        net.advance(Duration::from_secs(5));
        assert_eq!(net.nodes[1].t.stats().connections, 0);
    };
    check(R::SessionConfirmed, &|net| net.nodes[0].keys.router_info(START - hour * 28, |_| {}));
    check(R::SessionConfirmed, &|net| net.nodes[0].keys.router_info(START + hour, |_| {}));
    check(R::SessionConfirmed, &|net| {
        net.nodes[0].keys.router_info(START, |p| p.options.set("netId", "2").unwrap())
    });
    check(R::SessionConfirmed, &|net| {
        net.nodes[0].keys.router_info(START, |p| p.options.set("router.version", "0.9.57").unwrap())
    });
    check(R::StaticKeyMismatch, &|net| {
        let other = net.nodes[2].keys.static_key.public();
        net.nodes[0]
            .keys
            .router_info(START, |p| p.addresses = vec![RouterAddress::ntcp2(9, &other, None).unwrap()])
    });
    check(R::StaticKeyMismatch, &|net| net.nodes[0].keys.router_info(START, |p| p.addresses.clear()));
    // The identity of one router, the signature of another.
    check(R::RouterInfoSignature, &|net| {
        let identity = net.nodes[0].ri.identity.clone();
        let addresses = net.nodes[0].ri.addresses.clone();
        net.nodes[2].keys.router_info(START, |p| (p.identity, p.addresses) = (identity, addresses))
    });
}

#[test]
fn nobody_else_may_use_our_name() {
    let mut net = Net::new(8, 2, |_| {});
    let addresses = net.nodes[0].ri.addresses.clone();
    net.nodes[0].ri = net.nodes[1].keys.router_info(START, |p| p.addresses = addresses);
    RawAlice::connect(&mut net);
    assert_eq!((net.nodes[1].t.sessions(), net.nodes[1].t.stats().handshakes_failed), (0, 1));
}

#[test]
fn another_network_and_a_wrong_key_fail() {
    // Message 1 names the network: no answer.
    let mut net = Net::new(9, 2, |_| {});
    net.nodes[0].t.config.net_id = 98;
    let ours = Arc::clone(&net.nodes[0].ri);
    net.nodes[0].t.set_local(ours);
    let options = Mapping::from_pairs([("netId", "98"), ("router.version", "0.9.67")]).unwrap();
    net.nodes[1].ri = net.nodes[1].keys.router_info(START, |p| p.options = options);
    net.send(0, 1, 1, 300);
    net.advance(Duration::from_secs(15));
    assert!(net.sent[1].is_empty());
    assert_eq!(net.nodes[1].t.stats().handshakes_failed, 1);
    let told = |o: &Output| matches!(o, Output::HandshakeFailed { why: PeerMisbehaved::NetId, .. });
    assert_eq!(net.count(1, told), 1);
    // Bob's published key is not the one he has.
    let mut net = Net::new(9, 3, |_| {});
    let other = net.nodes[2].keys.static_key.public();
    let at = Some((net.nodes[1].keys.addr, net.nodes[1].keys.iv));
    net.nodes[1].ri = net.nodes[1]
        .keys
        .router_info(START, |p| p.addresses = vec![RouterAddress::ntcp2(9, &other, at).unwrap()]);
    net.send(0, 1, 1, 300);
    net.advance(Duration::from_secs(15));
    assert_eq!(dial_error(&net, 0), Some(DialError::Closed));
    assert!(net.sent[1].is_empty());
}

/// An Alice who can say anything.
struct RawAlice {
    conn: ConnId,
    data_phase: DataPhase,
}

impl RawAlice {
    /// Node 0's keys, connected to node 1.
    fn connect(net: &mut Net) -> Self {
        let node = &net.nodes[0];
        let local = Arc::new(Local {
            hash: node.hash(),
            static_key: node.keys.static_key.clone(),
            iv: node.keys.iv,
            net_id: 99,
            router_info: Arc::clone(&node.ri),
        });
        let bob = &net.nodes[1].keys;
        let remote = Remote { hash: net.nodes[1].hash(), static_key: bob.static_key.public(), iv: bob.iv };
        let from = net.nodes[0].keys.addr;
        let now = net.clock(0);
        let mut cx = Cx { now, rng: &mut net.nodes[0].rng };
        let (message, state) = session_request(&local, &remote, &mut cx).unwrap();
        let conn = net.with(1, |t, cx| t.handle_accepted(from, cx)).unwrap();
        net.inject(1, conn, &message);
        net.run();
        let mut reply = std::mem::take(&mut net.sent[1]);
        let cx = Cx { now, rng: &mut net.nodes[0].rng };
        let state =
            state.on_session_created(&mut reply[..64], &crate::Limits::default(), &mut None, &cx).unwrap();
        let (message, data_phase) = state.on_padding(&reply[64..]).unwrap();
        net.inject(1, conn, &message);
        net.run();
        Self { conn, data_phase }
    }

    fn frame(&mut self, blocks: &[Block<'_>]) -> Vec<u8> {
        let mut w = Writer::append_to(vec![0; LENGTH]);
        blocks.iter().for_each(|b| w.write(b));
        let mut out = w.into_vec();
        self.data_phase.sealer.seal(&mut out, 0);
        out
    }
}

#[test]
fn blocks_that_break_rules_end_the_session_and_odd_ones_do_not() {
    let padding = Block::Padding(3);
    let bad: [(&[Block<'_>], TerminationReason); 3] = [
        (&[padding, padding], TerminationReason::PayloadFormat),
        (&[padding, Block::I2np(&[18; 20])], TerminationReason::PayloadFormat),
        (&[Block::DateTime(Date::from_secs(9))], TerminationReason::ClockSkew),
    ];
    for (blocks, want) in bad {
        let mut net = Net::new(10, 2, |_| {});
        let mut alice = RawAlice::connect(&mut net);
        assert!(net.connected(1, 0));
        let frame = alice.frame(blocks);
        net.inject(1, alice.conn, &frame);
        net.run();
        assert_eq!(end(&net, 1), Some(DisconnectReason::Ours(want)));
    }
    let mut net = Net::new(10, 2, |_| {});
    let mut alice = RawAlice::connect(&mut net);
    let others = Arc::clone(&net.nodes[1].ri);
    let old = net.message(5, 10);
    let mut late = old.clone();
    late.expires = START - Duration::from_secs(600);
    let mut early = old.clone();
    early.expires = START + Duration::from_secs(6_000);
    let short = |m: &aioli_wire::i2np::Message| {
        let mut out = Vec::new();
        m.encode_short(&mut out);
        out
    };
    let frame = alice.frame(&[
        Block::Unknown(200),
        Block::I2np(&[18]),
        Block::RouterInfo { flood: true, bytes: others.bytes() },
        Block::RouterInfo { flood: true, bytes: b"what?" },
        Block::I2np(&short(&late)),
        Block::I2np(&short(&early)),
        Block::I2np(&short(&old)),
        Block::DateTime(net.clock(0).wall),
    ]);
    net.inject(1, alice.conn, &frame);
    net.inject(1, alice.conn, &alice_empty(&mut alice));
    net.run();
    assert_eq!(net.received(1), [5]);
    let stats = net.nodes[1].t.stats();
    assert_eq!((stats.bad_messages, stats.bad_router_infos, stats.expired_received), (1, 2, 2));
    assert!(net.connected(1, 0));
    // A length that no frame has.
    net.inject(1, alice.conn, &[0; 40]);
    net.run();
    net.advance(Duration::from_secs(200));
    assert!(!net.connected(1, 0));
}

/// A frame without blocks.
fn alice_empty(alice: &mut RawAlice) -> Vec<u8> {
    alice.frame(&[])
}

#[test]
fn a_frame_in_the_same_segment_as_message_3_is_read() {
    let mut net = Net::new(11, 2, |_| {});
    net.cut = Cut::Whole;
    net.send(0, 1, 3, 100);
    net.run();
    assert_eq!(net.received(1), [3]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn garbage_never_panics_and_is_never_answered(
        pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..400), 1..12)
    ) {
        let mut net = Net::new(12, 1, |_| {});
        let from = super::addr(77);
        let conn = net.with(0, |t, cx| t.handle_accepted(from, cx)).unwrap();
        for piece in &pieces {
            net.inject(0, conn, piece);
            net.run();
        }
        net.advance(Duration::from_secs(13));
        prop_assert!(net.sent[0].is_empty());
        prop_assert_eq!(net.nodes[0].closes.clone(), vec![true]);
    }

    #[test]
    fn garbage_in_a_session_ends_it(noise in proptest::collection::vec(any::<u8>(), 1..3000)) {
        let mut net = Net::new(13, 2, |_| {});
        let alice = RawAlice::connect(&mut net);
        net.inject(1, alice.conn, &noise);
        net.advance(Duration::from_secs(200));
        prop_assert!(!net.connected(1, 0));
        prop_assert!(net.received(1).is_empty());
    }
}
