//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use door::decisions::{Decisions, Event};
use kernel::{Asked, Denial, Kind, Layer, Machine, Millis, Position, Recorded, Standing, json};
use serde_json::{Value, json};

/// As each version wrote it: a record of each kind.
fn journal() -> [(u32, u16, &'static str, Value); 4] {
    let context = json!([
        { "name": "kind", "kind": 0, "value": "operation" },
        { "name": "uses", "kind": 1, "value": "1" },
        { "name": "own", "kind": 2, "value": "false" },
    ]);
    [
        (
            500,
            1,
            "request.denied",
            json!({
                "action": "token.issue", "resource": "*", "context": context, "policy_epoch": 2,
                "layer": "policy", "code": "policy.forbidden", "reason": "a policy forbids it",
                "rule": "epoch 2: none", "remedy": "see the rule", "retry_after_ms": 500,
            }),
        ),
        (
            500,
            2,
            "request.denied",
            json!({
                "layer": "policy", "code": "policy.forbidden", "reason": "a policy forbids it",
                "rule": "epoch 2: none", "remedy": "see the rule", "retry_after_ms": 500, "before": null,
            }),
        ),
        (501, 1, "request.answered", json!({ "action": "todo.list", "resource": "*", "context": context })),
        (501, 2, "request.answered", json!({ "before": null })),
    ]
}

#[test]
fn a_journal_of_all_versions_reads_as_it_did() {
    assert_eq!(Decisions::NAME, "decisions", "the stream's name is on disk");
    let mut decisions = Decisions::default();
    let mut seen = Vec::new();
    for (at, (id, version, name, body)) in (1..).zip(journal()) {
        let event = json::read((id, version), body.clone()).unwrap();
        let (kind, written) = json::write(&event);
        assert_eq!((kind.id, kind.version, kind.name), (id, 2, name), "the newest version is written");
        assert!(version < 2 || written == body, "it is written as it was");
        decisions.evolve(&event, Position(at));
        seen.push(Kind { id, version, name });
        let asked = event.asked_before();
        assert_eq!(asked.is_some(), version == 1, "what was asked stands in the envelope since");
        if let Some(asked) = asked {
            let action = if id == 500 { "token.issue" } else { "todo.list" };
            let own = [("kind", "operation".into()), ("own", false.into()), ("uses", 1.into())];
            let context = own.map(|(name, value)| (name.to_owned(), value)).into();
            assert_eq!(asked, Asked::new(action, "*", &context, &Standing::default()), "it is known as it was asked");
        }
        if let Event::Denied(kept) = event {
            let denial = Denial::new(Layer::Policy, "policy.forbidden", "a policy forbids it", "see the rule");
            assert_eq!(kept.denial(), denial.rule("epoch 2: none").retry_after(Millis(500)));
        }
    }
    assert_eq!(decisions, Decisions { denied: 2, answered: 2 });
    assert_eq!(seen, Event::KINDS, "every kind has a row");
}

#[test]
fn a_request_that_no_release_has_written_is_none() {
    let attribute = |kind, value: &str| json!([{ "name": "uses", "kind": kind, "value": value }]);
    for context in [attribute(1, "many"), attribute(2, "perhaps"), attribute(3, "1")] {
        let body = json!({ "action": "todo.list", "resource": "*", "context": context });
        assert_eq!(json::read::<Event>((501, 1), body).unwrap().asked_before(), None);
    }
}

#[test]
fn a_kind_that_was_never_registered_is_not_read() {
    for kind in [(502, 1), (500, 3), (501, 0)] {
        let error = json::read::<Event>(kind, json!({})).unwrap_err();
        assert_eq!(error, "a kind that was never registered", "{kind:?}");
    }
}
