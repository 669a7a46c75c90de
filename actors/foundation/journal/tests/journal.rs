//! What the journal promises: durable answers, fencing, one order, and an honest end.

use std::sync::mpsc::{Receiver, channel};

use journal::codec::Body;
use journal::envelope::Answer;
use journal::reader::{Bounds, Filter, Reader};
use journal::store::{Group, Log, StoreError};
use journal::{Append, AppendError, Durable, Entry, Journal, Limits, OPENED, Opened, Unwritable};
use kernel::{CommandId, Decision, Digest, Epoch, Kind, Position, Principal, Sequence, Timestamp};
use proptest::prelude::*;
use tokio::sync::watch;

const NOTED: Kind = Kind { id: 900, version: 1, name: "noted" };

fn open(path: &std::path::Path) -> Journal {
    let journal = Journal::new(path, Limits { reserve_bytes: 0, ..Limits::default() });
    journal.open().unwrap();
    journal
}

fn stream(journal: &Journal, stream: &'static str) -> Opened {
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    journal.queue(Entry::Open { stream, principal: Principal::internal("test"), time: Timestamp(1), then });
    told.recv().unwrap().unwrap()
}

fn append(
    journal: &Journal,
    stream: &'static str,
    epoch: Epoch,
    expected: u64,
    bodies: &[&[u8]],
) -> Receiver<Result<Durable, AppendError>> {
    let (tell, told) = channel();
    journal.queue(Entry::Append(Box::new(Append {
        stream,
        epoch,
        expected: Position(expected),
        time: Timestamp(1_000 + expected),
        principal: "operator/root".parse().unwrap(),
        decision: Decision::default(),
        command_id: CommandId(u128::from(expected)),
        command_digest: Digest::default(),
        cause: None,
        asked: None,
        answer: Answer::Reply(b"{}".to_vec()),
        bodies: bodies.iter().map(|bytes| Body { kind: NOTED, bytes: bytes.to_vec() }).collect(),
        then: Box::new(move |answer| tell.send(answer).unwrap()),
    })));
    told
}

/// As a process leaves it that was killed while it made its first store.
#[test]
fn a_store_that_was_never_finished_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    open(&path).close();
    // All that fjall writes before it calls a directory its own.
    let half = dir.path().join("journal.making/whole/store");
    std::fs::create_dir_all(&half).unwrap();
    for file in ["lock", "0.jnl"] {
        std::fs::copy(path.join("store").join(file), half.join(file)).unwrap();
    }
    std::fs::remove_dir_all(&path).unwrap();
    let journal = open(&path);
    assert_eq!(stream(&journal, "notes").epoch, Epoch(1));
    journal.close();
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["journal"]);
}

#[test]
fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let opened = stream(&journal, "notes");
    assert_eq!(opened, Opened { epoch: Epoch(1), version: Position(1), time: Timestamp(1) });
    let durable = append(&journal, "notes", opened.epoch, 1, &[b"a", b"b"]).recv().unwrap().unwrap();
    assert_eq!(durable, Durable { first: Sequence(2), last: Sequence(3), version: Position(3) });
    journal.close();

    let journal = open(dir.path());
    let records = journal.read(Sequence(1), 10).unwrap();
    let seen: Vec<_> = records.iter().map(|r| (r.sequence.0, r.kind_id, r.body.as_slice(), r.index, r.count)).collect();
    assert_eq!(seen, [(1, OPENED.id, &b""[..], 0, 1), (2, 900, b"a", 0, 2), (3, 900, b"b", 1, 2)]);
    assert_eq!((&records[1].answer, &records[2].answer), (&Answer::Reply(b"{}".to_vec()), &Answer::None));
    let again = Opened { epoch: Epoch(2), version: Position(4), time: Timestamp(1_001) };
    assert_eq!(stream(&journal, "notes"), again, "time never goes back");
    let verified = journal.verify(Sequence(1)).unwrap();
    assert_eq!((verified.records, verified.streams, verified.broken), (4, 1, None));
}

