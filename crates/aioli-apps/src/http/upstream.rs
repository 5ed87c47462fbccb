//! Requests to sites, and to outproxies.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::AbortHandle;

use super::Body;
use crate::way::Stream;

/// The head of an answer must be there within this time.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(180);
/// Bytes of an answer's head at most.
const MAX_ANSWER_HEAD: usize = 64 * 1024;
/// Headers of an answer at most.
const MAX_ANSWER_HEADERS: usize = 100;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum NoAnswer {
    /// It did not come within [`ANSWER_WITHIN`].
    Slow,
    /// The connection, or what came over it.
    Broken(String),
}

/// Sends a request and waits for the head of the answer.
pub(crate) async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Incoming>,
) -> Result<Response<Body>, NoAnswer> {
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .title_case_headers(true)
        .max_buf_size(MAX_ANSWER_HEAD)
        .max_headers(MAX_ANSWER_HEADERS)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| NoAnswer::Broken(reason(&error)))?;
    let task = tokio::spawn(async move {
        // Whoever reads the answer hears of an error.
        let _ = connection.with_upgrades().await;
    });
    // If we are dropped here, the client is gone.
    let mut guard = Guard { task: task.abort_handle(), over: false };
    let answer = tokio::time::timeout(ANSWER_WITHIN, sender.send_request(request)).await;
    let answer = answer.map_err(|_| NoAnswer::Slow)?;
    let answer = answer.map_err(|error| NoAnswer::Broken(reason(&error)))?;
    guard.over = answer.body().is_end_stream();
    Ok(answer.map(|body| Guarded { body, guard }.boxed_unsync()))
}

fn reason(error: &hyper::Error) -> String {
    if error.is_parse_too_large() {
        "its answer begins with too much".into()
    } else if error.is_parse() {
        "its answer is no well-formed HTTP".into()
    } else if error.is_incomplete_message() || error.is_closed() {
        "it closed the connection without an answer".into()
    } else {
        format!("the connection broke off ({error})")
    }
}

/// Ends a connection to a site that still has something to say when nobody listens any more.
struct Guard {
    task: AbortHandle,
    over: bool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.over {
            self.task.abort();
        }
    }
}

/// The body of an answer, with its connection.
struct Guarded {
    body: Incoming,
    guard: Guard,
}

impl hyper::body::Body for Guarded {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.guard.over |= matches!(polled, Poll::Ready(None)) || self.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Has an outproxy connect to a host. Gives what it has sent beyond its answer.
pub(super) async fn connect_through(stream: &mut Stream, authority: &str) -> Result<Vec<u8>, String> {
    let asking = async {
        let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(|e| e.to_string())?;
        let mut bytes = Vec::new();
        loop {
            let n = stream.read_buf(&mut bytes).await.map_err(|e| e.to_string())?;
            if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
                return Ok((bytes.split_off(end + 4), bytes));
            }
            if n == 0 || bytes.len() > MAX_ANSWER_HEAD {
                return Err("it gave no answer to CONNECT".to_owned());
            }
        }
    };
    let answer = tokio::time::timeout(ANSWER_WITHIN, asking).await;
    let (rest, head) = answer.map_err(|_| "it gave no answer to CONNECT in time".to_owned())??;
    let accepted = head.starts_with(b"HTTP/1.1 200") || head.starts_with(b"HTTP/1.0 200");
    let first = head.split(|b| *b == b'\r').next().unwrap_or_default();
    if accepted { Ok(rest) } else { Err(format!("it answered {}", String::from_utf8_lossy(first))) }
}
