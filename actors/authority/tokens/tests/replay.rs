//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use std::collections::BTreeSet;

use kernel::{Digest, Machine, Personal, Position, Recorded, Timestamp, TokenId, json};
use serde_json::{Value, json};
use tokens::{Event, Grant, Reason, Replacement, State, Tokens, UseState};

const NOON: u64 = 1_800_000_000_000;

fn id(digit: &str) -> String {
    format!("00000000-0000-0000-0000-00000000000{digit}")
}

fn issued(digit: &str, kind: u8) -> Value {
    let artefact = |digit: &str| (kind == 2).then(|| digit.repeat(64));
    json!({
        "id": id(digit), "secret": digit.repeat(64), "kind": kind, "subject": "agent/alpha", "issuer": "operator/root",
        "audience": if kind == 3 { "test.arp" } else { "arp" },
        "operation": if kind == 1 { "todo.work" } else { "deploy" },
        "todo": (kind == 1).then_some(7), "artefact_old": artefact("a"), "artefact_new": artefact("b"),
        "uses": 3, "issued_at": NOON, "expires_at": NOON + 900_000,
    })
}

fn consumed(digit: &str, number: u32) -> Value {
    let (command, request) = (id(&number.to_string()), number.to_string().repeat(64));
    json!({
        "id": id(digit), "number": number, "command": command, "request": request,
        "at": NOON + 1, "settle_by": NOON + 300_001,
    })
}

/// As version 1 wrote it: one record of each kind at least.
fn journal() -> Vec<(u32, &'static str, Value)> {
    vec![
        (200, "tokens.issued", issued("1", 0)),
        (200, "tokens.issued", issued("2", 1)),
        (200, "tokens.issued", issued("3", 2)),
        (200, "tokens.issued", issued("4", 3)),
        (201, "tokens.consumed", consumed("1", 1)),
        (201, "tokens.consumed", consumed("1", 2)),
        (201, "tokens.consumed", consumed("1", 3)),
        (202, "tokens.settled", json!({ "id": id("1"), "number": 1 })),
        (203, "tokens.released", json!({ "id": id("1"), "number": 2 })),
        (204, "tokens.use_unknown", json!({ "id": id("1"), "number": 3 })),
        (205, "tokens.revoked", json!({ "id": id("2"), "at": NOON + 2, "reason": 5, "text": "lost" })),
        (207, "tokens.expired", json!({ "id": id("3") })),
        (206, "tokens.all_revoked", json!({ "before": NOON + 3 })),
        (208, "tokens.subject_revoked", json!({ "subject": "agent/alpha", "at": NOON + 3 })),
    ]
}

/// What version 2 says of a token besides, if it is bound to nothing.
fn issued_2(digit: &str, kind: u8) -> Value {
    let mut issued = issued(digit, kind);
    let more = json!({
        "starts_at": NOON, "target": null, "request": null, "work": [], "report": null, "approver": null, "parent": null,
    });
    issued.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    issued
}

/// As it is written now: what version 1 had not.
fn newer() -> Vec<(u32, u16, Value)> {
    let mut todo = issued_2("1", 1);
    todo["work"] = json!([{ "audience": "arp", "operation": "deploy" }]);
    let mut child = issued_2("2", 0);
    (child["parent"], child["todo"], child["uses"]) = (json!(id("1")), json!(7), json!(2));
    (child["target"], child["request"]) = (json!("a.txt"), json!("c".repeat(64)));
    let mut later = issued_2("3", 2);
    (later["starts_at"], later["todo"], later["report"]) = (json!(NOON + 5), json!(7), json!("d".repeat(64)));
    later["approver"] = json!("operator/deputy");
    vec![
        (200, 2, todo),
        (200, 2, child),
        (200, 2, later),
        (209, 1, json!({ "id": id("3") })),
        (210, 1, json!({ "before": NOON + 1, "at": NOON + 6 })),
    ]
}

#[test]
fn what_version_1_had_not_reads_as_it_did() {
    let (mut tokens, now) = (Tokens::default(), Timestamp(NOON + 6));
    for (kind, version, body) in newer() {
        let event = json::read((kind, version), body.clone()).unwrap();
        let (written, again) = json::write(&event);
        assert_eq!((written.id, written.version, again), (kind, version, body));
        let last = kind == 210;
        if last {
            let [parent, child, later] = [1, 2, 3].map(|id| tokens.show(TokenId(id), now).unwrap());
            assert_eq!((parent.left, parent.handed_on, parent.work.len()), (1, 2, 1));
            assert_eq!((child.parent, child.todo, child.target.as_deref()), (Some(TokenId(1)), Some(7), Some("a.txt")));
            assert_eq!((child.request, child.grant), (Some(Digest([0xcc; 32])), Grant::Operation));
            assert_eq!((later.starts_at, later.todo), (Timestamp(NOON + 5), None));
            let backing = later.backing.unwrap();
            assert_eq!((backing.todo, backing.report), (7, Digest([0xdd; 32])));
            assert_eq!(backing.approver.to_string(), "operator/deputy");
        }
        tokens.evolve(&event, Position(0));
    }
    for id in 1..=3 {
        let revocation = tokens.show(TokenId(id), now).unwrap().revocation.unwrap();
        assert_eq!((revocation.at, revocation.reason), (now, Reason::Epoch));
    }
    assert_eq!(tokens.revocations(), 1);
}

