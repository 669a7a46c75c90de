//! Typed calls from one protocol, or from a program, to another protocol in the same process.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use door::{Ask, Denied, Secret, Warrant};
use kernel::{Denial, Layer, Principal};
use supervisors::ChildRef;
use tokio::sync::oneshot;

use crate::cx::Caller;
use crate::runtime::Seat;
use crate::shell::Msg;
use crate::tickets::{Purpose, call};
use crate::{Fault, Protocol};

/// How long a call waits for its answer, unless its line says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// A protocol, across all its incarnations.
pub struct Reference<P: Protocol> {
    pub(crate) child: ChildRef<Msg<P>>,
    pub(crate) seat: Arc<Seat>,
}

impl<P: Protocol> Clone for Reference<P> {
    fn clone(&self) -> Self {
        Self { child: self.child.clone(), seat: self.seat.clone() }
    }
}

impl<P: Protocol> fmt::Debug for Reference<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reference").field(&self.name()).finish()
    }
}

impl<P: Protocol> Reference<P> {
    pub fn name(&self) -> &str {
        self.seat.me.name()
    }

    pub fn is_up(&self) -> bool {
        self.child.is_up()
    }

    /// Waits until an incarnation takes calls.
    pub async fn up(&self) {
        self.child.up().await;
    }

    /// Waits until an incarnation later than `epoch` takes calls, and returns its epoch.
    pub async fn up_after(&self, epoch: u64) -> u64 {
        self.child.up_after(epoch).await
    }

    /// The epoch of the latest incarnation.
    pub fn epoch(&self) -> u64 {
        self.child.epoch()
    }

    /// Opens a line for one operation, by an operator's credential or a token for this protocol and that operation. It
    /// costs one use of the token, and one must be left over.
    ///
    /// # Errors
    /// [`Denied`] by the door; it is on record there.
    pub async fn line(&self, credential: &Secret, operation: &str) -> Result<Line<P>, Denied> {
        let shared = &self.seat.shared;
        let ask = Ask { credential: Some(credential.clone()), ..call(&shared.clock, self.name(), operation) };
        let warrant = shared.door.open(&ask).await?;
        let principal = Arc::new(warrant.principal().clone());
        let one = One { operation: operation.to_owned(), principal, warrant };
        Ok(Line { to: self.clone(), by: By::One(Arc::new(one)), patience: PATIENCE })
    }
}

/// Typed request and reply to one protocol, each call checked. Cheap to clone; it outlives restarts of both ends.
pub struct Line<P: Protocol> {
    to: Reference<P>,
    by: By,
    patience: Duration,
}

impl<P: Protocol> Clone for Line<P> {
    fn clone(&self) -> Self {
        Self { to: self.to.clone(), by: self.by.clone(), patience: self.patience }
    }
}

#[derive(Clone)]
enum By {
    /// Opened for one operation.
    One(Arc<One>),
    /// A protocol's own, by whatever tickets it can draw.
    Tickets { seat: Arc<Seat>, principal: Arc<Principal> },
}

struct One {
    operation: String,
    principal: Arc<Principal>,
    warrant: Warrant,
}

/// Why a call has no answer. After [`CallError::Denied`], [`CallError::Down`] and [`CallError::Overloaded`] it has not run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    #[error("denied: {0}")]
    Denied(Denial),
    #[error("{name} has acted, and what it posted could not be sent: {denial}")]
    Unsent { name: String, denial: Denial },
    #[error("{name} is down")]
    Down { name: String },
    #[error("{name} has {limit} calls outstanding, which is its limit")]
    Overloaded { name: String, limit: usize },
    #[error("{name} ended before it had answered")]
    Restarted { name: String },
    #[error("{name} failed: {fault}")]
    Fault { name: String, fault: Fault },
    #[error("{name} did not answer within {after:?}")]
    TimedOut { name: String, after: Duration },
}

impl<P: Protocol> Line<P> {
    pub(crate) fn by_tickets(to: &Reference<P>, seat: &Arc<Seat>) -> Self {
        let by = By::Tickets { seat: seat.clone(), principal: Arc::new(seat.me.clone()) };
        Self { to: to.clone(), by, patience: PATIENCE }
    }

    /// How long each call waits for its answer.
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Asks, and waits for the answer. Never repeated by itself.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call(&self, request: P::Request) -> Result<P::Reply, CallError> {
        let caller = self.caller(P::operation(&request)).await.map_err(CallError::Denied)?;
        let seat = &self.to.seat;
        let name = || self.to.name().to_owned();
        if !seat.bell.is_admitted() {
            return Err(CallError::Denied(withdrawn(self.to.name())));
        }
        let permit = seat.permit().ok_or_else(|| CallError::Overloaded { name: name(), limit: seat.limit })?;
        let (reply, answer) = oneshot::channel();
        let call = Msg::Call { request, caller, reply, permit };
        self.to.child.cast(call).map_err(|_| CallError::Down { name: name() })?;
        match tokio::time::timeout(self.patience, answer).await {
            Ok(Ok(answered)) => answered,
            Ok(Err(_)) => Err(CallError::Restarted { name: name() }),
            Err(_) => Err(CallError::TimedOut { name: name(), after: self.patience }),
        }
    }

    /// Who calls, if this may be called now.
    async fn caller(&self, operation: &str) -> Result<Caller, Denial> {
        match &self.by {
            By::One(one) if one.operation == operation => {
                let decision = one.warrant.check()?;
                Ok(Caller { principal: one.principal.clone(), decision })
            }
            By::One(one) => {
                let reason = format!("this line is for {:?}, not for {operation:?}", one.operation);
                let denial = Denial::new(Layer::Admit, "protocols.other_operation", reason, "open a line for it");
                Err(denial.rule(format!("line to {}", self.to.name())))
            }
            By::Tickets { seat, principal } => {
                let purpose = Purpose::Call { protocol: self.to.name().to_owned(), operation: operation.to_owned() };
                // Boxed, or every call would move all that drawing a ticket takes.
                let decision = Box::pin(seat.may(&purpose)).await?.decision;
                Ok(Caller { principal: principal.clone(), decision })
            }
        }
    }
}

/// The denial for a protocol that takes part no more.
pub(crate) fn withdrawn(name: &str) -> Denial {
    let reason = format!("the protocol {name} is not admitted");
    let remedy = "an operator admits it again with `sop protocol admit`";
    Denial::new(Layer::Admit, "protocols.not_admitted", reason, remedy).rule("admitted protocols only")
}
