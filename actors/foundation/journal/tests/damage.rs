//! Whatever is damaged, nothing that was acknowledged is lost in silence: the journal reads as it was, or it refuses and is
//! repaired from its other copy.
//!
//! Journals are damaged that were closed in order, and such as were copied while they were open, as a killed process leaves
//! them, with a group at the end that was never acknowledged. Two of them have all their records in the tail and no tile
//! log; of the two others the tail was cut, and the older records are in store and log. Every file of theirs is damaged: the
//! tail's, the marks, fjall's, journal and tables, and those of the log.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use evidence::repair::Mended;
use evidence::verify::Depth;
use evidence::{Evidence, Places};
use journal::archive::{About, write};
use journal::codec::Body;
use journal::envelope::{Answer, Record};
use journal::repair::{Others, RepairError, Repaired, examine, repair};
use journal::store::StoreError;
use journal::{Append, Entry, Journal, Limits, Opened, Past, tail};
use kernel::{CommandId, Decision, Digest, Kind, Position, Principal, Sequence, Timestamp};
use tempfile::TempDir;

const NOTED: Kind = Kind { id: 900, version: 1, name: "noted" };
const STREAMS: [&str; 2] = ["notes", "others"];
const SECTOR: usize = 512;
/// Over the journals with a whole tail; over the others half as many.
const FLIPS: usize = 2_000;

fn limits() -> Limits {
    // Several segments, of few frames each.
    Limits { reserve_bytes: 0, segment_bytes: 4 << 10, ..Limits::default() }
}

fn open(path: &Path) -> Result<Journal, StoreError> {
    let journal = Journal::new(path, limits()).with_past(Arc::new(places(path)));
    journal.open()?;
    Ok(journal)
}

/// The tile log beside a journal.
fn places(journal: &Path) -> Places {
    let home = journal.parent().unwrap();
    Places { log: home.join("evidence"), key: home.join("keys/log") }
}

/// With what is kept in its tile log, if it has one.
fn made_whole(path: &Path) -> Repaired {
    let places = places(path);
    let past: &dyn Past = &places;
    repair(path, Others { past: Some(past), backup: None }, "before", false).unwrap_or_else(|error| panic!("{error}"))
}

fn opened(journal: &Journal, stream: &'static str) -> Opened {
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    journal.queue(Entry::Open { stream, principal: Principal::internal("test"), time: Timestamp(1), then });
    told.recv().unwrap().unwrap()
}

/// Appends, one group each, and waits for each.
fn work(journal: &Journal, appends: u64) {
    for stream in STREAMS {
        let Opened { epoch, version, time } = opened(journal, stream);
        for more in 0..appends {
            let (tell, told) = channel();
            let body = vec![b'a' + u8::try_from(more % 26).unwrap(); usize::try_from(more * 13 % 200).unwrap()];
            journal.queue(Entry::Append(Box::new(Append {
                stream,
                epoch,
                expected: Position(version.0 + 2 * more),
                time: Timestamp(time.0 + more),
                principal: "operator/root".parse().unwrap(),
                decision: Decision::default(),
                command_id: CommandId(u128::from(more)),
                command_digest: Digest::default(),
                cause: None,
                asked: None,
                answer: Answer::Reply(b"{}".to_vec()),
                bodies: vec![Body { kind: NOTED, bytes: body }; 2],
                then: Box::new(move |answer| tell.send(answer).unwrap()),
            })));
            told.recv().unwrap().unwrap();
        }
    }
}

/// All that can be read, by both ways that there are.
#[derive(Debug, PartialEq)]
struct Content {
    records: Vec<Vec<u8>>,
    streams: Vec<Vec<Record>>,
}

fn content(journal: &Journal) -> Result<Content, StoreError> {
    let all = usize::MAX;
    let stream = |name| journal.read_stream(name, Position(1), Position(u64::MAX >> 1), all);
    Ok(Content {
        records: journal.raw(Sequence(1), all)?,
        streams: STREAMS.into_iter().map(stream).collect::<Result<_, _>>()?,
    })
}

fn content_of(path: &Path) -> Content {
    let journal = open(path).unwrap();
    let content = content(&journal).unwrap();
    journal.close();
    content
}

/// The files of a directory, without the zeros at their ends.
#[derive(Clone)]
struct Image(BTreeMap<PathBuf, (u64, Vec<u8>)>);

