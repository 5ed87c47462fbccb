//! Servers of the tests' own on loopback, good and bad.

use std::net::{Ipv4Addr, UdpSocket as StdSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use aioli_core::Now;
use aioli_router::{Config, Event, Identity};

use super::*;
use crate::{Clock, Node, NodeConfig, Notice};

/// What a server answers to a good question.
type Answerer = fn(question: &[u8; 48], answer: &mut [u8; 48], shown: Duration);

/// A server whose clock is ahead of this machine's by so many milliseconds. Its thread ends with its socket's
/// patience: nobody asks for that long when a test is over.
struct Server {
    name: String,
    asked: Arc<AtomicUsize>,
}

/// How long a server waits for a question.
const IDLE: Duration = Duration::from_secs(60);
/// Patience where somebody is silent.
const BRIEF: Duration = Duration::from_millis(2_500);

impl Server {
    fn start(ahead_ms: i64, answerer: Answerer) -> Self {
        let socket = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(IDLE)).unwrap();
        let name = socket.local_addr().unwrap().to_string();
        let asked = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut question = [0; 48];
            while let Ok((48, from)) = socket.recv_from(&mut question) {
                counter.fetch_add(1, Ordering::SeqCst);
                let mut answer = good(&question, shown(ahead_ms));
                answerer(&question, &mut answer, shown(ahead_ms));
                if answer[0] != 0 {
                    socket.send_to(&answer, from).unwrap();
                }
            }
        });
        Self { name, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// What a clock that is ahead shows.
fn shown(ahead_ms: i64) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::from_millis((u64::try_from(now.as_millis()).unwrap()).saturating_add_signed(ahead_ms))
}

/// NTP's 64 bits.
fn stamp(time: Duration) -> [u8; 8] {
    let seconds = u32::try_from((time.as_secs() + NTP_TO_UNIX) & u64::from(u32::MAX)).unwrap();
    let fraction = u32::try_from((u64::from(time.subsec_micros()) << 32) / 1_000_000).unwrap();
    [seconds.to_be_bytes(), fraction.to_be_bytes()].concat().try_into().unwrap()
}

fn good(question: &[u8; 48], time: Duration) -> [u8; 48] {
    let mut answer = [0; 48];
    (answer[0], answer[1]) = (0x24, 2);
    answer[16..24].copy_from_slice(&stamp(time - Duration::from_secs(60)));
    answer[24..32].copy_from_slice(&question[40..48]);
    answer[32..40].copy_from_slice(&stamp(time));
    answer[40..48].copy_from_slice(&stamp(time));
    answer
}

fn honest(_: &[u8; 48], _: &mut [u8; 48], _: Duration) {}

fn silent(_: &[u8; 48], answer: &mut [u8; 48], _: Duration) {
    answer[0] = 0;
}

fn config(servers: &[&Server]) -> SntpConfig {
    let servers = servers.iter().map(|s| s.name.clone()).collect();
    SntpConfig { servers, patience: Duration::from_secs(10) }
}

async fn ask(servers: &[&Server], patience: Duration) -> Result<(i64, usize), SntpError> {
    let answer = Sntp::new(SntpConfig { patience, ..config(servers) }).ask().await?;
    Ok((answer.offset_ms(Date::from_millis(u64::try_from(shown(0).as_millis()).unwrap())), answer.agreeing))
}

/// The offset of a router whose clock is right to what these servers say; they must be near it.
async fn near(servers: &[&Server], expected_ms: i64, agreeing: usize) {
    let (offset, agree) = ask(servers, BRIEF).await.unwrap();
    assert!((offset - expected_ms).abs() <= 1_010, "{offset} instead of {expected_ms}");
    assert_eq!(agree, agreeing);
}

#[tokio::test]
async fn good_servers_tell_the_time_and_a_liar_is_outvoted() {
    let right: Vec<_> = (0..3).map(|_| Server::start(0, honest)).collect();
    let liar = Server::start(3_600_000, honest);
    let mute = Server::start(0, silent);
    let decades = 1_700_000_000_000;
    let (past, future) = (Server::start(-200_000_000_000, honest), Server::start(decades, honest));
    near(&[&right[0], &right[1], &right[2]], 0, 3).await;
    near(&[&right[0], &right[1], &liar, &mute], 0, 2).await;
    near(&[&liar], 3_600_000, 1).await;
    // Beyond 2036, when the seconds of NTP begin anew, and in 2020.
    near(&[&future], decades, 1).await;
    near(&[&past], -200_000_000_000, 1).await;
    let error = ask(&[&right[0], &liar], BRIEF).await.unwrap_err();
    assert!(error.to_string().starts_with("time servers do not agree; the router goes on"), "{error}");
}

