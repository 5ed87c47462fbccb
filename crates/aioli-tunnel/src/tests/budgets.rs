//! What a hop grants: requests of neighbours and subnets, bandwidth of tunnels.

use aioli_wire::Mapping;
use aioli_wire::build::{BuildRequest, Role};
use aioli_wire::i2np::TunnelGateway;

use super::hop::{Addresses, Asked, NEXT, PREVIOUS};
use super::*;

/// A neighbour of this subnet.
fn neighbour(subnet: u8, n: u8) -> RouterHash {
    let mut hash = [n; 32];
    hash[0] = subnet;
    RouterHash::new(hash)
}

fn wishing(asked: &mut Asked, role: Role, options: &[(&str, &str)]) -> BuildRequest {
    let options = Mapping::from_pairs(options.iter().copied()).unwrap();
    BuildRequest { options, ..asked.request(role) }
}

#[test]
fn a_subnet_has_one_budget_however_many_routers_it_holds() {
    let mut asked =
        Asked::new(Limits { requests_per_neighbour: 10, requests_per_subnet: 30, ..Limits::default() });
    asked.places = Addresses(true);
    let mut answered = 0;
    for n in 0..50 {
        let request = asked.request(Role::OutboundEndpoint);
        answered += usize::from(asked.ask(neighbour(1, n), &request).is_some());
    }
    assert_eq!((answered, asked.hop.stats().throttled_subnet, asked.hop.stats().throttled), (30, 20, 0));
    let request = asked.request(Role::OutboundEndpoint);
    assert!(asked.ask(neighbour(2, 0), &request).is_some(), "others are not concerned");
    asked.places = Addresses(false);
    let request = asked.request(Role::OutboundEndpoint);
    assert!(asked.ask(neighbour(1, 60), &request).is_some(), "nor is whoever's place is not known");
    asked.places = Addresses(true);
    asked.advance(Duration::from_secs(120));
    let request = asked.request(Role::OutboundEndpoint);
    assert!(asked.ask(neighbour(1, 0), &request).is_some(), "it is over after the window");
}

#[test]
fn we_are_not_the_tool_of_a_flood_against_a_subnet() {
    let mut asked = Asked::new(Limits { requests_per_subnet: 30, ..Limits::default() });
    asked.places = Addresses(true);
    let mut sent = 0;
    for n in 0..50 {
        let request = BuildRequest { next_router: neighbour(9, n), ..asked.request(Role::Participant) };
        sent += usize::from(asked.ask_for(neighbour(n + 10, 0), &request).is_some());
    }
    assert_eq!(sent, 30);
    assert_eq!(asked.hop.stats().throttled_subnet, 20);
}

#[test]
fn bandwidth_is_offered_to_those_who_ask() {
    let mut asked = Asked::new(Limits::default());
    let mut ask = |options: &[(&str, &str)]| {
        let request = wishing(&mut asked, Role::Participant, options);
        asked.ask_for(PREVIOUS, &request).unwrap()
    };
    assert_eq!(ask(&[]), (true, None));
    assert_eq!(ask(&[("l", "50")]), (true, None), "that asks for nothing");
    assert_eq!(ask(&[("m", "20")]), (true, Some(20)));
    assert_eq!(ask(&[("m", "20"), ("r", "100")]), (true, Some(100)));
    // An eighth of 2,000 KB/s is the most for one.
    assert_eq!(ask(&[("r", "4000000000")]), (true, Some(250)));
    assert_eq!(ask(&[("m", "251")]), (false, None));
    assert_eq!(ask(&[("m", "0"), ("r", "-7")]), (true, None), "nonsense asks for nothing");
    assert_eq!(asked.hop.stats().refused_bandwidth, 1);
}

