//! The options of `SESSION CREATE` (`api/samv3#session-creation`, `i2cp-overview#options`).

use aioli_core::Rng;
use aioli_core::crypto::ed25519::SigningKey;
use aioli_router::client::{SessionOptions, StreamConfig, TunnelOptions};
use aioli_wire::keyfile::DestinationKeys;

use super::SessionDefaults;
use super::line::Line;

/// Why a session cannot be made as asked: the SAM result and its message.
pub(super) type Refusal = (&'static str, String);

/// The names of the signature type that we make: Ed25519.
const ED25519: [&str; 4] = ["7", "EdDSA_SHA512_Ed25519", "EdDSA", "Ed25519"];

/// Reads all options of a session.
pub(super) fn session(line: &Line, defaults: &SessionDefaults) -> Result<SessionOptions, Refusal> {
    let style = line.given("STYLE").unwrap_or_default();
    if !style.eq_ignore_ascii_case("STREAM") {
        return Err(("I2P_ERROR", format!("STYLE {style:?} is not supported: use STREAM")));
    }
    Ok(SessionOptions {
        keys: keys(line)?,
        inbound: tunnels(line, "inbound", defaults.inbound)?,
        outbound: tunnels(line, "outbound", defaults.outbound)?,
        publish: !line.is_true("i2cp.dontPublishLeaseSet"),
        streaming: StreamConfig::default().with(line.pairs()),
    })
}

/// A missing type means Ed25519, not the DSA of 2003 that the document names.
pub(super) fn signature_type(line: &Line) -> Result<(), Refusal> {
    match line.given("SIGNATURE_TYPE") {
        None => Ok(()),
        Some(t) if ED25519.iter().any(|name| name.eq_ignore_ascii_case(t)) => Ok(()),
        Some(t) => {
            Err(("I2P_ERROR", format!("SIGNATURE_TYPE {t} cannot be made: use 7 (EdDSA_SHA512_Ed25519)")))
        }
    }
}

/// The keys given; none for a destination that the router is to make and forget.
fn keys(line: &Line) -> Result<Option<DestinationKeys>, Refusal> {
    match line.given("DESTINATION") {
        None => Err(("INVALID_KEY", "DESTINATION is missing: give TRANSIENT or a private key".into())),
        // The type of a key that is given is known already.
        Some("TRANSIENT") => signature_type(line).map(|()| None),
        Some(text) => match DestinationKeys::from_base64(text) {
            Some(keys) if keys.signing_key().is_some() => Ok(Some(keys)),
            Some(_) => Err(("INVALID_KEY", "only Ed25519 destinations can be used: make a new one".into())),
            None => Err(("INVALID_KEY", "DESTINATION is no private key in I2P base64".into())),
        },
    }
}

/// `FROM_PORT` or `TO_PORT`: missing, it is the session's.
pub(super) fn port(line: &Line, key: &str, default: u16) -> Result<u16, Refusal> {
    match line.given(key) {
        None => Ok(default),
        Some(text) => text.parse().map_err(|_| ("I2P_ERROR", format!("{key} must be 0 to 65535"))),
    }
}

fn tunnels(line: &Line, side: &str, default: TunnelOptions) -> Result<TunnelOptions, Refusal> {
    default.with(side, |key| line.given(key)).map_err(|why| ("I2P_ERROR", why))
}

/// A new Ed25519 destination.
pub(super) fn transient(rng: &mut Rng) -> DestinationKeys {
    DestinationKeys::create(&SigningKey::generate(rng), &rng.bytes())
}
