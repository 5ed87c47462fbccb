//! The first page: how it is, what to do, and how it was.

use std::fmt::Write;

use super::finding;
use crate::console::format::{bytes, count, escaped, time};
use crate::console::history::Range;
use crate::console::model::{History, Level, Overview};
use crate::console::plot::{PLOTS, figure};

pub(super) fn page(o: &Overview, history: &History, range: Range) -> String {
    let mut html = String::from("<section id=state data-live aria-live=polite>\n");
    html.push_str(&finding(&o.state, "h1"));
    o.notes.iter().for_each(|note| html.push_str(&finding(note, "h2")));
    html.push_str("</section>\n");
    html.push_str(&start(o));
    html.push_str(&figures(o));
    html.push_str(&plots(history, range));
    html.push_str(&about(o));
    html
}

/// What somebody who is here for the first time does next.
fn start(o: &Overview) -> String {
    let service = |name: &str| o.services.iter().find(|s| s.name == name).map(|s| escaped(&s.address));
    let mut html = String::from("<section aria-labelledby=use><h2 id=use>Use it</h2>\n<ul class=uses>");
    if let Some(at) = service("http-proxy") {
        // Writing to a string cannot fail.
        let _ = write!(
            html,
            "<li><b>Browse.</b> Enter <code>{at}</code> in the settings of a browser as the proxy for HTTP and HTTPS. \
             Then open a page whose name ends with <code>.i2p</code>.</li>"
        );
    }
    if let Some(at) = service("socks-proxy") {
        let _ = write!(html, "<li><b>Other programs.</b> Those that speak SOCKS use <code>{at}</code>.</li>");
    }
    if let Some(at) = service("sam") {
        let _ = write!(
            html,
            "<li><b>Applications.</b> Those that are made for I2P find SAM at <code>{at}</code>.</li>"
        );
    }
    if o.services.is_empty() {
        html.push_str(
            "<li>This router offers nothing to programs: its proxies and SAM are switched off.</li>",
        );
    }
    html.push_str("</ul></section>\n");
    html
}

fn tile(name: &str, value: &str, more: &str) -> String {
    format!("<div class=tile><dt>{name}</dt><dd><b>{value}</b> <span>{more}</span></dd></div>\n")
}

/// The numbers of the moment.
fn figures(o: &Overview) -> String {
    let b = &o.bandwidth;
    let limit = |most: Option<u64>| most.map_or_else(String::new, |m| format!("of {}/s at most", bytes(m)));
    let per_s = |n: u64| format!("{}/s", bytes(n));
    let (s, t) = (&o.sessions, &o.tunnels);
    let success = o.builds.recent_success_percent;
    let tiles = [
        tile("Received", &per_s(b.received_rate), &limit(b.receive_limit)),
        tile("Sent", &per_s(b.sent_rate), &limit(b.send_limit)),
        tile(
            "Relayed for others",
            &per_s(b.relayed_rate),
            &format!("through {} tunnels of others", t.relayed),
        ),
        tile("Connected routers", &s.all.to_string(), &format!("{} NTCP2, {} SSU2", s.ntcp2, s.ssu2)),
        tile(
            "This router's tunnels",
            &(t.inbound + t.outbound).to_string(),
            &format!("{} in, {} out", t.inbound, t.outbound),
        ),
        tile(
            "Tunnels that come about",
            &success.map_or_else(|| "–".to_owned(), |p| format!("{p} %")),
            "of those asked for in 10 minutes",
        ),
        tile("Known routers", &o.netdb.routers.to_string(), &format!("{} floodfills", o.netdb.floodfills)),
        tile(
            "Latency",
            &o.latency_ms.map_or_else(|| "–".to_owned(), |ms| format!("{ms} ms")),
            "through two tunnels",
        ),
    ];
    format!(
        "<section aria-labelledby=now><h2 id=now>Now</h2>\n<dl id=figures class=tiles data-live>\n{}</dl></section>\n",
        tiles.concat()
    )
}

fn plots(history: &History, range: Range) -> String {
    let link = |to: Range, name: &str, words: &str| {
        let current = if to == range { " aria-current=true" } else { "" };
        format!("<a href=\"/?range={name}#past\"{current}>{words}</a>")
    };
    let drawings: String = PLOTS.iter().map(|plot| figure(plot, history, range)).collect();
    format!(
        "<section aria-labelledby=past><h2 id=past>The last {words}</h2>\n<p class=ranges>{minutes} {day}</p>\n\
         <div id=plots class=plots data-live>\n{drawings}</div></section>\n",
        words = range.words(),
        minutes = link(Range::Minutes, "minutes", "10 minutes"),
        day = link(Range::Day, "day", "24 hours"),
    )
}

/// Who it is and where others reach it.
fn about(o: &Overview) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to a string cannot fail.
        let _ = writeln!(rows, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    };
    row("Running for", &time(o.uptime_s));
    row("Version", &escaped(&o.version));
    row("Identity", &format!("<code class=long>{}</code>", escaped(&o.identity)));
    for r in &o.reachability {
        row(&format!("Reached over {}", escaped(&r.family)), &escaped(&r.words));
    }
    let published = if o.published.is_empty() { "none".to_owned() } else { escaped(&o.published.join(", ")) };
    row("Published addresses", &published);
    let mapping = o.port_mapping.iter().map(|m| escaped(m)).collect::<Vec<_>>().join("<br>");
    row(
        "Port mapping",
        if mapping.is_empty() { "no gateway was asked, or none has answered yet" } else { &mapping },
    );
    row("Clock", &clock(o));
    row("Network database", &role(o));
    let b = &o.bandwidth;
    row(
        "Since the start",
        &format!(
            "{} received, {} sent, of which {} relayed for others",
            bytes(b.received),
            bytes(b.sent),
            bytes(b.relayed)
        ),
    );
    format!(
        "<section aria-labelledby=about><h2 id=about>This router</h2>\n<dl id=facts class=facts data-live>\n{rows}</dl></section>\n"
    )
}

fn clock(o: &Overview) -> String {
    let known =
        if o.clock.confirmed { "confirmed by time servers or other routers" } else { "not confirmed yet" };
    let is_right = !o.notes.iter().any(|n| n.code == "clock-wrong" && n.level >= Level::Warning);
    if is_right { known.to_owned() } else { format!("corrected by {} ms, {known}", o.clock.offset_ms) }
}

fn role(o: &Overview) -> String {
    if o.netdb.floodfill {
        let sets = count(o.netdb.lease_sets, "LeaseSet", "LeaseSets");
        format!("a floodfill: it holds {sets} for others")
    } else {
        "no floodfill: it asks others".to_owned()
    }
}
