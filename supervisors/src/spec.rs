//! What a tree is made of, as data: checked before anything starts, and changed only as [`Tree`](crate::Tree) says.
//!
//! A [`Supervisor`] lists its children in start order. What a child leaves open it inherits from its supervisor, and a
//! nested supervisor is a child like any other, except that its stop and start have no time limit unless it is given
//! one: they take what those of its children take together.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ractor::{Actor, Message};

use crate::backoff::Backoff;
use crate::pool::Template;
use crate::reference::{ChildRef, Context, Reply, WhenFull, WhileDown};
use crate::shell::{Launch, Place, Probe, Terms, Worker};
use crate::step::{ChildRules, Rules};

/// How long a worker may take to stop before it is killed, unless it says otherwise. OTP's value.
const SHUTDOWN: Duration = Duration::from_secs(5);

/// How long a worker may take to start, unless it says otherwise. Long, because a start may replay a journal.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// When a child is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Restart {
    /// Always.
    #[default]
    Permanent,
    /// Unless it ended in peace.
    Transient,
    /// Never.
    Temporary,
}

/// Who is restarted with a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    OneForOne,
    OneForAll,
    /// Those after it in start order, as they may depend on it.
    RestForOne,
}

/// What happens when a budget is spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Exhausted {
    /// The supervisor stops its children and ends, its own supervisor decides.
    #[default]
    Escalate,
    /// Only the child stays down, and the others go on without it.
    Quarantine,
    /// The same, but nobody needs to hear of it: the child is over for good. By hand it can be started all the same.
    Stop,
}

/// Whether a supervisor ends, in order and in peace, with the work that it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    #[default]
    Never,
    /// When one of the significant children has ended by itself, for good.
    AnySignificant,
    /// When the last of them has.
    AllSignificant,
}

/// How a child is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It is asked, and killed if it takes longer than this.
    Within(Duration),
    /// It is asked, and may take as long as it likes.
    Unlimited,
    /// It is not asked.
    BrutalKill,
}

/// So many restarts are granted within any window of this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    pub restarts: u32,
    pub within: Duration,
}

/// The specification of one child.
#[derive(Clone)]
pub struct Child {
    pub(crate) name: Arc<str>,
    pub(crate) part: Part,
    /// Shared by all that leave everything open, and by the members of a pool.
    pub(crate) settings: Arc<Settings>,
}

/// What can be said of a child, whoever it is.
#[derive(Clone, Default)]
pub(crate) struct Settings {
    pub(crate) restart: Restart,
    significant: bool,
    shutdown: Option<Shutdown>,
    drains: bool,
    start_timeout: Option<Duration>,
    backoff: Option<Backoff>,
    budget: Option<Budget>,
    on_exhausted: Option<Exhausted>,
    pub(crate) terms: Terms,
}

impl Settings {
    /// Everything is left open.
    fn open() -> Arc<Self> {
        static OPEN: LazyLock<Arc<Settings>> = LazyLock::new(Arc::default);
        OPEN.clone()
    }
}

#[derive(Clone)]
pub(crate) enum Part {
    Worker(Arc<dyn Launch>),
    Supervisor(Arc<Supervisor>),
}

impl Child {
    /// A worker that `reference` will lead to, and after which it is named. `make` runs anew for every incarnation, in
    /// that incarnation's own task: a panic in it is a failed start.
    pub fn actor<A, F>(reference: &ChildRef<A::Msg>, make: F) -> Self
    where
        A: Actor,
        F: Fn() -> (A, A::Arguments) + Send + Sync + 'static,
    {
        Self::actor_with_epoch(reference, move |_| make())
    }

