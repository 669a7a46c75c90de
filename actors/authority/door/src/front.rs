//! The front: shows the judge what is durable, spends tokens, runs commands, keeps the record.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use dashmap::DashMap;
use governance::Governance;
use host::{Answer, Clock, Error, Handle, Order};
use kernel::{CommandId, Decision, Denial, Digest, Layer, Machine, Millis, Principal, Refuse, Sequence};
use policy::{Policies, Value};
use tokens::{Consume, Settlement, Tokens};

use crate::decisions::{self, Asked, Decisions};
use crate::{AUDIENCE, Bearer, Follower, Seal, Sealed, Secret, Sight, Verdict, judge};

/// A request at the door.
#[derive(Clone, Debug)]
pub struct Ask {
    /// One of [`policy::ACTIONS`], or `system.stop` or `system.resume`.
    pub action: &'static str,
    /// What it is about; `*` where no single thing is meant.
    pub resource: String,
    /// The action's attributes, without `via_token`.
    pub context: BTreeMap<String, Value>,
    pub credential: Option<Secret>,
    pub command_id: CommandId,
    /// Where it came from, for counting strangers: the peer's user id.
    pub source: u32,
}

/// A request that was let in.
#[derive(Clone, Debug)]
pub struct Pass {
    pub principal: Principal,
    pub decision: Decision,
    command_id: CommandId,
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    pub denial: Denial,
    pub decision: Option<CommandId>,
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, decision: None }
    }
}

/// The door. One for the whole authority.
pub struct Door {
    pub clock: Clock,
    pub governance: Handle<Governance>,
    pub governance_view: Arc<Follower<Governance>>,
    pub tokens: Handle<Tokens>,
    pub tokens_view: Arc<Follower<Tokens>>,
    pub decisions: Handle<Decisions>,
    pub seal: Seal,
    compiled: RwLock<Option<(u64, Arc<Policies>)>>,
    strangers: DashMap<(u32, String), u64>,
}

