//! What others vouch for: a row for each form and failure, and what time alone changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use door::{Approved, Bearer, Certificate, Credential, Foreign, Read, Sight, Unread, Verdict, judge};
use governance::Governance;
use identity::Command::{MakeCredential, Retire, Revoke, Rotate, Suspend};
use identity::{CredentialId, Identity, Proof, Terms};
use kernel::{CommandId, Context, Decision, Digest, Layer, Machine, Millis, Personal, Position, Principal, Timestamp};
use policy::Policies;
use proptest::prelude::*;
use tokens::{Grant, Issue, Tokens};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const LATER: Timestamp = Timestamp(NOON.0 + 60_000);
const ROOT: Digest = Digest([0xff; 32]);
const KEY: u8 = 1;
const TOKEN: u8 = 2;
const CERTIFICATE: u8 = 3;
const AUTHORITY: u8 = 4;
const ALPHA: &str = "agent/alpha";
const BETA: &str = "agent/beta";

fn p(name: &str) -> Principal {
    name.parse().unwrap()
}

fn after<M: Machine>(mut machine: M, by: &str, commands: Vec<M::Command>) -> M {
    for command in commands {
        let command_id = CommandId::new(NOON, [1; 10]);
        let cx = Context { now: NOON, command_id, principal: p(by), decision: Decision::default() };
        let outcome = machine.decide(&command, &cx).unwrap_or_else(|refusal| panic!("{refusal}"));
        outcome.events.iter().for_each(|event| machine.evolve(event, Position(1)));
    }
    machine
}

fn bind(principal: &str, id: u64, proof: Proof) -> identity::Command {
    bind_until(principal, id, proof, None)
}

fn bind_until(principal: &str, id: u64, proof: Proof, until: Option<Timestamp>) -> identity::Command {
    let (id, principal, label) = (CredentialId(id), p(principal), "x".into());
    MakeCredential { id, principal, proof, label, until, break_glass: false }
}

fn digest(number: u8) -> Digest {
    Digest([number; 32])
}

/// alpha and beta are admitted, and alpha has a key.
fn identity(commands: Vec<identity::Command>) -> Identity {
    let found = identity::Command::Found { operator: p("operator/root"), secret: ROOT };
    let admit = |name: &str| identity::Command::Admit {
        principal: p(name),
        terms: Terms {
            owner: Some(p("operator/root")),
            can: ["*".parse().unwrap()].into(),
            until: None,
            attestation: None,
        },
        reason: Personal::default(),
    };
    let founded = after(Identity::default(), "internal/route", vec![found]);
    let key = bind(ALPHA, KEY.into(), Proof::Secret(digest(KEY)));
    after(founded, "operator/root", [vec![admit(ALPHA), admit(BETA), key], commands].concat())
}

fn tokens() -> Tokens {
    let issue = Issue {
        id: kernel::TokenId(7),
        secret: digest(TOKEN),
        grant: Grant::Operation,
        subject: p(ALPHA),
        audience: "sop".into(),
        operation: "gap.list".into(),
        uses: None,
        lifetime: None,
        bounds: tokens::Bounds::default(),
    };
    after(Tokens::default(), "operator/root", vec![tokens::Command::Issue(issue)])
}

fn certificate() -> Certificate {
    Certificate {
        fingerprint: digest(CERTIFICATE),
        authorities: vec![digest(AUTHORITY)],
        names: vec!["uri:sop://agent/alpha".into(), "dns:alpha.example".into()],
        until: LATER,
    }
}

fn own() -> Proof {
    Proof::Certificate(digest(CERTIFICATE))
}

fn name(name: &str) -> Proof {
    Proof::CertificateName { authority: digest(AUTHORITY), name: name.into() }
}

fn foreign() -> Foreign {
    Foreign {
        issuer: "https://idp.example".into(),
        subject: "alpha".into(),
        claims: vec![("group".into(), "dev".into()), ("group".into(), "ops".into())],
        from: NOON,
        until: LATER,
        keys_until: Timestamp(LATER.0 + 1),
    }
}

fn subject(claim: Option<(&str, &str)>) -> Proof {
    let claim = claim.map(|(name, value)| (name.into(), value.into()));
    Proof::Foreign { issuer: "https://idp.example".into(), subject: "alpha".into(), claim }
}

fn said(foreign: Foreign) -> Credential {
    Credential::Foreign(Read(Ok(Arc::new(foreign))))
}

