//! Congestion control: a model of the path, not a reaction to loss.
//!
//! Paths lose packets at random and reorder them, so loss alone says little. The
//! controller keeps two measurements, the greatest rate at which units were
//! delivered lately and the least round trip, and sends at that rate with about
//! one bandwidth-delay product in flight. Loss counts only if there is more than
//! the path loses anyway. `docs/streaming.md` tells why.
//!
//! ```text
//!  Startup ──rate stops growing, or loss──► Drain ──queue gone──► Cruise ◄─► Down
//!  (double per round trip)                                          │         ▲
//!                                                                   └──► Up ──┘
//!            every 10 s without a new minimum: ProbeRtt (half a window, one round trip)
//! ```

use crate::{Duration, Instant, Rng};

use super::{RateSample, Rtt};

/// Packets in flight at the start.
pub const INITIAL_WINDOW: u32 = 16;
/// The most packets in flight at the start on a path that took more before.
const MAX_START: u32 = 64;
/// Never fewer packets in flight.
const MIN_WINDOW: u32 = 4;
/// 4 ln 2: doubles the rate each round trip.
const STARTUP_GAIN: f64 = 2.77;
const DRAIN_GAIN: f64 = 0.4;
const UP_GAIN: f64 = 1.25;
const DOWN_GAIN: f64 = 0.8;
const STARTUP_WINDOW_GAIN: f64 = 2.2;
/// Window over bandwidth-delay product: room for delayed acknowledgements.
const WINDOW_GAIN: f64 = 1.5;
/// Rounds over which the greatest delivery rate counts.
const RATE_ROUNDS: u64 = 10;
/// Share of a round's packets whose loss means congestion, if a queue shows.
const LOSS_WITH_QUEUE: f64 = 0.03;
/// The same if no queue shows: random loss reaches several percent.
const LOSS_WITHOUT_QUEUE: f64 = 0.15;
/// A queue that takes this long beyond twice the least round trip is congestion by itself.
const DEEP_QUEUE: Duration = Duration::from_millis(100);
/// Fewer losses in a round say nothing.
const MIN_LOSSES: u32 = 4;
/// So many end a push for more at once, without waiting for the round to end.
const BURST_LOSSES: u32 = 10;
/// What is kept of window or rate after a congested round.
const BETA: f64 = 0.8;
const PROBE_RTT_TIME: Duration = Duration::from_millis(200);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Startup,
    Drain,
    Cruise {
        rounds: u64,
    },
    Up,
    Down,
    /// `drained` once hardly more than the window is in flight.
    ProbeRtt {
        drained: Option<Drained>,
        lowest: Duration,
    },
}

/// The measurement of the least round trip, from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Drained {
    /// It lasts so long.
    least: Instant,
    /// And until something that left after these units were delivered has arrived,
    round: u64,
    /// but no longer than this.
    most: Instant,
}

/// What differs between those who share this design.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Units in a packet: 1 if packets are counted, their usual size if bytes are.
    pub packet: u32,
    /// Time that routers on the way and the peer spend on batches: what a window
    /// holds beside the product. It matters where round trips are short.
    pub slack: Duration,
    /// A round trip that is longer than the least by less than this shows no queue.
    pub queue: Duration,
}

/// What one acknowledgement brought.
#[derive(Clone, Copy, Debug, Default)]
pub struct AckEvent {
    /// Units acknowledged.
    pub acked: u64,
    /// Packets acknowledged.
    pub acked_packets: u32,
    /// Units lost.
    pub lost: u64,
    /// Packets lost.
    pub lost_packets: u32,
    /// Units in flight, afterwards.
    pub in_flight: u64,
    /// Units delivered since the start.
    pub delivered: u64,
    /// The least round trip that it shows.
    pub rtt: Option<Duration>,
    /// The delivery rate that it shows.
    pub rate: Option<RateSample>,
}