impl Door {
    pub fn new(
        clock: Clock,
        governance: (Handle<Governance>, Arc<Follower<Governance>>),
        tokens: (Handle<Tokens>, Arc<Follower<Tokens>>),
        decisions: Handle<Decisions>,
        seal: Seal,
    ) -> Self {
        Self {
            clock,
            governance: governance.0,
            governance_view: governance.1,
            tokens: tokens.0,
            tokens_view: tokens.1,
            decisions,
            seal,
            compiled: RwLock::new(None),
            strangers: DashMap::new(),
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
        let pass = self.admit(ask, content).await?;
        let order = Order {
            command,
            command_id: ask.command_id,
            principal: pass.principal.clone(),
            decision: pass.decision.clone(),
            cause: None,
        };
        let answer = machine.execute(order).await;
        self.settle(&pass, settlement(&answer)).await;
        match answer {
            Ok(Answer { outcome: Ok(reply), first, last, repeated }) => Ok(Done { reply, first, last, repeated }),
            // The refusal is recorded where the facts would have been, under the command's own id.
            Ok(Answer { outcome: Err(refusal), .. }) => {
                Err(Denied { denial: refusal.denial(), decision: Some(ask.command_id) })
            }
            Err(error) => Err(error.denial().into()),
        }
    }

    /// Lets in a request that has no machine's effect, and records it before anything is shown or done.
    ///
    /// # Errors
    /// [`Denied`]. While the journal cannot be written, reads by operators go on unrecorded.
    pub async fn witness(&self, ask: &Ask) -> Result<Pass, Denied> {
        let pass = self.admit(ask, Digest::default()).await?;
        let command = decisions::Command::Answer { asked: asked(ask) };
        let recorded = self.record(ask.command_id, &pass.principal, &pass.decision, command).await;
        self.settle(&pass, recorded.as_ref().ok().map(|_| Settlement::Succeeded).or(Some(Settlement::Refused))).await;
        let reads = policy::action(ask.action).is_some_and(|action| action.reads_only);
        match recorded {
            Ok(_) => Ok(pass),
            Err(error) if reads && pass.decision.token.is_none() => {
                tracing::warn!(code = error.code(), action = ask.action, "a read went unrecorded");
                Ok(pass)
            }
            Err(error) => Err(error.denial().into()),
        }
    }

    /// Stops everything: in memory first, then in a file, then, if it can, in the journal.
    ///
    /// # Errors
    /// [`Denied`] unless an operator asks. What was not recorded is said in the answer, not an error.
    pub async fn stop(&self, ask: &Ask, reason: &str) -> Result<Stopped, Denied> {
        // Not behind the usual gate: a stop must work while machines are down.
        let (principal, decision) = match self.judge(ask) {
            Ok(Verdict::Allow { bearer, decision }) => (bearer.principal().clone(), decision),
            Ok(Verdict::Deny { by, denial, policy_epoch }) => {
                return Err(self.deny(ask, by, denial, policy_epoch).await);
            }
            Err(denial) => return Err(denial.into()),
        };
        // A reason that is too long must not keep anybody from stopping.
        let reason: String = reason.chars().take(governance::REASON_MAX).collect();
        let sealed = Sealed { by: principal.to_string(), reason: reason.clone() };
        let kept = self.seal.shut(&sealed).map_err(|error| format!("the seal file could not be written: {error}"));
        tracing::warn!(code = "door.stopped", by = %principal, reason = reason.as_str(), "emergency stop: everything is sealed");
        let command = governance::Command::Stop { reason };
        let order = Order { command, command_id: ask.command_id, principal, decision, cause: None };
        let recorded = tokio::time::timeout(STOP_RECORDED_WITHIN, self.governance.execute(order)).await;
        let recorded = match recorded {
            Ok(Ok(Answer { outcome: Ok(governance::Reply::Stopped { digest, .. }), .. })) => Ok(digest),
            Ok(Ok(Answer { outcome: Ok(reply), .. })) => unreachable!("a stop is answered as one, not with {reply:?}"),
            Ok(Ok(Answer { outcome: Err(refusal), .. })) => Err(refusal.to_string()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the journal did not answer in time".to_owned()),
        };
        Ok(Stopped { recorded, kept })
    }

    /// Opens the seal for the operator who names the digest of the stop that is in force.
    ///
    /// # Errors
    /// [`Denied`]; the door stays shut.
    pub async fn resume(&self, ask: &Ask, digest: Digest) -> Result<(), Denied> {
        let command = governance::Command::Resume { digest };
        self.perform(ask, &self.governance, command).await?;
        self.seal.open().map_err(|error| {
            let reason = format!("the resume is recorded, but the seal file cannot be removed: {error}");
            Denied::from(Denial::new(Layer::Availability, "door.seal_stuck", reason, "remove the file and restart"))
        })
    }

    /// Records a stop that only the seal file knows, so that it can be resumed. Called when governance is up.
    ///
    /// # Errors
    /// The host's, if it cannot be recorded now.
    pub async fn record_stop(&self) -> Result<(), Error> {
        let Some(Sealed { by, reason }) = self.seal.get() else { return Ok(()) };
        let reason: String =
            format!("{reason} (by {by}, found in the seal file)").chars().take(governance::REASON_MAX).collect();
        let order = Order {
            command: governance::Command::Stop { reason },
            command_id: self.clock.command_id(),
            principal: Principal::internal("door"),
            decision: Decision::default(),
            cause: None,
        };
        self.governance.execute(order).await.map(|_| ())
    }

    /// Whether requests can be judged now.
    ///
    /// # Errors
    /// The denial that a request would get.
    pub fn ready(&self) -> Result<(), Denial> {
        let parts = [
            (Governance::NAME, self.governance.is_up()),
            (Tokens::NAME, self.tokens.is_up()),
            (Decisions::NAME, self.decisions.is_up()),
        ];
        match parts.into_iter().find(|(_, up)| !up) {
            None => Ok(()),
            Some((name, _)) => {
                let remedy = "see `sop tree`; repeat with the same command id once it runs";
                let denial = Denial::new(Layer::Availability, "door.not_ready", format!("{name} is down"), remedy);
                Err(denial.rule(name).retry_after(Millis(500)))
            }
        }
    }

    /// Denials of strangers since the process began: (source user id, code, count), in order.
    pub fn strangers(&self) -> Vec<(u32, String, u64)> {
        let count = |entry: dashmap::mapref::multiple::RefMulti<'_, (u32, String), u64>| {
            let (source, code) = entry.key();
            (*source, code.clone(), *entry.value())
        };
        let mut strangers: Vec<_> = self.strangers.iter().map(count).collect();
        strangers.sort_unstable();
        strangers
    }

    /// The compiled policies of the active epoch.
    ///
    /// # Errors
    /// A denial if the text, once validated, is not accepted by this release.
    pub fn policies(&self) -> Result<Arc<Policies>, Denial> {
        let epoch = self.governance_view.read(Governance::active_epoch);
        if let Some((compiled, policies)) = &*self.compiled.read().unwrap_or_else(PoisonError::into_inner)
            && *compiled == epoch
        {
            return Ok(policies.clone());
        }
        let (epoch, text) = self.governance_view.read(|now| (now.active_epoch(), now.active_text().to_owned()));
        match Policies::compile(&text) {
            Ok(policies) => {
                let policies = Arc::new(policies);
                *self.compiled.write().unwrap_or_else(PoisonError::into_inner) = Some((epoch, policies.clone()));
                Ok(policies)
            }
            Err(problems) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                let reason = format!("the policies of epoch {epoch} are not accepted by this release: {first}");
                let remedy = "go back to the release that accepted them, and activate a policy that both accept";
                Err(Denial::new(Layer::Policy, "policy.unreadable", reason, remedy).rule(format!("epoch {epoch}")))
            }
        }
    }

