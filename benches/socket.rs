//! What deciding costs over the socket: decisions with a durable audit record, against the same server answering a constant.
//!
//! Ours is a whole authority with its API on a Unix socket: each request is parsed, authenticated, admitted, judged by the
//! active policy, recorded and synced, and answered. The peer is the same server with an [`Api`] behind it that answers
//! every call with one constant: the same sockets, parsing, routing and encoding, and no journal. Both have the same
//! closed-loop clients in the same process, each with a connection that it keeps, which write one request of fixed bytes and
//! read its answer.
//!
//! See [`pairs`] for how the figure comes about. `--ours 64` runs our side alone, for a profiler.

use std::path::Path;
use std::sync::{Arc, Mutex};

use http::{ActionInfo, Answer, Api, Call, Limits, Listeners, Server};
use kernel::Denial;
use kit::{Authority, Line, STARTER};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

mod pairs;

use pairs::{MEASURED, Run, conditions, load, median, ratio};

/// The daemon's own; the peer gets it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CLIENTS: [usize; 3] = [1, 64, 256];

/// What is asked, and what the answer must hold on both sides.
struct Question {
    name: &'static str,
    path: &'static str,
    body: &'static str,
    answered: &'static str,
}

const QUESTIONS: [Question; 2] = [
    // Decided once: whether the caller may have it.
    Question { name: "a request", path: "/v1/gap.list", body: "{}", answered: "gaps" },
    // Decided twice: whether the caller may ask, and what was asked.
    Question {
        name: "an evaluation",
        path: "/access/v1/evaluation",
        body: r#"{"subject":{"type":"agent","id":"alpha"},"action":{"name":"todo.list"},"resource":{"type":"Todo","id":"*"}}"#,
        answered: "decision",
    },
];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(clients) = std::env::args().skip_while(|argument| argument != "--ours").nth(1) {
        let clients = clients.parse().expect("--ours takes a number of clients");
        for _ in 0..5 {
            for question in &QUESTIONS {
                println!("{}: {:.0}/s", question.name, runtime.block_on(ours(question, clients)).per_second);
            }
        }
        return;
    }
    let pairs = pairs::pairs();
    println!(
        "decisions per second over a Unix socket; ours: judged, recorded, durable; peer: the same server, a constant"
    );
    println!("{pairs} interleaved pairs of {MEASURED:?}; {}", conditions());
    println!(
        "{:>7}  {:>21}  {:>9} {:>9}  {:>17}  {:>17}  {:>10}",
        "clients", "ratio (min..max)", "ours/s", "peer/s", "ours p50/p99 µs", "peer p50/p99 µs", "cpu µs o/p"
    );
    for question in &QUESTIONS {
        println!("{}: POST {} {}", question.name, question.path, question.body);
        for clients in CLIENTS {
            let measure = |pair| runtime.block_on(measure(question, clients, pair % 2 == 0));
            let pairs: Vec<_> = (0..pairs).map(measure).collect();
            println!("{}", row(clients, &pairs));
        }
    }
    println!("after: {}", conditions());
}

async fn measure(question: &'static Question, clients: usize, ours_first: bool) -> (Run, Run) {
    if ours_first {
        let ours = ours(question, clients).await;
        (ours, peer(question, clients).await)
    } else {
        let peer = peer(question, clients).await;
        (ours(question, clients).await, peer)
    }
}

fn row(clients: usize, pairs: &[(Run, Run)]) -> String {
    let micros = |of: &dyn Fn(&(Run, Run)) -> std::time::Duration| median(pairs, |pair| of(pair).as_secs_f64() * 1e6);
    format!(
        "{clients:>7}  {:>21}  {:>9.0} {:>9.0}  {:>17}  {:>17}  {:>10}",
        ratio(pairs, |run| run.per_second),
        median(pairs, |(ours, _)| ours.per_second),
        median(pairs, |(_, peer)| peer.per_second),
        format!("{:.0}/{:.0}", micros(&|(ours, _)| ours.p50), micros(&|(ours, _)| ours.p99)),
        format!("{:.0}/{:.0}", micros(&|(_, peer)| peer.p50), micros(&|(_, peer)| peer.p99)),
        format!("{:.1}/{:.1}", median(pairs, |(ours, _)| ours.cpu_micros), median(pairs, |(_, peer)| peer.cpu_micros)),
    )
}

