//! No more is let in than the quota has: at once, over restarts, and whatever becomes of each request.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use door::{Ask, Bound, Denied, Foreseen, Secret, SecretKind, Supposed, Supposition, Trial};
use identity::{Allowance, Command, CredentialId, Proof};
use kernel::{CommandId, Layer, Millis, Personal, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use tokens::Grant;
use tokio::task::JoinSet;

use crate::approvals::wanted;
use crate::shelf::{self, FULL};
use crate::world::{Mode, NOON, World, ask, bearing, by, id_at, told, word};

const HOUR: Millis = Millis::hours(1);
const ALPHA: &str = "agent/alpha";

fn quota(name: &str, whose: &str, action: &str, limit: u64, window: Millis) -> Command {
    let (whose, action) = (whose.parse().unwrap(), action.parse().unwrap());
    let allowance = Allowance { whose, action, limit, window };
    Command::SetQuota { name: name.into(), allowance, reason: Personal::default() }
}

async fn hourly(world: &World, limit: u64) {
    world.identify(quota("puts", "operator/*", "todo.release", limit, HOUR)).await;
}

fn put(number: u8) -> Ask {
    ask(number, "todo.release", "todo-7")
}

/// A question.
fn look(number: u8) -> Ask {
    ask(number, "todo.list", "*")
}

async fn key(world: &World, principal: &str, id: u64) -> Secret {
    world.admit(principal, "*", None).await;
    let (id, principal) = (CredentialId(id), principal.parse().unwrap());
    let secret = Secret::generate(SecretKind::Key(id));
    let (proof, label) = (Proof::Secret(secret.digest()), "key".to_owned());
    let made = Command::MakeCredential { id, principal, proof, label, until: None, break_glass: false };
    world.identify(made).await;
    secret
}

async fn used(world: &World) -> Vec<(String, String, u64)> {
    let used = world.door.used_of_quotas(None).await.unwrap();
    used.into_iter().map(|one| (one.name, one.principal.to_string(), one.used)).collect()
}

fn used_up(world: &World) -> usize {
    let is = |event: &door::Event| matches!(event, door::Event::Denied(body) if body.code == "door.quota_used_up");
    world.decisions().iter().filter(|event| is(event)).count()
}

#[tokio::test]
async fn so_many_and_no_more_until_the_window_ends() {
    let world = World::open().await;
    hourly(&world, 2).await;
    assert_eq!([told(world.put(&put(1), 1).await), told(world.put(&put(2), 1).await)], ["1", "2"]);
    let Denied { denial, decision } = world.put(&put(3), 1).await.unwrap_err();
    assert_eq!((denial.layer, denial.code.as_str()), (Layer::Limit, "door.quota_used_up"));
    assert_eq!(denial.rule.as_deref(), Some("quota puts"));
    let end = NOON.0 - NOON.0 % HOUR.0 + HOUR.0;
    assert_eq!(denial.retry_after, Some(Millis(end - NOON.0)), "until the window ends");
    assert_eq!(denial.reason, "operator/root has used up its quota puts: 2 of todo.release in 1h");
    assert!(denial.remedy.contains("sop security quota"));
    assert_eq!(decision, Some(id_at(NOON, 3)), "the first is on record");
    for number in 4..9 {
        assert_eq!(world.put(&put(number), 1).await.unwrap_err().decision, None, "a flood fills no disk");
    }
    assert_eq!(used_up(&world), 1);
    assert_eq!(told(world.put(&put(1), 1).await), "1, again", "what was done stays answered");
    assert_eq!(word(world.door.witness(&look(9)).await), "allowed", "nothing else is of that quota");

    world.later(denial.retry_after.unwrap());
    let fresh = |number| Ask { command_id: id_at(Timestamp(end), number), ..put(number) };
    assert_eq!(told(world.put(&fresh(3), 1).await), "3", "what a denial says is so");
    world.earlier(HOUR);
    assert_eq!(told(world.put(&fresh(4), 1).await), "4");
    assert_eq!(
        told(world.put(&fresh(5), 1).await),
        "door.quota_used_up",
        "a clock that goes back opens no other window"
    );
}

#[tokio::test]
async fn each_has_its_own_and_every_one_that_covers_a_request_counts() {
    let world = World::open().await;
    let (alpha, beta) = (key(&world, ALPHA, 7).await, key(&world, "agent/beta", 8).await);
    world.identify(quota("each", "agent/*", "todo.*", 3, HOUR)).await;
    world.identify(quota("alpha", ALPHA, "todo.list", 1, HOUR)).await;
    let asks = async |secret: &Secret, ask: Ask| word(world.door.witness(&by(secret.expose(), ask)).await);
    assert_eq!(asks(&alpha, look(1)).await, "allowed");
    assert_eq!(asks(&alpha, look(2)).await, "door.quota_used_up");
    assert_eq!(told(world.put(&by(alpha.expose(), put(3)), 1).await), "1");
    assert_eq!([asks(&beta, look(4)).await, asks(&beta, look(5)).await], ["allowed", "allowed"]);
    let all = [("alpha", ALPHA, 1), ("each", ALPHA, 2), ("each", "agent/beta", 2)];
    assert_eq!(used(&world).await, all.map(|(name, who, used)| (name.into(), who.into(), used)));

    let own = world.door.introduce(&by(beta.expose(), ask(6, "security.whoami", "*"))).await.unwrap().quotas.unwrap();
    assert_eq!(own.iter().map(|one| (one.name.as_str(), one.used)).collect::<Vec<_>>(), [("each", 2)]);
    assert_eq!(used(&world).await.len(), 3, "who asks who he is uses nothing");

    world.identify(quota("alpha", ALPHA, "todo.list", 2, HOUR)).await;
    assert_eq!(asks(&alpha, look(7)).await, "allowed", "with another limit, what was used stays used");
    assert_eq!(asks(&alpha, look(8)).await, "door.quota_used_up");
    world.identify(Command::ClearQuota { name: "alpha".into() }).await;
    world.identify(Command::ClearQuota { name: "each".into() }).await;
    assert_eq!(asks(&alpha, look(9)).await, "allowed");
    assert_eq!(used(&world).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_once_no_more_than_there_are_and_no_fewer() {
    const CALLERS: u8 = 64;
    let world = Arc::new(World::open().await);
    hourly(&world, 20).await;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let world = world.clone();
        callers.spawn(async move {
            let mut let_in = 0;
            for turn in 0..4_u8 {
                // A third is refused by the machine, and a third is sent twice at once.
                let number = caller.wrapping_mul(4).wrapping_add(turn);
                let things = if number.is_multiple_of(3) { FULL + 1 } else { 0 };
                let sent = async || match world.put(&put(number), things).await {
                    Ok(done) => Some(done.repeated),
                    Err(Denied { denial, .. }) => {
                        assert!(["shelf.full", "door.quota_used_up"].contains(&denial.code.as_str()), "{denial:?}");
                        None
                    }
                };
                if number % 3 == 1 {
                    let both = tokio::join!(sent(), sent());
                    assert_ne!(both, (Some(false), Some(false)), "one command, one effect");
                    let_in += u64::from(both != (None, None));
                } else {
                    let_in += u64::from(sent().await.is_some());
                }
            }
            let_in
        });
    }
    let mut let_in = 0;
    while let Some(one) = callers.join_next().await {
        let_in += one.unwrap();
    }
    assert_eq!(let_in, 20);
    assert_eq!(world.kinds::<shelf::Put>("shelf").iter().filter(|name| **name == "shelf.put").count(), 20);
    assert_eq!(used_up(&world), 1);
}

/// Who comes while it is counted waits for that, and does not count once more.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn at_once_after_a_start_each_record_is_counted_once() {
    const STARTS: u8 = 24;
    const CALLERS: u8 = 8;
    let mut world = World::open().await;
    hourly(&world, 250).await;
    for start in 0..STARTS {
        let shared = Arc::new(world.again().await);
        let mut callers = JoinSet::new();
        for caller in 0..CALLERS {
            let world = shared.clone();
            callers.spawn(async move { told(world.put(&put(start * CALLERS + caller), 0).await) });
        }
        assert_eq!(callers.join_all().await.len(), usize::from(CALLERS));
        world = Arc::into_inner(shared).expect("the callers are gone");
        let effects = u64::from(start + 1) * u64::from(CALLERS);
        assert_eq!(used(&world).await, [("puts".to_owned(), "operator/root".to_owned(), effects)], "start {start}");
    }
}

#[tokio::test]
async fn what_comes_to_nothing_uses_nothing() {
    let world = World::open().await;
    hourly(&world, 1).await;
    assert_eq!(told(world.put(&put(1), FULL + 1).await), "shelf.full");
    assert_eq!(told(world.put(&put(1), FULL + 1).await), "shelf.full", "again");
    let old = Ask { command_id: CommandId(7), ..put(2) };
    assert_eq!(told(world.put(&old, 1).await), "host.id_untimely");
    let trial = Trial::of("todo.release");
    let bound = Bound { trial: Some(trial.clone()), ..Bound::default() };
    assert_eq!(told(world.put(&Ask { bound: bound.clone(), ..put(3) }, 1).await), "request.tried");
    assert!(matches!(trial.told().unwrap().foreseen, Foreseen::Changed(_)));
    assert_eq!(used(&world).await, []);
    assert_eq!(told(world.put(&put(4), 1).await), "1");

    let trial = Trial::of("todo.release");
    let bound = Bound { trial: Some(trial.clone()), ..bound };
    assert_eq!(told(world.put(&Ask { bound, ..put(5) }, 1).await), "request.tried");
    let Foreseen::Denied(denial) = &trial.told().unwrap().foreseen else { panic!("a trial says what keeps one out") };
    assert_eq!(denial.code, "door.quota_used_up");
    let (principal, context) = ("operator/root".parse().unwrap(), BTreeMap::new());
    let roles = BTreeSet::new();
    let supposed = |action| {
        world.door.suppose(&Supposed {
            principal: &principal,
            action,
            resource: Some("todo-7"),
            context: &context,
            roles: &roles,
        })
    };
    let (_, Supposition::Denied { denial, .. }) = supposed("todo.release") else { panic!("so does a question") };
    assert_eq!(denial.code, "door.quota_used_up");
    assert!(matches!(supposed("todo.show"), (_, Supposition::Allowed { .. })));
    assert_eq!(used_up(&world), 0, "nobody was denied");
}

#[tokio::test]
async fn whoever_set_one_can_end_it_and_an_emergency_begins_and_ends() {
    let world = World::open().await;
    world.identify(quota("all", "operator/*", "*", 1, Millis::hours(24))).await;
    assert_eq!(word(world.door.witness(&look(1)).await), "allowed");
    assert_eq!(word(world.door.witness(&look(2)).await), "door.quota_used_up");
    world.door.stop(&ask(3, "system.stop", "*"), crate::world::said("fire")).await.unwrap();
    let stop = world.stop().unwrap();
    let resumed = world.door.resume(&ask(4, "system.resume", "*"), stop.digest).await;
    assert_ne!(word(resumed), "door.quota_used_up");
    let world = world.again_with(|setup| drop(std::fs::remove_file(setup.seal_file()))).await;
    let named = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), "x".into())).collect();
    for (number, (action, attributes, expected)) in (5..).zip([
        ("quota.list", &[][..], "allowed"),
        ("approval.list", &["asker", "asked"], "allowed"),
        ("proof.verifiers", &[], "allowed"),
        ("todo.list", &[], "door.quota_used_up"),
    ]) {
        let ask = Ask { context: named(attributes), ..ask(number, action, "*") };
        assert_eq!(word(world.door.witness(&ask).await), expected, "{action}");
    }
    let world = world.again().await;
    assert_eq!(used(&world).await, [("all".to_owned(), "operator/root".to_owned(), 1)], "nor by its record");
    let clear = Command::ClearQuota { name: "all".into() };
    let cleared = world.door.perform(&ask(20, "quota.clear", "all"), &world.identity, clear).await;
    assert_eq!(word(cleared), "allowed");
    assert_eq!(word(world.door.witness(&look(7)).await), "allowed");
}

