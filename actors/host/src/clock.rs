//! The one place that reads the wall clock and the system's randomness, so that everything else can be told.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use kernel::{CommandId, Timestamp};

/// Tells the time, which never goes back: what has expired stays so, whatever is done to the clock of the machine. Cheap to
/// clone; tests bring their own.
#[derive(Clone)]
pub struct Clock(Arc<Inner>);

struct Inner {
    read: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// The latest that was told.
    latest: AtomicU64,
}

impl Clock {
    /// The wall clock of this machine.
    pub fn system() -> Self {
        Self::from_fn(|| {
            #[expect(clippy::disallowed_methods, reason = "this is where the clock is read, once for everybody")]
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
        })
    }

    pub fn from_fn(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { read: Box::new(now), latest: AtomicU64::new(0) }))
    }

    /// Not before any time that was told, by this clock or by one that it was cloned from.
    pub fn now(&self) -> Timestamp {
        self.not_before(self.wall());
        Timestamp(self.0.latest.load(Ordering::Acquire))
    }

    /// What the machine's own clock says, which may have gone back: for whoever watches that.
    pub fn wall(&self) -> Timestamp {
        (self.0.read)()
    }

    /// From now on, no time before this is told: something was recorded then.
    pub(crate) fn not_before(&self, time: Timestamp) {
        // Seldom written: a millisecond is long, and writing takes the line from all other threads.
        if self.0.latest.load(Ordering::Acquire) < time.0 {
            self.0.latest.fetch_max(time.0, Ordering::AcqRel);
        }
    }

    /// A fresh command id.
    ///
    /// # Panics
    /// If the system has no randomness to give: nothing can be authorised safely then.
    pub fn command_id(&self) -> CommandId {
        CommandId::new(self.now(), entropy())
    }
}

/// Ten bytes that nobody had before. Asking the system costs as much for many as for ten.
fn entropy() -> [u8; 10] {
    const AT_ONCE: usize = 64;
    thread_local! {
        static LEFT: RefCell<Vec<[u8; 10]>> = const { RefCell::new(Vec::new()) };
    }
    LEFT.with_borrow_mut(|left| {
        if left.is_empty() {
            left.resize(AT_ONCE, [0; 10]);
            getrandom::fill(left.as_flattened_mut()).expect("the system gives randomness");
        }
        left.pop().expect("some were just filled")
    })
}
