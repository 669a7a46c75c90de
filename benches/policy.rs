//! What a decision costs in process, against plain Cedar in the same run.
//!
//! N rules, each for a role, an action and a class of principals, and one forbid; 40 actions; of 200 questions half are allowed.
//! Ours is [`Policies::judge`]: from the names in a question to the names in an answer, the question checked against the schema. Three
//! peers are given the question in Cedar's types, unchecked:
//! - `slice`: Cedar over the policies that name the action of the question, its request and entities made for each question;
//! - `ready`: the same, with request and entities made beforehand, so that nothing is left but Cedar's evaluation;
//! - `whole`: Cedar over all policies, made beforehand as well.
//!
//! A ratio is time of ours over time of the peer's, so that less is better; see [`pairs`] for how it comes about.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use cedar_policy::{
    ActionConstraint, Authorizer, Context, Decision, Entities, Entity, EntityUid, PolicySet, Request,
    RestrictedExpression,
};
use kernel::Principal;
use policy::{ACTIONS, Case, Policies, Standing, Value};

#[expect(dead_code, reason = "what has callers is for the other benches")]
mod pairs;

use pairs::{conditions, median, ratio};

/// The daemon's own; the peers get it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const QUESTIONS: usize = 200;
const NAMED: usize = 40;

fn main() {
    let pairs = pairs::pairs();
    println!("one decision in process; ours: checked against the schema; peers: plain Cedar, unchecked");
    println!("{pairs} interleaved pairs of {QUESTIONS} questions, half allowed; {}", conditions());
    println!(
        "{:>6}  {:>20}  {:>20}  {:>20}  {:>16}  {:>9} {:>9} {:>9}",
        "rules",
        "to slice (min..max)",
        "to ready (min..max)",
        "to whole (min..max)",
        "ours p50/p99 µs",
        "slice µs",
        "ready µs",
        "whole µs"
    );
    for rules in [10, 100, 1_000] {
        let world = World::of(rules);
        world.agree();
        let compared: Vec<_> = (0..pairs).map(|pair| world.compare(pair % 2 == 0)).collect();
        let against = |peer: usize| -> Vec<(Run, Run)> { compared.iter().map(|runs| (runs[0], runs[peer])).collect() };
        let ratio_to = |peer| ratio(&against(peer), |run: &Run| run.p50.as_secs_f64());
        let micros =
            |side: usize, of: fn(&Run) -> Duration| median(&against(side), |(_, run)| of(run).as_secs_f64() * 1e6);
        println!(
            "{rules:>6}  {:>20}  {:>20}  {:>20}  {:>16}  {:>9.2} {:>9.2} {:>9.2}",
            ratio_to(1),
            ratio_to(2),
            ratio_to(3),
            format!("{:.2}/{:.2}", micros(0, |run| run.p50), micros(0, |run| run.p99)),
            micros(1, |run| run.p50),
            micros(2, |run| run.p50),
            micros(3, |run| run.p50),
        );
    }
    println!("after: {}", conditions());
}

#[derive(Clone, Copy)]
struct Run {
    p50: Duration,
    p99: Duration,
}

struct World {
    questions: Vec<Case>,
    ours: Policies,
    whole: PolicySet,
    slices: BTreeMap<String, PolicySet>,
    ready: Vec<(Request, Entities)>,
}

impl World {
    fn of(rules: usize) -> Self {
        let rule = |number: usize| {
            let (action, role) = (ACTIONS[number % NAMED].name, number / NAMED);
            format!(
                "permit (principal in Role::\"r{role}\", action == Action::\"{action}\", resource)\n\
                 when {{ principal is Agent }};\n"
            )
        };
        let text =
            (0..rules).map(rule).collect::<String>() + "forbid (principal in Role::\"suspended\", action, resource);";
        let ours = compiled(&text);
        let whole: PolicySet = text.parse().expect("it is valid");
        let could_match = |policy: &&cedar_policy::Policy, name: &str| match policy.action_constraint() {
            ActionConstraint::Any => true,
            ActionConstraint::Eq(uid) => uid.id().unescaped() == name,
            ActionConstraint::In(uids) => uids.iter().any(|uid| uid.id().unescaped() == name),
        };
        let slices = ACTIONS.iter().map(|action| {
            let named = whole.policies().filter(|policy| could_match(policy, action.name)).cloned();
            (action.name.to_owned(), PolicySet::from_policies(named).expect("ids differ"))
        });
        let slices = slices.collect();
        let questions: Vec<_> = (0..QUESTIONS).map(|number| question(number, rules)).collect();
        let ready = questions.iter().map(in_cedar).collect();
        Self { questions, ours, whole, slices, ready }
    }

    /// All sides say the same, and half of it is yes.
    fn agree(&self) {
        let mut allowed = 0;
        for (case, (request, entities)) in self.questions.iter().zip(&self.ready) {
            let ours = self.ours.judge(&case.question());
            assert_eq!(ours.errors, Vec::<String>::new());
            for peer in [&self.whole, &self.slices[&case.action]] {
                let decision = Authorizer::new().is_authorized(request, peer, entities).decision();
                assert_eq!(ours.allowed, decision == Decision::Allow, "{case:?}");
            }
            allowed += usize::from(ours.allowed);
        }
        assert_eq!(allowed, QUESTIONS / 2);
    }

