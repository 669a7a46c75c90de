//! How incarnations end: poison, lies in the record, and disks that fail.

use std::sync::mpsc::channel;

use host::Limits;
use journal::codec;
use journal::{Append, Entry, Opened};
use kernel::{CommandId, Decision, Digest, Position, Principal};
use supervisors::{Exit, NodeState, StartFault};
use tokio::task::JoinSet;

use crate::disk::{Disk, Mode};
use crate::ledger::{Command, Event, TakenV1};
use crate::world::{LEDGER, NOON, Setup, World, add, id_at, order, take, told};

#[tokio::test]
async fn a_command_that_panics_is_a_fault_and_never_a_crash_loop() {
    for (command, said) in [
        (Command::Break { how: 1 }, "broken by 1"),
        // Half evolved by the time it panics.
        (Command::Curse, "only what is held is released"),
    ] {
        let mut world = World::start().await;
        assert_eq!(world.ask(add(1, 5)).await, "5");
        let error = world.ledger.execute(order(2, command.clone())).await.unwrap_err();
        assert_eq!((error.code(), error.to_string()), ("host.fault", format!("this command made ledger fail: {said}")));
        assert_eq!(world.ended(1).await, Exit::Failed { error: said.to_owned() });
        world.restarted(2).await;
        for (row, order, answer) in [
            ("the same", order(2, command.clone()), "host.fault"),
            ("the same under another id", order(3, command), "host.fault"),
            ("another", add(4, 1), "6"),
            ("what was done before", add(1, 5), "5, again"),
        ] {
            assert_eq!(world.ask(order).await, answer, "{row}");
        }
        assert_eq!(world.balance().await, 6);
        assert_eq!(world.tree.snapshot().find(LEDGER).unwrap().epoch, 2, "no second end");
        assert_eq!(world.ran(), [id_at(NOON, 1), id_at(NOON, 4)], "it left no record");
    }
}

/// What was decided before the poison is kept, what came after it is told that nobody knows, and runs once.
#[tokio::test]
async fn commands_around_a_poisoned_one() {
    let mut world = World::start().await;
    world.setup.disk.set(Mode::Hold);
    let looks = world.setup.time.looks();
    let mut asked = JoinSet::new();
    for order in [add(1, 5), order(2, Command::Break { how: 1 }), add(3, 1)] {
        let ledger = world.ledger.clone();
        asked.spawn(async move { told(ledger.execute(order).await) });
    }
    world.setup.time.looked_at(looks + 2).await;
    assert_eq!(asked.join_next().await.unwrap().unwrap(), "host.fault", "rests on nothing durable");
    world.ended(1).await;
    assert_eq!(asked.join_next().await.unwrap().unwrap(), "host.outcome_unknown");
    world.setup.disk.set(Mode::Pass);
    assert_eq!(asked.join_next().await.unwrap().unwrap(), "5", "its end takes nothing back");
    world.restarted(2).await;
    assert_eq!(world.ask(add(1, 5)).await, "5, again");
    assert_eq!(world.ask(add(3, 1)).await, "6");
}

/// Appends a fact that cannot follow, as damage or another release would.
fn lie(world: &World) {
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    let principal = Principal::internal("test");
    world.journal.queue(Entry::Open { stream: "ledger", principal: principal.clone(), time: NOON, then });
    let Opened { epoch, version, .. } = told.recv().unwrap().unwrap();
    let (tell, told) = channel();
    world.journal.queue(Entry::Append(Box::new(Append {
        stream: "ledger",
        epoch,
        expected: version,
        time: NOON,
        principal,
        decision: Decision::default(),
        command_id: CommandId(1),
        command_digest: Digest::default(),
        cause: None,
        asked: None,
        answer: journal::envelope::Answer::None,
        bodies: vec![codec::write(&Event::Taken(TakenV1 { amount: 1_000 })).unwrap()],
        then: Box::new(move |answer| tell.send(answer).unwrap()),
    })));
    told.recv().unwrap().unwrap();
}

#[tokio::test]
async fn what_cannot_be_replayed_is_quarantined_at_once_and_named() {
    let mut world = World::start().await;
    assert_eq!(world.ask(add(1, 5)).await, "5");
    lie(&world);
    assert_eq!(world.ask(add(2, 1)).await, "host.down", "the fenced one has certainly not run");
    let fenced = "an append failed: another incarnation has taken over the stream".to_owned();
    assert_eq!(world.ended(1).await, Exit::Failed { error: fenced });
    let reason = "ledger cannot replay record 4: nothing is taken that is not there".to_owned();
    let reason = Exit::StartFailed(StartFault::Unrecoverable { reason });
    assert_eq!(world.ended(2).await, reason);
    assert_eq!(world.ask(add(2, 1)).await, "host.down");
    assert_eq!(world.tree.snapshot().find(LEDGER).unwrap().state, NodeState::Quarantined { reason: reason.clone() });

    let world = world.again().await;
    let node = world.tree.snapshot();
    assert_eq!(node.find(LEDGER).unwrap().state, NodeState::Quarantined { reason }, "at the first start too");
    assert_eq!(world.ask(add(2, 1)).await, "host.down");
}

