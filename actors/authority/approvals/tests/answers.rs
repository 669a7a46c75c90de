//! One row per answer that the approvals can give.

use approvals::{
    ACTION_MAX, ARGUMENTS_MAX, Approvals, Command, DECISIONS_MAX, Filter, LIFETIME, LIFETIME_MAX, NEEDED_MAX, OPEN_MAX,
    REASON_MAX, RESOURCE_MAX, Refusal, Reply, State, Use, Wanted,
};
use kernel::{
    CommandId, Context, Decision, Digest, Kind as Record, Machine, Millis, Personal, Position, Principal, Recorded,
    Refuse, Timestamp, TokenId, TokenUse, Writer,
};
use serde::Serialize;

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const HOUR: Millis = Millis::hours(1);
const ALPHA: &str = "agent/alpha";
const ANNE: &str = "operator/anne";
const BOB: &str = "operator/bob";
const ROOT: &str = "operator/root";
const DOOR: &str = "internal/door";

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

/// What `who` says `after` noon.
fn at(who: &str, after: Millis) -> Context {
    let (now, decision) = (NOON + after, Decision::default());
    Context { now, command_id: CommandId(7), principal: principal(who), decision }
}

fn noon(who: &str) -> Context {
    at(who, Millis(0))
}

/// The same, by a token.
fn by_token(who: &str) -> Context {
    let token = Some(TokenUse { token: TokenId(1), number: 1 });
    Context { decision: Decision { token, ..Decision::default() }, ..noon(who) }
}

/// To prune, with the approvals of two; by a token that root issued.
fn wanted() -> Wanted {
    Wanted {
        action: "retention.prune".into(),
        resource: "*".into(),
        content: Digest([1; 32]),
        target: Some(Digest([2; 32])),
        arguments: Personal::plain("{}"),
        reason: Personal::plain("the disk is full"),
        needed: 2,
        issuer: Some(principal(ROOT)),
        lifetime: None,
    }
}

fn request() -> Command {
    Command::Request(wanted())
}

fn asked(change: fn(&mut Wanted)) -> Command {
    let mut wanted = wanted();
    change(&mut wanted);
    Command::Request(wanted)
}

fn approve(request: u64) -> Command {
    Command::Approve { request }
}

fn deny(request: u64) -> Command {
    Command::Deny { request, reason: Personal::plain("not now") }
}

fn withdraw(request: u64) -> Command {
    Command::Withdraw { request }
}

fn used() -> Use {
    let Wanted { action, resource, content, target, .. } = wanted();
    Use { request: 1, asker: principal(ALPHA), action, resource, content, target, command: CommandId(9) }
}

fn spend(change: fn(&mut Use)) -> Command {
    let mut used = used();
    change(&mut used);
    Command::Use(used)
}

fn exactly() -> Command {
    Command::Use(used())
}

fn release(command: u128) -> Command {
    Command::Release { request: 1, command: CommandId(command) }
}

fn carry_out(approvals: &mut Approvals, cx: &Context, command: &Command) -> Reply {
    let outcome = approvals.decide(command, cx).unwrap();
    for event in &outcome.events {
        approvals.evolve(event, Position(0));
    }
    outcome.reply
}

/// What was said at noon, by whom.
fn after(said: &[(&str, Command)]) -> Approvals {
    let mut approvals = Approvals::default();
    for (who, command) in said {
        carry_out(&mut approvals, &noon(who), command);
    }
    approvals
}

struct Named;

impl Writer for Named {
    type Done = &'static str;

    fn put<T: Serialize>(self, kind: Record, _body: &T) -> &'static str {
        kind.name.strip_prefix("approvals.").unwrap()
    }
}

/// The names of the facts, or the code of the refusal.
fn answer(approvals: &Approvals, cx: &Context, command: &Command) -> Result<Vec<&'static str>, &'static str> {
    match approvals.decide(command, cx) {
        Ok(outcome) => Ok(outcome.events.iter().map(|event| event.write(Named)).collect()),
        Err(refusal) => Err(refusal.code().strip_prefix("approvals.").unwrap()),
    }
}

type Row<'a> = (&'a str, &'a Approvals, Context, Command, Result<Vec<&'static str>, &'static str>);

