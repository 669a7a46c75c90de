//! One token as the machine keeps it, and the way between it and its frozen record.

use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::{Digest, Millis, Principal, Timestamp, TokenId, TokenUse};
use serde::{Deserialize, Serialize};

use crate::records::{ConsumedV1, IssuedV2, RevokedV2, SubjectRevokedV1, WorkV1};
use crate::{
    Backing, Bounds, Consumption, Derive, Grant, Issue, Kind, Narrowed, Reason, Refusal, Replacement, Reply,
    Revocation, State, Token, Use, UseState, Work,
};

/// How the target of work on a todo begins: such operations are for their own todo only.
const TODO_TARGETS: &str = "todo.";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub secret: Digest,
    pub grant: Grant,
    pub subject: Principal,
    pub issuer: Principal,
    pub audience: String,
    pub operation: String,
    pub uses_max: u32,
    /// Uses that tokens derived from this one have instead of it.
    pub handed_on: u32,
    pub issued_at: Timestamp,
    /// First instant at which the token is valid.
    pub starts_at: Timestamp,
    /// First instant at which the token is no longer valid.
    pub expires_at: Timestamp,
    /// The number of the newest use; a number is not given again when its use is given back.
    pub numbered: u32,
    /// The spent uses in the order of their numbers. A list, because most tokens have one use and none over 1,000.
    pub uses: Vec<Use>,
    pub revocation: Option<Revocation>,
    /// The clock recorded the end. Bookkeeping: what is valid is decided by `expires_at`.
    pub expired: bool,
    /// So for the start, if it was to come.
    pub started: bool,
    pub target: Option<String>,
    pub request: Option<Digest>,
    /// The todo that it ends with: its own, or that of what it was derived from.
    pub todo: Option<u64>,
    pub work: Vec<Work>,
    pub backing: Option<Backing>,
    pub parent: Option<TokenId>,
    pub line: Line,
}

/// Where a token comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Line {
    /// How many tokens it was derived through.
    pub depth: u8,
    /// Whose tokens these were, besides its own subject.
    pub through: BTreeSet<Principal>,
}

impl Entry {
    pub fn new(issued: &IssuedV2, mut line: Line) -> Self {
        let (grant, subject) = (issued.grant(), issued.subject());
        line.through.remove(&subject);
        Self {
            secret: issued.secret,
            grant,
            subject,
            issuer: issued.issuer(),
            audience: issued.audience.clone(),
            operation: issued.operation.clone(),
            uses_max: issued.uses,
            handed_on: 0,
            issued_at: issued.issued_at,
            starts_at: issued.starts_at,
            expires_at: issued.expires_at,
            numbered: 0,
            uses: Vec::new(),
            revocation: None,
            expired: false,
            started: issued.starts_at <= issued.issued_at,
            target: issued.target.clone(),
            request: issued.request,
            todo: issued.todo.filter(|_| grant.kind() != Kind::Integration),
            work: issued.work(),
            backing: issued.backing(),
            parent: issued.parent,
            line,
        }
    }

    /// Was this token issued by `issuer` for the very same request?
    pub fn is(&self, issue: &Issue, issuer: &Principal, uses: u32, lifetime: Millis) -> bool {
        self.secret == issue.secret
            && self.grant == issue.grant
            && self.subject == issue.subject
            && self.issuer == *issuer
            && self.audience == issue.audience
            && self.operation == issue.operation
            && self.uses_max == uses
            && self.expires_at == self.issued_at + lifetime
            && self.parent.is_none()
            && self.has(&issue.bounds)
    }

    fn has(&self, bounds: &Bounds) -> bool {
        let Bounds { target, request, not_before, work, backing } = bounds;
        self.target == *target
            && self.request == *request
            && self.starts_at == not_before.map_or(self.issued_at, |start| start.max(self.issued_at))
            && self.work == *work
            && self.backing == *backing
    }

    /// Was this token derived from `parent` by the very same request?
    pub fn is_derived(&self, derive: &Derive, parent: &Self) -> bool {
        let expires_at = parent.end_of(derive.lifetime, self.issued_at);
        self.parent == Some(derive.parent)
            && self.secret == derive.secret
            && self.subject == derive.subject
            && self.audience == derive.audience
            && self.operation == derive.operation
            && parent.target_of(derive).as_ref() == Ok(&self.target)
            && parent.request_of(derive) == Ok(self.request)
            && self.uses_max == derive.uses.unwrap_or(1)
            && self.expires_at == expires_at
    }

