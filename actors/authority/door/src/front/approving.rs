//! What the front has to do with approvals: where they alone are missing it looks for those that there are of exactly this,
//! has it judged again with them, and spends them on the command before its effect, or asks for them.
//!
//! An approval is bound to who asks, to the action and the resource, to what was said, and to what the resource was then.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use approvals::{Approvals, Command, Refusal, Reply, Request, State, Use};
use host::{Answer, Handle, Order};
use kernel::{CommandId, Decision, Denial, Digest, Layer, Machine, Millis, Missing, Personal, Refuse as _, Timestamp};
use tokens::Tokens;

use super::proving::Evidence;
use super::{Ask, Door, Trial, asked, is_up, own};
use crate::judge::{Approved, RESUME};
use crate::{Bearer, Follower, Verdict};

/// Nobody may be there to approve that the system goes on: who asked for it and was not denied resumes alone after this.
pub const RESUME_ALONE_AFTER: Millis = Millis::hours(1);

/// How a request has to do with approvals and proofs; mostly not at all.
#[derive(Clone, Debug, Default)]
pub struct Bound {
    /// Digest of what was said, where approvals are bound to that and not to the command that was made of it: what is drawn
    /// or sealed anew for each command is not the same twice.
    pub content: Option<Digest>,
    /// The resource is made by this request, under a name drawn for it: approvals are bound to no name then.
    pub anew: bool,
    /// Ask for approvals, and do nothing.
    pub wanted: Option<Wanted>,
    /// Take evidence for it, and do nothing.
    pub proving: Option<Evidence>,
    /// Say what would come of it, and do nothing.
    pub trial: Option<Trial>,
}

impl Bound {
    /// Whether the request is to be done: not, where leave is asked for it, evidence given, or it is tried.
    pub(super) fn does(&self) -> bool {
        self.wanted.is_none() && self.proving.is_none() && self.trial.is_none()
    }
}

/// What those who decide get to read.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub arguments: Personal,
    pub reason: Personal,
    pub lifetime: Option<Millis>,
    /// What came of it; nothing is done then, and the denial says so too.
    pub asked: Arc<OnceLock<Reply>>,
}

/// Knows what can be acted upon.
pub trait Things: Send + Sync {
    /// Digest of what the resource is now, as far as it matters to who approves that `action` is done to it; none where
    /// nothing single is meant.
    ///
    /// # Errors
    /// A denial, if it cannot be known now.
    fn now<'a>(&'a self, action: &'a str, resource: &'a str) -> Known<'a>;
}

/// A digest to come.
pub type Known<'a> = Pin<Box<dyn Future<Output = Result<Option<Digest>, Denial>> + Send + 'a>>;

/// All that the front needs for it.
pub(super) struct Approving {
    approvals: Handle<Approvals>,
    view: Arc<Follower<Approvals>>,
    things: Box<dyn Things>,
}

/// A no to a request that approvals and proofs might have let in.
pub(super) enum No {
    Denied(Denial),
    /// It was to be asked for approvals, or evidence was to be taken, and that was done.
    Asked(Denial),
}

/// What the judge says with the approvals that there are, and the use that is to be spent if he lets it in.
pub(super) type Judged = (Verdict, Approved, Option<Use>);

impl From<Denial> for No {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial)
    }
}

impl Door {
    /// With approvals; without, what needs them is denied.
    #[must_use]
    pub fn with_approvals(
        self,
        approvals: Handle<Approvals>,
        view: Arc<Follower<Approvals>>,
        things: Box<dyn Things>,
    ) -> Self {
        Self { approving: Some(Approving { approvals, view, things }), ..self }
    }

    /// What a request is, for those who were asked to approve it, is what it was when they were asked.
    ///
    /// # Errors
    /// A denial, if it cannot be known now.
    pub async fn is_stale(&self, request: &Request) -> Result<bool, Denial> {
        let Some(approving) = &self.approving else { return Ok(false) };
        let open = matches!(request.state, State::Pending | State::Approved);
        Ok(open && approving.things.now(&request.action, &request.resource).await? != request.target)
    }

    /// What was done under this command id on the strength of approvals or proofs stays answered, though they are used and what
    /// it was done to has changed by it.
    pub(super) async fn done_by_leave<M: Machine>(
        &self,
        ask: &Ask,
        machine: &Handle<M>,
        content: Digest,
    ) -> Option<Answer<M>> {
        let (approving, now) = (self.approving.as_ref()?, self.now());
        let held = approving.view.read(|approvals| approvals.held_by(ask.command_id, now)).map(|held| held.asker);
        let asker = held.or_else(|| self.prover_for(ask.command_id))?;
        match self.judge(ask) {
            Verdict::Allow { bearer, .. } | Verdict::Deny { by: Some(bearer), .. } if *bearer.principal() == asker => {
                machine.recall_first(ask.command_id, content, &asker).await.ok().flatten()
            }
            Verdict::Allow { .. } | Verdict::Deny { .. } => None,
        }
    }

