//! When i2pd has its first tunnel, as its console says. Run inside its namespace.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Where i2pd's console is.
const CONSOLE: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 7070);
/// How the console marks a tunnel that stands.
const MARK: &str = "tunnel established\"";

/// Prints `TUNNEL` as soon as one stands.
pub fn first_tunnel(limit: Duration) -> Result<()> {
    let began = Instant::now();
    while began.elapsed() < limit {
        // The console may not listen yet.
        if page().is_ok_and(|page| page.contains(MARK)) {
            println!("TUNNEL stands");
            return Ok(());
        }
        thread::sleep(Duration::from_millis(50));
    }
    bail!("no tunnel within {limit:?}")
}

fn page() -> Result<String> {
    let mut stream = TcpStream::connect(CONSOLE)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /?page=tunnels HTTP/1.0\r\nHost: 127.0.0.1:7070\r\n\r\n")?;
    let mut page = String::new();
    stream.read_to_string(&mut page)?;
    Ok(page)
}
