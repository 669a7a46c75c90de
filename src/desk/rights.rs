//! Rights: what somebody may do, who may do something, and what roles there are. The judge says it, of requests that nobody
//! made: the registry and an emergency stop have a say in it as well as the active policy.

use std::collections::{BTreeMap, BTreeSet};

use ::policy::{ACTIONS, May, NearMisses, Policies, Question, Standing, Value as Attribute, attributes};
use allocator::{Allocator, LeaseId};
use door::{Supposed, Supposition};
use identity::{CredentialId, Identity};
use kernel::{Denial, Layer, Principal};
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
            let mut context = typed(&action, context)?;
            let principal = witnessed(desk, request, principal).await?;
            context.extend(known_of(desk, &action, &resource).await?);
            let supposed = Supposed {
                principal: &principal,
                action: &action,
                resource: Some(&resource),
                context: &context,
                roles: &roles,
            };
            let (epoch, judged) = desk.door().suppose(&supposed);
            let roles = standing(desk, &principal, &roles).roles;
            let mut answer = told(judged.clone());
            if let Supposition::Denied { denial, .. } = &judged {
                let (near, complete) = near(desk, &supposed, denial.layer, epoch);
                answer["near"] = near;
                answer["near_complete"] = json!(complete);
            }
            answer["principal"] = json!(principal);
            answer["action"] = json!(action);
            answer["resource"] = json!(resource);
            answer["roles"] = json!(roles);
            answer["epoch"] = json!(epoch);
            Ok(answer)
        }
        "policy.what" => {
            let What { principal, roles } = request.arguments()?;
            let principal = witnessed(desk, request, principal).await?;
            let (nothing, mut actions, mut at) = (BTreeMap::new(), Vec::new(), 0);
            for action in ACTIONS {
                let supposed = Supposed {
                    principal: &principal,
                    action: action.name,
                    resource: None,
                    context: &nothing,
                    roles: &roles,
                };
                let (epoch, judged) = desk.door().suppose(&supposed);
                at = epoch;
                if !matches!(judged, Supposition::Denied { .. }) {
                    let mut row = told(judged);
                    row["action"] = json!(action.name);
                    actions.push(row);
                }
            }
            let roles = standing(desk, &principal, &roles).roles;
            Ok(json!({ "principal": principal, "roles": roles, "epoch": at, "actions": actions }))
        }
        "policy.who" => {
            let Who { action, resource, context } = request.arguments()?;
            let mut context = typed(&action, context)?;
            desk.door().witness(&with(request.about("*"), "about", "")).await?;
            context.extend(known_of(desk, &action, &resource).await?);
            let (epoch, _) = active(desk)?;
            let known = known(desk);
            let (mut principals, none) = (Vec::new(), BTreeSet::new());
            for principal in known.iter().take(PRINCIPALS_MAX) {
                let resource = Some(resource.as_str());
                let supposed = Supposed { principal, action: &action, resource, context: &context, roles: &none };
                let (_, judged) = desk.door().suppose(&supposed);
                if !matches!(judged, Supposition::Denied { .. }) {
                    let mut row = told(judged);
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

/// What the authority itself says of a thing where it is acted upon, whatever whoever asks says of it: the attributes that the
/// desk fills in before the door is asked.
pub async fn known_of(desk: &Desk, action: &str, resource: &str) -> Result<BTreeMap<String, Attribute>, Denial> {
    let attribute = |name: &str, value: Option<String>| (name.to_owned(), Attribute::Text(value.unwrap_or_default()));
    Ok(match action {
        "lease.renew" | "lease.release" | "lease.show" => {
            let Ok(lease) = resource.parse::<LeaseId>() else { return Ok(BTreeMap::new()) };
            let look = move |allocator: &Allocator| allocator.owner(lease).map(ToString::to_string);
            let owner = desk.parts.allocator.inspect(look).await.map_err(|error| error.denial())?;
            [attribute("owner", owner)].into()
        }
        "credential.rotate" | "credential.revoke" => {
            let Ok(id) = resource.parse::<CredentialId>() else { return Ok(BTreeMap::new()) };
            let look = |identity: &Identity| identity.credential(id).map(|known| known.principal.to_string());
            [attribute("holder", desk.door().identity_view().read(look))].into()
        }
        "approval.show" | "approval.approve" | "approval.deny" | "approval.withdraw" => {
            let Ok(number) = resource.parse::<u64>() else { return Ok(BTreeMap::new()) };
            let found = desk.parts.approvals_view.read(|approvals| approvals.show(number, desk.now()));
            let (who, what) = found.map(|found| (found.asker.to_string(), found.action)).unzip();
            [attribute("asker", who), attribute("asked", what)].into()
        }
        _ => BTreeMap::new(),
    })
}

/// Everybody who is in the registry, active or not, and one more than are looked at.
pub fn known(desk: &Desk) -> Vec<Principal> {
    desk.door()
        .identity_view()
        .read(|identity| identity.list().map(|(principal, _)| principal.clone()).take(PRINCIPALS_MAX + 1).collect())
}

/// The roles that somebody has, and those that are supposed. Not what a single request would rest on: token, approvals, proofs.
fn standing(desk: &Desk, principal: &Principal, supposed: &BTreeSet<String>) -> Standing {
    let now = desk.now();
    let mut roles = desk.door().identity_view().read(|identity| identity.roles(principal, now));
    roles.extend(supposed.iter().cloned());
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

/// What was judged, as it is answered: of a no, the whole denial.
pub fn told(judged: Supposition) -> Value {
    match judged {
        Supposition::Allowed { by } => json!(May::Yes { by }),
        Supposition::Depends { permits, forbids } => json!(May::If { permits, forbids }),
        Supposition::Denied { denial, by } => {
            let mut answer = json!(denial);
            answer["answer"] = "no".into();
            answer["by"] = json!(by);
            answer
        }
    }
}

/// The single changes that would have made it an allow, where it is policies that say no and all of the question is known;
/// whether these are all.
fn near(desk: &Desk, supposed: &Supposed<'_>, layer: Layer, epoch: u64) -> (Value, bool) {
    let nothing = (json!([]), true);
    let said = attributes(supposed.action).is_some_and(|all| all.len() == supposed.context.len());
    let (Some(resource), true, Layer::Policy) = (supposed.resource, said, layer) else { return nothing };
    let (active, Ok(policies)) = desk.door().policies() else { return nothing };
    if active != epoch {
        return (json!([]), false);
    }
    let standing = standing(desk, supposed.principal, supposed.roles);
    let Supposed { principal, action, context, .. } = *supposed;
    misses(&policies, &Question { principal, action, resource, context, standing: &standing })
}

/// What would have made an allow of it, in words and for programs; whether that is all.
fn misses(policies: &Policies, question: &Question<'_>) -> (Value, bool) {
    missed(&policies.near_misses(question))
}

/// The same, of what was found.
pub fn missed(near: &NearMisses) -> (Value, bool) {
    let found = near
        .found
        .iter()
        .map(|near| json!({ "change": near.change, "words": near.change.to_string(), "permits": near.permits }));
    (found.collect(), near.complete)
}

/// What a text would let its author do that its author may not do now. Nothing is said of a text that is not valid, and
/// of an author who may not propose it: both are refused for that.
pub fn escalation(desk: &Desk, author: &Principal, text: &str) -> Result<Vec<&'static str>, door::Denied> {
    let (_, policies) = active(desk)?;
    let standing = standing(desk, author, &BTreeSet::new());
    let nothing = BTreeMap::new();
    let propose =
        Question { principal: author, action: "policy.propose", resource: "*", context: &nothing, standing: &standing };
    if !policies.judge(&propose).allowed {
        return Ok(vec![]);
    }
    Ok(Policies::compile(text).map(|proposed| policies.widened(&proposed, author, &standing)).unwrap_or_default())
}