/// More records than are read at once, with some that count before and after.
#[tokio::test]
async fn each_record_counts_once_however_many_there_are() {
    let world = World::open().await;
    hourly(&world, 9).await;
    for until in 0..2_500 {
        world.admit(ALPHA, "*", Some(world.now() + Millis(until + 1))).await;
        if [0, 1_800, 2_499].contains(&until) {
            let number = u8::try_from(until / 100).unwrap();
            assert_eq!(word(world.put(&put(number), 1).await), "allowed");
        }
    }
    let world = world.again().await;
    assert_eq!(used(&world).await, [("puts".to_owned(), "operator/root".to_owned(), 3)]);
}

#[tokio::test]
async fn who_asks_for_leave_is_not_given_what_was_done() {
    let world = World::open().await;
    hourly(&world, 1).await;
    assert_eq!(told(world.put(&put(1), 1).await), "1");
    assert_eq!(told(world.put(&put(1), 1).await), "1, again");
    assert_eq!(told(world.put(&wanted(put(1)), 1).await), "approvals.not_needed");
}

#[tokio::test]
async fn what_was_acknowledged_is_counted_after_a_start() {
    let world = World::open().await;
    let alpha = key(&world, ALPHA, 7).await;
    hourly(&world, 3).await;
    world.identify(quota("looks", ALPHA, "todo.*", 3, HOUR)).await;
    world.identify(quota("all", ALPHA, "*", 9, HOUR)).await;
    world.issue_to(ALPHA, 1, "todo.release", 5, Grant::Operation).await;
    assert_eq!(told(world.put(&put(1), 1).await), "1");
    assert_eq!(told(world.put(&put(2), FULL).await), "shelf.full");
    assert_eq!(told(world.put(&bearing(1, put(3)), 1).await), "2");
    assert_eq!(word(world.door.witness(&by(alpha.expose(), look(4))).await), "allowed");
    let tried = Bound { trial: Some(Trial::of("todo.list")), ..Bound::default() };
    word(world.door.witness(&Ask { bound: tried, ..by(alpha.expose(), look(5)) }).await);
    // A trial is a question about a request, and not the request.
    let all = [("all", ALPHA, 2), ("looks", ALPHA, 2), ("puts", "operator/root", 1)];
    let all = all.map(|(name, principal, used)| (name.to_owned(), principal.to_owned(), used));
    assert_eq!(used(&world).await, all);

    let world = world.again().await;
    assert_eq!(used(&world).await, all, "the records have it");
    assert_eq!(told(world.put(&put(1), 1).await), "1, again");
    assert_eq!([told(world.put(&put(6), 1).await), told(world.put(&put(7), 1).await)], ["3", "4"]);
    assert_eq!(told(world.put(&put(8), 1).await), "door.quota_used_up");
    let world = world.again().await;
    assert_eq!(told(world.put(&put(9), 1).await), "door.quota_used_up", "at once, after another one");
    assert_eq!(told(world.put(&put(7), 1).await), "4, again", "and a repeat is answered");
    world.later(HOUR);
    let world = world.again().await;
    assert_eq!(used(&world).await, [], "what ended is not read again");
}

