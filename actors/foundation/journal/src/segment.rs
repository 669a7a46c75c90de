//! The bytes of the tail: segments, which are a header and one frame a group, and zeros that were written ahead.
//!
//! Pure: what is read here was read from a file by [`crate::tail`]. All integers are little endian; frames begin at
//! multiples of 8.
//!
//! ```text
//! segment   header, frames, zeros
//! header    magic [u8; 8] = "sop tail"   format u32 = 2   zero u32   first sequence u64
//!           link before the first record [u8; 32]   first 8 bytes of the blake3 of all that
//! frame     magic u32   payload bytes u32   records u32   first sequence u64
//!           payload: (length u32, record)...   zeros up to a multiple of 8
//!           link after the last record [u8; 32]   end magic u32
//! ```
//!
//! # Invariants
//! 1. The chain is the checksum: a frame is one only if every record decodes, sequences run on, each record carries the
//!    link so far, and the frame ends with the link after the last. Every other bit has one value that it may have.
//! 2. What follows the last frame is zeros, or a group that was never acknowledged, or damage; [`Segment::rest`] tells
//!    which. It is damage if a whole frame comes later, as a group is written only after the one before it was synced.

use std::io::IoSlice;

use kernel::{Digest, Sequence};

use crate::envelope::{Record, link};
use crate::store::Head;

/// Of a segment, and of the directory that it lies in.
pub const FORMAT: u32 = 2;
pub const HEADER_BYTES: usize = 64;

const MAGIC: &[u8; 8] = b"sop tail";
const FRAME_MAGIC: u32 = u32::from_le_bytes(*b"sopG");
const END_MAGIC: u32 = u32::from_le_bytes(*b"Gpos");
const HEAD_BYTES: usize = 20;
const FOOT_BYTES: usize = 36;
const ALIGNED: usize = 8;

/// Bytes that do not begin a segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSegment {
    #[error("it is of format {found}")]
    Format { found: u32 },
    #[error("its header is damaged")]
    Header,
}

/// The first bytes of a segment whose records follow `before`.
pub fn header(before: Head) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&FORMAT.to_le_bytes());
    header[16..24].copy_from_slice(&(before.sequence.0 + 1).to_le_bytes());
    header[24..56].copy_from_slice(&before.link.0);
    let sum = link(&header[..56]);
    header[56..].copy_from_slice(&sum.0[..8]);
    header
}

/// The beginning and the end of the frame around a payload, which make it a frame.
pub struct Around {
    head: [u8; HEAD_BYTES],
    foot: Vec<u8>,
}

impl Around {
    /// Around `payload` of `records` records that end in `after`.
    pub fn new(payload: &[u8], records: usize, after: Head) -> Self {
        let small = |number: usize| u32::try_from(number).expect("a group is far below 4 GiB").to_le_bytes();
        let first = after.sequence.0 + 1 - records as u64;
        let mut head = [0; HEAD_BYTES];
        head[..4].copy_from_slice(&FRAME_MAGIC.to_le_bytes());
        head[4..8].copy_from_slice(&small(payload.len()));
        head[8..12].copy_from_slice(&small(records));
        head[12..].copy_from_slice(&first.to_le_bytes());
        let mut foot = vec![0; padding(payload.len())];
        foot.extend_from_slice(&after.link.0);
        foot.extend_from_slice(&END_MAGIC.to_le_bytes());
        Self { head, foot }
    }

    /// What is written, in order.
    pub fn slices<'a>(&'a self, payload: &'a [u8]) -> [IoSlice<'a>; 3] {
        [IoSlice::new(&self.head), IoSlice::new(payload), IoSlice::new(&self.foot)]
    }
}

/// Bytes that a frame with such a payload takes.
pub const fn frame_bytes(payload: usize) -> usize {
    HEAD_BYTES + payload + padding(payload) + FOOT_BYTES
}

const fn padding(payload: usize) -> usize {
    (HEAD_BYTES + payload + FOOT_BYTES).next_multiple_of(ALIGNED) - (HEAD_BYTES + payload + FOOT_BYTES)
}

/// A group as it was written.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Where it begins and ends in its segment.
    pub at: usize,
    pub end: usize,
    /// Each with its bytes and its link.
    pub records: Vec<(Record, &'a [u8], Digest)>,
    pub before: Head,
    pub after: Head,
}

