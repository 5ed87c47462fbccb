//! Sending: payload, clove, garlic, path; and waiting for LeaseSets.

use std::sync::Arc;

use aioli_core::crypto::x25519::PublicKey;
use aioli_core::{Cx, Duration, Instant};
use aioli_wire::client_payload::{self, Ports, protocol};
use aioli_wire::garlic::{Clove, CloveDelivery};
use aioli_wire::i2np::{Message, MessageType};
use aioli_wire::lease_set::LeaseSet;
use aioli_wire::{DestinationHash, MessageId, Verified};

use super::remote::Remote;
use super::{EndReason, LocalDestination, Output, PendingConnect, StreamEvent};
use crate::streaming::StreamId;

/// How long our messages are valid.
const MESSAGE_LIFE: Duration = Duration::from_secs(60);

impl LocalDestination {
    /// A streaming packet; to ourselves it goes directly.
    pub(super) fn send_packet(&mut self, to: DestinationHash, ports: Ports, bytes: &[u8], cx: &mut Cx<'_>) {
        if to == self.hash {
            self.streams.handle_packet(Some(to), ports, bytes, cx);
        } else {
            self.send_payload(to, ports, protocol::STREAMING, bytes, cx);
        }
    }

    /// Sends a client payload, or keeps it until the destination is found.
    pub(super) fn send_payload(
        &mut self,
        to: DestinationHash,
        ports: Ports,
        protocol: u8,
        data: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let now = cx.now;
        let body = data_body(ports, protocol, data);
        let limit = self.limits.waiting_per_remote;
        let full = self.waiting >= self.limits.waiting;
        let remote = self.remote(to, now.mono);
        remote.used = now.mono;
        let ask = remote.should_ask(now.mono, now.wall);
        if remote.is_reachable(now.wall) {
            self.send_data(to, &body, cx);
        } else if remote.waiting.len() < limit && !full {
            remote.waiting.push_back((now.mono, body));
            self.waiting += 1;
        } else {
            self.stats.waiting_dropped += 1;
        }
        if ask {
            self.ask(to);
        }
    }

    /// Looks up a destination, unless that is under way.
    pub(super) fn look_up(&mut self, hash: DestinationHash, cx: &Cx<'_>) {
        if self.remote(hash, cx.now.mono).must_ask(cx.now.mono) {
            self.ask(hash);
        }
    }

    /// Looks up again what was not found.
    pub(super) fn retry_lookups(&mut self, cx: &Cx<'_>) {
        let now = cx.now.mono;
        let due = |r: &Remote| r.retry_at().is_some_and(|at| at <= now);
        let due: Vec<_> = self.remotes.iter().filter(|(_, r)| due(r)).map(|(hash, _)| *hash).collect();
        for hash in due {
            self.look_up(hash, cx);
        }
        self.retry_at =
            self.remotes.values().filter_map(Remote::retry_at).min().unwrap_or(Instant::FAR_FUTURE);
    }

    fn ask(&mut self, hash: DestinationHash) {
        self.stats.lookups += 1;
        self.out.push_back(Output::Lookup(hash));
    }

    /// Seals the body of a Data message and sends it on the path.
    fn send_data(&mut self, to: DestinationHash, body: &[u8], cx: &mut Cx<'_>) {
        let Some(key) = self.remotes.get(&to).and_then(|r| r.key) else { return };
        let clove = Clove {
            delivery: CloveDelivery::Destination(to.to_bytes()),
            kind: MessageType::Data.code(),
            id: cx.rng.u32(),
            expires: cx.now.wall + MESSAGE_LIFE,
            body,
        };
        match self.sessions.seal(&key, &[clove], cx) {
            Ok(garlic) => self.send_garlic(to, garlic, cx),
            Err(error) => {
                tracing::debug!(%error, "message not sent");
                self.stats.not_sealed += 1;
            }
        }
    }

    fn send_garlic(&mut self, to: DestinationHash, body: Vec<u8>, cx: &mut Cx<'_>) {
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        let Some(path) = remote.path(cx.now.mono, cx.now.wall, cx.rng) else { return };
        let id = MessageId(cx.rng.u32());
        let message = Message { kind: MessageType::Garlic, id, expires: cx.now.wall + MESSAGE_LIFE, body };
        self.stats.sent += 1;
        self.out.push_back(Output::Send { to, lease: path.lease, via: path.via, avoid: path.avoid, message });
    }

    /// The session with this key owes a sign of life.
    pub(super) fn respond(&mut self, key: &PublicKey, cx: &mut Cx<'_>) {
        let Some(to) = self.owners.get(key).copied().flatten() else { return };
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        remote.used = cx.now.mono;
        if remote.path(cx.now.mono, cx.now.wall, cx.rng).is_some()
            && let Some(garlic) = self.sessions.seal_response(key, cx)
        {
            self.send_garlic(to, garlic, cx);
        }
    }