#[tokio::test]
async fn bad_answers_are_none_and_each_says_why() {
    let cases: [(Answerer, &str); 7] = [
        (silent, "no answer"),
        (
            |_, answer, _| {
                (answer[0], answer[1]) = (0xe4, 0);
                answer[12..16].copy_from_slice(b"DENY");
            },
            "it does not want to be asked (DENY)",
        ),
        (|_, answer, _| answer[0] = 0xe4, "its own clock is not set"),
        (|_, answer, _| answer[1] = 16, "its answer is wrong"),
        (|_, answer, _| answer[24] ^= 1, "no answer"),
        (|_, answer, _| answer[40..48].fill(0), "its answer is wrong"),
        (|_, answer, _| answer[0] = 0x25, "its answer is wrong"),
    ];
    for (answerer, expected) in cases {
        let server = Server::start(0, answerer);
        let error = ask(&[&server], BRIEF).await.unwrap_err().to_string();
        assert!(error.contains(&format!("{}: {expected}", server.name)), "{error}, expected {expected}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert_eq!(server.asked(), 1);
    }
    let nobody = StdSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().to_string();
    let mut sntp = Sntp::new(SntpConfig::new(vec![nobody]));
    assert!(sntp.ask().await.unwrap_err().to_string().contains("cannot be reached"));
}

#[tokio::test]
async fn an_answer_that_took_too_long_is_none() {
    let server = Server::start(0, |_, _, _| std::thread::sleep(MAX_DELAY + Duration::from_millis(100)));
    let error = ask(&[&server], Duration::from_secs(30)).await.unwrap_err().to_string();
    assert!(error.contains("its answer took too long"), "{error}");
}

#[tokio::test]
async fn who_does_not_want_to_be_asked_is_not_asked_again() {
    let kiss = Server::start(0, |_, answer, _| answer[1] = 0);
    let honest = Server::start(0, honest);
    let mut sntp = Sntp::new(config(&[&kiss, &honest]));
    for _ in 0..3 {
        assert_eq!(sntp.ask().await.unwrap().agreeing, 1);
    }
    assert_eq!((kiss.asked(), honest.asked()), (1, 3));
}

#[tokio::test]
async fn the_question_tells_nothing_of_our_clock() {
    let server = Server::start(0, |question, answer, shown| {
        // An attacker who does not see the question would guess our time.
        let seconds = u64::from(u32::from_be_bytes(question[40..44].try_into().unwrap()));
        let ours = (shown.as_secs() + NTP_TO_UNIX) & u64::from(u32::MAX);
        let told = question[1..40].iter().any(|b| *b != 0) || seconds.abs_diff(ours) < 1_000;
        answer[0] = if told { 0 } else { answer[0] };
    });
    // Once in two million runs it is near by chance.
    near(&[&server], 0, 1).await;
}

#[tokio::test]
async fn a_node_with_a_wrong_clock_corrects_it_and_says_so() {
    let servers: Vec<_> = (0..3).map(|_| Server::start(0, honest)).collect();
    let day_ms = 86_400_000;
    for (wrong_ms, expected) in [
        (-3_600_000, "clock is 3600 s (60 min) behind (3 time servers agree); the router corrects for it"),
        (73_000, "clock is 73 s ahead (3 time servers agree)"),
        (-30 * 365 * day_ms, "years) behind (3 time servers agree)"),
    ] {
        let router = Config { net_id: 99, private_network: true, ..Config::default() };
        let mut node = Node::start(NodeConfig {
            time_servers: Some(config(&servers.iter().collect::<Vec<_>>())),
            clock: Clock::start().shifted(wrong_ms),
            ..NodeConfig::new(router, Identity::generate(&mut Rng::from_seed([7; 32])))
        })
        .unwrap();
        let told = loop {
            match node.notice().await.expect("the router runs") {
                Notice::Router(event @ Event::ClockCorrected { .. }) => break event.to_string(),
                Notice::Router(_) | Notice::Loaded { .. } | Notice::Remembered { .. } | Notice::Reseed(_) => {
                }
                Notice::PortMapping(event) => panic!("nobody asked for this: {event}"),
                Notice::Draining { .. } | Notice::Stopping => panic!("nobody asked it to"),
                Notice::TimeServers(error) => panic!("{error}"),
            }
        };
        assert!(told.contains(expected), "{told}");
        let published = loop {
            let info = node.snapshot().router_info;
            if let Ok(info) = aioli_wire::RouterInfo::decode_unverified(&info) {
                break info.claims().published;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        let Now { wall, .. } = Clock::start().now();
        assert!(published.abs_diff(wall) < Duration::from_secs(60), "{published:?} at {wall:?}");
        node.stop();
    }
}
