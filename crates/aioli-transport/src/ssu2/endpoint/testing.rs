//! Peer tests in the three roles (`ssu2#peer-test-process`); what is known of each is in `peer_test`.

use std::net::{IpAddr, SocketAddr};

use aioli_core::Cx;
use aioli_wire::ip::Hand;
use aioli_wire::ssu2::{Block, Blocks, LongHeader, PacketType, PeerTest};
use aioli_wire::{RouterHash, Wire};

use super::super::alice::MAX_PADDING;
use super::super::introduce::{code, sign_peer_test, verify_peer_test};
use super::super::packet::{Long, open_with_intro, seal_with_intro};
use super::super::peer_test::{Act, AliceTest, BobTest, Charlie, CharlieTest, MAX_CHARLIES};
use super::super::relay::{are_ids, ids, is_recent};
use super::super::{ConnectError, Family, IntroKey, Output, TestOutcome, same_family};
use super::introductions::{intro_key, tester};
use super::{Endpoint, Key};

/// Peers that Bob looks at for a Charlie.
const LOOKED_AT: usize = 64;
/// Tests of ours at a time.
const OWN_TESTS: usize = 8;

impl Endpoint {
    /// Asks a peer to have this address of ours tested, which must be of the family of the session with it.
    /// [`Output::PeerTested`] tells what came of it.
    ///
    /// # Errors
    /// If it cannot be asked: there is no such session, or tests are under way.
    pub fn test_reachability(
        &mut self,
        bob: &RouterHash,
        address: SocketAddr,
        cx: &mut Cx<'_>,
    ) -> Result<(), ConnectError> {
        let at = self.address_of(bob).filter(|at| same_family(*at, address));
        at.ok_or(ConnectError::NotReady)?;
        let signing = self.config.signing.as_ref().ok_or(ConnectError::NotReady)?;
        let tests = &self.intro.alice_tests;
        if tests.len() >= OWN_TESTS || tests.values().any(|t| t.bob == *bob) {
            return Err(ConnectError::Limit);
        }
        let nonce = cx.rng.u32();
        let plain = PeerTest {
            message: 1,
            code: code::ACCEPT,
            router: None,
            nonce,
            timestamp: cx.now.wall,
            alice: address,
            signature: &[],
        };
        let signature = sign_peer_test(&plain, bob, None, signing);
        if !self.notify(bob, &Block::PeerTest(PeerTest { signature: &signature, ..plain })) {
            return Err(ConnectError::Limit);
        }
        self.common.stats.peer_tests_asked += 1;
        let test = AliceTest::new(*bob, address, cx.now.mono);
        self.timers.set(Key::AliceTest(nonce), test.deadline());
        self.intro.alice_tests.insert(nonce, test);
        Ok(())
    }

    /// Bob: Alice asks. The router whose RouterInfo is missing, if one is.
    pub(super) fn on_test_1(
        &mut self,
        alice: RouterHash,
        remote: SocketAddr,
        test: &PeerTest<'_>,
        is_last: bool,
        cx: &mut Cx<'_>,
    ) -> Option<RouterHash> {
        if self.intro.bob_tests.contains_key(&test.nonce) {
            return None; // again the same, or somebody else's nonce
        }
        let local = self.local.clone()?;
        let info = self.info_of(&alice);
        if info.is_none() && !is_last {
            return Some(alice);
        }
        let refused = if !self.is_testable(test, remote) {
            code::BOB_ADDRESS
        } else if self.intro.bob_tests.len() >= self.common.limits.peer_tests
            || !self.count_ip(remote.ip(), cx.now.mono)
        {
            self.common.stats.introductions_limited += 1;
            code::BOB_LIMIT
        } else if let Some(info) = &info {
            let good =
                is_recent(test.timestamp, cx.now.wall) && verify_peer_test(test, &local.hash, None, info);
            self.common.stats.bad_peer_tests += u64::from(!good);
            if good { code::ACCEPT } else { code::BOB_SIGNATURE }
        } else {
            code::BOB_UNSPECIFIED
        };
        if refused != code::ACCEPT {
            self.refuse_test(&alice, test, refused);
            return None;
        }
        let bob = BobTest::new(alice, remote, Block::PeerTest(*test).to_bytes(), cx.now.mono);
        self.ask_charlie_or_refuse(test.nonce, bob, cx);
        None
    }

