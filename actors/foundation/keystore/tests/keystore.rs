//! What a store answers, and what comes of a kill in between.

use std::cell::Cell;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use kernel::Refuse as _;
use keystore::{Cost, Given, Keeping, Keystore, KeystoreError, Moved, Name, NewRoot, Share, Standing};
use proptest::prelude::*;
use suites::{Agreement, Cipher, Domain, Hash, Policy, Purpose, Secret, Signature, Suite, Wrap, signing};
use tempfile::TempDir;

const MANIFEST: Purpose = Purpose::new("backup-manifest");
const OTHER: Purpose = Purpose::new("checkpoint");
const SIGNER: Name = Name { id: 0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_398f, version: 1 };
const NEXT: Name = Name { version: 2, ..SIGNER };
const ED25519: Suite = Suite::Signature(Signature::Ed25519);

/// For its owner alone, as a store wants it.
fn directory() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn root(byte: u8) -> Given {
    Given::Key(Secret::new(vec![byte; 32]))
}

fn new_root(byte: u8) -> NewRoot {
    NewRoot::of(root(byte), Cost::RECOMMENDED).unwrap()
}

fn open(home: &Path) -> Keystore {
    Keystore::open(home, Policy::default()).unwrap()
}

/// Opened and unsealed.
fn unsealed(home: &Path, byte: u8) -> Keystore {
    let store = open(home);
    store.unseal(&root(byte)).unwrap();
    store
}

/// A new one, with the root key 1 and one key that signs.
fn begun(home: &Path) -> (Keystore, signing::PublicKey) {
    let store = open(home);
    store.initialise(new_root(1)).unwrap();
    let about = store.generate(SIGNER, Domain::System, MANIFEST, ED25519).unwrap();
    (store, signing::PublicKey::read(Signature::Ed25519, &about.public).unwrap())
}

fn signs(store: &Keystore, name: Name, public: &signing::PublicKey) -> Result<(), KeystoreError> {
    let signed = store.sign(name, MANIFEST, b"all of it")?;
    let policy = Policy::default();
    policy.accept(Domain::System, public.suite()).unwrap().verify(public, MANIFEST, b"all of it", &signed).unwrap();
    Ok(())
}

fn files(home: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(home).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.map(|path| (path.clone(), fs::read(&path).unwrap())).collect();
    found.sort();
    found
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from_digit(half.into(), 16).unwrap())
        .collect()
}

fn code<T: std::fmt::Debug>(answer: Result<T, KeystoreError>) -> &'static str {
    answer.unwrap_err().code()
}

