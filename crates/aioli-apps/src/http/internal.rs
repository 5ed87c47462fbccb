//! The pages of `proxy.i2p`, among them the one that asks before a name from a
//! link is believed.
//!
//! ```text
//!  http://name.i2p/page?i2paddresshelper=DESTINATION
//!    │ the name is unknown
//!    └─► http://proxy.i2p/helper?host=&dest=&url=   asks
//!           └─POST, with a token─► once, or into the address book ─► http://name.i2p/page
//! ```
//!
//! The question is on a host of its own, so that no site can read it, and its
//! token is over all that is asked, so that no site can answer it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use aioli_core::crypto::Secret;
use aioli_core::crypto::hash::hmac_sha256;
use aioli_router::client::Target;
use aioli_wire::{base32, base64};
use http_body_util::{BodyExt, Limited};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri};
use percent_encoding::percent_decode_str;

use super::pages::{self, HOST, Page, escaped, query_value};
use super::{Body, HttpProxy, empty, with_port};
use crate::address_book::{List, Outcome, feed};
use crate::names::{HostName, i2p_host};

/// Bytes of a form at most.
const MAX_FORM: usize = 16 * 1024;
/// The parameter of an address helper.
const HELPER: &str = "i2paddresshelper";

/// Takes an address helper out of a query. Gives the rest of the query, and the helper.
pub(super) fn split_helper(query: &str) -> Option<(String, String)> {
    let is_helper = |part: &&str| part.split('=').next() == Some(HELPER);
    let value = query.split('&').find(is_helper)?.split_once('=')?.1;
    let rest: Vec<_> = query.split('&').filter(|part| !is_helper(part)).collect();
    Some((rest.join("&"), decoded(value)))
}

/// The destination that a helper names.
fn helper_target(value: &str) -> Option<Target> {
    if let Some(hash) = base32::parse_host_name(value) {
        return Some(Target::Hash(hash));
    }
    feed::destination(value).ok().map(|d| Target::Destination(Box::new(d)))
}

impl HttpProxy {
    /// A link that says what its name stands for.
    pub(super) fn on_helper(&self, host: &str, uri: &Uri, rest: &str, value: &str) -> Response<Body> {
        let query = if rest.is_empty() { String::new() } else { format!("?{rest}") };
        let url = format!("http://{}{}{query}", with_port(host, uri), uri.path());
        let Some(target) = helper_target(value) else {
            return damaged_helper(host).response();
        };
        match self.naming.resolve(host) {
            Ok(known) if known.hash() == target.hash() => redirect(&url),
            Ok(_) => conflict(host, &url).response(),
            Err(_) => {
                let (host, dest, url) = (query_value(host), query_value(value), query_value(&url));
                redirect(&format!("http://{HOST}/helper?host={host}&dest={dest}&url={url}"))
            }
        }
    }

