//! What a journal comes to: the history that a release has written gives the states that it gave then, whether a machine
//! takes all of it, goes through snapshots on the way, or starts from one.
//!
//! `history-v0.1.bin` is a whole journal in entries of bundles, made by clients at work; it never changes.
//! `SOP_HISTORY=write cargo test --test journals` makes one where there is none, once for each release that writes other kinds.
//! `states.txt` has a line a machine: name, revision, shape, version, and the digest of the state there. A line of another
//! digest for the same revision and shape means that old snapshots would be taken for what they are not: raise `REVISION`.
//! `SOP_STATES=add cargo test --test journals` adds the lines that are missing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use host::{Clock, Handle, Hosted, Limits, Replica, shape_digest};
use journal::bundle::{self, Entry};
use journal::envelope::{Record, link};
use journal::store::Head;
use journal::{Import, Journal, Keeper, codec};
use kernel::{Digest, Machine, Position, Sequence, Timestamp};
use kit::work::{Pool, Worker};
use kit::{Authority, Client, Dice, Line, adopt_starter};
use sop::states::States;
use supervisors::{Child, ChildRef, Strategy, Supervisor, Tree};

use crate::{Look, each};

const RECORDS: usize = 600;

fn place(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/journals").join(name)
}

fn asked(name: &str) -> bool {
    std::env::var_os(name).is_some()
}

/// The records of the history, and where they end.
fn history() -> (Vec<Record>, Head) {
    let bytes = fs::read(place("history-v0.1.bin")).unwrap();
    let (mut rest, mut records, mut head) = (&bytes[..], Vec::new(), Head::default());
    while let Some(entry) = bundle::take(&mut rest) {
        let record = Record::decode(entry).unwrap();
        assert_eq!((record.previous, record.sequence.0), (head.link, head.sequence.0 + 1));
        head = Head { sequence: record.sequence, link: link(entry) };
        records.push(record);
    }
    assert!(rest.is_empty(), "the file ends where an entry does");
    (records, head)
}

/// Made anew where there is none, if that is asked for: nothing that is there is ever changed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_history_is_there() {
    let path = place("history-v0.1.bin");
    if asked("SOP_HISTORY") && !path.exists() {
        let home = tempfile::tempdir().unwrap();
        let authority = Authority::start(&home.path().join("data"), "").await;
        let line: Arc<dyn Line> = Arc::new(authority.clone());
        adopt_starter(&mut Client::new("setup", line.clone()), &authority.root).await;
        let (pool, root) = (Arc::new(Pool::with_backups()), home.path().join("root"));
        fs::create_dir(&root).unwrap();
        let mut workers: Vec<_> = (0..3)
            .map(|number: usize| {
                let client = Client::new(&format!("c{number}"), line.clone());
                let dice = Dice::new(1, number as u64);
                Worker::new(number, client, authority.root.clone(), dice, pool.clone(), &root)
            })
            .collect();
        while authority.records().len() < RECORDS {
            for worker in &mut workers {
                worker.turn().await;
            }
        }
        let mut entries = Vec::new();
        for record in authority.parts.journal.raw(Sequence(1), RECORDS).unwrap() {
            Entry::of(&record).put(&mut entries);
        }
        authority.stop().await;
        fs::write(&path, entries).unwrap();
    }
    let streams: BTreeSet<_> = history().0.into_iter().map(|record| record.stream).collect();
    let mut told = Told::default();
    each(&mut told);
    let known: BTreeSet<_> = told.0.keys().map(|name| (*name).to_owned()).collect();
    assert_eq!(streams, known, "no concern that has a part in it is gone");
}

