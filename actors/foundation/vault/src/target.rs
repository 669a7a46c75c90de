//! Where backups are kept: names and bytes, on a disk or elsewhere.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use evidence::unsynced::Unsynced;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};

use crate::{VaultError, io};

/// No file of a backup is longer: 256 entries of 65,535 bytes fit.
pub const FILE_MAX: u64 = 32 << 20;

/// Why a place that is reached over a network does not do what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    #[error("it cannot be reached")]
    Unreachable,
    #[error("it takes too long")]
    Slow,
    #[error("it answers with an error of its own")]
    Failing,
    #[error("it does not know the credentials, or there are none")]
    Credentials,
    #[error("the credentials do not allow it")]
    Denied,
    #[error("there is no such bucket")]
    NoBucket,
    #[error("what arrived there is not what was sent")]
    Altered,
    #[error("what it sent ended too early")]
    Truncated,
    #[error("it cannot be used")]
    Unusable,
    #[error("this program was built without it")]
    NotBuilt,
}

impl Trouble {
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreachable => "archive.unreachable",
            Self::Slow => "archive.slow",
            Self::Failing => "archive.failing",
            Self::Credentials => "archive.credentials",
            Self::Denied => "archive.denied",
            Self::NoBucket => "archive.no_bucket",
            Self::Altered => "archive.altered",
            Self::Truncated => "archive.truncated",
            Self::Unusable => "archive.unusable",
            Self::NotBuilt => "archive.not_built",
        }
    }

    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Unreachable => "see that backup.s3.endpoint is right and can be reached, then try again",
            Self::Slow => "try again; if the store is always slow, raise backup.s3.timeout",
            Self::Failing => "see what its operator says, then try again",
            Self::Credentials => {
                "set backup.s3.credentials to a file of mode 0600, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; see that                  they are of this store, and the clock is right"
            }
            Self::Denied => "let them list, get, put and delete below that place",
            Self::NoBucket => "make the bucket, or name another one: none is made unasked",
            Self::Altered | Self::Truncated => "try again; if it stays so, look at what is between here and the store",
            Self::Unusable => "see the reason, and correct [backup.s3]",
            Self::NotBuilt => "build with --features object-store, or use a directory",
        }
    }
}

/// A place for files that have names with `/` in them. Calls block.
pub trait Target: Send + Sync {
    /// For whoever reads about it.
    fn place(&self) -> String;

    /// The names of what lies directly in a folder, `""` being the whole; none if there is no such folder.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    fn names(&self, folder: &str) -> Result<Vec<String>, VaultError>;

    /// # Errors
    /// [`VaultError::Io`].
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError>;

    /// Puts a file there, whole or not at all, over the one that is there.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError>;

    /// As [`Target::put`], and says `false` with nothing changed if there is one already.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, VaultError>;

    /// Takes a file away, if it is there.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    fn remove(&self, name: &str) -> Result<(), VaultError>;

    /// Makes all that was put and taken away last.
    ///
    /// # Errors
    /// [`VaultError::Io`].
    fn sync(&self) -> Result<(), VaultError>;

    /// The right to write into a folder, until it is dropped; `None` if the place cannot keep others out.
    ///
    /// # Errors
    /// [`VaultError::InUse`] if somebody else has it.
    fn hold(&self, folder: &str) -> Result<Option<Box<dyn Send>>, VaultError>;
}

/// A directory.
pub struct Directory {
    path: PathBuf,
    unsynced: Mutex<Unsynced>,
}

impl Directory {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), unsynced: Mutex::default() }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        self.unsynced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, name: &str, bytes: &[u8], flags: RenameFlags) -> io::Result<()> {
        let path = self.path.join(name);
        let parent = path.parent().unwrap_or(&self.path);
        let mut unsynced = self.unsynced();
        unsynced.directory(parent)?;
        let new = parent.join(format!(".{}.new", path.file_name().unwrap_or_default().to_string_lossy()));
        let mut file = File::create(&new)?;
        let put = file.write_all(bytes).and_then(|()| Ok(renameat_with(CWD, &new, CWD, &path, flags)?));
        if put.is_err() {
            // What is left of it is written over by the next attempt.
            let _ = fs::remove_file(&new);
            return put;
        }
        unsynced.note(file, parent)
    }
}

impl Target for Directory {
    fn place(&self) -> String {
        self.path.display().to_string()
    }

    fn names(&self, folder: &str) -> Result<Vec<String>, VaultError> {
        let path = self.path.join(folder);
        let listed = match fs::read_dir(&path) {
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
                return Ok(Vec::new());
            }
            listed => listed.map_err(io(&path))?,
        };
        let mut names = Vec::new();
        for entry in listed {
            names.push(entry.map_err(io(&path))?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>, VaultError> {
        let path = self.path.join(name);
        let file = match File::open(&path) {
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => return Ok(None),
            file => file.map_err(io(&path))?,
        };
        let mut bytes = Vec::new();
        file.take(FILE_MAX + 1).read_to_end(&mut bytes).map_err(io(&path))?;
        if FILE_MAX < bytes.len() as u64 {
            return Err(crate::broken(name, "it is longer than any file of a backup"));
        }
        Ok(Some(bytes))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<(), VaultError> {
        self.write(name, bytes, RenameFlags::empty()).map_err(io(self.path.join(name)))
    }

    fn put_new(&self, name: &str, bytes: &[u8]) -> Result<bool, VaultError> {
        match self.write(name, bytes, RenameFlags::NOREPLACE) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            // Not every file system can do it in one step; who holds the folder is alone in it.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {
                if self.path.join(name).exists() {
                    return Ok(false);
                }
                self.put(name, bytes).map(|()| true)
            }
            put => put.map_err(io(self.path.join(name))).map(|()| true),
        }
    }

    fn remove(&self, name: &str) -> Result<(), VaultError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => removed.map_err(io(&path))?,
        }
        let parent = path.parent().unwrap_or(&self.path);
        if name.contains(".p/") {
            // Partial tiles have a folder each. It fails if there are others, which is what it is to do.
            let _ = fs::remove_dir(parent);
        }
        self.unsynced().changed(parent);
        Ok(())
    }

    fn sync(&self) -> Result<(), VaultError> {
        self.unsynced().sync().map_err(io(&self.path))
    }

    fn hold(&self, folder: &str) -> Result<Option<Box<dyn Send>>, VaultError> {
        let directory = self.path.join(folder);
        DirBuilder::new().recursive(true).mode(0o700).create(&directory).map_err(io(&directory))?;
        let path = directory.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(io(&path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(_) => Err(VaultError::InUse { place: directory.display().to_string() }),
        }
    }
}
