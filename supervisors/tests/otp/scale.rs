//! Many children. Nothing is timed: what is counted is what their supervisor decided, which is all that it does.

use supervisors::{Child, Heard, Supervisor, Tree};

use crate::kit::{Conduct, HOUR, Kid, Members, POOL, STRATEGIES, counts, pool, start, start_pool};

/// How many decisions were made about the tree, which has ended.
async fn decisions(tree: &Tree) -> u64 {
    let (mut events, mut last) = (tree.subscribe(), 0);
    while let Some(heard) = events.next().await {
        if let Heard::Decision(decision) = heard {
            last = decision.sequence;
        }
    }
    last
}

/// OTP measures that the end of 10,000 takes less than 50 times as long as that of 1,000.
#[tokio::test(start_paused = true)]
async fn simple_one_for_one_scale_many_temporary_children() {
    let mut made = Vec::new();
    for count in [0, 1000, 10_000] {
        let members = Members::new("pool");
        let tree = start_pool(pool(&members).members(Child::temporary)).await;
        for _ in 0..count {
            members.start(Conduct::new("member")).await.unwrap();
        }
        assert_eq!(counts(&tree, POOL), [count, count, 0, count]);
        tree.terminate(POOL).await.unwrap();
        assert_eq!(counts(&tree, POOL)[1], 0);
        assert!(tree.shutdown(HOUR).await.is_graceful());
        made.push(decisions(&tree).await);
    }
    assert!(made[1] > made[0] + 3000, "{made:?}");
    assert_eq!(made[2] - made[0], 10 * (made[1] - made[0]));
}

/// OTP has 100,000 children and a clock. Here are real actors, a tenth as many; the work on 100,000 is counted in
/// `tests/scale.rs`, in the core that decides, and their time is measured by the bench.
#[tokio::test(start_paused = true)]
async fn scale_start_stop_many_children() {
    for strategy in STRATEGIES {
        let mut made = Vec::new();
        for count in [0, 1000, 10_000] {
            let kids = (0..count).map(|at: usize| Kid::new(&at.to_string()).spec());
            let tree = start(kids.fold(Supervisor::new("sup", strategy), Supervisor::child)).await;
            assert_eq!(counts(&tree, "sup"), [count, count, 0, count]);
            assert!(tree.shutdown(HOUR).await.is_graceful());
            made.push(decisions(&tree).await);
        }
        assert!(made[1] > made[0] + 3000, "{made:?}");
        assert_eq!(made[2] - made[0], 10 * (made[1] - made[0]), "{strategy:?}");
    }
}
