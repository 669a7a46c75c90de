//! Re-reads the journal and checks what it claims of itself.
//!
//! Checked: every record decodes, sequences have no gaps, every link is the hash of the record before, versions of each
//! stream have no gaps, epochs never go back, time within a stream never goes back. Not checked: that the newest records
//! are all there (an older, whole journal passes), and who wrote them: both need a signature kept elsewhere.

use std::collections::BTreeMap;

use kernel::{Digest, Sequence};

use crate::envelope::{Record, link};
use crate::store::Store;

/// What a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub records: u64,
    pub streams: usize,
    pub last: Sequence,
    /// The link that the next record will carry: the fingerprint of all before.
    pub head: Digest,
    pub broken: Option<Broken>,
}

/// The first place where the journal contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub at: Sequence,
    pub what: String,
}

pub fn verify(store: &Store, from: Sequence) -> Verified {
    let mut checked = Chain::from(from);
    let mut found = Verified { records: 0, streams: 0, last: Sequence(0), head: Digest::default(), broken: None };
    let scanned = store.scan(from, |key, bytes| {
        let broken = match Record::decode(bytes) {
            Err(error) => Some(error.to_string()),
            Ok(record) if record.sequence < from && record.sequence == key => {
                checked.link = Some(link(bytes));
                return Ok(true);
            }
            Ok(record) => checked.next(key, &record, bytes),
        };
        if let Some(what) = broken {
            found.broken = Some(Broken { at: key, what });
            return Ok(false);
        }
        (found.records, found.last) = (found.records + 1, key);
        Ok(true)
    });
    if let Err(error) = scanned {
        found.broken = Some(Broken { at: Sequence(found.last.0 + 1), what: error.to_string() });
    }
    found.streams = checked.streams.len();
    found.head = checked.head();
    found
}

/// What is known of the records so far, and what must follow.
pub struct Chain {
    expected: Option<u64>,
    /// Of the record before; `None` where verification begins in the middle.
    link: Option<Digest>,
    /// Version, epoch and time each stream has reached.
    streams: BTreeMap<String, (u64, u64, u64)>,
    from_the_start: bool,
}

impl Chain {
    pub fn from(from: Sequence) -> Self {
        let from_the_start = from.0 <= 1;
        let (expected, link) = if from_the_start { (Some(1), Some(Digest::default())) } else { (None, None) };
        Self { expected, link, streams: BTreeMap::new(), from_the_start }
    }

    /// Of the last record; zeros before the first.
    pub fn head(&self) -> Digest {
        self.link.unwrap_or_default()
    }

    /// What is wrong with the next record, if anything.
    pub fn next(&mut self, key: Sequence, record: &Record, bytes: &[u8]) -> Option<String> {
        let stream = self.streams.get(&record.stream).copied();
        let (version, epoch, time) = stream.unwrap_or_default();
        let broken = if record.sequence != key {
            Some(format!("record {} lies in place {key}", record.sequence))
        } else if self.expected.is_some_and(|expected| expected != key.0) {
            Some(format!("record {} is missing", self.expected.unwrap_or_default()))
        } else if self.link.is_some_and(|link| link != record.previous) {
            Some("the link is not the hash of the record before".to_owned())
        } else if (stream.is_some() || self.from_the_start) && record.version.0 != version + 1 {
            Some(format!("version {} of {} follows version {version}", record.version, record.stream))
        } else if record.epoch.0 < epoch {
            Some(format!("epoch {} of {} follows epoch {epoch}", record.epoch, record.stream))
        } else if record.time.0 < time {
            Some(format!("the time of {} goes back", record.stream))
        } else {
            None
        };
        self.expected = Some(key.0 + 1);
        self.link = Some(link(bytes));
        self.streams.insert(record.stream.clone(), (record.version.0, record.epoch.0, record.time.0));
        broken
    }
}
