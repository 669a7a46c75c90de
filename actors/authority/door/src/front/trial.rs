//! Trials: a request goes the way of any other, up to where something would be done or spent. What would come of it is said,
//! and the question is on record.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use host::Handle;
use kernel::{
    Asked, Attribute, CommandId, Context, Decision, Denial, Digest, Kind, Layer, Machine, Principal, Recorded as _,
    Refuse as _, Standing, Writer,
};
use serde::Serialize;

use super::approving::No;
use super::{Ask, Denied, Door, asked, consumption};
use crate::{Bearer, Verdict, decisions};

/// How the question is called on record.
pub const TRY: &str = "request.try";

/// Say what would come of it, and do nothing.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What is tried.
    action: &'static str,
    told: Arc<OnceLock<Tried>>,
}

/// What would come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    pub principal: Principal,
    pub asked: Asked,
    pub foreseen: Foreseen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Foreseen {
    Denied(Denial),
    /// It would be let in, and the machine would refuse it.
    Refused(Denial),
    /// It is so already.
    Nothing,
    /// These kinds of records.
    Changed(Vec<&'static str>),
    /// It would be let in; what comes of it, no machine decides.
    LetIn,
}

/// What a record is called, and nothing of it.
struct Name;

impl Writer for Name {
    type Done = &'static str;

    fn put<T: Serialize>(self, kind: Kind, _: &T) -> &'static str {
        kind.name
    }
}

impl Trial {
    pub fn of(action: &'static str) -> Self {
        Self { action, told: Arc::default() }
    }

    /// What came of it; nothing if it did not get so far.
    pub fn told(&self) -> Option<&Tried> {
        self.told.get()
    }

    /// Whether something else is asked first than what is tried.
    pub(super) fn is_on_its_way(&self, action: &str) -> bool {
        self.action != action
    }
}

/// How far a request would get.
pub(super) struct Seen {
    pub principal: Principal,
    pub standing: Standing,
    pub verdict: Result<Decision, Denial>,
    decision: Decision,
}

impl Door {
    /// Judges as a request is judged, with the approvals and proofs that there are, and spends nothing.
    pub(super) async fn foresee(&self, ask: &Ask, content: Digest) -> Result<Seen, Denied> {
        let mut verdict = self.known(ask).await?;
        self.not_too_often(ask, &verdict).await?;
        if let Verdict::Deny { by: Some(bearer), denial, .. } = &verdict
            && denial.missing.is_some()
        {
            match self.judge_with_leave(ask, bearer, denial.clone(), content).await {
                Ok((again, _)) => verdict = again,
                Err(No::Asked(why)) => return Err(why.into()),
                Err(No::Denied(why)) => {
                    if let Verdict::Deny { denial, .. } = &mut verdict {
                        *denial = why;
                    }
                }
            }
        }
        self.counted().await?;
        Ok(match verdict {
            Verdict::Allow { bearer, standing, decision } => {
                let over = self.over_quota(bearer.principal(), ask.action).map_or(Ok(()), Err);
                let verdict = over.and_then(|()| self.payable(ask, &bearer, content)).map(|()| decision.clone());
                Seen { principal: bearer.principal().clone(), standing, verdict, decision }
            }
            Verdict::Deny { by, standing, denial, policy_epoch, generation } => {
                let Some(bearer) = by else { return Err(denial.into()) };
                let decision = Decision { policy_epoch, generation, ..Decision::default() };
                Seen { principal: bearer.principal().clone(), standing, verdict: Err(denial), decision }
            }
        })
    }

    /// Whether the token has a use left for it.
    fn payable(&self, ask: &Ask, bearer: &Bearer, content: Digest) -> Result<(), Denial> {
        let Bearer::Token { token, secret, operation, todo, .. } = bearer else { return Ok(()) };
        let command = tokens::Command::Consume(consumption(ask, content, (*token, *secret, operation, *todo)));
        let cx = Context {
            now: self.now(),
            command_id: ask.command_id,
            principal: Principal::internal("door"),
            decision: Decision::default(),
        };
        let decided = self.tokens_view.read(|tokens| tokens.decide(&command, &cx).map(drop));
        decided.map_err(|refusal| Denial { layer: Layer::Token, ..refusal.denial() })
    }

    /// What `machine` would decide, from its state as it is now.
    pub(super) async fn would<M: Machine>(
        &self,
        ask: &Ask,
        machine: &Handle<M>,
        command: M::Command,
        seen: &Seen,
    ) -> Result<Foreseen, Denied> {
        let decision = match &seen.verdict {
            Ok(decision) => decision.clone(),
            Err(denial) => return Ok(Foreseen::Denied(denial.clone())),
        };
        let content = Handle::<M>::digest(&command).map_err(|error| error.denial())?;
        let done = machine.recall_first(ask.command_id, content, &seen.principal).await;
        if done.map_err(|error| error.denial())?.is_some() {
            return Ok(Foreseen::Nothing);
        }
        let cx = Context { now: self.now(), command_id: ask.command_id, principal: seen.principal.clone(), decision };
        let look = move |machine: &M| {
            // A command that the machine cannot take ends no incarnation of it here: it is a question.
            let decided = catch_unwind(AssertUnwindSafe(|| machine.decide(&command, &cx)));
            decided.ok().map(|outcome| match outcome {
                Ok(outcome) if outcome.events.is_empty() => Foreseen::Nothing,
                Ok(outcome) => Foreseen::Changed(outcome.events.iter().map(|event| event.write(Name)).collect()),
                Err(refusal) => Foreseen::Refused(refusal.denial()),
            })
        };
        let foreseen = machine.inspect(look).await.map_err(|error| error.denial())?;
        foreseen.ok_or_else(|| {
            let reason = format!("{} fails at it", M::NAME);
            let remedy = "do not give this command: it would be answered with a fault; see the log";
            Denial::new(Layer::Availability, "host.fault", reason, remedy).into()
        })
    }

    /// Puts the question on record, and says what came of it. It is a no to the command, whatever was foreseen.
    pub(super) async fn say(&self, ask: &Ask, trial: &Trial, seen: Seen, foreseen: Foreseen) -> Denied {
        let Seen { principal, standing, decision, .. } = seen;
        let about: BTreeMap<_, _> = [("asked".to_owned(), Attribute::from(ask.action))].into();
        let question = decisions::Command::Answer { asked: Asked::new(TRY, &ask.resource, &about, &standing) };
        let decision = Decision { policies: vec!["capability:self".to_owned()], ..decision };
        // Under an id of its own: that of the command is for the command.
        let id: CommandId = self.clock.command_id();
        if let Err(error) = self.record(id, &principal, &decision, question).await {
            return error.denial().into();
        }
        // Said twice, it is the same.
        let _ = trial.told.set(Tried { principal, asked: asked(ask, &standing), foreseen });
        let reason = "it was tried, and nothing was done";
        Denied {
            denial: Denial::new(Layer::Decide, "request.tried", reason, "see what was foreseen"),
            decision: Some(id),
        }
    }
}
