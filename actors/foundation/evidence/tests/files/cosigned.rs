//! What witnesses say of the log: taken if it is right and of this log, and kept beside the checkpoint that it is of.

use std::fs;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::checkpoint::Checkpoint;
use evidence::note::Key;
use evidence::repair::{Mended, repair};
use evidence::{CosignError, Evidence, Hands, Limits, LogError, Witness, Witnesses};
use kernel::{Sequence, Timestamp};

use crate::world::{World, files};

const NAMES: [&str; 3] = ["w/one", "w/two", "w/three"];

fn pair(number: usize) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[u8::try_from(number).unwrap() + 1; 32]).unwrap()
}

fn witnesses(quorum: usize) -> Witnesses {
    let key = |number| pair(number).public_key().as_ref().try_into().unwrap();
    let all = NAMES.iter().enumerate().map(|(number, name)| Witness::new(*name, key(number))).collect();
    Witnesses { all, quorum }
}

/// The line with which a witness says that it saw the checkpoint of a note.
fn line(by: usize, name: &str, note: &str, time: u64) -> String {
    let text = &note[..=note.find("\n\n").unwrap()];
    let pair = pair(by);
    let id = digest(&SHA256, &[name.as_bytes(), b"\n\x04", pair.public_key().as_ref()].concat());
    let signature = pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
    let bytes = [&id.as_ref()[..4], &time.to_be_bytes(), signature.as_ref()].concat();
    format!("— {name} {}\n", STANDARD.encode(bytes))
}

fn cosigned(note: &str, by: &[usize]) -> String {
    by.iter().fold(note.to_owned(), |all, by| all + &line(*by, NAMES[*by], note, 1_700_000_000))
}

/// The log of a world, as a process opens it that asks these witnesses.
fn asking(world: &World, quorum: usize) -> Evidence {
    world.evidence.close();
    let evidence = Evidence::witnessed(
        &world.journal,
        world.places(),
        None,
        witnesses(quorum),
        Hands::default(),
        Limits::default(),
    );
    evidence.open().unwrap();
    evidence
}

/// The log grows to so many records, and is signed.
fn grown(world: &mut World, evidence: &Evidence, records: u64) -> String {
    world.write(records, 10, 1);
    while evidence.follow().unwrap() {}
    evidence.checkpoint().unwrap().1
}

fn by(evidence: &Evidence) -> Vec<Option<u64>> {
    evidence.seen().into_iter().map(|seen| seen.map(|(size, _)| size)).collect()
}

