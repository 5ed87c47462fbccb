//! Datagrams between the router and the UDP sockets.
//!
//! Work is done in rounds of bounded size, so that neither direction keeps the
//! other, or TCP, waiting. When the kernel takes no more of an address family,
//! nothing for it is asked of the router until it does: what waits stays where
//! it can still expire, and the other family goes on.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::sync::Notify;

use super::{Machines, Shared};
use crate::udp::{Transmit, UdpSocket, UdpStats};

/// Batches sent in a round, each of one call to the kernel.
const ROUND: usize = 64;
/// Datagrams asked of the router for one call, if the kernel takes as many.
const MAX_SEGMENTS: usize = 64;

/// What the driver knows of its UDP sockets.
pub(super) struct Datagrams {
    /// One an address family at most.
    sockets: Vec<Rc<UdpSocket>>,
    /// The router has said that it has some, and has not yet said that it has no more.
    pub(super) due: Cell<bool>,
    /// What is being sent.
    buffer: RefCell<Vec<u8>>,
    /// What the kernel did not take of it: IPv4, IPv6.
    unsent: RefCell<[Option<Unsent>; 2]>,
    /// The kernel takes no more of a family.
    blocked: Notify,
}

/// Datagrams for one peer.
struct Unsent {
    to: SocketAddr,
    segment: usize,
    bytes: Vec<u8>,
}

/// Where a family is in an array.
const fn family(at: SocketAddr) -> usize {
    at.is_ipv6() as usize
}

impl Datagrams {
    pub(super) fn new(sockets: Vec<Rc<UdpSocket>>) -> Self {
        Self {
            sockets,
            due: Cell::new(false),
            buffer: RefCell::default(),
            unsent: RefCell::default(),
            blocked: Notify::new(),
        }
    }

    /// Hands datagrams to the kernel. False: it does not take all of them, and the rest is kept.
    fn send(&self, to: SocketAddr, segment: usize, bytes: &[u8]) -> bool {
        // The router dials no family for which there is no socket.
        let Some(socket) = self.sockets.iter().find(|s| family(s.local_addr()) == family(to)) else {
            return true;
        };
        let taken = socket.send(&Transmit { segment_size: Some(segment), ..Transmit::single(to, bytes) });
        let rest = bytes.get(taken..).unwrap_or_default();
        if rest.is_empty() {
            return true;
        }
        self.unsent.borrow_mut()[family(to)] = Some(Unsent { to, segment, bytes: rest.to_vec() });
        self.blocked.notify_waiters();
        false
    }

    /// Tries again what a family's socket did not take. Whether something has changed.
    fn send_rest(&self, family: usize) -> bool {
        let unsent = self.unsent.borrow_mut()[family].take();
        unsent.is_some_and(|rest| self.send(rest.to, rest.segment, &rest.bytes))
    }

    /// Whether this socket takes no more.
    fn is_blocked(&self, socket: &UdpSocket) -> bool {
        self.unsent.borrow()[family(socket.local_addr())].is_some()
    }

    /// Which families take datagrams: IPv4, IPv6.
    fn writable(&self) -> [bool; 2] {
        self.unsent.borrow().each_ref().map(Option::is_none)
    }
}

impl Shared {
    /// Sends what the router has for UDP: one round of it.
    pub(super) fn send_datagrams(&self) {
        let datagrams = &self.datagrams;
        if !datagrams.due.get() {
            return;
        }
        let mut buffer = datagrams.buffer.borrow_mut();
        for _ in 0..ROUND {
            buffer.clear();
            let now = self.now();
            let transmit = self.machines.borrow_mut().router.poll_datagrams(&mut buffer, MAX_SEGMENTS, now);
            let Some(transmit) = transmit else {
                datagrams.due.set(false);
                return;
            };
            // What the router has to say about it, and the rest, come after whoever is ready by now.
            self.wake.notify_one();
            if !datagrams.send(transmit.to, transmit.segment, &buffer) {
                self.tell_writable();
            }
        }
    }

    fn tell_writable(&self) {
        let [ipv4, ipv6] = self.datagrams.writable();
        self.machines.borrow_mut().router.set_ssu2_writable(ipv4, ipv6);
        self.wake.notify_one();
    }

    /// A socket takes datagrams again.
    fn on_writable(&self, socket: &UdpSocket) {
        if self.datagrams.send_rest(family(socket.local_addr())) {
            self.tell_writable();
        }
    }

    /// Receives from every UDP socket until the driver ends.
    pub(crate) fn receive_datagrams(self: &Rc<Self>) {
        for socket in &self.datagrams.sockets {
            tokio::task::spawn_local(run_socket(Rc::clone(self), Rc::clone(socket)));
        }
    }

    /// What the sockets have done, together.
    pub(crate) fn udp_stats(&self) -> UdpStats {
        self.datagrams.sockets.iter().fold(UdpStats::default(), |sum, socket| sum.plus(&socket.stats()))
    }

    /// What one system call gives, to the router.
    fn receive(&self, socket: &UdpSocket) {
        let now = self.now();
        let Machines { router, .. } = &mut *self.machines.borrow_mut();
        let received = socket.receive(|arrival, bytes| match &self.arrivals {
            None => router.handle_datagram(arrival.from, bytes, now),
            Some(arrivals) => arrivals.borrow_mut().datagram(arrival.from, bytes, now.mono),
        });
        if let Err(error) = received {
            // As a rule it is about something sent before, and is over once it was read.
            tracing::debug!("receiving datagrams: {error}");
        }
        self.wake.notify_one();
    }
}

/// Serves one socket.
async fn run_socket(shared: Rc<Shared>, socket: Rc<UdpSocket>) {
    loop {
        let blocked = shared.datagrams.is_blocked(&socket);
        tokio::select! {
            ready = socket.readable() => {
                if let Err(error) = ready {
                    tracing::error!("a UDP socket cannot be used any more: {error}");
                    return;
                }
                shared.receive(&socket);
            }
            ready = socket.writable(), if blocked => {
                if ready.is_err() {
                    return;
                }
                shared.on_writable(&socket);
            }
            // Looks again whether it is this one.
            () = shared.datagrams.blocked.notified(), if !blocked => {}
        }
        // One call's worth, then it is the turn of TCP and of the pump.
        tokio::task::yield_now().await;
    }
}
