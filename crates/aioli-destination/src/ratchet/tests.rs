//! Two or more peers over a pipe that loses, reorders and repeats.

use aioli_core::crypto::Secret;
use aioli_core::{Date, Now};
use aioli_wire::garlic::Clove;
use aioli_wire::i2np::MessageType;

use super::*;

struct End {
    sessions: Sessions,
    rng: Rng,
}

struct World {
    now: Now,
    alice: End,
    bob: End,
}

impl World {
    fn new(limits: &Limits) -> Self {
        let end = |seed| {
            let mut rng = Rng::from_seed([seed; 32]);
            let key = PrivateKey::generate(&mut rng);
            End { sessions: Sessions::new(key, limits.clone(), &mut rng), rng }
        };
        let now =
            Now { mono: Instant::ZERO + Duration::from_secs(1000), wall: Date::from_secs(1_800_000_000) };
        Self { now, alice: end(1), bob: end(2) }
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall = self.now.wall + time;
    }

    fn timeouts(&mut self) {
        for end in [&mut self.alice, &mut self.bob] {
            end.sessions.handle_timeout(&mut Cx { now: self.now, rng: &mut end.rng });
        }
    }

    fn alice_to_bob(&mut self, text: &[u8]) -> Vec<u8> {
        let to = self.bob.sessions.public_key();
        self.alice.seal(&to, text, self.now)
    }

    fn bob_to_alice(&mut self, text: &[u8]) -> Vec<u8> {
        let to = self.alice.sessions.public_key();
        self.bob.seal(&to, text, self.now)
    }

    /// NS, NSR and the first ES.
    fn establish(&mut self) {
        let ns = self.alice_to_bob(b"ns");
        assert_eq!(self.bob.texts(ns, self.now), [b"ns"]);
        let nsr = self.bob_to_alice(b"nsr");
        assert_eq!(self.alice.texts(nsr, self.now), [b"nsr"]);
        let es = self.alice_to_bob(b"es");
        assert_eq!(self.bob.texts(es, self.now), [b"es"]);
    }
}

impl End {
    fn cx(&mut self, now: Now) -> (&mut Sessions, Cx<'_>) {
        (&mut self.sessions, Cx { now, rng: &mut self.rng })
    }

    fn seal(&mut self, to: &PublicKey, text: &[u8], now: Now) -> Vec<u8> {
        let clove = clove(text);
        let (sessions, mut cx) = self.cx(now);
        sessions.seal(to, &[clove], &mut cx).unwrap()
    }

    fn open(&mut self, mut body: Vec<u8>, now: Now) -> Result<Opened, OpenError> {
        let (sessions, mut cx) = self.cx(now);
        sessions.open(&mut body, &mut cx)
    }

    fn texts(&mut self, body: Vec<u8>, now: Now) -> Vec<Vec<u8>> {
        let opened = self.open(body, now).unwrap();
        opened
            .cloves
            .into_iter()
            .filter(|c| c.message.kind == MessageType::Data)
            .map(|c| c.message.body)
            .collect()
    }

    fn respond(&mut self, now: Now) -> Option<Vec<u8>> {
        let (sessions, mut cx) = self.cx(now);
        sessions.handle_timeout(&mut cx);
        let Output::Respond(to) = sessions.poll_output()?;
        sessions.seal_response(&to, &mut cx)
    }

    fn stats(&self) -> Stats {
        self.sessions.stats()
    }
}

fn clove(body: &[u8]) -> Clove<'_> {
    Clove { delivery: CloveDelivery::Local, kind: 20, id: 1, expires: Date::from_secs(1), body }
}

const S: Duration = Duration::from_secs(1);

