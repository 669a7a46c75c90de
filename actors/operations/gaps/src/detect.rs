//! What is missing: in the content of files, and in how things stand. Pure: the workers read, these judge.
//!
//! They are cheap on purpose and err by silence: what a detector cannot tell apart with certainty it leaves out, because
//! a list with false alarms in it is a list that nobody reads.

mod documents;
mod links;
mod live;
mod markers;

pub use documents::{Document, Lack, PLACES, REQUIRED, documents};
pub use links::{Link, is_markdown, links};
pub use live::{Live, SEEN_MAX, Seen};
pub use markers::{Marker, is_source, markers};
