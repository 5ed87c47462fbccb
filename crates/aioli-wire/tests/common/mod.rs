//! Valid structures of every kind, for property tests.

use std::num::NonZeroU32;

use aioli_core::Date;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::sign::SigType;
use aioli_core::crypto::{Secret, x25519};
use aioli_wire::i2np::{
    DatabaseLookup, DatabaseSearchReply, DatabaseStore, LookupType, ReplyEncryption, StoreReply,
};
use aioli_wire::{
    Destination, Lease, LeaseSet, LeaseSet2, LeaseSet2Parts, LeaseSetFlags, Mapping, Message, MessageId,
    MessageType, OfflineSignature, RouterAddress, RouterHash, RouterIdentity, RouterInfo, RouterInfoParts,
    SessionTag, TunnelId, Verified,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

pub(crate) fn key(seed: [u8; 32]) -> SigningKey {
    SigningKey::from_seed(Secret::new(seed))
}

pub(crate) fn mapping() -> impl Strategy<Value = Mapping> {
    prop::collection::vec((".{0,12}", ".{0,24}"), 0..6)
        .prop_map(|pairs| Mapping::from_pairs(pairs).expect("short pairs fit"))
}

/// Whole seconds, as most structures carry them.
pub(crate) fn seconds() -> impl Strategy<Value = Date> {
    (0..u32::MAX - 100_000).prop_map(|s| Date::from_secs(u64::from(s)))
}

pub(crate) fn millis() -> impl Strategy<Value = Date> {
    any::<u64>().prop_map(Date::from_millis)
}

pub(crate) fn hash() -> impl Strategy<Value = RouterHash> {
    any::<[u8; 32]>().prop_map(RouterHash::new)
}

pub(crate) fn tunnel() -> impl Strategy<Value = TunnelId> {
    any::<NonZeroU32>().prop_map(TunnelId)
}

pub(crate) fn identity() -> impl Strategy<Value = (RouterIdentity, SigningKey)> {
    any::<([u8; 32], [u8; 32], [u8; 32])>().prop_map(|(crypto, seed, padding)| {
        let key = key(seed);
        (RouterIdentity::create(&x25519::PublicKey(crypto), &key.public(), &padding), key)
    })
}

pub(crate) fn destination() -> impl Strategy<Value = (Destination, SigningKey)> {
    any::<([u8; 32], [u8; 32], bool)>().prop_map(|(seed, padding, filler)| {
        let key = key(seed);
        let create = if filler { Destination::create_with_elgamal_filler } else { Destination::create };
        (create(&key.public(), &padding), key)
    })
}

pub(crate) fn address() -> impl Strategy<Value = RouterAddress> {
    (any::<u8>(), select(vec!["NTCP2", "SSU2", ""]), mapping())
        .prop_map(|(cost, style, options)| RouterAddress { cost, style: style.to_owned(), options })
}

pub(crate) fn router_info() -> impl Strategy<Value = Verified<RouterInfo>> {
    (identity(), millis(), prop::collection::vec(address(), 0..4), mapping()).prop_map(
        |((identity, key), published, addresses, options)| {
            RouterInfo::create(RouterInfoParts { identity, published, addresses, options }, &key)
        },
    )
}

pub(crate) fn lease() -> impl Strategy<Value = Lease> {
    (hash(), tunnel(), seconds()).prop_map(|(gateway, tunnel, end)| Lease { gateway, tunnel, end })
}

pub(crate) fn lease_set() -> impl Strategy<Value = Verified<LeaseSet>> {
    let keys = prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..70)), 1..4);
    let leases = prop::collection::vec(lease(), 0..=16);
    let transient = option::of(any::<[u8; 32]>());
    (destination(), seconds(), any::<u16>(), 0..8u16, mapping(), keys, leases, transient).prop_map(
        |((destination, own), published, lasts, flags, properties, keys, leases, transient)| {
            let expires = Date::from_secs(published.as_secs() + u64::from(lasts));
            let flags = LeaseSetFlags(flags);
            let signer = transient.map_or_else(|| own.clone(), key);
            let offline = transient.map(|_| {
                let mut offline = OfflineSignature {
                    expires,
                    transient_type: SigType::Ed25519,
                    transient_key: signer.public().to_vec(),
                    signature: vec![],
                };
                offline.signature = own.sign(&offline.signed_bytes()).to_vec();
                offline
            });
            let parts =
                LeaseSet2Parts { destination, published, expires, flags, offline, properties, keys, leases };
            LeaseSet2::create(parts, &signer)
        },
    )
}

pub(crate) fn store_reply() -> impl Strategy<Value = Option<StoreReply>> {
    option::of(
        (any::<NonZeroU32>(), option::of(tunnel()), hash()).prop_map(|(token, tunnel, gateway)| StoreReply {
            token,
            tunnel,
            gateway,
        }),
    )
}

pub(crate) fn database_store() -> impl Strategy<Value = DatabaseStore> {
    prop_oneof![
        (router_info(), store_reply()).prop_map(|(info, reply)| DatabaseStore::router_info(&info, reply)),
        (lease_set(), store_reply()).prop_map(|(set, reply)| DatabaseStore::lease_set(&set, reply)),
    ]
}

pub(crate) fn database_lookup() -> impl Strategy<Value = DatabaseLookup> {
    let kinds = vec![LookupType::Any, LookupType::LeaseSet, LookupType::RouterInfo, LookupType::Exploratory];
    let secret = || any::<[u8; 32]>().prop_map(Secret::new);
    let reply = prop_oneof![
        Just(ReplyEncryption::None),
        (secret(), any::<[u8; 8]>())
            .prop_map(|(key, tag)| ReplyEncryption::Ecies { key, tag: SessionTag(tag) }),
        (secret(), prop::collection::vec(secret(), 1..=32))
            .prop_map(|(key, tags)| ReplyEncryption::Aes { key, tags }),
    ];
    let excluded = prop::collection::vec(hash(), 0..20);
    (hash(), hash(), option::of(tunnel()), select(kinds), excluded, reply).prop_map(
        |(key, from, reply_tunnel, kind, excluded, reply)| DatabaseLookup {
            key: key.into(),
            from,
            reply_tunnel,
            kind,
            excluded,
            reply,
        },
    )
}

pub(crate) fn search_reply() -> impl Strategy<Value = DatabaseSearchReply> {
    (hash(), prop::collection::vec(hash(), 0..=16), hash())
        .prop_map(|(key, peers, from)| DatabaseSearchReply { key: key.into(), peers, from })
}

pub(crate) fn message() -> impl Strategy<Value = Message> {
    (any::<u8>(), any::<u32>(), seconds(), prop::collection::vec(any::<u8>(), 0..200)).prop_map(
        |(kind, id, expires, body)| Message {
            kind: MessageType::from_code(kind),
            id: MessageId(id),
            expires,
            body,
        },
    )
}
