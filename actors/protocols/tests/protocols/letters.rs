//! What a letter comes to: handled once, or a dead letter.

use std::sync::Arc;

use nexus::{ATTEMPTS_MAX, Counters, Death, Nexus, Priority};
use protocols::Reference;

use crate::peer::{Peer, Request, Shared};
use crate::world::{Plan, World, root};

async fn one() -> (World, Reference<Peer>, Shared) {
    let (mut plan, shared) = (Plan::new(), Shared::default());
    let gives = shared.clone();
    let peer = plan.protocol("peer", (&[], &[]), 8, move || Peer::new(&gives, None));
    (plan.start().await, peer, shared)
}

/// What waits, and what was delivered.
async fn counters(world: &World) -> Counters {
    world.nexus.inspect(Nexus::counters).await.unwrap()
}

const CHAIN: u64 = 40;

/// Each of these goes through three protocols, each of which is killed again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_is_handled_once_whatever_is_killed() {
    let (mut plan, shared) = (Plan::new(), Shared::default());
    let gives = shared.clone();
    let last = plan.protocol("last", (&[], &[]), 8, move || Peer::new(&gives, None));
    let (gives, next) = (shared.clone(), last.clone());
    let middle = plan.protocol("middle", (&[], &["last"]), 8, move || Peer::new(&gives, Some(&next)));
    let (gives, next) = (shared.clone(), middle.clone());
    let first = plan.protocol("first", (&[], &["middle"]), 8, move || Peer::new(&gives, Some(&next)));
    let world = plan.start().await;
    let mut epochs = 0;
    for number in 0..CHAIN {
        world.send("first", "relay", &number.to_string(), Priority::Normal).await;
        for (peer, every) in [(&first, 3), (&middle, 4), (&last, 5)] {
            if number % every == 0 {
                let epoch = peer.epoch();
                world.tree.kill(&format!("root/{}", peer.name())).await.unwrap();
                peer.up_after(epoch).await;
                epochs += 1;
            }
        }
    }
    world.until(|nexus| nexus.counters().waiting == 0).await;
    let counted = counters(&world).await;
    assert_eq!((counted.sent, counted.delivered, counted.dead, counted.failed), (3 * CHAIN, 3 * CHAIN, 0, 0));
    assert!(20 < epochs);
    let logged = shared.logged();
    for number in 0..CHAIN {
        let handled = logged.iter().filter(|line| **line == format!("last {number}")).count();
        assert!(1 <= handled, "{number} came to its end");
    }
}

#[tokio::test]
async fn a_poison_letter_dies_and_its_protocol_lives() {
    let (world, peer, shared) = one().await;
    let line = peer.line(&root(), "say").await.unwrap();
    assert!(line.call(Request::Say("a".into())).await.unwrap().unwrap().starts_with("1 "));
    for _ in 0..3 {
        world.send("peer", "poison", "it", Priority::Normal).await;
    }
    let strange = world.send("peer", "strange", "this", Priority::Normal).await;
    world.send("peer", "note", "last", Priority::Normal).await;
    world.until(|nexus| nexus.counters().waiting == 0).await;
    let dead = world.nexus.inspect(|nexus| nexus.dead().cloned().collect::<Vec<_>>()).await.unwrap();
    let why: Vec<_> = dead.iter().map(|dead| (dead.death, dead.message.attempts, dead.why.as_str())).collect();
    let poison = (Death::Rejected, ATTEMPTS_MAX, "it panicked: it is poison");
    assert_eq!(why, [poison, poison, poison, (Death::Rejected, ATTEMPTS_MAX, "not this kind")]);
    assert_eq!(dead[3].message.id, strange);
    assert_eq!((counters(&world).await.delivered, peer.epoch()), (1, 1), "no restart was spent on them");
    assert_eq!(shared.logged().len(), 4 * ATTEMPTS_MAX as usize + 1);
    assert!(line.call(Request::Say("b".into())).await.unwrap().unwrap().starts_with("1 "), "its state is a fresh one");
}

