//! One router's driver: tells the state machines what happened and does what
//! they ask.
//!
//! All tasks of a driver run on one thread and share [`Shared`]. A task that
//! has told the router something wakes the pump; the pump runs after every
//! task that was ready, so that one round serves all sockets and each link
//! gets one write.

mod datagrams;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use aioli_client::{Sam, SamConn, SamOutput};
use aioli_core::{Instant, Now};
use aioli_router::{ConnId, Output, Router, StoreWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use crate::clock::Clock;
use crate::embed::Embed;
use crate::link::{Ending, Link, SocketBuffers, WRITE_BATCH, Written};
use crate::links::{Arrival, Arrivals, LinkConditions};
use crate::node::Notice;
use crate::udp::UdpSocket;
use datagrams::Datagrams;

/// Bytes read from a socket at a time.
const READ_BATCH: usize = 64 * 1024;
/// A TCP connection to a router must stand within this time.
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
/// A TCP connection to an application, for `STREAM FORWARD`: what SAM promises.
const FORWARD_TIMEOUT: Duration = Duration::from_secs(3);
/// A peer that acknowledges nothing for this long is gone. TCP alone would wait for a quarter of an hour.
const PEER_PATIENCE: Duration = Duration::from_secs(60);
/// After a failed accept (out of file descriptors) wait before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Which machine a link belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LinkId {
    Peer(ConnId),
    Sam(SamConn),
}

/// What the tasks of a driver share.
pub(crate) struct Shared {
    machines: RefCell<Machines>,
    links: RefCell<BTreeMap<LinkId, Rc<Link>>>,
    read_buffer: RefCell<Vec<u8>>,
    wake: Notify,
    /// A link has ended.
    ended: Notify,
    stopping: Cell<bool>,
    clock: Cell<Clock>,
    sinks: Sinks,
    /// What the kernel may hold of a peer's bytes.
    buffers: SocketBuffers,
    datagrams: Datagrams,
    /// What links of a test network hold back.
    arrivals: Option<RefCell<Arrivals>>,
}

/// The state machines of one router.
pub(crate) struct Machines {
    pub(crate) router: Router,
    pub(crate) sam: Sam,
    pub(crate) embed: Embed,
}

/// Where outputs go that are not for a socket.
pub(crate) struct Sinks {
    pub(crate) store: std::sync::mpsc::Sender<StoreWrite>,
    pub(crate) notices: tokio::sync::mpsc::UnboundedSender<Notice>,
}

impl Shared {
    pub(crate) fn new(
        machines: Machines,
        clock: Clock,
        sinks: Sinks,
        buffers: SocketBuffers,
        sockets: Vec<Rc<UdpSocket>>,
        links: Option<LinkConditions>,
    ) -> Rc<Self> {
        Rc::new(Self {
            machines: RefCell::new(machines),
            links: RefCell::default(),
            read_buffer: RefCell::new(vec![0; READ_BATCH]),
            wake: Notify::new(),
            ended: Notify::new(),
            stopping: Cell::new(false),
            clock: Cell::new(clock),
            sinks,
            buffers,
            datagrams: Datagrams::new(sockets),
            arrivals: links.map(|links| RefCell::new(Arrivals::new(links))),
        })
    }

    pub(crate) fn now(&self) -> Now {
        self.clock.get().now()
    }

    /// When the system's wall clock is further from ours than this, it was set: follows it. The router
    /// finds out by itself.
    pub(crate) fn follow_wall_clock(&self, tolerated_ms: u64) {
        let mut clock = self.clock.get();
        let apart = clock.apart();
        if apart.unsigned_abs() > tolerated_ms {
            clock.follow(apart);
            self.clock.set(clock);
            self.with_machines(|m, now| m.router.handle_timeout(now));
        }
    }

    /// The state machines, for a snapshot or a command.
    pub(crate) fn with_machines<T>(&self, f: impl FnOnce(&mut Machines, Now) -> T) -> T {
        let result = f(&mut self.machines.borrow_mut(), self.now());
        self.wake.notify_one();
        result
    }

    /// Tells the node's owner.
    pub(crate) fn notify(&self, notice: Notice) {
        // An error means that nobody listens any more.
        let _ = self.sinks.notices.send(notice);
    }

    /// Returns when no link is left.
    pub(crate) async fn all_ended(&self) {
        while !self.links.borrow().is_empty() {
            self.ended.notified().await;
        }
    }

