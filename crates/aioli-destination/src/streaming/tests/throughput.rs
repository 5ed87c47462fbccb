//! How fast, over which paths, and beside whom.

use aioli_core::Duration;

use super::super::*;
use super::link::{Path, World};

const MBIT: u64 = 125_000;

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Sends for `secs` seconds over `path`; gives the share of `rate` that was used
/// in the second half, when the start is over.
fn utilisation(path: Path, secs: u64, configure: impl Fn(usize, &mut Config)) -> f64 {
    let back = Path { rate: 0, ..path };
    let mut w = World::new(&[back, path], configure);
    w.upload(0, 1, u64::MAX / 2);
    w.run(Duration::from_secs(secs / 2), |_| false);
    let half = w.received(1);
    w.run(Duration::from_secs(secs), |_| false);
    (w.received(1) - half) as f64 / (path.rate as f64 * (secs - secs / 2) as f64)
}

#[test]
fn a_long_lossy_path_is_filled() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, loss: 10_000, ..Path::default() };
    assert!(utilisation(path, 40, |_, _| {}) > 0.7);
}

#[test]
fn a_clean_path_is_filled_without_drowning_it() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, ..Path::default() };
    assert!(utilisation(path, 40, |_, _| {}) > 0.9);
}

#[test]
fn five_percent_loss_and_reordering_leave_most() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, loss: 50_000, jitter: ms(40), ..Path::default() };
    assert!(utilisation(path, 40, |_, _| {}) > 0.6);
}

#[test]
fn a_shallow_queue_is_enough() {
    let path = Path { rate: 10 * MBIT, queue: 40_000, loss: 5_000, ..Path::default() };
    assert!(utilisation(path, 40, |_, _| {}) > 0.6);
}

#[test]
fn half_a_second_and_a_hundred_megabit() {
    let path = Path { rate: 100 * MBIT, queue: 3_000_000, loss: 1_000, delay: ms(250), ..Path::default() };
    assert!(utilisation(path, 60, |_, _| {}) > 0.6);
}

#[test]
fn a_peer_of_another_kind_gets_its_window_filled() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, loss: 10_000, ..Path::default() };
    // 128 packets are 97 per round trip and little room for repairs.
    assert!(utilisation(path, 40, |_, c| c.options.max_window = 128) > 0.5);
}

fn shares(path: Path, late: u64) -> (f64, f64) {
    let back = Path { rate: 0, ..path };
    let mut w = World::new(&[back, back, path], |_, _| {});
    w.upload(0, 2, u64::MAX / 2);
    w.run(Duration::from_secs(late), |_| false);
    w.upload(1, 2, u64::MAX / 2);
    w.run(Duration::from_secs(30 + late), |_| false);
    let before: Vec<u64> = w.nodes[2].app.read.values().copied().collect();
    w.run(Duration::from_secs(100 + late), |_| false);
    let after: Vec<u64> = w.nodes[2].app.read.values().copied().collect();
    let got: Vec<f64> = after.iter().zip(before).map(|(a, b)| (a - b) as f64).collect();
    let total: f64 = got.iter().sum();
    let used = total / (path.rate as f64 * 70.0);
    let share = got.iter().copied().fold(0.0, f64::max) / total;
    (share, used)
}

#[test]
fn two_flows_share() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, loss: 5_000, ..Path::default() };
    let (share, used) = shares(path, 0);
    assert!(share < 0.65 && used > 0.75);
}

#[test]
fn a_late_flow_gets_its_share() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, delay: ms(60), ..Path::default() };
    let (share, used) = shares(path, 20);
    assert!(share < 0.65 && used > 0.75);
}

#[test]
fn acknowledgements_are_few_at_speed() {
    let path = Path { rate: 40 * MBIT, queue: 1_000_000, ..Path::default() };
    let mut w = World::new(&[Path { rate: 0, ..path }, path], |_, _| {});
    w.upload(0, 1, 20_000_000);
    assert!(w.run(Duration::from_secs(60), |w| w.received(1) == 20_000_000));
    assert!(w.sent[1] * 6 < w.sent[0], "{} acks for {} packets", w.sent[1], w.sent[0]);
}

#[test]
fn a_short_path_that_works_in_batches_is_filled() {
    let path = Path { rate: 400 * MBIT, queue: 2_000_000, delay: ms(1), jitter: ms(6), ..Path::default() };
    assert!(utilisation(path, 6, |_, _| {}) > 0.7);
}

#[test]
fn wild_jitter_is_survived() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, loss: 20_000, jitter: ms(400), ..Path::default() };
    assert!(utilisation(path, 60, |_, _| {}) > 0.7);
}

