//! What a view is told, and when.

use crate::ledger::{AddedV1, Event, Ledger};
use crate::world::{LEDGER, Told, World, add, take};

fn added(version: u64, amount: u64) -> Told {
    Told::Fact(version, Event::Added(AddedV1 { amount }))
}

#[tokio::test]
async fn a_view_has_a_fact_before_its_caller_has_the_answer() {
    let world = World::start().await;
    for number in 1..=50 {
        world.ask(add(number, number)).await;
        assert_eq!(world.seen.all().last(), Some(&added(number + 1, number)), "at once, and in order");
        assert_eq!(world.ledger.durable().0, number + 1);
    }
    world.ask(take(51, 10_000)).await;
    assert_eq!(world.ledger.durable().0, 52, "an answer without a fact is a version too");
    assert_eq!(world.seen.facts().len(), 50);
}

/// Whoever reads a view while its machine restarts must not find less in it than was acknowledged: a revocation that
/// disappears for the time of a replay would be an open door.
#[tokio::test]
async fn a_view_never_goes_back_while_its_machine_restarts() {
    let world = World::start().await;
    world.ask(add(1, 1)).await;
    world.ask(add(2, 2)).await;
    for round in 1..=3 {
        world.tree.kill(LEDGER).await.unwrap();
        world.ledger.up().await;
        assert_eq!(world.seen.all(), [Told::Reset, added(2, 1), added(3, 2)], "round {round}");
    }
    // Three incarnations have opened the stream since.
    assert_eq!(world.ledger.durable().0, 6);
    world.ask(add(3, 3)).await;
    assert_eq!(world.seen.all(), [Told::Reset, added(2, 1), added(3, 2), added(7, 3)]);

    let world = world.again().await;
    let told = Told::Restored(7, Ledger { balance: 6, ..Ledger::default() });
    assert_eq!(world.seen.all(), [Told::Reset, told], "a new view is told what it came to");

    let mut setup = world.stop().await;
    setup.limits.snapshot_every = 0;
    let world = setup.start().await;
    assert_eq!(world.seen.all(), [Told::Reset, added(2, 1), added(3, 2), added(7, 3)], "or all of it");
}
