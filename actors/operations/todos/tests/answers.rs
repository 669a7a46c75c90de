//! One row per answer that the todos can give.

use kernel::{
    CommandId, Context, Decision, Digest, Kind, Machine, Millis, Personal, Position, Principal, Recorded, Refuse,
    Timestamp, TokenId, Writer,
};
use serde::Serialize;
use todos::{CLAIM_LIFETIME, CLAIM_USES, Command, Event, Filter, Refusal, Reply, State, TodoId, Todos};

const NOON: Timestamp = Timestamp(1_800_000_000_000);

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

/// What `who` says `after` noon.
fn at(who: &str, after: Millis) -> Context {
    let (now, decision) = (NOON + after, Decision::default());
    Context { now, command_id: CommandId(7), principal: principal(who), decision }
}

fn by(who: &str) -> Context {
    at(who, Millis(0))
}

fn digest(number: u16) -> Digest {
    let mut bytes = [0; 32];
    bytes[..2].copy_from_slice(&number.to_be_bytes());
    Digest(bytes)
}

fn open(number: u16) -> Command {
    Command::Open { gap: digest(number), title: "no licence".into(), place: "crates/a".into() }
}

fn close(number: u16) -> Command {
    Command::Close { gap: digest(number) }
}

fn claim(todo: u64, holder: &str, token: u16) -> Command {
    Command::Claim {
        todo: TodoId(todo),
        holder: principal(holder),
        token: TokenId(token.into()),
        secret: digest(token),
    }
}

fn release(todo: u64) -> Command {
    Command::Release { todo: TodoId(todo) }
}

fn submit(todo: u64, note: &str) -> Command {
    Command::Submit { todo: TodoId(todo), note: Personal::plain(note) }
}

const SCAN: &str = "internal/scan";
const ALPHA: &str = "agent/alpha";
const BRAVO: &str = "agent/bravo";

fn carry_out(todos: &mut Todos, command: &Command, cx: &Context) -> Reply {
    let outcome = todos.decide(command, cx).unwrap();
    for event in &outcome.events {
        todos.evolve(event, Position(0));
    }
    outcome.reply
}

fn after(steps: &[(&str, Command)]) -> Todos {
    let mut todos = Todos::default();
    for (who, command) in steps {
        carry_out(&mut todos, command, &by(who));
    }
    todos
}

struct Named;

impl Writer for Named {
    type Done = &'static str;

    fn put<T: Serialize>(self, kind: Kind, _body: &T) -> &'static str {
        kind.name
    }
}

type Row<'a> = (&'a str, &'a Todos, Context, Command, Result<Vec<&'static str>, &'static str>);

fn check(rows: &[Row<'_>]) {
    for (row, todos, cx, command, expected) in rows {
        let answer = match todos.decide(command, cx) {
            Ok(outcome) => Ok(outcome.events.iter().map(|event| event.write(Named)).collect()),
            Err(refusal) => Err(refusal.code()),
        };
        assert_eq!(answer, *expected, "{row}");
    }
}

#[test]
fn scans_open_and_close() {
    let fresh = &Todos::default();
    let opened = &after(&[(SCAN, open(1))]);
    let claimed = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1))]);
    let closed = &after(&[(SCAN, open(1)), (SCAN, close(1))]);
    let asked = |title: usize, place: usize| Command::Open {
        gap: digest(1),
        title: "é".repeat(title),
        place: "é".repeat(place),
    };
    check(&[
        ("open", fresh, by(SCAN), open(1), Ok(vec!["todos.opened"])),
        ("open, in many words", fresh, by(SCAN), asked(200, 512), Ok(vec!["todos.opened"])),
        ("open, nowhere", fresh, by(SCAN), asked(1, 0), Ok(vec!["todos.opened"])),
        ("open again", opened, by(SCAN), open(1), Ok(vec![])),
        ("open again, in other words", claimed, by(SCAN), asked(5, 5), Ok(vec![])),
        ("open when it came back", closed, by(SCAN), open(1), Ok(vec!["todos.reopened"])),
        ("open another", opened, by(SCAN), open(2), Ok(vec!["todos.opened"])),
        ("open without title", fresh, by(SCAN), asked(0, 1), Err("todos.bad_title")),
        ("open with a long title", fresh, by(SCAN), asked(201, 1), Err("todos.bad_title")),
        ("open at a long place", fresh, by(SCAN), asked(1, 513), Err("todos.place_too_long")),
        ("open by an operator", fresh, by("operator/root"), open(1), Err("todos.scans_only")),
        ("open by an agent", fresh, by(ALPHA), open(1), Err("todos.scans_only")),
        ("close", opened, by(SCAN), close(1), Ok(vec!["todos.closed"])),
        ("close under its holder", claimed, by(SCAN), close(1), Ok(vec!["todos.closed"])),
        ("close again", closed, by(SCAN), close(1), Ok(vec![])),
        ("close the unknown", opened, by(SCAN), close(2), Err("todos.unknown_gap")),
        ("close by its holder", claimed, by(ALPHA), close(1), Err("todos.scans_only")),
    ]);
}

