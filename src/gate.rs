//! What the door's proof gate rests on: evidence is checked here, now, and what was checked is signed under the key of the log.
//!
//! # Invariants
//! 1. Nothing is remembered from one check to the next: each reads, asks and judges anew.
//! 2. A prover is waited for as long as its declaration says, and no more of its answer is read than an answer can have.
//! 3. A receipt that the keystore signed, too, with a key that is revoked since a record before it is none.
//! 4. A recorded decision counts by its record, and by what the policies that are active now say of it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use checks::{Failure, external, signature};
use crypto::Purpose;
use door::{Checking, Follower, Promise, judge_again};
use evidence::Evidence;
use governance::Governance;
use host::Clock;
use journal::envelope::Record;
use journal::store::StoreError;
use journal::{Journal, codec};
use kernel::{CommandId, Machine as _, Millis, Position, Refuse as _, Sequence};
use policy::Policies;
use proofs::{Event, Expected, Proofs, Receipt, Verifier};

use crate::beside::{Judged, Said, Signer};
use crate::decided::{self, Verdict};

/// The body of an answer, or why there is none.
type Posted = Pin<Box<dyn Future<Output = Result<Vec<u8>, Failure>> + Send>>;

/// Sends a question to an address, and reads [`external::ANSWER_MAX`] bytes at most.
type Post = Arc<dyn Fn(String, String) -> Posted + Send + Sync>;

/// Records read at once when looking for one.
const CHUNK: u64 = 256;

/// Checks evidence, and stands for what was checked.
pub struct Gate {
    clock: Clock,
    journal: Journal,
    evidence: Evidence,
    signer: Arc<Signer>,
    governance: Arc<Follower<Governance>>,
    post: Post,
}

impl Gate {
    pub fn new(
        clock: &Clock,
        journal: &Journal,
        evidence: &Evidence,
        signer: &Arc<Signer>,
        governance: &Arc<Follower<Governance>>,
    ) -> Self {
        Self {
            clock: clock.clone(),
            journal: journal.clone(),
            evidence: evidence.clone(),
            signer: signer.clone(),
            governance: governance.clone(),
            post: post(),
        }
    }

    async fn checked(&self, checking: Checking<'_>) -> Result<(), Failure> {
        let Checking { verifier, goal, check, evidence, arguments } = checking;
        checks::bounded(evidence)?;
        match verifier {
            Verifier::Digest { algorithm, expected } => {
                let expected = match expected {
                    Expected::Pinned(digest) => *digest,
                    Expected::Argument(name) => {
                        let digest = arguments.get(name).and_then(|digest| digest.parse().ok());
                        digest.ok_or_else(|| Failure::NoArgument { argument: name.clone() })?
                    }
                };
                checks::content(*algorithm, expected, evidence)
            }
            Verifier::Manifest { files } => checks::manifest(files, evidence),
            Verifier::Signature { root } => signature::check(root, goal, evidence, self.clock.now()),
            Verifier::PolicyTrace { action, within } => self.traced(action, *within, evidence).await,
            Verifier::External { url, kernel, key, timeout } => {
                let question = external::question(goal, *kernel, check, evidence);
                let asked = (self.post)(url.clone(), question);
                let answer = tokio::time::timeout(Duration::from_millis(timeout.0), asked).await;
                let answer = answer.map_err(|_| Failure::TimedOut { within: *timeout })??;
                external::judge(key, goal, *kernel, check, &answer)
            }
        }
    }

    /// The record that has a receipt.
    fn record_of(&self, receipt: &Receipt) -> Result<Option<Sequence>, StoreError> {
        let mut before = self.journal.stream_heads()?.get(Proofs::NAME).map_or(0, |head| head.version.0);
        while 0 < before {
            let from = before.saturating_sub(CHUNK - 1).max(1);
            let records = self.journal.read_stream(Proofs::NAME, Position(from), Position(before), usize::MAX)?;
            let over = records.first().is_some_and(|first| first.time < receipt.at);
            let is_it = |record: &Record| matches!(codec::fact(record), Ok(Some(Event::Received(body))) if body.check == receipt.check);
            if let Some(record) = records.into_iter().rev().find(is_it) {
                return Ok(Some(record.sequence));
            }
            if over {
                break;
            }
            before = from - 1;
        }
        Ok(None)
    }

