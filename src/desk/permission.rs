//! What would permit a request: the entry of the registry and the policy that it lacks, and whom to ask for that. Nothing here
//! is done; it is said.

use std::collections::{BTreeMap, BTreeSet};

use ::policy::{Policies, narrowest};
use door::{Supposed, Supposition, judge_again};
use identity::{State, admission};
use journal::envelope::Record;
use kernel::{Asked, Denial, Layer, Principal};
use serde_json::{Value, json};

use super::{Desk, audit, rights};
use crate::decided;

/// Names that are said; whoever wants all asks `sop who-can`.
const NAMED_MAX: usize = 5;

/// What made a denial of a recorded request, turned round: near misses, what would permit it now, and who may see to that.
pub fn explain(desk: &Desk, record: &Record, denial: &Denial, answer: &mut Value) {
    let Ok(principal) = record.principal.parse::<Principal>() else { return };
    let asked = decided::asked(record);
    if let (Layer::Policy, Some(asked)) = (denial.layer, record.asked.as_deref()) {
        let policies = audit::compiled(desk, record.decision.policy_epoch);
        let near = policies.map(|policies| rights::missed(&door::near_misses(&policies, &principal, asked)));
        let (near, complete) = near.unwrap_or((json!([]), false));
        answer["near"] = near;
        answer["near_complete"] = complete.into();
    }
    if let (Layer::Policy | Layer::Admit, Some(asked)) = (denial.layer, &asked) {
        answer["permission"] = entry(desk, &principal, asked, false);
    }
    answer["ask"] = whom(desk, &principal, denial, &answer["near"]);
}

/// The entry of the registry and the policy that permit this, as they are now; where they do not, those that would. `anew` if
/// the resource is made by the request, under a name that the next one will not have.
pub fn entry(desk: &Desk, principal: &Principal, asked: &Asked, anew: bool) -> Value {
    let known = desk.door().identity_view().read(|identity| identity.show(principal).cloned());
    let now = desk.now();
    let action = asked.action();
    let covered = known.as_ref().is_some_and(|entry| entry.terms.can.iter().any(|can| can.covers(action)));
    let active = desk.door().identity_view().read(|identity| identity.standing(principal, now).is_ok());
    let command = match known.as_ref().map(|entry| (&entry.state, &entry.terms)) {
        _ if covered && active => Value::Null,
        None => json!(admission(principal, None, action)),
        Some((State::Suspended { .. }, _)) => json!(format!("sop security resume {principal}")),
        // A name that was given up is not used again.
        Some((State::Retired { .. }, _)) => Value::Null,
        Some((State::Active, terms)) => json!(admission(principal, Some(terms), action)),
    };
    let registry = json!({ "held": covered && active, "command": command });
    json!({ "principal": principal, "registry": registry, "policy": policy(desk, principal, asked, anew) })
}

fn policy(desk: &Desk, principal: &Principal, asked: &Asked, anew: bool) -> Value {
    let resource = Some(asked.resource()).filter(|_| !anew);
    let Ok(text) = narrowest(principal, asked.action(), resource, asked.context()) else {
        return json!({ "held": Value::Null, "why": "capability decides it, and no policy" });
    };
    let active = desk.door().governance_view().read(|governance| governance.active_text().to_owned());
    let judged = |text: &str| {
        let policies = Policies::compile(text).ok()?;
        judge_again(&policies, principal, asked).ok().map(|(judgement, _)| judgement)
    };
    let (before, after) = (judged(&active), judged(&format!("{active}\n{text}")));
    let held = before.as_ref().is_some_and(|judgement| judgement.allowed);
    let by = before.filter(|judgement| judgement.allowed).map(|judgement| judgement.determining);
    let suffices = after.as_ref().is_some_and(|judgement| judgement.allowed);
    let forbids = after.filter(|judgement| !judgement.allowed).map(|judgement| judgement.determining);
    json!({ "held": held, "by": by, "text": text, "suffices": suffices, "forbidden_by": forbids })
}

/// Who may do what would help, and what that is.
fn whom(desk: &Desk, principal: &Principal, denial: &Denial, near: &Value) -> Value {
    let lacks_approvals = denial.missing.as_ref().is_some_and(|missing| missing.approvals != 0);
    let change = |name: &str| near.as_array().into_iter().flatten().any(|near| near["change"].get(name).is_some());
    let helps: Vec<&'static str> = match (denial.layer, denial.code.as_str()) {
        (Layer::Admit, "door.suspended") => vec!["security.resume"],
        (Layer::Admit, "door.not_capable") | (Layer::Token, _) => vec!["token.issue"],
        (Layer::Admit, code) if code != "door.operators_only" => vec!["security.admit"],
        (Layer::Seal, _) => vec!["system.resume"],
        (Layer::Authenticate, _) => vec!["credential.create"],
        (Layer::Policy, _) => {
            let approvals = (lacks_approvals || change("approvals")).then_some("approval.approve");
            let policy = (!lacks_approvals).then_some("policy.activate");
            let role = change("role").then_some("security.assign");
            [approvals, policy, role].into_iter().flatten().collect()
        }
        // It is for whoever asks to see to the rest.
        _ => vec![],
    };
    helps.into_iter().map(|action| named(desk, principal, action)).collect()
}

fn named(desk: &Desk, asker: &Principal, action: &'static str) -> Value {
    let (nothing, none) = (BTreeMap::new(), BTreeSet::new());
    let may = |principal: &&Principal| {
        // Nobody decides about what he asked for himself.
        let own = action == "approval.approve" && *principal == asker;
        let supposed = Supposed { principal, action, resource: None, context: &nothing, roles: &none };
        !own && !matches!(desk.door().suppose(&supposed).1, Supposition::Denied { .. })
    };
    let known = rights::known(desk);
    let mut who: Vec<_> = known.iter().filter(may).take(NAMED_MAX + 1).collect();
    let more = NAMED_MAX < who.len();
    who.truncate(NAMED_MAX);
    json!({ "for": action, "who": who, "more": more })
}