    /// Judges again what was denied for want of approvals, with those that there are; and which use is to be spent then.
    pub(super) async fn judge_approved(
        &self,
        ask: &Ask,
        bearer: &Bearer,
        denied: Denial,
        content: Digest,
        proven: &BTreeSet<String>,
    ) -> Result<Judged, No> {
        let (Some(approving), Some(missing)) = (&self.approving, denied.missing.clone()) else {
            return Err(denied.into());
        };
        let (resource, content) = bound_to(ask, content);
        if let Some(wanted) = &ask.bound.wanted {
            return self.ask_for(approving, ask, bearer, missing.approvals, (resource, content), wanted).await;
        }
        let (asker, about, now) = (bearer.principal(), (ask.action, resource), self.now());
        let (found, akin) = approving
            .view
            .read(|approvals| (approvals.find(asker, about, content, now), approvals.akin(asker, about, now)));
        let Some(found) = found else {
            return Err(akin.map_or_else(|| to_be_asked(denied.clone()), |akin| other(&denied, &akin)).into());
        };
        if alone(ask, &found, now) {
            tracing::warn!(code = "door.resume_alone", by = %asker, "nobody answered: the stop is ended by one alone");
            let approved = Approved { have: found.have(), waited: true };
            return Ok((self.judge_with(ask, approved, proven), approved, None));
        }
        let held = found.is_held_by(ask.command_id);
        if let Some(refusal) = found.obstacle().filter(|_| !held) {
            return Err(because(&denied, &found, &refusal).into());
        }
        // A use that was spent in time is none for an effect that comes later.
        if held && found.expires_at <= now {
            return Err(because(&denied, &found, &Refusal::Expired { at: found.expires_at }).into());
        }
        is_up(&approving.approvals)?;
        let target = approving.target(ask).await?;
        if held && target != found.target {
            return Err(because(&denied, &found, &Refusal::Stale).into());
        }
        let approved = Approved { have: found.have(), waited: false };
        let mut verdict = self.judge_with(ask, approved, proven);
        if let Verdict::Deny { denial, .. } = &mut verdict {
            *denial = with_request(denial.clone(), &found);
        }
        let spent = Use {
            request: found.number,
            asker: asker.clone(),
            action: ask.action.to_owned(),
            resource: resource.to_owned(),
            content,
            target,
            command: ask.command_id,
        };
        Ok((verdict, approved, Some(spent)))
    }

    async fn ask_for(
        &self,
        approving: &Approving,
        ask: &Ask,
        bearer: &Bearer,
        needed: u32,
        (resource, content): (&str, Digest),
        wanted: &Wanted,
    ) -> Result<Judged, No> {
        is_up(&approving.approvals)?;
        let issuer = |tokens: &Tokens| match bearer {
            Bearer::Token { token, .. } => tokens.show(*token, self.now()).map(|token| token.issuer),
            Bearer::Own { .. } => None,
        };
        let command = Command::Request(approvals::Wanted {
            action: ask.action.to_owned(),
            resource: resource.to_owned(),
            content,
            target: approving.target(ask).await?,
            arguments: wanted.arguments.clone(),
            reason: wanted.reason.clone(),
            needed,
            issuer: self.tokens_view.read(issuer),
            lifetime: wanted.lifetime,
        });
        let (decision, asked) = match self.judge(ask) {
            Verdict::Deny { standing, policy_epoch, generation, .. } => {
                // Whom approvals alone keep from it may ask for them.
                let policies = vec!["capability:approval".to_owned()];
                (Decision { policy_epoch, generation, policies, token: None }, asked(ask, &standing))
            }
            Verdict::Allow { .. } => return Err(not_needed().into()),
        };
        let order = Order {
            command,
            command_id: ask.command_id,
            principal: bearer.principal().clone(),
            decision,
            cause: None,
            asked: Some(Box::new(asked)),
        };
        let reply = approving.approvals.execute(order).await.map_err(|error| error.denial())?.outcome;
        let reply = reply.map_err(|refusal| refusal.denial())?;
        let reason = match &reply {
            Reply::Requested { request, needed, have, .. } => {
                format!(
                    "leave was asked for, and nothing was done: request {request}, {have} of {needed} have approved"
                )
            }
            reply => unreachable!("a request is answered as one, not with {reply:?}"),
        };
        // Said twice, it is the same.
        let _ = wanted.asked.set(reply);
        let remedy = "others decide with `sop approval approve` or `deny`";
        Err(No::Asked(Denial::new(Layer::Policy, "approvals.asked", reason, remedy)))
    }

