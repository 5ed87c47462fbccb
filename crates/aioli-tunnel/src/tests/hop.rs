//! One router as a hop, asked by a creator that is made of spare parts.

use aioli_core::crypto::aead::ChaChaKey;
use aioli_core::crypto::aes::{CbcKey, TunnelLayer};
use aioli_core::crypto::build_keys::{self, HopKeys};
use aioli_core::crypto::chacha20;
use aioli_wire::build::{
    BuildRecords, BuildRequest, HASH_PREFIX, LONG_RECORD, LONG_REQUEST, Role, SHORT_RECORD, reply_accepts,
    reply_offer,
};
use aioli_wire::i2np::TunnelGateway;
use aioli_wire::tunnel::{Fragment, TUNNEL_DATA_SIZE, TunnelDelivery, assemble, fragments};
use aioli_wire::{Congestion, Mapping, Writer};

use super::*;

pub(super) const PREVIOUS: RouterHash = RouterHash::new([21; 32]);
pub(super) const NEXT: RouterHash = RouterHash::new([22; 32]);
const STRANGER: RouterHash = RouterHash::new([23; 32]);
const ANSWER_ID: u32 = 4_711;
/// The record that is for the hop, of [`COUNT`].
const SLOT: usize = 2;
const COUNT: usize = 5;

/// The hop, and what its creator knows.
pub(super) struct Asked {
    pub(super) hop: Tunnels,
    key: x25519::PrivateKey,
    rng: Rng,
    pub(super) now: Now,
    pub(super) places: Addresses,
}

/// Where neighbours are: all whose hash begins with the same byte are of one subnet.
pub(super) struct Addresses(pub(super) bool);

impl Places for Addresses {
    fn subnet(&self, router: &RouterHash) -> Option<Subnet> {
        self.0.then(|| Subnet::V6([router.as_bytes()[0]; 4]))
    }
}

/// What was asked, and what is known of it.
struct Question {
    message: Message,
    sent: BuildRecords,
    keys: HopKeys,
    h: [u8; 32],
    ck: Secret<32>,
}

/// The keys in a long record.
const LONG_LAYER: [u8; 32] = [1; 32];
const LONG_IV: [u8; 32] = [2; 32];
const LONG_REPLY_KEY: [u8; 32] = [3; 32];
const LONG_REPLY_IV: [u8; 16] = [4; 16];

impl Asked {
    pub(super) fn new(limits: Limits) -> Self {
        let mut rng = Rng::from_seed([9; 32]);
        let key = x25519::PrivateKey::generate(&mut rng);
        let config = Config { limits, ..Config::new(A, key.clone()) };
        let hop = Tunnels::new(config, rng.fork());
        let now = Now { mono: Instant::from_micros(5), wall: Date::from_secs(1_780_000_020) };
        Self { hop, key, rng, now, places: Addresses(false) }
    }

    pub(super) fn request(&mut self, role: Role) -> BuildRequest {
        BuildRequest {
            receive_tunnel: random_tunnel_id(&mut self.rng),
            next_tunnel: TunnelId::new(77).unwrap(),
            next_router: NEXT,
            role,
            requested: Date::from_secs(self.now.wall.as_secs() / 60 * 60),
            lifetime_secs: 600,
            next_message_id: ANSWER_ID,
            options: Mapping::new(),
        }
    }

    fn sealed(&mut self, size: usize, plain: &[u8]) -> Question {
        let (sealed, state) = noise_n::seal(&self.key.public(), plain, &mut self.rng).unwrap();
        let mut sent = BuildRecords::new(size, COUNT);
        for i in 0..COUNT {
            self.rng.fill(sent.get_mut(i));
        }
        let (prefix, rest) = sent.get_mut(SLOT).split_at_mut(HASH_PREFIX);
        prefix.copy_from_slice(&A.as_bytes()[..HASH_PREFIX]);
        rest.copy_from_slice(&sealed);
        let kind = match size {
            SHORT_RECORD => MessageType::ShortTunnelBuild,
            _ => MessageType::VariableTunnelBuild,
        };
        let message =
            Message { kind, id: MessageId(self.rng.u32()), expires: self.now.wall, body: sent.encode() };
        let role_flag = if size == SHORT_RECORD { plain[40] } else { 0 };
        let keys = build_keys::derive(&state.ck, role_flag & 0x40 != 0);
        Question { message, sent, keys, h: state.h, ck: state.ck }
    }

