//! One approval, at most one effect, of exactly what was approved: whatever fails, and however often it is repeated.

use std::sync::{Arc, OnceLock};

use approvals::{Command, Event, LIFETIME, Refusal, State};
use door::{Ask, Bound, RESUME_ALONE_AFTER, Secret, SecretKind, Wanted};
use identity::{CredentialId, Proof};
use kernel::{Digest, Layer, Millis, Missing, Personal, Principal, Refuse as _};

use crate::world::{Mode, NOON, OPEN, Setup, World, ask, bearing, by, id_at, said, told, with, word};

const EYES: &str = r#"
    @id("all") permit (principal, action, resource);
    @id("other-eyes") forbid (principal, action == Action::"todo.release", resource) unless { context.approvals >= 1 };
"#;

/// By the operator, who needs another one for it.
fn put(number: u8) -> Ask {
    ask(number, "todo.release", "todo-7")
}

pub fn wanted(ask: Ask) -> Ask {
    let (arguments, reason) = (Personal::plain("{}"), Personal::plain("why"));
    let wanted = Wanted { arguments, reason, lifetime: None, asked: Arc::new(OnceLock::new()) };
    Ask { bound: Bound { wanted: Some(wanted), ..ask.bound.clone() }, ..ask }
}

async fn two_eyes() -> World {
    World::with(Setup::default(), EYES).await
}

/// Past the door, as anybody.
async fn say(world: &World, who: &str, command: Command) -> Result<(), &'static str> {
    let order = world.by(who, command);
    world.approvals.execute(order).await.unwrap().outcome.map(drop).map_err(|refusal: Refusal| refusal.code())
}

async fn approve(world: &World, who: &str, request: u64) {
    say(world, who, Command::Approve { request }).await.unwrap();
}

/// With what was asked for and approved, `things` to be put.
async fn approved(things: u64) -> World {
    let world = two_eyes().await;
    assert_eq!(told(world.put(&wanted(put(90)), things).await), "approvals.asked");
    approve(&world, "operator/anne", 1).await;
    world
}

fn state(world: &World, request: u64) -> State {
    world.approvals_view.read(|approvals| approvals.show(request, world.now())).unwrap().state
}

#[tokio::test]
async fn what_needs_approvals_says_so_and_is_done_once_they_are_there() {
    let world = two_eyes().await;
    let denial = world.put(&put(1), 7).await.unwrap_err().denial;
    let missing = Missing { approvals: 1, ..Missing::default() };
    assert_eq!((denial.code.as_str(), denial.missing), ("policy.approval_needed", Some(missing.clone())));
    assert!(denial.remedy.contains("--request-approval"), "{}", denial.remedy);
    assert!(denial.rule.is_some_and(|rule| rule.contains("other-eyes")));

    let asked = wanted(put(2));
    assert_eq!(told(world.put(&asked, 7).await), "approvals.asked");
    assert!(asked.bound.wanted.unwrap().asked.get().is_some());
    assert_eq!(world.on_shelf().await, 0, "nothing is done");
    let denial = world.put(&put(3), 7).await.unwrap_err().denial;
    let missing = Missing { request: Some(1), ..missing };
    assert_eq!((denial.code.as_str(), denial.missing), ("policy.approval_needed", Some(missing)));
    assert!(denial.reason.contains("it needs 1 approval; of request 1, "), "{}", denial.reason);
    assert!(denial.remedy.contains("sop approval"), "{}", denial.remedy);

    approve(&world, "operator/anne", 1).await;
    let done = world.put(&put(4), 7).await.unwrap();
    let names = ["approvals.requested", "approvals.approved", "approvals.used"];
    assert_eq!(world.kinds::<Event>("approvals"), names);
    assert!(world.records("approvals")[2].sequence < done.first, "it is used before the effect");
    assert_eq!(told(world.put(&put(4), 7).await), "7, again");
    world.issue(1, "todo.release", 9).await;
    assert_eq!(
        told(world.put(&bearing(1, put(4)), 7).await),
        "policy.approval_needed",
        "what came of it is his to hear"
    );
    let denied = world.put(&put(5), 7).await.unwrap_err();
    assert_eq!((denied.denial.code.as_str(), denied.decision), ("approvals.used", Some(id_at(NOON, 5))));
    assert_eq!((world.on_shelf().await, state(&world, 1)), (7, State::Used));
}