impl Image {
    fn of(directory: &Path) -> Self {
        let (mut files, mut left) = (BTreeMap::new(), vec![directory.to_owned()]);
        while let Some(folder) = left.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    left.push(path);
                    continue;
                }
                let length = path.metadata().unwrap().len();
                let mut bytes = Vec::new();
                // fjall's journal is 64 MiB of nothing, and a little at its beginning.
                File::open(&path).unwrap().take(1 << 20).read_to_end(&mut bytes).unwrap();
                let content = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                assert!(content < 1 << 19, "a sample is small");
                bytes.truncate(content);
                files.insert(path.strip_prefix(directory).unwrap().to_owned(), (length, bytes));
            }
        }
        Self(files)
    }

    fn put(&self, directory: &Path) {
        for (name, (length, bytes)) in &self.0 {
            let path = directory.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            // A key is for its owner alone.
            let mut file = File::options();
            let file = file.create(true).truncate(true).write(true).mode(0o600).open(path).unwrap();
            file.write_all_at(bytes, 0).unwrap();
            file.set_len(*length).unwrap();
        }
    }
}

/// A journal in `journal` of its image, and its tile log beside it if there is one.
struct Sample {
    name: &'static str,
    image: Image,
    acknowledged: Content,
}

const NAMES: [&str; 4] = ["orderly", "killed", "trimmed", "trimmed and killed"];

/// Made once; the processes that damage them are told where they lie.
fn samples() -> [Sample; 4] {
    if let Ok(place) = std::env::var("DAMAGE_SAMPLES") {
        return NAMES.map(|name| Sample::of(name, Image::of(&Path::new(&place).join(name))));
    }
    let [whole, trimmed] = [home(), home()];
    let [orderly, killed] = made(whole.path(), false);
    let [trimmed, trimmed_and_killed] = made(trimmed.path(), true);
    [orderly, killed, trimmed, trimmed_and_killed]
}

/// One that was closed in order, and one that was killed.
fn made(home: &Path, is_trimmed: bool) -> [Sample; 2] {
    let path = home.join("journal");
    let journal = open(&path).unwrap();
    work(&journal, 12);
    journal.close();
    {
        // What fjall does by itself when it has taken 64 MiB.
        let database = fjall::Database::builder(path.join("store")).open().unwrap();
        for name in ["records", "streams"] {
            let keyspace = database.keyspace(name, fjall::KeyspaceCreateOptions::default).unwrap();
            keyspace.rotate_memtable_and_wait().unwrap();
        }
    }
    let journal = open(&path).unwrap();
    if is_trimmed {
        work(&journal, 6);
        let evidence = Evidence::new(&journal, places(&path), evidence::Limits::default());
        evidence.open().unwrap();
        while evidence.follow().unwrap() {}
        evidence.close();
        work(&journal, 6);
        let segments = tail::segments(&path.join("tail")).unwrap();
        assert!(segments[0].first.0 > 1 && segments.len() > 2, "{segments:?}");
    } else {
        work(&journal, 12);
    }
    let mut killed = Image::of(home);
    let acknowledged = content(&journal).unwrap();
    journal.close();
    // Half a group at the end of the tail.
    let (_, (_, last)) =
        killed.0.iter_mut().rfind(|(name, _)| name.extension().is_some_and(|seg| seg == "seg")).unwrap();
    let end = last.len().next_multiple_of(8);
    last.resize(end, 0);
    last.extend_from_slice(b"sopG");
    last.extend_from_slice(&[7; 100]);
    let orderly = Image::of(home);
    let clean = Path::new("journal/clean");
    assert!(orderly.0.contains_key(clean) && !killed.0.contains_key(clean));
    assert!(2 < orderly.0.keys().filter(|name| name.starts_with("journal/tail")).count());
    assert!(orderly.0.keys().any(|name| name.to_string_lossy().contains("tables/")), "{:?}", orderly.0.keys());
    let names = if is_trimmed { [NAMES[2], NAMES[3]] } else { [NAMES[0], NAMES[1]] };
    let samples = [Sample::of(names[0], orderly), Sample::of(names[1], killed)];
    assert!(samples.iter().all(|sample| sample.acknowledged == acknowledged));
    samples
}

impl Sample {
    fn of(name: &'static str, image: Image) -> Self {
        let home = home();
        image.put(home.path());
        Self { name, acknowledged: content_of(&home.path().join("journal")), image }
    }
}

/// In memory where there is such a place: thousands of journals are made, and nothing of theirs is to last.
fn home() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

