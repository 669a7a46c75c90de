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
use kernel::{Digest, Sequence, Timestamp};
use tokio::sync::watch;

use crate::beside::{self, Beside, What};
use crate::checkpoint::{Checkpoint, Proof};
use crate::cosigned::{Bad, Kept};
use crate::files::{Files, LogError, Places, receipt};
use crate::held::{Hands, Holding};
use crate::minimum::{GoOn, Minimum};
use crate::note::{Note, PublicKey};
use crate::tree::{Hash, root};
use crate::verify::{Checked, Depth, verify};
use crate::witness::{CosignError, Cosigned, Witnesses};

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
    /// Where the private half of it is.
    pub holding: Option<Holding>,
    /// What was signed last.
    pub checkpoint: Option<Checkpoint>,
    /// Durable records that no checkpoint covers yet.
    pub lag: u64,
    /// Why it does not go on at present.
    pub failure: Option<Failing>,
}

/// What keeps a log from going on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// As [`LogError::code`].
    pub code: &'static str,
    pub why: String,
}

impl From<&LogError> for Failing {
    fn from(error: &LogError) -> Self {
        Self { code: error.code(), why: error.to_string() }
    }
}

#[derive(Clone)]
pub struct Evidence {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    places: Places,
    origin: Option<String>,
    witnesses: Witnesses,
    hands: Hands,
    limits: Limits,
    state: Mutex<State>,
    standing: RwLock<Standing>,
    /// Taken before `state` where both are.
    cosigned: Mutex<Kept>,
    /// Records under the last checkpoint, and under the newest with the quorum.
    sizes: watch::Sender<(u64, u64)>,
    /// What the answers to how it stands are made of, so that they wait for no disk.
    shown: RwLock<Shown>,
}

#[derive(Default)]
struct Shown {
    /// Of each witness the newest checkpoint that it cosigned, by its size, and when.
    seen: Vec<Option<(u64, u64)>>,
    /// The first record that no checkpoint with the quorum covers, and its time.
    uncosigned: Option<(Sequence, Timestamp)>,
}

