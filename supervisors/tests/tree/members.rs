//! Children that come and go while the tree runs.

use supervisors::{
    AddError, Backoff, ChildRef, Events, Exhausted, Exit, Farewell, Heard, Node, NodeState, Outcome, RemoveError,
    RestartError, SpecError, StartFault, Strategy, Supervisor, Tree, Verdict, What,
};
use tokio::time::{Instant, timeout};

use crate::probe::{LONG, Say, Script, Start, ms, place, probe};

const GROUP: &str = "root/group";

/// A root whose child `base` takes the group along, which has one child of its own.
async fn tree(strategy: Strategy, script: &Script) -> (Tree, ChildRef<Say>) {
    let (base, own) = (ChildRef::new("base"), ChildRef::new("own"));
    let group = Supervisor::new("group", strategy).backoff(Backoff::none()).child(probe(&own, script));
    let root = Supervisor::new("root", Strategy::RestForOne).child(probe(&base, script)).supervisor(group);
    let tree = Tree::start(root, 1).await.unwrap();
    script.logged();
    (tree, base)
}

async fn add(tree: &Tree, name: &str, script: &Script) -> ChildRef<Say> {
    let child = ChildRef::new(name);
    tree.add(GROUP, probe(&child, script)).await.unwrap();
    child
}

fn names(tree: &Tree) -> Vec<String> {
    group(tree).children.into_iter().map(|child| child.name).collect()
}

fn group(tree: &Tree) -> Node {
    tree.snapshot().find(GROUP).unwrap().clone()
}

fn farewell(path: &str, outcome: Outcome, exit: Exit) -> Farewell {
    Farewell { path: path.to_owned(), outcome, exit }
}

/// What was decided about `path` and is already known.
fn decided(events: &mut Events, path: &str) -> Vec<What> {
    let heard = std::iter::from_fn(|| events.try_next());
    let of_path = heard.filter_map(|heard| match heard {
        Heard::Decision(decision) if &*decision.path == path => Some(decision.what),
        _ => None,
    });
    of_path.collect()
}

#[tokio::test(start_paused = true)]
async fn who_was_added_is_a_child_like_the_others() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::RestForOne, &script).await;
    let mut events = tree.subscribe();
    let a = add(&tree, "a", &script).await;
    assert!(a.is_up());
    let b = add(&tree, "b", &script).await;
    assert_eq!(script.logged(), ["start a", "start b"]);
    assert_eq!(names(&tree), ["own", "a", "b"]);
    let root = tree.snapshot();
    let with_each = ["own", "a", "b"].map(|name| root.restarts_with(&format!("{GROUP}/{name}")));
    assert_eq!(with_each, [vec!["a", "b"], vec!["b"], vec![]]);
    assert_eq!(decided(&mut events, "root/group/a"), [What::Added, What::Starting, What::Started]);

    tree.kill("root/group/own").await.unwrap();
    b.up_after(1).await;
    assert_eq!(script.logged(), ["stop b", "stop a", "start own", "start a", "start b"]);
    a.cast(Say::Fail).unwrap();
    b.up_after(2).await;
    assert_eq!(script.logged(), ["stop b", "start a", "start b"]);
    let restarts: Vec<_> = group(&tree).children.iter().map(|child| (child.epoch, child.restarts)).collect();
    assert_eq!(restarts, [(2, 1), (3, 1), (3, 0)]);

    let report = tree.shutdown(LONG).await;
    assert!(report.is_graceful(), "{report:?}");
    assert_eq!(report.farewells.len(), 6);
    assert_eq!(script.logged(), ["stop b", "stop a", "stop own", "stop base"]);
}

