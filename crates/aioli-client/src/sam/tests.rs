//! SAM against a stand-in for the router that records what it is asked.

use std::collections::BTreeMap;

use aioli_core::Date;
use aioli_router::client::{ClientLookup, SessionError, SessionOptions, Target};
use aioli_wire::{DestinationHash, DestinationKeys};

use super::*;

const NOW: Now = Now { mono: Instant::ZERO, wall: Date::from_secs(1_780_000_000) };

/// Where clients come from.
const HOST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 9));

/// A router with one peer: what is sent comes back when `echo` is called.
#[derive(Default)]
struct Fake {
    sessions: BTreeMap<SessionId, SessionOptions>,
    connects: Vec<(DestinationHash, u16, u16)>,
    sent: Vec<u8>,
    room: usize,
    incoming: Vec<u8>,
    at_end: bool,
    closed: Vec<StreamId>,
    reset: Vec<StreamId>,
    listening: bool,
    destroyed: Vec<SessionId>,
}

impl Backend for Fake {
    fn create_session(&mut self, mut options: SessionOptions, _: Now) -> Result<SessionId, SessionError> {
        let id = SessionId(self.sessions.len() as u32);
        options.keys.get_or_insert_with(|| options::transient(&mut Rng::from_seed([id.0 as u8; 32])));
        self.sessions.insert(id, options);
        Ok(id)
    }
    fn destroy_session(&mut self, session: SessionId, _: Now) {
        self.destroyed.push(session);
    }
    fn session_keys(&self, session: SessionId) -> Option<&DestinationKeys> {
        self.sessions.get(&session)?.keys.as_ref()
    }
    fn connect(
        &mut self,
        _: SessionId,
        to: Target,
        from: u16,
        port: u16,
        _: Now,
    ) -> Result<StreamId, StreamEnd> {
        self.connects.push((to.hash(), from, port));
        Ok(StreamId(7))
    }
    fn set_listening(&mut self, _: SessionId, on: bool, _: Now) {
        self.listening = on;
    }
    fn stream_send(&mut self, _: SessionId, _: StreamId, bytes: &[u8], _: Now) -> usize {
        let n = bytes.len().min(self.room);
        self.room -= n;
        self.sent.extend_from_slice(&bytes[..n]);
        n
    }
    fn stream_room(&self, _: SessionId, _: StreamId) -> usize {
        self.room
    }
    fn stream_recv(&mut self, _: SessionId, _: StreamId, out: &mut Vec<u8>, max: usize, _: Now) -> usize {
        let n = self.incoming.len().min(max);
        out.extend(self.incoming.drain(..n));
        n
    }
    fn stream_at_end(&self, _: SessionId, _: StreamId) -> bool {
        self.at_end && self.incoming.is_empty()
    }
    fn stream_close_write(&mut self, _: SessionId, stream: StreamId, _: Now) {
        self.closed.push(stream);
    }
    fn stream_close(&mut self, _: SessionId, stream: StreamId, _: Now) {
        self.closed.push(stream);
    }
    fn stream_reset(&mut self, _: SessionId, stream: StreamId, _: Now) {
        self.reset.push(stream);
    }
    fn lookup(&mut self, _: Option<SessionId>, _: DestinationHash, _: Now) -> ClientLookup {
        ClientLookup(5)
    }
}

struct Bench {
    sam: Sam,
    router: Fake,
}

impl Bench {
    fn new() -> Self {
        Self {
            sam: Sam::new(SamConfig::default(), Rng::from_seed([3; 32])),
            router: Fake { room: 1 << 20, ..Fake::default() },
        }
    }

    fn accepted(&mut self) -> SamConn {
        self.sam.accepted(HOST, NOW).unwrap()
    }

    fn open(&mut self) -> SamConn {
        let conn = self.accepted();
        assert_eq!(self.ask(conn, "HELLO VERSION MIN=3.0 MAX=3.3"), "HELLO REPLY RESULT=OK VERSION=3.3\n");
        conn
    }

    fn tell(&mut self, conn: SamConn, text: &str) {
        self.sam.handle_bytes(conn, text.as_bytes(), &mut self.router, NOW);
    }

