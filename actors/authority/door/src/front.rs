//! The front: shows the judge what is durable, spends tokens, runs commands, keeps the record.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use approvals::Use;
use dashmap::DashMap;
use governance::Governance;
use host::{Answer, Clock, Error, Handle, Order};
use identity::{CredentialId, Form, Identity};
use kernel::{
    Asked, CommandId, Decision, Denial, Digest, Layer, Machine, Millis, Personal, Principal, Refuse, Sequence,
    Timestamp, TokenId,
};
use policy::{Policies, Standing, Value};
use proofs::Spend;
use tokens::{Consume, Settlement, Token, Tokens};

use crate::carried::{self, Carried, Carriers, NoForms, Sought};
use crate::decisions::{self, Decisions};
use crate::judge::{
    Approved, CALL, DERIVE, OPERATION, Supposed, Supposition, admitted, audience, ended, sealed_by, suppose, under,
};
use crate::lockout::{Lockout, Named};
use crate::outcomes::{self, Outcomes};
use crate::outside::{self, Nobody};
use crate::quotas::{Became, Held};
use crate::rates::{Limits, Rates, TooOften};
use crate::trace::{Strangers, Tell, Trace};
use crate::{
    AUDIENCE, Bearer, Certificate, Credential, Follower, Issuers, Read, Seal, Sealed, Secret, SecretKind, Sight,
    Source, Used, Verdict, judge, judge_again,
};

mod approving;
mod counting;
mod operating;
mod proving;
mod trial;

use approving::{Approving, No};
pub use approving::{Bound, Known, RESUME_ALONE_AFTER, Things, Wanted};
use counting::{Counting, became};
pub use operating::UnderWay;
use proving::Proving;
pub use proving::{Came, Checking, Evidence, Gate, Promise};
pub use trial::{Foreseen, TRY, Trial, Tried};

/// A request at the door.
#[derive(Clone, Debug)]
pub struct Ask {
    /// One of [`policy::ACTIONS`], or `system.stop` or `system.resume`.
    pub action: &'static str,
    /// What it is about; `*` where no single thing is meant.
    pub resource: String,
    /// The action's own attributes.
    pub context: BTreeMap<String, Value>,
    pub credential: Option<Secret>,
    pub command_id: CommandId,
    /// Where it came from: for counting strangers, for keeping out who guesses, and, of a user of this machine whom identity
    /// knows, for whom he acts as.
    pub source: Source,
    /// Of the other end of the connection, whose key was proven there.
    pub certificate: Option<Arc<Certificate>>,
    /// What approvals of it are bound to.
    pub bound: Bound,
}

/// Who asks, and what he may ask for.
#[derive(Clone, Debug)]
pub struct Introduced {
    pub bearer: Bearer,
    /// As identity has it; `None` for who is not admitted.
    pub entry: Option<identity::Entry>,
    /// Those that hold now.
    pub roles: BTreeSet<String>,
    /// Why nothing may be asked as things are, if that is so.
    pub denied: Option<Denial>,
    /// The quotas that cover it; nothing, if what is used of them cannot be known now.
    pub quotas: Option<Vec<Used>>,
}

/// A request that was let in.
#[derive(Clone, Debug)]
pub struct Pass {
    pub principal: Principal,
    pub decision: Decision,
    command_id: CommandId,
    pub(crate) asked: Box<Asked>,
    /// The request for approvals whose use was spent on it.
    approval: Option<u64>,
    /// How many have approved it.
    pub(crate) approved: Approved,
    /// What was proven of it: receipts were spent on it.
    pub(crate) proven: BTreeSet<String>,
}

/// A command's reply, and where its records lie.
#[derive(Clone, Debug)]
pub struct Done<M: Machine> {
    pub reply: M::Reply,
    pub first: Sequence,
    pub last: Sequence,
    /// It had been done before, under the same command id.
    pub repeated: bool,
}

/// A no, and the record that keeps it, if one could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{denial}")]
pub struct Denied {
    pub denial: Denial,
    pub decision: Option<CommandId>,
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, decision: None }
    }
}

pub type Compiled = Result<Arc<Policies>, Denial>;

/// The door. One for the whole authority.
pub struct Door {
    clock: Clock,
    governance: Handle<Governance>,
    governance_view: Arc<Follower<Governance>>,
    identity: Handle<Identity>,
    identity_view: Arc<Follower<Identity>>,
    tokens: Handle<Tokens>,
    tokens_view: Arc<Follower<Tokens>>,
    decisions: Handle<Decisions>,
    outcomes: (Handle<Outcomes>, Arc<Follower<Outcomes>>),
    seal: Seal,
    /// The latest epoch that was compiled, or why it could not be.
    compiled: RwLock<Option<(u64, Compiled)>>,
    strangers: DashMap<(Source, String), Strangers>,
    tell: Option<Tell>,
    lockout: Lockout,
    rates: Rates,
    counting: Counting,
    /// When a credential was used last, since the process began.
    used: DashMap<CredentialId, Timestamp>,
    approving: Option<Approving>,
    proving: Option<Proving>,
    issuers: Arc<dyn Issuers>,
    carriers: Arc<dyn Carriers>,
}

impl Door {
    pub fn new(
        clock: Clock,
        governance: (Handle<Governance>, Arc<Follower<Governance>>),
        identity: (Handle<Identity>, Arc<Follower<Identity>>),
        tokens: (Handle<Tokens>, Arc<Follower<Tokens>>),
        decisions: Handle<Decisions>,
        outcomes: (Handle<Outcomes>, Arc<Follower<Outcomes>>),
        seal: Seal,
    ) -> Self {
        Self {
            clock,
            governance: governance.0,
            governance_view: governance.1,
            identity: identity.0,
            identity_view: identity.1,
            tokens: tokens.0,
            tokens_view: tokens.1,
            decisions,
            outcomes,
            seal,
            compiled: RwLock::new(None),
            strangers: DashMap::new(),
            tell: None,
            lockout: Lockout::default(),
            rates: Rates::default(),
            counting: Counting::default(),
            used: DashMap::new(),
            approving: None,
            proving: None,
            issuers: Arc::new(Nobody),
            carriers: Arc::new(NoForms),
        }
    }

    /// Where tokens of these are believed.
    #[must_use]
    pub fn with_issuers(self, issuers: Arc<dyn Issuers>) -> Self {
        Self { issuers, ..self }
    }

    /// Who reads the bearer form of tokens.
    #[must_use]
    pub fn with_carriers(self, carriers: Arc<dyn Carriers>) -> Self {
        Self { carriers, ..self }
    }

    pub(crate) fn carriers(&self) -> &dyn Carriers {
        &*self.carriers
    }

