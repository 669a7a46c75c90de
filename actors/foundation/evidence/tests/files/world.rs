//! A journal with notes in it, and a log over it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;

use evidence::{Evidence, Limits, Places};
use journal::codec::{self, Body};
use journal::envelope::Answer;
use journal::{Append, Entry, Journal};
use kernel::{CommandId, Decision, Digest, Epoch, Kind, Position, Principal, Sequence, Timestamp};
use retention::Event;
use retention::records::{PrunedV1, PruningV1};
use tempfile::TempDir;

const NOTED: Kind = Kind { id: 900, version: 1, name: "noted" };

/// A directory with a journal, and a log beside it.
pub struct World {
    pub home: TempDir,
    pub journal: Journal,
    pub evidence: Evidence,
    pub epoch: Epoch,
    pub written: u64,
    /// Of those, what is in another stream than the notes.
    others: u64,
}

pub fn places(home: &Path) -> Places {
    Places { log: home.join("evidence"), key: home.join("keys/log") }
}

pub fn journal(path: &Path) -> Journal {
    let journal = Journal::new(path, journal::Limits { reserve_bytes: 0, ..journal::Limits::default() });
    journal.open().unwrap();
    journal
}

/// A journal in `home`, closed, whose tail is many short segments.
fn alone_in_segments(home: &Path) -> Journal {
    let limits = journal::Limits { reserve_bytes: 0, segment_bytes: 4 << 10, ..journal::Limits::default() };
    Journal::new(&home.join("journal"), limits)
}

/// The same over the log beside it.
pub fn in_segments(home: &Path) -> Journal {
    alone_in_segments(home).with_past(Arc::new(places(home)))
}

impl World {
    /// Record 1 is there, and signed by nobody.
    pub fn new() -> Self {
        Self::with(Limits::default())
    }

    pub fn with(limits: Limits) -> Self {
        Self::at(TempDir::new().unwrap(), limits)
    }

    pub fn at(home: TempDir, limits: Limits) -> Self {
        let journal = journal(&home.path().join("journal"));
        Self::over(home, journal, limits)
    }

    pub fn in_segments() -> Self {
        let home = TempDir::new().unwrap();
        let journal = in_segments(home.path());
        journal.open().unwrap();
        Self::over(home, journal, Limits::default())
    }

    /// It keeps its tail.
    pub fn alone_in_segments() -> Self {
        let home = TempDir::new().unwrap();
        let journal = alone_in_segments(home.path());
        journal.open().unwrap();
        Self::over(home, journal, Limits::default())
    }

    fn over(home: TempDir, journal: Journal, limits: Limits) -> Self {
        let evidence = Evidence::new(&journal, places(home.path()), limits);
        evidence.open().unwrap();
        let (tell, told) = channel();
        let then = Box::new(move |opened| tell.send(opened).unwrap());
        journal.queue(Entry::Open {
            stream: "notes",
            principal: Principal::internal("test"),
            time: Timestamp(1),
            then,
        });
        let epoch = told.recv().unwrap().unwrap().epoch;
        Self { home, journal, evidence, epoch, written: 1, others: 0 }
    }

    pub fn places(&self) -> Places {
        places(self.home.path())
    }

    /// Writes records until there are `records`, each with so many bytes of `content`. The same make the same journal.
    pub fn write(&mut self, records: u64, bytes: usize, content: u8) {
        let (tell, told) = channel();
        for expected in self.written..records {
            let tell = tell.clone();
            self.journal.queue(Entry::Append(Box::new(Append {
                stream: "notes",
                epoch: self.epoch,
                expected: Position(expected - self.others),
                time: Timestamp(1_000 + expected),
                principal: Principal::internal("test"),
                decision: Decision::default(),
                command_id: CommandId(u128::from(expected)),
                command_digest: Digest::default(),
                cause: None,
                asked: None,
                // Both together make a record that fits no entry.
                answer: Answer::Reply(vec![b'1'; bytes]),
                bodies: vec![Body { kind: NOTED, bytes: vec![content; bytes] }],
                then: Box::new(move |answer| tell.send(answer).unwrap()),
            })));
        }
        drop(tell);
        assert!(told.iter().all(|answer| answer.is_ok()));
        // Answered with the next group, and so after what was answered before is known to be durable.
        let (tell, told) = channel();
        let then = Box::new(move |reached| tell.send(reached).unwrap());
        self.journal.queue(Entry::Barrier { stream: "notes", epoch: self.epoch, version: Position(0), then });
        told.recv().unwrap().unwrap();
        self.written = self.written.max(records);
        assert_eq!(self.journal.durable().borrow().0, self.written);
    }

    /// Puts on record that the first `minimum` records leave the log, and that they have left it: three records, all signed.
    pub fn decree(&mut self, minimum: u64, place: &str) -> Sequence {
        let (stream, principal, time) = ("retention", Principal::internal("test"), Timestamp(1_000 + self.written));
        let (tell, told) = channel();
        let then = Box::new(move |opened| tell.send(opened).unwrap());
        self.journal.queue(Entry::Open { stream, principal: principal.clone(), time, then });
        let epoch = told.recv().unwrap().unwrap().epoch;
        let pruning = PruningV1 {
            minimum,
            backup: 3,
            manifest: Digest([7; 32]),
            place: place.to_owned(),
            rules: String::new(),
            by: "operator/root".into(),
            at: time,
        };
        let facts = [Event::Pruning(pruning), Event::Pruned(PrunedV1 { minimum, at: time })];
        let said = (1..).zip(&facts).map(|(expected, fact)| {
            let (tell, told) = channel();
            self.journal.queue(Entry::Append(Box::new(Append {
                stream,
                epoch,
                expected: Position(expected),
                time,
                principal: principal.clone(),
                decision: Decision::default(),
                command_id: CommandId(9_000 + u128::from(expected)),
                command_digest: Digest::default(),
                cause: None,
                asked: None,
                answer: Answer::Reply(b"1".to_vec()),
                bodies: vec![codec::write(fact).unwrap()],
                then: Box::new(move |answer| tell.send(answer).unwrap()),
            })));
            told.recv().unwrap().unwrap().first
        });
        let record = said.collect::<Vec<_>>()[0];
        // Nothing more is written, and all is known to be durable.
        self.written += 3;
        self.others += 3;
        self.write(self.written, 0, 0);
        self.follow();
        record
    }

    /// Lets the log follow to the end.
    pub fn follow(&self) {
        while self.evidence.follow().unwrap() {}
        assert_eq!(self.evidence.standing().lag, 0);
    }

    /// A log over the same journal, as a process finds it that starts.
    pub fn started(&self) -> Result<Evidence, evidence::LogError> {
        self.evidence.close();
        let evidence = Evidence::new(&self.journal, self.places(), Limits::default());
        evidence.open().map(|()| evidence)
    }
}

/// Every file below `place` but the lock, with what is in it.
pub fn files(place: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut left = vec![place.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path != place.join("lock") {
                found.insert(path.strip_prefix(place).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Makes `place` hold these files and nothing else.
pub fn lay(place: &Path, files: &BTreeMap<PathBuf, Vec<u8>>) {
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(place).unwrap();
    for (name, bytes) in files {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
