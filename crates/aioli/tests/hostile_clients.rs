//! Hostile clients at every local listener of a real router: a thousand that say nothing, some that do not finish, some
//! that do not read, heads that are too large, and requests that hide another. Others are served meanwhile.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected should fail there")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use testkit::program::{Program, counter, router};

/// Nothing here may take longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Connections that are there and do nothing more.
const IDLE: usize = 1_000;

/// A listener, what shows that it serves, and how a client begins that never ends.
struct Listener {
    name: &'static str,
    at: SocketAddr,
    request: &'static [u8],
    answer: &'static [u8],
    begun: &'static [u8],
}

/// A router that knows nobody, with every listener that it can have.
fn start(dir: &Path) -> (Program, Vec<Listener>) {
    let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    // They are held together, so that no two are the same.
    let held: Vec<_> = (0..7).map(|_| TcpListener::bind(at(0)).unwrap()).collect();
    let ports: Vec<_> = held.iter().map(|l| l.local_addr().unwrap().port()).collect();
    drop(held);
    let listen = |n: usize| at(ports[n]).to_string();
    fs::write(
        dir.join("tunnels.toml"),
        format!(
            "[[tunnels]]\nname = \"proxy\"\ntype = \"http-proxy\"\nlisten = \"{}\"\n\
             [[tunnels]]\nname = \"socks\"\ntype = \"socks\"\nlisten = \"{}\"\n\
             [[tunnels]]\nname = \"both\"\ntype = \"http-bidir\"\nlisten = \"{}\"\ntarget = \"127.0.0.1:9\"\n",
            listen(4),
            listen(5),
            listen(6)
        ),
    )
    .unwrap();
    let stats = dir.join("stats.json");
    let args = [
        ["--port", "0"],
        ["--http-proxy", &listen(0)],
        ["--socks-proxy", &listen(1)],
        ["--sam", &listen(2)],
        ["--console", &listen(3)],
        ["--stats-file", stats.to_str().unwrap()],
    ];
    let mut program = Program::start(router(env!("CARGO_BIN_EXE_i2p-router"), dir, &args.concat()));
    program.says("other routers known");
    let http = |name, port| Listener {
        name,
        at: at(port),
        request: b"GET http://proxy.i2p/ HTTP/1.1\r\n\r\n",
        answer: b"HTTP/1.1 200",
        begun: b"GET http://proxy.i2p/ HTTP/1.1\r\nX: ",
    };
    let socks = |name, port| Listener {
        name,
        at: at(port),
        request: b"\x05\x01\x00",
        answer: b"\x05\x00",
        begun: b"\x05\xff\x00",
    };
    let sam = Listener {
        name: "SAM",
        at: at(ports[2]),
        request: b"HELLO VERSION\nQUIT\n",
        answer: b"HELLO REPLY RESULT=OK",
        begun: b"HELLO ",
    };
    let console = Listener {
        name: "console",
        at: at(ports[3]),
        request: b"GET /settings HTTP/1.1\r\nHost: localhost\r\n\r\n",
        answer: b"HTTP/1.1 200",
        begun: b"GET / HTTP/1.1\r\nHost: ",
    };
    let of_tunnels = [http("http-proxy", ports[4]), socks("socks", ports[5]), http("http-bidir", ports[6])];
    let listeners = [http("HTTP proxy", ports[0]), socks("SOCKS proxy", ports[1]), sam, console];
    (program, listeners.into_iter().chain(of_tunnels).collect())
}

fn connect(at: SocketAddr) -> TcpStream {
    // Tunnels start a little after the router.
    let stream = testkit::program::eventually("it listens", PATIENCE, || TcpStream::connect(at).ok());
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Says something and gives all that comes back.
fn say(at: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = connect(at);
    // It may have refused before all is written.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{at} neither answers nor closes: {error}"),
    }
    answer
}