#[tokio::test]
async fn what_needs_none_is_not_asked_for() {
    let world = World::with(Setup::default(), OPEN).await;
    assert_eq!(told(world.put(&wanted(put(1)), 7).await), "approvals.not_needed");
    assert_eq!((world.on_shelf().await, world.records("approvals").len()), (0, 0));
    let never = format!("{OPEN} forbid (principal, action == Action::\"todo.release\", resource);");
    let never = World::with(Setup::default(), &never).await;
    assert_eq!(told(never.put(&wanted(put(1)), 7).await), "policy.forbidden");
}

#[tokio::test]
async fn only_exactly_what_was_approved_is_let_in() {
    let world = approved(7).await;
    assert_eq!(told(world.put(&put(1), 8).await), "approvals.other_content");
    assert_eq!(told(world.put(&ask(2, "todo.release", "todo-8"), 7).await), "policy.approval_needed");
    world.issue(1, "todo.release", 9).await;
    assert_eq!(told(world.put(&bearing(1, put(3)), 7).await), "policy.approval_needed", "another asks");
    assert_eq!(told(world.put(&put(4), 7).await), "7");
}

/// A text that is sealed anew makes another command of what was said before.
#[tokio::test]
async fn what_was_said_counts_where_the_command_is_another_each_time() {
    let said = |number: u8, said: u8| {
        let bound = Bound { content: Some(Digest([said; 32])), ..Bound::default() };
        Ask { bound, ..put(number) }
    };
    let world = two_eyes().await;
    assert_eq!(told(world.put(&wanted(said(1, 1)), 7).await), "approvals.asked");
    approve(&world, "operator/anne", 1).await;
    assert_eq!(told(world.put(&said(2, 2), 7).await), "approvals.other_content");
    assert_eq!(told(world.put(&said(3, 1), 8).await), "8");
}

/// A request that tells no machine anything is what its attributes say.
#[tokio::test]
async fn attributes_count_where_there_is_no_command() {
    let world = World::with(Setup::default(), &EYES.replace("todo.release", "gap.scan")).await;
    let scan = |number: u8, root: &str| with(ask(number, "gap.scan", "*"), "root", root);
    let witnessed = async |ask: Ask| word(world.door.witness(&ask).await);
    assert_eq!(witnessed(wanted(scan(1, "/a"))).await, "approvals.asked");
    approve(&world, "operator/anne", 1).await;
    assert_eq!(witnessed(scan(2, "/b")).await, "approvals.other_content");
    assert_eq!(witnessed(scan(3, "/a")).await, "allowed");
    assert_eq!(witnessed(scan(4, "/a")).await, "approvals.used");
}

#[tokio::test]
async fn a_refused_effect_gives_the_use_back() {
    let world = approved(101).await;
    for number in [1, 1, 2] {
        assert_eq!(told(world.put(&put(number), 101).await), "shelf.full");
        assert_eq!(state(&world, 1), State::Approved);
    }
    let names: Vec<_> = world.kinds::<Event>("approvals").into_iter().skip(2).collect();
    assert_eq!(names, ["approvals.used", "approvals.released", "approvals.used", "approvals.released"]);
}

/// The process ends between the use and the effect, or before it knows of the effect.
#[tokio::test]
async fn an_end_between_use_and_effect_is_one_effect_at_most() {
    for written in [true, false] {
        let world = approved(7).await;
        world.setup.disk.after(1, Mode::Fail { written });
        assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
        let world = world.again().await;
        assert_eq!(told(world.put(&put(2), 7).await), "approvals.used");
        // What it was done to changes by it, so it must not be asked whether that has.
        world.setup.set_thing(if written { 8 } else { 0 });
        assert_eq!(told(world.put(&put(1), 7).await), if written { "7, again" } else { "7" });
        assert_eq!(told(world.put(&put(3), 7).await), "approvals.used");
        assert_eq!(world.on_shelf().await, 7);
    }
}