    fn short(&mut self, request: &BuildRequest) -> Question {
        let plain = request.encode_short(&mut self.rng);
        self.sealed(SHORT_RECORD, &plain)
    }

    fn long(&mut self, request: &BuildRequest) -> Question {
        let mut w = Writer::new();
        w.write(&request.receive_tunnel);
        w.write(&request.next_tunnel);
        w.bytes(request.next_router.as_bytes());
        for part in [&LONG_LAYER[..], &LONG_IV, &LONG_REPLY_KEY, &LONG_REPLY_IV] {
            w.bytes(part);
        }
        w.u8(match request.role {
            Role::InboundGateway => 0x80,
            Role::Participant => 0,
            Role::OutboundEndpoint => 0x40,
        });
        w.bytes(&[0; 3]);
        w.u32((request.requested.as_secs() / 60) as u32);
        w.u32(request.lifetime_secs);
        w.u32(request.next_message_id);
        let mut plain = w.into_vec();
        plain.resize(LONG_REQUEST, 0);
        self.sealed(LONG_RECORD, &plain)
    }

    pub(super) fn tell(
        &mut self,
        from: RouterHash,
        messages: Vec<Message>,
    ) -> Vec<(RouterHash, Vec<Message>)> {
        let mut cx = Cx { now: self.now, rng: &mut self.rng };
        self.hop.handle_message(from, messages, &mut cx, &self.places);
        self.hop.flush(&mut cx);
        std::iter::from_fn(|| self.hop.poll_output())
            .map(|output| {
                let Output::Send { to, messages, .. } = output else {
                    panic!("a hop does not say {output:?}")
                };
                (to, messages)
            })
            .collect()
    }

    /// Asks with a short record; whether it was accepted, none if there was no answer.
    pub(super) fn ask(&mut self, from: RouterHash, request: &BuildRequest) -> Option<(bool, HopKeys)> {
        let question = self.short(request);
        let mut sent = self.tell(from, vec![question.message.clone()]);
        let (to, mut messages) = sent.pop()?;
        assert_eq!((to, messages.len(), sent.len()), (NEXT, 1, 0));
        let body = Self::answer_of(request.role, &question, messages.remove(0));
        Some((self.check_short(&question, &body), question.keys))
    }

    /// Unwraps what carries an answer on.
    fn answer_of(role: Role, question: &Question, message: Message) -> Vec<u8> {
        if role != Role::OutboundEndpoint {
            assert_eq!((message.kind, message.id), (MessageType::ShortTunnelBuild, MessageId(ANSWER_ID)));
            return message.body;
        }
        assert_eq!(message.kind, MessageType::TunnelGateway);
        let gateway = TunnelGateway::from_bytes(&message.body).unwrap();
        assert_eq!(gateway.tunnel.get(), 77);
        let garlic = gateway.decode_message().unwrap();
        assert_eq!(garlic.kind, MessageType::Garlic);
        let sealed = Garlic::from_bytes(&garlic.body).unwrap().bytes.to_vec();
        let (key, tag) = question.keys.garlic.clone().unwrap();
        assert_eq!(sealed[..8], tag);
        let plain = one_time::open(key.as_bytes(), &sealed).unwrap();
        let clove =
            blocks(&plain).flatten().find_map(|b| if let Block::Clove(c) = b { Some(c) } else { None });
        let clove = clove.unwrap();
        assert_eq!((clove.kind, clove.id), (26, ANSWER_ID));
        clove.body.to_vec()
    }

    /// The same, with the bandwidth that was offered.
    pub(super) fn ask_for(
        &mut self,
        from: RouterHash,
        request: &BuildRequest,
    ) -> Option<(bool, Option<u32>)> {
        let question = self.short(request);
        let mut sent = self.tell(from, vec![question.message.clone()]);
        let body = Self::answer_of(request.role, &question, sent.pop()?.1.remove(0));
        let mut got = BuildRecords::decode(&body, SHORT_RECORD).unwrap();
        let key = ChaChaKey::new(question.keys.reply.as_bytes());
        let n = key.open_in_place(SLOT as u64, &question.h, got.get_mut(SLOT)).unwrap();
        let reply = &got.get(SLOT)[..n];
        Some((reply_accepts(reply), reply_offer(reply)))
    }