    fn ask(&mut self, conn: SamConn, line: &str) -> String {
        self.tell(conn, &format!("{line}\n"));
        self.output(conn)
    }

    fn output(&mut self, conn: SamConn) -> String {
        let mut out = Vec::new();
        self.sam.poll_transmit(conn, &mut out, 1 << 16, &mut self.router, NOW);
        String::from_utf8(out).unwrap()
    }

    fn event(&mut self, event: &ClientEvent) {
        self.sam.handle_event(event, &mut self.router, NOW);
    }

    /// A session whose tunnels stand.
    fn session(&mut self, nick: &str) -> SamConn {
        let conn = self.open();
        assert_eq!(
            self.ask(conn, &format!("SESSION CREATE STYLE=STREAM ID={nick} DESTINATION=TRANSIENT")),
            ""
        );
        let id = *self.router.sessions.keys().last().unwrap();
        self.event(&ClientEvent::SessionReady(id));
        assert!(self.output(conn).starts_with("SESSION STATUS RESULT=OK DESTINATION="));
        conn
    }

    fn incoming(&mut self, stream: u32) -> Arc<Destination> {
        let from = Arc::new(options::transient(&mut Rng::from_seed([9; 32])).destination);
        self.event(&ClientEvent::StreamIncoming {
            session: SessionId(0),
            stream: StreamId(stream),
            from: Arc::clone(&from),
            from_port: 1,
            to_port: 2,
        });
        from
    }

    fn closes(&mut self, conn: SamConn) -> bool {
        std::iter::from_fn(|| self.sam.poll_output()).any(|o| o == SamOutput::Close(conn))
    }
}

#[test]
fn versions_are_negotiated() {
    for (line, reply) in [
        ("HELLO VERSION", "HELLO REPLY RESULT=OK VERSION=3.3\n"),
        ("hello version MIN=3.1 MAX=3.2", "HELLO REPLY RESULT=OK VERSION=3.2\n"),
        ("HELLO VERSION MAX=3", "HELLO REPLY RESULT=OK VERSION=3.0\n"),
        ("HELLO VERSION MIN=3.0 MAX=9.9", "HELLO REPLY RESULT=OK VERSION=3.3\n"),
        ("HELLO VERSION MIN=4.0 MAX=4.1", "HELLO REPLY RESULT=NOVERSION\n"),
        ("HELLO VERSION MIN=2.0 MAX=2.9", "HELLO REPLY RESULT=NOVERSION\n"),
    ] {
        let mut b = Bench::new();
        let conn = b.accepted();
        assert_eq!(b.ask(conn, line), reply, "{line}");
    }
    let mut b = Bench::new();
    let conn = b.accepted();
    assert!(b.ask(conn, "NAMING LOOKUP NAME=ME").contains("HELLO VERSION must come first"));
    assert!(b.closes(conn));
}

#[test]
fn a_session_takes_its_options_and_refuses_nonsense() {
    let mut b = Bench::new();
    let conn = b.open();
    b.tell(conn, "SESSION CREATE STYLE=STREAM ID=a DESTINATION=TRANSIENT inbound.length=1 outbound.quantity=5 i2cp.dontPublishLeaseSet=true i2p.streaming.maxWindowSize=99\n");
    let options = &b.router.sessions[&SessionId(0)];
    assert_eq!((options.inbound.length, options.outbound.quantity, options.publish), (1, 5, false));
    assert_eq!(options.streaming.max_window, 99);
    for (line, reply) in [
        ("SESSION CREATE STYLE=RAW ID=b DESTINATION=TRANSIENT", "RESULT=I2P_ERROR"),
        ("SESSION CREATE STYLE=STREAM ID=b DESTINATION=TRANSIENT SIGNATURE_TYPE=0", "RESULT=I2P_ERROR"),
        ("SESSION CREATE STYLE=STREAM ID=b DESTINATION=nonsense", "RESULT=INVALID_KEY"),
        ("SESSION CREATE STYLE=STREAM ID=b", "RESULT=INVALID_KEY"),
        ("SESSION CREATE STYLE=STREAM DESTINATION=TRANSIENT", "RESULT=INVALID_ID"),
        ("SESSION CREATE STYLE=STREAM ID=a DESTINATION=TRANSIENT", "RESULT=DUPLICATED_ID"),
        (
            "SESSION CREATE STYLE=STREAM ID=b DESTINATION=TRANSIENT inbound.length=9",
            "inbound.length must be 0 to 8",
        ),
    ] {
        let conn = b.open();
        let answer = b.ask(conn, line);
        assert!(answer.contains(reply), "{line}: {answer}");
    }
}

