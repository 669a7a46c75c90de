//! Starts that must not be: over another daemon, over another store, over a directory that is not ours to write.

use std::os::unix::fs::PermissionsExt as _;

use kit::Daemon;

use crate::{Place, failed};

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_is_turned_away_and_the_first_goes_on() {
    let mut place = Place::started().await;
    let elsewhere = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("elsewhere"));
    let (data, socket) = (place.daemon.data.to_str().unwrap(), place.daemon.socket.to_str().unwrap());

    let same_store = elsewhere.command(&["up", "--data", data]).output().unwrap();
    let text = String::from_utf8_lossy(&same_store.stderr).into_owned();
    assert_eq!(same_store.status.code(), Some(1), "{text}");
    assert!(text.contains("error[journal.locked]") && text.contains("remedy: another daemon runs"), "{text}");

    let other = elsewhere.data.to_str().unwrap();
    std::fs::create_dir_all(&elsewhere.data).unwrap();
    let mut same_socket = std::process::Command::new(env!("CARGO_BIN_EXE_sop"));
    let same_socket = same_socket.args(["up", "--data", other, "--socket", socket]).output().unwrap();
    let text = String::from_utf8_lossy(&same_socket.stderr).into_owned();
    assert_eq!(same_socket.status.code(), Some(1), "{text}");
    assert!(text.contains("error[http.socket_in_use]"), "{text}");

    place.daemon.ready().await;
    assert_eq!(place.daemon.stop().unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_made_once() {
    let mut place = Place::new();
    let made = place.daemon.run(&["bootstrap"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let secret = place.daemon.credential();
    let credential = place.daemon.data.join("credentials/operator");
    assert_eq!(std::fs::metadata(&credential).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(std::fs::metadata(credential.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);

    failed(&place.daemon.run(&["bootstrap"]), 1, &["error[boot.bootstrapped]", "remedy: use the credential"]);
    place.daemon.start().await;
    failed(&place.daemon.run(&["bootstrap"]), 1, &["error[journal.locked]"]);
    assert_eq!(place.daemon.credential(), secret);
    assert_eq!(std::fs::metadata(&place.daemon.socket).unwrap().permissions().mode() & 0o7777, 0o600);
}

#[test]
fn an_operator_that_cannot_be_recorded_is_not_made_and_can_be_made_later() {
    let place = Place::new();
    place.daemon.configure("[store]\nreserve = \"1TiB\"\n");
    let words = ["error[boot.bootstrap]", "journal.disk_full", "remedy: free disk space"];
    failed(&place.daemon.run(&["up"]), 1, &words);
    place.daemon.configure("");
    let made = place.daemon.run(&["bootstrap"]);
    assert_eq!(made.code, Some(0), "{made:?}");
}

#[test]
fn a_place_that_cannot_be_a_data_directory_is_named() {
    let place = Place::new();
    std::fs::write(&place.daemon.data, "a file").unwrap();
    let words = ["error[boot.data_directory]", place.daemon.data.to_str().unwrap(), "--data"];
    failed(&place.daemon.run(&["up"]), 1, &words);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let mut place = Place::new();
    // Not even root makes directories there.
    place.daemon.data = "/proc/sop-data".into();
    failed(&place.daemon.run(&["up"]), 1, &["error[boot.data_directory]", "/proc/sop-data", "--data"]);
}
