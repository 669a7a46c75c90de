//! A child that says what it did: which messages it handled, in which incarnation, and in what order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use supervisors::{Child, ChildRef, Context, Strategy, Supervisor, Tree, WhenFull};
use tokio::sync::{Semaphore, oneshot};

pub const LONG: Duration = Duration::from_mins(10);

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub enum Say {
    /// Is written down.
    Note(u32),
    /// Is written down and answered with the epoch.
    Ask(u32, oneshot::Sender<u64>),
    /// Waits until the test lets it go on.
    Block,
    /// Drops the reply and goes on.
    Forget(#[expect(dead_code, reason = "it is dropped")] oneshot::Sender<()>),
    /// Drops the reply, waits as [`Say::Block`], and fails.
    ForgetAndFail(oneshot::Sender<()>),
    /// Panics with the reply in its hands.
    Panic(#[expect(dead_code, reason = "it is dropped")] oneshot::Sender<()>),
    Fail,
    /// Ends by itself.
    End,
    /// The same by its supervisor's means, with a bounded mailbox as well after this very message.
    Leave,
    /// Sends itself a note, past any bound.
    Tell(u32),
    /// Starts an actor of its own, which ends at once; the news of that is written down as this.
    Beget(u32),
    /// Kills itself by ractor's own means.
    Die,
    /// Says that it is well.
    Well,
    /// Waits this many milliseconds.
    Sleep(u64),
    /// Says that it is there.
    Probe(oneshot::Sender<()>),
}

/// What all incarnations of one child share.
#[derive(Clone)]
pub struct Script {
    pub log: Arc<Mutex<Vec<(u64, u32)>>>,
    /// Each blocked handler takes one permit.
    pub go: Arc<Semaphore>,
    /// Each start takes one permit.
    pub starts: Arc<Semaphore>,
    /// How many messages were taken in hand.
    pub taken: Arc<AtomicU64>,
}

impl Default for Script {
    fn default() -> Self {
        let starts = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { log: Arc::default(), go: Arc::new(Semaphore::new(0)), starts, taken: Arc::default() }
    }
}

impl Script {
    /// No start comes to its end before the test lets it.
    pub fn slow() -> Self {
        Self { starts: Arc::new(Semaphore::new(0)), ..Self::default() }
    }

    pub fn logged(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    pub fn child(&self, reference: &ChildRef<Say>) -> Child {
        let script = self.clone();
        Child::actor_with_context(reference, move |context| (Echo { script: script.clone(), context }, ()))
    }

    pub fn bounded(&self, reference: &ChildRef<Say>, limit: usize, when_full: WhenFull) -> Child {
        let script = self.clone();
        Child::bounded_actor(reference, limit, when_full, move |context| (Echo { script: script.clone(), context }, ()))
    }
}

async fn take(semaphore: &Semaphore) {
    semaphore.acquire().await.expect("nobody closes it").forget();
}

pub struct Echo {
    pub script: Script,
    pub context: Context<Say>,
}

impl Echo {
    fn note(&self, number: u32) {
        self.script.log.lock().unwrap().push((self.context.epoch(), number));
    }
}

impl Actor for Echo {
    type Msg = Say;
    type State = u32;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<Say>, (): ()) -> Result<u32, ActorProcessingErr> {
        take(&self.script.starts).await;
        Ok(0)
    }

    async fn handle(&self, myself: ActorRef<Say>, say: Say, begotten: &mut u32) -> Result<(), ActorProcessingErr> {
        self.script.taken.fetch_add(1, Ordering::Relaxed);
        match say {
            Say::Note(number) => self.note(number),
            Say::Ask(number, reply) => {
                self.note(number);
                // The caller may have stopped waiting.
                let _ = reply.send(self.context.epoch());
            }
            Say::Block => take(&self.script.go).await,
            Say::Forget(_) => {}
            Say::ForgetAndFail(reply) => {
                drop(reply);
                take(&self.script.go).await;
                return Err("forgot, and failed".into());
            }
            Say::Panic(_) => panic!("as asked"),
            Say::Fail => return Err("as asked".into()),
            Say::End => myself.stop(None),
            Say::Leave => assert!(self.context.stop()),
            Say::Tell(number) => myself.send_message(Say::Note(number))?,
            Say::Beget(number) => {
                *begotten = number;
                let (child, _) = Actor::spawn_linked(None, Mayfly, (), myself.get_cell()).await?;
                child.stop(None);
            }
            Say::Die => myself.kill(),
            Say::Well => self.context.healthy(),
            Say::Sleep(time) => tokio::time::sleep(ms(time)).await,
            // Its supervisor may have given it up.
            Say::Probe(reply) => drop(reply.send(())),
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<Say>,
        event: SupervisionEvent,
        begotten: &mut u32,
    ) -> Result<(), ActorProcessingErr> {
        if let SupervisionEvent::ActorTerminated(..) = event {
            self.note(*begotten);
        }
        Ok(())
    }
}

struct Mayfly;

impl Actor for Mayfly {
    type Msg = ();
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }
}

/// A tree of this one child, which is restarted as often as it takes, and at once.
pub async fn tree(child: Child) -> Tree {
    Tree::start(root(child), 1).await.expect("the tree starts")
}

pub fn root(child: Child) -> Supervisor {
    let root = Supervisor::new("root", Strategy::OneForOne).intensity(u32::MAX, LONG);
    root.child(child.backoff(supervisors::Backoff::none()))
}

/// Lets everything happen that can happen without time passing.
pub async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
