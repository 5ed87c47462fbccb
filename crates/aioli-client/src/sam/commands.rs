//! The commands of SAM, each answered by one line.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use aioli_core::Now;
use aioli_router::client::{SessionError, StreamEnd, Target};
use aioli_wire::{Destination, Reader, Wire, base32, base64};

use super::conn::{MAX_LINE, State};
use super::line::{Line, after_word, quoted};
use super::{Forward, Sam, SamConn, Session, options};
use crate::backend::Backend;

/// The versions that we speak.
const OLDEST: (u8, u8) = (3, 0);
const NEWEST: (u8, u8) = (3, 3);

/// What a name stands for.
enum Name {
    Whole(Box<Destination>),
    Hash(aioli_wire::DestinationHash),
    Unknown,
    Malformed,
}

impl Sam {
    /// Carries out whole lines for as long as the connection takes commands.
    pub(super) fn progress(&mut self, conn: SamConn, router: &mut impl Backend, now: Now) {
        while let Some(c) = self.conns.get_mut(&conn) {
            if !c.takes_commands() || c.close_sent {
                return;
            }
            let Some(text) = c.next_line() else {
                if c.input.len() > MAX_LINE {
                    self.bad_line(conn, "the line is too long");
                }
                return;
            };
            // These two take any text, so they are no matter of words and pairs.
            if let Some(rest) = after_word(&text, "PING") {
                self.say(conn, &format!("PONG{rest}"));
                continue;
            }
            if after_word(&text, "PONG").is_some() {
                continue;
            }
            match Line::parse(&text) {
                Ok(line) if line.verb.is_empty() => {}
                Ok(line) => self.command(conn, &line, router, now),
                Err(error) => self.bad_line(conn, &error.to_string()),
            }
        }
    }

    /// The line is no line of SAM: nothing that follows can be trusted.
    fn bad_line(&mut self, conn: SamConn, why: &str) {
        self.stats.bad_lines += 1;
        let greeted = self.conns.get(&conn).is_some_and(|c| c.state != State::Greeting);
        let reply = if greeted { "SESSION STATUS" } else { "HELLO REPLY" };
        self.fail(conn, reply, "I2P_ERROR", why);
    }

    fn command(&mut self, conn: SamConn, line: &Line, router: &mut impl Backend, now: Now) {
        let greeted = self.conns.get(&conn).is_some_and(|c| c.state != State::Greeting);
        match (line.verb.as_str(), line.action.as_str()) {
            ("HELLO", "VERSION") if !greeted => self.hello(conn, line),
            ("QUIT" | "STOP" | "EXIT", _) => self.close(conn),
            _ if !greeted => self.bad_line(conn, "HELLO VERSION must come first"),
            ("SESSION", "CREATE") => self.session_create(conn, line, router, now),
            ("SESSION", _) => self.refuse(conn, "SESSION STATUS", "I2P_ERROR", "only SESSION CREATE is supported"),
            ("STREAM", "CONNECT") => self.stream_connect(conn, line, router, now),
            ("STREAM", "ACCEPT") => self.stream_accept(conn, line, router, now),
            ("STREAM", "FORWARD") => self.stream_forward(conn, line, router, now),
            ("STREAM", _) => {
                self.refuse(conn, "STREAM STATUS", "I2P_ERROR", "STREAM takes CONNECT, ACCEPT or FORWARD");
            }
            ("NAMING", "LOOKUP") => self.naming_lookup(conn, line, router, now),
            ("DEST", "GENERATE") => self.dest_generate(conn, line),
            ("HELP", _) => self.say(
                conn,
                "HELP REPLY RESULT=OK MESSAGE=\"HELLO VERSION; SESSION CREATE; STREAM CONNECT, ACCEPT, FORWARD; \
                 NAMING LOOKUP; DEST GENERATE; PING; QUIT\"",
            ),
            (verb, action) => {
                self.stats.bad_lines += 1;
                let verb: String = verb.chars().filter(char::is_ascii_alphanumeric).take(16).collect();
                let text = format!("there is no {verb} {action}: HELP lists what there is");
                self.refuse(conn, &format!("{verb} STATUS"), "I2P_ERROR", &text);
            }
        }
    }

