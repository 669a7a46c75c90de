//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use std::collections::BTreeSet;

use kernel::{CommandId, Machine, Millis, Personal, Position, Recorded, Timestamp, json};
use nexus::{Counters, Death, Event, MessageId, Nexus, Priority, Standing};
use serde_json::{Value, json};

const NOON: u64 = 1_800_000_000_000;
const MINUTE: u64 = 60_000;

fn id(message: u64) -> String {
    format!("00000000-0000-0000-0000-00000000000{message}")
}

fn admitted(protocol: &str, depends_on: &[&str]) -> Value {
    json!({ "protocol": protocol, "depends_on": depends_on, "speaks_to": ["ARP"], "at": NOON })
}

fn sent(message: u64, ticket: u64) -> Value {
    json!({
        "message": id(message), "source": "agent/alpha", "destination": "ARP", "priority": 1, "kind": "note",
        "content_type": "text/plain", "payload": [104, 105], "lifetime": MINUTE, "cause": null, "ticket": ticket,
        "at": NOON, "expires_at": NOON + MINUTE,
    })
}

fn of(message: u64) -> Value {
    json!({ "message": id(message), "destination": "ARP", "at": NOON })
}

fn with(mut body: Value, more: Value) -> Value {
    let (Value::Object(body_fields), Value::Object(more)) = (&mut body, more) else { panic!("two objects") };
    body_fields.extend(more);
    body
}

/// As version 1 wrote it: one record of each kind at least.
fn journal() -> Vec<(u32, &'static str, Value)> {
    let died = |message, death: u8| with(of(message), json!({ "death": death, "why": "late" }));
    vec![
        (950, "nexus.admitted", admitted("ARP", &[])),
        (950, "nexus.admitted", admitted("SCP", &["ARP"])),
        (950, "nexus.admitted", admitted("UIP", &[])),
        (953, "nexus.sent", sent(1, 1)),
        (953, "nexus.sent", sent(2, 2)),
        (953, "nexus.sent", sent(3, 3)),
        (953, "nexus.sent", sent(4, 4)),
        (953, "nexus.sent", with(sent(5, 5), json!({ "cause": id(1), "priority": 0 }))),
        (954, "nexus.delivered", of(1)),
        (955, "nexus.failed", with(of(2), json!({ "attempt": 1, "why": "busy" }))),
        (956, "nexus.died", died(2, 1)),
        (956, "nexus.died", died(3, 0)),
        (956, "nexus.died", died(4, 0)),
        (957, "nexus.requeued", with(of(2), json!({ "ticket": 6, "expires_at": NOON + 2 * MINUTE }))),
        (958, "nexus.discarded", of(3)),
        (959, "nexus.forgotten", of(4)),
        (951, "nexus.withdrawn", json!({ "protocol": "SCP", "reason": "done", "revoked": true, "at": NOON })),
        (951, "nexus.withdrawn", json!({ "protocol": "UIP", "reason": "done", "revoked": false, "at": NOON })),
        (952, "nexus.protocol_forgotten", json!({ "protocol": "UIP" })),
    ]
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!((Nexus::NAME, Nexus::REVISION), ("nexus", 2), "the stream's name is on disk");
    let mut nexus = Nexus::default();
    for (kind, name, body) in journal() {
        let event = json::read((kind, 1), body.clone()).unwrap();
        let (written, rewritten) = json::write(&event);
        assert_eq!((written.id, written.name), (kind, name));
        assert!(written.version == 2 || rewritten == body, "{name} is written as it was read");
        nexus.evolve(&event, Position(0));
    }
    let message = |number| nexus.message(MessageId(CommandId(number)));
    let requeued = message(2).unwrap();
    assert_eq!((requeued.attempts, requeued.ticket, &requeued.why), (0, 6, &None));
    assert_eq!((requeued.payload.as_slice(), requeued.lifetime), (&b"hi"[..], Millis(MINUTE)));
    let follow_up = message(5).unwrap();
    assert_eq!((follow_up.priority, follow_up.cause), (Priority::Critical, Some(MessageId(CommandId(1)))));
    assert_eq!(nexus.deadline(), Some(Timestamp(NOON + MINUTE)));
    let next: Vec<_> = nexus.upcoming("ARP", 2, Timestamp(NOON)).iter().map(|letter| letter.id.0.0).collect();
    assert_eq!(
        next,
        [5, 2],
        "one was delivered and one rejected: the third turn is the critical lane's, the second was not"
    );
    let standing = nexus.protocol("SCP").unwrap().standing;
    assert_eq!(standing, Standing::Withdrawn { at: Timestamp(NOON), reason: Personal::plain("done"), revoked: true });
    assert_eq!(nexus.protocol("UIP"), None);
    let counters = nexus.counters();
    let expected =
        Counters { sent: 5, waiting: 2, delivered: 1, dead: 0, discarded: 1, forgotten: 1, failed: 1, requeued: 1 };
    assert_eq!(counters, expected);
    assert_eq!(Death::from_tag(2), Some(Death::Withdrawn));
}

/// Version 2 seals the text; one of version 1 is lifted, and stays what it was.
#[test]
fn a_text_of_version_1_is_lifted() {
    let old: Event =
        json::read((951, 1), json!({ "protocol": "SCP", "reason": "done", "revoked": true, "at": NOON })).unwrap();
    let (kind, body) = json::write(&old);
    assert_eq!((kind.id, kind.version), (951, 2));
    let plain = json!({ "subject": "", "characters": 4, "sealed": b"done" });
    assert_eq!(body["reason"], plain);
    assert_eq!(json::read((951, 2), body), Ok(old));
}

#[test]
fn kinds_are_registered_once_and_others_are_refused() {
    let ids: BTreeSet<_> = Event::KINDS.iter().map(|kind| (kind.id, kind.version)).collect();
    assert_eq!(ids.len(), Event::KINDS.len());
    let ids: BTreeSet<_> = ids.into_iter().filter(|(_, version)| *version == 1).collect();
    assert!(Event::KINDS.iter().all(|kind| (950..970).contains(&kind.id) && kind.name.starts_with("nexus.")));
    let written: BTreeSet<_> = journal().iter().map(|(kind, ..)| (*kind, 1)).collect();
    assert_eq!(written, ids, "one record of each kind is replayed");
    for kind in [(949, 1), (950, 2), (960, 1)] {
        assert!(json::read::<Event>(kind, json!({})).is_err(), "{kind:?}");
    }
}

fn replay(records: Vec<(u32, Value)>) {
    let mut nexus = Nexus::default();
    for (kind, body) in records {
        nexus.evolve(&json::read((kind, 1), body).unwrap(), Position(0));
    }
}

#[test]
#[should_panic(expected = "only what waits is delivered or dies")]
fn a_journal_that_delivers_twice_is_corrupt() {
    replay(vec![(950, admitted("ARP", &[])), (953, sent(1, 1)), (954, of(1)), (954, of(1))]);
}

#[test]
#[should_panic(expected = "what comes to ARP is numbered in order")]
fn a_journal_that_gives_a_ticket_twice_is_corrupt() {
    replay(vec![(950, admitted("ARP", &[])), (953, sent(1, 1)), (953, sent(2, 1))]);
}

#[test]
#[should_panic(expected = "messages wait for ARP, which is withdrawn")]
fn a_journal_that_loses_what_waits_is_corrupt() {
    let withdrawn = json!({ "protocol": "ARP", "reason": "done", "revoked": false, "at": NOON });
    replay(vec![(950, admitted("ARP", &[])), (953, sent(1, 1)), (951, withdrawn)]);
}
