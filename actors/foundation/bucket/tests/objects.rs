//! Backups in an object store: another project's server on this machine, whole and failing.

#[path = "../../evidence/tests/files/world.rs"]
#[expect(dead_code, reason = "the tests of the log itself need more of it")]
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::time::Duration;

use bucket::{Bucket, Credentials};
use config::{Address, Named, S3};
use journal::{Journal, Limits};
use kernel::Sequence;
use store::{Fault, ID, SECRET, Store, below};
use tempfile::TempDir;
use vault::{Directory, Made, Making, Target, Upto, VaultError, find, log_name, make, points, prune, restore, verify};
use world::{World, files};

/// Enough for a machine that is busy with other tests.
const LONG: Duration = Duration::from_mins(1);

fn how(store: &Store) -> S3 {
    S3 {
        endpoint: Some(store.endpoint()),
        region: "us-east-1".to_owned(),
        allow_http: true,
        ca: None,
        credentials: None,
        timeout: LONG,
        attempts: 3,
    }
}

fn at(place: &str, how: &S3) -> Bucket {
    Bucket::new(&Address::parse(place).unwrap(), how, Credentials::new(ID, SECRET, None)).unwrap()
}

fn reach(store: &Store, place: &str) -> Bucket {
    at(place, &how(store))
}

/// Below a prefix, as others may use the bucket.
fn target(store: &Store) -> Bucket {
    reach(store, "s3://backups/sop/eu")
}

fn asked(world: &World, backup: u64) -> Making {
    let (sop, created_at) = ("0.1.0".to_owned(), "2026-11-20T12:00:00.000Z".to_owned());
    Making { backup, last: world.journal.head().unwrap(), sop, created_at, all: false }
}

fn try_to(world: &World, target: &dyn Target, asked: &Making) -> Result<Made, VaultError> {
    world.follow();
    let key = world.evidence.public().unwrap();
    let (_, note) = world.evidence.checkpoint().unwrap();
    let source = Directory::new(&world.places().log);
    let source = vault::Source { files: &source, older: None };
    make(source, target, (&key, &note), asked, &|_, _| None, &mut || Ok(()))
}

fn made(world: &World, target: &dyn Target, backup: u64) -> Made {
    try_to(world, target, &asked(world, backup)).unwrap()
}

fn checked(target: &dyn Target, made: &Made) -> Result<(), VaultError> {
    let checked = verify(target, &made.name, &mut || Ok(()), &mut |_| Ok(()))?;
    assert_eq!((&checked.point, checked.manifest), (&made.point, made.manifest));
    Ok(())
}

fn records(path: &Path) -> Vec<Vec<u8>> {
    let journal = Journal::new(path, Limits::default());
    journal.open().unwrap();
    let found = journal.raw(Sequence(1), usize::MAX).unwrap();
    journal.close();
    found
}

fn restored(target: &dyn Target, name: &str) -> Vec<Vec<u8>> {
    let home = TempDir::new().unwrap();
    let path = home.path().join("journal");
    restore(target, name, Upto::Backup, &path, &mut || Ok(())).unwrap();
    records(&path)
}

#[test]
fn it_is_a_place_like_a_directory() {
    let (store, home) = (Store::new(), TempDir::new().unwrap());
    let whole = reach(&store, "s3://backups");
    let (bucket, directory) = (target(&store), Directory::new(home.path()));
    assert_eq!(bucket.place(), "s3://backups/sop/eu");
    let bytes = |number: u8| vec![number; 300_000];
    for place in [&bucket as &dyn Target, &directory] {
        assert_eq!((place.names("").unwrap(), place.get("a/b").unwrap()), (vec![], None));
        assert!(place.put_new("a/b", &bytes(1)).unwrap());
        assert!(!place.put_new("a/b", &bytes(2)).unwrap(), "the first one stays");
        assert_eq!(place.get("a/b").unwrap(), Some(bytes(1)));
        place.put("a/b", &bytes(3)).unwrap();
        assert_eq!(place.get("a/b").unwrap(), Some(bytes(3)));
        place.put("a/c.p/7", b"").unwrap();
        place.put("d", b"d").unwrap();
        place.sync().unwrap();
        assert_eq!(place.get("a/c.p/7").unwrap(), Some(vec![]));
        assert_eq!(place.get("a/c.p/8").unwrap(), None);
        let names = |folder: &str| place.names(folder).unwrap();
        assert_eq!(
            (names(""), names("a"), names("a/c.p")),
            (vec!["a".to_owned(), "d".to_owned()], vec!["b".to_owned(), "c.p".to_owned()], vec!["7".to_owned()])
        );
        place.remove("a/c.p/7").unwrap();
        place.remove("a/c.p/7").unwrap();
        assert_eq!(place.get("a/c.p/7").unwrap(), None);
        assert_eq!(names("nothing"), [""; 0]);
    }
    assert_eq!(whole.names("sop").unwrap(), ["eu"], "others see it where it is");
    assert!(store.path("sop/eu/a/b").is_file());
}

