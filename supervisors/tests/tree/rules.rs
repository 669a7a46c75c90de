//! What a child may be told, and what its specification says of its end.

use supervisors::step::{Event, History, Told};
use supervisors::{
    AddError, AutoShutdown, Backoff, Child, ChildRef, Counts, Exhausted, Exit, NodeState, Outcome, RemoveError,
    RestartError, SpecError, StartError, Strategy, Supervisor, Tree, Verdict,
};
use tokio::time::Instant;

use crate::probe::{LONG, Say, Script, Start, count, exit_of, ms, probe};

fn root() -> Supervisor {
    Supervisor::new("root", Strategy::OneForOne).backoff(Backoff::none())
}

fn state(tree: &Tree, path: &str) -> NodeState {
    tree.snapshot().find(path).expect("it is in the specification").state.clone()
}

#[tokio::test(start_paused = true)]
async fn a_child_goes_through_all_states_by_hand() {
    let (child, path) = (ChildRef::new("child"), "root/child");
    let script = Script::default();
    let tree = Tree::start(root().child(probe(&child, &script)), 1).await.unwrap();
    let counts = |specs, active| Counts { specs, active, supervisors: 0, workers: specs };
    assert_eq!(tree.count("root"), Ok(counts(1, 1)));
    assert_eq!(tree.restart(path).await, Err(RestartError::NotDown { path: path.to_owned() }));
    assert_eq!(tree.delete(path).await, Err(RemoveError::Running { path: path.to_owned() }));
    let started = AddError::AlreadyStarted { path: path.to_owned() };
    assert_eq!(tree.add("root", probe(&child, &script)).await, Err(started));

    for _ in 0..2 {
        let farewell = tree.terminate(path).await.unwrap();
        assert_eq!((farewell.outcome, farewell.exit), (Outcome::Graceful, Exit::Shutdown), "twice is fine");
    }
    assert_eq!((state(&tree, path), tree.count("root")), (NodeState::Stopped, Ok(counts(1, 0))));
    let present = AddError::AlreadyPresent { path: path.to_owned() };
    assert_eq!(tree.add("root", probe(&child, &script)).await, Err(present));
    tree.restart(path).await.unwrap();
    assert_eq!(child.up_after(1).await, 2);
    assert_eq!(tree.snapshot().find(path).unwrap().restarts, 0, "nobody is charged");

    tree.terminate(path).await.unwrap();
    tree.delete(path).await.unwrap();
    assert_eq!(tree.count("root"), Ok(Counts::default()));
    let gone = [tree.terminate(path).await, tree.delete(path).await].map(|gone| gone.unwrap_err().to_string());
    assert_eq!(gone, ["the tree has no node root/child"; 2]);
    tree.add("root", probe(&child, &script)).await.unwrap();
    assert_eq!(tree.terminate("root").await, Err(RemoveError::Root { path: "root".to_owned() }));
    assert_eq!(script.logged(), ["start child", "stop child", "start child", "stop child", "start child"]);
}

#[tokio::test(start_paused = true)]
async fn who_fails_to_start_again_and_again_answers_all_the_time() {
    let (child, path) = (ChildRef::new("child"), "root/child");
    let bad = std::iter::once(None).chain(std::iter::repeat_n(Some(Start::Slow(100)), 1));
    let script = Script::starts(bad.chain(std::iter::repeat_n(Some(Start::Fail), 2)).chain([Some(Start::Hang)]));
    let backoff = Backoff::exp(LONG, LONG);
    let tree = Tree::start(root().child(probe(&child, &script).backoff(backoff)), 1).await.unwrap();
    let restarting = || RemoveError::Restarting { path: path.to_owned() };
    tree.kill(path).await.unwrap();
    tokio::time::sleep(ms(50)).await;
    assert_eq!((state(&tree, path), tree.delete(path).await), (NodeState::Starting, Err(restarting())));
    child.up_after(1).await;
    tree.kill(path).await.unwrap();
    tokio::time::sleep(ms(1)).await;
    assert!(matches!(state(&tree, path), NodeState::BackingOff { .. }));
    assert_eq!(tree.delete(path).await, Err(restarting()));
    assert_eq!(tree.count("root").unwrap().active, 0);
    let taken = tree.add("root", probe(&child, &script)).await;
    assert!(matches!(taken, Err(AddError::AlreadyStarted { .. })), "it is on its way");

    // Released, it fails at once, fails again without a delay, and hangs.
    tree.restart(path).await.unwrap();
    tokio::time::sleep(ms(1)).await;
    tree.restart(path).await.unwrap();
    tokio::time::sleep(ms(1)).await;
    assert_eq!(state(&tree, path), NodeState::Restarting);
    assert!(matches!(tree.restart(path).await, Err(RestartError::NotDown { .. })));
    assert_eq!(tree.delete(path).await, Err(restarting()));
    let farewell = tree.terminate(path).await.unwrap();
    assert_eq!(farewell.exit, Exit::Killed, "it hangs in its start");
    assert_eq!(state(&tree, path), NodeState::Stopped);
    tokio::time::sleep(2 * LONG).await;
    assert_eq!(state(&tree, path), NodeState::Stopped, "no timer brings it back");
    tree.restart(path).await.unwrap();
    child.up_after(2).await;
}

