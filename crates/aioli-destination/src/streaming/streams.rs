//! All streams of one destination: finding the stream of a packet, accepting,
//! limits, pings, timers.

use std::collections::{BTreeMap, VecDeque};

use aioli_core::flow::Rtt;
use aioli_core::{Cx, Duration, Instant, Rng, Timers};
use aioli_wire::client_payload::Ports;
use aioli_wire::streaming::{Header, Packet, flags, syn_receiver};
use aioli_wire::{Destination, DestinationHash, Wire, Writer};

use super::auth::{self, PeerMisbehaved};
use super::config::{Config, LimitAction, Options};
use super::gate::{Gate, Verdict};
use super::receive::ReceiveHalf;
use super::stream::{Fin, Io, PeerKind, Stream, TIMEOUTS};
use super::{CloseReason, Output, Stats, StreamId};

/// How long a closed stream still answers.
const TIME_WAIT: Duration = Duration::from_secs(60);
/// How long a SYN is remembered against replay.
const SYN_MEMORY: Duration = Duration::from_secs(600);
/// How long a peer's round trip is remembered.
const PEER_MEMORY: Duration = Duration::from_secs(600);
/// How long packets wait for their SYN.
const EARLY_WAIT: Duration = Duration::from_secs(10);
/// Longest payload of a ping that is echoed.
const PING_PAYLOAD: usize = 32;

/// Why [`Streams::next_timeout`] wants a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Why {
    /// Which stream; 0 for none.
    pub id: StreamId,
    /// What is due at the earliest.
    pub what: &'static str,
}

/// Packets that came before their SYN.
struct Early {
    since: Instant,
    packets: Vec<(Option<DestinationHash>, Ports, Vec<u8>)>,
}

/// What is left of a closed stream.
struct Remains {
    until: Instant,
    to: DestinationHash,
    remote_id: u32,
    ports: Ports,
    ack_through: u32,
}

/// What an earlier stream learned of a peer (RFC 2140).
#[derive(Clone, Copy)]
struct Learned {
    at: Instant,
    smoothed: Duration,
    deviation: Duration,
    window: u32,
    kind: PeerKind,
}

/// All streams of a destination.
pub struct Streams {
    config: Config,
    rng: Rng,
    listening: bool,
    streams: BTreeMap<StreamId, Box<Stream>>,
    /// Incoming streams by the peer's name for them.
    by_remote: BTreeMap<(u32, DestinationHash), StreamId>,
    early: BTreeMap<u32, Early>,
    remains: BTreeMap<StreamId, Remains>,
    seen_syns: BTreeMap<(DestinationHash, u32), Instant>,
    learned: BTreeMap<DestinationHash, Learned>,
    gate: Gate,
    timers: Timers<StreamId>,
    sweep_at: Instant,
    /// Received bytes of all streams.
    buffered: usize,
    out: VecDeque<Output>,
    stats: Stats,
}

