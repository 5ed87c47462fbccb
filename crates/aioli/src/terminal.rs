//! Lines for people: status on stdout, errors on stderr, logs apart.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::Duration;

use aioli_apps::console::Journal;
use aioli_node::reseed::{ReseedProgress, ReseedSource};
use indicatif::{ProgressBar, ProgressStyle};
use tracing_subscriber::layer::SubscriberExt;
use zeroize::Zeroizing;

/// Exit status of a second SIGINT: that which a shell gives to a program that it killed.
pub const INTERRUPTED: i32 = 130;
/// Exit status of a second SIGTERM.
pub const TERMINATED: i32 = 143;

/// Says a line on stdout. A closed pipe is not an error of ours.
pub fn say(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stdout(), "{}", line.as_ref());
}

/// Complains in a line on stderr.
pub fn complain(line: impl AsRef<str>) {
    let _ = writeln!(std::io::stderr(), "{}", line.as_ref());
}

/// Whether a person looks at stdout.
pub fn is_interactive() -> bool {
    std::io::stdout().is_terminal()
}

/// Says that stopping has begun, below the `^C` that a terminal shows.
pub fn say_stopping() {
    below_the_signal();
    say("stopping; a second signal ends at once");
}

fn below_the_signal() {
    if is_interactive() {
        say("");
    }
}

/// Replaces the last `lines` lines of the terminal by `text`.
pub fn redraw(lines: usize, text: &str) {
    let mut out = std::io::stdout();
    if lines > 0 {
        let _ = write!(out, "\x1b[{lines}A\x1b[0J");
    }
    let _ = write!(out, "{text}");
    let _ = out.flush();
}

/// Routers with which the bar of a reseed is full.
const ENOUGH_ROUTERS: u64 = 100;
/// How often the time beside it is drawn anew.
const TICK: Duration = Duration::from_millis(500);

/// Reseeding on a terminal: a bar, with each line above it; plain lines elsewhere.
#[derive(Debug, Default)]
pub struct ReseedBar(Option<ProgressBar>);

impl ReseedBar {
    /// Shows what happens.
    pub fn show(&mut self, progress: &ReseedProgress) {
        match progress {
            ReseedProgress::Asking { from } => {
                if let Some(bar) = &self.0 {
                    bar.set_message(format!("asking {from}"));
                }
                return;
            }
            // The line of the end stands where the bar was.
            ReseedProgress::Done { .. } => {
                if let Some(bar) = self.0.take() {
                    bar.finish_and_clear();
                }
            }
            ReseedProgress::Begun { .. } | ReseedProgress::Got { .. } | ReseedProgress::Failed { .. } => {}
        }
        self.say(progress.to_string());
        match (progress, &self.0) {
            (ReseedProgress::Begun { source: ReseedSource::Servers, .. }, _) if is_interactive() => {
                self.0 = Some(bar());
            }
            (ReseedProgress::Got { routers, .. }, Some(bar)) => bar.inc(*routers as u64),
            _ => {}
        }
    }

    /// Whether there is no bar.
    const fn is_idle(&self) -> bool {
        self.0.is_none()
    }

