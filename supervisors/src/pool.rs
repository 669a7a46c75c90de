//! Pools: any number of children of one kind, which callers start and nobody lists. OTP calls it `simple_one_for_one`.
//!
//! A [`Pool`] is a supervisor with one template instead of a list. Its members are numbered, started through a
//! [`PoolRef`] with arguments of their own, and are nothing to each other: each is restarted alone, and all are stopped
//! at once. A member that is over for good is forgotten, so a pool grows with those alive and with nothing else.
//!
//! As with every child that was added, those that may be restarted come back with their pool, and temporary ones do not.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use ractor::{Actor, Message};

use crate::backoff::Backoff;
use crate::board::{Slot, lock};
use crate::reference::{ChildRef, Context, Outlet, WhenFull};
use crate::report::{AddError, Farewell, RemoveError};
use crate::shell::{Herald, Launch, Launched, Terms, Way, Worker, add, leave};
use crate::spec::{Child, Exhausted, Part, Strategy, Supervisor};

/// A stable reference to a pool, across all its incarnations. `Args` is what a member is started with.
pub struct PoolRef<M: Message, Args> {
    place: Arc<Place>,
    of: PhantomData<fn(Args) -> M>,
}

/// Where a pool is in a tree.
pub(crate) struct Place {
    name: Arc<str>,
    slot: Mutex<Weak<Slot>>,
}

impl Place {
    pub(crate) fn is_at(&self, slot: &Arc<Slot>) {
        *lock(&self.slot) = Arc::downgrade(slot);
    }
}

/// What makes a supervisor a pool.
pub(crate) struct Template {
    pub(crate) place: Arc<Place>,
    /// What is the same for all members; its name and its part are not.
    pub(crate) member: Child,
    pub(crate) max: Option<usize>,
    /// A [`Maker`] of the pool's own types.
    maker: Box<dyn Any + Send + Sync>,
}

impl Template {
    /// Whether the same references start members of both.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.maker.as_ref().type_id() == other.maker.as_ref().type_id()
    }
}

/// In the place of the worker in the template, which is no member.
struct Nobody {
    bound: Option<usize>,
}

impl Launch for Nobody {
    fn launch(self: Arc<Self>, _: u64, _: &Terms, _: Herald) -> Launched {
        unreachable!("a template is not started")
    }

    fn outlet(&self) -> &Arc<dyn Outlet> {
        unreachable!("no reference leads to a template")
    }

    fn bound(&self) -> Option<usize> {
        self.bound
    }
}

/// Makes what a member is made of.
type Maker<M, Args> = Box<dyn Fn(ChildRef<M>, Args) -> Part + Send + Sync>;

impl<M: Message, Args: 'static> PoolRef<M, Args> {
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self { place: Arc::new(Place { name: name.into(), slot: Mutex::default() }), of: PhantomData }
    }

    pub fn name(&self) -> &str {
        &self.place.name
    }

    /// Starts one more member, and returns when it is up, or has ignored its start. If the caller stops waiting, the
    /// member stays, provided that it comes up.
    ///
    /// # Errors
    /// [`AddError::Start`] if it did not come up; then it is forgotten. [`AddError::Full`] if the pool has as many
    /// members as it may.
    pub async fn start(&self, args: Args) -> Result<Member<M>, AddError> {
        let down = || AddError::SupervisorDown { path: self.name().to_owned() };
        let pool = lock(&self.place.slot).upgrade().ok_or_else(down)?;
        let spec = pool.supervisor().ok_or_else(down)?;
        let template = spec.pool.as_ref().expect("the slot of a pool is a pool's");
        let maker =
            template.maker.downcast_ref::<Maker<M, Args>>().expect("a pool is changed only for one of its types");
        let reference = ChildRef::new(pool.next_member());
        let part = maker(reference.clone(), args);
        let child = template.member.like(reference.name().into(), part);
        let slot = add(&pool, child).await?;
        Ok(Member { reference, slot })
    }
}

impl<M: Message, Args> Clone for PoolRef<M, Args> {
    fn clone(&self) -> Self {
        Self { place: self.place.clone(), of: PhantomData }
    }
}

impl<M: Message, Args> fmt::Debug for PoolRef<M, Args> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PoolRef").field("name", &self.place.name).finish()
    }
}

/// A member that was started. It dereferences to the reference that leads to all its incarnations.
#[derive(Clone)]
pub struct Member<M: Message> {
    reference: ChildRef<M>,
    slot: Arc<Slot>,
}

impl<M: Message> Member<M> {
    pub fn path(&self) -> &str {
        &self.slot.path
    }

    pub fn reference(&self) -> &ChildRef<M> {
        &self.reference
    }

    /// Stops it as a shutdown would, and forgets it. One that is forgotten already stays so.
    ///
    /// # Errors
    /// As [`Tree::terminate`](crate::Tree::terminate).
    pub async fn terminate(&self) -> Result<Farewell, RemoveError> {
        match leave(self.slot.clone(), Way::Terminate).await {
            Err(RemoveError::NotFound(_)) => Ok(self.slot.farewell()),
            left => left,
        }
    }
}

impl<M: Message> Deref for Member<M> {
    type Target = ChildRef<M>;

    fn deref(&self) -> &ChildRef<M> {
        &self.reference
    }
}

impl<M: Message> fmt::Debug for Member<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("path", &self.path()).field("epoch", &self.epoch()).finish()
    }
}

