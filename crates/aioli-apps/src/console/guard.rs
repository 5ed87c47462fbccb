//! Who may see and change what: the checks before any page is made.
//!
//! ```text
//!  Host      names this computer or the address that was configured (DNS rebinding)
//!  password  by HTTP Basic, then a cookie; needed on any address but loopback
//!  POST      from a page of ours (Origin), as JSON, with the token of this process (CSRF)
//! ```

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use aioli_core::crypto::Secret;
use aioli_core::crypto::hash::hmac_sha256;
use aioli_node::entropy;
use aioli_wire::base64;
use data_encoding::BASE64;
use hyper::HeaderMap;
use hyper::header::{self, HeaderName};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::password::{Password, Throttle};

/// The header that a change carries.
pub(crate) const TOKEN: HeaderName = HeaderName::from_static("x-aioli-token");
/// The cookie of who has given the password.
pub(crate) const COOKIE: &str = "aioli_console";
/// It is good for so long.
pub(crate) const COOKIE_LIFE: Duration = Duration::from_secs(12 * 3_600);
/// Cookies at a time.
const MOST_COOKIES: usize = 64;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Whether somebody has the password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// They have shown it already, or none is needed.
    Known,
    /// They have it: this cookie says so from now on.
    Fresh(String),
    /// They have it not.
    Refused,
    /// They have guessed too often.
    TooOften,
}

/// What the checks know.
#[derive(Debug)]
pub(crate) struct Guard {
    bound: SocketAddr,
    password: Option<Arc<Password>>,
    token: String,
    key: [u8; 32],
    cookies: Mutex<BTreeMap<[u8; 32], Instant>>,
    throttle: Mutex<Throttle>,
    /// One password is checked at a time: scrypt takes memory and a core.
    checking: Semaphore,
}

impl Guard {
    pub(crate) fn new(bound: SocketAddr, password: Option<Password>) -> Self {
        Self {
            bound,
            password: password.map(Arc::new),
            token: base64::encode(&entropy()),
            key: entropy(),
            cookies: Mutex::default(),
            throttle: Mutex::new(Throttle::new(Instant::now())),
            checking: Semaphore::new(1),
        }
    }

    /// What a change must carry.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Whether the request is for us and not for a name that somebody has pointed here, and not from another site.
    pub(crate) fn is_for_us(&self, headers: &HeaderMap) -> bool {
        let host = headers.get(header::HOST).and_then(|h| h.to_str().ok());
        if !host.is_some_and(|host| is_own_host(host, self.bound)) {
            return false;
        }
        let is = |name: &HeaderName, what: &str| {
            headers.get(name).is_some_and(|v| v.as_bytes() == what.as_bytes())
        };
        // A link from elsewhere may be followed; a picture or a script of ours is for nobody else.
        !is(&FETCH_SITE, "cross-site") || is(&FETCH_MODE, "navigate")
    }

