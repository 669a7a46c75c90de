//! What the front has to do with proofs: it has evidence checked for exactly the request that lacks them, keeps the receipt,
//! shows the judge the receipts that there are, and spends them on the command before its effect.
//!
//! A receipt is bound as an approval is: to who asks, to the action and the resource, to what was said, and to what the
//! resource was then.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use host::{Handle, Order};
use kernel::{CommandId, Decision, Denial, Layer, Millis, Missing, Principal, Refuse as _, Timestamp};
use kernel::{Digest, cut};
use proofs::{Checked, Command, Goal, Proofs, Receipt, Refusal, Reply, Spend, State, Verifier, goal_of, signed_text};

use super::approving::{No, bound_to};
use super::{Ask, Door, asked, is_up, own};
use crate::judge::Approved;
use crate::{Bearer, Follower, Verdict};

/// Longest name of a proof that is told of, in bytes.
const TOLD_MAX: usize = 64;

/// Evidence that comes with a request, which is not done then.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// The name of the proof.
    pub proof: String,
    /// None, if it is only to be told what has to be proven.
    pub given: Option<Arc<[u8]>>,
    /// The arguments of the request that are texts.
    pub arguments: Arc<BTreeMap<String, String>>,
    /// What came of it.
    pub came: Arc<OnceLock<Came>>,
}

/// What comes of evidence, or of asking for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// This is to be proven, and it is checked so.
    Goal { goal: Box<Goal>, verifier: Box<Verifier> },
    /// It is proven.
    Receipt { receipt: u64, goal: Digest, expires_at: Timestamp },
}

/// What is checked, and how.
#[derive(Clone, Copy, Debug)]
pub struct Checking<'a> {
    pub verifier: &'a Verifier,
    pub goal: &'a Goal,
    /// Names this check, and no other.
    pub check: CommandId,
    pub evidence: &'a [u8],
    pub arguments: &'a BTreeMap<String, String>,
}

/// Something to come.
pub type Promise<'a, T> = Pin<Box<dyn Future<Output = Result<T, Denial>> + Send + 'a>>;

/// Checks evidence, and stands for what was checked.
pub trait Gate: Send + Sync {
    /// Whether the evidence proves the goal, looked at now.
    ///
    /// # Errors
    /// A denial, also where that cannot be known now.
    fn check<'a>(&'a self, checking: Checking<'a>) -> Promise<'a, ()>;

    /// The signed text, under the authority's key.
    ///
    /// # Errors
    /// A denial, if it cannot be signed now.
    fn sign(&self, text: String) -> Promise<'_, String>;

    /// Whether the authority signed this receipt, with what counts still; none if that cannot be known now.
    fn is_signed(&self, receipt: &Receipt) -> Option<bool>;
}

/// All that the front needs for it.
pub(super) struct Proving {
    proofs: Handle<Proofs>,
    view: Arc<Follower<Proofs>>,
    gate: Box<dyn Gate>,
    /// How long a receipt is good.
    lifetime: Millis,
}

/// What the judge says with what is proven, and the receipts that are to be spent if it is let in.
pub(super) type Judged = (Verdict, BTreeSet<String>, Option<Spend>);

impl Door {
    /// With proofs; without, what needs them is denied.
    #[must_use]
    pub fn with_proofs(
        self,
        proofs: Handle<Proofs>,
        view: Arc<Follower<Proofs>>,
        gate: Box<dyn Gate>,
        lifetime: Millis,
    ) -> Self {
        Self { proving: Some(Proving { proofs, view, gate, lifetime }), ..self }
    }

    /// Who proved something for this command, if receipts are spent on it.
    pub(super) fn prover_for(&self, command: CommandId) -> Option<Principal> {
        self.proving.as_ref()?.view.read(|proofs| proofs.holder(command).cloned())
    }