    fn hello(&mut self, conn: SamConn, line: &Line) {
        let min = line.given("MIN").map_or(Some(OLDEST), version);
        let max = line.given("MAX").map_or(Some(NEWEST), version);
        let (Some(min), Some(max)) = (min, max) else {
            self.fail(conn, "HELLO REPLY", "I2P_ERROR", "MIN and MAX are versions, as 3.1");
            return;
        };
        let chosen = max.min(NEWEST);
        if chosen < min || chosen < OLDEST {
            self.say(conn, "HELLO REPLY RESULT=NOVERSION");
            self.close(conn);
            return;
        }
        if let Some(c) = self.conns.get_mut(&conn) {
            c.version = chosen;
            c.state = State::Ready;
        }
        self.say(conn, &format!("HELLO REPLY RESULT=OK VERSION={}.{}", chosen.0, chosen.1));
    }

    fn session_create(&mut self, conn: SamConn, line: &Line, router: &mut impl Backend, now: Now) {
        const REPLY: &str = "SESSION STATUS";
        if self.conns.get(&conn).is_some_and(|c| c.state != State::Ready) {
            self.refuse(conn, REPLY, "I2P_ERROR", "this connection already has a session");
            return;
        }
        let nick = match line.given("ID") {
            None => return self.fail(conn, REPLY, "INVALID_ID", "ID is missing"),
            Some(nick) if !is_nick(nick) => {
                return self.fail(conn, REPLY, "INVALID_ID", "ID has spaces or more than 255 bytes");
            }
            Some(nick) if self.sessions.contains_key(nick) => {
                return self.fail(conn, REPLY, "DUPLICATED_ID", "another session has this ID");
            }
            Some(nick) => nick.to_owned(),
        };
        let read = options::session(line, &self.config.defaults)
            .and_then(|o| Ok((o, options::port(line, "FROM_PORT", 0)?, options::port(line, "TO_PORT", 0)?)));
        let (options, from_port, to_port) = match read {
            Ok(read) => read,
            Err((result, message)) => return self.fail(conn, REPLY, result, &message),
        };
        match router.create_session(options, now) {
            Ok(id) => {
                let deadline = now.mono + self.config.session_timeout;
                self.set_state(conn, State::Creating { nick: nick.clone(), deadline });
                self.nicks.insert(id, nick.clone());
                let session = Session {
                    id,
                    control: conn,
                    ports: (from_port, to_port),
                    acceptors: VecDeque::new(),
                    forward: None,
                    backlog: VecDeque::new(),
                };
                self.sessions.insert(nick, session);
            }
            Err(SessionError::DuplicateDestination) => {
                self.fail(conn, REPLY, "DUPLICATED_DEST", &SessionError::DuplicateDestination.to_string());
            }
            Err(error) => self.fail(conn, REPLY, "I2P_ERROR", &error.to_string()),
        }
    }

    fn stream_connect(&mut self, conn: SamConn, line: &Line, router: &mut impl Backend, now: Now) {
        const REPLY: &str = "STREAM STATUS";
        let silent = line.is_true("SILENT");
        let Some(session) = self.named_session(conn, line, REPLY, silent) else { return };
        let (id, defaults) = (session.id, session.ports);
        let target = match resolve(line.given("DESTINATION").unwrap_or_default()) {
            Name::Whole(destination) => Target::Destination(destination),
            Name::Hash(hash) => Target::Hash(hash),
            Name::Unknown => {
                let text = "this name is not known: give base64 or b32";
                return self.fail_unless(silent, conn, REPLY, "INVALID_KEY", text);
            }
            Name::Malformed => {
                let text = "DESTINATION is no destination";
                return self.fail_unless(silent, conn, REPLY, "INVALID_KEY", text);
            }
        };
        let ports = options::port(line, "FROM_PORT", defaults.0)
            .and_then(|from| Ok((from, options::port(line, "TO_PORT", defaults.1)?)));
        let (from_port, to_port) = match ports {
            Ok(ports) => ports,
            Err((result, text)) => return self.fail_unless(silent, conn, REPLY, result, &text),
        };
        match router.connect(id, target, from_port, to_port, now) {
            Ok(stream) => {
                self.set_state(conn, State::Connecting { session: id, stream, silent });
                self.streams.insert((id, stream), conn);
            }
            Err(error) => {
                let result = if error == StreamEnd::Limit { "I2P_ERROR" } else { "CANT_REACH_PEER" };
                self.fail_unless(silent, conn, REPLY, result, &error.to_string());
            }
        }
    }