#[tokio::test]
async fn what_is_not_known_to_be_done_counts_until_a_repeat_finds_out() {
    for written in [true, false] {
        let world = World::open().await;
        hourly(&world, 1).await;
        world.setup.disk.set(Mode::Fail { written });
        assert_eq!(told(world.put(&put(1), 1).await), "host.outcome_unknown");
        let world = world.again().await;
        // The records know it.
        let left = if written { "door.quota_used_up" } else { "1" };
        assert_eq!(told(world.put(&put(2), 1).await), left, "written: {written}");
        assert_eq!(told(world.put(&put(1), 1).await), if written { "1, again" } else { "door.quota_used_up" });
    }
}

#[tokio::test]
async fn a_question_whose_record_is_all_there_is_counts_once() {
    let world = World::open().await;
    world.identify(quota("looks", "operator/*", "todo.list", 2, HOUR)).await;
    for _ in 0..3 {
        assert_eq!(word(world.door.witness(&look(1)).await), "allowed");
    }
    assert_eq!(word(world.door.witness(&look(2)).await), "allowed");
    assert_eq!(word(world.door.witness(&look(3)).await), "door.quota_used_up");
    assert_eq!(word(world.door.witness(&look(1)).await), "allowed", "a repeat of what was answered");
    assert_eq!(word(world.put(&put(1), 0).await), "allowed", "the same id may name a command");
}

