//! The API under a certificate of the authority's own: made without being asked for, followed from one key to the next, and shown
//! no more once its key is revoked.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use kit::{Client, Output, adopt_starter};
use serde_json::Value;

use crate::keys::{asked, root_option};
use crate::personal::kept_in;
use crate::tcp::{free, run};
use crate::{Place, failed};

/// Listens under a certificate of its own, and has it.
async fn listening(names: &str) -> (Place, SocketAddr) {
    let (mut place, address) = (Place::new(), free());
    let root = root_option(&place, "root_key", 7);
    place.daemon.configure(&format!("[http]\nlisten = \"{address}\"\n[http.tls]\nnames = {names}\n[crypto]\n{root}"));
    place.daemon.start().await;
    let root = place.daemon.credential();
    adopt_starter(&mut Client::new("setup", Arc::new(place.daemon.client())), &root).await;
    certified(&mut place, 1).await;
    (place, address)
}

/// Waits until the certificate of this version of the key is shown.
async fn certified(place: &mut Place, version: u32) {
    let secret = place.daemon.credential().expose().to_owned();
    let is = async |client: &http::Client| {
        let status =
            client.call("crypto.status", &serde_json::json!({}), Some(&secret), None).await.unwrap_or_default();
        status["certificate"]["key"] == format!("tls-authority.{version}")
    };
    place.daemon.until("shows a certificate", is).await;
}

/// What a client is given to believe, in a file of that name.
fn believed(place: &Place, name: &str, which: usize) -> String {
    let told = asked(place, &["authority"]);
    let file = place.home.path().join(name);
    fs::write(&file, told["authorities"][which]["certificate"].as_str().unwrap()).unwrap();
    file.to_str().unwrap().to_owned()
}

fn status(address: SocketAddr, host: &str, believed: &str) -> Output {
    run(&["status", "--address", &format!("https://{host}:{}", address.port()), "--ca", believed], &[])
}

