//! A peer that shakes hands as it should and then sends what no router sends,
//! given to the real `i2p-router`: it counts, drops and goes on working.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Date, Now, Rng};
use aioli_transport::{Config, ConnId, Lane, Output, Transport};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::{Mapping, Message, MessageId, MessageType, RouterAddress, RouterIdentity, Verified};
use tempfile::TempDir;
use testkit::program::{Program, counter, eventually, router};

/// Nothing here may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
const NET_ID: u8 = 99;
/// Kinds of messages: all that exist, and two that do not.
const KINDS: [u8; 19] = [0, 1, 2, 3, 10, 11, 18, 19, 20, 21, 22, 23, 24, 25, 26, 30, 99, 223, 255];
/// Messages of each kind.
const OF_EACH: u32 = 25;

/// The router under attack.
struct Victim {
    router: Program,
    dir: TempDir,
}

impl Victim {
    fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let stats = dir.path().join("stats.json");
        let args = ["--external-host", "127.0.0.1", "--port", "0", "--no-sam", "--floodfill", "--stats-file"];
        let args = [&args, &[stats.to_str().unwrap()][..]].concat();
        let mut running = Program::start(router(env!("CARGO_BIN_EXE_i2p-router"), dir.path(), &args));
        running.says("routers known");
        Self { router: running, dir }
    }

    fn info(&self) -> Arc<Verified<RouterInfo>> {
        let file = self.dir.path().join("router.info");
        let bytes = eventually("its RouterInfo", PATIENCE, || fs::read(&file).ok());
        Arc::new(RouterInfo::decode_unverified(&bytes).unwrap().verify().unwrap())
    }

    fn counter(&self, name: &str) -> u64 {
        counter(&self.dir.path().join("stats.json"), name)
    }

    fn counts(&self, counter: &str) {
        eventually(counter, PATIENCE, || (self.counter(counter) > 0).then_some(()));
    }
}

/// A router that is nothing but a transport and a socket.
struct Peer {
    transport: Transport,
    target: Arc<Verified<RouterInfo>>,
    stream: TcpStream,
    conn: ConnId,
    rng: Rng,
    began: Instant,
    established: bool,
    /// All that it sent.
    sent: Vec<u8>,
}

impl Peer {
    fn new(target: &Arc<Verified<RouterInfo>>, seed: u8) -> Self {
        let mut rng = Rng::from_seed([seed; 32]);
        let signing = SigningKey::generate(&mut rng);
        let static_key = PrivateKey::generate(&mut rng);
        let encryption = PrivateKey::generate(&mut rng).public();
        let options = [("caps", "LU"), ("netId", &NET_ID.to_string()), ("router.version", "0.9.67")];
        let parts = RouterInfoParts {
            identity: RouterIdentity::create(&encryption, &signing.public(), &rng.bytes()),
            published: wall(),
            addresses: vec![RouterAddress::ntcp2(14, &static_key.public(), None).unwrap()],
            options: Mapping::from_pairs(options).unwrap(),
        };
        let mut config = Config::new(static_key, rng.bytes());
        (config.net_id, config.private_network) = (NET_ID, true);
        let mut transport = Transport::new(config, rng.fork());
        transport.set_local(Arc::new(RouterInfo::create(parts, &signing)));
        let began = Instant::now();
        transport.connect(target, &mut Cx { now: now(began), rng: &mut rng });
        let Some(Output::Dial { conn, to }) = transport.poll_output() else { panic!("no address to dial") };
        let stream = TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let target = Arc::clone(target);
        Self { transport, target, stream, conn, rng, began, established: false, sent: Vec::new() }
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Transport, &mut Cx<'_>) -> T) -> T {
        f(&mut self.transport, &mut Cx { now: now(self.began), rng: &mut self.rng })
    }

    /// The handshake, from message 1 to message 3.
    fn establish(mut self) -> Self {
        let conn = self.conn;
        self.with(|t, cx| t.handle_connected(conn, cx));
        let mut bytes = [0; 4096];
        loop {
            self.flush();
            if self.established {
                return self;
            }
            let n = self.stream.read(&mut bytes).unwrap();
            assert!(n > 0, "closed during the handshake");
            self.with(|t, cx| t.handle_bytes(conn, &mut bytes[..n], cx));
        }
    }