impl<'a> Frame<'a> {
    /// The frame at `at`, whatever it follows.
    pub fn read(segment: &'a [u8], at: usize) -> Option<Self> {
        let rest = segment.get(at..)?;
        let (head, rest) = rest.split_at_checked(HEAD_BYTES)?;
        let small = |from: usize| u32::from_le_bytes(head[from..from + 4].try_into().expect("4 of 20"));
        if small(0) != FRAME_MAGIC {
            return None;
        }
        let first = u64::from_le_bytes(head[12..].try_into().expect("8 of 20"));
        let (bytes, count) = (usize::try_from(small(4)).ok()?, usize::try_from(small(8)).ok()?);
        let (mut payload, rest) = rest.split_at_checked(bytes)?;
        let (zeros, rest) = rest.split_at_checked(padding(bytes))?;
        let (foot, _) = rest.split_at_checked(FOOT_BYTES)?;
        if !is_zero(zeros) || foot[32..] != END_MAGIC.to_le_bytes() {
            return None;
        }
        let mut records = Vec::with_capacity(count.min(bytes / 4));
        let mut before: Option<Head> = None;
        let mut after = Head::default();
        while !payload.is_empty() {
            let (length, rest) = payload.split_first_chunk::<4>()?;
            let (record, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
            payload = rest;
            let decoded = Record::decode(record).ok()?;
            let follows = match before {
                None => {
                    let sequence = Sequence(first.checked_sub(1)?);
                    after = Head { sequence, link: decoded.previous };
                    before = Some(after);
                    decoded.sequence.0 == first
                }
                Some(_) => decoded.sequence.0 == after.sequence.0 + 1 && decoded.previous == after.link,
            };
            if !follows {
                return None;
            }
            let link = link(record);
            after = Head { sequence: decoded.sequence, link };
            records.push((decoded, record, link));
        }
        if records.len() != count || foot[..32] != after.link.0 {
            return None;
        }
        Some(Self { at, end: at + frame_bytes(bytes), before: before?, records, after })
    }
}

/// What comes after the last frame that follows from those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Zeros to the end.
    Empty,
    /// No frame, and none after it.
    Torn,
    /// No frame, though one comes later, with this first sequence.
    Damaged { later: Sequence },
}

/// Reads a segment, frame after frame, as far as each follows from the one before.
pub struct Segment<'a> {
    bytes: &'a [u8],
    at: usize,
    head: Head,
}

impl<'a> Segment<'a> {
    /// # Errors
    /// [`NoSegment`] if `bytes` do not begin as a segment does.
    pub fn new(bytes: &'a [u8]) -> Result<Self, NoSegment> {
        let found = bytes.get(..HEADER_BYTES).ok_or(NoSegment::Header)?;
        let number = |from: usize| u64::from_le_bytes(found[from..from + 8].try_into().expect("8 of 64"));
        if found[..8] != *MAGIC || link(&found[..56]).0[..8] != found[56..] {
            return Err(NoSegment::Header);
        }
        let format = u32::from_le_bytes(found[8..12].try_into().expect("4 of 64"));
        if format != FORMAT {
            return Err(NoSegment::Format { found: format });
        }
        let sequence = Sequence(number(16).checked_sub(1).ok_or(NoSegment::Header)?);
        let head = Head { sequence, link: Digest(found[24..56].try_into().expect("32 of 64")) };
        // There is one header for what it says.
        if header(head) != found {
            return Err(NoSegment::Header);
        }
        Ok(Self { bytes, at: HEADER_BYTES, head })
    }

    /// What the next frame must follow.
    pub fn head(&self) -> Head {
        self.head
    }

    /// Where the next frame begins, and so the content ends.
    pub fn end(&self) -> usize {
        self.at
    }

    /// What comes now that [`Iterator::next`] has answered `None`.
    pub fn rest(&self) -> Rest {
        if is_zero(&self.bytes[self.at.min(self.bytes.len())..]) {
            return Rest::Empty;
        }
        match frames(self.bytes, self.at).next() {
            Some(frame) => Rest::Damaged { later: frame.records[0].0.sequence },
            None => Rest::Torn,
        }
    }
}

/// Every frame from `at` on, whatever it follows: what can be read of a segment that is damaged.
pub fn frames(bytes: &[u8], at: usize) -> impl Iterator<Item = Frame<'_>> {
    let mut at = at;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            if let Some(frame) = Frame::read(bytes, at) {
                at = frame.end;
                return Some(frame);
            }
            at += ALIGNED;
        }
        None
    })
}

