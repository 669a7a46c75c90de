//! One row per answer that the token authority can give.

use kernel::{
    CommandId, Context, Decision, Digest, Kind as Record, Machine, Millis, Personal, Position, Principal, Recorded,
    Refuse, Timestamp, TokenId, TokenUse, Writer,
};
use serde::Serialize;
use tokens::{
    Backing, Bounds, Command, Consume, Consumption, DEPTH_MAX, Derive, Event, Filter, Grant, Issue, Kind, LIVE_MAX,
    Narrowed, Reason, Refusal, Replacement, Reply, SETTLE_WITHIN, Settlement, State, TARGET_MAX, Tokens, UseState,
    WORK_MAX, Work,
};

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const QUARTER: Millis = Millis::minutes(15);
const SWAP: Replacement = Replacement { old: Digest([1; 32]), new: Digest([2; 32]) };

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

/// What `who` says `after` noon.
fn at(who: &str, after: Millis) -> Context {
    let (now, decision) = (NOON + after, Decision::default());
    Context { now, command_id: CommandId(7), principal: principal(who), decision }
}

fn noon() -> Context {
    at("operator/root", Millis(0))
}

/// For the agent `alpha`, who may deploy on `arp` once, or work on a todo, or …
fn issued(id: u128, grant: Grant) -> Issue {
    let operation = if grant.kind() == Kind::Todo { "todo.work" } else { "deploy" };
    Issue {
        id: TokenId(id),
        secret: secret(id),
        grant,
        subject: principal("agent/alpha"),
        audience: if grant.kind() == Kind::Test { "test.arp" } else { "arp" }.into(),
        operation: operation.into(),
        uses: None,
        lifetime: None,
        bounds: Bounds { backing: (grant.kind() == Kind::Integration).then(backing), ..Bounds::default() },
    }
}

fn backing() -> Backing {
    Backing { todo: 3, report: Digest([8; 32]), approver: principal("operator/deputy") }
}

fn secret(id: u128) -> Digest {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&id.to_be_bytes());
    Digest(bytes)
}

fn work(audience: &str, operation: &str) -> Work {
    Work { audience: audience.into(), operation: operation.into() }
}

/// A token for `agent/bravo`, out of the first.
fn derived(id: u128) -> Derive {
    Derive {
        parent: TokenId(1),
        held: secret(1),
        id: TokenId(id),
        secret: secret(id),
        subject: principal("agent/bravo"),
        audience: "arp".into(),
        operation: "deploy".into(),
        target: None,
        request: None,
        uses: None,
        lifetime: None,
    }
}

fn issue(id: u128) -> Command {
    Command::Issue(issued(id, Grant::Operation))
}

fn consumed(id: u128, request: u8) -> Consume {
    Consume {
        id: TokenId(id),
        secret: secret(id),
        audience: "arp".into(),
        operation: "deploy".into(),
        request: Digest([request; 32]),
        todo: None,
        artefact: None,
        target: None,
        report: None,
    }
}

fn consume(id: u128, request: u8) -> Command {
    Command::Consume(consumed(id, request))
}

fn settle(id: u128, number: u32, outcome: Settlement) -> Command {
    Command::Settle { id: TokenId(id), number, outcome }
}

fn revoke(id: u128) -> Command {
    Command::Revoke { id: TokenId(id), reason: Reason::Withdrawn }
}

fn carry_out(tokens: &mut Tokens, command: &Command, cx: &Context) -> Reply {
    let outcome = tokens.decide(command, cx).unwrap();
    for event in &outcome.events {
        tokens.evolve(event, Position(0));
    }
    outcome.reply
}

fn after(commands: &[Command]) -> Tokens {
    let mut tokens = Tokens::default();
    for command in commands {
        carry_out(&mut tokens, command, &noon());
    }
    tokens
}

struct Named;

impl Writer for Named {
    type Done = &'static str;

    fn put<T: Serialize>(self, kind: Record, _body: &T) -> &'static str {
        kind.name
    }
}

/// The names of the facts, or the code of the refusal.
fn answer(tokens: &Tokens, command: &Command, cx: &Context) -> Result<Vec<&'static str>, &'static str> {
    match tokens.decide(command, cx) {
        Ok(outcome) => Ok(outcome.events.iter().map(|event| event.write(Named)).collect()),
        Err(refusal) => Err(refusal.code()),
    }
}

type Row<'a> = (&'a str, &'a Tokens, Context, Command, Result<Vec<&'static str>, &'static str>);

fn check(rows: Vec<Row<'_>>) {
    for (row, tokens, cx, command, expected) in rows {
        assert_eq!(answer(tokens, &command, &cx), expected, "{row}");
    }
}

