//! What the API says, as types: the pages are drawn from the same, and `aioli top` reads them.
//!
//! Rates are in bytes a second, sizes in bytes, and nothing here is secret.

use serde::{Deserialize, Serialize};

/// How something stands, in words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The same for ever, for programs.
    pub code: String,
    /// How bad it is.
    pub level: Level,
    /// In a few words.
    pub title: String,
    /// Why.
    pub reason: String,
    /// What to do about it; empty if there is nothing to do.
    pub remedy: String,
}

/// How bad something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// All is well.
    Good,
    /// Good to know.
    Info,
    /// It takes a moment.
    Wait,
    /// It works, and could be better.
    Warning,
    /// It does not work.
    Bad,
}

impl Level {
    /// Its name.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Info => "info",
            Self::Wait => "wait",
            Self::Warning => "warning",
            Self::Bad => "bad",
        }
    }
}

/// `/api/v1/overview`: the router at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overview {
    /// The program's version.
    pub version: String,
    /// Seconds since the start.
    pub uptime_s: u64,
    /// The router's own hash, in base64.
    pub identity: String,
    /// The capability letters that it publishes.
    pub caps: String,
    /// How it is.
    pub state: Finding,
    /// What else there is to say, the worst first.
    pub notes: Vec<Finding>,
    /// Whether others reach it.
    pub reachability: Vec<Reachability>,
    /// Where it says that others reach it.
    pub published: Vec<String>,
    /// What gateways answered.
    pub port_mapping: Vec<String>,
    /// Bytes.
    pub bandwidth: Bandwidth,
    /// Sessions with other routers.
    pub sessions: SessionCounts,
    /// Tunnels.
    pub tunnels: TunnelCounts,
    /// Tunnels that were asked for.
    pub builds: Builds,
    /// How long a message takes through two of its tunnels, in milliseconds.
    pub latency_ms: Option<u64>,
    /// The network database.
    pub netdb: NetDbCounts,
    /// Programs.
    pub clients: ClientCounts,
    /// The clock.
    pub clock: Clock,
    /// What programs and browsers connect to.
    pub services: Vec<Service>,
}

/// Whether others reach the router in an address family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reachability {
    /// `IPv4` or `IPv6`.
    pub family: String,
    /// One word: `testing`, `open`, `firewalled`, `symmetric-nat`, `no-udp`, `hidden` or `disabled`.
    pub state: String,
    /// Where others reach or see it.
    pub address: Option<String>,
    /// The same for people.
    pub words: String,
}

/// What came and went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bandwidth {
    /// Received a second, of late.
    pub received_rate: u64,
    /// Sent a second, of late.
    pub sent_rate: u64,
    /// Of what is sent a second, what is relayed for others.
    pub relayed_rate: u64,
    /// Received since the start.
    pub received: u64,
    /// Sent since the start.
    pub sent: u64,
    /// Relayed for others since the start.
    pub relayed: u64,
    /// What may be received a second, if there is a limit.
    pub receive_limit: Option<u64>,
    /// What may be sent a second, if there is a limit.
    pub send_limit: Option<u64>,
    /// Of the limits, what others' tunnels may use at most.
    pub relayed_share_percent: u8,
}

/// Sessions with other routers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCounts {
    /// All.
    pub all: u64,
    /// Over NTCP2.
    pub ntcp2: u64,
    /// Over SSU2.
    pub ssu2: u64,
    /// At most.
    pub limit: u64,
}

/// Tunnels.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelCounts {
    /// Ours, towards us.
    pub inbound: u64,
    /// Ours, away from us.
    pub outbound: u64,
    /// Of these, the router's own, towards us.
    pub exploratory_inbound: u64,
    /// And away from us.
    pub exploratory_outbound: u64,
    /// Others', through us.
    pub relayed: u64,
    /// At most.
    pub relayed_limit: u64,
}

/// Tunnels that were asked for since the start, and what came of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Builds {
    /// Asked for.
    pub started: u64,
    /// Every hop agreed.
    pub succeeded: u64,
    /// A hop refused.
    pub refused: u64,
    /// Nobody answered in time.
    pub timed_out: u64,
    /// The answer was damaged on its way.
    pub failed: u64,
    /// Of those that ended within the last ten minutes, how many in a hundred came about.
    pub recent_success_percent: Option<u64>,
}

/// The network database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDbCounts {
    /// Routers known.
    pub routers: u64,
    /// At most.
    pub routers_limit: u64,
    /// Floodfills among them.
    pub floodfills: u64,
    /// LeaseSets held for others.
    pub lease_sets: u64,
    /// This router holds a part of the NetDB for others.
    pub floodfill: bool,
    /// Searches since the start.
    pub searches: u64,
    /// Of these, successful ones.
    pub searches_found: u64,
}

/// Programs that use the router.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCounts {
    /// Local destinations.
    pub destinations: u64,
    /// Open streams.
    pub streams: u64,
    /// Connections to SAM.
    pub sam_connections: u64,
}

/// The clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// True time minus the machine's, in milliseconds: the router corrects for it.
    pub offset_ms: i64,
    /// Time servers or enough other routers have confirmed it.
    pub confirmed: bool,
}

/// Something that programs and browsers connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// `http-proxy`, `socks-proxy` or `sam`.
    pub name: String,
    /// What it is for.
    pub what: String,
    /// Where it listens.
    pub address: String,
}

