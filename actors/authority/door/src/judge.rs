//! The judge: allow or deny, from what it is shown. Pure: no clock, no store, no actor.

use std::collections::{BTreeMap, BTreeSet};

use governance::Governance;
use identity::{CredentialId, End, Entry, Identity, Lack, admission};
use kernel::{Asked, Decision, Denial, Digest, Kin, Layer, Missing, Principal, Timestamp, TokenId};
use policy::{Inquiry, Judgement, May, NearMisses, Open, Policies, Question, Standing, Value, WhyNot};
use tokens::{Grant, State, Token, Tokens};

use crate::carried::not_for;
use crate::{AUDIENCE, Carried, Certificate, Read, Sealed, TODO_WORK};

/// Who asks may know who he is, whatever else he may not.
const WHOAMI: &str = "security.whoami";
/// A todo token opens it for itself.
pub(crate) const DERIVE: &str = "token.derive";
/// Decided by capability alone. Stopping only narrows, and resuming must be possible under any policy.
const BY_CAPABILITY: [&str; 3] = ["system.stop", RESUME, WHOAMI];
pub(crate) const RESUME: &str = "system.resume";

/// Decisions about a request for approvals, and the attribute that names the action which is to be approved.
const DECISIONS: [&str; 3] = ["approval.approve", "approval.deny", "approval.withdraw"];
const ASKED: &str = "asked";

/// What permits an operator, whatever the policies say.
const OPERATOR: &str = "capability:operator";
/// The same, where nobody answered for long who was asked to approve it.
const ALONE: &str = "capability:operator-alone";

/// Asked of another than the authority: the token is addressed to the protocol that is called, for the operation called.
pub(crate) const CALL: &str = "protocol.call";
/// The attribute that names the operation.
pub(crate) const OPERATION: &str = "operation";

/// Policies that a denial names, and the characters of each name: an author may have chosen any.
const RULES_SHOWN: usize = 5;
const RULE_SHOWN: usize = 100;

/// All that the judge sees: durable state, and the request.
pub struct Sight<'a> {
    pub now: Timestamp,
    pub governance: &'a Governance,
    pub identity: &'a Identity,
    pub tokens: &'a Tokens,
    /// The compiled policies of the active epoch, or why there are none.
    pub policies: Result<&'a Policies, &'a Denial>,
    /// What the switch says; a stop that only governance knows is in force as well.
    pub sealed: Option<&'a Sealed>,
    /// Counts every durable change of authority.
    pub generation: u64,
    pub action: &'a str,
    pub resource: &'a str,
    /// The action's own attributes.
    pub context: &'a BTreeMap<String, Value>,
    pub credential: Credential,
    /// Of the other end of the connection.
    pub certificate: Option<&'a Certificate>,
    pub approved: Approved,
    /// What was proven of exactly this.
    pub proven: &'a BTreeSet<String>,
}

/// How those who were asked to approve exactly this have answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Approved {
    /// So many have approved it.
    pub have: u32,
    /// Nobody answered, for so long that it is done without.
    pub waited: bool,
}

/// What is shown of who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    Nothing,
    /// What no secret looks like.
    Malformed,
    /// The blake3 of a secret.
    Secret(Digest),
    /// No secret, and the system says that a process of this user asks.
    User(u32),
    /// A token of an issuer elsewhere.
    Foreign(Read),
    /// The bearer form of a token, or why it is none.
    Carried(Result<Box<Carried>, Denial>),
}

/// Who asks, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bearer {
    /// By a credential of his own; by none, as a user of this machine.
    Own { principal: Principal, credential: Option<CredentialId> },
    /// By a token, which is to be consumed; by what the registry knows its secret.
    Token { subject: Principal, token: TokenId, secret: Digest, operation: String, todo: Option<u64> },
}

impl Bearer {
    pub fn principal(&self) -> &Principal {
        match self {
            Self::Own { principal, .. } | Self::Token { subject: principal, .. } => principal,
        }
    }
}

