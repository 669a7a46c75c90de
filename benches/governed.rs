//! What governing costs: durable governed commands per second, against fjall's own group commit in the same run.
//!
//! Ours is the whole write path without the door: `Handle::execute` of a machine in a real tree, with the outcome index,
//! decide, evolve, an envelope with principal, decision and token use, the hash chain, the index by stream, a view, and the
//! answer kept for repeats. The peer is the least that is durable: callers hand 256 bytes to one committer thread, which
//! drains its queue into one `WriteBatch` with `SyncData`, one insert under a `u64` key each, and acknowledges over a
//! oneshot. Both have the same closed-loop callers on the same runtime, and a fresh store on the same disk for each run.
//!
//! The figure is the median over pairs of (ours / peer), the two of a pair back to back and in alternating order, so that
//! what else the machine does falls on both. `--quick` takes fewer pairs; `--ours 256` runs our side alone, for a profiler.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use fjall::{Database, KeyspaceCreateOptions, PersistMode};
use host::{Clock, Handle, Limits, Order, View};
use journal::{Journal, Keeper};
use kernel::{
    Context, Decision, Kind, Machine, Outcome, Position, Reader, Recorded, Refuse, TokenId, TokenUse, Writer,
};
use serde::{Deserialize, Serialize};
use supervisors::{Child, ChildRef, Strategy, Supervisor, Tree};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// The daemon's own; the peer gets it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CALLERS: [usize; 4] = [1, 64, 256, 1_024];
const FACT_BYTES: usize = 256;
const WARM_UP: Duration = Duration::from_millis(200);
const MEASURED: Duration = Duration::from_secs(1);
/// As many as the journal takes into one group.
const GROUP_MAX: usize = 4_096;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(callers) = std::env::args().skip_while(|argument| argument != "--ours").nth(1) {
        let callers = callers.parse().expect("--ours takes a number of callers");
        for _ in 0..5 {
            println!("{:.0}/s", runtime.block_on(ours(callers)).per_second);
        }
        return;
    }
    let quick = std::env::args().any(|argument| argument == "--quick");
    let pairs = if quick { 3 } else { 9 };
    println!("durable commands per second of {FACT_BYTES} bytes; ours: governed, peer: fjall batch with SyncData");
    println!("{pairs} interleaved pairs of {MEASURED:?}; {}", conditions());
    println!(
        "{:>7}  {:>21}  {:>9} {:>9}  {:>15}  {:>15}  {:>12}  {:>10}",
        "callers",
        "ratio (min..max)",
        "ours/s",
        "peer/s",
        "ours p50/p99 ms",
        "peer p50/p99 ms",
        "per sync o/p",
        "cpu µs o/p"
    );
    for callers in CALLERS {
        let pairs: Vec<_> = (0..pairs).map(|pair| runtime.block_on(measure(callers, pair % 2 == 0))).collect();
        println!("{}", row(callers, &pairs));
    }
    println!("after: {}", conditions());
}

/// One run of one side.
struct Run {
    per_second: f64,
    p50: Duration,
    p99: Duration,
    per_sync: f64,
    /// Of the whole process, per command: what is left of a figure when the machine is shared.
    cpu_micros: f64,
}

async fn measure(callers: usize, ours_first: bool) -> (Run, Run) {
    if ours_first {
        let ours = ours(callers).await;
        (ours, peer(callers).await)
    } else {
        let peer = peer(callers).await;
        (ours(callers).await, peer)
    }
}

