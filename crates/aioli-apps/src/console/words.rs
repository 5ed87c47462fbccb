//! The router's state in words: what it is, why, and what to do about it.

use aioli_router::reachability::{Reachability, Told};
use aioli_router::{Event, Overview};

use super::history::Rates;
use super::model::{Finding, Level};

/// After this time a router that has met nobody has a problem.
const CONNECTED_WITHIN_S: u64 = 60;
/// And one without tunnels.
const TUNNELS_WITHIN_S: u64 = 240;
/// Of so many builds, so few in a hundred that come about are too few.
const FEW_BUILDS: (u64, u64) = (20, 30);
/// A limit is reached at so many hundredths of it.
const REACHED_PERCENT: u64 = 95;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// None: the router has ended.
    pub(crate) view: Option<&'a Overview>,
    pub(crate) rates: Rates,
    /// Builds that ended of late, and those that came about.
    pub(crate) builds: (u64, u64),
}

fn finding(code: &str, level: Level, title: &str, reason: String, remedy: &str) -> Finding {
    let (code, title, remedy) = (code.to_owned(), title.to_owned(), remedy.to_owned());
    Finding { code, level, title, reason, remedy }
}

/// How the router is.
pub(crate) fn state(view: Option<&Overview>) -> Finding {
    let Some(view) = view else {
        return finding(
            "stopped",
            Level::Bad,
            "The router has stopped",
            "Its thread has ended; the log says why.".to_owned(),
            "Start it again. If it ends again by itself, please report the last lines of its log.",
        );
    };
    let (s, uptime) = (&view.stats, view.uptime.as_secs());
    if view.draining {
        let reason = format!("It waits for {} tunnels of others to end.", s.transit_tunnels);
        return finding("stopping", Level::Wait, "The router is stopping", reason, "");
    }
    if s.known_routers == 0 {
        return finding(
            "no-routers",
            Level::Bad,
            "No other router is known",
            "To join the network the router needs to know some of its members, and it knows none.".to_owned(),
            "Check that this computer is online: the router asks reseed servers again every few minutes. Without \
             access to them, start it with --reseed FILE and a file i2pseeds.su3 from somebody who has one.",
        );
    }
    if s.sessions == 0 {
        return not_connected(view, uptime);
    }
    if view.exploratory.0 == 0 || view.exploratory.1 == 0 {
        return no_tunnels(view, uptime);
    }
    finding(
        "ready",
        Level::Good,
        "Connected to I2P",
        format!(
            "Sessions with {} other routers and {} tunnels of its own.",
            s.sessions,
            s.tunnels_in + s.tunnels_out
        ),
        "",
    )
}

fn not_connected(view: &Overview, uptime: u64) -> Finding {
    let known = view.stats.known_routers;
    if uptime < CONNECTED_WITHIN_S {
        let reason = format!("It knows {known} other routers and connects to the first of them.");
        return finding("starting", Level::Wait, "Starting: connecting to other routers", reason, "");
    }
    finding(
        "no-peers",
        Level::Bad,
        "No connection to any other router",
        format!("{known} other routers are known, and there is a session with none of them."),
        "Check the connection to the Internet, and that no firewall forbids this program to connect outwards over \
         TCP and UDP. A clock that is wrong by more than a minute also keeps others from answering.",
    )
}

fn no_tunnels(view: &Overview, uptime: u64) -> Finding {
    let (inbound, outbound) = view.exploratory;
    let have = format!(
        "Everything goes through tunnels of several routers; {inbound} towards this router and {outbound} away from it \
         stand."
    );
    if uptime < TUNNELS_WITHIN_S {
        return finding("building", Level::Wait, "Starting: building tunnels", have, "");
    }
    finding(
        "no-tunnels",
        Level::Bad,
        "No tunnels",
        have,
        "If it stays so for minutes: few other routers may be known yet, the clock may be wrong, or the connection \
         drops much. The page on tunnels says how builds end.",
    )
}