#[test]
fn answers() {
    let home = directory();
    let empty = open(home.path());
    let generate = |store: &Keystore, name, purpose, suite: Suite| store.generate(name, Domain::System, purpose, suite);
    assert_eq!(empty.standing(), Standing::New);
    assert_eq!(code(generate(&empty, SIGNER, MANIFEST, ED25519)), "keystore.no_root");
    assert_eq!(code(empty.unseal(&root(1))), "keystore.no_root");
    let (store, public) = begun(home.path());
    signs(&store, SIGNER, &public).unwrap();
    let sealed = open(home.path());
    let cipher = Name { id: 7, version: 1 };
    let agreed = Name { id: 8, version: 1 };
    generate(&store, cipher, MANIFEST, Cipher::Aes256Gcm.into()).unwrap();
    let to = generate(&store, agreed, MANIFEST, Agreement::MlKem768.into()).unwrap();
    for (row, answer, refused) in [
        ("generate again", generate(&store, SIGNER, MANIFEST, ED25519).map(drop), None),
        ("as it is, also sealed", generate(&sealed, SIGNER, MANIFEST, ED25519).map(drop), None),
        ("of another purpose", generate(&store, SIGNER, OTHER, ED25519).map(drop), Some("keystore.taken")),
        (
            "of another suite",
            generate(&store, SIGNER, MANIFEST, Signature::MlDsa65.into()).map(drop),
            Some("keystore.taken"),
        ),
        ("a hash", generate(&store, NEXT, MANIFEST, Hash::Sha256.into()).map(drop), Some("keystore.no_keys")),
        ("a key wrap", generate(&store, NEXT, MANIFEST, Wrap::Aes256Kw.into()).map(drop), Some("keystore.no_keys")),
        (
            "not allowed",
            generate(&store, NEXT, MANIFEST, Signature::EcdsaP256.into()).map(drop),
            Some("suites.not_allowed"),
        ),
        ("while it is sealed", generate(&sealed, NEXT, MANIFEST, ED25519).map(drop), Some("keystore.sealed")),
        ("sign while it is sealed", sealed.sign(SIGNER, MANIFEST, b"").map(drop), Some("keystore.sealed")),
        ("sign for another purpose", store.sign(SIGNER, OTHER, b"").map(drop), Some("keystore.other_purpose")),
        ("sign with the unknown", store.sign(NEXT, MANIFEST, b"").map(drop), Some("keystore.no_key")),
        ("sign with a cipher", store.sign(cipher, MANIFEST, b"").map(drop), Some("keystore.other_use")),
        ("a note", store.sign_note(SIGNER, MANIFEST, "log\n1\n").map(drop), None),
        ("seal with a signer", store.seal(SIGNER, MANIFEST, b"", None, b"").map(drop), Some("keystore.other_use")),
        ("agree by a kem", store.agree(agreed, MANIFEST, &x25519()).map(drop), Some("suites.other_suite")),
        ("unseal by another", sealed.unseal(&root(2)), Some("keystore.wrong_root")),
        ("by less than a key", sealed.unseal(&Given::Key(Secret::new(vec![1; 31]))), Some("keystore.bad_root")),
        ("by shares", sealed.unseal(&Given::Shares(Vec::new())), Some("keystore.other_kind")),
        ("initialise again", store.initialise(new_root(2)).map(drop), Some("keystore.root_there")),
        ("rotate while sealed", sealed.rotate_root(new_root(2)).map(drop), Some("keystore.sealed")),
        ("rotate to the same", store.rotate_root(new_root(1)).map(drop), Some("keystore.same_root")),
        ("rewrap for nothing", store.rewrap(10).map(drop), None),
    ] {
        assert_eq!(answer.as_ref().err().map(kernel::Refuse::code), refused, "{row}");
        assert!(answer.is_ok_and(|()| true) || refused.is_some());
    }
    assert!(matches!(sealed.standing(), Standing::Sealed { .. }), "no wrong root unsealed it");

    let text = store.seal(cipher, MANIFEST, b"ada", None, b"left").unwrap();
    assert_eq!(store.unlock(cipher, MANIFEST, b"ada", &text).unwrap().expose(), b"left");
    assert_eq!(code(store.unlock(cipher, MANIFEST, b"bob", &text)), "suites.not_opened");
    let again = || store.seal(cipher, MANIFEST, b"ada", Some(b"1"), b"left").unwrap();
    assert_eq!(again(), again());
    let policy = Policy::default();
    let suite = policy.allow(Domain::System, Agreement::MlKem768).unwrap();
    let key = suites::agreeing::PublicKey::read(Agreement::MlKem768, &to.public).unwrap();
    let (capsule, secret) = suite.encapsulate(&key, MANIFEST).unwrap();
    assert_eq!(store.decapsulate(agreed, MANIFEST, &capsule).unwrap(), secret);

    store.seal_up();
    assert_eq!(code(signs(&store, SIGNER, &public)), "keystore.sealed");
    store.unseal(&root(1)).unwrap();
    signs(&store, SIGNER, &public).unwrap();
    assert_eq!(store.unlock(cipher, MANIFEST, b"ada", &text).unwrap().expose(), b"left");
}

/// A key that was made elsewhere is one of the others from then on.
#[test]
fn what_was_made_elsewhere_is_taken() {
    let home = directory();
    let (store, _) = begun(home.path());
    let log = Purpose::new("log");
    let name = Name { id: 7, version: 1 };
    let seed = |byte: u8| {
        let secret = Secret::new(vec![byte; 32]);
        signing::PrivateKey::read(Signature::Ed25519, secret).unwrap()
    };
    let hybrid = || signing::PrivateKey::read(Signature::Ed25519MlDsa65, Secret::new(vec![3; 64])).unwrap();
    let public = seed(1).public().clone();
    for (row, answer, refused) in [
        ("taken", store.adopt(name, Domain::System, log, seed(1)), None),
        ("the same again", store.adopt(name, Domain::System, log, seed(1)), None),
        ("the same, while it is sealed", open(home.path()).adopt(name, Domain::System, log, seed(1)), None),
        ("another by that name", store.adopt(name, Domain::System, log, seed(2)), Some("keystore.taken")),
        ("for another purpose", store.adopt(name, Domain::System, MANIFEST, seed(1)), Some("keystore.taken")),
        ("in another domain", store.adopt(name, Domain::Trust, log, seed(1)), Some("keystore.taken")),
        (
            "while it is sealed",
            open(home.path()).adopt(Name { id: 8, version: 1 }, Domain::System, log, seed(2)),
            Some("keystore.sealed"),
        ),
        ("of another suite", store.adopt(Name { id: 9, version: 1 }, Domain::System, log, hybrid()), None),
    ] {
        assert_eq!(answer.err().map(|error| error.code()), refused, "{row}");
    }
    let text = "log\n1\n";
    let signature = || store.sign_note(name, log, text).unwrap();
    let policy = Policy::default();
    let checks = policy.accept(Domain::System, Signature::Ed25519).unwrap();
    checks.verify_note(&public, text, &signature()).unwrap();
    store.rotate_root(new_root(2)).unwrap();
    checks.verify_note(&public, text, &signature()).unwrap();
    assert_eq!(store.rewrap(10).unwrap().left, 0);
    let again = open(home.path());
    again.unseal(&root(2)).unwrap();
    checks.verify_note(&public, text, &again.sign_note(name, log, text).unwrap()).unwrap();
    assert_eq!(code(again.lend(name, log, |_| ())), "keystore.not_lent");
    store.destroy(name).unwrap();
    assert_eq!(code(store.adopt(name, Domain::System, log, seed(1))), "keystore.destroyed", "it does not come back");
}

