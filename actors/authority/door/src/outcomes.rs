//! What becomes of the requests that do not end with their first record: each is opened before its effect, and closed by what
//! became of it. A machine like any other.
//!
//! Most requests end where they begin: what one machine decides and commits stands in one append, so its records, or the
//! refusal in their place, say what became of it. Those need nothing here, and cost nothing more. [`OPERATIONS`] lists the
//! others: what a worker goes on with, and what has an effect outside of one machine.
//!
//! # Invariants
//! 1. What was opened is closed once: by who did it, by the record of the machine that did it, or, after its deadline or once
//!    the process that did it is gone, as unknown.
//! 2. What was closed as unknown is corrected at most once, by what is known later; nothing else is ever changed.
//! 3. The door opens at most [`OPEN_MAX`] at once. What a machine has begun is on record there, and is always taken.

use std::collections::BTreeMap;

use kernel::{Asked, CommandId, Context, Machine, Millis, Outcome, Position, Refuse, Timestamp, cut};
use serde::{Deserialize, Serialize};

use records::{ClosedV1, OpenedV1};

/// Something that goes on after its first record, or has an effect outside of one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Operation {
    pub action: &'static str,
    /// Nothing is known of one that was not closed within this.
    pub within: Millis,
    /// Who says what became of it.
    pub by: By,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Who asked the door for it, in this process.
    Asker,
    /// A machine whose records begin it and end it.
    Machine,
}

const fn asker(action: &'static str, within: Millis) -> Operation {
    Operation { action, within, by: By::Asker }
}

const fn machine(action: &'static str, within: Millis) -> Operation {
    Operation { action, within, by: By::Machine }
}

/// All of them, and for how long each may go on.
pub const OPERATIONS: &[Operation] = &[
    asker("audit.attest", Millis::minutes(5)),
    asker("audit.cosign", Millis::minutes(5)),
    machine("backup.create", Millis::hours(12)),
    machine("backup.drill", Millis::hours(24)),
    machine("backup.verify", Millis::hours(12)),
    asker("crypto.sign", Millis::minutes(5)),
    machine("gap.scan", Millis::hours(6)),
    machine("retention.prune", Millis::hours(12)),
    machine("subject.erase", Millis::hours(24)),
    // A plan lasts an hour at most.
    asker("system.chaos", Millis::minutes(75)),
    asker("system.kill", Millis::minutes(5)),
    asker("system.restart", Millis::minutes(5)),
];

/// What is known of such an action.
pub fn operation(action: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().find(|operation| operation.action == action)
}

/// Most that stand open at once.
pub const OPEN_MAX: usize = 256;
/// Most that were closed as unknown and can still be corrected.
pub const UNKNOWN_MAX: usize = 1_024;
/// Longest text of what is opened, in bytes; the request has all of it.
pub const TEXT_MAX: usize = 256;
/// For what the table does not have.
const WITHIN: Millis = Millis::hours(1);

/// What stands open, and what nothing is known of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    opened: u64,
    open: BTreeMap<u64, OpenedV1>,
    /// Closed as unknown, and not corrected.
    unknown: BTreeMap<u64, OpenedV1>,
    counts: Counts,
}

/// How many ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    pub succeeded: u64,
    pub failed: u64,
    pub unknown: u64,
    /// Unknown at first.
    pub corrected: u64,
}

/// What became of something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ended {
    Succeeded,
    Failed { code: String },
    Unknown,
}

/// The door, the routes and the clock ask; nobody else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Something begins, and who asked for it says how it ends.
    Open { action: String, resource: String },
    /// A machine has begun something, by a record of that command.
    Begin(Begun),
    /// What was opened under this number has ended.
    Close { number: u64, ended: Ended },
    /// What a machine calls so has ended there.
    End { stream: String, thing: String, ended: Ended },
    /// Who would say how those ended that were opened before this is gone.
    Forsake { before: Timestamp },
    /// Some are over their deadline.
    Expire,
}

/// What a machine has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Begun {
    pub stream: String,
    /// What the machine calls it.
    pub thing: String,
    pub operation: CommandId,
    pub action: String,
    pub resource: String,
    pub principal: String,
    pub at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Opened(OpenedV1),
    Closed(ClosedV1),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    Opened {
        number: u64,
    },
    /// So many were.
    Closed {
        count: u64,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    #[error("{open} operations are under way, and that is as many as may be")]
    Full { open: u64 },
}

