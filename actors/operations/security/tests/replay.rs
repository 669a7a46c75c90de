//! What yesterday's records mean.

use kernel::{CommandId, Machine, Position, Recorded, Timestamp, json};
use security::{Act, Event, Hold, Kind, Measure, Security, Severity, Triage};
use serde_json::Value;

/// The bodies of version 1, never edited.
const V1: [(u32, &str); 13] = [
    (
        1100,
        r#"{"event":1,"kind":5,"subject":"agent/alpha","detail":"d","count":1,"first_at":10,"last_at":10,"evidence":[7],"fresh":true,"forgets":0,"looked":7,"at":11}"#,
    ),
    (
        1100,
        r#"{"event":2,"kind":3,"subject":"credential 1 from user 7","detail":"d","count":1,"first_at":10,"last_at":10,"evidence":[],"fresh":true,"forgets":0,"looked":0,"at":11}"#,
    ),
    (
        1100,
        r#"{"event":1,"kind":5,"subject":"agent/alpha","detail":"e","count":2,"first_at":12,"last_at":13,"evidence":[8],"fresh":false,"forgets":0,"looked":8,"at":14}"#,
    ),
    (1101, r#"{"looked":100,"at":15}"#),
    (1102, r#"{"event":1,"by":"operator/root","at":16}"#),
    (1103, r#"{"event":2,"reason":{"subject":"","characters":1,"sealed":[120]},"by":"operator/root","at":17}"#),
    (
        1104,
        r#"{"incident":1,"title":{"subject":"","characters":1,"sealed":[120]},"severity":3,"owner":"operator/root","events":[1],"forgets":0,"by":"operator/root","at":18}"#,
    ),
    (1106, r#"{"incident":1,"text":{"subject":"","characters":1,"sealed":[120]},"by":"operator/root","at":19}"#),
    (
        1107,
        r#"{"incident":1,"steps":[{"measure":1,"subject":"agent/alpha"},{"measure":4,"subject":"protocol/ARP"}],"by":"operator/root","at":20}"#,
    ),
    (
        1108,
        r#"{"incident":1,"step":1,"done":true,"command":"00000000-0000-0000-0000-000000000007","answer":"suspended","by":"operator/root","at":21}"#,
    ),
    (1109, r#"{"incident":1,"first":7,"last":18446744073709551615,"by":"operator/root","at":22}"#),
    (1110, r#"{"incident":1,"by":"operator/root","at":23}"#),
    (1111, r#"{"incident":1,"postmortem":{"subject":"","characters":1,"sealed":[120]},"by":"operator/root","at":24}"#),
];

fn event((id, text): (u32, &str)) -> Event {
    json::read((id, 1), text.parse().unwrap()).unwrap()
}

fn replayed(records: &[(u32, &str)]) -> Security {
    let mut security = Security::default();
    for record in records {
        security.evolve(&event(*record), Position(0));
    }
    security
}

#[test]
fn version_1_reads_as_it_did() {
    assert_eq!(Security::NAME, "security", "the stream's name is on disk");
    let held = replayed(&V1[..11]);
    assert_eq!(held.show(1).unwrap().hold, Some(Hold { first: 7, last: u64::MAX }));
    let all = replayed(&V1);
    assert_eq!(all.looked(), 100);
    let one = all.event(1).unwrap();
    assert_eq!((one.kind, one.count, &one.evidence[..], one.detail.as_str()), (Kind::DoubleSpend, 3, &[7, 8][..], "e"));
    assert_eq!((&one.triage, one.last_at), (&Triage::Incident(1), Timestamp(13)));
    assert_eq!(all.event(2).unwrap().triage.as_str(), "dismissed");
    let incident = all.show(1).unwrap();
    assert_eq!(
        (incident.severity, incident.hold, incident.closed.as_ref().unwrap().at),
        (Severity::High, None, Timestamp(24))
    );
    let acts: Vec<_> = incident.timeline.iter().map(|entry| entry.act).collect();
    assert_eq!(acts, [Act::Opened, Act::Noted, Act::Planned, Act::Contained, Act::Held, Act::Released, Act::Closed]);
    let [first, second] = &incident.steps[..] else { panic!("two steps") };
    assert_eq!(
        (first.measure, first.done, second.measure, second.done),
        (Measure::Freeze, true, Measure::Quarantine, false)
    );
    assert_eq!(first.last.as_ref().unwrap().0, CommandId(7));
}

#[test]
fn what_is_written_is_what_was_read() {
    for record in V1 {
        let (kind, written) = json::write(&event(record));
        assert_eq!((kind.id, kind.version, written), (record.0, 1, record.1.parse::<Value>().unwrap()));
    }
    assert!(Event::KINDS.iter().map(|kind| kind.id).eq(1100..=1111));
}

#[test]
fn an_unregistered_kind_is_not_read() {
    for kind in [(1099, 1), (1112, 1), (1100, 0), (1100, 2)] {
        assert_eq!(json::read::<Event>(kind, Value::Null).unwrap_err(), "a kind that was never registered");
    }
}

#[test]
#[should_panic(expected = "a step is done once")]
fn a_journal_that_contradicts_itself_is_not_replayed() {
    replayed(&[&V1[..10], &[V1[9]]].concat());
}
