//! How a record changes: an example of three versions, lifted from one to the next, in a journal that has them all.
//!
//! The concern is a test's own, and written as a real one has to be: each version is a frozen struct, `From` leads from
//! each to the next and to no other, [`Recorded::read`] applies as many of them as it takes, and only the newest is written.

use std::collections::BTreeMap;
use std::time::Duration;

use host::{Clock, Handle, Limits, Order};
use journal::codec::{self, Body, CodecError};
use journal::envelope::Answer;
use journal::{Append, Entry, Journal};
use kernel::{
    CommandId, Context, Decision, Digest, Kind, Machine, Outcome, Position, Principal, Reader, Recorded, Refuse,
    Timestamp, Writer,
};
use serde::{Deserialize, Serialize};
use supervisors::{Strategy, Supervisor, Tree};

use crate::check_all;
use crate::shapes::shapes;

const READ_V1: Kind = Kind { id: 901, version: 1, name: "thermometer.read" };
const READ_V2: Kind = Kind { id: 901, version: 2, name: "thermometer.read" };
const READ_V3: Kind = Kind { id: 901, version: 3, name: "thermometer.read" };

/// The first release had one thermometer, and whole degrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReadV1 {
    celsius: i64,
    at: Timestamp,
}

/// Another unit: the old value is converted, and its place, which was not recorded, is the one that there was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReadV2 {
    place: String,
    millikelvin: u64,
    at: Timestamp,
}

/// A new field: what the older versions cannot know is `None`, and never made up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct ReadV3 {
    place: String,
    millikelvin: u64,
    by: Option<String>,
    at: Timestamp,
}

impl From<ReadV1> for ReadV2 {
    fn from(ReadV1 { celsius, at }: ReadV1) -> Self {
        let millikelvin = (celsius * 1_000 + 273_150).try_into().expect("nothing is colder");
        Self { place: "hall".into(), millikelvin, at }
    }
}

impl From<ReadV2> for ReadV3 {
    fn from(ReadV2 { place, millikelvin, at }: ReadV2) -> Self {
        Self { place, millikelvin, by: None, at }
    }
}

/// Of the newest version only: nothing else in the concern knows that there were others.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Read(ReadV3),
}

impl Recorded for Event {
    const KINDS: &'static [Kind] = &[READ_V1, READ_V2, READ_V3];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        match self {
            Self::Read(body) => writer.put(READ_V3, body),
        }
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (901, 1) => reader.get::<ReadV1>().map(ReadV2::from).map(ReadV3::from).map(Self::Read),
            (901, 2) => reader.get::<ReadV2>().map(ReadV3::from).map(Self::Read),
            (901, 3) => reader.get().map(Self::Read),
            _ => Err(reader.unknown()),
        }
    }
}

#[derive(Serialize)]
struct Read {
    place: &'static str,
    millikelvin: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("it is broken")]
struct Broken;

impl Refuse for Broken {
    fn code(&self) -> &'static str {
        "thermometer.broken"
    }

    fn remedy(&self) -> String {
        "mend it".into()
    }
}

/// The last reading of each place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Thermometer(BTreeMap<String, ReadV3>);

impl Machine for Thermometer {
    const NAME: &'static str = "thermometer";
    const REVISION: u32 = 1;

    type Command = Read;
    type Event = Event;
    type Reply = ();
    type Refusal = Broken;

    fn decide(&self, command: &Read, cx: &Context) -> Result<Outcome<Self>, Broken> {
        let by = Some(cx.principal.to_string());
        let Read { place, millikelvin } = *command;
        Ok(Outcome::new(vec![Event::Read(ReadV3 { place: place.into(), millikelvin, by, at: cx.now })], ()))
    }

    fn evolve(&mut self, event: &Event, _at: Position) {
        let Event::Read(read) = event;
        self.0.insert(read.place.clone(), read.clone());
    }
}

const NOON: Timestamp = Timestamp(1_700_000_000_000);

fn read(place: &str, millikelvin: u64, by: Option<&str>) -> Event {
    Event::Read(ReadV3 { place: place.into(), millikelvin, by: by.map(Into::into), at: NOON })
}

