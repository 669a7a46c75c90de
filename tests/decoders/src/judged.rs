//! What an auditor's program reads: it must hold to what was signed, too, and agree with the authority on what a record is.

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use evidence::checkpoint::{Checkpoint, Proof};
use evidence::export::{Ends, Export};
use evidence::tile::{Edge, Kind, Tile, Tiled};
use evidence::tree::{inclusion, leaf};
use journal::bundle::Entry;
use journal::envelope;
use kernel::Sequence;
use verifier::log::Wanted;
use verifier::note::{Key, Trust};
use verifier::record::{self, Record};

use crate::records::chain;
use crate::signed;

/// Of the seeds: the log's key, and no witness.
static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let log = Key::log(&signed::public()).expect("the key of the seeds");
    Trust::of(log)
});

/// The log of all records, with the files that it has.
struct Log {
    records: Vec<Vec<u8>>,
    edge: Edge,
    note: String,
    files: Vec<(String, Vec<u8>)>,
}

static LOG: LazyLock<Log> = LazyLock::new(|| {
    let (records, mut edge, mut bundle) = (chain(), Edge::default(), Vec::new());
    for record in &records {
        let entry = Entry::of(record);
        entry.put(&mut bundle);
        edge.push(leaf(entry.bytes()), |tile, _| panic!("{tile:?} is full: the files of the seeds are partial ones"));
    }
    let size = edge.size();
    let tile = |kind| Tile::of(kind, 0, size).expect("there are entries").path();
    let hashes = edge.leaves().iter().flat_map(|hash| hash.0).collect();
    let origin = signed::checkpoint().origin;
    let note = signed::signer().sign(&Checkpoint { origin, size, root: edge.root() }.to_string());
    let files = vec![
        ("checkpoint".to_owned(), note.clone().into_bytes()),
        (tile(Kind::Entries), bundle),
        (tile(Kind::Hashes(0)), hashes),
    ];
    Log { records, edge, note, files }
});

fn prove(index: usize) -> Proof {
    let Log { records, edge, note, .. } = &*LOG;
    let (place, size) = (index as u64, edge.size());
    let mut nodes = Tiled::new(size, |_| Ok::<_, Infallible>(edge.leaves().to_vec()));
    let Ok(hashes) = inclusion(&mut nodes, place, size);
    Proof { extra: Some(records[index].clone()), index: place, hashes, checkpoint: note.clone() }
}

/// Some records in the middle, given away. Those of its files that are verified.
static EXPORT: LazyLock<Vec<(String, Vec<u8>)>> = LazyLock::new(|| {
    let (first, last) = (5, 11);
    let directory = tempfile::tempdir().expect("a directory");
    let place = directory.path().join("given");
    let mut export = Export::begin(&place, Sequence(first as u64 + 1)).expect("an export");
    for record in &LOG.records[first..=last] {
        export.push(record, "{}").expect("a record that follows");
    }
    let key = signed::signer().public().clone();
    export
        .finish(&Ends { key, first: prove(first), last: prove(last), witnesses: Vec::new(), quorum: 0 }, false)
        .expect("a proven export");
    ["checkpoint", "first.tlog-proof", "last.tlog-proof", "entries", "records.jsonl"]
        .map(|name| (name.to_owned(), fs::read(place.join(name)).expect("a file of the export")))
        .to_vec()
});

/// The number of a file, then what is in it.
fn each(files: &[(String, Vec<u8>)]) -> Vec<Vec<u8>> {
    (0_u8..).zip(files).map(|(number, (_, content))| [&[number], content.as_slice()].concat()).collect()
}

/// Files of which one is another, and what its name is.
fn changed<T>(files: &[(String, Vec<u8>)], bytes: &[u8], judge: impl FnOnce(&Path, &str, bool) -> T) -> Option<T> {
    let (number, content) = bytes.split_first()?;
    let (other, original) = files.get(usize::from(*number))?;
    let directory = tempfile::tempdir().expect("a directory");
    for (name, original) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("it is in the directory")).expect("a directory");
        fs::write(path, if name == other { content } else { original }).expect("a file");
    }
    Some(judge(directory.path(), other, content == original.as_slice()))
}

pub fn logs() -> Vec<Vec<u8>> {
    each(&LOG.files)
}

/// A log in which one file was changed is what was signed, or it is not believed.
pub fn log(bytes: &[u8]) {
    changed(&LOG.files, bytes, |directory, file, is_original| {
        match verifier::log::verify(directory, &TRUST, &Wanted::default()) {
            Ok(verified) => {
                // Others may have signed the note, too.
                assert!(is_original || file == "checkpoint", "{file} is not what was signed");
                assert_eq!(
                    (verified.checkpoint.size, verified.checkpoint.root.0),
                    (LOG.edge.size(), LOG.edge.root().0)
                );
            }
            Err(_) => assert!(!is_original, "it is what was signed"),
        }
    });
}

pub fn exports() -> Vec<Vec<u8>> {
    each(&EXPORT)
}

/// The same of an export.
pub fn export(bytes: &[u8]) {
    changed(&EXPORT, bytes, |directory, file, is_original| {
        match verifier::export::verify(directory, &TRUST) {
            Ok(verified) => {
                // What a proof carries along is proven by itself, and has one form.
                assert!(is_original, "{file} is not what was given away");
                assert_eq!((verified.first, verified.last), (6, 12));
            }
            Err(_) => assert!(!is_original, "it is what was given away"),
        }
    });
}

