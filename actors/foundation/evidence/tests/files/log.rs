//! What the log promises of itself: whole whenever the process dies, anchored at every open, and never in the way.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::world::{World, files, journal, lay, places};
use evidence::checkpoint::Checkpoint;
use evidence::note::Key;
use evidence::repair::{Mended, put_aside, repair};
use evidence::tree::is_consistent;
use evidence::verify::{Depth, verify};
use evidence::{Evidence, Limits, LogError, Places};
use journal::{Import, Journal};
use kernel::Sequence;

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// The first record that is said to be bad, if one is, and the code.
fn refused(error: &LogError) -> (&'static str, Option<u64>) {
    let at = match error {
        LogError::NotExtended { first, .. } => Some(first.0),
        LogError::Damaged { at, .. } => at.map(|at| at.0),
        _ => None,
    };
    (error.code(), at)
}

#[test]
fn a_log_follows_in_batches_and_signs_each() {
    let mut world = World::with(Limits { records: 100, bytes: 1 << 20 });
    world.write(450, 10, 1);
    let mut sizes = Vec::new();
    loop {
        let more = world.evidence.follow().unwrap();
        let (checkpoint, _) = world.evidence.checkpoint().unwrap();
        sizes.push(checkpoint.size);
        assert_eq!(world.evidence.standing().lag, 450 - checkpoint.size);
        assert_eq!(world.evidence.verify(Depth::All).unwrap().entries, checkpoint.size);
        if !more {
            break;
        }
    }
    assert_eq!(sizes, [100, 200, 300, 400, 450]);
    // Only the partial tiles of the present last ones are left.
    let names: Vec<_> = files(&world.places().log).into_keys().map(|path| path.display().to_string()).collect();
    assert_eq!(
        names,
        [
            "checkpoint",
            "tile/0/000",
            "tile/0/001.p/144",
            "tile/0/001.p/194",
            "tile/0/001.p/44",
            "tile/1/000.p/1",
            "tile/entries/000",
            "tile/entries/001.p/144",
            "tile/entries/001.p/194",
            "tile/entries/001.p/44"
        ]
    );
    let before = files(&world.places().log);
    assert!(!world.evidence.follow().unwrap(), "nothing to do");
    assert_eq!(files(&world.places().log), before, "and nothing done");
}

/// Every state that a kill can leave between two checkpoints: some of the new files are there, the next one in part.
#[test]
fn whenever_it_is_killed_the_same_log_comes_of_it() {
    let mut world = World::new();
    world.write(250, 10, 1);
    world.follow();
    let old = files(&world.places().log);
    world.write(600, 10, 1);
    world.write(601, 40_000, 1);
    world.follow();
    let new = files(&world.places().log);
    let fresh: Vec<_> =
        new.iter().filter(|(name, _)| !old.contains_key(*name) && !name.ends_with("checkpoint")).collect();
    assert!(5 < fresh.len(), "{fresh:?}");
    for there in 0..=fresh.len() {
        for torn in 0..4 {
            let mut left: Files = old.clone();
            left.extend(fresh[..there].iter().map(|(name, bytes)| ((*name).clone(), (*bytes).clone())));
            if let Some((name, bytes)) = fresh.get(there) {
                match torn {
                    0 => {}
                    1 => drop(left.insert((*name).clone(), bytes[..bytes.len() / 2].to_vec())),
                    2 => drop(left.insert((*name).clone(), vec![0; bytes.len()])),
                    _ => drop(left.insert((*name).clone(), Vec::new())),
                }
            }
            left.insert("checkpoint.new".into(), b"half a check".to_vec());
            world.evidence.close();
            lay(&world.places().log, &left);
            let evidence = world.started().unwrap();
            while evidence.follow().unwrap() {}
            let mut now = files(&world.places().log);
            now.retain(|name, _| new.contains_key(name));
            assert_eq!(now, new, "{there} of {} files there, the next one {torn}", fresh.len());
            assert_eq!(evidence.verify(Depth::All).unwrap().entries, 601);
            evidence.close();
        }
    }
}

