//! What becomes of messages while a child is down, and when it stays down.

use std::time::Duration;

use supervisors::{
    Backoff, CallError, ChildRef, Exhausted, SendError, Strategy, Supervisor, Tree, WhenFull, WhileDown,
};
use tokio::time::{Instant, timeout};

use crate::echo::{LONG, Say, Script, ms, root, settle, tree};

/// A tree whose child is in a back-off of a second.
async fn backing_off(child: &ChildRef<Say>, script: &Script, while_down: WhileDown) -> Tree {
    let spec = script.child(child).while_down(while_down).backoff(Backoff::exp(ms(1000), ms(1000)));
    let root = Supervisor::new("root", Strategy::OneForOne).child(spec);
    let tree = Tree::start(root, 1).await.unwrap();
    tree.kill("root/child").await.unwrap();
    child.up_after(1).await;
    tree.kill("root/child").await.unwrap();
    child.wait_end(2).await;
    tree
}

#[tokio::test(start_paused = true)]
async fn without_a_policy_a_message_comes_back_at_once() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let before = Instant::now();
    assert!(matches!(child.send(Say::Note(0)).await, Err(SendError::Down(Say::Note(0)))));
    let _tree = backing_off(&child, &script, WhileDown::Fail).await;
    assert!(matches!(child.cast(Say::Note(1)), Err(SendError::Down(Say::Note(1)))));
    assert!(matches!(child.send(Say::Note(2)).await, Err(SendError::Down(Say::Note(2)))));
    assert_eq!(child.call(|reply| Say::Ask(3, reply), LONG).await, Err(CallError::Down));
    assert_eq!(before.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_sender_can_wait_for_the_next_incarnation() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = backing_off(&child, &script, WhileDown::WaitUp(ms(2000))).await;
    assert!(matches!(child.cast(Say::Note(1)), Err(SendError::Down(_))), "a cast does not wait");
    let before = Instant::now();
    assert_eq!(child.call(|reply| Say::Ask(2, reply), ms(500)).await, Err(CallError::Down), "it was not sent");
    assert_eq!(before.elapsed(), ms(500));
    assert_eq!(child.call(|reply| Say::Ask(3, reply), ms(5000)).await, Ok(3));
    assert!(before.elapsed() >= ms(1000));
    assert_eq!(script.logged(), [(3, 3)]);

    // The next back-off is longer than it may wait.
    let slow = ChildRef::new("slow");
    let spec = script.child(&slow).while_down(WhileDown::WaitUp(ms(100))).backoff(Backoff::exp(LONG, LONG));
    tree.add("root", spec).await.unwrap();
    for epoch in [1, 2] {
        tree.kill("root/slow").await.unwrap();
        slow.wait_end(epoch).await;
        settle().await;
    }
    let before = Instant::now();
    assert!(matches!(slow.send(Say::Note(4)).await, Err(SendError::Down(Say::Note(4)))));
    assert_eq!(before.elapsed(), ms(100));
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_held_comes_first_and_in_order() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = backing_off(&child, &script, WhileDown::Hold(3)).await;
    let down = Instant::now();
    let sends = async { tokio::join!(child.send(Say::Note(1)), child.send(Say::Note(2)), child.send(Say::Note(3))) };
    let more = async {
        settle().await;
        assert_eq!(child.held(), 3);
        let refused = child.send(Say::Note(4)).await;
        assert!(matches!(refused, Err(SendError::Full(Say::Note(4)))), "{refused:?}");
        assert_eq!(down.elapsed(), Duration::ZERO);
        // Whoever sends when it is up again comes after those who were held.
        child.up_after(2).await;
        child.cast(Say::Note(5)).unwrap();
    };
    let (sent, ()) = tokio::join!(sends, more);
    assert!(matches!(sent, (Ok(3), Ok(3), Ok(3))), "{sent:?}");
    settle().await;
    assert_eq!(script.logged(), [(3, 1), (3, 2), (3, 3), (3, 5)]);
    assert_eq!(child.held(), 0);
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn who_stops_waiting_has_not_sent() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let _tree = backing_off(&child, &script, WhileDown::Hold(2)).await;
    assert!(timeout(ms(10), child.send(Say::Note(1))).await.is_err());
    assert_eq!(child.held(), 0, "it made room");
    let call = child.call(|reply| Say::Ask(2, reply), ms(10));
    assert_eq!(call.await, Err(CallError::Down), "it was not sent");
    assert_eq!(child.held(), 0);
    assert_eq!(child.call(|reply| Say::Ask(3, reply), LONG).await, Ok(3), "the answer of the one that came");
    assert_eq!(script.logged(), [(3, 3)]);
}

