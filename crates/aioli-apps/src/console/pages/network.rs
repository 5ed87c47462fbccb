//! The network as the router sees it: its tunnels, its peers, and all others.

use std::fmt::Write;

use super::table;
use crate::console::format::{bytes, count, escaped, short, short_b32, time};
use crate::console::model::{NetDb, Overview, Pool, Session, Share, Tunnel};
use crate::console::observe::MOST_ENTRIES;

/// `/tunnels`
pub(super) fn tunnels(pools: &[Pool], o: &Overview) -> String {
    let mut html = String::from(
        "<h1>Tunnels</h1>\n<p class=lead>Everything that this router sends or receives for you goes through tunnels: \
         chains of other routers, each of which knows only the one before and the one behind it. A tunnel lasts ten \
         minutes and is replaced in time.</p>\n",
    );
    html.push_str(&ends(o));
    html.push_str("<div id=pools data-live>\n");
    for pool in pools {
        let title = match &pool.destination {
            None => "The router's own".to_owned(),
            Some(name) => format!("Of {}", short_b32(name)),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(html, "<section class=pool><h2>{title}</h2>\n<ul class=chains>");
        pool.tunnels.iter().for_each(|tunnel| html.push_str(&chain(tunnel)));
        html.push_str("</ul></section>\n");
    }
    if pools.is_empty() {
        html.push_str("<p>There is none yet.</p>\n");
    }
    html.push_str("</div>\n");
    html
}

fn ends(o: &Overview) -> String {
    let (b, t) = (&o.builds, &o.tunnels);
    let row =
        |name: &str, n: u64, what: &str| format!("<div><dt>{name}</dt><dd><b>{n}</b> {what}</dd></div>\n");
    format!(
        "<dl id=builds class=facts data-live>\n{}{}{}{}{}</dl>\n",
        row("Asked for", b.started, "tunnels since the start"),
        row("Built", b.succeeded, "all hops agreed"),
        row("Refused", b.refused, "a hop has no room or takes part in no more"),
        row("Lost", b.timed_out + b.failed, "no answer in time, or a damaged one: a hop is gone or slow"),
        row(
            "Others' tunnels",
            t.relayed,
            &format!("run through this router, of {} at most", t.relayed_limit)
        ),
    )
}

/// A tunnel, drawn as its hops.
fn chain(t: &Tunnel) -> String {
    let towards_us = t.direction == "in";
    let us = "<li class=us>this router</li>";
    let hops: String = t.hops.iter().map(|hop| format!("<li>{}</li>", short(hop))).collect();
    let chain = if towards_us { format!("{hops}{us}") } else { format!("{us}{hops}") };
    let (arrow, words) = if towards_us { ("in", "towards us") } else { ("out", "away from us") };
    let state = escaped(&t.state);
    let empty = if t.hops.is_empty() { " without hops" } else { "" };
    format!(
        "<li class=\"chain {arrow} {class}\"><span class=way>{words}{empty}</span><ol>{chain}</ol>\
         <span class=left>{left} left<span class=doubt> · {state}</span></span></li>\n",
        class = if t.state == "good" { "good" } else { "other" },
        left = time(t.left_s),
    )
}

/// `/peers`
pub(super) fn peers(sessions: &[Session], all: u64) -> String {
    let mut rows = String::new();
    for s in sessions {
        let rtt = s.rtt_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms"));
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr><th scope=row>{}</th><td>{}</td><td>{}</td><td>{}</td><td class=n>{}</td><td class=n>{}</td>\
             <td class=n>{}</td><td class=n>{rtt}</td><td>{}</td><td>{}</td></tr>",
            short(&s.peer),
            escaped(&s.transport),
            if s.direction == "in" { "they came" } else { "we dialled" },
            escaped(s.address.as_deref().unwrap_or("–")),
            time(s.age_s),
            bytes(s.received),
            bytes(s.sent),
            escaped(&s.caps),
            escaped(&s.version),
        );
    }
    let heads = [
        "Router",
        "Transport",
        "Begun by",
        "Address",
        "#For",
        "#Received",
        "#Sent",
        "#Round trip",
        "Letters",
        "Version",
    ];
    let some = if all as usize > MOST_ENTRIES {
        format!(" {MOST_ENTRIES} of them are shown.")
    } else {
        String::new()
    };
    format!(
        "<h1>Peers</h1>\n<p class=lead>Routers that this one is connected to. They carry its tunnels and those of others, \
         and know nothing of what is in them.</p>\n<div id=peers data-live>\n<p>{}.{some}</p>\n{}</div>\n\
         <p class=note>Letters: <b>K</b> to <b>X</b> for the bandwidth that a router shares, <b>f</b> for a floodfill, \
         <b>R</b> and <b>U</b> for one that others reach or do not, <b>D</b>, <b>E</b>, <b>G</b> for one that is \
         congested. The round trip is measured over SSU2 only.</p>\n",
        count(all, "session", "sessions"),
        table("Sessions", &heads, &rows),
    )
}

fn shares(title: &str, label: &str, shares: &[Share], all: u64) -> String {
    let mut rows = String::new();
    for share in shares {
        let percent = (share.routers * 100).checked_div(all).unwrap_or(0);
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr><th scope=row>{}</th><td class=n>{}</td><td><meter min=0 max=100 value={percent}>{percent} %</meter></td></tr>",
            escaped(&share.name),
            share.routers,
        );
    }
    format!("<section><h2>{title}</h2>\n{}</section>\n", table(title, &[label, "#Routers", "Share"], &rows))
}

/// `/netdb`
pub(super) fn netdb(n: &NetDb, o: &Overview) -> String {
    let mut rows = String::new();
    for router in &n.floodfills {
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr><th scope=row>{}</th><td>{}</td><td>{}</td></tr>",
            short(&router.hash),
            escaped(&router.caps),
            escaped(&router.version)
        );
    }
    let role = if o.netdb.floodfill {
        format!("It is a floodfill itself and holds {}.", count(o.netdb.lease_sets, "LeaseSet", "LeaseSets"))
    } else {
        "It is no floodfill: it asks others.".to_owned()
    };
    format!(
        "<h1>Network</h1>\n<p class=lead>What this router knows of all others. Floodfills keep the network database: which \
         routers there are, and through which tunnels a destination is reached.</p>\n\
         <div id=netdb data-live>\n<p>{} of {} at most are known; {} say that they can be reached, {} are floodfills. {role} \
         Of {} that it made, {} found something.</p>\n<div class=columns>{}{}</div>\n\
         <section><h2>Floodfills</h2>\n{}</section></div>\n",
        count(n.routers, "router", "routers"),
        o.netdb.routers_limit,
        n.reachable,
        o.netdb.floodfills,
        count(o.netdb.searches, "search", "searches"),
        o.netdb.searches_found,
        shares("By bandwidth", "Letter", &n.by_class, n.routers),
        shares("By version", "Version", &n.by_version, n.routers),
        table("Floodfills", &["Router", "Letters", "Version"], &rows),
    )
}
