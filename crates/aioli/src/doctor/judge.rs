//! What the facts mean.

use std::time::Duration;

use super::facts::{Directory, Facts, Port, PortState, Time};
use super::{Finding, Level};
use crate::settings::Settings;
use aioli_node::{FEW_ROUTERS, Holder, Inspection};

/// Other routers take no part with one whose clock is further off.
const CLOCK_WRONG_MS: u64 = 60_000;
/// The router corrects what is less without a word.
const CLOCK_OFF_MS: u64 = 5_000;
/// The month in which the program was written: no clock that is right shows less.
const WRITTEN_SECS: u64 = 1_793_491_200;
/// Free bytes without which things go wrong, and with which they will.
const LITTLE_DISK: u64 = 16 << 20;
const SOME_DISK: u64 = 256 << 20;
/// Bytes that the program takes with nothing to do; see docs/small-machines.md.
const IDLE_MEMORY: u64 = 16 << 20;
/// What a connection may take besides what the limits say.
const CONNECTION_MEMORY: u64 = 16 << 10;
/// Files and sockets besides those of other routers: proxies, SAM, the disk.
const OTHER_DESCRIPTORS: u64 = 512;

/// All findings, in the order in which a person should care.
pub fn judge(settings: &Settings, facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![clock(facts)];
    findings.extend(directory(settings, facts));
    let holder = holder(facts);
    findings.extend(facts.ports.iter().map(|port| self::port(port, holder)));
    findings.extend([descriptors(settings, facts), memory(settings, facts)].into_iter().flatten());
    findings.push(address(settings, facts));
    findings.extend(running(facts));
    findings
}

/// Whoever uses the data directory.
fn holder(facts: &Facts) -> Option<&Holder> {
    inside(facts).and_then(|inside| inside.holder.as_ref())
}

fn inside(facts: &Facts) -> Option<&Inspection> {
    match &facts.directory {
        Directory::There { inside, .. } => Some(inside),
        Directory::Missing | Directory::Unreadable(_) => None,
    }
}

fn clock(facts: &Facts) -> Finding {
    const CHECK: &str = "clock";
    const SET: &str = "set it, best by the system's own time service (timedatectl set-ntp true)";
    if facts.wall_secs < WRITTEN_SECS {
        return Finding::error(CHECK, "this computer's clock is years behind", SET);
    }
    match &facts.time {
        Time::Behind(ms, agreeing) => {
            let way = if *ms < 0 { "ahead of" } else { "behind" };
            let off = Duration::from_millis(ms.unsigned_abs());
            let what = format!("{:.1} s {way} {agreeing} time servers", off.as_secs_f64());
            match ms.unsigned_abs() {
                CLOCK_WRONG_MS.. => Finding::error(CHECK, what, SET),
                CLOCK_OFF_MS.. => {
                    Finding::warning(CHECK, what, format!("the router corrects it for itself; {SET}"))
                }
                _ => Finding::ok(CHECK, what),
            }
        }
        Time::NotAsked(why) => Finding::ok(CHECK, format!("plausible; no time server was asked: {why}")),
        Time::NoAnswer(error) => Finding::warning(
            CHECK,
            error.clone(),
            "check that UDP to port 123 is let out, or name other servers with --ntp",
        ),
    }
}

