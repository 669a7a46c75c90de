//! Who signs a note beside the log: a further line in what the log signs, by a key that is changed from time to time.
//!
//! The key of the log is what a log is known by, and stays. A key beside it has its time, and may be of a suite that signed
//! notes have no byte for. Its vkey and its lines are then what C2SP signed-note leaves for such (type 0xff, and an
//! identifier of our own), so that others' verifiers pass over them:
//!
//! ```text
//! vkey        name+key id+base64(0xff, "sop suites 1\n", tag of the suite [2], public key)
//! line        — name base64(key id [4], signature as `suites` writes it)
//! name        the name of the log, and that of the key: sop/1f/checkpoints.2
//! ```
//!
//! How a signature is made and checked is for whoever has the keys: here are the forms alone.
//!
//! # Invariants
//! 1. The log never waits for such a line, and is never kept from anything by it: there is one, or there is none.
//! 2. What a line is of is the text of the note that it stands in.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::note::{Line, Note, NoteError, hex, id, is_name, vkey};

/// Of what has no byte in signed notes, and by which ours is told from others of that kind.
const ALGORITHM: u8 = 0xff;
const IDENTIFIER: &[u8] = b"sop suites 1\n";

/// What is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Checkpoint,
    Attestation,
    Receipt,
}

/// Signs what the log signs, too.
pub trait Beside: Send + Sync {
    /// The line, without its end, that stands below that of the log of this name in a note of `text`; none if nobody signs
    /// now. It waits for no disk.
    fn line(&self, what: What, log: &str, text: &str) -> Option<String>;
}

/// A key that signs beside the log's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BesideKey {
    name: String,
    /// As `suites` names it in records.
    suite: u16,
    public: Vec<u8>,
}

/// A line of such a key, or of one that is called so. Nothing of it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// What follows the name of the log.
    pub key: String,
    pub id: [u8; 4],
    pub signature: Vec<u8>,
}

impl BesideKey {
    /// The key of this name below that of the log.
    ///
    /// # Panics
    /// If that can be no name of a key.
    pub fn new(log: &str, key: &str, suite: u16, public: &[u8]) -> Self {
        let name = format!("{log}/{key}");
        assert!(is_name(&name), "{name:?} is no name for a key");
        Self { name, suite, public: public.to_vec() }
    }

    /// The key that a vkey is.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let parsed = || {
            let (name, rest) = text.split_once('+')?;
            let (hash, coded) = rest.split_once('+')?;
            let coded = STANDARD.decode(coded).ok()?;
            let rest = coded.strip_prefix(&[ALGORITHM])?.strip_prefix(IDENTIFIER)?;
            let (suite, public) = rest.split_first_chunk::<2>()?;
            let key = Self { name: name.to_owned(), suite: u16::from_be_bytes(*suite), public: public.to_vec() };
            (is_name(name) && !public.is_empty() && hex(key.id()) == hash).then_some(key)
        };
        parsed().ok_or(NoteError::Key)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn suite(&self) -> u16 {
        self.suite
    }

    pub fn public(&self) -> &[u8] {
        &self.public
    }

    /// By which a line says that it is of this key.
    pub fn id(&self) -> [u8; 4] {
        id(&self.name, ALGORITHM, &self.material())
    }

    /// The line of a signature, without its end.
    pub fn line(&self, signature: &[u8]) -> String {
        let Self { name, .. } = self;
        format!("— {name} {}", STANDARD.encode([&self.id()[..], signature].concat()))
    }

    fn material(&self) -> Vec<u8> {
        [IDENTIFIER, &self.suite.to_be_bytes(), &self.public].concat()
    }
}

/// The vkey.
impl fmt::Display for BesideKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey(&self.name, ALGORITHM, &self.material()))
    }
}

/// The text of a note, and its lines that are called as keys beside that of the log are.
///
/// # Errors
/// [`NoteError::Malformed`].
pub fn read<'a>(note: &'a str, log: &str) -> Result<(&'a str, Vec<Signature>), NoteError> {
    let Note { text, signatures } = Note::read(note)?;
    let beside = |line: Line<'_>| {
        let key = below(line.name, log)?.to_owned();
        Some(Signature { key, id: line.id, signature: line.signature })
    };
    Ok((text, signatures.into_iter().filter_map(beside).collect()))
}

/// The lines themselves.
pub(crate) fn lines<'a>(signatures: &[Line<'a>], log: &str) -> Vec<&'a str> {
    signatures.iter().filter(|line| below(line.name, log).is_some()).map(|line| line.line).collect()
}

/// The name of a key below that of the log: a word and a version.
fn below<'a>(name: &'a str, log: &str) -> Option<&'a str> {
    let key = name.strip_prefix(log)?.strip_prefix('/')?;
    let (word, version) = key.split_once('.')?;
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
    (is_word && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit())).then_some(key)
}

/// The note with a line more, unless that is no line, or the note has one.
pub(crate) fn with_line(note: String, log: &str, line: &str) -> String {
    let is_line =
        Note::lines(&format!("{line}\n")).is_ok_and(|lines| !self::lines(&lines, log).is_empty() && lines.len() == 1);
    if is_line && !has_line(&note, log) { note + line + "\n" } else { note }
}

pub(crate) fn has_line(note: &str, log: &str) -> bool {
    Note::read(note).is_ok_and(|note| !lines(&note.signatures, log).is_empty())
}
