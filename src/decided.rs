//! What a record says of the decision that it rests on.

use std::borrow::Cow;

use door::Decisions;
use journal::codec;
use journal::envelope::Record;
use kernel::{Asked, Machine};

/// What was asked for this record to be; nothing where nobody asked at the door, nor in records of effects from before it
/// was kept.
pub fn asked(record: &Record) -> Option<Cow<'_, Asked>> {
    if let Some(asked) = &record.asked {
        return Some(Cow::Borrowed(asked));
    }
    if record.stream != Decisions::NAME {
        return None;
    }
    let event: Option<door::Event> = codec::fact(record).ok().flatten();
    event.and_then(|event| event.asked_before()).map(Cow::Owned)
}
