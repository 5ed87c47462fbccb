//! Connections that are given up when nothing moves in them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// A connection in which nothing moves for so long is closed.
pub(crate) const IDLE: Duration = Duration::from_secs(10 * 60);

/// Tells when a connection was last used.
#[derive(Clone, Debug)]
pub(crate) struct Activity {
    begun: Instant,
    /// Milliseconds after that.
    last: Arc<AtomicU64>,
}

impl Activity {
    pub(crate) fn new() -> Self {
        Self { begun: Instant::now(), last: Arc::default() }
    }

    fn touch(&self) {
        let elapsed = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(elapsed, Ordering::Relaxed);
    }

    /// Returns when nothing has moved for [`IDLE`].
    pub(crate) async fn idle(&self) {
        self.idle_for(IDLE).await;
    }

    /// Returns when nothing has moved for so long.
    pub(crate) async fn idle_for(&self, idle: Duration) {
        loop {
            let last = self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last.elapsed() >= idle {
                return;
            }
            tokio::time::sleep_until(last + idle).await;
        }
    }
}

/// A connection whose use is noted, and that begins with bytes which were read already.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    before: Vec<u8>,
    given: usize,
    activity: Activity,
    /// Bytes read and written, if somebody counts them.
    counted: Option<Arc<Traffic>>,
}

/// Bytes that a connection has brought, and those it was given.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    pub(crate) read: AtomicU64,
    pub(crate) written: AtomicU64,
}

impl<S> Watched<S> {
    pub(crate) const fn new(stream: S, before: Vec<u8>, activity: Activity) -> Self {
        Self { stream, before, given: 0, activity, counted: None }
    }

    /// The same, with its bytes counted.
    pub(crate) const fn counted(stream: S, before: Vec<u8>, activity: Activity, by: Arc<Traffic>) -> Self {
        Self { stream, before, given: 0, activity, counted: Some(by) }
    }

    fn count(&self, bytes: usize, of: impl Fn(&Traffic) -> &AtomicU64) {
        if let Some(traffic) = &self.counted {
            of(traffic).fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = this.before.get(this.given..).unwrap_or_default();
        if !before.is_empty() {
            let n = before.len().min(buf.remaining());
            buf.put_slice(before.get(..n).unwrap_or_default());
            this.given += n;
            this.count(n, |traffic| &traffic.read);
            if this.given == this.before.len() {
                this.before = Vec::new();
                this.given = 0;
            }
            return Poll::Ready(Ok(()));
        }
        let had = buf.filled().len();
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if result.is_ready() {
            this.activity.touch();
            this.count(buf.filled().len().saturating_sub(had), |traffic| &traffic.read);
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        if let Poll::Ready(written) = &result {
            this.activity.touch();
            this.count(*written.as_ref().unwrap_or(&0), |traffic| &traffic.written);
        }
        result
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// Moves bytes both ways until both sides have finished, or nothing moves any more.
pub(crate) async fn both_ways(
    client: impl AsyncRead + AsyncWrite + Unpin,
    remote: impl AsyncRead + AsyncWrite + Unpin,
) {
    both_ways_within(client, remote, IDLE, Arc::default()).await;
}

/// The same until nothing moves for so long, with the bytes counted that `remote` brings and is given.
pub(crate) async fn both_ways_within(
    client: impl AsyncRead + AsyncWrite + Unpin,
    remote: impl AsyncRead + AsyncWrite + Unpin,
    idle: Duration,
    traffic: Arc<Traffic>,
) {
    let activity = Activity::new();
    let mut client = Watched::new(client, Vec::new(), activity.clone());
    let mut remote = Watched::counted(remote, Vec::new(), activity.clone(), traffic);
    tokio::select! {
        // However it ended, both sides are closed.
        _ = tokio::io::copy_bidirectional(&mut client, &mut remote) => {}
        () = activity.idle_for(idle) => {}
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_relay_lasts_as_long_as_something_moves() {
        let (mut client, ours) = tokio::io::duplex(64);
        let (theirs, mut remote) = tokio::io::duplex(64);
        let begun = Instant::now();
        let relay = tokio::spawn(both_ways(ours, theirs));
        for _ in 0..3 {
            tokio::time::sleep(IDLE / 2).await;
            client.write_all(b"x").await.unwrap();
            assert_eq!(remote.read_u8().await.unwrap(), b'x');
        }
        relay.await.unwrap();
        assert!(begun.elapsed() >= IDLE / 2 * 5, "{:?}", begun.elapsed());
        assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    }
}