#[test]
fn issue_answers() {
    let operation = issued(1, Grant::Operation);
    let asked = |change: fn(&mut Issue)| {
        let mut issue = issued(1, Grant::Operation);
        change(&mut issue);
        Command::Issue(issue)
    };
    let of = |grant, uses, lifetime| Command::Issue(Issue { uses, lifetime, ..issued(1, grant) });
    let bound = |change: fn(&mut Bounds)| {
        let mut bounds = Bounds::default();
        change(&mut bounds);
        Command::Issue(Issue { bounds, ..issued(1, Grant::Operation) })
    };
    let backed =
        |grant, backing| Command::Issue(Issue { bounds: Bounds { backing, ..Bounds::default() }, ..issued(1, grant) });
    let approved = |who| backed(Grant::Integration(SWAP), Some(Backing { approver: principal(who), ..backing() }));
    let worked = |audience, operation, times| {
        let bounds = Bounds { work: vec![work(audience, operation); times], ..Bounds::default() };
        Command::Issue(Issue { bounds, ..issued(1, Grant::Todo(3)) })
    };
    let fresh = &Tokens::default();
    let stands = &after(&[issue(1)]);
    let ended = &after(&[issue(1), revoke(1)]);
    let fact = || Ok(vec!["tokens.issued"]);
    let swap = Grant::Integration(SWAP);
    check(vec![
        ("an operation token", fresh, noon(), issue(1), fact()),
        ("a todo token", fresh, noon(), of(Grant::Todo(3), None, None), fact()),
        ("an integration token", fresh, noon(), of(swap, None, None), fact()),
        ("a test token", fresh, noon(), of(Grant::Test, None, None), fact()),
        ("the most uses", fresh, noon(), of(Grant::Operation, Some(1_000), None), fact()),
        ("the longest life", fresh, noon(), of(Grant::Operation, None, Some(Millis::hours(24))), fact()),
        ("again", stands, at("operator/root", QUARTER), issue(1), Ok(vec![])),
        ("again, after its end", ended, noon(), issue(1), Ok(vec![])),
        ("again, by another", stands, at("operator/other", QUARTER), issue(1), Err("tokens.id_taken")),
        ("again, for longer", stands, noon(), of(Grant::Operation, None, Some(Millis(1))), Err("tokens.id_taken")),
        ("again, for more", stands, noon(), of(Grant::Operation, Some(2), None), Err("tokens.id_taken")),
        ("again, of another kind", stands, noon(), of(Grant::Todo(1), None, None), Err("tokens.id_taken")),
        ("again, with another secret", stands, noon(), asked(|it| it.secret = secret(9)), Err("tokens.id_taken")),
        ("a known secret", stands, noon(), asked(|it| it.id = TokenId(2)), Err("tokens.secret_taken")),
        ("the secret of an ended one", ended, noon(), asked(|it| it.id = TokenId(2)), Err("tokens.secret_taken")),
        ("to oneself", fresh, at("agent/alpha", QUARTER), issue(1), Err("tokens.own_subject")),
        (
            "to the authority",
            fresh,
            noon(),
            asked(|it| it.subject = Principal::internal("clock")),
            Err("tokens.internal_subject"),
        ),
        ("no target", fresh, noon(), bound(|it| it.target = Some(String::new())), Err("tokens.bad_target")),
        ("two lines", fresh, noon(), bound(|it| it.target = Some("a\nb".into())), Err("tokens.bad_target")),
        (
            "a long target",
            fresh,
            noon(),
            bound(|it| it.target = Some("a".repeat(TARGET_MAX + 1))),
            Err("tokens.bad_target"),
        ),
        ("a target", fresh, noon(), bound(|it| it.target = Some("a".repeat(TARGET_MAX))), fact()),
        ("one request", fresh, noon(), bound(|it| it.request = Some(secret(1))), fact()),
        ("later", fresh, noon(), bound(|it| it.not_before = Some(NOON + Millis(899_999))), fact()),
        ("since earlier", fresh, noon(), bound(|it| it.not_before = Some(Timestamp(1))), fact()),
        (
            "after its end",
            fresh,
            noon(),
            bound(|it| it.not_before = Some(NOON + QUARTER)),
            Err("tokens.starts_too_late"),
        ),
        ("work on a todo", fresh, noon(), worked("arp", "deploy", 1), fact()),
        ("much work", fresh, noon(), worked("arp", "deploy", WORK_MAX), fact()),
        ("too much work", fresh, noon(), worked("arp", "deploy", WORK_MAX + 1), Err("tokens.bad_work")),
        ("work in the tests", fresh, noon(), worked("test.arp", "deploy", 1), Err("tokens.bad_work")),
        ("all work", fresh, noon(), worked("arp", "todo.work", 1), Err("tokens.bad_work")),
        ("work nowhere", fresh, noon(), worked("", "deploy", 1), Err("tokens.bad_work")),
        ("work without a todo", fresh, noon(), bound(|it| it.work = vec![work("arp", "x")]), Err("tokens.bad_work")),
        ("backed by nothing", fresh, noon(), backed(swap, None), Err("tokens.unbacked")),
        ("backed for nothing", fresh, noon(), backed(Grant::Operation, Some(backing())), Err("tokens.unbacked")),
        ("approved by its subject", fresh, noon(), approved("agent/alpha"), Err("tokens.own_approval")),
        ("approved by nobody", fresh, noon(), approved("internal/clock"), Err("tokens.own_approval")),
        ("again, on a target", stands, noon(), bound(|it| it.target = Some("x".into())), Err("tokens.id_taken")),
        ("again, for one request", stands, noon(), bound(|it| it.request = Some(secret(1))), Err("tokens.id_taken")),
        ("again, later", stands, noon(), bound(|it| it.not_before = Some(NOON + Millis(1))), Err("tokens.id_taken")),
        ("again, since earlier", stands, noon(), bound(|it| it.not_before = Some(Timestamp(1))), Ok(vec![])),
        ("no audience", fresh, noon(), asked(|it| it.audience.clear()), Err("tokens.bad_audience")),
        ("a long audience", fresh, noon(), asked(|it| it.audience = "a".repeat(65)), Err("tokens.bad_audience")),
        ("two audiences", fresh, noon(), asked(|it| it.audience = "a,b".into()), Err("tokens.bad_audience")),
        ("no operation", fresh, noon(), asked(|it| it.operation.clear()), Err("tokens.bad_operation")),
        ("every operation", fresh, noon(), asked(|it| it.operation = "*".into()), Err("tokens.bad_operation")),
        ("into the tests", fresh, noon(), asked(|it| it.audience = "test.x".into()), Err("tokens.outside_namespace")),
        ("out of the tests", fresh, noon(), asked(|it| it.grant = Grant::Test), Err("tokens.outside_namespace")),
        ("a todo's other work", fresh, noon(), asked(|it| it.grant = Grant::Todo(1)), Err("tokens.not_todo_work")),
        (
            "todo work without a todo",
            fresh,
            noon(),
            asked(|it| it.operation = "todo.work".into()),
            Err("tokens.not_todo_work"),
        ),
        ("one use of an artefact, asked", fresh, noon(), of(swap, Some(1), None), Err("tokens.uses_fixed")),
        ("no use", fresh, noon(), of(Grant::Operation, Some(0), None), Err("tokens.uses_out_of_range")),
        ("too many uses", fresh, noon(), of(Grant::Operation, Some(1_001), None), Err("tokens.uses_out_of_range")),
        ("too much work", fresh, noon(), of(Grant::Todo(3), Some(101), None), Err("tokens.uses_out_of_range")),
        ("too many tests", fresh, noon(), of(Grant::Test, Some(1_001), None), Err("tokens.uses_out_of_range")),
        ("no life", fresh, noon(), of(Grant::Operation, None, Some(Millis(0))), Err("tokens.lifetime_out_of_range")),
        (
            "too long a life",
            fresh,
            noon(),
            of(Grant::Operation, None, Some(Millis(Millis::hours(24).0 + 1))),
            Err("tokens.lifetime_out_of_range"),
        ),
        (
            "too long a work",
            fresh,
            noon(),
            of(Grant::Todo(3), None, Some(Millis(Millis::hours(48).0 + 1))),
            Err("tokens.lifetime_out_of_range"),
        ),
    ]);
    let reply = |tokens: &Tokens, cx| tokens.decide(&Command::Issue(operation.clone()), &cx).unwrap().reply;
    let first = Reply::Issued { id: TokenId(1), kind: Kind::Operation, uses: 1, expires_at: NOON + QUARTER };
    assert_eq!(reply(fresh, noon()), first);
    assert_eq!(reply(stands, at("operator/root", QUARTER)), first, "a repeat gets the first answer");
}

#[test]
fn kinds_get_what_they_are_due() {
    for (grant, uses, lifetime) in [
        (Grant::Operation, 1, QUARTER),
        (Grant::Todo(3), 100, Millis::hours(48)),
        (Grant::Integration(SWAP), 1, QUARTER),
        (Grant::Test, 1, Millis::hours(24)),
    ] {
        let tokens = after(&[Command::Issue(issued(1, grant))]);
        let token = tokens.show(TokenId(1), NOON).unwrap();
        assert_eq!((token.grant, token.uses, token.left), (grant, uses, uses));
        assert_eq!(token.expires_at, NOON + lifetime, "{grant:?}");
    }
}

