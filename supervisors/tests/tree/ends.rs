//! How children end, and what becomes of them and of their siblings.

use std::sync::Arc;
use std::time::Duration;

use supervisors::{
    Backoff, Child, ChildRef, Exhausted, Exit, Heard, NodeState, Outcome, RestartError, SendError, StartError,
    StartFault, Strategy, Supervisor, Tree, Verdict, What,
};
use tokio::time::Instant;

use crate::probe::{LONG, Probe, Say, Script, Start, count, exit_of, ms, place, probe};

const AT_ONCE: Verdict = Verdict::Restart { after: Duration::ZERO };

#[tokio::test(start_paused = true)]
async fn one_reference_leads_to_every_incarnation() {
    let child = ChildRef::new("child");
    assert_eq!((child.epoch(), child.is_up()), (0, false));
    let Err(SendError::Down(Say::Panic)) = child.cast(Say::Panic) else { panic!("down, with the message") };

    let root = Supervisor::new("root", Strategy::OneForOne).child(probe(&child, &Script::default()));
    let tree = Tree::start(root, 1).await.unwrap();
    assert_eq!((child.epoch(), child.is_up()), (1, true));
    assert_eq!((count(&child).await, count(&child).await), (1, 2));

    tree.kill("root/child").await.unwrap();
    assert!(!child.is_up(), "who is to be killed gets no more messages");
    assert_eq!(child.up_after(1).await, 2);
    assert_eq!(count(&child).await, 1, "a fresh state");

    let node = tree.snapshot();
    let node = node.find("root/child").unwrap();
    assert_eq!((&node.state, node.epoch, node.restarts), (&NodeState::Running, 2, 1));
    assert_eq!(node.last_exit, Some(Exit::Killed));
    assert!(tree.kill("root/nobody").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn every_end_has_its_own_reason() {
    let child = ChildRef::new("child");
    let child_spec = probe(&child, &Script::default()).backoff(Backoff::none()).budget(9, LONG);
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(9, LONG).child(child_spec);
    let tree = Tree::start(root, 1).await.unwrap();
    let mut events = tree.subscribe();
    for (say, expected) in [
        (Say::Panic, Exit::Panicked { message: "lost my mind at 1".to_owned(), place: place("lost my mind") }),
        (Say::Fail, Exit::Failed { error: "lost my disk".to_owned() }),
        (Say::End, Exit::Normal),
    ] {
        let epoch = child.epoch();
        child.cast(say).unwrap();
        assert_eq!(exit_of(&mut events, "root/child").await, (expected, AT_ONCE));
        child.up_after(epoch).await;
    }
    child.cast(Say::Hang).unwrap();
    tree.kill("root/child").await.unwrap();
    assert_eq!(exit_of(&mut events, "root/child").await, (Exit::Killed, AT_ONCE));
}

#[tokio::test(start_paused = true)]
async fn delays_grow_to_the_cap_and_start_over_after_a_healthy_run() {
    let child = ChildRef::new("child");
    let backoff = Backoff::exp(ms(100), ms(350)).healthy_after(ms(1000));
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(99, LONG).backoff(backoff);
    let tree = Tree::start(root.child(probe(&child, &Script::default())), 1).await.unwrap();
    for (run, delay) in [(0, 0), (0, 100), (0, 200), (0, 350), (999, 350), (1000, 0), (0, 100)] {
        tokio::time::sleep(ms(run)).await;
        let (ended, epoch) = (Instant::now(), child.epoch());
        child.cast(Say::Panic).unwrap();
        child.up_after(epoch).await;
        // The wheel of tokio's timers turns in whole milliseconds.
        assert!((delay..=delay + 1).contains(&u64::try_from(ended.elapsed().as_millis()).unwrap()), "{delay} ms");
    }
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn a_back_off_is_seen_and_can_be_cut_short() {
    let child = ChildRef::new("child");
    let backoff = Backoff::exp(LONG, LONG);
    let root = Supervisor::new("root", Strategy::OneForOne).child(probe(&child, &Script::default()).backoff(backoff));
    let tree = Tree::start(root, 1).await.unwrap();
    let mut events = tree.subscribe();
    assert!(matches!(tree.restart("root/child").await, Err(RestartError::NotDown { .. })));

    tree.kill("root/child").await.unwrap();
    child.up_after(1).await;
    let before = Instant::now();
    tree.kill("root/child").await.unwrap();
    exit_of(&mut events, "root/child").await;
    assert_eq!(exit_of(&mut events, "root/child").await, (Exit::Killed, Verdict::Restart { after: LONG }));
    let until = (before + LONG).into_std();
    assert_eq!(tree.snapshot().find("root/child").unwrap().state, NodeState::BackingOff { until });
    tree.restart("root/child").await.unwrap();
    child.up_after(2).await;
    assert_eq!(before.elapsed(), Duration::ZERO);

    tokio::time::sleep(2 * LONG).await;
    assert_eq!(child.epoch(), 3, "the timer of the back-off that was cut short starts nothing");
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_quarantines_until_released() {
    let (frail, sound) = (ChildRef::new("frail"), ChildRef::new("sound"));
    let script = Script::default();
    let root = Supervisor::new("root", Strategy::OneForOne)
        .intensity(1, LONG)
        .on_exhausted(Exhausted::Quarantine)
        .child(probe(&frail, &script))
        .child(probe(&sound, &script));
    let tree = Tree::start(root, 1).await.unwrap();
    let mut events = tree.subscribe();
    let killed = Exit::Killed;

    tree.kill("root/frail").await.unwrap();
    assert_eq!(exit_of(&mut events, "root/frail").await, (killed.clone(), AT_ONCE));
    frail.up_after(1).await;
    tree.kill("root/frail").await.unwrap();
    assert_eq!(exit_of(&mut events, "root/frail").await, (killed.clone(), Verdict::Quarantine));
    tokio::time::sleep(2 * LONG).await;
    assert!(!frail.is_up(), "nothing but a release starts it");
    assert_eq!(tree.snapshot().find("root/frail").unwrap().state, NodeState::Quarantined { reason: killed.clone() });

    tree.kill("root/sound").await.unwrap();
    assert_eq!(exit_of(&mut events, "root/sound").await, (killed, AT_ONCE), "its own budget is whole");

    tree.restart("root/frail").await.unwrap();
    assert_eq!(frail.up_after(2).await, 3);
    tree.kill("root/frail").await.unwrap();
    assert_eq!(frail.up_after(3).await, 4, "a release wipes the record");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_recover_is_quarantined_at_once_and_the_rest_goes_on() {
    let (torn, next) = (ChildRef::new("torn"), ChildRef::new("next"));
    let root = Supervisor::new("root", Strategy::RestForOne)
        .child(probe(&torn, &Script::starts([Some(Start::Unrecoverable)])))
        .child(probe(&next, &Script::default()));
    let tree = Tree::start(root, 1).await.unwrap();
    let fault = StartFault::Unrecoverable { reason: "replay: record 7 is torn".to_owned() };
    let reason = Exit::StartFailed(fault);
    assert_eq!(tree.snapshot().find("root/torn").unwrap().state, NodeState::Quarantined { reason });
    assert!(next.is_up());
    tree.restart("root/torn").await.unwrap();
    torn.up().await;
}

#[tokio::test(start_paused = true)]
async fn those_after_the_failed_one_stop_in_reverse_and_start_in_order() {
    let script = Script::default();
    let children = ["a", "b", "c", "d"].map(ChildRef::new);
    let root = children.iter().fold(Supervisor::new("root", Strategy::RestForOne), |root, child| {
        root.child(probe(child, &script).backoff(Backoff::exp(ms(500), ms(500))))
    });
    let tree = Tree::start(root, 1).await.unwrap();
    let logged = || std::mem::take(&mut *script.log.lock().unwrap());
    assert_eq!(logged(), ["start a", "start b", "start c", "start d"]);

    for delay in [0, 500] {
        let (epoch, before) = (children[3].epoch(), Instant::now());
        tree.kill("root/b").await.unwrap();
        children[3].up_after(epoch).await;
        assert_eq!(logged(), ["stop d", "stop c", "start b", "start c", "start d"]);
        assert_eq!(before.elapsed().as_millis(), delay, "siblings stop at once, the group waits together");
    }
    assert_eq!(children.each_ref().map(ChildRef::epoch), [1, 3, 3, 3]);
    let snapshot = tree.snapshot();
    let restarts: Vec<_> = snapshot.children.iter().map(|child| child.restarts).collect();
    assert_eq!(restarts, [0, 2, 0, 0], "a restart with the group is not charged");
    assert_eq!(snapshot.restarts_with("root/b"), ["c", "d"]);

    let report = tree.shutdown(LONG).await;
    assert!(report.is_graceful(), "{report:?}");
    assert_eq!(logged(), ["stop d", "stop c", "stop b", "stop a"]);
    assert_eq!(tree.ended().await.exit, Exit::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn who_refuses_to_stop_is_killed_and_named() {
    let (polite, stubborn) = (ChildRef::new("polite"), ChildRef::new("stubborn"));
    let refuses = Script { refuses_to_stop: true, ..Script::default() };
    let root = Supervisor::new("root", Strategy::OneForOne)
        .child(probe(&polite, &Script::default()))
        .child(probe(&stubborn, &refuses).shutdown(ms(700)));
    let tree = Tree::start(root, 1).await.unwrap();
    let before = Instant::now();
    let report = tree.shutdown(LONG).await;
    assert_eq!(before.elapsed(), ms(700));
    let outcomes = report.farewells.iter().map(|farewell| (farewell.path.as_str(), farewell.outcome));
    let expected =
        [("root", Outcome::Graceful), ("root/polite", Outcome::Graceful), ("root/stubborn", Outcome::Killed)];
    assert_eq!(outcomes.collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_a_shutdown_holds() {
    let stubborn = ChildRef::new("stubborn");
    let refuses = Script { refuses_to_stop: true, ..Script::default() };
    let inner = Supervisor::new("inner", Strategy::OneForOne).child(probe(&stubborn, &refuses).shutdown(LONG));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(inner), 1).await.unwrap();
    let before = Instant::now();
    let report = tree.shutdown(ms(50)).await;
    assert_eq!(before.elapsed(), ms(50));
    assert!(report.farewells.iter().all(|farewell| farewell.outcome == Outcome::Killed), "{report:?}");
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_ends_the_root_with_the_whole_cause() {
    let (child, other) = (ChildRef::new("child"), ChildRef::new("other"));
    let script = Script::default();
    let inner = Supervisor::new("inner", Strategy::OneForOne).intensity(1, LONG).child(probe(&child, &script));
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(0, LONG);
    let tree = Tree::start(root.child(probe(&other, &script)).supervisor(inner), 1).await.unwrap();
    assert_eq!(tree.snapshot().restarts_with("root/inner"), ["other"]);

    tree.kill("root/inner/child").await.unwrap();
    child.up_after(1).await;
    child.cast(Say::Panic).unwrap();
    let ended = tree.ended().await;
    let chain: Vec<_> = ended.exit.chain().iter().map(|cause| (cause.path.as_str(), cause.epoch)).collect();
    assert_eq!(chain, [("root/inner", 1), ("root/inner/child", 2)]);
    let panicked = Exit::Panicked { message: "lost my mind at 1".to_owned(), place: place("lost my mind") };
    assert_eq!(ended.exit.chain()[1].exits, [Exit::Killed, panicked]);
    assert!(!other.is_up());
    let mut events = tree.subscribe();
    while events.next().await.is_some() {}
}

/// In OTP it ends with `shutdown`, which counts as peace.
#[tokio::test(start_paused = true)]
async fn a_transient_supervisor_that_gave_up_has_failed() {
    let child = ChildRef::new("child");
    let inner = Supervisor::new("inner", Strategy::OneForOne).intensity(0, LONG);
    let inner = Child::from(inner.child(probe(&child, &Script::default()))).transient();
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).child(inner), 1).await.unwrap();
    tree.kill("root/inner/child").await.unwrap();
    child.up_after(1).await;
    let snapshot = tree.snapshot();
    let inner = snapshot.find("root/inner").unwrap();
    assert_eq!((inner.epoch, inner.restarts, &inner.state), (2, 1, &NodeState::Running));
    assert!(matches!(inner.last_exit, Some(Exit::Escalated(_))));
}

#[tokio::test(start_paused = true)]
async fn a_failing_start_rolls_back_in_reverse_and_names_the_cause() {
    let fault = |fault| StartError::Start {
        exit: Exit::StartFailed(StartFault::Child(Arc::new(supervisors::Cause {
            path: "root/inner".to_owned(),
            epoch: 1,
            exits: vec![Exit::StartFailed(StartFault::Child(Arc::new(supervisors::Cause {
                path: "root/inner/bad".to_owned(),
                epoch: 1,
                exits: vec![Exit::StartFailed(fault)],
            })))],
        }))),
    };
    for (start, expected) in [
        (Start::Fail, StartFault::Failed { error: "no disk".to_owned() }),
        (Start::Panic, StartFault::Panicked { message: "no state".to_owned(), place: place("no state") }),
        (Start::Hang, StartFault::TimedOut { limit: ms(300) }),
    ] {
        let script = Script::default();
        let bad = Script { log: script.log.clone(), ..Script::starts([Some(start)]) };
        let names = ["a", "b", "bad", "never"].map(ChildRef::new);
        let inner = Supervisor::new("inner", Strategy::OneForOne)
            .child(probe(&names[1], &script))
            .child(probe(&names[2], &bad).start_timeout(ms(300)))
            .child(probe(&names[3], &script));
        let root = Supervisor::new("root", Strategy::OneForOne).child(probe(&names[0], &script)).supervisor(inner);
        assert_eq!(Tree::start(root, 1).await.err(), Some(fault(expected)));
        assert_eq!(*script.log.lock().unwrap(), ["start a", "start b", "stop b", "stop a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_answers_while_a_child_hangs_in_its_start() {
    let (slow, other) = (ChildRef::new("slow"), ChildRef::new("other"));
    let root = Supervisor::new("root", Strategy::OneForOne)
        .child(probe(&slow, &Script::starts([None, Some(Start::Hang)])).start_timeout(LONG))
        .child(probe(&other, &Script::default()));
    let tree = Tree::start(root, 1).await.unwrap();
    let before = Instant::now();
    tree.kill("root/slow").await.unwrap();
    tree.kill("root/other").await.unwrap();
    other.up_after(1).await;
    assert_eq!(tree.snapshot().find("root/slow").unwrap().state, NodeState::Starting);
    assert!(matches!(tree.restart("root/slow").await, Err(RestartError::NotDown { .. })));
    tree.kill("root/slow").await.unwrap();
    slow.up_after(1).await;
    assert!(before.elapsed() < ms(200), "neither the start limit nor the stop limit was waited for");
}

/// On threads, as it is one of them that is blocked. In its supervisor's task this start would block everything here.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_start_that_blocks_its_thread_keeps_nobody_waiting_if_it_is_apart() {
    let (slow, other) = (ChildRef::new("slow"), ChildRef::new("other"));
    let ((blocks, blocked), (release, gate)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let gate = std::sync::Mutex::new(gate);
    let spec = Child::actor_with_epoch(&slow, move |epoch| {
        if epoch == 2 {
            blocks.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
        }
        (Probe { name: "slow".to_owned(), script: Script::default() }, ())
    });
    let root = Supervisor::new("root", Strategy::OneForOne);
    let tree = Tree::start(root.child(spec.starts_apart()).child(probe(&other, &Script::default())), 1).await.unwrap();
    tree.kill("root/slow").await.unwrap();
    while blocked.try_recv().is_err() {
        tokio::task::yield_now().await;
    }
    tree.kill("root/other").await.unwrap();
    assert_eq!(other.up_after(1).await, 2);
    assert_eq!(tree.snapshot().find("root/slow").unwrap().state, NodeState::Starting);
    assert!(matches!(tree.restart("root/slow").await, Err(RestartError::NotDown { .. })));
    release.send(()).unwrap();
    assert_eq!(slow.up_after(1).await, 2);
}

/// It is killed in time, and is gone as soon as its thread lets it hear of that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_blocks_its_thread_is_timed_out_if_it_is_apart() {
    let (slow, limit) = (ChildRef::new("slow"), Duration::from_millis(20));
    let (release, gate) = std::sync::mpsc::channel::<()>();
    let gate = std::sync::Mutex::new(gate);
    let spec = Child::actor_with_epoch(&slow, move |epoch| {
        if epoch == 2 {
            gate.lock().unwrap().recv().unwrap();
        }
        (Probe { name: "slow".to_owned(), script: Script::default() }, ())
    });
    let root = Supervisor::new("root", Strategy::OneForOne).child(spec.starts_apart().start_timeout(limit));
    let tree = Tree::start(root, 1).await.unwrap();
    let mut events = tree.subscribe();
    tree.kill("root/slow").await.unwrap();
    let mut next = async |so: fn(&What) -> bool| loop {
        match events.next().await.expect("the tree runs") {
            Heard::Decision(decision) if decision.epoch == 2 && so(&decision.what) => break decision.what,
            _ => {}
        }
    };
    next(|what| *what == What::Killing).await;
    release.send(()).unwrap();
    let What::Exited { exit, .. } = next(|what| matches!(what, What::Exited { .. })).await else { unreachable!() };
    assert_eq!(exit, Exit::StartFailed(StartFault::TimedOut { limit }));
    assert_eq!(slow.up_after(1).await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_killed_supervisor_takes_its_children_along_and_comes_back_with_all() {
    let children = ["a", "b"].map(ChildRef::new);
    let script = Script::default();
    let hangs = Script { log: script.log.clone(), ..Script::default() };
    let inner = Supervisor::new("inner", Strategy::OneForOne)
        .child(probe(&children[0], &script))
        .child(probe(&children[1], &hangs));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(inner), 1).await.unwrap();
    tree.kill("root/inner").await.unwrap();
    children[1].up_after(1).await;
    assert_eq!(children.each_ref().map(ChildRef::epoch), [2, 2], "epochs go on counting");
    assert_eq!(*script.log.lock().unwrap(), ["start a", "start b", "start a", "start b"], "killed, not stopped");

    // Killed in the middle of its start, it leaves no half-started child behind.
    hangs.starts.lock().unwrap().push_back(Some(Start::Hang));
    tree.kill("root/inner").await.unwrap();
    children[0].up_after(2).await;
    tree.kill("root/inner").await.unwrap();
    children[1].up_after(2).await;
    assert_eq!(children[1].epoch(), 4, "epoch 3 hung in its start");
    assert!(tree.shutdown(LONG).await.is_graceful());
}

#[tokio::test(start_paused = true)]
async fn a_killed_root_leaves_nothing_behind() {
    let child = ChildRef::new("child");
    let inner = Supervisor::new("inner", Strategy::OneForOne).child(probe(&child, &Script::default()));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(inner), 1).await.unwrap();
    tree.kill("root").await.unwrap();
    assert_eq!(tree.ended().await.exit, Exit::Killed);
    assert!(!child.is_up());
    let node = tree.snapshot();
    let states = [&node.state, &node.children[0].state, &node.find("root/inner/child").unwrap().state];
    assert_eq!(states, [&NodeState::Stopped; 3]);
    assert!(matches!(tree.restart("root/inner").await, Err(RestartError::SupervisorDown { .. })));
    assert_eq!(tree.shutdown(LONG).await, supervisors::Report::default());
}

#[tokio::test(start_paused = true)]
async fn a_start_that_nobody_waits_for_is_undone() {
    let (first, slow) = (ChildRef::new("first"), ChildRef::new("slow"));
    let root = Supervisor::new("root", Strategy::OneForOne)
        .child(probe(&first, &Script::default()))
        .child(probe(&slow, &Script::starts([Some(Start::Hang)])).start_timeout(LONG));
    assert!(tokio::time::timeout(ms(10), Tree::start(root, 1)).await.is_err());
    tokio::time::sleep(ms(1)).await;
    assert_eq!((first.epoch(), first.is_up()), (1, false));
}

#[tokio::test(start_paused = true)]
async fn an_incarnation_can_know_its_epoch() {
    let child = ChildRef::new("child");
    let script = Script::default();
    let log = script.log.clone();
    let spec = Child::actor_with_epoch(&child, move |epoch| {
        (Probe { name: format!("epoch {epoch}"), script: script.clone() }, ())
    });
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).child(spec), 1).await.unwrap();
    tree.kill("root/child").await.unwrap();
    child.up_after(1).await;
    assert_eq!(*log.lock().unwrap(), ["start epoch 1", "start epoch 2"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_learns_what_it_missed() {
    let child = ChildRef::new("child");
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(999, LONG).backoff(Backoff::none());
    let tree = Tree::start(root.child(probe(&child, &Script::default())), 1).await.unwrap();
    let mut events = tree.subscribe();
    assert!(matches!(events.next().await, Some(Heard::Decision(first)) if first.sequence == 1));
    for epoch in 1..=400 {
        tree.kill("root/child").await.unwrap();
        child.up_after(epoch).await;
    }
    tree.shutdown(LONG).await;
    let Some(Heard::Missed(missed)) = events.next().await else { panic!("1,200 decisions do not fit") };
    let mut next = missed + 2;
    while let Some(heard) = events.next().await {
        assert!(matches!(heard, Heard::Decision(decision) if decision.sequence == next));
        next += 1;
    }
    assert!(missed > 0 && next > 1200);
}

#[tokio::test(start_paused = true)]
async fn a_tree_that_cannot_be_meant_is_refused() {
    let child = ChildRef::new("child");
    let twice = Supervisor::new("root", Strategy::OneForOne)
        .child(probe(&child, &Script::default()))
        .child(probe(&child, &Script::default()));
    let error = Tree::start(twice, 1).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "the specification of the tree is wrong: root/child: its supervisor already has a child of this name"
    );
    let windowless = Supervisor::new("root", Strategy::OneForOne).intensity(1, Duration::ZERO);
    let error = Tree::start(windowless.child(probe(&child, &Script::default())), 1).await.err().unwrap();
    assert!(matches!(error, StartError::Spec(_)));
}
