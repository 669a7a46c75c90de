//! What may be asked for, where not all of a question is known: yes whatever the rest is, no whatever the rest is, or if.
//!
//! Each policy that could match is taken apart into what is joined by `&&`, `||` and `!`. What speaks of nothing unknown is
//! evaluated by Cedar; what does stays open. Sound, not complete: a condition that can never hold may be given as one.

use std::collections::BTreeMap;

use cedar_policy::pst::{
    self, BinaryOp, Clause, EntityOrSlot, Expr, PrincipalConstraint, ResourceConstraint, UnaryOp, Var,
};
use cedar_policy::{Effect, EntityUid, EvalResult, Expression, Policy, PolicySet, eval_expression};
use kernel::Principal;
use serde::{Deserialize, Serialize};

use crate::compile::COMPILE_STACK;
use crate::near::parts;
use crate::{Asked, Policies, Question, STANDING, Sort, Standing, Value, model};

/// A question of which something may be left open.
#[derive(Clone, Debug)]
pub struct Inquiry<'a> {
    pub principal: &'a Principal,
    pub action: &'a str,
    /// `None` leaves it open.
    pub resource: Option<&'a str>,
    /// An attribute that is not here is open.
    pub context: &'a BTreeMap<String, Value>,
    pub standing: &'a Standing,
    /// Of the standing, nothing but the roles is known.
    pub any_standing: bool,
}

/// What is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum May {
    /// Whatever is open: by these policies, sorted.
    Yes { by: Vec<String> },
    /// Whatever is open. By these, or by no permit.
    No { by: Vec<String> },
    /// It depends: one of the permits must apply, and none of the forbids.
    If { permits: Vec<Open>, forbids: Vec<Open> },
}

/// A policy that may apply, and what that depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Open {
    pub policy: String,
    /// It applies if all of these hold; if there are none, it does.
    pub conditions: Vec<String>,
}

impl Policies {
    /// # Errors
    /// Why nothing can be said: there is no such action, or it has no such attribute.
    pub fn may(&self, inquiry: &Inquiry<'_>) -> Result<May, String> {
        let Inquiry { principal, action, resource, context, standing, .. } = *inquiry;
        let subject = model().actions.get(action).ok_or_else(|| format!("there is no action {action:?}"))?;
        for (name, value) in context {
            if subject.attributes.get(name) != Some(&Sort::of(value)) {
                return Err(format!("{action} has no attribute {name:?} of this type"));
            }
        }
        // What is open gets some value; nothing that is evaluated looks at it.
        let full = subject.attributes.iter().map(|(name, sort)| {
            let some = match sort {
                Sort::Text => Value::Text(String::new()),
                Sort::Long => Value::Long(0),
                Sort::Bool => Value::Bool(false),
            };
            (name.clone(), context.get(name).cloned().unwrap_or(some))
        });
        let full: BTreeMap<_, _> = full.collect();
        let question = Question { principal, action, resource: resource.unwrap_or_default(), context: &full, standing };
        let known = Known { inquiry, asked: question.as_cedar()? };
        let slice = &self.slices[action];
        Ok(stacker::grow(COMPILE_STACK, || {
            let (mut yes, mut no) = (Vec::new(), Vec::new());
            let (mut permits, mut forbids) = (Vec::new(), Vec::new());
            let mut may_fail = false;
            for policy in slice.parts(&question).flat_map(PolicySet::policies) {
                let id = AsRef::<str>::as_ref(policy.id()).to_owned();
                match (known.applies(policy), policy.effect()) {
                    (Truth::Holds(false), _) => {}
                    // What fails denies, also where it would have permitted.
                    (Truth::Fails, _) | (Truth::Holds(true), Effect::Forbid) => no.push(id),
                    (Truth::Holds(true), Effect::Permit) => yes.push(id),
                    (Truth::Open { conditions, can_fail }, effect) => {
                        may_fail |= can_fail;
                        let open = Open { policy: id, conditions };
                        if effect == Effect::Permit { permits.push(open) } else { forbids.push(open) }
                    }
                }
            }
            yes.sort();
            no.sort();
            if !no.is_empty() || yes.is_empty() && permits.is_empty() {
                return May::No { by: no };
            }
            if !yes.is_empty() && forbids.is_empty() && !may_fail {
                return May::Yes { by: yes };
            }
            permits.extend(yes.into_iter().map(|policy| Open { policy, conditions: vec![] }));
            permits.sort();
            forbids.sort();
            May::If { permits, forbids }
        }))
    }
}

/// Whether something holds.
enum Truth {
    Holds(bool),
    /// It cannot be evaluated, whatever is open.
    Fails,
    /// If all of these do; and what is open may make it fail.
    Open {
        conditions: Vec<String>,
        can_fail: bool,
    },
}

impl Truth {
    fn open(expression: &Expr) -> Self {
        Self::Open { conditions: vec![expression.to_string()], can_fail: can_fail(expression) }
    }
}

struct Known<'a> {
    inquiry: &'a Inquiry<'a>,
    asked: Asked,
}

