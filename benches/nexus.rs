//! What checking costs: token-checked calls between protocols in one process, against bare ractor calls in the same run.
//!
//! Ours is a line of the library, opened with a token: each call checks the warrant against what is durable, counts a permit,
//! goes to the current incarnation of a supervised actor, has a deadline and tells the protocol who asks. The peer is a bare
//! ractor actor that is called with a reply port and no deadline, which is the least that a call can be. Both answer with
//! the number that they are given plus one; both have the same closed-loop callers on the same runtime.
//!
//! See [`pairs`] for how the figure comes about. `--ours 64` runs our side alone, for a profiler.

use std::time::Duration;

use ractor::rpc::CallResult;
use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use sop::{Cx, Fault, Protocol, Spawn, System, Token};

mod pairs;

use pairs::{MEASURED, Run, conditions, load, median, ratio};

/// The daemon's own; the peer gets it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const CALLERS: [usize; 3] = [1, 64, 256];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(callers) = std::env::args().skip_while(|argument| argument != "--ours").nth(1) {
        let callers = callers.parse().expect("--ours takes a number of callers");
        for _ in 0..5 {
            println!("{:.0}/s", runtime.block_on(ours(callers)).per_second);
        }
        return;
    }
    let pairs = pairs::pairs();
    println!("calls per second in one process; ours: token-checked, supervised, with a deadline; peer: bare ractor");
    println!("{pairs} interleaved pairs of {MEASURED:?}; {}", conditions());
    println!(
        "{:>7}  {:>21}  {:>9} {:>9}  {:>17}  {:>17}  {:>10}",
        "callers", "ratio (min..max)", "ours/s", "peer/s", "ours p50/p99 µs", "peer p50/p99 µs", "cpu µs o/p"
    );
    for callers in CALLERS {
        let pairs: Vec<_> = (0..pairs).map(|pair| runtime.block_on(measure(callers, pair % 2 == 0))).collect();
        println!("{}", row(callers, &pairs));
    }
    println!("after: {}", conditions());
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
    let micros = |of: &dyn Fn(&(Run, Run)) -> Duration| median(pairs, |pair| of(pair).as_secs_f64() * 1e6);
    format!(
        "{callers:>7}  {:>21}  {:>9.0} {:>9.0}  {:>17}  {:>17}  {:>10}",
        ratio(pairs, |run| run.per_second),
        median(pairs, |(ours, _)| ours.per_second),
        median(pairs, |(_, peer)| peer.per_second),
        format!("{:.1}/{:.1}", micros(&|(ours, _)| ours.p50), micros(&|(ours, _)| ours.p99)),
        format!("{:.1}/{:.1}", micros(&|(_, peer)| peer.p50), micros(&|(_, peer)| peer.p99)),
        format!("{:.2}/{:.2}", median(pairs, |(ours, _)| ours.cpu_micros), median(pairs, |(_, peer)| peer.cpu_micros)),
    )
}

struct Next;

impl Protocol for Next {
    type Request = u64;
    type Reply = u64;

    fn operation(_: &u64) -> &'static str {
        "next"
    }

    async fn call(&mut self, number: u64, _: &mut Cx) -> Result<u64, Fault> {
        Ok(number + 1)
    }
}

async fn ours(callers: usize) -> Run {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the build");
    let system = System::open(dir.path()).await.expect("it opens");
    let next = system.spawn(Spawn::new("next").permits(callers), || Next).await.expect("it starts");
    system.admit_agent("agent/alpha", &["protocol.call"]).await.expect("it is admitted");
    let secret = system.issue(Token::new("agent/alpha", "next", "next")).await.expect("a token");
    let line = next.line(&secret, "next").await.expect("a line");
    let ask = move || {
        let line = line.clone();
        async move {
            assert_eq!(line.call(7).await.expect("an answer"), 8);
        }
    };
    let run = load(callers, ask).await.0;
    system.shutdown().await;
    run
}

struct Bare;

impl Actor for Bare {
    type Msg = (u64, RpcReplyPort<u64>);
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Self::Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Self::Msg>,
        (number, reply): Self::Msg,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        reply.send(number + 1)?;
        Ok(())
    }
}

async fn peer(callers: usize) -> Run {
    let (bare, life) = Actor::spawn(None, Bare, ()).await.expect("it starts");
    let called = bare.clone();
    let ask = move || {
        let called = called.clone();
        async move {
            let answer = called.call(|reply| (7, reply), None).await.expect("it is up");
            assert!(matches!(answer, CallResult::Success(8)));
        }
    };
    let run = load(callers, ask).await.0;
    bare.stop(None);
    life.await.expect("it ends");
    run
}
