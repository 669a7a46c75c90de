//! One row per answer that identity can give.

use identity::{
    Allowance, CAPABILITIES_MAX, Capability, Command, CredentialId, End, Identity, LIVE_MAX, Lack, OVERLAP_MAX, Proof,
    QUOTA_LIMIT_MAX, QUOTA_WINDOW_MAX, QUOTAS_MAX, REASON_MAX, Reply, SAID_MAX, State, Terms, Whose,
};
use kernel::{CommandId, Context, Decision, Digest, Machine, Millis, Personal, Position, Principal, Refuse, Timestamp};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: Millis = Millis::hours(1);
const ROOT: &str = "operator/root";
const ANN: &str = "operator/ann";
const ALPHA: &str = "agent/alpha";
const ROUTE: &str = "internal/route.governance-identity";

fn p(name: &str) -> Principal {
    name.parse().unwrap()
}

fn why() -> Personal {
    Personal::plain("a new hand")
}

fn long() -> Personal {
    Personal::plain(&"é".repeat(REASON_MAX + 1))
}

fn secret(number: u64) -> Digest {
    Digest([u8::try_from(number).unwrap(); 32])
}

fn terms(owner: Option<&str>, can: &[&str]) -> Terms {
    Terms {
        owner: owner.map(p),
        can: can.iter().map(|text| text.parse().unwrap()).collect(),
        until: None,
        attestation: None,
    }
}

fn admit_on(principal: &str, terms: Terms) -> Command {
    Command::Admit { principal: p(principal), terms, reason: why() }
}

fn admit(principal: &str, owner: &str, can: &str) -> Command {
    admit_on(principal, terms(Some(owner).filter(|owner| !owner.is_empty()), &[can]))
}

fn found() -> Command {
    Command::Found { operator: p(ROOT), secret: secret(1) }
}

fn make(principal: &str, id: u64) -> Command {
    bind(principal, id, Proof::Secret(secret(id)))
}

fn bind(principal: &str, id: u64, proof: Proof) -> Command {
    let (id, principal, label) = (CredentialId(id), p(principal), "laptop".into());
    Command::MakeCredential { id, principal, proof, label, until: None, break_glass: false }
}

fn rotate(old: u64, id: u64) -> Command {
    rebind(old, id, Proof::Secret(secret(id)))
}

fn rebind(old: u64, id: u64, proof: Proof) -> Command {
    let (old, id) = (CredentialId(old), CredentialId(id));
    Command::Rotate { old, id, proof, overlap: HOUR, early: true, until: None }
}

fn suspend(principal: &str) -> Command {
    Command::Suspend { principal: p(principal), reason: why() }
}

fn resume(principal: &str) -> Command {
    Command::Resume { principal: p(principal), reason: why() }
}

fn retire(principal: &str) -> Command {
    Command::Retire { principal: p(principal), reason: why() }
}

fn revoke(id: u64) -> Command {
    Command::Revoke { id: CredentialId(id) }
}

fn used(id: u64) -> Command {
    Command::Acknowledge { id: CredentialId(id) }
}

fn assign(principal: &str, role: &str) -> Command {
    Command::Assign { principal: p(principal), role: role.into(), until: None, reason: why() }
}

fn separate(one: &str, other: &str) -> Command {
    Command::Separate { one: one.into(), other: other.into() }
}

fn answer(identity: &Identity, by: &str, command: &Command, now: Timestamp) -> Result<usize, &'static str> {
    let cx = Context { now, command_id: CommandId(1), principal: p(by), decision: Decision::default() };
    identity.decide(command, &cx).map(|outcome| outcome.events.len()).map_err(|refusal| {
        assert!(!refusal.to_string().is_empty() && refusal.remedy().ends_with('.'), "{refusal:?}");
        refusal.code()
    })
}

fn after(earlier: &Identity, commands: &[(&str, Command)]) -> Identity {
    let mut identity = earlier.clone();
    for (by, command) in commands {
        let cx = Context { now: NOON, command_id: CommandId(1), principal: p(by), decision: Decision::default() };
        let outcome = identity.decide(command, &cx).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
        outcome.events.iter().for_each(|event| identity.evolve(event, Position(0)));
    }
    identity
}

/// The one that bootstrap made.
fn first(identity: &Identity) -> u64 {
    identity.by_secret(secret(1)).unwrap().0.0
}

