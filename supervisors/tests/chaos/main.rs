//! Chaos over a tree of three levels and a thousand children, and whether the oracle can tell.

mod doctored;
mod forest;
mod guests;

use std::time::Duration;

use forest::forest;
use supervisors::Tree;
use supervisors::chaos::{Cast, Chaos, Judgement, Plan};

const SECOND: Duration = Duration::from_secs(1);

async fn storm(seed: u64, lasts: Duration) -> Judgement {
    let cast = Cast::new();
    let tree = Tree::start(forest(&cast), seed).await.unwrap();
    let plan = Plan::new(seed, &tree, &cast, lasts);
    let mut chaos = Chaos::over(&tree, &cast).await;
    chaos.run(&plan).await;
    let judgement = chaos.shutdown(60 * SECOND).await;
    println!("{judgement}");
    judgement
}

/// It is not enough that nothing was found: much was done, of every kind.
fn kept(judgement: &Judgement, faults: u64) {
    assert!(judgement.is_kept(), "{judgement}");
    assert_eq!(judgement.ended, None);
    assert!(faults <= judgement.faults.values().sum(), "{judgement}");
}

#[tokio::test(start_paused = true)]
async fn thirty_seconds_on_a_paused_clock() {
    for seed in 1..=4 {
        let judgement = storm(seed, 30 * SECOND).await;
        kept(&judgement, 200);
        assert_eq!(judgement.faults.len(), 9, "every kind of fault: {judgement}");
        assert!(judgement.predicted > 20 && judgement.acknowledged > 200 && judgement.replayed > 100, "{judgement}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn some_seconds_on_several_threads() {
    kept(&storm(2, 8 * SECOND).await, 10);
}

/// The plan is the seed's, and on a paused clock so is all that follows.
#[tokio::test(start_paused = true)]
async fn a_seed_does_the_same_again() {
    let (first, second) = (storm(3, 2 * SECOND).await, storm(3, 2 * SECOND).await);
    assert_eq!(first, second);
    assert_ne!(first.faults, storm(4, 2 * SECOND).await.faults);
    let cast = Cast::new();
    let tree = Tree::start(forest(&cast), 1).await.unwrap();
    let steps = |seed| Plan::new(seed, &tree, &cast, SECOND).steps().take(100).collect::<Vec<_>>();
    assert_eq!(steps(5), steps(5));
    assert_ne!(steps(5), steps(6));
}