fn check(rows: &[Row<'_>]) {
    for (row, approvals, cx, command, expected) in rows {
        assert_eq!(answer(approvals, cx, command), *expected, "{row}");
    }
}

#[test]
fn request_answers() {
    let (already, fact) = (|| Ok(vec![]), |name| Ok(vec![name]));
    let fresh = &Approvals::default();
    let stands = &after(&[(ALPHA, request())]);
    let approved = &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1))]);
    let ended = &after(&[(ALPHA, request()), (ANNE, deny(1))]);
    let spent = &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1)), (DOOR, exactly())]);
    let many: Vec<_> = (0..OPEN_MAX)
        .map(|number| {
            let content = Digest([u8::try_from(number).unwrap() + 10; 32]);
            (ALPHA, Command::Request(Wanted { content, ..wanted() }))
        })
        .collect();
    let many = &after(&many);
    let alpha = || noon(ALPHA);
    check(&[
        ("the first", fresh, alpha(), request(), fact("requested")),
        ("nothing that could change", fresh, alpha(), asked(|it| it.target = None), fact("requested")),
        ("again", stands, at(ALPHA, HOUR), request(), already()),
        ("again, for another reason", stands, alpha(), asked(|it| it.reason = Personal::default()), already()),
        ("again, when approved", approved, alpha(), request(), already()),
        ("again, after a denial", ended, alpha(), request(), fact("requested")),
        ("again, after its use", spent, alpha(), request(), fact("requested")),
        ("again, after its time", stands, at(ALPHA, LIFETIME), request(), fact("requested")),
        ("of another content", stands, alpha(), asked(|it| it.content = Digest([9; 32])), fact("requested")),
        ("by another", stands, noon("agent/beta"), request(), fact("requested")),
        ("of another resource", stands, alpha(), asked(|it| it.resource = "x".into()), fact("requested")),
        (
            "on what has changed since",
            approved,
            alpha(),
            asked(|it| it.target = Some(Digest([3; 32]))),
            Ok(vec!["stale", "requested"]),
        ),
    ]);
    check(&[
        ("as many as can be needed", fresh, alpha(), asked(|it| it.needed = NEEDED_MAX), fact("requested")),
        ("needs none", fresh, alpha(), asked(|it| it.needed = 0), Err("needed_out_of_range")),
        ("needs too many", fresh, alpha(), asked(|it| it.needed = NEEDED_MAX + 1), Err("needed_out_of_range")),
        ("for no time", fresh, alpha(), asked(|it| it.lifetime = Some(Millis(0))), Err("lifetime_out_of_range")),
        ("for the longest time", fresh, alpha(), asked(|it| it.lifetime = Some(LIFETIME_MAX)), fact("requested")),
        (
            "for longer",
            fresh,
            alpha(),
            asked(|it| it.lifetime = Some(Millis(LIFETIME_MAX.0 + 1))),
            Err("lifetime_out_of_range"),
        ),
        ("a long action", fresh, alpha(), asked(|it| it.action = "a".repeat(ACTION_MAX + 1)), Err("too_long")),
        ("a long resource", fresh, alpha(), asked(|it| it.resource = "a".repeat(RESOURCE_MAX + 1)), Err("too_long")),
        (
            "long arguments",
            fresh,
            alpha(),
            asked(|it| it.arguments = Personal::plain(&"é".repeat(ARGUMENTS_MAX + 1))),
            Err("too_long"),
        ),
        (
            "a long reason",
            fresh,
            alpha(),
            asked(|it| it.reason = Personal::plain(&"é".repeat(REASON_MAX + 1))),
            Err("too_long"),
        ),
        ("one too many", many, alpha(), request(), Err("too_many")),
        ("one too many, once the others are over", many, at(ALPHA, LIFETIME), request(), fact("requested")),
        ("when another has too many", many, noon("agent/beta"), request(), fact("requested")),
    ]);
}