fn directory(settings: &Settings, facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "data directory";
    let path = settings.data_dir.display();
    let (owner, mode, keys_mode, free, inside) = match &facts.directory {
        Directory::Missing => {
            return vec![Finding::ok(CHECK, format!("{path} is not there yet: the first start makes it"))];
        }
        Directory::Unreadable(error) => {
            let remedy = "run this as the router's user, or give another directory with --data-dir";
            return vec![Finding::error(CHECK, format!("{path} cannot be read: {error}"), remedy)];
        }
        Directory::There { owner, mode, keys_mode, free, inside } => {
            (*owner, *mode, *keys_mode, *free, inside)
        }
    };
    let mut found = Vec::new();
    if owner.0 != owner.1 && owner.1 != 0 {
        found.push(Finding::error(
            CHECK,
            format!("{path} belongs to user {}, and you are {}", owner.0, owner.1),
            "run the router as its owner, or give the directory to its user with chown -R",
        ));
    }
    if mode & 0o077 != 0 {
        let what = format!("others of this computer may look into {path} (mode {mode:04o})");
        found.push(Finding::warning(CHECK, what, format!("chmod 700 {path}")));
    }
    if let Some(mode) = keys_mode.filter(|mode| mode & 0o077 != 0) {
        let what = format!("others of this computer may read the identity (mode {mode:04o})");
        found.push(Finding::error(CHECK, what, format!("chmod 600 {path}/router.keys.json")));
    }
    found.extend(free.and_then(disk));
    let remedy = "see docs/running.md, The data directory";
    found.extend(inside.layout.as_ref().err().map(|error| Finding::error(CHECK, error.to_string(), remedy)));
    found
        .extend(inside.identity.as_ref().err().map(|error| Finding::error(CHECK, error.to_string(), remedy)));
    if found.iter().all(|finding| finding.level == Level::Ok) {
        found.push(Finding::ok(CHECK, format!("{path} can be used")));
    }
    found
}

fn disk(free: u64) -> Option<Finding> {
    const REMEDY: &str = "free some space, or move the directory with --data-dir";
    let what = format!("{} MB are free on its disk", free >> 20);
    match free {
        ..LITTLE_DISK => Some(Finding::error("disk", what, REMEDY)),
        LITTLE_DISK..SOME_DISK => Some(Finding::warning("disk", what, REMEDY)),
        SOME_DISK.. => None,
    }
}

fn port(port: &Port, holder: Option<&Holder>) -> Finding {
    const CHECK: &str = "port";
    let Port { what, address, protocol, option, dispensable, state } = port;
    let name = format!("{protocol} {address} for {what}");
    let level = |what: String, remedy: String| {
        if *dispensable { Finding::warning(CHECK, what, remedy) } else { Finding::error(CHECK, what, remedy) }
    };
    match state {
        PortState::Free => Finding::ok(CHECK, format!("{name} is free")),
        PortState::Taken(Some((_, pid))) if holder.is_some_and(|h| h.process() == Some(*pid)) => {
            Finding::ok(CHECK, format!("{name} is open: the running router has it"))
        }
        PortState::Taken(None) if holder.is_some() => {
            Finding::ok(CHECK, format!("{name} is open, by the running router as it seems"))
        }
        PortState::Taken(by) => {
            let by = by.as_ref().map_or_else(
                || "a program that only root may name".to_owned(),
                |(program, pid)| format!("{program} (process {pid})"),
            );
            level(
                format!("{name} is held by {by}"),
                format!("end that program, or choose another port with {option}"),
            )
        }
        PortState::Refused(why) => level(
            format!("{name}: {why}"),
            format!("choose an address of this computer with --host or {option}"),
        ),
    }
}

fn descriptors(settings: &Settings, facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "file limit";
    let limit = facts.descriptors?;
    let wanted = settings.limits.connections as u64 + OTHER_DESCRIPTORS;
    let what = format!("{limit} files and sockets may be open, {wanted} may be needed");
    let remedy =
        format!("ulimit -n {wanted}, for systemd LimitNOFILE={wanted}; or give a smaller --max-connections");
    Some(if limit < wanted { Finding::warning(CHECK, what, remedy) } else { Finding::ok(CHECK, what) })
}

fn memory(settings: &Settings, facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "memory";
    let limits = &settings.limits;
    let most = IDLE_MEMORY + limits.queue_bytes as u64 + limits.connections as u64 * CONNECTION_MEMORY;
    let there = facts.memory?;
    let profile = &settings.profile;
    let what = format!("{} MB can be had, profile {profile} may take {} MB", there >> 20, most >> 20);
    Some(if there < IDLE_MEMORY {
        Finding::error(CHECK, what, "end other programs: the router does not run with less than 16 MB")
    } else if there < most {
        Finding::warning(CHECK, what, "give a smaller --profile, or fewer --max-connections")
    } else {
        Finding::ok(CHECK, what)
    })
}