fn judged(
    identity: &Identity,
    credential: Credential,
    certificate: Option<&Certificate>,
    now: Timestamp,
) -> Result<Principal, (Layer, String, String, bool)> {
    let policies = Policies::compile("@id(\"all\") permit (principal, action, resource);").unwrap();
    let verdict = judge(&Sight {
        now,
        governance: &Governance::default(),
        identity,
        tokens: &tokens(),
        policies: Ok(&policies),
        sealed: None,
        generation: 1,
        action: "gap.list",
        resource: "*",
        context: &BTreeMap::new(),
        credential,
        certificate,
        approved: Approved::default(),
        proven: &BTreeSet::new(),
    });
    match verdict {
        Verdict::Allow { bearer, .. } => {
            assert!(!matches!(&bearer, Bearer::Own { credential: None, .. }), "a credential of the registry is named");
            Ok(bearer.principal().clone())
        }
        Verdict::Deny { by, denial, .. } => {
            assert!(denial.rule.is_some(), "{denial:?}");
            Err((denial.layer, denial.code, denial.remedy, by.is_none()))
        }
    }
}

#[test]
fn certificates() {
    let suspend = || Suspend { principal: p(ALPHA), reason: Personal::default() };
    let revoke = |id| Revoke { id: CredentialId(id) };
    let bound = || bind(ALPHA, 10, own());
    let rotate = Rotate {
        old: CredentialId(10),
        id: CredentialId(11),
        proof: Proof::Certificate(digest(99)),
        overlap: Millis(30_000),
        early: false,
        until: None,
    };
    let elsewhere = Certificate { authorities: vec![digest(5)], ..certificate() };
    let (secret, nothing) = (|number| Credential::Secret(digest(number)), || Credential::Nothing);
    let shown = certificate();
    let (soon, alpha) = (Timestamp(NOON.0 + 30_000), || Ok(p(ALPHA)));
    let no = |layer, code, remedy| Err((layer, code, remedy));
    let stranger = |code, remedy| no(Layer::Authenticate, code, remedy);
    for (row, commands, credential, shown, now, said) in [
        ("unknown", vec![], nothing(), &shown, NOON, stranger("door.certificate_unknown", "--certificate")),
        ("its own", vec![bound()], nothing(), &shown, NOON, alpha()),
        ("a URI", vec![bind(ALPHA, 10, name("uri:sop://agent/alpha"))], nothing(), &shown, NOON, alpha()),
        ("a DNS name", vec![bind(ALPHA, 10, name("dns:alpha.example"))], nothing(), &shown, NOON, alpha()),
        ("two of one", vec![bound(), bind(ALPHA, 11, name("dns:alpha.example"))], nothing(), &shown, NOON, alpha()),
        (
            "another name",
            vec![bind(ALPHA, 10, name("uri:sop://agent/alpha2"))],
            nothing(),
            &shown,
            NOON,
            stranger("door.certificate_unknown", "--certificate"),
        ),
        (
            "the name, by another authority",
            vec![bind(ALPHA, 10, name("uri:sop://agent/alpha"))],
            nothing(),
            &elsewhere,
            NOON,
            stranger("door.certificate_unknown", "--certificate"),
        ),
        (
            "two names of two",
            vec![bind(ALPHA, 10, name("uri:sop://agent/alpha")), bind(BETA, 11, name("dns:alpha.example"))],
            nothing(),
            &shown,
            NOON,
            stranger("door.certificate_ambiguous", "revokes"),
        ),
        (
            "two names of two, and its own",
            vec![
                bind(BETA, 10, name("uri:sop://agent/alpha")),
                bind(BETA, 11, name("dns:alpha.example")),
                bound_as(ALPHA, 12),
            ],
            nothing(),
            &shown,
            NOON,
            alpha(),
        ),
        (
            "revoked",
            vec![bound(), revoke(10)],
            nothing(),
            &shown,
            NOON,
            stranger("door.certificate_revoked", "new certificate"),
        ),
        (
            "revoked alone, its name is good",
            vec![bound(), revoke(10), bind(ALPHA, 11, name("uri:sop://agent/alpha"))],
            nothing(),
            &shown,
            NOON,
            stranger("door.certificate_revoked", "new certificate"),
        ),
        (
            "revoked, and a key of the same",
            vec![bound(), revoke(10)],
            secret(KEY),
            &shown,
            NOON,
            stranger("door.certificate_revoked", "new certificate"),
        ),
        (
            "the credential has expired",
            vec![bind_until(ALPHA, 10, own(), Some(soon))],
            nothing(),
            &shown,
            soon,
            stranger("door.certificate_expired", "new certificate"),
        ),
        (
            "the certificate itself has expired",
            vec![bound()],
            nothing(),
            &shown,
            LATER,
            stranger("door.certificate_expired", "new certificate"),
        ),
        ("rotated, within the overlap", vec![bound(), rotate.clone()], nothing(), &shown, NOON, alpha()),
        (
            "rotated, after the overlap",
            vec![bound(), rotate],
            nothing(),
            &shown,
            soon,
            stranger("door.certificate_expired", "new certificate"),
        ),
        ("suspended", vec![bound(), suspend()], nothing(), &shown, NOON, no(Layer::Admit, "door.suspended", "resume")),
        (
            "retired",
            vec![bound(), Retire { principal: p(ALPHA), reason: Personal::default() }],
            nothing(),
            &shown,
            NOON,
            no(Layer::Admit, "door.retired", "act as"),
        ),
        ("with a key of the same", vec![bound()], secret(KEY), &shown, NOON, alpha()),
        ("with a token of the same", vec![bound()], secret(TOKEN), &shown, NOON, alpha()),
        (
            "with a key of another",
            vec![bound_as(BETA, 10)],
            secret(KEY),
            &shown,
            NOON,
            stranger("door.credentials_differ", "one of them"),
        ),
        (
            "with a token of another",
            vec![bound_as(BETA, 10)],
            secret(TOKEN),
            &shown,
            NOON,
            stranger("door.credentials_differ", "one of them"),
        ),
        (
            "with a wrong secret",
            vec![bound()],
            secret(77),
            &shown,
            NOON,
            stranger("door.unknown_credential", "--credential"),
        ),
        (
            "with what is none",
            vec![bound()],
            Credential::Malformed,
            &shown,
            NOON,
            stranger("door.malformed_credential", "--credential"),
        ),
        (
            "unknown, with a key",
            vec![],
            secret(KEY),
            &shown,
            NOON,
            stranger("door.certificate_unknown", "--certificate"),
        ),
        (
            "with a foreign token of the same",
            vec![bound(), bind(ALPHA, 11, subject(None))],
            said_(),
            &shown,
            NOON,
            alpha(),
        ),
        (
            "with a foreign token of another",
            vec![bound(), bind(BETA, 11, subject(None))],
            said_(),
            &shown,
            NOON,
            stranger("door.credentials_differ", "one of them"),
        ),
    ] {
        check(row, judged(&identity(commands), credential, Some(shown), now), said);
    }
}