#[test]
fn those_who_decide_are_answered() {
    let (already, fact) = (|| Ok(vec![]), |name| Ok(vec![name]));
    let asked = &after(&[(ALPHA, request())]);
    let one = &after(&[(ALPHA, request()), (ANNE, approve(1))]);
    let both = &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1))]);
    let of_operator = &after(&[(ANNE, request())]);
    let denied = &after(&[(ALPHA, request()), (ANNE, deny(1))]);
    let withdrawn = &after(&[(ALPHA, request()), (ALPHA, withdraw(1))]);
    let spent = &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1)), (DOOR, exactly())]);
    let crowd: Vec<_> = (0..DECISIONS_MAX).map(|number| format!("operator/o{number}")).collect();
    let said = crowd.iter().map(|who| (who.as_str(), approve(1)));
    let crowded = &after(&std::iter::once((ALPHA, request())).chain(said).collect::<Vec<_>>());
    let long = || Command::Deny { request: 1, reason: Personal::plain(&"a".repeat(REASON_MAX + 1)) };
    check(&[
        ("an operator approves", asked, noon(ANNE), approve(1), fact("approved")),
        ("a second one approves", one, noon(BOB), approve(1), fact("approved")),
        ("a third one approves", both, noon("operator/carl"), approve(1), fact("approved")),
        ("one approves twice", one, at(ANNE, HOUR), approve(1), already()),
        ("one approves again after its use", spent, noon(ANNE), approve(1), already()),
        ("one approves again after its time", one, at(ANNE, LIFETIME), approve(1), already()),
        ("an agent approves", asked, noon("agent/beta"), approve(1), Err("operators_only")),
        ("a protocol approves", asked, noon("protocol/arp"), approve(1), Err("operators_only")),
        ("an application approves", asked, noon("application/app"), approve(1), Err("operators_only")),
        ("a part of the authority approves", asked, noon(DOOR), approve(1), Err("operators_only")),
        ("an operator approves by a token", asked, by_token(ANNE), approve(1), Err("own_credential")),
        ("the asker approves", of_operator, noon(ANNE), approve(1), Err("own_request")),
        ("who issued the asker's token approves", asked, noon(ROOT), approve(1), Err("own_request")),
    ]);
    check(&[
        ("nobody's is approved", asked, noon(ANNE), approve(2), Err("unknown")),
        ("number zero is approved", asked, noon(ANNE), approve(0), Err("unknown")),
        ("approved after a denial", denied, noon(BOB), approve(1), Err("denied")),
        ("approved after a withdrawal", withdrawn, noon(BOB), approve(1), Err("withdrawn")),
        ("approved after its time", asked, at(ANNE, LIFETIME), approve(1), Err("expired")),
        ("approved in its last moment", asked, at(ANNE, Millis(LIFETIME.0 - 1)), approve(1), fact("approved")),
        ("approved after its use", spent, noon("operator/carl"), approve(1), Err("used")),
        ("approved by too many", crowded, noon(ANNE), approve(1), Err("decided_by_many")),
    ]);
    check(&[
        ("an operator denies", asked, noon(ANNE), deny(1), fact("denied")),
        ("one denies what others approved", both, noon("operator/carl"), deny(1), fact("denied")),
        ("one denies what he approved", one, noon(ANNE), deny(1), Err("decided_already")),
        ("one denies twice", denied, at(ANNE, LIFETIME), deny(1), already()),
        ("another denies too", denied, noon(BOB), deny(1), Err("denied")),
        ("denied after its use", spent, noon("operator/carl"), deny(1), Err("used")),
        ("denied after its time", asked, at(ANNE, LIFETIME), deny(1), Err("expired")),
        ("an agent denies", asked, noon("agent/beta"), deny(1), Err("operators_only")),
        ("the asker denies", of_operator, noon(ANNE), deny(1), Err("own_request")),
        ("an operator denies by a token", asked, by_token(ANNE), deny(1), Err("own_credential")),
        ("denied for a long reason", asked, noon(ANNE), long(), Err("too_long")),
        ("nobody's is denied", asked, noon(ANNE), deny(2), Err("unknown")),
    ]);
    check(&[
        ("the asker withdraws", one, noon(ALPHA), withdraw(1), fact("withdrawn")),
        ("the asker withdraws twice", withdrawn, at(ALPHA, LIFETIME), withdraw(1), already()),
        ("one who approved withdraws", both, noon(BOB), withdraw(1), fact("withdrawn")),
        ("one who approved withdraws by a token", both, by_token(BOB), withdraw(1), Err("not_yours")),
        ("another operator withdraws", both, noon(ROOT), withdraw(1), Err("not_yours")),
        ("another agent withdraws", one, noon("agent/beta"), withdraw(1), Err("not_yours")),
        ("withdrawn after a denial", denied, noon(ALPHA), withdraw(1), Err("denied")),
        ("withdrawn after its use", spent, noon(ALPHA), withdraw(1), Err("used")),
        ("withdrawn after its time", asked, at(ALPHA, LIFETIME), withdraw(1), Err("expired")),
        ("nobody's is withdrawn", asked, noon(ALPHA), withdraw(2), Err("unknown")),
    ]);
}

