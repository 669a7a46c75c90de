//! What holds for every policy text and every question.

use std::collections::BTreeMap;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request, RestrictedExpression, Schema,
};
use kernel::{Missing, Principal};
use policy::{
    ACTIONS, Action, Change, Inquiry, Judgement, May, NearMiss, Policies, Question, SCHEMA, Sort, Standing, Value,
    narrowest,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const PRINCIPALS: [&str; 5] = ["operator/root", "agent/alpha", "agent/root", "protocol/alpha", "application/root"];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_empty_text_denies_everything(question in asked()) {
        let nothing = Judgement { allowed: false, determining: vec![], errors: vec![] };
        prop_assert_eq!(question.put_to(&Policies::compile("").unwrap()), nothing);
    }

    #[test]
    fn a_forbid_more_never_allows_more(permits in vec(rule(), 0..6), forbid in rule(), questions in vec(asked(), 1..12)) {
        let fewer = Policies::compile(&text_of(&permits)).unwrap();
        let text = text_of(&permits) + &text_of(&[forbid.replacen("permit", "forbid", 1)]);
        let more = Policies::compile(&text).unwrap();
        for question in questions {
            let (before, after) = (question.put_to(&fewer).allowed, question.put_to(&more).allowed);
            prop_assert!(before || !after, "{:?} is allowed by a forbid in {}", question, text);
        }
    }

    #[test]
    fn a_slice_judges_as_the_whole(rules in vec(rule(), 0..8), questions in vec(asked(), 1..12)) {
        let text = text_of(&rules);
        let policies = Policies::compile(&text).unwrap();
        let whole: PolicySet = text.parse().unwrap();
        for question in questions {
            let judgement = question.put_to(&policies);
            prop_assert_eq!(&judgement, &question.put_to_cedar(&whole), "{:?} of {}", &question, &text);
            prop_assert_eq!(&judgement, &question.put_to(&Policies::compile(&text).unwrap()), "the same again");
        }
    }

    /// Ours knows without Cedar which contexts the schema has, and agrees with it.
    #[test]
    fn a_context_is_checked_as_cedar_checks_it(question in asked(), name in select(&["root", "uses", "owner", "extra"][..]), value in value()) {
        let mut question = question;
        match value {
            Some(value) => drop(question.context.insert(name.to_owned(), value)),
            None => drop(question.context.remove(name)),
        }
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).unwrap();
        let (request, _) = question.in_cedar(Some(&schema));
        let judgement = question.put_to(&Policies::compile("").unwrap());
        prop_assert_eq!(judgement.errors, request.err().into_iter().collect::<Vec<_>>());
    }

    /// Where nothing forbids, the narrowest policy is enough, and it is narrow: nobody else wins anything by it.
    #[test]
    fn the_narrowest_policy_permits_what_it_is_for_and_nothing_else(question in asked(), other in asked(), any_resource in any::<bool>()) {
        let resource = Some(question.resource).filter(|_| !any_resource);
        let text = narrowest(&question.principal, question.action.name, resource, &question.context).unwrap();
        let policies = Policies::compile(&text).unwrap();
        if question.question().check().is_ok() {
            prop_assert!(question.put_to(&policies).allowed, "{}", text);
        }
        let same = (&other.principal, &other.action, &other.context) == (&question.principal, &question.action, &question.context)
            && (any_resource || other.resource == question.resource);
        prop_assert!(same || !other.put_to(&policies).allowed, "{} for {:?}", text, other);
    }

    #[test]
    fn a_near_miss_is_true(rules in vec(rule(), 1..6), question in asked()) {
        let text = text_of(&rules);
        let policies = Policies::compile(&text).unwrap();
        let denied = !question.put_to(&policies).allowed;
        let near = policies.near_misses(&question.question());
        prop_assert!(denied || near.found.is_empty(), "nothing is near to an allow");
        for NearMiss { change, permits } in near.found {
            let changed = change.applied_to(&question.question());
            let judgement = policies.judge(&changed.question());
            prop_assert!(judgement.allowed, "{} in {} of {:?}", change, text, question);
            prop_assert_eq!(judgement.determining, permits);
        }
        // The one change that is always thought of is found wherever it helps.
        let flipped = Change::ViaToken(!question.standing.via_token);
        let helps = denied && policies.judge(&flipped.applied_to(&question.question()).question()).allowed;
        prop_assert_eq!(helps, policies.near_misses(&question.question()).found.iter().any(|near| near.change == flipped));
    }

    /// What is said with something left open holds, whatever it turns out to be; and with nothing open, no "if" is left.
    #[test]
    fn what_may_be_is_what_is(rules in vec(rule(), 0..8), question in asked(), dropped in vec(any::<bool>(), 8), open in any::<(bool, bool)>()) {
        let text = text_of(&rules);
        let policies = Policies::compile(&text).unwrap();
        let allowed = question.put_to(&policies).allowed;
        let kept = question.context.iter().zip(&dropped).filter(|(_, dropped)| !**dropped).map(|(pair, _)| pair);
        let context: BTreeMap<_, _> = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
        let inquiry = Inquiry {
            principal: &question.principal,
            action: question.action.name,
            resource: (!open.0).then_some(question.resource),
            context: &context,
            standing: &question.standing,
            any_standing: open.1,
        };
        match policies.may(&inquiry).unwrap() {
            May::Yes { .. } => prop_assert!(allowed, "{:?} of {:?} by {}", inquiry, question, text),
            May::No { .. } => prop_assert!(!allowed, "{:?} of {:?} by {}", inquiry, question, text),
            May::If { permits, .. } => prop_assert!(!permits.is_empty()),
        }
        let all = Inquiry { resource: Some(question.resource), context: &question.context, any_standing: false, ..inquiry };
        let may = policies.may(&all).unwrap();
        prop_assert_eq!(matches!(may, May::Yes { .. }), allowed, "{:?} of {}: {:?}", question, text, may);
        prop_assert!(!matches!(may, May::If { .. }), "{:?} of {}: {:?}", question, text, may);
    }

    /// What is not said to be widened is not.
    #[test]
    fn no_right_is_won_unseen(before in vec(rule(), 0..6), after in vec(rule(), 0..6), question in asked()) {
        let compiled = |rules: &[String]| Policies::compile(&text_of(rules)).unwrap();
        let (then, now) = (compiled(&before), compiled(&after));
        let widened = then.widened(&now, &question.principal, &question.standing);
        let failed = !question.put_to(&then).errors.is_empty();
        let won = question.put_to(&now).allowed && !question.put_to(&then).allowed && !failed;
        prop_assert!(!won || widened.contains(&question.action.name), "{:?} by {:?} after {:?}", question, after, before);
        prop_assert_eq!(then.widened(&then, &question.principal, &question.standing), Vec::<&str>::new());
    }

    #[test]
    fn what_is_missing_is_enough_and_no_more(rules in vec(duty(), 1..6), question in asked()) {
        let text = text_of(&rules);
        let policies = Policies::compile(&text).unwrap();
        let with = |missing: &Missing| {
            let mut standing = question.standing.clone();
            standing.approvals = standing.approvals.max(missing.approvals);
            standing.proofs.extend(missing.proofs.iter().cloned());
            policies.judge(&Question { standing: &standing, ..question.question() }).allowed
        };
        let Some(missing) = policies.missing(&question.question()) else {
            // These rules ask for nothing that more of it would take away.
            let most = Missing { approvals: 9, proofs: ["kept", "known"].map(str::to_owned).into(), ..Missing::default() };
            prop_assert!(with(&Missing::default()) || !with(&most), "{:?} lacks something in {}", question, text);
            return Ok(());
        };
        prop_assert!(!with(&Missing::default()), "nothing is missing of what is allowed");
        prop_assert!(with(&missing), "{} is not enough in {} for {:?}", missing, text, question);
        if missing.approvals != 0 {
            prop_assert!(question.standing.approvals < missing.approvals);
            let fewer = Missing { approvals: missing.approvals - 1, ..missing.clone() };
            prop_assert!(!with(&fewer), "{} is too much in {}", missing, text);
        }
        for proof in &missing.proofs {
            prop_assert!(!question.standing.proofs.contains(proof));
            let mut fewer = missing.clone();
            fewer.proofs.remove(proof);
            prop_assert!(!with(&fewer), "{} is too much in {}", missing, text);
        }
    }

    #[test]
    fn no_text_is_too_strange_to_answer(text in ".{0,200}", rule in rule(), cut in any::<prop::sample::Index>()) {
        // Whatever the answer is: there is one, and a problem points into the text.
        let cut: String = rule.chars().take(cut.index(rule.len())).collect();
        for text in [text.clone(), cut.clone() + &text, cut] {
            for problem in Policies::compile(&text).err().unwrap_or_default() {
                let lines = u32::try_from(text.matches('\n').count()).unwrap() + 1;
                prop_assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{:?}", problem);
            }
        }
    }
}

