//! Local destinations: the client side of the router.
//!
//! Each session has a tunnel pool, a NetDB view and a destination of its own,
//! all of one number. A session is ready when tunnels stand both ways and its
//! LeaseSet is confirmed by a floodfill, or has had time to be.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aioli_core::crypto::x25519;
use aioli_core::{Duration, Instant, Now};
use aioli_destination::local::{
    Config as LocalConfig, EndReason, LocalDestination, Output as Local, StreamEvent, Target as LocalTarget,
};
use aioli_destination::streaming;
use aioli_netdb::{LookupId, Published, View};
use aioli_tunnel::{Delivery, PoolConfig, PoolId, PoolKind};
use aioli_wire::client_payload::Ports;
use aioli_wire::{DestinationHash, DestinationKeys, LeaseSet, Message, Verified};

use crate::client::{
    ClientEvent, ClientLookup, SessionError, SessionId, SessionOptions, StreamEnd, StreamId, Target,
    TunnelOptions,
};
use crate::route::view_of;
use crate::router::{Output, Router, Timer, cx, order_key, side, transients_key};
use crate::view::DestinationView;

/// A session whose LeaseSet no floodfill has confirmed is ready all the same after this time.
const CONFIRM_WITHIN: Duration = Duration::from_secs(2);

/// How often an ended session looks whether its streams have delivered what was written.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// It waits for them no longer than this,
const LONGEST_FAREWELL: Duration = Duration::from_secs(600);
/// nor for so long without any acknowledgement of more.
const PATIENCE: Duration = Duration::from_secs(20);

/// A session whose client is gone, while its streams deliver what was written.
#[derive(Clone, Copy, Debug)]
struct Farewell {
    began: Instant,
    /// Bytes that peers had not acknowledged when last there were fewer than before.
    undelivered: usize,
    progress: Instant,
}

impl Farewell {
    /// Whether to wait longer for so many bytes.
    fn goes_on(&mut self, undelivered: usize, now: Instant) -> bool {
        if undelivered < self.undelivered {
            (self.undelivered, self.progress) = (undelivered, now);
        }
        undelivered > 0 && now.since(self.progress) < PATIENCE && now.since(self.began) < LONGEST_FAREWELL
    }
}

/// A local destination and what belongs to it.
#[derive(Debug)]
pub(crate) struct Session {
    pool: PoolId,
    keys: DestinationKeys,
    destination: LocalDestination,
    publish: bool,
    /// The client was told that it can begin.
    announced: bool,
    /// The client is gone; only closed streams are finished.
    farewell: Option<Farewell>,
    /// Lookups by clients, of destinations that are being looked up.
    lookups: BTreeMap<DestinationHash, Vec<ClientLookup>>,
}

/// Who waits for an answer of the NetDB.
#[derive(Clone, Copy, Debug)]
enum Asker {
    Session(SessionId, DestinationHash),
    Client(ClientLookup),
}

/// All local destinations.
#[derive(Debug)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    by_pool: BTreeMap<PoolId, SessionId>,
    askers: BTreeMap<LookupId, Asker>,
    /// Sessions that may have outputs.
    touched: BTreeSet<SessionId>,
    next_id: u32,
    next_lookup: u64,
    limit: usize,
    /// Messages to sessions that have ended which no key opened.
    undecryptable_before: u64,
}

impl Sessions {
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            by_id: BTreeMap::new(),
            by_pool: BTreeMap::new(),
            askers: BTreeMap::new(),
            touched: BTreeSet::new(),
            next_id: 1,
            next_lookup: 0,
            limit,
            undecryptable_before: 0,
        }
    }

    pub(crate) fn pools(&self) -> impl Iterator<Item = PoolId> {
        self.by_pool.keys().copied()
    }

    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.by_id.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn streams(&self) -> u64 {
        self.by_id.values().map(|s| s.destination.streams().len() as u64).sum()
    }

    /// Messages to destinations that no key opened.
    pub(crate) fn undecryptable(&self) -> u64 {
        self.by_id.values().map(|s| s.destination.stats().ratchet.not_opened).sum::<u64>()
            + self.undecryptable_before
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.by_id.values().filter_map(|s| s.destination.next_timeout()).map(|(at, _)| at).min()
    }

    pub(crate) fn handle_timeout(&mut self, cx: &mut aioli_core::Cx<'_>) {
        for (id, session) in &mut self.by_id {
            if session.destination.next_timeout().is_some_and(|(at, _)| at <= cx.now.mono) {
                session.destination.handle_timeout(cx);
                self.touched.insert(*id);
            }
        }
    }

    fn get(&mut self, id: SessionId) -> Option<&mut Session> {
        let session = self.by_id.get_mut(&id)?;
        self.touched.insert(id);
        Some(session)
    }

    fn of_pool(&mut self, pool: PoolId) -> Option<(SessionId, &mut Session)> {
        let id = *self.by_pool.get(&pool)?;
        self.get(id).map(|session| (id, session))
    }
}