/// Counters of one round trip.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    acked: u32,
    lost: u32,
    min_rtt: Option<Duration>,
    rate: f64,
    /// Most units in flight.
    peak: f64,
}

impl Round {
    /// The share of packets that were lost.
    fn loss(&self) -> f64 {
        f64::from(self.lost) / f64::from(self.acked + self.lost).max(1.0)
    }
}

/// Decides how much and how fast. See the module's text.
#[derive(Clone, Debug)]
pub struct Controller {
    path: Path,
    phase: Phase,
    window: f64,
    cap: f64,
    /// Candidates for the greatest rate, units per second, by round.
    rates: [(u64, f64); 3],
    rounds: u64,
    round_ends: u64,
    round_began: Instant,
    round: Round,
    phase_began: u64,
    full_rate: f64,
    full_rounds: u8,
    filled: bool,
    /// Loss while cruising, smoothed: what the path loses anyway.
    usual_loss: f64,
    /// More in flight than this was lost.
    ceiling: Option<f64>,
    /// Until the next probe, send no faster.
    rate_ceiling: Option<f64>,
    /// By how much the next push raises the ceiling.
    ceiling_step: f64,
    /// Units acknowledged beyond what the rate explains, lately.
    burst: f64,
    burst_from: (Instant, u64),
    before_timeout: Option<f64>,
    min_rtt: Option<Duration>,
    deviation: Duration,
}

impl Controller {
    /// Begins with `initial` units in flight, and never allows more than `cap`.
    pub fn new(path: Path, initial: u64, cap: u64) -> Self {
        let packet = f64::from(path.packet);
        let cap = (cap as f64).max(packet);
        Self {
            path,
            phase: Phase::Startup,
            window: (initial as f64).clamp(packet, cap),
            cap,
            rates: [(0, 0.0); 3],
            rounds: 0,
            round_ends: 0,
            round_began: Instant::ZERO,
            round: Round::default(),
            phase_began: 0,
            full_rate: 0.0,
            full_rounds: 0,
            filled: false,
            usual_loss: 0.0,
            ceiling: None,
            rate_ceiling: None,
            ceiling_step: packet,
            burst: 0.0,
            burst_from: (Instant::ZERO, 0),
            before_timeout: None,
            min_rtt: None,
            deviation: Duration::ZERO,
        }
    }

    /// So many packets in units.
    fn packets(&self, count: u32) -> f64 {
        f64::from(count) * f64::from(self.path.packet)
    }

    /// Units that may be in flight.
    pub fn window(&self) -> u64 {
        let mut window = self.window;
        if let Phase::ProbeRtt { .. } = self.phase {
            window = window.min(self.product() / 2.0);
        }
        window.clamp(self.packets(MIN_WINDOW).min(self.cap), self.cap) as u64
    }

    /// Begins with what an earlier user of this path ended with, halved.
    pub fn start_from(&mut self, window: u64) {
        let half = (window as f64 / 2.0).floor().min(self.packets(MAX_START));
        self.window = self.window.max(half).min(self.cap);
    }

    /// The most that the peer can take, in units.
    pub fn set_cap(&mut self, cap: u64) {
        self.cap = (cap as f64).max(self.packets(1));
    }

    /// Units per second to send at; none while neither a rate nor a round trip is known.
    pub fn pacing_rate(&self, round_trip: Option<Duration>) -> Option<f64> {
        let rate = self.rate();
        if rate <= 0.0 {
            return Some(STARTUP_GAIN * self.window / round_trip?.as_secs_f64().max(0.001));
        }
        let gain = match self.phase {
            Phase::Startup => STARTUP_GAIN,
            Phase::Drain => DRAIN_GAIN,
            Phase::Up => UP_GAIN,
            Phase::Down => DOWN_GAIN,
            Phase::Cruise { .. } | Phase::ProbeRtt { .. } => 1.0,
        };
        Some((rate * gain).max(self.packets(1)))
    }

