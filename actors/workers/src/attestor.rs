//! Has the authority say how things are when that is due. What is said, and what becomes of it, is the authority's.
//!
//! # Invariants
//! 1. One at a time; what failed is tried again after a while, and shown.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};

/// Waits before trying again what failed.
const AGAIN_AFTER: Duration = Duration::from_mins(1);
/// Waits no longer before looking again when the next one is due: clocks are set.
const LOOK: Duration = Duration::from_hours(1);

/// The work, or why it was not done.
pub type Attesting = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Who says it, and when.
#[derive(Clone)]
pub struct Attestor {
    /// How long until the next one is due; `None` if there is to be none.
    pub due_in: Arc<dyn Fn() -> Option<Duration> + Send + Sync>,
    pub attest: Arc<dyn Fn() -> Attesting + Send + Sync>,
}

impl Attestor {
    /// The child to put into the tree, after all that is attested.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("attestor");
        Child::actor::<Attests, _>(&reference, move || (Attests, self.clone()))
    }
}

struct Attests;

enum Msg {
    Look,
}

fn look(myself: &ActorRef<Msg>, after: Duration) {
    myself.send_after(after, || Msg::Look);
}

impl Actor for Attests {
    type Msg = Msg;
    type State = Attestor;
    type Arguments = Attestor;

    async fn pre_start(&self, myself: ActorRef<Msg>, attestor: Attestor) -> Result<Attestor, ActorProcessingErr> {
        look(&myself, Duration::ZERO);
        Ok(attestor)
    }

    async fn handle(&self, myself: ActorRef<Msg>, _: Msg, attestor: &mut Attestor) -> Result<(), ActorProcessingErr> {
        let Some(due) = (attestor.due_in)() else { return Ok(()) };
        if !due.is_zero() {
            look(&myself, due.min(LOOK));
            return Ok(());
        }
        let after = match (attestor.attest)().await {
            Ok(()) => Duration::ZERO,
            Err(why) => {
                tracing::warn!(code = "attestation.failed", why, "the attestation that is due was not made");
                AGAIN_AFTER
            }
        };
        look(&myself, after);
        Ok(())
    }
}
