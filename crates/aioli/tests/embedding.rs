//! Programs in the router's own process: destinations and streams as Rust
//! values, over a whole private network on loopback.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::io::ErrorKind;
use std::time::Duration;

use aioli::services::session_options;
use aioli::testnet::Network;
use aioli_core::Rng;
use aioli_node::embed::{Client, ClientError, Listener, Session, Stream};
use aioli_router::client::{SessionOptions, Target, TunnelOptions};
use aioli_wire::DestinationHash;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes each way.
const LARGE: usize = 3_000_000;
/// A stream that takes nothing for so long is full.
const FULL_AFTER: Duration = Duration::from_secs(1);

fn options() -> SessionOptions {
    let tunnels = TunnelOptions { length: 2, variance: 0, quantity: 2, backup: 0, kbps: 0 };
    session_options(tunnels, tunnels, true)
}

async fn session(client: &Client) -> Session {
    let session = client.session(options()).await.unwrap();
    session.ready(PATIENCE).await.unwrap();
    session
}

fn bytes(seed: u8, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    Rng::from_seed([seed; 32]).fill(&mut bytes);
    bytes
}

async fn pair(from: &Session, to: &Session, listener: &mut Listener) -> (Stream, Stream) {
    let target = Target::Hash(to.destination().hash());
    let (ours, theirs) = tokio::join!(from.connect_to_port(target, 80), listener.accept());
    let (ours, theirs) = (ours.unwrap(), theirs.unwrap());
    assert_eq!(theirs.peer_destination(), Some(from.destination()));
    assert_eq!((ours.peer(), theirs.ports().1), (to.destination().hash(), 80));
    (ours, theirs)
}

/// Sends all, finishes sending, and reads all that comes.
async fn exchange(stream: Stream, send: Vec<u8>) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut received = Vec::new();
    let write = async {
        writer.write_all(&send).await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let ((), n) = tokio::join!(write, reader.read_to_end(&mut received));
    n.unwrap();
    received
}

#[test]
fn sessions_and_streams_of_a_program_in_the_same_process() {
    let mut network = Network::start(6, &[]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let early = network.client(0).session(options()).await.unwrap();
        let nobody = Target::Hash(DestinationHash::new([7; 32]));
        assert_eq!(early.connect(nobody).await.unwrap_err(), ClientError::NoTunnels);
        network.wait_until_usable(PATIENCE).await.unwrap();
        let (a, b) = (session(&network.client(0)).await, session(&network.client(3)).await);
        let mut listener = b.listen().await.unwrap();
        both_ways(&a, &b, &mut listener).await;
        slow_reader(&a, &b, &mut listener).await;
        endings(&a, &b, &mut listener).await;
        last_words(&network.client(0), &b, &mut listener).await;
        refusals(&a, &b, listener).await;
        // The end of the router ends all that is open.
        let mut listener = b.listen().await.unwrap();
        let (_ours, mut theirs) = pair(&a, &b, &mut listener).await;
        tokio::task::spawn_blocking(move || drop(network)).await.unwrap();
        assert!(theirs.read(&mut [0; 1]).await.is_err());
        assert_eq!(listener.accept().await.unwrap_err(), ClientError::SessionClosed);
        let after = a.connect(Target::Hash(b.destination().hash())).await;
        assert_eq!(after.unwrap_err(), ClientError::Stopped);
        drop((a, b, early));
    });
}

async fn both_ways(a: &Session, b: &Session, listener: &mut Listener) {
    assert_eq!(*a.lookup(b.destination().hash()).await.unwrap(), *b.destination());
    let (ours, theirs) = pair(a, b, listener).await;
    let (at_a, at_b) = tokio::join!(exchange(ours, bytes(1, LARGE)), exchange(theirs, bytes(2, LARGE)));
    assert!(at_a == bytes(2, LARGE) && at_b == bytes(1, LARGE));
}

/// Who does not read holds up his own sender, soon, and nobody else.
async fn slow_reader(a: &Session, b: &Session, listener: &mut Listener) {
    let (mut ours, mut unread) = pair(a, b, listener).await;
    let writer = tokio::spawn(async move {
        ours.write_all(&bytes(3, 4 * LARGE)).await.unwrap();
        ours.shutdown().await.unwrap();
    });
    let (other, theirs) = pair(a, b, listener).await;
    let (at_a, _) = tokio::join!(exchange(other, Vec::new()), exchange(theirs, bytes(4, LARGE)));
    assert!(at_a == bytes(4, LARGE));
    assert!(!writer.is_finished(), "12 MB were taken of a stream that nobody reads");
    let mut received = Vec::new();
    unread.read_to_end(&mut received).await.unwrap();
    assert!(received == bytes(3, 4 * LARGE));
    writer.await.unwrap();
}

async fn endings(a: &Session, b: &Session, listener: &mut Listener) {
    // What was written before the end arrives, though nobody waits for it.
    let (mut ours, mut theirs) = pair(a, b, listener).await;
    ours.write_all(b"all of it").await.unwrap();
    ours.shutdown().await.unwrap();
    drop(ours);
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"all of it");
    // A stream that is dropped in the middle broke off, and the peer sees that.
    let (mut ours, mut theirs) = pair(a, b, listener).await;
    ours.write_all(b"part").await.unwrap();
    theirs.read_exact(&mut [0; 4]).await.unwrap();
    drop(ours);
    assert_eq!(theirs.read(&mut [0; 1]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
}

/// What was written outlives the last handle of its session, even if nobody reads it until then.
async fn last_words(client: &Client, b: &Session, listener: &mut Listener) {
    let a = session(client).await;
    let (mut ours, mut theirs) = pair(&a, b, listener).await;
    let sent = bytes(5, 8 * LARGE);
    let mut written = 0;
    while let Ok(n) = tokio::time::timeout(FULL_AFTER, ours.write(&sent[written..])).await {
        written += n.unwrap();
    }
    ours.shutdown().await.unwrap();
    drop((ours, a));
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).await.unwrap();
    assert!(received == sent[..written], "{} of {written} bytes", received.len());
}

async fn refusals(a: &Session, b: &Session, listener: Listener) {
    drop(listener);
    let to = |session: &Session| Target::Hash(session.destination().hash());
    assert_eq!(a.connect(to(b)).await.unwrap_err(), ClientError::Refused);
    let nobody = DestinationHash::new([7; 32]);
    assert_eq!(a.connect(Target::Hash(nobody)).await.unwrap_err(), ClientError::NotFound);
}
