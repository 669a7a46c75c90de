//! The bearer form of tokens: the key that it is signed with, and what was verified lately.
//!
//! The key lies in a file of its own, as that of the tile log does, and is made when it is needed first. [`Bearers::key`] is the
//! one place that knows where it lies.
//!
//! # Invariants
//! 1. What is minted stands in the registry, durably, and was never used; what is verified stands there as it says.
//! 2. Neither the key nor a token is in an error, a log or a record.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bearer::{Cache, Carried, Checked, Claims, Key, PublicKey, Refusal, Registry, Use};
use door::Follower;
use kernel::{Denial, Layer, Millis, Refuse as _, Timestamp};
use tokens::{Token, Tokens};
use zeroize::Zeroizing;

/// Tokens that are remembered.
const ROOM: usize = 10_000;

/// See the module.
pub struct Bearers {
    file: PathBuf,
    key: Mutex<Option<Arc<Key>>>,
    cache: Cache,
}

impl Bearers {
    pub fn new(file: PathBuf) -> Self {
        Self { file, key: Mutex::default(), cache: Cache::new(ROOM) }
    }

    /// What anybody verifies with.
    ///
    /// # Errors
    /// The key cannot be read or made.
    pub fn public(&self) -> Result<PublicKey, Denial> {
        self.key().map(|key| key.public())
    }

    /// # Errors
    /// The key cannot be read or made.
    pub fn mint(&self, token: &Token) -> Result<String, Denial> {
        Ok(bearer::mint(&*self.key()?, &claims(token)))
    }

    /// The token of the registry that this text stands for, if it is good for that.
    ///
    /// # Errors
    /// Why not.
    pub fn verify(&self, text: &str, tokens: &Follower<Tokens>, wanted: &Use<'_>) -> Result<Arc<Carried>, Denial> {
        let registry = Issued { tokens, now: wanted.now };
        let carried = self.cache.verify(text, &self.public()?, &registry, wanted.now);
        let carried = carried.map_err(|no| match no {
            Checked::Refused(refusal) => denial(&refusal),
            Checked::Denied(denial) => denial,
        })?;
        carried.permits(wanted).map_err(|refusal| denial(&refusal))?;
        Ok(carried)
    }

    /// The key, from memory, from its file, or made.
    fn key(&self) -> Result<Arc<Key>, Denial> {
        let mut known = self.key.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*known {
            return Ok(key.clone());
        }
        let key = Arc::new(self.read_or_make().map_err(|why| self.unusable(&why.to_string()))?);
        Ok(known.insert(key).clone())
    }

    fn unusable(&self, why: &str) -> Denial {
        let reason = format!("the key of the tokens in {} cannot be used: {why}", self.file.display());
        let remedy = "make it a file of mode 0600 with the key that was made, or put that back";
        Denial::new(Layer::Availability, "bearer.key", reason, remedy)
    }

    fn read_or_make(&self) -> io::Result<Key> {
        match fs::read_to_string(&self.file).map(Zeroizing::new) {
            Ok(text) => {
                let mode = fs::metadata(&self.file)?.mode();
                if mode & 0o077 != 0 {
                    return Err(io::Error::other(format!("others may use it (mode {:04o})", mode & 0o7777)));
                }
                Key::parse(text.trim_end()).map_err(|_| io::Error::other("it is none"))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => self.make(),
            Err(error) => Err(error),
        }
    }

    /// Whole on disk before anything is signed with it.
    fn make(&self) -> io::Result<Key> {
        let key = Key::generate();
        let directory = self.file.parent().ok_or_else(|| io::Error::other("it lies nowhere"))?;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let new = self.file.with_extension("new");
        match fs::remove_file(&new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        writeln!(file, "{}", *key.secret())?;
        file.sync_all()?;
        fs::rename(&new, &self.file)?;
        File::open(directory)?.sync_all()?;
        tracing::info!(code = "bearer.key_made", key = %key.public(), "tokens are signed under a new key");
        Ok(key)
    }
}

/// What a token of the registry says when it is carried.
fn claims(token: &Token) -> Claims {
    Claims {
        id: token.id,
        kind: token.grant.kind().as_str().to_owned(),
        subject: token.subject.clone(),
        issuer: token.issuer.clone(),
        audience: token.audience.clone(),
        operation: token.operation.clone(),
        target: token.target.clone(),
        request: token.request,
        todo: token.todo,
        // To the second, as the form has it.
        starts_at: Timestamp(token.starts_at.0 / 1_000 * 1_000),
        expires_at: Timestamp(token.expires_at.0 / 1_000 * 1_000),
    }
}

struct Issued<'a> {
    tokens: &'a Follower<Tokens>,
    now: Timestamp,
}

impl Registry for Issued<'_> {
    type No = Denial;

    fn revocations(&self) -> u64 {
        self.tokens.read(Tokens::revocations)
    }

    fn stands(&self, carried: &Carried) -> Result<(), Denial> {
        let claimed = carried.claims();
        let refusal = match self.tokens.read(|tokens| tokens.show(claimed.id, self.now)) {
            Some(token) if token.revocation.is_some() => tokens::Refusal::Revoked,
            Some(token) if claims(&token) == *claimed => return Ok(()),
            // As it may be after a restore of an older backup.
            Some(_) | None => tokens::Refusal::Unknown,
        };
        Err(Denial { layer: Layer::Token, ..refusal.denial() })
    }
}

/// That the engine had no time is no verdict on the token.
fn denial(refusal: &Refusal) -> Denial {
    let denial = refusal.denial();
    match refusal {
        Refusal::Busy => Denial { layer: Layer::Availability, ..denial }.retry_after(Millis(100)),
        _ => Denial { layer: Layer::Token, ..denial },
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(name: &str) -> PathBuf {
        let home = std::env::temp_dir().join(format!("sop-bearers-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&home);
        home.join("keys/tokens")
    }

    #[test]
    fn the_key_is_made_once_and_read_again_and_is_nobody_elses() {
        let file = at("made");
        let first = Bearers::new(file.clone()).public().unwrap();
        assert_eq!(Bearers::new(file.clone()).public().unwrap(), first);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        // What was left by who ended half-way is written over.
        fs::rename(&file, file.with_extension("new")).unwrap();
        let second = Bearers::new(file.clone()).public().unwrap();
        assert_ne!(second, first);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let denied = Bearers::new(file.clone()).public().unwrap_err();
        assert_eq!((denied.code.as_str(), denied.layer), ("bearer.key", Layer::Availability));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(&file, "ed25519-private/00\n").unwrap();
        let denied = Bearers::new(file.clone()).public().unwrap_err();
        assert!(denied.code == "bearer.key" && !denied.reason.contains("ed25519-private"), "{denied:?}");
        fs::remove_dir_all(file.ancestors().nth(2).unwrap()).unwrap();
    }
}
