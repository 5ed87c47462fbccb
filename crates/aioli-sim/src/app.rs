//! What runs above each simulated router: a session that listens, and
//! transfers to others whose every byte is checked.
//!
//! A transfer is `id (8) | length (8) | bytes`, the bytes drawn from the id;
//! the receiver answers with the 8 bytes of the id when all came.

use std::collections::BTreeMap;

use aioli_core::{Now, Rng};
use aioli_router::client::{ClientEvent, SessionId, SessionOptions, StreamId, Target, TunnelOptions};
use aioli_router::{Router, client};
use aioli_wire::DestinationHash;

/// What happened to transfers, for the oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The session of this host can be reached.
    Published(DestinationHash),
    /// All bytes arrived and were answered.
    Completed { id: u64 },
    /// The stream ended before.
    Failed { id: u64, why: client::StreamEnd },
    /// Bytes arrived that were not sent, or in the wrong order.
    Corrupt { id: u64 },
}

/// The bytes of a transfer, as a generator.
#[derive(Clone, Debug)]
struct Pattern(Rng);

impl Pattern {
    fn new(id: u64) -> Self {
        let mut seed = [0x5a; 32];
        seed[..8].copy_from_slice(&id.to_be_bytes());
        Self(Rng::from_seed(seed))
    }

    fn bytes(&mut self, n: usize) -> Vec<u8> {
        // Byte by byte, so that the cuts of both sides need not agree.
        (0..n).map(|_| self.0.bytes::<1>()[0]).collect()
    }
}

#[derive(Debug)]
struct Sending {
    id: u64,
    queue: Vec<u8>,
    left: u64,
    pattern: Pattern,
    answer: Vec<u8>,
    open: bool,
}

#[derive(Debug, Default)]
struct Receiving {
    header: Vec<u8>,
    body: Option<(u64, u64, Pattern)>,
    answer: Vec<u8>,
}

/// The application of one host.
#[derive(Debug, Default)]
pub(crate) struct App {
    session: Option<SessionId>,
    ready: bool,
    sending: BTreeMap<StreamId, Sending>,
    receiving: BTreeMap<StreamId, Receiving>,
    outcomes: Vec<Outcome>,
    received: u64,
}

impl App {
    /// Asks for a session.
    pub(crate) fn start(&mut self, router: &mut Router, length: u8, now: Now) {
        let tunnels = TunnelOptions { length, variance: 0, quantity: 2, backup: 0, kbps: 0 };
        let options = SessionOptions {
            keys: None,
            inbound: tunnels,
            outbound: tunnels,
            publish: true,
            streaming: client::StreamConfig::default(),
        };
        if let Ok(session) = router.create_session(options, now) {
            router.set_listening(session, true, now);
            self.session = Some(session);
        }
    }

