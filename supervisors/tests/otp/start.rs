//! Starts and specifications: what is refused, what is kept of whom, and what a start hands back.

use std::sync::mpsc;
use std::time::Duration;

use supervisors::{
    AddError, AutoShutdown, Backoff, Child, ChildRef, Exit, Heard, Kind, NodeState, NotFound, Pool, PoolRef, Restart,
    SpecError, StartError, StartFault, Strategy, Supervisor, Tree, What, WhenFull, WhileDown,
};
use tokio::time::Instant;

use crate::kit::{
    Conduct, HOUR, Kid, Make, Members, POOL, Probe, Start, Stop, Way, counts, end, ended, kids, last_exit, ms, names,
    no_disk, pool, settle, start, start_pool, state, sup,
};

#[tokio::test(start_paused = true)]
async fn sup_start_normal() {
    let tree = start(sup(Strategy::OneForOne)).await;
    assert_eq!(counts(&tree, "sup"), [0; 4]);
    assert!(tree.shutdown(HOUR).await.is_graceful());
    assert_eq!(ended(&tree).await, Exit::Shutdown);
}

/// Adapted: a supervisor is data and has no `init` that could decline. Those that have nothing to do are its children,
/// and a supervisor of nobody else is up like any other.
#[tokio::test(start_paused = true)]
async fn sup_start_ignore_init() {
    let idle = Kid::new("idle").starts([Start::Ignore]);
    let nested = Supervisor::new("nested", Strategy::OneForOne).child(idle.spec());
    let tree = start(sup(Strategy::OneForOne).supervisor(nested)).await;
    assert_eq!((counts(&tree, "sup/nested"), last_exit(&tree, "sup/nested/idle")), ([1, 0, 0, 1], Some(Exit::Ignored)));
    assert!(tree.shutdown(HOUR).await.is_graceful());
    assert_eq!(last_exit(&tree, "sup/nested"), Some(Exit::Shutdown));
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_child() {
    let (child1, child2) = (Kid::new("child1").starts([Start::Ignore]), Kid::new("child2"));
    let tree = start(sup(Strategy::OneForOne)).await;
    tree.add("sup", child1.spec()).await.unwrap();
    tree.add("sup", child2.spec()).await.unwrap();
    assert_eq!(
        (names(&tree, "sup"), child1.is_up(), child2.is_up()),
        (vec!["child1".into(), "child2".into()], false, true)
    );
    assert_eq!((state(&tree, "sup/child1"), counts(&tree, "sup")), (Some(NodeState::Stopped), [2, 1, 0, 2]));
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_temporary_child() {
    let (child1, child2) = (Kid::new("child1").starts([Start::Ignore]), Kid::new("child2"));
    let root = sup(Strategy::OneForOne).child(child1.spec().temporary()).child(child2.spec().temporary());
    let tree = start(root).await;
    assert_eq!((names(&tree, "sup"), counts(&tree, "sup")), (vec!["child2".to_owned()], [1, 1, 0, 1]));
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_temporary_child_start_child() {
    let (child1, child2) = (Kid::new("child1").starts([Start::Ignore]), Kid::new("child2"));
    let tree = start(sup(Strategy::OneForOne)).await;
    tree.add("sup", child1.spec().temporary()).await.unwrap();
    tree.add("sup", child2.spec().temporary()).await.unwrap();
    assert_eq!((names(&tree, "sup"), counts(&tree, "sup")), (vec!["child2".to_owned()], [1, 1, 0, 1]));
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_temporary_child_start_child_simple() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members).members(Child::temporary)).await;
    assert!(!members.start(Conduct::new("idle").starts([Start::Ignore])).await.unwrap().is_up());
    assert!(members.start(Conduct::new("busy")).await.unwrap().is_up());
    assert_eq!(counts(&tree, POOL), [1, 1, 0, 1]);
}

#[tokio::test(start_paused = true)]
async fn sup_start_ignore_permanent_child_start_child_simple() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members)).await;
    assert!(!members.start(Conduct::new("idle").starts([Start::Ignore])).await.unwrap().is_up());
    assert!(members.start(Conduct::new("busy")).await.unwrap().is_up());
    assert_eq!(counts(&tree, POOL), [1, 1, 0, 1]);
    assert!(tree.shutdown(HOUR).await.is_graceful());
    assert_eq!(ended(&tree).await, Exit::Shutdown);
}

