//! The other end: what the command line uses, and any Rust program outside.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::header::{ACCEPT, AUTHORIZATION, CONNECTION, CONTENT_TYPE, HOST, HeaderValue};
use axum::http::uri::{Authority, Uri};
use axum::http::{Method, Request};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kernel::CommandId;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::pace::Stream;
use crate::problem::MEDIA_TYPE;
use crate::request::IDEMPOTENCY_KEY;
use crate::tls::Trust;
use crate::{Papers, Problem, TlsError, tcp};

/// Longer answers are not read: pages are asked for in pieces.
const ANSWER_MAX: usize = 64 << 20;

/// Why an answer is not read.
pub(crate) const TOO_LONG: &str = "the answer is too long";

/// Over the server's own default of 30 s, so that its words arrive.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Before another try to get into the daemon's queue.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);

/// Asks one daemon. Each request has a connection of its own, and ends when its future is dropped.
#[derive(Clone, Debug)]
pub struct Client {
    way: Way,
    timeout: Duration,
}

/// How to get there.
#[derive(Clone, Debug)]
enum Way {
    Socket(PathBuf),
    Tcp { authority: Authority, trust: Option<(Trust, ServerName<'static>)> },
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(socket) => write!(f, "{}", socket.display()),
            Self::Tcp { authority, trust: None } => write!(f, "http://{authority}"),
            Self::Tcp { authority, trust: Some(_) } => write!(f, "https://{authority}"),
        }
    }
}

/// Why an address is none to ask. Worded for the one who gave it.
#[derive(Debug, thiserror::Error)]
pub enum AddressError {
    #[error("{address:?} is no address: write https://HOST:PORT")]
    Malformed { address: String },
    #[error("{address} is not under TLS and not this machine: a credential would go there for everybody to read")]
    Unprotected { address: String },
    #[error("{address} is believed by its certificate, and nobody is named who could have signed it")]
    NoAuthority { address: String },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why there is no answer. Worded for the one who asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("no daemon answers on {daemon}: {why}")]
    Unreachable { daemon: String, why: io::Error },
    /// Nothing was sent.
    #[error("what answers on {daemon} is not believed: {why}")]
    Unbelieved { daemon: String, why: String },
    /// The credential was not sent.
    #[error("the daemon on {} is run by user {uid}, neither you nor root; it might be there to steal your credential", .socket.display())]
    Stranger { socket: PathBuf, uid: u32 },
    #[error("{0}")]
    Refused(Box<Problem>),
    /// The request may have been carried out.
    #[error("no answer within {0:?}; the outcome is unknown")]
    TimedOut(Duration),
    /// The request may have been carried out.
    #[error("the answer cannot be read: {0}")]
    Protocol(String),
}

