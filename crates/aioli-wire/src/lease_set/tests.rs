//! Every kind: made by hand or by `create`, decoded, verified, forged.

use std::time::Duration;

use aioli_core::crypto::Secret;
use aioli_core::crypto::ed25519::SigningKey;

use super::*;
use crate::codec::Wire;
use crate::mapping::Mapping;

const NOW: Date = Date::from_secs(1_760_000_000);

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(Secret::new([seed; 32]))
}

fn destination() -> Destination {
    Destination::create(&key(1).public(), &[2; 32])
}

fn lease(n: u8) -> Lease {
    let end = NOW + Duration::from_secs(600 + u64::from(n));
    Lease { gateway: RouterHash::new([n; 32]), tunnel: TunnelId::new(u32::from(n) + 1).unwrap(), end }
}

fn parts() -> LeaseSet2Parts {
    LeaseSet2Parts {
        destination: destination(),
        published: NOW + Duration::from_millis(999),
        expires: NOW + Duration::from_secs(603),
        flags: LeaseSetFlags::UNPUBLISHED,
        offline: None,
        properties: Mapping::new(),
        keys: vec![(6, vec![6; 32]), (4, vec![4; 32])],
        leases: vec![lease(0), lease(3)],
    }
}

fn offline(expires: Date) -> OfflineSignature {
    let mut offline = OfflineSignature {
        expires,
        transient_type: SigType::Ed25519,
        transient_key: key(9).public().to_vec(),
        signature: vec![],
    };
    offline.signature = key(1).sign(&offline.signed_bytes()).to_vec();
    offline
}

/// Signs `body` behind its store type, as the newer kinds want it.
fn sign_typed(kind: LeaseSetType, mut body: Vec<u8>, key: &SigningKey) -> Vec<u8> {
    let signature = key.sign(&[&[kind.code()], body.as_slice()].concat());
    body.extend(signature);
    body
}

/// Each changed byte must break either the form or the signature.
fn assert_unforgeable(kind: LeaseSetType, bytes: &[u8]) {
    for at in (0..bytes.len()).step_by(7) {
        let mut forged = bytes.to_vec();
        forged[at] ^= 0x40;
        if let Ok(forged) = LeaseSet::decode(kind, &forged) {
            assert!(forged.verify().is_err(), "byte {at}");
        }
    }
}

#[test]
fn lease_set_2() {
    let made = LeaseSet2::create(parts(), &key(1));
    assert_eq!(made.kind(), LeaseSetType::V2);
    let again = LeaseSet::decode(LeaseSetType::V2, made.bytes()).unwrap().verify().unwrap();
    assert_eq!(again, made);
    assert_eq!(again.key(), destination().hash());
    assert_eq!((again.version(), again.expires()), (NOW, NOW + Duration::from_secs(603)));
    assert_eq!(again.leases(), [lease(0), lease(3)]);
    assert!(again.flags().contains(LeaseSetFlags::UNPUBLISHED));
    let set = again.as_v2().unwrap();
    assert_eq!(set.keys, [(6, vec![6; 32]), (4, vec![4; 32])]);
    assert_eq!(set.destination, destination());
    assert_unforgeable(LeaseSetType::V2, made.bytes());
}

#[test]
fn layout_of_lease_set_2() {
    let mut parts = parts();
    parts.keys.truncate(1);
    parts.leases.truncate(1);
    let made = LeaseSet2::create(parts, &key(1));
    let mut w = Writer::new();
    w.write(&destination());
    w.bytes(&hex::decode("68e77800" /* 1,760,000,000 */).unwrap());
    w.bytes(&[0x02, 0x5b, 0, 2]); // 603 seconds, unpublished
    w.bytes(&[0, 0]); // no properties
    w.bytes(&[1, 0, 6, 0, 32]);
    w.bytes(&[6; 32]);
    w.u8(1);
    w.bytes(&[0; 32]);
    w.bytes(&[0, 0, 0, 1]);
    w.bytes(&hex::decode("68e77a58").unwrap());
    let expected = sign_typed(LeaseSetType::V2, w.into_vec(), &key(1));
    assert_eq!(hex::encode(made.bytes()), hex::encode(expected));
}

#[test]
fn transient_keys() {
    let made = |offline: OfflineSignature, signer: u8| {
        let set = LeaseSet2::create(LeaseSet2Parts { offline: Some(offline), ..parts() }, &key(signer));
        assert!(set.flags().contains(LeaseSetFlags::OFFLINE));
        LeaseSet::decode(LeaseSetType::V2, set.bytes()).unwrap().verify().map(|again| assert_eq!(again, set))
    };
    let later = NOW + Duration::from_secs(86_400);
    assert_eq!(made(offline(later), 9), Ok(()));
    assert_eq!(made(offline(later), 1), Err(VerifyError::Signature));
    assert_eq!(made(offline(NOW - Duration::from_secs(1)), 9), Err(VerifyError::TransientExpired));
    let mut forged = offline(later);
    forged.transient_key = key(8).public().to_vec();
    assert_eq!(made(forged, 8), Err(VerifyError::TransientKey));
}

