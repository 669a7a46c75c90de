//! Who else sees the log: the witnesses that are configured, how they are asked, and how they stand.

use std::sync::Arc;
use std::time::Duration;

use config::Config;
use evidence::{Evidence, Witness, Witnesses};
use gaps::Kind;
use gaps::detect::{Live, Seen};
use kernel::{Millis, Timestamp};
use workers::watch::Source;
use workers::witness::{Post, Trouble, Witnessing};

use crate::boot::Parts;

/// While a witness has not seen everything, it is looked at so often whether it saw something else.
const LOOK_EVERY: Millis = Millis::seconds(5);

/// Whose cosignatures count, and how many must be there.
pub fn named(config: &Config) -> Witnesses {
    let all = config.log.witnesses.iter().map(|witness| Witness::new(&witness.name, witness.key)).collect();
    Witnesses { all, quorum: config.log.quorum }
}

/// The worker that asks them.
pub fn asking(config: &Config, evidence: &Evidence) -> Witnessing {
    let addresses = config.log.witnesses.iter().map(|witness| witness.address.clone()).collect();
    Witnessing::new(evidence, addresses, post(config))
}

#[cfg(feature = "http")]
fn post(config: &Config) -> Post {
    use workers::witness::{ANSWER_MAX, Answer};

    let outward = http::Outward::new(config.log.witness_ca.as_deref());
    Arc::new(move |address, text| {
        let outward = outward.clone();
        Box::pin(async move {
            let answer = outward.post(&address, text, ANSWER_MAX).await;
            let (status, body) = answer.map_err(|lost| lost.to_string())?;
            Ok(Answer { status, body })
        })
    })
}

#[cfg(not(feature = "http"))]
fn post(_: &Config) -> Post {
    Arc::new(|_, _| Box::pin(async { Err("this program was built without the feature http".to_owned()) }))
}

/// What becomes a gap: a witness that saw another history.
pub fn source(witnessing: &Witnessing, evidence: &Evidence) -> Source {
    let (witnessing, evidence) = (witnessing.clone(), evidence.clone());
    let look = move |now: Timestamp| {
        let (standing, signed) = (witnessing.standing(), evidence.sizes().borrow().0);
        let mut live = Live::default();
        for witness in standing {
            if witness.address.is_some() && witness.seen.is_none_or(|(seen, _)| seen < signed) {
                live.next = Some(now + LOOK_EVERY);
            }
            if let Some(Trouble { other_history: true, what, .. }) = witness.trouble {
                live.seen.push(Seen { kind: Kind::LogDisputed, subject: witness.name, detail: what });
            }
        }
        Box::pin(async { Ok(live) }) as workers::watch::Looking
    };
    Source { kinds: &[Kind::LogDisputed], look: Arc::new(look) }
}

/// For how long the oldest record has waited for the quorum that no checkpoint with it covers; none if it waits for
/// nothing. What was recorded before this process began counts from then: nobody was there to ask.
pub fn waiting(parts: &Parts, now: Timestamp) -> Option<Millis> {
    let since = parts.evidence.uncosigned_since()?;
    Some(now - since.max(parts.began))
}

/// Waits, not for long, until a checkpoint with the quorum covers so many records.
pub async fn cosigned(parts: &Parts, records: u64) {
    const PATIENCE: Duration = Duration::from_secs(5);
    let mut sizes = parts.evidence.sizes();
    // Whoever is asked next says what is missing.
    let _ = tokio::time::timeout(PATIENCE, sizes.wait_for(|(_, cosigned)| records <= *cosigned)).await;
}
