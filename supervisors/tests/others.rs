//! What goes wrong elsewhere and not here. Each test has the number of a finding about ractor 0.16 (R), on which this
//! crate is built, ractor-supervisor 0.2 (S) or kameo 0.22 (K), and says first what was found there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{
    AddError, Backoff, CallError, Child, ChildRef, Events, Exit, Heard, Strategy, Supervisor, Tree, Verdict, What,
};
use tokio::sync::oneshot;
use tokio::time::Instant;

const LONG: Duration = Duration::from_mins(10);

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

type Log = Arc<Mutex<Vec<String>>>;

fn take(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

enum Msg {
    Ping(oneshot::Sender<u64>),
    /// Busy, and hears a kill.
    Sleep(u64),
    /// Busy, and hears nothing, until the test lets it go.
    Block(std::sync::mpsc::Receiver<()>),
    Panic,
    Fail,
    End,
}

/// A child that writes down when it starts, and when its stop begins and ends.
#[derive(Clone)]
struct Worker {
    name: &'static str,
    log: Log,
    stop: u64,
    starts: bool,
    epoch: u64,
}

impl Worker {
    fn say(&self, what: &str) {
        self.log.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

impl Actor for Worker {
    type Msg = Msg;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<(), ActorProcessingErr> {
        if !self.starts {
            return Err("no disk".into());
        }
        self.say("start");
        Ok(())
    }

    async fn handle(&self, myself: ActorRef<Msg>, msg: Msg, (): &mut ()) -> Result<(), ActorProcessingErr> {
        match msg {
            // The caller may have stopped waiting.
            Msg::Ping(reply) => drop(reply.send(self.epoch)),
            Msg::Sleep(time) => tokio::time::sleep(ms(time)).await,
            Msg::Block(go) => {
                self.say("block");
                go.recv()?;
                self.say("unblock");
            }
            Msg::Panic => panic!("boom"),
            Msg::Fail => return Err("no disk".into()),
            Msg::End => myself.stop(None),
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Msg>, (): &mut ()) -> Result<(), ActorProcessingErr> {
        self.say("stop");
        tokio::time::sleep(ms(self.stop)).await;
        self.say("stopped");
        Ok(())
    }
}

/// The children of one test.
#[derive(Default)]
struct Family {
    log: Log,
}

impl Family {
    fn child(&self, reference: &ChildRef<Msg>, name: &'static str, stop: u64) -> Child {
        let worker = Worker { name, log: self.log.clone(), stop, starts: true, epoch: 0 };
        Child::actor_with_epoch(reference, move |epoch| (Worker { epoch, ..worker.clone() }, ()))
    }

    fn stillborn(&self, reference: &ChildRef<Msg>) -> Child {
        let worker = Worker { name: "stillborn", log: self.log.clone(), stop: 0, starts: false, epoch: 0 };
        Child::actor(reference, move || (worker.clone(), ()))
    }

    /// A supervisor of `a`, `b` and `c`, which restarts without end or delay.
    fn of_three(&self, strategy: Strategy) -> ([ChildRef<Msg>; 3], Supervisor) {
        let names = ["a", "b", "c"];
        let children = names.map(ChildRef::new);
        let specs = children.iter().zip(names).map(|(child, name)| self.child(child, name, 0));
        let root = specs.fold(patient("root", strategy), Supervisor::child);
        (children, root)
    }
}

fn patient(name: &str, strategy: Strategy) -> Supervisor {
    Supervisor::new(name, strategy).intensity(u32::MAX, LONG).backoff(Backoff::none())
}

/// The next end of a child.
async fn end(events: &mut Events) -> (Exit, Verdict) {
    loop {
        let Some(Heard::Decision(decision)) = events.next().await else { panic!("the tree runs") };
        if let What::Exited { exit, verdict } = decision.what {
            return (exit, verdict);
        }
    }
}

/// Found: children are killed, in no order, without their `post_stop`, also when their supervisor is stopped.
#[tokio::test(start_paused = true)]
async fn r1_s4_a_stop_stops_all_below_in_reverse_order() {
    let family = Family::default();
    let (_, inner) = family.of_three(Strategy::OneForOne);
    let tree = Tree::start(Supervisor::new("top", Strategy::OneForOne).supervisor(inner), 1).await.unwrap();
    take(&family.log);
    assert!(tree.shutdown(LONG).await.is_graceful());
    assert_eq!(take(&family.log), ["stop c", "stopped c", "stop b", "stopped b", "stop a", "stopped a"]);
}

/// Found: a name is free before `post_stop` has run (R2), and the next incarnation starts while the last stops (K2).
#[tokio::test(start_paused = true)]
async fn r2_k2_two_incarnations_do_not_overlap() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let tree = Tree::start(patient("root", Strategy::OneForOne).child(family.child(&child, "x", 80)), 1).await.unwrap();
    child.cast(Msg::End).unwrap();
    child.up_after(1).await;
    assert_eq!(take(&family.log), ["start x", "stop x", "stopped x", "start x"]);
    // Not by a name either: nobody's children have one, so that no two can meet.
    let twin = ChildRef::new("child");
    let other = patient("other", Strategy::OneForOne).child(family.child(&twin, "twin", 0));
    tree.add("root", other).await.unwrap();
    assert!(twin.is_up() && child.is_up());
    tree.shutdown(LONG).await;
}

/// Found: the kill of a supervisor returns while its child still works, and nothing waits for that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r3_no_successor_comes_before_a_blocked_orphan_is_gone() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let inner = Supervisor::new("inner", Strategy::OneForOne).child(family.child(&child, "x", 0));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(inner), 1).await.unwrap();
    let (go, blocked) = std::sync::mpsc::channel();
    child.cast(Msg::Block(blocked)).unwrap();
    while !family.log.lock().unwrap().contains(&"block x".to_owned()) {
        tokio::task::yield_now().await;
    }
    tree.kill("root/inner").await.unwrap();
    // A successor has every opportunity to come.
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(child.epoch(), 1);
    go.send(()).unwrap();
    assert_eq!(child.up_after(1).await, 2);
    assert_eq!(take(&family.log), ["start x", "block x", "unblock x", "start x"]);
    tree.shutdown(LONG).await;
}

/// Found: a call in the mailbox of an actor that is stopped ends like one that nobody answers.
#[tokio::test(start_paused = true)]
async fn r4_a_call_that_is_lost_to_a_restart_says_so() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let tree = Tree::start(patient("root", Strategy::OneForOne).child(family.child(&child, "x", 0)), 1).await.unwrap();
    child.cast(Msg::Sleep(50)).unwrap();
    let (called, ()) = tokio::join!(child.call(Msg::Ping, LONG), async {
        tokio::time::sleep(ms(10)).await;
        assert!(child.stop(1));
    });
    assert_eq!(called, Err(CallError::Restarted { epoch: 1 }));
    tree.shutdown(LONG).await;
}

/// Found: a reference dies with its incarnation (R5). Better there: it does not (K3).
#[tokio::test(start_paused = true)]
async fn r5_k3_one_reference_leads_to_all_incarnations() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let tree = Tree::start(patient("root", Strategy::OneForOne).child(family.child(&child, "x", 0)), 1).await.unwrap();
    for epoch in 1..=5 {
        assert_eq!(child.call(Msg::Ping, LONG).await, Ok(epoch));
        child.cast(Msg::Panic).unwrap();
        child.up_after(epoch).await;
    }
    tree.shutdown(LONG).await;
}

