//! The key of the tile log under a root key: in no file in plain, taken out of the one where it lay, and waited for while the
//! keystore is sealed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kit::{Client, Daemon, admit, adopt_starter};
use serde_json::{Value, json};

use crate::keys::{asked, configured, root_option, started, unsealed};
use crate::{Place, failed};

fn json_of(daemon: &Daemon, arguments: &[&str]) -> Value {
    let told = daemon.run(&[arguments, &["-o", "json"]].concat());
    serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {told:?}"))
}

fn key(daemon: &Daemon) -> String {
    json_of(daemon, &["audit", "key"])["key"].as_str().unwrap().to_owned()
}

/// Waits until all is signed, or nothing more is.
async fn signs(place: &mut Place, wanted: bool) {
    let secret = place.daemon.credential().expose().to_owned();
    let is = async |client: &http::Client| {
        let newest = client.call("audit.checkpoint", &json!({}), Some(&secret), None).await.unwrap_or_default();
        newest["size"].is_number() && newest["failing"].is_null() == wanted && (newest["lag"] == 0 || !wanted)
    };
    place.daemon.until("says whether the log is signed", is).await;
}

fn root_file(place: &Place) -> PathBuf {
    place.home.path().join("root-7.key")
}

/// Every file below a directory that has the private half of a key of signed notes in it.
fn in_plain(directory: &Path) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if fs::read(&path).unwrap().windows(11).any(|word| word == b"PRIVATE+KEY") {
                found.push(path);
            }
        }
    }
    found
}

