//! What the protocols of one authority share, and what outlives the incarnations of each.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use door::Door;
use host::{Clock, Handle};
use kernel::{Kin, Malformed, Principal};
use nexus::Nexus;
use supervisors::{Child, ChildRef};

use crate::post::{Bell, Bells};
use crate::shell::Shell;
use crate::tickets::Tickets;
use crate::{Protocol, Reference};

/// What bounds a protocol.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Calls outstanding at once.
    pub permits: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { permits: 256 }
    }
}

/// Makes protocols into children of the tree. One for the whole authority; cheap to clone.
#[derive(Clone)]
pub struct Runtime(Arc<Shared>);

pub(crate) struct Shared {
    pub door: Arc<Door>,
    pub nexus: Handle<Nexus>,
    pub clock: Clock,
    pub bells: Arc<Bells>,
    /// How to wait for each protocol that was started here.
    up: Mutex<BTreeMap<String, Up>>,
}

type Up = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl Runtime {
    /// `bells` is the view of `nexus`.
    pub fn new(door: &Arc<Door>, nexus: &Handle<Nexus>, clock: &Clock, bells: &Arc<Bells>) -> Self {
        let (door, nexus, clock, bells) = (door.clone(), nexus.clone(), clock.clone(), bells.clone());
        Self(Arc::new(Shared { door, nexus, clock, bells, up: Mutex::default() }))
    }

    /// A protocol: how others reach it, and the child to put into the tree. `make` runs anew for every incarnation. The
    /// protocol must have been admitted under this name; `depends_on` are protocols made here before it.
    ///
    /// # Errors
    /// [`Malformed`] if `name` is no name.
    pub fn protocol<P: Protocol>(
        &self,
        name: &str,
        depends_on: &[String],
        limits: Limits,
        make: impl Fn() -> P + Send + Sync + 'static,
    ) -> Result<(Reference<P>, Child), Malformed> {
        let child = ChildRef::new(name);
        let waits = child.clone();
        let up: Up = Arc::new(move || {
            let waits = waits.clone();
            Box::pin(async move { waits.up().await })
        });
        let seat = Arc::new(Seat {
            up,
            me: Principal::new(Kin::Protocol, name)?,
            shared: self.0.clone(),
            bell: self.0.bells.of(name),
            depends_on: depends_on.to_vec(),
            limit: limits.permits,
            outstanding: AtomicUsize::new(0),
            tickets: Tickets::default(),
        });
        let reference = Reference { child: child.clone(), seat: seat.clone() };
        let make: Arc<dyn Fn() -> P + Send + Sync> = Arc::new(make);
        let child = Child::actor::<Shell<P>, _>(&child, move || (Shell::default(), (seat.clone(), make.clone())));
        // What users write may block its thread.
        Ok((reference, child.starts_apart()))
    }
}

/// What outlives the incarnations of one protocol.
pub(crate) struct Seat {
    pub me: Principal,
    pub shared: Arc<Shared>,
    pub bell: Arc<Bell>,
    /// How others wait for it.
    up: Up,
    depends_on: Vec<String>,
    pub limit: usize,
    outstanding: AtomicUsize,
    pub tickets: Tickets,
}

/// Counts one outstanding call for as long as it lives.
pub(crate) struct Permit(Arc<Seat>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Seat {
    pub fn permit(self: &Arc<Self>) -> Option<Permit> {
        let before = self.outstanding.fetch_add(1, Ordering::Relaxed);
        let permit = Permit(self.clone());
        (before < self.limit).then_some(permit)
    }

    /// From now on others can depend on it.
    pub fn started(&self) {
        let mut up = self.shared.up.lock().unwrap_or_else(PoisonError::into_inner);
        up.insert(self.me.name().to_owned(), self.up.clone());
    }

    /// Waits until all that this protocol depends on is up; the tree bounds the start.
    ///
    /// # Errors
    /// The name of one that was never started here.
    pub async fn dependencies(&self) -> Result<(), String> {
        for name in &self.depends_on {
            let up = self.shared.up.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
            let up = up.ok_or_else(|| format!("it depends on {name}, which does not run here"))?;
            up().await;
        }
        Ok(())
    }
}
