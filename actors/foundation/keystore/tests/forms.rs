//! What the first version wrote, in `golden/`, which is never edited: it is read as it was, and carried on with.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use kernel::Refuse as _;
use keystore::{Given, Keeping, Keystore, KeystoreError, Name, Share, Standing};
use proptest::prelude::*;
use suites::{Cipher, Domain, Policy, Purpose, Secret, Suite, signing};
use tempfile::TempDir;

const MANIFEST: Purpose = Purpose::new("backup-manifest");
const CIPHER: Name = Name { id: u128::MAX, version: u32::MAX };
const SIGNED: [(u32, &str); 2] = [
    (
        1,
        "01040170599f235ec841b599f4d1e22bec12f2d1842da88b1a0d379dd2e4d8483e38ed736f338be2125315f32f5c2a77748f747bdc019ea56a0d6d500a9c99072f7d00",
    ),
    (
        3,
        "0104019ac590daa693dc0bdaba568a8c3cd5ef895872523abf1d70cb5ef51249231a10d82b90a65919bcdf6283dc5f5f52c5a7b5791bdd673a81a2d447e27ff2380509",
    ),
];
const SEALED: &str = "010201a39a972c112fc0149f64ee2fe94a58ad8f61832a86892c3b685400d7b023ee42";
const SHARES: [&str; 3] = [
    "sop-share-1-96c9710a6d7024bc-2-1-becd9077306709aa6bb07bdd31f225bcfcb688526516acf8d70011f181beab86-ce28f3fc",
    "sop-share-1-96c9710a6d7024bc-2-2-992b4fcb9a6ce15960e103dd12af6bee14465df3a38bf0edf2f164956cf7d24f-ceb62139",
    "sop-share-1-96c9710a6d7024bc-2-3-8480f356fc9cb90890272bddfa6d51294c16e765e109c4171857be4037390c08-bdf8e8eb",
];

/// For its owner alone, as a store wants it.
fn directory() -> TempDir {
    tempfile::Builder::new().permissions(Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn golden(store: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(store)
}

/// A copy, to be carried on with.
fn copied(store: &str) -> TempDir {
    let home = directory();
    for entry in fs::read_dir(golden(store)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, home.path().join(path.file_name().unwrap())).unwrap();
    }
    home
}

fn open(home: &Path) -> Keystore {
    Keystore::open(home, Policy::default()).unwrap()
}

fn name(version: u32) -> Name {
    Name { id: 0x0190_c3a2_7b5e_7cc3_98c4_dc0c_0c07_398f, version }
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|half| char::from_digit(half.into(), 16).unwrap())
        .collect()
}

/// One key was moved to the second root key, two were not, two are destroyed.
#[test]
fn a_store_in_the_middle_of_a_rotation() {
    let home = copied("rotating");
    let store = open(home.path());
    let keys = store.keys().unwrap();
    assert_eq!(keys.len(), 5);
    assert!(matches!(&keys[&name(2)], Keeping::Destroyed { about: Some(about) } if about.public.len() == 44));
    assert_eq!(keys[&name(7)], Keeping::Destroyed { about: None });
    let Keeping::Kept { about, root } = &keys[&CIPHER] else { panic!("{keys:?}") };
    assert_eq!((about.domain, about.purpose.as_str(), about.public.len()), (Domain::Trust, "backup-manifest", 0));
    assert_eq!(about.suite, Suite::Cipher(Cipher::Aes256Gcm));
    assert_eq!(root.to_string(), "8de8c452df92279c70fe1aaca75962b0");

    let key = |byte: u8| Given::Key(Secret::new(vec![byte; 32]));
    assert!(matches!(store.unseal(&key(1)), Err(KeystoreError::WrongRoot { rotated: true })));
    store.unseal(&key(2)).unwrap();
    for _ in ["as they are", "once all are moved"] {
        for (version, signed) in SIGNED {
            let made = store.sign(name(version), MANIFEST, b"what is in it").unwrap();
            assert_eq!(hex(&made.to_bytes()), signed);
            let about = store.about(name(version)).unwrap();
            let public = signing::PublicKey::read(made.suite(), &about.public).unwrap();
            let policy = Policy::default();
            let accepted = policy.accept(about.domain, made.suite()).unwrap();
            accepted.verify(&public, MANIFEST, b"what is in it", &made).unwrap();
        }
        assert_eq!(hex(&store.seal(CIPHER, MANIFEST, b"ada", Some(b"1"), b"left").unwrap()), SEALED);
        store.rewrap(9).unwrap();
        store.seal_up();
        store.unseal(&key(2)).unwrap();
    }
    assert!(matches!(store.standing(), Standing::Unsealed { rotating: false, .. }));
}

