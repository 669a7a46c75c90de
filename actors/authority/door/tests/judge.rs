//! What the judge says: a row for each layer and failure, and what holds for every request.

use std::collections::{BTreeMap, BTreeSet};

use door::{AUDIENCE, Bearer, Certificate, Credential, Sealed, Sight, Supposed, Supposition, Verdict, judge, suppose};
use governance::Governance;
use identity::{Capability, CredentialId, Identity, Proof, Terms};
use kernel::{
    CommandId, Context, Decision, Denial, Digest, Layer, Machine, Millis, Position, Principal, Timestamp, TokenId,
};
use policy::{ACTIONS, Policies, Sort, Value};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokens::{Consume, Grant, Issue, Reason, Replacement, TODO_WORK, Tokens};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const ROOT: Digest = Digest([0xff; 32]);
const OPEN: &str = "@id(\"all\") permit (principal, action, resource);";

const RELEASE: u8 = 1;
const REVOKED: u8 = 2;
const SPENT: u8 = 3;
const TODO: u8 = 4;
const ELSEWHERE: u8 = 5;
const INTEGRATION: u8 = 6;
const TEST: u8 = 7;
const STOP: u8 = 8;
const OPERATORS_STOP: u8 = 9;
const ISSUE: u8 = 10;
const CALL: u8 = 11;
const CALL_OTHER: u8 = 12;
const CALL_TEST: u8 = 13;
const CALL_SOP: u8 = 14;
const CALL_REPLACE: u8 = 15;

fn after<M: Machine>(mut machine: M, by: &str, commands: Vec<M::Command>) -> M {
    let by: Principal = by.parse().unwrap();
    for command in commands {
        let command_id = CommandId::new(NOON, [1; 10]);
        let told = Context { now: NOON, command_id, principal: by.clone(), decision: Decision::default() };
        let outcome = machine.decide(&command, &told).unwrap_or_else(|refusal| panic!("{refusal}"));
        outcome.events.iter().for_each(|event| machine.evolve(event, Position(1)));
    }
    machine
}

fn governance() -> Governance {
    let bootstrap = governance::Command::Bootstrap { operator: "root".into(), credential: ROOT };
    after(Governance::default(), "internal/bootstrap", vec![bootstrap])
}

/// Of the credential and the name of each: those of the last ones are made by whoever needs them.
const KEY: u8 = 101;
const GLASS: u8 = 102;
const UID: u32 = 1_001;

fn admit(principal: &str, can: &[&str], until: Option<Timestamp>) -> identity::Command {
    let principal: Principal = principal.parse().unwrap();
    let owner = (principal.kin != kernel::Kin::Operator).then(|| "operator/root".parse().unwrap());
    let can = can.iter().map(|can| can.parse::<Capability>().unwrap()).collect();
    let terms = Terms { owner, can, until, attestation: None };
    identity::Command::Admit { principal, terms, reason: kernel::Personal::default() }
}

fn key(principal: &str, number: u8, until: Option<Timestamp>) -> identity::Command {
    let (id, proof) = (CredentialId(number.into()), Proof::Secret(Digest([number; 32])));
    let (principal, break_glass) = (principal.parse().unwrap(), number == GLASS);
    identity::Command::MakeCredential { id, principal, proof, label: "key".into(), until, break_glass }
}

/// The operator, and everybody else who is admitted for everything.
fn identity(commands: Vec<identity::Command>) -> Identity {
    let found = identity::Command::Found { operator: "operator/root".parse().unwrap(), secret: ROOT };
    let everybody = ["agent/alpha", "operator/deputy"].map(|name| admit(name, &["*"], None));
    let founded = after(Identity::default(), "internal/route", vec![found]);
    after(founded, "operator/root", everybody.into_iter().chain(commands).collect())
}

fn issue(number: u8, subject: &str, audience: &str, operation: &str, grant: Grant) -> tokens::Command {
    tokens::Command::Issue(Issue {
        id: TokenId(number.into()),
        secret: Digest([number; 32]),
        grant,
        subject: subject.parse().unwrap(),
        audience: audience.into(),
        operation: operation.into(),
        uses: None,
        lifetime: None,
        bounds: tokens::Bounds {
            backing: (grant.kind() == tokens::Kind::Integration).then(|| tokens::Backing {
                todo: 7,
                report: Digest([3; 32]),
                approver: "operator/deputy".parse().unwrap(),
            }),
            ..tokens::Bounds::default()
        },
    })
}

fn all_tokens() -> Tokens {
    let (alpha, release) = ("agent/alpha", "todo.release");
    let replaced = Replacement { old: Digest([1; 32]), new: Digest([2; 32]) };
    let spend = Consume {
        id: TokenId(SPENT.into()),
        secret: Digest([SPENT; 32]),
        audience: AUDIENCE.into(),
        operation: release.into(),
        request: Digest([1; 32]),
        todo: None,
        artefact: None,
        target: None,
        report: None,
    };
    let commands = vec![
        issue(RELEASE, alpha, AUDIENCE, release, Grant::Operation),
        issue(REVOKED, alpha, AUDIENCE, release, Grant::Operation),
        issue(SPENT, alpha, AUDIENCE, release, Grant::Operation),
        issue(TODO, alpha, AUDIENCE, TODO_WORK, Grant::Todo(7)),
        issue(ELSEWHERE, alpha, "arp", release, Grant::Operation),
        issue(INTEGRATION, alpha, AUDIENCE, release, Grant::Integration(replaced)),
        issue(TEST, alpha, "test.sop", release, Grant::Test),
        issue(STOP, alpha, AUDIENCE, "system.stop", Grant::Operation),
        issue(OPERATORS_STOP, "operator/deputy", AUDIENCE, "system.stop", Grant::Operation),
        issue(ISSUE, alpha, AUDIENCE, "token.issue", Grant::Operation),
        issue(CALL, alpha, "arp", "decide", Grant::Operation),
        issue(CALL_OTHER, alpha, "arp", "forget", Grant::Operation),
        issue(CALL_TEST, alpha, "test.arp", "decide", Grant::Test),
        issue(CALL_SOP, alpha, AUDIENCE, "decide", Grant::Operation),
        issue(CALL_REPLACE, alpha, "arp", "decide", Grant::Integration(replaced)),
        tokens::Command::Revoke { id: TokenId(REVOKED.into()), reason: Reason::Withdrawn },
        tokens::Command::Consume(spend),
    ];
    after(Tokens::default(), "operator/root", commands)
}