#[test]
fn consume_answers() {
    let once = &after(&[issue(1)]);
    let twice = &after(&[Command::Issue(Issue { uses: Some(2), ..issued(1, Grant::Operation) }), consume(1, 1)]);
    let spent = &after(&[issue(1), consume(1, 1)]);
    let mut full = twice.clone();
    carry_out(&mut full, &consume(1, 2), &noon());
    let full = &full;
    let done = &after(&[issue(1), consume(1, 1), settle(1, 1, Settlement::Succeeded)]);
    let given_back = &after(&[issue(1), consume(1, 1), settle(1, 1, Settlement::Refused)]);
    let revoked = &after(&[issue(1), consume(1, 1), revoke(1)]);
    let mut unknown = after(&[issue(1), consume(1, 1)]);
    carry_out(&mut unknown, &Command::Expire, &at("internal/clock", SETTLE_WITHIN));
    let todo = &after(&[Command::Issue(issued(1, Grant::Todo(3)))]);
    let swap = &after(&[Command::Issue(issued(1, Grant::Integration(SWAP)))]);
    let with = |change: fn(&mut Consume)| {
        let mut consume = consumed(1, 1);
        change(&mut consume);
        Command::Consume(consume)
    };
    let work = |todo| Command::Consume(Consume { todo, operation: "todo.work".into(), ..consumed(1, 1) });
    let replace = |artefact| {
        let Backing { todo, report, .. } = backing();
        Command::Consume(Consume { artefact, todo: Some(todo), report: Some(report), ..consumed(1, 1) })
    };
    let elsewhere = |change: fn(&mut Consume)| {
        let Command::Consume(mut consume) = replace(Some(SWAP)) else { unreachable!("it consumes") };
        change(&mut consume);
        Command::Consume(consume)
    };
    let of = |bounds| after(&[Command::Issue(Issue { bounds, ..issued(1, Grant::Operation) })]);
    let aimed = &of(Bounds { target: Some("a.txt".into()), ..Bounds::default() });
    let fixed = &of(Bounds { request: Some(Digest([1; 32])), ..Bounds::default() });
    let later = &of(Bounds { not_before: Some(NOON + Millis(9)), ..Bounds::default() });
    let on = |target: Option<&str>| Command::Consume(Consume { target: target.map(Into::into), ..consumed(1, 1) });
    let (too_early, in_time) = (at("agent/alpha", Millis(8)), at("agent/alpha", Millis(9)));
    let backwards = Replacement { old: SWAP.new, new: SWAP.old };
    let last = at("agent/alpha", Millis(QUARTER.0 - 1));
    let expired = at("agent/alpha", QUARTER);
    check(vec![
        ("use", once, noon(), consume(1, 1), Ok(vec!["tokens.consumed"])),
        ("use at the last instant", once, last.clone(), consume(1, 1), Ok(vec!["tokens.consumed"])),
        ("use the second", twice, noon(), consume(1, 2), Ok(vec!["tokens.consumed"])),
        ("the same request again", twice, noon(), consume(1, 1), Ok(vec![])),
        ("the same request when exhausted", spent, noon(), consume(1, 1), Ok(vec![])),
        ("the same request when it is done", done, last.clone(), consume(1, 1), Ok(vec![])),
        ("the same request after its refusal", given_back, noon(), consume(1, 1), Ok(vec!["tokens.consumed"])),
        ("another request when used", spent, noon(), consume(1, 2), Err("tokens.double_spend")),
        ("another request when it is done", done, noon(), consume(1, 2), Err("tokens.double_spend")),
        ("another request when all are used", full, noon(), consume(1, 3), Err("tokens.exhausted")),
        ("the same request when all is unknown", &unknown, last.clone(), consume(1, 1), Ok(vec![])),
        ("another request when all is unknown", &unknown, last, consume(1, 2), Err("tokens.double_spend")),
        ("an unknown id", once, noon(), consume(2, 1), Err("tokens.unknown")),
        ("a wrong secret", once, noon(), with(|it| it.secret = secret(2)), Err("tokens.unknown")),
        ("when revoked", revoked, noon(), consume(1, 2), Err("tokens.revoked")),
        ("the same request when revoked", revoked, noon(), consume(1, 1), Err("tokens.revoked")),
        ("when expired", once, expired.clone(), consume(1, 1), Err("tokens.expired")),
        ("the same request when expired", done, expired, consume(1, 1), Err("tokens.expired")),
        ("elsewhere", once, noon(), with(|it| it.audience = "scp".into()), Err("tokens.other_audience")),
        ("otherwise", once, noon(), with(|it| it.operation = "delete".into()), Err("tokens.other_operation")),
        ("for a todo", once, noon(), with(|it| it.todo = Some(3)), Err("tokens.other_todo")),
        ("for an artefact", once, noon(), with(|it| it.artefact = Some(SWAP)), Err("tokens.other_artefact")),
        ("work on the todo", todo, noon(), work(Some(3)), Ok(vec!["tokens.consumed"])),
        ("work on another todo", todo, noon(), work(Some(4)), Err("tokens.other_todo")),
        ("work on no todo", todo, noon(), work(None), Err("tokens.other_todo")),
        ("replace the artefact", swap, noon(), replace(Some(SWAP)), Ok(vec!["tokens.consumed"])),
        ("replace it backwards", swap, noon(), replace(Some(backwards)), Err("tokens.other_artefact")),
        ("replace nothing", swap, noon(), replace(None), Err("tokens.other_artefact")),
        ("replace for another todo", swap, noon(), elsewhere(|it| it.todo = Some(4)), Err("tokens.other_todo")),
        ("replace for no todo", swap, noon(), elsewhere(|it| it.todo = None), Err("tokens.other_todo")),
        ("replace on another report", swap, noon(), elsewhere(|it| it.report = None), Err("tokens.other_report")),
        ("a report for nothing", once, noon(), with(|it| it.report = Some(SWAP.old)), Err("tokens.other_report")),
        ("on its target", aimed, noon(), on(Some("a.txt")), Ok(vec!["tokens.consumed"])),
        ("on another target", aimed, noon(), on(Some("b.txt")), Err("tokens.other_target")),
        ("on nothing", aimed, noon(), on(None), Err("tokens.other_target")),
        ("on anything, unbound", once, noon(), on(Some("b.txt")), Ok(vec!["tokens.consumed"])),
        ("its request", fixed, noon(), consume(1, 1), Ok(vec!["tokens.consumed"])),
        ("another request", fixed, noon(), consume(1, 2), Err("tokens.other_request")),
        ("before it begins", later, too_early, consume(1, 1), Err("tokens.not_yet")),
        ("once it begins", later, in_time, consume(1, 1), Ok(vec!["tokens.consumed"])),
    ]);
}

