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
    /// The last record to go.
    last: Sequence,
}

impl<'a> Cut<'a> {
    /// The segments in `directory` that hold nothing after `signed`, if `store` and `past` have what they end with.
    ///
    /// # Errors
    /// [`StoreError`]: above all if one of them has something else. Then nothing may be cut off.
    pub fn at(
        directory: &Path,
        store: &'a Store,
        past: &dyn Past,
        signed: Sequence,
    ) -> Result<Option<Self>, StoreError> {
        let found = tail::segments(directory)?;
        // The last two stay.
        let goes = |pair: &&[tail::SegmentFile]| pair[1].first.0 <= signed.0 + 1;
        let keep = found.len().saturating_sub(2);
        let Some(pair) = found.windows(2).take(keep).take_while(goes).last() else { return Ok(None) };
        let Head { sequence: last, link: seam } = tail::before(&pair[1])?;
        let same = |record: Option<&Vec<u8>>| record.is_some_and(|record| link(record) == seam);
        if !same(store.raw(last, 1)?.first()) {
            let what = "the store does not have what the tail has".to_owned();
            return Err(StoreError::DamagedFrom { at: last, what });
        }
        if !same(past.open()?.records(last)?.first()) {
            let what = "what was signed is not what the tail has".to_owned();
            return Err(StoreError::DamagedFrom { at: last, what });
        }
        Ok(Some(Self { directory: directory.to_owned(), store, last }))
    }

    /// Syncs the store, and removes the segments.
    ///
    /// # Errors
    /// [`StoreError::Io`]: what failed must not be tried again. All is still in two places.
    pub fn off(self) -> Result<(), StoreError> {
        self.store.sync()?;
        tail::remove_up_to(&self.directory, self.last)
    }
}
