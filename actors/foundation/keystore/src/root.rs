//! The root key: under which it is known, how it is told from others, and what is written of it.
//!
//! ```text
//! sop root 1
//! id 6c1e…
//! kind passphrase                     or key, or shares
//! salt 93b0…                          of a passphrase
//! argon2id m=65536 t=3 p=4            likewise (RFC 9106)
//! needed 3                            of shares
//! share sha256:77…                    of shares, a line for each, by their numbers
//! before 0d44… 0103…                  while keys move: the id of the root before, and that root, wrapped under this one
//! value 0103…                         zeros, wrapped under the root, bound to all lines above
//! check 5f0a…                         BLAKE3 of all lines above
//! ```
//!
//! Another root than this one does not unwrap the value, so it is refused before it opens anything.

use std::fmt;

#[cfg(feature = "passphrase")]
use argon2::{Algorithm, Argon2, Block, Params, Version};
use suites::{Domain, Policy, Purpose, Secret, hashing, wrapping};
#[cfg(feature = "passphrase")]
use zeroize::Zeroizing;

use crate::KeystoreError;
use crate::key::{WRAP, root_key};
use crate::lines::{hex, id, number, told, unhex, vouched};
use crate::shares::{SECRET, SHARES_MAX, Share, combine, drawn, split};

/// Shorter ones are found by trying.
pub const PASSPHRASE_MIN: usize = 12;
/// A key of this length has nothing to gain from more.
pub const PASSPHRASE_MAX: usize = 1_024;
const TITLE: &str = "sop root 1\n";
const VALUE: Purpose = Purpose::new("keystore-root-value");
const BEFORE: Purpose = Purpose::new("keystore-root-before");
const SALT: usize = 16;

/// Names a root key. Drawn when it comes into use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RootId(pub u128);

/// What a passphrase costs who tries it: memory in KiB, passes over it, and lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    memory: u32,
    passes: u32,
    lanes: u32,
}

/// What opens the store, as somebody brings it.
#[derive(Clone, Debug)]
pub enum Given {
    /// 32 bytes that were drawn.
    Key(Secret),
    Passphrase(Secret),
    Shares(Vec<Share>),
}

/// A root key that is to come into use.
pub struct NewRoot {
    kind: Kind,
    secret: Secret,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Key,
    Passphrase { salt: [u8; SALT], cost: Cost },
    Shares { needed: u8, digests: Vec<hashing::Digest> },
}

/// What is written of a root.
pub(crate) struct Header {
    pub id: RootId,
    pub kind: Kind,
    pub before: Option<(RootId, Vec<u8>)>,
    value: Vec<u8>,
}

pub(crate) struct Root {
    pub id: RootId,
    pub key: wrapping::Key,
}

/// The root in use, and while keys move the one before it.
pub(crate) struct Roots {
    pub current: Root,
    pub before: Option<Root>,
}

impl Cost {
    /// RFC 9106, section 4: the second recommended option, for where memory is scarce.
    pub const RECOMMENDED: Self = Self { memory: 1 << 16, passes: 3, lanes: 4 };

    /// `None` for what is too little to help, or so much that nobody gets in any more.
    pub fn new(memory: u32, passes: u32, lanes: u32) -> Option<Self> {
        let fits = (19_456..=1 << 22).contains(&memory) && (2..=64).contains(&passes) && (1..=16).contains(&lanes);
        fits.then_some(Self { memory, passes, lanes })
    }
}

impl NewRoot {
    /// # Errors
    /// [`KeystoreError::BadRoot`] if it is not of 32 bytes; [`KeystoreError::BadPassphrase`]; shares are not brought, they
    /// come about ([`NewRoot::shared`]): [`KeystoreError::OtherKind`].
    pub fn of(given: Given, cost: Cost) -> Result<Self, KeystoreError> {
        let kind = match &given {
            Given::Key(_) => Kind::Key,
            Given::Passphrase(_) => {
                let mut salt = [0; SALT];
                getrandom::fill(&mut salt).expect("the system gives randomness");
                Kind::Passphrase { salt, cost }
            }
            Given::Shares(_) => return Err(KeystoreError::OtherKind { asked: "a key or a passphrase" }),
        };
        let secret = kind.secret(&Policy::default(), &given)?;
        Ok(Self { kind, secret })
    }

    /// A root that is drawn, and its shares. Hand these out, and have enough of them read back, before it comes into use: they
    /// are all that there is of it.
    ///
    /// # Errors
    /// [`KeystoreError::NoSuchSharing`].
    pub fn shared(policy: &Policy, needed: u8, of: u8) -> Result<(Self, Vec<Share>), KeystoreError> {
        let secret = drawn(SECRET);
        let (shares, digests) = split(policy, &secret, needed, of)?;
        Ok((Self { kind: Kind::Shares { needed, digests }, secret }, shares))
    }