    /// The bottleneck's rate as far as known, units per second.
    pub fn rate(&self) -> f64 {
        let rate = self.rates.iter().map(|r| r.1).fold(0.0, f64::max);
        self.rate_ceiling.map_or(rate, |c| rate.min(c))
    }

    /// Bandwidth-delay product in units.
    fn product(&self) -> f64 {
        let Some(rtt) = self.min_rtt else { return self.packets(INITIAL_WINDOW) };
        self.rate() * rtt.as_secs_f64()
    }

    /// Takes in what an acknowledgement, or a loss, brought.
    pub fn on_ack(&mut self, ev: &AckEvent, rtt: &mut Rtt, now: Instant, rng: &mut Rng) {
        self.min_rtt = rtt.min();
        self.deviation = rtt.deviation();
        self.round.acked += ev.acked_packets;
        self.round.lost += ev.lost_packets;
        self.round.peak = self.round.peak.max((ev.in_flight + ev.acked + ev.lost) as f64);
        if let Some(sample) = ev.rtt {
            self.round.min_rtt = Some(self.round.min_rtt.map_or(sample, |m| m.min(sample)));
        }
        let mut round_over = false;
        if let Some(rate) = ev.rate {
            // Where round trips are shorter than the pauses of busy routers, a round is as long as those:
            // else one pause would push every good measurement out of memory.
            if rate.prior_delivered >= self.round_ends && now >= self.round_began + self.path.slack {
                round_over = true;
                self.round_began = now;
                self.round_ends = ev.delivered;
                self.rounds += 1;
            }
            self.on_rate(rate, rtt);
        }
        self.on_burst(ev, now);
        let pushing = matches!(self.phase, Phase::Startup | Phase::Up);
        let burst_loss = pushing && self.round.lost >= BURST_LOSSES && self.congested();
        if round_over || burst_loss {
            self.on_round(ev, rng);
        }
        self.advance(ev, rtt, now, rng);
        self.grow(ev);
    }

    fn on_rate(&mut self, sample: RateSample, rtt: &Rtt) {
        let floor = rtt.min().unwrap_or(Duration::from_millis(1)) / 2;
        if sample.interval < floor || sample.interval.is_zero() {
            return;
        }
        let rate = sample.delivered as f64 / sample.interval.as_secs_f64();
        self.round.rate = self.round.rate.max(rate);
        let best = self.rates.iter().map(|r| r.1).fold(0.0, f64::max);
        if !sample.app_limited || rate > best {
            self.rates = max_filter(self.rates, self.rounds, rate);
        }
    }

    /// Acknowledgements that come in bursts need a larger window than the product.
    fn on_burst(&mut self, ev: &AckEvent, now: Instant) {
        let (from, before) = self.burst_from;
        let expected = self.rate() * now.since(from).as_secs_f64();
        let acked = ev.delivered.saturating_sub(before) as f64;
        if acked <= expected || before == 0 {
            self.burst_from = (now, ev.delivered);
            return;
        }
        self.burst = self.burst.max((acked - expected).min(self.product()));
    }

    /// Whether a queue stands somewhere on the path.
    fn queue_shows(&self) -> bool {
        let (Some(min), Some(round)) = (self.min_rtt, self.round.min_rtt) else { return false };
        round > min + (min / 8).max(self.path.queue) + self.deviation / 2
    }

    /// Whether a queue stands that takes longer than the path itself, though nothing of it is lost: where routers
    /// hold seconds of what they cannot send yet, loss comes too late.
    fn drowns(&self) -> bool {
        let (Some(min), Some(round)) = (self.min_rtt, self.round.min_rtt) else { return false };
        self.filled && round > min * 2 + DEEP_QUEUE
    }

