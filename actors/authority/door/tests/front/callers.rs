//! Who asks: keys, users of the machine, lockout, rates, and who is no longer admitted.

use std::sync::Arc;

use door::{Ask, Bearer, Certificate, Denied, Limits as Rate, Secret, SecretKind, Source, Trace};
use identity::{Command, CredentialId, Proof};
use kernel::{Denial, Digest, Layer, Millis, Personal};

use crate::world::{ISSUER, OPEN, Setup, World, ask, bearing, by, foreign, root_credential, told, word};

const KEY: CredentialId = CredentialId(7);
const ALPHA: &str = "agent/alpha";

/// An API key of somebody who is admitted for everything.
async fn key(world: &World, principal: &str, id: CredentialId, break_glass: bool) -> Secret {
    let secret = Secret::generate(SecretKind::Key(id));
    let (principal, digest) = (principal.parse().unwrap(), secret.digest());
    let label = "key".to_owned();
    let command =
        Command::MakeCredential { id, principal, proof: Proof::Secret(digest), label, until: None, break_glass };
    world.identify(command).await;
    secret
}

async fn alpha(world: &World) -> Secret {
    world.admit(ALPHA, "*", None).await;
    key(world, ALPHA, KEY, false).await
}

async fn suspend(world: &World, principal: &str) {
    let reason = Personal::default();
    world.identify(Command::Suspend { principal: principal.parse().unwrap(), reason }).await;
}

async fn denied(world: &World, ask: &Ask) -> Denial {
    let Err(Denied { denial, .. }) = world.put(ask, 1).await else { panic!("it was let in") };
    denial
}

fn put(number: u8) -> Ask {
    ask(number, "todo.release", "todo-7")
}

#[tokio::test]
async fn a_key_lets_in_whom_it_names_and_its_first_use_is_on_record() {
    let world = World::open().await;
    let secret = alpha(&world).await;
    assert_eq!(told(world.put(&by(secret.expose(), put(1)), 3).await), "3");
    assert_eq!(told(world.put(&by(secret.expose(), put(2)), 4).await), "7");
    assert_eq!(world.door.used(KEY), Some(world.now()));
    // That of the credential which the store was made with is not: it took the place of none.
    assert_eq!(told(world.put(&put(9), 1).await), "8");
    assert_eq!(world.door.used(root_credential()), Some(world.now()));
    let kinds = world.kinds::<identity::Event>("identity");
    assert_eq!(kinds.iter().filter(|kind| **kind == "identity.credential_used").count(), 1, "{kinds:?}");
    suspend(&world, ALPHA).await;
    assert_eq!(told(world.put(&by(secret.expose(), put(3)), 1).await), "door.suspended");
}

#[tokio::test]
async fn both_keys_are_good_until_the_new_one_is_used() {
    let world = World::open().await;
    let old = alpha(&world).await;
    let id = CredentialId(8);
    let new = Secret::generate(SecretKind::Key(id));
    let overlap = Millis::hours(1);
    let (proof, until) = (Proof::Secret(new.digest()), None);
    world.identify(Command::Rotate { old: KEY, id, proof, overlap, early: true, until }).await;
    assert_eq!(told(world.put(&by(old.expose(), put(1)), 1).await), "1");
    assert_eq!(told(world.put(&by(new.expose(), put(2)), 1).await), "2");
    assert_eq!(told(world.put(&by(old.expose(), put(3)), 1).await), "door.credential_expired");
}

#[tokio::test]
async fn a_user_of_the_machine_acts_as_whom_he_is_bound_to() {
    let world = World::open().await;
    world.admit(ALPHA, "*", None).await;
    let unsigned = |number| Ask { credential: None, ..put(number) };
    assert_eq!(told(world.put(&unsigned(1), 1).await), "door.no_credential", "nobody is bound by default");
    world.identify(Command::BindUid { uid: 1_000, principal: ALPHA.parse().unwrap() }).await;
    let done = world.put(&unsigned(2), 1).await;
    assert_eq!(told(done), "1");
    assert_eq!(world.records("shelf").last().unwrap().principal, ALPHA);
    for source in [Source::User(1_001), Source::network("127.0.0.1".parse().unwrap())] {
        let ask = Ask { source, ..unsigned(3) };
        assert_eq!(told(world.put(&ask, 1).await), "door.no_credential", "{source}");
    }
    let wrong = by("wrong", put(4));
    assert_eq!(told(world.put(&wrong, 1).await), "door.unknown_credential", "who shows a secret is judged by that");
}

