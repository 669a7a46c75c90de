//! What a token costs that is checked and consumed durably, against the journal by itself in the same run.
//!
//! Each caller has a token issued and consumes it: two commands, each with its own record, decided by the whole registry in a real
//! tree, with views, the outcome index and the tile log that signs. The peer is the journal's own bench: records of 256 bytes that
//! nobody decides about. The figure is the median over pairs of (durable commits / durable records) per second. `--quick` takes
//! fewer pairs; `--ours 256` runs our side alone, for a profiler.

use std::sync::Arc;
use std::time::Duration;

use evidence::{Evidence, Places};
use host::{Clock, Handle, Limits, Order, View};
use journal::{Journal, Keeper};
use kernel::{Decision, Digest, Millis, TokenId};
use supervisors::{Child, ChildRef, Strategy, Supervisor, Tree};
use tokens::{Bounds, Command, Consume, Grant, Issue, Tokens};
use workers::evidence::Following;

mod commits;
mod pairs;
#[path = "commits/raw.rs"]
mod raw;

use commits::{CALLERS, Side, Syncs, kept, store};
use pairs::{MEASURED, conditions, load, median, ratio};

/// The daemon's own; the peer gets it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The commits of one question.
const COMMITS: f64 = 2.0;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(callers) = std::env::args().skip_while(|argument| argument != "--ours").nth(1) {
        let callers = callers.parse().expect("--ours takes a number of callers");
        for _ in 0..5 {
            println!("{:.0} tokens/s", runtime.block_on(ours(callers)).run.per_second);
        }
        kept::remove();
        return;
    }
    let pairs = pairs::pairs();
    println!("durable commits per second; ours: tokens issued and consumed, peer: the journal by itself");
    println!("{pairs} interleaved pairs of {MEASURED:?}; {}", conditions());
    println!(
        "{:>7}  {:>21}  {:>9}  {:>9}  {:>17}  {:>12}",
        "callers", "ratio (min..max)", "commits/s", "journal/s", "token p50/p99 ms", "cpu µs o/p"
    );
    for callers in CALLERS {
        let pairs: Vec<_> = (0..pairs).map(|pair| runtime.block_on(measure(callers, pair % 2 == 0))).collect();
        println!("{}", row(callers, &pairs));
    }
    println!("after: {}", conditions());
    kept::remove();
}

async fn measure(callers: usize, ours_first: bool) -> (Side, Side) {
    let commits = |mut side: Side| {
        side.run.per_second *= COMMITS;
        side.run.cpu_micros /= COMMITS;
        side
    };
    if ours_first {
        let ours = commits(ours(callers).await);
        (ours, raw::ours(callers).await)
    } else {
        let peer = raw::ours(callers).await;
        (commits(ours(callers).await), peer)
    }
}

fn row(callers: usize, pairs: &[(Side, Side)]) -> String {
    let median = |figure: &dyn Fn(&(Side, Side)) -> f64| median(pairs, figure);
    let ms = |of: &dyn Fn(&(Side, Side)) -> Duration| median(&|pair| of(pair).as_secs_f64() * 1e3);
    format!(
        "{callers:>7}  {:>21}  {:>9.0}  {:>9.0}  {:>17}  {:>12}",
        ratio(pairs, |side| side.run.per_second),
        median(&|(ours, _)| ours.run.per_second),
        median(&|(_, peer)| peer.run.per_second),
        format!("{:.2}/{:.2}", ms(&|(ours, _)| ours.run.p50), ms(&|(ours, _)| ours.run.p99)),
        format!("{:.1}/{:.1}", median(&|(ours, _)| ours.run.cpu_micros), median(&|(_, peer)| peer.run.cpu_micros)),
    )
}

async fn ours(callers: usize) -> Side {
    let (dir, syncs, clock) = (store(), Syncs::default(), Clock::system());
    let journal = Journal::with_log(dir.path(), journal::Limits::default(), syncs.of_the_journal());
    let view: Arc<dyn View<Tokens>> = Arc::new(door::Follower::<Tokens>::default());
    let limits = Limits { outcomes: 10_000_000, ..Limits::default() };
    let tokens = Handle::<Tokens>::new(&journal, &clock, limits, Some(view));
    let (kept, keeper, log) = (journal.clone(), ChildRef::new("journal"), kept::store());
    let places = Places { log: log.join("evidence"), key: log.join("keys/log") };
    let followed = journal.clone().with_past(Arc::new(places.clone()));
    let evidence = Evidence::new(&followed, places, evidence::Limits::default());
    let root = Supervisor::new("root", Strategy::RestForOne)
        .child(Child::actor(&keeper, move || (Keeper, kept.clone())))
        .child(Following { evidence, journal: followed }.child())
        .child(tokens.child());
    let tree = Tree::start(root, 1).await.expect("the tree starts");
    let ask = move || {
        let (tokens, clock) = (tokens.clone(), clock.clone());
        async move {
            let id = clock.command_id();
            let (secret, subject) = (Digest([7; 32]), "agent/alpha".parse().expect("a principal"));
            let issue = Issue {
                id: TokenId(id.0),
                secret,
                grant: Grant::Operation,
                subject,
                audience: "arp".to_owned(),
                operation: "deploy".to_owned(),
                uses: None,
                lifetime: Some(Millis::minutes(5)),
                bounds: Bounds::default(),
            };
            let consume = Consume {
                id: issue.id,
                secret,
                audience: issue.audience.clone(),
                operation: issue.operation.clone(),
                request: Digest([9; 32]),
                todo: None,
                artefact: None,
                target: None,
                report: None,
            };
            for (who, command) in
                [("operator/root", Command::Issue(issue)), ("protocol/arp", Command::Consume(consume))]
            {
                let order = Order {
                    command,
                    command_id: if who == "operator/root" { id } else { clock.command_id() },
                    principal: who.parse().expect("a principal"),
                    decision: Decision::default(),
                    cause: None,
                    asked: None,
                };
                tokens.execute(order).await.expect("an answer").outcome.expect("it is issued, and good");
            }
        }
    };
    let loaded = load(callers, ask).await;
    tree.shutdown(Duration::from_mins(1)).await;
    syncs.side(loaded)
}
