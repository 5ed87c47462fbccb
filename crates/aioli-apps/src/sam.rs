//! The client's side of SAM v3.2 (`api/samv3`), for programs that use a router
//! outside of this process: a connection that holds the session, and one more
//! for each stream.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aioli_core::Rng;
use aioli_node::embed::ClientError;
use aioli_node::entropy;
use aioli_router::client::{SessionError, SessionOptions, Target, TunnelOptions};
use aioli_wire::{Destination, DestinationHash, base32};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, JoinSet};
use zeroize::Zeroizing;

use crate::way::connect_local;

/// Bytes of a line of SAM's at most: a destination, and words beside it.
const MAX_LINE: usize = 8 * 1024;
/// An answer that needs no tunnels must be there within this time.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// A session's tunnels must stand within this time.
const SESSION_WITHIN: Duration = Duration::from_secs(300);
/// A stream must stand within this time.
const CONNECT_WITHIN: Duration = Duration::from_secs(120);
/// Connections that wait for streams at a time: as many peers come in at once.
const ACCEPTORS: usize = 4;

/// A session. It lasts as long as its connection to SAM, which the last handle closes.
#[derive(Clone, Debug)]
pub(crate) struct Session(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    sam: SocketAddr,
    id: String,
    destination: Destination,
    open: Arc<AtomicBool>,
    /// Reads its connection until the end.
    holder: AbortHandle,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.holder.abort();
    }
}

impl Session {
    /// Makes one, and waits for its tunnels.
    pub(crate) async fn create(sam: SocketAddr, options: &SessionOptions) -> Result<Self, ClientError> {
        let mut connection = hello(sam).await?;
        let mut rng = Rng::from_seed(entropy());
        let id: String = rng.bytes::<8>().iter().map(|b| format!("{b:02x}")).collect();
        let keys = options.keys.as_ref().map(|keys| keys.to_base64());
        let keys = keys.as_ref().map_or("TRANSIENT", |keys| keys.as_str());
        let command = Zeroizing::new(format!(
            "SESSION CREATE STYLE=STREAM ID={id} DESTINATION={keys} SIGNATURE_TYPE=7{}{}{}\n",
            side("inbound", &options.inbound),
            side("outbound", &options.outbound),
            if options.publish { "" } else { " i2cp.dontPublishLeaseSet=true" },
        ));
        ask(&mut connection, &command, SESSION_WITHIN).await?;
        let answer = ask(&mut connection, "NAMING LOOKUP NAME=ME\n", ANSWER_WITHIN).await?;
        let destination = word(&answer, "VALUE").and_then(Destination::from_base64);
        let destination = destination.ok_or(ClientError::SessionClosed)?;
        let open = Arc::new(AtomicBool::new(true));
        let still_open = Arc::clone(&open);
        let holding = tokio::spawn(async move {
            // SAM says nothing more until the end.
            let _ = tokio::io::copy(&mut connection, &mut tokio::io::sink()).await;
            still_open.store(false, Ordering::Relaxed);
        });
        Ok(Self(Arc::new(Inner { sam, id, destination, open, holder: holding.abort_handle() })))
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.0.destination
    }

    /// Whether SAM still holds it.
    pub(crate) fn is_open(&self) -> bool {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Opens a stream.
    pub(crate) async fn connect(&self, to: &Target, port: u16) -> Result<Stream, ClientError> {
        let mut connection = hello(self.0.sam).await?;
        let name = match to {
            Target::Destination(destination) => destination.to_base64(),
            Target::Hash(hash) => base32::host_name(hash),
        };
        let id = &self.0.id;
        let command = format!("STREAM CONNECT ID={id} DESTINATION={name} SILENT=false TO_PORT={port}\n");
        ask(&mut connection, &command, CONNECT_WITHIN).await?;
        Ok(Stream {
            tcp: connection,
            peer: to.hash(),
            destination: None,
            own_port: 0,
            _session: self.clone(),
        })
    }

    /// Looks a destination up.
    pub(crate) async fn lookup(&self, hash: DestinationHash) -> Result<Destination, ClientError> {
        let mut connection = hello(self.0.sam).await?;
        let command = format!("NAMING LOOKUP NAME={}\n", base32::host_name(&hash));
        let answer = ask(&mut connection, &command, CONNECT_WITHIN).await?;
        word(&answer, "VALUE").and_then(Destination::from_base64).ok_or(ClientError::NotFound)
    }

    /// Takes streams from peers.
    pub(crate) fn listen(&self) -> Listener {
        Listener { session: self.clone(), acceptors: JoinSet::new(), waiting: VecDeque::new() }
    }

    /// Waits for one stream.
    async fn accept(self) -> Result<Stream, ClientError> {
        let mut connection = hello(self.0.sam).await?;
        ask(&mut connection, &format!("STREAM ACCEPT ID={} SILENT=false\n", self.0.id), ANSWER_WITHIN)
            .await?;
        // Peers take as long as they like.
        let line = read_line(&mut connection).await.map_err(|_| ClientError::SessionClosed)?;
        let from =
            line.split(' ').next().and_then(Destination::from_base64).ok_or(ClientError::SessionClosed)?;
        let own_port = word(&line, "TO_PORT").and_then(|port| port.parse().ok()).unwrap_or_default();
        let peer = from.hash();
        Ok(Stream { tcp: connection, peer, destination: Some(Box::new(from)), own_port, _session: self })
    }
}

/// Streams from peers.
#[derive(Debug)]
pub(crate) struct Listener {
    session: Session,
    acceptors: JoinSet<Result<Stream, ClientError>>,
    waiting: VecDeque<Stream>,
}

impl Listener {
    /// The next one.
    pub(crate) async fn accept(&mut self) -> Result<Stream, ClientError> {
        loop {
            if let Some(stream) = self.waiting.pop_front() {
                return Ok(stream);
            }
            while self.acceptors.len() < ACCEPTORS {
                self.acceptors.spawn(self.session.clone().accept());
            }
            match self.acceptors.join_next().await {
                Some(Ok(Ok(stream))) => self.waiting.push_back(stream),
                Some(Ok(Err(error))) => return Err(error),
                Some(Err(_)) | None => return Err(ClientError::SessionClosed),
            }
        }
    }
}

/// A stream over SAM.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    peer: DestinationHash,
    destination: Option<Box<Destination>>,
    own_port: u16,
    /// A stream ends with its session.
    _session: Session,
}

