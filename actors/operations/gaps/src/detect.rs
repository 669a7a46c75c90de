//! What the content of a file says is missing. Pure: the scanner reads, these judge.
//!
//! They are cheap on purpose and err by silence: what a detector cannot tell apart with certainty it leaves out, because
//! a list with false alarms in it is a list that nobody reads.

mod documents;
mod links;
mod markers;

pub use documents::{Document, Lack, PLACES, REQUIRED, documents};
pub use links::{Link, is_markdown, links};
pub use markers::{Marker, is_source, markers};
