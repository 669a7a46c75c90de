//! What the journal costs: durable records per second, against fjall's own group commit and a bare file in the same run.
//!
//! Ours is [`Journal::queue`] with bodies of 256 bytes: an envelope, the hash chain, the tail's frame and sync, fjall's batch
//! behind it with an index by stream, and a fence on every append. The peers are the least that is durable: fjall's
//! `WriteBatch` with `SyncData`, and a file whose zeros were written before, with a checksum over each group. All three have
//! the same closed-loop callers on the same runtime, one committing thread, and a fresh directory on the same disk.
//!
//! The figures are medians over rounds, in each of which the three run back to back in turning order, so that what else the
//! machine does falls on all. `sync` is what makes one group durable; the rest of p50 is spent in the queue. `--quick` takes
//! fewer rounds; `--ours 256` runs our side alone, for a profiler.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use journal::codec::Body;
use journal::envelope::Answer;
use journal::{Append, Entry, Journal, Limits};
use kernel::{CommandId, Decision, Digest, Kind, Position, Principal, Timestamp};
use tokio::sync::oneshot;

mod commits;
mod pairs;

use commits::{CALLERS, Commit, FACT_BYTES, Fjall, Side, Syncs, peer, store};
use pairs::{MEASURED, conditions, load, median, ratio};

/// The daemon's own; the peers get it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIDES: [&str; 3] = ["ours", "fjall", "bare"];

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    if let Some(callers) = std::env::args().skip_while(|argument| argument != "--ours").nth(1) {
        let callers = callers.parse().expect("--ours takes a number of callers");
        for _ in 0..5 {
            let side = runtime.block_on(ours(callers));
            println!("{:.0}/s, p99 {:?}, sync {:?}", side.run.per_second, side.run.p99, side.sync);
        }
        return;
    }
    let rounds = pairs::pairs();
    println!("durable records per second of {FACT_BYTES} bytes: the journal, fjall with SyncData, a file of zeros");
    println!("{rounds} rounds of {MEASURED:?} a side; {}", conditions());
    println!(
        "{:>7}  {:>5}  {:>9}  {:>15}  {:>8}  {:>8}  {:>6}  {:>20}",
        "callers", "side", "per s", "p50/p99 ms", "sync ms", "per sync", "cpu µs", "ours to it (min..max)"
    );
    for callers in CALLERS {
        let rounds: Vec<_> = (0..rounds).map(|round| runtime.block_on(measure(callers, round))).collect();
        for side in 0..SIDES.len() {
            println!("{}", row(callers, side, &rounds));
        }
    }
    println!("after: {}", conditions());
}

async fn measure(callers: usize, round: usize) -> [Side; 3] {
    let mut sides = [None, None, None];
    for turn in 0..SIDES.len() {
        let side = (round + turn) % SIDES.len();
        sides[side] = Some(match side {
            0 => ours(callers).await,
            1 => peer::<Fjall>(callers).await,
            _ => peer::<Bare>(callers).await,
        });
    }
    sides.map(|side| side.expect("each has had its turn"))
}

fn row(callers: usize, side: usize, rounds: &[[Side; 3]]) -> String {
    let pairs: Vec<(&Side, &Side)> = rounds.iter().map(|round| (&round[0], &round[side])).collect();
    let figure = |figure: &dyn Fn(&Side) -> f64| median(&pairs, |(_, side)| figure(side));
    let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
    format!(
        "{callers:>7}  {:>5}  {:>9.0}  {:>15}  {:>8.2}  {:>8.0}  {:>6.1}  {:>20}",
        SIDES[side],
        figure(&|side| side.run.per_second),
        format!("{:.2}/{:.2}", figure(&|side| ms(side.run.p50)), figure(&|side| ms(side.run.p99))),
        figure(&|side| ms(side.sync)),
        figure(&|side| side.per_sync),
        figure(&|side| side.run.cpu_micros),
        if side == 0 { String::new() } else { ratio(&pairs, |side| side.run.per_second) },
    )
}

const NOTED: Kind = Kind { id: 990, version: 1, name: "bench.noted" };

async fn ours(callers: usize) -> Side {
    let (dir, syncs) = (store(), Syncs::default());
    let journal = Journal::with_log(dir.path(), Limits::default(), syncs.of_the_journal());
    journal.open().expect("a journal");
    let (tell, told) = channel();
    journal.queue(Entry::Open {
        stream: "notes",
        principal: Principal::internal("bench"),
        time: Timestamp(1),
        then: Box::new(move |opened| tell.send(opened).expect("it is waited for")),
    });
    let opened = told.recv().expect("an answer").expect("the stream opens");
    let version = Arc::new(Mutex::new(opened.version));
    let (asked, principal) = (journal.clone(), "agent/alpha".parse::<Principal>().expect("a principal"));
    let ask = move || {
        let (tell, told) = oneshot::channel();
        let mut append = Box::new(Append {
            stream: "notes",
            epoch: opened.epoch,
            expected: Position(0),
            time: opened.time,
            principal: principal.clone(),
            decision: Decision::default(),
            command_id: CommandId(1),
            command_digest: Digest::default(),
            cause: None,
            answer: Answer::None,
            bodies: vec![Body { kind: NOTED, bytes: vec![b'n'; FACT_BYTES] }],
            then: Box::new(move |answer| {
                // A caller may have gone home at the end of the run.
                let _ = tell.send(answer);
            }),
        });
        {
            // Versions go into the queue in their order.
            let mut version = version.lock().expect("nobody panics with it");
            append.expected = *version;
            version.0 += 1;
            asked.queue(Entry::Append(append));
        }
        async move {
            told.await.expect("an answer").expect("an acknowledgement");
        }
    };
    let loaded = load(callers, ask).await;
    journal.close();
    syncs.side(loaded)
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
