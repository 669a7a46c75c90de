//! Supervision trees on ractor: Erlang's restart strategies with back-off, quarantine and references that survive.
//!
//! A tree is described as data ([`Supervisor`], [`Child`]), started with [`Tree::start`] and watched through
//! [`Tree::snapshot`] and [`Tree::subscribe`]. Callers hold a [`ChildRef`], made before its child first starts and
//! good for every incarnation after. Children also come and go while the tree runs: [`Tree::add`], [`Tree::terminate`],
//! [`Tree::restart`], [`Tree::delete`]; a [`Pool`] has any number of one kind, started by its [`PoolRef`]. A specification
//! can be changed under running children: [`Tree::change`].
//!
//! A [`ChildRef`] is called with a deadline and says what became of the call, also when its incarnation died of it. A
//! mailbox can be bounded ([`Child::bounded_actor`]), messages can wait or be held while a child is down
//! ([`Child::while_down`]), and a child that is up can be watched: [`Child::await_ready`], [`Child::watchdog`],
//! [`Child::probe`].
//!
//! How it is built: [`step`] decides, without I/O, clock or randomness, what one supervisor does next; the shell is one
//! ractor actor per supervisor, which turns what happens into events and carries out the actions. The shell never waits
//! inside an actor, so a supervisor answers at any moment of a start, a stop or a back-off.
//!
//! ```
//! use std::time::Duration;
//! use ractor::{Actor, ActorProcessingErr, ActorRef};
//! use supervisors::{Child, ChildRef, Exhausted, Strategy, Supervisor, Tree};
//!
//! struct Backup;
//!
//! impl Actor for Backup {
//!     type Msg = String;
//!     type State = ();
//!     type Arguments = ();
//!     async fn pre_start(&self, _: ActorRef<String>, (): ()) -> Result<(), ActorProcessingErr> {
//!         Ok(())
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let backup = ChildRef::new("backup");
//! let operations = Supervisor::new("operations", Strategy::OneForOne)
//!     .on_exhausted(Exhausted::Quarantine)
//!     .child(Child::actor(&backup, || (Backup, ())).shutdown(Duration::from_secs(1)));
//! let tree = Tree::start(Supervisor::new("sop", Strategy::RestForOne).supervisor(operations), 42).await?;
//!
//! tree.kill("sop/operations/backup").await?;
//! assert_eq!(backup.up_after(1).await, 2);
//! backup.cast("now".to_owned())?;
//! assert!(tree.shutdown(Duration::from_secs(5)).await.is_graceful());
//! # Ok(())
//! # }
//! ```
//!
//! The guide to all of it, with the test that shows each guarantee and what differs from OTP, is `docs/supervision.md`.
//!
//! # Invariants
//! 1. No two incarnations of one child are ever alive: the next starts only after the task of the last has completed,
//!    and with a supervisor, the tasks of all below it.
//! 2. Children start in the order of their specification and stop in the reverse of it.
//! 3. Every end of an incarnation yields exactly one [`Verdict`].
//! 4. Restarts within any window stay within the budget, and nothing starts before its back-off has passed. A child in
//!    quarantine starts only by [`Tree::restart`], or afresh with its whole supervisor. One that is down for another
//!    reason starts again with its group, as in OTP.
//! 5. Every wait is bounded, unless a child is granted all the time it likes. What neither stop, kill nor abort ends is
//!    named [`Exit::Unresponsive`] and never restarted in place.
//!
//! Children are not linked in ractor's own tree: it would kill them unordered and hand their states to the supervisor to
//! drop. A supervisor that dies out of turn kills its children itself, and its successor waits until they are gone.
//!
//! # Children that come and go
//! A child that was added belongs to the specification like those listed before the start: the strategies and budgets
//! of its supervisor apply to it, and the next incarnation of its supervisor starts it again, after those listed and in
//! the order of addition. That is where we differ from OTP, whose restarted supervisors have lost their dynamic
//! children. There a caller notices by its link and adds them again; here the end of one that all others rest on, as a
//! journal, restarts whole groups, and users' actors must come back from that without their doing.
//!
//! A membership begins when the child has come up, or has said that it has nothing to do, and ends by removal alone. A
//! child that does not come up, or whose supervisor ends before it has, was never a member.
//!
//! A temporary child is forgotten with its end, as in OTP. One that is listed is there again with the next incarnation
//! of its supervisor; one that was added is not, as it was for this once.

mod alarms;
mod backoff;
mod board;
#[cfg(feature = "chaos")]
pub mod chaos;
mod pool;
mod pulse;
mod reference;
mod report;
mod row;
mod shell;
mod spec;
pub mod step;
mod tree;
mod watched;

pub use backoff::Backoff;
pub use board::{Events, Heard};
pub use pool::{Member, Pool, PoolRef};
pub use reference::{CallError, ChildRef, Context, Load, Reply, SendError, WhenFull, WhileDown};
pub use report::{
    AddError, Cause, ChangeError, Counts, Decision, Ended, Exit, Farewell, Kind, Node, NodeState, NotFound, Outcome,
    RemoveError, Report, RestartError, StartError, StartFault, Unhealth, Verdict, What,
};
pub use shell::{Ignore, Unrecoverable};
pub use spec::{AutoShutdown, Budget, Child, Exhausted, Restart, Shutdown, SpecError, Strategy, Supervisor};
pub use tree::Tree;

/// The program in the guide.
#[cfg(doctest)]
#[doc = include_str!("../../docs/supervision.md")]
struct Guide;
