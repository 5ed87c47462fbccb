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
    /// What routers speak.
    pub transports: Transports,
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
    /// What makes the network like the live one, if it is.
    pub scale: Option<Scale>,
}

/// What the routers of a network speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transports {
    /// All speak NTCP2 alone.
    Ntcp2,
    /// All speak SSU2 alone.
    Ssu2,
    /// Half speak both; of the others every second one NTCP2 alone, the rest SSU2 alone.
    Mixed,
}

impl Transports {
    /// Whether host `index` speaks NTCP2, and whether SSU2.
    pub(crate) const fn of(self, index: usize) -> (bool, bool) {
        match self {
            Self::Ntcp2 => (true, false),
            Self::Ssu2 => (false, true),
            Self::Mixed => (index % 4 != 3, index % 4 != 2),
        }
    }
}

/// Size, churn and enemies of a network like the live one. Its routers hold to
/// the rules of the public network.
#[derive(Clone, Debug)]
pub struct Scale {
    /// One host in so many has a destination; the others only relay and serve.
    pub session_every: usize,
    /// Tunnels of each kind and direction.
    pub quantity: u8,
    /// RouterInfos drawn, some twice, for each host that the scenario begins with: they have met before.
    pub known_at_start: usize,
    /// RouterInfos that a new host knows, as after a reseed.
    pub reseed: usize,
    /// Hosts of a thousand that leave for good within a day; a new one joins for each.
    pub replaced_per_day_permille: u64,
    /// Floodfills of a hundred that are hostile.
    pub hostile_percent: usize,
    /// Somebody looks for somebody else's RouterInfo this often.
    pub probe_every: Duration,
    /// A hostile floodfill of the flooding kind stores a fake this often, if ever.
    pub junk_every: Option<Duration>,
    /// Fake routers that pour in.
    pub flood: Option<Flood>,
    /// RouterInfos that a router may know.
    pub known_routers: usize,
    /// Nothing is judged before this time: everyone starts at once.
    pub warm_up: Duration,
    /// What must hold.
    pub demands: Demands,
}

/// Fake routers: signed RouterInfos with nothing behind their addresses.
#[derive(Clone, Debug)]
pub struct Flood {
    /// How many.
    pub fakes: usize,
    /// Of a hundred so many claim to be floodfills.
    pub floodfills_percent: u64,
    /// When it begins.
    pub after: Duration,
    /// All of them are stored once in this time, then again with a new date, to the end.
    pub over: Duration,
    /// Hosts that store them.
    pub senders: usize,
}

