//! An object store for tests: `s3s-fs` on a directory, on a port of this machine, and in front of it what makes it fail.
//!
//! The server is another project's, so that what is tested is the protocol and not our idea of it. It looks and writes in
//! two steps where the protocol promises one, so puts pass the front one at a time.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::S3;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s_fs::FileSystem;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

const CERTIFICATE: &str = "certificate.pem";

pub const BUCKET: &str = "backups";
pub const ID: &str = "an-id-for-tests";
pub const SECRET: &str = "a-secret-for-tests";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Answered with this status and code, and not done.
    Status(u16, &'static str),
    /// Done, and answered as if it were not.
    DoneBut(u16),
    /// Never answered.
    Silent,
    /// The answer ends in the midst of its body.
    Truncated,
    /// The connection ends without an answer.
    Closed,
}

/// What is asked about each request, and its number from 0: its method and its path.
type Judge = Box<dyn FnMut(usize, &str, &str) -> Option<Fault> + Send>;

#[derive(Default)]
struct Front {
    judge: Option<Judge>,
    seen: VecDeque<String>,
    /// One put at a time.
    puts: Arc<tokio::sync::Mutex<()>>,
}

/// A server that runs until it is dropped.
pub struct Store {
    address: SocketAddr,
    front: Arc<Mutex<Front>>,
    home: Arc<TempDir>,
    tls: Option<TlsAcceptor>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// With an empty bucket.
    pub fn new() -> Self {
        let home = TempDir::new().expect("a directory for the objects");
        std::fs::create_dir(home.path().join(BUCKET)).expect("the directory is ours");
        Self::at(Arc::new(home), SocketAddr::from(([127, 0, 0, 1], 0)), None)
    }

    /// The same under TLS, with a certificate of its own, which lies at [`Store::certificate`].
    pub fn under_tls() -> Self {
        let home = TempDir::new().expect("a directory for the objects");
        std::fs::create_dir(home.path().join(BUCKET)).expect("the directory is ours");
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        std::fs::write(home.path().join(CERTIFICATE), made.cert.pem()).expect("the directory is ours");
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider knows them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("they belong together");
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Self::at(Arc::new(home), address, Some(TlsAcceptor::from(Arc::new(tls))))
    }

    /// What whoever speaks to it under TLS has to believe.
    pub fn certificate(&self) -> PathBuf {
        self.home.path().join(CERTIFICATE)
    }

    fn at(home: Arc<TempDir>, address: SocketAddr, tls: Option<TlsAcceptor>) -> Self {
        let front = Arc::<Mutex<Front>>::default();
        let objects = FileSystem::new(home.path()).expect("a directory that is there");
        let (tell, told) = std::sync::mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let (shared, acceptor) = (front.clone(), tls.clone());
        #[expect(clippy::disallowed_methods, reason = "a server of its own, joined when it is dropped")]
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async move {
                let listener = TcpListener::bind(address).await.expect("a port of this machine");
                tell.send(listener.local_addr().expect("it is bound")).expect("its maker waits");
                tokio::select! {
                    () = serve(&listener, acceptor.as_ref(), objects, &shared) => {}
                    _ = stopped => {}
                }
            });
        });
        let address = told.recv().expect("the server tells where it listens");
        Self { address, front, home, tls, stop: Some(stop), thread: Some(thread) }
    }

    /// The same objects at the same address, after [`Store::stop`].
    pub fn again(&self) -> Self {
        Self::at(self.home.clone(), self.address, self.tls.clone())
    }

    /// Ends all its connections, and listens no more.
    pub fn stop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // It has ended by itself, perhaps.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server does not panic");
        }
    }

    pub fn endpoint(&self) -> String {
        match self.tls {
            None => format!("http://{}", self.address),
            Some(_) => format!("https://localhost:{}", self.address.port()),
        }
    }

    /// Where an object lies on the disk.
    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(BUCKET).join(name)
    }

    /// A file for credentials, for its owner alone.
    pub fn credentials(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Decides from now on what becomes of requests.
    pub fn judged(&self, judge: impl FnMut(usize, &str, &str) -> Option<Fault> + Send + 'static) {
        let mut front = self.front();
        front.seen.clear();
        front.judge = Some(Box::new(judge));
    }

    /// Nothing fails any more. Answers with what was asked since the judge came.
    pub fn well(&self) -> Vec<String> {
        let mut front = self.front();
        front.judge = None;
        front.seen.drain(..).collect()
    }

    fn front(&self) -> MutexGuard<'_, Front> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Every file below a directory, by its name from there.
pub fn below(directory: &Path) -> Vec<String> {
    let (mut found, mut left) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("a readable directory").path();
            if path.is_dir() {
                left.push(path);
            } else {
                let name = path.strip_prefix(directory).expect("it is below").to_string_lossy().into_owned();
                found.push(name);
            }
        }
    }
    found.sort_unstable();
    found
}

