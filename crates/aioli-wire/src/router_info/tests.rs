//! What RouterInfos say and how tolerant their reader is.

use std::net::SocketAddr;

use aioli_core::crypto::{Secret, x25519};

use super::*;
use crate::base64;

fn key() -> SigningKey {
    SigningKey::from_seed(Secret::new([1; 32]))
}

fn options() -> Mapping {
    Mapping::from_pairs([("router.version", "0.9.69"), ("caps", "XfR"), ("netId", "2")]).unwrap()
}

fn parts(addresses: Vec<RouterAddress>, options: Mapping) -> RouterInfoParts {
    let identity = RouterIdentity::create(&x25519::PublicKey([5; 32]), &key().public(), &[7; 32]);
    RouterInfoParts { identity, published: Date::from_millis(1_734_277_873_460), addresses, options }
}

fn ntcp2(options: &[(&str, &str)]) -> RouterAddress {
    let options = Mapping::from_pairs(options.iter().copied()).unwrap();
    RouterAddress { cost: 3, style: "NTCP2".into(), options }
}

#[test]
fn created_verifies_and_a_changed_byte_does_not() {
    let endpoint: SocketAddr = "203.0.113.1:9700".parse().unwrap();
    let address = RouterAddress::ntcp2(3, &x25519::PublicKey([9; 32]), Some((endpoint, [4; 16]))).unwrap();
    let info = RouterInfo::create(parts(vec![address], options()), &key());
    let again = RouterInfo::decode_unverified(info.bytes()).unwrap();
    assert_eq!(again.claims(), &*info);
    assert_eq!(again.verify().unwrap(), info);
    for at in [0, 200, 383, 391, 410, info.bytes().len() - 70, info.bytes().len() - 1] {
        let mut forged = info.bytes().to_vec();
        forged[at] ^= 1;
        if let Ok(forged) = RouterInfo::decode_unverified(&forged) {
            assert_eq!(forged.verify().unwrap_err(), VerifyError::Signature);
        }
    }
}

#[test]
fn what_is_decoded_is_in_memory_once_and_can_still_be_changed() {
    let options_of_it = options();
    let made =
        RouterInfo::create(parts(vec![ntcp2(&[("host", "203.0.113.1"), ("v", "2")])], options()), &key());
    let mut read = RouterInfo::from_bytes(made.bytes()).unwrap();
    let whole = read.bytes().as_ptr_range();
    let host = read.addresses[0].options.get("host").unwrap();
    for part in [read.identity.bytes(), read.options.get("caps").unwrap().as_bytes(), host.as_bytes()] {
        assert!(whole.contains(&part.as_ptr()));
    }
    assert_eq!((&read.options, read.addresses[0].to_bytes()), (&options_of_it, made.addresses[0].to_bytes()));
    read.options.set("caps", "LU").unwrap();
    assert_eq!((read.options.get("caps"), read.options.get("netId")), (Some("LU"), Some("2")));
    assert_eq!(read.bytes(), made.bytes());
}

#[test]
fn what_it_says() {
    let info = RouterInfo::create(parts(vec![], options()), &key());
    assert_eq!(info.version(), Some((0, 9, 69)));
    assert_eq!(info.net_id(), Some(2));
    assert_eq!(info.caps().to_string(), "XfR");
    assert_eq!(info.options.iter().map(|(k, _)| k).collect::<Vec<_>>(), ["caps", "netId", "router.version"]);
    for (version, net) in
        [("0.9", ""), ("0.9.x", "-1"), ("0.9.69-1", "256"), ("1.2.3.4", " 2"), ("0.9.300", "x")]
    {
        let options = Mapping::from_pairs([("router.version", version), ("netId", net)]).unwrap();
        let info = RouterInfo::create(parts(vec![], options), &key());
        assert_eq!((info.version(), info.net_id()), (None, None));
    }
}

#[test]
fn ntcp2_addresses_that_can_be_used() {
    let s = base64::encode(&[9; 32]);
    let i = base64::encode(&[4; 16]);
    let (s, i) = (s.as_str(), i.as_str());
    let full = ntcp2(&[("host", "2001:db8::1"), ("port", "1337"), ("s", s), ("i", i), ("v", "2")]);
    let dials = ntcp2(&[("caps", "46"), ("s", s), ("v", "2,3")]);
    let named = ntcp2(&[("host", "example.i2p"), ("port", "1337"), ("s", s), ("i", i), ("v", "2")]);
    let info = RouterInfo::create(parts(vec![full, dials, named], options()), &key());
    let found: Vec<_> = info.ntcp2().collect();
    assert_eq!(found.len(), 3);
    assert_eq!(found[0].published(), Some(("[2001:db8::1]:1337".parse().unwrap(), [4; 16])));
    assert_eq!((found[0].ipv4, found[0].ipv6), (false, true));
    assert_eq!((found[1].host, found[1].iv, found[1].ipv4, found[1].ipv6), (None, None, true, true));
    assert_eq!(found[2].published(), None);
}

#[test]
fn ntcp2_addresses_that_cannot() {
    let s = base64::encode(&[9; 32]);
    let top_bit = base64::encode(&[0xff; 32]);
    let short = base64::encode(&[4; 15]);
    let s = s.as_str();
    for options in [
        &[("s", s)][..],
        &[("s", s), ("v", "3")],
        &[("v", "2")],
        &[("s", "AAAA"), ("v", "2")],
        &[("s", &top_bit), ("v", "2")],
        &[("s", s), ("v", "2"), ("i", &short)],
        &[("s", s), ("v", "2"), ("i", "")],
    ] {
        assert_eq!(ntcp2(options).as_ntcp2(), None, "{options:?}");
    }
    let mut other = ntcp2(&[("s", s), ("v", "2")]);
    assert!(other.as_ntcp2().is_some());
    other.style = "SSU2".into();
    assert_eq!(other.as_ntcp2(), None);
    for port in ["0", "65536", "-1", ""] {
        assert_eq!(ntcp2(&[("host", "127.0.0.1"), ("port", port)]).endpoint(), None);
    }
}

#[test]
fn old_peer_hashes_are_skipped_and_limits_hold() {
    let info = RouterInfo::create(parts(vec![], options()), &key());
    let at = 391 + 8;
    let mut with_peer = info.bytes().to_vec();
    with_peer.splice(at + 1..at + 2, std::iter::once(1).chain([3; 32]));
    assert_eq!(RouterInfo::from_bytes(&with_peer).unwrap().options, info.options);

    let mut many = info.bytes().to_vec();
    many[at] = MAX_ADDRESSES as u8 + 1;
    assert_eq!(RouterInfo::from_bytes(&many).unwrap_err().kind, DecodeErrorKind::Limit("addresses"));

    let wide = Mapping::from_pairs((0..16).map(|n| (format!("{n}"), "v".repeat(250)))).unwrap();
    let info = RouterInfo::create(parts(vec![], wide), &key());
    assert!(info.bytes().len() > MAX_ROUTER_INFO_SIZE);
    let error = RouterInfo::from_bytes(info.bytes()).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::Limit("RouterInfo size"));
}