    /// Ends [`run`] after the last outputs are written.
    pub(crate) fn stop(&self) {
        self.stopping.set(true);
        self.wake.notify_one();
    }

    /// Does all that the machines ask, until they ask for nothing.
    fn pump(self: &Rc<Self>) {
        let mut ready = BTreeSet::new();
        loop {
            let progressed = self.drain_router(&mut ready) | self.drain_sam(&mut ready);
            for id in std::mem::take(&mut ready) {
                self.flush(id);
            }
            self.send_datagrams();
            if !progressed {
                return;
            }
        }
    }

    fn drain_router(self: &Rc<Self>, ready: &mut BTreeSet<LinkId>) -> bool {
        let mut progressed = false;
        loop {
            let output = self.machines.borrow_mut().router.poll_output();
            let Some(output) = output else { return progressed };
            progressed = true;
            match output {
                Output::Transmit(conn) => {
                    ready.insert(LinkId::Peer(conn));
                }
                Output::Datagrams => self.datagrams.due.set(true),
                Output::ReadMore(conn) => {
                    if let Some(link) = self.link(LinkId::Peer(conn)) {
                        link.kick.notify_one();
                    }
                }
                Output::Dial { conn, to } => self.dial(LinkId::Peer(conn), to),
                Output::Close { conn, reset } => {
                    self.flush(LinkId::Peer(conn));
                    self.end(LinkId::Peer(conn), if reset { Ending::Reset } else { Ending::Drain });
                }
                Output::Store(write) => {
                    // The writer ends only after us.
                    let _ = self.sinks.store.send(write);
                }
                Output::Client(event) => {
                    let Machines { router, sam, embed } = &mut *self.machines.borrow_mut();
                    if !embed.handle_event(&event, router, self.now()) {
                        sam.handle_event(&event, router, self.now());
                    }
                }
                Output::Event(event) => {
                    let _ = self.sinks.notices.send(Notice::Router(event));
                }
                Output::Tapped(_) => {}
            }
        }
    }

    fn drain_sam(self: &Rc<Self>, ready: &mut BTreeSet<LinkId>) -> bool {
        let mut progressed = false;
        loop {
            let output = self.machines.borrow_mut().sam.poll_output();
            let Some(output) = output else { return progressed };
            progressed = true;
            match output {
                SamOutput::Transmit(conn) => {
                    ready.insert(LinkId::Sam(conn));
                }
                SamOutput::ReadMore(conn) => {
                    if let Some(link) = self.link(LinkId::Sam(conn)) {
                        link.kick.notify_one();
                    }
                }
                SamOutput::Finish(conn) => {
                    self.flush(LinkId::Sam(conn));
                    if let Some(link) = self.link(LinkId::Sam(conn)) {
                        link.finish();
                    }
                }
                SamOutput::Close(conn) => {
                    self.flush(LinkId::Sam(conn));
                    self.end(LinkId::Sam(conn), Ending::Drain);
                }
                SamOutput::Dial { conn, to } => self.dial(LinkId::Sam(conn), to),
            }
        }
    }

    fn link(&self, id: LinkId) -> Option<Rc<Link>> {
        self.links.borrow().get(&id).cloned()
    }

    fn end(&self, id: LinkId, ending: Ending) {
        if let Some(link) = self.link(id) {
            link.end(ending);
        }
    }

    fn flush(&self, id: LinkId) {
        let Some(link) = self.link(id) else { return };
        let now = self.now();
        let written = link.flush(|out| {
            let Machines { router, sam, .. } = &mut *self.machines.borrow_mut();
            match id {
                LinkId::Peer(conn) => router.poll_transmit(conn, out, WRITE_BATCH, now),
                LinkId::Sam(conn) => sam.poll_transmit(conn, out, WRITE_BATCH, router, now),
            }
        });
        if written == Written::Broken {
            self.gone(id, &link);
        }
    }

    /// The connection ended under us: tell its machine once.
    fn gone(&self, id: LinkId, link: &Link) {
        if link.ending() == Ending::Gone || self.links.borrow_mut().remove(&id).is_none() {
            return;
        }
        link.end(Ending::Gone);
        self.ended.notify_one();
        let now = self.now();
        let Machines { router, sam, .. } = &mut *self.machines.borrow_mut();
        match id {
            LinkId::Peer(conn) => {
                if let Some(arrivals) = &self.arrivals {
                    arrivals.borrow_mut().forget(conn);
                }
                router.closed(conn, now);
            }
            LinkId::Sam(conn) => sam.handle_closed(conn, router, now),
        }
        self.wake.notify_one();
    }

