//! Formats that any router may send: NTCP2, I2NP, RouterInfos and LeaseSets.

use std::sync::Arc;

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519;
use aioli_core::{Cx, Duration, Rng};
use aioli_transport::{Config, Lane, Output, Transport};
use aioli_wire::i2np::{
    Data, DatabaseLookup, DatabaseSearchReply, DatabaseStore, DeliveryStatus, Garlic, LookupType,
    ReplyEncryption, TunnelGateway,
};
use aioli_wire::ntcp2::{self, Block, PaddingOptions, TerminationReason};
use aioli_wire::{
    Destination, Lease, LeaseSet, LeaseSet2, LeaseSet2Parts, LeaseSetFlags, LeaseSetType, Mapping, Message,
    MessageId, MessageType, RouterHash, RouterInfo, TunnelId, Wire, build, garlic, tunnel,
};

use crate::peer::{NET_ID, Router};
use crate::{NOW, message, row, short};

/// The payload of a frame, of SessionConfirmed, and the options of both first messages.
pub fn ntcp2_frames(bytes: &[u8]) {
    for block in ntcp2::Blocks::new(bytes) {
        let Ok(block) = block else { break };
        let again = block.to_bytes();
        assert_eq!(Block::from_bytes(&again).map(|b| format!("{b:?}")), Ok(format!("{block:?}")));
        if let Block::I2np(message) = block {
            let _ = Message::decode_short(message);
        }
    }
    let _ = ntcp2::ConfirmedPayload::decode(bytes);
    if let Ok(options) = ntcp2::RequestOptions::from_bytes(bytes) {
        assert_eq!(ntcp2::RequestOptions::from_bytes(&options.to_bytes()), Ok(options));
    }
    if let Ok(options) = ntcp2::CreatedOptions::from_bytes(bytes) {
        assert_eq!(ntcp2::CreatedOptions::from_bytes(&options.to_bytes()), Ok(options));
    }
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    let message = short(&message(5, 40));
    let info = Router::new(1).info;
    vec![
        row(&[Block::DateTime(NOW.wall), Block::Options(PaddingOptions::default()), Block::I2np(&message)]),
        row(&[Block::RouterInfo { flood: false, bytes: info.bytes() }, Block::Padding(9)]),
        row(&[Block::Termination { received: 9, reason: TerminationReason::Banned }, Block::Padding(3)]),
        vec![99, 2, 0, 0, 1, 0, 0, 0, 0x6a, 0x18, 0xa4, 0x14, 0, 0, 0, 0],
    ]
}

fn transport(router: &Router, rng: &mut Rng) -> Transport {
    let mut config = Config::new(router.static_key.clone(), router.iv);
    (config.net_id, config.private_network) = (NET_ID, true);
    let mut transport = Transport::new(config, rng.fork());
    transport.set_local(Arc::clone(&router.info));
    transport
}

/// A connection that somebody opens and writes anything to, at once or byte by byte.
pub fn ntcp2_connection(bytes: &[u8]) {
    let Some((cut, bytes)) = bytes.split_first() else { return };
    let mut rng = Rng::from_seed([5; 32]);
    let mut transport = transport(&Router::new(2), &mut rng);
    let mut cx = Cx { now: NOW, rng: &mut rng };
    let accepted = transport.handle_accepted(Router::new(1).address, &mut cx);
    let conn = accepted.expect("there is room");
    for piece in bytes.chunks(usize::from(*cut) + 1) {
        transport.handle_bytes(conn, &mut piece.to_vec(), &mut cx);
        while let Some(output) = transport.poll_output() {
            assert!(!matches!(output, Output::Messages { .. } | Output::Established { .. }));
        }
    }
    assert_eq!(transport.stats().sessions, 0);
}

/// The first two messages of a true handshake.
pub(crate) fn connection_seeds() -> Vec<Vec<u8>> {
    let (alice, bob) = (Router::new(1), Router::new(2));
    let mut rng = Rng::from_seed([6; 32]);
    let mut transport = transport(&alice, &mut rng);
    let mut cx = Cx { now: NOW, rng: &mut rng };
    transport.send(&bob.info, Lane::Own, message(1, 40), &mut cx);
    let mut out = vec![200];
    while let Some(output) = transport.poll_output() {
        if let Output::Dial { conn, .. } = output {
            transport.handle_connected(conn, &mut cx);
        } else if let Output::Transmit(conn) = output {
            transport.poll_transmit(conn, &mut out, 1 << 16, &mut cx);
        }
    }
    let mut short = out.clone();
    short[0] = 0;
    vec![out, short]
}

/// Messages, and the body of each kind.
pub fn i2np(bytes: &[u8]) {
    if let Ok(message) = Message::decode_standard(bytes) {
        assert_eq!(message.encode_standard(), bytes);
        body(&message.body);
    }
    if let Ok(message) = Message::decode_short(bytes) {
        assert_eq!(short(&message), bytes);
        body(&message.body);
    }
    body(bytes);
}