    /// When a token would end that is derived from this one at `now`.
    pub fn end_of(&self, lifetime: Option<Millis>, now: Timestamp) -> Timestamp {
        let usual = || (now + self.derived_kind().limits().lifetime).min(self.expires_at);
        lifetime.map_or_else(usual, |lifetime| now + lifetime)
    }

    pub fn derived_kind(&self) -> Kind {
        if self.grant == Grant::Test { Kind::Test } else { Kind::Operation }
    }

    /// The target of a token that is derived from this one.
    pub fn target_of(&self, derive: &Derive) -> Result<Option<String>, Refusal> {
        let own = self.todo.filter(|_| derive.operation.starts_with(TODO_TARGETS));
        let bound = self.target.clone().or_else(|| own.map(|todo| format!("todo-{todo}")));
        match (bound, &derive.target) {
            (Some(bound), Some(asked)) if bound != *asked => Err(Refusal::Widens { what: Narrowed::Target }),
            (Some(bound), _) => Ok(Some(bound)),
            (None, asked) => Ok(asked.clone()),
        }
    }

    /// The request of it.
    pub fn request_of(&self, derive: &Derive) -> Result<Option<Digest>, Refusal> {
        match (self.request, derive.request) {
            (Some(bound), Some(asked)) if bound != asked => Err(Refusal::Widens { what: Narrowed::Request }),
            (bound, asked) => Ok(bound.or(asked)),
        }
    }

    /// Whether it may do there what is asked for, besides all else that is compared.
    pub fn covers(&self, audience: &str, operation: &str) -> Result<(), Refusal> {
        let widens = |what| Err(Refusal::Widens { what });
        if self.grant.kind() == Kind::Todo {
            let here = || self.work.iter().filter(|work| work.audience == audience);
            return match () {
                () if here().any(|work| work.operation == operation) => Ok(()),
                () if here().next().is_some() => widens(Narrowed::Operation),
                () => widens(Narrowed::Audience),
            };
        }
        match () {
            () if self.audience != audience => widens(Narrowed::Audience),
            () if self.operation != operation => widens(Narrowed::Operation),
            () => Ok(()),
        }
    }

    /// The todo that whoever uses it names.
    pub fn todo_of_use(&self) -> Option<u64> {
        self.grant.todo().or(self.backing.as_ref().map(|backing| backing.todo))
    }

    /// Who may do what where.
    pub fn purpose(&self) -> (&Principal, &str, &str) {
        (&self.subject, &self.audience, &self.operation)
    }

    pub fn left(&self) -> u32 {
        let spent = u32::try_from(self.uses.len()).expect("no token has more uses than a number can name");
        let left = self.uses_max.checked_sub(spent).and_then(|left| left.checked_sub(self.handed_on));
        left.expect("no more uses are spent and handed on than there are")
    }

    /// Will the clock have to record that it expired? Not once all uses are spent: then it ended by that.
    pub fn can_expire(&self) -> bool {
        self.revocation.is_none() && !self.expired && 0 < self.left()
    }

    /// Will the clock have to record that it began?
    pub fn can_start(&self) -> bool {
        self.revocation.is_none() && !self.expired && !self.started
    }

    /// As far as is recorded, can it still act, be it after a pending use was given back?
    pub fn is_open(&self) -> bool {
        let is_pending = self.uses.iter().any(|spent| spent.state == UseState::Pending);
        self.revocation.is_none() && !self.expired && (0 < self.left() || is_pending)
    }

    /// Is there anything for a revocation to end? Then it is open; the reverse waits for the clock.
    pub fn is_alive(&self, now: Timestamp) -> bool {
        let is_pending = self.uses.iter().any(|spent| spent.state_at(now) == UseState::Pending);
        self.revocation.is_none() && now < self.expires_at && (0 < self.left() || is_pending)
    }

    /// Whether it may be used at all, exhausted or not.
    pub fn is_valid(&self, now: Timestamp) -> Result<(), Refusal> {
        if self.revocation.is_some() {
            Err(Refusal::Revoked)
        } else if self.expires_at <= now {
            Err(Refusal::Expired { at: self.expires_at })
        } else if now < self.starts_at {
            Err(Refusal::NotYet { at: self.starts_at })
        } else {
            Ok(())
        }
    }

