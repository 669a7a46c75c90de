//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use std::collections::BTreeSet;

use kernel::{Digest, Machine, Personal, Position, Recorded, Timestamp, TokenId, json};
use serde_json::{Value, json};
use todos::{Event, State, TodoId, Todos};

const NOON: u64 = 1_800_000_000_000;
const TWO_DAYS: u64 = 172_800_000;

fn opened(todo: u64) -> Value {
    json!({ "todo": todo, "gap": todo.to_string().repeat(64), "title": "no licence", "place": "a", "at": NOON })
}

fn claimed(todo: u64, token: u64) -> Value {
    json!({
        "todo": todo, "holder": "agent/alpha", "token": format!("00000000-0000-0000-0000-00000000000{token}"),
        "secret": token.to_string().repeat(64), "lifetime": TWO_DAYS, "uses": 100,
        "at": NOON + 1, "expires_at": NOON + 1 + TWO_DAYS,
    })
}

/// As version 1 wrote it: one record of each kind at least.
fn journal() -> Vec<(u32, &'static str, Value)> {
    vec![
        (400, "todos.opened", opened(1)),
        (400, "todos.opened", opened(2)),
        (400, "todos.opened", opened(3)),
        (402, "todos.claimed", claimed(1, 1)),
        (404, "todos.submitted", json!({ "todo": 1, "note": "done" })),
        (402, "todos.claimed", claimed(2, 2)),
        (403, "todos.released", json!({ "todo": 2 })),
        (402, "todos.claimed", claimed(2, 3)),
        (405, "todos.closed", json!({ "todo": 2, "at": NOON + 2 })),
        (401, "todos.reopened", json!({ "todo": 2, "title": "no licence", "place": "b", "at": NOON + 3 })),
        (402, "todos.claimed", claimed(3, 4)),
        (406, "todos.lapsed", json!({ "todo": 3 })),
    ]
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!(Todos::NAME, "todos", "the stream's name is on disk");

    let mut todos = Todos::default();
    for (kind, name, body) in journal() {
        let event = json::read((kind, 1), body.clone()).unwrap();
        let (written, again) = json::write(&event);
        assert_eq!((written.id, written.name), (kind, name));
        assert!(written.version == 2 || again == body, "{name} is written as it was read");
        todos.evolve(&event, Position(0));
    }

    let todo = |id| todos.show(TodoId(id), Timestamp(NOON + 4)).unwrap();
    assert_eq!([1, 2, 3].map(|id| todo(id).state), [State::Submitted, State::Open, State::Open]);
    let claim = todo(1).claim.unwrap();
    assert_eq!(
        (claim.holder.to_string(), claim.token, claim.note),
        ("agent/alpha".into(), TokenId(1), Some(Personal::plain("done")))
    );
    assert_eq!((claim.claimed_at, claim.expires_at), (Timestamp(NOON + 1), Timestamp(NOON + 1 + TWO_DAYS)));
    let second = todo(2);
    assert_eq!((second.title.as_str(), second.place.as_str(), second.reopened), ("no licence", "b", 1));
    assert_eq!((second.opened_at, second.closed_at), (Timestamp(NOON), Some(Timestamp(NOON + 2))));
    assert_eq!(todos.by_gap(Digest([0x33; 32]), Timestamp(NOON)).unwrap().id, TodoId(3));
    assert_eq!(todos.deadline(), Some(claim.expires_at));
}

/// Version 2 seals the text; one of version 1 is lifted, and stays what it was.
#[test]
fn a_text_of_version_1_is_lifted() {
    let old: Event = json::read((404, 1), json!({ "todo": 1, "note": "done" })).unwrap();
    let (kind, body) = json::write(&old);
    assert_eq!((kind.id, kind.version), (404, 2));
    let plain = json!({ "subject": "", "characters": 4, "sealed": b"done" });
    assert_eq!(body["note"], plain);
    assert_eq!(json::read((404, 2), body), Ok(old));
}

#[test]
fn kinds_are_registered_once_and_others_are_refused() {
    let ids: BTreeSet<_> = Event::KINDS.iter().map(|kind| (kind.id, kind.version)).collect();
    assert_eq!(ids.len(), Event::KINDS.len());
    let ids: BTreeSet<_> = ids.into_iter().filter(|(_, version)| *version == 1).collect();
    assert!(Event::KINDS.iter().all(|kind| (400..500).contains(&kind.id) && kind.name.starts_with("todos.")));
    let written: BTreeSet<_> = journal().iter().map(|(kind, ..)| (*kind, 1)).collect();
    assert_eq!(written, ids, "one record of each kind is replayed");
    for kind in [(399, 1), (400, 2), (407, 1)] {
        assert!(json::read::<Event>(kind, json!({})).is_err(), "{kind:?}");
    }
}

fn replay(records: Vec<(u32, Value)>) {
    let mut todos = Todos::default();
    for (kind, body) in records {
        todos.evolve(&json::read((kind, 1), body).unwrap(), Position(0));
    }
}

#[test]
#[should_panic(expected = "todo-1 was claimed twice")]
fn a_journal_with_two_holders_is_corrupt() {
    replay(vec![(400, opened(1)), (402, claimed(1, 1)), (402, claimed(1, 2))]);
}

#[test]
#[should_panic(expected = "todos are numbered in order")]
fn a_journal_that_leaves_a_number_out_is_corrupt() {
    replay(vec![(400, opened(2))]);
}

#[test]
#[should_panic(expected = "todo-1 was closed twice")]
fn a_journal_that_closes_twice_is_corrupt() {
    let closed = json!({ "todo": 1, "at": NOON });
    replay(vec![(400, opened(1)), (405, closed.clone()), (405, closed)]);
}
