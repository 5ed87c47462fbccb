//! The HTTP proxy: sites of I2P for browsers (`i2ptunnel`).
//!
//! ```text
//!  GET http://name.i2p/   ─► Naming ─► a stream of its own ─► the site
//!  CONNECT name.i2p:443   ─► the same, bytes as they are
//!  http://proxy.i2p/      ─► pages of the proxy
//!  anything else          ─► an outproxy if there is one, a page that says no otherwise
//! ```
//!
//! A connection carries one request, and so does a stream. Nothing is looked up
//! on this computer, and nothing but the router is connected to.

pub(crate) mod filter;
pub(crate) mod head;
mod internal;
mod pages;
pub(crate) mod upstream;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::listen::{Gate, Outlet, ProxyCounters, ProxyStats, close_gently, count};
use crate::names::i2p_host;
use crate::relay::{self, Activity, Watched};
use crate::resolve::Naming;
use crate::way::Stream;
pub(crate) use internal::decoded;
use pages::Page;
pub(crate) use pages::escaped;

/// The body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// A page for a request that was refused is to be taken within this time.
const REFUSE_WITHIN: Duration = Duration::from_secs(10);

/// How the proxy behaves.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Hosts in I2P that open pages of the ordinary web; one is drawn for each request. None: nobody does.
    pub outproxies: Vec<String>,
    /// Names of jump services, and the URLs that an unknown host is appended to.
    pub jump_services: Vec<(String, String)>,
    /// Connections at most.
    pub max_connections: usize,
}

impl Default for HttpOptions {
    fn default() -> Self {
        let jump = |name: &str, url: &str| (name.to_owned(), url.to_owned());
        Self {
            outproxies: Vec::new(),
            jump_services: vec![
                jump("stats.i2p", "http://stats.i2p/cgi-bin/jump.cgi?a="),
                jump("reg.i2p", "http://reg.i2p/jump/"),
                jump("notbob.i2p", "http://notbob.i2p/cgi-bin/jump.cgi?q="),
            ],
            max_connections: 1_024,
        }
    }
}

/// The HTTP proxy.
#[derive(Debug)]
pub struct HttpProxy {
    naming: Arc<Naming>,
    outlet: Arc<Outlet>,
    options: HttpOptions,
    /// What tokens of our forms are made with.
    secret: [u8; 32],
    gate: Gate,
    counters: ProxyCounters,
    turn: AtomicU64,
}

/// What becomes of a connection after its answer.
type Tunnel = Arc<Mutex<Option<(OnUpgrade, Remote)>>>;

/// The other end of a tunnel.
enum Remote {
    /// A stream, and what was read of it already.
    Stream(Box<Stream>, Vec<u8>),
    /// A connection that a site has upgraded.
    Upgrade(OnUpgrade),
}

impl HttpProxy {
    /// A proxy over this outlet. `secret` is random.
    pub fn new(
        naming: Arc<Naming>,
        outlet: Arc<Outlet>,
        options: HttpOptions,
        secret: [u8; 32],
    ) -> Arc<Self> {
        let gate = Gate::new(options.max_connections);
        let (counters, turn) = (ProxyCounters::default(), AtomicU64::new(0));
        Arc::new(Self { naming, outlet, options, secret, gate, counters, turn })
    }

    /// Counters.
    pub fn stats(&self) -> ProxyStats {
        self.counters.stats(&self.gate)
    }

