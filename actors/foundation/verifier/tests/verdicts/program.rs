//! The program: what it prints, and its exit codes.

use std::process::Command;

use kernel::Sequence;

use crate::world::World;

pub fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sop-verify")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn it_says_what_it_found_and_ends_with_that() {
    let world = World::of(300);
    let (log, key) = (world.log().display().to_string(), world.vkey());
    let (code, said, _) = run(&["log", &log, "--key", &key]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("Intact: records 1 to 300, 2 streams.\nlog   sop/"), "{said}");
    assert!(said.contains("\nnot checked\n  - that the key is the authority's"), "{said}");
    let noted = world.home.path().join("noted");
    std::fs::write(&noted, world.evidence.checkpoint().unwrap().1).unwrap();
    let (code, said, _) = run(&["log", &log, "--key", &key, "--noted", noted.to_str().unwrap(), "--from", "300"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("records 257 to 300") && said.contains("the history goes on from"), "{said}");

    let proof = world.home.path().join("7.tlog-proof");
    std::fs::write(&proof, world.evidence.prove(Sequence(7)).unwrap().to_string()).unwrap();
    let proof = proof.to_str().unwrap();
    let (code, said, _) = run(&["proof", proof, "--key", &key]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("\n{\"sequence\":7,\"time\":"), "{said}");

    let bundle = world.log().join("tile/entries/000");
    let mut bytes = std::fs::read(&bundle).unwrap();
    bytes[7_000] ^= 1;
    std::fs::write(&bundle, bytes).unwrap();
    let (code, said, _) = run(&["log", &log, "--key", &key]);
    assert_eq!(code, 2);
    assert!(said.starts_with("DAMAGED at ") && said.ends_with(": it is not the record that was signed\n"), "{said}");
}

#[test]
fn a_wrong_call_is_told_from_a_bad_log() {
    let world = World::of(3);
    let (log, key) = (world.log().display().to_string(), world.vkey());
    for call in [
        &[][..],
        &["log", &log],
        &["log", &log, "--key"],
        &["log", &log, "--key", "no key"],
        &["log", &log, "--key", &key, "--witness", &key],
        &["log", &log, "--key", &key, "--quorum", "1"],
        &["log", "--key", &key],
        &["log", &log, "--key", &key, "--deep"],
        &["proof", "--key", &key],
    ] {
        let (code, said, told) = run(call);
        assert_eq!((code, said.as_str()), (64, ""), "{call:?}: {told}");
        assert!(told.starts_with("sop-verify: "), "{call:?}: {told}");
    }
    assert_eq!(run(&["export", "/no/such/place", "--key", &key]).0, 74);
    assert_eq!(run(&["export", &log, "--key", &key]).0, 2);
    assert_eq!(run(&["log", "/no/such/place", "--key", &key]).0, 74);
    assert_eq!(run(&["proof", "/no/such/place", "--key", &key]).0, 74);
    for asked in ["--help", "--version"] {
        assert_eq!(run(&[asked]).0, 0);
    }
}
