//! Known messages and the edges of every body.
//!
//! The messages in hex are those of the i2pr project's fixtures, which follow
//! the I2NP specification of API 0.9.69.

use std::num::NonZeroU32;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::{Secret, x25519};

use super::*;
use crate::codec::Wire;
use crate::identity::RouterIdentity;
use crate::ids::{Hash, RouterHash, SessionTag, TunnelId};
use crate::lease_set::LeaseSetType;
use crate::mapping::Mapping;
use crate::router_info::{RouterInfo, RouterInfoParts};

fn decode(hex: &str) -> Message {
    let bytes = hex::decode(hex).unwrap();
    let message = Message::decode_standard(&bytes).unwrap();
    assert_eq!(message.encode_standard(), bytes);
    message
}

#[test]
fn delivery_status_with_both_headers() {
    let message = decode("0aa1b2c3d40102030405060708000c200102030405060708090a0b0c");
    assert_eq!((message.kind, message.id), (MessageType::DeliveryStatus, MessageId(0xa1b2_c3d4)));
    assert_eq!(message.expires, Date::from_millis(0x0102_0304_0506_0708));
    let status = DeliveryStatus::from_bytes(&message.body).unwrap();
    assert_eq!(status.id, MessageId(0x0102_0304));
    assert_eq!(status.time, Date::from_millis(0x0506_0708_090a_0b0c));

    let bytes = hex::decode("0a05060708090a0b0c0102030405060708090a0b0c").unwrap();
    let short = Message::decode_short(&bytes).unwrap();
    assert_eq!((short.id, short.expires), (MessageId(0x0506_0708), Date::from_secs(0x090a_0b0c)));
    assert_eq!(short.body, message.body);
    let mut again = vec![0xee];
    short.encode_short(&mut again);
    assert_eq!(again[1..], bytes);
    assert_eq!(short.short_len(), bytes.len());
}

#[test]
fn headers_that_are_wrong() {
    for hex in [
        "",
        "0aa1b2c3d40102",
        "0aa1b2c3d40102030405060708000c210102030405060708090a0b0c", // checksum
        "0aa1b2c3d40102030405060708000c200102030405060708090a0b0c00",
        "0a102030400102030405060708000ce3",
        "0a102030400102030405060708f4f5e3",
    ] {
        assert!(Message::decode_standard(&hex::decode(hex).unwrap()).is_err(), "{hex}");
    }
    assert!(Message::decode_short(&[10; 8]).is_err());
    assert!(Message::decode_short(&vec![10; 9 + MAX_BODY_SIZE + 1]).is_err());
    assert!(Message::decode_short(&vec![10; 9 + MAX_BODY_SIZE]).is_ok());
}

#[test]
fn every_type_has_one_code() {
    for code in 0..=255 {
        assert_eq!(MessageType::from_code(code).code(), code);
    }
    assert_eq!(decode("631020304001020304050607080000e3").kind, MessageType::Unknown(99));
}

#[test]
fn envelopes() {
    let data = decode("14000000130000000000000014000712000000031b1c1d");
    assert_eq!(Data::from_bytes(&data.body).unwrap().payload, [0x1b, 0x1c, 0x1d]);
    let garlic = decode("0b00000011000000000000001200069300000002191a");
    assert_eq!(Garlic::from_bytes(&garlic.body).unwrap().bytes, [0x19, 0x1a]);
    let gateway = decode(
        "130000000f000000000000001000227900000017001c\
         0a000000150000000000000016000c200102030405060708090a0b0c",
    );
    let gateway = TunnelGateway::from_bytes(&gateway.body).unwrap();
    assert_eq!(gateway.tunnel.get(), 23);
    assert_eq!(gateway.decode_message().unwrap().kind, MessageType::DeliveryStatus);
    // Longer than it is; longer than anything may be; left-over bytes.
    for body in [&[0, 0, 0, 3, 1, 2][..], &[0, 0, 0xf4, 0xf5], &[0, 0, 0, 1, 1, 2]] {
        assert!(Garlic::from_bytes(body).is_err());
        assert!(Data::from_bytes(body).is_err());
    }
    assert!(TunnelGateway::from_bytes(&[0, 0, 0, 0, 0, 0]).is_err());
}

fn lookup() -> DatabaseLookup {
    DatabaseLookup {
        key: Hash::new([8; 32]),
        from: RouterHash::new([9; 32]),
        reply_tunnel: None,
        kind: LookupType::Any,
        excluded: vec![],
        reply: ReplyEncryption::None,
    }
}

