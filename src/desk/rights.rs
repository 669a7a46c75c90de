//! Rights: what somebody may do, who may do something, and what roles there are; by the active policy, and by nothing else.

use std::collections::{BTreeMap, BTreeSet};

use ::policy::{ACTIONS, Inquiry, May, Policies, Question, Standing, Value as Attribute, attributes};
use kernel::Principal;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Desk, Given, Request, malformed, parsed, unknown, with};

/// Most principals of whom it is said what they may.
const PRINCIPALS_MAX: usize = 1_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Can {
    action: String,
    #[serde(default = "any")]
    resource: String,
    #[serde(default)]
    principal: Option<Named>,
    #[serde(default)]
    context: BTreeMap<String, Value>,
    /// As if bound to these as well.
    #[serde(default)]
    roles: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Who {
    action: String,
    #[serde(default = "any")]
    resource: String,
    #[serde(default)]
    context: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct What {
    #[serde(default)]
    principal: Option<Named>,
    #[serde(default)]
    roles: BTreeSet<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
struct Named(#[serde(deserialize_with = "parsed")] Principal);

fn any() -> String {
    "*".to_owned()
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "policy.can" => {
            let Can { action, resource, principal, context, roles } = request.arguments()?;
            let context = typed(&action, context)?;
            let principal = witnessed(desk, request, principal).await?;
            let (epoch, policies) = active(desk)?;
            let standing = standing(desk, &principal, roles);
            let inquiry = Inquiry {
                principal: &principal,
                action: &action,
                resource: Some(&resource),
                context: &context,
                standing: &standing,
                any_standing: false,
            };
            let mut answer = told(&policies, &inquiry)?;
            answer["principal"] = json!(principal);
            answer["action"] = json!(action);
            answer["resource"] = json!(resource);
            answer["roles"] = json!(standing.roles);
            answer["epoch"] = json!(epoch);
            Ok(answer)
        }
        "policy.what" => {
            let What { principal, roles } = request.arguments()?;
            let principal = witnessed(desk, request, principal).await?;
            let (epoch, policies) = active(desk)?;
            let standing = standing(desk, &principal, roles);
            let nothing = BTreeMap::new();
            let mut actions = Vec::new();
            for action in ACTIONS {
                let inquiry = Inquiry {
                    principal: &principal,
                    action: action.name,
                    resource: None,
                    context: &nothing,
                    standing: &standing,
                    any_standing: false,
                };
                let may = policies.may(&inquiry).map_err(|error| malformed(&error))?;
                if !matches!(may, May::No { .. }) {
                    let mut row = json!(may);
                    row["action"] = json!(action.name);
                    actions.push(row);
                }
            }
            Ok(json!({ "principal": principal, "roles": standing.roles, "epoch": epoch, "actions": actions }))
        }
        "policy.who" => {
            let Who { action, resource, context } = request.arguments()?;
            let context = typed(&action, context)?;
            desk.door().witness(&with(request.about("*"), "about", "")).await?;
            let (epoch, policies) = active(desk)?;
            let now = desk.now();
            let known = desk.door().identity_view().read(|identity| {
                let active = identity.list().filter(|(principal, _)| identity.standing(principal, now).is_ok());
                let known = active.map(|(principal, _)| (principal.clone(), identity.roles(principal, now)));
                known.take(PRINCIPALS_MAX + 1).collect::<Vec<_>>()
            });
            let mut principals = Vec::new();
            for (principal, roles) in known.iter().take(PRINCIPALS_MAX) {
                let inquiry = Inquiry {
                    principal,
                    action: &action,
                    resource: Some(&resource),
                    context: &context,
                    standing: &Standing { roles: roles.clone(), ..Standing::default() },
                    any_standing: false,
                };
                let may = policies.may(&inquiry).map_err(|error| malformed(&error))?;
                if !matches!(may, May::No { .. }) {
                    let mut row = json!(may);
                    row["principal"] = json!(principal);
                    principals.push(row);
                }
            }
            Ok(json!({
                "action": action, "resource": resource, "epoch": epoch, "principals": principals,
                "complete": known.len() <= PRINCIPALS_MAX,
            }))
        }
        "policy.roles" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let (epoch, policies) = active(desk)?;
            let roles = policies.roles().into_iter().map(|(role, rules)| json!({ "role": role, "rules": rules }));
            Ok(json!({ "epoch": epoch, "roles": roles.collect::<Vec<_>>() }))
        }
        action => unreachable!("{action} asks for no rights"),
    }
}

/// Who is asked about: whoever asks, if nobody is named. To ask about another is a right of its own.
async fn witnessed(desk: &Desk, request: Request, named: Option<Named>) -> Result<Principal, door::Denied> {
    let principal = match named {
        Some(Named(principal)) => principal,
        None => desk.door().identify(&request.ask).await?,
    };
    if principal.kin == kernel::Kin::Internal {
        return Err(unknown("policy.unknown_principal", &principal, "parts of the authority are judged by no policy"));
    }
    let about = principal.to_string();
    desk.door().witness(&with(request.about(&about), "about", about.as_str())).await?;
    Ok(principal)
}

fn active(desk: &Desk) -> Result<(u64, std::sync::Arc<Policies>), door::Denied> {
    let (epoch, policies) = desk.door().policies();
    Ok((epoch, policies?))
}

/// The roles that somebody has, and those that are supposed. Not what a single request would rest on: token, approvals, proofs.
fn standing(desk: &Desk, principal: &Principal, supposed: BTreeSet<String>) -> Standing {
    let now = desk.now();
    let mut roles = desk.door().identity_view().read(|identity| identity.roles(principal, now));
    roles.extend(supposed);
    Standing { roles, ..Standing::default() }
}

/// Values of the types that the action's attributes have.
fn typed(action: &str, context: BTreeMap<String, Value>) -> Result<BTreeMap<String, Attribute>, door::Denied> {
    let typed = context.into_iter().map(|(name, value)| match value {
        Value::Bool(truth) => Ok((name, Attribute::Bool(truth))),
        Value::String(text) => Ok((name, Attribute::Text(text))),
        Value::Number(number) if number.is_i64() => Ok((name, Attribute::Long(number.as_i64().unwrap_or_default()))),
        _ => Err(malformed(&format!("the attribute {name:?} of {action} is no text, whole number or truth")).into()),
    });
    typed.collect()
}

/// The answer, and of a no all that would have helped.
fn told(policies: &Policies, inquiry: &Inquiry<'_>) -> Given {
    let may = policies.may(inquiry).map_err(|error| malformed(&error))?;
    let mut answer = json!(may);
    let complete = attributes(inquiry.action).is_some_and(|all| all.len() == inquiry.context.len());
    if let (May::No { .. }, Some(resource), true) = (&may, inquiry.resource, complete) {
        let Inquiry { principal, action, context, standing, .. } = *inquiry;
        let question = Question { principal, action, resource, context, standing };
        let why = policies.why_not(&question, &policies.judge(&question));
        let near = policies.near_misses(&question);
        let found = near
            .found
            .iter()
            .map(|near| json!({ "change": near.change, "words": near.change.to_string(), "permits": near.permits }));
        answer["code"] = json!(why.map(|why| why.code()));
        answer["near"] = found.collect();
        answer["near_complete"] = json!(near.complete);
    }
    Ok(answer)
}

/// What a text would let its author do that its author may not do now. Nothing is said of a text that is not valid, and
/// of an author who may not propose it: both are refused for that.
pub fn escalation(desk: &Desk, author: &Principal, text: &str) -> Result<Vec<&'static str>, door::Denied> {
    let (_, policies) = active(desk)?;
    let standing = standing(desk, author, BTreeSet::new());
    let nothing = BTreeMap::new();
    let propose =
        Question { principal: author, action: "policy.propose", resource: "*", context: &nothing, standing: &standing };
    if !policies.judge(&propose).allowed {
        return Ok(vec![]);
    }
    Ok(Policies::compile(text).map(|proposed| policies.widened(&proposed, author, &standing)).unwrap_or_default())
}
