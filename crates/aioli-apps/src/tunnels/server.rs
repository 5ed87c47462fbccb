//! Tunnels that others reach: a destination with its listener, and what becomes
//! of each stream.
//!
//! ```text
//!  session ─► Host ─► the tunnel of the port ─► access ─► limits ─► filter ─► target
//! ```

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use aioli_node::embed::ClientError;
use aioli_wire::DestinationHash;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use super::access::Access;
use super::config::{ServerPlan, ServerService};
use super::idle::AGAIN;
use super::limits::Turnstile;
use super::stats::Counters;
use crate::listen::{InUse, Outlet};
use crate::relay;
use crate::way::{Stream, connect_local};

/// Streams that wait for a tunnel at most; more are reset.
const MAX_WAITING: usize = 64;
/// A target must take the connection within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// A destination that peers open streams to, for one tunnel or several with ports of their own.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) outlet: Arc<Outlet>,
    doors: Mutex<Vec<Door>>,
    next: AtomicUsize,
    task: AbortHandle,
}

#[derive(Debug)]
struct Door {
    id: usize,
    port: u16,
    streams: mpsc::Sender<Stream>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Host {
    /// A destination that takes streams from now on.
    pub(super) fn new(outlet: Arc<Outlet>, runtime: &tokio::runtime::Handle) -> Arc<Self> {
        Arc::new_cyclic(|host: &Weak<Self>| {
            let task = runtime.spawn(take_streams(Weak::clone(host), Arc::clone(&outlet))).abort_handle();
            Self { outlet, doors: Mutex::default(), next: AtomicUsize::new(0), task }
        })
    }

    fn doors(&self) -> MutexGuard<'_, Vec<Door>> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives streams to a port to a tunnel, as long as what is returned is kept; port 0 stands for all that no other
    /// has.
    pub(super) fn attach(self: &Arc<Self>, port: u16) -> Attached {
        let (streams, receiver) = mpsc::channel(MAX_WAITING);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.doors().push(Door { id, port, streams });
        Attached { host: Arc::clone(self), id, streams: receiver }
    }

    fn give(&self, stream: Stream) {
        let port = stream.own_port();
        let doors = self.doors();
        // The one that came last: a tunnel that it follows may not have left yet.
        let of = |port| doors.iter().rev().find(move |door| door.port == port);
        let door = of(port).or_else(|| of(0)).or_else(|| doors.first());
        match door.map(|door| door.streams.try_send(stream)) {
            Some(Ok(())) | None => {}
            Some(Err(
                mpsc::error::TrySendError::Full(stream) | mpsc::error::TrySendError::Closed(stream),
            )) => {
                stream.reset();
            }
        }
    }
}

/// A tunnel's place at a host.
#[derive(Debug)]
pub(super) struct Attached {
    host: Arc<Host>,
    id: usize,
    streams: mpsc::Receiver<Stream>,
}

impl Attached {
    /// The next stream.
    async fn next(&mut self) -> Option<Stream> {
        self.streams.recv().await
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        self.host.doors().retain(|door| door.id != self.id);
    }
}

/// Takes streams for as long as there is a host, with another session whenever one is lost.
async fn take_streams(host: Weak<Host>, outlet: Arc<Outlet>) {
    let mut pause = AGAIN.0;
    loop {
        let taking = async {
            let mut listener = outlet.session().await?.listen().await?;
            loop {
                let stream = listener.accept().await?;
                let Some(host) = host.upgrade() else { return Ok(()) };
                pause = AGAIN.0;
                host.give(stream);
            }
        };
        match taking.await {
            Ok(()) => return,
            Err(error @ ClientError::Stopped) => tracing::debug!("a tunnel's destination: {error}"),
            Err(error) => tracing::warn!("a tunnel's destination cannot take streams: {error}"),
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
        outlet.close();
    }
}

/// A tunnel that others reach.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) plan: ServerPlan,
    pub(super) access: Access,
    pub(super) turnstile: Arc<Turnstile>,
    pub(super) counters: Arc<Counters>,
    /// Whose turn it is among the targets.
    pub(super) turn: AtomicUsize,
}

impl Server {
    /// Serves streams until dropped, and all of them end with it.
    pub(super) async fn serve(self: Arc<Self>, mut attached: Attached) {
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                stream = attached.next() => match stream {
                    Some(stream) => self.admit(stream, attached.host.outlet.enter(), &mut open),
                    None => return,
                },
                Some(_) = open.join_next() => {}
            }
        }
    }

    fn admit(self: &Arc<Self>, stream: Stream, using: InUse, open: &mut JoinSet<()>) {
        let peer = stream.peer();
        if !self.access.admits(&peer) {
            self.counters.refused_access.add(1);
            return stream.reset();
        }
        let Some(entered) = self.turnstile.enter(peer) else {
            self.counters.refused_limits.add(1);
            return stream.reset();
        };
        self.counters.opened.add(1);
        let server = Arc::clone(self);
        open.spawn(async move {
            let now = server.counters.enter();
            server.stream(stream).await;
            drop((entered, now, using));
        });
    }

    async fn stream(&self, stream: Stream) {
        match &self.plan.service {
            ServerService::Plain => {
                if let Some((local, stream)) = self.connect(stream).await {
                    let traffic = Arc::clone(&self.counters.traffic);
                    relay::both_ways_within(local, stream, self.plan.idle, traffic).await;
                }
            }
            ServerService::Http { .. } => super::http_server::serve(self, stream).await,
            ServerService::Irc { webirc_password } => {
                super::irc::serve(self, stream, webirc_password.as_ref()).await;
            }
        }
    }

    /// A connection to a target for a stream, which is reset if there is none.
    pub(super) async fn connect(&self, stream: Stream) -> Option<(TcpStream, Stream)> {
        match self.reach(stream.peer(), stream.own_port()).await {
            Ok(local) => Some((local, stream)),
            Err(error) => {
                self.counters.failed.add(1);
                tracing::debug!("no local server takes a stream: {error}");
                stream.reset();
                None
            }
        }
    }

    /// A connection to the target of a port, or to the first of the others that takes it.
    pub(super) async fn reach(&self, peer: DestinationHash, port: u16) -> io::Result<TcpStream> {
        let by_port = self.plan.target_for_port.get(&port);
        let targets = by_port.map_or(&*self.plan.targets, std::slice::from_ref);
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for at in 0..targets.len() {
            let Some(target) = targets.get(first.wrapping_add(at) % targets.len()) else { continue };
            let connecting = async {
                match own_address(&self.plan, &peer, *target) {
                    Some(from) => connect_from(from, *target).await,
                    None => connect_local(*target).await,
                }
            };
            match tokio::time::timeout(CONNECT_WITHIN, connecting).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(failed)
    }
}

/// The loopback address of a peer's own, where that is wanted and can be.
fn own_address(plan: &ServerPlan, peer: &DestinationHash, target: SocketAddr) -> Option<Ipv4Addr> {
    let wanted = plan.unique_local && matches!(target.ip(), IpAddr::V4(ip) if ip.is_loopback());
    let [a, b, c, ..] = *peer.as_bytes();
    // Neither 127.0.0.0/16, where ordinary programs are, nor a broadcast address.
    wanted.then(|| Ipv4Addr::new(127, a.max(1), b, c.clamp(1, 254)))
}

async fn connect_from(from: Ipv4Addr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