fn bound_as(principal: &str, id: u64) -> identity::Command {
    bind(principal, id, own())
}

fn said_() -> Credential {
    said(foreign())
}

type Said = Result<Principal, (Layer, &'static str, &'static str)>;

fn check(row: &str, judged: Result<Principal, (Layer, String, String, bool)>, said: Said) {
    match (judged, said) {
        (Ok(judged), Ok(said)) => assert_eq!(judged, said, "{row}"),
        (Err((layer, code, remedy, is_stranger)), Err((at, with, words))) => {
            assert_eq!((layer, code.as_str()), (at, with), "{row}");
            assert!(remedy.contains(words), "{row}: {remedy}");
            assert_eq!(is_stranger, layer == Layer::Authenticate, "{row}: strangers are counted, and not recorded");
        }
        (judged, said) => panic!("{row}: {judged:?} is not {said:?}"),
    }
}

#[test]
fn foreign_tokens() {
    let bound = || bind(ALPHA, 10, subject(None));
    let with = |foreign| said(foreign);
    let unread = |why| Credential::Foreign(Read(Err(why)));
    let revoke = || Revoke { id: CredentialId(10) };
    let stranger = |code, remedy| Err((Layer::Authenticate, code, remedy));
    let alpha = || Ok(p(ALPHA));
    let last = Timestamp(LATER.0 - 1);
    for (row, commands, credential, now, said) in [
        ("a subject", vec![bound()], said_(), NOON, alpha()),
        ("a subject, at last", vec![bound()], said_(), last, alpha()),
        ("a subject with a claim", vec![bind(ALPHA, 10, subject(Some(("group", "ops"))))], said_(), NOON, alpha()),
        (
            "without that claim",
            vec![bind(ALPHA, 10, subject(Some(("group", "root"))))],
            said_(),
            NOON,
            stranger("door.foreign_unknown", "--issuer"),
        ),
        ("nobody's subject", vec![], said_(), NOON, stranger("door.foreign_unknown", "--issuer")),
        (
            "the subject at another issuer",
            vec![bound()],
            with(Foreign { issuer: "https://idp.example.org".into(), ..foreign() }),
            NOON,
            stranger("door.foreign_unknown", "--issuer"),
        ),
        (
            "two of two",
            vec![bound(), bind(BETA, 11, subject(Some(("group", "ops"))))],
            said_(),
            NOON,
            stranger("door.foreign_ambiguous", "revokes"),
        ),
        ("revoked", vec![bound(), revoke()], said_(), NOON, stranger("door.foreign_revoked", "another")),
        (
            "revoked, and given to another",
            vec![bound(), revoke(), bind(BETA, 11, subject(None))],
            said_(),
            NOON,
            Ok(p(BETA)),
        ),
        (
            "the credential has expired",
            vec![bind_until(ALPHA, 10, subject(None), Some(last))],
            said_(),
            last,
            stranger("door.foreign_ended", "another"),
        ),
        ("expired", vec![bound()], said_(), LATER, stranger("door.foreign_expired", "new one")),
        ("not good yet", vec![bound()], said_(), Timestamp(NOON.0 - 1), stranger("door.foreign_not_yet", "clock")),
        (
            "of keys that are too old",
            vec![bound()],
            with(Foreign { keys_until: NOON, ..foreign() }),
            NOON,
            stranger("door.foreign_keys_stale", "mends"),
        ),
        (
            "suspended",
            vec![bound(), Suspend { principal: p(ALPHA), reason: Personal::default() }],
            said_(),
            NOON,
            Err((Layer::Admit, "door.suspended", "resume")),
        ),
        (
            "malformed",
            vec![bound()],
            unread(Unread::Malformed),
            NOON,
            stranger("door.foreign_malformed", "as the issuer"),
        ),
        (
            "of an unknown issuer",
            vec![bound()],
            unread(Unread::Issuer),
            NOON,
            stranger("door.foreign_issuer", "http.issuers"),
        ),
        (
            "of another algorithm",
            vec![bound()],
            unread(Unread::Algorithm),
            NOON,
            stranger("door.foreign_algorithm", "http.issuers"),
        ),
        ("of an unknown key", vec![bound()], unread(Unread::Key), NOON, stranger("door.foreign_key", "shortly")),
        ("forged", vec![bound()], unread(Unread::Signature), NOON, stranger("door.foreign_signature", "as the issuer")),
        ("for others", vec![bound()], unread(Unread::Audience), NOON, stranger("door.foreign_audience", "audience")),
        ("without a claim", vec![bound()], unread(Unread::Claim), NOON, stranger("door.foreign_claim", "claims")),
        (
            "of keys that were never read",
            vec![bound()],
            unread(Unread::KeysStale),
            NOON,
            stranger("door.foreign_keys_stale", "mends"),
        ),
    ] {
        check(row, judged(&identity(commands), credential, None, now), said);
    }
}