impl Stream {
    pub(crate) const fn peer(&self) -> DestinationHash {
        self.peer
    }

    pub(crate) fn peer_destination(&self) -> Option<&Destination> {
        self.destination.as_deref()
    }

    pub(crate) const fn own_port(&self) -> u16 {
        self.own_port
    }

    pub(crate) const fn tcp(&mut self) -> &mut TcpStream {
        &mut self.tcp
    }
}

fn side(name: &str, tunnels: &TunnelOptions) -> String {
    let TunnelOptions { length, variance, quantity, backup, kbps } = tunnels;
    let bandwidth = if *kbps == 0 { String::new() } else { format!(" {name}.bandwidth={kbps}") };
    format!(
        " {name}.length={length} {name}.lengthVariance={variance} {name}.quantity={quantity} \
         {name}.backupQuantity={backup}{bandwidth}"
    )
}

/// A connection that SAM has greeted.
async fn hello(sam: SocketAddr) -> Result<TcpStream, ClientError> {
    let mut connection = connect_local(sam).await.map_err(|_| ClientError::Stopped)?;
    ask(&mut connection, "HELLO VERSION MIN=3.2 MAX=3.3\n", ANSWER_WITHIN).await?;
    Ok(connection)
}

/// Says a line and reads the answer, which must be good.
async fn ask(
    connection: &mut TcpStream,
    command: &str,
    within: Duration,
) -> Result<Zeroizing<String>, ClientError> {
    let exchange = async {
        connection.write_all(command.as_bytes()).await?;
        read_line(connection).await
    };
    let line = match tokio::time::timeout(within, exchange).await {
        Ok(Ok(line)) => line,
        Ok(Err(_)) => return Err(ClientError::Stopped),
        Err(_) => return Err(ClientError::TimedOut),
    };
    match word(&line, "RESULT") {
        Some("OK") => Ok(line),
        result => {
            tracing::debug!("SAM answered {}", line.as_str());
            Err(refusal(result.unwrap_or_default()))
        }
    }
}

fn refusal(result: &str) -> ClientError {
    match result {
        "DUPLICATED_DEST" => ClientError::Session(SessionError::DuplicateDestination),
        "INVALID_KEY" => ClientError::Session(SessionError::Keys),
        "INVALID_ID" => ClientError::SessionClosed,
        "PEER_NOT_FOUND" | "KEY_NOT_FOUND" => ClientError::NotFound,
        "TIMEOUT" => ClientError::TimedOut,
        "CANT_REACH_PEER" => ClientError::Refused,
        _ => ClientError::Stopped,
    }
}

/// The value of a word of a line.
fn word<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
}

/// One line without its end, and nothing beyond it.
async fn read_line(connection: &mut TcpStream) -> io::Result<Zeroizing<String>> {
    // Whole from the start: no copy of a secret is left behind as it grows.
    let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
    loop {
        match connection.read_u8().await? {
            b'\n' => break,
            _ if line.len() >= MAX_LINE => return Err(io::ErrorKind::InvalidData.into()),
            byte => line.push(byte),
        }
    }
    if line.ends_with(b"\r") {
        line.pop();
    }
    String::from_utf8(std::mem::take(&mut *line))
        .map(Zeroizing::new)
        .map_err(|_| io::ErrorKind::InvalidData.into())
}