#[test]
fn a_log_is_read_from_where_it_is_asked_to() {
    let mut world = World::new();
    world.write(700, 10, 1);
    world.follow();
    let log = world.places().log;
    for (from, entries) in [(1, 700), (256, 700), (257, 444), (512, 444), (513, 188), (700, 188), (9_999, 188)] {
        assert_eq!(world.evidence.verify(Depth::From(Sequence(from))).unwrap().entries, entries, "{from}");
    }
    let flip = |name: &str| {
        let mut bytes = fs::read(log.join(name)).unwrap();
        bytes[40] ^= 1;
        fs::write(log.join(name), bytes).unwrap();
    };
    let found = |from| world.evidence.verify(Depth::From(Sequence(from))).map_err(|error| refused(&error));
    flip("tile/entries/000");
    assert_eq!(found(1), Err(("evidence.damaged", Some(1))));
    assert!(found(257).is_ok(), "what is not read is not found");
    flip("tile/entries/001");
    assert_eq!(found(257), Err(("evidence.damaged", Some(257))));
    assert!(found(513).is_ok());
    flip("tile/1/000.p/2");
    assert!(found(513).is_err(), "all hashes lead to the root");
}

/// A journal of the first `records` of another one, the first `same` of which are the same.
fn other(home: &Path, of: &Journal, records: u64) -> Journal {
    let path = home.join("other");
    let mut import = Import::begin(&path).unwrap();
    for record in of.read(Sequence(1), usize::try_from(records).unwrap()).unwrap() {
        import.push(&record).unwrap();
    }
    let next = of.read(Sequence(records + 1), 1).unwrap();
    import.finish(journal::store::Head { sequence: Sequence(records), link: next[0].previous }).unwrap();
    journal(&path)
}

#[test]
fn a_journal_that_does_not_extend_what_was_signed_is_refused() {
    for (signed, cut) in [(300, 299), (300, 10), (256, 255), (257, 256)] {
        let mut world = World::new();
        world.write(signed, 10, 1);
        world.follow();
        world.evidence.close();
        let shorter = other(world.home.path(), &world.journal, cut);
        let evidence = Evidence::new(&shorter, world.places(), Limits::default());
        let error = evidence.open().unwrap_err();
        assert_eq!(refused(&error), ("evidence.not_extended", Some(cut + 1)), "{signed} {cut}: {error}");
        assert!(
            !error.may_pass() && error.to_string().contains(&format!("checkpoint is of {signed} records")),
            "{error}"
        );
        // The same with the log of a journal in which later records were others.
        let mut forked = World::new();
        forked.write(cut, 10, 1);
        forked.write(signed + 5, 10, 2);
        forked.evidence.close();
        let evidence = Evidence::new(&forked.journal, world.places(), Limits::default());
        assert_eq!(refused(&evidence.open().unwrap_err()), ("evidence.not_extended", Some(cut + 1)), "{signed} {cut}");
        let mine = world.started().unwrap();
        assert!(mine.verify(Depth::All).is_ok(), "nothing was changed");
    }
}

#[test]
fn damage_of_the_log_is_found_and_named() {
    let mut world = World::new();
    world.write(500, 10, 1);
    world.write(501, 40_000, 1);
    world.write(600, 10, 1);
    world.follow();
    let log = world.places().log;
    let intact = files(&log);
    let key = world.evidence.public().unwrap();
    let damaged = "evidence.damaged";
    let blob = intact.keys().find(|name| name.starts_with("blobs")).unwrap().display().to_string();
    let last = intact.keys().find(|name| name.starts_with("tile/entries/002.p")).unwrap().display().to_string();
    let leaves = last.replace("entries", "0");
    for (name, quick, deep) in [
        ("checkpoint", Some(None), None),
        (leaves.as_str(), Some(None), None),
        ("tile/1/000.p/2", Some(None), None),
        (last.as_str(), Some(Some(513)), None),
        ("tile/entries/000", None, Some(Some(1))),
        ("tile/0/001", None, Some(Some(257))),
        (blob.as_str(), None, Some(Some(501))),
    ] {
        for damage in ["a bit", "gone"] {
            lay(&log, &intact);
            let path = log.join(name);
            if damage == "gone" {
                fs::remove_file(&path).unwrap();
            } else {
                let mut bytes = fs::read(&path).unwrap();
                bytes[4] ^= 1;
                fs::write(&path, bytes).unwrap();
            }
            let look =
                |depth| verify(&world.journal, &world.places(), &key, depth).map(drop).map_err(|error| refused(&error));
            let said = |at: Option<Option<u64>>| at.map_or(Ok(()), |at| Err((damaged, at)));
            let (quickly, deeply) = (look(Depth::Newest), look(Depth::All));
            if damage == "gone" {
                assert_eq!((quickly.is_err(), deeply.is_err()), (quick.is_some(), true), "{name} is gone");
            } else {
                assert_eq!((quickly, deeply), (said(quick), said(quick.or(deep))), "{name}");
            }
            assert_eq!(world.started().is_err(), quick.is_some(), "{name}: what is not sound is not added to");
        }
    }
    lay(&log, &intact);
    assert!(world.started().is_ok());
}

