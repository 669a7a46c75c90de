//! Proofs: what holds of a policy text for every request there can be, not only for those that were tried.
//!
//! A question is put to an SMT solver for each action and sort of principal (a *corner* of the schema) apart: the encoder is
//! Cedar's own, modelled in Lean, and the solver is another program, which whoever asks has started. The authority starts no
//! programs, so proving is for its clients; what comes of it can be found out again by anybody with the same texts.
//!
//! # Invariants
//! 1. What was not proven is never said to hold: without a solver, without an answer in time, and where the encoder cannot
//!    follow, the verdict is [`Verdict::Unknown`], with the reason.
//! 2. A counterexample is judged by Cedar itself before it is shown.
//! 3. A proof is of our own rule that an error denies, not of Cedar's, which skips the policy that fails: where the two could
//!    differ, and it matters, the verdict is unknown.

pub mod solver;

use std::collections::BTreeMap;
use std::fmt;

use cedar_policy::{Authorizer, Decision, Effect, EntityUid, Policy, PolicyId, PolicySet, RequestEnv};
use cedar_policy_symcc::{CedarSymCompiler, CompiledPolicy, CompiledPolicySet, Env, ResetMode};
use policy::Policies;
use serde::Serialize;

use solver::{Question, Solver};

/// Encoding recurses over terms; in bytes, taken from the system only as far as it is used.
const STACK: usize = 256 * 1024 * 1024;

/// What can be proven of a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "property")]
pub enum Property {
    /// No policy of it can fail in evaluation.
    NeverErrors,
    /// It allows nothing that the other text does not allow, but for what is declared.
    GrantsNothingNew,
    /// Nothing that the policy of this id permits is ever allowed.
    Never { id: String },
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverErrors => f.write_str("never errors"),
            Self::GrantsNothingNew => f.write_str("grants nothing new"),
            Self::Never { id } => write!(f, "never {id}"),
        }
    }
}

/// Whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict")]
pub enum Verdict {
    /// For every request.
    Holds,
    Violated {
        by: Counterexample,
    },
    Unknown {
        why: String,
    },
}

/// A request for which it does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Counterexample {
    pub principal: String,
    pub action: String,
    pub resource: String,
    /// The request with its context, and what it supposes of those who take part, in Cedar's words. A `handle` in it may be
    /// any text, also one that no principal of that name would have.
    pub request: String,
    /// The policies that decide it so.
    pub policies: Vec<String>,
}

/// What came of the question whether a property holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    #[serde(flatten)]
    pub property: Property,
    #[serde(flatten)]
    pub verdict: Verdict,
    /// The corners of the schema that were looked at.
    pub corners: usize,
    /// Questions that the solver was asked; what nothing could make otherwise is not asked.
    pub asked: usize,
}

/// Puts questions about texts to a solver.
pub struct Prover<S> {
    solver: S,
}

/// Two texts, or a text and a property, in one corner.
type Look<'a, S> = dyn Fn(&mut CedarSymCompiler<Question<'a, S>>, &RequestEnv) -> Result<Verdict, String> + 'a;

impl<S: Solver + Sync> Prover<S> {
    pub fn new(solver: S) -> Self {
        Self { solver }
    }

    /// Can any policy of the text fail?
    pub fn never_errors(&self, text: &Policies) -> Finding {
        self.everywhere(Property::NeverErrors, &|compiler, corner| failing(compiler, corner, &slice(text, corner)))
    }

    /// Does `new` allow anything that `old` does not, apart from what the permits of `declared` speak of?
    pub fn grants_nothing_new(&self, old: &Policies, new: &Policies, declared: &Policies) -> Finding {
        self.everywhere(Property::GrantsNothingNew, &|compiler, corner| {
            let (before, after) = (slice(old, corner), slice(new, corner));
            if sources(&before) == sources(&after) {
                return Ok(Verdict::Holds);
            }
            if let Verdict::Violated { by } = failing(compiler, corner, &before)? {
                return Err(format!("policy {} of the old text can fail, and then denies", by.policies.join(", ")));
            }
            let undeclared = without(&after, &slice(declared, corner))?;
            let [undeclared, old] = [&undeclared, &before].map(|set| compiled(set, corner));
            let found = now(compiler.check_implies_with_counterexample_opt(&undeclared?, &old?))?;
            found.map_or(Ok(Verdict::Holds), |found| allowed(&found, &after))
        })
    }

    /// Of each policy of `never`, all of them permits: is anything that it permits ever allowed by `text`?
    pub fn never(&self, text: &Policies, never: &Policies) -> Vec<Finding> {
        let each = never.ids().map(|id| {
            let property = Property::Never { id: id.to_owned() };
            self.everywhere(property, &|compiler, corner| {
                let only = slice(never, corner).policy(&PolicyId::new(id)).cloned();
                let Some(only) = only else { return Ok(Verdict::Holds) };
                if only.effect() == Effect::Forbid {
                    return Err(format!("{id} is a forbid; what must never be allowed is written as a permit"));
                }
                let only = PolicySet::from_policies([only]).expect("one policy has one id");
                if let Verdict::Violated { .. } = failing(compiler, corner, &only)? {
                    return Err(format!("{id} can itself fail"));
                }
                let all = slice(text, corner);
                let found = now(compiler
                    .check_disjoint_with_counterexample_opt(&compiled(&all, corner)?, &compiled(&only, corner)?))?;
                found.map_or(Ok(Verdict::Holds), |found| allowed(&found, &all))
            })
        });
        each.collect()
    }

