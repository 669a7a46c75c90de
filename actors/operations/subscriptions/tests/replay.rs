//! What yesterday's records mean.

use kernel::{Machine, Position, Recorded, Timestamp, json};
use serde_json::Value;
use subscriptions::{Event, Subscriptions};

/// The bodies of version 1, never edited.
const V1: [(u32, &str); 4] = [
    (970, r#"{"name":"one","owner":"agent/alpha","streams":["todos"],"kinds":[400,405],"after":7,"at":10}"#),
    (971, r#"{"name":"one","position":20,"at":11}"#),
    (970, r#"{"name":"two","owner":"operator/root","streams":[],"kinds":[],"after":0,"at":12}"#),
    (972, r#"{"name":"two","at":13}"#),
];

fn event((id, text): (u32, &str)) -> Event {
    json::read((id, 1), text.parse().unwrap()).unwrap()
}

fn replayed(records: &[(u32, &str)]) -> Subscriptions {
    let mut subscriptions = Subscriptions::default();
    for record in records {
        subscriptions.evolve(&event(*record), Position(0));
    }
    subscriptions
}

#[test]
fn version_1_reads_as_it_did() {
    assert_eq!(Subscriptions::NAME, "subscriptions", "the stream's name is on disk");
    let three = replayed(&V1[..3]);
    let (_, two) = three.list().last().unwrap();
    assert!(two.wanted.streams.is_empty() && two.wanted.kinds.is_empty() && two.position == 0);
    let all = replayed(&V1);
    let [(name, one)] = all.list().collect::<Vec<_>>()[..] else { panic!("one is left") };
    assert_eq!((name, one.owner.to_string().as_str(), one.position), ("one", "agent/alpha", 20));
    assert_eq!((one.created_at, one.moved_at), (Timestamp(10), Timestamp(11)));
    assert!(one.wanted.streams.iter().eq(["todos"]) && one.wanted.kinds.iter().eq(&[400, 405]));
}

#[test]
fn what_is_written_is_what_was_read() {
    for record in V1 {
        let (kind, written) = json::write(&event(record));
        assert_eq!((kind.id, kind.version, written), (record.0, 1, record.1.parse::<Value>().unwrap()));
    }
    assert_eq!(Event::KINDS.iter().map(|kind| kind.id).collect::<Vec<_>>(), [970, 971, 972]);
}

#[test]
fn an_unregistered_kind_is_not_read() {
    for kind in [(969, 1), (973, 1), (970, 0), (970, 2)] {
        assert_eq!(json::read::<Event>(kind, Value::Null).unwrap_err(), "a kind that was never registered");
    }
}

#[test]
#[should_panic(expected = "a position never goes back")]
fn a_journal_that_contradicts_itself_is_not_replayed() {
    replayed(&[V1[0], V1[1], V1[1]]);
}