    /// Judges again what was denied, with what is proven of exactly this.
    pub(super) async fn judge_proven(
        &self,
        ask: &Ask,
        bearer: &Bearer,
        denied: Denial,
        content: Digest,
    ) -> Result<Judged, No> {
        let nothing = || (self.judge(ask), BTreeSet::new(), None);
        let (Some(proving), Some(approving), Some(missing)) = (&self.proving, &self.approving, denied.missing.clone())
        else {
            return Ok(nothing());
        };
        // Who asks for approvals need not have proven it yet.
        if ask.bound.wanted.is_some() {
            return Ok(nothing());
        }
        if let Some(evidence) = &ask.bound.proving {
            return Err(self.take(ask, bearer, denied, content, evidence).await);
        }
        let (resource, content) = bound_to(ask, content);
        let mut spend = Spend {
            receipts: BTreeSet::new(),
            asker: bearer.principal().clone(),
            action: ask.action.to_owned(),
            resource: resource.to_owned(),
            content,
            target: None,
            command: ask.command_id,
        };
        let mut names = proving.view.read(|proofs| proofs.proven(&spend));
        names.extend(missing.proofs.iter().cloned());
        if names.is_empty() {
            return Ok(nothing());
        }
        is_up(&proving.proofs)?;
        spend.target = approving.target(ask).await?;
        let (mut proven, mut because) = (BTreeSet::new(), None);
        for name in names {
            match proving.find(&name, &spend, self.now()) {
                Ok(Some(receipt)) => {
                    spend.receipts.insert(receipt.number);
                    proven.insert(name);
                }
                Ok(None) => {}
                Err(no) => because = because.or_else(|| missing.proofs.contains(&name).then_some((name, no))),
            }
        }
        let mut verdict = self.judge_with(ask, Approved::default(), &proven);
        if let Verdict::Deny { denial, .. } = &mut verdict
            && let Some(missing) = denial.missing.clone().filter(|missing| !missing.proofs.is_empty())
        {
            *denial = match because.filter(|(name, _)| missing.proofs.contains(name)) {
                Some((name, no)) => no.denial(&name, denial.clone()),
                // Where approvals are missing, too, those are said first.
                None => to_be_proven(&missing, denial.clone()),
            };
        }
        Ok((verdict, proven, Some(spend).filter(|spend| !spend.receipts.is_empty())))
    }

    /// Takes evidence for a request that is denied for want of it, or says what has to be proven. Nothing else is done.
    async fn take(&self, ask: &Ask, bearer: &Bearer, denied: Denial, content: Digest, given: &Evidence) -> No {
        match self.taken(ask, bearer, &denied, content, given).await {
            Ok(asked) => asked,
            Err(denial) => No::Denied(Denial { missing: denied.missing, ..denial }),
        }
    }

