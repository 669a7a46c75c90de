//! One row per answer.

use std::collections::BTreeMap;

use door::decisions::{Command, Decisions, Event};
use kernel::{Asked, Attribute, Denial, Layer};
use policy::Policies;

use crate::written::{after, asked, decided, denial, written_and_read};

#[test]
fn a_denial_is_kept_and_its_request_is_the_envelope_s() {
    let command = Command::Deny { asked: asked("todo-7", &[("uses", 3.into())]), denial: denial() };
    let [Event::Denied(kept)] = &decided(&Decisions::default(), &command)[..] else { panic!("one record") };
    assert_eq!(kept.denial(), denial(), "it reads as it was given");
    assert_eq!(kept.before, None, "what was asked is not kept twice");
}

#[test]
fn every_layer_reads_back() {
    for layer in Layer::ALL {
        let denial = Denial::new(layer, "a.b", "no", "ask");
        let command = Command::Deny { asked: asked("*", &[]), denial: denial.clone() };
        let [Event::Denied(kept)] = &decided(&Decisions::default(), &command)[..] else { panic!("one record") };
        assert_eq!(kept.denial(), denial);
    }
}

#[test]
fn an_answer_is_a_record_of_nothing_more() {
    let command = Command::Answer { asked: asked("*", &[("kind", "test".into())]) };
    let [Event::Answered(kept)] = &decided(&Decisions::default(), &command)[..] else { panic!("one record") };
    assert_eq!(kept.before, None);
}

#[test]
fn they_are_counted() {
    let answer = || Command::Answer { asked: asked("*", &[]) };
    let deny = || Command::Deny { asked: asked("*", &[]), denial: denial() };
    let decisions = after(&[answer(), deny(), answer()]);
    assert_eq!(decisions, Decisions { denied: 1, answered: 2 });
}

#[test]
fn what_fits() {
    let text = |bytes: usize| "r".repeat(bytes);
    let many = |count: usize| (0..count).map(|number| (number.to_string(), Attribute::Bool(true))).collect();
    let one = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), Attribute::from(value))]);
    let (name, longest) = (Asked::NAME_MAX, Asked::TEXT_MAX);
    for (row, action, resource, context, rule) in [
        ("nothing", text(0), text(0), many(0), None),
        ("the longest resource", text(0), text(longest), many(0), None),
        ("a longer one", text(0), text(longest + 1), many(0), Some("at most 4096 bytes")),
        ("the longest value", text(0), text(1), one("root", &text(longest)), None),
        ("a longer one", text(0), text(1), one("root", &text(longest + 1)), Some("at most 4096 bytes")),
        ("the longest name", text(0), text(1), one(&text(name), "1"), None),
        ("a longer one", text(0), text(1), one(&text(name + 1), "1"), Some("at most 64 bytes")),
        ("the most attributes", text(0), text(1), many(Asked::ATTRIBUTES_MAX), None),
        ("more", text(0), text(1), many(Asked::ATTRIBUTES_MAX + 1), Some("at most 8 attributes")),
        ("a long action", text(name + 1), text(1), many(0), Some("at most 64 bytes")),
    ] {
        let answer = Asked::check(&action, &resource, &context).map_err(|denial| {
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
    assert!(most.is_some_and(|most| 2 < most && most <= Asked::ATTRIBUTES_MAX), "{most:?}");
    assert!(policy::ACTIONS.iter().all(|action| action.name.len() <= Asked::NAME_MAX));
    assert!(Policies::compile("").is_ok());
}

/// However long a denial is, it fits into a record, which says where it was cut.
#[test]
fn what_does_not_fit_is_cut() {
    let long = "é".repeat(100_000);
    let denial = Denial::new(Layer::Policy, &long, long.clone(), long.clone()).rule(long.clone());
    let command = Command::Deny { asked: asked(&long, &[("long", long.as_str().into())]), denial };
    let [event] = &decided(&Decisions::default(), &command)[..] else { panic!("one record") };
    assert_eq!(&written_and_read(event), event);
    let Event::Denied(kept) = event else { panic!("it is a denial") };
    for (text, max) in [(&kept.code, Asked::NAME_MAX), (&kept.reason, 2 * Asked::TEXT_MAX), (&kept.remedy, 4_096)] {
        // As much as there is room for.
        assert!(text.ends_with("é…") && (max - 4..=max).contains(&text.len()), "{}", text.len());
    }
}
