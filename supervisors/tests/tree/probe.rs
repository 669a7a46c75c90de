//! Children that do as they are told, and write down when they start and stop.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef, Events, Exit, Heard, Ignore, Unrecoverable, Verdict, What};
use tokio::sync::oneshot;

pub const LONG: Duration = Duration::from_mins(10);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub enum Say {
    /// Answers with the number of messages that this incarnation has seen.
    Count(oneshot::Sender<u32>),
    Panic,
    Fail,
    End,
    /// Takes so many milliseconds.
    Nap(u64),
    /// Never comes back from the handler.
    Hang,
}

#[derive(Clone, Copy)]
pub enum Start {
    Fail,
    Panic,
    Unrecoverable,
    Ignore,
    Hang,
    /// Comes up after this many milliseconds.
    Slow(u64),
}

/// What all incarnations of one child share: how their starts go, and what they wrote down.
#[derive(Clone, Default)]
pub struct Script {
    pub starts: Arc<Mutex<VecDeque<Option<Start>>>>,
    pub refuses_to_stop: bool,
    pub log: Arc<Mutex<Vec<String>>>,
}

impl Script {
    pub fn starts(starts: impl IntoIterator<Item = Option<Start>>) -> Self {
        Self { starts: Arc::new(Mutex::new(starts.into_iter().collect())), ..Self::default() }
    }

    /// The same log, other starts.
    pub fn but_starts(&self, starts: impl IntoIterator<Item = Option<Start>>) -> Self {
        Self { log: self.log.clone(), ..Self::starts(starts) }
    }

    /// What was written down since the last call.
    pub fn logged(&self) -> Vec<String> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }
}

#[derive(Debug, thiserror::Error)]
#[error("replay")]
struct Replay(#[source] Unrecoverable);

pub struct Probe {
    pub name: String,
    pub script: Script,
}

impl Probe {
    fn note(&self, what: &str) {
        self.script.log.lock().unwrap().push(format!("{what} {}", self.name));
    }
}

impl Actor for Probe {
    type Msg = Say;
    type State = u32;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Say>, (): ()) -> Result<u32, ActorProcessingErr> {
        let start = self.script.starts.lock().unwrap().pop_front().flatten();
        match start {
            None => {}
            Some(Start::Fail) => return Err("no disk".into()),
            Some(Start::Panic) => panic!("no state"),
            Some(Start::Unrecoverable) => return Err(Replay(Unrecoverable("record 7 is torn".to_owned())).into()),
            Some(Start::Ignore) => return Err(Ignore.into()),
            Some(Start::Hang) => std::future::pending().await,
            Some(Start::Slow(millis)) => tokio::time::sleep(ms(millis)).await,
        }
        self.note("start");
        Ok(0)
    }

    async fn handle(&self, myself: ActorRef<Say>, say: Say, seen: &mut u32) -> Result<(), ActorProcessingErr> {
        *seen += 1;
        match say {
            Say::Count(reply) => drop(reply.send(*seen)),
            Say::Panic => panic!("lost my mind at {seen}"),
            Say::Fail => return Err("lost my disk".into()),
            Say::End => myself.stop(None),
            Say::Nap(millis) => tokio::time::sleep(ms(millis)).await,
            Say::Hang => std::future::pending().await,
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<Say>, _: &mut u32) -> Result<(), ActorProcessingErr> {
        if self.script.refuses_to_stop {
            std::future::pending::<()>().await;
        }
        self.note("stop");
        Ok(())
    }
}

/// Where the panic of this text is in this file.
pub fn place(text: &str) -> Option<String> {
    let panic = format!("panic!(\"{text}");
    let mut lines = include_str!("probe.rs").lines().zip(1..);
    let (line, column) = lines.find_map(|(text, line)| Some((line, text.find(&panic)? + 1)))?;
    Some(format!("{}:{line}:{column}", file!()))
}

pub fn probe(reference: &ChildRef<Say>, script: &Script) -> Child {
    let (name, script) = (reference.name().to_owned(), script.clone());
    Child::actor(reference, move || (Probe { name: name.clone(), script: script.clone() }, ()))
}

pub async fn count(child: &ChildRef<Say>) -> u32 {
    let (reply, answer) = oneshot::channel();
    child.cast(Say::Count(reply)).expect("the child is up");
    answer.await.expect("the child answers")
}

/// Reads on to the next end of `path`.
pub async fn exit_of(events: &mut Events, path: &str) -> (Exit, Verdict) {
    loop {
        let heard = events.next().await.expect("the tree runs");
        let Heard::Decision(decision) = heard else { panic!("the journal is long enough") };
        if let What::Exited { exit, verdict } = decision.what
            && &*decision.path == path
        {
            return (exit, verdict);
        }
    }
}
