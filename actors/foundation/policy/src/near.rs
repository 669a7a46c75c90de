//! Near misses: the one change that would have made a denial an allow.
//!
//! What to try is read off the policies that could match: the values that they compare with, the roles, principals and
//! resources that they name. Whether it helps is not argued but judged: the changed question is asked like any other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cedar_policy::pst::{BinaryOp, Clause, Expr, Literal, PatternElem, Var};
use cedar_policy::{EntityUid, Policy};
use kernel::{Kin, Missing, Principal};
use serde::{Deserialize, Serialize};

use crate::{Judgement, Policies, Question, Standing, Value, model};

/// Most changes that are reported.
const REPORTED_MAX: usize = 16;
/// Most changes that are tried.
const TRIED_MAX: usize = 256;
/// Most policies that are evaluated for it, all trials together: some 50 ms.
const EVALUATED_MAX: usize = 50_000;
/// Texts that are reported for one attribute; of numbers, only the nearest.
const TEXTS_MAX: usize = 4;

/// The attributes of the standing, as policies write them.
const APPROVALS: &str = "approvals";
const PROOFS: &str = "proofs";
const HANDLE: &str = "handle";

/// A question that owns what it asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub principal: Principal,
    pub action: String,
    pub resource: String,
    pub context: BTreeMap<String, Value>,
    pub standing: Standing,
}

impl Case {
    pub fn question(&self) -> Question<'_> {
        Question {
            principal: &self.principal,
            action: &self.action,
            resource: &self.resource,
            context: &self.context,
            standing: &self.standing,
        }
    }
}

impl From<&Question<'_>> for Case {
    fn from(question: &Question<'_>) -> Self {
        Self {
            principal: question.principal.clone(),
            action: question.action.to_owned(),
            resource: question.resource.to_owned(),
            context: question.context.clone(),
            standing: question.standing.clone(),
        }
    }
}

/// One thing that could be otherwise. In the order in which they are the easier to bring about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// So many approvals, the fewest that suffice.
    Approvals(u32),
    /// This obligation proven as well.
    Proof(String),
    /// Asked by a token, or without one.
    ViaToken(bool),
    /// Bound to this role as well.
    Role(String),
    /// Not bound to this role.
    WithoutRole(String),
    /// Another value of an attribute of the action.
    Attribute { name: String, value: Value },
    /// Asked by one of this kind, and of the same name.
    Kin(Kin),
    /// Asked by this one.
    Principal(Principal),
    /// Asked about this one.
    Resource(String),
}

impl Change {
    /// The question with this one thing otherwise.
    pub fn applied_to(&self, question: &Question<'_>) -> Case {
        let mut case = Case::from(question);
        match self.clone() {
            Self::Approvals(approvals) => case.standing.approvals = approvals,
            Self::Proof(proof) => drop(case.standing.proofs.insert(proof)),
            Self::ViaToken(via_token) => case.standing.via_token = via_token,
            Self::Role(role) => drop(case.standing.roles.insert(role)),
            Self::WithoutRole(role) => drop(case.standing.roles.remove(&role)),
            Self::Attribute { name, value } => drop(case.context.insert(name, value)),
            Self::Kin(kin) => {
                case.principal = Principal::new(kin, question.principal.name()).expect("it is a name already");
            }
            Self::Principal(principal) => case.principal = principal,
            Self::Resource(resource) => case.resource = resource,
        }
        case
    }
}

/// In words, as the rest of "it would be allowed if ...".
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Approvals(1) => f.write_str("somebody had approved it"),
            Self::Approvals(approvals) => write!(f, "{approvals} had approved it"),
            Self::Proof(proof) => write!(f, "{proof:?} were proven"),
            Self::ViaToken(true) => f.write_str("it were asked on the strength of a token"),
            Self::ViaToken(false) => f.write_str("it were asked without a token"),
            Self::Role(role) => write!(f, "the principal had the role {role:?}"),
            Self::WithoutRole(role) => write!(f, "the principal had not the role {role:?}"),
            Self::Attribute { name, value: Value::Text(text) } => write!(f, "{name} were {text:?}"),
            Self::Attribute { name, value: Value::Long(number) } => write!(f, "{name} were {number}"),
            Self::Attribute { name, value: Value::Bool(truth) } => write!(f, "{name} were {truth}"),
            Self::Kin(kin @ (Kin::Operator | Kin::Agent | Kin::Application)) => {
                write!(f, "an {} asked", kin.as_str())
            }
            Self::Kin(kin) => write!(f, "a {} asked", kin.as_str()),
            Self::Principal(principal) => write!(f, "{principal} asked"),
            Self::Resource(resource) => write!(f, "it were about {resource:?}"),
        }
    }
}

