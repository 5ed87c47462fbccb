//! What time servers say (RFC 4330, RFC 5905): the packets are the library's, the sockets and the judgement ours.
//!
//! ```text
//!  servers, in random order ─► UDP, all at once ─► answers, each right to its delay ─► the majority's median
//! ```
//!
//! * The request carries a random number in place of our time: it tells nothing of our clock, and nobody who does not
//!   see it can forge the answer.
//! * Answers that do not repeat it are ignored, and the wait goes on. A kiss of death, a server that is not
//!   synchronised, a stratum that cannot be, and an answer that took too long count as none.
//! * Nothing here is authenticated: whoever sits on the line can lie. Several servers that agree are believed, one is
//!   believed unless peers say otherwise; see the router's clock.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use aioli_core::{Date, Rng};
use sntpc::{NtpContext, NtpTimestampGenerator, NtpUdpSocket};
use tokio::net::UdpSocket;

use crate::clock::entropy;
use crate::driver::Shared;

/// The port of NTP.
const PORT: u16 = 123;
/// Servers asked in one round, all at once.
const ASKED: usize = 4;
/// Addresses of one server that are tried.
const ADDRESSES: usize = 3;
/// An answer that took longer says too little: it is right to half of that.
const MAX_DELAY: Duration = Duration::from_secs(2);
/// Answers this close to their median agree. Two that are right always do.
const AGREE: Duration = MAX_DELAY;
/// Servers that answered are asked again after between these times, so that nobody knows the router by its rhythm.
const AGAIN: (Duration, Duration) = (Duration::from_secs(2 * 3_600), Duration::from_secs(5 * 3_600));
/// When none answered, after this time, then after twice that, and so on up to the first of [`AGAIN`].
const RETRY: Duration = Duration::from_secs(60);
/// A wall clock that jumped is noticed within this time.
const LOOK: Duration = Duration::from_secs(10);
/// Seconds from 1900, where NTP counts from, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;
/// NTP's seconds have 32 bits. Those below this are of the era that begins in 2036.
const ERA_PIVOT: u64 = NTP_TO_UNIX + 1_577_836_800;

/// Whom to ask for the time.
#[derive(Clone, Debug)]
pub struct SntpConfig {
    /// `host` or `host:port`.
    pub servers: Vec<String>,
    /// How long a round may take. At the start the router waits so long.
    pub patience: Duration,
}

impl SntpConfig {
    /// These servers, with the patience of production.
    pub const fn new(servers: Vec<String>) -> Self {
        Self { servers, patience: Duration::from_secs(3) }
    }
}

/// What a round of questions gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Servers that agree.
    pub(crate) agreeing: usize,
    /// When the round began: here, and in truth.
    started: (Instant, Date),
}

impl Answer {
    /// True time minus what the clock shows now, in milliseconds.
    pub(crate) fn offset_ms(&self, now: Date) -> i64 {
        let (started, date) = self.started;
        let right = date + started.elapsed();
        let distance = i64::try_from(right.abs_diff(now).as_millis()).unwrap_or(i64::MAX);
        if right < now { -distance } else { distance }
    }
}

/// Why a round gave nothing, for the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SntpError {
    failures: Vec<(String, String)>,
    /// Servers answered and do not agree.
    contradict: bool,
}

impl fmt::Display for SntpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.contradict { "do not agree" } else { "do not answer" };
        write!(f, "time servers {what}; the router goes on and learns the time from other routers")?;
        for (n, (server, why)) in self.failures.iter().enumerate() {
            write!(f, "{}{server}: {why}", if n == 0 { " (" } else { "; " })?;
        }
        f.write_str(if self.failures.is_empty() { "" } else { ")" })
    }
}

/// Asks time servers once: how many agree, and true time minus what this computer's clock shows, in milliseconds.
pub async fn clock_offset(config: SntpConfig) -> Result<(usize, i64), SntpError> {
    let answer = Sntp::new(config).ask().await?;
    Ok((answer.agreeing, answer.offset_ms(crate::clock::system_wall())))
}

/// Asks time servers, and remembers those that do not want to be asked.
#[derive(Debug)]
pub(crate) struct Sntp {
    config: SntpConfig,
    refused: BTreeSet<String>,
    rng: Rng,
}

impl Sntp {
    pub(crate) fn new(config: SntpConfig) -> Self {
        Self { config, refused: BTreeSet::new(), rng: Rng::from_seed(entropy()) }
    }