#[test]
fn the_door_is_answered() {
    let (already, fact) = (|| Ok(vec![]), |name| Ok(vec![name]));
    let asked = &after(&[(ALPHA, request())]);
    let one = &after(&[(ALPHA, request()), (ANNE, approve(1))]);
    let both = &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1))]);
    let denied = &after(&[(ALPHA, request()), (ANNE, deny(1))]);
    let withdrawn = &after(&[(ALPHA, request()), (ALPHA, withdraw(1))]);
    let spent = &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1)), (DOOR, exactly())]);
    let released =
        &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1)), (DOOR, exactly()), (DOOR, release(9))]);
    let stale =
        &after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1)), (DOOR, spend(|it| it.target = None))]);
    let door = || noon(DOOR);
    check(&[
        ("used", both, door(), exactly(), fact("used")),
        ("used in its last moment", both, at(DOOR, Millis(LIFETIME.0 - 1)), exactly(), fact("used")),
        ("used by another", both, noon(ALPHA), exactly(), Err("door_only")),
        ("used by an operator", both, noon(ROOT), exactly(), Err("door_only")),
        ("used again by the same command", spent, door(), exactly(), already()),
        ("used again by another command", spent, door(), spend(|it| it.command = CommandId(8)), Err("used")),
        ("used again after its time", spent, at(DOOR, LIFETIME), exactly(), Err("expired")),
        ("used again on what has changed", spent, door(), spend(|it| it.target = None), Err("stale")),
    ]);
    check(&[
        ("used before it is approved", asked, door(), exactly(), Err("pending")),
        ("used before all have approved", one, door(), exactly(), Err("pending")),
        ("used after its time", both, at(DOOR, LIFETIME), exactly(), Err("expired")),
        ("used after a denial", denied, door(), exactly(), Err("denied")),
        ("used after a withdrawal", withdrawn, door(), exactly(), Err("withdrawn")),
        ("used on what has changed", both, door(), spend(|it| it.target = None), fact("stale")),
        ("used after that", stale, door(), exactly(), Err("stale")),
        ("used for something else", both, door(), spend(|it| it.content = Digest([9; 32])), Err("other_content")),
        ("used for another action", both, door(), spend(|it| it.action = "todo.claim".into()), Err("other_content")),
        ("used for another resource", both, door(), spend(|it| it.resource = "x".into()), Err("other_content")),
        ("used by who did not ask", both, door(), spend(|it| it.asker = principal(ANNE)), Err("not_yours")),
        ("nobody's is used", both, door(), spend(|it| it.request = 2), Err("unknown")),
    ]);
    check(&[
        ("given back", spent, door(), release(9), fact("released")),
        ("given back twice", released, door(), release(9), already()),
        ("given back by who does not hold it", spent, door(), release(8), already()),
        ("given back by an operator", spent, noon(ROOT), release(9), Err("door_only")),
        ("used after it was given back", released, door(), spend(|it| it.command = CommandId(8)), fact("used")),
        ("the clock comes", both, at("internal/clock", LIFETIME), Command::Expire, fact("expired")),
        ("the clock comes early", both, at("internal/clock", HOUR), Command::Expire, already()),
        ("the clock comes after its use", spent, at("internal/clock", LIFETIME), Command::Expire, already()),
        (
            "the clock comes after its return",
            released,
            at("internal/clock", LIFETIME),
            Command::Expire,
            fact("expired"),
        ),
    ]);
}

#[test]
fn replies_say_how_it_stands() {
    let mut approvals = Approvals::default();
    let expires_at = NOON + LIFETIME;
    let mut said = |who: &str, command: &Command| carry_out(&mut approvals, &noon(who), command);
    assert_eq!(said(ALPHA, &request()), Reply::Requested { request: 1, needed: 2, have: 0, expires_at });
    let decided = |have, state| Reply::Decided { request: 1, needed: 2, have, state };
    assert_eq!(said(ANNE, &approve(1)), decided(1, State::Pending));
    assert_eq!(said(ANNE, &approve(1)), decided(1, State::Pending), "nobody counts twice");
    assert_eq!(said(BOB, &approve(1)), decided(2, State::Approved));
    assert_eq!(said(ALPHA, &request()), Reply::Requested { request: 1, needed: 2, have: 2, expires_at });
    assert_eq!(said(DOOR, &exactly()), Reply::Used { request: 1, have: 2 });
    assert_eq!(said(BOB, &approve(1)), decided(2, State::Used));
    assert_eq!(said(DOOR, &release(9)), Reply::Released { request: 1 });
    assert_eq!(said(DOOR, &spend(|it| it.target = None)), Reply::Stale { request: 1 });
    assert_eq!(said(ALPHA, &request()), Reply::Requested { request: 2, needed: 2, have: 0, expires_at });
    assert_eq!(said(BOB, &deny(2)), Reply::Decided { request: 2, needed: 2, have: 0, state: State::Denied });
    assert_eq!(said(ALPHA, &request()), Reply::Requested { request: 3, needed: 2, have: 0, expires_at });
    assert_eq!(said(ALPHA, &withdraw(3)), Reply::Withdrawn { request: 3 });
}

