//! Chaos over a tree of three levels and a thousand children, for as long as you like.
//!
//! ```console
//! $ cargo run --release -p sop-supervisors --features chaos --example chaos -- --seed 7 --for 10m
//! ```
//!
//! Exit code 0 if every invariant was kept, 2 if not, 1 if it was not understood.

#[path = "../tests/chaos/forest.rs"]
mod forest;

use std::process::ExitCode;
use std::time::Duration;

use forest::forest;
use supervisors::Tree;
use supervisors::chaos::{Cast, Chaos, Plan};

const USAGE: &str = "usage: chaos [--seed N] [--for 30s|10m|1h]";

struct Options {
    seed: u64,
    lasts: Duration,
}

fn options() -> Option<Options> {
    let mut options = Options { seed: 1, lasts: Duration::from_secs(30) };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next()?;
        match &*word {
            "--seed" => options.seed = value.parse().ok()?,
            "--for" => options.lasts = span(&value)?,
            _ => return None,
        }
    }
    Some(options)
}

fn span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

#[tokio::main]
async fn main() -> ExitCode {
    let Some(Options { seed, lasts }) = options() else {
        eprintln!("{USAGE}");
        return ExitCode::from(1);
    };
    let cast = Cast::new();
    let tree = match Tree::start(forest(&cast), seed).await {
        Ok(tree) => tree,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::from(1);
        }
    };
    let plan = Plan::new(seed, &tree, &cast, lasts);
    let mut chaos = Chaos::over(&tree, &cast).await;
    let mut told = 0;
    chaos
        .run_and_tell(&plan, |so_far| {
            let tenth = so_far.took.as_secs() / 10;
            if told < tenth {
                told = tenth;
                println!("{} s: {} steps, {} decisions", so_far.took.as_secs(), so_far.steps, so_far.decisions);
            }
        })
        .await;
    let judgement = chaos.shutdown(Duration::from_mins(1)).await;
    println!("{judgement}");
    if judgement.is_kept() { ExitCode::SUCCESS } else { ExitCode::from(2) }
}