impl Router {
    /// Makes a local destination; [`ClientEvent::SessionReady`] follows.
    pub fn create_session(&mut self, options: SessionOptions, now: Now) -> Result<SessionId, SessionError> {
        self.enter(now);
        let is_transient = options.keys.is_none();
        let keys = options.keys.unwrap_or_else(|| {
            let signing = aioli_core::crypto::ed25519::SigningKey::generate(&mut self.rng);
            DestinationKeys::create(&signing, &self.rng.bytes())
        });
        let key = keys.signing_key().ok_or(SessionError::Keys)?;
        if self.shutting_down {
            return Err(SessionError::ShuttingDown);
        }
        if self.sessions.by_id.len() >= self.sessions.limit {
            return Err(SessionError::Limit);
        }
        if [options.inbound, options.outbound].iter().any(|t| !in_range(t)) {
            return Err(SessionError::Options);
        }
        let hash = keys.destination.hash();
        if self.sessions.by_id.values().any(|s| s.farewell.is_none() && s.destination.hash() == hash) {
            return Err(SessionError::DuplicateDestination);
        }
        let id = SessionId(self.sessions.next_id);
        self.sessions.next_id += 1;
        let pool = PoolId(id.0);
        // Ever new destinations must not mean ever new guards.
        let order_key = if is_transient { transients_key(&self.identity.signing) } else { order_key(&key) };
        let mut stream_config =
            streaming::Config::new(streaming::Identity::new(keys.destination.clone(), key));
        stream_config.options = options.streaming;
        self.config.limits.streaming(&mut stream_config);
        let config = LocalConfig {
            streaming: stream_config,
            encryption: x25519::PrivateKey::generate(&mut self.rng),
            publish: options.publish,
            ratchet: self.config.limits.ratchet(),
            limits: self.config.limits.local(),
        };
        let destination = LocalDestination::new(config, &mut self.rng);
        let session = Session {
            pool,
            keys,
            destination,
            publish: options.publish,
            announced: false,
            farewell: None,
            lookups: BTreeMap::new(),
        };
        self.sessions.by_id.insert(id, session);
        self.sessions.by_pool.insert(pool, id);
        let pool_config = PoolConfig {
            kind: PoolKind::Client,
            inbound: side(options.inbound, false),
            outbound: side(options.outbound, false),
            order_key,
        };
        self.tunnels.create_pool(pool, pool_config, &mut cx!(self));
        self.expire();
        Ok(id)
    }

    /// Keeps so many tunnels each way for a local destination from now on, 1 to 16. Those that are too many are not
    /// replaced.
    pub fn set_session_quantities(&mut self, id: SessionId, inbound: u8, outbound: u8, now: Now) {
        self.enter(now);
        let Some(session) = self.sessions.get(id) else { return };
        let (pool, quantities) = (session.pool, 1..=16);
        if quantities.contains(&inbound) && quantities.contains(&outbound) {
            self.tunnels.set_quantities(pool, inbound, outbound, now.mono);
            self.expire();
        }
    }

    /// Ends a local destination. Streams that were closed deliver what was written first, as long as they get on.
    pub fn destroy_session(&mut self, id: SessionId, now: Now) {
        self.enter(now);
        let Some(session) = self.sessions.get(id) else { return };
        let pool = session.pool;
        let streams = session.destination.streams();
        if session.farewell.is_some() || streams.is_empty() || self.shutting_down {
            self.remove_session(pool);
        } else {
            let undelivered = streams.undelivered();
            session.farewell = Some(Farewell { began: now.mono, undelivered, progress: now.mono });
            session.destination.listen(false);
            self.timers.set(Timer::SessionEnds(pool), now.mono + LAST_WORDS);
        }
    }

    /// Ends an ended session for good, unless its streams still deliver.
    pub(crate) fn end_farewell(&mut self, pool: PoolId) {
        let now = self.now.mono;
        let session = self.sessions.by_pool.get(&pool).and_then(|id| self.sessions.by_id.get_mut(id));
        let goes_on = session.is_some_and(|session| {
            let undelivered = session.destination.streams().undelivered();
            session.farewell.as_mut().is_some_and(|farewell| farewell.goes_on(undelivered, now))
        });
        if goes_on && !self.shutting_down {
            self.timers.set(Timer::SessionEnds(pool), now + LAST_WORDS);
        } else {
            self.remove_session(pool);
        }
    }

