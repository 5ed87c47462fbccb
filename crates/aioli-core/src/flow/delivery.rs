//! How fast packets are delivered (draft-cheng-iccrg-delivery-rate-estimation).

use crate::{Duration, Instant};

/// One measurement of the delivery rate.
#[derive(Clone, Copy, Debug)]
pub struct RateSample {
    /// Units delivered between sending and acknowledgement of one packet.
    pub delivered: u64,
    /// The time that took.
    pub interval: Duration,
    /// The sender had nothing more to send, so the path could do better.
    pub app_limited: bool,
    /// Units that were delivered when that packet left.
    pub prior_delivered: u64,
}

/// What was known when a packet left.
#[derive(Clone, Copy, Debug)]
pub struct Departure {
    /// When it left.
    pub at: Instant,
    /// Units that were delivered by then.
    pub delivered: u64,
    delivered_at: Instant,
    first_at: Instant,
    app_limited: bool,
}

/// Counts what is delivered.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    total: u64,
    delivered_at: Instant,
    first_at: Instant,
    /// Until so much is delivered, samples are limited by the application.
    app_limited_until: u64,
}

impl Delivery {
    /// Units delivered so far.
    pub const fn total(&self) -> u64 {
        self.total
    }

    /// A packet leaves. `idle`: nothing was in flight before it.
    pub const fn depart(&mut self, idle: bool, now: Instant) -> Departure {
        if idle {
            self.first_at = now;
            self.delivered_at = now;
        }
        Departure {
            at: now,
            delivered: self.total,
            delivered_at: self.delivered_at,
            first_at: self.first_at,
            app_limited: self.total < self.app_limited_until,
        }
    }

    /// So much was delivered.
    pub const fn deliver(&mut self, units: u64) {
        self.total += units;
    }

    /// So much was not delivered after all.
    pub const fn undeliver(&mut self, units: u64) {
        self.total = self.total.saturating_sub(units);
    }

    /// The application, not the window, holds the sender back, with so much in flight.
    pub fn set_app_limited(&mut self, in_flight: u64) {
        self.app_limited_until = self.total + in_flight.max(1);
    }

    /// The rate that an acknowledgement shows. `newest` is the packet sent last of those that it names.
    pub fn sample(&mut self, newest: &Departure, now: Instant) -> RateSample {
        self.first_at = newest.at;
        self.delivered_at = now;
        RateSample {
            delivered: self.total.saturating_sub(newest.delivered),
            interval: newest.at.since(newest.first_at).max(now.since(newest.delivered_at)),
            app_limited: newest.app_limited,
            prior_delivered: newest.delivered,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Instant {
        Instant::from_micros(millis * 1_000)
    }

    #[test]
    fn a_rate_is_what_arrived_over_the_longer_of_sending_and_acknowledging() {
        let mut delivery = Delivery::default();
        let first = delivery.depart(true, at(100));
        let second = delivery.depart(false, at(130));
        delivery.deliver(1);
        assert_eq!(delivery.sample(&first, at(200)).interval, Duration::from_millis(100));
        delivery.deliver(1);
        // Acknowledgements that come together do not make the path faster than packets were sent.
        let sample = delivery.sample(&second, at(201));
        assert_eq!((sample.delivered, sample.prior_delivered), (2, 0));
        assert_eq!(sample.interval, Duration::from_millis(101));
    }

    #[test]
    fn samples_say_when_there_was_too_little_to_send() {
        let mut delivery = Delivery::default();
        delivery.set_app_limited(0);
        let alone = delivery.depart(true, at(0));
        delivery.deliver(1_000);
        let next = delivery.depart(false, at(10));
        assert!(delivery.sample(&alone, at(20)).app_limited);
        assert!(!delivery.sample(&next, at(30)).app_limited);
    }
}
