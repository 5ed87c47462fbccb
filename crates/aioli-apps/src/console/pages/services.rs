//! Client and server tunnels: programs of this computer in I2P.

use std::fmt::Write;

use super::table;
use crate::console::format::{bytes, escaped, short, short_b32};
use crate::console::model::{ClientTunnel, ClientTunnels};
use crate::tunnels::Kind;

/// `/services`
pub(super) fn page(services: &ClientTunnels) -> String {
    let mut rows = String::new();
    services.tunnels.iter().for_each(|tunnel| rows.push_str(&row(tunnel)));
    let heads = ["Name", "State", "Listens at, leads to", "Address in I2P", "#Connections", "#In / out", ""];
    let mut list = if services.tunnels.is_empty() {
        "<p>There is none yet.</p>\n".to_owned()
    } else {
        table("Client and server tunnels", &heads, &rows)
    };
    for problem in &services.problems {
        // Writing to a string cannot fail.
        let _ = writeln!(list, "<p class=problem>{}</p>", escaped(problem));
    }
    format!(
        "<h1>Services</h1>\n<p class=lead>Client tunnels lead programs of this computer to a destination in I2P; server \
         tunnels lead others in I2P to a program of this computer.</p>\n<div id=services data-live>\n{list}</div>\n\
         <section aria-labelledby=add><h2 id=add>Add a tunnel</h2>\n<noscript><p>Changing needs JavaScript; \
         <code>i2p-tunnel add</code> does the same.</p></noscript>\n{}</section>\n<p id=result role=status></p>\n",
        form()
    )
}

fn row(t: &ClientTunnel) -> String {
    let leads: Vec<_> = t.leads_to.iter().map(|to| leads_to(to)).collect();
    let name = escaped(&t.name);
    let button = |path: &str, word: &str| {
        format!(
            "<button class=only-live type=button hidden data-change=/api/v1/services/{path} data-name=\"{name}\" \
             aria-label=\"{word} {name}\">{word}</button> "
        )
    };
    let mut buttons = if t.state == "stopped" || t.state == "failed" {
        button("start", "Start")
    } else {
        button("stop", "Stop")
    };
    if t.origin == "file" {
        buttons.push_str(&button("remove", "Remove"));
    }
    let words = if t.detail.is_empty() { t.state.clone() } else { format!("{}: {}", t.state, t.detail) };
    format!(
        "<tr><th scope=row>{name}<br><span class=kind>{}</span></th><td class=wrap>{}</td><td>{}{}</td><td>{}</td>\
         <td class=n>{} of {}</td><td class=n>{} / {}</td><td>{buttons}</td></tr>\n",
        escaped(&t.kind),
        escaped(&words),
        t.listening.as_ref().map_or_else(String::new, |at| format!("{}<br>", escaped(at))),
        leads.join("<br>"),
        t.b32.as_deref().map_or_else(|| "–".to_owned(), short_b32),
        t.connections,
        t.opened,
        bytes(t.received),
        bytes(t.sent),
    )
}

/// Where a tunnel leads, by the first letters of what nobody reads in full.
fn leads_to(to: &str) -> String {
    match to.split_once(".b32.i2p") {
        Some((name, port)) if name.len() > 10 => {
            format!("{}{}", short_b32(&format!("{name}.b32.i2p")), escaped(port))
        }
        _ if to.len() > 60 => short(to),
        _ => escaped(to),
    }
}

fn form() -> String {
    let kinds: String = Kind::ALL.iter().map(|kind| format!("<option>{kind}</option>")).collect();
    format!(
        "<form class=\"only-live change\" hidden data-change=/api/v1/services/add>\
         <label for=name>Name</label><input id=name name=name required maxlength=64>\
         <label for=type>Type</label><select id=type name=type>{kinds}</select>\
         <label for=listen>Listens at, of a client: where programs connect to</label>\
         <input id=listen name=listen placeholder=\"127.0.0.1:6668\">\
         <label for=destination>Destination, of a client: whom they reach</label>\
         <input id=destination name=destination placeholder=\"irc.example.i2p:6667\">\
         <label for=target>Target, of a server: where the program listens</label>\
         <input id=target name=target placeholder=\"127.0.0.1:8080\"><button>Add</button></form>\n"
    )
}
