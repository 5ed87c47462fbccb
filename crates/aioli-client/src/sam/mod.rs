//! SAM v3.0 to 3.3 for streams (`api/samv3`).
//!
//! ```text
//!  Greeting ──HELLO──► Ready ──SESSION CREATE──► Creating ──tunnels──► Control
//!                        ├─STREAM CONNECT─► Connecting ──OK──► Stream
//!                        ├─STREAM ACCEPT──► Accepting ─peer──► Stream
//!                        └─STREAM FORWARD─► Forwarding      (each peer: Dialling ─► Stream)
//! ```
//!
//! A session lives as long as its control connection. A missing
//! `SIGNATURE_TYPE` means Ed25519.

#![expect(clippy::wildcard_enum_match_arm, reason = "a call leaves alone every state that it is not for")]

mod commands;
mod conn;
mod line;
mod options;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use aioli_core::{Duration, Instant, Now, Rng};
use aioli_router::client::{ClientEvent, SessionId, StreamEnd, StreamId, TunnelOptions};
use aioli_wire::Destination;

use crate::backend::Backend;
use conn::{Conn, MAX_EARLY, MAX_LINE, State};

/// A connection of a SAM client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SamConn(pub u64);

/// Tunnels of a session whose client names none.
#[derive(Clone, Copy, Debug)]
pub struct SessionDefaults {
    /// Towards us.
    pub inbound: TunnelOptions,
    /// Away from us.
    pub outbound: TunnelOptions,
}

/// How SAM behaves.
#[derive(Clone, Debug)]
pub struct SamConfig {
    /// Tunnels of a session whose client names none.
    pub defaults: SessionDefaults,
    /// Connections at most.
    pub max_connections: usize,
    /// Streams that wait for an `ACCEPT`, per session; more are reset.
    pub max_backlog: usize,
    /// Until a session's tunnels must stand.
    pub session_timeout: Duration,
    /// Until a client must have said `HELLO`.
    pub hello_timeout: Duration,
}

impl Default for SamConfig {
    fn default() -> Self {
        let tunnels = TunnelOptions { length: 3, variance: 0, quantity: 3, backup: 0, kbps: 0 };
        Self {
            defaults: SessionDefaults { inbound: tunnels, outbound: tunnels },
            max_connections: 4_096,
            max_backlog: 64,
            session_timeout: Duration::from_secs(120),
            hello_timeout: Duration::from_secs(60),
        }
    }
}

/// What the driver is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SamOutput {
    /// `poll_transmit` has bytes.
    Transmit(SamConn),
    /// `read_room` is no longer zero.
    ReadMore(SamConn),
    /// Say that no more follows, once all is written; reading goes on.
    Finish(SamConn),
    /// Close once all is written.
    Close(SamConn),
    /// Connect, for `STREAM FORWARD`.
    Dial {
        /// The connection to be.
        conn: SamConn,
        /// Where.
        to: SocketAddr,
    },
}

/// What SAM has seen, since the start where the text does not say "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamStats {
    /// Connections now.
    pub connections: u64,
    /// Sessions now.
    pub sessions: u64,
    /// Streams now.
    pub streams: u64,
    /// Connections not accepted: `max_connections`, or the router stops.
    pub refused_connections: u64,
    /// Lines that are no command.
    pub bad_lines: u64,
    /// Connections without a `HELLO` in time.
    pub silent_connections: u64,
    /// Incoming streams that nobody took: `max_backlog` or `max_connections`.
    pub refused_streams: u64,
}

/// The port that a session's streams are forwarded to.
#[derive(Clone, Debug)]
struct Forward {
    control: SamConn,
    to: SocketAddr,
    silent: bool,
}

