//! What the authority signs is signed by its keystore, too: checkpoints and attestations, receipts, backups and releases; over
//! rotations and kills, sealed and unsealed, and never if a key is revoked.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use crypto::{KeyId, Purpose};
use evidence::beside;
use evidence::note::PublicKey;
use kit::{Client, Daemon, adopt_starter};
use serde_json::{Value, json};
use sop::beside::{Judged, Said, judged};
use sop::manifests::Recorded;
use suites::Policy;
use vault::VaultError;
use verifier::beside::{Chain, Key};
use verifier::log::Wanted;
use verifier::note::{Key as LogKey, Trust};

use crate::keys::{asked, configured, started, unsealed};
use crate::{Place, failed};

fn keys(place: &Place, arguments: &[&str]) {
    let told = place.daemon.run(&[&["crypto", "keys"], arguments].concat());
    assert_eq!(told.code, Some(0), "{arguments:?}: {told:?}");
}

fn json_of(daemon: &Daemon, arguments: &[&str]) -> Value {
    let told = daemon.run(&[arguments, &["-o", "json"]].concat());
    serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{arguments:?}: {told:?}"))
}

fn vkey(daemon: &Daemon, key: &str) -> String {
    let told = daemon.run(&["audit", "key", key]);
    assert_eq!(told.code, Some(0), "{told:?}");
    told.stdout.trim_end().to_owned()
}

fn log_key(daemon: &Daemon) -> String {
    json_of(daemon, &["audit", "key"])["key"].as_str().unwrap().to_owned()
}

/// The keys whose lines a note has.
fn lines(note: &str, log: &str) -> Vec<String> {
    let log = PublicKey::parse(log).unwrap();
    beside::read(note, log.name()).unwrap().1.into_iter().map(|line| line.key).collect()
}

fn checkpoint(place: &Place) -> String {
    fs::read_to_string(place.daemon.data.join("evidence/checkpoint")).unwrap_or_default()
}

