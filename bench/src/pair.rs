//! Two transports and the bytes between them, without sockets.

use std::sync::Arc;

use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Duration, Now, Rng};
use aioli_transport::ssu2::IntroKey;
use aioli_transport::{Config, ConnId, Lane, Output, Ssu2Keys, Transport};
use aioli_wire::ssu2::Ssu2Parts;
use aioli_wire::{Message, MessageId, MessageType, RouterAddress, RouterInfo, Verified};

use crate::{address, now, published};

/// As many bytes are pulled at a time as a driver pulls.
const PULL: usize = 64 * 1024;
/// As many datagrams are.
const SEGMENTS: usize = 64;
/// The time that datagrams take; NTCP2 needs none.
const DELAY: Duration = Duration::from_micros(250);

/// Which transport the two have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// TCP.
    Ntcp2,
    /// UDP.
    Ssu2,
}

/// Datagrams of one size on their way, as one system call sends and receives them.
#[derive(Debug)]
struct Run {
    to: usize,
    segment: usize,
    bytes: Vec<u8>,
}

/// One end.
#[derive(Debug)]
struct End {
    transport: Transport,
    info: Arc<Verified<RouterInfo>>,
    rng: Rng,
}

/// Two ends: 0 dials, 1 listens.
#[derive(Debug)]
pub struct Pair {
    ends: [End; 2],
    conns: Option<[ConnId; 2]>,
    arrived: usize,
    wire: Vec<u8>,
    over: Over,
    now: Now,
    id: u32,
    flying: Vec<Run>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
}