/// root = 00..1f, k = 20..3f, computed from the formulas outside this project.
#[test]
fn dh_initialize_gives_the_known_chain() {
    let root = Secret::new(std::array::from_fn(|i| i as u8));
    let k = Secret::new(std::array::from_fn(|i| 32 + i as u8));
    let (next_root, mut tags) = aioli_core::crypto::ratchet::dh_initialize(&root, &k);
    assert_eq!(
        hex::encode(next_root.as_bytes()),
        "5328bb969b5f1b1339fc635cf2e4cd9cb3cd594d5a2739caf07893f45958670d"
    );
    for (n, tag, key) in [
        (0, "fad4c17fbf19747f", "c34c34ba92727e9e4430be57a9b8f3632d4b1f2f3f56496e381cd2828199f693"),
        (1, "47ed865d37738746", "cf396ac77c3b498d2a82bd306bcef510c6aadcc7d0c206a4cd69fe47a36cae99"),
    ] {
        let (number, t, k) = tags.next_sending().unwrap();
        assert_eq!((number, hex::encode(t), hex::encode(k.as_bytes())), (n, tag.to_owned(), key.to_owned()));
    }
}

#[test]
fn a_session_is_established_and_its_messages_are_short() {
    let mut w = World::new(&Limits::default());
    w.establish();
    let es = w.bob_to_alice(b"0123456789");
    assert!(es.len() <= 4 + 8 + 3 + 10 + 10 + 3 + 15 + 16);
    assert_eq!(w.alice.texts(es, w.now), [b"0123456789"]);
    let (a, b) = (w.alice.stats(), w.bob.stats());
    assert_eq!((a.new_sessions_sent, a.existing_sent, a.replies_received), (1, 1, 1));
    assert_eq!((b.new_sessions_received, b.replies_sent, b.existing_sent), (1, 1, 1));
    assert_eq!((a.established, b.established), (1, 1));
}

/// 10,000 messages each way over a pipe with loss and reordering, ratcheting
/// every 300 messages; all that is not lost arrives.
#[test]
fn a_lossy_reordering_pipe_across_many_ratchets() {
    let limits = Limits { ratchet_at: 300, tag_window_max: 160, ..Limits::default() };
    let mut w = World::new(&limits);
    w.establish();
    let mut net = Rng::from_seed([9; 32]);
    let (mut to_bob, mut to_alice) = (Vec::new(), Vec::new());
    let (mut lost, mut arrived) = (0, 0);
    for i in 0..10_000u32 {
        w.pass(Duration::from_millis(10));
        let a = w.alice_to_bob(&i.to_be_bytes());
        let b = w.bob_to_alice(&i.to_be_bytes());
        for (queue, body) in [(&mut to_bob, a), (&mut to_alice, b)] {
            if net.chance(1, 10) {
                lost += 1;
            } else {
                let at = queue.len() - net.up_to(queue.len().min(12) as u64) as usize;
                queue.insert(at, body);
            }
        }
        while to_bob.len() > 16 || (i == 9_999 && !to_bob.is_empty()) {
            arrived += w.bob.texts(to_bob.remove(0), w.now).len();
        }
        while to_alice.len() > 16 || (i == 9_999 && !to_alice.is_empty()) {
            arrived += w.alice.texts(to_alice.remove(0), w.now).len();
        }
        w.timeouts();
        assert!(w.bob.stats().tags <= 3 * 320);
    }
    assert_eq!(lost + arrived, 20_000);
    for stats in [w.alice.stats(), w.bob.stats()] {
        assert!(stats.ratchets_sent >= 25 && stats.ratchets_received >= 25, "{stats:?}");
        assert_eq!((stats.not_opened, stats.misbehaved, stats.established), (0, 0, 1), "{stats:?}");
    }
}

#[test]
fn traffic_one_way_ratchets_through_responses() {
    let limits = Limits { ratchet_at: 50, ..Limits::default() };
    let mut w = World::new(&limits);
    w.establish();
    for _ in 0..600 {
        w.pass(Duration::from_millis(50));
        let es = w.alice_to_bob(b"x");
        assert_eq!(w.bob.texts(es, w.now).len(), 1);
        if let Some(es) = w.bob.respond(w.now) {
            assert!(w.alice.texts(es, w.now).is_empty());
        }
    }
    let stats = w.alice.stats();
    assert!(stats.ratchets_sent >= 5, "{stats:?}");
    assert_eq!(stats.established, 1);
}