/// The attributes that the schema has for an action.
fn context(action: &str, lifetime: i64) -> BTreeMap<String, Value> {
    let attributes: Vec<(&str, Value)> = match action {
        "token.issue" | "token.derive" => vec![
            ("kind", "operation".into()),
            ("subject", "agent/alpha".into()),
            ("audience", "arp".into()),
            ("operation", "deploy".into()),
            ("lifetime_ms", lifetime.into()),
            ("uses", 1.into()),
        ],
        "token.validate" | "token.consume" => vec![("audience", "arp".into()), ("operation", "deploy".into())],
        "gap.scan" => vec![("root", "/srv".into())],
        "todo.claim" => vec![("holder", "agent/alpha".into())],
        "protocol.call" => vec![("operation", "decide".into())],
        _ => vec![],
    };
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

struct World {
    governance: Governance,
    identity: Identity,
    tokens: Tokens,
}

/// A request; the defaults are the operator's, at noon, with nothing in its way.
struct Asked<'a> {
    credential: Option<Digest>,
    action: &'a str,
    resource: &'a str,
    lifetime: i64,
    now: Timestamp,
    sealed: Option<&'a Sealed>,
    certificate: Option<&'a Certificate>,
}

impl<'a> Asked<'a> {
    fn new(credential: Option<Digest>, action: &'a str, resource: &'a str) -> Self {
        Self { credential, action, resource, lifetime: 1, now: NOON, sealed: None, certificate: None }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "as a request carries it")]
fn by(token: u8) -> Option<Digest> {
    Some(Digest([token; 32]))
}

impl World {
    fn new() -> Self {
        Self::after(Vec::new())
    }

    /// After so much more has happened to who there is.
    fn after(commands: Vec<identity::Command>) -> Self {
        Self { governance: governance(), identity: identity(commands), tokens: all_tokens() }
    }

    fn judge(&self, asked: &Asked<'_>, policies: Result<&Policies, &Denial>) -> Verdict {
        self.judge_shown(asked.credential.map_or(Credential::Nothing, Credential::Secret), asked, policies)
    }

    fn judge_shown(&self, credential: Credential, asked: &Asked<'_>, policies: Result<&Policies, &Denial>) -> Verdict {
        judge(&Sight {
            now: asked.now,
            governance: &self.governance,
            identity: &self.identity,
            tokens: &self.tokens,
            policies,
            sealed: asked.sealed,
            generation: 17,
            action: asked.action,
            resource: asked.resource,
            context: &context(asked.action, asked.lifetime),
            credential,
            certificate: asked.certificate,
            approved: door::Approved::default(),
            proven: &BTreeSet::new(),
        })
    }

    fn allows(&self, asked: &Asked<'_>, policies: &Policies) -> bool {
        matches!(self.judge(asked, Ok(policies)), Verdict::Allow { .. })
    }
}

/// A token opens what it is bound to, from when it begins, and for its own derivation only if it is a todo's.
#[test]
fn what_a_token_is_bound_to() {
    const AIMED: u8 = 21;
    const LATER: u8 = 22;
    let mut world = World::new();
    let start = NOON + Millis(5);
    let bound = |number: u8, bounds: tokens::Bounds| {
        let issue = issue(number, "agent/alpha", AUDIENCE, "todo.release", Grant::Operation);
        let tokens::Command::Issue(issue) = issue else { unreachable!("it issues") };
        tokens::Command::Issue(Issue { bounds, ..issue })
    };
    let target = Some("todo-7".into());
    let commands = vec![
        bound(AIMED, tokens::Bounds { target, ..tokens::Bounds::default() }),
        bound(LATER, tokens::Bounds { not_before: Some(start), ..tokens::Bounds::default() }),
    ];
    world.tokens = after(world.tokens, "operator/root", commands);
    let open = Policies::compile(OPEN).unwrap();
    let (todo, spent) = (TokenId(TODO.into()).to_string(), TokenId(SPENT.into()).to_string());
    let asked = Asked::new;
    for (row, asked, expected) in [
        ("its target", asked(by(AIMED), "todo.release", "todo-7"), None),
        ("another target", asked(by(AIMED), "todo.release", "todo-8"), Some("door.not_capable")),
        ("its target, otherwise", asked(by(AIMED), "todo.submit", "todo-7"), Some("door.not_capable")),
        ("too early", asked(by(LATER), "todo.release", "todo-7"), Some("tokens.not_yet")),
        ("in time", Asked { now: start, ..asked(by(LATER), "todo.release", "todo-7") }, None),
        ("out of a todo's", asked(by(TODO), "token.derive", &todo), None),
        ("out of another, by a todo's", asked(by(TODO), "token.derive", &spent), Some("door.not_capable")),
        ("out of an operation's, by itself", asked(by(SPENT), "token.derive", &spent), Some("door.not_capable")),
    ] {
        let denied = match world.judge(&asked, Ok(&open)) {
            Verdict::Allow { .. } => None,
            Verdict::Deny { denial, .. } => Some(denial.code),
        };
        assert_eq!(denied.as_deref(), expected, "{row}");
    }
}