    /// Whether an address may be tested: Alice's own, in a family in which we say that we test.
    fn is_testable(&self, test: &PeerTest<'_>, remote: SocketAddr) -> bool {
        let family = Family::of(&test.alice.ip());
        self.tests(family) && self.may_probe(test.alice) && same_host(test.alice.ip(), remote.ip())
    }

    /// Bob: says no to Alice.
    fn refuse_test(&mut self, alice: &RouterHash, test: &PeerTest<'_>, code: u8) {
        self.common.stats.peer_tests_refused += 1;
        let (Some(local), Some(signing)) = (&self.local, &self.config.signing) else { return };
        let plain = PeerTest { message: 4, code, router: None, ..*test };
        let signature = sign_peer_test(&plain, &local.hash, Some(alice), signing);
        self.notify(alice, &Block::PeerTest(PeerTest { signature: &signature, ..plain }));
    }

    /// Bob: asks another Charlie, or tells Alice that there is none.
    fn ask_charlie_or_refuse(&mut self, nonce: u32, bob: BobTest, cx: &mut Cx<'_>) {
        if let Some(bob) = self.ask_charlie(nonce, bob, cx)
            && let Ok(Block::PeerTest(test)) = Block::from_bytes(&bob.block)
        {
            self.refuse_test(&bob.alice, &test, code::BOB_NO_CHARLIE);
        }
    }

    /// Bob: asks another Charlie. Gives the test back if there is none.
    fn ask_charlie(&mut self, nonce: u32, mut bob: BobTest, cx: &mut Cx<'_>) -> Option<BobTest> {
        let Ok(Block::PeerTest(test)) = Block::from_bytes(&bob.block) else { return Some(bob) };
        let family = Family::of(&test.alice.ip());
        let info = self.info_of(&bob.alice);
        let found =
            if bob.charlies.len() < MAX_CHARLIES { self.find_charlie(&bob, family, cx) } else { None };
        let (Some(charlie), Some(info)) = (found, info) else { return Some(bob) };
        self.tell(&charlie, &info, cx);
        let asked = PeerTest { message: 2, router: Some(bob.alice), ..test };
        self.notify(&charlie, &Block::PeerTest(asked));
        self.common.stats.peer_tests_passed_on += u64::from(bob.charlies.is_empty());
        bob.ask(charlie, cx.now.mono);
        self.timers.set(Key::BobTest(nonce), bob.until);
        self.intro.bob_tests.insert(nonce, bob);
        None
    }

    /// A peer that can test Alice: at random, and neither she, her neighbour nor one who was asked.
    fn find_charlie(&mut self, bob: &BobTest, family: Family, cx: &mut Cx<'_>) -> Option<RouterHash> {
        let start = RouterHash::new(cx.rng.bytes());
        let round = self.by_peer.range(start..).chain(self.by_peer.range(..start));
        let peers = round.map(|(hash, _)| *hash).take(LOOKED_AT).collect::<Vec<_>>();
        let hers = Hand::of(bob.alice_at.ip());
        peers.into_iter().find(|hash| {
            if *hash == bob.alice || bob.charlies.contains(hash) {
                return false;
            }
            let info = self.info_of(hash);
            let at = info.and_then(|info| tester(&info, family));
            at.is_some_and(|(at, _)| self.is_allowed(at) && Hand::of(at.ip()) != hers)
        })
    }