/// What a damaged journal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Came {
    /// It reads as it was.
    Identical,
    /// It did not open.
    Refused,
    /// It opened, and something of it could not be read.
    Unreadable,
}

/// Opens a damaged journal and reads it; what refuses is repaired.
fn tried(sample: &Sample, path: &Path, row: &str) -> Came {
    let came = match open(path) {
        Err(error) => {
            assert!(["journal.damaged", "journal.io"].contains(&error.code()), "{row}: {error}");
            Came::Refused
        }
        Ok(journal) => {
            let came = match content(&journal) {
                Ok(content) => {
                    assert!(content == sample.acknowledged, "{row}: something else is read, and nothing is said");
                    Came::Identical
                }
                Err(error) => {
                    assert_eq!(error.code(), "journal.damaged", "{row}: {error}");
                    Came::Unreadable
                }
            };
            journal.close();
            came
        }
    };
    if came != Came::Identical {
        let repaired = made_whole(path);
        // fjall may have mended itself when it was first asked.
        assert!(repaired.findings.is_empty() || repaired.aside.is_some_and(|aside| aside.is_dir()), "{row}");
        assert!(content_of(path) == sample.acknowledged, "{row}: repaired, and something else");
    }
    if sample.image.0.contains_key(Path::new("keys/log")) {
        logged(path, row);
    }
    came
}

/// Sees to the tile log of a journal that is whole: it is what was signed, or that is said; made again, or begun again.
fn logged(path: &Path, row: &str) {
    let places = places(path);
    let journal = open(path).unwrap();
    let evidence = Evidence::new(&journal, places.clone(), evidence::Limits::default());
    let checked = evidence.open().and_then(|()| evidence.verify(Depth::All));
    evidence.close();
    if let Err(error) = checked {
        assert!(error.code().starts_with("evidence."), "{row}: {error}");
        match evidence::repair::repair(&journal, &places, "before") {
            Ok(Mended::Again { .. }) => {}
            // The checkpoint or the key, of which there is no second one.
            Ok(mended) => panic!("{row}: {error}, and {mended:?}"),
            Err(error) => {
                let only_one = ["evidence/checkpoint", "evidence missing", "keys"];
                assert!(only_one.iter().any(|name| row.starts_with(name)), "{row}: {error}");
                evidence::repair::put_aside(&places, "before").unwrap();
            }
        }
    }
    evidence.open().unwrap_or_else(|error| panic!("{row}: {error}"));
    while evidence.follow().unwrap() {}
    let last = journal.head().unwrap().sequence.0;
    assert_eq!(evidence.verify(Depth::All).unwrap().entries, last, "{row}");
    evidence.close();
    journal.close();
}

/// One damage: which sample, what is done to it, and what it is then.
type Row = (usize, String, Image);

/// Tries every row, on all processors, each of which has a process for it: reading what is damaged may end it, by a panic
/// in a destructor or for want of memory. Then the row is tried again as it was left, as a supervisor would start again.
fn all(test: &str, samples: &[Sample], rows: &[Row]) {
    let number = |name: &str| std::env::var(name).ok().map(|value| value.parse::<usize>().unwrap());
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    if let (Some(from), Some(again)) = (number("DAMAGE_FROM"), number("DAMAGE_AGAIN")) {
        let home = PathBuf::from(std::env::var("DAMAGE_HOME").unwrap());
        for (at, (sample, row, image)) in rows.iter().enumerate().skip(from).step_by(workers) {
            let path = home.join("journal");
            if at != from || again == 0 {
                let _ = fs::remove_dir_all(&home);
                image.put(&home);
            }
            println!("DAMAGE {at}");
            println!("DAMAGE {at} {} {:?}", samples[*sample].name, tried(&samples[*sample], &path, row));
        }
        return;
    }
    let (home, counts, deaths) = (home(), Mutex::new(BTreeMap::new()), AtomicUsize::new(0));
    let place = home.path().join("samples");
    for Sample { name, image, .. } in samples {
        image.put(&place.join(name));
    }
    let work = |worker: usize| {
        let (mut from, mut again) = (worker, 0);
        loop {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args(["--exact", test, "--nocapture"]).env("DAMAGE_HOME", home.path().join(worker.to_string()));
            command
                .env("DAMAGE_SAMPLES", &place)
                .env("DAMAGE_FROM", from.to_string())
                .env("DAMAGE_AGAIN", again.to_string());
            let done = command.output().unwrap();
            let said = String::from_utf8_lossy(&done.stdout);
            let mut last = from;
            for line in said.lines().filter_map(|line| line.split_once("DAMAGE ").map(|(_, line)| line)) {
                let (at, came) = line.split_once(' ').unwrap_or((line, ""));
                last = at.parse().unwrap();
                if !came.is_empty() {
                    *counts.lock().unwrap().entry(came.to_owned()).or_insert(0) += 1;
                }
            }
            if done.status.success() {
                return;
            }
            let errors = String::from_utf8_lossy(&done.stderr);
            assert!(done.status.code().is_none(), "{errors}");
            deaths.fetch_add(1, Ordering::Relaxed);
            again = if last == from { again + 1 } else { 1 };
            assert!(again < 8, "{} ends the process whatever is done: {errors}", rows[last].1);
            from = last;
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|worker| scope.spawn(move || work(worker))).collect();
        for worker in workers {
            worker.join().unwrap();
        }
    });
    let (counts, deaths) = (counts.into_inner().unwrap(), deaths.into_inner());
    println!("{} rows, {deaths} processes ended: {counts:?}", rows.len());
    assert_eq!(counts.values().sum::<usize>(), rows.len());
    assert!(counts.contains_key("orderly Identical") && counts.contains_key("killed Refused"));
    assert!(counts.contains_key("trimmed Identical") && counts.contains_key("trimmed and killed Refused"));
}