/// A change that flips the decision, and by which policies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    pub change: Change,
    /// The ids of the policies that would permit, sorted.
    pub permits: Vec<String>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMisses {
    pub found: Vec<NearMiss>,
    /// All that the policies name was tried, and all that helps is here.
    pub complete: bool,
}

/// What the policies of an action ask of approvals and proofs.
#[derive(Clone, Debug, Default)]
pub(crate) struct Obligations {
    approvals: BTreeSet<u32>,
    proofs: BTreeSet<String>,
}

impl Obligations {
    /// Of one policy; `None` if it asks for neither.
    pub(crate) fn of(policy: &Policy) -> Option<Self> {
        let speaks = |text: String| [APPROVALS, PROOFS].iter().any(|name| text.contains(name));
        if !policy.to_cedar().is_some_and(speaks) {
            return None;
        }
        let mut clues = Clues::default();
        clues.of_policy(policy);
        let (approvals, proofs): (BTreeSet<u32>, BTreeSet<String>) =
            (clues.approvals().collect(), clues.proofs().collect());
        (!approvals.is_empty() || !proofs.is_empty()).then_some(Self { approvals, proofs })
    }

    /// Beyond the bound nothing is said to be missing, though it may be.
    pub(crate) fn extend(&mut self, more: &Self) {
        self.approvals.extend(&more.approvals);
        self.proofs.extend(more.proofs.iter().cloned());
        while TRIED_MAX < self.approvals.len() + self.proofs.len() {
            self.approvals.pop_last();
            self.proofs.pop_last();
        }
    }
}

impl Policies {
    /// What a denied question lacks, if it is approvals and proofs alone: the fewest approvals, and no proof too many.
    /// Quick where no policy speaks of either.
    pub fn missing(&self, question: &Question<'_>) -> Option<Missing> {
        let obligations = self.obligations.get(question.action)?;
        let had = &question.standing;
        let counts: Vec<u32> = obligations.approvals.iter().copied().filter(|&count| had.approvals < count).collect();
        let all: BTreeSet<String> = had.proofs.union(&obligations.proofs).cloned().collect();
        let mut case = Case::from(question);
        let mut enough = |proofs: &BTreeSet<String>, counts: &[u32]| {
            case.standing.proofs.clone_from(proofs);
            counts.iter().copied().find(|&approvals| {
                case.standing.approvals = approvals;
                self.judge(&case.question()).allowed
            })
        };
        // Proofs alone, approvals alone, both.
        let approvals = enough(&all, &[had.approvals])
            .or_else(|| enough(&had.proofs, &counts))
            .or_else(|| enough(&all, &counts))?;
        let mut needed = if enough(&had.proofs, &[approvals]).is_some() { had.proofs.clone() } else { all };
        for proof in needed.clone().difference(&had.proofs) {
            needed.remove(proof);
            if enough(&needed, &[approvals]).is_none() {
                needed.insert(proof.clone());
            }
        }
        let proofs: BTreeSet<String> = needed.difference(&had.proofs).cloned().collect();
        let approvals = if approvals == had.approvals { 0 } else { approvals };
        // Nothing is missing of what is allowed.
        (approvals != 0 || !proofs.is_empty()).then_some(Missing { approvals, proofs, ..Missing::default() })
    }

    /// The single changes that would have made a denial an allow. None for what is allowed, and for what no policy judges.
    /// For explanations: it judges many times over, though never more often than a fixed bound.
    pub fn near_misses(&self, question: &Question<'_>) -> NearMisses {
        let Some(slice) = self.slices.get(question.action) else { return NearMisses::nothing() };
        if self.judge(question).allowed || !model().principals.contains_key(&question.principal.kin) {
            return NearMisses::nothing();
        }
        let mut clues = Clues::default();
        self.deep(|| slice.policies().for_each(|policy| clues.of_policy(policy)));
        let affordable = TRIED_MAX.min(EVALUATED_MAX / slice.policies().count().max(1));
        let changes = clues.changes(question);
        let mut near = NearMisses { found: Vec::new(), complete: changes.len() <= affordable };
        for change in changes.into_iter().take(affordable) {
            if near.has_enough_like(&change) {
                continue;
            }
            let Judgement { allowed: true, determining: permits, .. } =
                self.judge(&change.applied_to(question).question())
            else {
                continue;
            };
            if near.found.len() == REPORTED_MAX {
                near.complete = false;
                break;
            }
            near.found.push(NearMiss { change, permits });
        }
        near
    }
}