/// `/api/v1/sessions`: one with another router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The other router's hash, in base64.
    pub peer: String,
    /// `NTCP2` or `SSU2`.
    pub transport: String,
    /// `in` if the other router began it, else `out`.
    pub direction: String,
    /// Where it is.
    pub address: Option<String>,
    /// For how long, in seconds.
    pub age_s: u64,
    /// Received.
    pub received: u64,
    /// Sent.
    pub sent: u64,
    /// Waiting to be sent.
    pub queued: u64,
    /// The round trip in milliseconds, where it is measured.
    pub rtt_ms: Option<u64>,
    /// What the other router publishes of itself.
    pub caps: String,
    /// Its version.
    pub version: String,
}

/// `/api/v1/tunnels`: the tunnels of one owner.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The destination's b32 name; none for the router's own tunnels.
    pub destination: Option<String>,
    /// The tunnels, those towards us first.
    pub tunnels: Vec<Tunnel>,
}

/// One of our tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// `in` towards us, `out` away from us.
    pub direction: String,
    /// The hops' hashes in base64, in the order in which messages pass them.
    pub hops: Vec<String>,
    /// Seconds until its end.
    pub left_s: u64,
    /// `good`, `in doubt` (its last test failed) or `old` (another is to take its place).
    pub state: String,
}

/// `/api/v1/netdb`: what is known of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetDb {
    /// Routers known.
    pub routers: u64,
    /// Of these, such that say they can be reached.
    pub reachable: u64,
    /// Floodfills, some of them.
    pub floodfills: Vec<Router>,
    /// Routers by the letter of their bandwidth; `-` for none.
    pub by_class: Vec<Share>,
    /// Routers by version, the newest first.
    pub by_version: Vec<Share>,
}

/// How many routers are of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// The kind.
    pub name: String,
    /// How many.
    pub routers: u64,
}

/// Another router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Router {
    /// Its hash, in base64.
    pub hash: String,
    /// Its capability letters.
    pub caps: String,
    /// Its version.
    pub version: String,
}

/// `/api/v1/destinations`: a local one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Destination {
    /// Its b32 name.
    pub name: String,
    /// Others may find it.
    pub published: bool,
    /// `building`, `ready` or `ending`.
    pub state: String,
    /// Its tunnels towards us.
    pub inbound: u64,
    /// And away from us.
    pub outbound: u64,
    /// Leases in its LeaseSet.
    pub leases: u64,
    /// Seconds until its LeaseSet ends.
    pub lease_set_left_s: Option<u64>,
    /// Open streams.
    pub streams: u64,
}

/// `/api/v1/addressbook`: a part of the address book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressBook {
    /// Names in each list.
    pub lists: Vec<ListCount>,
    /// Names that match, of all lists.
    pub matches: u64,
    /// Some of them, in order.
    pub names: Vec<Name>,
}

/// How many names a list has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListCount {
    /// `private`, `user` or `hosts`.
    pub list: String,
    /// How many.
    pub names: u64,
}

/// A name of the address book.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Name {
    /// The name.
    pub name: String,
    /// What it stands for, as a b32 name.
    pub b32: String,
    /// `private`, `user` or `hosts`.
    pub list: String,
}

/// `/api/v1/settings`: a setting of the router.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its name, as on the command line.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Where the value is from.
    pub source: String,
    /// What it does.
    pub help: String,
    /// It can be changed here; otherwise the router must be started again.
    pub live: bool,
}

/// `/api/v1/logs`: what was said of late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// What happened to the router, the latest last.
    pub events: Vec<Event>,
    /// Lines of the log, the latest last.
    pub log: Vec<String>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in seconds since 1970.
    pub at: u64,
    /// What.
    pub text: String,
}

/// `/api/v1/history`: how it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Seconds between samples.
    pub every_s: u64,
    /// Samples, the latest last.
    pub samples: Vec<Sample>,
}

/// How it was at a moment, or since the sample before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// When, in seconds since 1970.
    pub at: u64,
    /// Received a second.
    pub received_rate: u64,
    /// Sent a second.
    pub sent_rate: u64,
    /// Relayed a second.
    pub relayed_rate: u64,
    /// Sessions with other routers.
    pub sessions: u64,
    /// Our own tunnels.
    pub tunnels: u64,
    /// Others' tunnels through us.
    pub relayed_tunnels: u64,
    /// Builds that ended since.
    pub builds: u64,
    /// Of these, those that came about.
    pub builds_succeeded: u64,
    /// The time through two tunnels, in milliseconds.
    pub latency_ms: Option<u64>,
}

/// `/api/v1/token`: what a change must carry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// For the header `X-Aioli-Token`.
    pub token: String,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// In words.
    pub error: String,
}

/// `/api/v1/services`: client and server tunnels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTunnels {
    /// All of them, by name.
    pub tunnels: Vec<ClientTunnel>,
    /// What is wrong with descriptions in files.
    pub problems: Vec<String>,
}

/// A client or server tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientTunnel {
    /// Its name.
    pub name: String,
    /// What it does, as in files: `client`, `http-server`, ...
    #[serde(rename = "type")]
    pub kind: String,
    /// `stopped`, `starting`, `ready`, `idle` or `failed`.
    pub state: String,
    /// The same in words, with the reason.
    pub detail: String,
    /// Where local programs connect to.
    pub listening: Option<String>,
    /// Whom it leads to: destinations of a client, local addresses of a server.
    pub leads_to: Vec<String>,
    /// The b32 name of its destination.
    pub b32: Option<String>,
    /// `configuration`, `file` or `i2pd`: only those of the file can be changed and removed here.
    pub origin: String,
    /// Connections now.
    pub connections: u64,
    /// Connections since the start.
    pub opened: u64,
    /// Refused, for any reason.
    pub refused: u64,
    /// Bytes from I2P.
    pub received: u64,
    /// Bytes into I2P.
    pub sent: u64,
}
