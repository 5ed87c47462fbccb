//! Client and server tunnels over a whole private network in this process: what
//! passes, what never does, and what changes while they run.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use aioli::testnet::Network;
use aioli_apps::address_book::AddressBook;
use aioli_apps::resolve::Naming;
use aioli_apps::tunnels::{
    Defaults, Kind, State, TunnelConfig, TunnelError, TunnelInfo, Tunnels, TunnelsConfig, TunnelsFile,
};
use aioli_apps::way::Way;
use aioli_router::client::TunnelOptions;
use testkit::program::{Program, eventually, router};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

fn tunnels(way: impl Into<Way>, dir: &Path) -> Tunnels {
    let two = TunnelOptions { length: 2, variance: 0, quantity: 2, backup: 0, kbps: 0 };
    Tunnels::start(TunnelsConfig {
        way: way.into(),
        naming: Arc::new(Naming::new(Arc::new(AddressBook::in_memory()))),
        defaults: Defaults { inbound: two, outbound: two },
        data_dir: Some(dir.to_owned()),
        file: Some(TunnelsFile::of(dir)),
        i2pd: Some((dir.join("tunnels.conf"), dir.join("tunnels.d"))),
        configured: Vec::new(),
    })
    .unwrap()
}

/// Waits until a tunnel is as wanted.
async fn until(tunnels: &Tunnels, name: &str, wanted: impl Fn(&TunnelInfo) -> bool) -> TunnelInfo {
    let waiting = async {
        loop {
            match tunnels.get(name) {
                Some(info) if wanted(&info) => return info,
                _ => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    waited.unwrap_or_else(|_| panic!("{name} is {:?}", tunnels.get(name)))
}

async fn ready(tunnels: &Tunnels, name: &str) -> TunnelInfo {
    until(tunnels, name, |info| info.state == State::Ready).await
}

fn server(name: &str, kind: Kind, target: SocketAddr) -> TunnelConfig {
    let mut config = TunnelConfig::new(name, kind);
    config.target = vec![target.to_string()];
    config
}

fn client(name: &str, kind: Kind, to: &str) -> TunnelConfig {
    let mut config = TunnelConfig::new(name, kind);
    config.listen = Some(([127, 0, 0, 1], 0).into());
    if kind.dials() {
        config.destination = vec![to.to_owned()];
    }
    config
}

/// A local server that says back what it is told.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
                let _ = to.shutdown().await;
            });
        }
    });
    address
}

/// Says something to an echo and hears it back.
async fn hears(stream: &mut TcpStream, text: &[u8]) {
    let exchange = async {
        stream.write_all(text).await.unwrap();
        let mut heard = vec![0; text.len()];
        stream.read_exact(&mut heard).await.unwrap();
        assert!(heard == text, "what came back is something else");
    };
    tokio::time::timeout(PATIENCE, exchange).await.unwrap();
}

/// Whether a connection is closed without a word.
async fn is_refused(stream: &mut TcpStream) -> bool {
    let read = tokio::time::timeout(PATIENCE, stream.read(&mut [0; 1])).await.unwrap();
    matches!(read, Ok(0) | Err(_))
}

/// All that comes back for a request.
async fn ask(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be refused before all is written.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn on_network(routers: usize, sam: &[usize], test: impl AsyncFnOnce(&Network)) {
    let mut network = Network::start(routers, sam).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        network.wait_until_usable(PATIENCE).await.unwrap();
        test(&network).await;
    });
}

