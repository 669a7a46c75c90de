//! Token authority: typed, bound, counted permissions.
//!
//! A pure [`Machine`]. Callers bring the id and the *digest* of the secret, so a secret reaches neither this crate nor the
//! journal. A token lets one subject do one operation on one audience, a counted number of times, until an instant. A use is
//! spent before its effect is tried and settled after; an effect that was refused gives the use back, and one of which
//! nothing is known in time leaves it spent. Validity is decided by the time of the command: what the clock records is
//! bookkeeping, and nothing waits for it.
//!
//! Who holds a token may derive narrower ones from it, for himself or for others. They have uses that were its own, so that all
//! that comes of one issue is never more than was issued.
//!
//! # Invariants
//! 1. An id names one token for ever, and so does a secret, also after that token has ended.
//! 2. No token lives longer, or is used more often, than its kind allows; at no time are more uses spent than there are.
//! 3. One use, at most one effect: a request that is pending, succeeded or unknown is not paid for again.
//! 4. Revocation is final: neither an answer to a repeat nor a use that is given back revives a token.
//! 5. Test tokens and the test namespace have each other only; todo tokens and [`TODO_WORK`] too.
//! 6. Nobody issues to himself, and nobody to a part of the authority.
//! 7. What is derived may do no more than what it was derived from, at no place of the chain: neither elsewhere nor anything else,
//!    not longer, and with uses that the other has no more. What a todo token is to be good for is said when it is issued.
//! 8. One command makes at most [`LIVE_MAX`] facts, and one more where a subject is revoked: that is a fact however often.

#![no_std]

extern crate alloc;

mod entry;
pub mod records;
mod vocabulary;

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;
use core::ops::Bound;

use entry::Entry;
use kernel::{Context, Digest, Kin, Machine, Millis, Outcome, Position, Principal, Timestamp, TokenId, TokenUse};
use serde::{Deserialize, Serialize};

use records::{
    ActivatedV1, AllRevokedV1, ConsumedV1, ExpiredV1, IssuedV2, ReleasedV1, RevokedBeforeV1, RevokedV2, SettledV1,
    SubjectRevokedV1, UseUnknownV1,
};
pub use vocabulary::*;

/// Most facts of one [`Command::Expire`]: the clock asks again while something is due.
const EXPIRE_MAX: usize = 256;

/// Every token ever issued. Ended tokens stay, so that no id is used twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Each by itself: an entry is large, and in the nodes of the tree they would be moved about.
    by_id: BTreeMap<TokenId, Box<Entry>>,
    by_secret: BTreeMap<Digest, TokenId>,
    /// The open tokens (see [`Entry::is_open`]) of each subject that has any, and those derived from what it has or had.
    open_by_subject: BTreeMap<Principal, BTreeSet<TokenId>>,
    open_by_todo: BTreeMap<u64, BTreeSet<TokenId>>,
    /// What was derived from each token, ever.
    derived: BTreeMap<TokenId, BTreeSet<TokenId>>,
    /// What the clock will have to record, in its order.
    starting: BTreeSet<(Timestamp, TokenId)>,
    expiring: BTreeSet<(Timestamp, TokenId)>,
    pending: BTreeSet<(Timestamp, TokenId, u32)>,
    /// When all that let a subject act was ended for the last time.
    revoked_subjects: BTreeMap<Principal, Timestamp>,
    /// See [`Tokens::revocations`].
    revocations: u64,
}

