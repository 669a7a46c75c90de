//! Stops: how long they may take, and what becomes of those who do not comply.

use std::collections::BTreeMap;

use supervisors::{Child, Exit, Heard, Outcome, Strategy, Supervisor, Verdict, What};
use tokio::time::Instant;

use crate::kit::{
    Conduct, HOUR, Kid, Make, Members, POOL, Say, Stop, Way, counts, ended, kids, last_exit, ms, order_end, pool,
    settle, start, start_pool, sup,
};

#[tokio::test(start_paused = true)]
async fn sup_stop_infinity() {
    let (worker, inner) = (Kid::new("worker").stops(Stop::Late(HOUR)), Kid::new("inner").stops(Stop::Late(HOUR)));
    let tree = start(sup(Strategy::OneForOne)).await;
    let nested = Supervisor::new("nested", Strategy::OneForOne).child(inner.spec().shutdown_unlimited());
    tree.add("sup", Child::from(nested).shutdown_unlimited()).await.unwrap();
    tree.add("sup", worker.spec().shutdown_unlimited()).await.unwrap();
    let before = Instant::now();
    assert!(tree.shutdown(3 * HOUR).await.is_graceful());
    assert_eq!(before.elapsed(), 2 * HOUR);
    for path in ["sup/nested", "sup/nested/inner", "sup/worker"] {
        assert_eq!(last_exit(&tree, path), Some(Exit::Shutdown), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn sup_stop_timeout() {
    let ([child1, child2], _) = kids(["child1", "child2"]);
    let tree = start(sup(Strategy::OneForOne)).await;
    tree.add("sup", child1.spec().shutdown(ms(1000))).await.unwrap();
    tree.add("sup", child2.spec().shutdown(ms(1000))).await.unwrap();
    child2.cast(Say::Sleep(HOUR)).unwrap();
    settle().await;
    let before = Instant::now();
    tree.shutdown(HOUR).await;
    assert_eq!(before.elapsed(), ms(1000));
    assert_eq!(last_exit(&tree, "sup/child1"), Some(Exit::Shutdown));
    assert_eq!(last_exit(&tree, "sup/child2"), Some(Exit::Killed));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_timeout_dynamic() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members).members(|member| member.shutdown(ms(1000)))).await;
    let quick = members.start(Conduct::new("quick")).await.unwrap();
    let asleep = members.start(Conduct::new("asleep")).await.unwrap();
    asleep.cast(Say::Sleep(HOUR)).unwrap();
    settle().await;
    let before = Instant::now();
    tree.shutdown(HOUR).await;
    assert_eq!(before.elapsed(), ms(1000));
    assert_eq!(last_exit(&tree, quick.path()), Some(Exit::Shutdown));
    assert_eq!(last_exit(&tree, asleep.path()), Some(Exit::Killed));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_brutal_kill() {
    let ([child1, child2], log) = kids(["child1", "child2"]);
    let tree = start(sup(Strategy::OneForOne)).await;
    tree.add("sup", child1.spec().shutdown(ms(1000))).await.unwrap();
    tree.add("sup", child2.spec().brutal_kill()).await.unwrap();
    tree.shutdown(HOUR).await;
    assert_eq!(last_exit(&tree, "sup/child1"), Some(Exit::Shutdown));
    assert_eq!(last_exit(&tree, "sup/child2"), Some(Exit::Killed));
    assert_eq!(log.take(), ["start child1", "start child2", "stop child1"], "it was not asked");
}

#[tokio::test(start_paused = true)]
async fn sup_stop_brutal_kill_dynamic() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members).members(Child::brutal_kill)).await;
    for _ in 0..10 {
        members.start(Conduct::new("member")).await.unwrap();
    }
    let farewells = tree.shutdown(HOUR).await.farewells;
    let killed: Vec<_> = farewells.iter().filter(|farewell| farewell.exit == Exit::Killed).collect();
    assert_eq!(killed.len(), 10);
    assert!(killed.iter().all(|farewell| farewell.path.starts_with(POOL)));
}

