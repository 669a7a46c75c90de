//! What a caller can do to children, and what is left of them after each kind of end.

use std::sync::Arc;

use supervisors::{
    AddError, AutoShutdown, Child, ChildRef, Exit, NodeState, NotFound, Pool, PoolRef, RemoveError, RestartError,
    Strategy, Supervisor,
};

use crate::kit::{
    ABNORMAL, Conduct, HOUR, Kid, Make, Members, POOL, Probe, STRATEGIES, Start, Way, counts, end, kids, last_exit, ms,
    names, pool, settle, start, start_pool, state, sup,
};

#[tokio::test(start_paused = true)]
async fn child_adm() {
    let (child, path) = (Kid::new("child1"), "sup/child1");
    let named = || path.to_owned();
    let tree = start(sup(Strategy::OneForOne)).await;
    tree.add("sup", child.spec()).await.unwrap();
    assert_eq!((names(&tree, "sup"), counts(&tree, "sup")), (vec!["child1".to_owned()], [1, 1, 0, 1]));
    assert_eq!(tree.add("sup", child.spec()).await, Err(AddError::AlreadyStarted { path: named() }));
    assert_eq!(tree.delete(path).await, Err(RemoveError::Running { path: named() }));
    assert_eq!(tree.restart(path).await, Err(RestartError::NotDown { path: named() }));

    for _ in 0..2 {
        assert_eq!(tree.terminate(path).await.unwrap().exit, Exit::Shutdown);
        assert_eq!((state(&tree, path), counts(&tree, "sup")), (Some(NodeState::Stopped), [1, 0, 0, 1]));
    }
    assert_eq!(tree.add("sup", child.spec()).await, Err(AddError::AlreadyPresent { path: named() }));
    tree.restart(path).await.unwrap();
    child.up_after(1).await;
    assert_eq!((child.epoch(), counts(&tree, "sup")), (2, [1, 1, 0, 1]));

    tree.terminate(path).await.unwrap();
    tree.delete(path).await.unwrap();
    let nobody = |path: &str| NotFound { path: path.to_owned() };
    // The number of an incarnation is no name, as a pid is no id.
    for path in [path, "sup/child2", "sup/1", "sup/child1/1"] {
        assert_eq!(tree.terminate(path).await, Err(nobody(path).into()));
        assert_eq!(tree.delete(path).await, Err(nobody(path).into()));
        assert_eq!(tree.restart(path).await, Err(nobody(path).into()));
    }
    assert_eq!(counts(&tree, "sup"), [0; 4]);
    assert_eq!(tree.add("sup/child1", child.spec()).await, Err(nobody("sup/child1").into()));
    tree.add("sup", child.spec()).await.unwrap();
    assert!(tree.shutdown(HOUR).await.is_graceful());
}

/// OTP refuses to restart and to delete by the kind of the supervisor. Here no rule of its own is needed: a member that
/// is over is not there, and one that is there is up or on its way.
#[tokio::test(start_paused = true)]
async fn child_adm_simple() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members)).await;
    assert_eq!(counts(&tree, POOL), [0; 4]);
    let a = members.start(Conduct::new("a")).await.unwrap();
    let b = members.start(Conduct::new("b")).await.unwrap();
    assert_eq!((names(&tree, POOL), counts(&tree, POOL)), (vec!["1".to_owned(), "2".to_owned()], [2, 2, 0, 2]));
    assert_eq!(tree.restart(a.path()).await, Err(RestartError::NotDown { path: a.path().to_owned() }));
    assert_eq!(tree.delete(a.path()).await, Err(RemoveError::Running { path: a.path().to_owned() }));
    assert_eq!(tree.add(POOL, Kid::new("c").spec()).await, Err(AddError::IsAPool { path: POOL.to_owned() }));

    tree.terminate(a.path()).await.unwrap();
    assert_eq!((names(&tree, POOL), counts(&tree, POOL)), (vec!["2".to_owned()], [1, 1, 0, 1]));
    assert_eq!(a.terminate().await.unwrap().exit, Exit::Shutdown, "whose member is gone may say so again");
    let nobody = |path: &str| NotFound { path: path.to_owned() };
    assert_eq!(tree.restart(a.path()).await, Err(nobody(a.path()).into()));
    assert_eq!(tree.delete(a.path()).await, Err(nobody(a.path()).into()));
    assert_eq!(tree.terminate("top/pool/99").await, Err(nobody("top/pool/99").into()));
    b.terminate().await.unwrap();
    assert_eq!(counts(&tree, POOL), [0; 4]);
}

