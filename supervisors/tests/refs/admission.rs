//! Bounded mailboxes.

use supervisors::{CallError, ChildRef, Pool, PoolRef, SendError, SpecError, StartError, Tree, WhenFull, WhileDown};
use tokio::time::Instant;

use crate::echo::{Echo, LONG, Say, Script, ms, root, settle, tree};

const FAIL: WhenFull = WhenFull::Fail;

#[tokio::test(start_paused = true)]
async fn no_more_lie_in_the_mailbox_than_it_has_room_for() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    assert_eq!(child.load(), None, "down");
    let tree = tree(script.bounded(&child, 2, FAIL)).await;
    child.cast(Say::Block).unwrap();
    settle().await;
    // Its place is free again: it is in the hands of the handler.
    assert_eq!(child.load().map(|load| (load.limit, load.waiting, load.oldest)), Some((2, 0, None)));
    child.cast(Say::Note(1)).unwrap();
    tokio::time::advance(ms(300)).await;
    child.cast(Say::Note(2)).unwrap();
    tokio::time::advance(ms(200)).await;
    let Err(SendError::Full(Say::Note(3))) = child.cast(Say::Note(3)) else { panic!("full, with the message") };
    let Err(SendError::Full(Say::Note(3))) = child.send(Say::Note(3)).await else { panic!("full, with the message") };
    assert_eq!(child.call(|reply| Say::Ask(3, reply), ms(1)).await, Err(CallError::Full));
    let load = child.load().unwrap();
    assert_eq!((load.waiting, load.oldest), (2, Some(ms(500))));
    // Who looks at the tree sees the same.
    let node = tree.snapshot().find("root/child").unwrap().clone();
    assert_eq!((node.mailbox, node.refused), (Some(load), 3));

    script.go.add_permits(1);
    settle().await;
    assert_eq!(script.logged(), [(1, 1), (1, 2)]);
    assert_eq!(child.load().unwrap().waiting, 0);
    let node = tree.snapshot().find("root/child").unwrap().clone();
    assert_eq!((node.mailbox.map(|load| load.waiting), node.refused), (Some(0), 3));
    child.cast(Say::Note(4)).unwrap();
    assert!(tree.shutdown(LONG).await.is_graceful());
}

#[tokio::test(start_paused = true)]
async fn one_caller_after_the_other_finds_room_for_one() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let _tree = tree(script.bounded(&child, 1, FAIL)).await;
    for number in 0..100 {
        assert_eq!(child.call(|reply| Say::Ask(number, reply), None).await, Ok(1));
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_gets_it_in_turn_or_the_message_back() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let _tree = tree(script.bounded(&child, 1, WhenFull::Wait(ms(100)))).await;
    child.cast(Say::Block).unwrap();
    settle().await;
    child.cast(Say::Note(0)).unwrap();
    assert!(matches!(child.cast(Say::Note(1)), Err(SendError::Full(_))), "a cast does not wait");

    let before = Instant::now();
    assert!(matches!(child.send(Say::Note(1)).await, Err(SendError::Full(Say::Note(1)))));
    assert_eq!(before.elapsed(), ms(100));
    assert_eq!(child.call(|reply| Say::Ask(2, reply), ms(30)).await, Err(CallError::Full));
    assert_eq!(before.elapsed(), ms(130), "the deadline of a call is for all of it");
    assert_eq!(child.refused(), 3);

    let waiting = (3..8).map(|number| child.send(Say::Note(number)));
    let all = futures_in_order(waiting.collect());
    let opens = async {
        tokio::time::sleep(ms(99)).await;
        script.go.add_permits(1);
    };
    let (sent, ()) = tokio::join!(all, opens);
    assert!(sent.iter().all(|sent| matches!(sent, Ok(1))), "{sent:?}");
    settle().await;
    assert_eq!(script.logged(), [(1, 0), (1, 3), (1, 4), (1, 5), (1, 6), (1, 7)]);
    assert_eq!(child.refused(), 3, "who found room in time was not refused");
}

/// Polls all of them, in this order, to their ends.
async fn futures_in_order<F: Future>(futures: Vec<F>) -> Vec<F::Output> {
    let mut futures: Vec<_> = futures.into_iter().map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        for (future, done) in &mut futures {
            if done.is_none()
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                *done = Some(output);
            }
        }
        let all = futures.iter().all(|(_, done)| done.is_some());
        if all { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    futures.into_iter().map(|(_, done)| done.expect("all are done")).collect()
}