impl Machine for Tokens {
    const NAME: &'static str = "tokens";
    const REVISION: u32 = 4;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        match command {
            Command::Issue(issue) => self.issue(issue, cx),
            Command::Derive(derive) => self.derive(derive, cx),
            Command::Consume(consume) => self.consume(consume, cx),
            Command::Settle { id, number, outcome } => self.settle(*id, *number, *outcome, cx.now),
            Command::Revoke { reason: Reason::Other(text), .. }
            | Command::RevokeTree { reason: Reason::Other(text), .. }
                if text.is_longer_than(REASON_MAX) =>
            {
                Err(Refusal::ReasonTooLong)
            }
            Command::Revoke { id, reason } => match self.by_id.get(id) {
                Some(token) if token.is_alive(cx.now) => Ok(revoked(BTreeSet::from([*id]), reason, cx.now)),
                Some(_) => Ok(Outcome::already(Reply::Revoked { tokens: 0 })),
                None => Err(Refusal::Unknown),
            },
            Command::RevokeTree { id, .. } if !self.by_id.contains_key(id) => Err(Refusal::Unknown),
            Command::RevokeTree { id, reason } => {
                let family = self.family(*id).into_iter().filter(|id| self.by_id[id].is_alive(cx.now));
                Ok(revoked(family.collect(), reason, cx.now))
            }
            Command::RevokeBefore { before } if cx.now < *before => Err(Refusal::FutureEpoch),
            Command::RevokeBefore { before } => {
                let tokens = self.alive_of_before(*before, cx.now).len() as u64;
                let fact = Event::RevokedBefore(RevokedBeforeV1 { before: *before, at: cx.now });
                let facts = if tokens == 0 { Vec::new() } else { vec![fact] };
                Ok(Outcome::new(facts, Reply::Revoked { tokens }))
            }
            Command::RevokeSubject { subject } => {
                let open = self.open_by_subject.get(subject);
                let mut outcome = revoked(self.alive(open, cx.now), &Reason::SubjectRevoked, cx.now);
                let (subject, at) = (subject.to_string(), cx.now);
                outcome.events.push(Event::SubjectRevoked(SubjectRevokedV1 { subject, at }));
                Ok(outcome)
            }
            Command::RevokeTodo { todo } => {
                let open = self.open_by_todo.get(todo);
                Ok(revoked(self.alive(open, cx.now), &Reason::TodoEnded, cx.now))
            }
            Command::RevokeAll => {
                let tokens = self.alive(self.open_by_subject.values(), cx.now);
                if tokens.len() <= LIVE_MAX {
                    return Ok(revoked(tokens, &Reason::AllRevoked, cx.now));
                }
                let reply = Reply::Revoked { tokens: tokens.len() as u64 };
                Ok(Outcome::new(vec![Event::AllRevoked(AllRevokedV1 { before: cx.now })], reply))
            }
            Command::Expire => {
                let unknown = self.pending.iter().take_while(|(settle_by, ..)| *settle_by <= cx.now);
                let unknown = unknown.map(|&(_, id, number)| Event::UseUnknown(UseUnknownV1 { id, number }));
                let begun = self.starting.iter().take_while(|(starts_at, _)| *starts_at <= cx.now);
                let begun = begun.map(|&(_, id)| Event::Activated(ActivatedV1 { id }));
                let expired = self.expiring.iter().take_while(|(expires_at, _)| *expires_at <= cx.now);
                let expired = expired.map(|&(_, id)| Event::Expired(ExpiredV1 { id }));
                let facts: Vec<_> = unknown.chain(begun).chain(expired).take(EXPIRE_MAX).collect();
                let reply = Reply::Expired { facts: facts.len() as u64 };
                Ok(Outcome::new(facts, reply))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::Issued(issued) => {
                let line = issued.parent.map(|parent| {
                    self.derived.entry(parent).or_default().insert(issued.id);
                    self.change(parent, |token| token.hand_on(issued.uses))
                });
                let earlier = self.by_id.insert(issued.id, Box::new(Entry::new(issued, line.unwrap_or_default())));
                assert_eq!(earlier, None, "{} was issued twice", issued.id);
                let earlier = self.by_secret.insert(issued.secret, issued.id);
                assert_eq!(earlier, None, "the secret of {} was issued twice", issued.id);
                // Nothing changes but the indices, which learn of it.
                self.change(issued.id, |_| ());
            }
            Event::Consumed(consumed) => {
                self.change(consumed.id, |token| token.spend(consumed));
                self.pending.insert((consumed.settle_by, consumed.id, consumed.number));
            }
            Event::Settled(SettledV1 { id, number }) => self.close(*id, *number, Some(UseState::Succeeded)),
            Event::Released(ReleasedV1 { id, number }) => self.close(*id, *number, None),
            Event::UseUnknown(UseUnknownV1 { id, number }) => self.close(*id, *number, Some(UseState::Unknown)),
            Event::Revoked(revoked) => {
                let revocation = Revocation { at: revoked.at, reason: revoked.reason() };
                self.change(revoked.id, |token| token.revoke(revocation));
                self.revocations += 1;
            }
            Event::AllRevoked(AllRevokedV1 { before }) => {
                let ended = self.alive(self.open_by_subject.values(), *before);
                self.end(ended, *before, &Reason::AllRevoked);
            }
            Event::RevokedBefore(RevokedBeforeV1 { before, at }) => {
                let ended = self.alive_of_before(*before, *at);
                self.end(ended, *at, &Reason::Epoch);
            }
            Event::Activated(ActivatedV1 { id }) => self.change(*id, |token| {
                assert!(token.can_start(), "{id} began twice, or after its end");
                token.started = true;
            }),
            Event::Expired(ExpiredV1 { id }) => self.change(*id, |token| {
                assert!(token.can_expire(), "{id} expired after it had ended");
                token.expired = true;
            }),
            // The tokens themselves are revoked one by one.
            Event::SubjectRevoked(revoked) => {
                self.revoked_subjects.insert(revoked.subject(), revoked.at);
                self.revocations += 1;
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        let expires = self.expiring.first().map(|(at, _)| *at);
        let starts = self.starting.first().map(|(at, _)| *at);
        let unknown = self.pending.first().map(|(at, ..)| *at);
        expires.into_iter().chain(starts).chain(unknown).min()
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| Command::Expire)
    }
}

/// What is answered.
impl Tokens {
    fn issue(&self, issue: &Issue, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let kind = issue.grant.kind();
        let limits = kind.limits();
        let uses = issue.uses.unwrap_or(limits.uses);
        let lifetime = issue.lifetime.unwrap_or(limits.lifetime);
        match self.by_id.get(&issue.id) {
            // A retry: the first answer stands, whatever became of the token since.
            Some(token) if token.is(issue, &cx.principal, uses, lifetime) => {
                return Ok(Outcome::already(token.receipt(issue.id)));
            }
            Some(_) => return Err(Refusal::IdTaken),
            None => (),
        }
        bound(&issue.bounds, kind, &issue.subject)?;
        if self.by_secret.contains_key(&issue.secret) {
            Err(Refusal::SecretTaken)
        } else if issue.subject == cx.principal {
            Err(Refusal::OwnSubject)
        } else if issue.subject.kin == Kin::Internal {
            // Its bearer would be taken for a part of the authority.
            Err(Refusal::InternalSubject)
        } else if !is_name(&issue.audience) {
            Err(Refusal::BadAudience)
        } else if !is_name(&issue.operation) {
            Err(Refusal::BadOperation)
        } else if issue.audience.starts_with(TEST_NAMESPACE) != (kind == Kind::Test) {
            Err(Refusal::OutsideNamespace { kind })
        } else if (issue.operation == TODO_WORK) != (kind == Kind::Todo) {
            Err(Refusal::NotTodoWork)
        } else if kind == Kind::Integration && issue.uses.is_some() {
            Err(Refusal::UsesFixed)
        } else if uses == 0 || limits.uses_max < uses {
            Err(Refusal::UsesOutOfRange { asked: uses, max: limits.uses_max })
        } else if lifetime.0 == 0 || limits.lifetime_max < lifetime {
            Err(Refusal::LifetimeOutOfRange { asked: lifetime, max: limits.lifetime_max })
        } else if issue.bounds.not_before.is_some_and(|start| cx.now + lifetime <= start) {
            Err(Refusal::StartsTooLate)
        } else if self.is_full(self.open_by_subject.get(&issue.subject), cx.now) {
            Err(Refusal::SubjectFull)
        } else if issue.grant.todo().is_some_and(|todo| self.is_full(self.open_by_todo.get(&todo), cx.now)) {
            Err(Refusal::TodoFull)
        } else {
            let issued = IssuedV2::new(issue, &cx.principal, uses, cx.now, lifetime);
            let reply = Reply::Issued { id: issue.id, kind, uses, expires_at: issued.expires_at };
            Ok(Outcome::new(vec![Event::Issued(Box::new(issued))], reply))
        }
    }