impl Streams {
    /// No streams yet. Incoming ones are refused until [`Streams::listen`].
    pub fn new(config: Config, rng: Rng) -> Self {
        Self {
            config,
            rng,
            listening: false,
            streams: BTreeMap::new(),
            by_remote: BTreeMap::new(),
            early: BTreeMap::new(),
            remains: BTreeMap::new(),
            seen_syns: BTreeMap::new(),
            learned: BTreeMap::new(),
            gate: Gate::default(),
            timers: Timers::new(),
            sweep_at: Instant::FAR_FUTURE,
            buffered: 0,
            out: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// Whether peers may connect.
    pub fn listen(&mut self, listening: bool) {
        self.listening = listening;
    }

    /// The settings, to be changed for streams to come.
    pub fn config_mut(&mut self) -> &mut Config {
        &mut self.config
    }

    /// Opens a stream to `remote`. The SYN waits shortly for data. None if
    /// there are too many streams already.
    pub fn connect(
        &mut self,
        remote: Destination,
        ports: Ports,
        options: Option<Options>,
        cx: &mut Cx<'_>,
    ) -> Option<StreamId> {
        let id = self.new_id();
        self.connect_as(id, remote, ports, options, cx).then_some(id)
    }

    /// A name for a stream whose destination is still being looked up, for
    /// [`Streams::connect_as`].
    pub fn reserve(&mut self) -> StreamId {
        self.new_id()
    }

    /// [`Streams::connect`] under a reserved name. False if there are too many
    /// streams already.
    pub fn connect_as(
        &mut self,
        id: StreamId,
        remote: Destination,
        ports: Ports,
        options: Option<Options>,
        cx: &mut Cx<'_>,
    ) -> bool {
        if self.streams.len() >= self.config.limits.streams || self.streams.contains_key(&id) {
            self.stats.rejected += 1;
            return false;
        }
        let options = options.unwrap_or_else(|| self.config.options.clone());
        let mut stream = Stream::new(id, remote, ports, false, options, cx.now.mono);
        self.recall(&mut stream, cx.now.mono);
        self.streams.insert(id, Box::new(stream));
        self.stats.connected += 1;
        self.touch(id, cx, Stream::pump);
        true
    }

    /// Gives bytes to a stream; gives how many it took. If fewer than all,
    /// [`Output::Writable`] follows when there is room.
    pub fn send(&mut self, id: StreamId, data: &[u8], cx: &mut Cx<'_>) -> usize {
        self.touch(id, cx, |s, io| s.write(data, io)).unwrap_or(0)
    }

    /// Bytes that [`Streams::send`] would take now.
    pub fn writable(&self, id: StreamId) -> usize {
        let Some(s) = self.streams.get(&id) else { return 0 };
        if s.leftover.is_some() {
            return self.config.limits.send_buffer;
        }
        if s.fin != Fin::Open {
            return 0;
        }
        s.offer_room(&self.config)
    }

    /// Reads into `buf`; gives how many bytes. Reading makes room for the peer.
    pub fn recv(&mut self, id: StreamId, buf: &mut [u8], cx: &mut Cx<'_>) -> usize {
        self.touch(id, cx, |s, io| s.read(io, |half| half.read(buf))).unwrap_or(0)
    }

    /// Takes the next readable bytes without copying them; none if there are none.
    pub fn recv_chunk(&mut self, id: StreamId, cx: &mut Cx<'_>) -> Option<Vec<u8>> {
        let mut chunk = None;
        let take = |half: &mut ReceiveHalf| {
            chunk = half.read_chunk();
            chunk.as_ref().map_or(0, Vec::len)
        };
        self.touch(id, cx, |s, io| s.read(io, take))?;
        chunk
    }

    /// Bytes that can be read.
    pub fn readable(&self, id: StreamId) -> usize {
        self.streams.get(&id).map_or(0, |s| s.receive.readable())
    }

    /// Whether the peer has closed and everything was read, or the stream is gone.
    pub fn at_end(&self, id: StreamId) -> bool {
        self.streams.get(&id).is_none_or(|s| s.receive.at_end())
    }

    /// Whether the stream is still there.
    pub fn contains(&self, id: StreamId) -> bool {
        self.streams.contains_key(&id)
    }

    /// The application takes an incoming stream; so does any other call for it.
    pub fn accept(&mut self, id: StreamId) {
        if let Some(s) = self.streams.get_mut(&id) {
            s.accepted = true;
        }
    }

    /// Half-close: what was sent still arrives, then CLOSE. Reading goes on.
    pub fn close_write(&mut self, id: StreamId, cx: &mut Cx<'_>) {
        self.touch(id, cx, Stream::close_write);
    }

    /// Closes a stream: what was sent still arrives; what arrives is dropped.
    pub fn close(&mut self, id: StreamId, cx: &mut Cx<'_>) {
        self.touch(id, cx, Stream::release);
    }

    /// Ends a stream at once.
    pub fn reset(&mut self, id: StreamId, cx: &mut Cx<'_>) {
        self.touch(id, cx, Stream::send_reset);
    }

    /// Sends a ping, of at most 32 bytes that come back. Gives its number.
    pub fn ping(&mut self, to: &DestinationHash, ports: Ports, payload: &[u8]) -> u32 {
        let id = self.rng.nonzero_u32().get();
        let identity = &self.config.identity;
        let header = Header {
            send_id: id,
            flags: flags::ECHO,
            from: Some(identity.destination.bytes()),
            ..Header::default()
        };
        let payload = payload.get(..payload.len().min(PING_PAYLOAD)).unwrap_or(&[]);
        let bytes = auth::signed(identity, &header, None, payload);
        self.out.push_back(Output::Packet { to: *to, id: StreamId(0), bytes, ports, retransmit: false });
        id
    }

    /// There is no way to this destination: streams that wait for it end.
    pub fn handle_unreachable(&mut self, to: &DestinationHash, cx: &mut Cx<'_>) {
        let waiting: Vec<StreamId> =
            self.streams.values().filter(|s| s.to == *to && s.remote_id == 0).map(|s| s.id).collect();
        for id in waiting {
            self.touch(id, cx, |s, io| s.end(CloseReason::Unreachable, io));
        }
    }

    /// Packets to this destination take another path from now on.
    pub fn handle_path_change(&mut self, id: StreamId) {
        if let Some(s) = self.streams.get_mut(&id) {
            s.rtt.forget_path();
            s.doublings = s.doublings.min(1);
            s.congestion.on_path_change();
        }
    }

    /// A streaming packet arrived. `from` is who sent it, where the session
    /// below knows; `ports` are those of the payload, source the peer's.
    pub fn handle_packet(
        &mut self,
        from: Option<DestinationHash>,
        ports: Ports,
        raw: &[u8],
        cx: &mut Cx<'_>,
    ) {
        let Ok(p) = Packet::from_bytes(raw) else {
            self.stats.malformed += 1;
            return;
        };
        if p.has(flags::ECHO) {
            self.on_echo(&p, raw, ports, cx);
        } else if p.send_id != 0 {
            self.on_known(StreamId(p.send_id), from, &p, raw, cx);
        } else if p.has(flags::SYNCHRONIZE) {
            self.on_syn(from, ports, &p, raw, cx);
        } else {
            self.on_early(from, ports, &p, raw, cx);
        }
    }

    fn on_known(
        &mut self,
        id: StreamId,
        from: Option<DestinationHash>,
        p: &Packet<'_>,
        raw: &[u8],
        cx: &Cx<'_>,
    ) {
        let Some(s) = self.streams.get(&id) else {
            self.on_stray(id, p);
            return;
        };
        if from.is_some_and(|from| from != s.to) {
            self.stats.count(PeerMisbehaved::WrongSender);
            return;
        }
        self.touch(id, cx, |s, io| s.handle(p, raw, from.is_some(), io));
    }

    /// A packet of a stream that is closed: repeat the last acknowledgement.
    fn on_stray(&mut self, id: StreamId, p: &Packet<'_>) {
        self.stats.stray += 1;
        let Some(r) = self.remains.get(&id) else { return };
        if p.sequence == 0 || p.has(flags::RESET) || p.receive_id != r.remote_id {
            return;
        }
        let header = Header {
            send_id: r.remote_id,
            receive_id: id.0,
            ack_through: r.ack_through,
            ..Header::default()
        };
        let mut w = Writer::new();
        header.write(&mut w, &[]);
        let (to, ports) = (r.to, r.ports);
        self.stats.acks_sent += 1;
        self.out.push_back(Output::Packet { to, id, bytes: w.into_vec(), ports, retransmit: true });
    }

    fn on_syn(
        &mut self,
        from: Option<DestinationHash>,
        ports: Ports,
        p: &Packet<'_>,
        raw: &[u8],
        cx: &Cx<'_>,
    ) {
        let sender = match self.check_syn(from, p, raw, cx) {
            Ok(sender) => sender,
            Err(wrong) => {
                self.stats.count(wrong);
                return;
            }
        };
        let peer = sender.hash();
        if let Some(&id) = self.by_remote.get(&(p.receive_id, peer)) {
            self.stats.replayed += 1;
            self.touch(id, cx, |s, io| s.handle(p, raw, from.is_some(), io));
            return;
        }
        if self.seen_syns.contains_key(&(peer, p.receive_id)) {
            self.stats.replayed += 1;
            return;
        }
        let ours = ports.reversed();
        if !self.admit(peer, ours, p, cx) {
            return;
        }
        self.remember_syn((peer, p.receive_id), cx.now.mono);
        let id = self.new_id();
        let mut stream =
            Stream::new(id, sender.clone(), ours, true, self.config.options.clone(), cx.now.mono);
        self.recall(&mut stream, cx.now.mono);
        self.streams.insert(id, Box::new(stream));
        self.by_remote.insert((p.receive_id, peer), id);
        self.stats.accepted += 1;
        self.out.push_back(Output::Incoming { id, from: sender, ports: ours });
        self.touch(id, cx, |s, io| s.handle(p, raw, from.is_some(), io));
        self.replay_early(p.receive_id, peer, id, cx);
    }

    /// A SYN must be for us, and signed unless the session vouches for its sender.
    fn check_syn(
        &self,
        from: Option<DestinationHash>,
        p: &Packet<'_>,
        raw: &[u8],
        cx: &Cx<'_>,
    ) -> Result<Destination, PeerMisbehaved> {
        let us = self.config.identity.destination.hash();
        if syn_receiver(p).is_some_and(|hash| hash != *us.as_bytes()) {
            return Err(PeerMisbehaved::WrongReceiver);
        }
        if p.receive_id == 0 {
            return Err(PeerMisbehaved::WrongId);
        }
        let sender = p.from.ok_or(PeerMisbehaved::NoSender)?;
        let sender = Destination::from_bytes(sender).map_err(|_| PeerMisbehaved::NoSender)?;
        if from.is_some_and(|from| from != sender.hash()) {
            return Err(PeerMisbehaved::WrongSender);
        }
        if from.is_none() || p.has(flags::SIGNATURE_INCLUDED) {
            auth::verify(p, raw, &sender, &mut None, cx.now.wall)?;
        }
        Ok(sender)
    }

    /// Limits and access list; refuses as the settings say.
    fn admit(&mut self, peer: DestinationHash, ours: Ports, p: &Packet<'_>, cx: &Cx<'_>) -> bool {
        let limits = &self.config.limits;
        let waiting = self.streams.values().filter(|s| !s.accepted).take(limits.backlog).count();
        let full = self.streams.len() >= limits.streams || waiting >= limits.backlog || !self.listening;
        let mut verdict = self.gate.connection(peer, limits, cx.now.mono);
        if full && verdict == Verdict::Admit {
            verdict = Verdict::Refuse;
        }
        if !self.config.access.admits(&peer) {
            verdict = Verdict::Ignore;
        }
        if verdict == Verdict::Admit {
            return true;
        }
        self.stats.rejected += 1;
        if verdict == Verdict::Refuse {
            self.refuse(peer, ours, p);
        }
        false
    }

    fn refuse(&mut self, to: DestinationHash, ports: Ports, p: &Packet<'_>) {
        let identity = &self.config.identity;
        let mut header = Header { send_id: p.receive_id, ack_through: p.sequence, ..Header::default() };
        let bytes = match &self.config.limits.action {
            LimitAction::Drop => return,
            LimitAction::Reset => {
                header.flags = flags::RESET;
                self.stats.resets_sent += 1;
                auth::signed(identity, &header, None, &[])
            }
            LimitAction::Respond(text) => {
                header.flags = flags::SYNCHRONIZE | flags::CLOSE;
                header.receive_id = self.rng.nonzero_u32().get();
                header.from = Some(identity.destination.bytes());
                header.max_size = Some(self.config.options.mtu);
                auth::signed(identity, &header, None, text)
            }
        };
        self.out.push_back(Output::Packet { to, id: StreamId(0), bytes, ports, retransmit: false });
    }

    /// A packet without our id: of a stream whose opener has no answer yet.
    fn on_early(
        &mut self,
        from: Option<DestinationHash>,
        ports: Ports,
        p: &Packet<'_>,
        raw: &[u8],
        cx: &Cx<'_>,
    ) {
        let zero = DestinationHash::new([0; 32]);
        let candidates = self.by_remote.range((p.receive_id, zero)..);
        let found = candidates
            .take_while(|((id, _), _)| *id == p.receive_id)
            .find(|((_, peer), _)| from.is_none_or(|from| from == *peer))
            .map(|(_, id)| *id);
        if let Some(id) = found {
            self.touch(id, cx, |s, io| s.handle(p, raw, from.is_some(), io));
            return;
        }
        let limits = &self.config.limits;
        let room = self.early.len() < limits.early_streams || self.early.contains_key(&p.receive_id);
        if !room || p.sequence == 0 || !self.listening {
            self.stats.overflowed += 1;
            return;
        }
        let since = cx.now.mono;
        let early = self.early.entry(p.receive_id).or_insert_with(|| Early { since, packets: Vec::new() });
        if early.packets.len() < limits.early_packets {
            early.packets.push((from, ports, raw.to_vec()));
        } else {
            self.stats.overflowed += 1;
        }
        self.sweep_at = self.sweep_at.min(since + EARLY_WAIT);
    }

    fn replay_early(&mut self, remote: u32, peer: DestinationHash, id: StreamId, cx: &Cx<'_>) {
        let Some(early) = self.early.remove(&remote) else { return };
        for (from, _, raw) in early.packets {
            let Ok(p) = Packet::from_bytes(&raw) else { continue };
            if from.is_none_or(|from| from == peer) {
                self.touch(id, cx, |s, io| s.handle(&p, &raw, from.is_some(), io));
            }
        }
    }

    fn on_echo(&mut self, p: &Packet<'_>, raw: &[u8], ports: Ports, cx: &Cx<'_>) {
        let payload = p.payload.get(..p.payload.len().min(PING_PAYLOAD)).unwrap_or(&[]);
        if p.send_id == 0 {
            self.out.push_back(Output::Pong { id: p.receive_id, payload: payload.to_vec() });
            return;
        }
        if !self.config.options.answer_pings || !self.gate.ping(&self.config.limits, cx.now.mono) {
            self.stats.pings_dropped += 1;
            return;
        }
        let Some(sender) = p.from.and_then(|from| Destination::from_bytes(from).ok()) else {
            self.stats.count(PeerMisbehaved::NoSender);
            return;
        };
        if let Err(wrong) = auth::verify(p, raw, &sender, &mut None, cx.now.wall) {
            self.stats.count(wrong);
            return;
        }
        let mut w = Writer::new();
        Header { receive_id: p.send_id, flags: flags::ECHO, ..Header::default() }.write(&mut w, &[]);
        w.bytes(payload);
        self.stats.pings_answered += 1;
        let (to, ports) = (sender.hash(), ports.reversed());
        self.out.push_back(Output::Packet {
            to,
            id: StreamId(0),
            bytes: w.into_vec(),
            ports,
            retransmit: false,
        });
    }

    /// Calls the stream, then keeps all tables in step with it.
    fn touch<T>(
        &mut self,
        id: StreamId,
        cx: &Cx<'_>,
        call: impl FnOnce(&mut Stream, &mut Io<'_>) -> T,
    ) -> Option<T> {
        let s = self.streams.get_mut(&id)?;
        let before = s.receive.buffered();
        let mut io = Io {
            now: cx.now.mono,
            wall: cx.now.wall,
            rng: &mut self.rng,
            out: &mut self.out,
            stats: &mut self.stats,
            config: &self.config,
            memory_full: self.buffered >= self.config.limits.receive_total,
        };
        let result = call(s, &mut io);
        self.buffered = (self.buffered + s.receive.buffered()).saturating_sub(before);
        if s.is_over() {
            self.remove(id, cx.now.mono);
        } else {
            // A later deadline is found out when the earlier one passes.
            let (at, _) = s.deadline();
            self.timers.set_earlier(id, at);
        }
        Some(result)
    }

    fn remove(&mut self, id: StreamId, now: Instant) {
        let Some(s) = self.streams.remove(&id) else { return };
        self.timers.stop(&id);
        self.buffered = self.buffered.saturating_sub(s.receive.buffered());
        if s.incoming {
            self.by_remote.remove(&(s.remote_id, s.to));
        }
        if let Some(smoothed) = s.rtt.smoothed()
            && (self.learned.len() < self.config.limits.remembered_peers || self.learned.contains_key(&s.to))
        {
            let window = s.window();
            let learned = Learned { at: now, smoothed, deviation: s.rtt.deviation(), window, kind: s.kind };
            self.learned.insert(s.to, learned);
        }
        let finished = s.ended == Some(CloseReason::Finished) && s.remote_id != 0;
        if finished && self.remains.len() < self.config.limits.time_wait {
            let ack_through = s.receive.acknowledge(&mut Vec::new(), 0);
            let remains = Remains {
                until: now + TIME_WAIT,
                to: s.to,
                remote_id: s.remote_id,
                ports: s.ports,
                ack_through,
            };
            self.remains.insert(id, remains);
        }
        self.sweep_at = self.sweep_at.min(now + TIME_WAIT);
    }

    /// Takes over what an earlier stream to the same peer learned.
    fn recall(&self, s: &mut Stream, now: Instant) {
        if let Some(l) = self.learned.get(&s.to).filter(|l| now.since(l.at) < PEER_MEMORY) {
            s.rtt = Rtt::shared(TIMEOUTS, l.smoothed, l.deviation);
            s.set_kind(l.kind);
            s.congestion.start_from(l.window.into());
        }
    }

    fn remember_syn(&mut self, key: (DestinationHash, u32), now: Instant) {
        if self.seen_syns.len() >= self.config.limits.remembered_syns {
            self.seen_syns.retain(|_, at| now.since(*at) < SYN_MEMORY / 2);
        }
        if self.seen_syns.len() < self.config.limits.remembered_syns {
            self.seen_syns.insert(key, now);
        } else {
            self.stats.overflowed += 1;
        }
        self.sweep_at = self.sweep_at.min(now + TIME_WAIT);
    }

    fn new_id(&mut self) -> StreamId {
        loop {
            let id = StreamId(self.rng.nonzero_u32().get());
            if !self.streams.contains_key(&id) && !self.remains.contains_key(&id) {
                return id;
            }
        }
    }

    /// Deadlines that have come.
    pub fn handle_timeout(&mut self, cx: &mut Cx<'_>) {
        let now = cx.now.mono;
        while let Some(id) = self.timers.pop_expired(now) {
            self.touch(id, cx, |s, io| {
                if s.deadline().0 <= io.now {
                    s.on_timer(io);
                }
            });
            if self.timers.get(&id).is_some_and(|at| at <= now) {
                // A deadline that does not move would spin.
                self.timers.set(id, now + Duration::from_millis(1));
            }
        }
        if now >= self.sweep_at {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.early.retain(|_, e| now.since(e.since) < EARLY_WAIT);
        self.remains.retain(|_, r| r.until > now);
        self.seen_syns.retain(|_, at| now.since(*at) < SYN_MEMORY);
        self.learned.retain(|_, l| now.since(l.at) < PEER_MEMORY);
        let idle = self.early.is_empty()
            && self.remains.is_empty()
            && self.seen_syns.is_empty()
            && self.learned.is_empty();
        let wait = if self.early.is_empty() { TIME_WAIT } else { EARLY_WAIT };
        self.sweep_at = if idle { Instant::FAR_FUTURE } else { now + wait };
    }

    /// What is to be done outside.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Streams::handle_timeout`] wants to be called, and why.
    pub fn next_timeout(&self) -> Option<(Instant, Why)> {
        let stream = self.timers.next().map(|(at, id)| {
            let what = self.streams.get(id).map_or("nothing", |s| s.deadline().1);
            (at, Why { id: *id, what })
        });
        let sweep = (self.sweep_at, Why { id: StreamId(0), what: "forgetting closed streams" });
        let next = stream.filter(|s| s.0 <= sweep.0).unwrap_or(sweep);
        (next.0 < Instant::FAR_FUTURE).then_some(next)
    }

    /// Bytes that were written and that peers have not acknowledged. Of streams that have ended they never will.
    pub fn undelivered(&self) -> usize {
        self.streams.values().filter(|s| s.ended.is_none()).map(|s| s.send.buffered()).sum()
    }

    /// Streams that exist.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Counters.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// The state of a stream, for a console.
    pub fn status(&self, id: StreamId) -> Option<Status> {
        let s = self.streams.get(&id)?;
        Some(Status {
            peer: s.to,
            ports: s.ports,
            incoming: s.incoming,
            round_trip: s.rtt.smoothed(),
            window: s.window(),
            in_flight: s.send.in_flight(),
            rate: s.congestion.rate() as u64,
            unsent: s.send.unsent(),
            readable: s.receive.readable(),
        })
    }
}

/// The state of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// With whom.
    pub peer: DestinationHash,
    /// Source is ours.
    pub ports: Ports,
    /// Whether the peer opened it.
    pub incoming: bool,
    /// Smoothed, once measured.
    pub round_trip: Option<Duration>,
    /// Packets that may be in flight.
    pub window: u32,
    /// Packets in flight.
    pub in_flight: u32,
    /// Packets per second that the path delivers.
    pub rate: u64,
    /// Bytes not sent yet.
    pub unsent: usize,
    /// Bytes not read yet.
    pub readable: usize,
}

impl std::fmt::Debug for Streams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Streams").field("streams", &self.streams.len()).finish_non_exhaustive()
    }
}
