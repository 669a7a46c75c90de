//! Looks at what a node alone knows (its tree, its disk, its clocks, its journal's pace) and tells the health machine what
//! changed; and hands it what supervision decided.
//!
//! It looks once a second and after each decision. Its own end and that of the machine are decisions like any other, told
//! once an interval at most, so that a restart never calls for the next one.

mod ledger;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use health::{Command, Disk, Health, Observation, SLOW_AFTER, SUBJECT_MAX, clipped};
use host::{Clock, Error, Handle, Order, OwnedTask};
use journal::{Journal, Unwritable};
use kernel::{CommandId, Decision, Millis, Principal, Refuse as _};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef, Heard, Tree};
use tokio::sync::watch;

use ledger::{Ledger, Now};
pub use ledger::{is_needed, word};

/// Often enough to be worth a second's promise, rarely enough to cost nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The names of machines that refuse a command because it made them fail.
pub type Poisoned = Arc<dyn Fn() -> Vec<&'static str> + Send + Sync>;

/// What the monitor works with.
#[derive(Clone)]
pub struct Monitor {
    health: Handle<Health>,
    journal: Journal,
    clock: Clock,
    tree: watch::Receiver<Option<Tree>>,
    reserve_bytes: u64,
    overdue_after: Millis,
    needed: &'static [&'static str],
    poisoned: Poisoned,
    /// Of this process, for all incarnations.
    process: CommandId,
    began: Instant,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    ledger: Ledger,
    begun: bool,
    /// What was asked and not answered; asked again under the same id, so that it is recorded once.
    asked: Option<(CommandId, Command)>,
}

/// What [`Monitor::new`] needs to be told.
pub struct Settings {
    pub reserve_bytes: u64,
    pub overdue_after: Duration,
    /// The nodes without which no command is taken.
    pub needed: &'static [&'static str],
    pub poisoned: Poisoned,
}

impl Monitor {
    pub fn new(
        health: &Handle<Health>,
        journal: &Journal,
        clock: &Clock,
        tree: watch::Receiver<Option<Tree>>,
        settings: Settings,
    ) -> Self {
        let Settings { reserve_bytes, overdue_after, needed, poisoned } = settings;
        Self {
            health: health.clone(),
            journal: journal.clone(),
            clock: clock.clone(),
            tree,
            reserve_bytes,
            overdue_after: millis(overdue_after),
            needed,
            poisoned,
            process: clock.command_id(),
            began: Instant::now(),
            memory: Arc::default(),
        }
    }

    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("monitor");
        Child::actor::<Monitoring, _>(&reference, move || (Monitoring, self.clone()))
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Now {
        Now { wall: self.clock.wall(), mono: millis(self.began.elapsed()) }
    }

    async fn look(&self) -> Result<(), Error> {
        let now = self.now();
        match self.journal.writable() {
            Ok(()) => {}
            Err(why @ (Unwritable::DiskFull { .. } | Unwritable::Failed { .. })) => {
                self.memory().ledger.silenced(&why.to_string(), now);
                return Ok(());
            }
            // Between two openings; the next look tells.
            Err(Unwritable::Closed) => return Ok(()),
        }
        if !self.memory().begun {
            self.ask(Command::Begin { process: self.process, overdue_after: self.overdue_after }).await?;
            self.memory().begun = true;
        }
        let next = {
            let mut memory = self.memory();
            if memory.asked.is_none() {
                memory.asked = memory.ledger.tell(now).map(|command| (self.clock.command_id(), command));
            }
            memory.asked.clone()
        };
        if let Some((id, command)) = next {
            self.record(id, command).await?;
        }
        let Some(tree) = self.tree.borrow().clone() else { return Ok(()) };
        let seen = {
            let Memory { ledger, .. } = &mut *self.memory();
            let figures = self.journal.figures();
            let slow = figures.slower_than(SLOW_AFTER);
            let groups = figures.groups.load(Ordering::Relaxed).max(slow);
            let (appends, slow_appends) = ledger.appends(groups, slow, now);
            Observation {
                process: self.process,
                children: ledger.troubles(&tree.snapshot(), self.needed, now),
                poisoned: (self.poisoned)().into_iter().map(|name| clipped(name, SUBJECT_MAX)).collect(),
                disk: self.journal.free_bytes().map(|free| Disk { free, reserve: self.reserve_bytes }),
                appends,
                slow_appends,
                clock_jump: ledger.jump(now),
            }
        };
        let looked = seen.clone();
        // Every command is a record, so one is asked only if it changes something.
        if self.health.inspect(move |health| !health.changes(&looked, now.wall).is_empty()).await? {
            self.ask(Command::Observe(seen)).await?;
        }
        self.memory().ledger.jump_told();
        Ok(())
    }