    pub(crate) fn remove_session(&mut self, pool: PoolId) {
        let Some(id) = self.sessions.by_pool.remove(&pool) else { return };
        if let Some(session) = self.sessions.by_id.remove(&id) {
            self.sessions.undecryptable_before += session.destination.stats().ratchet.not_opened;
        }
        self.sessions.touched.remove(&id);
        self.sessions.askers.retain(|_, asker| !matches!(asker, Asker::Session(s, _) if *s == id));
        self.timers.stop(&Timer::SessionReady(pool));
        self.timers.stop(&Timer::SessionEnds(pool));
        self.tunnels.remove_pool(pool, &mut cx!(self));
        self.netdb.remove_view(view_of(pool));
    }

    /// Local destinations, without their keys.
    pub(crate) fn destination_views(&self, most: usize) -> Vec<DestinationView> {
        let view = |(id, session): (&SessionId, &Session)| {
            let lease_set = session.destination.lease_set();
            DestinationView {
                id: *id,
                pool: session.pool,
                hash: session.destination.hash(),
                published: session.publish,
                ready: session.announced,
                ending: session.farewell.is_some(),
                leases: lease_set.map_or(0, |set| set.leases().len()),
                lease_set_ends: lease_set.map(|set| set.expires().since(self.now.wall)),
                streams: session.destination.streams().len(),
            }
        };
        self.sessions.by_id.iter().take(most).map(view).collect()
    }

    /// The keys of a local destination, with those that were made for it.
    pub fn session_keys(&self, id: SessionId) -> Option<&DestinationKeys> {
        self.sessions.by_id.get(&id).map(|s| &s.keys)
    }

    /// Opens a stream; [`ClientEvent::StreamConnected`] or `StreamClosed` follows.
    pub fn connect(
        &mut self,
        id: SessionId,
        to: Target,
        from_port: u16,
        to_port: u16,
        now: Now,
    ) -> Result<StreamId, StreamEnd> {
        self.enter(now);
        let session = self.sessions.get(id).ok_or(StreamEnd::SessionClosed)?;
        let target = match to {
            Target::Destination(destination) => LocalTarget::Destination(destination),
            Target::Hash(hash) => LocalTarget::Hash(hash),
        };
        let ports = Ports { source: from_port, destination: to_port };
        session.destination.connect(target, ports, None, &mut cx!(self)).ok_or(StreamEnd::Limit)
    }

    /// Whether peers may open streams to a session.
    pub fn set_listening(&mut self, id: SessionId, on: bool, now: Now) {
        self.enter(now);
        if let Some(session) = self.sessions.get(id) {
            session.destination.listen(on);
        }
    }

    /// Queues bytes of a stream; returns how many were taken.
    pub fn stream_send(&mut self, id: SessionId, stream: StreamId, bytes: &[u8], now: Now) -> usize {
        self.enter(now);
        let Some(session) = self.sessions.get(id) else { return 0 };
        session.destination.send(stream, bytes, &mut cx!(self))
    }

    /// How many bytes `stream_send` would take.
    pub fn stream_room(&self, id: SessionId, stream: StreamId) -> usize {
        self.sessions.by_id.get(&id).map_or(0, |s| s.destination.streams().writable(stream))
    }

    /// Appends up to about `max` received bytes to `out`; returns how many.
    pub fn stream_recv(
        &mut self,
        id: SessionId,
        stream: StreamId,
        out: &mut Vec<u8>,
        max: usize,
        now: Now,
    ) -> usize {
        self.enter(now);
        let before = out.len();
        let Some(session) = self.sessions.get(id) else { return 0 };
        while out.len() - before < max {
            match session.destination.recv_chunk(stream, &mut cx!(self)) {
                Some(chunk) if out.is_empty() => *out = chunk,
                Some(chunk) => out.extend_from_slice(&chunk),
                None => break,
            }
        }
        out.len() - before
    }

    /// Whether the peer has finished and everything was read.
    pub fn stream_at_end(&self, id: SessionId, stream: StreamId) -> bool {
        self.sessions.by_id.get(&id).is_none_or(|s| s.destination.at_end(stream))
    }

    /// Whether the stream is still there: it was neither closed to the end nor reset.
    pub fn stream_exists(&self, id: SessionId, stream: StreamId) -> bool {
        self.sessions.by_id.get(&id).is_some_and(|s| s.destination.streams().contains(stream))
    }

