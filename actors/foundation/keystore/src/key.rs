//! One key: how it is written down, sealed and opened. Pure, but for the randomness of what is made.
//!
//! ```text
//! sop key 1
//! key 0190c3a27b5e7cc398c4dc0c0c07398f.3     its id and version, as in the name of the file
//! domain system
//! purpose backup-manifest
//! suite ed25519
//! public 302a…                               SubjectPublicKeyInfo; of a cipher nothing
//! sealed 0102…                               the private part in AES-256-GCM under a data key of its own
//! root 6c1e…                                 the id of the root key that opens it
//! wrapped 0103…                              the data key, wrapped under that in AES-KW
//! check 5f0a…                                BLAKE3 of all lines above
//! ```
//!
//! The private part is bound to the lines above it, and the data key to those and to the root. Another form of key, or other
//! suites to seal it with, is another first line.

use suites::{Agreement, Cipher, Domain, Family as _, PURPOSE_MAX, Policy, Purpose, Secret, Signature, Suite, Wrap};
use suites::{agreeing, sealing, signing, wrapping};

use crate::KeystoreError;
use crate::lines::{hex, id, number, told, unhex, vouched};
use crate::root::{Root, RootId};

const TITLE: &str = "sop key 1\n";
const GONE: &str = "sop key destroyed 1\n";
const PRIVATE: Purpose = Purpose::new("keystore-private");
const DATA: Purpose = Purpose::new("keystore-data");
pub(crate) const CIPHER: Cipher = Cipher::Aes256Gcm;
pub(crate) const WRAP: Wrap = Wrap::Aes256Kw;

/// Names one version of one key, for ever. Whoever has it made chooses it, so that a retry carries the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub id: u128,
    pub version: u32,
}

/// What everybody may know of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct About {
    pub name: Name,
    pub domain: Domain,
    pub purpose: String,
    pub suite: Suite,
    /// As [`suites`] writes it; empty of a cipher.
    pub public: Vec<u8>,
}

/// A key as it is kept.
pub(crate) struct Kept {
    pub about: About,
    sealed: Vec<u8>,
    pub root: RootId,
    wrapped: Vec<u8>,
}

/// A key that is opened.
pub(crate) enum Private {
    Signs(signing::PrivateKey),
    Agrees(agreeing::PrivateKey),
    Seals(Box<sealing::Key>),
}

impl std::fmt::Display for Name {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}.{}", self.id, self.version)
    }
}

impl Name {
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (key, version) = text.split_once('.')?;
        Some(Self { id: id(key)?, version: number(version)? })
    }
}

impl About {
    fn lines(&self) -> String {
        let Self { name, domain, purpose, suite, public } = self;
        let public = hex(public);
        format!("key {name}\ndomain {domain}\npurpose {purpose}\nsuite {suite}\npublic {public}\n")
    }

    fn read(lines: [&str; 5]) -> Option<Self> {
        let [name, domain, purpose, suite, public] = lines;
        let suite = suite.strip_prefix("suite ")?;
        let purpose = purpose.strip_prefix("purpose ")?;
        let fits = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.');
        let is_purpose = (1..=PURPOSE_MAX).contains(&purpose.len()) && purpose.bytes().all(fits);
        Some(Self {
            name: Name::read(name.strip_prefix("key ")?)?,
            domain: domain.strip_prefix("domain ")?.parse().ok()?,
            purpose: is_purpose.then(|| purpose.to_owned())?,
            suite: Suite::ALL.into_iter().find(|known| known.name() == suite)?,
            public: unhex(public.strip_prefix("public ")?)?,
        })
    }

    /// What is left of a key that was destroyed, which what it signed is still checked with; if it could be read.
    pub(crate) fn buried(name: Name, about: Option<&Self>) -> String {
        vouched(&(GONE.to_owned() + &about.map_or_else(|| format!("key {name}\n"), Self::lines)))
    }

    pub(crate) fn exhumed(text: &str) -> Option<(Name, Option<Self>)> {
        let lines: Vec<_> = told(text)?.strip_prefix(GONE)?.strip_suffix('\n')?.split('\n').collect();
        let (name, about) = match lines[..] {
            [name] => (Name::read(name.strip_prefix("key ")?)?, None),
            _ => Self::read(lines.try_into().ok()?).map(|about| (about.name, Some(about)))?,
        };
        (Self::buried(name, about.as_ref()) == text).then_some((name, about))
    }
}

impl Kept {
    pub fn new(policy: &Policy, root: &Root, about: About, private: &Private) -> Result<Self, KeystoreError> {
        let allowed = policy.allow(Domain::System, CIPHER)?;
        let data = allowed.generate()?;
        let sealed = allowed.seal(&data, PRIVATE, bound(&about).as_bytes(), private.secret().expose())?;
        let mut kept = Self { about, sealed, root: root.id, wrapped: Vec::new() };
        kept.wrap(policy, root, data.secret())?;
        Ok(kept)
    }

    /// The same key under another root: what is sealed stays as it is.
    pub fn moved(mut self, policy: &Policy, from: &Root, to: &Root) -> Result<Self, KeystoreError> {
        let data = self.unwrap(policy, from)?;
        self.root = to.id;
        self.wrap(policy, to, &data)?;
        Ok(self)
    }

    pub fn open(&self, policy: &Policy, root: &Root) -> Result<Private, KeystoreError> {
        let damaged = || KeystoreError::Unusable { name: self.about.name };
        let accepted = policy.accept(Domain::System, CIPHER)?;
        let data = sealing::Key::read(CIPHER, self.unwrap(policy, root)?).map_err(|_| damaged())?;
        let secret = accepted.open(&data, PRIVATE, bound(&self.about).as_bytes(), &self.sealed);
        let private = Private::read(self.about.suite, secret.map_err(|_| damaged())?).ok_or_else(damaged)?;
        // Bound to it, and yet: nobody is to find out the hard way.
        if private.public() == self.about.public { Ok(private) } else { Err(damaged()) }
    }

