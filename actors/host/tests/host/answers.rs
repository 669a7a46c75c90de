//! One row per answer that a host can give, before and after a restart.

use host::Limits;
use kernel::{CommandId, Millis, Principal, Timestamp};
use tokio::task::JoinSet;

use crate::disk::Mode;
use crate::ledger::Command;
use crate::world::{LEDGER, NOON, Setup, World, add, derived, id_at, order, order_as, take};

#[tokio::test]
async fn execute() {
    let world = World::start().await;
    let day = Millis::hours(24);
    let operator = || "operator/root".parse::<Principal>().unwrap();
    let route = || Principal::internal("route");
    let add_as = |principal, id| order_as(principal, id, Command::Add { amount: 1 });
    for (row, order, answer) in [
        ("a reply", add(1, 5), "5"),
        ("a refusal", take(2, 6), "overdrawn 5"),
        ("already so", add(3, 0), "5"),
        ("another reply", add(4, 2), "7"),
        ("the first, again", add(1, 5), "5, again"),
        ("the refusal, again, though it would be granted now", take(2, 6), "overdrawn 5, again"),
        ("what was already so, again", add(3, 0), "5, again"),
        ("another content under the id", add(1, 6), "host.id_taken"),
        ("another command under the id", take(1, 5), "host.id_taken"),
        ("an id from the edge of the window", add_as(operator(), id_at(Timestamp(NOON.0 - day.0), 5)), "8"),
        ("an older id", add_as(operator(), id_at(Timestamp(NOON.0 - day.0 - 1), 6)), "host.id_stale"),
        ("an id a minute ahead", add_as(operator(), id_at(NOON + Millis::minutes(1), 7)), "9"),
        ("an id further ahead", add_as(operator(), id_at(NOON + Millis(60_001), 8)), "host.id_untimely"),
        ("an id without a time", add_as(operator(), CommandId(9)), "host.id_untimely"),
        ("a derived id from outside", add_as(operator(), derived(1)), "host.id_untimely"),
        ("a derived id from inside", add_as(route(), derived(1)), "10"),
        ("a derived id, again", add_as(route(), derived(1)), "10, again"),
    ] {
        assert_eq!(world.ask(order).await, answer, "{row}");
    }
    let ran = world.ran();

    world.tree.kill(LEDGER).await.unwrap();
    world.ledger.up().await;
    let world = world.again().await;
    for (row, order, answer) in [
        ("the reply", add(1, 5), "5, again"),
        ("the refusal", take(2, 6), "overdrawn 5, again"),
        ("what was already so", add(3, 0), "5, again"),
        ("another content", add(1, 6), "host.id_taken"),
        ("a derived id", add_as(route(), derived(1)), "10, again"),
        ("something new", take(10, 10), "0"),
    ] {
        assert_eq!(world.ask(order).await, answer, "after the restart: {row}");
    }
    assert_eq!(world.ran(), [ran, vec![id_at(NOON, 10)]].concat(), "a repeat leaves no record");
}

#[tokio::test]
async fn a_repeat_names_the_records_of_the_first() {
    let world = World::start().await;
    let first = world.ledger.execute(add(1, 5)).await.unwrap();
    world.ask(add(2, 5)).await;
    let again = world.ledger.execute(add(1, 5)).await.unwrap();
    assert_eq!((again.first, again.last, again.outcome), (first.first, first.last, first.outcome));
    let world = world.again().await;
    let again = world.ledger.execute(add(1, 5)).await.unwrap();
    assert_eq!((again.first, again.last), (first.first, first.last));
}