/// What of the witnesses' cosignatures there is, and whether it is of this log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnessed {
    /// The newest with the quorum.
    pub newest: Option<Cosigned>,
    /// Of each witness the newest checkpoint that it cosigned, by its size, and when; none if it did not.
    pub seen: Vec<Option<(u64, u64)>>,
    pub bad: Vec<Bad>,
    /// Trees that the key signed and a witness saw, and that this log never had.
    pub other: Vec<u64>,
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
        Self::witnessed(journal, places, None, Witnesses::default(), Hands::default(), limits)
    }

    /// As [`Evidence::new`]; the log has the name `origin` ([`crate::note::is_name`]), or is not opened, and what is given
    /// away of it has the quorum of `witnesses`. `hands` sign with it, and keep its key.
    pub fn witnessed(
        journal: &Journal,
        places: Places,
        origin: Option<String>,
        witnesses: Witnesses,
        hands: Hands,
        limits: Limits,
    ) -> Self {
        let (journal, standing) = (journal.clone(), RwLock::default());
        let state = Mutex::new(State::Closed);
        let shown = RwLock::new(Shown { seen: vec![None; witnesses.all.len()], uncosigned: None });
        let (cosigned, sizes) = (Mutex::default(), watch::Sender::default());
        let shared =
            Shared { journal, places, origin, witnesses, hands, limits, state, standing, cosigned, sizes, shown };
        Self { shared: Arc::new(shared) }
    }

    /// Opens the log, and checks that the journal, which is open, extends what was signed last. One whose new key nobody takes
    /// yet is opened by [`Evidence::follow`], once somebody does.
    ///
    /// # Errors
    /// [`LogError`]; the log stays closed.
    pub fn open(&self) -> Result<(), LogError> {
        {
            let mut state = self.state();
            *state = State::Closed;
            *state = match self.opened() {
                Err(error @ LogError::Sealed { .. }) => {
                    self.standing_mut().failure = Some(Failing::from(&error));
                    State::Failed
                }
                opened => State::Open(Box::new(opened?)),
            };
            if let State::Failed = *state {
                // There is no log yet that anybody could have cosigned.
                return Ok(());
            }
        }
        self.read_cosigned();
        Ok(())
    }

    /// What witnesses said before. What of it cannot be read they say again.
    fn read_cosigned(&self) {
        let Shared { places, witnesses, .. } = &*self.shared;
        match self.public().and_then(|key| Kept::read(places, &key, witnesses)) {
            Ok((kept, bad)) => {
                for Bad { file, what } in bad {
                    tracing::warn!(code = "evidence.bad_cosigned", file, what, "a cosigned checkpoint is not believed");
                }
                let newest = kept.newest(witnesses).map_or(0, |newest| newest.checkpoint.size);
                self.shared.sizes.send_modify(|sizes| sizes.1 = newest);
                self.show(Some(&kept));
                *self.cosigned() = kept;
            }
            Err(error) => tracing::warn!(code = error.code(), %error, "what witnesses cosigned cannot be read"),
        }
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
            State::Open(open) => {
                if let Err(error) = open.files.ready() {
                    // It is as it was, so it is not read anew.
                    *state = State::Open(open);
                    self.standing_mut().failure = Some(Failing::from(&error));
                    return Err(error);
                }
                Ok(open)
            }
            State::Failed => self.opened().map(Box::new),
        };
        let followed = followed.and_then(|mut open| {
            let more = self.batch(&mut open)?;
            open.files.give_away();
            Ok((more, open))
        });
        match followed {
            Ok((more, open)) => {
                self.stands(&open.files);
                self.show(None);
                *state = State::Open(open);
                Ok(more)
            }
            Err(error) => {
                self.standing_mut().failure = Some(Failing::from(&error));
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

    /// The proof that a record is what was signed, verified. It is made under the newest checkpoint with the quorum of
    /// witnesses, if one is asked for, and else under the last one.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prove(&self, at: Sequence) -> Result<Proof, LogError> {
        let (key, under, signed) = self.basis(at)?;
        self.prove_under(&under, signed, &key, at)
    }

    /// The proofs of both ends of a run of records, under one checkpoint: with the entries between them they prove every
    /// one of them ([`crate::run::Run`]).
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prove_run(&self, first: Sequence, last: Sequence) -> Result<(Proof, Proof), LogError> {
        let (key, under, signed) = self.basis(last)?;
        let prove = |at| self.prove_under(&under, signed, &key, at);
        Ok((prove(first)?, prove(last)?))
    }

    fn prove_under(
        &self,
        under: &(Checkpoint, String),
        signed: u64,
        key: &PublicKey,
        at: Sequence,
    ) -> Result<Proof, LogError> {
        let Shared { journal, places, .. } = &*self.shared;
        let record = journal.raw(at, 1)?.pop().ok_or(LogError::NotYet { at })?;
        places.prove_under(under, signed, key, at, &record)
    }

    /// Under which checkpoint a proof up to `last` is made, and how many records are signed.
    fn basis(&self, last: Sequence) -> Result<(PublicKey, (Checkpoint, String), u64), LogError> {
        let Shared { places, witnesses, .. } = &*self.shared;
        let key = self.public()?;
        let newest = places.checkpoint(&key)?;
        let signed = newest.0.size;
        if signed < last.0 {
            return Err(LogError::NotYet { at: last });
        }
        if witnesses.quorum == 0 {
            return Ok((key, newest, signed));
        }
        let kept = self.cosigned();
        let cosigned = kept.newest(witnesses);
        let size = cosigned.map_or(0, |cosigned| cosigned.checkpoint.size);
        let under = cosigned.filter(|_| last.0 <= size).map(|cosigned| (cosigned.checkpoint.clone(), cosigned.note()));
        Ok((key, under.ok_or(LogError::NotCosigned { at: last, size })?, signed))
    }

    /// Takes the cosignatures that a note of one of our checkpoints has, and keeps those that are not known yet. Says for
    /// which tree they are, who cosigned it, and whether any was new.
    ///
    /// # Errors
    /// [`CosignError`]; then nothing is kept.
    pub fn cosign(&self, note: &str) -> Result<(Cosigned, bool), CosignError> {
        let Shared { places, witnesses, sizes, .. } = &*self.shared;
        let key = self.public()?;
        let cosigned = witnesses.read(note, &key)?;
        if cosigned.by().next().is_none() {
            return Err(CosignError::NoWitness);
        }
        let size = cosigned.checkpoint.size;
        let mut kept = self.cosigned();
        let (newest, own) = places.checkpoint(&key)?;
        if !places.had(&cosigned.checkpoint, newest.size)? {
            return Err(CosignError::OtherHistory { size });
        }
        // Not what was brought: nobody has checked that.
        let lines = if newest == cosigned.checkpoint {
            beside::lines(&Note::read(&own)?.signatures, key.name()).into_iter().map(str::to_owned).collect()
        } else {
            let line =
                |beside: &Arc<dyn Beside>| beside.line(What::Checkpoint, key.name(), &cosigned.checkpoint.to_string());
            self.shared.hands.beside.as_ref().and_then(line).into_iter().collect()
        };
        let cosigned = cosigned.with_beside(lines);
        let Some(all) = kept.add(places, witnesses, cosigned.clone())? else { return Ok((cosigned, false)) };
        sizes.send_modify(|sizes| sizes.1 = kept.newest(witnesses).map_or(0, |newest| newest.checkpoint.size));
        self.show(Some(&kept));
        if let State::Open(open) = &mut *self.state()
            && *open.files.checkpoint() == all.checkpoint
        {
            open.files.carry(all.note())?;
        }
        Ok((all, true))
    }

    /// Whose cosignatures are asked for.
    pub fn witnesses(&self) -> &Witnesses {
        &self.shared.witnesses
    }

    /// Of each witness the newest checkpoint that it cosigned, by its size, and when, in seconds since 1970.
    pub fn seen(&self) -> Vec<Option<(u64, u64)>> {
        self.shared.shown.read().unwrap_or_else(PoisonError::into_inner).seen.clone()
    }

    /// The cosigned checkpoint that is worth another signature most: the one that most have cosigned, and the newest of
    /// those.
    pub fn widest(&self) -> Option<Cosigned> {
        self.cosigned().widest().cloned()
    }

    /// Records under the last checkpoint, and under the newest with the quorum; zero for none.
    pub fn sizes(&self) -> watch::Receiver<(u64, u64)> {
        self.shared.sizes.subscribe()
    }

    /// The time of the first record that no checkpoint with the quorum covers; none if it covers all that is signed, or
    /// none is asked for.
    pub fn uncosigned_since(&self) -> Option<Timestamp> {
        self.shared.shown.read().unwrap_or_else(PoisonError::into_inner).uncosigned.map(|(_, time)| time)
    }

    /// After the log or what is cosigned of it has grown.
    fn show(&self, kept: Option<&Kept>) {
        let Shared { journal, witnesses, sizes, shown, .. } = &*self.shared;
        let (signed, cosigned) = *sizes.borrow();
        let first = Sequence(cosigned + 1);
        let waits = witnesses.quorum != 0 && cosigned < signed;
        let known = shown.read().unwrap_or_else(PoisonError::into_inner).uncosigned.filter(|(at, _)| *at == first);
        let read = || Some((first, journal.read(first, 1).ok()?.first()?.time));
        // None, for once, if the journal closes.
        let uncosigned = if waits { known.or_else(read) } else { None };
        let mut shown = shown.write().unwrap_or_else(PoisonError::into_inner);
        shown.uncosigned = uncosigned;
        if let Some(kept) = kept {
            shown.seen = seen(kept, witnesses);
        }
    }

    /// Reads again what witnesses cosigned, and compares it with the log that is here.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn verify_cosigned(&self) -> Result<Witnessed, LogError> {
        let Shared { places, witnesses, .. } = &*self.shared;
        let key = self.public()?;
        // So that nothing is replaced meanwhile.
        let _held = self.cosigned();
        let (kept, bad) = Kept::read(places, &key, witnesses)?;
        let (newest, _) = places.checkpoint(&key)?;
        let mut other = Vec::new();
        for cosigned in kept.all() {
            if !places.had(&cosigned.checkpoint, newest.size)? {
                other.push(cosigned.checkpoint.size);
            }
        }
        Ok(Witnessed { newest: kept.newest(witnesses).cloned(), seen: seen(&kept, witnesses), bad, other })
    }

    /// The proof for a witness that the tree of `old` is the beginning of that of `new`, both signed before.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        self.shared.places.consistency(old, new)
    }

    /// Signs what `statement` says over a checkpoint that covers all that was durable before. The first line of what is
    /// signed cannot be the name of a log, so that nobody takes it for a checkpoint.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn attest(&self, statement: impl FnOnce(&Checkpoint) -> String) -> Result<String, LogError> {
        while self.follow()? {}
        match &*self.state() {
            State::Open(open) => open.files.attest(&statement(open.files.checkpoint())),
            State::Closed | State::Failed => Err(StoreError::Closed.into()),
        }
    }

    /// Signs a receipt of these lines, which are whole and none of them empty. Its first line keeps it from being taken for
    /// anything else that this key signs.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn receipt(&self, lines: &str) -> Result<String, LogError> {
        match &*self.state() {
            State::Open(open) => open.files.receipt(lines),
            State::Closed | State::Failed => Err(StoreError::Closed.into()),
        }
    }

    /// Whether `note` is the receipt of exactly these lines, signed by the key of this log.
    ///
    /// # Errors
    /// [`LogError`], if the key cannot be known now.
    pub fn is_receipt(&self, note: &str, lines: &str) -> Result<bool, LogError> {
        let key = self.public()?;
        Ok(key.open(note).is_ok_and(|text| text == receipt(key.name(), lines)))
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
        let Shared { journal, places, origin, hands, .. } = &*self.shared;
        let files = Files::open(places, origin.as_deref(), hands.clone())?;
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
        // What was acknowledged is in the store by then; the wake-up for it comes a moment later.
        let durable = journal.head()?.sequence.0;
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
        // The log is signed, and goes on without.
        if let Err(error) = files.sign_beside() {
            tracing::warn!(code = error.code(), %error, "a second signature could not be written, which is tried again");
        }
        Ok(files.size() < durable)
    }

    fn stands(&self, files: &Files) {
        let (key, checkpoint) = (Some(files.public().clone()), Some(files.checkpoint().clone()));
        self.shared.sizes.send_if_modified(|sizes| {
            std::mem::replace(&mut sizes.0, files.checkpoint().size) != files.checkpoint().size
        });
        let holding = Some(files.holding());
        *self.standing_mut() = Standing { key, holding, checkpoint, ..Standing::default() };
    }

    fn cosigned(&self) -> MutexGuard<'_, Kept> {
        self.shared.cosigned.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn standing_mut(&self) -> std::sync::RwLockWriteGuard<'_, Standing> {
        self.shared.standing.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seen(kept: &Kept, witnesses: &Witnesses) -> Vec<Option<(u64, u64)>> {
    let newest = |number| {
        kept.all()
            .rev()
            .find_map(|one| one.by().find(|(by, _)| *by == number).map(|(_, time)| (one.checkpoint.size, time)))
    };
    (0..witnesses.all.len()).map(newest).collect()
}
