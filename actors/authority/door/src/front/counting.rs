//! What the front has to do with quotas: keeps room for a request before anything is spent on it, and says what became of it.

use std::sync::Arc;
use std::time::Duration;

use host::{Answer, Error, Handle};
use journal::Journal;
use kernel::{Decision, Denial, Digest, Machine, Principal};
use policy::Standing;
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::{Ask, Denied, Door, asked};
use crate::quotas::{Became, Held, Quotas, Room, uncounted};
use crate::{Bearer, Decisions, Used, Verdict, decisions};

/// Who finds the last of a quota under way waits so long for what becomes of it.
const ENDED_WITHIN: Duration = Duration::from_secs(2);

/// All that the front needs for it.
#[derive(Default)]
pub(super) struct Counting {
    pub quotas: Arc<Quotas>,
    /// One counts, and the others wait.
    at_it: Arc<Mutex<()>>,
}

impl Door {
    /// With what an earlier process recorded: it is used of the quotas, too.
    #[must_use]
    pub fn with_past(self, journal: &Journal) -> Self {
        self.counting.quotas.uncounted(journal.clone());
        self
    }

    /// Counts what an earlier process let in, if that was not done yet: once identity is up, and before any quota is held
    /// against anybody.
    ///
    /// # Errors
    /// A denial, if it cannot be known now.
    pub async fn counted(&self) -> Result<(), Denial> {
        if self.counting.quotas.is_counted() || self.identity.is_up() && self.quotas().is_none() {
            return Ok(());
        }
        self.ready()?;
        let alone = self.counting.at_it.clone().lock_owned().await;
        self.quotas();
        let (quotas, now) = (self.counting.quotas.clone(), self.now());
        let work = move || {
            // Goes on, and lets no other begin, when who asked stops waiting.
            let _alone = alone;
            quotas.count(now)
        };
        #[expect(clippy::disallowed_methods, reason = "it reads only, and ends by itself")]
        let counted = tokio::task::spawn_blocking(work).await;
        match counted {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => {
                tracing::warn!(code = "door.quota_uncounted", %error, "what is used of the quotas cannot be counted");
                Err(uncounted())
            }
            Err(_) => Err(uncounted()),
        }
    }

    /// Whether there are any, and those that there are.
    fn quotas(&self) -> Option<&Quotas> {
        let quotas = &*self.counting.quotas;
        quotas.any(&self.identity, &self.identity_view).then_some(quotas)
    }

    /// What is used of the quotas: of all, by those who used some; or of those that cover one principal, by that one.
    ///
    /// # Errors
    /// A denial, if it cannot be known now.
    pub async fn used_of_quotas(&self, of: Option<&Principal>) -> Result<Vec<Used>, Denial> {
        let Some(quotas) = self.quotas() else { return Ok(Vec::new()) };
        self.counted().await?;
        quotas.used(of, self.now()).ok_or_else(uncounted)
    }

    /// The no that such a request would get by a quota; takes nothing of it.
    pub(super) fn over_quota(&self, principal: &Principal, action: &str) -> Option<Denial> {
        if !self.identity.is_up() {
            return None;
        }
        self.quotas()?.used_up(principal, action, self.now()).map(|used_up| used_up.denial())
    }

    /// Keeps room for a request that is let in otherwise, where a quota is of it.
    pub(super) async fn within_quota(
        &self,
        ask: &Ask,
        bearer: &Bearer,
        standing: &Standing,
        decision: &Decision,
    ) -> Result<Option<Held<'_>>, Denied> {
        let Some(quotas) = self.quotas() else { return Ok(None) };
        let (principal, until) = (bearer.principal(), Instant::now() + ENDED_WITHIN);
        loop {
            let ended = quotas.ended();
            tokio::pin!(ended);
            ended.as_mut().enable();
            match quotas.hold(principal, (ask.command_id, ask.action), &decision.policies, &self.clock) {
                Room::Uncovered => return Ok(None),
                Room::Held(held) => return Ok(Some(held)),
                Room::Uncounted => self.counted().await?,
                Room::Busy(busy) => {
                    if tokio::time::timeout_at(until, ended).await.is_err() {
                        return Err(busy.busy().into());
                    }
                }
                Room::UsedUp(used_up) => {
                    let (denial, number) = (used_up.denial(), used_up.number);
                    if number == 1 {
                        return Err(self.deny(ask, Some(bearer.clone()), standing, denial, decision.clone()).await);
                    }
                    if number.is_power_of_two() {
                        tracing::warn!(code = denial.code, %principal, number, "a quota is used up, and asked for");
                    }
                    return Err(denial.into());
                }
            }
        }
    }

    /// What was done under this command id stays answered, though no use is left: it took one then.
    pub(super) async fn done_within_quota<M: Machine>(
        &self,
        ask: &Ask,
        machine: &Handle<M>,
        content: Digest,
    ) -> Option<Answer<M>> {
        let (bearer, ..) = self.over_quota_now(ask).await?;
        machine.recall_first(ask.command_id, content, bearer.principal()).await.ok().flatten()
    }

    /// The same, of a question.
    pub(super) async fn answered_within_quota(&self, ask: &Ask) -> Option<(Bearer, Standing, Decision)> {
        let (bearer, standing, decision) = self.over_quota_now(ask).await?;
        let command = decisions::Command::Answer { asked: asked(ask, &standing) };
        let content = Handle::<Decisions>::digest(&command).ok()?;
        let first = self.decisions.recall_first(ask.command_id, content, bearer.principal()).await.ok()??;
        first.outcome.is_ok().then_some((bearer, standing, decision))
    }

    /// Who asks, if it is a quota alone that keeps him from it.
    async fn over_quota_now(&self, ask: &Ask) -> Option<(Bearer, Standing, Decision)> {
        // Seldom are there any.
        if !ask.bound.does() || self.quotas().is_none() {
            return None;
        }
        self.counted().await.ok()?;
        match self.judge(ask) {
            Verdict::Allow { bearer, standing, decision } => {
                self.over_quota(bearer.principal(), ask.action)?;
                Some((bearer, standing, decision))
            }
            Verdict::Deny { .. } => None,
        }
    }
}

/// What became of a request, for the quotas.
pub(super) fn became<M: Machine>(answer: &Result<Answer<M>, Error>) -> Became {
    match answer {
        Ok(Answer { outcome: Ok(_), repeated: false, .. }) => Became::Done,
        // It was done: only how it was answered is lost.
        Ok(Answer { outcome: Ok(_), .. }) | Err(Error::AnswerLost { .. }) => Became::Repeated,
        Ok(Answer { outcome: Err(_), .. }) => Became::Refused,
        Err(Error::Unknown { .. }) => Became::Unknown,
        Err(_) => Became::Nothing,
    }
}