#[test]
fn denials() {
    let world = World::new();
    let closed = Policies::compile("").unwrap();
    let open = Policies::compile(OPEN).unwrap();
    let forbids = Policies::compile(&format!(
        "{OPEN} @id(\"not-this\") forbid (principal, action == Action::\"todo.release\", resource);"
    ))
    .unwrap();
    // Valid, and fails for a life of a thousand years and more.
    let approved = Policies::compile(&format!(
        "{OPEN} @id(\"two-eyes\") forbid (principal, action, resource) unless {{ context.approvals >= 2 }};"
    ))
    .unwrap();
    let proven = "permit (principal, action, resource) when { context.proofs.contains(\"kept\") };";
    let proven = Policies::compile(proven).unwrap();
    let operators = "permit (principal is Operator, action, resource) when { context.approvals >= 1 };";
    let operators = Policies::compile(operators).unwrap();
    let fails = Policies::compile(&format!(
        "{OPEN} @id(\"long\") forbid (principal, action == Action::\"token.issue\", resource)
            when {{ context.lifetime_ms * 1000000 > 1 }};"
    ))
    .unwrap();
    let seal = Sealed { by: "operator/root".into(), reason: kernel::Personal::plain("fire") };
    let operator = Some(ROOT);
    let later = NOON + Millis::minutes(15);
    let (release, own, other) = ("todo.release", "todo-7", "todo-8");
    let asked = Asked::new;
    for (row, asked, policies, layer, code, rule, remedy) in [
        (
            "no credential",
            asked(None, release, own),
            &open,
            Layer::Authenticate,
            "door.no_credential",
            "a credential",
            "--credential",
        ),
        (
            "no credential for a stop",
            asked(None, "system.stop", "*"),
            &open,
            Layer::Authenticate,
            "door.no_credential",
            "a credential",
            "--credential",
        ),
        (
            "an unknown credential",
            asked(by(99), release, own),
            &open,
            Layer::Authenticate,
            "door.unknown_credential",
            "a credential",
            "--credential",
        ),
        (
            "an expired token",
            Asked { now: later, ..asked(by(RELEASE), release, own) },
            &open,
            Layer::Token,
            "tokens.expired",
            "token 0000",
            "new token",
        ),
        (
            "a spent one that expired",
            Asked { now: later, ..asked(by(SPENT), release, own) },
            &open,
            Layer::Token,
            "tokens.expired",
            "token 0000",
            "new token",
        ),
        (
            "a revoked token",
            asked(by(REVOKED), release, own),
            &open,
            Layer::Token,
            "tokens.revoked",
            "token 0000",
            "new token",
        ),
        (
            "a revoked token that expired",
            Asked { now: later, ..asked(by(REVOKED), release, own) },
            &open,
            Layer::Token,
            "tokens.revoked",
            "token 0000",
            "new token",
        ),
        (
            "an unknown action",
            asked(operator, "gap.close", "*"),
            &open,
            Layer::Request,
            "request.unknown_action",
            "catalogue",
            "/v1/actions",
        ),
        (
            "an unknown action by a bearer",
            asked(by(RELEASE), "gap.close", "*"),
            &open,
            Layer::Request,
            "request.unknown_action",
            "catalogue",
            "/v1/actions",
        ),
        (
            "sealed",
            Asked { sealed: Some(&seal), ..asked(operator, release, own) },
            &open,
            Layer::Seal,
            "door.sealed",
            "emergency stop",
            "sop resume",
        ),
        (
            "sealed, a bearer",
            Asked { sealed: Some(&seal), ..asked(by(RELEASE), release, own) },
            &open,
            Layer::Seal,
            "door.sealed",
            "emergency stop",
            "sop resume",
        ),
        (
            "another operation",
            asked(by(RELEASE), "todo.submit", own),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            "todo.submit",
        ),
        (
            "another audience",
            asked(by(ELSEWHERE), release, own),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            release,
        ),
        (
            "a todo token, another todo",
            asked(by(TODO), release, other),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            release,
        ),
        (
            "a todo token, no todo",
            asked(by(TODO), "todo.show", "*"),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            "todo.show",
        ),
        (
            "a todo token, the list",
            asked(by(TODO), "todo.list", "*"),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            "todo.list",
        ),
        (
            "a todo token, a claim",
            asked(by(TODO), "todo.claim", own),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            "todo.claim",
        ),
        (
            "a todo token, the policy",
            asked(by(TODO), "policy.propose", "*"),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            "policy.propose",
        ),
        (
            "an integration token",
            asked(by(INTEGRATION), release, own),
            &open,
            Layer::Admit,
            "door.not_capable",
            "token 0000",
            release,
        ),
        ("a test token", asked(by(TEST), release, own), &open, Layer::Admit, "door.not_capable", "token 0000", release),
        (
            "an agent's stop",
            asked(by(STOP), "system.stop", "*"),
            &open,
            Layer::Admit,
            "door.operators_only",
            "capability:operator",
            "operator",
        ),
        (
            "an operator's stop by token",
            asked(by(OPERATORS_STOP), "system.stop", "*"),
            &open,
            Layer::Admit,
            "door.operators_only",
            "capability:operator",
            "operator",
        ),
        (
            "an agent's resume",
            asked(by(RELEASE), "system.resume", "*"),
            &open,
            Layer::Admit,
            "door.operators_only",
            "capability:operator",
            "operator",
        ),
        (
            "no policy",
            asked(operator, release, own),
            &closed,
            Layer::Policy,
            "policy.not_permitted",
            "epoch 0: default deny",
            "policy",
        ),
        (
            "no policy, a bearer",
            asked(by(RELEASE), release, own),
            &closed,
            Layer::Policy,
            "policy.not_permitted",
            "epoch 0: default deny",
            "policy",
        ),
        (
            "a forbid",
            asked(operator, release, own),
            &forbids,
            Layer::Policy,
            "policy.forbidden",
            "epoch 0: not-this",
            "policy show",
        ),
        (
            "approvals that are missing",
            asked(operator, release, own),
            &approved,
            Layer::Policy,
            "policy.approval_needed",
            "epoch 0: two-eyes",
            "approved",
        ),
        (
            "a proof that is missing",
            asked(operator, release, own),
            &proven,
            Layer::Policy,
            "policy.proof_needed",
            "epoch 0: default deny",
            "proven",
        ),
        (
            "approvals that would not help",
            asked(by(RELEASE), release, own),
            &operators,
            Layer::Policy,
            "policy.not_permitted",
            "epoch 0: default deny",
            "policy",
        ),
        (
            "an error",
            Asked { lifetime: i64::MAX / 10, ..asked(operator, "token.issue", "*") },
            &fails,
            Layer::Policy,
            "policy.error",
            "epoch 0",
            "mends",
        ),
    ] {
        let verdict = world.judge(&asked, Ok(policies));
        let Verdict::Deny { by, denial, policy_epoch, generation, .. } = verdict else { panic!("{row}: allowed") };
        assert_eq!((denial.layer, denial.code.as_str()), (layer, code), "{row}");
        let missing = denial.missing.as_ref().map(ToString::to_string);
        assert_eq!(missing.is_some(), code.ends_with("_needed"), "{row}");
        assert!(denial.reason.contains(&missing.unwrap_or_default()), "{row}: {}", denial.reason);
        let said = denial.rule.clone().unwrap_or_default();
        assert!(said.contains(rule), "{row}: the rule is {said:?}");
        assert!(denial.remedy.contains(remedy), "{row}: the remedy is {:?}", denial.remedy);
        assert!(!denial.reason.is_empty(), "{row}");
        assert_eq!((by.is_none(), policy_epoch, generation), (layer == Layer::Authenticate, 0, 17), "{row}");
    }
}

