//! Todos: the work that open gaps call for.
//!
//! A pure [`Machine`]. A todo opens when a scan finds a gap and closes when a scan finds it gone; nothing else closes it, least
//! of all who works on it. In between one holder at a time may claim it, for [`CLAIM_LIFETIME`], and gets a token for the work
//! from the token authority: the claim's record holds all that a route needs to have it issued ([`Event::grants`]), and what
//! ends a claim says so ([`Event::ends_authority`]).
//!
//! # Invariants
//! 1. A gap has one todo for ever: when it comes back, so does the same todo, unclaimed.
//! 2. Todos count from 1 without gaps in the numbers.
//! 3. A todo has at most one holder at a time; a closed one has none. A claim ends by its time, whenever that is recorded.
//! 4. A token id or secret serves one claim, ever.
//! 5. Only the authority's own routes open and close.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use kernel::{Context, Digest, Kin, Machine, Outcome, Position, Principal, Timestamp, TokenId};
use serde::{Deserialize, Serialize};

use records::{ClaimedV1, ClosedV1, LapsedV1, OpenedV1, ReleasedV1, ReopenedV1, SubmittedV2};
pub use vocabulary::*;

/// Most facts of one [`Command::LapseClaims`]: the clock asks again while something is due.
const LAPSE_MAX: usize = 256;

/// Every todo that ever was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Todos {
    by_id: BTreeMap<TodoId, Entry>,
    by_gap: BTreeMap<Digest, TodoId>,
    /// The tokens of all claims, ended ones too, with the digests of their secrets.
    tokens: BTreeMap<TokenId, Digest>,
    secrets: BTreeSet<Digest>,
    /// When which claim ends.
    lapsing: BTreeSet<(Timestamp, TodoId)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    gap: Digest,
    title: String,
    place: String,
    closed: bool,
    /// The newest claim that is not recorded as ended. Whether it holds, its time says.
    claim: Option<Claim>,
    opened_at: Timestamp,
    closed_at: Option<Timestamp>,
    reopened: u32,
}

