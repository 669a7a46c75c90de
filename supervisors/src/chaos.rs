//! Chaos: seeded faults on a running tree, and an oracle that says whether it took them as it had to.
//!
//! A [`Plan`] follows from a seed: who is killed, panics, stalls, blocks its thread, fails its starts or starts slowly,
//! refuses to stop, and which supervisors die. [`Chaos::run`] carries it out and waits, after each step, until the tree has
//! come to rest. What the tree decides meanwhile is judged by the [`Oracle`], decision by decision; what it shows then is held
//! against the oracle's model, against the ledger that the actors keep themselves, and against what was foretold from
//! the specification before the step. The first violation ends the run and is named with its seed and step.
//!
//! Actors of the [`Cast`] take every fault. A tree of one's own actors can be tried as well: they are killed, and so are
//! their supervisors. Of the invariants, then, only what is decided is judged, and not what their tasks really do (I1), nor
//! what they acknowledge (I6).
//!
//! While it runs, nobody else should terminate, restart or change what is in the tree.
//!
//! ```
//! use std::time::Duration;
//! use supervisors::chaos::{Cast, Chaos, Plan};
//! use supervisors::{Backoff, Strategy, Supervisor, Tree};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (cast, second) = (Cast::new(), Duration::from_secs(1));
//! let group = |name: &str, strategy| {
//!     let group = Supervisor::new(name, strategy).backoff(Backoff::exp(second / 100, second));
//!     (1..=3).fold(group, |group, at| group.child(cast.child(&format!("root/{name}/{at}"))))
//! };
//! let root = Supervisor::new("root", Strategy::OneForOne)
//!     .intensity(u32::MAX, second)
//!     .supervisor(group("all", Strategy::OneForAll).history(1000))
//!     .supervisor(group("rest", Strategy::RestForOne));
//! let tree = Tree::start(root, 42).await?;
//!
//! let plan = Plan::new(42, &tree, &cast, 10 * second);
//! let mut chaos = Chaos::over(&tree, &cast).await;
//! chaos.run(&plan).await;
//! let judgement = chaos.shutdown(second).await;
//! assert!(judgement.is_kept(), "{judgement}");
//! # Ok(())
//! # }
//! ```

mod cast;
mod judgement;
mod oracle;
mod plan;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::reference::CallError;
use crate::report::{AddError, Decision, Outcome, RestartError, What};
use crate::spec::{Strategy, Supervisor};
use crate::tree::Tree;
use cast::{Msg, Role, WATCHDOG};

pub use cast::Cast;
pub use judgement::{Judgement, Law, Violation};
pub use oracle::{Newcomer, Oracle};
pub use plan::{Fault, Plan, Step};

/// How long a tree may take to come to rest. Over all time-outs that follow on each other, on a machine with other work.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long a call to the tree may take that waits for nobody, on such a machine.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// How long a caller waits for an actor. It is told by then, whatever became of it.
const CALL_DEADLINE: Duration = Duration::from_secs(1);

/// How long the board may take to show what was decided.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);

/// Every so many steps, what is at rest is started again, and all histories are told again.
const RELEASE_EVERY: u64 = 4;
const REPLAY_EVERY: u64 = 64;

/// What is told to an [`Oracle`], in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Fault {
        path: Arc<str>,
        epoch: u64,
        fault: Fault,
    },
    Released {
        path: Arc<str>,
    },
    /// Somebody comes, whose decisions follow.
    Joins(Newcomer),
    Decision(Decision),
    /// The tree had come to rest.
    Rest,
}

impl Told {
    /// Tells it to `oracle`.
    ///
    /// # Errors
    /// What it violates.
    pub fn to(&self, oracle: &mut Oracle) -> Result<(), Violation> {
        match self {
            Self::Fault { path, epoch, fault } => oracle.fault(path, *epoch, *fault),
            Self::Released { path } => oracle.release(path),
            Self::Joins(newcomer) => oracle.join(newcomer),
            Self::Decision(decision) => return oracle.hear(decision),
            Self::Rest => {
                oracle.rests().map_err(|why| Violation::new(Law::Predicted, why))?;
                oracle.forgets_faults();
            }
        }
        Ok(())
    }
}

