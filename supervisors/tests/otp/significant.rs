//! Significant children, and supervisors that end with them.

use supervisors::{
    AutoShutdown, ChangeError, Child, Exit, NodeState, SpecError, StartError, Strategy, Supervisor, Tree,
};

use crate::kit::{
    ABNORMAL, HOUR, Kid, Make, Members, STRATEGIES, Way, counts, end, ended, kids, names, pool, settle, start, state,
    sup,
};

use AutoShutdown::{AllSignificant, AnySignificant, Never};

const MODES: [AutoShutdown; 2] = [AnySignificant, AllSignificant];
const WAYS: [Way; 4] = [Way::Normal, Way::Fail, Way::Panic, Way::Kill];

/// A supervisor of both, and none that restarts without end.
fn of_two(auto_shutdown: AutoShutdown, child1: Child, child2: Child) -> Supervisor {
    sup(Strategy::OneForOne).intensity(99, HOUR).auto_shutdown(auto_shutdown).child(child1).child(child2)
}

fn lives(tree: &Tree) -> bool {
    state(tree, "sup") == Some(NodeState::Running)
}

/// Waits until the tree has shut itself down, in peace, and tells which child was the last.
async fn shut_down_after(tree: &Tree) -> String {
    let exit = ended(tree).await;
    assert!(matches!(exit, Exit::AutoShutdown(_)) && exit.is_peaceful(), "{exit}");
    exit.chain()[0].path.clone()
}

