//! What is written is what is read, and what happened is never refused.

#[expect(dead_code, reason = "the table uses all of it")]
mod common;

use common::{DICTATOR, NOON, OPEN, ROOT, activate, bootstrap, claim, propose, stop, told};
use governance::{Claim, Command, Event, GOALS_MAX, Goal, Governance, Verdict, records};
use kernel::{Machine, Position, Recorded, json};
use policy::Policies;
use serde_json::json;

#[test]
fn a_history_reads_as_it_was_written() {
    assert_eq!(Governance::NAME, "governance", "the stream's name is on disk");

    let (mut live, mut replayed) = (Governance::default(), Governance::default());
    let mut kinds = Vec::new();
    let mut position = 0;
    let mut run = |command: Command| {
        for event in live.decide(&command, &told(ROOT, NOON)).unwrap().events {
            position += 1;
            live.evolve(&event, Position(position));
            let (kind, body) = json::write(&event);
            let read: Event = json::read((kind.id, kind.version), body).unwrap();
            assert_eq!(read, event);
            replayed.evolve(&read, Position(position));
            kinds.push(kind);
        }
        live.stop().map(|stop| stop.digest)
    };
    for command in
        [bootstrap(), propose(OPEN), propose(DICTATOR), claim(1, OPEN, Verdict::Proven), activate(1), activate(2)]
    {
        run(command);
    }
    run(Command::Rollback { expected_active: Some(2) });
    let digest = run(stop()).unwrap();
    run(Command::Resume { digest });

    assert_eq!(replayed, live, "the journal is the state");
    kinds.sort();
    kinds.dedup();
    let newest: Vec<_> = Event::KINDS.iter().copied().filter(|kind| (kind.id, kind.version) != (104, 1)).collect();
    assert_eq!(kinds, newest, "every kind was written once at least");
    assert!(Event::KINDS.iter().all(|kind| (100..200).contains(&kind.id)), "the ids of governance");
}

/// Version 2 seals the text; one of version 1 is lifted, and stays what it was.
#[test]
fn a_text_of_version_1_is_lifted() {
    let old: Event = json::read(
        (104, 1),
        json!({ "number": 1, "by": ROOT, "reason": "fire", "at": NOON, "digest": "a".repeat(64) }),
    )
    .unwrap();
    let (kind, body) = json::write(&old);
    assert_eq!((kind.id, kind.version), (104, 2));
    let plain = json!({ "subject": "", "characters": 4, "sealed": b"fire" });
    assert_eq!(body["reason"], plain);
    assert_eq!(json::read((104, 2), body), Ok(old));
}

#[test]
fn an_unknown_kind_is_not_read() {
    for kind in [(99, 1), (100, 2), (107, 1)] {
        assert_eq!(json::read::<Event>(kind, json!({})), Err("a kind that was never registered".to_owned()));
    }
}

/// A later release may validate more strictly. What was activated under an earlier one is still what happened.
#[test]
fn replay_compiles_nothing() {
    let mut governance = common::after(&[bootstrap()]);
    let (author, at) = (ROOT.to_owned(), NOON);
    let text = "permit (a text of another time".to_owned();
    let digest = kernel::Digest(*blake3::hash(text.as_bytes()).as_bytes());
    let proposed = records::ProposedV1 { number: 1, text: text.clone(), digest, author: author.clone(), at };
    governance.evolve(&Event::Proposed(proposed), Position(2));
    let activated = records::ActivatedV1 { epoch: 1, replaced: 0, by: author, at };
    governance.evolve(&Event::Activated(activated), Position(3));
    assert_eq!(governance.active_text(), text);

    let governance = common::at(governance, &Command::Rollback { expected_active: None }, NOON);
    assert_eq!(governance.active_epoch(), 0, "and there is a way back");
    let refusal = governance.decide(&activate(1), &told(ROOT, NOON)).unwrap_err();
    assert_eq!(kernel::Refuse::code(&refusal), "governance.invalid_policy");
}

#[test]
fn the_largest_body_fits_into_a_record() {
    let text = "/".repeat(Policies::TEXT_MAX);
    let event = common::after(&[bootstrap()]).decide(&propose(&text), &told(ROOT, NOON)).unwrap().events.remove(0);
    let bytes = json::write(&event).1.to_string().len();
    assert!((text.len()..60 * 1024).contains(&bytes), "{bytes} bytes");

    let Command::Claim { epoch, claim: Claim { text, against, .. } } = claim(1, OPEN, Verdict::NotProven) else {
        panic!("a claim claims")
    };
    let detail = "d".repeat(governance::CLAIM_BYTES_MAX / GOALS_MAX);
    let goal = Goal { property: String::new(), verdict: Verdict::NotProven, detail };
    let most = Claim { text, against, solver: String::new(), goals: vec![goal; GOALS_MAX] };
    let proposed = common::after(&[bootstrap(), propose(OPEN)]);
    let claim = Command::Claim { epoch, claim: most };
    let event = proposed.decide(&claim, &told(ROOT, NOON)).unwrap().events.remove(0);
    let bytes = json::write(&event).1.to_string().len();
    assert!((governance::CLAIM_BYTES_MAX..60 * 1024).contains(&bytes), "{bytes} bytes");
}

#[test]
#[should_panic(expected = "what is claimed is about the epoch's own text")]
fn a_journal_with_a_claim_about_another_text_is_corrupt() {
    let proposed = common::after(&[bootstrap(), propose(OPEN)]);
    let mut other = common::after(&[bootstrap(), propose(DICTATOR)]);
    let claimed = proposed.decide(&claim(1, OPEN, Verdict::Proven), &told(ROOT, NOON)).unwrap().events.remove(0);
    other.evolve(&claimed, Position(3));
}

#[test]
#[should_panic(expected = "there is one bootstrap")]
fn a_journal_with_two_bootstraps_is_corrupt() {
    let begun = Governance::default().decide(&bootstrap(), &told(ROOT, NOON)).unwrap().events.remove(0);
    let mut governance = common::after(&[bootstrap()]);
    governance.evolve(&begun, Position(2));
}

#[test]
#[should_panic(expected = "a rollback leads to what was active before")]
fn a_journal_that_rolls_back_to_elsewhere_is_corrupt() {
    let mut governance = common::after(&[bootstrap(), propose(OPEN), activate(1)]);
    let body = records::RolledBackV1 { epoch: 1, replaced: 1, by: ROOT.to_owned(), at: NOON };
    governance.evolve(&Event::RolledBack(body), Position(4));
}
