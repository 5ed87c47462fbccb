//! No bytes make a decoder panic: random ones, and valid ones that were
//! changed, cut, or glued to others.

mod common;

use aioli_core::crypto::sign::SigType;
use aioli_core::{Date, Rng};
use aioli_wire::build::{
    BuildRecords, BuildRequest, LONG_RECORD, Role, SHORT_RECORD, SHORT_REQUEST, decode_long, encode_reply,
    reply_accepts,
};
use aioli_wire::i2np::{
    Data, DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, Garlic, TunnelGateway,
};
use aioli_wire::keyfile::DestinationKeys;
use aioli_wire::tunnel::{ENCRYPTED_SIZE, Fragment, MAX_FRAGMENTS_SIZE, TunnelDelivery, assemble, fragments};
use aioli_wire::{
    Capabilities, Certificate, Destination, KeysAndCert, LeaseSet, LeaseSetType, Mapping, Message,
    OfflineSignature, Reader, RouterAddress, RouterHash, RouterIdentity, RouterInfo, TunnelId, Wire, Writer,
    b33, base32, base64, client_payload, garlic, gzip, ntcp2, streaming,
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
    tunnel_messages(bytes);
    build_records(bytes);
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

fn tunnel_messages(bytes: &[u8]) {
    if let Ok(found) = fragments(bytes) {
        read_fragments(found);
    }
    // Whoever fills a tunnel makes the checksum right.
    let inner = bytes.get(..MAX_FRAGMENTS_SIZE).unwrap_or(bytes);
    let body = assemble(tunnel_id(1), inner, &mut Rng::from_seed([1; 32]));
    read_fragments(fragments(&body).expect("just made"));
}

fn tunnel_id(id: u32) -> TunnelId {
    TunnelId::new(id).expect("not zero")
}

fn read_fragments(mut r: Reader<'_>) {
    while !r.is_empty() {
        let Ok(fragment) = Fragment::decode(&mut r) else { break };
        let (Fragment::First { data, .. } | Fragment::FollowOn { data, .. }) = fragment;
        assert!(data.len() <= ENCRYPTED_SIZE);
        let mut w = Writer::new();
        fragment.encode(&mut w);
        let again = w.into_vec();
        assert_eq!(Fragment::decode(&mut Reader::new("", &again)), Ok(fragment));
    }
}

fn build_records(bytes: &[u8]) {
    for size in [SHORT_RECORD, LONG_RECORD] {
        let Ok(mut records) = BuildRecords::decode(bytes, size) else { continue };
        assert_eq!(records.encode(), bytes);
        let _ = records.find(&RouterHash::new([0; 32]));
        assert!(records.get(records.len()).is_empty() && records.get_mut(records.len()).is_empty());
    }
    if let Ok(request) = BuildRequest::decode_short(bytes.get(..SHORT_REQUEST).unwrap_or(bytes)) {
        let again = request.encode_short(&mut Rng::from_seed([1; 32]));
        assert_eq!(BuildRequest::decode_short(&again), Ok(request));
    }
    let _ = (decode_long(bytes).map(|(request, _)| request), reply_accepts(bytes));
}

fn build_request() -> impl Strategy<Value = BuildRequest> {
    let role = prop_oneof![Just(Role::InboundGateway), Just(Role::Participant), Just(Role::OutboundEndpoint)];
    (1..u32::MAX, any::<[u8; 32]>(), role, any::<u32>(), mapping()).prop_map(
        |(tunnel, router, role, number, options)| BuildRequest {
            receive_tunnel: tunnel_id(tunnel),
            next_tunnel: tunnel_id(!tunnel),
            next_router: RouterHash::new(router),
            role,
            requested: Date::from_secs(u64::from(number) * 60),
            lifetime_secs: number,
            next_message_id: number,
            // As many as there is room for.
            options: if options.to_bytes().len() > 90 { Mapping::new() } else { options },
        },
    )
}

/// Records of a build message, the content does not matter.
fn build_body() -> impl Strategy<Value = Vec<u8>> {
    (prop_oneof![Just(SHORT_RECORD), Just(LONG_RECORD)], 1..9_usize)
        .prop_map(|(size, count)| BuildRecords::new(size, count).encode())
}

/// Fragments as they stand in a tunnel message.
fn tunnel_fragments() -> impl Strategy<Value = Vec<u8>> {
    let delivery = prop_oneof![
        Just(TunnelDelivery::Local),
        Just(TunnelDelivery::Router(RouterHash::new([2; 32]))),
        Just(TunnelDelivery::Tunnel(RouterHash::new([2; 32]), tunnel_id(3))),
    ];
    let fragment = (delivery, 0..64_u8, any::<Option<u32>>(), any::<bool>(), 0..200_usize);
    prop::collection::vec(fragment, 1..5).prop_map(|all| {
        let mut w = Writer::new();
        for (delivery, number, id, last, size) in all {
            let data = &[7; 200][..size];
            match (number, id) {
                (0, id) | (_, id @ None) => Fragment::First { delivery, id, data }.encode(&mut w),
                (number, Some(id)) => Fragment::FollowOn { id, number, last, data }.encode(&mut w),
            }
        }
        w.into_vec()
    })
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
        build_request().prop_map(|v| v.encode_short(&mut Rng::from_seed([1; 32])).to_vec()),
        build_body(),
        (any::<bool>(), any::<Option<u32>>()).prop_map(|(accept, offer)| encode_reply(
            202,
            accept,
            offer,
            &mut Rng::from_seed([1; 32])
        )),
        tunnel_fragments(),
        tunnel_fragments().prop_map(|v| assemble(tunnel_id(9), &v, &mut Rng::from_seed([2; 32]))),
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
