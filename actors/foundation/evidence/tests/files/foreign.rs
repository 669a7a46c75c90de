//! Verifiers that we did not write accept our log, and reject each changed copy of it: Cloudflare's `signed_note` and
//! `tlog_tiles`, made for Certificate Transparency.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::world::{World, files};
use signed_note::{Note, StandardVerifier, VerifierList};
use tlog_tiles::checkpoint::Checkpoint;
use tlog_tiles::tile::{Tile, TileHashReader, TileReader};
use tlog_tiles::tlog::{
    Error, HashReader as _, check_record, check_tree, prove_record, prove_tree, record_hash, stored_hash_index,
};

type Files = BTreeMap<PathBuf, Vec<u8>>;

struct Reader<'a>(&'a Files);

impl TileReader for Reader<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        let read = |tile: &Tile| {
            // The paths of the checksum database have the height in them.
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            let bytes = self.0.get(&PathBuf::from(path)).ok_or(Error::InvalidTile)?;
            if bytes.len() == 32 * tile.width() as usize { Ok(bytes.clone()) } else { Err(Error::InvalidTile) }
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _: &[Tile], _: &[Vec<u8>]) {}
}

/// The checkpoint of the log, if it is signed.
fn signed(log: &Files, vkey: &str) -> Result<Checkpoint, String> {
    let note = log.get(&PathBuf::from("checkpoint")).ok_or("there is no checkpoint")?;
    let note = Note::from_bytes(note).map_err(|error| error.to_string())?;
    let verifier = StandardVerifier::new(vkey).map_err(|error| error.to_string())?;
    note.verify(&VerifierList::new(vec![Box::new(verifier)])).map_err(|error| error.to_string())?;
    Checkpoint::from_bytes(note.text()).map_err(|error| error.to_string())
}

/// The entries of the log, each proven to be in the tree that was signed.
fn entries(log: &Files, checkpoint: &Checkpoint) -> Result<Vec<Vec<u8>>, String> {
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    let reader = Reader(log);
    let hashes = TileHashReader::new(size, root, &reader);
    let mut entries = Vec::new();
    for bundle in 0..size.div_ceil(256) {
        let width = (size - bundle * 256).min(256);
        let name = match width {
            256 => format!("tile/entries/{bundle:03}"),
            width => format!("tile/entries/{bundle:03}.p/{width}"),
        };
        let mut rest = log.get(&PathBuf::from(&name)).ok_or(format!("{name} is missing"))?.as_slice();
        let indexes: Vec<u64> = (bundle * 256..bundle * 256 + width).map(|index| stored_hash_index(0, index)).collect();
        let known = hashes.read_hashes(&indexes).map_err(|error| format!("{name}: {error}"))?;
        for known in known {
            let (length, after) = rest.split_first_chunk::<2>().ok_or(format!("{name} is cut"))?;
            let (entry, after) =
                after.split_at_checked(u16::from_be_bytes(*length).into()).ok_or(format!("{name} is cut"))?;
            rest = after;
            if known != record_hash(entry) {
                let index = entries.len();
                return Err(format!("entry {index} is not what was signed"));
            }
            entries.push(entry.to_vec());
        }
        if !rest.is_empty() {
            return Err(format!("{name} has more"));
        }
    }
    Ok(entries)
}

/// Everything that an auditor asks who remembers an older checkpoint.
fn audited(log: &Files, vkey: &str, remembered: Option<&Checkpoint>) -> Result<Vec<Vec<u8>>, String> {
    let checkpoint = signed(log, vkey)?;
    if let Some(old) = remembered {
        if checkpoint.size() < old.size() {
            return Err("it is shorter than it was".to_owned());
        }
        let reader = Reader(log);
        let hashes = TileHashReader::new(checkpoint.size(), *checkpoint.hash(), &reader);
        let proof = prove_tree(checkpoint.size(), old.size(), &hashes).map_err(|error| error.to_string())?;
        check_tree(&proof, checkpoint.size(), *checkpoint.hash(), old.size(), *old.hash())
            .map_err(|error| error.to_string())?;
    }
    entries(log, &checkpoint)
}

/// Logs of a few sizes, the first full tile and a partial one among them, of one journal.
fn grown() -> (World, String, Vec<Files>) {
    let mut world = World::new();
    let mut logs = Vec::new();
    for (size, bytes) in [(3, 5), (200, 9), (201, 40_000), (256, 5), (257, 5), (700, 70)] {
        world.write(size, bytes, 7);
        world.follow();
        logs.push(files(&world.places().log));
    }
    let vkey = world.evidence.public().unwrap().to_string();
    (world, vkey, logs)
}

