//! One row per answer that can be given about subscriptions.

use kernel::{CommandId, Context, Decision, Machine, Position, Principal, Refuse, Timestamp};
use subscriptions::{Command, Event, OWNED_MAX, Refusal, Reply, SUBSCRIPTIONS_MAX, Subscriptions, WANTED_MAX, Wanted};

const ALPHA: &str = "agent/alpha";
const BETA: &str = "agent/beta";
const ROOT: &str = "operator/root";

fn context(who: &str) -> Context {
    let principal: Principal = who.parse().unwrap();
    Context { now: Timestamp(1_000), command_id: CommandId(1), principal, decision: Decision::default() }
}

fn after(history: &[(&str, Command)]) -> Subscriptions {
    let mut subscriptions = Subscriptions::default();
    for (who, command) in history {
        let outcome = subscriptions.decide(command, &context(who)).expect("a row's history is not refused");
        for event in &outcome.events {
            subscriptions.evolve(event, Position(0));
        }
    }
    subscriptions
}

fn of(streams: &[&str], kinds: &[u32]) -> Wanted {
    let streams = streams.iter().map(|stream| (*stream).to_owned()).collect();
    Wanted { streams, kinds: kinds.iter().copied().collect() }
}

fn create(name: &str) -> Command {
    Command::Create { name: name.into(), wanted: of(&["todos"], &[400]), from: Some(8), head: 50 }
}

fn ack(position: u64, given: bool) -> Command {
    Command::Acknowledge { name: "one".into(), position, given }
}

fn delete(name: &str) -> Command {
    Command::Delete { name: name.into() }
}

fn told(event: &Event) -> &'static str {
    match event {
        Event::Created(_) => "created",
        Event::Acknowledged(_) => "acknowledged",
        Event::Deleted(_) => "deleted",
    }
}

#[test]
fn decide() {
    let none = after(&[]);
    let one = after(&[(ALPHA, create("one"))]);
    let moved = after(&[(ALPHA, create("one")), (ALPHA, ack(20, true))]);
    let gone = after(&[(ALPHA, create("one")), (ALPHA, ack(20, true)), (ALPHA, delete("one"))]);
    let name = || "one".to_owned();
    let (unknown, foreign, taken) =
        (Refusal::Unknown { name: name() }, Refusal::Foreign { name: name() }, Refusal::Taken { name: name() });
    let other = Command::Create { name: name(), wanted: of(&[], &[]), from: None, head: 50 };
    let of_todos = |from| Command::Create { name: name(), wanted: of(&["todos"], &[400]), from, head: 50 };
    let many: Vec<_> = (0..=WANTED_MAX).map(|number| u32::try_from(number).unwrap()).collect();
    let greedy = |wanted| Command::Create { name: name(), wanted, from: None, head: 50 };
    let long = "s".repeat(65);
    for (row, subscriptions, who, command, answer) in [
        ("create", &none, ALPHA, create("one"), Ok((7, "created"))),
        ("create again", &one, ALPHA, create("one"), Ok((7, ""))),
        ("create again, from elsewhere: it goes on", &moved, ALPHA, of_todos(Some(1)), Ok((20, ""))),
        ("from the beginning", &none, ALPHA, of_todos(Some(1)), Ok((0, "created"))),
        ("from before it", &none, ALPHA, of_todos(Some(0)), Ok((0, "created"))),
        ("from now on", &none, ALPHA, of_todos(None), Ok((50, "created"))),
        ("from the next one", &none, ALPHA, of_todos(Some(51)), Ok((50, "created"))),
        ("from beyond", &none, ALPHA, of_todos(Some(52)), Err(Refusal::Ahead { head: 50 })),
        ("create of others' name", &one, BETA, create("one"), Err(taken.clone())),
        ("create with other wishes", &one, ALPHA, other, Err(taken)),
        ("create what was deleted", &gone, BETA, create("one"), Ok((7, "created"))),
        ("no name", &none, ALPHA, create(""), Err(Refusal::Name { name: String::new() })),
        ("no name either", &none, ALPHA, create("a b"), Err(Refusal::Name { name: "a b".into() })),
        ("too many kinds", &none, ALPHA, greedy(of(&[], &many)), Err(Refusal::TooMuchWanted)),
        ("too long a stream", &none, ALPHA, greedy(of(&[&long], &[])), Err(Refusal::TooMuchWanted)),
        ("acknowledge", &one, ALPHA, ack(9, true), Ok((9, "acknowledged"))),
        ("acknowledge again", &moved, ALPHA, ack(20, true), Ok((20, ""))),
        ("acknowledge less", &moved, ALPHA, ack(8, true), Ok((20, ""))),
        ("acknowledge what was, after a start", &moved, ALPHA, ack(20, false), Ok((20, ""))),
        ("not given", &one, ALPHA, ack(9, false), Err(Refusal::NotGiven { name: name(), position: 9 })),
        ("acknowledge others'", &one, BETA, ack(9, true), Err(foreign.clone())),
        ("an operator does not acknowledge others'", &one, ROOT, ack(9, true), Err(foreign.clone())),
        ("acknowledge none", &none, ALPHA, ack(9, true), Err(unknown.clone())),
        ("delete", &moved, ALPHA, delete("one"), Ok((20, "deleted"))),
        ("delete others'", &one, BETA, delete("one"), Err(foreign)),
        ("an operator deletes others'", &one, ROOT, delete("one"), Ok((7, "deleted"))),
        ("delete none", &gone, ALPHA, delete("one"), Err(unknown)),
    ] {
        let decided = subscriptions.decide(&command, &context(who));
        let decided = decided.map(|outcome| {
            let Reply { position } = outcome.reply;
            (position, outcome.events.first().map_or("", told))
        });
        assert_eq!(decided, answer, "{row}");
    }
}