    pub(crate) fn is(&self, root: &Root) -> bool {
        self.secret == *root.key.secret()
    }
}

impl Kind {
    const fn name(&self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Passphrase { .. } => "passphrase",
            Self::Shares { .. } => "shares",
        }
    }

    /// The secret of 32 bytes that comes of what is given.
    fn secret(&self, policy: &Policy, given: &Given) -> Result<Secret, KeystoreError> {
        match (self, given) {
            (Self::Key, Given::Key(secret)) if secret.expose().len() == SECRET => Ok(secret.clone()),
            (Self::Key, Given::Key(_)) => Err(KeystoreError::BadRoot),
            (Self::Passphrase { salt, cost }, Given::Passphrase(passphrase)) => {
                let fits = (PASSPHRASE_MIN..=PASSPHRASE_MAX).contains(&passphrase.expose().len());
                if fits { derived(passphrase, salt, *cost) } else { Err(KeystoreError::BadPassphrase) }
            }
            (Self::Shares { needed, digests }, Given::Shares(shares)) => combine(policy, *needed, digests, shares),
            _ => Err(KeystoreError::OtherKind { asked: self.name() }),
        }
    }

    fn lines(&self) -> String {
        let more = match self {
            Self::Key => String::new(),
            Self::Passphrase { salt, cost: Cost { memory, passes, lanes } } => {
                format!("salt {}\nargon2id m={memory} t={passes} p={lanes}\n", hex(salt))
            }
            Self::Shares { needed, digests } => {
                let lines = digests.iter().map(|digest| ["share ", &digest.to_string(), "\n"].concat());
                format!("needed {needed}\n{}", lines.collect::<String>())
            }
        };
        format!("kind {}\n{more}", self.name())
    }

    fn read(told: &[&str]) -> Option<Self> {
        match told {
            ["kind key"] => Some(Self::Key),
            ["kind passphrase", salt, cost] => {
                let cost = cost.strip_prefix("argon2id m=")?;
                let (memory, cost) = cost.split_once(" t=")?;
                let (passes, lanes) = cost.split_once(" p=")?;
                let cost = Cost::new(number(memory)?, number(passes)?, number(lanes)?)?;
                Some(Self::Passphrase { salt: unhex(salt.strip_prefix("salt ")?)?.try_into().ok()?, cost })
            }
            ["kind shares", needed, digests @ ..] => {
                let needed = number(needed.strip_prefix("needed ")?)?;
                let digests = digests.iter().map(|line| line.strip_prefix("share ")?.parse().ok());
                let digests: Vec<_> = digests.collect::<Option<_>>()?;
                let of = u8::try_from(digests.len()).ok()?;
                (2 <= needed && needed <= of && of <= SHARES_MAX).then_some(Self::Shares { needed, digests })
            }
            _ => None,
        }
    }
}