/// Somebody who does a plan's work on one tree.
pub struct Chaos {
    tree: Tree,
    cast: Cast,
    ear: UnboundedReceiver<Decision>,
    oracle: Oracle,
    judgement: Judgement,
    transcript: Option<Vec<Told>>,
    /// Was down before we came.
    spared: BTreeSet<Arc<str>>,
    notes: u64,
    root: String,
}

impl Chaos {
    /// Listens to a tree, from a moment on at which it rests.
    pub async fn over(tree: &Tree, cast: &Cast) -> Self {
        let root = tree.snapshot().path;
        loop {
            let mut ear = tree.board.journal.overhear();
            let oracle = Oracle::new(&tree.board.root, tree.board.now(), |path| cast.role(path).is_some());
            if oracle.is_shown(&tree.snapshot()).is_err() || ear.try_recv().is_ok() {
                sleep(Duration::from_millis(10)).await;
                continue;
            }
            let spared = oracle.resting().into_iter().collect();
            let (tree, cast, judgement) = (tree.clone(), cast.clone(), Judgement::default());
            return Self { tree, cast, ear, oracle, judgement, transcript: None, spared, notes: 0, root };
        }
    }

    /// Keeps all that the oracle is told from now on.
    pub fn recorded(self) -> Self {
        Self { transcript: Some(Vec::new()), ..self }
    }

    /// As it stands.
    pub fn oracle(&self) -> &Oracle {
        &self.oracle
    }

    /// All that the oracle was told, if it is kept.
    pub fn transcript(&self) -> &[Told] {
        self.transcript.as_deref().unwrap_or_default()
    }

    /// Carries `plan` out, and says how the tree took it.
    pub async fn run(&mut self, plan: &Plan) -> Judgement {
        self.run_and_tell(plan, |_| ()).await
    }

    /// The same, and tells after each step how it stands.
    pub async fn run_and_tell(&mut self, plan: &Plan, mut tell: impl FnMut(&Judgement)) -> Judgement {
        let begun = Instant::now();
        self.judgement.seed = plan.seed;
        for step in plan.steps() {
            sleep(step.after).await;
            if plan.lasts <= begun.elapsed() || self.judgement.ended.is_some() || !self.judgement.is_kept() {
                break;
            }
            self.judgement.steps += 1;
            let done = self.step(&step).await;
            self.found(done);
            self.judgement.took = begun.elapsed();
            self.counted();
            tell(&self.judgement);
        }
        let told_again = self.replay();
        self.found(told_again);
        self.counted();
        self.judgement.clone()
    }

    /// Shuts the tree down, within `deadline`, and judges that as well.
    pub async fn shutdown(mut self, deadline: Duration) -> Judgement {
        if self.judgement.is_kept() && self.judgement.ended.is_none() {
            let ended = self.end(deadline).await;
            self.found(ended);
        }
        self.counted();
        self.judgement
    }

    async fn end(&mut self, deadline: Duration) -> Result<(), Violation> {
        self.listen()?;
        self.oracle.shutdown();
        let report = within("shutdown", deadline + PATIENCE, self.tree.shutdown(deadline)).await?;
        self.judgement.answered += 1;
        let unresponsive = report.farewells.iter().find(|farewell| farewell.outcome == Outcome::Unresponsive);
        if let Some(farewell) = unresponsive {
            let what = format!("{} is alive after the shutdown", farewell.path);
            return Err(Violation::new(Law::NothingLeft, what));
        }
        self.listen()?;
        self.judgement.ended = None;
        for role in self.cast.roles() {
            role.check(None)?;
        }
        self.notes_are_there()
    }

    fn found(&mut self, done: Result<(), Violation>) {
        if let Err(violation) = done {
            self.judgement.violation.get_or_insert((self.judgement.steps, violation));
        }
    }

    fn counted(&mut self) {
        self.judgement.started = self.oracle.started;
        self.judgement.joined = self.oracle.joined;
        self.judgement.by_themselves = self.oracle.by_themselves;
    }