impl Client {
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { way: Way::Socket(socket.into()), timeout: TIMEOUT }
    }

    /// Over TCP: `https://HOST:PORT`, believed if an authority in the file `ca` has signed its certificate, or
    /// `http://HOST:PORT` on this machine.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn over_tcp(address: &str, ca: Option<&Path>) -> Result<Self, AddressError> {
        Self::over_tcp_as(address, ca, None)
    }

    /// The same, known there by a certificate, which is shown under TLS only.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub fn over_tcp_as(address: &str, ca: Option<&Path>, papers: Option<Papers<'_>>) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed { address: address.to_owned() };
        let uri: Uri = address.parse().map_err(|_| malformed())?;
        let authority = uri.authority().filter(|authority| authority.port_u16().is_some()).ok_or_else(malformed)?;
        if !["", "/"].contains(&uri.path()) || uri.query().is_some() || authority.as_str().contains('@') {
            return Err(malformed());
        }
        let trust = match (uri.scheme_str(), ca) {
            (Some("http"), _) if tcp::is_this_machine(authority.host()) => None,
            (Some("http"), _) => return Err(AddressError::Unprotected { address: address.to_owned() }),
            (Some("https"), Some(ca)) => {
                let name = ServerName::try_from(bare(authority.host()).to_owned()).map_err(|_| malformed())?;
                Some((Trust::in_authorities(ca, papers)?, name))
            }
            (Some("https"), None) => return Err(AddressError::NoAuthority { address: address.to_owned() }),
            _ => return Err(malformed()),
        };
        Ok(Self { way: Way::Tcp { authority: authority.clone(), trust }, timeout: TIMEOUT })
    }

    /// How long one request may take, from the connection to the last byte of the answer.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Asks for an action. `arguments` is an object.
    ///
    /// # Errors
    /// See [`ClientError`]. After [`TimedOut`](ClientError::TimedOut) and [`Protocol`](ClientError::Protocol), repeat with
    /// the same `command_id` to learn the outcome.
    pub async fn call(
        &self,
        action: &str,
        arguments: &Value,
        bearer: Option<&str>,
        command_id: Option<CommandId>,
    ) -> Result<Value, ClientError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("/v1/{action}"))
            .header(CONTENT_TYPE, "application/json");
        if let Some(secret) = bearer {
            let mut value = HeaderValue::try_from(format!("Bearer {secret}")).map_err(|_| {
                ClientError::Protocol("the credential has characters that no header can carry".to_owned())
            })?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        if let Some(id) = command_id {
            request = request.header(IDEMPOTENCY_KEY, id.to_string());
        }
        self.send(request, Bytes::from(arguments.to_string())).await
    }

    /// Asks for a page, such as `/v1/status`.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        self.send(Request::builder().uri(path), Bytes::new()).await
    }

    async fn send(&self, request: axum::http::request::Builder, body: Bytes) -> Result<Value, ClientError> {
        let host = match &self.way {
            Way::Socket(_) => "localhost",
            Way::Tcp { authority, .. } => authority.as_str(),
        };
        let request = request
            .header(HOST, host)
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close")
            .body(Full::new(body))
            .map_err(|error| ClientError::Protocol(format!("this cannot be asked over HTTP: {error}")))?;
        match tokio::time::timeout(self.timeout, self.exchange(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::TimedOut(self.timeout)),
        }
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Value, ClientError> {
        let unreachable = |why| ClientError::Unreachable { daemon: self.way.to_string(), why };
        let stream: Box<dyn Stream> = match &self.way {
            Way::Socket(socket) => {
                let stream = connect(socket).await.map_err(unreachable)?;
                let uid = stream.peer_cred().map_err(unreachable)?.uid();
                let ours = uid == 0 || uid == rustix::process::geteuid().as_raw();
                if request.headers().contains_key(AUTHORIZATION) && !ours {
                    return Err(ClientError::Stranger { socket: socket.clone(), uid });
                }
                Box::new(stream)
            }
            Way::Tcp { authority, trust } => {
                let place = (bare(authority.host()), authority.port_u16().unwrap_or_default());
                let trust = trust.as_ref().map(|(trust, name)| (trust, name.clone()));
                reached(place, trust).await.map_err(|why| match unbelieved(&why) {
                    Some(why) => ClientError::Unbelieved { daemon: self.way.to_string(), why },
                    None => unreachable(why),
                })?
            }
        };
        let (head, body) = asked(stream, request, ANSWER_MAX).await.map_err(ClientError::Protocol)?;
        answer(&head, &body)
    }
}

/// A connection over TCP, under TLS if a name is to be proven.
pub(crate) async fn reached(
    place: (&str, u16),
    trust: Option<(&Trust, ServerName<'static>)>,
) -> io::Result<Box<dyn Stream>> {
    let stream = TcpStream::connect(place).await?;
    let _ = stream.set_nodelay(true);
    Ok(match trust {
        None => Box::new(stream),
        Some((Trust(tls), name)) => Box::new(tls.connect(name, stream).await?),
    })
}

/// Why the certificate that was shown is not believed, if that is what is wrong.
fn unbelieved(why: &io::Error) -> Option<String> {
    match why.get_ref()?.downcast_ref()? {
        error @ rustls::Error::InvalidCertificate(_) => Some(error.to_string()),
        _ => None,
    }
}

/// One request over a connection, and an answer that is no longer than `longest`; or why there is none.
pub(crate) async fn asked(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    longest: usize,
) -> Result<(axum::http::response::Parts, Bytes), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let mut connection = pin!(connection);
    let mut answered = pin!(async move {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (head, body) = response.into_parts();
        let collected = Limited::new(body, longest).collect().await;
        let body = collected
            .map_err(|error| if error.is::<LengthLimitError>() { TOO_LONG.to_owned() } else { error.to_string() })?;
        Ok((head, body.to_bytes()))
    });
    // The connection moves the bytes, here and not in a task of its own, so that nothing is left when this is dropped.
    tokio::select! {
        biased;
        answer = &mut answered => return answer,
        _ = &mut connection => {}
    }
    answered.await
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    loop {
        match UnixStream::connect(socket).await {
            // The daemon is alive, and its queue is full.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::time::sleep(QUEUE_PAUSE).await,
            connected => return connected,
        }
    }
}

/// Without the brackets that an IPv6 address wears beside a port.
pub(crate) fn bare(host: &str) -> &str {
    host.trim_start_matches('[').trim_end_matches(']')
}

fn broken(error: hyper::Error) -> String {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    format!("{error}{cause}")
}

fn answer(head: &axum::http::response::Parts, body: &[u8]) -> Result<Value, ClientError> {
    let read = |error: serde_json::Error| ClientError::Protocol(format!("status {}, and {error}", head.status));
    if head.status.is_success() {
        return serde_json::from_slice(body).map_err(read);
    }
    let media_type = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    if media_type != Some(MEDIA_TYPE.as_bytes()) {
        return Err(ClientError::Protocol(format!("status {} without a problem document", head.status)));
    }
    Err(ClientError::Refused(Box::new(serde_json::from_slice(body).map_err(read)?)))
}
