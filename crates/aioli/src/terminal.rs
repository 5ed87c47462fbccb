//! Lines for people: status on stdout, errors on stderr, logs apart.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use aioli_node::reseed::{ReseedProgress, ReseedSource};
use indicatif::{ProgressBar, ProgressStyle};

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
    if is_interactive() {
        say("");
    }
    say("stopping; a second signal ends at once");
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

/// Sends logs of this level and above to stderr.
pub fn log_to_stderr(level: tracing::Level) {
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_target(false)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        complain("logs are already set up");
    }
}