    /// Like [`Child::actor`], for a child that must know which incarnation it is: to fence its writes, say.
    pub fn actor_with_epoch<A, F>(reference: &ChildRef<A::Msg>, make: F) -> Self
    where
        A: Actor,
        F: Fn(u64) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let worker = Worker::new(reference, make);
        Self::new(reference.name().into(), Part::Worker(Arc::new(worker)))
    }

    /// Like [`Child::actor`], for a child that has something to tell its supervisor: that it is ready, or well.
    pub fn actor_with_context<A, F>(reference: &ChildRef<A::Msg>, make: F) -> Self
    where
        A: Actor,
        F: Fn(Context<A::Msg>) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let context = reference.clone();
        Self::actor_with_epoch(reference, move |epoch| make(Context::new(context.clone(), epoch)))
    }

    /// Like [`Child::actor_with_context`], for a child whose mailbox is bounded: no more than `limit` messages lie in it,
    /// beside the one in the hands of its handler. This counts what comes by its [`ChildRef`], and neither what it sends
    /// to itself nor its supervisor's probes. All other mailboxes have no bound, and cost nothing but memory.
    ///
    /// A bounded child is two actors, of which one is the `myself` that it is given: what it sends to itself takes one
    /// hop more, and so do a stop and a kill of itself, before which it may handle more of what lies in its mailbox.
    /// [`Context::stop`] takes effect at once.
    ///
    /// ```
    /// # use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// use supervisors::{Child, ChildRef, Strategy, Supervisor, Tree, WhenFull};
    /// # struct Desk;
    /// # impl Actor for Desk {
    /// #     type Msg = ();
    /// #     type State = ();
    /// #     type Arguments = ();
    /// #     async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
    /// #         Ok(())
    /// #     }
    /// # }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let desk = ChildRef::new("desk");
    /// let child = Child::bounded_actor(&desk, 1, WhenFull::Fail, |_| (Desk, ()));
    /// let tree = Tree::start(Supervisor::new("sop", Strategy::OneForOne).child(child), 42).await?;
    /// // Nothing else runs on this thread meanwhile.
    /// assert!(desk.cast(()).is_ok() && desk.cast(()).is_err());
    /// # tree.shutdown(std::time::Duration::from_secs(1)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn bounded_actor<A, F>(reference: &ChildRef<A::Msg>, limit: usize, when_full: WhenFull, make: F) -> Self
    where
        A: Actor,
        F: Fn(Context<A::Msg>) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let context = reference.clone();
        let worker = Worker::new(reference, move |epoch| make(Context::new(context.clone(), epoch)));
        Self::new(reference.name().into(), Part::Worker(Arc::new(worker.bounded(limit, when_full))))
    }

    pub(crate) fn new(name: Arc<str>, part: Part) -> Self {
        Self { name, part, settings: Settings::open() }
    }

    /// Another that is specified as this one.
    pub(crate) fn like(&self, name: Arc<str>, part: Part) -> Self {
        Self { name, part, settings: self.settings.clone() }
    }

    fn with(mut self, set: impl FnOnce(&mut Settings)) -> Self {
        set(Arc::make_mut(&mut self.settings));
        self
    }

    pub fn permanent(self) -> Self {
        self.with(|settings| settings.restart = Restart::Permanent)
    }

    pub fn transient(self) -> Self {
        self.with(|settings| settings.restart = Restart::Transient)
    }

    pub fn temporary(self) -> Self {
        self.with(|settings| settings.restart = Restart::Temporary)
    }

    /// When it ends by itself, for good, its supervisor may end as well: see [`Supervisor::auto_shutdown`].
    pub fn significant(self) -> Self {
        self.with(|settings| settings.significant = true)
    }

    /// How long a stop may take before the child is killed: five seconds, and with a nested supervisor, as long as its
    /// children take. A supervisor that is killed leaves nothing behind: its own children are killed with it, and its
    /// successor waits for them.
    pub fn shutdown(self, limit: Duration) -> Self {
        self.with(|settings| settings.shutdown = Some(Shutdown::Within(limit)))
    }

    /// A stop may take as long as it likes. With a worker, only [`Tree::shutdown`](crate::Tree::shutdown) has a limit
    /// then.
    pub fn shutdown_unlimited(self) -> Self {
        self.with(|settings| settings.shutdown = Some(Shutdown::Unlimited))
    }

    /// It is killed without being asked to stop.
    pub fn brutal_kill(self) -> Self {
        self.with(|settings| settings.shutdown = Some(Shutdown::BrutalKill))
    }

    /// A worker that is asked to stop first handles what lies in its mailbox, within the time that it has for its stop.
    /// Without this it leaves off after the message that it is handling.
    pub fn drain(self) -> Self {
        self.with(|settings| settings.drains = true)
    }

    /// How long a start may take before the child is killed: a minute, and with a nested supervisor, as long as its
    /// children take. A start that blocks its thread is held to it only if it [runs apart](Self::starts_apart): who would
    /// notice is on that thread.
    pub fn start_timeout(self, limit: Duration) -> Self {
        self.with(|settings| settings.start_timeout = Some(limit))
    }

    /// Its start blocks its thread, or computes for long: it runs in a task of its own from the first, so that its
    /// supervisor answers meanwhile. Else a start runs in its supervisor's task until it first waits for something,
    /// which is faster: a restart is over before any thread had to be woken for it. While such a start blocks, its
    /// supervisor does nothing at all: it restarts nobody, answers nobody, and knows no time-out. What blocks belongs into
    /// [`spawn_blocking`](tokio::task::spawn_blocking), or behind this. A nested supervisor ignores it.
    pub fn starts_apart(self) -> Self {
        self.with(|settings| settings.terms.place = Place::Apart)
    }

    pub(crate) fn drains(&self) -> bool {
        self.settings.drains
    }

    /// What becomes of messages by [`ChildRef::send`] and [`ChildRef::call`] while it is down. A nested supervisor
    /// ignores it.
    pub fn while_down(self, while_down: WhileDown) -> Self {
        self.with(|settings| settings.terms.while_down = while_down)
    }

    /// It is up only when it has said so, by [`Context::ready`] or [`ChildRef::ready`]: then those after it start, and
    /// messages reach it. Its start lasts until then, and has the same limit. A nested supervisor ignores this.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// use supervisors::{Child, ChildRef, Context, Strategy, Supervisor, Tree};
    ///
    /// struct Index(Context<()>);
    ///
    /// impl Actor for Index {
    /// #   type Msg = ();
    /// #   type State = ();
    /// #   type Arguments = ();
    /// #   async fn pre_start(&self, _: ActorRef<()>, (): ()) -> Result<(), ActorProcessingErr> {
    /// #       Ok(())
    /// #   }
    ///     // …
    ///     async fn post_start(&self, _: ActorRef<()>, (): &mut ()) -> Result<(), ActorProcessingErr> {
    ///         // Warm up, at leisure.
    ///         self.0.ready();
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let index = ChildRef::new("index");
    /// let child = Child::actor_with_context(&index, |context| (Index(context), ())).await_ready();
    /// let tree = Tree::start(Supervisor::new("sop", Strategy::OneForOne).child(child), 42).await?;
    /// assert!(index.is_up());
    /// # tree.shutdown(Duration::from_secs(1)).await;
    /// # Ok(())
    /// # }
    /// ```
    pub fn await_ready(self) -> Self {
        self.with(|settings| settings.terms.await_ready = true)
    }

    /// While it is up, a handler that runs for `limit`, whether it waits or computes, has it killed: an end as
    /// [`Exit::Unhealthy`](crate::Exit::Unhealthy), which is charged and answered like any other. What blocks its thread
    /// hears no kill, and ends as [`Exit::Unresponsive`](crate::Exit::Unresponsive). A nested supervisor ignores this.
    pub fn watchdog(self, limit: Duration) -> Self {
        self.with(|settings| settings.terms.watchdog = Some(limit))
    }

    /// While it is up, it is sent what `make` makes `every` so often, and killed unless it answers `within` that time: an
    /// end as [`Exit::Unhealthy`](crate::Exit::Unhealthy). A probe lies in the mailbox behind what is there already, and
    /// so measures how far behind the child is; no bound keeps it out. `reference` is the child's own.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use ractor::{Actor, ActorProcessingErr, ActorRef};
    /// # use supervisors::{Child, ChildRef};
    /// # use tokio::sync::oneshot;
    /// enum Msg {
    ///     AreYouThere(oneshot::Sender<()>),
    ///     // …
    /// }
    /// # struct Desk;
    /// # impl Actor for Desk {
    /// #     type Msg = Msg;
    /// #     type State = ();
    /// #     type Arguments = ();
    /// #     async fn pre_start(&self, _: ActorRef<Msg>, (): ()) -> Result<(), ActorProcessingErr> {
    /// #         Ok(())
    /// #     }
    /// # }
    /// let (desk, second) = (ChildRef::new("desk"), Duration::from_secs(1));
    /// let child = Child::actor(&desk, || (Desk, ())).probe(&desk, 10 * second, second, Msg::AreYouThere);
    /// ```
    pub fn probe<M: Message, R: Reply + 'static>(
        self,
        reference: &ChildRef<M>,
        every: Duration,
        within: Duration,
        make: impl Fn(R) -> M + Send + Sync + 'static,
    ) -> Self {
        let (reference, make) = (reference.clone(), Arc::new(make));
        let ask = move |epoch| {
            let (reference, make) = (reference.clone(), make.clone());
            Box::pin(async move { reference.probe(epoch, &*make).await }) as _
        };
        let probe = Arc::new(Probe { every, within, ask: Box::new(ask) });
        self.with(|settings| settings.terms.probe = Some(probe))
    }

    pub fn backoff(self, backoff: Backoff) -> Self {
        self.with(|settings| settings.backoff = Some(backoff))
    }

    /// A budget of its own, beside the one it shares with its siblings.
    pub fn budget(self, restarts: u32, within: Duration) -> Self {
        self.with(|settings| settings.budget = Some(Budget { restarts, within }))
    }

    pub fn on_exhausted(self, exhausted: Exhausted) -> Self {
        self.with(|settings| settings.on_exhausted = Some(exhausted))
    }
}