    /// Whether transfers can start here.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready
    }

    /// Bytes that came in all, of streams from others.
    pub(crate) const fn received(&self) -> u64 {
        self.received
    }

    /// Starts a transfer.
    pub(crate) fn send(&mut self, router: &mut Router, id: u64, length: u64, to: DestinationHash, now: Now) {
        let Some(session) = self.session else { return };
        match router.connect(session, Target::Hash(to), 0, 0, now) {
            Ok(stream) => {
                let queue = [id.to_be_bytes(), length.to_be_bytes()].concat();
                let pattern = Pattern::new(id);
                self.sending.insert(
                    stream,
                    Sending { id, queue, left: length, pattern, answer: Vec::new(), open: false },
                );
            }
            Err(why) => self.outcomes.push(Outcome::Failed { id, why }),
        }
    }

    /// The router says.
    pub(crate) fn handle_event(&mut self, event: &ClientEvent, router: &mut Router, now: Now) {
        match event {
            ClientEvent::SessionReady(session) => {
                self.ready = true;
                if let Some(keys) = router.session_keys(*session) {
                    self.outcomes.push(Outcome::Published(keys.destination.hash()));
                }
            }
            ClientEvent::StreamConnected { stream, .. } => {
                if let Some(s) = self.sending.get_mut(stream) {
                    s.open = true;
                }
                self.pump(*stream, router, now);
            }
            ClientEvent::StreamIncoming { stream, .. } => {
                self.receiving.insert(*stream, Receiving::default());
                self.pump(*stream, router, now);
            }
            ClientEvent::StreamReadable { stream, .. } | ClientEvent::StreamWritable { stream, .. } => {
                self.pump(*stream, router, now);
            }
            ClientEvent::StreamClosed { stream, reason, .. } => {
                self.pump(*stream, router, now);
                self.receiving.remove(stream);
                if let Some(s) = self.sending.remove(stream) {
                    self.outcomes.push(Outcome::Failed { id: s.id, why: *reason });
                }
            }
            ClientEvent::LookupDone { .. } => {}
        }
    }

    /// What happened since the last call.
    pub(crate) fn take_outcomes(&mut self) -> Vec<Outcome> {
        std::mem::take(&mut self.outcomes)
    }

    fn pump(&mut self, stream: StreamId, router: &mut Router, now: Now) {
        let Some(session) = self.session else { return };
        if self.sending.contains_key(&stream) {
            self.pump_sending(session, stream, router, now);
        } else if self.receiving.contains_key(&stream) {
            self.pump_receiving(session, stream, router, now);
        }
    }

    fn pump_sending(&mut self, session: SessionId, stream: StreamId, router: &mut Router, now: Now) {
        let Some(s) = self.sending.get_mut(&stream) else { return };
        while s.open {
            if s.queue.is_empty() {
                let n = s.left.min(16 * 1024);
                s.queue = s.pattern.bytes(usize::try_from(n).unwrap_or(0));
                s.left -= n;
            }
            let taken = router.stream_send(session, stream, &s.queue, now);
            s.queue.drain(..taken);
            if taken == 0 || (s.left == 0 && s.queue.is_empty()) {
                break;
            }
        }
        router.stream_recv(session, stream, &mut s.answer, 64, now);
        if s.answer.len() >= 8 {
            let outcome = if s.answer == s.id.to_be_bytes() && s.left == 0 {
                Outcome::Completed { id: s.id }
            } else {
                Outcome::Corrupt { id: s.id }
            };
            self.outcomes.push(outcome);
            self.sending.remove(&stream);
            router.stream_close(session, stream, now);
        }
    }

    fn pump_receiving(&mut self, session: SessionId, stream: StreamId, router: &mut Router, now: Now) {
        let Some(r) = self.receiving.get_mut(&stream) else { return };
        loop {
            let mut got = Vec::new();
            if router.stream_recv(session, stream, &mut got, 64 * 1024, now) == 0 {
                break;
            }
            self.received += got.len() as u64;
            if let Some(id) = r.take(&got) {
                self.outcomes.push(Outcome::Corrupt { id });
                router.stream_reset(session, stream, now);
                return;
            }
        }
        if let Some((id, 0, _)) = &r.body
            && r.answer.is_empty()
        {
            r.answer = id.to_be_bytes().to_vec();
            router.stream_send(session, stream, &r.answer, now);
            router.stream_close(session, stream, now);
        }
    }
}

impl Receiving {
    /// Checks received bytes. The id of the transfer if they are not what was sent.
    fn take(&mut self, mut got: &[u8]) -> Option<u64> {
        if self.body.is_none() {
            let need = 16 - self.header.len();
            let (head, rest) = got.split_at(need.min(got.len()));
            self.header.extend_from_slice(head);
            got = rest;
            let (id, length) = self.header.split_first_chunk::<8>()?;
            let length = length.first_chunk::<8>()?;
            let id = u64::from_be_bytes(*id);
            self.body = Some((id, u64::from_be_bytes(*length), Pattern::new(id)));
        }
        let (id, left, pattern) = self.body.as_mut()?;
        let fits = got.len() as u64 <= *left;
        *left = left.saturating_sub(got.len() as u64);
        (!fits || pattern.bytes(got.len()) != got).then_some(*id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(id: u64, len: usize) -> Vec<u8> {
        let mut all = [id.to_be_bytes(), (len as u64).to_be_bytes()].concat();
        all.extend(Pattern::new(id).bytes(len));
        all
    }

    #[test]
    fn the_oracle_takes_what_was_sent_and_nothing_else() {
        let good = sent(7, 300);
        for cut in [1, 15, 16, 17, 100] {
            let mut receiving = Receiving::default();
            assert!(good.chunks(cut).all(|part| receiving.take(part).is_none()));
            assert!(matches!(receiving.body, Some((7, 0, _))));
            assert_eq!(receiving.take(&[0]), Some(7), "more than was sent");
        }
        let mut flipped = good.clone();
        flipped[200] ^= 1;
        assert_eq!(Receiving::default().take(&flipped), Some(7));
        let mut swapped = good;
        swapped.swap(100, 101);
        assert_eq!(Receiving::default().take(&swapped), Some(7));
    }
}
