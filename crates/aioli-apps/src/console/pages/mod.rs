//! The pages, whole as the server sends them. Parts with `data-live` are fetched again by `live.js`, which draws
//! nothing itself.

mod front;
mod local;
mod network;
mod services;

use std::fmt::Write;

use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use super::format::escaped;
use super::model::{Finding, Level};
use super::observe;
use super::routes::{Answer, Site, query, range, text as answer};

const HTML: &str = "text/html; charset=utf-8";

/// The pages in the order of the menu.
const MENU: &[(&str, &str)] = &[
    ("/", "Overview"),
    ("/tunnels", "Tunnels"),
    ("/peers", "Peers"),
    ("/netdb", "Network"),
    ("/destinations", "Destinations"),
    ("/services", "Services"),
    ("/addressbook", "Address book"),
    ("/logs", "Log"),
    ("/settings", "Settings"),
];

/// Answers a request for a page.
pub(crate) async fn page(site: &Site, path: &str, request: &Request<Incoming>) -> Answer {
    let Some((_, title)) = MENU.iter().find(|(p, _)| *p == path) else {
        let body = "<h1>There is no such page</h1>\n<p>The menu above names all that there are.</p>\n";
        return answer(StatusCode::NOT_FOUND, HTML, layout(site, "No such page", path, body));
    };
    let body = match path {
        "/" => {
            let range = range(request);
            front::page(&site.observer.overview().await, &site.observer.history(range), range)
        }
        "/addressbook" => {
            let text = query(request, "q").unwrap_or_default();
            local::address_book(&site.names(&text), &text)
        }
        "/services" => services::page(&site.services()),
        "/logs" => local::logs(&site.observer.logs()),
        "/settings" => local::settings(&site.settings, &site.observer.overview().await.bandwidth),
        _ => {
            let view = site.observer.details().await;
            match view.as_deref().and_then(|view| Some((view, view.details.as_ref()?))) {
                None => stopped(),
                Some((view, details)) => match path {
                    "/tunnels" => network::tunnels(&observe::pools(details), &site.observer.overview().await),
                    "/peers" => network::peers(&observe::sessions(details), view.router.stats.sessions),
                    "/netdb" => {
                        network::netdb(&observe::netdb(view, details), &site.observer.overview().await)
                    }
                    _ => local::destinations(&observe::destinations(details)),
                },
            }
        }
    };
    answer(StatusCode::OK, HTML, layout(site, title, path, &body))
}

fn stopped() -> String {
    "<h1>The router has stopped</h1>\n<p>There is nothing to show. Start it again.</p>\n".to_owned()
}

fn layout(site: &Site, title: &str, path: &str, body: &str) -> String {
    let mut menu = String::new();
    for (href, name) in MENU {
        let current = if *href == path { " aria-current=page" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(menu, "<li><a href=\"{href}\"{current}>{name}</a></li>");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=en><head><meta charset=utf-8><title>{title} · aioli</title>\n\
         <meta name=viewport content=\"width=device-width, initial-scale=1\">\n\
         <meta name=color-scheme content=\"light dark\"><meta name=aioli-token content=\"{token}\">\n\
         <link rel=icon href=/icon.svg type=image/svg+xml><link rel=stylesheet href=/style.css>\n\
         <script type=module src=/live.js></script></head>\n<body>\n\
         <a class=skip href=\"#main\">To the content</a>\n\
         <header><a class=brand href=/>aioli</a><nav aria-label=Pages><ul>{menu}</ul></nav></header>\n\
         <p id=offline role=alert hidden>The router does not answer. What is shown is from before.</p>\n\
         <main id=main>\n{body}</main>\n\
         <footer><p>aioli {version} · the <a href=/api/v1/overview>API</a>, <a href=/metrics>metrics</a> and \
         <a href=/health>health</a> say the same to programs.<noscript> Load a page again to see what is new.\
         </noscript></p></footer>\n</body></html>\n",
        token = escaped(site.guard.token()),
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// A state or a note: what, why, and what to do.
fn finding(f: &Finding, heading: &str) -> String {
    let (mark, spoken) = match f.level {
        Level::Good => ("✓", "All is well"),
        Level::Info => ("i", "Good to know"),
        Level::Wait => ("…", "Please wait"),
        Level::Warning => ("!", "Warning"),
        Level::Bad => ("✕", "Something is wrong"),
    };
    let remedy = if f.remedy.is_empty() {
        String::new()
    } else {
        format!("<p class=remedy><b>What to do:</b> {}</p>", escaped(&f.remedy))
    };
    format!(
        "<div class=\"finding {level}\"><span class=mark role=img aria-label=\"{spoken}\">{mark}</span><div>\
         <{heading}>{title}</{heading}><p>{reason}</p>{remedy}</div></div>\n",
        level = f.level.word(),
        title = escaped(&f.title),
        reason = escaped(&f.reason),
    )
}

/// A table that scrolls by itself where the screen is narrow. `rows` are HTML. A head with `#` before it is that of
/// numbers.
fn table(label: &str, heads: &[&str], rows: &str) -> String {
    let head = |head: &&str| match head.strip_prefix('#') {
        Some(head) => format!("<th scope=col class=n>{head}</th>"),
        None => format!("<th scope=col>{head}</th>"),
    };
    let heads: String = heads.iter().map(head).collect();
    format!(
        "<div class=scroll role=region aria-label=\"{label}\" tabindex=0><table><thead><tr>{heads}</tr></thead>\
         <tbody>\n{rows}</tbody></table></div>\n"
    )
}