fn reached(address: SocketAddr, host: &str, believed: &str) {
    let told = status(address, host, believed);
    assert_eq!(told.code, Some(0), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_led_from_one_key_of_the_authority_to_the_next() {
    let (mut place, address) = listening("[\"localhost\", \"127.0.0.1\"]").await;
    let first = believed(&place, "first.pem", 0);
    reached(address, "localhost", &first);
    reached(address, "127.0.0.1", &first);

    // Nobody has to be told of a rotation.
    asked(&place, &["keys", "--rotate", "tls-authority"]);
    certified(&mut place, 2).await;
    reached(address, "localhost", &first);
    let second = believed(&place, "second.pem", 0);
    reached(address, "localhost", &second);
    assert_ne!(fs::read(&first).unwrap(), fs::read(&second).unwrap());
    asked(&place, &["keys", "--rotate", "tls-authority", "--suite", "ecdsa-p384"]);
    certified(&mut place, 3).await;
    assert_eq!(asked(&place, &["authority"])["authorities"].as_array().unwrap().len(), 3);
    for old in [&first, &second] {
        reached(address, "localhost", old);
    }

    // Killed, it comes back with another certificate of the same authority; what was lost of its files is made anew.
    place.daemon.kill();
    fs::remove_dir_all(place.daemon.data.join("keys/authority")).unwrap();
    place.daemon.start().await;
    certified(&mut place, 3).await;
    reached(address, "localhost", &first);

    // Who believed a key that was revoked is led nowhere by it.
    asked(&place, &["keys", "--revoke", "tls-authority.2", "--reason", "lost"]);
    asked(&place, &["keys", "--revoke", "tls-authority.3", "--reason", "lost, too"]);
    certified(&mut place, 4).await;
    let fourth = believed(&place, "fourth.pem", 0);
    reached(address, "localhost", &fourth);
    for old in [&first, &second] {
        failed(&status(address, "localhost", old), 4, &["error[cli.unbelieved]", "--ca"]);
    }
    assert_eq!(asked(&place, &["authority"])["authorities"].as_array().unwrap().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_root_key_nobody_is_greeted_and_the_socket_goes_on() {
    let (mut place, address) = listening("[\"localhost\"]").await;
    let first = believed(&place, "first.pem", 0);
    let key = place.home.path().join("root-7.key");
    place.daemon.stop();
    fs::rename(&key, key.with_extension("away")).unwrap();
    place.daemon.start().await;
    failed(&status(address, "localhost", &first), 4, &["error[cli.unreachable]"]);
    assert_eq!(asked(&place, &["status"])["certificate"], Value::Null);
    fs::rename(key.with_extension("away"), &key).unwrap();
    certified(&mut place, 1).await;
    reached(address, "localhost", &first);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_signs_no_certificates_is_no_authority() {
    let (place, _) = listening("[\"localhost\"]").await;
    let refused = place.daemon.run(&["crypto", "keys", "--rotate", "tls-authority", "--suite", "ed25519"]);
    failed(&refused, 1, &["error[crypto.fixed_suite]", "ecdsa-p256"]);
    // The key of the server is in no file.
    assert_eq!(kept_in(&place.daemon.data, "PRIVATE KEY"), Vec::<String>::new());
}

#[test]
fn a_name_that_is_none_is_refused_before_anything_is_made() {
    let place = Place::new();
    let root = root_option(&place, "root_key", 7);
    for name in ["https://sop", "a b", "*.org"] {
        let listen = free();
        place
            .daemon
            .configure(&format!("[http]\nlisten = \"{listen}\"\n[http.tls]\nnames = [\"{name}\"]\n[crypto]\n{root}"));
        failed(&place.daemon.run(&["up"]), 1, &["error[http.tls_name]", name]);
    }
    assert!(!place.daemon.data.join("journal").exists());
}

/// In a directory of the place, and what the command said.
fn shared(place: &Place, name: &str, more: &[&str]) -> (Vec<String>, Output) {
    let out = place.home.path().join(name);
    let asked = ["crypto", "shares", "--needed", "2", "--of", "3", "--out", out.to_str().unwrap()];
    let told = place.daemon.run(&[&asked, more].concat());
    let files = told.stdout.lines().filter_map(|line| Some(line.strip_prefix("share")?.trim().to_owned()));
    (files.collect(), told)
}

/// Of the root key in shares, what the keystore says.
fn brought(place: &Place, file: &str) -> Value {
    asked(place, &["unseal", "--share-file", file])
}

#[tokio::test(flavor = "multi_thread")]
async fn any_so_many_holders_unseal_the_keystore_and_fewer_do_not() {
    let mut place = Place::new();
    let by_file = format!("[crypto]\n{}", root_option(&place, "root_key", 7));
    place.daemon.configure(&by_file);
    place.daemon.start().await;
    let root = place.daemon.credential();
    adopt_starter(&mut Client::new("setup", Arc::new(place.daemon.client())), &root).await;
    asked(&place, &["keys", "--generate", "receipts"]);
    failed(&shared(&place, "early", &[]).1, 1, &["journal.locked", "stop the daemon"]);
    let file = place.home.path().join("root-7.key");
    failed(
        &place.daemon.run(&["crypto", "unseal", "--share-file", file.to_str().unwrap()]),
        1,
        &["error[keystore.mistyped]"],
    );
    place.daemon.stop();

    let (files, told) = shared(&place, "first", &[]);
    assert_eq!((files.len(), told.code), (3, Some(0)), "{told:?}");
    failed(&shared(&place, "again", &[]).1, 1, &["error[keystore.other_kind]"]);
    let over = shared(&place, "first", &["--share-file", &files[0], "--share-file", &files[1]]).1;
    failed(&over, 1, &["error[cli.share_file]"]);
    place.daemon.configure("[crypto]\nroot_key = \"shares\"\n");
    place.daemon.start().await;
    let status = asked(&place, &["status"]);
    assert_eq!((&status["keystore"]["state"], &status["keystore"]["source"]), (&"sealed".into(), &"shares".into()));
    failed(
        &place.daemon.run(&["crypto", "keys", "--generate", "releases"]),
        1,
        &["error[crypto.root_missing]", "sop crypto unseal"],
    );
    assert_eq!(brought(&place, &files[2])["unsealed"], false);
    let again = brought(&place, &files[2]);
    assert_eq!(
        (&again["given"], &again["needed"], &again["unsealed"]),
        (&1.into(), &2.into(), &false.into()),
        "once is once"
    );
    let done = brought(&place, &files[0]);
    assert_eq!(done["unsealed"], true, "{done}");
    let moved = asked(&place, &["keys", "--update-refs"]);
    assert_eq!(
        (&moved["done"], &moved["found_in_all"]),
        (&3.into(), &0.into()),
        "for receipts, for bearer forms and of the log"
    );
    asked(&place, &["keys", "--generate", "releases"]);
    let tried = asked(&place, &["keys", "--verify"]);
    assert_eq!((&tried["done"], &tried["found_in_all"]), (&3.into(), &0.into()));
    // Neither shares nor what was brought are anywhere on disk but where they were put.
    let share = fs::read_to_string(&files[0]).unwrap();
    assert_eq!(kept_in(&place.daemon.data, share.trim()), Vec::<String>::new());

    // Other shares: those in use bring them, and are of no use then.
    place.daemon.stop();
    let (none, told) = shared(&place, "second", &["--share-file", &files[1]]);
    assert!(none.is_empty());
    failed(&told, 1, &["keystore.too_few_shares"]);
    let (second, told) = shared(&place, "third", &["--share-file", &files[1], "--share-file", &files[2]]);
    assert_eq!(second.len(), 3, "{told:?}");
    place.daemon.start().await;
    let old = place.daemon.run(&["crypto", "unseal", "--share-file", &files[0]]);
    failed(&old, 1, &["error[keystore.wrong_share]"]);
    assert_eq!(brought(&place, &second[1])["unsealed"], false);
    assert_eq!(brought(&place, &second[2])["unsealed"], true);
    assert_eq!(asked(&place, &["keys", "--update-refs"])["done"], 4);
    asked(&place, &["keys", "--rotate"]);
}
