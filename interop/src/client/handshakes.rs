//! Handshakes against one router, as many as it takes, each of a router that it has
//! never heard of: for `compare`. Over NTCP2 if it publishes that, else over SSU2.
//!
//! A handshake over NTCP2 counts when the other side has closed the connection after
//! our termination: only then it has read message 3 and verified the RouterInfo in it.
//! One over SSU2 counts when a data packet has come. The initiators are our own
//! transport; their share of the processor is theirs.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Date, Now, Rng};
use aioli_transport::ssu2::IntroKey;
use aioli_transport::{Config, ConnId, Output, Ssu2Keys, Transport};
use aioli_wire::ntcp2::TerminationReason;
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::ssu2::{MAX_MTU, Ssu2Parts};
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
    let over_udp = target.addresses.iter().all(|address| address.style != "NTCP2");
    let mut initiator = Initiator::new(net_id, over_udp, rng)?;
    initiator.with(|t, cx| t.connect(target, cx));
    if over_udp {
        return initiator.over_udp(target);
    }
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
    fn new(net_id: u8, over_udp: bool, rng: &mut Rng) -> Result<Self> {
        let signing = SigningKey::generate(rng);
        let encryption = PrivateKey::generate(rng).public();
        let static_key = PrivateKey::generate(rng);
        let (ssu2_key, intro_key) = (PrivateKey::generate(rng), IntroKey(rng.bytes()));
        let ssu2 = Ssu2Parts {
            cost: 15,
            static_key: &ssu2_key.public(),
            intro_key: &intro_key.0,
            host: None,
            caps: "4",
            mtu: MAX_MTU,
            introducers: &[],
        };
        let ntcp2 = RouterAddress::ntcp2(14, &static_key.public(), None)?;
        let address = if over_udp { ssu2.address()? } else { ntcp2 };
        let options = [("caps", "LU"), ("netId", &net_id.to_string()), ("router.version", "0.9.67")];
        let parts = RouterInfoParts {
            identity: RouterIdentity::create(&encryption, &signing.public(), &rng.bytes()),
            published: wall(),
            addresses: vec![address],
            options: Mapping::from_pairs(options)?,
        };
        let mut config = Config::new(static_key, rng.bytes());
        (config.net_id, config.private_network) = (net_id, true);
        let keys = Ssu2Keys { static_key: ssu2_key, signing: None, intro_key, mtu: MAX_MTU, listens: false };
        config.ssu2 = over_udp.then_some(keys);
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

    /// The same over SSU2, to the end.
    fn over_udp(&mut self, target: &Arc<Verified<RouterInfo>>) -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        let mut bytes = [0; 2_048];
        // Packets that had come when the session stood; the next one is of its data phase.
        let (mut before, until) = (None, Instant::now() + PATIENCE);
        loop {
            self.flush_udp(&socket)?;
            let came = self.transport.ssu2_stats().map_or(0, |stats| stats.packets_received);
            if self.established && before.is_none() {
                before = Some(came);
            }
            if before.is_some_and(|before| came > before) {
                self.with(|t, cx| t.close(&target.hash(), TerminationReason::Normal, cx));
                return self.flush_udp(&socket);
            }
            ensure!(Instant::now() < until, "the router does not answer");
            let due = self.transport.next_timeout().map_or(PATIENCE, |(at, _)| {
                at.since(aioli_core::Instant::ZERO).saturating_sub(self.began.elapsed())
            });
            socket.set_read_timeout(Some(due.clamp(Duration::from_millis(1), PATIENCE)))?;
            match socket.recv_from(&mut bytes) {
                Ok((n, from)) => {
                    let datagram = bytes.get_mut(..n).unwrap_or_default();
                    self.with(|t, cx| t.handle_datagram(from, datagram, cx));
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    self.with(Transport::handle_timeout);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends what the transport has, and notes whether the session stands.
    fn flush_udp(&mut self, socket: &UdpSocket) -> Result<()> {
        while let Some(output) = self.transport.poll_output() {
            if let Output::DialFailed { reason, .. } = output {
                return Err(reason.into());
            }
            self.established |= matches!(output, Output::Established { .. });
        }
        let mut out = Vec::new();
        while let Some(transmit) = self.with(|t, cx| t.poll_datagrams(&mut out, 1, cx)) {
            socket.send_to(&out, transmit.to)?;
            out.clear();
        }
        Ok(())
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
