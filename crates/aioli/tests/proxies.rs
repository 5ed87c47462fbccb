//! The HTTP and SOCKS proxies over a whole private network in this process:
//! what a browser does, and what a hostile page would have it do.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use aioli::services::session_options;
use aioli::testnet::Network;
use aioli_apps::address_book::{AddressBook, List, subscribe};
use aioli_apps::http::HttpOptions;
use aioli_apps::names::HostName;
use aioli_apps::resolve::Naming;
use aioli_apps::{Apps, AppsConfig, site};
use aioli_node::embed::{Client, Session, Stream};
use aioli_router::client::{SessionOptions, TunnelOptions};
use aioli_wire::base32;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Connections that the HTTP proxy of the test takes at once.
const CONNECTIONS: usize = 64;

fn options(publish: bool) -> SessionOptions {
    let tunnels = TunnelOptions { length: 2, variance: 0, quantity: 2, backup: 0, kbps: 0 };
    session_options(tunnels, tunnels, publish)
}

/// What the tests need.
struct World {
    apps: Apps,
    http: SocketAddr,
    socks: SocketAddr,
    /// The destination of `hello.i2p`, as a b32 name.
    hello: String,
    /// That of `raw.i2p`.
    raw: Session,
    /// The heads that `raw.i2p` has seen.
    heads: mpsc::UnboundedReceiver<String>,
    book: Arc<AddressBook>,
    directory: tempfile::TempDir,
}

async fn world(client: Client, host: Client) -> World {
    let directory = tempfile::tempdir().unwrap();
    let book = Arc::new(AddressBook::open(directory.path()).unwrap());
    let hello = host.session(options(true)).await.unwrap();
    let raw = host.session(options(true)).await.unwrap();
    for (name, session) in [("hello.i2p", &hello), ("raw.i2p", &raw)] {
        session.ready(PATIENCE).await.unwrap();
        book.set(List::User, &HostName::parse(name).unwrap(), session.destination()).unwrap();
    }
    tokio::spawn(site::serve(hello.listen().await.unwrap()));
    let (sink, heads) = mpsc::unbounded_channel();
    let mut listener = raw.listen().await.unwrap();
    tokio::spawn(async move {
        while let Ok(stream) = listener.accept().await {
            tokio::spawn(raw_site(stream, sink.clone()));
        }
    });
    let listen = || Some(aioli_node::bind(SocketAddr::from(([127, 0, 0, 1], 0)), "a test", "none").unwrap());
    let config = AppsConfig {
        http: listen(),
        http_options: HttpOptions { max_connections: CONNECTIONS, ..HttpOptions::default() },
        socks: listen(),
        max_socks_connections: CONNECTIONS,
        session: options(false),
        naming: Arc::new(Naming::new(Arc::clone(&book))),
        subscriptions: None,
    };
    let apps = Apps::start(config, client).unwrap();
    let (http, socks) = (apps.http.unwrap(), apps.socks.unwrap());
    let hello = base32::host_name(&hello.destination().hash());
    World { apps, http, socks, hello, raw, heads, book, directory }
}

/// A site that shows what it gets, and answers by the path.
async fn raw_site(mut stream: Stream, sink: mpsc::UnboundedSender<String>) {
    let head = read_head(&mut stream).await;
    sink.send(head.clone()).unwrap();
    if head.starts_with("GET /socket") {
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
            )
            .await
            .unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
    } else if head.starts_with("POST /count") {
        let mut body = Vec::new();
        while !body.ends_with(b"end") && !body.ends_with(b"end\r\n0\r\n\r\n") {
            assert!(stream.read_buf(&mut body).await.unwrap() > 0);
        }
        let counted = body.iter().filter(|b| **b == b'x').count().to_string();
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{counted}", counted.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
    } else if head.starts_with("GET /hosts.txt") {
        let answer = if head.contains("\"v1\"") {
            "HTTP/1.1 304 Not Modified\r\nETag: \"v1\"\r\n\r\n".to_owned()
        } else {
            let line = format!("new.i2p={}\n", stream.peer_destination().unwrap().to_base64());
            format!("HTTP/1.1 200 OK\r\nETag: \"v1\"\r\nContent-Length: {}\r\n\r\n{line}", line.len())
        };
        stream.write_all(answer.as_bytes()).await.unwrap();
    } else if head.starts_with("CONNECT") {
        // As an outproxy would, it is the other end as well here.
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
        let inner = read_head(&mut stream).await;
        stream.write_all(format!("inside: {inner}").as_bytes()).await.unwrap();
    } else if head.starts_with("GET /nonsense") {
        stream.write_all(b"what is this?\r\n\r\n").await.unwrap();
    } else if !head.starts_with("GET /silent") {
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nAlt-Svc: clear=\"example.com:1\"\r\nContent-Length: 2\r\n\r\nok")
            .await
            .unwrap();
    }
    stream.shutdown().await.unwrap();
    // What was written is taken before the stream goes.
    let _ = stream.read(&mut [0; 1]).await;
}