    /// The computer's addresses have changed, and it has these no more: connections that were bound to them are over,
    /// whether or not their other ends will ever hear of it.
    pub(crate) fn network_changed(&self, gone: &BTreeSet<IpAddr>) {
        let is_broken = |link: &Link| link.stream.local_addr().is_ok_and(|local| gone.contains(&local.ip()));
        let links = self.links.borrow();
        let broken = links.iter().filter(|(id, link)| matches!(id, LinkId::Peer(_)) && is_broken(link));
        let broken: Vec<_> = broken.map(|(id, link)| (*id, Rc::clone(link))).collect();
        drop(links);
        self.with_machines(|m, now| m.router.network_changed(now));
        for (id, link) in broken {
            self.gone(id, &link);
        }
    }

    fn add_link(self: &Rc<Self>, id: LinkId, stream: TcpStream) {
        let link = Rc::new(Link::new(stream));
        if let LinkId::Peer(_) = id {
            link.limit_buffers(self.buffers);
            link.limit_patience(PEER_PATIENCE);
        }
        self.links.borrow_mut().insert(id, Rc::clone(&link));
        tokio::task::spawn_local(run_link(Rc::clone(self), id, link));
    }

    fn dial(self: &Rc<Self>, id: LinkId, to: SocketAddr) {
        let shared = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let patience = match id {
                LinkId::Peer(_) => DIAL_TIMEOUT,
                LinkId::Sam(_) => FORWARD_TIMEOUT,
            };
            let stream = tokio::time::timeout(patience, TcpStream::connect(to)).await;
            if let (LinkId::Peer(_), Some(arrivals)) = (id, &shared.arrivals) {
                let handshake = arrivals.borrow().round_trip();
                tokio::time::sleep(handshake).await;
            }
            let now = shared.now();
            if let Ok(Ok(stream)) = stream {
                shared.add_link(id, stream);
                let Machines { router, sam, .. } = &mut *shared.machines.borrow_mut();
                match id {
                    LinkId::Peer(conn) => router.connected(conn, now),
                    LinkId::Sam(conn) => sam.connected(conn, router, now),
                }
            } else {
                let Machines { router, sam, .. } = &mut *shared.machines.borrow_mut();
                match id {
                    LinkId::Peer(conn) => router.connect_failed(conn, now),
                    LinkId::Sam(conn) => sam.connect_failed(conn, router, now),
                }
            }
            shared.wake.notify_one();
        });
    }

    /// How much the link's machine can take now.
    fn read_room(&self, id: LinkId) -> usize {
        match id {
            LinkId::Peer(_) => READ_BATCH,
            LinkId::Sam(conn) => {
                let machines = self.machines.borrow();
                machines.sam.read_room(conn, &machines.router).min(READ_BATCH)
            }
        }
    }

    /// Reads once and hands over what came.
    fn read(&self, id: LinkId, link: &Link, mut room: usize) -> Reading {
        if let LinkId::Peer(conn) = id {
            // Asked now that there is something: within a bandwidth limit, room is for those who use it.
            room = room.min(self.machines.borrow_mut().router.read_room(conn, self.now()));
            if let Some(arrivals) = &self.arrivals {
                room = room.min(arrivals.borrow().room(conn));
            }
            if room == 0 {
                self.wake.notify_one();
                return Reading::Later;
            }
        }
        let mut buffer = self.read_buffer.borrow_mut();
        let n = match link.stream.try_read(&mut buffer[..room]) {
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return Reading::On,
            Err(_) => return Reading::Broken,
        };
        let now = self.now();
        self.wake.notify_one();
        if let (LinkId::Peer(conn), Some(arrivals)) = (id, &self.arrivals) {
            let mut arrivals = arrivals.borrow_mut();
            if n == 0 {
                arrivals.end(conn, now.mono);
                return Reading::Ended;
            }
            arrivals.bytes(conn, &buffer[..n], now.mono);
            return Reading::On;
        }
        let Machines { router, sam, .. } = &mut *self.machines.borrow_mut();
        match (id, n) {
            (LinkId::Peer(_), 0) => return Reading::Broken,
            (LinkId::Peer(conn), n) => router.handle_bytes(conn, &mut buffer[..n], now),
            (LinkId::Sam(conn), 0) => {
                // A client that has finished sending may still receive.
                sam.handle_eof(conn, router, now);
                return Reading::Ended;
            }
            (LinkId::Sam(conn), n) => sam.handle_bytes(conn, &buffer[..n], router, now),
        }
        Reading::On
    }
}

