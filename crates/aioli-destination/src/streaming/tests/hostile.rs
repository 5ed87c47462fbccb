//! Packets that no honest peer sends.

use aioli_core::Duration;
use aioli_wire::Wire;
use aioli_wire::client_payload::Ports;
use aioli_wire::streaming::{Header, Packet, flags};
use proptest::prelude::*;

use super::super::auth::signed;
use super::super::*;
use super::link::{Path, World, identity};

const SECOND: Duration = Duration::from_secs(1);

/// A SYN from identity `who` for the destination of node 1.
fn syn(w: &World, who: u8, change: impl FnOnce(&mut Header<'_>, &mut Option<DestinationHash>)) -> Vec<u8> {
    let identity = identity(who);
    let mut header = Header {
        receive_id: 99,
        flags: flags::SYNCHRONIZE | flags::NO_ACK,
        from: Some(identity.destination.bytes()),
        max_size: Some(1812),
        ..Header::default()
    };
    let mut receiver = Some(w.nodes[1].hash);
    change(&mut header, &mut receiver);
    signed(&identity, &header, receiver.as_ref(), b"hi")
}

fn deliver(w: &mut World, from: Option<DestinationHash>, bytes: &[u8]) -> Stats {
    w.with(1, |s, cx| s.handle_packet(from, Ports { source: 1, destination: 2 }, bytes, cx));
    w.nodes[1].streams.stats()
}

#[test]
fn only_a_signed_syn_for_us_opens_a_stream() {
    let mut w = World::pair(Path::default());
    let good = syn(&w, 9, |_, _| {});
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(deliver(&mut w, None, &forged).bad_signatures, 1);
    let elsewhere = syn(&w, 9, |_, to| *to = Some(DestinationHash::new([5; 32])));
    assert_eq!(deliver(&mut w, None, &elsewhere).misbehaved, 2);
    let anonymous = syn(&w, 9, |h, _| h.from = None);
    assert_eq!(deliver(&mut w, None, &anonymous).misbehaved, 3);
    // The session belongs to somebody else.
    let other = identity(8).destination.hash();
    assert_eq!(deliver(&mut w, Some(other), &good).misbehaved, 4);
    assert_eq!(deliver(&mut w, None, &good).accepted, 1);
    // An old peer does not name its receiver.
    let old = syn(&w, 7, |_, to| *to = None);
    assert_eq!(deliver(&mut w, None, &old).accepted, 2);
}

#[test]
fn a_replayed_syn_opens_nothing() {
    let mut w = World::pair(Path::default());
    w.nodes[1].app.paused = true;
    let first = syn(&w, 9, |_, _| {});
    deliver(&mut w, None, &first);
    let stats = deliver(&mut w, None, &first);
    assert_eq!((stats.accepted, stats.replayed), (1, 1));
    w.run(SECOND, |_| false);
    let id = w.nodes[1].app.incoming[0];
    w.with(1, |s, cx| s.reset(id, cx));
    let stats = deliver(&mut w, None, &first);
    assert_eq!((stats.accepted, stats.replayed, w.nodes[1].streams.len()), (1, 2, 0));
}

/// An open stream from node 0 to node 1; gives ids of both.
fn open(w: &mut World) -> (StreamId, StreamId) {
    let ours = w.upload(0, 1, 5000);
    assert!(w.run(SECOND * 5, |w| w.received(1) == 5000));
    (ours, w.nodes[1].app.incoming[0])
}

#[test]
fn close_and_reset_need_the_peers_signature() {
    let mut w = World::pair(Path::default());
    w.nodes[1].vouched = false;
    let (theirs, id) = open(&mut w);
    for bits in [flags::CLOSE, flags::RESET] {
        let header =
            Header { send_id: id.0, receive_id: theirs.0, sequence: 4, flags: bits, ..Header::default() };
        let before = deliver(&mut w, None, &signed(&identity(9), &header, None, &[])).bad_signatures;
        let mut writer = aioli_wire::Writer::new();
        header.write(&mut writer, &[]);
        assert_eq!(deliver(&mut w, None, &writer.into_vec()).bad_signatures, before + 1);
        assert_eq!(w.nodes[1].streams.len(), 1);
    }
    let header =
        Header { send_id: id.0, receive_id: theirs.0, sequence: 4, flags: flags::RESET, ..Header::default() };
    deliver(&mut w, None, &signed(&identity(1), &header, None, &[]));
    assert_eq!(w.nodes[1].streams.len(), 0);
}

#[test]
fn acknowledging_the_future_or_another_stream_changes_nothing() {
    let mut w = World::pair(Path::default());
    let (theirs, id) = open(&mut w);
    let mut header = Header { send_id: id.0, receive_id: theirs.0, ack_through: 7777, ..Header::default() };
    let mut writer = aioli_wire::Writer::new();
    header.write(&mut writer, &[1, 2, 3]);
    assert_eq!(deliver(&mut w, None, &writer.into_vec()).misbehaved, 1);
    header.receive_id ^= 1;
    let mut writer = aioli_wire::Writer::new();
    header.write(&mut writer, &[]);
    assert_eq!(deliver(&mut w, None, &writer.into_vec()).misbehaved, 2);
    let to = w.nodes[1].hash;
    assert_eq!(deliver(&mut w, Some(to), &[0; 22]).accepted, 1);
}

#[test]
fn strangers_cannot_fill_the_tables() {
    let mut w = World::pair(Path::default());
    for n in 0..500u32 {
        let header = Header { receive_id: n + 1, sequence: 3, ..Header::default() };
        let mut writer = aioli_wire::Writer::new();
        header.write(&mut writer, &[]);
        deliver(&mut w, None, &writer.into_vec());
    }
    let stats = w.nodes[1].streams.stats();
    assert_eq!(stats.overflowed, 500 - Limits::default().early_streams as u64);
    w.run(SECOND * 400, |_| false);
    assert!(w.nodes[1].streams.next_timeout().is_none());
}

#[test]
fn far_sequence_numbers_are_refused() {
    let mut w = World::pair(Path::default());
    let (theirs, id) = open(&mut w);
    for sequence in [20_000, u32::MAX, u32::MAX - 1] {
        let header = Header { send_id: id.0, receive_id: theirs.0, sequence, ..Header::default() };
        let mut writer = aioli_wire::Writer::new();
        header.write(&mut writer, &[]);
        writer.bytes(&[0; 100]);
        deliver(&mut w, None, &writer.into_vec());
    }
    assert_eq!(w.nodes[1].streams.stats().refused, 3);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_it_panic(packets in proptest::collection::vec(
        (any::<bool>(), any::<[u8; 24]>(), proptest::collection::vec(any::<u8>(), 0..500)), 1..40)) {
        let mut w = World::pair(Path::default());
        let (theirs, id) = open(&mut w);
        for (aimed, head, body) in packets {
            let mut bytes = head.to_vec();
            if aimed {
                bytes[..4].copy_from_slice(&id.0.to_be_bytes());
                bytes[4..8].copy_from_slice(&theirs.0.to_be_bytes());
                bytes[8..10].fill(0);
                bytes[12..14].fill(0);
                bytes[16] %= 4;
            }
            bytes.extend(body);
            let from = aimed.then_some(w.nodes[0].hash);
            deliver(&mut w, from, &bytes);
        }
        w.run(SECOND * 100, |_| false);
    }

    #[test]
    fn damaged_packets_never_damage_the_stream(flips in proptest::collection::vec((0..60usize, any::<u16>(), 0..8u8), 1..20)) {
        // Damage is caught below by authenticated encryption; here it must only not panic.
        let mut w = World::pair(Path::default());
        let id = w.upload(0, 1, 60_000);
        let mut n = 0;
        while let Some(out) = w.nodes[0].streams.poll_output() {
            let Output::Packet { mut bytes, ports, .. } = out else { continue };
            for (which, at, bit) in &flips {
                if *which == n {
                    let at = usize::from(*at) % bytes.len();
                    bytes[at] ^= 1 << bit;
                }
            }
            n += 1;
            let from = w.nodes[0].hash;
            w.deliver(1, from, ports, &bytes);
            let _ = Packet::from_bytes(&bytes);
        }
        w.with(0, |s, cx| s.reset(id, cx));
    }
}