/// What the judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow {
        bearer: Bearer,
        /// What the policies were shown of it.
        standing: Standing,
        decision: Decision,
    },
    /// `by` is `None` for a stranger.
    Deny { by: Option<Bearer>, standing: Standing, denial: Denial, policy_epoch: u64, generation: u64 },
}

/// Walks the layers in order; the first no is the answer.
pub fn judge(sight: &Sight<'_>) -> Verdict {
    let (policy_epoch, generation) = (sight.governance.active_epoch(), sight.generation);
    let bearer = match authenticate(sight) {
        Ok(bearer) => bearer,
        Err(denial) => {
            let standing = Standing::default();
            return Verdict::Deny { by: None, standing, denial, policy_epoch, generation };
        }
    };
    let standing = standing(sight, &bearer);
    let judged =
        let_through(sight, &bearer).and_then(|()| by_policy(sight, &bearer, &standing).map_err(|no| no.denial));
    match judged {
        Ok(mut policies) => {
            policies.extend(broken_glass(sight, &bearer));
            policies.extend(carried(sight).into_iter().flat_map(Carried::marks));
            policies.sort();
            Verdict::Allow { bearer, standing, decision: Decision { policy_epoch, policies, generation, token: None } }
        }
        Err(denial) => Verdict::Deny { by: Some(bearer), standing, denial, policy_epoch, generation },
    }
}

/// The layers between who asks and what policies say of it.
fn let_through(sight: &Sight<'_>, bearer: &Bearer) -> Result<(), Denial> {
    Asked::check(sight.action, sight.resource, sight.context)
        .and_then(|()| lives(sight, bearer))
        .and_then(|()| known(sight))
        .and_then(|()| unsealed(sight))
        .and_then(|()| admit(sight, bearer))
}

/// A request that nobody made, and of which not everything need be known.
#[derive(Clone, Copy, Debug)]
pub struct Supposed<'a> {
    pub principal: &'a Principal,
    pub action: &'a str,
    /// `None` leaves it open.
    pub resource: Option<&'a str>,
    /// An attribute that is not here is open.
    pub context: &'a BTreeMap<String, Value>,
    /// What the principal is bound to besides.
    pub roles: &'a BTreeSet<String>,
}

/// What would be said of it, if it came by a credential of the principal's own, with nothing approved or proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Supposition {
    /// Whatever is open, by these.
    Allowed { by: Vec<String> },
    /// Whatever is open; the policies that forbid it, if it is they.
    Denied { denial: Denial, by: Vec<String> },
    /// It depends on what is open: one of the permits must apply, and none of the forbids.
    Depends { permits: Vec<Open>, forbids: Vec<Open> },
}

/// What [`judge`] would say of a request that nobody made: from who asks on, the same layers in the same order. How often
/// somebody asks is no part of it.
pub fn suppose(sight: &Sight<'_>, supposed: &Supposed<'_>) -> Supposition {
    let bearer = Bearer::Own { principal: supposed.principal.clone(), credential: None };
    let told = supposed_of(sight, supposed, &bearer);
    if matches!(told, Supposition::Allowed { .. }) || !may_decide_resume(sight, &bearer) {
        return told;
    }
    // It may be about the end of a stop: more is let through then.
    let condition = format!("context.{ASKED} == \"{RESUME}\"");
    let resumed = Open { policy: OPERATOR.to_owned(), conditions: vec![condition] };
    let (mut permits, forbids) = match told {
        Supposition::Depends { permits, forbids } => (permits, forbids),
        Supposition::Allowed { .. } | Supposition::Denied { .. } => (Vec::new(), Vec::new()),
    };
    permits.push(resumed);
    permits.sort();
    Supposition::Depends { permits, forbids }
}

/// Whether it is not said what an operator decides about, and he might decide whether everything goes on after a stop.
fn may_decide_resume(sight: &Sight<'_>, bearer: &Bearer) -> bool {
    if !is_operator(bearer) || !DECISIONS.contains(&sight.action) || sight.context.contains_key(ASKED) {
        return false;
    }
    let mut context = sight.context.clone();
    context.insert(ASKED.to_owned(), Value::from(RESUME));
    let_through(&Sight { context: &context, credential: sight.credential.clone(), ..*sight }, bearer).is_ok()
}