/// A stream that came before anyone accepted it.
#[derive(Clone, Debug)]
struct Waiting {
    stream: StreamId,
    from: Arc<Destination>,
    from_port: u16,
    to_port: u16,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    control: SamConn,
    /// `FROM_PORT` and `TO_PORT` of streams that name none.
    ports: (u16, u16),
    acceptors: VecDeque<SamConn>,
    forward: Option<Forward>,
    backlog: VecDeque<Waiting>,
}

/// All SAM connections of a router.
#[derive(Debug)]
pub struct Sam {
    config: SamConfig,
    rng: Rng,
    conns: BTreeMap<SamConn, Conn>,
    sessions: BTreeMap<String, Session>,
    nicks: BTreeMap<SessionId, String>,
    streams: BTreeMap<(SessionId, StreamId), SamConn>,
    next_conn: u64,
    outputs: VecDeque<SamOutput>,
    shutting_down: bool,
    stats: SamStats,
}

impl Sam {
    /// No connections yet.
    pub fn new(config: SamConfig, rng: Rng) -> Self {
        Self {
            config,
            rng,
            conns: BTreeMap::new(),
            sessions: BTreeMap::new(),
            nicks: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_conn: 0,
            outputs: VecDeque::new(),
            shutting_down: false,
            stats: SamStats::default(),
        }
    }

    /// A client connected. None: too many are connected, close it.
    pub fn accepted(&mut self, from: IpAddr, now: Now) -> Option<SamConn> {
        if self.shutting_down || self.conns.len() >= self.config.max_connections {
            self.stats.refused_connections += 1;
            return None;
        }
        Some(self.add(State::Greeting, from.to_canonical(), now.mono + self.config.hello_timeout))
    }

    /// Ends all sessions and connections, and says why.
    pub fn shut_down(&mut self, router: &mut impl Backend, now: Now) {
        self.shutting_down = true;
        let controls: Vec<_> = self.sessions.iter().map(|(nick, s)| (nick.clone(), s.control)).collect();
        for (nick, control) in controls {
            self.fail(control, "SESSION STATUS", "I2P_ERROR", "the router is shutting down");
            self.set_state(control, State::Closing);
            self.end_session(&nick, router, now);
        }
        let rest: Vec<_> = self.conns.keys().copied().collect();
        for conn in rest {
            self.close(conn);
        }
    }

    /// Bytes that may be read from the client now. Zero: wait for [`SamOutput::ReadMore`].
    pub fn read_room(&self, conn: SamConn, router: &impl Backend) -> usize {
        let Some(c) = self.conns.get(&conn) else { return 0 };
        match c.state {
            _ if c.is_clogged() => 0,
            State::Stream { session, stream } if c.input.is_empty() => router.stream_room(session, stream),
            State::Stream { .. } | State::Closing => 0,
            State::Connecting { .. } | State::Accepting { .. } | State::Dialling { .. } => {
                MAX_EARLY.saturating_sub(c.input.len())
            }
            _ => (MAX_LINE + 1).saturating_sub(c.input.len()),
        }
    }

    /// The client sent bytes.
    pub fn handle_bytes(&mut self, conn: SamConn, bytes: &[u8], router: &mut impl Backend, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if let State::Stream { session, stream } = c.state
            && c.input.is_empty()
        {
            let taken = router.stream_send(session, stream, bytes, now);
            c.input.extend(bytes.get(taken..).unwrap_or_default());
            return;
        }
        c.input.extend(bytes);
        self.progress(conn, router, now);
    }

    /// The client finished sending; it may still receive.
    pub fn handle_eof(&mut self, conn: SamConn, router: &mut impl Backend, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        c.ended = true;
        match c.state {
            State::Stream { session, stream } if c.input.is_empty() => {
                self.client_finished(conn, session, stream, router, now);
            }
            // What was sent early still goes out once the stream stands.
            State::Stream { .. } | State::Connecting { .. } => {}
            _ => self.close(conn),
        }
    }

