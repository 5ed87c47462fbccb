//! The floodfill role, and what must never cross from one view to another.

use aioli_wire::i2np::{DatabaseLookup, DeliveryStatus, LookupType, ReplyEncryption, StoreReply};
use aioli_wire::{DecodeErrorKind, Hash};

use super::rules::Bench;
use super::*;

const PEER: RouterHash = RouterHash::new([0x11; 32]);
const GATEWAY: RouterHash = RouterHash::new([0x22; 32]);

fn lookup(key: impl Into<Hash>, kind: LookupType) -> DatabaseLookup {
    let (reply_tunnel, reply) = (None, ReplyEncryption::None);
    DatabaseLookup { key: key.into(), from: PEER, reply_tunnel, kind, excluded: Vec::new(), reply }
}

fn token() -> StoreReply {
    StoreReply { token: 77.try_into().unwrap(), tunnel: TunnelId::new(5), gateway: GATEWAY }
}

fn ask(bench: &mut Bench, lookup: &DatabaseLookup) -> Vec<Output> {
    bench.receive(Source::Peer(PEER), MessageType::DatabaseLookup, lookup)
}

fn sent(outputs: &[Output]) -> Vec<(RouterHash, MessageType)> {
    let mut out = Vec::new();
    for output in outputs {
        if let Output::Send { to, message, .. } = output {
            out.push((*to, message.kind));
        }
    }
    out
}

/// Floodfills that the bench knows.
fn with_floodfills(bench: &mut Bench, n: usize) -> Vec<RouterHash> {
    let mut rng = rng(60);
    let keys: Vec<Keys> = (0..n).map(|_| Keys::new(&mut rng)).collect();
    for keys in &keys {
        bench.store(&keys.info("XfR", now_at(0).wall)).unwrap();
    }
    bench.outputs();
    keys.iter().map(Keys::hash).collect()
}

#[test]
fn a_store_is_confirmed_and_flooded_once() {
    let mut bench = Bench::floodfill();
    let floodfills = with_floodfills(&mut bench, 6);
    let dest = Dest::new(&mut rng(61));
    let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), Some(token()));
    let from = Source::Peer(floodfills[0]);
    let outputs = bench.receive(from, MessageType::DatabaseStore, &store);
    let Some(Output::SendTunnel { gateway, tunnel, message, wrap: None }) = outputs.first() else {
        panic!("a confirmation first");
    };
    assert_eq!((*gateway, tunnel.get()), (GATEWAY, 5));
    assert_eq!(DeliveryStatus::from_bytes(&message.body).unwrap().id.get(), 77);
    let floods = sent(&outputs);
    assert_eq!(floods.len(), 3);
    assert!(floods.iter().all(|(to, kind)| *to != floodfills[0] && *kind == MessageType::DatabaseStore));
    for output in &outputs {
        if let Output::Send { message, garlic, .. } = output {
            assert_eq!(DatabaseStore::from_bytes(&message.body).unwrap().reply, None);
            assert!(!garlic);
        }
    }
    // Again: confirmed, not flooded. Without a token: neither.
    let outputs = bench.receive(from, MessageType::DatabaseStore, &store);
    assert_eq!((outputs.len(), sent(&outputs).len()), (1, 0));
    bench.at += 2;
    let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), None);
    assert!(bench.receive(from, MessageType::DatabaseStore, &store).is_empty());
    assert_eq!(bench.db.stats().lease_sets_stored, 2);
}

#[test]
fn floods_of_one_key_are_few() {
    let mut bench = Bench::new(|config| (config.floodfill, config.private_network) = (true, false));
    with_floodfills(&mut bench, 4);
    let dest = Dest::new(&mut rng(62));
    for i in 0..6 {
        bench.at += 1;
        let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), Some(token()));
        let outputs = bench.receive(Source::Garlic, MessageType::DatabaseStore, &store);
        assert_eq!(sent(&outputs).len(), if i < 3 { 3 } else { 0 });
    }
    assert_eq!(bench.db.stats().floods_throttled, 3);
}

