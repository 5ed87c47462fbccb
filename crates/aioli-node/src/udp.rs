//! The UDP socket of SSU2: many datagrams per system call (`ssu2`).
//!
//! Sending takes runs of equal datagrams to one peer (GSO); receiving takes
//! runs of one peer (GRO) and several such runs at once (`recvmmsg`). Where
//! the system has neither, the same calls do it one by one. Datagrams are
//! never fragmented on their way: what is too large for it is lost and counted.

use std::cell::{Cell, RefCell};
use std::io::{self, ErrorKind, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{RecvMeta, UdpSocketState};
use rustix::io::Errno;
use socket2::{SockRef, Type};
use tokio::io::Interest;

use crate::node::new_socket;

pub use quinn_udp::EcnCodepoint;

/// Runs of datagrams taken from the kernel at a time.
const RECEIVE_RUNS: usize = 16;
/// Room for one run. The kernel makes none longer, and no datagram is.
const RUN_BYTES: usize = 64 * 1024;
/// What the kernel is asked to hold in each direction; it may hold less.
const KERNEL_BUFFER: usize = 4 * 1024 * 1024;
/// The payload of one GSO send must fit one IP packet.
const MAX_SEND_BYTES: usize = 65_000;
/// The most datagrams that one call of [`UdpSocket::receive`] hands over.
pub const MAX_DATAGRAMS_PER_CALL: usize = RECEIVE_RUNS * 64;

/// Where a datagram came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Who sent it.
    pub from: SocketAddr,
    /// Which of our addresses it was sent to, if the system tells.
    pub to: Option<IpAddr>,
    /// Its ECN bits, if any is set.
    pub ecn: Option<EcnCodepoint>,
}

/// Datagrams to send to one peer.
#[derive(Clone, Copy, Debug)]
pub struct Transmit<'a> {
    /// To whom.
    pub to: SocketAddr,
    /// One datagram, or several of `segment_size` bytes back to back, of which the last may be shorter.
    pub bytes: &'a [u8],
    /// The size of each but the last; none for a single datagram.
    pub segment_size: Option<usize>,
    /// The ECN bits to send with.
    pub ecn: Option<EcnCodepoint>,
    /// Which of our addresses to send from; none for the system's choice.
    pub from: Option<IpAddr>,
}

impl<'a> Transmit<'a> {
    /// One datagram.
    pub const fn single(to: SocketAddr, bytes: &'a [u8]) -> Self {
        Self { to, bytes, segment_size: None, ecn: None, from: None }
    }

    fn segment(&self) -> usize {
        self.segment_size.filter(|size| *size > 0).unwrap_or(self.bytes.len())
    }
}

/// What a socket has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UdpStats {
    /// Datagrams received.
    pub received: u64,
    /// System calls that received something.
    pub receive_calls: u64,
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// System calls that sent something.
    pub send_calls: u64,
    /// Datagrams lost because they were larger than the path takes.
    pub too_large: u64,
    /// Datagrams lost because there is no way to their receiver.
    pub unreachable: u64,
    /// Datagrams lost because the kernel had another reason not to send them.
    pub unsendable: u64,
}

impl UdpStats {
    /// What two sockets have done together.
    pub const fn plus(self, other: &Self) -> Self {
        Self {
            received: self.received + other.received,
            receive_calls: self.receive_calls + other.receive_calls,
            sent: self.sent + other.sent,
            send_calls: self.send_calls + other.send_calls,
            too_large: self.too_large + other.too_large,
            unreachable: self.unreachable + other.unreachable,
            unsendable: self.unsendable + other.unsendable,
        }
    }
}

/// A UDP socket. For one thread.
#[derive(Debug)]
pub struct UdpSocket {
    socket: tokio::net::UdpSocket,
    state: UdpSocketState,
    local: SocketAddr,
    buffer: RefCell<Vec<u8>>,
    stats: Cell<UdpStats>,
}