    async fn taken(
        &self,
        ask: &Ask,
        bearer: &Bearer,
        denied: &Denial,
        content: Digest,
        given: &Evidence,
    ) -> Result<No, Denial> {
        let (Some(proving), Some(approving)) = (&self.proving, &self.approving) else { return Err(denied.clone()) };
        let with = |proofs: BTreeSet<String>| self.judge_with(ask, Approved::default(), &proofs);
        let helps = match with([given.proof.clone()].into()) {
            Verdict::Allow { .. } => true,
            Verdict::Deny { denial, .. } => denial.missing != denied.missing,
        };
        if !helps {
            let what = cut(&given.proof, TOLD_MAX);
            let reason = format!("{}; proof of {what:?} would not change that", denied.reason);
            return Err(Denial { code: "proofs.not_needed".to_owned(), reason, ..denied.clone() });
        }
        is_up(&proving.proofs)?;
        let asker = bearer.principal();
        // Given again, after it was spent on this very command: what became of that is for the command itself to learn.
        let held = proving.view.read(|proofs| proofs.held(ask.command_id, &given.proof, self.now()));
        if let Some(held) = held.filter(|held| given.given.is_some() && held.asker == *asker) {
            let Checked { goal, expires_at, .. } = held.checked;
            let _ = given.came.set(Came::Receipt { receipt: held.number, goal, expires_at });
            return Ok(No::Asked(received(held.number)));
        }
        let worded = |refusal: Refusal| Unfit::of(refusal).denial(&given.proof, denied.clone());
        let declared = proving.view.read(|proofs| proofs.declared(&given.proof).cloned()).map_err(worded)?;
        let (resource, content) = bound_to(ask, content);
        let mut checked = Checked {
            proof: given.proof.clone(),
            revision: declared.revision,
            action: ask.action.to_owned(),
            resource: resource.to_owned(),
            content,
            target: approving.target(ask).await?,
            goal: Digest::default(),
            evidence: Digest::default(),
            expires_at: Timestamp(0),
            note: String::new(),
        };
        let goal = goal_of(asker, &checked);
        checked.goal = goal.digest();
        let Some(evidence) = &given.given else {
            // Said twice, it is the same.
            let _ = given.came.set(Came::Goal { goal: Box::new(goal), verifier: Box::new(declared.verifier) });
            let missing = denied.missing.clone().unwrap_or_default();
            return Ok(No::Denied(to_be_proven(&missing, denied.clone())));
        };
        let check = self.clock.command_id();
        let (verifier, arguments) = (&declared.verifier, &*given.arguments);
        let checking = Checking { verifier, goal: &goal, check, evidence, arguments };
        proving.gate.check(checking).await.map_err(|no| {
            let reason = format!("{}; of {:?}, {}", denied.reason, given.proof, no.reason);
            Denial { layer: Layer::Policy, reason, rule: denied.rule.clone(), ..no }
        })?;
        checked.evidence = Digest(*blake3::hash(evidence).as_bytes());
        checked.expires_at = self.now() + proving.lifetime;
        checked.note = proving.gate.sign(signed_text(check, asker, &checked)).await?;
        let (decision, request) = match self.judge(ask) {
            Verdict::Deny { standing, policy_epoch, generation, .. } => {
                // Whom proofs keep from it may give evidence.
                let policies = vec!["capability:proof".to_owned()];
                (Decision { policy_epoch, generation, policies, token: None }, asked(ask, &standing))
            }
            Verdict::Allow { .. } => return Err(not_needed()),
        };
        let order = Order {
            command: Command::Receive(Box::new(checked)),
            command_id: check,
            principal: asker.clone(),
            decision,
            cause: None,
            asked: Some(Box::new(request)),
        };
        let outcome = proving.proofs.execute(order).await.map_err(|error| error.denial())?.outcome;
        match outcome.map_err(worded)? {
            Reply::Received { receipt, expires_at } => {
                let _ = given.came.set(Came::Receipt { receipt, goal: goal.digest(), expires_at });
                Ok(No::Asked(received(receipt)))
            }
            reply => unreachable!("what comes in is answered as that, not with {reply:?}"),
        }
    }

    /// Spends receipts on their command, durably: before the effect.
    pub(super) async fn spend_receipts(&self, spend: &Spend) -> Result<(), Denial> {
        let Some(proving) = &self.proving else { return Ok(()) };
        let target = spend.target.map(|target| target.to_string()).unwrap_or_default();
        let receipts: Vec<_> = spend.receipts.iter().map(ToString::to_string).collect();
        let receipts = receipts.join(" ");
        let order = own(&["proof", &receipts, &target], spend.command, Command::Spend(spend.clone()));
        let refusal = match proving.proofs.execute(order).await.map_err(|error| error.denial())?.outcome {
            Ok(Reply::Spent) => return Ok(()),
            Ok(reply) => unreachable!("spending is answered as that, not with {reply:?}"),
            Err(refusal) => refusal,
        };
        let proofs = proving.view.read(|proofs| {
            let shown = spend.receipts.iter().filter_map(|number| proofs.show(*number, self.now()));
            shown.map(|receipt| receipt.checked.proof).collect()
        });
        let denial = Denial { layer: Layer::Policy, ..refusal.denial() };
        Err(denial.rule(format!("receipt {receipts}")).missing(Missing { proofs, ..Missing::default() }))
    }

    /// Gives receipts back: nothing will ever be done under this command id.
    pub(super) async fn release_receipts(&self, command: CommandId) {
        let Some(proving) = &self.proving else { return };
        let answer = proving.proofs.execute(own(&["disproof"], command, Command::Release { command })).await;
        if let Err(error) = answer {
            tracing::warn!(code = error.code(), %command, "receipts are not given back");
        }
    }
}

