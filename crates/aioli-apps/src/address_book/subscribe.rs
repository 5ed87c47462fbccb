//! Subscriptions: others' `hosts.txt`, fetched through the HTTP proxy and in no
//! other way, merged into ours.
//!
//! ```text
//! subscriptions.txt     one URL a line, http://name.i2p/...
//! subscriptions.state   URL, ETag and Last-Modified of the last fetch, with tabs between
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aioli_core::Date;
use aioli_node::write_atomic;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::header::{ETAG, HOST, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use hyper::{Request, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use super::book::Outcome;
use super::feed::{self, Record};
use super::{AddressBook, BookError, List, hold, now};
use crate::names::i2p_host;

/// Subscribed to where there is no `subscriptions.txt`: what other routers subscribe to.
pub const DEFAULT: &str = "http://udhdrtrcetjm5sxzskjyr5ztpeszydbh4dpl3pl4utgqqw2v4jna.b32.i2p/hosts.txt";
/// Subscriptions at most.
pub const MAX_SUBSCRIPTIONS: usize = 100;
/// Bytes of a feed at most.
const MAX_FEED: usize = 64 << 20;
/// Letters of an ETag or a date kept at most.
const MAX_TAG: usize = 256;
/// Until the proxy has an answer, and between two parts of it.
const PATIENCE: Duration = Duration::from_secs(120);
/// After the start, after a failure, and otherwise.
const FIRST: Duration = Duration::from_secs(3 * 60);
const AGAIN: Duration = Duration::from_secs(5 * 60);
const EVERY: Duration = Duration::from_secs(12 * 3600);

/// Why a subscription brought nothing.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The URL is of another world.
    #[error("{0} is no address in I2P: give http://NAME.i2p/...")]
    Url(String),
    /// The proxy cannot be used.
    #[error("the HTTP proxy {0} does not answer: {1}. Is the router running, with its HTTP proxy?")]
    Proxy(SocketAddr, String),
    /// The site answered otherwise.
    #[error("{url} answered {status}")]
    Status {
        /// Which.
        url: String,
        /// With what.
        status: StatusCode,
    },
    /// It broke off.
    #[error("{0} broke off")]
    BrokenOff(String),
    /// It is too long.
    #[error("{0} has more than {MAX_FEED} bytes")]
    TooLong(String),
    /// The address book cannot be written.
    #[error(transparent)]
    Book(#[from] BookError),
    /// A list of subscriptions cannot be read or written.
    #[error("cannot use the subscriptions: {0}")]
    Io(#[from] io::Error),
}

/// What a feed came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The site has nothing new.
    pub unchanged: bool,
    /// Names added, changed or removed.
    pub changed: usize,
    /// Names that belong to another destination, and commands about them.
    pub taken: usize,
    /// Lines that cannot be followed: damaged, expired, with a wrong signature.
    pub refused: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { unchanged, changed, taken, refused } = self;
        if *unchanged {
            return f.write_str("nothing new");
        }
        write!(f, "{changed} names changed, {taken} belong to others, {refused} lines refused")
    }
}

/// Follows the lines of a feed.
pub fn apply_feed(book: &AddressBook, text: &str, now: Date) -> Result<Report, BookError> {
    let mut report = Report::default();
    let mut records = Vec::new();
    for line in text.lines() {
        match feed::parse(line, now) {
            Ok(record) => records.extend(record),
            Err(_) => report.refused += 1,
        }
    }
    book.change(List::Hosts, |ours, others| {
        // Private names do not count: they are aliases that may stand beside a public name.
        let elsewhere = |name: &str| others.last().is_some_and(|user| user.get(name).is_some());
        let mut unfounded = Vec::new();
        let mut count = |outcome, record: Record, later: &mut Vec<Record>| match outcome {
            Outcome::Changed => report.changed += 1,
            Outcome::Known => {}
            Outcome::Taken | Outcome::Full => report.taken += 1,
            Outcome::Unfounded => later.push(record),
        };
        for record in records {
            count(ours.apply(&record, elsewhere), record, &mut unfounded);
        }
        // A feed is in no order: what a command builds on may have come after it.
        let mut still = Vec::new();
        for record in unfounded {
            count(ours.apply(&record, elsewhere), record, &mut still);
        }
        report.refused += still.len();
        report.changed > 0
    })?;
    Ok(report)
}

/// The subscriptions of a data directory.
pub fn list(dir: &Path) -> io::Result<Vec<String>> {
    match fs::read_to_string(dir.join("subscriptions.txt")) {
        Ok(text) => {
            let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
            Ok(lines.take(MAX_SUBSCRIPTIONS).map(str::to_owned).collect())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(vec![DEFAULT.to_owned()]),
        Err(error) => Err(error),
    }
}

/// Subscribes to a URL. False: that was so already.
pub fn add(dir: &Path, url: &str) -> Result<bool, FetchError> {
    checked(url)?;
    let _held = hold(dir)?;
    let mut urls = list(dir)?;
    if urls.iter().any(|known| known == url) {
        return Ok(false);
    }
    if urls.len() >= MAX_SUBSCRIPTIONS {
        return Err(io::Error::other(format!("there are {MAX_SUBSCRIPTIONS} already")).into());
    }
    urls.push(url.to_owned());
    write_atomic(&dir.join("subscriptions.txt"), (urls.join("\n") + "\n").as_bytes(), 0o600)?;
    Ok(true)
}

/// Fetches all subscriptions once; `tell` hears what came of each. False: one of them failed.
pub async fn fetch_all(
    book: &AddressBook,
    dir: &Path,
    proxy: SocketAddr,
    mut tell: impl FnMut(&str, Result<Report, FetchError>),
) -> io::Result<bool> {
    let mut good = true;
    for url in list(dir)? {
        let result = fetch(book, dir, proxy, &url).await;
        good &= result.is_ok();
        tell(&url, result);
    }
    Ok(good)
}

/// Fetches all subscriptions, soon after the start and then twice a day, until dropped.
pub async fn keep(book: Arc<AddressBook>, dir: Arc<Path>, proxy: SocketAddr) {
    let mut wait = FIRST;
    loop {
        tokio::time::sleep(wait).await;
        let tell = |url: &str, result: Result<Report, FetchError>| match result {
            Ok(report) => tracing::info!("subscription {url}: {report}"),
            Err(error) => tracing::info!("subscription: {error}"),
        };
        wait = match fetch_all(&book, &dir, proxy, tell).await {
            Ok(true) => EVERY,
            Ok(false) => AGAIN,
            Err(error) => {
                tracing::warn!("cannot read the subscriptions: {error}");
                AGAIN
            }
        };
    }
}

/// The host of a URL in I2P.
fn checked(url: &str) -> Result<(Uri, String), FetchError> {
    let wrong = || FetchError::Url(url.to_owned());
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().and_then(i2p_host).filter(|_| uri.scheme_str() == Some("http"));
    let plain = uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    host.filter(|_| plain).map(|host| (uri, host)).ok_or_else(wrong)
}

async fn fetch(book: &AddressBook, dir: &Path, proxy: SocketAddr, url: &str) -> Result<Report, FetchError> {
    let (uri, host) = checked(url)?;
    let mut state = read_state(dir);
    let known = state.get(url).cloned().unwrap_or_default();
    let mut request = Request::get(uri).header(HOST, host);
    if !known.etag.is_empty() {
        request = request.header(IF_NONE_MATCH, known.etag);
    }
    if !known.modified.is_empty() {
        request = request.header(IF_MODIFIED_SINCE, known.modified);
    }
    let request = request.body(Empty::<Bytes>::new()).map_err(|_| FetchError::Url(url.to_owned()))?;
    let proxy_error = |error: &dyn fmt::Display| FetchError::Proxy(proxy, error.to_string());
    let late = |_| proxy_error(&"no answer in time");
    #[expect(clippy::disallowed_methods, reason = "the router's own proxy, by its address in numbers")]
    let connecting = TcpStream::connect(proxy);
    let stream = tokio::time::timeout(PATIENCE, connecting).await.map_err(late)?;
    let stream = TokioIo::new(stream.map_err(|e| proxy_error(&e))?);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(stream).await.map_err(|e| proxy_error(&e))?;
    let exchange = async {
        let answer = tokio::time::timeout(PATIENCE, sender.send_request(request)).await.map_err(late)?;
        let answer = answer.map_err(|e| proxy_error(&e))?;
        match answer.status() {
            StatusCode::NOT_MODIFIED => return Ok(None),
            StatusCode::OK => {}
            status => return Err(FetchError::Status { url: url.to_owned(), status }),
        }
        let tag = |name| answer.headers().get(name).and_then(short).unwrap_or_default();
        let tags = Tags { etag: tag(ETAG), modified: tag(LAST_MODIFIED) };
        Ok(Some((tags, body_of(answer, url).await?)))
    };
    // The connection's own future moves the bytes; it ends with the exchange.
    let fetched = tokio::select! {
        fetched = exchange => fetched?,
        Err(error) = connection => return Err(proxy_error(&error)),
    };
    let Some((tags, text)) = fetched else { return Ok(Report { unchanged: true, ..Report::default() }) };
    let report = apply_feed(book, &String::from_utf8_lossy(&text), now())?;
    state.insert(url.to_owned(), tags);
    let _held = hold(dir)?;
    write_state(dir, &state)?;
    Ok(report)
}

async fn body_of(answer: hyper::Response<hyper::body::Incoming>, url: &str) -> Result<Vec<u8>, FetchError> {
    let (mut body, mut text) = (answer.into_body(), Vec::new());
    loop {
        match tokio::time::timeout(PATIENCE, body.frame()).await {
            Ok(Some(Ok(frame))) => text.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
            Ok(None) => return Ok(text),
            Ok(Some(Err(_))) | Err(_) => return Err(FetchError::BrokenOff(url.to_owned())),
        }
        if text.len() > MAX_FEED {
            return Err(FetchError::TooLong(url.to_owned()));
        }
    }
}

/// What a site said of the version that was fetched.
#[derive(Clone, Debug, Default)]
struct Tags {
    etag: String,
    modified: String,
}

fn short(value: &HeaderValue) -> Option<String> {
    value.to_str().ok().filter(|text| text.len() <= MAX_TAG && !text.contains('\t')).map(str::to_owned)
}

/// Without it, everything is fetched anew: damage does no harm.
fn read_state(dir: &Path) -> BTreeMap<String, Tags> {
    let text = fs::read_to_string(dir.join("subscriptions.state")).unwrap_or_default();
    let line = |line: &str| {
        let mut parts = line.split('\t').map(str::to_owned);
        Some((parts.next()?, Tags { etag: parts.next()?, modified: parts.next()? }))
    };
    text.lines().take(MAX_SUBSCRIPTIONS).filter_map(line).collect()
}

fn write_state(dir: &Path, state: &BTreeMap<String, Tags>) -> io::Result<()> {
    let lines = state.iter().map(|(url, tags)| format!("{url}\t{}\t{}\n", tags.etag, tags.modified));
    write_atomic(&dir.join("subscriptions.state"), lines.collect::<String>().as_bytes(), 0o600)
}
