//! Requests and denials to decide about, and how a fact is written and read.

use door::decisions::{Command, Decisions, Event};
use journal::codec;
use kernel::{
    Asked, Attribute, CommandId, Context, Decision, Denial, Layer, Machine, Millis, Outcome, Position, Standing,
    Timestamp,
};

pub const NOON: Timestamp = Timestamp(1_800_000_000_000);

pub fn asked(resource: &str, context: &[(&str, Attribute)]) -> Asked {
    let context = context.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Asked::new("token.issue", resource, &context, &Standing::default())
}

pub fn denial() -> Denial {
    Denial::new(Layer::Policy, "policy.forbidden", "no", "ask an operator").rule("epoch 2: none").retry_after(Millis(5))
}

pub fn decided(decisions: &Decisions, command: &Command) -> Vec<Event> {
    let command_id = CommandId::new(NOON, [1; 10]);
    let principal = "agent/alpha".parse().unwrap();
    let told = Context { now: NOON, command_id, principal, decision: Decision::default() };
    let Ok(Outcome { events, reply: () }) = decisions.decide(command, &told);
    events
}

/// Through the journal's own codec, which refuses what does not fit.
pub fn written_and_read(event: &Event) -> Event {
    let body = codec::write(event).unwrap();
    assert!(body.bytes.len() < 60 * 1024, "{} bytes", body.bytes.len());
    codec::read((body.kind.id, body.kind.version), &body.bytes).unwrap()
}

pub fn after(commands: &[Command]) -> Decisions {
    let mut decisions = Decisions::default();
    for command in commands {
        for event in decided(&decisions, command) {
            decisions.evolve(&event, Position(1));
        }
    }
    decisions
}
