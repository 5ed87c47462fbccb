//! The driver under virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use aioli_core::crypto::hash::sha256_parts;
use aioli_core::{Date, Duration, Instant, Now, Rng};
use aioli_router::{ConnId, Output};
use aioli_wire::{DestinationHash, RouterHash};

use crate::app::Outcome;
use crate::host::Host;
use crate::live;
use crate::memo::Memo;
use crate::oracle::{Failure, Report, Violation};
use crate::pipe::{End, Pipe, WINDOW};
use crate::scenario::Scenario;
use crate::tally::Tally;

/// Where virtual wall time starts: some day in 2026, an hour before midnight UTC.
pub(crate) const EPOCH: Date = Date::from_secs(1_782_514_800);
/// Bytes asked of a router at a time.
const BATCH: usize = 64 * 1024;
/// Tables are measured, and liveness is checked, this often.
pub(crate) const INSPECT_EVERY: Duration = Duration::from_secs(60);
/// Hosts start one after the other, so far apart at most...
const START_GAP: Duration = Duration::from_millis(100);
/// ...and all of them within this time.
const ALL_STARTED: Duration = Duration::from_secs(100);
/// Bytes of a call.
const CALL: u64 = 2_000;
/// A published destination is used by others only after this time.
const SETTLE: Duration = Duration::from_secs(10);

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Happening {
    Wake { host: usize, life: u32 },
    Dialled { from: End, to: SocketAddr },
    Connected { pipe: u64 },
    Refused { from: End },
    Bytes { pipe: u64, lane: usize, bytes: Vec<u8> },
    Closed { pipe: u64, lane: usize },
    Datagram { from: SocketAddr, to: usize, bytes: Vec<u8> },
    Readable(End),
    Start { host: usize },
    Crash,
    Reset,
    Split,
    Heal,
    Transfer,
    Replace,
    Probe,
    Junk,
    Flood { number: usize },
    Call,
    Inspect,
}

/// Bytes on their way between two applications.
#[derive(Clone, Debug)]
pub(crate) struct Transfer {
    pub(crate) from: (usize, u32),
    pub(crate) to: (usize, u32),
    pub(crate) since: Instant,
    /// Made when all faults had stopped: it must succeed.
    pub(crate) call: bool,
}

/// A network under virtual time.
#[derive(Debug)]
pub struct World {
    pub(crate) scenario: Scenario,
    pub(crate) now: Instant,
    pub(crate) rng: Rng,
    pub(crate) hosts: Vec<Host>,
    queue: BTreeMap<(Instant, u64), Happening>,
    next_number: u64,
    pub(crate) pipes: BTreeMap<u64, Pipe>,
    pub(crate) published: BTreeMap<usize, (DestinationHash, u32, Instant)>,
    pub(crate) transfers: BTreeMap<u64, Transfer>,
    /// While the network is split: the hosts of one part.
    pub(crate) split: BTreeSet<usize>,
    /// Until when a host sleeps.
    pub(crate) asleep: BTreeMap<usize, Instant>,
    /// When it was made one again.
    pub(crate) healed: Option<Instant>,
    pub(crate) report: Report,
    /// Hosts by what others know of them.
    pub(crate) by_router: BTreeMap<RouterHash, usize>,
    pub(crate) by_address: BTreeMap<SocketAddr, usize>,
    pub(crate) by_destination: BTreeMap<DestinationHash, usize>,
    /// Fakes that hostile floodfills have stored.
    pub(crate) fakes_sent: usize,
    pub(crate) fakes: BTreeSet<RouterHash>,
    memo: Option<Arc<Memo>>,
}

