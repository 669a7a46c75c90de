//! One row per answer that the proofs can give.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{
    CommandId, Context, Decision, Digest, Kind as Record, Machine, Millis, Position, Principal, Recorded, Refuse,
    Timestamp, Writer,
};
use proofs::{
    ACTION_MAX, ARGUMENT_MAX, Algorithm, Checked, Command, Expected, Filter, KEPT, KEY_MAX, LIFETIME_MAX, LIVE_MAX,
    NAME_MAX, NOTE_MAX, PATH_MAX, Proofs, RESOURCE_MAX, Refusal, Reply, Spend, State, TIMEOUT_MAX, URL_MAX,
    VERIFIERS_MAX, Verifier,
};
use serde::Serialize;

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const LIFE: Millis = Millis::minutes(5);
const ALPHA: &str = "agent/alpha";
const ROOT: &str = "operator/root";
const DOOR: &str = "internal/door";

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

/// What `who` says `after` noon.
fn at(who: &str, after: Millis) -> Context {
    let (now, decision) = (NOON + after, Decision::default());
    Context { now, command_id: CommandId(7), principal: principal(who), decision }
}

fn noon(who: &str) -> Context {
    at(who, Millis(0))
}

fn pinned(digest: u8) -> Verifier {
    Verifier::Digest { algorithm: Algorithm::Sha256, expected: Expected::Pinned(Digest([digest; 32])) }
}

fn declare(name: &str, verifier: Verifier) -> Command {
    Command::Declare { name: name.into(), verifier }
}

fn known() -> Command {
    declare("manifest", pinned(1))
}

fn withdraw() -> Command {
    Command::Withdraw { name: "manifest".into() }
}

fn checked(change: impl FnOnce(&mut Checked)) -> Command {
    let mut checked = Checked {
        proof: "manifest".into(),
        revision: 1,
        action: "retention.prune".into(),
        resource: "*".into(),
        content: Digest([1; 32]),
        target: Some(Digest([2; 32])),
        goal: Digest([3; 32]),
        evidence: Digest([4; 32]),
        expires_at: NOON + LIFE,
        note: "signed".into(),
    };
    change(&mut checked);
    Command::Receive(Box::new(checked))
}

fn receive() -> Command {
    checked(|_| ())
}

fn spend(change: impl FnOnce(&mut Spend)) -> Command {
    let mut spend = Spend {
        receipts: [1].into(),
        asker: principal(ALPHA),
        action: "retention.prune".into(),
        resource: "*".into(),
        content: Digest([1; 32]),
        target: Some(Digest([2; 32])),
        command: CommandId(9),
    };
    change(&mut spend);
    Command::Spend(spend)
}

fn exactly() -> Command {
    spend(|_| ())
}

fn release(command: u128) -> Command {
    Command::Release { command: CommandId(command) }
}

fn carry_out(proofs: &mut Proofs, cx: &Context, command: &Command) -> Reply {
    let outcome = proofs.decide(command, cx).unwrap();
    for event in &outcome.events {
        proofs.evolve(event, Position(0));
    }
    outcome.reply
}

/// What was said at noon, by whom.
fn after(said: &[(&str, Command)]) -> Proofs {
    let mut proofs = Proofs::default();
    for (who, command) in said {
        carry_out(&mut proofs, &noon(who), command);
    }
    proofs
}

struct Named;

impl Writer for Named {
    type Done = &'static str;

    fn put<T: Serialize>(self, kind: Record, _body: &T) -> &'static str {
        kind.name.strip_prefix("proofs.").unwrap()
    }
}

/// The names of the facts, or the code of the refusal.
fn answer(proofs: &Proofs, cx: &Context, command: &Command) -> Result<Vec<&'static str>, &'static str> {
    match proofs.decide(command, cx) {
        Ok(outcome) => Ok(outcome.events.iter().map(|event| event.write(Named)).collect()),
        Err(refusal) => {
            assert!(!refusal.remedy().is_empty() && !refusal.to_string().is_empty());
            Err(refusal.code().strip_prefix("proofs.").unwrap())
        }
    }
}

type Row<'a> = (&'a str, &'a Proofs, Context, Command, Result<Vec<&'static str>, &'static str>);

