//! The seal: an emergency stop that needs nothing to work.
//!
//! It shuts in memory, then in a file, then in the journal, in the order of what may be broken. Whichever of the three is
//! found at the next start keeps it shut; only a resume that the journal has recorded opens it.
//!
//! # Invariants
//! 1. Shut once more, it stays shut for whoever opens an earlier stop: [`Seal::open`] names the stop that it ends.
//! 2. A file that is there but cannot be read is a seal.

use std::fs::File;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock};

use governance::REASON_MAX;
use kernel::{Digest, Personal, Principal};

/// How a sealed reason begins in the file.
const SEALED: &str = "sealed";

/// Why the door is shut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Who stopped, as a principal's text.
    pub by: String,
    pub reason: Personal,
}

/// One shutting: tells a stop from the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u64);

/// The switch. Reading it costs an uncontended lock.
#[derive(Debug)]
pub struct Seal {
    state: RwLock<State>,
    /// Locked while it is written, so that two who stop at once do not write into each other.
    file: Mutex<PathBuf>,
}

#[derive(Debug)]
struct State {
    shut: Option<Shut>,
    /// How often it was shut in this process.
    times: u64,
}

#[derive(Debug)]
struct Shut {
    sealed: Sealed,
    /// The recorded stop that it belongs to, once it is known.
    stop: Option<Digest>,
}

impl Seal {
    /// Shut if `file` exists, whatever is in it.
    pub fn new(file: &Path) -> Self {
        let sealed = match std::fs::read(file) {
            Ok(bytes) => {
                let text = String::from_utf8_lossy(&bytes);
                let unsaid = ("operator/unknown", "the seal file does not say why");
                let (by, reason) = text.split_once('\n').unwrap_or(unsaid);
                Some(Sealed { by: first(by), reason: read(reason.trim_end()) })
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                let reason = Personal::plain(&first(&format!("the seal file cannot be read: {error}")));
                Some(Sealed { by: "operator/unknown".to_owned(), reason })
            }
        };
        let shut = sealed.map(|sealed| Shut { sealed, stop: None });
        Self { state: RwLock::new(State { shut, times: 0 }), file: Mutex::new(file.to_owned()) }
    }

    pub fn get(&self) -> Option<Sealed> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state.shut.as_ref().map(|shut| shut.sealed.clone())
    }

    /// As [`Seal::get`], without a copy of it.
    pub(crate) fn is_shut(&self) -> bool {
        self.state.read().unwrap_or_else(PoisonError::into_inner).shut.is_some()
    }

    /// Shuts in memory at once, then in the file. A file that cannot be written is said, and changes nothing: the door is
    /// shut all the same.
    pub(crate) fn shut(&self, by: &Sealed) -> (Mark, std::io::Result<()>) {
        let mark = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            state.shut = Some(Shut { sealed: by.clone(), stop: None });
            state.times += 1;
            Mark(state.times)
        };
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        (mark, write(&file, by))
    }

    /// Says why it was shut, if the shutting `mark` is still in force: in memory, and in the file.
    pub(crate) fn because(&self, mark: Mark, reason: Personal) -> std::io::Result<()> {
        let by = {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            let still = state.times == mark.0;
            let Some(shut) = state.shut.as_mut().filter(|_| still) else { return Ok(()) };
            shut.sealed.reason = reason;
            shut.sealed.clone()
        };
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // Opened meanwhile, it has no file, and must not have one again.
        if file.try_exists()? { write(&file, &by) } else { Ok(()) }
    }

    /// The shutting in force, if nobody knows yet which recorded stop it belongs to.
    pub(crate) fn unrecorded(&self) -> Option<(Mark, Sealed)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let shut = state.shut.as_ref().filter(|shut| shut.stop.is_none());
        shut.map(|shut| (Mark(state.times), shut.sealed.clone()))
    }

    /// Notes that the shutting `mark` belongs to `stop`, if it is still in force.
    pub(crate) fn recorded(&self, mark: Mark, stop: Digest) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.times == mark.0
            && let Some(shut) = &mut state.shut
        {
            shut.stop = Some(stop);
        }
    }

    /// Opens, if it is shut by `stop`; called once the journal has recorded the resume. Says whether it is open now.
    ///
    /// # Errors
    /// If the file cannot be removed: then the next start would be shut again, so the door stays shut.
    pub(crate) fn open(&self, stop: Digest) -> std::io::Result<bool> {
        // A stop that comes meanwhile waits for the lock, and shuts and writes what is opened and removed here.
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &state.shut {
            None => return Ok(true),
            Some(shut) if shut.stop != Some(stop) => return Ok(false),
            Some(_) => (),
        }
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        match std::fs::remove_file(&*file) {
            Ok(()) => sync_directory(&file)?,
            Err(error) if error.kind() == ErrorKind::NotFound => (),
            Err(error) => return Err(error),
        }
        state.shut = None;
        Ok(true)
    }
}

fn write(file: &Path, by: &Sealed) -> std::io::Result<()> {
    let mut open = File::create(file)?;
    writeln!(open, "{}", by.by)?;
    match (by.reason.subject(), by.reason.text()) {
        (Some(subject), _) => {
            write!(open, "{SEALED} {subject} {} ", by.reason.characters())?;
            by.reason.bytes().iter().try_for_each(|byte| write!(open, "{byte:02x}"))?;
            writeln!(open)?;
        }
        (None, text) => writeln!(open, "{}", text.unwrap_or_default())?,
    }
    open.sync_all()?;
    sync_directory(file)
}