proptest! {
    /// Whatever is bound to whom: nobody is let in as one whom no good credential names by what was shown.
    #[test]
    fn who_is_let_in_is_named(
        bindings in prop::collection::vec((0..2_usize, 0..6_usize, prop::option::of(0..3_u64), any::<bool>()), 0..8),
        shows in (any::<bool>(), any::<bool>()),
        pause in 0..3_u64,
    ) {
        let proofs = [
            own(), name("uri:sop://agent/alpha"), name("dns:alpha.example"), subject(None),
            subject(Some(("group", "ops"))), subject(Some(("group", "none"))),
        ];
        let mut live = identity(vec![]);
        for (number, (who, proof, until, revoked)) in bindings.iter().enumerate() {
            let id = 20 + number as u64;
            let until = until.map(|until| Timestamp(NOON.0 + 1 + until));
            let command = bind_until([ALPHA, BETA][*who], id, proofs[*proof].clone(), until);
            let cx = Context {
                now: NOON, command_id: CommandId(1), principal: p("operator/root"), decision: Decision::default(),
            };
            let Ok(outcome) = live.decide(&command, &cx) else { continue };
            outcome.events.iter().for_each(|event| live.evolve(event, Position(1)));
            if *revoked {
                live = after(live, "operator/root", vec![Revoke { id: CredentialId(id) }]);
            }
        }
        let now = Timestamp(NOON.0 + pause);
        let shown = certificate();
        let (certified, told) = shows;
        let credential = if told { said_() } else { Credential::Nothing };
        let Ok(principal) = judged(&live, credential, certified.then_some(&shown), now) else { return Ok(()) };
        let names = |proofs: &[Proof]| proofs.iter().any(|proof| {
            live.by_proof(proof).is_some_and(|(_, known)| known.ended(now).is_none() && known.principal == principal)
        });
        prop_assert!(certified || told);
        prop_assert!(!certified || names(&proofs[..3]), "by the certificate");
        prop_assert!(!told || names(&proofs[3..5]), "by the token");
    }
}