    fn congested(&self) -> bool {
        if self.drowns() {
            return true;
        }
        let limit = match self.phase {
            _ if self.queue_shows() => LOSS_WITH_QUEUE,
            // A bottleneck with hardly a queue shows only by more loss than usual.
            Phase::Up => (LOSS_WITH_QUEUE + 2.0 * self.usual_loss).min(LOSS_WITHOUT_QUEUE),
            Phase::Startup | Phase::Drain | Phase::Cruise { .. } | Phase::Down | Phase::ProbeRtt { .. } => {
                LOSS_WITHOUT_QUEUE
            }
        };
        let few = if self.phase == Phase::Startup { BURST_LOSSES } else { MIN_LOSSES };
        self.round.lost >= few && self.round.loss() > limit
    }

    fn on_round(&mut self, ev: &AckEvent, rng: &mut Rng) {
        let congested = self.congested();
        self.burst *= 0.9;
        if matches!(self.phase, Phase::Cruise { .. }) {
            self.usual_loss = self.usual_loss * 0.8 + self.round.loss() * 0.2;
        }
        match self.phase {
            Phase::Startup => self.on_startup_round(ev, congested),
            Phase::Up if congested => {
                self.lower_ceiling();
                self.enter(Phase::Down);
            }
            Phase::Up => self.on_up_round(),
            Phase::Cruise { .. } | Phase::Down | Phase::Drain if congested => {
                self.lower_ceiling();
                let kept = self.rate() * BETA;
                self.rate_ceiling = Some(kept.max(self.round.rate.min(self.rate())));
            }
            Phase::Cruise { rounds } if self.rounds >= self.phase_began + rounds => {
                self.rate_ceiling = None;
                self.full_rate = self.rate();
                self.enter(Phase::Up);
            }
            Phase::Down if self.rounds >= self.phase_began + 2 => {
                self.enter(Phase::Cruise { rounds: rng.between(3, 6) });
            }
            Phase::Cruise { .. } | Phase::Down | Phase::Drain | Phase::ProbeRtt { .. } => {}
        }
        self.round = Round::default();
    }

    /// Ends the push when it brings nothing. The ceiling is raised slowly at
    /// first, for each packet above what the path holds is lost.
    fn on_up_round(&mut self) {
        let mut held = false;
        if let Some(ceiling) = &mut self.ceiling {
            held = self.round.peak >= *ceiling * 0.9;
            if held {
                *ceiling += self.ceiling_step;
                self.ceiling_step = (self.ceiling_step * 2.0).min(*ceiling / 4.0);
            }
        }
        let grows = self.round.rate > self.full_rate * 1.1;
        self.full_rate = self.full_rate.max(self.round.rate);
        let least = if held { 4 } else { 2 };
        let pushed = self.rounds - self.phase_began;
        if !grows && pushed >= least {
            self.enter(Phase::Down);
        } else if grows && pushed >= 3 && !self.queue_shows() {
            // The path has become much faster: double again.
            self.filled = false;
            self.ceiling = None;
            self.full_rounds = 0;
            self.enter(Phase::Startup);
        }
    }

    /// Leaves startup when the rate no longer grows by a quarter, at once if
    /// a queue builds or packets are lost meanwhile.
    fn on_startup_round(&mut self, ev: &AckEvent, congested: bool) {
        let rate = self.rate();
        if rate >= self.full_rate * 1.25 {
            self.full_rate = rate;
            self.full_rounds = 0;
        } else if !ev.rate.is_some_and(|r| r.app_limited) {
            self.full_rounds += if self.queue_shows() { 3 } else { 1 };
        }
        if congested {
            self.lower_ceiling();
        }
        if self.full_rounds >= 3 || congested {
            self.filled = true;
            self.enter(Phase::Drain);
        }
    }

    fn lower_ceiling(&mut self) {
        let kept = self.round.peak * BETA;
        // A queue that others keep deep does not go away, however few packets of ours are in it.
        let least = if self.drowns() { INITIAL_WINDOW } else { MIN_WINDOW };
        self.ceiling = Some(kept.max(self.product()).max(self.packets(least)));
        self.ceiling_step = self.packets(1);
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.phase_began = self.rounds;
    }

