//! The load for measurements: one side serves, the other sends in bulk, fetches
//! in bulk and plays ping-pong, each bounded in bytes and in time.
//!
//! A stream begins with one byte that says what it is for. Bulk data goes in
//! frames, `u32` length and bytes; a frame of length 0 ends it and the receiver
//! answers with the SHA-256 of all, so that the rate counts only what arrived
//! intact.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use aioli_wire::{Destination, base32};
use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest;
use aws_lc_rs::rand;
use data_encoding::HEXLOWER;

use super::sam::{Session, look_up, session_within};

/// What is framed at a time.
const FRAME: usize = 32 * 1024;
/// A ping and its echo.
const PING: usize = 32;
/// How long a bulk receiver may be behind after the last byte was handed to SAM.
const DRAIN: Duration = Duration::from_secs(180);

/// What is sent at a time where there is a rate.
const PIECE: usize = 8 * 1024;
/// A stream on which nothing comes for this long is stuck.
const STALLED: Duration = Duration::from_secs(60);

/// What a stream is for, said in its first byte.
const UPLOAD: u8 = b'U';
const DOWNLOAD: u8 = b'D';
const ECHO: u8 = b'E';

/// A running SHA-256.
pub struct Sha256(digest::Context);

impl std::fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Sha256")
    }
}

impl Default for Sha256 {
    fn default() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Sha256 {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all, in hexadecimal.
    pub fn finish(self) -> String {
        HEXLOWER.encode(self.0.finish().as_ref())
    }
}

/// Fills `bytes` with what cannot be compressed.
pub fn random_bytes(bytes: &mut [u8]) -> Result<()> {
    rand::fill(bytes).ok().context("no randomness")
}

/// Bounds of one bulk transfer: whichever comes first.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At most so many bytes.
    pub bytes: u64,
    /// No byte is handed to SAM after so long.
    pub time: Duration,
}

/// Serves streams for as long as the process lives.
pub fn serve(options: &str, limit: Duration) -> Result<()> {
    let (session, took) = session_within(options, limit)?;
    println!("SESSION {:.3}", took.as_secs_f64());
    println!("DESTINATION {}", session.destination());
    loop {
        let stream = session.accept()?;
        thread::spawn(move || {
            if let Err(error) = serve_stream(stream) {
                println!("NOTE {error:#}");
            }
        });
    }
}

/// One stream's server side.
fn serve_stream(mut stream: TcpStream) -> Result<()> {
    let mut kind = [0];
    stream.read_exact(&mut kind)?;
    match kind {
        [ECHO] => echo(&mut stream),
        [UPLOAD] => {
            let (sha, _) = receive_bulk(&mut stream)?;
            stream.write_all(sha.as_bytes())?;
            wait_for_end(&mut stream)
        }
        [DOWNLOAD] => {
            let (mut bytes, mut millis) = ([0; 8], [0; 8]);
            stream.read_exact(&mut bytes)?;
            stream.read_exact(&mut millis)?;
            let time = Duration::from_millis(u64::from_be_bytes(millis));
            let sha = send_bulk(&mut stream, Bounds { bytes: u64::from_be_bytes(bytes), time })?.0;
            let mut theirs = vec![0; 64];
            stream.read_exact(&mut theirs)?;
            ensure!(sha.as_bytes() == theirs, "the other side received something else");
            stream.write_all(b"=")?;
            wait_for_end(&mut stream)
        }
        [other] => bail!("a stream of unknown kind {other}"),
    }
}