#[derive(Clone, Debug)]
struct Asked {
    principal: Principal,
    action: Action,
    resource: &'static str,
    context: BTreeMap<String, Value>,
    standing: Standing,
}

impl Asked {
    fn question(&self) -> Question<'_> {
        Question {
            principal: &self.principal,
            action: self.action.name,
            resource: self.resource,
            context: &self.context,
            standing: &self.standing,
        }
    }

    fn put_to(&self, policies: &Policies) -> Judgement {
        policies.judge(&self.question())
    }

    /// Plain Cedar over all policies, and our one rule on top: an error denies.
    fn put_to_cedar(&self, policies: &PolicySet) -> Judgement {
        let (request, entities) = self.in_cedar(None);
        let response = Authorizer::new().is_authorized(&request.unwrap(), policies, &entities);
        let mut determining: Vec<_> = response.diagnostics().reason().map(ToString::to_string).collect();
        let mut errors: Vec<_> = response.diagnostics().errors().map(ToString::to_string).collect();
        determining.sort();
        errors.sort();
        match (response.decision(), errors.is_empty()) {
            (Decision::Allow, false) => Judgement { allowed: false, determining: vec![], errors },
            (decision, _) => Judgement { allowed: decision == Decision::Allow, determining, errors },
        }
    }

    fn in_cedar(&self, schema: Option<&Schema>) -> (Result<Request, String>, Entities) {
        let kin = match self.principal.kin.as_str() {
            "operator" => "Operator",
            "agent" => "Agent",
            "protocol" => "Protocol",
            other => other.strip_prefix("app").map(|_| "Application").unwrap(),
        };
        let uid = |kind: &str, id: &str| format!("{kind}::\"{id}\"").parse::<EntityUid>().unwrap();
        let principal = uid(kin, self.principal.name());
        let handle = RestrictedExpression::new_string(self.principal.to_string());
        let roles = self.standing.roles.iter().map(|role| uid("Role", role)).collect();
        let entity = Entity::new(principal.clone(), [("handle".to_owned(), handle)].into(), roles).unwrap();
        let context = self.context.iter().map(|(name, value)| {
            let value = match value {
                Value::Text(text) => RestrictedExpression::new_string(text.clone()),
                Value::Long(number) => RestrictedExpression::new_long(*number),
                Value::Bool(truth) => RestrictedExpression::new_bool(*truth),
            };
            (name.clone(), value)
        });
        let standing = [
            ("via_token", RestrictedExpression::new_bool(self.standing.via_token)),
            ("approvals", RestrictedExpression::new_long(self.standing.approvals.into())),
            (
                "proofs",
                RestrictedExpression::new_set(
                    self.standing.proofs.iter().map(|proof| RestrictedExpression::new_string(proof.clone())),
                ),
            ),
        ];
        let context = Context::from_pairs(context.chain(standing.map(|(name, value)| (name.to_owned(), value))));
        let (action, resource) = (uid("Action", self.action.name), uid(self.action.resource, self.resource));
        let request = Request::new(principal, action, resource, context.unwrap(), schema);
        let entities = Entities::from_entities([entity], None).unwrap();
        (request.map_err(|error| error.to_string()), entities)
    }
}

