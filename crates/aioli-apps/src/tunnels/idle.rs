//! Destinations that nobody uses for a while: they give their tunnels up, or keep
//! fewer of them, until the next connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::config::TunnelConfig;
use crate::listen::Outlet;

/// A destination that cannot be had is tried again after the first time, and then after up to the second.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// When a destination rests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Idle {
    /// It is given up after so long.
    close: Option<Duration>,
    /// It keeps so many tunnels each way after so long.
    reduce: Option<(Duration, u8)>,
}

impl Idle {
    pub(super) fn new(config: &TunnelConfig) -> Self {
        let minutes = |minutes: u32| Duration::from_secs(u64::from(minutes) * 60);
        Self {
            close: config.close_idle.map(minutes),
            reduce: config.reduce_idle.map(|after| (minutes(after), config.reduce_to)),
        }
    }

    pub(super) const fn is_none(&self) -> bool {
        self.close.is_none() && self.reduce.is_none()
    }
}

/// Makes the session of a destination, however long that takes.
pub(super) async fn open(outlet: Weak<Outlet>) {
    let mut pause = AGAIN.0;
    loop {
        let Some(outlet) = outlet.upgrade() else { return };
        if outlet.session().await.is_ok() {
            return;
        }
        drop(outlet);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

/// Has a destination rest whenever nobody uses it, until it is gone.
pub(super) async fn keep(outlet: Weak<Outlet>, idle: Idle) {
    let Some(mut users) = outlet.upgrade().map(|outlet| outlet.users()) else { return };
    loop {
        if users.wait_for(|users| *users == 0).await.is_err() {
            return;
        }
        let resting = rest(&outlet, idle);
        tokio::select! {
            () = resting => return,
            used = users.wait_for(|users| *users > 0) => if used.is_err() { return },
        }
        if let (Some(outlet), Some(_)) = (outlet.upgrade(), idle.reduce) {
            let options = outlet.options();
            set(&outlet, options.inbound.quantity, options.outbound.quantity).await;
        }
    }
}

/// Does what is due while nobody uses it. It returns when the destination is gone.
async fn rest(outlet: &Weak<Outlet>, idle: Idle) {
    let reduce = async {
        if let Some((after, to)) = idle.reduce {
            tokio::time::sleep(after).await;
            if let Some(outlet) = outlet.upgrade() {
                let options = outlet.options();
                set(&outlet, to.min(options.inbound.quantity), to.min(options.outbound.quantity)).await;
            }
        }
    };
    let close = async {
        if let Some(after) = idle.close {
            tokio::time::sleep(after).await;
            if let Some(outlet) = outlet.upgrade() {
                outlet.close();
            }
        }
    };
    tokio::join!(reduce, close);
    std::future::pending::<()>().await;
}

async fn set(outlet: &Arc<Outlet>, inbound: u8, outbound: u8) {
    if let Some(session) = outlet.current()
        && let Err(error) = session.set_quantities(inbound, outbound).await
    {
        tracing::debug!("a destination keeps its tunnels: {error}");
    }
}