#[test]
fn who_listens_to_a_stream_hears_of_that_stream_and_of_each_opening() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let [notes, others] = ["notes", "others"].map(|name| (name, stream(&journal, name).epoch));
    // Who is answered is so before the others hear of it.
    journal.close();
    journal.open().unwrap();
    let mut listening = ["notes", "others", "nobodys"].map(|stream| journal.moved(stream));
    let mut expect = |what: &str, expected: [bool; 3]| {
        assert_eq!(listening.each_ref().map(|stream| stream.has_changed().unwrap()), expected, "{what}");
        listening.iter_mut().for_each(watch::Receiver::mark_unchanged);
    };
    for (row, (name, epoch), expected) in
        [("its own", notes, [true, false, false]), ("another", others, [false, true, false])]
    {
        append(&journal, name, epoch, 1, &[b"a"]).recv().unwrap().unwrap();
        // The committer is gone then, and has told everybody.
        journal.close();
        expect(row, expected);
        journal.open().unwrap();
        expect("an opening", [true; 3]);
    }
    append(&journal, "notes", Epoch(9), 2, &[b"a"]).recv().unwrap().unwrap_err();
    journal.close();
    expect("a fenced append", [false; 3]);
}

#[test]
fn an_older_incarnation_and_a_stale_version_are_fenced() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let old = stream(&journal, "notes");
    let new = stream(&journal, "notes");
    for (row, epoch, expected, answer) in [
        ("the old incarnation", old.epoch, 2, Err(AppendError::Fenced)),
        ("a version that is not there yet", new.epoch, 3, Err(AppendError::Fenced)),
        ("a version that has passed", new.epoch, 1, Err(AppendError::Fenced)),
        ("an incarnation that never was", Epoch(9), 2, Err(AppendError::Fenced)),
        ("the right one", new.epoch, 2, Ok(Position(3))),
    ] {
        let told = append(&journal, "notes", epoch, expected, &[b"x"]).recv().unwrap();
        assert_eq!(told.map(|durable| durable.version), answer, "{row}");
    }
    assert_eq!(journal.read(Sequence(1), 10).unwrap().len(), 3, "a fenced append leaves nothing");
}

#[test]
fn a_barrier_answers_for_durable_versions_of_the_living_incarnation_only() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let Opened { epoch, version, .. } = stream(&journal, "notes");
    for (row, epoch, version, answer) in [
        ("there", epoch, version, Ok(())),
        ("not there", epoch, Position(2), Err(AppendError::Fenced)),
        ("another incarnation", Epoch(7), version, Err(AppendError::Fenced)),
    ] {
        let (tell, told) = channel();
        let then = Box::new(move |answer| tell.send(answer).unwrap());
        journal.queue(Entry::Barrier { stream: "notes", epoch, version, then });
        assert_eq!(told.recv().unwrap(), answer, "{row}");
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let second = Journal::new(dir.path(), Limits::default());
    assert!(matches!(second.open(), Err(StoreError::Locked)));
    journal.close();
    second.open().unwrap();
}

#[test]
fn a_closed_journal_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let Opened { epoch, .. } = stream(&journal, "notes");
    journal.close();
    assert_eq!(append(&journal, "notes", epoch, 1, &[b"x"]).recv().unwrap(), Err(AppendError::Unavailable));
    assert_eq!(journal.writable(), Err(Unwritable::Closed));
    assert!(journal.read(Sequence(1), 1).is_err());
}

#[test]
fn a_disk_under_its_reserve_refuses_before_anything_is_decided() {
    let dir = tempfile::tempdir().unwrap();
    let journal = Journal::new(dir.path(), Limits { reserve_bytes: u64::MAX, ..Limits::default() });
    journal.open().unwrap();
    assert!(matches!(journal.writable(), Err(Unwritable::DiskFull { reserve_bytes: u64::MAX, .. })));
    stream(&journal, "notes");
}

/// Fails every group from the n-th on, after writing it or without.
struct Failing {
    log: Box<dyn Log>,
    groups_left: usize,
    written: bool,
}

impl Log for Failing {
    fn append_group(&mut self, group: &Group) -> Result<(), StoreError> {
        if 0 < self.groups_left {
            self.groups_left -= 1;
            return self.log.append_group(group);
        }
        if self.written {
            self.log.append_group(group)?;
        }
        Err(StoreError::Io { why: "EIO".into() })
    }
}