/// What raises is what makes a child: a supervisor has no code of its own to run.
#[tokio::test(start_paused = true)]
async fn sup_start_fail() {
    let (before, reference) = (Kid::new("before"), ChildRef::new("child"));
    let raises = Child::actor(&reference, || -> (Probe, ()) { panic!("badmatch") });
    let failed = Tree::start(sup(Strategy::OneForOne).child(before.spec()).child(raises), 1).await.err();
    let Some(StartError::Start { exit }) = failed else { panic!("{failed:?}") };
    let cause = exit.chain()[0];
    assert_eq!(cause.path, "sup/child");
    let fault = cause.exits.last();
    assert!(matches!(fault, Some(Exit::StartFailed(StartFault::Panicked { message, .. })) if message == "badmatch"));
    settle().await;
    assert!(!before.is_up(), "nothing is left, and nobody else hears of it");
}

#[tokio::test(start_paused = true)]
async fn sup_start_child_returns_error() {
    let tree = start(sup(Strategy::OneForOne)).await;
    let child = Kid::new("child").starts([Start::Fail, Start::Panic]);
    let error = tree.add("sup", child.spec()).await.unwrap_err();
    assert_eq!(error, AddError::Start { path: "sup/child".to_owned(), exit: no_disk() });
    let error = tree.add("sup", child.spec()).await.unwrap_err();
    assert!(error.to_string().contains("no state"), "{error}");
    assert_eq!((names(&tree, "sup"), counts(&tree, "sup")), (vec![], [0; 4]));
    tree.add("sup", child.spec()).await.unwrap();
    assert!(child.is_up(), "neither is held against it");
}

/// Not as in OTP, where a start by hand that fails leaves the child down. Here the wish stands: the failure is charged
/// and tried again like any other, with the back-off that OTP has not, and is there to be read. Who has thought better
/// of it terminates the child.
#[tokio::test(start_paused = true)]
async fn sup_start_restart_child_returns_error() {
    let child = Kid::new("child").starts([Start::Well, Start::Fail, Start::Fail]);
    let tree = start(sup(Strategy::OneForOne).child(child.spec().backoff(Backoff::exp(HOUR, HOUR)))).await;
    tree.terminate("sup/child").await.unwrap();
    tree.restart("sup/child").await.unwrap();
    settle().await;
    assert!(matches!(state(&tree, "sup/child"), Some(NodeState::BackingOff { .. })));
    assert_eq!((last_exit(&tree, "sup/child"), counts(&tree, "sup")), (Some(no_disk()), [1, 0, 0, 1]));
    tree.terminate("sup/child").await.unwrap();
    assert_eq!((state(&tree, "sup/child"), child.is_up()), (Some(NodeState::Stopped), false));
}

#[tokio::test(start_paused = true)]
async fn sup_start_child_returns_error_simple() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members)).await;
    for fails in [Start::Fail, Start::Panic] {
        let error = members.start(Conduct::new("member").starts([fails])).await.unwrap_err();
        assert!(matches!(error, AddError::Start { exit: Exit::StartFailed(_), .. }), "{error}");
        assert_eq!(counts(&tree, POOL), [0; 4]);
    }
}

