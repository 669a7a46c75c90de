//! What both tests say keys with.

use crypto::{Command, Crypto, Event, KeyId, Purpose, Task, Voucher};
use kernel::{CommandId, Context, Decision, Machine, Personal, Position, Refuse, Timestamp, json};

pub const ROOT: &str = "operator/root";
pub const WORKER: &str = "internal/custodian";
pub const ED25519: u16 = 0x0401;
pub const ML_DSA: u16 = 0x0407;
pub const ID: CommandId = CommandId(7);

pub fn cx(by: &str) -> Context {
    Context {
        now: Timestamp(1_800_000_000_000),
        command_id: ID,
        principal: by.parse().unwrap(),
        decision: Decision::default(),
    }
}

pub fn generate(suite: u16) -> Command {
    Command::Generate { keys: vec![(Purpose::BackupManifests, suite)], missing: false }
}

pub fn rotate(suite: Option<u16>) -> Command {
    Command::Rotate { purpose: Some(Purpose::BackupManifests), suite }
}

pub fn revoke(key: KeyId, since: u64) -> Command {
    Command::Revoke { key, since, reason: Personal::plain("it was on a lost disk") }
}

pub fn destroy(key: KeyId) -> Command {
    Command::Destroy { key }
}

pub fn public(key: KeyId) -> Vec<u8> {
    key.to_string().into_bytes()
}

pub fn made(key: KeyId) -> Command {
    Command::Made { key, public: public(key), voucher: None }
}

pub fn vouched(key: KeyId, by: u32) -> Command {
    let voucher = Some(Voucher { by, signed: b"it follows me".to_vec() });
    Command::Made { key, public: public(key), voucher }
}

pub fn abandon(key: KeyId) -> Command {
    Command::Abandon { key, why: "not allowed".into() }
}

pub fn destroyed(key: KeyId) -> Command {
    Command::Destroyed { key }
}

/// How many facts came of it, each of which reads as it was written; or the code of the refusal.
pub fn run(keys: &mut Crypto, by: &str, command: &Command) -> Result<usize, &'static str> {
    let outcome = keys.decide(command, &cx(by)).map_err(|refusal| {
        assert!(!refusal.remedy().is_empty());
        refusal.code()
    })?;
    for event in &outcome.events {
        let (kind, body) = json::write(event);
        assert_eq!(json::read::<Event>((kind.id, kind.version), body).as_ref(), Ok(event));
        keys.evolve(event, Position(0));
    }
    Ok(outcome.events.len())
}

/// Who may say what, as it is in the authority.
pub fn by(command: &Command) -> &'static str {
    match command {
        Command::Generate { .. }
        | Command::Rotate { .. }
        | Command::Revoke { .. }
        | Command::Destroy { .. }
        | Command::Verify
        | Command::UpdateRefs => ROOT,
        _ => WORKER,
    }
}

pub fn after(commands: &[Command]) -> Crypto {
    let mut keys = Crypto::default();
    for command in commands {
        run(&mut keys, by(command), command).unwrap_or_else(|code| panic!("{command:?}: {code}"));
    }
    keys
}

pub fn next(keys: &Crypto) -> Option<Task> {
    keys.tasks().next()
}
