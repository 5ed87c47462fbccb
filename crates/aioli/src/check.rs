//! The self-check of `aioli testnet`: an ordinary SAM transfer, hashed at both ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use aioli_core::Rng;
use aioli_core::crypto::hash::sha256;
use aioli_node::entropy;
use anyhow::{Context, Result, bail, ensure};

use crate::terminal::say;

/// Bytes sent.
const TRANSFER: usize = 20_000_000;
/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends 20 MB of random bytes from a session at `a` to one at `b` and says how it went.
pub fn transfer(a: SocketAddr, b: SocketAddr) -> Result<()> {
    let asked = Instant::now();
    let (receiver, address) = session(b, "receiver").context("the receiving SAM session failed")?;
    let (sender, _) = session(a, "sender").context("the sending SAM session failed")?;
    say(format!(
        "two SAM sessions with three-hop tunnels ready after {:.1} s",
        asked.elapsed().as_secs_f64()
    ));
    let mut incoming = connect(b)?;
    command(&mut incoming, "STREAM ACCEPT ID=receiver SILENT=false")?;
    let asked = Instant::now();
    let mut outgoing = connect(a)?;
    command(&mut outgoing, &format!("STREAM CONNECT ID=sender DESTINATION={address} SILENT=false"))?;
    let _peer = line(&mut incoming)?;
    say(format!("stream open after {:.0} ms", asked.elapsed().as_secs_f64() * 1e3));
    let mut data = vec![0; TRANSFER];
    Rng::from_seed(entropy()).fill(&mut data);
    let sent = sha256(&data);
    let started = Instant::now();
    let writer = std::thread::spawn(move || outgoing.get_mut().write_all(&data).map(|()| outgoing));
    let mut received = vec![0; TRANSFER];
    incoming.read_exact(&mut received).context("the stream broke off")?;
    let took = started.elapsed();
    let outgoing = writer.join().map_err(|_| anyhow::anyhow!("the sending thread panicked"))??;
    let got = sha256(&received);
    ensure!(sent == got, "the data was damaged on the way: sent {}, received {}", hex(&sent), hex(&got));
    let rate = TRANSFER as f64 / 1e6 / took.as_secs_f64();
    say(format!("20 MB in {:.2} s: {rate:.1} MB/s over six hops", took.as_secs_f64()));
    say(format!("SHA-256 {} at both ends", hex(&got)));
    drop((outgoing, incoming, sender, receiver));
    Ok(())
}

type Sam = BufReader<TcpStream>;

fn connect(sam: SocketAddr) -> Result<Sam> {
    let stream = TcpStream::connect(sam).context("cannot connect to SAM")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    let mut sam = BufReader::with_capacity(64 * 1024, stream);
    command(&mut sam, "HELLO VERSION MIN=3.1 MAX=3.3")?;
    Ok(sam)
}

/// A session and the public address of its destination.
fn session(sam: SocketAddr, id: &str) -> Result<(Sam, String)> {
    let mut sam = connect(sam)?;
    command(
        &mut sam,
        &format!("SESSION CREATE STYLE=STREAM ID={id} DESTINATION=TRANSIENT SIGNATURE_TYPE=7"),
    )?;
    let reply = command(&mut sam, "NAMING LOOKUP NAME=ME")?;
    let value = reply.split(' ').find_map(|word| word.strip_prefix("VALUE="));
    let address = value.context("SAM did not say the session's destination")?.to_owned();
    Ok((sam, address))
}

fn command(sam: &mut Sam, text: &str) -> Result<String> {
    writeln!(sam.get_mut(), "{text}")?;
    let reply = line(sam)?;
    if !reply.contains("RESULT=OK") {
        bail!("SAM answered: {reply}");
    }
    Ok(reply)
}

fn line(sam: &mut Sam) -> Result<String> {
    let mut text = String::new();
    sam.read_line(&mut text).context("SAM did not answer")?;
    Ok(text.trim_end().to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