#[test]
fn a_lost_reply_and_a_lost_new_session_cost_only_themselves() {
    let mut w = World::new(&Limits::default());
    let _lost = w.alice_to_bob(b"1");
    let second = w.alice_to_bob(b"2");
    let third = w.alice_to_bob(b"3");
    assert_eq!(w.bob.texts(second, w.now), [b"2"]);
    let _lost = w.bob_to_alice(b"reply 1");
    assert_eq!(w.bob.texts(third, w.now), [b"3"]);
    let late = w.bob_to_alice(b"reply 2");
    let reply = w.bob_to_alice(b"reply 3");
    assert_eq!(w.alice.texts(reply, w.now), [b"reply 3"]);
    assert_eq!(w.alice.texts(late, w.now), [b"reply 2"], "a reply that comes late is still read");
    let es = w.alice_to_bob(b"4");
    assert_eq!(w.bob.texts(es, w.now), [b"4"]);
    let es = w.bob_to_alice(b"5");
    assert_eq!(w.alice.texts(es, w.now), [b"5"]);
    assert_eq!((w.alice.stats().established, w.bob.stats().established), (1, 1));
    assert_eq!(w.bob.stats().existing_sent, 1);
}

#[test]
fn replies_are_bounded_and_then_bob_starts_himself() {
    let limits = Limits { replies_per_new_session: 3, ..Limits::default() };
    let mut w = World::new(&limits);
    let ns = w.alice_to_bob(b"1");
    w.bob.open(ns, w.now).unwrap();
    for _ in 0..5 {
        let reply = w.bob_to_alice(b"r");
        assert_eq!(w.alice.texts(reply, w.now), [b"r"]);
    }
    assert_eq!((w.bob.stats().replies_sent, w.bob.stats().new_sessions_sent), (3, 2));
}

#[test]
fn both_start_at_once() {
    let mut w = World::new(&Limits::default());
    let (a, b) = (w.alice_to_bob(b"a"), w.bob_to_alice(b"b"));
    assert_eq!(w.bob.texts(a, w.now), [b"a"]);
    assert_eq!(w.alice.texts(b, w.now), [b"b"]);
    for round in 0..50 {
        w.pass(Duration::from_millis(100));
        let (a, b) = (w.alice_to_bob(b"a"), w.bob_to_alice(b"b"));
        assert_eq!(w.bob.texts(a, w.now), [b"a"], "round {round}");
        assert_eq!(w.alice.texts(b, w.now), [b"b"], "round {round}");
    }
    let (a, b) = (w.alice.stats(), w.bob.stats());
    assert_eq!((a.new_sessions_sent, b.new_sessions_sent), (1, 1));
    assert!(a.replies_sent <= 2 && b.replies_sent <= 2 && a.existing_sent >= 48, "{a:?} {b:?}");
}

#[test]
fn replayed_and_outdated_new_sessions_are_refused() {
    let mut w = World::new(&Limits::default());
    let ns = w.alice_to_bob(b"1");
    w.bob.open(ns.clone(), w.now).unwrap();
    assert_eq!(w.bob.open(ns.clone(), w.now), Err(OpenError::Replayed));
    let mut free_bits = ns.clone();
    free_bits[4 + 31] ^= 0xc0;
    assert_eq!(w.bob.open(free_bits, w.now), Err(OpenError::Replayed), "the top bits are free to change");
    w.pass(6 * 60 * S);
    assert_eq!(w.bob.open(ns, w.now), Err(OpenError::Replayed));
    let old = w.alice_to_bob(b"2");
    w.pass(6 * 60 * S);
    assert_eq!(w.bob.open(old, w.now), Err(OpenError::Date));
    let early = w.alice_to_bob(b"3");
    w.now.wall = w.now.wall - 3 * 60 * S;
    assert_eq!(w.bob.open(early, w.now), Err(OpenError::Date));
}