    /// The connection is gone.
    pub fn handle_closed(&mut self, conn: SamConn, router: &mut impl Backend, now: Now) {
        let Some(c) = self.conns.remove(&conn) else { return };
        match c.state {
            State::Stream { session, stream }
            | State::Connecting { session, stream, .. }
            | State::Dialling { session, stream, .. } => {
                // What the client sent before it went away is still delivered.
                router.stream_close(session, stream, now);
                self.streams.remove(&(session, stream));
            }
            State::Creating { nick, .. } | State::Control { nick } => self.end_session(&nick, router, now),
            State::LookingUp { then, .. } => {
                if let State::Control { nick } = *then {
                    self.end_session(&nick, router, now);
                }
            }
            State::Accepting { nick, .. } => {
                if let Some(session) = self.sessions.get_mut(&nick) {
                    session.acceptors.retain(|a| *a != conn);
                }
                self.update_listening(&nick, router, now);
            }
            State::Forwarding { nick } => {
                if let Some(session) = self.sessions.get_mut(&nick) {
                    session.forward = None;
                }
                self.update_listening(&nick, router, now);
            }
            State::Greeting | State::Ready | State::Closing => {}
        }
    }

    /// A connection asked for by [`SamOutput::Dial`] stands.
    pub fn connected(&mut self, conn: SamConn, router: &mut impl Backend, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if let State::Dialling { session, stream, greeting } = &mut c.state {
            if c.close_sent {
                // The stream ended meanwhile, and the first request found no connection to close.
                self.outputs.push_back(SamOutput::Close(conn));
                return;
            }
            c.output = std::mem::take(greeting);
            let (session, stream) = (*session, *stream);
            self.enter_stream(conn, session, stream, router, now);
        } else {
            self.outputs.push_back(SamOutput::Close(conn));
        }
    }

    /// A connection asked for by [`SamOutput::Dial`] could not be made.
    pub fn connect_failed(&mut self, conn: SamConn, router: &mut impl Backend, now: Now) {
        if let Some(Conn { state: State::Dialling { session, stream, .. }, .. }) = self.conns.remove(&conn) {
            router.stream_reset(session, stream, now);
            self.streams.remove(&(session, stream));
        }
    }

    /// The router says.
    pub fn handle_event(&mut self, event: &ClientEvent, router: &mut impl Backend, now: Now) {
        match event {
            ClientEvent::SessionReady(session) => self.on_session_ready(*session, router, now),
            ClientEvent::StreamConnected { session, stream } => {
                self.on_connected(*session, *stream, router, now);
            }
            ClientEvent::StreamIncoming { session, stream, from, from_port, to_port } => {
                let waiting = Waiting {
                    stream: *stream,
                    from: Arc::clone(from),
                    from_port: *from_port,
                    to_port: *to_port,
                };
                self.on_incoming(*session, waiting, router, now);
            }
            ClientEvent::StreamReadable { session, stream } => {
                if let Some(conn) = self.streams.get(&(*session, *stream)) {
                    self.outputs.push_back(SamOutput::Transmit(*conn));
                }
            }
            ClientEvent::StreamWritable { session, stream } => {
                if let Some(conn) = self.streams.get(&(*session, *stream)).copied() {
                    self.push_early(conn, router, now);
                    self.outputs.push_back(SamOutput::ReadMore(conn));
                }
            }
            ClientEvent::StreamClosed { session, stream, reason } => {
                self.on_closed(*session, *stream, *reason)
            }
            ClientEvent::LookupDone { lookup, destination } => {
                self.on_lookup_done(*lookup, destination.as_deref(), router, now);
            }
        }
    }

