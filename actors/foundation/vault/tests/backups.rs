//! Backups in a directory: added to, damaged, interrupted, contested, and restored.

#[path = "../../evidence/tests/files/world.rs"]
#[expect(dead_code, reason = "the tests of the log itself need more of it")]
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;

use evidence::BesideKey;
use evidence::checkpoint::Checkpoint;
use evidence::note::{Key, PublicKey};
use evidence::tree::empty;
use journal::codec::Body;
use journal::envelope::Answer;
use journal::store::{Head, StoreError};
use journal::{Append, Entry, Journal, Limits};
use kernel::{CommandId, Decision, Digest, Kind, Position, Principal, Sequence, Timestamp};
use tempfile::TempDir;
use vault::{
    Directory, Made, Making, Older, Source, Target, Upto, VaultError, locate, log_name, make, points, prune, restore,
    verify,
};
use world::{World, files, journal, lay};

const NOTED: Kind = Kind { id: 900, version: 1, name: "noted" };

/// Another world, whose log has the same key.
fn with_key(key: &Path) -> World {
    let home = TempDir::new().unwrap();
    let places = world::places(home.path());
    let text = fs::read_to_string(key).unwrap();
    let key = Key::parse(text.trim_end()).unwrap();
    let nothing = Checkpoint { origin: key.public().name().to_owned(), size: 0, root: empty() };
    for path in [&places.log, places.key.parent().unwrap()] {
        fs::create_dir_all(path).unwrap();
    }
    fs::write(places.log.join("checkpoint"), key.sign(&nothing.to_string())).unwrap();
    fs::write(&places.key, text).unwrap();
    fs::set_permissions(&places.key, fs::Permissions::from_mode(0o600)).unwrap();
    World::at(home, evidence::Limits::default())
}

/// Writes a command of so many records.
fn write_at_once(world: &mut World, records: u64) {
    let (tell, told) = channel();
    world.journal.queue(Entry::Append(Box::new(Append {
        stream: "notes",
        epoch: world.epoch,
        expected: Position(world.written),
        time: Timestamp(1_000 + world.written),
        principal: Principal::internal("test"),
        decision: Decision::default(),
        command_id: CommandId(u128::from(world.written)),
        command_digest: Digest::default(),
        cause: None,
        asked: None,
        answer: Answer::Reply(vec![b'1'; 2]),
        bodies: (0..records).map(|_| Body { kind: NOTED, bytes: vec![7; 3] }).collect(),
        then: Box::new(move |answer| tell.send(answer).unwrap()),
    })));
    told.recv().unwrap().unwrap();
    world.written += records;
    world.write(world.written, 0, 0);
}

fn asked(world: &World, backup: u64) -> Making {
    let (sop, created_at) = ("0.1.0".to_owned(), "2026-11-20T12:00:00.000Z".to_owned());
    Making { backup, last: world.journal.head().unwrap(), sop, created_at, all: false }
}

/// A backup of everything that is there.
fn try_to(world: &World, target: &dyn Target, asked: &Making) -> Result<Made, VaultError> {
    world.follow();
    let key = world.evidence.public().unwrap();
    let (_, note) = world.evidence.checkpoint().unwrap();
    let files = Directory::new(&world.places().log);
    let minimum = world.evidence.minimum().unwrap().map(|minimum| minimum.index);
    let older = minimum.map(|minimum| Older { journal: &world.journal, minimum });
    let source = Source { files: &files, older };
    make(source, target, (&key, &note), asked, &|_, _| None, &mut || Ok(()))
}

fn made(world: &World, target: &dyn Target, backup: u64) -> Made {
    try_to(world, target, &asked(world, backup)).unwrap()
}

fn is_whole(target: &dyn Target, made: &Made) {
    let checked = verify(target, &made.name, &mut || Ok(()), &mut |_| Ok(())).unwrap();
    assert_eq!((&checked.point, checked.manifest), (&made.point, made.manifest));
}

fn records(path: &Path) -> (Vec<Vec<u8>>, Head) {
    let journal = Journal::new(path, Limits::default());
    journal.open().unwrap();
    let found = (journal.raw(Sequence(1), usize::MAX).unwrap(), journal.head().unwrap());
    journal.close();
    found
}

