//! What is said of a child's health, by itself and by others.

use std::time::Duration;

use supervisors::{
    AddError, Backoff, CallError, ChildRef, Events, Exit, Heard, NodeState, SpecError, StartError, StartFault,
    Strategy, Supervisor, Tree, Unhealth, Verdict, What, WhenFull, WhileDown,
};
use tokio::time::Instant;

use crate::echo::{LONG, Say, Script, ms, root, settle, tree};

const AT_ONCE: Verdict = Verdict::Restart { after: Duration::ZERO };

/// The next end of a child.
async fn end(events: &mut Events) -> (Exit, Verdict) {
    loop {
        let Some(Heard::Decision(decision)) = events.next().await else { panic!("the tree runs") };
        if let What::Exited { exit, verdict } = decision.what {
            return (exit, verdict);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_says_that_it_is_well_begins_its_back_off_anew() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let spec = script.child(&child).backoff(Backoff::exp(ms(100), ms(1000)));
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(99, LONG).child(spec);
    let tree = Tree::start(root, 1).await.unwrap();
    // Each delay, and who is called well before the next end.
    for (delay, well) in [(0, None), (100, Some(2)), (200, Some(4)), (0, None), (100, None), (200, Some(7)), (0, None)]
    {
        let (before, epoch) = (Instant::now(), child.epoch());
        tree.kill("root/child").await.unwrap();
        child.up_after(epoch).await;
        assert_eq!(before.elapsed().as_millis(), delay, "after incarnation {epoch}");
        if let Some(well) = well {
            // Only the current incarnation counts.
            child.healthy(well);
        }
    }
    let epoch = child.epoch();
    child.cast(Say::Well).unwrap();
    child.cast(Say::Fail).unwrap();
    let before = Instant::now();
    child.up_after(epoch).await;
    assert_eq!(before.elapsed(), ms(0), "it can say so itself");
    tree.shutdown(LONG).await;
    child.healthy(epoch + 1);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_a_fault() {
    for bounded in [false, true] {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let spec = if bounded { script.bounded(&child, 99, WhenFull::Fail) } else { script.child(&child) };
        let spec = spec.watchdog(ms(100));
        let tree = tree(spec).await;
        let mut events = tree.subscribe();
        let before = Instant::now();
        for _ in 0..9 {
            child.cast(Say::Sleep(99)).unwrap();
        }
        assert_eq!(child.call(|reply| Say::Ask(1, reply), None).await, Ok(1), "it may work for as long as it likes");
        assert_eq!(before.elapsed(), ms(9 * 99));
        tokio::time::sleep(ms(1050)).await;
        assert_eq!(child.epoch(), 1, "and rest");

        for epoch in [1, 2] {
            let before = Instant::now();
            child.cast(Say::Block).unwrap();
            let call = child.call(|reply| Say::Ask(2, reply), None).await;
            assert_eq!(call, Err(CallError::Restarted { epoch }));
            assert_eq!(before.elapsed(), ms(100));
            assert_eq!(end(&mut events).await, (Exit::Unhealthy(Unhealth::Stuck { limit: ms(100) }), AT_ONCE));
            child.up_after(epoch).await;
        }
        assert_eq!(tree.snapshot().find("root/child").unwrap().restarts, 2);
        tree.shutdown(LONG).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_not_answered_is_a_fault() {
    for bounded in [false, true] {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let spec = if bounded { script.bounded(&child, 1, WhenFull::Fail) } else { script.child(&child) };
        let spec = spec.probe(&child, ms(1000), ms(100), Say::Probe);
        let tree = tree(spec).await;
        let mut events = tree.subscribe();
        tokio::time::sleep(ms(10_500)).await;
        assert_eq!(child.epoch(), 1);
        let before = Instant::now();
        child.cast(Say::Block).unwrap();
        settle().await;
        // The mailbox is full, and the probe is in it all the same.
        child.cast(Say::Note(1)).unwrap();
        child.wait_end(1).await;
        assert!((ms(590)..ms(610)).contains(&before.elapsed()), "{:?}", before.elapsed());
        assert_eq!(end(&mut events).await, (Exit::Unhealthy(Unhealth::Silent { within: ms(100) }), AT_ONCE));
        child.up_after(1).await;
        tokio::time::sleep(ms(10_500)).await;
        assert_eq!(child.epoch(), 2);
        tree.shutdown(LONG).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_reply_to_a_probe_that_is_dropped_is_none() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = tree(script.child(&child).probe(&child, ms(1000), ms(100), Say::Forget)).await;
    let before = Instant::now();
    child.wait_end(1).await;
    assert!(before.elapsed() <= ms(1001));
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn whoever_ends_while_it_is_asked_has_its_own_reason() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let spec = script.child(&child).probe(&child, ms(1000), ms(100), Say::Probe).watchdog(ms(500));
    let tree = tree(spec).await;
    let mut events = tree.subscribe();
    tokio::time::sleep(ms(950)).await;
    child.cast(Say::Block).unwrap();
    tokio::time::sleep(ms(100)).await;
    child.cast(Say::Fail).unwrap();
    script.go.add_permits(1);
    assert_eq!(end(&mut events).await, (Exit::Failed { error: "as asked".to_owned() }, AT_ONCE));
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_to_stop_is_not_asked_how_it_is() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let spec = script.child(&child).watchdog(ms(100)).probe(&child, ms(100), ms(100), Say::Probe);
    let tree = tree(spec.shutdown(ms(700))).await;
    child.cast(Say::Block).unwrap();
    settle().await;
    let before = Instant::now();
    let farewell = tree.terminate("root/child").await.unwrap();
    assert_eq!((farewell.exit, before.elapsed()), (Exit::Killed, ms(700)));
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn started_is_not_ready() {
    let [first, second] = ["first", "second"].map(ChildRef::new);
    let script = Script::default();
    let spec = script.child(&first).await_ready().while_down(WhileDown::Hold(1)).start_timeout(ms(500));
    let spec = spec.backoff(Backoff::none());
    let root =
        Supervisor::new("root", Strategy::RestForOne).intensity(9, LONG).child(spec).child(script.child(&second));
    let starting = Tree::start(root, 1);
    let readying = async {
        tokio::time::sleep(ms(400)).await;
        assert_eq!((first.is_up(), second.is_up()), (false, false));
        assert!(first.cast(Say::Note(1)).is_err());
        first.ready(0);
        first.ready(2);
        settle().await;
        assert!(!first.is_up(), "of another incarnation it says nothing");
        let (sent, ()) = tokio::join!(first.send(Say::Note(2)), async {
            settle().await;
            first.ready(1);
        });
        assert!(matches!(sent, Ok(1)));
    };
    let (tree, ()) = tokio::join!(starting, readying);
    let tree = tree.unwrap();
    assert!(first.is_up() && second.is_up());
    settle().await;
    assert_eq!(script.logged(), [(1, 2)]);

    // The next must say so again, in time.
    let mut events = tree.subscribe();
    tree.kill("root/first").await.unwrap();
    let before = Instant::now();
    first.wait_end(2).await;
    assert_eq!(before.elapsed(), ms(500));
    assert_eq!(tree.snapshot().find("root/first").unwrap().state, NodeState::Restarting);
    assert_eq!(end(&mut events).await, (Exit::Killed, AT_ONCE));
    assert_eq!(end(&mut events).await, (Exit::Shutdown, Verdict::AsOrdered), "the second goes along");
    let late = StartFault::TimedOut { limit: ms(500) };
    assert_eq!(end(&mut events).await, (Exit::StartFailed(late), AT_ONCE));
    settle().await;
    assert!(!second.is_up());
    first.ready(3);
    second.up_after(1).await;
    assert!(first.is_up());
    assert!(tree.shutdown(LONG).await.is_graceful());
}

#[tokio::test(start_paused = true)]
async fn who_ends_before_it_is_ready_did_not_come_up() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne), 1).await.unwrap();
    let ending = async {
        settle().await;
        assert!(!child.kill(1) && !child.stop(1), "to a reference it is not up");
        tree.kill("root/child").await.unwrap();
        child.wait_end(1).await;
        child.ready(1);
    };
    let (added, ()) = tokio::join!(tree.add("root", script.child(&child).await_ready()), ending);
    assert_eq!(added, Err(AddError::Start { path: "root/child".to_owned(), exit: Exit::Killed }));
    assert_eq!((child.is_up(), child.epoch()), (false, 0));
}

#[tokio::test(start_paused = true)]
async fn limits_of_no_time_are_refused() {
    let child = ChildRef::new("child");
    let spec = || Script::default().child(&child);
    for spec in [
        spec().watchdog(Duration::ZERO),
        spec().probe(&child, Duration::ZERO, ms(1), Say::Probe),
        spec().probe(&child, ms(1), Duration::ZERO, Say::Probe),
    ] {
        let refused = Tree::start(root(spec), 1).await.err();
        assert_eq!(refused, Some(StartError::Spec(SpecError::Health { path: "root/child".to_owned() })));
    }
}