    /// A deadline came.
    pub fn handle_timeout(&mut self, router: &mut impl Backend, now: Now) {
        let late: Vec<_> = self
            .conns
            .iter()
            .filter_map(|(conn, c)| match &c.state {
                State::Creating { nick, deadline } if *deadline <= now.mono => Some((*conn, nick.clone())),
                _ => None,
            })
            .collect();
        let is_mute = |c: &Conn| c.state == State::Greeting && c.deadline().is_some_and(|at| at <= now.mono);
        let mute: Vec<_> = self.conns.iter().filter(|(_, c)| is_mute(c)).map(|(conn, _)| *conn).collect();
        for conn in mute {
            self.stats.silent_connections += 1;
            self.fail(conn, "HELLO REPLY", "I2P_ERROR", "HELLO VERSION did not come in time");
        }
        for (conn, nick) in late {
            self.fail(
                conn,
                "SESSION STATUS",
                "I2P_ERROR",
                "no tunnels could be built in time: is the router ready?",
            );
            self.set_state(conn, State::Closing);
            self.end_session(&nick, router, now);
        }
    }

    /// When `handle_timeout` is wanted.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.conns.values().filter_map(Conn::deadline).min()
    }

    /// Appends up to about `max` bytes for the client. False: nothing to write.
    pub fn poll_transmit(
        &mut self,
        conn: SamConn,
        out: &mut Vec<u8>,
        max: usize,
        router: &mut impl Backend,
        now: Now,
    ) -> bool {
        let Some(c) = self.conns.get_mut(&conn) else { return false };
        let before = out.len();
        let was_clogged = c.is_clogged();
        out.append(&mut c.output);
        if was_clogged {
            self.progress(conn, router, now);
            self.outputs.push_back(SamOutput::ReadMore(conn));
        }
        let Some(c) = self.conns.get_mut(&conn) else { return false };
        if let State::Stream { session, stream } = c.state {
            router.stream_recv(session, stream, out, max.saturating_sub(out.len() - before), now);
            if router.stream_at_end(session, stream) && !c.finish_sent {
                c.finish_sent = true;
                self.outputs.push_back(SamOutput::Finish(conn));
                if c.ended && c.input.is_empty() {
                    self.close(conn);
                }
            }
        }
        out.len() > before
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<SamOutput> {
        self.outputs.pop_front()
    }

    /// Counters since the start and sizes of tables.
    pub fn stats(&self) -> SamStats {
        SamStats {
            connections: self.conns.len() as u64,
            sessions: self.sessions.len() as u64,
            streams: self.streams.len() as u64,
            ..self.stats
        }
    }

    fn add(&mut self, state: State, from: IpAddr, greet_by: Instant) -> SamConn {
        let conn = SamConn(self.next_conn);
        self.next_conn += 1;
        self.conns.insert(conn, Conn::new(state, from, greet_by));
        conn
    }

    fn say(&mut self, conn: SamConn, line: &str) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.say(line);
            self.outputs.push_back(SamOutput::Transmit(conn));
        }
    }

    /// Refuses a command, in SAM's form.
    fn refuse(&mut self, conn: SamConn, reply: &str, result: &str, message: &str) {
        let message = message.replace('\\', "\\\\").replace('"', "\\\"");
        self.say(conn, &format!("{reply} RESULT={result} MESSAGE=\"{message}\""));
    }

    /// Refuses and closes.
    fn fail(&mut self, conn: SamConn, reply: &str, result: &str, message: &str) {
        self.refuse(conn, reply, result, message);
        self.close(conn);
    }

    /// Refuses and closes; a client that asked for silence gets only the close.
    fn fail_unless(&mut self, silent: bool, conn: SamConn, reply: &str, result: &str, message: &str) {
        if silent {
            self.close(conn);
        } else {
            self.fail(conn, reply, result, message);
        }
    }

    fn close(&mut self, conn: SamConn) {
        if let Some(c) = self.conns.get_mut(&conn)
            && !c.close_sent
        {
            c.close_sent = true;
            self.outputs.push_back(SamOutput::Close(conn));
            // No stream may be handed to a connection that is on its way out.
            if let State::Accepting { nick, .. } = &c.state
                && let Some(session) = self.sessions.get_mut(nick)
            {
                session.acceptors.retain(|a| *a != conn);
            }
        }
    }

    fn set_state(&mut self, conn: SamConn, state: State) {
        if let Some(c) = self.conns.get_mut(&conn) {
            c.state = state;
        }
    }

    /// From here on the connection carries the stream's bytes; what came early goes first.
    fn enter_stream(
        &mut self,
        conn: SamConn,
        session: SessionId,
        stream: StreamId,
        router: &mut impl Backend,
        now: Now,
    ) {
        self.set_state(conn, State::Stream { session, stream });
        self.streams.insert((session, stream), conn);
        self.push_early(conn, router, now);
        self.outputs.push_back(SamOutput::Transmit(conn));
        self.outputs.push_back(SamOutput::ReadMore(conn));
    }

    /// Hands on what a stream could not take at first.
    fn push_early(&mut self, conn: SamConn, router: &mut impl Backend, now: Now) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        let State::Stream { session, stream } = c.state else { return };
        if !c.input.is_empty() {
            let taken = router.stream_send(session, stream, c.input.make_contiguous(), now);
            c.input.drain(..taken);
        }
        if c.input.is_empty() && c.ended {
            self.client_finished(conn, session, stream, router, now);
        }
    }

    /// All that the client had to say is with the stream.
    fn client_finished(
        &mut self,
        conn: SamConn,
        session: SessionId,
        stream: StreamId,
        router: &mut impl Backend,
        now: Now,
    ) {
        router.stream_close_write(session, stream, now);
        if self.conns.get(&conn).is_some_and(|c| c.finish_sent) {
            self.close(conn);
        }
    }

    fn on_session_ready(&mut self, session: SessionId, router: &mut impl Backend, now: Now) {
        let Some(nick) = self.nicks.get(&session).cloned() else { return };
        let Some(conn) = self.sessions.get(&nick).map(|s| s.control) else { return };
        let creating = self.conns.get(&conn).is_some_and(|c| matches!(c.state, State::Creating { .. }));
        if let (true, Some(keys)) = (creating, router.session_keys(session)) {
            let line = format!("SESSION STATUS RESULT=OK DESTINATION={}", *keys.to_base64());
            self.set_state(conn, State::Control { nick });
            self.say(conn, &line);
            self.progress(conn, router, now);
        }
    }

    fn on_connected(&mut self, session: SessionId, stream: StreamId, router: &mut impl Backend, now: Now) {
        let Some(conn) = self.streams.get(&(session, stream)).copied() else { return };
        let state = self.conns.get(&conn).map(|c| &c.state);
        if let Some(State::Connecting { silent, .. }) = state {
            if !*silent {
                self.say(conn, "STREAM STATUS RESULT=OK");
            }
            self.enter_stream(conn, session, stream, router, now);
        }
    }

    /// A peer opened a stream: to an acceptor, to the forward port, or to the backlog.
    fn on_incoming(&mut self, id: SessionId, waiting: Waiting, router: &mut impl Backend, now: Now) {
        let nick = self.nicks.get(&id).cloned();
        let Some((nick, session)) = nick.and_then(|n| self.sessions.get_mut(&n).map(|s| (n, s))) else {
            router.stream_reset(id, waiting.stream, now);
            return;
        };
        if let Some(forward) = session.forward.clone() {
            self.forward(id, &forward, &waiting, router, now);
        } else if let Some(acceptor) = session.acceptors.pop_front() {
            self.hand_over(acceptor, id, &waiting, router, now);
            self.update_listening(&nick, router, now);
        } else if session.backlog.len() < self.config.max_backlog {
            session.backlog.push_back(waiting);
        } else {
            self.stats.refused_streams += 1;
            router.stream_reset(id, waiting.stream, now);
        }
    }

    fn forward(
        &mut self,
        id: SessionId,
        forward: &Forward,
        waiting: &Waiting,
        router: &mut impl Backend,
        now: Now,
    ) {
        if self.conns.len() >= self.config.max_connections {
            self.stats.refused_streams += 1;
            router.stream_reset(id, waiting.stream, now);
            return;
        }
        let version = self.conns.get(&forward.control).map_or((3, 0), |c| c.version);
        let greeting = if forward.silent { String::new() } else { greeting(version, waiting) };
        let state = State::Dialling { session: id, stream: waiting.stream, greeting: greeting.into_bytes() };
        let conn = self.add(state, forward.to.ip(), Instant::FAR_FUTURE);
        self.streams.insert((id, waiting.stream), conn);
        self.outputs.push_back(SamOutput::Dial { conn, to: forward.to });
    }

    fn hand_over(
        &mut self,
        conn: SamConn,
        id: SessionId,
        waiting: &Waiting,
        router: &mut impl Backend,
        now: Now,
    ) {
        let Some(c) = self.conns.get_mut(&conn) else { return };
        if let State::Accepting { silent: false, .. } = c.state {
            let line = greeting(c.version, waiting);
            c.output.extend_from_slice(line.as_bytes());
        }
        self.enter_stream(conn, id, waiting.stream, router, now);
    }

    /// Listens as long as someone wants streams or may soon.
    fn update_listening(&self, nick: &str, router: &mut impl Backend, now: Now) {
        if let Some(session) = self.sessions.get(nick) {
            // Once a client has accepted, streams that come between two ACCEPTs wait in the backlog.
            router.set_listening(session.id, true, now);
        }
    }

    fn on_closed(&mut self, session: SessionId, stream: StreamId, reason: StreamEnd) {
        let Some(conn) = self.streams.remove(&(session, stream)) else {
            if let Some(s) = self.nicks.get(&session).and_then(|n| self.sessions.get_mut(n)) {
                s.backlog.retain(|w| w.stream != stream);
            }
            return;
        };
        let connecting = match self.conns.get(&conn).map(|c| &c.state) {
            Some(State::Connecting { silent, .. }) => Some(*silent),
            _ => None,
        };
        if connecting == Some(false) {
            let result = match reason {
                StreamEnd::Timeout => "TIMEOUT",
                StreamEnd::NotFound | StreamEnd::Reset | StreamEnd::Encryption | StreamEnd::Closed => {
                    "CANT_REACH_PEER"
                }
                _ => "I2P_ERROR",
            };
            self.refuse(conn, "STREAM STATUS", result, &reason.to_string());
        } else {
            self.outputs.push_back(SamOutput::Transmit(conn));
        }
        self.close(conn);
    }

    fn end_session(&mut self, nick: &str, router: &mut impl Backend, now: Now) {
        let Some(session) = self.sessions.remove(nick) else { return };
        self.nicks.remove(&session.id);
        let mut ended: Vec<_> = session.acceptors.into_iter().collect();
        ended.extend(session.forward.map(|f| f.control));
        for ((_, stream), conn) in self.streams.extract_if(.., |(id, _), _| *id == session.id) {
            router.stream_close(session.id, stream, now);
            ended.push(conn);
        }
        for conn in ended {
            // Those that wait for a stream learn why none comes.
            let waits = self.conns.get(&conn).is_some_and(|c| c.state.waits_loudly() && !c.close_sent);
            self.set_state(conn, State::Closing);
            if waits {
                self.refuse(conn, "STREAM STATUS", "I2P_ERROR", "the session was closed");
            }
            self.close(conn);
        }
        router.destroy_session(session.id, now);
    }
}

/// The line that tells a client who connected (`api/samv3#stream-accept`).
fn greeting(version: (u8, u8), waiting: &Waiting) -> String {
    let destination = waiting.from.to_base64();
    if version >= (3, 2) {
        format!("{destination} FROM_PORT={} TO_PORT={}\n", waiting.from_port, waiting.to_port)
    } else {
        format!("{destination}\n")
    }
}
