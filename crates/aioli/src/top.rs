//! `aioli top`: a running router at a glance, on a terminal. It reads the console's API.

use std::fmt::Write as _;
use std::io::{IsTerminal, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use aioli_apps::console::format::{bytes, time};
use aioli_apps::console::model::{History, Level, Overview, Problem, Sample, Session};
use anyhow::{Context, Result, bail, ensure};
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use data_encoding::BASE64;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Paragraph, Row, Sparkline, Table, Wrap};
use serde::de::DeserializeOwned;

use crate::terminal::say;

/// It is drawn anew this often.
const REFRESH: Duration = Duration::from_secs(1);
/// The console must answer within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of an answer at most.
const MOST_ANSWER: u64 = 16 << 20;
/// Peers named by `--once`.
const ONCE_PEERS: usize = 5;

/// What to look at, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the console is.
    pub console: SocketAddr,
    /// Its password, if it has one.
    pub password: Option<String>,
    /// Print once and end.
    pub once: bool,
}

/// What the router says at a moment.
struct Seen {
    overview: Overview,
    history: History,
    sessions: Vec<Session>,
}

/// Shows the router until the user has seen enough.
pub fn run(options: &Options) -> Result<()> {
    if options.once || !std::io::stdout().is_terminal() {
        say(text(&look(options)?).trim_end());
        return Ok(());
    }
    // Before the screen is taken: what is wrong is said as a line.
    let mut seen = Ok(look(options)?);
    let mut terminal = ratatui::try_init().context("cannot use the terminal")?;
    let result = loop {
        let drawn = terminal.draw(|frame| match &seen {
            Ok(seen) => draw(frame, seen),
            Err(error) => frame.render_widget(Paragraph::new(format!("{error:#}\n\nq ends")), frame.area()),
        });
        if let Err(error) = drawn {
            break Err(error.into());
        }
        match wait_for_key() {
            Ok(true) => break Ok(()),
            Ok(false) => seen = look(options),
            Err(error) => break Err(error.into()),
        }
    };
    ratatui::restore();
    result
}

/// Whether the user wants to leave, within the time until the next look.
fn wait_for_key() -> std::io::Result<bool> {
    let until = Instant::now() + REFRESH;
    while poll(until.saturating_duration_since(Instant::now()))? {
        let event = read()?;
        if let Event::Key(key) = event
            && leaves(key)
        {
            return Ok(true);
        }
        if matches!(event, Event::Resize(..)) {
            // Drawn anew at the new size.
            return Ok(false);
        }
    }
    Ok(false)
}

fn leaves(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let end =
        matches!(key.code, KeyCode::Char('q') | KeyCode::Esc) || control && key.code == KeyCode::Char('c');
    end && key.kind == KeyEventKind::Press
}

fn look(options: &Options) -> Result<Seen> {
    Ok(Seen {
        overview: get(options, "overview")?,
        history: get(options, "history")?,
        sessions: get(options, "sessions").unwrap_or_default(),
    })
}

/// Asks the API.
fn get<T: DeserializeOwned>(options: &Options, name: &str) -> Result<T> {
    let at = options.console;
    let failed = || {
        format!(
            "cannot ask the console at {at}: is the router running, and not with --no-console? --console names another address"
        )
    };
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).with_context(failed)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let authorization = options.password.as_ref().map_or_else(String::new, |password| {
        format!("Authorization: Basic {}\r\n", BASE64.encode(format!("aioli:{password}").as_bytes()))
    });
    let request =
        format!("GET /api/v1/{name} HTTP/1.1\r\nHost: {at}\r\n{authorization}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).with_context(failed)?;
    let mut answer = Vec::new();
    stream.take(MOST_ANSWER).read_to_end(&mut answer).with_context(failed)?;
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").context("the console's answer is no HTTP")?;
    let (head, body) = answer.split_at(end + 4);
    let head = String::from_utf8_lossy(head);
    match head.split(' ').nth(1) {
        Some("200") => {}
        Some("401") => bail!("the console at {at} wants its password: give it in I2P_CONSOLE_PASSWORD"),
        status => {
            let why = serde_json::from_slice::<Problem>(body).map(|p| p.error).unwrap_or_default();
            bail!("the console at {at} answers {}: {why}", status.unwrap_or("nonsense"));
        }
    }
    serde_json::from_slice(body).with_context(|| {
        format!("the router at {at} speaks another version of the API than this program: use programs of one version")
    })
}