/// Sends so many bytes at a rate to a server that gives all back. Prints `RUNNING` when the first are back, and at the
/// end for how many seconds nothing came at most, and how many seconds after the first that began.
pub fn rebound(destination: &str, options: &str, bytes: u64, bytes_per_second: u64) -> Result<()> {
    let (session, _) = session_within(options, Duration::from_secs(120))?;
    let mut stream = open(&session, destination)?;
    stream.write_all(&[ECHO])?;
    let mut back = stream.try_clone()?;
    let sender = thread::spawn(move || pour(&mut stream, bytes, bytes_per_second));
    back.set_read_timeout(Some(STALLED))?;
    let (mut sha, mut received) = (Sha256::default(), 0);
    let (mut longest, mut at, mut begun, mut last) = (Duration::ZERO, Duration::ZERO, None, None::<Instant>);
    let mut buffer = vec![0; FRAME];
    while received < bytes {
        let read =
            back.read(&mut buffer).with_context(|| format!("{received} bytes are back, and no more"))?;
        ensure!(read > 0, "the stream ended after {received} bytes");
        sha.update(buffer.get(..read).unwrap_or_default());
        received += u64::try_from(read)?;
        let now = Instant::now();
        let begun = *begun.get_or_insert(now);
        match last.replace(now) {
            Some(before) if now - before > longest => (longest, at) = (now - before, before - begun),
            Some(_) => {}
            None => println!("RUNNING"),
        }
    }
    let sent = sender.join().ok().context("the sender panicked")??;
    ensure!(sha.finish() == sent, "what came back differs from what was sent");
    println!("REBOUND {:.1} {:.1}", longest.as_secs_f64(), at.as_secs_f64());
    Ok(())
}

/// Sends random bytes at a rate; gives their SHA-256.
fn pour(stream: &mut TcpStream, bytes: u64, bytes_per_second: u64) -> Result<String> {
    let begun = Instant::now();
    let (mut sha, mut sent) = (Sha256::default(), 0);
    let mut piece = [0; PIECE];
    while sent < bytes {
        random_bytes(&mut piece)?;
        let part = piece.get(..usize::try_from(bytes - sent)?.min(PIECE)).unwrap_or_default();
        stream.write_all(part)?;
        sha.update(part);
        sent += u64::try_from(part.len())?;
        let due = Duration::from_secs_f64(sent as f64 / bytes_per_second as f64);
        thread::sleep(due.saturating_sub(begun.elapsed()));
    }
    Ok(sha.finish())
}

/// Gives back whatever comes.
fn echo(stream: &mut TcpStream) -> Result<()> {
    let mut bytes = vec![0; FRAME];
    loop {
        let read = stream.read(&mut bytes)?;
        if read == 0 {
            return Ok(());
        }
        stream.write_all(bytes.get(..read).unwrap_or_default())?;
    }
}

/// The measuring side: connects to a server and prints one `key value` line per measurement.
pub fn measure(destination: &str, options: &str, bounds: Bounds, pings: u32) -> Result<()> {
    let (session, took) = session_within(options, Duration::from_secs(120))?;
    println!("SESSION {:.3}", took.as_secs_f64());
    let asked = Instant::now();
    let mut echo = open(&session, destination)?;
    let connected = asked.elapsed();
    echo.write_all(&[ECHO])?;
    ping(&mut echo)?;
    println!("CONNECT {:.4} {:.4}", connected.as_secs_f64(), asked.elapsed().as_secs_f64());
    println!("ECHO {:.5}", median_ping(&mut echo, pings)?.as_secs_f64());
    let (bytes, time) = upload(&session, destination, bounds)?;
    println!("UPLOAD {bytes} {:.3}", time.as_secs_f64());
    let (bytes, time) = download(&session, destination, bounds)?;
    println!("DOWNLOAD {bytes} {:.3}", time.as_secs_f64());
    println!("DONE");
    Ok(())
}

/// Waits until the router finds a destination by its hash: until its LeaseSet is where others look for it.
pub fn find(destination: &str, limit: Duration) -> Result<()> {
    let hash = Destination::from_base64(destination).context("not a destination")?.hash();
    let took = look_up(&base32::host_name(&hash), limit)?;
    println!("FOUND {:.3}", took.as_secs_f64());
    Ok(())
}

/// Opens a stream, again if the first attempts find nobody: a fresh LeaseSet takes a moment to spread.
pub fn open(session: &Session, destination: &str) -> Result<TcpStream> {
    let mut last = None;
    for _ in 0..6 {
        match session.connect(destination) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
        thread::sleep(Duration::from_secs(1));
    }
    Err(last.context("no attempt was made")?.context("STREAM CONNECT"))
}

/// The median round trip of several pings.
fn median_ping(stream: &mut TcpStream, pings: u32) -> Result<Duration> {
    let mut times = Vec::new();
    for _ in 0..pings.max(1) {
        let sent = Instant::now();
        ping(stream)?;
        times.push(sent.elapsed());
    }
    times.sort();
    times.get(times.len() / 2).copied().context("no pings")
}