#[tokio::test]
async fn letters_come_in_the_order_of_the_nexus() {
    let (world, _, shared) = one().await;
    world.send("peer", "wait", "first", Priority::Low).await;
    shared.reached().await;
    for number in 0..4 {
        for priority in [Priority::Low, Priority::Normal, Priority::High, Priority::Critical] {
            world.send("peer", "note", &format!("{priority} {number}"), priority).await;
        }
    }
    let now = world.clock.now();
    let order = move |nexus: &Nexus| {
        let text = |letter: &&nexus::Waiting| String::from_utf8(letter.payload.clone()).unwrap();
        // The one in hand waits still, and is the next of its lane.
        nexus.upcoming("peer", 64, now).iter().map(text).filter(|text| text != "first").collect::<Vec<_>>()
    };
    shared.gate.add_permits(1);
    world.until(|nexus| nexus.counters().waiting == 0).await;
    assert!(world.nexus.inspect(order).await.unwrap().is_empty());
    let handled: Vec<_> = shared.logged().into_iter().skip(1).collect();
    let place = |priority: &str, number: u32| {
        let text = format!("peer {priority} {number}");
        handled.iter().position(|line| *line == text).unwrap()
    };
    assert_eq!(handled.len(), 16);
    for priority in ["low", "normal", "high", "critical"] {
        assert!((1..4).all(|number| place(priority, number - 1) < place(priority, number)), "{handled:?}");
    }
    assert!(place("critical", 3) < place("low", 1) && place("high", 1) < place("normal", 2), "{handled:?}");
}

#[tokio::test]
async fn a_stop_lets_the_letter_in_hand_be_finished_and_leaves_the_rest() {
    let (world, peer, shared) = one().await;
    world.send("peer", "wait", "in hand", Priority::Normal).await;
    world.send("peer", "note", "later", Priority::Normal).await;
    shared.reached().await;
    let ends = world.end();
    let opens = async {
        while peer.is_up() {
            tokio::task::yield_now().await;
        }
        shared.gate.add_permits(1);
    };
    let (dir, ()) = tokio::join!(ends, opens);
    assert_eq!(shared.logged(), ["peer in hand", "peer stops"]);

    let (mut plan, shared) = (Plan::over(dir), Shared::default());
    let gives = shared.clone();
    plan.protocol("peer", (&[], &[]), 8, move || Peer::new(&gives, None));
    let world = plan.start().await;
    world.until(|nexus| nexus.counters().waiting == 0).await;
    assert_eq!(shared.logged(), ["peer later"], "what was finished is on record");
    assert_eq!(counters(&world).await.delivered, 2);
}

#[tokio::test]
async fn what_a_protocol_may_not_post_is_a_failed_attempt() {
    let (mut plan, shared) = (Plan::new(), Shared::default());
    let gives = shared.clone();
    let other = plan.protocol("other", (&[], &[]), 8, move || Peer::new(&gives, None));
    let gives = shared.clone();
    let other = Arc::new(other);
    plan.protocol("peer", (&[], &[]), 8, move || Peer::new(&gives, Some(&other)));
    let world = plan.start().await;
    world.send("peer", "relay", "on", Priority::Normal).await;
    world.until(|nexus| nexus.counters().waiting == 0).await;
    let dead = world.nexus.inspect(|nexus| nexus.dead().cloned().collect::<Vec<_>>()).await.unwrap();
    assert_eq!(dead.len(), 1);
    assert!(dead[0].why.contains("other is not on the list"), "{}", dead[0].why);
    assert_eq!(counters(&world).await.sent, 1, "nothing of it was sent");
}

#[tokio::test]
async fn under_a_stop_letters_wait() {
    let (world, _, shared) = one().await;
    let stopped = world.door.stop(&world.ask("system.stop"), |_| std::future::ready(None)).await.unwrap();
    world.send("peer", "note", "a", Priority::Normal).await;
    world.door.resume(&world.ask("system.resume"), stopped.recorded.unwrap()).await.unwrap();
    world.until(|nexus| nexus.counters().waiting == 0).await;
    assert_eq!(shared.logged(), ["peer a"]);
}
