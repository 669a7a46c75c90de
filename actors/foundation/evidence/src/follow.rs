//! The log follows the journal: batch by batch, each ended by a checkpoint.
//!
//! [`Evidence`] is a stable handle, as the journal's is: it exists before the log is opened, and tells how far it is whatever
//! becomes of it. Its calls block on the disk; whoever supervises it gives them a thread.
//!
//! # Invariants
//! 1. One batch at a time: what an incarnation that was killed left running ends before the next one opens.
//! 2. After a failure the log is read and checked anew before it grows: nothing rests on what a failed sync left.
//! 3. What is signed is one chain, and only then does the journal's tail forget it ([`Journal::release`]).

use std::io;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use journal::bundle::ENTRIES;
use journal::envelope::{link, previous};
use journal::store::StoreError;
use journal::{Journal, Unwritable};
use kernel::{Digest, Sequence};

use crate::checkpoint::{Checkpoint, Proof};
use crate::files::{Files, LogError, Places};
use crate::minimum::{GoOn, Minimum};
use crate::note::PublicKey;
use crate::tree::{Hash, root};
use crate::verify::{Checked, Depth, verify};

/// The bounds of one batch.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub records: u64,
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 64 * ENTRIES as u64, bytes: 16 << 20 }
    }
}

/// How far the log is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    pub key: Option<PublicKey>,
    /// What was signed last.
    pub checkpoint: Option<Checkpoint>,
    /// Durable records that no checkpoint covers yet.
    pub lag: u64,
    /// Why it does not go on at present.
    pub failure: Option<String>,
}

#[derive(Clone)]
pub struct Evidence {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    places: Places,
    origin: Option<String>,
    limits: Limits,
    state: Mutex<State>,
    standing: RwLock<Standing>,
}

enum State {
    Closed,
    Open(Box<Open>),
    /// To be opened again before it goes on.
    Failed,
}

struct Open {
    files: Files,
    /// What the next record must carry: the log has what was acknowledged, and nothing that was read wrongly.
    link: Digest,
}

impl Evidence {
    /// The log in `places` of what is in `journal`, not opened yet.
    pub fn new(journal: &Journal, places: Places, limits: Limits) -> Self {
        Self::named(journal, places, None, limits)
    }

    /// As [`Evidence::new`]; the log has the name `origin` ([`crate::note::is_name`]), or is not opened.
    pub fn named(journal: &Journal, places: Places, origin: Option<String>, limits: Limits) -> Self {
        let (journal, standing) = (journal.clone(), RwLock::default());
        let state = Mutex::new(State::Closed);
        Self { shared: Arc::new(Shared { journal, places, origin, limits, state, standing }) }
    }

    /// Opens the log, and checks that the journal, which is open, extends what was signed last.
    ///
    /// # Errors
    /// [`LogError`]; the log stays closed.
    pub fn open(&self) -> Result<(), LogError> {
        let mut state = self.state();
        *state = State::Closed;
        *state = State::Open(Box::new(self.opened()?));
        Ok(())
    }

    pub fn close(&self) {
        *self.state() = State::Closed;
    }

    /// Takes the next durable records into the log and signs it. Says whether there are more.
    ///
    /// # Errors
    /// [`LogError`]; if it may pass ([`LogError::may_pass`]), the next call tries again from what was signed last.
    pub fn follow(&self) -> Result<bool, LogError> {
        let mut state = self.state();
        let followed = match mem::replace(&mut *state, State::Failed) {
            State::Closed => {
                *state = State::Closed;
                return Ok(false);
            }
            State::Open(open) => Ok(open),
            State::Failed => self.opened().map(Box::new),
        };
        let followed = followed.and_then(|mut open| Ok((self.batch(&mut open)?, open)));
        match followed {
            Ok((more, open)) => {
                self.stands(&open.files);
                *state = State::Open(open);
                Ok(more)
            }
            Err(error) => {
                self.standing_mut().failure = Some(error.to_string());
                Err(error)
            }
        }
    }

