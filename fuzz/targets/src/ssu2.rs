//! SSU2: its formats, and endpoints whose peers say anything in any packet.

use aioli_core::{Date, Duration};
use aioli_transport::Lane;
use aioli_transport::ssu2::Stats;
use aioli_wire::ssu2::{
    Ack, Block, Blocks, FollowOn, LONG_HEADER, LongHeader, NewToken, PacketType, RouterInfoBlock,
    SHORT_HEADER, ShortHeader, Ssu2Address, TerminationReason, peer_test_signed, relay_request_signed,
    relay_response_signed,
};
use aioli_wire::{RouterAddress, RouterHash, Wire};

use crate::peer::{self, Alice, Node, Router};
use crate::{NOW, message, row, short};

/// Headers, and addresses of RouterInfos.
pub fn ssu2_headers(bytes: &[u8]) {
    if let Ok(header) = LongHeader::from_bytes(bytes) {
        assert_eq!(header.to_bytes().len(), LONG_HEADER);
        assert_eq!(LongHeader::from_bytes(&header.to_bytes()), Ok(header));
    }
    if let Ok(header) = ShortHeader::from_bytes(bytes) {
        assert_eq!(header.to_bytes().len(), SHORT_HEADER);
        assert_eq!(ShortHeader::from_bytes(&header.to_bytes()), Ok(header));
    }
    if let Ok(address) = RouterAddress::from_bytes(bytes)
        && let Some(parsed) = Ssu2Address::parse(&address)
    {
        assert!((1280..=1500).contains(&parsed.mtu), "MTU {}", parsed.mtu);
    }
}

pub(crate) fn header_seeds() -> Vec<Vec<u8>> {
    let router = Router::new(1);
    let mut seeds = router.info.addresses.iter().map(Wire::to_bytes).collect::<Vec<_>>();
    let kinds =
        [PacketType::TokenRequest, PacketType::SessionRequest, PacketType::Retry, PacketType::HolePunch];
    seeds.extend(kinds.map(|kind| peer::long(kind, 1, 2, 3).to_bytes()));
    let destination = aioli_wire::ssu2::ConnectionId(1);
    seeds.push(ShortHeader::Data { destination, packet_number: 5, immediate_ack: true }.to_bytes());
    let fragment = aioli_wire::ssu2::Fragment { number: 1, total: 3 };
    seeds.push(ShortHeader::Confirmed { destination, fragment }.to_bytes());
    seeds
}

/// Blocks of a payload, and what signatures in them cover.
pub fn ssu2_blocks(bytes: &[u8]) {
    let hash = RouterHash::new([1; 32]);
    for block in Blocks::new(bytes) {
        let Ok(block) = block else { break };
        let again = block.to_bytes();
        // A block of an unknown kind loses its data, and padding its bytes.
        assert_eq!(Block::from_bytes(&again).map(|b| format!("{b:?}")), Ok(format!("{block:?}")));
        if let Block::Ack(ack) = block {
            let (mut count, mut before) = (0, None::<u32>);
            for range in ack.ranges() {
                assert!(range.start() <= range.end());
                assert!(before.is_none_or(|b| *range.end() < b), "ranges go down");
                before = Some(*range.start());
                count += 1;
            }
            assert!(count <= bytes.len(), "no more ranges than bytes");
        } else if let Block::PeerTest(test) = block {
            let _ = (peer_test_signed(&test, &hash, None), peer_test_signed(&test, &hash, Some(&hash)));
        } else if let Block::RelayRequest(request) = block {
            let _ = relay_request_signed(&request, &hash, &hash);
        } else if let Block::RelayResponse(response) = block {
            let _ = relay_response_signed(&response, &hash);
        }
    }
}

pub(crate) fn block_seeds() -> Vec<Vec<u8>> {
    let message = short(&message(5, 40));
    let mut acks = Vec::new();
    Ack::append_block([90..=99, 70..=80, 3..=3], 60, &mut acks);
    let relay = |kind: u8, len: u8| {
        let mut block = vec![kind, 0, len];
        block.extend((0..len).map(|i| if i == 1 { 2 } else { i }));
        block
    };
    let mut seeds = vec![
        row(&[Block::DateTime(NOW.wall), Block::Address(([192, 0, 2, 1], 9).into()), Block::Padding(9)]),
        row(&[
            Block::I2np(&message),
            Block::FirstFragment(&message),
            Block::FollowOn(FollowOn { number: 1, last: true, message: 5, bytes: b"rest" }),
        ]),
        row(&[
            Block::NewToken(NewToken { expires: Date::from_secs(9), token: 7 }),
            Block::PathChallenge(b"12345678"),
            Block::PathResponse(b"12345678"),
            Block::RelayTagRequest,
            Block::RelayTag(9),
            Block::Congestion { immediate_ack: true, ecn: true },
            Block::FirstPacketNumber(3),
            Block::Termination { received: 9, reason: TerminationReason::Timeout },
        ]),
        row(&[Block::RouterInfo(RouterInfoBlock {
            flood: true,
            gzip: false,
            bytes: Router::new(3).info.bytes(),
        })]),
        acks,
    ];
    seeds.extend([relay(7, 88), relay(8, 90), relay(9, 120), relay(10, 100), relay(10, 132)]);
    seeds
}

