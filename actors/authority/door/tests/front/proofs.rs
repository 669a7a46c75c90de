//! What was proven of exactly this counts once: whatever is given as evidence, whatever fails, and however often it is repeated.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, OnceLock};

use approvals::Approvals;
use door::{Ask, Bound, Came, Evidence, Wanted};
use kernel::{CommandId, Denial, Digest, Layer, Millis, Missing, Personal, Refuse as _};
use proofs::{Algorithm, Checked, Command, Event, Expected, Spend, State, Verifier};

use crate::world::{Attitude, Mode, NOON, OPEN, RECEIPT_LIFE, Setup, World, ask, bearing, id_at, told, with, word};

const PROVEN: &str = r#"
    @id("all") permit (principal, action, resource);
    @id("proven") forbid (principal, action == Action::"todo.release", resource)
    unless { context.proofs.contains("manifest") };
"#;

fn put(number: u8) -> Ask {
    ask(number, "todo.release", "todo-7")
}

fn given(ask: Ask, proof: &str, evidence: Option<&str>) -> Ask {
    let evidence = Evidence {
        proof: proof.into(),
        given: evidence.map(|evidence| evidence.as_bytes().into()),
        arguments: Arc::new(BTreeMap::new()),
        came: Arc::new(OnceLock::new()),
    };
    Ask { bound: Bound { proving: Some(evidence), ..ask.bound.clone() }, ..ask }
}

fn proving(ask: Ask) -> Ask {
    given(ask, "manifest", Some("evidence"))
}

fn verifier(digest: u8) -> Verifier {
    Verifier::Digest { algorithm: Algorithm::Blake3, expected: Expected::Pinned(Digest([digest; 32])) }
}

/// Past the door, as anybody.
async fn say(world: &World, who: &str, command: Command) -> Result<(), &'static str> {
    let order = world.by(who, command);
    world.proofs.execute(order).await.unwrap().outcome.map(drop).map_err(|refusal| refusal.code())
}

async fn declare(world: &World, name: &str, digest: u8) {
    say(world, "operator/root", Command::Declare { name: name.into(), verifier: verifier(digest) }).await.unwrap();
}

async fn asked_for() -> World {
    let world = World::with(Setup::default(), PROVEN).await;
    declare(&world, "manifest", 1).await;
    world
}

/// With what was proven, for `things` to be put.
async fn proven(things: u64) -> World {
    let world = asked_for().await;
    assert_eq!(told(world.put(&proving(put(90)), things).await), "proofs.received");
    world
}

fn state(world: &World, receipt: u64) -> State {
    world.proofs_view.read(|proofs| proofs.show(receipt, world.now())).unwrap().state
}

fn missing(names: &[&str]) -> Missing {
    Missing { proofs: names.iter().map(|&name| name.to_owned()).collect(), ..Missing::default() }
}