#[test]
fn only_what_signs_in_a_way_of_others_is_lent() {
    let home = directory();
    let (store, _) = begun(home.path());
    let root = Purpose::new("token-root");
    let (token, cipher) = (Name { id: 7, version: 1 }, Name { id: 8, version: 1 });
    let about = store.generate(token, Domain::Trust, root, ED25519).unwrap();
    store.generate(cipher, Domain::Trust, root, Cipher::Aes256Gcm.into()).unwrap();
    let public = |secret: &Secret| {
        let secret = Secret::new(secret.expose().to_vec());
        signing::PrivateKey::read(Signature::Ed25519, secret).unwrap().public().bytes().to_vec()
    };
    assert_eq!(store.lend(token, root, public).unwrap(), about.public);
    for (row, answer, refused) in [
        ("for another purpose", store.lend(token, Purpose::new("tls-authority"), |_| ()), "keystore.other_purpose"),
        ("a key that the keystore signs with", store.lend(SIGNER, MANIFEST, |_| ()), "keystore.not_lent"),
        ("such a key under another name", store.lend(SIGNER, root, |_| ()), "keystore.other_purpose"),
        ("a cipher", store.lend(cipher, root, |_| ()), "keystore.other_use"),
        ("while it is sealed", open(home.path()).lend(token, root, |_| ()), "keystore.sealed"),
    ] {
        assert_eq!(code(answer), refused, "{row}");
    }
    store.destroy(token).unwrap();
    assert_eq!(code(store.lend(token, root, |_| ())), "keystore.destroyed");
}

#[test]
fn what_is_at_hand_signs_whoever_waits_for_the_disk() {
    let home = directory();
    let (store, public) = begun(home.path());
    drop(store);
    let store = unsealed(home.path(), 1);
    let at_hand = || store.sign_at_hand(SIGNER, MANIFEST, b"text");
    assert!(at_hand().is_none() && !store.is_at_hand(SIGNER), "it is not opened for whoever does not wait");
    store.ready(SIGNER).unwrap();
    assert!(store.is_at_hand(SIGNER));
    store.ready(SIGNER).unwrap();
    let signed = at_hand().unwrap().unwrap();
    let policy = Policy::default();
    policy.accept(Domain::System, Signature::Ed25519).unwrap().verify(&public, MANIFEST, b"text", &signed).unwrap();
    let other = store.sign_at_hand(SIGNER, OTHER, b"text").unwrap();
    assert_eq!(code(other), "keystore.other_purpose");
    // Its file is not asked for: what is opened is opened.
    let file = home.path().join(format!("{SIGNER}.key"));
    let kept = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    assert!(at_hand().unwrap().is_ok());
    fs::write(&file, kept).unwrap();
    store.seal_up();
    assert!(at_hand().is_none());
    assert_eq!(code(store.ready(SIGNER)), "keystore.sealed");
    store.unseal(&root(1)).unwrap();
    store.ready(SIGNER).unwrap();
    store.destroy(SIGNER).unwrap();
    assert!(at_hand().is_none());
    assert_eq!(code(store.ready(SIGNER)), "keystore.destroyed");
}

fn x25519() -> suites::agreeing::PublicKey {
    let policy = Policy::default();
    policy.allow(Domain::System, Agreement::X25519).unwrap().generate().unwrap().public().clone()
}

#[test]
fn what_is_destroyed_stays_so() {
    let home = directory();
    let (store, public) = begun(home.path());
    let (file, copy) =
        files(home.path()).into_iter().find(|(path, _)| path.extension().is_some_and(|end| end == "key")).unwrap();
    signs(&store, SIGNER, &public).unwrap();
    store.destroy(SIGNER).unwrap();
    store.destroy(SIGNER).unwrap();
    assert_eq!(code(signs(&store, SIGNER, &public)), "keystore.destroyed");
    assert_eq!(code(store.generate(SIGNER, Domain::System, MANIFEST, ED25519)), "keystore.destroyed");
    assert!(!file.exists());
    let keys = store.keys().unwrap();
    let Keeping::Destroyed { about: Some(about) } = &keys[&SIGNER] else { panic!("{keys:?}") };
    assert_eq!(about.public, public.bytes(), "what it signed is still checked");

    fs::write(&file, &copy).unwrap();
    assert_eq!(code(signs(&store, SIGNER, &public)), "keystore.destroyed", "an old copy opens nothing");
    assert_eq!(code(signs(&unsealed(home.path(), 1), SIGNER, &public)), "keystore.destroyed");
    assert!(!file.exists(), "and is destroyed again");

    // One that never was, in a store that has no root yet.
    let home = directory();
    open(home.path()).destroy(NEXT).unwrap();
    let (store, _) = begun(home.path());
    assert_eq!(code(store.generate(NEXT, Domain::System, MANIFEST, ED25519)), "keystore.destroyed");
    assert_eq!(store.keys().unwrap()[&NEXT], Keeping::Destroyed { about: None });
}