/// A token of version 1 is bound to nothing more, and begins when it was issued.
#[test]
fn a_token_of_version_1_is_lifted() {
    for kind in 0..4 {
        let old: Event = json::read((200, 1), issued("1", kind)).unwrap();
        assert_eq!(json::read((200, 2), issued_2("1", kind)), Ok(old), "kind {kind}");
    }
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!(Tokens::NAME, "tokens", "the stream's name is on disk");

    let mut tokens = Tokens::default();
    for (kind, name, body) in journal() {
        let event = json::read((kind, 1), body.clone()).unwrap();
        let (written, again) = json::write(&event);
        assert_eq!((written.id, written.name), (kind, name));
        assert!(written.version == 2 || again == body, "{name} is written as it was read");
        tokens.evolve(&event, Position(0));
    }

    let now = Timestamp(NOON + 4);
    let token = |id| tokens.show(TokenId(id), now).unwrap();
    let artefact = Replacement { old: Digest([0xaa; 32]), new: Digest([0xbb; 32]) };
    let grants: Vec<_> = (1..=4).map(|id| token(id).grant).collect();
    assert_eq!(grants, [Grant::Operation, Grant::Todo(7), Grant::Integration(artefact), Grant::Test]);
    let first = token(1);
    assert_eq!((first.subject.to_string(), first.issuer.to_string()), ("agent/alpha".into(), "operator/root".into()));
    assert_eq!((first.uses, first.left, first.expires_at), (3, 1, Timestamp(NOON + 900_000)));
    let uses: Vec<_> = tokens.uses(TokenId(1), now).unwrap().iter().map(|it| (it.number, it.state)).collect();
    assert_eq!(uses, [(1, UseState::Succeeded), (3, UseState::Unknown)]);
    let reason = |id| token(id).revocation.map(|revocation| revocation.reason);
    assert_eq!([reason(1), reason(4)], [Some(Reason::AllRevoked), Some(Reason::AllRevoked)]);
    assert_eq!(reason(2), Some(Reason::Other(Personal::plain("lost"))));
    assert_eq!(token(2).revocation.unwrap().at, Timestamp(NOON + 2));
    assert_eq!(token(4).state, State::Revoked);
    assert_eq!(tokens.by_secret(Digest([0x33; 32]), now).unwrap().id, TokenId(3));
    assert_eq!(tokens.deadline(), None);
}

#[test]
fn every_reason_reads_as_it_did() {
    for (tag, reason) in [
        (0, Reason::Withdrawn),
        (1, Reason::Compromised),
        (2, Reason::SubjectRevoked),
        (3, Reason::TodoEnded),
        (4, Reason::AllRevoked),
        (6, Reason::Epoch),
    ] {
        let body = json!({ "id": id("1"), "at": NOON, "reason": tag, "text": "" });
        let Ok(Event::Revoked(revoked)) = json::read((205, 1), body) else { panic!("{tag}") };
        assert_eq!(revoked.reason(), reason);
    }
}

/// Version 2 seals the text; one of version 1 is lifted, and stays what it was.
#[test]
fn a_text_of_version_1_is_lifted() {
    let old: Event =
        json::read((205, 1), json!({ "id": id("2"), "at": NOON + 2, "reason": 5, "text": "lost" })).unwrap();
    let (kind, body) = json::write(&old);
    assert_eq!((kind.id, kind.version), (205, 2));
    let plain = json!({ "subject": "", "characters": 4, "sealed": b"lost" });
    assert_eq!(body["text"], plain);
    assert_eq!(json::read((205, 2), body), Ok(old));
}

#[test]
fn kinds_are_registered_once_and_others_are_refused() {
    let ids: BTreeSet<_> = Event::KINDS.iter().map(|kind| (kind.id, kind.version)).collect();
    assert_eq!(ids.len(), Event::KINDS.len());
    let ids: BTreeSet<_> = ids.into_iter().filter(|(_, version)| *version == 1).collect();
    assert!(Event::KINDS.iter().all(|kind| (200..300).contains(&kind.id) && kind.name.starts_with("tokens.")));
    let written: BTreeSet<_> = journal().iter().map(|(kind, ..)| (*kind, 1)).collect();
    let newer = newer().into_iter().map(|(kind, ..)| (kind, 1));
    assert_eq!(newer.chain(written).collect::<BTreeSet<_>>(), ids, "one record of each kind is replayed");
    for kind in [(199, 1), (200, 3), (211, 1)] {
        assert!(json::read::<Event>(kind, json!({})).is_err(), "{kind:?}");
    }
}

#[test]
#[should_panic(expected = "was issued twice")]
fn a_journal_that_issues_an_id_twice_is_corrupt() {
    let mut tokens = Tokens::default();
    for secret in ["1", "2"] {
        let mut body = issued("1", 0);
        body["secret"] = json!(secret.repeat(64));
        tokens.evolve(&json::read((200, 1), body).unwrap(), Position(0));
    }
}

#[test]
#[should_panic(expected = "bound to what that kind is not")]
fn a_todo_token_without_a_todo_is_corrupt() {
    let mut body = issued("1", 0);
    body["kind"] = json!(1);
    Tokens::default().evolve(&json::read((200, 1), body).unwrap(), Position(0));
}

#[test]
#[should_panic(expected = "was closed twice")]
fn a_use_that_is_settled_twice_is_corrupt() {
    let mut tokens = Tokens::default();
    let settled = json!({ "id": id("1"), "number": 1 });
    for (kind, body) in [(200, issued("1", 0)), (201, consumed("1", 1)), (202, settled.clone()), (202, settled)] {
        tokens.evolve(&json::read((kind, 1), body).unwrap(), Position(0));
    }
}
