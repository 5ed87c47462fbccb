//! Headers that pass, in both directions: nothing that tells programs or people
//! apart, nothing that has a browser connect to anywhere else.

use hyper::Uri;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};

/// What every program calls itself to sites of I2P; routers of all kinds have agreed on it.
const USER_AGENT: &str = "MYOB/6.66 (AN/ON)";
/// And to an outproxy, where that would stand out: the Tor Browser's.
const OUTPROXY_USER_AGENT: &str = "Mozilla/5.0 (Windows NT 10.0; rv:128.0) Gecko/20100101 Firefox/128.0";

const ACCEPT_HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
const ACCEPT_IMAGE: &str = "image/png,image/svg+xml,image/*;q=0.8,*/*;q=0.5";
const ACCEPT_CSS: &str = "text/css,*/*;q=0.1";

/// Of one connection only (RFC 9110, section 7.6.1).
const HOP_BY_HOP: &[&str] =
    &["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"];
/// They tell who asks, from where, with what, or how he likes it.
const TELLTALES: &[&str] = &[
    "via",
    "from",
    "forwarded",
    "dnt",
    "sec-gpc",
    "x-real-ip",
    "client-ip",
    "true-client-ip",
    "x-client-ip",
    "cf-connecting-ip",
    "save-data",
    "device-memory",
    "dpr",
    "viewport-width",
    "width",
    "downlink",
    "ect",
    "rtt",
];
const TELLTALE_PREFIXES: &[&str] = &["x-forwarded", "proxy-", "sec-ch-", "accept-", "x-i2p-"];
/// They have a browser send or ask something elsewhere.
const ELSEWHERE: &[&str] = &["alt-svc", "nel", "report-to", "reporting-endpoints"];

/// Whether the client asks for a WebSocket.
pub(crate) fn wants_websocket(headers: &HeaderMap) -> bool {
    let named = |name: HeaderName, what: &str| {
        let values = headers.get_all(name).iter().filter_map(|v| v.to_str().ok());
        values.flat_map(|v| v.split(',')).any(|v| v.trim().eq_ignore_ascii_case(what))
    };
    named(header::CONNECTION, "upgrade") && named(header::UPGRADE, "websocket")
}

/// What is left of a request's headers. `target` is an absolute URL.
pub(super) fn request(headers: &mut HeaderMap, target: &Uri, to_outproxy: bool) {
    let websocket = wants_websocket(headers);
    remove_hop_by_hop(headers);
    let encoding = accept_encoding(headers);
    remove(headers, TELLTALES, TELLTALE_PREFIXES);
    set(headers, header::ACCEPT_ENCODING, encoding);
    let agent = if to_outproxy { OUTPROXY_USER_AGENT } else { USER_AGENT };
    set(headers, header::USER_AGENT, Some(agent));
    if let Some(accept) = accept(headers) {
        set(headers, header::ACCEPT, Some(accept));
    }
    let referer = headers.remove(header::REFERER).and_then(|value| same_site(&value, target));
    if let Some(referer) = referer {
        headers.insert(header::REFERER, referer);
    }
    let of_system =
        |scheme: &str| scheme.eq_ignore_ascii_case("ntlm") || scheme.eq_ignore_ascii_case("negotiate");
    let first_word = |value: &HeaderValue| value.to_str().ok()?.split(' ').next().map(str::to_owned);
    if headers.get(header::AUTHORIZATION).and_then(first_word).is_some_and(|scheme| of_system(&scheme)) {
        headers.remove(header::AUTHORIZATION);
    }
    // Some browsers put the program's name there.
    let by = headers.get("x-requested-with").map(HeaderValue::as_bytes).unwrap_or_default();
    if !by.windows(11).any(|w| w == b"HttpRequest") {
        headers.remove("x-requested-with");
    }
    if websocket {
        set(headers, header::UPGRADE, Some("websocket"));
    }
    set(headers, header::CONNECTION, Some(if websocket { "upgrade" } else { "close" }));
}

/// What is left of an answer's headers.
pub(super) fn response(headers: &mut HeaderMap, is_upgrade: bool) {
    remove_hop_by_hop(headers);
    remove(headers, ELSEWHERE, &["proxy-"]);
    if is_upgrade {
        set(headers, header::UPGRADE, Some("websocket"));
        set(headers, header::CONNECTION, Some("upgrade"));
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: Option<&'static str>) {
    match value {
        Some(value) => drop(headers.insert(name, HeaderValue::from_static(value))),
        None => drop(headers.remove(name)),
    }
}

/// Removes what is of one connection only.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let values = headers.get_all(header::CONNECTION).iter().filter_map(|v| v.to_str().ok());
    let named: Vec<HeaderName> = values
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::from_bytes(name.trim().as_bytes()).ok())
        // Not everything is a connection's business because a client says so.
        .filter(|name| {
            *name != header::HOST && *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE
        })
        .collect();
    for name in named {
        headers.remove(name);
    }
    remove(headers, HOP_BY_HOP, &[]);
}