#[test]
fn a_cosignature_is_taken_if_it_is_right_and_of_this_log() {
    let mut world = World::new();
    let evidence = asking(&world, 0);
    let note = grown(&mut world, &evidence, 300);
    let text = &note[..=note.find("\n\n").unwrap()];
    let key = Key::parse(fs::read_to_string(world.places().key).unwrap().trim_end()).unwrap();
    let stranger = Key::generate(|_| key.public().name().to_owned()).unwrap();
    let forked = key.sign(&text.replacen("\n300\n", "\n299\n", 1));
    let ahead = key.sign(&text.replacen("\n300\n", "\n301\n", 1));
    let own = note.clone();
    for (row, offered, code) in [
        ("nobody's", note.clone(), "evidence.no_witness"),
        ("a stranger's", format!("{note}{}", line(7, "w/stranger", &note, 1)), "evidence.no_witness"),
        ("of another's name", format!("{note}{}", line(7, NAMES[0], &note, 1)), "evidence.no_witness"),
        ("over another text", format!("{note}{}", line(0, NAMES[0], &forked, 1)), "evidence.wrong_cosignature"),
        ("at no time", format!("{note}{}", line(0, NAMES[0], &note, 0)), "evidence.wrong_cosignature"),
        ("after all time", format!("{note}{}", line(0, NAMES[0], &note, 1 << 63)), "evidence.wrong_cosignature"),
        ("right and wrong", cosigned(&note, &[1]) + &line(0, NAMES[0], &forked, 1), "evidence.wrong_cosignature"),
        ("of another log", cosigned(&stranger.sign(text), &[0]), "evidence.not_our_checkpoint"),
        ("of none", cosigned(&note, &[0]).replacen("— sop", "— sap", 1), "evidence.not_our_checkpoint"),
        ("no note", "hello".to_owned(), "evidence.not_our_checkpoint"),
        ("cut", cosigned(&note, &[0])[..note.len() + 9].to_owned(), "evidence.not_our_checkpoint"),
        ("of another history", cosigned(&forked, &[0]), "evidence.other_history"),
        ("of more than there is", cosigned(&ahead, &[0]), "evidence.other_history"),
    ] {
        assert_eq!(evidence.cosign(&offered).unwrap_err().code(), code, "{row}");
        assert_eq!(evidence.checkpoint().unwrap().1, own, "{row}");
        assert!(!world.places().log.join("cosigned").exists() && !world.places().log.join("cosigning").exists());
    }
    let mut changed = line(0, NAMES[0], &note, 9);
    // A bit of the key's id, of the time and of the signature.
    for place in ["— w/one ".len() + 2, "— w/one ".len() + 12, changed.len() - 8] {
        let other = if changed.as_bytes()[place] == b'A' { "B" } else { "A" };
        changed.replace_range(place..=place, other);
        let told = evidence.cosign(&format!("{note}{changed}"));
        assert!(matches!(told, Err(CosignError::NoWitness | CosignError::Wrong { .. })), "{told:?}");
        changed = line(0, NAMES[0], &note, 9);
    }

    let (all, new) = evidence.cosign(&cosigned(&note, &[0])).unwrap();
    assert!(new && all.note() == cosigned(&note, &[0]));
    assert_eq!(evidence.checkpoint().unwrap().1, cosigned(&note, &[0]), "what is shown carries it");
    assert!(!evidence.cosign(&cosigned(&note, &[0])).unwrap().1, "a repeat adds nothing");
    // What comes later, with a line of another's in it, is added; and of each the newest counts.
    let second = format!("{note}{}{}", line(7, "w/stranger", &note, 1), line(1, NAMES[1], &note, 5));
    assert!(evidence.cosign(&second).unwrap().1);
    assert!(evidence.cosign(&format!("{note}{}", line(1, NAMES[1], &note, 6))).unwrap().1);
    assert!(!evidence.cosign(&format!("{note}{}", line(1, NAMES[1], &note, 5))).unwrap().1);
    let both = cosigned(&note, &[0]) + &line(1, NAMES[1], &note, 6);
    assert_eq!(evidence.checkpoint().unwrap().1, both);
    assert_eq!(fs::read_to_string(world.places().log.join("cosigned")).unwrap(), both);
    assert_eq!(evidence.seen(), [Some((300, 1_700_000_000)), Some((300, 6)), None]);
}

