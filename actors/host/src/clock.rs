//! The one place that reads the wall clock and the system's randomness, so that everything else can be told.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use kernel::{CommandId, Timestamp};

/// Tells the time. Cheap to clone; tests bring their own.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

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
        Self(Arc::new(now))
    }

    pub fn now(&self) -> Timestamp {
        (self.0)()
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