#[test]
fn keys_move_to_another_root() {
    let home = directory();
    let (store, public) = begun(home.path());
    let old = files(home.path());
    for id in 0..4 {
        store.generate(Name { id, version: 1 }, Domain::Trust, OTHER, ED25519).unwrap();
    }
    let id = store.rotate_root(new_root(2)).unwrap();
    assert_eq!(store.standing(), Standing::Unsealed { root: id, rotating: true });
    assert_eq!(code(store.rotate_root(new_root(3))), "keystore.rotating");
    signs(&store, SIGNER, &public).unwrap();
    assert!(matches!(open(home.path()).unseal(&root(1)), Err(KeystoreError::WrongRoot { rotated: true })));
    assert_eq!(store.rewrap(2).unwrap(), Moved { moved: 2, left: 3, stuck: Vec::new() });
    let store = unsealed(home.path(), 2);
    signs(&store, SIGNER, &public).unwrap();
    let last = store.rewrap(100).unwrap();
    assert_eq!((last.moved, last.left), (3, 0));
    assert_eq!(store.standing(), Standing::Unsealed { root: id, rotating: false });
    signs(&unsealed(home.path(), 2), SIGNER, &public).unwrap();
    assert!(matches!(open(home.path()).unseal(&root(1)), Err(KeystoreError::WrongRoot { rotated: false })));

    // An old copy of one key, under a root that is gone.
    let (file, copy) = old.into_iter().find(|(path, _)| path.extension().is_some_and(|end| end == "key")).unwrap();
    fs::write(file, copy).unwrap();
    assert_eq!(code(signs(&unsealed(home.path(), 2), SIGNER, &public)), "keystore.other_root");
}

#[test]
fn a_damaged_key_keeps_the_root_before_until_it_is_back() {
    let home = directory();
    let (store, public) = begun(home.path());
    let (file, copy) =
        files(home.path()).into_iter().find(|(path, _)| path.extension().is_some_and(|end| end == "key")).unwrap();
    store.rotate_root(new_root(2)).unwrap();
    fs::write(&file, &copy[..copy.len() / 2]).unwrap();
    for _ in 0..2 {
        assert_eq!(store.rewrap(9).unwrap(), Moved { moved: 0, left: 0, stuck: vec![SIGNER] });
    }
    fs::write(&file, &copy).unwrap();
    assert_eq!(store.rewrap(9).unwrap(), Moved { moved: 1, ..Moved::default() });
    signs(&unsealed(home.path(), 2), SIGNER, &public).unwrap();
}

/// Left before each step that changes a file, in turn; what is being written may be half there.
#[test]
fn killed_at_any_step_it_is_carried_on() {
    for last in 0.. {
        let home = directory();
        let (_, public) = begun(home.path());
        let secret = files(home.path())
            .into_iter()
            .find(|(path, _)| path.extension().is_some_and(|end| end == "key"))
            .unwrap()
            .1;
        let steps = AtomicUsize::new(0);
        let goes_on = move |_| if steps.fetch_add(1, SeqCst) < last { Ok(()) } else { Err(KeystoreError::Left) };
        let store = Keystore::open_while(home.path(), Policy::default(), goes_on).unwrap();
        store.unseal(&root(1)).unwrap();
        let all = || {
            store.generate(NEXT, Domain::System, MANIFEST, ED25519)?;
            store.rotate_root(new_root(2))?;
            store.rewrap(1)?;
            store.rewrap(9)?;
            store.destroy(SIGNER)
        };
        let ended = all();
        if last % 2 == 1 && ended.is_err() {
            fs::write(home.path().join("new"), "sop key 1\nkey 01").unwrap();
        }
        drop(store);

        let store = open(home.path());
        assert!(!home.path().join("new").exists(), "{last} steps");
        let first = store.unseal(&root(1));
        let is_rotated = first.is_err();
        assert_eq!(store.unseal(&root(2)).is_ok(), is_rotated, "one root or the other, after {last} steps");
        match signs(&store, SIGNER, &public) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.code(), "keystore.destroyed", "after {last} steps"),
        }
        let about = store.generate(NEXT, Domain::System, MANIFEST, ED25519).unwrap();
        let next = signing::PublicKey::read(Signature::Ed25519, &about.public).unwrap();
        if !is_rotated {
            store.rotate_root(new_root(2)).unwrap();
        }
        while store.rewrap(1).unwrap().left != 0 {}
        store.destroy(SIGNER).unwrap();
        let store = unsealed(home.path(), 2);
        assert!(matches!(store.standing(), Standing::Unsealed { rotating: false, .. }), "after {last} steps");
        signs(&store, NEXT, &next).unwrap();
        assert_eq!(code(signs(&store, SIGNER, &public)), "keystore.destroyed");
        assert!(files(home.path()).iter().all(|(_, bytes)| *bytes != secret), "after {last} steps");
        assert_eq!(files(home.path()).len(), 3, "the root, a key, and that one was destroyed");
        if ended.is_ok() {
            assert!(20 < last, "each step was left once: {last}");
            break;
        }
    }
}

