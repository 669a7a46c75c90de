//! The follower of the tile log in a tree: it follows, survives being killed, and never signs what does not extend.

use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

use evidence::tree::is_consistent;
use evidence::verify::Depth;
use evidence::{Evidence, Limits, Places};
use journal::codec::Body;
use journal::envelope::Answer;
use journal::{Append, Entry, Journal, Keeper};
use kernel::{CommandId, Decision, Digest, Epoch, Kind, Position, Principal, Timestamp};
use supervisors::{Backoff, Child, ChildRef, Strategy, Supervisor, Tree};
use workers::evidence::Following;

const NOTED: Kind = Kind { id: 900, version: 1, name: "noted" };

fn parts(home: &Path) -> (Journal, Evidence, Places) {
    let limits = journal::Limits { reserve_bytes: 0, ..journal::Limits::default() };
    let journal = Journal::new(&home.join("journal"), limits);
    let places = Places { log: home.join("evidence"), key: home.join("keys/log") };
    (journal.clone(), Evidence::new(&journal, places.clone(), Limits::default()), places)
}

async fn tree(journal: &Journal, evidence: &Evidence) -> Tree {
    let keeper = journal.clone();
    let following = Following { evidence: evidence.clone(), journal: journal.clone() };
    let root = Supervisor::new("root", Strategy::OneForOne)
        .intensity(10_000, Duration::from_secs(1))
        .backoff(Backoff::exp(Duration::from_millis(1), Duration::from_millis(2)))
        .child(Child::actor::<Keeper, _>(&ChildRef::new("journal"), move || (Keeper, keeper.clone())))
        .child(following.child());
    Tree::start(root, 1).await.unwrap()
}

fn opened(journal: &Journal) -> Epoch {
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    journal.queue(Entry::Open { stream: "notes", principal: Principal::internal("test"), time: Timestamp(1), then });
    told.recv().unwrap().unwrap().epoch
}

fn append(journal: &Journal, epoch: Epoch, expected: u64) {
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
    told.recv().unwrap().unwrap();
}

/// Waits until all that is durable is signed. The test hangs if that never comes.
async fn signed(evidence: &Evidence) {
    while evidence.standing().lag != 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_recorded_is_signed_without_anybody_asking_and_at_the_stop_all_of_it() {
    let home = tempfile::tempdir().unwrap();
    let (journal, evidence, places) = parts(home.path());
    let running = tree(&journal, &evidence).await;
    let epoch = opened(&journal);
    append(&journal, epoch, 1);
    signed(&evidence).await;
    for expected in 2..400 {
        append(&journal, epoch, expected);
    }
    assert!(running.shutdown(Duration::from_mins(1)).await.is_graceful());
    let key = places.public().unwrap();
    assert_eq!(places.checkpoint(&key).unwrap().0.size, 400, "the stop signs the last");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_that_is_killed_at_any_moment_signs_one_history() {
    let home = tempfile::tempdir().unwrap();
    let (journal, evidence, places) = parts(home.path());
    let running = tree(&journal, &evidence).await;
    let epoch = opened(&journal);
    let mut checkpoints = vec![evidence.checkpoint().unwrap().0];
    for expected in 1..900 {
        append(&journal, epoch, expected);
        // A kill may come while it reads, writes, syncs or rests; how far it was, chance decides.
        if expected % 7 == 0 {
            running.kill("root/evidence").await.unwrap();
        }
        let (now, _) = evidence.checkpoint().unwrap();
        if checkpoints.last() != Some(&now) {
            checkpoints.push(now);
        }
    }
    signed(&evidence).await;
    let last = evidence.checkpoint().unwrap().0;
    assert_eq!(last.size, 900);
    assert_eq!(evidence.verify(Depth::All).unwrap().entries, 900);
    println!("{} checkpoints seen", checkpoints.len());
    for old in &checkpoints {
        let proof = places.consistency(old.size, last.size).unwrap();
        assert!(is_consistent(&proof, old.size, old.root, last.size, last.root), "{old:?}");
    }
    assert!(checkpoints.is_sorted_by_key(|checkpoint| checkpoint.size));
    assert!(running.shutdown(Duration::from_mins(1)).await.is_graceful());
}