    fn flush(&mut self) {
        while let Some(output) = self.transport.poll_output() {
            self.established |= matches!(output, Output::Established { .. });
        }
        let (conn, mut out) = (self.conn, Vec::new());
        while self.with(|t, cx| t.poll_transmit(conn, &mut out, 16_384, cx)) {}
        self.sent.extend_from_slice(&out);
        // The router may have closed.
        let _ = self.stream.write_all(&out);
    }

    fn send(&mut self, message: Message) {
        let to = self.target.hash();
        // A message that our own transport refuses is not sent.
        let _ = self.with(|t, cx| t.send_to(&to, Lane::Own, message, cx));
        self.flush();
    }

    /// A message of this kind with a body that nobody would send.
    fn nonsense(&mut self, kind: u8, n: u32) -> Message {
        let len = match n % 5 {
            0 => 0,
            1 => 1 + self.rng.up_to(40) as usize,
            2 => 1028,
            3 => 60_000,
            _ => self.rng.up_to(2_000) as usize,
        };
        let mut body = vec![0; len];
        self.rng.fill(&mut body);
        if n % 5 == 4 && kind == 1 {
            // A store of our own RouterInfo with a flipped bit.
            let info = self.target.bytes();
            body = [
                self.target.hash().as_bytes(),
                &[0, 0, 0, 0, 0][..],
                &(info.len() as u16).to_be_bytes(),
                info,
            ]
            .concat();
        }
        let expires = match n % 7 {
            0 => Date::NULL,
            1 => wall() + Duration::from_secs(86_400),
            _ => wall() + Duration::from_secs(20),
        };
        Message { kind: MessageType::from_code(kind), id: MessageId(self.rng.u32()), expires, body }
    }
}

fn wall() -> Date {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Date::from_millis(u64::try_from(now.as_millis()).unwrap())
}

fn now(began: Instant) -> Now {
    Now { mono: aioli_core::Instant::ZERO + began.elapsed(), wall: wall() }
}

fn closes(stream: &mut TcpStream) -> bool {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => return error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

#[test]
fn nonsense_in_every_message_changes_nothing() {
    let mut victim = Victim::start();
    let info = victim.info();
    let mut peer = Peer::new(&info, 1).establish();
    for n in 0..OF_EACH {
        for kind in KINDS {
            let message = peer.nonsense(kind, n);
            peer.send(message);
        }
    }
    victim.counts("dropped");
    // It still takes part.
    drop(Peer::new(&info, 2).establish());
    assert!(victim.router.child.try_wait().unwrap().is_none());
    assert_eq!(victim.counter("bugs"), 0);
    let known = fs::read_dir(victim.dir.path().join("netDb")).map_or(0, Iterator::count);
    assert!(known <= 64, "nothing forged was stored");
}

#[test]
fn handshakes_that_are_replayed_or_cut_and_frames_that_are_damaged_are_counted() {
    let victim = Victim::start();
    let info = victim.info();
    let mut good = Peer::new(&info, 3).establish();
    // Message 1 is 64 bytes and its padding; the rest was an answer to what the router drew.
    let recorded = good.sent.clone();
    let mut replay = Peer::new(&info, 4);
    replay.stream.write_all(&recorded[..recorded.len().min(64 + 31)]).unwrap();
    victim.counts("replays");
    // A frame that nobody sealed, as long as its masked length may say. It may close before it has it all.
    let _ = good.stream.write_all(&[0x5a; 70_000]);
    assert!(closes(&mut good.stream), "the session is over");
    victim.counts("bad_frames");
    // Message 3 never comes to its end.
    let mut cut = Peer::new(&info, 5);
    let conn = cut.conn;
    cut.with(|t, cx| t.handle_connected(conn, cx));
    cut.flush();
    drop(cut);
    drop(Peer::new(&info, 6).establish());
    assert_eq!(victim.counter("bugs"), 0);
}
