//! What is this computer's own: destinations, names, the log, settings.

use std::fmt::Write;

use super::table;
use crate::console::api::MOST_NAMES;
use crate::console::format::{clock, count, escaped, short_b32, time};
use crate::console::model::{AddressBook, Bandwidth, Destination, Logs, Setting};

/// `/destinations`
pub(super) fn destinations(destinations: &[Destination]) -> String {
    let mut rows = String::new();
    for d in destinations {
        let left = d.lease_set_left_s.map_or_else(|| "–".to_owned(), time);
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr><th scope=row>{}</th><td>{}</td><td>{}</td><td class=n>{} / {}</td><td class=n>{}</td>\
             <td class=n>{left}</td><td class=n>{}</td></tr>",
            short_b32(&d.name),
            escaped(&d.state),
            if d.published { "published" } else { "for itself" },
            d.inbound,
            d.outbound,
            d.leases,
            d.streams,
        );
    }
    let heads =
        ["Destination", "State", "LeaseSet", "#Tunnels in / out", "#Leases", "#LeaseSet ends in", "#Streams"];
    let body = if destinations.is_empty() {
        "<p>There is none yet: proxies and applications make one when they are first used.</p>\n".to_owned()
    } else {
        table("Destinations", &heads, &rows)
    };
    format!(
        "<h1>Destinations</h1>\n<p class=lead>Each program that uses the router has an address of its own in I2P, with \
         tunnels of its own. Those with a published LeaseSet can be found by others.</p>\n\
         <div id=destinations data-live>\n{body}</div>\n"
    )
}

/// `/addressbook`
pub(super) fn address_book(book: &AddressBook, text: &str) -> String {
    let mut rows = String::new();
    for n in &book.names {
        let remove = if n.list == "hosts" {
            String::new()
        } else {
            format!(
                "<button class=only-live type=button hidden data-change=/api/v1/addressbook/remove data-name=\"{0}\" \
                 aria-label=\"Remove {0}\">Remove</button>",
                escaped(&n.name)
            )
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr><th scope=row>{0}</th><td>{1}</td><td>{2}</td><td>{remove}</td></tr>",
            escaped(&n.name),
            short_b32(&n.b32),
            escaped(&n.list),
        );
    }
    let lists =
        book.lists.iter().map(|l| format!("{} in {}", l.names, l.list)).collect::<Vec<_>>().join(", ");
    let shown = if book.matches as usize > MOST_NAMES {
        format!("The first {MOST_NAMES} of {} are shown.", book.matches)
    } else {
        count(book.matches, "name matches", "names match") + "."
    };
    let found = if text.is_empty() && book.matches == 0 {
        "<p>The address book is empty. Subscriptions fill it; links of address helpers and the form below add names.</p>\n"
            .to_owned()
    } else {
        format!("<p>{shown}</p>\n{}", table("Names", &["Name", "Stands for", "List", ""], &rows))
    };
    format!(
        "<h1>Address book</h1>\n<p class=lead>Names of I2P are not asked for in the network: each router has its own list. \
         Names: {lists}.</p>\n\
         <form class=search method=get action=/addressbook role=search><label for=q>Find a name</label>\
         <input id=q name=q type=search maxlength=67 value=\"{value}\"><button>Find</button></form>\n\
         <div id=names data-live>\n{found}</div>\n\
         <section aria-labelledby=add><h2 id=add>Add a name</h2>\n<noscript><p>Changing needs JavaScript; \
         <code>aioli address add</code> does the same.</p></noscript>\n\
         <form class=\"only-live change\" hidden data-change=/api/v1/addressbook/add>\
         <label for=name>Name</label><input id=name name=name required maxlength=67 placeholder=\"example.i2p\">\
         <label for=destination>Destination, in base64</label>\
         <textarea id=destination name=destination required rows=4 maxlength=4000 spellcheck=false></textarea>\
         <label class=check><input type=checkbox name=private> Private: looked up first, never exported</label>\
         <button>Add</button></form>\n<p id=result role=status></p></section>\n",
        value = escaped(text),
    )
}

/// `/logs`
pub(super) fn logs(logs: &Logs) -> String {
    let mut events = String::new();
    for event in logs.events.iter().rev() {
        // Writing to a string cannot fail.
        let _ = writeln!(events, "<li><time>{}</time> {}</li>", clock(event.at), escaped(&event.text));
    }
    let lines: String = logs.log.iter().rev().map(|line| format!("{}\n", escaped(line))).collect();
    let events = if events.is_empty() { "<li>Nothing yet.</li>".to_owned() } else { events };
    let lines = if lines.is_empty() { "Nothing was logged yet.\n".to_owned() } else { lines };
    format!(
        "<h1>Log</h1>\n<p class=lead>The latest first; times are in UTC.</p>\n\
         <section aria-labelledby=happened><h2 id=happened>What happened</h2>\n<ol id=events class=events data-live>\n\
         {events}</ol></section>\n\
         <section aria-labelledby=logged><h2 id=logged>What was logged</h2>\n\
         <pre id=lines data-live tabindex=0 role=region aria-label=\"Lines of the log\">{lines}</pre></section>\n"
    )
}

/// `/settings`
pub(super) fn settings(settings: &[Setting], now: &Bandwidth) -> String {
    let mut rows = String::new();
    for s in settings {
        let value =
            if s.value.is_empty() { "–".to_owned() } else { format!("<code>{}</code>", escaped(&s.value)) };
        let class = if s.source == "default" { "" } else { " class=set" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            rows,
            "<tr{class}><th scope=row>{}</th><td class=long>{value}</td><td>{}</td><td>{}</td><td class=help>{}</td></tr>",
            escaped(&s.name),
            escaped(&s.source),
            if s.live { "at once" } else { "after a restart" },
            escaped(&s.help),
        );
    }
    let heads = ["Setting", "Value", "From", "A change works", "What it does"];
    let body = if settings.is_empty() {
        "<p>This router has been started by a program that names no settings.</p>\n".to_owned()
    } else {
        table("Settings", &heads, &rows)
    };
    format!(
        "<h1>Settings</h1>\n<p class=lead>What the router runs with, and where each value is from. The command line wins over \
         the environment, the environment over the configuration file.</p>\n{}{body}",
        limits(now)
    )
}

/// What can be changed at once.
fn limits(now: &Bandwidth) -> String {
    let kbps = |limit: Option<u64>| limit.map_or(0, |bytes| bytes / 1_024);
    format!(
        "<section aria-labelledby=limits><h2 id=limits>Bandwidth limits</h2>\n<p id=held data-live>Now: {receive} KB/s received, {send} KB/s \
         sent; 0 is no limit. Others' tunnels get {share} % of it at most. What is set here holds until the router is \
         started again.</p>\n<form class=\"only-live change\" hidden data-keep data-change=/api/v1/bandwidth>\
         <label for=receive>Received at most, in KB/s</label>\
         <input id=receive name=receive_kbps type=number min=0 required value={receive}>\
         <label for=send>Sent at most, in KB/s</label>\
         <input id=send name=send_kbps type=number min=0 required value={send}><button>Set</button></form>\n\
         <p id=result role=status></p></section>\n<h2>All settings</h2>\n",
        receive = kbps(now.receive_limit),
        send = kbps(now.send_limit),
        share = now.relayed_share_percent,
    )
}