    /// Judges, and spends the token that the request rests on.
    async fn admit(&self, ask: &Ask, content: Digest) -> Result<Pass, Denied> {
        self.ready()?;
        let (bearer, mut decision) = match self.judge(ask)? {
            Verdict::Allow { bearer, decision } => (bearer, decision),
            Verdict::Deny { by, denial, policy_epoch } => return Err(self.deny(ask, by, denial, policy_epoch).await),
        };
        let principal = bearer.principal().clone();
        if let Bearer::Token { token, operation, todo, .. } = &bearer {
            let secret = ask.credential.as_ref().map(Secret::digest).unwrap_or_default();
            let consume = Consume {
                id: *token,
                secret,
                audience: AUDIENCE.to_owned(),
                operation: operation.clone(),
                request: request_digest(ask, content),
                todo: *todo,
                artefact: None,
            };
            let command = tokens::Command::Consume(consume);
            let answer = self.tokens.execute(self.own("consume", ask.command_id, command)).await;
            let consumption = match answer.map_err(|error| error.denial())?.outcome {
                Ok(tokens::Reply::Consumed(consumption)) => consumption,
                Ok(reply) => unreachable!("a consumption is answered as one, not with {reply:?}"),
                Err(refusal) => {
                    let denial = Denial { layer: Layer::Token, ..refusal.denial() }.rule(format!("token {token}"));
                    return Err(self.deny(ask, Some(bearer), denial, decision.policy_epoch).await);
                }
            };
            if consumption.already {
                let reason = "the token already paid for this request, under another command id";
                let remedy = "repeat with the first command id to get its outcome";
                let denial =
                    Denial::new(Layer::Token, "tokens.double_spend", reason, remedy).rule(format!("token {token}"));
                return Err(self.deny(ask, Some(bearer), denial, decision.policy_epoch).await);
            }
            decision.token = Some(consumption.spent);
        }
        Ok(Pass { principal, decision, command_id: ask.command_id })
    }

    fn judge(&self, ask: &Ask) -> Result<Verdict, Denial> {
        let policies = self.policies()?;
        let sealed = self.seal.get();
        let generation = self.governance.durable().0 + self.tokens.durable().0;
        let now = self.clock.now();
        Ok(self.governance_view.read(|governance| {
            self.tokens_view.read(|tokens| {
                judge(&Sight {
                    now,
                    governance,
                    tokens,
                    policies: &policies,
                    sealed: sealed.as_ref(),
                    generation,
                    action: ask.action,
                    resource: &ask.resource,
                    context: &ask.context,
                    credential: ask.credential.as_ref().map(Secret::digest),
                })
            })
        }))
    }

