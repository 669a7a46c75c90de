//! Files: segments of the tail, entry bundles, tiles of hashes.

use evidence::tile::{self, WIDTH};
use journal::bundle::{self, Entry};
use journal::envelope::{Record, link};
use journal::segment::{Around, Segment, frames, header};
use journal::store::{Group, Head};
use kernel::{Digest, Sequence};

use crate::records::chain;

/// A segment of frames with one, two, three... records, and zeros after them; one that only begins; one of a later place.
pub fn segments() -> Vec<Vec<u8>> {
    let before = Head { sequence: Sequence(41), link: Digest([6; 32]) };
    vec![of(&chain()), header(Head::default()).to_vec(), header(before).to_vec()]
}

fn of(mut left: &[Vec<u8>]) -> Vec<u8> {
    let (mut bytes, mut head) = (header(Head::default()).to_vec(), Head::default());
    for records in 1.. {
        let Some((frame, rest)) = left.split_at_checked(records) else { break };
        left = rest;
        let mut group = Group::default();
        for record in frame {
            let record = Record::decode(record).expect("a seed is whole");
            head = Head { sequence: record.sequence, link: group.push(&record) };
        }
        let around = Around::new(group.payload(), group.records, head);
        around.slices(group.payload()).iter().for_each(|slice| bytes.extend_from_slice(slice));
    }
    bytes.resize(bytes.len() + 64, 0);
    bytes
}

/// What is read of a segment is a chain, in frames that have one form.
pub fn segment(bytes: &[u8]) {
    let whole = |frame: &journal::segment::Frame<'_>| {
        let mut group = Group::default();
        let mut head = frame.before;
        for (record, bytes, after) in &frame.records {
            assert_eq!((record.sequence.0, record.previous), (head.sequence.0 + 1, head.link), "records follow");
            assert_eq!((link(bytes), group.push(record)), (*after, *after), "a record has one form");
            head = Head { sequence: record.sequence, link: *after };
        }
        assert_eq!(head, frame.after, "a frame ends with its last record");
        let around = Around::new(group.payload(), group.records, head);
        let written: Vec<u8> = around.slices(group.payload()).iter().flat_map(|slice| slice.iter().copied()).collect();
        assert_eq!(written, bytes[frame.at..frame.end], "a frame has one form");
    };
    if let Ok(mut segment) = Segment::new(bytes) {
        let mut head = segment.head();
        for frame in segment.by_ref() {
            assert_eq!(frame.before, head, "frames follow");
            whole(&frame);
            head = frame.after;
        }
        assert_eq!(segment.head(), head);
        segment.rest();
    }
    frames(bytes, 0).for_each(|frame| whole(&frame));
}

/// Bundles with records and with the markers of blobs.
pub fn bundles() -> Vec<Vec<u8>> {
    let records = chain();
    let mut one = Vec::new();
    for record in &records {
        Entry::of(record).put(&mut one);
    }
    let large = vec![0x53; 1 << 16];
    let mut other = Vec::new();
    for record in [&records[0], &large, &records[1]] {
        Entry::of(record).put(&mut other);
    }
    vec![one, other, vec![]]
}

/// What is taken of a bundle is put back as it was.
pub fn bundle(bytes: &[u8]) {
    let (mut rest, mut again) = (bytes, Vec::new());
    while let Some(entry) = bundle::take(&mut rest) {
        match Entry::read(entry) {
            Some(read) => {
                assert_eq!(read.bytes(), entry, "an entry has one form");
                read.put(&mut again);
            }
            None => return,
        }
    }
    assert_eq!([&again, rest].concat(), bytes, "nothing is lost between two entries");
}

pub fn tiles() -> Vec<Vec<u8>> {
    [0, 1, 7, WIDTH].map(|width| vec![0xa5; 32 * width]).to_vec()
}

pub fn hashes(bytes: &[u8]) {
    for width in [bytes.len() / 32, bytes.len() / 32 + 1, 0, WIDTH] {
        match tile::hashes(bytes, width) {
            Some(hashes) => assert_eq!((hashes.len(), tile::bytes(&hashes).as_slice()), (width, bytes)),
            None => assert_ne!(bytes.len(), 32 * width, "so many hashes are a tile"),
        }
    }
}
