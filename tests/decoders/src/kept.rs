//! What is kept beside the journal: sealed texts and their keys, snapshots, and what backups say of themselves.

use std::sync::LazyLock;

use journal::archive::{Listed, Manifest};
use journal::snapshots::{Label, opened};
use journal::store::Head;
use kernel::{CommandId, Digest, Position, Principal, Sequence};
use keyring::key::Key;
use vault::Point;

use crate::signed;

const TEXTS: [&str; 3] = ["", "ask Ada", "two\nlines — é"];
const NAME: &str = "backup-3";

/// Of the seeds.
static KEY: LazyLock<Key> = LazyLock::new(|| key(&"agent/ada".parse().expect("a principal")));

fn key(subject: &Principal) -> Key {
    Key::new(subject, 7, [5; 32])
}

/// Sealed by the key, and one by the key of another subject that has its number.
pub fn sealed_texts() -> Vec<Vec<u8>> {
    let others = key(&"agent/bob".parse().expect("a principal"));
    let own = TEXTS.map(|text| KEY.seal(CommandId(9), "reason", text));
    [own.to_vec(), vec![others.seal(CommandId(9), "reason", "about Bob")]].concat()
}

/// What a key opens it has sealed.
pub fn sealed(bytes: &[u8]) {
    if let Some(text) = KEY.open(bytes) {
        let sealed = sealed_texts();
        let which = sealed.iter().position(|sealed| sealed == bytes).expect("this was never sealed");
        assert_eq!(TEXTS.get(which), Some(&text.as_str()));
    }
}

/// Without the line at the end that vouches for the rest: anybody could write it.
pub fn subject_keys() -> Vec<Vec<u8>> {
    let written = KEY.written();
    let (told, _) = written.split_once("\ncheck ").expect("a key is written with its check");
    vec![told.as_bytes().to_vec()]
}

/// A key has one text.
pub fn subject_key(bytes: &[u8]) {
    let Ok(told) = std::str::from_utf8(bytes) else { return };
    assert!(Key::read(told).is_none(), "nothing vouches for it");
    let text = format!("{told}\ncheck {}\n", Digest(*blake3::hash(bytes).as_bytes()));
    if let Some(key) = Key::read(&text) {
        assert_eq!(key.written(), text, "a key has one text");
    }
}

fn label() -> Label {
    let head = Head { sequence: Sequence(41), link: Digest([4; 32]) };
    Label { stream: "tokens".into(), revision: 3, shape: Digest([9; 32]), version: Position(17), head }
}

/// Without the sum at the end: anybody could write it.
pub fn snapshots() -> Vec<Vec<u8>> {
    let one = |label: Label, content: &[u8]| [&label.bytes(), content].concat();
    vec![one(label(), b"a state"), one(Label { stream: String::new(), ..label() }, b"")]
}

/// What is read as a snapshot of a version is one of it, and has one form.
pub fn snapshot(bytes: &[u8]) {
    let sum = *blake3::hash(bytes).as_bytes();
    for version in [label().version, Position(0)] {
        assert_eq!(opened(bytes.to_vec(), version), None, "nothing vouches for it");
        if let Some((label, content)) = opened([bytes, &sum].concat(), version) {
            assert_eq!(label.version, version);
            assert_eq!([label.bytes(), content].concat(), bytes, "a snapshot has one form");
        }
    }
}

pub fn points() -> Vec<Vec<u8>> {
    let point = |last, checkpoint| Point {
        format: 2,
        sop: "0.1.0".into(),
        backup: 3,
        created_at: "2026-01-02T03:04:05Z".into(),
        last,
        head: Digest([8; 32]),
        bytes: 12_345,
        full_bytes: 0,
        copied: 345,
        key: signed::public(),
        checkpoint,
        signature: None,
    };
    let signed = signed::note_of_the_log();
    let line = signed::beside().line(&[7; 64]);
    let with_a_line = Point { format: 3, signature: Some(line), ..point(17, signed.clone()) };
    [point(17, signed.clone()), point(signed::SIZE + 1, signed), point(0, String::new()), with_a_line]
        .map(|point| point.text())
        .to_vec()
}

/// What a backup says of itself has one form, and stands on what was signed or on nothing.
pub fn point(bytes: &[u8]) {
    let Ok(point) = Point::parse(NAME, bytes) else { return };
    assert_eq!(point.text(), bytes, "it has one form");
    assert_eq!(point.format == 3, point.signature.is_some(), "an earlier release reads none that is signed");
    // Who can write to the place of a backup can write another key, too: whoever restores compares it.
    if let Ok((key, checkpoint)) = point.signed() {
        assert!(point.last <= checkpoint.size, "it ends within what was signed");
        if key.to_string() == signed::public() {
            assert_eq!(checkpoint, signed::checkpoint(), "this was never signed");
        }
    }
}

pub fn manifests() -> Vec<Vec<u8>> {
    let listed = |name: &str, byte| Listed { name: name.into(), bytes: 300, blake3: Digest([byte; 32]) };
    let manifest = |files: Vec<Listed>, last| {
        let mut all = blake3::Hasher::new();
        for file in &files {
            all.update(&file.blake3.0);
        }
        Manifest {
            format: 1,
            sop: "0.1.0".into(),
            created_at: "2026-01-02T03:04:05Z".into(),
            first: 1,
            last,
            count: last,
            head: Digest([8; 32]),
            files,
            digest: Digest(*all.finalize().as_bytes()),
        }
    };
    [manifest(vec![listed("entries/000", 1), listed("blobs/00", 2)], 20), manifest(vec![], 0)]
        .map(|manifest| serde_json::to_vec(&manifest).expect("a manifest is plain data"))
        .to_vec()
}

/// A manifest does not contradict itself, and is read as what it was written as.
pub fn manifest(bytes: &[u8]) {
    let Ok(manifest) = Manifest::parse(bytes) else { return };
    assert_eq!((manifest.first, manifest.last), (1, manifest.count));
    let written = serde_json::to_vec(&manifest).expect("a manifest is plain data");
    assert_eq!(Manifest::parse(&written).ok(), Some(manifest), "it is read as it was written");
}

#[test]
fn the_seeds_are_good() {
    assert_eq!(sealed_texts().iter().filter_map(|sealed| KEY.open(sealed)).collect::<Vec<_>>(), TEXTS);
    for snapshot in snapshots() {
        let sum = *blake3::hash(&snapshot).as_bytes();
        assert!(opened([&snapshot[..], &sum].concat(), label().version).is_some());
    }
    let points = points().iter().map(|point| Point::parse(NAME, point).unwrap()).collect::<Vec<_>>();
    assert_eq!(points.iter().map(|point| point.signed().is_ok()).collect::<Vec<_>>(), [true, false, false, true]);
    assert!(manifests().iter().all(|manifest| Manifest::parse(manifest).is_ok()));
}
