//! Has the certificate that the API shows made in time. What is shown, and for how long, is the authority's.
//!
//! # Invariants
//! 1. It is looked at after each change of a key, and when it is due; what failed is tried again, and said once.

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use supervisors::{Child, ChildRef};
use tokio::sync::watch;

use crate::evidence::off_the_workers;
use crate::wake::{Timer, Wake, Waker};

/// Waits before trying again what failed, or what waits for the root key.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
/// Waits no longer before looking what is due: clocks are set.
const LATER: Duration = Duration::from_mins(1);

/// Who makes it, and when.
#[derive(Clone)]
pub struct Certifier {
    /// When a key changed.
    pub moved: watch::Receiver<()>,
    /// Sees that the right one is shown, which may take a disk: how long that will do, or why it cannot be.
    pub certify: Arc<dyn Fn() -> Result<Duration, String> + Send + Sync>,
}

impl Certifier {
    /// The child to put into the tree, beside what shows it.
    pub fn child(self) -> Child {
        let reference = ChildRef::new("certifier");
        Child::actor::<Certifies, _>(&reference, move || (Certifies, self.clone()))
    }
}

struct Certifies;

struct Working {
    certifier: Certifier,
    waker: Waker,
    timer: Option<Timer>,
    said: Option<String>,
}

impl Actor for Certifies {
    type Msg = Wake;
    type State = Working;
    type Arguments = Certifier;

    async fn pre_start(&self, myself: ActorRef<Wake>, certifier: Certifier) -> Result<Working, ActorProcessingErr> {
        let waker = Waker::new(certifier.moved.clone(), myself);
        Ok(Working { certifier, waker, timer: None, said: None })
    }

    async fn handle(&self, myself: ActorRef<Wake>, _: Wake, working: &mut Working) -> Result<(), ActorProcessingErr> {
        working.waker.heard();
        let certify = working.certifier.certify.clone();
        let wait = match off_the_workers(move || certify()).await? {
            Ok(wait) => {
                working.said = None;
                wait.min(LATER)
            }
            Err(why) => {
                if working.said.as_ref() != Some(&why) {
                    tracing::warn!(code = "crypto.no_certificate", why, "there is no certificate to be shown");
                    working.said = Some(why);
                }
                AGAIN_AFTER
            }
        };
        working.timer = Some(Timer::after(wait, &myself));
        Ok(())
    }
}
