//! The keystore: private keys on disk, sealed, and the root key that opens them.
//!
//! It decides nothing about which key is in use. It carries out what was decided (generate, destroy, move to another root key)
//! and answers by a key's id and version (sign, open), under the policy of [`suites`], in the domain and for the purpose that
//! the key was made for.
//!
//! ```text
//! root                    how the root key is told from others ([`Header`](root)); nothing of the key itself
//! <id>.<version>.key      a key: its public part, and the private one sealed ([`key`])
//! <id>.<version>.gone     says that the key was destroyed, so that it is known, and never used, if it comes back
//! new                     what was being written when it ended
//! ```
//!
//! Without the root key the store is sealed: it lists its keys and destroys them, and no more.
//!
//! # Invariants
//! 1. A private part is on disk only sealed, under a data key of its own that is wrapped under the root key; a root key is on
//!    disk only while keys move away from it, wrapped under the next.
//! 2. A key that was generated is on disk, synced, before anybody hears of it. A name is one key for ever.
//! 3. At every step of a rotation each key is opened by the root key in use, directly or by the one before; which of the two the
//!    next start finds in use is settled by one rename.
//! 4. Killed at any step, each of these is carried on by the same call, or by the next [`Keystore::open`].
//! 5. A key that was destroyed and is put back opens nothing, and is destroyed again.
//! 6. Nothing is sealed, opened or signed with a root key, or a key, that the bytes on disk do not vouch for: a changed bit is
//!    refused by name.
//! 7. No secret is in an error, in the form that `Debug` prints, in a log, or in memory that was given back.
//! 8. A private part is seen outside only by who borrows it, and only of the purposes whose formats are others'.
//!
//! Not covered, and the binary's to cover: memory that is swapped out or dumped, and the environment's own block, in which a
//! passphrase stays. Overwriting a file is no promise on disks that write elsewhere; what makes old copies worthless is a
//! rotation of the root key, and the end of the old one. How much a cipher's key has sealed is counted from when it is opened.

mod files;
mod key;
mod lines;
mod refusal;
mod root;
mod shares;
mod source;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use suites::signing::Signed;
use suites::{Domain, Policy, Purpose, Secret, Suite, agreeing};

use files::Files;
use key::{Kept, Private};
use root::{Header, Roots};

pub use key::{About, Name};
pub use refusal::KeystoreError;
pub use root::{Cost, Given, NewRoot, PASSPHRASE_MAX, PASSPHRASE_MIN, RootId};
pub use shares::{SHARES_MAX, Share};
pub use source::{NoSource, Source};

const ROOT: &str = "root";

/// The purposes of keys that sign what formats of others say, in the way that those say: Biscuit and X.509. Their signatures
/// name no purpose, so such a key has to have none besides.
const LENT: [&str; 2] = ["token-root", "tls-authority"];

/// The keys of one directory. Clones are the same store.
#[derive(Clone)]
pub struct Keystore {
    inner: Arc<Inner>,
}

struct Inner {
    policy: Policy,
    /// Held while files are read and changed, so that one at a time does.
    state: Mutex<State>,
    /// Keys that were used. Never held while a disk is waited for.
    opened: RwLock<BTreeMap<Name, Arc<Opened>>>,
}

struct State {
    files: Files,
    header: Option<Header>,
    /// `None` while it is sealed.
    roots: Option<Roots>,
    /// Of a rotation: keys that may be under the root before.
    to_move: Option<VecDeque<Name>>,
}

struct Opened {
    about: About,
    private: Private,
}

/// How the store stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It has no root key yet.
    New,
    Sealed {
        root: RootId,
    },
    /// `rotating` as long as keys may be under the root key before.
    Unsealed {
        root: RootId,
        rotating: bool,
    },
}

/// How a key stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    Kept {
        about: About,
        root: RootId,
    },
    /// What is still known of it, if it could be read when it was destroyed.
    Destroyed {
        about: Option<About>,
    },
    Damaged,
}

