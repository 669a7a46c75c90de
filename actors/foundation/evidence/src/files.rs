//! The directory of a log, in the layout of C2SP tlog-tiles.
//!
//! ```text
//! checkpoint                the signed note: for which tree the log stands
//! cosigned, cosigning/      what witnesses saw ([`crate::cosigned`])
//! tile/<level>/<number>     256 hashes of 32 bytes; with `.p/<width>` behind it one that is not full
//! tile/entries/<number>     256 entries, which are records ([`journal::bundle`]); the same for one that is not full
//! blobs/<blake3>            a record over 65,535 bytes
//! minimum                   from which entry on there are bundles and blobs, if not from the first ([`crate::Minimum`])
//! lock                      held by the one process that lets it grow
//! ```
//!
//! The key lies elsewhere: who has a copy of the log must not be able to sign.
//!
//! # Invariants
//! 1. Files are written, then synced, then covered by a checkpoint that is renamed into its place: whenever the process
//!    dies, there is a checkpoint, and what it covers is there.
//! 2. What lies beyond the checkpoint counts for nothing: it is written again, and is then the same.
//! 3. Over a log that says something there is no new key, and beside a key no new log: what is lost is asked about.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use journal::bundle::{self, Entry, blob_name};
use journal::envelope::link;
use journal::store::StoreError;
use kernel::{Digest, Sequence};
use rustix::fs::{FlockOperation, flock};

use crate::beside::{What, has_line, with_line};
use crate::checkpoint::{Checkpoint, Proof};
use crate::held::{Hands, Held, Holding};
use crate::note::PublicKey;
use crate::tile::{self, Edge, Kind, Tile, Tiled, WIDTH};
use crate::tree::{self, Hash};
use crate::unsynced::Unsynced;

const CHECKPOINT: &str = "checkpoint";
const LOCK: &str = "lock";
/// What is longer is no key and no checkpoint of ours.
const TEXT_MAX: u64 = 64 * 1024;
/// A process that is being born or dying may hold a copy of the lock for a moment that is not its own.
const LOCK_TRIES: u32 = 3;
const LOCK_PAUSE: Duration = Duration::from_millis(100);

/// Why the log cannot be had, or cannot be believed.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("the tile log is damaged: {file}: {what}")]
    Damaged { file: String, what: String, at: Option<Sequence> },
    /// The journal is not what was signed.
    #[error(
        "the journal does not extend its last signed checkpoint: record {first} is not what was signed; the last good \
         checkpoint is of {size} records, {root}"
    )]
    NotExtended { first: Sequence, size: u64, root: Hash },
    #[error("the key of the tile log is lost: {} is missing, and there is a log that it signed", path.display())]
    KeyLost { path: PathBuf },
    #[error("the tile log is lost: {} is missing, and there is a key that signed one", path.display())]
    LogLost { path: PathBuf },
    #[error("the key of the tile log cannot be used: {}: {why}", path.display())]
    Key { path: PathBuf, why: String },
    #[error("the tile log is called {found}, and log.origin says {asked}")]
    Origin { found: String, asked: String },
    /// It left the log, as a record in it says.
    #[error("record {at} is not in the tile log any more, which begins with record {first}: {place} has it")]
    Pruned { at: Sequence, first: Sequence, place: String },
    /// Nothing is lost: what was signed is read, and the next records are signed once it can be.
    #[error("the key of the tile log cannot sign now: {why}")]
    Sealed { why: String },
    #[error("another process holds the tile log")]
    Locked,
    #[error("the tile log cannot be used: {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("no checkpoint has been signed yet that covers record {at}")]
    NotYet { at: Sequence },
    #[error(
        "no checkpoint that covers record {at} has the quorum of witnesses yet: the newest that has it is of {size} records"
    )]
    NotCosigned { at: Sequence, size: u64 },
    #[error(transparent)]
    Journal(#[from] StoreError),
}