impl Known<'_> {
    fn applies(&self, policy: &Policy) -> Truth {
        let policy = policy.to_pst().expect("what was parsed can be taken apart");
        let body = policy.body();
        let of_kind = |kind: &pst::EntityType, uid: &EntityUid| kind.to_string() == uid.type_name().to_string();
        let principal = self.asked.request.principal().expect("nothing is unknown to Cedar");
        // That the name or the role fits was looked up.
        if let PrincipalConstraint::IsIn(kind, _) = &body.principal
            && !of_kind(kind, principal)
        {
            return Truth::Holds(false);
        }
        let resource = self.asked.request.resource().expect("nothing is unknown to Cedar");
        let mut truth = match &body.resource {
            ResourceConstraint::Any => Truth::Holds(true),
            ResourceConstraint::Is(kind) => Truth::Holds(of_kind(kind, resource)),
            // Nothing that is asked about is in anything but itself, and what never applies was refused.
            ResourceConstraint::Eq(EntityOrSlot::Entity(named))
            | ResourceConstraint::In(EntityOrSlot::Entity(named))
            | ResourceConstraint::IsIn(_, EntityOrSlot::Entity(named)) => self.is_resource(named, resource),
            _ => Truth::Holds(false),
        };
        for clause in body.clauses() {
            truth = both(truth, || match clause {
                Clause::When(condition) => self.truth(condition),
                Clause::Unless(condition) => not(self.truth(condition), condition),
            });
        }
        truth
    }

    fn is_resource(&self, named: &pst::EntityUID, resource: &EntityUid) -> Truth {
        if named.ty.to_string() != resource.type_name().to_string() {
            Truth::Holds(false)
        } else if self.inquiry.resource.is_none() {
            Truth::Open { conditions: vec![format!("resource == {named}")], can_fail: false }
        } else {
            Truth::Holds(named.eid == resource.id().unescaped())
        }
    }

    /// Read as Cedar reads it: from the left, and no further than needed.
    fn truth(&self, expression: &Expr) -> Truth {
        match expression {
            Expr::BinaryOp { op: BinaryOp::And, left, right } => both(self.truth(left), || self.truth(right)),
            Expr::BinaryOp { op: BinaryOp::Or, left, right } => match self.truth(left) {
                Truth::Holds(false) => self.truth(right),
                Truth::Open { can_fail: left_fails, conditions } => match self.truth(right) {
                    Truth::Holds(false) => Truth::Open { conditions, can_fail: left_fails },
                    Truth::Holds(true) if !left_fails => Truth::Holds(true),
                    Truth::Fails => Truth::Open { conditions: vec![expression.to_string()], can_fail: true },
                    _ => Truth::open(expression),
                },
                known => known,
            },
            Expr::UnaryOp { op: UnaryOp::Not, expr } => not(self.truth(expr), expr),
            Expr::IfThenElse { cond, then_expr, else_expr } => match self.truth(cond) {
                Truth::Holds(true) => self.truth(then_expr),
                Truth::Holds(false) => self.truth(else_expr),
                Truth::Fails => Truth::Fails,
                Truth::Open { .. } => Truth::open(expression),
            },
            expression if self.is_open(expression) => Truth::open(expression),
            expression => self.evaluated(expression),
        }
    }

    fn evaluated(&self, expression: &Expr) -> Truth {
        let expression: Expression = expression.to_string().parse().expect("what was parsed parses again");
        match eval_expression(&self.asked.request, &self.asked.entities, &expression) {
            Ok(EvalResult::Bool(truth)) => Truth::Holds(truth),
            _ => Truth::Fails,
        }
    }

    fn is_open(&self, expression: &Expr) -> bool {
        let Inquiry { resource, context, any_standing, .. } = self.inquiry;
        match expression {
            Expr::Var(Var::Resource) => resource.is_none(),
            // As a whole.
            Expr::Var(Var::Context) => true,
            Expr::GetAttr { expr, attr } if matches!(**expr, Expr::Var(Var::Context)) => {
                if STANDING.contains(&attr.as_str()) { *any_standing } else { !context.contains_key(attr.as_str()) }
            }
            // The schema has no attribute that may be missing.
            Expr::HasAttr { expr, .. } if matches!(**expr, Expr::Var(_)) => false,
            other => parts(other).into_iter().any(|part| self.is_open(part)),
        }
    }
}

/// What is joined by `&&`.
fn both(left: Truth, right: impl FnOnce() -> Truth) -> Truth {
    match left {
        Truth::Holds(true) => right(),
        Truth::Holds(false) | Truth::Fails => left,
        Truth::Open { mut conditions, can_fail } => match right() {
            Truth::Holds(true) => Truth::Open { conditions, can_fail },
            Truth::Holds(false) if !can_fail => Truth::Holds(false),
            Truth::Holds(false) => {
                conditions.push("false".to_owned());
                Truth::Open { conditions, can_fail }
            }
            Truth::Fails => Truth::Open { conditions, can_fail: true },
            Truth::Open { conditions: more, can_fail: also } => {
                conditions.extend(more);
                Truth::Open { conditions, can_fail: can_fail || also }
            }
        },
    }
}

fn not(truth: Truth, of: &Expr) -> Truth {
    match truth {
        Truth::Holds(truth) => Truth::Holds(!truth),
        Truth::Fails => Truth::Fails,
        // Of what is joined, parts that are known were dropped; the whole is said.
        Truth::Open { can_fail, .. } => Truth::Open { conditions: vec![format!("!({of})")], can_fail },
    }
}

/// Only arithmetic can, in what the schema has.
fn can_fail(expression: &Expr) -> bool {
    let reckons = match expression {
        Expr::UnaryOp { op: UnaryOp::Neg, .. } => true,
        Expr::BinaryOp { op, .. } => matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul),
        _ => false,
    };
    reckons || parts(expression).into_iter().any(can_fail)
}
