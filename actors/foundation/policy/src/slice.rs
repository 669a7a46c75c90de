//! Which policies could match a question, found without evaluating any.
//!
//! Cedar evaluates every policy of a set. Most of them name in their scope another action or another principal than the
//! one that asks, and can not match: they are left out.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{ActionConstraint, EntityUid, Policy, PolicySet, PrincipalConstraint};
use kernel::Kin;

use crate::{ACTIONS, Question, model};

/// The policies that name one action, or none, by whom they name.
#[derive(Clone, Debug, Default)]
pub(crate) struct Slice {
    /// No principal.
    anybody: PolicySet,
    /// A kind of principals.
    kins: BTreeMap<Kin, PolicySet>,
    /// A single one.
    principals: BTreeMap<Kin, BTreeMap<String, PolicySet>>,
    /// A role.
    roles: BTreeMap<String, PolicySet>,
}

impl Slice {
    /// One slice an action. The schema has no groups of actions (a test says so), so a scope that names actions matches
    /// these and no other.
    pub(crate) fn all(set: &PolicySet) -> BTreeMap<&'static str, Self> {
        let mut slices: BTreeMap<_, _> = ACTIONS.iter().map(|action| (action.name, Self::default())).collect();
        for policy in set.policies() {
            let named = match policy.action_constraint() {
                ActionConstraint::Any => {
                    for slice in slices.values_mut() {
                        slice.add(policy);
                    }
                    continue;
                }
                ActionConstraint::Eq(uid) => vec![uid],
                ActionConstraint::In(uids) => uids,
            };
            // A name may stand in a list twice.
            let named: BTreeSet<_> = named.iter().map(|uid| uid.id().unescaped()).collect();
            for name in named {
                slices.get_mut(name).expect("a policy names actions that there are").add(policy);
            }
        }
        slices
    }

    fn add(&mut self, policy: &Policy) {
        let part = match policy.principal_constraint() {
            PrincipalConstraint::Any => &mut self.anybody,
            PrincipalConstraint::Is(entity_type) => match model().kin(&entity_type) {
                Some(kin) => self.kins.entry(kin).or_default(),
                None => &mut self.anybody,
            },
            PrincipalConstraint::Eq(uid) | PrincipalConstraint::In(uid) | PrincipalConstraint::IsIn(_, uid) => {
                self.under(&uid)
            }
        };
        part.add(policy.clone()).expect("the ids in a part of a set are different");
    }

    /// A principal is in itself and in its roles, and in nothing else.
    fn under(&mut self, uid: &EntityUid) -> &mut PolicySet {
        let id = || uid.id().unescaped().to_owned();
        if *uid.type_name() == model().role {
            return self.roles.entry(id()).or_default();
        }
        match model().kin(uid.type_name()) {
            Some(kin) => self.principals.entry(kin).or_default().entry(id()).or_default(),
            None => &mut self.anybody,
        }
    }

    /// All parts in which there is something that could match.
    pub(crate) fn parts<'a>(&'a self, question: &'a Question<'_>) -> impl Iterator<Item = &'a PolicySet> {
        let kin = question.principal.kin;
        let own = self.principals.get(&kin).and_then(|named| named.get(question.principal.name()));
        let roles = question.standing.roles.iter().filter_map(|role| self.roles.get(role));
        let nobody = Some(&self.anybody).filter(|part| !part.is_empty());
        nobody.into_iter().chain(self.kins.get(&kin)).chain(own).chain(roles)
    }

    /// Those that are for a role, with its name.
    pub(crate) fn of_roles(&self) -> impl Iterator<Item = (&str, &Policy)> {
        self.roles.iter().flat_map(|(role, part)| part.policies().map(|policy| (role.as_str(), policy)))
    }

    /// All of its policies.
    pub(crate) fn policies(&self) -> impl Iterator<Item = &Policy> {
        let named = self.principals.values().flat_map(BTreeMap::values);
        let parts = [&self.anybody].into_iter().chain(self.kins.values()).chain(named).chain(self.roles.values());
        parts.flat_map(PolicySet::policies)
    }
}
