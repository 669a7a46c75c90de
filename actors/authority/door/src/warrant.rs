//! A permission that is opened once and checked before each use, for what is asked too often to be recorded each time.
//!
//! Opening is a request like any other: judged, paid for with one use of its token, and on record. Checking is no request.
//! It compares, without waiting for anybody, what is durable now with what was when the judge last looked: a token that
//! has ended is found in the view, and where governance or identity has moved, or an end has come, the judge is asked again.
//!
//! # Invariants
//! 1. Nothing is remembered over a change: the positions that a look is remembered under are read before what it saw.
//! 2. It stands on a token with a use left over. One that is used up cannot be revoked any more, so it carries nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError, RwLock};

use kernel::{Asked, Decision, Denial, Layer, Position, Principal, Timestamp, TokenId, TokenUse};
use tokens::{State, Token, Tokens};

use crate::judge::{Approved, EXPIRED, alive, gone, under};
use crate::{Ask, Denied, Door, Pass, Verdict};

/// A permission, checked before each use.
pub struct Warrant {
    door: Arc<Door>,
    ask: Ask,
    /// As it stands in the record of its opening, and of whatever rests on it.
    asked: Arc<Asked>,
    principal: Principal,
    /// By how many it was approved, once.
    approved: Approved,
    /// What was proven of it, once.
    proven: BTreeSet<String>,
    /// The use that it was opened by; none by an operator's own credential.
    token: Option<TokenUse>,
    /// First instant at which the token is no longer good.
    until: Option<Timestamp>,
    seen: RwLock<Seen>,
}

/// What the last look saw.
struct Seen {
    /// Up to where; nowhere, if the next check must look again.
    at: Option<Places>,
    /// First instant at which time alone may have changed the answer.
    until: Option<Timestamp>,
    judged: Result<Arc<Decision>, Denial>,
    token: Result<(), Denial>,
}

impl Seen {
    fn answer(&self) -> Result<Arc<Decision>, Denial> {
        self.token.clone().and_then(|()| self.judged.clone())
    }
}

/// How far authority is durable.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Places {
    governance: Position,
    identity: Position,
    tokens: Position,
    /// See [`Carriers::generation`](crate::Carriers::generation).
    carriers: u64,
}

impl Places {
    fn of(door: &Door) -> Self {
        let (governance, identity) = (door.governance().durable(), door.identity().durable());
        Self { governance, identity, tokens: door.tokens().durable(), carriers: door.carriers().generation() }
    }
}

impl Door {
    /// Opens a permission for many uses: judged, recorded and paid for as [`Door::witness`] does it, once.
    ///
    /// # Errors
    /// [`Denied`], also where the token has no second use.
    pub async fn open(self: &Arc<Self>, ask: &Ask) -> Result<Warrant, Denied> {
        if let Some(token) = self.token_shown(ask).filter(|token| token.state == State::Active && token.left < 2)
            && let Verdict::Allow { bearer, standing, decision } = self.judge(ask)
        {
            return Err(self.deny(ask, Some(bearer), &standing, used_up(token.id), decision).await);
        }
        let Pass { principal, decision, asked, approved, proven, .. } = self.witness(ask).await?;
        let token = decision.token;
        let shown = |spent: TokenUse| self.tokens_view().read(|tokens| tokens.show(spent.token, self.now()));
        let until = token.and_then(shown).map(|token| token.expires_at);
        let seen = RwLock::new(Seen { at: None, until: None, judged: Ok(Arc::new(decision)), token: Ok(()) });
        Ok(Warrant {
            door: self.clone(),
            ask: ask.clone(),
            asked: Arc::from(asked),
            principal,
            approved,
            proven,
            token,
            until,
            seen,
        })
    }
}

impl Warrant {
    /// Whether this may be done now, and by which decision. Waits for nobody.
    ///
    /// # Errors
    /// The denial that the judge would give, or one for a token that was used up since.
    pub fn check(&self) -> Result<Arc<Decision>, Denial> {
        if self.door.is_shut()
            && let Some(sealed) = self.door.sealed()
        {
            under(&sealed, self.ask.action)?;
        }
        let at = Places::of(&self.door);
        {
            let seen = self.seen.read().unwrap_or_else(PoisonError::into_inner);
            if seen.at == Some(at) && self.is_timely(&seen) {
                return self.in_time().and_then(|()| seen.answer());
            }
        }
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        self.look(&mut seen, at);
        self.in_time().and_then(|()| seen.answer())
    }

    fn in_time(&self) -> Result<(), Denial> {
        match (self.token, self.until) {
            (Some(spent), Some(until)) if until <= self.door.now() => Err(gone(spent.token, EXPIRED)),
            _ => Ok(()),
        }
    }

    /// Whether time alone cannot have changed what was seen.
    fn is_timely(&self, seen: &Seen) -> bool {
        seen.until.is_none_or(|until| self.door.now() < until)
    }

    /// What was asked when it was opened.
    pub fn ask(&self) -> &Ask {
        &self.ask
    }

    /// What was asked, for the records of what is done under it.
    pub fn asked(&self) -> &Arc<Asked> {
        &self.asked
    }

    /// Who may.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// First instant at which its token is no longer good; `None` for an operator's own credential.
    pub fn expires_at(&self) -> Option<Timestamp> {
        self.until
    }

    /// Looks at what changed; `at` was read before.
    fn look(&self, seen: &mut Seen, at: Places) {
        if let Some(spent) = self.token {
            seen.token = self.door.tokens_view().read(|tokens| stands(tokens, spent.token, self.door.now()));
        }
        let as_before = |before: Places| Places { tokens: at.tokens, ..before } == at;
        if !(seen.at.is_some_and(as_before) && self.is_timely(seen)) {
            // Before the judge looks: an end that falls between is looked at again.
            seen.until = self.door.changes_at(&self.ask, &self.principal);
            seen.judged = match self.door.judge_with(&self.ask, self.approved, &self.proven) {
                Verdict::Allow { decision, .. } => Ok(Arc::new(Decision { token: self.token, ..decision })),
                Verdict::Deny { denial, .. } => Err(denial),
            };
        }
        // The seal opens without a trace in these places.
        let sealed = matches!(&seen.judged, Err(denial) if denial.layer == Layer::Seal);
        seen.at = (!sealed).then_some(at);
    }
}

/// Whether a token can carry a warrant.
fn stands(tokens: &Tokens, token: TokenId, now: Timestamp) -> Result<(), Denial> {
    alive(tokens, token, now)?;
    match tokens.show(token, now) {
        Some(Token { left: 1.., .. }) => Ok(()),
        _ => Err(used_up(token)),
    }
}

fn used_up(token: TokenId) -> Denial {
    let reason = "no use of the token is left over, and one that is used up cannot be revoked";
    let remedy = "ask for a token with more uses: opening spends one, and one must be left";
    Denial::new(Layer::Token, "door.used_up", reason, remedy).rule(format!("token {token}"))
}