    fn check_short(&self, question: &Question, body: &[u8]) -> bool {
        let mut got = BuildRecords::decode(body, SHORT_RECORD).unwrap();
        let key = question.keys.reply.as_bytes();
        for i in (0..COUNT).filter(|i| *i != SLOT) {
            let mut nonce = [0; 12];
            nonce[4] = i as u8;
            chacha20::xor(key, &nonce, got.get_mut(i));
            assert_eq!(got.get(i), question.sent.get(i), "record {i} comes back");
        }
        let n = ChaChaKey::new(key).open_in_place(SLOT as u64, &question.h, got.get_mut(SLOT)).unwrap();
        assert_eq!(n, 202);
        reply_accepts(&got.get(SLOT)[..n])
    }

    pub(super) fn advance(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall = self.now.wall + time;
        let mut cx = Cx { now: self.now, rng: &mut self.rng };
        self.hop.handle_timeout(&mut cx, &Everyone(Vec::new()));
    }

    fn accepted(&mut self, role: Role) -> (TunnelId, TunnelLayer) {
        let request = self.request(role);
        let (accepted, keys) = self.ask(PREVIOUS, &request).unwrap();
        assert!(accepted);
        let layer = TunnelLayer::new(keys.layer.as_bytes(), keys.iv.as_bytes());
        (request.receive_tunnel, layer)
    }

    fn data(&mut self, tunnel: TunnelId) -> Message {
        let mut body = vec![0; TUNNEL_DATA_SIZE];
        self.rng.fill(&mut body);
        body[..4].copy_from_slice(&tunnel.get().to_be_bytes());
        Message { kind: MessageType::TunnelData, id: MessageId(1), expires: self.now.wall, body }
    }
}

fn asked() -> Asked {
    Asked::new(Limits::default())
}

const ROLES: [Role; 3] = [Role::InboundGateway, Role::Participant, Role::OutboundEndpoint];

#[test]
fn every_role_is_accepted_with_the_answer_in_its_place() {
    for role in ROLES {
        let mut asked = asked();
        let request = asked.request(role);
        assert!(asked.ask(PREVIOUS, &request).unwrap().0, "{role:?}");
        assert_eq!((asked.hop.stats().transit, asked.hop.stats().transit_accepted), (1, 1));
    }
}

#[test]
fn long_records_are_answered_in_their_own_way() {
    for role in ROLES {
        let mut asked = asked();
        let request = asked.request(role);
        let question = asked.long(&request);
        let (to, messages) = asked.tell(PREVIOUS, vec![question.message.clone()]).pop().unwrap();
        assert_eq!(to, NEXT);
        let answer = if role == Role::OutboundEndpoint {
            let gateway = TunnelGateway::from_bytes(&messages[0].body).unwrap();
            assert_eq!(gateway.tunnel.get(), 77);
            gateway.decode_message().unwrap()
        } else {
            messages[0].clone()
        };
        let kind = match role {
            Role::OutboundEndpoint => MessageType::VariableTunnelBuildReply,
            Role::InboundGateway | Role::Participant => MessageType::VariableTunnelBuild,
        };
        assert_eq!((answer.kind, answer.id.0), (kind, ANSWER_ID));
        let mut got = BuildRecords::decode(&answer.body, LONG_RECORD).unwrap();
        for i in (0..COUNT).filter(|i| *i != SLOT) {
            CbcKey::new(&LONG_REPLY_KEY).decrypt(&LONG_REPLY_IV, got.get_mut(i));
            assert_eq!(got.get(i), question.sent.get(i));
        }
        let key = ChaChaKey::new(question.ck.as_bytes());
        let n = key.open_in_place(0, &question.h, got.get_mut(SLOT)).unwrap();
        assert!(n == 512 && reply_accepts(&got.get(SLOT)[..n]));
        if role == Role::Participant {
            let sent = asked.data(request.receive_tunnel);
            let (_, mut got) = asked.tell(PREVIOUS, vec![sent.clone()]).pop().unwrap();
            TunnelLayer::new(&LONG_LAYER, &LONG_IV).decrypt(&mut got[0].body[4..]);
            assert_eq!(got[0].body[4..], sent.body[4..]);
        }
    }
}

