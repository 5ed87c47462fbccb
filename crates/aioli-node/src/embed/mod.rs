//! The embedding API: destinations and streams of a running router for programs
//! in the same process, from any thread and any runtime.
//!
//! ```text
//!  Client ──session()──► Session ──connect()──► Stream: AsyncRead + AsyncWrite
//!                           └─────listen()───► Listener ──accept()──► Stream
//!  app threads │ commands: a bounded channel; bytes: two bounded buffers a stream │ router's thread
//! ```
//!
//! Each stream has buffers of its own in both directions, and the router takes
//! no more from the network than the reader leaves room for: a slow reader slows
//! its own sender and nobody else.

mod machine;
mod pipe;
mod view;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aioli_router::client::{SessionError, SessionId, SessionOptions, StreamEnd, StreamId, Target};
use aioli_wire::{Destination, DestinationHash};
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use machine::EmbedStats;
pub(crate) use machine::{Embed, serve};
use pipe::Pipe;
pub use pipe::Stream;
pub use view::View;

/// Requests that wait for the router's thread; who asks more waits.
const MAX_COMMANDS: usize = 256;
/// Streams that wait for [`Listener::accept`]; more are reset.
pub const MAX_BACKLOG: usize = 64;

/// Names a stream at its router.
type Key = (SessionId, StreamId);

/// Why a session, a stream or a lookup is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The session cannot be made.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The session has no tunnels yet.
    #[error(
        "there are no tunnels yet: the router needs a minute or two after its start, and other routers to reach"
    )]
    NoTunnels,
    /// The destination's LeaseSet is not in the network database.
    #[error("the destination was not found: it is offline, or the address is wrong")]
    NotFound,
    /// The peer answered with a reset.
    #[error("the destination refused the connection")]
    Refused,
    /// The peer did not answer.
    #[error("the destination did not answer in time: it may be overloaded or have gone offline just now")]
    TimedOut,
    /// The peer has no key that we can encrypt to.
    #[error("the destination offers no encryption that this router supports (ECIES-X25519 is needed)")]
    Encryption,
    /// A limit of ours.
    #[error("too much is open at once: try again when something was closed")]
    Limit,
    /// The session was ended.
    #[error("the session was closed")]
    SessionClosed,
    /// The router has stopped.
    #[error("the router has stopped")]
    Stopped,
}

impl From<StreamEnd> for ClientError {
    fn from(end: StreamEnd) -> Self {
        match end {
            StreamEnd::NotFound => Self::NotFound,
            StreamEnd::Timeout => Self::TimedOut,
            StreamEnd::Encryption => Self::Encryption,
            StreamEnd::Limit => Self::Limit,
            StreamEnd::SessionClosed => Self::SessionClosed,
            // A stream that was never open and ends otherwise was refused.
            StreamEnd::Closed | StreamEnd::Reset | _ => Self::Refused,
        }
    }
}

/// What the router's thread is asked.
enum Command {
    Create { options: Box<SessionOptions>, reply: Reply<SessionInner> },
    Connect { session: Session, to: Target, ports: (u16, u16), reply: Reply<Stream> },
    Listen { session: SessionId, incoming: mpsc::Sender<Incoming> },
    SetQuantities { session: SessionId, inbound: u8, outbound: u8 },
    Lookup { session: SessionId, hash: DestinationHash, reply: Reply<Arc<Destination>> },
    Limit { inbound: Option<u64>, outbound: Option<u64> },
    Look { entries: Option<usize>, reply: oneshot::Sender<View> },
}

type Reply<T> = oneshot::Sender<Result<T, ClientError>>;

struct Incoming {
    id: StreamId,
    pipe: Arc<Pipe>,
    from: Arc<Destination>,
    ports: (u16, u16),
}

/// What both sides share.
pub(crate) struct Hub {
    commands: mpsc::Sender<Command>,
    marks: Mutex<Marks>,
    wake: Notify,
}

/// What needs the router's attention: no larger than what there is.
#[derive(Default)]
struct Marks {
    streams: BTreeSet<Key>,
    /// Sessions without a handle.
    dropped: BTreeSet<SessionId>,
    /// Sessions whose listener is gone.
    deaf: BTreeSet<SessionId>,
}

impl Hub {
    pub(crate) fn new() -> (Arc<Self>, Commands) {
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        (Arc::new(Self { commands, marks: Mutex::default(), wake: Notify::new() }), Commands(receiver))
    }

    fn mark(&self, mark: impl FnOnce(&mut Marks)) {
        mark(&mut self.marks.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.notify_one();
    }

    fn take_marks(&self) -> Marks {
        std::mem::take(&mut *self.marks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Result<T, ClientError> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.map_err(|_| ClientError::Stopped)?;
        answer.await.map_err(|_| ClientError::Stopped)
    }
}

/// The router's end of the commands.
pub(crate) struct Commands(mpsc::Receiver<Command>);

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hub")
    }
}

/// A way into a running router; see [`crate::Node::client`]. Clones are the same way.
#[derive(Clone, Debug)]
pub struct Client {
    hub: Arc<Hub>,
}

impl Client {
    pub(crate) const fn new(hub: Arc<Hub>) -> Self {
        Self { hub }
    }