#[test]
fn bytes_pass_and_changes_leave_others_alone() {
    on_network(6, &[1], async |network| {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (clients, servers) =
            (tunnels(network.client(0), here.path()), tunnels(network.client(3), there.path()));
        let mut echo_server = server("echo", Kind::Server, echo().await);
        // Nobody listens at the first of them.
        let unused = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        echo_server.target.insert(0, unused.to_string());
        servers.add(echo_server.clone()).unwrap();
        let b32 = ready(&servers, "echo").await.b32.unwrap();
        clients.add(client("echo", Kind::Client, &b32)).unwrap();
        let listening = ready(&clients, "echo").await.listening.unwrap();
        let large = vec![7; 300_000];
        for _ in 0..2 {
            let mut stream = TcpStream::connect(listening).await.unwrap();
            hears(&mut stream, b"hello").await;
            hears(&mut stream, &large).await;
        }
        let stats = until(&servers, "echo", |info| info.stats.connections == 0).await.stats;
        assert_eq!((stats.opened, stats.refused_access, stats.failed), (2, 0, 0));
        assert_eq!((stats.received, stats.sent), (2 * 300_005, 2 * 300_005));
        // One that stays open while others come, change and go.
        let mut open = TcpStream::connect(listening).await.unwrap();
        hears(&mut open, b"before").await;
        access(&clients, &servers, &b32).await;
        limits(&clients, &servers).await;
        files(&clients, here.path(), &b32).await;
        by_socks(&clients, &b32).await;
        over_sam(network, &b32).await;
        hears(&mut open, b"after").await;
        // Its destination is the same when it changes.
        echo_server.target.remove(0);
        servers.change("echo", echo_server).unwrap();
        assert_eq!(servers.get("echo").unwrap().b32.unwrap(), b32);
        assert!(is_refused(&mut open).await, "its connections end with what it was");
        let mut again = TcpStream::connect(listening).await.unwrap();
        hears(&mut again, b"again").await;
        clients.stop_one("echo").unwrap();
        assert!(is_refused(&mut again).await);
        assert_eq!(clients.get("echo").unwrap().state, State::Stopped);
        clients.start_one("echo").unwrap();
        ready(&clients, "echo").await;
        clients.remove("echo").unwrap();
        assert!(matches!(clients.remove("echo"), Err(TunnelError::Unknown(_))));
    });
}

/// Who is not on the list does not come in, until it is.
async fn access(clients: &Tunnels, servers: &Tunnels, echo: &str) {
    let mut config = server("closed", Kind::Server, echo_target(servers));
    config.allow = vec![echo.to_owned()];
    servers.add(config.clone()).unwrap();
    let b32 = ready(servers, "closed").await.b32.unwrap();
    let mut to = client("closed", Kind::Client, &b32);
    to.keys = Some("me".to_owned());
    clients.add(to).unwrap();
    let me = ready(clients, "closed").await;
    let mut stream = TcpStream::connect(me.listening.unwrap()).await.unwrap();
    assert!(is_refused(&mut stream).await);
    assert_eq!(until(servers, "closed", |info| info.stats.refused_access == 1).await.stats.opened, 0);
    config.allow = vec![me.b32.unwrap()];
    servers.change("closed", config).unwrap();
    hears(&mut TcpStream::connect(me.listening.unwrap()).await.unwrap(), b"now").await;
    assert_eq!(servers.get("closed").unwrap().stats.refused_access, 1, "what was counted stays");
    servers.remove("closed").unwrap();
    clients.remove("closed").unwrap();
}

fn echo_target(servers: &Tunnels) -> SocketAddr {
    servers.get("echo").unwrap().config.target.last().unwrap().parse().unwrap()
}

/// A crowd of one peer's streams is held to what one may have, and the others wait for nobody.
async fn limits(clients: &Tunnels, servers: &Tunnels) {
    let mut config = server("narrow", Kind::Server, echo_target(servers));
    config.limits.peer_connections = 3;
    servers.add(config).unwrap();
    let b32 = ready(servers, "narrow").await.b32.unwrap();
    clients.add(client("narrow", Kind::Client, &b32)).unwrap();
    let listening = ready(clients, "narrow").await.listening.unwrap();
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(listening).await.unwrap();
        hears(&mut stream, b"x").await;
        open.push(stream);
    }
    for _ in 0..3 {
        assert!(is_refused(&mut TcpStream::connect(listening).await.unwrap()).await);
    }
    let stats = until(servers, "narrow", |info| info.stats.refused_limits == 3).await.stats;
    assert_eq!((stats.connections, stats.opened), (3, 3));
    drop(open);
    until(servers, "narrow", |info| info.stats.connections == 0).await;
    hears(&mut TcpStream::connect(listening).await.unwrap(), b"y").await;
    servers.remove("narrow").unwrap();
    clients.remove("narrow").unwrap();
}