    /// Whether a change is asked for by a page of ours, or by a program that has the token.
    pub(crate) fn may_change(&self, headers: &HeaderMap) -> Result<(), &'static str> {
        let text = |name: &HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
        let host = text(&header::HOST).unwrap_or_default();
        if let Some(origin) = text(&header::ORIGIN)
            && origin.strip_prefix("http://") != Some(host)
        {
            return Err("the request comes from another site");
        }
        if text(&FETCH_SITE).is_some_and(|site| site != "same-origin" && site != "none") {
            return Err("the request comes from another site");
        }
        let kind = text(&header::CONTENT_TYPE).unwrap_or_default();
        if kind.split(';').next().map(str::trim) != Some("application/json") {
            return Err("a change must be application/json");
        }
        let token = headers.get(TOKEN).map(|v| hmac_sha256(&self.key, &[v.as_bytes()]));
        let right = Secret::new(hmac_sha256(&self.key, &[self.token.as_bytes()]));
        if token.map(Secret::new) != Some(right) {
            return Err(
                "the token is missing or of an earlier start: load the page again, or see /api/v1/token",
            );
        }
        Ok(())
    }

    /// Whether the request comes from somebody who has the password.
    pub(crate) async fn enter(&self, headers: &HeaderMap, from: IpAddr, now: Instant) -> Entry {
        let Some(password) = &self.password else { return Entry::Known };
        if self.has_cookie(headers, now) {
            return Entry::Known;
        }
        let Some(given) = basic_password(headers) else { return Entry::Refused };
        let trusted = self.throttle.lock().unwrap_or_else(PoisonError::into_inner).has_been_right(from);
        if trusted && password.is_known(&given) {
            return Entry::Known;
        }
        let Ok(_one_at_a_time) = self.checking.acquire().await else { return Entry::Refused };
        if !self.throttle.lock().unwrap_or_else(PoisonError::into_inner).try_once(from, now) {
            return Entry::TooOften;
        }
        let password = Arc::clone(password);
        let right = tokio::task::spawn_blocking(move || password.is(&given)).await.unwrap_or(false);
        if !right {
            tracing::warn!("the console was given a wrong password from {from}");
            return Entry::Refused;
        }
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).was_right(from);
        Entry::Fresh(self.new_cookie(now))
    }

    fn new_cookie(&self, now: Instant) -> String {
        let value = base64::encode(&entropy());
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.retain(|_, until| *until > now);
        if cookies.len() >= MOST_COOKIES {
            let oldest = cookies.iter().min_by_key(|(_, until)| **until).map(|(hash, _)| *hash);
            oldest.map(|hash| cookies.remove(&hash));
        }
        cookies.insert(hmac_sha256(&self.key, &[value.as_bytes()]), now + COOKIE_LIFE);
        value
    }

    /// Cookies are found by a keyed hash: how long that takes tells nothing of them.
    fn has_cookie(&self, headers: &HeaderMap, now: Instant) -> bool {
        let all = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        let mut ours = all
            .flat_map(|line| line.split(';'))
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE);
        let Some((_, value)) = ours.next() else { return false };
        let cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.get(&hmac_sha256(&self.key, &[value.as_bytes()])).is_some_and(|until| *until > now)
    }
}

/// The password of HTTP Basic (RFC 7617). The user's name does not matter.
fn basic_password(headers: &HeaderMap) -> Option<Zeroizing<Vec<u8>>> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = Zeroizing::new(BASE64.decode(credentials.trim().as_bytes()).ok()?);
    let colon = decoded.iter().position(|b| *b == b':')?;
    Some(Zeroizing::new(decoded.get(colon + 1..)?.to_vec()))
}