#[test]
fn two_seconds_round_trip() {
    let path = Path { rate: 4 * MBIT, queue: 500_000, loss: 10_000, delay: ms(1000), ..Path::default() };
    assert!(utilisation(path, 120, |_, _| {}) > 0.7);
}

#[test]
fn a_path_that_gets_faster_or_slower_is_followed() {
    let path = Path { rate: 4 * MBIT, queue: 200_000, loss: 5_000, ..Path::default() };
    let mut w = World::new(&[Path { rate: 0, ..path }, path], |_, _| {});
    w.upload(0, 1, u64::MAX / 2);
    w.run(Duration::from_secs(20), |_| false);
    for (second, rate) in [(20, 20 * MBIT), (60, 2 * MBIT)] {
        w.paths[1].rate = rate;
        w.run(Duration::from_secs(second + 15), |_| false);
        let before = w.received(1);
        w.run(Duration::from_secs(second + 40), |_| false);
        let used = (w.received(1) - before) as f64 / (rate as f64 * 25.0);
        assert!(used > 0.7, "{used} of {rate}");
    }
}

#[test]
fn eight_flows_share() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, loss: 5_000, ..Path::default() };
    let mut paths = vec![Path { rate: 0, ..path }; 8];
    paths.push(path);
    let mut w = World::new(&paths, |_, _| {});
    for from in 0..8 {
        w.upload(from, 8, u64::MAX / 2);
        w.run(Duration::from_secs(from as u64 + 1), |_| false);
    }
    w.run(Duration::from_secs(30), |_| false);
    let before: Vec<u64> = w.nodes[8].app.read.values().copied().collect();
    w.run(Duration::from_secs(90), |_| false);
    let got: Vec<u64> = w.nodes[8].app.read.values().zip(before).map(|(a, b)| a - b).collect();
    let total: u64 = got.iter().sum();
    let sent: u64 = w.sent[..8].iter().sum();
    assert!(total as f64 > 0.85 * 60.0 * path.rate as f64);
    // Jain's index: 1 if all have the same.
    let squares: f64 = got.iter().map(|n| (*n as f64).powi(2)).sum();
    assert!((total as f64).powi(2) / (8.0 * squares) > 0.8, "{got:?}");
    assert!((w.queue_drops as f64) < 0.06 * sent as f64);
}

#[test]
fn both_ways_at_once() {
    let path = Path { rate: 10 * MBIT, queue: 250_000, loss: 10_000, ..Path::default() };
    let mut w = World::pair(path);
    w.upload(0, 1, u64::MAX / 2);
    w.run(Duration::from_secs(2), |w| !w.nodes[1].app.incoming.is_empty());
    let back = w.nodes[1].app.incoming[0];
    w.nodes[1].app.to_send.insert(back, u64::MAX / 2);
    w.write(1, back);
    w.run(Duration::from_secs(20), |_| false);
    let before = (w.received(0), w.received(1));
    w.run(Duration::from_secs(50), |_| false);
    for got in [w.received(0) - before.0, w.received(1) - before.1] {
        assert!(got as f64 > 0.75 * 30.0 * path.rate as f64, "{got}");
    }
}

/// A router that queues for another with a bandwidth limit sends now faster and now more slowly, and may hold
/// seconds of what waits.
#[test]
fn a_deep_queue_that_slows_down_is_not_filled_and_nobody_stands_still() {
    let path = Path { rate: 260_000, queue: 4_000_000, delay: ms(10), jitter: ms(2), ..Path::default() };
    let back = Path { rate: 0, ..path };
    let mut w = World::new(&[back, back, path], |_, _| {});
    let ids = [w.upload(0, 2, u64::MAX / 2), w.upload(1, 2, u64::MAX / 2)];
    let mut before = [0; 2];
    let mut slowest = Duration::ZERO;
    for second in 1..=120 {
        w.paths[2].rate = if second / 20 % 2 == 0 { 260_000 } else { 65_000 };
        w.run(Duration::from_secs(second), |_| false);
        let now: Vec<u64> = w.nodes[2].app.read.values().copied().collect();
        for (node, id) in ids.into_iter().enumerate() {
            let got = now[node] - before[node];
            assert!(got > 8_000, "stream {node} had {got} bytes in second {second}");
            before[node] = now[node];
            let round_trip = w.nodes[node].streams.status(id).unwrap().round_trip;
            slowest = slowest.max(round_trip.unwrap_or_default());
        }
    }
    assert!(slowest < ms(2_000), "{slowest:?}");
}