/// As when a disk fails once, and the store lives on: what is in use is what the files say.
#[test]
fn what_failed_once_is_carried_on_by_the_same_store() {
    for fails_at in 0..3 {
        let home = directory();
        let (_, public) = begun(home.path());
        let steps = Arc::new(AtomicUsize::new(usize::MAX));
        let goes_on = {
            let steps = steps.clone();
            move |_| if steps.fetch_sub(1, SeqCst) == 0 { Err(KeystoreError::Left) } else { Ok(()) }
        };
        let fail = || steps.store(fails_at, SeqCst);
        let store = Keystore::open_while(home.path(), Policy::default(), goes_on).unwrap();
        store.unseal(&root(1)).unwrap();
        let Standing::Unsealed { root: first, .. } = store.standing() else { panic!("it is unsealed") };

        fail();
        assert_eq!(code(store.rotate_root(new_root(2))), "keystore.left");
        let Standing::Sealed { root: found } = store.standing() else { panic!("nobody knows which root is in use") };
        let is_rotated = found != first;
        assert_eq!(is_rotated, fails_at == 2, "it is the rename that counts");
        assert_eq!(store.unseal(&root(1)).is_ok(), !is_rotated);
        assert_eq!(store.unseal(&root(2)).is_ok(), is_rotated);
        if !is_rotated {
            store.rotate_root(new_root(2)).unwrap();
        }
        signs(&store, SIGNER, &public).unwrap();

        fail();
        assert_eq!(code(store.rewrap(9)), "keystore.left");
        signs(&store, SIGNER, &public).unwrap();
        let moving = fs::read(home.path().join("new")).ok();
        assert_eq!(moving.is_some(), fails_at == 1, "the key lies there a second time");
        store.destroy(SIGNER).unwrap();
        assert!(!home.path().join("new").exists());
        assert_eq!(store.rewrap(9).unwrap(), Moved::default());
        assert!(matches!(store.standing(), Standing::Unsealed { rotating: false, .. }));
    }
}

/// What a power cut may leave: each file as it was when the directory was last synced, or as it is.
#[derive(Default)]
struct Disk {
    synced: Vec<(PathBuf, Vec<u8>)>,
    /// Synced once this step is done, which shows by the next one.
    syncing: Option<Vec<(PathBuf, Vec<u8>)>>,
    steps: usize,
}

impl Disk {
    /// The store over it, that ends before the step `last`, which may be one of opening it.
    fn open(disk: &Arc<Mutex<Self>>, home: &Path, last: usize) -> Result<Keystore, KeystoreError> {
        disk.lock().unwrap().steps = 0;
        let (disk, directory) = (disk.clone(), home.to_owned());
        let goes_on = move |step| {
            let mut disk = disk.lock().unwrap();
            if let Some(synced) = disk.syncing.take() {
                disk.synced = synced;
            }
            disk.steps += 1;
            if last < disk.steps {
                return Err(KeystoreError::Left);
            }
            disk.syncing = (step == "see that it stays").then(|| files(&directory));
            Ok(())
        };
        Keystore::open_while(home, Policy::default(), goes_on)
    }
}

