//! Whether a machine starts from a snapshot or from all of its records, nobody can tell; and a snapshot about which anything
//! is in doubt is not used.

use std::fs;
use std::path::PathBuf;

use host::{Limits, Replica};
use journal::snapshots::{Label, Snapshots};
use kernel::{Digest, Millis, Position, Sequence};

use crate::ledger::{Command, Ledger};
use crate::world::{LEDGER, NOON, Setup, World, add, id_at, order, order_as, take};

/// The machine and its view are what the records make.
async fn is_as_recorded(world: &World) {
    let mut replica = Replica::<Ledger>::default();
    for record in world.records() {
        replica.apply(&record).unwrap();
    }
    assert_eq!(world.ledger.digest_of_state().await.unwrap(), replica.digest().unwrap());
    assert_eq!(world.seen.ledger(), replica.machine);
}

fn every(snapshot_every: u64) -> Setup {
    Setup { limits: Limits { snapshot_every, ..Limits::default() }, ..Setup::default() }
}

fn snapshots(setup: &Setup) -> Snapshots {
    Snapshots::of(setup.dir.path(), "ledger")
}

fn file(setup: &Setup, version: Position) -> PathBuf {
    setup.dir.path().join(format!("snapshots/ledger/{:020}", version.0))
}

/// A ledger that has done a little of everything, stopped in good order.
async fn stopped() -> Setup {
    let world = World::start().await;
    for number in 1..=20 {
        world.ask(add(number, number)).await;
    }
    world.ask(take(21, 15)).await;
    world.ask(take(22, 10_000)).await;
    world.ask(order(23, Command::Hold { amount: 30, until: NOON + Millis::hours(9) })).await;
    world.stop().await
}

/// What the commands of [`stopped`] are answered when they are repeated, and what a new one is.
async fn goes_on(world: &World) {
    is_as_recorded(world).await;
    let ran = world.ran().len();
    for (order, answer) in
        [(add(20, 20), "210, again"), (take(22, 10_000), "overdrawn 195, again"), (add(3, 4), "host.id_taken")]
    {
        assert_eq!(world.ask(order).await, answer);
    }
    assert_eq!(world.ran().len(), ran, "nothing ran twice");
    assert_eq!(world.ask(add(100, 5)).await, "170");
    is_as_recorded(world).await;
}

#[tokio::test]
async fn a_start_takes_up_what_a_stop_has_left() {
    let setup = stopped().await;
    assert_eq!(snapshots(&setup).versions(), [Position(24)]);
    let world = setup.start().await;
    assert_eq!(world.seen.restored(), 24);
    assert_eq!(world.ledger.snapshots().version, Position(24));
    goes_on(&world).await;

    let setup = world.stop().await;
    assert_eq!(snapshots(&setup).versions(), [Position(26), Position(24)]);
    let setup = setup.start().await.stop().await;
    assert_eq!(snapshots(&setup).versions(), [Position(26), Position(24)], "an opening is not worth another one");
}

#[tokio::test]
async fn they_are_made_while_commands_are_answered() {
    let world = every(10).start().await;
    let mut number = 0;
    while world.ledger.snapshots().version < Position(50) {
        number += 1;
        world.ask(add(number, 1)).await;
        assert!(number < 100_000, "there is none");
    }
    assert!(snapshots(&world.setup).versions().len() <= 2, "the last two are kept");
    // Its end is not an orderly one: what comes next begins with what was made on the way.
    world.tree.kill(LEDGER).await.unwrap();
    world.ledger.up().await;
    is_as_recorded(&world).await;
    assert_eq!(world.ask(add(1, 1)).await, "1, again");
    assert_eq!(world.ledger.snapshots().failed, 0);
}

#[tokio::test]
async fn without_snapshots_there_are_none() {
    let mut setup = stopped().await;
    setup.limits.snapshot_every = 0;
    let world = setup.start().await;
    assert_eq!(world.seen.restored(), 0);
    goes_on(&world).await;
    let setup = world.stop().await;
    assert_eq!(snapshots(&setup).versions(), [Position(24)], "what is there stays there, unread");
}