#[tokio::test]
async fn who_guesses_waits_and_nobody_else_does() {
    let world = World::open().await;
    let right = alpha(&world).await;
    let wrong = |number| by(Secret::generate(SecretKind::Key(KEY)).expose(), put(number));
    let right = |number| by(right.expose(), put(number));
    for number in 0..5 {
        assert_eq!(denied(&world, &wrong(number)).await.code, "door.unknown_credential");
    }
    let locked = denied(&world, &right(5)).await;
    assert_eq!((locked.layer, locked.code.as_str()), (Layer::Limit, "door.locked_out"));
    assert_eq!((locked.retry_after, locked.rule.as_deref()), (Some(Millis::seconds(1)), Some("lockout")));
    assert!(locked.remedy.starts_with("wait"), "{}", locked.remedy);
    let elsewhere = Ask { source: Source::network("10.0.0.7".parse().unwrap()), ..right(6) };
    assert_eq!(told(world.put(&elsewhere, 1).await), "1", "from elsewhere");
    assert_eq!(told(world.put(&put(7), 1).await), "2", "by another credential");
    world.later(Millis::seconds(1));
    let again = denied(&world, &wrong(8)).await;
    assert_eq!((again.code.as_str(), again.retry_after), ("door.unknown_credential", Some(Millis::seconds(2))));
    world.later(Millis::seconds(2));
    assert_eq!(told(world.put(&right(9), 1).await), "3");
    assert_eq!(denied(&world, &wrong(10)).await.retry_after, None, "success begins anew");
    let nobody = |number| by(Secret::generate(SecretKind::Key(CredentialId(99))).expose(), put(number));
    for number in 11..16 {
        assert_eq!(denied(&world, &nobody(number)).await.code, "door.unknown_credential");
    }
    assert_eq!(
        denied(&world, &nobody(16)).await.code,
        "door.locked_out",
        "ids that there are are not told from others"
    );
    assert!(world.decisions().is_empty(), "strangers fill no disk");
}

/// By issuer and source; a token that is honest and of no use is nobody's guess.
#[tokio::test]
async fn who_makes_signatures_up_keeps_no_key_out() {
    let world = World::open().await;
    let key = alpha(&world).await;
    let claim = None;
    let (principal, label) = (ALPHA.parse().unwrap(), "idp".to_owned());
    let proof = Proof::Foreign { issuer: ISSUER.into(), subject: "alpha".into(), claim };
    let id = CredentialId(8);
    let command = Command::MakeCredential { id, principal, proof, label, until: None, break_glass: false };
    world.identify(command).await;
    let shown = |fault: &str, number| by(&foreign(fault), put(number));
    for fault in ["audience", "key", "claim", "stale", "issuer"].repeat(3) {
        assert_eq!(denied(&world, &shown(fault, 0)).await.layer, Layer::Authenticate, "{fault}");
    }
    assert_eq!(told(world.put(&shown("good", 1), 1).await), "1", "none of them was made up");
    for fault in ["signature", "algorithm", "odd", "signature", "algorithm"] {
        assert_eq!(denied(&world, &shown(fault, 2)).await.layer, Layer::Authenticate, "{fault}");
    }
    let Some(Trace::LockedOut { guessed, .. }) = world.traces().pop() else { panic!("it is locked") };
    assert_eq!(guessed, format!("issuer {ISSUER}"));
    assert_eq!(denied(&world, &shown("good", 3)).await.code, "door.locked_out");
    assert_eq!(told(world.put(&by(key.expose(), put(4)), 1).await), "2", "the same one's key is as good as before");
    assert_eq!(told(world.put(&put(5), 1).await), "3", "and so is another's");
    let elsewhere = Ask { source: Source::network("10.0.0.7".parse().unwrap()), ..shown("good", 6) };
    assert_eq!(told(world.put(&elsewhere, 1).await), "4", "from elsewhere");
    world.later(Millis::seconds(1));
    assert_eq!(told(world.put(&shown("good", 7), 1).await), "5", "after the wait");
    assert_eq!(denied(&world, &shown("signature", 8)).await.retry_after, None, "success begins anew");
    assert!(world.decisions().is_empty(), "strangers fill no disk");
    let kinds = world.kinds::<identity::Event>("identity");
    assert_eq!(
        kinds.iter().filter(|kind| **kind == "identity.credential_used").count(),
        2,
        "of the key and of this one"
    );
}

