//! What a service manager is told: systemd's protocol, `sd_notify(3)`. Without `NOTIFY_SOCKET` nobody is told anything.

use std::time::{Duration, Instant};

use aioli_node::Notice;
use sd_notify::NotifyState;

/// The service manager, as far as there is one.
#[derive(Debug)]
pub struct Service {
    present: bool,
    /// It wants to hear this often that the router is alive.
    every: Option<Duration>,
    /// When it was due the last time.
    last: Instant,
    /// What the router had done by then.
    rounds: Option<u64>,
}

impl Service {
    /// The one that has started this process, if any has.
    pub fn of_environment() -> Self {
        let mut micros = 0;
        let watched = sd_notify::watchdog_enabled(false, &mut micros);
        Self {
            present: std::env::var_os("NOTIFY_SOCKET").is_some(),
            // Half of it, as its manual says.
            every: watched.then_some(Duration::from_micros(micros / 2)).filter(|every| !every.is_zero()),
            last: Instant::now(),
            rounds: None,
        }
    }

    /// The sockets listen.
    pub fn ready(&self) {
        self.tell(&[NotifyState::Ready]);
    }

    /// Keeps up what `systemctl status` shows.
    pub fn follow(&self, notice: &Notice) {
        let line = match notice {
            Notice::Router(event) => event.to_string(),
            Notice::Reseed(progress) => progress.to_string(),
            Notice::Draining { tunnels, .. } => format!("stopping, waiting for {tunnels} tunnels of others"),
            Notice::Loaded { .. }
            | Notice::Remembered { .. }
            | Notice::TimeServers(_)
            | Notice::PortMapping(_)
            | Notice::Stopping => return,
        };
        self.tell(&[NotifyState::Status(&line)]);
    }

    /// The end has begun.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping]);
    }

    /// Returns when it is time for [`Self::alive`]; never, where nobody wants to know.
    pub async fn due(&self) {
        match self.every {
            Some(every) => tokio::time::sleep(every.saturating_sub(self.last.elapsed())).await,
            None => std::future::pending().await,
        }
    }

    /// Says that the router is alive if its thread has done something since the last time. `rounds` counts what it
    /// does twice a second.
    pub fn alive(&mut self, rounds: u64) {
        if self.rounds.replace(rounds) != Some(rounds) {
            self.tell(&[NotifyState::Watchdog]);
        }
        self.last = Instant::now();
    }

    fn tell(&self, state: &[NotifyState<'_>]) {
        if self.present
            && let Err(error) = sd_notify::notify(false, state)
        {
            tracing::debug!("the service manager cannot be told: {error}");
        }
    }
}