#[test]
fn derive_answers() {
    let many = |grant, bounds| {
        after(&[Command::Issue(Issue {
            uses: (grant != Grant::Integration(SWAP)).then_some(5),
            bounds,
            ..issued(1, grant)
        })])
    };
    let parent = &many(Grant::Operation, Bounds::default());
    let aimed =
        &many(Grant::Operation, Bounds { target: Some("a.txt".into()), request: Some(secret(5)), ..Bounds::default() });
    let later = &many(Grant::Operation, Bounds { not_before: Some(NOON + Millis(9)), ..Bounds::default() });
    let todo = Bounds { work: vec![work("arp", "deploy"), work("sop", "todo.show")], ..Bounds::default() };
    let todo = &many(Grant::Todo(3), todo);
    let test = &many(Grant::Test, Bounds::default());
    let swap = &many(Grant::Integration(SWAP), Bounds { backing: Some(backing()), ..Bounds::default() });
    let alpha = || at("agent/alpha", Millis(0));
    let then = |parent: &Tokens, command: &Command, cx: &Context| {
        let mut tokens = parent.clone();
        carry_out(&mut tokens, command, cx);
        tokens
    };
    let stands = &then(parent, &Command::Derive(derived(2)), &alpha());
    let revoked = &then(parent, &revoke(1), &noon());
    let spent = &then(parent, &Command::Derive(Derive { uses: Some(5), ..derived(2) }), &alpha());
    let asked = |change: fn(&mut Derive)| {
        let mut derive = derived(2);
        change(&mut derive);
        Command::Derive(derive)
    };
    let show = |derive: &mut Derive| (derive.audience, derive.operation) = ("sop".into(), "todo.show".into());
    let fact = || Ok(vec!["tokens.issued"]);
    let same = || asked(|_| ());
    check(vec![
        ("the same", parent, alpha(), same(), fact()),
        ("again", stands, at("agent/alpha", Millis::minutes(1)), same(), Ok(vec![])),
        ("again, for more", stands, alpha(), asked(|it| it.uses = Some(2)), Err("tokens.id_taken")),
        ("again, for less", stands, alpha(), asked(|it| it.target = Some("x".into())), Err("tokens.id_taken")),
        ("under the id of the parent", parent, alpha(), asked(|it| it.id = TokenId(1)), Err("tokens.id_taken")),
        (
            "with the secret of the parent",
            parent,
            alpha(),
            asked(|it| it.secret = secret(1)),
            Err("tokens.secret_taken"),
        ),
        ("by another", parent, at("agent/bravo", Millis(0)), same(), Err("tokens.not_holder")),
        ("by who does not hold it", parent, alpha(), asked(|it| it.held = secret(2)), Err("tokens.unknown")),
        ("of nothing", parent, alpha(), asked(|it| it.parent = TokenId(9)), Err("tokens.unknown")),
        ("of a revoked one", revoked, alpha(), same(), Err("tokens.revoked")),
        ("of an expired one", parent, at("agent/alpha", QUARTER), same(), Err("tokens.expired")),
        ("of a pending one", later, alpha(), same(), Err("tokens.not_yet")),
        (
            "of one that is used up",
            spent,
            alpha(),
            asked(|it| (it.id, it.secret) = (TokenId(3), secret(3))),
            Err("tokens.exhausted"),
        ),
        ("for oneself", parent, alpha(), asked(|it| it.subject = principal("agent/alpha")), fact()),
        (
            "for the issuer",
            parent,
            alpha(),
            asked(|it| it.subject = principal("operator/root")),
            Err("tokens.own_subject"),
        ),
        (
            "for the authority",
            parent,
            alpha(),
            asked(|it| it.subject = Principal::internal("clock")),
            Err("tokens.internal_subject"),
        ),
        ("elsewhere", parent, alpha(), asked(|it| it.audience = "scp".into()), Err("tokens.widens")),
        ("otherwise", parent, alpha(), asked(|it| it.operation = "stop".into()), Err("tokens.widens")),
        ("on a target", parent, alpha(), asked(|it| it.target = Some("a.txt".into())), fact()),
        ("on the target", aimed, alpha(), asked(|it| it.target = Some("a.txt".into())), fact()),
        ("on its target, unsaid", aimed, alpha(), same(), fact()),
        ("on another target", aimed, alpha(), asked(|it| it.target = Some("b.txt".into())), Err("tokens.widens")),
        ("on a strange target", parent, alpha(), asked(|it| it.target = Some("\n".into())), Err("tokens.bad_target")),
        ("for one request", parent, alpha(), asked(|it| it.request = Some(secret(6))), fact()),
        ("for its request", aimed, alpha(), asked(|it| it.request = Some(secret(5))), fact()),
        ("for another request", aimed, alpha(), asked(|it| it.request = Some(secret(6))), Err("tokens.widens")),
        ("all uses", parent, alpha(), asked(|it| it.uses = Some(5)), fact()),
        ("more uses", parent, alpha(), asked(|it| it.uses = Some(6)), Err("tokens.widens")),
        ("too many uses", parent, alpha(), asked(|it| it.uses = Some(1_001)), Err("tokens.uses_out_of_range")),
        ("no use", parent, alpha(), asked(|it| it.uses = Some(0)), Err("tokens.uses_out_of_range")),
        ("as long", parent, alpha(), asked(|it| it.lifetime = Some(QUARTER)), fact()),
        ("longer", parent, alpha(), asked(|it| it.lifetime = Some(Millis(QUARTER.0 + 1))), Err("tokens.widens")),
        ("no life", parent, alpha(), asked(|it| it.lifetime = Some(Millis(0))), Err("tokens.lifetime_out_of_range")),
        (
            "longer than its kind",
            todo,
            alpha(),
            asked(|it| it.lifetime = Some(Millis::hours(25))),
            Err("tokens.lifetime_out_of_range"),
        ),
        ("work on a todo", todo, alpha(), same(), fact()),
        ("other work on it", todo, alpha(), asked(|it| it.operation = "stop".into()), Err("tokens.widens")),
        ("its work elsewhere", todo, alpha(), asked(|it| it.audience = "scp".into()), Err("tokens.widens")),
        ("all of it", todo, alpha(), asked(|it| it.operation = "todo.work".into()), Err("tokens.widens")),
        ("a look at it", todo, alpha(), asked(show), fact()),
        (
            "a look at another",
            todo,
            alpha(),
            asked(|it| {
                (it.audience, it.operation, it.target) = ("sop".into(), "todo.show".into(), Some("todo-4".into()));
            }),
            Err("tokens.widens"),
        ),
        ("a test", test, alpha(), asked(|it| it.audience = "test.arp".into()), fact()),
        ("a test in earnest", test, alpha(), same(), Err("tokens.widens")),
        ("a replacement", swap, alpha(), same(), Err("tokens.not_derivable")),
    ]);
    let child = |parent: &Tokens, change: fn(&mut Derive)| {
        then(parent, &asked(change), &alpha()).show(TokenId(2), NOON).unwrap()
    };
    let of = child(todo, show);
    assert_eq!((of.target.as_deref(), of.todo, of.parent), (Some("todo-3"), Some(3), Some(TokenId(1))));
    assert_eq!((of.grant, of.uses, of.expires_at), (Grant::Operation, 1, NOON + QUARTER));
    assert_eq!((of.issuer, of.subject), (principal("operator/root"), principal("agent/bravo")));
    assert_eq!(child(test, |it| it.audience = "test.arp".into()).grant, Grant::Test);
    let late = then(parent, &same(), &at("agent/alpha", Millis(QUARTER.0 - 5)));
    assert_eq!(late.show(TokenId(2), NOON).unwrap().expires_at, NOON + QUARTER, "as long as there is of its parent");
    let parent = stands.show(TokenId(1), NOON).unwrap();
    assert_eq!((parent.uses, parent.left, parent.handed_on, parent.state), (5, 4, 1, State::Active));
    assert_eq!(spent.show(TokenId(1), NOON).unwrap().state, State::Consumed);
    assert_eq!(
        stands.decide(&asked(|it| (it.id, it.secret, it.uses) = (TokenId(3), secret(3), Some(5))), &alpha()),
        Err(Refusal::Widens { what: Narrowed::Uses })
    );
}