#[test]
fn refusals_are_answered() {
    let mut asked = Asked::new(Limits { transit_tunnels: 3, ..Limits::default() });
    let first = asked.request(Role::Participant);
    assert!(asked.ask(PREVIOUS, &first).unwrap().0);
    assert!(!asked.ask(PREVIOUS, &first).unwrap().0, "the id is taken");
    let dated = BuildRequest { lifetime_secs: 1_800_000_000, ..asked.request(Role::Participant) };
    assert!(asked.ask(PREVIOUS, &dated).unwrap().0);
    asked.hop.set_accepting(Acceptance::None);
    let while_closed = asked.request(Role::Participant);
    assert!(!asked.ask(PREVIOUS, &while_closed).unwrap().0);
    asked.hop.set_accepting(Acceptance::All);
    assert!(asked.ask(PREVIOUS, &while_closed).unwrap().0);
    let over_limit = asked.request(Role::Participant);
    assert!(!asked.ask(PREVIOUS, &over_limit).unwrap().0);
    assert_eq!((asked.hop.stats().transit_refused, asked.hop.stats().transit), (3, 3));
}

#[test]
fn under_some_congestion_some_are_accepted() {
    let mut asked = asked();
    asked.hop.set_accepting(Acceptance::Percent(50));
    let mut accepted = 0;
    for n in 0..200_u8 {
        // Of many neighbours, lest one has too many.
        let request = BuildRequest { next_router: NEXT, ..asked.request(Role::OutboundEndpoint) };
        accepted += usize::from(asked.ask(RouterHash::new([n; 32]), &request).unwrap().0);
    }
    assert!((60..140).contains(&accepted), "{accepted}");
}

#[test]
fn a_busy_router_accepts_less_and_says_so() {
    let ms = Duration::from_millis;
    let cases = [
        (70, ms(349), 70, 60..=60, Congestion::None),
        (71, ms(0), 0, 15..=45, Congestion::Medium),
        (91, ms(0), 0, 15..=45, Congestion::High),
        (0, ms(350), 0, 15..=45, Congestion::High),
        (100, ms(0), 0, 0..=0, Congestion::RejectingAll),
        (0, ms(500), 0, 0..=0, Congestion::RejectingAll),
        (0, ms(0), 80, 30..=52, Congestion::Medium),
        (0, ms(0), 90, 11..=34, Congestion::Medium),
        (0, ms(0), 150, 0..=10, Congestion::High),
    ];
    for (queued_percent, lag, transit_percent, expected, congestion) in cases {
        let mut asked = asked();
        asked.hop.set_load(Load { queued_percent, lag, transit_percent });
        assert_eq!(asked.hop.congestion(), congestion);
        let mut accepted = 0;
        for n in 0..60 {
            let request = asked.request(Role::OutboundEndpoint);
            accepted += usize::from(asked.ask(RouterHash::new([n; 32]), &request).unwrap().0);
        }
        assert!(expected.contains(&accepted), "{queued_percent} %, {lag:?}, {transit_percent} %: {accepted}");
        // When it is over, it is over.
        asked.hop.set_load(Load::default());
        assert_eq!(asked.hop.congestion(), Congestion::None);
        let request = asked.request(Role::OutboundEndpoint);
        assert!(asked.ask(STRANGER, &request).unwrap().0);
    }
}

#[test]
fn a_router_that_fills_up_says_so() {
    let mut asked = Asked::new(Limits { transit_tunnels: 10, ..Limits::default() });
    for n in 1..=10 {
        let congestion = match n {
            0..=7 => Congestion::None,
            8 | 9 => Congestion::Medium,
            _ => Congestion::High,
        };
        let request = asked.request(Role::OutboundEndpoint);
        assert!(asked.ask(PREVIOUS, &request).unwrap().0);
        assert_eq!(asked.hop.congestion(), congestion, "{n} of 10");
    }
}

