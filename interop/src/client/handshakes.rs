//! NTCP2 handshakes against one router, as many as it takes, each of a router
//! that it has never heard of: for `compare`.
//!
//! A handshake counts when the other side has closed the connection after our
//! termination: only then it has read message 3 and verified the RouterInfo in it.
//! The initiators are our own transport; their share of the processor is theirs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Date, Now, Rng};
use aioli_transport::{Config, ConnId, Output, Transport};
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::{Mapping, RouterAddress, RouterIdentity, Verified};
use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::rand;

/// Initiators at a time.
const PARALLEL: usize = 8;
/// Patience with one read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Makes `count` handshakes with the router of this RouterInfo, or fewer in `limit`;
/// prints how many and how long they took.
pub fn handshakes(router_info: &Path, net_id: u8, count: u32, limit: Duration) -> Result<()> {
    let bytes = std::fs::read(router_info)?;
    let target = Arc::new(RouterInfo::decode_unverified(&bytes)?.verify()?);
    let (left, done) = (AtomicU32::new(count), AtomicU32::new(0));
    let began = Instant::now();
    let work = || -> Result<()> {
        let mut seed = [0; 32];
        rand::fill(&mut seed).ok().context("no randomness")?;
        let mut rng = Rng::from_seed(seed);
        while began.elapsed() < limit && take_one(&left) {
            handshake(&target, net_id, &mut rng)?;
            done.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let failure = thread::scope(|scope| {
        let all = (0..PARALLEL).map(|_| scope.spawn(work)).collect::<Vec<_>>();
        all.into_iter().filter_map(|t| t.join().ok()?.err()).last()
    });
    let done = done.into_inner();
    if done == 0 {
        return Err(failure.unwrap_or_else(|| anyhow::anyhow!("no handshake came about")));
    }
    println!("HANDSHAKES {done} {:.3}", began.elapsed().as_secs_f64());
    Ok(())
}

fn take_one(left: &AtomicU32) -> bool {
    left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok()
}

/// One handshake by a new router.
fn handshake(target: &Arc<Verified<RouterInfo>>, net_id: u8, rng: &mut Rng) -> Result<()> {
    let mut initiator = Initiator::new(net_id, rng)?;
    initiator.with(|t, cx| t.connect(target, cx));
    let Some(Output::Dial { conn, to }) = initiator.transport.poll_output() else {
        bail!("the router has no address to dial");
    };
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    initiator.with(|t, cx| t.handle_connected(conn, cx));
    initiator.until_established(conn, &mut stream)?;
    initiator.with(|t, cx| t.close(&target.hash(), TerminationReason::Normal, cx));
    initiator.flush(conn, &mut stream)?;
    stream.shutdown(Shutdown::Write)?;
    until_closed(&mut stream)
}

/// A router that is nothing but a transport.
struct Initiator {
    transport: Transport,
    rng: Rng,
    began: Instant,
    established: bool,
}

impl Initiator {
    fn new(net_id: u8, rng: &mut Rng) -> Result<Self> {
        let signing = SigningKey::generate(rng);
        let encryption = PrivateKey::generate(rng).public();
        let static_key = PrivateKey::generate(rng);
        let options = [("caps", "LU"), ("netId", &net_id.to_string()), ("router.version", "0.9.67")];
        let parts = RouterInfoParts {
            identity: RouterIdentity::create(&encryption, &signing.public(), &rng.bytes()),
            published: wall(),
            addresses: vec![RouterAddress::ntcp2(14, &static_key.public(), None)?],
            options: Mapping::from_pairs(options)?,
        };
        let mut config = Config::new(static_key, rng.bytes());
        (config.net_id, config.private_network) = (net_id, true);
        let mut transport = Transport::new(config, rng.fork());
        transport.set_local(Arc::new(RouterInfo::create(parts, &signing)));
        Ok(Self { transport, rng: rng.fork(), began: Instant::now(), established: false })
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Transport, &mut Cx<'_>) -> T) -> T {
        let mono = aioli_core::Instant::ZERO + self.began.elapsed();
        f(&mut self.transport, &mut Cx { now: Now { mono, wall: wall() }, rng: &mut self.rng })
    }

    fn until_established(&mut self, conn: ConnId, stream: &mut TcpStream) -> Result<()> {
        let mut bytes = [0; 4096];
        loop {
            self.flush(conn, stream)?;
            if self.established {
                return Ok(());
            }
            let n = stream.read(&mut bytes).context("waiting for message 2")?;
            ensure!(n > 0, "the router closed during the handshake");
            let read = bytes.get_mut(..n).unwrap_or_default();
            self.with(|t, cx| t.handle_bytes(conn, read, cx));
        }
    }

    /// Writes what the transport has, and notes whether the session stands.
    fn flush(&mut self, conn: ConnId, stream: &mut TcpStream) -> Result<()> {
        while let Some(output) = self.transport.poll_output() {
            if let Output::DialFailed { reason, .. } = output {
                return Err(reason.into());
            }
            self.established |= matches!(output, Output::Established { .. });
        }
        let mut out = Vec::new();
        while self.with(|t, cx| t.poll_transmit(conn, &mut out, 16_384, cx)) {}
        Ok(stream.write_all(&out)?)
    }
}

fn until_closed(stream: &mut TcpStream) -> Result<()> {
    let mut bytes = [0; 4096];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error).context("waiting for the other side to close"),
        }
    }
}

fn wall() -> Date {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