#[test]
fn allows() {
    let world = World::new();
    let open = Policies::compile(OPEN).unwrap();
    let seal = Sealed { by: "operator/root".into(), reason: kernel::Personal::plain("fire") };
    let (operator, all, capable) = (Some(ROOT), "all", "capability:operator");
    let sealed = |asked| Asked { sealed: Some(&seal), ..asked };
    let asked = Asked::new;
    for (row, asked, principal, policy) in [
        ("an operator", asked(operator, "todo.release", "todo-7"), "operator/root", all),
        ("a bearer", asked(by(RELEASE), "todo.release", "todo-8"), "agent/alpha", all),
        (
            "a bearer of a spent token, for it may be a repeat",
            asked(by(SPENT), "todo.release", "todo-7"),
            "agent/alpha",
            all,
        ),
        ("a todo token shows", asked(by(TODO), "todo.show", "todo-7"), "agent/alpha", all),
        ("a todo token submits", asked(by(TODO), "todo.submit", "todo-7"), "agent/alpha", all),
        ("a todo token releases", asked(by(TODO), "todo.release", "todo-7"), "agent/alpha", all),
        ("a todo token scans", asked(by(TODO), "gap.scan", "*"), "agent/alpha", all),
        ("under the seal one reads", sealed(asked(operator, "audit.list", "*")), "operator/root", all),
        ("also by token", sealed(asked(by(TODO), "todo.show", "todo-7")), "agent/alpha", all),
        ("under the seal one stops", sealed(asked(operator, "system.stop", "*")), "operator/root", capable),
        ("under the seal one resumes", sealed(asked(operator, "system.resume", "*")), "operator/root", capable),
        ("nothing overflows", asked(by(ISSUE), "token.issue", "*"), "agent/alpha", all),
    ] {
        match world.judge(&asked, Ok(&open)) {
            Verdict::Allow { bearer, decision, .. } => {
                assert_eq!(bearer.principal().to_string(), principal, "{row}");
                let by_token = matches!(bearer, Bearer::Token { .. });
                assert_eq!(by_token, principal == "agent/alpha", "{row}");
                let policies = vec![policy.to_owned()];
                assert_eq!(decision, Decision { policy_epoch: 0, policies, generation: 17, token: None }, "{row}");
            }
            Verdict::Deny { denial, .. } => panic!("{row}: {denial:?}"),
        }
    }
}