    /// What is shown of who asks.
    pub(crate) fn shown(&self, ask: &Ask) -> Credential {
        match (&ask.credential, ask.source) {
            (Some(secret), _) if secret.is_malformed() => Credential::Malformed,
            (Some(secret), _) if secret.is_foreign() => {
                let read = self.issuers.read(secret.expose(), self.clock.now());
                Credential::Foreign(Read(read.map(Arc::new)))
            }
            (Some(secret), _) if secret.is_bearer() => {
                Credential::Carried(self.carried(ask, secret, self.clock.now()).map(Box::new))
            }
            (Some(secret), _) => Credential::Secret(secret.digest()),
            (None, Source::User(uid)) => Credential::User(uid),
            (None, _) => Credential::Nothing,
        }
    }

    /// What a bearer form says of the request, had it been made at `now`.
    fn carried(&self, ask: &Ask, text: &Secret, now: Timestamp) -> Result<Carried, Denial> {
        let form = self.carriers.read(text.expose(), now).map_err(carried::stranger)?;
        let token = form.token();
        let known = self.tokens_view.read(|tokens| Some((tokens.secret_of(token)?, tokens.show(token, now)?)));
        let (secret, known) = known.ok_or_else(|| {
            let refusal = tokens::Refusal::Unknown;
            carried::stranger(Denial { layer: Layer::Token, ..refusal.denial() })
        })?;
        let permitted = if ask.action == DERIVE && form.is_narrowed() {
            Err(carried::underivable())
        } else {
            form.permits(&sought(ask, &known, now))
        };
        let (signed_by, hands, is_narrowed) = (form.signed_by(), form.hands(), form.is_narrowed());
        Ok(Carried { token, secret, signed_by, hands, is_narrowed, permitted })
    }

    /// Why the bearer form that is shown does not count any more.
    fn no_longer_carried(&self, ask: &Ask) -> Option<Denial> {
        let text = ask.credential.as_ref().filter(|text| text.is_bearer())?;
        self.carried(ask, text, self.clock.now()).err()
    }

    /// What the registry knows the secret of the token by that is shown, in whichever form; of no token, the digest of what is shown.
    pub fn held(&self, ask: &Ask) -> Option<Digest> {
        let secret = ask.credential.as_ref()?;
        if secret.is_bearer() {
            return self.carried(ask, secret, self.clock.now()).ok().map(|carried| carried.secret);
        }
        Some(secret.digest())
    }

    /// The token that is shown.
    pub(crate) fn token_shown(&self, ask: &Ask) -> Option<Token> {
        let (secret, now) = (self.held(ask)?, self.clock.now());
        self.tokens_view.read(|tokens| tokens.by_secret(secret, now))
    }

    /// The credential or the issuer that it names, whether or not there is one.
    fn named(&self, ask: &Ask) -> Option<Named> {
        let secret = ask.credential.as_ref()?;
        if secret.is_foreign() {
            return self.issuers.claimed(secret.expose()).map(Named::Issuer);
        }
        match secret.kind()? {
            SecretKind::Key(id) => Some(Named::Credential(id)),
            SecretKind::Operator | SecretKind::Token => None,
        }
    }