/// The name of a credential in a secret is a claim: by what opens another one nobody is forgiven his guesses at it.
#[tokio::test]
async fn who_knows_one_secret_begins_no_other_anew() {
    let world = World::open().await;
    alpha(&world).await;
    let claims = Secret::generate(SecretKind::Key(KEY));
    let (id, principal, label) = (CredentialId(8), "operator/root".parse().unwrap(), "key".to_owned());
    let proof = Proof::Secret(claims.digest());
    world.identify(Command::MakeCredential { id, principal, proof, label, until: None, break_glass: false }).await;
    let wrong = |number| by(Secret::generate(SecretKind::Key(KEY)).expose(), put(number));
    for number in 0..4 {
        assert_eq!(denied(&world, &wrong(number)).await.retry_after, None);
    }
    assert_eq!(told(world.put(&by(claims.expose(), put(4)), 1).await), "1");
    assert_eq!(denied(&world, &wrong(5)).await.retry_after, Some(Millis::seconds(1)));
}

#[tokio::test]
async fn the_glass_is_broken_whoever_guessed() {
    let world = World::open().await;
    let secret = key(&world, "operator/root", KEY, true).await;
    for number in 0..9 {
        let wrong = by(Secret::generate(SecretKind::Key(KEY)).expose(), put(number));
        assert_eq!(denied(&world, &wrong).await.code, "door.unknown_credential");
    }
    assert_eq!(told(world.put(&by(secret.expose(), put(9)), 1).await), "1");
    let record = world.records("shelf").pop().unwrap();
    assert_eq!(record.decision.policies, ["all", "break-glass:0000000000000007"]);
}

#[tokio::test]
async fn who_asks_too_often_waits_and_fills_no_disk() {
    let setup = Setup { rate: Rate { requests_per_second: 10, burst: 2 }, ..Setup::default() };
    let world = World::with(setup, OPEN).await;
    let secret = alpha(&world).await;
    let ask = |number| by(secret.expose(), put(number));
    assert_eq!(told(world.put(&ask(1), 1).await), "1");
    assert_eq!(told(world.put(&ask(2), 1).await), "2");
    let over = denied(&world, &ask(3)).await;
    assert_eq!((over.layer, over.code.as_str()), (Layer::Limit, "door.rate_limited"));
    assert_eq!((over.retry_after, over.rule.as_deref()), (Some(Millis(100)), Some("10 a second, 2 at once")));
    assert!(over.remedy.starts_with("wait"), "{}", over.remedy);
    let record = world.records("decisions").pop().unwrap().decision;
    assert_eq!((record.policy_epoch, record.generation), (1, world.generation()));
    for number in 4..9 {
        assert_eq!(denied(&world, &ask(number)).await.code, "door.rate_limited");
    }
    assert_eq!(world.decisions().len(), 1, "one denial stands for those that follow it");
    assert_eq!(told(world.put(&put(9), 1).await), "3", "others have their own");
    world.later(Millis(100));
    assert_eq!(told(world.put(&ask(3), 1).await), "4", "the same request, as long after as it was told");
}

#[tokio::test]
async fn without_identity_nobody_is_let_in() {
    let world = World::open().await;
    let secret = alpha(&world).await;
    world.kill(&world.identity).await;
    for ask in [put(1), by(secret.expose(), put(2))] {
        let denial = denied(&world, &ask).await;
        assert_eq!((denial.layer, denial.code.as_str()), (Layer::Availability, "door.not_ready"));
        assert!(denial.reason.contains("identity"), "{}", denial.reason);
    }
    world.restart(&world.identity).await;
    assert_eq!(told(world.put(&put(1), 1).await), "1");
}

#[tokio::test]
async fn a_warrant_ends_with_the_admission_of_whom_it_was_opened_for() {
    let world = World::open().await;
    let until = world.now() + Millis::minutes(1);
    world.admit(ALPHA, "*", Some(until)).await;
    world.issue(1, "todo.release", 3).await;
    let warrant = Arc::clone(&world.door).open(&bearing(1, put(1))).await.unwrap();
    assert!(warrant.check().is_ok());
    suspend(&world, ALPHA).await;
    assert_eq!(warrant.check().unwrap_err().code, "door.suspended");
    let (principal, reason) = (ALPHA.parse().unwrap(), Personal::default());
    world.identify(Command::Resume { principal, reason }).await;
    let other = Arc::clone(&world.door).open(&bearing(1, put(2))).await.unwrap();
    assert!(warrant.check().is_ok() && other.check().is_ok());
    world.later(Millis::minutes(1));
    assert_eq!(warrant.check().unwrap_err().code, "door.admission_expired", "nothing but time has passed");
    world.later(Millis(1));
    assert_eq!(other.check().unwrap_err().code, "door.admission_expired", "also where nobody looked at that instant");
}