#[test]
fn what_is_given_away_has_the_quorum() {
    let mut world = World::new();
    let evidence = asking(&world, 2);
    let first = grown(&mut world, &evidence, 200);
    let key = evidence.public().unwrap();
    let proven = |at| evidence.prove(Sequence(at)).map(|proof| proof.checkpoint);
    assert!(matches!(proven(1), Err(LogError::NotCosigned { at: Sequence(1), size: 0 })));
    assert_eq!(evidence.uncosigned_since(), Some(Timestamp(1)));
    evidence.cosign(&cosigned(&first, &[0])).unwrap();
    assert_eq!(proven(1).unwrap_err().code(), "evidence.not_cosigned", "one is not two");
    let second = grown(&mut world, &evidence, 400);
    assert!(!second.contains("w/one"), "another checkpoint has the cosignatures of the last one never");
    // Later than the next one was signed.
    evidence.cosign(&cosigned(&first, &[2])).unwrap();
    let older = cosigned(&first, &[0, 2]);
    for at in [1, 100, 200] {
        let proof = evidence.prove(Sequence(at)).unwrap();
        let record = world.journal.raw(Sequence(at), 1).unwrap().remove(0);
        assert_eq!((proof.verify(&record, &key).unwrap().size, &proof.checkpoint), (200, &older));
    }
    let (one, other) = evidence.prove_run(Sequence(3), Sequence(190)).unwrap();
    assert_eq!((one.checkpoint, other.checkpoint), (older.clone(), older.clone()));
    assert!(matches!(proven(201), Err(LogError::NotCosigned { at: Sequence(201), size: 200 })));
    assert!(matches!(proven(401), Err(LogError::NotYet { .. })));
    assert_eq!(evidence.uncosigned_since(), Some(Timestamp(1_000 + 200)));
    assert_eq!(*evidence.sizes().borrow(), (400, 200));

    // Over a start, and with another quorum, it is what it was.
    evidence.close();
    let evidence = asking(&world, 2);
    assert_eq!(evidence.prove(Sequence(7)).unwrap().checkpoint, older);
    assert_eq!(by(&evidence), [Some(200), None, Some(200)]);
    evidence.close();
    let evidence = asking(&world, 3);
    assert_eq!(evidence.prove(Sequence(7)).unwrap_err().code(), "evidence.not_cosigned");
    let third = grown(&mut world, &evidence, 600);
    evidence.cosign(&cosigned(&third, &[0, 1])).unwrap();
    assert_eq!(by(&evidence), [Some(600), Some(600), Some(200)]);
    evidence.cosign(&cosigned(&first, &[1])).unwrap();
    assert_eq!(evidence.prove(Sequence(7)).unwrap().checkpoint, cosigned(&first, &[0, 1, 2]), "it is found by all");
    evidence.cosign(&cosigned(&third, &[2])).unwrap();
    assert_eq!(evidence.prove(Sequence(599)).unwrap().checkpoint, cosigned(&third, &[0, 1, 2]));
    assert_eq!(evidence.uncosigned_since(), None);
    let kept = files(&world.places().log);
    assert!(!kept.keys().any(|path| path.starts_with("cosigning")), "{kept:?}");
}

#[test]
fn an_older_one_is_kept_until_a_newer_one_has_as_many() {
    let mut world = World::new();
    let evidence = asking(&world, 2);
    let kept = |world: &World| -> Vec<String> {
        let files = files(&world.places().log);
        let names = files.keys().filter(|path| path.starts_with("cosigning") || *path == Path::new("cosigned"));
        names.map(|path| path.display().to_string()).collect()
    };
    let notes: Vec<_> = (1..=5).map(|round| grown(&mut world, &evidence, round * 100)).collect();
    for (row, round, by, files) in [
        ("one", 0, vec![0], vec!["cosigning/100"]),
        ("the same, newer", 1, vec![0], vec!["cosigning/200"]),
        ("another", 2, vec![1], vec!["cosigning/200", "cosigning/300"]),
        ("both of an older one", 1, vec![1], vec!["cosigned", "cosigning/300"]),
        ("both, newer", 3, vec![0, 1], vec!["cosigned"]),
        ("a third one, older", 2, vec![2], vec!["cosigned", "cosigning/300"]),
        ("others, newer", 4, vec![1, 2], vec!["cosigned", "cosigning/400"]),
        ("all of them", 4, vec![0], vec!["cosigned"]),
    ] {
        evidence.cosign(&cosigned(&notes[round], &by)).unwrap();
        assert_eq!(kept(&world), files, "{row}");
        let again = Evidence::witnessed(
            &world.journal,
            world.places(),
            None,
            witnesses(2),
            Hands::default(),
            Limits::default(),
        );
        evidence.close();
        again.open().unwrap();
        assert_eq!((again.seen(), *again.sizes().borrow()), (evidence.seen(), *evidence.sizes().borrow()), "{row}");
        again.close();
        evidence.open().unwrap();
    }
    assert_eq!(by(&evidence), [Some(500); 3]);
}

