//! What the journal costs: durable records per second, against fjall's own group commit, `SQLite` and a bare file in the same
//! run.
//!
//! Ours is [`Journal::queue`] with bodies of 256 bytes: an envelope, the hash chain, the tail's frame and sync, fjall's batch
//! behind it with an index by stream, a fence on every append, and the tile log that follows and is signed, as in the daemon;
//! `--unsigned` leaves that out. The peers are the least that is durable: fjall's `WriteBatch` with `SyncData`, a transaction
//! of `SQLite` with a write-ahead log and `synchronous=FULL`, and a file whose zeros were written before, with a checksum over
//! each group. All have the same closed-loop callers on the same runtime, one committing thread, and a fresh directory on the
//! same disk.
//!
//! The figures are medians over rounds, in each of which all sides run back to back in turning order, so that what else the
//! machine does falls on all. `sync` is what makes one group durable, its median and its p99; the rest of a wait is spent in
//! the queue. `--quick` takes fewer rounds; `--ours 256` runs our side alone, for a profiler.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

mod commits;
mod pairs;
#[path = "commits/raw.rs"]
mod raw;

use commits::{CALLERS, Commit, FACT_BYTES, Fjall, Side, kept, peer};
use pairs::{MEASURED, conditions, median, ratio};

/// The daemon's own; the peers get it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIDES: [&str; 4] = ["ours", "fjall", "sqlite", "bare"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(callers) = std::env::args().skip_while(|argument| argument != "--ours").nth(1) {
        let callers = callers.parse().expect("--ours takes a number of callers");
        for _ in 0..5 {
            let side = runtime.block_on(raw::ours(callers));
            println!(
                "{:.0}/s, p50 {:?}, p99 {:?}, sync {:?}, its p99 {:?}",
                side.run.per_second, side.run.p50, side.run.p99, side.sync, side.sync_p99
            );
        }
        kept::remove();
        return;
    }
    let rounds = pairs::pairs();
    println!(
        "durable records per second of {FACT_BYTES} bytes: the journal, fjall with SyncData, SQLite, a file of zeros"
    );
    println!("{rounds} rounds of {MEASURED:?} a side; {}", conditions());
    println!(
        "{:>7}  {:>6}  {:>9}  {:>15}  {:>13}  {:>8}  {:>6}  {:>20}  {:>20}",
        "callers",
        "side",
        "per s",
        "p50/p99 ms",
        "sync ms",
        "per sync",
        "cpu µs",
        "ours to it (min..max)",
        "p99, ours to it"
    );
    for callers in CALLERS {
        let rounds: Vec<_> = (0..rounds).map(|round| runtime.block_on(measure(callers, round))).collect();
        for side in 0..SIDES.len() {
            println!("{}", row(callers, side, &rounds));
        }
    }
    println!("after: {}", conditions());
    kept::remove();
}

async fn measure(callers: usize, round: usize) -> [Side; SIDES.len()] {
    let mut sides = [const { None }; SIDES.len()];
    for turn in 0..SIDES.len() {
        let side = (round + turn) % SIDES.len();
        sides[side] = Some(match side {
            0 => raw::ours(callers).await,
            1 => peer::<Fjall>(callers).await,
            2 => peer::<Sqlite>(callers).await,
            _ => peer::<Bare>(callers).await,
        });
    }
    sides.map(|side| side.expect("each has had its turn"))
}

fn row(callers: usize, side: usize, rounds: &[[Side; SIDES.len()]]) -> String {
    let pairs: Vec<(&Side, &Side)> = rounds.iter().map(|round| (&round[0], &round[side])).collect();
    let figure = |figure: &dyn Fn(&Side) -> f64| median(&pairs, |(_, side)| figure(side));
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    format!(
        "{callers:>7}  {:>6}  {:>9.0}  {:>15}  {:>13}  {:>8.0}  {:>6.1}  {:>20}  {:>20}",
        SIDES[side],
        figure(&|side| side.run.per_second),
        format!("{:.2}/{:.2}", figure(&|side| ms(side.run.p50)), figure(&|side| ms(side.run.p99))),
        format!("{:.2}/{:.2}", figure(&|side| ms(side.sync)), figure(&|side| ms(side.sync_p99))),
        figure(&|side| side.per_sync),
        figure(&|side| side.run.cpu_micros),
        if side == 0 { String::new() } else { ratio(&pairs, |side| side.run.per_second) },
        if side == 0 { String::new() } else { ratio(&pairs, |side| side.run.p99.as_secs_f64()) },
    )
}

/// A table of blobs under their numbers, a transaction a group.
struct Sqlite {
    database: Connection,
    key: i64,
}

impl Commit for Sqlite {
    fn open(directory: &Path) -> Self {
        let database = Connection::open(directory.join("records")).expect("a database");
        let made = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; CREATE TABLE records (at INTEGER PRIMARY KEY, fact BLOB)";
        database.execute_batch(made).expect("a table");
        Self { database, key: 0 }
    }

    fn commit(&mut self, group: &[Vec<u8>]) {
        let transaction = self.database.transaction().expect("a transaction");
        {
            let mut insert = transaction.prepare_cached("INSERT INTO records VALUES (?, ?)").expect("a statement");
            for fact in group {
                self.key += 1;
                insert.execute((self.key, fact)).expect("an insert");
            }
        }
        transaction.commit().expect("a commit");
    }
}

/// Zeros that were written before, written over from the beginning again at their end.
struct Bare {
    file: File,
    at: u64,
    buffer: Vec<u8>,
}

const BARE_BYTES: usize = 64 << 20;

impl Commit for Bare {
    fn open(directory: &Path) -> Self {
        let file = File::create(directory.join("bare")).expect("a file");
        file.write_all_at(&vec![0; BARE_BYTES], 0).and_then(|()| file.sync_all()).expect("zeros");
        Self { file, at: 0, buffer: Vec::new() }
    }

    fn commit(&mut self, group: &[Vec<u8>]) {
        self.buffer.clear();
        for fact in group {
            self.buffer.extend_from_slice(&u32::try_from(fact.len()).expect("a fact is small").to_le_bytes());
            self.buffer.extend_from_slice(fact);
        }
        let sum = blake3::hash(&self.buffer);
        self.buffer.extend_from_slice(sum.as_bytes());
        if (BARE_BYTES as u64) < self.at + self.buffer.len() as u64 {
            self.at = 0;
        }
        self.file.write_all_at(&self.buffer, self.at).and_then(|()| self.file.sync_data()).expect("a write");
        self.at += self.buffer.len() as u64;
    }
}