/// How far a rotation is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// So many keys were moved now.
    pub moved: usize,
    /// So many are still to be looked at.
    pub left: usize,
    /// These cannot be moved: put them back from a copy, or destroy them. The root before stays known until then.
    pub stuck: Vec<Name>,
}

impl Keystore {
    /// Opens the store of a directory that may not be there yet. What was destroyed and is back, or half destroyed, is destroyed.
    ///
    /// # Errors
    /// [`KeystoreError::Io`], [`KeystoreError::Damaged`], [`KeystoreError::RootLost`]; [`KeystoreError::OpenDirectory`] and
    /// [`KeystoreError::NotOurs`] of a directory that others get at.
    pub fn open(directory: &Path, policy: Policy) -> Result<Self, KeystoreError> {
        Self::open_while(directory, policy, |_| Ok(()))
    }

    /// As [`Keystore::open`]; this and all that is done with it goes on as long as `goes_on` says so, which is asked before each
    /// step that changes a file.
    ///
    /// # Errors
    /// As [`Keystore::open`].
    pub fn open_while(
        directory: &Path,
        policy: Policy,
        goes_on: impl Fn(&'static str) -> Result<(), KeystoreError> + Send + Sync + 'static,
    ) -> Result<Self, KeystoreError> {
        let files = Files::new(directory, Box::new(goes_on));
        files.kept_from_others()?;
        files.destroy(files::NEW)?;
        let header = files.header()?;
        for name in files.names()? {
            if !files.exists(&file(name))? {
                continue;
            }
            if header.is_none() {
                return Err(KeystoreError::RootLost);
            }
            if files.exists(&gone(name))? {
                tracing::warn!(code = "keystore.brought_back", key = %name, "a key that was destroyed is there, and is destroyed again");
                files.destroy(&file(name))?;
            }
        }
        let state = Mutex::new(State { files, header, roots: None, to_move: None });
        Ok(Self { inner: Arc::new(Inner { policy, state, opened: RwLock::default() }) })
    }

    pub fn standing(&self) -> Standing {
        let state = self.state();
        match (&state.header, &state.roots) {
            (None, _) => Standing::New,
            (Some(header), None) => Standing::Sealed { root: header.id },
            (Some(header), Some(roots)) => Standing::Unsealed { root: header.id, rotating: roots.before.is_some() },
        }
    }

    /// The first root key comes into use, and the store is unsealed.
    ///
    /// # Errors
    /// [`KeystoreError::RootThere`], [`KeystoreError::Io`].
    pub fn initialise(&self, new: NewRoot) -> Result<RootId, KeystoreError> {
        let mut state = self.state();
        if state.header.is_some() {
            return Err(KeystoreError::RootThere);
        }
        let (header, current) = Header::new(&self.inner.policy, new, None)?;
        state.write_header(header)?;
        let id = current.id;
        state.roots = Some(Roots { current, before: None });
        Ok(id)
    }

    /// # Errors
    /// [`KeystoreError::NoRoot`]; [`KeystoreError::WrongRoot`] and what else can be wrong with what is given. The store is as it
    /// was then.
    pub fn unseal(&self, given: &Given) -> Result<(), KeystoreError> {
        let mut state = self.state();
        let header = state.header.as_ref().ok_or(KeystoreError::NoRoot)?;
        let roots = header.open(&self.inner.policy, given)?;
        state.roots = Some(roots);
        Ok(())
    }

    /// Forgets the root key and every key. What is being signed or opened meanwhile is done still.
    pub fn seal_up(&self) {
        let mut state = self.state();
        state.roots = None;
        state.to_move = None;
        self.inner.opened.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// All keys that are or were here, by their names. The store may be sealed, and public parts are then as trusted as the disk.
    ///
    /// # Errors
    /// [`KeystoreError::Io`].
    pub fn keys(&self) -> Result<BTreeMap<Name, Keeping>, KeystoreError> {
        let state = self.state();
        let names = state.files.names()?;
        let mut keys = BTreeMap::new();
        for name in names {
            let keeping = match state.files.kept(name) {
                Ok(Kept { about, root, .. }) => Keeping::Kept { about, root },
                Err(KeystoreError::Destroyed { .. }) => Keeping::Destroyed { about: state.files.buried(name)? },
                Err(KeystoreError::Damaged { .. }) => Keeping::Damaged,
                Err(error) => return Err(error),
            };
            keys.insert(name, keeping);
        }
        Ok(keys)
    }

    /// What may be known of one key.
    ///
    /// # Errors
    /// [`KeystoreError::NoKey`], [`KeystoreError::Destroyed`], [`KeystoreError::Damaged`], [`KeystoreError::Io`].
    pub fn about(&self, name: Name) -> Result<About, KeystoreError> {
        if let Some(opened) = self.opened(name) {
            return Ok(opened.about.clone());
        }
        Ok(self.state().files.kept(name)?.about)
    }

    /// Makes a key. The same again makes no other one.
    ///
    /// # Errors
    /// [`KeystoreError::Taken`], [`KeystoreError::Destroyed`], [`KeystoreError::Sealed`], [`KeystoreError::NoKeys`],
    /// [`KeystoreError::Suites`], [`KeystoreError::Io`]. After the last it may be there, and the same call says so.
    pub fn generate(&self, name: Name, domain: Domain, purpose: Purpose, suite: Suite) -> Result<About, KeystoreError> {
        let policy = &self.inner.policy;
        let is_it =
            |about: &About| (about.domain, about.purpose.as_str(), about.suite) == (domain, purpose.name(), suite);
        let private = || Private::generate(policy, domain, suite)?.ok_or(KeystoreError::NoKeys { suite });
        self.keep(name, domain, purpose, is_it, private)
    }

    /// Takes a key that was made elsewhere, and signs. The same again is the same key; the secret is the caller's to overwrite
    /// where he has it.
    ///
    /// # Errors
    /// As [`Keystore::generate`]; [`KeystoreError::Taken`] also if another key has the name.
    pub fn adopt(
        &self,
        name: Name,
        domain: Domain,
        purpose: Purpose,
        private: suites::signing::PrivateKey,
    ) -> Result<About, KeystoreError> {
        let (suite, public) = (private.suite(), private.public().bytes().to_vec());
        self.inner.policy.allow(domain, suite)?;
        let is_it = |about: &About| about.domain == domain && about.purpose == purpose.name() && about.public == public;
        self.keep(name, domain, purpose, is_it, || Ok(Private::Signs(private)))
    }

    /// Keeps the private part that `private` gives, unless there is a key by that name, which `is_it` then has to know.
    fn keep(
        &self,
        name: Name,
        domain: Domain,
        purpose: Purpose,
        is_it: impl FnOnce(&About) -> bool,
        private: impl FnOnce() -> Result<Private, KeystoreError>,
    ) -> Result<About, KeystoreError> {
        let state = self.state();
        match state.files.kept(name) {
            Ok(Kept { about, .. }) if is_it(&about) => {
                // The first one may have ended before this.
                state.files.sync()?;
                return Ok(about);
            }
            Ok(_) => return Err(KeystoreError::Taken { name }),
            Err(KeystoreError::NoKey { .. }) => {}
            Err(error) => return Err(error),
        }
        let roots = state.roots()?;
        let private = private()?;
        let (suite, public) = (private.suite(), private.public().to_vec());
        let about = About { name, domain, purpose: purpose.name().to_owned(), suite, public };
        let kept = Kept::new(&self.inner.policy, &roots.current, about.clone(), &private)?;
        state.files.write(&file(name), &kept.written())?;
        Ok(about)
    }

    /// Ends a key for ever. The same again ends nothing more; a key that never was is known to be destroyed, too, so that it is
    /// not when an old copy brings it.
    ///
    /// # Errors
    /// [`KeystoreError::Io`]; it may be half done, nothing uses the key any more, and the same call carries on.
    pub fn destroy(&self, name: Name) -> Result<(), KeystoreError> {
        let state = self.state();
        self.inner.opened.write().unwrap_or_else(PoisonError::into_inner).remove(&name);
        if !state.files.exists(&gone(name))? {
            let about = match state.files.kept(name) {
                Ok(kept) => Some(kept.about),
                Err(KeystoreError::Io { path, why }) => return Err(KeystoreError::Io { path, why }),
                Err(_) => None,
            };
            // Over the key itself, if it lies there because it could not be moved.
            state.files.write(&gone(name), &About::buried(name, about.as_ref()))?;
        }
        state.files.destroy(&file(name))
    }

    /// Another root key comes into use, from now on for whoever unseals the store. The keys follow by [`Keystore::rewrap`].
    ///
    /// # Errors
    /// [`KeystoreError::Sealed`], [`KeystoreError::Rotating`], [`KeystoreError::SameRoot`]; [`KeystoreError::Io`], after which
    /// the store is sealed: which root key is in use shows when it is opened again.
    pub fn rotate_root(&self, new: NewRoot) -> Result<RootId, KeystoreError> {
        let mut state = self.state();
        let roots = state.roots()?;
        if roots.before.is_some() {
            return Err(KeystoreError::Rotating);
        }
        if new.is(&roots.current) {
            return Err(KeystoreError::SameRoot);
        }
        let (header, current) = Header::new(&self.inner.policy, new, Some(&roots.current))?;
        state.write_header(header)?;
        let id = current.id;
        let before = state.roots.take().map(|roots| roots.current);
        state.roots = Some(Roots { current, before });
        state.to_move = None;
        Ok(id)
    }

    /// Moves keys to the root key in use, `at_most` so many now. With the last one the root key before is forgotten.
    ///
    /// # Errors
    /// [`KeystoreError::Sealed`], [`KeystoreError::Io`], [`KeystoreError::Suites`]; the same call carries on.
    pub fn rewrap(&self, at_most: usize) -> Result<Moved, KeystoreError> {
        let mut state = self.state();
        state.rewrap(&self.inner.policy, at_most)
    }

    /// Signs `message` with a key, for the purpose that it has.
    ///
    /// # Errors
    /// [`KeystoreError`] if the key cannot be used, or not for this.
    pub fn sign(&self, name: Name, purpose: Purpose, message: &[u8]) -> Result<Signed, KeystoreError> {
        let opened = self.usable(name, purpose)?;
        self.signed(&opened, purpose, message)
    }

    /// As [`Keystore::sign`], with a key that is at hand; `None` if it is not, and has to be made [`Keystore::ready`] first. It
    /// waits for no disk, nor for who does.
    ///
    /// # Errors
    /// As [`Keystore::sign`].
    pub fn sign_at_hand(&self, name: Name, purpose: Purpose, message: &[u8]) -> Option<Result<Signed, KeystoreError>> {
        let opened = self.opened(name)?;
        Some(self.signed(&opened, purpose, message))
    }

    /// Has a key at hand, so that its next use waits for nothing.
    ///
    /// # Errors
    /// As [`Keystore::sign`].
    pub fn ready(&self, name: Name) -> Result<(), KeystoreError> {
        if self.opened(name).is_some() { Ok(()) } else { self.load(name).map(drop) }
    }

    /// Whether a key is at hand.
    pub fn is_at_hand(&self, name: Name) -> bool {
        self.opened(name).is_some()
    }

    /// As [`Keystore::sign`], the text of a signed note. Its bytes say nothing of the purpose, which only the keystore keeps to.
    ///
    /// # Errors
    /// As [`Keystore::sign`].
    pub fn sign_note(&self, name: Name, purpose: Purpose, text: &str) -> Result<Vec<u8>, KeystoreError> {
        let opened = self.usable(name, purpose)?;
        let Private::Signs(key) = &opened.private else { return opened.cannot() };
        Ok(self.inner.policy.allow(opened.about.domain, key.suite())?.sign_note(key, text)?)
    }

    /// Gives `to` the private part of a key, as [`suites::signing::PrivateKey::secret`] has it, for a format of others that signs in
    /// its own way: a key for one of their purposes only, and of a suite that the domain may make. Whoever borrows it overwrites
    /// what he copies.
    ///
    /// # Errors
    /// As [`Keystore::sign`]; [`KeystoreError::NotLent`].
    pub fn lend<T>(&self, name: Name, purpose: Purpose, to: impl FnOnce(&Secret) -> T) -> Result<T, KeystoreError> {
        if !LENT.contains(&purpose.name()) {
            return Err(KeystoreError::NotLent { name });
        }
        let opened = self.usable(name, purpose)?;
        let Private::Signs(key) = &opened.private else { return opened.cannot() };
        self.inner.policy.allow(opened.about.domain, key.suite())?;
        Ok(to(key.secret()))
    }

    /// Seals `text` with the key of a cipher, `about` something that is named again to open it. With an `occasion`, the same
    /// again is the same bytes.
    ///
    /// # Errors
    /// As [`Keystore::sign`].
    pub fn seal(
        &self,
        name: Name,
        purpose: Purpose,
        about: &[u8],
        occasion: Option<&[u8]>,
        text: &[u8],
    ) -> Result<Vec<u8>, KeystoreError> {
        let opened = self.usable(name, purpose)?;
        let Private::Seals(key) = &opened.private else { return opened.cannot() };
        let allowed = self.inner.policy.allow(opened.about.domain, key.suite())?;
        Ok(match occasion {
            None => allowed.seal(key, purpose, about, text)?,
            Some(occasion) => allowed.seal_again(key, purpose, about, occasion, text)?,
        })
    }

    /// What was sealed with the key of a cipher.
    ///
    /// # Errors
    /// As [`Keystore::sign`]; [`suites::Refusal::NotOpened`].
    pub fn unlock(&self, name: Name, purpose: Purpose, about: &[u8], sealed: &[u8]) -> Result<Secret, KeystoreError> {
        let opened = self.usable(name, purpose)?;
        let Private::Seals(key) = &opened.private else { return opened.cannot() };
        Ok(self.inner.policy.accept(opened.about.domain, key.suite())?.open(key, purpose, about, sealed)?)
    }

    /// The secret that a capsule carries to the holder of a key.
    ///
    /// # Errors
    /// As [`Keystore::sign`]; [`suites::Refusal::NotOpened`].
    pub fn decapsulate(&self, name: Name, purpose: Purpose, capsule: &[u8]) -> Result<Secret, KeystoreError> {
        let opened = self.usable(name, purpose)?;
        let Private::Agrees(key) = &opened.private else { return opened.cannot() };
        Ok(self.inner.policy.accept(opened.about.domain, key.suite())?.decapsulate(key, purpose, capsule)?)
    }

    /// The secret that a key has with the holder of another.
    ///
    /// # Errors
    /// As [`Keystore::sign`]; [`suites::Refusal::NoSuchUse`].
    pub fn agree(&self, name: Name, purpose: Purpose, other: &agreeing::PublicKey) -> Result<Secret, KeystoreError> {
        let opened = self.usable(name, purpose)?;
        let Private::Agrees(key) = &opened.private else { return opened.cannot() };
        Ok(self.inner.policy.allow(opened.about.domain, key.suite())?.agree(key, other, purpose)?)
    }

    fn signed(&self, opened: &Opened, purpose: Purpose, message: &[u8]) -> Result<Signed, KeystoreError> {
        opened.is_for(purpose)?;
        let Private::Signs(key) = &opened.private else { return opened.cannot() };
        Ok(self.inner.policy.allow(opened.about.domain, key.suite())?.sign(key, purpose, message)?)
    }

    /// The key, opened, if it is for this purpose.
    fn usable(&self, name: Name, purpose: Purpose) -> Result<Arc<Opened>, KeystoreError> {
        let opened = match self.opened(name) {
            Some(opened) => opened,
            None => self.load(name)?,
        };
        opened.is_for(purpose)?;
        Ok(opened)
    }

    fn opened(&self, name: Name) -> Option<Arc<Opened>> {
        self.inner.opened.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }

    fn load(&self, name: Name) -> Result<Arc<Opened>, KeystoreError> {
        // Held until it is remembered, so that none is that was destroyed, or sealed up, meanwhile.
        let state = self.state();
        let kept = state.files.kept(name)?;
        let other_root = KeystoreError::OtherRoot { name, root: kept.root };
        let root = state.roots()?.of(kept.root).ok_or(other_root)?;
        let private = kept.open(&self.inner.policy, root)?;
        let opened = Arc::new(Opened { about: kept.about, private });
        self.inner.opened.write().unwrap_or_else(PoisonError::into_inner).insert(name, opened.clone());
        Ok(opened)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Opened {
    fn is_for(&self, purpose: Purpose) -> Result<(), KeystoreError> {
        if self.about.purpose == purpose.name() {
            Ok(())
        } else {
            Err(KeystoreError::OtherPurpose { name: self.about.name })
        }
    }

    fn cannot<T>(&self) -> Result<T, KeystoreError> {
        Err(KeystoreError::OtherUse { name: self.about.name, suite: self.about.suite })
    }
}

impl State {
    fn roots(&self) -> Result<&Roots, KeystoreError> {
        match (&self.header, &self.roots) {
            (None, _) => Err(KeystoreError::NoRoot),
            (Some(_), None) => Err(KeystoreError::Sealed),
            (Some(_), Some(roots)) => Ok(roots),
        }
    }

    /// What fails may have been done: then the files say what is in use, and nothing here does.
    fn write_header(&mut self, header: Header) -> Result<(), KeystoreError> {
        let written = self.files.write(ROOT, &header.written());
        self.header = Some(header);
        if written.is_err() {
            (self.roots, self.to_move) = (None, None);
            self.header = self.files.header()?;
        }
        written
    }

    fn rewrap(&mut self, policy: &Policy, at_most: usize) -> Result<Moved, KeystoreError> {
        let mut done = Moved::default();
        let to_move = self.to_move.take();
        let Roots { current, before: Some(before) } = self.roots()? else { return Ok(done) };
        let mut to_move = match to_move {
            Some(to_move) => to_move,
            None => self.files.names()?.into(),
        };
        while done.moved < at_most
            && let Some(name) = to_move.front().copied()
        {
            match self.files.kept(name) {
                Ok(kept) if kept.root == before.id => match kept.moved(policy, before, current) {
                    Ok(kept) => {
                        self.files.put(&file(name), &kept.written())?;
                        done.moved += 1;
                    }
                    // Not of this root, whatever it says. Found again below.
                    Err(KeystoreError::Unusable { .. }) => {}
                    Err(error) => return Err(error),
                },
                Err(KeystoreError::Io { path, why }) => return Err(KeystoreError::Io { path, why }),
                // There already, of another root, destroyed or damaged.
                Ok(_) | Err(_) => {}
            }
            to_move.pop_front();
        }
        done.left = to_move.len();
        // One for all of them: until it is done the root before is kept, and a key that a power cut puts back is under it. The last
        // ones that were moved may be of a process that was killed before this.
        if done.moved != 0 || done.left == 0 {
            self.files.sync()?;
        }
        if done.left != 0 {
            self.to_move = Some(to_move);
            return Ok(done);
        }
        for name in self.files.names()? {
            match self.files.kept(name) {
                Ok(kept) if kept.root == before.id => done.stuck.push(name),
                Err(KeystoreError::Damaged { .. }) => done.stuck.push(name),
                Err(KeystoreError::Io { path, why }) => return Err(KeystoreError::Io { path, why }),
                Ok(_) | Err(_) => {}
            }
        }
        if done.stuck.is_empty() {
            let header = Header::alone(self.header.as_ref().expect("it is unsealed"), policy, current)?;
            self.write_header(header)?;
            if let Some(roots) = &mut self.roots {
                roots.before = None;
            }
        }
        Ok(done)
    }
}

fn file(name: Name) -> String {
    format!("{name}.key")
}

fn gone(name: Name) -> String {
    format!("{name}.gone")
}

impl std::fmt::Debug for Keystore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Keystore({:?})", self.standing())
    }
}
