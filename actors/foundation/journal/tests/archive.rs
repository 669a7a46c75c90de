//! What a backup promises: the same journal again, or a refusal that names what is wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use journal::Import;
use journal::archive::{About, Archive, ArchiveError, Manifest, restore, verify, verify_while, write};
use journal::codec::Body;
use journal::envelope::Answer;
use journal::store::{Head, StoreError};
use journal::{Append, Entry, Journal, Limits};
use kernel::{CommandId, Decision, Digest, Epoch, Kind, Position, Principal, Sequence, Timestamp};
use tempfile::TempDir;

const NOTED: Kind = Kind { id: 900, version: 1, name: "noted" };

fn open(path: &Path) -> Journal {
    let journal = Journal::new(path, Limits { reserve_bytes: 0, ..Limits::default() });
    journal.open().unwrap();
    journal
}

fn opened(journal: &Journal, stream: &'static str) -> Epoch {
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    journal.queue(Entry::Open { stream, principal: Principal::internal("test"), time: Timestamp(1), then });
    told.recv().unwrap().unwrap().epoch
}

fn append(journal: &Journal, epoch: Epoch, expected: u64, answer: usize, body: usize) {
    let (tell, told) = channel();
    journal.queue(Entry::Append(Box::new(Append {
        stream: "notes",
        epoch,
        expected: Position(expected),
        time: Timestamp(1_000 + expected),
        principal: "operator/root".parse().unwrap(),
        decision: Decision::default(),
        command_id: CommandId(u128::from(expected)),
        command_digest: Digest::default(),
        cause: None,
        asked: None,
        answer: Answer::Reply(vec![b'1'; answer]),
        bodies: vec![Body { kind: NOTED, bytes: vec![7; body] }],
        then: Box::new(move |answer| tell.send(answer).unwrap()),
    })));
    told.recv().unwrap().unwrap();
}

/// A journal of so many records, the last of which fits no entry.
fn journal(home: &TempDir, records: u64) -> Journal {
    let journal = open(&home.path().join("journal"));
    let epoch = opened(&journal, "notes");
    for version in 1..records - 1 {
        append(&journal, epoch, version, 2, 3);
    }
    append(&journal, epoch, records - 1, 40_000, 40_000);
    journal
}

fn about() -> About {
    About { sop: "0.1.0".into(), created_at: "2026-11-20T12:00:00Z".into() }
}

fn back_up(journal: &Journal, place: &Path) -> Archive {
    write(journal, journal.head().unwrap(), place, &about(), || Ok(())).unwrap()
}