    async fn step(&mut self, step: &Step) -> Result<(), Violation> {
        self.settle().await?;
        if self.judgement.steps.is_multiple_of(RELEASE_EVERY) {
            self.release().await?;
        }
        if self.judgement.steps.is_multiple_of(REPLAY_EVERY) {
            self.replay()?;
        }
        if self.judgement.ended.is_some() {
            return Ok(());
        }
        let now = self.tree.board.now();
        let foretold = match &step.faults[..] {
            [(path, fault)] => self.oracle.foretold(path, *fault, now, now + WATCHDOG + Duration::from_secs(1)),
            _ => None,
        };
        let (before, by_themselves) = (self.oracle.epochs(), self.oracle.by_themselves);
        let (one, two) = (self.callee(), self.callee());
        let (tree, root) = (self.tree.clone(), self.root.clone());
        // The supervisor of the first that is met must answer meanwhile.
        let asked = step.faults.first().and_then(|(path, _)| path.rsplit_once('/')).map(|(above, _)| above.to_owned());
        let (done, one, two, refused) =
            tokio::join!(self.do_all(step, now), calls(one), calls(two), asks(&tree, &root, asked.as_deref()));
        let met = done?;
        self.judgement.answered += one? + two? + refused?;
        self.settle().await?;
        if self.judgement.ended.is_some() {
            return Ok(());
        }
        // Who ended by itself meanwhile may have taken others along.
        if met == step.faults.len()
            && self.oracle.by_themselves == by_themselves
            && let Some(foretold) = foretold
        {
            self.judgement.predicted += 1;
            self.came_true(step, &foretold, &before)?;
        }
        self.is_as_written()?;
        self.all_answer(step).await?;
        self.tell(Told::Rest)
    }

    /// Somebody of the cast who is called while it happens, and with what.
    fn callee(&mut self) -> Option<(Arc<Role>, u64)> {
        let roles = self.cast.roles();
        self.notes += 1;
        // An uneven walk that comes to everybody.
        let at = usize::try_from(self.notes).ok()?.wrapping_mul(7919).checked_rem(roles.len())?;
        Some((roles[at].clone(), self.notes))
    }

    /// Returns how many met somebody.
    async fn do_all(&mut self, step: &Step, now: Duration) -> Result<usize, Violation> {
        let mut met = 0;
        for (path, fault) in &step.faults {
            let fatal = self.oracle.is_fatal(path, met, now);
            let epoch = if fatal { None } else { self.do_one(path, *fault).await? };
            match epoch {
                Some(epoch) => {
                    met += 1;
                    self.judgement.count(*fault);
                    self.tell(Told::Fault { path: path.clone(), epoch, fault: *fault })?;
                }
                None => self.judgement.spared += 1,
            }
            if *fault == Fault::RefuseStop && epoch.is_some() {
                self.refused(path).await?;
            }
        }
        Ok(met)
    }

    /// Returns the incarnation that it is done to.
    async fn do_one(&self, path: &Arc<str>, fault: Fault) -> Result<Option<u64>, Violation> {
        let role = self.cast.role(path);
        Ok(match (fault, role) {
            (Fault::Kill | Fault::KillSupervisor, _) => self.kill(path),
            (Fault::FailStarts(times), Some(role)) => self.kill(path).inspect(|_| {
                role.fails.fetch_add(times, Ordering::SeqCst);
            }),
            (Fault::SlowStart(time), Some(role)) => {
                let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                role.slow.store(millis, Ordering::SeqCst);
                self.kill(path)
            }
            (Fault::Panic, Some(role)) => send(&role, Msg::Panic).await?,
            (Fault::Stall, Some(role)) => send(&role, Msg::Stall).await?,
            (Fault::Block(time), Some(role)) => send(&role, Msg::Block(time)).await?,
            (Fault::Leave, Some(role)) => {
                let epoch = role.reference.epoch();
                role.reference.stop(epoch).then_some(epoch)
            }
            (Fault::RefuseStop, Some(role)) => {
                let is_up = role.reference.is_up();
                role.refuses.store(is_up, Ordering::SeqCst);
                is_up.then(|| role.reference.epoch())
            }
            (_, None) => None,
        })
    }

    fn kill(&self, path: &str) -> Option<u64> {
        let slot = self.tree.board.find(path).ok()?;
        let (incarnation, epoch) = {
            let live = slot.live();
            (live.incarnation.clone()?, live.epoch)
        };
        incarnation.kill();
        Some(epoch)
    }