#[test]
fn what_is_known_can_be_asked() {
    let mut approvals = after(&[(ALPHA, request()), (ANNE, approve(1)), (BOB, approve(1))]);
    let about = ("retention.prune", "*");
    let find = |approvals: &Approvals, who, about, content, now| {
        approvals
            .find(&principal(who), about, Digest([content; 32]), now)
            .map(|request| (request.number, request.state))
    };
    assert_eq!(find(&approvals, ALPHA, about, 1, NOON), Some((1, State::Approved)));
    assert_eq!(find(&approvals, ALPHA, about, 1, NOON + LIFETIME), Some((1, State::Expired)), "whatever became of it");
    assert_eq!(find(&approvals, ALPHA, about, 2, NOON), None);
    assert_eq!(find(&approvals, ANNE, about, 1, NOON), None);
    assert_eq!(find(&approvals, ALPHA, ("retention.prune", "x"), 1, NOON), None);
    let akin = |approvals: &Approvals, who, about, now| {
        approvals.akin(&principal(who), about, now).map(|request| request.number)
    };
    assert_eq!(akin(&approvals, ALPHA, about, NOON), Some(1));
    assert_eq!(akin(&approvals, ALPHA, about, NOON + LIFETIME), None);
    assert_eq!(akin(&approvals, BOB, about, NOON), None);
    assert_eq!(akin(&approvals, ALPHA, ("todo.claim", "*"), NOON), None);

    let shown = approvals.show(1, NOON).unwrap();
    assert_eq!((shown.have(), shown.needed, shown.expires_at), (2, 2, NOON + LIFETIME));
    assert_eq!(shown.approvals.iter().map(|it| it.by.to_string()).collect::<Vec<_>>(), [ANNE, BOB]);
    assert_eq!(shown.obstacle(), None);
    assert!(approvals.show(2, NOON).is_none() && approvals.show(0, NOON).is_none());

    assert_eq!(approvals.pending(NOON), 0);
    carry_out(&mut approvals, &noon("agent/beta"), &request());
    assert_eq!((approvals.pending(NOON), approvals.pending(NOON + LIFETIME)), (1, 0));
    let listed = |filter: &Filter| approvals.list(filter, NOON).map(|request| request.number).collect::<Vec<_>>();
    assert_eq!(listed(&Filter::default()), [1, 2]);
    assert_eq!(listed(&Filter { state: Some(State::Pending), ..Filter::default() }), [2]);
    assert_eq!(listed(&Filter { asker: Some(principal(ALPHA)), ..Filter::default() }), [1]);
    assert_eq!(listed(&Filter { action: Some("todo.claim".into()), ..Filter::default() }), [0; 0]);

    carry_out(&mut approvals, &noon(DOOR), &exactly());
    let used = approvals.show(1, NOON).unwrap();
    assert_eq!(approvals.held_by(CommandId(9), NOON), Some(used.clone()));
    assert_eq!(approvals.held_by(CommandId(8), NOON), None);
    assert!(used.is_held_by(CommandId(9)) && !used.is_held_by(CommandId(8)));
    assert_eq!(used.obstacle(), Some(Refusal::Used { command: CommandId(9) }));
    assert_eq!(approvals.deadline(), Some(NOON + LIFETIME));
    assert_eq!(approvals.due(NOON), None);
    assert_eq!(approvals.due(NOON + LIFETIME), Some(Command::Expire));
}

#[test]
fn each_refusal_has_its_own_code_and_a_remedy() {
    let by = || "operator/anne".to_owned();
    let all = [
        Refusal::Unknown,
        Refusal::TooLong { what: "a".into(), max: 1 },
        Refusal::NeededOutOfRange { asked: 0 },
        Refusal::LifetimeOutOfRange { asked: Millis(0) },
        Refusal::TooMany,
        Refusal::OperatorsOnly,
        Refusal::OwnCredential,
        Refusal::OwnRequest,
        Refusal::DecidedAlready,
        Refusal::DecidedByMany,
        Refusal::NotYours,
        Refusal::DoorOnly,
        Refusal::OtherContent,
        Refusal::Pending { have: 0, needed: 1 },
        Refusal::Denied { by: by() },
        Refusal::Withdrawn { by: by() },
        Refusal::Expired { at: NOON },
        Refusal::Used { command: CommandId(1) },
        Refusal::Stale,
    ];
    let codes: std::collections::BTreeSet<_> = all.iter().map(Refuse::code).collect();
    assert_eq!(codes.len(), all.len());
    for refusal in &all {
        assert!(refusal.code().starts_with("approvals."));
        assert!(!refusal.remedy().is_empty() && !refusal.to_string().is_empty(), "{refusal:?}");
    }
}
