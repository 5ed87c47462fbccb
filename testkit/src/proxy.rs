//! Proxies as users have them: HTTP with CONNECT, and SOCKS5 without a password.

use std::io::{BufRead, BufReader, Read, Write, copy};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Result, bail, ensure};

/// Which protocol a proxy speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// HTTP, `CONNECT`.
    Http,
    /// SOCKS5.
    Socks5,
    /// HTTP that lets nobody through.
    HttpRefuses,
    /// SOCKS5 that lets nobody through.
    Socks5Refuses,
}

impl Kind {
    const fn is_http(self) -> bool {
        matches!(self, Self::Http | Self::HttpRefuses)
    }
}

/// A running proxy on loopback; its threads end with the process.
#[derive(Debug)]
pub struct Proxy {
    /// As a setting names it.
    pub url: String,
    passed: Arc<AtomicUsize>,
}

impl Proxy {
    /// Starts one.
    pub fn start(kind: Kind) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let scheme = if kind.is_http() { "http" } else { "socks5" };
        let url = format!("{scheme}://{}", listener.local_addr()?);
        let passed = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&passed);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let count = Arc::clone(&count);
                thread::spawn(move || drop(pass(stream, kind, &count)));
            }
        });
        Ok(Self { url, passed })
    }

    /// Connections that it has passed on.
    pub fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }
}

fn pass(mut client: TcpStream, kind: Kind, count: &AtomicUsize) -> Result<()> {
    let target = if kind.is_http() { http_target(&mut client)? } else { socks_target(&mut client)? };
    match kind {
        Kind::HttpRefuses => return Ok(client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")?),
        Kind::Socks5Refuses => return Ok(client.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0])?),
        Kind::Http | Kind::Socks5 => {}
    }
    let mut server = TcpStream::connect(target)?;
    count.fetch_add(1, Ordering::SeqCst);
    if kind.is_http() {
        client.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    } else {
        client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
    }
    let (mut from, mut to) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || drop(copy(&mut from, &mut to)));
    copy(&mut server, &mut client)?;
    Ok(())
}

fn http_target(client: &mut TcpStream) -> Result<SocketAddr> {
    let mut request = String::new();
    let mut reader = BufReader::new(client);
    while !request.ends_with("\r\n\r\n") {
        ensure!(reader.read_line(&mut request)? > 0, "it hung up");
    }
    let Some(target) = request.strip_prefix("CONNECT ").and_then(|r| r.split(' ').next()) else {
        bail!("no CONNECT: {request}");
    };
    Ok(target.parse()?)
}

fn socks_target(client: &mut TcpStream) -> Result<SocketAddr> {
    let mut head = [0; 2];
    client.read_exact(&mut head)?;
    let mut methods = vec![0; usize::from(head[1])];
    client.read_exact(&mut methods)?;
    client.write_all(&[5, 0])?;
    let mut request = [0; 4];
    client.read_exact(&mut request)?;
    let host = match request[3] {
        1 => {
            let mut ip = [0; 4];
            client.read_exact(&mut ip)?;
            std::net::Ipv4Addr::from(ip).to_string()
        }
        3 => {
            let mut length = [0];
            client.read_exact(&mut length)?;
            let mut name = vec![0; usize::from(length[0])];
            client.read_exact(&mut name)?;
            String::from_utf8(name)?
        }
        other => bail!("address type {other}"),
    };
    let mut port = [0; 2];
    client.read_exact(&mut port)?;
    Ok(format!("{host}:{}", u16::from_be_bytes(port)).parse()?)
}