#[tokio::test(start_paused = true)]
async fn a_temporary_child_leaves_with_its_end_and_comes_with_its_supervisor() {
    let (listed, added, next) = (ChildRef::new("listed"), ChildRef::new("added"), ChildRef::new("next"));
    let script = Script::default();
    let group = Supervisor::new("group", Strategy::OneForOne)
        .child(probe(&listed, &script).temporary())
        .child(probe(&next, &script));
    let tree = Tree::start(root().supervisor(group), 1).await.unwrap();
    let names = || tree.children("root/group").unwrap().into_iter().map(|child| child.name).collect::<Vec<_>>();
    tree.add("root/group", probe(&added, &script).temporary()).await.unwrap();
    let mut events = tree.subscribe();
    listed.cast(Say::Fail).unwrap();
    let failed = Exit::Failed { error: "lost my disk".to_owned() };
    assert_eq!(exit_of(&mut events, "root/group/listed").await, (failed, Verdict::Done));
    tokio::task::yield_now().await;
    assert_eq!(names(), ["next", "added"]);
    assert!(matches!(tree.restart("root/group/listed").await, Err(RestartError::NotFound(_))));

    tree.kill("root/group").await.unwrap();
    next.up_after(1).await;
    assert_eq!(names(), ["listed", "next"], "as the specification says, without what came while it ran");
    assert_eq!((listed.epoch(), added.epoch(), added.is_up()), (2, 1, false));
    tree.remove("root/group/listed").await.unwrap();
    tree.kill("root/group").await.unwrap();
    next.up_after(2).await;
    assert_eq!(names(), ["next"], "what is removed is not of the specification any more");

    let twin = ChildRef::new("twin");
    let group = Supervisor::new("other", Strategy::OneForOne).child(probe(&twin, &script).temporary());
    tree.add("root", group).await.unwrap();
    tree.terminate("root/other/twin").await.unwrap();
    let heir = ChildRef::new("twin");
    tree.add("root/other", probe(&heir, &script)).await.unwrap();
    tree.kill("root/other").await.unwrap();
    assert_eq!(heir.up_after(1).await, 2);
    assert_eq!((twin.epoch(), tree.children("root/other").unwrap().len()), (1, 1), "whoever has the name now keeps it");
}

#[tokio::test(start_paused = true)]
async fn a_stop_is_of_one_of_these_kinds() {
    let script = Script::default();
    let refuses = Script { refuses_to_stop: true, ..script.clone() };
    let names = ["brutal", "patient", "drained", "left"].map(ChildRef::new);
    let [brutal, patient, drained, left] = &names;
    let root = root()
        .child(probe(brutal, &script).brutal_kill())
        .child(probe(patient, &refuses).shutdown_unlimited())
        .child(probe(drained, &script).drain())
        .child(probe(left, &script));
    let tree = Tree::start(root, 1).await.unwrap();
    let farewell = tree.terminate("root/brutal").await.unwrap();
    assert_eq!((farewell.outcome, farewell.exit), (Outcome::Killed, Exit::Killed));
    script.logged();

    for (child, handled) in [(drained, true), (left, false)] {
        let (first, last) = (tokio::sync::oneshot::channel(), tokio::sync::oneshot::channel());
        child.cast(Say::Nap(50)).unwrap();
        child.cast(Say::Count(first.0)).unwrap();
        child.cast(Say::Count(last.0)).unwrap();
        tokio::time::sleep(ms(1)).await;
        let farewell = tree.terminate(&format!("root/{}", child.name())).await.unwrap();
        assert_eq!(farewell.outcome, Outcome::Graceful);
        assert_eq!((first.1.await.ok(), last.1.await.ok()), (handled.then_some(2), handled.then_some(3)));
        assert!(!child.is_up());
    }
    assert_eq!(script.logged(), ["stop drained", "stop left"]);

    let before = Instant::now();
    let report = tree.shutdown(LONG).await;
    assert_eq!(before.elapsed(), LONG, "nothing but the deadline of the whole ends it");
    assert!(report.farewells.iter().any(|farewell| farewell.path == "root/patient"));
}