/// The limits of a stop are not in the snapshot, so they are seen at work.
#[tokio::test(start_paused = true)]
async fn sup_start_map() {
    let (child1, child2) = (Kid::new("child1").stops(Stop::Never), Kid::new("child2").stops(Stop::Never));
    let slow = Kid::new("slow").stops(Stop::Late(HOUR));
    let child3 = Supervisor::new("child3", Strategy::OneForOne).child(slow.spec().shutdown_unlimited());
    let root = sup(Strategy::OneForOne).child(child1.spec()).child(child2.spec().brutal_kill()).supervisor(child3);
    let tree = start(root).await;
    let children = tree.children("sup").unwrap();
    assert!(children.iter().all(|child| child.restart == Restart::Permanent));
    let supervisor = Kind::Supervisor { strategy: Strategy::OneForOne };
    let kinds: Vec<_> = children.iter().map(|child| child.kind).collect();
    assert_eq!(kinds, [Kind::Worker, Kind::Worker, supervisor]);
    for (path, took) in [("sup/child1", ms(5000)), ("sup/child2", Duration::ZERO), ("sup/child3", HOUR)] {
        let before = Instant::now();
        tree.terminate(path).await.unwrap();
        assert_eq!(before.elapsed(), took, "{path}");
    }
    assert_eq!(tree.children("sup/child4"), Err(NotFound { path: "sup/child4".to_owned() }));
}

#[tokio::test(start_paused = true)]
async fn sup_start_map_simple() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members).members(|member| member.transient().shutdown(ms(300)))).await;
    let member = members.start(Conduct::new("member").stops(Stop::Never)).await.unwrap();
    let node = tree.snapshot().find(member.path()).unwrap().clone();
    assert_eq!((node.kind, node.restart), (Kind::Worker, Restart::Transient), "as the template says");
    assert_eq!(tree.children("top/pool/99"), Err(NotFound { path: "top/pool/99".to_owned() }));
    let before = Instant::now();
    member.terminate().await.unwrap();
    assert_eq!(before.elapsed(), ms(300));
}

/// Adapted: a specification without a name or without a start does not compile, and neither does an unknown key. What
/// is left is a name that cannot be one.
#[tokio::test(start_paused = true)]
async fn sup_start_map_faulty_specs() {
    for name in ["", "a/b"] {
        let started = Tree::start(sup(Strategy::OneForOne).child(Kid::new(name).spec()), 1).await;
        assert_eq!(started.err(), Some(StartError::Spec(SpecError::Name { path: format!("sup/{name}") })));
        let nested = Supervisor::new(name, Strategy::OneForOne);
        let started = Tree::start(sup(Strategy::OneForOne).supervisor(nested), 1).await;
        assert_eq!(started.err(), Some(StartError::Spec(SpecError::Name { path: format!("sup/{name}") })));
    }
}

/// Adapted: a start returns no extra information. What it has to hand over it sends on a channel that its maker holds,
/// so that automatic restarts hand it over as well.
#[tokio::test(start_paused = true)]
async fn extra_return() {
    let (extra, extras) = mpsc::channel();
    let reference = ChildRef::new("child");
    let child = Child::actor_with_epoch(&reference, move |epoch| {
        extra.send(epoch).unwrap();
        (Probe(Conduct::new("child")), ())
    });
    let tree = start(sup(Strategy::OneForOne)).await;
    tree.add("sup", child).await.unwrap();
    assert_eq!(extras.try_iter().collect::<Vec<_>>(), [1]);
    tree.terminate("sup/child").await.unwrap();
    tree.restart("sup/child").await.unwrap();
    reference.up_after(1).await;
    assert_eq!(extras.try_iter().collect::<Vec<_>>(), [2]);
    end(&reference, Way::Kill).await;
    assert_eq!((extras.try_iter().collect::<Vec<_>>(), reference.epoch()), (vec![3], 3));
}

