//! The scenarios, by name.

use aioli_core::Duration;

use crate::pipe::LinkModel;

/// A network and what happens to it.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// How `cargo xtask sim --scenario` names it.
    pub name: &'static str,
    /// Routers, all with a session that listens.
    pub routers: usize,
    /// Of these, floodfills.
    pub floodfills: usize,
    /// Every link.
    pub link: LinkModel,
    /// Virtual time in all.
    pub duration: Duration,
    /// A transfer between two random live hosts starts this often.
    pub transfer_every: Duration,
    /// Bytes of a transfer at most.
    pub transfer_bytes: u64,
    /// A random host crashes this often, if ever.
    pub crash_every: Option<Duration>,
    /// How long a crashed host stays down.
    pub down_for: Duration,
    /// A random connection is reset this often, if ever.
    pub reset_every: Option<Duration>,
    /// The network splits in two this often, if ever.
    pub partition_every: Option<Duration>,
    /// How long it stays split.
    pub partition_for: Duration,
    /// Every host's clock is wrong by up to this, either way.
    pub skew: Duration,
    /// The clocks of the last hosts are ahead by so many seconds besides, or behind if negative.
    pub wrong_clocks: &'static [i64],
    /// Faults and transfers stop this long before the end. In the middle of it every destination is called.
    pub quiet: Duration,
    /// Transfers between live hosts that may fail, in thousandths.
    pub tolerated_failures_permille: u64,
}

const YEAR: i64 = 365 * 86_400;
const SECOND: Duration = Duration::from_secs(1);
const FAST: LinkModel = LinkModel {
    delay: Duration::from_millis(5),
    jitter: Duration::from_millis(1),
    loss_permille: 0,
    rate: None,
};
const LONG: LinkModel = LinkModel {
    delay: Duration::from_millis(100),
    jitter: Duration::from_millis(10),
    loss_permille: 10,
    rate: None,
};

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "small",
        routers: 10,
        floodfills: 3,
        link: FAST,
        duration: Duration::from_secs(12 * 60),
        transfer_every: Duration::from_secs(5),
        transfer_bytes: 100_000,
        crash_every: None,
        down_for: SECOND,
        reset_every: None,
        partition_every: None,
        partition_for: SECOND,
        skew: Duration::ZERO,
        wrong_clocks: &[],
        quiet: Duration::from_secs(2 * 60),
        tolerated_failures_permille: 0,
    },
    Scenario {
        name: "generations",
        routers: 12,
        floodfills: 4,
        link: LONG,
        duration: Duration::from_secs(45 * 60),
        transfer_every: Duration::from_secs(20),
        transfer_bytes: 300_000,
        crash_every: None,
        down_for: SECOND,
        reset_every: None,
        partition_every: None,
        partition_for: SECOND,
        skew: Duration::from_secs(5),
        wrong_clocks: &[],
        quiet: Duration::from_secs(4 * 60),
        tolerated_failures_permille: 0,
    },
    Scenario {
        name: "churn",
        routers: 20,
        floodfills: 6,
        link: LONG,
        duration: Duration::from_secs(40 * 60),
        transfer_every: Duration::from_secs(15),
        transfer_bytes: 50_000,
        crash_every: Some(Duration::from_secs(150)),
        down_for: Duration::from_secs(120),
        reset_every: None,
        partition_every: None,
        partition_for: SECOND,
        skew: Duration::from_secs(5),
        wrong_clocks: &[],
        quiet: Duration::from_secs(12 * 60),
        tolerated_failures_permille: 10,
    },
    Scenario {
        name: "faults",
        routers: 16,
        floodfills: 5,
        link: LONG,
        duration: Duration::from_secs(60 * 60),
        transfer_every: Duration::from_secs(15),
        transfer_bytes: 50_000,
        crash_every: Some(Duration::from_secs(400)),
        down_for: Duration::from_secs(60),
        reset_every: Some(Duration::from_secs(10)),
        partition_every: Some(Duration::from_secs(500)),
        partition_for: Duration::from_secs(45),
        skew: Duration::from_secs(20),
        wrong_clocks: &[],
        quiet: Duration::from_secs(14 * 60),
        tolerated_failures_permille: 20,
    },
    Scenario {
        name: "clocks",
        routers: 24,
        floodfills: 6,
        link: LONG,
        duration: Duration::from_secs(30 * 60),
        transfer_every: Duration::from_secs(10),
        transfer_bytes: 50_000,
        crash_every: Some(Duration::from_secs(200)),
        down_for: Duration::from_secs(60),
        reset_every: None,
        partition_every: None,
        partition_for: SECOND,
        skew: SECOND,
        // Ten minutes either way, hours, years, and a machine that starts in 1970.
        wrong_clocks: &[600, -600, 3 * 3_600, -5 * 3_600, 12 * YEAR, -1_782_514_000],
        quiet: Duration::from_secs(12 * 60),
        tolerated_failures_permille: 10,
    },
    Scenario {
        name: "day",
        routers: 100,
        floodfills: 25,
        link: LONG,
        duration: Duration::from_secs(24 * 3600),
        transfer_every: Duration::from_secs(60),
        transfer_bytes: 50_000,
        crash_every: Some(Duration::from_secs(300)),
        down_for: Duration::from_secs(300),
        reset_every: Some(Duration::from_secs(60)),
        partition_every: None,
        partition_for: SECOND,
        skew: Duration::from_secs(5),
        wrong_clocks: &[],
        quiet: Duration::from_secs(20 * 60),
        tolerated_failures_permille: 10,
    },
];

/// Runs that failed once, each for a reason that is gone. A test runs them again.
pub const REGRESSIONS: &[(&str, u64)] = &[
    // A clock 20 s behind: what others passed on for it seemed to have expired.
    ("faults", 3),
];

/// The scenario of this name.
pub fn scenario(name: &str) -> Option<&'static Scenario> {
    SCENARIOS.iter().find(|s| s.name == name)
}
