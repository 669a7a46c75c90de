//! Who signs beside the log: a line more in its notes, which others' verifiers pass over, and never a reason to sign less.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::beside::{self, Signature};
use evidence::checkpoint::Checkpoint;
use evidence::note::{Key, NoteError};
use evidence::repair::repair;
use evidence::{Beside, BesideKey, Evidence, Hands, Limits, What, Witness, Witnesses};
use signed_note::{Note, StandardVerifier, VerifierList};

use crate::world::{World, files};

const SUITE: u16 = 0x0408;

/// Gives the line that it was told to, and counts who asked.
#[derive(Default)]
struct Hand {
    gives: Mutex<Option<String>>,
    asked: AtomicUsize,
}

impl Hand {
    /// `signs` is a line over whatever is asked for.
    fn gives(&self, line: Option<&str>) {
        *self.gives.lock().unwrap() = line.map(str::to_owned);
    }
}

impl Beside for Hand {
    fn line(&self, what: What, log: &str, text: &str) -> Option<String> {
        self.asked.fetch_add(1, SeqCst);
        let gives = self.gives.lock().unwrap().clone()?;
        if gives != "signs" {
            return Some(gives);
        }
        let name = if what == What::Receipt { "receipts.1" } else { "checkpoints.2" };
        Some(BesideKey::new(log, name, SUITE, &[7; 40]).line(&signature(text)))
    }
}

/// What stands for a signature of a text: nobody here checks it.
fn signature(text: &str) -> Vec<u8> {
    blake3::hash(text.as_bytes()).as_bytes().repeat(100)
}

fn signing(world: &World, witnesses: Witnesses) -> (Arc<Hand>, Evidence) {
    world.evidence.close();
    let hand = Arc::<Hand>::default();
    let beside: Arc<dyn Beside> = hand.clone();
    let evidence = Evidence::witnessed(
        &world.journal,
        world.places(),
        None,
        witnesses,
        Hands { beside: Some(beside), keeper: None },
        Limits::default(),
    );
    evidence.open().unwrap();
    (hand, evidence)
}

fn grown(world: &mut World, evidence: &Evidence, records: u64) -> String {
    world.write(records, 10, 1);
    while evidence.follow().unwrap() {}
    evidence.checkpoint().unwrap().1
}

fn lines(note: &str, evidence: &Evidence) -> Vec<Signature> {
    beside::read(note, evidence.public().unwrap().name()).unwrap().1
}

#[test]
fn what_is_signed_has_a_line_more_and_others_pass_over_it() {
    let mut world = World::new();
    let (hand, evidence) = signing(&world, Witnesses::default());
    let plain = grown(&mut world, &evidence, 20);
    assert_eq!(plain.lines().count(), 5, "{plain}");
    hand.gives(Some("signs"));
    let note = grown(&mut world, &evidence, 40);
    let key = evidence.public().unwrap();
    let (checkpoint, _) = evidence.checkpoint().unwrap();
    assert_eq!(Checkpoint::open(&note, &key).unwrap(), checkpoint);
    let own = BesideKey::new(key.name(), "checkpoints.2", SUITE, &[7; 40]);
    let line = Signature { key: "checkpoints.2".into(), id: own.id(), signature: signature(&checkpoint.to_string()) };
    assert_eq!(lines(&note, &evidence), [line]);
    // Cloudflare's reader of signed notes, who knows the log's key alone.
    let verifier = StandardVerifier::new(&key.to_string()).unwrap();
    let read = Note::from_bytes(note.as_bytes()).unwrap();
    let (known, unknown) = read.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((known.len(), unknown.len()), (1, 1));
    // Proofs rest on that checkpoint; what else is signed has a line of its own.
    assert_eq!(evidence.prove(kernel::Sequence(40)).unwrap().checkpoint, note);
    let attested = evidence.attest(|checkpoint| format!("checkpoint {}\n", checkpoint.size)).unwrap();
    assert_eq!(lines(&attested, &evidence)[0].key, "checkpoints.2");
    let receipt = evidence.receipt("goal one\n").unwrap();
    assert_eq!(lines(&receipt, &evidence)[0].key, "receipts.1");
    assert!(
        evidence.is_receipt(&receipt, "goal one\n").unwrap() && !evidence.is_receipt(&receipt, "goal two\n").unwrap()
    );
    // What was signed before it could be is signed as soon as it can, and once.
    hand.gives(None);
    let plain = grown(&mut world, &evidence, 60);
    assert!(lines(&plain, &evidence).is_empty());
    hand.gives(Some("signs"));
    assert!(!evidence.follow().unwrap());
    let late = evidence.checkpoint().unwrap().1;
    assert!(late.starts_with(&plain) && lines(&late, &evidence).len() == 1);
    let asked = hand.asked.load(SeqCst);
    assert!(!evidence.follow().unwrap());
    assert_eq!((evidence.checkpoint().unwrap().1, hand.asked.load(SeqCst)), (late.clone(), asked));
    // Another process finds it as it is, also one that knows of nobody beside the log.
    evidence.close();
    assert_eq!(world.started().unwrap().checkpoint().unwrap().1, late);
}