#[test]
fn each_backup_adds_what_is_new_and_is_restored_as_it_was() {
    let (mut world, store) = (World::new(), Store::new());
    let target = target(&store);
    let mut all = Vec::new();
    for (backup, size) in (1..).zip([3, 600, 601]) {
        world.write(size, if size == 601 { 40_000 } else { 30 }, 7);
        store.judged(|_, _, _| None);
        let made = made(&world, &target, backup);
        let puts = store.well().iter().filter(|seen| seen.starts_with("PUT")).count();
        assert!(size != 601 || puts < 9, "{puts} objects are new");
        all.push(made);
    }
    let written = world.journal.raw(Sequence(1), usize::MAX).unwrap();
    for made in &all {
        checked(&target, made).unwrap();
        let last = usize::try_from(made.point.last).unwrap();
        assert_eq!(restored(&target, &made.name), written[..last]);
    }
    // The same files as in a directory: a stranger verifies them in the same way.
    let key = world.evidence.public().unwrap();
    let home = TempDir::new().unwrap();
    let last = all[2].point.last();
    try_to(&world, &Directory::new(home.path()), &Making { last, ..asked(&world, 3) }).unwrap();
    for (name, bytes) in files(&home.path().join(log_name(&key))) {
        if name.starts_with("tile") || name.starts_with("blobs") {
            let there = target.get(&format!("{}/{}", log_name(&key), name.display())).unwrap();
            assert!(there == Some(bytes), "{}", name.display());
        }
    }
    // By whatever it is called.
    let log = log_name(&key);
    for (text, number) in [
        ("s3://backups/sop/eu".to_owned(), 3),
        (format!("s3://backups/sop/eu/{log}"), 3),
        (format!("s3://backups/sop/eu/{log}/backups/backup-2"), 2),
    ] {
        let named = Named::parse(&text).unwrap();
        let place = Box::new(reach(&store, &named.place.to_string()));
        let found = find(place, named.log.as_deref(), named.backup).unwrap();
        assert_eq!(found.point().unwrap().backup, number, "{text}");
    }
    let none = find(Box::new(reach(&store, "s3://backups/other")), None, None);
    assert!(none.is_err_and(|error| error.code() == "archive.none"));
    // One that is let go of takes nothing from the others.
    prune(&target, &all[1].name).unwrap();
    prune(&target, &all[1].name).unwrap();
    assert_eq!(points(&target, &log).unwrap(), [1, 3]);
    checked(&target, &all[0]).unwrap();
    checked(&target, &all[2]).unwrap();
}

