//! Who holds the private half of the log's key.
//!
//! A log is known by its key, which is one for ever. The file of the key has its private half, in plain; or a [`Keeper`] has
//! that, and the file says whose it is:
//!
//! ```text
//! PRIVATE+KEY+name+hash+base64      the private half, as the tools of signed notes have it
//! name+hash+base64                  the public one: the other is with a keeper
//! ```
//!
//! # Invariants
//! 1. Whoever holds the private half, the file says which key it is: what was signed is read and verified without asking.
//! 2. A keeper has the private half, durably, before the file loses it, and then the file's is overwritten: killed at any step,
//!    the next start carries on.
//! 3. Where there is a keeper, a new key is in no file at any time.
//! 4. No signature is used that the public half does not verify.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kernel::Digest;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use zeroize::Zeroizing;

use crate::beside::Beside;
use crate::files::{LogError, Places, at, put, sync, text};
use crate::note::{Key, PublicKey};

/// Keeps the private half of a log's key, and signs with it.
pub trait Keeper: Send + Sync {
    /// Whether a new key is to be with it, and with nobody else.
    fn wants(&self) -> bool {
        true
    }

    /// Takes a key, the same one again, too; durable once this returns. May block.
    ///
    /// # Errors
    /// Why it does not, at least not now.
    fn take(&self, key: &Key) -> Result<(), NotKept>;

    /// Has a key at hand. May block.
    ///
    /// # Errors
    /// Why nothing is signed with it now.
    fn ready(&self, key: &PublicKey) -> Result<(), NotKept>;

    /// The signature of the text of a note.
    ///
    /// # Errors
    /// As [`Keeper::ready`].
    fn sign(&self, key: &PublicKey, text: &str) -> Result<Vec<u8>, NotKept>;
}

/// Why a keeper does not do it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotKept(pub String);

/// Who else signs for a log, and who keeps its key.
#[derive(Clone, Default)]
pub struct Hands {
    pub beside: Option<Arc<dyn Beside>>,
    /// Without one the key lies in its file.
    pub keeper: Option<Arc<dyn Keeper>>,
}

impl Hands {
    fn wanting(&self) -> Option<&Arc<dyn Keeper>> {
        self.keeper.as_ref().filter(|keeper| keeper.wants())
    }
}

/// Where the private half is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holding {
    /// In its file, in plain, as nobody else is to have it.
    File,
    /// There still: this is why the keeper has not taken it yet.
    FileStill(String),
    Kept,
}

/// The key of a log, as its file has it.
pub(crate) enum Held {
    File(Key),
    Kept(PublicKey),
}

impl Held {
    pub fn public(&self) -> &PublicKey {
        match self {
            Self::File(key) => key.public(),
            Self::Kept(key) => key,
        }
    }

    /// Whether it can sign now.
    pub fn ready(&self, hands: &Hands) -> Result<(), LogError> {
        match self {
            Self::File(_) => Ok(()),
            Self::Kept(key) => keeper(hands)?.ready(key).map_err(sealed),
        }
    }

    /// The note of `text`, signed by the key.
    pub fn sign(&self, hands: &Hands, text: &str) -> Result<String, LogError> {
        let key = match self {
            Self::File(key) => return Ok(key.sign(text)),
            Self::Kept(key) => key,
        };
        let note = key.note(text, &keeper(hands)?.sign(key, text).map_err(sealed)?);
        match key.open(&note) {
            Ok(_) => Ok(note),
            Err(error) => Err(sealed(NotKept(format!("what was signed is not by {key}: {error}")))),
        }
    }
}

fn keeper(hands: &Hands) -> Result<&Arc<dyn Keeper>, LogError> {
    let none = || NotKept("its private half is in a keystore, and none is configured".to_owned());
    hands.keeper.as_ref().ok_or_else(none).map_err(sealed)
}

fn sealed(why: NotKept) -> LogError {
    LogError::Sealed { why: why.0 }
}

