//! Record bodies: bincode 2, `standard()` (little endian, variable-length integers), of frozen structs.
//!
//! The one module that knows bincode. The library is unmaintained; `wincode` with varint lengths writes the same bytes
//! and takes its place here when that is needed.
//!
//! # Invariants
//! 1. A body is under [`BODY_BYTES_MAX`] when written and when read.
//! 2. Reading consumes every byte, or it is an error: what was written by a newer struct never passes for an older one.
//! 3. What a later release wrote is an error, too, and never passed over: also not what its host wrote.

use kernel::{Digest, Kind, Reader, Recorded, Writer};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::envelope::Record;
use crate::{CONCLUDED, OPENED};

/// Largest body. A fact that does not fit belongs into a content-addressed blob with its digest in the record.
pub const BODY_BYTES_MAX: usize = 64 * 1024 - 1;

/// Why a body cannot be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("a body of {bytes} bytes is over the limit of {BODY_BYTES_MAX}")]
    TooLarge { bytes: usize },
    #[error("kind {id} version {version} is not registered: the record was written by a newer release")]
    UnknownKind { id: u32, version: u16 },
    #[error("the body is not what its kind says: {why}")]
    Malformed { why: String },
}

/// One body with the kind it was written under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    pub kind: Kind,
    pub bytes: Vec<u8>,
}

/// # Errors
/// [`CodecError::TooLarge`]; [`CodecError::Malformed`] if serde refuses.
pub fn write<E: Recorded>(event: &E) -> Result<Body, CodecError> {
    event.write(Bytes)
}

/// # Errors
/// If the kind is unknown or the bytes are not exactly one such body.
pub fn read<E: Recorded>(kind: (u32, u16), body: &[u8]) -> Result<E, CodecError> {
    E::read(kind, Slice { kind, body })
}

/// The fact that a record holds. `None` for what the host itself records: that a stream was opened, or that a command made
/// no facts.
///
/// # Errors
/// As [`read`].
pub fn fact<E: Recorded>(record: &Record) -> Result<Option<E>, CodecError> {
    let kind = (record.kind_id, record.schema);
    if HOSTS_KINDS_END <= kind.0 {
        return read(kind, &record.body).map(Some);
    }
    if ![OPENED, CONCLUDED].iter().any(|own| (own.id, own.version) == kind) {
        return Err(CodecError::UnknownKind { id: kind.0, version: kind.1 });
    }
    match record.body.len() {
        0 => Ok(None),
        bytes => Err(left_over(bytes)),
    }
}

/// Kinds below it are the host's own.
const HOSTS_KINDS_END: u32 = 100;

fn left_over(bytes: usize) -> CodecError {
    CodecError::Malformed { why: format!("{bytes} bytes are left over") }
}

/// The canonical bytes of any value, for digests: equal values give equal bytes within one release.
///
/// # Errors
/// [`CodecError::Malformed`] if serde refuses, as it does for a sequence of unknown length.
pub fn canonical<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut room = Room(Vec::with_capacity(USUAL_BYTES));
    encode(value, &mut room)?;
    Ok(room.0)
}

/// Writes the canonical bytes of any value.
///
/// # Errors
/// As [`canonical`], and those of `to`.
pub fn canonical_into<T: Serialize>(value: &T, to: &mut dyn std::io::Write) -> Result<(), CodecError> {
    let pass = |bytes: &[u8]| to.write_all(bytes).map_err(|error| CodecError::Malformed { why: error.to_string() });
    in_pieces(value, pass)
}

/// The value whose canonical bytes these are, for what the same release has written.
///
/// # Errors
/// [`CodecError::Malformed`] if they are not exactly one such value.
pub fn restore<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode(bytes, bincode::config::standard())
}

/// The blake3 of `domain`, a zero and the canonical bytes of `value`.
///
/// # Errors
/// As [`canonical`].
pub fn digest<T: Serialize>(domain: &str, value: &T) -> Result<Digest, CodecError> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(domain.as_bytes()).update(&[0]);
    in_pieces(value, |bytes| {
        hasher.update(bytes);
        Ok(())
    })?;
    Ok(Digest(*hasher.finalize().as_bytes()))
}