/// The counts after a child of this kind has ended, and its epoch.
async fn after(kind: Make, way: Way) -> ([usize; 4], u64) {
    let child = Kid::new("child1");
    let tree = start(sup(Strategy::OneForOne).child(kind(child.spec()))).await;
    end(&child, way).await;
    let counts = counts(&tree, "sup");
    assert_eq!(child.is_up(), counts[1] == 1);
    if counts[0] == 1 {
        assert!(last_exit(&tree, "sup/child1").is_some_and(|exit| way.is_like(&exit)));
    }
    (counts, child.epoch())
}

const RESTARTED: ([usize; 4], u64) = ([1, 1, 0, 1], 2);
const KEPT: ([usize; 4], u64) = ([1, 0, 0, 1], 1);
const GONE: ([usize; 4], u64) = ([0; 4], 1);

#[tokio::test(start_paused = true)]
async fn permanent_normal() {
    assert_eq!(after(Child::permanent, Way::Normal).await, RESTARTED);
}

#[tokio::test(start_paused = true)]
async fn transient_normal() {
    assert_eq!(after(Child::transient, Way::Normal).await, KEPT);
}

#[tokio::test(start_paused = true)]
async fn temporary_normal() {
    assert_eq!(after(Child::temporary, Way::Normal).await, GONE);
}

/// OTP's child ends with `shutdown` and with `{shutdown, Term}`. With us a worker is asked to end by a stranger, who
/// holds a reference, and a supervisor shuts itself down. The counts after each, and its epoch.
async fn after_shutdown(kind: Make) -> [([usize; 4], u64); 2] {
    let child = Kid::new("child1");
    let tree = start(sup(Strategy::OneForOne).child(kind(child.spec()))).await;
    assert!(child.stop(1));
    child.wait_end(1).await;
    settle().await;
    let of_worker = (counts(&tree, "sup"), child.epoch());

    let job = Kid::new("job");
    let nested = Supervisor::new("nested", Strategy::OneForOne).auto_shutdown(AutoShutdown::AnySignificant);
    let nested = Child::from(nested.child(job.spec().transient().significant()));
    let tree = start(sup(Strategy::OneForOne).child(kind(nested))).await;
    end(&job, Way::Normal).await;
    let [specs, active, supervisors, workers] = counts(&tree, "sup");
    [of_worker, ([specs, active, workers, supervisors], job.epoch())]
}

#[tokio::test(start_paused = true)]
async fn permanent_shutdown() {
    assert_eq!(after_shutdown(Child::permanent).await, [RESTARTED; 2]);
}

#[tokio::test(start_paused = true)]
async fn transient_shutdown() {
    assert_eq!(after_shutdown(Child::transient).await, [KEPT; 2]);
}

#[tokio::test(start_paused = true)]
async fn temporary_shutdown() {
    assert_eq!(after_shutdown(Child::temporary).await, [GONE; 2]);
}

#[tokio::test(start_paused = true)]
async fn permanent_abnormal() {
    for way in ABNORMAL {
        assert_eq!(after(Child::permanent, way).await, RESTARTED);
    }
}

#[tokio::test(start_paused = true)]
async fn transient_abnormal() {
    for way in ABNORMAL {
        assert_eq!(after(Child::transient, way).await, RESTARTED);
    }
}

#[tokio::test(start_paused = true)]
async fn temporary_abnormal() {
    for way in ABNORMAL {
        assert_eq!(after(Child::temporary, way).await, GONE);
    }
}

#[tokio::test(start_paused = true)]
async fn count_children() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members).members(Child::temporary)).await;
    let mut started = Vec::new();
    for count in [1000, 2000] {
        while started.len() < count {
            started.push(members.start(Conduct::new("member")).await.unwrap());
        }
        assert_eq!(counts(&tree, POOL), [count, count, 0, count]);
    }
    for member in started {
        assert!(member.kill(1));
    }
    settle().await;
    assert_eq!(counts(&tree, POOL), [0; 4]);
}

/// Not in a pool, as a member of ours is always a worker: the supervisors are added one by one.
#[tokio::test(start_paused = true)]
async fn count_children_supervisor() {
    let tree = start(sup(Strategy::OneForOne)).await;
    let mut started = Vec::new();
    for count in [1000, 2000] {
        while started.len() < count {
            let nested = Supervisor::new(started.len().to_string(), Strategy::OneForOne);
            started.push(format!("sup/{}", started.len()));
            tree.add("sup", Child::from(nested).temporary()).await.unwrap();
        }
        assert_eq!(counts(&tree, "sup"), [count, count, count, 0]);
    }
    for path in started {
        tree.kill(&path).await.unwrap();
    }
    settle().await;
    assert_eq!(counts(&tree, "sup"), [0; 4]);
}

