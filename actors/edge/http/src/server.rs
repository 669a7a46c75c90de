//! The accept loop: owns every connection, and ends with all of them.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::{Arc, OnceLock};
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
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::pace::{Paced, Stream};
use crate::{Api, PeerCertificate, Problem, Source, Tls, routes, tcp};

/// How many connections over the cap are open at once to be told so; further ones wait in the kernel's queue.
const TURNED_AWAY_MAX: usize = 32;

/// Waited after the operating system refused a connection (no file descriptors, no memory): to ask again at once would
/// only heat the machine.
const ACCEPT_PAUSE: Duration = Duration::from_millis(250);

/// Room for the request line and headers of one request: the longest credential, a token's bearer form, is half of it.
const HEAD_MAX: usize = 32 << 10;

/// Bounds of everything that a client can make the server hold or wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body.
    pub body_max: usize,
    /// For the body to arrive, again for the answer to be worked out, and again for the client to take some of it.
    pub request_timeout: Duration,
    /// For a connection to send the next whole request head; it bounds how long an idle one stays open.
    pub header_timeout: Duration,
    /// On the socket, and again over TCP.
    pub connections_max: usize,
    /// For the requests in flight at a stop; what is not done by then is cut off. To be shorter than the deadline after
    /// which the supervisor kills.
    pub stop_timeout: Duration,
    /// Whether other machines may read what needs no credential.
    pub pages_for_all: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max: 256 << 10,
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(30),
            connections_max: 1024,
            stop_timeout: Duration::from_secs(5),
            pages_for_all: false,
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

    /// Serves on all of them until `stop` is done, then finishes what is in flight, for [`Limits::stop_timeout`] at most.
    ///
    /// Dropping the future ends everything at once.
    pub async fn serve(self, listeners: Listeners, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let (stopping, stopped) = watch::channel(());
        // Each way in has its own, so that nobody from outside can take the place of the operator on the socket.
        let (mut local, mut remote) = (JoinSet::new(), JoinSet::new());
        let room = |open: &JoinSet<()>| open.len() < self.limits.connections_max.saturating_add(TURNED_AWAY_MAX);
        loop {
            let (arrived, connections) = tokio::select! {
                () = &mut stop => break,
                Some(ended) = local.join_next() => { report(ended); continue }
                Some(ended) = remote.join_next() => { report(ended); continue }
                arrived = listeners.local(), if room(&local) => (arrived, &mut local),
                arrived = listeners.remote(), if room(&remote) => (arrived, &mut remote),
            };
            match arrived {
                Ok(arrived) => self.admit(arrived, connections, &stopped),
                Err(error) if is_of_the_other_side(&error) => tracing::debug!(%error, "a connection was given up"),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listeners);
        // Connections look at this when they next have nothing in flight.
        let _ = stopping.send(());
        let drained = async {
            while local.join_next().await.is_some() {}
            while remote.join_next().await.is_some() {}
        };
        if tokio::time::timeout(self.limits.stop_timeout, drained).await.is_err() {
            let cut_off = local.len() + remote.len();
            tracing::warn!(cut_off, "connections were still busy at the end of the stop");
        }
        local.shutdown().await;
        remote.shutdown().await;
    }

    fn admit(&self, arrived: Arrived, connections: &mut JoinSet<()>, stopped: &watch::Receiver<()>) {
        let Arrived { source, way, stream } = arrived;
        // Those that have ended no longer count.
        while let Some(ended) = connections.try_join_next() {
            report(ended);
        }
        // Known once the greeting is over, before the first request.
        let certificate = Arc::<OnceLock<Arc<PeerCertificate>>>::default();
        let stream = stream.opened(self.limits, certificate.clone());
        let (stopped, timeout) = (stopped.clone(), self.limits.header_timeout);
        if connections.len() < self.limits.connections_max {
            let inner = TowerToHyperService::new(self.router.clone());
            let service = service_fn(move |mut request: Request<Incoming>| {
                let foreign = match way {
                    Way::Socket => None,
                    Way::Tcp { tls } => tcp::foreign(request.headers(), tls),
                };
                request.extensions_mut().insert(source);
                if matches!(way, Way::Tcp { tls: true }) {
                    request.extensions_mut().insert(routes::Secure);
                }
                if let Some(certificate) = certificate.get() {
                    request.extensions_mut().insert(certificate.clone());
                }
                let answer = foreign.map_or_else(|| Ok(inner.call(request)), Err);
                async move {
                    match answer {
                        Ok(answer) => answer.await,
                        Err(denial) => Ok(Problem::from(denial).into_response()),
                    }
                }
            });
            connections.spawn(attend(stream, service, timeout, stopped));
        } else {
            let service = service_fn(|_: Request<Incoming>| async { Ok::<_, Infallible>(turned_away()) });
            connections.spawn(attend(stream, service, timeout, stopped));
        }
    }
}

