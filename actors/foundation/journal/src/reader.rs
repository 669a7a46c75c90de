//! A reader of what is durable, from a position on: those records that are wanted, in order, as many at once as its caller
//! takes. It is asked and never pushes, so that a slow caller holds nothing up and fills nothing.
//!
//! # Invariants
//! 1. Every wanted record after the position is given once, in the order of the journal; what was given is not kept.
//! 2. One page has a bound in records, in bytes, and in what is looked at for it.

use std::collections::BTreeSet;

use kernel::Sequence;

use crate::Journal;
use crate::envelope::{Answer, Record};
use crate::store::StoreError;

/// Which records are wanted: of these streams and these kinds. Empty means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub streams: BTreeSet<String>,
    pub kinds: BTreeSet<u32>,
}

impl Filter {
    pub fn wants(&self, record: &Record) -> bool {
        (self.streams.is_empty() || self.streams.contains(&record.stream))
            && (self.kinds.is_empty() || self.kinds.contains(&record.kind_id))
    }
}

/// What bounds a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub records: usize,
    /// Of bodies, answers and requests; the first record is given whatever it has.
    pub bytes: usize,
}

/// Most records that are looked at for one page, so that whoever wants few of many comes back in between.
const LOOKED_AT_MAX: u64 = 4_096;
/// Records read at once.
const CHUNK: usize = 64;

/// Some of what is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    pub records: Vec<Record>,
    /// All up to here was looked at: where the next page begins.
    pub position: Sequence,
    /// The last durable record, when this was read.
    pub head: Sequence,
}

/// Reads on from a position.
#[derive(Clone)]
pub struct Reader<W> {
    journal: Journal,
    position: Sequence,
    wants: W,
}

impl<W: FnMut(&Record) -> bool> Reader<W> {
    /// Of what `wants` of all that comes after `position`.
    pub fn new(journal: &Journal, position: Sequence, wants: W) -> Self {
        Self { journal: journal.clone(), position, wants }
    }

    /// Where the next page begins.
    pub fn position(&self) -> Sequence {
        self.position
    }

    /// What is there now: perhaps nothing, although more is to be looked at ([`Page::position`] is before [`Page::head`]).
    ///
    /// # Errors
    /// [`StoreError`]; nothing was given then, and the position is as it was.
    pub fn read(&mut self, bounds: Bounds) -> Result<Page, StoreError> {
        // Asked of the store: whoever was answered reads what he was answered for.
        let head = self.journal.head()?.sequence;
        let (mut records, mut bytes, mut position) = (Vec::new(), 0, self.position);
        let last = Sequence(position.0.saturating_add(LOOKED_AT_MAX));
        'page: while position < head && position < last {
            let chunk = self.journal.read(Sequence(position.0 + 1), CHUNK)?;
            if chunk.is_empty() {
                break;
            }
            for record in chunk.into_iter().take_while(|record| record.sequence <= head) {
                let at = record.sequence;
                if (self.wants)(&record) {
                    bytes += size(&record);
                    if bounds.records <= records.len() || (bounds.bytes < bytes && !records.is_empty()) {
                        break 'page;
                    }
                    records.push(record);
                }
                position = at;
            }
        }
        self.position = position;
        Ok(Page { records, position, head })
    }

    /// As [`Reader::read`], once there is something to give.
    ///
    /// # Errors
    /// [`StoreError`]; `Closed` when the journal closes.
    pub async fn next(&mut self, bounds: Bounds) -> Result<Page, StoreError> {
        let mut durable = self.journal.durable();
        loop {
            durable.borrow_and_update();
            let page = self.read(bounds)?;
            if !page.records.is_empty() {
                return Ok(page);
            }
            if page.position < page.head {
                tokio::task::yield_now().await;
            } else if durable.changed().await.is_err() {
                return Err(StoreError::Closed);
            }
        }
    }
}

fn size(record: &Record) -> usize {
    let answer = match &record.answer {
        Answer::Reply(answer) | Answer::Refusal(answer) => answer.len(),
        Answer::None => 0,
    };
    record.body.len() + answer + record.asked.as_ref().map_or(0, |asked| asked.size())
}