/// Whether a `Host` names this computer: `localhost`, an address of loopback, or the address that we listen on. Where
/// we listen on all of them it may be any address; a name that somebody can point here never is.
pub(crate) fn is_own_host(host: &str, bound: SocketAddr) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    let Ok(ip) = name.parse::<IpAddr>() else { return false };
    let (ip, own) = (ip.to_canonical(), bound.ip().to_canonical());
    ip.is_loopback() || ip == own || own.is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn only_names_of_this_computer_are_served() {
        let loopback = SocketAddr::from(([127, 0, 0, 1], 7657));
        let lan = SocketAddr::from(([192, 168, 0, 5], 7657));
        let all = SocketAddr::from(([0, 0, 0, 0], 7657));
        for host in
            ["localhost", "LocalHost:7657", "127.0.0.1:7657", "127.0.0.1", "[::1]:7657", "localhost:80"]
        {
            assert!([loopback, lan, all].into_iter().all(|bound| is_own_host(host, bound)), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "",
            "router.i2p",
            "2130706433",
        ] {
            assert!(![loopback, lan, all].into_iter().any(|bound| is_own_host(host, bound)), "{host}");
        }
        assert!(is_own_host("192.168.0.5:7657", lan) && !is_own_host("192.168.0.5:7657", loopback));
        assert!(is_own_host("10.0.0.1:7657", all) && !is_own_host("10.0.0.1:7657", lan));
    }

    #[test]
    fn changes_need_origin_type_and_token() {
        let guard = Guard::new(SocketAddr::from(([127, 0, 0, 1], 7657)), None);
        let token = guard.token().to_owned();
        let good = [
            (header::HOST, "localhost:7657"),
            (header::CONTENT_TYPE, "application/json"),
            (TOKEN, token.as_str()),
        ];
        assert_eq!(guard.may_change(&headers(&good)), Ok(()));
        for (name, value, allowed) in [
            (header::ORIGIN, "http://localhost:7657", true),
            (header::ORIGIN, "http://localhost:80", false),
            (header::ORIGIN, "https://localhost:7657", false),
            (header::ORIGIN, "http://evil.example", false),
            (header::ORIGIN, "null", false),
            (FETCH_SITE, "same-origin", true),
            (FETCH_SITE, "same-site", false),
            (FETCH_SITE, "cross-site", false),
            (header::CONTENT_TYPE, "text/plain", false),
            (header::CONTENT_TYPE, "application/x-www-form-urlencoded", false),
            (TOKEN, "guess", false),
        ] {
            let mut all = headers(&good);
            all.insert(&name, value.parse().unwrap());
            assert_eq!(guard.may_change(&all).is_ok(), allowed, "{name}: {value}");
        }
        let without = headers(&good[..2]);
        assert!(guard.may_change(&without).is_err());
        assert!(guard.is_for_us(&headers(&good)));
        let foreign = [(header::HOST, "localhost"), (FETCH_SITE, "cross-site"), (FETCH_MODE, "no-cors")];
        assert!(!guard.is_for_us(&headers(&foreign)));
        assert!(!guard.is_for_us(&HeaderMap::new()));
    }

    #[test]
    fn basic_credentials_are_read_in_the_base64_of_the_web() {
        let with = |value: &str| {
            basic_password(&headers(&[(header::AUTHORIZATION, value)])).map(|password| password.to_vec())
        };
        assert_eq!(with("Basic YTo+Pj8/"), Some(b">>??".to_vec()));
        assert_eq!(with("basic YTpiOmM="), Some(b"b:c".to_vec()));
        for wrong in ["Basic", "Basic !!", "Bearer YTpi", "Basic YWI=", ""] {
            assert_eq!(with(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_password_is_asked_for_once() {
        let dir = tempfile::tempdir().unwrap();
        Password::store(dir.path(), "correct horse").unwrap();
        let password = Password::load(dir.path()).unwrap();
        let guard = Guard::new(SocketAddr::from(([0, 0, 0, 0], 7657)), password);
        let (from, now) = (IpAddr::from([10, 0, 0, 1]), Instant::now());
        assert_eq!(guard.enter(&HeaderMap::new(), from, now).await, Entry::Refused);
        let right = headers(&[(header::AUTHORIZATION, "Basic eDpjb3JyZWN0IGhvcnNl")]);
        let Entry::Fresh(cookie) = guard.enter(&right, from, now).await else { unreachable!("it is right") };
        assert_eq!(guard.enter(&right, from, now).await, Entry::Known);
        let pair = format!("a=b; {COOKIE}={cookie}");
        let with_cookie = headers(&[(header::COOKIE, &pair)]);
        assert_eq!(guard.enter(&with_cookie, from, now).await, Entry::Known);
        assert_eq!(guard.enter(&with_cookie, from, now + COOKIE_LIFE).await, Entry::Refused);
        let wrong = headers(&[(header::AUTHORIZATION, "Basic eDp3cm9uZw==")]);
        let mut last = Entry::Refused;
        for _ in 0..6 {
            last = guard.enter(&wrong, from, now).await;
        }
        assert_eq!(last, Entry::TooOften);
        assert_eq!(guard.enter(&with_cookie, from, now).await, Entry::Known, "who is in stays in");
        let other = IpAddr::from([10, 0, 0, 2]);
        for _ in 0..6 {
            last = guard.enter(&wrong, other, now).await;
        }
        assert_eq!(last, Entry::TooOften);
        assert_eq!(
            guard.enter(&right, other, now).await,
            Entry::TooOften,
            "another learns nothing meanwhile"
        );
    }
}