async fn ends_of_the_insignificant(kind: Make) {
    for mode in MODES {
        for way in WAYS {
            let ([child1, child2], _) = kids(["child1", "child2"]);
            let tree = start(of_two(mode, kind(child1.spec()), kind(child2.spec()))).await;
            end(&child1, way).await;
            end(&child2, way).await;
            assert!(lives(&tree), "{mode:?} {way:?}");
        }
        let ([child1, child2], _) = kids(["child1", "child2"]);
        let tree = start(of_two(mode, kind(child1.spec()), kind(child2.spec()))).await;
        tree.terminate("sup/child1").await.unwrap();
        tree.terminate("sup/child2").await.unwrap();
        settle().await;
        assert!(lives(&tree), "{mode:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nonsignificant_temporary() {
    ends_of_the_insignificant(Child::temporary).await;
}

#[tokio::test(start_paused = true)]
async fn nonsignificant_transient() {
    ends_of_the_insignificant(Child::transient).await;
}

#[tokio::test(start_paused = true)]
async fn significant_temporary() {
    let family = |mode| {
        let ([child1, child2], _) = kids(["child1", "child2"]);
        let significant = |kid: &Kid| kid.spec().temporary().significant();
        (of_two(mode, significant(&child1), significant(&child2)), child1, child2)
    };
    for way in WAYS {
        let (root, child1, child2) = family(AnySignificant);
        let tree = start(root).await;
        end(&child1, way).await;
        assert_eq!((shut_down_after(&tree).await, child2.is_up()), ("sup/child1".to_owned(), false), "{way:?}");

        let (root, child1, child2) = family(AllSignificant);
        let tree = start(root).await;
        end(&child1, way).await;
        assert!(lives(&tree) && child2.is_up());
        end(&child2, way).await;
        assert_eq!(shut_down_after(&tree).await, "sup/child2");
    }
    for mode in MODES {
        let (root, ..) = family(mode);
        let tree = start(root).await;
        for path in ["sup/child1", "sup/child2"] {
            tree.terminate(path).await.unwrap();
            settle().await;
            assert!(lives(&tree), "an end that was ordered does not count");
        }
    }
    let (root, child1, _child2) = family(AllSignificant);
    let tree = start(root).await;
    end(&child1, Way::Normal).await;
    tree.terminate("sup/child2").await.unwrap();
    settle().await;
    assert!(lives(&tree), "not even the last");
    let (root, child1, _child2) = family(AllSignificant);
    let tree = start(root).await;
    tree.terminate("sup/child2").await.unwrap();
    end(&child1, Way::Normal).await;
    assert_eq!(shut_down_after(&tree).await, "sup/child1", "who is left is the last");
}

#[tokio::test(start_paused = true)]
async fn significant_transient() {
    for mode in MODES {
        let ([child1, child2], _) = kids(["child1", "child2"]);
        let significant = |kid: &Kid| kid.spec().transient().significant();
        let tree = start(of_two(mode, significant(&child1), significant(&child2))).await;
        for (epoch, way) in (2..).zip(ABNORMAL) {
            end(&child1, way).await;
            assert_eq!((child1.epoch(), child1.is_up(), lives(&tree)), (epoch, true, true), "{mode:?} {way:?}");
        }
        end(&child1, Way::Normal).await;
        if mode == AllSignificant {
            assert!(lives(&tree) && !child1.is_up() && child2.is_up());
            end(&child2, Way::Normal).await;
        }
        let last = if mode == AllSignificant { "sup/child2" } else { "sup/child1" };
        assert_eq!((shut_down_after(&tree).await, child2.is_up()), (last.to_owned(), false));
    }
}

#[tokio::test(start_paused = true)]
async fn significant_simple() {
    for kind in [Child::transient, Child::temporary] {
        for mode in MODES {
            // A pool has no mode of its own, and that of its supervisor is not its own.
            let spec = pool(&Members::new("pool")).members(|member| kind(member).significant());
            let refused = Tree::start(sup(Strategy::OneForOne).auto_shutdown(mode).child(spec), 1).await.err();
            let path = "sup/pool/member".to_owned();
            assert_eq!(refused, Some(StartError::Spec(SpecError::SignificantForNobody { path })));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn significant_bystander() {
    for mode in MODES {
        for strategy in STRATEGIES {
            let ([child1, child2, child3], _) = kids(["child1", "child2", "child3"]);
            let root = sup(strategy).auto_shutdown(mode).child(child1.spec());
            let root = root.child(child2.spec().transient().significant());
            let tree = start(root.child(child3.spec().temporary().significant())).await;
            end(&child1, Way::Kill).await;
            let (epoch, left) = if strategy == Strategy::OneForOne { (1, 3) } else { (2, 2) };
            assert_eq!((child2.epoch(), counts(&tree, "sup")), (epoch, [left, left, 0, left]), "{strategy:?}");
            assert!(lives(&tree) && child2.is_up(), "{mode:?} {strategy:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn significant_escalation() {
    for significant in [true, false] {
        let ([child1, child2], _) = kids(["child1", "child2"]);
        let nested = Supervisor::new("nested", Strategy::OneForOne).auto_shutdown(AnySignificant);
        let nested = Child::from(nested.child(child1.spec().transient().significant())).transient();
        let nested = if significant { nested.significant() } else { nested };
        let tree = start(of_two(AnySignificant, nested, child2.spec())).await;
        end(&child1, Way::Normal).await;
        if significant {
            assert_eq!(shut_down_after(&tree).await, "sup/nested");
            assert_eq!(ended(&tree).await.chain()[1].path, "sup/nested/child1");
        } else {
            assert_eq!(state(&tree, "sup/nested"), Some(NodeState::Stopped));
        }
        assert_eq!((lives(&tree), child2.is_up()), (!significant, !significant));
    }
}

/// Both children are significant under modes that care, and cannot be under the one that does not.
fn in_mode(mode: AutoShutdown, child1: &Kid, child2: &Kid) -> Supervisor {
    let spec = |kid: &Kid| {
        let spec = kid.spec().transient();
        if mode == Never { spec } else { spec.significant() }
    };
    of_two(mode, spec(child1), spec(child2))
}

/// Adapted, as are the next five: OTP suspends the supervisor and changes its code, where we give a running supervisor
/// another specification. Then both children end in peace, one after the other.
async fn upgraded(from: AutoShutdown, to: AutoShutdown) {
    let ([child1, child2], _) = kids(["child1", "child2"]);
    let tree = start(in_mode(from, &child1, &child2)).await;
    let significant = of_two(Never, child1.spec().transient().significant(), child2.spec());
    let refused = SpecError::SignificantForNobody { path: "sup/child1".to_owned() };
    assert_eq!(tree.change("sup", significant).await, Err(ChangeError::Spec(refused)));
    tree.change("sup", in_mode(to, &child1, &child2)).await.unwrap();
    assert_eq!((child1.epoch(), child2.epoch(), counts(&tree, "sup")), (1, 1, [2, 2, 0, 2]), "nobody noticed");

    end(&child1, Way::Normal).await;
    assert_eq!(lives(&tree), to != AnySignificant);
    if to == AnySignificant {
        assert_eq!(shut_down_after(&tree).await, "sup/child1");
        return;
    }
    end(&child2, Way::Normal).await;
    assert_eq!(lives(&tree), to == Never);
    if to == AllSignificant {
        assert_eq!(shut_down_after(&tree).await, "sup/child2");
    }
}

#[tokio::test(start_paused = true)]
async fn significant_upgrade_never_any() {
    upgraded(Never, AnySignificant).await;
}

#[tokio::test(start_paused = true)]
async fn significant_upgrade_never_all() {
    upgraded(Never, AllSignificant).await;
}

#[tokio::test(start_paused = true)]
async fn significant_upgrade_any_never() {
    upgraded(AnySignificant, Never).await;
}

#[tokio::test(start_paused = true)]
async fn significant_upgrade_any_all() {
    upgraded(AnySignificant, AllSignificant).await;
}

#[tokio::test(start_paused = true)]
async fn significant_upgrade_all_never() {
    upgraded(AllSignificant, Never).await;
}

#[tokio::test(start_paused = true)]
async fn significant_upgrade_all_any() {
    upgraded(AllSignificant, AnySignificant).await;
}

/// Adapted as [`upgraded`].
#[tokio::test(start_paused = true)]
async fn significant_upgrade_child() {
    for (before, after) in [(false, true), (true, false)] {
        let ([child1, child2], _) = kids(["child1", "child2"]);
        let root = |mode, significant| {
            let spec = child1.spec().transient();
            of_two(mode, if significant { spec.significant() } else { spec }, child2.spec())
        };
        let tree = start(root(AnySignificant, before)).await;
        let refused = SpecError::SignificantForNobody { path: "sup/child1".to_owned() };
        assert_eq!(tree.change("sup", root(Never, true)).await, Err(ChangeError::Spec(refused)));
        tree.change("sup", root(AnySignificant, after)).await.unwrap();
        end(&child1, Way::Normal).await;
        assert_eq!(lives(&tree), !after);
        if after {
            assert_eq!(shut_down_after(&tree).await, "sup/child1");
        } else {
            assert_eq!(names(&tree, "sup"), ["child1", "child2"]);
        }
    }
}
