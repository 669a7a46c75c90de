//! Governance: who the operators are, which policy decides, and whether everything is stopped.
//!
//! A pure [`Machine`]. Policies come in immutable *epochs*: a text is proposed, checked and numbered once, and is then
//! activated, or not; every decision names the epoch it was made under. Epoch 0 is [built in](BUILT_IN), so that there
//! is a first policy under which the next can be proposed. The state holds texts only: whoever judges compiles
//! [`Governance::active_text`] outside, once an activation.
//!
//! # Invariants
//! 1. A number names one text for ever.
//! 2. What is active once passed strict validation, and when it was activated, some operator could propose and activate
//!    its successor.
//! 3. There is exactly one bootstrap.
//! 4. A stop ends only by an operator who names its digest.
//! 5. What came of proving something of an epoch is what somebody claims, of that epoch's own text; the last word of each
//!    counts. What somebody claims a counterexample for is activated by who says that he knows.
//! 6. [`evolve`](Machine::evolve) compiles nothing.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{Context, Digest, Kin, Machine, Outcome, Position, Principal, Timestamp};
use policy::{Policies, Problem, Question, Standing};
use serde::{Deserialize, Serialize};

pub use vocabulary::{
    Activation, CLAIM_BYTES_MAX, CLAIMANTS_MAX, Claim, Claimed, Command, Epoch, Event, GOALS_MAX, Goal, MESSAGE_MAX,
    PROBLEMS_MAX, PROPOSALS_MAX, REASON_MAX, Refusal, Reply, Shown, Stop, TEXTS_MAX, Verdict,
};