fn value() -> impl Strategy<Value = Option<Value>> {
    prop_oneof![Just(None), Just(Some(Value::from("a"))), Just(Some(Value::from(1))), Just(Some(Value::from(true)))]
}

fn asked() -> impl Strategy<Value = Asked> {
    let long = prop_oneof![0..4_i64, Just(i64::MAX)];
    // The action whose numbers the rules below reckon with, so that they can overflow, is drawn more often.
    let action = prop_oneof![3 => select(ACTIONS), 1 => Just(*policy::action("token.issue").unwrap())];
    let parts = (select(&PRINCIPALS[..]), action, select(&["*", "1"][..]), standing(), long);
    parts.prop_map(|(principal, action, resource, standing, long)| {
        let value = |(name, sort): (&String, &Sort)| {
            let value = match sort {
                Sort::Text => "agent/alpha".into(),
                Sort::Long => long.into(),
                Sort::Bool => true.into(),
            };
            (name.clone(), value)
        };
        let context = policy::attributes(action.name).unwrap().iter().map(value).collect();
        Asked { principal: principal.parse().unwrap(), action, resource, context, standing }
    })
}

fn standing() -> impl Strategy<Value = Standing> {
    let names = |name: &str| prop_oneof![Just([].into()), Just([name.to_owned()].into())];
    let parts = (any::<bool>(), names("reader"), 0..3_u32, names("kept"));
    parts.prop_map(|(via_token, roles, approvals, proofs)| Standing {
        via_token,
        credential: None,
        roles,
        approvals,
        proofs,
    })
}

