//! A log that has lost its oldest entries: what is gone is what a record of it says, and not one bundle more.

use std::fs;

use evidence::repair::{Mended, look, repair};
use evidence::tile::{Kind, Tile};
use evidence::verify::{Checked, Depth, alone};
use evidence::{LogError, Places};
use journal::Past as _;
use journal::repair::{Others, examine};
use journal::store::StoreError;
use kernel::Sequence;

use crate::world::{World, files, in_segments, lay};

const PLACE: &str = "/b/log-1/backups/backup-3";

/// A signed log of 600 records, one of them a blob; record 602 says that the first `minimum` leave it, and there are some after it.
fn decided(minimum: u64) -> (World, Sequence) {
    decided_in(World::in_segments(), minimum)
}

fn decided_in(mut world: World, minimum: u64) -> (World, Sequence) {
    world.write(100, 20, 1);
    world.write(101, 40_000, 1);
    for records in (110..=600).step_by(10) {
        world.write(records, 20, 1);
    }
    let record = world.decree(minimum, PLACE);
    assert_eq!(record, Sequence(602));
    (world, record)
}

fn bundle(places: &Places, number: u64) -> std::path::PathBuf {
    places.log.join(Tile::full(Kind::Entries, number).path())
}

fn blobs(places: &Places) -> usize {
    fs::read_dir(places.log.join("blobs")).unwrap().count()
}

fn checked(world: &World) -> Checked {
    let all = world.evidence.verify(Depth::All).unwrap();
    let by_itself = alone(&world.places(), &world.evidence.public().unwrap()).unwrap();
    assert_eq!(all.minimum, by_itself.minimum);
    assert_eq!(by_itself.entries, all.entries - all.minimum.as_ref().map_or(0, |minimum| minimum.index));
    all
}

#[test]
fn what_left_is_gone_and_every_proof_is_as_it_was() {
    let (world, record) = decided(512);
    let places = world.places();
    let proof = |at| world.evidence.prove(Sequence(at)).unwrap();
    let before: Vec<_> = [1, 101, 256, 512, 513, 603].map(proof).into();
    let (root, records) = (world.evidence.root_at(600).unwrap(), world.journal.raw(Sequence(1), usize::MAX).unwrap());
    assert_eq!((world.evidence.minimum().unwrap(), blobs(&places)), (None, 1));
    assert!(world.evidence.prune(512, record, &mut || true).unwrap());
    let minimum = world.evidence.minimum().unwrap().unwrap();
    assert_eq!((minimum.index, minimum.record, minimum.place.as_str()), (512, record, PLACE));
    assert!(!bundle(&places, 0).exists() && !bundle(&places, 1).exists());
    assert_eq!(blobs(&places), 0, "the blob went with the bundle that names it");
    let after: Vec<_> = [1, 101, 256, 512, 513, 603].map(proof).into();
    assert!(before == after, "every proof is as it was");
    assert_eq!(world.evidence.root_at(600).unwrap(), root);
    assert_eq!(checked(&world).entries, 603, "the journal's records were all held against the hashes");
    // It goes on, and is opened as any other.
    world.started().unwrap().close();
    world.evidence.open().unwrap();
    assert!(world.evidence.prune(512, record, &mut || true).unwrap(), "again is nothing");
    assert!(world.journal.raw(Sequence(1), usize::MAX).unwrap() == records);
}

/// Stopped before each file that is taken away, as by a kill: what is there can be used, and the same call ends it.
#[test]
fn it_is_taken_up_wherever_it_was_left() {
    for steps in 0.. {
        let (world, record) = decided(512);
        let mut left = steps;
        let mut some = || {
            left -= 1;
            0 <= left
        };
        let ended = world.evidence.prune(512, record, &mut some).unwrap();
        assert_eq!(world.evidence.minimum().unwrap().unwrap().index, 512, "it is raised first");
        checked(&world);
        let started = world.started().unwrap();
        assert!(started.prune(512, record, &mut || true).unwrap());
        checked(&world);
        assert_eq!(blobs(&world.places()), 0);
        if ended {
            assert_eq!(steps, 3, "a blob and two bundles");
            return;
        }
    }
}

/// Where the file cannot be written, as on a full disk, nothing is taken away; later it is.
#[test]
fn nothing_goes_before_the_minimum_is_in_place() {
    let (world, record) = decided(512);
    let places = world.places();
    let intact = files(&places.log);
    let in_the_way = places.log.join("minimum.new");
    fs::create_dir(&in_the_way).unwrap();
    let refused = world.evidence.prune(512, record, &mut || true).unwrap_err();
    assert!(matches!(refused, LogError::Io { .. }) && refused.may_pass(), "{refused}");
    fs::remove_dir(&in_the_way).unwrap();
    assert!(files(&places.log) == intact, "nothing was taken away");
    assert!(world.evidence.prune(512, record, &mut || true).unwrap());
    checked(&world);
}

