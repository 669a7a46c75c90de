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
mod narrow;
mod near;
mod partial;
mod problem;
mod roles;
mod slice;

use std::collections::{BTreeMap, HashSet};
use std::sync::LazyLock;

use cedar_policy::{
    Authorizer, Context, Decision, Entities, Entity, EntityId, EntityTypeName, EntityUid, PolicySet, Request,
    RequestEnv, RestrictedExpression, Schema, SchemaFragment,
};
use kernel::{Kin, Missing, Principal};

use slice::Slice;

pub use actions::{ACTIONS, Action, action};
/// A value in the context of a question.
pub use kernel::Attribute as Value;
pub use kernel::Standing;
pub use narrow::narrowest;
pub use near::{Case, Change, NearMiss, NearMisses};
pub use partial::{Inquiry, May, Open};
pub use problem::Problem;
pub use roles::{RoleRule, role_policy};

/// The schema that every policy is checked against, as its authors read it.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// Stack that an evaluation takes for each step down, in bytes: measured, and rounded up.
const STACK_PER_STEP: usize = if cfg!(debug_assertions) { 64 * 1024 } else { 16 * 1024 };

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
    /// Per action, the policies that could match it.
    slices: BTreeMap<&'static str, Slice>,
    /// Per action, what its policies ask of approvals and proofs, where they do.
    obligations: BTreeMap<&'static str, near::Obligations>,
    /// The source of each policy, by id.
    texts: BTreeMap<String, String>,
    /// No expression is deeper.
    depth: usize,
    digest: kernel::Digest,
}

impl Policies {
    /// Longest text, in bytes: a proposal's record holds it whole.
    pub const TEXT_MAX: usize = 56 * 1024;

    /// The ids of all policies, sorted.
    pub fn ids(&self) -> impl Iterator<Item = &str> {
        self.texts.keys().map(String::as_str)
    }

    /// blake3 of the text that was compiled.
    pub fn digest(&self) -> kernel::Digest {
        self.digest
    }

    /// The source of one policy.
    pub fn text(&self, id: &str) -> Option<&str> {
        self.texts.get(id).map(String::as_str)
    }

    /// The policies that could match an action, for whoever reasons about them in Cedar's own types.
    pub fn slice(&self, action: &str) -> Option<PolicySet> {
        let policies = self.slices.get(action)?.policies().cloned();
        Some(PolicySet::from_policies(policies).expect("the ids in a part of a set are different"))
    }

    pub fn judge(&self, question: &Question<'_>) -> Judgement {
        let asked = match question.as_cedar() {
            Ok(asked) => asked,
            Err(error) => return Judgement::unjudged(error),
        };
        let (mut permits, mut forbids, mut errors) = (Vec::new(), Vec::new(), Vec::new());
        self.deep(|| {
            for part in self.slices[asked.action].parts(question) {
                let response = Authorizer::new().is_authorized(&asked.request, part, &asked.entities);
                let ids = response.diagnostics().reason().map(|id| AsRef::<str>::as_ref(id).to_owned());
                match response.decision() {
                    Decision::Allow => permits.extend(ids),
                    Decision::Deny => forbids.extend(ids),
                }
                errors.extend(response.diagnostics().errors().map(ToString::to_string));
            }
        });
        let granted = forbids.is_empty() && !permits.is_empty();
        let mut determining = match (granted, errors.is_empty()) {
            (true, true) => permits,
            // The permits of an allow that an error turned into a denial determined nothing.
            (true, false) => Vec::new(),
            (false, _) => forbids,
        };
        determining.sort_unstable();
        errors.sort_unstable();
        Judgement { allowed: granted && errors.is_empty(), determining, errors }
    }

    /// Goes down into the policies' expressions. On a short stack Cedar answers "recursion limit", and the answer must not
    /// depend on the caller's. The stack that a thread has by default is enough for most policies.
    fn deep<T>(&self, work: impl FnOnce() -> T) -> T {
        let needed = (self.depth + 4) * STACK_PER_STEP;
        stacker::maybe_grow(needed, 2 * needed, work)
    }
}

/// Why a question is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhyNot {
    /// It could not be judged in full.
    Error(String),
    /// It lacks approvals or proofs, and nothing else.
    Missing(Missing),
    /// No policy permits it.
    NotPermitted,
    /// A policy forbids it.
    Forbidden,
}

impl WhyNot {
    /// Stable, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Error(_) => "policy.error",
            Self::Missing(Missing { approvals: 0, .. }) => "policy.proof_needed",
            Self::Missing(_) => "policy.approval_needed",
            Self::NotPermitted => "policy.not_permitted",
            Self::Forbidden => "policy.forbidden",
        }
    }
}

impl Policies {
    /// Why the question was denied that this is the judgement of; `None` of an allow.
    pub fn why_not(&self, question: &Question<'_>, judgement: &Judgement) -> Option<WhyNot> {
        if judgement.allowed {
            return None;
        }
        Some(if let Some(error) = judgement.errors.first() {
            WhyNot::Error(error.clone())
        } else if let Some(missing) = self.missing(question) {
            WhyNot::Missing(missing)
        } else if judgement.determining.is_empty() {
            WhyNot::NotPermitted
        } else {
            WhyNot::Forbidden
        })
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
        let context = self.context_in_cedar()?;
        // The table knows all that Cedar's own check would find, in a fraction of its time; only for words is Cedar asked.
        let schema = if subject.takes(self.context) { None } else { Some(&model().schema) };
        let request = Request::new(principal, subject.action.clone(), resource, context, schema)
            .map_err(|error| error.to_string())?;
        Ok(Asked { action, request, entities })
    }

