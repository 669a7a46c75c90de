//! What the journal's tail has no more: it comes from the log, every byte of it as it was signed, or it does not come.

use std::fs;
use std::path::Path;

use evidence::Places;
use journal::repair::{Others, RepairError, examine, repair};
use journal::store::StoreError;
use journal::{Past as _, tail};
use kernel::Sequence;

use crate::world::{World, files, in_segments, lay};

/// A closed journal of 700 records, one of them a blob, 650 of which are signed; its tail begins after record 256, and its
/// records.
fn trimmed() -> (World, Vec<Vec<u8>>) {
    let mut world = World::alone_in_segments();
    world.write(100, 20, 1);
    world.write(101, 40_000, 1);
    for records in (110..=650).step_by(10) {
        world.write(records, 20, 1);
    }
    world.follow();
    world.evidence.close();
    world.write(700, 20, 1);
    let records = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    assert_eq!(records.len(), 700);
    world.journal.close();
    let directory = world.home.path().join("journal/tail");
    tail::remove_up_to(&directory, Sequence(400)).unwrap();
    let first = tail::segments(&directory).unwrap()[0].first.0;
    assert!((257..=401).contains(&first), "{first}");
    (world, records)
}

fn store(home: &Path) -> std::path::PathBuf {
    home.join("journal/store")
}

