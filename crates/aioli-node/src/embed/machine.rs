//! The router's end of the embedding API.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use aioli_core::Now;
use aioli_router::Router;
use aioli_router::client::{
    ClientEvent, ClientLookup, SessionError, SessionId, SessionOptions, StreamEnd, Target,
};
use aioli_wire::{Destination, DestinationHash};
use tokio::sync::{mpsc, watch};

use super::pipe::{Peer, Pipe, Stream};
use super::{ClientError, Command, Commands, Hub, Incoming, Key, Reply, Session, SessionInner, View};
use crate::driver::Shared;

/// Lookups under way at most.
const MAX_LOOKUPS: usize = 1_024;

/// What programs in the same process have open, and what they were refused since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EmbedStats {
    /// Sessions now.
    pub sessions: u64,
    /// Streams now.
    pub streams: u64,
    /// Streams of peers that nobody took in time: [`super::MAX_BACKLOG`].
    pub refused_streams: u64,
    /// Lookups beyond 1,024 at once.
    pub refused_lookups: u64,
}

struct Local {
    ready: watch::Sender<bool>,
    incoming: Option<mpsc::Sender<Incoming>>,
}

struct Connecting {
    session: Session,
    peer: Peer,
    reply: Reply<Stream>,
}

/// All sessions and streams of programs in the same process.
pub(crate) struct Embed {
    hub: Arc<Hub>,
    sessions: BTreeMap<SessionId, Local>,
    streams: BTreeMap<Key, Arc<Pipe>>,
    connecting: BTreeMap<Key, Connecting>,
    lookups: BTreeMap<ClientLookup, Reply<Arc<Destination>>>,
    stats: EmbedStats,
}

impl Embed {
    pub(crate) const fn new(hub: Arc<Hub>) -> Self {
        Self {
            hub,
            sessions: BTreeMap::new(),
            streams: BTreeMap::new(),
            connecting: BTreeMap::new(),
            lookups: BTreeMap::new(),
            stats: EmbedStats { sessions: 0, streams: 0, refused_streams: 0, refused_lookups: 0 },
        }
    }

    pub(crate) fn stats(&self) -> EmbedStats {
        EmbedStats { sessions: self.sessions.len() as u64, streams: self.streams.len() as u64, ..self.stats }
    }

    fn handle(&mut self, command: Command, router: &mut Router, now: Now) {
        match command {
            Command::Create { options, reply } => {
                let created = self.create(*options, router, now).map_err(ClientError::Session);
                // If whoever asked has gone, the session is dropped and marked so.
                let _ = reply.send(created);
            }
            Command::Connect { session, to, ports, reply } => {
                self.connect(session, to, ports, reply, router, now)
            }
            Command::Listen { session, incoming } => {
                if let Some(local) = self.sessions.get_mut(&session) {
                    local.incoming = Some(incoming);
                    router.set_listening(session, true, now);
                }
            }
            Command::SetQuantities { session, inbound, outbound } => {
                router.set_session_quantities(session, inbound, outbound, now);
            }
            Command::Lookup { session, hash, reply } => self.look_up(session, hash, reply, router, now),
            Command::Limit { inbound, outbound } => router.set_bandwidth(inbound, outbound, now),
            // Of more than the router: answered by `serve`.
            Command::Look { .. } => {}
        }
    }

    fn create(
        &mut self,
        options: SessionOptions,
        router: &mut Router,
        now: Now,
    ) -> Result<SessionInner, SessionError> {
        let id = router.create_session(options, now)?;
        // A session that was made has keys.
        let keys = router.session_keys(id).ok_or(SessionError::Keys)?;
        let destination = keys.destination.clone();
        let (sender, ready) = watch::channel(false);
        self.sessions.insert(id, Local { ready: sender, incoming: None });
        Ok(SessionInner { hub: Arc::clone(&self.hub), id, destination, ready })
    }

    fn connect(
        &mut self,
        session: Session,
        to: Target,
        ports: (u16, u16),
        reply: Reply<Stream>,
        router: &mut Router,
        now: Now,
    ) {
        let peer = Peer { hash: to.hash(), destination: None, ports };
        let stream = if self.sessions.contains_key(&session.inner.id) {
            router.connect(session.inner.id, to, ports.0, ports.1, now)
        } else {
            Err(StreamEnd::SessionClosed)
        };
        match stream {
            Ok(stream) => {
                self.connecting.insert((session.inner.id, stream), Connecting { session, peer, reply });
            }
            // An error means that whoever asked has gone.
            Err(end) => drop(reply.send(Err(end.into()))),
        }
    }

    fn look_up(
        &mut self,
        session: SessionId,
        hash: DestinationHash,
        reply: Reply<Arc<Destination>>,
        router: &mut Router,
        now: Now,
    ) {
        self.lookups.retain(|_, reply| !reply.is_closed());
        let refused = if !self.sessions.contains_key(&session) {
            ClientError::SessionClosed
        } else if self.lookups.len() >= MAX_LOOKUPS {
            self.stats.refused_lookups += 1;
            ClientError::Limit
        } else {
            self.lookups.insert(router.lookup(Some(session), hash, now), reply);
            return;
        };
        // An error means that whoever asked has gone.
        let _ = reply.send(Err(refused));
    }

