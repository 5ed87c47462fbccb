//! Peers of a real router: transports with sockets, all in one thread, and
//! the RouterInfos of routers that do not exist.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aioli_core::crypto::ed25519::SigningKey;
use aioli_core::crypto::noise_n;
use aioli_core::crypto::x25519::PrivateKey;
use aioli_core::{Cx, Date, Now, Rng};
use aioli_transport::{Config, ConnId, Lane, Output, Transport};
use aioli_wire::build::{BuildRecords, BuildRequest, HASH_PREFIX, Role, SHORT_RECORD, random_tunnel_id};
use aioli_wire::router_info::{RouterInfo, RouterInfoParts};
use aioli_wire::tunnel::TUNNEL_DATA_SIZE;
use aioli_wire::{
    Mapping, Message, MessageId, MessageType, RouterAddress, RouterHash, RouterIdentity, TunnelId, Verified,
};
use anyhow::{Context, Result, bail, ensure};

/// The private network that all this happens in.
pub const NET_ID: u8 = 99;
/// Patience with one step of a handshake.
const STEP: Duration = Duration::from_secs(10);
/// A pause when nothing moves.
const PAUSE: Duration = Duration::from_millis(2);
/// After a refused connection.
const AGAIN: Duration = Duration::from_millis(500);
/// Messages that each peer sends in one round.
const BATCH: usize = 4;
/// Records of a build message.
const RECORDS: usize = 4;

/// A RouterInfo as routers of the public network have it: two transports, a family, introducers'
/// keys; valid, but nobody listens at its loopback addresses.
pub fn known_router(n: usize, rng: &mut Rng) -> Result<Verified<RouterInfo>> {
    let (signing, encryption) = (SigningKey::generate(rng), PrivateKey::generate(rng).public());
    let ip = Ipv4Addr::new(127, 1 + (n >> 16) as u8, (n >> 8) as u8, n as u8);
    let ntcp2 = PrivateKey::generate(rng).public();
    let mut ssu2 =
        RouterAddress::ntcp2(5, &PrivateKey::generate(rng).public(), Some(((ip, 1).into(), rng.bytes())))?;
    ssu2.style = "SSU2".to_owned();
    ssu2.options.set("caps", "BC")?;
    ssu2.options.set("mtu", "1500")?;
    let caps = if n.is_multiple_of(10) { "XfR" } else { "LR" };
    let net_id = NET_ID.to_string();
    let options = [
        ("caps", caps),
        ("netId", &net_id),
        ("router.version", "0.9.67"),
        ("netdb.knownLeaseSets", "64"),
        ("netdb.knownRouters", "4821"),
    ];
    let parts = RouterInfoParts {
        identity: RouterIdentity::create(&encryption, &signing.public(), &rng.bytes()),
        published: wall(),
        addresses: vec![RouterAddress::ntcp2(9, &ntcp2, Some(((ip, 1).into(), rng.bytes())))?, ssu2],
        options: Mapping::from_pairs(options)?,
    };
    Ok(RouterInfo::create(parts, &signing))
}

/// All peers of one router.
#[derive(Debug)]
pub struct Peers {
    peers: Vec<Peer>,
    /// Messages that came out of tunnels.
    relayed: usize,
    /// Build messages that came: each is a tunnel.
    built: usize,
}

impl Peers {
    /// As many peers as that, each with a session.
    pub fn connect(target: &Arc<Verified<RouterInfo>>, count: usize, patience: Duration) -> Result<Self> {
        let until = Instant::now() + patience;
        let mut peers: Vec<Peer> = Vec::new();
        while peers.len() < count {
            let seed = [peers.len() as u8; 32];
            match Peer::connect(target, seed) {
                Ok(peer) => peers.push(peer),
                // It takes only so many in a minute.
                Err(error) if Instant::now() > until => return Err(error),
                Err(_) => thread::sleep(AGAIN),
            }
        }
        Ok(Self { peers, relayed: 0, built: 0 })
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.peers.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.peers.is_empty()
    }

