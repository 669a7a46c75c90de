//! One row per answer that the nexus can give.

use kernel::{
    CommandId, Context, Decision, Kind, Machine, Millis, Personal, Position, Principal, Recorded, Refuse, Timestamp,
    Writer,
};
use nexus::{
    ATTEMPTS_MAX, CONTENT_TYPE_MAX, Command, DEAD_MAX, DESTINATION_BYTES_MAX, Death, FOLLOW_UPS_MAX, Filter, LANE_MAX,
    LIFETIME, LIFETIME_MAX, LIFETIME_MIN, LIST_MAX, Message, MessageId, Nexus, PAYLOAD_MAX, PROTOCOLS_MAX, Priority,
    REASON_MAX, Refusal, Reply, Standing, WAITING_BYTES_MAX, WHY_MAX,
};
use serde::Serialize;

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const ROOT: &str = "operator/root";
const ALPHA: &str = "agent/alpha";
const ARP: &str = "protocol/ARP";
const SCP: &str = "protocol/SCP";
const POST: &str = "internal/post";
const ROUTE: &str = "internal/route.tokens-nexus";
const CLOCK: &str = "internal/clock";

/// What `who` asks under the id `number`, `after` noon.
fn at(who: &str, number: u128, after: Millis) -> Context {
    let decision = Decision::default();
    Context { now: NOON + after, command_id: CommandId(number), principal: who.parse().unwrap(), decision }
}

fn by(who: &str, number: u128) -> Context {
    at(who, number, Millis(0))
}

fn id(number: u128) -> MessageId {
    MessageId(CommandId(number))
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

fn admit(protocol: &str, depends_on: &[&str], speaks_to: &[&str]) -> Command {
    Command::Admit { protocol: protocol.into(), depends_on: names(depends_on), speaks_to: names(speaks_to) }
}

fn withdraw(protocol: &str) -> Command {
    Command::Withdraw { protocol: protocol.into(), reason: Personal::plain("not needed") }
}

fn revoked(protocol: &str) -> Command {
    Command::Revoked { protocol: protocol.into() }
}

fn message(from: &str, to: &str) -> Message {
    Message {
        source: from.parse().unwrap(),
        destination: to.into(),
        priority: Priority::Normal,
        kind: "note".into(),
        content_type: "text/plain".into(),
        payload: b"hello".to_vec(),
        lifetime: None,
    }
}

fn send(from: &str, to: &str) -> Command {
    Command::Send(message(from, to))
}

fn acknowledge(number: u128, follow_ups: Vec<Message>) -> Command {
    Command::Acknowledge { message: id(number), follow_ups }
}

fn fail(number: u128) -> Command {
    Command::Fail { message: id(number), why: "no".into() }
}

fn carry_out(nexus: &mut Nexus, command: &Command, cx: &Context) -> Reply {
    let outcome = nexus.decide(command, cx).unwrap_or_else(|refusal| panic!("{command:?}: {refusal}"));
    outcome.events.iter().for_each(|event| nexus.evolve(event, Position(0)));
    outcome.reply
}

/// ARP speaks to SCP and itself, UIP depends on SCP and speaks to nobody; then what was asked for since.
fn after(steps: &[(Context, Command)]) -> Nexus {
    let mut nexus = Nexus::default();
    for command in [admit("SCP", &[], &[]), admit("ARP", &[], &["SCP", "ARP"]), admit("UIP", &["SCP"], &[])] {
        carry_out(&mut nexus, &command, &by(ROOT, 1));
    }
    for (cx, command) in steps {
        carry_out(&mut nexus, command, cx);
    }
    nexus
}

struct Named;

impl Writer for Named {
    type Done = &'static str;

    fn put<T: Serialize>(self, kind: Kind, _body: &T) -> &'static str {
        kind.name.strip_prefix("nexus.").unwrap()
    }
}

type Row<'a> = (&'a str, &'a Nexus, Context, Command, Result<Vec<&'static str>, &'static str>);