impl NearMisses {
    fn nothing() -> Self {
        Self { found: Vec::new(), complete: true }
    }

    /// More of the same would tell nothing new.
    fn has_enough_like(&self, change: &Change) -> bool {
        let alike = |other: &Change| match (change, other) {
            (Change::Approvals(_), Change::Approvals(_)) => true,
            (Change::Attribute { name, .. }, Change::Attribute { name: other, .. }) => name == other,
            _ => false,
        };
        let most = match change {
            Change::Attribute { value: Value::Text(_), .. } => TEXTS_MAX,
            _ => 1,
        };
        most <= self.found.iter().filter(|near| alike(&near.change)).count()
    }
}

/// What policies compare with.
#[derive(Default)]
struct Clues {
    /// By the attribute of the context.
    texts: BTreeMap<String, BTreeSet<String>>,
    longs: BTreeMap<String, BTreeSet<i64>>,
    /// Attributes that are compared with the handle of the principal, or of the resource.
    handled: BTreeSet<String>,
    /// Attributes that are compared with each other.
    paired: BTreeSet<(String, String)>,
    /// What handles are compared with.
    handles: BTreeSet<String>,
    entities: BTreeSet<EntityUid>,
}

impl Clues {
    fn of_policy(&mut self, policy: &Policy) {
        self.entities.extend(policy.entity_literals());
        let policy = policy.to_pst().expect("what was parsed can be taken apart");
        for Clause::When(condition) | Clause::Unless(condition) in policy.body().clauses() {
            self.of_expression(condition);
        }
    }

    fn of_expression(&mut self, expression: &Expr) {
        match expression {
            Expr::BinaryOp { op, left, right } if !matches!(op, BinaryOp::And | BinaryOp::Or) => {
                let mut terms = Terms::default();
                terms.of(left);
                terms.of(right);
                self.compare(&terms);
                self.of_expression(left);
                self.of_expression(right);
            }
            Expr::Like { expr, pattern } => {
                let mut terms = Terms::default();
                terms.of(expr);
                // The shortest text that is like it.
                let plain = pattern.iter().filter_map(|part| match part {
                    PatternElem::Char(c) => Some(*c),
                    PatternElem::Wildcard => None,
                });
                terms.texts.insert(plain.collect());
                self.compare(&terms);
                self.of_expression(expr);
            }
            other => parts(other).into_iter().for_each(|part| self.of_expression(part)),
        }
    }

    fn compare(&mut self, terms: &Terms) {
        for attribute in &terms.attributes {
            self.texts.entry(attribute.clone()).or_default().extend(terms.texts.iter().cloned());
            self.longs.entry(attribute.clone()).or_default().extend(&terms.longs);
            if terms.handle {
                self.handled.insert(attribute.clone());
            }
            let others = terms.attributes.iter().filter(|other| *other != attribute);
            self.paired.extend(others.map(|other| (attribute.clone(), other.clone())));
        }
        if terms.handle {
            self.handles.extend(terms.texts.iter().cloned());
        }
    }

    /// Numbers of approvals that make a difference, and the ones beside them.
    fn approvals(&self) -> impl Iterator<Item = u32> {
        let named = self.longs.get(APPROVALS).into_iter().flatten();
        let beside = named.flat_map(|&count| [count, count.saturating_add(1)]);
        beside.filter_map(|count| u32::try_from(count).ok()).filter(|&count| count != 0)
    }

    fn proofs(&self) -> impl Iterator<Item = String> {
        self.texts.get(PROOFS).into_iter().flatten().cloned()
    }

