//! What does not end with its first record: begun at the door, before its effect, and closed there by what became of it.

use std::time::Duration;

use host::Error;
use kernel::{CommandId, Denial, Layer, Millis, Refuse as _, Timestamp};
use tokio::time::Instant;

use super::own;
use crate::outcomes::{Command, Ended, Outcomes, Refusal, Reply};
use crate::{Ask, Denied, Door, Follower};

/// What was begun at the door. Never closed, it is unknown after its deadline.
#[derive(Debug)]
#[must_use = "what is not closed is unknown after its deadline"]
pub struct UnderWay {
    number: u64,
}

/// How long it is tried to record what became of something while its machine is down.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);

/// Between two tries.
const CLOSE_AGAIN_AFTER: Duration = Duration::from_millis(100);

impl Door {
    /// What is durable of operations under way.
    pub fn outcomes_view(&self) -> &Follower<Outcomes> {
        &self.outcomes.1
    }

    /// Lets in a request with an effect outside of all machines, and records that before the effect.
    ///
    /// # Errors
    /// [`Denied`], also while as many are under way as may be.
    pub async fn begin(&self, ask: &Ask) -> Result<UnderWay, Denied> {
        let command = Command::Open { action: ask.action.to_owned(), resource: ask.resource.clone() };
        let done = self.perform(ask, &self.outcomes.0, command).await?;
        let Reply::Opened { number } = done.reply else { unreachable!("an opening is answered as one") };
        Ok(UnderWay { number })
    }

    /// Records what became of it. What cannot be recorded is unknown after its deadline.
    pub async fn close(&self, UnderWay { number }: UnderWay, ended: Ended) {
        let order = own(&["close", &number.to_string()], CommandId(0), Command::Close { number, ended });
        let until = Instant::now() + CLOSED_WITHIN;
        while let Err(error) = self.outcomes.0.execute(order.clone()).await {
            let may_pass = matches!(error, Error::Overloaded { .. } | Error::Down { .. } | Error::Unknown { .. });
            if !may_pass || until <= Instant::now() {
                tracing::warn!(code = error.code(), number, "what became of an operation went unrecorded");
                return;
            }
            tokio::time::sleep(CLOSE_AGAIN_AFTER).await;
        }
    }

    /// Lets in a request, does what it asks for, and records what became of that.
    ///
    /// # Errors
    /// [`Denied`], before or by the work.
    pub async fn operate<T>(&self, ask: &Ask, work: impl Future<Output = Result<T, Denied>>) -> Result<T, Denied> {
        let under_way = self.begin(ask).await?;
        let done = work.await;
        let ended = match &done {
            Ok(_) => Ended::Succeeded,
            Err(Denied { denial, .. }) => Ended::Failed { code: denial.code.clone() },
        };
        self.close(under_way, ended).await;
        done
    }

    /// At the start: what an earlier process had begun here, and did not live to close, is unknown.
    pub async fn forsake(&self, began: Timestamp) {
        if self.outcomes_view().read(|outcomes| outcomes.open().next().is_none()) {
            return;
        }
        let order = own(&["forsake", &began.0.to_string()], CommandId(0), Command::Forsake { before: began });
        if let Err(error) = self.outcomes.0.execute(order).await {
            tracing::warn!(code = error.code(), "what an earlier process left open stays so until its deadline");
        }
    }
}

/// Why nothing more that goes on is let in.
pub(super) fn full(outcomes: &Follower<Outcomes>) -> Option<Denial> {
    let open = outcomes.read(|outcomes| outcomes.is_full().then(|| outcomes.open().count()))?;
    let refusal = Refusal::Full { open: open as u64 };
    let denial = Denial::new(Layer::Limit, refusal.code(), refusal.to_string(), refusal.remedy());
    Some(denial.rule("outcomes").retry_after(Millis::seconds(1)))
}
