//! How pools keep their tunnels.

use super::*;

/// Nobody is there.
struct Nobody(std::cell::Cell<usize>);

impl Peers for Nobody {
    fn choose_hops(&self, _: &HopRequest, _: &mut Rng) -> Option<Vec<Hop>> {
        self.0.set(self.0.get() + 1);
        None
    }
}

#[test]
fn leases_are_never_given_out_close_to_their_end() {
    let mut net = Network::new(6, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 1, 1);
    net.pool(A, POOL, 2, 2);
    net.run(Duration::from_secs(2));
    for second in 0..1_500 {
        net.run(Duration::from_secs(1));
        let now = net.now();
        let tunnels = &net.nodes[&A].tunnels;
        let leases = tunnels.leases(POOL);
        assert!(
            leases.len() >= 2 && leases.is_sorted_by_key(|l| std::cmp::Reverse(l.end)),
            "after {second} s"
        );
        assert!(leases.iter().all(|l| l.end >= now.wall + Duration::from_secs(28)), "after {second} s");
        assert!(
            tunnels.pools[&POOL]
                .outbound
                .iter()
                .all(|id| { tunnels.outbound[id].ends >= now.mono + Duration::from_secs(28) })
        );
        net.sent.clear();
    }
    let told = net.nodes[&A]
        .events
        .iter()
        .filter(|e| matches!(e, Output::LeasesChanged { pool, .. } if *pool == POOL));
    assert!(told.count() < 30, "a lease set is published for each change");
}

#[test]
fn a_pool_that_is_to_be_smaller_shrinks_as_its_tunnels_end_and_grows_at_once() {
    let mut net = Network::new(9, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 1, 2);
    net.pool(A, POOL, 2, 4);
    net.run(Duration::from_secs(5));
    assert_eq!(net.nodes[&A].tunnels.counts()[&POOL], (4, 4));
    net.with(A, |tunnels, cx| tunnels.set_quantities(POOL, 1, 2, cx.now.mono));
    net.run(Duration::from_secs(1));
    assert_eq!(net.nodes[&A].tunnels.counts()[&POOL], (4, 4), "what stands is used to its end");
    net.run(Duration::from_secs(660));
    let (inbound, outbound) = net.nodes[&A].tunnels.counts()[&POOL];
    // One that is about to end has its successor beside it.
    assert!((1..=2).contains(&inbound) && (2..=4).contains(&outbound), "{inbound}, {outbound}");
    net.with(A, |tunnels, cx| tunnels.set_quantities(POOL, 4, 4, cx.now.mono));
    net.run(Duration::from_secs(5));
    let (inbound, outbound) = net.nodes[&A].tunnels.counts()[&POOL];
    assert!(inbound >= 4 && outbound >= 4, "{inbound}, {outbound}");
}

#[test]
fn one_dead_end_does_not_take_the_others_with_it() {
    let mut net = Network::new(9, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 1, 3);
    net.run(Duration::from_secs(2));
    let victim = net.nodes[&A].tunnels.inbound.values().find(|t| !t.hops.is_empty()).unwrap().hops[0];
    net.nodes.get_mut(&A).unwrap().events.clear();
    net.dead.insert(victim);
    net.run(Duration::from_secs(100));
    let ended = net.nodes[&A].events.iter().filter_map(|e| {
        let Output::TunnelEnded { hops } = e else { return None };
        (!hops.is_empty()).then(|| hops.contains(&victim))
    });
    let (lost, blamed): (Vec<bool>, Vec<bool>) = ended.partition(|dead| *dead);
    assert!(!lost.is_empty());
    assert!(blamed.len() <= 1, "{} good tunnels were given up", blamed.len());
}