impl Places {
    /// The key in its file, if there is one.
    pub(crate) fn held(&self) -> Result<Option<Held>, LogError> {
        let unusable = |why: String| LogError::Key { path: self.key.clone(), why };
        let bytes = text(&self.key).map_err(|error| unusable(error.to_string()))?.map(Zeroizing::new);
        let Some(bytes) = bytes else { return Ok(None) };
        let line = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_suffix('\n'));
        let line = line.ok_or_else(|| unusable("it is not one".into()))?;
        if let Ok(public) = PublicKey::parse(line) {
            return Ok(Some(Held::Kept(public)));
        }
        let mode = fs::metadata(&self.key).map_err(|error| unusable(error.to_string()))?.mode();
        if mode & 0o077 != 0 {
            return Err(unusable(format!("others than its owner may use it (mode {:04o})", mode & 0o7777)));
        }
        Key::parse(line).map(|key| Some(Held::File(key))).map_err(|_| unusable("it is not one".into()))
    }

    /// A new key, by the name of `origin` or one of its own. The keeper has it, if there is one, and no file before
    /// [`Places::name_key`].
    pub(crate) fn new_key(&self, origin: Option<&str>, hands: &Hands) -> Result<Key, LogError> {
        let name = |key: &[u8; 32]| match origin {
            Some(origin) => origin.to_owned(),
            None => format!("sop/{}", &Digest(*blake3::hash(key).as_bytes()).to_string()[..8]),
        };
        let unusable = |error: getrandom::Error| LogError::Key { path: self.key.clone(), why: error.to_string() };
        let key = Key::generate(name).map_err(unusable)?;
        hands.wanting().map_or(Ok(()), |keeper| keeper.take(&key)).map_err(sealed)?;
        Ok(key)
    }

    /// Writes the file of a new key: with its private half only if nobody keeps that.
    pub(crate) fn name_key(&self, key: &Key, hands: &Hands) -> Result<(), LogError> {
        let directory = self.key.parent().unwrap_or(Path::new("."));
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(at(directory))?;
        let text = if hands.wanting().is_some() { key.public().to_string().into() } else { key.secret() };
        put(&self.key, Zeroizing::new(format!("{}\n", *text)).as_bytes(), 0o600)?;
        sync(directory.parent().unwrap_or(directory))
    }

    /// Takes the private half out of the file, once `keeper` has it.
    ///
    /// # Errors
    /// [`LogError::Sealed`], if it does not take it; then the file is as it was.
    pub(crate) fn give_away(&self, key: &Key, keeper: &Arc<dyn Keeper>) -> Result<(), LogError> {
        keeper.take(key).map_err(sealed)?;
        // Of one that failed half-way.
        self.forget_plain()?;
        let aside = self.aside();
        put(&aside, format!("{}\n", key.public()).as_bytes(), 0o600)?;
        // One of the two is in its place at any time.
        let exchanged = renameat_with(CWD, &aside, CWD, &self.key, RenameFlags::EXCHANGE);
        exchanged.map_err(|error| at(&self.key)(error.into()))?;
        sync(self.key.parent().unwrap_or(Path::new(".")))?;
        self.forget_plain()?;
        tracing::info!(code = "evidence.key_kept", key = %key.public(), "the key of the tile log is in the keystore now, and in no file");
        Ok(())
    }

    /// Overwrites what [`Places::give_away`] took out of its place.
    pub(crate) fn forget_plain(&self) -> Result<(), LogError> {
        let aside = self.aside();
        let mut file = match OpenOptions::new().write(true).open(&aside) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            file => file.map_err(at(&aside))?,
        };
        let overwritten = file.metadata().and_then(|about| {
            file.write_all(&vec![0; usize::try_from(about.len()).unwrap_or(0)])?;
            file.sync_all()?;
            fs::remove_file(&aside)
        });
        overwritten.map_err(at(&aside))?;
        sync(self.key.parent().unwrap_or(Path::new(".")))
    }

    fn aside(&self) -> PathBuf {
        self.key.with_extension("plain")
    }
}