#[test]
fn limits_of_lease_set_2() {
    let many = LeaseSet2::create(
        LeaseSet2Parts {
            leases: (0..30).map(lease).collect(),
            keys: vec![(4, vec![4; 32]); 30],
            expires: NOW + Duration::from_secs(100_000),
            ..parts()
        },
        &key(1),
    );
    assert_eq!((many.leases().len(), many.as_v2().unwrap().keys.len()), (MAX_LEASES, MAX_ENCRYPTION_KEYS));
    assert_eq!(many.expires(), NOW + Duration::from_secs(65_535));
    assert_eq!(LeaseSet::decode(LeaseSetType::V2, many.bytes()).unwrap().verify().unwrap(), many);

    let none = LeaseSet2::create(LeaseSet2Parts { leases: vec![], ..parts() }, &key(1));
    assert!(LeaseSet::decode(LeaseSetType::V2, none.bytes()).is_ok());
    let no_keys = LeaseSet2::create(LeaseSet2Parts { keys: vec![], ..parts() }, &key(1));
    assert!(LeaseSet::decode(LeaseSetType::V2, no_keys.bytes()).is_err());
    let properties = Mapping::from_pairs((0..16).map(|n| (format!("{n}"), "v".repeat(255)))).unwrap();
    let large = LeaseSet2::create(LeaseSet2Parts { properties, ..parts() }, &key(1));
    let error = LeaseSet::decode(LeaseSetType::V2, large.bytes()).unwrap_err();
    assert_eq!(error.kind, DecodeErrorKind::Limit("LeaseSet size"));
}

#[test]
fn lease_set_1() {
    let mut w = Writer::new();
    w.write(&destination());
    w.bytes(&[3; 256]);
    w.bytes(&[4; 32]); // revocation key, Ed25519 like the destination's
    w.u8(2);
    for lease in [lease(5), lease(2)] {
        w.write(&lease.gateway);
        w.write(&lease.tunnel);
        w.date(lease.end);
    }
    let signature = key(1).sign(w.as_slice());
    w.bytes(&signature);
    let bytes = w.into_vec();
    let set = LeaseSet::decode(LeaseSetType::V1, &bytes).unwrap().verify().unwrap();
    assert_eq!(set.leases(), [lease(5), lease(2)]);
    assert_eq!((set.version(), set.expires()), (lease(2).end, lease(5).end));
    assert_eq!(set.bytes(), bytes);
    assert_unforgeable(LeaseSetType::V1, &bytes);
}

#[test]
fn meta_lease_set() {
    let mut w = Writer::new();
    let header = LeaseSetHeader {
        destination: destination(),
        published: NOW,
        expires: NOW + Duration::from_secs(60_000),
        flags: LeaseSetFlags::default(),
        offline: None,
    };
    header.encode(&mut w);
    w.write(&Mapping::new());
    w.u8(1);
    w.bytes(&[8; 32]);
    w.bytes(&[0, 0, 3, 17, 0x68, 0xe7, 0x78, 0x00]);
    w.u8(1);
    w.bytes(&[9; 32]);
    let bytes = sign_typed(LeaseSetType::Meta, w.into_vec(), &key(1));
    let set = LeaseSet::decode(LeaseSetType::Meta, &bytes).unwrap().verify().unwrap();
    let LeaseSet::Meta(meta) = &*set else { panic!("another kind") };
    assert_eq!(meta.entries, [MetaLease { hash: [8; 32].into(), kind: 3, cost: 17, end: NOW }]);
    assert_eq!(meta.revocations, [[9; 32].into()]);
    assert_eq!(meta.published, NOW);
    assert_unforgeable(LeaseSetType::Meta, &bytes);
}

#[test]
fn encrypted_lease_set() {
    let mut w = Writer::new();
    w.u16(11);
    w.bytes(&key(1).public());
    w.u32(1_760_000_000);
    w.u16(660);
    w.u16(0);
    w.u16(100);
    w.bytes(&[7; 100]);
    let bytes = sign_typed(LeaseSetType::Encrypted, w.into_vec(), &key(1));
    let set = LeaseSet::decode(LeaseSetType::Encrypted, &bytes).unwrap().verify().unwrap();
    assert_eq!((set.version(), set.expires()), (NOW, NOW + Duration::from_secs(660)));
    assert_eq!(set.destination(), None);
    assert_unforgeable(LeaseSetType::Encrypted, &bytes);
}

#[test]
fn store_key_of_an_encrypted_lease_set() {
    // Blinded key and store key as i2pd computes them for the Ed25519 seed 01*32 on 2025-10-15.
    let blinded = "d581f97c36c718b4a8270ac8cb8a8ffe6cbe66a0983d587c9ce868c05262c637";
    let stored = "0f341c35e71ffe78d269bcb7e990eb13890ca42e21f470f6786ba173a98e9718";
    let blinded: [u8; 32] = hex::decode(blinded).unwrap().try_into().unwrap();
    assert_eq!(hex::encode(EncryptedLeaseSet::store_key(&blinded).as_bytes()), stored);
}

#[test]
fn a_tunnel_zero_is_refused() {
    let made = LeaseSet2::create(LeaseSet2Parts { leases: vec![lease(0)], ..parts() }, &key(1));
    let mut bytes = made.bytes().to_vec();
    let id = bytes.len() - 64 - 8;
    assert_eq!(bytes[id..id + 4], [0, 0, 0, 1]);
    bytes[id + 3] = 0;
    assert!(LeaseSet2::from_bytes(&bytes).is_err());
}