/// Adapted as [`extra_return`]: what hands over is an argument of the member, and stays with it.
#[tokio::test(start_paused = true)]
async fn simple_one_for_one_extra() {
    let members = PoolRef::new("pool");
    let spec = Pool::actor(&members, |(extra, name): &(mpsc::Sender<&'static str>, &'static str)| {
        extra.send(*name).unwrap();
        (Probe(Conduct::new(name)), ())
    });
    start_pool(spec.intensity(2, HOUR)).await;
    let (extra, extras) = mpsc::channel();
    let first = members.start((extra.clone(), "first")).await.unwrap();
    let second = members.start((extra, "second")).await.unwrap();
    assert_eq!(extras.try_iter().collect::<Vec<_>>(), ["first", "second"]);
    end(&second, Way::Fail).await;
    end(&first, Way::Kill).await;
    assert_eq!(extras.try_iter().collect::<Vec<_>>(), ["second", "first"]);
    assert_eq!((first.epoch(), second.epoch()), (2, 2));
}

/// Adapted: most of what OTP rejects does not compile. These are the specifications that do and cannot be meant, and
/// all legal kinds of restart and of shutdown.
#[tokio::test(start_paused = true)]
async fn child_specs() {
    let spec = || Kid::new("child").spec();
    let bounded = |limit| Kid::new("child").bounded(limit, WhenFull::Fail);
    let path = || "sup/child".to_owned();
    let tree = start(sup(Strategy::OneForOne)).await;
    for (child, error) in [
        (spec().budget(1, Duration::ZERO), SpecError::EmptyWindow { path: path() }),
        (spec().backoff(Backoff::none().factor(0)), SpecError::Backoff { path: path() }),
        (spec().backoff(Backoff::exp(ms(2), ms(1))), SpecError::Backoff { path: path() }),
        (bounded(0), SpecError::Mailbox { path: path() }),
        (bounded(1).while_down(WhileDown::Hold(2)), SpecError::Mailbox { path: path() }),
        (spec().watchdog(Duration::ZERO), SpecError::Health { path: path() }),
        (spec().significant(), SpecError::SignificantPermanent { path: path() }),
    ] {
        assert_eq!(tree.add("sup", child.clone()).await, Err(AddError::Spec(error.clone())));
        let started = Tree::start(sup(Strategy::OneForOne).child(child), 1).await;
        assert_eq!(started.err(), Some(StartError::Spec(error)));
    }
    let restarts: [Make; 3] = [Child::permanent, Child::transient, Child::temporary];
    let shutdowns: [Make; 4] =
        [Child::brutal_kill, Child::shutdown_unlimited, Child::drain, |child| child.shutdown(ms(100))];
    for restart in restarts {
        for shutdown in shutdowns {
            tree.add("sup", shutdown(restart(spec()))).await.unwrap();
            tree.remove("sup/child").await.unwrap();
        }
    }
    let ([one, other], _) = kids(["child", "child"]);
    let twins = Tree::start(sup(Strategy::OneForOne).child(one.spec()).child(other.spec()), 1).await;
    assert_eq!(twins.err(), Some(StartError::Spec(SpecError::DuplicateName { path: path() })));
}

#[tokio::test(start_paused = true)]
async fn child_specs_map() {
    let spec = || Kid::new("child").spec();
    let path = || "sup/child".to_owned();
    let restarts: [(Restart, Make); 3] = [
        (Restart::Permanent, Child::permanent),
        (Restart::Transient, Child::transient),
        (Restart::Temporary, Child::temporary),
    ];
    for auto_shutdown in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        let root = || sup(Strategy::OneForOne).auto_shutdown(auto_shutdown);
        let tree = start(root()).await;
        for (restart, make) in restarts {
            for significant in [false, true] {
                let child = if significant { make(spec()).significant() } else { make(spec()) };
                let expected = match (significant, restart, auto_shutdown) {
                    (true, Restart::Permanent, _) => Some(SpecError::SignificantPermanent { path: path() }),
                    (true, _, AutoShutdown::Never) => Some(SpecError::SignificantForNobody { path: path() }),
                    _ => None,
                };
                let started = Tree::start(root().child(child.clone()), 1).await;
                assert_eq!(started.err(), expected.clone().map(StartError::Spec));
                assert_eq!(tree.add("sup", child).await.err(), expected.clone().map(AddError::Spec));
                if expected.is_none() {
                    tree.remove("sup/child").await.unwrap();
                }
            }
        }
    }
}