/// Found: a failing start is an error to one, and nobody else hears of it.
#[tokio::test(start_paused = true)]
async fn r6_a_failing_start_is_an_error_and_a_decision() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let tree = Tree::start(patient("root", Strategy::OneForOne), 1).await.unwrap();
    let mut events = tree.subscribe();
    let Err(AddError::Start { exit, .. }) = tree.add("root", family.stillborn(&child)).await else { panic!("no disk") };
    assert_eq!(exit.to_string(), "did not start: no disk");
    assert_eq!(end(&mut events).await, (exit, Verdict::TakeOut));
    tree.shutdown(LONG).await;
}

/// Found: a kill looks like a stop, and a panic like an error. So a killed transient child stays dead (S1).
#[tokio::test(start_paused = true)]
async fn r7_s1_every_end_has_its_own_reason_and_a_killed_transient_child_comes_back() {
    let restart = Verdict::Restart { after: Duration::ZERO };
    for (way, expected, verdict) in [
        ("stop", "stopped as asked", Verdict::AsOrdered),
        ("end", "ended normally", Verdict::Done),
        ("kill", "killed", restart),
        ("panic", "panicked", restart),
        ("error", "failed: no disk", restart),
    ] {
        let (family, child) = (Family::default(), ChildRef::new("child"));
        let spec = family.child(&child, "x", 0).transient();
        let tree = Tree::start(patient("root", Strategy::OneForOne).child(spec), 1).await.unwrap();
        let mut events = tree.subscribe();
        match way {
            "stop" => drop(tree.terminate("root/child").await.unwrap()),
            "end" => child.cast(Msg::End).unwrap(),
            "kill" => tree.kill("root/child").await.unwrap(),
            "panic" => child.cast(Msg::Panic).unwrap(),
            _ => child.cast(Msg::Fail).unwrap(),
        }
        let (exit, judged) = end(&mut events).await;
        assert!(exit.to_string().starts_with(expected), "{way}: {exit}");
        assert_eq!(judged, verdict, "{way}");
        if verdict == restart {
            assert_eq!(child.up_after(1).await, 2);
        }
        tree.shutdown(LONG).await;
    }
}

