//! The keyring: the keys under which texts about people are sealed, one a subject, and the end of each.
//!
//! Records, backups, proofs and machines hold sealed texts only ([`Personal`]). Who destroys a subject's key has erased every
//! text that was sealed for the subject, wherever copies of it lie, and changed no byte that was hashed or signed.
//!
//! ```text
//! <subject>/key               the key in use; made before the first text is sealed
//! <subject>/<erasure>.dying   a key on its way out: nothing is sealed or opened with it any more
//! <subject>/<erasure>.erased  says which key that erasure destroyed, so that it is known, and never used, if it comes back
//! ```
//!
//! `<subject>` is the blake3 of the subject's name, `<erasure>` the id of the command that asked for it.
//!
//! # Invariants
//! 1. A text is sealed under a key that is on disk, synced.
//! 2. An erasure destroys the key that was in use when it was first carried out, and no later one, however often it is
//!    carried out: a key made since is another one.
//! 3. Killed at any step, an erasure is carried on by the next call, and until then nothing is sealed with that key.
//! 4. A key that was erased and is put back is destroyed again and opens nothing.
//! 5. Nothing here is ever logged but names of subjects and ids of keys.

pub mod key;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use kernel::{CommandId, Personal, Principal};

use key::{Key, key_of};

const KEY: &str = "key";
const NEW: &str = "new";
const TITLE: &str = "sop subject erased 1";
/// What is longer is no file of ours.
const FILE_MAX: u64 = 4_096;

/// Why a text cannot be sealed, or a key not be destroyed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    #[error("the key of a subject cannot be used: {}: {why}", path.display())]
    Io { path: PathBuf, why: io::Error },
    #[error("the key of {subject} is damaged: {}", path.display())]
    Damaged { subject: Principal, path: PathBuf },
    /// By whoever carries it out.
    #[error("it was not carried on")]
    Left,
}

impl KeyringError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "keyring.io",
            Self::Damaged { .. } => "keyring.damaged",
            Self::Left => "keyring.left",
        }
    }

    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::Io { .. } => "see that the data directory can be written, and repeat it",
            Self::Damaged { .. } => {
                "put the file back from the copy of the keys (docs/personal-data.md); or erase the subject, which begins a new key"
            }
            Self::Left => "repeat it",
        }
    }
}

/// What a sealed text shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Text(String),
    /// Its key was destroyed.
    Erased,
    /// Its key is not here, and nothing says that it was destroyed: these are not the keys that belong to the records.
    NoKey,
    /// The bytes are not what the key sealed, or the key itself cannot be read.
    Damaged,
}

/// What the keyring knows of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub subject: Principal,
    /// The id of the key in use.
    pub key: Option<u64>,
    /// How many keys of the subject were destroyed.
    pub erased: usize,
}

/// What an erasure destroyed: the id of the key, unless there was none, or none that could be read.
pub type Destroyed = Option<u64>;

/// The keys of all subjects.
#[derive(Clone)]
pub struct Keyring {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    /// Held while files are read and changed, so that one at a time does.
    files: Mutex<()>,
    /// Subjects looked up so far. Never held while a disk is waited for.
    known: Mutex<BTreeMap<Principal, Known>>,
}

/// What the files of one subject say.
#[derive(Clone, Default)]
struct Known {
    key: Option<Arc<Key>>,
    /// There is a key file, and it cannot be read.
    damaged: bool,
    /// Ids of keys that are destroyed, or on their way out.
    gone: BTreeSet<u64>,
    erasures: usize,
}

impl Keyring {
    /// Over a directory that may not be there yet.
    pub fn new(root: &Path) -> Self {
        Self { inner: Arc::new(Inner { root: root.to_owned(), files: Mutex::default(), known: Mutex::default() }) }
    }