fn supposed_of(sight: &Sight<'_>, supposed: &Supposed<'_>, bearer: &Bearer) -> Supposition {
    if let Err(denial) = let_through(sight, bearer) {
        return Supposition::Denied { denial, by: Vec::new() };
    }
    let mut standing = standing(sight, bearer);
    standing.roles.extend(supposed.roles.iter().cloned());
    let attributes = policy::attributes(sight.action);
    let said = attributes.is_none_or(|all| all.keys().all(|name| sight.context.contains_key(name)));
    let by_capability = BY_CAPABILITY.contains(&sight.action) || is_operator(bearer) && decides_resume(sight);
    let judged = if by_capability || said && supposed.resource.is_some() {
        by_policy(sight, bearer, &standing).map(|by| Supposition::Allowed { by })
    } else {
        as_far_as_known(sight, bearer, &standing, supposed.resource.is_none())
    };
    judged.unwrap_or_else(|No { denial, by }| Supposition::Denied { denial, by })
}

/// By what the policies say, with something left open.
fn as_far_as_known(
    sight: &Sight<'_>,
    bearer: &Bearer,
    standing: &Standing,
    any_resource: bool,
) -> Result<Supposition, No> {
    let principal = bearer.principal();
    let policies = sight.policies.map_err(Clone::clone)?;
    let (mut by, mut permits, mut forbids) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (action, resource, context) in questions(sight.action, sight.resource, sight.context) {
        let resource = Some(resource).filter(|_| !any_resource || action != sight.action);
        let inquiry = Inquiry { principal, action, resource, context, standing, any_standing: false };
        let about = (action, resource.unwrap_or("anything"));
        match policies.may(&inquiry) {
            Err(error) => return Err(not_permitted(sight, principal, about, &WhyNot::Error(error), Vec::new())),
            Ok(May::No { by }) => {
                let why = if by.is_empty() { WhyNot::NotPermitted } else { WhyNot::Forbidden };
                return Err(not_permitted(sight, principal, about, &why, by));
            }
            Ok(May::Yes { by: more }) => by.extend(more),
            Ok(May::If { permits: more, forbids: also }) => {
                permits.extend(more);
                forbids.extend(also);
            }
        }
    }
    Ok(if permits.is_empty() && forbids.is_empty() {
        Supposition::Allowed { by: by.into_iter().collect() }
    } else {
        permits.extend(by.into_iter().map(|policy| Open { policy, conditions: Vec::new() }));
        Supposition::Depends { permits: permits.into_iter().collect(), forbids: forbids.into_iter().collect() }
    })
}

/// What the authority knows of a request by itself: the policies are shown it, and it stands in the record.
fn standing(sight: &Sight<'_>, bearer: &Bearer) -> Standing {
    let roles = sight.identity.roles(bearer.principal(), sight.now);
    let credential = match bearer {
        Bearer::Own { credential, .. } => *credential,
        Bearer::Token { .. } => None,
    };
    Standing {
        via_token: matches!(bearer, Bearer::Token { .. }),
        credential,
        roles,
        approvals: sight.approved.have,
        proofs: sight.proven.clone(),
    }
}

/// A denial here is that of a stranger. Who shows a certificate is whom it names; what he shows besides must name the same.
fn authenticate(sight: &Sight<'_>) -> Result<Bearer, Denial> {
    let Some(certificate) = sight.certificate else { return shown(sight) };
    let (id, principal) = certificate.named(sight.identity, sight.now)?;
    if sight.credential == Credential::Nothing {
        return Ok(Bearer::Own { principal, credential: Some(id) });
    }
    let bearer = shown(sight)?;
    if *bearer.principal() == principal {
        return Ok(bearer);
    }
    let reason = "the certificate names somebody else than the credential that was shown with it";
    let remedy = "show one of them, or two of the same principal";
    let denial = Denial::new(Layer::Authenticate, "door.credentials_differ", reason, remedy);
    Err(denial.rule("one principal for every request"))
}

