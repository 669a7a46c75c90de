//! Callers on several threads while their child is ended again and again, in all ways: nobody waits for ever, and what a
//! caller is told is what happened.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use supervisors::{CallError, ChildRef, WhenFull, WhileDown};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::echo::{LONG, Say, Script, tree};

const CALLERS: usize = 6;
const CALLS: usize = 400;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_caller_is_told_is_what_happened() {
    for (bound, while_down) in [
        (None, WhileDown::WaitUp(LONG)),
        (None, WhileDown::Hold(CALLERS)),
        (Some((2, WhenFull::Wait(LONG))), WhileDown::WaitUp(LONG)),
        // The storm needs room, too.
        (Some((10_000, WhenFull::Fail)), WhileDown::Hold(CALLERS)),
    ] {
        let (child, script) = (ChildRef::new("child"), Script::default());
        let spec = match bound {
            Some((limit, when_full)) => script.bounded(&child, limit, when_full),
            None => script.child(&child),
        };
        let tree = tree(spec.while_down(while_down)).await;
        let (mut callers, numbers) = (JoinSet::new(), Arc::new(AtomicU32::new(0)));
        for _ in 0..CALLERS {
            let (child, numbers) = (child.clone(), numbers.clone());
            callers.spawn(async move {
                let mut told = Vec::new();
                for _ in 0..CALLS {
                    let number = numbers.fetch_add(1, Ordering::Relaxed);
                    told.push((number, child.call(|reply| Say::Ask(number, reply), None).await));
                }
                told
            });
        }
        let (mut told, mut round) = (BTreeMap::new(), 0_u64);
        while !callers.is_empty() {
            round += 1;
            // It may be down.
            match round % 5 {
                0 => drop(child.kill(child.epoch())),
                1 => drop(child.stop(child.epoch())),
                2 => drop(child.cast(Say::Panic(oneshot::channel().0))),
                3 => drop(child.cast(Say::Die)),
                _ => drop(tree.kill("root/child").await),
            }
            child.up().await;
            for _ in 0..round % 7 {
                tokio::task::yield_now().await;
            }
            while let Some(caller) = callers.try_join_next() {
                told.extend(caller.expect("no caller fails"));
            }
        }
        tree.shutdown(LONG).await;
        assert_eq!(told.len(), CALLERS * CALLS);
        let mut handled = BTreeMap::new();
        for (epoch, number) in script.logged() {
            assert_eq!(handled.insert(number, epoch), None, "{number} was handled twice");
        }
        let mut lost = 0;
        for (number, told) in &told {
            let did = handled.get(number).copied();
            match told {
                Ok(epoch) => assert_eq!(did, Some(*epoch), "{number}"),
                // It was lost in the mailbox: whoever takes it in hand answers it before it ends.
                Err(CallError::Restarted { .. }) => {
                    assert_eq!(did, None, "{number}");
                    lost += 1;
                }
                Err(error) => panic!("{number}: {error}, {bound:?}, {while_down:?}"),
            }
        }
        assert_eq!(handled.len() + lost, CALLERS * CALLS);
        // What the storm itself sent may have been lost as well.
        assert!(bound.is_none() || child.lost() >= u64::try_from(lost).unwrap());
    }
}