async fn read_head(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Sends bytes to a proxy and gives all that comes back.
async fn say(proxy: SocketAddr, request: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    // The proxy may have refused before all is written.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    answer
}

async fn ask(proxy: SocketAddr, request: &str) -> String {
    String::from_utf8_lossy(&say(proxy, request).await).into_owned()
}

async fn get(proxy: SocketAddr, url: &str) -> String {
    ask(proxy, &format!("GET {url} HTTP/1.1\r\nHost: ignored.i2p\r\n\r\n")).await
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_default()
}

fn location(answer: &str) -> String {
    let line =
        answer.lines().find_map(|l| l.split_once(": ").filter(|(k, _)| k.eq_ignore_ascii_case("location")));
    line.unwrap_or_else(|| panic!("no redirect: {answer}")).1.to_owned()
}

#[test]
fn sites_of_i2p_open_and_nothing_else_does() {
    let mut network = Network::start(6, &[]).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        network.wait_until_usable(PATIENCE).await.unwrap();
        let mut world = world(network.client(0), network.client(3)).await;
        pages(&mut world).await;
        uploads_and_sockets(&mut world).await;
        helpers(&world).await;
        hostile(&mut world).await;
        socks(&world).await;
        subscriptions(&world).await;
        crowd(&world).await;
        slow_readers(&world).await;
        outproxy(&mut world, network.client(1)).await;
        drop((world, network));
    });
}

async fn pages(world: &mut World) {
    let front = get(world.http, "http://hello.i2p/").await;
    assert!(status(&front) == 200 && front.contains("Hello from the other side"), "{front}");
    assert_eq!(status(&get(world.http, &format!("http://{}/", world.hello)).await), 200);
    assert_eq!(status(&get(world.http, "http://HELLO.i2p.alt:80/none").await), 404);
    let large = say(world.http, "GET http://hello.i2p/20mb.bin HTTP/1.1\r\n\r\n").await;
    assert!(large.ends_with(&site::large_file()), "{} bytes of 20 MB came", large.len());
    // Through CONNECT, as for https.
    let tunnel = "CONNECT hello.i2p:80 HTTP/1.1\r\nHost: hello.i2p:80\r\n\r\n";
    let inside = ask(world.http, &format!("{tunnel}GET / HTTP/1.0\r\n\r\n")).await;
    assert!(inside.starts_with("HTTP/1.1 200") && inside.contains("Hello from the other side"), "{inside}");
    // What a site sees, and what a browser sees of it.
    let request = "GET http://raw.i2p/a?b=c HTTP/1.1\r\nHost: other.i2p\r\nUser-Agent: Me/1.0\r\nReferer: http://x.i2p/\r\n\
                   Accept-Language: de\r\nX-Forwarded-For: 10.0.0.1\r\nVia: 1.1 me\r\nCookie: c=1\r\n\r\n";
    let answer = ask(world.http, request).await;
    assert!(status(&answer) == 200 && answer.ends_with("ok"), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("alt-svc"), "{answer}");
    let mut seen: Vec<_> = world.heads.recv().await.unwrap().trim().lines().map(str::to_owned).collect();
    assert_eq!(seen.remove(0), "GET /a?b=c HTTP/1.1");
    seen.sort();
    assert_eq!(seen, ["Connection: close", "Cookie: c=1", "Host: raw.i2p", "User-Agent: MYOB/6.66 (AN/ON)"]);
    // What a site cannot do.
    assert_eq!(status(&get(world.http, "http://raw.i2p/nonsense").await), 502);
    assert_eq!(status(&get(world.http, "http://raw.i2p/silent").await), 502);
    let unknown = get(world.http, "http://unknown.i2p/page").await;
    assert!(status(&unknown) == 404 && unknown.contains("reg.i2p/jump/unknown%2Ei2p"), "{unknown}");
    assert!(get(world.http, "http://proxy.i2p/").await.contains("Connected to I2P"));
    while world.heads.try_recv().is_ok() {}
}