    fn stream_accept(&mut self, conn: SamConn, line: &Line, router: &mut impl Backend, now: Now) {
        const REPLY: &str = "STREAM STATUS";
        let silent = line.is_true("SILENT");
        let Some(session) = self.named_session(conn, line, REPLY, silent) else { return };
        if session.forward.is_some() {
            let text = "the session forwards its streams";
            return self.fail_unless(silent, conn, REPLY, "ALREADY_ACCEPTING", text);
        }
        let (id, waiting) = (session.id, session.backlog.pop_front());
        if waiting.is_none() {
            session.acceptors.push_back(conn);
        }
        let nick = line.given("ID").unwrap_or_default().to_owned();
        self.set_state(conn, State::Accepting { nick: nick.clone(), silent });
        if !silent {
            self.say(conn, "STREAM STATUS RESULT=OK");
        }
        if let Some(waiting) = waiting {
            self.hand_over(conn, id, &waiting, router, now);
        }
        self.update_listening(&nick, router, now);
    }

    fn stream_forward(&mut self, conn: SamConn, line: &Line, router: &mut impl Backend, now: Now) {
        const REPLY: &str = "STREAM STATUS";
        let host = match line.given("HOST") {
            None => self.conns.get(&conn).map(|c| c.from),
            Some(text) if text.eq_ignore_ascii_case("localhost") => Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            Some(text) => text.parse().ok(),
        };
        let port = line.given("PORT").and_then(|p| p.parse::<u16>().ok()).filter(|p| *p != 0);
        // FORWARD is answered even if SILENT.
        let Some(session) = self.named_session(conn, line, REPLY, false) else { return };
        if session.forward.is_some() || !session.acceptors.is_empty() {
            return self.fail(conn, REPLY, "ALREADY_ACCEPTING", "the session already accepts");
        }
        if line.is_true("SSL") {
            return self.fail(conn, REPLY, "I2P_ERROR", "SSL is not supported: forward without it");
        }
        let (Some(host), Some(port)) = (host, port) else {
            return self.fail(conn, REPLY, "I2P_ERROR", "PORT must be 1 to 65535, HOST an IP address");
        };
        let forward =
            Forward { control: conn, to: SocketAddr::new(host, port), silent: line.is_true("SILENT") };
        session.forward = Some(forward.clone());
        let (id, backlog) = (session.id, std::mem::take(&mut session.backlog));
        let nick = line.given("ID").unwrap_or_default().to_owned();
        self.set_state(conn, State::Forwarding { nick: nick.clone() });
        self.say(conn, "STREAM STATUS RESULT=OK");
        for waiting in backlog {
            self.forward(id, &forward, &waiting, router, now);
        }
        self.update_listening(&nick, router, now);
    }

