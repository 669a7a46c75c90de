//! Identity: who there is, what each may ask for, and by which credentials each is known.
//!
//! A pure [`Machine`]. Somebody is *admitted* on terms: an operator who answers for it, the capabilities, an end. That is
//! the registry: who is not in it may ask for nothing, whatever a policy says. A credential says who asks; a role is
//! what policies speak of. Secrets stay outside: what is kept of one is its blake3. Certificates and tokens of others are
//! told by what they say, once somebody else has found that it is said by whom it should be.
//!
//! # Invariants
//! 1. A name, once retired, is never used again; neither is the id of a credential, nor a secret, nor one certificate. What
//!    names a bearer elsewhere is one principal's at a time.
//! 2. Who is no operator has an owner, and a living one: an operator who is not retired. A protocol may do without, as
//!    its admission by the nexus was an operator's.
//! 3. Where there is an active operator who may do everything, there always is one, and it has a secret left, for which
//!    nobody else is needed, unless that one's own time is over.
//! 4. Nobody lets another ask for what is not his own to ask for.
//! 5. Nobody has two roles at once that are kept apart.
//! 6. A quota is of at least one request, and there are at most [`QUOTAS_MAX`]. What is used of it is in the records of what
//!    was let in, and not in here.
//! 7. Only an operator changes what another may; who is none sees to his own credentials, and makes himself no others than
//!    secrets: who could bind a certificate or a subject to himself would take it from whom it names.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{Context, Digest, Kin, Machine, Outcome, Personal, Position, Principal, Timestamp};
use serde::{Deserialize, Serialize};

use records::{
    AdmittedV1, CredentialBoundV1, CredentialMadeV1, CredentialRevokedV1, CredentialRotatedV1, CredentialUsedV1,
    QuotaClearedV1, QuotaSetV1, ResumedV1, RetiredV1, RoleAssignedV1, RoleTakenV1, RolesSeparatedV1, RolesUnitedV1,
    SuspendedV1, UidBoundV1, UidFreedV1,
};
pub use vocabulary::*;

/// Everybody who was ever admitted, and every credential ever made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    by_name: BTreeMap<Principal, Entry>,
    credentials: BTreeMap<CredentialId, Credential>,
    /// Of one that may be given again, the last one that it was given for.
    by_proof: BTreeMap<Proof, CredentialId>,
    uids: BTreeMap<u32, Principal>,
    /// Pairs of roles, each in order.
    apart: BTreeSet<(String, String)>,
    quotas: BTreeMap<String, Quota>,
}