/// Most bodies fit, so that most are written without moving.
const USUAL_BYTES: usize = 512;

struct Room(Vec<u8>);

impl bincode::enc::write::Writer for Room {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

/// Of what may be large, so many bytes are passed on at once: encoders write a few at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Passes the canonical bytes of a value on, piece by piece.
fn in_pieces<T: Serialize>(value: &T, pass: impl FnMut(&[u8]) -> Result<(), CodecError>) -> Result<(), CodecError> {
    let mut pieces = Pieces { held: Vec::with_capacity(USUAL_BYTES), pass };
    encode(value, &mut pieces)?;
    (pieces.pass)(&pieces.held)
}

struct Pieces<F> {
    held: Vec<u8>,
    pass: F,
}

impl<F: FnMut(&[u8]) -> Result<(), CodecError>> bincode::enc::write::Writer for Pieces<F> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        self.held.extend_from_slice(bytes);
        if PIECE_BYTES <= self.held.len() {
            let passed = (self.pass)(&self.held);
            passed.map_err(|error| bincode::error::EncodeError::OtherString(error.to_string()))?;
            self.held.clear();
        }
        Ok(())
    }
}

fn encode<T: Serialize>(value: &T, to: &mut impl bincode::enc::write::Writer) -> Result<(), CodecError> {
    bincode::serde::encode_into_writer(value, to, bincode::config::standard())
        .map_err(|error| CodecError::Malformed { why: error.to_string() })
}

fn decode<T: DeserializeOwned>(bytes: &[u8], config: impl bincode::config::Config) -> Result<T, CodecError> {
    let (value, consumed) = bincode::serde::decode_from_slice(bytes, config)
        .map_err(|error| CodecError::Malformed { why: error.to_string() })?;
    if consumed == bytes.len() { Ok(value) } else { Err(left_over(bytes.len() - consumed)) }
}

struct Bytes;

impl Writer for Bytes {
    type Done = Result<Body, CodecError>;

    fn put<T: Serialize>(self, kind: Kind, body: &T) -> Self::Done {
        let bytes = canonical(body)?;
        if BODY_BYTES_MAX < bytes.len() {
            return Err(CodecError::TooLarge { bytes: bytes.len() });
        }
        Ok(Body { kind, bytes })
    }
}

struct Slice<'a> {
    kind: (u32, u16),
    body: &'a [u8],
}

impl Reader for Slice<'_> {
    type Error = CodecError;

    fn get<T: DeserializeOwned>(self) -> Result<T, CodecError> {
        decode(self.body, bincode::config::standard().with_limit::<{ 16 * BODY_BYTES_MAX }>())
    }

    fn unknown(self) -> CodecError {
        CodecError::UnknownKind { id: self.kind.0, version: self.kind.1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committer::nothing;

    #[derive(Debug, PartialEq)]
    struct Noted(u64);

    const NOTED: Kind = Kind { id: 100, version: 1, name: "notes.noted" };

    impl Recorded for Noted {
        const KINDS: &'static [Kind] = &[NOTED];

        fn write<W: Writer>(&self, writer: W) -> W::Done {
            writer.put(NOTED, &self.0)
        }

        fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
            match kind {
                (100, 1) => reader.get().map(Self),
                _ => Err(reader.unknown()),
            }
        }
    }

    fn of(kind_id: u32, schema: u16, body: &[u8]) -> Result<Option<Noted>, CodecError> {
        fact(&Record { kind_id, schema, body: body.to_vec(), ..nothing() })
    }

    #[test]
    fn a_record_holds_a_fact_or_is_one_of_the_hosts_two() {
        assert_eq!(of(100, 1, &[7]), Ok(Some(Noted(7))));
        assert_eq!(of(100, 1, &[7, 7]), Err(left_over(1)));
        for own in [OPENED, CONCLUDED] {
            assert_eq!(of(own.id, own.version, &[]), Ok(None));
            assert_eq!(of(own.id, own.version, &[7]), Err(left_over(1)));
        }
        for (id, version) in [(0, 0), (0, 1), (1, 2), (2, 0), (3, 1), (99, 1), (100, 2), (101, 1)] {
            assert_eq!(of(id, version, &[]), Err(CodecError::UnknownKind { id, version }));
        }
    }
}