async fn ours(question: &'static Question, clients: usize) -> Run {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let authority =
        Authority::start(dir.path(), "[door.limits]\nrequests_per_second = 1000000\nburst = 1000000\n").await;
    let secret = authority.root.expose().to_owned();
    let asked = async |action, arguments| {
        let id = authority.parts.clock.command_id();
        authority.ask(action, &arguments, &secret, id).await.unwrap_or_else(|lost| panic!("{action}: {lost:?}"))
    };
    let proposed = asked("policy.propose", json!({ "text": STARTER })).await;
    asked("policy.activate", json!({ "epoch": proposed["epoch"] })).await;
    let run = loaded(question, clients, &dir.path().join("run/sock"), &secret).await;
    authority.stop().await;
    run
}

async fn peer(question: &'static Question, clients: usize) -> Run {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let path = dir.path().join("socket");
    let socket = UnixListener::bind(&path).expect("it is free");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(Arc::new(Constant(question)), Limits::default());
    let mut serving = JoinSet::new();
    serving.spawn(server.serve(Listeners { socket, tcp: None }, async { drop(stopped.await) }));
    let run = loaded(question, clients, &path, &"0".repeat(64)).await;
    drop(stop);
    serving.join_all().await;
    run
}

/// So many clients, each with a connection of its own.
async fn loaded(question: &'static Question, clients: usize, socket: &Path, secret: &str) -> Run {
    let Question { path, body, answered, .. } = *question;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {secret}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let request: Arc<[u8]> = request.into_bytes().into();
    let mut open = Vec::with_capacity(clients);
    for _ in 0..clients {
        open.push(Connection { stream: UnixStream::connect(socket).await.expect("it listens"), read: Vec::new() });
    }
    let open = Arc::new(Mutex::new(open));
    let ask = move || {
        let (request, open) = (request.clone(), open.clone());
        async move {
            let taken = open.lock().expect("nobody panics with it").pop();
            let mut connection = taken.expect("one for each client");
            connection.ask(&request, answered).await;
            open.lock().expect("nobody panics with it").push(connection);
        }
    };
    load(clients, ask).await.0
}

struct Connection {
    stream: UnixStream,
    read: Vec<u8>,
}

impl Connection {
    async fn ask(&mut self, request: &[u8], answered: &str) {
        self.stream.write_all(request).await.expect("it is open");
        self.read.clear();
        loop {
            assert!(self.stream.read_buf(&mut self.read).await.expect("it is open") != 0, "it was closed");
            if let Some(length) = whole(&self.read) {
                assert_eq!(length, self.read.len(), "one answer to one request");
                break;
            }
        }
        assert!(self.read.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&self.read));
        assert!(self.read.windows(answered.len()).any(|part| part == answered.as_bytes()));
    }
}

/// The length of the answer that these bytes begin with, once all of it is there.
fn whole(read: &[u8]) -> Option<usize> {
    let head = read.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&read[..head]).expect("a head is text");
    let length = text.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("it has a length");
    let length = head + length.parse::<usize>().expect("a number");
    (length <= read.len()).then_some(length)
}

/// About as long as our answer, and known before it is asked for.
struct Constant(&'static Question);

impl Api for Constant {
    fn actions(&self) -> Vec<ActionInfo> {
        let info = |name| ActionInfo { name, reads_only: true, summary: "Answer a constant" };
        ["gap.list", "authz.evaluate"].map(info).into()
    }

    fn call(&self, _: Call) -> Answer<'_> {
        let answered = self.0.answered;
        Box::pin(async move { Ok(json!({ answered: false, "context": { "code": "policy.not_permitted" } })) })
    }

    fn ready(&self) -> Result<(), Denial> {
        Ok(())
    }

    fn status(&self) -> Value {
        Value::Null
    }

    fn health(&self) -> Value {
        Value::Null
    }

    fn metrics(&self) -> String {
        String::new()
    }
}