#[test]
fn who_is_admitted() {
    let fresh = &Identity::default();
    let one = &after(fresh, &[(ROUTE, found())]);
    let two = &after(one, &[(ROOT, admit(ANN, "", "*")), (ROOT, make(ANN, 2))]);
    let alpha = &after(one, &[(ROOT, admit(ALPHA, ROOT, "gap.*"))]);
    let keyless = &after(one, &[(ROOT, admit(ANN, "", "*"))]);
    let clerk = &after(one, &[(ROOT, admit("operator/clerk", "", "gap.*"))]);
    let suspended = &after(alpha, &[(ROOT, suspend(ALPHA))]);
    let retired = &after(alpha, &[(ROOT, retire(ALPHA))]);
    let past = Terms { until: Some(NOON), ..terms(Some(ROOT), &["gap.*"]) };
    let ending = Terms { until: Some(NOON + HOUR), ..terms(None, &["*"]) };
    let many: Vec<_> = (0..=CAPABILITIES_MAX).map(|n| format!("gap.n{n}")).collect();
    let many = terms(Some(ROOT), &many.iter().map(String::as_str).collect::<Vec<_>>());
    let arrive = Command::Arrive { protocol: p("protocol/arp"), can: [Capability::all()].into() };
    let arrived = &after(one, &[(ROUTE, arrive.clone())]);
    let wordy = Command::Admit { principal: p(ALPHA), terms: terms(Some(ROOT), &["gap.*"]), reason: long() };
    for (row, identity, by, command, answered) in [
        ("the first operator", fresh, ROUTE, found(), Ok(2)),
        ("the first operator again", one, ROUTE, found(), Ok(0)),
        ("the first operator, by hand", fresh, ROOT, found(), Err("identity.operators_only")),
        ("a protocol arrives", one, ROUTE, arrive.clone(), Ok(1)),
        ("a protocol arrives again", arrived, ROUTE, arrive.clone(), Ok(0)),
        ("a protocol arrives by hand", one, ROOT, arrive, Err("identity.operators_only")),
        ("admit", one, ROOT, admit(ALPHA, ROOT, "gap.*"), Ok(1)),
        ("admit again", alpha, ROOT, admit(ALPHA, ROOT, "gap.*"), Ok(0)),
        ("admit on other terms", alpha, ROOT, admit(ALPHA, ROOT, "gap.scan"), Ok(1)),
        ("admit who is suspended, on other terms", suspended, ROOT, admit(ALPHA, ROOT, "gap.scan"), Ok(1)),
        ("admit by an agent", alpha, ALPHA, admit("agent/beta", ROOT, "gap.*"), Err("identity.operators_only")),
        ("admit a part", one, ROOT, admit("internal/clock", ROOT, "*"), Err("identity.internal")),
        ("admit who is retired", retired, ROOT, admit(ALPHA, ROOT, "gap.*"), Err("identity.retired")),
        ("admit an agent without owner", one, ROOT, admit(ALPHA, "", "*"), Err("identity.no_owner")),
        ("admit an application without", one, ROOT, admit("application/a", "", "*"), Err("identity.no_owner")),
        ("admit a protocol without", one, ROOT, admit("protocol/arp", "", "*"), Ok(1)),
        ("admit for a stranger", one, ROOT, admit(ALPHA, ANN, "*"), Err("identity.bad_owner")),
        ("admit for an agent", alpha, ROOT, admit("agent/beta", ALPHA, "*"), Err("identity.bad_owner")),
        ("admit for himself", one, ROOT, admit(ROOT, ROOT, "*"), Err("identity.bad_owner")),
        ("admit for nothing", one, ROOT, admit_on(ANN, terms(None, &[])), Err("identity.capabilities")),
        ("admit for too much", one, ROOT, admit_on(ALPHA, many), Err("identity.capabilities")),
        ("admit until now", one, ROOT, admit_on(ALPHA, past), Err("identity.past")),
        ("admit with too many words", one, ROOT, wordy, Err("identity.reason_too_long")),
        ("grant what one has not", clerk, "operator/clerk", admit(ALPHA, ROOT, "*"), Err("identity.exceeds")),
        ("grant what one has", clerk, "operator/clerk", admit(ALPHA, ROOT, "gap.scan"), Ok(1)),
        ("take from who may do more", clerk, "operator/clerk", admit(ROOT, "", "gap.*"), Err("identity.exceeds")),
        ("the last gives himself an end", one, ROOT, admit_on(ROOT, ending.clone()), Err("identity.last_operator")),
        ("one of two gives himself an end", two, ROOT, admit_on(ROOT, ending), Ok(1)),
        ("suspend", alpha, ROOT, suspend(ALPHA), Ok(1)),
        ("suspend again", suspended, ROOT, suspend(ALPHA), Ok(0)),
        ("suspend nobody", one, ROOT, suspend(ALPHA), Err("identity.not_admitted")),
        ("suspend who is retired", retired, ROOT, suspend(ALPHA), Err("identity.retired")),
        ("suspend the last operator", one, ROOT, suspend(ROOT), Err("identity.last_operator")),
        ("suspend the last with a credential", keyless, ROOT, suspend(ROOT), Err("identity.last_operator")),
        ("suspend one of two", two, ROOT, suspend(ROOT), Ok(1)),
        ("resume", suspended, ROOT, resume(ALPHA), Ok(1)),
        ("resume again", alpha, ROOT, resume(ALPHA), Ok(0)),
        (
            "resume who may do more",
            &after(two, &[(ROOT, admit("operator/clerk", "", "gap.*")), (ROOT, suspend(ANN))]),
            "operator/clerk",
            resume(ANN),
            Err("identity.exceeds"),
        ),
        ("retire", suspended, ROOT, retire(ALPHA), Ok(1)),
        ("retire again", retired, ROOT, retire(ALPHA), Ok(0)),
        ("retire nobody", one, ROOT, retire(ALPHA), Err("identity.not_admitted")),
        ("retire the last operator", one, ROOT, retire(ROOT), Err("identity.last_operator")),
        ("retire an owner", &after(two, &[(ROOT, admit(ALPHA, ANN, "*"))]), ROOT, retire(ANN), Err("identity.owns")),
        (
            "retire who owned who is retired",
            &after(two, &[(ROOT, admit(ALPHA, ANN, "*")), (ROOT, retire(ALPHA))]),
            ROOT,
            retire(ANN),
            Ok(1),
        ),
    ] {
        assert_eq!(answer(identity, by, &command, NOON), answered, "{row}");
    }
    let bounded = Terms { until: Some(NOON + HOUR), ..terms(Some(ROOT), &["gap.*"]) };
    let bounded = after(one, &[(ROOT, admit_on(ALPHA, bounded))]);
    for (identity, now, lack) in [
        (one, NOON, Some(Lack::NotAdmitted)),
        (alpha, NOON, None),
        (suspended, NOON, Some(Lack::Suspended)),
        (retired, NOON, Some(Lack::Retired)),
        (&bounded, NOON, None),
        (&bounded, NOON + HOUR, Some(Lack::Expired)),
    ] {
        assert_eq!(identity.standing(&p(ALPHA), now).err(), lack);
    }
    assert_eq!(bounded.changes_at(&p(ALPHA), NOON), Some(NOON + HOUR));
    assert_eq!(bounded.changes_at(&p(ALPHA), NOON + HOUR), None);
    assert_eq!(suspended.show(&p(ALPHA)).unwrap().state.as_str(), "suspended");
    assert!(matches!(&retired.show(&p(ALPHA)).unwrap().state, State::Retired { by, .. } if *by == p(ROOT)));
}

