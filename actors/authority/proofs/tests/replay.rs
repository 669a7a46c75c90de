//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use std::collections::BTreeSet;

use kernel::{CommandId, Digest, Machine, Millis, Position, Recorded, Timestamp, json};
use proofs::{Algorithm, Event, Expected, Proofs, State, Verifier};
use serde_json::{Value, json};

const NOON: u64 = 1_800_000_000_000;

fn declared(revision: u64, name: &str, kind: u8, pins: &[(&str, Value)]) -> Value {
    let mut body = json!({
        "revision": revision, "name": name, "verifier": kind, "algorithm": null, "digest": null, "argument": null,
        "files": [], "key": null, "action": null, "within": null, "url": null, "timeout": null,
        "by": "operator/root", "at": NOON,
    });
    for (pin, value) in pins {
        body[pin] = value.clone();
    }
    body
}

fn received(number: u64) -> Value {
    json!({
        "number": number, "check": CommandId(5), "asker": "agent/alpha", "proof": "content", "revision": 1,
        "action": "backup.drill", "resource": "backup-2", "content": "1".repeat(64), "target": "2".repeat(64),
        "goal": "3".repeat(64), "evidence": "4".repeat(64), "note": "signed", "at": NOON,
        "expires_at": NOON + 300_000, "kept_until": NOON + 900_000,
    })
}

fn spent(number: u64) -> Value {
    json!({ "number": number, "command": CommandId(7), "at": NOON + 2 })
}

fn released(number: u64) -> Value {
    json!({ "number": number, "command": CommandId(7) })
}

fn hex(digit: &str) -> Value {
    json!(digit.repeat(64))
}

/// As version 1 wrote it: one record of each kind at least, and one of each verifier.
fn journal() -> Vec<(u32, &'static str, Value)> {
    vec![
        (1070, "proofs.declared", declared(1, "content", 1, &[("algorithm", json!(1)), ("digest", hex("1"))])),
        (1070, "proofs.declared", declared(2, "said", 1, &[("algorithm", json!(2)), ("argument", json!("digest"))])),
        (
            1070,
            "proofs.declared",
            declared(3, "manifest", 2, &[("files", json!([{ "path": "a/b", "sha256": hex("2") }]))]),
        ),
        (1070, "proofs.declared", declared(4, "signed", 3, &[("key", json!("root+1+A"))])),
        (
            1070,
            "proofs.declared",
            declared(5, "traced", 4, &[("action", json!("backup.verify")), ("within", json!(3_600_000))]),
        ),
        (
            1070,
            "proofs.declared",
            declared(
                6,
                "outside",
                5,
                &[
                    ("url", json!("https://p.example")),
                    ("digest", hex("5")),
                    ("key", json!("p+1+A")),
                    ("timeout", json!(5_000)),
                ],
            ),
        ),
        (1070, "proofs.declared", declared(7, "gone", 3, &[("key", json!("root+1+A"))])),
        (1071, "proofs.withdrawn", json!({ "name": "gone", "by": "operator/root", "at": NOON + 1 })),
        (1072, "proofs.received", received(1)),
        (1072, "proofs.received", received(2)),
        (1072, "proofs.received", received(3)),
        (1073, "proofs.spent", spent(1)),
        (1073, "proofs.spent", spent(2)),
        (1074, "proofs.released", released(2)),
        (1075, "proofs.forgotten", json!({ "number": 3 })),
    ]
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!(Proofs::NAME, "proofs", "the stream's name is on disk");
    let mut proofs = Proofs::default();
    for (kind, name, body) in journal() {
        let event = json::read((kind, 1), body.clone()).unwrap();
        let (written, again) = json::write(&event);
        assert_eq!((written.id, written.version, written.name), (kind, 1, name));
        assert_eq!(again, body, "{name} is written as it was read");
        proofs.evolve(&event, Position(0));
    }
    let verifiers: Vec<_> = proofs.verifiers().map(|(name, one)| (name.to_owned(), one.verifier.clone())).collect();
    let digest = |byte| Digest([byte; 32]);
    let pinned = Expected::Pinned(digest(0x11));
    let said = Expected::Argument("digest".into());
    let url = "https://p.example".into();
    let outside = Verifier::External { url, kernel: digest(0x55), key: "p+1+A".into(), timeout: Millis(5_000) };
    let traced = Verifier::PolicyTrace { action: "backup.verify".into(), within: Some(Millis::hours(1)) };
    let all = [
        ("content", Verifier::Digest { algorithm: Algorithm::Sha256, expected: pinned }),
        ("manifest", Verifier::Manifest { files: [("a/b".to_owned(), digest(0x22))].into() }),
        ("outside", outside),
        ("said", Verifier::Digest { algorithm: Algorithm::Blake3, expected: said }),
        ("signed", Verifier::Signature { root: "root+1+A".into() }),
        ("traced", traced),
    ];
    assert_eq!(verifiers, all.map(|(name, verifier)| (name.to_owned(), verifier)));
    let now = Timestamp(NOON + 4);
    let first = proofs.show(1, now).unwrap();
    assert_eq!((first.state, first.asker.to_string(), first.check), (State::Spent, "agent/alpha".into(), CommandId(5)));
    assert_eq!(first.spent.map(|spent| (spent.command, spent.at)), Some((CommandId(7), Timestamp(NOON + 2))));
    let (content, target, goal) = (digest(0x11), Some(digest(0x22)), digest(0x33));
    assert_eq!((first.checked.content, first.checked.target, first.checked.goal), (content, target, goal));
    assert_eq!((first.checked.evidence, first.checked.note.as_str()), (digest(0x44), "signed"));
    assert_eq!(proofs.show(2, now).unwrap().state, State::Live);
    assert_eq!(proofs.show(2, Timestamp(NOON + 300_000)).unwrap().state, State::Expired);
    assert_eq!((proofs.show(3, now), proofs.deadline()), (None, Some(Timestamp(NOON + 900_000))));
}