    /// Transitions that do not wait for the end of a round.
    fn advance(&mut self, ev: &AckEvent, rtt: &mut Rtt, now: Instant, rng: &mut Rng) {
        let in_flight = ev.in_flight as f64;
        match self.phase {
            Phase::Drain | Phase::Down if in_flight <= self.product() => {
                self.enter(Phase::Cruise { rounds: rng.between(3, 6) });
            }
            Phase::ProbeRtt { drained, lowest } => self.on_probe_rtt(ev, drained, lowest, rtt, now, rng),
            Phase::Startup | Phase::Drain | Phase::Cruise { .. } | Phase::Up | Phase::Down => {}
        }
        let steady = !matches!(self.phase, Phase::ProbeRtt { .. } | Phase::Startup);
        if steady && rtt.min_expired(now) {
            self.enter(Phase::ProbeRtt { drained: None, lowest: Duration::MAX });
        }
    }

    fn on_probe_rtt(
        &mut self,
        ev: &AckEvent,
        drained: Option<Drained>,
        lowest: Duration,
        rtt: &mut Rtt,
        now: Instant,
        rng: &mut Rng,
    ) {
        let lowest = ev.rtt.map_or(lowest, |s| s.min(lowest));
        let Some(Drained { least, round, most }) = drained else {
            let empty = ev.in_flight <= self.window() + 2 * u64::from(self.path.packet);
            // The smoothed round trip is that of the queue which is gone now: it says only when to give up.
            let drained = empty.then(|| Drained {
                least: now + PROBE_RTT_TIME,
                round: ev.delivered,
                most: now + PROBE_RTT_TIME.max(rtt.or_guess()),
            });
            self.phase = Phase::ProbeRtt { drained, lowest: Duration::MAX };
            return;
        };
        let round_over = ev.rate.is_some_and(|rate| rate.prior_delivered >= round);
        if now < least || (!round_over && now < most) {
            self.phase = Phase::ProbeRtt { drained, lowest };
            return;
        }
        if lowest < Duration::MAX {
            rtt.set_min(lowest, now);
            self.min_rtt = rtt.min();
        }
        self.enter(Phase::Cruise { rounds: rng.between(3, 6) });
    }

    /// Moves the window towards its target, by no more than was acknowledged.
    fn grow(&mut self, ev: &AckEvent) {
        let acked = ev.acked as f64;
        if !self.filled {
            // Grow only while the window is what holds the sender back, and
            // no further than to double what was delivered.
            let used = (ev.in_flight + ev.acked) as f64 * 1.5 >= self.window;
            let slack = self.rate() * self.path.slack.as_secs_f64() + self.burst;
            if used && self.window < STARTUP_WINDOW_GAIN * self.product() + slack {
                self.window += acked;
            }
        } else {
            // A queue that comes and goes looks like jitter. If all of it counted, the window would feed the queue
            // that feeds the window, wherever a queue can hold seconds.
            let deviation = self.deviation.min(self.min_rtt.unwrap_or(self.deviation));
            let jitter = self.rate() * (deviation * 2 + self.path.slack).as_secs_f64();
            let mut target = WINDOW_GAIN * self.product() + jitter + self.burst;
            if let Some(ceiling) = self.ceiling {
                target = target.min(ceiling + self.burst);
            }
            let target = target.max(self.packets(MIN_WINDOW * 2));
            self.window = if self.window < target { (self.window + acked).min(target) } else { target };
        }
        self.window = self.window.clamp(self.packets(1), self.cap);
    }

    /// Nothing was acknowledged for a timeout: start over carefully.
    pub fn on_timeout(&mut self) {
        if self.before_timeout.is_none() {
            self.before_timeout = Some(self.window);
        }
        self.window = self.packets(MIN_WINDOW);
    }