#[test]
fn by_which_credentials() {
    let one = &after(&Identity::default(), &[(ROUTE, found())]);
    let two = &after(one, &[(ROOT, admit(ANN, "", "gap.*")), (ROOT, make(ANN, 2))]);
    let alpha = &after(one, &[(ROOT, admit(ALPHA, ROOT, "gap.*")), (ROOT, make(ALPHA, 2))]);
    let rotated = &after(alpha, &[(ALPHA, rotate(2, 3))]);
    let revoked = &after(alpha, &[(ROOT, revoke(2))]);
    let retired = &after(alpha, &[(ROOT, retire(ALPHA))]);
    let keys: Vec<_> = (3..3 + LIVE_MAX as u64).map(|id| (ROOT, make(ALPHA, id))).collect();
    let many = &after(alpha, &keys[1..]);
    let bound = &after(alpha, &[(ROOT, Command::BindUid { uid: 7, principal: p(ALPHA) })]);
    let again = |change: fn(&mut Command)| {
        let mut command = make(ALPHA, 2);
        change(&mut command);
        command
    };
    let other_secret = again(|command| {
        if let Command::MakeCredential { proof: one, .. } = command {
            *one = Proof::Secret(secret(9));
        }
    });
    let other_id = again(|command| {
        if let Command::MakeCredential { id, .. } = command {
            *id = CredentialId(9);
        }
    });
    let late = again(|command| {
        if let Command::MakeCredential { id, proof: one, until, .. } = command {
            (*id, *one, *until) = (CredentialId(9), Proof::Secret(secret(9)), Some(NOON));
        }
    });
    let wordy = again(|command| {
        if let Command::MakeCredential { id, proof: one, label, .. } = command {
            (*id, *one, *label) = (CredentialId(9), Proof::Secret(secret(9)), "my laptop".into());
        }
    });
    let glass = |who: &str| {
        let Command::MakeCredential { id, principal, proof, label, until, .. } = make(who, 9) else { unreachable!() };
        Command::MakeCredential { id, principal, proof, label, until, break_glass: true }
    };
    let far = Command::Rotate {
        old: CredentialId(2),
        id: CredentialId(3),
        proof: Proof::Secret(secret(3)),
        overlap: Millis(OVERLAP_MAX.0 + 1),
        early: false,
        until: None,
    };
    let bind = |uid, who: &str| Command::BindUid { uid, principal: p(who) };
    for (row, identity, by, command, answered) in [
        ("make", alpha, ROOT, make(ALPHA, 3), Ok(1)),
        ("make again", alpha, ROOT, make(ALPHA, 2), Ok(0)),
        ("make under an id that is taken", alpha, ROOT, other_secret, Err("identity.credential_taken")),
        ("make of a secret that is taken", alpha, ROOT, other_id, Err("identity.credential_taken")),
        ("make for nobody", one, ROOT, make(ALPHA, 2), Err("identity.not_admitted")),
        ("make for who is retired", retired, ROOT, make(ALPHA, 3), Err("identity.retired")),
        ("make for oneself, as an agent", alpha, ALPHA, make(ALPHA, 3), Err("identity.operators_only")),
        ("make for who may do more", two, ANN, make(ROOT, 3), Err("identity.exceeds")),
        ("make one that has ended", alpha, ROOT, late, Err("identity.past")),
        ("make one by no name", alpha, ROOT, wordy, Err("identity.name")),
        ("make too many", many, ROOT, make(ALPHA, 99), Err("identity.too_many")),
        ("make one to break the glass with", alpha, ROOT, glass(ROOT), Ok(1)),
        ("make one for an agent to break it with", alpha, ROOT, glass(ALPHA), Err("identity.break_glass")),
        ("rotate", alpha, ROOT, rotate(2, 3), Ok(1)),
        ("rotate one's own", alpha, ALPHA, rotate(2, 3), Ok(1)),
        ("rotate again", rotated, ALPHA, rotate(2, 3), Ok(0)),
        ("rotate what was rotated", rotated, ALPHA, rotate(2, 4), Ok(1)),
        ("rotate another's", alpha, ALPHA, rotate(first(alpha), 3), Err("identity.operators_only")),
        ("rotate who may do more", two, ANN, rotate(first(two), 3), Err("identity.exceeds")),
        ("rotate what is not there", alpha, ROOT, rotate(8, 3), Err("identity.unknown_credential")),
        ("rotate what has ended", revoked, ROOT, rotate(2, 3), Err("identity.credential_ended")),
        ("rotate to an id that is taken", alpha, ROOT, rotate(2, 2), Err("identity.credential_taken")),
        ("rotate slowly", alpha, ROOT, far, Err("identity.overlap")),
        ("rotate one of too many", many, ROOT, rotate(2, 99), Err("identity.too_many")),
        ("use", alpha, ALPHA, used(2), Ok(1)),
        ("use the new one", rotated, "internal/door", used(3), Ok(1)),
        ("use what is not there", alpha, ROOT, used(8), Err("identity.unknown_credential")),
        ("use again", &after(alpha, &[(ALPHA, used(2))]), ALPHA, used(2), Ok(0)),
        ("revoke", alpha, ROOT, revoke(2), Ok(1)),
        ("revoke one's own", alpha, ALPHA, revoke(2), Ok(1)),
        ("revoke again", revoked, ROOT, revoke(2), Ok(0)),
        ("revoke another's", alpha, ALPHA, revoke(first(alpha)), Err("identity.operators_only")),
        ("revoke what is not there", alpha, ROOT, revoke(8), Err("identity.unknown_credential")),
        ("revoke the last", one, ROOT, revoke(first(one)), Err("identity.last_credential")),
        ("revoke one of two", &after(one, &[(ROOT, make(ROOT, 2))]), ROOT, revoke(first(one)), Ok(1)),
        ("bind a user", alpha, ROOT, bind(7, ALPHA), Ok(1)),
        ("bind a user again", bound, ROOT, bind(7, ALPHA), Ok(0)),
        ("bind a user twice", bound, ROOT, bind(7, ROOT), Err("identity.uid_taken")),
        ("bind a user to nobody", one, ROOT, bind(7, ALPHA), Err("identity.not_admitted")),
        ("bind a user to who may do more", two, ANN, bind(7, ROOT), Err("identity.exceeds")),
        ("free a user", bound, ROOT, Command::FreeUid { uid: 7 }, Ok(1)),
        ("free who is free", alpha, ROOT, Command::FreeUid { uid: 7 }, Err("identity.unknown_uid")),
    ] {
        assert_eq!(answer(identity, by, &command, NOON), answered, "{row}");
    }
    let (old, new) = (CredentialId(2), CredentialId(3));
    let ends = |identity: &Identity, id| identity.credential(id).unwrap().until;
    assert_eq!((ends(rotated, old), ends(rotated, new)), (Some(NOON + HOUR), None), "both are good for a while");
    assert_eq!(rotated.credential(old).unwrap().ended(NOON + HOUR), Some(End::Expired));
    let acknowledged = after(rotated, &[("internal/door", used(3))]);
    assert_eq!(ends(&acknowledged, old), Some(NOON), "the old one ends as soon as the new one is used");
    assert_eq!(revoked.credential(old).unwrap().ended(NOON), Some(End::Revoked));
    assert_eq!(alpha.by_secret(secret(2)).unwrap().1.principal, p(ALPHA));
    assert_eq!((alpha.by_secret(secret(3)), bound.of_uid(7)), (None, Some(&p(ALPHA))));
    assert_eq!(after(bound, &[(ROOT, retire(ALPHA))]).of_uid(7), None, "nobody acts as who is retired");
    let cx = Context { now: NOON, command_id: CommandId(1), principal: p(ROOT), decision: Decision::default() };
    let told = |identity: &Identity| identity.decide(&rotate(2, 3), &cx).unwrap().reply;
    assert_eq!(told(alpha), Reply::Rotated { old_until: NOON + HOUR });
    assert_eq!(told(rotated), told(alpha), "a repeat is told the same");
}

