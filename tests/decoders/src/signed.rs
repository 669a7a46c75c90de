//! What is signed, and what is proven: notes, checkpoints, keys, inclusion. Nothing passes that is not one of the seeds.

use std::convert::Infallible;
use std::sync::LazyLock;

use evidence::BesideKey;
use evidence::checkpoint::{Checkpoint, Proof};
use evidence::note::{Key, PublicKey};
use evidence::tile::{Edge, Tile, Tiled};
use evidence::tree::{self, Hash, inclusion as path, is_consistent, is_included, leaf};
use verifier::beside::Chain;

/// A key that signs nothing but seeds.
const SECRET: &str = "PRIVATE+KEY+seeds+d29ef7a9+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

pub(crate) fn signer() -> Key {
    Key::parse(SECRET).expect("the key of the seeds")
}

static PUBLIC: LazyLock<PublicKey> = LazyLock::new(|| signer().public().clone());

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

/// The log of the seeds: so many entries, each with its proof.
pub(crate) const SIZE: u64 = 300;

struct Log {
    edge: Edge,
    full: Vec<(Tile, Vec<Hash>)>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let mut log = Log { edge: Edge::default(), full: Vec::new() };
    for index in 0..SIZE {
        let full = &mut log.full;
        log.edge.push(leaf(&entry(index)), |tile, hashes| full.push((tile, hashes.to_vec())));
    }
    log
});

pub(crate) fn checkpoint() -> Checkpoint {
    Checkpoint { origin: PUBLIC.name().to_owned(), size: SIZE, root: LOG.edge.root() }
}

pub(crate) fn public() -> String {
    PUBLIC.to_string()
}

pub(crate) fn note_of_the_log() -> String {
    signer().sign(&checkpoint().to_string())
}

fn proven(index: u64) -> Vec<Hash> {
    let read = |tile: Tile| {
        let full = LOG.full.iter().find(|(full, _)| *full == tile).map(|(_, hashes)| hashes.clone());
        let partial = || LOG.edge.partial().find(|(partial, _)| *partial == tile).map(|(_, hashes)| hashes.to_vec());
        Ok::<_, Infallible>(full.or_else(partial).expect("the log has its tiles"))
    };
    let mut nodes = Tiled::new(SIZE, read);
    match path(&mut nodes, index, SIZE) {
        Ok(hashes) => hashes,
        Err(never) => match never {},
    }
}

const TEXTS: [&str; 2] = ["one line\n", "two\nlines — é\n"];

/// Signed by the key, by two, and a checkpoint.
pub fn notes() -> Vec<Vec<u8>> {
    let key = signer();
    let [one, two] = TEXTS.map(|text| key.sign(text));
    let other = "— other AAAAAAECAwQ=\n";
    [one.clone() + other, one, two, note_of_the_log()].map(String::into_bytes).to_vec()
}

pub fn note(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(opened) = PUBLIC.open(text) {
        let known = TEXTS.contains(&opened) || opened == checkpoint().to_string();
        assert!(known, "this was never signed: {opened:?}");
    }
    if let Ok(opened) = Checkpoint::open(text, &PUBLIC) {
        assert_eq!(opened, checkpoint(), "this was never signed");
    }
}

pub fn keys() -> Vec<Vec<u8>> {
    let beside = beside().to_string();
    let succession = format!("sop succession v1\nkey {beside} revoked 9\nkey {beside} by 1 AAAA\n");
    vec![SECRET.into(), PUBLIC.to_string().into_bytes(), beside.into_bytes(), succession.into_bytes()]
}

/// A key beside that of the log, by which anybody can check.
pub fn beside() -> BesideKey {
    let spki = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    // The base point of the curve.
    let key = [&spki[..], &[0x58], &[0x66; 31]].concat();
    BesideKey::new(PUBLIC.name(), "checkpoints.1", 0x0401, &key)
}

