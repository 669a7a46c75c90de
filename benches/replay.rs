//! What a start costs: replay, against the least that any check of the same records takes, and the open with a snapshot.
//!
//! A journal of so many events of about 250 bytes is made (`--events`, a million if nothing is said), all of one machine that
//! keeps a hundred thousand pages and remembers the outcomes of a day. Then, in turning order:
//! - *check*: every record is read from the store, decoded, and its link hashed, as `sop audit verify` does;
//! - *replay*: a host starts without a snapshot: every record is read, decoded, its body too, and evolved, its outcome noted.
//!
//! At the end the journal is closed in good order, which leaves a snapshot, and is opened with it: from nothing open to the
//! machine taking commands. The tail is what is left of it once all but its newest segment is in the tile log.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use host::{Clock, Handle, Limits};
use journal::envelope::{Answer, Record, link};
use journal::store::Head;
use journal::{Import, Journal, Keeper, codec, tail};
use kernel::{
    CommandId, Context, Decision, Digest, Epoch, Kind, Machine, Outcome, Position, Reader, Recorded, Refuse, Sequence,
    Timestamp, Writer,
};
use serde::{Deserialize, Serialize};
use supervisors::{Child, ChildRef, Strategy, Supervisor, Tree};

#[expect(dead_code, reason = "nobody calls anybody here")]
mod pairs;

use pairs::{conditions, median, ratio};

/// The daemon's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PAGES: u64 = 100_000;
/// So many lie in the window of a day as outcomes are kept by default, or nearly.
const MILLIS_BETWEEN: u64 = 100;
const BEGIN: Timestamp = Timestamp(1_700_000_000_000);
const NEVER: Duration = Duration::from_hours(1);

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let events = std::env::args().skip_while(|argument| argument != "--events").nth(1);
    let events: u64 = events.map_or(1_000_000, |events| events.parse().expect("--events takes a number"));
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("journal");
    println!("{events} events of one machine; {}", conditions());
    let made = timed(|| make(&path, events));
    println!("made in {:.1} s", made.as_secs_f64());

    let rounds: Vec<_> = (0..pairs::pairs()).map(|round| runtime.block_on(round_of(&path, events, round))).collect();
    let per_second = |took: &f64| 1.0 / took;
    let (replay, check) = (median(&rounds, |(ours, _)| *ours), median(&rounds, |(_, peer)| *peer));
    println!("check   {check:.2} s, {:.0} records/s", rate(events, check));
    println!(
        "replay  {replay:.2} s, {:.0} events/s; to the check {}",
        rate(events, replay),
        ratio(&rounds, per_second)
    );

    let (_, stopped) = runtime.block_on(host_over(&path, events, Limits::default()));
    println!("stop    {:.2} s, with a snapshot of {} MB", stopped.as_secs_f64(), megabytes(&path.join("snapshots")));
    for _ in 0..3 {
        let (opened, _) = runtime.block_on(host_over(&path, events, Limits::default()));
        println!(
            "open    {:.2} s with a snapshot; the tail has {} MB",
            opened.as_secs_f64(),
            megabytes(&path.join("tail"))
        );
    }
    println!("after: {}", conditions());
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn rate(events: u64, seconds: f64) -> f64 {
    events as f64 / seconds
}

fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

fn megabytes(path: &Path) -> u64 {
    let files = std::fs::read_dir(path).into_iter().flatten().flatten();
    let bytes = |path: &Path| path.metadata().map_or(0, |data| data.len());
    files
        .map(|file| if file.path().is_dir() { megabytes(&file.path()) << 20 } else { bytes(&file.path()) })
        .sum::<u64>()
        >> 20
}

fn time(number: u64) -> Timestamp {
    Timestamp(BEGIN.0 + number * MILLIS_BETWEEN)
}

