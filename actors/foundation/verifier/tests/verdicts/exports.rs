//! An export is accepted as the authority wrote it, and no changed copy is.

use std::path::{Path, PathBuf};

use evidence::export::{Ends, Export, ExportError};
use kernel::Sequence;
use tempfile::TempDir;
use verifier::Bad;
use verifier::export::{Verified, verify};
use verifier::log::Failure;
use verifier::note::Trust;

use crate::world::{Files, World, files, lay};

fn export(world: &World, place: &Path, first: u64, last: u64, each: bool) -> Result<(), ExportError> {
    let ends = |first, last| {
        let (first, last) = world.evidence.prove_run(Sequence(first), Sequence(last)).unwrap();
        Ends { key: world.evidence.public().unwrap(), first, last, witnesses: Vec::new(), quorum: 0 }
    };
    let mut export = Export::begin(place, Sequence(first))?;
    for record in &world.records()[usize::try_from(first - 1).unwrap()..usize::try_from(last).unwrap()] {
        export.push(record, "{\"any\":\n\"thing\"}")?;
    }
    let exported = export.finish(&ends(first, last), each)?;
    assert_eq!((exported.first.0, exported.last.0), (first, last));
    Ok(())
}

fn verdict(place: &Path, trust: &Trust) -> Result<Verified, Bad> {
    match verify(place, trust) {
        Ok(verified) => Ok(verified),
        Err(Failure::Bad(bad)) => Err(bad),
        Err(Failure::Io(path, error)) => panic!("{}: {error}", path.display()),
    }
}

#[test]
fn every_run_of_records_is_proven() {
    let world = World::of(310);
    let home = TempDir::new().unwrap();
    for (first, last) in [(1, 1), (1, 2), (2, 2), (1, 310), (5, 6), (100, 303), (256, 257), (257, 310), (310, 310)] {
        let place = home.path().join(format!("{first}-{last}"));
        let each = last < 10;
        export(&world, &place, first, last, each).unwrap();
        let verified = verdict(&place, &world.trust()).unwrap();
        assert_eq!((verified.first, verified.last, verified.checkpoint.size), (first, last, 310));
        assert_eq!(verified.blobs, u64::from((first..=last).contains(&301)));
        assert_eq!(verified.proofs, if each { last - first + 1 } else { 0 });
        for proof in (first..=last).filter(|_| each) {
            let proof = std::fs::read_to_string(place.join(format!("proofs/{proof}.tlog-proof"))).unwrap();
            verifier::proof::verify(&proof, &world.trust()).unwrap();
        }
    }
    let left: Vec<_> = std::fs::read_dir(home.path()).unwrap().collect();
    assert_eq!(left.len(), 9, "nothing is left beside them");
}

#[test]
fn an_export_is_there_proven_or_not_at_all() {
    let world = World::of(20);
    let home = TempDir::new().unwrap();
    let place = home.path().join("export");
    let (first, last) = world.evidence.prove_run(Sequence(3), Sequence(7)).unwrap();
    let ends = Ends { key: world.evidence.public().unwrap(), first, last, witnesses: Vec::new(), quorum: 0 };
    let records = world.records();
    let begun = |from: usize, to: usize| {
        let mut export = Export::begin(&place, Sequence(from as u64)).unwrap();
        records[from - 1..to].iter().for_each(|record| export.push(record, "{}").unwrap());
        export
    };
    for (from, to) in [(3, 6), (4, 7), (3, 8), (2, 7)] {
        assert!(matches!(begun(from, to).finish(&ends, false), Err(ExportError::Unproven { .. })), "{from} to {to}");
    }
    let mut forged = begun(3, 4);
    assert!(matches!(forged.push(&records[6], "{}"), Err(ExportError::NoRecord { at: Sequence(5) })));
    drop(forged);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left");
    begun(3, 7).finish(&ends, false).unwrap();
    assert!(matches!(Export::begin(&place, Sequence(3)), Err(ExportError::Taken { .. })));
}

