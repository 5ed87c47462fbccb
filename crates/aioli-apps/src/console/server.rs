//! Connections to the console: one request each, within bounds of time, size and number.
//!
//! Who connects and says nothing waits in a line of [`MOST_WAITING`]; the next one to come puts the first of the line
//! out, so that a thousand silent connections keep nobody from the console.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinSet};

use super::routes::Site;
use crate::http::head::{self, HeadError};
use crate::listen::{self, close_gently};
use crate::relay::{Activity, Watched};

/// Connections that are not served: silent so far, or being refused.
const MOST_WAITING: usize = 64;
/// Requests under way.
const MOST_SERVED: usize = 64;
/// A request's head must be there within this time.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// All of a connection.
const DONE_WITHIN: Duration = Duration::from_secs(30);

/// Who is not served yet.
#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<BTreeMap<u64, AbortHandle>>,
}

impl Line {
    fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<u64, AbortHandle>) -> T) -> T {
        f(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn join(&self, number: u64, connection: AbortHandle) {
        self.with(|waiting| {
            waiting.insert(number, connection);
            if waiting.len() > MOST_WAITING
                && let Some((_, first)) = waiting.pop_first()
            {
                first.abort();
            }
        });
    }
}

/// A place in the line, until dropped.
struct Place(Arc<Line>, u64);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.with(|waiting| waiting.remove(&self.1));
    }
}

/// Serves until dropped, and all connections end with it.
pub(super) async fn serve(site: Arc<Site>, listener: TcpListener) {
    let (line, served) = (Arc::new(Line::default()), Arc::new(Semaphore::new(MOST_SERVED)));
    let (mut connections, mut number) = (JoinSet::new(), 0);
    loop {
        let (stream, from) = listen::next(&listener, &mut connections).await;
        number += 1;
        let place = Place(Arc::clone(&line), number);
        let connection = connection(Arc::clone(&site), stream, from.ip(), place, Arc::clone(&served));
        let within = async move { drop(tokio::time::timeout(DONE_WITHIN, connection).await) };
        // There is one thread: it begins after it has joined the line.
        line.join(number, connections.spawn(within));
    }
}

async fn connection(
    site: Arc<Site>,
    mut stream: TcpStream,
    from: IpAddr,
    place: Place,
    served: Arc<Semaphore>,
) {
    let begun = match head::read_within(&mut stream, HEAD_WITHIN).await {
        Ok(begun) => begun,
        Err(HeadError::Nothing) => return,
        Err(error) => return refuse(stream, &error.status().to_string(), &error.to_string()).await,
    };
    let Ok(_permit) = served.try_acquire() else {
        return refuse(stream, "503 Service Unavailable", "too many requests at once").await;
    };
    drop(place);
    let io = TokioIo::new(Watched::new(stream, begun, Activity::new()));
    let service = service_fn(|request| {
        let site = Arc::clone(&site);
        async move { Ok::<_, Infallible>(site.answer(request, from).await) }
    });
    // An error means that the client is gone.
    let _ = hyper::server::conn::http1::Builder::new()
        .keep_alive(false)
        .max_headers(head::MAX_HEADERS)
        .serve_connection(io, service)
        .await;
}

/// Answers a request that no parser is to see.
async fn refuse(mut stream: TcpStream, status: &str, why: &str) {
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{why}\n",
        why.len() + 1
    );
    if stream.write_all(text.as_bytes()).await.is_ok() {
        close_gently(stream).await;
    }
}
