//! One row per answer that the allocator can give.

use allocator::{
    Allocator, Command, Event, Filter, LIFETIME, LIFETIME_MAX, LeaseId, OWNED_MAX, POOLS_MAX, Refusal, Reply, Request,
    State,
};
use kernel::{
    CommandId, Context, Decision, Kind, Machine, Millis, Position, Principal, Recorded, Refuse, Timestamp, Writer,
};
use serde::Serialize;

const NOON: Timestamp = Timestamp(1_800_000_000_000);
const ROOT: &str = "operator/root";
const ALPHA: &str = "agent/alpha";
const BRAVO: &str = "agent/bravo";
const ROUTE: &str = "internal/route.tokens-allocator";
const CLOCK: &str = "internal/clock";

fn principal(text: &str) -> Principal {
    text.parse().unwrap()
}

/// What `who` says `after` noon.
fn at(who: &str, after: Millis) -> Context {
    let (now, decision) = (NOON + after, Decision::default());
    Context { now, command_id: CommandId(7), principal: principal(who), decision }
}

fn by(who: &str) -> Context {
    at(who, Millis(0))
}

fn define(pool: &str, capacity: u64) -> Command {
    Command::Define { pool: pool.into(), capacity, unit: "card".into() }
}

fn resize(capacity: u64, expected: Option<u64>) -> Command {
    Command::Resize { pool: "gpu".into(), capacity, expected }
}

fn asked(lease: u128, owner: &str, amount: u64) -> Request {
    let (pool, owner) = ("gpu".into(), principal(owner));
    Request { lease: LeaseId(lease), pool, owner, amount, priority: 0, lifetime: None, wait: true }
}

fn request(lease: u128, owner: &str, amount: u64) -> Command {
    Command::Request(asked(lease, owner, amount))
}

fn renew(lease: u128, fencing: u64, lifetime: Millis) -> Command {
    Command::Renew { lease: LeaseId(lease), fencing, lifetime: Some(lifetime) }
}

fn release(lease: u128) -> Command {
    Command::Release { lease: LeaseId(lease), fencing: None }
}

fn revoke(owner: &str) -> Command {
    Command::RevokeOwner { owner: principal(owner) }
}

fn carry_out(allocator: &mut Allocator, command: &Command, cx: &Context) -> Reply {
    let outcome = allocator.decide(command, cx).unwrap();
    outcome.events.iter().for_each(|event| allocator.evolve(event, Position(0)));
    outcome.reply
}

/// A pool of four, and what was asked for since, at noon.
fn after(steps: &[(&str, Command)]) -> Allocator {
    let mut allocator = Allocator::default();
    carry_out(&mut allocator, &define("gpu", 4), &by(ROOT));
    for (who, command) in steps {
        carry_out(&mut allocator, command, &by(who));
    }
    allocator
}

struct Named;

impl Writer for Named {
    type Done = &'static str;

    fn put<T: Serialize>(self, kind: Kind, _body: &T) -> &'static str {
        kind.name.strip_prefix("allocator.").unwrap()
    }
}

type Row<'a> = (&'a str, &'a Allocator, Context, Command, Result<Vec<&'static str>, &'static str>);