#[test]
fn which_roles() {
    let one = &after(&Identity::default(), &[(ROUTE, found()), (ROOT, admit(ALPHA, ROOT, "gap.*"))]);
    let auditor = &after(one, &[(ROOT, assign(ALPHA, "auditor"))]);
    let apart = &after(auditor, &[(ROOT, separate("auditor", "payer"))]);
    let both = &after(auditor, &[(ROOT, assign(ALPHA, "payer"))]);
    let until = |until| Command::Assign { principal: p(ALPHA), role: "payer".into(), until, reason: why() };
    let brief = &after(auditor, &[(ROOT, until(Some(NOON + HOUR)))]);
    let many: Vec<_> = (0..32).map(|n| (ROOT, assign(ALPHA, &format!("r{n}")))).collect();
    let many = &after(one, &many);
    let take = |role: &str| Command::Unassign { principal: p(ALPHA), role: role.into() };
    let unite = |one: &str, other: &str| Command::Unite { one: one.into(), other: other.into() };
    for (row, identity, by, command, now, answered) in [
        ("assign", one, ROOT, assign(ALPHA, "auditor"), NOON, Ok(1)),
        ("assign again", auditor, ROOT, assign(ALPHA, "auditor"), NOON, Ok(0)),
        ("assign by an agent", one, ALPHA, assign(ALPHA, "auditor"), NOON, Err("identity.operators_only")),
        ("assign to nobody", one, ROOT, assign("agent/beta", "auditor"), NOON, Err("identity.not_admitted")),
        ("assign no name", one, ROOT, assign(ALPHA, "an auditor"), NOON, Err("identity.name")),
        ("assign until now", one, ROOT, until(Some(NOON)), NOON, Err("identity.past")),
        ("assign for a while", one, ROOT, until(Some(NOON + HOUR)), NOON, Ok(1)),
        ("assign for longer", brief, ROOT, until(None), NOON, Ok(1)),
        ("assign too many", many, ROOT, assign(ALPHA, "auditor"), NOON, Err("identity.too_many")),
        ("assign what is apart", apart, ROOT, assign(ALPHA, "payer"), NOON, Err("identity.separated")),
        ("take away", auditor, ROOT, take("auditor"), NOON, Ok(1)),
        ("take away what is not there", one, ROOT, take("auditor"), NOON, Err("identity.no_role")),
        ("separate", auditor, ROOT, separate("payer", "auditor"), NOON, Ok(1)),
        ("separate again", apart, ROOT, separate("payer", "auditor"), NOON, Ok(0)),
        (
            "separate what somebody has both of",
            both,
            ROOT,
            separate("payer", "auditor"),
            NOON,
            Err("identity.separated"),
        ),
        ("separate what somebody had", brief, ROOT, separate("payer", "auditor"), NOON + HOUR, Ok(1)),
        ("separate one", one, ROOT, separate("payer", "payer"), NOON, Err("identity.same_role")),
        ("separate no name", one, ROOT, separate("payer", ""), NOON, Err("identity.name")),
        ("unite", apart, ROOT, unite("payer", "auditor"), NOON, Ok(1)),
        ("unite what is not apart", one, ROOT, unite("payer", "auditor"), NOON, Err("identity.not_separated")),
    ] {
        assert_eq!(answer(identity, by, &command, now), answered, "{row}");
    }
    assert!(brief.roles(&p(ALPHA), NOON).iter().eq(["auditor", "payer"]));
    assert!(brief.roles(&p(ALPHA), NOON + HOUR).iter().eq(["auditor"]), "a role ends by itself");
    assert_eq!(brief.changes_at(&p(ALPHA), NOON), Some(NOON + HOUR));
    assert!(after(brief, &[(ROOT, retire(ALPHA))]).roles(&p(ALPHA), NOON).is_empty());
    assert_eq!(apart.apart().collect::<Vec<_>>(), [("auditor", "payer")]);
}