#[test]
fn every_sector_that_is_lost_is_noticed_or_made_good() {
    let samples = samples();
    let mut rows = Vec::new();
    for (number, Sample { image, .. }) in samples.iter().enumerate() {
        for (name, (_, bytes)) in &image.0 {
            for (sector, content) in bytes.chunks(SECTOR).enumerate() {
                if content.iter().any(|byte| *byte != 0) {
                    let mut damaged = image.clone();
                    let (_, bytes) = damaged.0.get_mut(name).unwrap();
                    bytes[sector * SECTOR..][..content.len()].fill(0);
                    rows.push((number, format!("{} sector {sector}", name.display()), damaged));
                }
            }
        }
    }
    assert!(100 < rows.len());
    all("every_sector_that_is_lost_is_noticed_or_made_good", &samples, &rows);
}

#[test]
fn every_bit_that_flips_is_noticed_or_made_good() {
    let samples = samples();
    let mut dice = 0x5eed_u64;
    let mut throw = |below: usize| {
        // xorshift64*: the same flips in every run.
        dice ^= dice >> 12;
        dice ^= dice << 25;
        dice ^= dice >> 27;
        usize::try_from(dice.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below
    };
    let mut rows = Vec::new();
    while rows.len() < FLIPS + FLIPS / 2 {
        let number = throw(2) + 2 * (rows.len() / FLIPS);
        let mut damaged = samples[number].image.clone();
        let files = damaged.0.len();
        let (name, (length, bytes)) = damaged.0.iter_mut().nth(throw(files)).unwrap();
        let length = usize::try_from(*length).unwrap();
        if length == 0 {
            continue;
        }
        // Mostly where something is, now and then where nothing is yet.
        let at = if bytes.is_empty() || throw(20) == 0 {
            throw(length.min(bytes.len() + 8_192))
        } else {
            throw(bytes.len())
        };
        let bit = throw(8);
        bytes.resize(bytes.len().max(at + 1), 0);
        bytes[at] ^= 1 << bit;
        let row = format!("{} byte {at} bit {bit}", name.display());
        rows.push((number, row, damaged));
    }
    all("every_bit_that_flips_is_noticed_or_made_good", &samples, &rows);
}

/// Whole files: what a careless hand does.
#[test]
fn every_file_that_is_missing_or_cut_is_noticed_or_made_good() {
    let samples = samples();
    let mut rows = Vec::new();
    for (number, Sample { image, .. }) in samples.iter().enumerate() {
        for (name, (_, bytes)) in &image.0 {
            let mut missing = image.clone();
            missing.0.remove(name);
            // Without it the directory is not known to be a whole journal: refused, and by another code.
            if name != Path::new("journal/format") {
                rows.push((number, format!("{} missing", name.display()), missing));
            }
            for length in [0, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                let mut cut = image.clone();
                cut.0.insert(name.clone(), (length as u64, bytes[..length].to_vec()));
                rows.push((number, format!("{} cut to {length}", name.display()), cut));
            }
        }
        for part in ["journal/tail", "journal/store", "evidence", "evidence/tile/entries", "evidence/tile/0", "keys"] {
            let mut missing = image.clone();
            missing.0.retain(|name, _| !name.starts_with(part));
            if missing.0.len() < image.0.len() {
                // The key with all of the log: it is begun again.
                rows.push((number, format!("{part} missing"), missing));
            }
        }
    }
    all("every_file_that_is_missing_or_cut_is_noticed_or_made_good", &samples, &rows);
}

#[test]
fn a_look_says_what_is_wrong_and_changes_nothing() {
    let [sample, killed, trimmed, _] = samples();
    let home = home();
    let path = home.path().join("journal");
    sample.image.put(home.path());
    let whole = examine(&path, None).unwrap();
    assert_eq!((whole.findings.as_slice(), whole.orderly, whole.torn), (&[][..], true, false));
    assert_eq!(whole.head.sequence.0, sample.acknowledged.records.len() as u64);
    let nothing = repair(&path, Others::default(), "now", false).unwrap();
    assert_eq!((nothing.aside, nothing.findings.len()), (None, 0));

    let other = TempDir::new().unwrap();
    killed.image.put(other.path());
    let torn = examine(&other.path().join("journal"), None).unwrap();
    assert_eq!((torn.findings.as_slice(), torn.orderly, torn.torn), (&[][..], false, true));

    let other = TempDir::new().unwrap();
    trimmed.image.put(other.path());
    let cut = other.path().join("journal");
    let looked = examine(&cut, Some(&places(&cut))).unwrap();
    assert_eq!((looked.findings.as_slice(), looked.orderly, looked.torn), (&[][..], true, false));
    assert_eq!(looked.head.sequence.0, trimmed.acknowledged.records.len() as u64);

    // A record of the third segment.
    let (name, (_, bytes)) =
        sample.image.0.iter().filter(|(name, _)| name.extension().is_some_and(|seg| seg == "seg")).nth(2).unwrap();
    let mut bytes = bytes.clone();
    bytes[100] ^= 1;
    fs::write(home.path().join(name), &bytes).unwrap();
    let before = Image::of(&path);
    let damaged = examine(&path, None).unwrap();
    let first: u64 = name.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(damaged.first_bad(), Some(Sequence(first)), "{:?}", damaged.findings);
    let rehearsed = repair(&path, Others::default(), "now", true).unwrap();
    assert_eq!((rehearsed.head.sequence, rehearsed.aside), (whole.head.sequence, None));
    assert!(0 < rehearsed.from_store && 0 < rehearsed.from_tail);
    assert!(Image::of(&path).0 == before.0, "neither has changed a byte");
    assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "and nothing is left beside it");

    let repaired = repair(&path, Others::default(), "now", false).unwrap();
    assert_eq!(repaired.aside, Some(home.path().join("journal.aside-now")));
    assert!(Image::of(&home.path().join("journal.aside-now")).0 == before.0, "the damaged one is as it was");
    assert_eq!(examine(&path, None).unwrap().findings, []);
}

