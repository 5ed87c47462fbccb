//! What the proxy itself shows: in plain words what happened and what to do.

use std::fmt::Write;
use std::time::Duration;

use aioli_node::embed::ClientError;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::Body;
use super::head::HeadError;
use crate::resolve::Unresolved;

/// The host of the proxy's own pages.
pub(super) const HOST: &str = "proxy.i2p";

const STYLE: &str = "body{font:1rem/1.5 system-ui,sans-serif;max-width:44rem;margin:3rem auto;padding:0 1rem;\
color:#222;background:#fff}h1{font-size:1.4rem}code{overflow-wrap:anywhere}.what{border-left:.3rem solid #b50;\
padding-left:1rem}button{font:inherit;padding:.4rem 1rem;margin:.3rem .5rem .3rem 0}footer{margin-top:3rem;\
color:#777;font-size:.85rem}a{color:#05c}@media(prefers-color-scheme:dark){body{color:#ddd;background:#1b1b1b}\
a{color:#7bf}}";

/// Nothing is loaded from anywhere, and no other page shows one of these in a frame.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'";

/// One of our own pages. `body` is HTML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) body: String,
}

impl Page {
    pub(super) fn new(status: StatusCode, title: impl Into<String>, body: impl Into<String>) -> Self {
        Self { status, title: title.into(), body: body.into() }
    }

    /// A page that says what happened, and then what can be done.
    fn error(status: StatusCode, title: &str, what: &str, remedy: &str) -> Self {
        Self::new(status, title, format!("<p class=what>{what}</p>\n<p>{remedy}</p>"))
    }

    pub(super) fn html(&self) -> String {
        format!(
            "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{title}</title>\
             <meta name=viewport content=\"width=device-width\"><style>{STYLE}</style></head>\n\
             <body><h1>{title}</h1>\n{body}\n\
             <footer>aioli, the I2P proxy on this computer &middot; <a href=\"http://{HOST}/\">{HOST}</a></footer>\
             </body></html>\n",
            title = escaped(&self.title),
            body = self.body
        )
    }

    pub(super) fn response(&self) -> Response<Body> {
        let body = Full::new(Bytes::from(self.html())).map_err(|never| match never {}).boxed_unsync();
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONTENT_TYPE, "text/html; charset=utf-8"),
            (header::CACHE_CONTROL, "no-store"),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            // With `no-referrer` a browser would send the answer of our own form with `Origin: null`, as a stranger's.
            (header::REFERRER_POLICY, "same-origin"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("30"));
        }
        response
    }
}

/// Text for a page, whoever has written it.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            c => safe.push(c),
        }
    }
    safe
}

