//! What is proven, refuted, and left open. With cvc5 where there is one; what holds without it holds everywhere.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use policy::Policies;
use prover::solver::{Cvc5, Solver, Trouble};
use prover::{Counterexample, Finding, Property, Prover, Verdict};

const STARTER: &str = include_str!("../../../../config/policies/starter.cedar");
const BUILT_IN: &str = include_str!("../../../authority/governance/src/built_in.cedar");
const PATIENCE: Duration = Duration::from_mins(1);

/// Whoever sets SOP_PROVE has cvc5, and wants to know if these were left out.
fn cvc5() -> Option<Prover<Cvc5>> {
    let solver = Cvc5::found(PATIENCE);
    match solver.version() {
        Ok(_) => Some(Prover::new(solver)),
        Err(Trouble::Absent { .. }) if std::env::var_os("SOP_PROVE").is_none() => {
            eprintln!("not proven: there is no cvc5 here");
            None
        }
        Err(trouble) => panic!("{trouble}"),
    }
}

fn compiled(text: &str) -> Policies {
    Policies::compile(text).unwrap_or_else(|problems| panic!("{problems:?} in {text}"))
}

/// Says the same whatever it is asked.
struct Says(&'static str);

impl Solver for Says {
    fn answer(&self, _: &str) -> Result<String, Trouble> {
        Ok(self.0.to_owned())
    }
}

#[test]
fn the_same_text_grants_nothing_new_and_nobody_is_asked() {
    let starter = compiled(STARTER);
    let prover = Prover::new(Says("no solver would say this"));
    let Finding { property, verdict, corners, asked } = prover.grants_nothing_new(&starter, &starter, &compiled(""));
    assert_eq!((property, verdict, asked), (Property::GrantsNothingNew, Verdict::Holds, 0));
    assert_eq!(corners, policy::ACTIONS.len() * 4, "every action by every sort of principal");
}

#[test]
fn without_an_answer_nothing_is_proven() {
    let (old, new) =
        (compiled(""), compiled("permit (principal is Agent, action, resource) when { context.via_token };"));
    let text =
        compiled("permit (principal, action == Action::\"token.issue\", resource) when { context.uses + 1 > 0 };");
    let directory = tempfile::tempdir().unwrap();
    let program = |name: &str, body: &str| {
        let path = directory.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        Cvc5 { program: path.into(), patience: PATIENCE }
    };
    let hanging = Cvc5 { patience: Duration::from_millis(50), ..program("hanging", "exec sleep 600") };
    let absent = Cvc5 { program: directory.path().join("nobody").into(), patience: PATIENCE };
    let solvers: [(&str, Box<dyn Solver + Sync>, &str); 7] = [
        ("there is none", Box::new(absent), "there is no solver"),
        ("it hangs", Box::new(hanging), "had not answered after 50ms"),
        ("it fails", Box::new(program("failing", "exit 1")), "unrecognized solver output"),
        ("it does not know", Box::new(Says("unknown\n")), "unknown"),
        ("it says nothing", Box::new(Says("")), "unrecognized solver output"),
        ("it raves", Box::new(Says("the answer is 42\n")), "unrecognized solver output: the answer is 42"),
        ("it has no model", Box::new(Says("sat\n(error \"no model\")\n")), ""),
    ];
    for (row, solver, why) in &solvers {
        let prover = Prover::new(&**solver);
        for finding in [prover.grants_nothing_new(&old, &new, &compiled("")), prover.never_errors(&text)] {
            let Verdict::Unknown { why: said } = &finding.verdict else { panic!("{row}: {finding:?}") };
            assert!(said.contains(why), "{row}: {said}");
        }
    }
}

/// Says of a token that must be there that it is not.
struct Forger(Cvc5);

impl Solver for Forger {
    fn answer(&self, script: &str) -> Result<String, Trouble> {
        Ok(self.0.answer(script)?.replace("true", "false"))
    }
}

/// A made-up counterexample is judged by Cedar before anybody hears of it.
#[test]
fn a_counterexample_that_does_not_hold_is_not_shown() {
    let Some(_) = cvc5() else { return };
    let prover = Prover::new(Forger(Cvc5::found(PATIENCE)));
    let new = compiled("permit (principal, action == Action::\"gap.list\", resource) when { context.via_token };");
    let finding = prover.grants_nothing_new(&compiled(""), &new, &compiled(""));
    assert!(matches!(finding.verdict, Verdict::Unknown { .. }), "{finding:?}");
}

#[test]
fn what_a_change_grants_is_found() {
    let Some(prover) = cvc5() else { return };
    let scan = "@id(\"scan\") permit (principal is Agent, action == Action::\"gap.scan\", resource)";
    let narrow = format!("{scan} when {{ context.via_token && context.root == \"/srv\" }};");
    let wide = format!("{scan} when {{ context.via_token }};");
    let forbidden = format!(
        "{wide} @id(\"no\") forbid (principal, action == Action::\"gap.scan\", resource) when {{ context.root like \"/etc*\" }};"
    );
    let weaker = format!(
        "{wide} @id(\"no\") forbid (principal, action == Action::\"gap.scan\", resource) when {{ context.root == \"/etc\" }};"
    );
    let two = "@id(\"all\") permit (principal is Operator, action, resource);
        @id(\"two\") forbid (principal, action == Action::\"retention.prune\", resource) unless { context.approvals >= 2 };";
    let one = two.replace(">= 2", ">= 1");
    let role = "@id(\"read\") permit (principal in Role::\"auditor\", action == Action::\"audit.list\", resource);";
    let rows: [(&str, &str, &str, &str, Option<&str>); 10] = [
        ("narrowed", &wide, &narrow, "", None),
        ("widened", &narrow, &wide, "", Some("scan")),
        ("widened as declared", &narrow, &wide, &wide, None),
        ("widened beyond what is declared", &narrow, &wide, &narrow, Some("scan")),
        ("a forbid is added", &wide, &forbidden, "", None),
        ("a forbid is weakened", &forbidden, &weaker, "", Some("scan")),
        ("an approval less", two, &one, "", Some("all")),
        ("an approval more", &one, two, "", None),
        ("a role", "", role, "", Some("read")),
        ("written otherwise", &wide, &wide.replace("context.via_token", "!(context.via_token == false)"), "", None),
    ];
    for (row, old, new, declared, by) in rows {
        let finding = prover.grants_nothing_new(&compiled(old), &compiled(new), &compiled(declared));
        match (&finding.verdict, by) {
            (Verdict::Holds, None) => {}
            (Verdict::Violated { by: Counterexample { policies, .. } }, Some(by)) => {
                assert_eq!(policies, &[by], "{row}");
            }
            _ => panic!("{row}: {finding:?}"),
        }
    }
}

#[test]
fn a_policy_that_can_fail_is_found_and_spoils_other_proofs() {
    let Some(prover) = cvc5() else { return };
    let failing = "@id(\"few\") permit (principal, action == Action::\"token.issue\", resource) when { context.uses * 1000 < 5000 };";
    let sound =
        "@id(\"few\") permit (principal, action == Action::\"token.issue\", resource) when { context.uses < 5 };";

    let finding = prover.never_errors(&compiled(failing));
    let Verdict::Violated { by } = &finding.verdict else { panic!("{finding:?}") };
    assert_eq!((by.action.as_str(), &by.policies), ("Action::\"token.issue\"", &vec!["few".to_owned()]));
    assert_eq!(prover.never_errors(&compiled(sound)).verdict, Verdict::Holds);

    // The old text denied where it failed, which Cedar alone would not have done.
    let finding = prover.grants_nothing_new(&compiled(failing), &compiled(sound), &compiled(""));
    let Verdict::Unknown { why } = &finding.verdict else { panic!("{finding:?}") };
    assert!(why.contains("few of the old text can fail"), "{why}");
}

#[test]
fn what_must_never_be_allowed_is_proven_so() {
    let Some(prover) = cvc5() else { return };
    let never = compiled(
        "@id(\"agents-and-policies\") permit (principal is Agent, action, resource is Policy);
         @id(\"scan-without-token\") permit (principal is Protocol, action == Action::\"gap.scan\", resource) unless { context.via_token };
         @id(\"todo-for-another\") permit (principal is Agent, action == Action::\"todo.claim\", resource) unless { context.holder == principal.handle };
         @id(\"audit-for-agents\") permit (principal is Agent, action == Action::\"todo.list\", resource);",
    );
    let found: Vec<_> = prover.never(&compiled(STARTER), &never);
    let verdicts: Vec<_> = found.iter().map(|finding| matches!(finding.verdict, Verdict::Holds)).collect();
    assert_eq!(verdicts, [true, false, true, true], "in the order of the ids: {found:?}");
    let forbid = compiled("@id(\"turned\") forbid (principal, action == Action::\"gap.list\", resource);");
    let found = prover.never(&compiled(STARTER), &forbid);
    assert!(matches!(&found[0].verdict, Verdict::Unknown { why } if why.contains("is a forbid")), "{found:?}");
}

#[test]
fn the_policies_that_we_ship_never_fail() {
    let Some(prover) = cvc5() else { return };
    for text in [STARTER, BUILT_IN] {
        let finding = prover.never_errors(&compiled(text));
        assert_eq!(finding.verdict, Verdict::Holds, "{finding:?}");
    }
}