#[test]
fn a_private_key_makes_the_same_destination_again() {
    let mut b = Bench::new();
    let conn = b.open();
    let answer = b.ask(conn, "DEST GENERATE SIGNATURE_TYPE=EdDSA_SHA512_Ed25519");
    let word = |key: &str| answer.split_whitespace().find_map(|w| w.strip_prefix(key)).unwrap().to_owned();
    let (public, private) = (word("PUB="), word("PRIV="));
    b.tell(conn, &format!("SESSION CREATE STYLE=STREAM ID=a DESTINATION={private}\n"));
    b.event(&ClientEvent::SessionReady(SessionId(0)));
    assert_eq!(b.output(conn), format!("SESSION STATUS RESULT=OK DESTINATION={private}\n"));
    assert_eq!(
        b.ask(conn, "NAMING LOOKUP NAME=ME"),
        format!("NAMING REPLY RESULT=OK NAME=ME VALUE={public}\n")
    );
}

#[test]
fn connecting_carries_early_bytes_and_respects_room() {
    let mut b = Bench::new();
    b.session("a");
    let conn = b.open();
    let peer = options::transient(&mut Rng::from_seed([4; 32])).destination;
    b.tell(conn, &format!("STREAM CONNECT ID=a DESTINATION={} TO_PORT=80\nearly", peer.to_base64()));
    assert_eq!(b.router.connects, [(peer.hash(), 0, 80)]);
    assert_eq!(b.output(conn), "");
    b.router.room = 3;
    b.event(&ClientEvent::StreamConnected { session: SessionId(0), stream: StreamId(7) });
    assert_eq!(b.output(conn), "STREAM STATUS RESULT=OK\n");
    assert_eq!((b.router.sent.as_slice(), b.sam.read_room(conn, &b.router)), (&b"ear"[..], 0));
    b.router.room = 100;
    b.event(&ClientEvent::StreamWritable { session: SessionId(0), stream: StreamId(7) });
    assert_eq!((b.router.sent.as_slice(), b.sam.read_room(conn, &b.router)), (&b"early"[..], 98));
    b.router.incoming = b"answer".to_vec();
    b.router.at_end = true;
    assert_eq!(b.output(conn), "answer");
    // The peer has finished, the client has not.
    assert!(std::iter::from_fn(|| b.sam.poll_output()).any(|o| o == SamOutput::Finish(conn)));
    b.tell(conn, " and more");
    assert_eq!(b.router.sent, b"early and more");
    assert!(!b.closes(conn));
    b.sam.handle_eof(conn, &mut b.router, NOW);
    assert_eq!(b.router.closed, [StreamId(7)]);
    assert!(b.closes(conn));
}

#[test]
fn a_failed_connect_says_why() {
    for (reason, result) in [
        (StreamEnd::Timeout, "TIMEOUT"),
        (StreamEnd::NotFound, "CANT_REACH_PEER"),
        (StreamEnd::Limit, "I2P_ERROR"),
    ] {
        let mut b = Bench::new();
        b.session("a");
        let conn = b.open();
        let hash = DestinationHash::new([1; 32]);
        b.tell(conn, &format!("STREAM CONNECT ID=a DESTINATION={}\n", aioli_wire::base32::host_name(&hash)));
        b.event(&ClientEvent::StreamClosed { session: SessionId(0), stream: StreamId(7), reason });
        let answer = b.output(conn);
        assert!(answer.starts_with(&format!("STREAM STATUS RESULT={result} MESSAGE=")), "{answer}");
        assert!(b.closes(conn));
    }
}

