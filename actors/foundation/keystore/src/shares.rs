//! A root key in parts: any so many of them give it, fewer say nothing of it (Shamir, "How to share a secret", 1979).
//!
//! ```text
//! sop-share-1-<set, 16 digits>-<needed>-<number>-<its part, 64 digits>-<check, 8 digits>
//! ```
//!
//! Each byte of the secret is the value at 0 of a polynomial over GF(2^8), with the modulus of AES (FIPS 197, 4.2), whose other
//! coefficients are drawn; a share is its values at one number. The check tells a share that was mistyped; a digest of each
//! share, which the header of the root has, tells one that is of another set, or was made up. The digest of a part says nothing
//! of it, as it is of 32 bytes that nobody can guess.
//!
//! Ours, and forty lines of arithmetic, because none of the libraries that the authority is made of has it and those that there
//! are look up tables by the secret. Here nothing depends on a secret but values: no branch, no place in memory.

use std::collections::BTreeMap;
use std::fmt;

use suites::{Domain, Hash, Policy, Secret, hashing};

use crate::KeystoreError;
use crate::lines::{hex, number, unhex};

/// So many are handed out at most.
pub const SHARES_MAX: u8 = 32;
pub(crate) const SECRET: usize = 32;
const TITLE: &str = "sop-share-1";
const CHECK: usize = 4;

/// One of the parts. Whoever has enough of them has the root key, so it is shown by [`Share::reveal`] only.
#[derive(Clone, PartialEq, Eq)]
pub struct Share {
    set: [u8; 8],
    needed: u8,
    number: u8,
    part: Secret,
}

impl Share {
    /// Its text, to be handed out.
    pub fn reveal(&self) -> Secret {
        let text = self.text();
        let check = check(text.expose());
        // Long enough from the start: nothing of it is left where it was shorter.
        let mut whole = Vec::with_capacity(text.expose().len() + 1 + check.len());
        whole.extend(text.expose());
        whole.push(b'-');
        whole.extend(check.as_bytes());
        Secret::new(whole)
    }

    /// # Errors
    /// [`KeystoreError::Mistyped`].
    pub fn read(text: &str) -> Result<Self, KeystoreError> {
        let read = || {
            let (told, written) = text.trim().rsplit_once('-')?;
            if check(told.as_bytes()) != written {
                return None;
            }
            let mut parts = told.strip_prefix(TITLE)?.strip_prefix('-')?.split('-');
            let [set, needed, number_, part] = [parts.next()?, parts.next()?, parts.next()?, parts.next()?];
            let part = Secret::new(unhex(part)?);
            let set = unhex(set)?.try_into().ok()?;
            let share = Self { set, needed: number(needed)?, number: number(number_)?, part };
            let is_one = 2 <= share.needed && share.needed <= SHARES_MAX && 1 <= share.number;
            let is_one = is_one && share.number <= SHARES_MAX && share.part.expose().len() == SECRET;
            (is_one && parts.next().is_none()).then_some(share)
        };
        read().ok_or(KeystoreError::Mistyped)
    }

    pub fn number(&self) -> u8 {
        self.number
    }

    pub fn needed(&self) -> u8 {
        self.needed
    }

    /// All but the check.
    fn text(&self) -> Secret {
        let head = format!("{TITLE}-{}-{}-{}-", hex(&self.set), self.needed, self.number);
        let mut text = Vec::with_capacity(head.len() + 2 * SECRET);
        text.extend(head.as_bytes());
        let digit = |half: u8| if half < 10 { b'0' + half } else { b'a' + half - 10 };
        self.part.expose().iter().for_each(|byte| text.extend([digit(byte >> 4), digit(byte & 0x0f)]));
        Secret::new(text)
    }
}

/// Divides `secret` into `of` shares, of which `needed` give it back; and how each is known again.
pub(crate) fn split(
    policy: &Policy,
    secret: &Secret,
    needed: u8,
    of: u8,
) -> Result<(Vec<Share>, Vec<hashing::Digest>), KeystoreError> {
    if needed < 2 || of < needed || SHARES_MAX < of {
        return Err(KeystoreError::NoSuchSharing { needed, of });
    }
    let mut set = [0; 8];
    getrandom::fill(&mut set).expect("the system gives randomness");
    let higher: Vec<Secret> = (1..needed).map(|_| drawn(SECRET)).collect();
    let share = |number| {
        let mut part = vec![0; SECRET];
        for coefficients in higher.iter().rev().chain([secret]) {
            for (value, coefficient) in part.iter_mut().zip(coefficients.expose()) {
                *value = times(*value, number) ^ coefficient;
            }
        }
        Share { set, needed, number, part: Secret::new(part) }
    };
    let shares: Vec<_> = (1..=of).map(share).collect();
    let hash = policy.preferred::<Hash>(Domain::System);
    let digests = shares.iter().map(|share| hash.digest(share.text().expose())).collect();
    Ok((shares, digests))
}

