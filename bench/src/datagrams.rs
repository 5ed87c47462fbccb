//! Two SSU2 endpoints and the datagrams between them, under a clock that only moves when they wait.

use std::collections::VecDeque;
use std::net::SocketAddr;

use aioli_core::crypto::chacha20;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Duration, Now, Rng};
use aioli_transport::ssu2::{Config, Endpoint, IntroKey, Output, Remote};
use aioli_wire::ssu2::Ssu2Parts;

use crate::{address, now, published};

/// The time that a datagram takes.
const DELAY: Duration = Duration::from_micros(250);
/// Datagrams that arrive at a time: a batch of system calls. More wait, as at a bottleneck.
const BATCH: usize = 64;

/// One end.
#[derive(Debug)]
struct End {
    endpoint: Endpoint,
    remote: Remote,
    rng: Rng,
}

/// Two ends: 0 dials, 1 listens.
#[derive(Debug)]
pub struct Datagrams {
    ends: [End; 2],
    /// What is on its way to each end.
    flying: [VecDeque<Vec<u8>>; 2],
    now: Now,
}

impl Datagrams {
    /// Two routers that know each other, without a session.
    pub fn new(seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        Self::with_ends([End::new(1, &mut rng), End::new(2, &mut rng)])
    }

    fn with_ends(ends: [End; 2]) -> Self {
        Self { ends, flying: Default::default(), now: now() }
    }

    /// One handshake, both roles, without a token at hand.
    pub fn handshake(&mut self) {
        let remote = self.ends[1].remote.clone();
        let dialled = self.with(0, |e, cx| e.connect(remote, cx));
        assert!(dialled.is_ok(), "it can be tried");
        self.run(|pair| pair.ends.iter().all(|end| end.endpoint.peers().count() == 1));
    }

    /// Until `done`.
    fn run(&mut self, done: impl Fn(&Self) -> bool) {
        loop {
            let moved = self.drain(0) | self.drain(1);
            if done(self) {
                return;
            }
            if moved || self.flying.iter().any(|f| !f.is_empty()) {
                self.pass(DELAY);
            } else {
                let next = self.ends.iter().filter_map(|e| e.endpoint.next_timeout()).map(|(at, _)| at).min();
                let Some(next) = next else { return };
                self.pass(next.since(self.now.mono));
            }
            for to in 0..2 {
                let from = self.ends[1 - to].remote.address;
                for _ in 0..BATCH {
                    let Some(mut bytes) = self.flying[to].pop_front() else { break };
                    self.with(to, |e, cx| e.handle_datagram(from, &mut bytes, cx));
                }
                if self.ends[to].endpoint.next_timeout().is_some_and(|(at, _)| at <= self.now.mono) {
                    self.with(to, Endpoint::handle_timeout);
                }
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall = now().wall + self.now.mono.since(now().mono);
    }

    fn drain(&mut self, n: usize) -> bool {
        let mut moved = false;
        while let Some(output) = self.with(n, Endpoint::poll_output) {
            if let Output::Datagram { bytes, .. } = output {
                self.flying[1 - n].push_back(bytes);
                moved = true;
            }
        }
        moved
    }

    fn with<T>(&mut self, n: usize, f: impl FnOnce(&mut Endpoint, &mut Cx<'_>) -> T) -> T {
        let end = &mut self.ends[n];
        f(&mut end.endpoint, &mut Cx { now: self.now, rng: &mut end.rng })
    }
}

/// An endpoint with a session, and packets that a forger sends it.
#[derive(Debug)]
pub struct Victim {
    pair: Datagrams,
    next: u32,
    /// A true TokenRequest.
    pub token_request: Vec<u8>,
    /// A SessionRequest with a token of another address.
    pub bad_token: Vec<u8>,
    /// The same without a token.
    pub no_token: Vec<u8>,
}

impl Victim {
    /// Answers everything if `limited` is false; otherwise has nothing left to answer with.
    pub fn new(limited: bool) -> Self {
        let retries = if limited { 0 } else { u64::MAX };
        let ends = |retries| {
            let mut rng = Rng::from_seed([7; 32]);
            [End::new(1, &mut rng), End::limited(2, retries, &mut rng)]
        };
        let [token_request, bad_token, no_token] = first_packets(Datagrams::with_ends(ends(u64::MAX)));
        let mut pair = Datagrams::with_ends(ends(retries));
        if !limited {
            pair.handshake();
        }
        Self { pair, next: 0, token_request, bad_token, no_token }
    }

    /// Takes a packet from an address that nobody had before. Gives how many packets answer it.
    pub fn take(&mut self, packet: &mut [u8]) -> usize {
        let [_, b, c, d] = self.next.to_be_bytes();
        self.next += 1;
        let from = SocketAddr::from(([100 + b % 64, c, d, 7], 9_000));
        self.pair.with(1, |e, cx| e.handle_datagram(from, packet, cx));
        let mut answers = 0;
        while let Some(output) = self.pair.with(1, Endpoint::poll_output) {
            answers += usize::from(matches!(output, Output::Datagram { .. }));
        }
        answers
    }
}

/// What a stranger sends to the second end of a pair: a TokenRequest, a SessionRequest with
/// the token that it got, and one without.
fn first_packets(mut pair: Datagrams) -> [Vec<u8>; 3] {
    // Not the ids that the first end draws.
    pair.ends[0].rng = Rng::from_seed([9; 32]);
    let remote = pair.ends[1].remote.clone();
    let (key, to, from) = (remote.intro_key.0, remote.address, pair.ends[0].remote.address);
    let dialled = pair.with(0, |e, cx| e.connect(remote, cx));
    assert!(dialled.is_ok(), "it can be tried");
    let mut next = |n: usize, came: &mut [u8]| {
        if !came.is_empty() {
            pair.with(n, |e, cx| e.handle_datagram(if n == 0 { to } else { from }, came, cx));
        }
        pair.drain(n);
        pair.flying[1 - n].pop_front().unwrap_or_default()
    };
    let token_request = next(0, &mut []);
    let mut retry = next(1, &mut token_request.clone());
    let bad_token = next(0, &mut retry);
    let mut no_token = bad_token.clone();
    chacha20::xor(&key, &[0; 12], &mut no_token[16..64]);
    no_token[24..32].fill(0);
    chacha20::xor(&key, &[0; 12], &mut no_token[16..64]);
    [token_request, bad_token, no_token]
}

impl End {
    fn new(n: u8, rng: &mut Rng) -> Self {
        Self::limited(n, u64::MAX, rng)
    }

    fn limited(n: u8, retries: u64, rng: &mut Rng) -> Self {
        let (static_key, intro_key) = (PrivateKey::generate(rng), IntroKey(rng.bytes()));
        let address = address(n);
        let parts = Ssu2Parts {
            cost: 8,
            static_key: &static_key.public(),
            intro_key: &intro_key.0,
            host: Some(address),
            caps: "BC4",
            mtu: 1_500,
            introducers: &[],
        };
        let info = published(parts.address().ok(), rng);
        let remote =
            Remote { hash: info.hash(), static_key: static_key.public(), intro_key, address, mtu: 1_500 };
        let mut config = Config::new(static_key, intro_key);
        (config.net_id, config.private_network) = (99, true);
        config.limits.retries_per_second = retries;
        config.limits.requests_per_second = u64::MAX;
        let mut endpoint = Endpoint::new(config, rng);
        endpoint.set_router_info(info);
        Self { endpoint, remote, rng: rng.fork() }
    }
}