    /// Sends what is queued, then says that no more follows; reading goes on.
    pub fn stream_close_write(&mut self, id: SessionId, stream: StreamId, now: Now) {
        self.enter(now);
        if let Some(session) = self.sessions.get(id) {
            session.destination.close_write(stream, &mut cx!(self));
        }
    }

    /// Sends what is queued, then closes; what arrives is dropped.
    pub fn stream_close(&mut self, id: SessionId, stream: StreamId, now: Now) {
        self.enter(now);
        if let Some(session) = self.sessions.get(id) {
            session.destination.close(stream, &mut cx!(self));
        }
    }

    /// Ends a stream at once.
    pub fn stream_reset(&mut self, id: SessionId, stream: StreamId, now: Now) {
        self.enter(now);
        if let Some(session) = self.sessions.get(id) {
            session.destination.reset(stream, &mut cx!(self));
        }
    }

    /// Looks a destination up, as the session sees the network or as the router does.
    pub fn lookup(&mut self, id: Option<SessionId>, hash: DestinationHash, now: Now) -> ClientLookup {
        self.enter(now);
        let lookup = ClientLookup(self.sessions.next_lookup);
        self.sessions.next_lookup += 1;
        if let Some(session) = id.and_then(|id| self.sessions.get(id)) {
            session.lookups.entry(hash).or_default().push(lookup);
            session.destination.lookup(hash, &mut cx!(self));
        } else {
            let asked = self.netdb.find_lease_set(View::Router, hash, &mut cx!(self));
            self.sessions.askers.insert(asked, Asker::Client(lookup));
        }
        lookup
    }

    /// The inbound tunnels of a pool have changed.
    pub(crate) fn on_leases(&mut self, pool: PoolId, leases: Vec<aioli_wire::Lease>) {
        if let Some((_, session)) = self.sessions.of_pool(pool) {
            session.destination.set_leases(leases, &mut cx!(self));
        }
    }

    /// The number of a session's tunnels has changed.
    pub(crate) fn on_session_pool(&mut self, pool: PoolId, inbound: usize, outbound: usize) {
        let Some((_, session)) = self.sessions.of_pool(pool) else { return };
        if inbound == 0 || outbound == 0 || session.announced {
            return;
        }
        if session.publish {
            self.timers.set_earlier(Timer::SessionReady(pool), self.now.mono + CONFIRM_WITHIN);
        } else {
            self.announce_session(pool);
        }
    }

    /// A floodfill has confirmed something of ours.
    pub(crate) fn on_published(&mut self, what: &Published) {
        if let Published::LeaseSet { view: View::Client(pool), .. } = what {
            self.announce_session(PoolId(*pool));
        }
    }

    /// Tells the client that its session can be used.
    pub(crate) fn announce_session(&mut self, pool: PoolId) {
        self.timers.stop(&Timer::SessionReady(pool));
        let Some((id, session)) = self.sessions.of_pool(pool) else { return };
        if !std::mem::replace(&mut session.announced, true) {
            self.outputs.push_back(Output::Client(ClientEvent::SessionReady(id)));
        }
    }

    /// Garlic came out of a session's tunnel.
    pub(crate) fn on_destination_message(&mut self, pool: PoolId, message: Message) {
        tracing::trace!(?pool, bytes = message.body.len(), "received");
        if let Some((_, session)) = self.sessions.of_pool(pool) {
            session.destination.handle_message(message, &mut cx!(self));
        }
    }

    /// The NetDB answered.
    pub(crate) fn on_lease_set(&mut self, id: LookupId, _view: View, found: Option<Arc<Verified<LeaseSet>>>) {
        match self.sessions.askers.remove(&id) {
            Some(Asker::Session(session, hash)) => {
                tracing::debug!(?session, found = found.is_some(), "lookup of {hash:?}");
                let Some(session) = self.sessions.get(session) else { return };
                match found {
                    Some(set) => session.destination.handle_lease_set(set, &mut cx!(self)),
                    None => session.destination.lookup_failed(&hash, &mut cx!(self)),
                }
            }
            Some(Asker::Client(lookup)) => {
                let destination = found.and_then(|set| set.destination().cloned()).map(Arc::new);
                self.outputs.push_back(Output::Client(ClientEvent::LookupDone { lookup, destination }));
            }
            None => {}
        }
    }

    /// Does what local destinations ask.
    pub(crate) fn drain_sessions(&mut self) -> bool {
        let mut moved = false;
        while let Some(id) = self.sessions.touched.pop_first() {
            while let Some(output) =
                self.sessions.by_id.get_mut(&id).and_then(|s| s.destination.poll_output())
            {
                moved = true;
                self.on_local(id, output);
            }
        }
        moved
    }

