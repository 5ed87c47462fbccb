//! Two transports and the bytes between them, without sockets.

use std::sync::Arc;

use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Rng};
use aioli_transport::{Config, ConnId, Lane, Output, Transport};
use aioli_wire::{Message, MessageId, MessageType, RouterAddress, RouterInfo, Verified};

use crate::{address, now, published};

/// As many bytes are pulled at a time as a driver pulls.
const PULL: usize = 64 * 1024;

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
}

impl Pair {
    /// Two routers that know each other, without a session.
    pub fn new(seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let ends = [End::new(1, &mut rng), End::new(2, &mut rng)];
        Self { ends, conns: None, arrived: 0, wire: Vec::with_capacity(2 * PULL) }
    }

    /// The same with a session.
    pub fn connected(seed: u8) -> Self {
        let mut pair = Self::new(seed);
        pair.handshake();
        pair
    }

    /// One handshake, both roles.
    pub fn handshake(&mut self) {
        let target = Arc::clone(&self.ends[1].info);
        self.ends[0].with(|t, cx| t.connect(&target, cx));
        self.run();
        assert!(self.ends.iter().all(|end| end.transport.peers().count() == 1), "a session stands");
    }

    /// Carries `count` tunnel messages from 0 to 1: sealed, opened, decoded.
    pub fn carry(&mut self, count: u32) {
        let target = self.ends[1].info.hash();
        let expires = now().wall + aioli_core::Duration::from_secs(30);
        for id in 0..count {
            let body = vec![id as u8; 1028];
            let message = Message { kind: MessageType::TunnelData, id: MessageId(id), expires, body };
            let refused = self.ends[0].with(|t, cx| t.send_to(&target, Lane::Own, message, cx));
            assert!(refused.is_ok(), "the queue has room");
        }
        self.arrived = 0;
        self.run();
        assert_eq!(self.arrived, count as usize, "all arrived");
    }

    /// Until nothing moves.
    fn run(&mut self) {
        loop {
            let mut moved = false;
            for from in 0..2 {
                while let Some(output) = self.ends[from].transport.poll_output() {
                    moved = true;
                    self.output(from, output);
                }
            }
            if !moved {
                return;
            }
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "what else is told does not matter here")]
    fn output(&mut self, from: usize, output: Output) {
        match output {
            Output::Dial { conn, .. } => {
                let accepted = self.ends[1].with(|t, cx| t.handle_accepted(address(1), cx));
                let Some(accepted) = accepted else { return };
                self.conns = Some([conn, accepted]);
                self.ends[0].with(|t, cx| t.handle_connected(conn, cx));
            }
            Output::Transmit(conn) => {
                let Some(conns) = self.conns else { return };
                let to = 1 - from;
                loop {
                    self.wire.clear();
                    let wire = &mut self.wire;
                    let more = self.ends[from].with(|t, cx| t.poll_transmit(conn, wire, PULL, cx));
                    let wire = &mut self.wire;
                    self.ends[to].with(|t, cx| t.handle_bytes(conns[to], wire, cx));
                    if !more {
                        return;
                    }
                }
            }
            Output::Messages { messages, .. } => self.arrived += messages.len(),
            _ => {}
        }
    }
}

impl End {
    fn new(n: u8, rng: &mut Rng) -> Self {
        let (static_key, iv) = (PrivateKey::generate(rng), rng.bytes());
        let info =
            published(RouterAddress::ntcp2(10, &static_key.public(), Some((address(n), iv))).ok(), rng);
        let mut config = Config::new(static_key, iv);
        (config.net_id, config.private_network) = (99, true);
        let mut transport = Transport::new(config, rng.fork());
        transport.set_local(Arc::clone(&info));
        Self { transport, info, rng: rng.fork() }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Transport, &mut Cx<'_>) -> T) -> T {
        f(&mut self.transport, &mut Cx { now: now(), rng: &mut self.rng })
    }
}