/// What each machine that has a part in the history comes to, by its name: revision, shape, version, digest.
#[derive(Default)]
struct Told(BTreeMap<&'static str, (u32, Digest, Position, Digest)>);

impl Look for Told {
    fn at<M: Machine>(&mut self) {
        let (mut straight, mut on_and_off) = (Replica::<M>::default(), Replica::<M>::default());
        for record in history().0.iter().filter(|record| record.stream == M::NAME) {
            straight.apply(record).unwrap();
            on_and_off.machine = codec::restore(&codec::canonical(&on_and_off.machine).unwrap()).unwrap();
            on_and_off.apply(record).unwrap();
        }
        let (version, digest) = straight.digest().unwrap();
        assert_eq!(
            on_and_off.digest().unwrap(),
            (version, digest),
            "{}: with a snapshot between any two records",
            M::NAME
        );
        if version == Position(0) {
            return;
        }
        self.0.insert(M::NAME, (M::REVISION, shape_digest::<M>().unwrap(), version, digest));
    }
}

#[test]
fn it_comes_to_what_it_came_to() {
    let mut told = Told::default();
    each(&mut told);
    let text = fs::read_to_string(place("states.txt")).unwrap_or_default();
    let mut written = BTreeMap::new();
    for line in text.lines() {
        let (known, digest) = line.rsplit_once(' ').unwrap();
        assert_eq!(written.insert(known, digest), None, "one line for each: {line}");
    }
    let mut missing = String::new();
    for (name, (revision, shape, version, digest)) in told.0 {
        let (known, digest) = (format!("{name} {revision} {shape} {version}"), digest.to_string());
        match written.get(known.as_str()) {
            Some(was) => assert_eq!(digest, *was, "{name} makes another state of the same facts: raise its REVISION"),
            None => missing.extend([&known, " ", &digest, "\n"]),
        }
    }
    if asked("SOP_STATES") {
        let mut file = OpenOptions::new().create(true).append(true).open(place("states.txt")).unwrap();
        file.write_all(missing.as_bytes()).unwrap();
    } else {
        assert!(missing.is_empty(), "`SOP_STATES=add cargo test --test journals` adds to states.txt:\n{missing}");
    }
}

/// All machines over a journal, started and stopped.
struct Hosts {
    journal: Journal,
    clock: Clock,
    limits: Limits,
    machines: Vec<Box<dyn Hosted>>,
    children: Vec<Child>,
}

impl Look for Hosts {
    fn at<M: Machine>(&mut self) {
        let handle = Handle::<M>::new(&self.journal, &self.clock, self.limits, None);
        self.children.push(handle.child());
        self.machines.push(Box::new(handle));
    }
}

/// Starts all machines once, holds each against its records, and answers with the versions of their snapshots before it
/// stops them.
async fn started(path: &std::path::Path, snapshot_every: u64) -> BTreeMap<&'static str, u64> {
    let journal = Journal::new(path, journal::Limits::default());
    // No later than the last record, so that the clock asks for little.
    let clock = Clock::from_fn(|| Timestamp(0));
    let limits = Limits { snapshot_every, ..Limits::default() };
    let mut hosts = Hosts { journal: journal.clone(), clock, limits, machines: Vec::new(), children: Vec::new() };
    each(&mut hosts);
    let keeper = journal.clone();
    let root = Supervisor::new("root", Strategy::RestForOne)
        .child(Child::actor::<Keeper, _>(&ChildRef::new("journal"), move || (Keeper, keeper.clone())));
    let tree = Tree::start(hosts.children.into_iter().fold(root, Supervisor::child), 1).await.unwrap();
    let mut from = BTreeMap::new();
    for machine in &hosts.machines {
        let (version, digest) = machine.digest_of_state().await.unwrap();
        let mut states = States::default();
        for record in journal.read(Sequence(1), usize::MAX).unwrap() {
            if record.stream != machine.name() || record.version <= version {
                states.replay(&record).unwrap();
            }
        }
        assert_eq!(states.digests().unwrap()[machine.name()], (version, digest), "{}", machine.name());
        from.insert(machine.name(), machine.snapshots().version.0);
    }
    tree.shutdown(Duration::from_mins(1)).await;
    from
}

#[tokio::test]
async fn a_start_with_a_snapshot_comes_to_the_same() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("journal");
    let (records, head) = history();
    let mut import = Import::begin(&path).unwrap();
    for record in &records {
        import.push(record).unwrap();
    }
    import.finish(head).unwrap();
    assert!(started(&path, 0).await.values().all(|version| *version == 0), "without");
    assert!(started(&path, 1_000_000).await.values().all(|version| *version == 0), "none was there yet");
    assert!(started(&path, 1_000_000).await.values().all(|version| 0 < *version), "with what the stop before has left");
}