/// The numbers of the moment, name and value.
fn figures(o: &Overview) -> Vec<(&'static str, String)> {
    let b = &o.bandwidth;
    let limited = |rate: u64, most: Option<u64>| match most {
        Some(most) => format!("{}/s of {}/s", bytes(rate), bytes(most)),
        None => format!("{}/s", bytes(rate)),
    };
    let (s, t) = (&o.sessions, &o.tunnels);
    let or_none = |n: Option<u64>, unit: &str| n.map_or_else(|| "-".to_owned(), |n| format!("{n} {unit}"));
    vec![
        ("received", format!("{} ({} in all)", limited(b.received_rate, b.receive_limit), bytes(b.received))),
        ("sent", format!("{} ({} in all)", limited(b.sent_rate, b.send_limit), bytes(b.sent))),
        ("relayed", format!("{}/s, {} tunnels of others", bytes(b.relayed_rate), t.relayed)),
        ("sessions", format!("{} ({} NTCP2, {} SSU2)", s.all, s.ntcp2, s.ssu2)),
        ("tunnels", format!("{} in, {} out", t.inbound, t.outbound)),
        ("builds", format!("{} in the last 10 minutes", or_none(o.builds.recent_success_percent, "% built"))),
        ("latency", format!("{} through two tunnels", or_none(o.latency_ms, "ms"))),
        ("known", format!("{} routers, {} floodfills", o.netdb.routers, o.netdb.floodfills)),
        ("programs", format!("{} destinations, {} streams", o.clients.destinations, o.clients.streams)),
    ]
}

fn reach(o: &Overview) -> String {
    let one = |r: &aioli_apps::console::model::Reachability| {
        let at = r.address.as_ref().map_or_else(String::new, |at| format!(" {at}"));
        format!("{} {}{at}", r.family, r.state)
    };
    o.reachability.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn peer(s: &Session) -> [String; 7] {
    [
        s.peer.chars().take(6).collect(),
        s.transport.clone(),
        s.direction.clone(),
        time(s.age_s),
        bytes(s.received),
        bytes(s.sent),
        s.rtt_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms")),
    ]
}

/// All of it as plain text.
fn text(seen: &Seen) -> String {
    let o = &seen.overview;
    let mut text = format!("aioli {} up {}\n", o.version, time(o.uptime_s));
    // Writing to a string cannot fail.
    for f in std::iter::once(&o.state).chain(&o.notes) {
        let _ = writeln!(text, "{}: {}. {}", f.level.word(), f.title, f.reason);
        if !f.remedy.is_empty() {
            let _ = writeln!(text, "    {}", f.remedy);
        }
    }
    let _ = writeln!(text, "{:<10} {}", "reached", reach(o));
    for (name, value) in figures(o) {
        let _ = writeln!(text, "{name:<10} {value}");
    }
    for session in seen.sessions.iter().take(ONCE_PEERS) {
        let [hash, transport, direction, age, received, sent, rtt] = peer(session);
        let _ = writeln!(
            text,
            "{:<10} {hash} {transport:<5} {direction:<3} {age:>8} {received:>8} in {sent:>8} out {rtt:>8}",
            "peer"
        );
    }
    text
}

const fn colour(level: Level) -> Color {
    match level {
        Level::Good => Color::Green,
        Level::Info => Color::Blue,
        Level::Wait | Level::Warning => Color::Yellow,
        Level::Bad => Color::Red,
    }
}

fn draw(frame: &mut Frame<'_>, seen: &Seen) {
    let o = &seen.overview;
    let notes = u16::try_from(1 + o.notes.len().min(3)).unwrap_or(1);
    let [head, state, plots, middle, peers] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(notes),
        Constraint::Length(6),
        Constraint::Length(11),
        Constraint::Min(3),
    ])
    .areas(frame.area());
    let title = format!("aioli {}   up {}   {}   q ends", o.version, time(o.uptime_s), reach(o));
    frame.render_widget(Paragraph::new(title).style(Style::new().add_modifier(Modifier::REVERSED)), head);
    let lines: Vec<_> = std::iter::once(&o.state)
        .chain(o.notes.iter().take(3))
        .map(|f| {
            let strong = Style::new().fg(colour(f.level)).add_modifier(Modifier::BOLD);
            Line::from(vec![Span::styled(f.title.clone(), strong), Span::raw(format!(". {}", f.reason))])
        })
        .collect();
    frame.render_widget(Paragraph::new(lines), state);
    draw_plots(frame, plots, seen);
    let rows: Vec<_> =
        figures(o).into_iter().map(|(name, value)| Line::from(format!("{name:<10} {value}"))).collect();
    let block = Block::bordered().title(" now ");
    frame.render_widget(Paragraph::new(rows).wrap(Wrap { trim: false }).block(block), middle);
    let rows = seen.sessions.iter().map(|s| Row::new(peer(s)));
    let widths = [8, 6, 4, 12, 10, 10, 9].map(Constraint::Length);
    let header = Row::new(["peer", "over", "by", "for", "received", "sent", "rtt"])
        .style(Style::new().add_modifier(Modifier::BOLD));
    frame.render_widget(
        Table::new(rows, widths).header(header).block(Block::bordered().title(" peers ")),
        peers,
    );
}