#[test]
fn unpublished_lease_sets_and_old_router_infos_are_not_flooded() {
    let mut bench = Bench::floodfill();
    with_floodfills(&mut bench, 4);
    let dest = Dest::new(&mut rng(63));
    let set = dest.lease_set_with(bench.wall(), secs(600), LeaseSetFlags::UNPUBLISHED);
    let store = DatabaseStore::lease_set(&set, Some(token()));
    assert!(sent(&bench.receive(Source::Garlic, MessageType::DatabaseStore, &store)).is_empty());
    let keys = Keys::new(&mut rng(64));
    for (age, floods) in [(3_700, 0), (60, 3)] {
        let store = DatabaseStore::router_info(&keys.info("XR", bench.wall() - secs(age)), Some(token()));
        let outputs = bench.receive(Source::Peer(keys.hash()), MessageType::DatabaseStore, &store);
        assert_eq!(sent(&outputs).len(), floods);
    }
}

#[test]
fn near_midnight_tomorrows_floodfills_get_it_too() {
    let mut bench = Bench::floodfill();
    with_floodfills(&mut bench, 30);
    bench.at = 11 * 3600 + 51 * 60; // 23:51
    let mut most = 0;
    for n in 0..5 {
        let dest = Dest::new(&mut rng(65 + n));
        let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), Some(token()));
        most = most.max(sent(&bench.receive(Source::Garlic, MessageType::DatabaseStore, &store)).len());
    }
    assert_eq!(most, 6);
}

#[test]
fn lookups_are_answered_or_referred() {
    let mut bench = Bench::floodfill();
    let floodfills = with_floodfills(&mut bench, 6);
    let mut rng = rng(70);
    let other = Keys::new(&mut rng);
    bench.store(&other.info("XR", now_at(0).wall)).unwrap();
    let kind = |outputs: &[Output]| match outputs {
        [Output::Send { to, via: Via::Direct, message, garlic: false }] if *to == PEER => message.clone(),
        other => panic!("one direct reply, not {other:?}"),
    };
    let found = kind(&ask(&mut bench, &lookup(other.hash(), LookupType::RouterInfo)));
    assert_eq!(found.kind, MessageType::DatabaseStore);
    let mut vain = lookup(other.hash(), LookupType::LeaseSet);
    vain.excluded = vec![floodfills[0], floodfills[1]];
    let referral = kind(&ask(&mut bench, &vain));
    let referral = DatabaseSearchReply::from_bytes(&referral.body).unwrap();
    assert_eq!(referral.peers.len(), 3);
    assert!(referral.peers.iter().all(|p| floodfills[2..].contains(p)));
    let explored = kind(&ask(&mut bench, &lookup([1; 32], LookupType::Exploratory)));
    assert_eq!(DatabaseSearchReply::from_bytes(&explored.body).unwrap().peers, [other.hash()]);
}

#[test]
fn replies_through_tunnels_are_encrypted_as_asked() {
    let mut bench = Bench::floodfill();
    let mut question = lookup([1; 32], LookupType::LeaseSet);
    question.reply_tunnel = TunnelId::new(9);
    question.reply = ReplyEncryption::Ecies { key: Secret::new([7; 32]), tag: SessionTag([8; 8]) };
    let outputs = bench.receive(Source::Garlic, MessageType::DatabaseLookup, &question);
    let [Output::SendTunnel { gateway, wrap: Some((key, tag)), .. }] = &outputs[..] else {
        panic!("{outputs:?}")
    };
    assert_eq!((gateway, key.as_bytes(), tag), (&PEER, &[7; 32], &SessionTag([8; 8])));
}

#[test]
fn lookups_that_would_aim_us_at_others_are_dropped() {
    let mut bench = Bench::floodfill();
    let question = lookup([1; 32], LookupType::RouterInfo);
    let stranger = Source::Peer(GATEWAY);
    assert!(bench.receive(stranger, MessageType::DatabaseLookup, &question).is_empty());
    assert!(bench.receive(Source::Garlic, MessageType::DatabaseLookup, &question).is_empty());
    let dest = Dest::new(&mut rng(71));
    let reply = StoreReply { tunnel: None, ..token() };
    let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), Some(reply));
    assert!(bench.receive(Source::Peer(PEER), MessageType::DatabaseStore, &store).is_empty());
    assert_eq!(bench.db.stats().lease_sets, 1, "kept, but not confirmed at somebody else's");
    assert_eq!(bench.db.stats().lookups_refused, 2);
}

#[test]
fn one_asker_cannot_keep_us_busy() {
    let mut bench = Bench::new(|config| {
        (config.floodfill, config.private_network) = (true, false);
        config.limits.lookups_per_peer = 10;
    });
    let question = lookup([1; 32], LookupType::RouterInfo);
    let answered = (0..30).filter(|_| !ask(&mut bench, &question).is_empty()).count();
    assert_eq!((answered, bench.db.stats().lookups_throttled), (10, 20));
    bench.at += 121;
    assert!(!ask(&mut bench, &question).is_empty());
}

