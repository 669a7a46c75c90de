//! What yesterday's records mean.

mod written;

use backup::{BackupId, Backups, Event, State};
use kernel::{Digest, Machine, Position, Recorded, Timestamp, json};
use serde_json::{Value, json};
use written::written_and_read;

const ZERO: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The bodies of version 1, never edited.
const V1: [(u32, &str); 8] = [
    (700, r#"{"backup":1,"at":10}"#),
    (701, r#"{"backup":1,"last":7,"head":"F","entries":7,"bytes":70,"manifest":"F","directory":"backup-1","at":11}"#),
    (703, r#"{"backup":1,"at":12}"#),
    (704, r#"{"backup":1,"manifest":"F","at":13}"#),
    (703, r#"{"backup":1,"at":14}"#),
    (705, r#"{"backup":1,"why":"a bit","at":15}"#),
    (700, r#"{"backup":2,"at":16}"#),
    (702, r#"{"backup":2,"why":"full","at":17}"#),
];

/// Those that came with drills and retention, never edited, after the ones before.
const DRILLS: [(u32, &str); 9] = [
    (706, r#"{"backup":1,"at":18}"#),
    (708, r#"{"backup":1,"why":"a bit","broken":true,"at":19}"#),
    (706, r#"{"backup":1,"at":20}"#),
    (707, r#"{"backup":1,"manifest":"F","records":7,"machines":9,"state":"F","at":21}"#),
    (709, r#"{"backup":1,"reason":"a case","at":22}"#),
    (710, r#"{"backup":1,"at":23}"#),
    (700, r#"{"backup":3,"at":24}"#),
    (711, r#"{"backup":1,"at":25}"#),
    (712, r#"{"backup":1,"at":26}"#),
];

/// And that which came with pruning.
const ARCHIVED: [(u32, &str); 1] = [(713, r#"{"backup":1,"last":7,"at":14}"#)];

fn body(text: &str) -> Value {
    text.replace('F', ZERO).parse().unwrap()
}

fn event((id, text): (u32, &str)) -> Event {
    json::read((id, 1), body(text)).unwrap()
}

fn replayed(records: &[(u32, &str)]) -> Backups {
    let mut backups = Backups::default();
    for record in records {
        backups.evolve(&event(*record), Position(0));
    }
    backups
}

#[test]
fn version_1_reads_as_it_did() {
    assert_eq!(Backups::NAME, "backup", "the stream's name is on disk");
    let verified = replayed(&V1[..4]);
    let one = verified.show(BackupId(1)).unwrap();
    assert_eq!((one.state, one.started_at, one.changed_at), (State::Verified, Timestamp(10), Timestamp(13)));
    let contents = one.contents.as_ref().unwrap();
    assert_eq!((contents.last, contents.head, contents.manifest), (7, Digest([0; 32]), Digest([0; 32])));
    assert_eq!((contents.entries, contents.bytes, contents.directory.as_str()), (7, 70, "backup-1"));
    let all = replayed(&V1);
    let told: Vec<_> = all.list().map(|backup| (backup.state, backup.why.as_deref())).collect();
    assert_eq!(told, [(State::Broken, Some("a bit")), (State::Failed, Some("full"))]);
    assert_eq!(all.outstanding(), None);
}

#[test]
fn drills_read_as_they_did() {
    let after = |records: usize| replayed(&[&V1[..], &DRILLS[..records]].concat());
    let one = |records: usize| after(records).show(BackupId(1)).unwrap().clone();
    assert_eq!(one(2).drill.unwrap().why.as_deref(), Some("a bit"));
    assert_eq!((one(4).state, one(4).drill.unwrap().found.unwrap().machines), (State::Verified, 9));
    assert_eq!((one(5).held.as_deref(), one(6).held), (Some("a case"), None));
    assert_eq!((one(9).state, one(9).changed_at), (State::Expired, Timestamp(25)));
    assert_eq!(after(9).outstanding(), Some(backup::Work::Make(BackupId(3))));
}

#[test]
fn archives_read_as_they_did() {
    let archived = replayed(&[&V1[..4], &ARCHIVED[..]].concat());
    assert_eq!(archived.archive(), Some((BackupId(1), 7)));
}

#[test]
fn what_is_written_is_what_was_read() {
    for record in V1.into_iter().chain(DRILLS).chain(ARCHIVED) {
        let event = event(record);
        assert_eq!(written_and_read(&event), event);
        let (kind, written) = json::write(&event);
        assert_eq!((kind.id, kind.version, written), (record.0, 1, body(record.1)));
    }
    assert_eq!(Event::KINDS.iter().map(|kind| kind.id).collect::<Vec<_>>(), (700..714).collect::<Vec<_>>());
}

#[test]
fn an_unregistered_kind_is_not_read() {
    for kind in [(699, 1), (714, 1), (700, 0), (700, 2)] {
        assert_eq!(json::read::<Event>(kind, json!({})).unwrap_err(), "a kind that was never registered");
    }
}

#[test]
#[should_panic(expected = "only what is worked on ends")]
fn a_journal_that_contradicts_itself_is_not_replayed() {
    replayed(&[V1[0], V1[1], V1[1]]);
}

#[test]
#[should_panic(expected = "backups are numbered without a gap")]
fn a_number_is_used_once() {
    replayed(&[V1[0], V1[1], V1[0]]);
}
