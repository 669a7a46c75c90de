//! Subscriptions: who reads which records, and how far he has come.
//!
//! A pure [`Machine`]. It keeps the cursors; the records themselves are read from the journal by whoever shows them. A
//! position is a number that callers bring: nothing here knows which records there are. Reading changes nothing, so that what
//! was read and not acknowledged is read again: at least once, in order, none left out.
//!
//! # Invariants
//! 1. A name is one subscription's, of the owner that created it; a deleted one leaves its name free.
//! 2. A position never goes back, and passes nothing that was not given out.
//! 3. Only its owner reads and acknowledges; only he or an operator deletes.

#![no_std]

extern crate alloc;

pub mod records;
mod vocabulary;

use alloc::borrow::ToOwned;
use alloc::collections::BTreeMap;
use alloc::string::{String, ToString};
use alloc::vec;

use kernel::{Context, Kin, Machine, Outcome, Position, Principal};
use serde::{Deserialize, Serialize};

pub use records::Event;
use records::{AcknowledgedV1, CreatedV1, DeletedV1};
pub use vocabulary::*;

/// Every subscription there is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subscriptions {
    by_name: BTreeMap<String, Subscription>,
}

impl Machine for Subscriptions {
    const NAME: &'static str = "subscriptions";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let (at, principal) = (cx.now, &cx.principal);
        match command.clone() {
            Command::Create { name, wanted, from, head } => match self.by_name.get(&name) {
                // A retry, or a program that starts again: it goes on from where it was.
                Some(known) if known.owner == *principal && known.wanted == wanted => {
                    Ok(Outcome::already(Reply { position: known.position }))
                }
                Some(_) => Err(Refusal::Taken { name }),
                None => {
                    self.fits(&name, &wanted, principal)?;
                    let after = from.map_or(head, |from| from.saturating_sub(1));
                    if head < after {
                        return Err(Refusal::Ahead { head });
                    }
                    let Wanted { streams, kinds } = wanted;
                    let (streams, kinds) = (streams.into_iter().collect(), kinds.into_iter().collect());
                    let created = CreatedV1 { name, owner: principal.to_string(), streams, kinds, after, at };
                    Ok(Outcome::new(vec![Event::Created(created)], Reply { position: after }))
                }
            },
            Command::Acknowledge { name, position, given } => {
                let known = self.readable(&name, principal)?;
                if position <= known.position {
                    return Ok(Outcome::already(Reply { position: known.position }));
                }
                if !given {
                    return Err(Refusal::NotGiven { name, position });
                }
                let acknowledged = AcknowledgedV1 { name, position, at };
                Ok(Outcome::new(vec![Event::Acknowledged(acknowledged)], Reply { position }))
            }
            Command::Delete { name } => {
                let known = self.find(&name)?;
                if known.owner != *principal && principal.kin != Kin::Operator {
                    return Err(Refusal::Foreign { name });
                }
                let position = known.position;
                Ok(Outcome::new(vec![Event::Deleted(DeletedV1 { name, at })], Reply { position }))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        match event.clone() {
            Event::Created(CreatedV1 { name, owner, streams, kinds, after, at }) => {
                let owner = owner.parse().expect("a recorded owner is a principal");
                let wanted = Wanted { streams: streams.into_iter().collect(), kinds: kinds.into_iter().collect() };
                let created = Subscription { owner, wanted, position: after, created_at: at, moved_at: at };
                let earlier = self.by_name.insert(name, created);
                assert_eq!(earlier, None, "a name is one subscription's");
            }
            Event::Acknowledged(AcknowledgedV1 { name, position, at }) => {
                let known = self.by_name.get_mut(&name).expect("only what there is is acknowledged");
                assert!(known.position < position, "a position never goes back");
                (known.position, known.moved_at) = (position, at);
            }
            Event::Deleted(DeletedV1 { name, .. }) => {
                self.by_name.remove(&name).expect("only what there is is deleted");
            }
        }
    }
}

impl Subscriptions {
    /// In the order of their names.
    pub fn list(&self) -> impl Iterator<Item = (&str, &Subscription)> {
        self.by_name.iter().map(|(name, subscription)| (name.as_str(), subscription))
    }

    /// The subscription of that name, if `who` may read it.
    ///
    /// # Errors
    /// [`Refusal::Unknown`] or [`Refusal::Foreign`].
    pub fn readable(&self, name: &str, who: &Principal) -> Result<&Subscription, Refusal> {
        let known = self.find(name)?;
        if known.owner == *who { Ok(known) } else { Err(Refusal::Foreign { name: name.to_owned() }) }
    }

    /// How many there are, and the position of the one that is furthest behind.
    pub fn furthest_behind(&self) -> (usize, Option<u64>) {
        (self.by_name.len(), self.by_name.values().map(|subscription| subscription.position).min())
    }

    fn find(&self, name: &str) -> Result<&Subscription, Refusal> {
        self.by_name.get(name).ok_or_else(|| Refusal::Unknown { name: name.chars().take(80).collect() })
    }

    fn fits(&self, name: &str, wanted: &Wanted, owner: &Principal) -> Result<(), Refusal> {
        // Names are what those of principals are.
        if Principal::new(Kin::Internal, name).is_err() {
            return Err(Refusal::Name { name: name.chars().take(80).collect() });
        }
        let most = wanted.streams.len().max(wanted.kinds.len());
        if WANTED_MAX < most || wanted.streams.iter().any(|stream| STREAM_MAX < stream.len()) {
            return Err(Refusal::TooMuchWanted);
        }
        let his = self.by_name.values().filter(|subscription| subscription.owner == *owner).count();
        for (there, max) in [(self.by_name.len(), SUBSCRIPTIONS_MAX), (his, OWNED_MAX)] {
            if max <= there {
                return Err(Refusal::TooMany { max: max as u64 });
            }
        }
        Ok(())
    }
}
