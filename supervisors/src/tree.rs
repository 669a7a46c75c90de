//! The handle on a running tree.
//!
//! Cheap to clone; dropping the last handle does not stop the tree, [`Tree::shutdown`] does. Looking at the tree asks
//! nobody: snapshots and decisions come from the board, also while supervisors are dead or busy.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

use crate::board::{Board, Events, Slot, lock};
use crate::report::{
    AddError, ChangeError, Counts, Ended, Exit, Farewell, Node, NodeState, NotFound, RemoveError, Report, RestartError,
    StartError, Verdict, What,
};
use crate::shell::{self, News, Order, Way};
use crate::spec::{Child, Part, Supervisor};
use crate::step::History;

/// The epoch of the root: nobody restarts it.
const ROOT_EPOCH: u64 = 1;

/// A running tree.
#[derive(Clone)]
pub struct Tree {
    pub(crate) board: Arc<Board>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Tree {
    /// Starts the tree and returns when all of it is up. `seed` spreads the back-off delays, and nothing else. If the
    /// caller stops waiting, what has been started is killed.
    ///
    /// # Errors
    /// The first child that did not start, with its cause. All that were started before it have been stopped again.
    /// [`StartError::PanicAborts`] in a program that cannot unwind, because then nothing here would be true.
    pub async fn start(root: Supervisor, seed: u64) -> Result<Self, StartError> {
        if cfg!(panic = "abort") {
            return Err(StartError::PanicAborts);
        }
        root.check(&root.name)?;
        shell::note_places();
        let board = Arc::new(Board::new(root, seed));
        let (end, ended) = watch::channel(None);
        let (up, is_up) = oneshot::channel();
        let up = Mutex::new(Some(up));
        let herald = {
            let board = board.clone();
            Arc::new(move |news: News| match news {
                News::Started => {
                    board.root.live().state = NodeState::Running;
                    record(&board, What::Started);
                    let up = lock(&up).take();
                    // The caller of `start` may have stopped waiting.
                    up.map(|up| up.send(()));
                }
                // Nobody asks how a supervisor is.
                News::Unhealthy(_) | News::Healthy => {}
                // What lingers is bounded in time; the end that follows once it is gone adds nothing.
                News::Lingers(_) | News::Ended(_) if end.borrow().is_some() => {}
                News::Lingers(exit) | News::Ended(exit) => {
                    {
                        let mut live = board.root.live();
                        live.state = NodeState::Stopped;
                        live.last_exit = Some(Box::new(exit.clone()));
                    }
                    let verdict = if exit == Exit::Shutdown { Verdict::AsOrdered } else { Verdict::Done };
                    record(&board, What::Exited { exit: exit.clone(), verdict });
                    board.journal.close();
                    board.root.give_up();
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
        shell::launch_root(&board, ROOT_EPOCH, herald);
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

    /// The children of a node, in start order; none for a worker. OTP lists them in the reverse of it.
    pub fn children(&self, path: &str) -> Result<Vec<Node>, NotFound> {
        Ok(self.board.find(path)?.node().children)
    }

    /// How many children a node has.
    pub fn count(&self, path: &str) -> Result<Counts, NotFound> {
        Ok(self.board.find(path)?.counts())
    }

    /// Kills the current incarnation of a node, as chaos would; its supervisor decides what follows. A node that is
    /// down already stays as it is. Returns when the kill is sent; [`ChildRef::up_after`](crate::ChildRef::up_after)
    /// awaits what comes of it.
    #[expect(clippy::unused_async, reason = "part of the interface: killing across machines will wait")]
    pub async fn kill(&self, path: &str) -> Result<(), NotFound> {
        if let Some(incarnation) = self.board.find(path)?.incarnation() {
            incarnation.kill();
        }
        Ok(())
    }

    /// Starts a child that is down: releases it from quarantine, cuts its back-off short, or starts again what was
    /// terminated or had ended for good. Its record of failures is wiped. OTP refuses a child whose restart is being
    /// tried again; with back-off, wanting it now is the point.
    ///
    /// Returns when the start is on its way. One that fails leaves the child to its supervisor, which tries again, where OTP
    /// leaves it down: [`ChildRef::up_after`](crate::ChildRef::up_after) waits for it, [`Tree::terminate`] takes it back.
    pub async fn restart(&self, path: &str) -> Result<(), RestartError> {
        let slot = self.board.find(path)?;
        let down = || RestartError::SupervisorDown { path: path.to_owned() };
        let (reply, restarted) = oneshot::channel();
        let keeper = slot.above.upgrade().and_then(|above| shell::keeper(&above)).ok_or_else(down)?;
        keeper.cast(Order::Restart { slot, reply }).map_err(|_| down())?;
        restarted.await.unwrap_or_else(|_| Err(down()))
    }

    /// Adds a child to the running supervisor at `supervisor`, after all that it has, and returns when the child is up.
    /// From then on the child belongs to the specification. A nested [`Supervisor`] can be added as well, with all
    /// below it.
    ///
    /// If the caller stops waiting, the child stays, provided that it comes up.
    ///
    /// # Errors
    /// [`AddError::Start`] if the first start fails in whatever way. It is not tried again, nobody is charged for it,
    /// and the child is out of the tree again, its name free.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// use supervisors::{AddError, Child, ChildRef, Exit, Strategy, Supervisor, Tree};
    /// # struct Echo;
    /// # impl Actor for Echo {
    /// #     type Msg = String;
    /// #     type State = ();
    /// #     type Arguments = bool;
    /// #     async fn pre_start(&self, _: ActorRef<String>, well: bool) -> Result<(), ActorProcessingErr> {
    /// #         if well { Ok(()) } else { Err("no disk".into()) }
    /// #     }
    /// # }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    ///
    /// let protocols = Supervisor::new("protocols", Strategy::OneForOne);
    /// let tree = Tree::start(Supervisor::new("sop", Strategy::RestForOne).supervisor(protocols), 42).await?;
    ///
    /// let echo = ChildRef::new("echo");
    /// tree.add("sop/protocols", Child::actor(&echo, || (Echo, true))).await?;
    /// echo.cast("hello".to_owned())?;
    /// tree.kill("sop/protocols").await?;
    /// assert_eq!(echo.up_after(1).await, 2);
    ///
    /// let failed = tree.add("sop/protocols", Child::actor(&ChildRef::new("torn"), || (Echo, false))).await;
    /// assert_eq!(failed.unwrap_err().to_string(), "sop/protocols/torn did not start: no disk");
    ///
    /// let farewell = tree.remove("sop/protocols/echo").await?;
    /// assert_eq!(farewell.exit, Exit::Shutdown);
    /// assert!(tree.snapshot().find("sop/protocols/echo").is_none());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn add(&self, supervisor: &str, child: impl Into<Child>) -> Result<(), AddError> {
        let (slot, child) = (self.board.find(supervisor)?, child.into());
        let path = || supervisor.to_owned();
        let spec = slot.supervisor().ok_or_else(|| AddError::NotASupervisor { path: path() })?;
        if spec.pool.is_some() {
            return Err(AddError::IsAPool { path: path() });
        }
        spec.check_child(&child, &format_args!("{}/{}", slot.path, child.name))?;
        shell::add(&slot, child).await.map(drop)
    }

    /// Gives the running supervisor or pool at `path` another specification, as a code change does in OTP. Its own flags
    /// are replaced. Children whose names it lists as well take the new specification and go on running; from their next
    /// start on they are made anew, except that a nested supervisor keeps what is below it, and a member of a pool what
    /// it was made with. Those that are new are there and down, until they are restarted by hand or with their group.
    /// Those that it no longer lists stay as they are.
    ///
    /// Those that are there keep their order, and new ones come after them. There we differ from OTP, which takes the
    /// order of the new list: those that run have been started in the old one, and rely on it.
    ///
    /// # Errors
    /// Then nothing is changed.
    pub async fn change(&self, path: &str, supervisor: impl Into<Child>) -> Result<(), ChangeError> {
        let slot = self.board.find(path)?;
        let kind = || ChangeError::Kind { path: path.to_owned() };
        let Part::Supervisor(spec) = supervisor.into().part else { return Err(kind()) };
        slot.supervisor().ok_or_else(kind)?;
        spec.check(path)?;
        let down = || ChangeError::SupervisorDown { path: path.to_owned() };
        let (reply, changed) = oneshot::channel();
        shell::keeper(&slot).ok_or_else(down)?.cast(Order::Change { spec, reply }).map_err(|_| down())?;
        changed.await.unwrap_or_else(|_| Err(down()))
    }

    /// Stops a child as a shutdown would, whatever it is doing, and leaves it down: it keeps its specification, and
    /// starts again by [`Tree::restart`], with its group or with its supervisor. One that is down already stays so, and
    /// one that is backing off starts no more; a quarantine is left as it is. Nobody is charged, no strategy applies,
    /// and its siblings are left alone, also those that may need it. A temporary child has no use for a specification
    /// and is forgotten. Returns how its last incarnation ended.
    ///
    /// If the caller stops waiting, the child is terminated all the same.
    ///
    /// # Errors
    /// [`RemoveError::Unresponsive`] if neither stop nor kill ended it.
    pub async fn terminate(&self, path: &str) -> Result<Farewell, RemoveError> {
        self.leave(path, Way::Terminate).await
    }

    /// Takes a child that is down out of the specification: it leaves the snapshot, and its name is free.
    ///
    /// # Errors
    /// [`RemoveError::Running`] and [`RemoveError::Restarting`] if it is not down.
    pub async fn delete(&self, path: &str) -> Result<Farewell, RemoveError> {
        self.leave(path, Way::Delete).await
    }

    /// Terminates a child and deletes it, with nothing in between.
    ///
    /// # Errors
    /// [`RemoveError::Unresponsive`] if neither stop nor kill ended it: what lives is not forgotten.
    pub async fn remove(&self, path: &str) -> Result<Farewell, RemoveError> {
        self.leave(path, Way::Remove).await
    }

    async fn leave(&self, path: &str, way: Way) -> Result<Farewell, RemoveError> {
        shell::leave(self.board.find(path)?, way).await
    }

    /// What the latest four incarnations of the supervisor at `path` were told and did about it, the oldest first; of
    /// those whose specification wants it, see [`Supervisor::history`].
    pub fn histories(&self, path: &str) -> Result<Vec<History>, NotFound> {
        Ok(self.board.find(path)?.histories())
    }

    /// All decisions, from the oldest that is still kept.
    pub fn subscribe(&self) -> Events {
        self.board.journal.read()
    }

    /// Stops the tree in reverse start order. What is still alive after `deadline` is killed.
    pub async fn shutdown(&self, deadline: Duration) -> Report {
        let alive: Vec<_> = self.board.root.all().into_iter().filter(|slot| slot.incarnation().is_some()).collect();
        if let Some(root) = self.board.root.incarnation() {
            root.stop(false);
            if timeout(deadline, self.ended()).await.is_err() {
                root.kill();
            }
        }
        self.ended().await;
        Report { farewells: alive.iter().map(|slot| slot.farewell()).collect() }
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
