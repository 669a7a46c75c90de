//! What the keystore keeps, and the shares of its root key. Nothing is used but what the root key vouches for.

use std::cell::RefCell;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::LazyLock;

use keystore::{Cost, Given, Keeping, Keystore, KeystoreError, Name, NewRoot, Share};
use suites::{Domain, Policy, Purpose, Secret, Signature};
use tempfile::TempDir;

const PURPOSE: Purpose = Purpose::new("seed");
const KEPT: Name = Name { id: 5, version: 1 };
const GONE: Name = Name { id: 5, version: 2 };

/// The files of a store in the middle of a rotation: of the root key, of a key, and of one that was destroyed.
static FILES: LazyLock<[(String, Vec<u8>); 3]> = LazyLock::new(|| {
    let home = directory();
    let store = open(home.path()).expect("an empty directory is a store");
    store.initialise(root(1)).expect("a root");
    for name in [KEPT, GONE] {
        store.generate(name, Domain::System, PURPOSE, Signature::Ed25519.into()).expect("a key");
    }
    store.destroy(GONE).expect("destroyed");
    store.rotate_root(root(2)).expect("another root");
    ["root".to_owned(), format!("{KEPT}.key"), format!("{GONE}.gone")]
        .map(|name| (name.clone(), std::fs::read(home.path().join(name)).expect("it was written")))
});

/// The root key of another store, in three shares, two of which are needed; and the file that knows them.
static SHARES: LazyLock<(Vec<Share>, TempDir)> = LazyLock::new(|| {
    let home = directory();
    let (root, shares) = NewRoot::shared(&Policy::default(), 2, 3).expect("two of three");
    open(home.path()).and_then(|store| store.initialise(root)).expect("a root");
    (shares, home)
});

thread_local! {
    /// Where what is tried is put into the place of what was kept.
    static TRIED: RefCell<Option<TempDir>> = const { RefCell::new(None) };
}

/// For its owner alone, as a store wants it.
fn directory() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().expect("a directory")
}

fn open(home: &Path) -> Result<Keystore, KeystoreError> {
    Keystore::open(home, Policy::default())
}

fn key(byte: u8) -> Given {
    Given::Key(Secret::new(vec![byte; 32]))
}

fn root(byte: u8) -> NewRoot {
    NewRoot::of(key(byte), Cost::RECOMMENDED).expect("32 bytes are a root key")
}

/// Without the line at the end that vouches for the rest: anybody could write it.
pub fn files() -> Vec<Vec<u8>> {
    let told = |whole: &[u8]| {
        let text = str::from_utf8(whole).expect("what is kept is text");
        text.as_bytes()[..text.rfind("check ").expect("it is written with its check")].to_vec()
    };
    FILES.iter().map(|(_, whole)| told(whole)).collect()
}

/// Whatever lies in its place, a key signs, and a root key opens, if the file is the one that was written.
pub fn file(bytes: &[u8]) {
    TRIED.with_borrow_mut(|home| {
        let home = home.get_or_insert_with(directory);
        let check = format!("check {}\n", blake3::hash(bytes).to_hex());
        let vouched = [bytes, check.as_bytes()].concat();
        for (tried, (_, kept)) in FILES.iter().enumerate() {
            for (at, (name, kept)) in FILES.iter().enumerate() {
                let content = if at == tried { &vouched } else { kept };
                std::fs::write(home.path().join(name), content).expect("it can be written");
            }
            let is_it = vouched == *kept;
            let Ok(store) = open(home.path()) else {
                assert!(tried == 0 && !is_it, "a store opens but for its root");
                continue;
            };
            let keys = store.keys().expect("any file is answered for");
            assert!(matches!(keys[&GONE], Keeping::Destroyed { .. }), "destroyed once is destroyed");
            let unsealed = store.unseal(&key(2));
            assert!(unsealed.is_ok() == is_it || tried != 0, "another header opened: {unsealed:?}");
            let signed = store.sign(KEPT, PURPOSE, b"it").is_ok();
            assert!(signed == (unsealed.is_ok() && (is_it || tried != 1)), "this key was never kept: {signed}");
            assert!(store.sign(GONE, PURPOSE, b"it").is_err(), "destroyed once is destroyed");
        }
    });
}

/// Without the check at the end, which anybody could work out.
pub fn shares() -> Vec<Vec<u8>> {
    let told = |share: &Share| {
        let text = share.reveal();
        let at = text.expose().iter().rposition(|byte| *byte == b'-').expect("it ends with a check");
        text.expose()[..at].to_vec()
    };
    SHARES.0.iter().map(told).collect()
}

/// A share has one text, and opens if it was handed out.
pub fn share(bytes: &[u8]) {
    let Ok(told) = str::from_utf8(bytes) else { return };
    let text = format!("{told}-{}", &blake3::hash(bytes).to_hex()[..8]);
    let Ok(share) = Share::read(&text) else { return };
    assert_eq!(share.reveal().expose(), text.trim().as_bytes(), "a share has one text");
    let (handed_out, home) = &*SHARES;
    for other in handed_out.iter().filter(|other| other.number() != share.number()) {
        let store = open(home.path()).expect("it opened before");
        let given = Given::Shares(vec![share.clone(), other.clone()]);
        assert_eq!(store.unseal(&given).is_ok(), handed_out.contains(&share), "this was never handed out");
    }
}

#[test]
fn the_seeds_are_good() {
    assert_eq!((files().len(), shares().len()), (3, 3));
    for file in files() {
        let check = format!("check {}\n", blake3::hash(&file).to_hex());
        assert!(FILES.iter().any(|(_, whole)| *whole == [&file[..], check.as_bytes()].concat()));
    }
}