#[test]
fn what_no_honest_creator_sends_gets_no_answer() {
    let mut asked = asked();
    let minute = |asked: &Asked, n: u64| Date::from_secs((asked.now.wall.as_secs() / 60 + n - 100) * 60);
    let base = asked.request(Role::Participant);
    let requests = [
        ("old", BuildRequest { requested: minute(&asked, 100 - 9), ..base.clone() }),
        ("of the future", BuildRequest { requested: minute(&asked, 106), ..base.clone() }),
        ("back to where it came from", BuildRequest { next_router: PREVIOUS, ..base.clone() }),
        ("back to us", BuildRequest { next_router: A, ..base.clone() }),
    ];
    for (what, request) in requests {
        let question = asked.short(&request);
        assert!(asked.tell(PREVIOUS, vec![question.message]).is_empty(), "{what}");
    }
    let still_good = BuildRequest { requested: minute(&asked, 104), ..base.clone() };
    assert!(asked.ask(PREVIOUS, &still_good).unwrap().0);
    // Another kind of layer encryption; both roles at once.
    for (at, value) in [(43, 1), (40, 0xc0)] {
        let mut plain = base.encode_short(&mut asked.rng);
        plain[at] = value;
        let question = asked.sealed(SHORT_RECORD, &plain);
        assert!(asked.tell(PREVIOUS, vec![question.message]).is_empty());
    }
    // For someone else; cut short; with a key that nobody can have.
    let question = asked.short(&base);
    let body = question.message.body.clone();
    let at = 1 + SLOT * SHORT_RECORD;
    for change in 0..3 {
        let mut message = Message { body: body.clone(), ..question.message.clone() };
        match change {
            0 => message.body[at] ^= 1,
            1 => message.body.truncate(body.len() - 1),
            _ => message.body[at + 16..at + 48].fill(0),
        }
        assert!(asked.tell(PREVIOUS, vec![message]).is_empty());
    }
    assert_eq!(asked.hop.stats().transit, 1);
}

#[test]
fn a_request_is_remembered_as_long_as_it_could_pass_for_new() {
    let mut asked = asked();
    let request = asked.request(Role::Participant);
    let question = asked.short(&request);
    assert_eq!(asked.tell(PREVIOUS, vec![question.message.clone()]).len(), 1);
    for minute in 0..14 {
        assert!(asked.tell(STRANGER, vec![question.message.clone()]).is_empty());
        assert_eq!(asked.hop.stats().builds_replayed, minute + 1);
        asked.advance(Duration::from_secs(60));
    }
}

#[test]
fn a_flood_from_one_neighbour_is_not_even_opened() {
    let mut asked = asked();
    for _ in 0..100 {
        // Endpoints, so that no next hop's share comes into it.
        let request = asked.request(Role::OutboundEndpoint);
        asked.ask(PREVIOUS, &request);
    }
    let stats = asked.hop.stats();
    assert_eq!((stats.transit, stats.throttled), (40, 60));
    // What was not opened was not remembered either.
    let request = asked.request(Role::OutboundEndpoint);
    let question = asked.short(&request);
    assert!(asked.tell(PREVIOUS, vec![question.message.clone()]).is_empty());
    assert_eq!(asked.tell(STRANGER, vec![question.message]).len(), 1);
    assert_eq!(asked.hop.stats().builds_replayed, 0);
    // After the window it may ask again.
    asked.advance(Duration::from_secs(120));
    let request = asked.request(Role::OutboundEndpoint);
    assert!(asked.ask(PREVIOUS, &request).unwrap().0);
}

#[test]
fn many_neighbours_cannot_make_us_flood_one_next_hop() {
    let mut asked = asked();
    for n in 100..200 {
        let request = asked.request(Role::Participant);
        asked.ask(RouterHash::new([n; 32]), &request);
    }
    let stats = asked.hop.stats();
    assert_eq!((stats.transit, stats.throttled), (40, 60));
    // What they may still do leads elsewhere.
    let request = asked.request(Role::OutboundEndpoint);
    assert!(asked.ask(STRANGER, &request).unwrap().0);
}

