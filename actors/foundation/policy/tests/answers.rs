//! One row per answer: what is wrong with a text, and what a question is told.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::Schema;
use kernel::{Kin, Principal};
use policy::{
    ACTIONS, Change, Inquiry, Judgement, May, Open, Policies, Problem, Question, RoleRule, SCHEMA, Standing, Value,
    role_policy,
};

const STARTER: &str = include_str!("../../../../config/policies/starter.cedar");

#[test]
fn what_is_wrong_with_a_text() {
    let long = "// ".to_owned() + &"a".repeat(Policies::TEXT_MAX);
    let nested = format!("permit (principal, action, resource) when {{ {}true{} }};", "(".repeat(32), ")".repeat(32));
    let chained = format!("permit (principal, action, resource) when {{ {} == 1 }};", ["1"; 300].join("+"));
    let wide =
        format!("permit (principal, action, resource) when {{ [{}].contains(1) }};", vec!["1"; 5_000].join(", "));
    let quoted = format!("// {0}\n@note(\"{0}\\\"{0}\")\npermit (principal, action, resource);", "(((((((".repeat(9));
    let head = "permit (principal, action, resource) when { ";
    let beside = format!("{head}{}true }};", "[1].contains(1) && ".repeat(20));
    let either = format!("{head}{}true }};", "false || ".repeat(100));
    let ifs = format!("{head}{}", "if ".repeat(126));
    let after_slash = format!("{head}1 / {}", "(".repeat(32));
    let after_backslash = format!("@note(\"a\\\\\") {head}{}", "(".repeat(32));
    let (longest_id, long_id) = (format!("@id(\"{}\") ", "a".repeat(64)), format!("@id(\"{}\") ", "a".repeat(65)));
    let all = "permit (principal, action, resource);";
    let (longest_id, long_id) = (longest_id + all, long_id + all);
    for (row, text, expected) in [
        ("nothing", "", vec![]),
        ("a comment", "// nothing yet", vec![]),
        ("every action", "permit (principal, action, resource);", vec![]),
        ("a long list", &wide, vec![]),
        ("brackets in strings and comments", &quoted, vec![]),
        ("brackets beside each other", &beside, vec![]),
        ("many alternatives", &either, vec![]),
        ("the longest id", &longest_id, vec![]),
        ("a syntax error", "permit (principal, action, resource)", vec![("policy.syntax", Some((1, 37)), None)]),
        (
            "two syntax errors",
            "permit (principle, action, resource);\nforbid (principle, action, resource);",
            vec![("policy.syntax", Some((1, 9)), None), ("policy.syntax", Some((2, 9)), None)],
        ),
        ("too long", &long, vec![("policy.too_long", None, None)]),
        ("too deep", &nested, vec![("policy.too_complex", Some((1, 76)), None)]),
        ("too many operators", &chained, vec![("policy.too_complex", Some((1, 296)), None)]),
        ("too many ifs", &ifs, vec![("policy.too_complex", Some((1, 420)), None)]),
        ("too deep, after what begins no comment", &after_slash, vec![("policy.too_complex", Some((1, 80)), None)]),
        ("too deep, after a string", &after_backslash, vec![("policy.too_complex", Some((1, 89)), None)]),
        (
            "an operator cut off",
            "permit (principal, action, resource) when { true &",
            vec![("policy.syntax", Some((1, 50)), None)],
        ),
        (
            "another cut off",
            "permit (principal, action, resource) when { true |",
            vec![("policy.syntax", Some((1, 50)), None)],
        ),
        (
            "a template",
            "\npermit (principal == ?principal, action, resource);",
            vec![("policy.template", Some((2, 1)), Some("policy0"))],
        ),
        (
            "an id twice",
            "@id(\"a\") permit (principal, action, resource);\n  @id(\"a\") forbid (principal, action, resource);",
            vec![("policy.duplicate_id", Some((2, 3)), Some("a"))],
        ),
        (
            "an id that is another's default",
            "@id(\"policy1\") permit (principal, action, resource);\nforbid (principal, action, resource);",
            vec![("policy.duplicate_id", Some((2, 1)), Some("policy1"))],
        ),
        (
            "a policy twice",
            "@id(\"a\") permit (principal, action, resource);\n@id(\"a\") permit (principal, action, resource);",
            vec![("policy.duplicate_id", Some((2, 1)), Some("a"))],
        ),
        (
            "an id of two words",
            "@id(\"a b\") permit (principal, action, resource);",
            vec![("policy.bad_id", Some((1, 1)), Some("a b"))],
        ),
        ("an id too long", &long_id, vec![("policy.bad_id", Some((1, 1)), Some(&long_id[5..70]))]),
        ("an empty id", "@id permit (principal, action, resource);", vec![("policy.bad_id", Some((1, 1)), Some(""))]),
        (
            "an unknown action",
            "permit (principal, action == Action::\"token.steal\", resource);",
            vec![("policy.unknown_action", Some((1, 30)), Some("policy0"))],
        ),
        (
            "an unknown type",
            "@id(\"users\") permit (principal is User, action, resource);",
            vec![("policy.unknown_type", Some((1, 35)), Some("users"))],
        ),
        (
            "an unknown attribute",
            "permit (principal, action == Action::\"gap.scan\", resource) when { context.path == \"/\" };",
            vec![("policy.unknown_attribute", Some((1, 67)), Some("policy0"))],
        ),
        (
            "a number against a text",
            "permit (principal, action == Action::\"gap.scan\", resource) when { context.root == 7 };",
            vec![("policy.type_mismatch", Some((1, 67)), Some("policy0"))],
        ),
        (
            "another resource than the action's",
            "forbid (principal, action == Action::\"token.issue\", resource is Gap);",
            vec![("policy.never_applies", Some((1, 1)), Some("policy0"))],
        ),
        (
            "never true",
            "forbid (principal, action, resource) when { context.via_token && false };",
            vec![("policy.never_applies", Some((1, 1)), Some("policy0"))],
        ),
        (
            "text that reads backwards",
            "permit (principal, action == Action::\"gap.scan\", resource) when { context.root == \"\u{202e}x\" };",
            vec![("policy.hidden_characters", Some((1, 83)), Some("policy0"))],
        ),
    ] {
        let problems = Policies::compile(text).err().unwrap_or_default();
        let found: Vec<_> = problems
            .iter()
            .map(|Problem { line, column, policy, code, .. }| (code.as_str(), line.zip(*column), policy.as_deref()))
            .collect();
        assert_eq!(found, expected, "{row}: {problems:#?}");
        assert!(problems.iter().all(|problem| !problem.message.is_empty()), "{row}");
    }
}