#[test]
fn accepts_are_served_in_order_and_streams_wait_for_them() {
    let mut b = Bench::new();
    b.session("a");
    let (one, two) = (b.open(), b.open());
    assert_eq!(b.ask(one, "STREAM ACCEPT ID=a"), "STREAM STATUS RESULT=OK\n");
    assert_eq!(b.ask(two, "STREAM ACCEPT ID=a SILENT=true"), "");
    assert!(b.router.listening);
    let from = b.incoming(10);
    assert_eq!(b.output(one), format!("{} FROM_PORT=1 TO_PORT=2\n", from.to_base64()));
    b.incoming(11);
    assert_eq!(b.output(two), "");
    b.tell(two, "data");
    assert_eq!(b.router.sent, b"data");
    b.incoming(12);
    let three = b.open();
    assert!(b.ask(three, "STREAM ACCEPT ID=a").contains("FROM_PORT=1"));
}

#[test]
fn forwarding_dials_and_greets() {
    let mut b = Bench::new();
    b.session("a");
    let control = b.open();
    assert_eq!(b.ask(control, "STREAM FORWARD ID=a PORT=8080"), "STREAM STATUS RESULT=OK\n");
    let from = b.incoming(10);
    let dialled = std::iter::from_fn(|| b.sam.poll_output())
        .find_map(|o| if let SamOutput::Dial { conn, to } = o { Some((conn, to)) } else { None });
    let (conn, to) = dialled.unwrap();
    // The address of the client, unless it names another.
    assert_eq!(to, SocketAddr::new(HOST, 8080));
    b.sam.connected(conn, &mut b.router, NOW);
    assert_eq!(b.output(conn), format!("{} FROM_PORT=1 TO_PORT=2\n", from.to_base64()));
    b.incoming(11);
    let failed = std::iter::from_fn(|| b.sam.poll_output())
        .find_map(|o| if let SamOutput::Dial { conn, .. } = o { Some(conn) } else { None });
    b.sam.connect_failed(failed.unwrap(), &mut b.router, NOW);
    assert_eq!(b.router.reset, [StreamId(11)]);
}

#[test]
fn a_session_ends_with_its_connection_and_takes_its_streams_along() {
    let mut b = Bench::new();
    let control = b.session("a");
    let acceptor = b.open();
    b.ask(acceptor, "STREAM ACCEPT ID=a");
    b.sam.handle_closed(control, &mut b.router, NOW);
    assert_eq!(b.router.destroyed, [SessionId(0)]);
    assert!(b.closes(acceptor));
    let late = b.open();
    assert!(b.ask(late, "STREAM ACCEPT ID=a").contains("RESULT=INVALID_ID"));
}

#[test]
fn names_are_looked_up() {
    let mut b = Bench::new();
    let conn = b.session("a");
    let name = aioli_wire::base32::host_name(&DestinationHash::new([1; 32]));
    assert_eq!(b.ask(conn, &format!("NAMING LOOKUP NAME={name}")), "");
    b.event(&ClientEvent::LookupDone { lookup: ClientLookup(5), destination: None });
    assert_eq!(b.output(conn), format!("NAMING REPLY RESULT=KEY_NOT_FOUND NAME={name}\n"));
    assert_eq!(b.ask(conn, "NAMING LOOKUP NAME=x.i2p"), "NAMING REPLY RESULT=KEY_NOT_FOUND NAME=x.i2p\n");
    assert_eq!(b.ask(conn, "NAMING LOOKUP NAME=!!"), "NAMING REPLY RESULT=INVALID_KEY NAME=!!\n");
    assert_eq!(b.ask(conn, "PING hello there"), "PONG hello there\n");
    b.tell(conn, "QUIT\n");
    assert!(b.closes(conn));
}

#[test]
fn a_session_without_tunnels_fails_in_time() {
    let mut b = Bench::new();
    let conn = b.open();
    b.ask(conn, "SESSION CREATE STYLE=STREAM ID=a DESTINATION=TRANSIENT");
    let deadline = b.sam.next_timeout().unwrap();
    b.sam.handle_timeout(&mut b.router, Now { mono: deadline, ..NOW });
    assert!(b.output(conn).starts_with("SESSION STATUS RESULT=I2P_ERROR"));
    assert_eq!((b.router.destroyed.len(), b.sam.next_timeout()), (1, None));
}

