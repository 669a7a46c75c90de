//! Calls: every one has one answer, or one reason why not.

use std::time::Duration;

use ractor::RpcReplyPort;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{CallError, Child, ChildRef, WhenFull};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::echo::{LONG, Say, Script, ms, settle, tree};

/// Both kinds of mailbox.
fn both(script: &Script, child: &ChildRef<Say>) -> [Child; 2] {
    [script.child(child), script.bounded(child, 9, WhenFull::Fail)]
}

#[tokio::test(start_paused = true)]
async fn a_call_says_what_became_of_it() {
    for kind in 0..2 {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let [open, bounded] = both(&script, &child);
        let tree = tree(if kind == 0 { open } else { bounded }).await;
        assert_eq!(child.call(|reply| Say::Ask(1, reply), LONG).await, Ok(1));
        assert_eq!(child.call(|reply| Say::Ask(2, reply), None).await, Ok(1));
        assert_eq!(child.call(Say::Forget, None).await, Err(CallError::Unanswered));
        assert_eq!(child.call(Say::Panic, None).await, Err(CallError::Restarted { epoch: 1 }));
        child.up_after(1).await;

        // It drops the reply long before it fails: who knows?
        let before = Instant::now();
        assert_eq!(child.call(Say::ForgetAndFail, ms(50)).await, Err(CallError::Timeout));
        assert_eq!(before.elapsed(), ms(50));
        let (call, ()) = tokio::join!(child.call(|reply| Say::Ask(3, reply), None), async {
            settle().await;
            script.go.add_permits(1);
        });
        assert_eq!(call, Err(CallError::Restarted { epoch: 2 }), "it lay in the mailbox behind the one that failed");
        child.up_after(2).await;
        let (call, ()) = tokio::join!(child.call(Say::ForgetAndFail, None), async {
            tokio::time::sleep(ms(50)).await;
            script.go.add_permits(1);
        });
        assert_eq!(call, Err(CallError::Restarted { epoch: 3 }));
        child.up_after(3).await;

        // Whatever ends the incarnation.
        for (epoch, way) in (4..).zip(["kill", "tree", "stop", "end", "leave before", "end before", "die before"]) {
            if kind == 1 && ["end before", "die before"].contains(&way) {
                // Of a bounded child `myself` is another actor, so that it may handle more before it ends.
                continue;
            }
            child.cast(Say::Block).unwrap();
            match way {
                "leave before" => child.cast(Say::Leave).unwrap(),
                "end before" => child.cast(Say::End).unwrap(),
                "die before" => child.cast(Say::Die).unwrap(),
                _ => {}
            }
            // In a task of its own, which hears of the lost reply before anybody knows that the incarnation has ended.
            let mut callers = JoinSet::new();
            let caller = child.clone();
            callers.spawn(async move { caller.call(|reply| Say::Ask(4, reply), None).await });
            let (call, ()) = tokio::join!(callers.join_next(), async {
                settle().await;
                match way {
                    "kill" => assert!(child.kill(epoch)),
                    "tree" => tree.kill("root/child").await.unwrap(),
                    "stop" => {
                        assert!(child.stop(epoch));
                        script.go.add_permits(1);
                    }
                    "leave before" | "end before" | "die before" => script.go.add_permits(1),
                    _ => {
                        // The end comes behind the call, which is answered.
                        child.cast(Say::End).unwrap();
                        script.go.add_permits(1);
                    }
                }
            });
            let expected = if way == "end" { Ok(epoch) } else { Err(CallError::Restarted { epoch }) };
            assert_eq!(call.unwrap().unwrap(), expected, "{way}");
            assert_eq!(child.up_after(epoch).await, epoch + 1);
        }
        tree.shutdown(LONG).await;
        assert_eq!(child.call(|reply| Say::Ask(5, reply), LONG).await, Err(CallError::Down));
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_out_leaves_the_message_where_it_is() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let _tree = tree(script.child(&child)).await;
    child.cast(Say::Block).unwrap();
    let before = Instant::now();
    assert_eq!(child.call(|reply| Say::Ask(1, reply), ms(70)).await, Err(CallError::Timeout));
    assert_eq!(before.elapsed(), ms(70));
    script.go.add_permits(1);
    settle().await;
    assert_eq!(script.logged(), [(1, 1)], "handled once, and answered to nobody");
    assert_eq!(child.call(|reply| Say::Ask(2, reply), Duration::MAX).await, Ok(1), "a deadline beyond the end of time");
}

#[tokio::test(start_paused = true)]
async fn stop_and_kill_mean_one_incarnation_and_no_other() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = tree(script.child(&child)).await;
    assert!(!child.kill(0) && !child.kill(2) && !child.stop(2));
    assert!(child.kill(1));
    assert!(!child.kill(1), "it is told already");
    child.wait_end(1).await;
    assert_eq!(child.up_after(1).await, 2);
    assert!(!child.kill(1) && !child.stop(1), "stale");
    settle().await;
    assert!(child.is_up());
    assert!(child.stop(2));
    assert!(child.cast(Say::Note(1)).is_err(), "who is to stop gets no more");
    assert_eq!(child.up_after(2).await, 3);
    let node = tree.snapshot();
    assert_eq!(node.find("root/child").unwrap().last_exit, Some(supervisors::Exit::Normal));
    tree.shutdown(LONG).await;
    child.wait_end(3).await;
    assert!(!child.kill(3));
}

/// With ractor's own port.
struct Porter;

enum Ask {
    Twice(u32, RpcReplyPort<u32>),
}

impl Actor for Porter {
    type Msg = Ask;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Ask>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<Ask>,
        Ask::Twice(number, reply): Ask,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        reply.send(2 * number)?;
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_travels_in_ractors_port_as_well() {
    let child = ChildRef::new("child");
    let _tree = tree(Child::actor(&child, || (Porter, ()))).await;
    assert_eq!(child.call(|reply| Ask::Twice(21, reply), LONG).await, Ok(42));
}