/// Who asks: what identity says of credentials and of the registry, before any policy is asked.
#[test]
fn who_is_not_let_in() {
    use identity::Command::{BindUid, Resume, Retire, Revoke, Suspend};
    let alpha = || "agent/alpha".parse::<Principal>().unwrap();
    let reason = kernel::Personal::default;
    let suspend = || Suspend { principal: alpha(), reason: reason() };
    let retire = || Retire { principal: alpha(), reason: reason() };
    let keyed = || key("agent/alpha", KEY, None);
    let noon = NOON + Millis(1);
    let deputys = || key("operator/deputy", KEY, None);
    let (secret, open) = (|number: u8| Credential::Secret(Digest([number; 32])), Policies::compile(OPEN).unwrap());
    let own = |world, credential| (world, credential, "todo.release", NOON);
    for (row, (commands, credential, action, now), layer, code, remedy) in [
        ("nothing", own(vec![], Credential::Nothing), Some(Layer::Authenticate), "door.no_credential", "--credential"),
        (
            "no form",
            own(vec![], Credential::Malformed),
            Some(Layer::Authenticate),
            "door.malformed_credential",
            "--cred",
        ),
        ("unknown", own(vec![], secret(KEY)), Some(Layer::Authenticate), "door.unknown_credential", "--credential"),
        ("unknown user", own(vec![], Credential::User(UID)), Some(Layer::Authenticate), "door.no_credential", "--cred"),
        ("a key", own(vec![keyed()], secret(KEY)), None, "", ""),
        ("a user", own(vec![BindUid { uid: UID, principal: alpha() }], Credential::User(UID)), None, "", ""),
        (
            "a key that has expired",
            (vec![key("agent/alpha", KEY, Some(noon))], secret(KEY), "todo.release", noon),
            Some(Layer::Authenticate),
            "door.credential_expired",
            "--create",
        ),
        (
            "a key that was revoked",
            own(vec![keyed(), Revoke { id: CredentialId(KEY.into()) }], secret(KEY)),
            Some(Layer::Authenticate),
            "door.credential_revoked",
            "--create",
        ),
        (
            "suspended",
            own(vec![keyed(), suspend()], secret(KEY)),
            Some(Layer::Admit),
            "door.suspended",
            "security resume",
        ),
        (
            "suspended, a user",
            own(vec![BindUid { uid: UID, principal: alpha() }, suspend()], Credential::User(UID)),
            Some(Layer::Admit),
            "door.suspended",
            "sop security resume agent/alpha",
        ),
        ("suspended, by token", own(vec![suspend()], secret(RELEASE)), Some(Layer::Admit), "door.suspended", "resume"),
        (
            "resumed, by token",
            own(vec![suspend(), Resume { principal: alpha(), reason: reason() }], secret(RELEASE)),
            None,
            "",
            "",
        ),
        ("retired", own(vec![keyed(), retire()], secret(KEY)), Some(Layer::Admit), "door.retired", "act as"),
        ("retired, by token", own(vec![retire()], secret(RELEASE)), Some(Layer::Admit), "door.retired", "act as"),
        (
            "no longer admitted",
            (vec![admit("agent/alpha", &["*"], Some(noon))], secret(RELEASE), "todo.release", noon),
            Some(Layer::Admit),
            "door.admission_expired",
            "--can 'todo.release'",
        ),
        (
            "over scope",
            own(vec![admit("agent/alpha", &["gap.*"], None), keyed()], secret(KEY)),
            Some(Layer::Admit),
            "door.no_capability",
            "sop security admit agent/alpha --owner operator/root --can 'gap.*' --can 'todo.release'",
        ),
        (
            "over scope, by a token for it",
            own(vec![admit("agent/alpha", &["gap.*"], None)], secret(RELEASE)),
            Some(Layer::Admit),
            "door.no_capability",
            "--can 'todo.release'",
        ),
        (
            "reads records without the capability for the audit",
            (vec![admit("agent/alpha", &["subscription.*"], None), keyed()], secret(KEY), "subscription.read", NOON),
            Some(Layer::Admit),
            "door.no_capability",
            "--can 'audit.list'",
        ),
        (
            "an agent's stop by a key of its own",
            (vec![keyed()], secret(KEY), "system.stop", NOON),
            Some(Layer::Admit),
            "door.operators_only",
            "ask an operator",
        ),
        (
            "an operator's stop, whatever else he may do",
            (vec![deputys(), admit("operator/deputy", &["gap.*"], None)], secret(KEY), "system.stop", NOON),
            None,
            "",
            "",
        ),
        (
            "a suspended operator's stop",
            (
                vec![deputys(), Suspend { principal: "operator/deputy".parse().unwrap(), reason: reason() }],
                secret(KEY),
                "system.stop",
                NOON,
            ),
            Some(Layer::Admit),
            "door.suspended",
            "resume operator/deputy",
        ),
    ] {
        let asked = Asked { now, ..Asked::new(None, action, "todo-7") };
        let verdict = World::after(commands).judge_shown(credential, &asked, Ok(&open));
        let (by, denial) = match verdict {
            Verdict::Allow { .. } => {
                assert_eq!(layer, None, "{row}: it was let in");
                continue;
            }
            Verdict::Deny { by, denial, .. } => (by, denial),
        };
        assert_eq!((Some(denial.layer), denial.code.as_str()), (layer, code), "{row}: {denial:?}");
        assert!(denial.remedy.contains(remedy), "{row}: the remedy is {:?}", denial.remedy);
        assert!(denial.rule.is_some() && !denial.reason.is_empty(), "{row}");
        let strange = ["no_credential", "malformed_credential", "unknown_credential"];
        let strange = strange.iter().any(|end| code.ends_with(end));
        assert_eq!(by.is_none(), strange, "{row}: who is known is denied by name");
    }
}

#[test]
fn who_is_not_admitted_acts_by_no_token() {
    let world = World::new();
    let tokens = after(
        all_tokens(),
        "operator/root",
        vec![issue(KEY, "agent/stranger", AUDIENCE, "gap.scan", Grant::Operation)],
    );
    let world = World { tokens, ..world };
    let denied = world.judge(&Asked::new(by(KEY), "gap.scan", "*"), Ok(&Policies::compile(OPEN).unwrap()));
    let Verdict::Deny { by: Some(bearer), denial, .. } = denied else { panic!("it was let in") };
    assert_eq!(bearer.principal().to_string(), "agent/stranger");
    assert_eq!((denial.layer, denial.code.as_str()), (Layer::Admit, "door.not_admitted"));
    let admit = "sop security admit agent/stranger --owner operator/root --can 'gap.*'";
    assert!(denial.remedy.contains(admit), "{}", denial.remedy);
}