/// Makes the journal, and leaves of its tail what a daemon that signs as it goes would have.
fn make(path: &Path, events: u64) {
    let mut import = Import::begin(path).expect("an empty place");
    let (mut head, mut bytes) = (Head::default(), Vec::new());
    for number in 1..=events {
        let mut entropy = [0; 10];
        entropy[2..].copy_from_slice(&number.to_be_bytes());
        let note = NotedV1 { page: number % PAGES, text: format!("{number:0>100}"), at: time(number) };
        let record = Record {
            kind_id: NOTED.id,
            schema: NOTED.version,
            index: 0,
            count: 1,
            sequence: Sequence(number),
            stream: Notes::NAME.to_owned(),
            version: Position(number),
            epoch: Epoch(1),
            time: time(number),
            principal: "agent/alpha".to_owned(),
            decision: Decision::default(),
            command_id: CommandId::new(time(number), entropy),
            command_digest: Digest(*blake3::hash(&entropy).as_bytes()),
            cause: None,
            asked: None,
            previous: head.link,
            answer: Answer::Reply(number.to_string().into_bytes()),
            body: codec::write(&Event::Noted(note)).expect("a small body").bytes,
        };
        bytes.clear();
        record.encode(&mut bytes);
        head = Head { sequence: record.sequence, link: link(&bytes) };
        import.push(&record).expect("a record that follows");
    }
    import.finish(head).expect("a whole journal");
    tail::remove_up_to(&path.join("tail"), head.sequence).expect("a tail to cut");
}

async fn round_of(path: &Path, events: u64, round: usize) -> (f64, f64) {
    let (mut replay, mut check) = (0.0, 0.0);
    for turn in 0..2 {
        let journal = Journal::new(path, journal::Limits::default());
        journal.open().expect("the journal opens");
        if (round + turn).is_multiple_of(2) {
            let begun = Instant::now();
            let (handle, tree) =
                host(&journal, events, Limits { snapshot_every: 0, ..Limits::default() }, Vec::new()).await;
            replay = begun.elapsed().as_secs_f64();
            assert!(handle.durable().0 > events);
            tree.shutdown(NEVER).await;
        } else {
            let begun = Instant::now();
            assert_eq!(journal.verify(Sequence(1)).expect("it is open").broken, None);
            check = begun.elapsed().as_secs_f64();
        }
        journal.close();
    }
    (replay, check)
}

/// Journal and host as a daemon has them: how long the start takes, and the stop.
async fn host_over(path: &Path, events: u64, limits: Limits) -> (Duration, Duration) {
    let journal = Journal::new(path, journal::Limits::default());
    let begun = Instant::now();
    let kept = journal.clone();
    let keeper = Child::actor::<Keeper, _>(&ChildRef::new("journal"), move || (Keeper, kept.clone()));
    let (handle, tree) = host(&journal, events, limits, vec![keeper.shutdown(NEVER)]).await;
    let opened = begun.elapsed();
    assert_eq!(handle.inspect(|notes| notes.pages.len() as u64).await.expect("it is up"), PAGES.min(events));
    let begun = Instant::now();
    tree.shutdown(NEVER).await;
    (opened, begun.elapsed())
}

async fn host(journal: &Journal, events: u64, limits: Limits, before: Vec<Child>) -> (Handle<Notes>, Tree) {
    let clock = Clock::from_fn(move || time(events));
    let handle = Handle::<Notes>::new(journal, &clock, limits, None);
    let root = before.into_iter().fold(Supervisor::new("bench", Strategy::OneForOne), Supervisor::child);
    let tree = Tree::start(root.child(handle.child().shutdown(NEVER)), 1).await.expect("a tree");
    handle.up().await;
    (handle, tree)
}

/// A machine that keeps something.
#[derive(Default, Serialize, Deserialize)]
struct Notes {
    pages: BTreeMap<u64, (String, Timestamp)>,
    taken: u64,
}

#[derive(Clone)]
enum Event {
    Noted(NotedV1),
}

#[derive(Clone, Serialize, Deserialize)]
struct NotedV1 {
    page: u64,
    text: String,
    at: Timestamp,
}

const NOTED: Kind = Kind { id: 990, version: 1, name: "bench.noted" };

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[NOTED];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        let Self::Noted(body) = self;
        writer.put(NOTED, body)
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (990, 1) => reader.get().map(Self::Noted),
            _ => Err(reader.unknown()),
        }
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("the book is full")]
struct Full;

impl Refuse for Full {
    fn code(&self) -> &'static str {
        "bench.full"
    }

    fn remedy(&self) -> String {
        "write less".to_owned()
    }
}

impl Machine for Notes {
    const NAME: &'static str = "notes";
    const REVISION: u32 = 1;

    type Command = ();
    type Event = Event;
    type Reply = u64;
    type Refusal = Full;

    fn decide(&self, (): &(), _: &Context) -> Result<Outcome<Self>, Full> {
        Err(Full)
    }

    fn evolve(&mut self, event: &Event, _: Position) {
        let Event::Noted(NotedV1 { page, text, at }) = event.clone();
        self.pages.insert(page, (text, at));
        self.taken += 1;
    }
}
