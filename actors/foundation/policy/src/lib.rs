//! Policies: who may ask for what, in Cedar, behind one crate.
//!
//! Pure: a text is [compiled](Policies::compile) once, against a fixed typed schema, and then [judges](Policies::judge)
//! any number of questions. No clock, no file, no state. Cedar's own types stay inside: it is heavy to build, and
//! only this crate and those who use it should pay for that.
//!
//! # Invariants
//! 1. Deny is the default, a `forbid` outweighs every `permit`, and a judgement with an error in it denies.
//!    (Cedar alone *skips* a policy that fails, also a `forbid`.)
//! 2. What compiled speaks only of what the schema has, and no policy in it is unreachable.
//! 3. Judging over the slice of an action gives what judging over all policies would give.
//! 4. Equal text and question give an equal judgement, down to the order of the ids in it.
//! 5. A near miss is true: the question with the named change is allowed, by the named policies.

mod actions;
mod bounds;
mod compile;
mod near;
mod problem;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RestrictedExpression, Schema,
};
use kernel::{Kin, Principal};

pub use actions::{ACTIONS, Action, action};
pub use near::{Case, Change, NearMiss, NearMisses};
pub use problem::Problem;

/// The schema that every policy is checked against, as its authors read it.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// Stack that an evaluation takes for each step down, in bytes: measured, and rounded up.
const STACK_PER_STEP: usize = if cfg!(debug_assertions) { 64 * 1024 } else { 16 * 1024 };

/// A value in the context of a question.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Value {
    Text(String),
    Long(i64),
    Bool(bool),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Long(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

/// May this principal do this to that, in these circumstances?
#[derive(Clone, Debug)]
pub struct Question<'a> {
    pub principal: &'a Principal,
    /// One of [`ACTIONS`].
    pub action: &'a str,
    /// The id of what is asked about; its type follows from the action. `*` where no single one is meant.
    pub resource: &'a str,
    /// The attributes that the schema has for the action, but for those of the standing.
    pub context: &'a BTreeMap<String, Value>,
    pub standing: &'a Standing,
}

/// What the authority itself knows of a request, and nobody says of himself.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Standing {
    /// Whether it rests on a token.
    pub via_token: bool,
    /// What its principal is bound to.
    pub roles: BTreeSet<String>,
    /// How many have approved exactly this.
    pub approvals: u32,
    /// The obligations that it is proven to meet.
    pub proofs: BTreeSet<String>,
}

/// The answer to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    pub allowed: bool,
    /// Ids of the policies that made the answer what it is, sorted: the permits of an allow, the forbids of a denial.
    /// Empty if nothing permitted.
    pub determining: Vec<String>,
    /// Why the question could not be judged in full, sorted. If there is one, the answer is no.
    pub errors: Vec<String>,
}

impl Judgement {
    fn unjudged(error: String) -> Self {
        Self { allowed: false, determining: Vec::new(), errors: vec![error] }
    }
}

/// A compiled policy text.
#[derive(Clone, Debug)]
pub struct Policies {
    /// Per action, the policies that could match it. Cedar evaluates every policy of a set, and a policy whose scope
    /// names another action never matches.
    slices: BTreeMap<&'static str, PolicySet>,
    /// Per action, what its policies ask of approvals and proofs, where they do.
    obligations: BTreeMap<&'static str, near::Obligations>,
    /// The source of each policy, by id.
    texts: BTreeMap<String, String>,
    /// No expression is deeper.
    depth: usize,
}

impl Policies {
    /// Longest text, in bytes: a proposal's record holds it whole.
    pub const TEXT_MAX: usize = 56 * 1024;

    /// The ids of all policies, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// The source of one policy.
    pub fn text(&self, id: &str) -> Option<&str> {
        self.texts.get(id).map(String::as_str)
    }

    pub fn judge(&self, question: &Question<'_>) -> Judgement {
        let asked = match question.as_cedar() {
            Ok(asked) => asked,
            Err(error) => return Judgement::unjudged(error),
        };
        let slice = &self.slices[asked.action];
        let response = self.deep(|| Authorizer::new().is_authorized(&asked.request, slice, &asked.entities));
        let mut errors: Vec<String> = response.diagnostics().errors().map(ToString::to_string).collect();
        errors.sort_unstable();
        let granted = response.decision() == Decision::Allow;
        // The permits of an allow that an error turned into a denial determined nothing.
        let overruled = granted && !errors.is_empty();
        let reason = response.diagnostics().reason().filter(|_| !overruled);
        let mut determining: Vec<String> = reason.map(|id| AsRef::<str>::as_ref(id).to_owned()).collect();
        determining.sort_unstable();
        Judgement { allowed: granted && errors.is_empty(), determining, errors }
    }

