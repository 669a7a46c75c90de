//! Operations to open and to close, and how a fact is written and read.

use door::outcomes::{Begun, Command, Ended, Event, Outcomes, Refusal, Reply};
use journal::codec;
use kernel::{CommandId, Context, Decision, Machine, Millis, Outcome, Position, Timestamp};

pub const NOON: Timestamp = Timestamp(1_800_000_000_000);
pub const FIVE: Millis = Millis::minutes(5);
pub const TWELVE: Millis = Millis::hours(12);

pub fn id(number: u8) -> CommandId {
    CommandId::new(NOON, [number; 10])
}

pub fn context(number: u8, now: Timestamp) -> Context {
    let principal = "operator/root".parse().unwrap();
    Context { now, command_id: id(number), principal, decision: Decision::default() }
}

pub fn open(action: &str) -> Command {
    Command::Open { action: action.to_owned(), resource: "sop".to_owned() }
}

pub fn begin(thing: &str) -> Command {
    Command::Begin(Begun {
        stream: "backup".to_owned(),
        thing: thing.to_owned(),
        operation: id(200),
        action: "backup.create".to_owned(),
        resource: "*".to_owned(),
        principal: "agent/alpha".to_owned(),
        at: NOON,
    })
}

pub fn end(thing: &str, ended: Ended) -> Command {
    Command::End { stream: "backup".to_owned(), thing: thing.to_owned(), ended }
}

pub fn close(number: u64, ended: Ended) -> Command {
    Command::Close { number, ended }
}

pub fn failed() -> Ended {
    Ended::Failed { code: "backup.failed".to_owned() }
}

/// What a command comes to, by facts that were written and read.
pub fn decided(
    outcomes: &mut Outcomes,
    number: u8,
    command: &Command,
    now: Timestamp,
) -> Result<(Vec<Event>, Reply), Refusal> {
    let Outcome { events, reply } = outcomes.decide(command, &context(number, now))?;
    for event in &events {
        assert_eq!(&written_and_read(event), event, "it is read as it was written");
        outcomes.evolve(event, Position(1));
    }
    Ok((events, reply))
}

pub fn after(commands: &[Command]) -> Outcomes {
    let mut outcomes = Outcomes::default();
    for (number, command) in (1..).zip(commands) {
        decided(&mut outcomes, number, command, NOON).unwrap();
    }
    outcomes
}

/// Through the journal's own codec, which refuses what does not fit.
pub fn written_and_read(event: &Event) -> Event {
    let body = codec::write(event).unwrap();
    assert!(body.bytes.len() < 4 * 1024, "{} bytes", body.bytes.len());
    codec::read((body.kind.id, body.kind.version), &body.bytes).unwrap()
}