impl LogError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Damaged { .. } => "evidence.damaged",
            Self::NotExtended { .. } => "evidence.not_extended",
            Self::KeyLost { .. } => "evidence.key_lost",
            Self::LogLost { .. } => "evidence.log_lost",
            Self::Key { .. } => "evidence.key",
            Self::Origin { .. } => "evidence.origin",
            Self::Pruned { .. } => "evidence.pruned",
            Self::Sealed { .. } => "evidence.sealed",
            Self::Locked => "evidence.locked",
            Self::Io { .. } => "evidence.io",
            Self::NotYet { .. } => "evidence.not_yet",
            Self::NotCosigned { .. } => "evidence.not_cosigned",
            Self::Journal(error) => error.code(),
        }
    }

    /// Whether trying again may help, as when a disk is full or a keystore sealed; anything else is for the operator to judge.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Io { .. } | Self::Sealed { .. } | Self::Journal(StoreError::Closed | StoreError::Io { .. })
        )
    }
}

/// Where a log and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    pub log: PathBuf,
    pub key: PathBuf,
}

impl Places {
    /// The public half of the key.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn public(&self) -> Result<PublicKey, LogError> {
        match self.held()? {
            Some(held) => Ok(held.public().clone()),
            None if !self.begun()? => Err(LogError::NotYet { at: Sequence(1) }),
            None => Err(LogError::KeyLost { path: self.key.clone() }),
        }
    }

    /// What the log stands for, and the note that says so.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn checkpoint(&self, key: &PublicKey) -> Result<(Checkpoint, String), LogError> {
        let note = self.note()?.ok_or_else(|| LogError::LogLost { path: self.log.join(CHECKPOINT) })?;
        let checkpoint = Checkpoint::open(&note, key).map_err(|error| damaged(CHECKPOINT, error.to_string()))?;
        Ok((checkpoint, note))
    }

    /// The proof that `record` is what was signed as the record `at`, verified.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn prove(&self, key: &PublicKey, at: Sequence, record: &[u8]) -> Result<Proof, LogError> {
        let signed = self.checkpoint(key)?;
        self.prove_under(&signed, signed.0.size, key, at, record)
    }

    /// The same, under that checkpoint and its note, which may be older than the last one, of `signed` records.
    pub(crate) fn prove_under(
        &self,
        (checkpoint, note): &(Checkpoint, String),
        signed: u64,
        key: &PublicKey,
        at: Sequence,
        record: &[u8],
    ) -> Result<Proof, LogError> {
        let Checkpoint { size, root, .. } = *checkpoint;
        if at.0 == 0 || size < at.0 {
            return Err(LogError::NotYet { at });
        }
        let index = at.0 - 1;
        let entry = Entry::of(record);
        let hashes = tree::inclusion(&mut self.nodes(signed), index, size)?;
        let proof = Proof { extra: Some(entry.bytes().to_vec()), index, hashes, checkpoint: note.clone() };
        match proof.verify(entry.bytes(), key) {
            Ok(_) => Ok(proof),
            Err(_) => Err(LogError::NotExtended { first: at, size, root }),
        }
    }

    /// The proof that the tree of `old` is the beginning of that of `new`, which is signed or was.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn consistency(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        tree::consistency(&mut self.nodes(new), old, new)
    }

    pub(crate) fn nodes(&self, size: u64) -> Tiled<impl FnMut(Tile) -> Result<Vec<Hash>, LogError>> {
        Tiled::new(size, |tile| self.hashes(tile))
    }

    /// The hashes of a tile; those of a partial one may have become the beginning of a full one.
    pub(crate) fn hashes(&self, tile: Tile) -> Result<Vec<Hash>, LogError> {
        let (found, bytes) = self.either(tile)?;
        let hashes = tile::hashes(&bytes, found.width);
        let mut hashes = hashes.ok_or_else(|| damaged(&found.path(), "it has not the length of its hashes".into()))?;
        hashes.truncate(tile.width);
        Ok(hashes)
    }

    /// The bundle of the first `tile.width` entries with that number, and the entries in it.
    pub(crate) fn entries(&self, tile: Tile) -> Result<(Vec<u8>, Vec<Vec<u8>>), LogError> {
        let (found, mut bytes) = self.either(tile)?;
        let mut rest = &bytes[..];
        let mut entries = Vec::with_capacity(tile.width);
        for _ in 0..tile.width {
            let cut = || {
                let at = Sequence(tile.number * WIDTH as u64 + entries.len() as u64 + 1);
                LogError::Damaged { file: found.path(), what: "it ends too early".into(), at: Some(at) }
            };
            entries.push(bundle::take(&mut rest).ok_or_else(cut)?.to_vec());
        }
        if found == tile && !rest.is_empty() {
            return Err(damaged(&found.path(), "it has more than its entries".into()));
        }
        bytes.truncate(bytes.len() - rest.len());
        Ok((bytes, entries))
    }

    fn either(&self, tile: Tile) -> Result<(Tile, Vec<u8>), LogError> {
        let full = Tile::full(tile.kind, tile.number);
        for found in [tile, full] {
            match fs::read(self.log.join(found.path())) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                bytes => return Ok((found, bytes.map_err(at(&self.log.join(found.path())))?)),
            }
        }
        Err(damaged(&tile.path(), "it is missing".into()))
    }

    pub(crate) fn blob(&self, digest: Digest) -> Result<Vec<u8>, LogError> {
        let name = blob_name(digest);
        match fs::read(self.log.join(&name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(damaged(&name, "it is missing".into())),
            bytes => bytes.map_err(at(&self.log.join(&name))),
        }
    }

    /// The record that an entry stands for.
    pub(crate) fn record(&self, entry: Vec<u8>) -> Result<Vec<u8>, LogError> {
        let Some(Entry::Blob { digest, .. }) = Entry::read(&entry) else { return Ok(entry) };
        let record = self.blob(digest)?;
        if link(&record) == digest {
            Ok(record)
        } else {
            Err(damaged(&blob_name(digest), "it is not its record".into()))
        }
    }

    fn note(&self) -> Result<Option<String>, LogError> {
        let path = self.log.join(CHECKPOINT);
        let Some(bytes) = text(&path).map_err(at(&path))? else { return Ok(None) };
        String::from_utf8(bytes).map(Some).map_err(|_| damaged(CHECKPOINT, "it is no text".into()))
    }

    /// Whether there is a key or a log. A log without a key that stands for nothing is none yet.
    pub(crate) fn begun(&self) -> Result<bool, LogError> {
        let there = |path: PathBuf| path.try_exists().map_err(at(&path));
        Ok(there(self.key.clone())?
            || there(self.log.join("tile"))?
            || self.note()?.is_some_and(|note| !of_nothing(&note)))
    }

    /// Makes the key, and a log of nothing. The file of the key comes last: one that is there has signed something.
    fn begin(&self, origin: Option<&str>, hands: &Hands) -> Result<(), LogError> {
        let key = self.new_key(origin, hands)?;
        let nothing = Checkpoint { origin: key.public().name().to_owned(), size: 0, root: tree::empty() };
        put(&self.log.join(CHECKPOINT), key.sign(&nothing.to_string()).as_bytes(), 0o644)?;
        self.name_key(&key, hands)?;
        tracing::info!(code = "evidence.key_made", key = %key.public(), "the tile log begins, under a new key");
        Ok(())
    }
}

