//! IRC through tunnels, line by line (RFC 1459, section 2.3; `i2ptunnel`).
//!
//! Of a client passes what is known to tell nothing about who it is: commands of
//! a list, no CTCP but ACTION, no DCC, `USER` without host, `PART` and `QUIT`
//! without words. To a server the tunnel says who comes, by WEBIRC or in `USER`,
//! and no peer can say it instead.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aioli_wire::base32;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::client::Client;
use super::config::Secret;
use super::server::Server;
use super::stats::Counters;
use crate::listen::close_gently;
use crate::relay::{Activity, Watched};
use crate::way::Stream;

/// Bytes of a line at most: 512 of IRC, and twice 8191 of tags (IRCv3).
const MAX_LINE: usize = 512 + 2 * 8191;
/// A peer must say USER to a server within this time.
const REGISTER_WITHIN: Duration = Duration::from_secs(60);

/// What a server may send to a client besides numbers, PONG, PRIVMSG and NOTICE.
const FROM_SERVER: &[&str] = &[
    "ACCOUNT",
    "AUTHENTICATE",
    "AWAY",
    "CAP",
    "CHGHOST",
    "ERROR",
    "H",
    "INVITE",
    "JOIN",
    "KICK",
    "MODE",
    "NICK",
    "PART",
    "PING",
    "PROTOCTL",
    "QUIT",
    "TOPIC",
    "WALLOPS",
];

/// What a client may send besides what is rewritten: what people say to servers and services, and operators do.
const FROM_CLIENT: &[&str] = &[
    "ACCEPT",
    "ADMIN",
    "AUTHENTICATE",
    "AWAY",
    "BOTSERV",
    "BS",
    "CAP",
    "CHANSERV",
    "CHATOPS",
    "CLOSE",
    "COMMANDS",
    "CS",
    "CYCLE",
    "DEVOICE",
    "DIE",
    "ELINE",
    "FPART",
    "GLINE",
    "GLOBOPS",
    "GZLINE",
    "HELPME",
    "HELPOP",
    "HELPSERV",
    "HOSTSERV",
    "HS",
    "INVITE",
    "ISON",
    "JOIN",
    "KICK",
    "KILL",
    "KLINE",
    "KNOCK",
    "LINKS",
    "LIST",
    "LOCOPS",
    "LUSERS",
    "MAP",
    "MEMOSERV",
    "MODE",
    "MOTD",
    "MS",
    "NAMES",
    "NICK",
    "NICKSERV",
    "NS",
    "OPER",
    "OPERSERV",
    "OS",
    "PASS",
    "PONG",
    "PROTOCTL",
    "REHASH",
    "RESTART",
    "RULES",
    "SAJOIN",
    "SAMODE",
    "SANICK",
    "SAPART",
    "SETNAME",
    "SHUN",
    "SILENCE",
    "SQUIT",
    "STATS",
    "STATSERV",
    "TOPIC",
    "UNINVITE",
    "USERHOST",
    "USERS",
    "VHOST",
    "WALLOPS",
    "WATCH",
    "WHO",
    "WHOIS",
    "WHOWAS",
    "ZLINE",
];

/// What becomes of a line.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Instead(Vec<u8>),
    Drop,
}

/// A line's parts: where its command begins, and its parameters, the last of which may have spaces.
struct Parts<'a> {
    command: String,
    parameters: Vec<&'a [u8]>,
    /// Whether the last parameter came after a colon.
    has_source: bool,
}

/// Parts of a line without its end. None if there is no command.
fn parts(line: &[u8]) -> Option<Parts<'_>> {
    let mut rest = line.trim_ascii_start();
    let mut skip = |sign: u8| {
        if rest.first() != Some(&sign) {
            return false;
        }
        let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
        rest = rest.get(end..).unwrap_or_default().trim_ascii_start();
        true
    };
    skip(b'@');
    let has_source = skip(b':');
    let mut words = Vec::new();
    while !rest.is_empty() {
        if let Some(last) = rest.strip_prefix(b":").filter(|_| !words.is_empty()) {
            words.push(last);
            break;
        }
        let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
        words.push(rest.get(..end).unwrap_or_default());
        rest = rest.get(end..).unwrap_or_default().trim_ascii_start();
    }
    let command = std::str::from_utf8(words.first()?).ok()?.to_ascii_uppercase();
    words.remove(0);
    Some(Parts { command, parameters: words, has_source })
}