#[test]
fn roles_count_as_long_as_they_hold() {
    let until = NOON + Millis(1);
    let assign = identity::Command::Assign {
        principal: "agent/alpha".parse().unwrap(),
        role: "carer".into(),
        until: Some(until),
        reason: kernel::Personal::default(),
    };
    let world = World::after(vec![assign, key("agent/alpha", KEY, None)]);
    let carers = Policies::compile("@id(\"carers\") permit (principal in Role::\"carer\", action, resource);").unwrap();
    for credential in [by(KEY), by(RELEASE)] {
        let asked = Asked::new(credential, "todo.release", "todo-7");
        assert!(world.allows(&asked, &carers), "{asked:?}");
        assert!(!world.allows(&Asked { now: until, ..asked }, &carers), "a role ends by itself");
    }
    assert!(!world.allows(&Asked::new(Some(ROOT), "todo.release", "todo-7"), &carers), "who has none");
}

#[test]
fn the_record_says_that_the_glass_was_broken() {
    let world = World::after(vec![key("operator/deputy", GLASS, None)]);
    let open = Policies::compile(OPEN).unwrap();
    let Verdict::Allow { decision, .. } = world.judge(&Asked::new(by(GLASS), "todo.release", "todo-7"), Ok(&open))
    else {
        panic!("it was not let in")
    };
    assert_eq!(decision.policies, ["all", "break-glass:0000000000000066"]);
}

/// A token for a call is addressed to the protocol, not to the authority, and neither opens what the other does.
#[test]
fn who_may_call_a_protocol() {
    let world = World::new();
    let open = Policies::compile(OPEN).unwrap();
    let call = "protocol.call";
    for (row, credential, action, resource, answer) in [
        ("its own token", by(CALL), call, "arp", "allowed"),
        ("a test token, in the test namespace", by(CALL_TEST), call, "test.arp", "allowed"),
        ("an operator", Some(ROOT), call, "arp", "allowed"),
        ("another protocol", by(CALL), call, "scp", "door.not_capable"),
        ("no single protocol", by(CALL), call, "*", "door.not_capable"),
        ("another operation", by(CALL_OTHER), call, "arp", "door.not_capable"),
        ("a test token elsewhere", by(CALL_TEST), call, "arp", "door.not_capable"),
        ("a replacement", by(CALL_REPLACE), call, "arp", "door.not_capable"),
        ("a token for the authority", by(CALL_SOP), call, "arp", "door.not_capable"),
        ("a protocol with the authority's name", by(CALL_SOP), call, AUDIENCE, "door.not_capable"),
        ("a token for work", by(TODO), call, "arp", "door.not_capable"),
        ("a call's token, at the authority", by(CALL), "todo.release", "todo-7", "door.not_capable"),
        ("a call's token, for the name of an action", by(ELSEWHERE), "todo.release", "arp", "door.not_capable"),
    ] {
        let answered = match world.judge(&Asked::new(credential, action, resource), Ok(&open)) {
            Verdict::Allow { .. } => "allowed".to_owned(),
            Verdict::Deny { denial, .. } => denial.code,
        };
        assert_eq!(answered, answer, "{row}");
    }
}

/// A stop that the switch does not know of yet, because the process has just begun.
#[test]
fn a_recorded_stop_is_in_force_without_the_switch() {
    let stop = governance::Command::Stop { reason: kernel::Personal::plain("fire"), on_behalf_of: String::new() };
    let world = World { governance: after(governance(), "operator/root", vec![stop]), ..World::new() };
    let open = Policies::compile(OPEN).unwrap();
    let denied = world.judge(&Asked::new(Some(ROOT), "todo.release", "todo-7"), Ok(&open));
    let Verdict::Deny { denial, .. } = denied else { panic!("it was let in") };
    assert_eq!((denial.code.as_str(), denial.reason.as_str()), ("door.sealed", "operator/root stopped everything"));
    for action in ["todo.show", "system.stop", "system.resume"] {
        assert!(world.allows(&Asked::new(Some(ROOT), action, "todo-7"), &open), "{action}");
    }
}

/// Policies that this release cannot read decide nothing; who asks is known all the same, and may stop.
#[test]
fn unreadable_policies_deny_and_do_not_keep_from_stopping() {
    let world = World::new();
    let unreadable = Denial::new(Layer::Policy, "policy.unreadable", "not accepted", "go back").rule("epoch 3");
    for (row, credential, action, code) in [
        ("an operator", Some(ROOT), "todo.release", "policy.unreadable"),
        ("a bearer", by(RELEASE), "todo.release", "policy.unreadable"),
        ("a stranger", None, "todo.release", "door.no_credential"),
        ("a stop", Some(ROOT), "system.stop", "allowed"),
        ("a resume", Some(ROOT), "system.resume", "allowed"),
    ] {
        let verdict = world.judge(&Asked::new(credential, action, "todo-7"), Err(&unreadable));
        let answer = match verdict {
            Verdict::Allow { .. } => "allowed".to_owned(),
            Verdict::Deny { denial, .. } => denial.code,
        };
        assert_eq!(answer, code, "{row}");
    }
}

const PERMITS: [&str; 6] = [
    OPEN,
    "permit (principal is Operator, action, resource);",
    "permit (principal is Agent, action, resource) when { context.via_token };",
    "permit (principal, action in [Action::\"todo.release\", Action::\"todo.submit\", Action::\"gap.scan\"], resource);",
    "permit (principal, action == Action::\"token.issue\", resource) when { context.lifetime_ms * 1000000 > 1 };",
    "permit (principal == Agent::\"alpha\", action, resource == Todo::\"todo-7\");",
];

const FORBIDS: [&str; 6] = [
    "forbid (principal, action, resource);",
    "forbid (principal is Agent, action, resource);",
    "forbid (principal, action, resource) when { context.via_token };",
    "forbid (principal, action == Action::\"todo.release\", resource);",
    "forbid (principal, action == Action::\"token.issue\", resource) when { context.lifetime_ms * 1000000 > 1 };",
    "forbid (principal, action, resource == Todo::\"todo-7\");",
];