#[test]
fn a_line_that_is_none_spoils_no_note() {
    let mut world = World::new();
    let (hand, evidence) = signing(&world, Witnesses::default());
    let name = evidence.public().unwrap().name().to_owned();
    let good = BesideKey::new(&name, "checkpoints.2", SUITE, &[7; 40]).line(&[1; 64]);
    let two = format!("{good}\n{good}");
    let mut records = 10;
    for (row, line) in [
        ("nothing", ""),
        ("a word", "hello"),
        ("two of them", two.as_str()),
        ("with its end", &format!("{good}\n")),
        ("cut", &good[..good.len() - 3]),
        ("no signature", &good[..good.len() - 90]),
        ("under the log's own name", &good.replacen("/checkpoints.2", "", 1)),
        ("under the name of another log", &good.replacen("sop/", "sip/", 1)),
        ("of no version", &good.replacen("checkpoints.2", "checkpoints", 1)),
        ("more than a line", &good.replacen("— ", "—\n ", 1)),
    ] {
        hand.gives(Some(line));
        records += 1;
        let note = grown(&mut world, &evidence, records);
        assert!(note.lines().count() == 5 && lines(&note, &evidence).is_empty(), "{row}: {note}");
    }
    hand.gives(Some(&good));
    assert_eq!(lines(&grown(&mut world, &evidence, 100), &evidence).len(), 1);
}

#[test]
fn witnesses_cosign_it_and_what_they_bring_beside_it_is_left_out() {
    let mut world = World::new();
    let pair = Ed25519KeyPair::from_seed_unchecked(&[1; 32]).unwrap();
    let witness = Witness::new("w/one", pair.public_key().as_ref().try_into().unwrap());
    let (hand, evidence) = signing(&world, Witnesses { all: vec![witness.clone()], quorum: 1 });
    hand.gives(Some("signs"));
    let name = evidence.public().unwrap().name().to_owned();
    let cosigned = |note: &str, time: u64| {
        let text = &note[..=note.find("\n\n").unwrap()];
        let signed = pair.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
        let id: u32 = u32::from_str_radix(witness.to_string().split('+').nth(1).unwrap(), 16).unwrap();
        let bytes = [&id.to_be_bytes()[..], &time.to_be_bytes(), signed.as_ref()].concat();
        format!("{note}— w/one {}\n", STANDARD.encode(bytes))
    };
    let first = grown(&mut world, &evidence, 20);
    let foul = BesideKey::new(&name, "checkpoints.9", SUITE, &[9; 40]).line(&[1; 64]);
    // Of the newest the line that it has is kept, and that which was brought is not.
    let (all, new) = evidence.cosign(&(cosigned(&first, 7) + &foul + "\n")).unwrap();
    let note = all.note();
    assert!(new && all.checkpoint.size == 20);
    assert_eq!(note, cosigned(&first, 7));
    assert_eq!(evidence.checkpoint().unwrap().1, note, "what is shown carries both");
    let second = grown(&mut world, &evidence, 40);
    assert_eq!(evidence.prove(kernel::Sequence(20)).unwrap().checkpoint, note, "what is proven has both");
    // Of an older one it is signed anew, by who signs now.
    grown(&mut world, &evidence, 60);
    let (all, _) = evidence.cosign(&(cosigned(&second, 8) + &foul + "\n")).unwrap();
    assert_eq!(
        lines(&all.note(), &evidence).iter().map(|line| line.key.as_str()).collect::<Vec<_>>(),
        ["checkpoints.2"]
    );
    // And is there for the next process.
    evidence.close();
    let (_, again) = signing(&world, Witnesses { all: vec![witness.clone()], quorum: 1 });
    assert_eq!(again.prove(kernel::Sequence(40)).unwrap().checkpoint, all.note());
    assert!(again.verify_cosigned().unwrap().bad.is_empty());
}

#[test]
fn a_vkey_is_of_the_form_or_none() {
    let key = BesideKey::new("sop/1", "checkpoints.2", SUITE, &[7; 40]);
    let vkey = key.to_string();
    assert_eq!(BesideKey::parse(&vkey).unwrap(), key);
    assert_eq!((key.name(), key.suite(), key.public()), ("sop/1/checkpoints.2", SUITE, &[7; 40][..]));
    let log = Key::generate(|_| "sop/1".to_owned()).unwrap().public().to_string();
    for (row, other) in [
        ("nothing", String::new()),
        ("the log's", log),
        ("renamed", vkey.replacen(".2", ".3", 1)),
        ("cut", vkey[..vkey.len() - 4].to_owned()),
        ("of no key", BesideKey::new("sop/1", "checkpoints.2", SUITE, &[]).to_string()),
        ("of another kind", vkey.replacen("/3NvcCBzdWl0ZXMg", "/3NvcCBzdWl0ZXMh", 1)),
    ] {
        assert_eq!(BesideKey::parse(&other), Err(NoteError::Key), "{row}: {other}");
    }
    // Without a bit of it nobody takes it for the same.
    for at in 0..vkey.len() {
        let mut changed = vkey.clone().into_bytes();
        changed[at] ^= 1;
        let changed = String::from_utf8_lossy(&changed).into_owned();
        assert_ne!(BesideKey::parse(&changed).ok(), Some(key.clone()), "byte {at}");
    }
}

#[test]
fn a_log_that_is_made_again_stands_for_the_same() {
    let mut world = World::new();
    let (hand, evidence) = signing(&world, Witnesses::default());
    hand.gives(Some("signs"));
    grown(&mut world, &evidence, 300);
    let before = evidence.checkpoint().unwrap().0;
    evidence.close();
    fs::remove_dir_all(world.places().log.join("tile")).unwrap();
    repair(&world.journal, &world.places(), "x").unwrap();
    assert_eq!(world.started().unwrap().checkpoint().unwrap().0, before);
    assert!(files(&world.places().log).len() > 3);
}