#[test]
fn what_a_capability_covers() {
    for (text, action, covered) in [
        ("*", "gap.scan", true),
        ("gap.*", "gap.scan", true),
        ("gap.*", "gapless.scan", false),
        ("gap.scan", "gap.scan", true),
        ("gap.scan", "gap.scan_all", false),
        ("gap.*", "gap.*", true),
        ("gap.scan", "gap.*", false),
        ("gap.*", "*", false),
    ] {
        assert_eq!(text.parse::<Capability>().unwrap().covers(action), covered, "{text} {action}");
    }
    let long = format!("gap.{}", "a".repeat(61));
    for text in ["", "gap", "gap.", ".scan", "gap.scan.all", "*.scan", "Gap.scan", "gap.s can", "**", long.as_str()] {
        assert!(text.parse::<Capability>().is_err(), "{text:?}");
    }
    assert_eq!("00000000000000ff".parse(), Ok(CredentialId(255)));
    assert_eq!(CredentialId(255).to_string(), "00000000000000ff");
    for text in ["", "ff", "00000000000000FF", "+0000000000000ff", "00000000000000ff0"] {
        assert!(text.parse::<CredentialId>().is_err(), "{text:?}");
    }
}

fn certificate(number: u64) -> Proof {
    Proof::Certificate(secret(number))
}