#[tokio::test]
async fn what_must_be_proven_says_so_and_is_done_once_it_is() {
    let world = asked_for().await;
    let denial = world.put(&put(1), 7).await.unwrap_err().denial;
    assert_eq!((denial.code.as_str(), denial.missing.clone()), ("policy.proof_needed", Some(missing(&["manifest"]))));
    assert!(denial.remedy.contains("--prove manifest=EVIDENCE"), "{}", denial.remedy);

    let shown = given(put(2), "manifest", None);
    assert_eq!(told(world.put(&shown, 7).await), "policy.proof_needed", "to ask for the goal is to be denied");
    let came = shown.bound.proving.unwrap().came;
    let Some(Came::Goal { goal, verifier: by }) = came.get() else { panic!("it is told: {came:?}") };
    assert_eq!((goal.principal.to_string().as_str(), goal.action.as_str()), ("operator/root", "todo.release"));
    assert_eq!((goal.resource.as_str(), goal.target), ("todo-7", Some(Digest([0; 32]))));
    assert_eq!(**by, verifier(1));

    let evidence = proving(put(3));
    assert_eq!(told(world.put(&evidence, 7).await), "proofs.received");
    let came = evidence.bound.proving.unwrap().came;
    assert!(matches!(came.get(), Some(Came::Receipt { receipt: 1, goal: of, .. }) if *of == goal.digest()), "{came:?}");
    assert_eq!(world.on_shelf().await, 0, "nothing is done");
    let done = world.put(&put(4), 7).await.unwrap();
    assert_eq!(world.kinds::<Event>("proofs"), ["proofs.declared", "proofs.received", "proofs.spent"]);
    let records = world.records("proofs");
    assert!(records[2].sequence < done.first, "it is spent before the effect");
    assert_eq!(records[1].decision.policies, ["capability:proof"]);
    let effect = world.records("shelf").pop().unwrap();
    assert_eq!(effect.asked.unwrap().standing().proofs, BTreeSet::from(["manifest".to_owned()]), "it is on record");
    assert_eq!(told(world.put(&put(4), 7).await), "7, again");
    let denied = world.put(&put(5), 7).await.unwrap_err();
    assert_eq!((denied.denial.code.as_str(), denied.decision), ("proofs.used", Some(id_at(NOON, 5))));
    assert_eq!(denied.denial.missing, Some(missing(&["manifest"])));
    assert_eq!((world.on_shelf().await, state(&world, 1)), (7, State::Spent));
}

/// A row for each way in which evidence, or a receipt of it, is good for nothing: the answer is no, and what it is.
#[tokio::test]
async fn denials() {
    type Act = fn(&World);
    let lie: [(&str, Act, &str); 3] = [
        ("what the verifier says no to", |world| world.setup.set_gate(Attitude::Refuses), "test.refused"),
        ("a verifier that cannot be reached", |world| world.setup.set_gate(Attitude::IsDown), "test.down"),
        ("a key that cannot sign", |world| world.setup.set_gate(Attitude::CannotSign), "test.unsigned"),
    ];
    for (row, act, code) in lie {
        let world = asked_for().await;
        act(&world);
        let denied = world.put(&proving(put(1)), 7).await.unwrap_err();
        assert_eq!(denied.denial.code, code, "{row}");
        if code != "test.unsigned" {
            let Denial { layer, rule, reason, .. } = &denied.denial;
            assert_eq!((*layer, rule.as_deref()), (Layer::Policy, Some("epoch 1: proven")), "{row}");
            assert!(reason.ends_with("; of \"manifest\", it is not so"), "{row}: {reason}");
        }
        assert_eq!(denied.denial.missing, Some(missing(&["manifest"])), "{row}");
        assert!(!denied.denial.remedy.is_empty() && denied.decision.is_some(), "{row}: on record, with a remedy");
        assert_eq!(told(world.put(&put(2), 7).await), "policy.proof_needed", "{row}: there is no receipt");
        assert_eq!((world.on_shelf().await, world.records("proofs").len()), (0, 1), "{row}");
    }
    let later: [(&str, Act, &str); 4] = [
        ("a target that has changed", |world| world.setup.set_thing(9), "proofs.stale"),
        ("a receipt that has expired", |world| world.later(RECEIPT_LIFE), "proofs.expired"),
        ("a receipt that the authority did not sign", |world| world.setup.set_gate(Attitude::Disowns), "proofs.forged"),
        ("nobody can tell whether it did", |world| world.setup.set_gate(Attitude::Doubts), "proofs.unchecked"),
    ];
    for (row, act, code) in later {
        let world = proven(7).await;
        act(&world);
        let denial = world.put(&ask(1, "todo.release", "todo-7"), 7).await.unwrap_err().denial;
        assert_eq!((denial.code.as_str(), denial.layer), (code, Layer::Policy), "{row}");
        assert!(denial.missing.is_some() && denial.remedy.contains("rove it "), "{row}: {}", denial.remedy);
        assert!(denial.reason.contains("; of \"manifest\", receipt 1: "), "{row}: {}", denial.reason);
        assert_eq!((world.on_shelf().await, world.records("proofs").len()), (0, 2), "{row}: nothing is spent");
    }
    let world = proven(7).await;
    declare(&world, "manifest", 2).await;
    assert_eq!(told(world.put(&put(1), 7).await), "proofs.verifier_changed");
    declare(&world, "manifest", 1).await;
    assert_eq!(told(world.put(&put(1), 7).await), "proofs.verifier_changed", "the same again is another");
    say(&world, "operator/root", Command::Withdraw { name: "manifest".into() }).await.unwrap();
    assert_eq!(told(world.put(&put(1), 7).await), "proofs.verifier_changed");
    assert_eq!(told(world.put(&proving(put(2)), 7).await), "proofs.unknown_verifier");
    assert_eq!(world.on_shelf().await, 0);
}