    fn derive(&self, derive: &Derive, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let parent = self.by_id.get(&derive.parent).filter(|parent| parent.secret == derive.held);
        let parent = parent.ok_or(Refusal::Unknown)?;
        if parent.subject != cx.principal {
            return Err(Refusal::NotHolder);
        }
        match self.by_id.get(&derive.id) {
            Some(token) if token.is_derived(derive, parent) => {
                return Ok(Outcome::already(token.receipt(derive.id)));
            }
            Some(_) => return Err(Refusal::IdTaken),
            None => parent.is_valid(cx.now)?,
        }
        let (kind, uses) = (parent.derived_kind(), derive.uses.unwrap_or(1));
        let limits = kind.limits();
        let expires_at = parent.end_of(derive.lifetime, cx.now);
        let (lifetime, max) = (expires_at - cx.now, limits.lifetime_max);
        if parent.grant.kind() == Kind::Integration {
            return Err(Refusal::NotDerivable { kind: Kind::Integration });
        }
        parent.covers(&derive.audience, &derive.operation)?;
        let (target, request) = (parent.target_of(derive)?, parent.request_of(derive)?);
        if self.by_secret.contains_key(&derive.secret) {
            Err(Refusal::SecretTaken)
        } else if derive.subject == parent.issuer {
            Err(Refusal::OwnSubject)
        } else if derive.subject.kin == Kin::Internal {
            Err(Refusal::InternalSubject)
        } else if target.as_ref().is_some_and(|target| !is_target(target)) {
            Err(Refusal::BadTarget)
        } else if DEPTH_MAX <= parent.line.depth {
            Err(Refusal::TooDeep)
        } else if uses == 0 || limits.uses_max < uses {
            Err(Refusal::UsesOutOfRange { asked: uses, max: limits.uses_max })
        } else if parent.left() == 0 {
            Err(Refusal::Exhausted { uses: parent.uses_max })
        } else if parent.left() < uses {
            Err(Refusal::Widens { what: Narrowed::Uses })
        } else if lifetime.0 == 0 || max < lifetime {
            Err(Refusal::LifetimeOutOfRange { asked: lifetime, max })
        } else if parent.expires_at < expires_at {
            Err(Refusal::Widens { what: Narrowed::Life })
        } else if self.is_full(self.open_by_subject.get(&derive.subject), cx.now)
            || parent.holders().any(|holder| self.is_full(self.open_by_subject.get(holder), cx.now))
        {
            Err(Refusal::SubjectFull)
        } else if parent.todo.is_some_and(|todo| self.is_full(self.open_by_todo.get(&todo), cx.now)) {
            Err(Refusal::TodoFull)
        } else {
            let issued = IssuedV2::derived(derive, parent, (target, request), uses, cx.now);
            let reply = Reply::Issued { id: derive.id, kind, uses, expires_at };
            Ok(Outcome::new(vec![Event::Issued(Box::new(issued))], reply))
        }
    }