#[test]
fn others_verify_every_checkpoint_and_every_entry() {
    let (world, vkey, logs) = grown();
    let mut remembered: Vec<Checkpoint> = Vec::new();
    for log in &logs {
        for old in &remembered {
            audited(log, &vkey, Some(old)).unwrap();
        }
        remembered.push(signed(log, &vkey).unwrap());
    }
    let (log, checkpoint) = (logs.last().unwrap(), remembered.last().unwrap());
    let entries = audited(log, &vkey, None).unwrap();
    assert_eq!(entries.len(), 700);
    let records = world.journal.raw(kernel::Sequence(1), usize::MAX).unwrap();
    let reader = Reader(log);
    let hashes = TileHashReader::new(700, *checkpoint.hash(), &reader);
    let mut blobs = 0;
    for (index, (entry, record)) in (0..).zip(entries.iter().zip(&records)) {
        let proof = prove_record(700, index, &hashes).unwrap();
        check_record(&proof, 700, *checkpoint.hash(), index, record_hash(entry)).unwrap();
        // The proof that we give is theirs, hash for hash.
        let ours = world.evidence.prove(kernel::Sequence(index + 1)).unwrap();
        assert_eq!(
            ours.hashes.iter().map(|hash| hash.0).collect::<Vec<_>>(),
            proof.iter().map(|hash| hash.0).collect::<Vec<_>>()
        );
        if entry == record {
            continue;
        }
        let name = format!("blobs/{}", blake3::hash(record).to_hex());
        assert_eq!(*entry, [&[0x42], &blake3::hash(record).as_bytes()[..]].concat());
        assert_eq!(log[&PathBuf::from(name)], *record);
        blobs += 1;
    }
    assert_eq!(blobs, 1);
}

/// An entry's place in the bundle with that name: where its bytes begin, and how many there are.
fn place(log: &Files, bundle: &str, number: usize) -> (usize, usize) {
    let bytes = &log[&PathBuf::from(bundle)];
    let length = |at: usize| usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
    let at = (0..number).fold(0, |at, _| at + 2 + length(at));
    (at + 2, length(at))
}

#[test]
fn others_reject_what_was_changed() {
    let (world, vkey, logs) = grown();
    let log = logs.last().unwrap();
    let remembered = signed(log, &vkey).unwrap();
    let changed = |change: &dyn Fn(&mut Files)| {
        let mut copy = log.clone();
        change(&mut copy);
        copy
    };
    let bytes = |copy: &mut Files, name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        change(copy.get_mut(&PathBuf::from(name)).unwrap());
    };
    for (row, copy) in [
        ("an edited entry", changed(&|copy| bytes(copy, "tile/entries/001", &|bytes| bytes[5] ^= 1))),
        (
            "an edited entry of a partial bundle",
            changed(&|copy| bytes(copy, "tile/entries/002.p/188", &|bytes| bytes[77] ^= 4)),
        ),
        ("an edited tile", changed(&|copy| bytes(copy, "tile/0/001", &|bytes| bytes[8_000] ^= 1))),
        ("an edited tile on the right", changed(&|copy| bytes(copy, "tile/0/002.p/188", &|bytes| bytes[0] ^= 1))),
        ("an edited tile above", changed(&|copy| bytes(copy, "tile/1/000.p/2", &|bytes| bytes[40] ^= 1))),
        (
            "exchanged entries",
            changed(&|copy| {
                let ((one, length), (other, same)) =
                    (place(copy, "tile/entries/001", 4), place(copy, "tile/entries/001", 5));
                assert_eq!(length, same, "they are of one length");
                bytes(copy, "tile/entries/001", &|bytes| {
                    let first = bytes[one..one + length].to_vec();
                    bytes.copy_within(other..other + same, one);
                    bytes[other..other + same].copy_from_slice(&first);
                });
            }),
        ),
        (
            "a missing entry",
            changed(&|copy| {
                let (at, length) = place(copy, "tile/entries/000", 17);
                bytes(copy, "tile/entries/000", &|bytes| drop(bytes.drain(at - 2..at + length)));
            }),
        ),
        (
            "a log cut under its checkpoint",
            changed(&|copy| drop(copy.remove(&PathBuf::from("tile/entries/002.p/188")))),
        ),
        ("a log that was put back", logs[3].clone()),
        (
            "a checkpoint of more",
            changed(&|copy| {
                let text = String::from_utf8(copy[&PathBuf::from("checkpoint")].clone())
                    .unwrap()
                    .replacen("\n700\n", "\n701\n", 1);
                copy.insert("checkpoint".into(), text.into_bytes());
            }),
        ),
    ] {
        assert!(audited(&copy, &vkey, Some(&remembered)).is_err(), "{row} is accepted");
        assert_ne!(copy, *log, "{row}");
    }
    assert!(audited(log, &vkey, Some(&remembered)).is_ok());
    // Another journal under another key is another log.
    assert!(signed(&files(&World::new().places().log), &vkey).is_err());
    drop(world);
}