fn body(bytes: &[u8]) {
    if let Ok(store) = DatabaseStore::from_bytes(bytes) {
        let _ = (store.data.decode_router_info(), store.data.decode_lease_set());
    }
    if let Ok(lookup) = DatabaseLookup::from_bytes(bytes) {
        assert_eq!(DatabaseLookup::from_bytes(&lookup.to_bytes()).as_ref(), Ok(&lookup));
    }
    let _ = (DatabaseSearchReply::from_bytes(bytes), DeliveryStatus::from_bytes(bytes));
    let _ = (Garlic::from_bytes(bytes), Data::from_bytes(bytes));
    if let Ok(gateway) = TunnelGateway::from_bytes(bytes) {
        let _ = gateway.decode_message();
    }
    for block in garlic::blocks(bytes) {
        let _ = format!("{block:?}");
    }
    for size in [build::SHORT_RECORD, build::LONG_RECORD] {
        if let Ok(records) = build::BuildRecords::decode(bytes, size) {
            assert_eq!(records.encode(), bytes);
        }
    }
    if let Ok(mut fragments) = tunnel::fragments(bytes) {
        while !fragments.is_empty() && tunnel::Fragment::decode(&mut fragments).is_ok() {}
    }
}

pub(crate) fn i2np_seeds() -> Vec<Vec<u8>> {
    let info = Router::new(1).info;
    let hash = RouterHash::new([3; 32]);
    let lookup = DatabaseLookup {
        key: hash.into(),
        from: hash,
        reply_tunnel: None,
        kind: LookupType::RouterInfo,
        excluded: vec![hash; 3],
        reply: ReplyEncryption::None,
    };
    let reply = DatabaseSearchReply { key: hash.into(), peers: vec![hash; 2], from: hash };
    let bodies = [
        (MessageType::DatabaseStore, DatabaseStore::router_info(&info, None).to_bytes()),
        (MessageType::DatabaseLookup, lookup.to_bytes()),
        (MessageType::DatabaseSearchReply, reply.to_bytes()),
        (MessageType::ShortTunnelBuild, build::BuildRecords::new(build::SHORT_RECORD, 4).encode()),
    ];
    let message = |(kind, body)| Message { kind, id: MessageId(9), expires: NOW.wall, body };
    let messages = bodies.map(message);
    let mut seeds = messages.iter().map(Message::encode_standard).collect::<Vec<_>>();
    seeds.extend(messages.iter().map(short));
    seeds.extend(messages.into_iter().map(|m| m.body));
    seeds
}

/// A RouterInfo: what is read again is the same, and what was changed does not verify.
pub fn router_info(bytes: &[u8]) {
    let Ok(info) = RouterInfo::decode_unverified(bytes) else { return };
    let claims = info.claims();
    let _ = (claims.ntcp2().count(), claims.caps(), claims.version(), claims.net_id(), claims.hash());
    let _ = claims.addresses.iter().filter_map(aioli_wire::ssu2::Ssu2Address::parse).count();
    let true_one = router_info_seeds().iter().any(|seed| seed == bytes);
    assert_eq!(info.verify().is_ok(), true_one, "only what was signed verifies");
}

pub(crate) fn router_info_seeds() -> Vec<Vec<u8>> {
    thread_local! {
        static SEEDS: Vec<Vec<u8>> = (1..4).map(|n| Router::new(n).info.bytes().to_vec()).collect();
    }
    SEEDS.with(Clone::clone)
}

/// A LeaseSet of any kind; only the one that was signed verifies.
pub fn lease_set2(bytes: &[u8]) {
    for kind in [LeaseSetType::V2, LeaseSetType::V1, LeaseSetType::Encrypted, LeaseSetType::Meta] {
        let Ok(set) = LeaseSet::decode(kind, bytes) else { continue };
        let claims = set.claims();
        assert_eq!(claims.bytes(), bytes);
        let _ = (claims.key(), claims.version(), claims.expires(), claims.leases().len());
        let true_one = lease_set2_seeds().iter().any(|seed| seed == bytes);
        assert_eq!(set.verify().is_ok(), true_one, "only what was signed verifies");
    }
}

pub(crate) fn lease_set2_seeds() -> Vec<Vec<u8>> {
    thread_local! {
        static SEEDS: Vec<Vec<u8>> = vec![signed_lease_set()];
    }
    SEEDS.with(Clone::clone)
}

fn signed_lease_set() -> Vec<u8> {
    let mut rng = Rng::from_seed([8; 32]);
    let key = SigningKey::generate(&mut rng);
    let tunnel = TunnelId(rng.nonzero_u32());
    let lease = Lease { gateway: RouterHash::new([4; 32]), tunnel, end: NOW.wall + Duration::from_secs(500) };
    let encryption = x25519::PrivateKey::generate(&mut rng).public();
    let parts = LeaseSet2Parts {
        destination: Destination::create(&key.public(), &rng.bytes()),
        published: NOW.wall,
        expires: NOW.wall + Duration::from_secs(600),
        flags: LeaseSetFlags(0),
        offline: None,
        properties: Mapping::new(),
        keys: vec![(4, encryption.0.to_vec())],
        leases: vec![lease; 3],
    };
    LeaseSet2::create(parts, &key).bytes().to_vec()
}