#[test]
fn claim_answers() {
    let opened = &after(&[(SCAN, open(1)), (SCAN, open(2))]);
    let claimed = &after(&[(SCAN, open(1)), (SCAN, open(2)), (ALPHA, claim(1, ALPHA, 1))]);
    let submitted = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1)), (ALPHA, submit(1, "done"))]);
    let released = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1)), (ALPHA, release(1))]);
    let closed = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1)), (SCAN, close(1))]);
    let (last, lapsed) = (Millis(CLAIM_LIFETIME.0 - 1), CLAIM_LIFETIME);
    let fact = || Ok(vec!["todos.claimed"]);
    let (todo, holder, token) = (TodoId(1), principal(ALPHA), TokenId(1));
    let other_secret = Command::Claim { todo, holder, token, secret: digest(2) };
    let known_secret = Command::Claim { todo, holder: principal(ALPHA), token: TokenId(2), secret: digest(1) };
    check(&[
        ("claim", opened, by(ALPHA), claim(1, ALPHA, 1), fact()),
        ("claim for another, as operator", opened, by("operator/root"), claim(1, ALPHA, 1), fact()),
        ("claim for another", opened, by(BRAVO), claim(1, ALPHA, 1), Err("todos.for_another")),
        ("claim for the authority", opened, by(SCAN), claim(1, SCAN, 1), Err("todos.internal_holder")),
        ("claim the unknown", opened, by(ALPHA), claim(3, ALPHA, 1), Err("todos.unknown")),
        ("claim again", claimed, at(ALPHA, last), claim(1, ALPHA, 1), Ok(vec![])),
        ("claim again when submitted", submitted, by(ALPHA), claim(1, ALPHA, 1), Ok(vec![])),
        ("claim again, another token", claimed, by(ALPHA), claim(1, ALPHA, 2), Err("todos.claimed_otherwise")),
        ("claim again, another secret", claimed, by(ALPHA), other_secret, Err("todos.claimed_otherwise")),
        ("claim what is held", claimed, at(BRAVO, last), claim(1, BRAVO, 2), Err("todos.claimed")),
        ("claim what is submitted", submitted, by(BRAVO), claim(1, BRAVO, 2), Err("todos.claimed")),
        (
            "claim what lapsed",
            claimed,
            at(BRAVO, lapsed),
            claim(1, BRAVO, 2),
            Ok(vec!["todos.lapsed", "todos.claimed"]),
        ),
        ("claim again what lapsed", claimed, at(ALPHA, lapsed), claim(1, ALPHA, 1), Err("todos.token_taken")),
        ("claim what was released", released, by(BRAVO), claim(1, BRAVO, 2), fact()),
        ("claim with a token that served", released, by(BRAVO), claim(1, BRAVO, 1), Err("todos.token_taken")),
        ("claim with a secret that served", released, by(ALPHA), known_secret, Err("todos.token_taken")),
        ("claim a second with one token", claimed, by(ALPHA), claim(2, ALPHA, 1), Err("todos.token_taken")),
        ("claim a second", claimed, by(ALPHA), claim(2, ALPHA, 2), fact()),
        ("claim what is closed", closed, by(ALPHA), claim(1, ALPHA, 2), Err("todos.closed")),
    ]);
    let reply = |todos: &Todos, cx| todos.decide(&claim(1, ALPHA, 1), &cx).unwrap().reply;
    let first = Reply::Claimed { todo: TodoId(1), token: TokenId(1), expires_at: NOON + CLAIM_LIFETIME };
    assert_eq!(reply(opened, by(ALPHA)), first);
    assert_eq!(reply(claimed, at(ALPHA, last)), first, "a repeat gets the first answer");
}

#[test]
fn release_answers() {
    let opened = &after(&[(SCAN, open(1))]);
    let claimed = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1))]);
    let closed = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1)), (SCAN, close(1))]);
    check(&[
        ("release", claimed, by(ALPHA), release(1), Ok(vec!["todos.released"])),
        ("release as operator", claimed, by("operator/root"), release(1), Ok(vec!["todos.released"])),
        ("release another's", claimed, by(BRAVO), release(1), Err("todos.not_holder")),
        ("release as a part of the authority", claimed, by(SCAN), release(1), Err("todos.not_holder")),
        ("release what is free", opened, by(ALPHA), release(1), Ok(vec![])),
        ("release what lapsed", claimed, at(BRAVO, CLAIM_LIFETIME), release(1), Ok(vec![])),
        ("release what is closed", closed, by(ALPHA), release(1), Ok(vec![])),
        ("release the unknown", opened, by(ALPHA), release(2), Err("todos.unknown")),
    ]);
}

