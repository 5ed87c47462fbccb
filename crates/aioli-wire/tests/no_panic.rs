//! No bytes make a decoder panic: random ones, and valid ones that were
//! changed, cut, or glued to others.

mod common;

use aioli_core::crypto::sign::SigType;
use aioli_wire::i2np::{
    Data, DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, Garlic, TunnelGateway,
};
use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::{
    Capabilities, Certificate, Destination, KeysAndCert, LeaseSet, LeaseSetType, Mapping, Message,
    OfflineSignature, Reader, RouterAddress, RouterIdentity, RouterInfo, Wire, b33, base32, base64,
    client_payload, garlic, gzip, ntcp2, streaming,
};
use common::*;
use proptest::prelude::*;

/// Decodes; what is accepted must also be encodable and come back the same.
macro_rules! wire {
    ($bytes:expr, $($type:ty),+ $(,)?) => {$(
        if let Ok(value) = <$type>::from_bytes($bytes) {
            let again = value.to_bytes();
            assert_eq!(<$type>::from_bytes(&again).as_ref(), Ok(&value), stringify!($type));
            let _ = format!("{value:?}");
        }
    )+};
}

/// Everything that is ever done with bytes from outside.
fn decode_all(bytes: &[u8]) {
    wire!(bytes, Mapping, Certificate, KeysAndCert, RouterIdentity, Destination, RouterAddress, RouterInfo);
    wire!(bytes, DatabaseStore, DatabaseLookup, DatabaseSearchReply, DeliveryStatus);
    wire!(bytes, Garlic<'_>, Data<'_>, TunnelGateway<'_>, DestinationKeys);
    structures(bytes);
    messages(bytes);
    ntcp2_formats(bytes);
    end_to_end(bytes);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (base64::decode(text), base32::decode(text), base32::parse_host_name(text));
        let _ = (Capabilities::parse(text).to_string(), b33::BlindedName::parse(text));
    }
}

fn structures(bytes: &[u8]) {
    if let Ok(info) = RouterInfo::decode_unverified(bytes) {
        let claims = info.claims();
        let _ = (claims.ntcp2().count(), claims.caps(), claims.version(), claims.net_id(), claims.hash());
        let _ = info.verify();
    }
    for kind in [LeaseSetType::V1, LeaseSetType::V2, LeaseSetType::Encrypted, LeaseSetType::Meta] {
        if let Ok(set) = LeaseSet::decode(kind, bytes) {
            let claims = set.claims();
            assert_eq!(claims.bytes(), bytes);
            let _ = (claims.key(), claims.version(), claims.expires(), claims.leases().len());
            let _ = set.verify();
        }
    }
    for signer in [SigType::DsaSha1, SigType::EcdsaP521, SigType::Ed25519] {
        let _ = OfflineSignature::decode(&mut Reader::new(OfflineSignature::SPEC, bytes), signer);
    }
    if let Ok(keys) = DestinationKeys::from_bytes(bytes) {
        let _ = keys.signing_key();
    }
    let _ = gzip::inflate(bytes, 4096);
}

fn messages(bytes: &[u8]) {
    if let Ok(message) = Message::decode_standard(bytes) {
        assert_eq!(message.encode_standard(), bytes);
    }
    if let Ok(message) = Message::decode_short(bytes) {
        let mut again = Vec::new();
        message.encode_short(&mut again);
        assert_eq!(again, bytes);
    }
    if let Ok(store) = DatabaseStore::from_bytes(bytes) {
        let _ = (store.data.decode_router_info(), store.data.decode_lease_set());
    }
    if let Ok(gateway) = TunnelGateway::from_bytes(bytes) {
        let _ = gateway.decode_message();
    }
}

fn ntcp2_formats(bytes: &[u8]) {
    wire!(bytes, ntcp2::RequestOptions, ntcp2::CreatedOptions, ntcp2::Block<'_>);
    let _ = ntcp2::Blocks::new(bytes).count();
    let _ = ntcp2::ConfirmedPayload::decode(bytes);
}

fn end_to_end(bytes: &[u8]) {
    for block in garlic::blocks(bytes) {
        let _ = format!("{block:?}");
    }
    let _ = garlic::Clove::decode(bytes);
    if let Ok(packet) = streaming::Packet::from_bytes(bytes) {
        let _ = packet.to_bytes();
        for own in [SigType::DsaSha1, SigType::Ed25519] {
            if let Ok(signer) = packet.signer(own, None) {
                let _ = streaming::signed_bytes(bytes, &signer);
            }
        }
    }
    let _ = client_payload::decode(bytes);
}

/// A valid structure of some kind.
fn valid() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        mapping().prop_map(|v| v.to_bytes()),
        router_info().prop_map(|v| v.bytes().to_vec()),
        lease_set().prop_map(|v| v.bytes().to_vec()),
        database_store().prop_map(|v| v.to_bytes()),
        database_lookup().prop_map(|v| v.to_bytes()),
        search_reply().prop_map(|v| v.to_bytes()),
        message().prop_map(|v| v.encode_standard()),
        (destination(), any::<[u8; 32]>())
            .prop_map(|((_, key), padding)| DestinationKeys::create(&key, &padding).to_bytes()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        decode_all(&bytes);
    }

    #[test]
    fn small_numbers(bytes in prop::collection::vec(0..6u8, 0..600)) {
        // Lengths and types are small numbers, so these reach deeper.
        decode_all(&bytes);
    }

    #[test]
    fn changed_bytes(mut bytes in valid(), changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)) {
        for (at, value) in changes {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
        }
        decode_all(&bytes);
    }

    #[test]
    fn cut_and_glued(a in valid(), b in valid(), cut in any::<prop::sample::Index>()) {
        let at = cut.index(a.len() + 1);
        decode_all(&a[..at]);
        decode_all(&a[at..]);
        decode_all(&[&a[..at], &b[..]].concat());
    }
}