    /// The router says. False: it is not about anything of ours.
    pub(crate) fn handle_event(&mut self, event: &ClientEvent, router: &mut Router, now: Now) -> bool {
        let key = match event {
            ClientEvent::SessionReady(session) => {
                let Some(local) = self.sessions.get(session) else { return false };
                local.ready.send_replace(true);
                return true;
            }
            ClientEvent::LookupDone { lookup, destination } => {
                let Some(reply) = self.lookups.remove(lookup) else { return false };
                // An error means that whoever asked has gone.
                let _ = reply.send(destination.clone().ok_or(ClientError::NotFound));
                return true;
            }
            ClientEvent::StreamConnected { session, stream }
            | ClientEvent::StreamIncoming { session, stream, .. }
            | ClientEvent::StreamReadable { session, stream }
            | ClientEvent::StreamWritable { session, stream }
            | ClientEvent::StreamClosed { session, stream, .. } => (*session, *stream),
        };
        if !self.sessions.contains_key(&key.0) {
            return false;
        }
        match event {
            ClientEvent::StreamConnected { .. } => self.on_connected(key, router, now),
            ClientEvent::StreamIncoming { from, from_port, to_port, .. } => {
                self.on_incoming(key, from, (*from_port, *to_port), router, now);
            }
            ClientEvent::StreamClosed { reason, .. } => self.on_closed(key, *reason),
            ClientEvent::SessionReady(_)
            | ClientEvent::LookupDone { .. }
            | ClientEvent::StreamReadable { .. }
            | ClientEvent::StreamWritable { .. } => self.progress_stream(key, router, now),
        }
        true
    }

    fn on_connected(&mut self, key: Key, router: &mut Router, now: Now) {
        let Some(Connecting { session, peer, reply }) = self.connecting.remove(&key) else { return };
        let pipe = Pipe::new();
        self.streams.insert(key, Arc::clone(&pipe));
        // If whoever asked has gone, the stream is dropped and marked so.
        let _ = reply.send(Ok(Stream::new(pipe, key.1, session, peer)));
        self.progress_stream(key, router, now);
    }

    fn on_incoming(
        &mut self,
        key: Key,
        from: &Arc<Destination>,
        ports: (u16, u16),
        router: &mut Router,
        now: Now,
    ) {
        let pipe = Pipe::new();
        let incoming = Incoming { id: key.1, pipe: Arc::clone(&pipe), from: Arc::clone(from), ports };
        let listener = self.sessions.get(&key.0).and_then(|local| local.incoming.as_ref());
        if listener.is_some_and(|listener| listener.try_send(incoming).is_ok()) {
            self.streams.insert(key, pipe);
            self.progress_stream(key, router, now);
        } else {
            self.stats.refused_streams += 1;
            router.stream_reset(key.0, key.1, now);
        }
    }

    fn on_closed(&mut self, key: Key, reason: StreamEnd) {
        if let Some(Connecting { reply, .. }) = self.connecting.remove(&key) {
            // An error means that whoever asked has gone.
            let _ = reply.send(Err(reason.into()));
        }
        if let Some(pipe) = self.streams.remove(&key) {
            pipe.end(reason);
        }
    }

    fn progress_stream(&mut self, key: Key, router: &mut Router, now: Now) {
        if let Some(pipe) = self.streams.get(&key)
            && !pipe.progress(key, router, now)
        {
            self.streams.remove(&key);
        }
    }

    /// Does what programs have left to be done.
    fn progress(&mut self, router: &mut Router, now: Now) {
        let marks = self.hub.take_marks();
        for key in marks.streams {
            self.progress_stream(key, router, now);
        }
        for session in marks.deaf {
            if let Some(local) = self.sessions.get_mut(&session)
                && local.incoming.as_ref().is_some_and(mpsc::Sender::is_closed)
            {
                local.incoming = None;
                router.set_listening(session, false, now);
            }
        }
        for session in marks.dropped {
            self.end_session(session, router, now);
        }
    }

    fn end_session(&mut self, session: SessionId, router: &mut Router, now: Now) {
        if self.sessions.remove(&session).is_none() {
            return;
        }
        for (_, Connecting { reply, .. }) in self.connecting.extract_if(.., |(id, _), _| *id == session) {
            // An error means that whoever asked has gone.
            let _ = reply.send(Err(ClientError::SessionClosed));
        }
        for ((_, stream), pipe) in self.streams.extract_if(.., |(id, _), _| *id == session) {
            router.stream_close(session, stream, now);
            pipe.end(StreamEnd::SessionClosed);
        }
        router.destroy_session(session, now);
    }

    /// Ends everything.
    pub(crate) fn shut_down(&mut self, router: &mut Router, now: Now) {
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.end_session(session, router, now);
        }
        self.lookups.clear();
    }
}

impl Drop for Embed {
    fn drop(&mut self) {
        self.streams.values().for_each(|pipe| pipe.end(StreamEnd::SessionClosed));
    }
}

/// Carries out what programs ask, until the driver ends.
pub(crate) async fn serve(shared: Rc<Shared>, hub: Arc<Hub>, Commands(mut commands): Commands) {
    loop {
        tokio::select! {
            command = commands.recv() => {
                let Some(command) = command else { return };
                if let Command::Look { entries, reply } = command {
                    // An error means that whoever asked has gone.
                    let _ = reply.send(View::of(&shared, entries));
                    continue;
                }
                shared.with_machines(|m, now| m.embed.handle(command, &mut m.router, now));
            }
            () = hub.wake.notified() => shared.with_machines(|m, now| m.embed.progress(&mut m.router, now)),
        }
    }
}