/// A chain of tokens, each derived from the one before, from hand to hand; the last one deep down.
fn chain(depth: u8) -> Tokens {
    let mut tokens = after(&[Command::Issue(Issue { uses: Some(100), ..issued(1, Grant::Operation) })]);
    for number in 1..=u128::from(depth) {
        let holder = if number == 1 { "agent/alpha".to_owned() } else { format!("agent/a{number}") };
        let subject = principal(&format!("agent/a{}", number + 1));
        let (parent, held) = (TokenId(number), secret(number));
        let uses = Some(u32::try_from(100 - number).unwrap());
        let derive = Derive { parent, held, subject, uses, ..derived(number + 1) };
        carry_out(&mut tokens, &Command::Derive(derive), &at(&holder, Millis(0)));
    }
    tokens
}

#[test]
fn a_chain_is_so_long_and_no_longer_and_ends_with_each_of_its_links() {
    let full = chain(DEPTH_MAX);
    let last = u128::from(DEPTH_MAX) + 1;
    let more = Derive { parent: TokenId(last), held: secret(last), ..derived(99) };
    check(vec![(
        "one more",
        &full,
        at(&format!("agent/a{last}"), Millis(0)),
        Command::Derive(more),
        Err("tokens.too_deep"),
    )]);
    let tokens = chain(3);
    let tree = |id| Command::RevokeTree { id: TokenId(id), reason: Reason::Compromised };
    let facts = |command: &Command| tokens.decide(command, &noon()).unwrap().events.len();
    assert_eq!(facts(&revoke(2)), 1);
    assert_eq!([facts(&tree(1)), facts(&tree(2)), facts(&tree(4))], [4, 3, 1]);
    let of = |who: &str| facts(&Command::RevokeSubject { subject: principal(who) });
    assert_eq!([of("agent/alpha"), of("agent/a2"), of("agent/a4"), of("agent/other")], [5, 4, 2, 1], "one says so");
    let mut ended = tokens.clone();
    carry_out(&mut ended, &tree(2), &noon());
    let states = (1..=4).map(|id| ended.show(TokenId(id), NOON).unwrap().state).collect::<Vec<_>>();
    assert_eq!(states, [State::Active, State::Revoked, State::Revoked, State::Revoked]);
    assert_eq!(ended.revocations(), 3);
    check(vec![
        ("the tree again", &ended, noon(), tree(2), Ok(vec![])),
        ("no tree", &ended, noon(), tree(77), Err("tokens.unknown")),
    ]);
}

/// Also what was derived from one that is used up by that.
#[test]
fn what_was_derived_ends_with_the_todo_and_with_who_handed_it_on() {
    let bounds = Bounds { work: vec![work("arp", "deploy")], ..Bounds::default() };
    let mut tokens = after(&[Command::Issue(Issue { uses: Some(1), bounds, ..issued(1, Grant::Todo(3)) })]);
    carry_out(&mut tokens, &Command::Derive(derived(2)), &at("agent/alpha", Millis(0)));
    assert_eq!(tokens.show(TokenId(1), NOON).unwrap().state, State::Consumed);
    for command in [
        Command::RevokeTodo { todo: 3 },
        Command::RevokeSubject { subject: principal("agent/alpha") },
        Command::RevokeSubject { subject: principal("agent/bravo") },
        Command::RevokeTree { id: TokenId(1), reason: Reason::Withdrawn },
        Command::RevokeAll,
    ] {
        let mut ended = tokens.clone();
        carry_out(&mut ended, &command, &noon());
        assert_eq!(ended.show(TokenId(2), NOON).unwrap().state, State::Revoked, "{command:?}");
    }
    let listed = |todo| tokens.list(&Filter { todo: Some(todo), ..Filter::default() }, NOON).count();
    assert_eq!([listed(3), listed(4)], [2, 0]);
}

#[test]
fn all_of_before_an_epoch_ends_in_one_record() {
    let mut tokens = Tokens::default();
    carry_out(&mut tokens, &issue(1), &noon());
    carry_out(&mut tokens, &issue(2), &at("operator/root", Millis(5)));
    let before = |after| Command::RevokeBefore { before: NOON + Millis(after) };
    let now = at("operator/root", Millis(9));
    check(vec![
        ("before any", &tokens, now.clone(), before(0), Ok(vec![])),
        ("before the second", &tokens, now.clone(), before(5), Ok(vec!["tokens.revoked_before"])),
        ("up to now", &tokens, now.clone(), before(9), Ok(vec!["tokens.revoked_before"])),
        ("ahead", &tokens, now.clone(), before(10), Err("tokens.future_epoch")),
    ]);
    assert_eq!(carry_out(&mut tokens, &before(5), &now), Reply::Revoked { tokens: 1 });
    let states = [1, 2].map(|id| tokens.show(TokenId(id), now.now).unwrap());
    assert_eq!(states.each_ref().map(|token| token.state), [State::Revoked, State::Active]);
    assert_eq!(states[0].revocation.as_ref().unwrap().reason, Reason::Epoch);
    assert_eq!(carry_out(&mut tokens, &before(5), &now), Reply::Revoked { tokens: 0 });
    assert_eq!(tokens.revocations(), 1);
}