/// The secret, if there are enough shares of the set whose digests these are. Each is looked at, and the first wrong one named.
pub(crate) fn combine(
    policy: &Policy,
    needed: u8,
    digests: &[hashing::Digest],
    shares: &[Share],
) -> Result<Secret, KeystoreError> {
    let mut right = BTreeMap::new();
    for share in shares {
        let wrong = KeystoreError::WrongShare { number: share.number };
        let Some(digest) = digests.get(usize::from(share.number) - 1) else { return Err(wrong) };
        let accepted = policy.accept(Domain::System, digest.suite())?;
        if accepted.check(digest, share.text().expose()).is_err() {
            return Err(wrong);
        }
        right.insert(share.number, share);
    }
    let given = u8::try_from(right.len()).expect("no number is given twice");
    if given < needed {
        return Err(KeystoreError::TooFewShares { given, needed });
    }
    let used: Vec<_> = right.into_values().take(usize::from(needed)).collect();
    let mut secret = vec![0; SECRET];
    for share in &used {
        // The value at 0 of the polynomial that is 1 at this number and 0 at the others. Numbers are no secret.
        let others = used.iter().map(|other| other.number).filter(|other| *other != share.number);
        let weight = others.fold(1, |weight, other| times(weight, times(other, inverse(other ^ share.number))));
        for (byte, value) in secret.iter_mut().zip(share.part.expose()) {
            *byte ^= times(*value, weight);
        }
    }
    Ok(Secret::new(secret))
}

pub(crate) fn drawn(length: usize) -> Secret {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the system gives randomness");
    Secret::new(bytes)
}

fn check(text: &[u8]) -> String {
    hex(&blake3::hash(text).as_bytes()[..CHECK])
}

/// In GF(2^8): the same steps whatever is multiplied.
fn times(mut one: u8, other: u8) -> u8 {
    let mut product = 0;
    for bit in 0..8 {
        product ^= one & 0_u8.wrapping_sub(other >> bit & 1);
        one = one << 1 ^ 0x1b & 0_u8.wrapping_sub(one >> 7);
    }
    product
}

/// To the power of 254; of 0 it is 0.
fn inverse(of: u8) -> u8 {
    let mut power = of;
    for _ in 0..6 {
        power = times(times(power, power), of);
    }
    times(power, power)
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Share({} of set {}, {} needed, ..)", self.number, hex(&self.set), self.needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_field_is_that_of_aes() {
        // FIPS 197, 4.2 and 4.2.1.
        assert_eq!((times(0x57, 0x83), times(0x57, 0x13), times(0x57, 0x02)), (0xc1, 0xfe, 0xae));
        for of in 1..=255 {
            assert_eq!((times(of, inverse(of)), times(of, 0), times(of, 1)), (1, 0, of));
        }
    }

    /// By hand: 0x2a + 7x + 9x^2 in every byte.
    #[test]
    fn any_three_of_five_give_it_back() {
        let policy = Policy::default();
        let values = [1_u8, 2, 3, 4, 5].map(|x| 0x2a ^ times(7, x) ^ times(9, times(x, x)));
        let part = |(number, value): (u8, u8)| Share {
            set: [1; 8],
            needed: 3,
            number,
            part: Secret::new(vec![value; SECRET]),
        };
        let shares: Vec<_> = (1..).zip(values).map(part).collect();
        let hash = policy.preferred::<Hash>(Domain::System);
        let digests: Vec<_> = shares.iter().map(|share| hash.digest(share.text().expose())).collect();
        for kept in 0_u8..32 {
            let given: Vec<_> = shares.iter().filter(|share| kept >> (share.number - 1) & 1 == 1).cloned().collect();
            let combined = combine(&policy, 3, &digests, &given);
            if given.len() < 3 {
                assert!(matches!(combined, Err(KeystoreError::TooFewShares { needed: 3, .. })), "{kept:05b}");
            } else {
                assert_eq!(combined.unwrap().expose(), [0x2a; SECRET], "{kept:05b}");
            }
        }
    }
}
