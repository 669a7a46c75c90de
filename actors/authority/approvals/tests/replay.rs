//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use std::collections::BTreeSet;

use approvals::{Approvals, Event, State};
use kernel::{CommandId, Digest, Machine, Personal, Position, Recorded, Timestamp, json};
use serde_json::{Value, json};

const NOON: u64 = 1_800_000_000_000;

fn text(text: &str) -> Value {
    serde_json::to_value(Personal::plain(text)).unwrap()
}

fn command() -> CommandId {
    CommandId(7)
}

fn requested(number: u64) -> Value {
    json!({
        "number": number, "asker": "agent/alpha", "issuer": "operator/root", "action": "backup.drill", "resource": "backup-2",
        "content": "1".repeat(64), "target": "2".repeat(64), "arguments": text("{}"), "reason": text("why"), "needed": 1,
        "at": NOON, "expires_at": NOON + 900_000,
    })
}

fn of(number: u64, by: &str) -> Value {
    json!({ "number": number, "by": by, "at": NOON + 1 })
}

fn held(number: u64, at: bool) -> Value {
    let mut body = json!({ "number": number, "command": command() });
    if at {
        body["at"] = json!(NOON + 2);
    }
    body
}

/// As version 1 wrote it: one record of each kind at least.
fn journal() -> Vec<(u32, &'static str, Value)> {
    vec![
        (1050, "approvals.requested", requested(1)),
        (1050, "approvals.requested", requested(2)),
        (1050, "approvals.requested", requested(3)),
        (1050, "approvals.requested", requested(4)),
        (1050, "approvals.requested", requested(5)),
        (1051, "approvals.approved", of(1, "operator/anne")),
        (1051, "approvals.approved", of(1, "operator/bob")),
        (
            1052,
            "approvals.denied",
            json!({ "number": 2, "by": "operator/anne", "reason": text("not now"), "at": NOON + 1 }),
        ),
        (1053, "approvals.withdrawn", of(3, "agent/alpha")),
        (1054, "approvals.used", held(1, true)),
        (1055, "approvals.released", held(1, false)),
        (1054, "approvals.used", held(1, true)),
        (1056, "approvals.stale", json!({ "number": 4, "found": null, "at": NOON + 3 })),
        (1057, "approvals.expired", json!({ "number": 5 })),
    ]
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!(Approvals::NAME, "approvals", "the stream's name is on disk");

    let mut approvals = Approvals::default();
    for (kind, name, body) in journal() {
        let event = json::read((kind, 1), body.clone()).unwrap();
        let (written, again) = json::write(&event);
        assert_eq!((written.id, written.version, written.name), (kind, 1, name));
        assert_eq!(again, body, "{name} is written as it was read");
        approvals.evolve(&event, Position(0));
    }

    let now = Timestamp(NOON + 4);
    let request = |number| approvals.show(number, now).unwrap();
    let states: Vec<_> = (1..=5).map(|number| request(number).state).collect();
    // The clock wrote the last one; that it is over is for time to say.
    assert_eq!(states, [State::Used, State::Denied, State::Withdrawn, State::Stale, State::Pending]);
    let first = request(1);
    assert_eq!(
        (first.asker.to_string(), first.issuer.unwrap().to_string()),
        ("agent/alpha".into(), "operator/root".into())
    );
    assert_eq!((first.action.as_str(), first.resource.as_str(), first.needed), ("backup.drill", "backup-2", 1));
    assert_eq!((first.content, first.target), (Digest([0x11; 32]), Some(Digest([0x22; 32]))));
    assert_eq!((first.arguments, first.reason), (Personal::plain("{}"), Personal::plain("why")));
    assert_eq!((first.asked_at, first.expires_at), (Timestamp(NOON), Timestamp(NOON + 900_000)));
    let by: Vec<_> = first.approvals.iter().map(|approval| (approval.by.to_string(), approval.at)).collect();
    assert_eq!(by, [("operator/anne".into(), Timestamp(NOON + 1)), ("operator/bob".into(), Timestamp(NOON + 1))]);
    assert_eq!(first.used.map(|used| (used.command, used.at)), Some((command(), Timestamp(NOON + 2))));
    let end = request(2).end.unwrap();
    assert_eq!((end.how, end.by.unwrap().to_string()), (State::Denied, "operator/anne".into()));
    assert_eq!((end.reason, end.at), (Personal::plain("not now"), Timestamp(NOON + 1)));
    assert_eq!(request(4).end.unwrap().by, None);
    assert_eq!(approvals.deadline(), None);
}

#[test]
fn kinds_are_registered_once_and_others_are_refused() {
    let ids: BTreeSet<_> = Event::KINDS.iter().map(|kind| (kind.id, kind.version)).collect();
    assert_eq!(ids.len(), Event::KINDS.len());
    assert!(Event::KINDS.iter().all(|kind| (1050..1070).contains(&kind.id) && kind.name.starts_with("approvals.")));
    let written: BTreeSet<_> = journal().iter().map(|(kind, ..)| (*kind, 1)).collect();
    assert_eq!(written, ids, "one record of each kind is replayed");
    for kind in [(1049, 1), (1050, 2), (1058, 1)] {
        assert!(json::read::<Event>(kind, json!({})).is_err(), "{kind:?}");
    }
}

fn replay(records: Vec<(u32, Value)>) {
    let mut approvals = Approvals::default();
    for (kind, body) in records {
        approvals.evolve(&json::read((kind, 1), body).unwrap(), Position(0));
    }
}

#[test]
#[should_panic(expected = "numbered without a gap")]
fn a_journal_that_leaves_a_number_out_is_corrupt() {
    replay(vec![(1050, requested(2))]);
}

#[test]
#[should_panic(expected = "approved twice")]
fn a_journal_that_counts_one_twice_is_corrupt() {
    replay(vec![(1050, requested(1)), (1051, of(1, "operator/anne")), (1051, of(1, "operator/anne"))]);
}

#[test]
#[should_panic(expected = "only what is open is used")]
fn a_journal_that_uses_a_request_twice_is_corrupt() {
    replay(vec![(1050, requested(1)), (1054, held(1, true)), (1054, held(1, true))]);
}

#[test]
#[should_panic(expected = "only what is open is approved")]
fn a_journal_that_approves_what_has_ended_is_corrupt() {
    replay(vec![(1050, requested(1)), (1053, of(1, "agent/alpha")), (1051, of(1, "operator/anne"))]);
}

#[test]
#[should_panic(expected = "only who holds a use gives it back")]
fn a_journal_that_gives_back_what_is_not_held_is_corrupt() {
    replay(vec![(1050, requested(1)), (1055, held(1, false))]);
}