/// Shares that must be reached, in thousandths.
#[derive(Clone, Copy, Debug)]
pub struct Demands {
    /// Lookups of what exists, by honest routers.
    pub lookups: u64,
    /// Builds by honest routers through honest hops that are up.
    pub honest_builds: u64,
    /// All builds by honest routers.
    pub builds: u64,
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

/// What networks like the live one share: churn, a tenth of the floodfills hostile.
const LIVE: Scale = Scale {
    session_every: 8,
    quantity: 1,
    known_at_start: 1_000,
    reseed: 70,
    replaced_per_day_permille: 333,
    hostile_percent: 10,
    probe_every: Duration::from_secs(1),
    junk_every: Some(Duration::from_secs(4)),
    flood: None,
    // Fakes come at 900 an hour: the table is full, and must forget well, after little more than one.
    known_routers: 2_000,
    warm_up: Duration::from_secs(10 * 60),
    demands: Demands { lookups: 990, honest_builds: 950, builds: 0 },
};

const LIVE_NETWORK: Scenario = Scenario {
    name: "thousand",
    routers: 1_000,
    floodfills: 200,
    transports: Transports::Ntcp2,
    link: LONG,
    duration: Duration::from_secs(10 * 3600),
    transfer_every: Duration::from_secs(5),
    transfer_bytes: 20_000,
    crash_every: None,
    down_for: SECOND,
    reset_every: None,
    partition_every: None,
    partition_for: SECOND,
    skew: Duration::from_secs(5),
    wrong_clocks: &[],
    quiet: Duration::ZERO,
    tolerated_failures_permille: 50,
    scale: Some(LIVE),
};

const FLOODED: Scale = Scale {
    known_at_start: 200,
    known_routers: 600,
    flood: Some(Flood {
        fakes: 3_000,
        floodfills_percent: 10,
        after: Duration::from_secs(40 * 60),
        over: Duration::from_secs(40 * 60),
        senders: 30,
    }),
    demands: Demands { lookups: 980, honest_builds: 950, builds: 900 },
    ..LIVE
};

/// All scenarios.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "small",
        routers: 10,
        floodfills: 3,
        transports: Transports::Ntcp2,
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
        scale: None,
    },
    Scenario {
        name: "generations",
        routers: 12,
        floodfills: 4,
        transports: Transports::Ntcp2,
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
        scale: None,
    },
    Scenario {
        name: "churn",
        routers: 20,
        floodfills: 6,
        transports: Transports::Ntcp2,
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
        scale: None,
    },
    Scenario {
        name: "faults",
        routers: 16,
        floodfills: 5,
        transports: Transports::Ntcp2,
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
        scale: None,
    },
    Scenario {
        name: "clocks",
        routers: 24,
        floodfills: 6,
        transports: Transports::Ntcp2,
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
        scale: None,
    },
    Scenario {
        name: "datagrams",
        routers: 12,
        floodfills: 4,
        transports: Transports::Ssu2,
        link: LONG,
        duration: Duration::from_secs(25 * 60),
        transfer_every: Duration::from_secs(10),
        transfer_bytes: 100_000,
        crash_every: Some(Duration::from_secs(400)),
        down_for: Duration::from_secs(60),
        reset_every: None,
        partition_every: Some(Duration::from_secs(500)),
        partition_for: Duration::from_secs(30),
        skew: Duration::from_secs(5),
        wrong_clocks: &[],
        quiet: Duration::from_secs(10 * 60),
        tolerated_failures_permille: 10,
        scale: None,
    },
    Scenario {
        name: "mixed",
        routers: 16,
        floodfills: 6,
        transports: Transports::Mixed,
        link: LONG,
        duration: Duration::from_secs(25 * 60),
        transfer_every: Duration::from_secs(10),
        transfer_bytes: 100_000,
        crash_every: None,
        down_for: SECOND,
        reset_every: Some(Duration::from_secs(10)),
        partition_every: None,
        partition_for: SECOND,
        skew: Duration::from_secs(5),
        wrong_clocks: &[],
        quiet: Duration::from_secs(8 * 60),
        tolerated_failures_permille: 10,
        scale: None,
    },
    Scenario {
        name: "day",
        routers: 100,
        floodfills: 25,
        transports: Transports::Ntcp2,
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
        scale: None,
    },
    LIVE_NETWORK,
    Scenario {
        name: "five-thousand",
        routers: 5_000,
        floodfills: 1_000,
        duration: Duration::from_secs(3600),
        transfer_every: SECOND,
        scale: Some(Scale {
            known_at_start: 1_200,
            known_routers: 3_000,
            probe_every: Duration::from_millis(200),
            ..LIVE
        }),
        ..LIVE_NETWORK
    },
    Scenario {
        name: "besieged",
        routers: 150,
        floodfills: 30,
        duration: Duration::from_secs(3 * 3600),
        transfer_every: Duration::from_secs(15),
        scale: Some(Scale {
            session_every: 4,
            known_at_start: 150,
            known_routers: 300,
            probe_every: Duration::from_secs(7),
            junk_every: Some(Duration::from_secs(27)),
            ..LIVE
        }),
        ..LIVE_NETWORK
    },
    Scenario {
        name: "flood",
        routers: 200,
        floodfills: 40,
        duration: Duration::from_secs(150 * 60),
        scale: Some(FLOODED),
        ..LIVE_NETWORK
    },
    Scenario {
        name: "hundred",
        routers: 100,
        floodfills: 30,
        duration: Duration::from_secs(2 * 3600),
        scale: Some(Scale {
            session_every: 4,
            known_at_start: 100,
            probe_every: Duration::from_secs(3),
            junk_every: Some(Duration::from_secs(30)),
            ..LIVE
        }),
        ..LIVE_NETWORK
    },
    Scenario {
        name: "village",
        routers: 60,
        floodfills: 30,
        duration: Duration::from_secs(45 * 60),
        scale: Some(Scale {
            session_every: 6,
            probe_every: Duration::from_secs(3),
            junk_every: Some(Duration::from_secs(30)),
            known_at_start: 60,
            reseed: 40,
            // Churn in fast motion: a tenth in half an hour.
            replaced_per_day_permille: 5_000,
            ..LIVE
        }),
        ..LIVE_NETWORK
    },
    Scenario {
        name: "flooded-village",
        routers: 40,
        floodfills: 10,
        duration: Duration::from_secs(50 * 60),
        scale: Some(Scale {
            known_routers: 160,
            known_at_start: 40,
            reseed: 30,
            session_every: 5,
            probe_every: Duration::from_secs(3),
            flood: Some(Flood {
                fakes: 600,
                floodfills_percent: 10,
                after: Duration::from_secs(15 * 60),
                over: Duration::from_secs(20 * 60),
                senders: 6,
            }),
            demands: Demands { lookups: 950, honest_builds: 950, builds: 900 },
            ..FLOODED
        }),
        ..LIVE_NETWORK
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
