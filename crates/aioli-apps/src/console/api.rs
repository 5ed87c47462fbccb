//! `/api/v1/`: the same as the pages, for programs; see docs/console.md.

use aioli_router::Bandwidth;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::model;
use super::observe;
use super::routes::{Answer, Site, json, problem, query, range};
use crate::address_book::{List, Outcome, feed};
use crate::names::HostName;
use crate::tunnels::{Origin, State, TunnelConfig, TunnelInfo, Tunnels};

/// Bytes of a change at most.
const MOST_BODY: usize = 64 << 10;
/// Names listed at a time at most.
pub(crate) const MOST_NAMES: usize = 200;

/// The bandwidth limits that tunnels work with, in KB/s.
const LEAST_KBPS: u64 = Bandwidth::LEAST_KBPS;
const MOST_KBPS: u64 = Bandwidth::MOST_KBPS;

/// What may be received and sent, in KB/s; 0 for no limit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Limits {
    receive_kbps: u64,
    send_kbps: u64,
}

/// A name to add or remove.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NameChange {
    name: String,
    /// In base64; needed for adding.
    #[serde(default)]
    destination: String,
    /// Private names are looked up first and never exported.
    #[serde(default)]
    private: bool,
}

/// Which tunnel.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: String,
}

/// What a tunnel is to be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TunnelChange {
    name: String,
    tunnel: TunnelConfig,
}

/// A tunnel as it is shown: nothing of it that is secret.
fn client_tunnel(info: TunnelInfo) -> model::ClientTunnel {
    let TunnelInfo { config, origin, state, detail, listening, b32, stats, .. } = info;
    let state = match state {
        State::Stopped => "stopped",
        State::Starting => "starting",
        State::Ready => "ready",
        State::Idle => "idle",
        State::Failed => "failed",
    };
    let origin = match origin {
        Origin::Configuration => "configuration",
        Origin::File => "file",
        Origin::I2pd(_) => "i2pd",
    };
    model::ClientTunnel {
        kind: config.kind.to_string(),
        state: state.to_owned(),
        detail,
        listening: listening
            .or_else(|| config.listen.filter(|_| config.kind.listens()))
            .map(|at| at.to_string()),
        leads_to: [config.destination, config.target].concat(),
        b32,
        origin: origin.to_owned(),
        connections: stats.connections,
        opened: stats.opened,
        refused: stats.refused_access + stats.refused_limits + stats.refused_requests,
        received: stats.received,
        sent: stats.sent,
        name: config.name,
    }
}

impl Site {
    /// Reading.
    pub(crate) async fn api(&self, name: &str, request: &Request<Incoming>) -> Answer {
        match name {
            "overview" => json(StatusCode::OK, &self.observer.overview().await),
            "history" => json(StatusCode::OK, &self.observer.history(range(request))),
            "logs" => json(StatusCode::OK, &self.observer.logs()),
            "settings" => json(StatusCode::OK, &self.settings),
            "token" => json(StatusCode::OK, &model::Token { token: self.guard.token().to_owned() }),
            "services" => json(StatusCode::OK, &self.services()),
            "addressbook" => json(StatusCode::OK, &self.names(&query(request, "q").unwrap_or_default())),
            "sessions" | "tunnels" | "netdb" | "destinations" => {
                let view = self.observer.details().await;
                let Some((view, details)) = view.as_deref().and_then(|v| Some((v, v.details.as_ref()?)))
                else {
                    return problem(StatusCode::SERVICE_UNAVAILABLE, "the router has stopped");
                };
                match name {
                    "sessions" => json(StatusCode::OK, &observe::sessions(details)),
                    "tunnels" => json(StatusCode::OK, &observe::pools(details)),
                    "netdb" => json(StatusCode::OK, &observe::netdb(view, details)),
                    _ => json(StatusCode::OK, &observe::destinations(details)),
                }
            }
            _ => {
                problem(StatusCode::NOT_FOUND, "there is no such thing; docs/console.md lists what there is")
            }
        }
    }

    /// Client and server tunnels.
    pub(crate) fn services(&self) -> model::ClientTunnels {
        let (list, problems) = self.tunnels.as_ref().map(|t| (t.list(), t.problems())).unwrap_or_default();
        model::ClientTunnels { tunnels: list.into_iter().map(client_tunnel).collect(), problems }
    }

    /// Does something with a tunnel.
    fn with_tunnels<E: std::fmt::Display>(
        &self,
        done: String,
        change: impl FnOnce(&Tunnels) -> Result<(), E>,
    ) -> Result<String, String> {
        let tunnels = self.tunnels.as_ref().ok_or("this router has no client and server tunnels")?;
        change(tunnels).map(|()| done).map_err(|error| error.to_string())
    }

    /// Names that contain a text, of all lists.
    pub(crate) fn names(&self, text: &str) -> model::AddressBook {
        let text = text.trim().to_ascii_lowercase();
        let mut found = model::AddressBook { lists: Vec::new(), matches: 0, names: Vec::new() };
        let Some(book) = &self.book else { return found };
        for list in List::ALL {
            let word = list_word(list).to_owned();
            book.with(list, |names| {
                found.lists.push(model::ListCount { list: word.clone(), names: names.len() as u64 });
                for name in names.names().filter(|name| name.contains(&text)) {
                    found.matches += 1;
                    if found.names.len() < MOST_NAMES
                        && let Some(destination) = names.get(name)
                    {
                        let b32 = aioli_wire::base32::host_name(&destination.hash());
                        found.names.push(model::Name { name: name.to_owned(), b32, list: word.clone() });
                    }
                }
            });
        }
        found
    }

