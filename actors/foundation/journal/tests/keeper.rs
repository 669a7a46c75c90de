//! The keeper: the journal is open while it lives, and closed by whatever ends it.

use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use journal::codec::Body;
use journal::envelope::Answer;
use journal::store::Log;
use journal::{Append, AppendError, Durable, Entry, Journal, Keeper, Limits, Opened, Unwritable, keeper};
use kernel::{CommandId, Decision, Digest, Epoch, Kind, Position, Principal, Sequence, Timestamp};
use ractor::{Actor, ActorRuntime, SpawnErr};

const NOTED: Kind = Kind { id: 900, version: 1, name: "noted" };

fn limits() -> Limits {
    Limits { reserve_bytes: 0, ..Limits::default() }
}

fn opened(journal: &Journal) -> Opened {
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    journal.queue(Entry::Open { stream: "notes", principal: Principal::internal("test"), time: Timestamp(1), then });
    told.recv().unwrap().unwrap()
}

fn append(journal: &Journal, epoch: Epoch, expected: u64) -> Receiver<Result<Durable, AppendError>> {
    let (tell, told) = channel();
    journal.queue(Entry::Append(Box::new(Append {
        stream: "notes",
        epoch,
        expected: Position(expected),
        time: Timestamp(1),
        principal: Principal::internal("test"),
        decision: Decision::default(),
        command_id: CommandId(u128::from(expected)),
        command_digest: Digest::default(),
        cause: None,
        asked: None,
        answer: Answer::None,
        bodies: vec![Body { kind: NOTED, bytes: expected.to_le_bytes().to_vec() }],
        then: Box::new(move |answer| tell.send(answer).unwrap()),
    })));
    told
}

fn error(spawned: SpawnErr) -> keeper::NotOpened {
    let SpawnErr::StartupFailed(error) = spawned else { panic!("{spawned}") };
    *error.downcast().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn however_a_keeper_ends_the_journal_is_closed_and_the_next_one_finds_all_that_was_queued() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path(), limits());
    let mut version = 0;
    for kill in [true, false, true] {
        let (keeper, ended) = Actor::spawn(None, Keeper, journal.clone()).await.unwrap();
        let stream = opened(&journal);
        assert_eq!(stream.version, Position(version + 1), "nothing is lost");
        let told: Vec<_> = (0..50).map(|more| append(&journal, stream.epoch, stream.version.0 + more)).collect();
        if kill {
            keeper.kill();
        } else {
            keeper.stop(None);
        }
        ended.await.unwrap();
        assert_eq!(journal.writable(), Err(Unwritable::Closed), "kill: {kill}");
        for answer in told {
            answer.try_recv().expect("answered before the keeper counts as ended").unwrap();
        }
        version += 51;
    }
    journal.open().unwrap();
    assert_eq!(journal.verify(Sequence(1)).unwrap().records, version);
}

#[tokio::test]
async fn what_keeps_it_from_opening_has_a_code() {
    let dir = tempfile::tempdir().unwrap();
    let other = Journal::new(dir.path(), limits());
    other.open().unwrap();
    let journal = Journal::new(dir.path(), limits());
    let locked = error(Actor::spawn(None, Keeper, journal.clone()).await.unwrap_err());
    assert_eq!(locked.to_string(), format!("journal.locked: the journal in {} does not open", dir.path().display()));
    other.close();

    {
        let database = fjall::Database::builder(dir.path().join("store")).open().unwrap();
        let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
        records.insert(1_u64.to_be_bytes(), b"torn").unwrap();
    }
    let damaged = error(Actor::spawn(None, Keeper, journal.clone()).await.unwrap_err());
    assert!(damaged.to_string().starts_with("journal.damaged: "), "{damaged}");
    std::fs::write(dir.path().join("format"), "sop journal 3\n").unwrap();
    let contradicted = error(Actor::spawn(None, Keeper, journal.clone()).await.unwrap_err());
    assert!(contradicted.to_string().starts_with("journal.damaged: "), "{contradicted}: the tail is of this format");
    std::fs::remove_dir_all(dir.path().join("tail")).unwrap();
    let newer = error(Actor::spawn(None, Keeper, journal).await.unwrap_err());
    assert!(newer.to_string().starts_with("journal.format: "), "{newer}");
}

/// A journal whose first opening waits in the middle until told to go on.
fn slow_to_open(path: &std::path::Path) -> (Journal, Receiver<()>, Sender<()>) {
    let ((arrive, arrived), (go_on, told)) = (channel(), channel());
    let first = Mutex::new(Some((arrive, told)));
    let wrap = move |log: Box<dyn Log>| {
        if let Some((arrive, told)) = first.lock().unwrap().take() {
            arrive.send(()).unwrap();
            told.recv().unwrap();
        }
        log
    };
    (Journal::with_log(path, limits(), Box::new(wrap)), arrived, go_on)
}

#[test]
fn killed_while_it_opens_it_leaves_nothing_open() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, arrived, go_on) = slow_to_open(dir.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let starting = {
        let _inside = runtime.enter();
        let (keeper, starting) = ActorRuntime::spawn_instant(None, Keeper, journal.clone()).unwrap();
        arrived.recv().unwrap();
        keeper.kill();
        starting
    };
    assert!(runtime.block_on(starting).unwrap().is_err(), "a kill does not wait for the disk");
    go_on.send(()).unwrap();
    // Waits for the thread that was opening.
    drop(runtime);
    assert_eq!(journal.writable(), Err(Unwritable::Closed));
    Journal::new(dir.path(), limits()).open().expect("the store is free");
}

#[test]
fn killed_while_it_opens_it_does_not_close_what_the_next_one_opened() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, arrived, go_on) = slow_to_open(dir.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    let starting = {
        let _inside = runtime.enter();
        let (keeper, starting) = ActorRuntime::spawn_instant(None, Keeper, journal.clone()).unwrap();
        arrived.recv().unwrap();
        keeper.kill();
        starting
    };
    assert!(runtime.block_on(starting).unwrap().is_err());
    std::thread::scope(|scope| {
        let next = scope.spawn(|| journal.open());
        go_on.send(()).unwrap();
        next.join().unwrap().expect("the next one waits for its turn, and opens");
    });
    drop(runtime);
    assert_eq!(journal.writable(), Ok(()));
    assert_eq!(opened(&journal).epoch, Epoch(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn openings_and_closings_that_meet_leave_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path(), limits());
    for _ in 0..20 {
        for _ in 0..2 {
            let (keeper, starting) = ActorRuntime::spawn_instant(None, Keeper, journal.clone()).unwrap();
            tokio::task::yield_now().await;
            keeper.kill();
            // Whether it was up by then or not, its task has completed: a supervisor starts the next one now.
            if let Ok(running) = starting.await.unwrap() {
                running.await.unwrap();
            }
        }
        let (last, running) = Actor::spawn(None, Keeper, journal.clone()).await.expect("it gets its turn");
        opened(&journal);
        last.stop(None);
        running.await.unwrap();
        assert_eq!(journal.writable(), Err(Unwritable::Closed));
    }
}
