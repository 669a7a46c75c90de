//! The one writer: drains its queue into a group, syncs once, and acknowledges all.
//!
//! There is no timer: while one group is being synced, the next one gathers by itself.
//!
//! # Invariants
//! 1. Entries are handled in the order they were queued, and their answers are given in that order.
//! 2. An append is taken only from the current incarnation of its stream, at the version it expects.
//! 3. After a failed append nothing is written any more: the outcome is unknown, and only the next open can tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use kernel::{Asked, CommandId, Decision, Digest, Epoch, Position, Principal, Sequence, Timestamp};

use crate::codec::Body;
use crate::envelope::{Answer, Record, link};
use crate::store::{Group, Head, Log, StoreError, StreamHead};
use crate::{AppendError, CONCLUDED, Durable, Limits, OPENED, Opened, Shared};

/// What is told about an entry, once, on the committer's thread: it must not block.
pub type Then<T> = Box<dyn FnOnce(Result<T, AppendError>) + Send>;

/// The records of one command.
pub struct Append {
    pub stream: &'static str,
    pub epoch: Epoch,
    /// The stream's version before this append.
    pub expected: Position,
    pub time: Timestamp,
    pub principal: Principal,
    pub decision: Decision,
    pub command_id: CommandId,
    pub command_digest: Digest,
    pub cause: Option<Sequence>,
    /// What was asked at the door, for the first record.
    pub asked: Option<Box<Asked>>,
    pub answer: Answer,
    /// The facts; none makes one record that holds only the answer.
    pub bodies: Vec<Body>,
    pub then: Then<Durable>,
}

/// What can be queued.
pub enum Entry {
    Append(Box<Append>),
    Open {
        stream: &'static str,
        principal: Principal,
        time: Timestamp,
        then: Then<Opened>,
    },
    /// Answers once `version` of the stream is durable under `epoch`.
    Barrier {
        stream: &'static str,
        epoch: Epoch,
        version: Position,
        then: Then<()>,
    },
}

impl Entry {
    pub(crate) fn refuse(self, error: AppendError) {
        match self {
            Self::Append(append) => (append.then)(Err(error)),
            Self::Open { then, .. } => then(Err(error)),
            Self::Barrier { then, .. } => then(Err(error)),
        }
    }
}

pub(crate) struct Committer {
    pub shared: Arc<Shared>,
    pub log: Box<dyn Log>,
    pub head: Head,
    pub streams: BTreeMap<String, StreamHead>,
    pub limits: Limits,
    /// The streams that the group moves.
    pub moved: Vec<&'static str>,
    /// The record being written: its texts keep their room from one to the next.
    pub scratch: Record,
}

/// Whom to tell once the group is stored, and what.
enum Completion {
    Appended(Then<Durable>, Durable),
    Opened(Then<Opened>, Opened),
    Reached(Then<()>),
    FencedAppend(Then<Durable>),
    FencedBarrier(Then<()>),
}

impl Completion {
    fn tell(self, stored: Result<(), AppendError>) {
        match self {
            Self::Appended(then, durable) => then(stored.map(|()| durable)),
            Self::Opened(then, opened) => then(stored.map(|()| opened)),
            Self::Reached(then) => then(stored),
            Self::FencedAppend(then) => then(Err(AppendError::Fenced)),
            Self::FencedBarrier(then) => then(Err(AppendError::Fenced)),
        }
    }
}

impl Committer {
    /// Runs until every sender is gone, or a group fails. `Ok` if all that was queued is durable.
    pub fn run(mut self, queue: &Receiver<Entry>) -> Result<(), StoreError> {
        let mut group = Group::default();
        while let Ok(first) = queue.recv() {
            let mut completions = Vec::new();
            group.clear();
            self.moved.clear();
            self.take(first, &mut group, &mut completions);
            while group.records < self.limits.group_records_max && group.bytes < self.limits.group_bytes_max {
                match queue.try_recv() {
                    Ok(entry) => self.take(entry, &mut group, &mut completions),
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
                }
            }
            let stored = if group.records == 0 { Ok(()) } else { self.store(&group) };
            let answer = match &stored {
                Ok(()) => Ok(()),
                Err(error) => Err(AppendError::Unknown { why: error.to_string() }),
            };
            if let Err(AppendError::Unknown { why }) = &answer {
                // Before anybody hears of it: whoever asks next must be refused.
                self.shared.fail(why);
            }
            for completion in completions {
                completion.tell(answer.clone());
            }
            stored?;
            self.shared.durable.send_replace(self.head.sequence);
            self.shared.moved(&self.moved);
        }
        Ok(())
    }

    fn store(&mut self, group: &Group) -> Result<(), StoreError> {
        // Of another file of the journal, perhaps: a sync that failed is everybody's.
        if let Some(why) = self.shared.failure.borrow().clone() {
            return Err(StoreError::Io { why });
        }
        let started = Instant::now();
        self.log.append_group(group)?;
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.figures.stored(group.records, group.bytes, micros);
        Ok(())
    }