/// What is unknown does not compile, where OTP ignores it.
#[tokio::test(start_paused = true)]
async fn sup_flags() {
    let path = || "sup/child".to_owned();
    for (root, error) in [
        (sup(Strategy::OneForOne).intensity(1, Duration::ZERO), SpecError::EmptyWindow { path: path() }),
        (sup(Strategy::OneForOne).backoff(Backoff::none().factor(0)), SpecError::Backoff { path: path() }),
        (sup(Strategy::OneForOne).backoff(Backoff::none().jitter(101)), SpecError::Backoff { path: path() }),
        (sup(Strategy::OneForOne).backoff(Backoff::exp(ms(2), ms(1))), SpecError::Backoff { path: path() }),
    ] {
        let started = Tree::start(root.child(Kid::new("child").spec()), 1).await;
        assert_eq!(started.err(), Some(StartError::Spec(error)));
    }
    // No restart at all needs no window, as in OTP.
    start(sup(Strategy::OneForOne).intensity(0, Duration::ZERO).child(Kid::new("child").spec())).await;
}

/// Adapted: OTP keeps starts by `start_child` out of the log at level info. We log nothing: what is decided goes into
/// the journal of the tree, where a start is no alert.
#[tokio::test(start_paused = true)]
async fn external_start_no_progress_log() {
    let tree = start(sup(Strategy::OneForOne)).await;
    tree.add("sup", Kid::new("child").spec()).await.unwrap();
    let mut events = tree.subscribe();
    tree.shutdown(HOUR).await;
    let mut told = Vec::new();
    while let Some(Heard::Decision(decision)) = events.next().await {
        assert!(!decision.what.is_alert(), "{decision:?}");
        if &*decision.path == "sup/child" {
            told.push(decision.what);
        }
    }
    assert_eq!(told[..3], [What::Added, What::Starting, What::Started]);
}

/// Adapted: what OTP calls an application is the tree. Its start fails with the whole way to the cause, where OTP's
/// supervisors have left `shutdown`.
#[tokio::test(start_paused = true)]
async fn faulty_application_shutdown() {
    let worker = Kid::new("worker").starts([Start::Fail]);
    let inner = Supervisor::new("inner", Strategy::OneForOne).child(worker.spec());
    let failed = Tree::start(sup(Strategy::OneForOne).supervisor(inner), 1).await.err().unwrap();
    let StartError::Start { exit } = &failed else { panic!("{failed}") };
    let chain: Vec<_> = exit.chain().iter().map(|cause| cause.path.as_str()).collect();
    assert_eq!((chain, &exit.chain()[1].exits[..]), (vec!["sup/inner", "sup/inner/worker"], &[no_disk()][..]));
    assert!(failed.to_string().ends_with("sup/inner/worker (epoch 1): did not start: no disk"), "{failed}");
}

/// Adapted: our children have no global names. What a start can find taken is something outside, and it says so.
#[tokio::test(start_paused = true)]
async fn already_started_outside_supervisor() {
    let tree = start(sup(Strategy::OneForOne)).await;
    let taken = Kid::new("child").starts([Start::Fail]);
    let error = tree.add("sup", taken.spec()).await.unwrap_err();
    assert_eq!(error, AddError::Start { path: "sup/child".to_owned(), exit: no_disk() });
    assert_eq!(counts(&tree, "sup"), [0; 4]);
    tree.add("sup", taken.spec()).await.unwrap();
    let error = tree.add("sup", taken.spec()).await.unwrap_err();
    assert_eq!(error, AddError::AlreadyStarted { path: "sup/child".to_owned() }, "its own name is another matter");
}