fn check(rows: &[Row<'_>]) {
    for (row, allocator, cx, command, expected) in rows {
        let answer = match allocator.decide(command, cx) {
            Ok(outcome) => Ok(outcome.events.iter().map(|event| event.write(Named)).collect()),
            Err(refusal) => Err(refusal.code()),
        };
        assert_eq!(answer, *expected, "{row}");
    }
}

#[test]
fn pools_are_defined_and_resized() {
    let fresh = &Allocator::default();
    let pool = &after(&[]);
    let leased = &after(&[(ALPHA, request(1, ALPHA, 3))]);
    let waiting = &after(&[(ALPHA, request(1, ALPHA, 3)), (BRAVO, request(2, BRAVO, 4))]);
    let unit = |characters| Command::Define { pool: "gpu".into(), capacity: 4, unit: "é".repeat(characters) };
    let full = &mut Allocator::default();
    for number in 0..POOLS_MAX {
        carry_out(full, &define(&number.to_string(), 1), &by(ROOT));
    }
    let elsewhere = Command::Resize { pool: "cpu".into(), capacity: 1, expected: None };
    check(&[
        ("define", fresh, by(ROOT), define("gpu", 4), Ok(vec!["defined"])),
        ("define again", pool, by(ROOT), define("gpu", 4), Ok(vec![])),
        ("define otherwise", pool, by(ROOT), define("gpu", 5), Err("allocator.pool_taken")),
        ("define nothing", fresh, by(ROOT), define("", 4), Err("allocator.bad_name")),
        ("define with a space", fresh, by(ROOT), define("g p u", 4), Err("allocator.bad_name")),
        ("define with a long name", fresh, by(ROOT), define(&"g".repeat(65), 4), Err("allocator.bad_name")),
        ("define with a long unit", fresh, by(ROOT), unit(32), Ok(vec!["defined"])),
        ("define with a longer one", fresh, by(ROOT), unit(33), Err("allocator.unit_too_long")),
        ("define one too many", full, by(ROOT), define("gpu", 4), Err("allocator.too_many_pools")),
        ("grow", pool, by(ROOT), resize(5, None), Ok(vec!["resized"])),
        ("grow from what it is", pool, by(ROOT), resize(5, Some(4)), Ok(vec!["resized"])),
        ("grow from what it is not", pool, by(ROOT), resize(5, Some(3)), Err("allocator.changed")),
        ("the same, from what it is not", pool, by(ROOT), resize(4, Some(3)), Ok(vec![])),
        ("grow for who waits", waiting, by(ROOT), resize(7, None), Ok(vec!["resized", "granted"])),
        ("shrink to what is leased", leased, by(ROOT), resize(3, None), Ok(vec!["resized"])),
        ("shrink below", leased, by(ROOT), resize(2, None), Err("allocator.below_leased")),
        ("shrink below, later", leased, at(ROOT, LIFETIME), resize(0, None), Ok(vec!["expired", "resized"])),
        ("shrink below who waits", waiting, by(ROOT), resize(3, None), Err("allocator.below_waiting")),
        ("resize another", pool, by(ROOT), elsewhere, Err("allocator.unknown_pool")),
    ]);
    let below = leased.decide(&resize(2, None), &by(ROOT)).unwrap_err();
    assert_eq!(below.to_string(), "3 are leased, and a capacity is never less", "it says how much is out");
}

#[test]
fn requests_are_granted_queued_or_refused() {
    let pool = &after(&[]);
    let leased = &after(&[(ALPHA, request(1, ALPHA, 3))]);
    let waiting = &after(&[(ALPHA, request(1, ALPHA, 3)), (BRAVO, request(2, BRAVO, 2))]);
    let ended = &after(&[(ALPHA, request(1, ALPHA, 3)), (ALPHA, release(1))]);
    let command = Command::Request;
    let now = |lease, amount| command(Request { wait: false, ..asked(lease, ALPHA, amount) });
    let urgent = |amount| command(Request { priority: 3, ..asked(9, ALPHA, amount) });
    let lasting = |lifetime| command(Request { lifetime: Some(lifetime), ..asked(9, ALPHA, 1) });
    let elsewhere = command(Request { pool: "cpu".into(), ..asked(9, ALPHA, 1) });
    let too_urgent = command(Request { priority: 4, ..asked(9, ALPHA, 1) });
    let longest = Millis(LIFETIME_MAX.0 + 1);
    check(&[
        ("room", pool, by(ALPHA), request(9, ALPHA, 4), Ok(vec!["granted"])),
        ("room, by an operator", pool, by(ROOT), request(9, ALPHA, 4), Ok(vec!["granted"])),
        ("room, without waiting", leased, by(ALPHA), now(9, 1), Ok(vec!["granted"])),
        ("no room", leased, by(ALPHA), request(9, ALPHA, 2), Ok(vec!["queued"])),
        ("no room, without waiting", leased, by(ALPHA), now(9, 2), Err("allocator.exhausted")),
        ("room again", leased, at(ALPHA, LIFETIME), request(9, ALPHA, 2), Ok(vec!["expired", "granted"])),
        ("room again, without waiting", leased, at(ALPHA, LIFETIME), now(9, 2), Ok(vec!["expired", "granted"])),
        ("room, but behind who waits", waiting, by(ALPHA), request(9, ALPHA, 1), Ok(vec!["queued"])),
        ("the same, without waiting", waiting, by(ALPHA), now(9, 1), Err("allocator.exhausted")),
        ("room, ahead of who waits", waiting, by(ALPHA), urgent(1), Ok(vec!["granted"])),
        ("no room, ahead of who waits", waiting, by(ALPHA), urgent(2), Ok(vec!["queued"])),
        (
            "room for both",
            waiting,
            at(ALPHA, LIFETIME),
            request(9, ALPHA, 2),
            Ok(vec!["expired", "granted", "granted"]),
        ),
        ("again", leased, by(ALPHA), request(1, ALPHA, 3), Ok(vec![])),
        ("again, by an operator", leased, by(ROOT), request(1, ALPHA, 3), Ok(vec![])),
        ("again, without waiting", leased, by(ALPHA), now(1, 3), Ok(vec![])),
        ("again, while it waits", waiting, by(BRAVO), request(2, BRAVO, 2), Ok(vec![])),
        ("again, by another", leased, by(BRAVO), request(1, ALPHA, 3), Err("allocator.id_taken")),
        ("again, for another amount", leased, by(ALPHA), request(1, ALPHA, 2), Err("allocator.id_taken")),
        ("again, after its time", leased, at(ALPHA, LIFETIME), request(1, ALPHA, 3), Err("allocator.ended")),
        ("again, after its release", ended, by(ALPHA), request(1, ALPHA, 3), Err("allocator.ended")),
        ("of another pool", pool, by(ALPHA), elsewhere, Err("allocator.unknown_pool")),
        ("for another", pool, by(ALPHA), request(9, BRAVO, 1), Err("allocator.for_another")),
        ("for a part of the authority", pool, by(ROOT), request(9, CLOCK, 1), Err("allocator.internal_owner")),
        ("nothing", pool, by(ALPHA), request(9, ALPHA, 0), Err("allocator.nothing_asked")),
        ("more than there is", pool, by(ALPHA), request(9, ALPHA, 5), Err("allocator.over_capacity")),
        ("too urgently", pool, by(ALPHA), too_urgent, Err("allocator.priority_out_of_range")),
        ("for no time", pool, by(ALPHA), lasting(Millis(0)), Err("allocator.lifetime_out_of_range")),
        ("for the longest time", pool, by(ALPHA), lasting(LIFETIME_MAX), Ok(vec!["granted"])),
        ("for longer", pool, by(ALPHA), lasting(longest), Err("allocator.lifetime_out_of_range")),
    ]);
    let refusal = leased.decide(&now(9, 2), &at(ALPHA, Millis::minutes(1))).unwrap_err();
    let retry_after = Some(Millis::minutes(4));
    assert_eq!(refusal, Refusal::Exhausted { free: 1, ahead: 0, retry_after });
    assert_eq!(refusal.denial().retry_after, retry_after, "it says when to come again");
}

#[test]
fn an_owner_has_bounds() {
    let mut allocator = Allocator::default();
    carry_out(&mut allocator, &define("gpu", u64::MAX), &by(ROOT));
    for lease in 0..OWNED_MAX as u128 {
        carry_out(&mut allocator, &request(lease, ALPHA, 1), &by(ALPHA));
    }
    check(&[
        ("one more", &allocator, by(ALPHA), request(1 << 64, ALPHA, 1), Err("allocator.owner_full")),
        ("another's", &allocator, by(BRAVO), request(1 << 64, BRAVO, u64::MAX / 2), Ok(vec!["granted"])),
        ("another's, too much", &allocator, by(BRAVO), request(1 << 64, BRAVO, u64::MAX), Ok(vec!["queued"])),
        ("all revoked in one fact", &allocator, by(ROUTE), revoke(ALPHA), Ok(vec!["owner_revoked"])),
    ]);
    carry_out(&mut allocator, &release(0), &by(ALPHA));
    carry_out(&mut allocator, &request(1 << 64, ALPHA, 1), &by(ALPHA));
}

#[test]
fn leases_are_renewed() {
    let leased = &after(&[(ALPHA, request(1, ALPHA, 3))]);
    let waiting = &after(&[(ALPHA, request(1, ALPHA, 3)), (BRAVO, request(2, BRAVO, 2))]);
    let hour = Millis::hours(1);
    let mut old = after(&[(ALPHA, request(1, ALPHA, 3)), (ALPHA, renew(1, 1, LIFETIME_MAX))]);
    let late = Millis::hours(23);
    let alone = &old.clone();
    carry_out(&mut old, &request(2, BRAVO, 2), &at(BRAVO, late));
    check(&[
        ("renew", leased, by(ALPHA), renew(1, 1, hour), Ok(vec!["renewed"])),
        ("renew, by an operator", leased, by(ROOT), renew(1, 1, hour), Ok(vec!["renewed"])),
        ("renew for less", leased, by(ALPHA), renew(1, 1, Millis(1)), Ok(vec![])),
        ("renew while others wait", waiting, by(ALPHA), renew(1, 1, hour), Ok(vec!["renewed"])),
        ("renew for ever", alone, at(ALPHA, late), renew(1, 1, LIFETIME_MAX), Ok(vec!["renewed"])),
        ("not if others wait", &old, at(ALPHA, late), renew(1, 1, LIFETIME_MAX), Err("allocator.others_wait")),
        ("renew another's", leased, by(BRAVO), renew(1, 1, hour), Err("allocator.not_owner")),
        ("renew under another number", leased, by(ALPHA), renew(1, 2, hour), Err("allocator.fenced")),
        ("renew for no time", leased, by(ALPHA), renew(1, 1, Millis(0)), Err("allocator.lifetime_out_of_range")),
        (
            "renew for too long",
            leased,
            by(ALPHA),
            renew(1, 1, Millis(86_400_001)),
            Err("allocator.lifetime_out_of_range"),
        ),
        ("renew too late", leased, at(ALPHA, LIFETIME), renew(1, 1, hour), Err("allocator.ended")),
        ("renew what waits", waiting, by(BRAVO), renew(2, 1, hour), Err("allocator.waiting")),
        ("renew the unknown", leased, by(ALPHA), renew(7, 1, hour), Err("allocator.unknown")),
    ]);
}

#[test]
fn leases_end() {
    let leased = &after(&[(ALPHA, request(1, ALPHA, 3))]);
    let waiting =
        &after(&[(ALPHA, request(1, ALPHA, 3)), (BRAVO, request(2, BRAVO, 2)), (BRAVO, request(3, BRAVO, 1))]);
    let ended = &after(&[(ALPHA, request(1, ALPHA, 3)), (ALPHA, release(1))]);
    let under = |fencing| Command::Release { lease: LeaseId(1), fencing: Some(fencing) };
    let expire = || Command::Expire;
    check(&[
        ("release", leased, by(ALPHA), release(1), Ok(vec!["released"])),
        ("release, by an operator", leased, by(ROOT), release(1), Ok(vec!["released"])),
        ("release under its number", leased, by(ALPHA), under(1), Ok(vec!["released"])),
        ("release under another", leased, by(ALPHA), under(2), Err("allocator.fenced")),
        ("release again", ended, by(ALPHA), release(1), Ok(vec![])),
        ("release too late", leased, at(ALPHA, LIFETIME), release(1), Ok(vec![])),
        ("release another's", leased, by(BRAVO), release(1), Err("allocator.not_owner")),
        ("release the unknown", leased, by(ALPHA), release(7), Err("allocator.unknown")),
        ("release for who waits", waiting, by(ALPHA), release(1), Ok(vec!["released", "granted", "granted"])),
        ("take back for who waits", waiting, by(BRAVO), release(2), Ok(vec!["withdrawn", "granted"])),
        ("take back the last", waiting, by(BRAVO), release(3), Ok(vec!["withdrawn"])),
        ("revoke", waiting, by(ROUTE), revoke(ALPHA), Ok(vec!["owner_revoked", "granted", "granted"])),
        ("revoke who waits", waiting, by(ROUTE), revoke(BRAVO), Ok(vec!["owner_revoked"])),
        ("revoke who has nothing", leased, by(ROUTE), revoke(BRAVO), Ok(vec![])),
        ("revoke what has expired", leased, at(ROUTE, LIFETIME), revoke(ALPHA), Ok(vec!["expired"])),
        ("revoke, by hand", leased, by(ROOT), revoke(ALPHA), Err("allocator.routes_only")),
        ("expire nothing", leased, by(CLOCK), expire(), Ok(vec![])),
        ("expire", leased, at(CLOCK, LIFETIME), expire(), Ok(vec!["expired"])),
        ("expire for who waits", waiting, at(CLOCK, LIFETIME), expire(), Ok(vec!["expired", "granted", "granted"])),
    ]);
}

/// What one command has no place for, the clock does.
#[test]
fn more_grants_than_one_command_holds_are_made_by_the_clock() {
    let mut allocator = Allocator::default();
    carry_out(&mut allocator, &define("gpu", 1_000), &by(ROOT));
    carry_out(&mut allocator, &request(0, ALPHA, 1_000), &by(ALPHA));
    for lease in 1..=1_000 {
        carry_out(&mut allocator, &request(lease, BRAVO, 1), &by(BRAVO));
    }
    let released = allocator.decide(&release(0), &by(ALPHA)).unwrap().events;
    assert_eq!(released.len(), 1 + 256);
    for event in &released {
        allocator.evolve(event, Position(0));
    }
    let mut commands = 0;
    while let Some(due) = allocator.due(NOON) {
        carry_out(&mut allocator, &due, &by(CLOCK));
        commands += 1;
    }
    assert_eq!(commands, 3);
    let pool = allocator.pool("gpu", NOON).unwrap();
    assert_eq!((pool.held, pool.waiting, pool.free, pool.fencing), (1_000, 0, 0, 1_001));
}

#[test]
fn the_answer_is_what_was_so_then() {
    let mut allocator = after(&[]);
    let granted = |lease: u128, fencing, after| {
        let (lease, expires_at) = (LeaseId(lease), NOON + after);
        Reply::Granted { lease, pool: "gpu".into(), amount: 3, fencing, expires_at }
    };
    let queued =
        |lease: u128, position| Reply::Queued { lease: LeaseId(lease), pool: "gpu".into(), amount: 3, position };
    assert_eq!(carry_out(&mut allocator, &request(1, ALPHA, 3), &by(ALPHA)), granted(1, 1, LIFETIME));
    assert_eq!(carry_out(&mut allocator, &request(2, BRAVO, 3), &by(BRAVO)), queued(2, 1));
    let urgent = Command::Request(Request { priority: 1, ..asked(3, BRAVO, 3) });
    assert_eq!(carry_out(&mut allocator, &urgent, &by(BRAVO)), queued(3, 1));
    assert_eq!(carry_out(&mut allocator, &request(2, BRAVO, 3), &by(BRAVO)), queued(2, 2), "overtaken");
    let renewed = carry_out(&mut allocator, &renew(1, 1, Millis::minutes(7)), &by(ALPHA));
    assert_eq!(renewed, granted(1, 1, Millis::minutes(7)));
    let released = Reply::Released { lease: LeaseId(1), ended: true };
    assert_eq!(carry_out(&mut allocator, &release(1), &by(ALPHA)), released);
    assert_eq!(carry_out(&mut allocator, &urgent, &by(BRAVO)), granted(3, 2, LIFETIME), "it was next");
    let revoked = carry_out(&mut allocator, &revoke(BRAVO), &by(ROUTE));
    assert_eq!(revoked, Reply::Revoked { leases: 1, requests: 1 });
}

/// A step of priority is worth 30 seconds, to the second; ties go by arrival.
#[test]
fn a_step_of_priority_is_worth_thirty_seconds() {
    let mut allocator = after(&[(ALPHA, request(1, ALPHA, 4)), (BRAVO, request(2, BRAVO, 4))]);
    let ask = |lease, priority| Command::Request(Request { priority, ..asked(lease, BRAVO, 4) });
    for (lease, priority, after, place) in [(3, 1, 29, 1), (4, 1, 30, 3), (5, 3, 89, 2), (6, 3, 90, 5), (7, 3, 91, 6)] {
        let reply = carry_out(&mut allocator, &ask(lease, priority), &at(BRAVO, Millis::seconds(after)));
        let Reply::Queued { position, .. } = reply else { panic!("{reply:?}") };
        assert_eq!(position, place, "{lease}");
    }
}

#[test]
fn what_is_shown() {
    let mut allocator = after(&[(ALPHA, request(1, ALPHA, 3)), (BRAVO, request(2, BRAVO, 2))]);
    let ids = |allocator: &Allocator, filter: Filter, after| {
        allocator.list(&filter, NOON + after).map(|lease| lease.id.0).collect::<Vec<_>>()
    };
    let any = Filter::default;
    let of = |state| Filter { state: Some(state), ..Filter::default() };
    assert_eq!(ids(&allocator, any(), Millis(0)), [1, 2]);
    assert_eq!(ids(&allocator, Filter { owner: Some(principal(BRAVO)), ..any() }, Millis(0)), [2]);
    assert_eq!(ids(&allocator, Filter { pool: Some("cpu".into()), ..any() }, Millis(0)), [0; 0]);
    assert_eq!(ids(&allocator, of(State::Held), Millis(0)), [1]);
    assert_eq!(ids(&allocator, of(State::Expired), LIFETIME), [1], "no clock is waited for");
    let pool = allocator.pool("gpu", NOON + LIFETIME).unwrap();
    assert_eq!((pool.leased, pool.free, pool.held, pool.waiting), (0, 4, 0, 1));
    assert_eq!(allocator.pools(NOON).map(|pool| (pool.name, pool.leased)).collect::<Vec<_>>(), [("gpu".into(), 3)]);
    carry_out(&mut allocator, &release(1), &at(ALPHA, Millis(5)));
    let (first, second) = (LeaseId(1), LeaseId(2));
    let lease = |id| allocator.show(id, NOON + Millis(5)).unwrap();
    assert_eq!((lease(first).state, lease(first).ended_at), (State::Released, Some(NOON + Millis(5))));
    assert_eq!((lease(second).state, lease(second).position, lease(second).fencing), (State::Held, None, Some(2)));
    assert_eq!((lease(second).asked_at, lease(second).granted_at), (NOON, Some(NOON + Millis(5))));
    assert_eq!(allocator.owner(first), Some(&principal(ALPHA)), "also when it has ended");
    assert_eq!((allocator.show(LeaseId(9), NOON), allocator.owner(LeaseId(9))), (None, None));
}

#[test]
fn a_fact_is_no_larger_than_a_body_may_be() {
    let name = "g".repeat(64);
    let mut allocator = Allocator::default();
    let unit = "\u{10ffff}".repeat(32);
    carry_out(&mut allocator, &Command::Define { pool: name.clone(), capacity: 1, unit }, &by(ROOT));
    let owner = format!("protocol/{}", "p".repeat(64));
    let command = Command::Request(Request { pool: name, ..asked(1, &owner, 1) });
    let outcome = allocator.decide(&command, &by(&owner)).unwrap();
    let [Event::Granted(body)] = &outcome.events[..] else { panic!("{outcome:?}") };
    assert!(serde_json::to_vec(body).unwrap().len() < 60 * 1024);
}