fn from(backup: &Path) -> Others<'_> {
    Others { backup: Some(backup), ..Others::default() }
}

fn copied(from: &Path, to: &Path) {
    let _ = fs::remove_dir_all(to);
    Image::of(from).put(to);
}

/// A journal with 50 records, as `early` left it at its 26th while it was open, and as it was left at last.
fn two_states(home: &Path) -> (PathBuf, PathBuf, Content) {
    let (path, early) = (home.join("journal"), home.join("early"));
    let journal = open(&path).unwrap();
    work(&journal, 6);
    copied(&path, &early);
    work(&journal, 6);
    let acknowledged = content(&journal).unwrap();
    journal.close();
    (path, early, acknowledged)
}

#[test]
fn a_store_that_is_behind_or_gone_is_made_good_at_the_start() {
    let home = home();
    let (path, early, acknowledged) = two_states(home.path());
    for (row, store) in [("behind", Some(early.join("store"))), ("gone", None)] {
        for clean in [true, false] {
            let other = home.path().join("other");
            copied(&path, &other);
            fs::remove_dir_all(other.join("store")).unwrap();
            if let Some(store) = &store {
                copied(store, &other.join("store"));
            }
            if !clean {
                fs::remove_file(other.join("clean")).unwrap();
            }
            assert!(content_of(&other) == acknowledged, "{row}, clean: {clean}");
            let journal = open(&other).unwrap();
            work(&journal, 1);
            assert_eq!(journal.verify(Sequence(1)).unwrap().broken, None);
            journal.close();
            assert_eq!(
                examine(&other, None).unwrap().findings,
                [],
                "{row}, clean: {clean}: it goes on as if nothing had been"
            );
        }
    }
}