/// By the secret, the token, or the user of this machine.
fn shown(sight: &Sight<'_>) -> Result<Bearer, Denial> {
    let stranger = |code, reason: &str| {
        let remedy = "give an operator's credential, or a token's secret or bearer form, with --credential, SOP_CREDENTIAL or Authorization: Bearer";
        Denial::new(Layer::Authenticate, code, reason, remedy).rule("a credential for every request")
    };
    let nothing = || stranger("door.no_credential", "no credential was shown");
    let digest = match &sight.credential {
        Credential::Nothing => return Err(nothing()),
        Credential::Malformed => {
            return Err(stranger("door.malformed_credential", "what was shown is no credential of any form"));
        }
        Credential::Foreign(read) => {
            let (id, principal) = read.named(sight.identity, sight.now)?;
            return Ok(Bearer::Own { principal, credential: Some(id) });
        }
        Credential::User(uid) => {
            let principal = sight.identity.of_uid(*uid).cloned().ok_or_else(nothing)?;
            return Ok(Bearer::Own { principal, credential: None });
        }
        Credential::Carried(carried) => {
            let Carried { token, secret, .. } = &**carried.as_ref().map_err(Clone::clone)?;
            let token = sight.tokens.show(*token, sight.now);
            let token = token.ok_or_else(|| stranger("door.unknown_credential", "no such token is on record"))?;
            return Ok(by_token(token, *secret));
        }
        Credential::Secret(digest) => *digest,
    };
    if let Some((id, known)) = sight.identity.by_secret(digest) {
        return Ok(Bearer::Own { principal: known.principal.clone(), credential: Some(id) });
    }
    let token = sight.tokens.by_secret(digest, sight.now);
    let token = token.ok_or_else(|| stranger("door.unknown_credential", "nobody holds this credential"))?;
    Ok(by_token(token, digest))
}

fn by_token(token: Token, secret: Digest) -> Bearer {
    let Token { id, subject, operation, grant, .. } = token;
    Bearer::Token { subject, token: id, secret, operation, todo: grant.todo() }
}

/// The bearer form that is shown, if its signatures count.
fn carried<'a>(sight: &'a Sight<'_>) -> Option<&'a Carried> {
    match &sight.credential {
        Credential::Carried(Ok(carried)) => Some(carried),
        _ => None,
    }
}

/// Has the token ended, or the credential?
fn lives(sight: &Sight<'_>, bearer: &Bearer) -> Result<(), Denial> {
    match bearer {
        Bearer::Token { token, .. } => alive(sight.tokens, *token, sight.now),
        Bearer::Own { credential: Some(id), .. } => {
            let end = sight.identity.credential(*id).and_then(|known| known.ended(sight.now));
            let (code, reason) = match end {
                None => return Ok(()),
                Some(End::Revoked) => ("door.credential_revoked", "the credential was revoked"),
                Some(End::Expired) => ("door.credential_expired", "the credential has expired"),
            };
            let remedy = "ask an operator for a new one: `sop security credentials --create`";
            Err(Denial::new(Layer::Authenticate, code, reason, remedy).rule(format!("credential {id}")))
        }
        Bearer::Own { credential: None, .. } => Ok(()),
    }
}

/// What the record says of an act by the credential that is for emergencies.
fn broken_glass(sight: &Sight<'_>, bearer: &Bearer) -> Option<String> {
    let Bearer::Own { credential: Some(id), .. } = bearer else { return None };
    sight.identity.credential(*id).filter(|known| known.break_glass).map(|_| format!("break-glass:{id}"))
}

pub(crate) fn alive(tokens: &Tokens, token: TokenId, now: Timestamp) -> Result<(), Denial> {
    let ended = tokens.show(token, now).and_then(|token| ended(&token, now));
    ended.map_or(Ok(()), |why| Err(gone(token, why)))
}

