//! What a body may be, and what is refused when it is read.

use journal::codec::{BODY_BYTES_MAX, CodecError, read, write};
use kernel::{Kind, Reader, Recorded, Writer};

#[derive(Debug, PartialEq)]
struct Note(String);

const NOTE: Kind = Kind { id: 900, version: 1, name: "note" };

impl Recorded for Note {
    const KINDS: &'static [Kind] = &[NOTE];

    fn write<W: Writer>(&self, writer: W) -> W::Done {
        writer.put(NOTE, &self.0)
    }

    fn read<R: Reader>(kind: (u32, u16), reader: R) -> Result<Self, R::Error> {
        match kind {
            (900, 1) => reader.get().map(Self),
            _ => Err(reader.unknown()),
        }
    }
}

#[test]
fn a_body_reads_back() {
    let body = write(&Note("é".into())).unwrap();
    assert_eq!((body.kind, body.bytes.as_slice()), (NOTE, &[2, 0xc3, 0xa9][..]));
    assert_eq!(read((900, 1), &body.bytes), Ok(Note("é".into())));
}

#[test]
fn what_is_no_body_is_refused() {
    let too_large = write(&Note("x".repeat(BODY_BYTES_MAX)));
    assert_eq!(too_large, Err(CodecError::TooLarge { bytes: BODY_BYTES_MAX + 3 }));
    assert_eq!(read::<Note>((900, 2), &[0]), Err(CodecError::UnknownKind { id: 900, version: 2 }));
    for (row, bytes) in [
        ("empty", &[][..]),
        ("shorter than it says", &[3, b'a']),
        ("a byte left over", &[1, b'a', 0]),
        ("no text", &[1, 0xff]),
        ("a length beyond all memory", &[253, 255, 255, 255, 255, 255, 255, 255, 255]),
    ] {
        assert!(matches!(read::<Note>((900, 1), bytes), Err(CodecError::Malformed { .. })), "{row}");
    }
}
