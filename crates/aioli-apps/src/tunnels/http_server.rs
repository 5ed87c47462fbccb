//! A web server behind a tunnel: one request a stream, taken apart and put
//! together anew, so that nobody behind can read it in another way
//! (`i2ptunnel#http-server`; RFC 9112).
//!
//! ```text
//!  stream ─► head judged ─► method, inproxy, posts ─► headers ─► target
//!         ◄─ headers that tell of the machine removed ◄──────────┘
//! ```
//!
//! Requests say who asks in `X-I2P-DestHash`, `X-I2P-DestB32` and `X-I2P-DestB64`.
//! What the peer itself says under such names never passes.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aioli_wire::{Destination, base32};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::config::ServerService;
use super::server::Server;
use crate::http::head::HeadError;
use crate::http::upstream::{self, NoAnswer};
use crate::http::{Body, filter, head};
use crate::relay::{self, Activity, Watched};
use crate::way::Stream;

/// The port of HTTPS: its bytes are not HTTP.
const HTTPS: u16 = 443;
/// Bytes of a request at most that are passed over once it is refused, and for how long its answer may take.
const LAST_BYTES: u64 = 1 << 20;
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Names of the tunnel's own headers begin so.
const OURS: &str = "x-i2p-";
/// What only a proxy between a site and its visitors says.
const OF_PROXIES: &[&str] = &[
    "forwarded",
    "via",
    "x-real-ip",
    "x-client-ip",
    "client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "x-cluster-client-ip",
];
const OF_PROXIES_PREFIX: &str = "x-forwarded-";
/// Headers of a request that are nobody's business behind the tunnel. `Proxy` is taken for a setting by CGI programs.
const UNWANTED: &[&str] = &["proxy", "x-accept-encoding"];
/// Headers of an answer that tell of the machine: its clock, its programs.
const TELLTALES: &[&str] = &["date", "server", "x-runtime", "proxy", "via", "x-aspnet-version"];
const TELLTALE_PREFIXES: &[&str] = &["x-powered-by", "proxy-"];

const NOT_FOR_SITES: &str = "This method is not for a site.\n";

/// What a stream becomes after its answer.
type Upgrade = Mutex<Option<(OnUpgrade, OnUpgrade)>>;

/// Serves one request.
pub(super) async fn serve(server: &Server, mut stream: Stream) {
    if stream.own_port() == HTTPS {
        return pass_tls(server, stream).await;
    }
    let Some(peer) = stream.peer_destination().cloned() else { return stream.reset() };
    let port = stream.own_port();
    let begun = match head::read(&mut stream).await {
        Ok(begun) => begun,
        Err(HeadError::Nothing) => return,
        Err(error) => {
            server.counters.refused_requests.add(1);
            return refuse(stream, &error.status().to_string(), &format!("{error}\n")).await;
        }
    };
    // For the parser, what follows it is no answer but another protocol.
    if begun.starts_with(b"CONNECT ") {
        server.counters.refused_requests.add(1);
        return refuse(stream, "405 Method Not Allowed", NOT_FOR_SITES).await;
    }
    let (activity, upgrade) = (Activity::new(), Upgrade::default());
    let traffic = Arc::clone(&server.counters.traffic);
    let io = TokioIo::new(Watched::counted(stream, begun, activity.clone(), traffic));
    let service = service_fn(|request| {
        let answer = answer(server, &peer, port, request, &upgrade);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let serving = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .auto_date_header(false)
        .max_headers(head::MAX_HEADERS)
        .serve_connection(io, service)
        .with_upgrades();
    tokio::select! {
        // An error means that the peer is gone.
        _ = serving => {}
        () = activity.idle_for(server.plan.idle) => return,
    }
    let upgraded = upgrade.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some((client, local)) = upgraded
        && let (Ok(client), Ok(local)) = (client.await, local.await)
    {
        let traffic = Arc::default();
        relay::both_ways_within(TokioIo::new(local), TokioIo::new(client), server.plan.idle, traffic).await;
    }
}

/// HTTPS goes to a target of its own, if there is one.
async fn pass_tls(server: &Server, stream: Stream) {
    if !server.plan.target_for_port.contains_key(&HTTPS) {
        server.counters.refused_requests.add(1);
        return stream.reset();
    }
    if let Some((local, stream)) = server.connect(stream).await {
        let traffic = Arc::clone(&server.counters.traffic);
        relay::both_ways_within(local, stream, server.plan.idle, traffic).await;
    }
}

/// Answers a request that no parser is to see.
async fn refuse(mut stream: Stream, status: &str, text: &str) {
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    let ending = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(LAST_BYTES), &mut tokio::io::sink()).await
    };
    // An error, or more than that: the peer has had its time.
    let _ = tokio::time::timeout(LAST_WORDS, ending).await;
}