/// A key has one text.
pub fn key(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(public) = PublicKey::parse(text) {
        assert_eq!(public.to_string(), text, "a key has one text");
    }
    let known = BesideKey::parse(text);
    if let Ok(beside) = &known {
        assert_eq!(beside.to_string(), text, "a key has one text");
    }
    // Who verifies takes no key that the authority would not, and follows no file to one.
    if let Ok(judged) = verifier::beside::Key::parse(text) {
        assert_eq!(known.map(|key| key.name().to_owned()).as_deref(), Ok(judged.name()));
    }
    let first = verifier::beside::Key::parse(&beside().to_string()).expect("a key");
    if let Ok(chain) = Chain::of(first).followed(text) {
        assert_eq!(chain.name(), beside().name());
    }
    if let Ok(secret) = Key::parse(text) {
        assert_eq!(*secret.secret(), text, "a key has one text");
    }
}

pub fn proofs() -> Vec<Vec<u8>> {
    let note = note_of_the_log();
    let proof = |index, extra: Option<Vec<u8>>| {
        Proof { extra, index, hashes: proven(index), checkpoint: note.clone() }.to_string().into_bytes()
    };
    [0, 1, 255, 256, SIZE - 1].map(|index| proof(index, (index % 2 == 0).then(|| entry(index)))).to_vec()
}

/// A proof has one text, and proves what is so or nothing.
pub fn proof(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(proof) = Proof::parse(text) else { return };
    assert_eq!(proof.to_string(), text, "a proof has one text");
    for index in [0, 1, 255, 256, SIZE - 1, proof.index.min(SIZE)] {
        if proof.verify(&entry(index), &PUBLIC).is_ok() {
            assert_eq!(proof.index, index, "the entry is at its place");
            assert_eq!(proof.hashes, proven(index), "there is one proof of it");
        }
    }
}

/// Index, size (u64 little endian each), then the hashes of a proof.
pub fn inclusions() -> Vec<Vec<u8>> {
    let seed = |index: u64| {
        let hashes = proven(index).iter().flat_map(|hash| hash.0).collect::<Vec<_>>();
        [&index.to_le_bytes()[..], &SIZE.to_le_bytes(), &hashes].concat()
    };
    [0, 1, 255, 256, SIZE - 1].map(seed).to_vec()
}

/// No path leads from what is not an entry to the root, wherever it is said to be: the size is not proven by it, as the same
/// path may serve trees of several sizes, and so it is signed. And no tree but the empty one is the beginning of all.
pub fn inclusion(bytes: &[u8]) {
    let Some((index, rest)) = bytes.split_first_chunk() else { return };
    let Some((size, rest)) = rest.split_first_chunk() else { return };
    let (index, size) = (u64::from_le_bytes(*index), u64::from_le_bytes(*size));
    let hashes: Vec<_> = rest.as_chunks::<32>().0.iter().map(|hash| Hash(*hash)).collect();
    let root = LOG.edge.root();
    for place in [index, index ^ 1, SIZE] {
        if is_included(&hashes, index, size, leaf(&entry(place)), root) {
            assert!(place < SIZE, "there is no entry {place}");
            assert_eq!(hashes, proven(place), "there is one path from entry {place}");
        }
    }
    let empty = tree::empty();
    for (old, old_root) in [(index, root), (index, empty), (SIZE, root), (0, empty)] {
        if is_consistent(&hashes, old, old_root, size, root) {
            assert!(old_root == root || old == 0, "the empty tree has no {old} entries");
        }
    }
}

#[test]
fn the_seeds_are_good() {
    for note in notes() {
        let note = String::from_utf8(note).unwrap();
        assert!(PUBLIC.open(&note).is_ok(), "{note}");
    }
    for (text, index) in proofs().into_iter().zip([0, 1, 255, 256, SIZE - 1]) {
        let proof = Proof::parse(std::str::from_utf8(&text).unwrap()).unwrap();
        assert_eq!(proof.verify(&entry(index), &PUBLIC), Ok(checkpoint()));
    }
}