#[test]
fn promises_end_with_what_there_is() {
    let mut asked = Asked::new(Limits::default());
    let now = asked.now.mono;
    asked.hop.set_transit_rate(Some(800 * 1024), now);
    let ask = |asked: &mut Asked| {
        let request = wishing(asked, Role::Participant, &[("m", "100")]);
        asked.ask_for(PREVIOUS, &request).unwrap().0
    };
    let accepted = (0..30).filter(|_| ask(&mut asked)).count();
    assert_eq!(accepted, 16, "twice what there is");
    let modest = wishing(&mut asked, Role::Participant, &[]);
    assert!(asked.ask_for(NEXT, &modest).is_none(), "a way back to the previous hop is none");
    assert_eq!(asked.ask_for(PREVIOUS, &modest), Some((true, None)), "who asks for nothing is taken");
    // None of them carried anything.
    asked.advance(Duration::from_secs(155));
    assert!(ask(&mut asked));
    // At the limit of what others may use, little is left to promise.
    asked.hop.set_load(Load { transit_percent: 60, ..Load::default() });
    let request = wishing(&mut asked, Role::Participant, &[("m", "100")]);
    assert_eq!(asked.ask_for(PREVIOUS, &request), Some((true, Some(100))));
    asked.hop.set_load(Load { transit_percent: 69, ..Load::default() });
    asked.hop.set_transit_rate(Some(160 * 1024), now);
    let request = wishing(&mut asked, Role::Participant, &[("m", "50")]);
    assert_eq!(asked.ask_for(PREVIOUS, &request), Some((false, None)));
    asked.advance(Duration::from_secs(700));
    assert_eq!(asked.hop.promised_kbps, 0, "and all of it ends");
}

#[test]
fn a_gateway_drops_what_its_creator_does_not_want() {
    let mut asked = Asked::new(Limits::default());
    let request = wishing(&mut asked, Role::InboundGateway, &[("l", "64")]);
    assert_eq!(asked.ask_for(PREVIOUS, &request), Some((true, None)));
    let free = wishing(&mut asked, Role::InboundGateway, &[]);
    assert!(asked.ask_for(PREVIOUS, &free).unwrap().0);
    let mut carried = |tunnel: TunnelId, seconds: u64| {
        let mut messages = 0;
        for _ in 0..seconds * 10 {
            asked.advance(Duration::from_millis(100));
            // 40 KB in a tenth of a second.
            for n in 0..40 {
                let inner = Message {
                    kind: MessageType::DeliveryStatus,
                    id: MessageId(n),
                    expires: asked.now.wall + Duration::from_secs(10),
                    body: vec![0; 900],
                };
                let body = TunnelGateway { tunnel, message: &inner.encode_standard() }.to_bytes();
                let message = Message { kind: MessageType::TunnelGateway, body, ..inner };
                messages += asked.tell(NEXT, vec![message]).iter().map(|(_, m)| m.len()).sum::<usize>();
            }
        }
        messages
    };
    assert!(carried(free.receive_tunnel, 5) >= 2_000);
    let limited = carried(request.receive_tunnel, 10);
    // 640 KB and what may come at once; a message is a little less than 1 KB with what it takes.
    assert!((600..800).contains(&limited), "{limited}");
    assert!(asked.hop.stats().gateway_limited > 3_000);
}

#[test]
fn creators_ask_and_hear_what_is_offered() {
    let mut net = Network::new(6, &Limits::default());
    net.pool(A, PoolId::EXPLORATORY, 2, 1);
    net.run(Duration::from_secs(2));
    let wish = BandwidthWish { least: Some(8), wanted: Some(32), limit: Some(128) };
    let side =
        Side { length: 2, variance: 0, quantity: 1, backup: 0, allow_zero_hop: false, bandwidth: wish };
    let config = PoolConfig { kind: PoolKind::Client, inbound: side, outbound: side, order_key: [1; 32] };
    net.with(A, |t, cx| t.create_pool(POOL, config, cx));
    net.run(Duration::from_secs(2));
    let offers = |of: fn(PoolId) -> bool| {
        let done = net.nodes[&A].events.iter().filter_map(|e| {
            let Output::BuildDone { pool, offers, result: BuildResult::Accepted, .. } = e else {
                return None;
            };
            of(*pool).then_some(offers)
        });
        done.flatten().map(|(_, kbps)| *kbps).collect::<Vec<_>>()
    };
    assert_eq!(offers(|pool| pool == POOL), [32; 4]);
    assert_eq!(offers(|pool| pool == PoolId::EXPLORATORY), [], "nobody else is asked");
    let lease = &net.nodes[&A].tunnels.leases(POOL)[0];
    let gateway = &net.nodes[&lease.gateway].tunnels;
    let Some(Entry::Transit(transit)) = gateway.entries.get(&lease.tunnel.get()) else {
        panic!("no gateway")
    };
    assert_eq!((transit.limit.map(|b| b.rate()), transit.promised_kbps), (Some(128 * 1024), 8));
}
