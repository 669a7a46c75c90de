//! What is sealed, opened, erased, and what comes of a kill in between.

use std::fs;
use std::path::{Path, PathBuf};

use kernel::{CommandId, Personal, Principal};
use keyring::{Keyring, KeyringError, Opened};
use proptest::prelude::*;
use tempfile::TempDir;

const FIRST: CommandId = CommandId(0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_398f);
const SECOND: CommandId = CommandId(0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_3990);

fn alpha() -> Principal {
    "agent/alpha".parse().unwrap()
}

fn sealed(keyring: &Keyring, text: &str) -> Personal {
    keyring.seal(&alpha(), FIRST, "note", text).unwrap()
}

fn opened(keyring: &Keyring, personal: &Personal) -> Opened {
    keyring.open(personal).unwrap()
}

/// All files below, with what is in them.
fn files(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push((path.clone(), fs::read(&path).unwrap())) }
    }
    found.sort();
    found
}

fn key_file(root: &Path) -> PathBuf {
    files(root).into_iter().map(|(path, _)| path).find(|path| path.ends_with("key")).expect("there is a key")
}

#[test]
fn what_is_sealed_opens_here_and_nowhere_else() {
    let (home, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let keyring = Keyring::new(&home.path().join("keys/subjects"));
    let note = sealed(&keyring, "left the company");
    assert_eq!(note.subject(), Some("agent/alpha"));
    assert_eq!((note.text(), note.characters()), (None, 16));
    assert!(!note.bytes().windows(4).any(|part| part == b"left"));
    assert_eq!(opened(&keyring, &note), Opened::Text("left the company".into()));
    assert_eq!(
        opened(&Keyring::new(&home.path().join("keys/subjects")), &note),
        Opened::Text("left the company".into())
    );
    assert_eq!(opened(&Keyring::new(other.path()), &note), Opened::NoKey);
    assert_eq!(opened(&keyring, &Personal::plain("old")), Opened::Text("old".into()));
    assert_eq!(keyring.seal(&alpha(), FIRST, "note", "").unwrap(), Personal::default());
}

#[test]
fn a_repeat_is_the_same_bytes_and_nothing_else_is() {
    let home = TempDir::new().unwrap();
    let keyring = Keyring::new(home.path());
    let seal = |command, field, text| keyring.seal(&alpha(), command, field, text).unwrap();
    let note = seal(FIRST, "note", "done");
    assert_eq!(seal(FIRST, "note", "done"), note);
    assert_eq!(Keyring::new(home.path()).seal(&alpha(), FIRST, "note", "done").unwrap(), note, "also after a restart");
    for other in [seal(SECOND, "note", "done"), seal(FIRST, "reason", "done"), seal(FIRST, "note", "gone")] {
        assert_ne!(other.bytes(), note.bytes());
        assert_ne!(other.bytes()[9..21], note.bytes()[9..21], "no nonce twice");
    }
    let beta: Principal = "agent/beta".parse().unwrap();
    let of_beta = Personal::sealed(&beta, 4, note.bytes().to_vec());
    keyring.seal(&beta, FIRST, "note", "x").unwrap();
    assert_eq!(opened(&keyring, &of_beta), Opened::NoKey, "a text of one subject is none of another");
}

#[test]
fn an_erased_subject_has_a_new_key_next_and_the_old_texts_stay_erased() {
    let home = TempDir::new().unwrap();
    let keyring = Keyring::new(home.path());
    let before = sealed(&keyring, "before");
    let destroyed = keyring.erase(&alpha(), FIRST).unwrap();
    assert!(destroyed.is_some());
    assert_eq!(opened(&keyring, &before), Opened::Erased);
    let after = sealed(&keyring, "after");
    assert_eq!(keyring.erase(&alpha(), FIRST).unwrap(), destroyed, "the same erasure again does nothing more");
    assert_eq!(opened(&keyring, &after), Opened::Text("after".into()));
    assert_eq!(opened(&Keyring::new(home.path()), &before), Opened::Erased);
    assert!(keyring.erase(&alpha(), SECOND).unwrap().is_some_and(|key| Some(key) != destroyed));
    assert_eq!((opened(&keyring, &before), opened(&keyring, &after)), (Opened::Erased, Opened::Erased));
    let standing = keyring.standing(&alpha()).unwrap();
    assert_eq!((standing.key, standing.erased), (None, 2));
    assert_eq!(keyring.subjects().unwrap(), [standing]);
}

#[test]
fn who_has_no_key_can_be_erased() {
    let home = TempDir::new().unwrap();
    let keyring = Keyring::new(&home.path().join("keys/subjects"));
    assert_eq!(keyring.erase(&alpha(), FIRST).unwrap(), None);
    let note = sealed(&keyring, "later");
    assert_eq!(keyring.erase(&alpha(), FIRST).unwrap(), None);
    assert_eq!(opened(&keyring, &note), Opened::Text("later".into()), "what came later is not meant");
}

/// Left at each of its steps, an erasure is carried on, and until then nothing is sealed with the key that goes.
#[test]
fn an_erasure_that_was_killed_is_carried_on() {
    for last in 0.. {
        let home = TempDir::new().unwrap();
        let note = sealed(&Keyring::new(home.path()), "before");
        let secret = fs::read(key_file(home.path())).unwrap();
        let mut steps = 0;
        let left = Keyring::new(home.path()).erase_while(&alpha(), FIRST, |_| {
            steps += 1;
            if last < steps { Err(KeyringError::Left) } else { Ok(()) }
        });
        let keyring = Keyring::new(home.path());
        let text = Opened::Text("before".into());
        assert_eq!(opened(&keyring, &note), if last == 0 { text } else { Opened::Erased }, "{last} steps");
        let since = sealed(&keyring, "since");
        let same_key = since.bytes()[1..9] == note.bytes()[1..9];
        assert_eq!(same_key, last == 0, "after {last} steps");
        assert!(keyring.erase(&alpha(), FIRST).unwrap().is_some());
        assert_eq!(opened(&keyring, &note), Opened::Erased);
        let since = opened(&keyring, &since);
        assert_eq!(since, if same_key { Opened::Erased } else { Opened::Text("since".into()) });
        assert!(files(home.path()).iter().all(|(_, bytes)| *bytes != secret), "the key is gone after {last} steps");
        if left.is_ok() {
            assert!(3 <= last, "each step was left once");
            break;
        }
    }
}

#[test]
fn a_key_from_an_old_copy_opens_nothing() {
    let home = TempDir::new().unwrap();
    let note = sealed(&Keyring::new(home.path()), "before");
    let key = key_file(home.path());
    let copy = fs::read(&key).unwrap();
    let destroyed = Keyring::new(home.path()).erase(&alpha(), FIRST).unwrap();
    fs::write(&key, &copy).unwrap();
    assert_eq!(opened(&Keyring::new(home.path()), &note), Opened::Erased);
    assert!(!key.exists(), "it is destroyed again");

    // The whole directory is an old copy: only the records know of the erasure.
    let directory = key.parent().unwrap();
    fs::remove_dir_all(directory).unwrap();
    fs::create_dir(directory).unwrap();
    fs::write(&key, &copy).unwrap();
    let keyring = Keyring::new(home.path());
    assert_eq!(opened(&keyring, &note), Opened::Text("before".into()));
    keyring.stays_erased(&alpha(), FIRST, destroyed).unwrap();
    assert_eq!(opened(&keyring, &note), Opened::Erased);
    assert!(!key.exists());

    // Somewhere else, without any keys, it is known to be erased, too.
    let elsewhere = TempDir::new().unwrap();
    let keyring = Keyring::new(elsewhere.path());
    keyring.stays_erased(&alpha(), FIRST, destroyed).unwrap();
    let later = keyring.seal(&alpha(), SECOND, "note", "later").unwrap();
    keyring.stays_erased(&alpha(), FIRST, destroyed).unwrap();
    assert_eq!(opened(&keyring, &note), Opened::Erased);
    assert_eq!(opened(&keyring, &later), Opened::Text("later".into()));
}

#[test]
fn a_damaged_key_is_said_and_can_be_erased() {
    let home = TempDir::new().unwrap();
    let note = sealed(&Keyring::new(home.path()), "before");
    let key = key_file(home.path());
    let whole = fs::read(&key).unwrap();
    for place in 0..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[place / 8] ^= 1 << (place % 8);
        fs::write(&key, flipped).unwrap();
        let keyring = Keyring::new(home.path());
        assert_eq!(opened(&keyring, &note), Opened::Damaged, "bit {place}");
        let refused = keyring.seal(&alpha(), FIRST, "note", "x").unwrap_err();
        assert_eq!(refused.code(), "keyring.damaged", "bit {place}");
    }
    let keyring = Keyring::new(home.path());
    assert_eq!(keyring.erase(&alpha(), FIRST).unwrap(), None, "which key it was cannot be read");
    assert!(!key.exists());
    assert_eq!(opened(&keyring, &note), Opened::NoKey);
    assert_eq!(opened(&keyring, &sealed(&keyring, "anew")), Opened::Text("anew".into()));
}