fn name(name: &str) -> Proof {
    Proof::CertificateName { authority: secret(70), name: name.into() }
}

fn foreign(subject: &str, claim: Option<(&str, &str)>) -> Proof {
    let claim = claim.map(|(name, value)| (name.into(), value.into()));
    Proof::Foreign { issuer: "https://idp.example".into(), subject: subject.into(), claim }
}

#[test]
fn what_others_vouch_for() {
    let one = &after(&Identity::default(), &[(ROUTE, found())]);
    let alpha = &after(one, &[(ROOT, admit(ALPHA, ROOT, "*")), (ROOT, make(ALPHA, 2))]);
    let bound = &after(
        alpha,
        &[
            (ROOT, bind(ALPHA, 3, certificate(60))),
            (ROOT, bind(ALPHA, 4, name("uri:sop://agent/alpha"))),
            (ROOT, bind(ALPHA, 5, foreign("alpha", None))),
        ],
    );
    let revoked = &after(bound, &[(ROOT, revoke(3)), (ROOT, revoke(4)), (ROOT, revoke(5))]);
    let both = &after(one, &[(ROOT, bind(ROOT, 3, certificate(60)))]);
    let mut glass = bind(ROOT, 9, certificate(61));
    if let Command::MakeCredential { break_glass, .. } = &mut glass {
        *break_glass = true;
    }
    let old = first(one);
    let long = "x".repeat(SAID_MAX + 1);
    for (row, identity, by, command, answered) in [
        ("a certificate", alpha, ROOT, bind(ALPHA, 3, certificate(60)), Ok(1)),
        ("the same again", bound, ROOT, bind(ALPHA, 3, certificate(60)), Ok(0)),
        ("a certificate that is known", bound, ROOT, bind(ROOT, 9, certificate(60)), Err("identity.credential_taken")),
        ("one that was revoked", revoked, ROOT, bind(ALPHA, 9, certificate(60)), Err("identity.credential_taken")),
        ("the digest of a secret is another thing", bound, ROOT, bind(ALPHA, 9, certificate(2)), Ok(1)),
        ("a name", alpha, ROOT, bind(ALPHA, 4, name("dns:alpha.example")), Ok(1)),
        (
            "a name that is known",
            bound,
            ROOT,
            bind(ROOT, 9, name("uri:sop://agent/alpha")),
            Err("identity.credential_taken"),
        ),
        ("a name that is free again", revoked, ROOT, bind(ROOT, 9, name("uri:sop://agent/alpha")), Ok(1)),
        ("a name of no kind", alpha, ROOT, bind(ALPHA, 4, name("alpha")), Err("identity.certificate_name")),
        ("a kind of no name", alpha, ROOT, bind(ALPHA, 4, name("uri:")), Err("identity.certificate_name")),
        ("a subject", alpha, ROOT, bind(ALPHA, 5, foreign("alpha", None)), Ok(1)),
        (
            "a subject that is known",
            bound,
            ROOT,
            bind(ROOT, 9, foreign("alpha", None)),
            Err("identity.credential_taken"),
        ),
        ("the subject with a claim", bound, ROOT, bind(ROOT, 9, foreign("alpha", Some(("group", "ops")))), Ok(1)),
        ("a subject that is free again", revoked, ROOT, bind(ROOT, 9, foreign("alpha", None)), Ok(1)),
        ("no subject", alpha, ROOT, bind(ALPHA, 5, foreign("", None)), Err("identity.said")),
        ("too long a subject", alpha, ROOT, bind(ALPHA, 5, foreign(&long, None)), Err("identity.said")),
        ("a subject of two lines", alpha, ROOT, bind(ALPHA, 5, foreign("a\nb", None)), Err("identity.said")),
        ("an empty claim", alpha, ROOT, bind(ALPHA, 5, foreign("alpha", Some(("group", "")))), Err("identity.said")),
        ("for emergencies", one, ROOT, glass, Err("identity.break_glass")),
        ("the next certificate", bound, ROOT, rebind(3, 9, certificate(61)), Ok(1)),
        ("the next subject", bound, ROOT, rebind(5, 9, foreign("alpha-2", None)), Ok(1)),
        ("a certificate for a key", bound, ROOT, rebind(2, 9, certificate(61)), Ok(1)),
        ("a key for a certificate", bound, ALPHA, rebind(3, 9, Proof::Secret(secret(9))), Ok(1)),
        ("of its own accord", bound, ALPHA, rebind(3, 9, certificate(61)), Err("identity.operators_only")),
        ("of what was revoked", revoked, ROOT, rebind(3, 9, certificate(61)), Err("identity.credential_ended")),
        ("in place of the last secret", both, ROOT, rebind(old, 9, certificate(61)), Err("identity.last_credential")),
        ("the last secret beside a certificate", both, ROOT, revoke(old), Err("identity.last_credential")),
        ("the certificate", both, ROOT, revoke(3), Ok(1)),
    ] {
        assert_eq!(answer(identity, by, &command, NOON), answered, "{row}");
    }
    let rotated = after(bound, &[(ROOT, rebind(3, 9, certificate(61)))]);
    let end = |number, now| rotated.by_proof(&certificate(number)).unwrap().1.ended(now);
    assert_eq!((end(60, NOON), end(61, NOON)), (None, None), "both are good for a while");
    assert_eq!((end(60, NOON + HOUR), end(61, NOON + HOUR)), (Some(End::Expired), None));
    let used = after(&rotated, &[(ROOT, used(9))]);
    assert_eq!(used.by_proof(&certificate(60)).unwrap().1.ended(NOON), Some(End::Expired), "the new one is in use");
    let again = after(revoked, &[(ROOT, bind(ROOT, 9, foreign("alpha", None)))]);
    assert_eq!(again.by_proof(&foreign("alpha", None)).unwrap().1.principal, p(ROOT), "the last one counts");
    assert_eq!(bound.by_secret(secret(60)), None, "a certificate's digest is nobody's secret");
}