/// Checkpoints, attestations, and one that a witness seems to have signed.
pub fn notes() -> Vec<Vec<u8>> {
    let witness = "— witness AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n";
    [LOG.note.clone(), LOG.note.clone() + witness, signed::note_of_the_log(), attestation()]
        .map(String::into_bytes)
        .to_vec()
}

fn attestation() -> String {
    let (origin, digest) = (signed::checkpoint().origin, "0b".repeat(32));
    let root = LOG.edge.root();
    signed::signer().sign(&format!(
        "attestation v1 of {origin}\ntime 1700000000000\nprogram 0.1.0 blake3 {digest}\nconfiguration blake3 {digest}\n\
         policy epoch 3 blake3 {digest}\ncheckpoint 17 {root}\nstate gaps 4 {digest}\nstate tokens 9 {digest}\n"
    ))
}

/// Nothing is believed that was not signed, and one is never taken for the other.
pub fn note(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(checkpoint) = TRUST.checkpoint(text) {
        let found = (checkpoint.size, checkpoint.root.0);
        let known = [(LOG.edge.size(), LOG.edge.root().0), (signed::SIZE, signed::checkpoint().root.0)];
        assert!(known.contains(&found), "this was never signed");
        assert!(verifier::attestation::verify(text, &TRUST).is_err(), "a checkpoint is no attestation");
    }
    if let Ok(attestation) = verifier::attestation::verify(text, &TRUST) {
        assert_eq!((attestation.time, attestation.size, attestation.states.len()), (1_700_000_000_000, 17, 2));
    }
    // Of keys: whatever is given in their place.
    let _ = (Key::log(text), Key::witness(text));
}

pub fn proofs() -> Vec<Vec<u8>> {
    [0, 1, 7, LOG.records.len() - 1].map(|index| prove(index).to_string().into_bytes()).to_vec()
}

/// What is proven is a record of the log.
pub fn proof(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(proven) = verifier::proof::verify(text, &TRUST) {
        let place = usize::try_from(proven.sequence - 1).expect("a place in the log");
        let record = &LOG.records[place];
        let read = Record::read(record).expect("it is a record");
        assert_eq!(proven.record, Some(read.json(record)), "it is the record of that place");
    }
}

/// What is a record to the one is a record to the other, and says the same.
pub fn record(bytes: &[u8]) {
    match (Record::read(bytes), envelope::Record::decode(bytes)) {
        (Ok(theirs), Ok(ours)) => {
            assert_eq!((theirs.sequence, theirs.version), (ours.sequence.0, ours.version.0));
            assert_eq!((theirs.stream, theirs.principal), (ours.stream.as_str(), ours.principal.as_str()));
            assert_eq!((theirs.previous, theirs.body), (ours.previous.0, ours.body.as_slice()));
            assert_eq!(theirs.policies, ours.decision.policies);
            same_request(theirs.asked.as_ref(), ours.asked.as_deref());
            assert!(!theirs.json(bytes).contains('\n'), "it is one line");
        }
        (Err(_), Err(_)) => {}
        (Ok(_), Err(error)) => panic!("the authority would not have written it: {error}"),
        (Err(error), Ok(_)) => panic!("the authority can have written it: {error}"),
    }
}

fn same_request(theirs: Option<&record::Asked<'_>>, ours: Option<&kernel::Asked>) {
    assert_eq!(theirs.is_some(), ours.is_some());
    let (Some(theirs), Some(ours)) = (theirs, ours) else { return };
    assert_eq!((theirs.action, theirs.resource), (ours.action(), ours.resource()));
    let standing = ours.standing();
    assert_eq!((theirs.via_token, theirs.approvals), (standing.via_token, standing.approvals));
    assert_eq!(theirs.credential, standing.credential.map(|credential| credential.0));
    assert!(theirs.roles.iter().eq(&standing.roles) && theirs.proofs.iter().eq(&standing.proofs));
    let same = |((name, theirs), (named, ours)): (&(&str, record::Attribute<'_>), (&String, &kernel::Attribute))| {
        name == named
            && match (theirs, ours) {
                (record::Attribute::Text(theirs), kernel::Attribute::Text(ours)) => theirs == ours,
                (record::Attribute::Long(theirs), kernel::Attribute::Long(ours)) => theirs == ours,
                (record::Attribute::Bool(theirs), kernel::Attribute::Bool(ours)) => theirs == ours,
                _ => false,
            }
    };
    assert_eq!(theirs.context.len(), ours.context().len());
    assert!(theirs.context.iter().zip(ours.context()).all(same));
}

#[test]
fn the_seeds_are_good() {
    for seed in logs() {
        log(&seed);
    }
    for seed in exports() {
        export(&seed);
    }
    for proof in proofs() {
        verifier::proof::verify(std::str::from_utf8(&proof).unwrap(), &TRUST).unwrap();
    }
    let notes: Vec<_> = notes().into_iter().map(|note| String::from_utf8(note).unwrap()).collect();
    let [checkpoints @ .., attestation] = &notes[..] else { panic!("there are seeds") };
    assert!(checkpoints.iter().all(|note| TRUST.checkpoint(note).is_ok()));
    verifier::attestation::verify(attestation, &TRUST).unwrap();
}
