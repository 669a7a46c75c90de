//! Whatever fails, in whatever layer, the answer is no, and it says what to do. What can be wrong with an approval is in
//! `approvals`, and what the judge alone can see in `tests/judge.rs`.

use door::{Ask, Denied, Limits as Rate, Secret, SecretKind};
use identity::{Command, CredentialId};
use kernel::{Layer, Millis, Personal, Timestamp};
use tokens::Grant;

use crate::world::{ISSUER, Mode, NOON, OPEN, Setup, World, ask, bearing, by, foreign, id_at, with, word};

const ALPHA: &str = "agent/alpha";
const KEY: CredentialId = CredentialId(7);

fn put(number: u8) -> Ask {
    ask(number, "todo.release", "todo-7")
}

/// A key of somebody who is admitted for everything, good until then.
async fn key(world: &World, until: Option<Timestamp>) -> Secret {
    world.admit(ALPHA, "*", None).await;
    let secret = Secret::generate(SecretKind::Key(KEY));
    let (principal, digest, label) = (ALPHA.parse().unwrap(), secret.digest(), "key".to_owned());
    let made = Command::MakeCredential {
        id: KEY,
        principal,
        proof: identity::Proof::Secret(digest),
        label,
        until,
        break_glass: false,
    };
    world.identify(made).await;
    secret
}

/// Known by tokens of an issuer elsewhere.
async fn named_elsewhere() -> World {
    let world = World::open().await;
    world.admit(ALPHA, "*", None).await;
    let proof = identity::Proof::Foreign { issuer: ISSUER.into(), subject: "alpha".into(), claim: None };
    let (principal, label) = (ALPHA.parse().unwrap(), "idp".to_owned());
    let made = Command::MakeCredential { id: KEY, principal, proof, label, until: None, break_glass: false };
    world.identify(made).await;
    world
}

async fn two_eyes() -> World {
    let rule = "forbid (principal, action == Action::\"todo.release\", resource) unless { context.approvals >= 1 };";
    World::with(Setup::default(), &format!("{OPEN}{rule}")).await
}

/// One row: what failed, what was asked in a world where it did, and what must be answered.
struct Row {
    failed: &'static str,
    world: World,
    ask: Ask,
    layer: Layer,
    code: &'static str,
    /// Part of it.
    remedy: &'static str,
}