    pub fn state(&self, now: Timestamp) -> State {
        if self.revocation.is_some() {
            State::Revoked
        } else if self.left() == 0 {
            State::Consumed
        } else if self.expires_at <= now {
            State::Expired
        } else if now < self.starts_at {
            State::Pending
        } else {
            State::Active
        }
    }

    pub fn numbered(&self, number: u32) -> Option<&Use> {
        let place = self.uses.binary_search_by_key(&number, |spent| spent.number).ok()?;
        Some(&self.uses[place])
    }

    /// The use that paid for `request`, unless it was given back.
    pub fn paid(&self, request: Digest) -> Option<&Use> {
        self.uses.iter().find(|spent| spent.request == request)
    }

    pub fn spend(&mut self, consumed: &ConsumedV1) {
        assert!(0 < self.left(), "{} was consumed when it was exhausted", consumed.id);
        assert_eq!(self.numbered + 1, consumed.number, "the uses of {} are numbered in order", consumed.id);
        self.numbered = consumed.number;
        self.uses.push(Use {
            number: consumed.number,
            command: consumed.command,
            request: consumed.request,
            at: consumed.at,
            settle_by: consumed.settle_by,
            state: UseState::Pending,
        });
    }

    /// Ends the pending use `number` as `state`, or gives it back if there is none, and says by when that was due.
    pub fn close(&mut self, number: u32, state: Option<UseState>) -> Timestamp {
        let place = self.uses.binary_search_by_key(&number, |spent| spent.number);
        let place = place.expect("only a use that was spent is closed");
        let spent = &mut self.uses[place];
        assert_eq!(spent.state, UseState::Pending, "use {number} was closed twice");
        let settle_by = spent.settle_by;
        match state {
            Some(state) => spent.state = state,
            None => drop(self.uses.remove(place)),
        }
        settle_by
    }

    /// Gives uses to a token that is derived from it.
    pub fn hand_on(&mut self, uses: u32) -> Line {
        assert!(uses <= self.left(), "nothing hands on more uses than it has");
        self.handed_on += uses;
        Line { depth: self.line.depth + 1, through: self.holders().cloned().collect() }
    }

    /// With whom it ends: its subject, and those of what it was derived from.
    pub fn holders(&self) -> impl Iterator<Item = &Principal> {
        self.line.through.iter().chain([&self.subject])
    }

    pub fn revoke(&mut self, revocation: Revocation) {
        let earlier = self.revocation.replace(revocation);
        assert_eq!(earlier, None, "a token is revoked once");
    }

    pub fn receipt(&self, id: TokenId) -> Reply {
        Reply::Issued { id, kind: self.grant.kind(), uses: self.uses_max, expires_at: self.expires_at }
    }

    pub fn paid_already(&self, id: TokenId, first: &Use, now: Timestamp) -> Consumption {
        Consumption {
            spent: TokenUse { token: id, number: first.number },
            left: self.left(),
            by: first.command,
            already: true,
            state: first.state_at(now),
        }
    }

    pub fn shown(&self, id: TokenId, now: Timestamp) -> Token {
        Token {
            id,
            grant: self.grant,
            subject: self.subject.clone(),
            issuer: self.issuer.clone(),
            audience: self.audience.clone(),
            operation: self.operation.clone(),
            uses: self.uses_max,
            left: self.left(),
            handed_on: self.handed_on,
            issued_at: self.issued_at,
            starts_at: self.starts_at,
            expires_at: self.expires_at,
            state: self.state(now),
            target: self.target.clone(),
            request: self.request,
            todo: self.todo,
            work: self.work.clone(),
            backing: self.backing.clone(),
            parent: self.parent,
            revocation: self.revocation.clone(),
        }
    }
}

impl Use {
    /// A use is unknown from its deadline on, whenever the clock comes to record it.
    pub(crate) fn state_at(&self, now: Timestamp) -> UseState {
        match self.state {
            UseState::Pending if self.settle_by <= now => UseState::Unknown,
            known => known,
        }
    }
}