    /// With a limit on how often each principal may ask.
    #[must_use]
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { rates: Rates::new(limits), ..self }
    }

    /// With somebody who listens to what is not recorded one by one.
    #[must_use]
    pub fn with_tell(self, tell: Tell) -> Self {
        Self { tell: Some(tell), ..self }
    }

    fn tell(&self, trace: impl FnOnce() -> Trace) {
        if let Some(tell) = &self.tell {
            tell(trace());
        }
    }

    /// For the tree, for [`Door::perform`], and for bootstrap: nothing else asks a machine past the door.
    pub fn governance(&self) -> &Handle<Governance> {
        &self.governance
    }

    pub fn identity(&self) -> &Handle<Identity> {
        &self.identity
    }

    pub fn tokens(&self) -> &Handle<Tokens> {
        &self.tokens
    }

    pub fn decisions(&self) -> &Handle<Decisions> {
        &self.decisions
    }

    pub fn outcomes(&self) -> &Handle<Outcomes> {
        &self.outcomes.0
    }

    /// What is durable of governance.
    pub fn governance_view(&self) -> &Follower<Governance> {
        &self.governance_view
    }

    /// What is durable of who there is.
    pub fn identity_view(&self) -> &Follower<Identity> {
        &self.identity_view
    }

    /// What is durable of the tokens.
    pub fn tokens_view(&self) -> &Follower<Tokens> {
        &self.tokens_view
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Whether the seal is shut; a stop that only governance knows is found by its position.
    pub(crate) fn is_shut(&self) -> bool {
        self.seal.is_shut()
    }

    /// The stop that is in force.
    pub fn sealed(&self) -> Option<Sealed> {
        let recorded = || self.governance_view.read(|governance| governance.stop().map(sealed_by));
        self.seal.get().or_else(recorded)
    }

    /// At the start, once governance is up: what only the file knows goes on record, and what only the journal knows into
    /// the file. The stop is in force without it.
    pub async fn take_up_stop(&self) {
        if let Err(why) = self.record_stop().await {
            tracing::warn!(code = "door.stop_unrecorded", why, "the seal is in force, and not recorded in the journal");
        }
        let stop = self.governance_view.read(|governance| governance.stop().cloned());
        if let (Some(stop), None) = (stop, self.seal.get()) {
            let (mark, kept) = self.seal.shut(&sealed_by(&stop));
            self.seal.recorded(mark, stop.digest);
            if let Err(error) = kept {
                tracing::warn!(code = "door.seal_file", %error, "the seal is in force in memory and journal only");
            }
        }
    }

    /// Runs a command of `machine`, if the door lets it in.
    ///
    /// # Errors
    /// [`Denied`] by any layer, the machine's own refusal included.
    pub async fn perform<M: Machine>(
        &self,
        ask: &Ask,
        machine: &Handle<M>,
        command: M::Command,
    ) -> Result<Done<M>, Denied> {
        let content = Handle::<M>::digest(&command).map_err(|error| error.denial())?;
        is_up(machine)?;
        if let Some(trial) = &ask.bound.trial {
            let seen = self.foresee(ask, content).await?;
            let foreseen = self.would(ask, machine, command, &seen).await?;
            return Err(self.say(ask, trial, seen, foreseen).await);
        }
        // What was done by a token stays answered after the token has ended: its end may be what the first answer was lost to.
        if ask.bound.does()
            && let Some(subject) = self.subject_of_ended_token(ask)
            && let Ok(Some(first)) = machine.recall_first(ask.command_id, content, &subject).await
        {
            return told(first, ask.command_id);
        }
        if ask.bound.does()
            && let Some(first) = self.done_by_leave(ask, machine, content).await
        {
            return told(first, ask.command_id);
        }
        if let Some(first) = self.done_within_quota(ask, machine, content).await {
            return told(first, ask.command_id);
        }
        let (pass, held) = self.admit(ask, content).await?;
        self.carry_out(pass, held, machine, command).await
    }

    /// Who asks, for whoever must know it before a command can be made; lets nobody in.
    ///
    /// # Errors
    /// The denial of a stranger.
    pub async fn identify(&self, ask: &Ask) -> Result<Principal, Denied> {
        match self.known(ask).await? {
            Verdict::Allow { bearer, .. } | Verdict::Deny { by: Some(bearer), .. } => Ok(bearer.principal().clone()),
            Verdict::Deny { by: None, .. } => unreachable!("a stranger is denied"),
        }
    }

    /// Who asks, and what he may ask for, for himself to read; lets nobody in, and takes no use of a token.
    ///
    /// # Errors
    /// The denial of a stranger, or of who asks too often.
    pub async fn introduce(&self, ask: &Ask) -> Result<Introduced, Denied> {
        let verdict = self.known(ask).await?;
        self.not_too_often(ask, &verdict).await?;
        let (bearer, denied) = match verdict {
            Verdict::Allow { bearer, .. } => (bearer, None),
            Verdict::Deny { by: Some(bearer), denial, .. } => (bearer, Some(denial)),
            Verdict::Deny { by: None, .. } => unreachable!("a stranger is denied"),
        };
        if denied.is_none() {
            self.take_note(ask, &bearer).await;
        }
        let (principal, now) = (bearer.principal(), self.clock.now());
        let (entry, roles) =
            self.identity_view.read(|identity| (identity.show(principal).cloned(), identity.roles(principal, now)));
        let quotas = self.used_of_quotas(Some(principal)).await.ok();
        Ok(Introduced { bearer, entry, roles, denied, quotas })
    }

    /// Says no where the desk knows better than the machine. Who would not be let in hears that first, and nothing else.
    pub async fn refuse(&self, ask: &Ask, denial: Denial) -> Denied {
        if let Some(trial) = &ask.bound.trial {
            return match self.foresee(ask, Digest::default()).await {
                Err(denied) => denied,
                Ok(seen) => {
                    let denial = seen.verdict.as_ref().err().cloned().unwrap_or(denial);
                    self.say(ask, trial, seen, Foreseen::Denied(denial)).await
                }
            };
        }
        match self.known(ask).await {
            Err(denied) => denied,
            Ok(Verdict::Allow { bearer, standing, decision }) => {
                self.deny(ask, Some(bearer), &standing, denial, decision).await
            }
            Ok(Verdict::Deny { by, standing, denial, policy_epoch, generation }) => {
                let decision = Decision { policy_epoch, generation, ..Decision::default() };
                self.deny(ask, by, &standing, denial, decision).await
            }
        }
    }

    /// Whether somebody may ask for anything at all: who may not is not given what he cannot use.
    ///
    /// # Errors
    /// The denial that he would hear who asked for `action`.
    pub fn admits(&self, principal: &Principal, action: &str) -> Result<(), Denial> {
        let now = self.clock.now();
        self.identity_view.read(|identity| admitted(identity, principal, now, action).map(drop))
    }

    /// Whether the policies let who was let in do something else as well, standing as he does; records nothing.
    ///
    /// # Errors
    /// The denial that he would hear.
    pub fn permits(&self, pass: &Pass, action: &str, resource: &str) -> Result<(), Denial> {
        let (epoch, policies) = self.policies();
        let asked = Asked::new(action, resource, &BTreeMap::new(), pass.asked.standing());
        let code = match judge_again(&*policies?, &pass.principal, &asked) {
            Ok((judgement, _)) if judgement.allowed => return Ok(()),
            Ok((_, Some(why))) => why.code(),
            Ok((_, None)) | Err(_) => "policy.error",
        };
        let reason = format!("{} may not {action} on {resource}", pass.principal);
        let remedy = "an operator proposes and activates a policy that permits it; see `sop policy show`";
        Err(Denial::new(Layer::Policy, code, reason, remedy).rule(format!("epoch {epoch}")))
    }

    /// When a credential was used last, if it was since the process began.
    pub fn used(&self, credential: CredentialId) -> Option<Timestamp> {
        self.used.get(&credential).map(|at| *at)
    }

    /// When time alone next changes what the judge says of a request.
    pub(crate) fn changes_at(&self, ask: &Ask, principal: &Principal) -> Option<Timestamp> {
        let (now, secret) = (self.clock.now(), ask.credential.as_ref().map(Secret::digest));
        let foreign = match self.shown(ask) {
            Credential::Foreign(Read(read)) => read.ok(),
            // Until when it is good may stand in what narrowed it, which is read each time.
            Credential::Carried(carried) if carried.as_ref().is_ok_and(|carried| carried.is_narrowed) => {
                return Some(now);
            }
            _ => None,
        };
        self.identity_view.read(|identity| {
            let credential = secret.and_then(|secret| identity.by_secret(secret)).and_then(|(_, known)| known.until);
            let others = outside::changes_at(identity, ask.certificate.as_deref(), foreign.as_deref());
            let ends = credential.into_iter().chain(others).filter(|until| now < *until);
            ends.chain(identity.changes_at(principal, now)).min()
        })
    }

    /// The verdict on a request of somebody known.
    async fn known(&self, ask: &Ask) -> Result<Verdict, Denied> {
        self.ready()?;
        self.not_locked_out(ask).await?;
        let verdict = self.judge(ask);
        match &verdict {
            Verdict::Allow { bearer, .. } | Verdict::Deny { by: Some(bearer), .. } => {
                match (self.named(ask), bearer) {
                    (Some(named @ Named::Credential(one)), Bearer::Own { credential: Some(id), .. }) if one == *id => {
                        self.lockout.succeeded(named, ask.source);
                    }
                    (Some(named @ Named::Issuer(_)), _) => self.lockout.succeeded(named, ask.source),
                    _ => {}
                }
                Ok(verdict)
            }
            Verdict::Deny { by: None, standing, denial, .. } => {
                let mut denial = denial.clone();
                // A token that is honest and of no use is nobody's guess, nor is a secret that nobody has looked at.
                let guessed = match self.shown(ask) {
                    Credential::Foreign(read) => read.is_forged(),
                    _ => denial.code == "door.unknown_credential",
                };
                if let Some(named) = self.named(ask).filter(|_| guessed)
                    && let Some(wait) = self.lockout.failed(named, ask.source, self.clock.now())
                {
                    denial = denial.retry_after(wait);
                    let guessed = match named {
                        Named::Credential(id) => format!("credential {id}"),
                        Named::Issuer(place) => format!("issuer {}", self.issuers.name(place)),
                    };
                    let (source, at) = (ask.source, self.clock.now());
                    self.tell(|| Trace::LockedOut { guessed, source, wait, at });
                }
                Err(self.deny(ask, None, standing, denial, Decision::default()).await)
            }
        }
    }

    /// The credential that is for emergencies is never kept out: it is as long as all others.
    async fn not_locked_out(&self, ask: &Ask) -> Result<(), Denied> {
        let Some(named) = self.named(ask) else { return Ok(()) };
        let Some(wait) = self.lockout.wait(named, ask.source, self.clock.now()) else { return Ok(()) };
        let breaks_glass =
            |id| self.identity_view.read(|all| all.credential(id).is_some_and(|known| known.break_glass));
        let (reason, remedy) = match named {
            Named::Credential(id) if breaks_glass(id) => return Ok(()),
            Named::Credential(_) => (
                "too many wrong secrets were shown for this credential from here",
                "wait, and show the right one; an operator makes another with `sop security credentials --create`",
            ),
            Named::Issuer(_) => (
                "too many tokens that this issuer did not sign were shown from here",
                "wait, and show one that it did; a key of your own is not kept out by it",
            ),
        };
        let denial = Denial::new(Layer::Limit, "door.locked_out", reason, remedy).retry_after(wait);
        let standing = Standing::default();
        Err(self.deny(ask, None, &standing, denial.rule("lockout"), Decision::default()).await)
    }

    /// Counts a request of somebody known; what ends a stop is never too much.
    async fn not_too_often(&self, ask: &Ask, verdict: &Verdict) -> Result<(), Denied> {
        let (Verdict::Allow { bearer, standing, decision: Decision { generation, .. } }
        | Verdict::Deny { by: Some(bearer), standing, generation, .. }) = verdict
        else {
            return Ok(());
        };
        if ask.action == "system.resume" {
            return Ok(());
        }
        let principal = bearer.principal();
        let Err(TooOften { retry_after, number }) = self.rates.ask(principal, self.clock.now()) else { return Ok(()) };
        let Limits { requests_per_second, burst } = self.rates.limits();
        let reason = format!("{principal} asks more often than it may");
        let remedy = "wait as long as the answer says; an operator sets the limit in [door.limits]";
        let rule = format!("{requests_per_second} a second, {burst} at once");
        let denial = Denial::new(Layer::Limit, "door.rate_limited", reason, remedy).rule(rule).retry_after(retry_after);
        if number == 1 {
            let (policy_epoch, generation) = (self.policies().0, *generation);
            let decision = Decision { policy_epoch, generation, ..Decision::default() };
            return Err(self.deny(ask, Some(bearer.clone()), standing, denial, decision).await);
        }
        if number.is_power_of_two() {
            tracing::warn!(code = denial.code, %principal, number, "somebody asks too often");
        }
        Err(denial.into())
    }

    /// Notes that a credential is in use: its first use is on record, for whoever waits to end the one before it.
    async fn take_note(&self, ask: &Ask, bearer: &Bearer) {
        let Bearer::Own { principal, credential: Some(id) } = bearer else { return };
        self.used.insert(*id, self.clock.now());
        let known = self.identity_view.read(|identity| {
            identity
                .credential(*id)
                .map(|known| (known.form != Form::Bootstrap && known.used_at.is_none(), known.break_glass))
        });
        let (first, break_glass) = known.unwrap_or_default();
        if break_glass {
            tracing::warn!(
                code = "door.break_glass", %principal, credential = %id, action = ask.action, source = %ask.source,
                "a credential for emergencies is in use"
            );
        }
        if first {
            let command = identity::Command::Acknowledge { id: *id };
            let order = own(&["first use", &id.to_string()], CommandId(0), command);
            if let Err(error) = self.identity.execute(order).await {
                tracing::warn!(code = error.code(), credential = %id, "the first use of a credential went unrecorded");
            }
        }
    }

    fn subject_of_ended_token(&self, ask: &Ask) -> Option<Principal> {
        let now = self.clock.now();
        let token = self.token_shown(ask)?;
        self.admits(&token.subject, ask.action).ok()?;
        let text = ask.credential.as_ref().filter(|text| text.is_bearer());
        let Some(text) = text else { return ended(&token, now).map(|_| token.subject) };
        // Also of a form that ended before its token; it is good for it if it was when the command was made.
        let is_good = |now| self.carried(ask, text, now).is_ok_and(|carried| carried.permitted.is_ok());
        let has_ended = ended(&token, now).is_some() || !is_good(now);
        (has_ended && is_good(ask.command_id.made_at()?.min(now))).then_some(token.subject)
    }

    async fn carry_out<M: Machine>(
        &self,
        pass: Pass,
        mut held: Option<Held<'_>>,
        machine: &Handle<M>,
        command: M::Command,
    ) -> Result<Done<M>, Denied> {
        let order = Order {
            command,
            command_id: pass.command_id,
            principal: pass.principal.clone(),
            decision: pass.decision.clone(),
            cause: None,
            asked: Some(pass.asked.clone()),
        };
        held.iter_mut().for_each(Held::send);
        let answer = machine.execute(order).await;
        if let Some(held) = held {
            held.end(became(&answer));
        }
        // An id that is taken or too old says nothing of what was done under it: what others approved stays used then.
        if let (Some(request), Ok(Answer { outcome: Err(_), .. })) = (pass.approval, &answer) {
            self.release_approval(request, pass.command_id).await;
        }
        if let (false, Ok(Answer { outcome: Err(_), .. })) = (pass.proven.is_empty(), &answer) {
            self.release_receipts(pass.command_id).await;
        }
        self.settle(&pass, settlement(&answer)).await;
        match answer {
            Ok(answer) => told(answer, pass.command_id),
            Err(error) if is_never(&error) => {
                let Pass { principal, decision, asked, .. } = pass;
                Err(self.never(&principal, *asked, &error, decision).await)
            }
            Err(error) => Err(error.denial().into()),
        }
    }

    /// Lets in a request that has no machine's effect, and records it before anything is shown or done.
    ///
    /// # Errors
    /// [`Denied`]. While nothing can be written, reads by operators go on unrecorded.
    pub async fn witness(&self, ask: &Ask) -> Result<Pass, Denied> {
        if let Some(trial) = &ask.bound.trial {
            return self.witness_trial(ask, trial).await;
        }
        if let Some((bearer, standing, decision)) = self.answered_within_quota(ask).await {
            let (principal, asked) = (bearer.principal().clone(), Box::new(asked(ask, &standing)));
            let (approval, approved, proven) = (None, Approved::default(), BTreeSet::new());
            let command_id = ask.command_id;
            return Ok(Pass { principal, decision, command_id, asked, approval, approved, proven });
        }
        let (pass, mut held) = self.admit(ask, Digest::default()).await?;
        let command = decisions::Command::Answer { asked: (*pass.asked).clone() };
        held.iter_mut().for_each(Held::send);
        let recorded = self.recorded(ask.command_id, &pass.principal, &pass.decision, command).await;
        let reads = policy::action(ask.action).is_some_and(|action| action.reads_only);
        let unrecorded = matches!(recorded, Err(Error::Unwritable(_))) && reads && pass.decision.token.is_none();
        let recorded = recorded.map(|(_, answer)| answer);
        if let Some(held) = held {
            held.end(if unrecorded { Became::Done } else { became(&recorded) });
        }
        // What is not known to be recorded may be by now; a repeat finds out, under the same use.
        self.settle(&pass, recorded.is_ok().then_some(Settlement::Succeeded)).await;
        match recorded {
            Ok(_) => Ok(pass),
            Err(error) if unrecorded => {
                tracing::warn!(code = error.code(), action = ask.action, "a read went unrecorded");
                let at = self.clock.now();
                self.tell(|| Trace::Unrecorded { what: format!("a read: {}", ask.action), at });
                Ok(pass)
            }
            Err(error) => Err(error.denial().into()),
        }
    }

    /// What a trial needs to know on its way is let through, as the whole of it is one question; it ends with what it is of.
    async fn witness_trial(&self, ask: &Ask, trial: &Trial) -> Result<Pass, Denied> {
        let seen = self.foresee(ask, Digest::default()).await?;
        let foreseen = match &seen.verdict {
            Err(denial) => Foreseen::Denied(denial.clone()),
            Ok(decision) if trial.is_on_its_way(ask.action) => {
                let (principal, asked) = (seen.principal.clone(), Box::new(asked(ask, &seen.standing)));
                let (decision, approved) = (decision.clone(), Approved::default());
                let command_id = ask.command_id;
                let proven = BTreeSet::new();
                return Ok(Pass { principal, decision, command_id, asked, approval: None, approved, proven });
            }
            Ok(_) => Foreseen::LetIn,
        };
        Err(self.say(ask, trial, seen, foreseen).await)
    }

    /// Stops everything: in memory first, then in a file, then, if it can, in the journal. The reason is sealed once the door
    /// is shut, as that may wait for a disk; what cannot be sealed in time is not kept.
    ///
    /// # Errors
    /// [`Denied`] unless an operator asks by his own credential. What was not recorded is said in the answer, not an error.
    pub async fn stop<F: Future<Output = Option<Personal>>>(
        &self,
        ask: &Ask,
        reason: impl FnOnce(Principal) -> F,
    ) -> Result<Stopped, Denied> {
        if let Some(trial) = &ask.bound.trial {
            let seen = self.foresee(ask, Digest::default()).await?;
            let foreseen = match &seen.verdict {
                Err(denial) => Foreseen::Denied(denial.clone()),
                Ok(_) => Foreseen::LetIn,
            };
            return Err(self.say(ask, trial, seen, foreseen).await);
        }
        // Not behind the usual gate: a stop must work while machines are down. But where nobody is known yet, because
        // nothing was read yet, an operator is no stranger.
        if self.identity_view.read(|identity| identity.list().next().is_none()) {
            self.ready()?;
        }
        let (principal, decision, asked) = match self.judge(ask) {
            Verdict::Allow { bearer, standing, decision } => {
                (bearer.principal().clone(), decision, Some(Box::new(asked(ask, &standing))))
            }
            Verdict::Deny { by, standing, denial, policy_epoch, generation } => {
                let decision = Decision { policy_epoch, generation, ..Decision::default() };
                return Err(self.deny(ask, by, &standing, denial, decision).await);
            }
        };
        let (mark, kept) = self.seal.shut(&Sealed { by: principal.to_string(), reason: Personal::default() });
        tracing::warn!(code = "door.stopped", by = %principal, "emergency stop: everything is sealed");
        let reason = tokio::time::timeout(REASON_SEALED_WITHIN, reason(principal.clone())).await.ok().flatten();
        let reason = reason.filter(|reason| !reason.is_longer_than(governance::REASON_MAX));
        let reason = reason.unwrap_or_else(|| Personal::plain(UNSEALED));
        let kept = kept.and_then(|()| self.seal.because(mark, reason.clone()));
        let kept = kept.map_err(|error| format!("the seal file could not be written: {error}"));
        let command = governance::Command::Stop { reason, on_behalf_of: String::new() };
        let order = Order { command, command_id: ask.command_id, principal, decision, cause: None, asked };
        let recorded = self.put_on_record_in_time(order).await;
        if let Ok(digest) = recorded {
            self.seal.recorded(mark, digest);
        }
        Ok(Stopped { recorded, kept })
    }

    /// Opens the seal for the operator who names the digest of the stop that is in force.
    ///
    /// # Errors
    /// [`Denied`]; the door stays shut.
    pub async fn resume(&self, ask: &Ask, digest: Digest) -> Result<(), Denied> {
        let command = governance::Command::Resume { digest };
        let content = Handle::<Governance>::digest(&command).map_err(|error| error.denial())?;
        if let Some(trial) = &ask.bound.trial {
            let seen = self.foresee(ask, content).await?;
            let foreseen = self.would(ask, &self.governance, command, &seen).await?;
            return Err(self.say(ask, trial, seen, foreseen).await);
        }
        let (pass, held) = self.admit(ask, content).await?;
        // A stop that was not recorded has no digest, and without one every digest would do.
        self.record_stop().await.map_err(|why| {
            let reason = format!("the stop in force is not recorded, and cannot be now: {why}");
            let remedy = "see `sop status`; repeat once the journal can be written";
            let denial = Denial::new(Layer::Availability, "door.stop_unrecorded", reason, remedy);
            denial.rule("emergency stop").retry_after(Millis(500))
        })?;
        self.carry_out(pass, held, &self.governance, command).await?;
        match self.seal.open(digest) {
            Ok(true) => Ok(()),
            Ok(false) => {
                let reason = "that stop has ended, and another one is in force";
                let remedy = "see `sop status` for its digest, and resume with that under a new command id";
                Err(Denial::new(Layer::Seal, "door.stopped_again", reason, remedy).rule("emergency stop").into())
            }
            Err(error) => {
                let reason = format!("the resume is recorded, but the seal file cannot be removed: {error}");
                let denial = Denial::new(Layer::Availability, "door.seal_stuck", reason, "remove the file and restart");
                Err(denial.rule("emergency stop").into())
            }
        }
    }

    /// Records the stop that only the seal knows, if there is one, so that it has a digest and can be resumed.
    async fn record_stop(&self) -> Result<(), String> {
        let Some((mark, Sealed { by, reason })) = self.seal.unrecorded() else { return Ok(()) };
        let on_behalf_of = by.parse().map_or_else(|_| String::new(), |by: Principal| by.to_string());
        let order = Order {
            command: governance::Command::Stop { reason, on_behalf_of },
            command_id: self.clock.command_id(),
            principal: Principal::internal("door"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        let digest = self.put_on_record_in_time(order).await?;
        self.seal.recorded(mark, digest);
        Ok(())
    }

    async fn put_on_record_in_time(&self, order: Order<governance::Command>) -> Result<Digest, String> {
        let recorded = tokio::time::timeout(STOP_RECORDED_WITHIN, self.put_on_record(order)).await;
        recorded.unwrap_or_else(|_| Err("the journal did not answer in time".to_owned()))
    }

    /// Records a stop, and gives the digest of the one that is in force then.
    async fn put_on_record(&self, order: Order<governance::Command>) -> Result<Digest, String> {
        let mut answer = self.execute_somehow(&self.governance, order.clone()).await;
        while let Err(Error::Overloaded { .. }) = answer {
            // Behind the seal nothing new is asked of governance, so there is room soon.
            tokio::time::sleep(STOP_AGAIN_AFTER).await;
            answer = self.execute_somehow(&self.governance, order.clone()).await;
        }
        if answer.as_ref().is_ok_and(|(_, answer)| answer.repeated) {
            // The answer is of when it was sent first, and that stop may have been resumed since: then it stops again.
            if let Some(digest) = self.governance_view.read(|governance| governance.stop().map(|stop| stop.digest)) {
                return Ok(digest);
            }
            let anew = Order { command_id: self.clock.command_id(), ..order };
            answer = self.execute_somehow(&self.governance, anew).await;
        }
        match answer.map_err(|error| error.to_string())?.1.outcome {
            Ok(governance::Reply::Stopped { digest, .. }) => Ok(digest),
            Ok(reply) => unreachable!("a stop is answered as one, not with {reply:?}"),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    /// Runs a command under its id, or under a new one if that id cannot name it: a stop and a record of a decision must
    /// not hang on the caller's clock.
    async fn execute_somehow<M: Machine>(
        &self,
        machine: &Handle<M>,
        order: Order<M::Command>,
    ) -> Result<(CommandId, Answer<M>), Error>
    where
        M::Command: Clone,
    {
        let id = order.command_id;
        match machine.execute(order.clone()).await {
            Err(Error::IdTaken | Error::Stale { .. } | Error::Untimely { .. }) => {
                let fresh = self.clock.command_id();
                machine.execute(Order { command_id: fresh, ..order }).await.map(|answer| (fresh, answer))
            }
            answered => answered.map(|answer| (id, answer)),
        }
    }

    /// Whether requests can be judged now.
    ///
    /// # Errors
    /// The denial that a request would get.
    pub fn ready(&self) -> Result<(), Denial> {
        is_up(&self.governance)?;
        is_up(&self.identity)?;
        is_up(&self.tokens)?;
        is_up(&self.decisions)
    }

    /// Denials of strangers since the process began: (source, code, count), in order. Beyond [`SOURCES_MAX`] they
    /// are counted together, as [`Source::Others`].
    pub fn strangers(&self) -> Vec<(Source, String, u64)> {
        let count = |entry: dashmap::mapref::multiple::RefMulti<'_, (Source, String), Strangers>| {
            let (source, code) = entry.key();
            (*source, code.clone(), entry.value().total)
        };
        let mut strangers: Vec<_> = self.strangers.iter().map(count).collect();
        strangers.sort_unstable();
        strangers
    }

    /// The compiled policies of the active epoch, and its number.
    pub fn policies(&self) -> (u64, Compiled) {
        let epoch = self.governance_view.read(Governance::active_epoch);
        if let Some((known, compiled)) = &*self.compiled.read().unwrap_or_else(PoisonError::into_inner)
            && *known == epoch
        {
            return (epoch, compiled.clone());
        }
        let (epoch, text) = self.governance_view.read(|now| (now.active_epoch(), now.active_text().to_owned()));
        let compiled = Policies::compile(&text).map(Arc::new).map_err(|problems| {
            let first = problems.first().map(ToString::to_string).unwrap_or_default();
            let reason = format!("the policies of epoch {epoch} are not accepted by this release: {first}");
            let remedy = "go back to the release that accepted them, and activate a policy that both accept";
            Denial::new(Layer::Policy, "policy.unreadable", reason, remedy).rule(format!("epoch {epoch}"))
        });
        *self.compiled.write().unwrap_or_else(PoisonError::into_inner) = Some((epoch, compiled.clone()));
        (epoch, compiled)
    }

    /// Judges, keeps room within the quotas, and spends the token that the request rests on.
    async fn admit(&self, ask: &Ask, content: Digest) -> Result<(Pass, Option<Held<'_>>), Denied> {
        let mut verdict = self.known(ask).await?;
        self.not_too_often(ask, &verdict).await?;
        let mut leave = Leave::default();
        match &verdict {
            Verdict::Deny { by: Some(bearer), denial, .. } if denial.missing.is_some() => {
                match self.judge_with_leave(ask, bearer, denial.clone(), content).await {
                    Ok(again) => (verdict, leave) = again,
                    Err(No::Asked(asked)) => return Err(asked.into()),
                    Err(No::Denied(why)) => {
                        if let Verdict::Deny { denial, .. } = &mut verdict {
                            *denial = why;
                        }
                    }
                }
            }
            Verdict::Allow { .. } if ask.bound.wanted.is_some() => return Err(approving::not_needed().into()),
            Verdict::Allow { .. } if ask.bound.proving.is_some() => return Err(proving::not_needed().into()),
            Verdict::Allow { .. } | Verdict::Deny { .. } => {}
        }
        let Leave { approved, approval: spent, proven, receipts } = leave;
        let (bearer, standing, mut decision) = match verdict {
            Verdict::Allow { bearer, standing, decision } => (bearer, standing, decision),
            Verdict::Deny { by, standing, denial, policy_epoch, generation } => {
                let decision = Decision { policy_epoch, generation, ..Decision::default() };
                return Err(self.deny(ask, by, &standing, denial, decision).await);
            }
        };
        self.take_note(ask, &bearer).await;
        if outcomes::operation(ask.action).is_some()
            && let Some(denial) = operating::full(&self.outcomes.1)
        {
            return Err(self.deny(ask, Some(bearer), &standing, denial, decision).await);
        }
        let held = self.within_quota(ask, &bearer, &standing, &decision).await?;
        let principal = bearer.principal().clone();
        if let Bearer::Token { token, secret, operation, todo, .. } = &bearer {
            if let Err(error) = self.timely(ask.command_id) {
                return Err(self.never(&principal, asked(ask, &standing), &error, decision).await);
            }
            let command = tokens::Command::Consume(consumption(ask, content, (*token, *secret, operation, *todo)));
            let answer = self.tokens.execute(own(&["consume"], ask.command_id, command)).await;
            let answer = match answer {
                Err(error) if is_never(&error) => {
                    return Err(self.never(&principal, asked(ask, &standing), &error, decision).await);
                }
                answer => answer.map_err(|error| error.denial())?,
            };
            let denial = match answer.outcome {
                Ok(tokens::Reply::Consumed(consumption)) if consumption.already => {
                    let reason = "the token paid for this request before, and its outcome is no longer kept";
                    let remedy = "look for the command id with `sop audit show`; new work is a new command id";
                    Some(Denial::new(Layer::Token, "tokens.double_spend", reason, remedy))
                }
                Ok(tokens::Reply::Consumed(consumption)) => {
                    decision.token = Some(consumption.spent);
                    // Consuming took a sync: time enough for a stop, or for the end of a key. The use stays open, as after any
                    // unknown outcome.
                    let stopped = self.seal.get().and_then(|sealed| under(&sealed, ask.action).err());
                    stopped.or_else(|| self.no_longer_carried(ask))
                }
                Ok(reply) => unreachable!("a consumption is answered as one, not with {reply:?}"),
                Err(refusal) => Some(Denial { layer: Layer::Token, ..refusal.denial() }),
            };
            if let Some(denial) = denial {
                let denial = if denial.rule.is_some() { denial } else { denial.rule(format!("token {token}")) };
                return Err(self.deny(ask, Some(bearer), &standing, denial, decision).await);
            }
        }
        if spent.is_some() || receipts.is_some() {
            if let Err(error) = self.timely(ask.command_id) {
                return Err(self.never(&principal, asked(ask, &standing), &error, decision).await);
            }
            // What a token paid stays open if this is refused: the same command may yet be let in.
            let used = self.spend_leave(spent.as_ref(), receipts.as_ref()).await;
            let stopped = || self.seal.get().map_or(Ok(()), |sealed| under(&sealed, ask.action));
            if let Err(denial) = used.and_then(|()| stopped()) {
                return Err(self.deny(ask, Some(bearer), &standing, denial, decision).await);
            }
        }
        let asked = Box::new(asked(ask, &standing));
        let approval = spent.map(|spent| spent.request);
        let command_id = ask.command_id;
        Ok((Pass { principal, decision, command_id, asked, approval, approved, proven }, held))
    }

    /// Judges again what was denied for want of proofs or approvals, with those that there are.
    async fn judge_with_leave(
        &self,
        ask: &Ask,
        bearer: &Bearer,
        denied: Denial,
        content: Digest,
    ) -> Result<(Verdict, Leave), No> {
        let (verdict, proven, receipts) = self.judge_proven(ask, bearer, denied, content).await?;
        match verdict {
            Verdict::Deny { denial, .. } if is_near(&denial) => {
                let judged = self.judge_approved(ask, bearer, denial, content, &proven).await?;
                let (verdict, approved, approval) = judged;
                Ok((verdict, Leave { approved, approval, proven, receipts }))
            }
            verdict => Ok((verdict, Leave { proven, receipts, ..Leave::default() })),
        }
    }

    /// Spends what others gave for it, durably: before the effect.
    async fn spend_leave(&self, approval: Option<&Use>, receipts: Option<&Spend>) -> Result<(), Denial> {
        if let Some(approval) = approval {
            self.spend_approval(approval).await?;
        }
        match receipts {
            Some(receipts) => self.spend_receipts(receipts).await,
            None => Ok(()),
        }
    }

    /// A use is not spent on what the machine could not take up: a command id without a time, or one far ahead of ours.
    fn timely(&self, id: CommandId) -> Result<(), Error> {
        let now = self.clock.now();
        match id.made_at() {
            None => Err(Error::Untimely { by: Millis(0) }),
            Some(made) if now + AHEAD_MAX < made => Err(Error::Untimely { by: made - now }),
            Some(_) => Ok(()),
        }
    }

    pub(crate) fn judge(&self, ask: &Ask) -> Verdict {
        self.judge_with(ask, Approved::default(), &BTreeSet::new())
    }

    /// Judges as if so many had approved exactly this, and that were proven of it.
    pub(crate) fn judge_with(&self, ask: &Ask, approved: Approved, proven: &BTreeSet<String>) -> Verdict {
        self.look(
            (ask.action, &ask.resource, &ask.context),
            (&self.shown(ask), ask.certificate.as_deref(), approved, proven),
            judge,
        )
    }

    /// What would be said of a request that nobody made, and the epoch whose policies say it.
    pub fn suppose(&self, supposed: &Supposed<'_>) -> (u64, Supposition) {
        let about = (supposed.action, supposed.resource.unwrap_or("*"), supposed.context);
        let look = |sight: &Sight<'_>| (sight.governance.active_epoch(), suppose(sight, supposed));
        let said = self.look(about, (&Credential::Nothing, None, Approved::default(), &BTreeSet::new()), look);
        match (said, self.over_quota(supposed.principal, supposed.action)) {
            ((epoch, Supposition::Allowed { .. } | Supposition::Depends { .. }), Some(denial)) => {
                (epoch, Supposition::Denied { denial, by: Vec::new() })
            }
            (said, _) => said,
        }
    }

    /// Shows what is durable.
    fn look<R>(
        &self,
        (action, resource, context): (&str, &str, &BTreeMap<String, Value>),
        (credential, certificate, approved, proven): (&Credential, Option<&Certificate>, Approved, &BTreeSet<String>),
        judged: impl Fn(&Sight<'_>) -> R,
    ) -> R {
        loop {
            let (epoch, policies) = self.policies();
            // Before the state, so that it is never ahead of what is seen.
            let generation = self.governance.durable().0 + self.identity.durable().0 + self.tokens.durable().0;
            let (sealed, now) = (self.seal.get(), self.clock.now());
            let verdict = self.governance_view.read(|governance| {
                let look = |identity: &Identity, tokens: &Tokens| {
                    judged(&Sight {
                        now,
                        governance,
                        identity,
                        tokens,
                        policies: policies.as_deref(),
                        sealed: sealed.as_ref(),
                        generation,
                        action,
                        resource,
                        context,
                        credential: credential.clone(),
                        certificate,
                        approved,
                        proven,
                    })
                };
                let look =
                    || self.identity_view.read(|identity| self.tokens_view.read(|tokens| look(identity, tokens)));
                (governance.active_epoch() == epoch).then(look)
            });
            // Another policy was activated since these were compiled: an epoch never decides by another's.
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
    }

    /// Says what became of a consumed use. Lost in a crash, it is recorded as unknown by the clock.
    async fn settle(&self, pass: &Pass, outcome: Option<Settlement>) {
        let (Some(spent), Some(outcome)) = (pass.decision.token, outcome) else { return };
        let command = tokens::Command::Settle { id: spent.token, number: spent.number, outcome };
        let step = ["settle", &spent.number.to_string()];
        let settled = self.tokens.execute(own(&step, pass.command_id, command)).await;
        if let Err(error) = settled {
            tracing::warn!(code = error.code(), token = %spent.token, "a use stays open until its deadline");
        }
    }

    /// Records the denial of somebody known; counts that of a stranger.
    pub(crate) async fn deny(
        &self,
        ask: &Ask,
        by: Option<Bearer>,
        standing: &Standing,
        denial: Denial,
        decision: Decision,
    ) -> Denied {
        let Some(bearer) = by else {
            let key = (ask.source, denial.code.clone());
            let counted = self.strangers.len() < SOURCES_MAX || self.strangers.contains_key(&key);
            let key = if counted { key } else { (Source::Others, key.1) };
            let ((source, code), last_at) = (key.clone(), self.clock.now());
            let (total, told) = {
                let mut strangers = self.strangers.entry(key).or_default();
                let told = strangers.count(last_at);
                (strangers.total, told)
            };
            // The first, the second, the fourth: a flood is seen, and does not fill the log.
            if total.is_power_of_two() {
                tracing::warn!(code = denial.code, source = %ask.source, count = total, "a stranger was denied");
            }
            if let Some((count, first_at)) = told {
                self.tell(|| Trace::Strangers { source, code, count, first_at, last_at });
            }
            return denial.into();
        };
        self.put_denial_on_record(ask.command_id, bearer.principal(), asked(ask, standing), denial, decision).await
    }

    /// The denial of a request under whose id nothing will ever be done; what has that id already is another's record.
    async fn never(&self, principal: &Principal, asked: Asked, error: &Error, decision: Decision) -> Denied {
        let id = self.clock.command_id();
        self.put_denial_on_record(id, principal, asked, error.denial(), decision).await
    }

    async fn put_denial_on_record(
        &self,
        id: CommandId,
        principal: &Principal,
        asked: Asked,
        denial: Denial,
        decision: Decision,
    ) -> Denied {
        // What permitted it determined nothing.
        let decision = Decision { policies: Vec::new(), ..decision };
        let command = decisions::Command::Deny { asked, denial: denial.clone() };
        let decision = match self.record(id, principal, &decision, command).await {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::warn!(code = error.code(), denied = denial.code, "a denial went unrecorded");
                let (what, at) = (format!("a denial: {}", denial.code), self.clock.now());
                self.tell(|| Trace::Unrecorded { what, at });
                None
            }
        };
        Denied { denial, decision }
    }

    /// Records a decision under the request's id, or under a new one if the request was decided otherwise before.
    async fn record(
        &self,
        id: CommandId,
        principal: &Principal,
        decision: &Decision,
        command: decisions::Command,
    ) -> Result<CommandId, Error> {
        self.recorded(id, principal, decision, command).await.map(|(id, _)| id)
    }

    async fn recorded(
        &self,
        id: CommandId,
        principal: &Principal,
        decision: &Decision,
        command: decisions::Command,
    ) -> Result<(CommandId, Answer<Decisions>), Error> {
        let (principal, decision, asked) =
            (principal.clone(), decision.clone(), Some(Box::new(command.asked().clone())));
        let order = Order { command, command_id: id, principal, decision, cause: None, asked };
        self.execute_somehow(&self.decisions, order).await
    }
}

/// What others gave for a request, and what of it is to be spent if it is let in.
#[derive(Default)]
struct Leave {
    approved: Approved,
    approval: Option<Use>,
    proven: BTreeSet<String>,
    receipts: Option<Spend>,
}

/// The door's own command, under an id derived from the request's: a repeat of the request repeats it too.
fn own<C>(step: &[&str], request: CommandId, command: C) -> Order<C> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(step.join(" ").as_bytes()).update(&request.0.to_be_bytes());
    Order {
        command,
        command_id: CommandId::derived(Digest(*hasher.finalize().as_bytes())),
        principal: Principal::internal("door"),
        decision: Decision::default(),
        cause: None,
        asked: None,
    }
}

/// What an emergency stop reached beyond memory: the journal (the digest that a resume must name), and the seal file.
#[derive(Clone, Debug)]
pub struct Stopped {
    pub recorded: Result<Digest, String>,
    pub kept: Result<(), String>,
}

/// A stop for which governance has no room is asked for again after this, as long as its caller waits.
const STOP_AGAIN_AFTER: std::time::Duration = std::time::Duration::from_millis(10);

/// A stop is answered within this, recorded or not.
const STOP_RECORDED_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// A stop's reason waits for a disk at most so long.
const REASON_SEALED_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// What is kept instead of a reason that could not be sealed.
const UNSEALED: &str = "(the reason could not be sealed, and is not kept)";

/// How far a caller's clock may be ahead of ours: as far as the hosts let it.
const AHEAD_MAX: Millis = Millis::seconds(60);

/// Sources of strangers that are counted one by one.
const SOURCES_MAX: usize = 1_024;

/// An answer as its caller hears it. A refusal is recorded where the facts would have been, under the command's own id.
fn told<M: Machine>(answer: Answer<M>, command_id: CommandId) -> Result<Done<M>, Denied> {
    let Answer { outcome, first, last, repeated } = answer;
    match outcome {
        Ok(reply) => Ok(Done { reply, first, last, repeated }),
        Err(refusal) => Err(Denied { denial: refusal.denial(), decision: Some(command_id) }),
    }
}

/// What the use that paid for a command becomes; `None` while the command may yet be done.
///
/// A repeat of the request holds the same use. So it is given back only once nothing will ever be done under this command
/// id: after an overload, a restart or a failed write the caller repeats, and what was given back would buy two effects.
fn settlement<M: Machine>(answer: &Result<Answer<M>, Error>) -> Option<Settlement> {
    match answer {
        Ok(Answer { outcome: Ok(_), .. }) => Some(Settlement::Succeeded),
        Ok(Answer { outcome: Err(_), .. }) | Err(Error::IdTaken | Error::Stale { .. }) => Some(Settlement::Refused),
        Err(_) => None,
    }
}

/// Whether approvals alone could make an allow of it, or some of them.
fn is_near(denial: &Denial) -> bool {
    denial.missing.as_ref().is_some_and(|missing| missing.approvals != 0)
}

/// Whether nothing will ever be done under that command id.
fn is_never(error: &Error) -> bool {
    matches!(error, Error::IdTaken | Error::Stale { .. } | Error::Untimely { .. })
}

fn is_up<M: Machine>(machine: &Handle<M>) -> Result<(), Denial> {
    if machine.is_up() {
        return Ok(());
    }
    let remedy = "see `sop tree`; repeat with the same command id once it runs";
    let denial = Denial::new(Layer::Availability, "door.not_ready", format!("{} is down", M::NAME), remedy);
    Err(denial.rule(M::NAME).retry_after(Millis(500)))
}

fn asked(ask: &Ask, standing: &Standing) -> Asked {
    Asked::new(ask.action, &ask.resource, &ask.context, standing)
}

/// How a token is consumed for a request.
fn consumption(
    ask: &Ask,
    content: Digest,
    (id, secret, operation, todo): (TokenId, Digest, &str, Option<u64>),
) -> Consume {
    Consume {
        id,
        secret,
        audience: audience(ask.action, &ask.resource).unwrap_or(AUDIENCE).to_owned(),
        operation: operation.to_owned(),
        request: request_digest(ask, content),
        todo,
        artefact: None,
        target: Some(ask.resource.clone()),
        report: None,
    }
}

/// What a bearer form of that token is asked to be good for.
fn sought<'a>(ask: &'a Ask, token: &Token, now: Timestamp) -> Sought<'a> {
    let called = ask.context.get(OPERATION).filter(|_| ask.action == CALL);
    let operation = match called {
        Some(Value::Text(called)) => called,
        _ => ask.action,
    };
    let work = token.grant.todo().map(|_| tokens::TODO_WORK);
    Sought { audience: audience(ask.action, &ask.resource), operation, work, target: &ask.resource, now }
}

/// What a token pays for: this request, under this command id. The same work asked for again is another request.
fn request_digest(ask: &Ask, content: Digest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(ask.action.as_bytes()).update(&[0]).update(ask.resource.as_bytes()).update(&[0]);
    hasher.update(&ask.command_id.0.to_be_bytes()).update(&content.0);
    Digest(*hasher.finalize().as_bytes())
}