fn of_nothing(note: &str) -> bool {
    note.lines().nth(1) == Some("0")
}

/// A log that can grow.
pub struct Files {
    places: Places,
    held: Held,
    /// Why the keeper has not taken the key from its file.
    not_taken: Option<String>,
    edge: Edge,
    /// The entries after the last full bundle.
    bundle: Vec<u8>,
    checkpoint: Checkpoint,
    note: String,
    unsynced: Unsynced,
    hands: Hands,
    _lock: File,
}

impl Files {
    /// Opens the log, and checks its right edge against what was signed. Where there is neither log nor key, both begin, by the
    /// name of `origin` or one of the key's own.
    ///
    /// # Errors
    /// [`LogError`]; [`LogError::Origin`] if it has another name; [`LogError::Sealed`] if the keeper of `hands` does not take the
    /// key that it would begin with.
    pub fn open(places: &Places, origin: Option<&str>, hands: Hands) -> Result<Self, LogError> {
        let lock = locked(&places.log)?;
        match (places.held()?, places.note()?) {
            (Some(_), Some(_)) => {}
            (None, None) if !places.begun()? => places.begin(origin, &hands)?,
            // It stands for nothing yet: its key was never written.
            (None, Some(note)) if of_nothing(&note) => places.begin(origin, &hands)?,
            (None, _) => return Err(LogError::KeyLost { path: places.key.clone() }),
            (Some(_), None) => return Err(LogError::LogLost { path: places.log.join(CHECKPOINT) }),
        }
        let held = places.held()?.ok_or_else(|| LogError::KeyLost { path: places.key.clone() })?;
        let found = held.public().name();
        if let Some(asked) = origin.filter(|asked| *asked != found) {
            return Err(LogError::Origin { found: found.to_owned(), asked: asked.to_owned() });
        }
        if let Held::Kept(_) = held {
            places.forget_plain()?;
        }
        let (checkpoint, note) = places.checkpoint(held.public())?;
        let edge = places.edge(&checkpoint)?;
        let bundle = places.last_bundle(&edge)?;
        let places = places.clone();
        let unsynced = Unsynced::default();
        Ok(Self { places, held, not_taken: None, edge, bundle, checkpoint, note, unsynced, hands, _lock: lock })
    }