impl IssuedV2 {
    pub(crate) fn new(issue: &Issue, issuer: &Principal, uses: u32, issued_at: Timestamp, lifetime: Millis) -> Self {
        let artefact = issue.grant.artefact();
        let Bounds { target, request, not_before, work, backing } = &issue.bounds;
        Self {
            id: issue.id,
            secret: issue.secret,
            kind: match issue.grant {
                Grant::Operation => 0,
                Grant::Todo(_) => 1,
                Grant::Integration(_) => 2,
                Grant::Test => 3,
            },
            subject: issue.subject.to_string(),
            issuer: issuer.to_string(),
            audience: issue.audience.clone(),
            operation: issue.operation.clone(),
            todo: issue.grant.todo().or(backing.as_ref().map(|backing| backing.todo)),
            artefact_old: artefact.map(|artefact| artefact.old),
            artefact_new: artefact.map(|artefact| artefact.new),
            uses,
            issued_at,
            starts_at: not_before.map_or(issued_at, |start| start.max(issued_at)),
            expires_at: issued_at + lifetime,
            target: target.clone(),
            request: *request,
            work: work.iter().cloned().map(|Work { audience, operation }| WorkV1 { audience, operation }).collect(),
            report: backing.as_ref().map(|backing| backing.report),
            approver: backing.as_ref().map(|backing| backing.approver.to_string()),
            parent: None,
        }
    }

    /// Of what `derive` asks for, which `parent` permits.
    pub(crate) fn derived(
        derive: &Derive,
        parent: &Entry,
        (target, request): (Option<String>, Option<Digest>),
        uses: u32,
        now: Timestamp,
    ) -> Self {
        Self {
            id: derive.id,
            secret: derive.secret,
            kind: if parent.derived_kind() == Kind::Test { 3 } else { 0 },
            subject: derive.subject.to_string(),
            issuer: parent.issuer.to_string(),
            audience: derive.audience.clone(),
            operation: derive.operation.clone(),
            todo: parent.todo,
            artefact_old: None,
            artefact_new: None,
            uses,
            issued_at: now,
            starts_at: now,
            expires_at: parent.end_of(derive.lifetime, now),
            target,
            request,
            work: Vec::new(),
            report: None,
            approver: None,
            parent: Some(derive.parent),
        }
    }

    fn work(&self) -> Vec<Work> {
        self.work.iter().cloned().map(|WorkV1 { audience, operation }| Work { audience, operation }).collect()
    }

    fn backing(&self) -> Option<Backing> {
        let (todo, report) = (self.todo?, self.report?);
        let approver = self.approver.as_ref()?.parse().expect("a principal approved the replacement");
        Some(Backing { todo, report, approver })
    }

    /// # Panics
    /// If the record is corrupt; so do the next two.
    pub fn grant(&self) -> Grant {
        match (self.kind, self.todo, self.artefact_old, self.artefact_new) {
            (0, None, None, None) => Grant::Operation,
            (0, Some(_), None, None) if self.parent.is_some() => Grant::Operation,
            (1, Some(todo), None, None) => Grant::Todo(todo),
            (2, todo, Some(old), Some(new)) if todo.is_some() == self.report.is_some() => {
                Grant::Integration(Replacement { old, new })
            }
            (3, None, None, None) => Grant::Test,
            _ => panic!("{} was issued as kind {} and bound to what that kind is not", self.id, self.kind),
        }
    }

    pub fn subject(&self) -> Principal {
        self.subject.parse().expect("a token is issued to a principal")
    }

    pub fn issuer(&self) -> Principal {
        self.issuer.parse().expect("a token is issued by a principal")
    }
}

impl SubjectRevokedV1 {
    /// # Panics
    /// If the record is corrupt.
    pub fn subject(&self) -> Principal {
        self.subject.parse().expect("a subject is a principal")
    }
}

impl RevokedV2 {
    pub(crate) fn new(id: TokenId, at: Timestamp, reason: &Reason) -> Self {
        let (reason, text) = match reason {
            Reason::Withdrawn => (0, None),
            Reason::Compromised => (1, None),
            Reason::SubjectRevoked => (2, None),
            Reason::TodoEnded => (3, None),
            Reason::AllRevoked => (4, None),
            Reason::Other(text) => (5, Some(text.clone())),
            Reason::Epoch => (6, None),
        };
        Self { id, at, reason, text: text.unwrap_or_default() }
    }

    /// # Panics
    /// If the record is corrupt.
    pub fn reason(&self) -> Reason {
        match self.reason {
            0 => Reason::Withdrawn,
            1 => Reason::Compromised,
            2 => Reason::SubjectRevoked,
            3 => Reason::TodoEnded,
            4 => Reason::AllRevoked,
            5 => Reason::Other(self.text.clone()),
            6 => Reason::Epoch,
            unknown => panic!("{} was revoked for the unknown reason {unknown}", self.id),
        }
    }
}