#[test]
fn submit_answers() {
    let opened = &after(&[(SCAN, open(1))]);
    let claimed = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1))]);
    let submitted = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1)), (ALPHA, submit(1, "done"))]);
    let closed = &after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1)), (SCAN, close(1))]);
    let (long, too_long) = ("é".repeat(500), "é".repeat(501));
    check(&[
        ("submit", claimed, by(ALPHA), submit(1, "done"), Ok(vec!["todos.submitted"])),
        ("submit in many words", claimed, by(ALPHA), submit(1, &long), Ok(vec!["todos.submitted"])),
        ("submit in too many", claimed, by(ALPHA), submit(1, &too_long), Err("todos.note_too_long")),
        ("submit again", submitted, by(ALPHA), submit(1, "done"), Ok(vec![])),
        ("submit in other words", submitted, by(ALPHA), submit(1, "really"), Ok(vec!["todos.submitted"])),
        ("submit another's", claimed, by(BRAVO), submit(1, "done"), Err("todos.not_holder")),
        ("submit for another", claimed, by("operator/root"), submit(1, "done"), Err("todos.not_holder")),
        ("submit what nobody holds", opened, by(ALPHA), submit(1, "done"), Err("todos.not_holder")),
        ("submit what lapsed", claimed, at(ALPHA, CLAIM_LIFETIME), submit(1, "done"), Err("todos.not_holder")),
        ("submit what is closed", closed, by(ALPHA), submit(1, "done"), Err("todos.closed")),
        ("submit the unknown", opened, by(ALPHA), submit(2, "done"), Err("todos.unknown")),
    ]);
}

#[test]
fn the_clock_answers() {
    let mut todos = Todos::default();
    for number in 1..=257 {
        carry_out(&mut todos, &open(number), &by(SCAN));
        carry_out(&mut todos, &claim(number.into(), ALPHA, number), &by(ALPHA));
    }
    let (early, due) = (Millis(CLAIM_LIFETIME.0 - 1), CLAIM_LIFETIME);
    check(&[
        ("nothing is due", &todos, at("internal/clock", early), Command::LapseClaims, Ok(vec![])),
        (
            "as much as one command records",
            &todos,
            at("internal/clock", due),
            Command::LapseClaims,
            Ok(vec!["todos.lapsed"; 256]),
        ),
    ]);
    assert_eq!(todos.deadline(), Some(NOON + due));
    assert_eq!(todos.due(NOON + early), None);
    assert_eq!(todos.due(NOON + due), Some(Command::LapseClaims));
    let reply = carry_out(&mut todos, &Command::LapseClaims, &at("internal/clock", due));
    assert_eq!(reply, Reply::Lapsed { claims: 256 });
    assert_eq!(todos.due(NOON + due), Some(Command::LapseClaims), "one is left");
    let reply = carry_out(&mut todos, &Command::LapseClaims, &at("internal/clock", due));
    assert_eq!((reply, todos.deadline()), (Reply::Lapsed { claims: 1 }, None));
}

/// What the routes to the token authority live on.
#[test]
fn facts_say_what_authority_they_grant_and_end() {
    let mut todos = Todos::default();
    let mut facts = Vec::new();
    for (cx, command) in [
        (by(SCAN), open(1)),
        (by(ALPHA), claim(1, ALPHA, 1)),
        (by(ALPHA), submit(1, "done")),
        (by(ALPHA), release(1)),
        (by(ALPHA), claim(1, ALPHA, 2)),
        (at(BRAVO, CLAIM_LIFETIME), claim(1, BRAVO, 3)),
        (at(SCAN, CLAIM_LIFETIME), close(1)),
        (at(SCAN, CLAIM_LIFETIME), open(1)),
    ] {
        for event in todos.decide(&command, &cx).unwrap().events {
            todos.evolve(&event, Position(0));
            let grants = event.grants().map(|claimed| claimed.token.0);
            facts.push((event.write(Named), grants, event.ends_authority()));
        }
    }
    let ends = Some(TodoId(1));
    assert_eq!(
        facts,
        [
            ("todos.opened", None, None),
            ("todos.claimed", Some(1), None),
            ("todos.submitted", None, None),
            ("todos.released", None, ends),
            ("todos.claimed", Some(2), None),
            ("todos.lapsed", None, ends),
            ("todos.claimed", Some(3), None),
            ("todos.closed", None, ends),
            ("todos.reopened", None, ends),
        ]
    );
}

