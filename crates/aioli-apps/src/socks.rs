//! The SOCKS proxy: versions 4, 4a and 5 (RFC 1928), `CONNECT` to names of I2P.
//!
//! Addresses in numbers lead nowhere, for nothing in I2P has one; names are
//! resolved as the HTTP proxy does it and never by this computer.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use aioli_node::embed::ClientError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::listen::{Gate, Outlet, ProxyCounters, ProxyStats, close_gently, count};
use crate::relay;
use crate::resolve::{Naming, Unresolved};
use crate::way::Stream;

/// A request must be there within this time, and its answer taken.
const PATIENCE: Duration = Duration::from_secs(30);
/// Letters of a user's name or a host at most, as version 5 has it.
const MAX_TEXT: usize = 255;

/// The SOCKS proxy.
#[derive(Debug)]
pub struct SocksProxy {
    naming: Arc<Naming>,
    outlet: Arc<Outlet>,
    gate: Gate,
    counters: ProxyCounters,
}

/// Why there is no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refusal {
    /// Version 5: no way to authenticate that we have.
    Method,
    Command,
    AddressType,
    Outside,
    Unknown,
    Client(ClientError),
}

/// A host and a port that a client wants.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    host: String,
    port: u16,
}

/// The version that a client speaks, known from its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    V4,
    V5,
}

impl SocksProxy {
    /// A proxy over this outlet, for so many connections at a time.
    pub fn new(naming: Arc<Naming>, outlet: Arc<Outlet>, max_connections: usize) -> Arc<Self> {
        let (gate, counters) = (Gate::new(max_connections), ProxyCounters::default());
        Arc::new(Self { naming, outlet, gate, counters })
    }

    /// Counters.
    pub fn stats(&self) -> ProxyStats {
        self.counters.stats(&self.gate)
    }

    /// Serves connections until dropped, and all of them end with it.
    pub async fn serve(self: Arc<Self>, listener: TcpListener) {
        self.gate.serve(listener, |stream| Arc::clone(&self).connection(stream)).await;
    }

    async fn connection(self: Arc<Self>, mut client: TcpStream) {
        let _using = self.outlet.enter();
        let request = tokio::time::timeout(PATIENCE, read_request(&mut client)).await;
        let Ok(Ok((version, wanted))) = request else {
            count(&self.counters.bad_requests);
            return;
        };
        let opened = match wanted {
            Ok(wanted) => {
                count(&self.counters.requests);
                self.open(&wanted).await
            }
            Err(refusal) => Err(refusal),
        };
        let counter = match opened {
            Err(Refusal::Outside) => Some(&self.counters.outside),
            Err(Refusal::Method | Refusal::Command | Refusal::AddressType) => {
                Some(&self.counters.bad_requests)
            }
            Ok(_) | Err(Refusal::Unknown | Refusal::Client(_)) => None,
        };
        if let Some(counter) = counter {
            count(counter);
        }
        let reply = reply(version, opened.as_ref().err().copied());
        let told = tokio::time::timeout(PATIENCE, client.write_all(&reply)).await;
        match (opened, told) {
            (Ok(stream), Ok(Ok(()))) => relay::both_ways(client, stream).await,
            (Err(_), Ok(Ok(()))) => close_gently(client).await,
            // The client is gone.
            _ => {}
        }
    }

    async fn open(&self, wanted: &Wanted) -> Result<Stream, Refusal> {
        let target = self.naming.resolve(&wanted.host).map_err(|why| match why {
            Unresolved::NotI2p => Refusal::Outside,
            Unresolved::Unknown | Unresolved::Damaged | Unresolved::Encrypted => Refusal::Unknown,
        })?;
        self.outlet.dial(target, wanted.port).await.map_err(Refusal::Client)
    }
}

/// Reads a request. An error means that there is none that could be answered.
async fn read_request(client: &mut TcpStream) -> io::Result<(Version, Result<Wanted, Refusal>)> {
    match client.read_u8().await? {
        4 => Ok((Version::V4, read_v4(client).await?)),
        5 => Ok((Version::V5, read_v5(client).await?)),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

async fn read_v4(client: &mut TcpStream) -> io::Result<Result<Wanted, Refusal>> {
    let (command, port) = (client.read_u8().await?, client.read_u16().await?);
    let ip = client.read_u32().await?;
    read_text(client).await?;
    // 0.0.0.x says that a name follows (4a).
    let host = if (1..256).contains(&ip) { Some(read_text(client).await?) } else { None };
    Ok(match host {
        _ if command != 1 => Err(Refusal::Command),
        Some(host) => Ok(Wanted { host, port }),
        None => Err(Refusal::Outside),
    })
}

/// Text that ends with a zero byte.
async fn read_text(client: &mut TcpStream) -> io::Result<String> {
    let mut text = Vec::new();
    loop {
        match client.read_u8().await? {
            0 => return String::from_utf8(text).map_err(|_| io::ErrorKind::InvalidData.into()),
            _ if text.len() >= MAX_TEXT => return Err(io::ErrorKind::InvalidData.into()),
            byte => text.push(byte),
        }
    }
}

async fn read_v5(client: &mut TcpStream) -> io::Result<Result<Wanted, Refusal>> {
    let mut methods = vec![0; client.read_u8().await?.into()];
    client.read_exact(&mut methods).await?;
    if !methods.contains(&0) {
        return Ok(Err(Refusal::Method));
    }
    client.write_all(&[5, 0]).await?;
    let [version, command, _reserved, kind] = client.read_u32().await?.to_be_bytes();
    if version != 5 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let length = match kind {
        1 => 4,
        3 => client.read_u8().await?.into(),
        4 => 16,
        _ => return Ok(Err(Refusal::AddressType)),
    };
    let mut address = vec![0; length];
    client.read_exact(&mut address).await?;
    let port = client.read_u16().await?;
    Ok(match String::from_utf8(address) {
        _ if command != 1 => Err(Refusal::Command),
        Ok(host) if kind == 3 => Ok(Wanted { host, port }),
        _ => Err(Refusal::Outside),
    })
}

/// The answer: done, or why not.
fn reply(version: Version, refusal: Option<Refusal>) -> Vec<u8> {
    if version == Version::V4 {
        // 90 granted, 91 refused.
        return vec![0, if refusal.is_none() { 90 } else { 91 }, 0, 0, 0, 0, 0, 0];
    }
    let code = match refusal {
        None => 0,
        Some(Refusal::Method) => return vec![5, 0xff],
        Some(Refusal::Outside) => 2,
        Some(Refusal::Client(ClientError::NoTunnels)) => 3,
        Some(Refusal::Unknown | Refusal::Client(ClientError::NotFound)) => 4,
        Some(Refusal::Client(ClientError::Refused)) => 5,
        Some(Refusal::Client(ClientError::TimedOut)) => 6,
        Some(Refusal::Command) => 7,
        Some(Refusal::AddressType) => 8,
        Some(Refusal::Client(_)) => 1,
    };
    vec![5, code, 0, 1, 0, 0, 0, 0, 0, 0]
}