fn check(rows: &[Row<'_>]) {
    for (row, nexus, cx, command, expected) in rows {
        let answer = match nexus.decide(command, cx) {
            Ok(outcome) => Ok(outcome.events.iter().map(|event| event.write(Named)).collect()),
            Err(refusal) => Err(refusal.code()),
        };
        assert_eq!(answer, *expected, "{row}");
    }
}

#[test]
fn protocols_are_admitted_and_withdrawn() {
    let fresh = &Nexus::default();
    let three = &after(&[]);
    let gone = &after(&[(by(ROOT, 2), withdraw("ARP"))]);
    let waits = &after(&[(by(ALPHA, 2), send(ALPHA, "ARP"))]);
    let revoked_scp = &after(&[(by(ROUTE, 2), revoked("SCP"))]);
    let many: Vec<String> = (0..=LIST_MAX).map(|number| format!("p{number}")).collect();
    let long = |depends_on: &[String], speaks_to: &[String]| Command::Admit {
        protocol: "x".into(),
        depends_on: depends_on.to_vec(),
        speaks_to: speaks_to.to_vec(),
    };
    let full = &mut Nexus::default();
    for number in 0..PROTOCOLS_MAX {
        carry_out(full, &admit(&format!("p{number}"), &[], &[]), &by(ROOT, 1));
    }
    let room = &mut full.clone();
    for (number, minutes) in [(7, 2), (5, 1), (3, 3)] {
        carry_out(room, &withdraw(&format!("p{number}")), &at(ROOT, 1, Millis::minutes(minutes)));
    }
    let reason =
        |characters| Command::Withdraw { protocol: "ARP".into(), reason: Personal::plain(&"é".repeat(characters)) };
    check(&[
        ("admit", fresh, by(ROOT, 9), admit("ARP", &[], &["later"]), Ok(vec!["admitted"])),
        ("admit again", three, by(ROOT, 9), admit("ARP", &[], &["ARP", "SCP", "ARP"]), Ok(vec![])),
        ("admit with other lists", three, by(ROOT, 9), admit("ARP", &["UIP"], &[]), Ok(vec!["admitted"])),
        ("admit who was withdrawn", gone, by(ROOT, 9), admit("ARP", &[], &["SCP", "ARP"]), Ok(vec!["admitted"])),
        ("admit nobody", fresh, by(ROOT, 9), admit("", &[], &[]), Err("nexus.bad_name")),
        ("admit with a space", fresh, by(ROOT, 9), admit("A P", &[], &[]), Err("nexus.bad_name")),
        ("admit with a long name", fresh, by(ROOT, 9), admit(&"a".repeat(65), &[], &[]), Err("nexus.bad_name")),
        ("depend on no name", three, by(ROOT, 9), admit("x", &["/"], &[]), Err("nexus.bad_name")),
        ("speak to no name", three, by(ROOT, 9), admit("x", &[], &["/"]), Err("nexus.bad_name")),
        ("speak to many", fresh, by(ROOT, 9), long(&[], &many[1..]), Ok(vec!["admitted"])),
        ("speak to too many", fresh, by(ROOT, 9), long(&[], &many), Err("nexus.list_too_long")),
        ("depend on too many", fresh, by(ROOT, 9), long(&many, &[]), Err("nexus.list_too_long")),
        ("depend on itself", three, by(ROOT, 9), admit("SCP", &["SCP"], &[]), Err("nexus.on_itself")),
        ("depend on who is not there", three, by(ROOT, 9), admit("x", &["y"], &[]), Err("nexus.unknown_dependency")),
        ("depend on who was withdrawn", gone, by(ROOT, 9), admit("x", &["ARP"], &[]), Err("nexus.unknown_dependency")),
        ("depend in a circle", three, by(ROOT, 9), admit("SCP", &["UIP"], &[]), Err("nexus.circle")),
        ("the same, after a revocation", revoked_scp, by(ROOT, 9), admit("SCP", &["UIP"], &[]), Err("nexus.circle")),
        ("admit one too many", full, by(ROOT, 9), admit("x", &[], &[]), Err("nexus.too_many_protocols")),
        ("change one of many", full, by(ROOT, 9), admit("p1", &[], &["x"]), Ok(vec!["admitted"])),
        ("take the place of one", room, by(ROOT, 9), admit("x", &[], &[]), Ok(vec!["protocol_forgotten", "admitted"])),
        ("withdraw", three, by(ROOT, 9), withdraw("ARP"), Ok(vec!["withdrawn"])),
        ("withdraw with what waits", waits, by(ROOT, 9), withdraw("ARP"), Ok(vec!["died", "withdrawn"])),
        ("withdraw again", gone, by(ROOT, 9), withdraw("ARP"), Ok(vec![])),
        ("withdraw nobody", three, by(ROOT, 9), withdraw("x"), Err("nexus.unknown_protocol")),
        ("withdraw who is needed", three, by(ROOT, 9), withdraw("SCP"), Err("nexus.depended_on")),
        ("withdraw at length", three, by(ROOT, 9), reason(REASON_MAX), Ok(vec!["withdrawn"])),
        ("withdraw at more", three, by(ROOT, 9), reason(REASON_MAX + 1), Err("nexus.bad_reason")),
        ("withdraw without a reason", three, by(ROOT, 9), reason(0), Err("nexus.bad_reason")),
        ("revoke who is needed", three, by(ROUTE, 9), revoked("SCP"), Ok(vec!["withdrawn"])),
        ("revoke again", revoked_scp, by(ROUTE, 9), revoked("SCP"), Ok(vec![])),
        ("revoke nobody", three, by(ROUTE, 9), revoked("x"), Ok(vec![])),
        ("revoke as an operator", three, by(ROOT, 9), revoked("SCP"), Err("nexus.routes_only")),
    ]);
    carry_out(room, &admit("x", &[], &[]), &by(ROOT, 9));
    assert!(room.protocol("p5").is_none() && room.protocol("p7").is_some(), "the one withdrawn first made room");
    let standing = gone.protocol("ARP").unwrap().standing;
    assert_eq!(standing, Standing::Withdrawn { at: NOON, reason: Personal::plain("not needed"), revoked: false });
    let standing = revoked_scp.protocol("SCP").unwrap().standing;
    assert!(matches!(standing, Standing::Withdrawn { revoked: true, .. }));
    assert!(revoked_scp.is_admitted("UIP"), "who depends on it is told apart from it");
}

#[test]
fn messages_are_sent_or_refused() {
    let three = &after(&[]);
    let one = &after(&[(by(ALPHA, 2), send(ALPHA, "ARP"))]);
    let dead = &after(&[(by(ALPHA, 2), send(ALPHA, "ARP")), (at(CLOCK, 3, LIFETIME), Command::Expire)]);
    let gone = &after(&[(by(ROOT, 2), withdraw("ARP"))]);
    let with = |change: &dyn Fn(&mut Message)| {
        let mut message = message(ALPHA, "ARP");
        change(&mut message);
        Command::Send(message)
    };
    let lifetime = |span| with(&move |message| message.lifetime = Some(span));
    let content_type = |text: String| with(&move |message| message.content_type.clone_from(&text));
    let sized = |bytes| with(&move |message| message.payload = vec![7; bytes]);
    let at_priority = |priority| with(&move |message| message.priority = priority);
    check(&[
        ("send", three, by(ALPHA, 9), send(ALPHA, "ARP"), Ok(vec!["sent"])),
        ("send again", one, by(ALPHA, 2), send(ALPHA, "ARP"), Ok(vec![])),
        ("send another under its id", one, by(ALPHA, 2), at_priority(Priority::High), Err("nexus.id_taken")),
        ("send under the id of a dead one", dead, by(ALPHA, 2), send(ALPHA, "ARP"), Err("nexus.id_taken")),
        ("send as another", three, by(ROOT, 9), send(ALPHA, "ARP"), Err("nexus.not_its_source")),
        ("send to nobody", three, by(ALPHA, 9), send(ALPHA, "x"), Err("nexus.not_admitted")),
        ("send to who was withdrawn", gone, by(ALPHA, 9), send(ALPHA, "ARP"), Err("nexus.not_admitted")),
        ("a protocol sends", three, by(ARP, 9), send(ARP, "SCP"), Ok(vec!["sent"])),
        ("a protocol sends to itself", three, by(ARP, 9), send(ARP, "ARP"), Ok(vec!["sent"])),
        ("a protocol sends off its list", three, by(ARP, 9), send(ARP, "UIP"), Err("nexus.not_on_its_list")),
        ("a withdrawn protocol sends", gone, by(ARP, 9), send(ARP, "SCP"), Err("nexus.not_admitted")),
        ("a kind that is no name", three, by(ALPHA, 9), with(&|message| message.kind.clear()), Err("nexus.bad_name")),
        ("no content type", three, by(ALPHA, 9), content_type(String::new()), Err("nexus.bad_content_type")),
        ("a long one", three, by(ALPHA, 9), content_type("x".repeat(CONTENT_TYPE_MAX)), Ok(vec!["sent"])),
        ("a longer one", three, by(ALPHA, 9), content_type("x".repeat(101)), Err("nexus.bad_content_type")),
        ("one with a line end", three, by(ALPHA, 9), content_type("a\nb".into()), Err("nexus.bad_content_type")),
        ("nothing", three, by(ALPHA, 9), sized(0), Ok(vec!["sent"])),
        ("much", three, by(ALPHA, 9), sized(PAYLOAD_MAX), Ok(vec!["sent"])),
        ("too much", three, by(ALPHA, 9), sized(PAYLOAD_MAX + 1), Err("nexus.payload_too_large")),
        ("for a moment", three, by(ALPHA, 9), lifetime(LIFETIME_MIN), Ok(vec!["sent"])),
        ("for less", three, by(ALPHA, 9), lifetime(Millis(999)), Err("nexus.lifetime_out_of_range")),
        ("for days", three, by(ALPHA, 9), lifetime(LIFETIME_MAX), Ok(vec!["sent"])),
        ("for more", three, by(ALPHA, 9), lifetime(Millis(LIFETIME_MAX.0 + 1)), Err("nexus.lifetime_out_of_range")),
    ]);
}

#[test]
fn messages_are_acknowledged_and_failed() {
    let one = &after(&[(by(ALPHA, 2), send(ALPHA, "ARP"))]);
    let delivered = &after(&[(by(ALPHA, 2), send(ALPHA, "ARP")), (by(ARP, 3), acknowledge(2, vec![]))]);
    let last: Vec<_> = (0..ATTEMPTS_MAX - 1).map(|_| (by(ARP, 3), fail(2))).collect();
    let tried = &after(&[vec![(by(ALPHA, 2), send(ALPHA, "ARP"))], last].concat());
    let follow = |count| vec![message(ARP, "SCP"); count];
    let both = [message(ARP, "SCP"), message(ARP, "UIP")].to_vec();
    check(&[
        ("acknowledge", one, by(ARP, 9), acknowledge(2, vec![]), Ok(vec!["delivered"])),
        ("with what follows", one, by(ARP, 9), acknowledge(2, follow(2)), Ok(vec!["delivered", "sent", "sent"])),
        ("with too much", one, by(ARP, 9), acknowledge(2, follow(33)), Err("nexus.too_many_follow_ups")),
        ("with one that cannot be", one, by(ARP, 9), acknowledge(2, both), Err("nexus.follow_up")),
        ("again", delivered, by(ARP, 9), acknowledge(2, vec![]), Err("nexus.not_waiting")),
        ("what is none", one, by(ARP, 9), acknowledge(7, vec![]), Err("nexus.not_waiting")),
        ("just in time", one, at(ARP, 9, Millis(LIFETIME.0 - 1)), acknowledge(2, vec![]), Ok(vec!["delivered"])),
        ("too late", one, at(ARP, 9, LIFETIME), acknowledge(2, vec![]), Err("nexus.not_waiting")),
        ("as another", one, by(SCP, 9), acknowledge(2, vec![]), Err("nexus.not_its_destination")),
        ("as the post", one, by(POST, 9), acknowledge(2, vec![]), Err("nexus.not_its_destination")),
        ("as an agent of its name", one, by("agent/ARP", 9), acknowledge(2, vec![]), Err("nexus.not_its_destination")),
        ("fail", one, by(ARP, 9), fail(2), Ok(vec!["failed"])),
        ("fail as the post", one, by(POST, 9), fail(2), Ok(vec!["failed"])),
        ("fail as another", one, by(SCP, 9), fail(2), Err("nexus.not_its_destination")),
        ("fail for the last time", tried, by(ARP, 9), fail(2), Ok(vec!["failed", "died"])),
        ("fail what is none", delivered, by(ARP, 9), fail(2), Err("nexus.not_waiting")),
        ("expire too early", one, by(CLOCK, 9), Command::Expire, Ok(vec![])),
        ("expire in time", one, at(CLOCK, 9, LIFETIME), Command::Expire, Ok(vec!["died"])),
    ]);
    assert_eq!(follow(FOLLOW_UPS_MAX + 1).len(), 33);
    let refusal =
        one.decide(&acknowledge(2, follow(1).into_iter().chain([message(ALPHA, "SCP")]).collect()), &by(ARP, 9));
    let refusal = refusal.unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "follow-up 2 cannot be sent: the message says that it is from agent/alpha, who is not who sends it"
    );
    assert_eq!(refusal.remedy(), "Send in your own name.");

    let mut chain = one.clone();
    let Reply::Acknowledged { follow_ups } = carry_out(&mut chain, &acknowledge(2, follow(2)), &by(ARP, 9)) else {
        panic!("it was acknowledged")
    };
    let waiting: Vec<_> = chain.waiting(&Filter::default()).map(|letter| (letter.id, letter.cause)).collect();
    assert_eq!(waiting, follow_ups.iter().map(|follow_up| (*follow_up, Some(id(2)))).collect::<Vec<_>>());
    assert!(follow_ups.iter().all(|MessageId(follow_up)| follow_up.is_derived()));
}