#[tokio::test(start_paused = true)]
async fn sup_stop_race() {
    let kinds: [(&str, Make); 3] =
        [("permanent", Child::permanent), ("transient", Child::transient), ("temporary", Child::temporary)];
    let ways = [Way::Normal, Way::Fail, Way::Panic, Way::Kill];
    let mut racers = Vec::new();
    let mut root = sup(Strategy::OneForOne);
    for (name, kind) in kinds {
        for way in ways {
            let kid = Kid::new(&format!("{name} {way:?}"));
            root = root.child(kind(kid.spec()));
            racers.push((kid, way));
        }
    }
    // The last is the first to be stopped, and takes its time.
    let slow = Kid::new("slow").stops(Stop::Late(ms(1000)));
    let tree = start(root.child(slow.spec())).await;
    let stopping = tree.shutdown(HOUR);
    let race = async {
        settle().await;
        for (kid, way) in &racers {
            order_end(kid, *way);
        }
    };
    let mut events = tree.subscribe();
    let (report, ()) = tokio::join!(stopping, race);
    while let Some(heard) = events.next().await {
        let Heard::Decision(decision) = heard else { panic!("the journal is long enough") };
        if let What::Exited { verdict, .. } = decision.what {
            assert_eq!(verdict, Verdict::AsOrdered, "{}: nobody is charged or comes back", decision.path);
        }
    }
    let exits: BTreeMap<_, _> =
        report.farewells.iter().map(|farewell| (farewell.path.as_str(), &farewell.exit)).collect();
    for (kid, way) in &racers {
        let exit = exits[format!("sup/{}", kid.name()).as_str()];
        assert!(way.is_like(exit), "{} keeps its reason: {exit}", kid.name());
        assert_eq!((kid.epoch(), kid.is_up()), (1, false));
    }
    assert_eq!(ended(&tree).await, Exit::Shutdown);
}

#[tokio::test(start_paused = true)]
async fn sup_stop_non_shutdown_exit_dynamic() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members)).await;
    let mut started = Vec::new();
    for (stop, outcome) in [
        (Stop::Fail, Outcome::Failed),
        (Stop::Panic, Outcome::Failed),
        (Stop::Well, Outcome::Graceful),
        (Stop::Never, Outcome::Killed),
    ] {
        started.push((members.start(Conduct::new("member").stops(stop)).await.unwrap(), outcome));
    }
    let report = tree.shutdown(HOUR).await;
    for (member, outcome) in started {
        let farewell = report.farewells.iter().find(|farewell| farewell.path == member.path()).unwrap();
        assert_eq!(farewell.outcome, outcome, "{farewell:?}");
    }
    assert_eq!(ended(&tree).await, Exit::Shutdown);
}

/// OTP's children need between nothing and four seconds, of which they have two.
#[tokio::test(start_paused = true)]
async fn simple_one_for_one_shutdown() {
    for (slowest, took) in [(1000, 1000), (4000, 2000)] {
        let members = Members::new("pool");
        let tree = start_pool(pool(&members).members(|member| member.shutdown(ms(2000)))).await;
        for time in [0, slowest / 2, slowest, slowest] {
            members.start(Conduct::new("member").stops(Stop::Late(ms(time)))).await.unwrap();
        }
        let before = Instant::now();
        let report = tree.shutdown(HOUR).await;
        assert_eq!(before.elapsed(), ms(took), "all at once, and nobody gets more than the limit");
        let killed = report.farewells.iter().filter(|farewell| farewell.outcome == Outcome::Killed).count();
        assert_eq!(killed, if slowest > 2000 { 2 } else { 0 });
    }
}

/// Adapted: OTP watches its children with links, which a child can cut, and so needs a monitor. We link nobody (the
/// start of every child here asserts it) and wait for the task, of which a child cannot rid itself.
#[tokio::test(start_paused = true)]
async fn child_unlink() {
    let child = Kid::new("child").stops(Stop::Never);
    let tree = start(sup(Strategy::OneForOne).child(child.spec().shutdown(ms(1000)))).await;
    let before = Instant::now();
    assert_eq!(tree.terminate("sup/child").await.unwrap().exit, Exit::Killed);
    assert_eq!((before.elapsed(), counts(&tree, "sup")), (ms(1000), [1, 0, 0, 1]));
    assert!(tree.shutdown(HOUR).await.is_graceful());
}
