//! Builds of our own, through hops that are whole routers.

use aioli_wire::build::{BuildRecords, SHORT_RECORD};

use proptest::prelude::prop_assert_eq;

use super::*;

/// Three inhabitants of a network that are hops in this order.
struct Fixed(Vec<Hop>);

impl Peers for Fixed {
    fn choose_hops(&self, request: &HopRequest, _: &mut Rng) -> Option<Vec<Hop>> {
        self.0.get(..usize::from(request.length)).map(<[Hop]>::to_vec)
    }
}

fn results(net: &Network, at: RouterHash) -> Vec<(Vec<RouterHash>, BuildResult)> {
    let done = |e: &Output| {
        let Output::BuildDone { hops, result, .. } = e else { return None };
        Some((hops.clone(), result.clone()))
    };
    net.nodes[&at].events.iter().filter_map(done).collect()
}

/// Begins one build of A through the first `length` others.
fn build(net: &mut Network, inbound: bool, length: usize) -> Vec<RouterHash> {
    let hops = net.hops(A);
    let begun = net.with(A, |t, cx| t.start_build(POOL, inbound, &hops[..length], cx));
    assert!(begun);
    hops[..length].iter().map(|h| h.hash).collect()
}

/// A network where A has a pool that builds nothing by itself, and a way for answers.
fn quiet(size: u8) -> Network {
    let mut net = Network::new(size, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 0, 1);
    let side = Side {
        length: 1,
        variance: 0,
        quantity: 0,
        backup: 0,
        allow_zero_hop: false,
        bandwidth: BandwidthWish::default(),
    };
    let config = PoolConfig { kind: PoolKind::Client, inbound: side, outbound: side, order_key: [1; 32] };
    net.with(A, |t, cx| t.create_pool(POOL, config, cx));
    net.run(TICK);
    net
}

#[test]
fn every_length_builds_in_both_directions() {
    for inbound in [true, false] {
        for length in 1..=8 {
            let mut net = quiet(10);
            let hops = build(&mut net, inbound, length);
            net.run(Duration::from_millis(200));
            assert_eq!(results(&net, A), [(hops.clone(), BuildResult::Accepted)], "{length} hops");
            let tunnels = &net.nodes[&A].tunnels;
            let stands = tunnels.counts()[&POOL];
            assert_eq!(stands, if inbound { (1, 0) } else { (0, 1) });
            for hop in hops {
                assert_eq!(net.stats(hop).transit, 1);
            }
        }
    }
}

#[test]
fn build_messages_tell_neither_length_nor_creator() {
    for inbound in [true, false] {
        for length in 1..=8 {
            let mut net = quiet(10);
            net.sent.clear();
            build(&mut net, inbound, length);
            net.run(Duration::from_millis(200));
            let mut builds = net.sent.clone();
            builds.retain(|(.., m)| m.kind == MessageType::ShortTunnelBuild);
            // Inbound, the gateway finds the first one in garlic.
            assert_eq!(builds.len(), length + usize::from(inbound));
            for (from, to, message) in &builds {
                let records = BuildRecords::decode(&message.body, SHORT_RECORD).unwrap();
                assert_eq!(records.len(), (length + usize::from(inbound)).clamp(4, 8));
                // Each hop finds itself and nobody else; the last does not see that we are the end.
                let found = records.find(to).is_some();
                assert_eq!(found, *to != A || length < 8, "{length} hops, {from:?} to {to:?}");
                let others = net.nodes.keys().filter(|n| **n != *to).filter(|n| records.find(n).is_some());
                assert_eq!(others.count(), 0, "{length} hops, {from:?} to {to:?}");
            }
        }
    }
}

#[test]
fn who_refuses_is_known_wherever_it_stands() {
    for inbound in [true, false] {
        for refusing in 0..4 {
            let mut net = quiet(6);
            let by = net.hops(A)[refusing].hash;
            net.with(by, |t, _| t.set_accepting(Acceptance::None));
            let hops = build(&mut net, inbound, 4);
            net.run(Duration::from_millis(200));
            assert_eq!(results(&net, A), [(hops, BuildResult::Rejected { by: vec![by] })]);
            assert_eq!(net.nodes[&A].tunnels.counts()[&POOL], (0, 0));
            assert_eq!((net.stats(A).builds_refused, net.stats(by).transit), (1, 0));
        }
    }
}

proptest! {
    /// A bit of a decoy may change without harm; any other must not go unnoticed.
    #[test]
    fn a_tunnel_that_is_accepted_works(inbound: bool, message in 0_usize..4, bit: usize) {
        let mut net = quiet(6);
        net.pool(B, PoolId::EXPLORATORY, 0, 1);
        net.run(TICK);
        net.flip = Some((message, bit));
        let hops = build(&mut net, inbound, 3);
        net.run(Duration::from_secs(11));
        let results = results(&net, A);
        prop_assert_eq!(results.len(), 1);
        if results[0].1 != BuildResult::Accepted {
            prop_assert_eq!(net.nodes[&A].tunnels.counts()[&POOL], (0, 0));
            return Ok(());
        }
        prop_assert_eq!(&results[0].0, &hops);
        let got = if inbound {
            net.carry_between((B, PoolId::EXPLORATORY), (A, POOL), b"works")
        } else {
            net.carry_between((A, POOL), (B, PoolId::EXPLORATORY), b"works")
        };
        prop_assert_eq!(got, [b"works".to_vec()]);
    }
}