/// Whoever it is that says when: nothing but time passes, and no more calls do.
#[tokio::test]
async fn a_warrant_ends_with_what_it_was_opened_by() {
    let world = World::open().await;
    let until = world.now() + Millis::minutes(5);
    alpha(&world).await;
    let secret = Secret::generate(SecretKind::Key(CredentialId(8)));
    let (fingerprint, from_afar) = (Digest([5; 32]), Source::network("10.0.0.7".parse().unwrap()));
    let certificate = Some(Arc::new(Certificate { fingerprint, authorities: vec![], names: vec![], until }));
    let elsewhere = Proof::Foreign { issuer: ISSUER.into(), subject: "alpha".into(), claim: None };
    let proofs =
        [(Proof::Secret(secret.digest()), Some(until)), (elsewhere, None), (Proof::Certificate(fingerprint), None)];
    for (id, (proof, until)) in (8..).map(CredentialId).zip(proofs) {
        let (principal, label) = (ALPHA.parse().unwrap(), "x".to_owned());
        world.identify(Command::MakeCredential { id, principal, proof, label, until, break_glass: false }).await;
    }
    let mut warrants = Vec::new();
    for (ask, code) in [
        (by(secret.expose(), put(1)), "door.credential_expired"),
        (by(&foreign("good"), put(2)), "door.foreign_expired"),
        (Ask { certificate, credential: None, source: from_afar, ..put(3) }, "door.certificate_expired"),
    ] {
        warrants.push((Arc::clone(&world.door).open(&ask).await.unwrap(), code));
    }
    world.later(Millis(Millis::minutes(5).0 - 1));
    assert!(warrants.iter().all(|(warrant, _)| warrant.check().is_ok()), "the last instant");
    world.later(Millis(1));
    for (warrant, code) in warrants {
        assert_eq!(warrant.check().unwrap_err().code, code);
    }
}

#[tokio::test]
async fn who_asks_is_told_who_he_is() {
    let world = World::open().await;
    let secret = alpha(&world).await;
    world.issue(1, "todo.release", 1).await;
    let whoami = |secret: &str| by(secret, ask(1, "security.whoami", "*"));
    let known = world.door.introduce(&whoami(secret.expose())).await.unwrap();
    assert!(matches!(known.bearer, Bearer::Own { credential: Some(KEY), .. }) && known.denied.is_none());
    assert_eq!(known.entry.unwrap().terms.owner.unwrap().to_string(), "operator/root");
    let known = world.door.introduce(&bearing(1, ask(2, "security.whoami", "*"))).await.unwrap();
    assert!(matches!(known.bearer, Bearer::Token { .. }) && known.denied.is_none());
    assert_eq!(world.left(kernel::TokenId(1)), 1, "and it takes no use");
    suspend(&world, ALPHA).await;
    let known = world.door.introduce(&whoami(secret.expose())).await.unwrap();
    assert_eq!(
        (known.entry.unwrap().state.as_str(), known.denied.unwrap().code.as_str()),
        ("suspended", "door.suspended")
    );
    assert_eq!(word(world.door.introduce(&whoami("wrong")).await), "door.unknown_credential");
}

#[tokio::test]
async fn the_desks_own_no_is_heard_by_who_would_be_let_in() {
    let world = World::open().await;
    let no = || Denial::new(Layer::Decide, "desk.no", "it is so", "do otherwise");
    let denied = world.door.refuse(&put(1), no()).await;
    assert_eq!((denied.denial.code.as_str(), denied.decision), ("desk.no", Some(put(1).command_id)));
    let denied = world.door.refuse(&by("wrong", put(2)), no()).await;
    assert_eq!((denied.denial.code.as_str(), denied.decision), ("door.unknown_credential", None));
    let own = world.records("decisions").pop().unwrap().decision;
    assert_eq!((own.policy_epoch, own.generation, own.policies.len()), (1, world.generation(), 0));
    let epoch =
        world.activate(&format!("{OPEN} forbid (principal, action == Action::\"todo.release\", resource);")).await;
    let denied = world.door.refuse(&put(3), no()).await;
    assert_eq!(denied.denial.code, "policy.forbidden", "who would not be let in hears that, and nothing else");
    let record = world.records("decisions").pop().unwrap();
    assert_eq!((Some(record.command_id), record.decision.policy_epoch), (denied.decision, epoch));
    assert_eq!(record.decision.generation, world.generation());
    assert!(world.door.admits(&"operator/root".parse().unwrap(), "gap.scan").is_ok());
    let denial = world.door.admits(&ALPHA.parse().unwrap(), "gap.scan").unwrap_err();
    assert_eq!(denial.code, "door.not_admitted");
}
