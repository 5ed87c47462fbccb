//! All that a router offers to people, on a thread of its own.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use aioli_node::embed::Client;
use aioli_node::entropy;
use aioli_router::client::SessionOptions;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::address_book::subscribe;
use crate::http::{HttpOptions, HttpProxy};
use crate::listen::{Outlet, ProxyStats};
use crate::resolve::Naming;
use crate::socks::SocksProxy;

/// What to offer.
#[derive(Debug)]
pub struct AppsConfig {
    /// Where the HTTP proxy listens, if it does; see [`aioli_node::bind`].
    pub http: Option<std::net::TcpListener>,
    /// How it behaves.
    pub http_options: HttpOptions,
    /// Where the SOCKS proxy listens, if it does.
    pub socks: Option<std::net::TcpListener>,
    /// Connections to that at most.
    pub max_socks_connections: usize,
    /// The tunnels of both, which are made when the first connection comes.
    pub session: SessionOptions,
    /// Whence names are.
    pub naming: Arc<Naming>,
    /// Where the list of subscriptions is, if they are to be followed. The HTTP proxy is needed for it.
    pub subscriptions: Option<PathBuf>,
}

/// What people's programs have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppsStats {
    /// Of the HTTP proxy.
    pub http: ProxyStats,
    /// Of the SOCKS proxy.
    pub socks: ProxyStats,
}

/// Running proxies. Dropping it ends them and their connections.
#[derive(Debug)]
pub struct Apps {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    http_proxy: Arc<HttpProxy>,
    socks_proxy: Arc<SocksProxy>,
    /// Where the HTTP proxy listens.
    pub http: Option<SocketAddr>,
    /// Where the SOCKS proxy listens.
    pub socks: Option<SocketAddr>,
}

impl Apps {
    /// Starts what is configured, over a router.
    pub fn start(config: AppsConfig, client: Client) -> io::Result<Self> {
        let AppsConfig { http, http_options, socks, max_socks_connections, session, naming, subscriptions } =
            config;
        let address = |l: &Option<std::net::TcpListener>| l.as_ref().and_then(|l| l.local_addr().ok());
        let (http_at, socks_at) = (address(&http), address(&socks));
        let outlet = Outlet::new(client, session);
        let http_proxy = HttpProxy::new(Arc::clone(&naming), Arc::clone(&outlet), http_options, entropy());
        let socks_proxy = SocksProxy::new(Arc::clone(&naming), outlet, max_socks_connections);
        let (stop, stopped) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let serving = (Arc::clone(&http_proxy), Arc::clone(&socks_proxy));
        let thread = std::thread::Builder::new().name("apps".into()).spawn(move || {
            runtime.block_on(async {
                let (http_proxy, socks_proxy) = serving;
                let all = async {
                    tokio::join!(
                        listening(http, |listener| http_proxy.serve(listener)),
                        listening(socks, |listener| socks_proxy.serve(listener)),
                        subscribed(&naming, subscriptions, http_at),
                    )
                };
                tokio::select! {
                    _ = all => {}
                    // An error means that the handle is gone: stop as well.
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
            http_proxy,
            socks_proxy,
            http: http_at,
            socks: socks_at,
        })
    }

    /// Counters.
    pub fn stats(&self) -> AppsStats {
        AppsStats { http: self.http_proxy.stats(), socks: self.socks_proxy.stats() }
    }
}

impl Drop for Apps {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.stop.take().map(|stop| stop.send(()));
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the proxies panicked; please report the message above");
        }
    }
}

async fn listening<F: Future<Output = ()>>(
    listener: Option<std::net::TcpListener>,
    serve: impl FnOnce(TcpListener) -> F,
) {
    match listener.map(TcpListener::from_std) {
        Some(Ok(listener)) => serve(listener).await,
        Some(Err(error)) => tracing::error!("cannot listen: {error}"),
        None => {}
    }
}

async fn subscribed(naming: &Arc<Naming>, dir: Option<PathBuf>, proxy: Option<SocketAddr>) {
    if let (Some(dir), Some(proxy)) = (dir, proxy) {
        subscribe::keep(Arc::clone(naming.book()), dir.into(), proxy).await;
    }
}