#[test]
fn dead_letters_are_requeued_or_discarded() {
    let sent = (by(ALPHA, 2), send(ALPHA, "ARP"));
    let expire = (at(CLOCK, 3, LIFETIME), Command::Expire);
    let dead = &after(&[sent.clone(), expire.clone()]);
    let gone = &after(&[sent.clone(), expire.clone(), (at(ROOT, 4, LIFETIME), withdraw("ARP"))]);
    let discard = Command::Discard { message: id(2) };
    let discarded = &after(&[sent, expire, (by(ROOT, 4), discard.clone())]);
    let requeue = Command::Requeue { message: id(2) };
    let mut full = dead.clone();
    for number in 0..LANE_MAX as u128 {
        carry_out(&mut full, &send(ALPHA, "ARP"), &at(ALPHA, 100 + number, LIFETIME));
    }
    check(&[
        ("requeue", dead, at(ROOT, 9, LIFETIME), requeue.clone(), Ok(vec!["requeued"])),
        ("requeue to who is withdrawn", gone, at(ROOT, 9, LIFETIME), requeue.clone(), Err("nexus.not_admitted")),
        ("requeue into a full lane", &full, at(ROOT, 9, LIFETIME), requeue.clone(), Err("nexus.lane_full")),
        ("requeue what is none", discarded, at(ROOT, 9, LIFETIME), requeue.clone(), Err("nexus.not_dead")),
        ("discard", dead, at(ROOT, 9, LIFETIME), discard.clone(), Ok(vec!["discarded"])),
        ("discard again", discarded, at(ROOT, 9, LIFETIME), discard, Err("nexus.not_dead")),
    ]);
    let letter = dead.dead_message(id(2)).unwrap();
    assert_eq!((letter.death, letter.at), (Death::Expired, NOON + LIFETIME));
    let mut again = dead.clone();
    carry_out(&mut again, &requeue, &at(ROOT, 9, LIFETIME));
    let letter = again.message(id(2)).unwrap();
    assert_eq!((letter.attempts, letter.expires_at), (0, NOON + LIFETIME + LIFETIME), "as long as it had before");
}