/// The answer of the target, or why there is none.
async fn answer(
    server: &Server,
    peer: &Destination,
    port: u16,
    request: Request<Incoming>,
    upgrade: &Upgrade,
) -> Response<Body> {
    match forward(server, peer, port, request, upgrade).await {
        Ok(answer) => answer,
        Err((status, text)) => {
            let counters = &server.counters;
            if status.is_server_error() {
                counters.failed.add(1)
            } else {
                counters.refused_requests.add(1)
            }
            let body = Full::new(Bytes::from_static(text.as_bytes())).map_err(|never| match never {});
            let mut answer = Response::new(body.boxed_unsync());
            *answer.status_mut() = status;
            let plain = HeaderValue::from_static("text/plain; charset=utf-8");
            answer.headers_mut().insert(header::CONTENT_TYPE, plain);
            answer
        }
    }
}

type Refusal = (StatusCode, &'static str);

async fn forward(
    server: &Server,
    peer: &Destination,
    port: u16,
    mut request: Request<Incoming>,
    upgrade: &Upgrade,
) -> Result<Response<Body>, Refusal> {
    let ServerService::Http { host_name, i2p_headers, refuse_inproxies } = &server.plan.service else {
        return Err((StatusCode::NOT_FOUND, "This is no web server.\n"));
    };
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err((StatusCode::METHOD_NOT_ALLOWED, NOT_FOR_SITES));
    }
    if *refuse_inproxies && request.headers().keys().any(is_of_proxy) {
        return Err((
            StatusCode::FORBIDDEN,
            "This site is for visitors in I2P, not for those of a gateway.\n",
        ));
    }
    let hash = peer.hash();
    let posts = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    if posts && !server.turnstile.post(hash) {
        return Err((StatusCode::TOO_MANY_REQUESTS, "Too much was sent to this site: try again later.\n"));
    }
    let host = match host_name {
        Some(host) => HeaderValue::from_str(host).ok(),
        // An absolute URL says it better than the header (RFC 9112, section 3.2.2).
        None => request.uri().authority().and_then(|a| HeaderValue::from_str(a.as_str()).ok()),
    };
    *request.uri_mut() =
        path_alone(request.uri()).ok_or((StatusCode::BAD_REQUEST, "The address is no path.\n"))?;
    let websocket = filter::wants_websocket(request.headers());
    filter_request(request.headers_mut(), websocket);
    if let Some(host) = host {
        request.headers_mut().insert(header::HOST, host);
    }
    if *i2p_headers {
        say_who(request.headers_mut(), peer);
    }
    let client = websocket.then(|| hyper::upgrade::on(&mut request));
    let local = server.reach(hash, port).await;
    let local =
        local.map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "The site is down: try again later.\n"))?;
    let mut answer = upstream::exchange(local, request).await.map_err(|why| match why {
        NoAnswer::Slow => (StatusCode::GATEWAY_TIMEOUT, "The site does not answer: try again later.\n"),
        NoAnswer::Broken(_) => {
            (StatusCode::BAD_GATEWAY, "The site has given no answer that could be read.\n")
        }
    })?;
    let upgraded = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
    if upgraded {
        let client = client
            .ok_or((StatusCode::BAD_GATEWAY, "The site changed the protocol without being asked.\n"))?;
        let local = hyper::upgrade::on(&mut answer);
        *upgrade.lock().unwrap_or_else(PoisonError::into_inner) = Some((client, local));
    }
    filter_answer(answer.headers_mut(), upgraded);
    Ok(answer)
}