    fn on_local(&mut self, id: SessionId, output: Local) {
        let Some(pool) = self.sessions.by_id.get(&id).map(|s| s.pool) else { return };
        match output {
            Local::Send { to, lease, via, avoid, message } => {
                let via = via.or_else(|| self.other_outbound(pool, avoid));
                let deliveries = vec![(Delivery::Tunnel(lease.gateway, lease.tunnel), message)];
                match self.tunnels.send(pool, via, deliveries, &mut cx!(self)) {
                    Ok(used) => {
                        tracing::trace!(tunnel = ?lease.tunnel, ?used, "sent");
                        if let Some(session) = self.sessions.by_id.get_mut(&id) {
                            session.destination.sent_via(&to, used);
                        }
                    }
                    Err(_) => self.dropped += 1,
                }
            }
            Local::Lookup(hash) => {
                // A destination asks when it has no LeaseSet or its leases have failed: a copy at hand is of no use.
                let asked = self.netdb.refresh_lease_set(view_of(pool), hash, &mut cx!(self));
                self.sessions.askers.insert(asked, Asker::Session(id, hash));
            }
            Local::Suspect => self.tunnels.suspect(pool, &cx!(self)),
            Local::Publish(set) => self.netdb.publish_lease_set(view_of(pool), set, &mut cx!(self)),
            Local::ForRouter(message) => self.on_clear(view_of(pool), message),
            // No client takes datagrams yet.
            Local::Datagram { .. } => self.dropped += 1,
            Local::Stream(event) => self.on_stream(id, event),
            Local::LookupDone { hash, destination } => {
                let waiting = self.sessions.by_id.get_mut(&id).and_then(|s| s.lookups.remove(&hash));
                for lookup in waiting.unwrap_or_default() {
                    let event = ClientEvent::LookupDone { lookup, destination: destination.clone() };
                    self.outputs.push_back(Output::Client(event));
                }
            }
        }
    }

    /// Another outbound tunnel than the one that seems broken, if there is one.
    fn other_outbound(
        &mut self,
        pool: PoolId,
        avoid: Option<aioli_wire::TunnelId>,
    ) -> Option<aioli_wire::TunnelId> {
        let avoid = avoid?;
        (0..8).filter_map(|_| self.tunnels.pick_outbound(pool, &mut self.rng)).find(|id| *id != avoid)
    }

    fn on_stream(&mut self, session: SessionId, event: StreamEvent) {
        let event = match event {
            StreamEvent::Connected(stream) => ClientEvent::StreamConnected { session, stream },
            StreamEvent::Incoming { id, from, ports } => {
                if let Some(s) = self.sessions.get(session) {
                    s.destination.accept(id);
                }
                ClientEvent::StreamIncoming {
                    session,
                    stream: id,
                    from: Arc::new(from),
                    from_port: ports.destination,
                    to_port: ports.source,
                }
            }
            // The end of what can be read is something to read.
            StreamEvent::Readable(stream) | StreamEvent::PeerClosed(stream) => {
                ClientEvent::StreamReadable { session, stream }
            }
            StreamEvent::Writable(stream) => ClientEvent::StreamWritable { session, stream },
            StreamEvent::Closed { id, reason } => {
                ClientEvent::StreamClosed { session, stream: id, reason: end(reason) }
            }
            StreamEvent::Pong { .. } => return,
        };
        self.outputs.push_back(Output::Client(event));
    }
}

const fn end(reason: EndReason) -> StreamEnd {
    match reason {
        EndReason::Finished => StreamEnd::Closed,
        EndReason::Reset => StreamEnd::Reset,
        EndReason::TimedOut => StreamEnd::Timeout,
        EndReason::NotFound => StreamEnd::NotFound,
        EndReason::Encryption => StreamEnd::Encryption,
        EndReason::Limit => StreamEnd::Limit,
    }
}

const fn in_range(tunnels: &TunnelOptions) -> bool {
    tunnels.length <= 8 && tunnels.quantity >= 1 && tunnels.quantity <= 16 && tunnels.backup <= 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_farewell_lasts_as_long_as_something_is_delivered() {
        let at = |secs| Instant::ZERO + Duration::from_secs(secs);
        let new = || Farewell { began: at(0), undelivered: 1_000, progress: at(0) };
        assert!(!new().goes_on(0, at(5)), "all is delivered");
        let mut farewell = new();
        assert!(farewell.goes_on(1_000, at(19)) && !farewell.goes_on(1_000, at(20)), "it does not get on");
        let mut farewell = new();
        let ended = (1..).find(|n| !farewell.goes_on(1_000 - n, at(*n as u64 * 5)));
        assert_eq!(ended, Some(120), "slow, but not for ever");
    }
}