    /// What to try, the easier first, and of numbers the nearer.
    fn changes(&self, question: &Question<'_>) -> Vec<Change> {
        let Question { principal, resource, context, standing, action } = question;
        let mut changes = BTreeSet::new();
        changes.extend(self.approvals().filter(|&count| standing.approvals < count).map(Change::Approvals));
        changes.extend(self.proofs().filter(|proof| !standing.proofs.contains(proof)).map(Change::Proof));
        changes.insert(Change::ViaToken(!standing.via_token));
        changes.extend(standing.roles.iter().cloned().map(Change::WithoutRole));
        changes.extend(model().principals.keys().filter(|&&kin| kin != principal.kin).map(|&kin| Change::Kin(kin)));
        let handles = self.handles.iter().filter_map(|handle| handle.parse::<Principal>().ok());
        changes.extend(handles.map(Change::Principal));

        let kins: BTreeMap<_, _> = model().principals.iter().map(|(kin, name)| (name, *kin)).collect();
        for entity in &self.entities {
            let (entity_type, id) = (entity.type_name(), entity.id().unescaped());
            if *entity_type == model().role {
                changes.extend((!standing.roles.contains(id)).then(|| Change::Role(id.to_owned())));
            }
            if let Some(&kin) = kins.get(entity_type) {
                let other = Principal::new(kin, id).ok().filter(|other| other != *principal);
                changes.extend(other.map(Change::Principal));
            }
            if *entity_type == model().actions[action].resource && id != *resource {
                changes.insert(Change::Resource(id.to_owned()));
            }
        }
        for (name, value) in *context {
            let values: BTreeSet<Value> = match value {
                Value::Bool(truth) => [Value::Bool(!truth)].into(),
                Value::Long(_) => {
                    let named = self.longs.get(name).into_iter().flatten();
                    named.flat_map(|&n| [n.saturating_sub(1), n, n.saturating_add(1)]).map(Value::Long).collect()
                }
                Value::Text(_) => {
                    let named = self.texts.get(name).into_iter().flatten().cloned();
                    let own =
                        self.handled.contains(name).then(|| [principal.to_string(), format!("protocol/{resource}")]);
                    let others = self.paired.iter().filter(|(one, _)| one == name);
                    let others = others.filter_map(|(_, other)| match context.get(other) {
                        Some(Value::Text(text)) => Some(text.clone()),
                        _ => None,
                    });
                    named.chain(own.into_iter().flatten()).chain(others).map(Value::Text).collect()
                }
            };
            let values = values.into_iter().filter(|other| other != value);
            changes.extend(values.map(|value| Change::Attribute { name: name.clone(), value }));
        }
        let mut changes: Vec<_> = changes.into_iter().collect();
        // Among the numbers for one attribute the nearest goes first; all else stays in order.
        let away = |change: &Change| match change {
            Change::Attribute { name, value: Value::Long(to) } => match context.get(name) {
                Some(Value::Long(from)) => from.abs_diff(*to),
                _ => 0,
            },
            _ => 0,
        };
        for run in changes.chunk_by_mut(|one, other| match (one, other) {
            (Change::Attribute { name, .. }, Change::Attribute { name: other, .. }) => name == other,
            _ => false,
        }) {
            run.sort_by_key(away);
        }
        changes
    }
}

/// What stands on the two sides of a comparison.
#[derive(Default)]
struct Terms {
    attributes: BTreeSet<String>,
    texts: BTreeSet<String>,
    longs: BTreeSet<i64>,
    handle: bool,
}

impl Terms {
    fn of(&mut self, expression: &Expr) {
        match expression {
            Expr::Literal(Literal::Long(number)) => drop(self.longs.insert(*number)),
            Expr::Literal(Literal::String(text)) => drop(self.texts.insert(text.to_string())),
            Expr::GetAttr { expr, attr } => match &**expr {
                Expr::Var(Var::Context) => drop(self.attributes.insert(attr.to_string())),
                Expr::Var(_) if *attr == HANDLE => self.handle = true,
                other => self.of(other),
            },
            other => parts(other).into_iter().for_each(|part| self.of(part)),
        }
    }
}

/// What an expression is made of.
pub(crate) fn parts(expression: &Expr) -> Vec<&Expr> {
    match expression {
        Expr::UnaryOp { expr, .. }
        | Expr::GetAttr { expr, .. }
        | Expr::HasAttr { expr, .. }
        | Expr::Like { expr, .. } => {
            vec![expr]
        }
        Expr::BinaryOp { left, right, .. } => vec![left, right],
        Expr::Is { expr, in_expr, .. } => {
            [Some(expr), in_expr.as_ref()].into_iter().flatten().map(|part| &**part).collect()
        }
        Expr::IfThenElse { cond, then_expr, else_expr } => vec![cond, then_expr, else_expr],
        Expr::Set(parts) => parts.iter().map(|part| &**part).collect(),
        Expr::Record(parts) => parts.values().map(|part| &**part).collect(),
        _ => vec![],
    }
}