/// One ping and its echo.
pub fn ping(stream: &mut TcpStream) -> Result<()> {
    let mut sent = [0; PING];
    random_bytes(&mut sent)?;
    let mut back = [0; PING];
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    stream.write_all(&sent)?;
    stream.read_exact(&mut back).context("waiting for an echo")?;
    stream.set_read_timeout(None)?;
    ensure!(sent == back, "an echo differs from what was sent");
    Ok(())
}

/// Sends in bulk. Returns what arrived and the time from the first byte to the proof of the last.
fn upload(session: &Session, destination: &str, bounds: Bounds) -> Result<(u64, Duration)> {
    let mut stream = open(session, destination)?;
    let begun = Instant::now();
    stream.write_all(&[UPLOAD])?;
    let (sha, bytes) = send_bulk(&mut stream, bounds)?;
    let mut theirs = vec![0; 64];
    stream.set_read_timeout(Some(DRAIN))?;
    stream.read_exact(&mut theirs).context("waiting for the receiver's SHA-256")?;
    ensure!(sha.as_bytes() == theirs, "the receiver has something else");
    Ok((bytes, begun.elapsed()))
}

/// Fetches in bulk. Returns what arrived and the time from asking to the last byte.
fn download(session: &Session, destination: &str, bounds: Bounds) -> Result<(u64, Duration)> {
    let mut stream = open(session, destination)?;
    let begun = Instant::now();
    let millis = u64::try_from(bounds.time.as_millis())?;
    let mut request = vec![DOWNLOAD];
    request.extend(bounds.bytes.to_be_bytes());
    request.extend(millis.to_be_bytes());
    stream.write_all(&request)?;
    stream.set_read_timeout(Some(DRAIN))?;
    let (sha, bytes) = receive_bulk(&mut stream)?;
    let time = begun.elapsed();
    stream.write_all(sha.as_bytes())?;
    let mut verdict = [0];
    stream.read_exact(&mut verdict).context("waiting for the sender's verdict")?;
    Ok((bytes, time))
}

/// Sends frames within bounds, then the empty one.
fn send_bulk(stream: &mut TcpStream, bounds: Bounds) -> Result<(String, u64)> {
    let begun = Instant::now();
    let mut sha = Sha256::default();
    let mut frame = vec![0; FRAME];
    // Random once and stirred per frame: the measurement is the router's, not the generator's.
    random_bytes(&mut frame)?;
    let mut sent = 0_u64;
    while sent < bounds.bytes && begun.elapsed() < bounds.time {
        if let Some(counter) = frame.get_mut(..8) {
            counter.copy_from_slice(&sent.to_be_bytes());
        }
        let length = usize::try_from(bounds.bytes - sent)?.min(FRAME);
        let part = frame.get(..length).unwrap_or_default();
        stream.write_all(&u32::try_from(length)?.to_be_bytes())?;
        stream.write_all(part)?;
        sha.update(part);
        sent += u64::try_from(length)?;
    }
    stream.write_all(&0_u32.to_be_bytes())?;
    Ok((sha.finish(), sent))
}

/// Receives frames up to the empty one.
fn receive_bulk(stream: &mut TcpStream) -> Result<(String, u64)> {
    let mut sha = Sha256::default();
    let mut received = 0_u64;
    let mut frame = vec![0; FRAME];
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length).with_context(|| format!("the stream ended after {received} bytes"))?;
        let length = usize::try_from(u32::from_be_bytes(length))?;
        if length == 0 {
            return Ok((sha.finish(), received));
        }
        let part = frame.get_mut(..length).context("a frame longer than any that is sent")?;
        stream.read_exact(part).with_context(|| format!("the stream ended after {received} bytes"))?;
        sha.update(part);
        received += u64::try_from(length)?;
    }
}

/// Leaves closing to the other side, which knows when it has everything.
fn wait_for_end(stream: &mut TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(DRAIN))?;
    match stream.read(&mut [0]) {
        Ok(_) => Ok(()),
        Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::WouldBlock) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