pub(crate) fn gone(token: TokenId, (code, reason): Gone) -> Denial {
    Denial::new(Layer::Token, code, reason, "ask for a new token").rule(format!("token {token}"))
}

/// The code and the reason of an end.
type Gone = (&'static str, &'static str);

pub(crate) const EXPIRED: Gone = ("tokens.expired", "the token expired");

/// Why the token opens nothing any more, whatever uses are left; those are for the consumption to count.
pub(crate) fn ended(token: &Token, now: Timestamp) -> Option<Gone> {
    match token.state {
        State::Revoked => Some(("tokens.revoked", "the token was revoked")),
        // Also of one that is used up, which its state says first.
        _ if token.expires_at <= now => Some(EXPIRED),
        State::Pending => Some(("tokens.not_yet", "the token is not valid yet")),
        State::Active | State::Consumed | State::Expired => None,
    }
}

/// Is this something that can be asked for at all?
fn known(sight: &Sight<'_>) -> Result<(), Denial> {
    if policy::action(sight.action).is_some() || BY_CAPABILITY.contains(&sight.action) {
        return Ok(());
    }
    let action: String = sight.action.chars().take(80).collect();
    let reason = format!("there is no action {action:?}");
    let remedy = "ask for one of the actions that are listed under GET /v1/actions";
    Err(Denial::new(Layer::Request, "request.unknown_action", reason, remedy).rule("the catalogue of actions"))
}

fn unsealed(sight: &Sight<'_>) -> Result<(), Denial> {
    // Who ends a stop may need another for it.
    if decides_resume(sight) {
        return Ok(());
    }
    let stop = || sight.governance.stop().map(sealed_by);
    sight.sealed.cloned().or_else(stop).map_or(Ok(()), |sealed| under(&sealed, sight.action))
}

/// Is it decided whether everything goes on after a stop?
fn decides_resume(sight: &Sight<'_>) -> bool {
    let asked = matches!(sight.context.get(ASKED), Some(Value::Text(asked)) if asked == RESUME);
    asked && DECISIONS.contains(&sight.action)
}

/// A stop as it was recorded.
pub(crate) fn sealed_by(stop: &governance::Stop) -> Sealed {
    let by = if stop.on_behalf_of.is_empty() { stop.by.to_string() } else { stop.on_behalf_of.clone() };
    Sealed { by, reason: stop.reason.clone() }
}

/// Under an emergency stop nothing changes any more; what is recorded can still be read.
pub(crate) fn under(Sealed { by, .. }: &Sealed, action: &str) -> Result<(), Denial> {
    let reads = policy::action(action).is_some_and(|action| action.reads_only);
    if reads || BY_CAPABILITY.contains(&action) {
        return Ok(());
    }
    // Its reason may be about somebody, and a denial is kept in the clear.
    let reason = format!("{by} stopped everything");
    let remedy = "see why with `sop status`; an operator resumes with `sop resume`";
    Err(Denial::new(Layer::Seal, "door.sealed", reason, remedy).rule("emergency stop"))
}

