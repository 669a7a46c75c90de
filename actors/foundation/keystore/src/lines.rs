//! The text form of what is on disk: lines, each a name and what it says, and a checksum under them.
//!
//! The checksum tells a damaged file from a wrong key. It keeps nobody from changing anything: what may not be changed is bound
//! to what is sealed and wrapped.

use std::fmt::Write as _;

use suites::Secret;

pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        write!(text, "{byte:02x}").expect("memory takes it");
    }
    text
}

/// Of small digits only. The buffer is the one that a [`Secret`] may take over: nothing of it lies elsewhere.
pub fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let mut bytes = Vec::with_capacity(pairs.len());
    let all = pairs.iter().all(|[high, low]| match (digit(*high), digit(*low)) {
        (Some(high), Some(low)) => {
            bytes.push(high << 4 | low);
            true
        }
        _ => false,
    });
    if all && rest.is_empty() {
        return Some(bytes);
    }
    // It may be most of a secret.
    drop(Secret::new(bytes));
    None
}

/// A number in the one form that it has.
pub fn number<N: std::str::FromStr + ToString>(text: &str) -> Option<N> {
    text.parse().ok().filter(|number: &N| number.to_string() == text)
}

/// An id: sixteen bytes.
pub fn id(digits: &str) -> Option<u128> {
    Some(u128::from_be_bytes(unhex(digits)?.try_into().ok()?))
}

pub fn vouched(told: &str) -> String {
    let check = blake3::hash(told.as_bytes()).to_hex();
    format!("{told}check {check}\n")
}

/// What is over the checksum, if it is right.
pub fn told(text: &str) -> Option<&str> {
    let end = text.strip_suffix('\n')?.rfind('\n')? + 1;
    let told = &text[..end];
    (vouched(told) == text).then_some(told)
}