    /// Charlie: Bob asks. The router whose RouterInfo is missing, if one is.
    pub(super) fn on_test_2(
        &mut self,
        bob: RouterHash,
        test: &PeerTest<'_>,
        is_last: bool,
        cx: &mut Cx<'_>,
    ) -> Option<RouterHash> {
        let (local, alice) = (self.local.clone()?, test.router?);
        if self.intro.charlie_tests.contains_key(&test.nonce) {
            return None;
        }
        let info = self.info_of(&alice);
        if info.is_none() && !is_last {
            return Some(alice);
        }
        let family = Family::of(&test.alice.ip());
        let key = info.as_ref().and_then(|info| intro_key(info, family));
        let code = match (&info, key) {
            _ if !self.tests(family) || !self.may_probe(test.alice) => code::CHARLIE_ADDRESS,
            (Some(info), Some(_)) => {
                let good = is_recent(test.timestamp, cx.now.wall) && verify_peer_test(test, &bob, None, info);
                if good {
                    self.charlie_code(alice, test.alice, local.hash, cx)
                } else {
                    code::CHARLIE_SIGNATURE
                }
            }
            _ => code::CHARLIE_NO_ALICE,
        };
        self.common.stats.bad_peer_tests += u64::from(code == code::CHARLIE_SIGNATURE);
        let signing = self.config.signing.as_ref()?;
        let plain = PeerTest { message: 3, code, router: None, ..*test };
        let signature = sign_peer_test(&plain, &bob, Some(&alice), signing);
        let answer = Block::PeerTest(PeerTest { signature: &signature, ..plain });
        self.notify(&bob, &answer);
        let Some(key) = key.filter(|_| code == code::ACCEPT) else {
            self.common.stats.peer_tests_refused += 1;
            return None;
        };
        self.common.stats.peer_tests_agreed += 1;
        let now = cx.now.mono;
        let state = CharlieTest::new(test.alice, key, answer.to_bytes(), now);
        self.send_test(5, &state.block, state.to, key, test.nonce, cx);
        self.timers.set(Key::CharlieTest(test.nonce), state.repeats.deadline());
        self.intro.charlie_tests.insert(test.nonce, state);
        None
    }

    /// Charlie: whether to test her.
    fn charlie_code(&mut self, alice: RouterHash, at: SocketAddr, us: RouterHash, cx: &Cx<'_>) -> u8 {
        let now = cx.now.mono;
        if alice == us || self.is_connected(&alice) || self.is_dialling(&alice) || self.is_warm(at.ip(), now)
        {
            return code::CHARLIE_CONNECTED;
        }
        if self.intro.charlie_tests.len() >= self.common.limits.peer_tests || !self.count_ip(at.ip(), now) {
            self.common.stats.introductions_limited += 1;
            return code::CHARLIE_LIMIT;
        }
        code::ACCEPT
    }

    /// Bob: Charlie answers.
    pub(super) fn on_test_3(
        &mut self,
        charlie: RouterHash,
        test: &PeerTest<'_>,
        cx: &mut Cx<'_>,
    ) -> Option<RouterHash> {
        let asked = self.intro.bob_tests.get(&test.nonce).and_then(|b| b.charlies.last());
        if asked != Some(&charlie) {
            self.common.stats.bad_peer_tests += 1;
            return None;
        }
        self.timers.stop(&Key::BobTest(test.nonce));
        let mut bob = self.intro.bob_tests.remove(&test.nonce)?;
        if test.code != code::ACCEPT {
            bob = self.ask_charlie(test.nonce, bob, cx)?;
        }
        if test.code == code::ACCEPT
            && let Some(info) = self.info_of(&charlie)
        {
            self.tell(&bob.alice, &info, cx);
        }
        let answer = PeerTest { message: 4, router: Some(charlie), ..*test };
        self.notify(&bob.alice, &Block::PeerTest(answer));
        None
    }

    /// Bob: Charlie has not answered.
    pub(super) fn on_bob_test_timeout(&mut self, nonce: u32, cx: &mut Cx<'_>) {
        if let Some(bob) = self.intro.bob_tests.remove(&nonce) {
            self.ask_charlie_or_refuse(nonce, bob, cx);
        }
    }