fn copied(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_root_key_no_private_key_lies_in_plain() {
    let mut place = started(Some(7)).await;
    let issue = ["token", "issue", "--kind", "operation", "--subject", "agent/alpha", "--audience", "sop"];
    let mut client = Client::new("admits", Arc::new(place.daemon.client()));
    admit(&mut client, &place.daemon.credential(), "agent/alpha").await;
    let form = place.home.path().join("form");
    let secret = place.home.path().join("secret");
    let more = ["--operation", "gap.list", "--secret-file", secret.to_str().unwrap()];
    let more = [&more[..], &["--bearer-file", form.to_str().unwrap()]].concat();
    let issued = place.daemon.run(&[&issue[..], &more[..]].concat());
    assert_eq!(issued.code, Some(0), "{issued:?}");
    assert_eq!(place.daemon.run(&["backup", "create"]).code, Some(0));
    assert_eq!(place.daemon.run(&["audit", "attest"]).code, Some(0));
    assert_eq!(asked(&place, &["status"])["log"]["in"], "keystore");
    let (data, vkey) = (place.daemon.data.clone(), key(&place.daemon));
    assert_eq!(fs::read_to_string(data.join("keys/log")).unwrap(), format!("{vkey}\n"));
    assert!(!data.join("keys/tokens").exists(), "nor one for bearer forms");
    let verified = asked(&place, &["keys", "--verify"]);
    assert_eq!(verified["found"], json!([]), "it is known, though on no list: {verified}");
    place.daemon.kill();
    assert_eq!(in_plain(&data), Vec::<PathBuf>::new());
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    assert_eq!(key(&place.daemon), vkey);
    assert_eq!(json_of(&place.daemon, &["audit", "verify", "--deep"])["intact"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_an_older_log_is_taken_into_the_keystore() {
    let mut place = started(None).await;
    let (data, vkey) = (place.daemon.data.clone(), key(&place.daemon));
    assert_eq!(asked(&place, &["status"])["log"]["in"], "file");
    assert_eq!(in_plain(&data), [data.join("keys/log")]);
    place.daemon.kill();
    configured(&place, 7, None);
    place.daemon.start().await;
    assert_eq!(asked(&place, &["status"])["log"], json!({ "key": vkey, "in": "keystore", "why": null }));
    assert_eq!(in_plain(&data), Vec::<PathBuf>::new());
    assert_eq!(json_of(&place.daemon, &["audit", "verify", "--deep"])["intact"], true);

    // It moves with the others to another root key.
    place.daemon.stop();
    configured(&place, 8, Some(7));
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    assert_eq!(asked(&place, &["keys", "--update-refs"])["found"], json!([]));
    place.daemon.stop();
    configured(&place, 8, None);
    place.daemon.start().await;
    signs(&mut place, true).await;
    assert_eq!(key(&place.daemon), vkey);

    // Without a root key it is not there to sign with.
    place.daemon.stop();
    place.daemon.configure("");
    place.daemon.start().await;
    signs(&mut place, false).await;
    let newest = json_of(&place.daemon, &["audit", "checkpoint"]);
    assert!(newest["failing"].as_str().unwrap().contains("in a keystore, and none is configured"), "{newest}");
}

#[tokio::test(flavor = "multi_thread")]
async fn sealed_it_records_and_signs_later() {
    let mut place = started(Some(7)).await;
    let vkey = key(&place.daemon);
    place.daemon.stop();
    let (root, away) = (root_file(&place), place.home.path().join("away"));
    fs::rename(&root, &away).unwrap();
    place.daemon.start().await;
    signs(&mut place, false).await;
    let first = json_of(&place.daemon, &["audit", "checkpoint"]);
    let proven = place.daemon.run(&["audit", "proof", "1"]);
    assert_eq!(proven.code, Some(0), "what was signed is proven: {proven:?}");
    assert_eq!(json_of(&place.daemon, &["audit", "verify", "--deep"])["intact"], true);
    let verified = place.daemon.run(&["audit", "verify"]);
    assert!(
        verified.stdout.contains("which are not signed yet: the key of the tile log cannot sign now"),
        "{verified:?}"
    );
    let health = place.daemon.run(&["health"]);
    assert!(health.code == Some(2) && health.stdout.contains("evidence.sealed"), "{health:?}");
    failed(&place.daemon.run(&["audit", "attest"]), 1, &["error[evidence.sealed]", "the root key is not there"]);
    let noted = place.daemon.run(&["resource", "define", "pool", "--capacity", "4"]);
    assert_eq!(noted.code, Some(0), "{noted:?}");
    let later = json_of(&place.daemon, &["audit", "checkpoint"]);
    assert_eq!((&later["checkpoint"], key(&place.daemon)), (&first["checkpoint"], vkey.clone()), "nothing is signed");

    // Killed in that state, it is in that state.
    place.daemon.kill();
    assert_eq!(place.daemon.run(&["state", "repair"]).code, Some(0), "which needs no key");
    place.daemon.start().await;
    signs(&mut place, false).await;
    fs::rename(&away, &root).unwrap();
    signs(&mut place, true).await;
    assert_eq!(key(&place.daemon), vkey);
    assert_eq!(json_of(&place.daemon, &["audit", "verify", "--deep"])["intact"], true);
    assert_eq!(place.daemon.run(&["audit", "attest"]).code, Some(0));

    // A keystore that is gone is not begun anew in its place.
    place.daemon.stop();
    let store = place.daemon.data.join("keys/store");
    fs::rename(&store, store.with_extension("away")).unwrap();
    place.daemon.start().await;
    signs(&mut place, false).await;
    assert_eq!(asked(&place, &["status"])["keystore"]["code"], "crypto.keystore_lost");
    assert!(!store.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_begins_when_its_keystore_is_unsealed() {
    let mut place = Place::new();
    configured(&place, 7, None);
    let (root, away) = (root_file(&place), place.home.path().join("away"));
    fs::rename(&root, &away).unwrap();
    place.daemon.start().await;
    let operator = place.daemon.credential();
    adopt_starter(&mut Client::new("setup", Arc::new(place.daemon.client())), &operator).await;
    assert_eq!(asked(&place, &["status"])["log"], json!({ "key": null, "in": null, "why": null }));
    let refused = place.daemon.run(&["audit", "key"]);
    assert!(refused.code != Some(0) && refused.stderr.contains("no checkpoint has been signed yet"), "{refused:?}");
    place.daemon.kill();
    let verified = place.daemon.run(&["state", "verify"]);
    assert!(verified.code == Some(0) && verified.stdout.contains("there is none yet"), "{verified:?}");
    place.daemon.start().await;
    fs::rename(&away, &root).unwrap();
    signs(&mut place, true).await;
    assert_eq!(asked(&place, &["status"])["log"]["in"], "keystore");
    assert_eq!(in_plain(&place.daemon.data), Vec::<PathBuf>::new());
    assert_eq!(json_of(&place.daemon, &["audit", "verify", "--deep"])["intact"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_log_goes_on_with_the_copy_of_its_keystore() {
    let mut place = started(Some(7)).await;
    assert_eq!(place.daemon.run(&["backup", "create"]).code, Some(0));
    let vkey = key(&place.daemon);
    place.daemon.kill();
    let data = &place.daemon.data;
    let (from, kept) = (data.join("backups"), data.join("keys/log"));
    let (from, kept) = (from.to_str().unwrap(), kept.to_str().unwrap());
    let mut other = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let restore = ["backup", "restore", from, "--key", kept];
    failed(&other.run(&restore), 1, &["error[evidence.key]", "the public half alone", "keys/store", "--swap"]);
    assert!(!other.data.join("journal").exists(), "nothing was made");
    copied(&data.join("keys/store"), &other.data.join("keys/store"));
    let restored = other.run(&[&restore[..], &["--swap"]].concat());
    assert!(restored.code == Some(0) && restored.stdout.contains("goes on under its key"), "{restored:?}");
    copied(&data.join("credentials"), &other.data.join("credentials"));
    other.configure(&format!("[crypto]\n{}", root_option(&place, "root_key", 7)));
    other.start().await;
    assert_eq!(key(&other), vkey);
    assert_eq!(json_of(&other, &["audit", "verify", "--deep"])["intact"], true);
    let attested = other.run(&["audit", "attest"]);
    assert_eq!(attested.code, Some(0), "{attested:?}");
}

/// A log has signatures of Ed25519 and no others: where they may not be made, it does without the keystore.
#[tokio::test(flavor = "multi_thread")]
async fn where_its_suite_is_not_allowed_the_key_stays_in_its_file() {
    let mut place = Place::new();
    let hybrid = "suites = [\"ed25519+ml-dsa-65\"]\n";
    let root = root_option(&place, "root_key", 7);
    place.daemon.configure(&format!("[crypto]\n{root}[crypto.system]\n{hybrid}[crypto.trust]\n{hybrid}"));
    place.daemon.start().await;
    let operator = place.daemon.credential();
    adopt_starter(&mut Client::new("setup", Arc::new(place.daemon.client())), &operator).await;
    unsealed(&mut place, true).await;
    signs(&mut place, true).await;
    let status = asked(&place, &["status"]);
    assert!(status["log"]["in"] == "file" && status["log"]["why"].as_str().unwrap().contains("ed25519"), "{status}");
    assert_eq!(status["keys"], 0, "no key is made that could sign nothing");
    assert_eq!(in_plain(&place.daemon.data), [place.daemon.data.join("keys/log")]);
}
