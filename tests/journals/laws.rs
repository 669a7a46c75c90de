//! What holds of every body that is recorded, of whatever kind.

use journal::codec::{self, BODY_BYTES_MAX, CodecError};
use kernel::{Machine, Recorded};

use crate::{Look, WRITTEN, each, lines};

/// Reads bytes as a fact of its concern, and gives what is written of it.
type Rewrite = fn((u32, u16), &[u8]) -> Result<Vec<u8>, CodecError>;

fn rewrite<E: Recorded>(kind: (u32, u16), bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
    codec::write(&codec::read::<E>(kind, bytes)?).map(|body| body.bytes)
}

/// Every published body with what reads it.
fn bodies() -> Vec<((u32, u16), Vec<u8>, Rewrite)> {
    struct Bodies(Vec<((u32, u16), Vec<u8>, Rewrite)>);
    impl Look for Bodies {
        fn at<M: Machine>(&mut self) {
            let lines = lines(WRITTEN);
            for kind in M::Event::KINDS {
                let key = (kind.id, kind.version);
                let (_, bytes) = lines.get(&key).unwrap_or_else(|| panic!("{} has its line", kind.name));
                self.0.push((key, bytes.clone(), rewrite::<M::Event>));
            }
        }
    }
    let mut bodies = Bodies(Vec::new());
    each(&mut bodies);
    assert!(60 < bodies.0.len(), "all kinds are here: {}", bodies.0.len());
    bodies.0
}

#[test]
fn a_body_is_consumed_to_its_last_byte() {
    for (kind, bytes, rewrite) in bodies() {
        rewrite(kind, &bytes).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        for extra in [0, 1, 0x7f, 0xfb, 0xff] {
            let longer = [&bytes[..], &[extra]].concat();
            let left_over = rewrite(kind, &longer);
            assert!(matches!(left_over, Err(CodecError::Malformed { .. })), "{kind:?} and {extra}: {left_over:?}");
        }
        for length in 0..bytes.len() {
            let cut = rewrite(kind, &bytes[..length]);
            assert!(matches!(cut, Err(CodecError::Malformed { .. })), "{kind:?} cut to {length}: {cut:?}");
        }
    }
}

/// A flipped bit is refused, or is another fact that reads back as itself: never a panic, and never the same fact.
#[test]
fn a_flipped_bit_is_refused_or_another_fact() {
    for (kind, bytes, rewrite) in bodies() {
        let whole = rewrite(kind, &bytes).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            if let Ok(other) = rewrite(kind, &flipped) {
                assert_ne!(other, whole, "{kind:?}: bit {bit} makes no difference");
            }
        }
    }
}

#[test]
fn no_body_of_one_kind_is_taken_for_a_version_that_there_is_not() {
    for ((id, version), bytes, rewrite) in bodies() {
        for unknown in [(id, version + 100), (id, 0), (u32::MAX, version), (0, version)] {
            let refused = CodecError::UnknownKind { id: unknown.0, version: unknown.1 };
            assert_eq!(rewrite(unknown, &bytes), Err(refused));
        }
    }
}

/// Wherever a body is given a length beyond all bounds, it is refused, or the place was that of a number.
#[test]
fn a_length_that_lies_does_no_harm() {
    for (kind, bytes, rewrite) in bodies() {
        for at in 0..bytes.len() {
            for lie in [&[0xfc, 0xff, 0xff, 0xff, 0x7f][..], &[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]] {
                let lying = [&bytes[..at], lie, &bytes[at + 1..]].concat();
                if let Ok(other) = rewrite(kind, &lying) {
                    assert!(other.len() <= BODY_BYTES_MAX, "{kind:?} at {at}");
                }
            }
        }
    }
}