#[test]
fn lanes_have_bounds() {
    let mut lane = after(&[]);
    for number in 0..LANE_MAX as u128 {
        carry_out(&mut lane, &send(ALPHA, "ARP"), &by(ALPHA, 100 + number));
    }
    let high = || Command::Send(Message { priority: Priority::High, ..message(ALPHA, "ARP") });
    let large = |to: &str| Command::Send(Message { payload: vec![7; PAYLOAD_MAX], ..message(ALPHA, to) });
    let mut heavy = after(&[]);
    let parts = DESTINATION_BYTES_MAX / PAYLOAD_MAX as u64;
    for number in 0..u128::from(parts) {
        carry_out(&mut heavy, &large("ARP"), &by(ALPHA, 100 + number));
    }
    let mut all = Nexus::default();
    for destination in 0..=WAITING_BYTES_MAX / DESTINATION_BYTES_MAX {
        carry_out(&mut all, &admit(&format!("p{destination}"), &[], &[]), &by(ROOT, 1));
    }
    for number in 0..u128::from(WAITING_BYTES_MAX / PAYLOAD_MAX as u64) {
        carry_out(&mut all, &large(&format!("p{}", number % 16)), &by(ALPHA, 1_000 + number));
    }
    check(&[
        ("a full lane", &lane, by(ALPHA, 9), send(ALPHA, "ARP"), Err("nexus.lane_full")),
        ("the next lane", &lane, by(ALPHA, 9), high(), Ok(vec!["sent"])),
        ("another's lane", &lane, by(ALPHA, 9), send(ALPHA, "SCP"), Ok(vec!["sent"])),
        ("a full destination", &heavy, by(ALPHA, 9), high(), Err("nexus.lane_full")),
        ("another destination", &heavy, by(ALPHA, 9), large("SCP"), Ok(vec!["sent"])),
        ("all full", &all, by(ALPHA, 9), large("p16"), Err("nexus.full")),
    ]);
    let denial = lane.decide(&send(ALPHA, "ARP"), &by(ALPHA, 9)).unwrap_err().denial();
    assert!(denial.retry_after.is_some(), "a lane has room again");
    assert_eq!(lane.depth("ARP"), [0, 0, LANE_MAX, 0]);
    // An acknowledgement makes room before what follows from it comes in.
    let itself = acknowledge(100, vec![message(ARP, "ARP")]);
    assert_eq!(lane.decide(&itself, &by(ARP, 9)).map(|outcome| outcome.events.len()), Ok(2));
    let more = acknowledge(100, vec![message(ARP, "ARP"); 2]);
    assert_eq!(lane.decide(&more, &by(ARP, 9)).unwrap_err().code(), "nexus.follow_up");
}

