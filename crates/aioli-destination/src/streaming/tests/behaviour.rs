//! Opening, closing, choking, limits: one behaviour each.

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::sign::SigType;
use aioli_core::{Date, Duration, Instant, Rng};
use aioli_wire::client_payload::Ports;
use aioli_wire::streaming::{Packet, flags};
use aioli_wire::{OfflineSignature, Wire};

use super::super::*;
use super::link::{App, Filter, Path, World, identity, pattern};

const SECOND: Duration = Duration::from_secs(1);

fn path() -> Path {
    Path::default()
}

fn finished(w: &World) -> bool {
    w.nodes.iter().all(|n| n.streams.is_empty())
}

/// Both directions carry `bytes`, then both sides close.
fn exchange(path: Path, bytes: u64, within: Duration) -> World {
    let mut w = World::pair(path);
    for node in 0..2 {
        w.nodes[node].app.close_when_done = true;
        w.nodes[node].app.close_after_peer = false;
    }
    w.upload(0, 1, bytes);
    w.run(SECOND * 30, |w| !w.nodes[1].app.incoming.is_empty());
    let id = w.nodes[1].app.incoming[0];
    w.nodes[1].app.to_send.insert(id, bytes / 2);
    w.write(1, id);
    assert!(w.run(within, finished), "{:?} {:?}", w.nodes[0].streams.stats(), w.nodes[1].streams.stats());
    assert_eq!((w.received(0), w.received(1)), (bytes / 2, bytes));
    assert_eq!((w.closed(0), w.closed(1)), (vec![CloseReason::Finished], vec![CloseReason::Finished]));
    w
}

#[test]
fn a_small_exchange_takes_three_round_trips_and_few_packets() {
    let w = exchange(path(), 1000, SECOND * 2);
    assert!(w.sent[0] + w.sent[1] <= 10, "{:?}", w.sent);
    let incoming = &w.nodes[1].app.events[0];
    let Output::Incoming { from, ports, .. } = incoming else { panic!("{incoming:?}") };
    assert_eq!((from, ports), (&w.nodes[0].destination, &Ports { source: 80, destination: 7 }));
}

#[test]
fn bytes_are_exact_whatever_the_link_does() {
    let ms = Duration::from_millis;
    for (loss, duplicates, jitter) in
        [(0, 0, ms(0)), (0, 300_000, ms(150)), (50_000, 50_000, ms(60)), (200_000, 100_000, ms(100))]
    {
        let w = exchange(Path { loss, duplicates, jitter, ..path() }, 700_000, SECOND * 600);
        if loss == 0 {
            assert_eq!(w.nodes[0].streams.stats().timeouts, 0);
        }
    }
}

fn wait_for_data(_: usize, config: &mut Config) {
    config.options.connect_delay = Duration::from_millis(10);
}

#[test]
fn the_syn_carries_data() {
    let mut w = World::new(&[path(), path()], wait_for_data);
    let id = w.connect(0, 1);
    let data: Vec<u8> = (0..500).map(pattern).collect();
    w.with(0, |s, cx| s.send(id, &data, cx));
    let Some(Output::Packet { bytes, .. }) = w.nodes[0].streams.poll_output() else { panic!() };
    let p = Packet::from_bytes(&bytes).unwrap();
    assert_eq!((p.flags, p.payload.len()), (0x04a9, 500));
    assert!(w.nodes[0].streams.poll_output().is_none());
}