#[test]
fn there_is_a_bound_for_each_and_for_all() {
    let mut history = Vec::new();
    let owners: Vec<_> = (0..SUBSCRIPTIONS_MAX / OWNED_MAX).map(|owner| format!("agent/{owner}")).collect();
    for owner in &owners {
        history.extend((0..OWNED_MAX).map(|number| (owner.as_str(), create(&format!("{}.{number}", &owner[6..])))));
    }
    let one_owner = after(&history[..OWNED_MAX]);
    let max = |max| Err(Refusal::TooMany { max });
    assert_eq!(one_owner.decide(&create("more"), &context(&owners[0])).map(|_| ()), max(OWNED_MAX as u64));
    assert!(one_owner.decide(&create("more"), &context(&owners[1])).is_ok());
    assert_eq!(after(&history).decide(&create("more"), &context(BETA)).map(|_| ()), max(SUBSCRIPTIONS_MAX as u64));
}

#[test]
fn who_reads_and_how_far_they_are() {
    let two = after(&[(ALPHA, create("one")), (BETA, create("two")), (ALPHA, ack(20, true))]);
    let may = |name, who: &str| two.readable(name, &who.parse().unwrap()).map(|known| known.position);
    assert_eq!(may("one", ALPHA), Ok(20));
    assert_eq!(may("one", BETA), Err(Refusal::Foreign { name: "one".into() }));
    assert_eq!(may("one", ROOT), Err(Refusal::Foreign { name: "one".into() }));
    assert_eq!(may("three", ALPHA), Err(Refusal::Unknown { name: "three".into() }));
    assert_eq!(two.furthest_behind(), (2, Some(7)));
    assert_eq!(Subscriptions::default().furthest_behind(), (0, None));
    let listed: Vec<_> = two.list().map(|(name, known)| (name, known.owner.to_string(), known.position)).collect();
    assert_eq!(listed, [("one", ALPHA.to_owned(), 20), ("two", BETA.to_owned(), 7)]);
}

#[test]
fn each_refusal_has_its_code_and_a_remedy() {
    let name = || "one".to_owned();
    let all = [
        Refusal::Name { name: name() },
        Refusal::Taken { name: name() },
        Refusal::Unknown { name: name() },
        Refusal::Foreign { name: name() },
        Refusal::NotGiven { name: name(), position: 9 },
        Refusal::Ahead { head: 9 },
        Refusal::TooMany { max: 100 },
        Refusal::TooMuchWanted,
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(Refuse::code).collect();
    assert_eq!(codes.len(), all.len());
    assert!(codes.iter().all(|code| code.starts_with("subscriptions.")));
    assert!(all.iter().all(|refusal| refusal.remedy().ends_with(['.', '-'])));
}

/// How things stand is not what is asked: a repeat must not be taken for another command.
#[test]
fn a_repeat_is_the_same_command_however_things_stand() {
    let create = |head| Command::Create { name: "one".into(), wanted: of(&[], &[]), from: None, head };
    let bytes = |command: Command| journal::codec::canonical(&command).unwrap();
    assert_eq!(bytes(create(7)), bytes(create(8)));
    assert_eq!(bytes(ack(9, true)), bytes(ack(9, false)));
    assert_ne!(bytes(ack(9, true)), bytes(ack(10, true)));
}