    fn consume(&self, consume: &Consume, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let Consume { id, request, .. } = *consume;
        let token = self.admit(id, consume.secret, &consume.audience, &consume.operation, cx.now)?;
        let (todo, artefact) = (token.todo_of_use(), token.grant.artefact());
        let report = token.backing.as_ref().map(|backing| backing.report);
        if consume.todo != todo {
            Err(Refusal::OtherTodo { bound: todo })
        } else if consume.artefact != artefact {
            Err(Refusal::OtherArtefact { bound: artefact })
        } else if consume.report != report {
            Err(Refusal::OtherReport { bound: report })
        } else if let Some(bound) = token.target.as_ref().filter(|bound| consume.target.as_ref() != Some(bound)) {
            Err(Refusal::OtherTarget { bound: bound.clone() })
        } else if let Some(bound) = token.request.filter(|bound| *bound != request) {
            Err(Refusal::OtherRequest { bound })
        } else if let Some(first) = token.paid(request) {
            Ok(Outcome::already(Reply::Consumed(token.paid_already(id, first, cx.now))))
        } else if token.left() == 0 {
            Err(match token.uses.first() {
                Some(first) if token.uses_max == 1 => Refusal::DoubleSpend { by: first.command },
                _ => Refusal::Exhausted { uses: token.uses_max },
            })
        } else {
            let number = token.numbered + 1;
            let reply = Reply::Consumed(Consumption {
                spent: TokenUse { token: id, number },
                left: token.left() - 1,
                by: cx.command_id,
                already: false,
                state: UseState::Pending,
            });
            let (command, at, settle_by) = (cx.command_id, cx.now, cx.now + SETTLE_WITHIN);
            let consumed = ConsumedV1 { id, number, command, request, at, settle_by };
            Ok(Outcome::new(vec![Event::Consumed(consumed)], reply))
        }
    }