#[test]
fn clients_knowledge_is_never_served() {
    let mut bench = Bench::floodfill();
    let dest = Dest::new(&mut rng(72));
    let set = dest.lease_set(bench.wall(), secs(600));
    let view = View::Client(4);
    // Bundled with a message, and as the reply to a search.
    let copy = LeaseSet::decode(set.kind(), set.bytes()).unwrap();
    bench.call(|db, cx, _| db.store_lease_set(view, copy, cx)).unwrap();
    let sought = Dest::new(&mut rng(73));
    let reply = DatabaseStore::lease_set(&sought.lease_set(bench.wall(), secs(600)), None);
    bench.receive(Source::Tunnel(view), MessageType::DatabaseStore, &reply);
    assert_eq!(bench.db.lease_set(view, &sought.hash()), None, "nobody asked");
    let key = sought.hash();
    bench.call(|db, cx, _| db.find_lease_set(view, key, cx));
    let outputs = bench.receive(Source::Tunnel(view), MessageType::DatabaseStore, &reply);
    assert!(matches!(outputs[..], [Output::Found { .. }]));
    for hash in [dest.hash(), sought.hash()] {
        assert!(bench.db.lease_set(view, &hash).is_some());
        assert_eq!(bench.db.lease_set(View::Client(5), &hash), None);
        assert_eq!(bench.db.lease_set(View::Router, &hash), None);
        let outputs = ask(&mut bench, &lookup(hash, LookupType::Any));
        assert!(
            matches!(&outputs[..], [Output::Send { message, .. }] if message.kind == MessageType::DatabaseSearchReply)
        );
    }
    assert!(
        bench
            .receive(Source::Tunnel(view), MessageType::DatabaseLookup, &lookup(dest.hash(), LookupType::Any))
            .is_empty()
    );
    bench.call(|db, _, _| db.remove_view(view));
    assert_eq!(bench.db.lease_set(view, &dest.hash()), None);
}

#[test]
fn routers_do_not_come_through_client_tunnels() {
    let mut bench = Bench::floodfill();
    let mut rng = rng(74);
    let (a, b) = (Keys::new(&mut rng), Keys::new(&mut rng));
    for view in [View::Client(1), View::Router] {
        let store = DatabaseStore::router_info(&a.info("XR", now_at(0).wall), None);
        bench.receive(Source::Tunnel(view), MessageType::DatabaseStore, &store);
        assert_eq!(bench.db.router(&a.hash()), None, "not asked for");
    }
    let hash = b.hash();
    bench.call(|db, cx, _| db.find_router(&hash, cx));
    let store = DatabaseStore::router_info(&b.info("XR", now_at(0).wall), None);
    let outputs = bench.receive(Source::Tunnel(View::Router), MessageType::DatabaseStore, &store);
    assert!(matches!(&outputs[..], [Output::RouterFound(info)] if info.hash() == hash));
}

#[test]
fn a_router_fetched_for_a_client_is_fetched_through_tunnels_and_not_served() {
    let mut bench = Bench::floodfill();
    let floodfills = with_floodfills(&mut bench, 1);
    let view = View::Client(2);
    let key = DestinationHash::new([3; 32]);
    bench.call(|db, cx, _| db.find_lease_set(view, key, cx));
    bench.call(|db, cx, paths| db.handle_timeout(cx, paths));
    bench.outputs();
    let named = Keys::new(&mut rng(75));
    let reply = DatabaseSearchReply { key: key.into(), peers: vec![named.hash()], from: floodfills[0] };
    // From a session, or by somebody who was not asked: ignored.
    assert!(bench.receive(Source::Peer(floodfills[0]), MessageType::DatabaseSearchReply, &reply).is_empty());
    let forged = DatabaseSearchReply { from: PEER, ..reply.clone() };
    assert!(bench.receive(Source::Tunnel(view), MessageType::DatabaseSearchReply, &forged).is_empty());
    assert_eq!(bench.db.stats().searches, 1);
    bench.receive(Source::Tunnel(view), MessageType::DatabaseSearchReply, &reply);
    bench.call(|db, cx, paths| db.handle_timeout(cx, paths));
    let queries = bench.outputs();
    let through = |o: &Output| matches!(o, Output::Send { via: Via::Tunnel(View::Router), garlic: true, .. });
    assert!(queries.iter().any(through) && sent(&queries).len() == 1, "{queries:?}");
    let info = named.info("XfR", bench.wall());
    let store = DatabaseStore::router_info(&info, None);
    bench.receive(Source::Tunnel(View::Router), MessageType::DatabaseStore, &store);
    assert!(bench.db.router(&named.hash()).is_some());
    let question = lookup(named.hash(), LookupType::RouterInfo);
    let outputs = ask(&mut bench, &question);
    assert!(
        matches!(&outputs[..], [Output::Send { message, .. }] if message.kind == MessageType::DatabaseSearchReply)
    );
    // Once it has also come to us on its own, it is common knowledge.
    bench.receive(Source::Peer(named.hash()), MessageType::DatabaseStore, &store);
    let outputs = ask(&mut bench, &question);
    assert!(
        matches!(&outputs[..], [Output::Send { message, .. }] if message.kind == MessageType::DatabaseStore)
    );
}