#[test]
fn what_lies_there_is_checked_before_it_is_believed() {
    let mut world = World::new();
    let evidence = asking(&world, 1);
    let note = grown(&mut world, &evidence, 300);
    let (log, good) = (world.places().log, cosigned(&note, &[0]));
    let key = Key::parse(fs::read_to_string(world.places().key).unwrap().trim_end()).unwrap();
    let text = &note[..=note.find("\n\n").unwrap()];
    let forked = cosigned(&key.sign(&text.replacen("\n300\n", "\n299\n", 1)), &[0]);
    let looked = evidence.verify_cosigned().unwrap();
    assert_eq!((looked.newest, looked.bad, looked.other), (None, vec![], vec![]));
    evidence.cosign(&good).unwrap();
    let looked = evidence.verify_cosigned().unwrap();
    assert_eq!(looked.newest.map(|newest| newest.note()), Some(good.clone()));
    assert_eq!((looked.seen[0], looked.bad, looked.other), (Some((300, 1_700_000_000)), vec![], vec![]));
    fs::create_dir_all(log.join("cosigning")).unwrap();
    for (row, file, content, bad, other) in [
        ("torn", "cosigned", good[..good.len() - 1].to_owned(), 1, vec![]),
        ("empty", "cosigned", String::new(), 1, vec![]),
        ("another's name", "cosigning/77", good.clone(), 1, vec![]),
        ("of another history", "cosigned", forked.clone(), 0, vec![299]),
        ("half written", "cosigning/300.new", "—".to_owned(), 0, vec![]),
    ] {
        fs::write(log.join(file), content).unwrap();
        let looked = evidence.verify_cosigned().unwrap();
        assert_eq!((looked.bad.len(), looked.other), (bad, other), "{row}");
        // The start goes on, and the witness says it again.
        evidence.close();
        let again = asking(&world, 1);
        if file == "cosigned" && bad == 1 {
            assert_eq!(again.prove(Sequence(1)).unwrap_err().code(), "evidence.not_cosigned", "{row}");
            assert!(again.cosign(&good).unwrap().1, "{row}");
        }
        again.close();
        fs::remove_file(log.join(file)).unwrap();
        fs::write(log.join("cosigned"), &good).unwrap();
        evidence.open().unwrap();
    }
}

#[test]
fn what_cannot_be_written_is_not_said_to_be_kept() {
    let mut world = World::new();
    let evidence = asking(&world, 1);
    let note = grown(&mut world, &evidence, 300);
    let log = world.places().log;
    // In the way of the file that is written first.
    fs::create_dir(log.join("cosigned.new")).unwrap();
    assert_eq!(evidence.cosign(&cosigned(&note, &[0])).unwrap_err().code(), "evidence.io");
    assert_eq!((evidence.seen(), *evidence.sizes().borrow()), (vec![None; 3], (300, 0)));
    assert_eq!(evidence.prove(Sequence(1)).unwrap_err().code(), "evidence.not_cosigned");
    fs::remove_dir(log.join("cosigned.new")).unwrap();
    assert!(evidence.cosign(&cosigned(&note, &[0])).unwrap().1);
    assert_eq!(evidence.prove(Sequence(1)).unwrap().checkpoint, cosigned(&note, &[0]));
}

#[test]
fn a_log_that_is_made_again_keeps_its_witnesses() {
    let mut world = World::new();
    let evidence = asking(&world, 2);
    let first = grown(&mut world, &evidence, 200);
    let second = grown(&mut world, &evidence, 600);
    evidence.cosign(&cosigned(&first, &[0, 1])).unwrap();
    evidence.cosign(&cosigned(&second, &[2])).unwrap();
    evidence.close();
    let (log, places) = (world.places().log, world.places());
    fs::write(log.join("tile/entries/001"), "what was here?").unwrap();
    let mended = repair(&world.journal, &places, "x").unwrap();
    assert!(matches!(mended, Mended::Again { size: 600, .. }), "{mended:?}");
    let evidence = asking(&world, 2);
    // The partial tiles of then are not there any more; the full ones begin with them.
    let proof = evidence.prove(Sequence(200)).unwrap();
    assert_eq!(proof.checkpoint, cosigned(&first, &[0, 1]));
    assert_eq!(by(&evidence), [Some(200), Some(200), Some(600)]);
    let size = Checkpoint::open(&proof.checkpoint, &evidence.public().unwrap()).unwrap().size;
    assert_eq!(size, 200);
}
