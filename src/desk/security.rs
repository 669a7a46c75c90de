//! Who there is: admit, suspend, resume, retire, roles, users of this machine, credentials; and who asks.
//!
//! Secrets are made by whoever will show them; what arrives here is their blake3.

use door::{Ask, Bearer, Introduced};
use identity::{Capability, Command, Credential, CredentialId, End, Entry, Identity, Proof, Reply, State, Terms};
use kernel::{Denial, Digest, Millis, Principal, Timestamp};
use policy::ACTIONS;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    BY_CAPABILITY, Desk, Given, Request, flag, malformed, number, optional_number, optional_time, parsed, personal,
    quota, time, unknown, with,
};
use crate::routes::INTERNAL;

/// How long an old credential stays good beside its successor, unless it is said.
const OVERLAP: Millis = Millis::hours(24);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    principal: Principal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Admit {
    principal: Principal,
    owner: Option<Principal>,
    can: Vec<String>,
    #[serde(default, deserialize_with = "optional_time")]
    until: Option<Timestamp>,
    attestation: Option<Digest>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    principal: Principal,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Assign {
    principal: Principal,
    role: String,
    #[serde(default, deserialize_with = "optional_time")]
    until: Option<Timestamp>,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unassign {
    principal: Principal,
    role: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pair {
    one: String,
    other: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Bind {
    #[serde(deserialize_with = "number")]
    uid: u64,
    principal: Principal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unbind {
    #[serde(deserialize_with = "number")]
    uid: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListCredentials {
    principal: Option<Principal>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Create {
    #[serde(deserialize_with = "parsed")]
    id: CredentialId,
    principal: Principal,
    /// Of a key.
    secret_digest: Option<Digest>,
    /// Of anything else.
    proof: Option<Proof>,
    #[serde(default = "unlabelled")]
    label: String,
    #[serde(default, deserialize_with = "optional_time")]
    until: Option<Timestamp>,
    #[serde(default, deserialize_with = "flag")]
    break_glass: bool,
}

fn unlabelled() -> String {
    "key".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rotate {
    #[serde(deserialize_with = "parsed")]
    credential: CredentialId,
    /// Of the successor.
    #[serde(deserialize_with = "parsed")]
    id: CredentialId,
    secret_digest: Option<Digest>,
    proof: Option<Proof>,
    #[serde(default, deserialize_with = "optional_number")]
    overlap_ms: Option<u64>,
    /// The old one ends as soon as the new one is used.
    #[serde(default, deserialize_with = "flag")]
    early: bool,
    #[serde(default, deserialize_with = "optional_time")]
    until: Option<Timestamp>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revoke {
    #[serde(deserialize_with = "parsed")]
    credential: CredentialId,
}

pub async fn answer(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "security.whoami" => {
            let Nothing {} = request.arguments()?;
            let known = desk.door().introduce(&request.about("*")).await?;
            personal::opened(desk, introduced(desk, &known)).await
        }
        "security.admit" => admit(desk, request).await,
        action @ ("security.suspend" | "security.resume" | "security.retire") => {
            let Change { principal, reason } = request.arguments()?;
            let ask = request.about(&principal);
            let reason = personal::sealed(desk, &ask, "reason", reason).await?;
            let (state, command) = match action {
                "security.suspend" => ("suspended", Command::Suspend { principal: principal.clone(), reason }),
                "security.resume" => ("active", Command::Resume { principal: principal.clone(), reason }),
                _ => ("retired", Command::Retire { principal: principal.clone(), reason }),
            };
            let record = changed(desk, &ask, command).await?;
            Ok(json!({ "principal": principal, "state": state, "record": record }))
        }
        "security.assign" => {
            let Assign { principal, role, until, reason } = request.arguments()?;
            let ask = with(request.about(&principal), "role", role.as_str());
            let reason = personal::sealed(desk, &ask, "reason", reason).await?;
            let command = Command::Assign { principal: principal.clone(), role: role.clone(), until, reason };
            let record = changed(desk, &ask, command).await?;
            Ok(json!({ "principal": principal, "role": role, "until": until.map(time), "record": record }))
        }
        "security.unassign" => {
            let Unassign { principal, role } = request.arguments()?;
            let ask = with(request.about(&principal), "role", role.as_str());
            let command = Command::Unassign { principal: principal.clone(), role: role.clone() };
            let record = changed(desk, &ask, command).await?;
            Ok(json!({ "principal": principal, "role": role, "record": record }))
        }
        action @ ("security.separate" | "security.unite") => {
            let Pair { one, other } = request.arguments()?;
            let (names, apart) = (json!([one, other]), action == "security.separate");
            let command = if apart { Command::Separate { one, other } } else { Command::Unite { one, other } };
            let record = changed(desk, &request.about("*"), command).await?;
            Ok(json!({ "roles": names, "apart": apart, "record": record }))
        }
        "security.bind" => {
            let Bind { uid, principal } = request.arguments()?;
            let uid = of_this_machine(uid)?;
            let command = Command::BindUid { uid, principal: principal.clone() };
            let record = changed(desk, &request.about(&principal), command).await?;
            Ok(json!({ "uid": uid, "principal": principal, "record": record }))
        }
        "security.unbind" => {
            let Unbind { uid } = request.arguments()?;
            let uid = of_this_machine(uid)?;
            let bound = desk.door().identity_view().read(|identity| identity.of_uid(uid).cloned());
            let about = bound.map_or("*".to_owned(), |principal| principal.to_string());
            let record = changed(desk, &request.about(about), Command::FreeUid { uid }).await?;
            Ok(json!({ "uid": uid, "record": record }))
        }
        "security.list" => {
            let Nothing {} = request.arguments()?;
            desk.door().witness(&request.about("*")).await?;
            let answer = desk.door().identity_view().read(|identity| listed(identity, desk.now()));
            personal::opened(desk, answer).await
        }
        "security.show" => {
            let Named { principal } = request.arguments()?;
            desk.door().witness(&request.about(&principal)).await?;
            let look = |identity: &Identity| {
                let mut answer = shown(identity, &principal, identity.show(&principal)?, desk.now());
                let own = identity.credentials().filter(|(_, known)| known.principal == principal);
                answer["credentials"] = own.map(|(id, known)| credential_shown(desk, id, known)).collect();
                Some(answer)
            };
            let found = desk.door().identity_view().read(look);
            let what = format!("{principal} in the registry");
            let found =
                found.ok_or_else(|| unknown("identity.not_admitted", &what, "see `sop security users --list`"))?;
            personal::opened(desk, found).await
        }
        _ => credential(desk, request).await,
    }
}

async fn credential(desk: &Desk, mut request: Request) -> Given {
    match request.ask.action {
        "credential.list" => {
            let ListCredentials { principal } = request.arguments()?;
            let holder = principal.as_ref().map(ToString::to_string).unwrap_or_default();
            desk.door().witness(&with(request.about("*"), "holder", holder.as_str())).await?;
            let listed = desk.door().identity_view().read(|identity| {
                let wanted = |known: &Credential| principal.as_ref().is_none_or(|wanted| *wanted == known.principal);
                let mut all: Vec<_> = identity.credentials().filter(|(_, known)| wanted(known)).collect();
                all.sort_by_key(|(_, known)| (&known.principal, known.made_at));
                all.into_iter().map(|(id, known)| credential_shown(desk, id, known)).collect::<Vec<_>>()
            });
            Ok(json!({ "credentials": listed }))
        }
        "credential.create" => {
            let Create { id, principal, secret_digest, proof, label, until, break_glass } = request.arguments()?;
            let proof = known_by(secret_digest, proof)?;
            let ask = with(request.about(id), "holder", principal.to_string().as_str());
            let answer = json!({ "credential": id, "principal": principal, "until": until.map(time) });
            let command = Command::MakeCredential { id, principal, proof, label, until, break_glass };
            let record = changed(desk, &ask, command).await?;
            Ok(recorded(answer, record))
        }
        "credential.rotate" => {
            let Rotate { credential, id, secret_digest, proof, overlap_ms, early, until } = request.arguments()?;
            let proof = known_by(secret_digest, proof)?;
            let ask = held(desk, request, credential);
            let overlap = overlap_ms.map_or(OVERLAP, Millis);
            let command = Command::Rotate { old: credential, id, proof, overlap, early, until };
            let done = desk.door().perform(&ask, desk.door().identity(), command).await?;
            let Reply::Rotated { old_until } = done.reply else { unreachable!("a rotation is answered as one") };
            Ok(json!({
                "credential": id,
                "replaces": credential,
                "old_until": time(old_until),
                "early": early,
                "until": until.map(time),
                "record": done.first,
            }))
        }
        "credential.revoke" => {
            let Revoke { credential } = request.arguments()?;
            let ask = held(desk, request, credential);
            let record = changed(desk, &ask, Command::Revoke { id: credential }).await?;
            Ok(json!({ "credential": credential, "state": "revoked", "record": record }))
        }
        action => unreachable!("{action} is no action on who there is"),
    }
}

/// By what a credential is to be known: one thing.
fn known_by(secret: Option<Digest>, proof: Option<Proof>) -> Result<Proof, door::Denied> {
    match (secret, proof) {
        (Some(secret), None) => Ok(Proof::Secret(secret)),
        (None, Some(proof)) => Ok(proof),
        _ => Err(malformed(&"give secret_digest, or proof, and not both").into()),
    }
}

async fn admit(desk: &Desk, mut request: Request) -> Given {
    let Admit { principal, owner, can, until, attestation, reason } = request.arguments()?;
    let can = can.iter().map(|text| known(text.parse().map_err(|error| malformed(&error))?));
    let can = can.collect::<Result<_, _>>()?;
    let ask = with(request.about(&principal), "kind", principal.kin.as_str());
    let ask = with(ask, "owner", owner.as_ref().map(ToString::to_string).unwrap_or_default().as_str());
    let reason = personal::sealed(desk, &ask, "reason", reason).await?;
    let answer =
        json!({ "principal": principal, "state": "admitted", "owner": owner, "can": can, "until": until.map(time) });
    let terms = Terms { owner, can, until, attestation };
    let record = changed(desk, &ask, Command::Admit { principal, terms, reason }).await?;
    Ok(recorded(answer, record))
}

/// A capability for something that there is.
pub fn known(capability: Capability) -> Result<Capability, Denial> {
    let mut actions = ACTIONS.iter().map(|action| action.name).chain(BY_CAPABILITY.iter().map(|action| action.name));
    if actions.any(|action| capability.covers(action)) {
        return Ok(capability);
    }
    Err(malformed(&format!("there is no action {:?}; see GET /v1/actions", capability.as_str())))
}

/// The request, with whose credential it is about.
fn held(desk: &Desk, request: Request, credential: CredentialId) -> Ask {
    let holder = desk
        .door()
        .identity_view()
        .read(|identity| identity.credential(credential).map(|known| known.principal.to_string()).unwrap_or_default());
    with(request.about(credential), "holder", holder.as_str())
}

pub async fn changed(desk: &Desk, ask: &Ask, command: Command) -> Given {
    let done = desk.door().perform(ask, desk.door().identity(), command).await?;
    Ok(json!(done.first))
}

fn recorded(mut answer: Value, record: Value) -> Value {
    answer["record"] = record;
    answer
}

fn of_this_machine(uid: u64) -> Result<u32, door::Denied> {
    u32::try_from(uid).map_err(|_| malformed(&"a user's id has 32 bits").into())
}

fn listed(identity: &Identity, now: Timestamp) -> Value {
    let principals: Vec<_> = identity.list().map(|(name, entry)| shown(identity, name, entry, now)).collect();
    let apart: Vec<_> = identity.apart().collect();
    let internal = INTERNAL.iter().map(|(name, can)| json!({ "principal": format!("internal/{name}"), "can": can }));
    json!({ "principals": principals, "apart": apart, "internal": internal.collect::<Vec<_>>() })
}

fn shown(identity: &Identity, name: &Principal, entry: &Entry, now: Timestamp) -> Value {
    let roles = entry.roles.iter().map(|(role, binding)| {
        json!({
            "role": role,
            "until": binding.until.map(time),
            "holds": binding.holds(now),
            "reason": binding.reason,
            "by": binding.by,
            "at": time(binding.at),
        })
    });
    let changed = match &entry.state {
        State::Active => Value::Null,
        State::Suspended { by, at, reason } | State::Retired { by, at, reason } => {
            json!({ "by": by, "at": time(*at), "reason": reason })
        }
    };
    let terms = &entry.terms;
    let expired = entry.state == State::Active && terms.until.is_some_and(|until| until <= now);
    let live = identity.credentials().filter(|(_, known)| known.principal == *name && known.ended(now).is_none());
    let uids: Vec<_> = identity.uids().filter(|(_, bound)| *bound == name).map(|(uid, _)| uid).collect();
    json!({
        "principal": name,
        "kind": name.kin,
        "state": if expired { "expired" } else { entry.state.as_str() },
        "owner": terms.owner,
        "can": terms.can,
        "until": terms.until.map(time),
        "attestation": terms.attestation,
        "reason": entry.reason,
        "by": entry.by,
        "at": time(entry.at),
        "since": time(entry.since),
        "ended": changed,
        "roles": roles.collect::<Vec<_>>(),
        "live_credentials": live.count(),
        "uids": uids,
    })
}

fn credential_shown(desk: &Desk, id: CredentialId, known: &Credential) -> Value {
    let now = desk.now();
    let state = match known.ended(now) {
        None if known.replaced_by.is_some() => "replaced",
        None => "active",
        Some(End::Revoked) => "revoked",
        Some(End::Expired) => "expired",
    };
    json!({
        "credential": id,
        "principal": known.principal,
        "form": known.form,
        // What is kept of a secret is of no use to anybody who reads this.
        "known_by": Some(&known.proof).filter(|proof| !matches!(proof, Proof::Secret(_))),
        "label": known.label,
        "state": state,
        "break_glass": known.break_glass,
        "made_at": time(known.made_at),
        "made_by": known.made_by,
        "age_ms": now.0.saturating_sub(known.made_at.0),
        "until": known.until.map(time),
        "revoked_at": known.revoked_at.map(time),
        "replaces": known.replaces,
        "replaced_by": known.replaced_by,
        "first_used_at": known.used_at.map(time),
        "last_used_at": desk.door().used(id).map(time),
    })
}

fn introduced(desk: &Desk, Introduced { bearer, entry, roles, denied, quotas }: &Introduced) -> Value {
    let principal = bearer.principal();
    let by = match bearer {
        Bearer::Own { credential: Some(id), .. } => {
            let form = desk.door().identity_view().read(|identity| identity.credential(*id).map(|known| known.form));
            json!({ "credential": id, "form": form })
        }
        Bearer::Own { credential: None, .. } => json!({ "user": "of this machine" }),
        Bearer::Token { token, operation, todo, .. } => json!({ "token": token, "operation": operation, "todo": todo }),
    };
    let now = desk.now();
    let entry = entry.as_ref();
    let held = desk.door().identity_view().read(|identity| entry.map(|entry| shown(identity, principal, entry, now)));
    json!({
        "principal": principal,
        "by": by,
        "state": held.as_ref().map_or(json!("not admitted"), |held| held["state"].clone()),
        "owner": entry.and_then(|entry| entry.terms.owner.as_ref()),
        "can": entry.map(|entry| &entry.terms.can),
        "until": entry.and_then(|entry| entry.terms.until).map(time),
        "roles": roles,
        // Nothing, while what is used cannot be known.
        "quotas": quotas.as_deref().map(quota::own),
        "denied": denied,
    })
}