/// What a server listens on.
#[derive(Debug)]
pub struct Listeners {
    pub socket: UnixListener,
    pub tcp: Option<(TcpListener, Option<Tls>)>,
}

/// One who has connected.
struct Arrived {
    source: Source,
    way: Way,
    stream: Raw,
}

#[derive(Clone, Copy)]
enum Way {
    Socket,
    Tcp { tls: bool },
}

/// A stream of which nothing was read yet.
enum Raw {
    Socket(UnixStream),
    Tcp(TcpStream, Option<Tls>),
}

impl Listeners {
    async fn local(&self) -> io::Result<Arrived> {
        let (stream, _) = self.socket.accept().await?;
        let peer = stream.peer_cred()?;
        let source = Source::Process { uid: peer.uid(), pid: peer.pid() };
        Ok(Arrived { source, way: Way::Socket, stream: Raw::Socket(stream) })
    }

    async fn remote(&self) -> io::Result<Arrived> {
        let Some((listener, tls)) = &self.tcp else { return std::future::pending().await };
        let (stream, peer) = listener.accept().await?;
        // Answers are written whole. One who has gone already is found out soon enough.
        let _ = stream.set_nodelay(true);
        let source = Source::Address(peer.ip().to_canonical());
        Ok(Arrived { source, way: Way::Tcp { tls: tls.is_some() }, stream: Raw::Tcp(stream, tls.clone()) })
    }
}

impl Raw {
    /// Greets the other side, where there is a greeting, for as long as it may take for the first head to arrive.
    async fn opened(
        self,
        limits: Limits,
        certificate: Arc<OnceLock<Arc<PeerCertificate>>>,
    ) -> io::Result<Box<dyn Stream>> {
        let patience = limits.request_timeout;
        match self {
            Self::Socket(stream) => Ok(Box::new(Paced::new(stream, patience))),
            Self::Tcp(stream, None) => Ok(Box::new(Paced::new(stream, patience))),
            // Below the encryption, which holds back more than a client must be given time for.
            Self::Tcp(stream, Some(Tls { acceptor, authorities })) => {
                let greeting = acceptor.accept(Paced::new(stream, patience));
                let stream = tokio::time::timeout(limits.header_timeout, greeting).await??;
                if let Some(chain) = stream.get_ref().1.peer_certificates() {
                    let read = PeerCertificate::read(chain, &authorities);
                    let read = read.ok_or_else(|| io::Error::other("the client's certificate cannot be read"))?;
                    let _ = certificate.set(Arc::new(read));
                }
                Ok(Box::new(stream))
            }
        }
    }
}

/// One connection, to its end.
async fn attend<S>(
    opening: impl Future<Output = io::Result<Box<dyn Stream>>>,
    service: S,
    header_timeout: Duration,
    mut stopped: watch::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response, Error = Infallible>,
{
    let opened = tokio::select! {
        opened = opening => opened,
        _ = stopped.changed() => return,
    };
    let stream = match opened {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "a connection did not get as far as HTTP"),
    };
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

/// It went away while it waited: no reason to make others wait.
fn is_of_the_other_side(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
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