fn restored(target: &dyn Target, name: &str, upto: Upto) -> Result<(Vec<Vec<u8>>, Head), VaultError> {
    let home = TempDir::new().unwrap();
    let path = home.path().join("journal");
    let restored = restore(target, name, upto, &path, &mut || Ok(()));
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let restored = restored.inspect_err(|_| assert!(left.is_empty(), "{left:?} is left"))?;
    let found = records(&path);
    assert_eq!(found.1, restored.head);
    Ok(found)
}

#[test]
fn each_backup_adds_what_is_new_and_has_everything() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    let mut all = Vec::new();
    for (backup, size) in (1..).zip([1, 2, 255, 256, 257, 700, 701, 1_400]) {
        world.write(size, if size == 2 { 40_000 } else { 30 }, 7);
        let made = made(&world, &target, backup);
        assert_eq!((made.point.last, made.mended), (size, 0));
        let fresh = TempDir::new().unwrap();
        let alone = self::made(&world, &Directory::new(fresh.path()), backup);
        assert_eq!((alone.point.bytes, alone.point.full_bytes), (made.point.bytes, made.point.full_bytes), "{size}");
        assert!(size < 257 || made.point.copied < alone.point.copied, "{size}: {} is all of it", made.point.copied);
        all.push((made, world.journal.head().unwrap()));
    }
    let written = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    for (made, head) in &all {
        is_whole(&target, made);
        let (records, end) = restored(&target, &made.name, Upto::Backup).unwrap();
        assert_eq!((end, &records[..]), (*head, &written[..records.len()]));
    }
    // What was signed is there as the log itself has it.
    let (log, key) = (world.places().log, world.evidence.public().unwrap());
    let there = files(&place.path().join(log_name(&key)));
    for (name, bytes) in files(&log) {
        let partial = name.to_string_lossy().contains(".p/");
        assert!(partial || there.get(&name) == Some(&bytes), "{}", name.display());
    }
}

#[test]
fn an_unchanged_log_costs_next_to_nothing() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Counting::over(Directory::new(place.path()), usize::MAX);
    world.write(20 * 256 + 40, 30, 7);
    let first = made(&world, &target, 1);
    let (puts, gets) = target.taken();
    assert!(40 < puts && 40 < gets, "{puts} {gets}");
    // As a day later: the record of having asked, and no other.
    world.write(20 * 256 + 41, 30, 7);
    let second = made(&world, &target, 2);
    let (puts, gets) = target.taken();
    assert!(puts < 8 && gets < 30, "{puts} files were written, and {gets} read");
    assert!(second.point.copied < first.point.copied / 50, "{} bytes", second.point.copied);
}

#[test]
fn every_file_is_accounted_for_and_can_be_mended() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    world.write(300, 40, 7);
    world.write(301, 40_000, 7);
    let target = Directory::new(place.path());
    let first = made(&world, &target, 1);
    world.write(520, 40, 7);
    let second = made(&world, &target, 2);
    let log = place.path().join(log_name(&world.evidence.public().unwrap()));
    let good = files(&log);
    let (mut noticed, mut passed) = (0, Vec::new());
    for (name, bytes) in &good {
        let flipped = |place: usize| bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at == place)).collect();
        for changed in [Some(flipped(0)), Some(flipped(bytes.len() - 1)), Some(bytes[1..].to_vec()), Some(vec![]), None]
        {
            let mut bad: BTreeMap<_, _> = good.clone();
            match changed {
                Some(changed) => drop(bad.insert(name.clone(), changed)),
                None => drop(bad.remove(name)),
            }
            lay(&log, &bad);
            let found = [&first, &second].map(|made| verify(&target, &made.name, &mut || Ok(()), &mut |_| Ok(())));
            let broken = found.iter().filter(|found| found.is_err()).count();
            noticed += usize::from(broken != 0);
            if broken == 0 {
                passed.push(name.to_string_lossy().into_owned());
            } else if !name.starts_with("backups") {
                let all = Making { all: true, ..asked(&world, 3) };
                let made = try_to(&world, &target, &all).unwrap();
                for made in [&first, &second, &made] {
                    is_whole(&target, made);
                }
            }
        }
        for (made, found) in [&first, &second].into_iter().zip([1, 2]) {
            lay(&log, &good);
            assert_eq!(made.point.backup, found);
            is_whole(&target, made);
        }
    }
    passed.dedup();
    let told_elsewhere = |name: &str| ["key", "checkpoint"].contains(&name);
    // Both say what the points say, too; and a partial tile is the beginning of a full one, once there is that.
    passed.retain(|name| !told_elsewhere(name) && !name.contains(".p/44") && !name.contains(".p/45"));
    assert!(40 < noticed && passed.is_empty(), "{noticed} changes were noticed, but not those of {passed:?}");
}

