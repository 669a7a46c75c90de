//! Destroys the keys of subjects that are to be erased, and sees to it that what was erased stays so: the keys are
//! [`keyring`]'s, the list the machine's.
//!
//! An erasure is on record before its key is touched, and reported after the key is gone. Killed in between, it is carried on
//! by the next start; the keyring destroys no later key for it.

use std::time::Duration;

use host::{Clock, Error, Handle, Order};
use journal::Journal;
use kernel::{CommandId, Decision, Machine as _, Principal, Refuse as _};
use keyring::{Keyring, KeyringError};
use ractor::{Actor, ActorProcessingErr, ActorRef};
use subjects::{Command, Subjects};
use supervisors::{Child, ChildRef};

use crate::evidence::off_the_workers;
use crate::wake::{Wake, Waker};

/// Waits before asking again who is down, or before a disk that failed is tried again.
const AGAIN_AFTER: Duration = Duration::from_millis(200);

/// What the worker works with.
#[derive(Clone)]
pub struct Eraser {
    pub subjects: Handle<Subjects>,
    pub keyring: Keyring,
    pub journal: Journal,
    pub clock: Clock,
}

impl Eraser {
    /// The child to put into the tree.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("eraser");
        Child::actor::<Erasing, _>(&reference, move || (Erasing, self.clone()))
    }

    /// What the records say was destroyed is not here: not back from an old copy of the keys, nor of the records.
    async fn sweep(&self) -> Result<(), Ended> {
        let done = |subjects: &Subjects| {
            subjects.done().map(|(subject, erasure)| (subject.clone(), erasure.id, erasure.key)).collect::<Vec<_>>()
        };
        let (done, keyring) = (self.subjects.inspect(done).await?, self.keyring.clone());
        let stays = move || done.iter().try_for_each(|(subject, id, key)| keyring.stays_erased(subject, *id, *key));
        Ok(off_the_workers(stays).await??)
    }

    async fn erase(&self, erasure: CommandId, subject: Principal) -> Result<(), Ended> {
        let (keyring, whose) = (self.keyring.clone(), subject.clone());
        let key = off_the_workers(move || keyring.erase(&whose, erasure)).await??;
        let order = Order {
            command: Command::Finish { erasure, key },
            command_id: self.clock.command_id(),
            principal: Principal::internal("eraser"),
            decision: Decision::default(),
            cause: None,
            asked: None,
        };
        match self.subjects.execute(order).await?.outcome {
            Ok(_) => tracing::info!(code = "erasure.done", %subject, %erasure, "a key is destroyed"),
            Err(refusal) => tracing::warn!(code = refusal.code(), %erasure, "refused: {refusal}"),
        }
        Ok(())
    }
}

/// Why an erasure was not brought to its end.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Host(#[from] Error),
    #[error(transparent)]
    Keys(#[from] KeyringError),
    #[error("the work panicked: {0}")]
    Work(#[from] tokio::task::JoinError),
}

struct Erasing;

struct Working {
    eraser: Eraser,
    waker: Waker,
    /// Once in each incarnation.
    swept: bool,
    /// What failed last, so that it is said once.
    said: Option<String>,
}

impl Working {
    /// Whether to look again at once: there may be more.
    async fn work(&mut self) -> Result<bool, Ended> {
        if !self.swept {
            self.eraser.sweep().await?;
            self.swept = true;
        }
        match self.eraser.subjects.inspect(Subjects::outstanding).await? {
            None => Ok(false),
            Some((erasure, subject)) => self.eraser.erase(erasure, subject).await.map(|()| true),
        }
    }
}

impl Actor for Erasing {
    type Msg = Wake;
    type State = Working;
    type Arguments = Eraser;

    async fn pre_start(&self, myself: ActorRef<Wake>, eraser: Eraser) -> Result<Working, ActorProcessingErr> {
        let waker = Waker::new(eraser.journal.moved(Subjects::NAME), myself);
        Ok(Working { eraser, waker, swept: false, said: None })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, working: &mut Working) -> Result<(), ActorProcessingErr> {
        working.waker.heard();
        match working.work().await {
            Ok(more) => {
                working.said = None;
                if more {
                    myself.send_message(Wake)?;
                }
            }
            Err(fault @ Ended::Work(_)) => return Err(fault.into()),
            Err(error) => {
                let why = error.to_string();
                if matches!(error, Ended::Keys(_)) && working.said.as_ref() != Some(&why) {
                    tracing::warn!(code = "erasure.stuck", why, "a key cannot be destroyed now, and is tried again");
                    working.said = Some(why);
                }
                myself.send_after(AGAIN_AFTER, || Wake);
            }
        }
        Ok(())
    }
}