/// The capability: may this bearer ask for this at all? The registry says it first, also of the subject of a token; then
/// the token says for what it is.
fn admit(sight: &Sight<'_>, bearer: &Bearer) -> Result<(), Denial> {
    let principal = bearer.principal();
    let entry = admitted(sight.identity, principal, sight.now, sight.action)?;
    if sight.action == WHOAMI {
        return Ok(());
    }
    if is_operator(bearer) && decides_resume(sight) {
        return Ok(());
    }
    if BY_CAPABILITY.contains(&sight.action) {
        if is_operator(bearer) {
            return Ok(());
        }
        // A stop consumes nothing, so that it needs nothing; a token would open it for ever.
        let by = if matches!(bearer, Bearer::Own { .. }) { "is no operator" } else { "asks with a token" };
        let reason = format!("{principal} {by}, and {} takes an operator's own credential", sight.action);
        let denial = Denial::new(Layer::Admit, "door.operators_only", reason, "ask an operator");
        return Err(denial.rule("capability:operator"));
    }
    covered(principal, entry, sight.action)?;
    if SHOW_RECORDS.contains(&sight.action) {
        AUDIT.iter().try_for_each(|action| covered(principal, entry, action))?;
    }
    let Bearer::Token { token, operation, todo, .. } = bearer else { return Ok(()) };
    let shown = sight.tokens.show(*token, sight.now);
    let (bound_to, grant) =
        shown.as_ref().map_or(("nobody", None), |token| (token.audience.as_str(), Some(token.grant)));
    let target = shown.as_ref().and_then(|token| token.target.as_deref());
    let fits = target.is_none_or(|target| target == sight.resource)
        && Some(bound_to) == audience(sight.action, sight.resource)
        && match todo {
            Some(todo) => {
                let own = !sight.action.starts_with("todo.") || sight.resource == format!("todo-{todo}");
                let handed_on = sight.action == DERIVE && sight.resource == token.to_string();
                TODO_WORK.contains(&sight.action) && own || handed_on
            }
            None if sight.action == CALL => {
                let called = matches!(sight.context.get(OPERATION), Some(Value::Text(called)) if called == operation);
                called && matches!(grant, Some(Grant::Operation | Grant::Test))
            }
            None => operation == sight.action && grant == Some(Grant::Operation),
        };
    if fits {
        let permitted = carried(sight).map_or(Ok(()), |carried| carried.permitted.clone());
        return permitted.map_err(|denial| not_for(*token, denial));
    }
    let bound = match todo {
        Some(todo) => format!("work on todo-{todo}"),
        None => format!("{operation:?} at {bound_to:?}"),
    };
    let bound = match target {
        Some(target) => format!("{bound}, on {target:?} only"),
        None => bound,
    };
    let reason = format!("this token is for {bound}, not for {} on {}", sight.action, sight.resource);
    let remedy = format!("ask an operator for a token for {}, or to do it", sight.action);
    Err(Denial::new(Layer::Admit, "door.not_capable", reason, remedy).rule(format!("token {token}")))
}

/// The entry of who may ask for something at all.
pub(crate) fn admitted<'a>(
    identity: &'a Identity,
    principal: &Principal,
    now: Timestamp,
    action: &str,
) -> Result<&'a Entry, Denial> {
    identity.standing(principal, now).map_err(|lack| {
        let terms = identity.show(principal).map(|entry| &entry.terms);
        let noun = action.split_once('.').map_or(action, |(noun, _)| noun);
        let (code, is, remedy) = match lack {
            Lack::NotAdmitted => {
                let admit = admission(principal, None, &format!("{noun}.*"));
                ("door.not_admitted", "is not admitted", format!("an operator admits it: `{admit}`"))
            }
            Lack::Suspended => {
                let resume = format!("an operator ends that: `sop security resume {principal}`");
                ("door.suspended", "is suspended", resume)
            }
            Lack::Retired => ("door.retired", "is retired, for ever", "act as somebody who is not".to_owned()),
            Lack::Expired => {
                let admit = admission(principal, terms, action);
                ("door.admission_expired", "is no longer admitted", format!("an operator admits it anew: `{admit}`"))
            }
        };
        Denial::new(Layer::Admit, code, format!("{principal} {is}"), remedy).rule(format!("registry: {principal}"))
    })
}

fn covered(principal: &Principal, entry: &Entry, action: &str) -> Result<(), Denial> {
    if entry.terms.can.iter().any(|capability| capability.covers(action)) {
        return Ok(());
    }
    let reason = format!("{principal} is not admitted for {action}");
    let remedy = format!("an operator admits it for that, too: `{}`", admission(principal, Some(&entry.terms), action));
    Err(Denial::new(Layer::Admit, "door.no_capability", reason, remedy).rule(format!("registry: {principal}")))
}

/// To whom a token for `action` on `resource` is addressed; to nobody, where a protocol has taken the authority's own name.
pub(crate) fn audience<'a>(action: &str, resource: &'a str) -> Option<&'a str> {
    if action == CALL { Some(resource).filter(|called| *called != AUDIENCE) } else { Some(AUDIENCE) }
}