/// Files are followed; what is wrong in them is said, and what is elsewhere is not changed.
async fn files(clients: &Tunnels, dir: &Path, echo: &str) {
    let conf = format!("[of i2pd]\ntype = client\nport = 0\ndestination = {echo}\n[bad]\ntype = client\n");
    std::fs::write(dir.join("tunnels.conf"), conf).unwrap();
    clients.reload();
    let listening = ready(clients, "of i2pd").await.listening.unwrap();
    hears(&mut TcpStream::connect(listening).await.unwrap(), b"as it is").await;
    assert!(clients.problems().iter().any(|line| line.contains("section [bad]: port is missing")));
    assert!(matches!(clients.remove("of i2pd"), Err(TunnelError::Elsewhere { .. })));
    std::fs::remove_file(dir.join("tunnels.conf")).unwrap();
    // Without being told.
    let gone = async {
        while clients.get("of i2pd").is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, gone).await.unwrap();
    let file = TunnelsFile::of(dir);
    // One that is being written by hand says nothing yet.
    let text = std::fs::read(file.path()).unwrap();
    std::fs::write(file.path(), "[[tunnels").unwrap();
    clients.reload();
    assert_eq!(clients.get("echo").unwrap().state, State::Ready);
    assert!(
        clients.problems().iter().any(|line| line.contains("tunnels.toml, line 1")),
        "{:?}",
        clients.problems()
    );
    std::fs::write(file.path(), text).unwrap();
    let mut config = client("by hand", Kind::Client, echo);
    config.delay_open = true;
    config.shared = false;
    file.add(&config).unwrap();
    let info = until(clients, "by hand", |_| true).await;
    assert_eq!(info.state, State::Idle, "{}", info.detail);
    hears(&mut TcpStream::connect(info.listening.unwrap()).await.unwrap(), b"late").await;
    assert_eq!(clients.get("by hand").unwrap().state, State::Ready);
    file.remove("by hand").unwrap();
    clients.reload();
    assert!(clients.get("by hand").is_none());
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut config = client("taken", Kind::Client, echo);
    config.listen = Some(taken.local_addr().unwrap());
    clients.add(config).unwrap();
    let info = clients.get("taken").unwrap();
    assert!(info.state == State::Failed && info.detail.contains("cannot listen"), "{info:?}");
    drop(taken);
    ready(clients, "taken").await;
    clients.remove("taken").unwrap();
}

/// A SOCKS proxy of its own.
async fn by_socks(clients: &Tunnels, echo: &str) {
    clients.add(client("socks", Kind::Socks, "")).unwrap();
    let listening = ready(clients, "socks").await.listening.unwrap();
    let mut stream = TcpStream::connect(listening).await.unwrap();
    let request = [b"\x04\x01\x00\x07\x00\x00\x00\x01\x00", echo.as_bytes(), b"\x00"].concat();
    stream.write_all(&request).await.unwrap();
    let mut granted = [0; 8];
    stream.read_exact(&mut granted).await.unwrap();
    assert_eq!(granted[1], 90);
    hears(&mut stream, b"socks").await;
    clients.remove("socks").unwrap();
}

/// The same over the SAM of another router, both ways.
async fn over_sam(network: &Network, echo: &str) {
    let dir = tempfile::tempdir().unwrap();
    let over_sam = tunnels(Way::Sam(network.sam()[0]), dir.path());
    over_sam.add(server("back", Kind::Server, self::echo().await)).unwrap();
    over_sam.add(client("there", Kind::Client, echo)).unwrap();
    let listening = ready(&over_sam, "there").await.listening.unwrap();
    hears(&mut TcpStream::connect(listening).await.unwrap(), b"by SAM").await;
    let b32 = ready(&over_sam, "back").await.b32.unwrap();
    over_sam.add(client("back again", Kind::Client, &b32)).unwrap();
    let listening = ready(&over_sam, "back again").await.listening.unwrap();
    hears(&mut TcpStream::connect(listening).await.unwrap(), b"by SAM twice").await;
    assert_eq!(over_sam.get("back").unwrap().stats.opened, 1);
}

/// Bytes of `/large`.
const LARGE: usize = 128 << 20;
/// Streams that the site of the tests takes at once.
const VISITORS: u32 = 16;