/// A place that gives up after so many files, as a disk that is full or a process that is killed.
struct Counting {
    inner: Directory,
    puts: AtomicUsize,
    gets: AtomicUsize,
    most: usize,
}

impl Counting {
    fn over(inner: Directory, most: usize) -> Self {
        Self { inner, puts: AtomicUsize::new(0), gets: AtomicUsize::new(0), most }
    }

    fn taken(&self) -> (usize, usize) {
        (self.puts.swap(0, Ordering::Relaxed), self.gets.swap(0, Ordering::Relaxed))
    }

    fn put(&self, name: &str) -> Result<(), VaultError> {
        if self.most <= self.puts.fetch_add(1, Ordering::Relaxed) {
            return Err(VaultError::Io { place: name.to_owned(), why: "no space left on device".to_owned() });
        }
        Ok(())
    }
}

impl Target for Counting {
    fn place(&self) -> String {
        self.inner.place()
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, VaultError> {
        self.inner.names(folder)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        Self::put(self, name).and_then(|()| self.inner.put(name, bytes))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, VaultError> {
        Self::put(self, name).and_then(|()| self.inner.put_new(name, bytes))
    }

    fn remove(&self, name: &str) -> Result<(), VaultError> {
        self.inner.remove(name)
    }

    fn sync(&self) -> Result<(), VaultError> {
        self.inner.sync()
    }

    fn hold(&self, folder: &str) -> Result<Option<Box<dyn Send>>, VaultError> {
        self.inner.hold(folder)
    }
}

#[test]
fn what_ends_half_way_leaves_no_backup_and_the_next_run_completes_it() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let directory = || Directory::new(place.path());
    world.write(300, 30, 7);
    let first = made(&world, &directory(), 1);
    world.write(600, 30, 7);
    world.write(601, 40_000, 7);
    let mut attempts = 0;
    let made = loop {
        // Another file each time: the world goes on while the disk is full.
        let target = Counting::over(directory(), attempts);
        match try_to(&world, &target, &asked(&world, 2)) {
            Ok(made) => break made,
            Err(error) => assert_eq!(error.code(), "archive.io"),
        }
        let log = log_name(&world.evidence.public().unwrap());
        assert_eq!(points(&directory(), &log).unwrap(), [1], "there is no backup before there is a whole one");
        is_whole(&directory(), &first);
        world.write(601 + attempts as u64, 30, 7);
        attempts += 1;
    };
    assert!(2 < attempts && attempts < 16, "what was put there once is there: {attempts}");
    is_whole(&directory(), &made);
    is_whole(&directory(), &first);

    // Reported to nobody, as the process died then; and what half a file looks like after the power went.
    assert_eq!(try_to(&world, &directory(), &asked(&world, 2)).unwrap(), Made { mended: 0, ..made.clone() });
    let after = world.journal.head().unwrap().sequence.0;
    world.write(after + 256, 30, 7);
    let log = place.path().join(log_name(&world.evidence.public().unwrap()));
    fs::write(log.join("tile/entries/002"), [0; 100]).unwrap();
    is_whole(&directory(), &self::made(&world, &directory(), 3));
    is_whole(&directory(), &made);
    let stopped = make(
        Source { files: &Directory::new(&world.places().log), older: None },
        &directory(),
        (&world.evidence.public().unwrap(), &world.evidence.checkpoint().unwrap().1),
        &asked(&world, 4),
        &|_, _| None,
        &mut || Err("its worker ended".to_owned()),
    );
    assert!(stopped.is_err_and(|error| error.code() == "archive.stopped"));
}

#[test]
fn a_log_goes_on_as_it_began_and_others_lie_beside_it() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    world.write(300, 30, 7);
    let first = made(&world, &target, 1);
    let early = (TempDir::new().unwrap(), files(&world.places().log));
    let mut other = World::new();
    other.write(300, 30, 7);
    let others = made(&other, &target, 1);
    assert_ne!(first.name, others.name, "another key, another log");
    is_whole(&target, &first);
    is_whole(&target, &others);
    assert!(locate(place.path(), None).is_err_and(|error| error.code() == "archive.several"));

