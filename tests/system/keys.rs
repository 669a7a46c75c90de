//! The keys that the authority signs with: made, rotated, revoked and destroyed by commands, sealed without the root key, and
//! carried on after a kill.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

use crypto::{KeyId, Purpose};
use kernel::Sequence;
use kit::{Authority, Client, adopt_starter};
use serde_json::{Value, json};

use crate::personal::kept_in;
use crate::{Place, failed};

/// What it takes to be 32 bytes of a root key, each of them this.
fn digits(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// A file with a root key.
fn root_key(place: &Place, byte: u8) -> PathBuf {
    let path = place.home.path().join(format!("root-{byte}.key"));
    fs::write(&path, format!("{}\n", digits(byte))).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    path
}

/// The line of the configuration that names such a file, which is made.
pub fn root_option(place: &Place, name: &str, byte: u8) -> String {
    format!("{name} = \"file:{}\"\n", root_key(place, byte).display())
}

pub fn configured(place: &Place, root: u8, before: Option<u8>) {
    let before = before.map(|byte| root_option(place, "root_key_before", byte)).unwrap_or_default();
    place.daemon.configure(&format!("[crypto]\n{}{before}", root_option(place, "root_key", root)));
}

pub async fn started(root: Option<u8>) -> Place {
    let mut place = Place::new();
    if let Some(root) = root {
        configured(&place, root, None);
    }
    place.daemon.start().await;
    let root = place.daemon.credential();
    let mut setup = Client::new("setup", Arc::new(place.daemon.client()));
    adopt_starter(&mut setup, &root).await;
    place
}

pub fn asked(place: &Place, arguments: &[&str]) -> Value {
    let told = place.daemon.run(&[&["-o", "json", "crypto"], arguments].concat());
    serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {told:?}"))
}

fn keys(place: &Place) -> Vec<Value> {
    asked(place, &["keys", "--list"])["keys"].as_array().unwrap().clone()
}

/// The states of the keys for one purpose, by their versions.
fn states(place: &Place, purpose: &str) -> Vec<String> {
    let keys = keys(place);
    let of = keys.iter().filter(|key| key["purpose"] == purpose);
    of.map(|key| key["state"].as_str().unwrap().to_owned()).collect()
}

pub async fn unsealed(place: &mut Place, wanted: bool) {
    let secret = place.daemon.credential().expose().to_owned();
    let is = async |client: &http::Client| {
        let status = client.call("crypto.status", &json!({}), Some(&secret), None).await.unwrap_or_default();
        let state = status["keystore"]["state"].as_str().unwrap_or_default().to_owned();
        if wanted { state == "unsealed" || state == "moving" } else { state == "sealed" }
    };
    place.daemon.until("says how the keystore stands", is).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_root_key_the_keystore_is_sealed_and_says_so() {
    let mut place = started(None).await;
    let status = asked(&place, &["status"]);
    assert_eq!(
        (&status["keystore"]["state"], &status["keystore"]["code"]),
        (&"sealed".into(), &"crypto.sealed".into())
    );
    for what in ["--generate", "--rotate", "--verify", "--update-refs"] {
        let refused = place.daemon.run(&["crypto", "keys", what]);
        failed(&refused, 1, &["crypto.sealed", "crypto.root_key"]);
    }
    assert_eq!(keys(&place), Vec::<Value>::new(), "nothing was decided that could not be done");

    place.daemon.stop();
    configured(&place, 7, None);
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    let made = asked(&place, &["keys", "--generate"]);
    assert_eq!(made["keys"].as_array().unwrap().len(), Purpose::ALL.len() - 1, "one is made by itself");
    assert_eq!(states(&place, "token-root"), ["active"]);
    failed(&place.daemon.run(&["crypto", "keys", "--generate"]), 1, &["crypto.none_missing"]);

    // Another root key than the one in use opens nothing; what needs none is done.
    place.daemon.stop();
    configured(&place, 8, None);
    place.daemon.start().await;
    unsealed(&mut place, false).await;
    failed(&place.daemon.run(&["crypto", "keys", "--rotate"]), 1, &["keystore.wrong_root"]);
    let health = place.daemon.run(&["health"]);
    assert!(health.code == Some(2) && health.stdout.contains("keystore.wrong_root"), "{health:?}");
    let revoked = asked(&place, &["keys", "--revoke", "receipts.1", "--reason", "its disk was lost"]);
    assert_eq!(revoked["next"], "receipts.2");
    assert_eq!(states(&place, "receipts"), ["revoked", "pre-active"], "the next one waits for the root key");
    let destroyed = asked(&place, &["keys", "--destroy", "receipts.1"]);
    assert_eq!(destroyed["state"], "destroyed");

    // A file that others may read is no root key, until it is their owner's alone again.
    configured(&place, 7, None);
    let path = root_key(&place, 7);
    fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
    place.daemon.stop();
    place.daemon.start().await;
    unsealed(&mut place, false).await;
    assert_eq!(asked(&place, &["status"])["keystore"]["code"], "keystore.exposed");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    unsealed(&mut place, true).await;
    let secret = place.daemon.credential().expose().to_owned();
    let made = async |client: &http::Client| {
        let listed = client.call("crypto.list", &json!({}), Some(&secret), None).await.unwrap_or_default();
        listed["keys"].as_array().is_some_and(|keys| keys.iter().all(|key| key["state"] != "pre-active"))
    };
    place.daemon.until("makes what it owes", made).await;
    assert_eq!(states(&place, "receipts"), ["destroyed", "active"]);
    assert_eq!(asked(&place, &["keys", "--verify"])["found"], json!([]));
    assert_eq!(kept_in(&place.daemon.data, &digits(7)), Vec::<String>::new(), "the root key is nowhere");
    assert!(!place.daemon.stderr().contains(&digits(7)));
    let pid = fs::read_to_string(place.daemon.data.join("pid")).unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", pid.trim())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(
        core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(),
        ["0", "0"],
        "nor will it be in a core file"
    );
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", pid.trim())).unwrap();
    assert!(!arguments.contains(&digits(7)));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_rotated_revoked_tried_and_moved_by_commands() {
    let mut place = started(Some(1)).await;
    unsealed(&mut place, true).await;
    let run = |arguments: &[&str]| place.daemon.run(&[&["crypto", "keys"], arguments].concat());
    assert_eq!(run(&["--generate", "receipts"]).code, Some(0));
    failed(&run(&["--generate", "receits"]), 1, &["request.arguments", "backup-manifests"]);
    failed(&run(&["--generate", "receipts", "--suite", "ecdsa"]), 1, &["suites.not_allowed"]);
    failed(&run(&["--generate", "receipts", "--suite", "rsa2048"]), 1, &["suites.checks_only"]);
    failed(&run(&["--generate", "receipts", "--suite", "aes256"]), 1, &["suites.unknown"]);
    let advised = asked(&place, &["keys", "--generate", "receipts", "--suite", "hybrid"]);
    assert!(advised["advice"].as_str().unwrap().contains("ed25519+ml-dsa-65"), "{advised}");
    assert_eq!(states(&place, "receipts"), ["active", "pre-active"]);
    failed(&run(&["--rotate", "releases"]), 1, &["crypto.no_key_for"]);
    assert_eq!(run(&["--rotate"]).code, Some(0));
    assert_eq!(states(&place, "receipts"), ["verify-only", "active"]);
    assert_eq!(keys(&place)[1]["vouched_by"], "receipts.1", "the key in use says who follows it");
    failed(&run(&["--destroy", "receipts.2"]), 1, &["crypto.in_use"]);
    failed(&run(&["--revoke", "receipts.1", "--since", "1000000000"]), 1, &["crypto.no_record"]);
    failed(&run(&["--revoke", "receipts.9"]), 1, &["crypto.no_key"]);
    assert_eq!(run(&["--revoke", "receipts.1", "--since", "3"]).code, Some(0));
    failed(&run(&["--revoke", "receipts.1", "--since", "4"]), 1, &["crypto.revoked_before"]);
    assert_eq!(run(&["--destroy", "receipts.1"]).code, Some(0));
    assert_eq!(states(&place, "receipts"), ["destroyed", "active"]);

    // What was damaged behind its back is named.
    let store = place.daemon.data.join("keys/store");
    let kept: Vec<_> = fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path()).collect();
    let path = kept.iter().find(|path| path.extension().is_some_and(|end| end == "key")).unwrap();
    let whole = fs::read(path).unwrap();
    fs::write(path, &whole[..whole.len() / 2]).unwrap();
    let found = run(&["--verify"]);
    assert!(found.code == Some(2) && found.stdout.contains("keystore.damaged"), "{found:?}");
    fs::write(path, whole).unwrap();
    assert_eq!(run(&["--verify"]).code, Some(0));

    // Another root key: the keys move when they are asked to, and open all the time.
    assert_eq!(run(&["--generate", "checkpoints"]).code, Some(0));
    place.daemon.stop();
    configured(&place, 2, Some(1));
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    let status = asked(&place, &["status"]);
    assert_eq!(
        (&status["keystore"]["state"], &status["keystore"]["under_another_root"]),
        (&"moving".into(), &5.into()),
        "two for token-root, and that of the log"
    );
    assert_eq!(asked(&place, &["keys", "--verify"])["found_in_all"], 0);
    let moved = asked(&place, &["keys", "--update-refs"]);
    assert_eq!((&moved["done"], &moved["left"], &moved["found_in_all"]), (&5.into(), &0.into(), &0.into()));
    assert_eq!(asked(&place, &["status"])["keystore"]["state"], "unsealed");
    place.daemon.stop();
    configured(&place, 2, None);
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    assert_eq!(asked(&place, &["keys", "--verify"])["found_in_all"], 0);
    let shown = place.daemon.run(&["audit", "list", "--limit", "500"]);
    for kind in
        ["crypto.ordered", "crypto.made", "crypto.activated", "crypto.revoked", "crypto.destroyed", "crypto.rooted"]
    {
        assert!(shown.stdout.contains(kind), "{kind} is on record: {shown:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_keystore_is_gone_no_other_one_is_begun() {
    let mut place = started(Some(1)).await;
    assert_eq!(place.daemon.run(&["crypto", "keys", "--generate", "receipts"]).code, Some(0));
    let (store, aside) = (place.daemon.data.join("keys/store"), place.daemon.data.join("keys/aside"));
    for is_there in [false, true] {
        place.daemon.stop();
        fs::rename(if is_there { &aside } else { &store }, if is_there { &store } else { &aside }).unwrap();
        place.daemon.start().await;
        unsealed(&mut place, is_there).await;
        let code = asked(&place, &["status"])["keystore"]["code"].clone();
        assert_eq!(code, if is_there { Value::Null } else { "crypto.keystore_lost".into() });
    }
    // Where there is no copy, every key has to end first, and the log that one of them was of.
    place.daemon.stop();
    fs::remove_dir_all(&store).unwrap();
    place.daemon.start().await;
    unsealed(&mut place, false).await;
    for end in ["--revoke", "--destroy"] {
        for key in ["receipts.1", "token-root.1"] {
            assert_eq!(place.daemon.run(&["crypto", "keys", end, key]).code, Some(0));
        }
    }
    place.daemon.stop();
    place.daemon.start().await;
    unsealed(&mut place, false).await;
    place.daemon.stop();
    assert_eq!(place.daemon.run(&["state", "repair", "--new-log"]).code, Some(0));
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    let secret = place.daemon.credential().expose().to_owned();
    let done = async |client: &http::Client| {
        let status = client.call("crypto.status", &json!({}), Some(&secret), None).await.unwrap_or_default();
        status["waits"] == 0
    };
    place.daemon.until("makes what it owes", done).await;
    assert_eq!(states(&place, "receipts"), ["destroyed", "active"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_written_now_is_said_and_done_later() {
    let mut place = started(Some(1)).await;
    assert_eq!(place.daemon.run(&["crypto", "keys", "--generate"]).code, Some(0));
    let in_the_way = place.daemon.data.join("keys/store/new");
    fs::create_dir(&in_the_way).unwrap();
    let rotated = place.daemon.run(&["crypto", "keys", "--rotate", "receipts"]);
    assert!(rotated.code == Some(0) && rotated.stdout.contains("being made"), "{rotated:?}");
    assert_eq!(states(&place, "receipts"), ["active", "pre-active"], "the one before signs meanwhile");
    let status = asked(&place, &["status"]);
    assert!(status["keystore"]["trouble"].as_str().unwrap().contains("keystore cannot be used"), "{status}");
    let health = place.daemon.run(&["health"]);
    assert!(health.code == Some(2) && health.stdout.contains("keystore.io"), "{health:?}");
    fs::remove_dir(&in_the_way).unwrap();
    let secret = place.daemon.credential().expose().to_owned();
    let done = async |client: &http::Client| {
        let status = client.call("crypto.status", &json!({}), Some(&secret), None).await.unwrap_or_default();
        status["waits"] == 0 && status["keystore"]["trouble"].is_null()
    };
    place.daemon.until("makes it after all", done).await;
    assert_eq!(states(&place, "receipts"), ["verify-only", "active"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_time_is_over_is_rotated() {
    let mut place = started(Some(1)).await;
    assert_eq!(place.daemon.run(&["crypto", "keys", "--generate", "receipts"]).code, Some(0));
    assert_eq!(asked(&place, &["status"])["due"], json!([]));
    place.daemon.stop();
    let root = root_key(&place, 1);
    place.daemon.configure(&format!("[crypto]\nroot_key = \"file:{}\"\nrotate_every = \"1s\"\n", root.display()));
    place.daemon.start().await;
    let secret = place.daemon.credential().expose().to_owned();
    let rotated = async |client: &http::Client| {
        let listed = client.call("crypto.list", &json!({}), Some(&secret), None).await.unwrap_or_default();
        listed["keys"]
            .as_array()
            .is_some_and(|keys| 4 <= keys.iter().filter(|key| key["purpose"] == "receipts").count())
    };
    place.daemon.until("rotates it, again and again", rotated).await;
    place.daemon.stop();
    configured(&place, 1, None);
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    let states = states(&place, "receipts");
    assert!(states.iter().filter(|state| *state == "active").count() == 1, "{states:?}");
    assert!(states.iter().filter(|state| *state == "verify-only").count() >= 2, "{states:?}");
    let shown = place.daemon.run(&["audit", "list", "--limit", "500"]);
    let asked = |line: &&str| line.contains("crypto.ordered") && line.contains("internal/custodian");
    assert!(2 <= shown.stdout.lines().filter(asked).count(), "it was asked for on record: {shown:?}");

    // Sealed, it cannot be: that is missing, and said to be, until it can.
    place.daemon.stop();
    place.daemon.configure(&format!("[crypto]\nroot_key = \"file:{}\"\nrotate_every = \"1s\"\n", root.display()));
    let away = root.with_extension("away");
    fs::rename(&root, &away).unwrap();
    place.daemon.start().await;
    let secret = place.daemon.credential().expose().to_owned();
    let missing = async |client: &http::Client, wanted: bool| {
        let listed =
            client.call("gap.list", &json!({ "kind": "key_due" }), Some(&secret), None).await.unwrap_or_default();
        listed["gaps"].as_array().is_some_and(|gaps| gaps.iter().any(|gap| gap["state"] == "open") == wanted)
    };
    place.daemon.until("says that a key is due", async |client| missing(client, true).await).await;
    place.daemon.stop();
    configured(&place, 1, None);
    place.daemon.start().await;
    place.daemon.until("says so no more", async |client| missing(client, false).await).await;
}

/// Killed while all of it goes on, again and again: the store opens, and each purpose has its one key.
#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_time_leaves_one_key_for_each_purpose() {
    let mut place = started(Some(1)).await;
    unsealed(&mut place, true).await;
    assert_eq!(place.daemon.run(&["crypto", "keys", "--generate"]).code, Some(0));
    let secret = place.daemon.credential().expose().to_owned();
    for round in 0..8_u64 {
        let version = keys(&place).iter().filter(|key| key["purpose"] == "receipts").count();
        let (revoked, destroyed) = (format!("receipts.{version}"), format!("checkpoints.{}", round / 2));
        let under_way: Vec<_> =
            [vec!["--rotate"], vec!["--revoke", &revoked], vec!["--destroy", &destroyed], vec!["--update-refs"]]
                .iter()
                .map(|what| {
                    let mut command = place.daemon.command(&[&["crypto", "keys"], &what[..]].concat());
                    command
                        .arg("--data")
                        .arg(&place.daemon.data)
                        .stdin(Stdio::null())
                        .stdout(Stdio::null())
                        .stderr(Stdio::null());
                    command.spawn().unwrap()
                })
                .collect();
        // Later each time.
        let client = place.daemon.client();
        for _ in 0..round * 3 {
            let _ = client.call("crypto.list", &json!({}), Some(&secret), None).await;
        }
        place.daemon.kill();
        for mut one in under_way {
            let _ = one.wait();
        }
        let (root, before) = if round % 2 == 0 { (2, 1) } else { (1, 2) };
        configured(&place, root, Some(before));
        place.daemon.start().await;
        unsealed(&mut place, true).await;
        let settled = async |client: &http::Client| {
            let status = client.call("crypto.status", &json!({}), Some(&secret), None).await.unwrap_or_default();
            status["waits"] == 0 && status["active"].as_array().is_some_and(|active| active.len() == Purpose::ALL.len())
        };
        place.daemon.until("has done what was asked of it", settled).await;
        let tried = asked(&place, &["keys", "--verify"]);
        assert_eq!(tried["found"], json!([]), "round {round}");
        // The next root key comes with the next round.
        assert_eq!(asked(&place, &["keys", "--update-refs"])["found_in_all"], 0, "round {round}");
        assert_eq!(asked(&place, &["status"])["keystore"]["state"], "unsealed", "round {round}");
        let keys = keys(&place);
        for purpose in Purpose::ALL {
            let active = keys.iter().filter(|key| key["purpose"] == purpose.name() && key["state"] == "active");
            assert_eq!(active.count(), 1, "round {round}: {purpose}");
        }
    }
    let verified = place.daemon.run(&["audit", "verify"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// In one process, as signing has no command of its own.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_rotation_fails_no_signature_and_a_revocation_is_by_place() {
    const PURPOSE: Purpose = Purpose::Receipts;
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root.key");
    fs::write(&root, digits(3)).unwrap();
    fs::set_permissions(&root, Permissions::from_mode(0o600)).unwrap();
    let file = format!("[crypto]\nroot_key = \"file:{}\"\n", root.display());
    let authority = Authority::start(&home.path().join("data"), &file).await;
    let secret = authority.root.expose().to_owned();
    let mut client = Client::new("operator", Arc::new(authority.clone()));
    adopt_starter(&mut client, &authority.root).await;
    let by = kit::root();
    let mut ask =
        async |action: &'static str, arguments: Value| client.ask(Some(&by), &secret, action, arguments).await.yes();
    let mut durable = authority.parts.journal.durable();
    while authority.parts.safe.sealed().is_some() {
        durable.changed().await.unwrap();
    }
    ask("crypto.generate", json!({ "purpose": PURPOSE })).await;

    let (stop, made, done) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    let parts = &authority.parts;
    let signed = tokio::task::block_in_place(|| {
        std::thread::scope(|scope| {
            let signer = || {
                let mut signed = Vec::new();
                while !stop.load(SeqCst) {
                    let message = made.fetch_add(1, SeqCst).to_be_bytes();
                    let (key, signature) = parts.sign(PURPOSE, &message).expect("no rotation fails a signature");
                    parts.check(key, Sequence(1), &message, &signature).expect("it counts");
                    signed.push((key, message, signature));
                    done.fetch_add(1, SeqCst);
                }
                signed
            };
            let signers = [scope.spawn(signer), scope.spawn(signer)];
            tokio::runtime::Handle::current().block_on(async {
                for rotation in 0..=10 {
                    // Each of the two was at one already, with the key before.
                    let before = done.load(SeqCst);
                    while done.load(SeqCst) < before + 20 {
                        tokio::task::yield_now().await;
                    }
                    if rotation != 10 {
                        ask("crypto.rotate", json!({ "purpose": PURPOSE })).await;
                    }
                }
            });
            stop.store(true, SeqCst);
            signers.map(|signer| signer.join().unwrap()).concat()
        })
    });
    let by_how_many = signed.iter().map(|(key, ..)| key.version).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(by_how_many.len(), 11, "each key has signed");

    // Whatever becomes of a key, what it signed is judged by the record that has it.
    let old = PURPOSE.key(3);
    let (_, message, signature) = signed.iter().find(|(key, ..)| *key == old).unwrap();
    ask("crypto.revoke", json!({ "key": old, "since": 9 })).await;
    let code = |key: KeyId, record| {
        let checked = parts.check(key, Sequence(record), message, signature);
        checked.err().map(|denial| denial.code)
    };
    for _ in ["revoked", "destroyed"] {
        assert_eq!(code(old, 8), None);
        assert_eq!(code(old, 9).as_deref(), Some("crypto.revoked"));
        assert_eq!(code(PURPOSE.key(4), 8).as_deref(), Some("suites.forged"), "it is of another key");
        assert_eq!(code(PURPOSE.key(99), 8).as_deref(), Some("crypto.never_signed"));
        ask("crypto.destroy", json!({ "key": old })).await;
    }
    assert_eq!(parts.sign(Purpose::Releases, b"").unwrap_err().code, "crypto.none_in_use");
    authority.stop().await;
}
