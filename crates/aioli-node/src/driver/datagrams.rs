//! Datagrams between the router and the UDP sockets.
//!
//! Work is done in rounds of bounded size, so that neither direction keeps the
//! other, or TCP, waiting. When the kernel takes no more, nothing is asked of
//! the router until it does: what waits stays where it can still expire.

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
    /// What of it the kernel did not take.
    unsent: Cell<Option<Unsent>>,
    /// The kernel takes no more.
    blocked: Notify,
}

/// The end of the buffer, for one peer.
#[derive(Clone, Copy)]
struct Unsent {
    to: SocketAddr,
    segment: usize,
    /// Where it begins.
    at: usize,
}

impl Datagrams {
    pub(super) fn new(sockets: Vec<Rc<UdpSocket>>) -> Self {
        Self {
            sockets,
            due: Cell::new(false),
            buffer: RefCell::default(),
            unsent: Cell::new(None),
            blocked: Notify::new(),
        }
    }

    fn socket(&self, to: SocketAddr) -> Option<&Rc<UdpSocket>> {
        self.sockets.iter().find(|s| s.local_addr().is_ipv4() == to.is_ipv4())
    }

    /// Hands the end of `buffer` to the kernel. False: it does not take all of it.
    fn send(&self, unsent: Unsent, buffer: &[u8]) -> bool {
        let Unsent { to, segment, at } = unsent;
        // The router dials no family for which there is no socket.
        let Some(socket) = self.socket(to) else { return true };
        let bytes = buffer.get(at..).unwrap_or_default();
        let taken = socket.send(&Transmit { segment_size: Some(segment), ..Transmit::single(to, bytes) });
        if taken == bytes.len() {
            return true;
        }
        self.unsent.set(Some(Unsent { at: at + taken, ..unsent }));
        self.blocked.notify_waiters();
        false
    }

    /// Whether this socket is what everything waits for.
    fn is_blocked_by(&self, socket: &UdpSocket) -> bool {
        self.unsent.get().is_some_and(|u| u.to.is_ipv4() == socket.local_addr().is_ipv4())
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
        if let Some(unsent) = datagrams.unsent.take()
            && !datagrams.send(unsent, &buffer)
        {
            return;
        }
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
            if !datagrams.send(Unsent { to: transmit.to, segment: transmit.segment, at: 0 }, &buffer) {
                return;
            }
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
        let blocked = shared.datagrams.is_blocked_by(&socket);
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
                shared.send_datagrams();
                shared.wake.notify_one();
            }
            // Looks again whether it is this one.
            () = shared.datagrams.blocked.notified(), if !blocked => {}
        }
        // One call's worth, then it is the turn of TCP and of the pump.
        tokio::task::yield_now().await;
    }
}
