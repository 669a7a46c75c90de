//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use door::decisions::{Decisions, Event};
use kernel::{Denial, Layer, Machine, Millis, Position, Recorded, json};
use serde_json::{Value, json};

/// As version 1 wrote it: one record of each kind.
fn journal() -> [(u32, &'static str, Value); 2] {
    let context = json!([
        { "name": "kind", "kind": 0, "value": "operation" },
        { "name": "uses", "kind": 1, "value": "1" },
        { "name": "via_token", "kind": 2, "value": "false" },
    ]);
    [
        (
            500,
            "request.denied",
            json!({
                "action": "token.issue", "resource": "*", "context": context, "policy_epoch": 2,
                "layer": "policy", "code": "policy.forbidden", "reason": "a policy forbids it",
                "rule": "epoch 2: none", "remedy": "see the rule", "retry_after_ms": 500,
            }),
        ),
        (501, "request.answered", json!({ "action": "todo.list", "resource": "*", "context": context })),
    ]
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!(Decisions::NAME, "decisions", "the stream's name is on disk");
    let mut decisions = Decisions::default();
    let mut seen = Vec::new();
    for (at, (id, name, body)) in (1..).zip(journal()) {
        let event = json::read((id, 1), body.clone()).unwrap();
        let (kind, written) = json::write(&event);
        assert_eq!((kind.id, kind.version, kind.name, written), (id, 1, name, body), "it is written as it was");
        decisions.evolve(&event, Position(at));
        seen.push(kind);
        if let Event::Denied(kept) = event {
            let denial = Denial::new(Layer::Policy, "policy.forbidden", "a policy forbids it", "see the rule");
            assert_eq!(kept.denial(), denial.rule("epoch 2: none").retry_after(Millis(500)));
        }
    }
    assert_eq!(decisions, Decisions { denied: 1, answered: 1 });
    assert_eq!(seen, Event::KINDS, "every kind has a row");
}

#[test]
fn a_kind_that_was_never_registered_is_not_read() {
    for kind in [(502, 1), (500, 2), (501, 0)] {
        let error = json::read::<Event>(kind, json!({})).unwrap_err();
        assert_eq!(error, "a kind that was never registered", "{kind:?}");
    }
}