    // The data directory is put back as it was before the last backup: it is older than that.
    world.write(400, 30, 7);
    let second = made(&world, &target, 2);
    let note = String::from_utf8(early.1[Path::new("checkpoint")].clone()).unwrap();
    lay(early.0.path(), &early.1);
    let (source, key) = (Directory::new(early.0.path()), world.evidence.public().unwrap());
    let again = |source: &Directory, note: &str| {
        let source = Source { files: source, older: None };
        make(source, &target, (&key, note), &asked(&world, 3), &|_, _| None, &mut || Ok(())).unwrap_err().code()
    };
    assert_eq!(again(&source, &note), "archive.ahead");
    // And it went on from there, with other records.
    let mut fork = with_key(&world.places().key);
    for size in [301, 450] {
        fork.write(size, 31, 8);
        fork.follow();
        let note = fork.evidence.checkpoint().unwrap().1;
        assert_eq!(again(&Directory::new(&fork.places().log), &note), "archive.forked", "{size}");
    }
    is_whole(&target, &second);
    is_whole(&target, &others);
}

#[test]
fn one_writes_to_a_log_at_a_time() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    world.write(2, 30, 7);
    let key: PublicKey = world.evidence.public().unwrap();
    let held = Directory::new(place.path()).hold(&log_name(&key)).unwrap();
    let error = try_to(&world, &target, &asked(&world, 1)).unwrap_err();
    assert_eq!(error.code(), "archive.in_use", "{error}");
    drop(held);
    made(&world, &target, 1);
}

#[test]
fn a_log_that_is_not_what_was_signed_makes_no_backup() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    world.write(300, 30, 7);
    world.follow();
    let bundle = world.places().log.join("tile/entries/000");
    let mut bytes = fs::read(&bundle).unwrap();
    bytes[900] ^= 1;
    fs::write(&bundle, bytes).unwrap();
    let error = try_to(&world, &Directory::new(place.path()), &asked(&world, 1)).unwrap_err();
    assert_eq!(error.code(), "archive.source", "{error}");
    assert!(locate(place.path(), None).is_err_and(|error| error.code() == "archive.none"));
}

#[test]
fn a_restore_ends_where_it_is_told_to() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    world.write(300, 30, 7);
    let last = world.journal.head().unwrap();
    world.write(310, 30, 7);
    let made = try_to(&world, &target, &Making { last, ..asked(&world, 1) }).unwrap();
    // Record n was written at 1,000 and n - 1.
    for (upto, size) in [
        (Upto::Backup, 300),
        (Upto::Signed, 310),
        (Upto::Size(1), 1),
        (Upto::Size(256), 256),
        (Upto::Size(310), 310),
        (Upto::Time(Timestamp(1_000)), 1),
        (Upto::Time(Timestamp(1_100)), 101),
        (Upto::Time(Timestamp(u64::MAX)), 310),
    ] {
        let (records, head) = restored(&target, &made.name, upto).unwrap();
        assert_eq!((records.len(), head.sequence.0), (size, size as u64), "{upto:?}");
    }
    for upto in [Upto::Size(0), Upto::Size(311), Upto::Time(Timestamp(0))] {
        let error = restored(&target, &made.name, upto).unwrap_err();
        assert_eq!(error.code(), "archive.beyond", "{upto:?}: {error}");
    }
    let home = TempDir::new().unwrap();
    drop(journal(&home.path().join("journal")));
    let over = restore(&target, &made.name, Upto::Backup, &home.path().join("journal"), &mut || Ok(()));
    assert!(matches!(over, Err(VaultError::Journal(StoreError::Occupied { .. }))));

    // The log again, as it was signed.
    let log = home.path().join("evidence");
    vault::log_into(&target, &made.name, &log, &mut || Ok(())).unwrap();
    let there = files(&world.places().log);
    for (name, bytes) in files(&log) {
        assert_eq!(there.get(&name), Some(&bytes), "{}", name.display());
    }
}

#[test]
fn nothing_ends_within_a_command() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    world.write(3, 30, 7);
    write_at_once(&mut world, 4);
    let made = made(&world, &target, 1);
    for (asked, size) in [(3, 3), (4, 3), (6, 3), (7, 7)] {
        let (records, _) = restored(&target, &made.name, Upto::Size(asked)).unwrap();
        assert_eq!(records.len(), size, "{asked} were asked for");
    }
}