    /// Whether it can be asked at all: of somebody whom policies know, about an action that there is, with its attributes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        self.as_cedar().map(drop)
    }

    fn context_in_cedar(&self) -> Result<Context, String> {
        let Standing { via_token, credential: _, roles: _, approvals, proofs } = self.standing;
        if self.context.is_empty() && *approvals == 0 && proofs.is_empty() {
            return Ok(model().bare[usize::from(*via_token)].clone());
        }
        let pairs = self.context.iter().map(|(name, value)| {
            let value = match value {
                Value::Text(text) => RestrictedExpression::new_string(text.clone()),
                Value::Long(number) => RestrictedExpression::new_long(*number),
                Value::Bool(truth) => RestrictedExpression::new_bool(*truth),
            };
            (name.clone(), value)
        });
        let proofs = proofs.iter().map(|proof| RestrictedExpression::new_string(proof.clone()));
        let standing = standing_in_cedar(*via_token, *approvals, proofs);
        Context::from_pairs(pairs.chain(standing)).map_err(|error| error.to_string())
    }
}

fn standing_in_cedar(
    via_token: bool,
    approvals: u32,
    proofs: impl Iterator<Item = RestrictedExpression>,
) -> [(String, RestrictedExpression); 3] {
    let standing = [
        ("via_token", RestrictedExpression::new_bool(via_token)),
        ("approvals", RestrictedExpression::new_long(approvals.into())),
        ("proofs", RestrictedExpression::new_set(proofs)),
    ];
    standing.map(|(name, value)| (name.to_owned(), value))
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
    /// The contexts of most questions: no attributes of the action, nothing approved, nothing proven; without and with a token.
    bare: [Context; 2],
}

struct Subject {
    action: EntityUid,
    resource: EntityTypeName,
    /// What the schema has besides the standing; all of it must be there.
    attributes: BTreeMap<String, Sort>,
}

/// The type of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    Text,
    Long,
    Bool,
}

impl Sort {
    pub fn of(value: &Value) -> Self {
        match value {
            Value::Text(_) => Self::Text,
            Value::Long(_) => Self::Long,
            Value::Bool(_) => Self::Bool,
        }
    }
}

/// The attributes of an action's context, but for those of the standing; `None` if there is no such action.
pub fn attributes(action: &str) -> Option<&'static BTreeMap<String, Sort>> {
    model().actions.get(action).map(|subject| &subject.attributes)
}

impl Subject {
    /// Whether this is the context that the schema has for the action.
    fn takes(&self, context: &BTreeMap<String, Value>) -> bool {
        let given = context.iter().map(|(name, value)| (name, Sort::of(value)));
        given.eq(self.attributes.iter().map(|(name, sort)| (name, *sort)))
    }
}

impl Model {
    fn kin(&self, entity_type: &EntityTypeName) -> Option<Kin> {
        self.principals.iter().find(|(_, known)| *known == entity_type).map(|(kin, _)| *kin)
    }
}

/// What every context has, whatever the action.
const STANDING: [&str; 3] = ["via_token", "approvals", "proofs"];

/// What the schema says of an action's context, read off its JSON form: Cedar has no other way to ask.
fn attributes_of(schema: &serde_json::Value, action: &str) -> BTreeMap<String, Sort> {
    let name = |of: &serde_json::Value| {
        let name = of.get("name").or_else(|| of.get("type")).and_then(serde_json::Value::as_str);
        name.expect("a type has a name").to_owned()
    };
    let context = name(&schema[""]["actions"][action]["appliesTo"]["context"]);
    let attributes =
        schema[""]["commonTypes"][&context]["attributes"].as_object().expect("a context is a named record");
    let own = attributes.iter().filter(|(name, _)| !STANDING.contains(&name.as_str()));
    let sorted = own.map(|(attribute, of)| {
        let sort = match name(of).trim_start_matches("__cedar::") {
            "String" => Sort::Text,
            "Long" => Sort::Long,
            "Bool" => Sort::Bool,
            other => unreachable!("{action} has an attribute of type {other}, which no value is of"),
        };
        (attribute.clone(), sort)
    });
    sorted.collect()
}

fn model() -> &'static Model {
    static MODEL: LazyLock<Model> = LazyLock::new(|| {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).expect("our own schema is one");
        let (fragment, _) = SchemaFragment::from_cedarschema_str(SCHEMA).expect("our own schema is one");
        let json = fragment.to_json_value().expect("our own schema has a JSON form");
        let type_name = |name: &str| name.parse::<EntityTypeName>().expect("our own type names are names");
        let action_type = type_name("Action");
        let principals = [
            (Kin::Operator, "Operator"),
            (Kin::Agent, "Agent"),
            (Kin::Protocol, "Protocol"),
            (Kin::Application, "Application"),
        ];
        let actions = ACTIONS.iter().map(|action| {
            let subject = Subject {
                action: uid(&action_type, action.name),
                resource: type_name(action.resource),
                attributes: attributes_of(&json, action.name),
            };
            (action.name, subject)
        });
        let bare = [false, true].map(|via_token| {
            Context::from_pairs(standing_in_cedar(via_token, 0, std::iter::empty())).expect("three names that differ")
        });
        Model {
            bare,
            schema,
            principals: principals.into_iter().map(|(kin, name)| (kin, type_name(name))).collect(),
            role: type_name("Role"),
            actions: actions.collect(),
        }
    });
    &MODEL
}

/// The schema, in Cedar's own type.
pub fn schema() -> &'static Schema {
    &model().schema
}

/// Every action with every sort of principal that may ask for it, and the resource that it is about.
pub fn corners() -> impl Iterator<Item = RequestEnv> {
    model().schema.request_envs()
}

fn uid(entity_type: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(entity_type.clone(), EntityId::new(id))
}

/// What arrives from outside may be of any length; a message may not.
fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}