    /// Begins a log of nothing that is to become what the key has signed elsewhere; nobody signs it.
    ///
    /// # Errors
    /// [`LogError`].
    pub(crate) fn again(places: &Places, key: &PublicKey) -> Result<Self, LogError> {
        let checkpoint = Checkpoint { origin: key.name().to_owned(), size: 0, root: tree::empty() };
        Ok(Self {
            places: places.clone(),
            held: Held::Kept(key.clone()),
            not_taken: None,
            edge: places.edge(&checkpoint)?,
            bundle: Vec::new(),
            checkpoint,
            note: String::new(),
            unsynced: Unsynced::default(),
            hands: Hands::default(),
            _lock: locked(&places.log)?,
        })
    }

    /// Whether what is added can be signed now.
    pub(crate) fn ready(&self) -> Result<(), LogError> {
        self.held.ready(&self.hands)
    }

    /// Where the private half of the key is.
    pub(crate) fn holding(&self) -> Holding {
        match (&self.held, &self.not_taken) {
            (Held::Kept(_), _) => Holding::Kept,
            (Held::File(_), None) => Holding::File,
            (Held::File(_), Some(why)) => Holding::FileStill(why.clone()),
        }
    }

    /// Has the keeper take the key from its file, if there is one and it does.
    pub(crate) fn give_away(&mut self) {
        let (Held::File(key), Some(keeper)) = (&self.held, &self.hands.keeper) else { return };
        let public = key.public().clone();
        match self.places.give_away(key, keeper) {
            Ok(()) => (self.held, self.not_taken) = (Held::Kept(public), None),
            Err(error) => {
                // It signs, from its file; what is sealed is who should have it.
                let why = Some(if let LogError::Sealed { why } = &error { why.clone() } else { error.to_string() });
                if self.not_taken != why {
                    tracing::warn!(code = "evidence.key_in_file", %error, "the key of the tile log stays in its file, which is tried again");
                    self.not_taken = why;
                }
            }
        }
    }

    pub(crate) fn root(&self) -> Hash {
        self.edge.root()
    }

    pub fn public(&self) -> &PublicKey {
        self.held.public()
    }

    /// What was signed last.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The note of the checkpoint.
    pub fn note(&self) -> &str {
        &self.note
    }

    /// Has the note of the checkpoint carry what `note` has, too, which is of the same one.
    pub(crate) fn carry(&mut self, note: String) -> Result<(), LogError> {
        put(&self.places.log.join(CHECKPOINT), note.as_bytes(), 0o644)?;
        self.note = note;
        Ok(())
    }

    /// The signed note of an attestation with these lines.
    pub(crate) fn attest(&self, lines: &str) -> Result<String, LogError> {
        self.signed(What::Attestation, &format!("attestation v1 of {}\n{lines}", self.public().name()))
    }