    /// It is terminated, which takes until it is killed, and restarted.
    async fn refused(&mut self, path: &Arc<str>) -> Result<(), Violation> {
        let wrong = |what: String| Violation::new(Law::Answers, format!("{path} {what}"));
        let terminated = within("terminate", PATIENCE, self.tree.terminate(path)).await?;
        if let Err(error) = terminated {
            return Err(wrong(format!("is not terminated: {error}")));
        }
        // A temporary one is forgotten.
        match within("restart", ANSWERS_WITHIN, self.tree.restart(path)).await? {
            Ok(()) => self.tell(Told::Released { path: path.clone() })?,
            Err(RestartError::NotFound(_)) => {}
            Err(error) => return Err(wrong(format!("is not restarted: {error}"))),
        }
        self.judgement.answered += 2;
        Ok(())
    }

    /// Starts what has come to rest since we came, so that there is more to do.
    async fn release(&mut self) -> Result<(), Violation> {
        let resting: Vec<_> = self.oracle.resting().into_iter().filter(|path| !self.spared.contains(path)).collect();
        for path in resting {
            // One that was released may have brought another up.
            if within("restart", ANSWERS_WITHIN, self.tree.restart(&path)).await?.is_ok() {
                self.tell(Told::Released { path })?;
            }
            self.judgement.answered += 1;
            self.settle().await?;
        }
        self.tell(Told::Rest)
    }

    /// Waits until all has come that is due, and is shown.
    async fn settle(&mut self) -> Result<(), Violation> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.listen()?;
            if self.judgement.ended.is_some() {
                return Ok(());
            }
            let Err(why) = self.oracle.rests() else { break };
            match timeout_at(deadline, self.ear.recv()).await {
                Ok(Some(decision)) => self.hear(decision)?,
                Ok(None) | Err(_) => return Err(Violation::new(Law::Predicted, format!("it does not rest: {why}"))),
            }
        }
        let deadline = Instant::now() + SHOWN_WITHIN;
        while let Err(violation) = self.oracle.is_shown(&self.tree.snapshot()) {
            if deadline < Instant::now() {
                return Err(violation);
            }
            sleep(Duration::from_millis(1)).await;
            self.listen()?;
        }
        Ok(())
    }

    fn listen(&mut self) -> Result<(), Violation> {
        while let Ok(decision) = self.ear.try_recv() {
            self.hear(decision)?;
        }
        Ok(())
    }

    fn hear(&mut self, decision: Decision) -> Result<(), Violation> {
        self.judgement.decisions += 1;
        if let What::Exited { exit, .. } = &decision.what
            && *decision.path == *self.root
        {
            self.judgement.ended = Some(exit.to_string());
        }
        if decision.what == What::Added
            && let Ok(slot) = self.tree.board.find(&decision.path)
            && let Some(newcomer) = Newcomer::at(&slot, &|path| self.cast.role(path).is_some())
        {
            self.tell(Told::Joins(newcomer))?;
        }
        self.tell(Told::Decision(decision))
    }

    fn tell(&mut self, told: Told) -> Result<(), Violation> {
        let judged = told.to(&mut self.oracle);
        if let Some(transcript) = &mut self.transcript {
            transcript.push(told);
        }
        judged
    }

    /// Those changed of whom it was foretold, and no other.
    fn came_true(&self, step: &Step, foretold: &BTreeSet<usize>, before: &[u64]) -> Result<(), Violation> {
        let after = self.oracle.epochs();
        let changed = before.iter().zip(&after).enumerate().filter(|(_, (before, after))| before != after);
        let changed: BTreeSet<_> = changed.map(|(at, _)| at).filter(|at| !self.oracle.is_guest(*at)).collect();
        let foretold: BTreeSet<_> = foretold.iter().copied().filter(|at| !self.oracle.is_guest(*at)).collect();
        if changed == foretold {
            return Ok(());
        }
        let missing = self.oracle.paths(foretold.difference(&changed).copied());
        let more = self.oracle.paths(changed.difference(&foretold).copied());
        let what = format!("after {:?}: not changed {missing:?}, changed besides {more:?}", step.faults);
        Err(Violation::new(Law::Predicted, what))
    }

    /// What is alive by the ledger is what was decided.
    fn is_as_written(&self) -> Result<(), Violation> {
        self.cast.roles().iter().try_for_each(|role| role.check(self.oracle.alive(&role.path)))
    }

    /// Who was met and came back, is there for callers.
    async fn all_answer(&mut self, step: &Step) -> Result<(), Violation> {
        for (path, _) in &step.faults {
            let Some(role) = self.cast.role(path).filter(|role| self.oracle.alive(&role.path).is_some()) else {
                continue;
            };
            self.notes += 1;
            let note = self.notes;
            let called = role.reference.call(|reply| Msg::Note(note, reply), PATIENCE);
            match within("call of a child that is up", PATIENCE, called).await? {
                Ok(()) => role.acknowledge(note),
                Err(error @ (CallError::Down | CallError::Full | CallError::Timeout)) => {
                    return Err(Violation::new(Law::Answers, format!("{path} is up, and {error}")));
                }
                Err(error) => return Err(Violation::new(Law::Predicted, format!("{path} is at rest, and {error}"))),
            }
            self.judgement.answered += 1;
        }
        Ok(())
    }

    fn notes_are_there(&mut self) -> Result<(), Violation> {
        let mut acknowledged = 0;
        for role in self.cast.roles() {
            acknowledged += role.check_notes()?;
        }
        self.judgement.acknowledged = acknowledged;
        Ok(())
    }

    /// Tells all histories that are kept again, and counts the notes.
    fn replay(&mut self) -> Result<(), Violation> {
        for slot in self.tree.board.root.all() {
            for history in slot.histories() {
                if let Err(diverged) = history.replay() {
                    return Err(Violation::new(Law::Replay, format!("{}: {diverged}", slot.path)));
                }
                self.judgement.replayed += 1;
            }
        }
        self.notes_are_there()
    }
}