impl Machine for Identity {
    const NAME: &'static str = "identity";
    const REVISION: u32 = 3;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        self.authorised(command, cx)?;
        let events = match command {
            Command::Found { operator, secret } => self.found(operator, *secret, cx),
            Command::Arrive { protocol, can } => self.arrive(protocol, can, cx),
            Command::Admit { principal, terms, reason } => self.admit(principal, terms, reason, cx)?,
            Command::Suspend { principal, reason } => self.suspend(principal, reason, cx)?,
            Command::Resume { principal, reason } => self.resume(principal, reason, cx)?,
            Command::Retire { principal, reason } => self.retire(principal, reason, cx)?,
            Command::MakeCredential { id, principal, proof, label, until, break_glass } => {
                self.free(*id, proof, principal, None, cx.now)?.map_or(Ok(Vec::new()), |()| {
                    let entry = self.living(principal)?;
                    self.within(cx, &entry.terms.can)?;
                    self.room(principal, cx.now)?;
                    future(*until, cx.now)?;
                    named(label)?;
                    well_said(proof)?;
                    if *break_glass && (principal.kin != Kin::Operator || proof.form() != Form::ApiKey) {
                        return Err(Refusal::BreakGlass);
                    }
                    let (by, at, label, until) = (cx.principal.to_string(), cx.now, label.clone(), *until);
                    let (credential, form, principal) = (id.0, proof.form().tag(), principal.to_string());
                    let break_glass = *break_glass;
                    Ok(vec![match proof {
                        &Proof::Secret(secret) => Event::CredentialMade(CredentialMadeV1 {
                            credential,
                            principal,
                            form,
                            secret,
                            label,
                            until,
                            break_glass,
                            by,
                            at,
                        }),
                        Proof::Certificate(_) | Proof::CertificateName { .. } | Proof::Foreign { .. } => {
                            let ((digest, said), old, old_until, early) = (proof.parts(), None, None, false);
                            Event::CredentialBound(Box::new(CredentialBoundV1 {
                                credential,
                                principal,
                                form,
                                digest,
                                said,
                                label,
                                until,
                                old,
                                old_until,
                                early,
                                by,
                                at,
                            }))
                        }
                    }])
                })?
            }
            &Command::Rotate { old, id, ref proof, overlap, early, until } => {
                let known = self.credentials.get(&old).ok_or(Refusal::UnknownCredential { id: old })?;
                if self.free(id, proof, &known.principal, Some(old), cx.now)?.is_none() {
                    let old_until = known.until.unwrap_or(cx.now);
                    return Ok(Outcome::already(Reply::Rotated { old_until }));
                }
                let entry = self.living(&known.principal)?;
                self.within(cx, &entry.terms.can)?;
                if known.ended(cx.now).is_some() {
                    return Err(Refusal::Ended { id: old });
                }
                if OVERLAP_MAX < overlap {
                    return Err(Refusal::Overlap { asked: overlap });
                }
                well_said(proof)?;
                // Its last secret does not become what others vouch for.
                if proof.form() != Form::ApiKey && matches!(known.proof, Proof::Secret(_)) {
                    self.not_the_last_secret(old, known, cx.now)?;
                }
                self.room(&known.principal, cx.now)?;
                future(until, cx.now)?;
                let old_until = known.until.map_or(cx.now + overlap, |until| until.min(cx.now + overlap));
                let (by, at) = (cx.principal.to_string(), cx.now);
                let event = match proof {
                    &Proof::Secret(secret) => Event::CredentialRotated(CredentialRotatedV1 {
                        old: old.0,
                        old_until,
                        early,
                        credential: id.0,
                        secret,
                        until,
                        by,
                        at,
                    }),
                    Proof::Certificate(_) | Proof::CertificateName { .. } | Proof::Foreign { .. } => {
                        let (digest, said) = proof.parts();
                        Event::CredentialBound(Box::new(CredentialBoundV1 {
                            credential: id.0,
                            principal: known.principal.to_string(),
                            form: proof.form().tag(),
                            digest,
                            said,
                            label: known.label.clone(),
                            until,
                            old: Some(old.0),
                            old_until: Some(old_until),
                            early,
                            by,
                            at,
                        }))
                    }
                };
                return Ok(Outcome::new(vec![event], Reply::Rotated { old_until }));
            }
            Command::Acknowledge { id } => {
                let known = self.credentials.get(id).ok_or(Refusal::UnknownCredential { id: *id })?;
                let before = known.replaces.filter(|_| known.early);
                let ends = before.filter(|old| self.credentials[old].ended(cx.now).is_none()).map(|old| old.0);
                match known.used_at {
                    Some(_) => Vec::new(),
                    None => vec![Event::CredentialUsed(CredentialUsedV1 { credential: id.0, ends, at: cx.now })],
                }
            }
            Command::Revoke { id } => self.revoke(*id, cx)?,
            Command::BindUid { uid, principal } => match self.uids.get(uid) {
                Some(bound) if bound == principal => Vec::new(),
                Some(bound) => return Err(Refusal::UidTaken { uid: *uid, principal: bound.clone() }),
                None if PRINCIPALS_MAX <= self.uids.len() => return Err(too_many(PRINCIPALS_MAX)),
                None => {
                    self.within(cx, &self.living(principal)?.terms.can)?;
                    let (principal, by) = (principal.to_string(), cx.principal.to_string());
                    vec![Event::UidBound(UidBoundV1 { uid: *uid, principal, by, at: cx.now })]
                }
            },
            Command::FreeUid { uid } => {
                self.uids.get(uid).ok_or(Refusal::UnknownUid { uid: *uid })?;
                vec![Event::UidFreed(UidFreedV1 { uid: *uid, by: cx.principal.to_string(), at: cx.now })]
            }
            Command::Assign { principal, role, until, reason } => self.assign(principal, role, *until, reason, cx)?,
            Command::Unassign { principal, role } => {
                let entry = self.living(principal)?;
                if !entry.roles.contains_key(role) {
                    let role = role.chars().take(Principal::NAME_MAX).collect();
                    return Err(Refusal::NoRole { principal: principal.clone(), role });
                }
                let (principal, by) = (principal.to_string(), cx.principal.to_string());
                vec![Event::RoleTaken(RoleTakenV1 { principal, role: role.clone(), by, at: cx.now })]
            }
            Command::SetQuota { name, allowance, reason } => self.set_quota(name, allowance, reason, cx)?,
            Command::ClearQuota { name } => {
                if !self.quotas.contains_key(name) {
                    return Err(Refusal::UnknownQuota { name: name.chars().take(Principal::NAME_MAX).collect() });
                }
                let (name, by) = (name.clone(), cx.principal.to_string());
                vec![Event::QuotaCleared(QuotaClearedV1 { name, by, at: cx.now })]
            }
            Command::Separate { one, other } => self.separate(one, other, cx)?,
            Command::Unite { one, other } => {
                let (one, other) = in_order(one, other);
                if !self.apart.contains(&(one.clone(), other.clone())) {
                    let short = |role: String| role.chars().take(Principal::NAME_MAX).collect();
                    return Err(Refusal::NotSeparated { one: short(one), other: short(other) });
                }
                vec![Event::RolesUnited(RolesUnitedV1 { one, other, by: cx.principal.to_string(), at: cx.now })]
            }
        };
        Ok(Outcome::new(events, Reply::Done))
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event.clone() {
            Event::Admitted(body) => {
                let AdmittedV1 { principal, owner, can, until, attestation, reason, by, at } = body;
                let owner = owner.as_deref().map(recorded);
                let can = can.iter().map(|text| text.parse().expect("a recorded capability was one")).collect();
                let terms = Terms { owner, can, until, attestation };
                let (principal, by) = (recorded(&principal), recorded(&by));
                let fresh = Entry {
                    terms: terms.clone(),
                    reason: reason.clone(),
                    state: State::Active,
                    by: by.clone(),
                    at,
                    since: at,
                    roles: BTreeMap::new(),
                };
                let entry = self.by_name.entry(principal).or_insert(fresh);
                assert!(!matches!(entry.state, State::Retired { .. }), "who is retired is not admitted again");
                (entry.terms, entry.reason, entry.by, entry.at) = (terms, reason, by, at);
            }
            Event::Suspended(SuspendedV1 { principal, reason, by, at }) => {
                let entry = self.known_mut(&principal);
                assert_eq!(entry.state, State::Active, "only who is active is suspended");
                entry.state = State::Suspended { by: recorded(&by), at, reason };
            }
            Event::Resumed(ResumedV1 { principal, .. }) => {
                let entry = self.known_mut(&principal);
                assert!(matches!(entry.state, State::Suspended { .. }), "only a suspension ends");
                entry.state = State::Active;
            }
            Event::Retired(RetiredV1 { principal, reason, by, at }) => {
                let entry = self.known_mut(&principal);
                assert!(!matches!(entry.state, State::Retired { .. }), "one retires once");
                entry.state = State::Retired { by: recorded(&by), at, reason };
                entry.roles.clear();
                let gone = recorded(&principal);
                self.uids.retain(|_, bound| *bound != gone);
            }
            Event::CredentialMade(body) => {
                let CredentialMadeV1 { credential, principal, form, secret, label, until, break_glass, by, at } = body;
                let made = Credential {
                    principal: recorded(&principal),
                    form: Form::of(form),
                    proof: Proof::Secret(secret),
                    label,
                    until,
                    break_glass,
                    made_by: recorded(&by),
                    made_at: at,
                    revoked_at: None,
                    replaces: None,
                    replaced_by: None,
                    early: false,
                    used_at: None,
                };
                self.keep(CredentialId(credential), made);
            }
            Event::CredentialRotated(body) => {
                let CredentialRotatedV1 { old, old_until, early, credential, secret, until, by, at } = body;
                let id = CredentialId(credential);
                let before = self.credentials.get_mut(&CredentialId(old)).expect("only what exists is rotated");
                (before.until, before.replaced_by) = (Some(old_until), Some(id));
                let made = Credential {
                    form: Form::ApiKey,
                    proof: Proof::Secret(secret),
                    until,
                    made_by: recorded(&by),
                    made_at: at,
                    replaces: Some(CredentialId(old)),
                    replaced_by: None,
                    early,
                    used_at: None,
                    ..before.clone()
                };
                assert_eq!(made.revoked_at, None, "what was revoked is not rotated");
                self.keep(id, made);
            }
            Event::CredentialBound(body) => {
                let CredentialBoundV1 {
                    credential,
                    principal,
                    form,
                    digest,
                    said,
                    label,
                    until,
                    old,
                    old_until,
                    early,
                    by,
                    at,
                } = *body;
                let (id, old) = (CredentialId(credential), old.map(CredentialId));
                if let Some(old) = old {
                    let before = self.credentials.get_mut(&old).expect("only what exists is rotated");
                    (before.until, before.replaced_by) = (old_until, Some(id));
                }
                let made = Credential {
                    principal: recorded(&principal),
                    form: Form::of(form),
                    proof: Proof::of(form, digest, &said),
                    label,
                    until,
                    break_glass: false,
                    made_by: recorded(&by),
                    made_at: at,
                    revoked_at: None,
                    replaces: old,
                    replaced_by: None,
                    early,
                    used_at: None,
                };
                self.keep(id, made);
            }
            Event::CredentialUsed(CredentialUsedV1 { credential, ends, at }) => {
                let used = self.credentials.get_mut(&CredentialId(credential)).expect("only what exists is used");
                assert_eq!(used.used_at, None, "there is one first use");
                used.used_at = Some(at);
                if let Some(old) = ends {
                    self.credentials.get_mut(&CredentialId(old)).expect("it took the place of one").until = Some(at);
                }
            }
            Event::CredentialRevoked(CredentialRevokedV1 { credential, at, .. }) => {
                let revoked = self.credentials.get_mut(&CredentialId(credential)).expect("only what exists is revoked");
                assert_eq!(revoked.revoked_at, None, "it is revoked once");
                revoked.revoked_at = Some(at);
            }
            Event::UidBound(UidBoundV1 { uid, principal, .. }) => {
                let earlier = self.uids.insert(uid, recorded(&principal));
                assert_eq!(earlier, None, "a user acts as one principal");
            }
            Event::UidFreed(UidFreedV1 { uid, .. }) => {
                assert!(self.uids.remove(&uid).is_some(), "only who acts as somebody is freed of it");
            }
            Event::RoleAssigned(RoleAssignedV1 { principal, role, until, reason, by, at }) => {
                let binding = Binding { until, reason, by: recorded(&by), at };
                self.known_mut(&principal).roles.insert(role, binding);
            }
            Event::RoleTaken(RoleTakenV1 { principal, role, .. }) => {
                assert!(self.known_mut(&principal).roles.remove(&role).is_some(), "only a role one has is taken");
            }
            Event::RolesSeparated(RolesSeparatedV1 { one, other, .. }) => {
                assert!(self.apart.insert((one, other)), "two roles are separated once");
            }
            Event::RolesUnited(RolesUnitedV1 { one, other, .. }) => {
                assert!(self.apart.remove(&(one, other)), "only what is separate is united");
            }
            Event::QuotaSet(body) => {
                let QuotaSetV1 { name, whose, action, limit, window, since, reason, by, at } = *body;
                let whose = whose.parse().expect("a recorded quota is somebody's");
                let action = action.parse().expect("a recorded quota is of some action");
                let allowance = Allowance { whose, action, limit, window };
                self.quotas.insert(name, Quota { allowance, since, reason, by: recorded(&by), at });
            }
            Event::QuotaCleared(QuotaClearedV1 { name, .. }) => {
                assert!(self.quotas.remove(&name).is_some(), "only a quota that there is, is cleared");
            }
        }
    }
}