#[tokio::test]
async fn at_the_limit_of_permits_the_next_command_is_overload() {
    let world = Setup { limits: Limits { permits: 2, ..Limits::default() }, ..Setup::default() }.start().await;
    world.setup.disk.set(Mode::Hold);
    let mut asked = JoinSet::new();
    let looks = world.setup.time.looks();
    for number in 1..=2 {
        let ledger = world.ledger.clone();
        asked.spawn(async move { ledger.execute(add(number, 1)).await });
    }
    world.setup.time.looked_at(looks + 2).await;
    assert_eq!(world.ask(add(3, 1)).await, "host.overloaded");
    let ledger = &world.ledger;
    assert_eq!((ledger.outstanding(), ledger.limit(), ledger.overloads()), (2, 2, 1));
    world.setup.disk.set(Mode::Pass);
    while let Some(answer) = asked.join_next().await {
        answer.unwrap().unwrap();
    }
    assert_eq!(world.ask(add(3, 1)).await, "3");
}

/// Who has an answer has nothing outstanding any more, whatever the answer was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_permit_is_enough_for_one_caller() {
    let world = Setup { limits: Limits { permits: 1, ..Limits::default() }, ..Setup::default() }.start().await;
    for number in 1..=500 {
        assert_eq!(world.ask(add(number, 1)).await, number.to_string());
        assert_eq!(world.ask(add(number, 1)).await, format!("{number}, again"));
        assert_eq!(world.ask(add(number, 2)).await, "host.id_taken");
        assert_eq!(
            world.ask(order_as(Principal::internal("x"), CommandId(1), Command::Release)).await,
            "host.id_untimely"
        );
    }
}

#[tokio::test]
async fn at_the_limit_of_outcomes_new_commands_wait_for_the_window() {
    let setup = Setup { limits: Limits { outcomes: 2, ..Limits::default() }, ..Setup::default() };
    let world = setup.start().await;
    for (row, order, answer) in [
        ("first", add(1, 5), "5"),
        ("refusals count", take(2, 6), "overdrawn 5"),
        ("full", add(3, 1), "host.window_full"),
        ("repeats are answered", take(2, 6), "overdrawn 5, again"),
    ] {
        assert_eq!(world.ask(order).await, answer, "{row}");
    }
    let world = world.again().await;
    assert_eq!(world.ask(add(3, 1)).await, "host.window_full", "after the restart");
    let later = NOON + Millis::hours(24) + Millis::minutes(1) + Millis(1);
    world.setup.time.set(later);
    let fresh = |number| order_as("operator/root".parse().unwrap(), id_at(later, number), Command::Add { amount: 1 });
    assert_eq!(world.ask(fresh(4)).await, "6");
    assert_eq!(world.ask(add(1, 5)).await, "host.id_stale", "what left the window is refused, not run again");
    assert_eq!(world.balance().await, 6);
}

/// A clock that was wrong for a while must not make an outcome forgotten and its id young again.
#[tokio::test]
async fn a_clock_that_ran_ahead_and_came_back_runs_nothing_twice() {
    let mut world = World::start().await;
    assert_eq!(world.ask(add(1, 5)).await, "5");
    assert_eq!(world.ask(order(2, Command::Break { how: 1 })).await, "host.fault");
    world.ended(1).await;
    world.restarted(2).await;
    let ahead = NOON + Millis::hours(25);
    world.setup.time.set(ahead);
    // Admitted at that time, so that what is old by then is forgotten, but never recorded.
    let broken = order_as("operator/root".parse().unwrap(), id_at(ahead, 3), Command::Break { how: 1 });
    assert_eq!(world.ask(broken).await, "host.fault");
    world.setup.time.set(NOON);
    assert_eq!(world.ask(add(1, 5)).await, "host.id_stale");
    assert_eq!(world.balance().await, 5);
}

#[tokio::test]
async fn a_full_disk_refuses_what_is_new_and_clears() {
    let world = World::start().await;
    assert_eq!(world.ask(add(1, 5)).await, "5");
    let full = Setup { reserve_bytes: u64::MAX, ..world.stop().await }.start().await;
    assert_eq!(full.ask(add(2, 1)).await, "journal.disk_full");
    assert_eq!(full.ask(add(1, 5)).await, "5, again", "what was done is told");
    assert_eq!(full.balance().await, 5, "reading goes on");
    let clear = Setup { reserve_bytes: 0, ..full.stop().await }.start().await;
    assert_eq!(clear.ask(add(2, 1)).await, "6", "the refused id was not used up");
}
