//! A specification that is changed while what it specifies runs.

use supervisors::{
    AutoShutdown, Backoff, ChangeError, Child, ChildRef, Exit, NodeState, NotFound, Pool, PoolRef, SpecError, Strategy,
    Supervisor, Tree, Verdict,
};

use crate::probe::{LONG, Probe, Say, Script, count, exit_of, ms, probe};

fn root(strategy: Strategy) -> Supervisor {
    Supervisor::new("root", strategy).backoff(Backoff::none())
}

fn names(tree: &Tree) -> Vec<(String, bool)> {
    let children = tree.children("root").unwrap().into_iter();
    children.map(|child| (child.name, child.state == NodeState::Running)).collect()
}

fn renamed(reference: &ChildRef<Say>, script: &Script, name: &'static str) -> Child {
    let script = script.clone();
    Child::actor(reference, move || (Probe { name: name.to_owned(), script: script.clone() }, ()))
}

#[tokio::test(start_paused = true)]
async fn who_is_known_goes_on_who_is_new_is_down_and_nobody_is_deleted() {
    let [a, b, c] = ["a", "b", "c"].map(ChildRef::new);
    let script = Script::default();
    let tree =
        Tree::start(root(Strategy::OneForOne).child(probe(&a, &script)).child(probe(&b, &script)), 1).await.unwrap();
    assert_eq!(count(&b).await, 1);
    script.logged();
    let new = root(Strategy::OneForAll)
        .child(probe(&c, &script))
        .child(renamed(&b, &script, "new b").transient().brutal_kill());
    tree.change("root", new).await.unwrap();
    let named = |name: &str, runs| (name.to_owned(), runs);
    assert_eq!(names(&tree), [named("a", true), named("b", true), named("c", false)], "OTP would have c before b");
    assert_eq!((count(&b).await, b.epoch(), script.logged()), (2, 1, vec![]), "nobody noticed");

    tree.kill("root/a").await.unwrap();
    c.up().await;
    assert_eq!(script.logged(), ["start a", "start new b", "start c"], "all for one now, and b without a word");
    let b_at = tree.snapshot().find("root/b").unwrap().clone();
    assert_eq!((b_at.restart, b_at.last_exit), (supervisors::Restart::Transient, Some(Exit::Killed)));
    let kind = tree.snapshot().kind;
    assert_eq!(kind, supervisors::Kind::Supervisor { strategy: Strategy::OneForAll });
    tree.terminate("root/c").await.unwrap();
    tree.delete("root/c").await.unwrap();
    assert!(tree.shutdown(LONG).await.farewells.len() == 3);
}

