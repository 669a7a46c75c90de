//! What a concern is: a deterministic, event-sourced state machine.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CommandId, Decision, Denial, Layer, Position, Principal, Recorded, Timestamp};

/// A concern of the authority. The implementing type *is* the state.
///
/// The same code serves live operation, replay and simulation, so it has no clock, randomness or I/O, keeps ordered maps,
/// and never lets a constant that decides appear in [`evolve`](Machine::evolve): the event carries its consequence.
///
/// Its state is written down as it is, and read again by the same release: see [`REVISION`](Machine::REVISION).
pub trait Machine: Default + Serialize + DeserializeOwned + Send + 'static {
    /// Actor name and journal stream. On disk: never renamed.
    const NAME: &'static str;
    /// Raised when `evolve` changes its meaning: older snapshots are discarded.
    const REVISION: u32;

    type Command: Serialize + Send + 'static;
    type Event: Recorded + Clone + Send + Sync + 'static;
    /// Kept beside the first record of its command, so that a repeat gets the first answer.
    type Reply: Serialize + DeserializeOwned + Clone + Send + 'static;
    type Refusal: Refuse + Serialize + DeserializeOwned + Clone + Send + 'static;

    /// Answers `command` with the facts it would create; changes nothing.
    ///
    /// # Errors
    /// The refusal to hand to the caller. A refusal is an answer, not a fault.
    fn decide(&self, command: &Self::Command, cx: &Context) -> Result<Outcome<Self>, Self::Refusal>;

    /// Applies one fact. Never refuses: what happened, happened.
    ///
    /// # Panics
    /// If `event` cannot follow from this state, that is, if the journal is corrupt.
    fn evolve(&mut self, event: &Self::Event, at: Position);

    /// When [`due`](Machine::due) next has something to ask. The host sets one timer. Validity never waits for it: what
    /// compares times compares with `cx.now`, and the events of expiry are bookkeeping.
    fn deadline(&self) -> Option<Timestamp> {
        None
    }

    /// What the clock asks for at `now`, once the deadline has come.
    fn due(&self, _now: Timestamp) -> Option<Self::Command> {
        None
    }
}

/// The facts that a command creates, and what its caller is told. No facts means "already so".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<M: Machine> {
    pub events: Vec<M::Event>,
    pub reply: M::Reply,
}

impl<M: Machine> Outcome<M> {
    pub fn new(events: Vec<M::Event>, reply: M::Reply) -> Self {
        Self { events, reply }
    }

    /// Nothing changes.
    pub fn already(reply: M::Reply) -> Self {
        Self { events: Vec::new(), reply }
    }
}

/// All that a machine learns besides its command: the only clock, the only source of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// Never before the time of the stream's last record.
    pub now: Timestamp,
    pub command_id: CommandId,
    pub principal: Principal,
    pub decision: Decision,
}

/// A refusal: worded for the caller, with a stable code for programs and the next step.
pub trait Refuse: fmt::Display {
    /// `concern.reason`, for example `tokens.expired`. Never changed once released.
    fn code(&self) -> &'static str;

    /// What the caller can do next, one sentence.
    fn remedy(&self) -> String;

    fn denial(&self) -> Denial {
        use alloc::string::ToString;
        Denial::new(Layer::Decide, self.code(), self.to_string(), self.remedy())
    }
}
