//! The head of a request as it stands on the wire, judged before any parser
//! sees it: what two parsers could read in two ways is refused (RFC 9112,
//! sections 2.2, 5.1 and 6.3).

use std::time::Duration;

use hyper::{StatusCode, Uri};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes of a head at most.
pub(crate) const MAX_HEAD: usize = 32 * 1024;
/// Bytes of one of its lines at most.
const MAX_LINE: usize = 8 * 1024;
/// Header lines at most.
pub(crate) const MAX_HEADERS: usize = 60;
/// A head must be there within this time.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why a request is not even looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum HeadError {
    /// The client is gone, or said nothing.
    #[error("there is no request")]
    Nothing,
    /// It came too slowly.
    #[error("the request did not come within {} s", .0.as_secs())]
    Slow(Duration),
    /// It is too large.
    #[error(
        "the request's head has more than {MAX_HEAD} bytes, {MAX_HEADERS} headers, or {MAX_LINE} bytes in a line"
    )]
    TooLarge,
    /// It is no HTTP/1.
    #[error("the request is no well-formed HTTP/1.1")]
    Malformed,
    /// Its length can be read in two ways.
    #[error("the request says in two ways how long it is")]
    Ambiguous,
}

impl HeadError {
    /// What the client is answered.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Nothing | Self::Malformed | Self::Ambiguous => StatusCode::BAD_REQUEST,
        }
    }
}

/// Reads a head, and whatever came with it.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HeadError> {
    read_within(stream, PATIENCE).await
}

/// The same, within another time.
pub(crate) async fn read_within(
    stream: &mut (impl AsyncRead + Unpin),
    within: Duration,
) -> Result<Vec<u8>, HeadError> {
    tokio::time::timeout(within, read_all(stream)).await.unwrap_or(Err(HeadError::Slow(within)))
}

async fn read_all(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, HeadError> {
    let (mut bytes, mut seen) = (Vec::with_capacity(1024), 0);
    loop {
        let n = stream.read_buf(&mut bytes).await.unwrap_or(0);
        if n == 0 {
            return Err(if bytes.is_empty() { HeadError::Nothing } else { HeadError::Malformed });
        }
        let from = seen.max(3) - 3;
        let unseen = bytes.get(from..).unwrap_or_default();
        if let Some(at) = unseen.windows(4).position(|w| w == b"\r\n\r\n") {
            let end = from + at + 2;
            if end > MAX_HEAD {
                return Err(HeadError::TooLarge);
            }
            check(bytes.get(..end).unwrap_or_default())?;
            return Ok(bytes);
        }
        seen = bytes.len();
        if seen > MAX_HEAD {
            return Err(HeadError::TooLarge);
        }
    }
}

/// Judges a head without its empty line.
fn check(head: &[u8]) -> Result<(), HeadError> {
    let head = head.strip_suffix(b"\r\n").ok_or(HeadError::Malformed)?;
    let mut lines = split_lines(head);
    let first = lines.next().unwrap_or_default();
    let mut words = first.split(|b| *b == b' ');
    let (method, target, version) = (words.next(), words.next(), words.next());
    let right = method.is_some_and(|m| !m.is_empty() && m.iter().all(|b| is_token(*b)))
        && target.is_some_and(|t| Uri::try_from(t).is_ok())
        && words.next().is_none();
    let is_old = version == Some(b"HTTP/1.0");
    if !right || !(is_old || version == Some(b"HTTP/1.1")) {
        return Err(HeadError::Malformed);
    }
    let (mut count, mut hosts, mut lengths, mut encodings) = (0, 0, 0, 0);
    for line in lines {
        count += 1;
        if count > MAX_HEADERS || line.len() > MAX_LINE {
            return Err(HeadError::TooLarge);
        }
        let colon = line.iter().position(|b| *b == b':').ok_or(HeadError::Malformed)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        // An empty name, and a line that begins with white space, are not tokens either.
        let control = |b: &u8| (*b < b' ' && *b != b'\t') || *b == 0x7f;
        if name.is_empty() || !name.iter().all(|b| is_token(*b)) || value.iter().any(control) {
            return Err(HeadError::Malformed);
        }
        if name.eq_ignore_ascii_case(b"host") {
            hosts += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            lengths += 1;
            if value.is_empty() || value.len() > 18 || !value.iter().all(u8::is_ascii_digit) {
                return Err(HeadError::Ambiguous);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            encodings += 1;
            if is_old || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::Ambiguous);
            }
        }
    }
    if hosts > 1 || lengths + encodings > 1 {
        return Err(HeadError::Ambiguous);
    }
    if first.len() > MAX_LINE { Err(HeadError::TooLarge) } else { Ok(()) }
}