impl Machine for Todos {
    const NAME: &'static str = "todos";
    const REVISION: u32 = 2;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let now = cx.now;
        match command {
            Command::Open { .. } | Command::Close { .. } if cx.principal.kin != Kin::Internal => {
                Err(Refusal::ScansOnly)
            }
            Command::Open { title, .. } if !(1..=TITLE_MAX).contains(&title.chars().count()) => Err(Refusal::BadTitle),
            Command::Open { place, .. } if PLACE_MAX < place.chars().count() => Err(Refusal::PlaceTooLong),
            Command::Open { gap, title, place } => {
                let (title, place) = (title.clone(), place.clone());
                let (todo, opened) = match self.by_gap.get(gap) {
                    Some(&todo) if !self.by_id[&todo].closed => return Ok(Outcome::already(Reply::Opened { todo })),
                    Some(&todo) => (todo, Event::Reopened(ReopenedV1 { todo: todo.0, title, place, at: now })),
                    None => {
                        let todo = self.next();
                        (todo, Event::Opened(OpenedV1 { todo: todo.0, gap: *gap, title, place, at: now }))
                    }
                };
                Ok(Outcome::new(vec![opened], Reply::Opened { todo }))
            }
            Command::Claim { holder, .. } if holder.kin == Kin::Internal => Err(Refusal::InternalHolder),
            Command::Claim { holder, .. } if *holder != cx.principal && cx.principal.kin != Kin::Operator => {
                Err(Refusal::ForAnother)
            }
            Command::Claim { todo, holder, token, secret } => {
                let entry = self.find(*todo)?;
                match entry.claim_at(now) {
                    _ if entry.closed => Err(Refusal::Closed { todo: *todo }),
                    Some(claim) if claim.holder != *holder => {
                        Err(Refusal::Claimed { todo: *todo, holder: claim.holder.clone(), until: claim.expires_at })
                    }
                    Some(claim) if claim.token == *token && self.tokens[token] == *secret => {
                        Ok(Outcome::already(claim.receipt(*todo)))
                    }
                    Some(_) => Err(Refusal::ClaimedOtherwise { todo: *todo }),
                    None if self.tokens.contains_key(token) || self.secrets.contains(secret) => {
                        Err(Refusal::TokenTaken)
                    }
                    None => {
                        // The earlier claim may have ended before the clock came to say so.
                        let lapsed = entry.claim.as_ref().map(|_| Event::Lapsed(LapsedV1 { todo: todo.0 }));
                        let claimed = ClaimedV1 {
                            todo: todo.0,
                            holder: holder.to_string(),
                            token: *token,
                            secret: *secret,
                            lifetime: CLAIM_LIFETIME,
                            uses: CLAIM_USES,
                            at: now,
                            expires_at: now + CLAIM_LIFETIME,
                        };
                        let reply = Reply::Claimed { todo: *todo, token: *token, expires_at: claimed.expires_at };
                        Ok(Outcome::new(lapsed.into_iter().chain([Event::Claimed(claimed)]).collect(), reply))
                    }
                }
            }
            Command::Release { todo } => {
                let reply = Reply::Released { todo: *todo };
                match self.find(*todo)?.claim_at(now) {
                    Some(claim) if claim.holder == cx.principal || cx.principal.kin == Kin::Operator => {
                        Ok(Outcome::new(vec![Event::Released(ReleasedV1 { todo: todo.0 })], reply))
                    }
                    Some(_) => Err(Refusal::NotHolder { todo: *todo }),
                    None => Ok(Outcome::already(reply)),
                }
            }
            Command::Submit { note, .. } if note.is_longer_than(NOTE_MAX) => Err(Refusal::NoteTooLong),
            Command::Submit { todo, note } => {
                let entry = self.find(*todo)?;
                let reply = Reply::Submitted { todo: *todo };
                match entry.claim_at(now) {
                    _ if entry.closed => Err(Refusal::Closed { todo: *todo }),
                    Some(claim) if claim.holder != cx.principal => Err(Refusal::NotHolder { todo: *todo }),
                    None => Err(Refusal::NotHolder { todo: *todo }),
                    Some(claim) if claim.note.as_ref() == Some(note) => Ok(Outcome::already(reply)),
                    Some(_) => {
                        let submitted = SubmittedV2 { todo: todo.0, note: note.clone() };
                        Ok(Outcome::new(vec![Event::Submitted(submitted)], reply))
                    }
                }
            }
            Command::Close { gap } => {
                let todo = *self.by_gap.get(gap).ok_or(Refusal::UnknownGap)?;
                if self.by_id[&todo].closed {
                    return Ok(Outcome::already(Reply::Closed { todo }));
                }
                Ok(Outcome::new(vec![Event::Closed(ClosedV1 { todo: todo.0, at: now })], Reply::Closed { todo }))
            }
            Command::LapseClaims => {
                let due = self.lapsing.iter().take_while(|(expires_at, _)| *expires_at <= now).take(LAPSE_MAX);
                let lapsed: Vec<_> = due.map(|(_, todo)| Event::Lapsed(LapsedV1 { todo: todo.0 })).collect();
                let reply = Reply::Lapsed { claims: lapsed.len() as u64 };
                Ok(Outcome::new(lapsed, reply))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        match event {
            Event::Opened(opened) => {
                let todo = TodoId(opened.todo);
                assert_eq!(todo, self.next(), "todos are numbered in order");
                let earlier = self.by_gap.insert(opened.gap, todo);
                assert_eq!(earlier, None, "{todo} was opened for a gap that has a todo");
                self.by_id.insert(todo, Entry::new(opened));
            }
            Event::Reopened(reopened) => {
                let entry = self.known(reopened.todo);
                assert!(entry.closed, "todo-{} was reopened when it was open", reopened.todo);
                entry.closed = false;
                entry.title.clone_from(&reopened.title);
                entry.place.clone_from(&reopened.place);
                entry.reopened += 1;
            }
            Event::Claimed(claimed) => {
                let claim = Claim {
                    holder: claimed.principal(),
                    token: claimed.token,
                    claimed_at: claimed.at,
                    expires_at: claimed.expires_at,
                    note: None,
                };
                let entry = self.known(claimed.todo);
                assert!(!entry.closed, "todo-{} was claimed when it was closed", claimed.todo);
                let earlier = entry.claim.replace(claim);
                assert_eq!(earlier, None, "todo-{} was claimed twice", claimed.todo);
                let earlier = self.tokens.insert(claimed.token, claimed.secret);
                assert_eq!(earlier, None, "{} was to serve two claims", claimed.token);
                assert!(self.secrets.insert(claimed.secret), "the secret of {} was to serve two claims", claimed.token);
                self.lapsing.insert((claimed.expires_at, TodoId(claimed.todo)));
            }
            Event::Submitted(SubmittedV2 { todo, note }) => {
                let claim = self.known(*todo).claim.as_mut().expect("only a claimed todo is submitted");
                claim.note = Some(note.clone());
            }
            Event::Released(ReleasedV1 { todo }) | Event::Lapsed(LapsedV1 { todo }) => {
                assert!(self.free(*todo), "todo-{todo} was freed when nobody held it");
            }
            Event::Closed(ClosedV1 { todo, at }) => {
                self.free(*todo);
                let entry = self.known(*todo);
                assert!(!entry.closed, "todo-{todo} was closed twice");
                entry.closed = true;
                entry.closed_at = Some(*at);
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.lapsing.first().map(|(expires_at, _)| *expires_at)
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| Command::LapseClaims)
    }
}

/// What is shown.
impl Todos {
    pub fn show(&self, todo: TodoId, now: Timestamp) -> Option<Todo> {
        self.by_id.get(&todo).map(|entry| entry.shown(todo, now))
    }

    pub fn by_gap(&self, gap: Digest, now: Timestamp) -> Option<Todo> {
        self.by_gap.get(&gap).and_then(|todo| self.show(*todo, now))
    }

    /// The todos that `filter` lets through, in the order of their numbers.
    pub fn list(&self, filter: &Filter, now: Timestamp) -> impl Iterator<Item = Todo> {
        let Filter { state, holder } = filter;
        let passes = move |entry: &Entry| {
            let is_held_by = |holder: &Principal| entry.claim_at(now).is_some_and(|claim| claim.holder == *holder);
            state.is_none_or(|state| entry.state(now) == state) && holder.as_ref().is_none_or(is_held_by)
        };
        self.by_id.iter().filter(move |(_, entry)| passes(entry)).map(move |(todo, entry)| entry.shown(*todo, now))
    }
}

impl Todos {
    fn next(&self) -> TodoId {
        TodoId(self.by_id.len() as u64 + 1)
    }

    fn find(&self, todo: TodoId) -> Result<&Entry, Refusal> {
        self.by_id.get(&todo).ok_or(Refusal::Unknown { todo })
    }

    fn known(&mut self, todo: u64) -> &mut Entry {
        self.by_id.get_mut(&TodoId(todo)).expect("only an opened todo changes")
    }

    /// Ends the claim, if there is one.
    fn free(&mut self, todo: u64) -> bool {
        match self.known(todo).claim.take() {
            Some(claim) => self.lapsing.remove(&(claim.expires_at, TodoId(todo))),
            None => false,
        }
    }
}

impl Entry {
    fn new(opened: &OpenedV1) -> Self {
        Self {
            gap: opened.gap,
            title: opened.title.clone(),
            place: opened.place.clone(),
            closed: false,
            claim: None,
            opened_at: opened.at,
            closed_at: None,
            reopened: 0,
        }
    }

    /// The claim that holds at `now`.
    fn claim_at(&self, now: Timestamp) -> Option<&Claim> {
        self.claim.as_ref().filter(|claim| now < claim.expires_at)
    }

    fn state(&self, now: Timestamp) -> State {
        match self.claim_at(now) {
            _ if self.closed => State::Closed,
            Some(Claim { note: Some(_), .. }) => State::Submitted,
            Some(_) => State::Claimed,
            None => State::Open,
        }
    }

    fn shown(&self, id: TodoId, now: Timestamp) -> Todo {
        Todo {
            id,
            gap: self.gap,
            title: self.title.clone(),
            place: self.place.clone(),
            state: self.state(now),
            claim: self.claim_at(now).cloned(),
            opened_at: self.opened_at,
            closed_at: self.closed_at,
            reopened: self.reopened,
        }
    }
}

impl Claim {
    fn receipt(&self, todo: TodoId) -> Reply {
        Reply::Claimed { todo, token: self.token, expires_at: self.expires_at }
    }
}

impl ClaimedV1 {
    /// The holder, for whom the token is issued.
    ///
    /// # Panics
    /// If the record is corrupt.
    pub fn principal(&self) -> Principal {
        self.holder.parse().expect("a todo is claimed by a principal")
    }
}