#[test]
fn a_participant_adds_its_layer_and_passes_on() {
    for batch in [1, 7, 8, 20] {
        let mut asked = asked();
        let (tunnel, layer) = asked.accepted(Role::Participant);
        let (other, _) = asked.accepted(Role::Participant);
        let mut messages: Vec<_> = (0..batch).map(|_| asked.data(tunnel)).collect();
        messages.insert(batch / 2, asked.data(other));
        let sent = messages.clone();
        let groups = asked.tell(PREVIOUS, messages);
        let (to, got) = groups.iter().max_by_key(|(_, m)| m.len()).unwrap();
        assert_eq!((*to, groups.len()), (NEXT, 2));
        let of_tunnel = sent.iter().filter(|m| m.body[..4] == tunnel.get().to_be_bytes());
        for (before, after) in of_tunnel.zip(got) {
            let mut want = before.body.clone();
            layer.encrypt(&mut want[4..]);
            want[..4].copy_from_slice(&77_u32.to_be_bytes());
            assert_eq!((after.kind, &after.body), (MessageType::TunnelData, &want));
        }
    }
}

#[test]
fn data_that_has_no_business_here_is_dropped_and_counted() {
    let mut asked = asked();
    let (tunnel, _) = asked.accepted(Role::Participant);
    let (gateway, _) = asked.accepted(Role::InboundGateway);
    let good = asked.data(tunnel);
    let unknown = asked.data(TunnelId::new(5).unwrap());
    let to_gateway = asked.data(gateway);
    let short = Message { body: good.body[..1_027].to_vec(), ..good.clone() };
    assert!(asked.tell(STRANGER, vec![good.clone()]).is_empty());
    assert!(asked.tell(PREVIOUS, vec![unknown, to_gateway, short]).is_empty());
    assert_eq!(asked.tell(PREVIOUS, vec![good.clone(), good.clone()])[0].1.len(), 1);
    // With the same IV and another first block it is another message; with both changed alike it is not.
    let mut alike = good;
    alike.body[4] ^= 8;
    assert_eq!(asked.tell(PREVIOUS, vec![alike.clone()]).len(), 1);
    alike.body[4] ^= 8;
    alike.body[4 + 3] ^= 8;
    alike.body[20 + 3] ^= 8;
    assert!(asked.tell(PREVIOUS, vec![alike]).is_empty());
    let stats = asked.hop.stats();
    assert_eq!(
        (stats.wrong_previous_hop, stats.unknown_tunnel, stats.malformed, stats.duplicates),
        (2, 1, 1, 2)
    );
}

#[test]
fn tunnels_of_others_end_after_eleven_minutes() {
    let mut asked = asked();
    let (tunnel, _) = asked.accepted(Role::Participant);
    asked.advance(Duration::from_secs(659));
    let data = asked.data(tunnel);
    assert_eq!(asked.tell(PREVIOUS, vec![data]).len(), 1);
    asked.advance(Duration::from_secs(2));
    let data = asked.data(tunnel);
    assert!(asked.tell(PREVIOUS, vec![data]).is_empty());
    assert_eq!((asked.hop.stats().transit, asked.hop.stats().transit_idle), (0, 0));
}

#[test]
fn unused_tunnels_give_way_when_many_crowd_here() {
    let mut asked = Asked::new(Limits { transit_tunnels: 6, ..Limits::default() });
    let tunnels: Vec<_> = (0..5).map(|_| asked.accepted(Role::Participant).0).collect();
    let data = asked.data(tunnels[0]);
    asked.tell(PREVIOUS, vec![data]);
    asked.advance(Duration::from_secs(151));
    let stats = asked.hop.stats();
    assert_eq!((stats.transit, stats.transit_idle), (3, 2), "half of the limit may stay");
    let data = asked.data(tunnels[0]);
    assert_eq!(asked.tell(PREVIOUS, vec![data]).len(), 1, "the used one stays");
}