#[test]
fn the_oldest_dead_letters_make_room() {
    let mut nexus = after(&[]);
    let brief = |number| {
        Command::Send(Message {
            lifetime: Some(LIFETIME_MIN),
            priority: Priority::from_lane((number % 4) as u8).unwrap(),
            ..message(ALPHA, "ARP")
        })
    };
    let mut round = |first: u128, count: u128, minute: u64| {
        let now = Millis::minutes(minute);
        (0..count).for_each(|number| drop(carry_out(&mut nexus, &brief(number), &at(ALPHA, first + number, now))));
        let outcome = nexus.decide(&Command::Expire, &at(CLOCK, 9, Millis::minutes(minute + 1))).unwrap();
        outcome.events.iter().for_each(|event| nexus.evolve(event, Position(0)));
        outcome.events.len()
    };
    assert_eq!(round(10_000, DEAD_MAX as u128, 0), DEAD_MAX);
    assert_eq!(round(20_000, 3, 2), 6, "three are forgotten for three");
    assert_eq!(nexus.dead().count(), DEAD_MAX);
    assert!(nexus.dead_message(id(10_000)).is_none() && nexus.dead_message(id(20_000)).is_some());
    assert_eq!(nexus.counters().forgotten, 3);
}

#[test]
fn a_long_reason_of_a_failure_is_cut_and_never_refused() {
    let mut nexus = after(&[(by(ALPHA, 2), send(ALPHA, "ARP"))]);
    carry_out(&mut nexus, &Command::Fail { message: id(2), why: "é".repeat(10_000) }, &by(ARP, 9));
    assert_eq!(nexus.message(id(2)).unwrap().why.as_ref().unwrap().chars().count(), WHY_MAX);
}