    fn compare(&self, ours_first: bool) -> [Run; 4] {
        let mut runs = [None; 4];
        let order = if ours_first { [0, 1, 2, 3] } else { [3, 2, 1, 0] };
        for side in order {
            runs[side] = Some(self.run(side));
        }
        runs.map(|run| run.expect("every side ran"))
    }

    fn run(&self, side: usize) -> Run {
        let authorizer = Authorizer::new();
        let ask = |number: usize| {
            let case = &self.questions[number];
            let asked = Instant::now();
            match side {
                0 => drop(black_box(self.ours.judge(&case.question()))),
                1 => {
                    let (request, entities) = in_cedar(case);
                    drop(black_box(authorizer.is_authorized(&request, &self.slices[&case.action], &entities)));
                }
                2 => {
                    let (request, entities) = &self.ready[number];
                    drop(black_box(authorizer.is_authorized(request, &self.slices[&case.action], entities)));
                }
                _ => {
                    let (request, entities) = &self.ready[number];
                    drop(black_box(authorizer.is_authorized(request, &self.whole, entities)));
                }
            }
            asked.elapsed()
        };
        let rounds = if side == 3 { 4 } else { 40 };
        let _warm: Vec<_> = (0..QUESTIONS).map(ask).collect();
        let mut times: Vec<_> = (0..rounds).flat_map(|_| (0..QUESTIONS).map(ask)).collect();
        times.sort_unstable();
        Run { p50: times[times.len() / 2], p99: times[times.len() * 99 / 100] }
    }
}

fn compiled(text: &str) -> Policies {
    Policies::compile_long(text).unwrap_or_else(|problems| panic!("{}", problems[0]))
}

/// Every second one of a role that no rule knows.
fn question(number: usize, rules: usize) -> Case {
    let asked = number * 7 % rules;
    let action = ACTIONS[asked % NAMED].name;
    let role = if number.is_multiple_of(2) { format!("r{}", asked / NAMED) } else { "guest".to_owned() };
    let text = |name: &str, text: &str| (name.to_owned(), Value::from(text));
    let number = |name: &str, number: i64| (name.to_owned(), Value::from(number));
    let context = match action {
        "token.issue" => vec![
            text("kind", "operation"),
            text("subject", "agent/alpha"),
            text("audience", "sop"),
            text("operation", "gap.scan"),
            number("lifetime_ms", 60_000),
            number("uses", 1),
        ],
        "token.validate" | "token.consume" => vec![text("audience", "sop"), text("operation", "gap.scan")],
        "policy.can" | "policy.who" | "policy.what" => vec![text("about", "agent/alpha")],
        "authz.evaluate" | "authz.search" => vec![text("about", "agent/alpha"), text("asked", "gap.scan")],
        "gap.scan" => vec![text("root", "/srv/service")],
        "todo.claim" => vec![text("holder", "agent/alpha")],
        "lease.request" => {
            vec![text("owner", "agent/alpha"), text("pool", "gpu"), number("amount", 1), number("priority", 0)]
        }
        "lease.renew" | "lease.release" | "lease.list" | "lease.show" => vec![text("owner", "agent/alpha")],
        "message.send" => vec![text("source", "agent/alpha"), text("priority", "high"), text("kind", "note")],
        "protocol.call" => vec![text("operation", "deploy")],
        _ => vec![],
    };
    Case {
        principal: "agent/alpha".parse::<Principal>().expect("it is one"),
        action: action.to_owned(),
        resource: "*".to_owned(),
        context: context.into_iter().collect::<BTreeMap<_, _>>(),
        standing: Standing { roles: [role].into(), ..Standing::default() },
    }
}

fn in_cedar(case: &Case) -> (Request, Entities) {
    let uid = |kind: &str, id: &str| {
        let kind = kind.parse().expect("it names a type");
        EntityUid::from_type_name_and_id(kind, cedar_policy::EntityId::new(id))
    };
    let principal = uid("Agent", case.principal.name());
    let roles = case.standing.roles.iter().map(|role| uid("Role", role)).collect();
    let handle = RestrictedExpression::new_string(case.principal.to_string());
    let entity = Entity::new(principal.clone(), [("handle".to_owned(), handle)].into(), roles).expect("it is one");
    let attributes = case.context.iter().map(|(name, value)| {
        let value = match value {
            Value::Text(text) => RestrictedExpression::new_string(text.clone()),
            Value::Long(number) => RestrictedExpression::new_long(*number),
            Value::Bool(truth) => RestrictedExpression::new_bool(*truth),
        };
        (name.clone(), value)
    });
    let standing = [
        ("via_token".to_owned(), RestrictedExpression::new_bool(case.standing.via_token)),
        ("approvals".to_owned(), RestrictedExpression::new_long(case.standing.approvals.into())),
        ("proofs".to_owned(), RestrictedExpression::new_set([])),
    ];
    let context = Context::from_pairs(attributes.chain(standing)).expect("names differ");
    let resource = ACTIONS.iter().find(|action| action.name == case.action).expect("it is one").resource;
    let request = Request::new(principal, uid("Action", &case.action), uid(resource, &case.resource), context, None);
    (request.expect("unchecked"), Entities::from_entities([entity], None).expect("it is one"))
}
