//! A small site to try things with: what `aioli testnet` has as `hello.i2p`.

use std::convert::Infallible;

use aioli_core::Rng;
use aioli_node::embed::{ClientError, Listener, Stream};
use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{self, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;

/// Bytes of `/20mb.bin`.
const LARGE: usize = 20_000_000;
/// Visitors at a time at most; further ones wait.
const MAX_VISITORS: usize = 64;

const FRONT: &str = "<!DOCTYPE html>\n<html lang=en><meta charset=utf-8><title>hello.i2p</title>\
<style>body{font:1.1rem/1.5 system-ui,sans-serif;max-width:40rem;margin:4rem auto;padding:0 1rem}</style>\n\
<h1>Hello from the other side</h1>\n<p>This page has come through the tunnels of a whole I2P network that runs on this \
computer alone.</p>\n<p><a href=\"/20mb.bin\">20 MB to download</a></p>\n";

/// What `/20mb.bin` has: the same bytes every time.
pub fn large_file() -> Bytes {
    let mut bytes = vec![0; LARGE];
    Rng::from_seed([0; 32]).fill(&mut bytes);
    bytes.into()
}

/// Serves visitors until the session ends.
pub async fn serve(mut listener: Listener) -> ClientError {
    let file = large_file();
    let mut visitors = JoinSet::new();
    loop {
        let full = visitors.len() >= MAX_VISITORS;
        tokio::select! {
            accepted = listener.accept(), if !full => match accepted {
                Ok(stream) => drop(visitors.spawn(visit(stream, file.clone()))),
                Err(error) => return error,
            },
            Some(_) = visitors.join_next() => {}
        }
    }
}

async fn visit(stream: Stream, file: Bytes) {
    let service = service_fn(move |request| {
        let answer = answer(&request, &file);
        async move { Ok::<_, Infallible>(answer) }
    });
    // An error means that the visitor is gone.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

fn answer(request: &Request<hyper::body::Incoming>, file: &Bytes) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.method(), request.uri().path()) {
        (&Method::GET, "/") => {
            (StatusCode::OK, "text/html; charset=utf-8", Bytes::from_static(FRONT.as_bytes()))
        }
        (&Method::GET, "/20mb.bin") => (StatusCode::OK, "application/octet-stream", file.clone()),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            Bytes::from_static(b"There is no such page.\n"),
        ),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