impl<'a> Iterator for Segment<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let frame = Frame::read(self.bytes, self.at).filter(|frame| frame.before == self.head)?;
        self.at = frame.end;
        self.head = frame.after;
        Some(frame)
    }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::committer::nothing;
    use crate::store::Group;

    /// A segment of three frames, of one, two and three records, and zeros after them.
    fn segment() -> (Vec<u8>, Vec<usize>) {
        let before = Head { sequence: Sequence(6), link: Digest([6; 32]) };
        let (mut bytes, mut head) = (header(before).to_vec(), before);
        let mut ends = vec![bytes.len()];
        for records in 1..=3 {
            let mut group = Group::default();
            for record in 0..records {
                let sequence = Sequence(head.sequence.0 + 1);
                let body = vec![b'b'; record];
                let link = group.push(&Record { sequence, previous: head.link, body, ..nothing() });
                head = Head { sequence, link };
            }
            for slice in Around::new(group.payload(), group.records, head).slices(group.payload()) {
                bytes.extend_from_slice(&slice);
            }
            assert_eq!(bytes.len(), ends.last().unwrap() + frame_bytes(group.payload().len()));
            ends.push(bytes.len());
        }
        bytes.resize(bytes.len() + 24, 0);
        (bytes, ends)
    }

    fn read(bytes: &[u8]) -> Result<(Vec<Vec<u8>>, Rest), NoSegment> {
        let mut segment = Segment::new(bytes)?;
        let records = segment.by_ref().flat_map(|frame| frame.records.into_iter().map(|(_, bytes, _)| bytes.to_vec()));
        Ok((records.collect(), segment.rest()))
    }

    /// How many of the three frames are read of it, and what is said of the rest; nothing else is ever read.
    fn outcome(bytes: &[u8], row: &str) -> Result<(usize, Rest), NoSegment> {
        let whole = read(&segment().0).unwrap().0;
        let (records, rest) = read(bytes)?;
        assert_eq!(records, whole[..records.len()], "{row}");
        let frames = [0, 1, 3, 6].into_iter().position(|count| count == records.len());
        Ok((frames.unwrap_or_else(|| panic!("{row}: a part of a frame is read")), rest))
    }

    #[test]
    fn every_flipped_bit_is_seen_and_told_from_a_torn_end() {
        let (bytes, ends) = segment();
        assert_eq!(outcome(&bytes, "whole"), Ok((3, Rest::Empty)));
        for bit in 0..bytes.len() * 8 {
            let (mut flipped, at, row) = (bytes.clone(), bit / 8, format!("bit {bit}"));
            flipped[at] ^= 1 << (bit % 8);
            match ends.iter().position(|end| at < *end) {
                Some(0) => assert_eq!(outcome(&flipped, &row), Err(NoSegment::Header), "{row}"),
                Some(frame @ (1 | 2)) => {
                    let later = Sequence([8, 10][frame - 1]);
                    assert_eq!(outcome(&flipped, &row), Ok((frame - 1, Rest::Damaged { later })), "{row}");
                }
                Some(_) => assert_eq!(outcome(&flipped, &row), Ok((2, Rest::Torn)), "{row}"),
                None => assert_eq!(outcome(&flipped, &row), Ok((3, Rest::Torn)), "{row}"),
            }
        }
    }

    #[test]
    fn every_cut_and_every_write_that_stopped_half_way_ends_before_its_frame() {
        let (bytes, ends) = segment();
        for length in 0..=bytes.len() {
            let row = format!("{length} bytes");
            let mut zeroed = bytes.clone();
            zeroed[length..].fill(0);
            let Some(frames) = ends.iter().rposition(|end| *end <= length) else {
                assert_eq!(outcome(&bytes[..length], &row), Err(NoSegment::Header), "{row}");
                continue;
            };
            for bytes in [&bytes[..length], &zeroed] {
                let (read, rest) = outcome(bytes, &row).unwrap();
                assert!(read == frames && [Rest::Torn, Rest::Empty].contains(&rest), "{row}: {read} {rest:?}");
            }
        }
    }

    /// A group whose later pages came to the disk, and not the earlier ones.
    #[test]
    fn a_hole_anywhere_is_seen() {
        let (bytes, ends) = segment();
        for from in (0..ends[3]).step_by(8) {
            for to in (from + 8..=ends[3]).step_by(8) {
                let mut holed = bytes.clone();
                holed[from..to].fill(0);
                let row = format!("{from}..{to}");
                let expected = ends.iter().position(|end| from < *end).unwrap();
                match outcome(&holed, &row) {
                    Ok((read, _)) if holed != bytes => assert_eq!(Some(read), expected.checked_sub(1), "{row}"),
                    Ok((read, _)) => assert_eq!(read, 3, "{row}"),
                    Err(error) => assert_eq!((error, expected), (NoSegment::Header, 0), "{row}"),
                }
            }
        }
    }

    #[test]
    fn frames_out_of_their_order_are_no_end() {
        let (bytes, ends) = segment();
        let [header, first, second, third] = [0..ends[0], ends[0]..ends[1], ends[1]..ends[2], ends[2]..ends[3]];
        for (row, order, expected) in [
            ("one is missing", vec![&first, &third], (1, Rest::Damaged { later: Sequence(10) })),
            ("two are swapped", vec![&second, &first], (0, Rest::Damaged { later: Sequence(8) })),
            ("one is there twice", vec![&first, &first], (1, Rest::Damaged { later: Sequence(7) })),
            ("the last is missing", vec![&first, &second], (2, Rest::Empty)),
        ] {
            let mut other = bytes[header.clone()].to_vec();
            for frame in order {
                other.extend_from_slice(&bytes[frame.clone()]);
            }
            assert_eq!(outcome(&other, row), Ok(expected), "{row}");
        }
        let found: Vec<_> = frames(&bytes[ends[1]..], 0).map(|frame| frame.before.sequence.0).collect();
        assert_eq!(found, [7, 9], "what comes later is read without what was before");
    }

    /// Written by the first release that had it, never edited: what yesterday's bytes mean.
    #[test]
    fn the_layout_is_what_it_was() {
        let (bytes, ends) = segment();
        assert_eq!(ends, [64, 288, 672, 1224]);
        let digest = blake3::hash(&bytes);
        assert_eq!(digest.to_hex().as_str(), "45ab1775000c25874d1875ef0243ebcb3c4b6251aa4e293a57e246b42c63b878");
    }
}