#[test]
fn a_backup_is_found_by_what_it_is_called() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    for backup in 1..=2 {
        world.write(10 * backup, 30, 7);
        made(&world, &target, backup);
    }
    let log = place.path().join(log_name(&world.evidence.public().unwrap()));
    for (path, backup, found) in [
        (place.path().to_owned(), None, Some(2)),
        (place.path().to_owned(), Some(1), Some(1)),
        (place.path().to_owned(), Some(3), None),
        (log.clone(), None, Some(2)),
        (log.join("backups/backup-1"), None, Some(1)),
        (log.join("backups/backup-1"), Some(2), None),
        (log.join("backups/backup-3"), None, None),
        (log.join("checkpoint"), None, None),
        (place.path().join("nowhere"), None, None),
    ] {
        let located = locate(&path, backup).and_then(|found| found.point()).map(|point| point.backup).ok();
        assert_eq!(located, found, "{} {backup:?}", path.display());
    }
}

#[test]
fn what_is_taken_away_takes_nothing_from_others() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    let mut all = Vec::new();
    for (backup, size) in (1..).zip([10, 300, 301, 600]) {
        world.write(size, 30, 7);
        all.push(made(&world, &target, backup));
    }
    let log = place.path().join(log_name(&world.evidence.public().unwrap()));
    let before = files(&log).len();
    for at in [1, 0, 2] {
        let gone = all.remove(if at == 2 { 0 } else { at });
        prune(&target, &gone.name).unwrap();
        prune(&target, &gone.name).unwrap();
        assert!(verify(&target, &gone.name, &mut || Ok(()), &mut |_| Ok(())).is_err());
        for made in &all {
            is_whole(&target, made);
        }
    }
    // What is left is what the last one needs, and no more.
    let fresh = TempDir::new().unwrap();
    try_to(&world, &Directory::new(fresh.path()), &Making { last: all[0].point.last(), ..asked(&world, 4) }).unwrap();
    let (left, alone) = (files(&log), files(&fresh.path().join(log.file_name().unwrap())));
    assert!(left.keys().eq(alone.keys()), "{:?} {:?}", left.keys(), alone.keys());
    assert!(left.len() < before);
    world.write(700, 30, 7);
    is_whole(&target, &made(&world, &target, 5));
    // One that cannot be read costs nothing but itself.
    fs::write(place.path().join(&all[0].name), "none").unwrap();
    prune(&target, &all[0].name).unwrap();
    assert_eq!(points(&target, log.file_name().unwrap().to_str().unwrap()).unwrap(), [5]);
}

/// What has left the log is in every backup: in one that is added to, in one that begins, and in one that is mended.
#[test]
fn a_log_that_lost_its_beginning_is_backed_up_whole() {
    let mut world = World::new();
    world.write(100, 20, 1);
    world.write(101, 40_000, 1);
    world.write(600, 20, 1);
    let home = TempDir::new().unwrap();
    let target = Directory::new(home.path());
    let first = made(&world, &target, 1);
    let record = world.decree(256, "here");
    assert!(world.evidence.prune(256, record, &mut || true).unwrap());
    world.write(700, 20, 1);
    let all = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    let second = made(&world, &target, 2);
    let elsewhere = TempDir::new().unwrap();
    let anew = Directory::new(elsewhere.path());
    let third = made(&world, &anew, 3);
    for (target, made) in [(&target, &first), (&target, &second), (&anew, &third)] {
        is_whole(target, made);
        let (records, head) = restored(target, &made.name, Upto::Backup).unwrap();
        assert!(records == all[..records.len()]);
        assert_eq!(head.sequence.0, made.point.last);
    }
    // Of the same log the same files, whether they were copied or made again.
    let log = log_name(&world.evidence.public().unwrap());
    let (there, again) = (files(&home.path().join(&log)), files(&elsewhere.path().join(&log)));
    let same = |name: &&std::path::PathBuf| name.starts_with("tile/entries") || name.starts_with("blobs");
    for name in again.keys().filter(same) {
        assert!(there[name] == again[name], "{}", name.display());
    }
    // Damaged in the place, and gone from the log: the journal has it.
    let bundle = home.path().join(&log).join("tile/entries/000");
    fs::write(&bundle, b"x").unwrap();
    let blob = again.keys().find(|name| name.starts_with("blobs")).unwrap();
    fs::remove_file(home.path().join(&log).join(blob)).unwrap();
    assert!(verify(&target, &second.name, &mut || Ok(()), &mut |_| Ok(())).is_err());
    let mended = try_to(&world, &target, &Making { all: true, ..asked(&world, 4) }).unwrap();
    assert_eq!(mended.mended, 1);
    is_whole(&target, &mended);
    is_whole(&target, &second);
    // Above the minimum a bundle that is missing is damage of the log, as ever.
    fs::remove_file(world.places().log.join("tile/entries/001")).unwrap();
    let third = TempDir::new().unwrap();
    let refused = try_to(&world, &Directory::new(third.path()), &asked(&world, 5)).unwrap_err();
    assert!(matches!(refused, VaultError::Source { .. }), "{refused}");
}

