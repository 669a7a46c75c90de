//! Signed notes (C2SP signed-note) with Ed25519: a text, and the names and signatures of those who stand for it.
//!
//! ```text
//! what is signed, in lines
//!
//! — name base64(key hash [4], signature [64])
//! ```

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Of Ed25519 in signed notes.
const ALGORITHM: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";

/// Why a note, or a key, is not to be believed. Worded for the auditor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("it is no signed note")]
    Malformed,
    #[error("it has no signature of this key")]
    Unsigned,
    #[error("its signature is not right")]
    Forged,
    #[error("it is no Ed25519 key of signed notes")]
    Key,
}

/// Whose signatures can be checked. Its text is the *vkey* that every verifier of signed notes takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: [u8; 32],
}

/// Who can sign.
pub struct Key {
    public: PublicKey,
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
}

/// Whether this can be the name of a key, and so of its log.
pub fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

impl PublicKey {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// By which a signature says whose it is.
    pub fn hash(&self) -> [u8; 4] {
        id(&self.name, ALGORITHM, &self.key)
    }

    /// The key that a vkey is.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(vkey: &str) -> Result<Self, NoteError> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(hash), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let key = STANDARD.decode(key).map_err(|_| NoteError::Key)?;
        let Some((&ALGORITHM, key)) = key.split_first() else { return Err(NoteError::Key) };
        let key = key.try_into().map_err(|_| NoteError::Key)?;
        let public = Self { name: name.to_owned(), key };
        if is_name(name) && hex(public.hash()) == hash { Ok(public) } else { Err(NoteError::Key) }
    }

    /// The note of `text`, which ends with its last line, by what the private half signed.
    ///
    /// # Panics
    /// If it does not, or has an empty line at its end.
    pub fn note(&self, text: &str, signature: &[u8]) -> String {
        assert!(text.ends_with('\n') && !text.contains("\n\n"), "a signed text is of whole lines, none of them empty");
        let signature = STANDARD.encode([&self.hash()[..], signature].concat());
        format!("{text}\n— {} {signature}\n", self.name)
    }

    /// The 32 bytes of Ed25519.
    pub fn bare(&self) -> &[u8; 32] {
        &self.key
    }

    /// The text of `note`, if this key has signed it. Signatures of others are no harm.
    ///
    /// # Errors
    /// [`NoteError`].
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let Note { text, signatures } = Note::read(note)?;
        let mut signed = false;
        for Line { name, id, signature, .. } in signatures {
            if name == self.name && id == self.hash() {
                let key = UnparsedPublicKey::new(&ED25519, &self.key);
                key.verify(text.as_bytes(), &signature).map_err(|_| NoteError::Forged)?;
                signed = true;
            }
        }
        if signed { Ok(text) } else { Err(NoteError::Unsigned) }
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&vkey(&self.name, ALGORITHM, &self.key))
    }
}

impl Key {
    /// A new key, named by `name` after its public half.
    ///
    /// # Errors
    /// If the system gives no randomness.
    pub fn generate(name: impl FnOnce(&[u8; 32]) -> String) -> Result<Self, getrandom::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)?;
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).expect("every seed makes a key");
        let key = pair.public_key().as_ref().try_into().expect("a public key has 32 bytes");
        let name = name(&key);
        assert!(is_name(&name), "{name:?} is no name for a key");
        Ok(Self { public: PublicKey { name, key }, seed, pair })
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The key that a text of [`Key::secret`] is.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(secret: &str) -> Result<Self, NoteError> {
        let mut parts = secret.strip_prefix(PRIVATE).ok_or(NoteError::Key)?.splitn(3, '+');
        let (Some(name), Some(hash), Some(seed)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NoteError::Key);
        };
        let seed = Zeroizing::new(STANDARD.decode(seed).map_err(|_| NoteError::Key)?);
        let Some((&ALGORITHM, seed)) = seed.split_first() else { return Err(NoteError::Key) };
        let seed = Zeroizing::new(<[u8; 32]>::try_from(seed).map_err(|_| NoteError::Key)?);
        let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| NoteError::Key)?;
        let key = pair.public_key().as_ref().try_into().map_err(|_| NoteError::Key)?;
        let public = PublicKey { name: name.to_owned(), key };
        if is_name(name) && hex(public.hash()) == hash { Ok(Self { public, seed, pair }) } else { Err(NoteError::Key) }
    }

    /// The text form of the secret, as the tools of signed notes have it.
    pub fn secret(&self) -> Zeroizing<String> {
        let PublicKey { name, .. } = &self.public;
        let seed = Zeroizing::new(coded(ALGORITHM, &*self.seed));
        Zeroizing::new(format!("{PRIVATE}{name}+{}+{}", hex(self.public.hash()), *seed))
    }

    /// Of which the key is made. Whoever copies it overwrites the copy.
    pub fn seed(&self) -> &[u8; 32] {
        &self.seed
    }

    /// The note of `text`, which ends with its last line.
    ///
    /// # Panics
    /// If it does not, or has an empty line at its end.
    pub fn sign(&self, text: &str) -> String {
        self.public.note(text, self.pair.sign(text.as_bytes()).as_ref())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.public)
    }
}

/// A note, taken apart.
pub(crate) struct Note<'a> {
    pub text: &'a str,
    pub signatures: Vec<Line<'a>>,
}

/// One of its signatures, whoever's it is.
pub(crate) struct Line<'a> {
    pub line: &'a str,
    pub name: &'a str,
    pub id: [u8; 4],
    pub signature: Vec<u8>,
}

impl<'a> Note<'a> {
    pub fn read(note: &'a str) -> Result<Self, NoteError> {
        if note.contains(|c: char| c.is_control() && c != '\n') {
            return Err(NoteError::Malformed);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed)?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        Ok(Self { text, signatures: Self::lines(signatures)? })
    }

    /// The signatures alone, as whoever is asked for some gives them.
    pub fn lines(signatures: &'a str) -> Result<Vec<Line<'a>>, NoteError> {
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::Malformed)?;
        signatures.split('\n').map(|line| Line::read(line).ok_or(NoteError::Malformed)).collect()
    }
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
        let signature = STANDARD.decode(signature).ok()?;
        let (id, signature) = signature.split_first_chunk::<4>()?;
        (is_name(name) && !signature.is_empty()).then(|| Self { line, name, id: *id, signature: signature.to_vec() })
    }
}

/// By which a signature says whose it is, and by which algorithm.
pub(crate) fn id(name: &str, algorithm: u8, key: &[u8]) -> [u8; 4] {
    let hashed = [name.as_bytes(), b"\n", &[algorithm], key].concat();
    *digest(&SHA256, &hashed).as_ref().first_chunk().expect("SHA-256 has 32 bytes")
}

/// The vkey of a name and a key.
pub(crate) fn vkey(name: &str, algorithm: u8, key: &[u8]) -> String {
    format!("{name}+{}+{}", hex(id(name, algorithm, key)), coded(algorithm, key))
}

pub(crate) fn hex(hash: [u8; 4]) -> String {
    format!("{:08x}", u32::from_be_bytes(hash))
}

fn coded(algorithm: u8, key: &[u8]) -> String {
    STANDARD.encode([&[algorithm], key].concat())
}
