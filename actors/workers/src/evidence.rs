//! Lets the tile log follow the journal: it is opened and checked before the next child starts, and signs what became
//! durable, a batch at a time, at most half a second and a batch later.
//!
//! A log that cannot be written, as on a full disk, is tried again; the journal goes on meanwhile, and the lag is shown. A
//! log that is not what was signed ends the child, and with it the foundation, whose next start says why and refuses.

use std::time::{Duration, Instant};

use evidence::{Evidence, LogError};
use journal::Journal;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};

use crate::wake::{Wake, Waker};

/// At most so often a checkpoint is signed, unless there is more than a batch to sign.
const PERIOD: Duration = Duration::from_millis(500);
/// Waits before trying again what failed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// What the worker works with.
#[derive(Clone)]
pub struct Following {
    pub evidence: Evidence,
    pub journal: Journal,
}

impl Following {
    /// The child to put into the tree, after the journal.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("evidence");
        // Opening checks the newest part of the log, and may have to make files again.
        Child::actor::<Follower, _>(&reference, move || (Follower, self.clone())).starts_apart()
    }
}

/// Why the log did not open, with the code that a user looks up.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", why.code())]
struct NotOpened {
    why: LogError,
}

struct Follower;

enum Msg {
    /// There may be more.
    Wake,
    /// It is time to look.
    Due,
}

impl From<Wake> for Msg {
    fn from(_: Wake) -> Self {
        Self::Wake
    }
}

struct State {
    evidence: Evidence,
    waker: Waker,
    /// A look is on its way.
    due: bool,
    /// Not looked at before.
    not_before: Instant,
    failing: bool,
}

impl State {
    /// Sees to it that there is a look, not before its time.
    fn look(&mut self, myself: &ActorRef<Msg>) {
        if !std::mem::replace(&mut self.due, true) {
            myself.send_after(self.not_before.saturating_duration_since(Instant::now()), || Msg::Due);
        }
    }
}

impl Actor for Follower {
    type Msg = Msg;
    type State = State;
    type Arguments = Following;

    async fn pre_start(&self, myself: ActorRef<Msg>, following: Following) -> Result<State, ActorProcessingErr> {
        let Following { evidence, journal } = following;
        let opening = evidence.clone();
        off_the_workers(move || opening.open()).await?.map_err(|why| NotOpened { why })?;
        let waker = Waker::new(journal.durable(), myself);
        Ok(State { evidence, waker, due: false, not_before: Instant::now(), failing: false })
    }

    async fn handle(&self, myself: ActorRef<Msg>, message: Msg, state: &mut State) -> Result<(), ActorProcessingErr> {
        match message {
            Msg::Wake => {
                state.look(&myself);
                return Ok(());
            }
            Msg::Due => {
                state.due = false;
                // Only now, so that no more of them arrive meanwhile.
                state.waker.heard();
            }
        }
        let evidence = state.evidence.clone();
        match off_the_workers(move || evidence.follow()).await? {
            Ok(more) => {
                if std::mem::take(&mut state.failing) {
                    tracing::info!(code = "evidence.goes_on", "the tile log is written again");
                }
                let pause = if more { Duration::ZERO } else { PERIOD };
                state.not_before = Instant::now() + pause;
                if more {
                    state.look(&myself);
                }
            }
            Err(error) if error.may_pass() => {
                if !std::mem::replace(&mut state.failing, true) {
                    let why = error.to_string();
                    tracing::warn!(code = error.code(), why, "the tile log lags: nothing is signed at present");
                }
                state.not_before = Instant::now() + AGAIN_AFTER;
                state.look(&myself);
            }
            Err(why) => return Err(NotOpened { why }.into()),
        }
        Ok(())
    }

    /// Those who write have stopped: the last checkpoint covers all of it.
    async fn post_stop(&self, _: ActorRef<Msg>, state: &mut State) -> Result<(), ActorProcessingErr> {
        let evidence = state.evidence.clone();
        let ended = off_the_workers(move || {
            let mut followed = evidence.follow();
            while let Ok(true) = followed {
                followed = evidence.follow();
            }
            evidence.close();
            followed
        });
        if let Err(error) = ended.await? {
            tracing::warn!(code = error.code(), %error, "the last records are not signed yet; the next start does it");
        }
        Ok(())
    }
}

/// What waits for files: it ends by itself, and whoever asked lets one of it run at a time.
#[expect(clippy::disallowed_methods, reason = "files block")]
pub(crate) fn off_the_workers<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> tokio::task::JoinHandle<T> {
    tokio::task::spawn_blocking(work)
}
