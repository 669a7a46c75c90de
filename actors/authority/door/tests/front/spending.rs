//! One use, at most one effect: whatever fails, and however often a request is repeated.

use door::Ask;
use kernel::{Millis, Timestamp};
use tokens::{Event, Grant, TODO_WORK, UseState};

use crate::shelf::Command;
use crate::world::{Mode, NOON, OPEN, Setup, World, ask, bearing, id_at, told, word};

fn put(number: u8) -> Ask {
    bearing(1, ask(number, "todo.release", "todo-7"))
}

#[tokio::test]
async fn a_use_is_consumed_before_the_effect_and_settled_after_it() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 2).await;
    let done = world.put(&put(1), 7).await.unwrap();
    assert_eq!(world.kinds::<Event>("tokens"), ["tokens.issued", "tokens.consumed", "tokens.settled"]);
    let tokens = world.records("tokens");
    assert!(tokens[1].sequence < done.first && done.last < tokens[2].sequence);
    assert_eq!((world.uses(token), world.left(token)), (vec![(1, UseState::Succeeded)], 1));
}

#[tokio::test]
async fn a_refused_effect_gives_the_use_back() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    for _ in 0..2 {
        let denied = world.put(&put(1), 101).await.unwrap_err();
        assert_eq!((denied.denial.code.as_str(), denied.decision), ("shelf.full", Some(id_at(NOON, 1))));
        assert_eq!(world.kinds::<Event>("tokens"), ["tokens.issued", "tokens.consumed", "tokens.released"]);
        assert_eq!((world.uses(token), world.left(token)), (vec![], 1));
    }
    assert_eq!(told(world.put(&put(2), 7).await), "7", "it buys another effect");
    assert_eq!(told(world.put(&put(1), 101).await), "shelf.full", "and the refused one stays refused");
    assert_eq!(told(world.put(&put(3), 7).await), "tokens.double_spend");
}

#[tokio::test]
async fn an_unknown_outcome_leaves_the_use_pending() {
    for written in [true, false] {
        let world = World::open().await;
        let token = world.issue(1, "todo.release", 1).await;
        world.setup.disk.after(1, Mode::Fail { written });
        assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
        assert_eq!(world.uses(token), [(1, UseState::Pending)]);

        // The same request goes on where it was, under the same use.
        let world = world.again().await;
        assert_eq!(world.uses(token), [(1, UseState::Pending)]);
        assert_eq!(told(world.put(&put(1), 7).await), if written { "7, again" } else { "7" });
        assert_eq!(world.uses(token), [(1, UseState::Succeeded)]);
        assert_eq!(told(world.put(&put(2), 7).await), "tokens.double_spend");
        assert_eq!(world.on_shelf().await, 7);
    }
}

#[tokio::test]
async fn an_outcome_that_nobody_asks_after_becomes_unknown() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    world.setup.disk.after(1, Mode::Fail { written: false });
    assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
    let world = world.again().await;
    world.later(tokens::SETTLE_WITHIN);
    assert_eq!((world.uses(token), world.left(token)), (vec![(1, UseState::Unknown)], 0));
    // It was paid for, and never done: the one effect may still happen.
    assert_eq!(told(world.put(&put(1), 7).await), "7");
    assert_eq!(told(world.put(&put(1), 7).await), "7, again");
    assert_eq!(told(world.put(&put(2), 7).await), "tokens.double_spend");
}

#[tokio::test]
async fn a_repeat_is_answered_and_spends_nothing() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    assert_eq!(told(world.put(&put(1), 7).await), "7");
    for _ in 0..2 {
        assert_eq!(told(world.put(&put(1), 7).await), "7, again", "although the token is exhausted");
    }
    let another = world.put(&put(1), 8).await.unwrap_err();
    assert_eq!(another.denial.code, "host.id_taken", "another content is another request");
    assert_eq!(world.records("decisions").pop().map(|record| record.command_id), another.decision, "on record");
    let denied = world.put(&put(2), 7).await.unwrap_err();
    assert_eq!(denied.denial.code, "tokens.double_spend");
    assert_eq!(denied.decision, Some(id_at(NOON, 2)), "a denial of somebody known is on record");
    assert_eq!(world.uses(token), [(1, UseState::Succeeded)]);
    assert_eq!(world.on_shelf().await, 7);
    world.later(Millis::minutes(15));
    assert_eq!(told(world.put(&put(1), 7).await), "7, again", "what was done stays answered when its token has ended");
    assert_eq!(told(world.put(&put(1), 8).await), "tokens.expired", "only what was done");
    assert_eq!(told(world.put(&put(3), 7).await), "tokens.expired", "and only under its own id");
    assert_eq!(world.on_shelf().await, 7);
}

#[tokio::test]
async fn repeats_at_once_are_one_effect_and_one_use() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 5).await;
    let (one, two, three) = (put(1), put(1), put(1));
    let (one, two, three) = tokio::join!(world.put(&one, 7), world.put(&two, 7), world.put(&three, 7));
    let mut answers = [told(one), told(two), told(three)];
    answers.sort_unstable();
    assert_eq!(answers, ["7", "7, again", "7, again"]);
    assert_eq!((world.uses(token), world.left(token)), (vec![(1, UseState::Succeeded)], 4));
}