#[tokio::test]
async fn evidence_is_taken_where_it_helps_and_nowhere_else() {
    let world = World::with(Setup::default(), OPEN).await;
    declare(&world, "manifest", 1).await;
    assert_eq!(told(world.put(&proving(put(1)), 7).await), "proofs.not_needed");
    assert_eq!(world.on_shelf().await, 0, "nothing is done");
    let never = format!("{OPEN} forbid (principal, action == Action::\"todo.release\", resource);");
    let never = World::with(Setup::default(), &never).await;
    assert_eq!(told(never.put(&proving(put(1)), 7).await), "policy.forbidden");
    let world = asked_for().await;
    declare(&world, "other", 1).await;
    let denial = world.put(&given(put(1), "other", Some("x")), 7).await.unwrap_err().denial;
    assert_eq!((denial.code.as_str(), denial.missing), ("proofs.not_needed", Some(missing(&["manifest"]))));
    assert!(denial.reason.ends_with("; proof of \"other\" would not change that"), "{}", denial.reason);
    assert_eq!(told(world.put(&given(put(2), &"é".repeat(99), Some("x")), 7).await), "proofs.not_needed");
    assert_eq!(world.records("proofs").len(), 2);
}

#[tokio::test]
async fn only_exactly_what_was_proven_is_let_in() {
    let world = proven(7).await;
    assert_eq!(told(world.put(&put(1), 8).await), "proofs.other_content");
    assert_eq!(told(world.put(&ask(2, "todo.release", "todo-8"), 7).await), "policy.proof_needed");
    world.issue(1, "todo.release", 9).await;
    assert_eq!(told(world.put(&bearing(1, put(3)), 7).await), "policy.proof_needed", "another asks");
    assert_eq!(told(world.put(&put(4), 7).await), "7");
}

