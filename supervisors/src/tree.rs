//! The handle on a running tree.
//!
//! Cheap to clone; dropping the last handle does not stop the tree, [`Tree::shutdown`] does. Looking at the tree asks
//! nobody: snapshots and decisions come from the board, also while supervisors are dead or busy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::board::{Board, Events, Place, Slot, lock};
use crate::report::{
    Ended, Exit, Farewell, Node, NodeState, NotFound, Outcome, Report, RestartError, StartError, Verdict, What,
};
use crate::shell::{self, News, Order};
use crate::spec::Supervisor;

/// The epoch of the root: nobody restarts it.
const ROOT_EPOCH: u64 = 1;

/// A running tree.
#[derive(Clone)]
pub struct Tree {
    board: Arc<Board>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Tree {
    /// Starts the tree and returns when all of it is up. `seed` spreads the back-off delays, and nothing else. If the
    /// caller stops waiting, what has been started is killed.
    ///
    /// # Errors
    /// The first child that did not start, with its cause. All that were started before it have been stopped again.
    pub async fn start(root: Supervisor, seed: u64) -> Result<Self, StartError> {
        root.check(&root.name)?;
        let board = Arc::new(Board::new(&root, seed));
        let (end, ended) = watch::channel(None);
        let (up, is_up) = oneshot::channel();
        let up = Mutex::new(Some(up));
        let herald = {
            let board = board.clone();
            Arc::new(move |news| match news {
                News::Started => {
                    board.root.live().state = NodeState::Running;
                    record(&board, What::Started);
                    let up = lock(&up).take();
                    // The caller of `start` may have stopped waiting.
                    up.map(|up| up.send(()));
                }
                // What lingers is bounded in time; the end that follows once it is gone adds nothing.
                News::Lingers(_) | News::Ended(_) if end.borrow().is_some() => {}
                News::Lingers(exit) | News::Ended(exit) => {
                    {
                        let mut live = board.root.live();
                        live.state = NodeState::Stopped;
                        live.last_exit = Some(exit.clone());
                    }
                    let verdict = if exit == Exit::Shutdown { Verdict::AsOrdered } else { Verdict::Done };
                    record(&board, What::Exited { exit: exit.clone(), verdict });
                    board.journal.close();
                    end.send_replace(Some(Ended { exit }));
                    drop(lock(&up).take());
                }
            })
        };
        {
            let mut live = board.root.live();
            live.epoch = ROOT_EPOCH;
            live.state = NodeState::Starting;
        }
        record(&board, What::Starting);
        let spec = Arc::new(root);
        shell::launch_supervisor(&board, &spec, &board.root, ROOT_EPOCH, herald);
        let mut unattended = Unattended(Some(board.root.clone()));
        let tree = Self { board, ended };
        let started = is_up.await;
        unattended.0 = None;
        match started {
            Ok(()) => Ok(tree),
            Err(_) => Err(StartError::Start { exit: tree.ended().await.exit }),
        }
    }

    /// The whole tree as it stands.
    pub fn snapshot(&self) -> Node {
        self.board.root.node()
    }

    /// Kills the current incarnation of a node, as chaos would; its supervisor decides what follows. A node that is
    /// down already stays as it is. Returns when the kill is sent; [`ChildRef::up_after`](crate::ChildRef::up_after)
    /// awaits what comes of it.
    #[expect(clippy::unused_async, reason = "part of the interface: killing across machines will wait")]
    pub async fn kill(&self, path: &str) -> Result<(), NotFound> {
        if let Some(incarnation) = self.find(path)?.slot.incarnation() {
            incarnation.kill();
        }
        Ok(())
    }

    /// Starts a child that is down: releases it from quarantine, cuts its back-off short, or starts again what had
    /// ended for good. Its record of failures is wiped.
    pub async fn restart(&self, path: &str) -> Result<(), RestartError> {
        let place = self.find(path)?;
        let down = || RestartError::SupervisorDown { path: path.to_owned() };
        let (supervisor, child) = place.above.as_ref().ok_or_else(down)?;
        let keeper = supervisor.incarnation().and_then(|incarnation| incarnation.supervisor).ok_or_else(down)?;
        let (reply, restarted) = oneshot::channel();
        keeper.cast(Order::Restart { child: *child, reply }).map_err(|_| down())?;
        match restarted.await {
            Ok(true) => Ok(()),
            Ok(false) => Err(RestartError::NotDown { path: path.to_owned() }),
            Err(_) => Err(down()),
        }
    }

    /// All decisions, from the oldest that is still kept.
    pub fn subscribe(&self) -> Events {
        self.board.journal.read()
    }

    /// Stops the tree in reverse start order. What is still alive after `deadline` is killed.
    pub async fn shutdown(&self, deadline: Duration) -> Report {
        let alive: Vec<_> = self.board.root.all().into_iter().filter(|slot| slot.incarnation().is_some()).collect();
        if let Some(root) = self.board.root.incarnation() {
            root.stop();
            if timeout(deadline, self.ended()).await.is_err() {
                root.kill();
            }
        }
        self.ended().await;
        Report { farewells: alive.iter().map(|slot| farewell(slot)).collect() }
    }

    /// Waits until the root has ended, by itself or through [`Tree::shutdown`].
    pub async fn ended(&self) -> Ended {
        let mut ended = self.ended.clone();
        match ended.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ended)) => ended.clone(),
            // Only a runtime that is being torn down drops the minder of the root before it has told the end.
            Ok(None) | Err(_) => Ended { exit: Exit::Killed },
        }
    }

    fn find(&self, path: &str) -> Result<&Place, NotFound> {
        self.board.by_path.get(path).ok_or_else(|| NotFound { path: path.to_owned() })
    }
}

/// Kills a tree whose start nobody waits for any more.
struct Unattended(Option<Arc<Slot>>);

impl Drop for Unattended {
    fn drop(&mut self) {
        if let Some(incarnation) = self.0.take().and_then(|root| root.incarnation()) {
            incarnation.kill();
        }
    }
}

fn record(board: &Board, what: What) {
    board.journal.write(board.now(), board.root.path.clone(), ROOT_EPOCH, what);
}

fn farewell(slot: &Slot) -> Farewell {
    let live = slot.live();
    let exit = match &live.last_exit {
        Some(exit) if live.incarnation.is_none() => exit.clone(),
        _ => Exit::Unresponsive,
    };
    let outcome = match exit {
        Exit::Unresponsive => Outcome::Unresponsive,
        Exit::Killed => Outcome::Killed,
        Exit::Normal | Exit::Shutdown => Outcome::Graceful,
        _ => Outcome::Failed,
    };
    Farewell { path: slot.path.to_string(), outcome, exit }
}