    /// A request for one of the proxy's own pages.
    pub(super) async fn internal(&self, request: Request<hyper::body::Incoming>) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        match (method, &*path) {
            (Method::GET | Method::HEAD, "/") => self.front().await.response(),
            (Method::GET, "/helper") => self.ask(&form(request.uri().query().unwrap_or_default())).response(),
            (Method::POST, "/helper") => {
                // A form of another site is told by its origin, where the browser says that.
                let foreign = request.headers().get(header::ORIGIN);
                if foreign.is_some_and(|origin| origin.as_bytes() != format!("http://{HOST}").as_bytes()) {
                    return stale().response();
                }
                let body = Limited::new(request.into_body(), MAX_FORM).collect().await;
                let Ok(body) = body else { return pages::bad_request("The form is too long.").response() };
                self.take_answer(&form(&String::from_utf8_lossy(&body.to_bytes()))).await
            }
            _ => {
                let body = format!("<p><a href=\"http://{HOST}/\">The proxy's first page</a></p>");
                Page::new(StatusCode::NOT_FOUND, "No such page", body).response()
            }
        }
    }

    async fn front(&self) -> Page {
        let book = self.naming.book();
        // Whoever looks here wants to open pages soon. If it fails, so it says.
        let _ = self.outlet.session().await;
        let state = if self.outlet.is_ready() {
            "Connected to I2P: pages whose names end with <code>.i2p</code> can be opened."
        } else {
            "Not connected to I2P yet: this takes a minute or two after the start."
        };
        let stats = self.stats();
        let mut body = format!("<p class=what>{state}</p>\n<ul>");
        for (what, n) in [
            ("names in the address book", List::ALL.into_iter().map(|list| book.len(list) as u64).sum()),
            ("connections now", stats.connections),
            ("requests", stats.requests),
            ("requests refused as malformed", stats.bad_requests),
            ("connections refused, because there were too many", stats.refused_connections),
        ] {
            // Writing to a string cannot fail.
            let _ = write!(body, "<li>{n} {what}</li>");
        }
        body.push_str("</ul>");
        Page::new(StatusCode::OK, "The I2P proxy", body)
    }

    fn token(&self, host: &str, dest: &str, url: &str) -> Secret<32> {
        let parts: [&[u8]; 5] = [host.as_bytes(), b"\n", dest.as_bytes(), b"\n", url.as_bytes()];
        Secret::new(hmac_sha256(&self.secret, &parts))
    }

    /// Asks whether a name is to be believed.
    fn ask(&self, form: &BTreeMap<String, String>) -> Page {
        let Some((host, dest, url)) = asked(form) else { return stale() };
        let Some(target) = helper_target(&dest) else { return damaged_helper(&host) };
        let token = base64::encode(self.token(&host, &dest, &url).as_bytes());
        let field =
            |name: &str, value: &str| format!("<input type=hidden name={name} value=\"{}\">", escaped(value));
        let save = if HostName::parse(&host).is_ok() {
            "<button name=action value=save>Keep it in the address book</button>"
        } else {
            ""
        };
        let body = format!(
            "<p class=what>A link says that <code>{host}</code> is the destination<br><code>{b32}</code>.<br>\
             This router does not know the name, so it cannot tell whether that is true.</p>\n\
             <p>Go on if you trust where the link came from. Kept names are always this destination from then \
             on.</p>\n<form method=post action=\"http://{HOST}/helper\">{fields}\
             <button name=action value=once>Open it this once</button>{save}</form>",
            host = escaped(&host),
            b32 = escaped(&base32::host_name(&target.hash())),
            fields = [field("token", &token), field("host", &host), field("dest", &dest), field("url", &url)]
                .concat(),
        );
        Page::new(StatusCode::OK, format!("Is this {host}?"), body)
    }

    async fn take_answer(&self, form: &BTreeMap<String, String>) -> Response<Body> {
        let Some((host, dest, url)) = asked(form) else { return stale().response() };
        let token = form.get("token").and_then(|text| base64::decode(text)?.try_into().ok()).map(Secret::new);
        if token != Some(self.token(&host, &dest, &url)) {
            return stale().response();
        }
        let Some(target) = helper_target(&dest) else { return damaged_helper(&host).response() };
        if form.get("action").is_some_and(|action| action == "save") {
            if let Err(page) = self.save(&host, target).await {
                return page.response();
            }
        } else {
            self.naming.confirm(&host, target);
        }
        redirect(&url)
    }

    async fn save(&self, host: &str, target: Target) -> Result<(), Page> {
        let destination = match target {
            Target::Destination(destination) => *destination,
            // The address book keeps whole destinations.
            Target::Hash(hash) => {
                let found = async { self.outlet.session().await?.lookup(hash).await };
                Arc::unwrap_or_clone(found.await.map_err(|error| pages::unreachable(host, error))?)
            }
        };
        let name = HostName::parse(host).map_err(|_| damaged_helper(host))?;
        match self.naming.book().set(List::User, &name, &destination) {
            Ok(Outcome::Full) => Err(not_kept("the address book is full")),
            Ok(_) => Ok(()),
            Err(error) => Err(not_kept(&error.to_string())),
        }
    }
}