fn row(callers: usize, pairs: &[(Run, Run)]) -> String {
    let ratios = sorted(pairs.iter().map(|(ours, peer)| ours.per_second / peer.per_second));
    let median = |figure: &dyn Fn(&(Run, Run)) -> f64| middle(&sorted(pairs.iter().map(figure)));
    let ms = |p50: &dyn Fn(&(Run, Run)) -> Duration, p99: &dyn Fn(&(Run, Run)) -> Duration| {
        let ms = |of: &dyn Fn(&(Run, Run)) -> Duration| median(&|pair| of(pair).as_secs_f64() * 1e3);
        format!("{:.2}/{:.2}", ms(p50), ms(p99))
    };
    format!(
        "{callers:>7}  {:>21}  {:>9.0} {:>9.0}  {:>15}  {:>15}  {:>12}  {:>10}",
        format!("{:.2} ({:.2}..{:.2})", middle(&ratios), ratios[0], ratios[ratios.len() - 1]),
        median(&|(ours, _)| ours.per_second),
        median(&|(_, peer)| peer.per_second),
        ms(&|(ours, _)| ours.p50, &|(ours, _)| ours.p99),
        ms(&|(_, peer)| peer.p50, &|(_, peer)| peer.p99),
        format!("{:.0}/{:.0}", median(&|(ours, _)| ours.per_sync), median(&|(_, peer)| peer.per_sync)),
        format!("{:.1}/{:.1}", median(&|(ours, _)| ours.cpu_micros), median(&|(_, peer)| peer.cpu_micros)),
    )
}

fn sorted(figures: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures
}

fn middle(sorted: &[f64]) -> f64 {
    sorted[sorted.len() / 2]
}

/// Runs `callers` loops of `ask` and notes what is answered once all are warm. `counted` gives commands and syncs.
async fn load<A, F>(callers: usize, ask: A, counted: impl Fn() -> (u64, u64)) -> Run
where
    A: Fn() -> F + Clone + Send + 'static,
    F: Future<Output = ()> + Send,
{
    let from = Instant::now() + WARM_UP;
    let until = from + MEASURED;
    let cpu = cpu_micros();
    let mut asking = JoinSet::new();
    for _ in 0..callers {
        let ask = ask.clone();
        asking.spawn(async move {
            let mut waits = Vec::new();
            loop {
                let asked = Instant::now();
                ask().await;
                let answered = Instant::now();
                if until <= answered {
                    return waits;
                }
                if from <= answered {
                    waits.push(answered - asked);
                }
            }
        });
    }
    let mut waits = asking.join_all().await.concat();
    let cpu = cpu_micros() - cpu;
    waits.sort_unstable();
    let (commands, syncs) = counted();
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let (answered, answered_in_all, per_sync) = (waits.len() as f64, commands as f64, commands as f64 / syncs as f64);
    Run {
        per_second: answered / MEASURED.as_secs_f64(),
        p50: waits[waits.len() / 2],
        p99: waits[waits.len() * 99 / 100],
        per_sync,
        cpu_micros: cpu / answered_in_all,
    }
}

fn store() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build")
}

async fn ours(callers: usize) -> Run {
    let dir = store();
    let (journal, clock) = (Journal::new(dir.path(), journal::Limits::default()), Clock::system());
    let view = Arc::new(Newest::default());
    let limits = Limits { outcomes: 10_000_000, ..Limits::default() };
    let notes = Handle::<Notes>::new(&journal, &clock, limits, Some(view));
    let (kept, keeper) = (journal.clone(), ChildRef::new("journal"));
    let root = Supervisor::new("root", Strategy::RestForOne)
        .child(Child::actor(&keeper, move || (Keeper, kept.clone())))
        .child(notes.child());
    let tree = Tree::start(root, 1).await.expect("the tree starts");

    let token = TokenUse { token: TokenId(7), number: 1 };
    let policies = vec!["agents-may-note".to_owned()];
    let decision = Decision { policy_epoch: 3, policies, generation: 9, token: Some(token) };
    let ask = move || {
        let order = Order {
            command: Note { text: text() },
            command_id: clock.command_id(),
            principal: "agent/alpha".parse().expect("a principal"),
            decision: decision.clone(),
            cause: None,
        };
        let notes = notes.clone();
        async move {
            notes.execute(order).await.expect("an answer").outcome.expect("notes are always taken");
        }
    };
    let counted = || {
        let figures = journal.figures();
        (figures.records.load(Ordering::Relaxed), figures.groups.load(Ordering::Relaxed))
    };
    let run = load(callers, ask, counted).await;
    tree.shutdown(Duration::from_mins(1)).await;
    run
}

fn text() -> String {
    "n".repeat(FACT_BYTES)
}

/// A record for the peer, and whom to tell.
type Job = (Vec<u8>, oneshot::Sender<()>);