#[test]
fn every_changed_copy_is_rejected() {
    let world = World::of(310);
    let home = TempDir::new().unwrap();
    let (plain, each) = (home.path().join("plain"), home.path().join("each"));
    export(&world, &plain, 290, 305, false).unwrap();
    export(&world, &each, 290, 305, true).unwrap();
    let (plain, each) = (files(&plain), files(&each));
    let records = world.records();
    let copy = home.path().join("copy");
    // Where an entry begins in `entries`, of the record with that number.
    let place = |number: u64| -> usize {
        let before = &records[289..usize::try_from(number - 1).unwrap()];
        before.iter().map(|record| 2 + evidence_bytes(record)).sum()
    };
    let flip = |files: &Files, name: &str, at: usize| {
        let mut files = files.clone();
        files.get_mut(&PathBuf::from(name)).unwrap()[at] ^= 1;
        files
    };
    let without = |files: &Files, name: &str| {
        let mut files = files.clone();
        files.remove(&PathBuf::from(name)).unwrap();
        files
    };
    let with = |files: &Files, name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut files = files.clone();
        change(files.get_mut(&PathBuf::from(name)).unwrap());
        files
    };
    let blob = plain.keys().find(|name| name.starts_with("blobs")).unwrap().display().to_string();
    let body = place(295) + 2 + records[294].len() - 1;
    for (row, changed, at) in [
        ("a flipped body", flip(&plain, "entries", body), Some(295)),
        ("a flipped body, each proven", flip(&each, "entries", body), Some(295)),
        ("a flipped sequence", flip(&plain, "entries", place(296) + 2 + 14), Some(296)),
        ("an entry dropped", with(&plain, "entries", &|bytes| drop(bytes.drain(place(293)..place(294)))), Some(293)),
        ("entries cut", with(&plain, "entries", &|bytes| bytes.truncate(place(300) + 9)), Some(300)),
        ("more entries", with(&plain, "entries", &|bytes| bytes.extend([0, 1, 7])), None),
        ("the last body, flipped", with(&plain, "entries", &|bytes| *bytes.last_mut().unwrap() ^= 1), Some(305)),
        (
            "the last body, flipped, each proven",
            with(&each, "entries", &|bytes| *bytes.last_mut().unwrap() ^= 1),
            Some(305),
        ),
        ("a flipped blob", flip(&plain, &blob, 70_000), Some(301)),
        ("no blob", without(&plain, &blob), Some(301)),
        (
            "a line that says something else",
            with(&plain, "records.jsonl", &|bytes| {
                let text =
                    String::from_utf8(bytes.clone()).unwrap().replacen("\"sequence\":294,", "\"sequence\":293,", 1);
                *bytes = text.into_bytes();
            }),
            Some(294),
        ),
        (
            "a line less",
            with(&plain, "records.jsonl", &|bytes| {
                let end = bytes.iter().rposition(|byte| *byte == b'{').unwrap();
                bytes.truncate(end);
            }),
            Some(305),
        ),
        ("a line more", with(&plain, "records.jsonl", &|bytes| bytes.extend(b"{}\n")), None),
        ("no lines", without(&plain, "records.jsonl"), None),
        ("no entries", without(&plain, "entries"), None),
        ("no checkpoint", without(&plain, "checkpoint"), None),
        ("a changed checkpoint", flip(&plain, "checkpoint", 0), None),
        ("a changed first proof", flip(&plain, "first.tlog-proof", 700), None),
        ("no last proof", without(&plain, "last.tlog-proof"), None),
        ("a missing proof", without(&each, "proofs/299.tlog-proof"), Some(299)),
        ("a changed proof", flip(&each, "proofs/299.tlog-proof", 60), Some(299)),
    ] {
        lay(&copy, &changed);
        let bad = verdict(&copy, &world.trust()).expect_err(row);
        if row != "a changed first proof" {
            assert_eq!(bad.at, at, "{row}: {bad}");
        }
    }
    // What nothing covers may be anything, and the program says so.
    let mut changed = flip(&plain, "shown.jsonl", 5);
    changed.insert("README.md".into(), b"else".to_vec());
    lay(&copy, &changed);
    assert!(verdict(&copy, &world.trust()).is_ok());
}

fn evidence_bytes(record: &[u8]) -> usize {
    journal::bundle::Entry::of(record).bytes().len()
}
