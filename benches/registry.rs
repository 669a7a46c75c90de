//! What a token costs that is checked and consumed durably, against the journal by itself, and fjall, in the same run.
//!
//! Each caller has a token issued and consumes it: two commands, each with its own record, decided by the whole registry in a real
//! tree, with views, the outcome index and the tile log that signs. The peers are those of the journal's own bench: records of 256
//! bytes that nobody decides about, and fjall's group commit. The figures are medians over rounds, of ratios those of each round.
//! `--quick` takes fewer rounds; `--ours 256` runs our side alone, for a profiler.

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

use commits::{CALLERS, Fjall, Side, Syncs, kept, peer, store};
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
    let rounds = pairs::pairs();
    println!("durable commits per second: tokens issued and consumed, the journal by itself, fjall with SyncData");
    println!("{rounds} rounds of all three, {MEASURED:?} each, in turning order; {}", conditions());
    println!(
        "{:>7}  {:>21}  {:>21}  {:>26}  {:>15}  {:>12}  {:>16}  {:>14}",
        "callers",
        "of the journal",
        "of fjall",
        "tokens'/journal's/fjall's",
        "token p50/p99",
        "sync p50/p99",
        "a sync, o/j/f",
        "cpu µs o/j/f"
    );
    for callers in CALLERS {
        let rounds: Vec<_> = (0..rounds).map(|round| runtime.block_on(measure(callers, round))).collect();
        println!("{}", row(callers, &rounds));
    }
    println!("after: {}", conditions());
    kept::remove();
}

async fn measure(callers: usize, round: usize) -> [Side; 3] {
    let mut sides = [const { None }; 3];
    for turn in 0..sides.len() {
        let side = (round + turn) % sides.len();
        sides[side] = Some(match side {
            0 => {
                let mut side = ours(callers).await;
                side.run.per_second *= COMMITS;
                side.run.cpu_micros /= COMMITS;
                side.per_sync *= COMMITS;
                side
            }
            1 => raw::ours(callers).await,
            _ => peer::<Fjall>(callers).await,
        });
    }
    sides.map(|side| side.expect("each has had its turn"))
}

fn row(callers: usize, rounds: &[[Side; 3]]) -> String {
    let against = |side: usize| {
        let pairs: Vec<_> = rounds.iter().map(|round| (&round[0], &round[side])).collect();
        ratio(&pairs, |side| side.run.per_second)
    };
    let of = |side: usize, figure: &dyn Fn(&Side) -> f64| {
        let sides: Vec<_> = rounds.iter().map(|round| (&round[side], &round[side])).collect();
        median(&sides, |(side, _)| figure(side))
    };
    let each = |figure: &dyn Fn(&Side) -> f64, digits: usize| {
        (0..3).map(|side| format!("{:.digits$}", of(side, figure))).collect::<Vec<_>>().join("/")
    };
    let ms = |figure: &dyn Fn(&Side) -> Duration| of(0, &|side| figure(side).as_secs_f64() * 1e3);
    format!(
        "{callers:>7}  {:>21}  {:>21}  {:>26}  {:>15}  {:>12}  {:>16}  {:>14}",
        against(1),
        against(2),
        each(&|side| side.run.per_second, 0),
        format!("{:.2}/{:.2} ms", ms(&|side| side.run.p50), ms(&|side| side.run.p99)),
        format!("{:.2}/{:.2}", ms(&|side| side.sync), ms(&|side| side.sync_p99)),
        each(&|side| side.per_sync, 0),
        each(&|side| side.run.cpu_micros, 1),
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
            // Each has one of its own; and as nobody says what came of the uses, which are held to be pending, no subject has many.
            let (mut secret, subject) = (Digest([7; 32]), format!("agent/a{}", id.0 % 4_096));
            secret.0[..16].copy_from_slice(&id.0.to_be_bytes());
            let subject = subject.parse().expect("a principal");
            let issue = Issue {
                id: TokenId(id.0),
                secret,
                grant: Grant::Operation,
                subject,
                audience: "arp".to_owned(),
                operation: "deploy".to_owned(),
                uses: Some(1),
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
