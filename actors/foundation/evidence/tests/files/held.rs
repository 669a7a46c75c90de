//! A log whose private key is with a keeper: begun, taken out of its file, killed half-way, and gone on with while nobody can sign.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use evidence::note::{Key, PublicKey};
use evidence::repair::{Mended, look, repair};
use evidence::verify::Depth;
use evidence::{Evidence, Hands, Holding, Keeper, Limits, LogError, NotKept, Witnesses};
use kernel::Sequence;

use crate::world::{World, files, places};

/// Keeps keys in memory, as long as it is open.
#[derive(Default)]
struct Chest(Mutex<Inside>);

#[derive(Default)]
struct Inside {
    open: bool,
    keys: BTreeMap<String, String>,
    /// It signs, and with another key.
    wrongly: bool,
}

impl Chest {
    fn new() -> Arc<Self> {
        let chest = Arc::<Self>::default();
        chest.open(true);
        chest
    }

    fn open(&self, open: bool) {
        self.0.lock().unwrap().open = open;
    }

    fn key(&self, key: &PublicKey) -> Result<Key, NotKept> {
        let inside = self.0.lock().unwrap();
        if !inside.open {
            return Err(NotKept("the chest is closed".to_owned()));
        }
        let secret = inside.keys.get(&key.to_string()).ok_or_else(|| NotKept(format!("{key} is not in it")))?;
        Ok(Key::parse(secret).unwrap())
    }
}

impl Keeper for Chest {
    fn take(&self, key: &Key) -> Result<(), NotKept> {
        let mut inside = self.0.lock().unwrap();
        if !inside.open {
            return Err(NotKept("the chest is closed".to_owned()));
        }
        inside.keys.insert(key.public().to_string(), key.secret().to_string());
        Ok(())
    }

    fn ready(&self, key: &PublicKey) -> Result<(), NotKept> {
        self.key(key).map(drop)
    }

    fn sign(&self, key: &PublicKey, text: &str) -> Result<Vec<u8>, NotKept> {
        let kept = self.key(key)?;
        let wrongly = self.0.lock().unwrap().wrongly;
        let by = if wrongly { Key::generate(|_| key.name().to_owned()).unwrap() } else { kept };
        let note = by.sign(text);
        let line = note.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned();
        Ok(STANDARD.decode(line).unwrap()[4..].to_vec())
    }
}

fn over(world: &World, chest: Option<&Arc<Chest>>) -> Evidence {
    world.evidence.close();
    let keeper = chest.map(|chest| chest.clone() as Arc<dyn Keeper>);
    let hands = Hands { beside: None, keeper };
    Evidence::witnessed(&world.journal, world.places(), None, Witnesses::default(), hands, Limits::default())
}

fn opened(world: &World, chest: Option<&Arc<Chest>>) -> Evidence {
    let evidence = over(world, chest);
    evidence.open().unwrap();
    evidence
}

fn follow(evidence: &Evidence) {
    while evidence.follow().unwrap() {}
    assert_eq!(evidence.standing().lag, 0);
}

/// A world without a log.
fn bare() -> World {
    let mut world = World::new();
    world.evidence.close();
    fs::remove_dir_all(world.places().log).unwrap();
    fs::remove_dir_all(world.home.path().join("keys")).unwrap();
    world.write(20, 1, 1);
    world
}

fn private_anywhere(home: &Path) -> bool {
    let is = |bytes: &Vec<u8>| bytes.windows(11).any(|word| word == b"PRIVATE+KEY");
    files(home).iter().any(|(path, bytes)| !path.starts_with("journal") && is(bytes))
}

fn code<T>(answer: Result<T, LogError>) -> &'static str {
    answer.err().map_or("it is done", |error| error.code())
}