#[test]
fn a_root_of_a_passphrase() {
    let home = copied("passphrase");
    let store = open(home.path());
    store.unseal(&Given::Passphrase(Secret::new(b"four drawn words here".to_vec()))).unwrap();
}

#[test]
fn a_root_of_shares() {
    let home = copied("shares");
    let shares = SHARES.map(|text| Share::read(text).unwrap());
    for (share, text) in shares.iter().zip(SHARES) {
        assert_eq!((share.reveal().expose(), share.needed()), (text.as_bytes(), 2));
    }
    for two in [[0, 1], [1, 2], [2, 0]] {
        let given = Given::Shares(two.map(|at: usize| shares[at].clone()).to_vec());
        open(home.path()).unseal(&given).unwrap();
    }
    let one = open(home.path()).unseal(&Given::Shares(shares[..1].to_vec()));
    assert_eq!(one.unwrap_err().code(), "keystore.too_few_shares");
}

/// A header that asks for less, or for more than there is, is none.
#[test]
fn a_passphrase_costs_what_it_has_to() {
    let home = copied("passphrase");
    let root = home.path().join("root");
    let text = fs::read_to_string(&root).unwrap();
    let written = |from: &str, to: &str| {
        let told = text.rsplit_once("check ").unwrap().0.replace(from, to);
        fs::write(&root, format!("{told}check {}\n", blake3::hash(told.as_bytes()).to_hex())).unwrap();
        Keystore::open(home.path(), Policy::default()).map(|store| {
            store
                .unseal(&Given::Passphrase(Secret::new(b"four drawn words here".to_vec())))
                .map_err(|error| error.code())
        })
    };
    assert_eq!(written("m=19456", "m=19456").unwrap(), Ok(()));
    assert_eq!(written("m=19456", "m=19457").unwrap(), Err("keystore.wrong_root"), "it is bound to what it says");
    for other in ["m=8", "m=19455", "m=4194305", "m=019456", "m=+19456"] {
        assert_eq!(written("m=19456", other).unwrap_err().code(), "keystore.damaged", "{other}");
    }
}

/// Any bytes, and lines of a store in any order with the checksum made right.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let files: Vec<_> = ["rotating", "passphrase", "shares"]
        .into_iter()
        .flat_map(|store| fs::read_dir(golden(store)).unwrap())
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    let lines: Vec<String> = files.iter().flat_map(|text| text.lines().map(str::to_owned)).collect();
    let line = prop_oneof![4 => prop::sample::select(lines), 1 => "[a-z0-9 =.:-]{0,20}"];
    let text = (prop::sample::select(files), prop::collection::vec((any::<prop::sample::Index>(), line), 0..4));
    let vouched = text.prop_map(|(text, changes)| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.pop();
        for (at, line) in changes {
            let at = at.index(lines.len());
            lines[at] = line;
        }
        let told = lines.join("\n") + "\n";
        format!("{told}check {}\n", blake3::hash(told.as_bytes()).to_hex()).into_bytes()
    });
    prop_oneof![3 => vouched, 1 => prop::collection::vec(any::<u8>(), 0..200)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever lies where a file of ours does is answered for, and what is accepted has the one form.
    #[test]
    fn a_file_of_any_content_is_answered_for(content in content(), at in 0..3_usize) {
        let home = copied("rotating");
        let names = ["root".to_owned(), format!("{}.key", name(1)), format!("{}.gone", name(2))];
        let path = home.path().join(&names[at]);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &content).unwrap();
        let key = Given::Key(Secret::new(vec![2; 32]));
        match Keystore::open(home.path(), Policy::default()) {
            Ok(store) => {
                store.keys().unwrap();
                let unsealed = store.unseal(&key);
                if at == 0 {
                    prop_assert_eq!(unsealed.is_ok(), content == whole);
                } else if at == 1 {
                    prop_assert_eq!(store.sign(name(1), MANIFEST, b"it").is_ok(), content == whole);
                } else {
                    prop_assert_eq!(store.sign(name(2), MANIFEST, b"it").unwrap_err().code(), "keystore.destroyed");
                }
            }
            Err(error) => prop_assert_eq!((at, error.code()), (0, "keystore.damaged")),
        }
    }

    #[test]
    fn a_share_is_read_in_its_one_form(text in "\\PC{0,60}|sop-share-1-[0-9a-f-]{0,100}", at in 0..3_usize, cut in 0..120_usize) {
        prop_assert_eq!(Share::read(&text).map(|_| ()).unwrap_err().code(), "keystore.mistyped");
        let cut = SHARES[at].get(..cut).unwrap_or_default();
        prop_assert!(Share::read(cut).is_err() || cut == SHARES[at]);
    }
}
