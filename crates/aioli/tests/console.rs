//! The console over a private network and over a router that knows nobody: what it shows, what its documentation says
//! of it, and what hostile clients and pages get.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aioli::services::session_options;
use aioli::testnet::Network;
use aioli::top;
use aioli_apps::address_book::{AddressBook, List};
use aioli_apps::console::model::{Overview, Service, Setting, Token};
use aioli_apps::console::password::Password;
use aioli_apps::console::{Console, ConsoleConfig, Journal};
use aioli_apps::names::HostName;
use aioli_apps::resolve::Naming;
use aioli_apps::tunnels::{Defaults, Tunnels, TunnelsConfig};
use aioli_core::Rng;
use aioli_node::embed::Client;
use aioli_node::{Node, NodeConfig, Notice, bind, entropy};
use aioli_router::client::TunnelOptions;
use aioli_router::{Config, Identity};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sends bytes and gives all that comes back.
async fn say(at: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    // The console may have refused before all is written.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request with these further headers.
async fn ask(at: SocketAddr, method: &str, path: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let host = if headers.contains("Host:") { String::new() } else { format!("Host: {at}\r\n") };
    say(at, format!("{method} {path} HTTP/1.1\r\n{host}{headers}{length}\r\n{body}").as_bytes()).await
}

async fn get(at: SocketAddr, path: &str) -> String {
    ask(at, "GET", path, "", "").await
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

async fn json(at: SocketAddr, name: &str) -> Value {
    let answer = get(at, &format!("/api/v1/{name}")).await;
    assert_eq!(status(&answer), 200, "{name}: {answer}");
    serde_json::from_str(body(&answer)).unwrap()
}

/// A console over a router, with a name and a setting to show.
fn console(
    client: Client,
    address: &str,
    password: Option<Password>,
) -> (Console, Arc<AddressBook>, Arc<Journal>) {
    let (book, journal) = (Arc::new(AddressBook::in_memory()), Arc::new(Journal::default()));
    let text = |text: &str| text.to_owned();
    let of_all = TunnelOptions { length: 2, variance: 0, quantity: 2, backup: 0, kbps: 0 };
    let tunnels = Tunnels::start(TunnelsConfig {
        way: client.clone().into(),
        naming: Arc::new(Naming::new(Arc::clone(&book))),
        defaults: Defaults { inbound: of_all, outbound: of_all },
        data_dir: None,
        file: None,
        i2pd: None,
        configured: Vec::new(),
    });
    let tunnels = tunnels.unwrap();
    let setting = Setting {
        name: text("port"),
        value: text("<9700>"),
        source: text("default"),
        help: text("Where others come"),
        live: false,
    };
    let service = Service {
        name: text("http-proxy"),
        what: text("HTTP proxy for browsers"),
        address: text("127.0.0.1:4444"),
    };
    let config = ConsoleConfig {
        listener: bind(address.parse().unwrap(), "a test", "none").unwrap(),
        password,
        journal: Arc::clone(&journal),
        book: Some(Arc::clone(&book)),
        tunnels: Some(tunnels),
        settings: vec![setting],
        services: vec![service],
    };
    (Console::start(config, client).unwrap(), book, journal)
}

/// A router that knows nobody and listens nowhere.
fn lonely() -> Node {
    let identity = Identity::generate(&mut Rng::from_seed(entropy()));
    let config = Config { net_id: 99, private_network: true, ssu2: false, ..Config::default() };
    Node::start(NodeConfig::new(config, identity)).unwrap()
}

/// What the documentation shows is of the same shape as what there is.
fn same_shape(documented: &Value, real: &Value, at: &str) {
    match (documented, real) {
        (Value::Object(documented), Value::Object(real)) => {
            let keys = |o: &serde_json::Map<String, Value>| o.keys().cloned().collect::<Vec<_>>();
            assert_eq!(keys(documented), keys(real), "{at}");
            documented.iter().for_each(|(key, value)| same_shape(value, &real[key], &format!("{at}.{key}")));
        }
        (Value::Array(documented), Value::Array(real)) => {
            assert!(!documented.is_empty(), "{at}: an example shows an entry");
            if let Some(real) = real.first() {
                same_shape(&documented[0], real, &format!("{at}[]"));
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        _ => assert_eq!(
            std::mem::discriminant(documented),
            std::mem::discriminant(real),
            "{at}: {documented} and {real}"
        ),
    }
}

fn documentation(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(file)).unwrap()
}

/// Each example of the documentation, by the name of what is asked for.
fn examples() -> Vec<(String, Value)> {
    let text = documentation("docs/console.md");
    let sections = text.split("### `GET /api/v1/").skip(1);
    sections
        .map(|section| {
            let name = section.split('`').next().unwrap().to_owned();
            let example = section.split("```json\n").nth(1).unwrap().split("```").next().unwrap();
            (name, serde_json::from_str(example).unwrap())
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_shown_as_it_is() {
    let mut network = Network::start(6, &[]).unwrap();
    network.wait_until_usable(PATIENCE).await.unwrap();
    let (console, book, journal) = console(network.client(0), "127.0.0.1:0", None);
    let at = console.address;
    journal.note(&Notice::Remembered { routers: 3 });
    journal.log("a <line> of the log");
    let tunnels = TunnelOptions { length: 2, variance: 0, quantity: 2, backup: 0, kbps: 0 };
    let session = network.client(0).session(session_options(tunnels, tunnels, true)).await.unwrap();
    session.ready(PATIENCE).await.unwrap();
    book.set(List::User, &HostName::parse("site.i2p").unwrap(), session.destination()).unwrap();

    tunnel_by_api(at).await;

    let overview: Overview = serde_json::from_value(json(at, "overview").await).unwrap();
    assert_eq!(overview.state.code, "ready", "{overview:?}");
    assert!(overview.sessions.all > 0 && overview.netdb.routers == 5, "{overview:?}");
    pages(at).await;
    api(at).await;
    metrics(at).await;
    let health = get(at, "/health").await;
    assert!(status(&health) == 200 && body(&health) == "ready\n", "{health}");
    once(at).await;

    drop(session);
    drop(network);
    for (path, said) in [
        ("/health", "stopped: "),
        ("/", "The router has stopped"),
        ("/api/v1/sessions", "the router has stopped"),
    ] {
        // What was seen is shown for a second.
        let stopped = async {
            while !get(at, path).await.contains(said) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, stopped).await.unwrap_or_else(|_| panic!("{path} does not say it"));
    }
    assert_eq!(status(&get(at, "/health").await), 503);
}

/// A change, with all that it needs.
async fn change(at: SocketAddr, path: &str, body: &str) -> String {
    let token: Token = serde_json::from_value(json(at, "token").await).unwrap();
    let headers = format!("X-Aioli-Token: {}\r\nContent-Type: application/json\r\n", token.token);
    ask(at, "POST", &format!("/api/v1/services/{path}"), &headers, body).await
}

/// A client tunnel is added, stopped and started.
async fn tunnel_by_api(at: SocketAddr) {
    let described =
        "{\"name\":\"shell\",\"type\":\"client\",\"listen\":\"127.0.0.1:0\",\"destination\":\"site.i2p\"}";
    let state = async || json(at, "services").await["tunnels"][0]["state"].clone();
    let added = change(at, "add", described).await;
    assert!(status(&added) == 200 && body(&added).contains("shell added"), "{added}");
    assert_eq!(status(&change(at, "add", described).await), 409, "there is one of that name");
    assert_eq!(status(&change(at, "stop", "{\"name\":\"shell\"}").await), 200);
    assert_eq!(state().await, "stopped");
    assert_eq!(status(&change(at, "start", "{\"name\":\"shell\"}").await), 200);
    assert_ne!(state().await, "stopped");
    for (path, wrong, code) in [
        ("stop", "{\"name\":\"other\"}", 409),
        ("add", "{\"name\":\"x\",\"type\":\"nonsense\"}", 400),
        ("add", "{\"name\":\"x\",\"type\":\"client\"}", 409),
    ] {
        let answer = change(at, path, wrong).await;
        assert_eq!(status(&answer), code, "{wrong}: {answer}");
    }
}

/// Every page can be read, and nothing in it runs.
async fn pages(at: SocketAddr) {
    for (path, parts) in [
        ("/", &["Connected to I2P", "127.0.0.1:4444", "<svg", "aria-label=\"Bandwidth"][..]),
        ("/?range=day", &["The last 24 hours", "60 min ago"]),
        ("/tunnels", &["The router's own", "this router", "….b32.i2p"]),
        ("/peers", &["Begun by", "sessions."]),
        ("/netdb", &["5 routers", "By version"]),
        ("/destinations", &["published", "ready"]),
        ("/services", &["shell", "127.0.0.1:", "stop"]),
        ("/addressbook", &["site.i2p", "1 in user"]),
        ("/addressbook?q=%3Cb%3E", &["value=\"&lt;b&gt;\"", "0 names match"]),
        ("/logs", &["3 of them remembered", "a &lt;line&gt; of the log"]),
        ("/settings", &["&lt;9700&gt;", "after a restart"]),
    ] {
        let answer = get(at, path).await;
        assert_eq!(status(&answer), 200, "{path}");
        for part in parts {
            assert!(answer.contains(part), "{path}: no {part} in {answer}");
        }
        let head = answer.split("\r\n\r\n").next().unwrap().to_ascii_lowercase();
        for header in [
            "content-security-policy: default-src 'none';",
            "frame-ancestors 'none'",
            "x-content-type-options: nosniff",
            "referrer-policy: no-referrer",
            "cache-control: no-store",
        ] {
            assert!(head.contains(header), "{path}: no {header} in {head}");
        }
        assert!(!head.contains("unsafe-inline"), "{path}");
        let html = body(&answer);
        assert!(!html.contains(" style=") && !html.contains(" onclick="), "{path}: nothing is inline");
        let scripts: Vec<_> = html.match_indices("<script").collect();
        assert!(scripts.len() == 1 && html.contains("<script type=module src=/live.js></script>"), "{path}");
        for landmark in
            ["<html lang=en>", "<main id=main>", "<nav aria-label=Pages>", "<h1>", "aria-current="]
        {
            assert!(html.contains(landmark), "{path}: no {landmark}");
        }
    }
    assert_eq!(status(&get(at, "/nothing").await), 404);
    for (path, kind) in
        [("/style.css", "text/css"), ("/live.js", "text/javascript"), ("/icon.svg", "image/svg+xml")]
    {
        let answer = get(at, path).await;
        assert!(status(&answer) == 200 && answer.contains(kind), "{path}");
    }
}

/// The API is as it is documented.
async fn api(at: SocketAddr) {
    let examples = examples();
    assert_eq!(examples.len(), 11, "every part of the API has an example");
    for (name, example) in &examples {
        same_shape(example, &json(at, name).await, name);
    }
    for list in ["sessions", "tunnels", "destinations"] {
        assert!(json(at, list).await.as_array().is_some_and(|list| !list.is_empty()), "{list}");
    }
    let tunnels = json(at, "tunnels").await;
    let hops = tunnels[1]["tunnels"][0]["hops"].as_array().unwrap();
    assert_eq!(hops.len(), 2, "{tunnels}");
    assert_eq!(status(&get(at, "/api/v1/nothing").await), 404);
    // What is seen once a second becomes history.
    let has_samples = async {
        while json(at, "history").await["samples"].as_array().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, has_samples).await.unwrap();
    let example = &examples.iter().find(|(name, _)| name == "history").unwrap().1;
    same_shape(example, &json(at, "history").await, "history");
}

/// Prometheus can read it, and what the dashboard asks for is there.
async fn metrics(at: SocketAddr) {
    let answer = get(at, "/metrics").await;
    assert!(answer.contains("text/plain; version=0.0.4"));
    let mut names = std::collections::BTreeSet::new();
    for line in body(&answer).lines() {
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(kind == "counter" && name.ends_with("_total") || kind == "gauge", "{line}");
            assert!(names.insert(name.to_owned()), "{name} is there twice");
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            assert!(names.contains(series.split('{').next().unwrap()), "{line} has a type");
        }
    }
    assert!(body(&answer).contains("aioli_ready 1\n"), "{answer}");
    let word = |c: char| !(c.is_ascii_alphanumeric() || c == '_');
    for file in ["packaging/grafana/aioli.json", "docs/monitoring.md"] {
        let text = documentation(file);
        let asked: Vec<_> = text.split(word).filter(|w| w.starts_with("aioli_")).collect();
        assert!(asked.len() > 15, "{file} names metrics");
        for name in asked {
            // There is a limit only where one was set.
            assert!(
                names.contains(name)
                    || name.starts_with("aioli_bandwidth_limit_")
                    || name == "aioli_NAME"
                    || name == "aioli_NAME_total",
                "{file} names {name}, which is not in /metrics"
            );
        }
    }
}

/// `aioli top --once` reads it.
async fn once(at: SocketAddr) {
    let options = top::Options { console: at, password: None, once: true };
    tokio::task::spawn_blocking(move || top::run(&options)).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_router_that_knows_nobody_says_so() {
    let node = lonely();
    let (console, ..) = console(node.client(), "127.0.0.1:0", None);
    let health = get(console.address, "/health").await;
    assert!(status(&health) == 503 && body(&health).starts_with("no-routers: "), "{health}");
    let front = get(console.address, "/").await;
    assert!(front.contains("No other router is known") && front.contains("What to do:"), "{front}");
    assert!(get(console.address, "/metrics").await.contains("aioli_ready 0\n"));
    assert!(console_of_others_is_refused(&node));
}

/// On an address that others reach there is no console without a password.
fn console_of_others_is_refused(node: &Node) -> bool {
    let config = ConsoleConfig {
        listener: bind("0.0.0.0:0".parse().unwrap(), "a test", "none").unwrap(),
        password: None,
        journal: Arc::default(),
        book: None,
        tunnels: None,
        settings: Vec::new(),
        services: Vec::new(),
    };
    Console::start(config, node.client())
        .is_err_and(|error| error.to_string().contains("aioli console-password"))
}

#[tokio::test]
async fn other_sites_see_and_change_nothing() {
    let node = lonely();
    let (console, book, _) = console(node.client(), "127.0.0.1:0", None);
    let at = console.address;
    for host in ["evil.example", "evil.example:7657", "192.168.0.5", "localhost.evil.example"] {
        for path in ["/", "/api/v1/token", "/health", "/metrics"] {
            let answer = ask(at, "GET", path, &format!("Host: {host}\r\n"), "").await;
            assert_eq!(status(&answer), 403, "{host} {path}: {answer}");
            assert!(!answer.contains("token\":"), "{answer}");
        }
    }
    assert_eq!(status(&ask(at, "GET", "/health", "Host: localhost\r\n", "").await), 503);
    let script = "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n";
    assert_eq!(status(&ask(at, "GET", "/metrics", script, "").await), 403);

    let token: Token = serde_json::from_value(json(at, "token").await).unwrap();
    let token = format!("X-Aioli-Token: {}\r\n", token.token);
    let kind = "Content-Type: application/json\r\n";
    let destination = {
        let signing = aioli_core::crypto::ed25519::SigningKey::generate(&mut Rng::from_seed([1; 32]));
        aioli_wire::DestinationKeys::create(&signing, &[7; 32]).destination
    };
    let change = format!("{{\"name\":\"new.i2p\",\"destination\":\"{}\"}}", destination.to_base64());
    let path = "/api/v1/addressbook/add";
    let add = async |headers: String| ask(at, "POST", path, &headers, &change).await;
    for headers in [
        String::new(),
        kind.to_owned(),
        token.clone(),
        format!("{token}Content-Type: text/plain\r\n"),
        format!("{token}{kind}Origin: http://evil.example\r\n"),
        format!("{token}{kind}Origin: null\r\n"),
        format!("{token}{kind}Sec-Fetch-Site: same-site\r\n"),
        format!("{kind}X-Aioli-Token: AAAA\r\n"),
    ] {
        let answer = add(headers.clone()).await;
        assert_eq!(status(&answer), 403, "{headers}: {answer}");
    }
    assert_eq!(book.len(List::User), 0, "nothing was changed");
    assert_eq!(status(&ask(at, "GET", path, "", "").await), 404, "reading changes nothing");
    assert_eq!(status(&ask(at, "DELETE", path, "", "").await), 405);

    let answer = add(format!("{token}{kind}Origin: http://{at}\r\n")).await;
    assert!(status(&answer) == 200 && body(&answer).contains("new.i2p added"), "{answer}");
    assert_eq!(book.lookup("new.i2p").map(|(d, _)| d), Some(destination));
    let good = format!("{token}{kind}");
    for (path, body, code) in [
        ("/api/v1/addressbook/remove", "{\"name\":\"new.i2p\"}", 200),
        ("/api/v1/addressbook/remove", "{\"name\":\"new.i2p\"}", 409),
        (path, "{\"name\":\"bad_name.i2p\",\"destination\":\"x\"}", 409),
        (path, "{\"name\":\"new.i2p\",\"destination\":\"x\"}", 409),
        (path, "{\"name\":7}", 400),
        (path, "nonsense", 400),
        ("/api/v1/bandwidth", "{\"receive_kbps\":500,\"send_kbps\":0}", 200),
        ("/api/v1/bandwidth", "{\"receive_kbps\":5,\"send_kbps\":0}", 409),
        ("/api/v1/bandwidth", "{\"receive_kbps\":500}", 400),
        ("/api/v1/nothing", "{}", 404),
    ] {
        let answer = ask(at, "POST", path, &good, body).await;
        assert_eq!(status(&answer), code, "{path} {body}: {answer}");
    }
    let limited = async {
        while json(at, "overview").await["bandwidth"]["receive_limit"] != 512_000 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, limited).await.unwrap();
    let large = ask(at, "POST", path, &good, &"x".repeat(70_000)).await;
    assert_eq!(status(&large), 413, "{large}");
}

#[tokio::test]
async fn a_password_keeps_others_out() {
    let dir = tempfile::tempdir().unwrap();
    Password::store(dir.path(), "correct horse").unwrap();
    let node = lonely();
    let (console, ..) = console(node.client(), "0.0.0.0:0", Password::load(dir.path()).unwrap());
    let at = SocketAddr::from(([127, 0, 0, 1], console.address.port()));
    for path in ["/", "/metrics", "/api/v1/overview", "/api/v1/token", "/style.css"] {
        let answer = get(at, path).await;
        assert!(
            status(&answer) == 401 && answer.to_ascii_lowercase().contains("www-authenticate: basic"),
            "{path}: {answer}"
        );
    }
    assert_eq!(status(&get(at, "/health").await), 503, "it says only whether the router can be used");
    let right = "Authorization: Basic eDpjb3JyZWN0IGhvcnNl\r\n";
    let answer = ask(at, "GET", "/", right, "").await;
    assert_eq!(status(&answer), 200, "{answer}");
    let cookie = answer.lines().find_map(|line| line.strip_prefix("set-cookie: ")).unwrap();
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(status(&ask(at, "GET", "/api/v1/overview", &cookie, "").await), 200);
    let wrong = "Authorization: Basic eDp3cm9uZw==\r\n";
    let mut codes = Vec::new();
    for _ in 0..7 {
        codes.push(status(&ask(at, "GET", "/", wrong, "").await));
    }
    assert!(codes[0] == 401 && codes.contains(&429), "{codes:?}");
    assert_eq!(status(&ask(at, "GET", "/", &cookie, "").await), 200, "who is in stays in");
    let top = |password: &str| {
        let options = top::Options { console: at, password: Some(password.to_owned()), once: true };
        tokio::task::spawn_blocking(move || top::run(&options))
    };
    top("correct horse").await.unwrap().unwrap();
}

#[tokio::test]
async fn hostile_clients_cost_little_and_stop_nobody() {
    let node = lonely();
    let (console, ..) = console(node.client(), "127.0.0.1:0", None);
    let at = console.address;
    let long = format!("GET / HTTP/1.1\r\nHost: {at}\r\n{}\r\n", "X: y\r\n".repeat(20_000));
    let line = format!("GET /{} HTTP/1.1\r\nHost: {at}\r\n\r\n", "a".repeat(40_000));
    for (request, codes) in [
        (long.as_str(), &[431][..]),
        (line.as_str(), &[431]),
        ("nonsense\r\n\r\n", &[400]),
        ("GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", &[400]),
        (
            "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &[400],
        ),
        ("GET / HTTP/1.1\r\n\r\n", &[403]),
        ("GET http://evil.example/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", &[403]),
        ("CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", &[405]),
    ] {
        let answer = say(at, request.as_bytes()).await;
        // A refusal that comes while the client still writes may be lost with its connection.
        assert!(codes.contains(&status(&answer)) || answer.is_empty(), "{:.60}: {answer:.300}", request);
    }
    let mut silent = Vec::new();
    for _ in 0..1_000 {
        silent.push(TcpStream::connect(at).await.unwrap());
    }
    for path in ["/", "/api/v1/overview", "/metrics"] {
        assert_eq!(status(&get(at, path).await), 200, "{path} among 1,000 silent connections");
    }
    // The line is short: those who came first were put out.
    let mut first = silent.swap_remove(0);
    let put_out = tokio::time::timeout(PATIENCE, first.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(put_out, Ok(0) | Err(_)), "{put_out:?}");
}