#[test]
fn a_tampered_message_does_not_open_and_the_real_one_still_does() {
    let mut w = World::new(&Limits::default());
    w.establish();
    let es = w.alice_to_bob(b"payload");
    for i in 4..es.len() {
        let mut bad = es.clone();
        bad[i] ^= 0x40;
        assert!(w.bob.open(bad, w.now).is_err(), "byte {i}");
    }
    for len in 0..es.len() {
        assert!(w.bob.open(es[..len].to_vec(), w.now).is_err(), "{len} bytes");
    }
    assert_eq!(w.bob.texts(es.clone(), w.now), [b"payload"]);
    assert!(w.bob.open(es, w.now).is_err(), "a tag opens once");
}

#[test]
fn an_unbound_message_leaves_no_state() {
    let mut w = World::new(&Limits::default());
    let to = w.bob.sessions.public_key();
    let mut cx = Cx { now: w.now, rng: &mut w.alice.rng };
    let ns = Sessions::seal_unbound(&to, &[clove(b"who am I")], &mut cx).unwrap();
    let opened = w.bob.open(ns, w.now).unwrap();
    assert_eq!(opened.from, None);
    assert_eq!(opened.cloves[0].message.body, b"who am I");
    assert_eq!((w.bob.stats().peers, w.bob.stats().tags), (0, 0));
}

#[test]
fn everything_expires() {
    let mut w = World::new(&Limits::default());
    w.establish();
    w.pass(8 * 60 * S);
    w.timeouts();
    let ns = w.alice_to_bob(b"a new session");
    assert_eq!(w.alice.stats().new_sessions_sent, 2, "the sender gave up its tags after 8 minutes");
    assert_eq!(w.bob.texts(ns, w.now), [b"a new session"]);
    for _ in 0..11 {
        w.pass(60 * S);
        w.timeouts();
    }
    for stats in [w.alice.stats(), w.bob.stats()] {
        assert_eq!((stats.peers, stats.tags), (0, 0));
    }
    assert_eq!((w.alice.sessions.next_timeout(), w.bob.sessions.next_timeout()), (None, None));
}

#[test]
fn unanswered_handshakes_expire_and_are_bounded() {
    let mut w = World::new(&Limits::default());
    for _ in 0..100 {
        let ns = w.alice_to_bob(b"x");
        w.bob.open(ns, w.now).unwrap();
        let _reply_lost = w.bob_to_alice(b"y");
    }
    let (a, b) = (w.alice.stats(), w.bob.stats());
    assert!(a.tags <= 16 * 12, "{a:?}");
    assert!(b.tags <= 8 * 12 * 24, "{b:?}");
    w.pass(181 * S);
    w.timeouts();
    assert_eq!((w.alice.stats().tags, w.bob.stats().tags), (0, 0));
}

#[test]
fn half_open_peers_give_way_at_the_limit() {
    let mut w = World::new(&Limits { peers: 3, ..Limits::default() });
    w.establish();
    let bob = w.bob.sessions.public_key();
    for seed in 10..30 {
        let mut rng = Rng::from_seed([seed; 32]);
        let key = PrivateKey::generate(&mut rng);
        let mut stranger = End { sessions: Sessions::new(key, Limits::default(), &mut rng), rng };
        let ns = stranger.seal(&bob, b"me too", w.now);
        w.bob.open(ns, w.now).unwrap();
        assert!(w.bob.stats().peers <= 3);
    }
    let es = w.alice_to_bob(b"still here");
    assert_eq!(w.bob.texts(es, w.now), [b"still here"]);
}

#[test]
fn a_peer_that_lost_its_state_is_met_anew() {
    let mut w = World::new(&Limits::default());
    w.establish();
    let es = w.bob_to_alice(b"x");
    w.alice.open(es, w.now).unwrap();
    // Bob restarts with the same key.
    let limits = Limits::default();
    w.bob.sessions = Sessions::new(w.bob.sessions.key.clone(), limits, &mut w.bob.rng);
    let mut opened = 0;
    for _ in 0..60 {
        w.pass(S);
        let body = w.alice_to_bob(b"hello?");
        if w.bob.open(body, w.now).is_ok() {
            opened += 1;
            let reply = w.bob_to_alice(b"yes");
            w.alice.open(reply, w.now).unwrap();
        }
    }
    assert!(opened >= 30, "{opened}");
    // And Alice restarts: Bob follows the new session at once.
    w.alice.sessions = Sessions::new(w.alice.sessions.key.clone(), Limits::default(), &mut w.alice.rng);
    w.pass(S);
    w.establish();
}