    /// Makes a local destination with tunnels of its own; a transient one if `options` have no keys.
    /// It returns at once: [`Session::ready`] waits for the tunnels.
    pub async fn session(&self, options: SessionOptions) -> Result<Session, ClientError> {
        let options = Box::new(options);
        let inner = self.hub.ask(|reply| Command::Create { options, reply }).await??;
        Ok(Session { inner: Arc::new(inner) })
    }

    /// What the router may receive and send from now on, in bytes a second; none for no limit.
    pub async fn set_bandwidth(
        &self,
        inbound: Option<u64>,
        outbound: Option<u64>,
    ) -> Result<(), ClientError> {
        let command = Command::Limit { inbound, outbound };
        self.hub.commands.send(command).await.map_err(|_| ClientError::Stopped)
    }

    /// The router at a glance: cheap, for once a second.
    pub async fn overview(&self) -> Result<View, ClientError> {
        self.hub.ask(|reply| Command::Look { entries: None, reply }).await
    }

    /// The same with what its tables hold, so many entries of each list at most: for when somebody looks.
    pub async fn details(&self, entries: usize) -> Result<View, ClientError> {
        self.hub.ask(|reply| Command::Look { entries: Some(entries), reply }).await
    }
}

/// A local destination. It lives as long as a handle, a listener or a stream of it, and what such a stream has
/// still to deliver.
#[derive(Clone, Debug)]
pub struct Session {
    inner: Arc<SessionInner>,
}

#[derive(Debug)]
struct SessionInner {
    hub: Arc<Hub>,
    id: SessionId,
    destination: Destination,
    ready: watch::Receiver<bool>,
}

impl Drop for SessionInner {
    fn drop(&mut self) {
        self.hub.mark(|marks| marks.dropped.extend([self.id]));
    }
}

impl Session {
    /// Its own address.
    pub fn destination(&self) -> &Destination {
        &self.inner.destination
    }

    /// Whether it has tunnels, without waiting.
    pub fn is_ready(&self) -> bool {
        *self.inner.ready.borrow()
    }

    /// Waits until it has tunnels both ways, at most this long.
    pub async fn ready(&self, patience: Duration) -> Result<(), ClientError> {
        let mut ready = self.inner.ready.clone();
        match tokio::time::timeout(patience, ready.wait_for(|ready| *ready)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(ClientError::SessionClosed),
            Err(_) => Err(ClientError::NoTunnels),
        }
    }

    /// Opens a stream to a destination, to its port 0.
    pub async fn connect(&self, to: Target) -> Result<Stream, ClientError> {
        self.connect_to_port(to, 0).await
    }

    /// Opens a stream to a port of a destination. A session that has no tunnels yet is not waited for:
    /// that is [`ClientError::NoTunnels`]. The streaming layer gives up after about a minute.
    pub async fn connect_to_port(&self, to: Target, port: u16) -> Result<Stream, ClientError> {
        self.ready(Duration::ZERO).await?;
        let session = self.clone();
        self.inner.hub.ask(|reply| Command::Connect { session, to, ports: (0, port), reply }).await?
    }

    /// Takes streams from peers from now on, [`MAX_BACKLOG`] of them ahead of [`Listener::accept`].
    /// A second listener takes the place of the first.
    pub async fn listen(&self) -> Result<Listener, ClientError> {
        let (incoming, streams) = mpsc::channel(MAX_BACKLOG);
        let command = Command::Listen { session: self.inner.id, incoming };
        self.inner.hub.commands.send(command).await.map_err(|_| ClientError::Stopped)?;
        Ok(Listener { session: self.clone(), streams })
    }

    /// Keeps so many tunnels each way from now on, 1 to 16, as for a session that is little used. Those that are too
    /// many are not replaced when their time is over.
    pub async fn set_quantities(&self, inbound: u8, outbound: u8) -> Result<(), ClientError> {
        let command = Command::SetQuantities { session: self.inner.id, inbound, outbound };
        self.inner.hub.commands.send(command).await.map_err(|_| ClientError::Stopped)
    }

    /// Looks a destination up in the NetDB, as this session sees it.
    pub async fn lookup(&self, hash: DestinationHash) -> Result<Arc<Destination>, ClientError> {
        let session = self.inner.id;
        self.inner.hub.ask(|reply| Command::Lookup { session, hash, reply }).await?
    }

    fn mark_stream(&self, stream: StreamId) {
        self.inner.hub.mark(|marks| marks.streams.extend([(self.inner.id, stream)]));
    }
}

/// Streams that peers open to a session. Dropping it has further ones refused.
#[derive(Debug)]
pub struct Listener {
    session: Session,
    streams: mpsc::Receiver<Incoming>,
}

impl Listener {
    /// The next stream from a peer.
    pub async fn accept(&mut self) -> Result<Stream, ClientError> {
        let Incoming { id, pipe, from, ports } =
            self.streams.recv().await.ok_or(ClientError::SessionClosed)?;
        let peer = pipe::Peer { hash: from.hash(), destination: Some(from), ports };
        Ok(Stream::new(pipe, id, self.session.clone(), peer))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.streams.close();
        while let Ok(Incoming { id, pipe, .. }) = self.streams.try_recv() {
            pipe.refuse();
            self.session.mark_stream(id);
        }
        let inner = &self.session.inner;
        inner.hub.mark(|marks| marks.deaf.extend([inner.id]));
    }
}

impl fmt::Debug for Incoming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Incoming({:?})", self.id)
    }
}