    /// Streams say that nothing comes back: another lease, another tunnel.
    pub(super) fn on_path_suspect(&mut self, id: StreamId, to: DestinationHash, cx: &Cx<'_>) {
        let now = cx.now;
        let Some(remote) = self.remotes.get_mut(&to) else { return };
        tracing::trace!(?id, "path suspect");
        self.out.push_back(Output::Suspect);
        if remote.on_path_failed(now.mono) {
            self.stats.paths_failed += 1;
            // The peer may have restarted: its LeaseSet would say so.
            if remote.should_ask_afresh(now.mono) {
                self.ask(to);
            }
            self.streams.handle_path_change(id);
        }
    }

    /// Takes a LeaseSet that is newer than what we have.
    pub(super) fn learn(&mut self, set: Arc<Verified<LeaseSet>>, cx: &mut Cx<'_>) {
        let hash = set.key();
        if hash == self.hash {
            return;
        }
        let limit = 2 * self.limits.remotes;
        let remote = self.remote(hash, cx.now.mono);
        if !remote.update(set) {
            return;
        }
        if let Some(key) = remote.key {
            if self.owners.len() >= limit {
                self.owners.clear(); // filled by keys of peers since forgotten
            }
            let owner = self.owners.entry(key).or_insert(Some(hash));
            if *owner != Some(hash) {
                *owner = None;
            }
        }
        self.flush(hash, cx);
    }

    /// Sends what waited for a destination that can be reached now.
    fn flush(&mut self, hash: DestinationHash, cx: &mut Cx<'_>) {
        let Some(remote) = self.remotes.get_mut(&hash) else { return };
        if remote.is_reachable(cx.now.wall) {
            let waiting = std::mem::take(&mut remote.waiting);
            self.waiting -= waiting.len();
            for (_, body) in waiting {
                self.send_data(hash, &body, cx);
            }
        }
        let set = self.remotes.get(&hash).and_then(|r| r.lease_set.as_ref());
        if let Some(destination) = set.and_then(|set| set.destination().cloned()) {
            for PendingConnect { id, ports, options } in self.take_connects(&hash) {
                if self.streams.connect_as(id, destination.clone(), ports, options, cx) {
                    self.out.push_back(Output::Stream(StreamEvent::Writable(id)));
                } else {
                    self.end(id, EndReason::Limit);
                }
            }
            if self.lookups.remove(&hash).is_some() {
                self.pending -= 1;
                self.out.push_back(Output::LookupDone { hash, destination: Some(Arc::new(destination)) });
            }
        }
    }

    /// A lookup is over: who waits for a destination that we still cannot
    /// reach is told.
    pub(super) fn on_lookup_over(&mut self, hash: DestinationHash, cx: &mut Cx<'_>) {
        let Some(remote) = self.remotes.get_mut(&hash) else { return };
        let found = remote.is_reachable(cx.now.wall);
        let useless = remote.lease_set.is_some() && remote.key.is_none();
        let again = remote.on_answer(found || useless, cx.now.mono);
        if found {
            return self.flush(hash, cx);
        }
        if let Some(at) = again {
            self.retry_at = self.retry_at.min(at);
            return;
        }
        let dropped = std::mem::take(&mut remote.waiting).len();
        self.waiting -= dropped;
        self.stats.waiting_dropped += dropped as u64;
        let reason = match (&remote.lease_set, remote.key) {
            (Some(_), None) => EndReason::Encryption,
            _ => EndReason::NotFound,
        };
        for PendingConnect { id, .. } in self.take_connects(&hash) {
            self.end(id, reason);
        }
        if self.lookups.remove(&hash).is_some() {
            self.pending -= 1;
            self.out.push_back(Output::LookupDone { hash, destination: None });
        }
        self.streams.handle_unreachable(&hash, cx);
        self.drain_ended(reason, cx);
    }

    /// As [`LocalDestination::drain`], with a better reason for streams that
    /// end because there is no way to their peer.
    fn drain_ended(&mut self, why: EndReason, cx: &mut Cx<'_>) {
        let before = self.out.len();
        self.drain(cx);
        for output in self.out.iter_mut().skip(before) {
            if let Output::Stream(StreamEvent::Closed { reason: reason @ EndReason::NotFound, .. }) = output {
                *reason = why;
            }
        }
    }

    fn take_connects(&mut self, hash: &DestinationHash) -> Vec<PendingConnect> {
        let connects = self.connects.remove(hash).unwrap_or_default();
        self.pending -= connects.len();
        connects
    }

    fn end(&mut self, id: StreamId, reason: EndReason) {
        self.out.push_back(Output::Stream(StreamEvent::Closed { id, reason }));
    }
}

/// The body of a Data message with a client payload.
fn data_body(ports: Ports, protocol: u8, data: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + data.len() + client_payload::OVERHEAD);
    body.resize(4, 0);
    client_payload::encode(ports, protocol, data, &mut body);
    let len = u32::try_from(body.len() - 4).unwrap_or(u32::MAX);
    if let Some(slot) = body.first_chunk_mut::<4>() {
        *slot = len.to_be_bytes();
    }
    body
}