#[test]
fn tests_come_early_and_often_enough_for_a_tunnel_to_be_kept() {
    let mut net = Network::new(8, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 2, 2);
    net.run(Duration::from_secs(100));
    let tunnels = &net.nodes[&A].tunnels;
    let hops: Vec<_> = tunnels
        .inbound
        .values()
        .map(|t| t.hops.clone())
        .chain(tunnels.outbound.values().map(|t| t.hops.clone()))
        .collect();
    let tests = net.nodes[&A].events.iter().filter_map(|e| {
        let Output::TestDone { hops, ok: true, rtt } = e else { return None };
        Some((hops, *rtt))
    });
    let tests: Vec<_> = tests.collect();
    for hops in hops.iter().filter(|h| !h.is_empty()) {
        let of_tunnel = tests.iter().filter(|(tested, _)| tested.windows(hops.len()).any(|w| w == hops));
        assert!((2..=10).contains(&of_tunnel.count()));
    }
    assert!(tests.iter().all(|(_, rtt)| *rtt >= TICK * 4 && *rtt < Duration::from_millis(100)));
}

#[test]
fn without_peers_a_pool_asks_ever_less_often() {
    let mut net = Network::new(1, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 3, 3);
    let nobody = Nobody(std::cell::Cell::new(0));
    for _ in 0..600 {
        net.mono += Duration::from_secs(1);
        net.with(A, |t, cx| t.handle_timeout(cx, &nobody));
    }
    let asked = nobody.0.get();
    assert!((40..150).contains(&asked), "{asked} times in ten minutes");
    assert_eq!(net.nodes[&A].tunnels.counts()[&PoolId::EXPLORATORY], (1, 1), "those without hops stand in");
}

#[test]
fn builds_that_fail_are_spread_in_time_and_over_first_hops() {
    let mut net = Network::new(60, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 2, 3);
    net.pool(A, POOL, 2, 5);
    // They accept the message, but nothing ever comes of it.
    let others: Vec<_> = net.nodes.keys().copied().filter(|n| *n != A).collect();
    let mut first_hops: BTreeMap<RouterHash, usize> = BTreeMap::new();
    let peers = Everyone(net.hops(A));
    for _ in 0..1_000 {
        net.mono += Duration::from_millis(100);
        net.with(A, |t, cx| t.handle_timeout(cx, &peers));
        assert!(net.stats(A).builds <= 13);
        for (_, to, messages) in net.under_way.drain(..).map(|(_, from, to, m)| (from, to, m)) {
            let builds = messages.iter().filter(|m| m.kind == MessageType::ShortTunnelBuild).count();
            *first_hops.entry(to).or_default() += builds;
        }
    }
    let most = first_hops.values().max().copied().unwrap();
    assert!(most <= 9 && first_hops.len() > others.len() / 2, "{most} builds through one first hop");
    let late = net.nodes[&A].tunnels.late_builds.len();
    assert!(late <= Limits::default().late_builds);
}

#[test]
fn a_removed_pool_leaves_nothing_behind() {
    let mut net = Network::new(6, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 1, 1);
    net.pool(A, POOL, 2, 3);
    net.run(Duration::from_secs(70));
    let with = net.stats(A);
    net.with(A, |t, cx| t.remove_pool(POOL, cx));
    net.run(Duration::from_secs(60));
    let without = net.stats(A);
    assert!(with.inbound >= without.inbound + 3 && with.outbound >= without.outbound + 3);
    let tunnels = &net.nodes[&A].tunnels;
    assert!(
        tunnels.inbound.values().all(|t| t.pool != POOL) && tunnels.outbound.values().all(|t| t.pool != POOL)
    );
    assert_eq!((tunnels.leases(POOL).len(), tunnels.has_outbound(POOL)), (0, false));
    // What the hops keep of it ends with its time.
    net.run(Duration::from_secs(700));
    let transit: u64 = net.nodes.keys().map(|at| net.stats(*at).transit).sum();
    assert!(transit <= 8, "{transit}");
}