fn draw_plots(frame: &mut Frame<'_>, area: Rect, seen: &Seen) {
    let areas: [Rect; 2] = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).areas(area);
    let (b, samples) = (&seen.overview.bandwidth, &seen.history.samples);
    let plots: [(&str, u64, fn(&Sample) -> u64); 2] =
        [("received", b.received_rate, |s| s.received_rate), ("sent", b.sent_rate, |s| s.sent_rate)];
    for (area, (name, now, of)) in areas.into_iter().zip(plots) {
        let room = usize::from(area.width.saturating_sub(2));
        let skip = samples.len().saturating_sub(room);
        let values: Vec<u64> = samples.iter().skip(skip).map(of).collect();
        let block = Block::bordered().title(format!(" {name} {}/s ", bytes(now)));
        frame.render_widget(
            Sparkline::default().data(values).block(block).style(Style::new().fg(Color::Cyan)),
            area,
        );
    }
}

/// Where the console is, as the user writes it: an address, or a port of this computer.
pub fn console_address(text: &str) -> Result<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        return Ok(SocketAddr::from(([127, 0, 0, 1], port)));
    }
    let address = text.parse::<SocketAddr>();
    ensure!(address.is_ok(), "\"{text}\" is no address: give HOST:PORT, as 127.0.0.1:7657, or a port");
    Ok(address?)
}

#[cfg(test)]
mod tests {
    use aioli_apps::console::model::Finding;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::*;

    fn seen() -> Seen {
        let text = include_str!("../../../docs/console.md");
        let example = |name: &str| {
            let from = text.split(&format!("### `GET /api/v1/{name}`")).nth(1).expect("it is documented");
            from.split("```json\n").nth(1).and_then(|t| t.split("```").next()).expect("it has an example")
        };
        Seen {
            overview: serde_json::from_str(example("overview")).unwrap(),
            history: serde_json::from_str(example("history")).unwrap(),
            sessions: serde_json::from_str(example("sessions")).unwrap(),
        }
    }

    #[test]
    fn the_text_says_state_reason_and_remedy() {
        let mut seen = seen();
        seen.overview.notes = vec![Finding {
            code: "clock-wrong".into(),
            level: Level::Warning,
            title: "This computer's clock is 73 s ahead".into(),
            reason: "The router corrects for it.".into(),
            remedy: "Set the clock.".into(),
        }];
        let text = text(&seen);
        for part in [
            "good: Connected to I2P",
            "warning: This computer's clock",
            "    Set the clock.",
            "sessions",
            "peer ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn it_fits_on_small_and_large_terminals() {
        for (width, height) in [(20, 5), (80, 24), (200, 60)] {
            let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
            terminal.draw(|frame| draw(frame, &seen())).unwrap();
            let shown: String = terminal.backend().buffer().content().iter().map(|c| c.symbol()).collect();
            assert!(shown.contains("aioli"), "{shown}");
            assert!(width < 80 || shown.contains("Connected to I2P"), "{shown}");
        }
    }
}
