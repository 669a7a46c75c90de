//! The machine runs ahead of the disk, and nobody can see how far.

use tokio::task::JoinSet;

use crate::disk::Mode;
use crate::ledger::{AddedV1, Event};
use crate::world::{World, add, take, told};

/// Lets every task that can run do so: on one thread, each yield runs all that were ready.
async fn settled() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nothing_leaves_before_its_sync_and_the_machine_does_not_wait_for_it() {
    let world = World::start().await;
    assert_eq!(world.ask(add(1, 5)).await, "5");
    let (disk, time) = (world.setup.disk.clone(), world.setup.time.clone());
    let (groups, looks, durable) = (disk.groups(), time.looks(), world.ledger.durable());

    disk.set(Mode::Hold);
    let mut asked = JoinSet::new();
    let ask = |asked: &mut JoinSet<(u64, String)>, number, order| {
        let ledger = world.ledger.clone();
        asked.spawn(async move { (number, told(ledger.execute(order).await)) });
    };
    ask(&mut asked, 2, add(2, 1));
    disk.arrived(groups + 1).await;

    // The sync of 2 does not come back; everything below is decided meanwhile, on top of it.
    for number in 3..=20 {
        ask(&mut asked, number, add(number, 1));
    }
    ask(&mut asked, 21, take(21, 1_000));
    ask(&mut asked, 22, add(22, 0));
    ask(&mut asked, 23, add(2, 1));
    ask(&mut asked, 24, add(1, 5));
    let ledger = world.ledger.clone();
    asked.spawn(async move { (25, ledger.inspect(|ledger| ledger.balance).await.unwrap().to_string()) });
    time.looked_at(looks + 23).await;
    settled().await;

    let early: Vec<_> = std::iter::from_fn(|| asked.try_join_next()).map(Result::unwrap).collect();
    assert_eq!(early, [(24, "5, again".to_owned())], "only what was durable before is told");
    assert_eq!(world.seen.facts(), [Event::Added(AddedV1 { amount: 5 })], "no view runs ahead");
    assert_eq!(world.ledger.durable(), durable);
    assert_eq!(world.records().len(), 2, "opened, and the first");
    assert_eq!(disk.groups(), groups + 1);

    disk.set(Mode::Pass);
    let mut answers = asked.join_all().await;
    answers.sort_unstable();
    let mut expected: Vec<_> = (2..=20).map(|number| (number, (number + 4).to_string())).collect();
    let rest = [(21, "overdrawn 24"), (22, "24"), (23, "6, again"), (25, "24")];
    expected.extend(rest.map(|(number, answer)| (number, answer.to_owned())));
    assert_eq!(answers, expected);
    assert_eq!(disk.groups(), groups + 2, "all that was decided meanwhile shares the next sync");
}

#[tokio::test]
async fn a_repeat_in_flight_joins_its_first_and_one_of_another_content_waits_to_be_refused() {
    let world = World::start().await;
    world.setup.disk.set(Mode::Hold);
    let looks = world.setup.time.looks();
    let mut asked = JoinSet::new();
    for order in [add(1, 5), add(1, 5), add(1, 6), add(1, 5)] {
        let ledger = world.ledger.clone();
        asked.spawn(async move { told(ledger.execute(order).await) });
    }
    world.setup.time.looked_at(looks + 4).await;
    settled().await;
    assert!(asked.try_join_next().is_none());
    world.setup.disk.set(Mode::Pass);
    let mut answers = asked.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers, ["5", "5, again", "5, again", "host.id_taken"]);
    assert_eq!(world.balance().await, 5);
    assert_eq!(world.ran().len(), 1);
}

/// A caller that goes away takes nothing back, and the room it took comes free.
#[tokio::test]
async fn who_stops_waiting_changes_nothing() {
    let world = World::start().await;
    world.setup.disk.set(Mode::Hold);
    let looks = world.setup.time.looks();
    let mut asked = JoinSet::new();
    let ledger = world.ledger.clone();
    asked.spawn(async move { ledger.execute(add(1, 5)).await });
    world.setup.time.looked_at(looks + 1).await;
    asked.shutdown().await;
    world.setup.disk.set(Mode::Pass);
    assert_eq!(world.ask(add(1, 5)).await, "5, again");
}
