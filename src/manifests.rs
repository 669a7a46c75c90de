//! Who signed a backup: the line of the keystore over its manifest, and what that comes to.
//!
//! A backup rests on a checkpoint of the tile log, and that is checked wherever it is read. The line over its manifest says
//! besides that the authority made this backup of it, under this name. It is judged by the keys that are on record: those of
//! the authority that runs, or those in the backup's own records, where no other is there yet.

use crypto::{Crypto, Purpose};
use evidence::BesideKey;
use evidence::beside;
use host::Replica;
use journal::envelope::Record;
use kernel::Machine as _;
use suites::Policy;
use suites::signing::{PublicKey, Signed};
use vault::{Point, VaultError};
use workers::custodian::{signature, used};

use crate::beside::{Judged, Said, judged};

/// What may be said of a backup's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// By this key, of this suite.
    Signed { key: String, suite: String },
    /// No key was in use when it was made, or an earlier release made it.
    Unsigned,
    /// By a key that is not on record where it was looked for.
    Unchecked { key: String },
}

impl Manifest {
    /// For people.
    pub fn told(&self) -> String {
        match self {
            Self::Signed { key, suite } => format!("by {key} ({suite})"),
            Self::Unsigned => "not signed by the keystore".to_owned(),
            Self::Unchecked { key } => format!("could not be checked: {key} is not on record"),
        }
    }
}

/// What comes of the signature of a backup by that name, by the keys that are on record.
///
/// # Errors
/// [`VaultError::Signature`] if it is not right; [`VaultError::RevokedKey`] if it does not count.
pub fn judge(keys: &Crypto, policy: &Policy, point: &Point, name: &str) -> Result<Manifest, VaultError> {
    let Some((log, note)) = noted(point, name)? else { return Ok(Manifest::Unsigned) };
    let mut lines = judged(keys, policy, Purpose::BackupManifests, &log, || point.last, &note);
    let (Some(Judged { key, said }), true) = (lines.pop(), lines.is_empty()) else {
        return Err(wrong(name, "it is no line of a key beside that of the log"));
    };
    match said {
        Said::Counts { suite } => Ok(Manifest::Signed { key, suite }),
        Said::RevokedSince { since, record } => {
            Err(VaultError::RevokedKey { file: name.to_owned(), key, since, last: record })
        }
        Said::Unknown => Ok(Manifest::Unchecked { key }),
        Said::Wrong { why } => Err(wrong(name, &format!("{key}: {why}"))),
    }
}

/// The same by a key that was noted elsewhere, and by no other.
///
/// # Errors
/// As [`judge`]; [`VaultError::Unsigned`] if this key has not signed it.
pub fn judge_by(vkey: &BesideKey, policy: &Policy, point: &Point, name: &str) -> Result<Manifest, VaultError> {
    let unsigned = || VaultError::Unsigned { file: name.to_owned(), key: vkey.name().to_owned() };
    let (log, note) = noted(point, name)?.ok_or_else(unsigned)?;
    let (text, lines) = beside::read(&note, &log).map_err(|error| wrong(name, &error.to_string()))?;
    let own = |line: &beside::Signature| line.id == vkey.id() && format!("{log}/{}", line.key) == vkey.name();
    let line = lines.into_iter().find(own).ok_or_else(unsigned)?;
    let (domain, bound) = used(Purpose::BackupManifests);
    let suite = signature(vkey.suite()).ok_or_else(|| wrong(name, "this release does not know its suite"))?;
    let checked = PublicKey::read(suite, vkey.public()).and_then(|public| {
        let signed = Signed::read(&line.signature)?;
        policy.accept(domain, suite)?.verify(&public, bound, text.as_bytes(), &signed)
    });
    checked.map_err(|refusal| wrong(name, &format!("{}: {refusal}", line.key)))?;
    Ok(Manifest::Signed { key: line.key, suite: suite.to_string() })
}

/// The name of the log, and the note over the manifest.
fn noted(point: &Point, name: &str) -> Result<Option<(String, String)>, VaultError> {
    let (key, _) = point.signed()?;
    Ok(point.note(name).map(|note| (key.name().to_owned(), note)))
}

fn wrong(name: &str, what: &str) -> VaultError {
    VaultError::Signature { file: name.to_owned(), what: what.to_owned() }
}

/// The keys that a backup's own records tell of.
#[derive(Default)]
pub struct Recorded(Replica<Crypto>);

impl Recorded {
    /// Takes the next record of the backup.
    ///
    /// # Errors
    /// [`VaultError::Broken`].
    pub fn take(&mut self, record: &Record) -> Result<(), VaultError> {
        if record.stream != Crypto::NAME {
            return Ok(());
        }
        let unreadable = |error: host::Unreadable| VaultError::Broken {
            file: format!("record {}", record.sequence),
            what: error.to_string(),
        };
        self.0.apply(record).map(drop).map_err(unreadable)
    }

    /// What comes of the signature by them, or by a key that was noted elsewhere.
    ///
    /// # Errors
    /// As [`judge`], or as [`judge_by`].
    pub fn judge(&self, by: Option<&BesideKey>, point: &Point, name: &str) -> Result<Manifest, VaultError> {
        let policy = Policy::default();
        match by {
            Some(vkey) => judge_by(vkey, &policy, point, name),
            None => judge(&self.0.machine, &policy, point, name),
        }
    }
}
