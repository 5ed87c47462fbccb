//! Reseeding: how a router that knows nobody gets to know its first peers
//! (`reseed`, `updates#su3-file-specification`).
//!
//! ```text
//!  servers, in random order ─► HTTPS ─► SU3 ─► signature of a known signer ─┐
//!  a file or directory of the user's ───────────────────────────────────────┴► zip ─► verified RouterInfos
//! ```
//!
//! At least two servers are asked, so that none alone chooses our first peers.

mod bundle;
mod fetch;
mod trust;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use aioli_core::{Date, Rng};
use aioli_wire::RouterHash;
use bundle::Checks;
use reqwest::Url;

pub use bundle::{Bundle, BundleError, Skipped};
pub use fetch::{FetchError, Patience};
pub use trust::{Trust, TrustError};

/// Servers that must have given a bundle, where there are as many.
const MIN_SERVERS: usize = 2;
/// With so many routers no further server is asked.
const ENOUGH_ROUTERS: usize = 100;

/// How a node reseeds.
#[derive(Clone, Debug)]
pub struct ReseedConfig {
    /// Whom to ask and to believe.
    pub trust: Trust,
    /// `http://host:port` or `socks5://host:port`.
    pub proxy: Option<String>,
    /// What to do at the start whatever is known.
    pub at_start: Option<ReseedSource>,
    /// Whether to ask servers whenever too few routers are known.
    pub when_needed: bool,
}

/// Where RouterInfos come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReseedSource {
    /// The servers that are trusted.
    Servers,
    /// A signed bundle, an archive or a directory.
    Path(PathBuf),
}

/// What happens while a node reseeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReseedProgress {
    /// It begins, because so few routers are known or because it was asked for.
    Begun {
        /// Routers known.
        known: u64,
        /// Where from.
        source: ReseedSource,
    },
    /// A server is asked.
    Asking {
        /// Who.
        from: String,
    },
    /// A server or a path gave a bundle.
    Got {
        /// Who.
        from: String,
        /// RouterInfos in it.
        routers: usize,
        /// Entries that are not used.
        skipped: Skipped,
    },
    /// A server or a path cannot be used.
    Failed {
        /// Who.
        from: String,
        /// Why, for the user.
        reason: String,
    },
    /// It is over.
    Done {
        /// Where from.
        source: ReseedSource,
        /// RouterInfos that are new to the router and good for it.
        routers: usize,
        /// RouterInfos that the router knew, or that are too old for it.
        unwanted: usize,
        /// Servers or paths that gave a bundle.
        sources: usize,
        /// When servers are asked again if the routers are still too few.
        again: Option<Duration>,
    },
}

impl fmt::Display for ReseedProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Begun { known, source: ReseedSource::Servers } => {
                write!(f, "{known} other routers known: asking reseed servers for more")
            }
            Self::Begun { source: ReseedSource::Path(path), .. } => {
                write!(f, "reading routers from {}", path.display())
            }
            Self::Asking { from } => write!(f, "reseed: asking {from}"),
            Self::Got { from, routers, skipped } if skipped.count() == 0 => {
                write!(f, "reseed: {from}: {routers} routers")
            }
            Self::Got { from, routers, skipped } => {
                let n = skipped.count();
                write!(f, "reseed: {from}: {routers} routers; entries skipped: {n} ({skipped})")
            }
            Self::Failed { from, reason } => write!(f, "reseed: {from}: {reason}"),
            Self::Done { sources: 0, source: ReseedSource::Path(_), .. } => f.write_str(
                "reseed: nothing worked. Give --reseed a file i2pseeds.su3, a zip archive of RouterInfos or the \
                 netDb directory of another router",
            ),
            Self::Done { sources: 0, again, .. } => {
                f.write_str(
                    "reseed: nothing worked. Check the network and the clock of this computer; a proxy can be given \
                     with --reseed-proxy; or get a file i2pseeds.su3 or the netDb directory of another router, and \
                     give it with --reseed PATH",
                )?;
                again.map_or(Ok(()), |again| {
                    write!(f, ". The servers are asked again in {} minutes", again.as_secs() / 60)
                })
            }
            Self::Done { routers, sources, unwanted, .. } => {
                let s = if *sources == 1 { "" } else { "s" };
                write!(f, "reseed: {routers} new routers from {sources} source{s}")?;
                if *unwanted == 0 { Ok(()) } else { write!(f, "; {unwanted} known before or too old") }
            }
        }
    }
}

/// What was found, and from how many sources.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) routers: BTreeMap<RouterHash, Vec<u8>>,
    pub(crate) sources: usize,
}

impl Found {
    fn add(&mut self, from: String, bundle: Bundle, tell: &mut impl FnMut(ReseedProgress)) {
        let Bundle { routers, skipped } = bundle;
        tell(ReseedProgress::Got { from, routers: routers.len(), skipped });
        self.routers.extend(routers);
        self.sources += 1;
    }
}

/// What a file or directory of the user's holds, as `--reseed PATH` reads it at the time `now`.
pub fn read(path: &Path, trust: &Trust, net_id: u8, now: Date) -> Result<Bundle, BundleError> {
    bundle::open_path(path, Checks { trust, net_id, now })
}

/// Gets RouterInfos from a source, telling what happens.
pub(crate) async fn run(
    config: &ReseedConfig,
    source: &ReseedSource,
    net_id: u8,
    now: Date,
    rng: &mut Rng,
    mut tell: impl FnMut(ReseedProgress),
) -> Found {
    let mut found = Found::default();
    let checks = Checks { trust: &config.trust, net_id, now };
    match source {
        ReseedSource::Path(path) => match bundle::open_path(path, checks) {
            Ok(bundle) => found.add(path.display().to_string(), bundle, &mut tell),
            Err(error) => {
                tell(ReseedProgress::Failed { from: path.display().to_string(), reason: error.to_string() });
            }
        },
        ReseedSource::Servers => ask_servers(config, checks, rng, &mut found, &mut tell).await,
    }
    found
}

async fn ask_servers(
    config: &ReseedConfig,
    checks: Checks<'_>,
    rng: &mut Rng,
    found: &mut Found,
    tell: &mut impl FnMut(ReseedProgress),
) {
    let (proxy, patience) = (config.proxy.as_deref(), config.trust.patience);
    let client = match fetch::client(&config.trust, proxy, patience, checks.now) {
        Ok(client) => client,
        Err(reason) => return tell(ReseedProgress::Failed { from: "HTTPS".to_owned(), reason }),
    };
    let mut servers = config.trust.servers.clone();
    rng.shuffle(&mut servers);
    for server in &servers {
        if found.sources >= MIN_SERVERS && found.routers.len() >= ENOUGH_ROUTERS {
            return;
        }
        let from = name(server);
        tell(ReseedProgress::Asking { from: from.clone() });
        let result = match fetch::fetch(&client, proxy, server, checks.net_id, patience).await {
            Ok(bytes) => bundle::open_su3(&bytes, checks, true).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match result {
            Ok(bundle) => found.add(from, bundle, tell),
            Err(reason) => tell(ReseedProgress::Failed { from, reason }),
        }
    }
}

/// The host, and the port if it is not the usual one.
fn name(server: &Url) -> String {
    let host = server.host_str().unwrap_or_default();
    server.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