fn credential() -> impl Strategy<Value = Option<Digest>> {
    prop_oneof![Just(None), Just(Some(ROOT)), (0..=CALL_REPLACE + 1).prop_map(by)]
}

fn action() -> impl Strategy<Value = &'static str> {
    let others = ["system.stop", "system.resume", "system.status", "gap.close", ""];
    select(ACTIONS.iter().map(|action| action.name).chain(others).collect::<Vec<_>>())
}

fn asked() -> impl Strategy<Value = Asked<'static>> {
    let lifetime = prop_oneof![Just(1), Just(i64::MAX / 10)];
    let now = prop_oneof![Just(NOON), Just(NOON + Millis::minutes(15)), Just(NOON + Millis::hours(48))];
    (credential(), action(), select(vec!["*", "todo-7", "todo-8", "arp", ""]), lifetime, now).prop_map(
        |(credential, action, resource, lifetime, now)| Asked {
            lifetime,
            now,
            ..Asked::new(credential, action, resource)
        },
    )
}

impl std::fmt::Debug for Asked<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} {} {} {:?}", self.credential, self.action, self.resource, self.lifetime, self.now)
    }
}

proptest! {
    #[test]
    fn without_a_policy_only_capabilities_of_operators_are_allowed(asked in asked()) {
        let world = World::new();
        let expected = asked.credential == Some(ROOT) && ["system.stop", "system.resume"].contains(&asked.action);
        prop_assert_eq!(world.allows(&asked, &Policies::compile("").unwrap()), expected);
    }

    #[test]
    fn a_forbid_never_adds_an_allow(asked in asked(), permits in proptest::sample::subsequence(&PERMITS[..], 0..=6), forbid in select(&FORBIDS[..])) {
        let world = World::new();
        let before = Policies::compile(&permits.concat()).unwrap();
        let after = Policies::compile(&format!("{}{forbid}", permits.concat())).unwrap();
        prop_assert!(!world.allows(&asked, &after) || world.allows(&asked, &before));
    }

    #[test]
    fn what_a_seal_lets_through_would_go_through_without_it(asked in asked()) {
        let world = World::new();
        let open = Policies::compile(OPEN).unwrap();
        let seal = Sealed { by: "operator/root".into(), reason: kernel::Personal::plain("fire") };
        let sealed = Asked { sealed: Some(&seal), ..Asked { ..asked } };
        let let_in = world.allows(&sealed, &open);
        let reads = policy::action(sealed.action).is_some_and(|action| action.reads_only);
        let capable = ["system.stop", "system.resume"].contains(&sealed.action);
        prop_assert!(!let_in || reads || capable);
        let unsealed = Asked { sealed: None, ..sealed };
        prop_assert!(!let_in || world.allows(&unsealed, &open));
        prop_assert!(let_in || !(reads || capable) || !world.allows(&unsealed, &open), "it lets reads through");
    }

    /// Every denial tells its reader which rule it was and what to do.
    #[test]
    fn every_denial_can_be_acted_on(asked in asked(), text in select(vec!["", PERMITS[1], PERMITS[4], FORBIDS[0]])) {
        let world = World::new();
        if let Verdict::Deny { denial, .. } = world.judge(&asked, Ok(&Policies::compile(text).unwrap())) {
            prop_assert!(denial.code.contains('.') && !denial.reason.is_empty() && !denial.remedy.is_empty());
            prop_assert!(denial.rule.is_some(), "{denial:?}");
        }
    }

    /// What the decision point says of a request is what the door says of it when it comes: with the registry, the seal and
    /// the policies as they are.
    #[test]
    fn what_is_supposed_is_what_is_said(case in case()) {
        let world = case.world();
        let policies = case.policies();
        let said = case.judged(&world, &policies, &case.context());
        let supposed = case.supposed(&world, &policies, &case.context(), true);
        prop_assert_eq!(supposed, said);
    }

    /// With less known it says less, and nothing else.
    #[test]
    fn what_is_supposed_of_less_is_never_contradicted(case in case(), hidden in vec(any::<bool>(), 8), any_resource in any::<bool>()) {
        let (world, policies) = (case.world(), case.policies());
        let all = case.context();
        let shown: BTreeMap<_, _> = all.iter().zip(&hidden).filter(|(_, hidden)| !**hidden).map(|((name, value), _)| (name.clone(), value.clone())).collect();
        let said = case.judged(&world, &policies, &all);
        match case.supposed(&world, &policies, &shown, !any_resource) {
            Supposition::Allowed { .. } => prop_assert!(matches!(said, Supposition::Allowed { .. }), "{:?}", said),
            Supposition::Denied { .. } => prop_assert!(matches!(said, Supposition::Denied { .. }), "{:?}", said),
            Supposition::Depends { .. } => {}
        }
    }
}

/// Who asks by a key of his own, for what, and how things stand.
#[derive(Clone, Debug)]
struct Case {
    who: &'static str,
    action: &'static str,
    resource: &'static str,
    numbers: i64,
    text: &'static str,
    sealed: bool,
    permits: Vec<&'static str>,
    forbids: Vec<&'static str>,
    now: Timestamp,
}

/// Admitted for everything, for little, for a while, no more, and not at all.
const CALLERS: [&str; 6] =
    ["agent/alpha", "operator/deputy", "agent/narrow", "application/brief", "agent/suspended", "operator/retired"];