#[test]
fn a_new_key_is_in_no_file() {
    let (mut world, chest) = (bare(), Chest::new());
    let evidence = opened(&world, Some(&chest));
    follow(&evidence);
    let key = evidence.public().unwrap();
    assert_eq!(fs::read_to_string(world.places().key).unwrap(), format!("{key}\n"));
    assert!(!private_anywhere(world.home.path()));
    assert_eq!(evidence.standing().holding, Some(Holding::Kept));
    for note in [
        evidence.checkpoint().unwrap().1,
        evidence.attest(|_| "all is well\n".into()).unwrap(),
        evidence.receipt("goal one\n").unwrap(),
    ] {
        key.open(&note).unwrap();
    }
    assert!(evidence.prove(Sequence(7)).is_ok());
    // Who may read it learns nothing.
    fs::set_permissions(world.places().key, fs::Permissions::from_mode(0o644)).unwrap();
    evidence.close();
    let again = opened(&world, Some(&chest));
    assert_eq!(again.public().unwrap(), key);
    world.write(300, 1, 1);
    follow(&again);
    assert_eq!(again.verify(Depth::All).unwrap().entries, 300);
}

#[test]
fn a_log_begins_once_its_key_is_taken() {
    let (world, chest) = (bare(), Chest::new());
    chest.open(false);
    let evidence = opened(&world, Some(&chest));
    for _ in 0..3 {
        assert_eq!(code(evidence.follow()), "evidence.sealed");
    }
    let standing = evidence.standing();
    assert_eq!((standing.lag, standing.holding), (20, None));
    assert!(standing.failure.is_some_and(|failing| failing.why.contains("the chest is closed")));
    for answer in
        [evidence.public().map(drop), evidence.receipt("a\n").map(drop), evidence.prove(Sequence(1)).map(drop)]
    {
        assert_ne!(code(answer), "it is done");
    }
    assert!(!world.places().key.exists() && !private_anywhere(world.home.path()));
    assert_eq!(look(&world.places()).unwrap(), None, "there is none yet");
    assert_eq!(repair(&world.journal, &world.places(), "now").unwrap(), Mended::None);
    chest.open(true);
    follow(&evidence);
    assert_eq!(evidence.standing().failure, None);
    assert_eq!(evidence.verify(Depth::All).unwrap().entries, 20);
}

#[test]
fn a_key_leaves_its_file_once_it_is_taken() {
    let (mut world, chest) = (World::new(), Chest::new());
    world.write(10, 1, 1);
    world.follow();
    let key = world.evidence.public().unwrap();
    let old = world.evidence.prove(Sequence(3)).unwrap();
    chest.open(false);
    let evidence = opened(&world, Some(&chest));
    world.write(20, 1, 1);
    follow(&evidence);
    let still = Holding::FileStill("the chest is closed".into());
    assert_eq!(evidence.standing().holding, Some(still), "it signs from its file as before");
    assert!(private_anywhere(world.home.path()));
    chest.open(true);
    follow(&evidence);
    assert_eq!(evidence.standing().holding, Some(Holding::Kept));
    assert!(!private_anywhere(world.home.path()));
    assert_eq!(evidence.public().unwrap(), key, "it is the same log");
    let held: Vec<_> = files(&world.home.path().join("keys")).into_keys().collect();
    assert_eq!(held, [Path::new("log")]);
    world.write(30, 1, 1);
    follow(&evidence);
    old.verify(&world.journal.raw(Sequence(3), 1).unwrap()[0], &key).unwrap();
    assert_eq!(evidence.verify(Depth::All).unwrap().entries, 30);
}