    /// Is it the id of a decision that allowed `action`, and would be made again?
    async fn traced(&self, action: &str, within: Option<Millis>, evidence: &[u8]) -> Result<(), Failure> {
        let text = String::from_utf8_lossy(evidence);
        let malformed = |error: kernel::Malformed| Failure::Malformed { what: error.to_string() };
        let id: CommandId = text.trim().parse().map_err(malformed)?;
        let text = self.governance.read(|governance| governance.active_text().to_owned());
        let (journal, now, action) = (self.journal.clone(), self.clock.now(), action.to_owned());
        blocking(move || {
            let unchecked = |why: String| Failure::Unchecked { why };
            let record = decided::of_command(&journal, id).map_err(|error| unchecked(error.to_string()))?;
            let record = record.ok_or_else(|| Failure::NoDecision { id: id.to_string() })?;
            let other = |what: &str| Failure::OtherDecision { what: what.to_owned() };
            let asked = record.asked.as_ref().ok_or_else(|| other("recorded without what was asked"))?;
            if asked.action() != action {
                return Err(other(&format!("one about {}, not about {action}", asked.action())));
            }
            match decided::verdict(&record) {
                Some(Verdict::Allowed) => {}
                Some(Verdict::Refused) => return Err(other("an allow of what was refused then")),
                Some(Verdict::Denied(_)) => return Err(other("a denial")),
                None => return Err(other("none by the door")),
            }
            if decided::is_by_capability(&record) {
                return Err(other("none by a policy"));
            }
            if let Some(within) = within.filter(|within| record.time + *within <= now) {
                return Err(Failure::DecidedTooLongAgo { within });
            }
            let policies = Policies::compile(&text)
                .map_err(|problems| unchecked(problems.first().map(ToString::to_string).unwrap_or_default()))?;
            let principal = record.principal.parse().map_err(|_| other("by nobody"))?;
            match judge_again(&policies, &principal, asked) {
                Ok((judgement, None)) if judgement.allowed => Ok(()),
                Ok((_, why)) => {
                    Err(Failure::NotAllowedNow { why: why.map_or("no policy permits it", |why| why.code()).to_owned() })
                }
                Err(why) => Err(Failure::NotAllowedNow { why }),
            }
        })
        .await
    }
}

impl door::Gate for Gate {
    fn check<'a>(&'a self, checking: Checking<'a>) -> Promise<'a, ()> {
        Box::pin(async move { self.checked(checking).await.map_err(|failure| failure.denial()) })
    }

    fn sign(&self, text: String) -> Promise<'_, String> {
        let evidence = self.evidence.clone();
        Box::pin(async move {
            let signed = blocking(move || {
                evidence.receipt(&text).map_err(|error| Failure::Unchecked { why: error.to_string() })
            });
            signed.await.map_err(|failure| failure.denial())
        })
    }

    fn is_signed(&self, receipt: &Receipt) -> Option<bool> {
        let note = &receipt.checked.note;
        // A key that is not known yet may be one that is revoked.
        let key = self.evidence.public().ok().filter(|_| self.signer.knows_keys())?;
        // Where it cannot be found out, it is of the newest.
        let record = || self.record_of(receipt).ok().flatten().map_or(u64::MAX, |record| record.0);
        let counts = |judged: Judged| matches!(judged.said, Said::Counts { .. } | Said::Unknown);
        let is_ours = self.evidence.is_receipt(note, &receipt.text()).unwrap_or(false);
        Some(is_ours && self.signer.judged(Purpose::Receipts, key.name(), record, note).into_iter().all(counts))
    }
}

#[expect(clippy::disallowed_methods, reason = "signing and reading wait for the disk; they end by themselves")]
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Failure> + Send + 'static) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Failure::Unchecked { why: error.to_string() })?
}

#[cfg(feature = "http")]
fn post() -> Post {
    let outward = http::Outward::new(None);
    Arc::new(move |address, text| {
        let outward = outward.clone();
        Box::pin(async move {
            match outward.post(&address, text, external::ANSWER_MAX).await {
                Ok((200, body)) => Ok(body),
                Ok((status, _)) => Err(Failure::Garbage { what: format!("it answers with status {status}") }),
                Err(http::Lost::TooLong) => Err(Failure::Oversized { max: external::ANSWER_MAX }),
                Err(http::Lost::Failed(why)) => Err(Failure::Unreachable { why }),
            }
        })
    })
}

#[cfg(not(feature = "http"))]
fn post() -> Post {
    let why = "this program was built without the feature http";
    Arc::new(move |_, _| Box::pin(async move { Err(Failure::Unreachable { why: why.to_owned() }) }))
}