/// As a concern has them in `v0.1.txt`: written by hand once, as the release of each version wrote them.
const GOLDEN: &str = "\
901 1 thermometer.read 27fd0068e5cf8b010000
901 2 thermometer.read 0463616665fc48780400fd0068e5cf8b010000
901 3 thermometer.read 0463616665fc48780400010e6f70657261746f722f616c696365fd0068e5cf8b010000
";

#[test]
fn every_version_means_what_it_meant_and_the_newest_is_written() {
    let cold = read("hall", 253_150, None);
    let older = [(1, cold), (2, read("cafe", 292_936, None))];
    check_all(GOLDEN, &older, &[read("cafe", 292_936, Some("operator/alice"))]);
}

#[test]
fn each_version_has_a_shape_of_its_own() {
    let shapes: Vec<_> = shapes::<Event>().into_values().map(|(_, shape)| shape).collect();
    assert_eq!(
        shapes,
        [
            "{celsius: i64, at: u64}",
            "{place: text, millikelvin: u64, at: u64}",
            "{place: text, millikelvin: u64, by: text?, at: u64}",
        ]
    );
}

#[test]
fn a_version_of_a_later_release_is_refused_and_never_guessed_at() {
    let body = codec::write(&read("cafe", 1, None)).unwrap().bytes;
    let unknown = CodecError::UnknownKind { id: 901, version: 4 };
    assert_eq!(codec::read::<Event>((901, 4), &body), Err(unknown));
}

/// Three releases one after the other wrote to this stream, and the third goes on.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_all_versions_replays_and_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::new(directory.path(), journal::Limits::default());
    journal.open().unwrap();
    let v1 = |celsius| body(READ_V1, &ReadV1 { celsius, at: NOON });
    let v2 = body(READ_V2, &ReadV2 { place: "cafe".into(), millikelvin: 293_000, at: NOON });
    older_releases(&journal, vec![v1(-20), v1(21), v2, codec::write(&read("cellar", 285_000, Some("x"))).unwrap()]);

    let handle = Handle::<Thermometer>::new(&journal, &Clock::system(), Limits::default(), None);
    let order = Order {
        command: Read { place: "cafe", millikelvin: 294_000 },
        command_id: CommandId::new(Clock::system().now(), [7; 10]),
        principal: "operator/bob".parse().unwrap(),
        decision: Decision::default(),
        cause: None,
        asked: None,
    };
    let root = Supervisor::new("root", Strategy::OneForOne).child(handle.child());
    let tree = Tree::start(root, 1).await.unwrap();
    handle.up().await;
    let lifted = handle.inspect(Clone::clone).await.unwrap();
    let expected = [read("cafe", 293_000, None), read("cellar", 285_000, Some("x")), read("hall", 294_150, None)];
    let expected = expected.map(|Event::Read(read)| (read.place.clone(), read));
    assert_eq!(lifted, Thermometer(BTreeMap::from(expected)));

    handle.execute(order).await.unwrap().outcome.unwrap();
    let last = journal.read_stream("thermometer", Position(1), Position(u64::MAX), 100).unwrap().pop().unwrap();
    assert_eq!((last.kind_id, last.schema), (901, 3), "what is written is of the newest version");
    tree.shutdown(Duration::from_mins(1)).await;
    journal.close();
}

fn body(kind: Kind, of: &impl Serialize) -> Body {
    Body { kind, bytes: codec::canonical(of).unwrap() }
}

/// One command's facts, appended as a host of theirs did.
fn older_releases(journal: &Journal, bodies: Vec<Body>) {
    let (tell, told) = std::sync::mpsc::channel();
    let then = Box::new(move |opened| tell.send(opened).unwrap());
    let principal = Principal::internal("host");
    journal.queue(Entry::Open { stream: Thermometer::NAME, principal: principal.clone(), time: NOON, then });
    let opened = told.recv().unwrap().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    journal.queue(Entry::Append(Box::new(Append {
        stream: Thermometer::NAME,
        epoch: opened.epoch,
        expected: opened.version,
        time: NOON,
        principal,
        decision: Decision::default(),
        command_id: CommandId::derived(Digest([9; 32])),
        command_digest: Digest([9; 32]),
        cause: None,
        asked: None,
        answer: Answer::None,
        bodies,
        then: Box::new(move |stored| tell.send(stored).unwrap()),
    })));
    told.recv().unwrap().unwrap();
}