#[test]
fn a_problem_reads_well() {
    let text =
        "@id(\"roots\")\npermit (principal, action == Action::\"gap.scan\", resource)\nwhen { context.rot == \"/\" };";
    let problems = Policies::compile(text).unwrap_err();
    assert_eq!(
        problems[0].to_string(),
        "line 3, column 8: in policy \"roots\": attribute `rot` in context for Action::\"gap.scan\" not found; did you \
         mean `root`?"
    );
    let text = "forbid (principal, action == Action::\"token.issue\", resource is Gap);";
    assert_eq!(
        Policies::compile(text).unwrap_err()[0].to_string(),
        "line 1, column 1: in policy \"policy0\": no valid request matches this policy; look at its resource type and its conditions"
    );
}

#[test]
fn what_the_starter_says() {
    let (root, alpha, arp) = ("operator/root", "agent/alpha", "protocol/ARP");
    let starter = Policies::compile(STARTER).unwrap();
    for (principal, action, changed, determining) in [
        (root, "policy.activate", None, Ok("operators-may-all")),
        (root, "system.kill", None, Ok("operators-may-all")),
        (root, "gap.list", None, Ok("operators-may-all work-is-visible")),
        (alpha, "gap.list", None, Ok("work-is-visible")),
        (arp, "todo.show", None, Ok("work-is-visible")),
        (alpha, "todo.claim", Some(("holder", "agent/alpha".into())), Ok("claim-for-oneself")),
        (alpha, "todo.claim", Some(("holder", "agent/beta".into())), Err("")),
        (alpha, "todo.claim", Some(("holder", "protocol/alpha".into())), Err("")),
        (arp, "todo.submit", None, Ok("finish-claimed-work")),
        (arp, "todo.release", None, Ok("finish-claimed-work")),
        (alpha, "token.consume", None, Ok("tokens-are-for-use")),
        (alpha, "token.validate", None, Ok("tokens-are-for-use")),
        (alpha, "token.issue", None, Err("")),
        (alpha, "gap.scan", Some(("via_token", true.into())), Ok("scan-by-token")),
        (alpha, "gap.scan", None, Err("")),
        (alpha, "lease.request", Some(("owner", "agent/alpha".into())), Ok("leases-for-oneself")),
        (alpha, "lease.request", Some(("owner", "agent/beta".into())), Err("")),
        (alpha, "lease.renew", Some(("owner", "agent/alpha".into())), Ok("leases-for-oneself")),
        (arp, "lease.release", Some(("owner", "agent/alpha".into())), Err("")),
        (alpha, "lease.show", Some(("owner", "".into())), Err("")),
        (alpha, "lease.list", Some(("owner", "".into())), Err("")),
        (root, "lease.list", Some(("owner", "".into())), Ok("operators-may-all")),
        (alpha, "resource.show", None, Err("")),
        (root, "resource.define", None, Ok("operators-may-all")),
        (alpha, "policy.list", None, Err("policies-are-for-operators")),
        (alpha, "policy.escalate", None, Err("policies-are-for-operators")),
        (alpha, "policy.can", None, Ok("rights-are-ones-own-to-know")),
        (alpha, "policy.what", Some(("about", "operator/root".into())), Err("")),
        (alpha, "policy.who", None, Err("")),
        (alpha, "authz.evaluate", None, Ok("rights-are-ones-own-to-know")),
        (alpha, "authz.evaluate", Some(("about", "agent/beta".into())), Err("")),
        (alpha, "authz.search", Some(("about", "".into())), Err("")),
        (root, "authz.search", Some(("about", "".into())), Ok("operators-may-all")),
        (arp, "system.tree", None, Err("")),
        (arp, "decision.explain", None, Err("")),
        (alpha, "protocol.call", Some(("via_token", true.into())), Ok("calls-by-token")),
        (alpha, "protocol.call", None, Err("")),
        (root, "protocol.admit", None, Ok("operators-may-all")),
        (arp, "protocol.admit", None, Err("")),
        (arp, "protocol.list", None, Err("")),
        (root, "message.send", None, Ok("operators-may-all")),
        (alpha, "message.send", None, Err("")),
        (alpha, "message.send", Some(("via_token", true.into())), Ok("messages-by-token")),
        (arp, "message.send", Some(("via_token", true.into())), Err("")),
        (alpha, "message.show", Some(("via_token", true.into())), Err("")),
        (alpha, "message.list", None, Err("")),
        (root, "message.discard", None, Ok("operators-may-all")),
        (root, "backup.create", None, Ok("operators-may-all")),
        (alpha, "backup.create", None, Err("")),
        (alpha, "backup.list", None, Err("")),
    ] {
        let judgement = judge(&starter, principal, action, changed.clone());
        let answer = (judgement.allowed, judgement.determining.join(" "));
        let expected = determining.map_or_else(|forbids| (false, forbids), |permits| (true, permits));
        assert_eq!(answer, (expected.0, expected.1.to_owned()), "{principal} {action} {changed:?}");
        assert_eq!(judgement.errors, Vec::<String>::new(), "{principal} {action}");
    }
}