/// One of two is enough, and all that are asked for are needed.
#[tokio::test]
async fn several_proofs_and_approvals_are_spent_together() {
    let both = PROVEN.replace(
        "context.proofs.contains(\"manifest\")",
        "context.proofs.containsAll([\"manifest\", \"signed\"]) && context.approvals >= 1",
    );
    let world = World::with(Setup::default(), &both).await;
    declare(&world, "manifest", 1).await;
    declare(&world, "signed", 1).await;
    let lacks = |missing: &Missing| (missing.approvals, missing.proofs.len());
    let denial = world.put(&put(1), 7).await.unwrap_err().denial;
    assert_eq!(denial.missing.as_ref().map(lacks), Some((1, 2)));
    assert!(denial.remedy.contains("--request-approval"), "{}", denial.remedy);
    assert_eq!(told(world.put(&proving(put(2)), 7).await), "proofs.received");
    let denial = world.put(&put(3), 7).await.unwrap_err().denial;
    assert_eq!(denial.missing.as_ref().map(lacks), Some((1, 1)), "what is proven is not asked for again");
    assert_eq!(told(world.put(&given(put(4), "signed", Some("x")), 7).await), "proofs.received");
    let denial = world.put(&put(5), 7).await.unwrap_err().denial;
    assert_eq!((denial.code.as_str(), denial.missing.as_ref().map(lacks)), ("policy.approval_needed", Some((1, 0))));
    let (arguments, reason) = (Personal::plain("{}"), Personal::plain("why"));
    let wanted = Wanted { arguments, reason, lifetime: None, asked: Arc::new(OnceLock::new()) };
    let leave = Ask { bound: Bound { wanted: Some(wanted), ..Bound::default() }, ..put(6) };
    assert_eq!(told(world.put(&leave, 7).await), "approvals.asked");
    let approve = world.by("operator/anne", approvals::Command::Approve { request: 1 });
    world.approvals.execute(approve).await.unwrap().outcome.unwrap();
    assert_eq!(told(world.put(&put(7), 7).await), "7");
    assert_eq!(world.kinds::<Event>("proofs")[4..], ["proofs.spent", "proofs.spent"]);
    assert_eq!(told(world.put(&put(8), 7).await), "approvals.used");
    let used = world.approvals_view.read(|approvals: &Approvals| approvals.show(1, world.now())).unwrap().used;
    assert_eq!(used.map(|used| used.command), Some(id_at(NOON, 7)));

    let either = PROVEN
        .replace("context.proofs.contains(\"manifest\")", "context.proofs.containsAny([\"manifest\", \"signed\"])");
    let world = World::with(Setup::default(), &either).await;
    declare(&world, "signed", 1).await;
    assert_eq!(told(world.put(&given(put(1), "signed", Some("x")), 7).await), "proofs.received");
    assert_eq!(told(world.put(&put(2), 7).await), "7");
}

#[tokio::test]
async fn a_refused_effect_gives_the_receipt_back() {
    let world = proven(101).await;
    for number in [1, 1, 2] {
        assert_eq!(told(world.put(&put(number), 101).await), "shelf.full");
        assert_eq!(state(&world, 1), State::Live);
    }
    let names: Vec<_> = world.kinds::<Event>("proofs").into_iter().skip(2).collect();
    assert_eq!(names, ["proofs.spent", "proofs.released", "proofs.spent", "proofs.released"]);
}

/// Both were judged while it was there to be spent.
#[tokio::test]
async fn of_two_at_once_one_is_done_and_the_other_hears_why_not() {
    let world = proven(7).await;
    let (one, two) = (put(1), put(2));
    let (one, two) = tokio::join!(world.put(&one, 7), world.put(&two, 7));
    assert_eq!(told(one), "7");
    let denial = two.unwrap_err().denial;
    assert_eq!((denial.layer, denial.code.as_str()), (Layer::Policy, "proofs.used"));
    assert_eq!((denial.rule.as_deref(), denial.missing), (Some("receipt 1"), Some(missing(&["manifest"]))));
}

/// The process ends between the receipt and the effect, or before it knows of the effect.
#[tokio::test]
async fn an_end_between_receipt_and_effect_is_one_effect_at_most() {
    for written in [true, false] {
        let world = proven(7).await;
        world.setup.disk.after(1, Mode::Fail { written });
        assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
        let world = world.again().await;
        assert_eq!(told(world.put(&put(2), 7).await), "proofs.used");
        // What it was done to changes by it, so it must not be asked whether that has.
        world.setup.set_thing(if written { 8 } else { 0 });
        assert_eq!(told(world.put(&put(1), 7).await), if written { "7, again" } else { "7" });
        assert_eq!(told(world.put(&proving(put(1)), 7).await), "proofs.received", "it was spent on this very command");
        let shown = given(put(1), "manifest", None);
        assert_eq!(told(world.put(&shown, 7).await), "policy.proof_needed", "who asks what to prove is told that");
        assert_eq!(world.records("proofs").len(), 3, "and no other receipt is made");
        assert_eq!(world.on_shelf().await, 7);
    }
}