    fn take(&mut self, entry: Entry, group: &mut Group, completions: &mut Vec<Completion>) {
        match entry {
            Entry::Append(append) => self.append(*append, group, completions),
            Entry::Open { stream, principal, time, then } => {
                self.moves(stream);
                let head = self.stream(stream);
                head.epoch.0 += 1;
                let epoch = head.epoch;
                // The clock may have gone back between two incarnations; a stream's time never does.
                let time = time.max(head.time);
                let mut record = self.blank(stream, time, &principal);
                (record.kind_id, record.schema) = (OPENED.id, OPENED.version);
                (record.index, record.count) = (0, 1);
                record.command_id = CommandId::derived(link(format!("{stream} {epoch}").as_bytes()));
                self.scratch = self.push(record, group);
                let version = self.stream(stream).version;
                completions.push(Completion::Opened(then, Opened { epoch, version, time }));
            }
            Entry::Barrier { stream, epoch, version, then } => {
                let head = *self.stream(stream);
                let known = head.epoch == epoch && version <= head.version;
                completions.push(if known { Completion::Reached(then) } else { Completion::FencedBarrier(then) });
            }
        }
    }

    fn append(&mut self, append: Append, group: &mut Group, completions: &mut Vec<Completion>) {
        let Append { stream, epoch, expected, time, principal, decision, then, bodies, .. } = append;
        let head = *self.stream(stream);
        if head.epoch != epoch || head.version != expected {
            completions.push(Completion::FencedAppend(then));
            return;
        }
        self.moves(stream);
        let count = u16::try_from(bodies.len()).expect("the host bounds the facts of one command");
        let mut record = self.blank(stream, time, &principal);
        record.decision = decision;
        record.command_id = append.command_id;
        record.command_digest = append.command_digest;
        record.cause = append.cause;
        record.asked = append.asked;
        record.answer = append.answer;
        record.count = count;
        let first = Sequence(self.head.sequence.0 + 1);
        if bodies.is_empty() {
            (record.kind_id, record.schema) = (CONCLUDED.id, CONCLUDED.version);
            record = self.push(record, group);
        } else {
            for (index, body) in (0..).zip(bodies) {
                (record.kind_id, record.schema) = (body.kind.id, body.kind.version);
                record.index = index;
                record.body = body.bytes;
                record = self.push(record, group);
                (record.asked, record.answer) = (None, Answer::None);
            }
        }
        self.scratch = record;
        let durable = Durable { first, last: self.head.sequence, version: self.stream(stream).version };
        completions.push(Completion::Appended(then, durable));
    }

    /// Gives the record its place and link, and hands it back for the next of its command.
    fn push(&mut self, mut record: Record, group: &mut Group) -> Record {
        self.head.sequence.0 += 1;
        let head = self.streams.get_mut(&record.stream).expect("take looked the stream up");
        head.version.0 += 1;
        head.time = record.time;
        (record.version, record.epoch) = (head.version, head.epoch);
        record.sequence = self.head.sequence;
        record.previous = self.head.link;
        self.head.link = group.push(&record);
        record
    }

    /// A record with nothing in it but who and when; to be given back as `scratch`.
    fn blank(&mut self, stream: &str, time: Timestamp, principal: &Principal) -> Record {
        let Record { stream: mut name, principal: mut by, .. } = std::mem::replace(&mut self.scratch, nothing());
        name.clear();
        name.push_str(stream);
        by.clear();
        by.extend([principal.kin.as_str(), "/", principal.name()]);
        Record { stream: name, principal: by, time, ..nothing() }
    }

    /// One more record of the stream is in the group.
    fn moves(&mut self, stream: &'static str) {
        if !self.moved.contains(&stream) {
            self.moved.push(stream);
        }
    }

    fn stream(&mut self, stream: &str) -> &mut StreamHead {
        if !self.streams.contains_key(stream) {
            self.streams.insert(stream.to_owned(), StreamHead::default());
        }
        self.streams.get_mut(stream).expect("one was just inserted")
    }
}

/// A record of nothing yet.
pub(crate) fn nothing() -> Record {
    Record {
        kind_id: 0,
        schema: 0,
        index: 0,
        count: 0,
        sequence: Sequence(0),
        stream: String::new(),
        version: Position(0),
        epoch: Epoch(0),
        time: Timestamp(0),
        principal: String::new(),
        decision: Decision::default(),
        command_id: CommandId(0),
        command_digest: Digest::default(),
        cause: None,
        previous: Digest::default(),
        asked: None,
        answer: Answer::None,
        body: Vec::new(),
    }
}

/// Answers all that is queued after a failure, until nobody can queue any more: nothing of theirs was written, but what
/// they rest on is unknown.
pub(crate) fn refuse_the_rest(queue: &Receiver<Entry>, why: &str) {
    while let Ok(entry) = queue.recv() {
        entry.refuse(AppendError::Unknown { why: why.to_owned() });
    }
}