    /// Alice: Bob has an answer. The router whose RouterInfo is missing, if one is.
    pub(super) fn on_test_4(
        &mut self,
        bob: RouterHash,
        bob_at: SocketAddr,
        test: &PeerTest<'_>,
        is_last: bool,
        cx: &mut Cx<'_>,
    ) -> Option<RouterHash> {
        let (local, charlie) = (self.local.clone()?, test.router?);
        let ours = self.intro.alice_tests.get(&test.nonce).filter(|t| t.bob == bob && t.is_asked());
        let Some(address) = ours.map(|t| t.address) else {
            self.common.stats.bad_peer_tests += 1;
            return None;
        };
        if test.code != code::ACCEPT {
            self.end_test(test.nonce, TestOutcome::Refused { code: test.code });
            return None;
        }
        let info = self.info_of(&charlie);
        if info.is_none() && !is_last {
            return Some(charlie);
        }
        let Some(info) = info else {
            self.end_test(test.nonce, TestOutcome::NoAnswer);
            return None;
        };
        let at = tester(&info, Family::of(&address.ip())).filter(|(at, _)| self.may_probe(*at));
        let good = charlie != bob
            && charlie != local.hash
            && test.alice == address
            && verify_peer_test(test, &bob, Some(&local.hash), &info);
        let (true, Some((at, intro_key))) = (good, at) else {
            self.common.stats.bad_peer_tests += 1;
            self.end_test(test.nonce, TestOutcome::NoAnswer);
            return None;
        };
        let is_warm = self.is_warm(at.ip(), cx.now.mono) || at.ip() == bob_at.ip();
        tracing::debug!("{charlie:?} at {at}, found by {bob:?}, tests {address} (warm: {is_warm})");
        let found = Charlie { hash: charlie, address: at, intro_key, is_warm };
        if let Some(state) = self.intro.alice_tests.get_mut(&test.nonce) {
            let act = state.on_agreed(found, cx.now.mono);
            self.act(test.nonce, act, cx);
        }
        None
    }

    /// Alice: does what follows.
    fn act(&mut self, nonce: u32, act: Act, cx: &mut Cx<'_>) {
        match act {
            Act::Wait => {}
            Act::SendSix => self.send_six(nonce, cx),
            Act::End(outcome) => return self.end_test(nonce, outcome),
        }
        if let Some(state) = self.intro.alice_tests.get(&nonce) {
            self.timers.set(Key::AliceTest(nonce), state.deadline());
        }
    }

    fn send_six(&mut self, nonce: u32, cx: &mut Cx<'_>) {
        let Some(signing) = &self.config.signing else { return };
        let Some(state) = self.intro.alice_tests.get(&nonce) else { return };
        let Some(charlie) = state.charlie else { return };
        let plain = PeerTest {
            message: 6,
            code: code::ACCEPT,
            router: None,
            nonce,
            timestamp: cx.now.wall,
            alice: state.address,
            signature: &[],
        };
        let signature = sign_peer_test(&plain, &state.bob, None, signing);
        let block = Block::PeerTest(PeerTest { signature: &signature, ..plain }).to_bytes();
        self.send_test(6, &block, charlie.address, charlie.intro_key, nonce, cx);
    }

    fn end_test(&mut self, nonce: u32, outcome: TestOutcome) {
        self.timers.stop(&Key::AliceTest(nonce));
        let Some(state) = self.intro.alice_tests.remove(&nonce) else { return };
        self.common.outputs.push_back(Output::PeerTested {
            bob: state.bob,
            charlie: state.charlie.map(|c| (c.hash, c.address)),
            address: state.address,
            outcome,
        });
    }

    pub(super) fn on_alice_test_timeout(&mut self, nonce: u32, cx: &mut Cx<'_>) {
        if let Some(state) = self.intro.alice_tests.get_mut(&nonce) {
            let act = state.on_timeout(cx.now.mono);
            self.act(nonce, act, cx);
        }
    }

    pub(super) fn on_charlie_test_timeout(&mut self, nonce: u32, cx: &mut Cx<'_>) {
        let Some(state) = self.intro.charlie_tests.get_mut(&nonce) else { return };
        let Some(due) = state.repeats.on_timeout(cx.now.mono) else {
            self.intro.charlie_tests.remove(&nonce);
            return;
        };
        self.timers.set(Key::CharlieTest(nonce), state.repeats.deadline());
        if due {
            let (block, to, key) = (state.block.clone(), state.to, state.intro_key);
            self.send_test(5, &block, to, key, nonce, cx);
        }
    }