/// What a read came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reading {
    /// More may come.
    On,
    /// There is more, but it must wait for a kick.
    Later,
    /// The other side has finished sending.
    Ended,
    /// The connection is over.
    Broken,
}

/// Serves one connection until it ends.
async fn run_link(shared: Rc<Shared>, id: LinkId, link: Rc<Link>) {
    let (mut reading, mut waiting) = (true, false);
    loop {
        match link.ending() {
            Ending::Gone => return,
            Ending::Reset => {
                if let Err(error) = link.stream.set_zero_linger() {
                    tracing::debug!("SO_LINGER: {error}");
                }
                break;
            }
            Ending::Drain if !link.is_blocked() => break,
            Ending::Drain | Ending::Open => {}
        }
        link.finish_if_drained();
        let room = if reading && !waiting { shared.read_room(id) } else { 0 };
        tokio::select! {
            () = link.kick.notified() => waiting = false,
            ready = link.stream.writable(), if link.is_blocked() => {
                if ready.is_err() {
                    break;
                }
                shared.flush(id);
                shared.wake.notify_one();
            }
            ready = link.stream.readable(), if room > 0 => {
                match if ready.is_err() { Reading::Broken } else { shared.read(id, &link, room) } {
                    Reading::On => {}
                    Reading::Later => waiting = true,
                    Reading::Ended => reading = false,
                    Reading::Broken => break,
                }
            }
        }
    }
    shared.gone(id, &link);
}

/// Accepts peers (or SAM clients) until the driver ends.
pub(crate) async fn listen(shared: Rc<Shared>, listener: TcpListener, sam: bool) {
    loop {
        let Ok((stream, from)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let now = shared.now();
        let id = {
            let machines = &mut *shared.machines.borrow_mut();
            if sam {
                machines.sam.accepted(from.ip(), now).map(LinkId::Sam)
            } else {
                machines.router.accepted(from, now).map(LinkId::Peer)
            }
        };
        if let Some(id) = id {
            shared.add_link(id, stream);
        }
        shared.wake.notify_one();
    }
}

/// The pump and the clock: runs until [`Shared::stop`].
pub(crate) async fn run(shared: Rc<Shared>) {
    while !shared.stopping.get() {
        shared.expire();
        shared.pump();
        let deadline = shared.next_timeout();
        tokio::select! {
            () = shared.wake.notified() => {}
            () = tokio::time::sleep_until(shared.clock.get().to_std(deadline).into()) => {}
        }
    }
    shared.pump();
}

impl Shared {
    fn next_timeout(&self) -> Instant {
        let machines = self.machines.borrow();
        let arrival = self.arrivals.as_ref().and_then(|arrivals| arrivals.borrow().next());
        let all = [machines.router.next_timeout(), machines.sam.next_timeout(), arrival];
        all.into_iter().flatten().min().unwrap_or(Instant::FAR_FUTURE)
    }

    /// Hands on what links have held back long enough.
    fn deliver(&self) {
        let Some(arrivals) = &self.arrivals else { return };
        loop {
            let now = self.now();
            let Some(arrival) = arrivals.borrow_mut().pop(now.mono) else { return };
            let router = &mut self.machines.borrow_mut().router;
            match arrival {
                Arrival::Datagram { from, mut bytes } => router.handle_datagram(from, &mut bytes, now),
                Arrival::Bytes { conn, mut bytes } => {
                    router.handle_bytes(conn, &mut bytes, now);
                    // It may read again.
                    if let Some(link) = self.link(LinkId::Peer(conn)) {
                        link.kick.notify_one();
                    }
                }
                Arrival::End { conn } => self.end(LinkId::Peer(conn), Ending::Drain),
            }
        }
    }

    fn expire(&self) {
        self.deliver();
        let now = self.now();
        if self.next_timeout() <= now.mono {
            let Machines { router, sam, .. } = &mut *self.machines.borrow_mut();
            router.handle_timeout(now);
            sam.handle_timeout(router, now);
        }
    }
}
