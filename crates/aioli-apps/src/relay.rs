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
        loop {
            let last = self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed));
            if last.elapsed() >= IDLE {
                return;
            }
            tokio::time::sleep_until(last + IDLE).await;
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
}

impl<S> Watched<S> {
    pub(crate) const fn new(stream: S, before: Vec<u8>, activity: Activity) -> Self {
        Self { stream, before, given: 0, activity }
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
            if this.given == this.before.len() {
                this.before = Vec::new();
                this.given = 0;
            }
            return Poll::Ready(Ok(()));
        }
        let result = Pin::new(&mut this.stream).poll_read(cx, buf);
        if result.is_ready() {
            this.activity.touch();
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        if result.is_ready() {
            this.activity.touch();
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
    let activity = Activity::new();
    let mut client = Watched::new(client, Vec::new(), activity.clone());
    let mut remote = Watched::new(remote, Vec::new(), activity.clone());
    tokio::select! {
        // However it ended, both sides are closed.
        _ = tokio::io::copy_bidirectional(&mut client, &mut remote) => {}
        () = activity.idle() => {}
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