    fn naming_lookup(&mut self, conn: SamConn, line: &Line, router: &mut impl Backend, now: Now) {
        let Some(name) = line.given("NAME") else {
            return self.refuse(conn, "NAMING REPLY", "INVALID_KEY", "NAME is missing");
        };
        let own = match self.conns.get(&conn).map(|c| &c.state) {
            Some(State::Control { nick }) => self.sessions.get(nick).map(|s| s.id),
            _ => None,
        };
        if name == "ME" {
            let keys = own.and_then(|id| router.session_keys(id));
            return match keys.map(|k| k.destination.to_base64()) {
                Some(value) => self.say(conn, &format!("NAMING REPLY RESULT=OK NAME=ME VALUE={value}")),
                None => self.say(
                    conn,
                    "NAMING REPLY RESULT=INVALID_KEY NAME=ME MESSAGE=\"this connection has no session\"",
                ),
            };
        }
        match resolve(name) {
            Name::Whole(d) => self
                .say(conn, &format!("NAMING REPLY RESULT=OK NAME={} VALUE={}", quoted(name), d.to_base64())),
            Name::Hash(hash) => {
                let lookup = router.lookup(own, hash, now);
                if let Some(c) = self.conns.get_mut(&conn) {
                    let then = Box::new(std::mem::replace(&mut c.state, State::Closing));
                    c.state = State::LookingUp { lookup, name: name.to_owned(), then };
                }
            }
            Name::Unknown => {
                self.say(conn, &format!("NAMING REPLY RESULT=KEY_NOT_FOUND NAME={}", quoted(name)));
            }
            Name::Malformed => {
                self.say(conn, &format!("NAMING REPLY RESULT=INVALID_KEY NAME={}", quoted(name)));
            }
        }
    }

    pub(super) fn on_lookup_done(
        &mut self,
        done: aioli_router::client::ClientLookup,
        destination: Option<&Destination>,
        router: &mut impl Backend,
        now: Now,
    ) {
        let waiting = self.conns.iter().find_map(|(conn, c)| match &c.state {
            State::LookingUp { lookup, name, then } if *lookup == done => {
                Some((*conn, name.clone(), State::clone(then)))
            }
            _ => None,
        });
        let Some((conn, name, then)) = waiting else { return };
        self.set_state(conn, then);
        match destination {
            Some(d) => self.say(conn, &format!("NAMING REPLY RESULT=OK NAME={name} VALUE={}", d.to_base64())),
            None => self.say(conn, &format!("NAMING REPLY RESULT=KEY_NOT_FOUND NAME={name}")),
        }
        self.progress(conn, router, now);
    }

    fn dest_generate(&mut self, conn: SamConn, line: &Line) {
        if let Err((result, message)) = options::signature_type(line) {
            return self.refuse(conn, "DEST REPLY", result, &message);
        }
        let keys = options::transient(&mut self.rng);
        let reply = format!("DEST REPLY PUB={} PRIV={}", keys.destination.to_base64(), *keys.to_base64());
        self.say(conn, &reply);
    }

    /// The session that a STREAM command names; refuses it otherwise.
    fn named_session(
        &mut self,
        conn: SamConn,
        line: &Line,
        reply: &str,
        silent: bool,
    ) -> Option<&mut Session> {
        let nick = line.given("ID").unwrap_or_default();
        let is_control = self.conns.get(&conn).is_some_and(|c| c.state != State::Ready);
        let created = self.sessions.get(nick).is_some_and(|s| {
            self.conns.get(&s.control).is_some_and(|c| !matches!(c.state, State::Creating { .. }))
        });
        if is_control {
            self.refuse(conn, reply, "I2P_ERROR", "use a connection of its own for each stream");
            return None;
        }
        if !created {
            self.fail_unless(silent, conn, reply, "INVALID_ID", "no session has this ID");
            return None;
        }
        self.sessions.get_mut(nick)
    }
}

/// `3`, `3.1` and the like.
fn version(text: &str) -> Option<(u8, u8)> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What a session may be called.
fn is_nick(text: &str) -> bool {
    text.len() <= 255 && !text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn resolve(name: &str) -> Name {
    let lower = name.to_ascii_lowercase();
    if lower.ends_with(".b32.i2p") {
        return base32::parse_host_name(&lower).map_or(Name::Malformed, Name::Hash);
    }
    if lower.ends_with(".i2p") {
        return Name::Unknown;
    }
    // What follows the destination is ignored, as elsewhere: yosemite passes on what
    // SESSION STATUS gave it, which is the destination with its private keys.
    let bytes = base64::decode(name).unwrap_or_default();
    let destination = Reader::new(Destination::SPEC, &bytes).read::<Destination>();
    destination.map_or(Name::Malformed, |d| Name::Whole(Box::new(d)))
}