/// Two endpoints and what went between them: a handshake and some messages.
struct Recorded {
    nodes: [Node; 2],
    routers: [Router; 2],
    /// To whom, and what.
    wire: Vec<(usize, Vec<u8>)>,
}

impl Recorded {
    fn new() -> Self {
        let routers = [Router::new(1), Router::new(2)];
        let nodes = [Node::new(&routers[0], 1), Node::new(&routers[1], 2)];
        let mut all = Self { nodes, routers, wire: Vec::new() };
        let remote = all.routers[1].remote();
        let dialled = all.nodes[0].with(|e, cx| e.connect(remote, cx));
        assert_eq!(dialled, Ok(()));
        all.settle();
        let to = all.routers[1].info.hash();
        for id in 0..4 {
            let message = message(id, 900 * (id as usize + 1));
            assert!(all.nodes[0].endpoint.send(&to, Lane::Own, message).is_ok());
            all.nodes[0].with(|_, _| ());
            all.settle();
        }
        all
    }

    /// Carries datagrams until there are none.
    fn settle(&mut self) {
        loop {
            let mut moved = false;
            for to in [1, 0] {
                for bytes in std::mem::take(&mut self.nodes[1 - to].sent) {
                    moved = true;
                    self.wire.push((to, bytes.clone()));
                    let from = self.routers[1 - to].address;
                    let mut bytes = bytes;
                    self.nodes[to].with(|e, cx| e.handle_datagram(from, &mut bytes, cx));
                }
            }
            if !moved {
                return;
            }
        }
    }
}

/// What is counted of packets that change nothing, and of answers to requests.
const fn counted(s: &Stats) -> u64 {
    s.bad_length
        + s.unknown_packets
        + s.duplicate_packets
        + s.not_authentic
        + s.handshakes_failed
        + s.retries_sent
        + s.refusals_sent
        + s.retries_limited
        + s.replays
}

/// Packets of a true session, changed, cut, repeated, reflected, and bytes that never were
/// one: each counted and dropped, and the session goes on.
pub fn ssu2_datagrams(bytes: &[u8]) {
    let mut all = Recorded::new();
    let spent = all.wire.len();
    let mut before = [all.nodes[0].endpoint.stats(), all.nodes[1].endpoint.stats()];
    for step in bytes.chunks(5).take(64) {
        let [what, which, at, high, low] = std::array::from_fn(|i| step.get(i).copied().unwrap_or(0));
        let (mut to, mut packet) = all.wire[usize::from(which) % spent].clone();
        let place = (usize::from(at) << 3 | usize::from(high & 7)) % packet.len();
        match what % 5 {
            0 => packet[place] ^= low | 1,
            1 => packet.truncate(place),
            2 => {}
            3 => to = 1 - to,
            _ => packet = bytes.to_vec(),
        }
        let from = all.routers[1 - to].address;
        all.nodes[to].with(|e, cx| e.handle_datagram(from, &mut packet, cx));
        let after = all.nodes[to].endpoint.stats();
        assert_eq!(counted(&after), counted(&before[to]) + 1, "each is counted once");
        assert_eq!(after.messages_received, before[to].messages_received);
        assert_eq!((after.sessions, after.pending), (1, 0));
        before[to] = after;
        all.nodes[to].sent.clear();
    }
}

pub(crate) fn operation_seeds() -> Vec<Vec<u8>> {
    vec![(0..=255).collect(), (0..=255).rev().collect(), vec![2; 100], vec![3; 60], vec![4; 90]]
}

/// A handshake in which one payload, chosen by the first byte, holds the rest of the input.
/// Nothing is kept of a peer that does not introduce itself.
pub fn ssu2_handshake(bytes: &[u8]) {
    let Some((which, said)) = bytes.split_first() else { return };
    let date = row(&[Block::DateTime(NOW.wall), Block::Padding(9)]);
    match which % 6 {
        kind @ 0..=2 => alice_says(kind, said, &date),
        kind => bob_says(kind, said, &date),
    }
}

fn alice_says(kind: u8, said: &[u8], date: &[u8]) {
    let router = Router::new(2);
    let mut bob = Node::new(&router, 2);
    let mut alice = Alice::new(router.remote());
    let from = alice.router.address;
    let choose = |n: u8| if kind == n { said } else { date };
    let Some(retry) = bob.take(from, alice.token_request(choose(0))) else { return };
    let token = alice.token(retry);
    let Some(created) = bob.take(from, alice.session_request(token, choose(1))) else { return };
    let confirmed = if kind == 2 { said } else { date };
    let size = 400 + usize::from(said.first().copied().unwrap_or(0)) * 8;
    for piece in alice.confirmed(created, confirmed, size) {
        let _ = bob.take(from, piece);
    }
    let stats = bob.endpoint.stats();
    // What follows the introduction may end the session at once.
    assert!(bob.established || stats.sessions == 0);
    assert!(stats.sessions + stats.pending <= 1);
    let us = alice.router.info.bytes();
    let introduced = said.windows(us.len()).any(|w| w == us);
    assert!(!bob.established || introduced, "a session without an introduction");
}