    /// Goes down into the policies' expressions. On a short stack Cedar answers "recursion limit", and the answer must not
    /// depend on the caller's. The stack that a thread has by default is enough for most policies.
    fn deep<T>(&self, work: impl FnOnce() -> T) -> T {
        let needed = (self.depth + 4) * STACK_PER_STEP;
        stacker::maybe_grow(needed, 2 * needed, work)
    }
}

/// A question in Cedar's types, checked against the schema.
struct Asked {
    action: &'static str,
    request: Request,
    entities: Entities,
}

impl Question<'_> {
    fn as_cedar(&self) -> Result<Asked, String> {
        let Some((&action, subject)) = model().actions.get_key_value(self.action) else {
            return Err(format!("there is no action {:?}", shortened(self.action)));
        };
        let Some(principal_type) = model().principals.get(&self.principal.kin) else {
            return Err(format!("{} is a part of the authority: no policy judges it", self.principal));
        };
        let principal = uid(principal_type, self.principal.name());
        let resource = uid(&subject.resource, self.resource);
        let roles = self.standing.roles.iter().map(|role| uid(&model().role, role)).collect();
        let mut known = vec![with_handle(&principal, self.principal.to_string(), roles)?];
        // A protocol is asked about as well as asking, also about itself.
        if model().principals[&Kin::Protocol] == subject.resource && resource != principal {
            known.push(with_handle(
                &resource,
                format!("{}/{}", Kin::Protocol.as_str(), self.resource),
                HashSet::new(),
            )?);
        }
        let entities = Entities::from_entities(known, None).map_err(|error| error.to_string())?;
        let pairs = self.context.iter().map(|(name, value)| {
            let value = match value {
                Value::Text(text) => RestrictedExpression::new_string(text.clone()),
                Value::Long(number) => RestrictedExpression::new_long(*number),
                Value::Bool(truth) => RestrictedExpression::new_bool(*truth),
            };
            (name.clone(), value)
        });
        let Standing { via_token, roles: _, approvals, proofs } = self.standing;
        let proofs = proofs.iter().map(|proof| RestrictedExpression::new_string(proof.clone()));
        let standing = [
            ("via_token", RestrictedExpression::new_bool(*via_token)),
            ("approvals", RestrictedExpression::new_long(i64::from(*approvals))),
            ("proofs", RestrictedExpression::new_set(proofs)),
        ];
        let standing = standing.map(|(name, value)| (name.to_owned(), value));
        let context = Context::from_pairs(pairs.chain(standing)).map_err(|error| error.to_string())?;
        let request = Request::new(principal, subject.action.clone(), resource, context, Some(&model().schema))
            .map_err(|error| error.to_string())?;
        Ok(Asked { action, request, entities })
    }
}

fn with_handle(uid: &EntityUid, handle: String, roles: HashSet<EntityUid>) -> Result<Entity, String> {
    let handle = RestrictedExpression::new_string(handle);
    Entity::new(uid.clone(), [("handle".to_owned(), handle)].into(), roles).map_err(|error| error.to_string())
}

/// The schema, and the names that every question needs, parsed once.
struct Model {
    schema: Schema,
    principals: BTreeMap<Kin, EntityTypeName>,
    role: EntityTypeName,
    actions: BTreeMap<&'static str, Subject>,
}

struct Subject {
    action: EntityUid,
    resource: EntityTypeName,
}

fn model() -> &'static Model {
    static MODEL: LazyLock<Model> = LazyLock::new(|| {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("our own schema is one");
        let type_name = |name: &str| name.parse::<EntityTypeName>().expect("our own type names are names");
        let action_type = type_name("Action");
        let principals = [
            (Kin::Operator, "Operator"),
            (Kin::Agent, "Agent"),
            (Kin::Protocol, "Protocol"),
            (Kin::Application, "Application"),
        ];
        let actions = ACTIONS.iter().map(|action| {
            let subject = Subject { action: uid(&action_type, action.name), resource: type_name(action.resource) };
            (action.name, subject)
        });
        Model {
            schema,
            principals: principals.into_iter().map(|(kin, name)| (kin, type_name(name))).collect(),
            role: type_name("Role"),
            actions: actions.collect(),
        }
    });
    &MODEL
}

fn uid(entity_type: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(entity_type.clone(), EntityId::new(id))
}

/// What arrives from outside may be of any length; a message may not.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
