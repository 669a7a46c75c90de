//! The machine of these tests: a shelf that things are put on, until it is full.

use kernel::{Context, Kind, Machine, Outcome, Position, Reader, Recorded, Refuse, Writer};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Command {
    Put {
        things: u64,
    },
    /// One after the other: so many facts.
    PutEach {
        things: u64,
    },
    /// As what is asked for has it: a command says what it is about.
    PutAt {
        place: String,
        things: u64,
    },
    /// Makes `decide` panic.
    Break,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put(PutV1);

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutV1 {
    pub things: u64,
}

const PUT: Kind = Kind { id: 9_000, version: 1, name: "shelf.put" };

impl Recorded for Put {
    const KINDS: &'static [Kind] = &[PUT];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        writer.put(PUT, &self.0)
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        if kind == (PUT.id, PUT.version) { reader.get().map(Self) } else { Err(reader.unknown()) }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{FULL} things are the most")]
pub struct Full;

pub const FULL: u64 = 100;

impl Refuse for Full {
    fn code(&self) -> &'static str {
        "shelf.full"
    }

    fn remedy(&self) -> String {
        "put less".into()
    }
}

/// Holds so many things.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shelf(pub u64);

impl Machine for Shelf {
    const NAME: &'static str = "shelf";
    const REVISION: u32 = 1;
    type Command = Command;
    type Event = Put;
    /// How many are there now.
    type Reply = u64;
    type Refusal = Full;

    fn decide(&self, command: &Command, _: &Context) -> Result<Outcome<Self>, Full> {
        match command {
            Command::Put { things } | Command::PutAt { things, .. } if self.0 + things <= FULL => {
                Ok(Outcome::new(vec![Put(PutV1 { things: *things })], self.0 + things))
            }
            Command::PutEach { things } if self.0 + things <= FULL => {
                Ok(Outcome::new((0..*things).map(|_| Put(PutV1 { things: 1 })).collect(), self.0 + things))
            }
            Command::Put { .. } | Command::PutAt { .. } | Command::PutEach { .. } => Err(Full),
            Command::Break => panic!("broken"),
        }
    }

    fn evolve(&mut self, event: &Put, _: Position) {
        self.0 += event.0.things;
    }
}