/// These show records as the audit does, so whoever may not read the audit may not do them either.
const SHOW_RECORDS: [&str; 2] = ["subscription.read", "policy.replay"];
const AUDIT: [&str; 2] = ["audit.list", "audit.show"];

type Attributes = BTreeMap<String, Value>;

/// What the policies are asked about a request: the action, the resource and the attributes of each question. All must be
/// permitted.
fn questions<'a>(
    action: &'a str,
    resource: &'a str,
    context: &'a Attributes,
) -> impl Iterator<Item = (&'a str, &'a str, &'a Attributes)> {
    static NONE: Attributes = BTreeMap::new();
    let audit = AUDIT.iter().filter(move |_| SHOW_RECORDS.contains(&action));
    std::iter::once((action, resource, context)).chain(audit.map(|action| (*action, "*", &NONE)))
}

/// A no, and the policies that forbid it, if it is they.
struct No {
    denial: Denial,
    by: Vec<String>,
}

impl From<Denial> for No {
    fn from(denial: Denial) -> Self {
        Self { denial, by: Vec::new() }
    }
}

/// The ids of the policies that permit.
fn by_policy(sight: &Sight<'_>, bearer: &Bearer, standing: &Standing) -> Result<Vec<String>, No> {
    if sight.action == RESUME {
        return Ok(resumed(sight, bearer)?);
    }
    if BY_CAPABILITY.contains(&sight.action) {
        let whose = if sight.action == WHOAMI { "capability:self" } else { OPERATOR };
        return Ok(vec![whose.to_owned()]);
    }
    // Whoever may end a stop may be asked to approve that it ends: no policy may leave it to nobody.
    if is_operator(bearer) && decides_resume(sight) {
        return Ok(vec![OPERATOR.to_owned()]);
    }
    let mut determining = Vec::new();
    for question in questions(sight.action, sight.resource, sight.context) {
        determining.extend(permitted(sight, bearer, standing, question)?);
    }
    determining.sort();
    determining.dedup();
    Ok(determining)
}

/// Where there is another operator, one ends a stop with the approval of another; where there is none, alone.
fn resumed(sight: &Sight<'_>, bearer: &Bearer) -> Result<Vec<String>, Denial> {
    let stopped = sight.sealed.is_some() || sight.governance.stop().is_some();
    let another = stopped && another_operator(sight, bearer.principal());
    match (another, sight.approved) {
        (false, _) | (true, Approved { have: 1.., .. }) => Ok(vec![OPERATOR.to_owned()]),
        (true, Approved { waited: true, .. }) => Ok(vec![ALONE.to_owned()]),
        (true, Approved { have: 0, waited: false }) => {
            let reason = "what was stopped goes on once another operator has approved it";
            let remedy = "ask with `sop resume --digest DIGEST --request-approval=REASON`";
            let missing = Missing { approvals: 1, ..Missing::default() };
            let denial = Denial::new(Layer::Policy, "policy.approval_needed", reason, remedy);
            Err(denial.rule("emergency stop: two operators").missing(missing))
        }
    }
}

/// Whether there is an operator besides `one` who may ask for something, and can.
fn another_operator(sight: &Sight<'_>, one: &Principal) -> bool {
    let identity = sight.identity;
    let can = |who: &Principal| {
        identity
            .credentials()
            .any(|(_, credential)| credential.principal == *who && credential.ended(sight.now).is_none())
            || identity.uids().any(|(_, principal)| principal == who)
    };
    let is_another = |who: &Principal| who.kin == Kin::Operator && who != one;
    let mut all = identity.list().map(|(who, _)| who);
    all.any(|who| is_another(who) && identity.standing(who, sight.now).is_ok() && can(who))
}

/// By a credential of his own.
fn is_operator(bearer: &Bearer) -> bool {
    matches!(bearer, Bearer::Own { principal, .. } if principal.kin == Kin::Operator)
}

