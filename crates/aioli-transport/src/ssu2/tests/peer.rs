//! A peer that holds the keys of its session and says anything at all.

use std::collections::VecDeque;

use aioli_core::crypto::Secret;
use aioli_core::crypto::ssu2::DataKeys;
use aioli_core::{Cx, Date, Duration, Instant, Now, Rng};
use aioli_wire::ssu2::{
    Ack, Block, ConnectionId, FollowOn, ShortHeader, TerminationReason, follow_on_header, i2np_header,
};
use aioli_wire::{RouterHash, Wire, Writer};
use proptest::prelude::*;

use super::super::alice::Ids;
use super::super::packet::Sealer;
use super::super::reassembly::Budget;
use super::super::session::{Begin, Fate, Session, Shared};
use super::super::tokens::{HeldTokens, Tokens};
use super::super::{IntroKey, Limits, Stats};
use super::{START, addr, message};
use crate::Lane;

/// A session, and what its endpoint would hold.
struct Rig {
    session: Session,
    sealer: Sealer,
    limits: Limits,
    stats: Stats,
    outputs: VecDeque<super::super::Output>,
    budget: Budget,
    tokens: Tokens,
    held: HeldTokens,
    asides: VecDeque<super::super::session::Aside>,
    rng: Rng,
    now: Instant,
    next: u32,
}

impl Rig {
    fn new(inbound: bool) -> Self {
        let keys = |n| DataKeys { data: Secret::new([n; 32]), header: Secret::new([n + 1; 32]) };
        let (ours, theirs) = (IntroKey([1; 32]), IntroKey([2; 32]));
        let mut rng = Rng::from_seed([8; 32]);
        let now = Instant::ZERO + Duration::from_secs(100);
        let mut cx = Cx { now: Now { mono: now, wall: START }, rng: &mut rng };
        let begin = Begin {
            peer: RouterHash::new([3; 32]),
            ids: Ids { ours: ConnectionId(1), theirs: ConnectionId(2) },
            remote: addr(9),
            inbound,
            send: &keys(10),
            receive: &keys(20),
            their_intro: theirs,
            mtu: 1_500,
            rtt: Duration::from_millis(20),
            confirmed: vec![vec![0; 100]],
            window: 1 << 20,
        };
        let session = Session::begin(begin, &mut cx);
        let limits = Limits { reassembly_bytes_per_peer: 20_000, ..Limits::default() };
        Self {
            session,
            sealer: Sealer::new(&keys(20), ours),
            stats: Stats::default(),
            outputs: VecDeque::new(),
            budget: Budget { used: 0, limit: 15_000 },
            tokens: Tokens::new(10, 10),
            held: HeldTokens::new(10),
            asides: VecDeque::new(),
            limits,
            rng,
            now,
            next: 1,
        }
    }

    fn with<R>(&mut self, call: impl FnOnce(&mut Session, &mut Shared<'_>, &mut Cx<'_>) -> R) -> R {
        let wall = START + self.now.since(Instant::ZERO);
        let mut cx = Cx { now: Now { mono: self.now, wall }, rng: &mut self.rng };
        let mut shared = Shared {
            limits: &self.limits,
            stats: &mut self.stats,
            outputs: &mut self.outputs,
            budget: &mut self.budget,
            tokens: &mut self.tokens,
            held: &mut self.held,
            asides: &mut self.asides,
            idle_timeout: Duration::from_secs(165),
        };
        call(&mut self.session, &mut shared, &mut cx)
    }

    /// The peer sends this payload; then the session sends what it wants.
    fn say(&mut self, payload: &[u8], from: u16) -> Fate {
        let destination = ConnectionId(1);
        let header = ShortHeader::Data { destination, packet_number: self.next, immediate_ack: false };
        let mut packet = header.to_bytes();
        packet.extend_from_slice(payload);
        self.sealer.seal(&mut packet, 0, self.next);
        self.next += 1;
        let fate = self.with(|s, sh, cx| s.on_datagram(addr(from), &mut packet, sh, cx));
        self.drain();
        fate
    }

    /// Takes all packets; how many.
    fn drain(&mut self) -> usize {
        let mut count = 0;
        let mut packet = Vec::new();
        while self.with(|s, sh, cx| s.poll_transmit(&mut packet, sh, cx)).is_some() {
            assert!(packet.len() <= 1_472);
            packet.clear();
            count += 1;
            assert!(count < 2_000, "packets without end");
        }
        count
    }

    fn tick(&mut self) -> Fate {
        let at = self.session.deadline(Duration::from_secs(165));
        self.now = self.now.max(at);
        let fate = self.with(|s, sh, cx| s.on_timeout(sh, cx));
        self.drain();
        fate
    }
}