/// What a form asks about. None: it is none of ours.
fn asked(form: &BTreeMap<String, String>) -> Option<(String, String, String)> {
    let get = |key| form.get(key).cloned();
    let (host, dest, url) = (get("host")?, get("dest")?, get("url")?);
    // It leads back to the host that it is about, and nowhere else.
    let uri: Uri = url.parse().ok()?;
    let same = uri.scheme_str() == Some("http")
        && uri.host() == Some(&host)
        && uri.authority().is_some_and(|a| !a.as_str().contains('@'));
    (same && i2p_host(&host).as_ref() == Some(&host)).then_some((host, dest, url))
}

fn stale() -> Page {
    let body = "<p class=what>This question was not asked by this proxy, or before its last start.</p>\n\
                <p>Go back and follow the link again.</p>";
    Page::new(StatusCode::FORBIDDEN, "Nothing was done", body)
}

fn damaged_helper(host: &str) -> Page {
    let body = format!(
        "<p class=what>The link says what <code>{}</code> stands for, but what it says is no destination of I2P.</p>\n\
         <p>It is incomplete or wrong. Nothing was changed.</p>",
        escaped(host)
    );
    Page::new(StatusCode::BAD_REQUEST, "A damaged link", body)
}

fn not_kept(why: &str) -> Page {
    let body = format!("<p class=what>The name could not be kept: {}.</p>", escaped(why));
    Page::new(StatusCode::INTERNAL_SERVER_ERROR, "Not kept", body)
}

fn conflict(host: &str, url: &str) -> Page {
    let body = format!(
        "<p class=what>The link says that <code>{host}</code> is another destination than the one that this router \
         knows. It may be a trap.</p>\n<p><a href=\"{url}\">Open the one that is known</a>. If the site has moved, \
         and you are sure of it, change the name with <code>aioli address add</code>.</p>",
        host = escaped(host),
        url = escaped(url)
    );
    Page::new(StatusCode::CONFLICT, "Two addresses for one name", body)
}

fn redirect(url: &str) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    match HeaderValue::from_str(url) {
        Ok(url) => drop(response.headers_mut().insert(header::LOCATION, url)),
        Err(_) => return pages::bad_request("The address is no URL.").response(),
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// The fields of a form, the first of each name.
fn form(text: &str) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    for part in text.split('&').take(20) {
        if let Some((key, value)) = part.split_once('=') {
            fields.entry(decoded(key)).or_insert_with(|| decoded(value));
        }
    }
    fields
}

/// A value of a query or a form.
pub(crate) fn decoded(text: &str) -> String {
    percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_are_taken_out_of_the_query() {
        for (query, rest, value) in [
            ("i2paddresshelper=AA~-%3D", "", "AA~-="),
            ("a=b&i2paddresshelper=x&c", "a=b&c", "x"),
            ("i2paddresshelper=x&i2paddresshelper=y&a", "a", "x"),
        ] {
            assert_eq!(split_helper(query), Some((rest.into(), value.into())), "{query}");
        }
        for query in ["", "a=b", "xi2paddresshelper=x", "i2paddresshelper"] {
            assert_eq!(split_helper(query), None, "{query}");
        }
    }

    #[test]
    fn questions_lead_back_to_their_own_host() {
        let ask = |host: &str, url: &str| {
            let pairs = [("host", host), ("dest", "x"), ("url", url)];
            asked(&pairs.into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
        };
        assert!(ask("a.i2p", "http://a.i2p/x?y").is_some());
        assert!(ask("a.i2p", "http://a.i2p:81/").is_some());
        for (host, url) in [
            ("a.i2p", "http://b.i2p/"),
            ("a.i2p", "https://a.i2p/"),
            ("a.i2p", "http://a.i2p@b.i2p/"),
            ("a.i2p", "javascript:alert(1)"),
            ("a.com", "http://a.com/"),
            ("A.i2p", "http://A.i2p/"),
        ] {
            assert!(ask(host, url).is_none(), "{host} {url}");
        }
    }
}
