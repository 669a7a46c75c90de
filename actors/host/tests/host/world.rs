//! A ledger in a tree over a journal in a directory, with a clock that stands until it is moved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use host::{Answer, Clock, Error, Handle, Limits, Order, View};
use journal::envelope::Record;
use journal::{Journal, Keeper};
use kernel::{CommandId, Decision, Digest, Machine as _, Position, Principal, Timestamp};
use supervisors::{Backoff, ChildRef, Events, Exhausted, Heard, Strategy, Supervisor, Tree, What};
use tempfile::TempDir;
use tokio::sync::watch;

use crate::disk::{Disk, LetGo};
use crate::ledger::{Command, Event, Ledger, Refusal, Reply};

pub const NOON: Timestamp = Timestamp(1_700_000_000_000);
pub const LONG: Duration = Duration::from_hours(1);
pub const LEDGER: &str = "root/ledger";
pub const JOURNAL: &str = "root/journal";

/// A clock that stands still until it is set, and counts who looks.
#[derive(Clone)]
pub struct Time {
    now: Arc<AtomicU64>,
    looks: Arc<watch::Sender<u64>>,
}

impl Default for Time {
    fn default() -> Self {
        Self { now: Arc::new(AtomicU64::new(NOON.0)), looks: Arc::new(watch::Sender::new(0)) }
    }
}

impl Time {
    pub fn set(&self, now: Timestamp) {
        self.now.store(now.0, Ordering::SeqCst);
    }

    pub fn looks(&self) -> u64 {
        *self.looks.borrow()
    }

    /// Waits until the clock was looked at so many times: each command that a ledger without holds takes up is one.
    pub async fn looked_at(&self, looks: u64) {
        self.looks.subscribe().wait_for(|seen| looks <= *seen).await.unwrap();
    }

    pub fn clock(&self) -> Clock {
        let time = self.clone();
        Clock::from_fn(move || {
            time.looks.send_modify(|looks| *looks += 1);
            Timestamp(time.now.load(Ordering::SeqCst))
        })
    }
}

/// A view that writes down all that it is told.
#[derive(Clone, Default)]
pub struct Seen(Arc<Mutex<Vec<Told>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Reset,
    Restored(u64, Ledger),
    Fact(u64, Event),
}

impl Seen {
    pub fn all(&self) -> Vec<Told> {
        self.0.lock().unwrap().clone()
    }

    /// What it was told since it was restored, if it was.
    pub fn facts(&self) -> Vec<Event> {
        let facts = self.all().into_iter().filter_map(|told| match told {
            Told::Fact(_, event) => Some(event),
            Told::Reset | Told::Restored(..) => None,
        });
        facts.collect()
    }

    /// The version that it was restored to, or zero.
    pub fn restored(&self) -> u64 {
        let versions = self.all().into_iter().filter_map(|told| match told {
            Told::Restored(version, _) => Some(version),
            Told::Reset | Told::Fact(..) => None,
        });
        versions.max().unwrap_or_default()
    }

    /// What all that it was told comes to.
    pub fn ledger(&self) -> Ledger {
        self.all().into_iter().fold(Ledger::default(), |mut ledger, told| {
            match told {
                Told::Reset => return Ledger::default(),
                Told::Restored(_, restored) => return restored,
                Told::Fact(version, event) => ledger.evolve(&event, Position(version)),
            }
            ledger
        })
    }
}

impl View<Ledger> for Seen {
    fn reset(&self) {
        self.0.lock().unwrap().push(Told::Reset);
    }

    fn restore(&self, ledger: &Ledger, at: Position) {
        self.0.lock().unwrap().push(Told::Restored(at.0, ledger.clone()));
    }

    fn apply(&self, event: &Event, at: Position) {
        self.0.lock().unwrap().push(Told::Fact(at.0, event.clone()));
    }
}

/// What a world is made of; the defaults are those of a small, healthy one.
#[derive(Clone)]
pub struct Setup {
    pub dir: Arc<TempDir>,
    pub time: Time,
    pub limits: Limits,
    pub reserve_bytes: u64,
    pub disk: Disk,
    /// Restarts that the ledger may need within any minute.
    pub restarts: u32,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            dir: Arc::new(tempfile::tempdir().unwrap()),
            time: Time::default(),
            limits: Limits::default(),
            reserve_bytes: 0,
            disk: Disk::default(),
            restarts: 5,
        }
    }
}

pub struct World {
    pub setup: Setup,
    pub journal: Journal,
    pub ledger: Handle<Ledger>,
    pub seen: Seen,
    pub tree: Tree,
    events: Events,
    _let_go: LetGo,
}