fn quota(name: &str, whose: &str, limit: u64, window: Millis) -> Command {
    let allowance = Allowance { whose: whose.parse().unwrap(), action: "gap.*".parse().unwrap(), limit, window };
    Command::SetQuota { name: name.into(), allowance, reason: why() }
}

fn clear(name: &str) -> Command {
    Command::ClearQuota { name: name.into() }
}

#[test]
fn how_much_may_be_asked_for() {
    let one = &after(&Identity::default(), &[(ROUTE, found())]);
    let alpha = &after(one, &[(ROOT, admit(ALPHA, ROOT, "*"))]);
    let retired = &after(alpha, &[(ROOT, retire(ALPHA))]);
    let scans = |limit| quota("scans", ALPHA, limit, HOUR);
    let set = &after(alpha, &[(ROOT, scans(5))]);
    let full = &(0..QUOTAS_MAX)
        .fold(alpha.clone(), |all, n| after(&all, &[(ROOT, quota(&format!("q{n}"), "agent/*", 1, HOUR))]));
    let each = |kin: &str| quota("scans", kin, 5, HOUR);
    let within = |window| quota("scans", ALPHA, 5, window);
    let wordy = match scans(5) {
        Command::SetQuota { name, allowance, .. } => Command::SetQuota { name, allowance, reason: long() },
        other => other,
    };
    for (row, identity, by, command, answered) in [
        ("set", alpha, ROOT, scans(5), Ok(1)),
        ("set again", set, ROOT, scans(5), Ok(0)),
        ("set otherwise", set, ROOT, scans(6), Ok(1)),
        ("set for each of a kind", one, ROOT, each("agent/*"), Ok(1)),
        ("set for each operator", one, ROOT, each("operator/*"), Ok(1)),
        ("set for the authority itself", one, ROOT, each("internal/*"), Err("identity.quota_internal")),
        ("set for a part of it", one, ROOT, each(ROUTE), Err("identity.quota_internal")),
        ("set for nobody", one, ROOT, scans(5), Err("identity.not_admitted")),
        ("set for who is retired", retired, ROOT, scans(5), Err("identity.retired")),
        ("set by an agent", alpha, ALPHA, scans(5), Err("identity.operators_only")),
        ("set under no name", alpha, ROOT, quota("a b", ALPHA, 5, HOUR), Err("identity.name")),
        ("set with too many words", alpha, ROOT, wordy, Err("identity.reason_too_long")),
        ("set to nothing", alpha, ROOT, scans(0), Err("identity.quota_limit")),
        ("set to the most", alpha, ROOT, scans(QUOTA_LIMIT_MAX), Ok(1)),
        ("set to more", alpha, ROOT, scans(QUOTA_LIMIT_MAX + 1), Err("identity.quota_limit")),
        ("set for no time", alpha, ROOT, within(Millis(999)), Err("identity.quota_window")),
        ("set for a second", alpha, ROOT, within(Millis(1_000)), Ok(1)),
        ("set for the longest", alpha, ROOT, within(QUOTA_WINDOW_MAX), Ok(1)),
        ("set for longer", alpha, ROOT, within(Millis(QUOTA_WINDOW_MAX.0 + 1)), Err("identity.quota_window")),
        ("set one too many", full, ROOT, scans(5), Err("identity.too_many")),
        ("set one of too many otherwise", full, ROOT, quota("q0", "agent/*", 2, HOUR), Ok(1)),
        ("clear", set, ROOT, clear("scans"), Ok(1)),
        ("clear by an agent", set, ALPHA, clear("scans"), Err("identity.operators_only")),
        ("clear what is not there", alpha, ROOT, clear("scans"), Err("identity.unknown_quota")),
    ] {
        assert_eq!(answer(identity, by, &command, NOON), answered, "{row}");
    }

    let since = |identity: &Identity| identity.quotas().next().map(|(_, quota)| (quota.allowance.limit, quota.since));
    let later = |command: &Command| {
        let cx =
            Context { now: NOON + HOUR, command_id: CommandId(1), principal: p(ROOT), decision: Decision::default() };
        let mut changed = set.clone();
        for event in set.decide(command, &cx).unwrap().events {
            changed.evolve(&event, Position(0));
        }
        since(&changed)
    };
    assert_eq!(since(set), Some((5, NOON)));
    assert_eq!(later(&scans(9)), Some((9, NOON)), "another limit is one on what was counted so far");
    assert_eq!(later(&quota("scans", "agent/*", 5, HOUR)), Some((5, NOON + HOUR)), "another quota begins now");
    assert_eq!(later(&quota("scans", ALPHA, 5, Millis(1_000))), Some((5, NOON + HOUR)));
    assert_eq!(later(&clear("scans")), None);
}