/// What is shown.
impl Identity {
    pub fn show(&self, principal: &Principal) -> Option<&Entry> {
        self.by_name.get(principal)
    }

    /// In the order of their names.
    pub fn list(&self) -> impl Iterator<Item = (&Principal, &Entry)> {
        self.by_name.iter()
    }

    pub fn credential(&self, id: CredentialId) -> Option<&Credential> {
        self.credentials.get(&id)
    }

    /// In the order of their ids, also those that have ended.
    pub fn credentials(&self) -> impl Iterator<Item = (CredentialId, &Credential)> {
        self.credentials.iter().map(|(id, credential)| (*id, credential))
    }

    /// The credential whose secret has this blake3, also one that has ended. Digests need no comparison in constant time:
    /// what the time of one tells of a digest brings nobody nearer to a secret.
    pub fn by_secret(&self, secret: Digest) -> Option<(CredentialId, &Credential)> {
        self.by_proof(&Proof::Secret(secret))
    }

    /// The credential that is known by this, or was last.
    pub fn by_proof(&self, proof: &Proof) -> Option<(CredentialId, &Credential)> {
        let id = *self.by_proof.get(proof)?;
        Some((id, &self.credentials[&id]))
    }

    /// As whom this user of the machine acts.
    pub fn of_uid(&self, uid: u32) -> Option<&Principal> {
        self.uids.get(&uid)
    }

