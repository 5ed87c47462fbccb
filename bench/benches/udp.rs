//! The socket of SSU2: full datagrams over loopback, in both directions of the
//! kernel, on one thread.

use std::hint::black_box;
use std::net::SocketAddr;

use aioli_node::udp::{Transmit, UdpSocket};
use divan::Bencher;
use divan::counter::ItemsCount;
use tokio::runtime::Runtime;

fn main() {
    divan::main();
}

/// The payload of UDP in a packet of 1,500 bytes.
const DATAGRAM: usize = 1472;
/// Sent before they are received: one run at most.
const DATAGRAMS: usize = 44;

struct Sockets {
    runtime: Runtime,
    sender: UdpSocket,
    receiver: UdpSocket,
    to: SocketAddr,
}

impl Sockets {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (sender, receiver) = runtime.block_on(async {
            let pair = (UdpSocket::bind(any).expect("a port"), UdpSocket::bind(any).expect("a port"));
            pair.0.writable().await.expect("a new socket takes datagrams");
            pair
        });
        let to = receiver.local_addr();
        Self { runtime, sender, receiver, to }
    }

    /// Sends so many datagrams in runs of `run` and receives them.
    fn carry(&self, bytes: &[u8], run: usize) {
        for part in bytes.chunks(run * DATAGRAM) {
            let transmit = Transmit { segment_size: Some(DATAGRAM), ..Transmit::single(self.to, part) };
            assert_eq!(self.sender.send(&transmit), part.len());
        }
        let mut missing = DATAGRAMS;
        self.runtime.block_on(async {
            while missing > 0 {
                self.receiver.readable().await.expect("a bound socket");
                missing -= self.receiver.receive(|_, d| _ = black_box(d)).expect("a bound socket");
            }
        });
    }
}

fn carry(bencher: Bencher<'_, '_>, run: usize) {
    let sockets = Sockets::new();
    let bytes = vec![7; DATAGRAMS * DATAGRAM];
    bencher.counter(ItemsCount::new(DATAGRAMS)).bench_local(|| sockets.carry(&bytes, run));
}

/// One system call sends all, and one run is received.
#[divan::bench]
fn in_runs(bencher: Bencher<'_, '_>) {
    carry(bencher, DATAGRAMS);
}

/// As when each goes to another peer: a system call sends one, one receives up to 16.
#[divan::bench]
fn one_by_one(bencher: Bencher<'_, '_>) {
    carry(bencher, 1);
}

/// A plain socket, a system call for each in each direction.
#[divan::bench]
fn plain_socket(bencher: Bencher<'_, '_>) {
    let sender = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let receiver = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let to = receiver.local_addr().expect("a bound socket");
    let bytes = vec![7; DATAGRAM];
    let mut buffer = vec![0; 2 * DATAGRAM];
    bencher.counter(ItemsCount::new(DATAGRAMS)).bench_local(|| {
        for _ in 0..DATAGRAMS {
            sender.send_to(&bytes, to).expect("loopback takes it");
        }
        for _ in 0..DATAGRAMS {
            black_box(receiver.recv_from(&mut buffer).expect("it was sent"));
        }
    });
}