#[tokio::test]
async fn every_failure_of_every_layer_is_a_no_with_a_remedy() {
    let mut rows = Vec::new();
    let mut row = |failed, world, ask, layer, code, remedy| rows.push(Row { failed, world, ask, layer, code, remedy });

    let world = World::open().await;
    let nobody = Ask { credential: None, ..put(1) };
    row("a credential is missing", world, nobody, Layer::Authenticate, "door.no_credential", "--credential");
    let shapeless = by("a guess", put(1));
    let world = World::open().await;
    row("it is no secret of ours", world, shapeless, Layer::Authenticate, "door.unknown_credential", "--credential");
    let malformed = by("sop_7_short", put(1));
    let world = World::open().await;
    row("it is malformed", world, malformed, Layer::Authenticate, "door.malformed_credential", "--credential");
    let world = World::open().await;
    key(&world, None).await;
    let forged = by(Secret::generate(SecretKind::Key(KEY)).expose(), put(1));
    row("it is forged", world, forged, Layer::Authenticate, "door.unknown_credential", "--credential");
    let world = World::open().await;
    let expired = by(key(&world, Some(NOON + Millis(1))).await.expose(), put(1));
    world.later(Millis(1));
    row("it has expired", world, expired, Layer::Authenticate, "door.credential_expired", "--create");
    let world = World::open().await;
    let revoked = by(key(&world, None).await.expose(), put(1));
    world.identify(Command::Revoke { id: KEY }).await;
    row("it was revoked", world, revoked, Layer::Authenticate, "door.credential_revoked", "--create");

    for (failed, fault, code, remedy) in [
        ("a foreign token is malformed", "odd", "door.foreign_malformed", "as the issuer"),
        ("nobody believes its issuer", "issuer", "door.foreign_issuer", "http.issuers"),
        ("it is signed by none, or by a secret", "algorithm", "door.foreign_algorithm", "http.issuers"),
        ("its key is not known", "key", "door.foreign_key", "try again"),
        ("it is forged", "signature", "door.foreign_signature", "as the issuer"),
        ("it is for another audience", "audience", "door.foreign_audience", "ask the issuer"),
        ("it lacks a claim", "claim", "door.foreign_claim", "ask the issuer"),
        ("the issuer's keys were never read", "stale", "door.foreign_keys_stale", "mends"),
        ("it is not good yet", "early", "door.foreign_not_yet", "wait"),
        ("the issuer's keys are too old", "old", "door.foreign_keys_stale", "mends"),
    ] {
        row(failed, named_elsewhere().await, by(&foreign(fault), put(1)), Layer::Authenticate, code, remedy);
    }
    let elsewhere = || by(&foreign("good"), put(1));
    let world = World::open().await;
    row("it names nobody", world, elsewhere(), Layer::Authenticate, "door.foreign_unknown", "--issuer");
    let world = named_elsewhere().await;
    world.later(Millis::minutes(5));
    row("it has expired", world, elsewhere(), Layer::Authenticate, "door.foreign_expired", "new one");
    let world = named_elsewhere().await;
    world.identify(Command::Revoke { id: KEY }).await;
    row("its credential was revoked", world, elsewhere(), Layer::Authenticate, "door.foreign_revoked", "operator");
    let world = named_elsewhere().await;
    world.put(&elsewhere(), 2).await.unwrap();
    row("it is replayed, to do more", world, elsewhere(), Layer::Request, "host.id_taken", "new command id");
    let world = named_elsewhere().await;
    world.identify(Command::Suspend { principal: ALPHA.parse().unwrap(), reason: Personal::default() }).await;
    row("whom it names is suspended", world, elsewhere(), Layer::Admit, "door.suspended", "security resume");
    let world = named_elsewhere().await;
    for _ in 0..5 {
        word(world.put(&by(&foreign("signature"), put(1)), 1).await);
    }
    row("somebody made signatures up", world, elsewhere(), Layer::Limit, "door.locked_out", "wait");

    let world = World::open().await;
    world.issue(1, "todo.release", 1).await;
    world.later(Millis::hours(100_000));
    row("a token has expired", world, bearing(1, put(1)), Layer::Token, "tokens.expired", "new token");
    let world = World::open().await;
    let token = world.issue(1, "todo.release", 1).await;
    world.revoke(token).await;
    row("it was revoked", world, bearing(1, put(1)), Layer::Token, "tokens.revoked", "new token");
    let world = World::open().await;
    world.issue(1, "todo.release", 1).await;
    world.put(&bearing(1, put(9)), 1).await.unwrap();
    row("it is used up", world, bearing(1, put(1)), Layer::Token, "tokens.double_spend", "token");
    let world = World::open().await;
    world.issue_for("elsewhere", ALPHA, 1, "todo.release", 1, Grant::Operation).await;
    row("it is for another audience", world, bearing(1, put(1)), Layer::Admit, "door.not_capable", "ask an operator");
    let world = World::open().await;
    world.issue(1, "todo.submit", 1).await;
    row("it is for something else", world, bearing(1, put(1)), Layer::Admit, "door.not_capable", "todo.release");

    let world = World::open().await;
    let gone = ask(1, "gap.close", "*");
    row("there is no such action", world, gone, Layer::Request, "request.unknown_action", "/v1/actions");
    let world = World::open().await;
    let long = ask(1, "todo.release", &"x".repeat(5_000));
    row("it is too long", world, long, Layer::Request, "request.too_long", "short");
    let world = World::open().await;
    let ahead = Ask { command_id: id_at(NOON + Millis::minutes(2), 1), ..put(1) };
    row("its id is from the future", world, ahead, Layer::Request, "host.id_untimely", "UUIDv7");
    let world = World::open().await;
    world.later(Millis::hours(48));
    row("its id is too old", world, put(1), Layer::Request, "host.id_stale", "UUIDv7");
    let world = World::open().await;
    world.put(&put(1), 2).await.unwrap();
    row("an id is used again", world, put(1), Layer::Request, "host.id_taken", "new command id");

    let world = World::open().await;
    world.door.stop(&ask(9, "system.stop", "*"), crate::world::said("fire")).await.unwrap();
    row("everything was stopped", world, put(1), Layer::Seal, "door.sealed", "sop resume");

    let world = World::open().await;
    let suspended = by(key(&world, None).await.expose(), put(1));
    world.identify(Command::Suspend { principal: ALPHA.parse().unwrap(), reason: Personal::default() }).await;
    row("who asks is suspended", world, suspended, Layer::Admit, "door.suspended", "security resume");
    let world = World::open().await;
    let scoped = by(key(&world, None).await.expose(), put(1));
    world.admit(ALPHA, "gap.*", None).await;
    row("it is over scope", world, scoped, Layer::Admit, "door.no_capability", "--can 'todo.release'");

    let world = World::open().await;
    key(&world, None).await;
    let guess = || by(Secret::generate(SecretKind::Key(KEY)).expose(), put(1));
    for _ in 0..5 {
        word(world.put(&guess(), 1).await);
    }
    row("somebody guessed", world, guess(), Layer::Limit, "door.locked_out", "wait");
    let setup = Setup { rate: Rate { requests_per_second: 1, burst: 1 }, ..Setup::default() };
    let world = World::with(setup, OPEN).await;
    let often = by(key(&world, None).await.expose(), put(1));
    world.door.witness(&Ask { command_id: id_at(NOON, 9), ..often.clone() }).await.unwrap();
    row("somebody asks too often", world, often, Layer::Limit, "door.rate_limited", "wait");

    let world = World::open().await;
    let (whose, action) = ("operator/root".parse().unwrap(), "todo.*".parse().unwrap());
    let allowance = identity::Allowance { whose, action, limit: 1, window: Millis::hours(1) };
    let set = Command::SetQuota { name: "puts".into(), allowance, reason: Personal::default() };
    world.identify(set).await;
    world.put(&put(9), 1).await.unwrap();
    row("a quota is used up", world, put(1), Layer::Limit, "door.quota_used_up", "wait");

    let world = Setup::default().start().await;
    world.bootstrap().await;
    row("there is no policy", world, put(1), Layer::Policy, "policy.not_permitted", "proposes");
    let rule = "forbid (principal, action == Action::\"todo.release\", resource);";
    let world = World::with(Setup::default(), &format!("{OPEN}{rule}")).await;
    row("a policy forbids", world, put(1), Layer::Policy, "policy.forbidden", "policy show");
    let fails =
        "forbid (principal, action == Action::\"token.issue\", resource) when { context.lifetime_ms * 1000000 > 1 };";
    let world = World::with(Setup::default(), &format!("{OPEN}{fails}")).await;
    let issue = [("lifetime_ms", i64::MAX / 10), ("uses", 1)];
    let issue = issue.into_iter().fold(ask(1, "token.issue", "*"), |ask, (name, value)| with(ask, name, value));
    let issue = [("audience", "sop"), ("operation", "x"), ("subject", ALPHA), ("kind", "operation")]
        .into_iter()
        .fold(issue, |ask, (name, value)| with(ask, name, value));
    row("a policy fails", world, issue, Layer::Policy, "policy.error", "mends");
    let world = World::open().await;
    let odd = with(put(1), "no_such_attribute", 1);
    row("the schema has no such question", world, odd, Layer::Policy, "policy.error", "policy");
    let world = two_eyes().await;
    row("approvals are missing", world, put(1), Layer::Policy, "policy.approval_needed", "approved");

    for (failed, part) in
        [("governance is down", 0), ("identity is down", 1), ("tokens are down", 2), ("it is down", 3)]
    {
        let world = World::open().await;
        match part {
            0 => world.kill(&world.governance).await,
            1 => world.kill(&world.identity).await,
            2 => world.kill(&world.tokens).await,
            _ => world.kill(&world.shelf).await,
        }
        row(failed, world, put(1), Layer::Availability, "door.not_ready", "sop tree");
    }
    let world = World::open().await.again_with(|setup| setup.reserve_bytes = u64::MAX).await;
    row("the disk is full", world, put(1), Layer::Commit, "journal.disk_full", "free disk space");
    let world = World::open().await;
    world.setup.disk.set(Mode::Fail { written: false });
    row("the journal cannot be written", world, put(1), Layer::Commit, "host.outcome_unknown", "same command id");

    let mut wrong = Vec::new();
    for Row { failed, world, ask, layer, code, remedy } in rows {
        match world.put(&ask, 1).await {
            Err(Denied { denial, .. })
                if (denial.layer, denial.code.as_str()) == (layer, code)
                    && denial.remedy.contains(remedy)
                    && !denial.reason.is_empty() => {}
            other => wrong.push(format!("{failed}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A clock that is set back brings nothing back to life: neither while the process lives nor after another start.
#[tokio::test]
async fn a_clock_that_goes_back_revives_nothing() {
    let world = World::open().await;
    let until = NOON + Millis::minutes(5);
    let secret = key(&world, Some(until)).await;
    let by_key = |number| by(secret.expose(), put(number));
    let token = Ask { command_id: id_at(until, 3), ..bearing(1, put(3)) };
    world.issue(1, "todo.release", 5).await;
    world.later(Millis::hours(24));
    assert_eq!(word(world.put(&token, 1).await), "tokens.expired");
    assert_eq!(word(world.put(&by_key(1), 1).await), "door.credential_expired");
    world.earlier(Millis::hours(24));
    assert_eq!(word(world.put(&by_key(2), 1).await), "door.credential_expired");
    assert_eq!(word(world.put(&token, 1).await), "tokens.expired");
    let world = world.again().await;
    assert_eq!(word(world.put(&by_key(4), 1).await), "door.credential_expired", "after a start, too");
    assert_eq!(word(world.put(&token, 1).await), "tokens.expired");
    assert_eq!(world.on_shelf().await, 0);
}
