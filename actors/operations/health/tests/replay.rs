//! What yesterday's records mean.

mod written;

use health::records::Event;
use health::{Code, Health, Phase};
use kernel::{Machine, Millis, Position, Recorded, Timestamp, json};
use serde_json::{Value, json};
use written::written_and_read;

const PROCESS: &str = "0190c3a2-7b5e-7cc3-98c4-dc0c0c07398f";

/// The bodies of version 1, never edited.
const V1: [(u32, &str); 8] = [
    (800, r#"{"process":"P","overdue_after":100,"forgotten":0,"at":10}"#),
    (801, r#"{"process":"P","at":11}"#),
    (802, r#"{"code":1,"subject":"sop/a","severity":1,"detail":"killed","at":12,"held_until":15}"#),
    (804, r#"{"path":"sop/a","epoch":4,"exit":3,"text":"killed","verdict":3,"count":2,"first":11,"last":12}"#),
    (803, r#"{"code":1,"subject":"sop/a","at":16}"#),
    (805, r#"{"ends":1,"missed":2,"first":16,"last":17,"why":"full"}"#),
    (806, r#"{"backup":1,"at":18}"#),
    (807, r#"{"backup":1,"made":18,"at":19}"#),
];

fn body(text: &str) -> Value {
    text.replace('P', PROCESS).parse().unwrap()
}

fn event((id, text): (u32, &str)) -> Event {
    json::read((id, 1), body(text)).unwrap()
}

fn replayed(records: &[(u32, &str)]) -> Health {
    let mut health = Health::default();
    for record in records {
        health.evolve(&event(*record), Position(0));
    }
    health
}

#[test]
fn version_1_reads_as_it_did() {
    assert_eq!(Health::NAME, "health", "the stream's name is on disk");
    assert_eq!(replayed(&V1[..1]).phase(), Phase::Startup);
    let degraded = replayed(&V1[..3]);
    assert_eq!(degraded.phase(), Phase::Degraded);
    assert_eq!(degraded.reason(Code::ChildQuarantined, "sop/a").unwrap().held_until, Timestamp(15));
    let all = replayed(&V1);
    assert_eq!((all.phase(), all.missed()), (Phase::Ready, 2));
    assert_eq!(all.child("sop/a").unwrap().ends, 2);
    assert_eq!(all.last_verified().unwrap().made, Timestamp(18));
    assert_eq!(all.deadline(), Some(Timestamp(18) + Millis(100)));
}

#[test]
fn what_is_written_is_what_was_read() {
    for record in V1 {
        let event = event(record);
        assert_eq!(written_and_read(&event), event);
        let (kind, written) = json::write(&event);
        assert_eq!((kind.id, kind.version, written), (record.0, 1, body(record.1)));
    }
    assert_eq!(Event::KINDS.iter().map(|kind| kind.id).collect::<Vec<_>>(), (800..808).collect::<Vec<_>>());
}

#[test]
fn an_unregistered_kind_is_not_read() {
    for kind in [(799, 1), (808, 1), (800, 0), (800, 2)] {
        assert_eq!(json::read::<Event>(kind, json!({})).unwrap_err(), "a kind that was never registered");
    }
}

#[test]
#[should_panic(expected = "a reason is raised once")]
fn a_reason_is_raised_once() {
    replayed(&[V1[0], V1[1], V1[2], V1[2]]);
}

#[test]
#[should_panic(expected = "only what was raised is cleared")]
fn only_what_was_raised_is_cleared() {
    replayed(&[V1[0], V1[1], V1[4]]);
}

#[test]
#[should_panic(expected = "only the process that began comes up")]
fn only_what_began_comes_up() {
    replayed(&[V1[1]]);
}