/// Removes headers by name, and by how their names begin.
pub(crate) fn remove(headers: &mut HeaderMap, names: &[&str], prefixes: &[&str]) {
    let unwanted = |name: &HeaderName| {
        names.contains(&name.as_str()) || prefixes.iter().any(|prefix| name.as_str().starts_with(prefix))
    };
    let unwanted: Vec<_> = headers.keys().filter(|name| unwanted(name)).cloned().collect();
    for name in unwanted {
        headers.remove(name);
    }
}

/// One answer for all that unpack both, none for the others.
fn accept_encoding(headers: &HeaderMap) -> Option<&'static str> {
    let text = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    let has = |what: &str| text.split(',').any(|part| part.trim().eq_ignore_ascii_case(what));
    (has("gzip") && has("deflate")).then_some("gzip, deflate")
}

/// Browsers tell themselves apart by it, so there are three for all; what programs ask for stays.
fn accept(headers: &HeaderMap) -> Option<&'static str> {
    let text = headers.get(header::ACCEPT)?.to_str().ok()?;
    if text.contains("text/html") {
        Some(ACCEPT_HTML)
    } else if text.starts_with("image/") {
        Some(ACCEPT_IMAGE)
    } else if text.starts_with("text/css") {
        Some(ACCEPT_CSS)
    } else {
        None
    }
}

/// The path of a referer of the same site.
fn same_site(value: &HeaderValue, target: &Uri) -> Option<HeaderValue> {
    let referer: Uri = value.to_str().ok()?.parse().ok()?;
    let site =
        |uri: &Uri| Some((uri.scheme_str()?.to_owned(), uri.host()?.to_ascii_lowercase(), uri.port_u16()));
    if site(&referer)? != site(target)? {
        return None;
    }
    HeaderValue::from_str(referer.path_and_query()?.as_str()).ok()
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

    fn filtered(lines: &[(&str, &str)]) -> Vec<String> {
        let mut headers = map(lines);
        request(&mut headers, &"http://a.i2p/page".parse().unwrap(), false);
        let mut left: Vec<_> = headers.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect();
        left.sort();
        left
    }

    const ALWAYS: [&str; 2] = ["connection: close", "user-agent: MYOB/6.66 (AN/ON)"];

    #[test]
    fn nothing_that_tells_who_asks_passes() {
        let telltales = [
            ("User-Agent", "Secret/1.0"),
            ("Accept-Language", "de-CH"),
            ("Accept-Charset", "utf-8"),
            ("Accept-Encoding", "br"),
            ("Via", "1.1 home"),
            ("From", "me@example.com"),
            ("Forwarded", "for=192.0.2.1"),
            ("X-Forwarded-For", "192.0.2.1"),
            ("X-Real-IP", "192.0.2.1"),
            ("Proxy-Authorization", "Basic eA=="),
            ("Proxy-Connection", "keep-alive"),
            ("DNT", "1"),
            ("Sec-CH-UA-Platform", "Linux"),
            ("X-I2P-DestHash", "AAAA"),
            ("Authorization", "Negotiate YII="),
            ("X-Requested-With", "org.example.browser"),
            ("Referer", "http://b.i2p/secret"),
            ("Connection", "keep-alive, X-Hop"),
            ("X-Hop", "1"),
            ("TE", "trailers"),
            ("Expect", "100-continue"),
        ];
        assert_eq!(filtered(&telltales), ALWAYS);
    }

    #[test]
    fn what_a_site_needs_passes() {
        let useful = [
            ("Cookie", "a=b"),
            ("Authorization", "Basic eA=="),
            ("Accept", "text/html,image/webp"),
            ("Accept-Encoding", "gzip, deflate, br"),
            ("Range", "bytes=1-"),
            ("Content-Length", "3"),
            ("Connection", "content-length"),
            ("X-Requested-With", "XMLHttpRequest"),
            ("Referer", "http://A.i2p/other?x=1"),
        ];
        let left = filtered(&useful);
        for line in [
            "cookie: a=b",
            "authorization: Basic eA==",
            "accept-encoding: gzip, deflate",
            "range: bytes=1-",
            "content-length: 3",
            "x-requested-with: XMLHttpRequest",
            "referer: /other?x=1",
            &format!("accept: {ACCEPT_HTML}"),
        ] {
            assert!(left.iter().any(|l| l == line), "{line} is not in {left:?}");
        }
        let websocket = filtered(&[("Connection", "keep-alive, Upgrade"), ("Upgrade", "websocket")]);
        assert!(
            websocket.contains(&"connection: upgrade".into())
                && websocket.contains(&"upgrade: websocket".into())
        );
        assert_eq!(filtered(&[("Connection", "upgrade"), ("Upgrade", "h2c")]), ALWAYS);
    }

    #[test]
    fn answers_lead_nowhere_else() {
        let mut headers = map(&[
            ("Alt-Svc", "h3=\"example.com:443\""),
            ("NEL", "{}"),
            ("Report-To", "{}"),
            ("Proxy-Authenticate", "Basic"),
            ("Keep-Alive", "timeout=5"),
            ("Content-Type", "text/html"),
        ]);
        response(&mut headers, false);
        assert_eq!(headers, map(&[("Content-Type", "text/html")]));
    }
}