#[test]
fn a_token_that_begins_later_is_pending_until_then() {
    let start = NOON + Millis::minutes(5);
    let bounds = Bounds { not_before: Some(start), ..Bounds::default() };
    let mut tokens = after(&[Command::Issue(Issue { bounds, ..issued(1, Grant::Operation) })]);
    let state = |tokens: &Tokens, now| tokens.show(TokenId(1), now).unwrap().state;
    assert_eq!(
        [state(&tokens, NOON), state(&tokens, start)],
        [State::Pending, State::Active],
        "no clock is waited for"
    );
    assert_eq!(tokens.deadline(), Some(start));
    let valid = |now| tokens.validate(TokenId(1), secret(1), "arp", "deploy", now).map(|token| token.left);
    assert_eq!([valid(NOON), valid(start)], [Err(Refusal::NotYet { at: start }), Ok(1)]);
    let revoked = [revoke(1), Command::RevokeAll].map(|command| answer(&tokens, &command, &noon()));
    assert_eq!(revoked, [Ok(vec!["tokens.revoked"]), Ok(vec!["tokens.revoked"])]);
    let clock = |now: Timestamp| at("internal/clock", now - NOON);
    assert_eq!(answer(&tokens, &Command::Expire, &clock(start)), Ok(vec!["tokens.activated"]));
    let both = answer(&tokens, &Command::Expire, &clock(NOON + QUARTER));
    assert_eq!(both, Ok(vec!["tokens.activated", "tokens.expired"]), "also where the clock was not there for long");
    carry_out(&mut tokens, &Command::Expire, &clock(start));
    assert_eq!(tokens.deadline(), Some(NOON + QUARTER));
}

#[test]
fn a_double_spend_gets_the_first_result() {
    let mut tokens = after(&[issue(1)]);
    let second = Context { command_id: CommandId(8), ..noon() };
    let of = |already, state| {
        let spent = TokenUse { token: TokenId(1), number: 1 };
        Reply::Consumed(Consumption { spent, left: 0, by: CommandId(7), already, state })
    };
    assert_eq!(carry_out(&mut tokens, &consume(1, 1), &noon()), of(false, UseState::Pending));
    assert_eq!(carry_out(&mut tokens, &consume(1, 1), &second), of(true, UseState::Pending));
    let late = Context { now: NOON + SETTLE_WITHIN, ..second.clone() };
    assert_eq!(carry_out(&mut tokens, &consume(1, 1), &late), of(true, UseState::Unknown), "no clock is waited for");
    carry_out(&mut tokens, &settle(1, 1, Settlement::Succeeded), &noon());
    assert_eq!(carry_out(&mut tokens, &consume(1, 1), &second), of(true, UseState::Succeeded));
}

#[test]
fn settle_answers() {
    let pending = &after(&[issue(1), consume(1, 1)]);
    let done = &after(&[issue(1), consume(1, 1), settle(1, 1, Settlement::Succeeded)]);
    let given_back = &after(&[issue(1), consume(1, 1), settle(1, 1, Settlement::Refused)]);
    let revoked = &after(&[issue(1), consume(1, 1), revoke(1)]);
    let mut unknown = after(&[issue(1), consume(1, 1)]);
    let (in_time, late) = (at("agent/alpha", Millis(SETTLE_WITHIN.0 - 1)), at("agent/alpha", SETTLE_WITHIN));
    carry_out(&mut unknown, &Command::Expire, &late);
    let succeeded = |number| settle(1, number, Settlement::Succeeded);
    let refused = |number| settle(1, number, Settlement::Refused);
    let elsewhere = settle(2, 1, Settlement::Refused);
    check(vec![
        ("succeeded", pending, in_time.clone(), succeeded(1), Ok(vec!["tokens.settled"])),
        ("refused", pending, in_time, refused(1), Ok(vec!["tokens.released"])),
        ("succeeded, when revoked since", revoked, noon(), succeeded(1), Ok(vec!["tokens.settled"])),
        ("refused, when revoked since", revoked, noon(), refused(1), Ok(vec!["tokens.released"])),
        ("succeeded again", done, late.clone(), succeeded(1), Ok(vec![])),
        ("refused again", given_back, late.clone(), refused(1), Ok(vec![])),
        ("refused after it succeeded", done, noon(), refused(1), Err("tokens.settled_otherwise")),
        ("succeeded after it was refused", given_back, noon(), succeeded(1), Err("tokens.settled_otherwise")),
        ("succeeded, late", pending, late.clone(), succeeded(1), Err("tokens.settled_late")),
        ("refused, late", pending, late.clone(), refused(1), Err("tokens.settled_late")),
        ("succeeded, late, as the clock knows", &unknown, late.clone(), succeeded(1), Err("tokens.settled_late")),
        ("refused, late, as the clock knows", &unknown, late, refused(1), Err("tokens.settled_late")),
        ("no use", pending, noon(), refused(0), Err("tokens.unknown_use")),
        ("a use to come", pending, noon(), refused(2), Err("tokens.unknown_use")),
        ("no token", pending, noon(), elsewhere, Err("tokens.unknown")),
    ]);
    let left = |tokens: &Tokens, command| match tokens.decide(&command, &noon()).unwrap().reply {
        Reply::Settled { left, .. } => left,
        other => panic!("{other:?}"),
    };
    assert_eq!([left(pending, succeeded(1)), left(pending, refused(1)), left(given_back, refused(1))], [0, 1, 1]);
}

#[test]
fn the_number_of_a_use_that_was_given_back_is_not_given_again() {
    let again = [issue(1), consume(1, 1), settle(1, 1, Settlement::Refused), consume(1, 1)];
    let uses = after(&again).uses(TokenId(1), NOON).unwrap();
    assert_eq!(uses.iter().map(|spent| spent.number).collect::<Vec<_>>(), [2]);
}

#[test]
fn revoke_answers() {
    let alive = &after(&[issue(1)]);
    let revoked = &after(&[issue(1), revoke(1)]);
    let pending = &after(&[issue(1), consume(1, 1)]);
    let done = &after(&[issue(1), consume(1, 1), settle(1, 1, Settlement::Succeeded)]);
    let because =
        |length| Command::Revoke { id: TokenId(1), reason: Reason::Other(Personal::plain(&"é".repeat(length))) };
    let (fact, already) = (|| Ok(vec!["tokens.revoked"]), || Ok(vec![]));
    check(vec![
        ("alive", alive, noon(), revoke(1), fact()),
        ("for a reason", alive, noon(), because(200), fact()),
        ("for a long reason", alive, noon(), because(201), Err("tokens.reason_too_long")),
        ("exhausted, but a use may come back", pending, noon(), revoke(1), fact()),
        ("exhausted for good", done, noon(), revoke(1), already()),
        ("revoked", revoked, noon(), revoke(1), already()),
        ("expired", alive, at("operator/root", QUARTER), revoke(1), already()),
        ("unknown", alive, noon(), revoke(2), Err("tokens.unknown")),
    ]);
}