fn files(place: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["", "entries", "blobs"] {
        let entries = fs::read_dir(place.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        found.extend(entries.filter(|path| path.is_file()));
    }
    found.sort();
    found
}

#[test]
fn what_is_restored_is_the_same_journal() {
    let home = TempDir::new().unwrap();
    let journal = journal(&home, 600);
    let place = home.path().join("backup-1");
    let made = back_up(&journal, &place);
    assert_eq!((made.entries, made.head), (600, journal.head().unwrap()));
    let names: Vec<_> = files(&place).iter().map(|path| path.file_name().unwrap().len()).collect();
    assert_eq!(names.len(), 6, "three bundles, a blob, the manifest and its blake3");
    assert_eq!(verify(&place).unwrap(), made);

    let path = home.path().join("other/journal");
    fs::create_dir(home.path().join("other")).unwrap();
    assert_eq!(restore(&place, &path).unwrap(), made);
    let restored = open(&path);
    assert_eq!(restored.raw(Sequence(1), usize::MAX).unwrap(), journal.raw(Sequence(1), usize::MAX).unwrap());
    assert_eq!(restored.stream_heads().unwrap(), journal.stream_heads().unwrap());
    assert_eq!(restored.head().unwrap(), journal.head().unwrap());
    assert_eq!(restored.verify(Sequence(1)).unwrap().broken, None);
    let from = |journal: &Journal| journal.read_stream("notes", Position(250), Position(260), 20).unwrap();
    assert_eq!(from(&restored), from(&journal), "the index leads to the same records");
    assert_eq!(opened(&restored, "notes"), Epoch(2), "and it goes on");
}

#[test]
fn a_backup_is_of_its_head_whatever_is_written_meanwhile() {
    let home = TempDir::new().unwrap();
    let journal = journal(&home, 300);
    let head = journal.head().unwrap();
    opened(&journal, "later");
    let place = home.path().join("backup-1");
    let made = write(&journal, head, &place, &about(), || {
        opened(&journal, "meanwhile");
        Ok(())
    });
    let made = made.unwrap();
    assert_eq!((made.head, made.entries), (head, 300));
    let later = About { created_at: "2026-11-21T12:00:00Z".into(), ..about() };
    let again = write(&journal, head, &place, &later, || Ok(())).unwrap();
    assert_eq!(again, made, "what is there is not made again");
    let stopped = verify_while(&place, || Err("enough".into()));
    assert!(matches!(stopped, Err(ArchiveError::Stopped { .. })), "{stopped:?}");

    let entries = |place: &Path| {
        let text = fs::read(place.join("manifest.json")).unwrap();
        serde_json::from_slice::<Manifest>(&text).unwrap().files
    };
    let second = home.path().join("backup-2");
    write(&journal, head, &second, &about(), || Ok(())).unwrap();
    assert_eq!(entries(&second), entries(&place), "the same records make the same files");
    let other = write(&journal, journal.head().unwrap(), &place, &about(), || Ok(()));
    assert!(matches!(other, Err(ArchiveError::Broken { .. })), "another backup is never written over");
    let wrong = Head { link: Digest([1; 32]), ..head };
    assert!(write(&journal, wrong, &home.path().join("backup-3"), &about(), || Ok(())).is_err());
}

#[test]
fn an_interrupted_backup_is_none_and_leaves_nothing_in_the_way() {
    let home = TempDir::new().unwrap();
    let journal = journal(&home, 300);
    let (place, head) = (home.path().join("backup-1"), journal.head().unwrap());
    let mut files = 0;
    let stopped = write(&journal, head, &place, &about(), || {
        files += 1;
        if files == 2 { Err("enough".into()) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(ArchiveError::Stopped { .. })), "{stopped:?}");
    assert!(matches!(verify(&place), Err(ArchiveError::NoBackup { .. })));
    // As a kill leaves it.
    let making = home.path().join(".backup-1.making");
    assert!(!making.exists());
    fs::create_dir_all(making.join("entries")).unwrap();
    fs::write(making.join("entries/000000000000.bin"), "half").unwrap();
    back_up(&journal, &place);
    assert!(verify(&place).is_ok() && !making.exists());
}

#[test]
fn every_flipped_bit_is_refused() {
    let home = TempDir::new().unwrap();
    let journal = open(&home.path().join("journal"));
    let epoch = opened(&journal, "notes");
    append(&journal, epoch, 1, 2, 3);
    let place = home.path().join("backup-1");
    back_up(&journal, &place);
    let found = files(&place);
    assert_eq!(found.len(), 3);
    for file in found {
        let bytes = fs::read(&file).unwrap();
        let mut changed = bytes.clone();
        for bit in 0..bytes.len() * 8 {
            changed[bit / 8] ^= 1 << (bit % 8);
            fs::write(&file, &changed).unwrap();
            let named = verify(&place).expect_err("a bit is another").to_string();
            assert!(named.contains("manifest") || named.contains("entries/"), "{}: {bit}: {named}", file.display());
            changed[bit / 8] ^= 1 << (bit % 8);
        }
        fs::write(&file, &bytes).unwrap();
    }
    assert!(verify(&place).is_ok(), "and all is as it was");
}

#[test]
fn every_cut_missing_swapped_or_added_file_is_refused_and_named() {
    let home = TempDir::new().unwrap();
    let journal = journal(&home, 600);
    let place = home.path().join("backup-1");
    back_up(&journal, &place);
    let refused = |row: &str, file: &str| {
        let told = verify(&place).expect_err(row).to_string();
        assert!(told.contains(file), "{row}: {told}");
        let path = home.path().join("refused");
        assert!(restore(&place, &path).is_err() && !path.exists(), "{row}: nothing is restored from it");
    };
    for file in files(&place) {
        let name = file.strip_prefix(&place).unwrap().to_str().unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        refused("missing", name);
        let named = if name == "manifest.blake3" { "manifest.json" } else { name };
        for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&file, &bytes[..length]).unwrap();
            refused("cut", named);
        }
        fs::write(&file, [&bytes[..], b"\0"].concat()).unwrap();
        refused("longer", named);
        fs::write(&file, &bytes).unwrap();
    }
    let (one, two) = (place.join("entries/000000000000.bin"), place.join("entries/000000000001.bin"));
    let (first, second) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    fs::write(&one, &second).unwrap();
    fs::write(&two, &first).unwrap();
    refused("swapped", "entries/000000000000.bin");
    fs::write(&one, &first).unwrap();
    fs::write(&two, &second).unwrap();
    for added in ["entries/000000000003.bin", "blobs/more", "more"] {
        fs::write(place.join(added), "").unwrap();
        refused("added", added);
        fs::remove_file(place.join(added)).unwrap();
    }
    assert!(verify(&place).is_ok(), "and all is as it was");
}