impl Refuse for Refusal {
    fn code(&self) -> &'static str {
        match self {
            Self::Full { .. } => "outcomes.full",
        }
    }

    fn remedy(&self) -> String {
        match self {
            Self::Full { .. } => {
                "wait until some have ended: `sop audit list --outcome open`; then ask under a new command id".into()
            }
        }
    }
}

impl Machine for Outcomes {
    const NAME: &'static str = "outcomes";
    const REVISION: u32 = 1;
    type Command = Command;
    type Event = Event;
    type Reply = Reply;
    type Refusal = Refusal;

    fn decide(&self, command: &Command, cx: &Context) -> Result<Outcome<Self>, Refusal> {
        let now = cx.now;
        match command {
            Command::Open { .. } if self.is_full() => Err(Refusal::Full { open: self.open.len() as u64 }),
            Command::Open { action, resource } => Ok(self.opened(
                &Begun {
                    stream: Self::NAME.to_owned(),
                    thing: String::new(),
                    operation: cx.command_id,
                    action: action.clone(),
                    resource: resource.clone(),
                    principal: cx.principal.to_string(),
                    at: now,
                },
                now,
            )),
            Command::Begin(begun) => Ok(self.opened(begun, now)),
            Command::Close { number, ended } => Ok(self.closed([*number], ended, now)),
            Command::End { stream, thing, ended } => {
                let is = |one: &&OpenedV1| one.stream == *stream && one.thing == *thing;
                let found = self.open.values().find(is).or_else(|| self.unknown.values().rev().find(is));
                Ok(self.closed(found.map(|one| one.number), ended, now))
            }
            Command::Forsake { before } => {
                let gone = self.open.values().filter(|one| one.thing.is_empty() && one.began < *before);
                Ok(self.closed(gone.map(|one| one.number), &Ended::Unknown, now))
            }
            Command::Expire => {
                let over = self.open.values().filter(|one| one.deadline <= now);
                Ok(self.closed(over.map(|one| one.number), &Ended::Unknown, now))
            }
        }
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        match event {
            Event::Opened(opened) => {
                self.opened += 1;
                assert_eq!(opened.number, self.opened, "they are numbered without a gap");
                self.open.insert(opened.number, opened.clone());
            }
            Event::Closed(closed) => {
                let from = if closed.corrects { &mut self.unknown } else { &mut self.open };
                let was =
                    from.remove(&closed.number).expect("only what is open is closed, and what is unknown corrected");
                self.counts.corrected += u64::from(closed.corrects);
                match closed.ended() {
                    Ended::Succeeded => self.counts.succeeded += 1,
                    Ended::Failed { .. } => self.counts.failed += 1,
                    Ended::Unknown => {
                        self.counts.unknown += 1;
                        self.unknown.insert(closed.number, was);
                    }
                }
                if let Some(forgotten) = closed.forgets {
                    self.unknown.remove(&forgotten).expect("only what is known is forgotten");
                }
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.open.values().map(|one| one.deadline).min()
    }

    fn due(&self, now: Timestamp) -> Option<Command> {
        self.deadline().filter(|deadline| *deadline <= now).map(|_| Command::Expire)
    }
}

impl Outcomes {
    /// In the order in which they were opened.
    pub fn open(&self) -> impl DoubleEndedIterator<Item = &OpenedV1> {
        self.open.values()
    }

    /// What was closed as unknown, and is to this day.
    pub fn unknown(&self) -> impl DoubleEndedIterator<Item = &OpenedV1> {
        self.unknown.values()
    }

    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether nothing more is opened at the door.
    pub fn is_full(&self) -> bool {
        OPEN_MAX <= self.open.len()
    }

    fn opened(&self, begun: &Begun, now: Timestamp) -> Outcome<Self> {
        let Begun { stream, thing, operation: id, action, resource, principal, at } = begun;
        let number = self.opened + 1;
        let opened = OpenedV1 {
            number,
            operation: *id,
            stream: cut(stream, Asked::NAME_MAX),
            thing: cut(thing, TEXT_MAX),
            action: cut(action, Asked::NAME_MAX),
            resource: cut(resource, TEXT_MAX),
            principal: cut(principal, TEXT_MAX),
            began: *at,
            deadline: now + operation(action).map_or(WITHIN, |operation| operation.within),
        };
        Outcome::new(vec![Event::Opened(opened)], Reply::Opened { number })
    }

    /// Closes those that are open, and corrects those that are unknown.
    fn closed(&self, numbers: impl IntoIterator<Item = u64>, ended: &Ended, now: Timestamp) -> Outcome<Self> {
        let numbers: Vec<_> = numbers.into_iter().collect();
        let (mut events, mut unknown) = (Vec::new(), self.unknown.len());
        let mut oldest = self.unknown.keys().chain(&numbers);
        for &number in &numbers {
            let (found, corrects) = match (self.open.get(&number), self.unknown.get(&number)) {
                (Some(open), _) => (open, false),
                (None, Some(unknown)) if *ended != Ended::Unknown => (unknown, true),
                // It has been closed already.
                (None, _) => continue,
            };
            unknown += usize::from(*ended == Ended::Unknown);
            // Once there is no room, each makes its own.
            let forgets = if UNKNOWN_MAX < unknown { oldest.next().copied() } else { None };
            events.push(Event::Closed(ClosedV1::new(found, ended, corrects, forgets, now)));
        }
        let count = events.len() as u64;
        Outcome::new(events, Reply::Closed { count })
    }
}

/// Frozen bodies, kinds 502 and 503.
pub mod records {
    use kernel::{Asked, CommandId, Kind, Reader, Recorded, Timestamp, Writer, cut};
    use serde::{Deserialize, Serialize};

    use super::{Ended, Event};

    const OPENED_V1: Kind = Kind { id: 502, version: 1, name: "operation.opened" };
    const CLOSED_V1: Kind = Kind { id: 503, version: 1, name: "operation.closed" };

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct OpenedV1 {
        pub number: u64,
        /// The command whose record began it, in this stream.
        pub operation: CommandId,
        pub stream: String,
        /// What the machine of that stream calls it; nothing, if who asked for it says how it ends.
        pub thing: String,
        pub action: String,
        pub resource: String,
        pub principal: String,
        pub began: Timestamp,
        /// First instant at which nothing is known of it.
        pub deadline: Timestamp,
    }

    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct ClosedV1 {
        pub number: u64,
        pub operation: CommandId,
        pub stream: String,
        /// 0 succeeded, 1 failed, 2 unknown.
        pub outcome: u8,
        /// Of a failure.
        pub code: String,
        /// It had been closed as unknown.
        pub corrects: bool,
        /// One that was closed as unknown, and can be corrected no more.
        pub forgets: Option<u64>,
        pub at: Timestamp,
    }

    impl ClosedV1 {
        pub(super) fn new(
            opened: &OpenedV1,
            ended: &Ended,
            corrects: bool,
            forgets: Option<u64>,
            at: Timestamp,
        ) -> Self {
            let (outcome, code) = match ended {
                Ended::Succeeded => (0, ""),
                Ended::Failed { code } => (1, code.as_str()),
                Ended::Unknown => (2, ""),
            };
            let (operation, stream) = (opened.operation, opened.stream.clone());
            let code = cut(code, Asked::NAME_MAX);
            Self { number: opened.number, operation, stream, outcome, code, corrects, forgets, at }
        }

        pub fn ended(&self) -> Ended {
            match self.outcome {
                0 => Ended::Succeeded,
                1 => Ended::Failed { code: self.code.clone() },
                // What a later release may add is not known to this one.
                _ => Ended::Unknown,
            }
        }
    }

    impl Recorded for Event {
        const KINDS: &'static [Kind] = &[OPENED_V1, CLOSED_V1];

        fn write<W: Writer>(&self, writer: W) -> W::Done {
            match self {
                Self::Opened(body) => writer.put(OPENED_V1, body),
                Self::Closed(body) => writer.put(CLOSED_V1, body),
            }
        }

        fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
            match kind {
                (502, 1) => reader.get().map(Self::Opened),
                (503, 1) => reader.get().map(Self::Closed),
                _ => Err(reader.unknown()),
            }
        }
    }
}