impl Header {
    /// A root comes into use, after `before` if there was one.
    pub fn new(policy: &Policy, new: NewRoot, before: Option<&Root>) -> Result<(Self, Root), KeystoreError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).expect("the system gives randomness");
        let root = Root { id: RootId(u128::from_be_bytes(bytes)), key: root_key(new.secret)? };
        let wrapped = before.map(|before| {
            let about = before_about(root.id, before.id);
            let allowed = policy.allow(Domain::System, WRAP)?;
            allowed.wrap(&root.key, BEFORE, about.as_bytes(), before.key.secret()).map(|wrapped| (before.id, wrapped))
        });
        let header = Self::written_for(policy, &root, new.kind, wrapped.transpose()?)?;
        Ok((header, root))
    }

    /// The same root, once no key needs the one before.
    pub fn alone(&self, policy: &Policy, root: &Root) -> Result<Self, KeystoreError> {
        Self::written_for(policy, root, self.kind.clone(), None)
    }

    fn written_for(
        policy: &Policy,
        root: &Root,
        kind: Kind,
        before: Option<(RootId, Vec<u8>)>,
    ) -> Result<Self, KeystoreError> {
        let mut header = Self { id: root.id, kind, before, value: Vec::new() };
        let (allowed, zeros) = (policy.allow(Domain::System, WRAP)?, Secret::new(vec![0; SECRET]));
        header.value = allowed.wrap(&root.key, VALUE, header.lines().as_bytes(), &zeros)?;
        Ok(header)
    }

    /// # Errors
    /// [`KeystoreError::WrongRoot`], and what can be wrong with shares.
    pub fn open(&self, policy: &Policy, given: &Given) -> Result<Roots, KeystoreError> {
        let wrong = || KeystoreError::WrongRoot { rotated: self.before.is_some() };
        let current = Root { id: self.id, key: root_key(self.kind.secret(policy, given)?)? };
        let accepted = policy.accept(Domain::System, WRAP)?;
        let value = accepted.unwrap(&current.key, VALUE, self.lines().as_bytes(), &self.value);
        if value != Ok(Secret::new(vec![0; SECRET])) {
            return Err(wrong());
        }
        let before = self.before.as_ref().map(|(before, wrapped)| {
            let about = before_about(self.id, *before);
            let secret = accepted.unwrap(&current.key, BEFORE, about.as_bytes(), wrapped)?;
            Ok::<_, suites::Refusal>(Root { id: *before, key: root_key(secret)? })
        });
        Ok(Roots { before: before.transpose()?, current })
    }

    /// All over the value.
    fn lines(&self) -> String {
        let before = self.before.as_ref().map(|(before, wrapped)| format!("before {before} {}\n", hex(wrapped)));
        format!("{TITLE}id {}\n{}{}", self.id, self.kind.lines(), before.unwrap_or_default())
    }

    pub fn written(&self) -> String {
        vouched(&format!("{}value {}\n", self.lines(), hex(&self.value)))
    }

    /// `None` if a bit of it is not as it was written.
    pub fn read(text: &str) -> Option<Self> {
        let lines: Vec<_> = told(text)?.strip_prefix(TITLE)?.strip_suffix('\n')?.split('\n').collect();
        let [root, kind @ .., value] = &lines[..] else { return None };
        let (before, kind) = match kind {
            [kind @ .., last] if last.starts_with("before ") => (Some(*last), kind),
            _ => (None, kind),
        };
        let before = before.map(|line| {
            let (before, wrapped) = line.strip_prefix("before ")?.split_once(' ')?;
            Some((RootId(id(before)?), unhex(wrapped)?))
        });
        let before = match before {
            Some(read) => Some(read?),
            None => None,
        };
        let header = Self {
            id: RootId(id(root.strip_prefix("id ")?)?),
            kind: Kind::read(kind)?,
            before,
            value: unhex(value.strip_prefix("value ")?)?,
        };
        // In the one form that it has.
        (header.written() == text).then_some(header)
    }
}

impl Roots {
    pub fn of(&self, id: RootId) -> Option<&Root> {
        [Some(&self.current), self.before.as_ref()].into_iter().flatten().find(|root| root.id == id)
    }
}

fn before_about(root: RootId, before: RootId) -> String {
    format!("{TITLE}id {root}\nbefore {before}\n")
}

#[cfg(feature = "passphrase")]
fn derived(passphrase: &Secret, salt: &[u8], cost: Cost) -> Result<Secret, KeystoreError> {
    let parameters = Params::new(cost.memory, cost.passes, cost.lanes, Some(SECRET));
    let parameters = parameters.expect("a cost is within what Argon2 takes");
    // Its own memory is not overwritten by it.
    let mut memory = Zeroizing::new(Vec::new());
    memory.try_reserve_exact(parameters.block_count()).map_err(|_| KeystoreError::NoMemory { kib: cost.memory })?;
    memory.resize(parameters.block_count(), Block::new());
    let mut secret = Zeroizing::new([0; SECRET]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    let filled = argon2.hash_password_into_with_memory(passphrase.expose(), salt, &mut secret[..], &mut memory[..]);
    filled.expect("salt, passphrase and memory are within what Argon2 takes");
    Ok(Secret::new(secret.to_vec()))
}

#[cfg(not(feature = "passphrase"))]
fn derived(_: &Secret, _: &[u8], _: Cost) -> Result<Secret, KeystoreError> {
    Err(KeystoreError::NoPassphrases)
}

impl fmt::Display for RootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NewRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NewRoot({}, ..)", self.kind.name())
    }
}

#[cfg(all(test, feature = "passphrase"))]
mod tests {
    use super::*;

    /// From the tests of the reference implementation (P-H-C/phc-winner-argon2, `src/test.c`).
    #[test]
    fn a_passphrase_gives_what_it_does_elsewhere() {
        for (cost, passphrase, secret) in [
            ((1 << 16, 2, 1), "password", "09316115d5cf24ed5a15a31a3ba326e5cf32edc24702987c02b6566f61913cf7"),
            ((1 << 16, 2, 1), "differentpassword", "0b84d652cf6b0c4beaef0dfe278ba6a80df6696281d7e0d2891b817d8c458fde"),
            ((1 << 16, 1, 1), "password", "f6a5adc1ba723dddef9b5ac1d464e180fcd9dffc9d1cbf76cca2fed795d9ca98"),
        ] {
            let cost = Cost { memory: cost.0, passes: cost.1, lanes: cost.2 };
            let derived = derived(&Secret::new(passphrase.into()), b"somesalt", cost).unwrap();
            assert_eq!(hex(derived.expose()), secret, "{passphrase}");
        }
    }
}