#[tokio::test(start_paused = true)]
async fn what_an_incarnation_leaves_behind_is_counted_and_makes_room() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = tree(script.bounded(&child, 3, WhenFull::Wait(ms(100)))).await;
    child.cast(Say::Block).unwrap();
    settle().await;
    for number in 1..=3 {
        child.cast(Say::Note(number)).unwrap();
    }
    // It waits for room in one mailbox, which closes; the policy for a child that is down is to fail.
    let (sent, ()) = tokio::join!(child.send(Say::Note(4)), async { tree.kill("root/child").await.unwrap() });
    assert!(matches!(sent, Err(SendError::Down(Say::Note(4)))));
    child.up_after(1).await;
    assert_eq!((child.load().unwrap().waiting, child.lost()), (0, 3), "and not the one in the hands of the handler");
    for number in 5..=7 {
        child.cast(Say::Note(number)).unwrap();
    }
    settle().await;
    assert_eq!(script.logged(), [(2, 5), (2, 6), (2, 7)]);
}

#[tokio::test(start_paused = true)]
async fn a_bounded_actor_is_an_actor_like_any_other() {
    let (child, script) = (ChildRef::new("child"), Script::default());
    let tree = tree(script.bounded(&child, 1, FAIL).while_down(WhileDown::WaitUp(LONG))).await;
    // Itself it can tell whatever it likes, also when its mailbox is full.
    for number in 1..=3 {
        child.send(Say::Tell(number)).await.unwrap();
        settle().await;
    }
    assert_eq!(script.logged(), [(1, 1), (1, 2), (1, 3)]);
    // It hears of the actors that it started.
    child.send(Say::Beget(9)).await.unwrap();
    settle().await;
    assert_eq!(script.logged(), [(1, 9)]);
    // It can stop itself, kill itself, fail and panic, and is told to stop.
    for (epoch, end) in
        [Say::End, Say::Die, Say::Fail, Say::Panic(tokio::sync::oneshot::channel().0)].into_iter().enumerate()
    {
        let epoch = u64::try_from(epoch).unwrap() + 1;
        assert_eq!(child.send(end).await.unwrap(), epoch);
        assert_eq!(child.up_after(epoch).await, epoch + 1);
    }
    let exits = tree.snapshot().find("root/child").unwrap().restarts;
    assert_eq!(exits, 4);
    child.send(Say::Note(5)).await.unwrap();
    settle().await;
    assert_eq!(script.logged(), [(5, 5)]);
    assert!(tree.shutdown(LONG).await.is_graceful());
}

#[tokio::test(start_paused = true)]
async fn a_mailbox_without_room_is_refused() {
    let child = ChildRef::new("child");
    let bounded = |limit| Script::default().bounded(&child, limit, FAIL);
    for spec in [bounded(0), bounded(2).while_down(WhileDown::Hold(3))] {
        let refused = Tree::start(root(spec), 1).await.err();
        assert_eq!(refused, Some(StartError::Spec(SpecError::Mailbox { path: "root/child".to_owned() })));
    }
    let tree = tree(bounded(usize::MAX).while_down(WhileDown::Hold(3))).await;
    assert_eq!(child.load().unwrap().limit, usize::MAX, "to look into it");
    tree.shutdown(LONG).await;
}

#[tokio::test(start_paused = true)]
async fn members_of_a_pool_are_bounded_each_for_itself() {
    let (members, script) = (PoolRef::new("members"), Script::default());
    let make = {
        let script = script.clone();
        move |context, (): &()| (Echo { script: script.clone(), context }, ())
    };
    let none = Pool::bounded_actor(&members, 0, FAIL, make.clone());
    let refused = Tree::start(root(none.into()), 1).await.err();
    assert_eq!(refused, Some(StartError::Spec(SpecError::Mailbox { path: "root/members/member".to_owned() })));

    let tree = tree(Pool::bounded_actor(&members, 1, FAIL, make).into()).await;
    let (first, second) = (members.start(()).await.unwrap(), members.start(()).await.unwrap());
    for member in [&first, &second] {
        member.cast(Say::Block).unwrap();
        settle().await;
        member.cast(Say::Note(1)).unwrap();
        assert!(matches!(member.cast(Say::Note(2)), Err(SendError::Full(_))));
    }
    script.go.add_permits(2);
    settle().await;
    assert_eq!(script.logged(), [(1, 1), (1, 1)]);
    tree.shutdown(LONG).await;
}
