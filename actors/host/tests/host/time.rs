//! Deadlines: the clock asks, once, and never in a loop.

use std::time::Duration;

use kernel::{CommandId, Millis, Timestamp};
use supervisors::Exit;

use crate::ledger::{CURSED, Command, Event};
use crate::world::{LEDGER, NOON, Setup, World, add, order};

fn hold(number: u64, amount: u64, until: Timestamp) -> host::Order<Command> {
    order(number, Command::Hold { amount, until })
}

/// Lets this much of tokio's time pass at once. Otherwise that time is real, because the disk's is.
async fn pass(span: Duration) {
    tokio::time::pause();
    tokio::time::sleep(span).await;
    tokio::time::resume();
}

/// Waits, in the tests' time, until the ledger's state satisfies `holds`. Each look lets a timer pass.
async fn until(world: &World, holds: impl Fn(&crate::ledger::Ledger) -> bool + Copy + Send + 'static) {
    while !world.ledger.inspect(holds).await.unwrap() {
        pass(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_is_due_is_done_by_the_clock_and_only_then() {
    let world = World::start().await;
    world.ask(add(1, 10)).await;
    assert_eq!(world.ask(hold(2, 4, NOON + Millis::hours(1))).await, "6");
    assert_eq!(world.ask(hold(3, 3, NOON + Millis::hours(2))).await, "3");
    pass(Duration::from_hours(5)).await;
    assert_eq!(world.balance().await, 3, "the timer is only a wake-up: what counts is the clock");

    world.setup.time.set(NOON + Millis::hours(1));
    until(&world, |ledger| ledger.balance == 7).await;
    let record = world.records().pop().unwrap();
    assert_eq!((record.principal.as_str(), record.time), ("internal/clock", NOON + Millis::hours(1)));
    assert!(record.command_id.is_derived());

    world.tree.kill(LEDGER).await.unwrap();
    world.ledger.up().await;
    world.setup.time.set(NOON + Millis::hours(2));
    until(&world, |ledger| ledger.balance == 10).await;
    let released = world.seen.facts().into_iter().filter(|event| matches!(event, Event::Released(_)));
    assert_eq!(released.count(), 2, "each once");
    let ids: Vec<CommandId> = world.ran();
    assert_eq!(ids.len(), 5);
}

#[tokio::test]
async fn what_fell_due_while_nobody_was_there_is_done_at_the_start() {
    let world = World::start().await;
    world.ask(add(1, 10)).await;
    world.ask(hold(2, 4, NOON + Millis::hours(1))).await;
    world.setup.time.set(NOON + Millis::hours(3));
    let world = world.again().await;
    until(&world, |ledger| ledger.balance == 10).await;
}

#[tokio::test]
async fn the_clocks_bookkeeping_waits_for_a_full_disk() {
    let world = World::start().await;
    world.ask(add(1, 10)).await;
    world.ask(hold(2, 4, NOON + Millis::hours(1))).await;
    world.setup.time.set(NOON + Millis::hours(3));
    let full = Setup { reserve_bytes: u64::MAX, ..world.stop().await }.start().await;
    pass(Duration::from_mins(5)).await;
    assert_eq!(full.balance().await, 6);
    let clear = Setup { reserve_bytes: 0, ..full.stop().await }.start().await;
    until(&clear, |ledger| ledger.balance == 10).await;
}

/// Every deadline that is earlier than the one before sets the timer anew; the older timers must not go on beside it.
#[tokio::test]
async fn there_is_one_timer_however_often_it_is_set() {
    let world = World::start().await;
    world.ask(add(1, 1_000)).await;
    for number in 2..=41 {
        world.ask(hold(number, 1, NOON + Millis::hours(100 - number))).await;
    }
    // Every timer that is armed comes at least once a minute, and looks at the clock.
    pass(Duration::from_mins(3)).await;
    let looks = world.setup.time.looks();
    pass(Duration::from_mins(10)).await;
    let looks = world.setup.time.looks() - looks;
    assert!((10..=30).contains(&looks), "{looks} looks at the clock in ten minutes");
}

/// A clock's command that panics must not take the machine down again and again.
#[tokio::test]
async fn a_panic_at_the_clocks_command_is_no_crash_loop() {
    let mut world = World::start().await;
    world.ask(add(1, 100)).await;
    assert_eq!(world.ask(hold(2, CURSED, NOON + Millis(1))).await, "87");
    world.setup.time.set(NOON + Millis(1));
    assert_eq!(world.ended(1).await, Exit::Failed { error: "the hold is cursed".to_owned() });
    world.restarted(2).await;
    pass(Duration::from_mins(5)).await;
    assert_eq!(world.ask(add(3, 1)).await, "88");
    assert_eq!(world.tree.snapshot().find(LEDGER).unwrap().epoch, 2);
}