#[tokio::test]
async fn an_end_before_the_use_is_known_is_no_use_or_that_of_this_command() {
    for written in [true, false] {
        let world = approved(7).await;
        world.setup.disk.set(Mode::Fail { written });
        assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
        let world = world.again().await;
        assert_eq!(told(world.put(&put(2), 7).await), if written { "approvals.used" } else { "7" });
        assert_eq!(told(world.put(&put(1), 7).await), if written { "7" } else { "approvals.used" });
        assert_eq!(world.on_shelf().await, 7);
    }
}

#[tokio::test]
async fn what_has_changed_since_is_stale() {
    let world = approved(7).await;
    let request = |number| world.approvals_view.read(|approvals| approvals.show(number, world.now())).unwrap();
    assert_eq!(world.door.is_stale(&request(1)).await, Ok(false));
    world.setup.set_thing(9);
    assert_eq!(world.door.is_stale(&request(1)).await, Ok(true));
    let denial = world.put(&put(1), 7).await.unwrap_err().denial;
    assert_eq!((denial.layer, denial.code.as_str()), (Layer::Policy, "approvals.stale"));
    assert_eq!(denial.missing, Some(Missing { approvals: 1, request: Some(1), ..Missing::default() }));
    assert_eq!(world.door.is_stale(&request(1)).await, Ok(false), "it has ended, and nobody looks at it again");
    world.setup.set_thing(0);
    assert_eq!(told(world.put(&put(2), 7).await), "approvals.stale", "it has ended by that");
    assert_eq!(state(&world, 1), State::Stale);
    assert_eq!(told(world.put(&wanted(put(3)), 7).await), "approvals.asked");
    approve(&world, "operator/anne", 2).await;
    assert_eq!(told(world.put(&put(4), 7).await), "7");
}

/// Held by a command whose effect never came: what was approved is not done to what has changed since.
#[tokio::test]
async fn a_use_that_was_spent_is_no_leave_for_something_else_later() {
    let world = approved(7).await;
    world.setup.disk.after(1, Mode::Fail { written: false });
    assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
    let world = world.again().await;
    world.setup.set_thing(9);
    assert_eq!(told(world.put(&put(1), 7).await), "approvals.stale");
    world.setup.set_thing(0);
    world.later(LIFETIME);
    assert_eq!(told(world.put(&put(1), 7).await), "approvals.expired");
    assert_eq!(world.on_shelf().await, 0);
}

#[tokio::test]
async fn what_has_ended_says_how() {
    let root = || "operator/root".to_owned();
    for (who, command, code) in [
        ("operator/anne", Command::Deny { request: 1, reason: Personal::default() }, "approvals.denied"),
        (root().as_str(), Command::Withdraw { request: 1 }, "approvals.withdrawn"),
    ] {
        let world = two_eyes().await;
        assert_eq!(told(world.put(&wanted(put(1)), 7).await), "approvals.asked");
        say(&world, who, command).await.unwrap();
        let denial = world.put(&put(2), 7).await.unwrap_err().denial;
        assert_eq!(denial.code, code);
        assert!(denial.reason.contains("; of request 1, "), "{}", denial.reason);
        assert!(denial.remedy.contains("--request-approval"), "{}", denial.remedy);
        assert_eq!(denial.missing.and_then(|missing| missing.request), Some(1));
        assert_eq!(told(world.put(&wanted(put(3)), 7).await), "approvals.asked", "it may be asked for anew");
    }
    let world = approved(7).await;
    world.later(LIFETIME);
    assert_eq!(told(world.put(&ask(0, "todo.release", "todo-7"), 7).await), "approvals.expired");
    assert_eq!(world.on_shelf().await, 0);
}