#[tokio::test]
async fn one_that_is_in_doubt_is_not_used() {
    type Spoil = fn(&Setup, Position);
    fn labelled(setup: &Setup, version: Position, change: impl FnOnce(&mut Label)) {
        let (mut label, content) = snapshots(setup).read(version).unwrap();
        change(&mut label);
        snapshots(setup).remove(version);
        snapshots(setup).write(&label, |file| file.write_all(&content)).unwrap();
    }
    fn content(setup: &Setup, version: Position, change: impl FnOnce(&mut Vec<u8>)) {
        let (label, mut content) = snapshots(setup).read(version).unwrap();
        change(&mut content);
        snapshots(setup).write(&label, |file| file.write_all(&content)).unwrap();
    }
    let rows: [(&str, Spoil); 14] = [
        ("torn", |setup, version| {
            let whole = fs::read(file(setup, version)).unwrap();
            fs::write(file(setup, version), &whole[..whole.len() / 2]).unwrap();
        }),
        ("empty", |setup, version| fs::write(file(setup, version), b"").unwrap()),
        ("a directory", |setup, version| {
            fs::remove_file(file(setup, version)).unwrap();
            fs::create_dir(file(setup, version)).unwrap();
        }),
        ("flipped", |setup, version| {
            let mut bytes = fs::read(file(setup, version)).unwrap();
            let last = bytes.len() - 40;
            bytes[last] ^= 4;
            fs::write(file(setup, version), &bytes).unwrap();
        }),
        ("of another revision", |setup, version| labelled(setup, version, |label| label.revision += 1)),
        ("of another shape", |setup, version| labelled(setup, version, |label| label.shape.0[0] ^= 1)),
        ("of another stream", |setup, version| labelled(setup, version, |label| label.stream = "lodger".into())),
        ("of another history", |setup, version| labelled(setup, version, |label| label.head.link = Digest([1; 32]))),
        ("of another place", |setup, version| labelled(setup, version, |label| label.head.sequence = Sequence(9))),
        ("of an earlier version's state", |setup, version| labelled(setup, version, |label| label.version.0 -= 1)),
        ("ahead of the journal", |setup, version| labelled(setup, version, |label| label.version.0 += 900)),
        ("with too little in it", |setup, version| {
            content(setup, version, |content| content.truncate(content.len() - 1));
        }),
        ("with too much in it", |setup, version| content(setup, version, |content| content.push(0))),
        ("with more outcomes than there are", |setup, version| {
            content(setup, version, |content| content[..8].fill(0xff));
        }),
    ];
    for (row, spoil) in rows {
        let setup = stopped().await;
        spoil(&setup, Position(24));
        let world = setup.start().await;
        assert_eq!(world.seen.restored(), 0, "{row}");
        goes_on(&world).await;
        let left = snapshots(&world.setup).versions();
        assert!(left.iter().all(|version| file(&world.setup, *version).is_dir()), "{row}: it is removed: {left:?}");
    }
}

#[tokio::test]
async fn the_one_before_serves_where_the_last_is_in_doubt() {
    let world = stopped().await.start().await;
    goes_on(&world).await;
    let setup = world.stop().await;
    fs::write(file(&setup, Position(26)), b"not this one").unwrap();
    let world = setup.start().await;
    assert_eq!(world.seen.restored(), 24);
    is_as_recorded(&world).await;
    assert_eq!(world.ask(add(100, 5)).await, "170, again", "of the records after it, too");
}

/// Made over one journal and found over another, which has the same versions.
#[tokio::test]
async fn one_of_another_journal_is_not_used() {
    let ours = stopped().await;
    let world = World::start().await;
    for number in 1..=23 {
        world.ask(add(number, 1)).await;
    }
    let theirs = world.stop().await;
    fs::copy(file(&theirs, Position(24)), file(&ours, Position(24))).unwrap();
    let world = ours.start().await;
    assert_eq!(world.seen.restored(), 0);
    goes_on(&world).await;
}

#[tokio::test]
async fn the_outcomes_of_the_whole_window_are_in_it() {
    let limits = Limits { outcomes: 4, ..Limits::default() };
    let world = Setup { limits, ..Setup::default() }.start().await;
    let by = || "operator/root".parse().unwrap();
    let at = |hours: u64, number| {
        order_as(by(), id_at(NOON + Millis::hours(hours), number), Command::Add { amount: number })
    };
    assert_eq!(world.ask(at(0, 1)).await, "1");
    world.setup.time.set(NOON + Millis::hours(20));
    assert_eq!(world.ask(at(20, 2)).await, "3");
    let world = world.again().await;
    world.setup.time.set(NOON + Millis::hours(24));
    assert_eq!(world.ask(at(0, 1)).await, "1, again", "to the last minute of the window");
    assert_eq!(world.ask(at(24, 3)).await, "6");
    assert_eq!(world.ask(at(24, 4)).await, "10");
    assert_eq!(world.ask(at(24, 5)).await, "host.window_full");
    let world = world.again().await;
    assert_eq!(world.seen.restored(), 6);
    assert_eq!(world.ask(at(24, 5)).await, "host.window_full", "the limit is the same after a start");

    world.setup.time.set(NOON + Millis::hours(25));
    let world = world.again().await;
    assert_eq!(world.ask(at(0, 1)).await, "host.id_stale", "refused, and not run again");
    assert_eq!(world.ask(at(20, 2)).await, "3, again");
    assert_eq!(world.ask(at(25, 6)).await, "16", "what has left the window makes room");
    is_as_recorded(&world).await;
}

#[tokio::test]
async fn nothing_fails_because_a_snapshot_does() {
    let setup = every(10);
    let world = setup.start().await;
    fs::write(world.setup.dir.path().join("snapshots"), b"in the way").unwrap();
    let mut number = 0;
    while world.ledger.snapshots().failed == 0 {
        number += 1;
        assert_eq!(world.ask(add(number, 1)).await, number.to_string());
        assert!(number < 100_000, "it should have been tried");
    }
    let world = world.again().await;
    is_as_recorded(&world).await;
    assert_eq!(world.ask(add(1, 1)).await, "1, again");
}

/// A machine that failed half-way is thrown away, and never written down.
#[tokio::test]
async fn half_a_fact_is_never_in_a_snapshot() {
    let world = every(1).start().await;
    world.ask(add(1, 7)).await;
    assert_eq!(world.ask(order(2, Command::Curse)).await, "host.fault");
    world.ledger.up().await;
    let world = world.again().await;
    assert_eq!(world.ledger.inspect(|ledger| ledger.balance).await.unwrap(), 7);
    is_as_recorded(&world).await;
}