/// What a process leaves that is killed while the key is taken, step by step.
#[test]
fn killed_half_way_the_next_start_carries_on() {
    for step in
        ["before the keeper has it", "before the file is made", "before they are exchanged", "before it is overwritten"]
    {
        let (mut world, chest) = (World::new(), Chest::new());
        world.write(10, 1, 1);
        world.follow();
        let (place, key) = (world.places().key, world.evidence.public().unwrap());
        let private = fs::read_to_string(&place).unwrap();
        let aside = place.with_extension("plain");
        if step != "before the keeper has it" {
            chest.take(&Key::parse(private.trim_end()).unwrap()).unwrap();
        }
        match step {
            "before they are exchanged" => fs::write(&aside, format!("{key}\n")).unwrap(),
            "before it is overwritten" => {
                fs::rename(&place, &aside).unwrap();
                fs::write(&place, format!("{key}\n")).unwrap();
            }
            _ => {}
        }
        let evidence = opened(&world, Some(&chest));
        follow(&evidence);
        assert_eq!(evidence.standing().holding, Some(Holding::Kept), "{step}");
        assert_eq!(evidence.public().unwrap(), key, "{step}");
        assert!(!aside.exists() && !private_anywhere(world.home.path()), "{step}");
    }
}

#[test]
fn while_nobody_signs_all_that_was_signed_is_read() {
    let (mut world, chest) = (bare(), Chest::new());
    let evidence = opened(&world, Some(&chest));
    follow(&evidence);
    let (key, (_, signed)) = (evidence.public().unwrap(), evidence.checkpoint().unwrap());
    evidence.close();
    chest.open(false);
    for (row, chest) in [("a closed chest", Some(&chest)), ("none", None)] {
        let evidence = opened(&world, chest);
        world.write(world.written + 10, 1, 1);
        assert_eq!(code(evidence.follow()), "evidence.sealed", "{row}");
        let standing = evidence.standing();
        assert_eq!((standing.lag, standing.holding), (world.written - 20, Some(Holding::Kept)), "{row}");
        assert_eq!(evidence.checkpoint().unwrap().1, signed, "{row}");
        evidence.prove(Sequence(7)).unwrap();
        assert_eq!(evidence.verify(Depth::All).unwrap().entries, 20, "{row}");
        assert_eq!(code(evidence.prove(Sequence(21))), "evidence.not_yet", "{row}");
        for answer in [evidence.attest(|_| "a\n".into()), evidence.receipt("a\n")] {
            assert_eq!(code(answer), "evidence.sealed", "{row}");
        }
        evidence.close();
    }
    chest.open(true);
    chest.0.lock().unwrap().wrongly = true;
    let evidence = opened(&world, Some(&chest));
    assert_eq!(code(evidence.follow()), "evidence.sealed", "what the key does not verify is no signature");
    assert_eq!(evidence.checkpoint().unwrap().1, signed);
    chest.0.lock().unwrap().wrongly = false;
    follow(&evidence);
    assert_eq!(evidence.verify(Depth::All).unwrap().entries, world.written);
    assert_eq!(evidence.public().unwrap(), key);
}

/// Making a log again needs nobody who signs: what was signed is there.
#[test]
fn a_log_is_made_again_without_its_private_key() {
    let (mut world, chest) = (bare(), Chest::new());
    world.write(700, 1, 1);
    let evidence = opened(&world, Some(&chest));
    follow(&evidence);
    evidence.close();
    let log = world.places().log;
    let before = files(&log);
    let tile = log.join("tile/entries/000");
    fs::write(&tile, b"not what was signed").unwrap();
    assert_eq!(code(look(&world.places())), "evidence.damaged");
    let mended = repair(&world.journal, &world.places(), "now").unwrap();
    assert!(matches!(mended, Mended::Again { size: 700, .. }), "{mended:?}");
    assert_eq!(files(&log), before, "byte for byte");
}

#[test]
fn a_file_that_names_another_key_is_found_out() {
    let (world, chest) = (bare(), Chest::new());
    let evidence = opened(&world, Some(&chest));
    follow(&evidence);
    evidence.close();
    let stranger = Key::generate(|_| evidence.public().unwrap().name().to_owned()).unwrap();
    chest.take(&stranger).unwrap();
    fs::write(places(world.home.path()).key, format!("{}\n", stranger.public())).unwrap();
    assert_eq!(code(over(&world, Some(&chest)).open()), "evidence.damaged");
}
