//! The seal: an emergency stop that needs nothing to work.
//!
//! It shuts in memory, then in a file, then in the journal, in the order of what may be broken. Whichever of the three is
//! found at the next start keeps it shut; only a resume that the journal has recorded opens it.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

/// Why the door is shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Who stopped, as a principal's text.
    pub by: String,
    pub reason: String,
}

/// The switch. Reading it costs an uncontended lock.
#[derive(Debug)]
pub struct Seal {
    sealed: RwLock<Option<Sealed>>,
    file: PathBuf,
}

impl Seal {
    /// Shut if `file` exists, whatever is in it.
    pub fn new(file: &Path) -> Self {
        let sealed = file.exists().then(|| {
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let (by, reason) = text.split_once('\n').unwrap_or(("operator/unknown", "the seal file does not say why"));
            Sealed { by: by.to_owned(), reason: reason.trim_end().to_owned() }
        });
        Self { sealed: RwLock::new(sealed), file: file.to_owned() }
    }

    pub fn get(&self) -> Option<Sealed> {
        self.sealed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shuts in memory at once, then in the file. A file that cannot be written is said, and changes nothing.
    ///
    /// # Errors
    /// That of the file; the door is shut all the same.
    pub fn shut(&self, by: &Sealed) -> std::io::Result<()> {
        *self.sealed.write().unwrap_or_else(PoisonError::into_inner) = Some(by.clone());
        let mut file = File::create(&self.file)?;
        write!(file, "{}\n{}\n", by.by, by.reason)?;
        file.sync_all()
    }

    /// Opens; called once the journal has recorded the resume.
    ///
    /// # Errors
    /// If the file cannot be removed: then the next start would be shut again, so the door stays shut.
    pub fn open(&self) -> std::io::Result<()> {
        match std::fs::remove_file(&self.file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        *self.sealed.write().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_outlives_the_process_and_a_disk_that_cannot_take_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealed");
        let stop = Sealed { by: "operator/root".into(), reason: "fire\nin the hall".into() };
        let seal = Seal::new(&file);
        assert_eq!(seal.get(), None);
        seal.shut(&stop).unwrap();
        assert_eq!(Seal::new(&file).get(), Some(stop.clone()));
        seal.open().unwrap();
        assert_eq!((seal.get(), Seal::new(&file).get()), (None, None));

        let nowhere = Seal::new(&dir.path().join("missing/sealed"));
        assert!(nowhere.shut(&stop).is_err());
        assert_eq!(nowhere.get(), Some(stop));
    }

    #[test]
    fn a_damaged_seal_file_is_a_seal() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealed");
        std::fs::write(&file, [0xff, 0xfe]).unwrap();
        assert!(Seal::new(&file).get().is_some());
    }
}