#[test]
fn a_line_without_end_is_refused() {
    let mut b = Bench::new();
    let conn = b.open();
    let room = b.sam.read_room(conn, &b.router);
    b.tell(conn, &"x".repeat(room));
    assert_eq!(b.sam.read_room(conn, &b.router), 0);
    assert!(b.closes(conn));
}

#[test]
fn pings_take_any_text_before_and_after_hello() {
    let mut b = Bench::new();
    let conn = b.accepted();
    assert_eq!(b.ask(conn, "PING"), "PONG\n");
    assert_eq!(b.ask(conn, "PING \"a  = =b "), "PONG \"a  = =b \n");
    assert_eq!(b.ask(conn, "PONG \"x"), "");
    assert!(!b.closes(conn));
}

#[test]
fn unknown_commands_are_refused_and_broken_lines_end_the_connection() {
    let mut b = Bench::new();
    let conn = b.open();
    assert!(b.ask(conn, "DATAGRAM SEND").starts_with("DATAGRAM STATUS RESULT=I2P_ERROR MESSAGE="));
    assert!(b.ask(conn, "HELLO VERSION").starts_with("HELLO STATUS RESULT=I2P_ERROR MESSAGE="));
    assert!(b.ask(conn, "STREAM").starts_with("STREAM STATUS RESULT=I2P_ERROR"));
    assert!(!b.closes(conn));
    assert!(b.ask(conn, "NAMING LOOKUP NAME=\"x").starts_with("SESSION STATUS RESULT=I2P_ERROR"));
    assert!(b.closes(conn));
    assert_eq!(b.sam.stats().bad_lines, 3);
}

#[test]
fn silent_streams_never_get_a_line() {
    let mut b = Bench::new();
    b.session("a");
    let peer = options::transient(&mut Rng::from_seed([4; 32])).destination.to_base64();
    for line in [
        "STREAM CONNECT ID=none DESTINATION=x SILENT=true",
        "STREAM CONNECT ID=a DESTINATION=x SILENT=true",
        "STREAM CONNECT ID=a DESTINATION=x.i2p SILENT=true",
        "STREAM ACCEPT ID=none SILENT=true",
    ] {
        let conn = b.open();
        assert_eq!(b.ask(conn, line), "", "{line}");
        assert!(b.closes(conn), "{line}");
    }
    let conn = b.open();
    b.tell(conn, &format!("STREAM CONNECT ID=a DESTINATION={peer} SILENT=true\n"));
    b.event(&ClientEvent::StreamClosed {
        session: SessionId(0),
        stream: StreamId(7),
        reason: StreamEnd::Timeout,
    });
    assert_eq!(b.output(conn), "");
    assert!(b.closes(conn));
    let conn = b.open();
    b.tell(conn, &format!("STREAM CONNECT ID=a DESTINATION={peer} SILENT=true\n"));
    b.event(&ClientEvent::StreamConnected { session: SessionId(0), stream: StreamId(7) });
    assert_eq!(b.output(conn), "");
    // FORWARD is answered all the same.
    let conn = b.open();
    assert_eq!(b.ask(conn, "STREAM FORWARD ID=a PORT=1 SILENT=true"), "STREAM STATUS RESULT=OK\n");
}

#[test]
fn ports_of_a_session_are_those_of_its_streams() {
    let mut b = Bench::new();
    let control = b.open();
    b.tell(control, "SESSION CREATE STYLE=STREAM ID=a DESTINATION=TRANSIENT FROM_PORT=5 TO_PORT=6\n");
    b.event(&ClientEvent::SessionReady(SessionId(0)));
    let peer = options::transient(&mut Rng::from_seed([4; 32])).destination.to_base64();
    for (ports, expected) in [("", (5, 6)), ("FROM_PORT=0", (0, 6)), ("TO_PORT=65535 FROM_PORT=", (5, 65535))]
    {
        let conn = b.open();
        b.tell(conn, &format!("STREAM CONNECT ID=a DESTINATION={peer} {ports}\n"));
        let (_, from, to) = b.router.connects.pop().unwrap();
        assert_eq!((from, to), expected);
    }
    let conn = b.open();
    let answer = b.ask(conn, &format!("STREAM CONNECT ID=a DESTINATION={peer} TO_PORT=65536"));
    assert!(answer.starts_with("STREAM STATUS RESULT=I2P_ERROR MESSAGE=\"TO_PORT"), "{answer}");
    let conn = b.open();
    let answer = b.ask(conn, "SESSION CREATE STYLE=STREAM ID=b DESTINATION=TRANSIENT FROM_PORT=x");
    assert!(answer.starts_with("SESSION STATUS RESULT=I2P_ERROR"), "{answer}");
}