#[tokio::test(start_paused = true)]
async fn they_come_back_with_their_supervisor_in_the_order_of_addition() {
    for kill_group in [false, true] {
        let script = Script::default();
        let (tree, _) = tree(Strategy::OneForOne, &script).await;
        for name in ["c", "b", "a"] {
            add(&tree, name, &script).await;
        }
        tree.remove("root/group/b").await.unwrap();
        let d = add(&tree, "d", &script).await;
        script.logged();
        tree.kill(if kill_group { GROUP } else { "root/base" }).await.unwrap();
        d.up_after(1).await;
        let starts = ["start own", "start c", "start a", "start d"];
        let orderly = ["stop d", "stop a", "stop c", "stop own", "start base"];
        let expected = if kill_group { starts.to_vec() } else { [&orderly[..], &starts].concat() };
        assert_eq!(script.logged(), expected);
        assert_eq!(names(&tree), ["own", "c", "a", "d"]);
        assert!(group(&tree).children.iter().all(|child| child.epoch == 2), "epochs go on counting");
    }
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_up_is_taken_out_and_charged_to_nobody() {
    let failed = |fault| Exit::StartFailed(fault);
    for (start, exit) in [
        (Start::Fail, failed(StartFault::Failed { error: "no disk".to_owned() })),
        (Start::Panic, failed(StartFault::Panicked { message: "no state".to_owned(), place: place("no state") })),
        (Start::Unrecoverable, failed(StartFault::Unrecoverable { reason: "replay: record 7 is torn".to_owned() })),
        (Start::Hang, failed(StartFault::TimedOut { limit: ms(300) })),
    ] {
        let script = Script::default();
        let (tree, base) = tree(Strategy::OneForAll, &script).await;
        let mut events = tree.subscribe();
        let child = ChildRef::new("child");
        // More often than the budget of the group covers.
        for _ in 0..9 {
            let spec = probe(&child, &script.but_starts([Some(start)])).start_timeout(ms(300));
            let path = "root/group/child".to_owned();
            assert_eq!(tree.add(GROUP, spec).await, Err(AddError::Start { path, exit: exit.clone() }));
            assert_eq!(names(&tree), ["own"]);
        }
        let once = [What::Added, What::Starting, What::Exited { exit, verdict: Verdict::TakeOut }, What::Removed];
        let mut about_it = decided(&mut events, "root/group/child");
        about_it.retain(|what| *what != What::Killing);
        assert!(about_it.ends_with(&once) && !about_it.iter().any(What::is_alert), "{about_it:?}");
        assert_eq!(script.logged(), [""; 0], "nobody else noticed");

        tree.add(GROUP, probe(&child, &script)).await.unwrap();
        assert_eq!((child.epoch(), base.epoch()), (10, 1), "no epoch is used twice, also none that failed to come up");
        assert!(matches!(tree.kill("root/group/child").await, Ok(())));
        assert_eq!(child.up_after(10).await, 11);
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_is_not_added() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::OneForOne, &script).await;
    let child = |name| probe(&ChildRef::new(name), &script);
    let path = |path: &str| path.to_owned();
    let bad_name = SpecError::Name { path: path("root/group/a/b") };
    let taken = AddError::AlreadyStarted { path: path("root/group/own") };
    let no_backoff = SpecError::Backoff { path: path("root/group/child") };
    let nested = Supervisor::new("nested", Strategy::OneForOne).child(child("twin")).child(child("twin"));
    let twins = SpecError::DuplicateName { path: path("root/group/nested/twin") };
    for (supervisor, child, expected) in [
        (GROUP, child("a/b"), AddError::Spec(bad_name)),
        (GROUP, child("own"), taken),
        (GROUP, child("child").backoff(Backoff::none().factor(0)), AddError::Spec(no_backoff)),
        (GROUP, nested.into(), AddError::Spec(twins)),
        ("root/base", child("child"), AddError::NotASupervisor { path: path("root/base") }),
    ] {
        assert_eq!(tree.add(supervisor, child).await, Err(expected));
    }
    let error = tree.add("root/nobody", child("child")).await.unwrap_err();
    assert_eq!(error.to_string(), "the tree has no node root/nobody");

    let slow = script.but_starts([Some(Start::Slow(100))]);
    let (twin, other) = (ChildRef::new("twin"), ChildRef::new("twin"));
    let both = tokio::join!(tree.add(GROUP, probe(&twin, &slow)), tree.add(GROUP, probe(&other, &slow)));
    let taken = AddError::AlreadyStarted { path: path("root/group/twin") };
    assert_eq!(both, (Ok(()), Err(taken)), "also while the first is on its way up");
    assert_eq!(names(&tree), ["own", "twin"]);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_is_down_or_stopping_takes_nobody() {
    let script = Script::default();
    let refuses = Script { refuses_to_stop: true, ..script.clone() };
    let (tree, _) = tree(Strategy::OneForOne, &script).await;
    let stubborn = ChildRef::new("stubborn");
    tree.add(GROUP, probe(&stubborn, &refuses).shutdown(ms(100))).await.unwrap();
    let down = || Err(AddError::SupervisorDown { path: GROUP.to_owned() });
    let late = async {
        tokio::time::sleep(ms(50)).await;
        assert_eq!(tree.add(GROUP, probe(&ChildRef::new("late"), &script)).await, down());
        let path = "root/group/own".to_owned();
        assert_eq!(tree.remove("root/group/own").await, Err(RemoveError::SupervisorDown { path }));
        assert_eq!(names(&tree), ["own", "stubborn"]);
    };
    tokio::join!(tree.shutdown(LONG), late);
    assert_eq!(tree.add(GROUP, probe(&ChildRef::new("late"), &script)).await, down());
}

#[tokio::test(start_paused = true)]
async fn one_that_is_starting_takes_the_child_after_its_own() {
    let script = Script::default();
    let slow = script.but_starts([None, Some(Start::Slow(100))]);
    let group = Supervisor::new("group", Strategy::OneForOne).child(probe(&ChildRef::new("own"), &slow));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(group), 1).await.unwrap();
    tree.kill(GROUP).await.unwrap();
    tokio::time::sleep(ms(50)).await;
    script.logged();
    add(&tree, "child", &script).await;
    assert_eq!(script.logged(), ["start own", "start child"]);
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_dies_while_adding_forgets_the_child() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::OneForOne, &script).await;
    let child = ChildRef::new("child");
    let adding = tree.add(GROUP, probe(&child, &script.but_starts([Some(Start::Hang)])));
    let killing = async {
        tokio::time::sleep(ms(50)).await;
        assert_eq!(tree.snapshot().find("root/group/child").unwrap().state, NodeState::Starting);
        let mut events = tree.subscribe();
        decided(&mut events, "");
        tree.kill(GROUP).await.unwrap();
        events
    };
    let (added, mut events) = tokio::join!(adding, killing);
    assert_eq!(added, Err(AddError::SupervisorDown { path: GROUP.to_owned() }));
    tokio::time::sleep(ms(50)).await;
    assert_eq!(decided(&mut events, "root/group/child"), [What::Removed]);
    assert_eq!((names(&tree), group(&tree).epoch), (vec!["own".to_owned()], 2));
    assert_eq!(child.epoch(), 0);
    tree.add(GROUP, probe(&child, &script)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_group_that_restarts_takes_along_who_is_being_added() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::OneForAll, &script).await;
    let child = ChildRef::new("child");
    let slow = script.but_starts([Some(Start::Hang)]);
    let adding = tree.add(GROUP, probe(&child, &slow).temporary());
    let killing = async {
        tokio::time::sleep(ms(50)).await;
        tree.kill("root/group/own").await.unwrap();
    };
    assert_eq!(tokio::join!(adding, killing).0, Ok(()));
    assert_eq!(script.logged(), ["start own", "start child"]);
    assert_eq!(child.epoch(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_stop_waiting() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::OneForOne, &script).await;
    let children = ["slow", "bad"].map(ChildRef::new);
    for (child, start) in children.iter().zip([Start::Slow(100), Start::Hang]) {
        let spec = probe(child, &script.but_starts([Some(start)])).start_timeout(ms(200));
        assert!(timeout(ms(10), tree.add(GROUP, spec)).await.is_err());
    }
    assert_eq!(names(&tree), ["own", "slow", "bad"]);
    children[0].up().await;
    tokio::time::sleep(ms(200)).await;
    assert_eq!(names(&tree), ["own", "slow"], "who came up stays, who did not is taken out");

    let refuses = Script { refuses_to_stop: true, ..Script::default() };
    tree.add(GROUP, probe(&ChildRef::new("stubborn"), &refuses).shutdown(ms(100))).await.unwrap();
    assert!(timeout(ms(10), tree.remove("root/group/stubborn")).await.is_err());
    tokio::time::sleep(ms(200)).await;
    assert_eq!(names(&tree), ["own", "slow"]);
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_stops_alone_and_is_forgotten() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::OneForAll, &script).await;
    let (a, b) = (add(&tree, "a", &script).await, add(&tree, "b", &script).await);
    let mut events = tree.subscribe();
    script.logged();
    let shutdown = |path| Ok(farewell(path, Outcome::Graceful, Exit::Shutdown));
    decided(&mut events, "");
    assert_eq!(tree.remove("root/group/a").await, shutdown("root/group/a"));
    assert_eq!(tree.remove("root/group/own").await, shutdown("root/group/own"), "also one that was not added");
    assert_eq!(script.logged(), ["stop a", "stop own"]);
    assert_eq!(names(&tree), ["b"]);
    let ended = What::Exited { exit: Exit::Shutdown, verdict: Verdict::AsOrdered };
    assert_eq!(decided(&mut events, "root/group/own"), [What::Stopping, ended, What::Removed]);
    assert!(!a.is_up());
    let gone = tree.remove("root/group/a").await.unwrap_err();
    assert!(matches!(gone, RemoveError::NotFound(_)));
    assert!(tree.kill("root/group/a").await.is_err());
    assert!(matches!(tree.restart("root/group/a").await, Err(RestartError::NotFound(_))));
    assert_eq!(tree.remove("root").await, Err(RemoveError::Root { path: "root".to_owned() }));

    tree.kill(GROUP).await.unwrap();
    b.up_after(1).await;
    assert_eq!(script.logged(), ["start b"], "the specification knows only who is left");
    tree.add(GROUP, probe(&a, &script)).await.unwrap();
    assert_eq!(a.epoch(), 2, "the epoch of a reference never falls");
    assert_eq!(names(&tree), ["b", "a"]);
}

