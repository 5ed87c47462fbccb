//! Two ways to a router: the embedding API of one in this process, or SAM of one
//! that runs elsewhere on this computer. What stands above does not see which.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use aioli_node::embed::{self, Client, ClientError};
use aioli_router::client::{SessionOptions, Target};
use aioli_wire::{Destination, DestinationHash};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::sam;

/// A way to a router.
#[derive(Clone, Debug)]
pub enum Way {
    /// A router in this process.
    Embedded(Client),
    /// Where SAM of another listens.
    Sam(SocketAddr),
}

impl From<Client> for Way {
    fn from(client: Client) -> Self {
        Self::Embedded(client)
    }
}

impl Way {
    /// Makes a local destination. Over SAM that takes until its tunnels stand.
    pub(crate) async fn session(&self, options: SessionOptions) -> Result<Session, ClientError> {
        match self {
            Self::Embedded(client) => client.session(options).await.map(Session::Embedded),
            Self::Sam(address) => sam::Session::create(*address, &options).await.map(Session::Sam),
        }
    }
}

/// A local destination.
#[derive(Clone, Debug)]
pub(crate) enum Session {
    Embedded(embed::Session),
    Sam(sam::Session),
}

impl Session {
    /// Its own address.
    pub(crate) fn destination(&self) -> &Destination {
        match self {
            Self::Embedded(session) => session.destination(),
            Self::Sam(session) => session.destination(),
        }
    }

    /// Whether it has tunnels, without waiting.
    pub(crate) fn is_ready(&self) -> bool {
        match self {
            Self::Embedded(session) => session.is_ready(),
            // It was made when they stood.
            Self::Sam(session) => session.is_open(),
        }
    }

    /// Waits until it has tunnels both ways, at most this long.
    pub(crate) async fn ready(&self, patience: Duration) -> Result<(), ClientError> {
        match self {
            Self::Embedded(session) => session.ready(patience).await,
            Self::Sam(session) if session.is_open() => Ok(()),
            Self::Sam(_) => Err(ClientError::SessionClosed),
        }
    }

    /// Opens a stream to a port of a destination.
    pub(crate) async fn connect(&self, to: Target, port: u16) -> Result<Stream, ClientError> {
        match self {
            Self::Embedded(session) => session.connect_to_port(to, port).await.map(Stream::Embedded),
            Self::Sam(session) => session.connect(&to, port).await.map(Stream::Sam),
        }
    }

    /// Looks a destination up.
    pub(crate) async fn lookup(&self, hash: DestinationHash) -> Result<Arc<Destination>, ClientError> {
        match self {
            Self::Embedded(session) => session.lookup(hash).await,
            Self::Sam(session) => session.lookup(hash).await.map(Arc::new),
        }
    }

    /// Takes streams from peers from now on.
    pub(crate) async fn listen(&self) -> Result<Listener, ClientError> {
        match self {
            Self::Embedded(session) => session.listen().await.map(Listener::Embedded),
            Self::Sam(session) => Ok(Listener::Sam(session.listen())),
        }
    }

    /// Keeps so many tunnels each way from now on, if the router can be told so.
    pub(crate) async fn set_quantities(&self, inbound: u8, outbound: u8) -> Result<(), ClientError> {
        match self {
            Self::Embedded(session) => session.set_quantities(inbound, outbound).await,
            // SAM has no word for it.
            Self::Sam(_) => Ok(()),
        }
    }
}

/// Streams that peers open to a session.
#[derive(Debug)]
pub(crate) enum Listener {
    Embedded(embed::Listener),
    Sam(sam::Listener),
}

impl Listener {
    /// The next stream from a peer.
    pub(crate) async fn accept(&mut self) -> Result<Stream, ClientError> {
        match self {
            Self::Embedded(listener) => listener.accept().await.map(Stream::Embedded),
            Self::Sam(listener) => listener.accept().await.map(Stream::Sam),
        }
    }
}

/// A stream to a destination.
#[derive(Debug)]
pub(crate) enum Stream {
    Embedded(embed::Stream),
    Sam(sam::Stream),
}

impl Stream {
    /// With whom.
    pub(crate) const fn peer(&self) -> DestinationHash {
        match self {
            Self::Embedded(stream) => stream.peer(),
            Self::Sam(stream) => stream.peer(),
        }
    }

    /// The peer's address, if it has opened the stream.
    pub(crate) fn peer_destination(&self) -> Option<&Destination> {
        match self {
            Self::Embedded(stream) => stream.peer_destination(),
            Self::Sam(stream) => stream.peer_destination(),
        }
    }

    /// The port of ours that a peer has named, 0 if it named none.
    pub(crate) const fn own_port(&self) -> u16 {
        match self {
            Self::Embedded(stream) => stream.ports().1,
            Self::Sam(stream) => stream.own_port(),
        }
    }

    /// Ends the stream at once, so that the peer sees that it broke off.
    pub(crate) fn reset(self) {
        match self {
            Self::Embedded(stream) => stream.reset(),
            Self::Sam(stream) => drop(stream),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Embedded(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Sam(stream) => Pin::new(stream.tcp()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Embedded(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Sam(stream) => Pin::new(stream.tcp()).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Embedded(stream) => Pin::new(stream).poll_flush(cx),
            Self::Sam(stream) => Pin::new(stream.tcp()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Embedded(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Sam(stream) => Pin::new(stream.tcp()).poll_shutdown(cx),
        }
    }
}

/// Connects to a program on this computer or its network that the user has named.
#[expect(clippy::disallowed_methods, reason = "the user has named this address")]
pub(crate) async fn connect_local(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