/// Who can write the files can write their digests, too; the chain still holds.
#[test]
fn a_manifest_that_was_written_for_other_records_does_not_help() {
    let home = TempDir::new().unwrap();
    let journal = journal(&home, 300);
    let place = home.path().join("backup-1");
    back_up(&journal, &place);
    let bundle = place.join("entries/000000000000.bin");
    let mut bytes = fs::read(&bundle).unwrap();
    let record = journal.raw(Sequence(1), 1).unwrap().remove(0);
    // A digit of the second record's own stream name.
    let name = 2 + record.len() + 2 + record.windows(5).position(|window| window == b"notes").unwrap();
    bytes[name] ^= 1;
    fs::write(&bundle, &bytes).unwrap();
    let blake3 = |bytes: &[u8]| Digest(*blake3::hash(bytes).as_bytes());
    let path = place.join("manifest.json");
    let mut manifest: Manifest = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    manifest.files[0].blake3 = blake3(&bytes);
    let all: Vec<u8> = manifest.files.iter().flat_map(|listed| listed.blake3.0).collect();
    manifest.digest = blake3(&all);
    let text = serde_json::to_vec_pretty(&manifest).unwrap();
    fs::write(&path, &text).unwrap();
    fs::write(place.join("manifest.blake3"), format!("{}  manifest.json\n", blake3(&text))).unwrap();
    let told = verify(&place).expect_err("the chain is broken").to_string();
    assert!(told.contains("entries/000000000000.bin: record 2"), "{told}");
}

#[test]
fn a_store_is_never_restored_over() {
    let home = TempDir::new().unwrap();
    let journal = journal(&home, 3);
    let place = home.path().join("backup-1");
    back_up(&journal, &place);
    let over = restore(&place, &home.path().join("journal"));
    assert!(matches!(over, Err(ArchiveError::Store(StoreError::Occupied { .. }))), "{over:?}");
}

#[test]
fn a_restore_that_was_killed_leaves_nothing_that_opens() {
    let home = TempDir::new().unwrap();
    let journal = journal(&home, 300);
    let path = home.path().join("restored");
    let mut import = Import::begin(&path).unwrap();
    for record in journal.read(Sequence(1), 200).unwrap() {
        import.push(&record).unwrap();
    }
    let twice = import.push(&journal.read(Sequence(1), 1).unwrap()[0]);
    assert!(matches!(twice, Err(StoreError::Damaged { .. })), "only the next record follows");
    drop(import);
    let other = Journal::new(&path, Limits::default());
    assert!(matches!(other.open(), Err(StoreError::HalfRestored { .. })));
    let whole = Journal::new(&home.path().join("restored.restoring/whole"), Limits::default());
    assert!(matches!(whole.open(), Err(StoreError::Format { found: 0 })));
    assert!(matches!(Import::begin(&path), Err(StoreError::HalfRestored { .. })));

    fs::remove_dir_all(home.path().join("restored.restoring")).unwrap();
    fs::remove_dir_all(&path).ok();
    let short = Import::begin(&path).unwrap();
    assert!(short.finish(journal.head().unwrap()).is_err(), "what does not end in its head is put nowhere");
    assert!(!path.exists());
}
