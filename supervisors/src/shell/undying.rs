//! What happens around a child that survives its kill.
//!
//! Really, that is a child that blocks its thread, which would stop the paused clock as well. Here it is a worker whose
//! life is reported as over only when the test opens a gate.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::watch;
use tokio::time::Instant;

use super::{Herald, Launch, Launched, News, Terms, Worker};
use crate::board::{Grip, Incarnation};
use crate::reference::{ChildRef, Outlet};
use crate::report::{AddError, Exit, NodeState, Outcome, RemoveError, RestartError, Verdict, What};
use crate::spec::{Child, Exhausted, Part, Strategy, Supervisor};
use crate::step::{ABORT_CONFIRM, KILL_CONFIRM};
use crate::tree::Tree;

const LIMIT: Duration = Duration::from_secs(2);

struct Undying {
    worker: Arc<dyn Launch>,
    gate: watch::Receiver<bool>,
}

impl Launch for Undying {
    fn launch(self: Arc<Self>, epoch: u64, terms: &Terms, herald: Herald) -> Launched {
        let Launched { incarnation, is_up, life } = self.worker.clone().launch(epoch, terms, herald);
        let mut gate = self.gate.clone();
        let life = Box::pin(async move {
            let exit = life.await;
            gate.wait_for(|open| *open).await.expect("the test holds the gate");
            exit
        });
        Launched { incarnation, is_up, life }
    }

    fn outlet(&self) -> &Arc<dyn Outlet> {
        self.worker.outlet()
    }

    fn bound(&self) -> Option<usize> {
        self.worker.bound()
    }
}

struct Idle;