    /// One round. It takes no longer than the patience.
    pub(crate) async fn ask(&mut self) -> Result<Answer, SntpError> {
        let mut servers: Vec<_> =
            self.config.servers.iter().filter(|s| !self.refused.contains(*s)).cloned().collect();
        self.rng.shuffle(&mut servers);
        servers.truncate(ASKED);
        let started = Instant::now();
        let mut tasks = tokio::task::JoinSet::new();
        for server in servers {
            let (rng, patience) = (self.rng.fork(), self.config.patience);
            tasks.spawn(async move {
                let asking = ask_server(&server, started, rng, patience);
                let result = tokio::time::timeout(patience, asking).await.unwrap_or(Err(Failure::Silent));
                (server, result)
            });
        }
        let (mut dates, mut failures) = (Vec::new(), Vec::new());
        while let Some(done) = tasks.join_next().await {
            match done {
                Ok((_, Ok(date))) => dates.push(date),
                Ok((server, Err(why))) => {
                    tracing::debug!("time server {server}: {why}");
                    failures.push((server.clone(), why.to_string()));
                    if why.is_final() {
                        self.refused.insert(server);
                    }
                }
                Err(error) => tracing::error!("asking a time server failed: {error}"),
            }
        }
        match judge(dates) {
            Ok((date, agreeing)) => Ok(Answer { agreeing, started: (started, date) }),
            Err(contradict) => Err(SntpError { failures, contradict }),
        }
    }
}

/// The middle of what the majority says, and how many it is. The error says whether there were answers at all.
fn judge(mut dates: Vec<Date>) -> Result<(Date, usize), bool> {
    dates.sort_unstable();
    let Some(median) = dates.get(dates.len().saturating_sub(1) / 2).copied() else { return Err(false) };
    let agreeing = dates.iter().filter(|date| date.abs_diff(median) <= AGREE).count();
    if agreeing * 2 > dates.len() { Ok((median, agreeing)) } else { Err(true) }
}

/// Why a server gave no time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    Unknown(String),
    Unreachable(String),
    Silent,
    Kiss(String),
    Slow,
    Wrong(String),
}

impl Failure {
    /// It must not be asked again.
    fn is_final(&self) -> bool {
        matches!(self, Self::Kiss(_))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(why) => write!(f, "its name is not known: {why}"),
            Self::Unreachable(why) => f.write_str(why),
            Self::Silent => f.write_str("no answer"),
            Self::Kiss(code) => write!(f, "it does not want to be asked ({code})"),
            Self::Slow => f.write_str("its answer took too long"),
            Self::Wrong(why) => f.write_str(why),
        }
    }
}

/// Asks one server at its addresses, one after the other. Gives the date at `epoch`.
async fn ask_server(server: &str, epoch: Instant, mut rng: Rng, patience: Duration) -> Result<Date, Failure> {
    let found = if server.parse::<std::net::IpAddr>().is_err() && server.rsplit_once(':').is_some() {
        tokio::net::lookup_host(server).await.map(Iterator::collect::<Vec<_>>)
    } else {
        tokio::net::lookup_host((server, PORT)).await.map(Iterator::collect)
    };
    let mut addresses = found.map_err(|error| Failure::Unknown(error.to_string()))?;
    rng.shuffle(&mut addresses);
    addresses.truncate(ADDRESSES);
    let share = patience / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    let mut last = Failure::Unknown("it has no address".to_owned());
    for address in addresses {
        match tokio::time::timeout(share, ask_address(address, epoch, &mut rng)).await {
            Ok(Ok(date)) => return Ok(date),
            Ok(Err(why)) if why.is_final() => return Err(why),
            Ok(Err(why)) => last = why,
            Err(_) => last = Failure::Silent,
        }
    }
    Err(last)
}

async fn ask_address(address: SocketAddr, epoch: Instant, rng: &mut Rng) -> Result<Date, Failure> {
    let unreachable = |error: std::io::Error| Failure::Unreachable(error.to_string());
    let any = if address.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.map_err(unreachable)?;
    // Only what comes from there is received, and the system tells when nobody is there.
    socket.connect(address).await.map_err(unreachable)?;
    let socket = Socket { socket, address };
    let context = NtpContext::new(Stopwatch::start(rng));
    let asked = sntpc::sntp_send_request(address, &socket, context).await.map_err(|error| explain(&error))?;
    loop {
        match sntpc::sntp_process_response(address, &socket, context, asked).await {
            Ok(result) => {
                let delay = Duration::from_micros(result.roundtrip());
                let date = date(&result) + delay / 2 - epoch.elapsed();
                return if delay > MAX_DELAY { Err(Failure::Slow) } else { Ok(date) };
            }
            // Somebody guesses, or an answer is old: the right one may come yet.
            Err(sntpc::Error::IncorrectOriginTimestamp | sntpc::Error::IncorrectPayload) => {}
            Err(error) => return Err(explain(&error)),
        }
    }
}