/// Drops the first `n` packets for which `which` is true.
fn drop_first(mut n: u32, which: impl Fn(usize, &Packet<'_>) -> bool + 'static) -> Filter {
    Box::new(move |to, bytes| {
        let hit = n > 0 && which(to, &Packet::from_bytes(bytes).unwrap());
        n -= u32::from(hit);
        hit
    })
}

#[test]
fn lost_first_packets_are_repeated() {
    for to in 0..2 {
        let mut w = World::pair(path());
        w.filter = Some(drop_first(2, move |at, p| at == to && p.has(flags::SYNCHRONIZE)));
        w.upload(0, 1, 20_000);
        assert!(w.run(SECOND * 15, |w| w.received(1) == 20_000), "SYN to {to}");
    }
}

#[test]
fn data_before_the_syn_waits_for_it() {
    let mut w = World::new(&[path(), path()], wait_for_data);
    w.filter = Some(drop_first(1, |at, p| at == 1 && p.has(flags::SYNCHRONIZE)));
    w.upload(0, 1, 6_000);
    assert!(w.run(SECOND * 8, |w| w.received(1) == 6_000));
    assert_eq!(w.nodes[1].streams.stats().duplicates, 0);
    assert_eq!(w.nodes[1].streams.stats().packets_received, 4);
}

#[test]
fn a_half_closed_stream_still_carries_the_other_way() {
    let mut w = World::pair(path());
    w.nodes[0].app.close_when_done = true;
    w.nodes[1].app.close_after_peer = false;
    w.upload(0, 1, 5_000);
    w.run(SECOND * 5, |w| w.nodes[1].app.events.iter().any(|e| matches!(e, Output::PeerClosed(_))));
    let id = w.nodes[1].app.incoming[0];
    w.nodes[1].app.close_when_done = true;
    w.nodes[1].app.to_send.insert(id, 300_000);
    w.write(1, id);
    assert!(w.run(SECOND * 30, finished));
    assert_eq!((w.received(0), w.received(1)), (300_000, 5_000));
}

#[test]
fn closing_delivers_what_was_sent_and_drops_what_comes() {
    let mut w = World::pair(path());
    w.nodes[1].app.close_after_peer = false;
    let id = w.upload(0, 1, 200_000);
    w.run(SECOND * 2, |w| !w.nodes[1].app.incoming.is_empty());
    let theirs = w.nodes[1].app.incoming[0];
    w.nodes[1].app.to_send.insert(theirs, 400_000);
    w.write(1, theirs);
    w.run(SECOND * 3, |w| w.nodes[0].app.to_send[&id] == 0);
    w.with(0, |s, cx| s.close(id, cx));
    w.nodes[1].app.close_after_peer = true;
    assert!(w.run(SECOND * 90, finished));
    assert_eq!(w.received(1), 200_000);
}

#[test]
fn a_reset_ends_both_sides() {
    let mut w = World::pair(path());
    let id = w.upload(0, 1, 100_000_000);
    w.run(SECOND * 3, |_| false);
    w.with(0, |s, cx| s.reset(id, cx));
    assert!(w.run(SECOND * 4, finished));
    assert_eq!((w.closed(0), w.closed(1)), (vec![CloseReason::Reset], vec![CloseReason::Reset]));
}

fn wait(w: &mut World, time: Duration) {
    let end = w.now.since(Instant::from_micros(1_000_000)) + time;
    w.run(end, |_| false);
}

/// A stream to a reader that does not read yet, broken off by the peer's RESET or by its silence, with bytes to read.
fn broken_off(reset: bool) -> (World, StreamId, usize) {
    let mut w = World::pair(path());
    w.nodes[1].app.paused = true;
    let id = w.upload(0, 1, 100_000);
    w.run(SECOND * 5, |_| false);
    let theirs = w.nodes[1].app.incoming[0];
    if reset {
        w.with(0, |s, cx| s.reset(id, cx));
    } else {
        w.paths.iter_mut().for_each(|p| p.loss = 1_000_000);
        w.nodes[1].app.to_send.insert(theirs, 1_000_000);
        w.write(1, theirs);
    }
    w.run(SECOND * if reset { 8 } else { 150 }, |_| false);
    let held = w.nodes[1].streams.readable(theirs);
    assert!(held > 50_000 && w.closed(1).is_empty(), "{held} bytes wait");
    (w, theirs, held)
}

#[test]
fn what_was_acknowledged_is_read_before_the_end() {
    for (reset, reason) in [(true, CloseReason::Reset), (false, CloseReason::TimedOut)] {
        let (mut w, id, held) = broken_off(reset);
        assert_eq!(w.with(1, |s, cx| s.send(id, &[7; 999_999], cx)), 999_999, "nobody waits to write");
        w.nodes[1].app.paused = false;
        w.read(1, id);
        wait(&mut w, SECOND);
        assert_eq!((w.received(1), w.closed(1)), (held as u64, vec![reason]));
        assert!(w.nodes[1].streams.is_empty());
    }
}

#[test]
fn what_nobody_reads_goes_in_the_end_and_at_once_if_it_is_given_up() {
    let (mut w, _, _) = broken_off(true);
    wait(&mut w, SECOND * 61);
    assert_eq!(w.closed(1), [CloseReason::Reset]);
    for give_up in [Streams::close, Streams::reset] {
        let (mut w, id, _) = broken_off(true);
        w.with(1, |s, cx| give_up(s, id, cx));
        wait(&mut w, Duration::from_millis(1));
        assert_eq!(w.closed(1), [CloseReason::Reset]);
        assert!(w.nodes[1].streams.is_empty());
    }
}

#[test]
fn a_slow_reader_stops_its_sender_and_starts_it_again() {
    let mut w = World::new(&[path(), path()], |_, c| c.options.receive_buffer = 300_000);
    w.nodes[1].app.paused = true;
    w.upload(0, 1, 3_000_000);
    w.run(SECOND * 40, |_| false);
    let stats = w.nodes[0].streams.stats();
    assert!(stats.chokes_received > 0);
    let id = w.nodes[1].app.incoming[0];
    let held = w.nodes[1].streams.readable(id);
    assert!((300_000..1_500_000).contains(&held), "{held}");
    let sent = w.sent[0];
    w.run(SECOND * 60, |_| false);
    assert!(w.sent[0] - sent < 20, "{} packets to a choked peer", w.sent[0] - sent);
    w.nodes[1].app.paused = false;
    w.read(1, id);
    assert!(w.run(SECOND * 75, |w| w.received(1) == 3_000_000));
    assert_eq!(w.nodes[1].streams.stats().refused, 0);
}

#[test]
fn an_unchoke_may_be_lost() {
    let mut w =
        World::new(&[Path { loss: 300_000, ..path() }, path()], |_, c| c.options.receive_buffer = 100_000);
    w.upload(0, 1, 3_000_000);
    for i in 0..60 {
        w.nodes[1].app.paused = i % 2 == 0;
        if let Some(&id) = w.nodes[1].app.incoming.first()
            && i % 2 == 1
        {
            w.read(1, id);
        }
        w.run(SECOND * 2 * i, |_| false);
    }
    w.nodes[1].app.paused = false;
    let id = w.nodes[1].app.incoming[0];
    w.read(1, id);
    assert!(w.run(SECOND * 300, |w| w.received(1) == 3_000_000));
}

#[test]
fn a_dead_path_is_suspected_and_then_the_stream_ends() {
    let mut w = World::pair(Path { rate: 1_250_000, queue: 300_000, ..path() });
    w.upload(0, 1, 100_000_000);
    w.run(SECOND * 3, |_| false);
    assert_eq!(w.nodes[0].streams.stats().paths_suspected, 0);
    w.paths[1].loss = 1_000_000;
    w.run(SECOND * 8, |_| false);
    assert!(w.nodes[0].app.events.iter().any(|e| matches!(e, Output::PathSuspect { .. })));
    // A short outage is survived.
    w.paths[1].loss = 0;
    let before = w.received(1);
    w.run(SECOND * 20, |_| false);
    assert!(w.received(1) > before + 3_000_000);
    w.paths[1].loss = 1_000_000;
    assert!(w.run(SECOND * 200, |w| w.closed(0) == [CloseReason::TimedOut]));
}

#[test]
fn a_delay_spike_is_not_taken_for_loss() {
    let mut w = World::pair(Path { rate: 1_250_000, queue: 500_000, ..path() });
    w.upload(0, 1, 100_000_000);
    w.run(SECOND * 10, |_| false);
    w.paths[0].delay = Duration::from_millis(2500);
    w.run(SECOND * 11, |_| false);
    w.paths[0].delay = Duration::from_millis(100);
    let before = w.received(1);
    w.run(SECOND * 25, |_| false);
    let used = (w.received(1) - before) as f64 / (14.0 * 1_250_000.0);
    assert!(used > 0.6, "{used}");
}

#[test]
fn nobody_answers() {
    let mut w = World::pair(Path { loss: 1_000_000, ..path() });
    w.upload(0, 1, 10);
    assert!(w.run(SECOND * 61, |w| w.closed(0) == [CloseReason::TimedOut]));
    assert!((4..12).contains(&w.sent[0]), "{} SYNs", w.sent[0]);
}

#[test]
fn an_unreachable_peer_ends_what_waits_for_it() {
    let mut w = World::pair(Path { loss: 1_000_000, ..path() });
    w.upload(0, 1, 10);
    let to = w.nodes[1].hash;
    w.with(0, |s, cx| s.handle_unreachable(&to, cx));
    w.run(SECOND, |_| false);
    assert_eq!(w.closed(0), [CloseReason::Unreachable]);
}

#[test]
fn idle_streams_stay_or_go_as_wished() {
    let mut w = World::pair(path());
    w.upload(0, 1, 10);
    w.run(SECOND * 400, |_| false);
    assert_eq!((w.nodes[0].streams.len(), w.nodes[1].streams.len()), (1, 1));
    assert!((6..30).contains(&w.sent[0]), "{} packets while idle", w.sent[0]);
    let mut w = World::new(&[path(), path()], |i, c| {
        if i == 0 {
            c.options.inactivity_action = InactivityAction::Disconnect;
            c.options.inactivity_timeout = SECOND * 20;
        }
    });
    w.upload(0, 1, 10);
    assert!(w.run(SECOND * 30, |w| w.closed(0) == [CloseReason::TimedOut]));
}

#[test]
fn pings_are_answered_within_limits() {
    let mut w = World::pair(path());
    let to = w.nodes[1].hash;
    let ids: Vec<u32> = (0..12).map(|_| w.with(0, |s, _| s.ping(&to, Ports::default(), b"hello"))).collect();
    w.run(SECOND, |_| false);
    let pongs: Vec<&Output> = w.nodes[0].app.events.iter().collect();
    assert_eq!(pongs.len(), 10);
    assert_eq!(*pongs[0], Output::Pong { id: ids[0], payload: b"hello".to_vec() });
    assert_eq!(w.nodes[1].streams.stats().pings_dropped, 2);
}

#[test]
fn limits_refuse_connections() {
    let mut w = World::new(&[path(), path()], |i, c| {
        if i == 1 {
            c.limits.per_peer = [3, 0, 0];
        }
    });
    for _ in 0..9 {
        w.upload(0, 1, 10);
    }
    w.run(SECOND * 5, |_| false);
    assert_eq!(w.nodes[1].app.incoming.len(), 3);
    assert_eq!(w.closed(0), vec![CloseReason::Reset; 3]);
    let mut w = World::new(&[path(), path()], |i, c| {
        if i == 1 {
            c.limits.action = LimitAction::Respond(b"busy".to_vec());
            c.limits.streams = 0;
        }
    });
    let id = w.connect(0, 1);
    w.nodes[0].app = App { paused: true, ..App::default() };
    w.run(SECOND * 5, |_| false);
    let mut buf = [0; 9];
    let n = w.with(0, |s, cx| s.recv(id, &mut buf, cx));
    assert_eq!(&buf[..n], b"busy");
}

#[test]
fn the_access_list_is_silent() {
    let mut w = World::new(&[path(), path()], |i, c| {
        if i == 1 {
            c.access = Access::Only([DestinationHash::new([0; 32])].into());
        }
    });
    w.upload(0, 1, 10);
    w.run(SECOND * 10, |_| false);
    assert_eq!((w.sent[1], w.nodes[1].streams.stats().rejected > 0), (0, true));
}

#[test]
fn what_a_stream_learned_helps_the_next() {
    let mut w = World::pair(Path { delay: Duration::from_millis(400), ..path() });
    w.nodes[0].app.close_when_done = true;
    w.upload(0, 1, 100_000);
    assert!(w.run(SECOND * 30, finished));
    let id = w.connect(0, 1);
    let known = w.nodes[0].streams.status(id).unwrap().round_trip.unwrap();
    assert!(known > Duration::from_millis(780) && known < Duration::from_millis(900), "{known:?}");
}

/// An identity that signs with a transient key.
fn offline(n: u8, expires: Date) -> Identity {
    let long_term = identity(n);
    let key = SigningKey::generate(&mut Rng::from_seed([n + 100; 32]));
    let mut offline = OfflineSignature {
        expires,
        transient_type: SigType::Ed25519,
        transient_key: key.public().to_vec(),
        signature: Vec::new(),
    };
    offline.signature = long_term.key.sign(&offline.signed_bytes()).to_vec();
    Identity { destination: long_term.destination, key, offline: Some(offline) }
}

#[test]
fn transient_keys_sign_until_they_expire() {
    for (expires, accepted) in
        [(Date::from_secs(1_800_000_000), true), (Date::from_secs(1_600_000_000), false)]
    {
        let mut w = World::new(&[path(), path()], |i, c| c.identity = offline(i as u8 + 1, expires));
        w.nodes[0].vouched = false;
        w.nodes[1].vouched = false;
        w.nodes[0].app.close_when_done = true;
        w.upload(0, 1, 3000);
        let done = w.run(SECOND * 20, |w| w.closed(0) == [CloseReason::Finished]);
        assert_eq!((done, w.received(1)), (accepted, if accepted { 3000 } else { 0 }));
    }
}
