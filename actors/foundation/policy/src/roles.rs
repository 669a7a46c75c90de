//! Roles, the simple face of policies: a role is what the policies say that name it in their scope.

use std::collections::BTreeMap;

use cedar_policy::pst::{Clause, Effect, PrincipalConstraint};
use cedar_policy::{ActionConstraint, Policy};
use kernel::Principal;
use serde::{Deserialize, Serialize};

use crate::compile::COMPILE_STACK;
use crate::{ACTIONS, Inquiry, May, Open, Policies, Standing};

/// One policy that is for a role.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoleRule {
    pub policy: String,
    /// Else it forbids.
    pub permits: bool,
    /// The actions that it names; empty if it is for every one.
    pub actions: Vec<String>,
    /// The resource that its scope names, as it is written; `None` if it is for all.
    pub resource: Option<String>,
    /// What must hold besides, as it is written.
    pub conditions: Vec<String>,
}

/// Longest name of a role, in bytes.
const NAME_MAX: usize = 64;

impl Policies {
    /// The roles that policies name in their scope, in order, with what is said of each.
    pub fn roles(&self) -> BTreeMap<String, Vec<RoleRule>> {
        let mut roles: BTreeMap<String, BTreeMap<String, RoleRule>> = BTreeMap::new();
        stacker::grow(COMPILE_STACK, || {
            for (role, policy) in self.slices.values().flat_map(crate::slice::Slice::of_roles) {
                let id: &str = policy.id().as_ref();
                let said = roles.entry(role.to_owned()).or_default();
                if !said.contains_key(id) {
                    said.insert(id.to_owned(), rule(policy));
                }
            }
        });
        roles.into_iter().map(|(role, rules)| (role, rules.into_values().collect())).collect()
    }

    /// The actions that `proposed` would let somebody do where these do not, or not under the same conditions; whatever the
    /// resource, the attributes, the approvals and the proofs are. Rather one too many than one too few.
    pub fn widened(&self, proposed: &Self, principal: &Principal, standing: &Standing) -> Vec<&'static str> {
        let nothing = BTreeMap::new();
        let wider = |action: &&crate::Action| {
            let inquiry = Inquiry {
                principal,
                action: action.name,
                resource: None,
                context: &nothing,
                standing,
                any_standing: true,
            };
            match (self.may(&inquiry), proposed.may(&inquiry)) {
                (_, Ok(May::No { .. })) | (Ok(May::Yes { .. }), _) => false,
                (Ok(May::If { permits, forbids }), Ok(May::If { permits: more, forbids: left })) => {
                    // Every way in was there before, and every way out still is.
                    let narrower =
                        |one: &Open, than: &Open| than.conditions.iter().all(|it| one.conditions.contains(it));
                    let old_ways = more.iter().all(|one| permits.iter().any(|than| narrower(one, than)));
                    let kept = forbids.iter().all(|one| left.iter().any(|than| narrower(one, than)));
                    !(old_ways && kept)
                }
                _ => true,
            }
        };
        ACTIONS.iter().filter(wider).map(|action| action.name).collect()
    }
}

/// The text of a policy that lets a role do these; `noun.*` stands for all that is done with one noun.
///
/// # Errors
/// What is wrong with the name or the actions. Whether the condition is one is for [`Policies::compile`] to say.
pub fn role_policy(name: &str, actions: &[String], condition: Option<&str>) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    if name.is_empty() || NAME_MAX - "role-".len() < name.len() || !name.chars().all(plain) {
        return Err(format!(
            "{name:?} is no name of a role: 1 to {} letters, digits and . _ : -",
            NAME_MAX - "role-".len()
        ));
    }
    let mut named = Vec::new();
    for wanted in actions {
        let noun = wanted.strip_suffix('*').filter(|noun| noun.ends_with('.'));
        let fits = |action: &&crate::Action| noun.map_or(action.name == wanted, |noun| action.name.starts_with(noun));
        let before = named.len();
        named.extend(ACTIONS.iter().filter(fits).map(|action| format!("Action::\"{}\"", action.name)));
        if named.len() == before {
            return Err(format!("there is no action {wanted:?}; `sop policy roles` and docs/api.md name them"));
        }
    }
    if named.is_empty() {
        return Err("a role that may do nothing is none".to_owned());
    }
    let condition = condition.map(|condition| format!("\nwhen {{ {condition} }}")).unwrap_or_default();
    Ok(format!(
        "@id(\"role-{name}\")\n@role(\"{name}\")\npermit (\n    principal in Role::\"{name}\",\n    action in [{}],\n    \
         resource\n){condition};\n",
        named.join(", ")
    ))
}

fn rule(policy: &Policy) -> RoleRule {
    let actions = match policy.action_constraint() {
        ActionConstraint::Any => vec![],
        ActionConstraint::Eq(uid) => vec![uid],
        ActionConstraint::In(uids) => uids,
    };
    let parsed = policy.to_pst().expect("what was parsed can be taken apart");
    let body = parsed.body();
    let mut conditions: Vec<String> = body
        .clauses()
        .iter()
        .map(|clause| match clause {
            Clause::When(condition) => condition.to_string(),
            Clause::Unless(condition) => format!("!({condition})"),
        })
        .collect();
    if let PrincipalConstraint::IsIn(kind, _) = &body.principal {
        conditions.insert(0, format!("principal is {kind}"));
    }
    RoleRule {
        policy: AsRef::<str>::as_ref(policy.id()).to_owned(),
        permits: body.effect == Effect::Permit,
        actions: actions.iter().map(|uid| uid.id().unescaped().to_owned()).collect(),
        resource: match body.resource.to_string().trim() {
            "" => None,
            scope => Some(format!("resource {scope}")),
        },
        conditions,
    }
}