#[tokio::test(start_paused = true)]
async fn one_can_be_removed_whatever_it_is_doing() {
    let script = Script::default();
    let refuses = Script { refuses_to_stop: true, ..Script::default() };
    let group = Supervisor::new("group", Strategy::OneForOne)
        .on_exhausted(Exhausted::Quarantine)
        .backoff(Backoff::exp(LONG, LONG));
    let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(group), 1).await.unwrap();
    let path = "root/group/child";
    let failed = Exit::Failed { error: "lost my disk".to_owned() };
    let slow_again = script.but_starts([None, Some(Start::Hang)]);
    // What it is like, the restarts that it is granted, what it is told, how it then stands, and how it goes.
    for (script, restarts, told, state, (outcome, exit)) in [
        (&script, 2, vec![], "Running", (Outcome::Graceful, Exit::Shutdown)),
        (&script, 2, vec![Say::Hang], "Running", (Outcome::Killed, Exit::Killed)),
        (&refuses, 2, vec![], "Running", (Outcome::Killed, Exit::Killed)),
        (&slow_again, 2, vec![Say::Fail], "Starting", (Outcome::Killed, Exit::Killed)),
        (&script, 2, vec![Say::Fail, Say::Fail], "BackingOff", (Outcome::Failed, failed.clone())),
        (&script, 0, vec![Say::Fail], "Quarantined", (Outcome::Failed, failed)),
        (&script, 2, vec![Say::End], "Stopped", (Outcome::Graceful, Exit::Normal)),
    ] {
        let child = ChildRef::new("child");
        let spec = probe(&child, script).transient().budget(restarts, LONG).shutdown(ms(100));
        tree.add(GROUP, spec).await.unwrap();
        for (epoch, say) in (0..).zip(told) {
            child.up_after(epoch).await;
            child.cast(say).unwrap();
        }
        tokio::time::sleep(ms(1)).await;
        let shown = format!("{:?}", tree.snapshot().find(path).unwrap().state);
        assert!(shown.starts_with(state), "{shown} instead of {state}");
        let before = Instant::now();
        assert_eq!(tree.remove(path).await, Ok(farewell(path, outcome, exit)), "{state}");
        assert!(before.elapsed() <= ms(101), "no wait but for the stop");
        assert_eq!(names(&tree), [""; 0]);
    }
    tokio::time::sleep(2 * LONG).await;
    assert_eq!(names(&tree), [""; 0], "no timer brings one back");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_dies_while_removing_brings_the_child_back() {
    let script = Script::default();
    let refuses = Script { refuses_to_stop: true, ..script.clone() };
    let (tree, _) = tree(Strategy::OneForOne, &script).await;
    let stubborn = add(&tree, "stubborn", &refuses).await;
    let path = "root/group/stubborn";
    let killing = async {
        tokio::time::sleep(ms(50)).await;
        assert_eq!(tree.snapshot().find(path).unwrap().state, NodeState::Stopping);
        tree.kill(GROUP).await.unwrap();
    };
    let (removed, ()) = tokio::join!(tree.remove(path), killing);
    assert_eq!(removed, Err(RemoveError::SupervisorDown { path: path.to_owned() }));
    assert_eq!(stubborn.up_after(1).await, 2);
    let both = tokio::join!(tree.remove(path), tree.remove(path));
    let killed = || Ok(farewell(path, Outcome::Killed, Exit::Killed));
    assert_eq!(both, (killed(), killed()), "who asks in the midst of it gets the same answer");
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_comes_and_goes_with_all_below_it() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::OneForOne, &script).await;
    let children = ["x", "y"].map(ChildRef::new);
    let nested = |starts: Option<Start>| {
        let nested = Supervisor::new("nested", Strategy::OneForOne).child(probe(&children[0], &script));
        nested.child(probe(&children[1], &script.but_starts([starts])))
    };
    let error = tree.add(GROUP, nested(Some(Start::Fail))).await.unwrap_err();
    let told = "root/group/nested did not start: root/group/nested/y (epoch 1): did not start: no disk";
    assert_eq!(error.to_string(), told);
    assert_eq!(script.logged(), ["start x", "stop x"]);

    tree.add(GROUP, nested(None)).await.unwrap();
    let z = ChildRef::new("z");
    tree.add("root/group/nested", probe(&z, &script)).await.unwrap();
    assert_eq!(script.logged(), ["start x", "start y", "start z"]);
    tree.kill("root/base").await.unwrap();
    z.up_after(1).await;
    let orderly =
        ["stop z", "stop y", "stop x", "stop own", "start base", "start own", "start x", "start y", "start z"];
    assert_eq!(script.logged(), orderly);

    let path = "root/group/nested";
    assert_eq!(tree.remove(path).await, Ok(farewell(path, Outcome::Graceful, Exit::Shutdown)));
    assert_eq!(script.logged(), ["stop z", "stop y", "stop x"]);
    assert_eq!(names(&tree), ["own"]);
    for path in [path, "root/group/nested/x", "root/group/nested/z"] {
        assert!(tree.kill(path).await.is_err(), "{path} is forgotten");
    }
}

#[tokio::test(start_paused = true)]
async fn who_is_removed_while_it_is_added_was_not_added() {
    let script = Script::default();
    let (tree, _) = tree(Strategy::OneForOne, &script).await;
    let slow = script.but_starts([Some(Start::Slow(100))]);
    let path = "root/group/child";
    let adding = tree.add(GROUP, probe(&ChildRef::new("child"), &slow));
    let removing = async {
        tokio::time::sleep(ms(50)).await;
        tree.remove(path).await
    };
    let (added, removed) = tokio::join!(adding, removing);
    assert_eq!(added, Err(AddError::Start { path: path.to_owned(), exit: Exit::Shutdown }));
    assert_eq!(removed, Ok(farewell(path, Outcome::Graceful, Exit::Shutdown)));
    assert_eq!(script.logged(), ["start child", "stop child"]);
    assert_eq!(names(&tree), ["own"]);
}