/// Also when who moved the last keys ended before it saw to it that they stay, and another carries on.
#[test]
fn no_power_cut_leaves_a_key_under_a_root_that_is_gone() {
    let mut cuts = 0;
    for (first, second) in (0..14).flat_map(|first| (0..14).map(move |second| (first, second))) {
        let home = directory();
        let (store, public) = begun(home.path());
        let about = store.generate(NEXT, Domain::System, MANIFEST, ED25519).unwrap();
        let next = signing::PublicKey::read(Signature::Ed25519, &about.public).unwrap();
        store.rotate_root(new_root(2)).unwrap();
        let disk = Arc::new(Mutex::new(Disk { synced: files(home.path()), ..Disk::default() }));
        for last in [first, second] {
            let Ok(store) = Disk::open(&disk, home.path(), last) else { continue };
            store.unseal(&root(2)).unwrap();
            while store.rewrap(2).is_ok_and(|moved| moved.left != 0) {}
        }
        let (now, synced) = (files(home.path()), disk.lock().unwrap().synced.clone());
        let synced: Vec<_> = synced.into_iter().filter(|file| !now.contains(file)).collect();
        for taken_back in 0..1_u32 << synced.len() {
            for (path, bytes) in &now {
                fs::write(path, bytes).unwrap();
            }
            for (at, (path, bytes)) in synced.iter().enumerate() {
                if taken_back >> at & 1 == 1 {
                    fs::write(path, bytes).unwrap();
                }
            }
            let store = unsealed(home.path(), 2);
            signs(&store, SIGNER, &public).unwrap();
            signs(&store, NEXT, &next).unwrap();
            cuts += 1;
        }
    }
    assert!(300 < cuts, "there is something to take back: {cuts}");
}

/// No file is what it was with any bit turned: it is refused, by name, and never opens as something else.
#[test]
fn every_turned_bit_is_refused() {
    let home = directory();
    let (store, public) = begun(home.path());
    store.generate(NEXT, Domain::System, MANIFEST, ED25519).unwrap();
    store.destroy(NEXT).unwrap();
    store.rotate_root(new_root(2)).unwrap();
    for (path, whole) in files(home.path()) {
        for place in 0..whole.len() * 8 {
            let mut turned = whole.clone();
            turned[place / 8] ^= 1 << (place % 8);
            fs::write(&path, turned).unwrap();
            let row = || format!("bit {place} of {}", path.display());
            match path.extension().and_then(|end| end.to_str()) {
                Some("key") => {
                    let store = open(home.path());
                    assert_eq!(code(store.about(SIGNER)), "keystore.damaged", "{}", row());
                    assert_eq!(store.keys().unwrap()[&SIGNER], Keeping::Damaged, "{}", row());
                }
                Some(_) => {
                    let store = open(home.path());
                    assert_eq!(code(store.about(NEXT)), "keystore.destroyed", "{}", row());
                    assert_eq!(store.keys().unwrap()[&NEXT], Keeping::Destroyed { about: None }, "{}", row());
                }
                None => {
                    assert_eq!(code(Keystore::open(home.path(), Policy::default())), "keystore.damaged", "{}", row());
                }
            }
        }
        fs::write(&path, whole).unwrap();
    }
    signs(&unsealed(home.path(), 2), SIGNER, &public).unwrap();
}

/// As who may write the files, and not open them, would have it: each line of one key in the file of another, with the checksum
/// made right.
#[test]
fn no_line_of_a_key_serves_another() {
    let home = directory();
    let (store, _) = begun(home.path());
    store.generate(NEXT, Domain::Trust, OTHER, Cipher::Aes256Gcm.into()).unwrap();
    store.rotate_root(new_root(2)).unwrap();
    store.generate(Name { id: 9, version: 1 }, Domain::Trust, OTHER, Signature::MlDsa65.into()).unwrap();
    let vouched = |lines: &[&str]| {
        let told = lines[..lines.len() - 1].join("\n") + "\n";
        format!("{told}check {}\n", blake3::hash(told.as_bytes()).to_hex())
    };
    let keys: Vec<_> =
        files(home.path()).into_iter().filter(|(path, _)| path.extension().is_some_and(|end| end == "key")).collect();
    let texts: Vec<_> = keys.iter().map(|(_, bytes)| str::from_utf8(bytes).unwrap()).collect();
    let tried = Cell::new(0);
    for (at, (path, whole)) in keys.iter().enumerate() {
        let own: Vec<_> = texts[at].lines().collect();
        assert_eq!(vouched(&own).as_bytes(), whole, "the form is as it is tried here");
        for other in
            texts.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, text)| text.lines().collect::<Vec<_>>())
        {
            for line in (1..own.len() - 1).filter(|line| own[*line] != other[*line]) {
                let mut lines = own.clone();
                lines[line] = other[line];
                fs::write(path, vouched(&lines)).unwrap();
                let store = unsealed(home.path(), 2);
                for name in [SIGNER, NEXT, Name { id: 9, version: 1 }] {
                    let is_it = path.file_stem().is_some_and(|stem| stem == name.to_string().as_str());
                    for purpose in [MANIFEST, OTHER].into_iter().filter(|_| is_it) {
                        assert!(store.sign(name, purpose, b"").is_err(), "line {line}: {}", lines[line]);
                        assert!(store.seal(name, purpose, b"", None, b"").is_err(), "line {line}: {}", lines[line]);
                        tried.set(tried.get() + 1);
                    }
                }
            }
        }
        fs::write(path, whole).unwrap();
    }
    assert!(30 < tried.get());
}