/// Lines between CRLFs. A CR or LF by itself stays in its line, where nothing allows it.
fn split_lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(head);
    std::iter::from_fn(move || {
        let text = rest?;
        match text.windows(2).position(|w| w == b"\r\n") {
            Some(at) => {
                rest = text.get(at + 2..);
                text.get(..at)
            }
            None => {
                rest = None;
                Some(text)
            }
        }
    })
}

const fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^'..=b'`' | b'|' | b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(head: &str) -> Result<(), HeadError> {
        check(head.as_bytes())
    }

    #[test]
    fn ordinary_heads_pass() {
        for head in [
            "GET http://a.i2p/ HTTP/1.1\r\n",
            "GET http://a.i2p/x?y=z HTTP/1.0\r\nHost: a.i2p\r\nX-Empty:\r\n",
            "POST http://a.i2p/ HTTP/1.1\r\nHost: a.i2p\r\nContent-Length: 12\r\n",
            "POST http://a.i2p/ HTTP/1.1\r\nTransfer-Encoding: Chunked\r\nX: \tté\r\n",
            "CONNECT a.i2p:443 HTTP/1.1\r\n",
        ] {
            assert_eq!(judge(head), Ok(()), "{head}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_trickles_in_is_not_waited_for() {
        use tokio::io::AsyncWriteExt;
        let (mut client, mut server) = tokio::io::duplex(1024);
        let trickle = async {
            client.write_all(b"GET http://a.i2p/ HTTP/1.1\r\n").await.unwrap();
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                client.write_all(b"X: y\r\n").await.unwrap();
            }
        };
        tokio::select! {
            () = trickle => unreachable!("it has no end"),
            read = read(&mut server) => assert_eq!(read, Err(HeadError::Slow(PATIENCE))),
        }
        drop(client);
        assert_eq!(read(&mut server).await, Err(HeadError::Nothing));
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        use HeadError::{Ambiguous, Malformed, TooLarge};
        let with = |headers: &str| format!("POST http://a.i2p/ HTTP/1.1\r\n{headers}\r\n");
        let many = "A: b\r\n".repeat(61);
        for (head, error) in [
            (with("Content-Length: 1\r\nContent-Length: 1"), Ambiguous),
            (with("Content-Length: 1, 1"), Ambiguous),
            (with("Content-Length: +1"), Ambiguous),
            (with("Content-Length: 1\r\nTransfer-Encoding: chunked"), Ambiguous),
            (with("Transfer-Encoding: chunked\r\nContent-Length: 1"), Ambiguous),
            (with("Transfer-Encoding: gzip, chunked"), Ambiguous),
            (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), Ambiguous),
            (with("Transfer-Encoding: xchunked"), Ambiguous),
            (with("Host: a.i2p\r\nhost: b.i2p"), Ambiguous),
            (with("Transfer-Encoding : chunked"), Malformed),
            (with(" Transfer-Encoding: chunked"), Malformed),
            (with("X: a\r\n folded"), Malformed),
            (with("X: a\nContent-Length: 1"), Malformed),
            (with("X: a\rContent-Length: 1"), Malformed),
            (with("X: a\0b"), Malformed),
            (with("X"), Malformed),
            (with(": a"), Malformed),
            (with("X: a\r\n\r\nGET"), Malformed),
            (with(many.trim_end()), TooLarge),
            (with(&format!("X: {}", "a".repeat(9_000))), TooLarge),
            ("GET  http://a.i2p/ HTTP/1.1\r\n".into(), Malformed),
            ("GET http://a.i2p/<b> HTTP/1.1\r\n".into(), Malformed),
            ("GET http://a.i2p/ HTTP/1.1 x\r\n".into(), Malformed),
            ("GET http://a.i2p/ HTTP/2.0\r\n".into(), Malformed),
            ("GET http://a.i2p/\r\n".into(), Malformed),
            ("\r\nGET http://a.i2p/ HTTP/1.1\r\n".into(), Malformed),
            ("POST http://a.i2p/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n".into(), Ambiguous),
        ] {
            assert_eq!(judge(&head), Err(error), "{head}");
        }
    }
}
