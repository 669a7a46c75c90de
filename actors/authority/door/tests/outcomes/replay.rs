//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use door::outcomes::{Counts, Ended, Event, Outcomes};
use kernel::{Kind, Machine, Position, Recorded, json};
use serde_json::{Value, json};

const COMMAND: &str = "0190c3a2-7b5e-7cc3-98c4-dc0c0c073990";

fn opened(number: u64, thing: &str) -> (u32, &'static str, Value) {
    let body = json!({
        "number": number, "operation": COMMAND, "stream": "backup", "thing": thing, "action": "backup.create",
        "resource": "*", "principal": "operator/root", "began": 1_700_000_000_000_u64,
        "deadline": 1_700_000_060_000_u64,
    });
    (502, "operation.opened", body)
}

fn closed(number: u64, outcome: u8, code: &str, corrects: bool, forgets: Option<u64>) -> (u32, &'static str, Value) {
    let body = json!({
        "number": number, "operation": COMMAND, "stream": "backup", "outcome": outcome, "code": code,
        "corrects": corrects, "forgets": forgets, "at": 1_700_000_060_000_u64,
    });
    (503, "operation.closed", body)
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!(Outcomes::NAME, "outcomes", "the stream's name is on disk");
    let mut outcomes = Outcomes::default();
    let mut seen = Vec::new();
    let ends = |event: &Event| match event {
        Event::Opened(_) => None,
        Event::Closed(closed) => Some(closed.ended()),
    };
    let mut ended = Vec::new();
    for (at, (id, name, body)) in (1..).zip([
        opened(1, "backup-1 make"),
        opened(2, ""),
        opened(3, "backup-2 make"),
        opened(4, ""),
        closed(1, 2, "", false, None),
        closed(1, 1, "backup.failed", true, None),
        closed(2, 0, "", false, None),
        closed(3, 2, "", false, None),
        // The oldest of those that are unknown is forgotten.
        closed(4, 2, "", false, Some(3)),
    ]) {
        let event: Event = json::read((id, 1), body.clone()).unwrap();
        let (kind, written) = json::write(&event);
        assert_eq!((kind.id, kind.version, kind.name, written), (id, 1, name, body), "it is written as it was");
        ended.extend(ends(&event));
        outcomes.evolve(&event, Position(at));
        seen.push(Kind { id, version: 1, name });
    }
    seen.dedup();
    assert_eq!(seen, Event::KINDS, "every kind has a row");
    let failed = Ended::Failed { code: "backup.failed".into() };
    assert_eq!(ended, [Ended::Unknown, failed, Ended::Succeeded, Ended::Unknown, Ended::Unknown]);
    assert_eq!(outcomes.counts(), Counts { succeeded: 1, failed: 1, unknown: 3, corrected: 1 });
    assert_eq!(outcomes.unknown().map(|one| one.number).collect::<Vec<_>>(), [4]);
    assert_eq!(outcomes.open().count(), 0);
}

#[test]
fn a_kind_that_was_never_registered_is_not_read() {
    for kind in [(500, 1), (502, 2), (503, 0), (504, 1)] {
        let error = json::read::<Event>(kind, json!({})).unwrap_err();
        assert_eq!(error, "a kind that was never registered", "{kind:?}");
    }
}

#[test]
#[should_panic(expected = "only what is open is closed")]
fn a_journal_that_closes_what_is_not_open_is_corrupt() {
    let (id, _, body) = closed(1, 0, "", false, None);
    Outcomes::default().evolve(&json::read((id, 1), body).unwrap(), Position(1));
}