fn serves(listener: &Listener, when: &str) {
    let mut stream = connect(listener.at);
    stream.write_all(listener.request).unwrap();
    let mut answer = vec![0; listener.answer.len()];
    let read = stream.read_exact(&mut answer);
    assert!(
        read.is_ok() && answer == listener.answer,
        "{} {when}: {read:?}, {:?}",
        listener.name,
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn a_thousand_silent_slow_or_deaf_clients_keep_nobody_out() {
    let dir = TempDir::new().unwrap();
    let (program, listeners) = start(dir.path());
    for listener in &listeners {
        serves(listener, "alone");
        let mut idle = Vec::new();
        for n in 0..IDLE {
            let mut stream = connect(listener.at);
            match n % 3 {
                // One begins and does not go on, one asks and does not read.
                1 => stream.write_all(listener.begun).unwrap(),
                2 => stream.write_all(listener.request).unwrap(),
                _ => {}
            }
            idle.push(stream);
        }
        for _ in 0..3 {
            serves(listener, "among a thousand");
        }
        drop(idle);
        serves(listener, "after a thousand");
    }
    assert_eq!(counter(&dir.path().join("stats.json"), "bugs"), 0);
    assert!(program.stops() < Duration::from_secs(6));
}

#[test]
fn what_is_too_large_or_hides_something_is_refused() {
    let dir = TempDir::new().unwrap();
    let (program, listeners) = start(dir.path());
    let long = "a".repeat(100_000);
    let host = "Host: localhost\r\n";
    let hidden = "GET http://proxy.i2p/hidden HTTP/1.1\r\n\r\n";
    for Listener { name, at, .. } in &listeners {
        let refused: Vec<(String, &[&str])> = match *name {
            "SOCKS proxy" | "socks" => vec![
                // A name of 100,000 letters, methods without end, versions that there are not.
                (format!("\x04\x01\0\x50\0\0\0\x01{long}"), &[""]),
                (format!("\x05{}", "\x01".repeat(100_000)), &["\x05\u{fffd}", ""]),
                (format!("\x06{long}"), &[""]),
                (hidden.to_owned(), &[""]),
            ],
            "SAM" => vec![
                (format!("HELLO VERSION {long}\n"), &["HELLO REPLY RESULT=I2P_ERROR", ""]),
                (hidden.to_owned(), &["HELLO REPLY RESULT=I2P_ERROR", ""]),
            ],
            _ => vec![
                (format!("GET http://proxy.i2p/ HTTP/1.1\r\n{host}X: {long}\r\n\r\n"), &["HTTP/1.1 431", ""]),
                (format!("GET http://proxy.i2p/{long} HTTP/1.1\r\n{host}\r\n"), &["HTTP/1.1 431", ""]),
                (
                    format!("GET http://proxy.i2p/ HTTP/1.1\r\n{host}{}\r\n", "X: y\r\n".repeat(100)),
                    &["HTTP/1.1 431"],
                ),
                (
                    format!(
                        "POST http://proxy.i2p/ HTTP/1.1\r\n{host}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
                    ),
                    &["HTTP/1.1 400"],
                ),
                (
                    format!(
                        "POST http://proxy.i2p/ HTTP/1.1\r\n{host}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n{hidden}"
                    ),
                    &["HTTP/1.1 400"],
                ),
                (
                    format!(
                        "POST http://proxy.i2p/ HTTP/1.1\r\n{host}Content-Length: 0\r\nContent-Length: 44\r\n\r\n{hidden}"
                    ),
                    &["HTTP/1.1 400"],
                ),
                (format!("GET http://proxy.i2p/ HTTP/1.1\n{host}\n{hidden}"), &["HTTP/1.1 400"]),
                (format!("GET http://proxy.i2p/ HTTP/1.1\r\n{host} folded: x\r\n\r\n"), &["HTTP/1.1 400"]),
            ],
        };
        for (request, answers) in refused {
            let answer = say(*at, request.as_bytes());
            let text = String::from_utf8_lossy(&answer);
            let shown: String = request.chars().take(60).collect();
            let known = |a: &&&str| if a.is_empty() { text.is_empty() } else { text.starts_with(**a) };
            assert!(answers.iter().any(|a| known(&a)), "{name}, {shown:?}: {text:.300}");
            assert_eq!(
                text.matches("HTTP/1.1 ").count().saturating_sub(1),
                0,
                "{name}: two answers, {text:.300}"
            );
        }
    }
    for listener in &listeners {
        serves(listener, "after all that");
    }
    assert_eq!(counter(&dir.path().join("stats.json"), "bugs"), 0);
    assert!(program.stops() < Duration::from_secs(6));
}