    /// Says a line above the bar, if there is one.
    pub fn say(&self, line: impl AsRef<str>) {
        match &self.0 {
            Some(bar) => bar.suspend(|| say(line)),
            None => say(line),
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::new(ENOUGH_ROUTERS);
    let template = "{elapsed:>4} [{bar:25}] {pos} routers, {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(TICK);
    bar
}

/// A router's way from its start to its end: a line for each phase and, on a terminal, what is
/// waited for below the last.
#[derive(Debug, Default)]
pub struct Phases {
    reseed: ReseedBar,
    waiting: Option<ProgressBar>,
    tunnels: Option<usize>,
}

impl Phases {
    /// Says a line.
    pub fn say(&self, line: impl AsRef<str>) {
        match &self.waiting {
            Some(bar) => bar.suspend(|| say(line)),
            None => self.reseed.say(line),
        }
    }

    /// Shows how reseeding goes.
    pub fn reseed(&mut self, progress: &ReseedProgress) {
        self.done();
        self.reseed.show(progress);
    }

    /// A phase has begun that takes a while: a line, or on a terminal what is waited for and how long already.
    pub fn wait(&mut self, what: &str) {
        if !is_interactive() || !self.reseed.is_idle() {
            self.say(what);
            return;
        }
        let bar = self.waiting.get_or_insert_with(|| {
            let bar = ProgressBar::new_spinner();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} ({elapsed})") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        bar.set_message(what.to_owned());
    }

    /// The phase is over.
    pub fn done(&mut self) {
        if let Some(bar) = self.waiting.take() {
            bar.finish_and_clear();
        }
    }

    /// Others' tunnels are waited for.
    pub fn drain(&mut self, tunnels: usize, at_most: Duration) {
        let time = match at_most.as_secs() {
            s @ ..60 => format!("{s} s"),
            s => format!("{} min {:02} s", s / 60, s % 60),
        };
        let is_first = self.tunnels.is_none();
        if is_first {
            self.done();
            below_the_signal();
            say("stopping: no further tunnels of others are accepted; another signal ends at once");
        }
        // In a log a line for each tenth is enough.
        let step = self.tunnels.unwrap_or(0) / 10;
        if is_interactive() || is_first || tunnels + step.max(1) <= self.tunnels.unwrap_or(0) {
            self.tunnels = Some(tunnels);
            self.wait(&format!("waiting for {tunnels} tunnels of others, {time} at most"));
        }
    }

    /// Says that goodbyes have begun.
    pub fn stopping(&mut self) {
        self.done();
        match self.tunnels {
            Some(_) => say("stopping: saying goodbye"),
            None => say_stopping(),
        }
    }
}

/// Sends logs of this level and above to stderr.
pub fn log_to_stderr(level: tracing::Level) {
    log_to(level, None);
}

/// The same, and to the journal of a console if there is one.
pub fn log_to(level: tracing::Level, journal: Option<Arc<Journal>>) {
    let to_stderr = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let to_journal = journal.map(|journal| {
        let writer = move || Noted(Arc::clone(&journal));
        tracing_subscriber::fmt::layer().with_writer(writer).with_target(false).with_ansi(false)
    });
    let level = tracing_subscriber::filter::LevelFilter::from_level(level);
    let subscriber = tracing_subscriber::registry().with(level).with(to_stderr).with(to_journal);
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        complain("logs are already set up");
    }
}

/// Writes lines of the log into a journal: each event is one write.
struct Noted(Arc<Journal>);

impl Write for Noted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.log(String::from_utf8_lossy(bytes).trim_end());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Bytes of a line that is not shown at most.
const MOST_HIDDEN: usize = 1_024;

/// Asks for a line on the terminal that is not shown.
pub fn ask_hidden(question: &str) -> std::io::Result<Zeroizing<String>> {
    use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, read};
    let mut out = std::io::stdout();
    write!(out, "{question}")?;
    out.flush()?;
    crossterm::terminal::enable_raw_mode()?;
    // No longer than a password may be: it does not move in memory.
    let mut line = Zeroizing::new(String::with_capacity(MOST_HIDDEN));
    let answer = loop {
        let event = match read() {
            Ok(event) => event,
            Err(error) => break Err(error),
        };
        let Event::Key(key) = event else { continue };
        if key.kind != KeyEventKind::Press {
            continue;
        }
        if key.code == KeyCode::Enter {
            break Ok(line);
        } else if key.code == KeyCode::Backspace {
            line.pop();
        } else if let KeyCode::Char(c) = key.code {
            if key.modifiers.contains(KeyModifiers::CONTROL) {
                break Err(std::io::ErrorKind::Interrupted.into());
            }
            if line.len() + c.len_utf8() <= MOST_HIDDEN {
                line.push(c);
            }
        }
    };
    crossterm::terminal::disable_raw_mode()?;
    writeln!(out)?;
    answer
}