/// A value for the query of a URL.
pub(super) fn query_value(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A request that is no request.
pub(super) fn bad_head(error: HeadError) -> Page {
    Page::error(
        error.status(),
        "The request was refused",
        &format!("{}.", capital(&error.to_string())),
        "It went nowhere. If a browser sent it, restart the browser; if a program did, it is at fault.",
    )
}

/// A request that this proxy has no use for.
pub(super) fn bad_request(what: &str) -> Page {
    Page::error(
        StatusCode::BAD_REQUEST,
        "The request was refused",
        what,
        "This is the HTTP proxy of an I2P router. Enter its address in the settings of your browser, as the proxy \
         for HTTP and HTTPS, and open a page whose name ends with <code>.i2p</code>.",
    )
}

/// A host outside I2P, and nobody to ask.
pub(super) fn outside(host: &str) -> Page {
    Page::error(
        StatusCode::FORBIDDEN,
        "Not in I2P",
        &format!(
            "<code>{}</code> is not a name of I2P: those end with <code>.i2p</code>. Nothing was looked up and nothing \
             was connected to.",
            escaped(host)
        ),
        "Pages of the ordinary web are not opened through I2P. Use another browser, or another profile of this one, \
         for them. Whoever runs an outproxy can be named with <code>--outproxy</code>.",
    )
}

/// An address of this computer or of its network.
pub(super) fn local(host: &str) -> Page {
    Page::error(
        StatusCode::FORBIDDEN,
        "An address of this computer",
        &format!(
            "A page asked for <code>{}</code>, which is this computer or one beside it. A site of I2P has no business \
             there, so nothing was connected to.",
            escaped(host)
        ),
        "If you want to open it yourself, except it from the proxy in the settings of your browser.",
    )
}

/// A name that leads nowhere.
pub(super) fn unresolved(host: &str, why: Unresolved, jumps: &[(String, String)]) -> Page {
    let shown = escaped(host);
    if why != Unresolved::Unknown {
        let what = format!("<code>{shown}</code>: {}.", escaped(&why.to_string()));
        let remedy = "Check the address: not a letter may be missing.";
        return Page::error(StatusCode::NOT_FOUND, "No such address", &what, remedy);
    }
    let mut remedy = String::from(
        "Names of I2P are not asked for in the network: each router has its own list. If you have the address, \
         add it with <code>aioli address add</code>. Otherwise a jump service may know it; it sends you back here with \
         the address, and you decide whether to trust it:</p>\n<ul>\n",
    );
    for (name, url) in jumps {
        let link = escaped(&format!("{url}{}", query_value(host)));
        // Writing to a string cannot fail.
        let _ = writeln!(remedy, "<li><a href=\"{link}\">{}</a></li>", escaped(name));
    }
    remedy.push_str(
        "</ul>\n<p>Subscriptions bring new names by themselves: <code>aioli address subscribe</code>.",
    );
    let what = format!("<code>{shown}</code> is not in the address book of this router.");
    Page::error(StatusCode::NOT_FOUND, "Unknown name", &what, &remedy)
}

/// A destination that is not to be had.
pub(super) fn unreachable(host: &str, error: ClientError) -> Page {
    let (status, title, remedy) = match error {
        ClientError::NoTunnels => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Not connected to I2P yet",
            "Wait a minute and try again. If it stays so, look at what the router says: has it found other routers, \
             is the clock right, is the computer online?",
        ),
        ClientError::NotFound => (
            StatusCode::GATEWAY_TIMEOUT,
            "The site is offline",
            "Sites of I2P are often run at home and not always on. Try again later.",
        ),
        ClientError::Refused => (
            StatusCode::BAD_GATEWAY,
            "The site refused the connection",
            "It is there but takes no visitors now: its server may be down, or it may be busy. Try again later.",
        ),
        ClientError::TimedOut => (
            StatusCode::GATEWAY_TIMEOUT,
            "The site does not answer",
            "Try again: the next attempt takes other ways through the network.",
        ),
        ClientError::Limit => {
            (StatusCode::SERVICE_UNAVAILABLE, "Too much at once", "Close some pages and try again.")
        }
        ClientError::Session(_) | ClientError::SessionClosed | ClientError::Stopped => {
            (StatusCode::SERVICE_UNAVAILABLE, "The router is stopping", "Start it again.")
        }
        ClientError::Encryption | _ => (
            StatusCode::BAD_GATEWAY,
            "The site cannot be reached",
            "Its owner must update the router that it runs on.",
        ),
    };
    let what = format!("<code>{}</code>: {}.", escaped(host), escaped(&error.to_string()));
    Page::error(status, title, &what, remedy)
}

/// A site that accepted the connection and then gave no answer.
pub(super) fn no_answer(host: &str, why: &str) -> Page {
    Page::error(
        StatusCode::BAD_GATEWAY,
        "The site gave no answer",
        &format!("<code>{}</code> took the request, but {}.", escaped(host), escaped(why)),
        "Try again. If it stays so, something is wrong with the site.",
    )
}

/// A site that is slow.
pub(super) fn slow_answer(host: &str, waited: Duration) -> Page {
    let mut page = no_answer(host, &format!("there was no answer within {} s", waited.as_secs()));
    page.status = StatusCode::GATEWAY_TIMEOUT;
    page
}

/// A sentence begins with a capital letter.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or(String::new(), |first| first.to_uppercase().chain(chars).collect())
}
