//! What happened, and what was logged, of late: two rings that the program fills and the console shows.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use aioli_node::Notice;
use aioli_node::mapping::MappingEvent;

use super::model::Event;

/// Events kept.
const MOST_EVENTS: usize = 200;
/// Lines of the log kept.
const MOST_LINES: usize = 500;
/// Characters of a line kept.
const MOST_CHARS: usize = 500;
/// Answers of gateways kept.
const MOST_MAPPINGS: usize = 16;

#[derive(Debug, Default)]
struct Rings {
    events: VecDeque<Event>,
    lines: VecDeque<String>,
    /// What gateways answered last.
    mappings: Vec<MappingEvent>,
}

/// The rings. Whoever runs the router notes what it tells, and the log writes into it.
#[derive(Debug, Default)]
pub struct Journal {
    rings: Mutex<Rings>,
}

fn cut(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').take(MOST_CHARS).collect()
}

fn push<T>(ring: &mut VecDeque<T>, most: usize, item: T) {
    if ring.len() >= most {
        ring.pop_front();
    }
    ring.push_back(item);
}

impl Journal {
    fn with<T>(&self, f: impl FnOnce(&mut Rings) -> T) -> T {
        f(&mut self.rings.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes what the router tells.
    pub fn note(&self, notice: &Notice) {
        let text = match notice {
            Notice::Router(event) => event.to_string(),
            Notice::Loaded { routers, skipped: 0 } => {
                format!("{routers} other routers known from the last time")
            }
            Notice::Loaded { routers, skipped } => {
                format!(
                    "{routers} other routers known from the last time; {skipped} damaged or outdated entries skipped"
                )
            }
            Notice::Remembered { routers } => format!("{routers} of them remembered from the last time"),
            Notice::Reseed(progress) => progress.to_string(),
            Notice::TimeServers(error) => error.to_string(),
            Notice::PortMapping(event) => {
                self.note_mapping(event);
                event.to_string()
            }
            Notice::Draining { tunnels, .. } => format!("stopping: waiting for {tunnels} tunnels of others"),
            Notice::Stopping => "stopping".to_owned(),
        };
        self.note_text(&text);
    }

    fn note_mapping(&self, event: &MappingEvent) {
        self.with(|rings| {
            rings.mappings.retain(|old| !is_superseded(old, event));
            if rings.mappings.len() < MOST_MAPPINGS {
                rings.mappings.push(event.clone());
            }
        });
    }

    fn note_text(&self, text: &str) {
        let at = crate::address_book::now().as_secs();
        let text = cut(text);
        self.with(|rings| {
            // What is told again and again, as progress is, needs one line.
            let again = rings.events.back().is_some_and(|last| last.text == text);
            if !again {
                push(&mut rings.events, MOST_EVENTS, Event { at, text });
            }
        });
    }

    /// Takes a line of the log.
    pub fn log(&self, line: &str) {
        let line = cut(line);
        self.with(|rings| push(&mut rings.lines, MOST_LINES, line));
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.with(|rings| rings.events.iter().cloned().collect())
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.with(|rings| rings.lines.iter().cloned().collect())
    }

    /// What gateways answered last, in words.
    pub(crate) fn mappings(&self) -> Vec<String> {
        self.with(|rings| rings.mappings.iter().map(ToString::to_string).collect())
    }
}

/// Whether what a gateway answered before means nothing any more. Who maps has not failed any more; who has failed or
/// lost a mapping holds none.
fn is_superseded(old: &MappingEvent, new: &MappingEvent) -> bool {
    use MappingEvent::{Failed, Lost, Mapped, Nothing};
    match (old, new) {
        (Nothing { .. }, _) => matches!(new, Mapped { .. } | Nothing { .. }),
        (_, Nothing { .. }) => false,
        (
            Mapped { gateway: a, protocol: p, transport: t, .. },
            Mapped { gateway: b, protocol: q, transport: u, .. },
        ) => a == b && (p != q || t == u),
        (Mapped { gateway: a, .. }, Failed { gateway: b, .. } | Lost { gateway: b, .. })
        | (Failed { gateway: a, .. } | Lost { gateway: a, .. }, Mapped { gateway: b, .. }) => a == b,
        (
            Failed { gateway: a, protocol: p, .. } | Lost { gateway: a, protocol: p, .. },
            Failed { gateway: b, protocol: q, .. } | Lost { gateway: b, protocol: q, .. },
        ) => a == b && p == q,
    }
}

#[cfg(test)]
mod tests {
    use aioli_node::mapping::{MappingError, Protocol, Transport};

    use super::*;

    #[test]
    fn rings_keep_the_latest_and_no_control_characters() {
        let journal = Journal::default();
        for n in 0..MOST_LINES + 3 {
            journal.log(&format!("line {n}\x1b[31m\n"));
        }
        let lines = journal.lines();
        assert_eq!(lines.len(), MOST_LINES);
        assert_eq!(lines.first().map(String::as_str), Some("line 3[31m"));
        journal.log(&"é".repeat(5_000));
        assert_eq!(journal.lines().last().map(|l| l.chars().count()), Some(MOST_CHARS));
        for routers in [1, 1, 2] {
            journal.note(&Notice::Remembered { routers });
        }
        assert_eq!(journal.events().len(), 2, "what is told twice is one event");
    }
    #[test]
    fn a_gateway_is_shown_as_it_answered_last() {
        let gateway = std::net::IpAddr::from([192, 168, 0, 1]);
        let mapped = |transport| MappingEvent::Mapped {
            protocol: Protocol::Pcp,
            gateway,
            transport,
            external: ([5, 1, 2, 3], 9_700).into(),
            reachable: true,
        };
        let failed = MappingEvent::Failed { protocol: Protocol::Pcp, gateway, error: MappingError::NoAnswer };
        let lost = MappingEvent::Lost { protocol: Protocol::Pcp, gateway, error: MappingError::NoAnswer };
        let nothing = MappingEvent::Nothing { port: 9_700 };
        let both = [mapped(Transport::Tcp), mapped(Transport::Udp)];
        for (events, shown) in [
            (vec![nothing.clone(), failed, both[0].clone(), both[1].clone()], both.to_vec()),
            (vec![both[0].clone(), both[1].clone(), lost.clone()], vec![lost.clone()]),
            (vec![both[0].clone(), lost.clone(), both[0].clone()], vec![both[0].clone()]),
            (vec![both[0].clone(), lost.clone(), nothing.clone()], vec![lost, nothing]),
        ] {
            let journal = Journal::default();
            events.iter().for_each(|event| journal.note_mapping(event));
            assert_eq!(journal.mappings(), shown.iter().map(ToString::to_string).collect::<Vec<_>>());
        }
    }
}