/// Makes `to` the same as `from`; most of what fjall has is holes.
fn copied(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copied(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

/// All records, after a start.
fn read(home: &Path) -> Result<Vec<Vec<u8>>, StoreError> {
    let journal = in_segments(home);
    journal.open()?;
    let records = journal.raw(Sequence(1), usize::MAX);
    assert!(records.is_err() || journal.verify(Sequence(1)).unwrap().broken.is_none());
    journal.close();
    records
}

#[test]
fn a_store_that_is_lost_comes_from_the_log_and_the_tail() {
    let (world, records) = trimmed();
    let home = world.home.path();
    fs::remove_dir_all(store(home)).unwrap();
    assert!(read(home).unwrap() == records);

    // As a start leaves it that is killed while it makes the store again.
    fs::rename(store(home), store(home).with_extension("making")).unwrap();
    assert!(read(home).unwrap() == records);

    // One that does not open, after a stop that was not orderly.
    fs::remove_file(home.join("journal/clean")).unwrap();
    fs::write(store(home).join("0.jnl"), b"this is no journal of fjall's").unwrap();
    fs::write(store(home).join("version"), b"FJL\x09").unwrap();
    assert!(read(home).unwrap() == records);
    assert!(store(home).with_extension("unreadable").is_dir());
}

#[test]
fn a_store_that_ends_before_the_tail_begins_is_brought_up_to_it() {
    let mut world = World::in_segments();
    world.write(100, 20, 1);
    world.journal.close();
    let early = world.home.path().join("early");
    copied(&store(world.home.path()), &early);
    world.journal.open().unwrap();
    for records in (110..=650).step_by(10) {
        world.write(records, 20, 1);
    }
    world.follow();
    world.evidence.close();
    let records = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    world.journal.close();
    let home = world.home.path();
    tail::remove_up_to(&home.join("journal/tail"), Sequence(400)).unwrap();
    copied(&early, &store(home));
    let before = examine(&home.join("journal"), Some(&world.places())).unwrap();
    assert!(!before.findings.is_empty(), "{before:?}");
    assert!(read(home).unwrap() == records);
    assert_eq!(examine(&home.join("journal"), Some(&world.places())).unwrap().findings, []);
}

/// Nothing is made of a log that is not what was signed, or not of this journal; and nothing is changed then.
#[test]
fn what_was_not_signed_is_not_taken() {
    let (world, records) = trimmed();
    let (home, places) = (world.home.path(), world.places());
    fs::remove_dir_all(store(home)).unwrap();
    let intact = files(&places.log);
    let key = fs::read(&places.key).unwrap();
    let blob = intact.keys().find(|name| name.starts_with("blobs")).unwrap().display().to_string();
    for (name, at) in
        [("tile/entries/000", 1), ("tile/entries/001", 257), ("tile/1/000.p/2", 1), ("checkpoint", 1), (&blob, 1)]
    {
        for damage in ["a bit", "gone"] {
            lay(&places.log, &intact);
            let path = places.log.join(name);
            let mut bytes = fs::read(&path).unwrap();
            bytes[40] ^= 1;
            match damage {
                "gone" => fs::remove_file(&path).unwrap(),
                _ => fs::write(&path, bytes).unwrap(),
            }
            let before = files(&home.join("journal/tail"));
            let error = read(home).unwrap_err();
            assert_eq!(error.code(), "journal.damaged", "{name}: {error}");
            if let (StoreError::DamagedFrom { at: from, .. }, "a bit") = (&error, damage) {
                assert_eq!(from.0, at, "{name}: {error}");
            }
            assert!(files(&home.join("journal/tail")) == before, "{name}");
            let past: &dyn journal::Past = &places;
            let others = Others { past: Some(past), backup: None };
            let lost = repair(&home.join("journal"), others, "x", false).unwrap_err();
            assert!(matches!(lost, RepairError::Lost { .. }), "{name}: {lost}");
        }
    }
    lay(&places.log, &intact);
    fs::remove_file(&places.key).unwrap();
    assert!(read(home).unwrap_err().to_string().contains("the key of the tile log is lost"));
    fs::write(&places.key, &key).unwrap();
    assert!(read(home).is_err(), "others may read the key");
    set_mode(&places);

    // The log of a journal in which a record was another one.
    let mut forked = World::in_segments();
    forked.write(300, 20, 1);
    forked.write(650, 20, 2);
    forked.follow();
    forked.evidence.close();
    lay(&places.log, &files(&forked.places().log));
    fs::copy(forked.places().key, &places.key).unwrap();
    let error = read(home).unwrap_err();
    assert!(matches!(&error, StoreError::DamagedFrom { at: Sequence(101..), .. }), "{error}");
    lay(&places.log, &intact);
    fs::write(&places.key, &key).unwrap();
    assert!(read(home).unwrap() == records);
}

fn set_mode(places: &Places) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&places.key, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_log_that_has_not_all_of_it_is_not_enough() {
    let (world, _) = trimmed();
    let (home, places) = (world.home.path(), world.places());
    let mut short = World::in_segments();
    short.write(101, 20, 1);
    short.follow();
    short.evidence.close();
    fs::remove_dir_all(store(home)).unwrap();
    lay(&places.log, &files(&short.places().log));
    fs::copy(short.places().key, &places.key).unwrap();
    let error = read(home).unwrap_err();
    assert!(matches!(&error, StoreError::DamagedFrom { at: Sequence(102), .. }), "{error}");
    fs::remove_dir_all(&places.log).unwrap();
    fs::remove_file(&places.key).unwrap();
    let error = read(home).unwrap_err();
    assert!(matches!(&error, StoreError::DamagedFrom { at: Sequence(1), .. }), "without a log: {error}");
}

#[test]
fn a_tail_that_is_lost_is_named_and_a_repair_takes_store_and_log() {
    let (world, records) = trimmed();
    let (home, places) = (world.home.path(), world.places());
    let journal = home.join("journal");
    fs::remove_dir_all(journal.join("tail")).unwrap();
    let error = read(home).unwrap_err().to_string();
    assert!(error.contains("records up to 700; the tile log has those up to 650"), "{error}");
    let past: &dyn journal::Past = &places;
    let others = Others { past: Some(past), backup: None };
    let done = repair(&journal, others, "tail", false).unwrap();
    assert_eq!((done.from_tail, done.from_store, done.head.sequence), (0, 700, Sequence(700)));
    assert!(read(home).unwrap() == records);

    // Both: what was not signed is in no copy, and that is said.
    fs::remove_dir_all(journal.join("tail")).unwrap();
    fs::remove_dir_all(store(home)).unwrap();
    fs::create_dir(journal.join("tail")).unwrap();
    let lost = repair(&journal, others, "both", false).unwrap_err();
    assert!(matches!(lost, RepairError::Lost { from: Sequence(651), to: Sequence(700) }), "{lost}");
}

/// An older journal in the place of the one that was signed.
#[test]
fn a_journal_that_ends_before_what_was_signed_is_made_whole_from_the_log() {
    let mut world = World::in_segments();
    world.write(300, 20, 1);
    world.journal.close();
    let journal = world.home.path().join("journal");
    let early = world.home.path().join("early");
    copied(&journal, &early);
    world.journal.open().unwrap();
    world.write(600, 20, 1);
    world.follow();
    world.evidence.close();
    let records = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    world.journal.close();
    copied(&early, &journal);
    let (home, places) = (world.home.path(), world.places());
    let looked = examine(&journal, Some(&places)).unwrap();
    assert_eq!(looked.first_bad(), Some(Sequence(301)), "{looked:?}");
    assert_eq!(examine(&journal, None).unwrap().findings, [], "by itself it is whole");
    let past: &dyn journal::Past = &places;
    let done = repair(&journal, Others { past: Some(past), backup: None }, "x", false).unwrap();
    assert_eq!((done.head.sequence, done.from_log), (Sequence(600), 300));
    assert!(read(home).unwrap() == records);
}

#[test]
fn what_is_kept_is_given_from_any_record_on() {
    let mut world = World::new();
    assert_eq!(world.places().open().unwrap().last(), Sequence(0));
    for size in [1, 255, 256, 257, 511, 700] {
        world.write(size, 10, 1);
        world.follow();
        let mut kept = world.places().open().unwrap();
        assert_eq!(kept.last(), Sequence(size));
        let records = world.journal.raw(Sequence(1), usize::MAX).unwrap();
        for from in [1, 2, size / 2 + 1, size].into_iter().filter(|from| *from <= size) {
            let given = kept.records(Sequence(from)).unwrap();
            let first = usize::try_from(from).unwrap() - 1;
            assert!(!given.is_empty() && records[first..].starts_with(&given), "{size} {from}");
        }
        assert_eq!(kept.records(Sequence(size + 1)).unwrap(), Vec::<Vec<u8>>::new());
    }
}

/// Several appends in groups of their own, so that they fill segments.
fn works(world: &mut World, up_to: u64) {
    let from = world.journal.durable().borrow().0;
    for records in (from + 1..=up_to).filter(|records| records % 7 == 0 || *records == up_to) {
        world.write(records, 30, 1);
    }
}

fn segments(home: &Path) -> Vec<u64> {
    tail::segments(&home.join("journal/tail")).unwrap().into_iter().map(|segment| segment.first.0).collect()
}

#[test]
fn the_tail_forgets_what_is_signed_and_stored_but_for_its_last_two_segments() {
    let mut world = World::in_segments();
    works(&mut world, 300);
    let home = world.home.path().to_owned();
    let before = segments(&home);
    assert!(8 < before.len() && before[0] == 1);
    world.journal.release(Sequence(0)).unwrap();
    assert_eq!(segments(&home), before, "nothing is signed");
    world.follow();
    assert_eq!(segments(&home), before[before.len() - 2..]);
    works(&mut world, 400);
    world.journal.release(Sequence(300)).unwrap();
    let grown = segments(&home);
    assert!(grown[0] <= 301 && 301 < grown[1] && 3 < grown.len(), "what is not signed stays: {grown:?}");
    let records = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    world.evidence.close();
    world.journal.close();
    assert!(matches!(world.journal.release(Sequence(400)), Err(StoreError::Closed)));
    assert!(read(&home).unwrap() == records);
    assert_eq!(segments(&home), grown);
    fs::remove_dir_all(store(&home)).unwrap();
    assert!(read(&home).unwrap() == records);
}

#[test]
fn a_journal_without_a_log_forgets_nothing() {
    let mut world = World::alone_in_segments();
    works(&mut world, 300);
    world.follow();
    assert_eq!(segments(world.home.path())[0], 1);
}

#[test]
fn nothing_is_cut_off_that_the_log_has_not_as_it_was() {
    let mut world = World::alone_in_segments();
    works(&mut world, 600);
    world.follow();
    world.evidence.close();
    world.journal.close();
    let (home, log) = (world.home.path(), world.places().log);
    let (before, intact) = (segments(home), files(&log));
    let release = || {
        let journal = in_segments(home);
        journal.open().unwrap();
        journal.release(Sequence(600)).unwrap();
        assert_eq!(journal.failure(), None, "the journal itself is well");
        journal.close();
    };
    for damaged in ["tile/entries/002.p/88", "tile/1/000.p/2"] {
        let path = log.join(damaged);
        let mut bytes = fs::read(&path).unwrap();
        bytes[40] ^= 1;
        fs::write(&path, bytes).unwrap();
        release();
        assert_eq!(segments(home), before, "{damaged}");
        lay(&log, &intact);
    }
    release();
    assert_eq!(segments(home), before[before.len() - 2..]);
}

/// Every state that a kill can leave between two steps: signed, compared, synced, and each segment removed.
#[test]
fn whenever_it_is_killed_while_the_tail_is_cut_nothing_is_lost() {
    let mut world = World::alone_in_segments();
    let home = world.home.path().to_owned();
    works(&mut world, 40);
    let early = home.join("early");
    copied(&store(&home), &early);
    works(&mut world, 280);
    world.follow();
    // What fjall had when it was synced; what came later a loss of power may take from it.
    let synced = home.join("synced");
    copied(&store(&home), &synced);
    works(&mut world, 300);
    let records = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    world.evidence.close();
    let killed = tempfile::TempDir::new().unwrap();
    let image = killed.path().join("image");
    fs::create_dir(&image).unwrap();
    for part in ["journal", "evidence", "keys"] {
        copied(&home.join(part), &image.join(part));
    }
    let found = segments(&image);
    let goes = found.windows(2).filter(|pair| pair[1] <= 281).count().min(found.len() - 2);
    assert!(5 < goes && goes < found.len() - 1, "{found:?}");
    for removed in 0..=goes {
        for (row, stored) in [("as it is", None), ("as it was synced", Some(&synced)), ("older", Some(&early))] {
            let left = killed.path().join("left");
            copied(&image, &left);
            for segment in &found[..removed] {
                fs::remove_file(left.join(format!("journal/tail/{segment:020}.seg"))).unwrap();
            }
            if let Some(stored) = stored {
                copied(stored, &store(&left));
            }
            let row = format!("{removed} removed, the store {row}");
            assert!(read(&left).unwrap_or_else(|error| panic!("{row}: {error}")) == records, "{row}");
            let journal = in_segments(&left);
            journal.open().unwrap();
            let places = crate::world::places(&left);
            let evidence = evidence::Evidence::new(&journal, places, evidence::Limits::default());
            evidence.open().unwrap();
            while evidence.follow().unwrap() {}
            assert_eq!(evidence.verify(evidence::verify::Depth::All).unwrap().entries, 300, "{row}");
            assert!(segments(&left).len() <= 3, "{row}: what was begun is ended");
            journal.close();
        }
    }
}