    /// Seals `text` for `subject`. Its first one makes the subject's key, which waits for the disk.
    ///
    /// # Errors
    /// [`KeyringError`]; nothing is sealed.
    pub fn seal(
        &self,
        subject: &Principal,
        command: CommandId,
        field: &str,
        text: &str,
    ) -> Result<Personal, KeyringError> {
        if text.is_empty() {
            return Ok(Personal::default());
        }
        let key = self.inner.key(subject)?;
        Ok(Personal::sealed(subject, text.chars().count(), key.seal(command, field, text)))
    }

    /// What a text says, if it still says anything.
    ///
    /// # Errors
    /// [`KeyringError::Io`], if that cannot be known now.
    pub fn open(&self, personal: &Personal) -> Result<Opened, KeyringError> {
        match whose(personal) {
            Ok((subject, id)) => Ok(self.inner.known(&subject)?.open(id, personal.bytes())),
            Err(opened) => Ok(opened),
        }
    }

    /// As [`Keyring::open`], without waiting for a disk; `None` if it would have to.
    pub fn peek(&self, personal: &Personal) -> Option<Opened> {
        match whose(personal) {
            Ok((subject, id)) => {
                let known = self.inner.known.lock().unwrap_or_else(PoisonError::into_inner);
                known.get(&subject).map(|known| known.open(id, personal.bytes()))
            }
            Err(opened) => Some(opened),
        }
    }

    /// Destroys the key of `subject`, for the erasure that a command asked for. The same erasure again does nothing more.
    ///
    /// # Errors
    /// [`KeyringError`]; it may be half done, and is carried on by the same call.
    pub fn erase(&self, subject: &Principal, erasure: CommandId) -> Result<Destroyed, KeyringError> {
        self.erase_while(subject, erasure, |_| Ok(()))
    }

    /// As [`Keyring::erase`], as long as `goes_on` says so, which is asked before each step.
    ///
    /// # Errors
    /// [`KeyringError`], its own included.
    pub fn erase_while(
        &self,
        subject: &Principal,
        erasure: CommandId,
        mut goes_on: impl FnMut(&'static str) -> Result<(), KeyringError>,
    ) -> Result<Destroyed, KeyringError> {
        let _alone = self.inner.files.lock().unwrap_or_else(PoisonError::into_inner);
        // Whatever becomes of it, it is read again.
        self.inner.forget(subject);
        let files = self.inner.directory(subject);
        if let Some(destroyed) = files.erased(erasure)? {
            goes_on("destroy what is left of it")?;
            files.destroy(&files.dying(erasure))?;
            return self.inner.read(subject).map(|_| destroyed);
        }
        files.create(&self.inner.root)?;
        let dying = files.dying(erasure);
        if !exists(&dying)? && exists(&files.at(KEY))? {
            goes_on("take it out of use")?;
            fs::rename(files.at(KEY), &dying).and_then(|()| sync(&files.directory)).map_err(files.failed())?;
        }
        let destroyed = read(&dying)?.and_then(|text| Key::read(&text)).map(|key| key.id());
        goes_on("say that it is erased")?;
        files.bury(subject, erasure, destroyed)?;
        goes_on("destroy it")?;
        files.destroy(&dying)?;
        // Of a first sealing that was killed: nothing was ever sealed with it.
        files.destroy(&files.at(NEW))?;
        self.inner.read(subject).map(|_| destroyed)
    }

    /// Sees to it that what an erasure destroyed, as the records have it, is not here: not back from an old copy of the
    /// keys, and known to be erased where it never was.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn stays_erased(
        &self,
        subject: &Principal,
        erasure: CommandId,
        destroyed: Destroyed,
    ) -> Result<(), KeyringError> {
        let _alone = self.inner.files.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.inner.directory(subject);
        if files.erased(erasure)?.is_none() {
            files.create(&self.inner.root)?;
            files.bury(subject, erasure, destroyed)?;
        }
        files.destroy(&files.dying(erasure))?;
        // Read again, which destroys what came back.
        self.inner.read(subject).map(drop)
    }

