//! The tile log of a real daemon: signed while it works, one history over kills, and a start that is refused over anything
//! else.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use evidence::Places;
use evidence::checkpoint::{Checkpoint, Proof};
use evidence::note::PublicKey;
use evidence::tree::is_consistent;
use kit::{Authority, Client, adopt_starter};
use serde_json::{Value, json};

use crate::{Place, failed};

/// A daemon under the starter policy.
async fn started() -> Place {
    let place = Place::started().await;
    let secret = place.daemon.credential();
    adopt_starter(&mut Client::new("operator", Arc::new(place.daemon.client())), &secret).await;
    place
}

/// So many records more, at least.
async fn worked(place: &Place, records: u32) {
    let (client, secret) = (place.daemon.client(), place.daemon.credential());
    for _ in 0..records {
        client.call("policy.list", &json!({}), Some(secret.expose()), None).await.unwrap();
    }
}

fn places(place: &Place) -> Places {
    let data = &place.daemon.data;
    Places { log: data.join("evidence"), key: data.join("keys/log") }
}

fn asked(place: &Place, arguments: &[&str]) -> Value {
    let output = place.daemon.run(&[arguments, &["-o", "json"]].concat());
    assert!(matches!(output.code, Some(0 | 2)), "{output:?}");
    serde_json::from_str(&output.stdout).unwrap()
}