#[test]
fn what_cannot_be_judged_is_denied_with_an_error() {
    let all = Policies::compile("permit (principal, action, resource);").unwrap();
    for (row, principal, action, context, error) in [
        ("a part of the authority", "internal/clock", "gap.list", vec![], "no policy judges it"),
        ("an unknown action", "operator/root", "gap.close", vec![], "no action \"gap.close\""),
        ("a missing attribute", "operator/root", "gap.scan", vec![], "not valid for"),
        ("an ill-typed attribute", "operator/root", "gap.scan", vec![("root", 1.into())], "not valid for"),
        ("a standing that is claimed", "operator/root", "gap.list", vec![("approvals", 2.into())], "duplicate key"),
        ("an attribute too many", "operator/root", "gap.list", vec![("root", "/".into())], "not valid for"),
    ] {
        let principal: Principal = principal.parse().unwrap();
        let context = context.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let standing = &Standing::default();
        let judgement =
            all.judge(&Question { principal: &principal, action, resource: "*", context: &context, standing });
        assert!(!judgement.allowed, "{row}");
        assert_eq!(judgement.determining, Vec::<String>::new(), "{row}");
        assert!(judgement.errors[0].contains(error), "{row}: {:?}", judgement.errors);
    }
}

/// Cedar alone would skip the forbid that fails, and allow.
#[test]
fn a_policy_that_fails_denies() {
    let uses = |uses: i64| Some(("uses", Value::Long(uses)));
    let text = "@id(\"all\") permit (principal, action, resource);
        @id(\"few\") forbid (principal, action == Action::\"token.issue\", resource) when { context.uses * 1000 > 5000 };";
    let policies = Policies::compile(text).unwrap();

    assert!(judge(&policies, "operator/root", "token.issue", uses(5)).allowed);
    assert_eq!(judge(&policies, "operator/root", "token.issue", uses(6)).determining, ["few"]);
    let failed = judge(&policies, "operator/root", "token.issue", uses(i64::MAX));
    assert!(!failed.allowed);
    assert_eq!(failed.determining, Vec::<String>::new());
    assert!(failed.errors[0].contains("few") && failed.errors[0].contains("overflow"), "{:?}", failed.errors);
}

/// What the authority knows of a request is there for policies like any attribute, and a role like a group.
#[test]
fn a_policy_can_speak_of_the_standing() {
    let text = "@id(\"readers\") permit (principal in Role::\"reader\", action == Action::\"audit.list\", resource);
        @id(\"all\") permit (principal is Operator, action == Action::\"retention.prune\", resource);
        @id(\"two\") forbid (principal, action == Action::\"retention.prune\", resource) unless { context.approvals >= 2 };
        @id(\"proven\") forbid (principal, action == Action::\"retention.prune\", resource)
        unless { context.proofs.contains(\"kept\") };";
    let policies = Policies::compile(text).unwrap();
    let standing = |roles: &[&str], approvals, proofs: &[&str]| {
        let set = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Standing { roles: set(roles), approvals, proofs: set(proofs), ..Standing::default() }
    };
    let reader = standing(&["reader", "other"], 0, &[]);
    for (principal, action, standing, allowed, determining) in [
        ("application/board", "audit.list", &reader, true, vec!["readers"]),
        ("application/board", "audit.show", &reader, false, vec![]),
        ("application/board", "audit.list", &standing(&["writer"], 9, &["kept"]), false, vec![]),
        ("operator/root", "retention.prune", &standing(&[], 2, &["kept", "more"]), true, vec!["all"]),
        ("operator/root", "retention.prune", &standing(&[], 1, &["kept"]), false, vec!["two"]),
        ("operator/root", "retention.prune", &standing(&[], 2, &["more"]), false, vec!["proven"]),
        ("operator/root", "retention.prune", &Standing::default(), false, vec!["proven", "two"]),
    ] {
        let principal: Principal = principal.parse().unwrap();
        let context = &BTreeMap::new();
        let judgement = policies.judge(&Question { principal: &principal, action, resource: "*", context, standing });
        assert_eq!((judgement.allowed, judgement.errors), (allowed, vec![]), "{principal} {action} {standing:?}");
        assert_eq!(judgement.determining, determining, "{principal} {action} {standing:?}");
    }
}

/// What would have helped, in words, and what of it is approvals and proofs alone.
#[test]
fn a_near_miss_says_what_would_help() {
    let duties = "@id(\"all\") permit (principal is Operator, action, resource);
        @id(\"two\") forbid (principal, action == Action::\"retention.prune\", resource) unless { context.approvals >= 2 };
        @id(\"more\") forbid (principal, action in [Action::\"retention.prune\", Action::\"backup.drill\"], resource)
        unless { context.approvals > 2 || context.proofs.contains(\"kept\") };
        @id(\"both\") forbid (principal, action == Action::\"subject.erase\", resource)
        unless { context.approvals >= 1 && context.proofs.containsAll([\"asked\", \"known\"]) };
        @id(\"pair\") forbid (principal, action == Action::\"gap.list\", resource) unless { context.approvals >= 2 };
        @id(\"old\") forbid (principal, action == Action::\"audit.cosign\", resource) when { context.approvals < 9 && false || principal.handle == \"operator/root\" };";
    let some = "@id(\"reader\") permit (principal in Role::\"reader\", action == Action::\"audit.list\", resource);
        @id(\"one\") permit (principal == Application::\"board\", action == Action::\"audit.list\", resource == Audit::\"7\");
        @id(\"roots\") permit (principal, action == Action::\"gap.scan\", resource)
        when { [\"/srv\", \"/opt\"].contains(context.root) || context.root like \"/home/*\" };
        @id(\"own\") permit (principal, action == Action::\"todo.claim\", resource) when { context.holder == principal.handle };
        @id(\"short\") permit (principal, action == Action::\"token.issue\", resource)
        when { context.lifetime_ms <= 60000 && context.uses * 2 < 10 };
        @id(\"like\") permit (principal, action == Action::\"lease.request\", resource)
        when { context.owner like \"agent/*\" && context.pool == \"agent/b\" };
        @id(\"same\") permit (principal, action == Action::\"message.send\", resource) when { context.kind == context.priority };
        @id(\"shown\") permit (principal, action == Action::\"gap.show\", resource);
        @id(\"but-one\") forbid (principal, action == Action::\"gap.show\", resource == Gap::\"g\");
        @id(\"not-suspended\") forbid (principal in Role::\"suspended\", action, resource);
        @id(\"handle\") permit (principal, action == Action::\"audit.key\", resource) when { principal.handle == \"agent/beta\" };
        @id(\"called\") permit (principal, action == Action::\"todo.list\", resource) when { context.via_token };";
    let (none, suspended) =
        (Standing::default(), Standing { roles: ["suspended".into()].into(), ..Standing::default() });
    let issue =
        |lifetime: i64, uses: i64| Some(vec![("lifetime_ms", Value::Long(lifetime)), ("uses", Value::Long(uses))]);
    for (text, principal, action, resource, changed, standing, near, missing) in [
        (duties, "operator/root", "retention.prune", "*", None, &none, vec!["3 had approved it"], "3 approvals"),
        (
            duties,
            "operator/root",
            "backup.drill",
            "*",
            None,
            &none,
            vec!["3 had approved it", "\"kept\" were proven"],
            "proof of \"kept\"",
        ),
        (
            duties,
            "operator/root",
            "subject.erase",
            "*",
            None,
            &none,
            vec![],
            "1 approval and proof of \"asked\" and proof of \"known\"",
        ),
        (duties, "operator/root", "gap.list", "*", None, &none, vec!["2 had approved it"], "2 approvals"),
        (duties, "agent/a", "retention.prune", "*", None, &none, vec![], ""),
        (duties, "agent/a", "policy.list", "*", None, &none, vec!["an operator asked"], ""),
        (duties, "operator/root", "policy.list", "*", None, &none, vec![], ""),
        (duties, "operator/root", "audit.cosign", "*", None, &none, vec![], ""),
        (
            some,
            "application/board",
            "audit.list",
            "*",
            None,
            &none,
            vec!["the principal had the role \"reader\"", "it were about \"7\""],
            "",
        ),
        (
            some,
            "agent/a",
            "audit.list",
            "7",
            None,
            &none,
            vec!["the principal had the role \"reader\"", "application/board asked"],
            "",
        ),
        (some, "agent/a", "gap.scan", "*", None, &none, vec![], ""),
        (
            some,
            "agent/a",
            "gap.scan",
            "*",
            Some(vec![("root", "/etc".into())]),
            &none,
            vec!["root were \"/home/\"", "root were \"/opt\"", "root were \"/srv\""],
            "",
        ),
        (some, "agent/a", "gap.scan", "*", Some(vec![("root", "/etc".into())]), &suspended, vec![], ""),
        (some, "agent/a", "gap.scan", "*", None, &suspended, vec!["the principal had not the role \"suspended\""], ""),
        (
            some,
            "agent/a",
            "todo.claim",
            "*",
            Some(vec![("holder", "agent/b".into())]),
            &none,
            vec!["holder were \"agent/a\""],
            "",
        ),
        (
            some,
            "agent/a",
            "lease.request",
            "*",
            Some(vec![("owner", "x".into()), ("pool", "agent/b".into())]),
            &none,
            vec!["owner were \"agent/\""],
            "",
        ),
        (some, "agent/a", "gap.show", "g", None, &none, vec![], ""),
        (some, "agent/a", "message.send", "*", None, &none, vec!["kind were \"high\"", "priority were \"note\""], ""),
        (some, "agent/a", "token.issue", "*", issue(70_000, 4), &none, vec!["lifetime_ms were 60000"], ""),
        (some, "agent/a", "token.issue", "*", issue(70_000, 5), &none, vec![], ""),
        (some, "agent/a", "token.issue", "*", issue(1, i64::MAX), &none, vec!["uses were 3"], ""),
        (some, "agent/a", "audit.key", "*", None, &none, vec!["agent/beta asked"], ""),
        (some, "agent/a", "todo.list", "*", None, &none, vec!["it were asked on the strength of a token"], ""),
        (some, "internal/clock", "todo.list", "*", None, &none, vec![], ""),
        (some, "agent/a", "todo.lose", "*", None, &none, vec![], ""),
        ("", "agent/a", "todo.list", "*", None, &none, vec![], ""),
    ] {
        let policies = Policies::compile(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let principal: Principal = principal.parse().unwrap();
        let mut context = context_of(action);
        context.extend(changed.into_iter().flatten().map(|(name, value)| (name.to_owned(), value)));
        let question = Question { principal: &principal, action, resource, context: &context, standing };
        let found = policies.near_misses(&question);
        assert!(found.complete, "{principal} {action}");
        let mut words: Vec<_> = found.found.iter().map(|near| near.change.to_string()).collect();
        words.dedup();
        assert_eq!(words, near, "{principal} {action} {context:?}");
        let lacks = policies.missing(&question).map(|missing| missing.to_string()).unwrap_or_default();
        assert_eq!(lacks, missing, "{principal} {action}");
    }
}

/// Yes, no, or on what it depends, where only a part of a question is known.
#[test]
fn what_is_open_is_answered_with_conditions() {
    let text = "@id(\"all\") permit (principal is Operator, action, resource);
        @id(\"two\") forbid (principal, action == Action::\"retention.prune\", resource) unless { context.approvals >= 2 };
        @id(\"own\") permit (principal, action == Action::\"todo.claim\", resource)
        when { context.holder == principal.handle && principal is Agent };
        @id(\"one\") permit (principal in Role::\"reader\", action == Action::\"gap.show\", resource == Gap::\"gap-1\");
        @id(\"kind\") permit (principal is Agent in Role::\"reader\", action == Action::\"gap.scan\", resource is Gap);
        @id(\"both\") permit (principal, action in [Action::\"todo.show\", Action::\"gap.scan\"], resource is Todo in Todo::\"todo-1\");
        @id(\"calm\") forbid (principal, action == Action::\"lease.request\", resource)
        when { 100 < context.amount * 2 || context.pool == \"gpu\" && context.via_token };";
    let policies = Policies::compile(text).unwrap();
    let open = |policy: &str, conditions: &[&str]| Open {
        policy: policy.to_owned(),
        conditions: conditions.iter().map(|&condition| condition.to_owned()).collect(),
    };
    let when = |permits: Vec<Open>, forbids: Vec<Open>| May::If { permits, forbids };
    let yes = |by: &str| May::Yes { by: vec![by.to_owned()] };
    let no = |by: &[&str]| May::No { by: by.iter().map(|&id| id.to_owned()).collect() };
    for (principal, action, resource, any_standing, expected) in [
        ("operator/root", "gap.list", None, true, yes("all")),
        ("agent/a", "gap.list", None, true, no(&[])),
        ("operator/root", "retention.prune", Some("*"), false, no(&["two"])),
        (
            "operator/root",
            "retention.prune",
            None,
            true,
            when(vec![open("all", &[])], vec![open("two", &["!(context.approvals >= 2)"])]),
        ),
        (
            "agent/a",
            "todo.claim",
            Some("todo-1"),
            false,
            when(vec![open("own", &["context.holder == principal.handle"])], vec![]),
        ),
        ("protocol/a", "todo.claim", Some("todo-1"), false, no(&[])),
        ("agent/a", "gap.scan", None, true, yes("kind")),
        ("protocol/a", "gap.scan", None, true, no(&[])),
        ("agent/a", "todo.show", Some("todo-1"), true, yes("both")),
        ("agent/a", "todo.show", Some("todo-2"), true, no(&[])),
        ("agent/a", "gap.show", Some("gap-1"), false, yes("one")),
        ("agent/a", "gap.show", Some("gap-2"), false, no(&[])),
        ("agent/a", "gap.show", None, false, when(vec![open("one", &["resource == Gap::\"gap-1\""])], vec![])),
        (
            "operator/root",
            "lease.request",
            Some("*"),
            false,
            when(vec![open("all", &[])], vec![open("calm", &["100 < (context.amount * 2)"])]),
        ),
    ] {
        let principal: Principal = principal.parse().unwrap();
        let standing = Standing { roles: ["reader".to_owned()].into(), ..Standing::default() };
        let context = &BTreeMap::new();
        let inquiry = Inquiry { principal: &principal, action, resource, context, standing: &standing, any_standing };
        assert_eq!(policies.may(&inquiry), Ok(expected), "{principal} {action} {resource:?}");
    }
    let (principal, standing) = ("agent/a".parse().unwrap(), Standing::default());
    let context = &BTreeMap::from([("root".to_owned(), Value::Long(1))]);
    for action in ["gap.scan", "gap.list", "gap.scam"] {
        let inquiry = Inquiry {
            principal: &principal,
            action,
            resource: None,
            context,
            standing: &standing,
            any_standing: false,
        };
        assert!(policies.may(&inquiry).is_err(), "{action}");
    }
}

/// Of each condition what is left of it where some attributes are known, and whether what is open can make it fail: then
/// not even what permits in any case is a yes.
#[test]
fn what_is_left_of_a_condition() {
    let principal: Principal = "operator/root".parse().unwrap();
    let known = [("kind", "operation".into()), ("lifetime_ms", i64::MAX.into())];
    let context: BTreeMap<_, _> = known.map(|(name, value): (&str, Value)| (name.to_owned(), value)).into();
    let standing = Standing { roles: ["reader".to_owned()].into(), ..Standing::default() };
    let told = |text: &str| {
        let policies = Policies::compile(text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
        let (resource, any_standing) = (Some("*"), false);
        let (action, context, standing) = ("token.issue", &context, &standing);
        match policies.may(&Inquiry { principal: &principal, action, resource, context, standing, any_standing }) {
            Ok(May::Yes { by }) => format!("yes: {}", by.join(" ")),
            Ok(May::No { by }) => format!("no: {}", by.join(" ")),
            Ok(May::If { permits, .. }) => {
                let conditions = |open: &Open| format!("{} if {}", open.policy, open.conditions.join("; "));
                permits.iter().map(conditions).collect::<Vec<_>>().join(", ")
            }
            Err(error) => panic!("{text}: {error}"),
        }
    };
    let (always, never, fails) = ("yes: one", "no: ", "no: one");
    for (condition, left, can_fail) in [
        ("context.kind == \"operation\"", always, false),
        ("context.kind == \"x\"", never, false),
        ("principal.handle == \"operator/root\" && principal is Operator in Role::\"reader\"", always, false),
        ("context has uses", always, false),
        ("context.uses < 3", "one if context.uses < 3", false),
        ("context.uses * 2 < 3", "one if (context.uses * 2) < 3", true),
        ("-context.uses < 3", "one if (-(context.uses)) < 3", true),
        ("[context.uses].contains(3)", "one if [context.uses].contains(3)", false),
        ("context.uses < 3 && context.kind == \"operation\"", "one if context.uses < 3", false),
        ("context.uses < 3 && context.kind == \"x\"", never, false),
        ("context.uses * 2 < 3 && context.kind == \"x\"", "one if (context.uses * 2) < 3; false", true),
        (
            "context.uses + 2 < 3 && context.audience == \"a\"",
            "one if (context.uses + 2) < 3; context.audience == \"a\"",
            true,
        ),
        ("context.uses < 3 && context.lifetime_ms + 1 > 1", "one if context.uses < 3", true),
        ("context.uses < 3 || context.kind == \"operation\"", always, false),
        ("context.uses < 3 || context.kind == \"x\"", "one if context.uses < 3", false),
        (
            "context.uses < 3 || context.audience == \"a\"",
            "one if (context.uses < 3) || (context.audience == \"a\")",
            false,
        ),
        (
            "context.uses - 2 < 3 || context.kind == \"operation\"",
            "one if ((context.uses - 2) < 3) || (context.kind == \"operation\")",
            true,
        ),
        (
            "context.uses < 3 || context.lifetime_ms + 1 > 1",
            "one if (context.uses < 3) || ((context.lifetime_ms + 1) > 1)",
            true,
        ),
        ("context.lifetime_ms + 1 > 1", fails, true),
        ("!(context.lifetime_ms + 1 > 1)", fails, true),
        ("!(context.uses < 3)", "one if !(context.uses < 3)", false),
        ("if context.via_token then context.uses < 3 else context.kind == \"operation\"", always, false),
        (
            "if context.uses < 3 then context.via_token else true",
            "one if if context.uses < 3 then context.via_token else true",
            false,
        ),
        ("(if context.uses < 3 then principal else principal) is Operator", "one if", false),
        ("{used: context.uses}.used < 3", "one if", false),
        ("(if context.uses * 2 < 3 then principal else principal) has handle", "one if", true),
    ] {
        let one = format!(
            "@id(\"one\") permit (principal, action == Action::\"token.issue\", resource) when {{ {condition} }};"
        );
        assert!(told(&one).starts_with(left), "{condition}: {}", told(&one));
        let all = told(&format!("{one} @id(\"all\") permit (principal, action, resource);"));
        assert_eq!(all.starts_with("yes"), !can_fail, "{condition}: {all}");
    }
}

/// A role is what policies say of it, and a policy that makes one can be written from names alone.
#[test]
fn roles_are_read_off_the_policies() {
    let made =
        role_policy("auditor", &["audit.list".to_owned(), "subject.*".to_owned()], Some("context.via_token")).unwrap();
    let text = made
        + "@id(\"not\") forbid (principal is Agent in Role::\"auditor\", action, resource == Gap::\"g\")
        unless { context.approvals > 1 };";
    let policies = Policies::compile(&text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
    let rule = |policy: &str, permits, actions: &[&str], resource: Option<&str>, conditions: &[&str]| RoleRule {
        policy: policy.to_owned(),
        permits,
        actions: actions.iter().map(|&action| action.to_owned()).collect(),
        resource: resource.map(str::to_owned),
        conditions: conditions.iter().map(|&condition| condition.to_owned()).collect(),
    };
    let subjects = ["audit.list", "subject.list", "subject.show", "subject.erase", "subject.hold", "subject.release"];
    let rules = vec![
        rule("not", false, &[], Some("resource == Gap::\"g\""), &["principal is Agent", "!(context.approvals > 1)"]),
        rule("role-auditor", true, &subjects, None, &["context.via_token"]),
    ];
    assert_eq!(policies.roles(), BTreeMap::from([("auditor".to_owned(), rules)]));
    for (name, actions) in
        [("", "gap.list"), ("a b", "gap.list"), ("a", "gap.close"), ("a", "gap"), ("a", "g*"), ("a", "*")]
    {
        assert!(role_policy(name, &[actions.to_owned()], None).is_err(), "{name} {actions}");
    }
    assert!(role_policy("a", &[], None).is_err());
    let all = ["gap.list".to_owned()];
    assert!(
        Policies::compile(&role_policy(&"a".repeat(59), &all, None).unwrap()).is_ok(),
        "with `role-` before it it is an id"
    );
    assert!(role_policy(&"a".repeat(60), &all, None).is_err());
}

/// What a text lets its author do that the author may not do now.
#[test]
fn what_an_author_would_win_is_found() {
    let before = "permit (principal is Operator, action in [Action::\"policy.propose\", Action::\"gap.list\"], resource);
        permit (principal, action == Action::\"gap.scan\", resource) when { context.root == \"/srv\" && context.via_token };
        forbid (principal, action == Action::\"gap.scan\", resource) when { context.root like \"/srv/x*\" };";
    let then = Policies::compile(before).unwrap();
    let scan = "permit (principal, action == Action::\"gap.scan\", resource)";
    let kept = "forbid (principal, action == Action::\"gap.scan\", resource) when { context.root like \"/srv/x*\" };";
    for (after, widened) in [
        (before.to_owned(), vec![]),
        (String::new(), vec![]),
        ("permit (principal is Operator, action == Action::\"gap.list\", resource == Gap::\"g\");".to_owned(), vec![]),
        ("permit (principal is Agent, action, resource);".to_owned(), vec![]),
        (
            format!("{scan} when {{ context.root == \"/srv\" && context.via_token && context.approvals > 1 }}; {kept}"),
            vec![],
        ),
        (format!("{scan} when {{ context.root == \"/srv\" && context.via_token }};"), vec!["gap.scan"]),
        (format!("{scan} when {{ context.root == \"/srv\" }}; {kept}"), vec!["gap.scan"]),
        (format!("{scan}; {kept}"), vec!["gap.scan"]),
        (
            "permit (principal == Operator::\"root\", action == Action::\"gap.show\", resource);".to_owned(),
            vec!["gap.show"],
        ),
        (
            "permit (principal in Role::\"reader\", action == Action::\"gap.show\", resource == Gap::\"g\");"
                .to_owned(),
            vec!["gap.show"],
        ),
        ("permit (principal in Role::\"writer\", action == Action::\"gap.show\", resource);".to_owned(), vec![]),
    ] {
        let now = Policies::compile(&after).unwrap_or_else(|problems| panic!("{after}: {problems:?}"));
        let standing = Standing { roles: ["reader".to_owned()].into(), ..Standing::default() };
        assert_eq!(then.widened(&now, &"operator/root".parse().unwrap(), &standing), widened, "{after}");
    }
}

/// A text may name as much as it likes; what is tried and told stays bounded, and says that there was more.
#[test]
fn near_misses_are_bounded() {
    let rule = |number: usize| {
        format!("permit (principal in Role::\"r{number}\", action == Action::\"gap.list\", resource);\n")
    };
    let text: String = (0..400).map(rule).collect();
    let policies = Policies::compile(&text).unwrap();
    let (principal, context, standing) = ("agent/a".parse().unwrap(), BTreeMap::new(), Standing::default());
    let question =
        Question { principal: &principal, action: "gap.list", resource: "*", context: &context, standing: &standing };
    let near = policies.near_misses(&question);
    assert_eq!((near.found.len(), near.complete), (16, false));

    // The more policies have to be looked at for each, the fewer are tried: of these none would help by itself.
    let two = |number: usize| {
        format!(
            "permit (principal in Role::\"r{}\", action == Action::\"gap.list\", resource)
            when {{ context.via_token && context.approvals > 5 }};\n",
            number % 220
        )
    };
    for (count, complete) in [(190, true), (250, false)] {
        let policies = Policies::compile_long(&(0..count).map(two).collect::<String>()).unwrap();
        let near = policies.near_misses(&question);
        assert_eq!((near.found.len(), near.complete), (0, complete));
    }

    let proofs = |count: usize| {
        let names: Vec<_> = (0..count).map(|number| format!("\"p{number}\"")).collect();
        let rule = |names: &[String]| {
            let names = names.join(", ");
            format!("forbid (principal, action, resource) unless {{ context.proofs.containsAll([{names}]) }};\n")
        };
        let rules = names.chunks(32).map(rule).collect::<String>();
        Policies::compile(&format!("permit (principal, action, resource);\n{rules}")).unwrap()
    };
    assert_eq!(proofs(256).missing(&question).map(|missing| missing.proofs.len()), Some(256));
    assert_eq!(proofs(257).missing(&question), None, "beyond the bound nothing is said to be missing");
}

/// For programs a change is data, and reads back.
#[test]
fn a_change_reads_back() {
    for (change, json) in [
        (Change::Approvals(2), r#"{"approvals":2}"#),
        (Change::Kin(Kin::Operator), r#"{"kin":"operator"}"#),
        (
            Change::Attribute { name: "root".into(), value: "/srv".into() },
            r#"{"attribute":{"name":"root","value":{"text":"/srv"}}}"#,
        ),
    ] {
        assert_eq!(serde_json::to_string(&change).unwrap(), json);
        assert_eq!(serde_json::from_str::<Change>(json).unwrap(), change);
    }
}

/// A protocol stands on both sides of a call, and may stand on both at once.
#[test]
fn a_policy_can_speak_of_the_protocol_that_is_called() {
    let text = "permit (principal, action == Action::\"protocol.call\", resource)
        when { resource.handle == \"protocol/arp\" && context.operation == \"decide\" };";
    let policies = Policies::compile(text).unwrap();
    for (principal, resource, operation, allowed) in [
        ("agent/alpha", "arp", "decide", true),
        ("protocol/arp", "arp", "decide", true),
        ("protocol/lap", "arp", "forget", false),
        ("protocol/arp", "scp", "decide", false),
        ("operator/root", "*", "decide", false),
    ] {
        let principal: Principal = principal.parse().unwrap();
        let context = &BTreeMap::from([("operation".to_owned(), operation.into())]);
        let standing = &Standing { via_token: true, ..Standing::default() };
        let action = "protocol.call";
        let judgement = policies.judge(&Question { principal: &principal, action, resource, context, standing });
        assert_eq!((judgement.allowed, judgement.errors), (allowed, vec![]), "{principal} {resource} {operation}");
    }
}

/// The most complex texts that the bounds let through, on a stack smaller than any thread has by default.
#[test]
#[expect(clippy::disallowed_methods, reason = "a stack of known size is what is tested")]
fn a_text_from_outside_cannot_exhaust_the_stack() {
    let head = "permit (principal, action, resource) when { ";
    let texts = [
        format!("{head}{0}context.via_token == false{1} }};", "(".repeat(31), ")".repeat(31)),
        format!("{head}{0}true{1} == {0}true{1} }};", "[".repeat(31), "]".repeat(31)),
        format!("{head}{0}true{1} == {0}true{1} }};", "{a:".repeat(31), "}".repeat(31)),
        format!("{head}{}0 == 0 }};", "0+".repeat(120)),
        format!("{head}{}0 == 0 }};", "0*".repeat(120)),
        format!("{head}{}true }};", "true && ".repeat(120)),
        format!("{head}{}true }};", "if context.via_token then false else ".repeat(60)),
        format!("{head}{}true{} }};", "if context.via_token == false then ".repeat(60), " else false".repeat(60)),
        format!("{head}{}true{} }};", "if ".repeat(120), " then true else false".repeat(120)),
    ];
    let threads = texts.map(|text| {
        let check = move || {
            let policies = Policies::compile(&text).unwrap_or_else(|problems| panic!("{text}: {problems:?}"));
            judge(&policies, "agent/alpha", "gap.list", None)
        };
        std::thread::Builder::new().stack_size(256 * 1024).spawn(check).unwrap()
    });
    for thread in threads {
        let expected = Judgement { allowed: true, determining: vec!["policy0".to_owned()], errors: vec![] };
        assert_eq!(thread.join().unwrap(), expected);
    }
}

/// On a short stack Cedar's validator passes this text: it stops looking before it finds the mistake.
#[test]
fn depth_does_not_hide_a_mistake_from_the_validator() {
    let text = format!("permit (principal, action, resource) when {{ principal{} }};", ".a".repeat(120));
    assert_eq!(Policies::compile(&text).unwrap_err()[0].code, "policy.unknown_attribute");
}

#[test]
fn ids_and_texts_are_there_for_explanations() {
    let text =
        "// first\npermit (principal, action, resource); // on\n@id(\"b\")\nforbid (principal, action, resource);";
    let policies = Policies::compile(text).unwrap();
    assert_eq!(policies.ids().collect::<Vec<_>>(), ["b", "policy0"]);
    assert_eq!(policies.text("policy0"), Some("permit (principal, action, resource);"));
    assert_eq!(policies.text("b"), Some("@id(\"b\")\nforbid (principal, action, resource);"));
    assert_eq!(policies.text("c"), None);
}

#[test]
fn the_table_and_the_schema_agree() {
    let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
    let tabled: BTreeSet<_> =
        ACTIONS.iter().map(|action| (action.name.to_owned(), action.resource.to_owned())).collect();
    let of_schema: BTreeSet<_> = schema
        .actions()
        .flat_map(|uid| {
            let resources = schema.resources_for_action(uid).unwrap();
            resources.map(|resource| (uid.id().unescaped().to_owned(), resource.to_string()))
        })
        .collect();
    assert_eq!(tabled, of_schema);
    assert_eq!(tabled.len(), ACTIONS.len(), "no action is tabled twice");
    assert_eq!(schema.action_groups().count(), 0, "slicing by action knows no groups");
    for uid in schema.actions() {
        let principals: BTreeSet<_> = schema.principals_for_action(uid).unwrap().map(ToString::to_string).collect();
        assert_eq!(
            principals.iter().map(String::as_str).collect::<Vec<_>>(),
            ["Agent", "Application", "Operator", "Protocol"],
            "{uid}"
        );
    }
    for action in ACTIONS {
        assert_eq!(policy::action(action.name), Some(action));
    }
    assert_eq!(policy::action("system.stop"), None);
}

/// Asks about "*" with a context as the schema wants it, but for one attribute.
fn judge(policies: &Policies, principal: &str, action: &str, changed: Option<(&str, Value)>) -> Judgement {
    let principal: Principal = principal.parse().unwrap();
    assert_ne!(principal.kin, Kin::Internal);
    let mut context = context_of(action);
    let mut standing = Standing::default();
    match changed {
        Some(("via_token", Value::Bool(truth))) => standing.via_token = truth,
        Some((name, value)) => drop(context.insert(name.to_owned(), value)),
        None => {}
    }
    policies.judge(&Question { principal: &principal, action, resource: "*", context: &context, standing: &standing })
}

/// As the schema wants it.
fn context_of(action: &str) -> BTreeMap<String, Value> {
    match action {
        "token.issue" => vec![
            ("kind", "operation".into()),
            ("subject", "agent/alpha".into()),
            ("audience", "gaps".into()),
            ("operation", "gap.scan".into()),
            ("lifetime_ms", 60_000.into()),
            ("uses", 1.into()),
        ],
        "token.validate" | "token.consume" => vec![("audience", "gaps".into()), ("operation", "gap.scan".into())],
        "policy.can" | "policy.who" | "policy.what" => vec![("about", "agent/alpha".into())],
        "authz.evaluate" | "authz.search" => vec![("about", "agent/alpha".into()), ("asked", "gap.scan".into())],
        "gap.scan" => vec![("root", "/srv".into())],
        "todo.claim" => vec![("holder", "agent/alpha".into())],
        "lease.request" => {
            vec![("owner", "agent/alpha".into()), ("pool", "gpu".into()), ("amount", 1.into()), ("priority", 0.into())]
        }
        "lease.renew" | "lease.release" | "lease.list" | "lease.show" => vec![("owner", "agent/alpha".into())],
        "message.send" => {
            vec![("source", "agent/alpha".into()), ("priority", "high".into()), ("kind", "note".into())]
        }
        "protocol.call" => vec![("operation", "deploy".into())],
        _ => vec![],
    }
    .into_iter()
    .map(|(name, value): (&str, Value)| (name.to_owned(), value))
    .collect()
}

#[test]
fn what_others_reason_with() {
    let text = "@id(\"lists\") permit (principal, action == Action::\"gap.list\", resource);
        @id(\"roots\") permit (principal is Operator, action, resource);
        @id(\"claims\") forbid (principal in Role::\"x\", action in [Action::\"todo.claim\"], resource);";
    let policies = Policies::compile(text).unwrap();
    assert_eq!(policies.digest().0, *blake3::hash(text.as_bytes()).as_bytes());
    let ids = |action| {
        let slice = policies.slice(action)?;
        let mut ids: Vec<_> = slice.policies().map(|policy| policy.id().to_string()).collect();
        ids.sort();
        Some(ids.join(" "))
    };
    assert_eq!(ids("gap.list").as_deref(), Some("lists roots"));
    assert_eq!(ids("todo.claim").as_deref(), Some("claims roots"));
    assert_eq!(ids("todo.list").as_deref(), Some("roots"));
    assert_eq!(ids("gap.close"), None, "there is no such action");
    let corners: BTreeSet<_> = policy::corners().map(|corner| format!("{corner:?}")).collect();
    assert_eq!(corners.len(), 4 * ACTIONS.len(), "each action, by each kind of principal");
}

#[test]
fn why_not_is_said_in_a_code() {
    let question = |standing: &Standing, action: &str, context: &BTreeMap<_, _>, policies: &Policies| {
        let principal = "operator/root".parse().unwrap();
        let question = Question { principal: &principal, action, resource: "7", context, standing };
        let judgement = policies.judge(&question);
        let why = policies.why_not(&question, &judgement);
        assert_eq!(judgement.errors.is_empty(), question.check().is_ok());
        why.map(|why| why.code())
    };
    let (nothing, none) = (Standing::default(), BTreeMap::new());
    let approved = Standing { approvals: 2, ..Standing::default() };
    let open = "permit (principal, action, resource);";
    for (row, text, standing, action, expected) in [
        ("allowed", open, &nothing, "gap.list", None),
        ("no policy", "", &nothing, "gap.list", Some("policy.not_permitted")),
        (
            "forbidden",
            "permit (principal, action, resource); forbid (principal, action, resource);",
            &nothing,
            "gap.list",
            Some("policy.forbidden"),
        ),
        (
            "approvals are missing",
            "permit (principal, action, resource) when { context.approvals >= 2 };",
            &nothing,
            "gap.list",
            Some("policy.approval_needed"),
        ),
        (
            "they are there",
            "permit (principal, action, resource) when { context.approvals >= 2 };",
            &approved,
            "gap.list",
            None,
        ),
        (
            "a proof is missing",
            "permit (principal, action, resource) when { context.proofs.contains(\"kept\") };",
            &nothing,
            "gap.list",
            Some("policy.proof_needed"),
        ),
        ("no such action", open, &nothing, "gap.close", Some("policy.error")),
        ("an attribute is missing", open, &nothing, "gap.scan", Some("policy.error")),
    ] {
        assert_eq!(question(standing, action, &none, &Policies::compile(text).unwrap()), expected, "{row}");
    }
}

/// Who is asked about and who asks are one entity then, with the roles of who asks.
#[test]
fn a_protocol_may_ask_about_itself() {
    let text = "permit (principal in Role::\"caller\", action == Action::\"protocol.show\", resource);";
    let policies = Policies::compile(text).unwrap();
    let principal: Principal = "protocol/ARP".parse().unwrap();
    let standing = Standing { roles: ["caller".to_owned()].into(), ..Standing::default() };
    for resource in ["ARP", "SCP"] {
        let context = BTreeMap::new();
        let question = Question {
            principal: &principal,
            action: "protocol.show",
            resource,
            context: &context,
            standing: &standing,
        };
        assert_eq!((question.check(), policies.judge(&question).allowed), (Ok(()), true), "{resource}");
    }
}
