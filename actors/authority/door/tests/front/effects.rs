//! What is let in, and what its record says.

use std::sync::Arc;
use std::sync::mpsc::channel;

use door::Trace;
use journal::envelope::{Answer, Record};
use kernel::{Decision, Layer, Standing, TokenUse};
use tokio::sync::mpsc::unbounded_channel;

use crate::shelf::{Command, FULL};
use crate::world::{HASTY, Mode, NOON, Setup, World, ask, bearing, id_at, root_credential, said, told, word};

#[tokio::test]
async fn an_allow_lives_in_the_envelope_of_its_effect() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 3).await;
    let generation = world.generation();
    let decision = Decision { policy_epoch: 1, policies: vec!["all".into()], generation, token: None };
    for (row, ask, principal, spent) in [
        ("the operator", ask(1, "todo.release", "todo-7"), "operator/root", None),
        ("a bearer", bearing(1, ask(2, "todo.release", "todo-7")), "agent/alpha", Some(TokenUse { token, number: 1 })),
    ] {
        let done = world.put(&ask, 7).await.unwrap();
        assert!(!done.repeated, "{row}");
        let record = world.records("shelf").pop().unwrap();
        assert_eq!((record.sequence, record.sequence), (done.first, done.last), "{row}");
        assert_eq!((record.principal.as_str(), record.command_id), (principal, ask.command_id), "{row}");
        assert_eq!(record.decision, Decision { token: spent, ..decision.clone() }, "{row}");
        let asked = record.asked.as_ref().unwrap();
        assert_eq!(
            (asked.action(), asked.resource(), asked.context()),
            (ask.action, ask.resource.as_str(), &ask.context)
        );
        let credential = spent.is_none().then(root_credential);
        let standing = Standing { via_token: spent.is_some(), credential, ..Standing::default() };
        assert_eq!(*asked.standing(), standing, "{row}");
    }
    assert_eq!(world.decisions(), [], "there is no second record");
    // What the door did for it is its own, and nobody asked for that.
    let of_the_door = |record: &Record| record.principal.starts_with("internal/");
    let tokens = world.records("tokens");
    assert!(tokens.iter().filter(|record| of_the_door(record)).all(|record| record.asked.is_none()));
    assert_eq!(tokens.iter().filter(|record| of_the_door(record)).count(), 2, "it consumed, and settled");
}

/// Of the facts of one command the first one says what was asked for; a refusal is a record as well.
#[tokio::test]
async fn the_request_stands_in_the_first_record_and_in_that_of_a_refusal() {
    let world = World::open().await;
    let each = Command::PutEach { things: 3 };
    world.door.perform(&ask(1, "todo.release", "todo-7"), &world.shelf, each).await.unwrap();
    let [first, rest @ ..] = &world.records("shelf")[..] else { panic!("three facts") };
    assert_eq!((first.index, rest.len()), (0, 2));
    assert!(first.asked.is_some() && rest.iter().all(|record| record.asked.is_none()));

    assert_eq!(word(world.put(&ask(2, "todo.submit", "todo-8"), FULL + 1).await), "shelf.full");
    let refused = world.records("shelf").pop().unwrap();
    assert!(matches!(refused.answer, Answer::Refusal(_)));
    assert_eq!(refused.asked.unwrap().resource(), "todo-8");
}

/// Nothing will be done under that id, so the record of the denial has one of its own.
#[tokio::test]
async fn an_id_that_is_taken_is_a_denial_on_record() {
    let world = World::open().await;
    world.put(&ask(1, "todo.release", "todo-7"), 1).await.unwrap();
    let denied = world.put(&ask(1, "todo.release", "todo-7"), 2).await.unwrap_err();
    assert_eq!(denied.denial.code, "host.id_taken");
    let [record] = &world.records("decisions")[..] else { panic!("one record") };
    assert_eq!(denied.decision, Some(record.command_id));
    assert_ne!(record.command_id, ask(1, "todo.release", "todo-7").command_id);
    assert_eq!(record.asked.as_ref().unwrap().resource(), "todo-7");
    assert_eq!(record.decision.policies, [""; 0], "what permitted it determined nothing");
}

/// Who was let in to look at many things is asked about each by the same policies, and nothing is recorded of it.
#[tokio::test]
async fn what_else_may_be_done_by_who_was_let_in() {
    let text = "permit (principal, action in [Action::\"policy.propose\", Action::\"policy.activate\"], resource);
        permit (principal, action == Action::\"todo.list\", resource);
        permit (principal, action == Action::\"todo.show\", resource == Todo::\"todo-7\") when { context.via_token };";
    let world = World::with(Setup::default(), text).await;
    world.issue(1, "todo.list", 1).await;
    let pass = world.door.witness(&bearing(1, ask(1, "todo.list", "*"))).await.unwrap();
    let records = world.records("decisions").len();
    assert_eq!(world.door.permits(&pass, "todo.show", "todo-7"), Ok(()), "standing as he does");
    for (action, resource, code) in
        [("todo.show", "todo-8", "policy.not_permitted"), ("todo.lose", "*", "policy.error")]
    {
        let denial = world.door.permits(&pass, action, resource).unwrap_err();
        assert_eq!(
            (denial.layer, denial.code.as_str(), denial.rule.as_deref()),
            (Layer::Policy, code, Some("epoch 1"))
        );
    }
    let own = world.door.witness(&ask(2, "todo.list", "*")).await.unwrap();
    assert!(world.door.permits(&own, "todo.show", "todo-7").is_err());
    assert_eq!(world.records("decisions").len(), records + 1, "but for that it was let in");
}

#[tokio::test]
async fn an_answered_question_is_one_record() {
    let world = World::open().await;
    let question = ask(1, "todo.list", "*");
    for _ in 0..2 {
        let pass = world.door.witness(&question).await.unwrap();
        assert_eq!((pass.principal.to_string(), pass.decision.policies), ("operator/root".into(), vec!["all".into()]));
        let records = world.records("decisions");
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].command_id, records[0].decision.policy_epoch), (question.command_id, 1));
        assert!(matches!(world.decisions()[0], door::Event::Answered(_)), "it was allowed");
        let asked = records[0].asked.as_ref().unwrap();
        assert_eq!((asked.action(), asked.resource()), ("todo.list", "*"));
    }
}