#[tokio::test(start_paused = true)]
async fn a_drain_has_the_time_of_a_stop() {
    let child = ChildRef::new("child");
    let spec = probe(&child, &Script::default()).drain().shutdown(ms(300));
    let tree = Tree::start(root().child(spec), 1).await.unwrap();
    child.cast(Say::Hang).unwrap();
    let before = Instant::now();
    assert_eq!(tree.terminate("root/child").await.unwrap().exit, Exit::Killed);
    assert_eq!(before.elapsed(), ms(300));
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_can_be_given_a_limit() {
    let (stubborn, slow) = (ChildRef::new("stubborn"), ChildRef::new("slow"));
    let refuses = Script { refuses_to_stop: true, ..Script::default() };
    let group = Supervisor::new("group", Strategy::OneForOne).child(probe(&stubborn, &refuses).shutdown(LONG));
    let tree = Tree::start(root().child(Child::from(group).shutdown(ms(200))), 1).await.unwrap();
    let before = Instant::now();
    assert_eq!(tree.terminate("root/group").await.unwrap().exit, Exit::Killed);
    assert_eq!((before.elapsed(), stubborn.is_up()), (ms(200), false), "and leaves nothing behind");

    let slow = probe(&slow, &Script::starts([Some(Start::Hang)])).start_timeout(LONG);
    let late = Supervisor::new("late", Strategy::OneForOne).child(slow);
    let added = tree.add("root", Child::from(late).start_timeout(ms(300))).await;
    assert_eq!(added.unwrap_err().to_string(), "root/late did not start: not up within 300ms");
    assert_eq!(before.elapsed(), ms(500));
}

#[tokio::test(start_paused = true)]
async fn who_ignores_its_start_is_kept_but_down() {
    let script = Script::default();
    let ignores = |times| script.but_starts(std::iter::repeat_n(Some(Start::Ignore), times));
    let children = ["first", "temporary", "second"].map(ChildRef::new);
    let tree = Supervisor::new("root", Strategy::OneForOne)
        .child(probe(&children[0], &ignores(1)))
        .child(probe(&children[1], &ignores(1)).temporary())
        .child(probe(&children[2], &ignores(1)));
    let tree = Tree::start(tree, 1).await.unwrap();
    let counts = Counts { specs: 2, active: 0, supervisors: 0, workers: 2 };
    assert_eq!(tree.count("root"), Ok(counts), "also if all of them do");
    let node = tree.snapshot();
    let first = node.find("root/first").unwrap();
    assert_eq!((&first.state, &first.last_exit), (&NodeState::Stopped, &Some(Exit::Ignored)));

    let (added, gone) = (ChildRef::new("added"), ChildRef::new("gone"));
    tree.add("root", probe(&added, &ignores(1))).await.unwrap();
    tree.add("root", probe(&gone, &ignores(1)).temporary()).await.unwrap();
    assert_eq!((tree.count("root").unwrap().specs, added.is_up()), (3, false));
    for child in [&children[0], &added] {
        tree.restart(&format!("root/{}", child.name())).await.unwrap();
        child.up().await;
    }
    assert!(tree.shutdown(LONG).await.is_graceful());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_ends_in_peace_with_the_work_that_it_is_for() {
    let (job, helper, other) = (ChildRef::new("job"), ChildRef::new("helper"), ChildRef::new("other"));
    let script = Script::default();
    let group = || {
        Supervisor::new("group", Strategy::OneForOne)
            .auto_shutdown(AutoShutdown::AnySignificant)
            .child(probe(&helper, &script))
            .child(probe(&job, &script).transient().significant())
    };
    let top = || root().child(probe(&other, &script));
    let tree = Tree::start(top().child(Child::from(group()).transient()), 1).await.unwrap();
    let mut events = tree.subscribe();
    job.cast(Say::Panic).unwrap();
    job.up_after(1).await;
    job.cast(Say::End).unwrap();
    assert_eq!(exit_of(&mut events, "root/group/job").await.1, Verdict::Restart { after: ms(0) });
    assert_eq!(exit_of(&mut events, "root/group/job").await, (Exit::Normal, Verdict::AutoShutdown));
    let (exit, verdict) = exit_of(&mut events, "root/group").await;
    assert_eq!(exit.to_string(), "shut itself down after root/group/job (epoch 2): ended normally");
    assert_eq!(verdict, Verdict::Done, "a transient supervisor is not started again after it");
    assert!(!helper.is_up() && other.is_up());
    tree.shutdown(LONG).await;

    let upwards = top().auto_shutdown(AutoShutdown::AllSignificant);
    let tree = Tree::start(upwards.child(Child::from(group()).transient().significant()), 1).await.unwrap();
    job.cast(Say::End).unwrap();
    let ended = tree.ended().await;
    let chain: Vec<_> = ended.exit.chain().iter().map(|cause| cause.path.as_str()).collect();
    assert_eq!(chain, ["root/group", "root/group/job"], "a significant one passes it on");
    assert!(ended.exit.is_peaceful() && !other.is_up());
}

#[tokio::test(start_paused = true)]
async fn significance_must_mean_something() {
    let child = || probe(&ChildRef::new("child"), &Script::default());
    let (any, never) = (AutoShutdown::AnySignificant, AutoShutdown::Never);
    let path = || "root/child".to_owned();
    for (auto_shutdown, child, expected) in [
        (any, child().significant(), Some(SpecError::SignificantPermanent { path: path() })),
        (never, child().significant(), Some(SpecError::SignificantPermanent { path: path() })),
        (never, child().transient().significant(), Some(SpecError::SignificantForNobody { path: path() })),
        (never, child().temporary().significant(), Some(SpecError::SignificantForNobody { path: path() })),
        (any, child().transient().significant(), None),
        (any, child().temporary().significant(), None),
        (any, child(), None),
    ] {
        let started = Tree::start(root().auto_shutdown(auto_shutdown).child(child), 1).await;
        assert_eq!(started.err(), expected.map(StartError::Spec));
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_back_is_over_when_its_budget_is_spent() {
    let (frail, sound) = (ChildRef::new("frail"), ChildRef::new("sound"));
    let script = Script::default();
    let root = root().intensity(1, LONG).on_exhausted(Exhausted::Stop);
    let tree = Tree::start(root.child(probe(&frail, &script)).child(probe(&sound, &script)), 1).await.unwrap();
    let mut events = tree.subscribe();
    tree.kill("root/frail").await.unwrap();
    frail.up_after(1).await;
    tree.kill("root/frail").await.unwrap();
    exit_of(&mut events, "root/frail").await;
    assert_eq!(exit_of(&mut events, "root/frail").await, (Exit::Killed, Verdict::Stop));
    tokio::task::yield_now().await;
    assert_eq!((state(&tree, "root/frail"), count(&sound).await), (NodeState::Stopped, 1));
    tree.restart("root/frail").await.unwrap();
    assert_eq!(frail.up_after(2).await, 3);
}

#[tokio::test(start_paused = true)]
async fn what_a_supervisor_did_can_be_done_again() {
    let (frail, sound) = (ChildRef::new("frail"), ChildRef::new("sound"));
    let script = Script::default();
    let backoff = Backoff::exp(ms(100), ms(400)).jitter(50);
    let group = Supervisor::new("group", Strategy::OneForAll).intensity(9, LONG).backoff(backoff).history(20);
    let group = group.child(probe(&frail, &script)).child(probe(&sound, &script));
    let tree = Tree::start(root().supervisor(group), 1).await.unwrap();
    for epoch in 1..=5 {
        tree.kill("root/group/frail").await.unwrap();
        sound.up_after(epoch).await;
    }
    tree.kill("root/group").await.unwrap();
    sound.up_after(6).await;
    tree.terminate("root/group/sound").await.unwrap();
    let histories = tree.histories("root/group").unwrap();
    let sizes: Vec<_> = histories.iter().map(|history| (history.kept().count(), history.forgotten() > 0)).collect();
    assert_eq!(sizes, [(20, true), (5, false)]);
    for history in &histories {
        history.replay().unwrap();
    }
    let told: Vec<_> = histories[1].kept().map(|told| &told.event).collect();
    assert!(matches!(told[..], [Event::Begin, Event::Started { .. }, _, Event::Terminate { child: 1 }, _]), "{told:?}");
    assert_eq!(tree.histories("root").unwrap().len(), 0, "nobody asked for it");

    let mut forged = History::new(histories[1].replay().unwrap(), 9);
    forged.write(Told { at: LONG, event: Event::Restart { child: 1 }, actions: Vec::new() });
    assert!(forged.replay().unwrap_err().to_string().starts_with("told again, "));
}