/// When the answer was sent.
fn date(result: &sntpc::NtpResult) -> Date {
    let seconds = result.sec().wrapping_add(NTP_TO_UNIX) & u64::from(u32::MAX);
    let era = if seconds < ERA_PIVOT { 1 << 32 } else { 0 };
    let millis = u64::from(sntpc::fraction_to_milliseconds(result.sec_fraction()));
    Date::from_millis((era + seconds - NTP_TO_UNIX) * 1_000 + millis)
}

fn explain(error: &sntpc::Error) -> Failure {
    if let sntpc::Error::KissOfDeath(code) = error {
        Failure::Kiss(code.as_str().to_owned())
    } else if *error == sntpc::Error::UnsynchronizedClock {
        Failure::Wrong("its own clock is not set".to_owned())
    } else if *error == sntpc::Error::Network {
        Failure::Unreachable("cannot be reached".to_owned())
    } else {
        Failure::Wrong(format!("its answer is wrong: {error:?}"))
    }
}

/// The clock of a question: it starts at random, so that the timestamp in the request is a secret of ours.
#[derive(Clone, Copy, Debug)]
struct Stopwatch {
    base: Duration,
    started: Instant,
    now: Duration,
}

impl Stopwatch {
    fn start(rng: &mut Rng) -> Self {
        let seconds = rng.up_to(u64::from(u32::MAX));
        let base = Duration::from_secs(seconds) + Duration::from_micros(rng.up_to(999_999));
        Self { base, started: Instant::now(), now: base }
    }
}

impl NtpTimestampGenerator for Stopwatch {
    fn init(&mut self) {
        self.now = self.base + self.started.elapsed();
    }

    fn timestamp_sec(&self) -> u64 {
        self.now.as_secs()
    }

    fn timestamp_subsec_micros(&self) -> u32 {
        self.now.subsec_micros()
    }
}

/// A connected socket as the library wants it.
#[derive(Debug)]
struct Socket {
    socket: UdpSocket,
    address: SocketAddr,
}

impl NtpUdpSocket for Socket {
    async fn send_to(&self, bytes: &[u8], _: SocketAddr) -> sntpc::Result<usize> {
        self.socket.send(bytes).await.map_err(|_| sntpc::Error::Network)
    }

    async fn recv_from(&self, bytes: &mut [u8]) -> sntpc::Result<(usize, SocketAddr)> {
        let received = self.socket.recv(bytes).await.map_err(|_| sntpc::Error::Network)?;
        Ok((received, self.address))
    }
}

/// Asks again every few hours, sooner while nobody answers, and at once when the machine's clock has jumped.
pub(crate) async fn keep(shared: Rc<Shared>, mut sntp: Sntp, mut answered: bool) {
    let mut retry = RETRY;
    loop {
        let wait = if answered { sntp.rng.duration(AGAIN.0, AGAIN.1) } else { retry };
        retry = if answered { RETRY } else { (retry * 2).min(AGAIN.0) };
        pause(&shared, wait).await;
        let result = sntp.ask().await;
        answered = result.is_ok();
        match result {
            Ok(answer) => shared.with_machines(|m, now| {
                m.router.set_clock_offset(answer.agreeing, answer.offset_ms(now.wall), now);
            }),
            Err(error) => tracing::info!("{error}"),
        }
    }
}

/// Waits, but not after the machine's clock has jumped.
async fn pause(shared: &Rc<Shared>, wait: Duration) {
    let jumps = || shared.with_machines(|m, _| m.router.clock_jumps());
    let (before, until) = (jumps(), tokio::time::Instant::now() + wait);
    while tokio::time::Instant::now() < until && jumps() == before {
        tokio::time::sleep(LOOK.min(until.duration_since(tokio::time::Instant::now()))).await;
    }
}

#[cfg(test)]
mod tests;