#[test]
fn any_so_many_shares_unseal_it() {
    let home = directory();
    let policy = Policy::default();
    let (new, shares) = NewRoot::shared(&policy, 3, 5).unwrap();
    let store = open(home.path());
    store.initialise(new).unwrap();
    let about = store.generate(SIGNER, Domain::System, MANIFEST, ED25519).unwrap();
    let public = signing::PublicKey::read(Signature::Ed25519, &about.public).unwrap();
    let texts: Vec<_> = shares.iter().map(Share::reveal).collect();
    let shares: Vec<_> =
        texts.iter().map(|text| Share::read(str::from_utf8(text.expose()).unwrap()).unwrap()).collect();
    for given in 0_u8..32 {
        let some: Vec<_> = shares.iter().filter(|share| given >> (share.number() - 1) & 1 == 1).cloned().collect();
        let store = open(home.path());
        let unsealed = store.unseal(&Given::Shares(some));
        if given.count_ones() < 3 {
            assert_eq!(code(unsealed), "keystore.too_few_shares", "{given:05b}");
        } else {
            unsealed.unwrap();
            signs(&store, SIGNER, &public).unwrap();
        }
    }
    let unseal = |some: &[&Share]| open(home.path()).unseal(&Given::Shares(some.iter().copied().cloned().collect()));
    assert_eq!(code(unseal(&[&shares[0], &shares[0], &shares[0]])), "keystore.too_few_shares");
    let others = NewRoot::shared(&policy, 3, 6).unwrap().1;
    let wrong = unseal(&[&shares[0], &others[1], &shares[2], &shares[3]]);
    assert!(matches!(wrong, Err(KeystoreError::WrongShare { number: 2 })), "{wrong:?}");
    assert!(matches!(unseal(&[&others[5]]), Err(KeystoreError::WrongShare { number: 6 })));
    for (needed, of) in [(0, 3), (1, 3), (4, 3), (2, 33)] {
        assert_eq!(code(NewRoot::shared(&policy, needed, of)), "keystore.no_such_sharing", "{needed} of {of}");
    }
    let text = str::from_utf8(texts[0].expose()).unwrap();
    assert!(Share::read(&format!("  {text}\n")).is_ok());
    for at in 0..text.len() {
        let mut mistyped = text.to_owned();
        let other = if mistyped.as_bytes()[at] == b'0' { "1" } else { "0" };
        mistyped.replace_range(at..=at, other);
        assert_eq!(code(Share::read(&mistyped)), "keystore.mistyped", "place {at}");
    }
}

#[test]
fn a_passphrase_unseals_it() {
    let home = directory();
    let passphrase = |text: &str| Given::Passphrase(Secret::new(text.into()));
    let cost = Cost::new(19_456, 2, 1).unwrap();
    assert_eq!(code(NewRoot::of(passphrase("hunter2"), cost)), "keystore.bad_passphrase");
    assert_eq!(Cost::new(1_024, 2, 1), None);
    let store = open(home.path());
    store.initialise(NewRoot::of(passphrase("four drawn words here"), cost).unwrap()).unwrap();
    let sealed = open(home.path());
    assert_eq!(code(sealed.unseal(&passphrase("four drawn words her"))), "keystore.wrong_root");
    assert_eq!(code(sealed.unseal(&root(1))), "keystore.other_kind");
    sealed.unseal(&passphrase("four drawn words here")).unwrap();
}

#[test]
fn a_store_whose_root_is_lost_does_not_begin_again() {
    let home = directory();
    drop(begun(home.path()));
    fs::remove_file(home.path().join("root")).unwrap();
    assert_eq!(code(Keystore::open(home.path(), Policy::default())), "keystore.root_lost");
}