/// Epoch 0: operators may see to the policies, and nothing else is allowed to anybody.
pub const BUILT_IN: &str = include_str!("built_in.cedar");

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Governance {
    operators: BTreeMap<Principal, Operator>,
    /// Epoch 1 is the first.
    proposals: Vec<Proposal>,
    active: u64,
    /// What was active before, oldest first, as far as it can be rolled back to.
    before: Vec<u64>,
    history: Vec<Activation>,
    stop: Option<Stop>,
    /// How many there have been.
    stops: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Operator {
    credential: Digest,
    since: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Proposal {
    text: String,
    digest: Digest,
    author: Principal,
    at: Timestamp,
    /// The last one of each.
    claims: BTreeMap<Principal, Claimed>,
}

impl Machine for Governance {
    const NAME: &'static str = "governance";
    const REVISION: u32 = 3;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let (by, at) = (cx.principal.to_string(), cx.now);
        match command {
            Command::Bootstrap { operator: name, credential } => match Principal::new(Kin::Operator, name) {
                _ if !self.operators.is_empty() => Err(Refusal::Bootstrapped),
                Err(malformed) => Err(Refusal::MalformedName { name: malformed.text }),
                Ok(operator) => {
                    let body = records::BootstrappedV1 { operator: operator.to_string(), credential: *credential, at };
                    Ok(Outcome::new(vec![Event::Bootstrapped(body)], Reply::Bootstrapped { operator }))
                }
            },
            Command::Propose { text } => {
                let digest = digest_of(text);
                if let Some(epoch) = self.number_of(digest) {
                    return Ok(Outcome::already(Reply::Proposed { epoch, digest }));
                }
                let size: usize = self.proposals.iter().map(|proposal| proposal.text.len()).sum();
                if self.proposals.len() >= PROPOSALS_MAX || size.saturating_add(text.len()) > TEXTS_MAX {
                    return Err(Refusal::Full);
                }
                compiled(text)?;
                let number = self.next_number();
                let body = records::ProposedV1 { number, text: text.clone(), digest, author: by, at };
                Ok(Outcome::new(vec![Event::Proposed(body)], Reply::Proposed { epoch: number, digest }))
            }
            Command::Claim { epoch, claim } => self.claim(*epoch, claim, cx),
            &Command::Activate { epoch, expected_active, despite_counterexample } => {
                let text = self.text(epoch).ok_or(Refusal::UnknownEpoch { epoch })?;
                if epoch == self.active {
                    // Also for one who expected another: a retry finds its own work done.
                    return Ok(Outcome::already(Reply::Active { epoch }));
                }
                self.expect(expected_active)?;
                if !despite_counterexample {
                    self.is_without_counterexample(epoch)?;
                }
                self.keeps_a_way_on(epoch, text)?;
                let body = records::ActivatedV1 { epoch, replaced: self.active, by, at };
                Ok(Outcome::new(vec![Event::Activated(body)], Reply::Active { epoch }))
            }
            &Command::Rollback { expected_active } => {
                self.expect(expected_active)?;
                let epoch = *self.before.last().ok_or(Refusal::NothingBefore)?;
                self.keeps_a_way_on(epoch, self.text(epoch).expect("what was active exists"))?;
                let body = records::RolledBackV1 { epoch, replaced: self.active, by, at };
                Ok(Outcome::new(vec![Event::RolledBack(body)], Reply::Active { epoch }))
            }
            Command::Stop { reason, on_behalf_of } => {
                let length = reason.characters();
                if let Some(Stop { number, digest, .. }) = self.stop {
                    return Ok(Outcome::already(Reply::Stopped { number, digest }));
                }
                if reason.is_longer_than(REASON_MAX) || Principal::TEXT_MAX < on_behalf_of.len() {
                    return Err(Refusal::ReasonTooLong { length: counted(length) });
                }
                let number = self.stops + 1;
                let digest = Stop::digest_of(number, &cx.principal, on_behalf_of, reason, at);
                let (reason, on_behalf_of) = (reason.clone(), on_behalf_of.clone());
                let body = records::StoppedV2 { number, by, on_behalf_of, reason, at, digest };
                Ok(Outcome::new(vec![Event::Stopped(body)], Reply::Stopped { number, digest }))
            }
            Command::Resume { digest } => match &self.stop {
                _ if cx.principal.kin != Kin::Operator => Err(Refusal::OperatorsOnly),
                None => Ok(Outcome::already(Reply::Running)),
                Some(stop) if stop.digest != *digest => Err(Refusal::DigestMismatch { number: stop.number }),
                Some(stop) => {
                    let body = records::ResumedV1 { number: stop.number, by, at };
                    Ok(Outcome::new(vec![Event::Resumed(body)], Reply::Running))
                }
            },
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event.clone() {
            Event::Bootstrapped(records::BootstrappedV1 { operator, credential, at }) => {
                assert!(self.operators.is_empty(), "there is one bootstrap");
                self.operators.insert(recorded(&operator), Operator { credential, since: at });
            }
            Event::Proposed(records::ProposedV1 { number, text, digest, author, at }) => {
                assert_eq!(number, self.next_number(), "proposals are numbered without a gap");
                let (author, claims) = (recorded(&author), BTreeMap::new());
                self.proposals.push(Proposal { text, digest, author, at, claims });
            }
            Event::Claimed(records::ClaimedV1 { epoch, text, against, solver, goals, by, at }) => {
                let place = usize::try_from(epoch - 1).expect("an epoch has a place");
                let proposal = self.proposals.get_mut(place).expect("only of what was proposed something is claimed");
                assert_eq!(proposal.digest, text, "what is claimed is about the epoch's own text");
                let goal = |records::GoalV1 { property, verdict, detail }| Goal {
                    property,
                    verdict: Verdict::of(verdict),
                    detail,
                };
                let claim = Claim { text, against, solver, goals: goals.into_iter().map(goal).collect() };
                let by = recorded(&by);
                proposal.claims.insert(by.clone(), Claimed { claim, by, at });
            }
            Event::Activated(records::ActivatedV1 { epoch, replaced, by, at }) => {
                self.before.push(self.active);
                self.put_in_force(Activation { epoch, replaced, by: recorded(&by), at, rolled_back: false });
            }
            Event::RolledBack(records::RolledBackV1 { epoch, replaced, by, at }) => {
                assert_eq!(self.before.pop(), Some(epoch), "a rollback leads to what was active before");
                self.put_in_force(Activation { epoch, replaced, by: recorded(&by), at, rolled_back: true });
            }
            Event::Stopped(records::StoppedV2 { number, by, on_behalf_of, reason, at, digest }) => {
                assert_eq!(self.stop, None, "only what runs is stopped");
                assert_eq!(number, self.stops + 1, "stops are numbered without a gap");
                self.stops = number;
                self.stop = Some(Stop { number, by: recorded(&by), on_behalf_of, reason, at, digest });
            }
            Event::Resumed(records::ResumedV1 { number, .. }) => {
                let ended = self.stop.take().map(|stop| stop.number);
                assert_eq!(ended, Some(number), "the stop in force is the one that ends");
            }
        }
    }
}

impl Governance {
    /// The number of the epoch that decides; 0 is the one that is built in.
    pub fn active_epoch(&self) -> u64 {
        self.active
    }

    /// Its text, for the view that judges to compile.
    pub fn active_text(&self) -> &str {
        self.text(self.active).expect("what is active exists")
    }

    /// All epochs by number, the one that is built in first.
    pub fn epochs(&self) -> impl Iterator<Item = Epoch> {
        (0..self.next_number()).map(|number| self.epoch(number).expect("epochs are numbered without a gap"))
    }

    pub fn show(&self, number: u64) -> Option<Shown> {
        let claims = self.claims(number).cloned().collect();
        Some(Shown { epoch: self.epoch(number)?, text: self.text(number)?.to_owned(), claims })
    }

    /// What is claimed to have come of proving something of an epoch: of each who does, the last, by name.
    pub fn claims(&self, number: u64) -> impl Iterator<Item = &Claimed> {
        self.proposal(number).into_iter().flat_map(|proposal| proposal.claims.values())
    }

    /// Every change of the active epoch, oldest first.
    pub fn history(&self) -> &[Activation] {
        &self.history
    }

    pub fn operators(&self) -> impl Iterator<Item = &Principal> {
        self.operators.keys()
    }

    /// The emergency stop that is in force.
    pub fn stop(&self) -> Option<&Stop> {
        self.stop.as_ref()
    }

    /// The operator whose secret has this blake3. Digests need no comparison in constant time: what the time of one
    /// tells of a digest brings nobody nearer to a secret.
    pub fn authenticate(&self, secret: Digest) -> Option<Principal> {
        let mut known = self.operators.iter();
        known.find(|(_, operator)| operator.credential == secret).map(|(principal, _)| principal.clone())
    }

    fn epoch(&self, number: u64) -> Option<Epoch> {
        let active = number == self.active;
        if number == 0 {
            return Some(Epoch {
                number,
                digest: digest_of(BUILT_IN),
                author: None,
                proposed_at: None,
                active,
                claimed: None,
            });
        }
        self.proposal(number).map(|proposal| Epoch {
            number,
            digest: proposal.digest,
            author: Some(proposal.author.clone()),
            proposed_at: Some(proposal.at),
            active,
            claimed: proposal.claims.values().map(|claimed| claimed.claim.verdict()).max(),
        })
    }

    fn text(&self, number: u64) -> Option<&str> {
        if number == 0 { Some(BUILT_IN) } else { self.proposal(number).map(|proposal| proposal.text.as_str()) }
    }

    fn proposal(&self, number: u64) -> Option<&Proposal> {
        self.proposals.get(usize::try_from(number.checked_sub(1)?).ok()?)
    }

    fn number_of(&self, digest: Digest) -> Option<u64> {
        let place = self.proposals.iter().position(|proposal| proposal.digest == digest)?;
        Some(u64::from(counted(place)) + 1)
    }

    fn next_number(&self) -> u64 {
        u64::from(counted(self.proposals.len())) + 1
    }

    fn claim(&self, epoch: u64, claim: &Claim, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let proposal = self.proposal(epoch).ok_or(Refusal::UnknownEpoch { epoch })?;
        if claim.text != proposal.digest {
            return Err(Refusal::ClaimDiffers { epoch });
        }
        let said: usize = claim.goals.iter().map(|goal| goal.property.len() + goal.detail.len()).sum();
        if !(1..=GOALS_MAX).contains(&claim.goals.len()) || CLAIM_BYTES_MAX < said + claim.solver.len() {
            return Err(Refusal::ClaimSize);
        }
        let reply = Reply::Claimed { epoch, verdict: claim.verdict() };
        match proposal.claims.get(&cx.principal) {
            Some(claimed) if claimed.claim == *claim => return Ok(Outcome::already(reply)),
            None if CLAIMANTS_MAX <= proposal.claims.len() => return Err(Refusal::TooManyClaims { epoch }),
            Some(_) | None => {}
        }
        let goals = claim.goals.iter().map(|Goal { property, verdict, detail }| records::GoalV1 {
            property: property.clone(),
            verdict: verdict.tag(),
            detail: detail.clone(),
        });
        let body = records::ClaimedV1 {
            epoch,
            text: claim.text,
            against: claim.against,
            solver: claim.solver.clone(),
            goals: goals.collect(),
            by: cx.principal.to_string(),
            at: cx.now,
        };
        Ok(Outcome::new(vec![Event::Claimed(body)], reply))
    }

    /// That nobody's last word on it is that it does not hold.
    fn is_without_counterexample(&self, epoch: u64) -> Result<(), Refusal> {
        let of = |claimed: &Claimed| {
            let found = claimed.claim.goals.iter().find(|goal| goal.verdict == Verdict::Counterexample)?;
            Some(Refusal::Counterexample { epoch, by: claimed.by.clone(), property: found.property.clone() })
        };
        self.claims(epoch).find_map(of).map_or(Ok(()), Err)
    }

    fn expect(&self, expected: Option<u64>) -> Result<(), Refusal> {
        match expected {
            Some(expected) if expected != self.active => Err(Refusal::ActiveDiffers { expected, active: self.active }),
            _ => Ok(()),
        }
    }

    /// Under a candidate some operator must be able to propose the next epoch and to activate it, or the candidate would be
    /// the last.
    fn keeps_a_way_on(&self, epoch: u64, text: &str) -> Result<(), Refusal> {
        let candidate = compiled(text)?;
        let next = self.next_number().to_string();
        // A text that is proposed has no number yet, so that a policy may also be asked about any.
        let steps = [("policy.propose", "*"), ("policy.propose", &next), ("policy.activate", &next)];
        let (context, standing) = (BTreeMap::new(), Standing::default());
        let may = |operator: &Principal| {
            steps.iter().all(|&(action, resource)| {
                let (context, standing) = (&context, &standing);
                candidate.judge(&Question { principal: operator, action, resource, context, standing }).allowed
            })
        };
        if self.operators.keys().any(may) { Ok(()) } else { Err(Refusal::LocksOut { epoch }) }
    }

    fn put_in_force(&mut self, activation: Activation) {
        assert_eq!(activation.replaced, self.active, "the active epoch is the one that is replaced");
        assert!(activation.epoch < self.next_number(), "only what was proposed is activated");
        self.active = activation.epoch;
        self.history.push(activation);
    }
}

/// Also texts that compiled when they were proposed: a later release may be stricter.
fn compiled(text: &str) -> Result<Policies, Refusal> {
    Policies::compile(text).map_err(|mut problems| {
        let more = counted(problems.len().saturating_sub(PROBLEMS_MAX));
        problems.truncate(PROBLEMS_MAX);
        let shorten = |problem: Problem| {
            let message = problem.message.chars().take(MESSAGE_MAX).collect();
            Problem { message, ..problem }
        };
        Refusal::Invalid { problems: problems.into_iter().map(shorten).collect(), more }
    })
}

fn digest_of(text: &str) -> Digest {
    Digest(*blake3::hash(text.as_bytes()).as_bytes())
}

fn recorded(principal: &str) -> Principal {
    principal.parse().expect("a recorded principal was one when it was recorded")
}

fn counted(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