    fn wrap(&mut self, policy: &Policy, root: &Root, data: &Secret) -> Result<(), KeystoreError> {
        self.wrapped =
            policy.allow(Domain::System, WRAP)?.wrap(&root.key, DATA, self.wrapped_about().as_bytes(), data)?;
        Ok(())
    }

    fn unwrap(&self, policy: &Policy, root: &Root) -> Result<Secret, KeystoreError> {
        let accepted = policy.accept(Domain::System, WRAP)?;
        let data = accepted.unwrap(&root.key, DATA, self.wrapped_about().as_bytes(), &self.wrapped);
        data.map_err(|_| KeystoreError::Unusable { name: self.about.name })
    }

    fn wrapped_about(&self) -> String {
        format!("{}root {}\n", bound(&self.about), self.root)
    }

    pub fn written(&self) -> String {
        let (bound, sealed, wrapped) = (bound(&self.about), hex(&self.sealed), hex(&self.wrapped));
        vouched(&format!("{bound}sealed {sealed}\nroot {}\nwrapped {wrapped}\n", self.root))
    }

    /// `None` if a bit of it is not as it was written.
    pub fn read(text: &str) -> Option<Self> {
        let lines: Vec<_> = told(text)?.strip_prefix(TITLE)?.strip_suffix('\n')?.split('\n').collect();
        let (about, rest) = lines.split_first_chunk::<5>()?;
        let [sealed, root, wrapped] = *rest else { return None };
        let kept = Self {
            about: About::read(*about)?,
            sealed: unhex(sealed.strip_prefix("sealed ")?)?,
            root: RootId(id(root.strip_prefix("root ")?)?),
            wrapped: unhex(wrapped.strip_prefix("wrapped ")?)?,
        };
        // In the one form that it has.
        (kept.written() == text).then_some(kept)
    }
}

fn bound(about: &About) -> String {
    TITLE.to_owned() + &about.lines()
}

impl Private {
    /// A new one; `None` if it is no suite that has keys of its own.
    pub fn generate(policy: &Policy, domain: Domain, suite: Suite) -> Result<Option<Self>, suites::Refusal> {
        Ok(Some(match suite {
            Suite::Signature(suite) => Self::Signs(policy.allow(domain, suite)?.generate()?),
            Suite::Agreement(suite) => Self::Agrees(policy.allow(domain, suite)?.generate()?),
            Suite::Cipher(suite) => Self::Seals(Box::new(policy.allow(domain, suite)?.generate()?)),
            Suite::Hash(_) | Suite::Wrap(_) => return Ok(None),
        }))
    }

    fn read(suite: Suite, secret: Secret) -> Option<Self> {
        if let Some(suite) = Signature::of(suite) {
            return signing::PrivateKey::read(suite, secret).ok().map(Self::Signs);
        }
        if let Some(suite) = Agreement::of(suite) {
            return agreeing::PrivateKey::read(suite, secret).ok().map(Self::Agrees);
        }
        sealing::Key::read(Cipher::of(suite)?, secret).ok().map(Box::new).map(Self::Seals)
    }

    fn secret(&self) -> &Secret {
        match self {
            Self::Signs(key) => key.secret(),
            Self::Agrees(key) => key.secret(),
            Self::Seals(key) => key.secret(),
        }
    }

    pub fn suite(&self) -> Suite {
        match self {
            Self::Signs(key) => key.suite().into(),
            Self::Agrees(key) => key.suite().into(),
            Self::Seals(key) => key.suite().into(),
        }
    }

    pub fn public(&self) -> &[u8] {
        match self {
            Self::Signs(key) => key.public().bytes(),
            Self::Agrees(key) => key.public().bytes(),
            Self::Seals(_) => &[],
        }
    }
}

/// The root key that wraps data keys, of a secret of 32 bytes.
pub(crate) fn root_key(secret: Secret) -> Result<wrapping::Key, suites::Refusal> {
    wrapping::Key::read(WRAP, secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIAL: Purpose = Purpose::new("trial");

    /// Whatever the suite, no eight bytes of the private part are in the file, in digits or as they are.
    #[test]
    fn nothing_private_is_written() {
        let policy = Policy::default();
        let root = Root { id: RootId(1), key: root_key(Secret::new(vec![7; 32])).unwrap() };
        for suite in Suite::ALL {
            let Ok(Some(private)) = Private::generate(&policy, Domain::Trust, suite) else { continue };
            let name = Name { id: 1, version: 1 };
            let public = private.public().to_vec();
            let about = About { name, domain: Domain::Trust, purpose: TRIAL.name().to_owned(), suite, public };
            let kept = Kept::new(&policy, &root, about, &private).unwrap();
            let text = kept.written();
            let secret = private.secret().expose();
            // PKCS#8 and the key of ML-KEM have the public part in them.
            let parts = secret.chunks_exact(8).filter(|part| !hex(&kept.about.public).contains(&hex(part)));
            let mut tried = 0;
            for part in parts {
                assert!(
                    !text.contains(&hex(part)) && !text.as_bytes().windows(8).any(|bytes| bytes == part),
                    "{suite}"
                );
                tried += 1;
            }
            assert!(4 <= tried, "{suite}");
            assert!(kept.open(&policy, &root).unwrap().secret() == private.secret(), "{suite}");
            assert!(text.len() < 16_384, "{suite}: as long as a file may be");
        }
    }
}
