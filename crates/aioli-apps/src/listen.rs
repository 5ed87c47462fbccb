//! What all proxies have in common: a listener with a limit, and the way to a
//! destination.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aioli_node::embed::ClientError;
use aioli_router::client::{SessionOptions, Target};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OnceCell, Semaphore, watch};
use tokio::task::JoinSet;

use crate::way::{Session, Stream, Way};

/// A session without tunnels is waited for so long.
const TUNNELS_WITHIN: Duration = Duration::from_secs(20);
/// A stream must stand within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);
/// What a client that was refused may still say, in bytes, and for how long.
const LAST_BYTES: u64 = 1 << 20;
const LAST_WORDS: Duration = Duration::from_secs(2);
/// After a failed accept (out of file descriptors) wait before the next.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The next connection; those that have ended are cleared away meanwhile.
pub(crate) async fn next(listener: &TcpListener, connections: &mut JoinSet<()>) -> (TcpStream, SocketAddr) {
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => return accepted,
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// What a proxy has seen, since the start where the text does not say "now".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProxyStats {
    /// Connections now.
    pub connections: u64,
    /// Connections closed at once, because there were too many.
    pub refused_connections: u64,
    /// Requests that could be read.
    pub requests: u64,
    /// Requests that were malformed, ambiguous, too large or too slow, or for what the proxy does not do.
    pub bad_requests: u64,
    /// Requests for hosts outside I2P, with nobody to ask.
    pub outside: u64,
}

/// What a proxy counts besides its connections.
#[derive(Debug, Default)]
pub(crate) struct ProxyCounters {
    pub(crate) requests: AtomicU64,
    pub(crate) bad_requests: AtomicU64,
    pub(crate) outside: AtomicU64,
}

impl ProxyCounters {
    /// With the connections of its gate.
    pub(crate) fn stats(&self, gate: &Gate) -> ProxyStats {
        let (connections, refused_connections) = gate.stats();
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ProxyStats {
            connections,
            refused_connections,
            requests: get(&self.requests),
            bad_requests: get(&self.bad_requests),
            outside: get(&self.outside),
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Lets so many connections in at a time.
#[derive(Debug)]
pub(crate) struct Gate {
    permits: Arc<Semaphore>,
    most: usize,
    refused: AtomicU64,
}

impl Gate {
    pub(crate) fn new(most: usize) -> Self {
        Self { permits: Arc::new(Semaphore::new(most)), most, refused: AtomicU64::new(0) }
    }

    /// Connections now, and those closed at once because there were too many.
    pub(crate) fn stats(&self) -> (u64, u64) {
        let now = self.most.saturating_sub(self.permits.available_permits()) as u64;
        (now, self.refused.load(Ordering::Relaxed))
    }

    /// Serves connections until dropped, and all of them end with it.
    pub(crate) async fn serve<F>(&self, listener: TcpListener, serve: impl Fn(TcpStream) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = next(&listener, &mut connections).await;
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!("TCP_NODELAY: {error}");
            }
            if let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() {
                let serving = serve(stream);
                connections.spawn(async move {
                    serving.await;
                    drop(permit);
                });
            } else {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// A destination of ours, made when it is first needed: the way out, and in where there is a listener.
#[derive(Debug)]
pub struct Outlet {
    way: Way,
    options: SessionOptions,
    session: Mutex<Arc<OnceCell<Session>>>,
    /// Connections that use it now.
    users: watch::Sender<usize>,
    failed: Mutex<Option<ClientError>>,
}

impl Outlet {
    /// Nothing is made yet.
    pub fn new(way: impl Into<Way>, options: SessionOptions) -> Arc<Self> {
        let (session, failed) = (Mutex::default(), Mutex::default());
        Arc::new(Self { way: way.into(), options, session, users: watch::Sender::new(0), failed })
    }

    /// How it is made.
    pub(crate) const fn options(&self) -> &SessionOptions {
        &self.options
    }

    fn cell(&self) -> MutexGuard<'_, Arc<OnceCell<Session>>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session, if it is made.
    pub(crate) fn current(&self) -> Option<Session> {
        self.cell().get().cloned()
    }

    /// Whether there are tunnels now.
    pub(crate) fn is_ready(&self) -> bool {
        self.current().is_some_and(|session| session.is_ready())
    }

    /// Why it could not be made the last time that was tried.
    pub(crate) fn failure(&self) -> Option<ClientError> {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session. It may have no tunnels yet.
    pub(crate) async fn session(&self) -> Result<Session, ClientError> {
        let cell = Arc::clone(&self.cell());
        let made = cell.get_or_try_init(|| self.way.session(self.options.clone())).await.cloned();
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = made.as_ref().err().copied();
        made
    }

    /// Gives the session up; the next connection makes another. Streams keep theirs.
    pub(crate) fn close(&self) {
        *self.cell() = Arc::default();
    }

    /// Says that a connection uses it, until what is returned is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> InUse {
        self.users.send_modify(|users| *users += 1);
        InUse(Arc::clone(self))
    }

    /// How many connections use it.
    pub(crate) fn users(&self) -> watch::Receiver<usize> {
        self.users.subscribe()
    }

    /// Opens a stream; waits a little for tunnels, and not for ever for the destination.
    pub(crate) async fn dial(&self, target: Target, port: u16) -> Result<Stream, ClientError> {
        let mut session = self.session().await?;
        match session.ready(TUNNELS_WITHIN).await {
            Err(ClientError::SessionClosed) => {
                self.close();
                session = self.session().await?;
                session.ready(TUNNELS_WITHIN).await?;
            }
            ready => ready?,
        }
        let dialled = tokio::time::timeout(CONNECT_WITHIN, session.connect(target, port));
        dialled.await.unwrap_or(Err(ClientError::TimedOut))
    }
}

/// A connection that uses an outlet.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Outlet>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.users.send_modify(|users| *users = users.saturating_sub(1));
    }
}

/// Closes a connection so that what was said last is not lost because the client still talks.
pub(crate) async fn close_gently(mut stream: TcpStream) {
    let ending = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(LAST_BYTES), &mut tokio::io::sink()).await
    };
    // An error, or more than that: the client has had its time.
    let _ = tokio::time::timeout(LAST_WORDS, ending).await;
}
