//! What is kept of the journal elsewhere: the seam to the tile log, which has every record that was signed.
//!
//! The tail is not kept for ever. What the store loses of the records before it comes from here, and what is given here is
//! checked against the chain as if a stranger had given it.

use kernel::Sequence;

use crate::envelope::{Record, link};
use crate::store::{Head, StoreError};

/// Where the records lie that the tail need not have.
pub trait Past: Send + Sync {
    /// Has a look at what is there at present.
    ///
    /// # Errors
    /// If it cannot be relied on. Where there is nothing yet, that is what is kept.
    fn open(&self) -> Result<Box<dyn Kept>, StoreError>;
}

/// Records from the first on, on stable storage.
pub trait Kept {
    /// How many there are.
    fn last(&self) -> Sequence;

    /// Some records from `from` on, in order, as the bytes that they are; none only after the last.
    ///
    /// # Errors
    /// If they are not what was kept.
    fn records(&mut self, from: Sequence) -> Result<Vec<Vec<u8>>, StoreError>;
}

/// Gives `each` the records after `from` up to `to`, every one of which follows from the one before by its hash.
pub(crate) fn follow(
    kept: &mut dyn Kept,
    from: Head,
    to: Head,
    mut each: impl FnMut(&Record, &[u8], Head) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut head = from;
    let other = |at: Sequence, what: &str| StoreError::DamagedFrom { at, what: what.to_owned() };
    while head.sequence < to.sequence {
        let at = Sequence(head.sequence.0 + 1);
        let records = kept.records(at)?;
        if records.is_empty() {
            return Err(other(at, "it is not kept elsewhere"));
        }
        let wanted = usize::try_from(to.sequence.0 - head.sequence.0).unwrap_or(usize::MAX);
        for bytes in records.iter().take(wanted) {
            let at = Sequence(head.sequence.0 + 1);
            let record = Record::decode(bytes).map_err(|error| other(at, &error.to_string()))?;
            if record.sequence != at || record.previous != head.link {
                return Err(other(at, "what is kept of it elsewhere is of another journal"));
            }
            head = Head { sequence: at, link: link(bytes) };
            each(&record, bytes, head)?;
        }
    }
    if head != to {
        return Err(other(to.sequence, "what is kept of it elsewhere is of another journal"));
    }
    Ok(())
}

/// What is kept where nothing is.
pub(crate) struct Nothing;

impl Past for Nothing {
    fn open(&self) -> Result<Box<dyn Kept>, StoreError> {
        Ok(Box::new(Self))
    }
}

impl Kept for Nothing {
    fn last(&self) -> Sequence {
        Sequence(0)
    }

    fn records(&mut self, _: Sequence) -> Result<Vec<Vec<u8>>, StoreError> {
        Ok(Vec::new())
    }
}