/// A web server that shows the heads that it gets, and answers by the path.
struct Site {
    address: SocketAddr,
    heads: mpsc::UnboundedReceiver<String>,
    /// Bytes of `/large` that it could write.
    written: Arc<std::sync::atomic::AtomicUsize>,
}

async fn site() -> Site {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sink, heads) = mpsc::unbounded_channel();
    let written = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counter = Arc::clone(&written);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (sink, counter) = (sink.clone(), Arc::clone(&counter));
            tokio::spawn(async move {
                // Whatever can be read as a head is one, as careless servers have it.
                while let Some(head) = read_head(&mut stream).await {
                    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
                    sink.send(head).unwrap();
                    if answer(&mut stream, &path, &counter).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    Site { address, heads, written }
}

async fn read_head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

async fn answer(
    stream: &mut TcpStream,
    path: &str,
    written: &std::sync::atomic::AtomicUsize,
) -> std::io::Result<()> {
    match path {
        "/large" => {
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
                .await?;
            for _ in 0..LARGE / 65_536 {
                stream.write_all(&[b'x'; 65_536]).await?;
                written.fetch_add(65_536, std::sync::atomic::Ordering::Relaxed);
            }
            Ok(())
        }
        "/socket" => {
            let head =
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n";
            stream.write_all(head.as_bytes()).await?;
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await?;
            stream.write_all(&bytes).await?;
            stream.shutdown().await
        }
        _ => {
            let head = "HTTP/1.1 200 OK\r\nServer: secret/1.0\r\nX-Powered-By: secret/2.0\r\nDate: now\r\n";
            stream.write_all(format!("{head}Content-Length: 2\r\n\r\nok").as_bytes()).await
        }
    }
}

#[test]
fn sites_see_who_asks_and_nothing_forged() {
    on_network(6, &[], async |network| {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (clients, servers) =
            (tunnels(network.client(0), here.path()), tunnels(network.client(3), there.path()));
        let mut site = site().await;
        let mut config = server("site", Kind::HttpServer, site.address);
        config.host_name = Some("site.i2p".to_owned());
        config.limits.connections = VISITORS;
        config.limits.peer_posts = 3;
        servers.add(config).unwrap();
        let b32 = ready(&servers, "site").await.b32.unwrap();
        let mut to = client("visitor", Kind::Client, &b32);
        to.keys = Some("visitor".to_owned());
        clients.add(to).unwrap();
        let me = ready(&clients, "visitor").await;
        let listening = me.listening.unwrap();
        who_asks(&mut site, &me).await;
        hostile(&mut site, listening).await;
        posts(&mut site, listening).await;
        let socket = b"GET /socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nhello";
        let answer = ask(listening, socket).await;
        assert!(answer.starts_with("HTTP/1.1 101") && answer.ends_with("\r\n\r\nhello"), "{answer}");
        slow_and_idle(&site, &servers, listening).await;
        both_ways(&mut site, &clients, &b32).await;
        assert!(servers.get("site").unwrap().stats.refused_requests > 20);
    });
}

async fn who_asks(site: &mut Site, me: &TunnelInfo) {
    let request = "GET /a?b=c HTTP/1.1\r\nHost: other.i2p\r\nX-I2P-DestHash: forged\r\nX-I2P-DestB32: forged\r\n\
                   x_i2p_destb64: forged\r\nX-I2P-More: forged\r\nProxy: forged\r\nConnection: X-I2P-DestHash, X-Hop\r\n\
                   X-Hop: forged\r\nUser-Agent: MYOB/6.66 (AN/ON)\r\n\r\n";
    let answer = ask(me.listening.unwrap(), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("ok"), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(!lower.contains("secret") && !lower.contains("date:") && !lower.contains("server:"), "{answer}");
    let head = site.heads.recv().await.unwrap();
    let mut lines: Vec<_> = head.trim().lines().map(str::to_ascii_lowercase).collect();
    assert_eq!(lines.remove(0), "get /a?b=c http/1.1");
    lines.sort();
    let destination = me.destination.as_ref().unwrap();
    let hash = aioli_wire::Destination::from_base64(destination).unwrap().hash().to_base64();
    let who = [("destb32", me.b32.as_ref().unwrap()), ("destb64", destination), ("desthash", &hash)];
    let mut expected: Vec<_> =
        who.map(|(name, value)| format!("x-i2p-{name}: {value}").to_ascii_lowercase()).to_vec();
    expected.splice(
        0..0,
        ["connection: close", "host: site.i2p", "user-agent: myob/6.66 (an/on)"].map(str::to_owned),
    );
    assert_eq!(lines, expected);
}

/// None of this may reach the site.
async fn hostile(site: &mut Site, listening: SocketAddr) {
    let with = |headers: &str| {
        format!("POST / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n0\r\n\r\nGET /behind HTTP/1.1\r\n\r\n")
    };
    let get = |headers: &str| format!("GET / HTTP/1.1\r\n{headers}\r\n\r\n");
    for (status, request) in [
        (400, with("Content-Length: 4\r\nTransfer-Encoding: chunked")),
        (400, with("Transfer-Encoding: chunked\r\nContent-Length: 4")),
        (400, with("Content-Length: 4\r\nContent-Length: 5")),
        (400, with("Content-Length: +4")),
        (400, with("Transfer-Encoding: xchunked")),
        (400, with("Transfer-Encoding: chunked, chunked")),
        (400, with("Transfer-Encoding : chunked")),
        (400, with("X: a\r\n Transfer-Encoding: chunked")),
        (400, with("X: a\rTransfer-Encoding: chunked")),
        (400, with("X: a\nTransfer-Encoding: chunked")),
        (400, get("Host: a\r\nHost: b")),
        (400, get("X-I2P-DestHash\0: forged")),
        (400, "GET  / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET / HTTP/3.0\r\n\r\n".to_owned()),
        (400, "\x16\x03\x01\x02\x00\x01\r\n\r\n".to_owned()),
        (431, get(&format!("X: {}", "a".repeat(9_000)))),
        (431, get(&format!("X: {}", "a".repeat(100_000)))),
        (431, get(&"X: a\r\n".repeat(61))),
        (403, get("X-Forwarded-For: 203.0.113.1")),
        (403, get("x_forwarded_for: 203.0.113.1")),
        (403, get("Via: 1.1 gateway")),
        (403, get("Forwarded: for=203.0.113.1")),
        (405, "CONNECT example.com:443 HTTP/1.1\r\n\r\n".to_owned()),
        (405, "TRACE / HTTP/1.1\r\n\r\n".to_owned()),
    ] {
        let answer = ask(listening, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{request}: {answer}");
    }
    assert!(site.heads.try_recv().is_err(), "the site has seen one of them");
    // What stands behind a request is not another one.
    let behind = "GET /first HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET /behind HTTP/1.1\r\n\r\n";
    assert!(ask(listening, behind.as_bytes()).await.starts_with("HTTP/1.1 200"));
    assert!(site.heads.recv().await.unwrap().starts_with("GET /first"));
    // Chunks that are none end the request.
    let chunks = "PUT /chunks HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx\r\n\r\nGET /behind HTTP/1.1\r\n\r\n";
    ask(listening, chunks.as_bytes()).await;
    while let Ok(head) = site.heads.try_recv() {
        assert!(!head.contains("/behind"), "{head}");
    }
}

/// The limit of posts is told, and pages are still to be had.
async fn posts(site: &mut Site, listening: SocketAddr) {
    // One was in the hostile requests.
    for status in [200, 200, 429] {
        let answer = ask(listening, b"POST /post HTTP/1.1\r\nContent-Length: 2\r\n\r\nab").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
    assert!(ask(listening, b"GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    while site.heads.try_recv().is_ok() {}
}

/// Who does not read holds up nobody else and is not written to for ever; who says nothing takes a place and no more.
async fn slow_and_idle(site: &Site, servers: &Tunnels, listening: SocketAddr) {
    let mut slow = TcpStream::connect(listening).await.unwrap();
    slow.write_all(b"GET /large HTTP/1.1\r\n\r\n").await.unwrap();
    slow.read_exact(&mut [0; 16]).await.unwrap();
    assert!(ask(listening, b"GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
    until(servers, "site", |info| info.stats.connections == 1).await;
    let mut idle = Vec::new();
    for _ in 1..VISITORS {
        idle.push(TcpStream::connect(listening).await.unwrap());
    }
    until(servers, "site", |info| info.stats.connections == u64::from(VISITORS)).await;
    let before = servers.get("site").unwrap().stats.refused_limits;
    assert_eq!(ask(listening, b"GET / HTTP/1.1\r\n\r\n").await, "");
    assert_eq!(servers.get("site").unwrap().stats.refused_limits, before + 1);
    let mut written = (0, 1);
    while written.0 != written.1 && written.1 < LARGE {
        tokio::time::sleep(Duration::from_millis(500)).await;
        written = (written.1, site.written.load(std::sync::atomic::Ordering::Relaxed));
    }
    assert!(written.1 < LARGE, "all of it was taken from the site for somebody who does not read");
    drop((slow, idle));
    until(servers, "site", |info| info.stats.connections == 0).await;
    assert!(ask(listening, b"GET / HTTP/1.1\r\n\r\n").await.starts_with("HTTP/1.1 200"));
}

/// A site that is also a proxy asks others as itself.
async fn both_ways(site: &mut Site, clients: &Tunnels, b32: &str) {
    while site.heads.try_recv().is_ok() {}
    let mut both = client("both", Kind::HttpBidir, "");
    both.target = vec![site.address.to_string()];
    clients.add(both).unwrap();
    let info = ready(clients, "both").await;
    let request = format!("GET http://{b32}/both HTTP/1.1\r\n\r\n");
    assert!(ask(info.listening.unwrap(), request.as_bytes()).await.starts_with("HTTP/1.1 200"));
    let head = site.heads.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.contains(&format!("x-i2p-destb32: {}\r\n", info.b32.unwrap())), "{head}");
}

/// An IRC server that shows the lines that it gets, and greets with a question that must not arrive.
async fn ircd() -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (sink, lines) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let sink = sink.clone();
            tokio::spawn(async move {
                let greeting = b":you!a@b PRIVMSG me :\x01VERSION\x01\r\n:irc.i2p 001 me :Welcome\r\n";
                stream.write_all(greeting).await.unwrap();
                let mut text = String::new();
                let _ = stream.read_to_string(&mut text).await;
                text.lines().for_each(|line| sink.send(line.to_owned()).unwrap());
            });
        }
    });
    (address, lines)
}

#[test]
fn irc_tells_servers_who_comes_and_nothing_else() {
    on_network(6, &[], async |network| {
        let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (clients, servers) =
            (tunnels(network.client(0), here.path()), tunnels(network.client(3), there.path()));
        let (address, mut lines) = ircd().await;
        let mut config = server("irc", Kind::IrcServer, address);
        config.webirc_password = Some(aioli_apps::tunnels::Secret::new("secret"));
        servers.add(config.clone()).unwrap();
        assert!(!format!("{:?}", servers.list()).contains("secret"));
        let b32 = ready(&servers, "irc").await.b32.unwrap();
        let mut to = client("irc", Kind::IrcClient, &format!("{b32}:6667"));
        to.keys = Some("me".to_owned());
        clients.add(to).unwrap();
        let me = ready(&clients, "irc").await;
        let mut program = TcpStream::connect(me.listening.unwrap()).await.unwrap();
        let said = "NICK me\r\nUSER me laptop.lan irc.i2p :Me\r\nWEBIRC secret x laptop 192.168.1.2\r\n\
                    PRIVMSG #i2p :hello\r\nPRIVMSG you :\x01DCC SEND x 1 2 3\x01\r\nPING 1 192.168.1.2\r\nQUIT :irssi\r\n";
        program.write_all(said.as_bytes()).await.unwrap();
        let mut heard = vec![0; ":irc.i2p 001 me :Welcome\r\n".len()];
        tokio::time::timeout(PATIENCE, program.read_exact(&mut heard)).await.unwrap().unwrap();
        assert_eq!(String::from_utf8_lossy(&heard), ":irc.i2p 001 me :Welcome\r\n", "CTCP has arrived");
        program.shutdown().await.unwrap();
        let mut seen = Vec::new();
        while seen.last() != Some(&"QUIT :leaving".to_owned()) {
            seen.push(tokio::time::timeout(PATIENCE, lines.recv()).await.unwrap().unwrap());
        }
        let own = me.b32.unwrap();
        let expected = [
            format!("WEBIRC secret cgiirc {own} 127.0.0.1"),
            "NICK me".to_owned(),
            format!("USER me {own} * :Me"),
            "PRIVMSG #i2p :hello".to_owned(),
            "PING :1".to_owned(),
            "QUIT :leaving".to_owned(),
        ];
        assert_eq!(seen, expected);
        // A change that shows the password masked keeps it.
        let shown = servers.get("irc").unwrap().config;
        servers.change("irc", shown).unwrap();
        let kept = TunnelsFile::of(there.path()).read().tunnels.remove(0);
        assert_eq!(kept, config);
    });
}

/// Runs `i2p-tunnel`; gives its status and all that it says.
fn i2p_tunnel(dir: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_i2p-tunnel"));
    let output = command.env_clear().args(args).arg("--data-dir").arg(dir).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn a_tunnel_is_described_in_a_line_and_the_router_follows() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let (status, said) = i2p_tunnel(&dir, &["add", "site", "http-server", "--target", "127.0.0.1:8080"]);
    let b32 = said.split_whitespace().last().unwrap().to_owned();
    assert!(status == Some(0) && b32.ends_with(".b32.i2p"), "{said}");
    let keys = dir.join("destinations/site.dat");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&keys), mode(&dir.join("tunnels.toml")), mode(&dir)), (0o600, 0o600, 0o700));
    for (args, why) in [
        (&["add", "site", "socks", "--listen", "127.0.0.1:1"][..], "already"),
        (&["add", "x", "client", "--listen", "127.0.0.1:1"], "destination"),
        (&["add", "x", "tunnel"], "give one of"),
        (&["remove", "x"], "\"x\""),
        (&["start", "x"], "\"x\""),
    ] {
        let (status, said) = i2p_tunnel(&dir, args);
        assert!(status != Some(0) && said.contains(why) && said.lines().count() == 1, "{args:?}: {said}");
    }
    let mut router = router(
        env!("CARGO_BIN_EXE_i2p-router"),
        &dir,
        &["--port", "0", "--no-sam", "--no-http-proxy", "--no-socks-proxy"],
    );
    router.stderr(std::fs::File::create(root.path().join("log")).unwrap());
    let mut router = Program::start(router);
    assert!(router.says("tunnel \"site\"").contains(&b32));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let (status, said) =
        i2p_tunnel(&dir, &["add", "irc", "irc-client", "--listen", &free, "--destination", &b32]);
    assert_eq!(status, Some(0), "{said}");
    // It listens when the router has seen the file.
    eventually("the tunnel listens", PATIENCE, || std::net::TcpStream::connect(&free).ok());
    let (_, said) = i2p_tunnel(&dir, &["list"]);
    assert!(said.lines().count() == 2 && said.contains(&free) && said.contains(&b32), "{said}");
    assert_eq!(i2p_tunnel(&dir, &["remove", "irc"]).0, Some(0));
    eventually("nothing listens any more", PATIENCE, || std::net::TcpStream::connect(&free).err());
    std::fs::write(dir.join("tunnels.conf"), "[x]\ntype = client\nport = 0\n").unwrap();
    let log = || std::fs::read_to_string(root.path().join("log")).unwrap();
    eventually("the mistake is named", PATIENCE, || {
        log().contains("tunnels.conf, section [x]: destination is missing; left out").then_some(())
    });
    router.stops();
}

#[test]
fn a_tunnel_runs_over_sam_from_a_command_line_alone() {
    on_network(6, &[1], async |network| {
        let there = tempfile::tempdir().unwrap();
        let servers = tunnels(network.client(3), there.path());
        servers.add(server("echo", Kind::Server, echo().await)).unwrap();
        let b32 = ready(&servers, "echo").await.b32.unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let here = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_i2p-tunnel"));
        command.env_clear().args(["start", "--type", "client", "--listen", &free, "--destination", &b32]);
        command.args(["--sam", &network.sam()[0].to_string(), "--data-dir"]).arg(here.path());
        let program = tokio::task::spawn_blocking(move || {
            let mut program = Program::start(command);
            program.says("it can be used");
            program
        });
        let program = program.await.unwrap();
        hears(&mut TcpStream::connect(&free).await.unwrap(), b"by SAM").await;
        tokio::task::spawn_blocking(move || program.stops()).await.unwrap();
    });
}
