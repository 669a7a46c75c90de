//! What evidence costs: the time to verify a log of a million records, and that of one proof.
//!
//! `sop-verify` reads and hashes every byte of a copy of the log; the authority's own deep check does it against the journal. The
//! peer is the least that could find a changed byte: reading the same files, and hashing each with SHA-256 once. A proof is made
//! out of the log (`Evidence::prove`: the record is read, the proof is made and verified), and checked by `sop-verify`'s code. Both
//! sides of a pair run back to back in turning order; what is given is the median, with the least and the most of the ratios.
//!
//! `--quick` takes fewer rounds, `--records N` another size.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use evidence::verify::Depth;
use evidence::{Evidence, Limits, Places};
use journal::codec::Body;
use journal::envelope::Answer;
use journal::{Append, Entry, Journal};
use kernel::{CommandId, Decision, Digest, Kind, Position, Principal, Sequence, Timestamp};
use sha2::{Digest as _, Sha256};
use verifier::log::Wanted;
use verifier::note::{Key, Trust};

#[path = "../../../../benches/pairs/mod.rs"]
mod pairs;

use pairs::{MEASURED, WARM_UP, conditions, load, median, ratio};

const RECORDS: u64 = 1_000_000;
const FACT_BYTES: usize = 256;
/// Appends that wait for their answer at once.
const OUTSTANDING: u64 = 1_024;

fn main() {
    let asked = std::env::args().skip_while(|argument| argument != "--records").nth(1);
    let records = asked.map_or(RECORDS, |asked| asked.parse().expect("--records takes a number"));
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory beside the program");
    let evidence = Arc::new(filled(home.path(), records));
    let key = evidence.public().expect("there is a key");
    let log = home.path().join("evidence");
    let trust = Trust::of(Key::log(&key.to_string()).expect("a key"));
    println!("evidence over {records} records with bodies of {FACT_BYTES} bytes; {}", conditions());

    let verify = || drop(verifier::log::verify(&log, &trust, &Wanted::default()).expect("it is what was signed"));
    let deep = || drop(evidence.verify(Depth::All).expect("it is what was signed"));
    // Once, so that all sides find the files in memory.
    let bytes = read(&log);
    let rounds = pairs::pairs();
    let (mut by_program, mut by_authority) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let hash = || {
            std::hint::black_box(read(&log));
        };
        let (first, second) = if round % 2 == 0 { (timed(verify), timed(hash)) } else { (timed(hash), timed(verify)) };
        let (ours, peer) = if round % 2 == 0 { (first, second) } else { (second, first) };
        by_program.push((ours, peer));
        by_authority.push((timed(deep), peer));
    }
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let mib = bytes as f64 / f64::from(1 << 20);
    println!(
        "{rounds} rounds; the files have {mib:.0} MiB; reading and hashing them: {:.2} s",
        median(&by_program, |pair| pair.1)
    );
    for (what, pairs) in [("sop-verify log", &by_program), ("audit verify --deep", &by_authority)] {
        let speed = ratio(pairs, |seconds| 1.0 / seconds);
        println!("{what:>20}  {:>6.2} s  {speed} of reading and hashing", median(pairs, |pair| pair.0));
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let text = evidence.prove(Sequence(records / 2)).expect("it is signed").to_string();
    let proving = {
        let evidence = evidence.clone();
        let next = Arc::new(std::sync::atomic::AtomicU64::new(0));
        move || {
            let (evidence, next) = (evidence.clone(), next.clone());
            async move {
                // All over the log.
                let turn = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let at = Sequence(turn.wrapping_mul(7_919_993) % records + 1);
                drop(evidence.prove(at).expect("it is signed"));
            }
        }
    };
    let checking = move || {
        let (text, trust) = (text.clone(), trust.clone());
        async move { drop(verifier::proof::verify(&text, &trust).expect("it proves")) }
    };
    println!("one proof, one caller, {MEASURED:?} after {WARM_UP:?}");
    for (what, (run, _)) in
        [("made and verified", runtime.block_on(load(1, proving))), ("checked", runtime.block_on(load(1, checking)))]
    {
        let (p50, p99) = (millis(run.p50), millis(run.p99));
        println!(
            "{what:>20}  p50 {p50:.3} ms  p99 {p99:.3} ms  {:.0}/s  {:.0} µs of processor",
            run.per_second, run.cpu_micros
        );
    }
    println!("after: {}", conditions());
}

/// A journal with so many records, and its log, which has signed all of them.
fn filled(home: &Path, records: u64) -> Evidence {
    let journal = Journal::new(&home.join("journal"), journal::Limits::default());
    journal.open().expect("a journal in a fresh directory");
    let places = Places { log: home.join("evidence"), key: home.join("keys/log") };
    let evidence = Evidence::new(&journal, places, Limits::default());
    evidence.open().expect("a log in a fresh directory");
    let (tell, told) = channel();
    let then = Box::new(move |opened| tell.send(opened).expect("somebody waits"));
    let principal = Principal::internal("bench");
    journal.queue(Entry::Open { stream: "notes", principal: principal.clone(), time: Timestamp(1), then });
    let epoch = told.recv().expect("an answer").expect("an opened stream").epoch;
    let (tell, told) = channel();
    for expected in 1..records {
        if OUTSTANDING < expected {
            let answer: Result<_, _> = told.recv().expect("an answer");
            assert!(answer.is_ok(), "an append failed");
        }
        let tell = tell.clone();
        journal.queue(Entry::Append(Box::new(Append {
            stream: "notes",
            epoch,
            expected: Position(expected),
            time: Timestamp(1_000 + expected),
            principal: principal.clone(),
            decision: Decision::default(),
            command_id: CommandId(expected.into()),
            command_digest: Digest::default(),
            cause: None,
            asked: None,
            answer: Answer::None,
            bodies: vec![Body { kind: Kind { id: 900, version: 1, name: "noted" }, bytes: vec![7; FACT_BYTES] }],
            then: Box::new(move |answer| {
                // The last ones are not waited for here.
                let _ = tell.send(answer.map(drop));
            }),
        })));
    }
    drop(tell);
    assert!(told.iter().all(|answer| answer.is_ok()), "an append failed");
    while evidence.follow().expect("the log goes on") {}
    let signed = evidence.checkpoint().expect("it is signed").0.size;
    assert_eq!(signed, records, "all is signed");
    evidence
}

/// Reads and hashes every file of the log; says how many bytes there are.
fn read(log: &Path) -> usize {
    let (mut left, mut bytes) = (vec![log.to_owned()], 0);
    while let Some(folder) = left.pop() {
        for entry in std::fs::read_dir(folder).expect("a directory of the log") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                left.push(path);
            } else {
                let content = std::fs::read(&path).expect("a file of the log");
                bytes += content.len();
                std::hint::black_box(Sha256::digest(&content));
            }
        }
    }
    bytes
}

fn timed(work: impl Fn()) -> f64 {
    let began = Instant::now();
    work();
    began.elapsed().as_secs_f64()
}

fn millis(span: Duration) -> f64 {
    span.as_secs_f64() * 1_000.0
}