    /// Reads and writes for so long.
    pub fn attend(&mut self, time: Duration) -> Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.round()?;
        }
        Ok(())
    }

    /// Each asks the router to pass on a tunnel to the next.
    pub fn build(&mut self, patience: Duration) -> Result<()> {
        let names: Vec<RouterHash> = self.peers.iter().map(|p| p.hash).collect();
        let next = names.iter().cycle().skip(1);
        for (peer, next) in self.peers.iter_mut().zip(next) {
            peer.ask(*next)?;
        }
        let (wanted, until) = (self.peers.len(), Instant::now() + patience);
        while self.built < wanted {
            ensure!(Instant::now() < until, "only {} of {wanted} tunnels were built", self.built);
            self.round()?;
        }
        Ok(())
    }

    /// Sends so many messages through each tunnel; gives how many came out.
    pub fn relay(&mut self, each: usize, patience: Duration) -> Result<usize> {
        let (wanted, until) = (self.relayed + each * self.peers.len(), Instant::now() + patience);
        let mut sent = 0;
        while self.relayed < wanted && Instant::now() < until {
            if sent < each {
                let n = BATCH.min(each - sent);
                self.peers.iter_mut().try_for_each(|p| p.send_data(n))?;
                sent += n;
            }
            self.round()?;
        }
        Ok(self.relayed)
    }

    fn round(&mut self) -> Result<()> {
        let mut moved = false;
        for peer in &mut self.peers {
            moved |= peer.read()?;
            for message in std::mem::take(&mut peer.received) {
                self.relayed += usize::from(message.kind == MessageType::TunnelData);
                self.built += usize::from(message.kind == MessageType::ShortTunnelBuild);
            }
        }
        if !moved {
            thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// A router that is nothing but a transport and a socket.
#[derive(Debug)]
struct Peer {
    transport: Transport,
    target: Arc<Verified<RouterInfo>>,
    hash: RouterHash,
    tunnel: TunnelId,
    stream: TcpStream,
    conn: ConnId,
    rng: Rng,
    began: Instant,
    established: bool,
    received: Vec<Message>,
    out: Vec<u8>,
}

impl Peer {
    fn connect(target: &Arc<Verified<RouterInfo>>, seed: [u8; 32]) -> Result<Self> {
        let mut rng = Rng::from_seed(seed);
        let (signing, static_key) = (SigningKey::generate(&mut rng), PrivateKey::generate(&mut rng));
        let encryption = PrivateKey::generate(&mut rng).public();
        let options = [("caps", "LU"), ("netId", &NET_ID.to_string()), ("router.version", "0.9.67")];
        let parts = RouterInfoParts {
            identity: RouterIdentity::create(&encryption, &signing.public(), &rng.bytes()),
            published: wall(),
            addresses: vec![RouterAddress::ntcp2(14, &static_key.public(), None)?],
            options: Mapping::from_pairs(options)?,
        };
        let mut config = Config::new(static_key, rng.bytes());
        (config.net_id, config.private_network) = (NET_ID, true);
        let mut transport = Transport::new(config, rng.fork());
        let info = RouterInfo::create(parts, &signing);
        let hash = info.hash();
        transport.set_local(Arc::new(info));
        let began = Instant::now();
        transport.connect(target, &mut Cx { now: now(began), rng: &mut rng });
        let Some(Output::Dial { conn, to }) = transport.poll_output() else { bail!("no address to dial") };
        let stream = dial(to)?;
        let (target, tunnel) = (Arc::clone(target), random_tunnel_id(&mut rng));
        let (established, received, out) = (false, Vec::new(), Vec::new());
        let mut peer =
            Self { transport, target, hash, tunnel, stream, conn, rng, began, established, received, out };
        peer.establish()?;
        peer.stream.set_nonblocking(true)?;
        Ok(peer)
    }

    fn establish(&mut self) -> Result<()> {
        let conn = self.conn;
        self.with(|t, cx| t.handle_connected(conn, cx));
        self.flush()?;
        while !self.established {
            self.read()?;
        }
        Ok(())
    }

    fn with<T>(&mut self, f: impl FnOnce(&mut Transport, &mut Cx<'_>) -> T) -> T {
        f(&mut self.transport, &mut Cx { now: now(self.began), rng: &mut self.rng })
    }

    /// Reads once and answers; false if there was nothing.
    fn read(&mut self) -> Result<bool> {
        let (mut bytes, conn) = ([0; 16_384], self.conn);
        let n = match self.stream.read(&mut bytes) {
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error).context("the router closed a session"),
        };
        let read = bytes.get_mut(..n).unwrap_or_default();
        ensure!(n > 0 || self.established, "closed during the handshake");
        if n > 0 {
            self.with(|t, cx| t.handle_bytes(conn, read, cx));
        }
        self.flush()?;
        Ok(n > 0)
    }

    /// Writes what there is, as far as the socket takes it.
    fn flush(&mut self) -> Result<()> {
        while let Some(output) = self.transport.poll_output() {
            if let Output::DialFailed { reason, .. } = output {
                return Err(reason.into());
            }
            if let Output::Disconnected { reason, .. } = output {
                bail!("the session ended: {reason:?}");
            }
            self.established |= matches!(output, Output::Established { .. });
            if let Output::Messages { messages, .. } = output {
                self.received.extend(messages);
            }
        }
        let (conn, mut out) = (self.conn, std::mem::take(&mut self.out));
        while self.with(|t, cx| t.poll_transmit(conn, &mut out, 16_384, cx)) {}
        while !out.is_empty() {
            match self.stream.write(&out) {
                Ok(n) => drop(out.drain(..n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error).context("the router closed a session"),
            }
        }
        self.out = out;
        Ok(())
    }

    /// Asks the router to be a hop between us and `next`.
    fn ask(&mut self, next: RouterHash) -> Result<()> {
        let request = BuildRequest {
            receive_tunnel: self.tunnel,
            next_tunnel: random_tunnel_id(&mut self.rng),
            next_router: next,
            role: Role::Participant,
            requested: Date::from_secs(wall().as_secs() / 60 * 60),
            lifetime_secs: 600,
            next_message_id: self.rng.u32(),
            options: Mapping::new(),
        };
        let plain = request.encode_short(&mut self.rng);
        let mut records = BuildRecords::new(SHORT_RECORD, RECORDS);
        for i in 0..RECORDS {
            self.rng.fill(records.get_mut(i));
        }
        let key = self.target.identity.encryption_key();
        let (sealed, _) = noise_n::seal(&key, &plain, &mut self.rng).ok().context("a key that is none")?;
        let (prefix, rest) = records.get_mut(0).split_at_mut(HASH_PREFIX);
        prefix.copy_from_slice(self.target.hash().as_bytes().get(..HASH_PREFIX).unwrap_or_default());
        rest.copy_from_slice(&sealed);
        self.send(MessageType::ShortTunnelBuild, records.encode())
    }

    /// Sends so many messages into the tunnel.
    fn send_data(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            let mut body = vec![0; TUNNEL_DATA_SIZE];
            self.rng.fill(&mut body);
            body.splice(..4, self.tunnel.get().to_be_bytes());
            self.send(MessageType::TunnelData, body)?;
        }
        Ok(())
    }

    fn send(&mut self, kind: MessageType, body: Vec<u8>) -> Result<()> {
        let (to, id) = (self.target.hash(), MessageId(self.rng.u32()));
        let message = Message { kind, id, expires: wall() + Duration::from_secs(60), body };
        // A full queue of ours drops it; then it is missing at the end.
        let _ = self.with(|t, cx| t.send_to(&to, Lane::Own, message, cx));
        self.flush()
    }
}

fn dial(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&to, STEP)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(STEP))?;
    Ok(stream)
}

fn now(began: Instant) -> Now {
    Now { mono: aioli_core::Instant::ZERO + began.elapsed(), wall: wall() }
}

fn wall() -> Date {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Date::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
