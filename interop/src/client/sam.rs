//! A small SAM v3 client over TCP, for measurements: every step can be timed.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

/// Where a router's SAM is, inside its namespace.
pub const SAM: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 7656);

/// A session: it lives as long as its control connection.
#[derive(Debug)]
pub struct Session {
    control: TcpStream,
    id: String,
    destination: String,
}

impl Session {
    /// Makes a session with a transient destination; returns when the router says that it is ready.
    pub fn create(options: &str, limit: Duration) -> Result<Self> {
        let mut control = hello()?;
        control.set_read_timeout(Some(limit))?;
        let id = format!("bench{}-{}", std::process::id(), nanos());
        let create =
            format!("SESSION CREATE STYLE=STREAM ID={id} DESTINATION=TRANSIENT SIGNATURE_TYPE=7 {options}");
        ask(&mut control, &create).context("SESSION CREATE")?;
        let me = ask(&mut control, "NAMING LOOKUP NAME=ME")?;
        let destination = me.get("VALUE").context("no VALUE in the answer to NAMING LOOKUP")?.clone();
        Ok(Self { control, id, destination })
    }

    /// Our public destination, in I2P's base64.
    pub fn destination(&self) -> &str {
        &self.destination
    }

    /// Opens a stream.
    pub fn connect(&self, destination: &str) -> Result<TcpStream> {
        let mut stream = hello()?;
        ask(&mut stream, &format!("STREAM CONNECT ID={} DESTINATION={destination} SILENT=false", self.id))?;
        stream.set_read_timeout(None)?;
        Ok(stream)
    }

    /// Waits for a stream from elsewhere.
    pub fn accept(&self) -> Result<TcpStream> {
        let mut stream = hello()?;
        ask(&mut stream, &format!("STREAM ACCEPT ID={} SILENT=false", self.id))?;
        stream.set_read_timeout(None)?;
        // First comes a line with the caller's destination.
        let caller = read_line(&mut stream)?;
        ensure!(caller.len() > 500, "not a destination: {caller}");
        Ok(stream)
    }

    /// Whether the router still holds the session open.
    pub fn is_open(&self) -> bool {
        let mut byte = [0];
        let _ = self.control.set_nonblocking(true);
        let peeked = self.control.peek(&mut byte);
        let _ = self.control.set_nonblocking(false);
        !matches!(peeked, Ok(0))
    }
}

/// Creates a session as soon as the router lets us, and says how long that took.
pub fn session_within(options: &str, limit: Duration) -> Result<(Session, Duration)> {
    let asked = Instant::now();
    loop {
        let left = limit.saturating_sub(asked.elapsed());
        match Session::create(options, left.max(Duration::from_millis(1))) {
            Ok(session) => return Ok((session, asked.elapsed())),
            Err(error) if left.is_zero() => return Err(error.context(format!("no session within {limit:?}"))),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}

/// Asks the router for this name until it finds it.
pub fn look_up(name: &str, limit: Duration) -> Result<Duration> {
    let asked = Instant::now();
    let mut sam = hello()?;
    sam.set_read_timeout(Some(limit))?;
    loop {
        match ask(&mut sam, &format!("NAMING LOOKUP NAME={name}")) {
            Ok(_) => return Ok(asked.elapsed()),
            Err(error) if asked.elapsed() >= limit => {
                return Err(error.context(format!("{name} was not found within {limit:?}")));
            }
            Err(_) => std::thread::sleep(Duration::from_millis(500)),
        }
    }
}

/// A connection to SAM with the versions agreed.
fn hello() -> Result<TcpStream> {
    let mut stream = TcpStream::connect(SAM).context("connecting to SAM")?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    ask(&mut stream, "HELLO VERSION MIN=3.0 MAX=3.3")?;
    Ok(stream)
}

/// Sends a command and reads the answer; a RESULT other than OK is an error.
fn ask(stream: &mut TcpStream, command: &str) -> Result<BTreeMap<String, String>> {
    stream.write_all(format!("{command}\n").as_bytes())?;
    let line = read_line(stream)?;
    let fields = line.split_whitespace().filter_map(|w| w.split_once('='));
    let answer = fields.map(|(k, v)| (k.to_owned(), v.to_owned())).collect::<BTreeMap<_, _>>();
    match answer.get("RESULT").map(String::as_str) {
        Some("OK") => Ok(answer),
        _ => bail!("{line}"),
    }
}

/// One line, read byte by byte: what follows it belongs to the stream.
fn read_line(stream: &mut TcpStream) -> Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while byte != *b"\n" {
        ensure!(stream.read(&mut byte)? == 1, "SAM closed the connection");
        ensure!(line.len() < 16 * 1024, "SAM sent a line without end");
        line.extend(byte);
    }
    Ok(String::from_utf8(line)?.trim_end().to_owned())
}

fn nanos() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.subsec_nanos())
}