#[test]
fn the_lease_set_goes_along_until_it_is_acknowledged() {
    let mut w = World::new(&Limits::default());
    let stores = |o: &Opened| {
        o.cloves
            .iter()
            .filter(|c| c.message.kind == MessageType::DatabaseStore)
            .map(|c| c.message.body[0])
            .collect()
    };
    let mut seen: Vec<u8> = Vec::new();
    w.alice.sessions.set_lease_set(Some(Arc::from([1u8; 400])));
    let ns = w.alice_to_bob(b"1");
    seen.extend::<Vec<u8>>(stores(&w.bob.open(ns, w.now).unwrap()));
    let nsr = w.bob_to_alice(b"2");
    w.alice.open(nsr, w.now).unwrap();
    let es = w.alice_to_bob(b"3");
    seen.extend::<Vec<u8>>(stores(&w.bob.open(es, w.now).unwrap()));
    assert_eq!(seen, [1], "the reply confirmed it");
    w.alice.sessions.set_lease_set(Some(Arc::from([2u8; 400])));
    let _lost = w.alice_to_bob(b"4");
    w.pass(5 * S);
    for _ in 0..3 {
        let es = w.alice_to_bob(b"5");
        seen.extend::<Vec<u8>>(stores(&w.bob.open(es, w.now).unwrap()));
    }
    assert_eq!(seen, [1, 2], "sent again once, not with every message");
    w.pass(2 * S);
    let ack = w.bob.respond(w.now).expect("the acknowledgement needs no traffic");
    w.alice.open(ack, w.now).unwrap();
    w.pass(10 * S);
    let es = w.alice_to_bob(b"6");
    seen.extend::<Vec<u8>>(stores(&w.bob.open(es, w.now).unwrap()));
    assert_eq!(seen, [1, 2], "acknowledged");
}

#[test]
fn silence_is_answered_within_a_second() {
    let mut w = World::new(&Limits::default());
    let ns = w.alice_to_bob(b"1");
    w.bob.open(ns, w.now).unwrap();
    w.pass(S);
    let nsr = w.bob.respond(w.now).expect("a reply without traffic");
    w.alice.open(nsr, w.now).unwrap();
    w.pass(S);
    let es = w.alice.respond(w.now).expect("Alice confirms without traffic");
    w.bob.open(es, w.now).unwrap();
    assert_eq!((w.alice.stats().established, w.bob.stats().established), (1, 1));
    w.pass(5 * S);
    assert_eq!((w.alice.respond(w.now), w.bob.respond(w.now)), (None, None));
}

proptest::proptest! {
    #[test]
    fn no_message_panics(bytes: Vec<u8>, len: u8) {
        let mut w = World::new(&Limits::default());
        let _ = w.bob.open(bytes.clone(), w.now);
        let _ = w.bob.open([&[0, 0, 0, len][..], &bytes].concat(), w.now);
    }
}

/// Run by hand: `cargo test --release -p aioli-destination -- --ignored --nocapture cost`.
#[test]
#[ignore = "prints a measurement"]
#[expect(clippy::disallowed_methods, clippy::print_stdout, reason = "a measurement by hand")]
fn cost_per_message() {
    let mut w = World::new(&Limits::default());
    w.establish();
    let text = [7; 1730];
    let (n, mut sealed) = (20_000, Vec::new());
    let start = std::time::Instant::now();
    for _ in 0..n {
        sealed.push(w.alice_to_bob(&text));
        if sealed.len() == 100 {
            for body in sealed.drain(..) {
                w.bob.open(body, w.now).unwrap();
            }
            let es = w.bob_to_alice(b"x");
            w.alice.open(es, w.now).unwrap();
        }
    }
    println!("{:?} to seal and open one message of {} bytes", start.elapsed() / n, text.len());
}