    fn settle(&self, id: TokenId, number: u32, outcome: Settlement, now: Timestamp) -> Result<Outcome<Self>, Refusal> {
        let token = self.by_id.get(&id).ok_or(Refusal::Unknown)?;
        if number == 0 || token.numbered < number {
            return Err(Refusal::UnknownUse);
        }
        let spent = TokenUse { token: id, number };
        let as_it_is = Reply::Settled { spent, left: token.left() };
        match (token.numbered(number).map(|spent| (spent.state_at(now), spent.settle_by)), outcome) {
            (Some((UseState::Pending, _)), Settlement::Succeeded) => {
                Ok(Outcome::new(vec![Event::Settled(SettledV1 { id, number })], as_it_is))
            }
            (Some((UseState::Pending, _)), Settlement::Refused) => {
                let given_back = Reply::Settled { spent, left: token.left() + 1 };
                Ok(Outcome::new(vec![Event::Released(ReleasedV1 { id, number })], given_back))
            }
            (Some((UseState::Unknown, by)), _) => Err(Refusal::SettledLate { by }),
            // A use that is not listed any more was given back.
            (Some((UseState::Succeeded, _)), Settlement::Succeeded) | (None, Settlement::Refused) => {
                Ok(Outcome::already(as_it_is))
            }
            (Some((UseState::Succeeded, _)), Settlement::Refused) | (None, Settlement::Succeeded) => {
                Err(Refusal::SettledOtherwise)
            }
        }
    }

    /// The token, if it may be used so at `now`, exhausted or not.
    fn admit(
        &self,
        id: TokenId,
        secret: Digest,
        audience: &str,
        operation: &str,
        now: Timestamp,
    ) -> Result<&Entry, Refusal> {
        match self.by_id.get(&id).map(Box::as_ref) {
            // A guesser must not learn which ids exist.
            None => Err(Refusal::Unknown),
            Some(token) if token.secret != secret => Err(Refusal::Unknown),
            Some(token) if token.is_valid(now).is_err() => token.is_valid(now).map(|()| token),
            Some(token) if token.audience != audience => Err(Refusal::OtherAudience { bound: token.audience.clone() }),
            Some(token) if token.operation != operation => {
                Err(Refusal::OtherOperation { bound: token.operation.clone() })
            }
            Some(token) => Ok(token),
        }
    }

    fn alive<'a>(&'a self, open: impl IntoIterator<Item = &'a BTreeSet<TokenId>>, now: Timestamp) -> BTreeSet<TokenId> {
        open.into_iter().flatten().copied().filter(move |id| self.by_id[id].is_alive(now)).collect()
    }

    fn alive_of_before(&self, before: Timestamp, now: Timestamp) -> BTreeSet<TokenId> {
        let mut alive = self.alive(self.open_by_subject.values(), now);
        alive.retain(|id| self.by_id[id].issued_at < before);
        alive
    }

    /// A token and all that was derived from it, at any remove.
    fn family(&self, id: TokenId) -> BTreeSet<TokenId> {
        let (mut family, mut open) = (BTreeSet::new(), vec![id]);
        while let Some(id) = open.pop() {
            family.insert(id);
            open.extend(self.derived.get(&id).into_iter().flatten());
        }
        family
    }

    fn is_full(&self, open: Option<&BTreeSet<TokenId>>, now: Timestamp) -> bool {
        // Counting is for the rare case that there are so many.
        open.is_some_and(|open| LIVE_MAX <= open.len() && LIVE_MAX <= self.alive([open], now).len())
    }
}

/// What is shown.
impl Tokens {
    pub fn show(&self, id: TokenId, now: Timestamp) -> Option<Token> {
        self.by_id.get(&id).map(|token| token.shown(id, now))
    }