    /// The signed note of a receipt with these lines.
    pub(crate) fn receipt(&self, lines: &str) -> Result<String, LogError> {
        self.signed(What::Receipt, &receipt(self.public().name(), lines))
    }

    fn signed(&self, what: What, text: &str) -> Result<String, LogError> {
        let (note, log) = (self.held.sign(&self.hands, text)?, self.public().name());
        Ok(match self.hands.beside.as_ref().and_then(|beside| beside.line(what, log, text)) {
            Some(line) => with_line(note, log, &line),
            None => note,
        })
    }

    /// Has the note of the checkpoint signed by who signs, too, if nobody did when it was made.
    pub(crate) fn sign_beside(&mut self) -> Result<(), LogError> {
        let (log, text) = (self.public().name(), self.checkpoint.to_string());
        if self.checkpoint.size == 0 || has_line(&self.note, log) {
            return Ok(());
        }
        let line = self.hands.beside.as_ref().and_then(|beside| beside.line(What::Checkpoint, log, &text));
        let Some(line) = line else { return Ok(()) };
        let note = with_line(self.note.clone(), log, &line);
        self.carry(note)
    }

    /// How many entries there are, signed or not.
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// Adds the next record, which is durable. After an error the log is to be opened again.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn append(&mut self, record: &[u8]) -> Result<(), LogError> {
        let entry = Entry::of(record);
        if let Entry::Blob { digest, .. } = entry {
            self.write(&blob_name(digest), record)?;
        }
        entry.put(&mut self.bundle);
        let mut full = Vec::new();
        self.edge.push(tree::leaf(entry.bytes()), |tile, hashes| full.push((tile, tile::bytes(hashes))));
        for (tile, bytes) in full {
            if let Tile { kind: Kind::Hashes(0), number, .. } = tile {
                let bundle = std::mem::take(&mut self.bundle);
                self.write(&Tile::full(Kind::Entries, number).path(), &bundle)?;
            }
            self.write(&tile.path(), &bytes)?;
        }
        Ok(())
    }

    /// Signs all that was added, once it is on the disk. After an error the log is to be opened again.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn publish(&mut self) -> Result<(), LogError> {
        if self.edge.size() == self.checkpoint.size {
            return Ok(());
        }
        self.settle()?;
        let origin = self.public().name().to_owned();
        let checkpoint = Checkpoint { origin, size: self.edge.size(), root: self.edge.root() };
        let note = self.signed(What::Checkpoint, &checkpoint.to_string())?;
        self.stand_for(checkpoint, note)
    }

    /// As [`Files::publish`], of what was signed before, by that note.
    pub(crate) fn publish_again(&mut self, checkpoint: Checkpoint, note: String) -> Result<(), LogError> {
        self.settle()?;
        self.stand_for(checkpoint, note)
    }

    /// Writes what of the last tiles is there, and has all that was written stay.
    fn settle(&mut self) -> Result<(), LogError> {
        let old = self.checkpoint.size;
        let mut partial: Vec<_> = self.edge.partial().map(|(tile, hashes)| (tile, tile::bytes(hashes))).collect();
        if let Some(&(Tile { kind: Kind::Hashes(0), number, width }, _)) = partial.first() {
            partial.push((Tile { kind: Kind::Entries, number, width }, self.bundle.clone()));
        }
        // What the last checkpoint covers is there, and stays as it is.
        partial.retain(|(tile, _)| Tile::of(tile.kind, tile.number, old) != Some(*tile));
        for (tile, bytes) in partial {
            self.write(&tile.path(), &bytes)?;
        }
        self.unsynced.sync().map_err(at(&self.places.log))
    }

    fn stand_for(&mut self, checkpoint: Checkpoint, note: String) -> Result<(), LogError> {
        put(&self.places.log.join(CHECKPOINT), note.as_bytes(), 0o644)?;
        let old = self.checkpoint.size;
        (self.checkpoint, self.note) = (checkpoint, note);
        self.forget_partial(old);
        Ok(())
    }

    /// Removes the partial tiles of the checkpoint of `old` whose full ones are covered now.
    fn forget_partial(&self, old: u64) {
        let levels = (0_u8..8).map(Kind::Hashes).chain([Kind::Entries]);
        for kind in levels {
            let level = if let Kind::Hashes(level) = kind { level } else { 0 };
            let number = old.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
            let full = Tile::full(kind, number);
            if Tile::of(kind, number, self.checkpoint.size) == Some(full) {
                // None there, perhaps; and what is left is of no harm.
                let _ = fs::remove_dir_all(self.places.log.join(format!("{}.p", full.path())));
            }
        }
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), LogError> {
        let path = self.places.log.join(name);
        let parent = path.parent().unwrap_or(&self.places.log);
        let mut put = || {
            self.unsynced.directory(parent)?;
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            self.unsynced.note(file, parent)
        };
        put().map_err(at(&path))
    }
}

