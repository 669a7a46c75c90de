//! What holds after every history, however strange.

use journal::codec;
use kernel::{CommandId, Context, Decision, Machine, Personal, Position, Principal, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use security::{Command, Finding, Kind, Security, Triage};

fn finding() -> impl Strategy<Value = Finding> {
    let kind = prop_oneof![Just(Kind::DeniedBurst), Just(Kind::Lockout)];
    let subject = prop_oneof![Just("agent/alpha"), Just("protocol/ARP"), Just("user 7")];
    (kind, subject, 1..4_u64, vec(1..9_u64, 0..3)).prop_map(|(kind, subject, count, evidence)| Finding {
        kind,
        subject: subject.to_owned(),
        detail: String::new(),
        count,
        first_at: Timestamp(1),
        last_at: Timestamp(2),
        evidence,
    })
}

fn command() -> impl Strategy<Value = Command> {
    let text = || prop_oneof![4 => Just("why"), 1 => Just("")].prop_map(Personal::plain);
    let (event, incident) = (|| 1..6_u64, || 1..4_u64);
    prop_oneof![
        6 => (1..40_u64, vec(finding(), 0..3)).prop_map(|(at, findings)| Command::Report { at, findings }),
        2 => vec(finding(), 1..3).prop_map(|findings| Command::Tell { findings }),
        1 => (1..40_u64).prop_map(|upto| Command::Look { upto }),
        2 => event().prop_map(|event| Command::Acknowledge { event }),
        2 => (event(), text()).prop_map(|(event, reason)| Command::Dismiss { event, reason }),
        3 => (text(), proptest::collection::btree_set(event(), 0..3))
            .prop_map(|(title, events)| Command::Open { title, severity: None, owner: None, events }),
        2 => (incident(), event()).prop_map(|(incident, event)| Command::Link { incident, event }),
        1 => (incident(), text()).prop_map(|(incident, text)| Command::Note { incident, text }),
        3 => incident().prop_map(|incident| Command::Plan { incident, subjects: [].into() }),
        4 => (incident(), 0..5_u32, any::<bool>(), 0..3_u128).prop_map(|(incident, step, done, command)| {
            Command::Step { incident, step, done, command: CommandId(command), answer: "x".to_owned() }
        }),
        2 => (incident(), proptest::option::of(0..9_u64), proptest::option::of(0..9_u64))
            .prop_map(|(incident, first, last)| Command::Hold { incident, first, last }),
        1 => incident().prop_map(|incident| Command::Release { incident }),
        1 => (incident(), text()).prop_map(|(incident, postmortem)| Command::Close { incident, postmortem }),
    ]
}

proptest! {
    #[test]
    fn every_history_keeps_the_laws(script in vec((command(), 0..1_000_u64), 0..64)) {
        let (mut live, mut replayed) = (Security::default(), Security::default());
        let mut now = Timestamp(1);
        for (command, pause) in script {
            now = Timestamp(now.0 + pause);
            let internal = matches!(command, Command::Report { .. } | Command::Tell { .. } | Command::Look { .. });
            let principal: Principal = if internal { "internal/detector" } else { "operator/root" }.parse().unwrap();
            let cx = Context { now, command_id: CommandId(1), principal, decision: Decision::default() };
            let before = live.clone();
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            // A start from a snapshot, between any two commands.
            replayed = codec::restore(&codec::canonical(&replayed).unwrap()).unwrap();
            for event in &outcome.events {
                live.evolve(event, Position(0));
                let body = codec::write(event).unwrap();
                let read = codec::read((body.kind.id, body.kind.version), &body.bytes).unwrap();
                prop_assert_eq!(&read, event, "it means the same");
                replayed.evolve(&read, Position(0));
            }
            let repeats = matches!(command, Command::Tell { .. } | Command::Open { .. } | Command::Note { .. });
            if let (Ok(again), false) = (live.decide(&command, &cx), repeats) {
                prop_assert_eq!(again.events, vec![], "a repeat adds nothing");
            }
            prop_assert!(before.looked() <= live.looked(), "what was looked at stays so");
            let mut undone = std::collections::BTreeSet::new();
            for (number, event) in live.events() {
                let is_done = match event.triage {
                    Triage::New | Triage::Acknowledged { .. } => false,
                    Triage::Dismissed { .. } => true,
                    Triage::Incident(incident) => live.show(incident).is_none_or(|found| found.closed.is_some()),
                };
                prop_assert!(is_done || undone.insert((event.kind, event.subject.clone())), "two that nobody is done with");
                if let Some(earlier) = before.event(number) {
                    prop_assert!(earlier.count <= event.count && (earlier.kind, &earlier.subject) == (event.kind, &event.subject));
                    let final_before = matches!(earlier.triage, Triage::Dismissed { .. } | Triage::Incident(_));
                    prop_assert!(!final_before || earlier.triage == event.triage, "what was decided stays so");
                }
            }
            for (number, found) in live.incidents() {
                let Some(earlier) = before.show(number) else { continue };
                prop_assert!(earlier.closed.is_none() || earlier.closed == found.closed, "closed stays closed");
                prop_assert!(earlier.timeline.iter().zip(&found.timeline).all(|(one, other)| one == other), "a timeline grows");
                for (one, other) in earlier.steps.iter().zip(&found.steps) {
                    prop_assert!(!one.done || one == other, "a step is done once");
                }
            }
        }
        prop_assert_eq!(replayed, live, "the journal is the state");
    }
}