    /// Says what became of a consumed use. Lost in a crash, it is recorded as unknown by the clock.
    async fn settle(&self, pass: &Pass, outcome: Option<Settlement>) {
        let (Some(spent), Some(outcome)) = (pass.decision.token, outcome) else { return };
        let command = tokens::Command::Settle { id: spent.token, number: spent.number, outcome };
        let settled = self.tokens.execute(self.own("settle", pass.command_id, command)).await;
        if let Err(error) = settled {
            tracing::warn!(code = error.code(), token = %spent.token, "a use stays open until its deadline");
        }
    }

    /// The door's own command, under an id derived from the request's: a repeat of the request repeats it too.
    fn own(&self, step: &str, request: CommandId, command: tokens::Command) -> Order<tokens::Command> {
        let mut hasher = blake3::Hasher::new();
        hasher.update(step.as_bytes()).update(&request.0.to_be_bytes());
        Order {
            command,
            command_id: CommandId::derived(Digest(*hasher.finalize().as_bytes())),
            principal: Principal::internal("door"),
            decision: Decision::default(),
            cause: None,
        }
    }

    /// Records the denial of somebody known; counts that of a stranger.
    async fn deny(&self, ask: &Ask, by: Option<Bearer>, denial: Denial, policy_epoch: u64) -> Denied {
        let Some(bearer) = by else {
            let mut count = self.strangers.entry((ask.source, denial.code.clone())).or_default();
            *count += 1;
            // The first, the second, the fourth: a flood is seen, and does not fill the log.
            if count.is_power_of_two() {
                tracing::warn!(code = denial.code, source = ask.source, count = *count, "a stranger was denied");
            }
            return denial.into();
        };
        let decision = Decision { policy_epoch, ..Decision::default() };
        let command = decisions::Command::Deny { asked: asked(ask), denial: denial.clone(), policy_epoch };
        let recorded = self.record(ask.command_id, bearer.principal(), &decision, command).await;
        let decision = match recorded {
            Ok(id) => Some(id),
            Err(error) => {
                tracing::warn!(code = error.code(), denied = denial.code, "a denial went unrecorded");
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
        let order = |command_id, command| Order {
            command,
            command_id,
            principal: principal.clone(),
            decision: decision.clone(),
            cause: None,
        };
        match self.decisions.execute(order(id, command.clone())).await {
            Err(Error::IdTaken | Error::Stale { .. } | Error::Untimely { .. }) => {
                let fresh = self.clock.command_id();
                self.decisions.execute(order(fresh, command)).await.map(|_| fresh)
            }
            answered => answered.map(|_| id),
        }
    }
}

/// What an emergency stop reached beyond memory: the journal (the digest that a resume must name), and the seal file.
#[derive(Clone, Debug)]
pub struct Stopped {
    pub recorded: Result<Digest, String>,
    pub kept: Result<(), String>,
}

/// A stop is answered within this, recorded or not.
const STOP_RECORDED_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// What the use that paid for a command becomes; `None` while nobody knows.
fn settlement<M: Machine>(answer: &Result<Answer<M>, Error>) -> Option<Settlement> {
    match answer {
        Ok(Answer { outcome: Ok(_), .. }) => Some(Settlement::Succeeded),
        Err(Error::Unknown { .. } | Error::AnswerLost { .. }) => None,
        Ok(Answer { outcome: Err(_), .. }) | Err(_) => Some(Settlement::Refused),
    }
}

fn asked(ask: &Ask) -> Asked {
    let context = ask.context.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
    Asked { action: ask.action.to_owned(), resource: ask.resource.clone(), context }
}

/// What a token pays for: this request, under this command id. The same work asked for again is another request.
fn request_digest(ask: &Ask, content: Digest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(ask.action.as_bytes()).update(&[0]).update(ask.resource.as_bytes()).update(&[0]);
    hasher.update(&ask.command_id.0.to_be_bytes()).update(&content.0);
    Digest(*hasher.finalize().as_bytes())
}