fn key(place: &Place) -> PublicKey {
    PublicKey::parse(asked(place, &["audit", "key"])["key"].as_str().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn over_kills_there_is_one_history_and_every_record_can_be_proven() {
    let mut place = started().await;
    let mut signed: Vec<Checkpoint> = Vec::new();
    for round in 0..4 {
        worked(&place, 20).await;
        // The last one that anybody can have seen.
        let before = places(&place).checkpoint(&key(&place)).unwrap().0;
        signed.push(before);
        if round % 2 == 0 {
            place.daemon.kill();
        } else {
            place.daemon.stop();
        }
        place.daemon.start().await;
        let (places, key) = (places(&place), key(&place));
        let after = places.checkpoint(&key).unwrap().0;
        for old in &signed {
            let proof = places.consistency(old.size, after.size).unwrap();
            assert!(is_consistent(&proof, old.size, old.root, after.size, after.root), "{old:?} {after:?}");
        }
    }
    let file = place.home.path().join("1.tlog-proof");
    let told = place.daemon.run(&["audit", "proof", "1", "--file", file.to_str().unwrap()]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let proof = Proof::parse(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(proof.verify(proof.extra.as_deref().unwrap(), &key(&place)).unwrap().size >= signed[3].size);
    let again = place.daemon.run(&["audit", "proof", "1", "--file", file.to_str().unwrap()]);
    failed(&again, 1, &["error[cli.file]", "name a new file"]);
    // The newest record is signed when somebody asks for its proof.
    let last = asked(&place, &["status"])["head"].to_string();
    assert_eq!(asked(&place, &["audit", "proof", &last])["record"].to_string(), last);
    failed(&place.daemon.run(&["audit", "proof", "99999999"]), 1, &["error[audit.unknown_record]"]);
    let verified = asked(&place, &["audit", "verify", "--deep"]);
    assert_eq!((&verified["intact"], &verified["log"]["size"]), (&json!(true), &verified["log"]["entries"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_given_away_with_what_proves_them() {
    let place = started().await;
    // More than an answer has room for.
    worked(&place, 60).await;
    let home = place.home.path();
    let directory = home.join("export");
    let to = |name: &str| home.join(name).display().to_string();
    let exported = asked(&place, &["audit", "export", &to("export")]);
    let last = exported["last"].as_u64().unwrap();
    assert!(60 < last && last <= exported["size"].as_u64().unwrap(), "{exported}");
    let lines = fs::read_to_string(directory.join("records.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len() as u64, last);
    let shown = fs::read_to_string(directory.join("shown.jsonl")).unwrap();
    for (line, shown) in lines.iter().zip(shown.lines()) {
        let shown: Value = serde_json::from_str(shown).unwrap();
        for name in ["sequence", "stream", "version", "principal", "command", "previous", "digest"] {
            assert_eq!(line[name], shown[name], "{name} of {line} and {shown}");
        }
    }
    let readme = fs::read_to_string(directory.join("README.md")).unwrap();
    assert!(readme.contains(&key(&place).to_string()) && readme.contains("sop-verify export"), "{readme}");
    // Nothing is overwritten, and nothing is begun that cannot be proven.
    failed(&place.daemon.run(&["audit", "export", &to("export")]), 1, &["error[cli.file]", "is there already"]);
    for asked in [&["--to", "99999999"][..], &["--from", "99999999"], &["--from", "9", "--to", "8"], &["--from", "0"]] {
        let told = place.daemon.run(&[&["audit", "export"], asked, &[&to("other")]].concat());
        assert!(told.code == Some(1) && !home.join("other").exists(), "{told:?}");
    }
    assert!(!fs::read_dir(home).unwrap().any(|entry| entry.unwrap().path().ends_with(".other.making")));
    // What was not read again is said.
    let verified = asked(&place, &["audit", "verify", "--from", "10", "--deep"]);
    assert_eq!((&verified["intact"], &verified["from"]), (&json!(true), &json!(10)));
    assert!(verified["not_checked"][0].as_str().unwrap().starts_with("the records 1 to 9"), "{verified}");
}

/// The lines of an attestation that name states: machine, version, digest.
fn states(note: &str) -> BTreeMap<String, (u64, String)> {
    let line = |line: &str| {
        let words: Vec<_> = line.strip_prefix("state ")?.split(' ').map(str::to_owned).collect();
        let [name, version, digest] = <[String; 3]>::try_from(words).ok()?;
        Some((name, (version.parse().ok()?, digest)))
    };
    note.lines().filter_map(line).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attested_follows_from_the_records() {
    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    let authority = Authority::start(&data, "").await;
    adopt_starter(&mut Client::new("operator", Arc::new(authority.clone())), &authority.root).await;
    let attested = sop::attest::attest(&authority.parts).await.unwrap();
    let said = states(&attested.note);
    let key = authority.parts.evidence.public().unwrap();
    assert!(key.open(&attested.note).unwrap().starts_with(&format!("attestation v1 of {}\ntime ", key.name())));
    assert!(Checkpoint::open(&attested.note, &key).is_err(), "nobody takes it for a checkpoint");
    assert_eq!(fs::read_to_string(&attested.file).unwrap(), attested.note);
    assert_eq!(fs::metadata(&attested.file).unwrap().permissions().mode() & 0o777, 0o600);
    let records = authority.parts.journal.read(kernel::Sequence(1), usize::MAX).unwrap();
    let own = records.iter().find(|record| record.sequence == attested.record).unwrap();
    assert_eq!((own.stream.as_str(), own.principal.as_str()), ("decisions", "internal/attestor"));
    let about = own.asked.as_ref().map(|asked| asked.resource().to_owned());
    assert_eq!(about, Some(format!("attestation blake3:{}", attested.digest)));
    let mut replayed = sop::states::States::default();
    for record in &records {
        if said.get(&record.stream).is_some_and(|(version, _)| record.version.0 <= *version) {
            replayed.replay(record).unwrap();
        }
    }
    let replayed = replayed.digests().unwrap().into_iter();
    let replayed: BTreeMap<_, _> =
        replayed.map(|(name, (version, digest))| (name.to_owned(), (version.0, digest.to_string()))).collect();
    assert_eq!(replayed, said);
    // Another configuration shows.
    let line = |note: &str| note.lines().find(|line| line.starts_with("configuration")).unwrap().to_owned();
    authority.stop().await;
    let authority = Authority::start(&data, "[scan]\nfiles_max = 7\n").await;
    let again = sop::attest::attest(&authority.parts).await.unwrap();
    assert_ne!(line(&again.note), line(&attested.note));
    assert_eq!(states(&again.note)["governance"].1, said["governance"].1, "the state is what it was");
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_to_be_attested_on_schedule_is() {
    let home = tempfile::tempdir().unwrap();
    let authority = Authority::start(&home.path().join("data"), "[attestation]\nevery = \"1day\"\n").await;
    let mut durable = authority.parts.journal.durable();
    let attested = async {
        loop {
            let records = authority.parts.journal.read(kernel::Sequence(1), usize::MAX).unwrap();
            if records.iter().any(|record| record.principal == "internal/attestor") {
                return;
            }
            durable.changed().await.unwrap();
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), attested).await.expect("the first one is made at once");
    let kept = fs::read_dir(authority.parts.places.attestations.clone()).unwrap().count();
    assert_eq!(kept, 1);
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_log_is_found_refused_and_made_again_as_it_was_signed() {
    let mut place = started().await;
    let bundles = place.daemon.data.join("evidence/tile/entries");
    let damage = |bundle: &str| {
        let mut bytes = fs::read(bundles.join(bundle)).unwrap();
        bytes[40] ^= 1;
        fs::write(bundles.join(bundle), bytes).unwrap();
    };
    place.daemon.stop();
    let (signed, note) = places(&place).checkpoint(&places(&place).public().unwrap()).unwrap();
    damage(&format!("000.p/{}", signed.size));
    place.daemon.spawn();
    assert_eq!(place.daemon.wait().code(), Some(1));
    for words in ["error[evidence.damaged]", "an entry is not what was signed", "sop state repair"] {
        assert!(place.daemon.stderr().contains(words), "{words}: {}", place.daemon.stderr());
    }
    let repaired = asked(&place, &["state", "repair"]);
    assert_eq!((&repaired["state"], &repaired["log"]), (&json!("whole"), &json!("again")), "{repaired}");
    assert_eq!(places(&place).checkpoint(&places(&place).public().unwrap()).unwrap().1, note, "the same was signed");
    assert_eq!(asked(&place, &["state", "repair"])["log"], "whole");
    place.daemon.start().await;
    worked(&place, 256).await;
    assert_eq!(asked(&place, &["audit", "proof", "256"])["record"], 256);
    damage("000");
    let verified = place.daemon.run(&["audit", "verify", "--deep"]);
    assert_eq!(verified.code, Some(2), "{verified:?}");
    assert!(verified.stdout.starts_with("BROKEN at 1: the tile log is damaged: tile/entries/000"), "{verified:?}");
    assert_eq!(asked(&place, &["audit", "verify"])["intact"], true, "the quick look reads the newest, and says so");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_journal_is_refused_with_the_first_record_that_is_missing() {
    let mut place = started().await;
    let made = asked(&place, &["backup", "create"]);
    let first = key(&place);
    place.daemon.stop();
    let data = place.daemon.data.clone();
    let restored = place.home.path().join("restored");
    let backup = made["directory"].as_str().unwrap();
    let done = place.daemon.command(&["backup", "restore", backup, "--data", restored.to_str().unwrap()]);
    assert!({ done }.output().unwrap().status.success());
    let older = restored.join("journal");
    let replaced = |by: &Path, aside: &str| {
        fs::rename(data.join("journal"), data.join(aside)).unwrap();
        fs::rename(by, data.join("journal")).unwrap();
    };
    replaced(&older, "journal.newer");
    place.daemon.spawn();
    assert_eq!(place.daemon.wait().code(), Some(1));
    let last = made["last"].as_u64().unwrap();
    let missing = format!("record {} is not what was signed", last + 1);
    for words in ["error[evidence.not_extended]", &missing, "the last good checkpoint is of", "--new-log"] {
        assert!(place.daemon.stderr().contains(words), "{words}: {}", place.daemon.stderr());
    }
    let secret = fs::read(data.join("keys/log")).unwrap();
    fs::remove_file(data.join("keys/log")).unwrap();
    failed(&place.daemon.run(&["state", "repair"]), 1, &["error[evidence.key_lost]", "--new-log"]);
    fs::write(data.join("keys/log"), secret).unwrap();
    fs::set_permissions(data.join("keys/log"), fs::Permissions::from_mode(0o600)).unwrap();

    // What was signed and is missing is in the log.
    let signed = places(&place).checkpoint(&first).unwrap().0.size;
    let repaired = asked(&place, &["state", "repair"]);
    assert_eq!((&repaired["state"], &repaired["log"]), (&json!("repaired"), &json!("whole")), "{repaired}");
    assert_eq!((&repaired["last"], &repaired["from_log"]), (&json!(signed), &json!(signed - last)), "{repaired}");
    place.daemon.start().await;
    assert_eq!(key(&place), first, "it is the same log");
    assert_eq!(asked(&place, &["audit", "verify", "--deep"])["intact"], true);
    place.daemon.stop();

    // An older one that is meant to be used.
    replaced(Path::new(repaired["aside"].as_str().unwrap()), "journal.repaired");
    assert_eq!(asked(&place, &["state", "repair", "--new-log"])["log"], "aside");
    place.daemon.start().await;
    assert_ne!(key(&place), first, "it is another log");
    assert_eq!(asked(&place, &["audit", "verify", "--deep"])["intact"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_has_the_name_that_it_began_with() {
    let mut place = Place::new();
    place.daemon.configure("[log]\norigin = \"example.org/sop\"\n");
    place.daemon.start().await;
    place.daemon.stop();
    let key = places(&place).public().unwrap();
    let (_, checkpoint) = places(&place).checkpoint(&key).unwrap();
    assert!(key.name() == "example.org/sop" && checkpoint.starts_with("example.org/sop\n"), "{checkpoint}");
    place.daemon.configure("[log]\norigin = \"example.org/other\"\n");
    let words = ["error[evidence.origin]", "is called example.org/sop", "--new-log"];
    failed(&place.daemon.run(&["up"]), 1, &words);
    place.daemon.configure("");
    place.daemon.start().await;
    assert_eq!(places(&place).public().unwrap(), key, "and without the option it is the one that is there");
}
