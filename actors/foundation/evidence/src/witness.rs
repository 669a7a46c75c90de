//! Witnesses: who else saw a checkpoint, and says when (C2SP tlog-cosignature, with Ed25519).
//!
//! A cosignature is one more line in the note of a checkpoint. It counts if it is right and of a witness that is asked for;
//! of each witness the newest one counts.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};

use crate::beside;
use crate::checkpoint::Checkpoint;
use crate::files::LogError;
use crate::note::{Line, Note, NoteError, PublicKey, id, vkey};

/// Of cosignature/v1 in signed notes.
const ALGORITHM: u8 = 4;

/// Why a cosignature is not taken. Worded for who brought it.
#[derive(Debug, thiserror::Error)]
pub enum CosignError {
    #[error("it is no checkpoint that the key of this log has signed: {0}")]
    NotOurs(#[from] NoteError),
    #[error("none of the configured witnesses has cosigned it")]
    NoWitness,
    #[error("the cosignature of {witness} is not right")]
    Wrong { witness: String },
    /// The key signed a history that the log does not have.
    #[error(
        "the key of this log has signed a tree of {size} records, and the log that is here has another one: the key is used \
         elsewhere, or what was recorded is lost"
    )]
    OtherHistory { size: u64 },
    #[error(transparent)]
    Log(#[from] LogError),
}

impl CosignError {
    /// Stable, for programs and for looking up.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotOurs(_) => "evidence.not_our_checkpoint",
            Self::NoWitness => "evidence.no_witness",
            Self::Wrong { .. } => "evidence.wrong_cosignature",
            Self::OtherHistory { .. } => "evidence.other_history",
            Self::Log(error) => error.code(),
        }
    }
}

/// Whose cosignature counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    name: String,
    key: [u8; 32],
}

impl Witness {
    /// # Panics
    /// If that can be no name of a key.
    pub fn new(name: impl Into<String>, key: [u8; 32]) -> Self {
        let name = name.into();
        assert!(crate::note::is_name(&name), "{name:?} is no name for a key");
        Self { name, key }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// When this witness says, in `line`, that it saw `text`, in seconds since 1970; `None` if the line is another's.
    fn time(&self, text: &str, line: &Line<'_>) -> Option<Result<u64, CosignError>> {
        if line.name != self.name || line.id != id(&self.name, ALGORITHM, &self.key) {
            return None;
        }
        let right = || {
            let (time, signature) = line.signature.split_first_chunk::<8>()?;
            let time = u64::from_be_bytes(*time);
            let key = UnparsedPublicKey::new(&ED25519, &self.key);
            let signed = format!("cosignature/v1\ntime {time}\n{text}");
            key.verify(signed.as_bytes(), signature).ok()?;
            (time != 0 && i64::try_from(time).is_ok()).then_some(time)
        };
        Some(right().ok_or_else(|| CosignError::Wrong { witness: self.name.clone() }))
    }
}

/// The vkey of a witness.
impl fmt::Display for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey(&self.name, ALGORITHM, &self.key))
    }
}

/// The witnesses that are asked for, and how many of them must have cosigned what is given away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Witnesses {
    pub all: Vec<Witness>,
    /// Zero: none need have.
    pub quorum: usize,
}

impl Witnesses {
    /// The checkpoint in `note`, and who cosigned it: nobody, perhaps.
    ///
    /// # Errors
    /// [`CosignError::NotOurs`], and [`CosignError::Wrong`] if a cosignature of one of these witnesses is not right.
    pub fn read(&self, note: &str, key: &PublicKey) -> Result<Cosigned, CosignError> {
        let checkpoint = Checkpoint::open(note, key)?;
        let Note { text, signatures } = Note::read(note)?;
        let mut by = BTreeMap::<usize, (u64, String)>::new();
        for line in &signatures {
            for (number, witness) in self.all.iter().enumerate() {
                let Some(time) = witness.time(text, line).transpose()? else { continue };
                let newest = by.entry(number).or_default();
                if newest.0 < time {
                    *newest = (time, line.line.to_owned());
                }
            }
        }
        let own = signatures.iter().find(|line| line.name == key.name() && line.id == key.hash());
        let own = own.ok_or(NoteError::Unsigned)?.line;
        let of_a_witness =
            |line: &&str| self.all.iter().any(|witness| line.starts_with(&format!("— {} ", witness.name)));
        let beside = beside::lines(&signatures, key.name()).into_iter().filter(|line| !of_a_witness(line));
        let beside = beside.map(str::to_owned).collect();
        Ok(Cosigned { checkpoint, head: format!("{text}\n{own}\n"), beside, by })
    }

    /// Whether so many have cosigned as must, and one at least.
    pub fn suffice(&self, cosigned: &Cosigned) -> bool {
        self.quorum.max(1) <= cosigned.by.len()
    }
}

/// A checkpoint that the log has signed, and the witnesses that saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosigned {
    pub checkpoint: Checkpoint,
    /// Its note, with the signature of the log alone.
    head: String,
    /// The lines of who signs beside the log.
    beside: Vec<String>,
    /// By their numbers: when, and the line that says so.
    by: BTreeMap<usize, (u64, String)>,
}

impl Cosigned {
    /// The note, with all cosignatures.
    pub fn note(&self) -> String {
        let lines = self.beside.iter().chain(self.by.values().map(|(_, line)| line)).map(|line| format!("{line}\n"));
        std::iter::once(self.head.clone()).chain(lines).collect()
    }

    /// With these lines of who signs beside the log, and no others.
    pub(crate) fn with_beside(self, beside: Vec<String>) -> Self {
        Self { beside, ..self }
    }

    /// The witnesses that saw it, by their numbers, and when, in seconds since 1970.
    pub fn by(&self) -> impl Iterator<Item = (usize, u64)> {
        self.by.iter().map(|(number, (time, _))| (*number, *time))
    }

    /// Adds those of another note of the same checkpoint; says whether any of them was not known.
    pub(crate) fn add(&mut self, other: Self) -> bool {
        let mut new = false;
        for (number, (time, line)) in other.by {
            let known = self.by.entry(number).or_default();
            if known.0 < time {
                *known = (time, line);
                new = true;
            }
        }
        new
    }

    /// Whether all who saw the other one saw this one.
    pub(crate) fn seen_by_all_of(&self, other: &Self) -> bool {
        other.by.keys().all(|number| self.by.contains_key(number))
    }
}
