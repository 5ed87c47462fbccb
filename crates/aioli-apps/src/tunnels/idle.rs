//! Destinations that nobody uses for a while: they give their tunnels up, or keep
//! fewer of them, until the next connection.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::config::TunnelConfig;
use crate::listen::Outlet;

/// A destination that cannot be had, or is lost, is tried again after the first time, and then after up to the second.
pub(super) const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

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
        tokio::select! {
            () = rest(&outlet, idle) => return,
            used = users.wait_for(|users| *users > 0) => if used.is_err() { return },
        }
        if let (Some(outlet), Some(_)) = (outlet.upgrade(), idle.reduce) {
            let options = outlet.options();
            set(&outlet, options.inbound.quantity, options.outbound.quantity).await;
        }
    }
}

/// Does what is due while nobody uses it. It never returns.
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

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use aioli_router::client::{SessionOptions, StreamConfig};
    use aioli_wire::Destination;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    use super::super::config::Defaults;
    use super::*;
    use crate::way::Way;

    /// Grants what it is asked for.
    async fn sam() -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    let mut line = String::new();
                    while stream.read_line(&mut line).await.unwrap_or(0) > 0 {
                        let own = Destination::create(&[7; 32], &[1; 32]).to_base64();
                        let answer = format!("REPLY RESULT=OK VALUE={own}\n");
                        stream.get_mut().write_all(answer.as_bytes()).await.unwrap();
                        line.clear();
                    }
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_destination_is_given_up_when_nobody_uses_it_and_no_sooner() {
        let Defaults { inbound, outbound } = Defaults::default();
        let streaming = StreamConfig::default();
        let options = SessionOptions { keys: None, inbound, outbound, publish: false, streaming };
        let outlet = Outlet::new(Way::Sam(sam().await), options);
        let after = Duration::from_millis(50);
        tokio::spawn(keep(Arc::downgrade(&outlet), Idle { close: Some(after), reduce: None }));
        for _ in 0..2 {
            let using = outlet.enter();
            outlet.session().await.unwrap();
            tokio::time::sleep(after * 2).await;
            assert!(outlet.current().is_some(), "it is in use");
            let released = Instant::now();
            drop(using);
            while outlet.current().is_some() {
                tokio::task::yield_now().await;
            }
            assert!(released.elapsed() >= after);
        }
    }
}