    /// Serves connections until dropped, and all of them end with it.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        self.gate.serve(listener, |stream| Arc::clone(&self).connection(stream)).await;
    }

    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        let _using = self.outlet.enter();
        let begun = match head::read(&mut stream).await {
            Ok(begun) => begun,
            Err(head::HeadError::Nothing) => return,
            Err(error) => {
                count(&self.counters.bad_requests);
                return refuse(stream, &pages::bad_head(error)).await;
            }
        };
        let (activity, tunnel) = (Activity::new(), Tunnel::default());
        let io = TokioIo::new(Watched::new(stream, begun, activity.clone()));
        let service = service_fn(|request| {
            let (proxy, tunnel) = (Arc::clone(&self), Arc::clone(&tunnel));
            async move { Ok::<_, Infallible>(proxy.answer(request, &tunnel).await) }
        });
        let serving = hyper::server::conn::http1::Builder::new()
            .keep_alive(false)
            .max_headers(head::MAX_HEADERS)
            .serve_connection(io, service)
            .with_upgrades();
        tokio::select! {
            // An error means that the client is gone.
            _ = serving => {}
            () = activity.idle() => return,
        }
        let tunnel = tunnel.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((client, remote)) = tunnel else { return };
        let Ok(client) = client.await else { return };
        let client = TokioIo::new(client);
        match remote {
            Remote::Stream(stream, begun) => {
                relay::both_ways(client, Watched::new(*stream, begun, Activity::new())).await;
            }
            Remote::Upgrade(remote) => {
                if let Ok(remote) = remote.await {
                    relay::both_ways(client, TokioIo::new(remote)).await;
                }
            }
        }
    }

    async fn answer(&self, request: Request<Incoming>, tunnel: &Tunnel) -> Response<Body> {
        count(&self.counters.requests);
        let answer = if request.method() == Method::CONNECT {
            self.connect(request, tunnel).await
        } else {
            self.forward(request, tunnel).await
        };
        answer.unwrap_or_else(|page| page.response())
    }

    /// `CONNECT`: the bytes are the client's business.
    async fn connect(&self, mut request: Request<Incoming>, tunnel: &Tunnel) -> Result<Response<Body>, Page> {
        let authority = request.uri().authority().cloned();
        let authority = authority.filter(|a| !a.as_str().contains('@'));
        let Some((authority, port)) = authority.and_then(|a| a.port_u16().map(|port| (a, port))) else {
            return Err(pages::bad_request("CONNECT needs a host and a port."));
        };
        let host = authority.host();
        let remote = match i2p_host(host) {
            Some(host) if host == pages::HOST => {
                return Err(pages::bad_request("The proxy's own pages are opened with http://."));
            }
            Some(host) => Remote::Stream(Box::new(self.open(&host, port).await?), Vec::new()),
            None => {
                let mut stream = self.open_outproxy(host).await?;
                let begun = upstream::connect_through(&mut stream, authority.as_str())
                    .await
                    .map_err(|why| pages::no_answer("the outproxy", &why))?;
                Remote::Stream(Box::new(stream), begun)
            }
        };
        let upgrade = hyper::upgrade::on(&mut request);
        set(tunnel, upgrade, remote);
        Ok(Response::new(empty()))
    }

    /// Any other request.
    async fn forward(&self, request: Request<Incoming>, tunnel: &Tunnel) -> Result<Response<Body>, Page> {
        let uri = request.uri().clone();
        let Some(authority) = uri.authority() else {
            let host = request.headers().get(header::HOST).map(HeaderValue::as_bytes);
            if host == Some(pages::HOST.as_bytes()) {
                return Ok(self.internal(request).await);
            }
            return Err(pages::bad_request("The request is for this computer itself, not for a site."));
        };
        if authority.as_str().contains('@') {
            return Err(pages::bad_request("Names and passwords do not belong into an address."));
        }
        if uri.scheme_str() != Some("http") {
            return Err(pages::bad_request(
                "Only http:// can be asked for in this way; for https:// there is CONNECT.",
            ));
        }
        let Some(host) = i2p_host(authority.host()) else {
            let stream = self.open_outproxy(authority.host()).await?;
            return self.exchange(stream, request, &uri, authority.host(), tunnel, true).await;
        };
        if host == pages::HOST {
            return Ok(self.internal(request).await);
        }
        if let Some((rest, helper)) = uri.query().and_then(internal::split_helper) {
            return Ok(self.on_helper(&host, &uri, &rest, &helper));
        }
        let stream = self.open(&host, authority.port_u16().unwrap_or(80)).await?;
        self.exchange(stream, request, &uri, &host, tunnel, false).await
    }

    /// A stream to a host of I2P.
    async fn open(&self, host: &str, port: u16) -> Result<Stream, Page> {
        let target = self
            .naming
            .resolve(host)
            .map_err(|why| pages::unresolved(host, why, &self.options.jump_services))?;
        self.outlet.dial(target, port).await.map_err(|error| pages::unreachable(host, error))
    }

    /// A stream to an outproxy, for a host outside I2P. Hosts of this computer are not for it either.
    async fn open_outproxy(&self, host: &str) -> Result<Stream, Page> {
        if is_local(host) {
            count(&self.counters.outside);
            return Err(pages::local(host));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        let outproxies = &self.options.outproxies;
        let Some(outproxy) = outproxies.get(turn.checked_rem(outproxies.len()).unwrap_or(0)) else {
            count(&self.counters.outside);
            return Err(pages::outside(host));
        };
        self.open(outproxy, 0).await
    }

    /// Asks a site, or an outproxy, and gives its answer.
    async fn exchange(
        &self,
        stream: Stream,
        mut request: Request<Incoming>,
        uri: &Uri,
        host: &str,
        tunnel: &Tunnel,
        to_outproxy: bool,
    ) -> Result<Response<Body>, Page> {
        filter::request(request.headers_mut(), uri, to_outproxy);
        let host_header = HeaderValue::from_str(&with_port(host, uri))
            .map_err(|_| pages::bad_request("The address is no URL."))?;
        request.headers_mut().insert(header::HOST, host_header);
        if !to_outproxy {
            let path = uri.path_and_query().map_or("/", |p| p.as_str());
            *request.uri_mut() = path.parse().map_err(|_| pages::bad_request("The address is no URL."))?;
        }
        let websocket = filter::wants_websocket(request.headers());
        let client = websocket.then(|| hyper::upgrade::on(&mut request));
        let answer = upstream::exchange(stream, request).await;
        let mut answer = answer.map_err(|why| match why {
            upstream::NoAnswer::Slow => pages::slow_answer(host, upstream::ANSWER_WITHIN),
            upstream::NoAnswer::Broken(why) => pages::no_answer(host, &why),
        })?;
        let upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        match client {
            Some(client) if upgraded => {
                let remote = Remote::Upgrade(hyper::upgrade::on(&mut answer));
                set(tunnel, client, remote);
            }
            _ if upgraded => {
                return Err(pages::no_answer(host, "it changed the protocol without being asked"));
            }
            _ => {}
        }
        filter::response(answer.headers_mut(), upgraded);
        Ok(answer)
    }
}

