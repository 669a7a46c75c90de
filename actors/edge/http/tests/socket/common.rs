//! An [`Api`] to be served in tests, and a client that can send what no proper client would.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::{ActionInfo, Answer, Api, Arguments, Call, HttpActor, Limits, Msg, Refused, Tcp};
use kernel::{CommandId, Denial, Layer, Millis, Timestamp};
use ractor::concurrency::JoinHandle;
use ractor::{Actor, ActorRef};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::{Mutex, Semaphore};

pub const SECRET: &str = "sop_a-very-secret-secret";

pub const DECISION: CommandId = CommandId(0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_398f);

/// Answers `echo.*` with what it was asked, refuses as told, and waits as long as it is told to.
#[derive(Default)]
pub struct Fake {
    pub down: bool,
    /// What `{call:?}` shows of each call.
    pub shown: Mutex<Vec<String>>,
    /// A permit for each `wait.begin` that has begun.
    pub begun: Gate,
    /// `wait.begin` ends when it gets a permit.
    pub open: Gate,
    /// A permit for each `wait.begin` that was dropped before its end.
    pub dropped: Gate,
}

/// A semaphore that starts closed.
pub struct Gate(Arc<Semaphore>);

impl Default for Gate {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(0)))
    }
}

impl Gate {
    pub fn open(&self) {
        self.0.add_permits(1);
    }

    pub async fn pass(&self) {
        self.0.acquire().await.unwrap().forget();
    }
}

struct OnDrop<'a>(Option<&'a Gate>);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        if let Some(gate) = self.0 {
            gate.open();
        }
    }
}

impl Api for Fake {
    fn actions(&self) -> Vec<ActionInfo> {
        let action = |name, reads_only| ActionInfo { name, reads_only, summary: "for tests" };
        vec![
            action("echo.read", true),
            action("echo.write", false),
            action("refuse", false),
            action("wait.begin", false),
            action("wait.read", true),
            action("panic", false),
            action("large.read", true),
        ]
    }

    fn call(&self, call: Call) -> Answer<'_> {
        Box::pin(async move {
            self.shown.lock().await.push(format!("{call:?}"));
            match call.action.as_str() {
                "refuse" => {
                    let text = |name: &str| call.arguments[name].as_str().unwrap_or_default().to_owned();
                    let layer = Layer::ALL.into_iter().find(|layer| layer.as_str() == text("layer")).unwrap();
                    let denial = Denial::new(layer, &text("code"), "it is so", "do otherwise").rule("some.rule");
                    Err(Refused::new(denial.retry_after(Millis(2_500)), Some(DECISION)))
                }
                "wait.begin" | "wait.read" => {
                    let mut guard = OnDrop(Some(&self.dropped));
                    self.begun.open();
                    self.open.pass().await;
                    guard.0 = None;
                    Ok(json!({ "waited": true }))
                }
                // More than the kernel holds between two ends of a socket.
                "large.read" => Ok(json!("x".repeat(8 << 20))),
                "panic" => panic!("a fault in the fake"),
                _ => {
                    let mut answer = json!({
                        "action": call.action,
                        "arguments": call.arguments,
                        "bearer": call.bearer,
                        "command_id": call.command_id,
                        "source": format!("{:?}", call.source),
                    });
                    if let Some(shown) = call.certificate.as_deref() {
                        answer["certificate"] = json!({
                            "fingerprint": shown.fingerprint,
                            "authorities": shown.authorities,
                            "names": shown.names,
                            "until": shown.until,
                        });
                    }
                    Ok(answer)
                }
            }
        })
    }

    fn ready(&self) -> Result<(), Denial> {
        if self.down {
            return Err(Denial::new(Layer::Decide, "journal.down", "the journal is down", "see sop status"));
        }
        Ok(())
    }

    fn status(&self) -> Value {
        json!({ "name": "fake" })
    }

    fn health(&self) -> Value {
        json!({ "phase": if self.down { "unready" } else { "ready" } })
    }

    fn metrics(&self) -> String {
        "# TYPE fake_up gauge\nfake_up 1\n".to_owned()
    }
}

/// A served fake in a directory of its own.
pub struct Served {
    pub api: Arc<Fake>,
    pub actor: ActorRef<Msg>,
    pub ended: JoinHandle<()>,
    pub socket: PathBuf,
    pub directory: TempDir,
}

pub async fn serve(limits: Limits) -> Served {
    serve_fake(Fake::default(), limits).await
}

pub async fn serve_fake(fake: Fake, limits: Limits) -> Served {
    let directory = tempfile::tempdir().unwrap();
    let (socket, api) = (directory.path().join("run/sock"), Arc::new(fake));
    let (actor, ended) = start(&socket, &api, limits).await.unwrap();
    Served { api, actor, ended, socket, directory }
}

pub async fn start(
    socket: &Path,
    api: &Arc<Fake>,
    limits: Limits,
) -> Result<(ActorRef<Msg>, JoinHandle<()>), ractor::SpawnErr> {
    start_with(socket, None, api, limits).await
}

pub async fn start_with(
    socket: &Path,
    tcp: Option<Tcp>,
    api: &Arc<Fake>,
    limits: Limits,
) -> Result<(ActorRef<Msg>, JoinHandle<()>), ractor::SpawnErr> {
    let arguments = Arguments { socket: socket.to_owned(), tcp, api: api.clone(), limits };
    Actor::spawn(None, HttpActor, arguments).await
}

pub fn command_id(number: u8) -> CommandId {
    CommandId::new(Timestamp(1_790_000_000_000), [number; 10])
}

/// What came back, byte by byte.
#[derive(Debug)]
pub struct Raw {
    pub status: u16,
    /// In lower case, one line each.
    pub headers: String,
    pub body: Vec<u8>,
}

impl Raw {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn has(&self, header: &str) -> bool {
        self.headers.lines().any(|line| line == header)
    }
}

/// Sends `bytes` as they are, and reads until the other side closes.
pub async fn raw(socket: &Path, bytes: &[u8]) -> Raw {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    read(&mut stream).await
}

pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Raw {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head ends in an empty line");
    let head = String::from_utf8(answer[..end].to_vec()).unwrap().to_ascii_lowercase();
    let (line, headers) = head.split_once("\r\n").unwrap_or((&head, ""));
    let status = line.split(' ').nth(1).unwrap().parse().unwrap();
    Raw { status, headers: headers.replace("\r\n", "\n"), body: answer[end + 4..].to_vec() }
}

/// A request of one piece, after which the connection closes.
pub fn request(line: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{line} HTTP/1.1\r\nHost: sop\r\nConnection: close\r\n").into_bytes();
    for header in headers {
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(b"\r\n");
    }
    if !body.is_empty() {
        bytes.extend_from_slice(format!("Content-Length: {}\r\n", body.len()).as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body);
    bytes
}