/// A nested supervisor as a child: for a restart kind or a budget other than the default.
impl From<Supervisor> for Child {
    fn from(supervisor: Supervisor) -> Self {
        Self::new(supervisor.name.clone(), Part::Supervisor(Arc::new(supervisor)))
    }
}

/// The specification of a supervisor and of all below it.
#[derive(Clone)]
pub struct Supervisor {
    pub(crate) name: Arc<str>,
    pub(crate) strategy: Strategy,
    intensity: Budget,
    auto_shutdown: AutoShutdown,
    on_exhausted: Exhausted,
    backoff: Backoff,
    /// Shared with their places in the tree.
    pub(crate) children: Vec<Arc<Child>>,
    /// How many of the events that it decides on are kept to be looked at.
    pub(crate) history: Option<usize>,
    /// It is a pool, and lists nobody.
    pub(crate) pool: Option<Arc<Template>>,
}

impl Supervisor {
    /// Five restarts within 30 seconds, then escalation; the default back-off.
    pub fn new(name: impl Into<Arc<str>>, strategy: Strategy) -> Self {
        Self {
            name: name.into(),
            strategy,
            intensity: Budget { restarts: 5, within: Duration::from_secs(30) },
            auto_shutdown: AutoShutdown::default(),
            on_exhausted: Exhausted::default(),
            backoff: Backoff::default(),
            children: Vec::new(),
            history: None,
            pool: None,
        }
    }