#[test]
fn what_somebody_signed_is_a_backup_under_its_name() {
    let (mut world, place) = (World::new(), TempDir::new().unwrap());
    let target = Directory::new(place.path());
    world.write(300, 10, 1);
    let signed_by = |gives: &dyn Fn(&str, &str) -> Option<String>, backup: u64| {
        world.follow();
        let (key, (_, note)) = (world.evidence.public().unwrap(), world.evidence.checkpoint().unwrap());
        let (files, asked) = (Directory::new(&world.places().log), asked(&world, backup));
        let source = Source { files: &files, older: None };
        make(source, &target, (&key, &note), &asked, gives, &mut || Ok(())).unwrap()
    };
    let own = |log: &str| BesideKey::new(log, "backup-manifests.1", 0x0401, &[7; 44]);
    let signs = |log: &str, text: &str| Some(own(log).line(blake3::hash(text.as_bytes()).as_bytes()));
    let unsigned = signed_by(&|_, _| None, 1);
    assert_eq!((unsigned.point.format, unsigned.point.note(&unsigned.name)), (2, None));
    // What is no line of such a key is none.
    for (number, line) in (2..).zip(["", "hello", "— sop/x AAAA", "— sop/x/y.1 AAAAAAAA\n— sop/x/y.1 AAAAAAAA"]) {
        assert_eq!(signed_by(&|_, _| Some(line.to_owned()), number).point.format, 2, "{line:?}");
    }
    let (one, two) = (signed_by(&signs, 7), signed_by(&signs, 8));
    let log = world.evidence.public().unwrap().name().to_owned();
    for made in [&one, &two] {
        is_whole(&target, made);
        assert_eq!(made.point.format, 3);
        let text = made.point.manifest(&made.name, &log);
        let line = own(&log).line(blake3::hash(text.as_bytes()).as_bytes());
        assert_eq!(made.point.note(&made.name).unwrap(), format!("{text}\n{line}\n"));
        // Wherever the place for backups is; and under another name it is another text.
        assert_eq!(made.point.manifest(&format!("a/b/{}", made.name), &log), text);
    }
    assert_ne!(one.point.manifest(&one.name, &log), one.point.manifest(&two.name, &log));
    // Asked for again, it is the one that is there.
    assert_eq!(signed_by(&signs, 7).point, one.point);
    // A format that says one thing, and a signature that says another.
    let text = String::from_utf8(fs::read(place.path().join(&one.name)).unwrap()).unwrap();
    let without = text.lines().filter(|line| !line.contains("\"signature\"")).collect::<Vec<_>>().join("\n") + "\n";
    for changed in
        [text.replacen("\"format\": 3", "\"format\": 2", 1), without.replace("\",\n}", "\"\n}"), text.clone() + "\n"]
    {
        assert_ne!(changed, text);
        fs::write(place.path().join(&one.name), changed).unwrap();
        let error = verify(&target, &one.name, &mut || Ok(()), &mut |_| Ok(())).unwrap_err();
        assert_eq!(error.code(), "archive.broken", "{error}");
    }
    let later = text.replacen("\"format\": 3", "\"format\": 4", 1);
    fs::write(place.path().join(&one.name), later).unwrap();
    let error = verify(&target, &one.name, &mut || Ok(()), &mut |_| Ok(())).unwrap_err();
    assert_eq!(error.code(), "archive.format", "{error}");
}