#[tokio::test]
async fn a_policy_that_has_become_stricter_is_the_one_that_counts() {
    let world = approved(7).await;
    world.activate(&EYES.replace(">= 1", ">= 2")).await;
    let denial = world.put(&put(1), 7).await.unwrap_err().denial;
    let missing = Missing { approvals: 2, have: 1, request: Some(1), ..Missing::default() };
    assert_eq!((denial.code.as_str(), denial.missing), ("policy.approval_needed", Some(missing)));
    approve(&world, "operator/bob", 1).await;
    assert_eq!(told(world.put(&put(2), 7).await), "7");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test waits for what it starts")]
async fn sixty_four_at_once_are_one_effect() {
    let world = Arc::new(approved(7).await);
    let asked: Vec<_> = (1..=64)
        .map(|number| {
            let world = world.clone();
            tokio::spawn(async move { told(world.put(&put(number), 7).await) })
        })
        .collect();
    let mut told = Vec::new();
    for asked in asked {
        told.push(asked.await.unwrap());
    }
    assert_eq!(told.iter().filter(|told| *told == "7").count(), 1, "{told:?}");
    assert_eq!(told.iter().filter(|told| *told == "approvals.used").count(), 63, "{told:?}");
    assert_eq!(world.on_shelf().await, 7);
}

#[tokio::test]
async fn who_asks_by_a_token_asks_for_himself_and_its_issuer_does_not_decide() {
    let world = two_eyes().await;
    let token = world.issue(1, "todo.release", 1).await;
    assert_eq!(told(world.put(&wanted(bearing(1, put(1))), 7).await), "approvals.asked");
    assert_eq!(world.left(token), 1, "to ask costs nothing");
    let approve = || Command::Approve { request: 1 };
    assert_eq!(say(&world, "operator/root", approve()).await, Err("approvals.own_request"), "he issued it");
    assert_eq!(say(&world, "agent/alpha", approve()).await, Err("approvals.operators_only"));
    assert_eq!(say(&world, "agent/beta", approve()).await, Err("approvals.operators_only"));
    assert_eq!(say(&world, "operator/anne", approve()).await, Ok(()));
    assert_eq!(told(world.put(&bearing(1, put(2)), 7).await), "7");
    assert_eq!(world.left(token), 0);
}

#[tokio::test]
async fn nobody_uses_an_approval_past_the_door() {
    let world = approved(7).await;
    let shown = world.approvals_view.read(|approvals| approvals.show(1, world.now())).unwrap();
    let forged = approvals::Use {
        request: 1,
        asker: shown.asker.clone(),
        action: shown.action.clone(),
        resource: shown.resource.clone(),
        content: shown.content,
        target: shown.target,
        command: id_at(NOON, 1),
    };
    assert_eq!(say(&world, "operator/root", Command::Use(forged)).await, Err("approvals.door_only"));
    assert_eq!(state(&world, 1), State::Approved);
}

#[tokio::test]
async fn what_needs_approvals_waits_for_who_keeps_them_and_nothing_else_does() {
    let world = approved(7).await;
    world.kill(&world.approvals).await;
    assert_eq!(told(world.put(&put(1), 7).await), "door.not_ready");
    assert_eq!(told(world.put(&ask(2, "todo.submit", "todo-7"), 1).await), "1");
    world.restart(&world.approvals).await;
    assert_eq!(told(world.put(&put(1), 7).await), "8");
}

#[tokio::test]
async fn what_cannot_be_known_of_the_target_is_a_no() {
    let world = approved(7).await;
    world.setup.thing_is_unknown();
    assert_eq!(told(world.put(&put(1), 7).await), "approvals.target_unknown");
    world.setup.set_thing(0);
    assert_eq!(told(world.put(&put(1), 7).await), "7");
}

#[tokio::test]
async fn a_permission_for_many_uses_stands_on_one_approval() {
    let world = two_eyes().await;
    assert_eq!(world.door.open(&put(1)).await.err().unwrap().denial.code, "policy.approval_needed");
    assert_eq!(world.door.open(&wanted(put(2))).await.err().unwrap().denial.code, "approvals.asked");
    approve(&world, "operator/anne", 1).await;
    let warrant = world.door.open(&put(3)).await.unwrap();
    warrant.check().unwrap();
    world.activate(&format!("{EYES} // the same")).await;
    warrant.check().unwrap();
    assert_eq!(world.door.open(&put(4)).await.err().unwrap().denial.code, "approvals.used");
    world.activate(&EYES.replace(">= 1", ">= 2")).await;
    assert_eq!(warrant.check().unwrap_err().code, "policy.approval_needed");
    let _: &Principal = warrant.principal();
}

const ANNE: CredentialId = CredentialId(7);

/// Everything is stopped, and there is another operator with a key; with the digest of the stop.
async fn stopped_with_anne() -> (World, Secret, Digest) {
    let world = two_eyes().await;
    world.admit("operator/anne", "policy.list", None).await;
    let secret = Secret::generate(SecretKind::Key(ANNE));
    let principal = "operator/anne".parse().unwrap();
    let (label, digest) = ("key".to_owned(), secret.digest());
    let key = identity::Command::MakeCredential {
        id: ANNE,
        principal,
        proof: Proof::Secret(digest),
        label,
        until: None,
        break_glass: false,
    };
    world.identify(key).await;
    let stopped = world.door.stop(&ask(1, "system.stop", "*"), said("fire")).await.unwrap();
    (world, secret, stopped.recorded.unwrap())
}

fn resume(number: u8) -> Ask {
    ask(number, "system.resume", "*")
}

#[tokio::test]
async fn a_stop_is_ended_by_one_with_another_where_there_is_one() {
    let (world, anne, digest) = stopped_with_anne().await;
    let resumed = async |ask: Ask, digest| word(world.door.resume(&ask, digest).await);
    assert_eq!(resumed(resume(2), digest).await, "policy.approval_needed");
    assert_eq!(resumed(wanted(resume(3)), digest).await, "approvals.asked");
    assert_eq!(resumed(resume(4), Digest([9; 32])).await, "approvals.other_content");

    // No policy and no entry of the registry keeps another operator from deciding about this, and about nothing else.
    let decide = async |number: u8, asked: &str| {
        let ask = by(anne.expose(), with(ask(number, "approval.approve", "1"), "asked", asked));
        let approve = Command::Approve { request: 1 };
        word(world.door.perform(&with(ask, "asker", "operator/root"), &world.approvals, approve).await)
    };
    assert_eq!(decide(5, "todo.release").await, "door.sealed");
    assert_eq!(decide(6, "system.resume").await, "allowed");
    assert_eq!(resumed(resume(7), digest).await, "allowed");
    assert!(world.door.sealed().is_none());
    let last = world.records("governance").pop().unwrap();
    assert_eq!(last.decision.policies, ["capability:operator"]);
    assert_eq!(resumed(resume(7), digest).await, "allowed", "again");
    assert_eq!(resumed(resume(8), digest).await, "allowed", "nothing is stopped");
}

#[tokio::test]
async fn nobody_is_locked_out_by_who_is_not_there() {
    let (world, _, digest) = stopped_with_anne().await;
    let resumed = async |ask: Ask| word(world.door.resume(&ask, digest).await);
    assert_eq!(resumed(wanted(resume(2))).await, "approvals.asked");
    world.later(Millis(RESUME_ALONE_AFTER.0 - 1));
    assert_eq!(resumed(resume(3)).await, "policy.approval_needed");
    world.later(Millis(1));
    assert_eq!(resumed(resume(4)).await, "allowed");
    let last = world.records("governance").pop().unwrap();
    assert_eq!(last.decision.policies, ["capability:operator-alone"], "and everybody can see it");
}

#[tokio::test]
async fn one_denial_keeps_it_stopped_and_who_cannot_answer_is_not_asked() {
    let (world, _, digest) = stopped_with_anne().await;
    let resumed = async |ask: Ask| word(world.door.resume(&ask, digest).await);
    assert_eq!(resumed(wanted(resume(2))).await, "approvals.asked");
    let deny = Command::Deny { request: 1, reason: Personal::default() };
    say(&world, "operator/anne", deny).await.unwrap();
    world.later(RESUME_ALONE_AFTER);
    assert_eq!(resumed(resume(3)).await, "approvals.denied");
    // Without a credential that is good, there is nobody to ask.
    world.identify(identity::Command::Revoke { id: ANNE }).await;
    assert_eq!(resumed(resume(4)).await, "allowed");
}