    /// What is known of one subject.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn standing(&self, subject: &Principal) -> Result<Standing, KeyringError> {
        let Known { key, erasures, .. } = self.inner.known(subject)?;
        Ok(Standing { subject: subject.clone(), key: key.map(|key| key.id()), erased: erasures })
    }

    /// Every subject that has or had a key, in the order of their names.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn subjects(&self) -> Result<Vec<Standing>, KeyringError> {
        let failed = |why| KeyringError::Io { path: self.inner.root.clone(), why };
        let directories = match fs::read_dir(&self.inner.root) {
            Ok(directories) => directories,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut found = BTreeSet::new();
        for directory in directories {
            let files = Files { directory: directory.map_err(failed)?.path() };
            found.extend(files.subject()?);
        }
        found.iter().map(|subject| self.standing(subject)).collect()
    }
}

impl Inner {
    /// The key of `subject`, made if there is none.
    fn key(&self, subject: &Principal) -> Result<Arc<Key>, KeyringError> {
        if let Some(key) = self.known(subject)?.key {
            return Ok(key);
        }
        let _alone = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        // Another may have made it since.
        let known = self.read(subject)?;
        if let Some(key) = known.key {
            return Ok(key);
        }
        let files = self.directory(subject);
        if known.damaged {
            return Err(KeyringError::Damaged { subject: subject.clone(), path: files.at(KEY) });
        }
        let (mut id, mut secret) = ([0; 8], [0; 32]);
        for bytes in [&mut id[..], &mut secret[..]] {
            getrandom::fill(bytes).expect("the system gives randomness");
        }
        let key = Key::new(subject, u64::from_be_bytes(id), secret);
        files.create(&self.root)?;
        // If this fails when the file is in its place already, it is the key that the next one finds.
        self.forget(subject);
        files.write(&files.at(KEY), &key.written())?;
        self.read(subject)?;
        Ok(Arc::new(key))
    }

    fn known(&self, subject: &Principal) -> Result<Known, KeyringError> {
        let look = || self.known.lock().unwrap_or_else(PoisonError::into_inner).get(subject).cloned();
        if let Some(known) = look() {
            return Ok(known);
        }
        let _alone = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        look().map_or_else(|| self.read(subject), Ok)
    }

    fn forget(&self, subject: &Principal) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(subject);
    }

    /// Reads what the files say, and remembers it.
    fn read(&self, subject: &Principal) -> Result<Known, KeyringError> {
        let files = self.directory(subject);
        let mut known = Known::default();
        for name in files.names()? {
            let path = files.at(&name);
            if let Some(erasure) = name.strip_suffix(".erased").and_then(|id| id.parse().ok()) {
                known.erasures += 1;
                known.gone.extend(files.erased(erasure)?.flatten());
            } else if name.strip_suffix(".dying").is_some() {
                known.gone.extend(read(&path)?.and_then(|text| Key::read(&text)).map(|key| key.id()));
            } else if name == KEY {
                let key = read(&path)?.and_then(|text| Key::read(&text));
                // Of another subject: somebody moved it, and it opens nothing here.
                known.key = key.filter(|key| key.subject() == subject).map(Arc::new);
                known.damaged = known.key.is_none();
            }
        }
        if let Some(key) = known.key.take_if(|key| known.gone.contains(&key.id())) {
            let (subject, key) = (key.subject(), format!("{:016x}", key.id()));
            tracing::warn!(code = "keyring.brought_back", %subject, key, "a key that was erased came back, and is destroyed again");
            files.destroy(&files.at(KEY))?;
        }
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(subject.clone(), known.clone());
        Ok(known)
    }

    fn directory(&self, subject: &Principal) -> Files {
        let name = blake3::hash(subject.to_string().as_bytes()).to_hex();
        Files { directory: self.root.join(&name[..32]) }
    }
}

impl Known {
    fn open(&self, id: u64, sealed: &[u8]) -> Opened {
        match &self.key {
            _ if self.gone.contains(&id) => Opened::Erased,
            Some(key) if key.id() == id => key.open(sealed).map_or(Opened::Damaged, Opened::Text),
            _ if self.damaged => Opened::Damaged,
            Some(_) | None => Opened::NoKey,
        }
    }
}