#[test]
fn a_gateway_packs_what_anyone_brings() {
    let mut asked = asked();
    let (tunnel, layer) = asked.accepted(Role::InboundGateway);
    let inner = |n: usize, size: usize| Message {
        kind: MessageType::Data,
        id: MessageId(n as u32),
        expires: Date::from_secs(1_780_000_100),
        body: vec![n as u8; size],
    };
    let brought: Vec<_> = [40, 50, 900, 3_000, 1, 62_708].into_iter().enumerate().collect();
    let messages = brought
        .iter()
        .map(|(n, size)| Message {
            kind: MessageType::TunnelGateway,
            id: MessageId(9),
            expires: asked.now.wall,
            body: TunnelGateway { tunnel, message: &inner(*n, *size).encode_standard() }.to_bytes(),
        })
        .collect();
    let sent = asked.tell(STRANGER, messages);
    assert_eq!((sent.len(), sent[0].0), (1, NEXT));
    let mut reassembly = Reassembly::new(1 << 20, 1 << 20);
    let mut got = Vec::new();
    for message in &sent[0].1 {
        let mut body = message.body.clone();
        layer.decrypt(&mut body[4..]);
        let mut r = fragments(&body).unwrap();
        while !r.is_empty() {
            got.extend(reassembly.push(1, &Fragment::decode(&mut r).unwrap(), Instant::ZERO));
        }
    }
    let want: Vec<_> =
        brought.iter().map(|(n, size)| (TunnelDelivery::Local, inner(*n, *size).encode_standard())).collect();
    assert_eq!(got, want);
    let bytes: usize = want.iter().map(|(_, m)| m.len()).sum();
    assert!(sent[0].1.len() <= bytes.div_ceil(990) + 1, "{} messages for {bytes} bytes", sent[0].1.len());
}

#[test]
fn a_gateway_takes_no_more_than_its_limit_before_a_flush() {
    let mut asked = Asked::new(Limits { gateway_bytes: 20_000, ..Limits::default() });
    let (tunnel, _) = asked.accepted(Role::InboundGateway);
    let of_size = |size| Message {
        kind: MessageType::TunnelGateway,
        id: MessageId(9),
        expires: Date::from_secs(1_780_000_100),
        body: TunnelGateway { tunnel, message: &vec![1; size] }.to_bytes(),
    };
    let sent = asked.tell(STRANGER, vec![of_size(5_000); 10]);
    assert!(sent[0].1.len() <= 21);
    assert!(asked.hop.stats().gateway_overflows >= 6);
    assert!(asked.tell(STRANGER, vec![of_size(65_000)]).is_empty());
    assert_eq!(asked.hop.stats().oversized, 1);
}

#[test]
fn an_endpoint_delivers_to_routers_and_tunnels_only() {
    let mut asked = asked();
    let (tunnel, layer) = asked.accepted(Role::OutboundEndpoint);
    let (gateway, gateway_layer) = asked.accepted(Role::InboundGateway);
    let inner = Message {
        kind: MessageType::Data,
        id: MessageId(1),
        expires: asked.now.wall,
        body: b"hello".to_vec(),
    };
    let bytes = inner.encode_standard();
    let deliveries = [
        TunnelDelivery::Router(STRANGER),
        TunnelDelivery::Tunnel(STRANGER, TunnelId::new(3).unwrap()),
        TunnelDelivery::Tunnel(A, gateway),
        TunnelDelivery::Local,
    ];
    let mut w = Writer::new();
    for delivery in deliveries {
        Fragment::First { delivery, id: None, data: &bytes }.encode(&mut w);
    }
    let mut body = assemble(tunnel, w.as_slice(), &mut asked.rng);
    layer.decrypt(&mut body[4..]);
    let message = Message { kind: MessageType::TunnelData, id: MessageId(1), expires: asked.now.wall, body };
    let sent = asked.tell(PREVIOUS, vec![message]);
    let [(to, direct), (gateway_at, through), (next, ours)] = &sent[..] else { panic!("{sent:?}") };
    assert_eq!((*to, &direct[..]), (STRANGER, std::slice::from_ref(&inner)));
    assert_eq!((*gateway_at, through[0].kind), (STRANGER, MessageType::TunnelGateway));
    let entered = TunnelGateway::from_bytes(&through[0].body).unwrap();
    assert_eq!((entered.tunnel.get(), entered.decode_message().unwrap()), (3, inner));
    assert_eq!((*next, ours[0].kind), (NEXT, MessageType::TunnelData));
    let mut body = ours[0].body.clone();
    gateway_layer.decrypt(&mut body[4..]);
    let mut r = fragments(&body).unwrap();
    let fragment = Fragment::decode(&mut r).unwrap();
    assert_eq!(fragment, Fragment::First { delivery: TunnelDelivery::Local, id: None, data: &bytes });
    assert_eq!(asked.hop.stats().malformed, 1, "an endpoint is nobody's goal");
}