    async fn record(&self, id: CommandId, command: Command) -> Result<(), Error> {
        let done = self.ask_as(id, command.clone()).await;
        match &done {
            // Perhaps it was; asked again under its id, it is answered.
            Err(Error::Unknown { .. } | Error::Down { .. } | Error::Overloaded { .. }) => {}
            Ok(()) | Err(Error::AnswerLost { .. } | Error::Fault { .. } | Error::IdTaken) => {
                self.memory().asked = None;
            }
            Err(Error::Unwritable(_) | Error::Stale { .. } | Error::Untimely { .. } | Error::WindowFull { .. }) => {
                let mut memory = self.memory();
                memory.asked = None;
                memory.ledger.back(command);
            }
        }
        done
    }

    async fn ask(&self, command: Command) -> Result<(), Error> {
        self.ask_as(self.clock.command_id(), command).await
    }

    async fn ask_as(&self, command_id: CommandId, command: Command) -> Result<(), Error> {
        let principal = Principal::internal("monitor");
        let order = Order { command, command_id, principal, decision: Decision::default(), cause: None, asked: None };
        if let Err(refusal) = self.health.execute(order).await?.outcome {
            tracing::warn!(code = refusal.code(), "health refused: {refusal}");
        }
        Ok(())
    }
}

fn millis(span: Duration) -> Millis {
    Millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

struct Monitoring;

/// Why to look.
#[derive(Clone, Copy)]
enum Look {
    /// A second has passed.
    Tick,
    /// Supervision decided something.
    Heard,
}

struct State {
    monitor: Monitor,
    /// A decision has been heard and not looked at.
    pending: Arc<AtomicBool>,
    _ears: OwnedTask,
}

impl Actor for Monitoring {
    type Msg = Look;
    type State = State;
    type Arguments = Monitor;

    async fn pre_start(&self, myself: ActorRef<Look>, monitor: Monitor) -> Result<State, ActorProcessingErr> {
        myself.send_message(Look::Tick)?;
        let pending = Arc::new(AtomicBool::new(false));
        let ears = listening(monitor.clone(), myself, pending.clone());
        Ok(State { monitor, pending, _ears: OwnedTask::spawn(ears) })
    }

    async fn handle(&self, myself: ActorRef<Look>, look: Look, state: &mut State) -> Result<(), ActorProcessingErr> {
        state.pending.store(false, Ordering::Release);
        if let Err(error) = state.monitor.look().await {
            tracing::debug!(code = error.code(), "the monitor looks again");
        }
        if let Look::Tick = look {
            myself.send_after(LOOK_EVERY, || Look::Tick);
        }
        Ok(())
    }
}

/// Keeps what supervision decides, and wakes the monitor.
async fn listening(monitor: Monitor, actor: ActorRef<Look>, pending: Arc<AtomicBool>) {
    let mut tree = monitor.tree.clone();
    let Ok(Some(tree)) = tree.wait_for(Option::is_some).await.map(|tree| tree.clone()) else { return };
    let mut events = tree.subscribe();
    let mut read = 0;
    while let Some(heard) = events.next().await {
        {
            let Memory { ledger, .. } = &mut *monitor.memory();
            match heard {
                Heard::Decision(decision) => {
                    read = decision.sequence;
                    ledger.hear(&decision, monitor.clock.now());
                }
                Heard::Missed(count) => {
                    read += count;
                    ledger.miss(read);
                }
            }
        }
        // Never more than one in the mailbox: what is decided at once is looked at once.
        if !pending.swap(true, Ordering::AcqRel) && actor.send_message(Look::Heard).is_err() {
            return;
        }
    }
}