    /// The spent uses of a token, in the order of their numbers.
    pub fn uses(&self, id: TokenId, now: Timestamp) -> Option<Vec<Use>> {
        let token = self.by_id.get(&id)?;
        Some(token.uses.iter().map(|spent| Use { state: spent.state_at(now), ..*spent }).collect())
    }

    /// The tokens that `filter` lets through, in the order of their ids.
    pub fn list(&self, filter: &Filter, now: Timestamp) -> impl Iterator<Item = Token> {
        let Filter { kind, subject, audience, todo, state } = filter;
        let passes = move |token: &Entry| {
            kind.is_none_or(|kind| token.grant.kind() == kind)
                && subject.as_ref().is_none_or(|subject| token.subject == *subject)
                && audience.as_ref().is_none_or(|audience| token.audience == *audience)
                && todo.is_none_or(|todo| token.todo == Some(todo))
                && state.is_none_or(|state| token.state(now) == state)
        };
        self.by_id.iter().filter(move |(_, token)| passes(token)).map(move |(id, token)| token.shown(*id, now))
    }

    /// The credentials for operations that end within `warning`, and after which their subject has none for the same. Only
    /// those that live for twice as long at least: what is short-lived by intent is renewed by whoever needs it. Todo tokens
    /// end with their claims, and the other kinds are for one purpose, so none of them is listed.
    pub fn ending(&self, warning: Millis, now: Timestamp) -> Ending {
        let warned = now + warning;
        let is_long = |token: &Entry| {
            token.grant == Grant::Operation
                && token.parent.is_none()
                && warning.0.saturating_mul(2) <= (token.expires_at - token.issued_at).0
        };
        let (past, future) = ((now, TokenId(u128::MAX)), (warned, TokenId(u128::MAX)));
        let after = |bound| self.expiring.range((Bound::Excluded(bound), Bound::Unbounded));
        let soon: Vec<_> = after(past)
            .take_while(|end| **end <= future)
            .filter(|(_, id)| is_long(&self.by_id[id]))
            .map(|&(expires_at, id)| (expires_at, id, self.by_id[&id].purpose()))
            .collect();
        // The last to end of each purpose, over the subjects concerned only.
        let subjects: BTreeSet<_> = soon.iter().map(|(.., (subject, ..))| *subject).collect();
        let mut last = BTreeMap::new();
        for id in subjects.into_iter().filter_map(|subject| self.open_by_subject.get(subject)).flatten() {
            let token = &self.by_id[id];
            if matches!(token.state(now), State::Active | State::Pending) {
                let end = last.entry(token.purpose()).or_insert((token.expires_at, *id));
                *end = (*end).max((token.expires_at, *id));
            }
        }
        let begins = after(future).find(|(_, id)| is_long(&self.by_id[id])).map(|(at, _)| Timestamp(at.0 - warning.0));
        let credentials: Vec<_> = soon
            .into_iter()
            .filter(|&(expires_at, id, purpose)| last.get(&purpose) == Some(&(expires_at, id)))
            .map(|(_, id, _)| self.by_id[&id].shown(id, now))
            .collect();
        let next = credentials.first().map(|token| token.expires_at).into_iter().chain(begins).min();
        Ending { credentials, next }
    }

    /// Would a use be granted at `now`? Spends nothing. The todo or artefact that the token is bound to is the caller's to
    /// compare.
    ///
    /// # Errors
    /// As [`Command::Consume`]: [`Refusal::Unknown`] also for a wrong secret, for a guesser must not learn which ids exist.
    pub fn validate(
        &self,
        id: TokenId,
        secret: Digest,
        audience: &str,
        operation: &str,
        now: Timestamp,
    ) -> Result<Token, Refusal> {
        match self.admit(id, secret, audience, operation, now)? {
            token if token.left() == 0 => Err(Refusal::Exhausted { uses: token.uses_max }),
            token => Ok(token.shown(id, now)),
        }
    }

    /// When all that let `subject` act was revoked for the last time. Whoever has tokens issued to somebody admitted looks
    /// here afterwards: what was issued after that was issued too late.
    pub fn subject_revoked_at(&self, subject: &Principal) -> Option<Timestamp> {
        self.revoked_subjects.get(subject).copied()
    }