/// Blocks that make sense one by one, and bytes that make none.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    let ack = prop::collection::vec((0_u32..300, 0_u32..20), 1..6).prop_map(|runs| {
        let mut out = Vec::new();
        let mut high = 4_000_u32;
        let runs = runs.into_iter().map(|(gap, len)| {
            high = high.saturating_sub(gap + len + 2);
            high..=high + len
        });
        Ack::append_block(runs.collect::<Vec<_>>(), 200, &mut out);
        out
    });
    let small_ack = (0_u32..40, 0_u8..40).prop_map(|(through, count)| {
        let mut block = vec![12, 0, 5];
        block.extend_from_slice(&through.to_be_bytes());
        block.push(count.min(through as u8));
        block
    });
    let piece = (1_u8..128, any::<bool>(), 0_u32..6, 1_usize..900).prop_map(|(number, last, id, len)| {
        let mut out = Vec::new();
        follow_on_header(&mut out, number, last, id, len as u16);
        out.resize(out.len() + len, 7);
        let whole = Block::from_bytes(&out).map(|b| matches!(b, Block::FollowOn(FollowOn { .. })));
        assert_eq!(whole, Ok(true));
        out
    });
    let first = (any::<bool>(), 0_u32..6, 10_usize..900).prop_map(|(first, id, len)| {
        let mut out = Vec::new();
        i2np_header(&mut out, first, len as u16);
        out.push(20);
        out.extend_from_slice(&id.to_be_bytes());
        out.resize(len + 3, 0);
        out
    });
    let path = (any::<bool>(), prop::collection::vec(any::<u8>(), 0..40)).prop_map(|(ask, data)| {
        if ask { Block::PathChallenge(&data).to_bytes() } else { Block::PathResponse(&data).to_bytes() }
    });
    let junk = (0_u8..30, prop::collection::vec(any::<u8>(), 0..90)).prop_map(|(kind, data)| {
        let kind = if kind == 6 { 7 } else { kind };
        let mut out = vec![kind, 0, data.len() as u8];
        out.extend_from_slice(&data);
        out
    });
    prop_oneof![3 => small_ack, 1 => ack, 3 => piece, 2 => first, 1 => path, 2 => junk]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_it_says_nothing_breaks_and_nothing_grows(
        inbound in any::<bool>(),
        said in prop::collection::vec((payload(), 8_u16..12, any::<bool>()), 1..60),
    ) {
        let mut rig = Rig::new(inbound);
        for id in 0..30 {
            rig.session.push(Lane::Own, message(id, 2_500, START + Duration::from_secs(100)), 1 << 20);
        }
        rig.drain();
        for (payload, from, tick) in said {
            rig.say(&payload, from);
            if tick && rig.tick() != Fate::Open {
                break;
            }
            prop_assert!(rig.budget.used <= 15_000);
            rig.outputs.clear();
        }
        rig.with(|s, sh, _| s.end(sh.budget));
        prop_assert_eq!(rig.budget.used, 0);
    }
}

#[test]
fn left_alone_it_ends_and_does_not_spin() {
    for inbound in [false, true] {
        let mut rig = Rig::new(inbound);
        for id in 0..100 {
            rig.session.push(Lane::Own, message(id, 2_500, START + Duration::from_secs(100)), 1 << 20);
        }
        rig.drain();
        let (began, mut ticks) = (rig.now, 0);
        while rig.tick() == Fate::Open {
            ticks += 1;
            assert!(ticks < 500, "too often");
        }
        assert!(rig.now.since(began) < Duration::from_secs(60));
    }
}

#[test]
fn a_broken_payload_and_a_goodbye_end_it() {
    let mut rig = Rig::new(true);
    assert_eq!(rig.say(&[5, 0, 1, 0], 9), Fate::Open, "a bad block is passed over");
    assert_eq!(rig.say(&[5, 9, 1, 0], 9), Fate::End(TerminationReason::PayloadFormat));
    assert_eq!(rig.stats.bad_blocks, 2);
    let goodbye = Block::Termination { received: 3, reason: TerminationReason::RouterShutdown };
    let mut w = Writer::new();
    w.write(&Block::DateTime(Date::from_secs(5)));
    w.write(&goodbye);
    let mut rig = Rig::new(true);
    assert_eq!(rig.say(w.as_slice(), 9), Fate::Ended(TerminationReason::RouterShutdown));
}

#[test]
fn acknowledging_what_was_never_sent_is_counted_and_does_nothing() {
    let mut rig = Rig::new(true);
    let mut out = Vec::new();
    Ack::append_block([50_000..=50_000], 100, &mut out);
    assert_eq!(rig.say(&out, 9), Fate::Open);
    assert_eq!(rig.stats.bad_acks, 1);
}
