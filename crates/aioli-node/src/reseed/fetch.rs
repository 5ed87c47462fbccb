//! One bundle from one server: HTTPS, bounded in size and time.

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aioli_core::Date;
use aws_lc_rs::digest::{SHA256, digest};
use reqwest::redirect::Policy;
use reqwest::{Client, Proxy, StatusCode, Url};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use thiserror::Error;

use super::bundle::MAX_BUNDLE;
use super::trust::{Pinned, Trust};

/// What others ask as: a server's log does not tell our routers from theirs.
const USER_AGENT: &str = "Wget/1.11.4";
/// Redirects within a server's host.
const MAX_REDIRECTS: usize = 3;

/// How long a server may take.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For the connection.
    pub connect: Duration,
    /// For all of it.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { connect: Duration::from_secs(20), whole: Duration::from_secs(60) }
    }
}

/// Why a server gave no bundle.
#[derive(Debug, Error)]
pub enum FetchError {
    /// No connection, or one that is not what it should be.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// No connection through the proxy.
    #[error("cannot connect through the proxy {0}: {1}")]
    Proxy(String, String),
    /// It takes too long.
    #[error("it did not answer in full within {0} s")]
    Timeout(u64),
    /// It answers something else.
    #[error("it answers \"{0}\"")]
    Status(StatusCode),
    /// It leads to another host.
    #[error("it leads elsewhere: refused")]
    Redirect,
    /// It sends too much.
    #[error("it sends more than {MAX_BUNDLE} bytes: refused")]
    TooLarge,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Broken(String),
}

/// A client that trusts whom `trust` names, when it is `now`. The error is one line for the user.
pub(super) fn client(
    trust: &Trust,
    proxy: Option<&str>,
    patience: Patience,
    now: Date,
) -> Result<Client, String> {
    let mut builder = Client::builder()
        .use_preconfigured_tls(tls(trust, now)?)
        .https_only(true)
        .user_agent(USER_AGENT)
        .connect_timeout(patience.connect)
        .timeout(patience.whole)
        .redirect(same_host())
        .no_proxy();
    if let Some(proxy) = proxy {
        // The proxy resolves names: the question is part of what it is to hide.
        let url = proxy.replacen("socks5://", "socks5h://", 1);
        let proxy =
            Proxy::all(&url).map_err(|e| format!("the proxy {proxy} cannot be used: {}", root(&e)))?;
        builder = builder.proxy(proxy);
    }
    builder.build().map_err(|e| format!("cannot set up HTTPS: {}", root(&e)))
}

/// Gets the bundle of a server with a client, which uses this proxy.
pub(super) async fn fetch(
    client: &Client,
    proxy: Option<&str>,
    server: &Url,
    net_id: u8,
    patience: Patience,
) -> Result<Vec<u8>, FetchError> {
    let explain = |e: reqwest::Error| explain(&e, proxy, patience);
    let mut url = server.join("i2pseeds.su3").map_err(|e| FetchError::Connect(e.to_string()))?;
    url.set_query(Some(&format!("netid={net_id}")));
    let mut response = client.get(url).send().await.map_err(explain)?;
    if response.status() != StatusCode::OK {
        return Err(FetchError::Status(response.status()));
    }
    if response.content_length().is_some_and(|length| length > MAX_BUNDLE) {
        return Err(FetchError::TooLarge);
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(explain)? {
        if (bytes.len() + chunk.len()) as u64 > MAX_BUNDLE {
            return Err(FetchError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

fn same_host() -> Policy {
    Policy::custom(|attempt| {
        let origin = attempt.previous().first().map(Url::origin);
        if origin == Some(attempt.url().origin()) && attempt.previous().len() <= MAX_REDIRECTS {
            attempt.follow()
        } else {
            attempt.error("it leads elsewhere")
        }
    })
}

fn explain(error: &reqwest::Error, proxy: Option<&str>, patience: Patience) -> FetchError {
    if error.is_timeout() {
        FetchError::Timeout(patience.whole.as_secs())
    } else if error.is_redirect() {
        FetchError::Redirect
    } else if error.is_connect() || error.is_request() {
        match proxy {
            Some(proxy) => FetchError::Proxy(proxy.to_owned(), proxy_root(error)),
            None => FetchError::Connect(root(error)),
        }
    } else {
        FetchError::Broken(root(error))
    }
}

/// What a proxy does, in plainer words than the library's for a `CONNECT` that is answered with an error.
fn proxy_root(error: &dyn Error) -> String {
    match root(error) {
        text if text == "tunnel error: unsuccessful" => "it refuses".to_owned(),
        text => text,
    }
}

/// The innermost cause: the rest says only where it passed.
fn root(error: &dyn Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn tls(trust: &Trust, now: Date) -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for authority in &trust.authorities {
        roots.add(authority.clone()).map_err(|e| format!("a certificate authority is unusable: {e}"))?;
    }
    let web = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|e| format!("no certificate authority is usable: {e}"))?;
    let verifier = Arc::new(Verifier { web, pinned: trust.pinned.clone() });
    let clock = Arc::new(CorrectedClock { started: Instant::now(), date: now });
    let builder = ClientConfig::builder_with_details(provider, clock)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be set up: {e}"))?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The time as the router knows it: the machine's clock may be wrong, and certificates are valid for a time.
#[derive(Debug)]
struct CorrectedClock {
    started: Instant,
    date: Date,
}

impl TimeProvider for CorrectedClock {
    fn current_time(&self) -> Option<UnixTime> {
        let now = self.date + self.started.elapsed();
        Some(UnixTime::since_unix_epoch(Duration::from_millis(now.as_millis())))
    }
}

/// The web's public-key infrastructure, and certificates that are known by their hash for one host each.
#[derive(Debug)]
struct Verifier {
    web: Arc<WebPkiServerVerifier>,
    pinned: Vec<Pinned>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let today = Date::from_secs(now.as_secs());
        let hash = digest(&SHA256, end_entity);
        let is_pinned = self.pinned.iter().any(|pin| {
            pin.host == server_name.to_str() && pin.sha256 == *hash.as_ref() && pin.valid.include(today)
        });
        if is_pinned {
            return Ok(ServerCertVerified::assertion());
        }
        self.web.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.web.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.web.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.web.supported_verify_schemes()
    }
}
