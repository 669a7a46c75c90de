//! What yesterday's records mean.

mod written;

use gaps::{Counts, Event, GAP_OPENED, GapId, Gaps, Kind, State};
use kernel::{Digest, Machine, Position, Recorded, Timestamp, json};
use serde_json::{Value, json};
use written::written_and_read;

const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The bodies of version 1, never edited.
const V1: [(u32, &str); 8] = [
    (300, r#"{"scan":1,"root":"/a","at":10}"#),
    (
        301,
        r#"{"gap":1,"scan":1,"fingerprint":"F","kind":4,"root":"/a","path":"b.rs","line":3,"detail":"TODO","at":11}"#,
    ),
    (
        304,
        r#"{"scan":1,"root":"/a","opened":1,"reopened":0,"closed":0,"files":2,"bytes":9,"skipped":1,"unread":1,"truncated":true,"open":1,"at":12}"#,
    ),
    (300, r#"{"scan":2,"root":"/a","at":20}"#),
    (
        303,
        r#"{"gap":1,"scan":2,"fingerprint":"F","kind":4,"root":"/a","path":"b.rs","line":3,"detail":"TODO","at":21}"#,
    ),
    (305, r#"{"scan":2,"root":"/a","why":"stopped","at":22}"#),
    (300, r#"{"scan":3,"root":"/a","at":30}"#),
    (
        302,
        r#"{"gap":1,"scan":3,"fingerprint":"F","kind":4,"root":"/a","path":"b.rs","line":5,"detail":" TODO","at":31}"#,
    ),
];

fn body(text: &str) -> Value {
    text.replace('F', ZERO).parse().unwrap()
}

fn event((id, text): (u32, &str)) -> Event {
    json::read((id, 1), body(text)).unwrap()
}

fn replayed(records: &[(u32, &str)]) -> Gaps {
    let mut gaps = Gaps::default();
    for record in records {
        gaps.evolve(&event(*record), Position(0));
    }
    gaps
}

#[test]
fn version_1_reads_as_it_did() {
    assert_eq!(Gaps::NAME, "gaps", "the stream's name is on disk");
    let gaps = replayed(&V1);
    let gap = gaps.show(GapId(1)).unwrap();
    assert_eq!((gap.kind, gap.state, gap.line, gap.reopened), (Kind::Marker, State::Open, 5, 1));
    assert_eq!((gap.fingerprint, gap.opened_at, gap.changed_at), (Digest([0; 32]), Timestamp(11), Timestamp(31)));
    let finished = gaps.finished("/a").unwrap();
    assert_eq!((finished.started_at, finished.finished_at), (Timestamp(10), Timestamp(12)));
    assert_eq!((finished.tally.files, finished.unread, finished.tally.truncated), (2, 1, true));
    assert_eq!(gaps.abandoned("/a").unwrap().why, "stopped");
    assert_eq!(gaps.outstanding().map(|running| (running.scan.0, running.reopened)).collect::<Vec<_>>(), [(3, 1)]);
    assert_eq!(gaps.counts(), Counts { open: 1, closed: 0 });
}

#[test]
fn what_is_written_is_what_was_read() {
    for record in V1 {
        let event = event(record);
        assert_eq!(written_and_read(&event), event);
        let (kind, written) = json::write(&event);
        assert_eq!((kind.id, kind.version, written), (record.0, 1, body(record.1)));
    }
    assert_eq!(Event::KINDS.iter().map(|kind| kind.id).collect::<Vec<_>>(), [300, 301, 302, 303, 304, 305]);
    assert!(Event::KINDS.contains(&GAP_OPENED));
}

#[test]
fn an_unregistered_kind_is_not_read() {
    for kind in [(299, 1), (306, 1), (300, 0), (300, 2)] {
        assert_eq!(json::read::<Event>(kind, json!({})).unwrap_err(), "a kind that was never registered");
    }
}

#[test]
#[should_panic(expected = "only a running scan ends")]
fn a_journal_that_contradicts_itself_is_not_replayed() {
    replayed(&[V1[0], V1[5]]);
}

#[test]
#[should_panic(expected = "gaps are numbered in the order of their opening")]
fn a_gap_is_opened_once() {
    replayed(&[V1[0], V1[1], V1[1]]);
}
