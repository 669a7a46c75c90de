//! What a panic says, and where it was.
//!
//! The text comes with the panic; the place is known only to the panic hook, which runs on the panicking thread before
//! anything is unwound. Ours notes it and passes on to the one that was there before. Who replaces it later, loses the
//! places and nothing else.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, Location, catch_unwind};
use std::sync::Once;

/// A panic that was caught.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Panic {
    pub(crate) message: String,
    pub(crate) place: Option<String>,
}

thread_local! {
    /// Whether code that is supervised runs on this thread. Other panics are none of our business.
    static LISTENING: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Has the places of panics noted from now on, once for the whole process.
pub(crate) fn note_places() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if LISTENING.get() {
                PLACE.set(info.location().map(place));
            }
            before(info);
        }));
    });
}

/// As it displays, for a tenth of the steps.
fn place(at: &Location<'_>) -> String {
    [at.file(), &at.line().to_string(), &at.column().to_string()].join(":")
}

/// Runs `code` and answers a panic in it.
pub(crate) fn caught<T>(code: impl FnOnce() -> T) -> Result<T, Panic> {
    let outer = LISTENING.replace(true);
    let done = catch_unwind(AssertUnwindSafe(code));
    LISTENING.set(outer);
    done.map_err(|panic| Panic { message: message(panic.as_ref()), place: PLACE.take() })
}

/// The text of a panic.
pub(crate) fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without a text").to_owned()
}