fn check(rows: &[Row<'_>]) {
    for (row, proofs, cx, command, expected) in rows {
        assert_eq!(answer(proofs, cx, command), *expected, "{row}");
    }
}

fn external(change: impl FnOnce(&mut String, &mut String, &mut Millis)) -> Command {
    let (mut url, mut key, mut timeout) = ("https://prover.example".into(), "prover+1+A".into(), TIMEOUT_MAX);
    change(&mut url, &mut key, &mut timeout);
    declare("p", Verifier::External { url, kernel: Digest([5; 32]), key, timeout })
}

#[test]
fn declare_answers() {
    let fresh = &Proofs::default();
    let once = &after(&[(ROOT, known())]);
    let gone = &after(&[(ROOT, known()), (ROOT, withdraw())]);
    let many: Vec<_> = (0..VERIFIERS_MAX).map(|number| (ROOT, declare(&format!("p{number}"), pinned(1)))).collect();
    let full = &after(&many);
    let files = |paths: Vec<String>| {
        let files: BTreeMap<_, _> = paths.into_iter().map(|path| (path, Digest([1; 32]))).collect();
        declare("m", Verifier::Manifest { files })
    };
    let argument = |length| {
        let expected = Expected::Argument("a".repeat(length));
        declare("d", Verifier::Digest { algorithm: Algorithm::Blake3, expected })
    };
    let signature = |length| declare("s", Verifier::Signature { root: "k".repeat(length) });
    let trace = |length| declare("t", Verifier::PolicyTrace { action: "a".repeat(length), within: None });
    let cx = || noon(ROOT);
    let declared = || Ok(vec!["declared"]);
    check(&[
        ("a digest", fresh, cx(), known(), declared()),
        ("the same again", once, cx(), known(), Ok(vec![])),
        ("another", once, cx(), declare("manifest", pinned(2)), declared()),
        ("after it was withdrawn", gone, cx(), known(), declared()),
        ("without a name", fresh, cx(), declare("", pinned(1)), Err("name")),
        ("with a long name", fresh, cx(), declare(&"a".repeat(NAME_MAX), pinned(1)), declared()),
        ("with too long a name", fresh, cx(), declare(&"a".repeat(NAME_MAX + 1), pinned(1)), Err("name")),
        ("with a name of two lines", fresh, cx(), declare("a\nb", pinned(1)), Err("name")),
        ("one too many", full, cx(), known(), Err("too_many_verifiers")),
        ("of many, another", full, cx(), declare("p0", pinned(2)), declared()),
        ("an argument", fresh, cx(), argument(ARGUMENT_MAX), declared()),
        ("no argument", fresh, cx(), argument(0), Err("empty")),
        ("too long an argument", fresh, cx(), argument(ARGUMENT_MAX + 1), Err("too_long")),
        ("a manifest", fresh, cx(), files(vec!["a".into()]), declared()),
        ("an empty manifest", fresh, cx(), files(vec![]), Err("empty")),
        ("an empty path", fresh, cx(), files(vec![String::new()]), Err("empty")),
        ("a long path", fresh, cx(), files(vec!["a".repeat(PATH_MAX)]), declared()),
        ("too long a path", fresh, cx(), files(vec!["a".repeat(PATH_MAX + 1)]), Err("too_long")),
        ("too long a manifest", fresh, cx(), files((0..1_000).map(|n| n.to_string()).collect()), Err("too_long")),
        ("a root", fresh, cx(), signature(KEY_MAX), declared()),
        ("no root", fresh, cx(), signature(0), Err("empty")),
        ("too long a root", fresh, cx(), signature(KEY_MAX + 1), Err("too_long")),
        ("a trace", fresh, cx(), trace(ACTION_MAX), declared()),
        ("a trace of nothing", fresh, cx(), trace(0), Err("empty")),
        ("a trace of too much", fresh, cx(), trace(ACTION_MAX + 1), Err("too_long")),
        ("a prover", fresh, cx(), external(|_, _, _| ()), declared()),
        ("a prover nowhere", fresh, cx(), external(|url, _, _| url.clear()), Err("empty")),
        ("a prover far away", fresh, cx(), external(|url, _, _| *url = "a".repeat(URL_MAX + 1)), Err("too_long")),
        ("a prover without a key", fresh, cx(), external(|_, key, _| key.clear()), Err("empty")),
        (
            "a prover with a long key",
            fresh,
            cx(),
            external(|_, key, _| *key = "a".repeat(KEY_MAX + 1)),
            Err("too_long"),
        ),
        ("a prover in no time", fresh, cx(), external(|_, _, time| time.0 = 0), Err("timeout_out_of_range")),
        ("a slow prover", fresh, cx(), external(|_, _, time| time.0 += 1), Err("timeout_out_of_range")),
        ("withdraw", once, cx(), withdraw(), Ok(vec!["withdrawn"])),
        ("withdraw nothing", fresh, cx(), withdraw(), Err("unknown_verifier")),
        ("withdraw again", gone, cx(), withdraw(), Err("unknown_verifier")),
    ]);
}

#[test]
fn receive_answers() {
    let fresh = &Proofs::default();
    let known = &after(&[(ROOT, self::known())]);
    let changed = &after(&[(ROOT, self::known()), (ROOT, declare("manifest", pinned(2)))]);
    let gone = &after(&[(ROOT, self::known()), (ROOT, withdraw())]);
    let mut many = vec![(ROOT, self::known())];
    many.extend((0..LIVE_MAX).map(|_| (ALPHA, receive())));
    let many = &after(&many);
    let cx = || noon(ALPHA);
    let later = checked(|checked| checked.expires_at = NOON + LIFE + LIFE);
    let ends = |at| checked(move |checked| checked.expires_at = at);
    let received = || Ok(vec!["received"]);
    check(&[
        ("receive", known, cx(), receive(), received()),
        ("without a verifier", fresh, cx(), receive(), Err("unknown_verifier")),
        ("by one that was withdrawn", gone, cx(), receive(), Err("unknown_verifier")),
        ("by one that has changed", changed, cx(), receive(), Err("verifier_changed")),
        ("by the one that it changed to", changed, cx(), checked(|checked| checked.revision = 2), received()),
        ("that has expired", known, cx(), ends(NOON), Err("lifetime_out_of_range")),
        ("for long", known, cx(), ends(NOON + LIFETIME_MAX), received()),
        ("for too long", known, cx(), ends(NOON + LIFETIME_MAX + Millis(1)), Err("lifetime_out_of_range")),
        ("one too many", many, cx(), receive(), Err("too_many")),
        ("by another", many, noon(ROOT), receive(), received()),
        ("once the others have expired", many, at(ALPHA, LIFE), later, received()),
        ("too long a note", known, cx(), checked(|c| c.note = "a".repeat(NOTE_MAX + 1)), Err("too_long")),
        ("too long a resource", known, cx(), checked(|c| c.resource = "a".repeat(RESOURCE_MAX + 1)), Err("too_long")),
        ("too long an action", known, cx(), checked(|c| c.action = "a".repeat(ACTION_MAX + 1)), Err("too_long")),
    ]);
}

#[test]
fn spend_answers() {
    let one = [(ROOT, known()), (ALPHA, receive())];
    let live = &after(&one);
    let with = |more: &[(&'static str, Command)]| after(&[&one[..], more].concat());
    let spent = &with(&[(DOOR, exactly())]);
    let returned = &with(&[(DOOR, exactly()), (DOOR, release(9))]);
    let void = &with(&[(ROOT, withdraw())]);
    let renewed = &with(&[(ROOT, withdraw()), (ROOT, known())]);
    let two = &with(&[(ALPHA, receive())]);
    let cx = || noon(DOOR);
    let late = || at(DOOR, LIFE);
    let in_time = at(DOOR, Millis(LIFE.0 - 1));
    let both = || spend(|spend| spend.receipts = [1, 2].into());
    let one_of_two = &after(&[(ROOT, known()), (ALPHA, receive()), (ALPHA, receive()), (DOOR, exactly())]);
    check(&[
        ("spend", live, cx(), exactly(), Ok(vec!["spent"])),
        ("by an operator", live, noon(ROOT), exactly(), Err("door_only")),
        ("by the asker", live, noon(ALPHA), exactly(), Err("door_only")),
        ("again, for the same command", spent, cx(), exactly(), Ok(vec![])),
        ("again, for another", spent, cx(), spend(|spend| spend.command = CommandId(8)), Err("used")),
        ("given back, for another", returned, cx(), spend(|spend| spend.command = CommandId(8)), Ok(vec!["spent"])),
        ("in time", live, in_time, exactly(), Ok(vec!["spent"])),
        ("too late", live, late(), exactly(), Err("expired")),
        ("spent in time, for an effect too late", spent, late(), exactly(), Err("expired")),
        ("of another", live, cx(), spend(|spend| spend.asker = principal(ROOT)), Err("not_yours")),
        ("for another content", live, cx(), spend(|spend| spend.content = Digest([9; 32])), Err("other_content")),
        ("for another action", live, cx(), spend(|spend| spend.action = "a.b".into()), Err("other_content")),
        ("for another resource", live, cx(), spend(|spend| spend.resource = "x".into()), Err("other_content")),
        ("on what has changed", live, cx(), spend(|spend| spend.target = None), Err("stale")),
        ("by a verifier that is gone", void, cx(), exactly(), Err("verifier_changed")),
        ("by a verifier that is the same again", renewed, cx(), exactly(), Err("verifier_changed")),
        ("what there is not", live, cx(), spend(|spend| spend.receipts = [2].into()), Err("unknown")),
        ("two at once", two, cx(), both(), Ok(vec!["spent", "spent"])),
        ("two at once, one of which there is not", live, cx(), both(), Err("unknown")),
        ("two at once, one of which is spent", one_of_two, cx(), both(), Ok(vec!["spent"])),
        ("none", live, cx(), spend(|spend| spend.receipts = BTreeSet::new()), Ok(vec![])),
        ("give back", spent, cx(), release(9), Ok(vec!["released"])),
        ("give back, as another", spent, noon(ROOT), release(9), Err("door_only")),
        ("give back what another holds", spent, cx(), release(8), Ok(vec![])),
        ("give back again", returned, cx(), release(9), Ok(vec![])),
        ("forget too early", live, at("internal/clock", KEPT), Command::Forget, Ok(vec![])),
        ("forget", live, at("internal/clock", Millis(KEPT.0 + LIFE.0)), Command::Forget, Ok(vec!["forgotten"])),
    ]);
}

#[test]
fn what_is_known() {
    let mut proofs = after(&[(ROOT, known()), (ALPHA, receive()), (ALPHA, receive()), (DOOR, exactly())]);
    let state = |proofs: &Proofs, number, now| proofs.show(number, now).unwrap().state;
    let Command::Spend(about) = exactly() else { panic!("it spends") };
    assert_eq!((state(&proofs, 1, NOON), state(&proofs, 2, NOON)), (State::Spent, State::Live));
    assert_eq!(state(&proofs, 2, NOON + LIFE), State::Expired);
    assert_eq!(proofs.live(NOON), 1);
    let found = |proofs: &Proofs, command: u128| {
        let about = Spend { command: CommandId(command), ..about.clone() };
        proofs.find("manifest", &about, NOON).unwrap().number
    };
    assert_eq!((found(&proofs, 9), found(&proofs, 8)), (1, 2), "what is held comes first");
    assert_eq!(proofs.find("other", &about, NOON), None);
    assert_eq!(proofs.proven(&about), ["manifest".to_owned()].into());
    assert_eq!(proofs.holder(CommandId(9)), Some(&principal(ALPHA)));
    assert_eq!(proofs.held(CommandId(9), "manifest", NOON).map(|receipt| receipt.number), Some(1));
    assert_eq!(proofs.held(CommandId(9), "other", NOON), None);
    let akin = |who: &str| proofs.akin("manifest", &principal(who), ("retention.prune", "*"), NOON);
    assert_eq!((akin(ALPHA).map(|receipt| receipt.number), akin(ROOT)), (Some(2), None));
    let listed = |filter: Filter| proofs.list(&filter, NOON).map(|receipt| receipt.number).collect::<Vec<_>>();
    assert_eq!(listed(Filter::default()), [1, 2]);
    assert_eq!(listed(Filter { state: Some(State::Spent), ..Filter::default() }), [1]);
    assert_eq!(listed(Filter { asker: Some(principal(ROOT)), ..Filter::default() }), [0; 0]);
    assert_eq!(listed(Filter { proof: Some("manifest".into()), ..Filter::default() }), [1, 2]);
    assert_eq!(listed(Filter { action: Some("a.b".into()), ..Filter::default() }), [0; 0]);
    carry_out(&mut proofs, &noon(ROOT), &withdraw());
    assert_eq!(state(&proofs, 2, NOON), State::Void);
    assert_eq!(proofs.show(2, NOON).unwrap().obstacle(), Some(Refusal::VerifierChanged));
    let until = proofs.deadline().unwrap();
    assert_eq!(until, NOON + LIFE + KEPT);
    assert_eq!((proofs.due(NOON), proofs.due(until)), (None, Some(Command::Forget)));
    carry_out(&mut proofs, &at("internal/clock", Millis(KEPT.0 + LIFE.0)), &Command::Forget);
    assert_eq!((proofs.show(1, until), proofs.holder(CommandId(9)), proofs.deadline()), (None, None, None));
}

/// What is signed says all of it, on lines that no resource can add to.
#[test]
fn what_is_signed_is_a_line_each() {
    let command = checked(|checked| checked.resource = "a\n\ntarget none\\".into());
    let proofs = after(&[(ROOT, known()), (ALPHA, command)]);
    let text = proofs.show(1, NOON).unwrap().text();
    let names: Vec<_> = text.lines().map(|line| line.split(' ').next().unwrap()).collect();
    let all = ["proof", "principal", "action", "resource", "content", "target", "goal", "verifier", "evidence"];
    assert_eq!(names[..9], all);
    assert_eq!(names[9..], ["check", "expires"]);
    assert!(text.contains("resource a\\u{a}\\u{a}target none\\u{5c}\n"), "{text}");
}