#[test]
fn a_failed_sync_leaves_the_outcome_unknown_and_ends_all_writing() {
    for written in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let wrap = Box::new(move |log| Box::new(Failing { log, groups_left: 2, written }) as Box<dyn Log>);
        let journal = Journal::with_log(dir.path(), Limits { reserve_bytes: 0, ..Limits::default() }, wrap);
        journal.open().unwrap();
        let Opened { epoch, .. } = stream(&journal, "notes");
        append(&journal, "notes", epoch, 1, &[b"kept"]).recv().unwrap().unwrap();
        let unknown = Err(AppendError::Unknown { why: "the store failed: EIO".into() });
        assert_eq!(append(&journal, "notes", epoch, 2, &[b"lost?"]).recv().unwrap(), unknown);
        let AppendError::Unknown { .. } = append(&journal, "notes", epoch, 3, &[b"no"]).recv().unwrap().unwrap_err()
        else {
            panic!("nothing is written after a failure")
        };
        assert!(matches!(journal.writable(), Err(Unwritable::Failed { .. })));
        assert!(journal.open().is_err(), "a failure is final for this process");
        journal.close();

        let reopened = open(dir.path());
        let bodies: Vec<_> = reopened.read(Sequence(2), 10).unwrap().into_iter().map(|record| record.body).collect();
        let expected: &[&[u8]] = if written { &[b"kept", b"lost?"] } else { &[b"kept"] };
        assert_eq!(bodies, expected);
        assert_eq!(reopened.verify(Sequence(1)).unwrap().broken, None);
    }
}