/// Whether a text to others may pass: no CTCP but one ACTION, no DCC in a notice.
fn is_harmless(notice: bool, text: &[u8]) -> bool {
    let marks = text.iter().filter(|b| **b == 1).count();
    if marks > 0 {
        return marks == 2 && text.starts_with(b"\x01ACTION ") && text.ends_with(b"\x01");
    }
    !(notice && text.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"DCC ")))
}

/// Filters what one client and its server say.
#[derive(Debug, Default)]
struct ClientFilter {
    /// What the client expects as PONG, where its PING was rewritten.
    pong: Mutex<Option<Vec<u8>>>,
}

impl ClientFilter {
    fn judge_client(&self, line: &[u8]) -> Verdict {
        let Some(Parts { command, parameters, has_source: false }) = parts(line) else {
            return Verdict::Drop;
        };
        match command.as_str() {
            "PRIVMSG" | "NOTICE" => match &parameters[..] {
                [_, text] if is_harmless(command == "NOTICE", text) => Verdict::Pass,
                _ => Verdict::Drop,
            },
            "USER" => user(&parameters),
            "PING" => self.ping(&parameters),
            "PART" => {
                // Behind a colon a channel may be followed by words.
                let first = parameters.first().and_then(|channels| channels.split(|b| *b == b' ').next());
                first.map_or(Verdict::Drop, |channels| Verdict::Instead([b"PART ", channels].concat()))
            }
            "QUIT" => Verdict::Instead(b"QUIT :leaving".to_vec()),
            command if FROM_CLIENT.contains(&command) => Verdict::Pass,
            _ => Verdict::Drop,
        }
    }

    /// The second parameter may be the client's own address: the server is not to see it, and the client is to get
    /// it back.
    fn ping(&self, parameters: &[&[u8]]) -> Verdict {
        let mut pong = self.pong.lock().unwrap_or_else(PoisonError::into_inner);
        match parameters {
            [] | [_] => {
                *pong = None;
                Verdict::Pass
            }
            [token, server] => {
                *pong = Some([b"PONG ", *server, b" :", *token].concat());
                Verdict::Instead([b"PING :", *token].concat())
            }
            _ => Verdict::Drop,
        }
    }

    fn judge_server(&self, line: &[u8]) -> Verdict {
        let Some(Parts { command, parameters, .. }) = parts(line) else { return Verdict::Drop };
        match command.as_str() {
            "PRIVMSG" | "NOTICE" => match &parameters[..] {
                [_, text] if is_harmless(command == "NOTICE", text) => Verdict::Pass,
                _ => Verdict::Drop,
            },
            "PONG" => match self.pong.lock().unwrap_or_else(PoisonError::into_inner).take() {
                Some(expected) => Verdict::Instead(expected),
                None => Verdict::Pass,
            },
            command if command.len() == 3 && command.bytes().all(|b| b.is_ascii_digit()) => Verdict::Pass,
            command if FROM_SERVER.contains(&command) => Verdict::Pass,
            _ => Verdict::Drop,
        }
    }
}

/// `USER` without the host and the server that the program names.
fn user(parameters: &[&[u8]]) -> Verdict {
    let [name, mode, _, real] = parameters else { return Verdict::Drop };
    let is_mode = !mode.is_empty() && mode.iter().all(u8::is_ascii_digit);
    let mode: &[u8] = if is_mode { mode } else { b"0" };
    Verdict::Instead([b"USER ", *name, b" ", mode, b" * :", *real].concat())
}

/// What a peer says to a server of ours: `USER` names the peer's destination as its host.
fn from_peer(line: &[u8], host: &str) -> Verdict {
    let Some(Parts { command, parameters, has_source: false }) = parts(line) else { return Verdict::Drop };
    match (command.as_str(), &parameters[..]) {
        ("USER", [name, _, server, real]) => {
            Verdict::Instead([b"USER ", *name, b" ", host.as_bytes(), b" ", *server, b" :", *real].concat())
        }
        // What only a gateway or another server may say, and what an ill-used browser would.
        ("USER" | "WEBIRC" | "CGIIRC" | "SERVER" | "UID" | "EUID" | "SID" | "NJOIN", _)
        | ("GET" | "POST" | "PUT" | "HEAD" | "OPTIONS" | "CONNECT", _) => Verdict::Drop,
        _ => Verdict::Pass,
    }
}

