//! What `i2p-router` offers to people besides SAM: the proxies and the address
//! book, as the settings say.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aioli_apps::http::HttpOptions;
use aioli_apps::resolve::Naming;
use aioli_apps::tunnels::{Defaults, State, TunnelInfo, Tunnels, TunnelsConfig, TunnelsFile};
use aioli_apps::{Apps, AppsConfig};
use aioli_node::bind;
use aioli_node::embed::Client;
use aioli_router::client::{SessionOptions, StreamConfig, TunnelOptions};
use anyhow::{Context, Result, bail};

use crate::settings::{Listen, Settings, TunnelSettings};
use crate::terminal::say;

/// Connections to the SOCKS proxy at most.
const MAX_SOCKS_CONNECTIONS: usize = 1_024;

/// Ports that were taken for people's programs, before the router starts.
#[derive(Debug)]
pub struct Services {
    http: Option<TcpListener>,
    socks: Option<TcpListener>,
    outproxies: Vec<String>,
    subscriptions: Option<PathBuf>,
}

impl Services {
    /// Takes the ports that the settings name. A usual one that another program has is done without.
    pub fn bind(settings: &Settings) -> Result<Self> {
        let http = taken(settings.http_proxy, "the HTTP proxy", "--http-proxy or --no-http-proxy")?;
        let socks = taken(settings.socks_proxy, "the SOCKS proxy", "--socks-proxy or --no-socks-proxy")?;
        let data_dir = &settings.data_dir;
        // The usual subscription is of the public network.
        let follow = settings.subscriptions
            && (!settings.private_network || data_dir.join("subscriptions.txt").exists());
        let subscriptions = (follow && http.is_some()).then(|| data_dir.clone());
        Ok(Self { http, socks, outproxies: settings.outproxies.clone(), subscriptions })
    }

    /// Takes the ports of a test network's proxies.
    pub(crate) fn of_testnet(http: SocketAddr, socks: SocketAddr) -> Result<Self> {
        let http = Some(bind(http, "the HTTP proxy", "--http-proxy")?);
        let socks = Some(bind(socks, "the SOCKS proxy", "--socks-proxy")?);
        Ok(Self { http, socks, outproxies: Vec::new(), subscriptions: None })
    }

    /// Whether there is nothing to offer.
    pub const fn is_empty(&self) -> bool {
        self.http.is_none() && self.socks.is_none()
    }

    /// Offers them over a router, with these names and tunnels of these kinds.
    pub fn start(
        self,
        client: Client,
        naming: Arc<Naming>,
        inbound: TunnelOptions,
        outbound: TunnelOptions,
    ) -> Result<Apps> {
        let config = AppsConfig {
            http: self.http,
            http_options: HttpOptions { outproxies: self.outproxies, ..HttpOptions::default() },
            socks: self.socks,
            max_socks_connections: MAX_SOCKS_CONNECTIONS,
            session: session_options(inbound, outbound, false),
            naming,
            subscriptions: self.subscriptions,
        };
        let apps = Apps::start(config, client).context("cannot start the proxies")?;
        let offered =
            [(apps.http, "HTTP proxy for browsers"), (apps.socks, "SOCKS proxy for other programs")];
        for (address, what) in offered.into_iter().filter_map(|(address, what)| Some((address?, what))) {
            let warning =
                if address.ip().is_loopback() { "" } else { ": everybody who reaches it can use it" };
            say(format!("{what} on {address}{warning}"));
        }
        Ok(apps)
    }
}

/// Starts the client and server tunnels of a data directory and of the settings, over a router.
pub fn start_tunnels(
    settings: &TunnelSettings,
    data_dir: &Path,
    client: Client,
    naming: Arc<Naming>,
    defaults: Defaults,
) -> Result<Tunnels> {
    let TunnelSettings { configured, conf, dir } = settings.clone();
    for (path, option) in [(&conf, "--tunnels-conf"), (&dir, "--tunnels-dir")] {
        if let Some(path) = path.as_ref().filter(|path| !path.exists()) {
            bail!("there is no {}: name another with {option}", path.display());
        }
    }
    let conf = conf.unwrap_or_else(|| data_dir.join("tunnels.conf"));
    let dir = dir.unwrap_or_else(|| data_dir.join("tunnels.d"));
    let tunnels = Tunnels::start(TunnelsConfig {
        way: client.into(),
        naming,
        defaults,
        data_dir: Some(data_dir.to_owned()),
        file: Some(TunnelsFile::of(data_dir)),
        i2pd: Some((conf, dir)),
        configured,
    });
    let tunnels = tunnels.context("cannot start the tunnels")?;
    tunnels.list().iter().for_each(|tunnel| say(describe_tunnel(tunnel)));
    Ok(tunnels)
}

/// A tunnel in a line.
pub fn describe_tunnel(tunnel: &TunnelInfo) -> String {
    let TunnelInfo { config, state, listening, b32, .. } = tunnel;
    let from = if config.kind.listens() {
        let address = listening.or(config.listen);
        address.map_or_else(String::new, |address| format!(" from {address}"))
    } else {
        String::new()
    };
    let to = [&*config.destination, &*config.target].concat().join(", ");
    let to = if to.is_empty() { to } else { format!(" to {to}") };
    let known = b32.as_ref().filter(|_| config.kind.hosts());
    let own = known.map_or_else(String::new, |b32| format!(", as {b32}"));
    let why = match state {
        State::Failed => format!(": failed, {}", tunnel.detail),
        State::Stopped => ": not started".to_owned(),
        State::Starting | State::Ready | State::Idle => String::new(),
    };
    format!("tunnel \"{}\": {}{from}{to}{own}{why}", config.name, config.kind)
}

/// The options of a session with such tunnels.
pub fn session_options(inbound: TunnelOptions, outbound: TunnelOptions, publish: bool) -> SessionOptions {
    SessionOptions { keys: None, inbound, outbound, publish, streaming: StreamConfig::default() }
}

pub(crate) fn taken(
    listen: Option<Listen>,
    what: &'static str,
    option: &'static str,
) -> Result<Option<TcpListener>> {
    let Some(Listen { address, insisted }) = listen else { return Ok(None) };
    match bind(address, what, option) {
        Ok(listener) => Ok(Some(listener)),
        Err(error) if insisted => Err(error.into()),
        Err(error) => {
            say(format!("{error}. Going on without it"));
            Ok(None)
        }
    }
}