/// Appends are queued from several threads while the disk fails: wherever the failure finds them, each is answered.
#[test]
fn everybody_is_answered_once_also_while_the_journal_fails() {
    for round in 0..40 {
        let dir = tempfile::tempdir().unwrap();
        let wrap = Box::new(move |log| Box::new(Failing { log, groups_left: 1, written: false }) as Box<dyn Log>);
        let journal = Journal::with_log(dir.path(), Limits { reserve_bytes: 0, ..Limits::default() }, wrap);
        journal.open().unwrap();
        let Opened { epoch, .. } = stream(&journal, "notes");
        let told: Vec<_> = std::thread::scope(|scope| {
            let asking = || (0..200).map(|_| append(&journal, "notes", epoch, 1, &[b"x"])).collect::<Vec<_>>();
            let threads: Vec<_> = (0..3).map(|_| scope.spawn(asking)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        for answer in told {
            assert!(answer.recv().expect("answered").is_err(), "round {round}");
        }
    }
}

#[test]
fn an_edited_record_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let Opened { epoch, .. } = stream(&journal, "notes");
    for version in 1..=5 {
        append(&journal, "notes", epoch, version, &[b"honest"]).recv().unwrap().unwrap();
    }
    journal.close();
    {
        let database = fjall::Database::builder(dir.path().join("store")).open().unwrap();
        let records = database.keyspace("records", fjall::KeyspaceCreateOptions::default).unwrap();
        let bundle = records.get(4_u64.to_be_bytes()).unwrap().unwrap();
        let mut edited = bundle.to_vec();
        let at = edited.windows(6).position(|window| window == b"honest").unwrap();
        edited[at] = b'H';
        records.insert(4_u64.to_be_bytes(), edited).unwrap();
    }
    let broken = open(dir.path()).verify(Sequence(1)).unwrap().broken.unwrap();
    assert_eq!((broken.at, broken.what.as_str()), (Sequence(5), "the link is not the hash of the record before"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However commands of several streams mix, each stream reads back whole, in order, from any version to any other.
    #[test]
    fn every_stream_reads_back(
        script in prop::collection::vec((0_usize..3, 0_usize..4, 0_usize..3_000), 1..120),
        from in 1_u64..60,
        span in 0_u64..60,
    ) {
        const STREAMS: [&str; 3] = ["a", "ab", "b"];
        let dir = tempfile::tempdir().unwrap();
        let journal = open(dir.path());
        let opened = STREAMS.map(|name| stream(&journal, name).epoch);
        let mut model: [Vec<Vec<u8>>; 3] = [vec![vec![]], vec![vec![]], vec![vec![]]];
        let mut told = Vec::new();
        for (number, (at, facts, size)) in script.into_iter().enumerate() {
            let mut body = format!("{number}").into_bytes();
            body.resize(body.len() + size, b'.');
            let bodies = vec![body.as_slice(); facts];
            let expected = model[at].len() as u64;
            told.push(append(&journal, STREAMS[at], opened[at], expected, &bodies));
            model[at].extend(if facts == 0 { vec![vec![]] } else { vec![body.clone(); facts] });
        }
        for answer in told {
            prop_assert!(answer.recv().unwrap().is_ok());
        }
        for (name, bodies) in STREAMS.iter().zip(&model) {
            let to = from + span;
            let records = journal.read_stream(name, Position(from), Position(to), usize::MAX).unwrap();
            let read: Vec<_> = records.iter().map(|record| (record.version.0, record.body.clone())).collect();
            let expected: Vec<_> = (1..).zip(bodies.iter().cloned()).filter(|(v, _)| (from..=to).contains(v)).collect();
            prop_assert_eq!(read, expected);
        }
        let verified = journal.verify(Sequence(1)).unwrap();
        prop_assert_eq!((verified.records, verified.broken), (model.iter().map(Vec::len).sum::<usize>() as u64, None));
        for from in 1..=verified.records {
            let record = &journal.read(Sequence(from), 1).unwrap()[0];
            prop_assert_eq!(record.sequence, Sequence(from));
        }
    }
}

const FEW: Bounds = Bounds { records: 3, bytes: usize::MAX };

/// Of `notes` and `other`, in turns.
fn two_streams(journal: &Journal, rounds: u64) {
    let (notes, other) = (stream(journal, "notes"), stream(journal, "other"));
    for round in 0..rounds {
        append(journal, "notes", notes.epoch, 1 + 2 * round, &[b"n", b"n"]).recv().unwrap().unwrap();
        append(journal, "other", other.epoch, 1 + round, &[b"o"]).recv().unwrap().unwrap();
    }
}

#[test]
fn a_reader_gives_what_is_wanted_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    two_streams(&journal, 40);
    let of = |streams: &[&str], kinds: &[u32]| Filter {
        streams: streams.iter().map(|stream| (*stream).to_owned()).collect(),
        kinds: kinds.iter().copied().collect(),
    };
    for (row, filter, after, expected) in [
        ("all", of(&[], &[]), 0, 122),
        ("all from within", of(&[], &[]), 100, 22),
        ("a stream", of(&["notes"], &[]), 0, 81),
        ("two streams", of(&["notes", "other"], &[]), 0, 122),
        ("a kind", of(&[], &[900]), 0, 120),
        ("a kind of a stream", of(&["other"], &[OPENED.id]), 0, 1),
        ("what there is not", of(&["nobody"], &[]), 0, 0),
        ("from the end", of(&[], &[]), 122, 0),
        ("from beyond", of(&[], &[]), 9_000, 0),
    ] {
        let all = journal.read(Sequence(after + 1), 1_000).unwrap();
        let wanted: Vec<_> = all.into_iter().filter(|record| filter.wants(record)).collect();
        assert_eq!(wanted.len(), expected, "{row}");
        let mut reader = Reader::new(&journal, Sequence(after), |record: &_| filter.wants(record));
        let mut given = Vec::new();
        loop {
            let page = reader.read(FEW).unwrap();
            assert!(page.records.len() <= 3 && page.head == Sequence(122), "{row}: {page:?}");
            assert_eq!(page.position, reader.position(), "{row}");
            let last = page.records.last().map_or(page.position, |record| record.sequence);
            assert!(last <= page.position, "{row}: what was given was looked at");
            given.extend(page.records);
            if page.head <= page.position {
                break;
            }
        }
        assert_eq!(given, wanted, "{row}");
    }
    journal.close();
    let closed = Reader::new(&journal, Sequence(0), |_: &_| true).read(FEW);
    assert!(matches!(closed, Err(StoreError::Closed)), "{closed:?}");
}

#[test]
fn a_page_has_a_bound_in_bytes_and_gives_one_record_whatever_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    let opened = stream(&journal, "notes");
    let large = vec![7; 1_000];
    append(&journal, "notes", opened.epoch, 1, &[&large, &large, b"small", &large]).recv().unwrap().unwrap();
    let mut reader = Reader::new(&journal, Sequence(1), |_: &_| true);
    let mut pages = Vec::new();
    while pages.iter().sum::<usize>() < 4 {
        pages.push(reader.read(Bounds { records: 100, bytes: 1_500 }).unwrap().records.len());
    }
    assert_eq!(pages, [1, 2, 1], "the answer of the first counts, too");
    let mut reader = Reader::new(&journal, Sequence(1), |_: &_| true);
    assert_eq!(reader.read(Bounds { records: 100, bytes: 0 }).unwrap().records.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_waits_for_what_it_wants() {
    let dir = tempfile::tempdir().unwrap();
    let journal = open(dir.path());
    two_streams(&journal, 1);
    let mut reader = Reader::new(&journal, Sequence(0), |record: &_| {
        Filter::wants(&Filter { streams: ["later".to_owned()].into(), ..Filter::default() }, record)
    });
    let writer = journal.clone();
    let (page, _) = tokio::join!(reader.next(FEW), async move {
        tokio::task::yield_now().await;
        stream(&writer, "other");
        stream(&writer, "later")
    });
    let page = page.unwrap();
    assert_eq!(page.records.iter().map(|record| record.stream.as_str()).collect::<Vec<_>>(), ["later"]);
    assert_eq!(page.position, page.records[0].sequence);
    journal.close();
}