/// Binds a port; an IPv6 socket takes IPv6 alone.
pub fn bind(address: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = new_socket(address, Type::DGRAM)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

impl UdpSocket {
    /// Binds a port. Within a runtime.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::new(bind(address)?)
    }

    /// Takes over a socket of [`bind`]. Within a runtime.
    pub fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let state = UdpSocketState::new((&socket).into())?;
        if state.may_fragment() {
            tracing::info!("this system cannot keep datagrams from being fragmented on their way");
        }
        let local = socket.local_addr()?;
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        let this = Self { socket, state, local, buffer: RefCell::default(), stats: Cell::default() };
        this.limit_buffers(KERNEL_BUFFER, KERNEL_BUFFER);
        Ok(this)
    }

    /// Asks the kernel to hold so many bytes of what is received and sent. It may hold less.
    pub fn limit_buffers(&self, receive: usize, send: usize) {
        let socket = SockRef::from(&self.socket);
        for result in [socket.set_recv_buffer_size(receive), socket.set_send_buffer_size(send)] {
            if let Err(error) = result {
                tracing::debug!("the size of a UDP socket's buffer: {error}");
            }
        }
    }

    /// The address that it is bound to.
    pub const fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Returns when there is something to receive.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await
    }

    /// Returns when the kernel takes datagrams again.
    pub async fn writable(&self) -> io::Result<()> {
        self.socket.writable().await
    }

    /// How many datagrams of equal size one system call can send.
    pub fn max_segments(&self) -> usize {
        self.state.max_gso_segments()
    }

    /// What it has done so far.
    pub fn stats(&self) -> UdpStats {
        self.stats.get()
    }

    /// Hands over what one system call receives, in order, at most [`MAX_DATAGRAMS_PER_CALL`]; says how many.
    /// None are there for now when it is 0.
    pub fn receive(&self, mut handle: impl FnMut(Arrival, &mut [u8])) -> io::Result<usize> {
        let mut buffer = self.buffer.take();
        // The system gives memory only to the parts that are used.
        buffer.resize(RECEIVE_RUNS * RUN_BYTES, 0);
        let result = self.receive_into(&mut buffer, &mut handle);
        self.buffer.replace(buffer);
        result
    }

    fn receive_into(
        &self,
        buffer: &mut [u8],
        handle: &mut impl FnMut(Arrival, &mut [u8]),
    ) -> io::Result<usize> {
        let mut metas = [RecvMeta::default(); RECEIVE_RUNS];
        let mut rest = &mut *buffer;
        let mut runs: [IoSliceMut<'_>; RECEIVE_RUNS] = std::array::from_fn(|_| {
            let (run, after) = std::mem::take(&mut rest).split_at_mut(RUN_BYTES);
            rest = after;
            IoSliceMut::new(run)
        });
        let received = self
            .socket
            .try_io(Interest::READABLE, || self.state.recv((&self.socket).into(), &mut runs, &mut metas));
        let received = match received {
            Ok(received) => received,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut datagrams = 0;
        for (meta, run) in metas.iter().zip(buffer.chunks_mut(RUN_BYTES)).take(received) {
            let arrival = Arrival { from: meta.addr, to: meta.dst_ip, ecn: meta.ecn };
            let Some(run) = run.get_mut(..meta.len) else { continue };
            for datagram in run.chunks_mut(meta.stride.max(1)) {
                handle(arrival, datagram);
                datagrams += 1;
            }
        }
        self.count(|s| (s.receive_calls, s.received) = (s.receive_calls + 1, s.received + datagrams as u64));
        Ok(datagrams)
    }

    /// Sends. Says how many bytes the kernel took: when that is not all, it takes more after [`Self::writable`].
    /// Datagrams that it cannot send are lost like those that the network loses, and counted.
    pub fn send(&self, transmit: &Transmit<'_>) -> usize {
        let segment = transmit.segment();
        let mut taken = 0;
        while let Some(rest) = transmit.bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let at_once = self.max_segments().min(MAX_SEND_BYTES / segment.max(1)).max(1);
            let run = rest.get(..segment.saturating_mul(at_once)).unwrap_or(rest);
            let segments = run.len().div_ceil(segment.max(1));
            match self.send_run(transmit, run, segment) {
                Ok(()) => self.count(|s| {
                    (s.send_calls, s.sent) = (s.send_calls + 1, s.sent + segments as u64);
                }),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return taken,
                // The system has found out that it cannot send several at once: once more, one by one.
                Err(_) if segments > self.max_segments() => continue,
                Err(error) => self.count(|s| *reason(s, &error) += segments as u64),
            }
            taken += run.len();
        }
        taken
    }

    fn send_run(&self, transmit: &Transmit<'_>, run: &[u8], segment: usize) -> io::Result<()> {
        // The system's word for these would be taken for a missing feature.
        if transmit.to.port() == 0 || transmit.to.is_ipv6() != self.local.is_ipv6() {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let sent = quinn_udp::Transmit {
            destination: transmit.to,
            ecn: transmit.ecn,
            contents: run,
            segment_size: (segment < run.len()).then_some(segment),
            src_ip: transmit.from,
        };
        self.socket.try_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &sent))
    }

    fn count(&self, change: impl FnOnce(&mut UdpStats)) {
        let mut stats = self.stats.get();
        change(&mut stats);
        self.stats.set(stats);
    }
}

