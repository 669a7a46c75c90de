//! The records of a stream, read and decoded on a thread of their own ahead of whoever replays them: what waits for the disk
//! holds up no runtime, and half of what a replay costs goes on beside the other half.
//!
//! # Invariants
//! 1. No more than [`CHUNKS_AHEAD`] chunks wait to be taken, beside the one that is being read.
//! 2. When nobody is to take any more, the reading ends with the chunk that is being read.

use std::panic::resume_unwind;

use journal::Journal;
use journal::envelope::Record;
use journal::store::StoreError;
use kernel::Position;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::task::JoinHandle;

use crate::owned::off_the_workers;

/// Records read at once: few enough to stay in the processor's cache.
const CHUNK: usize = 128;
/// Enough that a short pause of either side does not hold up the other.
const CHUNKS_AHEAD: usize = 3;

pub struct Ahead {
    chunks: Receiver<Result<Vec<Record>, StoreError>>,
    reading: JoinHandle<()>,
}

impl Ahead {
    /// Begins to read the records of `stream` with the versions from `from` to `to`.
    pub fn read(journal: &Journal, stream: &'static str, from: Position, to: Position) -> Self {
        let journal = journal.clone();
        let (give, chunks) = channel(CHUNKS_AHEAD);
        let reading = off_the_workers(move || {
            let mut next = from;
            while next <= to {
                let chunk = journal.read_stream(stream, next, to, CHUNK);
                next.0 += chunk.as_ref().map_or(0, |records| records.len() as u64);
                let last = !matches!(&chunk, Ok(records) if !records.is_empty());
                if give.blocking_send(chunk).is_err() || last {
                    break;
                }
            }
        });
        Self { chunks, reading }
    }

    /// The next records, in order; none if one is missing where they should go on.
    ///
    /// # Errors
    /// [`StoreError`], after which nothing more comes.
    pub async fn next(&mut self) -> Result<Vec<Record>, StoreError> {
        if let Some(chunk) = self.chunks.recv().await {
            return chunk;
        }
        match (&mut self.reading).await {
            Err(panic) if panic.is_panic() => resume_unwind(panic.into_panic()),
            Ok(()) | Err(_) => Err(StoreError::Closed),
        }
    }
}

#[cfg(test)]
mod tests {
    use journal::Import;
    use journal::envelope::{Answer, link};
    use journal::store::Head;
    use kernel::{CommandId, Decision, Digest, Epoch, Sequence, Timestamp};

    use super::*;

    const RECORDS: u64 = 10 * CHUNK as u64 + 7;

    fn journal(directory: &std::path::Path) -> Journal {
        let (mut import, mut head) = (Import::begin(directory).unwrap(), Head::default());
        for number in 1..=RECORDS {
            let record = Record {
                kind_id: 1,
                schema: 1,
                index: 0,
                count: 1,
                sequence: Sequence(number),
                stream: "notes".to_owned(),
                version: Position(number),
                epoch: Epoch(1),
                time: Timestamp(number),
                principal: "internal/host".to_owned(),
                decision: Decision::default(),
                command_id: CommandId(number.into()),
                command_digest: Digest::default(),
                cause: None,
                asked: None,
                previous: head.link,
                answer: Answer::None,
                body: vec![],
            };
            let mut bytes = Vec::new();
            record.encode(&mut bytes);
            head = Head { sequence: record.sequence, link: link(&bytes) };
            import.push(&record).unwrap();
        }
        import.finish(head).unwrap();
        let journal = Journal::new(directory, journal::Limits::default());
        journal.open().unwrap();
        journal
    }

    async fn versions(ahead: &mut Ahead) -> Result<Vec<u64>, String> {
        let chunk = ahead.next().await.map_err(|error| error.code().to_owned())?;
        Ok(chunk.iter().map(|record| record.version.0).collect())
    }

    #[tokio::test]
    async fn all_come_in_order_and_then_the_end_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(&directory.path().join("journal"));
        for (row, from, to) in [("all", 1, RECORDS), ("a part", 200, 300), ("more than there is", 9, RECORDS + 1)] {
            let mut ahead = Ahead::read(&journal, "notes", Position(from), Position(to));
            let mut read = Vec::new();
            while from + (read.len() as u64) <= to.min(RECORDS) {
                let chunk = versions(&mut ahead).await.unwrap();
                assert!((1..=CHUNK).contains(&chunk.len()), "{row}");
                read.extend(chunk);
            }
            assert_eq!(read, (from..=to.min(RECORDS)).collect::<Vec<_>>(), "{row}");
            if RECORDS < to {
                assert_eq!(versions(&mut ahead).await, Ok(vec![]), "{row}: what is missing is told");
            }
            assert_eq!(versions(&mut ahead).await, Err("journal.closed".to_owned()), "{row}");
        }
    }

    #[tokio::test]
    async fn it_reads_no_further_than_it_may_and_ends_with_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let journal = journal(&directory.path().join("journal"));
        let mut ahead = Ahead::read(&journal, "notes", Position(1), Position(RECORDS));
        let first = versions(&mut ahead).await.unwrap();
        assert_eq!(ahead.chunks.max_capacity(), CHUNKS_AHEAD);
        journal.close();
        // What was read by then still comes, then the error, and nothing after it.
        let mut read = first.len();
        let error = loop {
            match versions(&mut ahead).await {
                Ok(chunk) => read += chunk.len(),
                Err(error) => break error,
            }
        };
        assert_eq!(error, "journal.closed");
        assert!(read <= (CHUNKS_AHEAD + 3) * CHUNK, "{read} were read ahead");
        journal.open().unwrap();
        let Ahead { chunks, reading } = Ahead::read(&journal, "notes", Position(1), Position(RECORDS));
        drop(chunks);
        reading.await.unwrap();
    }
}