/// A reason as it was written: sealed, in words of our own, or in whatever words somebody wrote by hand.
fn read(reason: &str) -> Personal {
    let sealed = || {
        let [SEALED, subject, characters, hex] = reason.split(' ').collect::<Vec<_>>()[..] else { return None };
        let subject: Principal = subject.parse().ok()?;
        if hex.len() % 2 != 0 {
            return None;
        }
        let pairs = hex.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        let sealed = Personal::sealed(&subject, characters.parse().ok()?, pairs.collect::<Option<_>>()?);
        (!sealed.is_longer_than(REASON_MAX)).then_some(sealed)
    };
    sealed().unwrap_or_else(|| Personal::plain(&first(reason)))
}

/// A file that is synced may still be missing after a power cut; its name lies in the directory.
fn sync_directory(file: &Path) -> std::io::Result<()> {
    // That of a bare name is where the process is.
    File::open(Path::new(".").join(file.parent().unwrap_or(file)))?.sync_all()
}

/// Whoever wrote the file may have written anything; what is told of it, and recorded, is short.
fn first(text: &str) -> String {
    text.chars().take(REASON_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Digest = Digest([1; 32]);

    #[test]
    fn a_seal_outlives_the_process_and_a_disk_that_cannot_take_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealed");
        let stop = Sealed { by: "operator/root".into(), reason: Personal::plain("fire\nin the hall") };
        let seal = Seal::new(&file);
        assert_eq!(seal.get(), None);
        let (mark, kept) = seal.shut(&stop);
        kept.unwrap();
        assert_eq!(Seal::new(&file).get(), Some(stop.clone()));
        seal.recorded(mark, FIRST);
        assert!(seal.open(FIRST).unwrap());
        assert_eq!((seal.get(), Seal::new(&file).get()), (None, None));
        assert!(seal.open(FIRST).unwrap(), "it is open already");

        let nowhere = Seal::new(&dir.path().join("missing/sealed"));
        assert!(nowhere.shut(&stop).1.is_err());
        assert_eq!(nowhere.get(), Some(stop));
    }

    #[test]
    fn the_file_holds_the_reason_as_it_is_sealed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealed");
        let sealed = Personal::sealed(&"operator/root".parse().unwrap(), 4, vec![0, 0xa5, 0xff]);
        let seal = Seal::new(&file);
        let (mark, kept) = seal.shut(&Sealed { by: "operator/root".into(), reason: Personal::default() });
        kept.unwrap();
        assert!(Seal::new(&file).get().is_some_and(|stop| stop.reason.is_empty()));
        seal.because(mark, sealed.clone()).unwrap();
        assert_eq!(Seal::new(&file).get(), seal.get());
        assert_eq!(seal.get().unwrap().reason, sealed);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "operator/root\nsealed operator/root 4 00a5ff\n");

        let (_, kept) = seal.shut(&Sealed { by: "operator/other".into(), reason: Personal::default() });
        kept.unwrap();
        seal.because(mark, sealed).unwrap();
        assert!(seal.get().unwrap().reason.is_empty(), "it comes too late: another stop is in force");
    }

    #[test]
    fn a_damaged_seal_file_is_a_seal() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealed");
        for (bytes, reason) in [
            (&[0xff, 0xfe][..], "the seal file does not say why"),
            (&[], "the seal file does not say why"),
            (b"operator/root\n\xff", "\u{fffd}"),
            (b"operator/root\nsealed operator/root 4 0", "sealed operator/root 4 0"),
            (b"operator/root\nsealed operator/root 9999 00", "sealed operator/root 9999 00"),
            (b"operator/root\nsealed nobody 4 00", "sealed nobody 4 00"),
        ] {
            std::fs::write(&file, bytes).unwrap();
            assert_eq!(Seal::new(&file).get().unwrap().reason.text(), Some(reason));
        }
        std::fs::write(&file, format!("operator/root\n{}", "é".repeat(100_000))).unwrap();
        assert_eq!(Seal::new(&file).get().unwrap().reason.characters(), REASON_MAX);
        // Something is there, and it cannot be read.
        assert!(Seal::new(dir.path()).get().is_some());
    }

    #[test]
    fn it_opens_for_its_own_stop_only() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealed");
        let seal = Seal::new(&file);
        let stop = |reason: &str| Sealed { by: "operator/root".into(), reason: Personal::plain(reason) };
        let (first, _) = seal.shut(&stop("fire"));
        assert_eq!(seal.unrecorded(), Some((first, stop("fire"))));
        assert!(!seal.open(FIRST).unwrap(), "nobody knows yet which stop it is");
        seal.recorded(first, FIRST);
        assert_eq!(seal.unrecorded(), None);
        assert!(!seal.open(Digest([2; 32])).unwrap());

        let (second, _) = seal.shut(&stop("water"));
        seal.recorded(first, FIRST);
        assert!(!seal.open(FIRST).unwrap(), "the note comes too late");
        assert_eq!(seal.get(), Some(stop("water")));
        assert!(file.exists());
        seal.recorded(second, FIRST);
        assert!(seal.open(FIRST).unwrap(), "stopped twice, recorded as one");
        seal.recorded(second, FIRST);
        assert_eq!(seal.get(), None);
    }

    #[test]
    fn what_cannot_be_removed_keeps_it_shut() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("sealed");
        let seal = Seal::new(&file);
        let (mark, _) = seal.shut(&Sealed { by: "operator/root".into(), reason: Personal::plain("fire") });
        seal.recorded(mark, FIRST);
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
        assert!(seal.open(FIRST).is_err());
        assert!(seal.get().is_some());
        std::fs::remove_dir(&file).unwrap();
        assert!(seal.open(FIRST).unwrap());
    }
}