#[test]
fn a_tail_that_is_behind_is_refused_by_the_store_and_by_the_mark() {
    let home = home();
    let (path, early, acknowledged) = two_states(home.path());
    for (row, mark, store) in [("by both", true, true), ("by the store", false, true), ("by the mark", true, false)] {
        let other = home.path().join("other");
        copied(&path, &other);
        fs::remove_dir_all(other.join("tail")).unwrap();
        copied(&early.join("tail"), &other.join("tail"));
        if !mark {
            fs::remove_file(other.join("clean")).unwrap();
        }
        if !store {
            copied(&early.join("store"), &other.join("store"));
        }
        let before = Image::of(&other.join("tail"));
        let Err(StoreError::DamagedFrom { at, .. }) = open(&other) else { panic!("{row}: it opens") };
        assert_eq!(at, Sequence(27), "{row}");
        assert!(Image::of(&other.join("tail")).0 == before.0, "{row}: nothing of the tail is changed");
        match repair(&other, Others::default(), "before", false) {
            Ok(_) => assert!(store && content_of(&other) == acknowledged, "{row}"),
            Err(error) => assert_eq!((store, error.code()), (false, "journal.lost"), "{row}: {error}"),
        }
        let _ = fs::remove_dir_all(home.path().join("other.aside-before"));
    }
}

#[test]
fn what_both_copies_have_lost_comes_from_a_backup_of_the_same_journal() {
    let home = home();
    let (path, _, acknowledged) = two_states(home.path());
    let about = About { sop: "test".into(), created_at: "2026-11-20T12:00:00Z".into() };
    let journal = open(&path).unwrap();
    let backup = home.path().join("backup");
    write(&journal, journal.head().unwrap(), &backup, &about, || Ok(())).unwrap();
    journal.close();
    let stranger = open(&home.path().join("stranger")).unwrap();
    work(&stranger, 3);
    let strange = home.path().join("strange");
    write(&stranger, stranger.head().unwrap(), &strange, &about, || Ok(())).unwrap();
    stranger.close();

    // The fifth record, in both.
    let body = |bytes: &mut Vec<u8>| {
        let record = &acknowledged.records[4];
        let at = bytes.windows(record.len()).position(|window| window == record).unwrap();
        bytes[at + record.len() / 2] ^= 1;
    };
    for name in ["tail/00000000000000000001.seg", "store/0.jnl"] {
        let mut bytes = fs::read(path.join(name)).unwrap();
        body(&mut bytes);
        fs::write(path.join(name), bytes).unwrap();
    }
    assert!(matches!(open(&path), Err(StoreError::DamagedFrom { at: Sequence(4), .. })));
    let before = Image::of(&path);
    let lost = repair(&path, Others::default(), "before", false).unwrap_err();
    assert!(matches!(lost, RepairError::Lost { from: Sequence(4), to: Sequence(52) }), "{lost}");
    let forked = repair(&path, from(&strange), "before", false).unwrap_err();
    assert!(matches!(forked, RepairError::Forked { at: Sequence(2..) }), "{forked}");
    assert!(Image::of(&path).0 == before.0, "a repair that is refused changes nothing");
    let repaired = repair(&path, from(&backup), "before", false).unwrap();
    assert!(0 < repaired.from_backup && 0 < repaired.from_tail, "{repaired:?}");
    assert!(content_of(&path) == acknowledged);
}

#[test]
fn another_format_is_refused_and_no_journal_is_not_repaired() {
    let home = home();
    let old = home.path().join("old");
    drop(fjall::Database::builder(&old).open().unwrap());
    assert!(matches!(open(&old), Err(StoreError::Format { found: 1 })));
    assert_eq!(repair(&old, Others::default(), "before", false).unwrap_err().code(), "journal.format");
    let none = home.path().join("none");
    assert_eq!(examine(&none, None).unwrap_err().code(), "journal.absent");
    let journal = open(&none).unwrap();
    assert_eq!(examine(&none, None).unwrap_err().code(), "journal.locked");
    journal.close();
}
