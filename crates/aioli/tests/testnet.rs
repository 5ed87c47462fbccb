//! `aioli testnet`: links that take time and lose, seeds, and what a person sees who starts it.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use aioli::services::session_options;
use aioli::testnet::{Layout, Network};
use aioli_node::embed::{Session, Stream};
use aioli_router::client::{Target, TunnelOptions};
use testkit::program::Program;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// One way, of each link.
const DELAY: Duration = Duration::from_millis(20);
/// Links between two destinations, one way, with two hops in each tunnel, of which the middle two may be one router.
const LINKS: u32 = 4;
/// Bytes that are sent.
const LARGE: usize = 300_000;

/// A stream between two routers of a network.
async fn stream(network: &Network) -> (Stream, Stream, [Session; 2]) {
    let tunnels = TunnelOptions { length: 2, variance: 0, quantity: 2, backup: 0, kbps: 0 };
    let options = || session_options(tunnels, tunnels, true);
    let (at_a, at_b) = (network.client(0), network.client(3));
    let (a, b) = (at_a.session(options()).await.unwrap(), at_b.session(options()).await.unwrap());
    a.ready(PATIENCE).await.unwrap();
    b.ready(PATIENCE).await.unwrap();
    let mut listener = b.listen().await.unwrap();
    let to = Target::Destination(Box::new(b.destination().clone()));
    let (ours, theirs) = tokio::join!(a.connect(to), listener.accept());
    (ours.unwrap(), theirs.unwrap(), [a, b])
}

/// What is sent arrives, and an answer does not come sooner than the links allow.
async fn carries_data_no_sooner_than(layout: Layout, round_trip: Duration) {
    let mut network = Network::start_with(&layout, &[]).unwrap();
    network.wait_until_usable(PATIENCE).await.unwrap();
    let (mut ours, mut theirs, _sessions) = stream(&network).await;
    let echo = async {
        let mut byte = [0];
        theirs.read_exact(&mut byte).await.unwrap();
        theirs.write_all(&byte).await.unwrap();
        theirs.flush().await.unwrap();
        let mut all = vec![0; LARGE];
        theirs.read_exact(&mut all).await.unwrap();
        all
    };
    let sent: Vec<u8> = (0..LARGE).map(|i| (i / 251) as u8).collect();
    let ask = async {
        let asked = Instant::now();
        ours.write_all(b"?").await.unwrap();
        ours.flush().await.unwrap();
        ours.read_exact(&mut [0]).await.unwrap();
        let took = asked.elapsed();
        ours.write_all(&sent).await.unwrap();
        ours.flush().await.unwrap();
        took
    };
    let (received, took) = tokio::time::timeout(PATIENCE, async { tokio::join!(echo, ask) }).await.unwrap();
    assert!(received == sent, "the bytes are others");
    assert!(took >= round_trip, "{took:?} is less than {round_trip:?}");
}

#[tokio::test]
async fn ntcp2_links_take_their_time_and_what_they_lose_comes_later() {
    let layout = Layout { ssu2: false, delay: DELAY, loss: 100, ..Layout::new(6) };
    carries_data_no_sooner_than(layout, DELAY * LINKS * 2).await;
}

#[tokio::test]
async fn ssu2_links_take_their_time_and_what_they_lose_is_sent_again() {
    let layout = Layout { ntcp2: false, delay: DELAY, loss: 100, ..Layout::new(6) };
    carries_data_no_sooner_than(layout, DELAY * LINKS * 2).await;
}

#[test]
fn a_seed_makes_the_same_routers_again() {
    let layout = Layout { seed: 7, ..Layout::new(5) };
    let identities = |layout| Network::start_with(&layout, &[]).unwrap().identities().to_vec();
    let first = identities(layout);
    assert_eq!(first.len(), 5);
    assert_eq!(first, identities(layout));
    assert_ne!(first, identities(Layout { seed: 8, ..layout }));
}

#[test]
fn a_newcomer_is_told_every_address_and_what_to_try() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aioli"));
    command.args(["testnet", "--routers", "5", "--seed", "7", "--delay", "5ms", "--loss", "0.5%"]);
    command.args(["--sam", "127.0.0.1:0", "--http-proxy", "127.0.0.1:0", "--socks-proxy", "127.0.0.1:0"]);
    command.args(["--console", "127.0.0.1:0"]);
    let mut testnet = Program::start(command);
    assert!(testnet.says("starting").contains("seed 7"));
    assert!(testnet.says("links").contains("5 ms each way and lose 0.5 %"));
    let http = testnet.says("HTTP proxy for browsers on 127.0.0.1:");
    testnet.says("SOCKS proxy for other programs on 127.0.0.1:");
    let sam = testnet.says("SAM for applications on 127.0.0.1:");
    let address = |line: &str| line.rsplit(' ').next().unwrap().parse::<SocketAddr>().unwrap();
    assert_ne!(address(&sam).port(), 0);
    testnet.says("http://hello.i2p/ has opened through the proxy");
    assert!(testnet.says("curl").ends_with(&format!("curl -x http://{} http://hello.i2p/", address(&http))));
    let mut browser = TcpStream::connect(address(&http)).unwrap();
    browser.set_read_timeout(Some(PATIENCE)).unwrap();
    browser.write_all(b"GET http://hello.i2p/ HTTP/1.0\r\nHost: hello.i2p\r\n\r\n").unwrap();
    let mut page = String::new();
    browser.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.") && page.contains("Hello from the other side"), "{page}");
    testnet.stops();
}

#[test]
fn links_that_are_not_possible_are_refused_in_a_line() {
    for (option, value, expected) in
        [("--delay", "3s", "give 0ms to 2000ms"), ("--loss", "60%", "give 0% to 50%")]
    {
        let output =
            Command::new(env!("CARGO_BIN_EXE_aioli")).args(["testnet", option, value]).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
        assert!(error.contains(expected), "{error}");
    }
}
