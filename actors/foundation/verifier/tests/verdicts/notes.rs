//! Keys, notes and proofs: what is accepted is what the authority signed, and nothing else.

use evidence::note::Key as Signer;
use kernel::Sequence;
use verifier::note::{Key, Trust};
use verifier::{proof, record};

use crate::world::World;

#[test]
fn a_key_is_one_of_its_kind_or_none() {
    let signer = Signer::generate(|_| "sop/one".to_owned()).unwrap();
    let vkey = signer.public().to_string();
    assert_eq!(Key::log(&vkey).unwrap().name(), "sop/one");
    assert!(Key::witness(&vkey).is_err(), "a log is no witness");
    for broken in
        [String::new(), "sop/one".to_owned(), vkey.replacen("one", "two", 1), vkey[..vkey.len() - 1].to_owned()]
    {
        assert!(Key::log(&broken).is_err(), "{broken}");
    }
}

#[test]
fn every_proof_is_accepted_and_no_changed_one() {
    let world = World::of(310);
    let trust = world.trust();
    for (sequence, bytes) in (1..).zip(world.records()) {
        let text = world.evidence.prove(Sequence(sequence)).unwrap().to_string();
        let proven = proof::verify(&text, &trust).unwrap();
        assert_eq!((proven.sequence, proven.checkpoint.size), (sequence, 310));
        match proven.record {
            Some(json) => assert_eq!(json, record::Record::read(&bytes).unwrap().json(&bytes)),
            None => assert_eq!(sequence, 301, "the one that fits no entry"),
        }
    }
    let text = world.evidence.prove(Sequence(77)).unwrap().to_string();
    for at in 0..text.len() {
        let mut changed = text.clone().into_bytes();
        changed[at] ^= 1;
        if let Ok(changed) = String::from_utf8(changed) {
            assert!(proof::verify(&changed, &trust).is_err(), "byte {at} may be anything: {changed}");
        }
    }
    // Another record's bytes do not become record 77 by saying so.
    let other = world.evidence.prove(Sequence(78)).unwrap().to_string();
    let extra = |text: &str| text.lines().nth(1).unwrap().to_owned();
    let bad = proof::verify(&text.replacen(&extra(&text), &extra(&other), 1), &trust).unwrap_err();
    assert_eq!(bad.at, Some(77));
    let stranger = Signer::generate(|_| trust.log.name().to_owned()).unwrap();
    let stranger = Trust { log: Key::log(&stranger.public().to_string()).unwrap(), ..trust };
    assert!(proof::verify(&text, &stranger).is_err(), "of the same name, and another key");
}