#[test]
fn a_claim_holds_all_that_its_token_needs() {
    let todos = after(&[(SCAN, open(1))]);
    let outcome = todos.decide(&claim(1, ALPHA, 5), &by("operator/root")).unwrap();
    let [Event::Claimed(claimed)] = &outcome.events[..] else { panic!("{outcome:?}") };
    assert_eq!(claimed.principal(), principal(ALPHA));
    assert_eq!((claimed.todo, claimed.token, claimed.secret), (1, TokenId(5), digest(5)));
    assert_eq!((claimed.lifetime, claimed.uses), (CLAIM_LIFETIME, CLAIM_USES));
}

#[test]
fn what_is_listed_and_shown() {
    let todos = after(&[
        (SCAN, open(1)),
        (SCAN, open(2)),
        (SCAN, open(3)),
        (SCAN, open(4)),
        (ALPHA, claim(2, ALPHA, 1)),
        (BRAVO, claim(3, BRAVO, 2)),
        (BRAVO, submit(3, "done")),
        (SCAN, close(4)),
    ]);
    let ids_at = |after: Millis, state, holder: Option<&str>| {
        let filter = Filter { state, holder: holder.map(principal) };
        todos.list(&filter, NOON + after).map(|todo| todo.id.0).collect::<Vec<_>>()
    };
    let ids = |state, holder| ids_at(Millis(0), state, holder);
    assert_eq!(ids(None, None), [1, 2, 3, 4]);
    assert_eq!(ids(Some(State::Open), None), [1]);
    assert_eq!(ids(Some(State::Claimed), None), [2]);
    assert_eq!(ids(Some(State::Submitted), None), [3]);
    assert_eq!(ids(Some(State::Closed), None), [4]);
    assert_eq!(ids(None, Some(BRAVO)), [3]);
    assert!(ids(Some(State::Claimed), Some(BRAVO)).is_empty());
    assert_eq!(ids_at(CLAIM_LIFETIME, Some(State::Open), None), [1, 2, 3], "no clock is waited for");
    assert!(ids_at(CLAIM_LIFETIME, None, Some(BRAVO)).is_empty());

    let third = todos.by_gap(digest(3), NOON).unwrap();
    assert_eq!(third.id, TodoId(3));
    assert_eq!(third.claim.unwrap().note, Some(Personal::plain("done")));
    assert_eq!(todos.by_gap(digest(5), NOON), None);
    assert_eq!(todos.show(TodoId(5), NOON), None);
}

#[test]
fn a_gap_that_comes_back_has_its_todo_and_its_history() {
    let mut todos = after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1))]);
    let hour = |hours| at(SCAN, Millis::hours(hours));
    carry_out(&mut todos, &close(1), &hour(1));
    let moved = Command::Open { gap: digest(1), title: "no licence".into(), place: "crates/b".into() };
    assert_eq!(carry_out(&mut todos, &moved, &hour(2)), Reply::Opened { todo: TodoId(1) });
    let todo = todos.show(TodoId(1), NOON + Millis::hours(2)).unwrap();
    assert_eq!((todo.state, todo.claim, todo.reopened), (State::Open, None, 1));
    assert_eq!((todo.opened_at, todo.closed_at), (NOON, Some(NOON + Millis::hours(1))));
    assert_eq!(todo.place, "crates/b");
}

#[test]
fn a_todo_is_named_in_two_ways() {
    assert_eq!(TodoId(17).to_string(), "todo-17");
    for text in ["todo-17", "17"] {
        assert_eq!(text.parse(), Ok(TodoId(17)), "{text}");
    }
    for text in ["", "todo-", "todo", "+17", "todo-+17", "-1", "todo-todo-1", "17 ", "99999999999999999999"] {
        assert!(text.parse::<TodoId>().is_err(), "{text}");
    }
    assert_eq!(serde_json::to_string(&TodoId(17)).unwrap(), "\"todo-17\"");
    assert_eq!(serde_json::from_str::<TodoId>("\"17\"").unwrap(), TodoId(17));
}

#[test]
fn who_holds_a_todo_is_told() {
    let todos = after(&[(SCAN, open(1)), (ALPHA, claim(1, ALPHA, 1))]);
    let refusal = todos.decide(&claim(1, BRAVO, 2), &by(BRAVO)).unwrap_err();
    let until = NOON + CLAIM_LIFETIME;
    assert_eq!(refusal, Refusal::Claimed { todo: TodoId(1), holder: principal(ALPHA), until });
    assert_eq!(refusal.to_string(), "todo-1 is claimed by agent/alpha until its claim ends");
}