async fn peer(callers: usize) -> Run {
    let dir = store();
    let (queue, jobs): (Sender<Job>, Receiver<Job>) = channel();
    let figures = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
    let (path, counts) = (dir.path().to_owned(), figures.clone());
    #[expect(clippy::disallowed_methods, reason = "the peer's committer waits for the disk, as ours does")]
    let committer = std::thread::spawn(move || commit(&path, &jobs, &counts));
    let ask = move || {
        let (tell, told) = oneshot::channel();
        queue.send((text().into_bytes(), tell)).expect("the committer runs");
        async move { told.await.expect("an acknowledgement") }
    };
    let counted = || (figures.0.load(Ordering::Relaxed), figures.1.load(Ordering::Relaxed));
    let run = load(callers, ask, counted).await;
    committer.join().expect("the committer ends with its queue");
    run
}

fn commit(path: &Path, jobs: &Receiver<Job>, (records, groups): &(AtomicU64, AtomicU64)) {
    let database = Database::builder(path).open().expect("a store");
    let keyspace = database.keyspace("records", KeyspaceCreateOptions::default).expect("a keyspace");
    let mut key = 0_u64;
    while let Ok(first) = jobs.recv() {
        let mut batch = database.batch().durability(Some(PersistMode::SyncData));
        let mut told = Vec::new();
        for (value, tell) in std::iter::once(first).chain(jobs.try_iter().take(GROUP_MAX - 1)) {
            key += 1;
            batch.insert(&keyspace, key.to_be_bytes(), value);
            told.push(tell);
        }
        batch.commit().expect("a commit");
        records.fetch_add(told.len() as u64, Ordering::Relaxed);
        groups.fetch_add(1, Ordering::Relaxed);
        for tell in told {
            // A caller may have gone home at the end of the run.
            let _ = tell.send(());
        }
    }
}

/// What the kernel says of this process, field by field as proc(5) counts them, from 1.
fn stat(field: usize) -> i64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second is a name in brackets that may hold anything.
    let rest = stat.rsplit(") ").next().unwrap_or_default();
    rest.split(' ').nth(field - 3).and_then(|number| number.parse().ok()).unwrap_or(-1)
}

/// Processor time spent so far, in user and kernel; the kernel counts in hundredths of a second.
fn cpu_micros() -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let ticks = (stat(14) + stat(15)) as f64;
    ticks * 10_000.0
}

/// Load average and scheduling class: what the figures depend on besides the code.
fn conditions() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let class = match stat(41) {
        0 => "other",
        1 => "fifo",
        2 => "rr",
        3 => "batch",
        5 => "idle",
        _ => "unknown",
    };
    let nice = stat(19);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, load {load}, scheduling class {class}, nice {nice}")
}

/// The smallest machine that keeps facts.
#[derive(Default, Serialize)]
struct Notes {
    taken: u64,
}

#[derive(Serialize)]
struct Note {
    text: String,
}

#[derive(Clone)]
enum Event {
    Noted(NotedV1),
}

#[derive(Clone, Serialize, Deserialize)]
struct NotedV1 {
    text: String,
}

const NOTED: Kind = Kind { id: 990, version: 1, name: "bench.noted" };

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[NOTED];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        let Self::Noted(body) = self;
        writer.put(NOTED, body)
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (990, 1) => reader.get().map(Self::Noted),
            _ => Err(reader.unknown()),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("the book is full")]
struct Full;

impl Refuse for Full {
    fn code(&self) -> &'static str {
        "bench.full"
    }

    fn remedy(&self) -> String {
        "write less".to_owned()
    }
}

impl Machine for Notes {
    const NAME: &'static str = "notes";
    const REVISION: u32 = 1;

    type Command = Note;
    type Event = Event;
    type Reply = u64;
    type Refusal = Full;

    fn decide(&self, command: &Note, _: &Context) -> Result<Outcome<Self>, Full> {
        let number = self.taken.checked_add(1).ok_or(Full)?;
        Ok(Outcome::new(vec![Event::Noted(NotedV1 { text: command.text.clone() })], number))
    }

    fn evolve(&mut self, _: &Event, _: Position) {
        self.taken += 1;
    }
}

#[derive(Default)]
struct Newest(AtomicU64);

impl View<Notes> for Newest {
    fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    fn apply(&self, _: &Event, at: Position) {
        self.0.store(at.0, Ordering::Relaxed);
    }
}
