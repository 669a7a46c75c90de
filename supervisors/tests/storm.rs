//! A tree on several threads under a storm of kills: no incarnation overlaps another, and all come back. In the second
//! storm children come and go, too: who is a member when it is over is who was told so, and is up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{
    AddError, Backoff, Child, ChildRef, Heard, Outcome, RemoveError, Strategy, Supervisor, Tree, Verdict, What,
};
use tokio::task::JoinSet;

const LONG: Duration = Duration::from_mins(10);
const KILLS: usize = 3000;
const VISITS: usize = 100;

/// Something that only one incarnation may hold, as a lock on a file.
struct Lock(Arc<AtomicU32>);

impl Lock {
    fn take(holders: &Arc<AtomicU32>) -> Result<Self, ActorProcessingErr> {
        let others = holders.fetch_add(1, Ordering::SeqCst);
        let lock = Self(holders.clone());
        if others == 0 { Ok(lock) } else { Err("another incarnation is alive".into()) }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Worker(Arc<AtomicU32>);

impl Actor for Worker {
    type Msg = ();
    type State = Lock;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<Lock, ActorProcessingErr> {
        let lock = Lock::take(&self.0)?;
        tokio::task::yield_now().await;
        Ok(lock)
    }

    async fn handle(&self, _: ActorRef<()>, (): (), _: &mut Lock) -> Result<(), ActorProcessingErr> {
        panic!("as asked")
    }
}

fn branch(
    name: &str,
    strategy: Strategy,
    workers: &mut Vec<ChildRef<()>>,
    all: &mut Vec<Arc<AtomicU32>>,
) -> Supervisor {
    let branch = Supervisor::new(name, strategy).intensity(u32::MAX, LONG).backoff(Backoff::none());
    (0..3).fold(branch, |branch, at| {
        let (worker, holders) = (ChildRef::new(format!("{at}")), Arc::new(AtomicU32::new(0)));
        workers.push(worker.clone());
        all.push(holders.clone());
        branch.child(Child::actor(&worker, move || (Worker(holders.clone()), ())))
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_incarnations_and_no_one_lost() {
    let (mut workers, mut holders) = (Vec::new(), Vec::new());
    let root = Supervisor::new("root", Strategy::RestForOne).intensity(u32::MAX, LONG).backoff(Backoff::none());
    let root = root
        .supervisor(branch("one", Strategy::OneForOne, &mut workers, &mut holders))
        .supervisor(branch("all", Strategy::OneForAll, &mut workers, &mut holders))
        .supervisor(branch("rest", Strategy::RestForOne, &mut workers, &mut holders));
    let tree = Tree::start(root, 7).await.unwrap();
    let mut events = tree.subscribe();
    let listener = async {
        let mut restarts = 0;
        while let Some(heard) = events.next().await {
            let Heard::Decision(decision) = heard else { continue };
            if let What::Exited { exit, verdict } = decision.what {
                let text = exit.to_string();
                assert!(!text.contains("another incarnation"), "{}: {text}", decision.path);
                restarts += usize::from(matches!(verdict, Verdict::Restart { .. }));
            }
        }
        restarts
    };
    let storm = async {
        // A fixed, uneven walk over all nodes; how it meets the restarts differs from run to run.
        let paths: Vec<_> = ["one", "all", "rest"]
            .into_iter()
            .flat_map(|branch| {
                let below = (0..3).map(move |at| format!("root/{branch}/{at}"));
                below.chain([format!("root/{branch}")])
            })
            .collect();
        for round in 0..KILLS {
            let at = round * round % paths.len();
            if round % 3 == 0 {
                // A worker that is down already needs no panic.
                let _ = workers[at % workers.len()].cast(());
            } else {
                tree.kill(&paths[at]).await.unwrap();
            }
            workers[round % workers.len()].up().await;
        }
        for worker in &workers {
            worker.up().await;
        }
        tree.shutdown(LONG).await
    };
    let (report, restarts) = tokio::join!(storm, listener);
    assert!(report.farewells.iter().all(|farewell| farewell.outcome != Outcome::Unresponsive), "{report:?}");
    assert!(holders.iter().all(|holders| holders.load(Ordering::SeqCst) == 0), "nothing outlives the tree");
    assert!(restarts > KILLS / 10, "it was no storm: {restarts}");
}

/// Is added and removed, again and again, whatever it meets. Stays in the end if it is to.
struct Visitor {
    tree: Tree,
    above: &'static str,
    worker: ChildRef<()>,
    holders: Arc<AtomicU32>,
    stays: bool,
}

impl Visitor {
    fn path(&self) -> String {
        format!("{}/{}", self.above, self.worker.name())
    }

    async fn visits(self) -> Self {
        for visit in 1..=VISITS {
            while !self.comes().await {
                tokio::task::yield_now().await;
            }
            if self.stays && visit == VISITS {
                break;
            }
            tokio::task::yield_now().await;
            while !self.goes().await {
                tokio::task::yield_now().await;
            }
            assert!(self.tree.kill(&self.path()).await.is_err(), "{} is forgotten", self.path());
        }
        self
    }

    async fn comes(&self) -> bool {
        let holders = self.holders.clone();
        let child = Child::actor(&self.worker, move || (Worker(holders.clone()), ()));
        match self.tree.add(self.above, child).await {
            Ok(()) => true,
            // Killed on its way up, or with its supervisor.
            Err(AddError::Start { exit, .. }) => {
                assert!(!exit.to_string().contains("another incarnation"), "{}: {exit}", self.path());
                false
            }
            Err(AddError::SupervisorDown { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn goes(&self) -> bool {
        match self.tree.remove(&self.path()).await {
            Ok(farewell) => {
                assert_ne!(farewell.outcome, Outcome::Unresponsive);
                true
            }
            Err(RemoveError::SupervisorDown { .. }) => false,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_told_to_be_a_member_is_one() {
    let (mut workers, mut holders) = (Vec::new(), Vec::new());
    let root = Supervisor::new("root", Strategy::RestForOne).intensity(u32::MAX, LONG).backoff(Backoff::none());
    let root = root
        .supervisor(branch("one", Strategy::OneForOne, &mut workers, &mut holders))
        .supervisor(branch("all", Strategy::OneForAll, &mut workers, &mut holders))
        .supervisor(branch("rest", Strategy::RestForOne, &mut workers, &mut holders));
    let tree = Tree::start(root, 7).await.unwrap();
    let branches = ["root/one", "root/all", "root/rest"];
    let mut visitors = JoinSet::new();
    let below = |branch| (0..3).map(move |at| format!("{branch}/{at}")).chain([String::from(branch)]);
    let mut paths: Vec<_> = branches.into_iter().flat_map(below).collect();
    for above in branches {
        for number in 0..3 {
            let (worker, lock) = (ChildRef::new(format!("visitor{number}")), Arc::new(AtomicU32::new(0)));
            holders.push(lock.clone());
            let visitor = Visitor { tree: tree.clone(), above, worker, holders: lock, stays: number != 0 };
            paths.push(visitor.path());
            visitors.spawn(visitor.visits());
        }
    }
    let (mut stayed, mut round) = (Vec::new(), 0_usize);
    // It storms for as long as there are visitors, and not too hard for them to ever come up.
    while !visitors.is_empty() {
        round += 1;
        // One that is not a member at the moment is not killed.
        let _ = tree.kill(&paths[round * round % paths.len()]).await;
        workers[round % workers.len()].up().await;
        while let Some(visitor) = visitors.try_join_next() {
            let visitor = visitor.unwrap();
            if visitor.stays {
                stayed.push(visitor);
            }
        }
    }
    for worker in workers.iter().chain(stayed.iter().map(|visitor| &visitor.worker)) {
        worker.up().await;
    }
    let node = tree.snapshot();
    for visitor in &stayed {
        assert!(node.find(&visitor.path()).is_some(), "{} was told that it is a member", visitor.path());
    }
    assert_eq!(node.children.iter().map(|branch| branch.children.len()).collect::<Vec<_>>(), [5; 3]);
    let report = tree.shutdown(LONG).await;
    assert!(report.farewells.iter().all(|farewell| farewell.outcome != Outcome::Unresponsive), "{report:?}");
    assert!(holders.iter().all(|holders| holders.load(Ordering::SeqCst) == 0), "nothing outlives the tree");
}