impl World {
    /// A network of which no host has started.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        let mut rng = Rng::from_seed(bytes);
        let mut hosts = live::hosts(scenario, &mut rng);
        for (host, seconds) in hosts.iter_mut().rev().zip(scenario.wrong_clocks) {
            host.wrong_ms = seconds * 1_000;
        }
        let mut world = Self {
            scenario: scenario.clone(),
            now: Instant::ZERO,
            rng,
            hosts,
            queue: BTreeMap::new(),
            next_number: 0,
            pipes: BTreeMap::new(),
            published: BTreeMap::new(),
            transfers: BTreeMap::new(),
            split: BTreeSet::new(),
            asleep: BTreeMap::new(),
            healed: None,
            report: Report {
                trace: [0; 32],
                events: 0,
                started: 0,
                completed: 0,
                crashed: 0,
                parted: 0,
                failed: 0,
                failures: Vec::new(),
                called: 0,
                slowest: Duration::ZERO,
                tables: BTreeMap::new(),
                means: BTreeMap::new(),
                tally: Tally::default(),
            },
            by_router: BTreeMap::new(),
            by_address: BTreeMap::new(),
            by_destination: BTreeMap::new(),
            fakes_sent: 0,
            fakes: BTreeSet::new(),
            memo: scenario.scale.as_ref().map(|_| Arc::default()),
        };
        world.introduce();
        world
    }

    /// Runs to the end of the scenario.
    pub fn run(self) -> Result<Report, Box<Failure>> {
        self.run_watched(&mut |_, _| {})
    }

    /// The same, and tells at every look at the tables how far it is.
    pub fn run_watched(mut self, watch: &mut dyn FnMut(Duration, &Report)) -> Result<Report, Box<Failure>> {
        let result = self.run_to_end(watch);
        match result.and_then(|()| self.judge()) {
            Ok(()) => Ok(self.report),
            Err(violation) => Err(Box::new(Failure { violation, report: self.report })),
        }
    }

    fn run_to_end(&mut self, watch: &mut dyn FnMut(Duration, &Report)) -> Result<(), Violation> {
        self.run_until(Instant::ZERO + self.scenario.duration, watch)
    }

    pub(crate) fn run_until(
        &mut self,
        end: Instant,
        watch: &mut dyn FnMut(Duration, &Report),
    ) -> Result<(), Violation> {
        while let Some((at, _)) = self.queue.first_key_value().map(|(key, _)| *key)
            && at <= end
        {
            let Some((_, happening)) = self.queue.pop_first() else { break };
            self.now = at;
            self.report.events += 1;
            let inspects = matches!(happening, Happening::Inspect);
            self.count_event(&happening);
            self.handle(happening)?;
            if inspects {
                watch(at.since(Instant::ZERO), &self.report);
            }
        }
        Ok(())
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "the others are rare")]
    fn count_event(&mut self, happening: &Happening) {
        let kind = match happening {
            Happening::Wake { .. } => "wakes",
            Happening::Dialled { .. } => "dials",
            Happening::Connected { .. } | Happening::Refused { .. } => "dials ended",
            Happening::Bytes { .. } | Happening::Datagram { .. } => "deliveries",
            Happening::Closed { .. } => "closes",
            _ => "others",
        };
        let quarter = self.quarter();
        *self.report.tally.quarters[quarter].events.entry(kind).or_default() += 1;
    }

    /// Everyone's first RouterInfo is on everyone's disk, as after a reseed.
    fn introduce(&mut self) {
        for i in 0..self.hosts.len() {
            // Dated by the host's own clock, which may be wrong.
            let (host, now) = (&self.hosts[i], self.clock(i));
            let info = aioli_router::create_router_info(&host.config, &host.identity, now);
            self.hosts[i].first_info = info;
        }
        let infos: Vec<_> = self.hosts.iter().map(|host| Arc::clone(&host.first_info)).collect();
        let known = self.scenario.scale.as_ref().map(|scale| scale.known_at_start);
        let gap = START_GAP.min(ALL_STARTED / u32::try_from(self.hosts.len()).unwrap_or(u32::MAX).max(1));
        for i in 0..self.hosts.len() {
            let host = &self.hosts[i];
            self.by_router.insert(host.identity.hash(), i);
            self.by_address.extend(host.config.published.iter().map(|address| (*address, i)));
            let own = host.identity.hash();
            let others: Vec<_> = match known {
                Some(n) => (0..n).filter_map(|_| self.rng.choose(&infos)).collect(),
                None => infos.iter().collect(),
            };
            for info in others.into_iter().filter(|info| info.hash() != own) {
                self.hosts[i].disk.prepare(info.hash(), info.shared_bytes());
            }
            self.schedule(gap * u32::try_from(i).unwrap_or(u32::MAX), Happening::Start { host: i });
        }
        self.schedule_life();
        self.schedule(Duration::from_secs(60), Happening::Transfer);
        self.schedule(INSPECT_EVERY, Happening::Inspect);
        self.schedule_faults();
        let quiet = self.scenario.quiet;
        let last = self.scenario.duration.saturating_sub(quiet / 2);
        if self.scenario.scale.is_none() {
            self.schedule(last, Happening::Call);
        }
    }

    /// What the clocks of a host show.
    pub(crate) fn clock(&self, host: usize) -> Now {
        let since = self.now.since(Instant::ZERO) + self.hosts[host].ahead;
        let wall = EPOCH - self.scenario.skew + since;
        Now { mono: self.now, wall: wall.shifted(self.hosts[host].wrong_ms) }
    }

    /// By how much the router of a host takes the time to be later than it is, in milliseconds.
    pub(crate) fn clock_error_ms(&self, host: usize) -> i64 {
        let corrected = self.hosts[host].up.as_ref().map_or(0, |up| up.router.clock_offset_ms());
        let right = EPOCH + self.now.since(Instant::ZERO);
        let shown = self.clock(host).wall.shifted(corrected);
        let distance = i64::try_from(shown.abs_diff(right).as_millis()).unwrap_or(i64::MAX);
        if shown < right { -distance } else { distance }
    }

    /// Whether faults and transfers have stopped.
    pub(crate) fn is_quiet(&self) -> bool {
        self.now.since(Instant::ZERO) + self.scenario.quiet >= self.scenario.duration
    }

    pub(crate) fn schedule(&mut self, after: Duration, happening: Happening) {
        self.schedule_at(self.now + after, happening);
    }

    pub(crate) fn schedule_at(&mut self, at: Instant, happening: Happening) {
        self.queue.insert((at, self.next_number), happening);
        self.next_number += 1;
    }

    fn handle(&mut self, happening: Happening) -> Result<(), Violation> {
        if let Some(until) = self.wakes(&happening) {
            self.schedule_at(until, happening);
            return Ok(());
        }
        match happening {
            Happening::Wake { host, life } => self.on_wake(host, life),
            Happening::Dialled { from, to } => self.on_dialled(from, to),
            Happening::Connected { pipe } => self.on_connected(pipe),
            Happening::Refused { from } => {
                let now = self.clock(from.host);
                if let Some(up) = self.alive(from) {
                    up.router.connect_failed(from.conn, now);
                    return self.pump(from.host);
                }
                Ok(())
            }
            Happening::Bytes { pipe, lane, bytes } => self.on_bytes(pipe, lane, bytes),
            Happening::Datagram { from, to, bytes } => self.on_datagram(from, to, bytes),
            Happening::Closed { pipe, lane } => self.on_closed(pipe, lane),
            Happening::Readable(end) => self.read_on(end),
            Happening::Start { host } if self.hosts[host].gone => Ok(()),
            Happening::Start { host } => {
                let now = self.clock(host);
                self.hosts[host].start(self.memo.as_ref(), now);
                self.pump(host)
            }
            Happening::Crash => {
                self.on_crash();
                Ok(())
            }
            Happening::Reset => self.on_reset(),
            Happening::Split => {
                self.on_split();
                Ok(())
            }
            Happening::Heal => self.on_heal(),
            Happening::Transfer => self.on_transfer(),
            Happening::Replace => {
                self.on_replace();
                Ok(())
            }
            Happening::Probe => self.on_probe(),
            Happening::Junk => self.on_junk(),
            Happening::Flood { number } => self.on_flood(number),
            Happening::Call => self.on_call(),
            Happening::Inspect => self.on_inspect(),
        }
    }

    pub(crate) fn alive(&mut self, end: End) -> Option<&mut crate::host::Up> {
        let host = self.hosts.get_mut(end.host)?;
        if host.life == end.life { host.up.as_mut() } else { None }
    }

    fn on_wake(&mut self, host: usize, life: u32) -> Result<(), Violation> {
        let now = self.clock(host);
        if self.hosts[host].life != life {
            return Ok(());
        }
        let Some(up) = &mut self.hosts[host].up else { return Ok(()) };
        if up.wake.is_none_or(|at| at > now.mono) {
            // An earlier wake-up has replaced this one.
            return Ok(());
        }
        up.wake = None;
        up.router.handle_timeout(now);
        self.pump(host)
    }

    fn on_dialled(&mut self, from: End, to: SocketAddr) -> Result<(), Violation> {
        let delay = self.scenario.link.delay;
        let Some(source) = self.hosts[from.host].config.published.first().copied() else { return Ok(()) };
        let target = self.by_address.get(&to).copied();
        if target.is_none() && is_black_hole(to) {
            return Ok(());
        }
        if target.is_some_and(|target| self.is_split(from.host, target) || self.is_asleep(target)) {
            // No answer of any kind: the router gives up by itself.
            return Ok(());
        }
        let accepted = target.and_then(|host| {
            let now = self.clock(host);
            let life = self.hosts[host].life;
            let up = self.hosts[host].up.as_mut()?;
            let conn = up.router.accepted(SocketAddr::new(source.ip(), 40_000), now)?;
            Some(End { host, life, conn })
        });
        let Some(listener) = accepted else {
            self.schedule(delay, Happening::Refused { from });
            return Ok(());
        };
        let pipe = self.next_number;
        self.pipes.insert(pipe, Pipe::new(from, listener));
        if let Some(up) = self.alive(listener) {
            up.conns.insert(listener.conn, (pipe, 1));
        }
        self.schedule(delay, Happening::Connected { pipe });
        self.pump(listener.host)
    }

    fn on_connected(&mut self, pipe: u64) -> Result<(), Violation> {
        let Some(from) = self.pipes.get(&pipe).map(|p| p.ends[0]) else { return Ok(()) };
        let now = self.clock(from.host);
        let Some(up) = self.alive(from) else {
            self.cut(pipe, 0);
            return Ok(());
        };
        up.conns.insert(from.conn, (pipe, 0));
        up.router.connected(from.conn, now);
        self.pump(from.host)
    }

    fn on_bytes(&mut self, pipe: u64, lane: usize, mut bytes: Vec<u8>) -> Result<(), Violation> {
        if self.holds_back(pipe) {
            self.hold(pipe, lane, Some(bytes));
            return Ok(());
        }
        let Some(p) = self.pipes.get_mut(&pipe) else { return Ok(()) };
        let receiver = p.ends[1 - lane];
        if p.lanes[lane].unread.is_empty() && self.room(receiver) >= bytes.len() {
            return self.deliver(pipe, lane, &mut bytes);
        }
        if let Some(p) = self.pipes.get_mut(&pipe) {
            p.lanes[lane].unread.extend(bytes);
        }
        self.read_on(receiver)
    }

    /// What a connection may read now.
    fn room(&mut self, end: End) -> usize {
        let now = self.clock(end.host);
        self.alive(end).map_or(usize::MAX, |up| up.router.read_room(end.conn, now))
    }

    /// A connection reads of what has arrived as much as it may.
    fn read_on(&mut self, receiver: End) -> Result<(), Violation> {
        let conn = self.alive(receiver).and_then(|up| up.conns.get(&receiver.conn).copied());
        let Some((pipe, end)) = conn else { return Ok(()) };
        let lane = 1 - end;
        loop {
            let room = self.room(receiver);
            let Some(p) = self.pipes.get_mut(&pipe) else { return Ok(()) };
            let unread = &mut p.lanes[lane].unread;
            if unread.is_empty() {
                let ends = p.lanes[lane].ends;
                return if ends { self.on_closed(pipe, lane) } else { Ok(()) };
            }
            if room == 0 {
                return Ok(());
            }
            let mut bytes: Vec<u8> = unread.drain(..room.min(unread.len())).collect();
            self.deliver(pipe, lane, &mut bytes)?;
        }
    }

    fn deliver(&mut self, pipe: u64, lane: usize, bytes: &mut [u8]) -> Result<(), Violation> {
        let Some(p) = self.pipes.get_mut(&pipe) else { return Ok(()) };
        p.lanes[lane].under_way = p.lanes[lane].under_way.saturating_sub(bytes.len());
        let sender_waits = std::mem::take(&mut p.lanes[lane].sender_waits);
        let (sender, receiver) = (p.ends[lane], p.ends[1 - lane]);
        let now = self.clock(receiver.host);
        self.note(receiver.host, bytes);
        // TCP may cut anywhere: sometimes we do.
        let cut = if self.rng.chance(1, 4) { self.rng.up_to(bytes.len() as u64) } else { 0 };
        let (head, tail) = bytes.split_at_mut(usize::try_from(cut).unwrap_or(0));
        if let Some(up) = self.alive(receiver) {
            for part in [head, tail] {
                if !part.is_empty() {
                    up.router.handle_bytes(receiver.conn, part, now);
                }
            }
            self.pump(receiver.host)?;
        }
        if sender_waits && self.alive(sender).is_some() {
            self.transmit(sender.host, sender.conn);
            self.pump(sender.host)?;
        }
        Ok(())
    }

    /// One end is told that the other has closed.
    fn on_closed(&mut self, pipe: u64, lane: usize) -> Result<(), Violation> {
        if self.holds_back(pipe) {
            self.hold(pipe, lane, None);
            return Ok(());
        }
        if let Some(p) = self.pipes.get_mut(&pipe)
            && !p.lanes[lane].unread.is_empty()
        {
            p.lanes[lane].ends = true;
            return Ok(());
        }
        let Some(end) = self.pipes.remove(&pipe).map(|p| p.ends[1 - lane]) else { return Ok(()) };
        self.tell_closed(end)
    }

    /// The router of this end learns that its connection is gone.
    pub(crate) fn tell_closed(&mut self, end: End) -> Result<(), Violation> {
        let now = self.clock(end.host);
        let Some(up) = self.alive(end) else { return Ok(()) };
        if up.conns.remove(&end.conn).is_some() {
            up.router.closed(end.conn, now);
            return self.pump(end.host);
        }
        Ok(())
    }

    /// The end that lane `lane` starts from is gone.
    pub(crate) fn cut(&mut self, pipe: u64, lane: usize) {
        let Some(p) = self.pipes.get_mut(&pipe) else { return };
        let arrival = p.lanes[lane].arrival(0, &self.scenario.link, self.now, &mut self.rng);
        self.schedule_at(arrival, Happening::Closed { pipe, lane });
    }

    fn on_transfer(&mut self) -> Result<(), Violation> {
        if self.is_quiet() {
            return Ok(());
        }
        self.schedule(self.scenario.transfer_every, Happening::Transfer);
        let senders: Vec<_> = (0..self.hosts.len())
            .filter(|i| self.hosts[*i].up.as_ref().is_some_and(|up| up.app.is_ready()))
            .collect();
        let settled: Vec<_> = self
            .published
            .iter()
            .filter(|(_, (_, _, since))| self.now.since(*since) >= SETTLE)
            .map(|(host, _)| *host)
            .collect();
        let (Some(from), Some(to)) = (self.rng.choose(&senders).copied(), self.rng.choose(&settled).copied())
        else {
            return Ok(());
        };
        let length = self.rng.up_to(self.scenario.transfer_bytes);
        if from == to { Ok(()) } else { self.transfer(from, to, length, false) }
    }

    /// The faults are over: every destination is called by somebody.
    fn on_call(&mut self) -> Result<(), Violation> {
        let ready: Vec<_> = (0..self.hosts.len())
            .filter(|i| self.hosts[*i].up.as_ref().is_some_and(|up| up.app.is_ready()))
            .collect();
        for to in 0..self.hosts.len() {
            if !self.published.contains_key(&to) {
                let why = "it has published no destination".to_owned();
                return Err(Violation::NotReached { host: to, why });
            }
            let others: Vec<_> = ready.iter().filter(|from| **from != to).copied().collect();
            let Some(from) = self.rng.choose(&others).copied() else { return Ok(()) };
            self.report.called += 1;
            self.transfer(from, to, CALL, true)?;
        }
        Ok(())
    }

    pub(crate) fn transfer(
        &mut self,
        from: usize,
        to: usize,
        length: u64,
        call: bool,
    ) -> Result<(), Violation> {
        let Some((hash, life, _)) = self.published.get(&to).copied() else { return Ok(()) };
        let (id, now) = (self.next_number, self.clock(from));
        self.next_number += 1;
        self.report.started += 1;
        let from_life = self.hosts[from].life;
        let transfer = Transfer { from: (from, from_life), to: (to, life), since: self.now, call };
        self.transfers.insert(id, transfer);
        if let Some(up) = &mut self.hosts[from].up {
            up.app.send(&mut up.router, id, length, hash, now);
        }
        self.pump(from)
    }

    /// Everything delivered goes into the trace.
    pub(crate) fn note(&mut self, host: usize, bytes: &[u8]) {
        self.report.trace = sha256_parts(&[
            &self.report.trace,
            &self.now.as_micros().to_be_bytes(),
            &(host as u64).to_be_bytes(),
            bytes,
        ]);
    }

    /// Does all that a host asks, until it asks for nothing.
    pub(crate) fn pump(&mut self, host: usize) -> Result<(), Violation> {
        let mut ready = BTreeSet::new();
        loop {
            let now = self.clock(host);
            let life = self.hosts[host].life;
            if self.blows(host) {
                return Ok(());
            }
            let Some(up) = &mut self.hosts[host].up else { return Ok(()) };
            let Some(output) = up.router.poll_output() else {
                if ready.is_empty() {
                    break;
                }
                for conn in std::mem::take(&mut ready) {
                    self.transmit(host, conn);
                }
                continue;
            };
            match output {
                Output::Transmit(conn) => {
                    ready.insert(conn);
                }
                Output::Datagrams => self.send_datagrams(host),
                Output::ReadMore(conn) => {
                    self.schedule(Duration::ZERO, Happening::Readable(End { host, life, conn }));
                }
                Output::Dial { conn, to } => {
                    let from = End { host, life, conn };
                    self.schedule(self.scenario.link.delay, Happening::Dialled { from, to });
                }
                Output::Close { conn, .. } => {
                    self.transmit(host, conn);
                    let closed = self.hosts[host].up.as_mut().and_then(|up| up.conns.remove(&conn));
                    if let Some((pipe, end)) = closed {
                        self.cut(pipe, end);
                    }
                }
                Output::Store(write) => self.hosts[host].disk.store(write, self.now),
                Output::Client(event) => up.app.handle_event(&event, &mut up.router, now),
                Output::Event(_) => {}
                Output::Tapped(tapped) => self.on_tapped(host, tapped),
            }
        }
        self.take_outcomes(host)?;
        self.set_wake(host);
        Ok(())
    }

    /// Moves what a router has for a connection into its pipe.
    pub(crate) fn transmit(&mut self, host: usize, conn: ConnId) {
        let now = self.clock(host);
        let Some(up) = &mut self.hosts[host].up else { return };
        let Some((pipe, lane)) = up.conns.get(&conn).copied() else { return };
        let Some(p) = self.pipes.get_mut(&pipe) else { return };
        let mut arrivals = Vec::new();
        loop {
            if p.lanes[lane].under_way >= WINDOW {
                p.lanes[lane].sender_waits = true;
                break;
            }
            let mut bytes = Vec::new();
            if !up.router.poll_transmit(conn, &mut bytes, BATCH, now) || bytes.is_empty() {
                break;
            }
            p.lanes[lane].under_way += bytes.len();
            let at = p.lanes[lane].arrival(bytes.len(), &self.scenario.link, now.mono, &mut self.rng);
            arrivals.push((at, Happening::Bytes { pipe, lane, bytes }));
        }
        for (at, happening) in arrivals {
            self.schedule_at(at, happening);
        }
    }

    fn take_outcomes(&mut self, host: usize) -> Result<(), Violation> {
        let life = self.hosts[host].life;
        let Some(up) = &mut self.hosts[host].up else { return Ok(()) };
        for outcome in up.app.take_outcomes() {
            match outcome {
                Outcome::Published(hash) => {
                    self.published.insert(host, (hash, life, self.now));
                    self.by_destination.insert(hash, host);
                }
                Outcome::Completed { id } => {
                    if let Some(t) = self.transfers.remove(&id) {
                        self.report.completed += 1;
                        self.report.slowest = self.report.slowest.max(self.now.since(t.since));
                    }
                }
                Outcome::Failed { id, why } => {
                    if let Some(transfer) = self.transfers.remove(&id) {
                        self.on_failed(id, &transfer, why)?;
                    }
                }
                Outcome::Corrupt { id } => return Err(Violation::Corrupt { id, at: self.now }),
            }
        }
        Ok(())
    }

    fn set_wake(&mut self, host: usize) {
        let now = self.now;
        let life = self.hosts[host].life;
        let Some(up) = &mut self.hosts[host].up else { return };
        let Some(next) = up.router.next_timeout().map(|at| at.max(now)) else { return };
        if up.wake.is_none_or(|at| next < at) {
            up.wake = Some(next);
            self.schedule_at(next, Happening::Wake { host, life });
        }
    }
}

/// Nothing stands at this address, and it does not even say so: every other is like that.
fn is_black_hole(to: SocketAddr) -> bool {
    match to.ip() {
        std::net::IpAddr::V4(ip) => ip.octets()[1] % 2 == 1,
        std::net::IpAddr::V6(_) => false,
    }
}
