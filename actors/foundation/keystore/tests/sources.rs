//! Where a root key may come from, and where not.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use kernel::Refuse as _;
use keystore::{Given, KeystoreError, NoSource, Source};
use tempfile::TempDir;

const DIGITS: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn written(path: &Path, text: impl AsRef<[u8]>, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// The code of a refusal; else whether there is a key, and the right one.
fn told(fetched: Result<Option<Given>, KeystoreError>) -> &'static str {
    match fetched {
        Ok(None) => "nothing",
        Ok(Some(Given::Key(secret))) if secret.expose().iter().copied().eq(0..32) => "the key",
        Ok(Some(_)) => "something else",
        Err(error) => error.code(),
    }
}

#[test]
fn a_file_is_its_owners_alone() {
    let home = TempDir::new().unwrap();
    let path = home.path().join("root.key");
    let fetch = |path: &Path| told(Source::File(path.to_owned()).fetch(nothing));
    assert_eq!(fetch(&path), "nothing", "the store stays sealed");
    for (mode, answer) in [
        (0o600, "the key"),
        (0o400, "the key"),
        (0o640, "keystore.exposed"),
        (0o604, "keystore.exposed"),
        (0o620, "keystore.exposed"),
        (0o601, "keystore.exposed"),
    ] {
        written(&path, DIGITS, mode);
        assert_eq!(fetch(&path), answer, "{mode:o}");
        fs::remove_file(&path).unwrap();
    }
    let ended = format!("{DIGITS}\n");
    for (row, text, answer) in [
        ("a line", ended.clone(), "the key"),
        ("two ends", format!("{DIGITS}\n\n"), "keystore.bad_root"),
        ("another line", format!("{ended}{ended}"), "keystore.bad_root"),
        ("a digit less", DIGITS[1..].to_owned(), "keystore.bad_root"),
        ("a digit more", format!("{DIGITS}0"), "keystore.bad_root"),
        ("capitals", DIGITS.to_uppercase(), "keystore.bad_root"),
        ("no digit", DIGITS.replacen('0', "g", 1), "keystore.bad_root"),
        ("no text", "é".repeat(32), "keystore.bad_root"),
        ("empty", String::new(), "keystore.bad_root"),
        ("long", "0".repeat(1 << 20), "keystore.bad_root"),
    ] {
        written(&path, text, 0o600);
        assert_eq!(fetch(&path), answer, "{row}");
    }
    written(&path, DIGITS, 0o600);
    let link = home.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(fetch(&link), "keystore.no_plain_file");
    assert_eq!(fetch(home.path()), "keystore.no_plain_file");
    let pipe = home.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
    assert_eq!(fetch(&pipe), "keystore.no_plain_file", "and nobody waits for it");
    // Only who is root can give a file away.
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(1), None).unwrap();
        assert_eq!(fetch(&path), "keystore.not_ours");
    }
}

#[test]
fn a_credential_is_in_the_directory_of_the_service() {
    let home = TempDir::new().unwrap();
    let source: Source = "credential:sop-root".parse().unwrap();
    let directory = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| home.path().as_os_str().to_owned());
    assert_eq!((told(source.fetch(nothing)), told(source.fetch(directory))), ("nothing", "nothing"));
    let path = home.path().join("sop-root");
    written(&path, DIGITS, 0o440);
    assert_eq!(told(source.fetch(directory)), "the key");
    written(&path, DIGITS, 0o444);
    assert_eq!(told(source.fetch(directory)), "keystore.exposed");
}

#[test]
fn a_passphrase_is_in_a_variable() {
    let source: Source = "env:SOP_PASSPHRASE".parse().unwrap();
    assert!(source.fetch(nothing).unwrap().is_none());
    let Ok(Some(Given::Passphrase(text))) = source.fetch(|name| Some(name.to_lowercase().into())) else {
        panic!("it is there")
    };
    assert_eq!(text.expose(), b"sop_passphrase");
    assert!(Source::Shares.fetch(|_| Some("x".into())).unwrap().is_none(), "people bring them");
}

#[test]
fn a_source_has_one_text() {
    for text in ["file:/etc/sop/root.key", "credential:sop-root.1", "env:SOP_PASSPHRASE", "shares"] {
        assert_eq!(text.parse::<Source>().unwrap().to_string(), text);
    }
    for text in [
        "",
        "file:",
        "file:root.key",
        "credential:",
        "credential:../root",
        "credential:a/b",
        "credential:.root",
        "env:",
        "env:A=B",
        "env:A B",
        "shares:",
        "Shares",
        "passphrase:x",
        "/etc/sop/root.key",
    ] {
        assert_eq!(text.parse::<Source>(), Err(NoSource), "{text}");
    }
}