const MORE: [&str; 4] = [
    "permit (principal, action, resource) when { context.approvals >= 1 };",
    "permit (principal, action == Action::\"lease.request\", resource) when { context.owner == principal.handle };",
    "permit (principal in Role::\"auditor\", action, resource);",
    "permit (principal, action, resource) unless { context.proofs.contains(\"kept\") };",
];

fn case() -> impl Strategy<Value = Case> {
    let rules: Vec<_> = PERMITS.iter().chain(&MORE).copied().collect();
    let permits = proptest::sample::subsequence(rules, 0..=4);
    let forbids = proptest::sample::subsequence(FORBIDS.to_vec(), 0..=2);
    let now = select(vec![NOON, NOON + Millis::hours(2)]);
    let text = select(vec!["agent/alpha", "system.resume", ""]);
    let resource = select(vec!["*", "todo-7", "arp", ""]);
    let numbers = select(vec![0, 1, i64::MAX / 10]);
    let sealed = prop_oneof![4 => Just(false), 1 => Just(true)];
    let asked = (select(CALLERS.to_vec()), action(), resource, numbers, text);
    (asked, sealed, permits, forbids, now).prop_map(
        |((who, action, resource, numbers, text), sealed, permits, forbids, now)| Case {
            who,
            action,
            resource,
            numbers,
            text,
            sealed,
            permits,
            forbids,
            now,
        },
    )
}

impl Case {
    fn world(&self) -> World {
        let name = |text: &str| text.parse::<Principal>().unwrap();
        let (reason, brief) = (kernel::Personal::default, Some(NOON + Millis::hours(1)));
        let mut commands = vec![
            admit("agent/narrow", &["todo.*", "authz.evaluate"], None),
            admit("application/brief", &["*"], brief),
            admit("agent/suspended", &["*"], None),
            admit("operator/retired", &["*"], None),
            identity::Command::Assign {
                principal: name("agent/narrow"),
                role: "auditor".into(),
                until: brief,
                reason: reason(),
            },
            key(self.who, KEY, None),
        ];
        commands.push(identity::Command::Suspend { principal: name("agent/suspended"), reason: reason() });
        commands.push(identity::Command::Retire { principal: name("operator/retired"), reason: reason() });
        World::after(commands)
    }

    fn policies(&self) -> Policies {
        Policies::compile(&[self.permits.concat(), self.forbids.concat()].concat()).unwrap()
    }

    fn context(&self) -> BTreeMap<String, Value> {
        let all = policy::attributes(self.action).into_iter().flatten();
        let value = |sort: &Sort| match sort {
            Sort::Text => Value::Text(self.text.to_owned()),
            Sort::Long => Value::Long(self.numbers),
            Sort::Bool => Value::Bool(self.numbers == 0),
        };
        all.map(|(name, sort)| (name.clone(), value(sort))).collect()
    }

    fn see<R>(
        &self,
        world: &World,
        policies: &Policies,
        context: &BTreeMap<String, Value>,
        look: impl Fn(&Sight<'_>) -> R,
    ) -> R {
        let seal = Sealed { by: "operator/root".into(), reason: kernel::Personal::plain("fire") };
        look(&Sight {
            now: self.now,
            governance: &world.governance,
            identity: &world.identity,
            tokens: &world.tokens,
            policies: Ok(policies),
            sealed: self.sealed.then_some(&seal),
            generation: 17,
            action: self.action,
            resource: self.resource,
            context,
            credential: Credential::Secret(Digest([KEY; 32])),
            certificate: None,
            approved: door::Approved::default(),
            proven: &BTreeSet::new(),
        })
    }

    fn judged(&self, world: &World, policies: &Policies, context: &BTreeMap<String, Value>) -> Supposition {
        self.see(world, policies, context, |sight| match judge(sight) {
            Verdict::Allow { decision, .. } => Supposition::Allowed { by: decision.policies },
            Verdict::Deny { denial, .. } => Supposition::Denied { denial, by: Vec::new() },
        })
    }

    fn supposed(
        &self,
        world: &World,
        policies: &Policies,
        context: &BTreeMap<String, Value>,
        one: bool,
    ) -> Supposition {
        let principal: Principal = self.who.parse().unwrap();
        let (resource, roles) = (Some(self.resource).filter(|_| one), BTreeSet::new());
        let supposed = Supposed { principal: &principal, action: self.action, resource, context, roles: &roles };
        match self.see(world, policies, context, |sight| suppose(sight, &supposed)) {
            // Of the judge, the denial alone is heard.
            Supposition::Denied { denial, .. } => Supposition::Denied { denial, by: Vec::new() },
            supposed => supposed,
        }
    }
}

/// An operator decides about the end of a stop whatever else is stopped, so nothing is denied him before it is said what he
/// decides about.
#[test]
fn what_may_be_about_the_end_of_a_stop_is_left_open() {
    let case = Case {
        who: "operator/deputy",
        action: "approval.approve",
        resource: "1",
        numbers: 0,
        text: "system.resume",
        sealed: true,
        permits: Vec::new(),
        forbids: Vec::new(),
        now: NOON,
    };
    let (world, policies) = (case.world(), case.policies());
    assert!(matches!(case.judged(&world, &policies, &case.context()), Supposition::Allowed { .. }));
    let Supposition::Depends { permits, forbids } = case.supposed(&world, &policies, &BTreeMap::new(), true) else {
        panic!("it is left open")
    };
    assert_eq!((permits.len(), forbids.len()), (1, 0));
    assert_eq!(
        (permits[0].policy.as_str(), permits[0].conditions.as_slice()),
        ("capability:operator", &["context.asked == \"system.resume\"".to_owned()][..])
    );
    let other = Case { who: "agent/alpha", ..case };
    assert!(matches!(other.supposed(&world, &policies, &BTreeMap::new(), true), Supposition::Denied { .. }));
}