/// One policy that compiles, and of which more approvals and proofs never make a no.
fn duty() -> impl Strategy<Value = String> {
    let condition = select(
        &[
            "context.approvals >= 2",
            "context.approvals > 2",
            "context.proofs.contains(\"kept\")",
            "context.proofs.containsAll([\"kept\", \"known\"])",
            "context.approvals == 3 || context.approvals > 3",
            "context.approvals >= 1 && context.proofs.contains(\"known\")",
            "context.via_token",
        ][..],
    );
    let kind = select(&[("permit", "when"), ("forbid", "unless")][..]);
    let principal = select(&["principal", "principal is Agent", "principal in Role::\"reader\""][..]);
    let parts = (kind, principal, condition);
    parts.prop_map(|((effect, clause), principal, condition)| {
        format!("{effect} ({principal}, action, resource) {clause} {{ {condition} }};\n")
    })
}

/// One policy that compiles. Every clause is drawn for itself, and what could never apply is drawn again.
fn rule() -> impl Strategy<Value = String> {
    let principal = select(
        &[
            "principal",
            "principal is Agent",
            "principal == Operator::\"root\"",
            "principal in Role::\"reader\"",
            "principal is Agent in Role::\"reader\"",
            "principal in Agent::\"alpha\"",
        ][..],
    );
    let action = prop_oneof![
        2 => Just("action".to_owned()),
        3 => select(ACTIONS).prop_map(|action| format!("action == Action::\"{}\"", action.name)),
        3 => vec(select(ACTIONS), 1..6).prop_map(|actions| {
            let names: Vec<_> = actions.iter().map(|action| format!("Action::\"{}\"", action.name)).collect();
            format!("action in [{}]", names.join(", "))
        }),
        3 => Just("action == Action::\"token.issue\"".to_owned()),
    ];
    let resource = select(&["resource", "resource", "resource is Gap", "resource == Token::\"1\""][..]);
    let condition = select(
        &[
            "",
            "when { context.via_token }",
            "when { context.approvals >= 2 }",
            "unless { context.proofs.contains(\"kept\") }",
            "unless { context.via_token }",
            "when { principal.handle like \"*/root\" }",
            "when { context.holder == principal.handle }",
            "when { context.uses * 2 > 3 }",
            "unless { 3 < context.lifetime_ms + 1 }",
        ][..],
    );
    let parts = (select(&["permit", "permit", "forbid"][..]), principal, action, resource, condition);
    parts
        .prop_map(|(effect, principal, action, resource, condition)| {
            format!("{effect} ({principal}, {action}, {resource}) {condition};\n")
        })
        .prop_filter("it compiles", |rule| Policies::compile(rule).is_ok())
}

fn text_of(rules: &[String]) -> String {
    rules.concat()
}