/// The counter of datagrams lost to an error.
fn reason<'a>(stats: &'a mut UdpStats, error: &io::Error) -> &'a mut u64 {
    let unreachable =
        [ErrorKind::HostUnreachable, ErrorKind::NetworkUnreachable, ErrorKind::AddrNotAvailable];
    if Errno::from_io_error(error) == Some(Errno::MSGSIZE) {
        &mut stats.too_large
    } else if unreachable.contains(&error.kind()) {
        &mut stats.unreachable
    } else {
        tracing::debug!("a datagram cannot be sent: {error}");
        &mut stats.unsendable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loopback takes 65,535 bytes at a time.
    const LOOPBACK_MAX: usize = 65_507;

    fn pair(loopback: &str) -> (UdpSocket, UdpSocket, SocketAddr) {
        let any = SocketAddr::new(loopback.parse().unwrap(), 0);
        let (a, b) = (UdpSocket::bind(any).unwrap(), UdpSocket::bind(any).unwrap());
        let to = b.local_addr();
        (a, b, to)
    }

    /// What `socket` receives until `bytes` have come.
    async fn receive(socket: &UdpSocket, bytes: usize) -> Vec<(Arrival, Vec<u8>)> {
        let (mut all, mut so_far) = (Vec::new(), 0);
        while so_far < bytes {
            socket.readable().await.unwrap();
            socket
                .receive(|arrival, datagram| {
                    so_far += datagram.len();
                    all.push((arrival, datagram.to_vec()));
                })
                .unwrap();
        }
        all
    }

    async fn send_all(socket: &UdpSocket, mut transmit: Transmit<'_>) {
        loop {
            // Tokio learns from the system that a new socket is writable.
            socket.writable().await.unwrap();
            let taken = socket.send(&transmit);
            transmit.bytes = &transmit.bytes[taken..];
            if transmit.bytes.is_empty() {
                return;
            }
        }
    }

    #[tokio::test]
    async fn a_run_of_datagrams_arrives_as_it_was_cut() {
        for loopback in ["127.0.0.1", "::1"] {
            let (a, b, to) = pair(loopback);
            // More than one run, and a last one that is shorter.
            let bytes: Vec<u8> = (0..100 * 1472 + 7).map(|i: u32| (i / 1472) as u8).collect();
            let run = Transmit {
                segment_size: Some(1472),
                ecn: Some(EcnCodepoint::Ect0),
                ..Transmit::single(to, &bytes)
            };
            send_all(&a, run).await;
            let got = receive(&b, bytes.len()).await;
            assert!(got.iter().map(|(_, d)| d.as_slice()).eq(bytes.chunks(1472)));
            let from = a.local_addr();
            let arrival = Arrival { from, to: Some(to.ip()), ecn: Some(EcnCodepoint::Ect0) };
            assert_eq!(got.iter().map(|(a, _)| *a).find(|a| *a != arrival), None);
            assert_eq!((a.stats().sent, b.stats().received), (101, 101));
            if a.max_segments() > 1 {
                assert!(a.stats().send_calls < 10, "{:?}", a.stats());
            }
        }
    }

    #[tokio::test]
    async fn what_cannot_be_sent_is_counted_and_the_rest_arrives() {
        let (a, b, to) = pair("127.0.0.1");
        send_all(&a, Transmit::single(to, &vec![0; LOOPBACK_MAX + 1])).await;
        send_all(&a, Transmit::single("127.0.0.1:0".parse().unwrap(), b"nowhere")).await;
        send_all(&a, Transmit::single("[::1]:9".parse().unwrap(), b"another family")).await;
        send_all(&a, Transmit { from: Some([192, 0, 2, 1].into()), ..Transmit::single(to, b"not ours") })
            .await;
        let lost = a.stats();
        assert_eq!((lost.too_large, lost.unreachable, lost.unsendable, lost.sent), (1, 3, 0, 0));
        assert!(a.max_segments() == b.max_segments(), "a bad address is no missing feature");
        send_all(&a, Transmit::single(to, b"well")).await;
        assert_eq!(receive(&b, 4).await[0].1, b"well");
    }

    #[tokio::test]
    async fn an_unread_port_and_empty_datagrams_do_no_harm() {
        let (a, b, to) = pair("127.0.0.1");
        let unread = UdpSocket::bind("127.0.0.1:0".parse().unwrap()).unwrap().local_addr();
        for _ in 0..3 {
            send_all(&a, Transmit::single(unread, b"to nobody")).await;
        }
        let plain = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        plain.send_to(b"", to).unwrap();
        send_all(&a, Transmit::single(to, b"x")).await;
        assert_eq!(receive(&b, 1).await.last().unwrap().1, b"x");
    }

    #[tokio::test]
    async fn one_call_hands_over_a_bounded_number_and_none_when_there_are_none() {
        let (a, b, to) = pair("127.0.0.1");
        assert_eq!(b.receive(|_, _| panic!("nothing was sent")).unwrap(), 0);
        let bytes = vec![1; 2 * MAX_DATAGRAMS_PER_CALL];
        send_all(&a, Transmit { segment_size: Some(1), ..Transmit::single(to, &bytes) }).await;
        b.readable().await.unwrap();
        let first = b.receive(|_, datagram| assert_eq!(datagram, [1])).unwrap();
        assert!((1..=MAX_DATAGRAMS_PER_CALL).contains(&first));
    }
}
