//! One row per answer.

use door::decisions::{ATTRIBUTES_MAX, Asked, Command, Decisions, Event, NAME_MAX, TEXT_MAX};
use door::records::AttributeV1;
use kernel::{Denial, Layer};
use policy::{Policies, Value};

use crate::written::{after, asked, check, decided, denial, written_and_read};

#[test]
fn a_denial_is_kept_with_its_request() {
    let asked = asked("todo-7", &[("kind", "test".into()), ("uses", 3.into()), ("via_token", true.into())]);
    let command = Command::Deny { asked, denial: denial(), policy_epoch: 2 };
    let [Event::Denied(kept)] = &decided(&Decisions::default(), &command)[..] else { panic!("one record") };
    assert_eq!((kept.action.as_str(), kept.resource.as_str(), kept.policy_epoch), ("token.issue", "todo-7", 2));
    let attribute = |name: &str, kind, value: &str| AttributeV1 { name: name.into(), kind, value: value.into() };
    let context = [attribute("kind", 0, "test"), attribute("uses", 1, "3"), attribute("via_token", 2, "true")];
    assert_eq!(kept.context, context);
    assert_eq!(kept.denial(), denial(), "it reads as it was given");
}

#[test]
fn every_layer_reads_back() {
    for layer in Layer::ALL {
        let denial = Denial::new(layer, "a.b", "no", "ask");
        let command = Command::Deny { asked: asked("*", &[]), denial: denial.clone(), policy_epoch: 0 };
        let [Event::Denied(kept)] = &decided(&Decisions::default(), &command)[..] else { panic!("one record") };
        assert_eq!(kept.denial(), denial);
    }
}

#[test]
fn an_answer_is_kept_with_its_question() {
    let command = Command::Answer { asked: asked("*", &[("kind", "test".into())]) };
    let [Event::Answered(kept)] = &decided(&Decisions::default(), &command)[..] else { panic!("one record") };
    assert_eq!((kept.action.as_str(), kept.resource.as_str(), kept.context.len()), ("token.issue", "*", 1));
}

#[test]
fn they_are_counted() {
    let answer = || Command::Answer { asked: asked("*", &[]) };
    let deny = || Command::Deny { asked: asked("*", &[]), denial: denial(), policy_epoch: 2 };
    let decisions = after(&[answer(), deny(), answer()]);
    assert_eq!(decisions, Decisions { denied: 1, answered: 2 });
}

#[test]
fn what_fits() {
    let text = |bytes: usize| "r".repeat(bytes);
    let many = |count: usize| Asked {
        context: (0..count).map(|number| (number.to_string(), Value::Bool(true))).collect(),
        ..asked("*", &[])
    };
    for (row, asked, rule) in [
        ("nothing", asked("", &[]), None),
        ("the longest resource", asked(&text(TEXT_MAX), &[]), None),
        ("a longer one", asked(&text(TEXT_MAX + 1), &[]), Some("at most 4096 bytes")),
        ("the longest value", asked("*", &[("root", text(TEXT_MAX).as_str().into())]), None),
        ("a longer one", asked("*", &[("root", text(TEXT_MAX + 1).as_str().into())]), Some("at most 4096 bytes")),
        ("the longest name", asked("*", &[(&text(NAME_MAX), 1.into())]), None),
        ("a longer one", asked("*", &[(&text(NAME_MAX + 1), 1.into())]), Some("at most 64 bytes")),
        ("the most attributes", many(ATTRIBUTES_MAX), None),
        ("more", many(ATTRIBUTES_MAX + 1), Some("at most 8 attributes")),
        ("a long action", Asked { action: text(NAME_MAX + 1), ..asked("*", &[]) }, Some("at most 64 bytes")),
    ] {
        let answer = check(&asked).map_err(|denial| {
            assert_eq!((denial.layer, denial.code.as_str()), (Layer::Request, "request.too_long"), "{row}");
            denial.rule.unwrap()
        });
        assert_eq!(answer, rule.map_or(Ok(()), |rule| Err(rule.to_owned())), "{row}");
    }
}

/// No action takes more attributes than a record has room for: the schema says which there are.
#[test]
fn whatever_the_schema_has_fits() {
    // Those of the standing are the authority's own, and no part of what is asked.
    let attributes = |line: &str| line.matches(": ").count() - 3;
    let most = policy::SCHEMA.lines().filter(|line| line.starts_with("type ")).map(attributes).max();
    assert!(most.is_some_and(|most| 2 < most && most <= ATTRIBUTES_MAX), "{most:?}");
    assert!(policy::ACTIONS.iter().all(|action| action.name.len() <= NAME_MAX));
    assert!(Policies::compile("").is_ok());
}

/// The door lets none of this in; a record fits all the same, and says where it was cut.
#[test]
fn what_does_not_fit_is_cut() {
    let long = "é".repeat(100_000);
    let value = || Value::Text(long.clone());
    let context = (0..100).map(|number| (format!("{number:03}{long}"), value())).collect();
    let asked = Asked { action: long.clone(), resource: long.clone(), context };
    let denial = Denial::new(Layer::Policy, &long, long.clone(), long.clone()).rule(long.clone());
    let commands = [Command::Deny { asked: asked.clone(), denial, policy_epoch: u64::MAX }, Command::Answer { asked }];
    for command in commands {
        for event in decided(&Decisions::default(), &command) {
            assert_eq!(written_and_read(&event), event);
            let (resource, context) = match event {
                Event::Denied(kept) => (kept.resource, kept.context),
                Event::Answered(kept) => (kept.resource, kept.context),
            };
            assert!(resource.ends_with("é…") && resource.len() <= TEXT_MAX, "{}", resource.len());
            assert_eq!(context.len(), ATTRIBUTES_MAX);
            assert!(context.iter().all(|one| one.name.len() <= NAME_MAX && one.value.len() <= TEXT_MAX));
        }
    }
}