#[test]
fn ids_have_no_spaces_and_given_keys_need_no_type() {
    let mut b = Bench::new();
    let long = "x".repeat(256);
    for id in ["\"a b\"", "\"a\tb\"", long.as_str()] {
        let conn = b.open();
        let answer = b.ask(conn, &format!("SESSION CREATE STYLE=STREAM ID={id} DESTINATION=TRANSIENT"));
        assert!(answer.starts_with("SESSION STATUS RESULT=INVALID_ID"), "{answer}");
    }
    let conn = b.open();
    let keys = options::transient(&mut Rng::from_seed([4; 32]));
    let key = &*keys.to_base64();
    b.tell(conn, &format!("SESSION CREATE STYLE=STREAM ID=a DESTINATION={key} SIGNATURE_TYPE=0\n"));
    assert_eq!(b.router.sessions.len(), 1);
}

#[test]
fn several_accept_at_once_in_every_version() {
    let mut b = Bench::new();
    b.session("a");
    for max in ["3.0", "3.1", "3.1"] {
        let conn = b.accepted();
        assert_eq!(
            b.ask(conn, &format!("HELLO VERSION MIN=3.0 MAX={max}")),
            format!("HELLO REPLY RESULT=OK VERSION={max}\n")
        );
        assert_eq!(b.ask(conn, "STREAM ACCEPT ID=a"), "STREAM STATUS RESULT=OK\n");
    }
    let conn = b.open();
    assert!(b.ask(conn, "STREAM FORWARD ID=a PORT=80").contains("RESULT=ALREADY_ACCEPTING"));
    assert!(b.closes(conn));
}

#[test]
fn an_acceptor_that_is_leaving_gets_no_stream() {
    let mut b = Bench::new();
    b.session("a");
    let (gone, here) = (b.open(), b.open());
    b.ask(gone, "STREAM ACCEPT ID=a");
    b.ask(here, "STREAM ACCEPT ID=a");
    b.sam.handle_eof(gone, &mut b.router, NOW);
    b.incoming(10);
    assert_eq!(b.output(gone), "");
    assert!(b.output(here).contains("FROM_PORT=1"));
}

#[test]
fn a_stream_that_closed_before_it_was_accepted_is_not_handed_over() {
    let mut b = Bench::new();
    b.session("a");
    b.incoming(10);
    b.event(&ClientEvent::StreamClosed {
        session: SessionId(0),
        stream: StreamId(10),
        reason: StreamEnd::Reset,
    });
    let conn = b.open();
    assert_eq!(b.ask(conn, "STREAM ACCEPT ID=a"), "STREAM STATUS RESULT=OK\n");
    // One that only finished sending is: it may have left bytes to read.
    b.router.incoming = b"last words".to_vec();
    b.router.at_end = true;
    let from = b.incoming(11);
    assert_eq!(b.output(conn), format!("{} FROM_PORT=1 TO_PORT=2\nlast words", from.to_base64()));
    b.sam.handle_eof(conn, &mut b.router, NOW);
    assert!(b.closes(conn));
}

#[test]
fn a_forwarded_stream_that_ends_while_it_is_dialled_leaves_nothing() {
    let mut b = Bench::new();
    let control = b.session("a");
    let forward = b.open();
    let text = "SSL is not supported";
    assert!(b.ask(forward, "STREAM FORWARD ID=a PORT=8080 SSL=true").contains(text));
    let forward = b.open();
    b.ask(forward, "STREAM FORWARD ID=a PORT=8080 HOST=localhost");
    for end_session in [false, true] {
        b.incoming(10);
        let dialled = std::iter::from_fn(|| b.sam.poll_output())
            .find_map(|o| if let SamOutput::Dial { conn, .. } = o { Some(conn) } else { None })
            .unwrap();
        if end_session {
            b.sam.handle_closed(control, &mut b.router, NOW);
        } else {
            let (session, stream) = (SessionId(0), StreamId(10));
            b.event(&ClientEvent::StreamClosed { session, stream, reason: StreamEnd::Reset });
        }
        assert!(b.closes(dialled));
        b.sam.connected(dialled, &mut b.router, NOW);
        assert!(b.closes(dialled), "the connection stands now and must be closed");
        b.sam.handle_closed(dialled, &mut b.router, NOW);
        assert_eq!(b.sam.stats().streams, 0);
    }
}