/// One step of a random history.
#[derive(Clone, Debug)]
enum Step {
    /// By a client, the number of its command; some are refused by the machine.
    Put(u8, u8),
    Look(u8, u8),
    Later(u64),
    Again,
    /// Another limit.
    Limit(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..2_u8, 0..24_u8).prop_map(|(who, number)| Step::Put(who, number)),
        4 => (0..2_u8, 0..24_u8).prop_map(|(who, number)| Step::Look(who, number)),
        2 => (1..1_500_u64).prop_map(Step::Later),
        1 => Just(Step::Again),
        1 => (1..6_u64).prop_map(Step::Limit),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// The clients' own ledger is the judge: it knows nothing of how it is counted.
    #[test]
    fn never_more_than_so_many_in_a_window(steps in vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(history(steps)).unwrap();
    }
}

async fn history(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let window = Millis::seconds(2);
    let mut world = World::open().await;
    let secrets = [key(&world, ALPHA, 7).await, key(&world, "agent/beta", 8).await];
    let mut limit = 3;
    let each = |limit| quota("each", "agent/*", "todo.*", limit, window);
    world.identify(each(limit)).await;
    // By client and window: what was let in. By client, command and kind: what was answered, so that a repeat is known.
    let mut let_in = BTreeMap::<(u8, u64), u64>::new();
    let mut answered = BTreeMap::<(u8, u8, bool), u64>::new();
    let mut denied = BTreeSet::new();
    for step in steps {
        let now = world.now();
        let began = now.0 - now.0 % window.0;
        let (who, number, asked) = match step {
            Step::Later(span) => {
                world.later(Millis(span));
                continue;
            }
            Step::Again => {
                world = world.again().await;
                continue;
            }
            Step::Limit(other) => {
                limit = other;
                world.identify(each(limit)).await;
                continue;
            }
            Step::Put(who, number) => {
                let ask = by(secrets[usize::from(who)].expose(), put(128 + 64 * who + number));
                let things = if number.is_multiple_of(4) { FULL + 1 } else { 0 };
                (who, (number, true), word(world.put(&ask, things).await))
            }
            // What it was told no is on record under that id, so it asks again under another one.
            Step::Look(who, number) if denied.contains(&(who, number)) => continue,
            Step::Look(who, number) => {
                let ask = by(secrets[usize::from(who)].expose(), look(64 * who + number));
                (who, (number, false), word(world.door.witness(&ask).await))
            }
        };
        let key = (who, number.0, number.1);
        let used = let_in.entry((who, began)).or_default();
        match asked.as_str() {
            "allowed" if answered.contains_key(&key) => {}
            "allowed" => {
                answered.insert(key, began);
                *used += 1;
                prop_assert!(*used <= limit, "{} of {} in one window", used, limit);
            }
            "door.quota_used_up" => {
                prop_assert!(limit <= *used, "{} of {} were let in, and it is used up", used, limit);
                prop_assert!(!answered.contains_key(&key), "what was done stays answered");
                denied.extend((!number.1).then_some((who, number.0)));
            }
            "shelf.full" => {}
            other => prop_assert!(false, "{}", other),
        }
    }
    Ok(())
}