/// A call that is answered somehow, and in time.
async fn calls(callee: Option<(Arc<Role>, u64)>) -> Result<u64, Violation> {
    let Some((role, note)) = callee else { return Ok(0) };
    let answer = role.reference.call(|reply| Msg::Note(note, reply), CALL_DEADLINE);
    if within("call of a child", CALL_DEADLINE + ANSWERS_WITHIN, answer).await?.is_ok() {
        role.acknowledge(note);
    }
    Ok(1)
}

/// The tree is looked at, and the supervisor at `asked` is asked for what it must refuse, whatever happens to it.
async fn asks(tree: &Tree, root: &str, asked: Option<&str>) -> Result<u64, Violation> {
    let begun = Instant::now();
    let shown = tree.snapshot();
    let counted = tree.count(root).is_ok();
    if !counted || ANSWERS_WITHIN < begun.elapsed() {
        return Err(Violation::new(Law::Answers, "the tree is not shown in time"));
    }
    let taken = asked.and_then(|asked| shown.find(asked)).and_then(|node| {
        let lasting = |child: &&crate::report::Node| child.restart == crate::spec::Restart::Permanent;
        node.children.iter().find(lasting).map(|child| (&node.path, &child.name))
    });
    let Some((path, name)) = taken else { return Ok(2) };
    let again = Supervisor::new(name.as_str(), Strategy::OneForOne);
    match within("add", ANSWERS_WITHIN, tree.add(path, again)).await? {
        Err(AddError::Start { .. } | AddError::Spec(_)) | Ok(()) => {
            Err(Violation::new(Law::OneIncarnation, format!("{path} takes {name} twice")))
        }
        Err(_) => Ok(3),
    }
}

/// The incarnation in whose mailbox it lies.
async fn send(role: &Role, msg: Msg) -> Result<Option<u64>, Violation> {
    Ok(within("send", ANSWERS_WITHIN, role.reference.send(msg)).await?.ok())
}

async fn within<T>(what: &str, limit: Duration, answer: impl Future<Output = T>) -> Result<T, Violation> {
    let late = |_| Violation::new(Law::Answers, format!("no answer to {what} within {limit:?}"));
    timeout(limit, answer).await.map_err(late)
}