    /// The timeout was wrong: packets were late, not lost.
    pub fn undo_timeout(&mut self) {
        if let Some(window) = self.before_timeout.take() {
            self.window = self.window.max(window);
        }
    }

    /// Packets are acknowledged again.
    pub fn timeout_over(&mut self) {
        self.before_timeout = None;
    }

    /// The peer's buffer is full: after that, begin small.
    pub fn on_choke(&mut self) {
        self.window = self.packets(MIN_WINDOW);
    }

    /// Packets take another path now: keep the rate as a guess, measure anew.
    pub fn on_path_change(&mut self) {
        self.phase = Phase::Startup;
        self.filled = false;
        self.full_rate = 0.0;
        self.full_rounds = 0;
        self.ceiling = None;
        self.rate_ceiling = None;
        self.rates = [(self.rounds, 0.0); 3];
        // After a timeout nothing is known of the new path but hope. Few packets
        // also keep the session alive: its receiver looks only so many ahead.
        let half = (self.window / 2.0).clamp(self.packets(INITIAL_WINDOW), self.packets(MAX_START));
        let window = if self.before_timeout.is_some() { self.packets(MIN_WINDOW) } else { half };
        self.window = window.min(self.cap);
    }
}

/// Windowed maximum in constant space: the best three candidates, in order of age.
fn max_filter(mut best: [(u64, f64); 3], round: u64, rate: f64) -> [(u64, f64); 3] {
    let sample = (round, rate);
    let [first, second, third] = &mut best;
    if rate >= first.1 || round.saturating_sub(third.0) > RATE_ROUNDS {
        return [sample; 3];
    }
    if rate >= second.1 {
        *second = sample;
        *third = sample;
    } else if rate >= third.1 {
        *third = sample;
    }
    let age = round.saturating_sub(first.0);
    if age > RATE_ROUNDS {
        *first = *second;
        *second = *third;
        *third = sample;
        if round.saturating_sub(first.0) > RATE_ROUNDS {
            *first = *second;
            *second = *third;
        }
    } else if second.0 == first.0 && age > RATE_ROUNDS / 4 {
        *second = sample;
        *third = sample;
    } else if third.0 == second.0 && age > RATE_ROUNDS / 2 {
        *third = sample;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKETS: Path =
        Path { packet: 1, slack: Duration::from_millis(20), queue: Duration::from_millis(8) };

    #[test]
    fn the_greatest_rate_expires_after_its_rounds() {
        let mut best = [(0, 0.0); 3];
        best = max_filter(best, 1, 100.0);
        for round in 2..=11 {
            best = max_filter(best, round, 50.0);
            assert!((best[0].1 - 100.0).abs() < 1e-9, "round {round}");
        }
        best = max_filter(best, 12, 50.0);
        assert!((best[0].1 - 50.0).abs() < 1e-9);
    }

    #[test]
    fn random_loss_without_a_queue_is_not_congestion() {
        let mut c = Controller::new(PACKETS, 10, 128);
        c.min_rtt = Some(Duration::from_millis(100));
        c.round =
            Round { acked: 90, lost: 6, min_rtt: Some(Duration::from_millis(102)), rate: 1.0, peak: 96.0 };
        assert!(!c.congested());
        c.round.min_rtt = Some(Duration::from_millis(180));
        c.enter(Phase::Up);
        assert!(c.congested());
        c.round = Round { lost: 40, ..c.round };
        c.round.min_rtt = Some(Duration::from_millis(101));
        assert!(c.congested());
    }

    #[test]
    fn a_wrong_timeout_is_undone() {
        let mut c = Controller::new(PACKETS, 64, 128);
        c.on_timeout();
        c.on_timeout();
        assert_eq!(c.window(), u64::from(MIN_WINDOW));
        c.undo_timeout();
        assert_eq!(c.window(), 64);
    }
}