/// Found: a group restart kills the siblings, and then sleeps 10 ms in the hope that their names are free.
#[tokio::test(start_paused = true)]
async fn s2_a_group_restart_stops_the_siblings_and_takes_no_time() {
    let family = Family::default();
    let (children, root) = family.of_three(Strategy::OneForAll);
    let tree = Tree::start(root, 1).await.unwrap();
    take(&family.log);
    let before = Instant::now();
    tree.kill("root/a").await.unwrap();
    children[2].up_after(1).await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    let expected = ["stop c", "stopped c", "stop b", "stopped b", "start a", "start b", "start c"];
    assert_eq!(take(&family.log), expected);
    tree.shutdown(LONG).await;
}

/// Found: one sibling that is busy for longer than that destroys the whole tree (S3), or holds it up for as long as it
/// likes (K5).
#[tokio::test(start_paused = true)]
async fn s3_k5_a_busy_sibling_is_waited_for_and_not_for_ever() {
    for (busy, limit, takes) in [(300, 1000, 300), (400, 100, 100)] {
        let (family, a, b) = (Family::default(), ChildRef::new("a"), ChildRef::new("b"));
        let busybody = family.child(&b, "b", 0).shutdown(ms(limit));
        let root = patient("root", Strategy::OneForAll).child(family.child(&a, "a", 0)).child(busybody);
        let tree = Tree::start(root, 1).await.unwrap();
        b.cast(Msg::Sleep(busy)).unwrap();
        tokio::task::yield_now().await;
        let before = Instant::now();
        a.cast(Msg::Panic).unwrap();
        b.up_after(1).await;
        assert_eq!(before.elapsed(), ms(takes));
        assert_eq!((a.call(Msg::Ping, LONG).await, b.call(Msg::Ping, LONG).await), (Ok(2), Ok(2)));
        assert!(tree.shutdown(LONG).await.is_graceful());
    }
}

/// Found: who is terminated during its back-off is brought back by the timer.
#[tokio::test(start_paused = true)]
async fn s5_who_is_terminated_during_its_back_off_stays_down() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let spec = family.child(&child, "x", 0).backoff(Backoff::exp(ms(100), ms(100)));
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(9, LONG).child(spec);
    let tree = Tree::start(root, 1).await.unwrap();
    for epoch in [1, 2] {
        child.up().await;
        child.cast(Msg::Panic).unwrap();
        child.wait_end(epoch).await;
    }
    tokio::time::sleep(ms(50)).await;
    tree.terminate("root/child").await.unwrap();
    tokio::time::sleep(LONG).await;
    assert_eq!((child.is_up(), child.epoch()), (false, 2));
    tree.restart("root/child").await.unwrap();
    assert_eq!(child.up_after(2).await, 3);
    tree.shutdown(LONG).await;
}

/// Found: a supervisor whose child cannot start reports success, and is dead a moment later.
#[tokio::test(start_paused = true)]
async fn s6_a_tree_whose_child_cannot_start_does_not_start() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let error =
        Tree::start(patient("root", Strategy::OneForOne).child(family.stillborn(&child)), 1).await.err().unwrap();
    assert!(error.to_string().ends_with("root/child (epoch 1): did not start: no disk"), "{error}");
}

/// Found: the order of a group restart is another each time.
#[tokio::test(start_paused = true)]
async fn k1_the_order_of_a_group_restart_is_that_of_the_specification() {
    for _ in 0..20 {
        let family = Family::default();
        let (children, root) = family.of_three(Strategy::OneForAll);
        let tree = Tree::start(root, 1).await.unwrap();
        take(&family.log);
        children[0].cast(Msg::Panic).unwrap();
        children[2].up_after(1).await;
        let starts: Vec<_> = take(&family.log).into_iter().filter(|line| line.starts_with("start")).collect();
        assert_eq!(starts, ["start a", "start b", "start c"]);
        tree.shutdown(LONG).await;
    }
}

/// Found: a kill through a reference from before a restart ends the incarnation after it.
#[tokio::test(start_paused = true)]
async fn k4_a_stale_kill_ends_nobody() {
    let (family, child) = (Family::default(), ChildRef::new("child"));
    let tree = Tree::start(patient("root", Strategy::OneForOne).child(family.child(&child, "x", 0)), 1).await.unwrap();
    let (seen, epoch) = (child.clone(), child.epoch());
    child.cast(Msg::Panic).unwrap();
    child.up_after(epoch).await;
    assert!(!seen.kill(epoch) && !seen.stop(epoch));
    assert_eq!(seen.call(Msg::Ping, LONG).await, Ok(2));
    assert!(seen.kill(2));
    assert_eq!(child.up_after(2).await, 3);
    tree.shutdown(LONG).await;
}