#[test]
fn keys_and_logs_are_not_made_anew_in_silence() {
    let home = tempfile::TempDir::new().unwrap();
    let (journal, places) = (journal(&home.path().join("journal")), places(home.path()));
    let open = || {
        let evidence = Evidence::new(&journal, places.clone(), Limits::default());
        evidence.open().map(|()| evidence.public().unwrap()).map_err(|error| error.code())
    };
    let first = open().unwrap();
    assert_eq!(fs::metadata(&places.key).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(open(), Ok(first.clone()), "it is kept");
    let (_, note) = places.checkpoint(&first).unwrap();
    assert_eq!(Checkpoint::open(&note, &first).unwrap().size, 0);

    // A first start that was killed before the key was there: nothing has been said yet.
    fs::remove_file(&places.key).unwrap();
    let second = open().unwrap();
    assert_ne!(second, first);

    fs::remove_file(places.log.join("checkpoint")).unwrap();
    assert_eq!(open(), Err("evidence.log_lost"));
    fs::write(places.log.join("checkpoint"), &note).unwrap();
    assert_eq!(open(), Err("evidence.damaged"), "signed by another key");

    let secret = fs::read(&places.key).unwrap();
    for (row, content) in [
        ("empty", Vec::new()),
        ("another text", b"a key\n".to_vec()),
        ("without its end", secret[..secret.len() - 1].to_vec()),
        ("with more", [&secret[..], b"x"].concat()),
    ] {
        fs::write(&places.key, content).unwrap();
        assert_eq!(open(), Err("evidence.key"), "{row}");
    }
    fs::write(&places.key, &secret).unwrap();
    fs::set_permissions(&places.key, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(open(), Err("evidence.key"), "others may read it");

    // A log that says something, without its key.
    let mut world = World::new();
    world.write(3, 1, 1);
    world.follow();
    fs::remove_file(&world.places().key).unwrap();
    assert_eq!(world.started().err().map(|error| error.code()), Some("evidence.key_lost"));
    fs::remove_file(world.places().log.join("checkpoint")).unwrap();
    assert_eq!(world.started().err().map(|error| error.code()), Some("evidence.key_lost"), "there are tiles");
}

#[test]
fn one_process_writes_a_log() {
    let world = World::new();
    let second = Evidence::new(&world.journal, world.places(), Limits::default());
    assert_eq!(second.open().unwrap_err().code(), "evidence.locked");
    world.evidence.close();
    second.open().unwrap();
}

/// A disk that does not take the log: the journal goes on, and the log says what it lacks until it has it.
#[test]
fn what_cannot_be_written_is_told_and_made_up_for() {
    let mut world = World::new();
    world.write(10, 1, 1);
    world.follow();
    let in_the_way = world.places().log.join("checkpoint.new");
    fs::create_dir(&in_the_way).unwrap();
    for records in [20, 300] {
        world.write(records, 1, 1);
        let error = world.evidence.follow().unwrap_err();
        assert!(error.may_pass(), "{error}");
        let standing = world.evidence.standing();
        assert_eq!((standing.lag, standing.checkpoint.unwrap().size), (records - 10, 10));
        assert!(standing.failure.is_some());
        assert_eq!(world.evidence.verify(Depth::All).unwrap().entries, 10, "what was signed stands");
    }
    fs::remove_dir(&in_the_way).unwrap();
    world.follow();
    assert_eq!(world.evidence.standing().failure, None);
    assert_eq!(world.evidence.verify(Depth::All).unwrap().entries, 300);
}

#[test]
fn nothing_is_written_into_what_is_kept_for_the_journal() {
    let mut world = World::new();
    world.write(10, 1, 1);
    world.evidence.close();
    world.journal.close();
    let limits = journal::Limits { reserve_bytes: u64::MAX, ..journal::Limits::default() };
    let full = Journal::new(&world.home.path().join("journal"), limits);
    full.open().unwrap();
    let evidence = Evidence::new(&full, world.places(), Limits::default());
    evidence.open().unwrap();
    let before = files(&world.places().log);
    assert!(evidence.follow().unwrap_err().may_pass());
    assert_eq!(files(&world.places().log), before);
}

#[test]
fn a_proof_is_verified_before_it_is_given() {
    let mut world = World::new();
    world.write(300, 10, 1);
    assert!(matches!(world.evidence.prove(Sequence(7)), Err(LogError::NotYet { .. })));
    world.follow();
    let key = world.evidence.public().unwrap();
    for at in [1, 256, 257, 300] {
        let proof = world.evidence.prove(Sequence(at)).unwrap();
        let record = world.journal.raw(Sequence(at), 1).unwrap().remove(0);
        assert_eq!(proof.extra.as_ref(), Some(&record));
        assert_eq!(proof.verify(&record, &key).unwrap().size, 300);
        let stranger = Key::generate(|_| key.name().to_owned()).unwrap();
        assert!(proof.verify(&record, stranger.public()).is_err());
    }
    assert!(matches!(world.evidence.prove(Sequence(301)), Err(LogError::NotYet { .. })));
    let tile = world.places().log.join("tile/0/000");
    let mut bytes = fs::read(&tile).unwrap();
    bytes[33] ^= 1;
    fs::write(&tile, bytes).unwrap();
    assert!(world.evidence.prove(Sequence(1)).is_err(), "of a tile that was changed nothing is proven");
}

#[test]
fn what_was_signed_is_the_beginning_of_what_is_signed_later() {
    let mut world = World::new();
    let mut signed: Vec<Checkpoint> = Vec::new();
    for records in [2, 255, 256, 257, 600] {
        world.write(records, 3, 1);
        world.follow();
        let (checkpoint, _) = world.evidence.checkpoint().unwrap();
        for old in &signed {
            let proof = Places::consistency(&world.places(), old.size, checkpoint.size).unwrap();
            assert!(is_consistent(&proof, old.size, old.root, checkpoint.size, checkpoint.root));
        }
        signed.push(checkpoint);
    }
}

#[test]
fn a_log_is_made_again_as_it_was_signed_or_not_at_all() {
    let home = tempfile::TempDir::new().unwrap();
    let nothing = journal(&home.path().join("journal"));
    assert_eq!(repair(&nothing, &places(home.path()), "x").unwrap(), Mended::None);

    let mut world = World::new();
    world.write(300, 10, 1);
    world.write(301, 40_000, 1);
    world.write(600, 10, 1);
    world.follow();
    world.evidence.close();
    let (log, places) = (world.places().log, world.places());
    let intact = files(&log);
    assert_eq!(repair(&world.journal, &places, "x").unwrap(), Mended::Whole { size: 600 });
    for (row, name) in ["tile/0/000", "tile/0/002.p/88", "tile/1/000.p/2", "tile/entries/001"].into_iter().enumerate() {
        fs::write(log.join(name), "what was here?").unwrap();
        // As a repair leaves it that was killed.
        fs::create_dir_all(log.with_extension("making")).unwrap();
        let damaged = files(&log);
        let mended = repair(&world.journal, &places, &row.to_string()).unwrap();
        let Mended::Again { size: 600, aside, found } = mended else { panic!("{mended:?}") };
        assert!(found.contains("the tile log is damaged"), "{found}");
        assert_eq!((files(&log), files(&aside)), (intact.clone(), damaged), "{name}");
    }
    assert!(world.started().is_ok());

    // A journal that is another one gives nothing to make the log again from.
    let mut forked = World::new();
    forked.write(299, 10, 1);
    forked.write(600, 10, 2);
    fs::remove_file(log.join("tile/1/000.p/2")).unwrap();
    world.evidence.close();
    let damaged = files(&log);
    assert_eq!(repair(&forked.journal, &places, "y").unwrap_err().code(), "evidence.not_extended");
    fs::remove_file(log.join("checkpoint")).unwrap();
    assert_eq!(repair(&world.journal, &places, "y").unwrap_err().code(), "evidence.log_lost");
    fs::write(log.join("checkpoint"), &damaged[Path::new("checkpoint")]).unwrap();
    assert_eq!(files(&log), damaged, "nothing was changed");

    let key = places.public().unwrap();
    let Mended::Aside { log: Some(old), key: Some(_) } = put_aside(&places, "z").unwrap() else {
        panic!("both were there")
    };
    assert_eq!(files(&old), damaged);
    let another = world.started().unwrap();
    while another.follow().unwrap() {}
    assert_ne!(another.public().unwrap(), key);
    assert_eq!(another.verify(Depth::All).unwrap().entries, 600);
}
