//! The files of the store: written whole or not at all, each step asked for first.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use crate::key::{About, Kept, Name};
use crate::root::Header;
use crate::{KeystoreError, ROOT, file, gone};

/// What is being written.
pub const NEW: &str = "new";
/// What is longer is no file of ours: the longest is of a key that has 2,400 bytes in private and 1,206 in public.
const FILE_MAX: u64 = 16_384;

type GoesOn = Box<dyn Fn(&'static str) -> Result<(), KeystoreError> + Send + Sync>;

pub struct Files {
    directory: PathBuf,
    goes_on: GoesOn,
}

impl Files {
    pub fn new(directory: &Path, goes_on: GoesOn) -> Self {
        Self { directory: directory.to_owned(), goes_on }
    }

    fn at(&self, file: &str) -> PathBuf {
        self.directory.join(file)
    }

    /// Who else may write the directory could exchange what is in it, and who may read it could keep what is destroyed.
    ///
    /// # Errors
    /// [`KeystoreError::OpenDirectory`], [`KeystoreError::NotOurs`]; [`KeystoreError::Io`], also for what is no directory.
    pub fn kept_from_others(&self) -> Result<(), KeystoreError> {
        let path = || self.directory.clone();
        let about = match fs::metadata(&self.directory) {
            Ok(about) => about,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(&self.directory)(error)),
        };
        let (mode, owner) = (about.mode() & 0o7777, about.uid());
        if !about.is_dir() {
            return Err(failed(&self.directory)(ErrorKind::NotADirectory.into()));
        }
        if owner != rustix::process::geteuid().as_raw() {
            return Err(KeystoreError::NotOurs { path: path(), owner });
        }
        if mode & 0o077 != 0 {
            return Err(KeystoreError::OpenDirectory { path: path(), mode });
        }
        Ok(())
    }

    pub fn exists(&self, file: &str) -> Result<bool, KeystoreError> {
        let path = self.at(file);
        path.try_exists().map_err(failed(&path))
    }

    /// The keys that are or were here.
    pub fn names(&self) -> Result<Vec<Name>, KeystoreError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(&self.directory)(error)),
        };
        let mut names = BTreeSet::new();
        for entry in entries {
            // What is no text is no name of ours.
            let Ok(entry) = entry.map_err(failed(&self.directory))?.file_name().into_string() else { continue };
            let name = entry.strip_suffix(".key").or_else(|| entry.strip_suffix(".gone"));
            names.extend(name.and_then(Name::read));
        }
        Ok(names.into_iter().collect())
    }

    pub fn header(&self) -> Result<Option<Header>, KeystoreError> {
        let damaged = || KeystoreError::Damaged { path: self.at(ROOT) };
        self.read(ROOT)?.map(|text| Header::read(&text).ok_or_else(damaged)).transpose()
    }

    /// # Errors
    /// [`KeystoreError::NoKey`], [`KeystoreError::Destroyed`]; [`KeystoreError::Damaged`], also for the file of another key.
    pub fn kept(&self, name: Name) -> Result<Kept, KeystoreError> {
        if self.exists(&gone(name))? {
            return Err(KeystoreError::Destroyed { name });
        }
        let text = self.read(&file(name))?.ok_or(KeystoreError::NoKey { name })?;
        let kept = Kept::read(&text).filter(|kept| kept.about.name == name);
        kept.ok_or_else(|| KeystoreError::Damaged { path: self.at(&file(name)) })
    }

    /// What is known of a key that was destroyed. That it was is said by the file's name alone.
    pub fn buried(&self, name: Name) -> Result<Option<About>, KeystoreError> {
        let read = self.read(&gone(name))?.and_then(|text| About::exhumed(&text));
        Ok(read.filter(|(buried, _)| *buried == name).and_then(|(_, about)| about))
    }

    fn read(&self, file: &str) -> Result<Option<String>, KeystoreError> {
        let path = self.at(file);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(FILE_MAX + 1).read_to_end(&mut bytes)) {
            // No form has what is no text, nor what is too long.
            Ok(read) if FILE_MAX < read as u64 => Ok(Some(String::new())),
            Ok(_) => Ok(Some(String::from_utf8(bytes).unwrap_or_default())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed(&path)(error)),
        }
    }

    /// Writes a file beside its place, and puts it there whole, to stay.
    pub fn write(&self, file: &str, text: &str) -> Result<(), KeystoreError> {
        self.put(file, text)?;
        self.sync()
    }

    /// As [`Files::write`]; what was there may be there again after a power cut, until [`Files::sync`].
    pub fn put(&self, file: &str, text: &str) -> Result<(), KeystoreError> {
        self.create()?;
        let (new, path) = (self.at(NEW), self.at(file));
        (self.goes_on)("write it beside its place")?;
        let mut open = OpenOptions::new();
        let written = open.write(true).create(true).truncate(true).mode(0o600).open(&new).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        });
        written.map_err(failed(&path))?;
        (self.goes_on)("put it in its place")?;
        fs::rename(&new, &path).map_err(failed(&path))
    }

    /// Sees to it that what is here stays after a power cut.
    pub fn sync(&self) -> Result<(), KeystoreError> {
        (self.goes_on)("see that it stays")?;
        sync(&self.directory).map_err(failed(&self.directory))
    }

    /// Overwrites a file, then removes it. One that is not there is destroyed.
    pub fn destroy(&self, file: &str) -> Result<(), KeystoreError> {
        let path = self.at(file);
        if !self.exists(file)? {
            return Ok(());
        }
        (self.goes_on)("overwrite it")?;
        let overwritten = OpenOptions::new().write(true).open(&path).and_then(|mut file| {
            let length = file.metadata()?.len().min(FILE_MAX);
            file.write_all(&vec![0; usize::try_from(length).expect("small")])?;
            file.sync_all()
        });
        overwritten.map_err(failed(&path))?;
        (self.goes_on)("remove it")?;
        fs::remove_file(&path).map_err(failed(&path))?;
        self.sync()
    }

    /// Makes the directory, for the owner alone.
    fn create(&self) -> Result<(), KeystoreError> {
        if self.directory.try_exists().map_err(failed(&self.directory))? {
            return Ok(());
        }
        (self.goes_on)("make the directory")?;
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        let above = self.directory.parent().filter(|above| !above.as_os_str().is_empty());
        made.and_then(|()| above.map_or(Ok(()), sync)).map_err(failed(&self.directory))
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> KeystoreError {
    move |why| KeystoreError::Io { path: path.to_owned(), why }
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}