/// Moves lines until the end of one side, through a filter. A line that is too long ends it.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    counters: &Counters,
    mut filter: impl FnMut(&[u8]) -> Verdict,
) -> io::Result<()> {
    let mut begun: Vec<u8> = Vec::with_capacity(1024);
    loop {
        if from.read_buf(&mut begun).await? == 0 {
            return to.shutdown().await;
        }
        let (mut passed, mut done) = (Vec::new(), 0);
        // A CR by itself ends a line for some servers.
        while let Some(rest) = begun.get(done..)
            && let Some(end) = rest.iter().position(|b| *b == b'\n' || *b == b'\r')
        {
            let line = rest.get(..end).unwrap_or_default();
            done += end + 1;
            if line.is_empty() {
                continue;
            }
            let verdict =
                if line.contains(&0) || line.len() > MAX_LINE { Verdict::Drop } else { filter(line) };
            match verdict {
                Verdict::Pass => passed.extend_from_slice(line),
                Verdict::Instead(other) => passed.extend_from_slice(&other),
                Verdict::Drop => {
                    counters.refused_requests.add(1);
                    continue;
                }
            }
            passed.extend_from_slice(b"\r\n");
        }
        begun.drain(..done);
        if begun.len() > MAX_LINE {
            return Err(io::ErrorKind::InvalidData.into());
        }
        to.write_all(&passed).await?;
    }
}

/// Carries a client's connection.
pub(super) async fn relay(client: &Client, local: TcpStream, stream: Stream) {
    let (activity, filter) = (Activity::new(), ClientFilter::default());
    let local = Watched::new(local, Vec::new(), activity.clone());
    let stream = Watched::counted(stream, Vec::new(), activity.clone(), Arc::clone(&client.counters.traffic));
    let (from_local, to_local) = tokio::io::split(local);
    let (from_remote, to_remote) = tokio::io::split(stream);
    let out = pump(from_local, to_remote, &client.counters, |line| filter.judge_client(line));
    let back = pump(from_remote, to_local, &client.counters, |line| filter.judge_server(line));
    tokio::select! {
        // However it ended, both sides are closed.
        _ = async { tokio::try_join!(out, back) } => {}
        () = activity.idle_for(client.idle) => {}
    }
}

/// Tells a program why there is no server.
pub(super) async fn tell(mut local: TcpStream, why: &str) {
    let line = format!("ERROR :Closing link: {why}\r\n");
    if local.write_all(line.as_bytes()).await.is_ok() {
        close_gently(local).await;
    }
}

/// Carries a peer's stream to a server.
pub(super) async fn serve(server: &Server, stream: Stream, webirc: Option<&Secret>) {
    let host = base32::host_name(&stream.peer());
    let Some((mut local, stream)) = server.connect(stream).await else { return };
    if let Some(password) = webirc {
        let address =
            local.local_addr().map_or_else(|_| "127.0.0.1".to_owned(), |address| address.ip().to_string());
        let line =
            zeroize::Zeroizing::new(format!("WEBIRC {} cgiirc {host} {address}\r\n", password.expose()));
        if local.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
    let activity = Activity::new();
    let local = Watched::new(local, Vec::new(), activity.clone());
    let stream = Watched::counted(stream, Vec::new(), activity.clone(), Arc::clone(&server.counters.traffic));
    let (mut from_local, to_local) = tokio::io::split(local);
    let (from_peer_side, mut to_peer) = tokio::io::split(stream);
    let registered = tokio::sync::Notify::new();
    let inward = pump(from_peer_side, to_local, &server.counters, |line| {
        let verdict = from_peer(line, &host);
        if matches!(verdict, Verdict::Instead(_)) {
            registered.notify_one();
        }
        verdict
    });
    let outward = async {
        tokio::io::copy(&mut from_local, &mut to_peer).await?;
        to_peer.shutdown().await
    };
    let in_time = async {
        if tokio::time::timeout(REGISTER_WITHIN, registered.notified()).await.is_ok() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        // However it ended, both sides are closed.
        _ = async { tokio::try_join!(inward, outward) } => {}
        () = activity.idle_for(server.plan.idle) => {}
        () = in_time => {}
    }
}

#[cfg(test)]
mod tests;
