//! SAM applications over a whole private network, in this process and on
//! loopback: large data both ways, half-close, and sessions that end.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use aioli::testnet::{Layout, Network};
use aioli_core::Rng;

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Bytes each way.
const LARGE: usize = 3_000_000;

type Sam = BufReader<TcpStream>;

fn connect(sam: SocketAddr) -> Sam {
    let stream = TcpStream::connect(sam).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut sam = BufReader::new(stream);
    assert_eq!(ask(&mut sam, "HELLO VERSION MIN=3.0 MAX=3.3"), "HELLO REPLY RESULT=OK VERSION=3.3");
    sam
}

fn ask(sam: &mut Sam, line: &str) -> String {
    writeln!(sam.get_mut(), "{line}").unwrap();
    answer(sam)
}

fn answer(sam: &mut Sam) -> String {
    let mut text = String::new();
    sam.read_line(&mut text).unwrap();
    text.trim_end().to_owned()
}

fn ok(sam: &mut Sam, line: &str) -> String {
    let text = ask(sam, line);
    assert!(text.contains("RESULT=OK"), "{line}: {text}");
    text
}

/// A session and its public destination.
fn session(sam: SocketAddr, id: &str) -> (Sam, String) {
    let mut control = connect(sam);
    ok(&mut control, &format!("SESSION CREATE STYLE=STREAM ID={id} DESTINATION=TRANSIENT"));
    let me = ok(&mut control, "NAMING LOOKUP NAME=ME");
    (control, me.split("VALUE=").nth(1).unwrap().to_owned())
}

fn bytes(seed: u8) -> Vec<u8> {
    let mut bytes = vec![0; LARGE];
    Rng::from_seed([seed; 32]).fill(&mut bytes);
    bytes
}

/// Sends all, finishes sending, and reads all that comes.
fn exchange(mut stream: Sam, send: Vec<u8>) -> std::thread::JoinHandle<Vec<u8>> {
    let mut writer = stream.get_ref().try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        writer.write_all(&send).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    std::thread::spawn(move || {
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        writing.join().unwrap();
        received
    })
}

#[test]
fn streams_run_over_ssu2_alone() {
    let mut network = Network::start_with(&Layout { ntcp2: false, ..Layout::new(6) }, &[0, 3]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(network.wait_until_usable(PATIENCE)).unwrap();
    let [a, b] = network.sam()[..] else { panic!("two SAM ports") };
    let (_control_b, address) = session(b, "b");
    let (_control_a, _) = session(a, "a");
    let mut incoming = connect(b);
    ok(&mut incoming, "STREAM ACCEPT ID=b");
    let mut outgoing = connect(a);
    ok(&mut outgoing, &format!("STREAM CONNECT ID=a DESTINATION={address}"));
    answer(&mut incoming);
    let (at_b, at_a) = (exchange(incoming, bytes(2)), exchange(outgoing, bytes(1)));
    assert!(at_b.join().unwrap() == bytes(1) && at_a.join().unwrap() == bytes(2));
    let (ssu2, all) = network.sessions();
    assert!(all >= 6 && ssu2 >= all, "{ssu2} of {all} sessions");
}

#[test]
fn streams_carry_large_data_both_ways_and_close_by_halves() {
    let mut network = Network::start(6, &[0, 3]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(network.wait_until_usable(PATIENCE)).unwrap();
    let [a, b] = network.sam()[..] else { panic!("two SAM ports") };
    let (control_b, address) = session(b, "b");
    let (_control_a, own) = session(a, "a");

    // Both ways at once.
    let mut incoming = connect(b);
    ok(&mut incoming, "STREAM ACCEPT ID=b");
    let mut outgoing = connect(a);
    ok(&mut outgoing, &format!("STREAM CONNECT ID=a DESTINATION={address} FROM_PORT=7 TO_PORT=8"));
    assert_eq!(answer(&mut incoming), format!("{own} FROM_PORT=7 TO_PORT=8"));
    let (at_b, at_a) = (exchange(incoming, bytes(2)), exchange(outgoing, bytes(1)));
    assert!(at_b.join().unwrap() == bytes(1) && at_a.join().unwrap() == bytes(2));

    // A question that ends before the answer begins; found by name; forwarded to a port.
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut forward = connect(b);
    let port = server.local_addr().unwrap().port();
    ok(&mut forward, &format!("STREAM FORWARD ID=b PORT={port} SILENT=true"));
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = server.accept().unwrap();
        let mut question = Vec::new();
        stream.read_to_end(&mut question).unwrap();
        stream.write_all(&question).unwrap();
    });
    let mut asking = connect(a);
    ok(&mut asking, &format!("STREAM CONNECT ID=a DESTINATION={}", b32(&address)));
    assert!(exchange(asking, bytes(3)).join().unwrap() == bytes(3));
    serving.join().unwrap();

    // The session ends with its connection, and what belongs to it.
    drop(control_b);
    assert_eq!(answer(&mut forward), "");
    assert!(ask(&mut connect(b), "STREAM ACCEPT ID=b").contains("RESULT=INVALID_ID"));
}

fn b32(address: &str) -> String {
    use aioli_wire::{Destination, Reader, Wire, base32, base64};
    let bytes = base64::decode(address).unwrap();
    let destination = Reader::new(Destination::SPEC, &bytes).read::<Destination>().unwrap();
    base32::host_name(&destination.hash())
}