    /// Changing.
    pub(crate) async fn change(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().to_owned();
        let body = match Limited::new(request.into_body(), MOST_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return problem(
                    StatusCode::PAYLOAD_TOO_LARGE,
                    format!("the request has more than {MOST_BODY} bytes"),
                );
            }
            Err(error) => {
                return problem(
                    StatusCode::BAD_REQUEST,
                    format!("the request has no readable body: {error}"),
                );
            }
        };
        match path.as_str() {
            "/api/v1/addressbook/add" => with(&body, |change| self.add_name(&change)),
            "/api/v1/addressbook/remove" => with(&body, |change| self.remove_name(&change)),
            "/api/v1/bandwidth" => self.set_bandwidth(&body).await,
            "/api/v1/services/add" => with(&body, |config: TunnelConfig| {
                self.with_tunnels(format!("{} added", config.name), |t| t.add(config))
            }),
            "/api/v1/services/change" => with(&body, |TunnelChange { name, tunnel }| {
                self.with_tunnels(format!("{name} changed"), |t| t.change(&name, tunnel))
            }),
            "/api/v1/services/remove" => with(&body, |Named { name }| {
                self.with_tunnels(format!("{name} removed"), |t| t.remove(&name))
            }),
            "/api/v1/services/start" => with(&body, |Named { name }| {
                self.with_tunnels(format!("{name} started"), |t| t.start_one(&name))
            }),
            "/api/v1/services/stop" => with(&body, |Named { name }| {
                self.with_tunnels(format!("{name} stopped"), |t| t.stop_one(&name))
            }),
            _ => problem(StatusCode::NOT_FOUND, "there is nothing to change here; see docs/console.md"),
        }
    }

    async fn set_bandwidth(&self, body: &[u8]) -> Answer {
        let asked = match serde_json::from_slice::<Limits>(body) {
            Ok(asked) => asked,
            Err(error) => {
                return problem(StatusCode::BAD_REQUEST, format!("the request is no such change: {error}"));
            }
        };
        let limit = |kbps: u64| match kbps {
            0 => Ok(None),
            LEAST_KBPS..=MOST_KBPS => Ok(Some(kbps * 1_024)),
            _ => Err(format!(
                "give 0 for no limit, or {LEAST_KBPS} to {MOST_KBPS} KB/s: tunnels fail with less"
            )),
        };
        let limits = limit(asked.receive_kbps).and_then(|inbound| Ok((inbound, limit(asked.send_kbps)?)));
        match limits {
            Err(why) => problem(StatusCode::CONFLICT, why),
            Ok((inbound, outbound)) => match self.observer.set_bandwidth(inbound, outbound).await {
                Ok(()) => {
                    let done =
                        "the limits hold until the router is started again; its settings are as they were";
                    json(StatusCode::OK, &Done { done: done.to_owned() })
                }
                Err(error) => problem(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            },
        }
    }

    fn add_name(&self, change: &NameChange) -> Result<String, String> {
        let book = self.book.as_ref().ok_or("this router has no address book")?;
        let name = HostName::parse(change.name.trim()).map_err(|error| error.to_string())?;
        let destination = feed::destination(change.destination.trim()).map_err(|error| error.to_string())?;
        let list = if change.private { List::Private } else { List::User };
        match book.set(list, &name, &destination).map_err(|error| error.to_string())? {
            Outcome::Full => Err(format!("{} is full", list.file())),
            Outcome::Known => Ok(format!("{name} is in {} already", list.file())),
            Outcome::Changed | Outcome::Taken | Outcome::Unfounded => {
                Ok(format!("{name} added to {}", list.file()))
            }
        }
    }

    fn remove_name(&self, change: &NameChange) -> Result<String, String> {
        let book = self.book.as_ref().ok_or("this router has no address book")?;
        let name = change.name.trim().to_ascii_lowercase();
        if book.forget(&name).map_err(|error| error.to_string())? {
            Ok(format!("{name} removed"))
        } else {
            Err(format!("{name} is in none of your own lists"))
        }
    }
}

/// A list, for programs.
const fn list_word(list: List) -> &'static str {
    match list {
        List::Private => "private",
        List::User => "user",
        List::Hosts => "hosts",
    }
}

/// What was done, in words.
#[derive(Debug, serde::Serialize)]
struct Done {
    done: String,
}

/// Reads a change and makes it.
fn with<T: DeserializeOwned>(body: &[u8], change: impl FnOnce(T) -> Result<String, String>) -> Answer {
    match serde_json::from_slice(body) {
        Err(error) => problem(StatusCode::BAD_REQUEST, format!("the request is no such change: {error}")),
        Ok(asked) => match change(asked) {
            Ok(done) => json(StatusCode::OK, &Done { done }),
            Err(why) => problem(StatusCode::CONFLICT, why),
        },
    }
}