#[test]
fn files_are_for_their_owner_alone_and_no_secret_is_in_them() {
    let home = directory();
    let directory = home.path().join("keys/store");
    let store = open(&directory);
    let secret = Secret::new((1..=32).collect());
    store.initialise(NewRoot::of(Given::Key(secret.clone()), Cost::RECOMMENDED).unwrap()).unwrap();
    for (version, suite) in (1..).zip([ED25519, Signature::Ed25519MlDsa65.into(), Agreement::MlKem768.into()]) {
        store.generate(Name { id: 1, version }, Domain::System, MANIFEST, suite).unwrap();
    }
    store.rotate_root(new_root(2)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    for (path, bytes) in files(&directory) {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
        let text = String::from_utf8(bytes).unwrap();
        for root in [secret.expose(), &[2; 32]] {
            assert!(!text.contains(&hex(root)[..16]), "{}", path.display());
        }
    }
    let shown = format!("{store:?} {:?} {:?}", root(7), new_root(7));
    assert!(!shown.contains("0707") && !shown.contains("7, 7"), "{shown}");
}

/// Of a directory that was there before, such as one that a backup put back.
#[test]
fn a_directory_that_others_get_at_is_not_used() {
    let home = directory();
    let directory = home.path().join("store");
    drop(begun(&directory));
    for (mode, refused) in [
        (0o700, None),
        (0o500, None),
        (0o750, Some("keystore.open_directory")),
        (0o705, Some("keystore.open_directory")),
        (0o720, Some("keystore.open_directory")),
        (0o1777, Some("keystore.open_directory")),
    ] {
        fs::set_permissions(&directory, Permissions::from_mode(mode)).unwrap();
        let opened = Keystore::open(&directory, Policy::default());
        assert_eq!(opened.err().map(|error| error.code()), refused, "{mode:o}");
    }
    fs::set_permissions(&directory, Permissions::from_mode(0o700)).unwrap();
    // Only who is root can give a directory away.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&directory, Some(1), None).unwrap();
        assert_eq!(code(Keystore::open(&directory, Policy::default())), "keystore.not_ours");
    }
}

#[test]
fn what_cannot_be_written_is_not_there() {
    let home = directory();
    let in_the_way = home.path().join("store");
    fs::write(&in_the_way, "").unwrap();
    assert_eq!(code(Keystore::open(&in_the_way, Policy::default())), "keystore.io");
}

#[derive(Clone, Debug)]
enum Step {
    Generate(u32),
    Destroy(u32),
    Rotate,
    Rewrap(usize),
    Sign(u32),
    SealUp,
}

fn step() -> impl Strategy<Value = Step> {
    let version = 1_u32..5;
    prop_oneof![
        3 => version.clone().prop_map(Step::Generate),
        1 => version.clone().prop_map(Step::Destroy),
        1 => Just(Step::Rotate),
        2 => (0_usize..3).prop_map(Step::Rewrap),
        2 => version.prop_map(Step::Sign),
        1 => Just(Step::SealUp),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Over random histories, each step left somewhere in between, or not: whatever was acknowledged holds after a restart, and
    /// what was not is one or the other.
    #[test]
    fn every_history_keeps_the_laws(script in prop::collection::vec((step(), 0_usize..8), 1..14)) {
        use std::collections::BTreeMap;
        let home = directory();
        open(home.path()).initialise(new_root(1)).unwrap();
        let mut current = 1;
        // Public parts; `None` once it may be destroyed.
        let mut known: BTreeMap<u32, Option<Vec<u8>>> = BTreeMap::new();
        for (step, left_after) in script {
            let budget = Arc::new(AtomicUsize::new(left_after));
            let goes_on = {
                let budget = budget.clone();
                move |_| budget.try_update(SeqCst, SeqCst, |left| left.checked_sub(1)).map(drop).map_err(|_| KeystoreError::Left)
            };
            // It may be left while it opens, too.
            let Ok(store) = Keystore::open_while(home.path(), Policy::default(), goes_on) else { continue };
            store.unseal(&root(current)).unwrap();
            let name = |version| Name { id: 1, version };
            match step {
                Step::Generate(version) => {
                    if let Ok(about) = store.generate(name(version), Domain::System, MANIFEST, ED25519) {
                        let first = known.entry(version).or_insert_with(|| Some(about.public.clone()));
                        prop_assert_eq!(first.as_deref(), Some(&about.public[..]), "a name is one key for ever");
                    }
                }
                Step::Destroy(version) => {
                    let _ = store.destroy(name(version));
                    let is_gone = matches!(open(home.path()).keys().unwrap().get(&name(version)), Some(Keeping::Destroyed { .. }));
                    if is_gone { known.insert(version, None); }
                }
                Step::Rotate => {
                    let _ = store.rotate_root(new_root(current + 1));
                    let after = open(home.path());
                    match (after.unseal(&root(current)), after.unseal(&root(current + 1))) {
                        (Ok(()), Err(_)) => {}
                        (Err(_), Ok(())) => current += 1,
                        both => prop_assert!(false, "one root is in use: {both:?}"),
                    }
                }
                Step::Rewrap(at_most) => drop(store.rewrap(at_most)),
                Step::Sign(version) => drop(store.sign(name(version), MANIFEST, b"")),
                Step::SealUp => store.seal_up(),
            }
            let after = unsealed(home.path(), current);
            for (version, public) in &known {
                if let Some(public) = public {
                    let public = signing::PublicKey::read(Signature::Ed25519, public).unwrap();
                    prop_assert!(signs(&after, name(*version), &public).is_ok(), "what was acknowledged signs");
                } else {
                    prop_assert_eq!(code(after.sign(name(*version), MANIFEST, b"")), "keystore.destroyed");
                }
            }
        }
    }
}
