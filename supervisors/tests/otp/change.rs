//! Other specifications for what runs. In OTP these are changes of code, in a release that is installed while the
//! supervisor is suspended; here they are one call, and all four cases are adapted to it.

use supervisors::{
    Backoff, ChangeError, Child, Exit, NodeState, Pool, PoolRef, Restart, SpecError, Strategy, Supervisor,
};

use crate::kit::{
    Conduct, HOUR, Kid, Members, POOL, Probe, Stop, Way, counts, end, ended, kids, ms, names, pool, start, start_pool,
    state, sup,
};

/// The flags, and what is refused. OTP's tuples and maps are one here, so this has the first half of what both assert,
/// and [`code_change_map`] the second.
#[tokio::test(start_paused = true)]
async fn code_change() {
    let ([child1, child2], log) = kids(["child1", "child2"]);
    let both = |root: Supervisor| root.child(child1.spec()).child(child2.spec());
    let tree = start(both(sup(Strategy::OneForOne).intensity(0, HOUR))).await;
    let before = tree.snapshot();
    let windowless = both(sup(Strategy::OneForAll).intensity(1, ms(0)));
    let nameless = both(sup(Strategy::OneForAll)).child(Kid::new("").spec());
    let twins = both(both(sup(Strategy::OneForAll)));
    for (spec, error) in [
        (windowless, SpecError::EmptyWindow { path: "sup/child1".to_owned() }),
        (nameless, SpecError::Name { path: "sup/".to_owned() }),
        (twins, SpecError::DuplicateName { path: "sup/child1".to_owned() }),
    ] {
        assert_eq!(tree.change("sup", spec).await, Err(ChangeError::Spec(error)));
        assert_eq!(tree.snapshot(), before);
    }
    let other_kind = sup(Strategy::OneForAll).supervisor(Supervisor::new("child1", Strategy::OneForOne));
    assert_eq!(tree.change("sup", other_kind).await, Err(ChangeError::Kind { path: "sup/child1".to_owned() }));
    assert_eq!(tree.snapshot(), before);

    log.take();
    tree.change("sup", both(sup(Strategy::OneForAll).intensity(1, HOUR))).await.unwrap();
    assert_eq!((child1.epoch(), child2.epoch(), log.take()), (1, 1, vec![]), "nobody noticed");
    end(&child2, Way::Kill).await;
    assert_eq!((child1.epoch(), child2.epoch()), (2, 2), "all for one, and a restart more than before");
    end(&child2, Way::Kill).await;
    assert!(matches!(ended(&tree).await, Exit::Escalated(_)));
}

/// The children. OTP takes the order of the new list; here those that run keep theirs, and new ones come after them.
#[tokio::test(start_paused = true)]
async fn code_change_map() {
    let ([child1, child2, child3], log) = kids(["child1", "child2", "child3"]);
    let tree = start(sup(Strategy::OneForOne).child(child1.spec()).child(child2.spec())).await;
    log.take();
    let new = sup(Strategy::OneForOne).child(child3.spec()).child(child2.spec().transient());
    tree.change("sup", new).await.unwrap();
    assert_eq!((names(&tree, "sup"), log.take()), (["child1", "child2", "child3"].map(String::from).to_vec(), vec![]));
    assert_eq!(counts(&tree, "sup"), [3, 2, 0, 3], "one is added and not started, and none is deleted");
    assert_eq!((state(&tree, "sup/child3"), child2.epoch()), (Some(NodeState::Stopped), 1));
    assert_eq!(tree.snapshot().find("sup/child2").unwrap().restart, Restart::Transient);
    end(&child2, Way::Normal).await;
    assert_eq!(state(&tree, "sup/child2"), Some(NodeState::Stopped), "transient now");
    tree.restart("sup/child3").await.unwrap();
    child3.up().await;
    assert!(tree.shutdown(HOUR).await.is_graceful());
}

/// The template, for members that are there and for those that come.
#[tokio::test(start_paused = true)]
async fn code_change_simple() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members)).await;
    let old = members.start(Conduct::new("old")).await.unwrap();
    tree.change(POOL, pool(&members).members(|member| member.transient().brutal_kill())).await.unwrap();
    assert_eq!((old.epoch(), counts(&tree, POOL)), (1, [1, 1, 0, 1]));
    let new = members.start(Conduct::new("new").stops(Stop::Never)).await.unwrap();
    assert_eq!(new.terminate().await.unwrap().exit, Exit::Killed);
    end(&old, Way::Normal).await;
    assert_eq!(counts(&tree, POOL), [0; 4], "transient now, and so it is over");
}

/// What OTP refuses as too many or too few specifications is here a supervisor for a pool, or a pool of other types.
#[tokio::test(start_paused = true)]
async fn code_change_simple_map() {
    let members = Members::new("pool");
    let tree = start_pool(pool(&members)).await;
    let member = members.start(Conduct::new("member")).await.unwrap();
    let before = tree.snapshot();
    let supervisor = |name: &str| Supervisor::new(name, Strategy::OneForOne).backoff(Backoff::none());
    let other_types = PoolRef::new("pool");
    let other_types = Pool::actor(&other_types, |(): &()| (Probe(Conduct::new("member")), ()));
    for (path, spec) in [
        (POOL, Child::from(supervisor("pool"))),
        (POOL, supervisor("pool").child(Kid::new("one").spec()).child(Kid::new("two").spec()).into()),
        (POOL, other_types.into()),
        ("top", pool(&members).into()),
    ] {
        assert_eq!(tree.change(path, spec).await, Err(ChangeError::Kind { path: path.to_owned() }));
        assert_eq!(tree.snapshot(), before);
    }
    end(&member, Way::Kill).await;
    assert_eq!((member.epoch(), member.is_up()), (2, true));
}