/// What is read where the ledger's second version should be is another record.
fn misread(setup: &Setup) {
    let database = fjall::Database::builder(setup.dir.path().join("store")).open().unwrap();
    let streams = database.keyspace("streams", fjall::KeyspaceCreateOptions::default).unwrap();
    let entry = |version: u64| [&b"ledger\0"[..], &version.to_be_bytes()].concat();
    let first = streams.get(entry(1)).unwrap().expect("the ledger was opened");
    assert!(streams.get(entry(2)).unwrap().is_some_and(|second| second != first));
    streams.insert(entry(2), first).unwrap();
    database.persist(fjall::PersistMode::SyncAll).unwrap();
}

#[tokio::test]
async fn what_is_damaged_on_the_disk_is_quarantined_at_once_and_named() {
    // A snapshot would spare it the reading.
    let limits = Limits { snapshot_every: 0, ..Limits::default() };
    let world = Setup { limits, ..Setup::default() }.start().await;
    assert_eq!((world.ask(add(1, 5)).await, world.ask(add(2, 5)).await), ("5".into(), "10".into()));
    let setup = Setup { disk: Disk::default(), ..world.stop().await };
    misread(&setup);
    let world = setup.start().await;
    let reason =
        "the store is damaged from record 1 on: version 1 of ledger is where 2 of ledger is looked for".to_owned();
    let reason = Exit::StartFailed(StartFault::Unrecoverable { reason });
    let node = world.tree.snapshot();
    let ledger = node.find(LEDGER).unwrap();
    assert_eq!((&ledger.state, ledger.epoch), (&NodeState::Quarantined { reason }, 1), "it was tried once");
    assert_eq!(world.ask(add(3, 1)).await, "host.down");
}

/// Of the group that failed nobody sees a trace in this process; the next one answers or runs each command once.
#[tokio::test]
async fn a_disk_that_fails_leaves_the_outcome_unknown_and_no_trace() {
    for written in [false, true] {
        let mut world = World::start().await;
        assert_eq!(world.ask(add(1, 5)).await, "5");
        let (seen, durable) = (world.seen.all(), world.ledger.durable());
        let (disk, time) = (world.setup.disk.clone(), world.setup.time.clone());
        let (groups, looks) = (disk.groups(), time.looks());

        disk.set(Mode::Hold);
        let mut asked = JoinSet::new();
        let ask = |asked: &mut JoinSet<String>, order| {
            let ledger = world.ledger.clone();
            asked.spawn(async move { told(ledger.execute(order).await) });
        };
        ask(&mut asked, add(2, 1));
        disk.arrived(groups + 1).await;
        // Queued behind the group that will fail: certainly not written.
        ask(&mut asked, add(3, 1));
        ask(&mut asked, take(4, 1_000));
        ask(&mut asked, add(2, 1));
        let ledger = world.ledger.clone();
        asked.spawn(async move {
            ledger.inspect(|ledger| ledger.balance).await.map_or_else(|e| e.code().into(), |b| b.to_string())
        });
        time.looked_at(looks + 4).await;
        tokio::task::yield_now().await;
        disk.set(Mode::Fail { written });

        for answer in asked.join_all().await {
            assert_eq!(answer, "host.outcome_unknown", "written: {written}");
        }
        let exit = world.ended(1).await;
        assert!(matches!(&exit, Exit::Failed { error } if error.contains("EIO")), "{exit}");
        assert!(["host.down", "host.outcome_unknown"].contains(&world.ask(add(1, 5)).await.as_str()));
        assert_eq!((world.seen.all(), world.ledger.durable()), (seen, durable), "no view saw it");
        assert_eq!(disk.groups(), groups + 1, "nothing was written after the failure");

        let world = world.again().await;
        let mut ran = vec![id_at(NOON, 1)];
        ran.extend(written.then_some(id_at(NOON, 2)));
        assert_eq!(world.ran(), ran, "what was acknowledged, and what was unknown if it was written");
        let second = if written { "6, again" } else { "6" };
        for (order, answer) in [
            (add(1, 5), "5, again"),
            (add(2, 1), second),
            (add(3, 1), "7"),
            (take(4, 1_000), "overdrawn 7"),
            (add(2, 1), "6, again"),
        ] {
            assert_eq!(world.ask(order).await, answer, "written: {written}");
        }
        assert_eq!(world.balance().await, 7);
        assert_eq!(world.seen.facts().len(), 3);
    }
}

/// The journal is closed and opened again under a ledger that is restarted with it.
#[tokio::test]
async fn the_ledger_comes_back_with_its_journal() {
    let mut world = World::start().await;
    assert_eq!(world.ask(add(1, 5)).await, "5");
    world.tree.kill(crate::world::JOURNAL).await.unwrap();
    world.restarted(2).await;
    assert_eq!(world.ask(add(1, 5)).await, "5, again");
    assert_eq!(world.ask(add(2, 1)).await, "6");
    let epochs: Vec<_> = world.records().into_iter().map(|record| record.epoch.0).collect();
    assert_eq!(epochs, [1, 1, 2, 2]);
    let last = world.ledger.durable();
    let world = Setup { ..world.stop().await }.start().await;
    assert_eq!(world.ledger.durable(), Position(last.0 + 1), "only the opening is new");
}