/// For whom and by which key a text was sealed; or what it shows without any.
fn whose(personal: &Personal) -> Result<(Principal, u64), Opened> {
    let Some(subject) = personal.subject() else {
        return Err(personal.text().map_or(Opened::Damaged, |text| Opened::Text(text.to_owned())));
    };
    subject.parse().ok().zip(key_of(personal.bytes())).ok_or(Opened::Damaged)
}

/// The directory of one subject.
struct Files {
    directory: PathBuf,
}

impl Files {
    fn at(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn dying(&self, erasure: CommandId) -> PathBuf {
        self.at(&format!("{erasure}.dying"))
    }

    fn failed(&self) -> impl Fn(io::Error) -> KeyringError {
        failed(&self.directory)
    }

    /// Makes the directory, for the owner alone, and sees to it that its name is there after a power cut.
    fn create(&self, root: &Path) -> Result<(), KeyringError> {
        if exists(&self.directory)? {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory).map_err(self.failed())?;
        let above = root.parent().filter(|above| !above.as_os_str().is_empty());
        sync(root).and_then(|()| above.map_or(Ok(()), sync)).map_err(failed(root))
    }

    fn names(&self) -> Result<Vec<String>, KeyringError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(self.failed()(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            // What is no text is no name of ours.
            names.extend(entry.map_err(self.failed())?.file_name().into_string().ok());
        }
        Ok(names)
    }

    /// Whose directory this is, as its files say.
    fn subject(&self) -> Result<Option<Principal>, KeyringError> {
        for name in self.names()? {
            let text = read(&self.at(&name))?.unwrap_or_default();
            let named = text.lines().find_map(|line| line.strip_prefix("subject ")?.parse::<Principal>().ok());
            if named.is_some() {
                return Ok(named);
            }
        }
        Ok(None)
    }

    /// Writes a file beside its place, and puts it there whole.
    fn write(&self, path: &Path, text: &str) -> Result<(), KeyringError> {
        let new = self.at(NEW);
        let mut open = OpenOptions::new();
        let written = open.write(true).create(true).truncate(true).mode(0o600).open(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        let done = written.and_then(|()| fs::rename(&new, path)).and_then(|()| sync(&self.directory));
        done.map_err(failed(path))
    }

    /// What an erasure destroyed, if it was carried out.
    fn erased(&self, erasure: CommandId) -> Result<Option<Destroyed>, KeyringError> {
        let Some(text) = read(&self.at(&format!("{erasure}.erased")))? else { return Ok(None) };
        let id = text.lines().find_map(|line| line.strip_prefix("key "));
        Ok(Some(id.and_then(|id| u64::from_str_radix(id, 16).ok())))
    }

    fn bury(&self, subject: &Principal, erasure: CommandId, destroyed: Destroyed) -> Result<(), KeyringError> {
        let key = destroyed.map_or_else(|| "none".to_owned(), |id| format!("{id:016x}"));
        let text = format!("{TITLE}\nsubject {subject}\nkey {key}\n");
        self.write(&self.at(&format!("{erasure}.erased")), &text)
    }

    /// Overwrites a file, then removes it. One that is not there is destroyed.
    fn destroy(&self, path: &Path) -> Result<(), KeyringError> {
        let mut file = match OpenOptions::new().write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(path)(error)),
        };
        let overwritten = file.metadata().and_then(|about| {
            let length = usize::try_from(about.len().min(FILE_MAX)).expect("small");
            file.write_all(&vec![0; length])?;
            file.sync_all()
        });
        let removed = overwritten.and_then(|()| fs::remove_file(path)).and_then(|()| sync(&self.directory));
        removed.map_err(failed(path))
    }
}

fn read(path: &Path) -> Result<Option<String>, KeyringError> {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(FILE_MAX).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path)(error)),
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> KeyringError {
    move |why| KeyringError::Io { path: path.to_owned(), why }
}

fn exists(path: &Path) -> Result<bool, KeyringError> {
    path.try_exists().map_err(failed(path))
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