fn set(tunnel: &Tunnel, client: OnUpgrade, remote: Remote) {
    *tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some((client, remote));
}

/// A host with the port of a URL, unless that is the usual one.
fn with_port(host: &str, uri: &Uri) -> String {
    uri.port_u16().filter(|port| *port != 80).map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn empty() -> Body {
    Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync()
}

/// Answers a request that no parser is to see.
async fn refuse(mut stream: TcpStream, page: &Page) {
    let html = page.html();
    let head = format!(
        "HTTP/1.1 {}\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        page.status,
        html.len()
    );
    let written = tokio::time::timeout(REFUSE_WITHIN, stream.write_all((head + &html).as_bytes())).await;
    if let Ok(Ok(())) = written {
        close_gently(stream).await;
    }
}

/// Whether a host is this computer or one of its network, as far as its name tells.
fn is_local(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.').to_ascii_lowercase();
    if let Ok(ip) = host.parse::<IpAddr>() {
        return !aioli_wire::ip::is_public(ip.to_canonical());
    }
    // 127.1, 0x7f000001 and 2130706433 are addresses to some.
    let last = host.rsplit('.').next().unwrap_or_default();
    let numeric = last.starts_with(|c: char| c.is_ascii_digit());
    numeric
        || !host.contains('.')
        || ["localhost", "local", "internal", "lan", "home", "onion"].contains(&last)
}

#[cfg(test)]
mod tests {
    use super::is_local;

    #[test]
    fn hosts_of_this_computer_are_told() {
        for host in [
            "localhost",
            "LOCALHOST",
            "a.localhost",
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "192.168.0.1",
            "10.1",
            "0.0.0.0",
            "printer",
            "printer.local",
            "router.lan",
            "",
        ] {
            assert!(is_local(host), "{host}");
        }
        for host in ["example.com", "8.8.8.8", "[2001:4860:4860::8888]"] {
            assert!(!is_local(host), "{host}");
        }
    }
}