fn bob_says(kind: u8, said: &[u8], date: &[u8]) {
    let (us, bob) = (Router::new(3), Router::new(2));
    let mut node = Node::new(&us, 3);
    let dialled = node.with(|e, cx| e.connect(bob.remote(), cx));
    assert_eq!(dialled, Ok(()));
    let Some(request) = node.sent.first().cloned() else { return };
    let retry = peer::retry(&bob, request, 99, if kind == 3 { said } else { date });
    let Some(request) = node.take(bob.address, retry) else { return };
    let created = peer::session_created(&bob, request, if kind == 4 { said } else { date });
    let confirmed = node.take(bob.address, created);
    assert!(confirmed.is_some() || !node.established);
    assert!(kind != 5 || node.established, "nothing was wrong");
    let stats = node.endpoint.stats();
    assert!(stats.sessions + stats.pending <= 1);
}

pub(crate) fn handshake_seeds() -> Vec<Vec<u8>> {
    let info = Router::new(1).info;
    let block = RouterInfoBlock { flood: false, gzip: false, bytes: info.bytes() };
    let introduction = row(&[Block::RouterInfo(block), Block::Padding(20)]);
    let date = row(&[Block::DateTime(NOW.wall), Block::Address(([192, 0, 2, 1], 9).into())]);
    let refusal = Block::Termination { received: 0, reason: TerminationReason::Banned };
    let refusal = row(&[Block::DateTime(NOW.wall), refusal]);
    let kinds = 0..6_u8;
    let with = |payload: &[u8]| kinds.clone().map(|k| [&[k], payload].concat()).collect::<Vec<_>>();
    [with(&date), with(&refusal), with(&introduction)].concat()
}

/// A session whose peer says anything: the input is a row of payloads, each behind its length,
/// and between them time passes.
pub fn ssu2_session(bytes: &[u8]) {
    let router = Router::new(2);
    let mut bob = Node::new(&router, 2);
    let mut alice = Alice::new(router.remote());
    let (from, peer) = (alice.router.address, alice.router.info.hash());
    let date = row(&[Block::DateTime(NOW.wall), Block::Padding(9)]);
    let block = RouterInfoBlock { flood: false, gzip: false, bytes: alice.router.info.bytes() };
    let introduction = row(&[Block::RouterInfo(block)]);
    let retry = bob.take(from, alice.token_request(&date)).expect("a token is given");
    let token = alice.token(retry);
    let created = bob.take(from, alice.session_request(token, &date)).expect("the request is good");
    for piece in alice.confirmed(created, &introduction, 1_400) {
        let _ = bob.take(from, piece);
    }
    assert!(bob.established, "the introduction is good");
    for id in 0..6 {
        assert!(bob.endpoint.send(&peer, Lane::Own, message(id, 3_000)).is_ok());
    }
    let (mut rest, mut number) = (bytes, 1);
    while let [len, wait, tail @ ..] = rest {
        let (said, after) = tail.split_at((usize::from(*len) * 4).min(tail.len()));
        rest = after;
        let _ = bob.take(from, alice.data(number, said));
        number += 1 + u32::from(*wait == 77) * 5;
        let pause = Duration::from_millis(u64::from(*wait));
        bob.now.mono += pause;
        bob.now.wall = bob.now.wall + pause;
        if bob.endpoint.next_timeout().is_some_and(|(at, _)| at <= bob.now.mono) {
            bob.with(aioli_transport::ssu2::Endpoint::handle_timeout);
        }
        assert!(bob.sent.len() < 200, "{} packets for one", bob.sent.len());
        assert!(bob.endpoint.queued_bytes(&peer) <= 6 * 3_100);
        assert!(bob.endpoint.stats().sessions <= 1);
    }
}

pub(crate) fn session_seeds() -> Vec<Vec<u8>> {
    let framed = |payload: &Vec<u8>| {
        let mut payload = payload.clone();
        payload.truncate(1_000);
        let padding = payload.len().next_multiple_of(4) - payload.len();
        let mut out = vec![(payload.len().div_ceil(4)) as u8, 20];
        out.append(&mut payload);
        out.extend(std::iter::repeat_n(0, padding));
        out
    };
    let blocks = block_seeds();
    let all = blocks.iter().flat_map(framed).collect();
    let mut acks = Vec::new();
    for through in 0..8_u32 {
        let mut ack = Vec::new();
        Ack::append_block([through..=through], 60, &mut ack);
        acks.extend(framed(&ack));
    }
    vec![all, acks]
}