#[test]
fn our_own_record_must_come_back_as_it_went() {
    let mut net = quiet(6);
    net.sent.clear();
    build(&mut net, true, 3);
    net.run(Duration::from_millis(10));
    // Of the message that the gateway sends, flip a bit behind our prefix.
    let is_build = |m: &&mut Message| m.kind == MessageType::ShortTunnelBuild;
    let message = net.under_way.iter_mut().flat_map(|(.., m)| m.iter_mut()).find(is_build).unwrap();
    let records = BuildRecords::decode(&message.body, SHORT_RECORD).unwrap();
    // The gateway has encrypted it by now, so it does not show; it is the one place left.
    assert_eq!(records.find(&A), None);
    let others: Vec<_> = net.nodes.keys().filter_map(|hash| records.find(hash)).collect();
    let answered = 1;
    let decoys_and_ours = records.len() - others.len() - answered;
    assert!(decoys_and_ours >= 1, "{others:?}");
    for slot in (0..records.len()).filter(|s| !others.contains(s)) {
        message.body[1 + slot * SHORT_RECORD + 100] ^= 1;
    }
    net.run(Duration::from_secs(1));
    assert_eq!(results(&net, A).pop().unwrap().1, BuildResult::Failed);
    assert_eq!(net.stats(A).builds_failed, 1);
}

#[test]
fn an_answer_that_comes_late_still_makes_a_tunnel() {
    for inbound in [true, false] {
        let mut net = quiet(6);
        net.slow = Duration::from_secs(5);
        let hops = build(&mut net, inbound, 3);
        net.run(Duration::from_secs(11));
        assert_eq!(results(&net, A), [(hops.clone(), BuildResult::TimedOut)]);
        assert_eq!(net.stats(A).builds, 0, "it counts no more as under way");
        net.run(Duration::from_secs(20));
        assert_eq!(results(&net, A).pop(), Some((hops, BuildResult::Accepted)));
        assert_eq!((net.stats(A).builds_late, net.stats(A).builds_timed_out), (1, 1));
        let (into, out) = net.nodes[&A].tunnels.counts()[&POOL];
        assert_eq!(into + out, 1);
    }
}

#[test]
fn an_answer_that_comes_too_late_is_none() {
    let mut net = quiet(6);
    net.slow = Duration::from_secs(11);
    build(&mut net, false, 3);
    net.run(Duration::from_secs(60));
    assert_eq!((net.stats(A).builds_late, net.nodes[&A].tunnels.late_builds.len()), (0, 0));
    assert_eq!(net.nodes[&A].tunnels.counts()[&POOL], (0, 0));
}

#[test]
fn a_first_hop_that_cannot_be_reached_is_not_waited_for() {
    let mut net = quiet(6);
    let hops = build(&mut net, false, 2);
    net.under_way.clear();
    net.with(A, |t, cx| t.handle_peer_gone(&hops[0], cx));
    assert_eq!(results(&net, A), [(hops.clone(), BuildResult::TimedOut)]);
    assert!(net.nodes[&A].tunnels.late_builds.is_empty(), "nothing was sent that could be answered");
    // A tunnel that starts with it is doubted, then given up.
    build(&mut net, false, 2);
    net.run(Duration::from_millis(100));
    assert_eq!(net.stats(A).outbound, 2, "one without hops besides");
    net.with(A, |t, cx| t.handle_peer_gone(&hops[0], cx));
    assert_eq!(net.stats(A).outbound, 2);
    net.with(A, |t, cx| t.handle_peer_gone(&hops[0], cx));
    assert_eq!(net.stats(A).outbound, 1);
}

#[test]
fn a_build_goes_by_tunnels_of_its_own_pool_if_there_are_any() {
    let mut net = Network::new(8, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 2, 1);
    net.run(Duration::from_secs(1));
    net.pool(A, POOL, 1, 1);
    net.run(Duration::from_secs(1));
    let reply_gateways = |net: &Network, pool| {
        let leases = net.nodes[&A].tunnels.leases(pool);
        leases.iter().map(|l| (l.gateway, l.tunnel)).collect::<Vec<_>>()
    };
    let own = reply_gateways(&net, POOL);
    net.sent.clear();
    let mut others = net.hops(A);
    others.retain(|h| own.iter().all(|(gateway, _)| h.hash != *gateway));
    let peers = Fixed(others);
    let hops = peers.choose_hops(
        &HopRequest {
            kind: PoolKind::Client,
            inbound: false,
            length: 2,
            exclude: Vec::new(),
            apart: Vec::new(),
            spent: Vec::new(),
            building: Vec::new(),
            builds: 0,
            order_key: [0; 32],
        },
        &mut Rng::from_seed([0; 32]),
    );
    net.with(A, |t, cx| t.start_build(POOL, false, &hops.unwrap(), cx));
    net.run(Duration::from_millis(200));
    let answers = net.sent.iter().filter_map(|(_, to, m)| {
        let gateway = aioli_wire::i2np::TunnelGateway::from_bytes(&m.body).ok()?;
        (m.kind == MessageType::TunnelGateway).then_some((*to, gateway.tunnel))
    });
    assert!(answers.into_iter().any(|a| own.contains(&a)), "{own:?}");
    assert_eq!(net.stats(A).builds_timed_out, 0);
}