#[tokio::test]
async fn an_end_before_the_receipt_is_known_to_be_spent_is_no_use_or_that_of_this_command() {
    for written in [true, false] {
        let world = proven(7).await;
        world.setup.disk.set(Mode::Fail { written });
        assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
        let world = world.again().await;
        assert_eq!(told(world.put(&put(2), 7).await), if written { "proofs.used" } else { "7" });
        assert_eq!(told(world.put(&put(1), 7).await), if written { "7" } else { "proofs.used" });
        assert_eq!(world.on_shelf().await, 7);
    }
}

/// Held by a command whose effect never came: it is nothing for an effect on what has changed since, or later.
#[tokio::test]
async fn a_receipt_that_was_spent_is_no_leave_for_something_else_later() {
    let world = proven(7).await;
    world.setup.disk.after(1, Mode::Fail { written: false });
    assert_eq!(told(world.put(&put(1), 7).await), "host.outcome_unknown");
    let world = world.again().await;
    world.setup.set_thing(9);
    assert_eq!(told(world.put(&put(1), 7).await), "proofs.stale");
    world.setup.set_thing(0);
    world.later(RECEIPT_LIFE);
    assert_eq!(told(world.put(&put(1), 7).await), "proofs.expired");
    assert_eq!(world.on_shelf().await, 0);
}

