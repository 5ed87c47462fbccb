//! Peers with other receivers: how i2pd and Java treat what we send.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use aioli_core::{Cx, Date, Duration, Instant, Now, Rng};
use aioli_wire::client_payload::Ports;
use aioli_wire::streaming::{Header, Packet, flags};
use aioli_wire::{Wire, Writer};

use super::super::auth::signed;
use super::super::*;
use super::link::{identity, pattern};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Router {
    I2pd,
    Java,
}

/// A receiver with the limits and the acknowledgement timing of another router.
struct Foreign {
    router: Router,
    next: u32,
    saved: BTreeSet<u32>,
    remote_id: u32,
    choking: bool,
    ack_at: Option<Instant>,
    overruns: u32,
    bytes: u64,
    highest_span: u32,
}

impl Foreign {
    fn on_packet(&mut self, p: &Packet<'_>, now: Instant) -> Option<Vec<u8>> {
        if p.has(flags::SYNCHRONIZE) {
            let first = self.next == 0;
            self.next = 1;
            self.remote_id = p.receive_id;
            return first.then(|| self.syn_reply());
        }
        let asked = p.delay == Some(0);
        self.highest_span = self.highest_span.max(p.sequence.saturating_sub(self.next));
        let fresh = p.sequence >= self.next && !self.saved.contains(&p.sequence);
        let again = !fresh;
        if fresh && !self.takes(p.sequence) {
            self.overruns += 1;
            self.choking = true;
        } else if fresh {
            self.choking = false;
            self.saved.insert(p.sequence);
            self.bytes += p.payload.len() as u64;
            while self.saved.remove(&self.next) {
                self.next += 1;
            }
        }
        let ms = |n| now + Duration::from_millis(n);
        let at = match self.router {
            Router::I2pd if asked => now,
            Router::I2pd => ms(20),
            Router::Java if self.choking => now,
            Router::Java if asked || again => ms(25),
            Router::Java => ms(500),
        };
        self.ack_at = Some(self.ack_at.map_or(at, |a| a.min(at)));
        None
    }

    fn takes(&self, sequence: u32) -> bool {
        match self.router {
            Router::Java => self.saved.len() < 130 || sequence <= self.next + 130,
            Router::I2pd => {
                let ahead = sequence - self.next;
                let highest = self.saved.last().copied().unwrap_or(self.next);
                let gaps = highest - self.next + 1 - self.saved.len().min(highest as usize) as u32;
                ahead < 1536 && gaps + sequence.saturating_sub(highest) < 256
            }
        }
    }

    fn syn_reply(&self) -> Vec<u8> {
        let us = identity(2);
        let header = Header {
            send_id: self.remote_id,
            receive_id: 5,
            resend_delay: if self.router == Router::I2pd { 9 } else { 1 },
            flags: flags::SYNCHRONIZE,
            from: Some(us.destination.bytes()),
            max_size: Some(if self.router == Router::I2pd { 1812 } else { 1730 }),
            ..Header::default()
        };
        signed(&us, &header, None, &[])
    }

    fn ack(&mut self) -> Vec<u8> {
        self.ack_at = None;
        let highest = self.saved.last().copied().unwrap_or(self.next - 1);
        let nacks: Vec<u32> = (self.next..highest).filter(|n| !self.saved.contains(n)).collect();
        assert!(nacks.len() < 256);
        let delay = match self.router {
            Router::I2pd => std::mem::take(&mut self.choking).then_some(65_535),
            Router::Java => self.choking.then_some(61_000),
        };
        let header = Header {
            send_id: self.remote_id,
            receive_id: 5,
            ack_through: highest,
            delay,
            ..Header::default()
        };
        let mut w = Writer::new();
        header.write(&mut w, &nacks);
        w.into_vec()
    }
}

/// When, number, whether to the peer, bytes.
type Flight = (Instant, u64, bool, Vec<u8>);

