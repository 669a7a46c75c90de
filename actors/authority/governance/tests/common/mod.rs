//! What the tests of governance share: a few texts, and histories made by deciding.

use governance::{BUILT_IN, Claim, Command, Goal, Governance, Verdict};
use kernel::{CommandId, Context, Decision, Digest, Machine, Personal, Position, Timestamp};

pub const NOON: Timestamp = Timestamp(1_700_000_000_000);
pub const SECRET: Digest = Digest([7; 32]);
pub const ROOT: &str = "operator/root";
pub const ALPHA: &str = "agent/alpha";

pub const OPEN: &str = "permit (principal, action, resource);";
pub const DICTATOR: &str = "permit (principal == Operator::\"root\", action, resource);";
/// Valid, but nobody could propose or activate anything after it.
pub const NOBODY: &str = "permit (principal is Agent, action == Action::\"gap.list\", resource);";

pub fn told(who: &str, now: Timestamp) -> Context {
    let command_id = CommandId::new(now, [1; 10]);
    Context { now, command_id, principal: who.parse().unwrap(), decision: Decision::default() }
}

pub fn bootstrap() -> Command {
    Command::Bootstrap { operator: "root".to_owned(), credential: SECRET }
}

pub fn propose(text: &str) -> Command {
    Command::Propose { text: text.to_owned() }
}

pub fn activate(epoch: u64) -> Command {
    Command::Activate { epoch, expected_active: None, despite_counterexample: false }
}

/// One goal of the epoch, which is said to have this text, compared with what is built in.
pub fn claim(epoch: u64, text: &str, verdict: Verdict) -> Command {
    let digest = |text: &str| Digest(*blake3::hash(text.as_bytes()).as_bytes());
    let goals = vec![Goal { property: "never errors".into(), verdict, detail: "so".into() }];
    let solver = "cvc5 1.2".to_owned();
    Command::Claim { epoch, claim: Claim { text: digest(text), against: digest(BUILT_IN), solver, goals } }
}

pub fn stop() -> Command {
    stop_because("smoke")
}

pub fn stop_because(reason: &str) -> Command {
    Command::Stop { reason: Personal::plain(reason), on_behalf_of: String::new() }
}

/// Governance after these commands of the operator, all at noon.
pub fn after(commands: &[Command]) -> Governance {
    commands.iter().fold(Governance::default(), |governance, command| at(governance, command, NOON))
}

pub fn at(mut governance: Governance, command: &Command, now: Timestamp) -> Governance {
    let outcome =
        governance.decide(command, &told(ROOT, now)).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    for event in &outcome.events {
        governance.evolve(event, Position(1));
    }
    governance
}