/// Raised over what stays; lowered, taken away or cut under what left: nothing of it passes.
#[test]
fn a_minimum_that_nobody_recorded_is_damage() {
    let (world, record) = decided(256);
    let places = world.places();
    let damaged = |row: &str| {
        let key = world.evidence.public().unwrap();
        for error in [world.evidence.verify(Depth::All).map(drop), alone(&places, &key).map(drop)] {
            assert!(matches!(error, Err(LogError::Damaged { .. })), "{row}: {error:?}");
        }
    };
    for (index, record) in [(512, record), (256, Sequence(601)), (256, Sequence(603)), (256, Sequence(9_999))] {
        let refused = world.evidence.prune(index, record, &mut || true).unwrap_err();
        let not_yet = matches!(refused, LogError::NotYet { .. });
        assert!(
            not_yet == (record.0 == 9_999) && (not_yet || matches!(refused, LogError::Damaged { .. })),
            "{refused}"
        );
    }
    assert!(bundle(&places, 0).exists(), "nothing was taken away for it");
    assert!(world.evidence.prune(256, record, &mut || true).unwrap());
    let file = places.log.join("minimum");
    let good = fs::read_to_string(&file).unwrap();
    assert_eq!(good, "minimum 256\nrecord 602\n");
    let intact = files(&places.log);
    for forged in [
        "minimum 512\nrecord 602\n",
        "minimum 512\nrecord 603\n",
        "minimum 0\nrecord 602\n",
        "minimum 257\nrecord 602\n",
        "minimum 256\nrecord 601\n",
        "minimum 256\nrecord 9999\n",
        "minimum 256\nrecord 0\n",
        "minimum 18446744073709551360\nrecord 18446744073709551615\n",
        "minimum 0256\nrecord 602\n",
        "minimum 256\nrecord 602",
        "minimum 256\nrecord 602\nmore",
        "",
    ] {
        fs::write(&file, forged).unwrap();
        damaged(forged);
        assert_eq!(world.started().map(drop).unwrap_err().code(), "evidence.damaged", "{forged:?}");
        world.evidence.open().unwrap_err();
    }
    lay(&places.log, &intact);
    fs::remove_file(&file).unwrap();
    damaged("no file");
    lay(&places.log, &intact);
    fs::remove_file(bundle(&places, 1)).unwrap();
    damaged("a bundle above the minimum");
    // Whoever raises it over what he took away has no record that says so.
    fs::write(&file, "minimum 512\nrecord 602\n").unwrap();
    damaged("a bundle above the minimum, and the file raised");
    assert!(look(&places).is_err());
    lay(&places.log, &intact);
    checked(&world);
    // Every flipped bit of the file.
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone().into_bytes();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&file, bytes).unwrap();
        let key = world.evidence.public().unwrap();
        assert!(alone(&places, &key).is_err(), "bit {bit}");
    }
}

/// The log is made again as it was, with what left it left out.
#[test]
fn a_damaged_log_is_made_again_without_what_left() {
    let (world, record) = decided(256);
    let places = world.places();
    assert!(world.evidence.prune(256, record, &mut || true).unwrap());
    world.evidence.close();
    let intact = files(&places.log);
    fs::remove_file(bundle(&places, 1)).unwrap();
    let mended = repair(&world.journal, &places, "x").unwrap();
    assert!(matches!(mended, Mended::Again { size: 603, .. }), "{mended:?}");
    assert!(files(&places.log) == intact);
    // Raised by somebody: what was signed says no such thing, and all is there again.
    fs::write(places.log.join("minimum"), "minimum 512\nrecord 602\n").unwrap();
    fs::remove_file(bundle(&places, 1)).unwrap();
    let mended = repair(&world.journal, &places, "y").unwrap();
    assert!(matches!(mended, Mended::Again { size: 603, .. }), "{mended:?}");
    assert!(bundle(&places, 0).exists() && bundle(&places, 1).exists() && !places.log.join("minimum").exists());
}

/// What the tail has forgotten and the log has lost is in the store, and in a backup; nowhere else.
#[test]
fn a_store_that_is_lost_is_refused_with_the_place_that_has_it() {
    let (world, record) = decided(512);
    let (home, places) = (world.home.path(), world.places());
    assert!(world.evidence.prune(512, record, &mut || true).unwrap());
    world.evidence.close();
    let records = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    world.journal.close();
    journal::tail::remove_up_to(&home.join("journal/tail"), Sequence(550)).unwrap();
    let mut kept = places.open().unwrap();
    assert!(kept.records(Sequence(513)).unwrap().len() == 91 && kept.records(Sequence(1)).is_err());
    let store = home.join("journal/store");
    let copy = home.join("backup");
    fs::create_dir(&copy).unwrap();
    fs::rename(&store, copy.join("store")).unwrap();
    let error = in_segments(home).open().unwrap_err();
    assert!(matches!(&error, StoreError::Pruned { at: Sequence(1), first: Sequence(513), place } if place == PLACE));
    assert_eq!(error.code(), "evidence.pruned");
    let journal = home.join("journal");
    let lost = journal::repair::repair(&journal, Others { past: Some(&places), backup: None }, "x", false);
    assert_eq!(lost.unwrap_err().code(), "journal.lost");
    let others = Others { past: Some(&places), backup: Some(&copy) };
    let repaired = journal::repair::repair(&journal, others, "y", false).unwrap();
    assert!(0 < repaired.from_backup, "{repaired:?}");
    let journal = in_segments(home);
    journal.open().unwrap();
    assert!(journal.raw(Sequence(1), usize::MAX).unwrap() == records);
    journal.close();
    assert_eq!(examine(&home.join("journal"), Some(&places)).unwrap().findings, []);
}

/// The tail is cut as before, also where its end has left the log by now.
#[test]
fn the_tail_goes_on_being_cut() {
    let (world, record) = decided_in(World::alone_in_segments(), 512);
    assert!(world.evidence.prune(512, record, &mut || true).unwrap());
    world.evidence.close();
    world.journal.close();
    let journal = in_segments(world.home.path());
    journal.open().unwrap();
    let first = || journal::tail::segments(&world.home.path().join("journal/tail")).unwrap()[0].first;
    assert_eq!(first(), Sequence(1), "it was kept");
    journal.release(Sequence(500)).unwrap();
    assert!((2..=501).contains(&first().0), "{}", first());
    journal.release(Sequence(603)).unwrap();
    assert!(501 < first().0, "{}", first());
    journal.close();
}