/// What cannot be recorded is not shown, but for operators while the disk is full.
#[tokio::test]
async fn a_question_is_recorded_before_it_is_answered() {
    let world = World::open().await;
    world.setup.disk.set(Mode::Fail { written: false });
    assert_eq!(word(world.door.witness(&ask(1, "todo.list", "*")).await), "host.outcome_unknown");
}

#[tokio::test]
async fn with_a_full_disk_operators_read_on_and_nothing_changes() {
    let world = World::open().await;
    world.issue(1, "todo.list", 3).await;
    let world = world.again_with(|setup| setup.reserve_bytes = u64::MAX).await;
    assert_eq!(word(world.door.witness(&ask(1, "todo.list", "*")).await), "allowed");
    assert_eq!(word(world.door.witness(&ask(5, "gap.close", "*")).await), "request.unknown_action");
    assert_eq!(world.decisions(), []);
    let unrecorded = |what: &str| Trace::Unrecorded { what: what.to_owned(), at: world.now() };
    assert_eq!(world.traces(), [unrecorded("a read: todo.list"), unrecorded("a denial: request.unknown_action")]);
    let full = world.put(&ask(2, "todo.release", "todo-7"), 7).await.unwrap_err().denial;
    assert_eq!(full.code, "journal.disk_full");
    assert!(full.retry_after.is_some());
    assert_eq!(word(world.door.witness(&bearing(1, ask(3, "todo.list", "*"))).await), "journal.disk_full");
    assert_eq!(
        word(world.door.witness(&ask(4, "system.kill", "x")).await),
        "journal.disk_full",
        "it changes something"
    );
}

/// The record must not name an epoch whose policies did not decide.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the race is between two threads")]
async fn a_policy_that_changes_while_a_request_is_judged() {
    let world = Arc::new(World::open().await);
    let (asked, mut hear) = unbounded_channel();
    let (answer, answered) = channel();
    *world.setup.meanwhile.lock().unwrap() = Some(Box::new(move || {
        asked.send(()).unwrap();
        answered.recv().unwrap();
    }));
    let judging = world.clone();
    let hasty = std::thread::Builder::new().name(HASTY.into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime
            .block_on(judging.put(&ask(1, "todo.release", "todo-7"), 7))
            .map(|_| ())
            .map_err(|denied| denied.denial.into())
    });
    hear.recv().await.unwrap();
    let forbids = "@id(\"all\") permit (principal, action, resource);
        @id(\"none\") forbid (principal, action == Action::\"todo.release\", resource);";
    let epoch = world.activate(forbids).await;
    answer.send(()).unwrap();
    let hasty = hasty.unwrap();
    while !hasty.is_finished() {
        tokio::task::yield_now().await;
    }
    let denial: Box<kernel::Denial> = hasty.join().unwrap().unwrap_err();
    assert_eq!((denial.code.as_str(), denial.rule), ("policy.forbidden", Some(format!("epoch {epoch}: none"))));
}

#[tokio::test]
async fn a_request_judged_after_a_revocation_was_acknowledged_fails() {
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 3).await;
    assert_eq!(told(world.put(&bearing(1, ask(1, "todo.release", "todo-7")), 1).await), "1");
    world.revoke(token).await;
    let denied = world.put(&bearing(1, ask(2, "todo.release", "todo-7")), 1).await.unwrap_err();
    assert_eq!(denied.denial.code, "tokens.revoked");
    let repeat = world.put(&bearing(1, ask(1, "todo.release", "todo-7")), 1).await;
    assert_eq!(told(repeat), "1, again", "what was judged before it keeps its answer");
    assert_eq!(world.on_shelf().await, 1);
}

/// What the operator asked for before the stop may still end up behind it; its record tells.
#[tokio::test]
async fn what_was_in_flight_when_everything_stopped_is_of_an_older_generation() {
    let world = World::open().await;
    world.setup.disk.set(Mode::Hold);
    let put = ask(1, "todo.release", "todo-7");
    let stop = ask(2, "system.stop", "*");
    let (put, stopped, ()) = tokio::join!(world.put(&put, 7), world.door.stop(&stop, said("fire")), async {
        world.setup.disk.set(Mode::Pass);
    });
    assert_eq!((told(put).as_str(), stopped.unwrap().recorded.is_ok()), ("7", true));
    let generation = world.records("shelf").pop().unwrap().decision.generation;
    assert!(generation < world.generation(), "{generation}");
    assert_eq!(told(world.put(&ask(3, "todo.release", "todo-7"), 1).await), "door.sealed");
}

#[tokio::test]
async fn a_command_id_names_one_command() {
    let world = Setup::default().start().await;
    world.bootstrap().await;
    world.activate(crate::world::OPEN).await;
    assert_eq!(told(world.put(&ask(1, "todo.release", "todo-7"), 7).await), "7");
    assert_eq!(told(world.put(&ask(1, "todo.release", "todo-7"), 7).await), "7, again");
    assert_eq!(told(world.put(&ask(1, "todo.release", "todo-7"), 8).await), "host.id_taken");
    assert_eq!(world.records("shelf").len(), 1);
    assert_eq!(world.records("shelf")[0].command_id, id_at(NOON, 1));
}