    pub fn standing(&self) -> Standing {
        let standing = self.shared.standing.read().unwrap_or_else(PoisonError::into_inner).clone();
        let durable = self.shared.journal.durable().borrow().0;
        let signed = standing.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.size);
        Standing { lag: durable.saturating_sub(signed), ..standing }
    }

    /// What was signed last, with its note.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn checkpoint(&self) -> Result<(Checkpoint, String), LogError> {
        self.shared.places.checkpoint(&self.public()?)
    }

    /// The key that signs.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn public(&self) -> Result<PublicKey, LogError> {
        match self.standing().key {
            Some(key) => Ok(key),
            None => self.shared.places.public(),
        }
    }

    /// The proof that a record is what was signed, verified.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prove(&self, at: Sequence) -> Result<Proof, LogError> {
        let record = self.shared.journal.raw(at, 1)?.pop().ok_or(LogError::NotYet { at })?;
        self.shared.places.prove(&self.public()?, at, &record)
    }

    /// The proofs of both ends of a run of records, under one checkpoint: with the entries between them they prove every
    /// one of them ([`crate::run::Run`]).
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prove_run(&self, first: Sequence, last: Sequence) -> Result<(Proof, Proof), LogError> {
        let Shared { journal, places, .. } = &*self.shared;
        let key = self.public()?;
        let signed = places.checkpoint(&key)?;
        let prove = |at| {
            let record = journal.raw(at, 1)?.pop().ok_or(LogError::NotYet { at })?;
            places.prove_under(&signed, &key, at, &record)
        };
        Ok((prove(first)?, prove(last)?))
    }

    /// Signs what `statement` says over a checkpoint that covers all that was durable before. The first line of what is
    /// signed cannot be the name of a log, so that nobody takes it for a checkpoint.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn attest(&self, statement: impl FnOnce(&Checkpoint) -> String) -> Result<String, LogError> {
        while self.follow()? {}
        match &*self.state() {
            State::Open(open) => Ok(open.files.attest(&statement(open.files.checkpoint()))),
            State::Closed | State::Failed => Err(StoreError::Closed.into()),
        }
    }

    /// Checks log and journal against what was signed last.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn verify(&self, depth: Depth) -> Result<Checked, LogError> {
        let Shared { journal, places, .. } = &*self.shared;
        verify(journal, places, &self.public()?, depth)
    }

    /// From where on the log has its entries, if it was ever pruned.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn minimum(&self) -> Result<Option<Minimum>, LogError> {
        let key = self.public()?;
        self.shared.places.minimum(&self.shared.places.checkpoint(&key)?, &key)
    }

    /// Raises the minimum to `index`, as `record` says, which is signed, and takes away what lies below. What was begun and
    /// not brought to its end is taken up again by the same call. Says whether it came to the end, which `go_on` may keep
    /// it from.
    ///
    /// # Errors
    /// [`LogError`]: [`LogError::NotYet`] if what says so is not signed, [`LogError::Damaged`] if it does not say so. What is
    /// the newest stays, whatever it says.
    pub fn prune(&self, index: u64, record: Sequence, go_on: GoOn<'_>) -> Result<bool, LogError> {
        let places = &self.shared.places;
        let minimum = {
            // Nobody else writes into the log while it is open here.
            let state = self.state();
            let State::Open(open) = &*state else { return Err(StoreError::Closed.into()) };
            let signed = (open.files.checkpoint().clone(), open.files.note().to_owned());
            if signed.0.size < record.0 {
                return Err(LogError::NotYet { at: record });
            }
            places.raise(&signed, open.files.public(), index, record)?
        };
        places.lose(&minimum, go_on)
    }

    /// The root that the log had when it was of `size`, by the hashes that it has now.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn root_at(&self, size: u64) -> Result<Hash, LogError> {
        let (checkpoint, _) = self.checkpoint()?;
        if checkpoint.size < size {
            return Err(LogError::NotYet { at: Sequence(size) });
        }
        root(&mut self.shared.places.nodes(checkpoint.size), size)
    }

    fn opened(&self) -> Result<Open, LogError> {
        let Shared { journal, places, origin, .. } = &*self.shared;
        let files = Files::open(places, origin.as_deref())?;
        verify(journal, places, files.public(), Depth::Newest)?;
        self.stands(&files);
        let last = match files.size() {
            0 => None,
            size => journal.raw(Sequence(size), 1)?.pop(),
        };
        Ok(Open { files, link: last.map_or(Digest::default(), |last| link(&last)) })
    }

    fn batch(&self, open: &mut Open) -> Result<bool, LogError> {
        let Open { files, link: head } = open;
        let Shared { journal, limits, places, .. } = &*self.shared;
        // What is kept free is kept for the journal.
        if let Err(full @ Unwritable::DiskFull { .. }) = journal.writable() {
            let why = io::Error::new(io::ErrorKind::StorageFull, full.to_string());
            return Err(LogError::Io { path: places.log.clone(), why });
        }
        let durable = journal.durable().borrow().0;
        let last = durable.min(files.size() + limits.records);
        let mut bytes = 0;
        while files.size() < last && bytes < limits.bytes {
            let next = Sequence(files.size() + 1);
            let wanted = usize::try_from(last - files.size()).unwrap_or(ENTRIES).min(ENTRIES);
            let records = journal.raw(next, wanted)?;
            if records.is_empty() {
                return Err(StoreError::Damaged { what: format!("record {next} is missing") }.into());
            }
            for record in records {
                if previous(&record).ok() != Some(*head) {
                    let (at, what) = (Sequence(files.size() + 1), "it does not follow from the one before".into());
                    return Err(StoreError::DamagedFrom { at, what }.into());
                }
                files.append(&record)?;
                *head = link(&record);
                bytes += record.len();
            }
        }
        files.publish()?;
        journal.release(Sequence(files.checkpoint().size))?;
        Ok(files.size() < durable)
    }

    fn stands(&self, files: &Files) {
        let (key, checkpoint) = (Some(files.public().clone()), Some(files.checkpoint().clone()));
        *self.standing_mut() = Standing { key, checkpoint, ..Standing::default() };
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing_mut(&self) -> std::sync::RwLockWriteGuard<'_, Standing> {
        self.shared.standing.write().unwrap_or_else(PoisonError::into_inner)
    }
}
