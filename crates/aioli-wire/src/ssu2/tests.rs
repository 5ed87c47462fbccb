//! Fields where the spec puts them, the spec's examples, and every block there and back.

use std::ops::RangeInclusive;

use aioli_core::Date;
use aioli_core::crypto::x25519::PublicKey;
use proptest::prelude::*;

use super::*;
use crate::ids::RouterHash;
use crate::ntcp2::PaddingOptions;
use crate::{Wire, Writer};

fn all(payload: &[u8]) -> Result<Vec<Block<'_>>, crate::DecodeError> {
    Blocks::new(payload).collect()
}

fn bytes_of(blocks: &[Block<'_>]) -> Vec<u8> {
    let mut w = Writer::new();
    blocks.iter().for_each(|b| w.write(b));
    w.into_vec()
}

fn ack_bytes(runs: &[RangeInclusive<u32>], room: usize) -> Vec<u8> {
    let mut w = Writer::new();
    Ack::encode_runs(runs.iter().cloned(), room, &mut w);
    w.into_vec()
}

/// The numbers that a block names.
fn acked(data: &[u8]) -> Vec<u32> {
    let mut numbers = Ack::from_bytes(data).unwrap().ranges().flatten().collect::<Vec<_>>();
    numbers.sort_unstable();
    numbers
}

#[test]
fn the_specs_examples_of_acknowledgements() {
    for (runs, hex) in [
        (vec![10..=10], "0000000a00"),
        (vec![8..=10], "0000000a02"),
        (vec![8..=10, 5..=6, 0..=2], "0000000a02010202 03"),
    ] {
        let expected = hex::decode(hex.replace(' ', "")).unwrap();
        assert_eq!(ack_bytes(&runs, 100), expected);
        let ack = Ack::from_bytes(&expected).unwrap();
        assert_eq!(ack.ranges().collect::<Vec<_>>(), runs);
    }
}

#[test]
fn long_runs_of_either_kind_are_extended() {
    let far = [3_000..=4_000, 1_000..=1_999, 5..=5];
    let bytes = ack_bytes(&far, 1_000);
    assert_eq!(acked(&bytes).len(), 1_001 + 1_000 + 1);
    let short = ack_bytes(&far, 9);
    assert_eq!(short.len(), 9);
    assert_eq!(acked(&short).last(), Some(&4_000));
    assert_eq!(acked(&short).len(), 256 + 2 * 255);
}

#[test]
fn impossible_acknowledgements_are_refused() {
    for bad in ["0000000003", "0000000a020000", "0000000a0201", "0000000a020a00", "0000000a02010602ff"] {
        assert!(Ack::from_bytes(&hex::decode(bad).unwrap()).is_err(), "{bad}");
    }
    assert_eq!(acked(&hex::decode("0000000000").unwrap()), [0]);
    assert_eq!(acked(&hex::decode("ffffffff00").unwrap()), [u32::MAX]);
}

#[test]
fn header_fields_are_where_the_spec_puts_them() {
    // i2pr tests/fixtures/ssu2/header-protection-request.hex, unmasked
    let bytes = hex::decode("0102030405060708deadbeef0002020011121314151617180000000000000000").unwrap();
    let header = LongHeader::from_bytes(&bytes).unwrap();
    assert_eq!(header.destination, ConnectionId(0x0102_0304_0506_0708));
    assert_eq!(header.source, ConnectionId(0x1112_1314_1516_1718));
    assert_eq!((header.packet_number, header.net_id, header.token), (0xdead_beef, 2, 0));
    assert_eq!(header.kind, PacketType::SessionRequest);
    assert_eq!(header.to_bytes(), bytes);

    let data = hex::decode("01020304050607080000002a06010000").unwrap();
    let ShortHeader::Data { packet_number: 42, immediate_ack: true, .. } =
        ShortHeader::from_bytes(&data).unwrap()
    else {
        panic!("not what it is")
    };
    let confirmed =
        ShortHeader::Confirmed { destination: ConnectionId(1), fragment: Fragment { number: 1, total: 2 } };
    assert_eq!(confirmed.to_bytes(), hex::decode("00000000000000010000000002120000").unwrap());
    assert_eq!(ShortHeader::from_bytes(&confirmed.to_bytes()), Ok(confirmed));
    for bad in [
        "00000000000000010000000002220000",
        "00000000000000010000000102010000",
        "00000000000000010000000002000000",
        "00000000000000010000000001010000",
    ] {
        assert!(ShortHeader::from_bytes(&hex::decode(bad).unwrap()).is_err(), "{bad}");
    }
    assert!(LongHeader::from_bytes(&hex::decode("00".repeat(32)).unwrap()).is_err(), "version 0");
}

#[test]
fn a_payload_of_another_implementation() {
    // i2pr tests/fixtures/ssu2/blocks-positive.hex
    let payload =
        hex::decode("000004000000090c00050000000a000d00063039c000020111000c000000010000000000000002fe000155")
            .unwrap();
    let blocks = all(&payload).unwrap();
    assert_eq!(blocks[0], Block::DateTime(Date::from_secs(9)));
    assert!(matches!(blocks[1], Block::Ack(ack) if ack.ranges().eq([10..=10])));
    assert_eq!(blocks[2], Block::Address("192.0.2.1:12345".parse().unwrap()));
    assert_eq!(blocks[3], Block::NewToken(NewToken { expires: Date::from_secs(1), token: 2 }));
    assert_eq!(blocks[4], Block::Padding(1));
    assert!(all(&hex::decode("fe0000fe0000").unwrap()).is_err());
}

#[test]
fn a_bad_block_does_not_hide_the_next() {
    // An address of five bytes, then a clock; then a block longer than what is left.
    let payload = hex::decode("0d000501020304050000040000000903ffff00").unwrap();
    let mut blocks = Blocks::new(&payload);
    assert!(blocks.next().unwrap().is_err() && !blocks.is_broken());
    assert_eq!(blocks.next(), Some(Ok(Block::DateTime(Date::from_secs(9)))));
    assert!(blocks.next().unwrap().is_err() && blocks.is_broken());
    assert_eq!(blocks.next(), None);
}

#[test]
fn every_block_round_trips_and_order_is_enforced() {
    let request = RelayRequest {
        nonce: 1,
        tag: 2,
        timestamp: Date::from_secs(3),
        alice: "192.0.2.7:4000".parse().unwrap(),
        signature: &[9; 64],
    };
    let hash = RouterHash::new([5; 32]);
    let test = |message, router| PeerTest {
        message,
        code: 0,
        router,
        nonce: 8,
        timestamp: Date::from_secs(9),
        alice: "[2001:db8::1]:4000".parse().unwrap(),
        signature: &[7; 64],
    };
    let response = RelayResponse {
        code: 0,
        nonce: 1,
        timestamp: Date::from_secs(3),
        charlie: Some("192.0.2.8:1".parse().unwrap()),
        signature: &[3; 64],
        token: Some(77),
    };
    let refused = RelayResponse { code: 3, charlie: None, token: None, ..response };
    let blocks = [
        Block::DateTime(Date::from_secs(5)),
        Block::Options(PaddingOptions { transmit: (1, 2), receive: (3, 4), dummy: (5, 6), delay: (7, 8) }),
        Block::RouterInfo(RouterInfoBlock { flood: true, gzip: false, bytes: b"ri" }),
        Block::RouterInfo(RouterInfoBlock { flood: false, gzip: true, bytes: b"ri" }),
        Block::I2np(b"nine bytes"),
        Block::FirstFragment(b"nine bytes"),
        Block::FollowOn(FollowOn { number: 127, last: true, message: 6, bytes: b"x" }),
        Block::RelayRequest(request),
        Block::RelayIntro(RelayIntro { alice: hash, request }),
        Block::RelayResponse(response),
        Block::RelayResponse(refused),
        Block::PeerTest(test(1, None)),
        Block::PeerTest(test(4, Some(hash))),
        Block::Address("[2001:db8::2]:9".parse().unwrap()),
        Block::RelayTagRequest,
        Block::RelayTag(4),
        Block::NewToken(NewToken { expires: Date::from_secs(60), token: 1 }),
        Block::PathChallenge(b"12345678"),
        Block::PathResponse(b"12345678"),
        Block::FirstPacketNumber(7),
        Block::Congestion { immediate_ack: true, ecn: false },
        Block::Unknown(200),
        Block::Termination { received: 9, reason: TerminationReason::Replaced },
        Block::Padding(3),
    ];
    let bytes = bytes_of(&blocks);
    assert_eq!(all(&bytes).unwrap(), blocks);
    assert!(all(&bytes_of(&[Block::Padding(0), blocks[0]])).is_err());
    assert!(all(&bytes_of(&[blocks[22], blocks[0]])).is_err());
    for cut in 1..bytes.len() {
        let _ = all(&bytes[..cut]);
    }
    let elicit = blocks.iter().filter(|b| b.elicits_ack()).count();
    assert_eq!(elicit, blocks.len() - 5, "all but DateTime, Address, Congestion, Termination, Padding");
}

#[test]
fn a_refusal_may_end_behind_its_nonce() {
    let short = RelayResponse::from_bytes(&[0, 66, 0, 0, 0, 5]).unwrap();
    assert_eq!((short.code, short.nonce, short.charlie, short.signature), (66, 5, None, [].as_slice()));
    assert_eq!(RelayResponse::from_bytes(&short.to_bytes()), Ok(short), "passed on in full");
    assert!(RelayResponse::from_bytes(&[0, 0, 0, 0, 0, 5]).is_err(), "not so an acceptance");
}

#[test]
fn what_signatures_cover() {
    let bob = RouterHash::new([1; 32]);
    let charlie = RouterHash::new([2; 32]);
    let request = RelayRequest {
        nonce: 0x0a0b_0c0d,
        tag: 1,
        timestamp: Date::from_secs(2),
        alice: "192.0.2.7:256".parse().unwrap(),
        signature: &[],
    };
    let tail = "0a0b0c0d000000010000000202060100c0000207";
    let signed = relay_request_signed(&request, &bob, &charlie);
    let expected =
        [hex::encode(b"RelayRequestData"), "01".repeat(32), "02".repeat(32), tail.to_owned()].concat();
    assert_eq!(hex::encode(signed), expected);

    let refusal = RelayResponse {
        code: 70,
        nonce: 1,
        timestamp: Date::from_secs(2),
        charlie: None,
        signature: &[],
        token: None,
    };
    let expected = [hex::encode(b"RelayAgreementOK"), "01".repeat(32), "00000001000000020200".to_owned()];
    assert_eq!(hex::encode(relay_response_signed(&refusal, &bob)), expected.concat());

    let test = PeerTest {
        message: 3,
        code: 0,
        router: None,
        nonce: 1,
        timestamp: Date::from_secs(2),
        alice: "192.0.2.7:256".parse().unwrap(),
        signature: &[],
    };
    let tail = "02000000010000000206 0100c0000207".replace(' ', "");
    let expected = [hex::encode(b"PeerTestValidate"), "01".repeat(32), "02".repeat(32), tail].concat();
    assert_eq!(hex::encode(peer_test_signed(&test, &bob, Some(&charlie))), expected);
}

#[test]
fn addresses_say_what_they_were_made_of() {
    let key = PublicKey([9; 32]);
    let host = "192.0.2.1:9000".parse().unwrap();
    let parts = Ssu2Parts {
        cost: 8,
        static_key: &key,
        intro_key: &[7; 32],
        host: Some(host),
        caps: "BC4",
        mtu: 1400,
        introducers: &[],
    };
    let address = Ssu2Address::parse(&parts.address().unwrap()).unwrap();
    assert_eq!((address.host, address.mtu, address.intro_key), (Some(host), 1400, [7; 32]));
    assert!(address.peer_test && address.introduces && address.ipv4 && !address.ipv6);

    let introducer =
        Introducer { router: RouterHash::new([1; 32]), tag: 5, expires: Some(Date::from_secs(1_000)) };
    let hidden = Ssu2Parts { host: None, caps: "6", mtu: MAX_MTU, introducers: &[introducer; 4], ..parts };
    let address = hidden.address().unwrap();
    assert_eq!(address.options.get("mtu"), None);
    let parsed = Ssu2Address::parse(&address).unwrap();
    assert_eq!(parsed.introducers, [introducer; 3]);
    assert!(parsed.host.is_none() && parsed.ipv6 && !parsed.ipv4);

    let mut broken = address;
    broken.options.set("i", "short").unwrap();
    assert_eq!(Ssu2Address::parse(&broken), None);
}

proptest! {
    #[test]
    fn acknowledged_numbers_come_back(
        start in 0u32..5,
        runs in prop::collection::vec((1u32..600, 1u32..600), 1..12),
    ) {
        let mut low = start;
        let mut up = Vec::new();
        for (gap, len) in runs {
            up.push(low..=low + len - 1);
            low += len + gap;
        }
        up.reverse();
        let bytes = ack_bytes(&up, 4_000);
        let mut expected = up.iter().cloned().flatten().collect::<Vec<_>>();
        expected.sort_unstable();
        let mut got = acked(&bytes);
        got.sort_unstable();
        prop_assert_eq!(got, expected);
    }

    #[test]
    fn random_payloads_never_panic_and_come_back(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(header) = LongHeader::from_bytes(&bytes) {
            prop_assert_eq!(LongHeader::from_bytes(&header.to_bytes()), Ok(header));
        }
        if let Ok(header) = ShortHeader::from_bytes(&bytes) {
            prop_assert_eq!(ShortHeader::from_bytes(&header.to_bytes()), Ok(header));
        }
        for block in Blocks::new(&bytes).flatten() {
            if let Block::Ack(ack) = block {
                let _ = ack.ranges().count();
            }
            let again = block.to_bytes();
            prop_assert_eq!(Block::from_bytes(&again), Ok(block));
        }
    }

    #[test]
    fn any_block_kind_with_any_data_never_panics(
        kind in 0u8..25,
        data in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        let mut bytes = vec![kind, 0, data.len() as u8];
        bytes.extend_from_slice(&data);
        if let Ok(block) = Block::from_bytes(&bytes) {
            let _ = format!("{block:?}");
            let again = block.to_bytes();
            prop_assert_eq!(Block::from_bytes(&again), Ok(block));
        }
    }
}