#[test]
fn bulk_revocation_answers() {
    let bravo = Issue { subject: principal("agent/bravo"), ..issued(2, Grant::Operation) };
    let work = |id| Command::Issue(issued(id, Grant::Todo(3)));
    let other_work = Command::Issue(issued(6, Grant::Todo(4)));
    let tokens = &after(&[issue(1), Command::Issue(bravo), work(3), work(4), revoke(4), issue(5), other_work]);
    let of = |agent| Command::RevokeSubject { subject: principal(agent) };
    let facts = |count| Ok(vec!["tokens.revoked"; count]);
    let of_subject = |count| Ok([vec!["tokens.revoked"; count], vec!["tokens.subject_revoked"]].concat());
    check(vec![
        ("a subject", tokens, noon(), of("agent/alpha"), of_subject(4)),
        ("another", tokens, noon(), of("agent/bravo"), of_subject(1)),
        ("a stranger", tokens, noon(), of("agent/carol"), of_subject(0)),
        ("a subject, later", tokens, at("operator/root", QUARTER), of("agent/alpha"), of_subject(2)),
        ("a todo", tokens, noon(), Command::RevokeTodo { todo: 3 }, facts(1)),
        ("a todo without tokens", tokens, noon(), Command::RevokeTodo { todo: 5 }, facts(0)),
        ("all", tokens, noon(), Command::RevokeAll, facts(5)),
        ("all, later", tokens, at("operator/root", Millis::hours(48)), Command::RevokeAll, facts(0)),
    ]);
    let mut tokens = tokens.clone();
    assert_eq!(carry_out(&mut tokens, &Command::RevokeAll, &noon()), Reply::Revoked { tokens: 5 });
    assert_eq!(carry_out(&mut tokens, &Command::RevokeAll, &noon()), Reply::Revoked { tokens: 0 });
    assert_eq!(tokens.show(TokenId(4), NOON).unwrap().revocation.unwrap().reason, Reason::Withdrawn);
}

/// As many tokens for `subject` as may be.
fn fill(tokens: &mut Tokens, from: u128, subject: &str, grant: Grant) {
    for id in from..from + LIVE_MAX as u128 {
        let issue = Issue { subject: principal(subject), ..issued(id, grant) };
        carry_out(tokens, &Command::Issue(issue), &noon());
    }
}

#[test]
fn limits_of_the_living_are_kept() {
    let mut tokens = Tokens::default();
    fill(&mut tokens, 0, "agent/alpha", Grant::Todo(3));
    let (one_more, id) = (LIVE_MAX as u128, TokenId(0));
    let to_bravo = |grant| Issue { subject: principal("agent/bravo"), ..issued(one_more, grant) };
    let (bravo, work) = (Command::Issue(to_bravo(Grant::Operation)), Command::Issue(to_bravo(Grant::Todo(3))));
    let days = at("operator/root", Millis::hours(48));
    check(vec![
        ("a full subject", &tokens, noon(), issue(one_more), Err("tokens.subject_full")),
        ("a full todo", &tokens, noon(), work.clone(), Err("tokens.todo_full")),
        ("another subject", &tokens, noon(), bravo.clone(), Ok(vec!["tokens.issued"])),
        ("a full subject when all expired", &tokens, days.clone(), issue(one_more), Ok(vec!["tokens.issued"])),
        ("a full todo when all expired", &tokens, days.clone(), work.clone(), Ok(vec!["tokens.issued"])),
        ("each for itself", &tokens, noon(), Command::RevokeAll, Ok(vec!["tokens.revoked"; LIVE_MAX])),
        ("the clock in portions", &tokens, days, Command::Expire, Ok(vec!["tokens.expired"; 256])),
    ]);
    carry_out(&mut tokens, &bravo, &noon());
    check(vec![("too many for one each", &tokens, noon(), Command::RevokeAll, Ok(vec!["tokens.all_revoked"]))]);
    let reply = carry_out(&mut tokens, &Command::RevokeAll, &noon());
    assert_eq!(reply, Reply::Revoked { tokens: LIVE_MAX as u64 + 1 });
    assert_eq!(tokens.list(&Filter { state: Some(State::Active), ..Filter::default() }, NOON).count(), 0);
    assert_eq!(tokens.show(id, NOON).unwrap().revocation.unwrap().reason, Reason::AllRevoked);
    check(vec![("a subject whose tokens ended", &tokens, noon(), issue(one_more + 1), Ok(vec!["tokens.issued"]))]);
}

#[test]
fn the_clock_answers() {
    let both = after(&[issue(1), Command::Issue(issued(2, Grant::Test)), consume(1, 1)]);
    let unsettled = after(&[Command::Issue(Issue { uses: Some(2), ..issued(1, Grant::Operation) }), consume(1, 1)]);
    let later = |millis| at("internal/clock", Millis(millis));
    check(vec![
        ("nothing is due", &both, later(SETTLE_WITHIN.0 - 1), Command::Expire, Ok(vec![])),
        ("an outcome is due", &both, later(SETTLE_WITHIN.0), Command::Expire, Ok(vec!["tokens.use_unknown"])),
        ("exhausted ones do not expire", &both, later(QUARTER.0), Command::Expire, Ok(vec!["tokens.use_unknown"])),
        (
            "both are due",
            &unsettled,
            later(QUARTER.0),
            Command::Expire,
            Ok(vec!["tokens.use_unknown", "tokens.expired"]),
        ),
    ]);
    let due = NOON + SETTLE_WITHIN;
    assert_eq!(both.deadline(), Some(due));
    assert_eq!(both.due(Timestamp(due.0 - 1)), None);
    assert_eq!(both.due(due), Some(Command::Expire));
    assert_eq!(Tokens::default().deadline(), None);
}

/// The last use comes back after the token's time: it is of no use, and the clock says so.
#[test]
fn a_use_that_comes_back_too_late_revives_nothing() {
    let mut tokens = after(&[issue(1)]);
    let (before, end) = (at("agent/alpha", Millis(QUARTER.0 - 1)), at("agent/alpha", QUARTER));
    carry_out(&mut tokens, &consume(1, 1), &before);
    carry_out(&mut tokens, &settle(1, 1, Settlement::Refused), &end);
    assert_eq!(tokens.show(TokenId(1), end.now).unwrap().state, State::Expired);
    check(vec![
        ("use it", &tokens, end.clone(), consume(1, 1), Err("tokens.expired")),
        ("revoke it", &tokens, end.clone(), revoke(1), Ok(vec![])),
        ("record it", &tokens, end, Command::Expire, Ok(vec!["tokens.expired"])),
    ]);
}

#[test]
fn validate_answers() {
    let once = after(&[issue(1)]);
    let spent = after(&[issue(1), consume(1, 1)]);
    let revoked = after(&[issue(1), revoke(1)]);
    let expired = NOON + QUARTER;
    for (row, tokens, id, shown, audience, operation, now, expected) in [
        ("good", &once, 1, 1, "arp", "deploy", NOON, Ok(1)),
        ("unknown", &once, 2, 1, "arp", "deploy", NOON, Err(Refusal::Unknown)),
        ("wrong secret", &once, 1, 2, "arp", "deploy", NOON, Err(Refusal::Unknown)),
        ("revoked", &revoked, 1, 1, "arp", "deploy", NOON, Err(Refusal::Revoked)),
        ("expired", &once, 1, 1, "arp", "deploy", expired, Err(Refusal::Expired { at: expired })),
        ("elsewhere", &once, 1, 1, "scp", "deploy", NOON, Err(Refusal::OtherAudience { bound: "arp".into() })),
        ("otherwise", &once, 1, 1, "arp", "stop", NOON, Err(Refusal::OtherOperation { bound: "deploy".into() })),
        ("exhausted", &spent, 1, 1, "arp", "deploy", NOON, Err(Refusal::Exhausted { uses: 1 })),
    ] {
        let answer = tokens.validate(TokenId(id), secret(shown), audience, operation, now);
        assert_eq!(answer.map(|token| token.left), expected, "{row}");
    }
}

