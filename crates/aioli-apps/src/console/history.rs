//! How it was: the last ten minutes and the last day, in two rings.

use std::collections::VecDeque;

use aioli_router::Overview;

use super::model::{self, Sample};

/// Seconds between samples, and how many are kept.
const MINUTES: (u64, usize) = (2, 300);
const DAY: (u64, usize) = (120, 720);

/// How far back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Range {
    /// Ten minutes.
    #[default]
    Minutes,
    /// A day.
    Day,
}

impl Range {
    /// As it is asked for.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "minutes" => Some(Self::Minutes),
            "day" => Some(Self::Day),
            _ => None,
        }
    }

    /// The same, for people.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Minutes => "10 minutes",
            Self::Day => "24 hours",
        }
    }
}

/// Counters that only grow, at some time.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Milliseconds since the start.
    at_ms: u64,
    received: u64,
    sent: u64,
    relayed: u64,
    builds: u64,
    builds_succeeded: u64,
}

/// What came and went a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) relayed: u64,
}

impl Counters {
    pub(crate) fn of(view: &Overview) -> Self {
        let s = &view.stats;
        Self {
            at_ms: u64::try_from(view.uptime.as_millis()).unwrap_or(u64::MAX),
            received: s.bytes_in,
            sent: s.bytes_out,
            relayed: s.transit_bytes_sent,
            builds: s.builds_succeeded + s.builds_refused + s.builds_timed_out + s.builds_failed,
            builds_succeeded: s.builds_succeeded,
        }
    }

    pub(crate) fn rates_since(&self, before: &Self) -> Rates {
        let ms = self.at_ms.saturating_sub(before.at_ms).max(1);
        let rate = |now: u64, then: u64| now.saturating_sub(then).saturating_mul(1_000) / ms;
        Rates {
            received: rate(self.received, before.received),
            sent: rate(self.sent, before.sent),
            relayed: rate(self.relayed, before.relayed),
        }
    }
}

#[derive(Debug)]
struct Ring {
    every_s: u64,
    most: usize,
    samples: VecDeque<Sample>,
    before: Option<Counters>,
}

impl Ring {
    const fn new((every_s, most): (u64, usize)) -> Self {
        Self { every_s, most, samples: VecDeque::new(), before: None }
    }

    fn add(&mut self, view: &Overview, at: u64) {
        let now = Counters::of(view);
        let Some(before) = self.before else {
            self.before = Some(now);
            return;
        };
        // A little early is in time: who asks every second is never quite punctual.
        if now.at_ms + 300 < before.at_ms + self.every_s * 1_000 {
            return;
        }
        self.before = Some(now);
        let (s, rates) = (&view.stats, now.rates_since(&before));
        if self.samples.len() >= self.most {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample {
            at,
            received_rate: rates.received,
            sent_rate: rates.sent,
            relayed_rate: rates.relayed,
            sessions: s.sessions,
            tunnels: s.tunnels_in + s.tunnels_out,
            relayed_tunnels: s.transit_tunnels,
            builds: now.builds.saturating_sub(before.builds),
            builds_succeeded: now.builds_succeeded.saturating_sub(before.builds_succeeded),
            latency_ms: view.tunnel_round_trip.map(|d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX)),
        });
    }
}

/// Both rings.
#[derive(Debug)]
pub(crate) struct History {
    minutes: Ring,
    day: Ring,
}

impl History {
    pub(crate) const fn new() -> Self {
        Self { minutes: Ring::new(MINUTES), day: Ring::new(DAY) }
    }

    /// Takes what is seen now; `at` is the time in seconds since 1970.
    pub(crate) fn add(&mut self, view: &Overview, at: u64) {
        self.minutes.add(view, at);
        self.day.add(view, at);
    }

    pub(crate) fn get(&self, range: Range) -> model::History {
        let ring = match range {
            Range::Minutes => &self.minutes,
            Range::Day => &self.day,
        };
        model::History { every_s: ring.every_s, samples: ring.samples.iter().cloned().collect() }
    }

    /// Builds that ended in the last ten minutes, and those of them that came about.
    pub(crate) fn recent_builds(&self) -> (u64, u64) {
        let add = |(all, good), s: &Sample| (all + s.builds, good + s.builds_succeeded);
        self.minutes.samples.iter().fold((0, 0), add)
    }
}