#[tokio::test]
async fn evidence_that_could_not_be_kept_is_no_receipt_and_may_be_given_again() {
    for written in [true, false] {
        let world = asked_for().await;
        world.setup.disk.set(Mode::Fail { written });
        assert_eq!(told(world.put(&proving(put(1)), 7).await), "host.outcome_unknown");
        let world = world.again().await;
        assert_eq!(told(world.put(&put(2), 7).await), if written { "7" } else { "policy.proof_needed" });
        assert_eq!(told(world.put(&proving(put(3)), 7).await), "proofs.received");
        assert_eq!(told(world.put(&put(4), 7).await), if written { "14" } else { "7" });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the test waits for what it starts")]
async fn sixty_four_at_once_are_one_effect() {
    let world = Arc::new(proven(7).await);
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
    assert_eq!(told.iter().filter(|told| *told == "proofs.used").count(), 63, "{told:?}");
    assert_eq!(world.on_shelf().await, 7);
}

#[tokio::test]
async fn who_asks_by_a_token_proves_for_himself_and_pays_for_the_command_alone() {
    let world = asked_for().await;
    let token = world.issue(1, "todo.release", 1).await;
    assert_eq!(told(world.put(&proving(bearing(1, put(1))), 7).await), "proofs.received");
    assert_eq!(world.left(token), 1, "to prove costs nothing");
    assert_eq!(told(world.put(&put(2), 7).await), "policy.proof_needed");
    assert_eq!(told(world.put(&bearing(1, put(3)), 7).await), "7");
    assert_eq!(world.left(token), 0);
}

/// A receipt that somebody brought into the machine past the door has no signature of the authority, and nobody spends one.
#[tokio::test]
async fn nobody_makes_or_spends_a_receipt_past_the_door() {
    let world = proven(7).await;
    let shown = world.proofs_view.read(|proofs| proofs.show(1, world.now())).unwrap();
    let forged = Checked { note: shown.checked.note.replace("evidence", "nothing"), ..shown.checked.clone() };
    assert_eq!(told(world.put(&put(1), 7).await), "7");
    say(&world, "operator/root", Command::Receive(Box::new(forged))).await.unwrap();
    assert_eq!(told(world.put(&put(2), 7).await), "proofs.forged");
    let spend = Spend {
        receipts: [2].into(),
        asker: shown.asker,
        action: shown.checked.action,
        resource: shown.checked.resource,
        content: shown.checked.content,
        target: shown.checked.target,
        command: id_at(NOON, 3),
    };
    assert_eq!(say(&world, "operator/root", Command::Spend(spend)).await, Err("proofs.door_only"));
    let release = Command::Release { command: id_at(NOON, 1) };
    assert_eq!(say(&world, "operator/root", release).await, Err("proofs.door_only"));
    assert_eq!(world.on_shelf().await, 7);
}

#[tokio::test]
async fn what_must_be_proven_waits_for_who_keeps_receipts_and_nothing_else_does() {
    let world = proven(7).await;
    world.kill(&world.proofs).await;
    assert_eq!(told(world.put(&put(1), 7).await), "door.not_ready");
    assert_eq!(told(world.put(&proving(put(2)), 7).await), "door.not_ready");
    assert_eq!(told(world.put(&ask(3, "todo.submit", "todo-7"), 1).await), "1");
    world.restart(&world.proofs).await;
    assert_eq!(told(world.put(&put(1), 7).await), "8");
}

#[tokio::test]
async fn what_cannot_be_known_of_the_target_is_a_no() {
    let world = proven(7).await;
    world.setup.thing_is_unknown();
    assert_eq!(told(world.put(&put(1), 7).await), "approvals.target_unknown");
    assert_eq!(told(world.put(&proving(put(2)), 7).await), "approvals.target_unknown");
    world.setup.set_thing(0);
    assert_eq!(told(world.put(&put(1), 7).await), "7");
}

#[tokio::test]
async fn a_permission_for_many_uses_stands_on_one_receipt() {
    let world = asked_for().await;
    assert_eq!(world.door.open(&put(1)).await.err().unwrap().denial.code, "policy.proof_needed");
    assert_eq!(world.door.open(&proving(put(2))).await.err().unwrap().denial.code, "proofs.received");
    let warrant = world.door.open(&put(3)).await.unwrap();
    world.activate(&format!("{PROVEN} // the same")).await;
    warrant.check().unwrap();
    assert_eq!(world.door.open(&put(4)).await.err().unwrap().denial.code, "proofs.used");
    world.activate(&PROVEN.replace("manifest", "signed")).await;
    assert_eq!(warrant.check().unwrap_err().code, "policy.proof_needed");
}

#[tokio::test]
async fn nothing_is_proven_while_everything_is_stopped() {
    let world = proven(7).await;
    world.door.stop(&ask(1, "system.stop", "*"), crate::world::said("fire")).await.unwrap();
    assert_eq!(told(world.put(&put(2), 7).await), "door.sealed");
    assert_eq!(told(world.put(&proving(put(3)), 7).await), "door.sealed");
    assert_eq!(state(&world, 1), State::Live);
}

/// A read that must be proven: its receipt is spent by its answer.
#[tokio::test]
async fn attributes_count_where_there_is_no_command() {
    let world = World::with(Setup::default(), &PROVEN.replace("todo.release", "gap.scan")).await;
    declare(&world, "manifest", 1).await;
    let scan = |number: u8, root: &str| with(ask(number, "gap.scan", "*"), "root", root);
    let witnessed = async |ask: Ask| word(world.door.witness(&ask).await);
    assert_eq!(witnessed(proving(scan(1, "/a"))).await, "proofs.received");
    assert_eq!(witnessed(scan(2, "/b")).await, "proofs.other_content");
    assert_eq!(witnessed(scan(3, "/a")).await, "allowed");
    assert_eq!(witnessed(scan(4, "/a")).await, "proofs.used");
}

/// A command id from afar cannot name an effect, so nothing is spent on it.
#[tokio::test]
async fn nothing_is_spent_on_what_cannot_be_done() {
    let world = proven(7).await;
    let far = Ask { command_id: id_at(NOON + Millis::hours(1), 1), ..put(1) };
    assert_eq!(told(world.put(&far, 7).await), "host.id_untimely");
    let timeless = Ask { command_id: CommandId(7), ..put(1) };
    assert_eq!(told(world.put(&timeless, 7).await), "host.id_untimely");
    assert_eq!(state(&world, 1), State::Live);
}