    /// The budget that all children share, except those that are left out when it is spent, by quarantine or stop: a
    /// verdict on one child must follow from its own ends, so each of those has this much for itself.
    pub fn intensity(self, restarts: u32, within: Duration) -> Self {
        Self { intensity: Budget { restarts, within }, ..self }
    }

    /// For children that do not say otherwise.
    pub fn on_exhausted(self, exhausted: Exhausted) -> Self {
        Self { on_exhausted: exhausted, ..self }
    }

    /// For children that do not say otherwise.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { backoff, ..self }
    }

    /// Keeps the latest `events` that each incarnation of this supervisor decides on, for
    /// [`Tree::histories`](crate::Tree::histories). For tests and investigations: without it, nothing is kept.
    pub fn history(self, events: usize) -> Self {
        Self { history: Some(events), ..self }
    }

    /// Whether it ends with its significant children. It stops the others in reverse start order and ends with
    /// [`Exit::AutoShutdown`](crate::Exit::AutoShutdown), in peace: if it is itself a significant, transient child, that
    /// counts upwards. Only ends by themselves count, and none that was ordered.
    pub fn auto_shutdown(self, auto_shutdown: AutoShutdown) -> Self {
        Self { auto_shutdown, ..self }
    }

    pub fn child(mut self, child: impl Into<Child>) -> Self {
        self.children.push(Arc::new(child.into()));
        self
    }

    /// Appends a nested, permanent supervisor.
    pub fn supervisor(self, supervisor: Supervisor) -> Self {
        self.child(supervisor)
    }

    /// Makes it a pool.
    pub(crate) fn of(self, template: Template) -> Self {
        Self { pool: Some(Arc::new(template)), ..self }
    }

    /// What the decision core needs to know of this supervisor and its present children.
    pub(crate) fn rules(&self, children: Vec<ChildRules>) -> Rules {
        Rules {
            strategy: self.strategy,
            intensity: self.intensity,
            auto_shutdown: self.auto_shutdown,
            pool: self.pool.is_some(),
            children,
        }
    }

    /// The same of `child`, which is or becomes one of ours, at `path`.
    pub(crate) fn child_rules(&self, child: &Child, path: Arc<str>) -> ChildRules {
        let (shutdown, start_timeout) = match child.part {
            Part::Worker(_) => (Shutdown::Within(SHUTDOWN), Some(START_TIMEOUT)),
            Part::Supervisor(_) => (Shutdown::Unlimited, None),
        };
        let settings = &child.settings;
        ChildRules {
            path,
            restart: settings.restart,
            significant: settings.significant,
            shutdown: settings.shutdown.unwrap_or(shutdown),
            start_timeout: settings.start_timeout.or(start_timeout),
            backoff: settings.backoff.unwrap_or(self.backoff),
            budget: settings.budget,
            on_exhausted: self.policy(child),
        }
    }

    fn policy(&self, child: &Child) -> Exhausted {
        child.settings.on_exhausted.unwrap_or(self.on_exhausted)
    }

    /// Whether already the first end of `child`, which is one of ours, spends a budget and so ends the supervisor.
    pub(crate) fn ends_with(&self, child: &Child) -> bool {
        let none = |budget: Budget| budget.restarts == 0;
        child.settings.restart != Restart::Temporary
            && self.policy(child) == Exhausted::Escalate
            && (none(self.intensity) || child.settings.budget.is_some_and(none))
    }

    /// # Errors
    /// The first mistake found, from the root down.
    pub(crate) fn check(&self, path: &str) -> Result<(), SpecError> {
        let mut names = BTreeSet::new();
        check_name(&self.name, &path)?;
        if let Some(template) = &self.pool {
            self.check_child(&template.member, &format_args!("{path}/{}", template.member.name))?;
        }
        for child in &self.children {
            let path = format!("{path}/{}", child.name);
            self.check_child(child, &path)?;
            if !names.insert(&child.name) {
                return Err(SpecError::DuplicateName { path });
            }
        }
        Ok(())
    }

    /// Everything about `child` as one of ours, except that its name is free.
    pub(crate) fn check_child(&self, child: &Child, path: &dyn Display) -> Result<(), SpecError> {
        check_name(&child.name, path)?;
        let path = || path.to_string();
        let budgets = [Some(self.intensity), child.settings.budget];
        if budgets.into_iter().flatten().any(|budget| budget.restarts > 0 && budget.within.is_zero()) {
            return Err(SpecError::EmptyWindow { path: path() });
        }
        let backoff = child.settings.backoff.unwrap_or(self.backoff);
        if backoff.factor == 0 || backoff.cap < backoff.first || backoff.jitter_percent > 100 {
            return Err(SpecError::Backoff { path: path() });
        }
        if child.settings.significant && child.settings.restart == Restart::Permanent {
            return Err(SpecError::SignificantPermanent { path: path() });
        }
        if child.settings.significant && self.auto_shutdown == AutoShutdown::Never {
            return Err(SpecError::SignificantForNobody { path: path() });
        }
        let bound = match &child.part {
            Part::Worker(worker) => worker.bound(),
            Part::Supervisor(_) => None,
        };
        let places = bound.unwrap_or(usize::MAX);
        if places == 0 || matches!(child.settings.terms.while_down, WhileDown::Hold(held) if held > places) {
            return Err(SpecError::Mailbox { path: path() });
        }
        if !child.settings.terms.is_meant() {
            return Err(SpecError::Health { path: path() });
        }
        match &child.part {
            Part::Supervisor(nested) => nested.check(&path()),
            Part::Worker(_) => Ok(()),
        }
    }
}

fn check_name(name: &str, path: &dyn Display) -> Result<(), SpecError> {
    if name.is_empty() || name.contains('/') {
        return Err(SpecError::Name { path: path.to_string() });
    }
    Ok(())
}

/// A specification that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    #[error("{path}: a name is not empty and has no slash")]
    Name { path: String },
    #[error("{path}: its supervisor already has a child of this name")]
    DuplicateName { path: String },
    #[error("{path}: a budget counts within a window longer than zero")]
    EmptyWindow { path: String },
    #[error("{path}: a back-off has a factor of at least 1, a cap not below its first delay, and at most 100 % jitter")]
    Backoff { path: String },
    #[error("{path}: a permanent child never ends for good, so it cannot be significant")]
    SignificantPermanent { path: String },
    #[error("{path}: its supervisor never shuts itself down, so it cannot be significant")]
    SignificantForNobody { path: String },
    #[error("{path}: a mailbox has room for at least one message, and for all that are held for it")]
    Mailbox { path: String },
    #[error("{path}: a watchdog and a probe grant a time longer than zero")]
    Health { path: String },
}