/// Each row fails in a way that a repeat of the same request gets over. That must not be a way to a second effect.
#[tokio::test]
async fn what_failed_and_is_repeated_costs_what_it_would_have_cost() {
    enum Fails {
        /// Whoever is to do it is down.
        Down,
        /// The clock of the caller is ahead.
        Ahead,
        /// The caller hangs up while it is done.
        HungUp,
    }
    for fails in [Fails::Down, Fails::Ahead, Fails::HungUp] {
        let world = World::open().await;
        let token = world.issue(1, "todo.release", 1).await;
        let mut first = put(1);
        match fails {
            Fails::Down => {
                world.kill(&world.shelf).await;
                let denial = world.put(&first, 7).await.unwrap_err().denial;
                assert_eq!((denial.code.as_str(), denial.rule.as_deref()), ("door.not_ready", Some("shelf")));
                assert_eq!(world.left(token), 1, "nothing was spent for nothing");
                world.restart(&world.shelf).await;
            }
            Fails::Ahead => {
                first.command_id = id_at(Timestamp(NOON.0 + 60_001), 1);
                let ahead = world.put(&first, 7).await.unwrap_err().denial;
                assert_eq!(ahead.code, "host.id_untimely");
                assert!(ahead.reason.contains(&Millis(60_001).to_string()), "{}", ahead.reason);
                assert_eq!(world.left(token), 1, "nothing was spent for nothing");
                world.later(Millis(1));
            }
            Fails::HungUp => {
                world.setup.disk.set(Mode::Hold);
                tokio::select! {
                    biased;
                    _ = world.put(&first, 7) => panic!("the disk holds it up"),
                    () = tokio::task::yield_now() => {}
                }
                world.setup.disk.set(Mode::Pass);
            }
        }
        assert_eq!(told(world.put(&first, 7).await), "7");
        assert_eq!(told(world.put(&put(2), 7).await), "tokens.double_spend");
        assert_eq!((world.uses(token), world.on_shelf().await), (vec![(1, UseState::Succeeded)], 7));
    }
}

/// As above, where the failure comes after the consumption: the effect may yet come, so the use is not given back.
#[tokio::test]
async fn what_may_yet_be_done_is_not_given_back() {
    let world = World::with(Setup { outcomes: 1, ..Setup::default() }, OPEN).await;
    let token = world.issue(1, "todo.release", 1).await;
    assert_eq!(told(world.put(&ask(9, "todo.release", "todo-7"), 1).await), "1");
    let full = world.put(&put(1), 7).await.unwrap_err();
    assert_eq!((full.denial.code.as_str(), full.decision), ("host.window_full", None), "it is not decided yet");
    assert_eq!((world.uses(token), world.decisions()), (vec![(1, UseState::Pending)], vec![]));
    let world = world.again_with(|setup| setup.outcomes = 100).await;
    assert_eq!(told(world.put(&put(1), 7).await), "8");
    assert_eq!(told(world.put(&put(2), 7).await), "tokens.double_spend");
    assert_eq!(world.on_shelf().await, 8);
}

/// Who keeps the tokens cannot take it now: that is no decision, and the same request is asked again.
#[tokio::test]
async fn what_cannot_be_paid_now_is_not_denied_for_ever() {
    let world = World::with(Setup { uses: 1, ..Setup::default() }, OPEN).await;
    let token = world.issue(1, "todo.release", 1).await;
    let full = world.put(&put(1), 7).await.unwrap_err();
    assert_eq!((full.denial.code.as_str(), full.decision), ("host.window_full", None));
    assert_eq!((world.left(token), world.decisions()), (1, vec![]));
    let world = world.again_with(|setup| setup.uses = 100).await;
    assert_eq!(told(world.put(&put(1), 7).await), "7");
}

/// A repeat finds the outcome for a day. After that the token remembers that the request was paid for.
#[tokio::test]
async fn what_is_older_than_the_window_is_refused() {
    let world = World::open().await;
    let token = world.issue_to("agent/alpha", 1, TODO_WORK, 100, Grant::Todo(7)).await;
    assert_eq!(told(world.put(&put(1), 7).await), "7");
    world.later(Millis::minutes(24 * 60 + 2));
    // One that was never seen is refused by the shelf, and costs nothing.
    assert_eq!(told(world.put(&put(2), 7).await), "host.id_stale");
    assert_eq!(world.left(token), 99);
    let denial = world.put(&put(1), 7).await.unwrap_err().denial;
    assert_eq!((denial.code.as_str(), denial.rule), ("tokens.double_spend", Some(format!("token {token}"))));
    assert_eq!((world.left(token), world.on_shelf().await), (99, 7));
}

#[tokio::test]
async fn a_command_that_panics_is_paid_for_and_done_by_nobody() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    assert_eq!(word(world.door.perform(&put(1), &world.shelf, Command::Break).await), "host.fault");
    assert_eq!(world.uses(token), [(1, UseState::Pending)]);
}

#[tokio::test]
async fn a_question_costs_a_use_too() {
    let world = World::open().await;
    let token = world.issue(1, "todo.list", 1).await;
    let question = |number| bearing(1, ask(number, "todo.list", "*"));
    world.setup.disk.after(1, Mode::Fail { written: false });
    assert_eq!(word(world.door.witness(&question(1)).await), "host.outcome_unknown");
    assert_eq!(world.uses(token), [(1, UseState::Pending)], "it may be on record");
    let world = world.again().await;
    assert_eq!(word(world.door.witness(&question(1)).await), "allowed");
    assert_eq!(world.uses(token), [(1, UseState::Succeeded)]);
    assert_eq!(word(world.door.witness(&question(2)).await), "tokens.double_spend");
}

#[tokio::test]
async fn uses_run_out() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 3).await;
    for (number, answer) in [(1, "1"), (2, "2"), (3, "3"), (4, "tokens.exhausted")] {
        assert_eq!(told(world.put(&put(number), 1).await), answer);
    }
    assert_eq!(world.left(token), 0);
    assert_eq!(word(world.door.witness(&bearing(1, ask(5, "todo.list", "*"))).await), "door.not_capable");
}
