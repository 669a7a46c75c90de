//! Four protocols that do something small and real, to read first and to try the rest on.
//!
//! ```text
//! a person --line--> uip --ask--> lap ==decide==> arp        --> a message, ==> a call
//!                    uip <--answer-- lap --keep--> scp
//! ```
//!
//! `arp` decides propositional formulas, `scp` keeps notes, `uip` turns a person's line into a typed request and hears the
//! answer, and `lap` has the work done: it asks `arp` by a call, and posts the finding to `scp` and the answer to `uip` in
//! the commit that ends the request. So a request is answered once, whatever is killed in between.

mod arp;
mod lap;
mod scp;
mod uip;

pub use arp::{Arp, Verdict, decide};
pub use lap::Lap;
pub use scp::{Recall, Scp};
pub use uip::Uip;

use crate::{Letter, Rejected};

/// The text of a letter of the kind `kind`.
fn text<'a>(letter: &'a Letter, kind: &str) -> Result<&'a str, Rejected> {
    if letter.kind != kind {
        return Err(Rejected::new(format!("it takes letters of kind {kind}, not {}", letter.kind)));
    }
    std::str::from_utf8(&letter.payload).map_err(|error| Rejected::new(format!("its payload is no text: {error}")))
}
