//! A SAM application in Rust, on `yosemite`; the same programme as `clients/stream.py`.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use yosemite::style::Stream as StreamStyle;
use yosemite::{Session, SessionOptions, Stream};

use super::load::{Sha256, random_bytes};

/// What is moved at a time.
const CHUNK: usize = 64 * 1024;
/// How often a connection is tried.
const ATTEMPTS: u32 = 8;

/// What a session is made with, beyond the library's defaults.
#[derive(clap::Args, Clone, Debug)]
pub struct Settings {
    /// Tunnel length.
    #[arg(long)]
    hops: usize,
    /// Encryption types of the LeaseSet; the library's choice, if not given.
    #[arg(long)]
    encryption: Option<String>,
    /// Inbound tunnels; the library's choice, if not given.
    #[arg(long)]
    inbound_quantity: Option<usize>,
}

/// Accepts one stream, receives `total` bytes, sends as many.
pub fn serve(total: usize, settings: &Settings) -> Result<()> {
    let mut session = Session::<StreamStyle>::new(options(settings))?;
    println!("DESTINATION {}", session.destination());
    let mut stream = session.accept().context("accepting")?;
    println!("CONNECTED");
    receive(&mut stream, total)?;
    send(&mut stream, total)?;
    let _ = stream.read(&mut [0]); // the other side has everything, or is gone
    println!("DONE");
    Ok(())
}

/// Opens a stream, sends `total` bytes, receives as many.
pub fn connect(total: usize, destination: &str, settings: &Settings) -> Result<()> {
    let mut session = Session::<StreamStyle>::new(options(settings))?;
    let mut stream = attempt(|| session.connect(destination)).context("connecting")?;
    println!("CONNECTED");
    send(&mut stream, total)?;
    receive(&mut stream, total)?;
    stream.write_all(b".")?;
    println!("DONE");
    Ok(())
}

/// Tries again for a while: a LeaseSet takes a moment to spread.
fn attempt<T, E>(mut action: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    for _ in 1..ATTEMPTS {
        if let Ok(value) = action() {
            return Ok(value);
        }
        thread::sleep(Duration::from_secs(3));
    }
    action()
}

fn options(settings: &Settings) -> SessionOptions {
    let Settings { hops, encryption, inbound_quantity } = settings.clone();
    let defaults = SessionOptions::default();
    SessionOptions {
        inbound_len: hops,
        outbound_len: hops,
        inbound_quantity: inbound_quantity.unwrap_or(defaults.inbound_quantity),
        lease_set_enc_type: encryption.or(defaults.lease_set_enc_type),
        ..SessionOptions::default()
    }
}

fn send(stream: &mut Stream, total: usize) -> Result<()> {
    let mut sha = Sha256::default();
    let mut chunk = vec![0; CHUNK];
    let mut left = total;
    while left > 0 {
        let part = chunk.get_mut(..left.min(CHUNK)).unwrap_or_default();
        random_bytes(part)?;
        stream.write_all(part)?;
        sha.update(part);
        left -= part.len();
    }
    println!("SENT {total} {}", sha.finish());
    Ok(())
}

fn receive(stream: &mut Stream, total: usize) -> Result<()> {
    let mut sha = Sha256::default();
    let mut chunk = vec![0; CHUNK];
    let mut left = total;
    while left > 0 {
        let part = chunk.get_mut(..left.min(CHUNK)).unwrap_or_default();
        let read = stream.read(part)?;
        anyhow::ensure!(read > 0, "the stream ended {left} bytes early");
        sha.update(part.get(..read).unwrap_or_default());
        left -= read;
    }
    println!("RECEIVED {total} {}", sha.finish());
    Ok(())
}
