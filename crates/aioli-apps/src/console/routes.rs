//! Which request gets which answer.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;

use super::guard::{COOKIE, COOKIE_LIFE, Entry, Guard};
use super::history::Range;
use super::model::{Level, Problem, Setting};
use super::observe::Observer;
use super::{metrics, pages};
use crate::address_book::AddressBook;
use crate::http::decoded;
use crate::tunnels::Tunnels;

/// All that answers are made of.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) guard: Guard,
    pub(crate) observer: Observer,
    pub(crate) book: Option<Arc<AddressBook>>,
    pub(crate) tunnels: Option<Tunnels>,
    pub(crate) settings: Vec<Setting>,
}

pub(crate) type Answer = Response<Full<Bytes>>;

/// Nothing is loaded from elsewhere, nothing in a page is a script, and no other page shows one of ours.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const STYLE: &str = include_str!("assets/style.css");
const SCRIPT: &str = include_str!("assets/live.js");
const ICON: &str = include_str!("assets/icon.svg");

/// Something that is text.
pub(crate) fn text(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// Something of the API.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // The types of the API have text for keys and no maps of anything else: this cannot fail.
    text(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// What went wrong, for programs.
pub(crate) fn problem(status: StatusCode, error: impl Into<String>) -> Answer {
    json(status, &Problem { error: error.into() })
}

/// A value of a query, decoded.
pub(crate) fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    let query = request.uri().query()?;
    let value = query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name)?.1;
    Some(decoded(value))
}

/// The time that plots are of.
pub(crate) fn range(request: &Request<Incoming>) -> Range {
    query(request, "range").and_then(|text| Range::parse(&text)).unwrap_or_default()
}

impl Site {
    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request<Incoming>, from: IpAddr) -> Answer {
        let is_api = request.uri().path().starts_with("/api/");
        let mut answer = if self.guard.is_for_us(request.headers()) {
            self.checked(request, from).await
        } else {
            problem(
                StatusCode::FORBIDDEN,
                "open the console by the address that it listens on, or by localhost: other names and other sites may \
                 not show it",
            )
        };
        seal(&mut answer, is_api);
        answer
    }

    async fn checked(&self, request: Request<Incoming>, from: IpAddr) -> Answer {
        if request.uri().path() == "/health" {
            return self.health(&request).await;
        }
        match self.guard.enter(request.headers(), from, Instant::now()).await {
            Entry::Known => self.entered(request).await,
            Entry::Fresh(cookie) => {
                let mut answer = self.entered(request).await;
                let cookie = format!(
                    "{COOKIE}={cookie}; HttpOnly; SameSite=Strict; Path=/; Max-Age={}",
                    COOKIE_LIFE.as_secs()
                );
                if let Ok(cookie) = HeaderValue::from_str(&cookie) {
                    answer.headers_mut().insert(header::SET_COOKIE, cookie);
                }
                answer
            }
            Entry::Refused => {
                let mut answer =
                    text(StatusCode::UNAUTHORIZED, "text/plain; charset=utf-8", "A password is needed.\n");
                let ask = HeaderValue::from_static("Basic realm=\"aioli console\", charset=\"UTF-8\"");
                answer.headers_mut().insert(header::WWW_AUTHENTICATE, ask);
                answer
            }
            Entry::TooOften => {
                let mut answer = problem(
                    StatusCode::TOO_MANY_REQUESTS,
                    "too many wrong passwords: wait a little and try again",
                );
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
                answer
            }
        }
    }

    async fn entered(&self, request: Request<Incoming>) -> Answer {
        match *request.method() {
            Method::GET | Method::HEAD => self.get(&request).await,
            Method::POST => match self.guard.may_change(request.headers()) {
                Ok(()) => self.change(request).await,
                Err(why) => problem(StatusCode::FORBIDDEN, why),
            },
            _ => {
                let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD and POST are understood");
                answer.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, POST"));
                answer
            }
        }
    }

    async fn get(&self, request: &Request<Incoming>) -> Answer {
        let path = request.uri().path();
        match path {
            "/style.css" => cached(text(StatusCode::OK, "text/css; charset=utf-8", STYLE)),
            "/live.js" => cached(text(StatusCode::OK, "text/javascript; charset=utf-8", SCRIPT)),
            "/icon.svg" | "/favicon.ico" => cached(text(StatusCode::OK, "image/svg+xml", ICON)),
            "/metrics" => {
                let view = self.observer.view().await;
                text(StatusCode::OK, metrics::CONTENT_TYPE, metrics::text(view.as_deref()))
            }
            _ => match path.strip_prefix("/api/v1/") {
                Some(name) => self.api(name, request).await,
                None => pages::page(self, path, request).await,
            },
        }
    }

    /// For supervisors: the state and nothing else, without a password.
    async fn health(&self, request: &Request<Incoming>) -> Answer {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return problem(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are understood here");
        }
        let state = self.observer.health().await;
        let status =
            if state.level == Level::Good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let line = if state.level == Level::Good {
            format!("{}\n", state.code)
        } else {
            format!("{}: {}. {}\n", state.code, state.title, state.reason)
        };
        text(status, "text/plain; charset=utf-8", line)
    }
}

/// What belongs to the program and changes with it alone.
fn cached(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=300"));
    answer
}

/// What every answer says to browsers.
fn seal(answer: &mut Answer, is_api: bool) {
    let headers = answer.headers_mut();
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    let resource = HeaderName::from_static("cross-origin-resource-policy");
    for (name, value) in [
        (
            header::CONTENT_SECURITY_POLICY,
            if is_api { "default-src 'none'; frame-ancestors 'none'" } else { POLICY },
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (opener, "same-origin"),
        (resource, "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}