#[test]
fn whom_a_quota_covers() {
    let covers = |whose: &str, action: &str, who: &str, what: &str| {
        let (whose, action) = (whose.parse().unwrap(), action.parse().unwrap());
        Allowance { whose, action, limit: 1, window: HOUR }.covers(&p(who), what)
    };
    assert!(covers(ALPHA, "gap.*", ALPHA, "gap.scan") && covers("agent/*", "*", ALPHA, "todo.list"));
    assert!(!covers("agent/beta", "gap.*", ALPHA, "gap.scan") && !covers("operator/*", "gap.*", ALPHA, "gap.scan"));
    assert!(!covers(ALPHA, "gap.scan", ALPHA, "gap.list"));
    let (whose, action) = (ALPHA.parse().unwrap(), Capability::all());
    let daily = Allowance { whose, action, limit: 1, window: Millis::hours(24) };
    let midnight = Timestamp(20_000 * 86_400_000);
    assert_eq!(daily.began(midnight), midnight);
    assert_eq!(daily.began(midnight + Millis::hours(24)), midnight + Millis::hours(24));
    assert_eq!(daily.began(midnight + HOUR), midnight);
    for text in ["agent/*", "operator/*", ALPHA] {
        assert_eq!(text.parse::<Whose>().unwrap().to_string(), text);
    }
    for text in ["", "*", "agent/", "agent/*/*", "king/*", "/*"] {
        assert!(text.parse::<Whose>().is_err(), "{text}");
    }
}