#[test]
fn what_is_shown_is_what_waits() {
    let nexus = after(&[
        (by(ALPHA, 2), send(ALPHA, "ARP")),
        (by(ARP, 3), send(ARP, "SCP")),
        (by(ALPHA, 4), Command::Send(Message { priority: Priority::Critical, ..message(ALPHA, "ARP") })),
    ]);
    let waiting = |filter: &Filter| nexus.waiting(filter).map(|letter| letter.id).collect::<Vec<_>>();
    assert_eq!(waiting(&Filter::default()), [id(4), id(2), id(3)]);
    assert_eq!(waiting(&Filter { destination: Some("ARP".into()), ..Filter::default() }), [id(4), id(2)]);
    let from: Principal = ARP.parse().unwrap();
    assert_eq!(waiting(&Filter { source: Some(from), ..Filter::default() }), [id(3)]);
    assert_eq!(waiting(&Filter { priority: Some(Priority::Critical), ..Filter::default() }), [id(4)]);
    let arp = nexus.protocol("ARP").unwrap();
    assert_eq!((arp.depth, arp.bytes, arp.is_admitted()), ([1, 0, 1, 0], 10, true));
    assert_eq!(nexus.protocols().map(|protocol| protocol.name).collect::<Vec<_>>(), ["ARP", "SCP", "UIP"]);
    assert_eq!(nexus.upcoming("ARP", 9, NOON).iter().map(|letter| letter.id).collect::<Vec<_>>(), [id(4), id(2)]);
    assert!(nexus.upcoming("ARP", 9, NOON + LIFETIME).is_empty(), "what is over is not handed out");
    assert!(nexus.upcoming("x", 9, NOON).is_empty());
    assert_eq!(nexus.counters().sent, 3);
    assert_eq!(Refusal::NotWaiting.denial().code, "nexus.not_waiting");
}