impl Proving {
    /// The receipt of a proof that can be spent on exactly this, if there is any receipt of it.
    fn find(&self, proof: &str, spend: &Spend, now: Timestamp) -> Result<Option<Receipt>, Unfit> {
        let (found, akin) = self.view.read(|proofs| {
            let about = (spend.action.as_str(), spend.resource.as_str());
            (proofs.find(proof, spend, now), proofs.akin(proof, &spend.asker, about, now))
        });
        let Some(receipt) = found else {
            return akin
                .map_or(Ok(None), |akin| Err(Unfit { receipt: Some(akin.number), no: Refusal::OtherContent.into() }));
        };
        let held = receipt.is_held_by(spend.command);
        let unfit = |no| Err(Unfit { receipt: Some(receipt.number), no });
        if let Some(refusal) = receipt.obstacle().filter(|_| !held) {
            return unfit(refusal.into());
        }
        // What was spent in time is nothing for an effect that comes later.
        if receipt.checked.expires_at <= now {
            return unfit(Refusal::Expired { at: receipt.checked.expires_at }.into());
        }
        if receipt.checked.target != spend.target {
            return unfit(Refusal::Stale.into());
        }
        let goal = goal_of(&receipt.asker, &receipt.checked).digest();
        if goal != receipt.checked.goal {
            return unfit(Why::Forged);
        }
        match self.gate.is_signed(&receipt) {
            Some(true) => {}
            Some(false) => return unfit(Why::Forged),
            None => return unfit(Why::Unchecked),
        }
        debug_assert!(held || receipt.state == State::Live, "what has no obstacle can be spent");
        Ok(Some(receipt))
    }
}

/// A receipt that there is cannot be used, and why.
struct Unfit {
    receipt: Option<u64>,
    no: Why,
}

enum Why {
    Refused(Refusal),
    /// It is not what the authority signed.
    Forged,
    /// Nobody can tell now whether it is.
    Unchecked,
}

impl From<Refusal> for Why {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl Unfit {
    fn of(refusal: Refusal) -> Self {
        Self { receipt: None, no: Why::Refused(refusal) }
    }
}

impl Unfit {
    fn denial(&self, proof: &str, denied: Denial) -> Denial {
        let (code, why, remedy) = match &self.no {
            Why::Refused(refusal) => (refusal.code(), refusal.to_string(), refusal.remedy()),
            Why::Unchecked => {
                let remedy = "repeat the command in a moment, or prove it again; if it stays so, see `sop health`";
                ("proofs.unchecked", "whether the authority signed it cannot be told now".to_owned(), remedy.to_owned())
            }
            Why::Forged => {
                let remedy = "prove it again; an operator looks at `sop audit verify`, as nobody but the authority signs receipts";
                ("proofs.forged", "the receipt is not what the authority signed".to_owned(), remedy.to_owned())
            }
        };
        let which =
            self.receipt.map_or_else(|| format!("of {proof:?}"), |number| format!("of {proof:?}, receipt {number}"));
        Denial { code: code.to_owned(), reason: format!("{}; {which}: {why}", denied.reason), remedy, ..denied }
    }
}

fn received(receipt: u64) -> Denial {
    let reason = format!("it is proven, and nothing was done: receipt {receipt}");
    Denial::new(Layer::Policy, "proofs.received", reason, "give the command itself")
}

/// For a request that was given with evidence, and that nothing keeps from being done.
pub(super) fn not_needed() -> Denial {
    let reason = "this needs no proof; nothing was done";
    Denial::new(Layer::Decide, "proofs.not_needed", reason, "give the command without --prove")
        .rule("evidence is taken where a proof is missing")
}

fn to_be_proven(missing: &Missing, denied: Denial) -> Denial {
    let name = missing.proofs.first().map_or("NAME", String::as_str);
    let remedy = format!(
        "give the same command with --prove {name}=EVIDENCE, the file that proves it; --prove {name} alone shows what has to be proven"
    );
    Denial { remedy, ..denied }
}