#[tokio::test(start_paused = true)]
async fn before_the_first_start_as_between_two() {
    let (child, script) = (ChildRef::new("child"), Script::slow());
    let spec = script.bounded(&child, 1, WhenFull::Fail).while_down(WhileDown::Hold(1));
    let starting = Tree::start(root(spec), 1);
    let sending = async {
        settle().await;
        assert!(!child.is_up());
        let (sent, ()) = tokio::join!(child.send(Say::Note(1)), async {
            settle().await;
            script.starts.add_permits(1);
        });
        assert!(matches!(sent, Ok(1)));
    };
    let (tree, ()) = tokio::join!(starting, sending);
    settle().await;
    assert_eq!(script.logged(), [(1, 1)]);
    tree.unwrap().shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_given_to_an_incarnation_that_was_told_to_stop_before_it_was_up() {
    for while_down in [WhileDown::Hold(9), WhileDown::WaitUp(LONG)] {
        let (base, child) = (ChildRef::new("base"), ChildRef::new("child"));
        let (sound, script) = (Script::default(), Script::default());
        let root = Supervisor::new("root", Strategy::RestForOne).child(sound.child(&base));
        let tree = Tree::start(root.child(script.child(&child).while_down(while_down)), 1).await.unwrap();
        script.starts.forget_permits(usize::MAX);
        tree.kill("root/child").await.unwrap();
        settle().await;
        let (sent, ()) = tokio::join!(child.send(Say::Note(1)), async {
            settle().await;
            tree.kill("root/base").await.unwrap();
            settle().await;
            // The second comes up, and stops; the third is the next.
            script.starts.add_permits(2);
        });
        assert!(matches!(sent, Ok(3)), "{sent:?}");
        settle().await;
        assert_eq!(script.logged(), [(3, 1)]);
        tree.shutdown(LONG).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_specification_changes_the_policies() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = backing_off(&child, &script, WhileDown::Fail).await;
    assert!(matches!(child.send(Say::Note(1)).await, Err(SendError::Down(_))));
    let changed = script.bounded(&child, 1, WhenFull::Fail).while_down(WhileDown::Hold(1));
    tree.change("root", Supervisor::new("root", Strategy::OneForOne).child(changed)).await.unwrap();
    assert!(matches!(child.send(Say::Note(2)).await, Ok(3)), "at once");
    assert_eq!(child.load().unwrap().limit, 1, "with the next incarnation");

    // With another reference it is another child by the same name: the old one leads to nobody any more.
    let successor = ChildRef::new("child");
    let other = script.child(&successor).while_down(WhileDown::Hold(1));
    tree.change("root", Supervisor::new("root", Strategy::OneForOne).child(other)).await.unwrap();
    child.send(Say::Note(3)).await.unwrap();
    settle().await;
    tree.kill("root/child").await.unwrap();
    child.wait_end(3).await;
    assert!(matches!(child.send(Say::Note(4)).await, Err(SendError::Down(_))));
    assert!(matches!(successor.send(Say::Note(5)).await, Ok(4)));
    settle().await;
    assert_eq!(script.logged(), [(3, 2), (3, 3), (4, 5)]);
    tree.shutdown(LONG).await;
}

const LIMBO: [WhileDown; 2] = [WhileDown::Hold(9), WhileDown::WaitUp(LONG)];

/// Two messages are on their way to a child that is down; `ending` makes that final, and both come back.
async fn come_back(child: &ChildRef<Say>, ending: impl Future<Output = ()>) {
    let before = Instant::now();
    let sends = async { tokio::join!(child.send(Say::Note(1)), child.call(|reply| Say::Ask(2, reply), LONG)) };
    let ending = async {
        settle().await;
        assert!(!child.is_up());
        ending.await;
    };
    let (sent, ()) = tokio::join!(sends, ending);
    assert!(matches!(sent, (Err(SendError::Down(Say::Note(1))), Err(CallError::Down))), "{sent:?}");
    assert!(matches!(child.send(Say::Note(3)).await, Err(SendError::Down(Say::Note(3)))), "and so do later ones");
    assert_eq!(before.elapsed(), Duration::ZERO, "at once");
}

#[tokio::test(start_paused = true)]
async fn all_come_back_from_a_child_that_is_removed() {
    for while_down in LIMBO {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let tree = backing_off(&child, &script, while_down).await;
        come_back(&child, async { drop(tree.remove("root/child").await.unwrap()) }).await;
        // It is added again, and takes what comes from then on.
        script.starts.forget_permits(usize::MAX);
        let adding = tree.add("root", script.child(&child).while_down(while_down));
        let sending = async {
            settle().await;
            let (sent, ()) = tokio::join!(child.send(Say::Note(4)), async { script.starts.add_permits(1) });
            assert!(matches!(sent, Ok(3)));
        };
        let (added, ()) = tokio::join!(adding, sending);
        added.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn all_come_back_when_the_tree_ends() {
    for while_down in LIMBO {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let tree = backing_off(&child, &script, while_down).await;
        come_back(&child, async { drop(tree.shutdown(LONG).await) }).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_come_back_from_a_child_that_is_not_added() {
    for while_down in LIMBO {
        let (child, script) = (ChildRef::new("child"), Script::slow());
        let root = Supervisor::new("root", Strategy::OneForOne);
        let tree = Tree::start(root, 1).await.unwrap();
        let spec = script.child(&child).while_down(while_down);
        let ending = async {
            let killing = async {
                settle().await;
                tree.kill("root/child").await.unwrap();
            };
            let (added, ()) = tokio::join!(tree.add("root", spec), killing);
            assert!(added.is_err());
        };
        // Nobody knows its policy before it is added, so the messages are sent while it is.
        let adding = async {
            let before = Instant::now();
            settle().await;
            let sent = tokio::join!(child.send(Say::Note(1)), child.call(|reply| Say::Ask(2, reply), LONG));
            assert!(matches!(sent, (Err(SendError::Down(Say::Note(1))), Err(CallError::Down))), "{sent:?}");
            assert_eq!(before.elapsed(), Duration::ZERO);
        };
        tokio::join!(ending, adding);
    }
}

#[tokio::test(start_paused = true)]
async fn all_come_back_from_a_child_in_quarantine_until_it_is_released() {
    for while_down in LIMBO {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let spec = script.child(&child).while_down(while_down).on_exhausted(Exhausted::Quarantine).budget(1, LONG);
        let tree = tree(spec).await;
        script.starts.forget_permits(usize::MAX);
        tree.kill("root/child").await.unwrap();
        child.wait_end(1).await;
        // Its second start is its last.
        come_back(&child, async { tree.kill("root/child").await.unwrap() }).await;
        tree.restart("root/child").await.unwrap();
        settle().await;
        let (sent, ()) = tokio::join!(child.send(Say::Note(4)), async { script.starts.add_permits(1) });
        assert!(matches!(sent, Ok(3)));
    }
}

#[tokio::test(start_paused = true)]
async fn all_come_back_from_a_child_that_is_done() {
    for while_down in LIMBO {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let tree = tree(script.child(&child).while_down(while_down).transient()).await;
        let ends = async {
            child.cast(Say::End).unwrap();
            // Not known to be over yet: it waits, and comes back.
            settle().await;
        };
        let sending = async {
            child.wait_end(1).await;
            child.send(Say::Note(1)).await
        };
        let ((), sent) = tokio::join!(ends, sending);
        assert!(matches!(sent, Err(SendError::Down(Say::Note(1)))));
        tree.shutdown(LONG).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_come_back_when_a_supervisor_above_is_over_and_none_when_it_restarts() {
    for while_down in LIMBO {
        let (child, script) = (ChildRef::new("child"), Script::slow());
        script.starts.add_permits(1);
        let nested = Supervisor::new("nested", Strategy::OneForOne).intensity(9, LONG);
        // Its start does not hear that it is to stop.
        let nested = nested.child(script.child(&child).while_down(while_down).shutdown(Duration::ZERO));
        let tree = Tree::start(Supervisor::new("root", Strategy::OneForOne).supervisor(nested), 1).await.unwrap();
        tree.kill("root/nested").await.unwrap();
        child.wait_end(1).await;
        let (sent, ()) = tokio::join!(child.send(Say::Note(0)), async {
            settle().await;
            tree.kill("root/nested/child").await.unwrap();
            settle().await;
            script.starts.add_permits(1);
        });
        assert!(
            matches!(sent, Ok(epoch) if epoch > 2),
            "its start was killed, its supervisor's failed, and all came again"
        );
        tree.kill("root/nested/child").await.unwrap();
        settle().await;
        come_back(&child, async { drop(tree.remove("root/nested").await.unwrap()) }).await;
    }
}
