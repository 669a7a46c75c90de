//! The tail is cut at its beginning, so that it takes little room and a start reads little of it.
//!
//! What is cut off is in two other places, on stable storage: in the tile log, signed, and in the store. The steps are in
//! that order, and whenever the process dies between two of them, every acknowledged record is in two synced places still:
//!
//! ```text
//! 1. the tile log signs        tail (synced), log (synced), store (as fjall has it)
//! 2. the seam is compared      the last record to go: the same in the tail, the store and the log
//! 3. the store is synced       tail, log, store
//! 4. segments are removed      log, store; oldest first, each removal synced, so that the rest has no hole
//! ```
//!
//! The newest full segment stays, and the one that is written to.

use std::path::{Path, PathBuf};

use kernel::Sequence;

use crate::envelope::link;
use crate::past::Past;
use crate::store::{Head, Store, StoreError};
use crate::tail;

/// What may be cut off.
pub(crate) struct Cut<'a> {
    directory: PathBuf,
    store: &'a Store,
    /// The last record to go, and the link after it.
    seam: Head,
}

impl<'a> Cut<'a> {
    /// The segments in `directory` that hold nothing after `signed`, if `store` has what they end with.
    ///
    /// # Errors
    /// [`StoreError`]: above all if it has something else.
    pub fn at(directory: &Path, store: &'a Store, signed: Sequence) -> Result<Option<Self>, StoreError> {
        let found = tail::segments(directory)?;
        // The last two stay.
        let goes = |pair: &&[tail::SegmentFile]| pair[1].first.0 <= signed.0 + 1;
        let keep = found.len().saturating_sub(2);
        let Some(pair) = found.windows(2).take(keep).take_while(goes).last() else { return Ok(None) };
        let cut = Self { directory: directory.to_owned(), store, seam: tail::before(&pair[1])? };
        cut.compared(store.raw(cut.seam.sequence, 1)?, "the store does not have what the tail has")?;
        Ok(Some(cut))
    }

    /// Whether `past` has what is to be cut off.
    ///
    /// # Errors
    /// [`StoreError`] if it has not, or has something else: then nothing may be cut off.
    pub fn is_in(&self, past: &dyn Past) -> Result<(), StoreError> {
        match past.open()?.records(self.seam.sequence) {
            // It was there, and left for a backup that was found to have it.
            Err(StoreError::Pruned { .. }) => Ok(()),
            records => self.compared(records?, "what was signed is not what the tail has"),
        }
    }

    fn compared(&self, records: Vec<Vec<u8>>, what: &str) -> Result<(), StoreError> {
        if records.first().is_some_and(|record| link(record) == self.seam.link) {
            return Ok(());
        }
        Err(StoreError::DamagedFrom { at: self.seam.sequence, what: what.to_owned() })
    }

    /// Syncs the store, and removes the segments.
    ///
    /// # Errors
    /// [`StoreError::Io`]: what failed must not be tried again. All is still in two places.
    pub fn off(self) -> Result<(), StoreError> {
        self.store.sync()?;
        tail::remove_up_to(&self.directory, self.seam.sequence)
    }
}