    pub fn uids(&self) -> impl Iterator<Item = (u32, &Principal)> {
        self.uids.iter().map(|(uid, principal)| (*uid, principal))
    }

    /// The pairs of roles that nobody may have both of.
    pub fn apart(&self) -> impl Iterator<Item = (&str, &str)> {
        self.apart.iter().map(|(one, other)| (one.as_str(), other.as_str()))
    }

    /// The quotas in force, in the order of their names.
    pub fn quotas(&self) -> impl Iterator<Item = (&str, &Quota)> {
        self.quotas.iter().map(|(name, quota)| (name.as_str(), quota))
    }

    /// The terms on which somebody may ask now.
    ///
    /// # Errors
    /// Why nothing may be asked at all.
    pub fn standing(&self, principal: &Principal, now: Timestamp) -> Result<&Entry, Lack> {
        let entry = self.by_name.get(principal).ok_or(Lack::NotAdmitted)?;
        match entry.state {
            State::Retired { .. } => Err(Lack::Retired),
            State::Suspended { .. } => Err(Lack::Suspended),
            State::Active if entry.terms.until.is_some_and(|until| until <= now) => Err(Lack::Expired),
            State::Active => Ok(entry),
        }
    }

    /// The roles that somebody has now.
    pub fn roles(&self, principal: &Principal, now: Timestamp) -> BTreeSet<String> {
        let roles = self.by_name.get(principal).into_iter().flat_map(|entry| &entry.roles);
        roles.filter(|(_, binding)| binding.holds(now)).map(|(role, _)| role.clone()).collect()
    }