#[tokio::test(start_paused = true)]
async fn the_next_incarnation_is_of_the_changed_specification() {
    let [a, b, temporary] = ["a", "b", "temporary"].map(ChildRef::new);
    let script = Script::default();
    let group = |strategy| Supervisor::new("group", strategy).backoff(Backoff::none());
    let old = group(Strategy::OneForOne).child(probe(&a, &script));
    let tree = Tree::start(root(Strategy::OneForOne).supervisor(old), 1).await.unwrap();
    let new = group(Strategy::RestForOne)
        .child(probe(&temporary, &script).temporary())
        .child(renamed(&a, &script, "new a"))
        .child(probe(&b, &script));
    tree.change("root/group", new).await.unwrap();
    tree.restart("root/group/b").await.unwrap();
    b.up().await;
    tree.kill("root/group").await.unwrap();
    b.up_after(1).await;
    assert_eq!(script.logged(), ["start a", "start b", "start new a", "start temporary", "start b"]);
    assert_eq!(tree.snapshot().restarts_with("root/group/a"), ["b"]);

    // The specification above is of the group as such, and leaves what is below it alone.
    tree.change("root", root(Strategy::OneForOne).child(Child::from(group(Strategy::OneForOne)).transient()))
        .await
        .unwrap();
    tree.kill("root/group").await.unwrap();
    b.up_after(2).await;
    assert_eq!(tree.snapshot().restarts_with("root/group/a"), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn flags_take_effect_at_once() {
    let (job, other) = (ChildRef::new("job"), ChildRef::new("other"));
    let script = Script::default();
    let spec = |restarts, auto_shutdown, significant: bool| {
        let job = probe(&job, &script).transient();
        let job = if significant { job.significant() } else { job };
        let root = root(Strategy::OneForOne).intensity(restarts, LONG).auto_shutdown(auto_shutdown);
        root.child(job).child(probe(&other, &script))
    };
    let tree = Tree::start(spec(9, AutoShutdown::Never, false), 1).await.unwrap();
    let mut events = tree.subscribe();
    let refused = tree.change("root", spec(1, AutoShutdown::Never, true)).await;
    let path = "root/job".to_owned();
    assert_eq!(refused, Err(ChangeError::Spec(SpecError::SignificantForNobody { path })));
    for epoch in 1..=3 {
        tree.kill("root/other").await.unwrap();
        other.up_after(epoch).await;
    }
    tree.change("root", spec(9, AutoShutdown::AnySignificant, false)).await.unwrap();
    job.cast(Say::End).unwrap();
    while exit_of(&mut events, "root/job").await != (Exit::Normal, Verdict::Done) {}
    tree.change("root", spec(3, AutoShutdown::AllSignificant, true)).await.unwrap();
    tree.restart("root/job").await.unwrap();
    job.up_after(1).await;
    job.cast(Say::End).unwrap();
    assert!(matches!(tree.ended().await.exit, Exit::AutoShutdown(_)));

    let tree = Tree::start(spec(9, AutoShutdown::Never, false), 1).await.unwrap();
    for epoch in 4..=6 {
        tree.kill("root/other").await.unwrap();
        other.up_after(epoch).await;
    }
    tree.change("root", spec(3, AutoShutdown::Never, false)).await.unwrap();
    tree.kill("root/other").await.unwrap();
    assert!(matches!(tree.ended().await.exit, Exit::Escalated(_)), "what was counted stays counted");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_meant_changes_nothing() {
    let [a, b] = ["a", "b"].map(ChildRef::new);
    let script = Script::default();
    let pool =
        || Pool::actor(&PoolRef::new("pool"), |(): &()| (Probe { name: String::new(), script: Script::default() }, ()));
    let nested = || Supervisor::new("nested", Strategy::OneForOne);
    let tree = root(Strategy::OneForOne).child(probe(&a, &script)).supervisor(nested()).child(pool());
    let tree = Tree::start(tree, 1).await.unwrap();
    let before = tree.snapshot();
    let all = || root(Strategy::OneForAll).child(probe(&b, &script));
    let worker = |name: &str| probe(&ChildRef::new(name), &script);
    let kind = |path: &str| ChangeError::Kind { path: path.to_owned() };
    let twins = SpecError::DuplicateName { path: "root/a".to_owned() };
    let other_pool =
        Pool::once(&PoolRef::new("pool"), |()| (Probe { name: String::new(), script: Script::default() }, ()));
    let types =
        Pool::once(&PoolRef::new("pool"), |_: u8| (Probe { name: String::new(), script: Script::default() }, ()));
    for (path, spec, expected) in [
        ("root", all().child(worker("nested")).into(), kind("root/nested")),
        ("root", all().supervisor(Supervisor::new("a", Strategy::OneForOne)).into(), kind("root/a")),
        ("root", all().child(worker("pool")).into(), kind("root/pool")),
        ("root", all().supervisor(Supervisor::new("pool", Strategy::OneForOne)).into(), kind("root/pool")),
        ("root", all().child(worker("a")).child(worker("a")).into(), ChangeError::Spec(twins)),
        ("root", worker("root"), kind("root")),
        ("root", Child::from(pool()), kind("root")),
        ("root/a", all().into(), kind("root/a")),
        ("root/pool", all().into(), kind("root/pool")),
        ("root/pool", types.into(), kind("root/pool")),
        ("root/b", all().into(), NotFound { path: "root/b".to_owned() }.into()),
    ] {
        assert_eq!(tree.change(path, spec).await, Err(expected));
    }
    assert_eq!(tree.snapshot(), before);
    tree.change("root/pool", other_pool).await.unwrap();
    tree.shutdown(LONG).await;
    assert_eq!(tree.change("root", all()).await, Err(ChangeError::SupervisorDown { path: "root".to_owned() }));
}

#[tokio::test(start_paused = true)]
async fn a_pool_takes_another_template() {
    let members = PoolRef::new("pool");
    let script = Script::default();
    let make = |prefix: &'static str| {
        let script = script.clone();
        let pool = Pool::actor(&members, move |name: &&'static str| {
            (Probe { name: format!("{prefix}{name}"), script: script.clone() }, ())
        });
        pool.backoff(Backoff::none())
    };
    let tree = Tree::start(root(Strategy::OneForOne).child(make("")), 1).await.unwrap();
    let a = members.start("a").await.unwrap();
    let refuses = make("new ").max_children(2).members(|member| member.transient().shutdown(ms(1)));
    tree.change("root/pool", refuses).await.unwrap();
    members.start("b").await.unwrap();
    assert!(members.start("c").await.is_err(), "it is full now");
    a.cast(Say::Panic).unwrap();
    a.up_after(1).await;
    a.cast(Say::End).unwrap();
    while tree.count("root/pool").unwrap().specs > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(script.logged(), ["start a", "start new b", "start a", "stop a"], "a is transient, and made as it was");
}
