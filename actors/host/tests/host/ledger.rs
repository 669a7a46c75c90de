//! The machine of these tests: a purse that is filled and emptied, holds money back for a while, and can be broken.

use std::collections::BTreeMap;

use kernel::{Context, Kind, Machine, Outcome, Position, Reader, Recorded, Refuse, Timestamp, Writer};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Command {
    /// Nothing added is "already so".
    Add {
        amount: u64,
    },
    Take {
        amount: u64,
    },
    /// Keeps `amount` aside until the clock releases it.
    Hold {
        amount: u64,
        until: Timestamp,
    },
    /// What the clock asks for. A held amount of [`CURSED`] makes it panic.
    Release,
    /// Makes `decide` panic.
    Break {
        how: u8,
    },
    /// Makes a fact at which `evolve` panics.
    Curse,
}

pub const CURSED: u64 = 13;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Added(AddedV1),
    Taken(TakenV1),
    Held(HeldV1),
    Released(ReleasedV1),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedV1 {
    pub amount: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenV1 {
    pub amount: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldV1 {
    pub amount: u64,
    pub until: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleasedV1 {
    pub until: Timestamp,
}

const ADDED: Kind = Kind { id: 901, version: 1, name: "ledger.added" };
const TAKEN: Kind = Kind { id: 902, version: 1, name: "ledger.taken" };
const HELD: Kind = Kind { id: 903, version: 1, name: "ledger.held" };
const RELEASED: Kind = Kind { id: 904, version: 1, name: "ledger.released" };

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[ADDED, TAKEN, HELD, RELEASED];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Added(body) => writer.put(ADDED, body),
            Self::Taken(body) => writer.put(TAKEN, body),
            Self::Held(body) => writer.put(HELD, body),
            Self::Released(body) => writer.put(RELEASED, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (901, 1) => reader.get().map(Self::Added),
            (902, 1) => reader.get().map(Self::Taken),
            (903, 1) => reader.get().map(Self::Held),
            (904, 1) => reader.get().map(Self::Released),
            _ => Err(reader.unknown()),
        }
    }
}

/// The balance after the command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply(pub u64);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("there are {balance}")]
    Overdrawn { balance: u64 },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        "ledger.overdrawn"
    }

    fn remedy(&self) -> String {
        "take less".to_owned()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    pub balance: u64,
    pub held: BTreeMap<Timestamp, u64>,
}

impl Ledger {
    fn taking(&self, amount: u64, event: Event) -> Result<Outcome<Self>, Refusal> {
        match self.balance.checked_sub(amount) {
            Some(left) => Ok(Outcome::new(vec![event], Reply(left))),
            None => Err(Refusal::Overdrawn { balance: self.balance }),
        }
    }
}

impl Machine for Ledger {
    const NAME: &'static str = "ledger";
    const REVISION: u32 = 1;

    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        match *command {
            Command::Add { amount: 0 } => Ok(Outcome::already(Reply(self.balance))),
            Command::Add { amount } => {
                Ok(Outcome::new(vec![Event::Added(AddedV1 { amount })], Reply(self.balance + amount)))
            }
            Command::Take { amount } => self.taking(amount, Event::Taken(TakenV1 { amount })),
            Command::Hold { amount, until } => self.taking(amount, Event::Held(HeldV1 { amount, until })),
            Command::Release => {
                let due: Vec<_> = self.held.range(..=cx.now).collect();
                assert!(due.iter().all(|(_, amount)| **amount != CURSED), "the hold is cursed");
                let back: u64 = due.iter().map(|(_, amount)| **amount).sum();
                let released = due.iter().map(|(until, _)| Event::Released(ReleasedV1 { until: **until }));
                Ok(Outcome::new(released.collect(), Reply(self.balance + back)))
            }
            Command::Break { how } => panic!("broken by {how}"),
            Command::Curse => {
                let half_done = Event::Added(AddedV1 { amount: 1 });
                let cannot_be = Event::Released(ReleasedV1 { until: Timestamp(0) });
                Ok(Outcome::new(vec![half_done, cannot_be], Reply(0)))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        match *event {
            Event::Added(AddedV1 { amount }) => self.balance += amount,
            Event::Taken(TakenV1 { amount }) => self.take(amount),
            Event::Held(HeldV1 { amount, until }) => {
                self.take(amount);
                *self.held.entry(until).or_default() += amount;
            }
            Event::Released(ReleasedV1 { until }) => {
                self.balance += self.held.remove(&until).expect("only what is held is released");
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.held.keys().next().copied()
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().is_some_and(|deadline| deadline <= now).then_some(Command::Release)
    }
}

impl Ledger {
    fn take(&mut self, amount: u64) {
        self.balance = self.balance.checked_sub(amount).expect("nothing is taken that is not there");
    }
}
