//! SCP, which remembers: it keeps notes that are sent to it, and finds them again.
//!
//! The notes are in memory and go with the incarnation: a restart loses them. What must outlive one belongs in a machine
//! of its own, or with whoever sent it.

use std::collections::VecDeque;

use super::text;
use crate::{Cx, Fault, Letter, Protocol, Rejected};

/// The newest are kept.
const NOTES_MAX: usize = 1_000;
/// Most notes of one answer.
const FOUND_MAX: usize = 20;

/// Keeps what comes as `keep`, answers `recall`.
#[derive(Default)]
pub struct Scp {
    notes: VecDeque<String>,
}

/// The newest notes in which the word occurs, first; all of them for an empty word.
pub struct Recall {
    pub word: String,
}

impl Protocol for Scp {
    type Request = Recall;
    type Reply = Vec<String>;

    fn operation(_: &Recall) -> &'static str {
        "recall"
    }

    async fn call(&mut self, Recall { word }: Recall, _: &mut Cx) -> Result<Vec<String>, Fault> {
        let found = self.notes.iter().rev().filter(|note| note.contains(&word));
        Ok(found.take(FOUND_MAX).cloned().collect())
    }

    async fn message(&mut self, letter: &Letter, _: &mut Cx) -> Result<(), Rejected> {
        let note = text(letter, "keep")?;
        // A letter may come again if its acknowledgement was lost.
        if self.notes.back().is_some_and(|last| last == note) {
            return Ok(());
        }
        self.notes.push_back(note.to_owned());
        if NOTES_MAX < self.notes.len() {
            self.notes.pop_front();
        }
        Ok(())
    }
}
