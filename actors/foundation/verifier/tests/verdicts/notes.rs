//! Keys, notes and proofs: what is accepted is what the authority signed, and nothing else.

use base64ct::{Base64, Encoding as _};
use ed25519_dalek::{Signer as _, SigningKey};
use evidence::note::Key as Signer;
use kernel::Sequence;
use sha2::{Digest as _, Sha256};
use verifier::note::{Key, Trust};
use verifier::{attestation, proof, record};

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
    let stranger = Signer::generate(|_| trust.origin().to_owned()).unwrap();
    let stranger = Trust { log: Some(Key::log(&stranger.public().to_string()).unwrap()), ..trust };
    assert!(proof::verify(&text, &stranger).is_err(), "of the same name, and another key");
}

/// The key of a witness, and the line with which it cosigns a text at a time.
pub fn witness(seed: u8, name: &str) -> (String, impl Fn(&str, u64) -> String) {
    let key = SigningKey::from_bytes(&[seed; 32]);
    let coded = [&[4], &key.verifying_key().to_bytes()[..]].concat();
    let id = Sha256::new().chain_update(name).chain_update(b"\n").chain_update(&coded).finalize();
    let vkey = format!("{name}+{}+{}", verifier::hex(&id[..4]), Base64::encode_string(&coded));
    let name = name.to_owned();
    let cosign = move |text: &str, time: u64| {
        let signature = key.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes()).to_bytes();
        let bytes = [&id[..4], &time.to_be_bytes(), &signature].concat();
        format!("— {name} {}\n", Base64::encode_string(&bytes))
    };
    (vkey, cosign)
}

#[test]
fn as_many_witnesses_as_are_asked_for_must_have_cosigned() {
    let signer = Signer::generate(|_| "sop/one".to_owned()).unwrap();
    let text = format!("sop/one\n0\n{}\n", verifier::tree::empty());
    let note = signer.sign(&text);
    let ((first, cosign_first), (second, cosign_second)) = (witness(1, "w/first"), witness(2, "w/second"));
    let (renamed, cosign_renamed) = witness(1, "w/renamed");
    let trust = |witnesses: &[&String], quorum| Trust {
        log: Some(Key::log(&signer.public().to_string()).unwrap()),
        beside: Vec::new(),
        witnesses: witnesses.iter().map(|vkey| Key::witness(vkey).unwrap()).collect(),
        quorum,
    };
    let seen = |note: &str, trust: Trust| trust.checkpoint(note).map(|checkpoint| checkpoint.cosigned);
    let one = format!("{note}{}", cosign_first(&text, 7));
    let both = format!("{one}{}", cosign_second(&text, 9));
    assert_eq!(seen(&both, trust(&[], 0)), Ok(vec![]), "unknown ones are no harm");
    assert_eq!(seen(&one, trust(&[&first, &second], 1)), Ok(vec![("w/first".into(), 7)]));
    assert_eq!(seen(&both, trust(&[&first, &second], 2)), Ok(vec![("w/first".into(), 7), ("w/second".into(), 9)]));
    assert!(seen(&note, trust(&[&first], 1)).is_err());
    assert!(seen(&one, trust(&[&first, &second], 2)).unwrap_err().what.contains("by 1 of the given witnesses, 2 must"));
    // The same key under another name is the same witness.
    let twice = format!("{one}{}", cosign_renamed(&text, 7));
    assert!(seen(&twice, trust(&[&first, &renamed], 2)).is_err());
    // Of another text, of no time, of another time than it says: the note is spoilt.
    let another = cosign_first(&text.replacen("\n0\n", "\n1\n", 1), 7);
    for wrong in [another, cosign_first(&text, 0), cosign_first(&text, u64::MAX)] {
        assert!(seen(&format!("{note}{wrong}"), trust(&[&first], 1)).is_err(), "{wrong}");
        assert!(seen(&format!("{note}{wrong}"), trust(&[&first], 0)).is_err(), "{wrong}");
    }
    // A witness alone is not the log.
    let alone = format!("{text}\n{}", cosign_first(&text, 7));
    assert!(seen(&alone, trust(&[&first], 1)).is_err());
}

#[test]
fn an_attestation_is_what_was_signed_and_no_checkpoint() {
    let signer = Signer::generate(|_| "sop/one".to_owned()).unwrap();
    let trust = Trust::of(Key::log(&signer.public().to_string()).unwrap());
    let digest = |byte: u8| verifier::hex(&[byte; 32]);
    let root = verifier::tree::leaf(b"any");
    let text = format!(
        "attestation v1 of sop/one\ntime 17\nprogram 0.1.0 blake3 {}\nconfiguration blake3 {}\npolicy epoch 3 blake3 {}\n\
         checkpoint 9 {root}\nstate gaps 4 {}\nstate todos 2 {}\n",
        digest(1),
        digest(2),
        digest(3),
        digest(4),
        digest(5)
    );
    let said = attestation::verify(&signer.sign(&text), &trust).unwrap();
    assert_eq!((said.time, said.policy_epoch, said.size, said.root), (17, 3, 9, root));
    assert_eq!(said.states["todos"], (2, digest(5)));
    assert!(trust.checkpoint(&signer.sign(&text)).is_err(), "it is no checkpoint");
    let checkpoint = format!("sop/one\n9\n{root}\n");
    assert!(attestation::verify(&signer.sign(&checkpoint), &trust).is_err(), "and a checkpoint is none");
    for (what, changed) in [
        ("of another log", text.replacen("of sop/one", "of sop/two", 1)),
        ("of another version", text.replacen("attestation v1", "attestation v2", 1)),
        ("a number in another form", text.replacen("time 17", "time 017", 1)),
        ("a state twice", format!("{text}state todos 2 {}\n", digest(5))),
        ("states in another order", format!("{text}state backup 2 {}\n", digest(5))),
        ("a digest too short", text.replacen(&digest(4), &digest(4)[1..], 1)),
        ("a line more", format!("{text}and so on\n")),
        ("a line less", text.replacen(&format!("configuration blake3 {}\n", digest(2)), "", 1)),
    ] {
        assert_ne!(changed, text);
        assert!(attestation::verify(&signer.sign(&changed), &trust).is_err(), "{what}");
    }
    let unsigned = signer.sign(&text).replacen("state gaps 4", "state gaps 5", 1);
    assert!(attestation::verify(&unsigned, &trust).unwrap_err().what.contains("not right"));
}
