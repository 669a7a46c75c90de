//! One token as the machine keeps it, and the way between it and its frozen record.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use kernel::{Digest, Millis, Principal, Timestamp, TokenId, TokenUse};
use serde::{Deserialize, Serialize};

use crate::records::{ConsumedV1, IssuedV1, RevokedV2, SubjectRevokedV1};
use crate::{Consumption, Grant, Issue, Reason, Replacement, Reply, Revocation, State, Token, Use, UseState};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub secret: Digest,
    pub grant: Grant,
    pub subject: Principal,
    pub issuer: Principal,
    pub audience: String,
    pub operation: String,
    pub uses_max: u32,
    pub issued_at: Timestamp,
    /// First instant at which the token is no longer valid.
    pub expires_at: Timestamp,
    /// The number of the newest use; a number is not given again when its use is given back.
    pub numbered: u32,
    /// The spent uses in the order of their numbers. A list, because most tokens have one use and none over 1,000.
    pub uses: Vec<Use>,
    pub revocation: Option<Revocation>,
    /// The clock recorded the end. Bookkeeping: what is valid is decided by `expires_at`.
    pub expired: bool,
}

impl Entry {
    pub fn new(issued: &IssuedV1) -> Self {
        Self {
            secret: issued.secret,
            grant: issued.grant(),
            subject: issued.subject(),
            issuer: issued.issuer(),
            audience: issued.audience.clone(),
            operation: issued.operation.clone(),
            uses_max: issued.uses,
            issued_at: issued.issued_at,
            expires_at: issued.expires_at,
            numbered: 0,
            uses: Vec::new(),
            revocation: None,
            expired: false,
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
    }

    /// Who may do what where.
    pub fn purpose(&self) -> (&Principal, &str, &str) {
        (&self.subject, &self.audience, &self.operation)
    }

    pub fn left(&self) -> u32 {
        let spent = u32::try_from(self.uses.len()).expect("no token has more uses than a number can name");
        self.uses_max.checked_sub(spent).expect("no more uses are spent than there are")
    }

    /// Will the clock have to record that it expired? Not once all uses are spent: then it ended by that.
    pub fn can_expire(&self) -> bool {
        self.revocation.is_none() && !self.expired && 0 < self.left()
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

    pub fn state(&self, now: Timestamp) -> State {
        if self.revocation.is_some() {
            State::Revoked
        } else if self.left() == 0 {
            State::Exhausted
        } else if self.expires_at <= now {
            State::Expired
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
            issued_at: self.issued_at,
            expires_at: self.expires_at,
            state: self.state(now),
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

impl IssuedV1 {
    pub(crate) fn new(issue: &Issue, issuer: &Principal, uses: u32, issued_at: Timestamp, lifetime: Millis) -> Self {
        let artefact = issue.grant.artefact();
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
            todo: issue.grant.todo(),
            artefact_old: artefact.map(|artefact| artefact.old),
            artefact_new: artefact.map(|artefact| artefact.new),
            uses,
            issued_at,
            expires_at: issued_at + lifetime,
        }
    }

    /// # Panics
    /// If the record is corrupt; so do the next two.
    pub fn grant(&self) -> Grant {
        match (self.kind, self.todo, self.artefact_old, self.artefact_new) {
            (0, None, None, None) => Grant::Operation,
            (1, Some(todo), None, None) => Grant::Todo(todo),
            (2, None, Some(old), Some(new)) => Grant::Integration(Replacement { old, new }),
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
            unknown => panic!("{} was revoked for the unknown reason {unknown}", self.id),
        }
    }
}
