//! The decision point for programs of others: AuthZEN Authorization API 1.0: evaluation, evaluations, and the searches.
//!
//! What is answered is what the judge would say of the request ([`door::Door::suppose`]); nothing is decided here. A request
//! that names what we do not know is a no, and not an error.

mod search;

use std::collections::{BTreeMap, BTreeSet};

use ::policy::{Sort, Value as Attribute, attributes};
use door::{Supposed, Supposition};
use kernel::{Denial, Kin, Layer, Principal};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Desk, Given, Request, malformed, rights, with};

/// The code of a no that what was not said could make a yes.
const DEPENDS: &str = "authzen.depends";

/// Most requests of one question.
const EVALUATIONS_MAX: usize = 256;

/// The type of what is asked about by what capability decides, which is in no catalogue.
const BY_CAPABILITY: [(&str, &str); 3] =
    [("security.whoami", "Security"), ("system.stop", "System"), ("system.resume", "System")];

/// What has no such member is none; members that are not known here are no business of ours.
#[derive(Clone, Debug, Deserialize)]
struct Entity {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    properties: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Action {
    name: String,
    properties: Option<Map<String, Value>>,
}

#[derive(Clone, Debug, Deserialize)]
struct Evaluation {
    subject: Entity,
    action: Action,
    resource: Entity,
    context: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
struct Evaluations {
    evaluations: Option<Vec<Value>>,
    options: Option<Options>,
}

#[derive(Deserialize)]
struct Options {
    evaluations_semantic: Option<Semantic>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Semantic {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

pub async fn answer(desk: &Desk, request: Request) -> Given {
    match request.ask.action {
        "authz.evaluate" => evaluated(desk, request).await,
        "authz.search" => search::answer(desk, request).await,
        action => unreachable!("{action} is no question to a decision point"),
    }
}

async fn evaluated(desk: &Desk, request: Request) -> Given {
    let whole = &request.arguments;
    let Evaluations { evaluations, options } = Evaluations::deserialize(whole).map_err(|error| malformed(&error))?;
    let Some(items) = evaluations.filter(|items| !items.is_empty()) else {
        let asked = Evaluation::deserialize(whole).map_err(|error| malformed(&error))?;
        witnessed(desk, request, &[&asked]).await?;
        return Ok(decision(evaluate(desk, &asked).await));
    };
    if EVALUATIONS_MAX < items.len() {
        return Err(malformed(&format!("{} evaluations are over {EVALUATIONS_MAX}", items.len())).into());
    }
    let asked: Vec<_> = items.iter().map(|item| Evaluation::deserialize(merged(whole, item))).collect();
    let sound: Vec<_> = asked.iter().filter_map(|asked| asked.as_ref().ok()).collect();
    witnessed(desk, request, &sound).await?;
    let semantic = options.and_then(|options| options.evaluations_semantic).unwrap_or_default();
    let mut decisions = Vec::new();
    for asked in &asked {
        let answer = match asked {
            Ok(asked) => decision(evaluate(desk, asked).await),
            Err(error) => {
                let error = json!({ "status": 400, "message": error.to_string() });
                json!({ "decision": false, "context": { "code": "request.arguments", "error": error } })
            }
        };
        let last = match semantic {
            Semantic::ExecuteAll => false,
            Semantic::DenyOnFirstDeny => answer["decision"] == false,
            Semantic::PermitOnFirstPermit => answer["decision"] == true,
        };
        decisions.push(answer);
        if last {
            break;
        }
        tokio::task::yield_now().await;
    }
    Ok(json!({ "evaluations": decisions }))
}

/// The item, with what it does not say itself taken whole from around it.
fn merged(whole: &Value, item: &Value) -> Value {
    let Value::Object(own) = item else { return item.clone() };
    let mut merged = own.clone();
    for name in ["subject", "action", "resource", "context"] {
        if merged.get(name).is_none_or(Value::is_null)
            && let Some(default) = whole.get(name)
        {
            merged.insert(name.to_owned(), default.clone());
        }
    }
    Value::Object(merged)
}

/// Lets in whoever may ask that, and records it: about whom it is, and about which action, if it is one.
async fn witnessed(desk: &Desk, request: Request, asked: &[&Evaluation]) -> Result<(), door::Denied> {
    let about: BTreeSet<_> = asked.iter().map(|asked| asked.subject.handle()).collect();
    let actions: BTreeSet<_> = asked.iter().map(|asked| asked.action.name.as_str()).collect();
    let about = only(about).unwrap_or_default();
    let action = only(actions).unwrap_or_default();
    question(desk, request, &about, action).await
}

async fn question(desk: &Desk, request: Request, about: &str, action: &str) -> Result<(), door::Denied> {
    let ask = request.about(if about.is_empty() { "*" } else { about });
    desk.door().witness(&with(with(ask, "about", about), "asked", action)).await?;
    Ok(())
}

fn only<T>(all: BTreeSet<T>) -> Option<T> {
    let mut all = all.into_iter();
    all.next().filter(|_| all.len() == 0)
}

impl Entity {
    /// As policies write a principal: `agent/alpha`.
    fn handle(&self) -> String {
        kin(&self.kind)
            .map_or_else(|| format!("{}/{}", self.kind, self.id), |kin| format!("{}/{}", kin.as_str(), self.id))
    }

    /// # Errors
    /// That nobody is known by this type and id.
    fn principal(&self) -> Result<Principal, Denial> {
        let known = kin(&self.kind).and_then(|kin| Principal::new(kin, &self.id).ok());
        known.ok_or_else(|| {
            let reason = format!("there is no subject {} of type {:?}", short(&self.id), short(&self.kind));
            let remedy = "a subject is an operator, an agent, a protocol or an application, by its name";
            no("authzen.unknown_subject", reason, remedy).rule("who is not known may do nothing")
        })
    }
}

/// The sort of principal; none for the parts of the authority, of whom nobody is told what they may.
fn kin(name: &str) -> Option<Kin> {
    let all = Kin::ALL.into_iter().filter(|kin| *kin != Kin::Internal);
    all.into_iter().find(|kin| kin.as_str().eq_ignore_ascii_case(name))
}

/// The type of what an action is about; `None` if there is no such action.
fn resource_of(action: &str) -> Option<&'static str> {
    let by_capability = BY_CAPABILITY.iter().find(|(name, _)| *name == action).map(|(_, resource)| *resource);
    ::policy::action(action).map(|action| action.resource).or(by_capability)
}

fn no(code: &str, reason: String, remedy: &str) -> Denial {
    Denial::new(Layer::Request, code, reason, remedy)
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Whether it would be let in, and if not, why.
async fn evaluate(desk: &Desk, asked: &Evaluation) -> Result<(), Denial> {
    let Evaluation { subject, action, resource, context } = asked;
    let principal = subject.principal()?;
    if let Some(expected) = resource_of(&action.name).filter(|expected| !expected.eq_ignore_ascii_case(&resource.kind))
    {
        let reason = format!("{} is about a {expected}, not a {:?}", action.name, short(&resource.kind));
        let remedy = "name the type that docs/policies.md says where it is listed for the action";
        return Err(no("authzen.resource_type", reason, remedy).rule("the type of what an action is about"));
    }
    let said = [context, &action.properties, &resource.properties, &subject.properties];
    let mut context = attributes_said(&action.name, said)?;
    context.extend(rights::known_of(desk, &action.name, &resource.id).await?);
    let none = BTreeSet::new();
    let supposed = Supposed {
        principal: &principal,
        action: &action.name,
        resource: Some(&resource.id),
        context: &context,
        roles: &none,
    };
    match desk.door().suppose(&supposed).1 {
        Supposition::Allowed { .. } => Ok(()),
        Supposition::Denied { denial, .. } => Err(denial),
        Supposition::Depends { .. } => Err(depends(&action.name, &context)),
    }
}

/// It cannot be told without the attributes that are not there.
fn depends(action: &str, context: &BTreeMap<String, Attribute>) -> Denial {
    let open = attributes(action).into_iter().flatten().map(|(name, _)| name.as_str());
    let open: Vec<_> = open.filter(|name| !context.contains_key(*name)).collect();
    let reason = format!("it depends on what was not said of {action}: {}", open.join(", "));
    let remedy = "say it as properties of the action, or in the context";
    no(DEPENDS, reason, remedy).rule("what is not known to be permitted is denied")
}

/// What the schema has of all that was said, wherever it was said. What it does not have, no policy can speak of.
fn attributes_said(
    action: &str,
    said: [&Option<Map<String, Value>>; 4],
) -> Result<BTreeMap<String, Attribute>, Denial> {
    let mut context = BTreeMap::new();
    for (name, sort) in attributes(action).into_iter().flatten() {
        for value in said.iter().filter_map(|all| all.as_ref()?.get(name)) {
            let value = typed(value, *sort).ok_or_else(|| {
                let reason = format!("the attribute {name:?} of {action} is of another type");
                no("authzen.attribute", reason, "say it as the schema has it").rule("the schema of policies")
            })?;
            match context.get(name) {
                Some(other) if *other != value => {
                    let reason = format!("the attribute {name:?} of {action} is said twice, and not the same");
                    return Err(no("authzen.attribute", reason, "say it once").rule("one attribute, one value"));
                }
                Some(_) => {}
                None => drop(context.insert(name.clone(), value)),
            }
        }
    }
    Ok(context)
}

fn typed(value: &Value, sort: Sort) -> Option<Attribute> {
    match sort {
        Sort::Text => value.as_str().map(Attribute::from),
        Sort::Long => value.as_i64().map(Attribute::from),
        Sort::Bool => value.as_bool().map(Attribute::from),
    }
}

/// As it is answered: of a no, all that a program needs to get a yes.
fn decision(judged: Result<(), Denial>) -> Value {
    match judged {
        Ok(()) => json!({ "decision": true }),
        Err(denial) => json!({ "decision": false, "context": denial }),
    }
}