impl Pair {
    /// Two routers that know each other, without a session.
    pub fn new(seed: u8, over: Over) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let ends = [End::new(1, over, &mut rng), End::new(2, over, &mut rng)];
        let (wire, flying, spare) = (Vec::with_capacity(2 * PULL), Vec::new(), Vec::new());
        Self { ends, conns: None, arrived: 0, wire, over, now: now(), id: 1, flying, spare }
    }

    /// The same with a session on which some megabytes have been sent.
    pub fn connected(seed: u8, over: Over) -> Self {
        let mut pair = Self::new(seed, over);
        pair.handshake();
        for _ in 0..32 {
            pair.carry(256);
        }
        pair
    }

    /// One handshake, both roles.
    pub fn handshake(&mut self) {
        let target = Arc::clone(&self.ends[1].info);
        self.with(0, |t, cx| t.connect(&target, cx));
        self.run(|pair| pair.ends.iter().all(|end| end.transport.peers().count() == 1));
        assert!(self.ends.iter().all(|end| end.transport.peers().count() == 1), "a session stands");
    }

    /// Carries `count` tunnel messages from 0 to 1: sealed, opened, decoded; over SSU2 also acknowledged.
    pub fn carry(&mut self, count: u32) {
        let target = self.ends[1].info.hash();
        let expires = self.now.wall + Duration::from_secs(30);
        for id in 0..count {
            let body = vec![id as u8; 1028];
            self.id = self.id.wrapping_add(0x9e37_79b9);
            let message = Message { kind: MessageType::TunnelData, id: MessageId(self.id), expires, body };
            let refused = self.with(0, |t, cx| t.send_to(&target, Lane::Own, message, cx));
            assert!(refused.is_ok(), "the queue has room");
        }
        self.arrived = 0;
        self.run(|pair| pair.arrived >= count as usize && pair.ends[0].transport.queued(&target) == 0);
        assert_eq!(self.arrived, count as usize, "all arrived");
    }

    /// Until nothing moves, or over SSU2 until `done`.
    fn run(&mut self, done: impl Fn(&Self) -> bool) {
        loop {
            let mut moved = false;
            for from in 0..2 {
                while let Some(output) = self.ends[from].transport.poll_output() {
                    moved = true;
                    self.output(from, output);
                }
            }
            match self.over {
                Over::Ntcp2 if !moved => return,
                Over::Ntcp2 => {}
                Over::Ssu2 if done(self) && self.flying.is_empty() => return,
                Over::Ssu2 => self.pass(),
            }
        }
    }

    /// Lets datagrams arrive, or if none are under way, time pass until something is due.
    fn pass(&mut self) {
        let time = if self.flying.is_empty() {
            let next = self.ends.iter().filter_map(|e| e.transport.next_timeout()).map(|(at, _)| at).min();
            next.map_or(DELAY, |at| at.since(self.now.mono))
        } else {
            DELAY
        };
        self.now.mono += time;
        self.now.wall = now().wall + self.now.mono.since(now().mono);
        for mut run in std::mem::take(&mut self.flying) {
            let from = address(2 - run.to as u8);
            for datagram in run.bytes.chunks_mut(run.segment) {
                self.with(run.to, |t, cx| t.handle_datagram(from, datagram, cx));
            }
            self.spare.push(run.bytes);
        }
        for n in 0..2 {
            if self.ends[n].transport.next_timeout().is_some_and(|(at, _)| at <= self.now.mono) {
                self.with(n, Transport::handle_timeout);
            }
        }
    }

    /// Takes what there is to send as datagrams.
    fn datagrams(&mut self, from: usize) {
        loop {
            let mut bytes = self.spare.pop().unwrap_or_default();
            bytes.clear();
            let transmit = self.with(from, |t, cx| t.poll_datagrams(&mut bytes, SEGMENTS, cx));
            let Some(transmit) = transmit else {
                self.spare.push(bytes);
                return;
            };
            self.flying.push(Run { to: 1 - from, segment: transmit.segment, bytes });
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what else is told does not matter here")]
    fn output(&mut self, from: usize, output: Output) {
        match output {
            Output::Dial { conn, .. } => {
                let accepted = self.with(1, |t, cx| t.handle_accepted(address(1), cx));
                let Some(accepted) = accepted else { return };
                self.conns = Some([conn, accepted]);
                self.with(0, |t, cx| t.handle_connected(conn, cx));
            }
            Output::Transmit(conn) => {
                let Some(conns) = self.conns else { return };
                let to = 1 - from;
                let mut wire = std::mem::take(&mut self.wire);
                let mut more = true;
                while more {
                    wire.clear();
                    more = self.with(from, |t, cx| t.poll_transmit(conn, &mut wire, PULL, cx));
                    self.with(to, |t, cx| t.handle_bytes(conns[to], &mut wire, cx));
                }
                self.wire = wire;
            }
            Output::Datagrams => self.datagrams(from),
            Output::Messages { messages, .. } => self.arrived += messages.len(),
            _ => {}
        }
    }

    fn with<T>(&mut self, n: usize, f: impl FnOnce(&mut Transport, &mut Cx<'_>) -> T) -> T {
        let end = &mut self.ends[n];
        f(&mut end.transport, &mut Cx { now: self.now, rng: &mut end.rng })
    }
}

impl End {
    fn new(n: u8, over: Over, rng: &mut Rng) -> Self {
        let (static_key, iv) = (PrivateKey::generate(rng), rng.bytes());
        let (ssu2_key, intro_key) = (PrivateKey::generate(rng), IntroKey(rng.bytes()));
        let parts = Ssu2Parts {
            cost: 8,
            static_key: &ssu2_key.public(),
            intro_key: &intro_key.0,
            host: Some(address(n)),
            caps: "BC4",
            mtu: 1_500,
            introducers: &[],
        };
        let published_address = match over {
            Over::Ntcp2 => RouterAddress::ntcp2(10, &static_key.public(), Some((address(n), iv))),
            Over::Ssu2 => parts.address(),
        };
        let info = published(published_address.ok(), rng);
        let mut config = Config::new(static_key, iv);
        (config.net_id, config.private_network) = (99, true);
        if over == Over::Ssu2 {
            config.ssu2 =
                Some(Ssu2Keys { static_key: ssu2_key, signing: None, intro_key, mtu: 1_500, listens: true });
        }
        let mut transport = Transport::new(config, rng.fork());
        transport.set_local(Arc::clone(&info));
        Self { transport, info, rng: rng.fork() }
    }
}