/// What these policies say of a request as it was recorded, whatever was said of it then; of a no, why.
///
/// # Errors
/// Why they cannot say anything: the schema has no such question.
pub fn judge_again(
    policies: &Policies,
    principal: &Principal,
    asked: &Asked,
) -> Result<(Judgement, Option<WhyNot>), String> {
    let mut all = Judgement { allowed: true, determining: Vec::new(), errors: Vec::new() };
    for (action, resource, context) in questions(asked.action(), asked.resource(), asked.context()) {
        let question = Question { principal, action, resource, context, standing: asked.standing() };
        let judgement = policies.judge(&question);
        if !judgement.errors.is_empty() {
            question.check()?;
        }
        if !judgement.allowed {
            let why = policies.why_not(&question, &judgement);
            return Ok((judgement, why));
        }
        all.determining.extend(judgement.determining);
    }
    all.determining.sort();
    all.determining.dedup();
    Ok((all, None))
}

/// The single changes that would have made an allow of a request as it was recorded, by these policies.
pub fn near_misses(policies: &Policies, principal: &Principal, asked: &Asked) -> NearMisses {
    let questions = questions(asked.action(), asked.resource(), asked.context());
    let mut questions = questions.map(|(action, resource, context)| Question {
        principal,
        action,
        resource,
        context,
        standing: asked.standing(),
    });
    let denied = questions.find(|question| !policies.judge(question).allowed);
    denied.map(|question| policies.near_misses(&question)).unwrap_or_default()
}

fn permitted(
    sight: &Sight<'_>,
    bearer: &Bearer,
    standing: &Standing,
    (action, resource, context): (&str, &str, &Attributes),
) -> Result<Vec<String>, No> {
    let principal = bearer.principal();
    let policies = sight.policies.map_err(Clone::clone)?;
    let question = Question { principal, action, resource, context, standing };
    let judgement = policies.judge(&question);
    if judgement.allowed {
        return Ok(judgement.determining);
    }
    let why = policies.why_not(&question, &judgement).unwrap_or(WhyNot::NotPermitted);
    Err(not_permitted(sight, principal, (action, resource), &why, judgement.determining))
}

/// The words for it: why the policies do not permit that to be done, and by which of them.
fn not_permitted(
    sight: &Sight<'_>,
    principal: &Principal,
    (action, resource): (&str, &str),
    why: &WhyNot,
    by: Vec<String>,
) -> No {
    let epoch = sight.governance.active_epoch();
    let needed = if action == sight.action { String::new() } else { format!(", which {} needs", sight.action) };
    let what = format!("{principal} may not {action} on {resource}{needed}");
    let denied = |because: &str, remedy: &str| {
        let rule = match by.as_slice() {
            _ if matches!(why, WhyNot::Error(_)) => format!("epoch {epoch}"),
            [] => format!("epoch {epoch}: default deny"),
            forbids => format!("epoch {epoch}: {}", listed(forbids)),
        };
        Denial::new(Layer::Policy, why.code(), format!("{what}: {because}"), remedy).rule(rule)
    };
    let denial = match why {
        WhyNot::Error(error) => denied(error, "an operator mends the policy and activates a new epoch"),
        WhyNot::Missing(missing) => {
            let first = if missing.approvals == 0 { "have it proven" } else { "have it approved" };
            let remedy = format!("{first}, then ask again for exactly this");
            denied(&format!("it needs {missing}"), &remedy).missing(missing.clone())
        }
        WhyNot::NotPermitted => {
            let remedy = "an operator proposes and activates a policy that permits it; see `sop policy show`";
            denied("no policy permits it", remedy)
        }
        WhyNot::Forbidden => denied("a policy forbids it", "see the rule with `sop policy show`"),
    };
    No { denial, by }
}

/// The first few of what may be hundreds.
fn listed(policies: &[String]) -> String {
    let shown = policies.iter().take(RULES_SHOWN).map(|id| id.chars().take(RULE_SHOWN).collect::<String>());
    let shown = shown.collect::<Vec<_>>().join(", ");
    match policies.len().saturating_sub(RULES_SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