#[test]
fn kinds_are_registered_once_and_others_are_refused() {
    let ids: BTreeSet<_> = Event::KINDS.iter().map(|kind| (kind.id, kind.version)).collect();
    assert_eq!(ids.len(), Event::KINDS.len());
    assert!(Event::KINDS.iter().all(|kind| (1070..1100).contains(&kind.id) && kind.name.starts_with("proofs.")));
    let written: BTreeSet<_> = journal().iter().map(|(kind, ..)| (*kind, 1)).collect();
    assert_eq!(written, ids, "one record of each kind is replayed");
    for kind in [(1069, 1), (1070, 2), (1076, 1)] {
        assert!(json::read::<Event>(kind, json!({})).is_err(), "{kind:?}");
    }
}

fn replay(records: Vec<(u32, Value)>) {
    let mut proofs = Proofs::default();
    for (kind, body) in records {
        proofs.evolve(&json::read((kind, 1), body).unwrap(), Position(0));
    }
}

#[test]
#[should_panic(expected = "receipts are numbered without a gap")]
fn a_journal_that_leaves_a_number_out_is_corrupt() {
    replay(vec![(1072, received(2))]);
}

#[test]
#[should_panic(expected = "declarations are numbered without a gap")]
fn a_journal_that_leaves_a_declaration_out_is_corrupt() {
    replay(vec![(1070, declared(2, "signed", 3, &[("key", json!("root+1+A"))]))]);
}

#[test]
#[should_panic(expected = "was spent twice")]
fn a_journal_that_spends_a_receipt_twice_is_corrupt() {
    replay(vec![(1072, received(1)), (1073, spent(1)), (1073, spent(1))]);
}

#[test]
#[should_panic(expected = "only who holds a receipt gives it back")]
fn a_journal_that_gives_back_what_is_not_held_is_corrupt() {
    replay(vec![(1072, received(1)), (1074, released(1))]);
}

#[test]
#[should_panic(expected = "a recorded verifier was one")]
fn a_journal_with_half_a_verifier_is_corrupt() {
    replay(vec![(1070, declared(1, "outside", 5, &[("url", json!("https://p.example"))]))]);
}