async fn serve(listener: &TcpListener, tls: Option<&TlsAcceptor>, objects: impl S3, front: &Arc<Mutex<Front>>) {
    let mut builder = S3ServiceBuilder::new(objects);
    builder.set_auth(SimpleAuth::from_single(ID, SECRET));
    let service = builder.build();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let (service, front) = (service.clone(), front.clone());
        let answer = service_fn(move |request| pass(service.clone(), front.clone(), request));
        let tls = tls.cloned();
        let connection = async move {
            // Who does not like the certificate, goes.
            match tls {
                None => drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await),
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else { return };
                    drop(http1::Builder::new().serve_connection(TokioIo::new(stream), answer).await);
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with the runtime of the server")]
        tokio::spawn(connection);
    }
}

async fn pass(
    service: S3Service,
    front: Arc<Mutex<Front>>,
    request: Request<Incoming>,
) -> Result<Response<Answer>, Closed> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (fault, puts) = {
        let mut front = front.lock().unwrap_or_else(PoisonError::into_inner);
        let number = front.seen.len();
        let fault = front.judge.as_mut().and_then(|judge| judge(number, method.as_str(), &path));
        front.seen.push_back(format!("{method} {path}"));
        (fault, front.puts.clone())
    };
    match fault {
        Some(Fault::Status(status, code)) => return Ok(refused(status, code)),
        Some(Fault::Closed) => return Err(Closed),
        Some(Fault::Silent) => std::future::pending().await,
        Some(Fault::DoneBut(_) | Fault::Truncated) | None => {}
    }
    let answered = {
        let _alone = if method == Method::PUT { Some(puts.lock().await) } else { None };
        let request = request.map(s3s::Body::from);
        service.call(request).await.map_err(|_| Closed)?
    };
    let (mut parts, body) = answered.into_parts();
    let bytes = body.collect().await.map_err(|_| Closed)?.to_bytes();
    match fault {
        Some(Fault::DoneBut(status)) => Ok(refused(status, "InternalError")),
        Some(Fault::Truncated) => {
            parts.headers.insert("content-length", bytes.len().into());
            Ok(Response::from_parts(parts, Answer::of(bytes.slice(..bytes.len() / 2), true)))
        }
        _ => Ok(Response::from_parts(parts, Answer::of(bytes, false))),
    }
}

fn refused(status: u16, code: &str) -> Response<Answer> {
    let text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><Error><Code>{code}</Code><Message>a test</Message></Error>"
    );
    let mut response = Response::new(Answer::of(Bytes::from(text), false));
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    response
}

/// The body of an answer.
struct Answer {
    left: Option<Bytes>,
    /// The connection ends after it, whatever its length was said to be.
    cut: bool,
    /// It was waited for what came before to be sent.
    sent: bool,
}

impl Answer {
    fn of(bytes: Bytes, cut: bool) -> Self {
        Self { left: Some(bytes), cut, sent: false }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Closed;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Closed>>> {
        match self.left.take() {
            Some(bytes) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
            None if !self.cut => Poll::Ready(None),
            None if self.sent => Poll::Ready(Some(Err(Closed))),
            None => {
                self.sent = true;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

/// Ends the connection.
#[derive(Debug)]
struct Closed;

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection ends here")
    }
}

impl std::error::Error for Closed {}