    /// Looks into every corner, and stops at the first in which it does not hold. What is unknown is passed over until then:
    /// a counterexample says more.
    fn everywhere<'a>(&'a self, property: Property, look: &Look<'a, S>) -> Finding {
        stacker::grow(STACK, || {
            let mut compiler = match CedarSymCompiler::new(Question::to(&self.solver)) {
                Ok(compiler) => compiler.with_reset_mode(ResetMode::Comment),
                Err(error) => {
                    return Finding { property, verdict: Verdict::Unknown { why: said(&error) }, corners: 0, asked: 0 };
                }
            };
            let (mut verdict, mut corners) = (Verdict::Holds, 0);
            for corner in policy::corners() {
                corners += 1;
                match look(&mut compiler, &corner) {
                    Ok(Verdict::Holds) => {}
                    Ok(violated @ Verdict::Violated { .. }) => {
                        verdict = violated;
                        break;
                    }
                    Ok(Verdict::Unknown { why }) | Err(why) => {
                        if verdict == Verdict::Holds {
                            let why = format!("{} by a {}: {why}", corner.action(), corner.principal());
                            verdict = Verdict::Unknown { why };
                        }
                    }
                }
            }
            let asked = compiler.solver().asked;
            Finding { property, verdict, corners, asked }
        })
    }
}

/// Looks for a request on which a policy of the set fails.
fn failing<S: Solver + Sync>(
    compiler: &mut CedarSymCompiler<Question<'_, S>>,
    corner: &RequestEnv,
    set: &PolicySet,
) -> Result<Verdict, String> {
    for policy in set.policies() {
        let one = CompiledPolicy::compile(policy, corner, policy::schema()).map_err(|error| said(&error))?;
        if let Some(found) = now(compiler.check_never_errors_with_counterexample_opt(&one))? {
            let one = PolicySet::from_policies([policy.clone()]).expect("one policy has one id");
            let response = Authorizer::new().is_authorized(&found.request, &one, &found.entities);
            let by = counterexample(&found, vec![policy.id().to_string()]);
            let fails = response.diagnostics().errors().next().is_some();
            return if fails { Ok(Verdict::Violated { by }) } else { Err(NOT_CONFIRMED.to_owned()) };
        }
    }
    Ok(Verdict::Holds)
}

/// A request that was found, judged again by the set that is said to allow it.
fn allowed(found: &Env, set: &PolicySet) -> Result<Verdict, String> {
    let response = Authorizer::new().is_authorized(&found.request, set, &found.entities);
    if response.decision() != Decision::Allow {
        return Err(NOT_CONFIRMED.to_owned());
    }
    let policies = response.diagnostics().reason().map(ToString::to_string).collect();
    Ok(Verdict::Violated { by: counterexample(found, policies) })
}

const NOT_CONFIRMED: &str = "the solver's counterexample does not hold in Cedar itself";

fn counterexample(found: &Env, mut policies: Vec<String>) -> Counterexample {
    let text = |uid: Option<&EntityUid>| uid.map(ToString::to_string).unwrap_or_default();
    // The actions are all there, always.
    let supposed = found.to_string();
    let supposed = supposed.lines().filter(|line| !line.starts_with("  Action::")).collect::<Vec<_>>().join("\n");
    policies.sort_unstable();
    Counterexample {
        principal: text(found.request.principal()),
        action: text(found.request.action()),
        resource: text(found.request.resource()),
        request: supposed,
        policies,
    }
}

/// The policies of a text that can match in this corner.
fn slice(text: &Policies, corner: &RequestEnv) -> PolicySet {
    text.slice(corner.action().id().unescaped()).expect("every action of the schema has a slice")
}

fn sources(set: &PolicySet) -> BTreeMap<String, Option<String>> {
    set.policies().map(|policy| (policy.id().to_string(), policy.to_cedar())).collect()
}

/// A set with what is declared taken out of it: each permit that declares something forbids it here.
fn without(set: &PolicySet, declared: &PolicySet) -> Result<PolicySet, String> {
    let forbidding = declared.policies().map(|policy| {
        let id = policy.id().clone();
        let mut json = policy.to_json().map_err(|error| error.to_string())?;
        if policy.effect() == Effect::Forbid {
            return Err(format!("{id} is a forbid; what is declared as new is written as a permit"));
        }
        json["effect"] = "forbid".into();
        Policy::from_json(Some(PolicyId::new(format!("declared: {id}"))), json).map_err(|error| error.to_string())
    });
    let all = set.policies().cloned().map(Ok).chain(forbidding).collect::<Result<Vec<_>, _>>()?;
    PolicySet::from_policies(all).map_err(|error| error.to_string())
}

fn compiled(set: &PolicySet, corner: &RequestEnv) -> Result<CompiledPolicySet, String> {
    CompiledPolicySet::compile(set, corner, policy::schema()).map_err(|error| said(&error))
}

/// The encoder's futures wait for nothing: all that they write goes into memory, and the solver is run in one go.
fn now<T>(future: impl Future<Output = Result<T, cedar_policy_symcc::err::Error>>) -> Result<T, String> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::pin!(future).poll(&mut context) {
        std::task::Poll::Ready(answer) => answer.map_err(|error| said(&error)),
        std::task::Poll::Pending => unreachable!("a question that is written into memory waits for nothing"),
    }
}

/// With its causes: the solver's own words are the last of them.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(deeper) = cause {
        text = format!("{text}: {deeper}");
        cause = deeper.source();
    }
    text
}