#[test]
fn a_client_must_greet_in_time() {
    let mut b = Bench::new();
    let conn = b.accepted();
    let at = b.sam.next_timeout().unwrap();
    b.sam.handle_timeout(&mut b.router, Now { mono: at, ..NOW });
    assert!(b.output(conn).starts_with("HELLO REPLY RESULT=I2P_ERROR"));
    assert!(b.closes(conn));
    assert_eq!((b.sam.stats().silent_connections, b.sam.next_timeout()), (1, None));
    let conn = b.open();
    b.sam.handle_timeout(&mut b.router, Now { mono: at, ..NOW });
    assert!(!b.closes(conn));
}

#[test]
fn shutting_down_tells_everyone() {
    let mut b = Bench::new();
    let control = b.session("a");
    let acceptor = b.open();
    b.ask(acceptor, "STREAM ACCEPT ID=a");
    let idle = b.open();
    b.sam.shut_down(&mut b.router, NOW);
    assert!(b.output(control).starts_with("SESSION STATUS RESULT=I2P_ERROR"));
    assert!(b.output(acceptor).starts_with("STREAM STATUS RESULT=I2P_ERROR"));
    assert_eq!(b.output(idle), "");
    let closed: Vec<_> = std::iter::from_fn(|| b.sam.poll_output())
        .filter_map(|o| if let SamOutput::Close(conn) = o { Some(conn) } else { None })
        .collect();
    assert_eq!(closed, [control, acceptor, idle]);
    assert_eq!(b.sam.accepted(HOST, NOW), None);
    assert_eq!(b.sam.stats().refused_connections, 1);
}

#[test]
fn a_client_that_does_not_read_is_not_read() {
    let mut b = Bench::new();
    let conn = b.open();
    let asks = format!("PING {}\n", "x".repeat(1_000)).repeat(200);
    let mut sent = 0;
    while b.sam.read_room(conn, &b.router) > 0 {
        let room = b.sam.read_room(conn, &b.router);
        b.tell(conn, asks.get(sent..sent + room).unwrap());
        sent += room;
    }
    assert!((64_000..100_000).contains(&sent), "{sent}");
    while b.sam.poll_output().is_some() {}
    let answers = b.output(conn).len();
    assert!(std::iter::from_fn(|| b.sam.poll_output()).any(|o| o == SamOutput::ReadMore(conn)));
    assert!(b.sam.read_room(conn, &b.router) > 0);
    // What was read but not yet answered is answered now.
    assert_eq!((answers + b.output(conn).len()) / 1_006, sent / 1_006);
}

#[test]
fn connections_and_waiting_streams_have_limits() {
    let mut b = Bench::new();
    b.sam.config.max_connections = 2;
    b.sam.config.max_backlog = 1;
    b.session("a");
    b.incoming(10);
    b.incoming(11);
    assert_eq!(b.router.reset, [StreamId(11)]);
    let forward = b.open();
    assert_eq!(b.sam.accepted(HOST, NOW), None);
    // The stream that waited would need a third connection.
    b.ask(forward, "STREAM FORWARD ID=a PORT=80");
    assert_eq!(b.router.reset, [StreamId(11), StreamId(10)]);
    assert_eq!((b.sam.stats().refused_connections, b.sam.stats().refused_streams), (1, 2));
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_it_panic(chunks in proptest::collection::vec(proptest::collection::vec(0_u8..128, 0..80), 0..20)) {
        let mut b = Bench::new();
        let conn = b.accepted();
        for chunk in chunks {
            b.sam.handle_bytes(conn, &chunk, &mut b.router, NOW);
        }
        let mut out = Vec::new();
        b.sam.poll_transmit(conn, &mut out, 1 << 16, &mut b.router, NOW);
    }
}