    /// The digest of the secret of a token, for who has verified its bearer form. Never shown.
    pub fn secret_of(&self, id: TokenId) -> Option<Digest> {
        self.by_id.get(&id).map(|token| token.secret)
    }

    /// How many records of a revocation there are. What was found of tokens while it was the same is not outdated by one.
    pub fn revocations(&self) -> u64 {
        self.revocations
    }

    /// The token that the bearer of `secret` holds, whatever its state.
    pub fn by_secret(&self, secret: Digest, now: Timestamp) -> Option<Token> {
        self.by_secret.get(&secret).and_then(|id| self.show(*id, now))
    }
}

/// How the state changes.
impl Tokens {
    fn end(&mut self, tokens: BTreeSet<TokenId>, at: Timestamp, reason: &Reason) {
        for id in tokens {
            let revocation = Revocation { at, reason: reason.clone() };
            self.change(id, |token| token.revoke(revocation));
        }
        self.revocations += 1;
    }

    fn close(&mut self, id: TokenId, number: u32, state: Option<UseState>) {
        let settle_by = self.change(id, |token| token.close(number, state));
        assert!(self.pending.remove(&(settle_by, id, number)), "a pending use is known to the clock");
    }

    /// Changes one token and keeps the indices true to it.
    fn change<T>(&mut self, id: TokenId, change: impl FnOnce(&mut Entry) -> T) -> T {
        let token = self.by_id.get_mut(&id).expect("only an issued token changes");
        let changed = change(token);
        if token.can_expire() {
            self.expiring.insert((token.expires_at, id));
        } else {
            self.expiring.remove(&(token.expires_at, id));
        }
        if token.can_start() {
            self.starting.insert((token.starts_at, id));
        } else {
            self.starting.remove(&(token.starts_at, id));
        }
        let is_open = token.is_open();
        for holder in token.holders() {
            keep(&mut self.open_by_subject, holder, id, is_open);
        }
        if let Some(todo) = token.todo {
            keep(&mut self.open_by_todo, &todo, id, is_open);
        }
        changed
    }
}

/// Puts `id` under `key`, or takes it away, and the key with the last.
fn keep<K: Ord + Clone>(index: &mut BTreeMap<K, BTreeSet<TokenId>>, key: &K, id: TokenId, kept: bool) {
    match index.get_mut(key) {
        Some(ids) if kept => drop(ids.insert(id)),
        Some(ids) => {
            ids.remove(&id);
            if ids.is_empty() {
                index.remove(key);
            }
        }
        None if kept => drop(index.insert(key.clone(), BTreeSet::from([id]))),
        None => (),
    }
}

fn revoked(tokens: BTreeSet<TokenId>, reason: &Reason, now: Timestamp) -> Outcome<Tokens> {
    let reply = Reply::Revoked { tokens: tokens.len() as u64 };
    let facts = tokens.into_iter().map(|id| Event::Revoked(RevokedV2::new(id, now, reason))).collect();
    Outcome::new(facts, reply)
}

/// What a token of a kind may be bound to.
fn bound(bounds: &Bounds, kind: Kind, subject: &Principal) -> Result<(), Refusal> {
    let Bounds { target, request: _, not_before: _, work, backing } = bounds;
    let is_work = |work: &Work| {
        let outside = !work.audience.starts_with(TEST_NAMESPACE) && work.operation != TODO_WORK;
        outside && is_name(&work.audience) && is_name(&work.operation)
    };
    match backing {
        _ if target.as_ref().is_some_and(|target| !is_target(target)) => Err(Refusal::BadTarget),
        _ if !work.is_empty() && kind != Kind::Todo => Err(Refusal::BadWork),
        _ if WORK_MAX < work.len() || !work.iter().all(is_work) => Err(Refusal::BadWork),
        _ if backing.is_some() != (kind == Kind::Integration) => Err(Refusal::Unbacked),
        Some(Backing { approver, .. }) if approver == subject || approver.kin == Kin::Internal => {
            Err(Refusal::OwnApproval)
        }
        _ => Ok(()),
    }
}

fn is_target(text: &str) -> bool {
    (1..=TARGET_MAX).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
    (1..=NAME_MAX).contains(&text.len()) && text.chars().all(plain)
}