impl Setup {
    pub async fn start(self) -> World {
        let disk = self.disk.clone();
        let limits = journal::Limits { reserve_bytes: self.reserve_bytes, ..journal::Limits::default() };
        let journal = Journal::with_log(self.dir.path(), limits, Box::new(move |log| disk.under(log)));
        let seen = Seen::default();
        let ledger = Handle::new(&journal, &self.time.clock(), self.limits, Some(Arc::new(seen.clone())));
        let kept = journal.clone();
        let keeper = ChildRef::new("journal");
        let root = Supervisor::new("root", Strategy::RestForOne)
            .intensity(self.restarts, Duration::from_mins(1))
            .on_exhausted(Exhausted::Quarantine)
            .backoff(Backoff::none())
            .child(supervisors::Child::actor(&keeper, move || (Keeper, kept.clone())))
            .child(ledger.child());
        let tree = Tree::start(root, 1).await.unwrap();
        let events = tree.subscribe();
        let let_go = LetGo(self.disk.clone());
        World { setup: self, journal, ledger, seen, tree, events, _let_go: let_go }
    }
}

impl World {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    pub async fn stop(self) -> Setup {
        self.tree.shutdown(LONG).await;
        self.setup
    }

    /// Ends the process, as far as the ledger can tell, and starts another over the same directory.
    pub async fn again(self) -> Self {
        Setup { disk: Disk::default(), ..self.stop().await }.start().await
    }

    /// Waits until incarnation `epoch` of the ledger has ended, and gives its exit.
    pub async fn ended(&mut self, epoch: u64) -> supervisors::Exit {
        loop {
            let heard = self.events.next().await.expect("the tree runs");
            let Heard::Decision(decision) = heard else { panic!("the tests make few decisions") };
            if let What::Exited { exit, .. } = decision.what
                && (&*decision.path, decision.epoch) == (LEDGER, epoch)
            {
                return exit;
            }
        }
    }

    /// Waits until incarnation `epoch` of the ledger is up.
    pub async fn restarted(&mut self, epoch: u64) {
        loop {
            let heard = self.events.next().await.expect("the tree runs");
            let Heard::Decision(decision) = heard else { panic!("the tests make few decisions") };
            if (&*decision.path, decision.epoch, decision.what) == (LEDGER, epoch, What::Started) {
                break self.ledger.up().await;
            }
        }
    }

    pub async fn ask(&self, order: Order<Command>) -> String {
        told(self.ledger.execute(order).await)
    }

    pub async fn balance(&self) -> u64 {
        self.ledger.inspect(|ledger| ledger.balance).await.unwrap()
    }

    /// Every record of the ledger.
    pub fn records(&self) -> Vec<Record> {
        self.journal.read_stream("ledger", Position(1), Position(u64::MAX), usize::MAX).unwrap()
    }

    /// The command ids on record, in order, each as often as it ran.
    pub fn ran(&self) -> Vec<CommandId> {
        let firsts = self.records().into_iter().filter(|record| 100 <= record.kind_id || record.kind_id == 2);
        firsts.filter(|record| record.index == 0).map(|record| record.command_id).collect()
    }
}

/// An answer in a word or two: `7`, `overdrawn 7`, either with `, again`, or the code of an error.
pub fn told(answer: Result<Answer<Ledger>, Error>) -> String {
    match answer {
        Ok(Answer { outcome, repeated, .. }) => {
            let outcome = match outcome {
                Ok(Reply(balance)) => balance.to_string(),
                Err(Refusal::Overdrawn { balance }) => format!("overdrawn {balance}"),
            };
            if repeated { format!("{outcome}, again") } else { outcome }
        }
        Err(error) => error.code().to_owned(),
    }
}

/// The `number`-th command id made at `at`.
pub fn id_at(at: Timestamp, number: u64) -> CommandId {
    let mut entropy = [0; 10];
    entropy[2..].copy_from_slice(&number.to_be_bytes());
    CommandId::new(at, entropy)
}

pub fn order_as(principal: Principal, command_id: CommandId, command: Command) -> Order<Command> {
    Order { command, command_id, principal, decision: Decision::default(), cause: None, asked: None }
}

/// The operator asks, at noon.
pub fn order(number: u64, command: Command) -> Order<Command> {
    order_as("operator/root".parse().unwrap(), id_at(NOON, number), command)
}

pub fn add(number: u64, amount: u64) -> Order<Command> {
    order(number, Command::Add { amount })
}

pub fn take(number: u64, amount: u64) -> Order<Command> {
    order(number, Command::Take { amount })
}

pub fn derived(number: u8) -> CommandId {
    CommandId::derived(Digest([number; 32]))
}