impl Places {
    /// The right edge of the log, if it gives the root that was signed.
    pub(crate) fn edge(&self, checkpoint: &Checkpoint) -> Result<Edge, LogError> {
        let edge = Edge::read(checkpoint.size, |tile| self.hashes(tile))?;
        if edge.root() == checkpoint.root {
            return Ok(edge);
        }
        let last = edge.partial().next().map_or_else(|| CHECKPOINT.to_owned(), |(tile, _)| tile.path());
        Err(damaged(&last, "the hashes on the right of the tree do not give the root that was signed".into()))
    }

    /// The entries after the last full bundle, if they are those of `edge`.
    fn last_bundle(&self, edge: &Edge) -> Result<Vec<u8>, LogError> {
        let number = edge.size() / WIDTH as u64;
        let Some(tile) = Tile::of(Kind::Entries, number, edge.size()) else { return Ok(Vec::new()) };
        let (bundle, entries) = self.entries(tile)?;
        are_leaves(tile, &entries, edge.leaves())?;
        Ok(bundle)
    }
}

/// The directory of the log, made if there is none, and held against others.
fn locked(log: &Path) -> Result<File, LogError> {
    DirBuilder::new().recursive(true).mode(0o700).create(log).map_err(at(log))?;
    let path = log.join(LOCK);
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(at(&path))?;
    for again in 1.. {
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => break,
            Err(_) if again < LOCK_TRIES => std::thread::sleep(LOCK_PAUSE),
            Err(_) => return Err(LogError::Locked),
        }
    }
    Ok(lock)
}

/// Writes a small file, whole or not at all.
pub(crate) fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), LogError> {
    let new = path.with_extension("new");
    let written = || {
        // With the rights that it is made with, whoever left one there.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    written().map_err(at(path))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}

pub(crate) fn sync(directory: &Path) -> Result<(), LogError> {
    File::open(directory).and_then(|directory| directory.sync_all()).map_err(at(directory))
}

/// The content of a small file; `None` if there is none.
pub(crate) fn text(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let mut bytes = Vec::new();
    file.take(TEXT_MAX).read_to_end(&mut bytes)?;
    Ok(Some(bytes))
}

/// That these entries of `tile` are those of `leaves`.
pub(crate) fn are_leaves(tile: Tile, entries: &[Vec<u8>], leaves: &[Hash]) -> Result<(), LogError> {
    let bad = entries.iter().zip(leaves).position(|(entry, leaf)| tree::leaf(entry) != *leaf);
    let Some(bad) = bad else { return Ok(()) };
    let at = Some(Sequence(tile.number * WIDTH as u64 + bad as u64 + 1));
    Err(LogError::Damaged { file: tile.path(), what: "an entry is not what was signed".into(), at })
}

pub(crate) fn damaged(file: &str, what: String) -> LogError {
    LogError::Damaged { file: file.to_owned(), what, at: None }
}

pub(crate) fn at(path: &Path) -> impl Fn(io::Error) -> LogError {
    let path = path.to_owned();
    move |why| LogError::Io { path: path.clone(), why }
}

/// What is signed of a receipt.
pub(crate) fn receipt(name: &str, lines: &str) -> String {
    format!("receipt v1 of {name}\n{lines}")
}