/// The specification of a pool. As a child of a supervisor it is one like the others: see [`Child`].
///
/// ```
/// # use std::time::Duration;
/// # use ractor::{Actor, ActorProcessingErr, ActorRef};
/// use supervisors::{Pool, PoolRef, Strategy, Supervisor, Tree};
/// # struct Visitor;
/// # impl Actor for Visitor {
/// #     type Msg = ();
/// #     type State = String;
/// #     type Arguments = String;
/// #     async fn pre_start(&self, _: ActorRef<()>, name: String) -> Result<String, ActorProcessingErr> {
/// #         Ok(name)
/// #     }
/// # }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let visitors = PoolRef::new("visitors");
/// let pool = Pool::actor(&visitors, |name: &String| (Visitor, name.clone()))
///     .members(|member| member.transient().shutdown(Duration::from_secs(1)))
///     .max_children(10_000);
/// let tree = Tree::start(Supervisor::new("house", Strategy::OneForOne).child(pool), 42).await?;
///
/// let ada = visitors.start("Ada".to_owned()).await?;
/// assert_eq!(ada.path(), "house/visitors/1");
/// ada.cast(())?;
/// ada.terminate().await?;
/// assert_eq!(tree.count("house/visitors")?.specs, 0);
/// # Ok(())
/// # }
/// ```
pub struct Pool {
    supervisor: Supervisor,
    template: Template,
    /// A member lives once, because its arguments are spent with its start.
    once: bool,
}

impl Pool {
    /// A pool that `reference` will lead to, and after which it is named. A member keeps its arguments for as long as it
    /// lives, and `make` runs anew for every incarnation, in that incarnation's own task.
    pub fn actor<A, Args, F>(reference: &PoolRef<A::Msg, Args>, make: F) -> Self
    where
        A: Actor,
        Args: Send + Sync + 'static,
        F: Fn(&Args) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let maker: Maker<A::Msg, Args> = Box::new(move |reference, args| {
            let make = make.clone();
            Part::Worker(Arc::new(Worker::new(&reference, move |_| make(&args))))
        });
        Self::new(reference, maker, None)
    }

    /// A pool whose members are temporary: each is given its arguments for good, as a connection, and keeps nothing else.
    pub fn once<A, Args, F>(reference: &PoolRef<A::Msg, Args>, make: F) -> Self
    where
        A: Actor,
        Args: Send + 'static,
        F: Fn(Args) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let maker: Maker<A::Msg, Args> = Box::new(move |reference, args| {
            let (make, args) = (make.clone(), Mutex::new(Some(args)));
            let make = move |_| make(lock(&args).take().expect("a temporary member starts once"));
            Part::Worker(Arc::new(Worker::new(&reference, make)))
        });
        Self { once: true, ..Self::new(reference, maker, None) }
    }

    /// Like [`Pool::actor`], for members whose mailboxes are bounded: see [`Child::bounded_actor`].
    pub fn bounded_actor<A, Args, F>(
        reference: &PoolRef<A::Msg, Args>,
        limit: usize,
        when_full: WhenFull,
        make: F,
    ) -> Self
    where
        A: Actor,
        Args: Send + Sync + 'static,
        F: Fn(Context<A::Msg>, &Args) -> (A, A::Arguments) + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let maker: Maker<A::Msg, Args> = Box::new(move |reference, args| {
            let (make, context) = (make.clone(), reference.clone());
            let worker = Worker::new(&reference, move |epoch| make(Context::new(context.clone(), epoch), &args));
            Part::Worker(Arc::new(worker.bounded(limit, when_full)))
        });
        Self::new(reference, maker, Some(limit))
    }

    fn new<M: Message, Args: 'static>(
        reference: &PoolRef<M, Args>,
        maker: Maker<M, Args>,
        bound: Option<usize>,
    ) -> Self {
        let member = Child::new("member".into(), Part::Worker(Arc::new(Nobody { bound })));
        let template = Template { place: reference.place.clone(), member, max: None, maker: Box::new(maker) };
        let supervisor = Supervisor::new(reference.place.name.clone(), Strategy::OneForOne);
        Self { supervisor, template, once: false }
    }

    /// What a member is like: its restart kind, how it is stopped, its budget. Permanent unless this says otherwise.
    pub fn members(mut self, settle: impl FnOnce(Child) -> Child) -> Self {
        self.template.member = settle(self.template.member);
        self
    }

    /// No more than so many at a time.
    pub fn max_children(mut self, max: usize) -> Self {
        self.template.max = Some(max);
        self
    }

    /// The budget that all members share, as in [`Supervisor::intensity`].
    pub fn intensity(self, restarts: u32, within: Duration) -> Self {
        Self { supervisor: self.supervisor.intensity(restarts, within), ..self }
    }

    /// For members that do not say otherwise.
    pub fn on_exhausted(self, exhausted: Exhausted) -> Self {
        Self { supervisor: self.supervisor.on_exhausted(exhausted), ..self }
    }

    /// For members that do not say otherwise.
    pub fn backoff(self, backoff: Backoff) -> Self {
        Self { supervisor: self.supervisor.backoff(backoff), ..self }
    }
}

/// The pool itself as a child: for a restart kind or a budget other than the default.
impl From<Pool> for Child {
    fn from(Pool { supervisor, mut template, once }: Pool) -> Self {
        if once {
            template.member = template.member.temporary();
        }
        Self::from(supervisor.of(template))
    }
}