/// What a site is asked for, without the host; `*` of OPTIONS stays. None for what is no path.
fn path_alone(uri: &Uri) -> Option<Uri> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    (path.starts_with('/') || path == "*").then(|| path.parse().ok()).flatten()
}

/// A header's name as programs read it that know no hyphens.
fn plain(name: &HeaderName) -> String {
    name.as_str().replace('_', "-")
}

fn is_of_proxy(name: &HeaderName) -> bool {
    let name = plain(name);
    OF_PROXIES.contains(&&*name) || name.starts_with(OF_PROXIES_PREFIX)
}

/// What is left of a request's headers.
fn filter_request(headers: &mut HeaderMap, websocket: bool) {
    filter::remove_hop_by_hop(headers);
    let unwanted = |name: &HeaderName| {
        let name = plain(name);
        name.starts_with(OURS) || name.starts_with("proxy-") || UNWANTED.contains(&&*name)
    };
    let names: Vec<_> = headers.keys().filter(|name| unwanted(name) || is_of_proxy(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
    set_connection(headers, websocket);
}

fn filter_answer(headers: &mut HeaderMap, upgraded: bool) {
    filter::remove_hop_by_hop(headers);
    filter::remove(headers, TELLTALES, TELLTALE_PREFIXES);
    if upgraded {
        set_connection(headers, true);
    }
}

fn set_connection(headers: &mut HeaderMap, websocket: bool) {
    let connection = if websocket { "upgrade" } else { "close" };
    headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
    if websocket {
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
}

/// Says who asks.
fn say_who(headers: &mut HeaderMap, peer: &Destination) {
    let hash = peer.hash();
    for (name, value) in [
        ("x-i2p-desthash", hash.to_base64()),
        ("x-i2p-destb32", base32::host_name(&hash)),
        ("x-i2p-destb64", peer.to_base64()),
    ] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(pair).collect()
    }

    #[test]
    fn what_a_peer_says_of_itself_does_not_pass() {
        let mut headers = map(&[
            ("Host", "site.i2p"),
            ("X-I2P-DestHash", "forged"),
            ("x-i2p-destb32", "forged"),
            ("X_I2P_DestB64", "forged"),
            ("X-I2p_DestHash", "forged"),
            ("X-I2P-Anything", "forged"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X_Real_IP", "127.0.0.1"),
            ("Forwarded", "for=127.0.0.1"),
            ("Proxy", "http://evil.i2p"),
            ("Proxy-Connection", "keep-alive"),
            ("Connection", "keep-alive, X-Hop, host"),
            ("X-Hop", "1"),
            ("TE", "trailers"),
            ("Cookie", "a=b"),
        ]);
        filter_request(&mut headers, false);
        assert_eq!(headers, map(&[("Host", "site.i2p"), ("Cookie", "a=b"), ("Connection", "close")]));
    }

    #[test]
    fn proxies_are_told_by_any_of_their_headers() {
        for name in
            ["X-Forwarded-For", "x_forwarded_host", "Via", "Forwarded", "X-Real-IP", "CF-Connecting-IP"]
        {
            assert!(is_of_proxy(&HeaderName::from_bytes(name.as_bytes()).unwrap()), "{name}");
        }
        assert!(!is_of_proxy(&header::COOKIE));
    }

    #[test]
    fn answers_tell_nothing_of_the_machine() {
        let mut headers = map(&[
            ("Date", "x"),
            ("Server", "x/1.0"),
            ("X-Powered-By", "x/1.0"),
            ("X-Runtime", "0.1"),
            ("Keep-Alive", "timeout=5"),
            ("Content-Type", "text/html"),
        ]);
        filter_answer(&mut headers, false);
        assert_eq!(headers, map(&[("Content-Type", "text/html")]));
    }

    #[test]
    fn sites_are_asked_for_paths() {
        for (asked, path) in [
            ("/a?b=c", Some("/a?b=c")),
            ("http://other.i2p/a?b", Some("/a?b")),
            ("http://other.i2p", Some("/")),
            ("*", Some("*")),
            ("other.i2p:80", Some("/")),
        ] {
            let uri = path_alone(&asked.parse().unwrap()).map(|uri| uri.to_string());
            assert_eq!(uri.as_deref(), path, "{asked}");
        }
    }
}