    /// The next instant at which time alone changes what somebody may.
    pub fn changes_at(&self, principal: &Principal, now: Timestamp) -> Option<Timestamp> {
        let entry = self.by_name.get(principal)?;
        let ends = entry.roles.values().map(|binding| binding.until).chain([entry.terms.until]);
        ends.flatten().filter(|until| now < *until).min()
    }
}

/// What is decided.
impl Identity {
    /// Whether who asks may ask for such a thing at all.
    fn authorised(&self, command: &Command, cx: &Context) -> Result<(), Refusal> {
        let own = |id: &CredentialId| self.credentials.get(id).is_some_and(|known| known.principal == cx.principal);
        let allowed = match command {
            Command::Found { .. } | Command::Arrive { .. } => cx.principal.kin == Kin::Internal,
            Command::Rotate { proof, .. } if proof.form() != Form::ApiKey => is_in_charge(cx),
            Command::Rotate { old: id, .. } | Command::Acknowledge { id } | Command::Revoke { id } => {
                own(id) || is_in_charge(cx)
            }
            _ => is_in_charge(cx),
        };
        if allowed { Ok(()) } else { Err(Refusal::OperatorsOnly) }
    }

    fn found(&self, operator: &Principal, secret: Digest, cx: &Context) -> Vec<Event> {
        let id = bootstrap_id(secret);
        if self.by_name.contains_key(operator) || self.credentials.contains_key(&id) {
            return Vec::new();
        }
        let terms = Terms { owner: None, can: [Capability::all()].into(), until: None, attestation: None };
        let made = CredentialMadeV1 {
            credential: id.0,
            principal: operator.to_string(),
            form: Form::Bootstrap.tag(),
            secret,
            label: "bootstrap".to_owned(),
            until: None,
            break_glass: false,
            by: cx.principal.to_string(),
            at: cx.now,
        };
        vec![admitted(operator, &terms, &Personal::default(), cx), Event::CredentialMade(made)]
    }

    fn arrive(&self, protocol: &Principal, can: &BTreeSet<Capability>, cx: &Context) -> Vec<Event> {
        if self.by_name.contains_key(protocol) {
            return Vec::new();
        }
        let terms = Terms { owner: None, can: can.clone(), until: None, attestation: None };
        vec![admitted(protocol, &terms, &Personal::default(), cx)]
    }

    fn admit(
        &self,
        principal: &Principal,
        terms: &Terms,
        reason: &Personal,
        cx: &Context,
    ) -> Result<Vec<Event>, Refusal> {
        let known = self.by_name.get(principal);
        if principal.kin == Kin::Internal {
            return Err(Refusal::Internal { principal: principal.clone() });
        }
        if matches!(known, Some(Entry { state: State::Retired { .. }, .. })) {
            return Err(Refusal::Retired { principal: principal.clone() });
        }
        if known.is_some_and(|entry| entry.terms == *terms) {
            return Ok(Vec::new());
        }
        if known.is_none() && PRINCIPALS_MAX <= self.by_name.len() {
            return Err(too_many(PRINCIPALS_MAX));
        }
        if terms.can.is_empty() || CAPABILITIES_MAX < terms.can.len() {
            return Err(Refusal::Capabilities);
        }
        match &terms.owner {
            None if matches!(principal.kin, Kin::Agent | Kin::Application) => {
                return Err(Refusal::NoOwner { principal: principal.clone() });
            }
            Some(owner)
                if owner.kin != Kin::Operator || owner == principal || self.standing(owner, cx.now).is_err() =>
            {
                return Err(Refusal::BadOwner { owner: owner.clone() });
            }
            None | Some(_) => {}
        }
        self.within(cx, &terms.can)?;
        // Also what is taken away: who may do less does not set the terms of who may do more.
        if let Some(entry) = known {
            self.within(cx, &entry.terms.can)?;
        }
        future(terms.until, cx.now)?;
        short(reason)?;
        if !(terms.until.is_none() && terms.can.contains(&Capability::all())) {
            self.not_the_last(principal, cx.now)?;
        }
        Ok(vec![admitted(principal, terms, reason, cx)])
    }