/// Until the newest checkpoint has this key's line, or none.
async fn signed_by(place: &mut Place, key: Option<&str>) -> String {
    let (log, path) = (log_key(&place.daemon), place.daemon.data.join("evidence/checkpoint"));
    let wanted: Vec<_> = key.into_iter().map(str::to_owned).collect();
    let read = move || fs::read_to_string(&path).unwrap_or_default();
    let so = read.clone();
    let secret = place.daemon.credential().expose().to_owned();
    let is = async |client: &http::Client| {
        // Something to sign.
        let _ = client.call("crypto.list", &json!({}), Some(&secret), None).await;
        let note = so();
        !note.is_empty() && lines(&note, &log) == wanted
    };
    place.daemon.until("signs its checkpoints so", is).await;
    read()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_checkpoint_over_rotations_and_kills_is_one_that_verifies() {
    let mut place = started(Some(1)).await;
    unsealed(&mut place, true).await;
    let log = log_key(&place.daemon);
    signed_by(&mut place, None).await;
    keys(&place, &["--generate", "checkpoints"]);
    let first = signed_by(&mut place, Some("checkpoints.1")).await;
    let first_key = vkey(&place.daemon, "checkpoints.1");
    failed(&place.daemon.run(&["audit", "key", "receipts.1"]), 1, &["error[cli.key]", "audit key --all"]);
    let secret = place.daemon.credential().expose().to_owned();
    let mut seen = BTreeSet::from([first]);
    for round in 0..5_u64 {
        let mut rotating = Vec::new();
        for _ in 0..2 {
            let mut command = place.daemon.command(&["crypto", "keys", "--rotate", "checkpoints"]);
            command
                .arg("--data")
                .arg(&place.daemon.data)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            rotating.push(command.spawn().unwrap());
        }
        let client = place.daemon.client();
        // Later each time.
        for _ in 0..round * 40 + 20 {
            let _ = client.call("crypto.list", &json!({}), Some(&secret), None).await;
            seen.insert(checkpoint(&place));
        }
        place.daemon.kill();
        for mut one in rotating {
            let _ = one.wait();
        }
        seen.insert(checkpoint(&place));
        place.daemon.start().await;
        unsealed(&mut place, true).await;
    }
    let file = place.home.path().join("succession");
    let told = place.daemon.run(&["audit", "key", "--succession", file.to_str().unwrap()]);
    assert_eq!(told.code, Some(0), "{told:?}");
    let succession = fs::read_to_string(&file).unwrap();
    let chain = Chain::of(Key::parse(&first_key).unwrap()).followed(&succession).unwrap();
    let own = Trust::of(LogKey::log(&log).unwrap());
    let both = Trust { beside: vec![chain.clone()], ..own.clone() };
    let (mut beside, mut by) = (0, BTreeSet::new());
    for note in &seen {
        assert!(own.checkpoint(note).is_ok(), "{note}");
        let lines = lines(note, &log);
        if !lines.is_empty() {
            assert_eq!(both.checkpoint(note).unwrap().beside.len(), 1, "{note}");
            (beside, by) = (beside + 1, by.into_iter().chain(lines).collect());
        }
    }
    assert!(10 < beside && 2 < by.len(), "{beside} of {} were signed, by {by:?}", seen.len());
    let in_use = asked(&place, &["status"])["active"][0]["key"].as_str().unwrap().to_owned();
    signed_by(&mut place, Some(&in_use)).await;
    // Proofs, exports, attestations and the log itself are all under it, and by such a key alone.
    let instead = Trust { log: None, ..both.clone() };
    let verified = verifier::log::verify(&place.daemon.data.join("evidence"), &instead, &Wanted::default()).unwrap();
    assert!(verified.checkpoint.beside[0].name.ends_with(&in_use), "{:?}", verified.checkpoint);
    let at = |name: &str| place.home.path().join(name);
    let attested = place.daemon.run(&["audit", "attest", "--file", at("now").to_str().unwrap()]);
    assert_eq!(attested.code, Some(0), "{attested:?}");
    verifier::attestation::verify(&fs::read_to_string(at("now")).unwrap(), &instead).unwrap();
    let exported = place.daemon.run(&["audit", "export", "--to", "9", at("export").to_str().unwrap()]);
    assert_eq!(exported.code, Some(0), "{exported:?}");
    verifier::export::verify(&at("export"), &instead).unwrap();
    let verified = place.daemon.run(&["audit", "verify"]);
    assert!(
        verified.code == Some(0) && verified.stdout.contains(&format!("{in_use} (ed25519+ml-dsa-65) has signed")),
        "{verified:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_that_key_it_signs_by_the_logs_alone_and_says_since_when() {
    let mut place = started(Some(1)).await;
    unsealed(&mut place, true).await;
    keys(&place, &["--generate", "checkpoints"]);
    signed_by(&mut place, Some("checkpoints.1")).await;
    let store = fs::read_dir(place.daemon.data.join("keys/store")).unwrap();
    let is = |path: &PathBuf| fs::read_to_string(path).is_ok_and(|text| text.contains("\npurpose checkpoints\n"));
    let path = store.map(|entry| entry.unwrap().path()).find(is).unwrap();
    let whole = fs::read(&path).unwrap();
    for damaged in [false, true] {
        place.daemon.stop();
        if damaged {
            fs::write(&path, &whole[1..]).unwrap();
        } else {
            fs::remove_file(&path).unwrap();
        }
        place.daemon.start().await;
        signed_by(&mut place, None).await;
        // By the first one that is signed once the records are known.
        let secret = place.daemon.credential().expose().to_owned();
        let missed = async |client: &http::Client| {
            let key = client.call("audit.key", &json!({}), Some(&secret), None).await.unwrap_or_default();
            (&key["missed"][0]["purpose"], &key["missed"][0]["key"]) == (&"checkpoints".into(), &"checkpoints.1".into())
        };
        place.daemon.until("says what is not signed", missed).await;
        let status = place.daemon.run(&["crypto", "status"]);
        assert!(status.stdout.contains("not signed  checkpoints by checkpoints.1, since "), "{status:?}");
        let shown = place.daemon.run(&["audit", "key", "--all"]);
        assert!(
            shown.stdout.contains("checkpoints.1") && shown.stdout.contains("not signed by checkpoints.1 since "),
            "{shown:?}"
        );
        let verified = place.daemon.run(&["audit", "verify"]);
        assert!(
            verified.code == Some(0) && verified.stdout.contains("a signature of checkpoints.1, which is in use"),
            "{verified:?}"
        );
        let told = async |client: &http::Client| {
            let health = client.get("/health").await.unwrap_or_default();
            health["reasons"]
                .as_array()
                .is_some_and(|reasons| reasons.iter().any(|reason| reason["code"] == "crypto.missed"))
        };
        place.daemon.until("says in its health what is not signed", told).await;
    }
    place.daemon.stop();
    fs::write(&path, whole).unwrap();
    place.daemon.start().await;
    signed_by(&mut place, Some("checkpoints.1")).await;
    assert_eq!(json_of(&place.daemon, &["audit", "key"])["missed"], json!([]));
    // Sealed nothing is signed at all, so nobody is missed; revoked meanwhile, the next one signs once it can be made.
    place.daemon.stop();
    configured(&place, 2, None);
    place.daemon.start().await;
    unsealed(&mut place, false).await;
    keys(&place, &["--revoke", "checkpoints.1", "--since", "5"]);
    assert_eq!(json_of(&place.daemon, &["audit", "key"])["missed"], json!([]));
    place.daemon.stop();
    configured(&place, 1, None);
    place.daemon.start().await;
    signed_by(&mut place, Some("checkpoints.2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_judged_by_its_key_its_purpose_and_its_record() {
    let home = tempfile::tempdir().unwrap();
    let root = home.path().join("root.key");
    fs::write(&root, "03".repeat(32)).unwrap();
    fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = format!("[crypto]\nroot_key = \"file:{}\"\n", root.display());
    let authority = kit::Authority::start(&home.path().join("data"), &file).await;
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
    let (parts, log) = (&authority.parts, "sop/one");
    for purpose in Purpose::ALL {
        ask("crypto.generate", json!({ "purpose": purpose })).await;
    }
    ask("crypto.rotate", json!({ "purpose": "checkpoints" })).await;
    let text = "sop/one\n9\nAAAA\n";
    let line = |purpose: Purpose, text: &str| parts.signer.sign(purpose, log, text).unwrap();
    let said = |line: &str, record: u64| {
        let note = format!("{text}\n{line}\n");
        let judged = parts
            .crypto_view
            .read(|keys| judged(keys, &Policy::default(), Purpose::Checkpoints, log, || record, &note));
        judged.into_iter().map(|Judged { said, .. }| said).collect::<Vec<_>>()
    };
    let own = line(Purpose::Checkpoints, text);
    assert!(own.starts_with("— sop/one/checkpoints.2 "), "{own}");
    let counts = [Said::Counts { suite: "ed25519+ml-dsa-65".into() }];
    assert_eq!(said(&own, 9), counts);
    assert_eq!(said(&format!("{own}\n{own}"), 9).len(), 2, "each is judged");
    for (row, other) in [
        ("over another text", line(Purpose::Checkpoints, "sop/one\n8\nAAAA\n")),
        ("of a key for another purpose", line(Purpose::Receipts, text)),
        ("cut", own[..own.len() - 4].to_owned()),
    ] {
        assert!(matches!(said(&other, 9)[..], [Said::Wrong { .. }]), "{row}: {:?}", said(&other, 9));
    }
    for (row, other) in [
        ("of another version", own.replacen("checkpoints.2", "checkpoints.1", 1)),
        ("of a version that is not there", own.replacen("checkpoints.2", "checkpoints.7", 1)),
        ("of what is no purpose", own.replacen("checkpoints.2", "chickpoints.2", 1)),
    ] {
        assert_eq!(said(&other, 9), [Said::Unknown], "{row}");
    }
    assert_eq!(said(&own.replacen("sop/one", "sop/two", 1), 9), [], "of another log");
    ask("crypto.revoke", json!({ "key": "checkpoints.2", "since": 9 })).await;
    for (record, wanted) in [(8, counts[0].clone()), (9, Said::RevokedSince { since: 9, record: 9 })] {
        assert_eq!(said(&own, record), [wanted]);
        ask("crypto.destroy", json!({ "key": "checkpoints.2" })).await;
    }
    let key = KeyId { purpose: Purpose::Checkpoints, version: 3 };
    let made = |listed: &Value| {
        let keys = listed["keys"].as_array().unwrap();
        keys.iter().any(|key| key["key"] == "checkpoints.3" && key["state"] == "active")
    };
    client.until(&by, &secret, "crypto.list", json!({}), made).await;
    assert!(line(Purpose::Checkpoints, text).contains(&format!("/{key} ")), "the next one signs");
    authority.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_under_a_key_that_is_revoked_before_it_is_none() {
    let mut place = started(Some(1)).await;
    unsealed(&mut place, true).await;
    keys(&place, &["--generate", "receipts"]);
    let home = place.home.path().to_owned();
    let policy = "@id(\"operators\") permit (principal is Operator, action, resource);\n\
                  @id(\"proven\") forbid (principal, action == Action::\"resource.define\", resource)\n\
                  unless { context.proofs.contains(\"content\") };\n";
    fs::write(home.join("policy"), policy).unwrap();
    let epoch =
        json_of(&place.daemon, &["policy", "propose", home.join("policy").to_str().unwrap()])["epoch"].to_string();
    assert_eq!(place.daemon.run(&["policy", "activate", &epoch]).code, Some(0));
    // That of "foo".
    let digest = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    assert_eq!(place.daemon.run(&["proof", "declare", "digest", "content", "--digest", digest]).code, Some(0));
    let (client, secret) = (place.daemon.client(), place.daemon.credential());
    let proven = async |pool: &str| {
        let about = json!({ "pool": pool, "capacity": 4, "unit": "" });
        let about = json!({ "action": "resource.define", "arguments": about, "proof": "content", "evidence": "Zm9v" });
        let receipt =
            client.call("proof.submit", &about, Some(secret.expose()), None).await.unwrap()["receipt"].clone();
        json_of(&place.daemon, &["proof", "show", &receipt.to_string()])
    };
    let define = |pool: &str| place.daemon.run(&["resource", "define", pool, "--capacity", "4"]);
    let head = || json_of(&place.daemon, &["status"])["head"].as_u64().unwrap();
    let one = proven("one").await;
    assert!(one.to_string().contains("/receipts.1 "), "{one}");
    let between = head();
    proven("two").await;
    keys(&place, &["--rotate", "receipts"]);
    assert!(proven("three").await.to_string().contains("/receipts.2 "));
    keys(&place, &["--revoke", "receipts.1", "--since", &(between + 1).to_string()]);
    assert_eq!(define("one").code, Some(0), "it was signed before");
    failed(&define("two"), 5, &["error[proofs.forged]"]);
    assert_eq!(define("three").code, Some(0), "the next key signed it");
    // Sealed, nothing is signed, so nothing is let through.
    place.daemon.stop();
    place.daemon.configure("");
    place.daemon.start().await;
    let (client, secret) = (place.daemon.client(), place.daemon.credential());
    let about = json!({ "pool": "four", "capacity": 4, "unit": "" });
    let about = json!({ "action": "resource.define", "arguments": about, "proof": "content", "evidence": "Zm9v" });
    let refused = client.call("proof.submit", &about, Some(secret.expose()), None).await.unwrap_err();
    assert!(refused.to_string().contains("proofs.unchecked"), "{refused}");
    failed(&place.daemon.run(&["resource", "define", "four", "--capacity", "4"]), 5, &["error[policy.proof_needed]"]);
}

fn signature(daemon: &Daemon, arguments: &[&str]) -> (Value, Value) {
    let told = json_of(daemon, &[&["backup", "verify"], arguments].concat());
    (told["signature"].clone(), told["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_signed_and_another_one_in_its_place_is_not() {
    let mut place = started(Some(1)).await;
    unsealed(&mut place, true).await;
    let made = |place: &Place| json_of(&place.daemon, &["backup", "create"]);
    made(&place);
    keys(&place, &["--generate", "backup-manifests"]);
    let (second, third) = (made(&place), made(&place));
    let (place_of, key) = (place.daemon.data.join("backups"), vkey(&place.daemon, "backup-manifests.1"));
    let at = |backup: &Value| backup["directory"].as_str().unwrap().to_owned();
    let by = Value::from("by backup-manifests.1 (ed25519)");
    assert_eq!(signature(&place.daemon, &["backup-1"]).0, "not signed by the keystore");
    assert_eq!(signature(&place.daemon, &["backup-2"]).0, by);
    assert_eq!(signature(&place.daemon, &[&at(&second)]), (by.clone(), Value::Null), "by its own records");
    assert_eq!(signature(&place.daemon, &[&at(&second), "--signed-by", &key]), (by.clone(), Value::Null));
    let first = at(&second).replace("backup-2", "backup-1");
    assert_eq!(signature(&place.daemon, &[&first]).0, "not signed by the keystore");
    assert_eq!(signature(&place.daemon, &[&first, "--signed-by", &key]).1, "archive.unsigned");
    // A format of its own, so that no earlier release takes it for one without.
    let texts = [&first, &at(&second), &at(&third)].map(|path| fs::read_to_string(path).unwrap());
    let formats = texts.each_ref().map(|text| serde_json::from_str::<Value>(text).unwrap()["format"].clone());
    assert_eq!(formats, [json!(2), json!(3), json!(3)]);
    assert_eq!(place.daemon.run(&["backup", "drill", "backup-3"]).code, Some(0));

    // What is changed, swapped or signed by a stranger is refused, offline and by the daemon, and nothing is restored of it.
    let line = |text: &str| serde_json::from_str::<Value>(text).unwrap()["signature"].as_str().unwrap().to_owned();
    let other = line(&texts[2]);
    let swapped = texts[1].replace(&line(&texts[1]), &other);
    let later = texts[1].replace("\"created_at\": \"20", "\"created_at\": \"19");
    let own = line(&texts[1]);
    let cut = texts[1].replace(&own, &own[..own.len() - 20]);
    let foreign = texts[1].replace("/backup-manifests.1 ", "/checkpoints.1 ");
    let unknown = texts[1].replace("/backup-manifests.1 ", "/backup-manifests.9 ");
    for (row, text, code) in [
        ("the signature of another", &swapped, "archive.signature"),
        ("changed", &later, "archive.signature"),
        ("cut", &cut, "archive.signature"),
        ("another one under its name", &texts[2], "archive.signature"),
    ] {
        fs::write(at(&second), text).unwrap();
        let told = signature(&place.daemon, &[&at(&second)]).1;
        assert!(told == code || told == "archive.broken", "{row}: {told}");
        let told = place.daemon.run(&["backup", "verify", &at(&second)]);
        assert_eq!(told.code, Some(2), "{row}: {told:?}");
        let data = place.home.path().join("restored");
        let other = Daemon::new(env!("CARGO_BIN_EXE_sop"), &data);
        let restored = other.run(&["backup", "restore", &at(&second)]);
        assert!(restored.code == Some(1) && restored.stderr.contains("archive."), "{row}: {restored:?}");
        assert!(!other.data.join("journal").exists(), "{row}");
    }
    for (row, text) in [("of a key for another purpose", &foreign), ("of a key that nobody knows", &unknown)] {
        fs::write(at(&second), text).unwrap();
        let (told, code) = signature(&place.daemon, &[&at(&second)]);
        assert!(told.as_str().is_some_and(|told| told.contains("could not be checked")), "{row}: {told} {code}");
        assert_eq!(signature(&place.daemon, &[&at(&second), "--signed-by", &key]).1, "archive.unsigned", "{row}");
    }
    // Nor is a journal made whole with one.
    place.daemon.stop();
    let repair = |place: &Place| place.daemon.run(&["state", "repair", "--from-backup", &at(&second)]);
    fs::write(at(&second), &swapped).unwrap();
    failed(&repair(&place), 1, &["error[archive.signature]"]);
    fs::write(at(&second), &texts[1]).unwrap();
    assert_eq!(repair(&place).code, Some(0));
    place.daemon.start().await;
    unsealed(&mut place, true).await;
    assert_eq!(signature(&place.daemon, &["backup-2"]).0, by);

    // Restored, and verified with what it has in it.
    let other = Daemon::new(env!("CARGO_BIN_EXE_sop"), &place.home.path().join("other"));
    let restored = other.run(&["backup", "restore", &at(&third)]);
    assert!(restored.code == Some(0) && restored.stdout.contains("signature by backup-manifests.1"), "{restored:?}");
    let found = vault::locate(Path::new(&at(&third)), None).unwrap();
    let mut recorded = Recorded::default();
    let checked =
        vault::verify(&*found.target, &found.name, &mut || Ok(()), &mut |record| recorded.take(record)).unwrap();
    assert!(recorded.judge(None, &checked.point, &found.name).is_ok());
    let elsewhere = found.name.replace("backup-3", "backup-2");
    let refused = recorded.judge(None, &checked.point, &elsewhere).unwrap_err();
    assert!(matches!(refused, VaultError::Signature { .. }), "{refused}");

    // A revocation says which count: from a record on none does that the key signed.
    let last = second["last"].as_u64().unwrap();
    keys(&place, &["--revoke", "backup-manifests.1", "--since", &(last + 1).to_string()]);
    assert_eq!(signature(&place.daemon, &["backup-2"]).0, by);
    let told = json_of(&place.daemon, &["backup", "verify", "backup-3"]);
    assert!(told["state"] == "broken" && told["why"].as_str().unwrap().contains("revoked since record"), "{told}");
    made(&place);
    assert_eq!(signature(&place.daemon, &["backup-4"]).0, "by backup-manifests.2 (ed25519)");
    assert!(place_of.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn releases_are_signed_and_nothing_else_that_is_brought() {
    let mut place = started(Some(1)).await;
    unsealed(&mut place, true).await;
    let at = |name: &str| place.home.path().join(name).display().to_string();
    fs::write(at("program"), vec![7; 200_000]).unwrap();
    let sign =
        |purpose: &str, more: &[&str]| place.daemon.run(&[&["crypto", "sign", purpose, &at("program")], more].concat());
    failed(&sign("releases", &[]), 1, &["error[crypto.none_in_use]"]);
    keys(&place, &["--generate"]);
    for purpose in ["checkpoints", "receipts", "backup-manifests", "token-root", "tls-authority"] {
        failed(&sign(purpose, &[]), 1, &["error[crypto.not_for_that]"]);
    }
    failed(&sign("everything", &[]), 1, &["error[request.arguments]"]);
    let told = sign("releases", &[]);
    assert!(told.code == Some(0) && told.stdout.contains("program.sig"), "{told:?}");
    failed(&sign("releases", &[]), 1, &["error[cli.file]"]);
    assert_eq!(sign("releases", &["--out", &at("again")]).code, Some(0));
    let key = vkey(&place.daemon, "releases.1");
    let chain = Chain::of(Key::parse(&key).unwrap());
    let content = fs::read(at("program")).unwrap();
    for note in ["program.sig", "again"] {
        let release = verifier::release::verify(&content, &fs::read_to_string(at(note)).unwrap(), &chain).unwrap();
        assert_eq!((release.name.as_str(), release.length), ("program", 200_000));
    }
    let (client, secret) = (place.daemon.client(), place.daemon.credential());
    for name in ["", "a\nb", "a/b", &"n".repeat(256)] {
        let digest = "0".repeat(64);
        let about = json!({ "purpose": "releases", "name": name, "length": 1, "sha256": digest, "blake3": digest });
        let told = client.call("crypto.sign", &about, Some(secret.expose()), None).await;
        assert!(
            matches!(&told, Err(http::ClientError::Refused(problem)) if problem.code == "request.arguments"),
            "{name:?}: {told:?}"
        );
    }
    // What was signed is on record, with what became of it.
    let listed = json_of(&place.daemon, &["audit", "list", "--action", "crypto.sign", "--allowed"]);
    let signed: Vec<_> =
        listed["records"].as_array().unwrap().iter().filter(|record| record["outcome"] == "succeeded").collect();
    assert!(
        signed
            .iter()
            .any(|record| record["about"]["resource"].as_str().is_some_and(|on| on.starts_with("releases sha256:"))),
        "{listed}"
    );
}