/// What else there is to say, the worst first.
pub(crate) fn notes(facts: Facts<'_>) -> Vec<Finding> {
    let Some(view) = facts.view else { return Vec::new() };
    let mut notes: Vec<_> = view.families.iter().filter_map(reach).collect();
    notes.extend(clock(view));
    notes.extend(limits(view, facts.rates));
    notes.extend(builds(facts.builds));
    if view.hidden {
        notes.push(finding(
            "hidden",
            Level::Info,
            "Hidden",
            "The router publishes no address and relays nothing for others, as it was told (--hidden)."
                .to_owned(),
            "",
        ));
    }
    if view.stats.bugs > 0 {
        notes.push(finding(
            "bugs",
            Level::Warning,
            "A fault in the program was met",
            format!("The router has noticed {} contradictions in itself and went on.", view.stats.bugs),
            "Please report the lines of the log that contain the word bug.",
        ));
    }
    notes.sort_by_key(|n| std::cmp::Reverse(n.level));
    notes
}

fn reach(told: &Told) -> Option<Finding> {
    let (family, port) = (told.family, told.port);
    let (code, title, reason) = match told.state {
        Reachability::Firewalled => (
            "firewalled",
            format!("Others cannot connect over {family}"),
            "A firewall or a NAT keeps them out. The router works all the same, through others that introduce it; it is \
             slower, and of less use to the network.",
        ),
        Reachability::SymmetricNat => (
            "symmetric-nat",
            format!("Others cannot connect over {family}"),
            "The NAT shows each of them another port, so that even introductions fail with some.",
        ),
        Reachability::NoUdp => (
            "no-udp",
            format!("No UDP gets through over {family}"),
            "A firewall or a NAT lets no UDP through. The router works over TCP alone, and is slower.",
        ),
        Reachability::Testing | Reachability::Open | Reachability::Hidden | Reachability::Disabled => {
            return None;
        }
    };
    let remedy = format!(
        "Let TCP and UDP port {port} through to this computer: switch on UPnP, NAT-PMP or PCP in the gateway, or forward \
         the port there by hand."
    );
    Some(finding(code, Level::Warning, &title, reason.to_owned(), &remedy))
}

fn clock(view: &Overview) -> Option<Finding> {
    let offset = view.clock_offset_ms;
    if offset.abs() < Event::CLOCK_IS_RIGHT_MS {
        return None;
    }
    let seconds = (offset.unsigned_abs() + 500) / 1_000;
    let direction = if offset < 0 { "ahead" } else { "behind" };
    Some(finding(
        "clock-wrong",
        Level::Warning,
        &format!("This computer's clock is {seconds} s {direction}"),
        "The router corrects for it by what time servers and other routers say.".to_owned(),
        "Set the clock, and switch on the time synchronization of the system.",
    ))
}

fn limits(view: &Overview, rates: Rates) -> Vec<Finding> {
    let reached = |now: u64, most: u64| most > 0 && now * 100 >= most * REACHED_PERCENT;
    let (s, limits) = (&view.stats, &view.limits);
    let mut found = Vec::new();
    if reached(s.sessions, limits.connections as u64) {
        found.push(finding(
            "limit-connections",
            Level::Info,
            "The limit on connections is reached",
            format!("{} of {} connections to other routers are in use.", s.sessions, limits.connections),
            "It works so. A machine that can do more may have more: --max-connections or --profile server.",
        ));
    }
    if reached(s.transit_tunnels, limits.transit_tunnels as u64) {
        found.push(finding(
            "limit-transit",
            Level::Info,
            "The router relays as much as it may",
            format!("{} of {} tunnels of others run through it.", s.transit_tunnels, limits.transit_tunnels),
            "It works so. A machine that can do more may do more: --max-transit-tunnels or --profile server.",
        ));
    }
    let limit = &view.bandwidth;
    if limit.inbound.is_some_and(|most| reached(rates.received, most))
        || limit.outbound.is_some_and(|most| reached(rates.sent, most))
    {
        found.push(finding(
            "limit-bandwidth",
            Level::Info,
            "The bandwidth limit is reached",
            "What waits is sent or read as the limit allows, this router's own before others'.".to_owned(),
            "If your connection can do more, raise --bandwidth.",
        ));
    }
    found
}

fn builds((all, good): (u64, u64)) -> Option<Finding> {
    let (enough, percent) = FEW_BUILDS;
    if all < enough || good * 100 >= all * percent {
        return None;
    }
    Some(finding(
        "few-builds",
        Level::Warning,
        "Most tunnels do not come about",
        format!(
            "Of the last {all} that were asked for, {good} were built. The network may be busy or under attack."
        ),
        "Usually it passes. If it stays so, look at the clock and at whether others reach this router.",
    ))
}

#[cfg(test)]
mod tests;