#[test]
fn what_was_damaged_or_lost_there_is_found_and_mended() {
    let (mut world, store) = (World::new(), Store::new());
    world.write(300, 40, 7);
    world.write(301, 40_000, 7);
    let target = target(&store);
    let first = made(&world, &target, 1);
    let log = log_name(&world.evidence.public().unwrap());
    let place = store.path("sop/eu").join(&log);
    let names: Vec<_> =
        below(&place).into_iter().filter(|name| name.starts_with("tile") || name.starts_with("blobs")).collect();
    assert!(5 < names.len(), "{names:?}");
    for name in &names {
        let path = place.join(name);
        let good = fs::read(&path).unwrap();
        let mut flipped = good.clone();
        *flipped.last_mut().unwrap() ^= 1;
        for bad in [Some(flipped), Some(good[..good.len() / 2].to_vec()), None] {
            match &bad {
                Some(bad) => fs::write(&path, bad).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let found = checked(&target, &first).unwrap_err();
            assert_eq!(found.code(), "archive.broken", "{name}: {found}");
            assert!(found.to_string().contains("log-"), "{found}");
            fs::write(&path, &good).unwrap();
        }
    }
    for name in &names {
        fs::write(place.join(name), "nothing").unwrap();
    }
    let made = try_to(&world, &target, &Making { all: true, ..asked(&world, 2) }).unwrap();
    assert_eq!(usize::try_from(made.mended).unwrap(), names.len());
    checked(&target, &first).unwrap();
    checked(&target, &made).unwrap();
}

#[test]
fn of_two_who_put_the_same_name_one_does() {
    let store = Store::new();
    for round in 0..8 {
        let (name, start) = (format!("log/{round}"), Barrier::new(4));
        let won: Vec<bool> = std::thread::scope(|scope| {
            let put = |writer: u8| {
                let (name, start, store) = (&name, &start, &store);
                scope.spawn(move || {
                    let target = target(store);
                    start.wait();
                    target.put_new(name, &[writer; 1_000]).unwrap()
                })
            };
            let writers: Vec<_> = (0..4).map(put).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
        let winner = u8::try_from(won.iter().position(|won| *won).unwrap()).unwrap();
        assert_eq!(target(&store).get(&name).unwrap(), Some(vec![winner; 1_000]), "and it is whole");
    }
    // Two who make a backup of one log: there is one of that number, and it is whole.
    let mut world = World::new();
    world.write(300, 30, 7);
    world.follow();
    let start = Barrier::new(2);
    let both: Vec<_> = std::thread::scope(|scope| {
        let make = |sop: &'static str| {
            let (world, store, start) = (&world, &store, &start);
            scope.spawn(move || {
                let (target, asked) = (target(store), Making { sop: sop.to_owned(), ..asked(world, 1) });
                start.wait();
                try_to(world, &target, &asked)
            })
        };
        let makers = [make("one"), make("other")];
        makers.into_iter().map(|maker| maker.join().unwrap()).collect()
    });
    let target = target(&store);
    let good: Vec<_> = both.iter().filter_map(|made| made.as_ref().ok()).collect();
    assert!(!good.is_empty(), "{both:?}");
    for made in good {
        checked(&target, made).unwrap();
    }
    for error in both.iter().filter_map(|made| made.as_ref().err()) {
        assert!(["archive.in_use", "archive.broken"].contains(&error.code()), "{error}");
    }
}

#[test]
fn a_store_that_goes_away_half_way_leaves_no_backup_and_the_next_run_completes_it() {
    let (mut world, mut store) = (World::new(), Store::new());
    world.write(300, 30, 7);
    let first = made(&world, &target(&store), 1);
    world.write(900, 30, 7);
    let log = log_name(&world.evidence.public().unwrap());
    let once = S3 { attempts: 1, ..how(&store) };
    let mut puts_of_last = 0;
    for attempt in 0.. {
        let mut puts = 0;
        // From the n-th put on there is nobody; so it looks to who makes the backup.
        store.judged(move |_, method, _| {
            puts += usize::from(method == "PUT");
            (attempt < puts).then_some(Fault::Closed)
        });
        let hasty = at("s3://backups/sop/eu", &once);
        let made = try_to(&world, &hasty, &asked(&world, 2));
        puts_of_last = store.well().iter().filter(|seen| seen.starts_with("PUT")).count();
        let target = target(&store);
        match made {
            Ok(made) => {
                checked(&target, &made).unwrap();
                break;
            }
            Err(error) => assert_eq!(error.code(), "archive.unreachable", "{error}"),
        }
        assert_eq!(points(&target, &log).unwrap(), [1], "there is no backup before there is a whole one");
        checked(&target, &first).unwrap();
        assert!(attempt < 30, "what was put there once is there");
    }
    assert!(0 < puts_of_last, "the last run had something left to do");
    // And truly gone, with its port.
    let before = reach(&store, "s3://backups/sop/eu");
    assert_eq!(points(&before, &log).unwrap(), [1, 2]);
    store.stop();
    let gone = before.get("anything").unwrap_err();
    assert_eq!(gone.code(), "archive.unreachable", "{gone}");
    let again = store.again();
    assert_eq!(points(&before, &log).unwrap(), [1, 2], "the connections are made anew");
    world.write(901, 30, 7);
    let third = made(&world, &before, 3);
    checked(&target(&again), &third).unwrap();
}

#[test]
fn each_failure_has_its_code() {
    let store = Store::new();
    let good = target(&store);
    good.put("there", &[7; 4_000]).unwrap();
    let short = S3 { timeout: Duration::from_millis(300), attempts: 2, ..how(&store) };
    for (fault, put, get, requests) in [
        (Fault::Status(500, "InternalError"), "archive.failing", "archive.failing", 2),
        (Fault::Status(503, "SlowDown"), "archive.failing", "archive.failing", 2),
        (Fault::Status(403, "AccessDenied"), "archive.denied", "archive.denied", 1),
        (Fault::Status(400, "BadDigest"), "archive.altered", "archive.altered", 1),
        (Fault::Status(404, "NoSuchBucket"), "archive.no_bucket", "archive.no_bucket", 1),
        (Fault::Silent, "archive.slow", "archive.slow", 2),
        (Fault::Closed, "archive.unreachable", "archive.unreachable", 2),
        (Fault::Truncated, "", "archive.truncated", 2),
    ] {
        let target = at("s3://backups/sop/eu", &short);
        store.judged(move |_, _, _| Some(fault));
        let got = target.get("there").unwrap_err();
        let asked = store.well();
        assert_eq!((got.code(), asked.len()), (get, requests), "{fault:?}: {got}");
        if !put.is_empty() {
            store.judged(move |_, _, _| Some(fault));
            let error = target.put("there", b"new").unwrap_err();
            assert_eq!(error.code(), put, "{fault:?}: {error}");
            let error = target.put_new("new", b"new").unwrap_err();
            assert_eq!(error.code(), put, "{fault:?}: {error}");
            let error = target.names("").unwrap_err();
            assert_eq!(error.code(), get, "{fault:?}: {error}");
            let error = target.remove("there").unwrap_err();
            assert_eq!(error.code(), put, "{fault:?}: {error}");
            store.well();
        }
        assert_eq!(good.get("there").unwrap(), Some(vec![7; 4_000]), "{fault:?}: nothing was changed");
    }
    // What passes is not noticed.
    for fault in [Fault::Status(500, "InternalError"), Fault::Status(503, "SlowDown"), Fault::Truncated, Fault::Closed]
    {
        store.judged(move |number, _, _| (number == 0).then_some(fault));
        assert_eq!(good.get("there").unwrap(), Some(vec![7; 4_000]), "{fault:?}");
    }
    for (name, id, secret, code) in [
        ("another id", "nobody", SECRET, "archive.credentials"),
        ("another secret", ID, "nothing-secret", "archive.credentials"),
    ] {
        let address = Address::parse("s3://backups").unwrap();
        let wrong = Bucket::new(&address, &how(&store), Credentials::new(id, secret, None)).unwrap();
        for error in [wrong.get("there").unwrap_err(), wrong.names("").unwrap_err(), wrong.put("a", b"").unwrap_err()] {
            assert_eq!(error.code(), code, "{name}: {error}");
            assert!(!error.to_string().contains(secret), "{error}");
        }
    }
    let none = reach(&store, "s3://not-there");
    // Of one object this server does not say it, and makes the bucket for what is put; for that there is a row above.
    assert_eq!(none.names("").unwrap_err().code(), "archive.no_bucket");
    let nobody = at("s3://backups", &S3 { endpoint: Some("http://127.0.0.1:1".to_owned()), ..how(&store) });
    assert_eq!(nobody.get("a").unwrap_err().code(), "archive.unreachable");
    store.judged(|_, _, _| None);
    let plain = at("s3://backups", &S3 { allow_http: false, ..how(&store) });
    assert_eq!(plain.put("a", b"").unwrap_err().code(), "archive.unreachable");
    assert_eq!(store.well(), [""; 0], "without TLS nothing is sent");
}

#[test]
fn a_put_that_was_done_and_not_acknowledged_is_ours() {
    let (mut world, store) = (World::new(), Store::new());
    world.write(40, 30, 7);
    let target = target(&store);
    // Of every object the first attempt is done, and answered with an error.
    let mut seen = BTreeSet::new();
    store.judged(move |_, method, path| {
        (method == "PUT" && seen.insert(path.to_owned())).then_some(Fault::DoneBut(500))
    });
    let made = made(&world, &target, 1);
    store.well();
    checked(&target, &made).unwrap();
}

#[test]
fn a_folder_of_many_is_listed_whole() {
    let store = Store::new();
    let folder = store.path("sop/eu/log/backups");
    fs::create_dir_all(&folder).unwrap();
    for number in 1..=1_150 {
        fs::write(folder.join(format!("backup-{number}")), "x").unwrap();
    }
    let target = target(&store);
    store.judged(|_, _, _| None);
    assert_eq!(points(&target, "log").unwrap(), (1..=1_150).collect::<Vec<_>>());
    assert!(2 <= store.well().len(), "it takes more than one answer");
    assert_eq!(target.names("log").unwrap(), ["backups"]);
}

#[test]
fn under_tls_a_server_is_believed_that_is_vouched_for() {
    let store = Store::under_tls();
    let secured = S3 { allow_http: false, ca: Some(store.certificate()), attempts: 1, ..how(&store) };
    let target = at("s3://backups", &secured);
    target.put("a", b"secured").unwrap();
    assert_eq!(target.get("a").unwrap(), Some(b"secured".to_vec()));
    store.judged(|_, _, _| None);
    let unknown = at("s3://backups", &S3 { ca: Some(other_certificate(&store)), ..secured.clone() });
    let error = unknown.get("a").unwrap_err();
    assert_eq!(error.code(), "archive.unreachable");
    assert!(error.to_string().contains("certificate"), "{error}");
    assert_eq!(store.well(), [""; 0], "nothing was asked of it");
    for ca in [store.path("a"), store.path("none")] {
        let address = Address::parse("s3://backups").unwrap();
        let error = Bucket::new(&address, &S3 { ca: Some(ca), ..secured.clone() }, Credentials::new(ID, SECRET, None));
        assert!(error.is_err_and(|error| error.code() == "archive.unusable"));
    }
}

/// That of another server.
fn other_certificate(store: &Store) -> PathBuf {
    let path = store.credentials("other.pem");
    fs::copy(Store::under_tls().certificate(), &path).unwrap();
    path
}