#[test]
fn what_ends_soon_with_none_to_follow() {
    let (hour, day) = (Millis::hours(1), Millis::hours(24));
    let of = |id, hours, change: fn(&mut Issue)| {
        let lifetime = Some(Millis::hours(hours));
        let mut issue = Issue { lifetime, uses: Some(9), ..issued(id, Grant::Operation) };
        change(&mut issue);
        Command::Issue(issue)
    };
    let same = |id, hours| of(id, hours, |_| ());
    let agent = |name: &str| principal(&format!("agent/{name}"));
    let bravo: fn(&mut Issue) = |issue| issue.subject = "agent/bravo".parse().unwrap();
    let elsewhere: fn(&mut Issue) = |issue| issue.audience = "scp".into();
    let todo = Command::Issue(Issue { lifetime: Some(Millis::hours(2)), ..issued(7, Grant::Todo(17)) });
    let test = Command::Issue(Issue { lifetime: Some(Millis::hours(2)), ..issued(8, Grant::Test) });
    let once = Command::Issue(Issue { lifetime: Some(Millis::hours(2)), ..issued(1, Grant::Operation) });
    for (row, commands, hours, ids, next) in [
        ("none", vec![], 0, vec![], None),
        ("one that ends later", vec![same(1, 2)], 0, vec![], Some(hour)),
        ("one that ends soon", vec![same(1, 2)], 1, vec![1], Some(Millis::hours(2))),
        ("one that has ended", vec![same(1, 2)], 2, vec![], None),
        ("one that is short-lived by intent", vec![same(1, 1)], 0, vec![], None),
        ("one that was revoked", vec![same(1, 2), revoke(1)], 1, vec![], None),
        ("one that is used up", vec![once, consume(1, 1)], 1, vec![], None),
        ("one for a todo, one for a test", vec![todo, test], 1, vec![], None),
        ("two for the same", vec![same(1, 2), same(2, 24)], 1, vec![], Some(Millis::hours(23))),
        ("two for the same that end together", vec![same(1, 2), same(2, 2)], 1, vec![2], Some(Millis::hours(2))),
        ("the longer one revoked", vec![same(1, 2), same(2, 24), revoke(2)], 1, vec![1], Some(Millis::hours(2))),
        ("another's", vec![same(1, 2), of(2, 24, bravo)], 1, vec![1], Some(Millis::hours(2))),
        ("one for elsewhere", vec![same(1, 2), of(2, 24, elsewhere)], 1, vec![1], Some(Millis::hours(2))),
        ("two that end", vec![of(1, 3, bravo), same(2, 2)], 2, vec![1], Some(Millis::hours(3))),
        ("both", vec![of(1, 3, bravo), same(2, 3)], 2, vec![1, 2], Some(Millis::hours(3))),
    ] {
        let ending = after(&commands).ending(hour, NOON + Millis::hours(hours));
        assert_eq!(ending.credentials.iter().map(|token| token.id.0).collect::<Vec<_>>(), ids, "{row}");
        assert_eq!(ending.next, next.map(|next| NOON + next), "{row}");
    }
    let tokens = after(&[same(1, 24)]);
    assert_eq!(tokens.ending(day, NOON).credentials, [], "a day is not twice a day");
    assert_eq!(tokens.ending(Millis(u64::MAX), NOON).credentials, []);
    assert_eq!(tokens.ending(hour, NOON + Millis::hours(23)).credentials[0].subject, agent("alpha"));
}

#[test]
fn what_is_listed_and_shown() {
    let bravo = Issue { subject: principal("agent/bravo"), ..issued(2, Grant::Operation) };
    let test = Command::Issue(issued(4, Grant::Test));
    let work = Command::Issue(issued(3, Grant::Todo(3)));
    let tokens = after(&[issue(1), Command::Issue(bravo), work, test, revoke(4), consume(2, 1)]);
    let ids = |filter: Filter| tokens.list(&filter, NOON).map(|token| token.id.0).collect::<Vec<_>>();
    let any = Filter::default;
    assert_eq!(ids(any()), [1, 2, 3, 4]);
    assert_eq!(ids(Filter { kind: Some(Kind::Operation), ..any() }), [1, 2]);
    assert_eq!(ids(Filter { subject: Some(principal("agent/bravo")), ..any() }), [2]);
    assert_eq!(ids(Filter { audience: Some("test.arp".into()), ..any() }), [4]);
    assert_eq!(ids(Filter { todo: Some(3), ..any() }), [3]);
    assert_eq!(ids(Filter { state: Some(State::Active), ..any() }), [1, 3]);
    assert_eq!(ids(Filter { state: Some(State::Revoked), kind: Some(Kind::Test), ..any() }), [4]);
    assert_eq!(ids(Filter { state: Some(State::Consumed), ..any() }), [2]);

    let by_secret = |id| tokens.by_secret(secret(id), NOON).map(|token| (token.id, token.subject));
    assert_eq!(by_secret(2), Some((TokenId(2), principal("agent/bravo"))));
    assert_eq!(by_secret(5), None);
    assert_eq!(tokens.show(TokenId(5), NOON), None);
    assert_eq!(tokens.uses(TokenId(5), NOON), None);
    let shown = tokens.show(TokenId(4), NOON).unwrap();
    assert_eq!(shown.issuer, principal("operator/root"));
    let state = |id: u128, after| tokens.show(TokenId(id), NOON + after).unwrap().state;
    assert_eq!(state(1, Millis(QUARTER.0 - 1)), State::Active);
    assert_eq!(state(1, QUARTER), State::Expired, "no clock is waited for");
    let unknown = |after| tokens.uses(TokenId(2), NOON + after).unwrap()[0].state;
    assert_eq!([unknown(Millis(0)), unknown(SETTLE_WITHIN)], [UseState::Pending, UseState::Unknown]);
}

#[test]
fn a_fact_is_no_larger_than_a_body_may_be() {
    let reason = Reason::Other(Personal::plain(&"\u{10ffff}".repeat(200)));
    let tokens = after(&[issue(1)]);
    let outcome = tokens.decide(&Command::Revoke { id: TokenId(1), reason }, &noon()).unwrap();
    let [Event::Revoked(body)] = &outcome.events[..] else { panic!("{outcome:?}") };
    assert!(serde_json::to_vec(body).unwrap().len() < 60 * 1024);
}
