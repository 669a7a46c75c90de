//! The accept loop: owns every connection, and ends with all of them.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use kernel::{Denial, Layer, Millis};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pace::Paced;
use crate::{Api, Problem, Source, routes};

/// How many connections over the cap are open at once to be told so; further ones wait in the kernel's queue.
const TURNED_AWAY_MAX: usize = 32;

/// Waited after the operating system refused a connection (no file descriptors, no memory): to ask again at once would
/// only heat the machine.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Room for the request line and headers of one request.
const HEAD_MAX: usize = 16 << 10;

/// Bounds of everything that a client can make the server hold or wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_max: usize,
    /// For the body to arrive, again for the answer to be worked out, and again for the client to take some of it.
    pub request_timeout: Duration,
    /// For a connection to send the next whole request head; it bounds how long an idle one stays open.
    pub header_timeout: Duration,
    pub connections_max: usize,
    /// For the requests in flight at a stop; what is not done by then is cut off. To be shorter than the deadline after
    /// which the supervisor kills.
    pub stop_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max: 256 << 10,
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            connections_max: 1024,
            stop_timeout: Duration::from_secs(5),
        }
    }
}

/// Serves an [`Api`] on a listening socket.
pub struct Server {
    router: Router,
    limits: Limits,
}

impl Server {
    pub fn new(api: Arc<dyn Api>, limits: Limits) -> Self {
        Self { router: routes::router(api, limits), limits }
    }

    /// Serves until `stop` is done, then finishes what is in flight, for [`Limits::stop_timeout`] at most.
    ///
    /// Dropping the future ends everything at once.
    pub async fn serve(self, listener: UnixListener, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (stopping, stopped) = watch::channel(());
        let mut connections = JoinSet::new();
        loop {
            let room = connections.len() < self.limits.connections_max.saturating_add(TURNED_AWAY_MAX);
            tokio::select! {
                () = &mut stop => break,
                Some(ended) = connections.join_next() => report(ended),
                accepted = listener.accept(), if room => match accepted {
                    Ok((stream, _)) => self.admit(stream, &mut connections, &stopped),
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        // Connections look at this when they next have nothing in flight.
        let _ = stopping.send(());
        let drained = async { while connections.join_next().await.is_some() {} };
        if tokio::time::timeout(self.limits.stop_timeout, drained).await.is_err() {
            tracing::warn!(cut_off = connections.len(), "connections were still busy at the end of the stop");
        }
        connections.shutdown().await;
    }

    fn admit(&self, stream: UnixStream, connections: &mut JoinSet<()>, stopped: &watch::Receiver<()>) {
        let source = match stream.peer_cred() {
            Ok(peer) => Source { uid: peer.uid(), pid: peer.pid() },
            Err(error) => return tracing::warn!(%error, "a connection does not say whose it is"),
        };
        // Those that have ended no longer count.
        while let Some(ended) = connections.try_join_next() {
            report(ended);
        }
        let (stopped, timeout) = (stopped.clone(), self.limits.header_timeout);
        let stream = Paced::new(stream, self.limits.request_timeout);
        if connections.len() < self.limits.connections_max {
            let inner = TowerToHyperService::new(self.router.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                request.extensions_mut().insert(source);
                inner.call(request)
            });
            connections.spawn(attend(stream, service, timeout, stopped));
        } else {
            let service = service_fn(|_: Request<Incoming>| async { Ok::<_, std::convert::Infallible>(turned_away()) });
            connections.spawn(attend(stream, service, timeout, stopped));
        }
    }
}

/// One connection, to its end.
async fn attend<S>(stream: Paced, service: S, header_timeout: Duration, mut stopped: watch::Receiver<()>)
where
    S: Service<Request<Incoming>, Response = Response, Error = std::convert::Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        _ = stopped.changed() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The client hung up, was too slow or does not speak HTTP; no concern of anybody but itself.
        tracing::debug!(%error, "a connection ended early");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}

fn turned_away() -> Response {
    let denial = Denial::new(
        Layer::Limit,
        "http.connections_full",
        "too many connections are open",
        "close idle connections, or try again",
    )
    .retry_after(Millis::seconds(1));
    let mut response = Problem::from(denial).into_response();
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}