    /// Sends message 5, 6 or 7, which says what `block` says.
    fn send_test(
        &mut self,
        message: u8,
        block: &[u8],
        to: SocketAddr,
        key: IntroKey,
        nonce: u32,
        cx: &mut Cx<'_>,
    ) {
        let Ok(Block::PeerTest(test)) = Block::from_bytes(block) else { return };
        let (destination, source) = ids(nonce, message == 6);
        let header = LongHeader {
            destination,
            packet_number: cx.rng.u32(),
            kind: PacketType::PeerTest,
            net_id: self.config.net_id,
            source,
            token: 0,
        };
        let test = Block::PeerTest(PeerTest { message, code: code::ACCEPT, router: None, ..test });
        let (date, address) = (Block::DateTime(cx.now.wall), Block::Address(to));
        let padding = Block::Padding(cx.rng.up_to(MAX_PADDING) as usize);
        let packet = if message == 5 {
            seal_with_intro(&header, &key, &[date, test, padding])
        } else {
            seal_with_intro(&header, &key, &[date, address, test, padding])
        };
        self.contact(to.ip(), cx.now.mono);
        self.transmit(to, packet);
    }

    /// Alice or Charlie: a packet outside of a session. None if it belongs to no test.
    pub(super) fn on_test_packet(
        &mut self,
        long: &Long,
        from: SocketAddr,
        packet: &mut [u8],
        cx: &mut Cx<'_>,
    ) -> Option<()> {
        let payload = open_with_intro(long, &self.config.intro_key, packet).ok()?;
        let (mut test, mut seen) = (None, None);
        for block in Blocks::new(payload).flatten() {
            if let Block::PeerTest(t) = block {
                test = Some((t.message, t.nonce));
            } else if let Block::Address(a) = block {
                seen = Some(a);
            }
        }
        let (message, nonce) =
            test.filter(|(message, nonce)| are_ids(&long.header, *nonce, *message == 6))?;
        match message {
            5 => self.on_test_5(nonce, from, cx),
            6 => self.on_test_6(nonce, from, cx),
            7 => self.on_test_7(nonce, from, seen),
            _ => None,
        }
    }

    fn on_test_5(&mut self, nonce: u32, from: SocketAddr, cx: &mut Cx<'_>) -> Option<()> {
        // Charlie sends it more than once, and we may have dialled him meanwhile.
        let is_warm = self.is_warm(from.ip(), cx.now.mono);
        let act = self.intro.alice_tests.get_mut(&nonce)?.on_five(from, is_warm, cx.now.mono)?;
        self.act(nonce, act, cx);
        Some(())
    }

    fn on_test_6(&mut self, nonce: u32, from: SocketAddr, cx: &mut Cx<'_>) -> Option<()> {
        let state = self.intro.charlie_tests.get_mut(&nonce)?;
        if !state.on_six(from.ip()) {
            return None;
        }
        let (block, key) = (state.block.clone(), state.intro_key);
        self.timers.set(Key::CharlieTest(nonce), state.repeats.deadline());
        self.send_test(7, &block, from, key, nonce, cx);
        Some(())
    }

    fn on_test_7(&mut self, nonce: u32, from: SocketAddr, seen: Option<SocketAddr>) -> Option<()> {
        let outcome = self.intro.alice_tests.get(&nonce)?.on_seven(from, seen)?;
        self.end_test(nonce, outcome);
        Some(())
    }
}

/// Whether both addresses are of one host: of IPv6 the first half must agree.
pub(super) fn same_host(a: IpAddr, b: IpAddr) -> bool {
    match (a, b) {
        (IpAddr::V6(a), IpAddr::V6(b)) => a.octets()[..8] == b.octets()[..8],
        (a, b) => a == b,
    }
}