fn address(settings: &Settings, facts: &Facts) -> Finding {
    const CHECK: &str = "address";
    if settings.hidden {
        return Finding::ok(CHECK, "hidden: no address is published");
    }
    if let Some(address) = settings.external_host {
        return Finding::ok(CHECK, format!("{address} is published, as the settings say"));
    }
    if settings.host.is_loopback() {
        let what = "the router listens on this computer alone: nobody can connect to it";
        return Finding::warning(CHECK, what, "leave out --host");
    }
    if !settings.host.is_unspecified() {
        return Finding::ok(CHECK, format!("the router listens on {} alone", settings.host));
    }
    match facts.public_address {
        Some(address) => {
            Finding::ok(CHECK, format!("{address} is an address of this computer that others reach"))
        }
        None if settings.port_mapping => Finding::ok(
            CHECK,
            "this computer has no public address: the router asks the gateway to let others in, and works through \
             introducers if it does not",
        ),
        None => Finding::warning(
            CHECK,
            "this computer has no public address, and gateways are not asked to let others in",
            "leave out --no-port-mapping, or forward the port and give --external-host",
        ),
    }
}

/// What the router that runs lets be known, and what a start would find.
fn running(facts: &Facts) -> Vec<Finding> {
    const CHECK: &str = "router";
    let known = inside(facts).map_or(0, |inside| inside.known_routers);
    let Some(holder) = holder(facts) else {
        let what = if (known as u64) < FEW_ROUTERS {
            format!(
                "none runs; {known} other routers are known, so that a start looks for more (docs/reseeding.md)"
            )
        } else {
            format!("none runs; {known} other routers are known")
        };
        return vec![Finding::ok(CHECK, what)];
    };
    let mut found = vec![match facts.running.sam_answers {
        Some(false) => Finding::error(
            CHECK,
            format!("it runs ({holder}), and SAM does not answer"),
            "look at its log; restart it if it hangs, and report that",
        ),
        Some(true) => Finding::ok(CHECK, format!("it runs ({holder}) and answers")),
        None => Finding::ok(CHECK, format!("it runs ({holder})")),
    }];
    let caps = inside(facts).and_then(|inside| inside.caps.as_deref());
    found.extend(caps.map(reachability));
    if let Some(counters) = &facts.running.counters {
        found.extend(peers(&|name| counters.get(name).and_then(serde_json::Value::as_u64).unwrap_or(0)));
    }
    found
}

fn reachability(caps: &str) -> Finding {
    const CHECK: &str = "reachability";
    if caps.contains('U') {
        Finding::warning(
            CHECK,
            "it has published that others cannot connect to it, and works through introducers",
            "let its UDP and TCP port through the firewall and the gateway; docs/reachability.md",
        )
    } else if caps.contains('R') {
        Finding::ok(CHECK, "it has published that others connect to it")
    } else {
        Finding::ok(CHECK, "not known yet")
    }
}

fn peers(counter: &dyn Fn(&str) -> u64) -> Vec<Finding> {
    const CHECK: &str = "peers";
    let (sessions, known) = (counter("sessions"), counter("known_routers"));
    let tunnels = (counter("tunnels_in"), counter("tunnels_out"));
    let what = format!(
        "{sessions} sessions, {known} routers known, {} inbound and {} outbound tunnels",
        tunnels.0, tunnels.1
    );
    let mut found = vec![if sessions == 0 {
        Finding::error(
            CHECK,
            what,
            "check the connection to the Internet and the firewall; docs/reseeding.md",
        )
    } else if tunnels.0 == 0 || tunnels.1 == 0 {
        Finding::warning(
            CHECK,
            what,
            "wait two minutes after a start; if it stays so, check clock and firewall",
        )
    } else {
        Finding::ok(CHECK, what)
    }];
    if counter("bugs") > 0 {
        let what = format!("it has met {} bugs of its own", counter("bugs"));
        found.push(Finding::warning("bugs", what, "please report the lines of its log that contain \"bug\""));
    }
    found
}