    fn suspend(&self, principal: &Principal, reason: &Personal, cx: &Context) -> Result<Vec<Event>, Refusal> {
        short(reason)?;
        match self.living(principal)?.state {
            State::Active => {
                self.not_the_last(principal, cx.now)?;
                let (principal, by) = (principal.to_string(), cx.principal.to_string());
                Ok(vec![Event::Suspended(SuspendedV1 { principal, reason: reason.clone(), by, at: cx.now })])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn resume(&self, principal: &Principal, reason: &Personal, cx: &Context) -> Result<Vec<Event>, Refusal> {
        short(reason)?;
        let entry = self.living(principal)?;
        match entry.state {
            State::Suspended { .. } => {
                self.within(cx, &entry.terms.can)?;
                let (principal, by) = (principal.to_string(), cx.principal.to_string());
                Ok(vec![Event::Resumed(ResumedV1 { principal, reason: reason.clone(), by, at: cx.now })])
            }
            _ => Ok(Vec::new()),
        }
    }

    fn retire(&self, principal: &Principal, reason: &Personal, cx: &Context) -> Result<Vec<Event>, Refusal> {
        short(reason)?;
        match self.by_name.get(principal) {
            None => return Err(Refusal::Unknown { principal: principal.clone() }),
            Some(Entry { state: State::Retired { .. }, .. }) => return Ok(Vec::new()),
            Some(_) => {}
        }
        let lives = |entry: &Entry| !matches!(entry.state, State::Retired { .. });
        let owned =
            self.by_name.iter().find(|(_, entry)| entry.terms.owner.as_ref() == Some(principal) && lives(entry));
        if let Some((owned, _)) = owned {
            return Err(Refusal::Owns { principal: principal.clone(), owned: owned.clone() });
        }
        self.not_the_last(principal, cx.now)?;
        let (principal, by) = (principal.to_string(), cx.principal.to_string());
        Ok(vec![Event::Retired(RetiredV1 { principal, reason: reason.clone(), by, at: cx.now })])
    }

    fn revoke(&self, id: CredentialId, cx: &Context) -> Result<Vec<Event>, Refusal> {
        let known = self.credentials.get(&id).ok_or(Refusal::UnknownCredential { id })?;
        if known.revoked_at.is_some() {
            return Ok(Vec::new());
        }
        self.not_the_last_secret(id, known, cx.now)?;
        Ok(vec![Event::CredentialRevoked(CredentialRevokedV1 {
            credential: id.0,
            by: cx.principal.to_string(),
            at: cx.now,
        })])
    }

    fn assign(
        &self,
        principal: &Principal,
        role: &str,
        until: Option<Timestamp>,
        reason: &Personal,
        cx: &Context,
    ) -> Result<Vec<Event>, Refusal> {
        let entry = self.living(principal)?;
        named(role)?;
        future(until, cx.now)?;
        short(reason)?;
        let mut held = entry.roles.iter().filter(|(_, binding)| binding.holds(cx.now)).map(|(held, _)| held);
        if entry.roles.get(role).is_some_and(|binding| binding.until == until) {
            return Ok(Vec::new());
        }
        if !entry.roles.contains_key(role) && ROLES_MAX <= entry.roles.len() {
            return Err(too_many(ROLES_MAX));
        }
        if let Some(other) = held.find(|held| self.apart.contains(&in_order(held, role))) {
            let (principal, role, other) = (principal.clone(), role.to_owned(), other.clone());
            return Err(Refusal::Separated { principal, role, other });
        }
        Ok(vec![Event::RoleAssigned(RoleAssignedV1 {
            principal: principal.to_string(),
            role: role.to_owned(),
            until,
            reason: reason.clone(),
            by: cx.principal.to_string(),
            at: cx.now,
        })])
    }

    fn set_quota(
        &self,
        name: &str,
        allowance: &Allowance,
        reason: &Personal,
        cx: &Context,
    ) -> Result<Vec<Event>, Refusal> {
        named(name)?;
        short(reason)?;
        match &allowance.whose {
            Whose::Each(Kin::Internal) | Whose::One(Principal { kin: Kin::Internal, .. }) => {
                return Err(Refusal::QuotaInternal);
            }
            Whose::One(principal) => drop(self.living(principal)?),
            Whose::Each(_) => {}
        }
        let Allowance { whose, action, limit, window } = allowance;
        if !(1..=QUOTA_LIMIT_MAX).contains(limit) {
            return Err(Refusal::QuotaLimit);
        }
        if !(QUOTA_WINDOW_MIN..=QUOTA_WINDOW_MAX).contains(window) {
            return Err(Refusal::QuotaWindow);
        }
        let known = self.quotas.get(name);
        if known.is_some_and(|known| known.allowance == *allowance) {
            return Ok(Vec::new());
        }
        if known.is_none() && QUOTAS_MAX <= self.quotas.len() {
            return Err(too_many(QUOTAS_MAX));
        }
        // Another limit is one on what was counted so far, too.
        let same = |known: &&Quota| {
            (&known.allowance.whose, &known.allowance.action, known.allowance.window) == (whose, action, *window)
        };
        let since = known.filter(same).map_or(cx.now, |known| known.since);
        Ok(vec![Event::QuotaSet(Box::new(QuotaSetV1 {
            name: name.to_owned(),
            whose: whose.to_string(),
            action: action.to_string(),
            limit: *limit,
            window: *window,
            since,
            reason: reason.clone(),
            by: cx.principal.to_string(),
            at: cx.now,
        }))])
    }

    fn separate(&self, one: &str, other: &str, cx: &Context) -> Result<Vec<Event>, Refusal> {
        named(one)?;
        named(other)?;
        let (one, other) = in_order(one, other);
        if one == other {
            return Err(Refusal::SameRole);
        }
        if self.apart.contains(&(one.clone(), other.clone())) {
            return Ok(Vec::new());
        }
        if PAIRS_MAX <= self.apart.len() {
            return Err(too_many(PAIRS_MAX));
        }
        let has = |entry: &Entry, role: &str| entry.roles.get(role).is_some_and(|binding| binding.holds(cx.now));
        if let Some((both, _)) = self.by_name.iter().find(|(_, entry)| has(entry, &one) && has(entry, &other)) {
            return Err(Refusal::Separated { principal: both.clone(), role: one, other });
        }
        Ok(vec![Event::RolesSeparated(RolesSeparatedV1 { one, other, by: cx.principal.to_string(), at: cx.now })])
    }

    /// Who takes part, or may again.
    fn living(&self, principal: &Principal) -> Result<&Entry, Refusal> {
        match self.by_name.get(principal) {
            None => Err(Refusal::Unknown { principal: principal.clone() }),
            Some(Entry { state: State::Retired { .. }, .. }) => Err(Refusal::Retired { principal: principal.clone() }),
            Some(entry) => Ok(entry),
        }
    }

    /// That nobody lets another have what he has not. The authority's own parts say what they were told.
    fn within(&self, cx: &Context, can: &BTreeSet<Capability>) -> Result<(), Refusal> {
        let own = self.by_name.get(&cx.principal).map(|entry| &entry.terms.can);
        let covered = |asked: &&Capability| !own.into_iter().flatten().any(|own| own.covers(asked.as_str()));
        match can.iter().find(covered) {
            Some(capability) if cx.principal.kin != Kin::Internal => {
                Err(Refusal::Exceeds { by: cx.principal.clone(), capability: capability.clone() })
            }
            _ => Ok(()),
        }
    }

    /// That without this one there still is an active operator who may do everything, if it is one.
    fn not_the_last(&self, principal: &Principal, now: Timestamp) -> Result<(), Refusal> {
        let mut others = self.by_name.keys().filter(|other| *other != principal);
        if self.is_mainstay(principal, now) && !others.any(|other| self.is_mainstay(other, now)) {
            return Err(Refusal::LastOperator { principal: principal.clone() });
        }
        Ok(())
    }

    /// An active operator who may do everything, without an end, and has a secret to say so.
    fn is_mainstay(&self, principal: &Principal, now: Timestamp) -> bool {
        principal.kin == Kin::Operator
            && self
                .standing(principal, now)
                .is_ok_and(|entry| entry.terms.until.is_none() && entry.terms.can.contains(&Capability::all()))
            && self.secrets(principal, now).next().is_some()
    }

    /// That without this one the last operator who may do everything has a secret left.
    fn not_the_last_secret(&self, id: CredentialId, known: &Credential, now: Timestamp) -> Result<(), Refusal> {
        let others = self.secrets(&known.principal, now).filter(|other| *other != id).count();
        let last = known.ended(now).is_none() && matches!(known.proof, Proof::Secret(_)) && others == 0;
        if last && self.not_the_last(&known.principal, now).is_err() {
            return Err(Refusal::LastCredential);
        }
        Ok(())
    }

    /// Those for which nobody else is needed: no authority of certificates, no issuer of tokens.
    fn secrets(&self, principal: &Principal, now: Timestamp) -> impl Iterator<Item = CredentialId> {
        self.live(principal, now).filter(|id| matches!(self.credentials[id].proof, Proof::Secret(_)))
    }

    fn live(&self, principal: &Principal, now: Timestamp) -> impl Iterator<Item = CredentialId> {
        let own = self.credentials.iter().filter(move |(_, known)| known.principal == *principal);
        own.filter(move |(_, known)| known.ended(now).is_none()).map(|(id, _)| *id)
    }

    fn room(&self, principal: &Principal, now: Timestamp) -> Result<(), Refusal> {
        if CREDENTIALS_MAX <= self.credentials.len() {
            return Err(too_many(CREDENTIALS_MAX));
        }
        if LIVE_MAX <= self.live(principal, now).count() { Err(too_many(LIVE_MAX)) } else { Ok(()) }
    }

    /// Whether an id and what it is known by can be given; `None` if they were, to the same and in the same place.
    fn free(
        &self,
        id: CredentialId,
        proof: &Proof,
        principal: &Principal,
        replaces: Option<CredentialId>,
        now: Timestamp,
    ) -> Result<Option<()>, Refusal> {
        let free = match self.by_proof(proof) {
            None => true,
            Some((_, last)) => proof.is_name() && last.ended(now).is_some(),
        };
        match self.credentials.get(&id) {
            None if free => Ok(Some(())),
            Some(known) if known.principal == *principal && known.proof == *proof && known.replaces == replaces => {
                Ok(None)
            }
            _ => Err(Refusal::CredentialTaken { id }),
        }
    }

    fn keep(&mut self, id: CredentialId, credential: Credential) {
        let earlier = self.by_proof.insert(credential.proof.clone(), id);
        assert!(earlier.is_none() || credential.proof.is_name(), "a secret is given once");
        assert_eq!(self.credentials.insert(id, credential), None, "an id is given once");
    }

    fn known_mut(&mut self, principal: &str) -> &mut Entry {
        self.by_name.get_mut(&recorded(principal)).expect("only who was admitted changes")
    }
}

impl Binding {
    pub fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The secret that bootstrap wrote down names no id, so it is given one of its digest.
fn bootstrap_id(secret: Digest) -> CredentialId {
    let mut first = [0; 8];
    first.copy_from_slice(&secret.0[..8]);
    CredentialId(u64::from_be_bytes(first))
}

fn admitted(principal: &Principal, terms: &Terms, reason: &Personal, cx: &Context) -> Event {
    let Terms { owner, can, until, attestation } = terms;
    Event::Admitted(AdmittedV1 {
        principal: principal.to_string(),
        owner: owner.as_ref().map(ToString::to_string),
        can: can.iter().map(ToString::to_string).collect(),
        until: *until,
        attestation: *attestation,
        reason: reason.clone(),
        by: cx.principal.to_string(),
        at: cx.now,
    })
}

fn is_in_charge(cx: &Context) -> bool {
    matches!(cx.principal.kin, Kin::Operator | Kin::Internal)
}

fn future(until: Option<Timestamp>, now: Timestamp) -> Result<(), Refusal> {
    if until.is_some_and(|until| until <= now) { Err(Refusal::Past) } else { Ok(()) }
}

fn short(reason: &Personal) -> Result<(), Refusal> {
    if reason.is_longer_than(REASON_MAX) { Err(Refusal::ReasonTooLong) } else { Ok(()) }
}

/// That it can be what a certificate or a token says.
fn well_said(proof: &Proof) -> Result<(), Refusal> {
    let (_, said) = proof.parts();
    if said.iter().any(|text| text.is_empty() || SAID_MAX < text.len() || text.chars().any(char::is_control)) {
        return Err(Refusal::Said);
    }
    match proof {
        Proof::CertificateName { name, .. }
            if !["uri:", "dns:"].iter().any(|kind| name.strip_prefix(kind).is_some_and(|name| !name.is_empty())) =>
        {
            Err(Refusal::CertificateName)
        }
        _ => Ok(()),
    }
}

/// What is a name of a principal is a name of a role, and a label.
fn named(name: &str) -> Result<(), Refusal> {
    Principal::new(Kin::Internal, name).map(drop).map_err(|malformed| Refusal::Name { name: malformed.text })
}

fn in_order(one: &str, other: &str) -> (String, String) {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    (first.to_owned(), second.to_owned())
}

fn too_many(max: usize) -> Refusal {
    Refusal::TooMany { max: u64::try_from(max).unwrap_or(u64::MAX) }
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}