async fn uploads_and_sockets(world: &mut World) {
    let xs = "x".repeat(200_000);
    let length = format!("Content-Length: {}\r\n\r\n{xs}end", xs.len() + 3);
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{xs}end\r\n0\r\n\r\n", xs.len() + 3);
    for framing in [length, chunked] {
        let answer = ask(
            world.http,
            &format!("POST http://raw.i2p/count HTTP/1.1\r\nExpect: 100-continue\r\n{framing}"),
        )
        .await;
        assert!(answer.ends_with("\r\n\r\n200000"), "{answer}");
    }
    let socket = "GET http://raw.i2p/socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AA==\r\n\r\nhello";
    let answer = ask(world.http, socket).await;
    assert!(status(&answer) == 101 && answer.ends_with("\r\n\r\nhello"), "{answer}");
    while world.heads.try_recv().is_ok() {}
}

/// A link that says what a name stands for is believed after the user has said so.
async fn helpers(world: &World) {
    let (http, hello) = (world.http, &world.hello);
    let link = format!("http://new.i2p/none?a=b&i2paddresshelper={hello}");
    let question = location(&get(http, &link).await);
    assert!(question.starts_with("http://proxy.i2p/helper?"), "{question}");
    assert_eq!(status(&get(http, "http://new.i2p/").await), 404, "not believed yet");
    let page = get(http, &question).await;
    assert!(
        status(&page) == 200 && page.contains(hello) && page.contains("frame-ancestors 'none'"),
        "{page}"
    );
    // With any less the browser keeps its origin from the proxy, which then takes the answer for a stranger's.
    assert!(page.to_ascii_lowercase().contains("\r\nreferrer-policy: same-origin\r\n"), "{page}");
    let field = |name: &str| {
        let at = page.split(&format!("name={name} value=\"")).nth(1).unwrap();
        at.split('"').next().unwrap().replace("&amp;", "&")
    };
    let encoded = |text: &str| text.bytes().map(|b| format!("%{b:02x}")).collect::<String>();
    let form = |token: &str, host: &str, action: &str, headers: &str| {
        let fields =
            [("token", token), ("host", host), ("dest", hello), ("url", &field("url")), ("action", action)];
        let body = fields.map(|(k, v)| format!("{k}={}", encoded(v))).join("&");
        format!(
            "POST http://proxy.i2p/helper HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let token = field("token");
    for forged in [
        form(&"0".repeat(64), "new.i2p", "once", ""),
        form(&token, "bank.i2p", "save", ""),
        form(&token, "new.i2p", "save", "Origin: http://evil.i2p\r\n"),
        form(&token, "new.i2p", "save", "Origin: null\r\n"),
    ] {
        assert_eq!(status(&ask(http, &forged).await), 403, "{forged}");
    }
    let accepted = ask(http, &form(&token, "new.i2p", "once", "Origin: http://proxy.i2p\r\n")).await;
    assert_eq!(location(&accepted), "http://new.i2p/none?a=b");
    assert!(get(http, "http://new.i2p/").await.contains("Hello from the other side"));
    assert!(world.book.lookup("new.i2p").is_none(), "only once");
    ask(http, &form(&token, "new.i2p", "save", "")).await;
    assert_eq!(world.book.lookup("new.i2p").unwrap().0, world.book.lookup("hello.i2p").unwrap().0);
    world.book.change(List::User, |book, _| book.remove("new.i2p")).unwrap();
    // A name that is known is not taken over.
    let raw = base32::host_name(&world.raw.destination().hash());
    assert_eq!(status(&get(http, &format!("http://hello.i2p/?i2paddresshelper={raw}")).await), 409);
    assert_eq!(
        location(&get(http, &format!("http://hello.i2p/?i2paddresshelper={hello}")).await),
        "http://hello.i2p/"
    );
    assert_eq!(status(&get(http, "http://x.i2p/?i2paddresshelper=nonsense").await), 400);
}

/// None of this may reach a site, and none of it anything on this computer.
async fn hostile(world: &mut World) {
    let canary = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = canary.local_addr().unwrap().port();
    let mut expected = vec![
        (403, "GET http://example.com/ HTTP/1.1\r\n\r\n".to_owned()),
        (403, "CONNECT example.com:443 HTTP/1.1\r\n\r\n".to_owned()),
        (403, "GET http://raw.i2p.example.com/ HTTP/1.1\r\nHost: raw.i2p\r\n\r\n".to_owned()),
        (400, format!("GET http://127.0.0.1:{port}@raw.i2p/ HTTP/1.1\r\n\r\n")),
        (400, format!("GET http://raw.i2p@127.0.0.1:{port}/ HTTP/1.1\r\n\r\n")),
        (400, format!("GET ftp://127.0.0.1:{port}/ HTTP/1.1\r\n\r\n")),
        (400, "GET https://raw.i2p/ HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET / HTTP/1.1\r\nHost: raw.i2p\r\n\r\n".to_owned()),
        (400, "CONNECT raw.i2p HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET http://raw.i2p/<script> HTTP/1.1\r\n\r\n".to_owned()),
        (400, "GET http://raw.i2p/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (400, "GET http://raw.i2p/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n".to_owned()),
        (400, "GET http://raw.i2p/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd".to_owned()),
        (400, "GET http://raw.i2p/ HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (400, "GET http://raw.i2p/ HTTP/1.1\nHost: raw.i2p\r\n\r\n".to_owned()),
        (431, format!("GET http://raw.i2p/ HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(40_000))),
        (431, format!("GET http://raw.i2p/ HTTP/1.1\r\n{}\r\n", "X: a\r\n".repeat(61))),
        (400, "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned()),
    ];
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "a.localhost",
    ] {
        expected.push((403, format!("GET http://{host}:{port}/ HTTP/1.1\r\n\r\n")));
        expected.push((403, format!("CONNECT {host}:{port} HTTP/1.1\r\n\r\n")));
        expected.push((
            403,
            format!(
                "GET http://{host}:{port}/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            ),
        ));
    }
    for (code, request) in &expected {
        let answer = ask(world.http, request).await;
        assert_eq!(status(&answer), *code, "{request}: {answer}");
    }
    assert!(world.heads.try_recv().is_err(), "a site has seen one of them");
    // A second request behind the first one's body goes nowhere.
    let behind = "POST http://raw.i2p/a HTTP/1.1\r\nContent-Length: 0\r\n\r\nGET http://raw.i2p/behind HTTP/1.1\r\n\r\n";
    assert_eq!(status(&ask(world.http, behind).await), 200);
    assert!(world.heads.recv().await.unwrap().starts_with("POST /a"));
    assert!(world.heads.try_recv().is_err(), "a site has seen what stood behind a request");
    let reached = tokio::time::timeout(Duration::ZERO, canary.accept()).await;
    assert!(reached.is_err(), "something on this computer was connected to");
    let stats = world.apps.stats().http;
    assert!(stats.bad_requests >= 7 && stats.outside >= 27, "{stats:?}");
}

async fn socks(world: &World) {
    let page = "GET / HTTP/1.0\r\n\r\n";
    let five = |host: &str, port: u16| {
        let mut bytes = vec![5, 1, 0, 5, 1, 0, 3, u8::try_from(host.len()).unwrap()];
        bytes.extend_from_slice(host.as_bytes());
        bytes.extend_from_slice(&port.to_be_bytes());
        bytes
    };
    let exchange = async |bytes: Vec<u8>| {
        let mut stream = TcpStream::connect(world.socks).await.unwrap();
        // The proxy may have refused before all is written.
        let _ = stream.write_all(&[&*bytes, page.as_bytes()].concat()).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        answer
    };
    for host in ["hello.i2p", &world.hello] {
        let answer = exchange(five(host, 80)).await;
        assert!(answer.starts_with(&[5, 0, 5, 0, 0, 1, 0, 0, 0, 0, 0, 0]), "{answer:?}");
        assert!(String::from_utf8_lossy(&answer).contains("Hello from the other side"));
    }
    let answer = exchange(b"\x04\x01\x00\x50\x00\x00\x00\x01me\x00hello.i2p\x00".to_vec()).await;
    assert!(answer.starts_with(&[0, 90, 0, 0, 0, 0, 0, 0]), "{answer:?}");
    assert!(String::from_utf8_lossy(&answer).contains("Hello from the other side"));
    for (request, code) in [
        (five("example.com", 80), 2),
        (five("127.0.0.1", 80), 2),
        (five("unknown.i2p", 80), 4),
        (b"\x05\x01\x00\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50".to_vec(), 2),
        (b"\x05\x01\x00\x05\x02\x00\x03\x05a.i2p\x00\x50".to_vec(), 7),
        (b"\x05\x01\x00\x05\x01\x00\x09".to_vec(), 8),
    ] {
        let answer = exchange(request.clone()).await;
        assert_eq!(answer.get(2..4), Some(&[5, code][..]), "{request:?}: {answer:?}");
    }
    assert_eq!(exchange(b"\x05\x01\x02".to_vec()).await.get(..2), Some(&[5, 0xff][..]));
    assert_eq!(exchange(b"\x04\x01\x00\x50\x7f\x00\x00\x01me\x00".to_vec()).await.get(1), Some(&91));
    assert_eq!(exchange(b"GET / HTTP/1.0\r\n\r\n".to_vec()).await, b"");
}

/// A feed comes through the proxy, once as long as nothing is new.
async fn subscriptions(world: &World) {
    let dir = world.directory.path();
    std::fs::write(dir.join("subscriptions.txt"), "http://raw.i2p/hosts.txt\n").unwrap();
    for (unchanged, changed) in [(false, 1), (true, 0)] {
        let mut reports = Vec::new();
        let tell = |_: &str, report: Result<subscribe::Report, _>| reports.push(report.unwrap());
        assert!(subscribe::fetch_all(&world.book, dir, world.http, tell).await.unwrap());
        assert_eq!(reports, [subscribe::Report { unchanged, changed, ..subscribe::Report::default() }]);
    }
    assert_eq!(world.book.lookup("new.i2p").unwrap().1, List::Hosts);
}

/// Idle connections keep others out only as long as they last, and are counted.
async fn crowd(world: &World) {
    let until = async |connections: u64| {
        while world.apps.stats().http.connections != connections {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, until(0)).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(TcpStream::connect(world.http).await.unwrap());
    }
    tokio::time::timeout(PATIENCE, until(CONNECTIONS as u64)).await.unwrap();
    let before = world.apps.stats().http.refused_connections;
    assert_eq!(get(world.http, "http://hello.i2p/").await, "");
    assert_eq!(world.apps.stats().http.refused_connections, before + 1);
    drop(idle);
    tokio::time::timeout(PATIENCE, until(0)).await.unwrap();
    assert_eq!(status(&get(world.http, "http://hello.i2p/").await), 200);
}

/// Who does not read slows nobody else.
async fn slow_readers(world: &World) {
    let mut slow = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(world.http).await.unwrap();
        stream.write_all(b"GET http://hello.i2p/20mb.bin HTTP/1.1\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 16]).await.unwrap();
        slow.push(stream);
    }
    assert_eq!(status(&get(world.http, "http://hello.i2p/").await), 200);
    let large = say(world.http, "GET http://hello.i2p/20mb.bin HTTP/1.1\r\n\r\n").await;
    assert!(large.ends_with(&site::large_file()), "{} bytes of 20 MB came", large.len());
    let only_they_are_there = async {
        while world.apps.stats().http.connections != slow.len() as u64 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, only_they_are_there).await.unwrap();
}

/// What is not of I2P goes to the outproxy that the user has named, and what is of this computer goes nowhere.
async fn outproxy(world: &mut World, client: Client) {
    let config = AppsConfig {
        http: Some(aioli_node::bind(SocketAddr::from(([127, 0, 0, 1], 0)), "a test", "none").unwrap()),
        http_options: HttpOptions { outproxies: vec!["raw.i2p".to_owned()], ..HttpOptions::default() },
        socks: None,
        max_socks_connections: 0,
        session: options(false),
        naming: Arc::new(Naming::new(Arc::clone(&world.book))),
        subscriptions: None,
    };
    let apps = Apps::start(config, client).unwrap();
    let http = apps.http.unwrap();
    while world.heads.try_recv().is_ok() {}
    assert!(get(http, "http://example.com/a?b").await.ends_with("ok"));
    let mut seen: Vec<_> = world.heads.recv().await.unwrap().trim().lines().map(str::to_owned).collect();
    assert_eq!(seen.remove(0), "GET http://example.com/a?b HTTP/1.1");
    assert!(
        seen.contains(&"Host: example.com".to_owned()) && !seen.iter().any(|l| l.contains("MYOB")),
        "{seen:?}"
    );
    let answer = ask(http, "CONNECT example.com:443 HTTP/1.1\r\n\r\nHELLO\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("inside: HELLO\r\n\r\n"), "{answer}");
    assert_eq!(
        world.heads.recv().await.unwrap(),
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n\r\n"
    );
    for host in ["localhost", "127.0.0.1", "printer", "192.168.1.1", "[::1]"] {
        assert_eq!(status(&get(http, &format!("http://{host}/")).await), 403, "{host}");
        assert_eq!(status(&ask(http, &format!("CONNECT {host}:443 HTTP/1.1\r\n\r\n")).await), 403, "{host}");
    }
    assert!(world.heads.try_recv().is_err(), "the outproxy was asked for something on this computer");
}