#[test]
fn only_floodfills_take_lease_sets() {
    let mut bench = Bench::new(|_| {});
    let dest = Dest::new(&mut rng(76));
    let store = DatabaseStore::lease_set(&dest.lease_set(bench.wall(), secs(600)), Some(token()));
    assert!(bench.receive(Source::Peer(PEER), MessageType::DatabaseStore, &store).is_empty());
    assert_eq!((bench.db.stats().lease_sets, bench.db.stats().unsolicited), (0, 1));
    // And yet they answer what they can.
    let keys = Keys::new(&mut rng(77));
    bench.store(&keys.info("XR", now_at(0).wall)).unwrap();
    let outputs = ask(&mut bench, &lookup(keys.hash(), LookupType::RouterInfo));
    assert!(
        matches!(&outputs[..], [Output::Send { message, .. }] if message.kind == MessageType::DatabaseStore)
    );
}

#[test]
fn a_confirmation_counts_only_where_it_was_asked_for() {
    let mut bench = Bench::new(|_| {});
    with_floodfills(&mut bench, 2);
    let dest = Dest::new(&mut rng(78));
    let set = dest.lease_set(bench.wall(), secs(600));
    bench.call(|db, cx, _| db.publish_lease_set(View::Client(1), set, cx));
    bench.call(|db, cx, paths| db.handle_timeout(cx, paths));
    let outputs = bench.outputs();
    let [Output::Send { via: Via::Tunnel(View::Client(1)), message, garlic: true, .. }] = &outputs[..] else {
        panic!("{outputs:?}");
    };
    let id = DatabaseStore::from_bytes(&message.body).unwrap().reply.unwrap().token.get();
    let status = DeliveryStatus { id: id.into(), time: bench.wall() };
    for from in
        [Source::Garlic, Source::Peer(PEER), Source::Tunnel(View::Router), Source::Tunnel(View::Client(2))]
    {
        assert!(bench.receive(from, MessageType::DeliveryStatus, &status).is_empty());
    }
    let outputs = bench.receive(Source::Tunnel(View::Client(1)), MessageType::DeliveryStatus, &status);
    assert!(matches!(outputs[..], [Output::Published { verified: false, .. }]));
    let other = message_of_another(&mut bench);
    assert!(!other, "a DeliveryStatus of somebody else is left to them");
}

fn message_of_another(bench: &mut Bench) -> bool {
    let status = DeliveryStatus { id: 4.into(), time: bench.wall() };
    let message = message(MessageType::DeliveryStatus, &status);
    bench.call(|db, cx, paths| db.handle_message(Source::Tunnel(View::Router), &message, cx, paths))
}

#[test]
fn too_many_excluded_peers_are_malformed() {
    let mut question = lookup([1; 32], LookupType::RouterInfo);
    question.excluded = vec![PEER; 3];
    let mut message = message(MessageType::DatabaseLookup, &question);
    message.body[65..67].copy_from_slice(&600u16.to_be_bytes());
    let kind = DatabaseLookup::from_bytes(&message.body).unwrap_err().kind;
    assert_eq!(kind, DecodeErrorKind::Limit("excluded peers"));
    let mut bench = Bench::floodfill();
    bench.call(|db, cx, paths| db.handle_message(Source::Peer(PEER), &message, cx, paths));
    assert_eq!(bench.db.stats().malformed, 1);
}
