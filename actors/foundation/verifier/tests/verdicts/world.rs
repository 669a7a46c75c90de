//! Logs as the authority writes them, and what can be done to a copy.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;

use evidence::{Evidence, Limits, Places};
use journal::codec::{self, Body};
use journal::envelope::Answer;
use journal::{Append, Entry, Journal};
use kernel::{CommandId, Decision, Digest, Epoch, Kind, Position, Principal, TokenId, TokenUse};
use kernel::{Sequence, Timestamp};
use retention::Event;
use retention::records::PruningV1;
use tempfile::TempDir;
use verifier::note::{Key, Trust};

pub type Files = BTreeMap<PathBuf, Vec<u8>>;

const STREAMS: [&str; 2] = ["notes", "words"];

/// A journal of two streams, and a log over it.
pub struct World {
    pub home: TempDir,
    pub journal: Journal,
    pub evidence: Evidence,
}

impl World {
    /// So many records; every seventh has an answer, and one is too long for an entry.
    pub fn of(records: u64) -> Self {
        let home = TempDir::new().unwrap();
        let limits = journal::Limits { reserve_bytes: 0, ..journal::Limits::default() };
        let journal = Journal::new(&home.path().join("journal"), limits);
        journal.open().unwrap();
        let places = Places { log: home.path().join("evidence"), key: home.path().join("keys/log") };
        let evidence = Evidence::new(&journal, places, Limits::default());
        evidence.open().unwrap();
        let world = Self { home, journal, evidence };
        let mut epochs = Vec::new();
        for stream in STREAMS {
            let (tell, told) = channel();
            let then = Box::new(move |opened| tell.send(opened).unwrap());
            let principal = Principal::internal("test");
            world.journal.queue(Entry::Open { stream, principal, time: Timestamp(1), then });
            epochs.push(told.recv().unwrap().unwrap().epoch);
        }
        let (tell, told) = channel();
        for number in 2..records {
            let (which, tell) = (usize::from(number % 3 == 0), tell.clone());
            let earlier = (2..number).filter(|earlier| usize::from(earlier % 3 == 0) == which).count() as u64;
            let long = if number == 300 { 60_000 } else { 20 + number % 50 };
            let bytes = vec![b'7'; usize::try_from(long).unwrap()];
            world.journal.queue(Entry::Append(Box::new(Append {
                stream: STREAMS[which],
                epoch: epochs[which],
                expected: Position(1 + earlier),
                time: Timestamp(1_000 + number),
                principal: Principal::internal("test"),
                decision: Decision {
                    policies: vec!["one".into(), "the \"other\"\n".into()],
                    token: (number % 5 == 0).then_some(TokenUse { token: TokenId(number.into()), number: 3 }),
                    ..Decision::default()
                },
                command_id: CommandId(u128::from(number)),
                command_digest: Digest([7; 32]),
                cause: (number % 4 == 0).then_some(Sequence(number)),
                asked: None,
                answer: if number % 7 == 0 || number == 300 { Answer::Reply(bytes.clone()) } else { Answer::None },
                bodies: vec![Body { kind: Kind { id: 900, version: 1, name: "noted" }, bytes }],
                then: Box::new(move |answer| tell.send(answer).unwrap()),
            })));
        }
        drop(tell);
        assert!(told.iter().all(|answer| answer.is_ok()));
        world.settled("notes", epochs[0]);
        assert_eq!(world.evidence.checkpoint().unwrap().0.size, records);
        world
    }

    /// Puts on record that the first `minimum` records leave the log, and lets them; that record.
    pub fn prune(&self, minimum: u64) -> u64 {
        let (stream, principal) = ("retention", Principal::internal("test"));
        let (tell, told) = channel();
        let then = Box::new(move |opened| tell.send(opened).unwrap());
        self.journal.queue(Entry::Open { stream, principal: principal.clone(), time: Timestamp(9_000), then });
        let epoch = told.recv().unwrap().unwrap().epoch;
        let (place, rules, by) = ("/b".to_owned(), String::new(), "operator/root".to_owned());
        let (backup, manifest, at) = (1, Digest([7; 32]), Timestamp(9_000));
        let pruning = Event::Pruning(PruningV1 { minimum, backup, manifest, place, rules, by, at });
        let (tell, told) = channel();
        self.journal.queue(Entry::Append(Box::new(Append {
            stream,
            epoch,
            expected: Position(1),
            time: Timestamp(9_000),
            principal,
            decision: Decision::default(),
            command_id: CommandId(9_000),
            command_digest: Digest([7; 32]),
            cause: None,
            asked: None,
            answer: Answer::Reply(b"1".to_vec()),
            bodies: vec![codec::write(&pruning).unwrap()],
            then: Box::new(move |answer| tell.send(answer).unwrap()),
        })));
        let record = told.recv().unwrap().unwrap().first;
        self.settled(stream, epoch);
        assert!(self.evidence.prune(minimum, record, &mut || true).unwrap());
        record.0
    }

    /// All that was written is signed.
    fn settled(&self, stream: &'static str, epoch: Epoch) {
        let (tell, told) = channel();
        let then = Box::new(move |reached| tell.send(reached).unwrap());
        self.journal.queue(Entry::Barrier { stream, epoch, version: Position(0), then });
        told.recv().unwrap().unwrap();
        while self.evidence.follow().unwrap() {}
    }

    pub fn log(&self) -> PathBuf {
        self.home.path().join("evidence")
    }

    pub fn vkey(&self) -> String {
        self.evidence.public().unwrap().to_string()
    }

    pub fn trust(&self) -> Trust {
        Trust::of(Key::log(&self.vkey()).unwrap())
    }

    /// The records, with their numbers.
    pub fn records(&self) -> Vec<Vec<u8>> {
        self.journal.raw(Sequence(1), usize::MAX).unwrap()
    }
}

/// Every file below `place` but the lock.
pub fn files(place: &Path) -> Files {
    let mut found = Files::new();
    let mut left = vec![place.to_owned()];
    while let Some(folder) = left.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if !path.ends_with("lock") {
                found.insert(path.strip_prefix(place).unwrap().to_owned(), fs::read(&path).unwrap());
            }
        }
    }
    found
}

pub fn lay(place: &Path, files: &Files) {
    let _ = fs::remove_dir_all(place);
    for (name, bytes) in files {
        let path = place.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
