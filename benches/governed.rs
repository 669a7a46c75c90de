//! What governing costs: durable governed commands per second, against fjall's own group commit in the same run.
//!
//! Ours is the whole write path without the door: `Handle::execute` of a machine in a real tree, with the outcome index,
//! decide, evolve, an envelope with principal, decision and token use, the hash chain, the index by stream, a view, and the
//! answer kept for repeats. The tile log follows and signs; `--unsigned` leaves it out, to see what it costs. The peer is the least that is durable: callers hand 256 bytes to one committer thread, which
//! drains its queue into one `WriteBatch` with `SyncData`, one insert under a `u64` key each, and acknowledges over a
//! oneshot. Both have the same closed-loop callers on the same runtime, and a fresh store on the same disk for each run.
//!
//! The figure is the median over pairs of (ours / peer), the two of a pair back to back and in alternating order, so that
//! what else the machine does falls on both. `--quick` takes fewer pairs; `--ours 256` runs our side alone, for a profiler.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use evidence::{Evidence, Places};
use host::{Clock, Handle, Limits, Order, View};
use journal::{Journal, Keeper};
use kernel::{
    Context, Decision, Kind, Machine, Outcome, Position, Reader, Recorded, Refuse, TokenId, TokenUse, Writer,
};
use serde::{Deserialize, Serialize};
use supervisors::{Child, ChildRef, Strategy, Supervisor, Tree};
use workers::evidence::Following;

mod commits;
mod pairs;

use commits::{CALLERS, FACT_BYTES, Fjall, Side, Syncs, kept, peer, store};
use pairs::{MEASURED, conditions, load, median, ratio};

/// The daemon's own; the peer gets it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(callers) = std::env::args().skip_while(|argument| argument != "--ours").nth(1) {
        let callers = callers.parse().expect("--ours takes a number of callers");
        for _ in 0..5 {
            println!("{:.0}/s", runtime.block_on(ours(callers)).run.per_second);
        }
        kept::remove();
        return;
    }
    let pairs = pairs::pairs();
    println!("durable commands per second of {FACT_BYTES} bytes; ours: governed, peer: fjall batch with SyncData");
    println!("{pairs} interleaved pairs of {MEASURED:?}; {}", conditions());
    println!(
        "{:>7}  {:>21}  {:>9} {:>9}  {:>15}  {:>15}  {:>12}  {:>13}  {:>12}  {:>10}",
        "callers",
        "ratio (min..max)",
        "ours/s",
        "peer/s",
        "ours p50/p99 ms",
        "peer p50/p99 ms",
        "sync ms o/p",
        "sync p99 o/p",
        "per sync o/p",
        "cpu µs o/p"
    );
    for callers in CALLERS {
        let pairs: Vec<_> = (0..pairs).map(|pair| runtime.block_on(measure(callers, pair % 2 == 0))).collect();
        println!("{}", row(callers, &pairs));
    }
    println!("after: {}", conditions());
    kept::remove();
}

async fn measure(callers: usize, ours_first: bool) -> (Side, Side) {
    if ours_first {
        let ours = ours(callers).await;
        (ours, peer::<Fjall>(callers).await)
    } else {
        let peer = peer::<Fjall>(callers).await;
        (ours(callers).await, peer)
    }
}

fn row(callers: usize, pairs: &[(Side, Side)]) -> String {
    let median = |figure: &dyn Fn(&(Side, Side)) -> f64| median(pairs, figure);
    let ms = |p50: &dyn Fn(&(Side, Side)) -> Duration, p99: &dyn Fn(&(Side, Side)) -> Duration| {
        let ms = |of: &dyn Fn(&(Side, Side)) -> Duration| median(&|pair| of(pair).as_secs_f64() * 1e3);
        format!("{:.2}/{:.2}", ms(p50), ms(p99))
    };
    format!(
        "{callers:>7}  {:>21}  {:>9.0} {:>9.0}  {:>15}  {:>15}  {:>12}  {:>13}  {:>12}  {:>10}",
        ratio(pairs, |side| side.run.per_second),
        median(&|(ours, _)| ours.run.per_second),
        median(&|(_, peer)| peer.run.per_second),
        ms(&|(ours, _)| ours.run.p50, &|(ours, _)| ours.run.p99),
        ms(&|(_, peer)| peer.run.p50, &|(_, peer)| peer.run.p99),
        ms(&|(ours, _)| ours.sync, &|(_, peer)| peer.sync),
        ms(&|(ours, _)| ours.sync_p99, &|(_, peer)| peer.sync_p99),
        format!("{:.0}/{:.0}", median(&|(ours, _)| ours.per_sync), median(&|(_, peer)| peer.per_sync)),
        format!("{:.1}/{:.1}", median(&|(ours, _)| ours.run.cpu_micros), median(&|(_, peer)| peer.run.cpu_micros)),
    )
}

async fn ours(callers: usize) -> Side {
    let (dir, syncs, clock) = (store(), Syncs::default(), Clock::system());
    let journal = Journal::with_log(dir.path(), journal::Limits::default(), syncs.of_the_journal());
    let view = Arc::new(Newest::default());
    let limits = Limits { outcomes: 10_000_000, ..Limits::default() };
    let notes = Handle::<Notes>::new(&journal, &clock, limits, Some(view));
    let (kept, keeper) = (journal.clone(), ChildRef::new("journal"));
    let mut root =
        Supervisor::new("root", Strategy::RestForOne).child(Child::actor(&keeper, move || (Keeper, kept.clone())));
    let log = kept::store();
    if !std::env::args().any(|argument| argument == "--unsigned") {
        let places = Places { log: log.join("evidence"), key: log.join("keys/log") };
        let journal = journal.clone().with_past(Arc::new(places.clone()));
        let evidence = Evidence::new(&journal, places, evidence::Limits::default());
        root = root.child(Following { evidence, journal }.child());
    }
    let root = root.child(notes.child());
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
            asked: None,
        };
        let notes = notes.clone();
        async move {
            notes.execute(order).await.expect("an answer").outcome.expect("notes are always taken");
        }
    };
    let loaded = load(callers, ask).await;
    tree.shutdown(Duration::from_mins(1)).await;
    syncs.side(loaded)
}

fn text() -> String {
    "n".repeat(FACT_BYTES)
}

/// The smallest machine that keeps facts.
#[derive(Default, Serialize, Deserialize)]
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

    fn restore(&self, _: &Notes, at: Position) {
        self.0.store(at.0, Ordering::Relaxed);
    }

    fn apply(&self, _: &Event, at: Position) {
        self.0.store(at.0, Ordering::Relaxed);
    }
}