#[tokio::test(start_paused = true)]
async fn count_restarting_children() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members).intensity(99, HOUR).members(Child::brutal_kill)).await;
    let conducts = ["a", "b", "c"].map(Conduct::new);
    let mut started = Vec::new();
    for conduct in &conducts {
        started.push(members.start(conduct.clone()).await.unwrap());
    }
    assert_eq!(counts(&tree, POOL), [3, 3, 0, 3]);
    for (at, (conduct, member)) in conducts.iter().zip(&started).enumerate() {
        conduct.will_start(Start::FailLate);
        end(member, Way::Fail).await;
        assert_eq!(counts(&tree, POOL), [3, 2 - at, 0, 3]);
    }
    tokio::time::sleep(ms(5000)).await;
    assert_eq!(counts(&tree, POOL), [3, 0, 0, 3]);
    conducts[0].will_start(Start::Well);
    started[0].up_after(1).await;
    assert_eq!(counts(&tree, POOL), [3, 1, 0, 3]);
    for (left, member) in started[1..].iter().zip([2, 1]).map(|(member, left)| (left, member)) {
        member.terminate().await.unwrap();
        assert_eq!(counts(&tree, POOL), [left, 1, 0, left]);
    }
}

/// Adapted: OTP compares the sizes of the states of supervisors. Here what a child was made of says whether somebody
/// still has it. One that is listed keeps it, as it is there again with the next incarnation of its supervisor.
#[tokio::test(start_paused = true)]
async fn do_not_save_start_parameters_for_temporary_children() {
    for strategy in STRATEGIES {
        let tree = start(sup(strategy)).await;
        let parameters = Arc::new(());
        let kept = Arc::downgrade(&parameters);
        let reference = ChildRef::new("child");
        let child = Child::actor(&reference, move || {
            assert_eq!(Arc::strong_count(&parameters), 1);
            (Probe(Conduct::new("child")), ())
        });
        tree.add("sup", child.temporary()).await.unwrap();
        end(&reference, Way::Kill).await;
        assert_eq!((kept.strong_count(), counts(&tree, "sup")), (0, [0; 4]));
    }
    let members = PoolRef::new("pool");
    let spec = Pool::once(&members, |parameters: Arc<()>| {
        drop(parameters);
        (Probe(Conduct::new("member")), ())
    });
    let _tree = start_pool(spec).await;
    let parameters = Arc::new(());
    let kept = Arc::downgrade(&parameters);
    let member = members.start(parameters).await.unwrap();
    assert_eq!((kept.strong_count(), member.is_up()), (0, true), "not even while it lives");
}

#[tokio::test(start_paused = true)]
async fn do_not_save_child_specs_for_temporary_children() {
    let kinds: [(Make, usize); 3] = [(Child::permanent, 2), (Child::transient, 2), (Child::temporary, 1)];
    for strategy in STRATEGIES {
        for (kind, left) in kinds {
            for way in [Some(Way::Normal), Some(Way::Fail), Some(Way::Kill), None] {
                let ([child1, child2], _) = kids(["child1", "child2"]);
                let tree = start(sup(strategy).child(child1.spec()).child(kind(child2.spec()))).await;
                match way {
                    Some(way) => end(&child2, way).await,
                    None => drop(tree.terminate("sup/child2").await.unwrap()),
                }
                assert_eq!(tree.count("sup").unwrap().specs, left, "{strategy:?} {way:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn order_of_children() {
    let (kids, log) = kids(["c", "a", "e", "b", "d"]);
    let tree = start(kids.iter().fold(sup(Strategy::RestForOne), |root, kid| root.child(kid.spec()))).await;
    assert_eq!(log.take(), ["start c", "start a", "start e", "start b", "start d"]);
    assert_eq!(names(&tree, "sup"), ["c", "a", "e", "b", "d"]);
    end(&kids[2], Way::Kill).await;
    assert_eq!(log.take(), ["stop d", "stop b", "start e", "start b", "start d"]);
    tree.shutdown(HOUR).await;
    assert_eq!(log.take(), ["stop d", "stop b", "stop e", "stop a", "stop c"]);
}