#[test]
fn lengths_vary_as_asked() {
    for (variance, range) in [(0, 2..=2), (1, 2..=3), (-1, 1..=3), (-2, 1..=4)] {
        let mut net = Network::new(8, &Limits::default());
        net.pool(A, PoolId::EXPLORATORY, 1, 1);
        let side = Side {
            length: 2,
            variance,
            quantity: 12,
            backup: 0,
            allow_zero_hop: false,
            bandwidth: BandwidthWish::default(),
        };
        let config = PoolConfig { kind: PoolKind::Client, inbound: side, outbound: side, order_key: [1; 32] };
        net.with(A, |t, cx| t.create_pool(POOL, config, cx));
        net.run(Duration::from_secs(20));
        let tunnels = &net.nodes[&A].tunnels;
        let lengths: BTreeSet<_> =
            tunnels.inbound.values().filter(|t| t.pool == POOL).map(|t| t.hops.len()).collect();
        assert!(lengths.iter().all(|n| range.contains(n)), "variance {variance}: {lengths:?}");
        assert!(variance == 0 || lengths.len() > 1, "variance {variance}: {lengths:?}");
    }
}

#[test]
fn time_stands_still_until_the_next_deadline() {
    let mut net = Network::new(6, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 2, 2);
    net.run(Duration::from_secs(100));
    // Waking at every deadline, and only then, is enough: and never in the past.
    for _ in 0..2_000 {
        let (at, _) = net.nodes[&A].tunnels.next_timeout().unwrap();
        assert!(at > net.mono, "a deadline that has passed was not handled");
        net.mono = at;
        let peers = Everyone(Vec::new());
        net.with(A, |t, cx| t.handle_timeout(cx, &peers));
        net.under_way.clear();
    }
    assert_eq!(net.stats(A).inbound, 1, "only the one without hops is left");
}

#[test]
fn no_hop_of_a_client_tunnel_hears_of_it_from_us_directly() {
    let mut net = Network::new(8, &Limits::default());
    let others: Vec<_> = net.nodes.keys().copied().filter(|n| *n != A).collect();
    for at in &others {
        net.with(*at, |t, _| t.set_accepting(Acceptance::None));
    }
    net.pool(A, PoolId::EXPLORATORY, 1, 2);
    net.pool(A, POOL, 2, 2);
    net.run(Duration::from_secs(20));
    let begun = |net: &Network| {
        let of_client = |e: &&Output| matches!(e, Output::BuildDone { pool, .. } if *pool == POOL);
        net.nodes[&A].events.iter().filter(of_client).count()
    };
    assert_eq!(begun(&net), 0, "as long as the router has but tunnels without hops");
    for at in &others {
        net.with(*at, |t, _| t.set_accepting(Acceptance::All));
    }
    net.run(Duration::from_secs(21));
    assert_eq!(net.nodes[&A].tunnels.counts()[&POOL], (2, 2));
    net.sent.clear();
    net.run(Duration::from_secs(600));
    let direct =
        net.sent.iter().filter(|(from, to, m)| *from == A && *to != A && m.kind == MessageType::Garlic);
    assert_eq!((direct.count(), net.nodes[&A].tunnels.counts()[&POOL].0 >= 2), (0, true));
}

#[test]
fn leases_end_at_the_same_moment_whatever_the_clock_shows() {
    let mut net = Network::new(6, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 1, 1);
    net.pool(A, POOL, 2, 2);
    net.run(Duration::from_secs(2));
    let node = net.nodes.get_mut(&A).unwrap();
    let before = node.tunnels.leases(POOL);
    assert!(!before.is_empty());
    for step in [600_000_i64, -600_000] {
        let old = node.tunnels.leases(POOL);
        node.tunnels.handle_clock_step(step);
        let new = node.tunnels.leases(POOL);
        assert!(old.iter().zip(&new).all(|(o, n)| n.end == o.end.shifted(step) && n.tunnel == o.tunnel));
        let told = std::iter::from_fn(|| node.tunnels.poll_output()).filter(
            |o| matches!(o, Output::LeasesChanged { pool, leases } if *pool == POOL && *leases == new),
        );
        assert_eq!(told.count(), 1);
    }
    assert_eq!(node.tunnels.leases(POOL), before);
}