struct Run {
    peer: Foreign,
    stats: Stats,
    goodput: f64,
}

/// Uploads for 40 seconds over 100 ms each way and 10 Mbit/s.
fn upload(router: Router, loss: u64) -> Run {
    let mut rng = Rng::from_seed([3; 32]);
    let mut streams = Streams::new(Config::new(identity(1)), rng.fork());
    let mut peer = Foreign {
        router,
        next: 0,
        saved: BTreeSet::new(),
        remote_id: 0,
        choking: false,
        ack_at: None,
        overruns: 0,
        bytes: 0,
        highest_span: 0,
    };
    let (mut now, end) = (Instant::from_micros(1), Instant::from_micros(40_000_000));
    let (mut n, mut busy, mut written) = (0u64, now, 0u64);
    let mut flights: BinaryHeap<Reverse<Flight>> = BinaryHeap::new();
    let hash = identity(2).destination.hash();
    let mut id = None;
    while now < end {
        let mut seeds = rng.fork();
        let mut cx = Cx { now: Now { mono: now, wall: Date::from_millis(1) }, rng: &mut seeds };
        let id = *id.get_or_insert_with(|| {
            streams.connect(identity(2).destination, Ports::default(), None, &mut cx).unwrap()
        });
        while flights.peek().is_some_and(|Reverse(f)| f.0 <= now) {
            let Reverse((_, _, to_peer, bytes)) = flights.pop().unwrap();
            if !to_peer {
                streams.handle_packet(Some(hash), Ports::default(), &bytes, &mut cx);
            } else if let Some(reply) = peer.on_packet(&Packet::from_bytes(&bytes).unwrap(), now) {
                n += 1;
                flights.push(Reverse((now + Duration::from_millis(100), n, false, reply)));
            }
        }
        if peer.ack_at.is_some_and(|at| at <= now) {
            n += 1;
            flights.push(Reverse((now + Duration::from_millis(100), n, false, peer.ack())));
        }
        streams.handle_timeout(&mut cx);
        let chunk: Vec<u8> = (written..written + 8192).map(pattern).collect();
        loop {
            let took = streams.send(id, &chunk, &mut cx);
            written += took as u64;
            if took < chunk.len() {
                break;
            }
        }
        while let Some(out) = streams.poll_output() {
            let Output::Packet { bytes, .. } = out else { continue };
            let start = busy.max(now);
            if rng.chance(loss, 1_000_000) || start.since(now) > Duration::from_millis(150) {
                continue;
            }
            busy = start + Duration::from_micros((bytes.len() as u64 + 40) * 1_000_000 / 1_250_000);
            n += 1;
            flights.push(Reverse((busy + Duration::from_millis(100), n, true, bytes)));
        }
        let next = streams.next_timeout().map(|t| t.0).into_iter().chain(peer.ack_at);
        let next = next.chain(flights.peek().map(|Reverse(f)| f.0)).min().unwrap_or(end);
        now = next.max(now + Duration::from_micros(1));
    }
    let goodput = peer.bytes as f64 / (39.0 * 1_250_000.0);
    Run { peer, stats: streams.stats(), goodput }
}

#[test]
fn i2pd_is_filled_and_not_overrun() {
    for loss in [0, 10_000] {
        let run = upload(Router::I2pd, loss);
        assert!(run.goodput > 0.75, "{}", run.goodput);
        assert!(run.peer.overruns < 20 && run.peer.highest_span < 1536);
    }
}

#[test]
fn java_is_not_overrun() {
    // 128 packets of 1730 bytes per round trip are 0.77 of the bottleneck.
    for (loss, least) in [(0, 0.7), (10_000, 0.45)] {
        let run = upload(Router::Java, loss);
        assert!(run.goodput > least, "{}", run.goodput);
        assert_eq!((run.peer.overruns, run.stats.chokes_received), (0, 0));
        assert!(run.peer.highest_span <= 130);
    }
}