#[test]
fn lookup_flags() {
    let plain = format!("{}{}000000", "08".repeat(32), "09".repeat(32));
    assert_eq!(hex::encode(lookup().to_bytes()), plain);
    let ecies = DatabaseLookup {
        reply_tunnel: TunnelId::new(7),
        kind: LookupType::RouterInfo,
        excluded: vec![RouterHash::new([1; 32])],
        reply: ReplyEncryption::Ecies { key: Secret::new([0x22; 32]), tag: SessionTag([0x23; 8]) },
        ..lookup()
    };
    let expected = format!(
        "{}{}19000000070001{}{}01{}",
        "08".repeat(32),
        "09".repeat(32),
        "01".repeat(32),
        "22".repeat(32),
        "23".repeat(8)
    );
    assert_eq!(hex::encode(ecies.to_bytes()), expected);
    assert_eq!(DatabaseLookup::from_bytes(&ecies.to_bytes()).unwrap(), ecies);
    assert!(!format!("{ecies:?}").contains("34, 34"), "the key is not for logs");
}

#[test]
fn lookups_that_are_wrong() {
    let head = [[8; 32], [9; 32]].concat();
    let with = |tail: &[u8]| DatabaseLookup::from_bytes(&[&head, tail].concat()).is_ok();
    assert!(with(&[0, 0, 0]));
    assert!(with(&[0xe0, 0, 0]), "reserved flags mean nothing yet");
    assert!(!with(&[1, 0, 0, 0, 0, 0, 0]), "tunnel zero");
    assert!(!with(&[&[0x12, 0, 0][..], &[1; 41]].concat()), "both encryptions");
    let excluded = |n: u16| with(&[&[0][..], &n.to_be_bytes(), &[3; 32].repeat(usize::from(n))].concat());
    assert!(excluded(512) && !excluded(513));
    let tags = |flags: u8, n: u8, len: usize| {
        with(&[&[flags, 0, 0][..], &[1; 32], &[n], &vec![2; usize::from(n) * len]].concat())
    };
    assert!(tags(2, 1, 32) && tags(2, 32, 32) && !tags(2, 33, 32) && !tags(2, 0, 32));
    assert!(tags(16, 1, 8) && tags(16, 2, 8) && !tags(16, 0, 8) && !tags(16, 1, 7));
}

#[test]
fn search_replies() {
    let reply = DatabaseSearchReply {
        key: Hash::new([10; 32]),
        peers: vec![RouterHash::new([11; 32]); 16],
        from: RouterHash::new([13; 32]),
    };
    let mut bytes = reply.to_bytes();
    assert_eq!(DatabaseSearchReply::from_bytes(&bytes).unwrap(), reply);
    bytes[32] = 17;
    bytes.splice(33..33, [11; 32]);
    assert_eq!(DatabaseSearchReply::from_bytes(&bytes).unwrap(), reply, "the 17th is not looked at");
    let many = DatabaseSearchReply { peers: vec![RouterHash::new([11; 32]); 40], ..reply.clone() };
    assert_eq!(many.to_bytes(), reply.to_bytes());
}

#[test]
fn a_stored_router_info_comes_back() {
    let key = SigningKey::from_seed(Secret::new([1; 32]));
    let identity = RouterIdentity::create(&x25519::PublicKey([5; 32]), &key.public(), &[7; 32]);
    let parts = RouterInfoParts {
        identity,
        published: Date::from_secs(1),
        addresses: vec![],
        options: Mapping::new(),
    };
    let info = RouterInfo::create(parts, &key);
    let reply =
        StoreReply { token: NonZeroU32::MIN, tunnel: TunnelId::new(9), gateway: RouterHash::new([4; 32]) };
    let store = DatabaseStore::router_info(&info, Some(reply));
    let bytes = store.to_bytes();
    assert!(bytes.len() < 32 + 5 + 36 + 2 + info.bytes().len() - 250, "repeated padding compresses");
    let again = DatabaseStore::from_bytes(&bytes).unwrap();
    assert_eq!(again, store);
    assert_eq!(again.data.decode_router_info().unwrap().unwrap().verify().unwrap(), info);
    assert!(again.data.decode_lease_set().is_none());
}

#[test]
fn layout_of_a_store() {
    // i2pr's framing fixture, with three bytes in place of gzip.
    let body = format!("{}00000000000003a1b2c3", "0f".repeat(32));
    let store = DatabaseStore::from_bytes(&hex::decode(&body).unwrap()).unwrap();
    assert_eq!(store.data, StoreData::RouterInfo { compressed: vec![0xa1, 0xb2, 0xc3] });
    assert!(store.data.decode_router_info().unwrap().is_err());
    assert_eq!(hex::encode(store.to_bytes()), body);

    // A token with tunnel 0: the reply goes straight to the gateway.
    let body = format!("{}030000000500000000{}aabb", "0f".repeat(32), "04".repeat(32));
    let store = DatabaseStore::from_bytes(&hex::decode(&body).unwrap()).unwrap();
    assert_eq!(store.reply.unwrap().tunnel, None);
    assert_eq!(store.data, StoreData::LeaseSet { kind: LeaseSetType::V2, bytes: vec![0xaa, 0xbb] });
    assert_eq!(hex::encode(store.to_bytes()), body);
    for kind in [2, 4, 6, 8, 255] {
        let body = [&[1; 32][..], &[kind, 0, 0, 0, 0, 1]].concat();
        assert!(DatabaseStore::from_bytes(&body).is_err());
    }
}