#[test]
fn a_key_that_cannot_be_written_seals_nothing() {
    let home = TempDir::new().unwrap();
    let in_the_way = home.path().join("subjects");
    fs::write(&in_the_way, "").unwrap();
    let keyring = Keyring::new(&in_the_way);
    let refused = keyring.seal(&alpha(), FIRST, "note", "x").unwrap_err();
    assert_eq!(refused.code(), "keyring.io");
    fs::remove_file(&in_the_way).unwrap();
    assert_eq!(opened(&keyring, &sealed(&keyring, "x")), Opened::Text("x".into()));
}

#[test]
fn keys_are_for_their_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let home = TempDir::new().unwrap();
    sealed(&Keyring::new(&home.path().join("subjects")), "x");
    let key = key_file(home.path());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&key), mode(key.parent().unwrap())), (0o600, 0o700));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever text it is, whichever bit of it turns.
    #[test]
    fn a_sealed_text_opens_whole_or_not_at_all(text in "\\PC{1,40}", bit in any::<prop::sample::Index>()) {
        let home = TempDir::new().unwrap();
        let keyring = Keyring::new(home.path());
        let note = sealed(&keyring, &text);
        prop_assert_eq!(opened(&keyring, &note), Opened::Text(text.clone()));
        let mut bytes = note.bytes().to_vec();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        let turned = opened(&keyring, &Personal::sealed(&alpha(), text.chars().count(), bytes));
        prop_assert!(matches!(turned, Opened::Damaged | Opened::NoKey), "{turned:?}");
        prop_assert!(!note.is_longer_than(text.chars().count()), "sealing adds less than is allowed for");
    }
}