impl Actor for Idle {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

fn idle(reference: &ChildRef<()>) -> Child {
    Child::actor(reference, || (Idle, ()))
}

fn undying(reference: &ChildRef<()>, gate: &watch::Sender<bool>) -> Child {
    let worker = Arc::new(Worker::new(reference, |_| (Idle, ())));
    let launch = Undying { worker, gate: gate.subscribe() };
    Child::new(reference.name().into(), Part::Worker(Arc::new(launch))).shutdown(LIMIT)
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_is_bounded_and_names_it() {
    let (gate, first, last) = (watch::Sender::new(false), ChildRef::new("first"), ChildRef::new("last"));
    let root = Supervisor::new("root", Strategy::OneForOne).child(idle(&first)).child(undying(&last, &gate));
    let tree = Tree::start(root, 1).await.unwrap();
    let before = Instant::now();
    let report = tree.shutdown(2 * (LIMIT + KILL_CONFIRM)).await;
    // The supervisor asks, kills and aborts; then whoever waits for the supervisor gives what is left below it a last
    // chance.
    assert_eq!(before.elapsed(), LIMIT + 2 * KILL_CONFIRM + ABORT_CONFIRM);
    let outcomes: Vec<_> = report.farewells.iter().map(|farewell| (&*farewell.path, farewell.outcome)).collect();
    let (graceful, unresponsive) = (Outcome::Graceful, Outcome::Unresponsive);
    assert_eq!(outcomes, [("root", unresponsive), ("root/first", graceful), ("root/last", unresponsive)]);
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_has_no_successor_before_the_last_below_it_is_gone() {
    let (gate, child) = (watch::Sender::new(false), ChildRef::new("child"));
    let inner = Supervisor::new("inner", Strategy::OneForOne).child(undying(&child, &gate));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(inner), 1).await.unwrap();
    tree.kill("root/inner").await.unwrap();
    tokio::time::sleep(KILL_CONFIRM / 2).await;
    assert_eq!(tree.snapshot().find("root/inner").unwrap().epoch, 1);
    gate.send_replace(true);
    assert_eq!(child.up_after(1).await, 2);
    assert_eq!(tree.snapshot().find("root/inner").unwrap().epoch, 2);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_cannot_be_replaced_ends_the_one_above() {
    let (gate, child) = (watch::Sender::new(false), ChildRef::new("child"));
    let inner = Supervisor::new("inner", Strategy::OneForOne).child(undying(&child, &gate));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(inner), 1).await.unwrap();
    tree.kill("root/inner").await.unwrap();
    let ended = tree.ended().await;
    let exits = &ended.exit.chain()[0].exits;
    assert_eq!(exits, &[Exit::Killed, Exit::Unresponsive]);
    assert_eq!(child.epoch(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_stays_in_quarantine_while_it_lives() {
    let (gate, first, second) = (watch::Sender::new(false), ChildRef::new("first"), ChildRef::new("second"));
    let root = Supervisor::new("root", Strategy::RestForOne)
        .on_exhausted(Exhausted::Quarantine)
        .child(idle(&first))
        .child(undying(&second, &gate));
    let tree = Tree::start(root, 1).await.unwrap();
    tree.kill("root/first").await.unwrap();
    first.up_after(1).await;
    let quarantined = NodeState::Quarantined { reason: Exit::Unresponsive };
    assert_eq!(tree.snapshot().find("root/second").unwrap().state, quarantined);
    assert!(matches!(tree.restart("root/second").await, Err(RestartError::NotDown { .. })));

    gate.send_replace(true);
    while tree.restart("root/second").await.is_err() {
        tokio::task::yield_now().await;
    }
    second.up_after(1).await;
}

#[tokio::test(start_paused = true)]
async fn it_is_not_forgotten_while_it_lives() {
    let (gate, child) = (watch::Sender::new(false), ChildRef::new("child"));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne), 1).await.unwrap();
    tree.add("root", undying(&child, &gate)).await.unwrap();
    let unresponsive = || Err(RemoveError::Unresponsive { path: "root/child".to_owned() });
    let before = Instant::now();
    assert_eq!(tree.remove("root/child").await, unresponsive());
    assert_eq!(before.elapsed(), LIMIT + KILL_CONFIRM + ABORT_CONFIRM);
    assert_eq!(tree.remove("root/child").await, unresponsive(), "at once");
    let quarantined = NodeState::Quarantined { reason: Exit::Unresponsive };
    assert_eq!(tree.snapshot().find("root/child").unwrap().state, quarantined);

    gate.send_replace(true);
    while tree.remove("root/child").await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(tree.snapshot().children, []);
    assert!(tree.shutdown(LIMIT).await.is_graceful(), "its supervisor went on");
}

/// Never comes up.
struct Sleeper;

impl Actor for Sleeper {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_was_to_be_added_is_forgotten_when_it_has_ended() {
    let (gate, child) = (watch::Sender::new(false), ChildRef::new("child"));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne), 1).await.unwrap();
    let worker = Arc::new(Worker::new(&child, |_| (Sleeper, ())));
    let launch = Undying { worker, gate: gate.subscribe() };
    let late = Child::new("child".into(), Part::Worker(Arc::new(launch))).start_timeout(LIMIT);
    let before = Instant::now();
    let path = "root/child".to_owned();
    assert_eq!(tree.add("root", late).await, Err(AddError::Start { path, exit: Exit::Unresponsive }));
    assert_eq!(before.elapsed(), LIMIT + KILL_CONFIRM + ABORT_CONFIRM);
    let taken = tree.add("root", idle(&child)).await;
    assert!(matches!(taken, Err(AddError::AlreadyPresent { .. })), "its name is taken");
    gate.send_replace(true);
    while tree.add("root", idle(&child)).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert!(child.is_up());
}

/// Hears no kill, and ends when its task is taken away.
struct Deaf(Arc<dyn Launch>);

struct Gate(watch::Sender<bool>);

impl Grip for Gate {
    fn unplug(&self) {}

    fn abort(&self) {
        self.0.send_replace(true);
    }
}

impl Launch for Deaf {
    fn launch(self: Arc<Self>, epoch: u64, terms: &Terms, herald: Herald) -> Launched {
        let Launched { incarnation, is_up, life } = self.0.clone().launch(epoch, terms, herald);
        let gate = watch::Sender::new(false);
        let mut opened = gate.subscribe();
        let life = Box::pin(async move {
            life.await;
            opened.wait_for(|open| *open).await.expect("the incarnation is on the board");
            Exit::Aborted
        });
        Launched { incarnation: Incarnation { grip: Arc::new(Gate(gate)), ..incarnation }, is_up, life }
    }

    fn outlet(&self) -> &Arc<dyn Outlet> {
        self.0.outlet()
    }

    fn bound(&self) -> Option<usize> {
        self.0.bound()
    }
}

#[tokio::test(start_paused = true)]
async fn what_does_not_hear_its_kill_is_aborted() {
    let child = ChildRef::new("child");
    let launch = Deaf(Arc::new(Worker::new(&child, |_| (Idle, ()))));
    let spec = Child::new("child".into(), Part::Worker(Arc::new(launch))).shutdown(LIMIT);
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).child(spec), 1).await.unwrap();
    let mut events = tree.subscribe();
    let before = Instant::now();
    let farewell = tree.terminate("root/child").await.unwrap();
    assert_eq!(before.elapsed(), LIMIT + KILL_CONFIRM);
    assert_eq!((farewell.outcome, farewell.exit), (Outcome::Aborted, Exit::Aborted));
    let decided = std::iter::from_fn(|| events.try_next()).filter_map(|heard| match heard {
        crate::Heard::Decision(decision) if &*decision.path == "root/child" => Some(decision.what),
        _ => None,
    });
    let exited = What::Exited { exit: Exit::Aborted, verdict: Verdict::AsOrdered };
    let ladder = [What::Stopping, What::Killing, What::Aborting, exited, What::Terminated];
    assert_eq!(decided.skip(2).collect::<Vec<_>>(), ladder);
    assert!(tree.shutdown(LIMIT).await.is_graceful());
}

#[tokio::test(start_paused = true)]
async fn an_abort_is_an_end_of_its_own() {
    for starts in [false, true] {
        let child = ChildRef::new("child");
        let herald: Herald = Arc::new(|_: News| ());
        let launched = if starts {
            Arc::new(Worker::new(&child, |_| (Idle, ()))).launch(1, &Terms::default(), herald)
        } else {
            Arc::new(Worker::new(&child, |_| (Sleeper, ()))).launch(1, &Terms::default(), herald)
        };
        let grip = launched.incarnation.grip.clone();
        let aborting = async {
            if starts {
                child.up().await;
            } else {
                tokio::task::yield_now().await;
            }
            grip.abort();
        };
        assert_eq!(tokio::join!(launched.life, aborting).0, Exit::Aborted);
        assert!(!child.is_up());
    }
}
