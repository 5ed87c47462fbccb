//! Tunnels that listen on this computer: each connection becomes a stream to a
//! destination that the description names, or goes to a proxy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aioli_node::embed::ClientError;
use aioli_router::client::Target;
use tokio::net::{TcpListener, TcpStream};

use super::config::Remote;
use super::stats::Counters;
use crate::listen::{Gate, Outlet};
use crate::relay;
use crate::resolve::{Naming, Unresolved};
use crate::way::Stream;

/// A client of destinations.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) outlet: Arc<Outlet>,
    pub(super) naming: Arc<Naming>,
    pub(super) remotes: Vec<Remote>,
    /// Whether lines of IRC are filtered.
    pub(super) irc: bool,
    pub(super) idle: Duration,
    pub(super) gate: Gate,
    pub(super) counters: Arc<Counters>,
    /// Whose turn it is among the destinations.
    pub(super) turn: AtomicUsize,
}

/// Why no destination takes a connection.
enum Unreached {
    Name(Unresolved),
    Router(ClientError),
}

impl Client {
    /// Serves connections until dropped, and all of them end with it.
    pub(super) async fn serve(self: Arc<Self>, listener: TcpListener) {
        self.gate.serve(listener, |stream| Arc::clone(&self).connection(stream)).await;
    }

    async fn connection(self: Arc<Self>, local: TcpStream) {
        let (_using, _now) = (self.outlet.enter(), self.counters.enter());
        self.counters.opened.add(1);
        match self.reach().await {
            Ok(stream) if self.irc => super::irc::relay(&self, local, stream).await,
            Ok(stream) => {
                let traffic = Arc::clone(&self.counters.traffic);
                relay::both_ways_within(local, stream, self.idle, traffic).await;
            }
            Err(why) => {
                self.counters.failed.add(1);
                if self.irc {
                    super::irc::tell(local, &why.to_string()).await;
                }
            }
        }
    }

    /// A stream to the first destination, beginning with the one whose turn it is, that takes it.
    async fn reach(&self) -> Result<Stream, Unreached> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut failed = Unreached::Name(Unresolved::Unknown);
        for at in 0..self.remotes.len() {
            let Some(remote) = self.remotes.get(first.wrapping_add(at) % self.remotes.len()) else {
                continue;
            };
            let target = match resolve(&self.naming, &remote.host) {
                Ok(target) => target,
                Err(why) => {
                    tracing::warn!("{}: {why}", remote.host);
                    failed = Unreached::Name(why);
                    continue;
                }
            };
            match self.outlet.dial(target, remote.port).await {
                Ok(stream) => return Ok(stream),
                Err(error) => {
                    tracing::debug!("{}: {error}", remote.host);
                    failed = Unreached::Router(error);
                }
            }
        }
        Err(failed)
    }
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(why) => why.fmt(f),
            Self::Router(why) => why.fmt(f),
        }
    }
}

/// A name, or a whole destination.
fn resolve(naming: &Naming, host: &str) -> Result<Target, Unresolved> {
    match aioli_wire::Destination::from_base64(host) {
        Some(destination) => Ok(Target::Destination(Box::new(destination))),
        None => naming.resolve(host),
    }
}
