//! What yesterday's records mean. Names, ids and bodies below are on disk and are never edited.

use std::collections::BTreeSet;

use allocator::{Allocator, Event, LeaseId, State};
use kernel::{Machine, Position, Recorded, Timestamp, json};
use serde_json::{Value, json};

const NOON: u64 = 1_800_000_000_000;
const MINUTE: u64 = 60_000;

fn id(lease: u64) -> String {
    format!("00000000-0000-0000-0000-00000000000{lease}")
}

fn defined(pool: &str) -> Value {
    json!({ "pool": pool, "capacity": 4, "unit": "core", "at": NOON })
}

fn queued(lease: u64, ticket: u64) -> Value {
    json!({
        "lease": id(lease), "pool": "cpu", "owner": "agent/bravo", "amount": 3, "priority": 1, "lifetime": MINUTE,
        "at": NOON, "stands": NOON + MINUTE, "ticket": ticket,
    })
}

fn granted(lease: u64, owner: &str, amount: u64, fencing: u64, at: u64) -> Value {
    json!({
        "lease": id(lease), "pool": "cpu", "owner": owner, "amount": amount, "priority": 1, "lifetime": MINUTE,
        "asked_at": NOON, "fencing": fencing, "at": at, "expires_at": at + MINUTE,
    })
}

/// As version 1 wrote it: one record of each kind at least.
fn journal() -> Vec<(u32, &'static str, Value)> {
    let late = NOON + 2 * MINUTE;
    vec![
        (600, "allocator.defined", defined("cpu")),
        (603, "allocator.granted", granted(1, "agent/alpha", 2, 1, NOON)),
        (603, "allocator.granted", granted(2, "agent/alpha", 2, 2, NOON)),
        (602, "allocator.queued", queued(3, 1)),
        (602, "allocator.queued", queued(4, 2)),
        (604, "allocator.renewed", json!({ "lease": id(2), "expires_at": NOON + 5 * MINUTE })),
        (607, "allocator.expired", json!({ "pool": "cpu", "at": late, "leases": 1 })),
        (605, "allocator.released", json!({ "lease": id(2), "at": late })),
        (603, "allocator.granted", granted(3, "agent/bravo", 3, 3, late)),
        (606, "allocator.withdrawn", json!({ "lease": id(4), "at": late })),
        (601, "allocator.resized", json!({ "pool": "cpu", "capacity": 5, "at": late })),
        (603, "allocator.granted", granted(5, "agent/carol", 1, 4, late)),
        (608, "allocator.owner_revoked", json!({ "owner": "agent/carol", "at": late })),
    ]
}

#[test]
fn a_version_1_journal_reads_as_it_did() {
    assert_eq!((Allocator::NAME, Allocator::REVISION), ("allocator", 1), "the stream's name is on disk");
    let mut allocator = Allocator::default();
    for (kind, name, body) in journal() {
        let event = json::read((kind, 1), body.clone()).unwrap();
        let (written, rewritten) = json::write(&event);
        assert_eq!((written.id, written.version, written.name), (kind, 1, name));
        assert_eq!(rewritten, body, "{name} is written as it was read");
        allocator.evolve(&event, Position(0));
    }
    let late = Timestamp(NOON + 2 * MINUTE);
    let lease = |id| allocator.show(LeaseId(id), late).unwrap();
    let states = [1, 2, 3, 4, 5].map(|id| lease(id).state);
    assert_eq!(states, [State::Expired, State::Released, State::Held, State::Withdrawn, State::Revoked]);
    assert_eq!(lease(1).ended_at, Some(Timestamp(NOON + MINUTE)), "a lease ends when its time does");
    assert_eq!((lease(2).fencing, lease(2).ended_at), (Some(2), Some(late)));
    assert_eq!((lease(3).fencing, lease(3).granted_at), (Some(3), Some(late)));
    let pool = allocator.pool("cpu", late).unwrap();
    assert_eq!((pool.capacity, pool.leased, pool.free, pool.held, pool.waiting), (5, 3, 2, 1, 0));
    assert_eq!((pool.fencing, pool.unit.as_str()), (4, "core"));
    assert_eq!(allocator.deadline(), lease(3).expires_at);
}

#[test]
fn kinds_are_registered_once_and_others_are_refused() {
    let ids: BTreeSet<_> = Event::KINDS.iter().map(|kind| (kind.id, kind.version)).collect();
    assert_eq!(ids.len(), Event::KINDS.len());
    assert!(Event::KINDS.iter().all(|kind| (600..700).contains(&kind.id) && kind.name.starts_with("allocator.")));
    let written: BTreeSet<_> = journal().iter().map(|(kind, ..)| (*kind, 1)).collect();
    assert_eq!(written, ids, "one record of each kind is replayed");
    for kind in [(599, 1), (600, 2), (609, 1)] {
        assert!(json::read::<Event>(kind, json!({})).is_err(), "{kind:?}");
    }
}

fn replay(records: Vec<(u32, Value)>) {
    let mut allocator = Allocator::default();
    for (kind, body) in records {
        allocator.evolve(&json::read((kind, 1), body).unwrap(), Position(0));
    }
}

#[test]
#[should_panic(expected = "more of cpu is leased than there is")]
fn a_journal_over_capacity_is_corrupt() {
    replay(vec![
        (600, defined("cpu")),
        (603, granted(1, "agent/a", 3, 1, NOON)),
        (603, granted(2, "agent/a", 2, 2, NOON)),
    ]);
}

#[test]
#[should_panic(expected = "the grants of cpu are numbered in order")]
fn a_journal_that_gives_a_fencing_number_twice_is_corrupt() {
    replay(vec![
        (600, defined("cpu")),
        (603, granted(1, "agent/a", 1, 1, NOON)),
        (603, granted(2, "agent/a", 1, 1, NOON)),
    ]);
}

#[test]
#[should_panic(expected = "was granted out of order")]
fn a_journal_that_grants_out_of_order_is_corrupt() {
    let second = granted(4, "agent/bravo", 3, 1, NOON);
    replay(vec![(600, defined("cpu")), (602, queued(3, 1)), (602, queued(4, 2)), (603, second)]);
}

#[test]
#[should_panic(expected = "the pool cpu was defined twice")]
fn a_journal_that_defines_a_pool_twice_is_corrupt() {
    replay(vec![(600, defined("cpu")), (600, defined("cpu"))]);
}