    /// Spends a use on its command, durably: before the effect.
    pub(super) async fn spend_approval(&self, spent: &Use) -> Result<(), Denial> {
        let Some(approving) = &self.approving else { return Ok(()) };
        let target = spent.target.map(|target| target.to_string()).unwrap_or_default();
        let step = ["approval", &spent.request.to_string(), &target];
        let answer = approving.approvals.execute(own(&step, spent.command, Command::Use(spent.clone()))).await;
        let refusal = match answer.map_err(|error| error.denial())?.outcome {
            Ok(Reply::Used { .. }) => return Ok(()),
            Ok(Reply::Stale { .. }) => Refusal::Stale,
            Ok(reply) => unreachable!("a use is answered as one, not with {reply:?}"),
            Err(refusal) => refusal,
        };
        let missing = Missing { approvals: 1, request: Some(spent.request), ..Missing::default() };
        let denial = Denial { layer: Layer::Policy, ..refusal.denial() };
        Err(denial.rule(format!("approval {}", spent.request)).missing(missing))
    }

    /// Gives a use back: nothing will ever be done under this command id.
    pub(super) async fn release_approval(&self, request: u64, command: CommandId) {
        let Some(approving) = &self.approving else { return };
        let release = Command::Release { request, command };
        let answer = approving.approvals.execute(own(&["disapproval", &request.to_string()], command, release)).await;
        if let Err(error) = answer {
            tracing::warn!(code = error.code(), request, "the use of an approval is not given back");
        }
    }
}

impl Approving {
    /// What the thing is now.
    pub(super) async fn target(&self, ask: &Ask) -> Result<Option<Digest>, Denial> {
        if ask.bound.anew { Ok(None) } else { self.things.now(ask.action, &ask.resource).await }
    }
}

/// The resource and the content that leave for a request is bound to.
pub(super) fn bound_to(ask: &Ask, content: Digest) -> (&str, Digest) {
    let content = ask.bound.content.unwrap_or_else(|| said(ask, content));
    (if ask.bound.anew { "*" } else { ask.resource.as_str() }, content)
}

/// What is said by a command and the attributes of its request; where nothing is told to a machine, by those alone.
fn said(ask: &Ask, content: Digest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&content.0);
    for (name, value) in &ask.context {
        hasher.update(format!("{name} {value:?}\0").as_bytes());
    }
    Digest(*hasher.finalize().as_bytes())
}

/// Whether a stop may be ended by one alone, as nobody answered for so long.
fn alone(ask: &Ask, found: &Request, now: Timestamp) -> bool {
    ask.action == RESUME && found.state == State::Pending && found.asked_at + RESUME_ALONE_AFTER <= now
}

/// For a request that was asked to be approved, and that nothing keeps from being done.
pub(super) fn not_needed() -> Denial {
    let reason = "this needs no approval; nothing was done";
    Denial::new(Layer::Decide, "approvals.not_needed", reason, "give the command without --request-approval")
        .rule("approvals are asked for where they are missing")
}

fn to_be_asked(denied: Denial) -> Denial {
    let remedy = "give the same command with --request-approval=REASON, and again without it once it is approved";
    Denial { remedy: remedy.to_owned(), ..denied }
}

fn with_request(denied: Denial, found: &Request) -> Denial {
    match denied.missing.clone() {
        Some(missing) => {
            let missing = Missing { have: found.have(), request: Some(found.number), ..missing };
            Denial { missing: Some(missing), ..denied }
        }
        None => denied,
    }
}

/// The request that there is cannot be used: which one, and why.
fn because(denied: &Denial, found: &Request, refusal: &Refusal) -> Denial {
    let denied = with_request(denied.clone(), found);
    if let Refusal::Pending { .. } = refusal {
        let reason = format!("{}; of request {}, {refusal}", denied.reason, found.number);
        return Denial { reason, remedy: refusal.remedy(), ..denied };
    }
    Denial {
        code: refusal.code().to_owned(),
        reason: format!("{}; of request {}, {refusal}", denied.reason, found.number),
        remedy: refusal.remedy(),
        ..denied
    }
}

fn other(denied: &Denial, akin: &Request) -> Denial {
    because(denied, akin, &Refusal::OtherContent)
}
